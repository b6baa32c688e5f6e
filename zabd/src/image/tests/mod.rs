//! Leaders and learners with a log on a simulated disk and a snapshot in memory.

mod behind;
mod importing;
mod installing;
mod rebuilding;
#[cfg(feature = "rocksdb")]
mod rocks;
mod streams;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use jute_codec::data::Acl;
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::{
    CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn, TxnEntry,
    TxnHeader,
};
use jute_codec::{SessionId, Text, Zxid};

use super::rebuild::Sources;
use super::{
    Behind, BehindLimits, ReceiveError, Received, SnapshotReceiver, SnapshotStream, TakenOver,
};
use crate::state::{Committed, Outputs, State, StateParams};
use crate::storage::disk::{Crash, SimDisk};
use crate::storage::install::{self, Installation};
use crate::storage::recovery::{LogBehind, Storage, StorageOptions};
use crate::storage::snapshot::{FoldBatch, MemStore, SnapshotStore};
use crate::storage::txn_log::{Durability, LogError, LogOptions, StagedLog};

const LIMIT: usize = 1 << 20;

const LIMITS: BehindLimits = BehindLimits {
    epoch: 1,
    data_bytes_max: LIMIT,
    pending_bytes_max: 100_000,
};

const LOG: LogOptions = LogOptions {
    segment_bytes: 8192,
    inline_segment_bytes: 8192,
    durability: Durability::Fsync,
};

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
            log: LOG,
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

    /// Begins to take what comes behind a snapshot.
    fn behind(&self, state: State) -> Result<Behind<SimDisk>, LogError> {
        let dir = &self.storage.layout.received_log_dir;
        let (log, after) = (self.storage.log.index(), state.last_zxid());
        let log = StagedLog::begin(&self.disk, dir, LOG, &log, after)?;
        Ok(Behind::begin(state, log, LIMITS))
    }

    /// Puts what was staged in the place of everything; false if the disk does not take it.
    fn put_in_place(&mut self, received: install::Received) -> bool {
        let layout = &self.storage.layout;
        let Ok(installation) = Installation::begin(&self.disk, layout, received) else {
            return false;
        };
        let log = &mut self.storage.log;
        let adopt_log = || {
            log.adopt(&layout.received_log_dir)?;
            Ok(log.index())
        };
        let done = installation.finish(&self.disk, &mut self.store, adopt_log);
        done.is_ok()
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
    let mut ephemerals: Vec<_> = state.sessions_with_ephemerals().collect();
    for (_, paths) in &mut ephemerals {
        paths.sort();
    }
    let figures = state.figures();
    (
        (state.last_zxid(), state.digest(), state.sessions().clone()),
        (figures.nodes, figures.acls, figures.approximate_bytes),
        (ephemerals, {
            let mut abandoned = state.abandoned(i64::MAX, 1);
            abandoned.sort_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
            abandoned
        }),
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

fn proposal(entry: &TxnEntry) -> LeaderPacket {
    let mut txn = Vec::new();
    entry.write(&mut txn);
    LeaderPacket::Proposal {
        zxid: entry.header.zxid,
        txn: txn.into(),
    }
}

/// Transactions as they come behind a snapshot, the first `committed` of them with their COMMIT; then NEWLEADER.
fn packets(entries: &[TxnEntry], committed: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        proposal(entry).write(&mut bytes);
        if place < committed {
            let zxid = entry.header.zxid;
            LeaderPacket::Commit { zxid }.write(&mut bytes);
        }
    }
    new_leader().write(&mut bytes);
    bytes
}

fn new_leader() -> LeaderPacket {
    LeaderPacket::NewLeader {
        epoch: Zxid(EPOCH),
        members: Some(Bytes::from_static(b"version=0")),
    }
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
