//! What all connections of a run stand on: the servers, the clock, and when to stop.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::invocation::Credential;

/// Where and how to connect, and what time it is.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Never empty.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) credentials: Vec<Credential>,
    /// As wished for.
    pub(crate) session_timeout_ms: i32,
    pub(crate) connect_timeout: Duration,
    base: Instant,
    /// Milliseconds of the wall clock at `base`.
    base_unix_ms: u64,
    /// Requests answered so far, for the progress line.
    pub(crate) answered: AtomicU64,
}

impl Ground {
    pub(crate) fn new(
        servers: Vec<SocketAddr>,
        credentials: Vec<Credential>,
        session_timeout_ms: i32,
        connect_timeout: Duration,
    ) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            servers,
            credentials,
            session_timeout_ms,
            connect_timeout,
            base: Instant::now(),
            base_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the program began.
    pub(crate) fn now_ns(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    /// A time as milliseconds of the wall clock.
    pub(crate) fn unix_ms(&self, at_ns: u64) -> u64 {
        self.base_unix_ms + at_ns / 1_000_000
    }
}

/// How long a part of the run takes, and how dense its load is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Requests of one connection under way at most.
    pub(crate) in_flight: usize,
    pub(crate) warmup: Duration,
    /// How long is measured; none: until there is nothing left to do.
    pub(crate) duration: Option<Duration>,
    /// Requests a second over all connections.
    pub(crate) rate: Option<f64>,
}

/// The times of one part of a run, known once all its connections are there.
#[derive(Debug)]
pub(crate) struct Window {
    pace: Pace,
    start_ns: OnceLock<u64>,
    aborted: AtomicBool,
}

impl Window {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace,
            start_ns: OnceLock::new(),
            aborted: AtomicBool::new(false),
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// When the load began; called first by a connection that starts it.
    pub(crate) fn start_ns(&self, ground: &Ground) -> u64 {
        *self.start_ns.get_or_init(|| ground.now_ns())
    }

    /// From when on requests count.
    pub(crate) fn measured_from_ns(&self, ground: &Ground) -> u64 {
        self.start_ns(ground)
            .saturating_add(nanos(self.pace.warmup))
    }

    /// From when on no request is due.
    pub(crate) fn over_ns(&self, ground: &Ground) -> u64 {
        match self.pace.duration {
            None => u64::MAX,
            Some(duration) => self
                .measured_from_ns(ground)
                .saturating_add(nanos(duration)),
        }
    }

    /// Ends the part early, as a connection cannot be had.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }
}

/// Finds the longest time in which nothing was acknowledged, over all connections.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    last_ns: AtomicU64,
    longest_ns: AtomicU64,
    /// When the longest one began.
    began_ns: Mutex<u64>,
}

impl Gap {
    /// Takes note of an acknowledgement.
    pub(crate) fn acknowledged(&self, now_ns: u64) {
        let last_ns = self.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        let gap_ns = now_ns.saturating_sub(last_ns);
        if last_ns > 0 && self.longest_ns.fetch_max(gap_ns, Ordering::Relaxed) < gap_ns {
            *self.began_ns.lock().unwrap_or_else(PoisonError::into_inner) = last_ns;
        }
    }

    /// The longest gap and when it began, in nanoseconds.
    pub(crate) fn longest_ns(&self) -> (u64, u64) {
        let began_ns = *self.began_ns.lock().unwrap_or_else(PoisonError::into_inner);
        (self.longest_ns.load(Ordering::Relaxed), began_ns)
    }
}

/// A duration in nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_two_acknowledgements() {
        let gap = Gap::default();
        for now_ns in [1_000, 1_010, 1_005, 1_900, 1_950, 2_000] {
            gap.acknowledged(now_ns);
        }
        assert_eq!(gap.longest_ns(), (890, 1_010));
    }
}
