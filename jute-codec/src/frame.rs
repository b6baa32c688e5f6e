//! Length-prefixed frames: a big-endian `i32` that does not count itself, then the payload.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// A frame that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is negative or above the limit.
    #[error("a frame of {length} bytes is outside the limit of {limit}")]
    LengthOutOfRange {
        /// The length as written.
        length: i32,
        /// The greatest length that is taken, in bytes.
        limit: usize,
    },
}

/// The length of the frame that `buffer` starts with, if its prefix is there.
///
/// # Errors
/// When the length is negative or above `limit`.
pub fn peek_length(buffer: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= limit => Ok(Some(bytes)),
        _ => Err(FrameError::LengthOutOfRange { length, limit }),
    }
}

/// Takes the next whole frame out of `buffer` without copying it, or leaves `buffer` as it is.
///
/// # Errors
/// When the length is negative or above `limit`; `buffer` then still holds the prefix.
pub fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = peek_length(buffer, limit)? else {
        return Ok(None);
    };
    if buffer.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Appends a frame whose payload `write` appends, and sets its length.
pub fn write_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    write(out);
    let length = i32::try_from(out.len() - start - PREFIX_BYTES)
        .expect("replies are bounded far below 2 GiB");
    out[start..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut stream = Vec::new();
        write_frame(&mut stream, |out| out.extend_from_slice(b"one"));
        write_frame(&mut stream, |_| {});
        write_frame(&mut stream, |out| out.extend_from_slice(b"three"));
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in stream {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) =
                take_frame(&mut buffer, 5).expect("all lengths are within the limit")
            {
                frames.push(frame);
            }
        }
        assert_eq!(frames, ["one", "", "three"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for length in [-1, i32::MIN, 6, i32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert_eq!(
                take_frame(&mut buffer, 5),
                Err(FrameError::LengthOutOfRange { length, limit: 5 })
            );
        }
    }
}
