//! One server, and bare sockets that call it or are called.

use super::*;

#[test]
fn a_smaller_caller_is_called_back_where_it_says_it_is() {
    let server = Server::start(5);
    let (advertised, address) = listen();
    let (configured, configured_address) = listen();
    server
        .net
        .set_members(member(3, configured_address), Addresses::new());
    let mut caller = server.called_by(3, &[address]);
    assert_eq!(caller.wait_for_end(), b"");
    let mut called = accept(&advertised);
    let initial = called.initial();
    assert_eq!(initial.server, 5);
    let own = server.address();
    assert_eq!(initial.addresses.len(), 1);
    assert_eq!(initial.addresses[0].to_string(), own.to_string());
    called.say(9);
    server.wait_for(3, 9);
    assert!(nobody_calls(&configured));
}

#[test]
fn a_stranger_is_called_back_and_answered_and_then_forgotten() {
    let server = Server::start(5);
    let (advertised, address) = listen();
    drop(server.called_by(3, &[address]));
    let mut called = accept(&advertised);
    called.initial();
    server.wait_for_connected(&[3]);
    server.send(3, 1);
    assert_eq!(called.hear(), 1);
    drop(called);
    server.wait_for_connected(&[]);
    // Nobody knows where it is now.
    server.send(3, 2);
    assert!(nobody_calls(&advertised));
    drop(server.called_by(3, &[address]));
    let mut called = accept(&advertised);
    called.initial();
    server.wait_for_connected(&[3]);
    server.send(3, 3);
    assert_eq!(called.hear(), 3, "what was said to it before is gone");
}

#[test]
fn a_caller_that_cannot_be_called_where_it_says_is_called_where_it_should_be() {
    let (configured, address) = listen();
    let wildcard: SocketAddr = "0.0.0.0:1".parse().unwrap();
    for bytes in [
        initial(3, &[dead()]),
        initial(3, &[wildcard]),
        initial(3, &[]),
    ] {
        for proposed in [false, true] {
            let server = Server::start(5);
            let (here, nowhere) = (member(3, address), Addresses::new());
            match proposed {
                true => server.net.set_members(nowhere, here),
                false => server.net.set_members(here, nowhere),
            }
            Peer::connect(server.address()).0.write_all(&bytes).unwrap();
            assert_eq!(accept(&configured).initial().server, 5);
        }
    }
}

#[test]
fn a_greater_caller_replaces_the_connection_it_had() {
    let server = Server::start(1);
    server.net.set_members(member(2, dead()), Addresses::new());
    let mut first = server.called_by(2, &[dead()]);
    server.wait_for_connected(&[2]);
    server.send(2, 1);
    server.send(2, 2);
    while first.hear() != 2 {}
    let mut second = server.called_by(2, &[dead()]);
    assert_eq!(second.hear(), 2, "the last message comes again");
    first.wait_for_end();
    server.send(2, 3);
    assert_eq!(second.hear(), 3);
    second.say(4);
    server.wait_for(2, 4);
    server.wait_for_connected(&[2]);
}

#[test]
fn a_server_with_a_greater_id_is_called_and_left_to_call_back() {
    let (listener, address) = listen();
    let server = Server::start(1);
    server.net.set_members(member(2, address), Addresses::new());
    server.send(2, 7);
    let mut called = accept(&listener);
    let initial = called.initial();
    assert_eq!(initial.server, 1);
    assert_eq!(called.wait_for_end(), b"");
    assert!(!server.net.has_delivered());
    let back: SocketAddr = initial.addresses[0].to_string().parse().unwrap();
    let mut peer = Peer::connect(back);
    peer.0.write_all(&super::initial(2, &[address])).unwrap();
    assert_eq!(peer.hear(), 7);
    assert!(server.net.has_delivered());
}

#[test]
fn only_the_newest_message_waits() {
    let server = Server::start(1);
    let (listener, address) = listen();
    server.net.set_members(member(2, address), Addresses::new());
    for round in 1..=5 {
        server.send(2, round);
    }
    let mut peer = server.called_by(2, &[address]);
    assert_eq!(peer.hear(), 5);
    server.send(2, 6);
    assert_eq!(peer.hear(), 6);
    drop(listener);
}

#[test]
fn one_call_at_a_time_is_made_to_a_server() {
    let (listener, address) = listen();
    let server = Server::start(5);
    server.net.set_members(member(3, address), Addresses::new());
    for round in 0..50 {
        server.send(3, round);
        server.net.connect_all();
    }
    let mut peer = accept(&listener);
    peer.initial();
    wait_until("the newest message is there", || peer.hear() == 49);
    assert!(nobody_calls(&listener));
}

#[test]
fn the_membership_in_force_is_asked_before_the_proposed_one() {
    let (committed, committed_address) = listen();
    let (proposed, proposed_address) = listen();
    let server = Server::start(5);
    server
        .net
        .set_members(member(3, committed_address), member(3, proposed_address));
    server.send(3, 1);
    let mut first = accept(&committed);
    first.initial();
    assert_eq!(first.hear(), 1);
    assert!(nobody_calls(&proposed));
    drop((first, committed));
    server.wait_for_connected(&[]);
    server.send(3, 2);
    let mut second = accept(&proposed);
    second.initial();
    assert_eq!(second.hear(), 2);
}

#[test]
fn several_addresses_are_told_and_tried() {
    let (listener, address) = listen();
    let [first, second] = [1, 2].map(|_| dead());
    let server = Server::start_with(5, |params| {
        params.addresses = vec![local(0), local(0)];
        params.multi_address = true;
    });
    let several = vec![at(first), at(second), at(address)];
    server
        .net
        .set_members(Addresses::from([(ServerId(3), several)]), Addresses::new());
    server.send(3, 1);
    let initial = accept(&listener).initial();
    let told: Vec<_> = initial.addresses.iter().map(ToString::to_string).collect();
    let own: Vec<_> = server
        .net
        .local_addrs()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told, own);
    assert_eq!(own.len(), 2);
    for address in server.net.local_addrs() {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn callers_without_a_name_get_one_each() {
    let server = Server::start(5);
    let mut peers = [0, 1].map(|_| server.called_by(i64::MAX, &[dead()]));
    server.wait_for_connected(&[-2, -1]);
    for (round, peer) in (1..).zip(&mut peers) {
        peer.say(round);
    }
    wait_until("both were heard", || {
        server.rounds_from(-1).len() == 1 && server.rounds_from(-2).len() == 1
    });
    let first = server.rounds_from(-1)[0];
    server.send(-1, 10);
    let index = if first == 1 { 0 } else { 1 };
    assert_eq!(peers[index].hear(), 10);
    drop(peers);
    server.wait_for_connected(&[]);
}
