//! Transaction logs: `log.<zxid>`, files that are grown by zeros ahead of what is written.
//!
//! ```text
//! "ZKLG", version 2, 0          16 bytes
//! checksum, length, payload, 'B'   8 + 4 + length + 1 bytes, as often as there are transactions
//! zeros                         up to the length that the file was grown to
//! ```
//!
//! A file ends where no whole record follows: with zeros, or with a record that was being written when the power went. Java
//! then goes on with the next file, whatever stands behind that place. Here a file is damaged if a whole record of a later
//! transaction still follows in it, and transactions must follow each other without a gap.
//!
//! ZooKeeper: `FileTxnLog.FileTxnIterator`, `Util.readTxnBytes`.

use std::path::{Path, PathBuf};

use adler2::adler32_slice;
use bytes::Bytes;
use jute_codec::Zxid;

use super::dir::{JavaDir, NamedFile};
use super::{JavaFileError, failed};
use crate::storage::disk::{Disk, DiskFile, OpenMode};

const MAGIC: &[u8; 4] = b"ZKLG";
const HEADER_BYTES: u64 = 16;
/// Checksum and length.
const HEAD_BYTES: usize = 12;
/// Session, cxid, zxid, time, type.
const TXN_HEADER_BYTES: usize = 32;
/// Where the zxid is in a payload.
const ZXID_AT: usize = 12;

/// A transaction, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Which.
    pub zxid: Zxid,
    /// Header, record and digest.
    pub payload: Bytes,
    /// Where its record begins in the file.
    pub offset: u64,
}

/// Reads one file from its beginning.
pub struct LogFile<F> {
    path: PathBuf,
    file: F,
    len: u64,
    // Where the next record begins.
    offset: u64,
    last: Zxid,
    limit: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
    ended: bool,
}

