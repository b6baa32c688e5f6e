//! The replica and the state together: random histories, prepared ahead, applied behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::{Acl, Id};
use jute_codec::proto::{
    CheckVersionRequest, ConnectRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp,
    MultiOps, Request, SetAclRequest, SetDataRequest,
};
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Text, Zxid};
use proptest::prelude::Rng as _;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::effect::WriteSeq;
use super::*;
use crate::state::conn::{ClientRequest, Submission, WriteBody};
use crate::state::tree::acl::AclRules;
use crate::state::{Outputs, StateLoader, StateParams};

const SESSIONS: u64 = 3;
const PATHS: &[&str] = &[
    "/a",
    "/a/b",
    "/a/b/c",
    "/d",
    "/d/e-",
    "/zookeeper/x",
    "/",
    "/zookeeper/quota/a",
];

struct Bench {
    replica: Replica,
    state: State,
    effects: Vec<Effect>,
    clock: Clock,
    /// Rows as a snapshot would hold them.
    rows: BTreeMap<String, Vec<u8>>,
    sessions: BTreeMap<SessionId, i32>,
}

fn params() -> StateParams {
    StateParams {
        hash_seed: 11,
        extended_types: true,
        acl: AclRules::default(),
    }
}

impl Bench {
    fn new() -> Self {
        let state = State::new(params());
        let clock = Clock {
            monotonic_ms: 0,
            wall_ms: 1_700_000_000_000,
        };
        let mut effects = Vec::new();
        let replica_params = ReplicaParams {
            extended_types: true,
            ..ReplicaParams::default()
        };
        let replica = Replica::standalone(replica_params, clock, &state, &mut effects);
        Self {
            replica,
            state,
            effects,
            clock,
            rows: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn step(&mut self, input: Input) {
        self.clock.monotonic_ms += 1;
        self.clock.wall_ms += 1;
        self.replica
            .step(self.clock, input, &self.state, &mut self.effects);
    }

    fn connect(&mut self, conn: u64) -> SessionId {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 30_000,
            session: SessionId::NONE,
            password: None,
            read_only: Some(false),
        };
        self.step(Input::Submitted(Submission::Connect {
            conn: ConnId(conn),
            request,
        }));
        self.replica
            .sessions()
            .expect("it stands alone")
            .by_deadline()
            .flat_map(|(_, sessions)| sessions)
            .copied()
            .max()
            .expect("one was created")
    }

    fn ask(&mut self, conn: u64, session: SessionId, request: Request) {
        let ids = Arc::from([Id::new("ip", "127.0.0.1")]);
        let body = WriteBody::Request(request);
        let request = ClientRequest {
            conn: ConnId(conn),
            session,
            xid: 1,
            body,
            ids,
        };
        self.step(Input::Submitted(Submission::Write(request)));
    }

    fn is_live(&self, session: SessionId) -> bool {
        let sessions = self.replica.sessions().expect("it stands alone");
        sessions.is_live(session)
    }

    /// Makes everything durable and applies it. Every predicted digest must be the one that applying comes to.
    fn settle(&mut self) {
        self.step(Input::Durable(WriteSeq(u64::MAX)));
        let mut outputs = Outputs::default();
        for effect in self.effects.drain(..) {
            if let Effect::Commit(committed) = effect {
                let mut payload = Vec::new();
                committed.entry.write(&mut payload);
                let decoded =
                    TxnEntry::decode(&Bytes::from(payload)).expect("what is logged can be read");
                assert_eq!(decoded, committed.entry);
                self.state
                    .apply(&committed, &mut outputs)
                    .expect("the prediction holds");
            }
        }
        assert_eq!(self.state.digest(), self.state.audit_digest());
    }

    /// Folds, with `meanwhile` called between slices; what is stored must be the tree as of the fold's beginning.
    fn fold(&mut self, mut meanwhile: impl FnMut(&mut Self)) {
        let start = self.state.begin_fold();
        for path in &start.deleted {
            self.rows.remove(&**path);
        }
        for (session, timeout_ms) in &start.sessions {
            match timeout_ms {
                Some(timeout_ms) => drop(self.sessions.insert(*session, *timeout_ms)),
                None => drop(self.sessions.remove(session)),
            }
        }
        loop {
            let slice = self.state.fold_slice(2);
            for (path, row) in slice.rows {
                self.rows.insert(path.into(), row);
            }
            if !slice.more {
                break;
            }
            meanwhile(self);
        }
        // Copies that writers made after the last slice was taken.
        let mut loader = StateLoader::new(params());
        for (path, row) in &self.rows {
            loader
                .row(path, &Bytes::from(row.clone()))
                .expect("rows are sound");
        }
        for (session, timeout_ms) in &self.sessions {
            loader.session(*session, *timeout_ms);
        }
        let loaded = loader
            .finish(start.zxid, start.digest)
            .expect("the image is exact");
        assert_eq!(loaded.audit_digest(), start.digest);
        assert_eq!(loaded.last_zxid(), start.zxid);
    }
}

fn pick<'a, T>(rng: &mut TestRng, from: &'a [T]) -> &'a T {
    &from[rng.next_u32() as usize % from.len()]
}

