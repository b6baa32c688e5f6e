//! A server of an ensemble: it serves clients as leader, or on behalf of one, or not at all.
//!
//! [`Zab`] orders; what it orders is made here by [`Primary`] on the leader, and matched with those who wait for it by
//! [`Attendant`] elsewhere. Clients are served from [`ZabEffect::Established`], and once the state has caught up, until
//! the role ends; then all of them are sent away. Between roles it may serve those who only read ([`ReadOnly`]).
//!
//! | module | what it holds |
//! |---|---|
//! | `serving` | whom it serves, as what, from when until when |
//! | `clients` | what its clients bring |
//! | `carry_out` | what becomes of what `Zab` and `Primary` ask for |

mod carry_out;
mod clients;
mod serving;

use std::collections::VecDeque;

use jute_codec::SessionId;
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::TxnEntry;

#[cfg(doc)]
use super::attendant::Attendant;
use super::clock::Clock;
use super::effect::Effect;
use super::ensemble::Configs;
use super::input::Input;
use super::params::ReplicaParams;
use super::primary::{Made, Primary};
#[cfg(doc)]
use super::read_only::ReadOnly;
use super::session::{Locals, SessionIds, SessionTracker};
use super::zab::{Recovered, Zab, ZabEffect, ZabInput, ZabParams};
use crate::state::State;
use crate::state::conn::ConnId;
use carry_out::decode;
use serving::Serving;

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) zab: Zab,
    serving: Serving,
    // When to serve read-only clients, in monotonic milliseconds; while this server looks for a leader.
    read_only_at_ms: Option<i64>,
    // Transactions that the leader sent and that are not committed, as far as they need not be decoded again.
    decoded: VecDeque<TxnEntry>,
    said: Vec<ZabEffect>,
    made: Vec<Made>,
}

