//! Copies that are found damaged when their servers come up.

use std::collections::BTreeSet;

use zabd::replica::Replica;
use zabd::replica::ensemble::{Configs, ServerId};
use zabd::replica::zab::Zab;

use super::net::Node;
use super::server::STANDALONE;
use super::world::World;

impl World {
    /// A part of the log or the snapshot of a server that is down is damaged: it sets the whole copy aside, marks that, and
    /// begins without one. The others are a quorum that has everything, by all memberships that somebody knows: while one
    /// is without its copy, none else loses it.
    pub(super) fn damage(&mut self, id: Node) {
        if !self.plan.faults.damage || self.is_mended() {
            return;
        }
        let happens = self.rng.chance(1, 3);
        let mut others = self.servers.iter().filter(|(other, _)| **other != id);
        let others_whole = others.all(|(_, server)| {
            !server.disk.lacks && !server.disk.altered && !server.difference.is_odd
        }) && self.others_suffice(id);
        let disk = &mut self.server(id).disk;
        if happens && others_whole && !disk.durable.is_empty() {
            disk.set_aside();
            self.report.damaged += 1;
            self.trace.step(self.now_us, "damage", id.cast_unsigned());
        }
    }

    /// Whether a server without its copy is needed: the members were changed, perhaps before anybody noticed that it had
    /// gone down, so that there is no quorum without it. Nobody may count it, and an operator has to see to it.
    pub(super) fn is_stranded(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|(id, server)| server.disk.lacks && !self.others_suffice(*id))
    }

    pub(super) fn others_suffice(&self, id: Node) -> bool {
        let others = self.servers.keys().filter(|other| **other != id);
        let others: BTreeSet<ServerId> = others.map(|other| ServerId(*other)).collect();
        self.servers.values().all(|server| {
            let written = server.configs.clone();
            let logged = written.with_logged(server.state.config(), STANDALONE);
            let zab = server.replica.as_ref().and_then(Replica::zab);
            let known = zab.map(Zab::configs).into_iter().chain([&logged]);
            known
                .flat_map(Configs::all)
                .all(|members| members.is_quorum(&others))
        })
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
