//! Opening the log: which segments count, where the history ends, and whether anything is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::{DamageCause, LogError};
use super::format::{NameKind, RecordKind, SegmentHeader, name_kind, segment_name};
use super::reader::{LogIndex, SegmentMeta, open_segment};
use super::segment::{SegmentReader, Step, follows};
use crate::storage::disk::{Disk, DiskFile};

/// What opening the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last transaction; that of the snapshot it continues if the log is empty.
    pub last_zxid: Zxid,
    /// The log holds every transaction after this one up to `last_zxid`. `None`: no log at all.
    pub oldest_base: Option<Zxid>,
    /// The log was closed in order.
    pub sealed: bool,
    /// Writes that the last run did not finish, and never acknowledged, were left out.
    pub torn: Option<TornTail>,
}

/// Where an unfinished write was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the first unreadable record begins.
    pub offset: u64,
}

/// The segments that count, and what is needed to go on.
pub(super) struct Survey {
    /// Oldest first.
    pub(super) segments: Vec<SegmentMeta>,
    /// Files that a newer segment overrides as a whole.
    pub(super) overridden: Vec<PathBuf>,
    pub(super) next_sequence: u64,
    pub(super) tail: Tail,
}

/// The end of the newest segment.
pub(super) struct Tail {
    pub(super) last: Zxid,
    pub(super) sealed: bool,
    pub(super) torn: Option<u64>,
    /// The records of the last batch, unless something proves that they are on the platter. What a
    /// killed process wrote reads back from memory even if an fsync of it failed.
    pub(super) unproven: Vec<(Zxid, Bytes)>,
    /// The transaction before `unproven`.
    pub(super) proven: Zxid,
}

/// More segments than any log gets to; the sequence numbers after it are for those still to be made.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// What the log in a directory holds, whether a server has it open or not. Nothing is changed.
///
/// # Errors
/// Damage; the disk's.
pub fn look<D: Disk>(disk: &D, dir: &Path) -> Result<LogIndex<D>, LogError> {
    let names = disk.list(dir).map_err(LogError::io("list", dir))?;
    let Survey {
        segments,
        tail,
        next_sequence,
        ..
    } = survey(disk, dir, &names)?;
    Ok(LogIndex::new(
        disk.clone(),
        segments,
        tail.last,
        next_sequence,
    ))
}

/// Looks through the log directory.
pub(super) fn survey<D: Disk>(disk: &D, dir: &Path, names: &[String]) -> Result<Survey, LogError> {
    let mut found = Vec::new();
    for name in names
        .iter()
        .filter(|name| name_kind(name) == NameKind::Segment)
    {
        let path = dir.join(name);
        let reader = open_segment(disk, &path)?;
        if reader.file_len() < reader.header().file_bytes {
            return Err(LogError::DamagedHeader {
                file: path,
                cause: DamageCause::Short,
            });
        }
        if segment_name(reader.header().base) != *name {
            return Err(LogError::DamagedHeader {
                file: path,
                cause: DamageCause::Name,
            });
        }
        if reader.header().sequence > SEQUENCE_MAX {
            return Err(LogError::DamagedHeader {
                file: path,
                cause: DamageCause::Sequence,
            });
        }
        found.push((*reader.header(), path, reader));
    }
    found.sort_by_key(|(header, ..)| std::cmp::Reverse(header.sequence));
    let next_sequence = found.first().map_or(1, |(header, ..)| header.sequence + 1);

    let mut survey = Survey {
        segments: Vec::new(),
        overridden: Vec::new(),
        next_sequence,
        tail: Tail::empty(),
    };
    let mut counts_below: Option<SegmentHeader> = None;
    for (header, path, mut reader) in found {
        match counts_below {
            None => survey.tail = scan_tail(&mut reader, &path)?,
            Some(newer) if newer.restart || header.base >= newer.base => {
                survey.overridden.push(path);
                continue;
            }
            Some(_) => {}
        }
        counts_below = Some(header);
        let len = reader.file_len();
        survey.segments.push(SegmentMeta {
            path,
            base: header.base,
            len,
            pin: Arc::default(),
        });
    }
    survey.segments.reverse();
    Ok(survey)
}

fn scan_tail<F: DiskFile>(reader: &mut SegmentReader<F>, path: &Path) -> Result<Tail, LogError> {
    let header = *reader.header();
    let mut tail = Tail {
        last: header.base,
        proven: header.base,
        ..Tail::empty()
    };
    let mut batch_start = 0;
    loop {
        let (offset, cause) = match reader.step().map_err(LogError::io("read", path))? {
            Step::Record { head, .. }
                if head.kind == RecordKind::Seal && head.zxid == tail.last =>
            {
                tail.sealed = true;
                tail.proven = tail.last;
                tail.unproven.clear();
                return Ok(tail);
            }
            Step::Record { offset, head, body }
                if head.kind == RecordKind::Txn && follows(tail.last, head.zxid) =>
            {
                if head.batch_start != batch_start {
                    batch_start = head.batch_start;
                    tail.proven = tail.last;
                    tail.unproven.clear();
                }
                tail.last = head.zxid;
                if offset < header.proven_end {
                    tail.proven = head.zxid;
                } else {
                    tail.unproven.push((head.zxid, body));
                }
                continue;
            }
            Step::Record { offset, .. } => (offset, DamageCause::Gap),
            Step::Unreadable { offset, cause } => (offset, cause),
        };
        let aftermath = reader
            .aftermath(offset)
            .map_err(LogError::io("read", path))?;
        // Torn writes leave unreadable records, never readable ones out of order.
        if !aftermath.was_durable && cause != DamageCause::Gap {
            return Ok(Tail {
                torn: aftermath.started.then_some(offset),
                ..tail
            });
        }
        return Err(LogError::Damaged {
            file: path.to_owned(),
            offset,
            last_good: tail.last,
            next_good: aftermath.next_good,
            cause,
        });
    }
}

impl Tail {
    fn empty() -> Self {
        Self {
            last: Zxid::ZERO,
            sealed: false,
            torn: None,
            unproven: Vec::new(),
            proven: Zxid::ZERO,
        }
    }
}
