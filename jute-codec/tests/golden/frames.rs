//! Frames captured from Apache ZooKeeper: each is decoded, compared and written again to the same bytes.

use crate::vectors::{Direction, FRAMES, Frame, frames, without_surrogates};
use bytes::Bytes;
use jute_codec::proto::{
    CheckVersionRequest, ConnectRequest, ConnectResponse, EventType, MultiOp, MultiOps,
    MultiResult, OpCode, Reply, ReplyHeader, Request, RequestHeader, WatcherEvent, xid,
};
use jute_codec::{Acl, DecodeError, ErrorCode, Jute, Reader, Stat, Text, Zxid};

fn capture(name: &str) -> Vec<Frame> {
    let (_, text) = FRAMES
        .iter()
        .find(|(capture, _)| *capture == name)
        .expect("the capture is in the list");
    frames(text)
}

fn read<T: Jute>(payload: &Bytes) -> T {
    let mut reader = Reader::new(payload);
    let value = T::read(&mut reader).expect("a captured record can be decoded");
    assert_eq!(reader.remaining(), 0, "{payload:x?}");
    value
}

fn request(payload: &Bytes) -> (RequestHeader, Result<Request, DecodeError>) {
    let mut reader = Reader::new(payload);
    let header = RequestHeader::read(&mut reader).expect("a request has a header");
    let op = OpCode::from_i32(header.op).expect("captured opcodes are known");
    let request = Request::read(op, &mut reader);
    if request.is_ok() {
        assert_eq!(reader.remaining(), 0, "{payload:x?}");
    }
    (header, request)
}

fn reply(op: OpCode, payload: &Bytes) -> (ReplyHeader, Option<Reply>) {
    let mut reader = Reader::new(payload);
    let header = ReplyHeader::read(&mut reader).expect("a reply has a header");
    let reply = (header.err == 0)
        .then(|| Reply::read(op, &mut reader).expect("a captured reply can be decoded"));
    assert_eq!(reader.remaining(), 0, "{op:?} {payload:x?}");
    (header, reply)
}

/// The request called `name` in the capture of the standalone server, and its reply.
fn call(name: &str) -> (Request, ReplyHeader, Option<Reply>) {
    let named: Vec<_> = capture("standalone")
        .into_iter()
        .filter(|frame| frame.name == name)
        .collect();
    let [sent, received] = &named[..] else {
        panic!("{name} is in the capture {} times", named.len());
    };
    let request = request(&sent.payload)
        .1
        .expect("only decodable requests are asked for");
    let (header, reply) = reply(request.op(), &received.payload);
    (request, header, reply)
}

fn body(name: &str) -> Reply {
    call(name).2.expect("only successful calls are asked for")
}

/// What a server says to each request of the capture, and that none of it changes by being read and written.
#[test]
fn captured_frames_are_written_as_they_were_read() {
    for (capture, text) in FRAMES {
        let mut op = None;
        for Frame {
            direction,
            name,
            payload,
        } in frames(text)
        {
            let mut written = Vec::new();
            let mut expected = without_surrogates(&payload);
            match (direction, name) {
                (Direction::ToServer, name) if name.starts_with("connect") => {
                    read::<ConnectRequest>(&payload).write(&mut written);
                }
                (Direction::FromServer, name) if name.starts_with("connect") => {
                    read::<ConnectResponse>(&payload).write(&mut written);
                }
                (Direction::FromServer, "event") => {
                    let mut reader = Reader::new(&payload);
                    let header = ReplyHeader::read(&mut reader).expect("an event has a header");
                    assert_eq!((header.xid, header.err), (xid::NOTIFICATION, 0));
                    header.write(&mut written);
                    read::<WatcherEvent>(&reader.rest()).write(&mut written);
                }
                (Direction::ToServer, _) => {
                    let (header, request) = request(&payload);
                    op = OpCode::from_i32(header.op);
                    header.write(&mut written);
                    match request {
                        Ok(request) => request.write_body(&mut written),
                        // Those that the server itself did not understand.
                        Err(_) => {
                            assert!(
                                ["undecodable", "multi-without-end", "check-alone"].contains(&name)
                            );
                            continue;
                        }
                    }
                    if name == "sync-beyond-bmp" {
                        // The client spells the character in four bytes, the server in six.
                        let at = expected.len() - 4;
                        expected.splice(at.., *b"\xed\xa0\xbd\xed\xb8\x80");
                        expected[11] += 2;
                    }
                }
                (Direction::FromServer, _) => {
                    let op = op.expect("a reply follows a request");
                    let (header, reply) = reply(op, &payload);
                    header.write(&mut written);
                    if let Some(reply) = reply {
                        reply.write_body(&mut written);
                    }
                }
            }
            assert_eq!(written, expected, "{capture} {direction:?} {name}");
        }
    }
}

