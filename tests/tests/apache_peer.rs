//! The ports between servers, with Apache ZooKeeper at the other end: it elects and leads, and this side follows.
//!
//! Skipped, with a word about why, where Apache ZooKeeper cannot be run; fails then if `CI` is set.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jute_codec::Zxid;
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{LeaderPacket, LearnerInfo, LearnerPacket, Notification, PeerState};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use zabd::net::election::{ElectionNet, ElectionParams};
use zabd::net::gate::Gate;
use zabd::net::peer::{BulkSink, OWN_FROM, PeerNet, PeerParams, Taken};
use zabd::replica::ensemble::{HostPort, ServerId};
use zabd::replica::zab::{LinkId, ZabInput};
use zabd_tests::servers::{apache_java, apache_unavailable};

const PATIENCE: Duration = Duration::from_secs(60);

/// The id of the Apache server.
const APACHE: ServerId = ServerId(2);

/// The end of a snapshot on the wire.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

fn is_skipped() -> bool {
    let Some(why) = apache_unavailable() else {
        return false;
    };
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    true
}

/// A thread that everything of this side runs on.
struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// An Apache server of an ensemble of two, of which it is the only one that runs.
struct Apache {
    child: Child,
    directory: PathBuf,
    quorum: HostPort,
    election: HostPort,
    members: String,
}

impl Apache {
    /// Starts it, with this side as the server `me` and its election port.
    fn start(me: ServerId, election_port: u16) -> Self {
        let directory =
            std::env::temp_dir().join(format!("zabd-apache-peer-{}-{}", std::process::id(), me.0));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("myid"), format!("{APACHE}\n")).unwrap();
        // Held together, so that they differ.
        let listeners = [0; 4].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        let [quorum, election, client, ours] = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let servers = BTreeMap::from([
            (APACHE, format!("127.0.0.1:{quorum}:{election}:participant")),
            (me, format!("127.0.0.1:{ours}:{election_port}:participant")),
        ]);
        let servers: String = servers
            .iter()
            .map(|(server, address)| format!("server.{server}={address}\n"))
            .collect();
        let config = directory.join("zoo.cfg");
        let text = format!(
            "dataDir={}\nclientPort={client}\ntickTime=500\ninitLimit=20\nsyncLimit=10\n{servers}",
            directory.display()
        );
        fs::write(&config, text).unwrap();
        let child = apache_java()
            .unwrap()
            // A snapshot even for who needs none.
            .arg("-Dzookeeper.forceSnapshotSync=true")
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            quorum: local(quorum),
            election: local(election),
            members: format!("{servers}version=0"),
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// This side's election port.
struct Election {
    net: ElectionNet,
    heard: mpsc::Receiver<(ServerId, Notification)>,
}

impl Election {
    fn start(me: ServerId, runtime: &Runtime) -> Self {
        let (sender, heard) = mpsc::channel();
        let net = ElectionNet::start(
            ElectionParams::new(me, vec![local(0)]),
            &runtime.handle,
            Arc::new(Gate::default()),
            Arc::new(move |from, notification| drop(sender.send((from, notification)))),
        )
        .unwrap();
        Self { net, heard }
    }

    fn port(&self) -> u16 {
        self.net.local_addrs()[0].port()
    }

    /// Votes until an answer is one that is wanted.
    fn vote_until(
        &self,
        apache: &Apache,
        vote: &Notification,
        wanted: impl Fn(&Notification) -> bool,
    ) -> Notification {
        let here = BTreeMap::from([(APACHE, vec![apache.election.clone()])]);
        self.net.set_members(here, BTreeMap::new());
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.net.send(APACHE, vote);
            let pause = Instant::now() + Duration::from_millis(500);
            while let Ok((from, notification)) = self
                .heard
                .recv_timeout(pause.saturating_duration_since(Instant::now()))
            {
                assert_eq!(from, APACHE);
                if wanted(&notification) {
                    return notification;
                }
            }
        }
        panic!("Apache ZooKeeper has not answered");
    }
}

