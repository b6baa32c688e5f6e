//! Three servers with their states on a network that loses nothing, one message after the other.

mod local;
mod moved;
mod read_only;
mod unknown;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::{Acl, Id, perms};
use jute_codec::proto::{
    ConnectRequest, CreateFlags, CreateRequest, PathRequest, ReplyHeader, Request,
};
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::TxnEntry;
use jute_codec::{ErrorCode, Jute, Reader, SessionId, Text, Zxid};

mod divergence;

use super::Replica;
use super::clock::Clock;
use super::effect::Effect;
use super::ensemble::{Configs, Members, ServerId, Standalone};
use super::input::Input;
use super::params::{LocalSessions, ReplicaParams};
use super::session::password::password_of;
use super::zab::{Epochs, LinkId, LogPlace, Recovered, Role, ZabEffect, ZabInput, ZabParams};
use crate::state::conn::{ClientRequest, ConnId, Submission, WriteBody};
use crate::state::{Committed, DigestMismatch, Output, Outputs, State, StateParams};

const TICK_MS: i64 = 1000;
const SYNC_LIMIT_MS: i64 = 5 * TICK_MS;

struct Server {
    replica: Replica,
    state: State,
    configs: Configs,
    epochs: Epochs,
    log: Vec<(Zxid, Bytes)>,
    /// What its copy has beyond that, in memory and on disk.
    altered: Option<TxnEntry>,
    diverged: Option<DigestMismatch>,
    listens: bool,
    serves: bool,
    /// Whether it serves those who only read.
    shows: bool,
    /// Whether it leads, and serves nobody itself.
    only_leads: bool,
}

/// A log, and what a copy has beyond that.
type Stream = (Vec<(Zxid, Bytes)>, Option<TxnEntry>);

/// Both ends of a connection: server and its number for it.
type End = (ServerId, LinkId);

#[derive(Default)]
struct World {
    now_ms: i64,
    servers: BTreeMap<ServerId, Server>,
    inputs: VecDeque<(ServerId, Input)>,
    links: BTreeMap<End, End>,
    links_accepted: u64,
    /// Snapshots under way, by the end that gets them: all transactions.
    streams: BTreeMap<End, Stream>,
    /// Connections that are tried again: when, how often still, from where, whose.
    dialing: Vec<(i64, u32, End, ServerId)>,
    conns_made: u64,
    /// What a server knows of the membership when it starts; without one all have the same three.
    members: BTreeMap<ServerId, Arc<Members>>,
    /// Who the clients are besides where they come from.
    ids: Vec<Id>,
    /// What clients got: events by connection, in words.
    heard: BTreeMap<ConnId, Vec<Heard>>,
    /// Clients are heard of all the time, unless they are in here.
    silent: BTreeSet<SessionId>,
    /// Servers that have looked whether their disk has the leader's tree, and whether it had.
    checks: Vec<(i64, bool)>,
    /// Servers that stand still, and what they have not heard.
    deaf: BTreeSet<ServerId>,
    unheard: Vec<(ServerId, Input)>,
    /// The last counter of an epoch, if not the usual one.
    counter_max: Option<i64>,
    /// Of servers that are started from now on.
    local_sessions: LocalSessions,
    read_only_after_ms: Option<i64>,
    /// Leaders take no clients.
    leaders_only_lead: bool,
    /// Servers that sent their clients away, in order.
    sent_away: Vec<ServerId>,
    /// What stopped servers had on disk, for tests that start them again.
    disks: BTreeMap<i64, (Vec<(Zxid, Bytes)>, Epochs)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Connected(SessionId),
    ConnectedReadOnly(SessionId),
    Reply { xid: i32, err: i32 },
    Event,
    Closed,
}

fn configs() -> Configs {
    let text = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nversion=0";
    Configs::of(Arc::new(text.parse::<Members>().unwrap()))
}

fn new_state() -> State {
    State::new(StateParams::default())
}

