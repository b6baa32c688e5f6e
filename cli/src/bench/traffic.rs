//! The requests of one connection, and what their replies must be.

use jute_codec::data::perms;
use jute_codec::frame::PREFIX_BYTES;
use jute_codec::proto::{CreateFlags, MultiHeader, OpCode};
use jute_codec::writer::{write_buffer, write_str};
use jute_codec::{ErrorCode, Jute, Zxid};

use super::keys::{DIRECTORY_KEYS, Layout, mix, read_value, write_value};
use super::link::{Frame, Link};
use super::tally::{Broken, Kind, Tally};

/// Bytes of a stat, and where in it the zxid of the last change is.
const STAT_BYTES: usize = 68;
const STAT_MZXID: usize = 8;
/// Bytes of the header before each result of a multi.
const MULTI_HEADER_BYTES: usize = 9;
/// The stamp of a value that another connection may have written, or a write of unknown outcome.
const ANY: u32 = u32::MAX;
/// Marks a stamp whose write may not have happened.
const UNSURE: u32 = 1 << 31;

/// What a connection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    Read,
    Write,
    Mixed {
        reads_percent: u32,
    },
    Multi {
        ops: u32,
    },
    Children,
    /// New nodes in the connection's own directory; `made` so far.
    Create {
        made: u32,
    },
    /// The connection's share of the nodes goes, in order.
    Delete {
        next: u32,
    },
    /// The connection's share of the nodes is made, in order; then `again`.
    Load {
        next: u32,
        again: Vec<u32>,
    },
    /// Paths are made, from the last to the first.
    Make(Vec<String>),
    /// Paths are removed, from the last to the first.
    Remove(Vec<String>),
    /// The nodes that [`Job::Create`] made go.
    Unmake {
        next: u32,
        made: u32,
    },
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) xid: i32,
    pub(crate) kind: Kind,
    /// When it was due, in nanoseconds of the run's clock.
    pub(crate) due_ns: u64,
    /// The node, or what else the job counts by.
    key: u32,
    /// The write that a value must come from, or that this is.
    stamp: u32,
}

/// What the connections of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) layout: Layout,
    pub(crate) connections: u32,
    pub(crate) value_bytes: usize,
    /// Whether values are known at the start: the nodes were made for this run.
    pub(crate) fresh: bool,
    /// Whether replies are looked into.
    pub(crate) verify: bool,
}

/// Makes requests and judges replies.
#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    rules: &'a Rules,
    connection: u32,
    job: Job,
    random: u64,
    path: String,
    next_xid: i32,
    /// The last write of each of the nodes that only this connection writes: those whose number has the connection's
    /// as the remainder. Empty if there are fewer nodes than connections; then all write all.
    stamps: Vec<u32>,
    /// Up to this request, values may come from a write that failed.
    doubt_until: i32,
    last_write_zxid: Zxid,
}

impl<'a> Traffic<'a> {
    pub(crate) fn new(rules: &'a Rules, connection: u32, job: Job) -> Self {
        let keys = rules.layout.keys();
        let owned = matches!(job, Job::Write | Job::Mixed { .. } | Job::Multi { .. });
        let own = if owned && keys >= rules.connections {
            (keys - connection).div_ceil(rules.connections)
        } else {
            0
        };
        let stamp = if rules.fresh { 0 } else { UNSURE };
        Self {
            rules,
            connection,
            job,
            random: mix(u64::from(connection) + 1),
            path: String::new(),
            next_xid: 1,
            stamps: vec![stamp; usize::try_from(own).unwrap_or(0)],
            doubt_until: 0,
            last_write_zxid: Zxid::ZERO,
        }
    }

    pub(crate) fn into_job(self) -> Job {
        self.job
    }

    /// Appends a sync, so that what was written through other servers is seen.
    pub(crate) fn sync(&mut self, link: &mut Link, due_ns: u64) -> Slot {
        let root = self.rules.layout.root();
        link.write_request(self.next_xid, OpCode::Sync, |out| write_str(root, out));
        self.slot(Kind::Sync, 0, 0, due_ns)
    }

