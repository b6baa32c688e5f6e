//! What connections are to hear, in order.

use std::ops::Range;

use jute_codec::frame::write_frame;
use jute_codec::proto::{ConnectResponse, EventType, ReplyHeader, WatcherEvent, xid};
use jute_codec::{Jute, SessionId, Zxid};

use super::conn::ConnId;

/// One thing that a connection is to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<'a> {
    /// A watch notification: a frame.
    Event(&'a [u8]),
    /// The answer to the oldest write that the connection has in flight: a frame.
    Reply(&'a [u8]),
    /// The answer to the handshake: a frame, and what was agreed; no session if the handshake failed.
    Connected {
        /// The frame.
        frame: &'a [u8],
        /// The session.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// The connection closes, once all before it is written.
    Close,
}

#[derive(Debug, Clone)]
enum Kind {
    Event,
    Reply,
    Connected(SessionId, i32),
    Close,
}

/// A batch of outputs. A frame for many connections is stored once.
#[derive(Debug, Default)]
pub struct Outputs {
    frames: Vec<u8>,
    items: Vec<(ConnId, Kind, Range<usize>)>,
}

impl Outputs {
    /// Whether there is nothing to tell anybody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets everything; the memory stays for the next batch.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.items.clear();
    }

    /// What is to be told, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, Output<'_>)> {
        self.items.iter().map(|(conn, kind, range)| {
            let frame = &self.frames[range.clone()];
            let output = match kind {
                Kind::Event => Output::Event(frame),
                Kind::Reply => Output::Reply(frame),
                Kind::Connected(session, timeout_ms) => Output::Connected {
                    frame,
                    session: *session,
                    timeout_ms: *timeout_ms,
                },
                Kind::Close => Output::Close,
            };
            (*conn, output)
        })
    }

    fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.frames.len();
        write_frame(&mut self.frames, write);
        start..self.frames.len()
    }

    /// A watch notification for all of `conns`.
    pub(crate) fn event(&mut self, conns: &[ConnId], zxid: Zxid, event: EventType, path: &str) {
        if conns.is_empty() {
            return;
        }
        let range = self.frame(|out| write_event(zxid, event, path, out));
        self.items
            .extend(conns.iter().map(|conn| (*conn, Kind::Event, range.clone())));
    }

    /// A reply whose body `body` appends.
    pub(crate) fn reply(
        &mut self,
        conn: ConnId,
        header: &ReplyHeader,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let range = self.frame(|out| {
            header.write(out);
            body(out);
        });
        self.items.push((conn, Kind::Reply, range));
    }

    /// A reply that has the form of a handshake's answer.
    pub(crate) fn reply_raw(&mut self, conn: ConnId, response: &ConnectResponse) {
        let range = self.frame(|out| response.write(out));
        self.items.push((conn, Kind::Reply, range));
    }

    /// The answer to a handshake.
    pub fn connected(&mut self, conn: ConnId, response: &ConnectResponse) {
        let range = self.frame(|out| response.write(out));
        self.items.push((
            conn,
            Kind::Connected(response.session, response.timeout_ms),
            range,
        ));
    }

    /// Ends a connection.
    pub fn close(&mut self, conn: ConnId) {
        let end = self.frames.len();
        self.items.push((conn, Kind::Close, end..end));
    }
}

/// Appends the payload of a notification.
pub(crate) fn write_event(zxid: Zxid, event: EventType, path: &str, out: &mut Vec<u8>) {
    ReplyHeader {
        xid: xid::NOTIFICATION,
        zxid,
        err: 0,
    }
    .write(out);
    event.code().write(out);
    WatcherEvent::SYNC_CONNECTED.write(out);
    jute_codec::writer::write_str(path, out);
}
