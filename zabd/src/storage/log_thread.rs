//! The log thread: appends what is submitted and makes it durable, one fsync for all that waits.
//!
//! Group commit without added delay: while one fsync runs, the next batch gathers. The order of submissions is the order
//! in the log, and `durable` is called in that order (`AckMeansDurable`). When the disk fails or is full, nothing is
//! acknowledged and nothing is lost: what waits stays in memory, the thread says so, and tries again until it works.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::Zxid;
use tracing::{error, info, warn};

use super::disk::Disk;
use super::txn_log::{LogError, TxnLog};

/// Transactions that become durable together or in order.
#[derive(Debug)]
pub struct LogBatch {
    /// The number of the newest write in it.
    pub seq: u64,
    /// The transactions, in zxid order.
    pub records: Vec<(Zxid, Bytes)>,
}

/// How the log thread behaves.
#[derive(Debug, Clone, Copy)]
pub struct LogThreadOptions {
    /// How many bytes may wait before [`LogHandle::submit`] waits, too.
    pub queue_bytes_max: u64,
    /// An fsync that takes longer is reported.
    pub fsync_warning: Duration,
    /// How long after a failed write the next one is tried.
    pub retry_after: Duration,
}

impl Default for LogThreadOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: 64 << 20,
            fsync_warning: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// What the log thread measures. Times in microseconds.
#[derive(Debug, Default)]
pub struct LogFigures {
    /// Fsyncs.
    pub fsyncs: AtomicU64,
    /// The time they took in all.
    pub fsync_us_total: AtomicU64,
    /// The longest one.
    pub fsync_us_max: AtomicU64,
    /// Fsyncs over the warning threshold.
    pub fsyncs_slow: AtomicU64,
    /// Transactions made durable.
    pub txns: AtomicU64,
    /// Bytes made durable.
    pub bytes: AtomicU64,
    /// Whether the disk takes no writes at the moment.
    pub is_stuck: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<LogBatch>,
    bytes: u64,
    /// Everything up to here is in a durable snapshot.
    purge: Option<Zxid>,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    change: Condvar,
    options: LogThreadOptions,
    figures: Arc<LogFigures>,
}

impl Shared {
    // Nothing in here panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the log thread.
#[derive(Debug, Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
}

/// The log thread, to wait for.
#[derive(Debug)]
pub struct LogThread {
    thread: JoinHandle<Result<(), LogError>>,
    shared: Arc<Shared>,
}