    /// Appends the next request, or none if there is nothing left to do.
    pub(crate) fn next(&mut self, link: &mut Link, due_ns: u64) -> Option<Slot> {
        let Rules {
            layout,
            connections,
            ..
        } = self.rules;
        Some(match &mut self.job {
            Job::Read => self.read(link, due_ns),
            Job::Write => self.write(link, due_ns),
            Job::Mixed { reads_percent } => {
                let percent = *reads_percent;
                if self.below(100) < percent {
                    self.read(link, due_ns)
                } else {
                    self.write(link, due_ns)
                }
            }
            Job::Multi { ops } => {
                let ops = *ops;
                self.multi(ops, link, due_ns)
            }
            Job::Children => {
                let directory = self.below(layout.directories());
                layout.directory_path(directory, &mut self.path);
                let path = &self.path;
                link.write_request(self.next_xid, OpCode::GetChildren2, |out| {
                    write_str(path, out);
                    false.write(out);
                });
                self.slot(Kind::Children, directory, 0, due_ns)
            }
            Job::Create { made } => {
                let number = *made;
                *made += 1;
                layout.made_path(self.connection, number, &mut self.path);
                self.create(number, link, due_ns)
            }
            Job::Delete { next } => {
                let key = next
                    .checked_mul(*connections)?
                    .checked_add(self.connection)?;
                if key >= layout.keys() {
                    return None;
                }
                *next += 1;
                layout.key_path(key, &mut self.path);
                self.delete(link, due_ns)
            }
            Job::Load { next, again } => {
                let key = match again.pop() {
                    Some(key) => key,
                    None => {
                        let key = next
                            .checked_mul(*connections)?
                            .checked_add(self.connection)?;
                        if key >= layout.keys() {
                            return None;
                        }
                        *next += 1;
                        key
                    }
                };
                layout.key_path(key, &mut self.path);
                self.create(key, link, due_ns)
            }
            Job::Make(paths) => {
                self.path = paths.pop()?;
                self.create_empty(link, due_ns)
            }
            Job::Remove(paths) => {
                self.path = paths.pop()?;
                self.delete(link, due_ns)
            }
            Job::Unmake { next, made } => {
                if next >= made {
                    return None;
                }
                let number = *next;
                *next += 1;
                layout.made_path(self.connection, number, &mut self.path);
                self.delete(link, due_ns)
            }
        })
    }

    /// Looks at a good reply.
    pub(crate) fn check(&mut self, slot: &Slot, frame: &Frame, body: &[u8], tally: &mut Tally) {
        if !self.rules.verify {
            return;
        }
        let garbled = match slot.kind {
            Kind::Read => self.check_read(slot, body, tally),
            Kind::Write => self.check_stat(slot, frame, body, tally),
            Kind::Multi => self.check_multi(slot, frame, body, tally),
            Kind::Create => self.check_create(slot, body, tally),
            Kind::Children => self.check_children(slot, body, tally),
            _ => Some(()),
        }
        .is_none();
        if garbled {
            let length = body.len();
            tally.broken(
                Broken::Garbled,
                format_args!("{length} bytes of reply to a {}", slot.kind.name()),
            );
        }
    }

    /// Takes note of a bad reply; false if that is as it should be.
    pub(crate) fn failed(&mut self, slot: &Slot, code: i32) -> bool {
        self.unsure(slot);
        let exists = code == ErrorCode::NodeExists.code();
        match &self.job {
            Job::Make(_) => !exists,
            Job::Remove(_) | Job::Unmake { .. } => code != ErrorCode::NoNode.code(),
            // What an earlier attempt of this run made, whose reply was lost.
            Job::Load { .. } => !exists,
            _ => true,
        }
    }

    /// Takes note that a request was lost with its connection.
    pub(crate) fn lost(&mut self, slot: &Slot) {
        self.unsure(slot);
        if let Job::Load { again, .. } = &mut self.job
            && slot.kind == Kind::Create
        {
            again.push(slot.key);
        }
    }

    fn unsure(&mut self, slot: &Slot) {
        if !matches!(slot.kind, Kind::Write | Kind::Multi) {
            return;
        }
        self.doubt_until = self.next_xid;
        let count = match (&self.job, slot.kind) {
            (Job::Multi { ops }, Kind::Multi) => *ops,
            _ => 1,
        };
        for at in 0..count {
            if let Some(stamp) = self.own_stamp(slot.key, at) {
                *stamp |= UNSURE;
            }
        }
    }

    fn slot(&mut self, kind: Kind, key: u32, stamp: u32, due_ns: u64) -> Slot {
        let xid = self.next_xid;
        // Java's clients do the same: negative numbers mean something.
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        Slot {
            xid,
            kind,
            due_ns,
            key,
            stamp,
        }
    }

    /// A random number below `end`.
    fn below(&mut self, end: u32) -> u32 {
        self.random = self.random.wrapping_add(1);
        let scaled = (mix(self.random) >> 32) * u64::from(end);
        u32::try_from(scaled >> 32).expect("a number below `end`")
    }

