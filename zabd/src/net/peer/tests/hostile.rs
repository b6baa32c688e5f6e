//! Peers that are slow, silent, or talk nonsense.

use super::*;

#[test]
fn who_says_nothing_that_can_be_understood_is_not_heard_of() {
    let leader = Server::leader();
    let (mut good, _link) = socket_to(&leader);
    let mut long_data = bytes_of(&hello());
    long_data[12..16].copy_from_slice(&2000i32.to_be_bytes());
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 40],
        // What only leaders say.
        bytes_of(&commit(1)),
        long_data,
        // An acknowledged epoch without the epoch.
        [&18i32.to_be_bytes()[..], &[0; 8], &[0xff; 8]].concat(),
    ] {
        let mut socket = patient(TcpStream::connect(leader.address()).unwrap());
        socket.write_all(&bytes).unwrap();
        assert_eq!(rest_of(socket), b"", "{bytes:?}");
    }
    let half = TcpStream::connect(leader.address()).unwrap();
    drop(half);
    assert!(leader.is_quiet());
    good.write_all(&bytes_of(&ack(1))).unwrap();
    assert_eq!(leader.heard_learner(), ack(1));
}

#[test]
fn silent_callers_keep_nobody_out_and_are_closed_in_time() {
    let leader = Server::leader_with(|params| {
        params.unfinished_max = 4;
        params.initial_timeout = Duration::from_millis(200);
    });
    let silent: Vec<_> = (0..20)
        .map(|number| {
            let mut socket = patient(TcpStream::connect(leader.address()).unwrap());
            socket.write_all(&bytes_of(&hello())[..number]).unwrap();
            socket
        })
        .collect();
    let (_good, _link) = socket_to(&leader);
    for socket in silent {
        assert_eq!(rest_of(socket), b"");
    }
}

#[test]
fn learners_are_bounded() {
    let leader = Server::leader_with(|params| params.learners_max = 2);
    let (_first, link) = socket_to(&leader);
    let (_second, _) = socket_to(&leader);
    let mut third = patient(TcpStream::connect(leader.address()).unwrap());
    third.write_all(&bytes_of(&hello())).unwrap();
    assert_eq!(rest_of(third), b"");
    assert!(leader.is_quiet());
    leader.net.close(link);
    let (_fourth, _) = socket_to(&leader);
}

#[test]
fn nonsense_later_on_ends_the_connection() {
    for bytes in [
        // Data of a length that cannot be.
        [&2i32.to_be_bytes()[..], &[0; 8], &i32::MAX.to_be_bytes()].concat(),
        [&2i32.to_be_bytes()[..], &[0; 8], &(-2i32).to_be_bytes()].concat(),
        // More ids than there can be.
        [
            &3i32.to_be_bytes()[..],
            &[0; 8],
            &[0xff; 4],
            &i32::MAX.to_be_bytes(),
        ]
        .concat(),
        // A question for a session, without the session.
        [&6i32.to_be_bytes()[..], &[0; 8], &[0xff; 8]].concat(),
    ] {
        let leader = Server::leader();
        let (mut socket, link) = socket_to(&leader);
        socket.write_all(&bytes).unwrap();
        leader.expect_down(link);
        assert_eq!(rest_of(socket), b"");

        let learner = Server::start();
        let mut socket = led_by_socket(&learner);
        socket.write_all(&bytes).unwrap();
        learner.expect_down(TO_LEADER);
    }
}

#[test]
fn packets_of_unknown_type_are_passed_over() {
    let leader = Server::leader();
    let (mut socket, _link) = socket_to(&leader);
    let mut unknown = bytes_of(&ack(1));
    unknown[..4].copy_from_slice(&99i32.to_be_bytes());
    socket.write_all(&unknown).unwrap();
    socket.write_all(&bytes_of(&commit(1))).unwrap();
    socket.write_all(&bytes_of(&ack(2))).unwrap();
    assert_eq!(leader.heard_learner(), ack(2));
}

#[test]
fn a_packet_is_cut_off_by_the_end_of_its_connection() {
    let leader = Server::leader();
    let (mut socket, link) = socket_to(&leader);
    let bytes = bytes_of(&request(1, 1000));
    socket.write_all(&bytes[..900]).unwrap();
    drop(socket);
    leader.expect_down(link);
}

