//! What a run is made of; everything in it follows from the seed.

use zabd::replica::params::LocalSessions;

use crate::sim::rng::Rng;

/// A way to break servers, clients or their world on purpose, to see the checkers fire. The fault is in the simulator,
/// never in the code under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Replies to writes name the transaction behind the right one, now and then.
    AckNamesNext,
    /// Writes are reported durable when they are handed to the disk, and crashes lose more than they should.
    DurableBeforeSync,
    /// Disks lose the end of the log in a crash.
    LogTailLost,
    /// A committed transaction is not applied now and then.
    CommitLost,
    /// Two committed transactions are applied in the wrong order.
    CommitsSwapped,
    /// A server applies something else than was committed, now and then.
    AppliedGarbled,
    /// A learner passes a request on twice, now and then.
    RequestTwice,
    /// A learner keeps a request back, and passes it on much later.
    RequestLate,
    /// Reads say that they show an older state than they do, now and then.
    ReadsNameOldZxid,
    /// The end of a sync names an older transaction, now and then.
    SyncNamesOldZxid,
    /// Syncs are answered by the server that is asked, without the leader.
    SyncAtOnce,
    /// Reads are carried out before what waits in the outbox is sent.
    EventsAfterReads,
    /// An event is lost now and then.
    EventLost,
    /// An event is sent twice now and then.
    EventTwice,
    /// A client that comes back does not say what it watches.
    WatchesForgotten,
    /// A batch of replies is sent in the wrong order.
    RepliesReversed,
    /// A failed request is answered with another code.
    WrongCode,
    /// Learners do not tell their leader which sessions they have heard of.
    TouchesLost,
    /// The leader does not look at when its own clients were heard of.
    SilenceAssumed,
    /// The clock of a new leader runs ahead.
    ClockRuns,
    /// Sessions never expire.
    ExpiryForgotten,
    /// A session that ends leaves a node behind.
    EphemeralLeft,
    /// Clients are told that their session is over, and it is not.
    LiveSessionRefused,
    /// Nothing goes over the election port any more.
    ElectionDeaf,
    /// Who comes up knows of no change of the members.
    ChangesForgotten,
    /// A change of the members that is proposed is written down as if it were in force.
    ActivatedAtOnce,
    /// A server lets clients in whose sessions it does not know.
    ForeignSessionLetIn,
    /// A server that may only show what it has says that it has carried out changes.
    ReadOnlyTakesWrites,
    /// A server that may only show what it has shows it to everybody.
    ReadOnlyForAll,
    /// A server that has lost its copy votes as if that were all there was.
    RepairedVotes,
    /// Servers do not say who the members are that they went by when they began to serve.
    MembersUnsaid,
    /// A leader's snapshot is put in place before what stands behind it has come.
    SnapshotAlone,
    /// A leader that is to take no clients takes them.
    LeaderServes,
    /// A server that finds its tree to be another than its leader's goes on.
    DifferenceOverlooked,
    /// What is on disk is said to be the leader's tree, whatever it is.
    CheckAgrees,
    /// Nobody says whether what is on disk is the leader's tree.
    CheckUnanswered,
    /// When a server finds its tree to be another, all are told that theirs is.
    OthersDoubtToo,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::AckNamesNext,
        Self::DurableBeforeSync,
        Self::LogTailLost,
        Self::CommitLost,
        Self::CommitsSwapped,
        Self::AppliedGarbled,
        Self::RequestTwice,
        Self::RequestLate,
        Self::ReadsNameOldZxid,
        Self::SyncNamesOldZxid,
        Self::SyncAtOnce,
        Self::EventsAfterReads,
        Self::EventLost,
        Self::EventTwice,
        Self::WatchesForgotten,
        Self::RepliesReversed,
        Self::WrongCode,
        Self::TouchesLost,
        Self::SilenceAssumed,
        Self::ClockRuns,
        Self::ExpiryForgotten,
        Self::EphemeralLeft,
        Self::LiveSessionRefused,
        Self::ElectionDeaf,
        Self::ChangesForgotten,
        Self::ActivatedAtOnce,
        Self::MembersUnsaid,
        Self::ForeignSessionLetIn,
        Self::RepairedVotes,
        Self::ReadOnlyTakesWrites,
        Self::ReadOnlyForAll,
        Self::SnapshotAlone,
        Self::LeaderServes,
        Self::DifferenceOverlooked,
        Self::CheckAgrees,
        Self::CheckUnanswered,
        Self::OthersDoubtToo,
    ];
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// How many things go wrong.
    pub count: u64,
    /// Servers may crash, and lose what was not synced.
    pub crashes: bool,
    /// Servers may stand still for a while.
    pub pauses: bool,
    /// The network may be cut, between servers and between clients and servers.
    pub cuts: bool,
    /// Connections may break.
    pub breaks: bool,
    /// A server may lag behind: what it sends and is sent takes longer for a while.
    pub slow_links: bool,
    /// Disks may be slow for a while.
    pub slow_disks: bool,
    /// Disks may be full for a while.
    pub full_disks: bool,
    /// Wall clocks may jump, forth and back.
    pub clock_jumps: bool,
    /// The copy of a server that is down may be found damaged, one at a time.
    pub damage: bool,
    /// The copy of a server may become another than its transactions come to, one at a time.
    pub differs: bool,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of everything.
    pub seed: u64,
    /// How many servers vote: those with the lowest ids.
    pub voters: u64,
    /// How many do not.
    pub observers: u64,
    /// How many do not even belong to the ensemble at first.
    pub spares: u64,
    /// The members change.
    pub changes: bool,
    /// After so many ticks without a leader a server shows what it has; some clients are content with that.
    pub read_only_ticks: Option<i64>,
    /// Whether who leads takes clients, too.
    pub leader_serves: bool,
    /// Whether sessions begin as one server's.
    pub local_sessions: LocalSessions,
    /// How many clients.
    pub clients: usize,
    /// How many requests each sends while things go wrong, about.
    pub requests: u64,
    /// A tick of the servers, in milliseconds.
    pub tick_ms: i64,
    /// Ticks to connect and synchronise.
    pub init_limit: i64,
    /// Ticks of silence.
    pub sync_limit: i64,
    /// The longest wait before votes are sent again, in milliseconds.
    pub notification_max_ms: i64,
    /// Committed transactions that servers keep in memory.
    pub recent_max: usize,
    /// Learners are always sent a snapshot.
    pub force_snapshot_sync: bool,
    /// How long things go wrong, in ticks.
    pub fault_ticks: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// How long a message is under way, in microseconds at the most.
    pub network_us: u64,
    /// How long a sync of the disk takes, in microseconds at the most.
    pub sync_us: u64,
    /// How long a snapshot or a part of the log is under way, in microseconds at the most.
    pub bulk_us: u64,
    /// How often snapshots are brought up to date and logs cut, in microseconds at the most.
    pub fold_us: u64,
    /// How long a thread may take to notice that it has something to do, in microseconds at the most.
    pub wakeup_us: u64,
    /// How many transactions are applied at once.
    pub apply_at_once: usize,
    /// How many bytes a connection writes at once.
    pub out_bytes: usize,
    /// Once in so many questions the log says that it is of no use.
    pub unusable_one_in: u64,
    /// Something is broken on purpose.
    pub planted: Option<Planted>,
    /// Every step is printed.
    pub prints: bool,
}

