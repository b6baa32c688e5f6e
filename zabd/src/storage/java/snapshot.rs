//! Snapshot files: a header, what a leader would send to a learner, and seals.
//!
//! ```text
//! "ZKSN", version 2, -1        16 bytes
//! sessions, lists, nodes       as in `jute_codec::quorum::snapshot`
//! seal                         Adler-32 of everything before, as 8 bytes; the text "/"
//! [zxid, version, digest       of the tree when the last node had been written; and a seal]
//! [zxid                        of the newest transaction applied by then; and a seal]
//! ```
//!
//! Which of the last two are there depends on the settings of the server that wrote it; all four combinations are read.
//!
//! ZooKeeper: `FileSnap`, `SnapStream`, `DataTree.serializeZxidDigest`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use adler2::Adler32;
use jute_codec::Zxid;
use jute_codec::digest::DIGEST_VERSION;
use jute_codec::quorum::snapshot::{SnapshotItem, SnapshotReader};

use super::source;
pub use super::source::Packing;
use super::{JavaFileError, failed};
use crate::storage::disk::Disk;

const MAGIC: &[u8; 4] = b"ZKSN";
/// Magic, version 2, database -1.
const HEADER: &[u8; 16] = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
const SEAL_BYTES: usize = 13;
const DIGEST_BYTES: usize = 20 + SEAL_BYTES;
const LAST_ZXID_BYTES: usize = 8 + SEAL_BYTES;

/// Reads a snapshot item by item. Only when [`Self::next_item`] has returned `None` is everything known to be sound.
pub struct SnapshotFile {
    path: PathBuf,
    source: Box<dyn Read>,
    reader: SnapshotReader,
    // Of everything before `chunk`.
    sum: Adler32,
    // What the reader was given last.
    chunk: Vec<u8>,
    // Where `chunk` begins.
    offset: u64,
    tail: Option<Tail>,
}

/// What a snapshot says of itself behind its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The digest of the tree at a transaction.
    pub digest: Option<ZxidDigest>,
    /// The newest transaction that was applied when it was written: none after it is in the nodes.
    pub last_zxid: Option<Zxid>,
}

/// ZooKeeper: `DataTree.ZxidDigest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZxidDigest {
    /// The newest transaction applied when the last node had been written.
    pub zxid: Zxid,
    /// Of the digest.
    pub version: i32,
    /// The digest of the tree as of `zxid`.
    pub digest: u64,
}

impl Tail {
    /// The newest transaction of which something may be in the nodes of a snapshot that is named after `name`; `None` if
    /// the server was too old to say.
    #[must_use]
    pub fn end(&self, name: Zxid) -> Option<Zxid> {
        let digest = self.digest.map(|digest| digest.zxid);
        let known = self.last_zxid.max(digest)?;
        Some(known.max(name))
    }

    /// The digest of the tree as of `zxid`, if it is told.
    #[must_use]
    pub fn digest_at(&self, zxid: Zxid) -> Option<u64> {
        self.digest
            .filter(|digest| {
                digest.zxid == zxid && zxid > Zxid::ZERO && digest.version == DIGEST_VERSION
            })
            .map(|digest| digest.digest)
    }
}

impl SnapshotFile {
    /// Begins to read. Texts, data and lists in it have `limit` bytes at most.
    ///
    /// # Errors
    /// When it does not begin like a snapshot; the disk's.
    pub fn open<D: Disk>(disk: &D, path: &Path, limit: usize) -> Result<Self, JavaFileError> {
        let mut file = Self {
            path: path.to_owned(),
            source: Box::new(io::empty()),
            reader: SnapshotReader::of_file(limit),
            sum: Adler32::new(),
            chunk: Vec::new(),
            offset: 0,
            tail: None,
        };
        file.source = source::open(disk, path).map_err(|problem| file.unreadable(problem))?;
        let mut header = [0; HEADER.len()];
        file.source
            .read_exact(&mut header)
            .map_err(|problem| file.unreadable(problem))?;
        if !header.starts_with(MAGIC) {
            return Err(file.damaged(0, "it does not begin as snapshots do"));
        }
        file.sum.write_slice(&header);
        file.offset = HEADER.len() as u64;
        Ok(file)
    }

