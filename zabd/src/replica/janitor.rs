//! Abandoned containers and TTL nodes: looked for now and then, deleted one by one.
//!
//! ZooKeeper: `ContainerManager`; rules I2 to I5 of `semantics.md`.

use std::collections::VecDeque;

use jute_codec::Text;

use super::clock::Clock;
use super::params::ReplicaParams;
use crate::state::State;

#[derive(Debug)]
pub(super) struct Janitor {
    interval_ms: i64,
    spacing_ms: i64,
    never_used_max_ms: i64,
    next_look_ms: i64,
    // Found by the last look and not deleted yet.
    candidates: VecDeque<Text>,
    next_delete_ms: i64,
}

impl Janitor {
    pub(super) fn new(params: &ReplicaParams, now_ms: i64) -> Self {
        let interval_ms = params.container_check_interval_ms.max(1);
        Self {
            interval_ms,
            spacing_ms: 60_000 / params.container_per_minute_max.max(1),
            never_used_max_ms: params.container_never_used_max_ms,
            next_look_ms: now_ms.saturating_add(interval_ms),
            candidates: VecDeque::new(),
            next_delete_ms: now_ms,
        }
    }

    pub(super) fn deadline(&self) -> i64 {
        if self.candidates.is_empty() {
            self.next_look_ms
        } else {
            self.next_delete_ms.min(self.next_look_ms)
        }
    }

    /// Looks, if it is time and the last look's candidates are dealt with.
    pub(super) fn look(&mut self, clock: Clock, state: &State) {
        if clock.monotonic_ms < self.next_look_ms {
            return;
        }
        self.next_look_ms = clock.monotonic_ms.saturating_add(self.interval_ms);
        if self.candidates.is_empty() {
            self.candidates = state
                .abandoned(clock.wall_ms, self.never_used_max_ms)
                .into();
        }
    }

    /// The next one to delete, if its time has come.
    pub(super) fn next(&mut self, now_ms: i64) -> Option<Text> {
        if now_ms < self.next_delete_ms {
            return None;
        }
        let path = self.candidates.pop_front()?;
        self.next_delete_ms = now_ms.saturating_add(self.spacing_ms);
        Some(path)
    }
}
