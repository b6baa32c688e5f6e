//! The parts of the server in the order in which `zabd::runtime` has them, all on one thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Zxid};
use zabd::auth::{DigestAlgorithm, DigestParams, ProviderParams, Providers, digest_id};
use zabd::replica::Replica;
use zabd::replica::clock::Clock;
use zabd::replica::effect::{Effect, WriteSeq};
use zabd::replica::input::Input;
use zabd::replica::params::ReplicaParams;
use zabd::state::conn::{Advance, ConnId, ConnParams, FrameKind};
use zabd::state::tree::acl::AclRules;
use zabd::state::{Committed, FoldStart, Output, Outputs, State, StateLoader, StateParams};

use crate::client::Client;
use crate::requests::SUPER;

/// What a restart begins with: a fold and the log behind it.
struct Disk {
    zxid: Zxid,
    digest: u64,
    rows: BTreeMap<String, Vec<u8>>,
    sessions: BTreeMap<SessionId, i32>,
    log: Vec<Bytes>,
}

pub struct Server {
    state_params: StateParams,
    replica_params: ReplicaParams,
    conn_params: Arc<ConnParams>,
    auth: Providers,
    clock: Clock,
    replica: Replica,
    state: State,
    clients: BTreeMap<ConnId, Client>,
    inputs: VecDeque<Input>,
    effects: VecDeque<Effect>,
    // Writes that the log has and has not reported.
    unreported: VecDeque<(WriteSeq, Bytes)>,
    log_is_slow: bool,
    fold: Option<(FoldStart, BTreeMap<String, Vec<u8>>)>,
    disk: Disk,
}

impl Server {
    pub fn new(settings: u16) -> Self {
        let is_set = |bit: u16| settings >> bit & 1 == 1;
        let state_params = StateParams {
            hash_seed: 5,
            extended_types: is_set(0),
            acl: AclRules {
                skip: is_set(1),
                digest: !is_set(2),
                ..AclRules::default()
            },
        };
        let replica_params = ReplicaParams {
            extended_types: is_set(0),
            enforce_quota: is_set(3),
            reconfig_enabled: is_set(4),
            container_check_interval_ms: 1000,
            container_never_used_max_ms: if is_set(5) { 500 } else { 0 },
            ..ReplicaParams::default()
        };
        let conn_params = ConnParams {
            field_bytes_max: if is_set(6) { 16 } else { 1 << 20 },
            required_schemes: (settings >> 8 == 7).then(|| vec!["digest".to_owned()]),
            sync_by_replica: false,
        };
        let auth = Providers::new(ProviderParams {
            digest: (!is_set(2)).then(|| DigestParams {
                super_digest: Some(digest_id(SUPER, DigestAlgorithm::default())),
                ..DigestParams::default()
            }),
            ..ProviderParams::default()
        });
        let clock = Clock {
            monotonic_ms: 0,
            wall_ms: 1_700_000_000_000,
        };
        let state = State::new(state_params.clone());
        let mut effects = Vec::new();
        let replica = Replica::standalone(replica_params.clone(), clock, &state, &mut effects);
        assert!(effects.is_empty());
        Self {
            disk: Disk {
                zxid: Zxid::ZERO,
                digest: state.digest(),
                rows: BTreeMap::new(),
                sessions: BTreeMap::new(),
                log: Vec::new(),
            },
            state_params,
            replica_params,
            conn_params: Arc::new(conn_params),
            auth,
            clock,
            replica,
            state,
            clients: BTreeMap::new(),
            inputs: VecDeque::new(),
            effects: VecDeque::new(),
            unreported: VecDeque::new(),
            log_is_slow: false,
            fold: None,
        }
    }

    pub fn open(&mut self, conn: u64) {
        let id = ConnId(conn);
        self.clients
            .insert(id, Client::new(id, Arc::clone(&self.conn_params)));
    }

