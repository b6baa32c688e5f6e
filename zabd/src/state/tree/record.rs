//! The bytes of a node: name, stat, access control list and data in as few as they need.
//!
//! Most of a stat says the same twice, or nothing: a node that was created and left alone was changed last when it was
//! created, by the same transaction, and its versions are 0. So flags say what differs, and only that is written, as
//! differences in as many bytes as they take. A record is read front to back: flags, name, children, stat, list, data.

use jute_codec::Zxid;
use jute_codec::data::StatPersisted;

use super::acl::AclKey;
use super::node::{FoldMarks, NodeId};

/// The children of a node: a list by [`super::node::Links`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Children {
    pub(super) first: NodeId,
    pub(super) count: u32,
}

impl Children {
    pub(super) const NONE: Self = Self {
        first: NodeId::NIL,
        count: 0,
    };
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) marks: FoldMarks,
    pub(super) name: &'a [u8],
    pub(super) children: Children,
    pub(super) stat: StatPersisted,
    pub(super) acl: AclKey,
    pub(super) data: Option<&'a [u8]>,
}

/// Appends all of a record but the data itself.
pub(super) fn encode_head(parts: &Parts<'_>, out: &mut Vec<u8>) {
    let begin = out.len();
    let stat = &parts.stat;
    let mut flags = marks_flags(parts.marks);
    out.extend_from_slice(&[0; 2]);
    write_number(parts.name.len() as u64, out);
    out.extend_from_slice(parts.name);
    let mut optional = |flag: u16, wanted: bool| {
        if wanted {
            flags |= flag;
        }
        wanted
    };
    if optional(CHILDREN, parts.children != Children::NONE) {
        out.extend_from_slice(&parts.children.first.0.to_le_bytes());
        out.extend_from_slice(&parts.children.count.to_le_bytes());
    }
    write_number(stat.czxid.0.cast_unsigned(), out);
    let since = stat.ctime.wrapping_sub(TIME_BASE_MS).to_le_bytes();
    if optional(ODD_TIME, since[TIME_BYTES..] != [0; 8 - TIME_BYTES]) {
        out.extend_from_slice(&since);
    } else {
        out.extend_from_slice(&since[..TIME_BYTES]);
    }
    for (flag, difference) in [
        (MZXID, stat.mzxid.0.wrapping_sub(stat.czxid.0)),
        (MTIME, stat.mtime.wrapping_sub(stat.ctime)),
        (PZXID, stat.pzxid.0.wrapping_sub(stat.czxid.0)),
        (VERSION, stat.version.into()),
        (CVERSION, stat.cversion.into()),
        (AVERSION, stat.aversion.into()),
    ] {
        if optional(flag, difference != 0) {
            write_difference(difference, out);
        }
    }
    if optional(OWNER, stat.ephemeral_owner != 0) {
        out.extend_from_slice(&stat.ephemeral_owner.to_le_bytes());
    }
    write_number(parts.acl.0.into(), out);
    if let Some(data) = parts.data {
        optional(DATA, true);
        write_number(data.len() as u64, out);
    }
    out[begin..begin + 2].copy_from_slice(&flags.to_le_bytes());
}