impl<F: DiskFile> LogFile<F> {
    /// Opens a file; one that is empty or all zeros has no transactions. A payload has `limit` bytes at most.
    ///
    /// # Errors
    /// When it does not begin like a log; the disk's.
    pub fn open<D: Disk<File = F>>(
        disk: &D,
        path: &Path,
        limit: usize,
    ) -> Result<Self, JavaFileError> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(failed("open", path))?;
        let len = file.len().map_err(failed("look at", path))?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            len,
            offset: HEADER_BYTES,
            last: Zxid::ZERO,
            limit,
            buffer: Vec::new(),
            buffer_at: 0,
            ended: false,
        };
        let is_log = log.bytes(0, MAGIC.len())?.starts_with(MAGIC);
        if !is_log {
            // It was made, and the power went before anything was written for good.
            if log
                .first_non_zero(0)?
                .is_some_and(|at| !(at == 0 && len < 4))
            {
                return Err(log.damaged(0, "it does not begin as transaction logs do"));
            }
            log.ended = true;
        }
        Ok(log)
    }

    /// The next transaction; `None` at the end.
    ///
    /// # Errors
    /// [`JavaFileError::Damaged`]; the disk's.
    pub fn next_record(&mut self) -> Result<Option<LogRecord>, JavaFileError> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        match self.record_at(offset)? {
            At::Record { zxid, payload } => {
                self.offset = offset + (HEAD_BYTES + payload.len() + 1) as u64;
                self.last = zxid;
                Ok(Some(LogRecord {
                    zxid,
                    payload,
                    offset,
                }))
            }
            At::Wrong(detail) => Err(self.damaged(offset, &detail)),
            At::Nothing => {
                if let Some((place, zxid)) = self.later_record(offset)? {
                    return Err(self.damaged(
                        offset,
                        &format!(
                            "no whole record begins here, after {}, but one of {zxid} at offset {place}",
                            self.last
                        ),
                    ));
                }
                self.ended = true;
                Ok(None)
            }
        }
    }

    /// Where the next record begins, or would.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Which file it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record_at(&mut self, offset: u64) -> Result<At, JavaFileError> {
        let head = self.bytes(offset, HEAD_BYTES)?;
        let Some((sum, length)) = split_head(head) else {
            return Ok(At::Nothing);
        };
        if length == 0 {
            return Ok(At::Nothing);
        }
        let Some(length) = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.limit)
        else {
            return Ok(At::Wrong(format!(
                "a record of {length} bytes, where {} are allowed; if it was written with a larger jute.maxbuffer, \
                 configure that",
                self.limit
            )));
        };
        let body = self.bytes(offset + HEAD_BYTES as u64, length + 1)?;
        let Some((b'B', payload)) = body.split_last().map(|(end, payload)| (*end, payload)) else {
            return Ok(At::Nothing);
        };
        if payload.len() < length {
            return Ok(At::Nothing);
        }
        if u64::from(adler32_slice(payload)) != sum {
            return Ok(At::Wrong(
                "the checksum of the record does not match".to_owned(),
            ));
        }
        let Some(zxid) = zxid_of(payload) else {
            return Ok(At::Wrong(
                "the record is too short for a transaction".to_owned(),
            ));
        };
        Ok(At::Record {
            zxid,
            payload: Bytes::copy_from_slice(payload),
        })
    }

    /// A whole record of a later transaction behind `after`, as far as one is looked for.
    fn later_record(&mut self, after: u64) -> Result<Option<(u64, Zxid)>, JavaFileError> {
        let Some(first) = self.first_non_zero(after)? else {
            return Ok(None);
        };
        let (mut sums_left, end) = (SEARCH_SUMS_MAX, first.saturating_add(SEARCH_BYTES));
        let (limit, last) = (self.limit, self.last);
        // A head begins with zeros.
        let mut at = first.saturating_sub(7).max(after);
        while at < end.min(self.len) && sums_left > 0 {
            let head = self.bytes(at, HEAD_BYTES + ZXID_AT + 8)?;
            let may_be = split_head(head).is_some_and(|(sum, length)| {
                sum != 0
                    && u32::try_from(sum).is_ok()
                    && usize::try_from(length)
                        .is_ok_and(|length| (TXN_HEADER_BYTES..=limit).contains(&length))
            });
            let zxid = may_be.then(|| zxid_of(&head[HEAD_BYTES..])).flatten();
            if let Some(zxid) = zxid.filter(|zxid| may_come_after(*zxid, last)) {
                sums_left -= 1;
                if matches!(self.record_at(at)?, At::Record { .. }) {
                    return Ok(Some((at, zxid)));
                }
            }
            at += 1;
        }
        Ok(None)
    }

    fn first_non_zero(&mut self, from: u64) -> Result<Option<u64>, JavaFileError> {
        let mut at = from;
        loop {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(place) = bytes.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + place as u64));
            }
            at += bytes.len() as u64;
        }
    }

    /// Up to `wanted` bytes at a place; fewer at the end of the file only.
    fn bytes(&mut self, at: u64, wanted: usize) -> Result<&[u8], JavaFileError> {
        let wanted =
            usize::try_from(self.len.saturating_sub(at)).map_or(wanted, |left| left.min(wanted));
        let has = self.buffer_at..=self.buffer_at + self.buffer.len() as u64;
        if !(has.contains(&at) && has.contains(&(at + wanted as u64))) {
            let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
            self.buffer.resize(wanted.max(WINDOW_BYTES).min(left), 0);
            self.buffer_at = at;
            let read = self.file.read_at(&mut self.buffer, at);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read.map_err(failed("read", &self.path))?;
        }
        let from = usize::try_from(at - self.buffer_at)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let to = from.saturating_add(wanted).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    fn damaged(&self, offset: u64, detail: &str) -> JavaFileError {
        JavaFileError::Damaged {
            path: self.path.clone(),
            offset,
            detail: detail.to_owned(),
        }
    }
}

const WINDOW_BYTES: usize = 64 << 10;
/// How far behind an unreadable place a later record is looked for, and how many places are looked at closely.
const SEARCH_BYTES: u64 = 16 << 20;
const SEARCH_SUMS_MAX: usize = 4096;

/// What is at a place.
enum At {
    Record {
        zxid: Zxid,
        payload: Bytes,
    },
    Wrong(String),
    /// Nothing whole: the end, or where the power went.
    Nothing,
}

fn split_head(head: &[u8]) -> Option<(u64, i32)> {
    let (sum, rest) = head.split_first_chunk()?;
    let length = rest.first_chunk()?;
    Some((u64::from_be_bytes(*sum), i32::from_be_bytes(*length)))
}

