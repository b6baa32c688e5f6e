//! Servers that are killed while they take over a leader's snapshot and the log behind it: they come back with what they had.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::BytesMut;
use jute_codec::Jute as _;
use jute_codec::quorum::{PacketDecoder, PacketKind};
use zabd_tests::ensemble::{Ensemble, Place, ask, create_request, free_port, read};
use zabd_tests::servers::Setup;

const NODES: usize = 50;

const PATIENCE: Duration = Duration::from_secs(30);

/// The end of a snapshot on the wire.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// What stands before the quorum port of a server.
struct Gate {
    port: u16,
    /// A snapshot gets through, and the log behind it; NEWLEADER does not.
    holds: AtomicBool,
    /// So many NEWLEADERs were held up.
    held: AtomicUsize,
}

impl Gate {
    fn before(quorum_port: u16) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let gate = Arc::new(Self {
            port: listener.local_addr()?.port(),
            holds: AtomicBool::new(true),
            held: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for learner in listener.incoming().flatten() {
                let gate = Arc::clone(&shared);
                thread::spawn(move || {
                    if let Some(leader) = reach(quorum_port) {
                        gate.join(learner, leader);
                    }
                });
            }
        });
        Ok(gate)
    }

    fn join(self: &Arc<Self>, learner: TcpStream, leader: TcpStream) {
        for stream in [&learner, &leader] {
            stream.set_nodelay(true).unwrap();
        }
        let (mut from, mut to) = (learner.try_clone().unwrap(), leader.try_clone().unwrap());
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Both).ok();
        });
        let gate = Arc::clone(self);
        thread::spawn(move || {
            let (mut leader, mut learner) = (leader, learner);
            gate.pass(&mut leader, &mut learner).ok();
            for stream in [leader, learner] {
                stream.shutdown(Shutdown::Both).ok();
            }
        });
    }

    /// What a leader says, packet by packet.
    fn pass(&self, leader: &mut TcpStream, learner: &mut TcpStream) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut decoder = PacketDecoder::new(1 << 20);
        loop {
            let Some(packet) = decoder.take(&mut buffer).map_err(io::Error::other)? else {
                read_more(leader, &mut buffer)?;
                continue;
            };
            let kind = PacketKind::from_i32(packet.kind);
            if kind == Some(PacketKind::NewLeader) && self.holds.load(Ordering::SeqCst) {
                self.held.fetch_add(1, Ordering::SeqCst);
                // Until one of them is gone.
                return io::copy(leader, &mut io::sink()).map(drop);
            }
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            learner.write_all(&bytes)?;
            while kind == Some(PacketKind::Snap) {
                let found = buffer
                    .windows(SIGNATURE.len())
                    .position(|window| window == SIGNATURE);
                if let Some(at) = found {
                    learner.write_all(&buffer.split_to(at + SIGNATURE.len()))?;
                    break;
                }
                // The signature may have begun.
                let whole = buffer.len().saturating_sub(SIGNATURE.len());
                learner.write_all(&buffer.split_to(whole))?;
                read_more(leader, &mut buffer)?;
            }
        }
    }
}

/// Who does not lead does not listen, and who is about to lead will. A learner whose connection is refused tries again, one
/// whose connection ends does not.
fn reach(quorum_port: u16) -> Option<TcpStream> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, quorum_port)) {
            Ok(leader) => return Some(leader),
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(10)),
            Err(_) => return None,
        }
    }
}

fn read_more(from: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    let mut bytes = [0; 16 << 10];
    match from.read(&mut bytes)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        read => {
            buffer.extend_from_slice(&bytes[..read]);
            Ok(())
        }
    }
}