/// The capture leaves out no opcode that clients send.
#[test]
fn every_request_is_in_the_capture() {
    let mut missing: Vec<_> = OpCode::ALL
        .iter()
        .filter(|op| op.is_request() && **op != OpCode::CreateSession)
        .collect();
    for frame in capture("standalone") {
        if frame.direction == Direction::ToServer
            && !frame.name.starts_with("connect")
            && let Ok(request) = request(&frame.payload).1
        {
            missing.retain(|op| **op != request.op());
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn handshakes() {
    let named = |name| {
        let frames = capture("standalone");
        let mut frames = frames.into_iter().filter(move |frame| frame.name == name);
        let mut next = || frames.next().expect("a handshake has two frames").payload;
        (
            read::<ConnectRequest>(&next()),
            read::<ConnectResponse>(&next()),
        )
    };
    let (request, response) = named("connect");
    assert_eq!(request.read_only, Some(false));
    assert_eq!(
        (response.timeout_ms, response.read_only),
        (10_000, Some(false))
    );

    let (again, response_again) = named("connect-again");
    assert_eq!(again.session, response.session);
    assert_eq!(again.password.as_deref(), Some(&response.password[..]));
    assert_eq!(
        (response_again.session, response_again.timeout_ms),
        (response.session, 4_000)
    );

    let (old_client, response) = named("connect-old-client");
    assert_eq!((old_client.read_only, response.read_only), (None, None));

    let (_, refused) = named("connect-wrong-password");
    assert_eq!(refused, ConnectResponse::invalid(Some(false)));
}

#[test]
fn creates() {
    let (request, header, reply) = call("create");
    let Request::Create(create) = request else {
        panic!("{request:?}");
    };
    assert_eq!(create.path.as_deref(), Some("/a"));
    assert_eq!(create.data.as_deref(), Some(&b"hi"[..]));
    assert_eq!((create.acl, create.flags), (Some(vec![Acl::open()]), 0));
    assert_eq!(header.zxid, Zxid(2));
    assert_eq!(reply, Some(Reply::Path(Some("/a".into()))));

    let Request::CreateTtl(ttl) = call("create-ttl").0 else {
        panic!("no createTTL");
    };
    assert_eq!((ttl.flags, ttl.ttl_ms), (5, 86_400_000));
    assert_eq!(
        body("create-sequential"),
        Reply::Path(Some("/a/s-0000000000".into()))
    );
    let Reply::PathStat(sequential) = body("create-ttl-sequential") else {
        panic!("createTTL is answered with a path and a stat");
    };
    assert_eq!(sequential.path, "/ttl-0000000006");
    assert_eq!(sequential.stat.ephemeral_owner, 0);
    assert_eq!(
        body("create-non-ascii"),
        Reply::Path(Some("/\u{e9}\u{4e2d}".into()))
    );
}

#[test]
fn failures_have_a_code_and_no_body() {
    for (name, code) in [
        ("create-again", ErrorCode::NodeExists),
        ("create-under-ephemeral", ErrorCode::NoChildrenForEphemerals),
        ("create-no-parent", ErrorCode::NoNode),
        ("create-null-acl", ErrorCode::InvalidAcl),
        ("create-bad-flags", ErrorCode::BadArguments),
        ("set-data-bad-version", ErrorCode::BadVersion),
        ("add-watch-bad-mode", ErrorCode::MarshallingError),
        ("check-watches-none", ErrorCode::NoWatcher),
        ("delete-not-empty", ErrorCode::NotEmpty),
        ("reconfig-standalone", ErrorCode::ReconfigDisabled),
        ("exists-null-path", ErrorCode::MarshallingError),
        ("auth-unknown-scheme", ErrorCode::AuthFailed),
    ] {
        let (_, header, reply) = call(name);
        assert_eq!(ErrorCode::from_i32(header.err), Some(code), "{name}");
        assert_eq!(reply, None, "{name}");
    }
}

#[test]
fn data_and_stats() {
    let data = |name| match body(name) {
        Reply::Data(data) => (data.data, data.stat),
        other => panic!("{other:?}"),
    };
    assert_eq!(data("get-data-null").0, None);
    assert_eq!(data("get-data-empty").0, Some(Bytes::new()));
    let (bytes, stat) = data("get-data-watch");
    assert_eq!(bytes.as_deref(), Some(&b"hi"[..]));
    assert_eq!(
        stat,
        Stat {
            czxid: Zxid(2),
            mzxid: Zxid(2),
            ctime: stat.ctime,
            mtime: stat.ctime,
            cversion: 3,
            data_length: 2,
            num_children: 3,
            pzxid: Zxid(8),
            ..Stat::ZERO
        }
    );
    assert_eq!(
        body("exists-root"),
        Reply::Stat(Stat {
            cversion: -1,
            num_children: 1,
            ..Stat::ZERO
        })
    );
}

#[test]
fn lists_and_numbers() {
    assert_eq!(
        body("get-children-watch"),
        Reply::Names(vec!["null".into()])
    );
    assert_eq!(body("get-ephemerals-none"), Reply::Names(Vec::new()));
    assert_eq!(body("get-all-children-number"), Reply::Int(17));
    assert_eq!(body("add-watch"), Reply::Int(0));
    assert_eq!(body("sync-null"), Reply::Path(None));
    assert_eq!(body("sasl-unconfigured"), Reply::Token(None));
    let Reply::Children(children) = body("get-children2") else {
        panic!("getChildren2 is answered with names and a stat");
    };
    assert_eq!(children.children.len(), 3);
    assert_eq!(children.stat.num_children, 3);
    let Reply::Acl(acl) = body("get-acl") else {
        panic!("getACL is answered with a list and a stat");
    };
    assert_eq!(acl.acl.len(), 4);
    assert_eq!(acl.acl[3], Acl::new(-1, "ip", "10.0.0.0/8"));
}

/// A character beyond the BMP comes in as UTF-8, and goes out as CESU-8, which no one can read back.
#[test]
fn characters_beyond_the_bmp_are_sent_as_java_sends_them() {
    let (request, _, reply) = call("sync-beyond-bmp");
    let Request::Sync(sync) = request else {
        panic!("{request:?}");
    };
    assert_eq!(sync.path.as_deref(), Some("/\u{1f600}"));
    assert_eq!(reply, Some(Reply::Path(Some("/\u{fffd}\u{fffd}".into()))));
    let captured = capture("standalone")
        .into_iter()
        .rfind(|frame| frame.name == "sync-beyond-bmp")
        .expect("the reply was captured");
    let mut written = Vec::new();
    Reply::Path(sync.path).write_body(&mut written);
    assert_eq!(written, captured.payload[16..]);

    let Reply::Identities(identities) = body("who-am-i") else {
        panic!("whoAmI is answered with identities");
    };
    let users: Vec<_> = identities
        .iter()
        .map(|info| info.user.as_deref().unwrap_or("null"))
        .collect();
    assert_eq!(users, ["127.0.0.1", "u", "\u{fffd}\u{fffd}"]);
}

#[test]
fn multis() {
    let (request, header, reply) = call("multi");
    let Request::Multi(MultiOps(ops)) = request else {
        panic!("{request:?}");
    };
    let codes = |ops: &[MultiOp]| ops.iter().map(|op| op.op().code()).collect::<Vec<_>>();
    assert_eq!(codes(&ops), [13, 1, 1, 19, 21, 1, 5, 2]);
    let Some(Reply::Multi(results)) = reply else {
        panic!("{reply:?}");
    };
    let path = |text: &str| Text::from(text);
    assert_eq!(results[0], MultiResult::Check);
    assert_eq!(results[1], MultiResult::Create(path("/m")));
    assert!(
        matches!(&results[3], MultiResult::Create2(path, stat) if path == "/m/c" && stat.czxid == header.zxid)
    );
    assert!(matches!(&results[4], MultiResult::Create2(path, _) if path == "/m/t"));
    assert!(matches!(&results[6], MultiResult::SetData(stat) if stat.version == 1));
    assert_eq!(results[7], MultiResult::Delete);
    assert_eq!(results.len(), 8);

    assert_eq!(body("multi-empty"), Reply::Multi(Vec::new()));
    assert_eq!(
        body("multi-failed"),
        Reply::Multi([0, 0, -101, -2].map(MultiResult::Error).into())
    );
    let Reply::Multi(reads) = body("multi-read") else {
        panic!("multiRead is answered with results");
    };
    assert!(matches!(&reads[0], MultiResult::GetData(Some(data), _) if data == "yo"));
    assert!(matches!(&reads[1], MultiResult::GetChildren(names) if names.len() == 3));
    assert_eq!(reads[2], MultiResult::Error(ErrorCode::NoNode.code()));
    assert!(matches!(&reads[3], MultiResult::GetData(None, _)));
}

#[test]
fn events_of_a_reconnect_have_no_transaction() {
    let frames = capture("standalone");
    let at = frames
        .iter()
        .position(|frame| frame.name == "set-watches")
        .expect("it was captured");
    let events: Vec<_> = frames[at + 1..]
        .iter()
        .take_while(|frame| frame.name == "event")
        .map(|frame| {
            let mut reader = Reader::new(&frame.payload);
            let header = ReplyHeader::read(&mut reader).expect("an event has a header");
            let event = WatcherEvent::read(&mut reader).expect("an event can be decoded");
            assert_eq!(event.state, WatcherEvent::SYNC_CONNECTED);
            (header.zxid.0, event.kind, event.path)
        })
        .collect();
    assert_eq!(
        events,
        [
            (-1, EventType::NodeDataChanged.code(), "/a".into()),
            (-1, EventType::NodeDeleted.code(), "/zz".into()),
            (-1, EventType::NodeCreated.code(), "/b".into()),
            (-1, EventType::NodeChildrenChanged.code(), "/watched".into()),
        ]
    );
}

/// A server answers them with codes that differ, so it must be able to tell them apart.
#[test]
fn an_opcode_that_is_no_request_is_not_an_undecodable_body() {
    let frames = capture("standalone");
    let sent = |name| {
        frames
            .iter()
            .find(|frame| frame.name == name && frame.direction == Direction::ToServer)
            .map(|frame| frame.payload.clone())
            .expect("it was captured")
    };
    let check = sent("check-alone");
    let (header, outcome) = request(&check);
    assert!(!OpCode::Check.is_request());
    assert_eq!(
        outcome,
        Err(DecodeError::UnexpectedValue {
            what: "opcode",
            value: header.op.into()
        })
    );
    assert_eq!(read::<CheckVersionRequest>(&check.slice(8..)).version, 0);
    assert!(matches!(
        request(&sent("undecodable")).1,
        Err(DecodeError::EndOfRecord { wanted: 9, left: 1 })
    ));
}
