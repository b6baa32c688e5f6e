//! Packets out of a stream in which nothing says where one ends.
//!
//! The lengths that say it lie inside the packets: of the data, and of each string of the ids. [`PacketDecoder`]
//! remembers how far it has followed them, so that a packet in many pieces costs no more than one that comes whole.

use bytes::{Buf, BytesMut};

use super::QuorumPacket;
use crate::{DecodeError, Jute, Reader};

/// Where the first length of a packet is: behind its type and its zxid.
const DATA_LENGTH_AT: usize = 12;

/// Bytes of a length or a count.
const LENGTH_BYTES: usize = 4;

/// Takes packets out of a buffer to which bytes are appended as they arrive.
///
/// It takes exactly the packet's bytes: what follows a SNAP is left in the buffer for whoever reads the snapshot.
/// Between two calls the buffer may only grow at its end, unless the last call returned a packet.
#[derive(Debug)]
pub struct PacketDecoder {
    limit: usize,
    next: Next,
    /// Where in the buffer the next length is.
    at: usize,
}

/// What the next length is that the decoder waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Of the data.
    Data,
    /// The number of ids.
    Count,
    /// Of a string in the ids.
    String {
        /// Strings whose lengths are still to come, this one included.
        left: usize,
        /// Where the ids must have ended.
        ids_end_max: usize,
    },
    /// None: the packet ends where it would be.
    End,
}

impl PacketDecoder {
    /// A decoder for packets whose data are at most `limit` bytes long, and whose ids take at most `limit` bytes
    /// together. ZooKeeper limits each string by [`Reader::DEFAULT_LIMIT`], and their number not at all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            next: Next::Data,
            at: DATA_LENGTH_AT,
        }
    }

    /// Takes the next packet out of `buffer`, sharing its memory, or leaves `buffer` as it is if the packet has not
    /// arrived as a whole.
    ///
    /// # Errors
    /// When a length is out of range. The stream can then be read no further, and every other call fails as well.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<QuorumPacket>, DecodeError> {
        while self.next != Next::End {
            let Some(mut length) = buffer.get(self.at..self.at.saturating_add(LENGTH_BYTES)) else {
                return Ok(None);
            };
            self.follow(length.get_i32())?;
        }
        if buffer.len() < self.at {
            return Ok(None);
        }
        let bytes = buffer.split_to(self.at).freeze();
        *self = Self::new(self.limit);
        QuorumPacket::read(&mut Reader::with_limit(&bytes, self.limit)).map(Some)
    }

    /// How many bytes more than those in `buffer` the packet has at least, after a call that returned none: never 0
    /// then. What to read into is the caller's choice; a peer that claims a megabyte has not sent it yet.
    #[must_use]
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        let shortest = match self.next {
            Next::Data => self.at + 2 * LENGTH_BYTES,
            Next::Count => self.at + LENGTH_BYTES,
            Next::String { left, .. } => self.at + left * LENGTH_BYTES,
            Next::End => self.at,
        };
        shortest.saturating_sub(buffer.len())
    }

    /// Moves on behind the length at `at`, which is `length`.
    fn follow(&mut self, length: i32) -> Result<(), DecodeError> {
        let unreasonable = DecodeError::UnreasonableLength {
            length,
            limit: self.limit,
        };
        let behind = self.at + LENGTH_BYTES;
        match self.next {
            Next::Data => {
                let bytes = self.string_bytes(length).ok_or(unreasonable)?;
                self.at = behind + bytes;
                self.next = Next::Count;
            }
            Next::Count => {
                // Negative counts are null or empty, as in Java.
                let left = usize::try_from(length).unwrap_or(0).saturating_mul(2);
                if left.saturating_mul(LENGTH_BYTES) > self.limit {
                    return Err(unreasonable);
                }
                self.at = behind;
                self.expect_strings(left, behind.saturating_add(self.limit));
            }
            Next::String { left, ids_end_max } => {
                let bytes = self.string_bytes(length).ok_or(unreasonable.clone())?;
                let left = left - 1;
                if behind + bytes + left * LENGTH_BYTES > ids_end_max {
                    return Err(unreasonable);
                }
                self.at = behind + bytes;
                self.expect_strings(left, ids_end_max);
            }
            Next::End => {}
        }
        Ok(())
    }

    fn expect_strings(&mut self, left: usize, ids_end_max: usize) {
        self.next = match left {
            0 => Next::End,
            _ => Next::String { left, ids_end_max },
        };
    }

    /// The bytes behind `length`, if there may be so many; -1 is null and has none.
    fn string_bytes(&self, length: i32) -> Option<usize> {
        if length == -1 {
            return Some(0);
        }
        usize::try_from(length)
            .ok()
            .filter(|bytes| *bytes <= self.limit)
    }
}