    pub fn session_of(&self, conn: u64) -> Option<SessionId> {
        self.clients.get(&ConnId(conn))?.machine.session()
    }

    /// A frame comes in; nothing if the connection is gone, or its handshake is not answered.
    pub fn frame(&mut self, conn: u64, frame: &Bytes) {
        let id = ConnId(conn);
        let Some(client) = self
            .clients
            .get_mut(&id)
            .filter(|client| client.machine.wants_frames())
        else {
            return;
        };
        match client.machine.on_frame(frame, &self.auth) {
            Ok(FrameKind::Request(header)) => client.asks(header.xid, header.op),
            Ok(_) => {}
            Err(_) => return self.drop_conn(conn),
        }
        if let Some(session) = client.machine.session() {
            let at_ms = self.clock.monotonic_ms;
            self.inputs.push_back(Input::Touched { session, at_ms });
        }
        self.settle();
    }

    pub fn drop_conn(&mut self, conn: u64) {
        self.forget(ConnId(conn));
        self.settle();
    }

    fn forget(&mut self, id: ConnId) {
        if self.clients.remove(&id).is_some() {
            self.state.watches().detach(id);
            self.inputs.push_back(Input::Disconnected { conn: id });
        }
    }

    pub fn pass(&mut self, ms: i64) {
        self.clock.monotonic_ms += ms;
        self.clock.wall_ms += ms;
        if self.clock.monotonic_ms >= self.replica.deadline() {
            drop(self.replica.about_to_expire(self.clock));
            self.inputs.push_back(Input::Wakeup);
        }
        self.settle();
    }

    /// Somebody sets the machine's clock.
    pub fn jump(&mut self, seconds: i32) {
        self.clock.wall_ms += i64::from(seconds) * 1000;
    }

    pub fn slow_log(&mut self, is_slow: bool) {
        self.log_is_slow = is_slow;
        self.settle();
    }

