//! A server that is left alone and serves those who only read: the same story, word by word, by zabd and by Apache
//! ZooKeeper. The latter is left out, with a word about why, where it cannot be run; fails then if `CI` is set.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::proto::{ConnectRequest, ConnectResponse, CreateFlags, PathRequest, Request};
use jute_codec::{Jute, Reader, SessionId, Zxid};
use zabd_tests::ensemble::{Ensemble, ask, create_request, read, read_request};
use zabd_tests::raw::{RawClient, Received, connect_request, four_letter_word};
use zabd_tests::servers::{Implementation, Setup, apache_unavailable};

const TIMEOUT_MS: i32 = 15_000;

const PATIENCE: Duration = Duration::from_secs(5);

/// How long a change of the ensemble may take.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);

/// The server that is left alone.
const KEPT: usize = 0;

struct Story {
    ensemble: Ensemble,
    told: String,
}

impl Story {
    fn of(implementation: Implementation, local_sessions: bool) -> anyhow::Result<String> {
        let setup = Setup::default()
            .key("localSessionsEnabled", &local_sessions.to_string())
            .property("readonlymode.enabled", "true")
            .property("zookeeper.4lw.commands.whitelist", "*");
        let mut story = Self {
            ensemble: Ensemble::start_of(&[implementation; 3], 3, setup)?,
            told: String::new(),
        };
        story.tell().with_context(|| story.ensemble.last_words())?;
        Ok(story.told)
    }

    fn tell(&mut self) -> anyhow::Result<()> {
        writeln!(self.told, "isro: {}", self.word(b"isro")?)?;
        let address = self.ensemble.server(KEPT).address();
        let (mut client, before) = RawClient::connect(address, TIMEOUT_MS)?;
        ask(&mut client, &create_request("/kept", "value", 0))?;
        // A session that all servers know of has an ephemeral node in any case.
        let (mut owner, global) = RawClient::connect(address, TIMEOUT_MS)?;
        let own = owner.request(&create_request("/own", "", CreateFlags::Ephemeral as i32))?;
        let newest = own.header.zxid;
        for other in 1..3 {
            self.ensemble.kill(other)?;
        }
        self.wait_for("ro")?;
        self.words()?;
        self.handshakes(&before, newest)?;
        let is_global = own.header.err == 0;
        if is_global {
            let request = again(&global, Some(true));
            self.connect("with a session of before, reading", &request)?;
        }
        self.reader(newest)?;

        let (mut reader, session) = self.read_only_session()?;
        self.ensemble.spawn(1)?;
        self.wait_for("rw")?;
        let outcome = reader.receive(Instant::now() + PATIENCE)?;
        let closes = matches!(outcome, Received::Closed(_));
        writeln!(self.told, "the reader is sent away: {closes}")?;
        self.connect("with the reader's session", &again(&session, Some(true)))?;
        let mut client = self.ensemble.client(KEPT)?;
        ensure!(read(&mut client, "/kept")?.is_some(), "/kept went");
        ask(&mut client, &create_request("/later", "", 0)).map(drop)
    }

