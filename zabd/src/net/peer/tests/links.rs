//! Connections, and packets on them.

use super::*;

#[test]
fn packets_go_both_ways_in_order() {
    let (leader, learner, link) = pair();
    assert!(link.0 < OWN_FROM);
    for number in 0..1000 {
        leader.net.send_to_learner(link, commit(number));
        learner.net.send_to_leader(TO_LEADER, ack(number));
    }
    for number in 0..1000 {
        assert_eq!(learner.heard_leader(), commit(number));
        assert_eq!(leader.heard_learner(), ack(number));
    }
}

#[test]
fn long_packets_go_both_ways_at_once() {
    const BYTES: usize = 1 << 20;
    let (leader, learner, link) = pair();
    for number in 0..20 {
        leader
            .net
            .send_to_learner(link, proposal(number.into(), BYTES));
        leader.net.send_to_learner(link, commit(number.into()));
        learner
            .net
            .send_to_leader(TO_LEADER, request(number, BYTES));
        learner.net.send_to_leader(TO_LEADER, ack(number.into()));
    }
    for number in 0..20 {
        assert!(learner.heard_leader() == proposal(number.into(), BYTES));
        assert_eq!(learner.heard_leader(), commit(number.into()));
        assert!(leader.heard_learner() == request(number, BYTES));
        assert_eq!(leader.heard_learner(), ack(number.into()));
    }
    let figures = leader.net.figures(link).unwrap();
    assert_eq!((figures.queued_packets, figures.queued_bytes), (0, 0));
}

#[test]
fn packets_that_are_kept_keep_little_more_memory_than_they_have() {
    let (leader, learner, link) = pair();
    let mut kept = Vec::new();
    for number in 0..500 {
        leader.net.send_to_learner(link, proposal(number, 80));
        match learner.heard_leader() {
            LeaderPacket::Proposal { txn, .. } => kept.push(txn),
            other => panic!("{other:?}"),
        }
    }
    // One after another in the same memory, but for where a new piece of it begins.
    let is_behind = |pair: &[Bytes]| pair[1].as_ptr() as usize == pair[0].as_ptr() as usize + 100;
    let behind = kept.windows(2).filter(|pair| is_behind(pair)).count();
    assert!(behind > 490, "{behind} of 499");
}

#[test]
fn several_learners_are_told_apart() {
    let leader = Server::leader();
    let learners: Vec<_> = (0..3)
        .map(|number| {
            let learner = Server::start();
            let number = LinkId(OWN_FROM + number);
            learner.net.connect(number, vec![at(leader.address())]);
            learner.net.send_to_leader(number, hello());
            assert_eq!(learner.expect_up(), number);
            let link = leader.expect_up();
            leader.heard_learner();
            (learner, link)
        })
        .collect();
    for (number, (learner, link)) in (0..).zip(&learners) {
        leader.net.send_to_learner(*link, commit(number));
        assert_eq!(learner.heard_leader(), commit(number));
    }
    leader.net.close(learners[1].1);
    learners[1].0.expect_down(LinkId(OWN_FROM + 1));
    leader.net.send_to_learner(learners[2].1, commit(9));
    assert_eq!(learners[2].0.heard_leader(), commit(9));
    assert!(leader.is_quiet(), "who closes is not told");
}

#[test]
fn the_end_of_a_connection_is_told_to_the_other_side_only() {
    let (leader, learner, link) = pair();
    learner.net.close(TO_LEADER);
    leader.expect_down(link);
    assert!(learner.is_quiet());
    assert_eq!(leader.net.figures(link), None);
    // All of it is of no consequence now.
    leader.net.send_to_learner(link, commit(1));
    leader.net.set_read_timeout(link, 1);
    leader.net.close(link);
    assert!(leader.is_quiet());

    let (leader, learner, link) = pair();
    learner.net.stop();
    leader.expect_down(link);
}

#[test]
fn a_leader_that_does_not_listen_yet_is_waited_for() {
    // However long the rests are: before the full ones there are shorter ones.
    for (attempts, rest) in [
        (1000, Duration::from_millis(1)),
        (2, Duration::from_secs(3600)),
    ] {
        let leader = Server::leader();
        let address = leader.address();
        leader.net.stop();
        let learner = Server::start_with(|params| {
            params.connect_attempts = attempts;
            params.connect_rest = rest;
        });
        learner
            .net
            .connect(TO_LEADER, vec![at(dead()), at(address)]);
        learner.net.send_to_leader(TO_LEADER, hello());
        assert!(learner.is_quiet());
        let leader = Server::leader_with(|params| params.addresses = vec![at(address)]);
        assert_eq!(learner.expect_up(), TO_LEADER);
        leader.expect_up();
        assert_eq!(leader.heard_learner(), hello());
    }
}

#[test]
fn a_leader_that_is_not_there_is_given_up() {
    let refusing = Server::start_with(|params| params.connect_attempts = 3);
    refusing.net.connect(TO_LEADER, vec![at(dead())]);
    refusing.expect_down(TO_LEADER);
    refusing.net.connect(LinkId(OWN_FROM + 8), Vec::new());
    refusing.expect_down(LinkId(OWN_FROM + 8));

    let slow = Server::start_with(|params| {
        params.connect_attempts = u32::MAX;
        params.connect_budget = Duration::from_millis(100);
    });
    let began = Instant::now();
    slow.net.connect(TO_LEADER, vec![at(dead())]);
    slow.expect_down(TO_LEADER);
    assert!(began.elapsed() >= Duration::from_millis(100));

    let closed = Server::start_with(|params| params.connect_attempts = u32::MAX);
    closed.net.connect(TO_LEADER, vec![at(dead())]);
    closed.net.close(TO_LEADER);
    assert!(closed.is_quiet());
}

#[test]
fn without_listening_connections_are_refused_and_those_there_are_stay() {
    let (leader, learner, link) = pair();
    let address = leader.address();
    leader.net.listen(false);
    wait_until("the port is closed", || {
        TcpStream::connect(address).is_err()
    });
    leader.net.send_to_learner(link, commit(1));
    assert_eq!(learner.heard_leader(), commit(1));
    leader.net.listen(true);
    leader.net.listen(true);
    let (_socket, another) = socket_to(&leader);
    assert_ne!(another, link);
}

#[test]
fn the_port_is_bound_as_soon_as_it_is_free_and_free_after_a_stop() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let leader = Server::start_with(|params| params.addresses = vec![at(address)]);
    leader.net.listen(true);
    assert!(leader.is_quiet());
    assert!(leader.net.local_addrs().is_empty());
    drop(taken);
    assert_eq!(leader.address(), address);
    leader.net.stop();
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_silent_side_is_given_up_in_its_time() {
    let (leader, learner, link) = pair();
    leader.net.set_read_timeout(link, 0);
    learner.net.set_read_timeout(TO_LEADER, 0);
    assert!(leader.is_quiet());
    leader.net.set_read_timeout(link, 500);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(40));
        learner.net.send_to_leader(TO_LEADER, ack(1));
        assert_eq!(leader.heard_learner(), ack(1));
    }
    leader.expect_down(link);
    learner.expect_down(TO_LEADER);
}

#[test]
fn links_work_over_ipv6() {
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    if TcpListener::bind(v6).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let leader = Server::leader_with(|params| params.addresses = vec![at(v6)]);
    let (leader, learner, link) = pair_of(leader, Server::start());
    leader.net.send_to_learner(link, commit(1));
    assert_eq!(learner.heard_leader(), commit(1));
    assert!(leader.net.figures(link).unwrap().remote.unwrap().is_ipv6());
}
