//! Bytes received.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{FrameError, PREFIX_BYTES, peek_length, take_frame};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The size of the buffer that connections of a thread share, and the most that is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Reading goes on in a buffer only while it has room for this much.
const ROOM_BYTES_MIN: usize = 4 << 10;

thread_local! {
    // Lent to whichever connection of the thread reads. A connection at rest has none but for a part of a frame.
    static SPARE: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// What was received and not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    buffer: BytesMut,
    // Whether `buffer` is the thread's.
    lent: bool,
    // When bytes last came, in microseconds.
    filled_us: i64,
}

impl Inbound {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// When bytes last came, in microseconds.
    pub(super) const fn filled_us(&self) -> i64 {
        self.filled_us
    }

    /// Notes when bytes came.
    pub(super) const fn set_filled_us(&mut self, now_us: i64) {
        self.filled_us = now_us;
    }

    /// Reads what is there, a chunk at the most.
    pub(super) fn poll_fill(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() && !self.lent {
            self.buffer = SPARE.take();
            self.lent = true;
        }
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            // A large frame grows its buffer as it comes in, not by what its prefix promises.
            let room = if self.lent {
                CHUNK_BYTES
            } else {
                self.buffer.len().clamp(ROOM_BYTES_MIN, CHUNK_BYTES)
            };
            self.buffer.reserve(room);
        }
        pin!(stream.read_buf(&mut self.buffer)).poll(cx)
    }

    /// The length of the next frame, if its prefix is there.
    pub(super) fn peek(&self, limit: usize) -> Result<Option<usize>, FrameError> {
        peek_length(&self.buffer, limit)
    }

    /// Takes the next frame if it is whole.
    pub(super) fn take(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        take_frame(&mut self.buffer, limit)
    }

    /// Whether a whole frame is there.
    pub(super) fn has_frame(&self, limit: usize) -> bool {
        match self.peek(limit) {
            Ok(Some(length)) => self.buffer.len() - PREFIX_BYTES >= length,
            Ok(None) => false,
            // To be found wrong.
            Err(_) => true,
        }
    }

    /// Gives back memory before a rest.
    pub(super) fn shrink(&mut self) {
        if self.lent {
            let rest = if self.buffer.is_empty() {
                BytesMut::new()
            } else {
                BytesMut::from(&self.buffer[..])
            };
            self.buffer.clear();
            SPARE.set(std::mem::replace(&mut self.buffer, rest));
            self.lent = false;
        } else if self.buffer.is_empty() && self.buffer.capacity() != 0 {
            self.buffer = BytesMut::new();
        }
    }
}
