//! What a server decides: the order of transactions, what each request becomes, which sessions live.
//!
//! Pure and single-threaded: [`Replica::step`] takes an [`Input`] and returns [`Effect`]s, in order. What it must know
//! of the time and of the committed state comes in with the call. A server stands alone or is a member of an ensemble;
//! whoever decides, alone or as leader, does it by the same code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`input`], [`effect`], [`clock`] | the boundary |
//! | `alone`, `member` | the two kinds of server |
//! | `primary` | from requests to transactions, for whoever decides; `request` has the checks, on a speculative overlay |
//! | `attendant` | serving clients for whom another server decides |
//! | [`comparing`] | what it means that a tree is another than the leader's |
//! | `read_only` | showing what there is, without a leader |
//! | [`zab`], [`election`], [`ensemble`] | the order of transactions among servers, who leads, who belongs to them |
//! | [`session`] | ids, passwords, deadlines |
//!
//! Promises kept here: `AckMeansDurable`, `CommitInOrder`; [`zab`] has more.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod alone;
mod attendant;
pub mod clock;
pub mod comparing;
pub mod effect;
pub mod election;
pub mod ensemble;
pub mod input;
mod janitor;
mod member;
#[cfg(test)]
mod member_tests;
pub mod params;
mod primary;
mod read_only;
mod request;
pub mod session;
#[cfg(test)]
mod tests;
pub mod zab;

use jute_codec::{SessionId, Zxid};

use crate::state::State;
use crate::state::conn::ConnId;
use alone::Alone;
use clock::Clock;
use effect::Effect;
use ensemble::Configs;
use input::Input;
use member::Member;
use params::ReplicaParams;
use primary::Primary;
use session::{SessionIds, SessionTracker};
use zab::{Recovered, Zab, ZabParams};

/// One server's share in the ensemble's decisions.
#[derive(Debug)]
pub struct Replica {
    params: ReplicaParams,
    ids: SessionIds,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Alone(Box<Alone>),
    Member(Box<Member>),
}

impl Replica {
    /// A server that stands alone, with what was recovered of `state`. All sessions get their full timeout again.
    ///
    /// Ephemeral nodes whose session is unknown, which no history of ours leaves behind, are removed by transactions.
    #[must_use]
    pub fn standalone(
        params: ReplicaParams,
        clock: Clock,
        state: &State,
        effects: &mut Vec<Effect>,
    ) -> Self {
        Self {
            ids: SessionIds::new(params.server_id, clock.wall_ms),
            kind: Kind::Alone(Box::new(Alone::new(params.clone(), clock, state, effects))),
            params,
        }
    }

    /// A server of an ensemble, with what was recovered of its disk. It looks for a leader, and serves nobody before
    /// [`Effect::Serve`].
    #[must_use]
    pub fn member(
        params: ReplicaParams,
        zab_params: ZabParams,
        configs: Configs,
        recovered: Recovered,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let member = Member::new(zab_params, configs, recovered, clock, effects);
        Self {
            ids: SessionIds::new(params.server_id, clock.wall_ms),
            kind: Kind::Member(Box::new(member)),
            params,
        }
    }

    /// Takes one input; what must happen is appended to `effects`, in order.
    ///
    /// `state` is the state with everything applied that earlier commits asked for, or with a part of it.
    pub fn step(&mut self, clock: Clock, input: Input, state: &State, effects: &mut Vec<Effect>) {
        match &mut self.kind {
            Kind::Alone(alone) => alone.step(clock, &mut self.ids, input, state, effects),
            Kind::Member(member) => {
                member.step(clock, &self.params, &mut self.ids, input, state, effects)
            }
        }
    }

    /// When to step with [`Input::Wakeup`], in monotonic milliseconds.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        match &self.kind {
            Kind::Alone(alone) => alone.primary.deadline(),
            Kind::Member(member) => member.deadline(),
        }
    }

    /// Sessions of which the next [`Input::Wakeup`] must know whether they have been heard of, with their connections:
    /// whoever keeps track of what connections send says [`Input::Touched`] for those that have been, first.
    #[must_use]
    pub fn about_to_expire(&self, clock: Clock) -> Vec<(SessionId, Option<ConnId>)> {
        match &self.kind {
            Kind::Alone(alone) => alone.primary.sessions.due(clock.monotonic_ms),
            Kind::Member(member) => member.wants_touched(clock),
        }
    }

    /// The newest transaction that was given a zxid, by this server if it decides.
    #[must_use]
    pub fn last_proposed(&self) -> Zxid {
        match (self.primary(), &self.kind) {
            (Some(primary), _) => primary.last_proposed(),
            (None, Kind::Member(member)) => member.zab.last_logged(),
            (None, Kind::Alone(_)) => Zxid::ZERO,
        }
    }

    /// Transactions that are not committed yet; of a server that does not decide, requests that wait for the leader.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        match &self.kind {
            Kind::Alone(alone) => alone.outstanding(),
            Kind::Member(member) => member.outstanding(),
        }
    }

    /// Sessions and deadlines, for operators; only where they are decided.
    #[must_use]
    pub fn sessions(&self) -> Option<&SessionTracker> {
        self.primary().map(|primary| &primary.sessions)
    }

    /// Sessions that only this server knows, with their deadlines; nothing unless there may be such.
    #[must_use]
    pub fn local_sessions(&self) -> Option<&SessionTracker> {
        match &self.kind {
            Kind::Alone(_) => None,
            Kind::Member(member) => member.local_sessions(),
        }
    }

    /// Whether the server shows what it has, and changes nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        match &self.kind {
            Kind::Alone(_) => false,
            Kind::Member(member) => member.is_read_only(),
        }
    }

    /// The server's share in the order of things, of a member of an ensemble.
    #[must_use]
    pub fn zab(&self) -> Option<&Zab> {
        match &self.kind {
            Kind::Alone(_) => None,
            Kind::Member(member) => Some(&member.zab),
        }
    }

    fn primary(&self) -> Option<&Primary> {
        match &self.kind {
            Kind::Alone(alone) => Some(&alone.primary),
            Kind::Member(member) => member.primary(),
        }
    }
}
