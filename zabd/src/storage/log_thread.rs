//! The log on a thread of its own: group commit, order of durable writes, waiting out a failing disk.
//!
//! Writes come in through a queue bounded in bytes and are carried out in order. Everything that waits is
//! made durable with one fsync; nothing waits for company. [`LogEvent::Durable`] names the last write of
//! each such group: it and all before it are on disk. When the disk fails, writes are kept and tried
//! again, and nothing more is reported durable until one succeeds.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::Zxid;

use super::disk::Disk;
use super::small_file::write_atomically;
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

#[derive(Debug)]
struct Shared {
    queue_bytes_max: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
    spare_wish: Mutex<SpareWish>,
    spare_wished: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    writes: VecDeque<Queued>,
    /// The number of the newest write that was queued.
    newest: WriteSeq,
    /// Of queued writes and of those taken that are not durable yet.
    bytes: usize,
    purge: Option<Zxid>,
    roll: bool,
    closed: bool,
    /// The log's thread waits for something to do.
    idle: bool,
    /// So many submitters wait for room.
    waiting_for_room: usize,
}

#[derive(Debug)]
struct Queued {
    seq: WriteSeq,
    write: DurableWrite,
    bytes: usize,
    /// Who waits for it.
    done: Option<Sender<()>>,
}

#[derive(Debug, Default)]
struct SpareWish {
    wanted: bool,
    closed: bool,
}

