//! The snapshot that a leader streams to a learner after SNAP.
//!
//! Sessions, access control lists with the numbers that nodes name them by, nodes with parents before their children,
//! the path `/` as a mark of their end, and a signature. It is the body of a snapshot file, without header and checksums.
//! Nothing in it says how long it is, and the next packet follows at once.
//!
//! ZooKeeper: `LearnerHandler.run`, `SerializeUtils.serializeSnapshot`, `DataTree.serialize`,
//! `ReferenceCountedACLCache.serialize`, `Learner.syncWithLeader`.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::data::{Acl, StatPersisted};
use crate::writer::{write_buffer, write_str};
use crate::{DecodeError, Jute, Reader, SessionId, Text};

/// The number that nodes have in place of a list's when everybody may do everything; never one of a list.
///
/// ZooKeeper: `ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID`.
pub const OPEN_ACL: i64 = -1;

/// What ends the stream.
const SIGNATURE: &[u8] = b"BenWasHere";

/// One thing of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotItem {
    /// A live session.
    Session {
        /// Its id.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// An access control list. All of them come before the first node.
    Acl {
        /// The number that nodes name it by.
        id: i64,
        /// The list.
        acl: Vec<Acl>,
    },
    /// A node.
    Node(SnapshotNode),
    /// The end, signature included. What follows is not of the stream.
    End,
}

/// A node as it stands in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotNode {
    /// Its path; the root's is empty.
    pub path: Text,
    /// Its data.
    pub data: Option<Bytes>,
    /// The number of its access control list, or [`OPEN_ACL`].
    pub acl_id: i64,
    /// Its stat.
    pub stat: StatPersisted,
}

/// Bytes that are no such stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotStreamError {
    /// A record is not one.
    #[error("in the {part} of the snapshot: {source}")]
    Record {
        /// Where in the stream.
        part: &'static str,
        /// Why.
        source: DecodeError,
    },
    /// A list is longer than any request could have made it.
    #[error("access control list {id} is longer than {limit} bytes")]
    LongAcl {
        /// Its number.
        id: i64,
        /// How long it may be.
        limit: usize,
    },
    /// After the last node something else comes than the signature: reader and writer are not at the same place.
    #[error("the snapshot does not end with its signature")]
    Signature,
}

/// Appends how many sessions follow ([`write_session`]), and behind them how many lists ([`write_acl`]).
pub fn write_count(count: i32, out: &mut Vec<u8>) {
    count.write(out);
}

/// Appends a session with its timeout in milliseconds.
pub fn write_session(session: SessionId, timeout_ms: i32, out: &mut Vec<u8>) {
    session.write(out);
    timeout_ms.write(out);
}

/// Appends the list with this number, which is above zero and no other list's.
pub fn write_acl(id: i64, acl: &[Acl], out: &mut Vec<u8>) {
    id.write(out);
    i32::try_from(acl.len())
        .expect("a list came in a frame")
        .write(out);
    for entry in acl {
        entry.write(out);
    }
}

/// Appends a node. The root, whose path is empty, comes first, and no node before its parent.
pub fn write_node(
    path: &str,
    data: Option<&[u8]>,
    acl_id: i64,
    stat: &StatPersisted,
    out: &mut Vec<u8>,
) {
    write_str(path, out);
    write_buffer(data, out);
    acl_id.write(out);
    stat.write(out);
}

/// Appends the mark behind the last node, which is all that ends the body of a file.
pub fn write_end_of_nodes(out: &mut Vec<u8>) {
    write_buffer(Some(END_OF_NODES), out);
}

/// Appends what comes after the last node of a stream.
pub fn write_end(out: &mut Vec<u8>) {
    write_end_of_nodes(out);
    write_buffer(Some(SIGNATURE), out);
}

const END_OF_NODES: &[u8] = b"/";
const SESSION_BYTES: usize = 12;
/// Number of the list, and the stat, after a node's data.
const NODE_TAIL_BYTES: usize = 8 + 60;

/// Reads a stream that arrives in pieces.
///
/// It holds no more than what it was last given and one unfinished item, whatever the lengths and counts in the
/// stream claim.
#[derive(Debug)]
pub struct SnapshotReader {
    buffer: BytesMut,
    part: Part,
    /// The greatest length of a path, of data, of a list.
    limit: usize,
    /// What ends it.
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The signature, on the wire.
    Signature,
    /// The mark behind the last node, in a file; checksums and more follow.
    Mark,
}

#[derive(Debug)]
enum Part {
    SessionCount,
    Sessions { left: i32 },
    AclCount,
    Acls { left: i32 },
    AclEntries { list: OpenList, lists_left: i32 },
    Nodes,
    Signature,
    Over,
}

