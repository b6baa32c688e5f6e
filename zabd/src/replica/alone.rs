//! A server that stands alone: what is on its disk is committed.

use std::collections::VecDeque;

use super::clock::Clock;
use super::effect::{Effect, WriteSeq};
use super::input::Input;
use super::params::ReplicaParams;
use super::primary::{Made, Primary, Turn};
use super::session::SessionIds;
use crate::state::conn::Submission;
use crate::state::{Committed, State};

/// See the module.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) primary: Primary,
    // Transactions not yet durable, in zxid order.
    outstanding: VecDeque<(WriteSeq, Committed)>,
    // The newest write that was asked for.
    last_write: WriteSeq,
    made: Vec<Made>,
}

impl Alone {
    pub(super) fn new(
        params: ReplicaParams,
        clock: Clock,
        state: &State,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut made = Vec::new();
        let mut turn = Turn {
            clock,
            state,
            zab: None,
            made: &mut made,
        };
        let mut alone = Self {
            primary: Primary::new(params, state.last_zxid(), &mut turn),
            outstanding: VecDeque::new(),
            last_write: WriteSeq(0),
            made,
        };
        alone.carry_out(effects);
        alone
    }

    pub(super) fn step(
        &mut self,
        clock: Clock,
        ids: &mut SessionIds,
        input: Input,
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        self.primary.forget_applied(state.last_zxid());
        let mut turn = Turn {
            clock,
            state,
            zab: None,
            made: &mut self.made,
        };
        match input {
            Input::Submitted(Submission::Connect { conn, request }) => {
                self.primary.on_connect(&mut turn, ids, conn, &request);
            }
            Input::Submitted(Submission::Write(request)) => {
                self.primary.on_request(&mut turn, request);
            }
            Input::Durable(write) => {
                while let Some((_, committed)) = self
                    .outstanding
                    .pop_front_if(|(waited, _)| *waited <= write)
                {
                    self.primary
                        .on_committed(&committed.entry, clock.monotonic_ms);
                    effects.push(Effect::Commit(Box::new(committed)));
                }
            }
            Input::Touched { session, at_ms } => self.primary.sessions.touch(session, at_ms),
            Input::Disconnected { conn } => self.primary.sessions.detach(conn),
            Input::Wakeup => self.primary.on_wakeup(&mut turn),
            // There is nobody else.
            Input::Peer(_) | Input::Overdue => {}
        }
        self.carry_out(effects);
        #[cfg(debug_assertions)]
        self.invariants();
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        for made in self.made.drain(..) {
            let proposal = match made {
                Made::Effect(effect) => {
                    effects.push(effect);
                    continue;
                }
                Made::Proposal(proposal) => proposal,
            };
            self.last_write = self.last_write.next();
            effects.push(Effect::Write {
                write: self.last_write,
                zxid: proposal.zxid(),
                payload: proposal.payload,
            });
            self.outstanding
                .push_back((self.last_write, proposal.committed));
        }
    }

    /// Holds after every step.
    #[cfg(debug_assertions)]
    fn invariants(&self) {
        let mut expected = self.primary.last_proposed();
        for (_, committed) in self.outstanding.iter().rev().take(2) {
            assert_eq!(
                committed.entry.header.zxid, expected,
                "zxids are gapless and in order"
            );
            expected = jute_codec::Zxid(expected.0 - 1);
        }
    }
}
