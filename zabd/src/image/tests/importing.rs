//! Snapshots that Java would write while transactions go on, taken over; and a crash at every operation on the way.

use std::collections::HashMap;
use std::path::Path;

use jute_codec::quorum::snapshot::{
    OPEN_ACL, write_acl, write_count, write_end_of_nodes, write_node, write_session,
};

use super::*;
use crate::image::forgo::forgo_import;
use crate::image::import::{ImportError, Imported, import_if_wanted};
use crate::state::tree::path;
use crate::storage::disk::{Disk, DiskFile, OpenMode};
use crate::storage::epochs::EpochFile;
use crate::storage::install::Incomplete;
use crate::storage::java::mark::{ImportMark, ImportState};
use crate::storage::java::snapshot::SnapshotWriter;
use crate::storage::layout::Layout;
use crate::storage::repair::Repair;

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mixed = self.0 ^ (self.0 >> 29);
        (mixed >> 17) % bound
    }
}

const SESSIONS: [i64; 3] = [7, 8, 9];

/// A history as a leader makes it, on few paths, so that they come and go and come again. The state at its end, too.
fn long_history(rng: &mut Rng, len: i64) -> (Vec<TxnEntry>, State) {
    let mut state = State::new(params());
    let mut history = Vec::new();
    for zxid in 1..=len {
        let session = SESSIONS[usize::try_from(rng.below(3)).unwrap()];
        let mut entry = entry(zxid, session, next_txn(rng, &state, session));
        let committed = |entry: &TxnEntry| Committed {
            entry: entry.clone(),
            origin: None,
            close: None,
        };
        let applied = state.apply(&committed(&entry), &mut Outputs::default());
        applied.unwrap();
        entry.digest = Some(jute_codec::digest::TxnDigest {
            version: 2,
            tree_digest: state.digest().cast_signed(),
        });
        history.push(entry);
    }
    (history, state)
}

fn next_txn(rng: &mut Rng, state: &State, session: i64) -> Txn {
    let id = SessionId(session);
    if !state.sessions().contains_key(&id) {
        return Txn::CreateSession {
            timeout_ms: 4000 + i32::try_from(rng.below(1000)).unwrap(),
        };
    }
    let tree = state.tree();
    let node_path = match rng.below(4) {
        0 => format!("/{}", rng.below(3)),
        1 => format!("/{}/{}/x", rng.below(3), rng.below(3)),
        _ => format!("/{}/{}", rng.below(3), rng.below(3)),
    };
    let text = || Text::from(node_path.as_str());
    let data = Some(Bytes::from(vec![
        b'd';
        usize::try_from(rng.below(20)).unwrap()
    ]));
    let acl = Some(vec![Acl::new(
        31,
        "digest",
        format!("user:{}", rng.below(5)),
    )]);
    match tree.find(&node_path) {
        _ if rng.below(20) == 0 => {
            let mut paths: Vec<String> = tree.ephemerals(id).collect();
            paths.sort();
            Txn::CloseSession(Some(paths.into_iter().map(Text::from).collect()))
        }
        Some(node) => match rng.below(4) {
            0 => Txn::SetAcl(SetAclTxn {
                path: text(),
                acl,
                version: tree.stored_stat(node).aversion + 1,
            }),
            1 => Txn::SetData(SetDataTxn {
                path: text(),
                data,
                version: tree.stored_stat(node).version + 1,
            }),
            _ if tree.children(node) == 0 => Txn::Delete(DeleteTxn { path: text() }),
            _ => Txn::Error(-111),
        },
        None => match tree.find(path::parent(&node_path)) {
            Some(parent) if tree.stored_stat(parent).ephemeral_owner <= 0 => {
                let parent_cversion = tree.stored_stat(parent).cversion + 1;
                let create = CreateTxn {
                    path: text(),
                    data: data.clone(),
                    acl: acl.clone(),
                    ephemeral: rng.below(3) == 0,
                    parent_cversion,
                };
                match rng.below(8) {
                    0 => Txn::CreateContainer(CreateContainerTxn {
                        path: text(),
                        data,
                        acl,
                        parent_cversion,
                    }),
                    1 => Txn::CreateTtl(CreateTtlTxn {
                        path: text(),
                        data,
                        acl,
                        parent_cversion,
                        ttl_ms: 1000,
                    }),
                    2 => Txn::Create2(create),
                    3 => Txn::Multi(vec![
                        Txn::Create(create),
                        Txn::Delete(DeleteTxn { path: text() }),
                    ]),
                    _ => Txn::Create(create),
                }
            }
            _ => Txn::Error(-101),
        },
    }
}