impl Server {
    /// What its disk comes to.
    fn rebuilt(&self, through: Zxid) -> State {
        let mut state = new_state();
        let altered = self.altered.iter().cloned();
        let logged = self.log.iter().filter(|(zxid, _)| *zxid <= through);
        let logged = logged.map(|(_, txn)| TxnEntry::decode(txn).unwrap());
        for entry in altered.chain(logged) {
            let committed = Committed {
                entry,
                origin: None,
                close: None,
            };
            // A copy that was altered does not come to what the leader had.
            state.apply(&committed, &mut Outputs::default()).ok();
        }
        state
    }
}

impl World {
    fn start(&mut self, server: i64) {
        self.start_with(server, Vec::new(), Epochs::default());
    }

    fn start_with(&mut self, server: i64, log: Vec<(Zxid, Bytes)>, epochs: Epochs) {
        self.start_perhaps_lacking(server, log, epochs, false);
    }

    fn start_perhaps_lacking(
        &mut self,
        server: i64,
        log: Vec<(Zxid, Bytes)>,
        epochs: Epochs,
        may_lack: bool,
    ) {
        let id = ServerId(server);
        let params = ReplicaParams {
            server_id: u8::try_from(server).unwrap(),
            tick_ms: 1000,
            session_timeout_min_ms: 2000,
            local_sessions: self.local_sessions,
            read_only_after_ms: self.read_only_after_ms,
            leader_serves: !self.leaders_only_lead,
            reconfig_enabled: true,
            ..ReplicaParams::default()
        };
        let usual = ZabParams::new(id);
        let zab_params = ZabParams {
            tick_ms: TICK_MS,
            recent_max: 3,
            reconfig_enabled: true,
            counter_max: self.counter_max.unwrap_or(usual.counter_max),
            ..usual
        };
        let mut state = new_state();
        replay(&mut state, &log);
        let recovered = Recovered {
            epochs,
            last: state.last_zxid(),
            recent: Vec::new(),
            may_lack,
        };
        let configs = self.configs_of(id, &state);
        let mut effects = Vec::new();
        let replica = Replica::member(
            params,
            zab_params,
            configs.clone(),
            recovered,
            self.clock(),
            &mut effects,
        );
        let server = Server {
            replica,
            state,
            configs,
            epochs,
            log,
            altered: None,
            diverged: None,
            listens: false,
            serves: false,
            shows: false,
            only_leads: false,
        };
        self.servers.insert(id, server);
        self.carry_out(id, effects);
    }

    /// What the server has stored of the membership, and what its log says of a change.
    fn configs_of(&self, id: ServerId, state: &State) -> Configs {
        let stored = self.members.get(&id);
        let configs = stored.map_or_else(configs, |members| Configs::of(Arc::clone(members)));
        configs.with_logged(state.config(), Standalone::Enabled)
    }

    fn stop(&mut self, server: i64) -> (Vec<(Zxid, Bytes)>, Epochs) {
        let id = ServerId(server);
        let stopped = self.servers.remove(&id).unwrap();
        self.members.insert(id, stopped.configs.committed);
        self.inputs.retain(|(to, _)| *to != id);
        self.dialing.retain(|(.., (server, _), _)| *server != id);
        let ends: Vec<End> = self
            .links
            .keys()
            .filter(|(server, _)| *server == id)
            .copied()
            .collect();
        for end in ends {
            self.close(end);
        }
        (stopped.log, stopped.epochs)
    }

    fn clock(&self) -> Clock {
        Clock {
            monotonic_ms: self.now_ms,
            wall_ms: 1_700_000_000_000 + self.now_ms,
        }
    }

    fn close(&mut self, end: End) {
        if let Some(other) = self.links.remove(&end) {
            self.links.remove(&other);
            self.tell(other.0, ZabInput::LinkDown { link: other.1 });
        }
    }

    fn tell(&mut self, server: ServerId, input: ZabInput) {
        self.inputs.push_back((server, Input::Peer(input)));
    }