/// A list of which entries are still to come.
#[derive(Debug, Default)]
struct OpenList {
    id: i64,
    left: i32,
    acl: Vec<Acl>,
    bytes: usize,
}

impl SnapshotReader {
    /// At the start of a stream, accepting strings, data and lists of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            part: Part::SessionCount,
            limit,
            ending: Ending::Signature,
        }
    }

    /// As [`Self::new`], for the body of a snapshot file: from behind the header to the mark behind the last node.
    #[must_use]
    pub fn of_file(limit: usize) -> Self {
        Self {
            ending: Ending::Mark,
            ..Self::new(limit)
        }
    }

    /// How many of the bytes fed are not read yet.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next bytes of the stream; they may go beyond its end. [`Self::next_item`] is to be called until it
    /// asks for more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item; `None` until more bytes are fed, and after [`SnapshotItem::End`].
    ///
    /// # Errors
    /// When the bytes are no such stream. There is no way on from there.
    pub fn next_item(&mut self) -> Result<Option<SnapshotItem>, SnapshotStreamError> {
        loop {
            let part = self.part.name();
            let stepped = self.step().map_err(|error| match error {
                StepError::Record(source) => SnapshotStreamError::Record { part, source },
                StepError::Stream(error) => error,
            })?;
            match stepped {
                Step::Wait => return Ok(None),
                Step::On => {}
                Step::Item(item) => return Ok(Some(item)),
            }
        }
    }

    /// The bytes after the stream's end, or those not yet read.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    fn step(&mut self) -> Result<Step, StepError> {
        match &mut self.part {
            Part::SessionCount => {
                let Some(left) = self.take_i32() else {
                    return Ok(Step::Wait);
                };
                self.part = Part::Sessions { left };
            }
            // As in Java, a count below zero is none.
            Part::Sessions { left: ..=0 } => self.part = Part::AclCount,
            Part::Sessions { left } => {
                if self.buffer.len() < SESSION_BYTES {
                    return Ok(Step::Wait);
                }
                *left -= 1;
                return Ok(Step::Item(SnapshotItem::Session {
                    session: SessionId(self.buffer.get_i64()),
                    timeout_ms: self.buffer.get_i32(),
                }));
            }
            Part::AclCount => {
                let Some(left) = self.take_i32() else {
                    return Ok(Step::Wait);
                };
                self.part = Part::Acls { left };
            }
            Part::Acls { left: ..=0 } => self.part = Part::Nodes,
            Part::Acls { left } => {
                let lists_left = *left - 1;
                if self.buffer.len() < 12 {
                    return Ok(Step::Wait);
                }
                let id = self.buffer.get_i64();
                let entries = self.buffer.get_i32();
                if entries == -1 {
                    return Err(DecodeError::Null { what: "a list" }.into());
                }
                let list = OpenList {
                    id,
                    left: entries,
                    ..OpenList::default()
                };
                self.part = Part::AclEntries { list, lists_left };
            }
            Part::AclEntries { list, lists_left } if list.left <= 0 => {
                let list = std::mem::take(list);
                self.part = Part::Acls { left: *lists_left };
                return Ok(Step::Item(SnapshotItem::Acl {
                    id: list.id,
                    acl: list.acl,
                }));
            }
            Part::AclEntries { .. } => return self.acl_entry(),
            Part::Nodes => return self.node(),
            Part::Signature => return self.signature(),
            Part::Over => return Ok(Step::Wait),
        }
        Ok(Step::On)
    }

    fn acl_entry(&mut self) -> Result<Step, StepError> {
        let Some(scheme_end) = self.end_of_run(4)? else {
            return Ok(Step::Wait);
        };
        let Some(end) = self.end_of_run(scheme_end)? else {
            return Ok(Step::Wait);
        };
        if self.buffer.len() < end {
            return Ok(Step::Wait);
        }
        let limit = self.limit;
        let bytes = self.buffer.split_to(end).freeze();
        let Part::AclEntries { list, .. } = &mut self.part else {
            return Ok(Step::On);
        };
        list.bytes += bytes.len();
        if list.bytes > limit {
            return Err(StepError::Stream(SnapshotStreamError::LongAcl {
                id: list.id,
                limit,
            }));
        }
        let mut entry = Acl::read(&mut Reader::with_limit(&bytes, limit))?;
        // Lists stay for as long as nodes name them: they must not keep the buffer.
        for text in [&mut entry.id.scheme, &mut entry.id.id]
            .into_iter()
            .flatten()
        {
            *text = text.detached();
        }
        list.acl.push(entry);
        list.left -= 1;
        Ok(Step::On)
    }

    fn node(&mut self) -> Result<Step, StepError> {
        let Some(path_end) = self.end_of_run(0)? else {
            return Ok(Step::Wait);
        };
        if path_end == 4 && self.buffer.starts_with(&(-1i32).to_be_bytes()) {
            return Err(DecodeError::Null { what: "a path" }.into());
        }
        if path_end == 4 + END_OF_NODES.len() {
            match self.buffer.get(4..path_end) {
                None => return Ok(Step::Wait),
                Some(END_OF_NODES) => {
                    self.buffer.advance(path_end);
                    if self.ending == Ending::Mark {
                        self.part = Part::Over;
                        return Ok(Step::Item(SnapshotItem::End));
                    }
                    self.part = Part::Signature;
                    return Ok(Step::On);
                }
                Some(_) => {}
            }
        }
        let Some(data_end) = self.end_of_run(path_end)? else {
            return Ok(Step::Wait);
        };
        let end = data_end + NODE_TAIL_BYTES;
        if self.buffer.len() < end {
            return Ok(Step::Wait);
        }
        let bytes = self.buffer.split_to(end).freeze();
        let mut reader = Reader::with_limit(&bytes, self.limit);
        Ok(Step::Item(SnapshotItem::Node(SnapshotNode {
            path: Jute::read(&mut reader)?,
            data: reader.buffer()?,
            acl_id: reader.i64()?,
            stat: Jute::read(&mut reader)?,
        })))
    }

    fn signature(&mut self) -> Result<Step, StepError> {
        let end = 4 + SIGNATURE.len();
        let mut expected = Vec::with_capacity(end);
        write_buffer(Some(SIGNATURE), &mut expected);
        let here = self.buffer.len().min(end);
        if self.buffer[..here] != expected[..here] {
            return Err(StepError::Stream(SnapshotStreamError::Signature));
        }
        if here < end {
            return Ok(Step::Wait);
        }
        self.buffer.advance(end);
        self.part = Part::Over;
        Ok(Step::Item(SnapshotItem::End))
    }

    fn take_i32(&mut self) -> Option<i32> {
        (self.buffer.len() >= 4).then(|| self.buffer.get_i32())
    }

    /// Where the string or buffer that begins at `at` ends, be it here yet or not; `None` while its length is not.
    fn end_of_run(&self, at: usize) -> Result<Option<usize>, DecodeError> {
        let Some(length) = self.buffer.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => Ok(Some(at + 4 + length)),
            Err(_) if length == -1 => Ok(Some(at + 4)),
            _ => Err(DecodeError::UnreasonableLength {
                length,
                limit: self.limit,
            }),
        }
    }
}