/// What Java writes: sessions and lists first, then node by node, while transactions go on between the nodes.
struct Writer<'a> {
    state: State,
    left: std::slice::Iter<'a, TxnEntry>,
    lists: HashMap<Vec<Acl>, i64>,
    out: Vec<u8>,
    /// How often a transaction comes between two nodes, in tenths.
    haste: u64,
}

impl Writer<'_> {
    fn go_on(&mut self, rng: &mut Rng) {
        while rng.below(10) < self.haste {
            let Some(entry) = self.left.next() else {
                return;
            };
            let committed = Committed {
                entry: entry.clone(),
                origin: None,
                close: None,
            };
            self.state
                .apply(&committed, &mut Outputs::default())
                .unwrap();
        }
    }

    fn visit(&mut self, rng: &mut Rng, node_path: &str) {
        self.go_on(rng);
        let tree = self.state.tree();
        let Some(node) = tree.find(node_path) else {
            return;
        };
        let number = |acl: &[Acl]| self.lists.get(acl).copied().unwrap_or(99);
        let acl_id = tree.acl(node).map_or(OPEN_ACL, number);
        write_node(
            node_path,
            tree.data(node),
            acl_id,
            &tree.stored_stat(node),
            &mut self.out,
        );
        let children: Vec<_> = tree
            .child_names(node)
            .map(|name| format!("{node_path}/{name}"))
            .collect();
        for child in children {
            self.visit(rng, &child);
        }
    }
}

fn lists(state: &State, node_path: &str, lists: &mut HashMap<Vec<Acl>, i64>) {
    let tree = state.tree();
    let node = tree.find(node_path).unwrap();
    if let Some(acl) = tree.acl(node) {
        let next = i64::try_from(lists.len()).unwrap() + 1;
        lists.entry(acl.to_vec()).or_insert(next);
    }
    for name in tree.child_names(node) {
        self::lists(state, &format!("{node_path}/{name}"), lists);
    }
}

/// The bytes of a snapshot that is begun after so many transactions, and the transaction up to which it reaches.
fn java_snapshot(rng: &mut Rng, history: &[TxnEntry], begin: usize, haste: u64) -> (Vec<u8>, Zxid) {
    let (before, after) = history.split_at(begin);
    let mut writer = Writer {
        state: State::new(params()),
        left: before.iter(),
        lists: HashMap::new(),
        out: Vec::new(),
        haste: 10,
    };
    writer.go_on(rng);
    (writer.left, writer.haste) = (after.iter(), haste);
    let count = |len: usize| i32::try_from(len).unwrap();
    write_count(count(writer.state.sessions().len()), &mut writer.out);
    for (session, timeout_ms) in writer.state.sessions() {
        write_session(*session, *timeout_ms, &mut writer.out);
    }
    writer.go_on(rng);
    lists(&writer.state, "", &mut writer.lists);
    write_count(count(writer.lists.len()), &mut writer.out);
    for (acl, number) in &writer.lists {
        write_acl(*number, acl, &mut writer.out);
    }
    writer.visit(rng, "");
    write_end_of_nodes(&mut writer.out);
    let mut file = SnapshotWriter::begin(Vec::new()).unwrap();
    file.write(&writer.out).unwrap();
    let end = writer.state.last_zxid();
    (file.finish(end, writer.state.digest()).unwrap(), end)
}

fn java_log(history: &[TxnEntry]) -> Vec<u8> {
    let mut file = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for entry in history {
        let mut payload = Vec::new();
        entry.write(&mut payload);
        file.extend(u64::from(adler2::adler32_slice(&payload)).to_be_bytes());
        file.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        file.extend(payload);
        file.push(b'B');
    }
    file.resize(file.len() + 100, 0);
    file
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let dir = Path::new("/data/version-2");
    disk.create_dir_all(dir).unwrap();
    let file = disk.open(&dir.join(name), OpenMode::CreateNew).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir).unwrap();
}

fn options() -> StorageOptions {
    StorageOptions {
        data_dir: "/data".into(),
        data_log_dir: "/data".into(),
        log: LogOptions {
            segment_bytes: 8192,
            inline_segment_bytes: 8192,
            durability: Durability::Fsync,
        },
        log_behind: LogBehind::Refuse,
    }
}

