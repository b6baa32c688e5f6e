//! Transactions as the simulator sees them: an id, and a number that no other has.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use jute_codec::proto::OpCode;
use jute_codec::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{SessionId, Text, Zxid};
use zabd::replica::ensemble::{Member, Members, ServerId};

/// A transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub zxid: Zxid,
    /// What its bytes say.
    pub number: u64,
}

impl Entry {
    /// What `bytes` say under this id.
    #[must_use]
    pub fn read(zxid: Zxid, bytes: &[u8]) -> Self {
        let number = bytes
            .first_chunk()
            .map_or(u64::MAX, |chunk| u64::from_be_bytes(*chunk));
        Self { zxid, number }
    }

    /// A change of the members: `number` below 2^30 tells it from others, and a bit for each server says whether it votes,
    /// or observes.
    #[must_use]
    pub const fn change(zxid: Zxid, number: u64, voters: u16, observers: u16) -> Self {
        let number = CHANGE | number << 32 | (voters as u64) << 16 | observers as u64;
        Self { zxid, number }
    }

    /// The members from here on, if it changes them.
    #[must_use]
    pub fn members(self) -> Option<Members> {
        if self.number >> 62 != 1 {
            return None;
        }
        let mut members = std::collections::BTreeMap::new();
        for id in 0..16 {
            let role = match (self.number >> (16 + id) & 1, self.number >> id & 1) {
                (1, _) => "participant",
                (_, 1) => "observer",
                _ => continue,
            };
            let member = Member::parse(&format!("s{id}:2888:3888:{role}")).expect("well-formed");
            members.insert(ServerId(id), member);
        }
        Some(Members::majority(self.zxid.0, members))
    }

    /// Its bytes.
    #[must_use]
    pub fn txn(self) -> Bytes {
        let Some(members) = self.members() else {
            return Self::bytes(self.number);
        };
        let entry = TxnEntry {
            // What is read of any transaction here stands first.
            header: TxnHeader {
                client_id: SessionId(self.number.cast_signed()),
                cxid: 0,
                zxid: self.zxid,
                time: 0,
                op: OpCode::Reconfig.code(),
            },
            txn: Txn::Reconfig(SetDataTxn {
                path: Text::from_static("/zookeeper/config"),
                data: Some(members.text().as_bytes_shared().clone()),
                version: -1,
            }),
            digest: None,
        };
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        Bytes::from(bytes)
    }

    /// The bytes of transaction `number`: some are longer than others.
    #[must_use]
    pub fn bytes(number: u64) -> Bytes {
        let padding = usize::try_from(number % 5 * 11).unwrap_or(0);
        let mut bytes = BytesMut::with_capacity(8 + padding);
        bytes.put_u64(number);
        bytes.put_bytes(b'.', padding);
        bytes.freeze()
    }
}

/// What the numbers of changes of the members have at the top.
const CHANGE: u64 = 1 << 62;

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}#{}",
            self.zxid.epoch(),
            self.zxid.counter(),
            self.number
        )
    }
}

/// The id of the newest; zero if there is none.
#[must_use]
pub fn last(history: &[Entry]) -> Zxid {
    history.last().map_or(Zxid::ZERO, |entry| entry.zxid)
}

/// How many entries from the start both have.
#[must_use]
pub fn common(one: &[Entry], other: &[Entry]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// How many entries are not after `zxid`.
#[must_use]
pub fn through(history: &[Entry], zxid: Zxid) -> usize {
    history.partition_point(|entry| entry.zxid <= zxid)
}

/// Whether `next` may stand behind `last`: the next of the same epoch, or the first of a later one.
#[must_use]
pub const fn follows(last: Zxid, next: Zxid) -> bool {
    last.0 + 1 == next.0 || (next.epoch() > last.epoch() && next.counter() == 1)
}