/// What one step through the stream came to.
enum Step {
    /// More bytes are needed.
    Wait,
    /// Nothing to show yet.
    On,
    Item(SnapshotItem),
}

enum StepError {
    Record(DecodeError),
    Stream(SnapshotStreamError),
}

impl From<DecodeError> for StepError {
    fn from(source: DecodeError) -> Self {
        Self::Record(source)
    }
}

impl Part {
    fn name(&self) -> &'static str {
        match self {
            Self::SessionCount | Self::Sessions { .. } => "sessions",
            Self::AclCount | Self::Acls { .. } | Self::AclEntries { .. } => "access control lists",
            Self::Nodes => "nodes",
            Self::Signature | Self::Over => "end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zxid;

    const LIMIT: usize = 1000;

    fn stat(n: i64) -> StatPersisted {
        StatPersisted {
            czxid: Zxid(n),
            mtime: -n,
            ephemeral_owner: n << 40,
            ..StatPersisted::ZERO
        }
    }

    fn items() -> Vec<SnapshotItem> {
        let node = |path: &'static str, data: Option<&'static [u8]>, acl_id| {
            SnapshotItem::Node(SnapshotNode {
                path: Text::from_static(path),
                data: data.map(Bytes::from_static),
                acl_id,
                stat: stat(acl_id),
            })
        };
        let session = |id, timeout_ms| SnapshotItem::Session {
            session: SessionId(id),
            timeout_ms,
        };
        vec![
            session(7, 4000),
            session(i64::MIN, -1),
            SnapshotItem::Acl {
                id: 1,
                acl: vec![Acl::open(), Acl::new(1, "digest", "a:b")],
            },
            SnapshotItem::Acl {
                id: 2,
                acl: Vec::new(),
            },
            node("", Some(b""), OPEN_ACL),
            node("/a", None, 1),
            node("/a/\u{e9}\u{4e2d}", Some(b"data"), 2),
            SnapshotItem::End,
        ]
    }

    fn encoded(items: &[SnapshotItem]) -> Vec<u8> {
        let count = |wanted: fn(&SnapshotItem) -> bool| {
            i32::try_from(items.iter().filter(|item| wanted(item)).count()).unwrap()
        };
        let mut out = Vec::new();
        write_count(
            count(|item| matches!(item, SnapshotItem::Session { .. })),
            &mut out,
        );
        let mut acls = Vec::new();
        write_count(
            count(|item| matches!(item, SnapshotItem::Acl { .. })),
            &mut acls,
        );
        for item in items {
            match item {
                SnapshotItem::Session {
                    session,
                    timeout_ms,
                } => write_session(*session, *timeout_ms, &mut out),
                SnapshotItem::Acl { id, acl } => write_acl(*id, acl, &mut acls),
                SnapshotItem::Node(node) => {
                    out.append(&mut acls);
                    write_node(
                        &node.path,
                        node.data.as_deref(),
                        node.acl_id,
                        &node.stat,
                        &mut out,
                    );
                }
                SnapshotItem::End => {
                    out.append(&mut acls);
                    write_end(&mut out);
                }
            }
        }
        out
    }

    fn read_in_pieces(
        bytes: &[u8],
        piece: usize,
    ) -> Result<(Vec<SnapshotItem>, Bytes), SnapshotStreamError> {
        let mut reader = SnapshotReader::new(LIMIT);
        let mut items = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(item) = reader.next_item()? {
                items.push(item);
            }
        }
        Ok((items, reader.into_rest()))
    }

