//! What a run is made of; everything in it follows from the seed.

use super::rng::Rng;

/// A way to break the server on purpose, to see the checker fire. The fault is in the simulator's driver, never in the
/// code under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Writes are reported durable when they are handed to the log.
    DurableBeforeSync,
    /// Writes are applied without waiting for the log at all.
    ApplyBeforeDurable,
    /// Reads are carried out before what waits in the outbox is sent.
    EventsAfterReads,
    /// An event is lost now and then.
    EventLost,
    /// An event is sent twice now and then.
    EventTwice,
    /// A batch of replies is sent in the wrong order.
    RepliesReversed,
    /// Reads do not wait for the session's own writes; what they find is sent in order.
    ReadsDoNotWait,
    /// Two transactions are applied in the wrong order.
    CommitsSwapped,
    /// A fold forgets a deletion.
    FoldSkipsDeletion,
    /// A fold forgets a node that changed.
    FoldSkipsRow,
    /// Recovery loses a session.
    RecoveryDropsSession,
    /// Recovery leaves the end of the log away.
    RecoveryDropsTail,
    /// Recovery carries out the last multi of the log in part.
    RecoveryHalvesMulti,
    /// Signs of life that are not writes are ignored.
    SilenceAssumed,
    /// What a connection has heard is forgotten with it.
    LastWordsLost,
    /// Sessions are never looked at.
    ExpiryForgotten,
    /// A password is not looked at.
    PasswordIgnored,
    /// A write reaches the replica twice now and then.
    RequestTwice,
    /// Replies to reads name an older transaction now and then.
    ReadsNameOldZxid,
    /// A failed request is answered with another code.
    WrongCode,
    /// The predicted digests are wrong.
    WrongDigest,
    /// The log never reports anything.
    LogSilent,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::DurableBeforeSync,
        Self::ApplyBeforeDurable,
        Self::EventsAfterReads,
        Self::EventLost,
        Self::EventTwice,
        Self::RepliesReversed,
        Self::ReadsDoNotWait,
        Self::CommitsSwapped,
        Self::FoldSkipsDeletion,
        Self::FoldSkipsRow,
        Self::RecoveryDropsSession,
        Self::RecoveryDropsTail,
        Self::RecoveryHalvesMulti,
        Self::SilenceAssumed,
        Self::LastWordsLost,
        Self::ExpiryForgotten,
        Self::PasswordIgnored,
        Self::RequestTwice,
        Self::ReadsNameOldZxid,
        Self::WrongCode,
        Self::WrongDigest,
        Self::LogSilent,
    ];
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Crashes at random moments, at the most.
    pub crashes: u64,
    /// Crashes in the middle of a random disk operation, at the most.
    pub disk_crashes: u64,
    /// Whether syncs and writes may fail.
    pub disk_errors: bool,
    /// Whether the disk may be full for a while.
    pub disk_full: bool,
    /// Whether the disk may be very slow for a while.
    pub disk_slow: bool,
    /// Whether the wall clock may jump, forth and back.
    pub clock_jumps: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        crashes: 0,
        disk_crashes: 0,
        disk_errors: false,
        disk_full: false,
        disk_slow: false,
        clock_jumps: false,
    };
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// How many clients.
    pub clients: usize,
    /// How many requests each sends, about.
    pub requests: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// Whether TTL nodes exist.
    pub extended_types: bool,
    /// How long a message is under way, in microseconds at the most.
    pub network_us: u64,
    /// How long a sync of the disk takes, in microseconds at the most.
    pub sync_us: u64,
    /// How long a thread may take to notice that it has something to do, in microseconds at the most.
    pub wakeup_us: u64,
    /// How often the snapshot is brought up to date, in microseconds at the most.
    pub fold_us: u64,
    /// How many nodes a fold copies at once.
    pub fold_slice: usize,
    /// How many transactions are applied at once.
    pub apply_at_once: usize,
    /// How many bytes a connection writes at once.
    pub out_bytes: usize,
    /// A crash in the middle of this disk operation, counted over the run, and how the persistence of what was not
    /// synced is drawn.
    pub crash_point: Option<(u64, u64)>,
    /// The server is broken on purpose.
    pub planted: Option<Planted>,
    /// Every step is printed.
    pub prints: bool,
}

impl Plan {
    /// A history with everything that can happen, drawn from `seed`.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0070_6c61_6e00);
        let faults = Faults {
            crashes: *rng.pick(&[0, 0, 1, 1, 2, 4]),
            disk_crashes: *rng.pick(&[0, 0, 1, 2]),
            disk_errors: rng.chance(1, 4),
            disk_full: rng.chance(1, 6),
            disk_slow: rng.chance(1, 5),
            clock_jumps: rng.chance(1, 4),
        };
        Self {
            seed,
            clients: *rng.pick(&[1, 2, 2, 3, 3, 4, 6]),
            requests: *rng.pick(&[10, 20, 40, 60, 90]),
            faults,
            extended_types: rng.chance(2, 3),
            network_us: *rng.pick(&[50, 500, 5_000, 100_000]),
            sync_us: *rng.pick(&[50, 1_000, 10_000, 200_000]),
            wakeup_us: *rng.pick(&[1, 20, 500, 5_000]),
            fold_us: *rng.pick(&[2_000, 20_000, 500_000, 10_000_000]),
            fold_slice: *rng.pick(&[1, 2, 8, 128]),
            apply_at_once: *rng.pick(&[1, 2, 8, 128]),
            out_bytes: *rng.pick(&[1, 200, 64 << 10]),
            crash_point: None,
            planted: None,
            prints: false,
        }
    }

    /// A history of fixed shape without faults but the crash asked for.
    #[must_use]
    pub fn crash_point(seed: u64, crash_point: Option<(u64, u64)>) -> Self {
        Self {
            clients: 3,
            requests: 60,
            faults: Faults::NONE,
            extended_types: true,
            network_us: 500,
            sync_us: 1_000,
            wakeup_us: 50,
            fold_us: 20_000,
            fold_slice: 2,
            apply_at_once: 8,
            out_bytes: 64 << 10,
            crash_point,
            ..Self::random(seed)
        }
    }

    /// The same with the server broken on purpose.
    #[must_use]
    pub const fn with_planted(mut self, planted: Planted) -> Self {
        self.planted = Some(planted);
        self
    }

    pub(super) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }
}
