//! Peers that are slow, silent, or talk nonsense.

use jute_codec::quorum::notification::FRAME_BYTES_MAX;

use super::*;

/// The first bytes of version `version` from the server 9 with `length` bytes of addresses, of which these are sent.
fn raw_initial(version: i64, length: i32, addresses: &[u8]) -> Vec<u8> {
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend_from_slice(&9i64.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(addresses);
    bytes
}

#[test]
fn nonsense_as_the_first_bytes_costs_that_connection_only() {
    let server = Server::start(1);
    let mut good = server.called_by(2, &[dead()]);
    server.wait_for_connected(&[2]);
    for bytes in [
        raw_initial(-65_537, 3, b"a:1"),
        raw_initial(-1, 3, b"a:1"),
        raw_initial(-65_536, 0, b""),
        raw_initial(-65_536, -1, b""),
        raw_initial(-65_536, 2049, &[b'a'; 2049]),
        raw_initial(-65_536, i32::MAX, b"a:1"),
        raw_initial(-65_536, 3, b"a:x"),
        raw_initial(-65_535, 7, b"a:1|b:x"),
        raw_initial(-65_536, 3, b"\xff\xfe\xfd"),
        // This server's own id, and one that only this server gives out.
        initial(1, &[dead()]),
        initial(-1, &[dead()]),
        b"GET / HTTP/1.1\r\n\r\n\xff\xff"
            .map(|byte| byte | 0x80)
            .to_vec(),
    ] {
        let mut peer = Peer::connect(server.address());
        // The server may close before all is written.
        drop(peer.0.write_all(&bytes));
        assert_eq!(peer.wait_for_end(), b"", "{bytes:?}");
    }
    good.say(1);
    server.wait_for(2, 1);
    server.wait_for_connected(&[2]);
}

#[test]
fn the_first_bytes_may_come_one_by_one_and_with_a_message_behind() {
    let server = Server::start(1);
    let mut bytes = initial(2, &[dead()]);
    vote(3).write_frame(&mut bytes);
    let mut peer = Peer::connect(server.address());
    peer.0.set_nodelay(true).unwrap();
    for byte in bytes {
        peer.0.write_all(&[byte]).unwrap();
    }
    server.wait_for(2, 3);
}

#[test]
fn a_bad_frame_ends_its_connection_only() {
    let server = Server::start(1);
    let mut good = server.called_by(2, &[dead()]);
    let longest = i32::try_from(FRAME_BYTES_MAX).unwrap();
    for length in [0, -1, i32::MIN, longest + 1, i32::MAX] {
        let mut bad = server.called_by(3, &[dead()]);
        bad.say(1);
        bad.0.write_all(&length.to_be_bytes()).unwrap();
        bad.wait_for_end();
    }
    server.wait_for_connected(&[2]);
    good.say(1);
    server.wait_for(2, 1);
}

#[test]
fn a_message_that_says_nothing_is_passed_over() {
    let server = Server::start(1);
    let mut peer = server.called_by(2, &[dead()]);
    for payload in [&[7][..], &[0; 27], &[9; 40], &[0xff; 100]] {
        let length = u32::try_from(payload.len()).unwrap();
        peer.0.write_all(&length.to_be_bytes()).unwrap();
        peer.0.write_all(payload).unwrap();
    }
    peer.say(4);
    server.wait_for(2, 4);
    assert_eq!(server.rounds_from(2), [4]);
}

#[test]
fn the_longest_message_gets_through() {
    let server = Server::start(1);
    let mut peer = server.called_by(2, &[dead()]);
    server.wait_for_connected(&[2]);
    let mut longest = vote(6);
    let text = "x".repeat(FRAME_BYTES_MAX - 44);
    longest.members = Some(text.as_str().into());
    let mut frame = Vec::new();
    longest.write_frame(&mut frame);
    assert_eq!(frame.len(), FRAME_BYTES_MAX + 4);
    peer.0.write_all(&frame).unwrap();
    server.wait_for(2, 6);
    server.net.send(ServerId(2), &longest);
    assert_eq!(peer.hear(), 6);
    longest.members = Some(format!("{text}x").as_str().into());
    longest.election_epoch = 7;
    server.net.send(ServerId(2), &longest);
    server.send(2, 8);
    assert_eq!(peer.hear(), 8, "one that no receiver takes is not sent");
}

#[test]
fn silent_callers_keep_nobody_out() {
    let server = Server::start_with(1, |params| params.unfinished_max = 4);
    let mut silent: Vec<_> = (0..20)
        .map(|number| {
            let mut peer = Peer::connect(server.address());
            let bytes = initial(3, &[dead()]);
            peer.0.write_all(&bytes[..number % bytes.len()]).unwrap();
            peer
        })
        .collect();
    let mut good = server.called_by(2, &[dead()]);
    good.say(1);
    server.wait_for(2, 1);
    for peer in &mut silent[..16] {
        peer.wait_for_end();
    }
    assert!(silent[17..].iter().all(Peer::is_open));
}

#[test]
fn a_caller_that_does_not_say_who_it_is_is_closed_in_time() {
    let server = Server::start_with(1, |params| {
        params.handshake_timeout = Duration::from_millis(50);
    });
    let mut good = server.called_by(2, &[dead()]);
    let mut silent = Peer::connect(server.address());
    let mut half = Peer::connect(server.address());
    half.0.write_all(&initial(3, &[dead()])[..13]).unwrap();
    silent.wait_for_end();
    half.wait_for_end();
    // Once it has said it, it may be silent for ever.
    assert!(good.is_open());
    good.say(1);
    server.wait_for(2, 1);
}

#[test]
fn a_peer_that_does_not_read_misses_all_but_the_newest() {
    const LAST: i64 = 200;
    let server = Server::start(1);
    let mut peer = server.called_by(2, &[dead()]);
    server.wait_for_connected(&[2]);
    let text = "x".repeat(400 << 10);
    for round in 1..=LAST {
        let mut message = vote(round);
        message.members = Some(text.as_str().into());
        server.net.send(ServerId(2), &message);
        // Time for the connection to take what its buffers hold.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!server.net.has_delivered());
    let mut heard = Vec::new();
    while heard.last() != Some(&LAST) {
        heard.push(peer.hear());
    }
    assert!(heard.len() < 100, "80 MB were not kept: {heard:?}");
    assert!(heard.is_sorted());
}

#[test]
fn nothing_is_read_while_the_gate_is_closed() {
    let server = Server::start(1);
    let mut peer = server.called_by(2, &[dead()]);
    peer.say(1);
    server.wait_for(2, 1);
    server.gate.close();
    peer.say(2);
    // What the reader had in its hands may still come.
    peer.0.set_nonblocking(true).unwrap();
    let mut frame = Vec::new();
    vote(3).write_frame(&mut frame);
    let frames = frame.repeat(1000);
    let mut sent = 0;
    wait_until("the peer cannot send any more", || {
        let mut write = || {
            // From where the last one stopped within a frame.
            let written = peer.0.write(&frames[sent % frame.len()..]);
            written.map(|bytes| sent += bytes)
        };
        while write().is_ok() {}
        std::thread::sleep(Duration::from_millis(100));
        write().is_err()
    });
    assert!(sent > frames.len());
    assert!(server.rounds_from(2).len() <= 2);
    server.gate.open();
    wait_until("all is heard", || {
        server.rounds_from(2).len() >= 2 + sent / frame.len()
    });
}

#[test]
fn strangers_are_bounded() {
    let server = Server::start_with(1, |params| params.strangers_max = 3);
    server.net.set_members(member(99, dead()), Addresses::new());
    let _kept: Vec<_> = (2..5).map(|id| server.called_by(id, &[dead()])).collect();
    server.wait_for_connected(&[2, 3, 4]);
    for id in [5, i64::MAX] {
        server.called_by(id, &[dead()]).wait_for_end();
    }
    let _again = server.called_by(3, &[dead()]);
    let _member = server.called_by(99, &[dead()]);
    server.wait_for_connected(&[2, 3, 4, 99]);
}
