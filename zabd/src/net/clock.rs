//! One monotonic clock for all who compare times.

use std::time::Instant;

/// Time since the clock was made. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock(Instant);

impl MonotonicClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// A clock that started at `origin`.
    #[must_use]
    pub const fn since(origin: Instant) -> Self {
        Self(origin)
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us() / 1000
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}
