//! Servers on real sockets, and peers made of bare ones.

mod calls;
mod hostile;
mod pairs;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use jute_codec::Zxid;
use jute_codec::quorum::{InitialMessage, Notification, PeerAddress, PeerState};
use tokio::runtime::Handle;

use super::*;
use crate::net::gate::Gate;
use crate::replica::ensemble::{HostPort, ServerId};

/// Nothing that the tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One thread for all servers, as in the daemon.
static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

#[derive(Default)]
struct Inbox {
    messages: Mutex<Vec<(ServerId, Notification)>>,
    changed: Condvar,
}

struct Server {
    id: i64,
    net: ElectionNet,
    inbox: Arc<Inbox>,
    gate: Arc<Gate>,
}

impl Server {
    fn start(id: i64) -> Self {
        Self::start_with(id, |_| {})
    }

    fn start_with(id: i64, adjust: impl FnOnce(&mut ElectionParams)) -> Self {
        let mut params = ElectionParams::new(ServerId(id), vec![local(0)]);
        params.bind_attempts = 1;
        adjust(&mut params);
        let inbox = Arc::new(Inbox::default());
        let gate = Arc::new(Gate::default());
        let on_message: OnMessage = {
            let inbox = Arc::clone(&inbox);
            Arc::new(move |from, notification| {
                inbox.messages.lock().unwrap().push((from, notification));
                inbox.changed.notify_all();
            })
        };
        let net = ElectionNet::start(params, &RUNTIME, Arc::clone(&gate), on_message).unwrap();
        Self {
            id,
            net,
            inbox,
            gate,
        }
    }

    fn address(&self) -> SocketAddr {
        self.net.local_addrs()[0]
    }

    fn send(&self, to: i64, round: i64) {
        self.net.send(ServerId(to), &vote(round));
    }

    /// Waits for a message from `from` in round `round`, whatever else comes.
    fn wait_for(&self, from: i64, round: i64) {
        let messages = self.inbox.messages.lock().unwrap();
        let here = |messages: &mut Vec<(ServerId, Notification)>| {
            !messages.iter().any(|(sender, notification)| {
                *sender == ServerId(from) && notification.election_epoch == round
            })
        };
        let (messages, timeout) = self
            .inbox
            .changed
            .wait_timeout_while(messages, PATIENCE, here)
            .unwrap();
        let heard: Vec<_> = messages
            .iter()
            .map(|(from, notification)| (from.0, notification.election_epoch))
            .collect();
        assert!(
            !timeout.timed_out(),
            "{} waits for {from} in round {round}, and has heard {heard:?}",
            self.id
        );
    }

    fn rounds_from(&self, from: i64) -> Vec<i64> {
        let messages = self.inbox.messages.lock().unwrap();
        messages
            .iter()
            .filter(|(sender, _)| *sender == ServerId(from))
            .map(|(_, notification)| notification.election_epoch)
            .collect()
    }

    /// A call as the server `id`, which has said that it can be called back at `addresses`.
    fn called_by(&self, id: i64, addresses: &[SocketAddr]) -> Peer {
        let mut peer = Peer::connect(self.address());
        peer.0.write_all(&initial(id, addresses)).unwrap();
        peer
    }

    fn wait_for_connected(&self, servers: &[i64]) {
        wait_until(&format!("{} is connected to {servers:?}", self.id), || {
            let connected = self.net.connected();
            connected
                .keys()
                .map(|server| server.0)
                .eq(servers.iter().copied())
        });
    }
}

/// A peer made of a bare socket.
struct Peer(TcpStream);

impl Peer {
    fn connect(to: SocketAddr) -> Self {
        Self::of(TcpStream::connect(to).unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, round: i64) {
        let mut frame = Vec::new();
        vote(round).write_frame(&mut frame);
        self.0.write_all(&frame).unwrap();
    }

    /// The next message's round.
    fn hear(&mut self) -> i64 {
        self.try_hear().unwrap()
    }

    fn try_hear(&mut self) -> io::Result<i64> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Notification::decode(&payload.into())
            .unwrap()
            .election_epoch)
    }

    /// Reads what the caller says first.
    fn initial(&mut self) -> InitialMessage {
        let mut bytes = bytes::BytesMut::new();
        while InitialMessage::missing(&bytes).unwrap() > 0 {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            bytes.extend_from_slice(&byte);
        }
        InitialMessage::take(&mut bytes).unwrap().unwrap()
    }

    /// Waits until the other side has closed the connection, and says what it has sent before.
    fn wait_for_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("the connection is still there: {error}"),
        }
    }

    fn is_open(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        match peeked {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn local(port: u16) -> HostPort {
    at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn at(address: SocketAddr) -> HostPort {
    HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(listener: &TcpListener) -> Peer {
    Peer::of(listener.accept().unwrap().0)
}

/// Accepts a connection within a time that is long for this machine and short for a test.
fn nobody_calls(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let accepted = listener.accept();
    listener.set_nonblocking(false).unwrap();
    accepted.is_err()
}

/// An address that refuses connections.
fn dead() -> SocketAddr {
    listen().1
}

fn initial(id: i64, addresses: &[SocketAddr]) -> Vec<u8> {
    let addresses = addresses.iter().map(|address| PeerAddress {
        host: address.ip().to_string(),
        port: address.port(),
    });
    let mut bytes = Vec::new();
    InitialMessage {
        server: id,
        addresses: addresses.collect(),
    }
    .write(&mut bytes);
    bytes
}

fn vote(round: i64) -> Notification {
    Notification {
        state: PeerState::Looking,
        leader: 1,
        zxid: Zxid(0x1_0000_0002),
        election_epoch: round,
        peer_epoch: 1,
        version: 2,
        members: Some("server.1=127.0.0.1:1:2:participant\nversion=0".into()),
        proposed: None,
    }
}

fn members<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Addresses {
    servers
        .into_iter()
        .map(|server| (ServerId(server.id), vec![at(server.address())]))
        .collect()
}

fn member(id: i64, address: SocketAddr) -> Addresses {
    Addresses::from([(ServerId(id), vec![at(address)])])
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
