//! One connection, seen from both ends: what it asked, and whether what it hears answers that.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute_codec::frame::take_frame;
use jute_codec::proto::{ConnectResponse, OpCode, Reply, ReplyHeader, WatcherEvent, xid};
use jute_codec::{Jute, Reader, SessionId};
use zabd::state::conn::{ClientConn, ConnId, ConnParams};

pub struct Client {
    pub machine: ClientConn,
    /// Requests that are not answered yet, in order: xid and opcode.
    asked: VecDeque<(i32, i32)>,
}

impl Client {
    pub fn new(id: ConnId, params: Arc<ConnParams>) -> Self {
        Self {
            machine: ClientConn::new(id, "127.0.0.1".to_owned(), params),
            asked: VecDeque::new(),
        }
    }

    pub fn asks(&mut self, xid: i32, op: i32) {
        self.asked.push_back((xid, op));
    }

    /// What the connection's own task wrote: replies to reads, and events that setWatches catches up with.
    pub fn hears_reads(&mut self, out: &[u8]) {
        let mut out = BytesMut::from(out);
        while let Some(frame) = take_frame(&mut out, usize::MAX).expect("lengths are right") {
            let header = ReplyHeader::read(&mut Reader::new(&frame)).expect("a reply has a header");
            let catches_up = self.asked.front().is_some_and(|(_, op)| {
                matches!(
                    OpCode::from_i32(*op),
                    Some(OpCode::SetWatches | OpCode::SetWatches2)
                )
            });
            if catches_up && header.xid == xid::NOTIFICATION && header.err == 0 && frame.len() > 16
            {
                check_event(&frame);
            } else {
                self.check_reply(&frame);
            }
        }
        assert!(out.is_empty(), "the last frame is cut");
    }

    pub fn hears_event(&mut self, frame: &[u8]) {
        check_event(&payload(frame));
    }

    pub fn hears_reply(&mut self, frame: &[u8]) {
        self.check_reply(&payload(frame));
        self.machine.on_reply();
    }

    pub fn hears_connected(&self, frame: &[u8], session: SessionId) {
        let frame = payload(frame);
        let mut reader = Reader::new(&frame);
        let response = ConnectResponse::read(&mut reader).expect("a handshake is answered");
        assert_eq!(reader.remaining(), 0);
        assert_eq!(response.session, session);
    }

    fn check_reply(&mut self, frame: &Bytes) {
        let (xid, op) = self.asked.pop_front().expect("a reply answers a request");
        let op = OpCode::from_i32(op);
        let mut reader = Reader::new(frame);
        if op == Some(OpCode::CreateSession) {
            // Answered as a handshake, unless the request could not be decoded.
            if ConnectResponse::read(&mut reader).is_ok() && reader.remaining() == 0 {
                return;
            }
            reader = Reader::new(frame);
        }
        let header = ReplyHeader::read(&mut reader).expect("a reply has a header");
        match op {
            // A ping that could not be decoded does not exist: it has no body.
            Some(OpCode::Ping) if header.err == 0 => assert_eq!(header.xid, xid::PING),
            _ => assert_eq!(header.xid, xid, "{op:?} is answered out of turn"),
        }
        if header.err != 0 {
            return;
        }
        let op = op.expect("an opcode that does not exist is an error");
        let reply = Reply::read(op, &mut reader);
        assert!(
            reply.is_ok(),
            "{op:?} is answered with {frame:?}: {reply:?}"
        );
        assert_eq!(reader.remaining(), 0, "{op:?} is answered with {frame:?}");
    }
}

fn check_event(frame: &Bytes) {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::read(&mut reader).expect("an event has a header");
    assert_eq!((header.xid, header.err), (xid::NOTIFICATION, 0));
    WatcherEvent::read(&mut reader).expect("an event has a body");
    assert_eq!(reader.remaining(), 0);
}

/// What follows the length of the only frame.
fn payload(frame: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(frame);
    let payload = take_frame(&mut frame, usize::MAX).expect("the length is right");
    assert!(frame.is_empty());
    payload.expect("the frame is whole")
}