    /// The next session, list or node; `None` when all were read and the seals are right.
    ///
    /// # Errors
    /// [`JavaFileError::Damaged`]; the disk's.
    pub fn next_item(&mut self) -> Result<Option<SnapshotItem>, JavaFileError> {
        if self.tail.is_some() {
            return Ok(None);
        }
        loop {
            match self.reader.next_item() {
                Ok(Some(SnapshotItem::End)) => {
                    self.tail = Some(self.read_tail()?);
                    return Ok(None);
                }
                Ok(Some(item)) => return Ok(Some(item)),
                Ok(None) => self.feed()?,
                Err(problem) => return Err(self.damaged(self.position(), &problem.to_string())),
            }
        }
    }

    /// What is behind the nodes; nothing before [`Self::next_item`] has returned `None`.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail.unwrap_or_default()
    }

    /// Which file it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is read; of a compressed one, in what it unpacks to.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset + (self.chunk.len() - self.reader.unread().min(self.chunk.len())) as u64
    }

    /// An error at the place up to which it is read.
    #[must_use]
    pub fn damaged_here(&self, detail: &str) -> JavaFileError {
        self.damaged(self.position(), detail)
    }

    fn feed(&mut self) -> Result<(), JavaFileError> {
        self.sum.write_slice(&self.chunk);
        self.offset += self.chunk.len() as u64;
        self.chunk.resize(CHUNK_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.chunk) {
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.inspect_err(|_| self.chunk.clear());
        let read = read.map_err(|problem| self.unreadable(problem))?;
        self.chunk.truncate(read);
        if read == 0 {
            return Err(self.damaged(self.offset, "it ends before its last node"));
        }
        self.reader.feed(&self.chunk);
        Ok(())
    }

    fn read_tail(&mut self) -> Result<Tail, JavaFileError> {
        let at = self.chunk.len() - self.reader.unread();
        self.sum.write_slice(&self.chunk[..at]);
        let begin = self.offset + at as u64;
        let mut rest = self.chunk[at..].to_vec();
        // Compressed files have a checksum of their own behind this.
        self.source
            .by_ref()
            .take(TAIL_BYTES_MAX)
            .read_to_end(&mut rest)
            .map_err(|problem| self.unreadable(problem))?;
        let mut seals = Seals {
            sum: self.sum,
            rest: &rest,
        };
        let found = |problem: Option<Tail>, left: usize| {
            let place = begin + (rest.len() - left) as u64;
            problem.ok_or_else(|| {
                self.damaged(place, "the checksum here does not match what comes before")
            })
        };
        if seals.rest.len() < SEAL_BYTES {
            return Err(self.damaged(begin, "it ends within a seal"));
        }
        let mut tail = Some(Tail::default()).filter(|_| seals.seal(0));
        tail = Some(found(tail, seals.rest.len())?);
        let left = seals.rest.len();
        let has_digest = match left {
            0 | LAST_ZXID_BYTES => false,
            DIGEST_BYTES => true,
            _ if left == DIGEST_BYTES + LAST_ZXID_BYTES => true,
            _ => {
                let place = begin + SEAL_BYTES as u64;
                return Err(self.damaged(
                    place,
                    &format!("{left} bytes follow, which are no part of a snapshot"),
                ));
            }
        };
        if has_digest {
            let (zxid, version, digest) = (seals.i64(0), seals.i32(8), seals.i64(12));
            let with = tail.map(|tail| Tail {
                digest: Some(ZxidDigest {
                    zxid: Zxid(zxid),
                    version,
                    digest: digest.cast_unsigned(),
                }),
                ..tail
            });
            let sound = seals.seal(20);
            tail = Some(found(with.filter(|_| sound), seals.rest.len())?);
        }
        if !seals.rest.is_empty() {
            let last_zxid = Some(Zxid(seals.i64(0)));
            let with = tail.map(|tail| Tail { last_zxid, ..tail });
            let sound = seals.seal(8);
            tail = Some(found(with.filter(|_| sound), seals.rest.len())?);
        }
        Ok(tail.unwrap_or_default())
    }

    fn damaged(&self, offset: u64, detail: &str) -> JavaFileError {
        JavaFileError::Damaged {
            path: self.path.clone(),
            offset,
            detail: detail.to_owned(),
        }
    }

    fn unreadable(&self, problem: io::Error) -> JavaFileError {
        match problem.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(self.offset, "it ends too early"),
            // What the unpackers say.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                self.damaged(self.offset, &problem.to_string())
            }
            _ => failed("read", &self.path)(problem),
        }
    }
}