    fn read(&mut self, link: &mut Link, due_ns: u64) -> Slot {
        let key = self.below(self.rules.layout.keys());
        let connections = self.rules.connections;
        let own = !self.stamps.is_empty() && key % connections == self.connection;
        // Nobody writes while all read.
        let untouched = self.job == Job::Read && self.rules.fresh;
        let stamp = match self.own_stamp(key, 0) {
            Some(stamp) if own && *stamp & UNSURE == 0 => *stamp,
            None if untouched => 0,
            _ => ANY,
        };
        self.rules.layout.key_path(key, &mut self.path);
        let path = &self.path;
        link.write_request(self.next_xid, OpCode::GetData, |out| {
            write_str(path, out);
            false.write(out);
        });
        self.slot(Kind::Read, key, stamp, due_ns)
    }

    /// A node to write: one of the connection's own if it has any.
    fn pick(&mut self) -> u32 {
        match u32::try_from(self.stamps.len()) {
            Ok(0) | Err(_) => self.below(self.rules.layout.keys()),
            Ok(own) => self.below(own) * self.rules.connections + self.connection,
        }
    }

    /// The stamp of the node that is `at` places behind an own one.
    fn own_stamp(&mut self, key: u32, at: u32) -> Option<&mut u32> {
        let length = self.stamps.len();
        let index = usize::try_from(key / self.rules.connections + at).ok()?;
        // Reaching beyond the end begins anew.
        self.stamps.get_mut(index.checked_rem(length)?)
    }

    /// Counts a write of an own node, or draws a stamp for another one.
    fn next_stamp(&mut self, key: u32, at: u32) -> u32 {
        let drawn = self.next_xid.unsigned_abs() & !UNSURE;
        match self.own_stamp(key, at) {
            Some(stamp) => {
                *stamp = ((*stamp & !UNSURE) + 1) & !UNSURE;
                *stamp
            }
            None => drawn,
        }
    }

    fn write(&mut self, link: &mut Link, due_ns: u64) -> Slot {
        let key = self.pick();
        let stamp = self.next_stamp(key, 0);
        self.rules.layout.key_path(key, &mut self.path);
        let (path, bytes) = (&self.path, self.rules.value_bytes);
        link.write_request(self.next_xid, OpCode::SetData, |out| {
            write_set_data(path, key, stamp, bytes, out);
        });
        self.slot(Kind::Write, key, stamp, due_ns)
    }

    fn multi(&mut self, ops: u32, link: &mut Link, due_ns: u64) -> Slot {
        let first = self.pick();
        let xid = self.next_xid;
        // The closure needs all of `self`.
        let mut path = std::mem::take(&mut self.path);
        link.write_request(xid, OpCode::Multi, |out| {
            for at in 0..ops {
                let key = self.neighbour(first, at);
                let stamp = self.next_stamp(first, at);
                MultiHeader {
                    op: OpCode::SetData.code(),
                    done: false,
                    err: -1,
                }
                .write(out);
                self.rules.layout.key_path(key, &mut path);
                write_set_data(&path, key, stamp, self.rules.value_bytes, out);
            }
            MultiHeader::END.write(out);
        });
        self.path = path;
        self.slot(Kind::Multi, first, 0, due_ns)
    }

    /// The node `at` places behind one, among the same connection's.
    fn neighbour(&self, key: u32, at: u32) -> u32 {
        let connections = self.rules.connections;
        match u32::try_from(self.stamps.len()) {
            Ok(0) | Err(_) => {
                let keys = u64::from(self.rules.layout.keys());
                u32::try_from((u64::from(key) + u64::from(at)) % keys).unwrap_or(0)
            }
            Ok(own) => {
                let index = (u64::from(key / connections) + u64::from(at)) % u64::from(own);
                u32::try_from(index).unwrap_or(0) * connections + self.connection
            }
        }
    }

    fn create(&mut self, key: u32, link: &mut Link, due_ns: u64) -> Slot {
        let (path, bytes) = (&self.path, self.rules.value_bytes);
        link.write_request(self.next_xid, OpCode::Create, |out| {
            write_create(path, out, |out| {
                write_sized(out, |out| write_value(key, 0, bytes, out));
            });
        });
        self.slot(Kind::Create, key, 0, due_ns)
    }

    fn create_empty(&mut self, link: &mut Link, due_ns: u64) -> Slot {
        let path = &self.path;
        link.write_request(self.next_xid, OpCode::Create, |out| {
            write_create(path, out, |out| write_buffer(Some(&[]), out));
        });
        self.slot(Kind::Create, ANY, 0, due_ns)
    }

    fn delete(&mut self, link: &mut Link, due_ns: u64) -> Slot {
        let path = &self.path;
        link.write_request(self.next_xid, OpCode::Delete, |out| {
            write_str(path, out);
            (-1i32).write(out);
        });
        self.slot(Kind::Delete, 0, 0, due_ns)
    }

