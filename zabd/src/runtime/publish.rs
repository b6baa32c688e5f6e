//! What the driver publishes after each batch, and what it says while it waits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tracing::warn;

use super::driver::Driver;
use super::figures::Place;
use crate::replica::session::SessionTracker;
use crate::replica::zab::{Role, Zab};

/// How long a server whose copy is not whole waits before it says so, and says it again.
pub(super) const WAITING_SILENCE_MS: i64 = 30_000;

const WAITS_FOR_A_COPY: &str = "this server's copy of the data is not whole: it waits for a leader whom others elect, and \
    does not vote. If they cannot, too few of them are up or have whole copies: start those that are down. Nothing that \
    was set aside is lost; docs/repair.md says how to put a copy back";

const WAITS_FOR_A_MAJORITY: &str = "had another tree than this server after the same transactions, and there are too few \
    servers to settle which is right: start those that are down; docs/repair.md says what to do if there are none";

impl Driver {
    /// Called after each batch.
    pub(super) fn publish_figures(&mut self) {
        self.figures
            .outstanding
            .store(self.replica.outstanding() as u64, Ordering::Relaxed);
        let count = |sessions: Option<&SessionTracker>| {
            i64::try_from(sessions.map_or(0, SessionTracker::len)).unwrap_or(i64::MAX)
        };
        let (global, local) = (self.replica.sessions(), self.replica.local_sessions());
        self.figures
            .sessions
            .store(count(global), Ordering::Relaxed);
        self.figures
            .local_sessions
            .store(count(local), Ordering::Relaxed);
        if let Some(zab) = self.replica.zab() {
            let waits = match (zab.is_established(), zab.doubts()) {
                (true, _) => None,
                (false, _) if zab.may_lack() => Some(WAITS_FOR_A_COPY.to_owned()),
                (false, doubts) => {
                    doubts.map(|leader| format!("server {leader} {WAITS_FOR_A_MAJORITY}"))
                }
            };
            self.publish_place(zab);
            self.say_why_it_waits(waits);
        }
    }

    /// Says now and then why a server does nothing.
    fn say_why_it_waits(&mut self, why: Option<String>) {
        let now_ms = self.clock.monotonic().now_ms();
        match why {
            None => self.waiting_said_ms = now_ms + WAITING_SILENCE_MS,
            Some(why) if now_ms >= self.waiting_said_ms => {
                self.waiting_said_ms = now_ms + WAITING_SILENCE_MS;
                warn!("{why}");
            }
            Some(_) => {}
        }
    }

    fn publish_place(&self, zab: &Zab) {
        let mut place = self
            .figures
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let leads = zab.role() == Role::Leading && zab.is_established();
        let since_ms = match (leads, place.leading_since_ms) {
            (false, _) => -1,
            (true, ..0) => self.clock.monotonic().now_ms(),
            (true, since_ms) => since_ms,
        };
        if zab.role() != Role::Leading {
            // Whoever leads next begins anew.
            self.figures.proposal_sizes.reset();
        }
        *place = Place {
            role: zab.role(),
            is_read_only: self.replica.is_read_only(),
            leader: zab.leader(),
            learners: zab.learners(),
            pending_syncs: zab.pending_syncs(),
            members: Some(Arc::clone(&zab.configs().committed)),
            leading_since_ms: since_ms,
        };
    }
}