    /// Goes on until nothing is left to do.
    fn settle(&mut self) {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                let mut effects = Vec::new();
                self.replica
                    .step(self.clock, input, &self.state, &mut effects);
                self.effects.extend(effects);
            }
            let mut outputs = Outputs::default();
            while let Some(effect) = self.effects.pop_front() {
                self.carry_out(effect, &mut outputs);
            }
            self.deliver(&outputs);
            self.advance();
            if !self.log_is_slow {
                self.disk
                    .log
                    .extend(self.unreported.iter().map(|(_, payload)| payload.clone()));
                if let Some((write, _)) = self.unreported.drain(..).next_back() {
                    self.inputs.push_back(Input::Durable(write));
                }
            }
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, outputs: &mut Outputs) {
        match effect {
            Effect::Write { write, payload, .. } => self.unreported.push_back((write, payload)),
            Effect::Commit(committed) => {
                if let Err(mismatch) = self.state.apply(&committed, outputs) {
                    panic!("{:?}: {mismatch}", committed.entry.txn);
                }
            }
            Effect::Connected { conn, response } => outputs.connected(conn, &response),
            Effect::CloseConn { conn } => outputs.close(conn),
            Effect::Expired { .. } | Effect::QuotaExceeded { .. } => {}
            other => unreachable!("of members of an ensemble only: {other:?}"),
        }
    }

    fn deliver(&mut self, outputs: &Outputs) {
        for (id, output) in outputs.iter() {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match output {
                Output::Event(frame) => client.hears_event(frame),
                Output::Reply(frame) => client.hears_reply(frame),
                Output::Connected { frame, session, .. } => {
                    client.hears_connected(frame, session);
                    client.machine.on_connected(session, &self.state);
                }
                Output::Close => self.forget(id),
            }
        }
    }

    fn advance(&mut self) {
        let mut closed = Vec::new();
        for (id, client) in &mut self.clients {
            while client.machine.is_ready() {
                let (mut out, mut submissions) = (Vec::new(), Vec::new());
                let advance = client.machine.advance(
                    &self.state,
                    &self.auth,
                    1 << 20,
                    &mut out,
                    &mut submissions,
                );
                client.hears_reads(&out);
                self.inputs
                    .extend(submissions.into_iter().map(Input::Submitted));
                if advance != Advance::Open {
                    closed.push(*id);
                    break;
                }
            }
        }
        for id in closed {
            self.forget(id);
        }
    }

    /// Begins a fold, or goes on with the one under way by `most` nodes.
    pub fn fold(&mut self, most: u8) {
        let Some((start, mut rows)) = self.fold.take() else {
            self.fold = Some((self.state.begin_fold(), BTreeMap::new()));
            return;
        };
        let slice = self.state.fold_slice(most.into());
        rows.extend(slice.rows.into_iter().map(|(path, row)| (path.into(), row)));
        if slice.more {
            self.fold = Some((start, rows));
            return;
        }
        for path in &start.deleted {
            self.disk.rows.remove(&**path);
        }
        self.disk.rows.extend(rows);
        for (session, timeout_ms) in start.sessions {
            match timeout_ms {
                Some(timeout_ms) => self.disk.sessions.insert(session, timeout_ms),
                None => self.disk.sessions.remove(&session),
            };
        }
        (self.disk.zxid, self.disk.digest) = (start.zxid, start.digest);
    }

    /// What must hold whenever nothing is under way.
    pub fn check(&mut self) {
        assert_eq!(
            self.state.digest(),
            self.state.audit_digest(),
            "the digest is counted along"
        );
        assert_eq!(self.replica.outstanding(), 0);
        assert_eq!(self.replica.last_proposed(), self.state.last_zxid());
    }

    /// The process dies and comes up again; what the log has not reported is lost.
    pub fn restart(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.state.watches().detach(id);
        }
        self.clients.clear();
        self.inputs.clear();
        self.unreported.clear();
        self.fold = None;

        let mut loader = StateLoader::new(self.state_params.clone());
        for (path, row) in &self.disk.rows {
            let row = Bytes::copy_from_slice(row);
            loader.row(path, &row).expect("the row came out of a fold");
        }
        for (session, timeout_ms) in &self.disk.sessions {
            loader.session(*session, *timeout_ms);
        }
        let mut state = loader
            .finish(self.disk.zxid, self.disk.digest)
            .expect("the rows are those of the fold");
        let mut outputs = Outputs::default();
        for payload in &self.disk.log {
            let entry = TxnEntry::decode(payload).expect("what was logged can be read");
            if entry.header.zxid <= self.disk.zxid {
                continue;
            }
            let committed = Committed {
                entry,
                origin: None,
                close: None,
            };
            if let Err(mismatch) = state.apply(&committed, &mut outputs) {
                panic!("in replay, {:?}: {mismatch}", committed.entry.txn);
            }
        }
        assert_eq!(state.digest(), self.state.digest());
        assert_eq!(state.last_zxid(), self.state.last_zxid());
        assert_eq!(state.sessions(), self.state.sessions());
        // The order of a session's nodes means nothing, and is not that of the first run.
        let ephemerals = |state: &State| -> BTreeMap<SessionId, BTreeSet<String>> {
            let owned = state.sessions_with_ephemerals();
            owned
                .map(|(session, paths)| (session, paths.into_iter().collect()))
                .collect()
        };
        assert_eq!(ephemerals(&state), ephemerals(&self.state));
        let figures = |state: &State| {
            (
                state.figures().nodes,
                state.figures().ephemerals,
                state.figures().acls,
            )
        };
        assert_eq!(figures(&state), figures(&self.state));

        let mut effects = Vec::new();
        self.replica = Replica::standalone(
            self.replica_params.clone(),
            self.clock,
            &state,
            &mut effects,
        );
        assert!(effects.is_empty(), "nodes were left without their session");
        self.state = state;
    }
}