    fn check_read(&self, slot: &Slot, body: &[u8], tally: &mut Tally) -> Option<()> {
        let (value, _stat) = take_sized(body)?;
        match read_value(slot.key, self.rules.value_bytes, value) {
            Err(wrong) => tally.broken(
                Broken::WrongValue,
                format_args!("node {}: {wrong:?}", slot.key),
            ),
            Ok(stamp) => {
                let certain = slot.stamp != ANY && slot.xid > self.doubt_until;
                if certain && stamp != slot.stamp && value.len() >= 8 {
                    tally.broken(
                        Broken::WrongValue,
                        format_args!(
                            "node {} has write {stamp} where write {} was due",
                            slot.key, slot.stamp
                        ),
                    );
                }
            }
        }
        Some(())
    }

    fn check_stat(
        &mut self,
        slot: &Slot,
        frame: &Frame,
        body: &[u8],
        tally: &mut Tally,
    ) -> Option<()> {
        let mzxid = mzxid(body)?;
        self.note_write(slot, frame, mzxid, tally);
        Some(())
    }

    fn check_multi(
        &mut self,
        slot: &Slot,
        frame: &Frame,
        body: &[u8],
        tally: &mut Tally,
    ) -> Option<()> {
        let Job::Multi { ops } = self.job else {
            return None;
        };
        let first = mzxid(body.get(MULTI_HEADER_BYTES..)?)?;
        let mut rest = body;
        for _ in 0..ops {
            let (header, behind) = rest.split_at_checked(MULTI_HEADER_BYTES)?;
            let (stat, behind) = behind.split_at_checked(STAT_BYTES)?;
            // One transaction, and none of its parts failed.
            if be_i32(header)? != OpCode::SetData.code() || mzxid(stat)? != first {
                return None;
            }
            rest = behind;
        }
        if rest.len() != MULTI_HEADER_BYTES {
            return None;
        }
        self.note_write(slot, frame, first, tally);
        Some(())
    }

    fn note_write(&mut self, slot: &Slot, frame: &Frame, mzxid: Zxid, tally: &mut Tally) {
        if mzxid <= self.last_write_zxid || frame.zxid < mzxid {
            tally.broken(
                Broken::WriteOrder,
                format_args!(
                    "write of node {} is {mzxid}, the one before is {}, the reply says {}",
                    slot.key, self.last_write_zxid, frame.zxid
                ),
            );
        }
        self.last_write_zxid = mzxid;
    }

    fn check_create(&mut self, slot: &Slot, body: &[u8], tally: &mut Tally) -> Option<()> {
        let (path, _) = take_sized(body)?;
        match self.job {
            Job::Create { .. } => {
                self.rules
                    .layout
                    .made_path(self.connection, slot.key, &mut self.path);
            }
            Job::Load { .. } => self.rules.layout.key_path(slot.key, &mut self.path),
            _ => return Some(()),
        }
        if path != self.path.as_bytes() {
            tally.broken(
                Broken::WrongValue,
                format_args!(
                    "created {} where {} was asked for",
                    String::from_utf8_lossy(path),
                    self.path
                ),
            );
        }
        Some(())
    }

    fn check_children(&self, slot: &Slot, body: &[u8], tally: &mut Tally) -> Option<()> {
        let count = be_i32(body)?;
        let due = self
            .rules
            .layout
            .directory_len(slot.key)
            .min(DIRECTORY_KEYS);
        if u32::try_from(count) != Ok(due) {
            tally.broken(
                Broken::WrongValue,
                format_args!("directory {} has {count} children, not {due}", slot.key),
            );
        }
        Some(())
    }
}

/// Appends the body of a setData of any version.
fn write_set_data(path: &str, key: u32, stamp: u32, bytes: usize, out: &mut Vec<u8>) {
    write_str(path, out);
    write_sized(out, |out| write_value(key, stamp, bytes, out));
    (-1i32).write(out);
}

/// Appends the body of a create of a node that stays and that everybody may use.
fn write_create(path: &str, out: &mut Vec<u8>, data: impl FnOnce(&mut Vec<u8>)) {
    write_str(path, out);
    data(out);
    1i32.write(out);
    perms::ALL.write(out);
    write_str("world", out);
    write_str("anyone", out);
    (CreateFlags::Persistent as i32).write(out);
}

/// Appends a length and what `write` appends, which has that length.
fn write_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    jute_codec::frame::write_frame(out, write);
}

/// A run of bytes with its length before it, and what follows.
fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(be_i32(bytes)?).ok()?;
    bytes[PREFIX_BYTES..].split_at_checked(length)
}

fn mzxid(stat: &[u8]) -> Option<Zxid> {
    let stat = stat.get(..STAT_BYTES)?;
    let bytes = stat[STAT_MZXID..].first_chunk()?;
    Some(Zxid(i64::from_be_bytes(*bytes)))
}

fn be_i32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|chunk| i32::from_be_bytes(*chunk))
}