/// Puts gates before the quorum ports of servers that are down.
fn put_gates(ensemble: &Ensemble, quorum_ports: &[u16]) -> anyhow::Result<Vec<Arc<Gate>>> {
    let gates = quorum_ports.iter().map(|port| Gate::before(*port));
    let gates = gates.collect::<anyhow::Result<Vec<_>>>()?;
    for number in ensemble.all() {
        let config = ensemble.server(number).data_dir().with_file_name("zoo.cfg");
        let mut text = fs::read_to_string(&config)?;
        for other in ensemble.all().into_iter().filter(|other| *other != number) {
            let (direct, gate) = (quorum_ports[other], gates[other].port);
            let (from, to) = (format!("127.0.0.1:{direct}:"), format!("127.0.0.1:{gate}:"));
            ensure!(text.contains(&from), "{text}");
            text = text.replace(&from, &to);
        }
        fs::write(&config, text)?;
    }
    Ok(gates)
}

fn kill_while_two_take_over() -> anyhow::Result<()> {
    // Everybody gets a snapshot, even who needs none.
    let mut setup = Setup::default().property("zookeeper.forceSnapshotSync", "true");
    setup.keeps_file = true;
    let (mut places, mut quorum_ports) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let [client, quorum, election] = [free_port()?, free_port()?, free_port()?];
        quorum_ports.push(quorum);
        places.push(Place {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, client)),
            member: format!("127.0.0.1:{quorum}:{election}"),
            namespace: None,
        });
    }
    let mut ensemble = Ensemble::prepare(3, &places, setup)?;
    ensemble.launch()?;
    let outcome = (|| {
        let leader = ensemble.leader()?;
        let mut client = ensemble.client(leader)?;
        for number in 0..NODES {
            ask(&mut client, &create_request(&format!("/n{number}"), "", 0))?;
        }
        for number in ensemble.all() {
            ensemble.kill(number)?;
        }
        let gates = put_gates(&ensemble, &quorum_ports)?;
        for number in ensemble.all() {
            ensemble.spawn(number)?;
        }
        let until = Instant::now() + PATIENCE;
        let is_held = |gate: &Arc<Gate>| gate.held.load(Ordering::SeqCst) == 2;
        let leader = loop {
            if let Some(leader) = gates.iter().position(is_held) {
                break leader;
            }
            ensure!(Instant::now() < until, "nobody is sent NEWLEADER");
            sleep(Duration::from_millis(10));
        };
        // Both have the snapshot, and what is behind it.
        let learners: Vec<usize> = ensemble
            .all()
            .into_iter()
            .filter(|n| *n != leader)
            .collect();
        for learner in &learners {
            let staged = ensemble
                .server(*learner)
                .data_dir()
                .join("zabd/log.received");
            while fs::read_dir(&staged).is_ok_and(|mut names| names.next().is_none())
                || !staged.exists()
            {
                ensure!(Instant::now() < until, "server {learner} stages nothing");
                sleep(Duration::from_millis(10));
            }
        }
        for number in ensemble.all() {
            ensemble.kill(number)?;
        }
        ensemble.erase(leader)?;
        for gate in &gates {
            gate.holds.store(false, Ordering::SeqCst);
        }
        for learner in &learners {
            ensemble.spawn(*learner)?;
        }
        ensemble.wait_until_serving(&learners)?;
        let mut client = ensemble.client(learners[0])?;
        for number in 0..NODES {
            let path = format!("/n{number}");
            let found = read(&mut client, &path)?;
            found.with_context(|| format!("{path} is gone"))?;
        }
        for learner in &learners {
            let root = ensemble.server(*learner).data_dir().join("zabd");
            for name in ["incomplete", "received"] {
                ensure!(!root.join(name).exists(), "{name} of server {learner}");
            }
        }
        Ok(())
    })();
    outcome.with_context(|| ensemble.last_words())
}

/// With the one server lost that had all of it, the others are a quorum, and have everything that was acknowledged.
#[test]
fn servers_killed_before_new_leader_have_what_they_had() {
    if let Err(problem) = kill_while_two_take_over() {
        panic!("{problem:?}");
    }
}