    #[test]
    fn what_is_written_is_read_however_it_is_cut_and_the_rest_is_left() {
        let mut bytes = encoded(&items());
        bytes.extend(b"next packet");
        for piece in 1..=bytes.len() {
            let (read, rest) = read_in_pieces(&bytes, piece).unwrap();
            assert_eq!(read, items(), "in pieces of {piece}");
            assert_eq!(rest, &b"next packet"[..]);
        }
    }

    #[test]
    fn the_smallest_stream() {
        let (read, rest) = read_in_pieces(&encoded(&[SnapshotItem::End]), 1).unwrap();
        assert_eq!((read, rest.len()), (vec![SnapshotItem::End], 0));
        let below_zero = [&[0xff; 8], &encoded(&[SnapshotItem::End])[8..]].concat();
        let (read, _) = read_in_pieces(&below_zero, 5).unwrap();
        assert_eq!(read, [SnapshotItem::End]);
    }

    #[test]
    fn what_no_leader_sends_is_refused_as_soon_as_it_shows() {
        let record = |part, source| SnapshotStreamError::Record { part, source };
        let too_long = |length| DecodeError::UnreasonableLength {
            length,
            limit: LIMIT,
        };
        let mut wrong_end = encoded(&[SnapshotItem::End]);
        wrong_end[13] = 9;
        let mut long_list = list_of(i32::MAX);
        for _ in 0..60 {
            Acl::new(1, "world", "anyone").write(&mut long_list);
        }
        let table: [(&str, Vec<u8>, SnapshotStreamError); 7] = [
            (
                "a null list",
                list_of(-1),
                record("access control lists", DecodeError::Null { what: "a list" }),
            ),
            (
                "a list that never ends",
                long_list,
                SnapshotStreamError::LongAcl {
                    id: 0,
                    limit: LIMIT,
                },
            ),
            (
                "a scheme of two gigabytes",
                {
                    let mut bytes = list_of(1);
                    1i32.write(&mut bytes);
                    i32::MAX.write(&mut bytes);
                    bytes
                },
                record("access control lists", too_long(i32::MAX)),
            ),
            (
                "a null path",
                [[0; 8].as_slice(), &[0xff; 4]].concat(),
                record("nodes", DecodeError::Null { what: "a path" }),
            ),
            (
                "a path with a negative length",
                [[0; 8].as_slice(), &(-2i32).to_be_bytes()].concat(),
                record("nodes", too_long(-2)),
            ),
            (
                "data of a megabyte",
                [[0; 12].as_slice(), &(1i32 << 20).to_be_bytes()].concat(),
                record("nodes", too_long(1 << 20)),
            ),
            ("another end", wrong_end, SnapshotStreamError::Signature),
        ];
        for (what, bytes, error) in table {
            for piece in [1, 7, bytes.len()] {
                assert_eq!(
                    read_in_pieces(&bytes, piece).unwrap_err(),
                    error,
                    "{what} in pieces of {piece}"
                );
            }
        }
    }

    /// The beginning of a stream up to the first list, which claims this many entries.
    fn list_of(entries: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_count(0, &mut bytes);
        write_count(1, &mut bytes);
        0i64.write(&mut bytes);
        entries.write(&mut bytes);
        bytes
    }
}
