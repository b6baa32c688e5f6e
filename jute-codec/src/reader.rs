//! Reading Jute values out of a frame.
//!
//! ZooKeeper: `BinaryInputArchive`.

use bytes::Bytes;
use thiserror::Error;

use crate::{Jute, Text};

/// Why bytes are not the record they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("the record ends early: {wanted} bytes wanted, {left} left")]
    EndOfRecord {
        /// Bytes that the value needs.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A string or buffer length is below -1 or above the reader's limit.
    #[error("unreasonable length {length} (limit {limit})")]
    UnreasonableLength {
        /// The length as written.
        length: i32,
        /// The greatest length that the reader accepts.
        limit: usize,
    },
    /// A type, kind or opcode has no meaning at this place.
    #[error("unexpected {what} {value}")]
    UnexpectedValue {
        /// What was being read.
        what: &'static str,
        /// The value found.
        value: i64,
    },
    /// A string or vector is null where none may be.
    #[error("{what} is null")]
    Null {
        /// What was being read.
        what: &'static str,
    },
}

/// A cursor over one frame or record.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    backing: &'a Bytes,
    rest: &'a [u8],
    limit: usize,
}

impl<'a> Reader<'a> {
    /// `jute.maxbuffer` plus `zookeeper.jute.maxbuffer.extrasize` with their defaults, in bytes.
    pub const DEFAULT_LIMIT: usize = 2 * 0xf_ffff;

    /// Reads from the start of `backing`, accepting strings and buffers up to [`Self::DEFAULT_LIMIT`] bytes.
    #[must_use]
    pub fn new(backing: &'a Bytes) -> Self {
        Self::with_limit(backing, Self::DEFAULT_LIMIT)
    }

    /// Reads from the start of `backing`, accepting strings and buffers up to `limit` bytes.
    #[must_use]
    pub fn with_limit(backing: &'a Bytes, limit: usize) -> Self {
        Self {
            backing,
            rest: backing,
            limit,
        }
    }

    /// The number of bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not yet read, sharing the frame.
    #[must_use]
    pub fn rest(&self) -> Bytes {
        self.backing.slice_ref(self.rest)
    }

    /// Takes the next `length` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::EndOfRecord {
                wanted: length,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::EndOfRecord {
                wanted: N,
                left: self.rest.len(),
            });
        };
        self.rest = tail;
        Ok(*head)
    }

    /// Reads a boolean; every non-zero byte is true.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.array::<1>()?[0] != 0)
    }

    /// Reads a big-endian 32-bit integer.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Reads a big-endian 64-bit integer.
    ///
    /// # Errors
    /// At the end of the record.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Reads a length-prefixed run of bytes; length -1 is null.
    fn prefixed(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.limit => self.take(bytes).map(Some),
            _ => Err(DecodeError::UnreasonableLength {
                length,
                limit: self.limit,
            }),
        }
    }

    /// Reads a buffer, sharing the frame; length -1 is null.
    ///
    /// # Errors
    /// At the end of the record or for a length out of range.
    pub fn buffer(&mut self) -> Result<Option<Bytes>, DecodeError> {
        Ok(self.prefixed()?.map(|bytes| self.backing.slice_ref(bytes)))
    }

    /// Reads a string, sharing the frame where it is well-formed UTF-8; length -1 is null.
    ///
    /// # Errors
    /// At the end of the record or for a length out of range. Malformed UTF-8 is replaced, not refused.
    pub fn text(&mut self) -> Result<Option<Text>, DecodeError> {
        Ok(self
            .prefixed()?
            .map(|bytes| Text::decode(self.backing, bytes)))
    }

    /// Reads a vector; count -1 is null, and any other negative count an empty vector, as in Java.
    ///
    /// # Errors
    /// When an element cannot be read.
    pub fn vector<T: Jute>(&mut self) -> Result<Option<Vec<T>>, DecodeError> {
        let count = self.i32()?;
        if count == -1 {
            return Ok(None);
        }
        let count = usize::try_from(count).unwrap_or(0);
        // A count is only a claim: reserve no more than what the bytes that are here can hold.
        let mut elements = Vec::with_capacity(count.min(self.rest.len() / T::MIN_BYTES.max(1)));
        for _ in 0..count {
            elements.push(T::read(self)?);
        }
        Ok(Some(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader_of<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        read(&mut Reader::new(&Bytes::copy_from_slice(bytes)))
    }

    /// `client-protocol.md` §1.
    #[test]
    fn minus_one_is_null_and_other_negative_lengths_are_errors() {
        let length = |length: i32| reader_of(&length.to_be_bytes(), |reader| reader.buffer());
        assert_eq!(length(-1), Ok(None));
        assert_eq!(length(0), Ok(Some(Bytes::new())));
        for refused in [-2, i32::MIN, 2_097_151, i32::MAX] {
            assert_eq!(
                length(refused),
                Err(DecodeError::UnreasonableLength {
                    length: refused,
                    limit: 2_097_150
                })
            );
        }
        assert_eq!(
            length(2_097_150),
            Err(DecodeError::EndOfRecord {
                wanted: 2_097_150,
                left: 0
            })
        );
    }

    #[test]
    fn negative_counts_below_minus_one_are_empty_vectors() {
        let count = |count: i32| reader_of(&count.to_be_bytes(), |reader| reader.vector::<i32>());
        assert_eq!(count(-1), Ok(None));
        assert_eq!(count(-2), Ok(Some(Vec::new())));
        assert_eq!(count(i32::MIN), Ok(Some(Vec::new())));
        assert_eq!(
            count(i32::MAX),
            Err(DecodeError::EndOfRecord { wanted: 4, left: 0 })
        );
    }

    #[test]
    fn every_byte_but_zero_is_true() {
        for byte in 0..=u8::MAX {
            assert_eq!(reader_of(&[byte], |reader| reader.bool()), Ok(byte != 0));
        }
    }
}