    /// Goes on until nothing is under way and `ms` have passed.
    fn run(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        loop {
            if let Some((server, input)) = self.inputs.pop_front() {
                if self.deaf.contains(&server) {
                    self.unheard.push((server, input));
                    continue;
                }
                self.step(server, input);
                continue;
            }
            let dialing = self.dialing.iter().map(|(due_ms, ..)| (*due_ms, None));
            let deadlines = self
                .servers
                .iter()
                .filter(|(id, _)| !self.deaf.contains(id))
                .map(|(id, server)| (server.replica.deadline(), Some(*id)));
            match dialing.chain(deadlines).min() {
                Some((due_ms, who)) if due_ms <= until => {
                    self.now_ms = self.now_ms.max(due_ms);
                    match who {
                        Some(id) => self.wake(id),
                        None => self.redial(),
                    }
                }
                _ => break,
            }
        }
        self.now_ms = until;
    }

    fn redial(&mut self) {
        let now_ms = self.now_ms;
        let due: Vec<_> = self
            .dialing
            .extract_if(.., |(due_ms, ..)| *due_ms <= now_ms)
            .collect();
        for (_, attempts, end, leader) in due {
            self.dial(attempts, end, leader);
        }
    }

    fn wake(&mut self, id: ServerId) {
        let wanted = self.servers[&id].replica.about_to_expire(self.clock());
        for (session, conn) in wanted {
            if conn.is_some() && !self.silent.contains(&session) {
                let at_ms = self.now_ms;
                self.step(id, Input::Touched { session, at_ms });
            }
        }
        self.step(id, Input::Wakeup);
    }

    fn step(&mut self, id: ServerId, input: Input) {
        let clock = self.clock();
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        let mut effects = Vec::new();
        server
            .replica
            .step(clock, input, &server.state, &mut effects);
        self.carry_out(id, effects);
    }

    fn carry_out(&mut self, id: ServerId, effects: Vec<Effect>) {
        let mut outputs = Outputs::default();
        let clock = self.clock();
        for effect in effects {
            let server = self.servers.get_mut(&id).unwrap();
            match effect {
                Effect::Write {
                    write,
                    zxid,
                    payload,
                } => {
                    server.log.push((zxid, payload));
                    self.inputs.push_back((id, Input::Durable(write)));
                }
                Effect::StoreEpochs { write, epochs } => {
                    server.epochs = epochs;
                    self.inputs.push_back((id, Input::Durable(write)));
                }
                Effect::Commit(committed) => {
                    let applied = server.state.apply(&committed, &mut outputs);
                    let epoch = server.replica.zab().unwrap().epochs().accepted;
                    if let Err(mismatch) = applied
                        && mismatch.zxid.epoch() == epoch
                        && server.diverged.is_none()
                    {
                        server.diverged = Some(mismatch);
                        server.serves = false;
                        self.inputs.push_back((id, Input::Peer(ZabInput::Diverged)));
                    }
                }
                Effect::Connected { conn, response } => outputs.connected(conn, &response),
                Effect::CloseConn { conn } => outputs.close(conn),
                Effect::Synced { conn, xid, .. } => {
                    self.heard
                        .entry(conn)
                        .or_default()
                        .push(Heard::Reply { xid, err: 0 });
                }
                Effect::Answered { conn, xid, answer } => {
                    let zxid = server.state.last_zxid();
                    answer.tell(conn, xid, zxid, &mut outputs);
                }
                Effect::Config { text, version } => {
                    server.state.set_config(&text, version, clock.wall_ms)
                }
                Effect::Serve => server.serves = server.diverged.is_none(),
                Effect::ServeReadOnly => server.shows = true,
                Effect::ServeNobody => server.only_leads = true,
                Effect::StopServing => {
                    server.serves = false;
                    server.shows = false;
                    server.only_leads = false;
                    self.sent_away.push(id);
                }
                Effect::Peer(effect) => self.peer(id, effect),
                Effect::Expired { .. } | Effect::QuotaExceeded { .. } => {}
            }
        }
        for (conn, output) in outputs.iter() {
            let heard = match output {
                // The last byte of the answer says so.
                Output::Connected { frame, session, .. }
                    if frame.last() == Some(&1) && session != SessionId::NONE =>
                {
                    Heard::ConnectedReadOnly(session)
                }
                Output::Connected { session, .. } => Heard::Connected(session),
                Output::Event(_) => Heard::Event,
                Output::Close => Heard::Closed,
                Output::Reply(frame) => {
                    let bytes = Bytes::copy_from_slice(&frame[4..]);
                    let header = ReplyHeader::read(&mut Reader::new(&bytes)).unwrap();
                    Heard::Reply {
                        xid: header.xid,
                        err: header.err,
                    }
                }
            };
            self.heard.entry(conn).or_default().push(heard);
        }
    }