fn import(disk: &SimDisk, store: &MemStore) -> Result<Option<Imported>, ImportError> {
    import_if_wanted(disk, &options(), params(), LIMIT, |_| Ok(store.clone()))
}

/// What a start finds after an import.
fn started(disk: &SimDisk, store: &MemStore) -> State {
    let storage = Storage::open(disk, &options(), |_| Ok(store.clone())).unwrap();
    let sources = Sources {
        layout: &storage.layout,
        snapshot: store,
        log: storage.log.index(),
    };
    sources.newest(params()).unwrap().state
}

fn name(kind: &str, zxid: i64) -> String {
    format!("{kind}.{:x}", EPOCH + zxid)
}

#[test]
fn a_snapshot_of_no_one_moment_becomes_exact() {
    let mut fuzzy = 0;
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let (history, expected) = long_history(&mut rng, 120);
        let begin = usize::try_from(rng.below(110)).unwrap();
        let haste = rng.below(9);
        let (snapshot, end) = java_snapshot(&mut rng, &history, begin, haste);
        let disk = SimDisk::new(seed);
        put(&disk, &name("snapshot", begin as i64), &snapshot);
        put(&disk, &name("log", 1), &java_log(&history));
        let store = MemStore::new();
        let imported = import(&disk, &store).unwrap().unwrap();
        let begin = Zxid(EPOCH + begin as i64);
        assert_eq!(
            (imported.snapshot, imported.mismatches),
            (end.max(begin), 0),
            "{seed}"
        );
        assert_eq!(face(&started(&disk, &store)), face(&expected), "{seed}");
        assert_eq!(import(&disk, &store).unwrap(), None);
        fuzzy += u64::from(end > begin);
    }
    assert!(fuzzy > 200, "{fuzzy}");
}

#[test]
fn a_crash_anywhere_while_importing_leaves_nothing_half() {
    let mut rng = Rng(7);
    let (history, expected) = long_history(&mut rng, 60);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 20, 5);
    let fresh = SimDisk::new(1);
    put(&fresh, &name("snapshot", 20), &snapshot);
    put(&fresh, &name("log", 1), &java_log(&history[..30]));
    put(&fresh, &name("log", 31), &java_log(&history[30..]));
    put(&fresh, "acceptedEpoch", b"3");
    put(&fresh, "currentEpoch", b"1");
    let mut again = 0;
    for operation in 0.. {
        let (disk, store) = (fresh.fork(), MemStore::new());
        disk.reseed(operation);
        disk.crash_at(disk.operations() + operation);
        let first = import(&disk, &store);
        let over = !disk.is_off();
        assert_eq!(over, first.is_ok());
        disk.reboot(Crash::Power);
        store.crash(usize::from(operation % 2 == 0));
        // Done, or from the beginning; the epochs with it.
        again += u64::from(import(&disk, &store).unwrap().is_some());
        assert_eq!(
            face(&started(&disk, &store)),
            face(&expected),
            "{operation}"
        );
        let layout = Layout::new("/data".as_ref(), "/data".as_ref());
        let epochs = EpochFile::new(&layout);
        let epochs = epochs.load(&disk, expected.last_zxid()).unwrap();
        assert_eq!((epochs.accepted, epochs.current), (3, 1));
        if over {
            assert!(again > 10, "{again}");
            return;
        }
    }
}