const CHUNK_BYTES: usize = 64 << 10;
/// More than any combination of sections and seals.
const TAIL_BYTES_MAX: u64 = 1024;

/// Sections behind the nodes.
struct Seals<'a> {
    sum: Adler32,
    rest: &'a [u8],
}

impl Seals<'_> {
    /// Goes past a section of so many bytes and the seal behind it, which has to match. Both are there.
    fn seal(&mut self, section: usize) -> bool {
        let (section, rest) = self.rest.split_at(section);
        let (seal, rest) = rest.split_at(SEAL_BYTES);
        self.sum.write_slice(section);
        let matches = seal.starts_with(&u64::from(self.sum.checksum()).to_be_bytes());
        self.sum.write_slice(seal);
        self.rest = rest;
        matches
    }

    fn i64(&self, at: usize) -> i64 {
        let bytes = self.rest[at..].first_chunk().copied();
        i64::from_be_bytes(bytes.unwrap_or_default())
    }

    fn i32(&self, at: usize) -> i32 {
        let bytes = self.rest[at..].first_chunk().copied();
        i32::from_be_bytes(bytes.unwrap_or_default())
    }
}

/// Writes a snapshot as of one transaction, as Java 3.9 reads it.
pub struct SnapshotWriter<W> {
    out: W,
    sum: Adler32,
}

