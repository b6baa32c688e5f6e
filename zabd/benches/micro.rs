//! Micro-benchmarks: what the parts of a request cost, without sockets and threads.
//!
//! ```sh
//! cargo bench -p zabd --no-default-features                 # all
//! cargo bench -p zabd --no-default-features -- watch        # those with `watch` in their name
//! ```
//!
//! Each does the same work every time, so that on a machine too busy for times `perf stat -e instructions:u` in front of the
//! program compares two versions. A time is the shortest of several rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jute_codec::data::{Acl, Id};
use jute_codec::proto::{ConnectRequest, OpCode, PathWatchRequest, RequestHeader};
use jute_codec::txn::{CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{Jute as _, Reader, SessionId, Text, Zxid};
use zabd::state::conn::{AuthOutcome, Authenticator, ClientConn, ConnId, ConnParams};
use zabd::state::{Committed, Outputs, State, StateParams};
use zabd::storage::disk::{Disk as _, RealDisk};
use zabd::storage::txn_log::{Durability, LogOptions, TxnLog};

const ROUNDS: usize = 5;
const NODES: usize = 100_000;
const MANY_NODES: usize = 1_000_000;
const WATCHERS: usize = 5000;

fn main() {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let bench = Bench { filter };
    println!("{:40} {:>12}", "what", "ns each");
    codec(&bench);
    tree(&bench);
    reads(&bench);
    watches(&bench);
    log(&bench);
    memory(&bench);
}

struct Bench {
    filter: Option<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter))
    }

    /// Measures `work`, which does something `times` over, on what `prepare` makes.
    fn run<T>(&self, name: &str, times: usize, prepare: impl Fn() -> T, work: impl Fn(&mut T)) {
        if !self.wants(name) {
            return;
        }
        let took = (0..ROUNDS).map(|_| {
            let mut subject = prepare();
            let began = Instant::now();
            work(&mut subject);
            let took = began.elapsed();
            drop(black_box(subject));
            took
        });
        let best = took.min().unwrap_or_default();
        println!("{name:40} {:>12.1}", best.as_nanos() as f64 / times as f64);
    }
}

fn codec(bench: &Bench) {
    let entry = entry(7, created(7));
    let bytes = encoded(&entry);
    let nothing = || ();
    bench.run("codec: encode a create", NODES, nothing, |()| {
        for _ in 0..NODES {
            black_box(encoded(black_box(&entry)));
        }
    });
    bench.run("codec: decode a create", NODES, nothing, |()| {
        for _ in 0..NODES {
            black_box(TxnEntry::decode(black_box(&bytes)).expect("an entry"));
        }
    });
    let mut list = Vec::new();
    Acl::open().write(&mut list);
    let list = Bytes::from(list);
    bench.run(
        "codec: decode an access control entry",
        NODES,
        nothing,
        |()| {
            for _ in 0..NODES {
                let mut reader = Reader::new(black_box(&list));
                black_box(Acl::read(&mut reader).expect("an entry"));
            }
        },
    );
}

fn tree(bench: &Bench) {
    let creates = of_all(NODES, created);
    let sets = of_all(NODES, |number| {
        Txn::SetData(SetDataTxn {
            path: path(number),
            data: Some(Bytes::from_static(&[7; 100])),
            version: 1,
        })
    });
    let deletes = of_all(NODES, |number| {
        Txn::Delete(DeleteTxn { path: path(number) })
    });
    let refused = of_all(NODES, |_| Txn::Error(-101));
    let full = || filled(NODES);
    bench.run("tree: create", NODES, empty, |state| apply(state, &creates));
    bench.run("tree: find and set data", NODES, full, |state| {
        apply(state, &sets);
    });
    bench.run("tree: delete", NODES, full, |state| apply(state, &deletes));
    bench.run("tree: a request that failed", NODES, full, |state| {
        apply(state, &refused);
    });
    bench.run("tree: rows of a fold", NODES, full, |state| {
        black_box(state.begin_fold());
        while state.fold_slice(1000).more {}
    });
}

/// A connection's reads, 64 that came together, of nodes that are nowhere near each other.
fn reads(bench: &Bench) {
    const TOGETHER: usize = 64;
    for nodes in [10_000, MANY_NODES] {
        let name = format!("reads: getData of {nodes} nodes");
        if !bench.wants(&name) {
            continue;
        }
        let state = filled(nodes);
        let frames: Vec<Bytes> = (0..NODES)
            .map(|number| get_data(number * 7919 % nodes))
            .collect();
        bench.run(&name, NODES, attached, |conn| {
            let (mut out, mut submissions) = (Vec::new(), Vec::new());
            for frames in frames.chunks(TOGETHER) {
                for frame in frames {
                    conn.on_frame(frame, &Nobody).expect("a request");
                }
                conn.advance(&state, &Nobody, usize::MAX, &mut out, &mut submissions);
                black_box(&out);
                out.clear();
            }
        });
    }
}

/// A connection with a session.
fn attached() -> ClientConn {
    let params = ConnParams {
        field_bytes_max: 1 << 20,
        required_schemes: None,
        sync_by_replica: false,
    };
    let mut conn = ClientConn::new(ConnId(1), "127.0.0.1".into(), Arc::new(params));
    let mut handshake = Vec::new();
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 10_000,
        session: SessionId::NONE,
        password: None,
        read_only: None,
    }
    .write(&mut handshake);
    conn.on_frame(&handshake.into(), &Nobody)
        .expect("a handshake");
    let (mut out, mut submissions) = (Vec::new(), Vec::new());
    let state = empty();
    conn.advance(&state, &Nobody, usize::MAX, &mut out, &mut submissions);
    conn.on_connected(SessionId(1), &state);
    conn
}

