//! The log on a thread of its own: group commit, order of durable writes, waiting out a failing disk.
//!
//! Writes come in through a queue bounded in bytes and are carried out in order. Everything that waits is
//! made durable with one fsync; nothing waits for company. [`LogEvent::Durable`] names the last write of
//! each such group: it and all before it are on disk. When the disk fails, writes are kept and tried
//! again, and nothing more is reported durable until one succeeds.

mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use jute_codec::Zxid;

use queue::Shared;
use worker::Worker;

use super::disk::Disk;
use super::txn_log::{LogError, TxnLog};

/// Numbers durable writes in the order in which they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

/// Something to make durable. All kinds share one order.
#[derive(Clone, Debug)]
pub enum DurableWrite {
    /// Append transactions, in ascending order.
    Append(Vec<(Zxid, Bytes)>),
    /// Forget the transactions after this one.
    TruncateAfter(Zxid),
    /// Go on with the log that was staged in this directory, behind a durable snapshot, in place of this one.
    Adopt(PathBuf),
    /// Replace a small file.
    SmallFile {
        /// Which.
        path: PathBuf,
        /// A second one that gets the same contents.
        copy: Option<PathBuf>,
        /// Its new contents.
        bytes: Vec<u8>,
    },
}

/// How the thread behaves.
#[derive(Clone, Copy, Debug)]
pub struct LogThreadOptions {
    /// How many bytes may wait to become durable before [`LogHandle::try_submit`] declines.
    pub queue_bytes_max: usize,
    /// How many bytes are made durable with one fsync at most.
    pub batch_bytes_max: usize,
    /// How long to wait before trying again on a failing disk.
    pub retry: Duration,
    /// Longer fsyncs are counted as slow. ZooKeeper: `fsync.warningthresholdms`.
    pub slow_fsync: Duration,
}

/// What the thread has to say. Called on the log thread; must not block.
#[derive(Debug)]
pub enum LogEvent {
    /// This write and all before it are on disk.
    Durable(WriteSeq),
    /// The disk does not take writes; they are kept, and tried again. Reported once until it heals.
    Trouble(LogError),
    /// The disk takes writes again. The `Durable` of what had waited follows.
    Healed,
    /// The thread has ended over something that no retry can mend, a bug in the order of writes.
    /// Nothing more becomes durable.
    Failed(LogError),
}

/// Why a write was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Too much is waiting for the disk; the write is handed back.
    #[error("the log's queue is full")]
    Full(DurableWrite),
    /// The thread has ended.
    #[error("the log is closed")]
    Closed,
}

/// How long syncs took (write and fdatasync, now and then with a change of segment), in microseconds.
#[derive(Debug, Default)]
pub struct FsyncStats {
    /// The latest.
    pub last_us: AtomicU64,
    /// The longest.
    pub max_us: AtomicU64,
    /// All together.
    pub total_us: AtomicU64,
    /// How many.
    pub count: AtomicU64,
    /// How many took longer than the threshold.
    pub slow: AtomicU64,
    /// Transactions made durable.
    pub txns: AtomicU64,
    /// Bytes written to the log.
    pub bytes: AtomicU64,
}

/// Submits writes; clones share the queue.
#[derive(Clone, Debug)]
pub struct LogHandle {
    shared: Arc<Shared>,
    stats: Arc<FsyncStats>,
}

/// The running thread.
#[derive(Debug)]
pub struct LogThread {
    handle: LogHandle,
    thread: Option<JoinHandle<Result<(), LogError>>>,
    preparer: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Starts the thread, and one that makes segments ahead.
    ///
    /// # Errors
    /// The operating system's, when it has no thread to give.
    pub fn spawn<D: Disk>(
        log: TxnLog<D>,
        options: LogThreadOptions,
        on_event: impl FnMut(LogEvent) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(options));
        let stats = Arc::<FsyncStats>::default();
        let spares = log.spares();
        let for_preparer = Arc::clone(&shared);
        let preparer = thread::Builder::new()
            .name("log-prepare".into())
            .spawn(move || {
                while for_preparer.wait_for_spare_wish() {
                    if let Err(error) = spares.prepare() {
                        tracing::debug!(%error, "no log segment made ahead");
                        // The wish comes again with the next batch; on a full disk that is often enough.
                        for_preparer.pause(options.retry);
                    }
                }
            })?;
        let worker = Worker {
            log,
            shared: Arc::clone(&shared),
            stats: Arc::clone(&stats),
            options,
            on_event,
            in_trouble: false,
        };
        let handle = LogHandle { shared, stats };
        let thread = thread::Builder::new()
            .name("log".into())
            .spawn(move || worker.run());
        let mut this = Self {
            handle,
            thread: None,
            preparer: Some(preparer),
        };
        match thread {
            Ok(thread) => this.thread = Some(thread),
            Err(error) => {
                this.handle.shared.close();
                return Err(error);
            }
        }
        Ok(this)
    }

    /// What writes are submitted through.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// Carries out what is queued, seals the log and ends the thread.
    ///
    /// # Errors
    /// What kept the rest from becoming durable: it was not reported as durable either.
    pub fn shutdown(mut self) -> Result<(), LogError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), LogError> {
        self.handle.shared.close();
        let outcome = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(LogError::Refused("the log thread panicked".into())),
            None => Ok(()),
        };
        if let Some(Err(_)) = self.preparer.take().map(JoinHandle::join) {
            tracing::error!("the thread that makes log segments panicked");
        }
        outcome
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.end()
        {
            tracing::error!(%error, "transaction log not closed in order");
        }
    }
}