fn path(rng: &mut TestRng) -> Option<Text> {
    Some(Text::from(*pick(rng, PATHS)))
}

fn data(rng: &mut TestRng) -> Option<Bytes> {
    pick(
        rng,
        &[None, Some(Bytes::new()), Some(Bytes::from_static(b"data"))],
    )
    .clone()
}

fn create(rng: &mut TestRng) -> CreateRequest {
    let flags = *pick(rng, &[0, 0, 1, 2, 3, 4]);
    CreateRequest {
        path: path(rng),
        data: data(rng),
        acl: Some(vec![Acl::open()]),
        flags,
    }
}

fn sub_operation(rng: &mut TestRng) -> MultiOp {
    match rng.next_u32() % 5 {
        0 => MultiOp::Create(create(rng)),
        1 => MultiOp::Create2(create(rng)),
        2 => MultiOp::Delete(DeleteRequest {
            path: path(rng),
            version: -1,
        }),
        3 => MultiOp::SetData(SetDataRequest {
            path: path(rng),
            data: data(rng),
            version: -1,
        }),
        _ => MultiOp::Check(CheckVersionRequest {
            path: path(rng),
            version: -1,
        }),
    }
}

fn request(rng: &mut TestRng) -> Request {
    match rng.next_u32() % 12 {
        0 | 1 => Request::Create2(create(rng)),
        2 => Request::Create(create(rng)),
        3 => Request::CreateContainer(create(rng)),
        4 => Request::CreateTtl(CreateTtlRequest {
            path: path(rng),
            data: data(rng),
            acl: Some(vec![Acl::open()]),
            flags: 5,
            ttl_ms: 1000,
        }),
        5 | 6 => Request::Delete(DeleteRequest {
            path: path(rng),
            version: -1,
        }),
        7 | 8 => Request::SetData(SetDataRequest {
            path: path(rng),
            data: data(rng),
            version: *pick(rng, &[-1, 0, 1]),
        }),
        9 => Request::SetAcl(SetAclRequest {
            path: path(rng),
            acl: Some(vec![Acl::open()]),
            version: -1,
        }),
        _ => Request::Multi(MultiOps(
            (0..rng.next_u32() % 4)
                .map(|_| sub_operation(rng))
                .collect(),
        )),
    }
}

/// `CommitInOrder`, `FoldIsExact`, and that what a leader predicts is what comes about.
#[test]
fn predictions_hold_and_folds_are_exact() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(Default::default()),
    );
    for _ in 0..60 {
        let rng = &mut runner.new_rng();
        let mut bench = Bench::new();
        let mut sessions: Vec<_> = (0..SESSIONS).map(|conn| bench.connect(conn)).collect();
        for _ in 0..150 {
            let conn = rng.next_u64() % SESSIONS;
            let session = sessions[usize::try_from(conn).expect("small")];
            match rng.next_u32() % 40 {
                0 => {
                    bench.ask(conn, session, Request::CloseSession);
                    sessions[usize::try_from(conn).expect("small")] = bench.connect(conn);
                }
                1..=6 => bench.settle(),
                7 => {
                    bench.settle();
                    bench.fold(|bench| {
                        for _ in 0..3 {
                            let request = request(rng);
                            bench.ask(conn, session, request);
                        }
                        bench.settle();
                    });
                }
                _ => {
                    let request = request(rng);
                    bench.ask(conn, session, request);
                }
            }
        }
        bench.settle();
        bench.fold(|_| ());
    }
}

/// The log was slow: the client cannot have said anything yet.
#[test]
fn a_sessions_time_begins_when_it_is_committed() {
    let mut bench = Bench::new();
    let session = bench.connect(1);
    bench.clock.monotonic_ms += 29_000;
    bench.settle();
    bench.clock.monotonic_ms += 25_000;
    bench.step(Input::Wakeup);
    assert!(bench.is_live(session));
    bench.clock.monotonic_ms += 10_000;
    bench.step(Input::Wakeup);
    assert!(!bench.is_live(session));
}