    fn peer(&mut self, id: ServerId, effect: ZabEffect) {
        match effect {
            ZabEffect::Notify { to, notification } => {
                let from = id;
                self.tell(to, ZabInput::Notified { from, notification });
            }
            ZabEffect::Listen(listens) => self.servers.get_mut(&id).unwrap().listens = listens,
            ZabEffect::Connect { link, leader } => self.dial(5, (id, link), leader),
            ZabEffect::CloseLink { link } => {
                self.dialing.retain(|(.., end, _)| *end != (id, link));
                self.close((id, link));
            }
            ZabEffect::ToLeader { link, packet } => {
                if let Some((leader, link)) = self.links.get(&(id, link)).copied() {
                    self.tell(leader, ZabInput::FromLearner { link, packet });
                }
            }
            ZabEffect::ToLearner { link, packet } => self.send(id, link, packet),
            ZabEffect::LookUp { link, zxid } => {
                let log = &self.servers[&id].log;
                let before = log.iter().rev().find(|(logged, _)| *logged <= zxid);
                let found = match before {
                    Some((found, _)) if *found == zxid => LogPlace::Exactly,
                    None if zxid == Zxid::ZERO => LogPlace::Exactly,
                    Some((found, _)) => LogPlace::After(*found),
                    None => LogPlace::Unusable,
                };
                self.tell(id, ZabInput::LookedUp { link, found });
            }
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => {
                let log = self.servers[&id].log.clone();
                for (zxid, txn) in log {
                    if zxid > after && zxid <= through {
                        self.send(id, link, LeaderPacket::Proposal { zxid, txn });
                        self.send(id, link, LeaderPacket::Commit { zxid });
                    }
                }
            }
            ZabEffect::SendSnapshot { link, .. } => {
                let server = &self.servers[&id];
                let zxid = server.state.last_zxid();
                let applied = server.log.iter().filter(|(logged, _)| *logged <= zxid);
                if let Some(end) = self.links.get(&(id, link)) {
                    let stream = (applied.cloned().collect(), server.altered.clone());
                    self.streams.insert(*end, stream);
                }
                self.send(id, link, LeaderPacket::Snap { zxid });
            }
            ZabEffect::ReceiveSnapshot { link, zxid, .. } => {
                let server = self.servers.get_mut(&id).unwrap();
                (server.log, server.altered) = self.streams.remove(&(id, link)).unwrap();
                server.state = server.rebuilt(Zxid(i64::MAX));
                server.diverged = None;
                let installed = ZabInput::Installed {
                    zxid,
                    pending: Vec::new(),
                    successor: None,
                };
                self.tell(id, installed);
            }
            ZabEffect::Truncate { zxid } => {
                let server = self.servers.get_mut(&id).unwrap();
                server.log.retain(|(logged, _)| *logged <= zxid);
                server.state = server.rebuilt(zxid);
                server.diverged = None;
                self.tell(id, ZabInput::Truncated { zxid });
            }
            ZabEffect::Check => {
                let server = self.servers.get_mut(&id).unwrap();
                let mismatch = server.diverged.take().unwrap();
                let agrees = server.rebuilt(mismatch.zxid).digest() == mismatch.expected;
                server.state = server.rebuilt(server.state.last_zxid());
                self.checks.push((id.0, agrees));
                self.tell(id, ZabInput::Checked { agrees });
            }
            ZabEffect::Members { configs } => {
                self.servers.get_mut(&id).unwrap().configs = configs;
            }
            ZabEffect::RoleChanged { .. } | ZabEffect::ConnectElection => {}
            other => panic!("not needed in these stories: {other:?}"),
        }
    }