fn zxid_of(payload: &[u8]) -> Option<Zxid> {
    let zxid = payload.get(ZXID_AT..)?.first_chunk()?;
    Some(Zxid(i64::from_be_bytes(*zxid)))
}

/// Whether a transaction may come after another one, be it not at once: to tell records from bytes that look like one.
fn may_come_after(zxid: Zxid, last: Zxid) -> bool {
    const FAR: i64 = 1 << 24;
    let ahead = zxid.epoch().saturating_sub(last.epoch());
    zxid > last && ahead < FAR && (ahead > 0 || last == Zxid::ZERO || zxid.0 - last.0 < FAR)
}

/// Whether one transaction follows another: none is missing between them.
///
/// Java takes anything of a later epoch; every epoch begins with 1.
#[must_use]
pub fn follows(next: Zxid, last: Zxid) -> bool {
    let first_of_its_epoch = next.epoch() > last.epoch() && next.0 & 0xffff_ffff == 1;
    next.0 == last.0.wrapping_add(1) || first_of_its_epoch
}

/// The transactions after one, over all files, in order and without a gap.
pub struct LogFiles<'a, D: Disk> {
    disk: D,
    files: std::slice::Iter<'a, NamedFile>,
    open: Option<LogFile<D::File>>,
    last: Zxid,
    limit: usize,
}

impl<'a, D: Disk> LogFiles<'a, D> {
    /// Those after `after`. A payload has `limit` bytes at most.
    #[must_use]
    pub fn after(disk: D, dir: &'a JavaDir, after: Zxid, limit: usize) -> Self {
        Self {
            disk,
            files: dir.logs_after(after).iter(),
            open: None,
            last: after,
            limit,
        }
    }