#[test]
fn older_snapshots_do_if_the_logs_have_the_rest() {
    let mut rng = Rng(11);
    let (history, expected) = long_history(&mut rng, 60);
    let (older, _) = java_snapshot(&mut rng, &history, 10, 5);
    let (newer, _) = java_snapshot(&mut rng, &history, 40, 0);
    let (fuzzy, end) = java_snapshot(&mut rng, &history, 45, 6);
    assert!(end > Zxid(EPOCH + 47), "{end}");
    let torn = &newer[..newer.len() - 1];
    // Snapshots, which part of the history the log has, and what comes of it.
    let logs = [0..60, 20..60, 0..38, 0..46];
    for (snapshots, log, refused) in [
        (vec![(10, &older[..]), (40, &newer)], &logs[0], None),
        (vec![(10, &older), (40, torn)], &logs[0], None),
        (vec![(40, torn)], &logs[0], Some("no snapshot is of use")),
        (
            vec![(10, &older), (40, torn)],
            &logs[1],
            Some("transactions are missing"),
        ),
        (
            vec![(10, &older), (40, torn)],
            &logs[2],
            Some("have been there"),
        ),
        // Of parts of transactions that the log lost nothing is shown.
        (
            vec![(45, &fuzzy)],
            &logs[3],
            Some("the logs end with 0x10000002e"),
        ),
        (vec![], &logs[0], Some("has no snapshot")),
    ] {
        let disk = SimDisk::new(1);
        for (zxid, bytes) in &snapshots {
            put(&disk, &name("snapshot", *zxid), bytes);
        }
        let first = i64::try_from(log.start).unwrap() + 1;
        put(&disk, &name("log", first), &java_log(&history[log.clone()]));
        let store = MemStore::new();
        match (import(&disk, &store), refused) {
            (Ok(Some(_)), None) => assert_eq!(face(&started(&disk, &store)), face(&expected)),
            (Err(problem), Some(word)) => {
                assert!(problem.to_string().contains(word), "{word}: {problem}");
                // It stays refused: nothing of it counts.
                assert!(import(&disk, &store).is_err());
            }
            (other, refused) => panic!("{other:?}, {refused:?}"),
        }
    }
}

#[test]
fn the_own_data_counts_and_what_went_on_beside_it_is_refused() {
    let mut rng = Rng(13);
    let (history, _) = long_history(&mut rng, 30);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 10, 0);
    let disk = SimDisk::new(1);
    let store = MemStore::new();
    put(&disk, &name("snapshot", 10), &snapshot);
    put(&disk, &name("log", 11), &java_log(&history[10..]));
    let own = Path::new("/data/zabd/log/epochs");
    disk.create_dir_all(own.parent().unwrap()).unwrap();
    disk.open(own, OpenMode::CreateNew).unwrap();
    assert_eq!(import(&disk, &store).unwrap(), None);
    disk.remove(own).unwrap();
    assert!(import(&disk, &store).unwrap().is_some());
    put(&disk, &name("log", 31), &java_log(&[]));
    let problem = import(&disk, &store).unwrap_err().to_string();
    assert!(problem.contains("both have gone on"), "{problem}");
    // Only a part of what is zabd's was moved away, and that with the mark of the import.
    disk.open(own, OpenMode::CreateNew).unwrap();
    disk.remove(Path::new("/data/zabd/import")).unwrap();
    let again = import(&disk, &store).unwrap_err().to_string();
    assert_eq!(again, problem);
}

#[test]
fn a_path_that_leads_nowhere_makes_no_node() {
    let mut rng = Rng(23);
    let (mut history, expected) = long_history(&mut rng, 40);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 10, 0);
    for (path, zxid) in ["a", "/a/", "//", ""].into_iter().zip(41..) {
        let create = CreateTxn {
            path: Text::from(path),
            data: None,
            acl: None,
            ephemeral: false,
            parent_cversion: 1,
        };
        history.push(entry(zxid, SESSIONS[0], Txn::Create(create)));
    }
    let (disk, store) = (SimDisk::new(1), MemStore::new());
    put(&disk, &name("snapshot", 10), &snapshot);
    put(&disk, &name("log", 1), &java_log(&history));
    let imported = import(&disk, &store).unwrap().unwrap();
    assert_eq!(imported.digest, expected.digest());
    assert_eq!(started(&disk, &store).digest(), expected.digest());
}

#[test]
fn a_log_that_was_made_and_not_written_is_no_later_one() {
    let mut rng = Rng(29);
    let (history, expected) = long_history(&mut rng, 30);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 10, 0);
    let (disk, store) = (SimDisk::new(1), MemStore::new());
    put(&disk, &name("snapshot", 10), &snapshot);
    put(&disk, &name("log", 11), &java_log(&history[10..]));
    put(&disk, &name("log", 31), &java_log(&[]));
    let imported = import(&disk, &store).unwrap().unwrap();
    assert_eq!(imported.last, expected.last_zxid());
    assert_eq!(import(&disk, &store).unwrap(), None);
    lose_own_data(&disk);
    let refused = import(&disk, &MemStore::new()).unwrap_err();
    assert!(matches!(refused, ImportError::OwnGone { .. }), "{refused}");
}

