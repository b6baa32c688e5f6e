//! Reading the log from any place, also from other threads while it grows.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::{DamageCause, LogError};
use super::format::{HeaderError, RecordKind, VERSION};
use super::segment::{SegmentReader, Step, follows};
use crate::storage::disk::{Disk, OpenMode};

/// Which segments make up the log, shared by the log and its readers.
#[derive(Clone, Debug)]
pub struct LogIndex<D: Disk> {
    disk: D,
    inner: Arc<Mutex<IndexInner>>,
}

#[derive(Debug)]
pub(super) struct IndexInner {
    /// Oldest first; bases strictly ascend, and each segment counts up to the next one's base.
    pub(super) segments: Vec<SegmentMeta>,
    /// Everything up to here is on disk.
    pub(super) durable: Zxid,
    /// That of the next segment to be made.
    pub(super) next_sequence: u64,
    /// What [`LogHold`]s keep: all after these, each with the number of holds.
    holds: BTreeMap<Zxid, usize>,
}

impl IndexInner {
    /// Nothing after this one may be purged.
    pub(super) fn held_after(&self) -> Zxid {
        self.holds
            .first_key_value()
            .map_or(Zxid(i64::MAX), |(zxid, _)| *zxid)
    }

    fn oldest(&self) -> Zxid {
        self.segments
            .first()
            .map_or(self.durable, |segment| segment.base)
    }
}

/// Keeps a part of the log from being purged for as long as it lives; see [`LogIndex::hold_after`].
#[derive(Debug)]
pub struct LogHold {
    inner: Arc<Mutex<IndexInner>>,
    after: Zxid,
}

