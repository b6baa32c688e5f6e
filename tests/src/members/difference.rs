//! Copies that differ: something in a tree is altered, in memory or on disk, and what comes of that.

use bytes::Bytes;
use jute_codec::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{SessionId, Text, Zxid};
use zabd::replica::Replica;
use zabd::replica::comparing::{Comparing, Verdict};
use zabd::replica::ensemble::ServerId;
use zabd::replica::input::Input;
use zabd::replica::zab::{Role, ZabEffect, ZabInput};
use zabd::state::{Committed, DigestMismatch, Outputs, Service, State};

use super::check::{Check, broken, doubted_is_hidden, others_go_on, replicas_agree};
use super::disk::{Write, Written, through};
use super::net::Node;
use super::plan::Planted;
use super::server::SimServer;
use super::storage::rebuilt;
use super::world::World;

/// How a server's tree stands to what its transactions come to, and what the server knows of that.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// The tree is another than its transactions come to. The server does not know.
    pub(super) is_odd: bool,
    /// What the server goes by.
    pub(super) comparing: Comparing,
    /// What it came to, while nobody looks into it.
    pub(super) diverged: Option<DigestMismatch>,
    /// What comparisons came to of what was taken over together with a snapshot.
    pub(super) behind: Option<DigestMismatch>,
    /// It has seen that its tree is not the leader's, and has the same tree still.
    is_seen: bool,
    /// Whose it was not.
    doubted: Option<ServerId>,
}

impl Difference {
    /// Of a server that has just started.
    pub(super) fn of_copy(is_odd: bool) -> Self {
        Self {
            is_odd,
            ..Self::default()
        }
    }

    /// The tree has been made anew.
    pub(super) const fn on_made_anew(&mut self, is_odd: bool) {
        self.is_odd = is_odd;
        self.is_seen = false;
    }

    /// The leader's copy has taken the place of the server's own.
    pub(super) const fn on_taken_over(&mut self, is_odd: bool, behind: Option<DigestMismatch>) {
        self.on_made_anew(is_odd);
        self.behind = behind;
        self.doubted = None;
    }
}

/// Alters a tree where no client looks.
pub(super) fn alter(state: &mut State) {
    // What is below /zookeeper is not counted.
    let txn = Txn::SetData(SetDataTxn {
        path: Text::from("/"),
        data: Some(Bytes::from_static(b"altered")),
        version: 1,
    });
    let entry = TxnEntry {
        header: TxnHeader {
            client_id: SessionId::NONE,
            cxid: 0,
            zxid: Zxid::ZERO,
            time: 0,
            op: txn.op().code(),
        },
        txn,
        digest: None,
    };
    let committed = Committed {
        entry,
        origin: None,
        close: None,
    };
    // Without a digest there is nothing to compare.
    state.apply(&committed, &mut Outputs::default()).ok();
}

impl World {
    /// The copy of a server becomes another, in memory, on disk, or both: one at a time, and as long as the others can do
    /// without it.
    pub(super) fn alter(&mut self) {
        let id = self.any_server();
        let place = self.rng.below(3);
        // Where nothing else goes wrong there is a quorum all the time.
        let is_quiet = self.plan.faults.count == 0;
        if is_quiet && !self.servers.values().all(SimServer::is_serving) {
            return;
        }
        if self.is_mended() || !self.all_right() || !self.others_suffice(id) {
            return;
        }
        let server = self.server(id);
        if !server.is_up() {
            return;
        }
        let on_disk = place != 0 && server.disk.folded > 0;
        let in_memory = place != 1 || !on_disk;
        server.disk.altered = on_disk;
        if in_memory {
            alter(&mut server.state);
            server.difference.is_odd = true;
        }
        if in_memory {
            self.note_leader(id);
        }
        self.report.altered += 1;
        self.trace.step(self.now_us, "alter", id.cast_unsigned());
    }

    /// Whether every server has a copy, and all of them the same.
    pub(super) fn all_right(&self) -> bool {
        let mut servers = self.servers.values();
        servers
            .all(|server| !server.disk.lacks && !server.disk.altered && !server.difference.is_odd)
    }

    /// Whoever begins to lead with another tree predicts what nobody else comes to.
    pub(super) fn note_leader(&mut self, id: Node) {
        let server = &self.servers[&id];
        if server.role() == Role::Leading && server.difference.is_odd {
            let epoch = server.epoch();
            self.chronicle.on_odd_epoch(epoch);
            self.led_by_odd = true;
        }
    }

    /// A transaction was applied, and its digest compared; `is_told` says whether it had one.
    pub(super) fn on_compared(
        &mut self,
        id: Node,
        compared: Result<(), DigestMismatch>,
        is_told: bool,
        outputs: &mut Outputs,
    ) -> Check {
        if let Err(mismatch) = &compared {
            let is_odd = self.servers[&id].difference.is_odd;
            if !is_odd && !self.chronicle.is_odd_epoch(mismatch.zxid.epoch()) {
                return broken(replicas_agree::NAME, format!("{id}: {mismatch}"));
            }
        }
        let server = self.server(id);
        if let Verdict::Differs(mismatch) =
            server.difference.comparing.on_applied(compared, is_told)
        {
            self.on_mismatch(id, mismatch, outputs);
        }
        Ok(())
    }