    fn dial(&mut self, attempts: u32, end: End, leader: ServerId) {
        let (learner, link) = end;
        if self
            .servers
            .get(&leader)
            .is_some_and(|leader| leader.listens)
        {
            self.links_accepted += 1;
            let accepted = LinkId(self.links_accepted);
            self.links.insert(end, (leader, accepted));
            self.links.insert((leader, accepted), end);
            self.tell(leader, ZabInput::LinkUp { link: accepted });
            self.tell(learner, ZabInput::LinkUp { link });
        } else if attempts > 1 {
            let due_ms = self.now_ms + 100;
            self.dialing.push((due_ms, attempts - 1, end, leader));
        } else {
            self.tell(learner, ZabInput::LinkDown { link });
        }
    }

    fn send(&mut self, id: ServerId, link: LinkId, packet: LeaderPacket) {
        if let Some((learner, link)) = self.links.get(&(id, link)).copied() {
            self.tell(learner, ZabInput::FromLeader { link, packet });
        }
    }

    fn leader(&self) -> i64 {
        let leads = |server: &Server| {
            server.serves && server.replica.zab().unwrap().role() == Role::Leading
        };
        let mut leaders = self.servers.iter().filter(|(_, server)| leads(server));
        let (leader, _) = leaders.next().expect("somebody leads");
        assert_eq!(leaders.count(), 0, "one leader");
        leader.0
    }

    fn followers(&self) -> Vec<i64> {
        let leader = self.leader();
        self.servers
            .keys()
            .map(|id| id.0)
            .filter(|id| *id != leader)
            .collect()
    }

    /// A client's handshake; what it comes to is heard by the new connection.
    fn connect(&mut self, server: i64, session: SessionId) -> ConnId {
        self.connect_as(server, session, Some(false))
    }

    fn connect_as(&mut self, server: i64, session: SessionId, read_only: Option<bool>) -> ConnId {
        self.conns_made += 1;
        let conn = ConnId(self.conns_made);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 6000,
            session,
            password: Some(Bytes::copy_from_slice(&password_of(session))),
            read_only,
        };
        let submission = Submission::Connect { conn, request };
        self.step(ServerId(server), Input::Submitted(submission));
        self.run(0);
        conn
    }

    fn new_session(&mut self, server: i64) -> (ConnId, SessionId) {
        let conn = self.connect(server, SessionId::NONE);
        match self.heard.get(&conn).and_then(|heard| heard.last()) {
            Some(Heard::Connected(session)) => (conn, *session),
            other => panic!("no session: {other:?}"),
        }
    }

    fn ask(&mut self, server: i64, conn: ConnId, session: SessionId, xid: i32, request: Request) {
        self.submit(server, conn, session, xid, request);
        self.run(0);
    }

    fn submit(
        &mut self,
        server: i64,
        conn: ConnId,
        session: SessionId,
        xid: i32,
        request: Request,
    ) {
        let request = ClientRequest {
            conn,
            session,
            xid,
            body: WriteBody::Request(request),
            ids: self
                .ids
                .iter()
                .cloned()
                .chain([Id::new("ip", "127.0.0.1")])
                .collect(),
        };
        let submission = Submission::Write(request);
        self.step(ServerId(server), Input::Submitted(submission));
    }

    fn last_heard(&self, conn: ConnId) -> Option<&Heard> {
        self.heard.get(&conn)?.last()
    }

    /// All servers have applied the same, and came to the same tree.
    fn assert_in_step(&self) {
        let states: BTreeSet<(Zxid, u64)> = self
            .servers
            .values()
            .map(|server| (server.state.last_zxid(), server.state.digest()))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }

    fn paths(&self, server: i64, session: SessionId) -> Vec<String> {
        let state = &self.servers[&ServerId(server)].state;
        let mut all = state.sessions_with_ephemerals();
        all.find(|(owner, _)| *owner == session)
            .map(|(_, paths)| paths.into_iter().map(|path| path.to_string()).collect())
            .unwrap_or_default()
    }
}