/// What a record says, and how long its head is: all but the data.
pub(super) fn decode(record: &[u8]) -> (Parts<'_>, usize) {
    let mut reader = Reader { rest: record };
    let flags = u16::from_le_bytes(*reader.array());
    let has = |flag: u16| flags & flag != 0;
    let name_len = reader.len();
    let name = reader.take(name_len);
    let children = if has(CHILDREN) {
        reader.children()
    } else {
        Children::NONE
    };
    let czxid = reader.number().cast_signed();
    let since = if has(ODD_TIME) {
        *reader.array()
    } else {
        let mut since = [0; 8];
        since[..TIME_BYTES].copy_from_slice(reader.take(TIME_BYTES));
        since
    };
    let ctime = i64::from_le_bytes(since).wrapping_add(TIME_BASE_MS);
    let mut optional = |flag: u16| {
        if has(flag) { reader.difference() } else { 0 }
    };
    let stat = StatPersisted {
        czxid: Zxid(czxid),
        mzxid: Zxid(czxid.wrapping_add(optional(MZXID))),
        ctime,
        mtime: ctime.wrapping_add(optional(MTIME)),
        pzxid: Zxid(czxid.wrapping_add(optional(PZXID))),
        version: version(optional(VERSION)),
        cversion: version(optional(CVERSION)),
        aversion: version(optional(AVERSION)),
        ephemeral_owner: if has(OWNER) {
            i64::from_le_bytes(*reader.array())
        } else {
            0
        },
    };
    let acl = AclKey(u32::try_from(reader.number()).unwrap_or_default());
    let data_len = has(DATA).then(|| reader.len());
    let head_len = record.len() - reader.rest.len();
    let parts = Parts {
        marks: marks(flags),
        name,
        children,
        stat,
        acl,
        data: data_len.map(|len| &reader.rest[..len]),
    };
    (parts, head_len)
}

/// The name, without a look at the rest.
pub(super) fn name(record: &[u8]) -> &[u8] {
    let mut reader = Reader { rest: &record[2..] };
    let len = reader.len();
    reader.take(len)
}

/// What folds have to do, without a look at the rest.
pub(super) const fn fold_marks(record: &[u8]) -> FoldMarks {
    marks(u16::from_le_bytes([record[0], record[1]]))
}

pub(super) fn set_fold_marks(record: &mut [u8], marks: FoldMarks) {
    let flags = u16::from_le_bytes([record[0], record[1]]) & !(DIRTY | PENDING);
    record[..2].copy_from_slice(&(flags | marks_flags(marks)).to_le_bytes());
}

/// The children, without a look at what comes behind them.
pub(super) fn children(record: &[u8]) -> Children {
    children_at(record).map_or(Children::NONE, |at| {
        let mut reader = Reader {
            rest: &record[at..],
        };
        reader.children()
    })
}

/// Writes the children into a record that has a place for them; whether it has.
pub(super) fn set_children(record: &mut [u8], children: Children) -> bool {
    let Some(at) = children_at(record) else {
        return false;
    };
    record[at..at + 4].copy_from_slice(&children.first.0.to_le_bytes());
    record[at + 4..at + 8].copy_from_slice(&children.count.to_le_bytes());
    true
}

fn children_at(record: &[u8]) -> Option<usize> {
    let flags = u16::from_le_bytes([record[0], record[1]]);
    (flags & CHILDREN != 0).then(|| {
        let mut reader = Reader { rest: &record[2..] };
        let len = reader.len();
        record.len() - reader.rest.len() + len
    })
}

const fn marks(flags: u16) -> FoldMarks {
    FoldMarks {
        dirty: flags & DIRTY != 0,
        pending: flags & PENDING != 0,
    }
}

fn marks_flags(marks: FoldMarks) -> u16 {
    let dirty = if marks.dirty { DIRTY } else { 0 };
    dirty | if marks.pending { PENDING } else { 0 }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it was made of as many bits"
)]
const fn version(number: i64) -> i32 {
    number as i32
}

