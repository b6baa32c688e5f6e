//! What a run is made of; everything in it follows from the seed.

use crate::sim::rng::Rng;

/// A way to break a server or its world on purpose, to see the checkers fire. The fault is in the simulator, between
/// the core and its world, never in the code under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Writes are reported durable when they are handed to the disk.
    DurableBeforeSync,
    /// Epoch files reach the disk before what was written ahead of them.
    EpochBeforeHistory,
    /// A learner acknowledges proposals when they come.
    AckBeforeLog,
    /// A learner acknowledges NEWLEADER when it comes.
    NewLeaderAckAtOnce,
    /// Acknowledgements of a learner come in the wrong order.
    AcksSwapped,
    /// The leader's COMMITs leave in the wrong order.
    CommitsSwapped,
    /// A PROPOSAL is left out of what the leader sends.
    ProposalLeftOut,
    /// PROPOSALs lose their bytes on the way out.
    ProposalGarbled,
    /// Packets from a leader overtake each other on the way.
    WireSwaps,
    /// UPTODATE is sent in place of NEWLEADER, and the other way round.
    StagesSwapped,
    /// INFORM goes to followers in place of COMMIT.
    InformForAll,
    /// The leader tells learners to cut more than they need to.
    TruncTooFar,
    /// A learner leaves a TRUNC undone, and says that it is done.
    TruncIgnored,
    /// What is committed is applied in the wrong order.
    AppliedSwapped,
    /// What is committed is applied when the epoch is over.
    AppliedLate,
    /// What is committed is not applied now and then.
    CommitLost,
    /// Something else is applied than was proposed.
    AppliedGarbled,
    /// Disks lose the end of the log in a crash.
    LogTailLost,
    /// Disks lose the epochs in a crash.
    EpochsLost,
    /// A server that has promised an epoch promises it a second time.
    DoubleVote,
    /// Every server takes itself for a quorum.
    EveryoneAQuorum,
    /// The log is written with a gap.
    LogGap,
    /// A server's vote names an older transaction than it has.
    VoteTooOld,
    /// SNAP names a younger transaction than the leader has.
    SnapshotAhead,
    /// A server that has lost its copy votes as if that were all there was.
    RepairedVotes,
    /// A snapshot is installed before what stands behind it has come.
    SnapshotAlone,
    /// Nothing goes over the election port any more.
    ElectionDeaf,
    /// Snapshots on disk take in what is logged and not committed.
    SnapshotUncommitted,
    /// A snapshot of the leader is taken into memory, and never to disk.
    SnapshotNotSaved,
    /// What a learner takes over is logged when it serves, and said to be durable before.
    SyncUnlogged,
    /// A learner overlooks COMMITs between NEWLEADER and UPTODATE.
    CommitLostInSync,
    /// What a role that is over has handed to the log is written when the next one serves.
    LateWriter,
    /// Who comes up knows of no change of the members.
    ChangesForgotten,
    /// A change of the members is acknowledged in the name of those who are to vote by it, before they have it.
    OldQuorumAlone,
    /// A change of the members that is proposed is written down as if it were in force.
    ActivatedAtOnce,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::DurableBeforeSync,
        Self::EpochBeforeHistory,
        Self::AckBeforeLog,
        Self::NewLeaderAckAtOnce,
        Self::AcksSwapped,
        Self::CommitsSwapped,
        Self::ProposalLeftOut,
        Self::ProposalGarbled,
        Self::WireSwaps,
        Self::StagesSwapped,
        Self::InformForAll,
        Self::TruncTooFar,
        Self::TruncIgnored,
        Self::AppliedSwapped,
        Self::AppliedLate,
        Self::CommitLost,
        Self::AppliedGarbled,
        Self::LogTailLost,
        Self::EpochsLost,
        Self::DoubleVote,
        Self::EveryoneAQuorum,
        Self::LogGap,
        Self::VoteTooOld,
        Self::SnapshotAhead,
        Self::RepairedVotes,
        Self::SnapshotAlone,
        Self::ElectionDeaf,
        Self::SnapshotUncommitted,
        Self::SnapshotNotSaved,
        Self::SyncUnlogged,
        Self::CommitLostInSync,
        Self::LateWriter,
        Self::ChangesForgotten,
        Self::OldQuorumAlone,
        Self::ActivatedAtOnce,
    ];
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// How many things go wrong.
    pub count: u64,
    /// Servers may crash.
    pub crashes: bool,
    /// Servers may stand still for a while.
    pub pauses: bool,
    /// The network may be cut.
    pub cuts: bool,
    /// Connections may break.
    pub breaks: bool,
    /// Disks may be slow for a while.
    pub slow_disks: bool,
    /// Disks may be full for a while.
    pub full_disks: bool,
    /// The end of a log may be damaged, never so much that no quorum has it whole.
    pub damage: bool,
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
    /// So many voters find all that they have damaged at once, at some time, after everything has lost power.
    pub ruined: u64,
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
    /// How many transactions are submitted meanwhile, about.
    pub transactions: u64,
    /// How many at once, at the most.
    pub burst: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// The members change.
    pub changes: bool,
    /// How long a message is under way, in microseconds at the most.
    pub network_us: u64,
    /// How long a sync of the disk takes, in microseconds at the most.
    pub sync_us: u64,
    /// How long a snapshot or a part of the log is under way, in microseconds at the most.
    pub bulk_us: u64,
    /// How often snapshots are brought up to date and logs cut, in microseconds at the most.
    pub fold_us: u64,
    /// The last counter of an epoch.
    pub counter_max: i64,
    /// Once in so many questions the log says that it is of no use.
    pub unusable_one_in: u64,
    /// What follows a snapshot is read while the snapshot is still being installed.
    pub reads_ahead: bool,
    /// The world is broken on purpose.
    pub planted: Option<Planted>,
    /// Only this promise is watched.
    pub only: Option<&'static str>,
    /// Every step is printed.
    pub prints: bool,
}