fn replay(state: &mut State, log: &[(Zxid, Bytes)]) {
    for (_, txn) in log {
        let committed = Committed {
            entry: TxnEntry::decode(txn).unwrap(),
            origin: None,
            close: None,
        };
        state.apply(&committed, &mut Outputs::default()).unwrap();
    }
}

fn create(path: &str, flags: CreateFlags) -> Request {
    let anyone = Acl {
        perms: perms::ALL,
        id: Id::new("world", "anyone"),
    };
    Request::Create(CreateRequest {
        path: Some(Text::from(path)),
        data: Some(Bytes::from_static(b"x")),
        acl: Some(vec![anyone]),
        flags: flags as i32,
    })
}

fn three() -> World {
    three_in(World::default())
}

fn three_in(mut world: World) -> World {
    for server in 1..=3 {
        world.start(server);
    }
    world.run(5000);
    world
}

const DONE: i32 = 0;

#[test]
fn clients_of_every_server_get_their_own_answers() {
    let mut world = three();
    assert!(world.servers.values().all(|server| server.serves));
    for server in 1..=3 {
        let (conn, session) = world.new_session(server);
        let path = format!("/from-{server}");
        for (xid, err) in [(1, DONE), (2, ErrorCode::NodeExists.code())] {
            world.ask(
                server,
                conn,
                session,
                xid,
                create(&path, CreateFlags::Persistent),
            );
            assert_eq!(world.last_heard(conn), Some(&Heard::Reply { xid, err }));
        }
    }
    world.assert_in_step();
    let zxid = world.servers[&ServerId(1)].state.last_zxid();
    assert_eq!((zxid.epoch(), zxid.counter()), (1, 9));
}

#[test]
fn a_sync_is_answered_behind_what_it_waits_for() {
    let mut world = three();
    for server in 1..=3 {
        let (conn, session) = world.new_session(server);
        let sync = Request::Sync(PathRequest {
            path: Some(Text::from("/")),
        });
        world.ask(server, conn, session, 7, sync);
        assert_eq!(
            world.last_heard(conn),
            Some(&Heard::Reply { xid: 7, err: DONE })
        );
    }
}

#[test]
fn a_session_moves_and_its_old_connection_ends_without_a_reply() {
    let mut world = three();
    let [one, other] = world.followers()[..] else {
        panic!("two followers");
    };
    let (old, session) = world.new_session(one);
    world.ask(
        one,
        old,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    let new = world.connect(other, session);
    assert_eq!(world.last_heard(new), Some(&Heard::Connected(session)));
    world.ask(
        one,
        old,
        session,
        2,
        create("/late", CreateFlags::Persistent),
    );
    assert_eq!(world.last_heard(old), Some(&Heard::Closed));
    assert!(
        !world.heard[&old]
            .iter()
            .any(|heard| matches!(heard, Heard::Reply { xid: 2, .. }))
    );
    world.ask(
        other,
        new,
        session,
        3,
        create("/mine2", CreateFlags::Ephemeral),
    );
    world.ask(other, new, session, 4, Request::CloseSession);
    assert_eq!(world.last_heard(new), Some(&Heard::Closed));
    assert_eq!(world.paths(1, session), Vec::<String>::new());
    world.assert_in_step();
}

#[test]
fn sessions_survive_the_leader_and_keep_their_ephemeral_nodes() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    let (log, epochs) = world.stop(leader);
    world.run(2000);
    let follower = world.followers()[0];
    let conn = world.connect(follower, session);
    assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
    // The follower tells the leader that it hears of the session.
    world.run(30_000);
    assert_eq!(world.paths(follower, session), ["/mine"]);

    world.start_with(leader, log, epochs);
    world.run(5000);
    world.assert_in_step();

    world.silent.insert(session);
    world.run(20_000);
    for server in 1..=3 {
        assert_eq!(world.paths(server, session), Vec::<String>::new());
    }
    assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
    let conn = world.connect(follower, session);
    assert_eq!(
        world.heard[&conn],
        [Heard::Connected(SessionId::NONE), Heard::Closed]
    );
    world.assert_in_step();
}

