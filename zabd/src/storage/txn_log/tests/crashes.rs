//! A crash at every operation: what was acknowledged is there, and nothing that was not submitted.

use proptest::prelude::*;

use super::*;
use crate::storage::disk::Crash;

#[derive(Clone, Debug)]
enum Op {
    Append { txns: i64, len: usize },
    NewEpoch,
    Sync,
    Roll,
    Purge { back: i64 },
    Truncate { back: usize },
    Restart,
    PrepareSpare,
    Reopen,
}

/// What the caller of the log knows.
#[derive(Clone, Debug, Default)]
struct Model {
    acked: Vec<Zxid>,
    pending: Vec<Zxid>,
    /// What a running truncation puts in the place of `acked`.
    becoming: Option<Vec<Zxid>>,
    /// The history begins after this, at the latest.
    purged: Zxid,
    /// The snapshot that the log continues.
    restarted_at: Zxid,
    /// The snapshot that a running restart continues.
    restarting_at: Option<Zxid>,
}

impl Model {
    fn last(&self) -> Zxid {
        self.pending
            .last()
            .or(self.acked.last())
            .copied()
            .unwrap_or(self.restarted_at)
    }

    fn durable(&self) -> Zxid {
        self.acked.last().copied().unwrap_or(self.restarted_at)
    }

    fn run(&mut self, log: &mut TxnLog<SimDisk>, op: &Op) -> Result<(), LogError> {
        match op {
            Op::Append { txns, len } => {
                for _ in 0..*txns {
                    let zxid = self.last().next();
                    log.append(zxid, txn(zxid, *len))?;
                    self.pending.push(zxid);
                }
            }
            Op::NewEpoch => {
                let zxid = Zxid(((self.last().epoch() + 1) << 32) + 1);
                log.append(zxid, txn(zxid, 30))?;
                self.pending.push(zxid);
            }
            Op::Sync | Op::Roll => {
                if matches!(op, Op::Sync) {
                    log.sync()?;
                } else {
                    log.roll()?;
                }
                self.acked.append(&mut self.pending);
            }
            Op::Purge { back } => {
                self.purged = self.purged.max(Zxid(self.durable().0 - back));
                log.purge(self.purged)?;
            }
            Op::Truncate { back } => {
                let kept = self.acked.len().saturating_sub(*back);
                let Some(cut) = self.acked[..kept]
                    .last()
                    .copied()
                    .filter(|cut| *cut > self.purged)
                else {
                    return Ok(());
                };
                self.pending.clear();
                self.becoming = Some(self.acked[..kept].to_vec());
                assert_eq!(log.truncate_after(cut)?, cut);
                self.acked = self.becoming.take().unwrap();
            }
            Op::Restart => {
                let at = Zxid(self.last().0 + 7);
                self.pending.clear();
                self.restarting_at = Some(at);
                log.restart_at(at)?;
                self.acked.clear();
                self.restarted_at = at;
                self.restarting_at = None;
            }
            Op::PrepareSpare => log.spares().prepare()?,
            Op::Reopen => {}
        }
        Ok(())
    }

    /// Panics unless `log` holds what it must and may; the model then knows which of the possibilities it is.
    fn check(&mut self, log: &TxnLog<SimDisk>) {
        let base = log.index().oldest_base().unwrap_or(Zxid::ZERO);
        let records = try_contents(log, base).unwrap();
        for (zxid, bytes) in &records {
            assert_eq!(*bytes, txn(*zxid, bytes.len()), "contents of {zxid}");
        }
        let found: Vec<Zxid> = records.into_iter().map(|(zxid, _)| zxid).collect();
        assert_eq!(log.last_zxid(), found.last().copied().unwrap_or(base));
        let tail_of = |history: &[Zxid]| -> Vec<Zxid> {
            history
                .iter()
                .copied()
                .filter(|zxid| *zxid > base)
                .collect()
        };

        let becoming = self.becoming.take();
        if let Some(at) = self.restarting_at.take()
            && base == at
        {
            assert!(found.is_empty());
            *self = Self {
                restarted_at: at,
                ..Self::default()
            };
            return;
        }
        assert!(
            base <= self.purged.max(self.restarted_at),
            "history begins after {base}: {self:?}"
        );
        if let Some(becoming) = becoming
            && found == tail_of(&becoming)
        {
            self.acked = becoming;
            self.pending.clear();
            return;
        }
        let whole: Vec<Zxid> = self.acked.iter().chain(&self.pending).copied().collect();
        let whole = tail_of(&whole);
        assert!(
            found.len() >= tail_of(&self.acked).len(),
            "acknowledged transactions are missing: {found:?} {self:?}"
        );
        assert!(
            whole.starts_with(&found),
            "not the history: {found:?} {self:?}"
        );
        let unacked = found
            .iter()
            .filter(|zxid| **zxid > self.durable())
            .copied()
            .collect::<Vec<_>>();
        self.acked.extend(unacked);
        self.pending.clear();
    }
}