impl Plan {
    /// A history with everything that can happen, drawn from `seed`.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x007a_6162_0000);
        let faults = Faults {
            count: *rng.pick(&[0, 5, 15, 40, 80]),
            crashes: rng.chance(3, 4),
            pauses: rng.chance(1, 2),
            cuts: rng.chance(3, 4),
            breaks: rng.chance(1, 2),
            slow_disks: rng.chance(1, 4),
            full_disks: rng.chance(1, 6),
            // Drawn apart, so that seeds kept from before mean what they meant.
            damage: Rng::new(seed ^ 0x6461_6d61_6765).chance(1, 6),
        };
        let voters = *rng.pick(&[1, 3, 3, 3, 3, 5, 5]);
        let mut ruin = Rng::new(seed ^ 0x7275_696e);
        let ruined = if ruin.chance(1, 8) {
            ruin.between(1, voters)
        } else {
            0
        };
        // Drawn apart, as above. Whose whole copy others need is not told of members that change.
        let changes =
            ruined == 0 && !faults.damage && Rng::new(seed ^ 0x6d65_6d62_6572).chance(1, 3);
        Self {
            seed,
            voters,
            ruined,
            observers: *rng.pick(&[0, 0, 1, 2]),
            tick_ms: *rng.pick(&[200, 500, 2000]),
            init_limit: *rng.pick(&[5, 10]),
            sync_limit: *rng.pick(&[2, 5]),
            notification_max_ms: *rng.pick(&[800, 5_000, 60_000]),
            recent_max: *rng.pick(&[1, 3, 10, 500]),
            force_snapshot_sync: rng.chance(1, 20),
            fault_ticks: *rng.pick(&[20, 60, 120, 200]),
            transactions: *rng.pick(&[5, 30, 100, 300]),
            burst: *rng.pick(&[1, 3, 20]),
            faults,
            changes,
            network_us: *rng.pick(&[100, 1_000, 20_000, 100_000]),
            sync_us: *rng.pick(&[100, 5_000, 50_000]),
            bulk_us: *rng.pick(&[1_000, 50_000, 500_000]),
            fold_us: *rng.pick(&[500_000, 5_000_000, 50_000_000]),
            // Drawn apart, as above.
            counter_max: *Rng::new(seed ^ 0x726f_6c6c).pick(&[7, 50, 0xffff_fffe, 0xffff_fffe]),
            unusable_one_in: *rng.pick(&[2, 5, 1_000_000]),
            reads_ahead: rng.chance(1, 2),
            planted: None,
            only: None,
            prints: false,
        }
    }

    /// The same with the world broken on purpose, and only one promise watched.
    #[must_use]
    pub const fn with_planted(mut self, planted: Planted, only: Option<&'static str>) -> Self {
        self.planted = Some(planted);
        self.only = only;
        self.changes = matches!(
            planted,
            Planted::ChangesForgotten | Planted::OldQuorumAlone | Planted::ActivatedAtOnce
        );
        if self.changes {
            self.faults.damage = false;
            self.ruined = 0;
        }
        if matches!(planted, Planted::SnapshotAlone | Planted::SnapshotNotSaved) {
            self.force_snapshot_sync = true;
        }
        if matches!(planted, Planted::RepairedVotes) {
            self.ruined = self.voters.div_ceil(2);
        }
        self
    }

    pub(super) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// All servers, those that vote first.
    pub(super) fn servers(&self) -> impl Iterator<Item = i64> + use<> {
        1..=(self.voters + self.observers).cast_signed()
    }
}