impl Drop for LogHold {
    fn drop(&mut self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holds) = inner.holds.get_mut(&self.after) {
            *holds -= 1;
            if *holds == 0 {
                inner.holds.remove(&self.after);
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct SegmentMeta {
    pub(super) path: PathBuf,
    pub(super) base: Zxid,
    pub(super) len: u64,
    /// A reader holds a clone: the file may be removed then, but not overwritten.
    pub(super) pin: Arc<()>,
}

impl<D: Disk> LogIndex<D> {
    pub(super) fn new(
        disk: D,
        segments: Vec<SegmentMeta>,
        durable: Zxid,
        next_sequence: u64,
    ) -> Self {
        Self {
            disk,
            inner: Arc::new(Mutex::new(IndexInner {
                segments,
                durable,
                next_sequence,
                holds: BTreeMap::new(),
            })),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, IndexInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last durable transaction.
    #[must_use]
    pub fn durable_zxid(&self) -> Zxid {
        self.lock().durable
    }

    /// The log holds every transaction after this one; [`Zxid::ZERO`] for a log from the beginning, and
    /// `None` when there are no segments at all.
    #[must_use]
    pub fn oldest_base(&self) -> Option<Zxid> {
        self.lock().segments.first().map(|segment| segment.base)
    }

    /// The bases of the segments, oldest first: a segment holds the transactions after its base up to
    /// the next one's. For `retention::segments_to_purge`.
    #[must_use]
    pub fn segment_bases(&self) -> Vec<Zxid> {
        self.lock()
            .segments
            .iter()
            .map(|segment| segment.base)
            .collect()
    }

    /// The durable transactions after `after`, in order. What is appended later is not seen.
    ///
    /// # Errors
    /// [`LogError::Purged`] if the log begins later; the disk's errors.
    pub fn read_after(&self, after: Zxid) -> Result<LogReader<D>, LogError> {
        let inner = self.lock();
        let durable = inner.durable;
        self.reader(&inner, after, durable)
    }

    /// The transactions after `after` and up to `through`, in order.
    ///
    /// # Errors
    /// [`LogError::Purged`] if the log begins later; [`LogError::NotDurable`] if it ends earlier; the disk's errors.
    pub fn read_range(&self, after: Zxid, through: Zxid) -> Result<LogReader<D>, LogError> {
        let inner = self.lock();
        if through > inner.durable {
            return Err(LogError::NotDurable {
                asked: through,
                durable: inner.durable,
            });
        }
        self.reader(&inner, after, through)
    }

    /// Keeps everything after `after` from being purged while the answer lives. Readers need no hold; it is for what
    /// is to be read later.
    ///
    /// # Errors
    /// [`LogError::Purged`] if the log begins later.
    pub fn hold_after(&self, after: Zxid) -> Result<LogHold, LogError> {
        let mut inner = self.lock();
        if after < inner.oldest() {
            return Err(LogError::Purged {
                asked: after,
                oldest: inner.oldest(),
            });
        }
        *inner.holds.entry(after).or_default() += 1;
        Ok(LogHold {
            inner: Arc::clone(&self.inner),
            after,
        })
    }

    /// Under the lock the files cannot be purged between looking them up and opening them.
    fn reader(
        &self,
        inner: &IndexInner,
        after: Zxid,
        through: Zxid,
    ) -> Result<LogReader<D>, LogError> {
        let mut segments = VecDeque::new();
        let oldest = inner.segments.first().map_or(after, |segment| segment.base);
        if after < oldest {
            return Err(LogError::Purged {
                asked: after,
                oldest,
            });
        }
        let first = inner
            .segments
            .partition_point(|segment| segment.base <= after)
            .saturating_sub(1);
        for (at, meta) in inner.segments.iter().enumerate().skip(first) {
            let limit = inner
                .segments
                .get(at + 1)
                .map_or(inner.durable, |next| next.base);
            if limit > after && meta.base < through {
                let reader = open_segment(&self.disk, &meta.path)?;
                segments.push_back(Source {
                    reader,
                    path: meta.path.clone(),
                    limit,
                    _pin: Arc::clone(&meta.pin),
                });
            }
        }
        let last = segments
            .front()
            .map_or(after, |source| source.reader.header().base);
        Ok(LogReader {
            segments,
            after,
            through,
            last,
            failed: false,
        })
    }
}

/// Streams transactions out of the log; see [`LogIndex::read_after`] and [`LogIndex::read_range`]. After an error it
/// ends.
pub struct LogReader<D: Disk> {
    segments: VecDeque<Source<D>>,
    after: Zxid,
    through: Zxid,
    /// The last record read, or the base of the segment.
    last: Zxid,
    failed: bool,
}

struct Source<D: Disk> {
    reader: SegmentReader<D::File>,
    path: PathBuf,
    /// The segment must hold exactly the transactions up to here; what comes later does not count.
    limit: Zxid,
    _pin: Arc<()>,
}

impl<D: Disk> Iterator for LogReader<D> {
    type Item = Result<(Zxid, Bytes), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.try_next().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl<D: Disk> LogReader<D> {
    fn try_next(&mut self) -> Result<Option<(Zxid, Bytes)>, LogError> {
        loop {
            let Some(source) = self.segments.front_mut() else {
                return Ok(None);
            };
            if self.last >= self.through {
                self.segments.clear();
                continue;
            }
            if self.last >= source.limit {
                self.segments.pop_front();
                continue;
            }
            let (offset, cause) = match source
                .reader
                .step()
                .map_err(LogError::io("read", &source.path))?
            {
                Step::Record { head, body, .. }
                    if head.kind == RecordKind::Txn
                        && follows(self.last, head.zxid)
                        && head.zxid <= source.limit =>
                {
                    self.last = head.zxid;
                    if head.zxid > self.through {
                        continue;
                    }
                    if head.zxid > self.after {
                        return Ok(Some((head.zxid, body)));
                    }
                    continue;
                }
                Step::Record { offset, .. } => (offset, DamageCause::Gap),
                Step::Unreadable { offset, cause } => (offset, cause),
            };
            return Err(self.damage(offset, cause));
        }
    }

    fn damage(&mut self, offset: u64, cause: DamageCause) -> LogError {
        let last_good = self.last;
        let file = self
            .segments
            .front()
            .map(|source| source.path.clone())
            .unwrap_or_default();
        let next_good = self.next_good(offset, cause);
        LogError::Damaged {
            file,
            offset,
            last_good,
            next_good,
            cause,
        }
    }

    /// For the message only, so that an error on the way makes it vaguer, not another error.
    fn next_good(&mut self, offset: u64, cause: DamageCause) -> Option<Zxid> {
        let source = self.segments.front_mut()?;
        if cause == DamageCause::Gap {
            match source
                .reader
                .next_head(offset.saturating_sub(super::format::ALIGN as u64))
            {
                Ok(Some((_, head))) if head.kind == RecordKind::Txn => return Some(head.zxid),
                _ => {}
            }
        }
        let mut at = offset;
        while let Ok(Some((found, head))) = source.reader.next_head(at) {
            if head.kind == RecordKind::Txn {
                return (head.zxid <= source.limit).then_some(head.zxid);
            }
            at = found;
        }
        match self.segments.get_mut(1)?.reader.step() {
            Ok(Step::Record { head, .. }) if head.kind == RecordKind::Txn => Some(head.zxid),
            _ => None,
        }
    }
}

/// Opens a segment and reads its header.
pub(super) fn open_segment<D: Disk>(
    disk: &D,
    path: &Path,
) -> Result<SegmentReader<D::File>, LogError> {
    let file = disk
        .open(path, OpenMode::Read)
        .map_err(LogError::io("open", path))?;
    match SegmentReader::open(file).map_err(LogError::io("read", path))? {
        Ok(reader) => Ok(reader),
        Err(HeaderError::Version(found)) => Err(LogError::Version {
            file: path.to_owned(),
            found,
            supported: VERSION,
        }),
        Err(HeaderError::Checksum) => Err(LogError::DamagedHeader {
            file: path.to_owned(),
            cause: DamageCause::Checksum,
        }),
        Err(HeaderError::NotASegment) => Err(LogError::DamagedHeader {
            file: path.to_owned(),
            cause: DamageCause::Magic,
        }),
    }
}
