//! A frame from the server: as the answer to the handshake, as a notification, and as the reply to each opcode.
//!
//! Input: an opcode's place in the list in one byte, then the frame.

#![no_main]

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, OpCode, Reply, ReplyHeader, WatcherEvent};
use jute_codec::{Jute, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((op, frame)) = input.split_first() else {
        return;
    };
    let op = OpCode::ALL[usize::from(*op) % OpCode::ALL.len()];
    let frame = Bytes::copy_from_slice(frame);

    if let Ok(response) = ConnectResponse::read(&mut Reader::new(&frame)) {
        let written = Bytes::from(response.to_vec());
        assert_eq!(
            ConnectResponse::read(&mut Reader::new(&written)),
            Ok(response)
        );
    }

    let mut reader = Reader::new(&frame);
    let Ok(_) = ReplyHeader::read(&mut reader) else {
        return;
    };
    let body = reader.rest();
    drop(WatcherEvent::read(&mut Reader::new(&body)));
    let Ok(reply) = Reply::read(op, &mut reader) else {
        return;
    };

    let read = |body: Vec<u8>| {
        let body = Bytes::from(body);
        let mut reader = Reader::new(&body);
        let reply = Reply::read(op, &mut reader).expect("what was written can be read");
        assert_eq!(reader.remaining(), 0);
        reply
    };
    let write = |reply: &Reply| {
        let mut body = Vec::new();
        reply.write_body(&mut body);
        body
    };
    let stable = read(write(&reply));
    assert_eq!(read(write(&stable)), stable);
    if !frame.iter().any(|byte| *byte >= 0xf0 && *byte <= 0xf4) {
        assert_eq!(stable, reply);
    }
});