fn local(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

/// A vote for the Apache server in a round that it cannot have come to by itself.
fn vote(apache: &Apache) -> Notification {
    Notification {
        state: PeerState::Looking,
        leader: APACHE.0,
        zxid: Zxid(0),
        election_epoch: 77,
        peer_epoch: 0,
        version: 2,
        members: Some(apache.members.as_str().into()),
        proposed: None,
    }
}

/// Takes a snapshot by its end.
struct UntilSignature(mpsc::Sender<usize>, usize);

impl BulkSink for UntilSignature {
    fn take(&mut self, bytes: &[u8]) -> io::Result<Taken> {
        let at = bytes
            .windows(SIGNATURE.len())
            .position(|window| window == SIGNATURE);
        let Some(at) = at else {
            // The signature may have begun.
            let taken = bytes.len().saturating_sub(SIGNATURE.len());
            self.1 += taken;
            return Ok(Taken::More(taken));
        };
        self.0.send(self.1 + at).unwrap();
        Ok(Taken::End(at + SIGNATURE.len()))
    }

    fn abort(self: Box<Self>) {}
}

#[test]
fn apache_answers_a_server_with_a_greater_id() {
    if is_skipped() {
        return;
    }
    let runtime = Runtime::start();
    let me = ServerId(3);
    let election = Election::start(me, &runtime);
    let apache = Apache::start(me, election.port());
    let answer = election.vote_until(&apache, &vote(&apache), |answer| {
        answer.election_epoch == 77
    });
    assert_eq!((answer.version, answer.peer_epoch), (2, 0));
    assert_eq!(answer.members, Some(apache.members.as_str().into()));
    let ends = election.net.connected()[&APACHE];
    assert_eq!(ends.remote.port(), apache.election.port, "it was called");
    election.net.stop();
}

#[test]
fn apache_calls_back_and_leads_a_server_with_a_smaller_id() {
    if is_skipped() {
        return;
    }
    let runtime = Runtime::start();
    let me = ServerId(1);
    let election = Election::start(me, &runtime);
    let apache = Apache::start(me, election.port());
    let leads = |answer: &Notification| answer.state == PeerState::Leading;
    let answer = election.vote_until(&apache, &vote(&apache), leads);
    assert_eq!((answer.leader, answer.election_epoch), (APACHE.0, 77));
    let ends = election.net.connected()[&APACHE];
    assert_eq!(ends.local.port(), election.port(), "it has called back");

    let link = LinkId(OWN_FROM);
    let (sender, inputs) = mpsc::channel();
    let peers = PeerNet::new(
        PeerParams::new(Vec::new()),
        &runtime.handle,
        Arc::new(Gate::default()),
        Arc::new(move |inputs| {
            for input in inputs.drain(..) {
                drop(sender.send(input));
            }
        }),
    );
    let next = || match inputs.recv_timeout(PATIENCE).unwrap() {
        ZabInput::FromLeader { packet, .. } => packet,
        other => panic!("no packet came, but {other:?}"),
    };
    peers.connect(link, vec![apache.quorum.clone()]);
    assert!(matches!(
        inputs.recv_timeout(PATIENCE).unwrap(),
        ZabInput::LinkUp { .. }
    ));
    let info = LearnerInfo {
        server: me.0,
        protocol_version: PROTOCOL_VERSION,
        config_version: 0,
    };
    let hello = LearnerPacket::FollowerInfo {
        accepted_epoch: Zxid(0),
        info: Some(info),
    };
    peers.send_to_leader(link, hello);
    let epoch = Zxid(1 << 32);
    let protocol_version = PROTOCOL_VERSION;
    assert_eq!(
        next(),
        LeaderPacket::LeaderInfo {
            epoch,
            protocol_version
        }
    );
    let ack_epoch = LearnerPacket::AckEpoch {
        zxid: Zxid(0),
        current_epoch: 0,
    };
    peers.send_to_leader(link, ack_epoch);
    assert_eq!(next(), LeaderPacket::Snap { zxid: Zxid(0) });
    let (sender, snapshot) = mpsc::channel();
    peers.receive_snapshot(link, Box::new(UntilSignature(sender, 0)));
    let bytes = snapshot.recv_timeout(PATIENCE).unwrap();
    assert!(bytes > 100, "a tree has some nodes from the first day");
    assert!(matches!(next(), LeaderPacket::NewLeader { epoch: found, .. } if found == epoch));
    peers.send_to_leader(link, LearnerPacket::Ack { zxid: epoch });
    loop {
        match next() {
            LeaderPacket::UpToDate => break,
            LeaderPacket::Ping { zxid } => assert_eq!(zxid, epoch),
            other => panic!("{other:?}"),
        }
    }
    peers.stop();
    election.net.stop();
}