impl Plan {
    /// A history with everything that can happen, drawn from `seed`.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x6d65_6d62_6572);
        // Drawn apart, so that seeds kept from before mean what they meant.
        let mut apart = Rng::new(seed ^ 0x6368_616e_6765);
        let changes = apart.chance(1, 3);
        let spares = if changes { apart.below(2) } else { 0 };
        let faults = Faults {
            count: *rng.pick(&[0, 5, 15, 30, 60]),
            crashes: rng.chance(3, 4),
            pauses: rng.chance(1, 2),
            cuts: rng.chance(3, 4),
            breaks: rng.chance(1, 2),
            slow_links: rng.chance(1, 2),
            slow_disks: rng.chance(1, 4),
            full_disks: rng.chance(1, 6),
            clock_jumps: rng.chance(1, 4),
            damage: if changes {
                Rng::new(seed ^ 0x6d61_7200).chance(1, 4)
            } else {
                apart.chance(1, 4)
            },
            // With fewer members there may be nobody to settle who is right.
            differs: !changes && Rng::new(seed ^ 0x6269_7400).chance(1, 4),
        };
        Self {
            seed,
            spares,
            changes,
            leader_serves: !Rng::new(seed ^ 0x6c65_6164).chance(1, 8),
            // An onlooker is shown whatever there is, and nobody compares that.
            read_only_ticks: apart
                .pick(&[None, None, Some(1), Some(3)])
                .filter(|_| !faults.differs),
            local_sessions: *apart.pick(&[
                LocalSessions::Off,
                LocalSessions::Off,
                LocalSessions::Off,
                LocalSessions::Kept,
                LocalSessions::Upgraded,
                LocalSessions::Upgraded,
            ]),
            voters: *rng.pick(&[3, 3, 3, 3, 5]),
            observers: *rng.pick(&[0, 0, 1, 2]),
            clients: *rng.pick(&[1, 2, 3, 3, 4, 6]),
            requests: *rng.pick(&[10, 20, 40, 60]),
            tick_ms: *rng.pick(&[200, 500, 2000]),
            init_limit: *rng.pick(&[5, 10]),
            sync_limit: *rng.pick(&[2, 5]),
            notification_max_ms: *rng.pick(&[800, 5_000]),
            recent_max: *rng.pick(&[1, 3, 10, 500]),
            force_snapshot_sync: rng.chance(1, 20),
            fault_ticks: *rng.pick(&[20, 40, 80]),
            faults,
            network_us: *rng.pick(&[100, 1_000, 10_000, 40_000]),
            sync_us: *rng.pick(&[100, 5_000, 50_000]),
            bulk_us: *rng.pick(&[1_000, 50_000, 500_000]),
            fold_us: *rng.pick(&[500_000, 5_000_000, 50_000_000]),
            wakeup_us: *rng.pick(&[1, 20, 500, 5_000]),
            apply_at_once: *rng.pick(&[1, 2, 8, 128]),
            out_bytes: *rng.pick(&[1, 200, 64 << 10]),
            unusable_one_in: *rng.pick(&[2, 5, 1_000_000]),
            planted: None,
            prints: false,
        }
    }

    /// The same with something broken on purpose.
    #[must_use]
    pub const fn with_planted(mut self, planted: Planted) -> Self {
        self.planted = Some(planted);
        if matches!(planted, Planted::SyncAtOnce) {
            // Somebody has to lag behind.
            self.faults.slow_links = true;
            self.faults.count = 30;
        }
        if matches!(
            planted,
            Planted::ChangesForgotten | Planted::ActivatedAtOnce
        ) {
            self.changes = true;
        }
        if matches!(
            planted,
            Planted::ReadOnlyTakesWrites | Planted::ReadOnlyForAll
        ) {
            self.read_only_ticks = Some(1);
            self.faults.crashes = true;
            self.faults.count = 30;
        }
        if matches!(planted, Planted::LeaderServes) {
            self.leader_serves = false;
        }
        if matches!(planted, Planted::ForeignSessionLetIn) {
            self.local_sessions = LocalSessions::Upgraded;
        }
        if matches!(planted, Planted::RepairedVotes) {
            self.changes = false;
            self.faults.damage = true;
        }
        if matches!(
            planted,
            Planted::DifferenceOverlooked
                | Planted::CheckAgrees
                | Planted::CheckUnanswered
                | Planted::OthersDoubtToo
        ) {
            self.changes = false;
            self.spares = 0;
            self.faults.differs = true;
            self.read_only_ticks = None;
            // There has to be a snapshot.
            self.fold_us = 500_000;
        }
        if matches!(planted, Planted::OthersDoubtToo) {
            self.faults.count = 0;
        }
        if matches!(planted, Planted::SnapshotAlone) {
            // Snapshots have to be old, and power cuts frequent.
            self.force_snapshot_sync = true;
            self.fold_us = 50_000_000;
            self.sync_us = 50_000;
            self.faults.count = 60;
            self.faults.crashes = true;
        }
        self
    }

    pub(super) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// All servers, those that vote first.
    pub(super) fn servers(&self) -> impl Iterator<Item = i64> + use<> {
        1..=(self.voters + self.observers + self.spares).cast_signed()
    }

    /// Those that belong to the ensemble at first.
    pub(super) fn members(&self) -> impl Iterator<Item = i64> + use<> {
        1..=(self.voters + self.observers).cast_signed()
    }
}