#[test]
fn a_learner_that_cannot_follow_is_cut_off() {
    for (bytes_max, packets_max) in [(1 << 20, usize::MAX), (usize::MAX, 50)] {
        let leader = Server::leader_with(|params| {
            params.queue_bytes_max = bytes_max;
            params.queue_packets_max = packets_max;
        });
        let (socket, link) = socket_to(&leader);
        let txn = data(1, 100_000);
        let mut sent = 0;
        while let Some(figures) = leader.net.figures(link) {
            assert!(figures.queued_bytes <= bytes_max);
            assert!(figures.queued_packets <= packets_max);
            let zxid = Zxid(sent);
            let txn = txn.clone();
            leader
                .net
                .send_to_learner(link, LeaderPacket::Proposal { zxid, txn });
            sent += 1;
            assert!(sent < 10_000, "a gigabyte fits into no socket");
            std::thread::sleep(Duration::from_micros(100));
        }
        leader.expect_down(link);
        drop(socket);
    }
}

#[test]
fn one_packet_may_be_longer_than_the_queue() {
    let leader = Server::leader_with(|params| params.queue_bytes_max = 10);
    let (leader, learner, link) = pair_of(leader, Server::start());
    leader.net.send_to_learner(link, proposal(1, 1 << 20));
    assert!(learner.heard_leader() == proposal(1, 1 << 20));
}

#[test]
fn a_connection_that_cannot_take_more_does_not_hold_up_another() {
    let leader = Server::leader();
    let (_stuck, stuck) = socket_to(&leader);
    let (leader, learner, link) = pair_of(leader, Server::start());
    for number in 0..100 {
        leader.net.send_to_learner(stuck, proposal(number, 1 << 20));
        leader.net.send_to_learner(link, commit(number));
    }
    for number in 0..100 {
        assert_eq!(learner.heard_leader(), commit(number));
    }
    assert!(leader.net.figures(stuck).unwrap().queued_packets > 50);
}

#[test]
fn nothing_is_read_while_the_gate_is_closed() {
    let leader = Server::leader();
    let (mut socket, link) = socket_to(&leader);
    leader.net.set_read_timeout(link, 50);
    leader.gate.close();
    socket.set_nonblocking(true).unwrap();
    let packets = bytes_of(&ack(5)).repeat(1000);
    let mut sent = 0;
    wait_until("the socket is full", || {
        let mut write = || {
            // From where the last one stopped within a packet.
            let written = socket.write(&packets[sent % 20..]);
            written.map(|bytes| sent += bytes)
        };
        while write().is_ok() {}
        std::thread::sleep(Duration::from_millis(100));
        write().is_err()
    });
    let mut early = 0;
    while leader.inputs.try_recv().is_ok() {
        early += 1;
    }
    assert!(early <= 1, "{early} packets were handed on");
    leader.net.set_read_timeout(link, 0);
    leader.gate.open();
    for _ in early..sent / 20 {
        assert_eq!(leader.heard_learner(), ack(5));
    }
}

#[test]
fn bytes_come_as_they_come() {
    let learner = Server::start();
    let mut socket = led_by_socket(&learner);
    let mut bytes = Vec::new();
    for number in 0..20 {
        bytes.extend(bytes_of(&proposal(number, 50)));
        bytes.extend(bytes_of(&commit(number)));
    }
    for byte in bytes.chunks(3) {
        socket.write_all(byte).unwrap();
    }
    for number in 0..20 {
        assert_eq!(learner.heard_leader(), proposal(number, 50));
        assert_eq!(learner.heard_leader(), commit(number));
    }
    learner.net.send_to_leader(TO_LEADER, ack(3));
    let mut buffer = BytesMut::zeroed(20);
    socket.read_exact(&mut buffer).unwrap();
    let packet: QuorumPacket = PacketDecoder::default().take(&mut buffer).unwrap().unwrap();
    assert_eq!(LearnerPacket::from_record(packet).unwrap(), Some(ack(3)));
}