impl LogHandle {
    /// Queues a batch. Waits only while more than the allowed bytes wait already.
    pub fn submit(&self, batch: LogBatch) {
        let bytes = batch.records.iter().map(|(_, txn)| txn.len() as u64).sum::<u64>();
        let mut queue = self.shared.lock();
        while queue.bytes > self.shared.options.queue_bytes_max && !queue.stopping {
            queue = self
                .shared
                .change
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.bytes += bytes;
        queue.batches.push_back(batch);
        drop(queue);
        self.shared.change.notify_all();
    }

    /// Lets segments go that hold nothing after `zxid`.
    pub fn purge(&self, zxid: Zxid) {
        self.shared.lock().purge = Some(zxid);
        self.shared.change.notify_all();
    }

    /// What is measured.
    #[must_use]
    pub fn figures(&self) -> Arc<LogFigures> {
        Arc::clone(&self.shared.figures)
    }
}

impl LogThread {
    /// Starts the thread. `durable` is called on it with the number of the newest write that is on disk.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<D: Disk>(
        log: TxnLog<D>,
        options: LogThreadOptions,
        durable: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<(LogHandle, Self)>
    where
        TxnLog<D>: Send,
    {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            change: Condvar::new(),
            options,
            figures: Arc::default(),
        });
        let worker = Worker { log, shared: Arc::clone(&shared), durable: Box::new(durable) };
        let thread = thread::Builder::new().name("zabd-log".to_owned()).spawn(move || worker.run())?;
        let handle = LogHandle { shared: Arc::clone(&shared) };
        Ok((handle, Self { thread, shared }))
    }

    /// Makes durable what waits, seals the log, and ends the thread.
    ///
    /// # Errors
    /// When the disk takes no more writes: what was not acknowledged is lost, nothing else.
    pub fn stop(self) -> Result<(), LogError> {
        self.shared.lock().stopping = true;
        self.shared.change.notify_all();
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Worker<D: Disk> {
    log: TxnLog<D>,
    shared: Arc<Shared>,
    durable: Box<dyn FnMut(u64) + Send>,
}

impl<D: Disk> Worker<D> {
    fn run(mut self) -> Result<(), LogError> {
        loop {
            let (batches, purge, stopping) = self.take();
            let newest = batches.back().map(|batch| batch.seq);
            for (zxid, txn) in batches.into_iter().flat_map(|batch| batch.records) {
                // Only a bug gets here out of order; going on would acknowledge what no restart would find.
                self.log.append(zxid, txn)?;
            }
            if let Some(newest) = newest {
                self.sync()?;
                (self.durable)(newest);
            }
            if let Some(zxid) = purge {
                self.purge(zxid);
            }
            self.prepare_spare();
            if stopping && self.shared.lock().batches.is_empty() {
                return self.log.close();
            }
        }
    }

    /// Everything that waits; waits for something.
    fn take(&self) -> (VecDeque<LogBatch>, Option<Zxid>, bool) {
        let idle = |queue: &mut Queue| queue.batches.is_empty() && queue.purge.is_none() && !queue.stopping;
        let mut queue =
            self.shared.change.wait_while(self.shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        queue.bytes = 0;
        let taken = (std::mem::take(&mut queue.batches), queue.purge.take(), queue.stopping);
        drop(queue);
        self.shared.change.notify_all();
        taken
    }

    /// Makes everything appended durable, however long that takes; gives up only when stopping.
    fn sync(&mut self) -> Result<(), LogError> {
        let mut failures = 0u64;
        loop {
            let begun = Instant::now();
            match self.log.sync() {
                Ok(synced) => {
                    self.measure(begun.elapsed(), synced.txns as u64, synced.bytes);
                    if failures > 0 {
                        self.shared.figures.is_stuck.store(false, Ordering::Relaxed);
                        info!(failures, "the transaction log can be written again; nothing was lost");
                    }
                    return Ok(());
                }
                Err(problem) => {
                    failures += 1;
                    self.shared.figures.is_stuck.store(true, Ordering::Relaxed);
                    // Once at first, then now and then: a full disk must not be filled with words.
                    if failures == 1 || failures.is_multiple_of(30) {
                        error!(
                            error = %problem,
                            pending_bytes = self.log.pending_bytes(),
                            "cannot write the transaction log: writes wait and are not acknowledged, reads go on; \
                             make room on the disk or mend it"
                        );
                    }
                    if self.wait_to_retry() {
                        return Err(problem);
                    }
                }
            }
        }
    }

    /// Whether the server is stopping.
    fn wait_to_retry(&self) -> bool {
        let patience = self.shared.options.retry_after;
        let (queue, _) = self
            .shared
            .change
            .wait_timeout_while(self.shared.lock(), patience, |queue| !queue.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        queue.stopping
    }

    fn measure(&self, elapsed: Duration, txns: u64, bytes: u64) {
        let figures = &self.shared.figures;
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        figures.fsyncs.fetch_add(1, Ordering::Relaxed);
        figures.fsync_us_total.fetch_add(us, Ordering::Relaxed);
        figures.fsync_us_max.fetch_max(us, Ordering::Relaxed);
        figures.txns.fetch_add(txns, Ordering::Relaxed);
        figures.bytes.fetch_add(bytes, Ordering::Relaxed);
        if elapsed > self.shared.options.fsync_warning {
            figures.fsyncs_slow.fetch_add(1, Ordering::Relaxed);
            let elapsed_ms = elapsed.as_millis();
            warn!(elapsed_ms, txns, "writing the transaction log took long; every write waits for it");
        }
    }

    fn purge(&mut self, zxid: Zxid) {
        match self.log.purge(zxid) {
            Ok(0) => {}
            Ok(segments) => info!(segments, %zxid, "removed log segments that the snapshot has passed"),
            Err(problem) => warn!(error = %problem, "cannot remove old log segments; will try after the next snapshot"),
        }
    }

    fn prepare_spare(&self) {
        if !self.log.wants_spare() {
            return;
        }
        let spares = self.log.spares();
        let prepare = move || {
            if let Err(problem) = spares.prepare() {
                warn!(error = %problem, "cannot make a log segment ahead of its use");
            }
        };
        if let Err(problem) = thread::Builder::new().name("zabd-spare".to_owned()).spawn(prepare) {
            warn!(error = %problem, "no thread to make a log segment ahead of its use");
        }
    }
}
