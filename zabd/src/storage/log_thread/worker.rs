//! The thread that carries out what is queued.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use jute_codec::Zxid;

use super::queue::{Group, Queued, Shared, take_group};
use super::{DurableWrite, FsyncStats, LogEvent, LogThreadOptions};
use crate::storage::disk::Disk;
use crate::storage::small_file::write_atomically;
use crate::storage::txn_log::{LogError, TxnLog};

pub(super) struct Worker<D: Disk, F> {
    pub(super) log: TxnLog<D>,
    pub(super) shared: Arc<Shared>,
    pub(super) stats: Arc<FsyncStats>,
    pub(super) options: LogThreadOptions,
    pub(super) on_event: F,
    pub(super) in_trouble: bool,
}

impl<D: Disk, F: FnMut(LogEvent)> Worker<D, F> {
    pub(super) fn run(mut self) -> Result<(), LogError> {
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

    fn carry_out(&mut self, mut group: Group) -> Result<(), LogError> {
        let Some(last) = group.writes.last().map(|queued| queued.seq) else {
            return Ok(());
        };
        loop {
            let outcome = self.attempt(&mut group.writes);
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

    /// Once. Transactions are in the log's own keeping from then on, and no longer in `writes`.
    fn attempt(&mut self, writes: &mut [Queued]) -> Result<(), LogError> {
        let started = Instant::now();
        for queued in writes {
            match &mut queued.write {
                DurableWrite::Append(txns) => {
                    for (zxid, txn) in txns.drain(..) {
                        self.log.append(zxid, txn)?;
                    }
                }
                DurableWrite::TruncateAfter(zxid) => {
                    self.log.truncate_after(*zxid)?;
                }
                DurableWrite::Adopt(dir) => self.log.adopt(dir)?,
                DurableWrite::SmallFile { path, copy, bytes } => {
                    for path in [Some(&*path), copy.as_ref()].into_iter().flatten() {
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
