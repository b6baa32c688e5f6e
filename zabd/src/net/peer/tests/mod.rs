//! Leaders and learners on real sockets, and peers made of bare ones.

mod bulk;
mod hostile;
mod links;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{LeaderPacket, LearnerInfo, LearnerPacket, PacketDecoder, QuorumPacket};
use jute_codec::{SessionId, Zxid};
use tokio::runtime::Handle;

use super::*;
use crate::net::gate::Gate;
use crate::replica::ensemble::HostPort;
use crate::replica::zab::{LinkId, ZabInput};

/// Nothing that the tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The number of all connections that the tests ask for, but for a few.
const TO_LEADER: LinkId = LinkId(OWN_FROM + 7);

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

struct Server {
    net: PeerNet,
    inputs: mpsc::Receiver<ZabInput>,
    gate: Arc<Gate>,
}

impl Server {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(adjust: impl FnOnce(&mut PeerParams)) -> Self {
        let mut params = PeerParams::new(vec![at((Ipv4Addr::LOCALHOST, 0).into())]);
        params.connect_rest = Duration::from_millis(5);
        adjust(&mut params);
        let (sender, inputs) = mpsc::channel();
        let gate = Arc::new(Gate::default());
        let on_inputs: OnInputs = Arc::new(move |inputs| {
            for input in inputs.drain(..) {
                drop(sender.send(input));
            }
        });
        let net = PeerNet::new(params, &RUNTIME, Arc::clone(&gate), on_inputs);
        Self { net, inputs, gate }
    }

    fn leader() -> Self {
        Self::leader_with(|_| {})
    }

    fn leader_with(adjust: impl FnOnce(&mut PeerParams)) -> Self {
        let leader = Self::start_with(adjust);
        leader.net.listen(true);
        leader.address();
        leader
    }

    fn address(&self) -> SocketAddr {
        wait_until("the port is bound", || !self.net.local_addrs().is_empty());
        self.net.local_addrs()[0]
    }

    fn next(&self) -> ZabInput {
        self.inputs
            .recv_timeout(PATIENCE)
            .expect("something happens")
    }

    fn expect_up(&self) -> LinkId {
        match self.next() {
            ZabInput::LinkUp { link } => link,
            other => panic!("no connection came up, but {other:?}"),
        }
    }

    fn expect_down(&self, expected: LinkId) {
        match self.next() {
            ZabInput::LinkDown { link } => assert_eq!(link, expected),
            other => panic!("no connection ended, but {other:?}"),
        }
    }

    fn heard_learner(&self) -> LearnerPacket {
        match self.next() {
            ZabInput::FromLearner { packet, .. } => packet,
            other => panic!("no learner spoke, but {other:?}"),
        }
    }

    fn heard_leader(&self) -> LeaderPacket {
        match self.next() {
            ZabInput::FromLeader { packet, .. } => packet,
            other => panic!("no leader spoke, but {other:?}"),
        }
    }

    fn is_quiet(&self) -> bool {
        self.inputs.recv_timeout(Duration::from_millis(50)).is_err()
    }
}

/// A leader, a learner, and the leader's number for their connection.
fn pair() -> (Server, Server, LinkId) {
    pair_of(Server::leader(), Server::start())
}

fn pair_of(leader: Server, learner: Server) -> (Server, Server, LinkId) {
    learner.net.connect(TO_LEADER, vec![at(leader.address())]);
    assert_eq!(learner.expect_up(), TO_LEADER);
    learner.net.send_to_leader(TO_LEADER, hello());
    let link = leader.expect_up();
    assert_eq!(leader.heard_learner(), hello());
    (leader, learner, link)
}

/// A learner whose leader is a bare socket.
fn led_by_socket(learner: &Server) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    learner.net.connect(TO_LEADER, vec![at(address)]);
    let socket = patient(listener.accept().unwrap().0);
    assert_eq!(learner.expect_up(), TO_LEADER);
    socket
}

/// A bare socket that has introduced itself to a leader.
fn socket_to(leader: &Server) -> (TcpStream, LinkId) {
    let mut socket = patient(TcpStream::connect(leader.address()).unwrap());
    socket.write_all(&bytes_of(&hello())).unwrap();
    let link = leader.expect_up();
    assert_eq!(leader.heard_learner(), hello());
    (socket, link)
}

fn patient(socket: TcpStream) -> TcpStream {
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Waits until the other side has closed the connection, and says what it has sent before.
fn rest_of(mut socket: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("the connection is still there: {error}"),
    }
}

fn hello() -> LearnerPacket {
    LearnerPacket::FollowerInfo {
        accepted_epoch: Zxid(0x3_0000_0000),
        info: Some(LearnerInfo {
            server: 2,
            protocol_version: PROTOCOL_VERSION,
            config_version: 0,
        }),
    }
}

fn ack(number: i64) -> LearnerPacket {
    LearnerPacket::Ack { zxid: Zxid(number) }
}

fn commit(number: i64) -> LeaderPacket {
    LeaderPacket::Commit { zxid: Zxid(number) }
}

fn proposal(number: i64, bytes: usize) -> LeaderPacket {
    LeaderPacket::Proposal {
        zxid: Zxid(number),
        txn: data(number, bytes),
    }
}

fn request(number: i32, bytes: usize) -> LearnerPacket {
    LearnerPacket::Request {
        session: SessionId(5),
        cxid: number,
        op: 1,
        body: data(number.into(), bytes),
        ids: Some(Vec::new()),
    }
}

/// Bytes that are easily told from others.
fn data(number: i64, bytes: usize) -> Bytes {
    number
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(bytes)
        .collect()
}

trait Packet {
    fn bytes(&self) -> Vec<u8>;
}

impl Packet for LeaderPacket {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl Packet for LearnerPacket {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn bytes_of(packet: &impl Packet) -> Vec<u8> {
    packet.bytes()
}

fn at(address: SocketAddr) -> HostPort {
    HostPort {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

/// An address that refuses connections.
fn dead() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