impl<W: Write> SnapshotWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut writer = Self {
            out,
            sum: Adler32::new(),
        };
        writer.write(HEADER)?;
        Ok(writer)
    }

    /// Writes a part of sessions, lists and nodes, in the encoding of `jute_codec::quorum::snapshot`, up to and with the
    /// mark behind the last node.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.write_slice(bytes);
        self.out.write_all(bytes)
    }

    /// Writes seals, digest and zxid, and gives back what was written to.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn finish(mut self, zxid: Zxid, digest: u64) -> io::Result<W> {
        self.seal()?;
        self.write(&zxid.0.to_be_bytes())?;
        self.write(&DIGEST_VERSION.to_be_bytes())?;
        self.write(&digest.to_be_bytes())?;
        self.seal()?;
        self.write(&zxid.0.to_be_bytes())?;
        self.seal()?;
        Ok(self.out)
    }

    fn seal(&mut self) -> io::Result<()> {
        let sum = u64::from(self.sum.checksum());
        self.write(&sum.to_be_bytes())?;
        self.write(b"\0\0\0\x01/")
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use jute_codec::quorum::snapshot::{
        OPEN_ACL, write_count, write_end_of_nodes, write_node, write_session,
    };
    use jute_codec::{SessionId, StatPersisted};

    use super::*;
    use crate::storage::disk::{DiskFile as _, OpenMode, SimDisk};

    fn file() -> Vec<u8> {
        let mut body = Vec::new();
        write_count(1, &mut body);
        write_session(SessionId(7), 4000, &mut body);
        write_count(0, &mut body);
        for path in ["", "/a", "/a/b"] {
            write_node(
                path,
                Some(b"data"),
                OPEN_ACL,
                &StatPersisted::ZERO,
                &mut body,
            );
        }
        write_end_of_nodes(&mut body);
        let mut writer = SnapshotWriter::begin(Vec::new()).unwrap();
        writer.write(&body).unwrap();
        writer.finish(Zxid(9), 0xabc).unwrap()
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        let mut packed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in bytes.chunks(50) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            packed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            packed.extend(block);
        }
        packed
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn read(name: &str, bytes: &[u8]) -> Result<(usize, Tail), JavaFileError> {
        let (disk, path) = (SimDisk::new(1), Path::new("/d").join(name));
        disk.create_dir_all("/d".as_ref()).unwrap();
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(bytes, 0).unwrap();
        let mut snapshot = SnapshotFile::open(&disk, &path, 1000)?;
        let mut items = 0;
        while snapshot.next_item()?.is_some() {
            items += 1;
        }
        Ok((items, snapshot.tail()))
    }

    #[test]
    fn what_is_written_is_read_however_it_is_packed() {
        let tail = Tail {
            digest: Some(ZxidDigest {
                zxid: Zxid(9),
                version: 2,
                digest: 0xabc,
            }),
            last_zxid: Some(Zxid(9)),
        };
        for (name, bytes) in [
            ("snapshot.9", file()),
            ("snapshot.9.gz", gzip(&file())),
            ("snapshot.9.snappy", snappy(&file())),
        ] {
            assert_eq!(read(name, &bytes).unwrap(), (4, tail), "{name}");
            // Torn anywhere.
            for len in 0..bytes.len() {
                // A server without the last sections could have written the whole of the rest.
                let sections = [LAST_ZXID_BYTES, LAST_ZXID_BYTES + DIGEST_BYTES];
                let read = read(name, &bytes[..len]);
                if name == "snapshot.9" && sections.contains(&(bytes.len() - len)) {
                    assert_eq!(read.unwrap().0, 4);
                } else if let Ok(found) = read {
                    // Only what gzip itself has behind the last byte is missing.
                    assert!(
                        name.ends_with("gz") || name.ends_with("snappy"),
                        "{name} {len}: {found:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let bytes = file();
        for offset in 0..bytes.len() {
            // What follows the last sum is in none.
            let mut wrong = bytes.clone();
            wrong[offset] ^= 4;
            let last_text = offset >= bytes.len() - 5;
            assert_eq!(read("snapshot.9", &wrong).is_ok(), last_text, "{offset}");
        }
        for (name, bytes) in [
            ("snapshot.9.gz", gzip(&bytes)),
            ("snapshot.9.snappy", snappy(&bytes)),
        ] {
            for offset in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[offset] ^= 4;
                // What it unpacks to is right, or it is refused.
                if let Ok((items, _)) = read(name, &wrong) {
                    assert_eq!(items, 4, "{name} {offset}");
                }
            }
        }
    }

    #[test]
    fn the_sections_behind_the_nodes_are_told_apart_by_their_length() {
        let whole = file();
        let begin = whole.len() - SEAL_BYTES - DIGEST_BYTES - LAST_ZXID_BYTES;
        let mut sum = Adler32::new();
        sum.write_slice(&whole[..begin + SEAL_BYTES]);
        // With the last transaction alone.
        let section = 9i64.to_be_bytes();
        sum.write_slice(&section);
        let seal = [&u64::from(sum.checksum()).to_be_bytes()[..], b"\0\0\0\x01/"].concat();
        let only_last = [&whole[..begin + SEAL_BYTES], &section, &seal].concat();
        let tail = read("snapshot.5", &only_last).unwrap().1;
        assert_eq!((tail.digest, tail.last_zxid), (None, Some(Zxid(9))));
        assert_eq!(
            (tail.end(Zxid(5)), tail.end(Zxid(12))),
            (Some(Zxid(9)), Some(Zxid(12)))
        );
        // With none, as long ago.
        let tail = read("snapshot.5", &whole[..begin + SEAL_BYTES]).unwrap().1;
        assert_eq!(tail.end(Zxid(5)), None);
    }
}
