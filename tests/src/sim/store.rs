//! What outlives a crash: the log and the snapshot. Recovery, with everything that must be true afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::txn::{Txn, TxnEntry};
use zabd::replica::effect::WriteSeq;
use zabd::state::{Committed, FoldStart, Outputs, State, StateLoader};
use zabd::storage::disk::{SimDisk, SimLock};
use zabd::storage::recovery::{LogBehind, RecoveryError, Storage, StorageOptions};
use zabd::storage::retention::purge_up_to;
use zabd::storage::snapshot::{FoldBatch, MemStore, SnapshotStore};
use zabd::storage::txn_log::{Durability, LogError, LogOptions, TxnLog};

use super::check::{
    Check, Violation, ack_means_durable, broken, fold_is_exact, server_stays_up, sessions_live,
    tree_digest,
};
use super::ctx::Ctx;
use super::ledger::Witness as _;
use super::plan::Planted;
use super::probe::read_all;
use super::server::{PowerCut, Run, state_params};

/// The log, as its thread has it.
pub(super) struct Log {
    log: TxnLog<SimDisk>,
    last: WriteSeq,
    _lock: SimLock,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Takes a write into the next batch.
    pub(super) fn append(&mut self, write: WriteSeq, zxid: Zxid, payload: Bytes) -> Check {
        self.last = write;
        self.log
            .append(zxid, payload)
            .or_else(|error| server_stays_up::stuck(error.to_string()))
    }

    /// The newest write taken.
    pub(super) const fn last_write(&self) -> WriteSeq {
        self.last
    }

    /// Whether there is something that is not durable.
    pub(super) fn owes_sync(&self) -> bool {
        self.log.durable_zxid() < self.log.last_zxid()
    }

    /// Makes everything durable; false when the disk refuses.
    pub(super) fn sync(&mut self) -> Result<bool, PowerCut> {
        let done = self.log.sync().is_ok();
        self.power()?;
        Ok(done)
    }

    /// Makes a segment ahead, if one is wanted.
    pub(super) fn prepare(&self) -> Result<(), PowerCut> {
        if self.log.wants_spare() && self.log.spares().prepare().is_err() {
            self.power()?;
        }
        Ok(())
    }

    /// Lets segments go that the snapshot has passed.
    pub(super) fn purge(&mut self, zxid: Zxid) -> Result<(), PowerCut> {
        let up_to = purge_up_to(&self.log.index().segment_bases(), Some(zxid), 1);
        if let Some(up_to) = up_to
            && self.log.purge(up_to).is_err()
        {
            self.power()?;
        }
        Ok(())
    }

    fn power(&self) -> Result<(), PowerCut> {
        if self.log.disk().is_off() {
            Err(PowerCut)
        } else {
            Ok(())
        }
    }
}

/// A fold under way.
#[derive(Debug)]
pub(super) struct Fold {
    start: FoldStart,
    puts: Vec<(Box<str>, Vec<u8>)>,
    copied: bool,
    written: bool,
}

impl Fold {
    pub(super) fn begin(state: &mut State) -> Self {
        Self {
            start: state.begin_fold(),
            puts: Vec::new(),
            copied: false,
            written: false,
        }
    }

    /// One thing more; the zxid as of which the snapshot is durable now, at the end.
    pub(super) fn run(
        &mut self,
        ctx: &mut Ctx,
        state: &mut State,
        store: &mut MemStore,
    ) -> Check<Option<Zxid>> {
        if !self.copied {
            let slice = state.fold_slice(ctx.plan.fold_slice);
            self.puts.extend(slice.rows);
            self.copied = !slice.more;
            return Ok(None);
        }
        if !self.written {
            self.written = true;
            let batch = self.batch(ctx);
            return match store.write(batch) {
                Ok(()) => Ok(None),
                Err(error) => server_stays_up::stuck(error.to_string()),
            };
        }
        if let Err(error) = store.flush() {
            return server_stays_up::stuck(error.to_string());
        }
        check_image(ctx, store, self.start.zxid)?;
        Ok(Some(self.start.zxid))
    }