fn get_data(number: usize) -> Bytes {
    let mut frame = Vec::new();
    RequestHeader {
        xid: 1,
        op: OpCode::GetData.code(),
    }
    .write(&mut frame);
    PathWatchRequest {
        path: Some(path(number)),
        watch: false,
    }
    .write(&mut frame);
    frame.into()
}

/// Knows nobody.
struct Nobody;

impl Authenticator for Nobody {
    fn authenticate(&self, _: &str, _: Option<&[u8]>, _: &str) -> AuthOutcome {
        AuthOutcome::Refused
    }

    fn user_name(&self, _: &Id) -> String {
        String::new()
    }
}

fn watches(bench: &Bench) {
    let watched = || {
        let state = empty();
        for number in 0..WATCHERS {
            let conn = ConnId(number as u64);
            state.watches().attach(conn, SessionId(1), &[]);
            state.watches().watch_data(conn, "/");
        }
        state
    };
    let each = || {
        let state = empty();
        state.watches().attach(ConnId(1), SessionId(1), &[]);
        let paths: Vec<String> = (0..NODES).map(|number| path(number).to_string()).collect();
        (state, paths)
    };
    bench.run(
        "watches: leave one on each node",
        NODES,
        each,
        |(state, paths)| {
            for path in paths {
                state.watches().watch_data(ConnId(1), path);
            }
        },
    );
    let change = of_all(1, |_| {
        Txn::SetData(SetDataTxn {
            path: Text::from("/"),
            data: None,
            version: 1,
        })
    });
    bench.run("watches: tell one of many", WATCHERS, watched, |state| {
        apply(state, &change);
    });
}

fn log(bench: &Bench) {
    const BATCH: usize = 100;
    let entries: Vec<Bytes> = (1..=NODES)
        .map(|number| encoded(&entry(number, created(number))))
        .collect();
    let directory = std::env::temp_dir().join(format!("zabd-bench-{:x}", RealDisk.entropy()));
    let options = LogOptions {
        segment_bytes: 64 << 20,
        inline_segment_bytes: 64 << 20,
        // The disk's time is not what is measured.
        durability: Durability::NoFsync,
    };
    let open = || {
        drop(std::fs::remove_dir_all(&directory));
        let opened = TxnLog::open(RealDisk, &directory, options);
        opened.expect("a log in the temporary directory").0
    };
    bench.run("log: append, 100 a write, no fsync", NODES, open, |log| {
        for (batch, txns) in entries.chunks(BATCH).enumerate() {
            for (place, txn) in txns.iter().enumerate() {
                let zxid = Zxid((batch * BATCH + place) as i64 + 1);
                log.append(zxid, txn.clone()).expect("zxids ascend");
            }
            log.sync().expect("the disk takes it");
        }
    });
    drop(std::fs::remove_dir_all(&directory));
}

fn memory(bench: &Bench) {
    let name = "tree: bytes of a node, name and data too";
    if !bench.wants(name) {
        return;
    }
    let before = resident_bytes();
    let state = filled(MANY_NODES);
    let each = resident_bytes().saturating_sub(before) as f64 / MANY_NODES as f64;
    drop(black_box(state));
    println!("{name:40} {each:>10.1} B");
}

/// What is resident, in bytes; 0 where nobody tells.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.unwrap_or_default() << 10
}

fn empty() -> State {
    State::new(StateParams::default())
}

fn filled(nodes: usize) -> State {
    let mut state = empty();
    for from in (0..nodes).step_by(NODES) {
        let creates: Vec<Committed> = (from..nodes.min(from + NODES))
            .map(|number| committed(number, created(number)))
            .collect();
        apply(&mut state, &creates);
    }
    state
}

fn apply(state: &mut State, transactions: &[Committed]) {
    let mut outputs = Outputs::default();
    for committed in transactions {
        state
            .apply(committed, &mut outputs)
            .expect("no digest, no mismatch");
        outputs.clear();
    }
}

fn of_all(count: usize, txn: impl Fn(usize) -> Txn) -> Vec<Committed> {
    (0..count)
        .map(|number| committed(MANY_NODES + number, txn(number)))
        .collect()
}

fn committed(number: usize, txn: Txn) -> Committed {
    Committed {
        entry: entry(number, txn),
        origin: None,
        close: None,
    }
}

fn entry(number: usize, txn: Txn) -> TxnEntry {
    TxnEntry {
        header: TxnHeader {
            client_id: SessionId(1),
            cxid: 1,
            zxid: Zxid(number as i64 + 1),
            time: 1_700_000_000_000,
            op: txn.op().code(),
        },
        txn,
        digest: None,
    }
}

fn encoded(entry: &TxnEntry) -> Bytes {
    let mut bytes = Vec::new();
    entry.write(&mut bytes);
    bytes.into()
}

fn created(number: usize) -> Txn {
    Txn::Create(CreateTxn {
        path: path(number),
        data: Some(Bytes::from_static(&[7; 100])),
        acl: Some(vec![Acl::open()]),
        ephemeral: false,
        parent_cversion: i32::try_from(number).expect("few nodes") + 1,
    })
}

fn path(number: usize) -> Text {
    Text::from(format!("/node{number:07}"))
}
