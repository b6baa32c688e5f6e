//! Bytes to send.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use jute_codec::frame::PREFIX_BYTES;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// A spare buffer larger than this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 1 << 20;

thread_local! {
    // Lent to whichever connection of the thread has something to send. A connection at rest has no buffer.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is to be sent, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    // Sent so far.
    sent: usize,
}

/// What was added since the last look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) last: usize,
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Outgoing {
    /// Bytes not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// The buffer to append to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
        }
        &mut self.buffer
    }

    /// How long the buffer may get with `unsent_max` bytes not sent.
    pub(super) const fn length_max(&self, unsent_max: usize) -> usize {
        self.sent.saturating_add(unsent_max)
    }

    /// Where the next frame begins.
    pub(super) const fn mark(&self) -> usize {
        self.buffer.len()
    }

    /// The frames since `mark`. Nothing must have been sent in between.
    pub(super) fn added_since(&self, mark: usize) -> Added {
        let mut added = Added {
            min: usize::MAX,
            ..Added::default()
        };
        let mut rest = &self.buffer[mark..];
        added.bytes = rest.len() as u64;
        while let Some(prefix) = rest.first_chunk::<PREFIX_BYTES>() {
            let payload = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            added.frames += 1;
            added.last = payload;
            added.min = added.min.min(payload);
            added.max = added.max.max(payload);
            rest = rest
                .get(payload.saturating_add(PREFIX_BYTES)..)
                .unwrap_or_default();
        }
        added
    }

    /// Sends as much as the socket takes; whether that was anything. What is left makes the task wait for the socket.
    pub(super) fn poll_send(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        let before = self.sent;
        while self.sent < self.buffer.len() {
            match Pin::new(&mut *stream).poll_write(cx, &self.buffer[self.sent..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(bytes) => self.sent += bytes,
                Poll::Pending => break,
            }
        }
        let progressed = self.sent != before;
        if self.sent == self.buffer.len() {
            self.sent = 0;
            self.buffer.clear();
        } else if self.sent > self.buffer.len() / 2 {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        Ok(progressed)
    }

    /// Gives back memory before a rest.
    pub(super) fn shrink(&mut self) {
        if self.buffer.capacity() == 0 {
            return;
        }
        if self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            let spare = SPARE.take();
            SPARE.set(
                if buffer.capacity() <= SPARE_BYTES_MAX && buffer.capacity() > spare.capacity() {
                    buffer
                } else {
                    spare
                },
            );
        } else {
            self.buffer.shrink_to(self.buffer.len());
        }
    }

    /// What is left to send.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.buffer.drain(..self.sent);
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use jute_codec::frame::write_frame;

    use super::*;

    #[test]
    fn frames_are_counted_and_measured() {
        let mut out = Outgoing::default();
        write_frame(out.buffer(), |out| out.extend_from_slice(b"before"));
        let mark = out.mark();
        for payload in [&b"four"[..], b"", b"eleven here"] {
            write_frame(out.buffer(), |out| out.extend_from_slice(payload));
        }
        let added = out.added_since(mark);
        assert_eq!(
            added,
            Added {
                frames: 3,
                bytes: 27,
                last: 11,
                min: 0,
                max: 11
            }
        );
        assert_eq!(out.added_since(out.mark()).frames, 0);
    }
}
