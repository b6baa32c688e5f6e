//! The writing side: append, sync, roll, truncate, purge.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::LogError;
use super::format::{
    HEADER_BLOCK, SEAL_BYTES, SegmentHeader, TXN_BYTES_MAX, encode_record, encode_seal,
    record_bytes, segment_name,
};
use super::reader::{LogIndex, LogReader, SegmentMeta};
use super::recover::{Recovered, TornTail, survey};
use super::segment::follows;
use super::spare::{Spare, SparePool};
use super::staged::move_segments;
use crate::storage::disk::{Disk, DiskFile, OpenMode};

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The size of a segment made ahead, in bytes. ZooKeeper: `preAllocSize`.
    pub segment_bytes: u64,
    /// The size of a segment that had to be made at once, since none was ready: small, as somebody waits.
    pub inline_segment_bytes: u64,
    /// Whether `sync` waits for the platter.
    pub durability: Durability,
}

/// What [`TxnLog::sync`] promises. ZooKeeper: `forceSync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The transactions survive a power cut.
    Fsync,
    /// They survive the death of the process only; after a power cut a suffix may be missing.
    NoFsync,
}

/// What one `sync` wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Transactions.
    pub txns: usize,
    /// Bytes, heads and padding included.
    pub bytes: u64,
}

/// The transaction log: an append-only sequence of opaque transactions with ascending zxids.
///
/// Dropping it without [`TxnLog::close`] is safe, and costs the next open a look at the last batch.
pub struct TxnLog<D: Disk> {
    disk: D,
    dir: PathBuf,
    options: LogOptions,
    index: LogIndex<D>,
    spares: SparePool<D>,
    /// The segment that takes the next batch; none after opening, a roll or a failure.
    active: Option<Active<D::File>>,
    /// Appended and not yet durable. Kept until they are, whatever the disk does.
    pending: Vec<(Zxid, Bytes)>,
    pending_bytes: u64,
    /// The last transaction appended. durable <= last.
    last: Zxid,
    /// Segments that no longer count but could not be removed. Until they are, nothing is purged: the
    /// segment that overrides them must not go first.
    overridden: Vec<PathBuf>,
    /// A change of names has not reached the directory.
    names_unsynced: bool,
    buffer: Vec<u8>,
    /// None of a log that is staged beside another one.
    _lock: Option<D::Lock>,
}

struct Active<F> {
    file: F,
    path: PathBuf,
    salt: u64,
    len: u64,
    /// Where the next record goes.
    end: u64,
    /// Everything before this offset is on the platter.
    synced_end: u64,
}

impl<D: Disk> TxnLog<D> {
    /// Opens the log in `dir`, making the directory if need be, and leaves everything that it reports
    /// durable.
    ///
    /// # Errors
    /// [`LogError::Locked`] while another process has it; damage; the disk's errors. An error leaves
    /// the files as they were.
    pub fn open(disk: D, dir: &Path, options: LogOptions) -> Result<(Self, Recovered), LogError> {
        disk.create_dir_all(dir)
            .map_err(LogError::io("create", dir))?;
        let lock_path = dir.join(LOCK_NAME);
        let lock = disk
            .lock(&lock_path)
            .map_err(LogError::io("lock", &lock_path))?;
        let lock = lock.ok_or(LogError::Locked { path: lock_path })?;
        let names = disk.list(dir).map_err(LogError::io("list", dir))?;
        let survey = survey(&disk, dir, &names)?;
        let tail = survey.tail;
        let torn = match (tail.torn, survey.segments.last()) {
            (Some(offset), Some(segment)) => Some(TornTail {
                file: segment.path.clone(),
                offset,
            }),
            _ => None,
        };
        let spares = SparePool::open(disk.clone(), dir, options.segment_bytes, &names)?;
        let mut log = Self {
            index: LogIndex::new(
                disk.clone(),
                survey.segments,
                tail.proven,
                survey.next_sequence,
            ),
            disk,
            dir: dir.to_owned(),
            options,
            spares,
            active: None,
            pending: Vec::new(),
            pending_bytes: 0,
            last: tail.proven,
            overridden: survey.overridden,
            names_unsynced: true,
            buffer: Vec::new(),
            _lock: Some(lock),
        };
        // The names seen may be those of renames that a power cut would still undo.
        log.sync_names()?;
        log.remove_overridden()?;
        for (zxid, txn) in tail.unproven {
            log.append(zxid, txn)?;
        }
        log.sync()?;
        let recovered = Recovered {
            last_zxid: log.last,
            oldest_base: log.index.oldest_base(),
            sealed: tail.sealed,
            torn,
        };
        Ok((log, recovered))
    }