/// What a step is taken with.
pub(super) struct Around<'a> {
    pub(super) clock: Clock,
    pub(super) params: &'a ReplicaParams,
    pub(super) ids: &'a mut SessionIds,
    pub(super) state: &'a State,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Member {
    pub(super) fn new(
        zab_params: ZabParams,
        configs: Configs,
        recovered: Recovered,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut said = Vec::new();
        let zab = Zab::new(
            zab_params,
            configs,
            recovered,
            clock.monotonic_ms,
            &mut said,
        );
        // It looks for a leader: nothing is said yet that is answered in here.
        effects.extend(said.drain(..).map(Effect::Peer));
        Self {
            zab,
            serving: Serving::No,
            read_only_at_ms: None,
            decoded: VecDeque::new(),
            said,
            made: Vec::new(),
        }
    }

    pub(super) fn step(
        &mut self,
        clock: Clock,
        params: &ReplicaParams,
        ids: &mut SessionIds,
        input: Input,
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        let mut around = Around {
            clock,
            params,
            ids,
            state,
            effects,
        };
        if let Serving::Leader(leading) = &mut self.serving {
            leading.primary.forget_applied(state.last_zxid());
        }
        self.begin_to_serve(&mut around);
        let now_ms = clock.monotonic_ms;
        match input {
            Input::Peer(input @ (ZabInput::Truncated { .. } | ZabInput::Installed { .. })) => {
                let logged = around.state.config();
                self.zab.know_members(logged, &mut self.said);
                self.zab.step(now_ms, input, &mut self.said);
            }
            Input::Peer(input) => self.on_peer(now_ms, input),
            Input::Durable(write) => {
                self.zab
                    .step(now_ms, ZabInput::Durable(write), &mut self.said);
            }
            Input::Wakeup => self.on_wakeup(&mut around),
            Input::Overdue => self.on_overdue(now_ms),
            Input::Submitted(submission) => self.on_submitted(&mut around, submission),
            Input::Touched { session, at_ms } => self.on_touched(session, at_ms),
            Input::Disconnected { conn } => match &mut self.serving {
                Serving::Leader(leading) => leading.primary.detach(conn),
                Serving::Learner { attendant, .. } => attendant.on_disconnected(conn),
                Serving::ReadOnly(reads) => reads.locals.detach(conn),
                Serving::No | Serving::Soon(_) => {}
            },
        }
        self.carry_out(&mut around);
        self.begin_to_show(&mut around);
    }

    pub(super) fn deadline(&self) -> i64 {
        self.zab.deadline().min(match &self.serving {
            Serving::No => self.read_only_at_ms.unwrap_or(i64::MAX),
            // The next step may begin to serve.
            Serving::Soon(_) => i64::MIN,
            Serving::Leader(leading) => leading.primary.deadline(),
            Serving::ReadOnly(reads) => {
                let next = reads.locals.sessions().next_deadline();
                next.unwrap_or(i64::MAX)
            }
            Serving::Learner {
                attendant,
                next_hearing_ms,
            } => {
                let locals = attendant.locals.sessions().next_deadline();
                locals.map_or(*next_hearing_ms, |due_ms| due_ms.min(*next_hearing_ms))
            }
        })
    }

    /// Sessions of which it matters whether they have been heard of, with their connections.
    pub(super) fn wants_touched(&self, clock: Clock) -> Vec<(SessionId, Option<ConnId>)> {
        match &self.serving {
            Serving::No | Serving::Soon(_) => Vec::new(),
            Serving::Leader(leading) => leading.primary.due(clock.monotonic_ms),
            Serving::ReadOnly(reads) => reads.locals.sessions().due(clock.monotonic_ms),
            Serving::Learner { attendant, .. } => {
                let mut wanted = attendant.locals.sessions().due(clock.monotonic_ms);
                let attached = attendant.attached().iter();
                wanted.extend(attached.map(|(session, conn)| (session, Some(conn))));
                wanted
            }
        }
    }

    /// The server that decides, while this is it.
    pub(super) fn primary(&self) -> Option<&Primary> {
        match &self.serving {
            Serving::Leader(leading) => Some(&leading.primary),
            _ => None,
        }
    }

    /// Whether it shows what it has, and changes nothing.
    pub(super) const fn is_read_only(&self) -> bool {
        matches!(self.serving, Serving::ReadOnly(_))
    }

    /// Sessions that only this server knows; nothing unless there may be such.
    pub(super) fn local_sessions(&self) -> Option<&SessionTracker> {
        let locals = match &self.serving {
            Serving::No | Serving::Soon(_) => return None,
            Serving::ReadOnly(reads) => return Some(reads.locals.sessions()),
            Serving::Leader(leading) => &leading.primary.locals,
            Serving::Learner { attendant, .. } => &attendant.locals,
        };
        Some(locals)
            .filter(|locals| locals.are_on())
            .map(Locals::sessions)
    }

    pub(super) fn outstanding(&self) -> usize {
        match &self.serving {
            Serving::No | Serving::Soon(_) | Serving::ReadOnly(_) => 0,
            Serving::Leader(leading) => leading.outstanding.len(),
            Serving::Learner { attendant, .. } => attendant.outstanding(),
        }
    }

    /// What the leader sends is opaque to [`Zab`]; that it means something is seen to before it is in the log.
    fn on_peer(&mut self, now_ms: i64, input: ZabInput) {
        if let ZabInput::FromLeader { link, packet } = &input
            && let LeaderPacket::Proposal { zxid, txn }
            | LeaderPacket::Inform { zxid, txn }
            | LeaderPacket::InformAndActivate { zxid, txn, .. } = packet
        {
            match decode(*zxid, txn) {
                Some(entry) => self.decoded.push_back(entry),
                None => {
                    let unknown = ZabInput::Unknown { link: *link };
                    return self.zab.step(now_ms, unknown, &mut self.said);
                }
            }
        }
        self.zab.step(now_ms, input, &mut self.said);
    }

    fn on_overdue(&mut self, now_ms: i64) {
        if now_ms >= self.zab.deadline() {
            self.zab.step(now_ms, ZabInput::Wakeup, &mut self.said);
        }
    }
}
