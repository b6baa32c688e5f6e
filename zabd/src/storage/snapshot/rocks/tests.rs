//! The store in real directories.

use std::fs;
use std::process::Command;

use super::super::mem::tests::{adopts, assert_holds, fold, made_again, view_stays};
use super::*;
use crate::storage::disk::TestDir;

fn tables(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect()
}

fn filled(dir: &Path) {
    let mut store = RocksStore::open(dir).unwrap();
    for n in 1..=5 {
        store.write(fold(n)).unwrap();
    }
    store.flush().unwrap();
}

fn open_and_scan(dir: &Path) -> Result<(), SnapshotError> {
    let store = RocksStore::open(dir)?;
    store.meta()?;
    store.scan_rows(&mut |_, _| ControlFlow::Continue(()))?;
    store.scan_sessions(&mut |_, _| {})
}

#[test]
fn folds_are_there_at_once_and_durable_after_a_flush() {
    let dir = TestDir::new("rocks");
    let mut store = RocksStore::open(dir.path()).unwrap();
    assert_holds(&store, 0);
    assert_eq!(store.durable_zxid().unwrap(), None);
    for n in 1..=3 {
        store.write(fold(n)).unwrap();
        assert_holds(&store, n);
    }
    assert_eq!(store.durable_zxid().unwrap(), None, "only in memory yet");
    store.flush().unwrap();
    assert_eq!(store.durable_zxid().unwrap(), Some(Zxid(3)));
    store.write(fold(4)).unwrap();
    assert_eq!(store.meta().unwrap().unwrap().zxid, Zxid(4));
    assert_eq!(store.durable_zxid().unwrap(), Some(Zxid(3)));
    drop(store);
    // Closing does not flush: the fold was not asked to be durable, and the log still has it.
    let store = RocksStore::open(dir.path()).unwrap();
    let n = store.durable_zxid().unwrap().unwrap().0;
    assert!(n == 3 || n == 4);
    assert_holds(&store, n);
}

/// The child of `a_killed_writer_leaves_a_whole_prefix`: folds until it is killed.
#[test]
fn killed_writer() {
    let Ok(dir) = std::env::var("ZABD_TEST_ROCKS_DIR") else {
        return;
    };
    let mut store = RocksStore::open(Path::new(&dir)).unwrap();
    let mut n = store.meta().unwrap().map_or(0, |meta| meta.zxid.0);
    loop {
        n += 1;
        store.write(fold(n)).unwrap();
        if n % 7 == 0 {
            store.flush().unwrap();
            fs::write(Path::new(&dir).with_extension("acked"), n.to_string()).unwrap();
        }
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_prefix() {
    let dir = TestDir::new("rocks-kill");
    let store_dir = dir.path().join("store");
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "storage::snapshot::rocks::tests::killed_writer",
                "--nocapture",
            ])
            .env("ZABD_TEST_ROCKS_DIR", &store_dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(std::time::Duration::from_millis(150 + round * 67));
        child.kill().unwrap();
        child.wait().unwrap();
        let acked = fs::read_to_string(store_dir.with_extension("acked")).unwrap_or_default();
        let acked: i64 = acked.parse().unwrap_or(0);
        let store = RocksStore::open(&store_dir).unwrap();
        let n = store.meta().unwrap().map_or(0, |meta| meta.zxid.0);
        assert!(n >= acked, "fold {acked} was flushed, {n} is there");
        assert_holds(&store, n);
    }
}

#[test]
fn a_flipped_bit_is_damage_that_names_the_file() {
    let dir = TestDir::new("rocks-flip");
    filled(dir.path());
    open_and_scan(dir.path()).unwrap();
    let mut noticed = 0;
    for table in tables(dir.path()) {
        let pristine = fs::read(&table).unwrap();
        let mut bytes = pristine.clone();
        // Within the first data block.
        bytes[10] ^= 4;
        fs::write(&table, &bytes).unwrap();
        let error = open_and_scan(dir.path()).unwrap_err();
        let name = table.file_name().unwrap().to_str().unwrap();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        assert!(
            error.to_string().contains(name) && error.to_string().contains("Restore"),
            "{error}"
        );
        fs::write(&table, &pristine).unwrap();
        noticed += 1;
    }
    assert!(noticed >= 3);
    open_and_scan(dir.path()).unwrap();
}

#[test]
fn missing_files_are_damage_and_never_an_empty_store() {
    let dir = TestDir::new("rocks-missing");
    filled(dir.path());
    let mut victims = tables(dir.path());
    victims.push(dir.path().join(CURRENT));
    for victim in victims {
        let aside = dir.path().join("aside");
        fs::rename(&victim, &aside).unwrap();
        let error = open_and_scan(dir.path()).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        let name = victim.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        fs::rename(&aside, &victim).unwrap();
    }
    open_and_scan(dir.path()).unwrap();
}

#[test]
fn what_is_made_again_in_the_fold_that_deletes_it_stays() {
    let dir = TestDir::new("rocks-again");
    made_again(&mut RocksStore::open(dir.path()).unwrap());
}

#[test]
fn another_version_is_refused() {
    let dir = TestDir::new("rocks-version");
    let mut store = RocksStore::open(dir.path()).unwrap();
    store
        .db()
        .unwrap()
        .put_cf_opt(
            store.family(META).unwrap(),
            VERSION_KEY,
            9u32.to_le_bytes(),
            &unlogged(),
        )
        .unwrap();
    store.flush().unwrap();
    drop(store);
    assert!(matches!(
        RocksStore::open(dir.path()),
        Err(SnapshotError::Version { found: 9, .. })
    ));
}

