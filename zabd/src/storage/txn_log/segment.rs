//! Walking through the records of one segment, and deciding what an unreadable one means.

use std::io;

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::DamageCause;
use super::format::{
    ALIGN, HEADER_BLOCK, HeaderError, RECORD_HEAD, RecordHead, RecordKind, SegmentHeader,
    TXN_BYTES_MAX, record_bytes,
};
use crate::storage::disk::DiskFile;

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole record.
    Record {
        /// Where it begins.
        offset: u64,
        /// Its head.
        head: RecordHead,
        /// The transaction; empty for a seal.
        body: Bytes,
    },
    /// Zeros, a torn record, a stale one, or the end of the file.
    Unreadable {
        /// Where the record would begin.
        offset: u64,
        /// What does not fit.
        cause: DamageCause,
    },
}

/// Reads a segment front to back through a window of its own.
pub(super) struct SegmentReader<F> {
    file: F,
    header: SegmentHeader,
    file_len: u64,
    position: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl<F: DiskFile> SegmentReader<F> {
    /// Reads the header. The inner result says whether it is one.
    pub(super) fn open(file: F) -> io::Result<Result<Self, HeaderError>> {
        let mut block = [0; 64];
        let read = file.read_at(&mut block, 0)?;
        let header = match SegmentHeader::decode(&block[..read]) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let file_len = file.len()?;
        Ok(Ok(Self {
            file,
            header,
            file_len,
            position: HEADER_BLOCK as u64,
            window: Vec::new(),
            window_offset: 0,
        }))
    }

    pub(super) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The record at the current place; the place moves on past it. After an unreadable one it stays.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let offset = self.position;
        let unreadable = |cause| Ok(Step::Unreadable { offset, cause });
        let Some(head) = self.head_at(offset)? else {
            let short = self.file_len < offset + RECORD_HEAD as u64;
            return unreadable(if short {
                DamageCause::Short
            } else {
                DamageCause::Checksum
            });
        };
        let len = head.len as usize;
        let end = offset + record_bytes(len) as u64;
        if len > TXN_BYTES_MAX || end > self.file_len {
            return unreadable(DamageCause::Short);
        }
        let salt = self.header.salt;
        let body = match self.bytes(offset + RECORD_HEAD as u64, len)? {
            Some(body) if head.body_matches(body, salt, offset) => Bytes::copy_from_slice(body),
            _ => return unreadable(DamageCause::Checksum),
        };
        self.position = end;
        Ok(Step::Record { offset, head, body })
    }

    /// The first valid head after `offset`, wherever it is. Bytes a client chose cannot pass for one:
    /// the salt in its checksum never leaves the server.
    pub(super) fn next_head(&mut self, offset: u64) -> io::Result<Option<(u64, RecordHead)>> {
        let salt = self.header.salt;
        let mut at = offset + ALIGN as u64;
        while self.bytes(at, RECORD_HEAD)?.is_some() {
            let start = usize::try_from(at - self.window_offset).map_err(io::Error::other)?;
            let window = self.window.get(start..).unwrap_or_default();
            for (place, head) in (0..)
                .step_by(ALIGN)
                .zip(window.windows(RECORD_HEAD).step_by(ALIGN))
            {
                let offset = at + place;
                if let Some(head) = head
                    .first_chunk()
                    .and_then(|head| RecordHead::decode(head, salt, offset))
                {
                    return Ok(Some((offset, head)));
                }
            }
            at += ((window.len() - RECORD_HEAD) / ALIGN * ALIGN + ALIGN) as u64;
        }
        Ok(None)
    }

    /// What follows the unreadable record at `offset`, and whether it must once have been durable: the
    /// segment had its name only after `proven_end` was durable, and a batch is only begun when the one
    /// before it is durable.
    pub(super) fn aftermath(&mut self, offset: u64) -> io::Result<Aftermath> {
        let mut aftermath = Aftermath {
            was_durable: offset < self.header.proven_end,
            started: self.head_at(offset)?.is_some(),
            next_good: None,
        };
        let mut at = offset;
        while let Some((found, head)) = self.next_head(at)? {
            aftermath.started = true;
            aftermath.was_durable |= head.batch_start > offset;
            if head.kind == RecordKind::Txn && aftermath.next_good.is_none() {
                aftermath.next_good = Some(head.zxid);
            }
            if aftermath.was_durable && aftermath.next_good.is_some() {
                break;
            }
            at = found;
        }
        Ok(aftermath)
    }

    fn head_at(&mut self, offset: u64) -> io::Result<Option<RecordHead>> {
        let salt = self.header.salt;
        let head = self
            .bytes(offset, RECORD_HEAD)?
            .and_then(|bytes| bytes.first_chunk());
        Ok(head.and_then(|head| RecordHead::decode(head, salt, offset)))
    }

    /// `len` bytes at `offset`, or `None` if the file ends before them.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let end = offset + len as u64;
        if end > self.file_len {
            return Ok(None);
        }
        let window_end = self.window_offset + self.window.len() as u64;
        if offset < self.window_offset || end > window_end {
            self.window.resize(len.max(WINDOW), 0);
            let read = self.file.read_at(&mut self.window, offset)?;
            self.window.truncate(read);
            self.window_offset = offset;
            if read < len {
                return Ok(None);
            }
        }
        let start = usize::try_from(offset - self.window_offset).map_err(io::Error::other)?;
        Ok(self.window.get(start..start + len))
    }
}

/// See [`SegmentReader::aftermath`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Aftermath {
    /// The bytes that cannot be read any more were on the platter: this is damage, not a torn write.
    pub(super) was_durable: bool,
    /// Some record of this use of the file was begun here or later.
    pub(super) started: bool,
    /// The first transaction after the unreadable place whose head is readable.
    pub(super) next_good: Option<Zxid>,
}

/// Whether `zxid` may follow `last`: the next of its epoch, or anything of a later one.
pub(super) fn follows(last: Zxid, zxid: Zxid) -> bool {
    last.0.checked_add(1) == Some(zxid.0) || zxid.epoch() > last.epoch()
}

const WINDOW: usize = 256 * 1024;