    fn batch(&mut self, ctx: &mut Ctx) -> FoldBatch {
        let mut deleted = std::mem::take(&mut self.start.deleted);
        if ctx.plan.has(Planted::FoldSkipsDeletion) {
            deleted.pop();
        }
        if ctx.plan.has(Planted::FoldSkipsRow) {
            self.puts.pop();
        }
        let mut batch = FoldBatch {
            zxid: self.start.zxid,
            digest: self.start.digest,
            ..FoldBatch::default()
        };
        for (session, timeout_ms) in &self.start.sessions {
            match timeout_ms {
                Some(timeout_ms) => batch.session_puts.push((*session, *timeout_ms)),
                None => batch.session_deletes.push(*session),
            }
        }
        batch.puts = self
            .puts
            .drain(..)
            .map(|(path, row)| (bytes_of(path), Bytes::from(row)))
            .collect();
        // A node that went and came again is put.
        let put: BTreeSet<&[u8]> = batch.puts.iter().map(|(path, _)| &path[..]).collect();
        let gone = deleted
            .into_iter()
            .map(bytes_of)
            .filter(|path| !put.contains(&path[..]));
        batch.deletes = gone.collect();
        batch
    }
}

fn bytes_of(path: Box<str>) -> Bytes {
    Bytes::from(path.into_string().into_bytes())
}