/// Seven bits a byte, the lowest first; all but the last byte have the highest bit.
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left has seven bits"
)]
fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number that is as likely below 0 as above.
fn write_difference(difference: i64, out: &mut Vec<u8>) {
    write_number((difference << 1 ^ difference >> 63).cast_unsigned(), out);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn array<const LEN: usize>(&mut self) -> &'a [u8; LEN] {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .expect("records are as long as they say");
        self.rest = rest;
        taken
    }

    fn children(&mut self) -> Children {
        Children {
            first: NodeId(u32::from_le_bytes(*self.array())),
            count: u32::from_le_bytes(*self.array()),
        }
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let [byte] = *self.array();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    fn difference(&mut self) -> i64 {
        let number = self.number();
        (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
    }

    fn len(&mut self) -> usize {
        usize::try_from(self.number()).expect("what is in memory has a length")
    }
}

/// Times are counted from 2020 on, so that five bytes do for 34 years.
const TIME_BASE_MS: i64 = 1_577_836_800_000;
const TIME_BYTES: usize = 5;

const CHILDREN: u16 = 1;
const ODD_TIME: u16 = 1 << 1;
const MZXID: u16 = 1 << 2;
const MTIME: u16 = 1 << 3;
const PZXID: u16 = 1 << 4;
const VERSION: u16 = 1 << 5;
const CVERSION: u16 = 1 << 6;
const AVERSION: u16 = 1 << 7;
const OWNER: u16 = 1 << 8;
const DATA: u16 = 1 << 9;
const DIRTY: u16 = 1 << 10;
const PENDING: u16 = 1 << 11;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(parts: &Parts<'_>) -> Vec<u8> {
        let mut record = Vec::new();
        encode_head(parts, &mut record);
        record.extend_from_slice(parts.data.unwrap_or_default());
        record
    }

    fn stat() -> impl Strategy<Value = StatPersisted> {
        let odd = || {
            prop_oneof![
                Just(0),
                Just(1),
                Just(i64::MIN),
                Just(i64::MAX),
                any::<i64>()
            ]
        };
        let few = || prop_oneof![Just(0), Just(-1), any::<i32>()];
        let time = || prop_oneof![Just(1_763_750_000_000), odd()];
        (
            (odd(), odd(), odd(), odd()),
            (time(), time()),
            (few(), few(), few()),
        )
            .prop_map(
                |((czxid, mzxid, pzxid, ephemeral_owner), (ctime, mtime), versions)| {
                    StatPersisted {
                        czxid: Zxid(czxid),
                        mzxid: Zxid(mzxid),
                        ctime,
                        mtime,
                        version: versions.0,
                        cversion: versions.1,
                        aversion: versions.2,
                        ephemeral_owner,
                        pzxid: Zxid(pzxid),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn records_say_what_was_written(
            stat in stat(),
            name in ".{0,200}",
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            (first, count, acl) in (any::<u32>(), any::<u32>(), any::<u32>()),
            (dirty, pending, alone) in any::<(bool, bool, bool)>(),
        ) {
            let children = Children { first: NodeId(first), count };
            let parts = Parts {
                marks: FoldMarks { dirty, pending },
                name: name.as_bytes(),
                children: if alone { Children::NONE } else { children },
                stat,
                acl: AclKey(acl),
                data: data.as_deref(),
            };
            let mut record = encoded(&parts);
            // A slot may be longer than what is in it.
            let len = record.len();
            record.extend_from_slice(&[0xff; 7]);
            let (found, head) = decode(&record);
            prop_assert_eq!(&found, &parts);
            prop_assert_eq!(head + data.as_ref().map_or(0, Vec::len), len);
            prop_assert_eq!(super::name(&record), name.as_bytes());
            prop_assert_eq!(super::children(&record), parts.children);
            prop_assert_eq!(fold_marks(&record), parts.marks);

            let other = FoldMarks { dirty: !dirty, pending };
            let twins = Children { first: NodeId(1), count: 2 };
            set_fold_marks(&mut record, other);
            prop_assert_eq!(set_children(&mut record, twins), parts.children != Children::NONE);
            let (changed, _) = decode(&record);
            let expected = Parts {
                marks: other,
                children: if parts.children == Children::NONE { Children::NONE } else { twins },
                ..parts
            };
            prop_assert_eq!(changed, expected);
        }
    }

    #[test]
    fn a_node_that_was_created_and_left_alone_takes_few_bytes() {
        let stat = StatPersisted {
            czxid: Zxid(0x5_0000_0001),
            mzxid: Zxid(0x5_0000_0001),
            pzxid: Zxid(0x5_0000_0001),
            ctime: 1_763_750_000_000,
            mtime: 1_763_750_000_000,
            ..StatPersisted::ZERO
        };
        let parts = Parts {
            marks: FoldMarks::default(),
            name: b"name",
            children: Children::NONE,
            stat,
            acl: AclKey(2),
            data: Some(b"data"),
        };
        assert_eq!(encoded(&parts).len(), 4 + 4 + 15);
    }
}