impl Shared {
    fn new(options: LogThreadOptions) -> Self {
        Self {
            queue_bytes_max: options.queue_bytes_max,
            queue: Mutex::default(),
            changed: Condvar::new(),
            spare_wish: Mutex::default(),
            spare_wished: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the log's thread if it waits, for what was queued.
    fn announce(&self, queue: MutexGuard<'_, Queue>) {
        let idle = queue.idle;
        drop(queue);
        if idle {
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.spare_wished.notify_all();
    }

    fn wish_for_spare(&self) {
        self.spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wanted = true;
        self.spare_wished.notify_all();
    }

    /// Waits; false when it is over.
    fn wait_for_spare_wish(&self) -> bool {
        let mut wish = self
            .spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !wish.wanted && !wish.closed {
            wish = self
                .spare_wished
                .wait(wish)
                .unwrap_or_else(PoisonError::into_inner);
        }
        wish.wanted = false;
        !wish.closed
    }

    fn pause(&self, how_long: Duration) {
        let wish = self
            .spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .spare_wished
            .wait_timeout_while(wish, how_long, |wish| !wish.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Queue {
    fn push(&mut self, seq: WriteSeq, write: DurableWrite, bytes: usize) {
        self.bytes += bytes;
        self.newest = self.newest.max(seq);
        self.writes.push_back(Queued {
            seq,
            write,
            bytes,
            done: None,
        });
    }
}

/// What is carried out with one sync: appends that follow each other, or one other write.
struct Group {
    writes: Vec<Queued>,
    bytes: usize,
}

struct Worker<D: Disk, F> {
    log: TxnLog<D>,
    shared: Arc<Shared>,
    stats: Arc<FsyncStats>,
    options: LogThreadOptions,
    on_event: F,
    in_trouble: bool,
}

impl<D: Disk, F: FnMut(LogEvent)> Worker<D, F> {
    fn run(mut self) -> Result<(), LogError> {
        loop {
            let mut queue = self.shared.lock();
            while queue.writes.is_empty() && queue.purge.is_none() && !queue.roll && !queue.closed {
                queue.idle = true;
                queue = self.shared.wait(queue);
                queue.idle = false;
            }
            let group = take_group(&mut queue, self.options.batch_bytes_max);
            let roll = std::mem::take(&mut queue.roll);
            // Purging can wait until the writers pause.
            let purge = if group.is_none() {
                queue.purge.take()
            } else {
                None
            };
            let over = group.is_none() && queue.closed;
            drop(queue);

            if roll && let Err(error) = self.log.roll() {
                // Nothing is pending here, so nothing is at stake; the next write will tell.
                tracing::warn!(%error, "transaction log not rolled");
            }
            if let Some(group) = group {
                self.carry_out(group)?;
            }
            if let Some(zxid) = purge {
                self.purge(zxid);
            }
            if over {
                return self.log.close();
            }
        }
    }

    fn carry_out(&mut self, group: Group) -> Result<(), LogError> {
        let Some(last) = group.writes.last().map(|queued| queued.seq) else {
            return Ok(());
        };
        let mut appended = false;
        loop {
            let outcome = self.attempt(&group.writes, &mut appended);
            match outcome {
                Ok(()) => break,
                Err(error) if matches!(error, LogError::Io { .. }) => {
                    let closing = self.shared.lock().closed;
                    if !self.in_trouble {
                        self.in_trouble = true;
                        if closing {
                            return Err(error);
                        }
                        (self.on_event)(LogEvent::Trouble(error));
                    } else if closing {
                        return Err(error);
                    }
                    self.wait_for_retry();
                }
                Err(error) => return Err(self.give_up(error)),
            }
        }
        {
            let mut queue = self.shared.lock();
            queue.bytes = queue.bytes.saturating_sub(group.bytes);
            if queue.waiting_for_room > 0 {
                self.shared.changed.notify_all();
            }
        }
        if std::mem::take(&mut self.in_trouble) {
            (self.on_event)(LogEvent::Healed);
        }
        (self.on_event)(LogEvent::Durable(last));
        for done in group.writes.into_iter().filter_map(|queued| queued.done) {
            // Who waited may have gone.
            done.send(()).ok();
        }
        if self.log.wants_spare() {
            self.shared.wish_for_spare();
        }
        Ok(())
    }

    /// Once; `appended` is set when the transactions are in the log's own keeping.
    fn attempt(&mut self, writes: &[Queued], appended: &mut bool) -> Result<(), LogError> {
        let started = Instant::now();
        for queued in writes {
            match &queued.write {
                DurableWrite::Append(txns) if !*appended => {
                    for (zxid, txn) in txns {
                        self.log.append(*zxid, txn.clone())?;
                    }
                }
                DurableWrite::Append(_) => {}
                DurableWrite::TruncateAfter(zxid) => {
                    self.log.truncate_after(*zxid)?;
                }
                DurableWrite::Adopt(dir) => self.log.adopt(dir)?,
                DurableWrite::SmallFile { path, copy, bytes } => {
                    for path in [Some(path), copy.as_ref()].into_iter().flatten() {
                        write_atomically(self.log.disk(), path, bytes).map_err(|source| {
                            LogError::Io {
                                action: "replace",
                                path: path.clone(),
                                source,
                            }
                        })?;
                    }
                }
            }
        }
        *appended = true;
        let synced = self.log.sync()?;
        self.stats
            .txns
            .fetch_add(synced.txns as u64, Ordering::Relaxed);
        self.stats.bytes.fetch_add(synced.bytes, Ordering::Relaxed);
        let took = started.elapsed();
        self.stats.record(took, self.options.slow_fsync);
        if took > self.options.slow_fsync {
            let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(elapsed_ms, "slow fsync of the transaction log");
        }
        Ok(())
    }

    fn purge(&mut self, zxid: Zxid) {
        match self.log.purge(zxid) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(%zxid, segments, "log segments purged"),
            Err(error) => tracing::warn!(%error, "log segments not purged"),
        }
    }

    fn wait_for_retry(&self) {
        let queue = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(queue, self.options.retry, |queue| !queue.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn give_up(&mut self, error: LogError) -> LogError {
        self.shared.close();
        let told = LogError::Refused(error.to_string());
        (self.on_event)(LogEvent::Failed(error));
        told
    }
}

fn take_group(queue: &mut Queue, bytes_max: usize) -> Option<Group> {
    let first = queue.writes.pop_front()?;
    let groups = matches!(first.write, DurableWrite::Append(_));
    let mut group = Group {
        bytes: first.bytes,
        writes: vec![first],
    };
    while groups
        && let Some(next) = queue.writes.pop_front_if(|next| {
            matches!(next.write, DurableWrite::Append(_)) && group.bytes + next.bytes <= bytes_max
        })
    {
        group.bytes += next.bytes;
        group.writes.push(next);
    }
    Some(group)
}

/// What a queued transaction costs beyond its bytes.
const PER_ITEM: usize = 64;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::storage::disk::{Crash, RealDisk, SimDisk, TestDir};
    use crate::storage::txn_log::LogOptions;

    const OPTIONS: LogOptions = LogOptions {
        segment_bytes: 32768,
        inline_segment_bytes: 16384,
        durability: crate::storage::txn_log::Durability::Fsync,
    };
    const FAST: LogThreadOptions = LogThreadOptions {
        queue_bytes_max: 4096,
        batch_bytes_max: 2048,
        retry: Duration::from_millis(2),
        slow_fsync: Duration::from_secs(100),
    };

    fn append(zxid: i64, len: usize) -> DurableWrite {
        DurableWrite::Append(vec![(Zxid(zxid), vec![7; len].into())])
    }

    fn spawn<D: Disk>(disk: &D, dir: &Path) -> (LogThread, mpsc::Receiver<LogEvent>) {
        let (log, _) = TxnLog::open(disk.clone(), dir, OPTIONS).unwrap();
        let (events, received) = channel();
        let thread = LogThread::spawn(log, FAST, move |event| drop(events.send(event))).unwrap();
        (thread, received)
    }

    fn zxids<D: Disk>(disk: &D, dir: &Path) -> (Vec<i64>, bool) {
        let (log, recovered) = TxnLog::open(disk.clone(), dir, OPTIONS).unwrap();
        let oldest = recovered.oldest_base.unwrap_or_default();
        let zxids = log
            .read_after(oldest)
            .unwrap()
            .map(|record| record.unwrap().0.0)
            .collect();
        (zxids, recovered.sealed)
    }

    /// Waits until `seq` is reported durable; gives back what else was said.
    fn until_durable(received: &mpsc::Receiver<LogEvent>, seq: u64) -> Vec<LogEvent> {
        let mut others = Vec::new();
        loop {
            match received.recv_timeout(Duration::from_secs(20)).unwrap() {
                LogEvent::Durable(WriteSeq(durable)) => {
                    assert!(durable <= seq);
                    if durable == seq {
                        return others;
                    }
                }
                other => others.push(other),
            }
        }
    }

    #[test]
    fn writes_become_durable_in_order_and_the_log_is_sealed() {
        let dir = TestDir::new("log-thread");
        let (thread, received) = spawn(&RealDisk, dir.path());
        let handle = thread.handle();
        for seq in 1..=300 {
            handle
                .submit(WriteSeq(seq), append(seq.cast_signed(), 500))
                .unwrap();
        }
        assert!(until_durable(&received, 300).is_empty());
        assert_eq!(handle.waiting_bytes(), 0);
        let syncs = handle.stats().count.load(Ordering::Relaxed);
        assert!((75..=300).contains(&syncs), "at most 4 a batch: {syncs}");
        assert_eq!(handle.stats().txns.load(Ordering::Relaxed), 300);
        handle.purge(Zxid(100));
        thread.shutdown().unwrap();
        assert!(matches!(
            handle.try_submit(WriteSeq(301), append(301, 1)),
            Err(SubmitError::Closed)
        ));
        let (zxids, sealed) = zxids(&RealDisk, dir.path());
        assert!(sealed);
        assert!(zxids[0] > 1 && zxids[0] <= 101, "{}", zxids[0]);
        assert_eq!(zxids, (zxids[0]..=300).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_truncations_and_appends_share_one_order() {
        let disk = SimDisk::new(1);
        let dir = Path::new("/log");
        let (thread, received) = spawn(&disk, dir);
        let handle = thread.handle();
        let epoch = Path::new("/data/currentEpoch");
        handle.submit(WriteSeq(1), append(1, 10)).unwrap();
        handle.submit(WriteSeq(2), append(2, 10)).unwrap();
        handle
            .submit(WriteSeq(3), DurableWrite::TruncateAfter(Zxid(1)))
            .unwrap();
        handle
            .submit(
                WriteSeq(4),
                DurableWrite::SmallFile {
                    path: epoch.into(),
                    copy: Some("/log/copy".into()),
                    bytes: b"1".to_vec(),
                },
            )
            .unwrap();
        handle
            .submit(WriteSeq(5), append(0x1_0000_0001, 10))
            .unwrap();
        until_durable(&received, 5);
        drop(thread);
        disk.reboot(Crash::Power);
        assert_eq!(zxids(&disk, dir).0, [1, 0x1_0000_0001]);
        for path in [epoch, Path::new("/log/copy")] {
            assert_eq!(disk.read_whole(path).unwrap().unwrap(), b"1");
        }
    }

    #[test]
    fn a_full_disk_stops_acknowledgements_until_there_is_room() {
        let disk = SimDisk::new(1);
        let dir = Path::new("/log");
        let (thread, received) = spawn(&disk, dir);
        let handle = thread.handle();
        handle.submit(WriteSeq(1), append(1, 10)).unwrap();
        until_durable(&received, 1);
        disk.set_capacity(Some(disk.used_bytes()));
        let mut seq = 1;
        let full = loop {
            seq += 1;
            match handle.try_submit(WriteSeq(seq), append(seq.cast_signed(), 900)) {
                Ok(()) => {}
                Err(SubmitError::Full(_)) if handle.waiting_bytes() > 3000 => {
                    // Full for good only once the trouble is known.
                    match received.recv_timeout(Duration::from_millis(200)) {
                        Ok(LogEvent::Trouble(error)) => break error,
                        _ => seq -= 1,
                    }
                }
                Err(SubmitError::Full(_)) => seq -= 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(full.is_disk_full(), "{full}");
        // Several attempts later it is as silent as before.
        let silence = received.recv_timeout(FAST.retry * 30);
        assert!(silence.is_err(), "{silence:?}");
        disk.set_capacity(None);
        let events = until_durable(&received, seq - 1);
        assert!(matches!(events[..], [LogEvent::Healed]), "{events:?}");
        thread.shutdown().unwrap();
        disk.reboot(Crash::Power);
        assert_eq!(zxids(&disk, dir), ((1..seq.cast_signed()).collect(), true));
    }

    #[test]
    fn writes_out_of_order_end_the_thread() {
        let disk = SimDisk::new(1);
        let (thread, received) = spawn(&disk, Path::new("/log"));
        thread.handle().submit(WriteSeq(1), append(5, 10)).unwrap();
        let event = received.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(
            matches!(event, LogEvent::Failed(LogError::OutOfOrder { .. })),
            "{event:?}"
        );
        assert!(thread.shutdown().is_err());
    }

    #[test]
    fn shutdown_on_a_dead_disk_ends_and_says_so() {
        let disk = SimDisk::new(1);
        let (thread, received) = spawn(&disk, Path::new("/log"));
        disk.crash_at(disk.operations());
        thread.handle().submit(WriteSeq(1), append(1, 10)).unwrap();
        assert!(matches!(
            received.recv_timeout(Duration::from_secs(20)),
            Ok(LogEvent::Trouble(_))
        ));
        assert!(matches!(thread.shutdown(), Err(LogError::Io { .. })));
    }
}