/// Runs `ops` until one fails, then ends the boot.
fn run_until_crash(disk: &SimDisk, ops: &[Op], model: &mut Model) {
    let Ok((mut log, _)) = try_open(disk) else {
        return;
    };
    for op in ops {
        if matches!(op, Op::Reopen) {
            let acks = std::mem::take(&mut model.pending);
            if let Err(error) = log.close() {
                assert!(disk.is_off(), "{error}");
                model.pending = acks;
                return;
            }
            model.acked.extend(acks);
            match try_open(disk) {
                Ok((reopened, _)) => log = reopened,
                Err(error) => {
                    assert!(disk.is_off(), "{error}");
                    return;
                }
            }
        } else if let Err(error) = model.run(&mut log, op) {
            assert!(disk.is_off(), "{op:?}: {error}");
            return;
        }
    }
}

/// Crashes at operation `at` of `ops`, once more during recovery, and then goes on living.
fn crash_and_recover(ops: &[Op], at: u64, seed: u64, crash: Crash) {
    let disk = SimDisk::new(seed);
    let mut model = Model::default();
    disk.crash_at(at);
    run_until_crash(&disk, ops, &mut model);
    disk.reboot(crash);

    // A crash while recovering changes nothing about what must be found.
    disk.crash_at(disk.operations() + seed % 7);
    drop(try_open(&disk));
    disk.reboot(crash);

    let (log, _) = open(&disk);
    model.check(&log);
    drop(log);

    // What opening reported is durable: somebody may have read it by now.
    disk.reboot(Crash::Power);
    let (mut log, _) = open(&disk);
    // Life goes on, over whatever the crash left lying about.
    model.check(&log);
    for op in [
        Op::Append { txns: 2, len: 100 },
        Op::Sync,
        Op::Append { txns: 1, len: 700 },
        Op::Sync,
    ] {
        model.run(&mut log, &op).unwrap();
    }
    drop(log);
    disk.reboot(Crash::Power);
    let (log, _) = open(&disk);
    model.check(&log);
    log.close().unwrap();
    let (log, _) = open(&disk);
    model.check(&log);
}

fn operations_of(ops: &[Op]) -> u64 {
    let disk = SimDisk::new(0);
    let mut model = Model::default();
    run_until_crash(&disk, ops, &mut model);
    disk.operations()
}

fn story() -> Vec<Op> {
    let mut ops = Vec::new();
    for round in 0..6 {
        ops.extend([
            Op::Append { txns: 3, len: 600 },
            Op::Sync,
            Op::Append { txns: 1, len: 20 },
            Op::Sync,
        ]);
        ops.extend([
            Op::Append { txns: 4, len: 1400 },
            Op::Sync,
            Op::PrepareSpare,
        ]);
        match round {
            1 => ops.extend([Op::Truncate { back: 6 }, Op::NewEpoch, Op::Sync]),
            2 => ops.extend([
                Op::Purge { back: 5 },
                Op::Append { txns: 9, len: 2500 },
                Op::Sync,
            ]),
            3 => ops.extend([Op::Reopen, Op::Append { txns: 2, len: 50 }, Op::Roll]),
            4 => ops.extend([Op::Append { txns: 1, len: 50 }, Op::Restart]),
            _ => ops.push(Op::Purge { back: 2 }),
        }
    }
    ops.push(Op::Reopen);
    ops
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_acknowledged() {
    let ops = story();
    let operations = operations_of(&ops);
    assert!(operations > 100, "{operations}");
    for at in 0..operations {
        for seed in 0..12 {
            crash_and_recover(&ops, at, seed * 1_000_003 + at, Crash::Power);
        }
        crash_and_recover(&ops, at, at, Crash::Process);
    }
}

#[test]
fn a_crash_while_purging_leaves_no_hole() {
    let full = SimDisk::new(3);
    let (mut log, _) = open(&full);
    for zxid in 1..=60 {
        append(&mut log, [zxid], 1500);
        log.sync().unwrap();
    }
    assert!(log.index().segment_bases().len() > 6);
    drop(log);
    full.reboot(Crash::Process);
    for at in 0..20 {
        for seed in 0..20 {
            let disk = full.fork();
            disk.reseed(seed);
            let (mut log, _) = open(&disk);
            disk.crash_at(disk.operations() + at);
            let purged = log.purge(Zxid(45));
            assert!(purged.is_ok() || disk.is_off());
            drop(log);
            disk.reboot(Crash::Power);
            let (log, _) = open(&disk);
            let found = zxids(&log);
            assert!(found[0] <= 46, "{}", found[0]);
            assert_eq!(found, (found[0]..=60).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || {
        let disk = SimDisk::new(99);
        disk.crash_at(50);
        run_until_crash(&disk, &story(), &mut Model::default());
        disk.reboot(Crash::Power);
        let (log, recovered) = open(&disk);
        (disk.operations(), recovered, zxids(&log))
    };
    assert_eq!(run(), run());
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..6i64, 0..3000usize).prop_map(|(txns, len)| Op::Append { txns, len }),
        1 => Just(Op::NewEpoch),
        6 => Just(Op::Sync),
        1 => Just(Op::Roll),
        1 => (0..30i64).prop_map(|back| Op::Purge { back }),
        1 => (0..8usize).prop_map(|back| Op::Truncate { back }),
        1 => Just(Op::Restart),
        2 => Just(Op::PrepareSpare),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_story_survives_a_crash_anywhere(
        ops in prop::collection::vec(op(), 1..60),
        at in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let operations = operations_of(&ops);
        crash_and_recover(&ops, at.index(usize::try_from(operations).unwrap().max(1)) as u64, seed, Crash::Power);
    }
}
