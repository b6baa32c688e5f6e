//! Leaders and learners with a log on a simulated disk and a snapshot in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::quorum::snapshot::{
    write_acl, write_acl_count, write_end, write_node, write_session, write_session_count,
};
use jute_codec::txn::{
    CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn, TxnEntry,
    TxnHeader,
};
use jute_codec::{SessionId, Text, Zxid};

use super::rebuild::{RebuildError, Rebuilt, Sources};
use super::{Progress, ReceiveError, Received, SnapshotReceiver, SnapshotStream};
use crate::state::{Committed, Outputs, RowError, State, StateParams};
use crate::storage::disk::{Crash, SimDisk};
use crate::storage::install::Installation;
use crate::storage::recovery::{LogBehind, Storage, StorageOptions};
use crate::storage::snapshot::{FoldBatch, MemStore, SnapshotStore};
use crate::storage::txn_log::{Durability, LogOptions};

const LIMIT: usize = 1 << 20;

fn params() -> StateParams {
    StateParams {
        extended_types: true,
        ..StateParams::default()
    }
}

/// A server as far as this module knows one.
struct Server {
    disk: SimDisk,
    store: MemStore,
    storage: Storage<SimDisk, MemStore>,
    state: State,
}

impl Server {
    fn start(disk: SimDisk, store: MemStore) -> Self {
        let options = StorageOptions {
            data_dir: "/data".into(),
            data_log_dir: "/logs".into(),
            log: LogOptions {
                segment_bytes: 8192,
                inline_segment_bytes: 8192,
                durability: Durability::Fsync,
            },
            log_behind: LogBehind::Refuse,
        };
        let storage = Storage::open(&disk, &options, |_| Ok(store.clone())).unwrap();
        let mut server = Self {
            disk,
            store,
            storage,
            state: State::new(params()),
        };
        server.state = server.sources().newest(params()).unwrap().state;
        server
    }

    fn new() -> Self {
        Self::start(SimDisk::new(1), MemStore::new())
    }

    /// With these transactions, the first `folded` of them in the snapshot.
    fn with(history: &[TxnEntry], folded: usize) -> Self {
        let mut server = Self::new();
        for (place, entry) in history.iter().enumerate() {
            if place == folded {
                server.fold();
            }
            server.commit(entry);
        }
        server
    }