impl LogHandle {
    /// Queues a write. Numbers must ascend over all submitters.
    ///
    /// # Errors
    /// [`SubmitError::Full`] with the write while too much is waiting.
    pub fn try_submit(&self, seq: WriteSeq, write: DurableWrite) -> Result<(), SubmitError> {
        let bytes = write.bytes();
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        // An empty queue takes a write of any size.
        if queue.bytes > 0 && queue.bytes + bytes > self.shared.queue_bytes_max {
            return Err(SubmitError::Full(write));
        }
        queue.push(seq, write, bytes);
        self.shared.announce(queue);
        Ok(())
    }

    /// Queues a write, waiting for room.
    ///
    /// # Errors
    /// [`SubmitError::Closed`].
    pub fn submit(&self, seq: WriteSeq, write: DurableWrite) -> Result<(), SubmitError> {
        let bytes = write.bytes();
        let mut queue = self.shared.lock();
        while !queue.closed && queue.bytes > 0 && queue.bytes + bytes > self.shared.queue_bytes_max
        {
            queue.waiting_for_room += 1;
            queue = self.shared.wait(queue);
            queue.waiting_for_room -= 1;
        }
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        queue.push(seq, write, bytes);
        self.shared.announce(queue);
        Ok(())
    }

    /// Queues a write even if there is no room, for threads that must not wait. They see to it that it is little.
    ///
    /// # Errors
    /// [`SubmitError::Closed`].
    pub fn submit_at_once(&self, seq: WriteSeq, write: DurableWrite) -> Result<(), SubmitError> {
        let bytes = write.bytes();
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        queue.push(seq, write, bytes);
        self.shared.announce(queue);
        Ok(())
    }

    /// Queues a write behind everything queued so far and waits until it is durable, however long the disk takes.
    ///
    /// # Errors
    /// [`SubmitError::Closed`], also if the thread ends before.
    pub fn write_and_wait(&self, write: DurableWrite) -> Result<(), SubmitError> {
        let bytes = write.bytes();
        let (done, is_done) = channel();
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(SubmitError::Closed);
        }
        let seq = queue.newest;
        queue.push(seq, write, bytes);
        if let Some(queued) = queue.writes.back_mut() {
            queued.done = Some(done);
        }
        self.shared.announce(queue);
        is_done.recv().map_err(|_| SubmitError::Closed)
    }

    /// Lets the log forget segments that hold nothing after `zxid`, when it finds time.
    pub fn purge(&self, zxid: Zxid) {
        self.shared.lock().purge = Some(zxid);
        self.shared.changed.notify_all();
    }

    /// Lets the next batch begin a new segment.
    pub fn roll(&self) {
        self.shared.lock().roll = true;
        self.shared.changed.notify_all();
    }

    /// Bytes not yet durable.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// How the disk does.
    #[must_use]
    pub fn stats(&self) -> &FsyncStats {
        &self.stats
    }

    /// The same, to keep.
    #[must_use]
    pub fn figures(&self) -> Arc<FsyncStats> {
        Arc::clone(&self.stats)
    }
}

impl DurableWrite {
    /// What it counts against the queue's bound: its contents and what keeping them costs.
    fn bytes(&self) -> usize {
        match self {
            Self::Append(txns) => {
                txns.iter()
                    .map(|(_, txn)| txn.len() + PER_ITEM)
                    .sum::<usize>()
                    + PER_ITEM
            }
            Self::TruncateAfter(_) | Self::Adopt(_) => PER_ITEM,
            Self::SmallFile { bytes, .. } => bytes.len() + PER_ITEM,
        }
    }
}

impl FsyncStats {
    fn record(&self, took: Duration, slow: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        if took > slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Default for LogThreadOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: 64 << 20,
            batch_bytes_max: 4 << 20,
            retry: Duration::from_secs(1),
            slow_fsync: Duration::from_millis(1000),
        }
    }
}

/// What a queued transaction costs beyond its bytes.
const PER_ITEM: usize = 64;
