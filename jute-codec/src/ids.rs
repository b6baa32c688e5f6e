//! Transaction and session ids.

use std::fmt;

use crate::{DecodeError, Jute, Reader};

/// The id of a transaction: the epoch in the high 32 bits, a counter in the low ones. Printed as `0x500000001`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Self = Self(0);

    /// The epoch: the leadership that made the transaction.
    #[must_use]
    pub const fn epoch(self) -> i64 {
        self.0 >> 32
    }

    /// The place within the epoch.
    #[must_use]
    pub const fn counter(self) -> i64 {
        self.0 & 0xffff_ffff
    }

    /// The id that follows; the counter's overflow into the epoch is the caller's to prevent in an ensemble.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The id of a session, which outlives connections. Zero is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session.
    pub const NONE: Self = Self(0);
}

macro_rules! id {
    ($($name:ident)*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Jute for $name {
            const MIN_BYTES: usize = 8;

            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.i64().map(Self)
            }

            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
        }
    )* };
}

id!(Zxid SessionId);