    fn word(&self, word: &[u8]) -> anyhow::Result<String> {
        let answer = four_letter_word(self.ensemble.server(KEPT).address(), word, PATIENCE)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Waits until `isro` says so.
    fn wait_for(&mut self, mode: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + CHANGE_PATIENCE;
        while self.word(b"isro").unwrap_or_default() != mode {
            ensure!(Instant::now() < deadline, "never {mode}");
            sleep(Duration::from_millis(20));
        }
        Ok(writeln!(self.told, "isro: {mode}")?)
    }

    fn words(&mut self) -> anyhow::Result<()> {
        let is_shown = |line: &&str| {
            [
                "READ-ONLY",
                "Mode",
                "zk_server_state",
                "zk_peer_state",
                "peerType",
                "membership",
            ]
            .iter()
            .any(|start| line.starts_with(start))
        };
        for word in ["srvr", "stat", "mntr", "conf"] {
            let answer = self.word(word.as_bytes())?;
            for line in answer.lines().filter(is_shown) {
                writeln!(self.told, "{word}: {line}")?;
            }
        }
        Ok(())
    }

    fn handshakes(&mut self, before: &ConnectResponse, newest: Zxid) -> anyhow::Result<()> {
        let new = |read_only, last_zxid_seen| ConnectRequest {
            read_only,
            last_zxid_seen,
            ..connect_request(TIMEOUT_MS)
        };
        self.connect("writing", &new(Some(false), Zxid::ZERO))?;
        self.connect("as of old", &new(None, Zxid::ZERO))?;
        self.connect("ahead", &new(Some(true), Zxid(newest.0 + 1)))?;
        self.connect(
            "with a session of before, writing",
            &again(before, Some(false)),
        )?;
        let unknown = ConnectRequest {
            session: SessionId(0x0500_0000_0000_0007),
            ..new(Some(true), Zxid::ZERO)
        };
        self.connect("with a wrong password", &unknown)
    }

    /// A handshake, and what comes of it.
    fn connect(&mut self, what: &str, request: &ConnectRequest) -> anyhow::Result<()> {
        let mut client = RawClient::open(self.ensemble.server(KEPT).address())?;
        client.send_frame(&request.to_vec())?;
        let outcome = match client.receive(Instant::now() + PATIENCE)? {
            Received::Closed(_) => "is closed".to_owned(),
            Received::Nothing => bail!("{what}: no answer"),
            Received::Frame(frame) => {
                let answer = ConnectResponse::read(&mut Reader::new(&frame))?;
                let is_new = answer.session != SessionId::NONE;
                format!("session {is_new}, read-only {:?}", answer.read_only)
            }
        };
        Ok(writeln!(self.told, "{what}: {outcome}")?)
    }

    fn read_only_session(&self) -> anyhow::Result<(RawClient, ConnectResponse)> {
        let mut client = RawClient::open(self.ensemble.server(KEPT).address())?;
        let request = ConnectRequest {
            read_only: Some(true),
            ..connect_request(TIMEOUT_MS)
        };
        let response = client.handshake(&request)?;
        ensure!(
            response.timeout_ms == TIMEOUT_MS && response.read_only == Some(true),
            "{response:?}"
        );
        Ok((client, response))
    }

    fn reader(&mut self, newest: Zxid) -> anyhow::Result<()> {
        let (mut client, session) = self.read_only_session()?;
        let node = read(&mut client, "/kept")?.context("/kept is not there")?;
        writeln!(self.told, "/kept: {:?}", node.data)?;
        let path = Some("/".into());
        for (what, request) in [
            ("watching", read_request("/kept", true)),
            ("ping", Request::Ping),
            ("create", create_request("/new", "", 0)),
            (
                "ephemeral",
                create_request("/new", "", CreateFlags::Ephemeral as i32),
            ),
            ("sync", Request::Sync(PathRequest { path })),
        ] {
            let reply = client.request(&request).with_context(|| what.to_owned())?;
            let at_newest = reply.header.zxid == newest;
            writeln!(
                self.told,
                "{what}: {}, at the newest {at_newest}",
                reply.header.err
            )?;
        }
        self.connect("with the reader's session", &again(&session, Some(true)))?;
        let outcome = client.receive(Instant::now() + PATIENCE)?;
        let closes = matches!(outcome, Received::Closed(_));
        writeln!(self.told, "its former connection is closed: {closes}")?;

        let (mut client, session) = self.read_only_session()?;
        let reply = client.request(&Request::CloseSession)?;
        let at_newest = reply.header.zxid == newest;
        writeln!(
            self.told,
            "close: {}, at the newest {at_newest}",
            reply.header.err
        )?;
        self.connect("with a closed session", &again(&session, Some(true)))
    }
}

fn again(session: &ConnectResponse, read_only: Option<bool>) -> ConnectRequest {
    ConnectRequest {
        session: session.session,
        password: Some(Bytes::copy_from_slice(&session.password)),
        read_only,
        ..connect_request(TIMEOUT_MS)
    }
}

const EXPECTED: &str = "isro: rw
isro: ro
srvr: READ-ONLY mode; serving only read-only clients
srvr: Mode: read-only
stat: READ-ONLY mode; serving only read-only clients
stat: Mode: read-only
mntr: zk_server_state\tread-only
conf: peerType=0
writing: is closed
as of old: is closed
ahead: is closed
with a session of before, writing: is closed
with a wrong password: session false, read-only Some(true)
/kept: Some(b\"value\")
watching: 0, at the newest true
ping: 0, at the newest true
create: -119, at the newest true
ephemeral: -119, at the newest true
sync: -119, at the newest true
with the reader's session: session true, read-only Some(true)
its former connection is closed: true
close: 0, at the newest true
with a closed session: session false, read-only Some(true)
isro: rw
the reader is sent away: true
with the reader's session: session false, read-only Some(false)
";

#[test]
fn a_server_left_alone_serves_readers() {
    let told = Story::of(Implementation::Zabd, true).expect("zabd tells it");
    assert_eq!(told, EXPECTED, "zabd tells: {told}");
    if let Some(why) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return eprintln!("without Apache ZooKeeper: {why}");
    }
    let told = Story::of(Implementation::Apache, true).expect("Apache ZooKeeper tells it");
    assert_eq!(told, EXPECTED, "Apache ZooKeeper tells: {told}");
}

/// Where Apache ZooKeeper gives readers an answer that none of them understands.
#[test]
fn readers_are_served_where_sessions_are_known_to_all() {
    let told = Story::of(Implementation::Zabd, false).expect("zabd tells it");
    let with_global = EXPECTED.replace(
        "/kept: ",
        "with a session of before, reading: is closed\n/kept: ",
    );
    assert_eq!(told, with_global, "zabd tells: {told}");
}
