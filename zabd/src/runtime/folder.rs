//! The folder: one thread that brings the snapshot on disk up to date.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use jute_codec::SessionId;
use tracing::{debug, error, warn};

use crate::state::State;
use crate::storage::snapshot::{FoldBatch, SnapshotStore};

/// How many nodes are copied under one hold of the lock: some tens of microseconds.
const SLICE: usize = 128;

/// When a fold is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoldPolicy {
    /// So many changed nodes and deletions.
    pub(super) backlog: usize,
    /// So many bytes logged: what one batch can come to in memory.
    pub(super) logged_bytes: u64,
    /// So long after the first change.
    pub(super) age: Duration,
}

impl Default for FoldPolicy {
    fn default() -> Self {
        Self { backlog: 50_000, logged_bytes: 48 << 20, age: Duration::from_secs(60) }
    }
}

#[derive(Debug, Default)]
struct Wish {
    due: bool,
    stopping: bool,
}

/// Tells the folder that there is work.
#[derive(Debug, Default)]
pub(super) struct FoldSignal {
    wish: Mutex<Wish>,
    change: Condvar,
}

impl FoldSignal {
    pub(super) fn due(&self) {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).due = true;
        self.change.notify_one();
    }

    pub(super) fn stop(&self) {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.change.notify_one();
    }

    /// Waits; false when stopping.
    fn wait(&self, patience: Duration) -> bool {
        let wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |wish: &mut Wish| !wish.due && !wish.stopping;
        let (mut wish, _) = self.change.wait_timeout_while(wish, patience, idle).unwrap_or_else(PoisonError::into_inner);
        wish.due = false;
        !wish.stopping
    }
}

pub(super) struct Folder<S> {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) store: S,
    pub(super) signal: Arc<FoldSignal>,
    pub(super) policy: FoldPolicy,
    /// Called when everything up to a zxid is in the snapshot, durably.
    pub(super) on_durable: Box<dyn FnMut(i64) + Send>,
}

impl<S: SnapshotStore> Folder<S> {
    /// Folds whenever it is due, and once more at the end.
    pub(super) fn run(mut self) {
        loop {
            let goes_on = self.signal.wait(self.policy.age);
            let backlog = self.read(State::figures).fold_backlog;
            if backlog > 0 && !self.fold() {
                return;
            }
            if !goes_on {
                return;
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// False when the snapshot takes no more: what is left then is the log, which has everything.
    fn fold(&mut self) -> bool {
        let begun = Instant::now();
        let start = self.change(State::begin_fold);
        let mut puts = Vec::new();
        loop {
            let slice = self.change(|state| state.fold_slice(SLICE));
            puts.extend(slice.rows);
            if !slice.more {
                break;
            }
            // Let those in who waited for the lock: it is not fair by itself.
            thread::yield_now();
        }
        let (zxid, rows) = (start.zxid, puts.len());
        let batch = batch(start.zxid.0, start.digest, start.deleted, puts, &start.sessions);
        if let Err(problem) = self.store.write(batch).and_then(|()| self.store.flush()) {
            error!(%zxid, error = %problem, "cannot write the snapshot; the log keeps everything until a restart");
            return false;
        }
        match self.store.durable_zxid() {
            Ok(Some(durable)) => (self.on_durable)(durable),
            Ok(None) => warn!(%zxid, "the snapshot was flushed and is not there"),
            Err(problem) => warn!(%zxid, error = %problem, "cannot read the snapshot back"),
        }
        debug!(%zxid, rows, elapsed_ms = begun.elapsed().as_millis(), "snapshot brought up to date");
        true
    }
}

fn batch(
    zxid: i64,
    digest: u64,
    deleted: Vec<Box<str>>,
    puts: Vec<(Box<str>, Vec<u8>)>,
    sessions: &BTreeMap<SessionId, Option<i32>>,
) -> FoldBatch {
    FoldBatch {
        zxid,
        digest,
        deletes: deleted.into_iter().map(|path| path.into_string().into_bytes()).collect(),
        puts: puts.into_iter().map(|(path, row)| (path.into_string().into_bytes(), row)).collect(),
        session_puts: sessions.iter().filter_map(|(id, timeout_ms)| Some((id.0, (*timeout_ms)?))).collect(),
        session_deletes: sessions.iter().filter(|(_, timeout)| timeout.is_none()).map(|(id, _)| id.0).collect(),
        ..FoldBatch::default()
    }
}
