//! What the stored `ephemeralOwner` says about the kind of a node.
//!
//! ZooKeeper: `EphemeralType`.

use jute_codec::SessionId;

/// The mark of container nodes.
const CONTAINER: i64 = i64::MIN;
/// The high byte of the mark of TTL nodes; the 16 bits behind it are zero.
const TTL_MARK: u64 = 0xff00_0000_0000_0000;
const TTL_MARK_MASK: u64 = 0xffff_ff00_0000_0000;

/// The greatest time to live, in milliseconds: 40 bits.
pub const TTL_MAX_MS: i64 = (1 << 40) - 1;

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It stays.
    Persistent,
    /// It goes when its last child has gone.
    Container,
    /// It goes when it has been left alone for so many milliseconds.
    Ttl(i64),
    /// It goes with this session.
    Session(SessionId),
}

impl Owner {
    /// The kind that `stored` stands for. Without extended types the mark of a TTL is an ordinary session id.
    #[must_use]
    pub const fn of(stored: i64, extended_types: bool) -> Self {
        match stored {
            0 => Self::Persistent,
            CONTAINER => Self::Container,
            _ if extended_types && stored.cast_unsigned() & TTL_MARK_MASK == TTL_MARK => {
                Self::Ttl(stored & TTL_MAX_MS)
            }
            _ => Self::Session(SessionId(stored)),
        }
    }

    /// The form that is stored.
    #[must_use]
    pub const fn stored(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Container => CONTAINER,
            Self::Ttl(ttl_ms) => TTL_MARK.cast_signed() | ttl_ms,
            Self::Session(session) => session.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_storing() {
        for owner in [
            Owner::Persistent,
            Owner::Container,
            Owner::Ttl(1),
            Owner::Ttl(TTL_MAX_MS),
            Owner::Session(SessionId(7)),
        ] {
            assert_eq!(Owner::of(owner.stored(), true), owner);
        }
        // `storage-formats.md` §10.5.
        assert_eq!(
            Owner::Ttl(1000).stored().cast_unsigned(),
            0xff00_0000_0000_03e8
        );
        assert_eq!(
            Owner::of(Owner::Ttl(5).stored(), false),
            Owner::Session(SessionId(Owner::Ttl(5).stored()))
        );
    }
}
