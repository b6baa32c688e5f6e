//! The folder: one thread that brings the snapshot on disk up to date.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use jute_codec::Zxid;
use tracing::{debug, error, info};

use super::driver::BatchReport;
use crate::image::fold_batch;
use crate::state::{FoldStart, State};
use crate::storage::snapshot::{FoldBatch, SnapshotError, SnapshotStore};

/// How many nodes are copied under one hold of the lock: some tens of microseconds.
const SLICE: usize = 128;

/// How long after a failed write the next one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// When a fold is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoldPolicy {
    /// So many changed nodes, deletions and sessions.
    pub(super) backlog: usize,
    /// So many bytes logged: what one batch can come to in memory.
    pub(super) logged_bytes: u64,
    /// So long after the first change.
    pub(super) age: Duration,
}

/// Figures that the folder keeps for operators.
#[derive(Debug, Default)]
pub(super) struct FoldFigures {
    pub(super) folds: AtomicU64,
    pub(super) ms_total: AtomicU64,
    pub(super) durable_zxid: AtomicI64,
}

/// Something else to do with the snapshot, between folds. If it puts another one in its place, it says as of when.
pub(super) type Job<S> = Box<dyn FnOnce(&mut S) -> Option<Zxid> + Send>;

struct Wish<S> {
    due: bool,
    jobs: VecDeque<Job<S>>,
    stopping: bool,
}

/// Tells the folder that there is work.
pub(super) struct FoldSignal<S> {
    policy: FoldPolicy,
    // Bytes logged since the last fold began.
    logged_bytes: AtomicU64,
    wish: Mutex<Wish<S>>,
    change: Condvar,
}

impl<S> FoldSignal<S> {
    pub(super) fn new(policy: FoldPolicy) -> Self {
        Self {
            policy,
            logged_bytes: AtomicU64::new(0),
            wish: Mutex::new(Wish {
                due: false,
                jobs: VecDeque::new(),
                stopping: false,
            }),
            change: Condvar::new(),
        }
    }

    /// Has something done between folds. Jobs are done in order; when the folder ends, what is left of them is dropped.
    pub(super) fn job(&self, job: Job<S>) {
        self.wish(|wish| wish.jobs.push_back(job));
    }

    fn take_jobs(&self) -> VecDeque<Job<S>> {
        std::mem::take(&mut self.lock().jobs)
    }

    // Nothing panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Wish<S>> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver has worked.
    pub(super) fn after_batch(&self, report: BatchReport) {
        let logged = self
            .logged_bytes
            .fetch_add(report.logged_bytes, Ordering::Relaxed)
            + report.logged_bytes;
        if report.fold_backlog >= self.policy.backlog || logged >= self.policy.logged_bytes {
            self.wish(|wish| wish.due = true);
        }
    }

    /// Bytes logged since the last fold began.
    pub(super) fn logged_since_fold(&self) -> u64 {
        self.logged_bytes.load(Ordering::Relaxed)
    }

    /// Lets a fold begin as soon as nothing else is under way.
    pub(super) fn fold_soon(&self) {
        self.wish(|wish| wish.due = true);
    }

    pub(super) fn stop(&self) {
        self.wish(|wish| wish.stopping = true);
    }

    fn wish(&self, change: impl FnOnce(&mut Wish<S>)) {
        change(&mut self.lock());
        self.change.notify_one();
    }

    /// Waits until a fold is due, or `patience` is over; whether to stop.
    fn wait(&self, patience: Duration, wake: impl Fn(&Wish<S>) -> bool) -> bool {
        let wish = self.lock();
        let idle = |wish: &mut Wish<S>| !wake(wish) && !wish.stopping;
        let (mut wish, _) = self
            .change
            .wait_timeout_while(wish, patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        wish.due = false;
        wish.stopping
    }
}

pub(super) struct Folder<S> {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) store: S,
    pub(super) signal: Arc<FoldSignal<S>>,
    pub(super) figures: Arc<FoldFigures>,
    /// The zxid of the newest fold.
    pub(super) folded: Zxid,
    /// Called when the snapshot cannot be written; what is not damage is tried again.
    pub(super) on_failure: Box<dyn Fn(&SnapshotError) + Send>,
    /// Called when everything up to a zxid is in the snapshot, durably.
    pub(super) on_durable: Box<dyn FnMut(Zxid) + Send>,
}

impl<S: SnapshotStore> Folder<S> {
    /// Folds whenever it is due, and once more at the end.
    pub(super) fn run(mut self) {
        loop {
            let wanted = |wish: &Wish<S>| wish.due || !wish.jobs.is_empty();
            let stopping = self.signal.wait(self.signal.policy.age, wanted);
            let jobs = self.signal.take_jobs();
            if !jobs.is_empty() && !stopping {
                for job in jobs {
                    if let Some(zxid) = job(&mut self.store) {
                        self.folded = zxid;
                        self.figures.durable_zxid.store(zxid.0, Ordering::Relaxed);
                    }
                }
                continue;
            }
            self.fold();
            if stopping {
                return;
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Folds, if there is something new and all that is applied is committed.
    fn fold(&mut self) {
        let begun = Instant::now();
        let folded = self.folded;
        let start = self.change(|state| {
            (state.is_committed() && state.last_zxid() > folded).then(|| state.begin_fold())
        });
        let Some(start) = start else {
            return;
        };
        self.signal.logged_bytes.store(0, Ordering::Relaxed);
        let zxid = start.zxid;
        let batch = self.gather(start);
        let rows = batch.puts.len();
        if !self.store(&batch) {
            return;
        }
        self.folded = zxid;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.figures.folds.fetch_add(1, Ordering::Relaxed);
        self.figures
            .ms_total
            .fetch_add(elapsed_ms, Ordering::Relaxed);
        self.figures.durable_zxid.store(zxid.0, Ordering::Relaxed);
        debug!(%zxid, rows, elapsed_ms, "snapshot brought up to date");
        (self.on_durable)(zxid);
    }

    fn gather(&self, start: FoldStart) -> FoldBatch {
        fold_batch(start, || {
            let slice = self.change(|state| state.fold_slice(SLICE));
            if slice.more {
                // Let those in who wait for the lock: it is not fair by itself.
                thread::yield_now();
            }
            slice
        })
    }

    /// Writes a batch, however long that takes: the marks of what it holds are gone, so it must not be dropped while
    /// later ones are written. False when the server stops first; the log has everything.
    fn store(&mut self, batch: &FoldBatch) -> bool {
        let mut failures = 0u64;
        loop {
            match self
                .store
                .write(batch.clone())
                .and_then(|()| self.store.flush())
            {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "the snapshot can be written again");
                    }
                    return true;
                }
                Err(problem) => {
                    failures += 1;
                    if failures == 1 || failures.is_multiple_of(60) {
                        error!(error = %problem, "cannot write the snapshot; the transaction log keeps everything meanwhile");
                    }
                    (self.on_failure)(&problem);
                    if self.signal.wait(RETRY_AFTER, |_| false) {
                        return false;
                    }
                }
            }
        }
    }
}
