//! Copies that are found damaged when their servers come up.

use super::net::Node;
use super::world::World;

impl World {
    /// A part of the log or the snapshot of a server that is down is damaged: it sets the whole copy aside, marks that, and
    /// begins without one. The others are a quorum that has everything: while one is without its copy, none else loses it.
    pub(super) fn damage(&mut self, id: Node) {
        if !self.plan.faults.damage || self.is_mended() {
            return;
        }
        let happens = self.rng.chance(1, 3);
        let mut others = self.servers.iter().filter(|(other, _)| **other != id);
        let others_whole = others.all(|(_, server)| !server.disk.lacks);
        let disk = &mut self.server(id).disk;
        if happens && others_whole && !disk.durable.is_empty() {
            disk.set_aside();
            self.report.damaged += 1;
            self.trace.step(self.now_us, "damage", id.cast_unsigned());
        }
    }

    /// The mark goes when the server has a leader's whole history.
    pub(super) fn unmark(&mut self, id: Node) {
        let server = self.server(id);
        let zab = server.replica.as_ref().and_then(|replica| replica.zab());
        if server.disk.lacks && zab.is_some_and(|zab| !zab.may_lack()) {
            server.disk.lacks = false;
        }
    }
}
