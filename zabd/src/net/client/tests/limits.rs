//! Limits on connections and requests: rules M1 to M6 of `semantics.md`.

use super::*;
use crate::net::throttle::ThrottleParams;

#[test]
fn connections_from_one_address_are_limited() {
    let server = Server::start(NetParams {
        conns_per_address_max: 2,
        ..NetParams::default()
    });
    let (first, _second) = (server.client(), server.client());
    assert_eq!(server.raw().rest().unwrap(), b"");
    assert_eq!(server.stats.connections_rejected.count(), 1);
    drop(first);
    eventually("there is room again", || {
        let mut client = server.raw();
        client.send(b"ruok");
        client.rest().is_ok_and(|answer| answer == b"imok")
    });
}

#[test]
fn all_connections_are_limited() {
    let params = NetParams {
        conns_per_address_max: 0,
        conns_max: 1,
        ..NetParams::default()
    };
    let server = Server::start(params);
    let _first = server.client();
    assert_eq!(server.raw().rest().unwrap(), b"");
}

#[test]
fn handshakes_are_throttled() {
    let connection_throttle = ThrottleParams {
        tokens: 1,
        fill_time_ms: u32::MAX,
        ..ThrottleParams::default()
    };
    let server = Server::start(NetParams {
        connection_throttle,
        ..NetParams::default()
    });
    let _first = server.client();
    let mut second = server.raw();
    second.send(&connect(0, 0));
    assert_eq!(second.rest().unwrap(), b"");
    assert_eq!(server.stats.connections_rejected.count(), 1);
}

#[test]
fn large_requests_share_a_budget() {
    let params = NetParams {
        large_request_threshold: Some(500),
        large_request_bytes_max: 1000,
        ..NetParams::default()
    };
    let server = Server::start(params);
    let (mut first, mut second) = (server.client(), server.client());
    server.replica.close_gate();
    first.send(&create(1, "/a", &[b'x'; 600]));
    server.replica.wait_for_waiting(1);
    second.send(&create(1, "/b", &[b'x'; 600]));
    assert_eq!(second.rest().unwrap(), b"");
    assert_eq!(server.stats.large_requests_rejected.count(), 1);
    server.replica.open_gate();
    assert_eq!(first.xid_err(), (1, 0));
    // Its room is free again.
    for xid in 2..5 {
        first.send(&create(xid, &format!("/a{xid}"), &[b'x'; 600]));
        assert_eq!(first.xid_err(), (xid, 0));
    }
}

fn request_throttle() -> NetParams {
    NetParams {
        request_throttle_max_requests: 1,
        request_throttle_stall_ms: 5,
        ..NetParams::default()
    }
}

#[test]
fn requests_wait_while_too_many_are_under_way() {
    let server = Server::start(request_throttle());
    let (mut first, mut second) = (server.client(), server.client());
    server.replica.close_gate();
    first.send(&[create(1, "/a", b""), create(2, "/b", b"")].concat());
    server.replica.wait_for_waiting(1);
    second.send(&get_data(1, "/"));
    eventually("both wait", || {
        server.stats.request_throttle_waits.count() > 6
    });
    assert!(second.is_silent());
    assert_eq!(server.replica.waiting(), 1);
    server.replica.open_gate();
    assert_eq!(second.xid_err(), (1, 0));
    assert_eq!((first.xid_err(), first.xid_err()), ((1, 0), (2, 0)));
}

#[test]
fn requests_that_waited_too_long_are_refused() {
    let server = Server::start(NetParams {
        throttled_op_wait_ms: 5,
        ..request_throttle()
    });
    let (mut first, mut second) = (server.client(), server.client());
    server.replica.close_gate();
    first.send(&create(1, "/a", b""));
    server.replica.wait_for_waiting(1);
    second.send(&[get_data(1, "/"), request(-2, OpCode::Ping.code(), &[])].concat());
    eventually("it waits long", || {
        server.stats.request_throttle_waits.count() > 6
    });
    server.replica.open_gate();
    assert_eq!(second.xid_err(), (1, -127));
    assert_eq!(second.xid_err(), (-2, 0), "pings are never refused");
    second.send(&get_data(2, "/"));
    assert_eq!(second.xid_err(), (2, 0));
    assert_eq!(server.stats.throttled_ops.count(), 1);
}

#[test]
fn requests_of_a_client_that_left_while_they_waited_are_dropped() {
    let server = Server::start(request_throttle());
    let (mut first, mut second) = (server.client(), server.client());
    server.replica.close_gate();
    first.send(&create(1, "/a", b""));
    server.replica.wait_for_waiting(1);
    second.send(&create(1, "/b", b""));
    let gone = server.only(&second).conn;
    eventually("it waits", || {
        server.stats.request_throttle_waits.count() > 0
    });
    drop(second);
    server
        .replica
        .wait_until(|inner| inner.disconnected == [gone]);
    server.replica.open_gate();
    assert_eq!(first.xid_err(), (1, 0));
    first.send(&get_data(2, "/b"));
    assert_eq!(first.xid_err(), (2, -101));
}