/// The state that the snapshot holds.
fn load(ctx: &Ctx, store: &MemStore) -> Check<State> {
    let (zxid, digest) = match store.meta() {
        Ok(Some(meta)) => (meta.zxid, meta.digest),
        Ok(None) => return Ok(State::new(state_params(&ctx.plan))),
        Err(error) => return fold_is_exact::unloadable(Zxid::ZERO, &error),
    };
    let mut loader = StateLoader::new(state_params(&ctx.plan));
    let mut refused = None;
    let scanned = store.scan_rows(&mut |path, row| match loader
        .row(&String::from_utf8_lossy(path), &Bytes::copy_from_slice(row))
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            refused = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = refused {
        return fold_is_exact::unloadable(zxid, &error);
    }
    let scanned = scanned
        .and_then(|()| store.scan_sessions(&mut |id, timeout_ms| loader.session(id, timeout_ms)));
    if let Err(error) = scanned {
        return fold_is_exact::unloadable(zxid, &error);
    }
    loader
        .finish(zxid, digest)
        .or_else(|error| fold_is_exact::unloadable(zxid, &error))
}

/// Loads the snapshot into a state of its own and compares that with the model.
fn check_image(ctx: &Ctx, store: &MemStore, zxid: Zxid) -> Check {
    let state = load(ctx, store)?;
    if state.last_zxid() != zxid {
        return fold_is_exact::unloadable(
            zxid,
            &format!("it says that it is of {}", state.last_zxid()),
        );
    }
    fold_is_exact::compared(compare(ctx, &state))
}

/// Everything in `state` against the model at the same transaction.
fn compare(ctx: &Ctx, state: &State) -> Check {
    let zxid = state.last_zxid();
    ctx.ledger.compare(zxid, &read_all(state))?;
    let Some(moment) = ctx.ledger.at(zxid) else {
        return broken(tree_digest::NAME, format!("no state at {zxid}"));
    };
    tree_digest::same(zxid, "counted along", state.digest(), moment.digest)?;
    tree_digest::same(zxid, "counted afresh", state.audit_digest(), moment.digest)?;
    let ephemerals: BTreeMap<i64, Vec<String>> = state
        .sessions_with_ephemerals()
        .map(|(session, mut paths)| {
            paths.sort();
            (session.0, paths)
        })
        .collect();
    sessions_live::ephemerals(&ephemerals, &moment.tree, &moment.sessions)?;
    let sessions: BTreeMap<i64, i32> = state
        .sessions()
        .iter()
        .map(|(id, timeout_ms)| (id.0, *timeout_ms))
        .collect();
    if sessions != *moment.sessions {
        let what = format!(
            "at {zxid} sessions {sessions:x?}, the model says {:x?}",
            moment.sessions
        );
        return broken(sessions_live::NAME, what);
    }
    Ok(())
}

/// A state at rest against the model.
pub(super) fn compare_at_rest(ctx: &Ctx, state: &State) -> Check {
    compare(ctx, state)
}

/// What came of an attempt to start.
pub(super) enum Start {
    /// It is up.
    Up(Box<(State, Log)>),
    /// The disk does not let it, for now.
    Later(String),
}

/// Recovery: the snapshot, then the log behind it.
pub(super) fn recover(ctx: &mut Ctx, disk: &SimDisk, store: &MemStore) -> Run<Start> {
    let mut state = load(ctx, store)?;
    let options = StorageOptions {
        data_dir: "/data".into(),
        data_log_dir: "/log".into(),
        log: LogOptions {
            segment_bytes: 32 << 10,
            inline_segment_bytes: 8 << 10,
            durability: Durability::Fsync,
        },
        log_behind: LogBehind::Refuse,
    };
    let opened = Storage::open(disk, &options, |_| Ok(store.clone()));
    if disk.is_off() {
        return Err(PowerCut.into());
    }
    let Storage {
        mut log,
        recovered,
        lock,
        ..
    } = match opened {
        Ok(opened) => opened,
        Err(error @ (RecoveryError::Io { .. } | RecoveryError::Log(LogError::Io { .. }))) => {
            return Ok(Start::Later(error.to_string()));
        }
        Err(error @ RecoveryError::LogBehind { .. }) => {
            broken(ack_means_durable::NAME, error.to_string())?
        }
        Err(error) => server_stays_up::no_start(&error)?,
    };
    let mut replayed = Vec::new();
    let records = log
        .read_after(state.last_zxid())
        .or_else(|error| server_stays_up::no_start(&error))?;
    for record in records {
        replayed.push(record.or_else(|error| server_stays_up::no_start(&error))?);
    }
    if ctx.plan.has(Planted::RecoveryDropsTail) && replayed.pop().is_some() {
        let last = replayed.last().map_or(state.last_zxid(), |(zxid, _)| *zxid);
        let _cut = log.truncate_after(last);
    }
    ctx.trace.say(|| {
        format!(
            "{recovered:?}, snapshot {}, {} to replay",
            state.last_zxid(),
            replayed.len()
        )
    });
    replay(ctx, &mut state, &replayed)?;
    check_recovered(ctx, &state, &replayed)?;
    let log = Log {
        log,
        last: WriteSeq(0),
        _lock: lock,
    };
    Ok(Start::Up(Box::new((state, log))))
}

fn replay(ctx: &Ctx, state: &mut State, replayed: &[(Zxid, Bytes)]) -> Check {
    let mut outputs = Outputs::default();
    for (zxid, payload) in replayed {
        let mut entry = match TxnEntry::decode(payload) {
            Ok(entry) => entry,
            Err(error) => return server_stays_up::no_start(&error),
        };
        if ctx.plan.has(Planted::RecoveryHalvesMulti) {
            entry.digest = None;
            if let Txn::Multi(txns) = &mut entry.txn
                && txns.len() > 1
            {
                txns.pop();
            }
        }
        if ctx.plan.has(Planted::RecoveryDropsSession)
            && matches!(entry.txn, Txn::CreateSession { .. })
        {
            entry.txn = Txn::Error(0);
        }
        if entry.header.zxid != *zxid {
            return server_stays_up::no_start(&format!(
                "record {zxid} holds {}",
                entry.header.zxid
            ));
        }
        let committed = Committed {
            entry,
            origin: None,
            close: None,
        };
        if let Err(mismatch) = state.apply(&committed, &mut outputs) {
            return broken(tree_digest::NAME, mismatch.to_string());
        }
    }
    if outputs.is_empty() {
        Ok(())
    } else {
        broken(server_stays_up::NAME, "replay tells somebody something")
    }
}

fn check_recovered(ctx: &mut Ctx, state: &State, replayed: &[(Zxid, Bytes)]) -> Check {
    let zxid = state.last_zxid();
    ctx.acks.on_recovered(zxid)?;
    ctx.ledger.on_recovered(zxid, replayed)?;
    let sessions: BTreeMap<i64, i32> = state
        .sessions()
        .iter()
        .map(|(id, timeout_ms)| (id.0, *timeout_ms))
        .collect();
    let now_ms = ctx.now_ms();
    let expected = std::rc::Rc::clone(&ctx.ledger.last().sessions);
    ctx.sessions.on_recovered(&sessions, &expected, now_ms)?;
    compare(ctx, state).map_err(|Violation { invariant, what }| Violation {
        invariant,
        what: format!("after recovery: {what}"),
    })
}
