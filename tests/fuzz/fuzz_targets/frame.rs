//! A stream cut into pieces gives the frames that it gives in one piece, and written again they give the stream.
//!
//! Input: the size of the pieces in one byte, then the stream.

#![no_main]

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{FrameError, take_frame, write_frame};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

/// The frames of `stream` when it comes in pieces of `size` bytes, how it ended, and what is left.
fn frames(stream: &[u8], size: usize) -> (Vec<Bytes>, Option<FrameError>, BytesMut) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match take_frame(&mut buffer, LIMIT) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), buffer),
            }
        }
    }
    (frames, None, buffer)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let (whole, error, _) = frames(stream, stream.len().max(1));
    let (pieces, error_in_pieces, rest) = frames(stream, usize::from(*size) + 1);
    assert_eq!(whole, pieces);
    assert_eq!(error, error_in_pieces);

    let mut written = Vec::new();
    for frame in &whole {
        assert!(frame.len() <= LIMIT);
        write_frame(&mut written, |out| out.extend_from_slice(frame));
    }
    assert!(stream.starts_with(&written));
    if error.is_none() {
        assert_eq!(&stream[written.len()..], &rest[..]);
    }
});