    /// The next transaction, with its file; `None` at the end.
    ///
    /// # Errors
    /// [`JavaFileError::Damaged`], [`JavaFileError::Gap`]; the disk's.
    pub fn next_record(&mut self) -> Result<Option<(PathBuf, LogRecord)>, JavaFileError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.next() else {
                    return Ok(None);
                };
                self.open = Some(LogFile::open(&self.disk, &file.path, self.limit)?);
                continue;
            };
            let Some(record) = open.next_record()? else {
                self.open = None;
                continue;
            };
            // Before what is wanted.
            if record.zxid <= self.last {
                continue;
            }
            let path = open.path.clone();
            if !follows(record.zxid, self.last) {
                return Err(JavaFileError::Gap {
                    path,
                    offset: record.offset,
                    last: self.last,
                    next: record.zxid,
                });
            }
            self.last = record.zxid;
            return Ok(Some((path, record)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::SimDisk;

    const LIMIT: usize = 4096;

    fn payload(zxid: i64) -> Vec<u8> {
        let mut payload = vec![0; 60 + usize::try_from(zxid % 7).unwrap()];
        payload[ZXID_AT..ZXID_AT + 8].copy_from_slice(&zxid.to_be_bytes());
        payload.push(u8::try_from(zxid % 251).unwrap());
        payload
    }

    /// A file with these transactions, and where each begins.
    fn file(zxids: impl IntoIterator<Item = i64>) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
        let mut places = Vec::new();
        for payload in zxids.into_iter().map(payload) {
            places.push(bytes.len());
            bytes.extend(u64::from(adler32_slice(&payload)).to_be_bytes());
            bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            bytes.extend(payload);
            bytes.push(b'B');
        }
        (bytes, places)
    }

    fn disk(files: &[(&str, &[u8])]) -> (SimDisk, JavaDir) {
        let (disk, dir) = (SimDisk::new(1), Path::new("/d/version-2"));
        disk.create_dir_all(dir).unwrap();
        for (name, bytes) in files {
            let file = disk.open(&dir.join(name), OpenMode::CreateNew).unwrap();
            file.write_at(bytes, 0).unwrap();
        }
        let java = JavaDir::look(&disk, "/d".as_ref(), "/d".as_ref()).unwrap();
        (disk, java)
    }

    fn read(files: &[(&str, &[u8])], after: i64) -> (Vec<i64>, Option<JavaFileError>) {
        let (disk, java) = disk(files);
        let mut log = LogFiles::after(disk, &java, Zxid(after), LIMIT);
        let mut zxids = Vec::new();
        loop {
            match log.next_record() {
                Ok(Some((_, record))) => {
                    assert_eq!(record.payload, payload(record.zxid.0));
                    zxids.push(record.zxid.0);
                }
                Ok(None) => return (zxids, None),
                Err(problem) => return (zxids, Some(problem)),
            }
        }
    }

    #[test]
    fn files_are_read_one_after_the_other() {
        let (first, second) = (file(1..=5).0, file(6..=9).0);
        let padded = [&first[..], &[0; 300]].concat();
        for (after, expected) in [(0, 1..10), (4, 5..10), (5, 6..10), (9, 10..10)] {
            let files: &[(&str, &[u8])] =
                &[("log.1", &padded), ("log.6", &second), ("log.1.bak", b"x")];
            let (found, problem) = read(files, after);
            assert!(problem.is_none(), "{problem:?}");
            assert_eq!(found, expected.collect::<Vec<_>>(), "{after}");
        }
    }

    /// As after a loss of power: the last file ends anywhere, cut off or in zeros.
    #[test]
    fn a_torn_end_is_the_end() {
        let (bytes, places) = file(1..=4);
        for end in 0..=bytes.len() {
            let ends = places[1..].iter().copied().chain([bytes.len()]);
            let expected = ends.filter(|place| *place <= end).count();
            for zeros in [0, 100] {
                let torn = [&bytes[..end], &vec![0; zeros]].concat();
                let (found, problem) = read(&[("log.1", &torn)], 0);
                // The first bytes come to the disk together.
                assert!(
                    problem.is_none() || (zeros > 0 && end < 4),
                    "{end}: {problem:?}"
                );
                assert_eq!(found.len(), expected, "{end}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_before_the_end_is_reported_with_its_place() {
        let (bytes, places) = file(1..=4);
        for offset in 0..places[3] {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[offset] ^= 1 << bit;
                let (found, problem) = read(&[("log.1", &wrong)], 0);
                // Nobody looks at version and database.
                if (4..16).contains(&offset) {
                    assert_eq!(found.len(), 4);
                    continue;
                }
                let at = places.iter().rfind(|place| **place <= offset);
                let Some(JavaFileError::Damaged {
                    path, offset: said, ..
                }) = problem
                else {
                    panic!("{offset}.{bit}: {problem:?}");
                };
                assert_eq!(path, Path::new("/d/version-2/log.1"));
                assert_eq!(said, at.map_or(0, |at| *at as u64), "{offset}.{bit}");
            }
        }
    }

    #[test]
    fn what_is_missing_between_files_is_a_gap() {
        let epoch = 1 << 32;
        for (files, gap) in [
            (vec![file(1..=3).0, file(5..=6).0], Some((3, 5))),
            (
                vec![file(1..=3).0, file(epoch + 2..=epoch + 3).0],
                Some((3, epoch + 2)),
            ),
            (vec![file(1..=3).0, file(epoch + 1..=epoch + 3).0], None),
            (vec![file(2..=3).0, Vec::new()], Some((0, 2))),
            // What was being written when the power went stands in the next file again.
            (vec![file(1..=3).0[..150].to_vec(), file(2..=3).0], None),
        ] {
            let names = ["log.1", "log.2"];
            let named: Vec<_> = names
                .into_iter()
                .zip(files.iter().map(|file| &file[..]))
                .collect();
            let (_, problem) = read(&named, 0);
            let found = problem.map(|problem| match problem {
                JavaFileError::Gap { last, next, .. } => (last.0, next.0),
                other => panic!("{other}"),
            });
            assert_eq!(found, gap);
        }
    }

    #[test]
    fn lengths_that_nobody_writes_are_refused() {
        for length in [-1i32, i32::MIN, i32::MAX, 4097] {
            let mut bytes = file([1]).0;
            bytes[24..28].copy_from_slice(&length.to_be_bytes());
            bytes.resize(8192, 7);
            let (_, problem) = read(&[("log.1", &bytes)], 0);
            assert!(
                problem.is_some_and(|problem| problem.is_damage()),
                "{length}"
            );
        }
    }
}
