//! Many requests under way at once, and waiting for events alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::frame::write_frame;
use jute_codec::proto::{ReplyHeader, Request, RequestHeader, xid};
use jute_codec::{Jute, Reader};

use super::{Client, ClientError, Wait};

/// Requests that are sent before the first reply is read. Few enough that they fit the socket's buffers: neither side
/// waits for the other to read.
const WINDOW: usize = 128;

/// Bytes of requests that are sent before the first reply is read, for the same reason. A longer request goes alone.
const WINDOW_BYTES: usize = 64 << 10;

impl Client {
    /// Sends requests without waiting for the replies in between, and returns the replies in the same order. Each has
    /// an outcome of its own; the error of the whole is the connection's, after which it is unknown which requests
    /// were carried out.
    ///
    /// None of them may be a credential or the session's end.
    pub(crate) fn call_all(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Result<Bytes, i32>>, ClientError> {
        let result = self.exchange_all(requests);
        if result.is_err() {
            self.broken = true;
        }
        result
    }

    fn exchange_all(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Result<Bytes, i32>>, ClientError> {
        let mut replies = Vec::with_capacity(requests.len());
        let mut requests = requests.iter().peekable();
        while requests.peek().is_some() {
            let mut frames = Vec::new();
            let mut expected = Vec::new();
            while let Some(request) = requests.peek() {
                let start = frames.len();
                let xid = self.next_xid();
                let header = RequestHeader {
                    xid,
                    op: request.op().code(),
                };
                write_frame(&mut frames, |out| {
                    header.write(out);
                    request.write_body(out);
                });
                let full = expected.len() == WINDOW || frames.len() > WINDOW_BYTES;
                if full && !expected.is_empty() {
                    // It goes with the next window, under a number of its own.
                    frames.truncate(start);
                    self.last_xid = xid - 1;
                    break;
                }
                expected.push(xid);
                requests.next();
            }
            self.send_frame(&frames)?;
            for xid in expected {
                replies.push(match self.await_reply(xid, self.timeout) {
                    Ok(body) => Ok(body),
                    Err(ClientError::Server(code)) => Err(code),
                    Err(other) => return Err(other),
                });
            }
        }
        Ok(replies)
    }

    /// Keeps the session alive until a watch event has come or `patience` has passed, whichever is first.
    pub(crate) fn await_event(&mut self, patience: Duration) -> Result<(), ClientError> {
        let result = self.pump(patience);
        if result.is_err() {
            self.broken = true;
        }
        result
    }

    fn pump(&mut self, patience: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + patience;
        if self.notifications.is_empty() {
            // What came while nobody read is no silence.
            self.read_some(Duration::ZERO)?;
        }
        while self.notifications.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = Wait {
                since: self.last_heard,
                patience: self.last_heard.elapsed() + left,
                session_timeout: Some(self.timeout),
            };
            let frame = match self.receive(wait) {
                Err(ClientError::Timeout { .. }) => return Ok(()),
                frame => frame?,
            };
            let mut reader = Reader::with_limit(&frame, frame.len());
            let header =
                ReplyHeader::read(&mut reader).map_err(|source| self.undecodable(source))?;
            match header.xid {
                xid::PING => {}
                xid::NOTIFICATION => self.note_event(&mut reader, header.zxid)?,
                got => {
                    return Err(ClientError::OutOfOrder {
                        server: self.server,
                        expected: xid::NOTIFICATION,
                        got,
                    });
                }
            }
        }
        Ok(())
    }
}