#[test]
fn two_openers_do_not_share_it() {
    let dir = TestDir::new("rocks-two");
    let _store = RocksStore::open(dir.path()).unwrap();
    assert!(matches!(
        RocksStore::open(dir.path()),
        Err(SnapshotError::Io { .. })
    ));
}

#[test]
fn a_creation_cut_short_is_finished() {
    let dir = TestDir::new("rocks-half");
    let mut options = Options::default();
    options.create_if_missing(true);
    drop(DB::open(&options, dir.path()).unwrap());
    let mut store = RocksStore::open(dir.path()).unwrap();
    store.write(fold(1)).unwrap();
    assert_holds(&store, 1);
}

#[test]
fn a_view_stays_as_it_was() {
    let dir = TestDir::new("rocks-view");
    view_stays(&mut RocksStore::open(dir.path()).unwrap());
}

#[test]
fn what_is_staged_is_adopted_whole_or_discarded() {
    let dir = TestDir::new("rocks-adopt");
    let store_dir = dir.path().join("snapshot");
    adopts(&mut RocksStore::open(&store_dir).unwrap());
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["snapshot"], "nothing is left beside it");
}

/// A leader of ours sends paths in the order of their bytes, one of ZooKeeper's does not.
#[test]
fn what_is_staged_may_come_in_any_order() {
    let orders: [&[&[&str]]; 5] = [
        &[&["/", "/a", "/a/b"], &[], &["/c", "/d"]],
        &[&["/", "/d", "/c"], &["/a", "/a/b"]],
        &[&["/", "/c"], &["/a", "/a/b"], &["/d"]],
        &[&["/", "/a", "/a/b"], &["/d", "/c"]],
        &[&[], &["/", "/a", "/a/b", "/c", "/d"]],
    ];
    for order in orders {
        let dir = TestDir::new("rocks");
        let mut store = RocksStore::open(&dir.path().join("snapshot")).unwrap();
        // One that breaks off leaves nothing behind.
        let mut staged = store.stage().unwrap();
        staged.write(rows(9, &["/", "/other"])).unwrap();
        drop(staged);
        store.discard_staged().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let mut staged = store.stage().unwrap();
        for paths in order {
            staged.write(rows(7, paths)).unwrap();
        }
        staged.flush().unwrap();
        drop(staged);
        store.adopt_staged().unwrap();
        drop(store);
        let mut store = RocksStore::open(&dir.path().join("snapshot")).unwrap();
        assert_eq!(store.durable_zxid().unwrap(), Some(Zxid(7)), "{order:?}");
        assert_eq!(
            paths_of(&store),
            ["/", "/a", "/a/b", "/c", "/d"],
            "{order:?}"
        );
        // What is folded in later wins over the tables.
        let mut later = rows(8, &["/a/b/c"]);
        later.deletes.push(Bytes::from_static(b"/a"));
        store.write(later).unwrap();
        store.flush().unwrap();
        assert_eq!(paths_of(&store), ["/", "/a/b", "/a/b/c", "/c", "/d"]);
    }
}

fn rows(zxid: i64, paths: &[&str]) -> FoldBatch {
    let row = |path: &&str| {
        let path = Bytes::copy_from_slice(path.as_bytes());
        (path.clone(), path)
    };
    FoldBatch {
        zxid: Zxid(zxid),
        puts: paths.iter().map(row).collect(),
        ..FoldBatch::default()
    }
}

fn paths_of(store: &RocksStore) -> Vec<String> {
    let mut paths = Vec::new();
    let visit = &mut |path: &[u8], row: &[u8]| {
        assert_eq!(path, row);
        paths.push(String::from_utf8(path.to_vec()).unwrap());
        ControlFlow::Continue(())
    };
    store.scan_rows(visit).unwrap();
    paths
}

#[test]
fn a_view_ends_when_its_store_is_replaced() {
    let dir = TestDir::new("rocks-view-end");
    let mut store = RocksStore::open(&dir.path().join("snapshot")).unwrap();
    store.write(fold(5)).unwrap();
    let mut view = store.view().unwrap().unwrap();
    let mut staged = store.stage().unwrap();
    staged.write(fold(1)).unwrap();
    staged.flush().unwrap();
    drop(staged);
    store.adopt_staged().unwrap();
    assert_holds(&store, 1);
    assert!(view.rows_after(None, 10).is_err() && view.sessions().is_err());
}

/// Each state that a crash while adopting can leave, made by hand.
#[test]
fn an_adoption_cut_short_anywhere_is_finished() {
    for step in 0..=4 {
        let dir = TestDir::new("rocks-adopt-cut");
        let at = |name: &str| dir.path().join(name);
        filled(&at("snapshot"));
        let mut staged = RocksStore::open(&at("snapshot.received")).unwrap();
        staged.write(fold(1)).unwrap();
        staged.flush().unwrap();
        drop(staged);
        if step >= 1 {
            fs::rename(at("snapshot"), at("snapshot.old")).unwrap();
        }
        if step >= 2 {
            fs::rename(at("snapshot.received"), at("snapshot")).unwrap();
        }
        if step >= 3 {
            fs::remove_file(&tables(&at("snapshot.old"))[0]).unwrap();
        }
        if step >= 4 {
            fs::remove_dir_all(at("snapshot.old")).unwrap();
        }
        let mut store = RocksStore::open(&at("snapshot")).unwrap();
        store.adopt_staged().unwrap();
        assert_holds(&store, 1);
        drop(store);
        assert!(!at("snapshot.old").exists() && !at("snapshot.received").exists());
        assert_holds(&RocksStore::open(&at("snapshot")).unwrap(), 1);
    }
}