#[test]
fn a_server_that_was_away_gets_what_it_missed() {
    let mut world = three();
    let leader = world.leader();
    let away = world.followers()[0];
    let (conn, session) = world.new_session(leader);
    let (log, epochs) = world.stop(away);
    for xid in 1..=9 {
        let path = format!("/n{xid}");
        world.ask(
            leader,
            conn,
            session,
            xid,
            create(&path, CreateFlags::Persistent),
        );
    }
    world.run(3000);
    assert_eq!(world.leader(), leader, "two of three are a quorum");
    world.start_with(away, log, epochs);
    world.run(3000);
    world.assert_in_step();
    let (conn, session) = world.new_session(away);
    world.ask(
        away,
        conn,
        session,
        1,
        create("/n9", CreateFlags::Persistent),
    );
    let err = ErrorCode::NodeExists.code();
    assert_eq!(world.last_heard(conn), Some(&Heard::Reply { xid: 1, err }));
}

#[test]
fn an_epoch_without_zxids_makes_way_for_the_next() {
    let mut world = three_in(World {
        counter_max: Some(20),
        ..World::default()
    });
    let server = world.followers()[0];
    let first_epoch = world.servers[&ServerId(server)].epochs.current;
    let (mut conn, session) = world.new_session(server);
    world.ask(
        server,
        conn,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    for xid in 2..=100 {
        let path = format!("/n{xid}");
        let mut waited_ms = 0;
        loop {
            world.ask(
                server,
                conn,
                session,
                xid,
                create(&path, CreateFlags::Persistent),
            );
            match world.last_heard(conn) {
                Some(Heard::Reply { xid: answered, err }) if *answered == xid => {
                    assert!([0, ErrorCode::NodeExists.code()].contains(err), "{err}");
                    break;
                }
                // As clients do when their connection is gone.
                _ => {
                    world.run(100);
                    waited_ms += 100;
                    assert!(waited_ms < 2 * TICK_MS, "{path} was not answered");
                    conn = world.connect(server, session);
                }
            }
        }
    }
    world.run(5000);
    world.assert_in_step();
    let state = &world.servers[&ServerId(server)].state;
    assert!(state.last_zxid().epoch() >= first_epoch + 5);
    assert_eq!(world.paths(server, session), ["/mine"]);
    let counters = world
        .servers
        .values()
        .flat_map(|server| &server.log)
        .map(|(zxid, _)| zxid.counter());
    assert_eq!(counters.max(), Some(20));
}

#[test]
fn a_leader_that_takes_no_clients_leads_those_of_others() {
    let mut world = three_in(World {
        leaders_only_lead: true,
        ..World::default()
    });
    let leads = |world: &World| {
        let leaders = world.servers.iter().filter(|(_, server)| server.only_leads);
        leaders.map(|(id, _)| id.0).collect::<Vec<_>>()
    };
    let leader = leads(&world)[0];
    assert_eq!(leads(&world), [leader]);
    assert!(!world.servers[&ServerId(leader)].serves);
    let follower = if leader == 1 { 2 } else { 1 };
    let (conn, session) = world.new_session(follower);
    world.ask(
        follower,
        conn,
        session,
        1,
        create("/kept", CreateFlags::Ephemeral),
    );
    assert_eq!(
        world.last_heard(conn),
        Some(&Heard::Reply { xid: 1, err: DONE })
    );
    world.assert_in_step();
    world.stop(leader);
    world.run(5000);
    assert_eq!(leads(&world).len(), 1);
    assert!(world.sent_away.iter().any(|server| server.0 != leader));
}

#[test]
fn a_leader_without_followers_sends_its_clients_away() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    for follower in world.followers() {
        world.stop(follower);
    }
    // Nobody can acknowledge it.
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/lost", CreateFlags::Persistent),
    );
    assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
    world.run(10_000);
    assert!(!world.servers[&ServerId(leader)].serves);
}

