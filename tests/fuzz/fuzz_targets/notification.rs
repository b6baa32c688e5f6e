//! What comes in on the election port: the initial message, then notifications in frames. Cutting the stream changes
//! nothing, and what was read is written and read back as it was.
//!
//! Input: the size of the pieces in one byte, then the stream.

#![no_main]

#[path = "support/limit.rs"]
mod limit;

use bytes::{Bytes, BytesMut};
use jute_codec::quorum::initial::ADDRESSES_BYTES_MAX;
use jute_codec::quorum::notification::{FRAME_BYTES_MAX, NOTIFICATION_VERSION, take_frame};
use jute_codec::quorum::{InitialMessage, Notification};
use libfuzzer_sys::fuzz_target;

/// What a connection has said so far.
#[derive(Debug, Default, PartialEq)]
struct Said {
    initial: Option<InitialMessage>,
    frames: Vec<Bytes>,
    refused: Option<String>,
}

impl Said {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<(), String> {
        if self.initial.is_none() {
            self.initial = InitialMessage::take(buffer).map_err(|error| error.to_string())?;
            let missing = InitialMessage::missing(buffer);
            assert!(self.initial.is_some() || missing.is_ok_and(|missing| missing > 0));
        }
        if self.initial.is_some() {
            while let Some(frame) = take_frame(buffer).map_err(|error| error.to_string())? {
                self.frames.push(frame);
            }
        }
        Ok(())
    }
}

fn said(stream: &[u8], size: usize) -> Said {
    let mut said = Said::default();
    let mut buffer = BytesMut::new();
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        if let Err(error) = said.take(&mut buffer) {
            said.refused = Some(error);
            break;
        }
    }
    said
}

fn check_initial(initial: &InitialMessage) {
    // Of a server with wildcards only, nothing but its id is left to write.
    if initial.addresses.is_empty() && initial.server < 0 {
        return;
    }
    let mut written = Vec::new();
    initial.write(&mut written);
    // Bytes that are no UTF-8 are three each when they are written again.
    if written.len() <= 20 + ADDRESSES_BYTES_MAX {
        let again = InitialMessage::take(&mut BytesMut::from(&written[..]));
        assert_eq!(again.as_ref(), Ok(&Some(initial.clone())));
    }
}

fn check_notification(frame: &Bytes) {
    assert!((1..=FRAME_BYTES_MAX).contains(&frame.len()));
    let Ok(notification) = Notification::decode(frame) else {
        return;
    };
    assert!(frame.len() >= 28);
    let mut written = Vec::new();
    notification.write(&mut written);
    let has_members = notification.members.is_some();
    let expected = Notification {
        version: if has_members { NOTIFICATION_VERSION } else { 0 },
        ..notification
    };
    assert_eq!(Notification::decode(&Bytes::from(written)), Ok(expected));
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let whole = said(stream, stream.len().max(1));
    let pieces = said(stream, usize::from(*size) + 1);
    assert_eq!(whole, pieces);
    if let Some(initial) = &whole.initial {
        check_initial(initial);
    }
    for frame in &whole.frames {
        check_notification(frame);
    }
});
