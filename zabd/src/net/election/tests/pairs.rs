//! Servers among themselves.

use super::*;

/// Whether each pair has one connection, made by the server with the greater id.
fn is_whole(servers: &[Server]) -> bool {
    let all: Vec<_> = servers
        .iter()
        .map(|server| server.net.connected())
        .collect();
    servers.iter().zip(&all).all(|(server, connected)| {
        connected.len() == servers.len() - 1
            && servers.iter().zip(&all).all(|(other, others)| {
                if other.id == server.id {
                    return true;
                }
                let (Some(ends), Some(other_ends)) = (
                    connected.get(&ServerId(other.id)),
                    others.get(&ServerId(server.id)),
                ) else {
                    return false;
                };
                let callee = if server.id > other.id {
                    ends.remote
                } else {
                    ends.local
                };
                let smaller = if server.id > other.id { other } else { server };
                ends.local == other_ends.remote
                    && ends.remote == other_ends.local
                    && callee == smaller.address()
            })
    })
}

#[test]
fn each_pair_keeps_the_connection_that_the_greater_id_has_made() {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in ORDERS {
        let servers = [3, 1, 2].map(Server::start);
        for server in &servers {
            server.net.set_members(members(&servers), Addresses::new());
        }
        for from in order {
            for to in &servers {
                if to.id != servers[from].id {
                    servers[from].send(to.id, servers[from].id);
                }
            }
        }
        for server in &servers {
            for other in &servers {
                if other.id != server.id {
                    server.wait_for(other.id, other.id);
                }
            }
        }
        wait_until("each pair has its connection", || is_whole(&servers));
        for server in &servers {
            assert!(server.net.has_delivered());
        }
        // It stays as it is.
        servers[order[0]].net.connect_all();
        std::thread::sleep(Duration::from_millis(20));
        assert!(is_whole(&servers), "{order:?}");
    }
}

#[test]
fn connecting_to_all_needs_no_message() {
    for caller in [0, 1] {
        let servers = [1, 2].map(Server::start);
        for server in &servers {
            server.net.set_members(members(&servers), Addresses::new());
        }
        servers[caller].net.connect_all();
        wait_until("the pair has its connection", || is_whole(&servers));
        assert!(!servers[caller].net.has_delivered(), "there was no message");
    }
}

#[test]
fn a_server_that_comes_back_elsewhere_is_connected_again_and_told_the_last_message() {
    for (stays, restarts) in [(1, 2), (2, 1)] {
        let staying = Server::start(stays);
        let server = Server::start(restarts);
        let set_members = |server: &Server| {
            let all = members([&staying, server]);
            server.net.set_members(all.clone(), Addresses::new());
            staying.net.set_members(all, Addresses::new());
        };
        set_members(&server);
        server.send(stays, 1);
        staying.wait_for(restarts, 1);
        staying.send(restarts, 7);
        server.wait_for(stays, 7);
        server.net.stop();
        staying.wait_for_connected(&[]);

        let server = Server::start(restarts);
        set_members(&server);
        server.send(stays, 2);
        staying.wait_for(restarts, 2);
        server.wait_for(stays, 7);
        staying.send(restarts, 8);
        server.wait_for(stays, 8);
        server.send(stays, 3);
        staying.wait_for(restarts, 3);
    }
}

#[test]
fn a_port_is_free_once_its_server_has_stopped() {
    let server = Server::start(1);
    let peer = server.called_by(2, &[dead()]);
    server.wait_for_connected(&[2]);
    let address = server.address();
    server.net.stop();
    let again = Server::start_with(1, |params| params.addresses = vec![at(address)]);
    assert_eq!(again.address(), address);
    drop(peer);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (_listener, address) = listen();
    let mut params = ElectionParams::new(ServerId(1), vec![at(address)]);
    params.bind_attempts = 2;
    let began = Instant::now();
    let error = ElectionNet::start(
        params,
        &RUNTIME,
        Arc::new(Gate::default()),
        Arc::new(|_, _| {}),
    )
    .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(began.elapsed() >= Duration::from_secs(1), "it tried twice");
}

#[test]
fn servers_meet_over_ipv6() {
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    if TcpListener::bind(v6).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let servers = [1, 2].map(|id| Server::start_with(id, |params| params.addresses = vec![at(v6)]));
    for server in &servers {
        server.net.set_members(members(&servers), Addresses::new());
    }
    // The smaller one's address travels in its call.
    servers[1]
        .net
        .set_members(Addresses::new(), Addresses::new());
    servers[0].send(2, 5);
    servers[1].wait_for(1, 5);
    assert!(is_whole(&servers));
}