    /// A log of its own that goes on behind the snapshot as of `after`, in an empty directory. Its segments are numbered from
    /// `sequence` on.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn begin(
        disk: D,
        dir: &Path,
        options: LogOptions,
        after: Zxid,
        sequence: u64,
    ) -> Result<Self, LogError> {
        let spares = SparePool::open(disk.clone(), dir, options.segment_bytes, &[])?;
        let mut log = Self {
            index: LogIndex::new(disk.clone(), Vec::new(), Zxid::ZERO, sequence),
            disk,
            dir: dir.to_owned(),
            options,
            spares,
            active: None,
            pending: Vec::new(),
            pending_bytes: 0,
            last: Zxid::ZERO,
            overridden: Vec::new(),
            names_unsynced: false,
            buffer: Vec::new(),
            _lock: None,
        };
        log.restart_at(after)?;
        Ok(log)
    }

    /// Takes a transaction into the next batch; nothing is written yet. It must be the next of its epoch
    /// or belong to a later one; a log that continues a snapshot is begun with [`TxnLog::restart_at`].
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::Refused`]: the log is unchanged.
    pub fn append(&mut self, zxid: Zxid, txn: Bytes) -> Result<(), LogError> {
        if !follows(self.last, zxid) {
            return Err(LogError::OutOfOrder {
                last: self.last,
                zxid,
            });
        }
        if txn.len() > TXN_BYTES_MAX {
            return Err(LogError::Refused(format!(
                "transaction {zxid} has {} bytes",
                txn.len()
            )));
        }
        self.pending_bytes += record_bytes(txn.len()) as u64;
        self.pending.push((zxid, txn));
        self.last = zxid;
        Ok(())
    }

    /// Makes everything appended durable: one write, one fdatasync.
    ///
    /// # Errors
    /// The disk's. Nothing is lost: what was appended is kept in memory, the file that failed is never
    /// written again, and the next call writes to a fresh one. Until a call succeeds nothing beyond
    /// [`TxnLog::durable_zxid`] may be acknowledged.
    pub fn sync(&mut self) -> Result<Synced, LogError> {
        if self.names_unsynced {
            self.sync_names()?;
        }
        if self.pending.is_empty() {
            return Ok(Synced::default());
        }
        let synced = Synced {
            txns: self.pending.len(),
            bytes: self.pending_bytes,
        };
        match self
            .active
            .take_if(|active| active.end + self.pending_bytes + SEAL_BYTES <= active.len)
        {
            // `active` stays taken if the write fails.
            Some(active) => self.active = Some(self.write_batch(active)?),
            None => {
                self.retire_active()?;
                let base = self.durable_zxid();
                self.begin_segment(base, Precedent::Log)?;
            }
        }
        self.index.lock().durable = self.last;
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(synced)
    }

    /// Lets the next batch begin a new segment.
    ///
    /// # Errors
    /// As [`TxnLog::sync`], which it calls.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.sync()?;
        self.retire_active()
    }

    /// Forgets every transaction after `zxid`, durably and in one step: a crash leaves all or none of
    /// them. Returns the last transaction left, the highest one not above `zxid`.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the log begins later; the disk's errors, after which the call is to be
    /// repeated.
    pub fn truncate_after(&mut self, zxid: Zxid) -> Result<Zxid, LogError> {
        let durable = self.durable_zxid();
        if zxid >= durable {
            self.pending.retain(|(appended, _)| *appended <= zxid);
            self.pending_bytes = self
                .pending
                .iter()
                .map(|(_, txn)| record_bytes(txn.len()) as u64)
                .sum();
            self.last = self
                .pending
                .last()
                .map_or(durable, |(appended, _)| *appended);
            self.sync_names()?;
            return Ok(self.last);
        }
        let last_left = self.floor_zxid(zxid)?;
        self.drop_pending();
        self.active = None;
        self.begin_segment(last_left, Precedent::Log)?;
        Ok(last_left)
    }

    /// Forgets everything: the history up to `zxid` is in a snapshot that is already durable. Used when
    /// a snapshot came from the leader, or when one is ahead of the log.
    ///
    /// # Errors
    /// The disk's, after which the call is to be repeated.
    pub fn restart_at(&mut self, zxid: Zxid) -> Result<(), LogError> {
        self.drop_pending();
        self.active = None;
        self.begin_segment(zxid, Precedent::Snapshot)
    }

    /// Forgets everything and goes on with the log that was staged in `dir` ([`super::StagedLog`]), behind a snapshot that is
    /// already durable. Does nothing more if that was done before.
    ///
    /// # Errors
    /// The disk's, after which the call is to be repeated; damage.
    pub fn adopt(&mut self, dir: &Path) -> Result<(), LogError> {
        self.drop_pending();
        self.active = None;
        move_segments(&self.disk, dir, &self.dir)?;
        let names = self.disk.list(&self.dir);
        let names = names.map_err(LogError::io("list", &self.dir))?;
        let survey = survey(&self.disk, &self.dir, &names)?;
        self.last = survey.tail.proven;
        self.overridden = survey.overridden;
        {
            let mut inner = self.index.lock();
            inner.segments = survey.segments;
            inner.durable = survey.tail.proven;
            inner.next_sequence = survey.next_sequence;
        }
        self.remove_overridden()
    }

    /// Removes the segments that hold nothing after `zxid` and nothing that is held ([`LogIndex::hold_after`]), but
    /// never the newest one. Returns how many.
    ///
    /// # Errors
    /// The disk's; segments go oldest first, so what is left is whole.
    pub fn purge(&mut self, zxid: Zxid) -> Result<usize, LogError> {
        self.remove_overridden()?;
        let mut purged = 0;
        loop {
            let mut oldest = {
                let mut inner = self.index.lock();
                let bound = zxid.min(inner.held_after());
                match inner.segments.get(1) {
                    Some(next) if next.base <= bound => inner.segments.remove(0),
                    _ => return Ok(purged),
                }
            };
            let unread = Arc::get_mut(&mut oldest.pin).is_some();
            let recycled = if unread {
                self.spares.recycle(&oldest.path, oldest.len)
            } else {
                None
            };
            if recycled.is_none()
                && let Err(error) = self.disk.remove(&oldest.path)
            {
                let failed = LogError::io("remove", &oldest.path)(error);
                self.index.lock().segments.insert(0, oldest);
                return Err(failed);
            }
            // Each removal is durable before the next, lest a crash leave a hole, and before the file is
            // used again, lest a crash show its new contents under the old name.
            self.names_unsynced = true;
            self.sync_names()?;
            if let Some(spare) = recycled {
                self.spares.add(spare);
            }
            purged += 1;
        }
    }

    /// Makes everything durable and writes the seal that tells the next open that nothing is missing.
    ///
    /// # Errors
    /// As [`TxnLog::sync`].
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        if let Some(active) = &self.active {
            let last = self.last;
            self.buffer.clear();
            encode_seal(&mut self.buffer, active.end, active.salt, last);
            active
                .file
                .write_at(&self.buffer, active.end)
                .map_err(LogError::io("write", &active.path))?;
            active
                .file
                .sync_data()
                .map_err(LogError::io("sync", &active.path))?;
        }
        Ok(())
    }

    /// The last transaction appended, durable or not.
    #[must_use]
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// The last transaction that is durable.
    #[must_use]
    pub fn durable_zxid(&self) -> Zxid {
        self.index.durable_zxid()
    }

    /// Bytes appended and not yet durable.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// What other threads read the log through.
    #[must_use]
    pub fn index(&self) -> LogIndex<D> {
        self.index.clone()
    }

    /// The durable transactions after `after`; see [`LogIndex::read_after`].
    ///
    /// # Errors
    /// As there.
    pub fn read_after(&self, after: Zxid) -> Result<LogReader<D>, LogError> {
        self.index.read_after(after)
    }

    /// Where segments come from, for the thread that makes them ahead.
    #[must_use]
    pub fn spares(&self) -> SparePool<D> {
        self.spares.clone()
    }

    /// Whether [`SparePool::prepare`] should be called soon: the segment is half full and no other is ready.
    #[must_use]
    pub fn wants_spare(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.end > active.len / 2)
            && !self.spares.has_spare()
    }

    /// The disk it is on.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn write_batch(&mut self, mut active: Active<D::File>) -> Result<Active<D::File>, LogError> {
        self.buffer.clear();
        for (zxid, txn) in &self.pending {
            encode_record(
                &mut self.buffer,
                active.end,
                active.salt,
                active.synced_end,
                *zxid,
                txn,
            );
        }
        active
            .file
            .write_at(&self.buffer, active.end)
            .map_err(LogError::io("write", &active.path))?;
        active.end += self.buffer.len() as u64;
        if self.options.durability == Durability::Fsync {
            active
                .file
                .sync_data()
                .map_err(LogError::io("sync", &active.path))?;
            active.synced_end = active.end;
        }
        Ok(active)
    }

    /// Writes nothing more to the active segment. The header of the next one will claim that everything
    /// in it was durable, so even with `NoFsync` it is synced now.
    fn retire_active(&mut self) -> Result<(), LogError> {
        match self.active.take() {
            Some(active) if active.synced_end < active.end => active
                .file
                .sync_data()
                .map_err(LogError::io("sync", &active.path)),
            _ => Ok(()),
        }
    }

    /// Makes a segment that continues after `base`, with everything pending in it. It is complete and
    /// durable before it gets its name, and the name alone decides that it overrides older ones: a crash
    /// leaves the log with all of it or none.
    fn begin_segment(&mut self, base: Zxid, precedent: Precedent) -> Result<(), LogError> {
        let needed = HEADER_BLOCK as u64 + self.pending_bytes + SEAL_BYTES;
        let spare = self
            .spares
            .take(needed, self.options.inline_segment_bytes)?;
        let path = self.dir.join(segment_name(base));
        let named = self.fill(&spare, base, precedent).and_then(|active| {
            self.disk
                .rename(&spare.path, &path)
                .map_err(LogError::io("rename", &spare.path))?;
            Ok(active)
        });
        let active = match named {
            Ok(active) => active,
            Err(error) => {
                self.spares.discard(&spare);
                return Err(error);
            }
        };
        self.names_unsynced = true;
        self.put_in_index(
            SegmentMeta {
                path: path.clone(),
                base,
                len: spare.len,
                pin: Arc::default(),
            },
            precedent,
        );
        self.sync_names()?;
        self.active = Some(Active { path, ..active });
        // The batch is durable now, so this must not fail any more: it would be written twice.
        if let Err(error) = self.remove_overridden() {
            tracing::warn!(%error, "overridden log segments stay for now");
        }
        Ok(())
    }

    fn fill(
        &mut self,
        spare: &Spare,
        base: Zxid,
        precedent: Precedent,
    ) -> Result<Active<D::File>, LogError> {
        let salt = self.disk.entropy();
        self.buffer.clear();
        self.buffer.resize(HEADER_BLOCK, 0);
        for (zxid, txn) in &self.pending {
            encode_record(&mut self.buffer, 0, salt, HEADER_BLOCK as u64, *zxid, txn);
        }
        let end = self.buffer.len() as u64;
        let header = SegmentHeader {
            salt,
            base,
            sequence: self.index.lock().next_sequence,
            proven_end: end,
            file_bytes: spare.len,
            restart: precedent == Precedent::Snapshot,
        };
        let header = header.encode();
        self.buffer[..header.len()].copy_from_slice(&header);
        let file = self
            .disk
            .open(&spare.path, OpenMode::ReadWrite)
            .map_err(LogError::io("open", &spare.path))?;
        file.write_at(&self.buffer, 0)
            .map_err(LogError::io("write", &spare.path))?;
        file.sync_data()
            .map_err(LogError::io("sync", &spare.path))?;
        Ok(Active {
            file,
            path: spare.path.clone(),
            salt,
            len: spare.len,
            end,
            synced_end: end,
        })
    }

    /// Puts a segment that has got its name into the index, in place of those that it overrides.
    fn put_in_index(&mut self, segment: SegmentMeta, precedent: Precedent) {
        let mut inner = self.index.lock();
        inner.next_sequence += 1;
        let keep = match precedent {
            Precedent::Log => inner
                .segments
                .partition_point(|older| older.base < segment.base),
            Precedent::Snapshot => 0,
        };
        let gone = inner
            .segments
            .drain(keep..)
            .map(|older| older.path)
            .filter(|path| *path != segment.path);
        self.overridden.extend(gone);
        if self.pending.is_empty() {
            self.last = segment.base;
            inner.durable = segment.base;
        }
        inner.segments.push(segment);
    }

    fn remove_overridden(&mut self) -> Result<(), LogError> {
        while let Some(path) = self.overridden.last() {
            match self.disk.remove(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove overridden", path)(error));
                }
                _ => {}
            }
            self.names_unsynced = true;
            self.overridden.pop();
        }
        self.sync_names()
    }

    fn sync_names(&mut self) -> Result<(), LogError> {
        if self.names_unsynced {
            self.disk
                .sync_dir(&self.dir)
                .map_err(LogError::io("sync", &self.dir))?;
            self.names_unsynced = false;
        }
        Ok(())
    }

    fn drop_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.last = self.durable_zxid();
    }

    fn floor_zxid(&self, zxid: Zxid) -> Result<Zxid, LogError> {
        let bases = self.index.segment_bases();
        let Some(base) = bases.iter().rev().find(|base| **base <= zxid) else {
            return Err(LogError::Refused(format!(
                "the log begins after {zxid}: it cannot be cut there"
            )));
        };
        let mut floor = *base;
        for record in self.read_after(*base)? {
            match record? {
                (found, _) if found <= zxid => floor = found,
                _ => break,
            }
        }
        Ok(floor)
    }
}

/// What a new segment continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precedent {
    /// The older segments, up to its base.
    Log,
    /// A snapshot; older segments do not count any more.
    Snapshot,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            inline_segment_bytes: 4 << 20,
            durability: Durability::Fsync,
        }
    }
}

const LOCK_NAME: &str = "LOCK";
