//! From one role to the next: one is over, the disk catches up, an election is held, another begins.

use std::collections::VecDeque;

use jute_codec::quorum::Notification;

use super::core::Installing;
use super::leader::Leader;
use super::learner::Learner;
use super::{Left, Role, State, Zab, ZabEffect, reconfig};
use crate::replica::election::{ElectionEffect, Vote};

impl Zab {
    /// The role is over.
    pub(super) fn leave(&mut self, now_ms: i64, left: Left, out: &mut Vec<ZabEffect>) {
        let state = std::mem::replace(&mut self.state, State::Electing);
        let logged = match state {
            State::Settling(logged) => logged,
            State::Electing => VecDeque::new(),
            State::Leading(leader) => leader.into_logged(out),
            State::Learning(learner) => learner.into_logged(out),
        };
        self.core.touched.clear();
        self.election.on_role_over();
        out.push(ZabEffect::RoleChanged {
            role: Role::Looking,
            leader: None,
            why: left.0,
        });
        self.state = State::Settling(logged);
        self.settle(now_ms, out);
    }

    /// Begins an election as soon as everything that was asked for is on disk: the vote says what the log has, and the
    /// state is as of the end of the log (`SyncStartsClean`).
    pub(super) fn settle(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) {
        let core = &mut self.core;
        let State::Settling(logged) = &mut self.state else {
            return;
        };
        if core.durable < core.last_write || core.installing != Installing::Nothing {
            return;
        }
        for logged in logged.drain(..) {
            // What a cut has overtaken is not in the log any more.
            if logged.zxid > core.history.known() && logged.zxid <= core.history.logged() {
                core.replay(logged, out);
            }
        }
        debug_assert_eq!(
            core.history.known(),
            core.history.logged(),
            "SyncStartsClean"
        );
        self.state = State::Electing;
        core.forget_rumour(out);
        self.election.set_observer(core.observes());
        out.push(ZabEffect::ConnectElection);
        let successor = core.successor.take();
        if let Some(leader) = successor.filter(|leader| core.configs.committed.is_voter(*leader)) {
            // Nobody needs to be asked: who leads was agreed on with the membership.
            let vote = self.election.designate(leader, core.candidacy());
            return self.on_elected(now_ms, vote, "designated", out);
        }
        self.elect(now_ms, out);
    }

    /// Begins an election.
    pub(super) fn elect(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) {
        let core = &self.core;
        let mut said = Vec::new();
        self.election
            .begin(now_ms, core.candidacy(), &core.configs, &mut said);
        self.on_election(now_ms, said, out);
    }

    /// Somebody goes by a newer membership than this server, which looks for a leader: that one is in force. Whether it
    /// is of other servers, so that the election begins anew.
    ///
    /// ZooKeeper: `FastLeaderElection.Messenger.WorkerReceiver.run`.
    pub(super) fn take_over_members(
        &mut self,
        notification: &Notification,
        out: &mut Vec<ZabEffect>,
    ) -> bool {
        let core = &mut self.core;
        let Some(text) = notification.members.as_ref() else {
            return false;
        };
        if !core.params.reconfig_enabled || *text == core.configs.committed.text() {
            return false;
        }
        let Ok(members) = reconfig::read(text.as_bytes(), core.params.standalone) else {
            return false;
        };
        let Some(activated) = core.activate(members, out) else {
            return false;
        };
        self.election.set_observer(core.observes());
        activated.is_another
    }

    pub(super) fn on_election(
        &mut self,
        now_ms: i64,
        said: Vec<ElectionEffect>,
        out: &mut Vec<ZabEffect>,
    ) {
        for effect in said {
            match effect {
                ElectionEffect::Notify { to, notification } => {
                    out.push(ZabEffect::Notify { to, notification });
                }
                ElectionEffect::ConnectAll => out.push(ZabEffect::ConnectElection),
                ElectionEffect::Elected { vote } => {
                    self.on_elected(now_ms, vote, "elected", out);
                }
            }
        }
    }

    fn on_elected(&mut self, now_ms: i64, vote: Vote, why: &'static str, out: &mut Vec<ZabEffect>) {
        let core = &mut self.core;
        self.state = if vote.leader == core.params.me {
            State::Leading(Leader::new(now_ms, core, out))
        } else {
            let observer = core.observes();
            State::Learning(Learner::new(now_ms, core, vote.leader, observer, out))
        };
        out.push(ZabEffect::RoleChanged {
            role: self.role(),
            leader: Some(vote.leader),
            why,
        });
    }
}