/// Its followers have gone on without it, and their last words are still unread.
#[test]
fn a_leader_that_stood_still_answers_no_sync() {
    let half_tick_ms = TICK_MS / 2;
    // On whole ticks a leader also sees whether it has to go.
    for (before_ms, stood_still_ms) in [
        (0, TICK_MS),
        (0, SYNC_LIMIT_MS + TICK_MS),
        (half_tick_ms, TICK_MS),
        (half_tick_ms, SYNC_LIMIT_MS + TICK_MS),
    ] {
        let mut world = three();
        world.run(before_ms);
        let leader = world.leader();
        let (conn, session) = world.new_session(leader);
        let id = ServerId(leader);
        for peer in world.followers() {
            let heard = world.links.iter().find_map(|((server, link), other)| {
                (*server == id && other.0 == ServerId(peer)).then_some(*link)
            });
            let link = heard.expect("a follower is connected");
            world.tell(id, ZabInput::Heard { link });
        }
        world.now_ms += stood_still_ms;
        world.step(id, Input::Overdue);
        // What is unread now is read, and nobody knows yet what became of it.
        for (server, input) in std::mem::take(&mut world.inputs) {
            world.step(server, input);
        }
        let sync = Request::Sync(PathRequest {
            path: Some(Text::from("/")),
        });
        world.submit(leader, conn, session, 7, sync);
        let is_answered = world.last_heard(conn) == Some(&Heard::Reply { xid: 7, err: DONE });
        let is_sent_away =
            world.last_heard(conn) == Some(&Heard::Closed) || !world.servers[&id].serves;
        assert_eq!(
            is_answered,
            stood_still_ms < SYNC_LIMIT_MS,
            "{stood_still_ms}"
        );
        assert_eq!(is_sent_away, !is_answered, "{stood_still_ms}");
    }
}

#[test]
fn a_server_that_may_lack_something_neither_votes_nor_leads_before_it_has_everything() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/kept", CreateFlags::Persistent),
    );
    let mut disks: BTreeMap<i64, _> = (1..=3).map(|server| (server, world.stop(server))).collect();
    for server in [2, 3] {
        world.start_perhaps_lacking(server, Vec::new(), Epochs::default(), true);
    }
    world.run(30_000);
    assert!(world.servers.values().all(|server| !server.serves));

    let (log, epochs) = disks.remove(&1).unwrap();
    world.start_with(1, log, epochs);
    world.run(30_000);
    // Two of three have nothing, and nothing of that is a quorum.
    assert!(world.servers.values().all(|server| !server.serves));

    world.stop(2);
    let (log, epochs) = disks.remove(&2).unwrap();
    world.start_with(2, log, epochs);
    // It asks ever more seldom, once a minute in the end.
    world.run(70_000);
    assert_eq!(world.leader(), 2);
    world.assert_in_step();
    let kept = world.servers[&ServerId(3)].state.last_zxid();
    assert!(kept.epoch() >= 1, "{kept}");
}

#[path = "reconfig_tests.rs"]
mod reconfig;