impl Default for PacketDecoder {
    /// With the limit that servers have unless they are told otherwise.
    fn default() -> Self {
        Self::new(Reader::DEFAULT_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Id, Zxid};

    fn packet(data: Option<&[u8]>, ids: Option<Vec<Id>>) -> QuorumPacket {
        QuorumPacket {
            kind: 2,
            zxid: Zxid(3),
            data: data.map(Bytes::copy_from_slice),
            ids,
        }
    }

    fn head(data_length: i32) -> BytesMut {
        let mut buffer = BytesMut::from(&[0; DATA_LENGTH_AT][..]);
        buffer.extend_from_slice(&data_length.to_be_bytes());
        buffer
    }

    #[test]
    fn a_packet_is_taken_and_nothing_behind_it() {
        let expected = packet(Some(b"data"), Some(vec![Id::new("ip", "127.0.0.1")]));
        let mut buffer = BytesMut::from(&expected.to_vec()[..]);
        buffer.extend_from_slice(b"a snapshot");
        let memory = buffer.as_ptr();
        let taken = PacketDecoder::default().take(&mut buffer);
        let taken = taken.expect("it is well-formed").expect("it is whole");
        assert_eq!(taken, expected);
        assert_eq!(&buffer[..], b"a snapshot");
        let data = taken.data.expect("it has data");
        assert_eq!(data.as_ptr(), memory.wrapping_add(16), "data were copied");
    }

    /// Byte by byte: what is missing is told from the lengths that are there, and never too much of it.
    #[test]
    fn the_lengths_tell_what_is_missing() {
        let ids = vec![
            Id::new("ip", "1"),
            Id {
                scheme: None,
                id: None,
            },
        ];
        for (packet, expected) in [
            (packet(None, None), vec![(0, 20), (16, 20)]),
            (packet(Some(b"abc"), None), vec![(0, 20), (16, 23)]),
            (
                packet(Some(b"abc"), Some(ids)),
                vec![(0, 20), (16, 23), (23, 39), (27, 41), (33, 42)],
            ),
        ] {
            let bytes = packet.to_vec();
            let mut decoder = PacketDecoder::default();
            let mut buffer = BytesMut::new();
            for (length, byte) in bytes.iter().enumerate() {
                assert_eq!(decoder.take(&mut buffer), Ok(None));
                let (_, whole) = expected
                    .iter()
                    .rfind(|(from, _)| *from <= length)
                    .expect("the list begins at 0");
                assert_eq!(decoder.missing(&buffer), whole - length, "{length}");
                buffer.extend_from_slice(&[*byte]);
            }
            assert_eq!(decoder.take(&mut buffer), Ok(Some(packet)));
            assert_eq!(decoder.missing(&buffer), 20);
        }
    }

    #[test]
    fn lengths_of_data_are_limited() {
        for (length, taken) in [
            (-1, true),
            (0, true),
            (10, true),
            (11, false),
            (-2, false),
            (i32::MIN, false),
            (i32::MAX, false),
        ] {
            let mut buffer = head(length);
            let mut decoder = PacketDecoder::new(10);
            for _ in 0..2 {
                let result = decoder.take(&mut buffer);
                assert_eq!(result.is_ok(), taken, "{length}");
            }
            assert_eq!(buffer.len(), 16, "it is left in place");
        }
    }

    #[test]
    fn ids_are_limited_together() {
        let with_ids = |words: &[i32]| {
            let mut buffer = head(-1);
            for word in words {
                buffer.extend_from_slice(&word.to_be_bytes());
            }
            PacketDecoder::new(24).take(&mut buffer)
        };
        // Three ids take 24 bytes if all their strings are empty.
        assert!(with_ids(&[3, 0, 0, 0, 0, 0, 0]).is_ok_and(|packet| packet.is_some()));
        assert_eq!(with_ids(&[3]), Ok(None));
        assert!(with_ids(&[4]).is_err());
        assert!(with_ids(&[i32::MAX]).is_err());
        assert!(with_ids(&[3, 0, 1]).is_err());
        assert_eq!(with_ids(&[1, 16]), Ok(None));
        assert!(with_ids(&[1, 17]).is_err());
        assert!(with_ids(&[1, -2]).is_err());
        for none in [-1, 0] {
            assert!(with_ids(&[none]).is_ok_and(|packet| packet.is_some()));
        }
        let negative = with_ids(&[-2]).map(|packet| packet.and_then(|packet| packet.ids));
        assert_eq!(negative, Ok(Some(Vec::new())), "as in Java");
    }
}
