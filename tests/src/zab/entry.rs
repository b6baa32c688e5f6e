//! Transactions as the simulator sees them: an id, and a number that no other has.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use jute_codec::Zxid;

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
