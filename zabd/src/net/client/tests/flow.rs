//! The order of requests, replies and events, and back-pressure.

use jute_codec::proto::xid;

use super::*;

#[test]
fn pipelined_requests_are_answered_in_order_with_one_write() {
    let server = Server::start(NetParams::default());
    let mut client = server.client();
    let frames: Vec<u8> = (1..=50).flat_map(|xid| get_data(xid, "/")).collect();
    client.send(&frames);
    server.settle();
    // Written at once, received at once.
    let mut replies = vec![0; 1 << 20];
    let bytes = client.0.read(&mut replies).unwrap();
    let mut rest = &replies[..bytes];
    for xid in 1..=50i32 {
        let length = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
        assert_eq!(rest[4..8], xid.to_be_bytes());
        rest = &rest[4 + length..];
    }
    assert!(rest.is_empty());
}

#[test]
fn requests_behind_the_handshake_wait_for_it() {
    let server = Server::start(NetParams::default());
    server.replica.close_gate();
    let mut client = server.raw();
    client.send(&[connect(0, 0), get_data(1, "/"), create(2, "/a", b"")].concat());
    server.replica.wait_for_waiting(1);
    server.settle();
    assert!(client.is_silent());
    assert_eq!(server.replica.waiting(), 1);
    server.replica.open_gate();
    assert_eq!(client.frame().unwrap().len(), 37);
    assert_eq!(client.xid_err(), (1, 0));
    assert_eq!(client.xid_err(), (2, 0));
}

#[test]
fn a_read_waits_for_the_writes_of_its_own_session_and_for_no_others() {
    let server = Server::start(NetParams::default());
    let (mut writer, mut other) = (server.client(), server.client());
    server.replica.close_gate();
    writer.send(&[create(1, "/a", b"data"), get_data(2, "/a")].concat());
    server.replica.wait_for_waiting(1);
    other.send(&get_data(1, "/a"));
    assert_eq!(other.xid_err(), (1, -101));
    assert!(writer.is_silent());
    server.replica.open_gate();
    assert_eq!(writer.xid_err(), (1, 0));
    let (header, body) = writer.reply();
    assert_eq!((header.xid, &body[4..8]), (2, &b"data"[..]));
}

/// `EventBeforeReveal`: who sees a change has got the event of it before.
#[test]
fn events_come_before_what_they_tell_of_can_be_read() {
    let server = Server::start(NetParams::default());
    let (mut writer, mut reader) = (server.client(), server.client());
    writer.send(&create(1, "/a", b"0"));
    assert_eq!(writer.xid_err(), (1, 0));
    reader.send(&read(0, OpCode::GetData, "/a", true));
    let (_, mut known) = reader.reply();
    let writing = std::thread::spawn(move || {
        for xid in 2..2000 {
            writer.send(&set_data(xid, "/a", &xid.to_be_bytes()));
            writer.reply();
        }
    });
    let mut warned = false;
    let mut changes = 0;
    for xid in 1.. {
        let done = writing.is_finished();
        reader.send(&read(xid, OpCode::GetData, "/a", true));
        let body = loop {
            let (header, body) = reader.reply();
            if header.xid != xid::NOTIFICATION {
                break body;
            }
            warned = true;
        };
        if body != known {
            assert!(warned, "seen without an event");
            (warned, known) = (false, body);
            changes += 1;
        }
        if done {
            break;
        }
    }
    writing.join().unwrap();
    assert!(changes > 0);
}

#[test]
fn with_too_much_under_way_everybody_has_one_request_and_no_more() {
    let server = Server::start(NetParams {
        global_outstanding_limit: 4,
        ..NetParams::default()
    });
    let (mut first, mut second) = (server.client(), server.client());
    server.replica.close_gate();
    first.send(
        &(1..=10)
            .flat_map(|xid| create(xid, &format!("/first{xid}"), b""))
            .collect::<Vec<_>>(),
    );
    server.replica.wait_for_waiting(5);
    server.settle();
    assert_eq!(server.replica.waiting(), 5);
    second.send(
        &(1..=10)
            .flat_map(|xid| create(xid, &format!("/second{xid}"), b""))
            .collect::<Vec<_>>(),
    );
    server.replica.wait_for_waiting(6);
    server.settle();
    assert_eq!(server.replica.waiting(), 6);
    assert_eq!(
        server
            .stats
            .outstanding
            .load(std::sync::atomic::Ordering::Relaxed),
        6
    );
    server.replica.open_gate();
    for client in [&mut first, &mut second] {
        for xid in 1..=10 {
            assert_eq!(client.xid_err(), (xid, 0));
        }
    }
    eventually("nothing is left", || {
        server
            .stats
            .outstanding
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    });
}