    fn sources(&self) -> Sources<'_, SimDisk, MemStore> {
        Sources {
            layout: &self.storage.layout,
            snapshot: &self.store,
            log: self.storage.log.index(),
        }
    }

    fn commit(&mut self, entry: &TxnEntry) {
        let mut payload = Vec::new();
        entry.write(&mut payload);
        let log = &mut self.storage.log;
        log.append(entry.header.zxid, payload.into()).unwrap();
        log.sync().unwrap();
        let committed = Committed {
            entry: entry.clone(),
            origin: None,
            close: None,
        };
        self.state
            .apply(&committed, &mut Outputs::default())
            .unwrap();
    }

    fn fold(&mut self) {
        let start = self.state.begin_fold();
        let rows = self.state.fold_slice(usize::MAX).rows;
        let mut batch = FoldBatch {
            zxid: start.zxid,
            digest: start.digest,
            deletes: start.deleted.into_iter().map(key).collect(),
            puts: rows
                .into_iter()
                .map(|(path, row)| (key(path), row.into()))
                .collect(),
            ..FoldBatch::default()
        };
        for (session, timeout_ms) in start.sessions {
            match timeout_ms {
                Some(timeout_ms) => batch.session_puts.push((session, timeout_ms)),
                None => batch.session_deletes.push(session),
            }
        }
        self.store.write(batch).unwrap();
        self.store.flush().unwrap();
    }

    fn stream(&self, slice_bytes: usize) -> SnapshotStream {
        SnapshotStream::new(self.store.view().unwrap().unwrap(), slice_bytes)
    }

    /// Everything that the store has.
    fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        self.store
            .scan_rows(&mut |path, row| {
                let path = String::from_utf8(path.to_vec()).unwrap();
                stored.rows.insert(path, row.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        self.store
            .scan_sessions(&mut |session, timeout_ms| stored.sessions.push((session, timeout_ms)))
            .unwrap();
        stored.meta = self
            .store
            .meta()
            .unwrap()
            .map(|meta| (meta.zxid, meta.digest));
        stored
    }

    /// Loses power, and starts again.
    fn restart(self) -> Self {
        let Self { disk, store, .. } = self;
        disk.reboot(Crash::Power);
        store.crash(0);
        Self::start(disk, store)
    }
}

fn key(path: Box<str>) -> Bytes {
    Bytes::from(String::from(path))
}

#[derive(Debug, Default, PartialEq)]
struct Stored {
    rows: BTreeMap<String, Vec<u8>>,
    sessions: Vec<(SessionId, i32)>,
    meta: Option<(Zxid, u64)>,
}

/// What two states that are the same have in common.
fn face(state: &State) -> impl PartialEq + std::fmt::Debug + use<> {
    assert_eq!(state.digest(), state.audit_digest());
    let ephemerals: Vec<_> = state.sessions_with_ephemerals().collect();
    let figures = state.figures();
    (
        (state.last_zxid(), state.digest(), state.sessions().clone()),
        (figures.nodes, figures.acls, figures.approximate_bytes),
        (ephemerals, state.abandoned(i64::MAX, 1)),
    )
}

fn entry(zxid: i64, session: i64, txn: Txn) -> TxnEntry {
    TxnEntry {
        header: TxnHeader {
            client_id: SessionId(session),
            cxid: 1,
            zxid: Zxid(EPOCH + zxid),
            time: 1_700_000_000_000 + zxid,
            op: txn.op().code(),
        },
        txn,
        digest: None,
    }
}

const EPOCH: i64 = 1 << 32;

fn create(path: &'static str, data: Option<&'static [u8]>, acl: Vec<Acl>) -> CreateTxn {
    CreateTxn {
        path: Text::from_static(path),
        data: data.map(Bytes::from_static),
        acl: Some(acl),
        ephemeral: false,
        parent_cversion: -1,
    }
}

/// 17 transactions with one node of each kind, by the session 7 and the session 8, which ends.
fn history() -> Vec<TxnEntry> {
    let open = || vec![Acl::open()];
    let own = || {
        vec![
            Acl::new(31, "digest", "a:b"),
            Acl::new(1, "ip", "10.0.0.0/8"),
        ]
    };
    let ephemeral = |path| CreateTxn {
        ephemeral: true,
        ..create(path, None, open())
    };
    let container = CreateContainerTxn {
        path: Text::from_static("/container"),
        data: None,
        acl: Some(open()),
        parent_cversion: -1,
    };
    let ttl = CreateTtlTxn {
        path: Text::from_static("/ttl"),
        data: Some(Bytes::new()),
        acl: Some(own()),
        parent_cversion: -1,
        ttl_ms: 1000,
    };
    let txns = vec![
        (7, Txn::CreateSession { timeout_ms: 4000 }),
        (8, Txn::CreateSession { timeout_ms: 5000 }),
        (7, Txn::Create(create("/a", Some(b"data"), open()))),
        (7, Txn::Create(create("/a/\u{e9}\u{4e2d}", None, own()))),
        (7, Txn::Create(ephemeral("/a/mine"))),
        (8, Txn::Create(ephemeral("/a/other"))),
        (7, Txn::CreateContainer(container)),
        (7, Txn::Create(create("/container/child", None, open()))),
        (7, Txn::CreateTtl(ttl)),
        (7, Txn::Create(create("/a!", Some(&[0xff; 700]), open()))),
        (8, Txn::CloseSession(Some(vec!["/a/other".into()]))),
        (
            7,
            Txn::SetData(SetDataTxn {
                path: "/a".into(),
                data: Some(Bytes::from_static(b"more")),
                version: 1,
            }),
        ),
        (
            7,
            Txn::SetAcl(SetAclTxn {
                path: "/a".into(),
                acl: Some(own()),
                version: 1,
            }),
        ),
        (7, Txn::Create(create("/gone", None, open()))),
        (
            7,
            Txn::Delete(DeleteTxn {
                path: "/gone".into(),
            }),
        ),
        (9, Txn::CreateSession { timeout_ms: 6000 }),
        (9, Txn::Create(ephemeral("/last"))),
    ];
    (1..)
        .zip(txns)
        .map(|(zxid, (session, txn))| entry(zxid, session, txn))
        .collect()
}

/// The states after each of these transactions, the empty one first.
fn states(history: &[TxnEntry]) -> Vec<State> {
    (0..=history.len())
        .map(|len| Server::with(&history[..len], usize::MAX).state)
        .collect()
}

fn receive(
    server: &mut Server,
    zxid: Zxid,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<Received, ReceiveError> {
    let mut receiver = SnapshotReceiver::begin(&mut server.store, zxid, params(), LIMIT)?;
    for piece in pieces {
        receiver.feed(&piece)?;
    }
    receiver.finish()
}

fn whole(stream: SnapshotStream) -> Bytes {
    let mut bytes = Vec::new();
    for slice in stream {
        bytes.extend(slice.unwrap());
    }
    bytes.into()
}

fn pieces(bytes: &Bytes, piece: usize) -> Vec<Bytes> {
    bytes.chunks(piece).map(Bytes::copy_from_slice).collect()
}

#[test]
fn a_learner_gets_what_the_leader_has_however_it_is_cut() {
    let mut leader = Server::with(&history(), 5);
    leader.fold();
    let reference = whole(leader.stream(LIMIT));
    for slice_bytes in [0, 1, 100, 1000] {
        let stream = leader.stream(slice_bytes);
        assert_eq!(stream.zxid(), Zxid(EPOCH + 17));
        assert_eq!(whole(stream), reference, "slices of {slice_bytes}");
    }
    for piece in [1, 13, 1000, LIMIT] {
        let mut learner = Server::new();
        let received = receive(
            &mut learner,
            Zxid(EPOCH + 17),
            pieces(&[&reference[..], b"rest"].concat().into(), piece),
        )
        .unwrap();
        assert_eq!(received.rest, &b"rest"[..]);
        assert_eq!(face(&received.state), face(&leader.state));
        learner.store.adopt_staged().unwrap();
        assert_eq!(learner.stored(), leader.stored());
    }
}

#[test]
fn a_stream_is_of_one_moment_while_the_leader_goes_on() {
    let history = history();
    let mut leader = Server::with(&history[..12], 3);
    leader.fold();
    let expected = face(&leader.state);
    let mut stream = leader.stream(64);
    let mut slices = vec![stream.next_slice().unwrap().unwrap()];
    for entry in &history[12..] {
        leader.commit(entry);
        leader.fold();
        slices.extend(stream.next_slice().unwrap());
    }
    slices.extend(stream.by_ref().map(Result::unwrap));
    assert_eq!(stream.zxid(), Zxid(EPOCH + 12));
    let received = receive(&mut Server::new(), stream.zxid(), slices).unwrap();
    assert_eq!(face(&received.state), expected);
}

/// The snapshot file of a real server, whose digest stands in it.
#[test]
fn what_a_java_server_has_is_taken_with_the_digest_that_it_counted() {
    let text = include_str!("../../../jute-codec/tests/golden/server.snapshot");
    let hex: String = text.lines().skip(1).collect();
    let file: Vec<u8> = (0..hex.len() / 2)
        .map(|place| u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).unwrap())
        .collect();
    let body_end = file.len() - 67;
    let word = |at: usize| i64::from_be_bytes(file[at..at + 8].try_into().unwrap());
    let (zxid, digest) = (Zxid(word(body_end + 13)), word(body_end + 25));
    assert!(zxid > Zxid::ZERO, "the server told no digest");
    let body = [&file[16..body_end], b"\0\0\0\x0aBenWasHere"].concat();

    let mut learner = Server::new();
    let received = receive(&mut learner, zxid, [body.into()]).unwrap();
    assert_eq!(received.state.digest(), digest.cast_unsigned());
    assert_eq!(received.state.sessions().len(), 1);
    assert_eq!(received.state.sessions_with_ephemerals().count(), 1);
    // And on to the next one.
    learner.store.adopt_staged().unwrap();
    let again = whole(learner.stream(500));
    let next = receive(&mut Server::new(), zxid, [again]).unwrap();
    assert_eq!(face(&next.state), face(&received.state));
}

/// A stream of these nodes with no data, the second list being `ip:1`.
fn stream_of(nodes: &[(&str, i64)]) -> Bytes {
    let mut out = Vec::new();
    write_session_count(1, &mut out);
    write_session(SessionId(1), 1000, &mut out);
    write_acl_count(1, &mut out);
    write_acl(2, &[Acl::new(1, "ip", "1")], &mut out);
    for (path, acl) in nodes {
        write_node(path, None, *acl, &StatPersisted::ZERO, &mut out);
    }
    write_end(&mut out);
    out.into()
}

#[test]
fn what_makes_no_tree_is_refused_and_what_was_there_stays() {
    let mut learner = Server::with(&history(), 8);
    let before = (learner.stored(), face(&learner.state));
    let good = stream_of(&[("", -1), ("/a", 2), ("/a/b", -1)]);
    type Check = fn(&ReceiveError) -> bool;
    let table: [(&str, Bytes, Check); 9] = [
        ("nothing", Bytes::new(), |error| {
            matches!(error, ReceiveError::BrokenOff)
        }),
        ("a part", good.slice(..good.len() - 1), |error| {
            matches!(error, ReceiveError::BrokenOff)
        }),
        ("no node", stream_of(&[]), |error| {
            matches!(error, ReceiveError::Empty)
        }),
        ("no root", stream_of(&[("/a", -1)]), |error| {
            matches!(error, ReceiveError::Row(RowError::NoParent { .. }))
        }),
        ("two roots", stream_of(&[("", -1), ("", -1)]), |error| {
            matches!(error, ReceiveError::Twice { .. })
        }),
        (
            "a node twice",
            stream_of(&[("", -1), ("/a", -1), ("/b", -1), ("/a", -1)]),
            |error| matches!(error, ReceiveError::Twice { .. }),
        ),
        (
            "no parent",
            stream_of(&[("", -1), ("/a/b", -1), ("/a", -1)]),
            |error| matches!(error, ReceiveError::Row(RowError::NoParent { .. })),
        ),
        ("no path", stream_of(&[("", -1), ("a", -1)]), |error| {
            matches!(error, ReceiveError::Row(RowError::NotAPath { .. }))
        }),
        (
            "another end",
            [&good[..good.len() - 1], b"!"].concat().into(),
            |error| matches!(error, ReceiveError::Stream(_)),
        ),
    ];
    for (what, stream, expected) in table {
        for piece in [1, LIMIT] {
            let error = receive(&mut learner, Zxid(5), pieces(&stream, piece)).unwrap_err();
            assert!(expected(&error), "{what}: {error}");
            learner.store.discard_staged().unwrap();
            assert!(!learner.store.has_staged());
        }
    }
    assert_eq!((learner.stored(), face(&learner.state)), before);
    let learner = learner.restart();
    assert_eq!(face(&learner.state), before.1);
    receive(&mut Server::new(), Zxid(5), [good]).unwrap();
}

#[test]
fn a_list_that_the_stream_lacks_lets_nobody_in() {
    let stream = stream_of(&[("", -1), ("/a", 2), ("/b", 3), ("/c", -1)]);
    let received = receive(&mut Server::new(), Zxid(5), [stream]).unwrap();
    let tree = received.state.tree();
    let allows = |path: &str, wanted| {
        let id = tree.find(path).unwrap();
        received
            .state
            .params()
            .acl
            .allows(tree.acl(id), wanted, &[])
    };
    assert!(allows("/c", 31));
    for perm in [1, 2, 4, 8, 16] {
        assert!(!allows("/b", perm), "{perm}");
    }
}

/// Takes a snapshot in place of the history, then one more transaction. Whether each is durable.
fn install(server: &mut Server, zxid: Zxid, stream: &Bytes, next: &TxnEntry) -> (bool, bool) {
    if receive(server, zxid, pieces(stream, 1000)).is_err() {
        return (false, false);
    }
    let Ok(installation) = Installation::begin(&server.disk, &server.storage.layout, zxid) else {
        return (false, false);
    };
    let log = &mut server.storage.log;
    let done = installation.finish(&server.disk, &mut server.store, |zxid| log.restart_at(zxid));
    if done.is_err() {
        return (false, false);
    }
    let mut payload = Vec::new();
    next.write(&mut payload);
    log.append(next.header.zxid, payload.into()).unwrap();
    (true, log.sync().is_ok())
}

/// The old history ends before, with or after the snapshot that is received, or is empty.
#[test]
fn a_crash_anywhere_while_installing_leaves_the_old_history_or_the_new_one() {
    let history = history();
    let states = states(&history);
    let mut seen = [0; 3];
    // How long the old history is, how much of it is in the old snapshot, what is received.
    for (old, folded, new) in [
        (0, 99, 16),
        (9, 4, 12),
        (12, 12, 12),
        (17, 6, 12),
        (6, 99, 3),
    ] {
        let mut leader = Server::with(&history[..new], usize::MAX);
        leader.fold();
        let stream = whole(leader.stream(300));
        let next = &history[new];
        let zxid = next.header.zxid.0 - 1;
        let learner = Server::with(&history[..old], folded);
        let Server { disk, store, .. } = learner;
        disk.reboot(Crash::Process);
        let mut operation = 0;
        loop {
            let disk = disk.fork();
            disk.reseed(operation * 7 + old as u64);
            let mut server = Server::start(disk.clone(), deep_copy(&store));
            disk.crash_at(disk.operations() + operation);
            let (installed, appended) = install(&mut server, Zxid(zxid), &stream, next);
            let over = !disk.is_off();
            assert_eq!(over, appended);
            let server = server.restart();
            assert!(!server.store.has_staged());
            let found = face(&server.state);
            if found == face(&states[new + 1]) && server.state.last_zxid() == next.header.zxid {
                seen[2] += 1;
            } else if found == face(&states[new]) && !appended {
                seen[1] += 1;
            } else {
                assert_eq!(found, face(&states[old]), "{old} {new} {operation}");
                assert!(!installed);
                seen[0] += 1;
            }
            // Whatever it is, it goes on and comes back.
            let at = server.state.last_zxid().0 - EPOCH.min(server.state.last_zxid().0);
            let mut server = server;
            server.commit(&entry(at + 1, 7, Txn::CreateSession { timeout_ms: 1 }));
            let expected = face(&server.state);
            assert_eq!(face(&server.restart().state), expected);
            if over {
                break;
            }
            operation += 1;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 5), "{seen:?}");
}

/// A store of its own with the same contents.
fn deep_copy(store: &MemStore) -> MemStore {
    let mut copy = MemStore::new();
    let Some(meta) = store.meta().unwrap() else {
        return copy;
    };
    let mut batch = FoldBatch {
        zxid: meta.zxid,
        digest: meta.digest,
        ..FoldBatch::default()
    };
    store
        .scan_rows(&mut |path, row| {
            let row = (Bytes::copy_from_slice(path), Bytes::copy_from_slice(row));
            batch.puts.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    store
        .scan_sessions(&mut |session, timeout_ms| batch.session_puts.push((session, timeout_ms)))
        .unwrap();
    copy.write(batch).unwrap();
    copy.flush().unwrap();
    copy
}

#[test]
fn a_history_is_cut_and_its_state_with_it() {
    let history = history();
    let states = states(&history);
    for kept in 4..=17 {
        let mut server = Server::with(&history, 4);
        let (disk, store, layout) = (
            server.disk.clone(),
            server.store.clone(),
            server.storage.layout.clone(),
        );
        let sources = Sources {
            layout: &layout,
            snapshot: &store,
            log: server.storage.log.index(),
        };
        let zxid = Zxid(EPOCH + kept);
        let log = &mut server.storage.log;
        let Rebuilt {
            state,
            snapshot_zxid,
            replayed,
        } = sources
            .truncate(zxid, params(), |zxid| log.truncate_after(zxid).map(drop))
            .unwrap();
        let expected = face(&states[usize::try_from(kept).unwrap()]);
        assert_eq!(face(&state), expected);
        assert_eq!(
            (snapshot_zxid, replayed),
            (Zxid(EPOCH + 4), kept.cast_unsigned() - 4)
        );
        drop(server);
        disk.reboot(Crash::Power);
        let server = Server::start(disk, store);
        assert_eq!(face(&server.state), expected);
    }
}

#[test]
fn what_cannot_be_cut_is_left_whole() {
    let history = history();
    let server = Server::with(&history, 9);
    let cut = |zxid: Zxid| {
        server
            .sources()
            .truncate(zxid, params(), |_| panic!("nothing is cut"))
            .unwrap_err()
    };
    let error = cut(Zxid(EPOCH + 8));
    assert!(
        matches!(error, RebuildError::SnapshotBeyond { .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("0x100000008") && message.contains("0x100000009"),
        "{message}"
    );
    for missing in [EPOCH + 18, 2 * EPOCH] {
        let error = cut(Zxid(missing));
        assert!(
            matches!(error, RebuildError::NotInLog { before, .. } if before == Zxid(EPOCH + 17)),
            "{error}"
        );
    }
    assert!(matches!(
        server.sources().through(Zxid(EPOCH + 18), params()),
        Err(RebuildError::Log(_))
    ));
    let expected = face(&server.state);
    assert_eq!(face(&server.restart().state), expected);
}

#[test]
fn feeding_tells_when_it_is_complete() {
    let stream = stream_of(&[("", -1)]);
    let mut store = MemStore::new();
    let mut receiver = SnapshotReceiver::begin(&mut store, Zxid(1), params(), LIMIT).unwrap();
    let (most, last) = stream.split_at(stream.len() - 1);
    assert_eq!(receiver.feed(most).unwrap(), Progress::More);
    assert_eq!(receiver.feed(last).unwrap(), Progress::Complete);
    assert_eq!(receiver.feed(b"more").unwrap(), Progress::Complete);
    assert_eq!(receiver.finish().unwrap().rest, &b"more"[..]);
}
