//! The clocks of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::net::clock::MonotonicClock;
use crate::replica::clock::Clock;

/// Reads the machine's clocks; monotonic time begins when this is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemClock {
    monotonic: MonotonicClock,
}

impl SystemClock {
    /// Begins at zero.
    #[must_use]
    pub(super) fn start() -> Self {
        Self {
            monotonic: MonotonicClock::start(),
        }
    }

    /// The monotonic clock alone.
    #[must_use]
    pub(super) const fn monotonic(&self) -> MonotonicClock {
        self.monotonic
    }

    /// Both clocks.
    #[must_use]
    pub(super) fn now(&self) -> Clock {
        // A clock before 1970 is a clock that was never set.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            monotonic_ms: self.monotonic.now_ms(),
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }
}