#[test]
fn one_connection_has_only_so_much_under_way() {
    let server = Server::start(NetParams {
        conn_outstanding_max: 8,
        ..NetParams::default()
    });
    let mut client = server.client();
    server.replica.close_gate();
    client.send(
        &(1..=20)
            .flat_map(|xid| create(xid, &format!("/{xid}"), b""))
            .collect::<Vec<_>>(),
    );
    server.replica.wait_for_waiting(8);
    server.settle();
    assert_eq!(server.replica.waiting(), 8);
    assert_eq!(server.only(&client).stats.queued, 8);
    server.replica.open_gate();
    for xid in 1..=20 {
        assert_eq!(client.xid_err(), (xid, 0));
    }
}

/// Makes the server send so much that the client's and the kernel's buffers are full.
fn stuff(server: &Server, client: &mut Client, replies: i32) {
    client.send(&create(1, "/big", &[b'x'; 512 << 10]));
    assert_eq!(client.xid_err(), (1, 0));
    client.send(
        &(0..replies)
            .flat_map(|xid| get_data(xid, "/big"))
            .collect::<Vec<_>>(),
    );
    eventually("the client has enough", || {
        server.only(client).interest_ops & 4 != 0
    });
}

#[test]
fn a_client_that_reads_slowly_gets_everything_and_not_too_early() {
    let server = Server::start(NetParams::default());
    let mut client = server.client();
    stuff(&server, &mut client, 100);
    server.settle();
    let info = server.only(&client);
    assert!(
        info.stats.sent < 100,
        "answered without being asked to go on: {}",
        info.stats.sent
    );
    assert_eq!(info.interest_ops, 4, "nothing more is read");
    // Those that wait for the client itself keep nobody else waiting.
    assert_eq!(
        server
            .stats
            .outstanding
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    for xid in 0..100 {
        let (header, body) = client.reply();
        assert_eq!((header.xid, body.len()), (xid, 4 + (512 << 10) + 68));
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let server = Server::start(NetParams {
        outbox_bytes_max: 64 << 10,
        ..NetParams::default()
    });
    let (mut slow, mut writer) = (server.client(), server.client());
    let path = format!("/{}", "long".repeat(250));
    writer.send(&create(1, &path, b""));
    assert_eq!(writer.xid_err(), (1, 0));
    let mut watch = Vec::new();
    jute_codec::writer::write_str(&path, &mut watch);
    0i32.write(&mut watch);
    slow.send(&request(7, OpCode::AddWatch.code(), &watch));
    assert_eq!(slow.xid_err(), (7, 0));
    stuff(&server, &mut slow, 100);
    for xid in 2..=70 {
        writer.send(&set_data(xid, &path, b""));
        assert_eq!(writer.xid_err(), (xid, 0));
    }
    eventually("the slow client is cut off", || {
        server.stats.slow_clients_closed.count() == 1
    });
    eventually("the writer is left", || {
        server.replica.connections.count() == 1
    });
}

#[test]
fn figures_of_a_connection_are_those_of_cons() {
    let server = Server::start(NetParams::default());
    let mut client = server.client();
    client.send(
        &[
            create(5, "/a", b""),
            get_data(9, "/a"),
            request(-2, OpCode::Ping.code(), &[]),
        ]
        .concat(),
    );
    for _ in 0..3 {
        client.reply();
    }
    server.settle();
    let info = server.only(&client);
    let stats = &info.stats;
    assert_eq!((stats.received, stats.sent, stats.queued), (4, 4, 0));
    assert_eq!(
        (stats.last_op, stats.last_cxid, stats.last_zxid),
        ("PING", 9, 2)
    );
    assert_eq!(
        (info.timeout_ms, info.interest_ops, stats.count),
        (30_000, 1, 4)
    );
    assert_eq!(
        server.stats.update_latency.summary().count,
        2,
        "the session and the create"
    );
    assert_eq!(server.stats.read_latency.summary().count, 2);
    client.send(&request(
        11,
        OpCode::Delete.code(),
        &[0, 0, 0, 2, b'/', b'b', 0, 0, 0, 0],
    ));
    assert_eq!(client.xid_err(), (11, -101));
    server.settle();
    assert_eq!(
        server.only(&client).stats.last_op,
        "NA",
        "what failed was no operation"
    );
    server.replica.connections.reset_stats();
    assert_eq!(server.only(&client).stats, ConnStats::default());
    assert!(server.stats.packets_received.count() >= 5);
}
