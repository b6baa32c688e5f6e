//! Whom a member serves, and as what; when that begins and ends.

use std::collections::VecDeque;

use jute_codec::Zxid;
use jute_codec::proto::{ConnectResponse, Request};

use super::{Around, Member};
use crate::replica::attendant::Attendant;
use crate::replica::effect::{Answer, Effect};
use crate::replica::params::ReplicaParams;
use crate::replica::primary::{Primary, Turn};
use crate::replica::read_only::ReadOnly;
use crate::replica::session::password::password_of;
use crate::replica::zab::{Role, ZabEffect};
use crate::state::Committed;
use crate::state::conn::{ClientRequest, WriteBody};

#[derive(Debug)]
pub(super) enum Serving {
    No,
    /// The epoch is established, the state not yet as of its beginning. What learners ask meanwhile is kept.
    Soon(Vec<ZabEffect>),
    Leader(Box<Leading>),
    /// There has been no leader for a while.
    ReadOnly(Box<ReadOnly>),
    Learner {
        attendant: Box<Attendant>,
        /// When to ask next which clients have been heard of.
        next_hearing_ms: i64,
    },
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) primary: Primary,
    /// Proposed and not committed, in zxid order.
    pub(super) outstanding: VecDeque<Committed>,
    /// What this server's clients are to hear once everything up to some transaction is committed.
    pub(super) behind: VecDeque<(Zxid, Effect)>,
}

impl Member {
    /// Serves clients, once the epoch is established and the state is as of its beginning.
    pub(super) fn begin_to_serve(&mut self, around: &mut Around<'_>) {
        let Serving::Soon(kept) = &mut self.serving else {
            return;
        };
        if around.state.last_zxid() < self.zab.last_applied() {
            return;
        }
        let kept = std::mem::take(kept);
        self.serving = if self.zab.role() == Role::Leading {
            let Some(next) = self.zab.next_zxid() else {
                return;
            };
            let mut turn = Turn {
                clock: around.clock,
                state: around.state,
                zab: Some(&self.zab),
                made: &mut self.made,
            };
            let last_proposed = Zxid(next.0 - 1);
            Serving::Leader(Box::new(Leading {
                primary: Primary::new(around.params.clone(), last_proposed, &mut turn),
                outstanding: VecDeque::new(),
                behind: VecDeque::new(),
            }))
        } else {
            Serving::Learner {
                attendant: Box::new(Attendant::new(around.params)),
                next_hearing_ms: around.clock.monotonic_ms + hearing_ms(around.params),
            }
        };
        let members = &self.zab.configs().committed;
        around.effects.push(Effect::Config {
            text: members.text(),
            version: members.version(),
        });
        let serves = self.zab.role() != Role::Leading || around.params.leader_serves;
        let effect = if serves {
            Effect::Serve
        } else {
            Effect::ServeNobody
        };
        around.effects.push(effect);
        self.said.extend(kept);
        self.carry_out(around);
    }

    /// Serves read-only clients, once there has been no leader for long enough.
    ///
    /// ZooKeeper: `QuorumPeer.run`.
    pub(super) fn begin_to_show(&mut self, around: &mut Around<'_>) {
        let (Some(after_ms), Serving::No, true) = (
            around.params.read_only_after_ms,
            &self.serving,
            self.zab.is_waiting_whole(),
        ) else {
            self.read_only_at_ms = None;
            return;
        };
        let now_ms = around.clock.monotonic_ms;
        let at_ms = *self
            .read_only_at_ms
            .get_or_insert(now_ms.saturating_add(after_ms));
        if now_ms >= at_ms {
            self.read_only_at_ms = None;
            self.serving = Serving::ReadOnly(Box::new(ReadOnly::new(around.params)));
            around.effects.push(Effect::ServeReadOnly);
        }
    }

    /// Sends all clients away, if any are served.
    pub(super) fn stop_serving(&mut self, effects: &mut Vec<Effect>) {
        if !matches!(self.serving, Serving::No | Serving::Soon(_)) {
            effects.push(Effect::StopServing);
        }
        self.serving = Serving::No;
    }
}

impl Leading {
    pub(super) fn on_request(
        &mut self,
        turn: &mut Turn<'_>,
        request: ClientRequest,
        effects: &mut Vec<Effect>,
    ) {
        let ClientRequest {
            conn, session, xid, ..
        } = request;
        let answer = match &request.body {
            WriteBody::Request(Request::Sync(sync)) => {
                let path = sync.path.clone();
                return self.say_behind(Effect::Synced { conn, xid, path }, effects);
            }
            WriteBody::Request(Request::CloseSession) if self.primary.locals.has(session) => {
                Answer::Done
            }
            WriteBody::Request(Request::CreateSession { .. }) if self.primary.locals.are_on() => {
                Answer::Session(ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: self.primary.timeout_of(session),
                    session,
                    password: password_of(session),
                    read_only: Some(false),
                })
            }
            _ => return self.primary.on_request(turn, request),
        };
        let ends = answer == Answer::Done;
        self.say_behind(Effect::Answered { conn, xid, answer }, effects);
        if ends {
            self.primary.locals.close(session);
            self.say_behind(Effect::CloseConn { conn }, effects);
        }
    }

    /// Says something to a client behind everything that is proposed.
    pub(super) fn say_behind(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        match self.outstanding.back() {
            Some(newest) => self.behind.push_back((newest.entry.header.zxid, effect)),
            None => effects.push(effect),
        }
    }
}

/// Often enough that every PING to the leader brings news of those that have been heard of.
pub(super) const fn hearing_ms(params: &ReplicaParams) -> i64 {
    if params.tick_ms < 4 {
        1
    } else {
        params.tick_ms as i64 / 4
    }
}