    /// As `runtime::driver` does it.
    fn on_mismatch(&mut self, id: Node, mismatch: DigestMismatch, outputs: &mut Outputs) {
        let (overlooked, others_too) = (
            self.plan.has(Planted::DifferenceOverlooked),
            self.plan.has(Planted::OthersDoubtToo),
        );
        let server = self.server(id);
        let Some(zab) = server.replica.as_ref().and_then(Replica::zab) else {
            return;
        };
        if mismatch.zxid.epoch() != zab.epochs().accepted {
            return;
        }
        let leader = zab.leader().filter(|leader| leader.0 != id);
        let is_new = !server.difference.is_seen;
        server.difference.is_seen = true;
        server.difference.doubted = leader;
        if is_new {
            self.report.differed += 1;
            self.trace.step(self.now_us, "differs", id.cast_unsigned());
        }
        if overlooked {
            return;
        }
        let server = self.server(id);
        if server.difference.diverged.is_none() {
            server.difference.diverged = Some(mismatch);
            self.input(id, Input::Peer(ZabInput::Diverged));
        }
        self.serve_nobody(id);
        outputs.clear();
        self.close_all(id);
        if others_too && is_new {
            for other in self.server_ids() {
                self.tell_later(0, other, ZabInput::Diverged);
            }
        }
    }

    /// The state is about to be made anew, or looked into.
    pub(super) fn settle_difference(&mut self, id: Node, effect: ZabEffect) {
        let unanswered = self.plan.has(Planted::CheckUnanswered);
        let difference = &mut self.server(id).difference;
        let mismatch = difference.diverged.take();
        match &effect {
            ZabEffect::ReceiveSnapshot { .. } => difference.comparing.on_taken_over(),
            _ => difference.comparing.on_made_anew(),
        }
        match (effect, mismatch) {
            (ZabEffect::Check, _) if unanswered => {}
            (ZabEffect::Check, Some(mismatch)) => {
                self.write(id, Write::unnumbered(Written::Check(mismatch)));
            }
            (ZabEffect::Check, None) => {
                let agrees = true;
                self.tell_later(0, id, ZabInput::Checked { agrees });
            }
            (effect, _) => self.replace_state(id, effect),
        }
    }

    /// What is on disk comes to this tree, as of the newest transaction, and to one as of the one in question.
    pub(super) fn checked(&mut self, id: Node, mismatch: DigestMismatch) -> Check<State> {
        let server = &self.servers[&id];
        let (history, altered) = (&server.applied, server.disk.altered);
        let before = &history[..through(history, mismatch.zxid)];
        let (then, _) = rebuilt(&self.plan, &self.chronicle, before, altered, 0)?;
        let (now, _) = rebuilt(&self.plan, &self.chronicle, history, altered, 0)?;
        let mut agrees = then.digest() == mismatch.expected;
        let server = self.server(id);
        server.difference.on_made_anew(altered);
        if agrees {
            server.difference.doubted = None;
        }
        agrees |= self.plan.has(Planted::CheckAgrees);
        self.input(id, Input::Peer(ZabInput::Checked { agrees }));
        Ok(now)
    }

    /// Whether a server that is told to serve may do so, for all it knows of its tree.
    pub(super) fn may_serve(&mut self, id: Node) -> Check<bool> {
        let server = self.server(id);
        let zab = server.replica.as_ref().and_then(Replica::zab);
        let epoch = zab.map_or(0, |zab| zab.epochs().accepted);
        let behind = server.difference.behind.take();
        // What it comes to is for operators.
        server.difference.comparing.on_serve(epoch, behind);
        if server.difference.diverged.is_some() {
            self.serve_nobody(id);
            return Ok(false);
        }
        let doubted = server.difference.doubted.take();
        let leader = doubted.filter(|doubted| self.servers[&id].leader() == Some(*doubted));
        if let Some(leader) = leader
            && self.servers[&leader.0].difference.is_odd != self.servers[&id].difference.is_odd
        {
            return doubted_is_hidden::serves_again(id, leader.0);
        }
        Ok(true)
    }

    /// Nobody is served from now on.
    pub(super) fn serve_nobody(&mut self, id: Node) {
        let server = self.server(id);
        server.state.set_service(Service::None);
        server.serving_since_us = None;
        server.disturbed_us = i64::MAX;
    }

    /// A leader sends its clients away. Where nothing else goes wrong, it is not because of what another server has.
    pub(super) fn on_leader_stops(&self, id: Node) -> Check {
        let server = &self.servers[&id];
        let served = server.serving_since_us.is_some();
        let is_right = !server.difference.is_odd && !server.disk.altered;
        let is_quiet = self.plan.faults.count == 0 && !self.plan.changes;
        if is_quiet && served && is_right && self.report.differed > 0 && !self.led_by_odd {
            return others_go_on::stops(id);
        }
        Ok(())
    }
}

impl SimServer {
    /// What is shown to a client while nobody knows whether it is right.
    pub(super) fn shows(&self, id: Node) -> Check {
        if self.difference.is_seen {
            return doubted_is_hidden::shown(id);
        }
        Ok(())
    }
}

/// The first of what differed since something agreed, as [`zabd::image::Behind`] counts it.
pub(super) fn first_mismatch(
    newest: Option<DigestMismatch>,
    compared: Result<(), DigestMismatch>,
    is_told: bool,
) -> Option<DigestMismatch> {
    match compared {
        Err(mismatch) => newest.or(Some(mismatch)),
        Ok(()) if is_told => None,
        Ok(()) => newest,
    }
}
