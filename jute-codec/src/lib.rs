//! ZooKeeper's records: bytes to values and back.
//!
//! This crate knows what is on the wire and in the transaction log, byte for byte, and nothing else: it does no
//! IO, has no policy and keeps no state. Decoding is zero-copy on [`bytes::Bytes`] (buffers and well-formed strings
//! are slices of the frame), never panics, and never allocates more than a small multiple of the bytes it was given.
//!
//! | module | what it holds |
//! |---|---|
//! | [`reader`], [`writer`] | the primitive types and the [`Jute`] trait of everything that has an encoding |
//! | [`text`] | [`Text`], an immutable UTF-8 string sharing its frame, with the decoding rules of the Java server |
//! | [`frame`] | length-prefixed frames |
//! | [`ids`], [`data`], [`error_code`] | zxids, session ids, `Id`, `Acl`, `Stat`, result codes |
//! | [`proto`] | requests, replies and notifications of the client port |
//! | [`quorum`] | what servers say to each other |
//! | [`txn`], [`digest`] | transactions as logged and proposed, and the digest of the tree after them |

pub mod data;
pub mod digest;
pub mod error_code;
pub mod frame;
pub mod ids;
pub mod proto;
pub mod quorum;
pub mod reader;
mod record;
pub mod text;
pub mod txn;
pub mod writer;

pub use data::{Acl, Id, Stat, StatPersisted};
pub use error_code::ErrorCode;
pub use ids::{SessionId, Zxid};
pub use reader::{DecodeError, Reader};
pub use text::Text;

/// A value with a Jute encoding.
pub trait Jute: Sized {
    /// The fewest bytes that an encoded value can take; bounds what a hostile element count can reserve.
    const MIN_BYTES: usize;

    /// Reads one value, advancing the reader past it.
    ///
    /// # Errors
    /// When the bytes end too early or a length is out of range. The reader's position is then unspecified.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Appends the encoding of `self` to `out`.
    fn write(&self, out: &mut Vec<u8>);

    /// The encoding of `self` alone.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}
