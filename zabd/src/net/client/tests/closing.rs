//! How connections end: `client-protocol.md` §2, §3.4, §10; rule O2 of `semantics.md`.

use jute_codec::data::Id;
use jute_codec::proto::AuthPacket;

use super::*;

fn ends_silently(mut client: Client, what: &str) {
    assert_eq!(client.rest().expect(what), b"", "{what}");
}

#[test]
fn before_the_handshake_what_is_no_frame_closes_without_a_word() {
    let server = Server::start(NetParams::default());
    for (what, bytes) in [
        ("negative length", (-1i32).to_be_bytes().to_vec()),
        (
            "length above the limit",
            0x10_0000i32.to_be_bytes().to_vec(),
        ),
        ("unknown word", b"abcd".to_vec()),
        ("handshake without end", framed(&[0; 20])),
        ("empty handshake", framed(&[])),
        ("client ahead", connect(0, i64::MAX)),
    ] {
        let mut client = server.raw();
        client.send(&bytes);
        ends_silently(client, what);
    }
    eventually("all are forgotten", || {
        server.replica.connections.count() == 0
    });
    assert_eq!(
        server
            .stats
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[test]
fn after_the_handshake_what_is_no_request_closes_without_a_word() {
    let server = Server::start(NetParams::default());
    for (what, bytes) in [
        ("negative length", (-5i32).to_be_bytes().to_vec()),
        ("a word is a length now", b"ruok".to_vec()),
        (
            "no room for a header, and not even there",
            7i32.to_be_bytes().to_vec(),
        ),
        (
            "auth that cannot be decoded",
            request(1, OpCode::Auth.code(), &[0]),
        ),
    ] {
        let mut client = server.client();
        client.send(&bytes);
        ends_silently(client, what);
    }
}

#[test]
fn requests_ahead_of_a_broken_frame_are_carried_out() {
    let server = Server::start(NetParams::default());
    let mut client = server.client();
    let mut bytes = create(1, "/before", b"");
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    client.send(&bytes);
    client.rest().unwrap();
    let mut other = server.client();
    other.send(&get_data(1, "/before"));
    assert_eq!(other.xid_err(), (1, 0));
}

#[test]
fn announced_ends_come_with_all_replies_before_them() {
    let server = Server::start(NetParams::default());
    let auth = AuthPacket {
        kind: 0,
        scheme: Some("world".into()),
        auth: None,
    };
    for (what, last, err) in [
        ("unknown opcode", request(3, 999, &[]), -6),
        ("second handshake", connect(0, 0), -6),
        (
            "refused credential",
            request(3, OpCode::Auth.code(), &auth.to_vec()),
            -115,
        ),
        (
            "end of session",
            request(3, OpCode::CloseSession.code(), &[]),
            0,
        ),
    ] {
        let mut client = server.client();
        let mut bytes = [get_data(1, "/"), get_data(2, "/nothing")].concat();
        bytes.extend_from_slice(&last);
        // What follows is not looked at, and must not make the kernel take back what was sent.
        bytes.extend_from_slice(&create(4, "/behind", &[b'x'; 10_000]));
        client.send(&bytes);
        assert_eq!(client.xid_err(), (1, 0), "{what}");
        assert_eq!(client.xid_err(), (2, -101), "{what}");
        assert_eq!(client.xid_err().1, err, "{what}");
        ends_silently(client, what);
    }
    assert!(
        server.replica.state.read().unwrap().sessions().len() == 3,
        "one of four has ended"
    );
}

#[test]
fn a_session_that_is_not_valid_is_told_and_closed() {
    let server = Server::start(NetParams::default());
    let mut client = server.raw();
    client.send(&connect(0x77, 0));
    let response =
        ConnectResponse::read(&mut Reader::new(&client.frame().unwrap().into())).unwrap();
    assert_eq!(response, ConnectResponse::invalid(Some(false)));
    ends_silently(client, "invalid session");
}

#[test]
fn words_are_answered_and_the_connection_closes() {
    let server = Server::start(NetParams::default());
    assert_eq!(server.word(b"ruok"), b"imok");
    assert_eq!(server.word(b"ruok\r\n"), b"imok");
    assert_eq!(
        server.word(b"stmk\0\0\0\0\0\0\x01\x02more"),
        b"\0\0\0\0\0\0\x01\x02"
    );
    // In pieces, and half-closed before the answer.
    let mut client = server.raw();
    client.send(b"lo");
    server.settle();
    client.send(b"ng");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap().len(), 8 << 20);
}

#[test]
fn what_is_gone_is_forgotten() {
    let server = Server::start(NetParams::default());
    let mut client = server.client();
    client.send(&read(1, OpCode::Exists, "/a", true));
    assert_eq!(client.xid_err(), (1, -101));
    let (conn, session) = (server.only(&client).conn, server.only(&client).session);
    let heard_ms = server.replica.connections.last_heard_ms(conn).unwrap();
    assert_eq!(
        server
            .replica
            .state
            .read()
            .unwrap()
            .watches()
            .totals()
            .watches,
        1
    );
    drop(client);
    server.replica.wait_until(|inner| {
        inner.disconnected == [conn] && inner.heard == [Some((session, heard_ms))]
    });
    assert_eq!(
        server
            .replica
            .state
            .read()
            .unwrap()
            .watches()
            .totals()
            .watches,
        0
    );
    // The replica hears of it first: in between the session must not look silent.
    let is_forgotten = || server.replica.connections.last_heard_ms(conn).is_none();
    let forgotten = (0..1000).any(|_| {
        is_forgotten() || {
            std::thread::sleep(Duration::from_millis(5));
            false
        }
    });
    assert!(forgotten, "a connection that is gone is still known");
}

#[test]
fn silent_connections_without_a_session_are_closed() {
    let server = Server::start(NetParams {
        sessionless_timeout_ms: 100,
        ..NetParams::default()
    });
    let mut with_session = server.client();
    ends_silently(server.raw(), "nothing was sent");
    assert_eq!(server.stats.sessionless_connections_expired.count(), 1);
    with_session.send(&get_data(1, "/"));
    assert_eq!(with_session.xid_err(), (1, 0));
}

#[test]
fn stopping_closes_connections_with_what_they_were_told() {
    let server = Server::start(NetParams::default());
    let (mut client, raw) = (server.client(), server.raw());
    client.send(&get_data(1, "/"));
    server.settle();
    let start = Instant::now();
    server.handle.stop();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "nobody was waited for"
    );
    assert_eq!(client.xid_err(), (1, 0));
    ends_silently(client, "with a session");
    ends_silently(raw, "without");
}

#[test]
fn identities_are_addresses_as_java_writes_them() {
    let server = Server::start_on("[::]:0", NetParams::default());
    for (host, id) in [("[::1]", "0:0:0:0:0:0:0:1"), ("127.0.0.1", "127.0.0.1")] {
        let addr = format!("{host}:{}", server.addr().port()).parse().unwrap();
        let mut client = Client::to(addr);
        client.send(&[connect(0, 0), request(1, OpCode::WhoAmI.code(), &[])].concat());
        client.frame().unwrap();
        let (_, body) = client.reply();
        let found = Vec::<Id>::read(&mut Reader::new(&body.into())).unwrap();
        assert_eq!(found, [Id::new("ip", id)]);
    }
}