/// Somebody moves zabd's directories away.
fn lose_own_data(disk: &SimDisk) {
    for dir in ["/data/zabd", "/data/zabd/log"].map(Path::new) {
        for name in disk.list(dir).unwrap() {
            // What is a directory is no file.
            drop(disk.remove(&dir.join(name)));
        }
        disk.sync_dir(dir).unwrap();
    }
}

#[test]
fn what_was_taken_over_is_old_when_the_own_data_is_gone() {
    let mut rng = Rng(17);
    let (history, expected) = long_history(&mut rng, 40);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 10, 0);
    let disk = SimDisk::new(1);
    put(&disk, &name("snapshot", 10), &snapshot);
    put(&disk, &name("log", 11), &java_log(&history[10..30]));
    let last = Zxid(EPOCH + 30);
    assert_eq!(import(&disk, &MemStore::new()).unwrap().unwrap().last, last);
    disk.reboot(Crash::Power);
    lose_own_data(&disk);
    let store = MemStore::new();
    for _ in 0..2 {
        let refused = import(&disk, &store).unwrap_err();
        assert!(refused.is_damage(), "{refused}");
        assert!(
            matches!(refused, ImportError::OwnGone { imported, .. } if imported == last),
            "{refused}"
        );
    }
    // A server of ZooKeeper's went on from there: that is what somebody chose.
    let gone_on = disk.fork();
    put(&gone_on, &name("log", 31), &java_log(&history[30..]));
    let imported = import(&gone_on, &store).unwrap().unwrap();
    assert_eq!(imported.last, expected.last_zxid());
    assert_eq!(face(&started(&gone_on, &store)), face(&expected));
    // The mark is not what was written: nobody knows.
    let mark = Path::new("/data/version-2/taken-over-by-zabd");
    assert!(disk.flip_bit(mark, 5, 1));
    assert!(import(&disk, &MemStore::new()).unwrap_err().is_damage());
}

#[test]
fn whoever_begins_without_does_not_vote_wherever_the_power_goes() {
    let mut rng = Rng(19);
    let (history, _) = long_history(&mut rng, 40);
    let (snapshot, _) = java_snapshot(&mut rng, &history, 10, 0);
    let fresh = SimDisk::new(1);
    put(
        &fresh,
        &name("snapshot", 10),
        &snapshot[..snapshot.len() / 2],
    );
    put(&fresh, &name("log", 11), &java_log(&history[10..]));
    put(&fresh, "acceptedEpoch", b"7");
    put(&fresh, "currentEpoch", b"5");
    let layout = Layout::new("/data".as_ref(), "/data".as_ref());
    let repair = Repair::new("damaged-1".to_owned());
    // A start, up to where the copy would be set aside.
    let start = |disk: &SimDisk| match import(disk, &MemStore::new()) {
        Err(problem) if problem.is_damage() => {
            forgo_import(disk, &options(), &repair).map_err(drop)
        }
        outcome => outcome.map(drop).map_err(drop),
    };
    for operation in 0.. {
        let disk = fresh.fork();
        disk.reseed(operation);
        disk.crash_at(disk.operations() + operation);
        let first = start(&disk);
        let over = !disk.is_off();
        assert_eq!(over, first.is_ok());
        disk.reboot(Crash::Power);
        start(&disk).unwrap();
        let mark = ImportMark::new(&layout).read(&disk).unwrap();
        assert_eq!(mark, ImportState::Done(Zxid(EPOCH + 11)), "{operation}");
        assert!(Incomplete::new(&layout).is_set(&disk).unwrap());
        let wanted = Repair::wanted(&disk, &layout, "other").unwrap();
        assert_eq!(wanted, Some(repair.clone()));
        let epochs = EpochFile::new(&layout).load(&disk, Zxid::ZERO).unwrap();
        assert_eq!((epochs.accepted, epochs.current), (7, 5));
        // Should the own data go once more, it is as before.
        lose_own_data(&disk);
        let refused = import(&disk, &MemStore::new()).unwrap_err();
        assert!(matches!(refused, ImportError::OwnGone { .. }), "{refused}");
        forgo_import(&disk, &options(), &repair).unwrap();
        assert!(Incomplete::new(&layout).is_set(&disk).unwrap());
        assert_eq!(import(&disk, &MemStore::new()).unwrap(), None);
        if over {
            assert!(operation > 10, "{operation}");
            return;
        }
    }
}
