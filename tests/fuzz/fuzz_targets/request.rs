//! A frame to the server: as the handshake, and as a request of the opcode in its header.

#![no_main]

use bytes::Bytes;
use jute_codec::proto::{ConnectRequest, OpCode, Request, RequestHeader};
use jute_codec::{Jute, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let frame = Bytes::copy_from_slice(frame);

    if let Ok(connect) = ConnectRequest::read(&mut Reader::new(&frame)) {
        let written = Bytes::from(connect.to_vec());
        assert_eq!(
            ConnectRequest::read(&mut Reader::new(&written)),
            Ok(connect)
        );
    }

    let mut reader = Reader::new(&frame);
    let Ok(header) = RequestHeader::read(&mut reader) else {
        return;
    };
    let Some(op) = OpCode::from_i32(header.op) else {
        return;
    };
    let Ok(request) = Request::read(op, &mut reader) else {
        return;
    };
    assert!(op.is_request());
    assert_eq!(request.op(), op);

    // Text beyond the BMP changes once, to what is then stable; everything else does not change at all.
    let read = |body: Vec<u8>| {
        let body = Bytes::from(body);
        let mut reader = Reader::new(&body);
        let request = Request::read(op, &mut reader).expect("what was written can be read");
        assert_eq!(reader.remaining(), 0);
        request
    };
    let write = |request: &Request| {
        let mut body = Vec::new();
        request.write_body(&mut body);
        body
    };
    let stable = read(write(&request));
    assert_eq!(read(write(&stable)), stable);
    if !frame.iter().any(|byte| *byte >= 0xf0 && *byte <= 0xf4) {
        assert_eq!(stable, request);
    }
});
