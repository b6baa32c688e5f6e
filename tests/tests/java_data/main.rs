//! Data directories of Apache ZooKeeper: a real server is put under load, killed while it writes a snapshot, and what it left is
//! given to zabd and, as a copy, to Apache again. Both must then show the same.
//!
//! Skipped, with a word about why, where Apache ZooKeeper cannot be run; fails then if `CI` is set.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

mod back;
mod damage;
mod load;
mod shown;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jute_codec::Zxid;
use load::Load;
use shown::Shown;
use zabd::storage::disk::RealDisk;
use zabd::storage::java::dir::{JavaDir, NamedFile};
use zabd::storage::java::snapshot::SnapshotFile;
use zabd_tests::servers::{Implementation, Server, Setup, apache_unavailable};

const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: usize = 4 << 20;

fn is_skipped() -> bool {
    let Some(why) = apache_unavailable() else {
        return false;
    };
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    true
}

/// A server that writes a snapshot every few hundred transactions, packed like this.
fn setup(packing: &str) -> Setup {
    Setup::default()
        .key("4lw.commands.whitelist", "*")
        .property("zookeeper.snapshot.compression.method", packing)
        .property("zookeeper.extendedTypesEnabled", "true")
        .property("zookeeper.preAllocSize", "256")
        .property("zookeeper.snapCount", "600")
        // Nobody cleans up while servers are compared.
        .property("znode.container.checkIntervalMs", "3600000")
        .property(
            "zookeeper.DigestAuthenticationProvider.superDigest",
            shown::SUPER_DIGEST,
        )
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// What Java has left in a `dataDir`.
fn java_dir(data_dir: &Path) -> JavaDir {
    JavaDir::look(&RealDisk, data_dir, data_dir).unwrap()
}

/// The newest transaction of which a whole snapshot may have something.
fn end_of(file: &NamedFile) -> Option<Zxid> {
    let mut snapshot = SnapshotFile::open(&RealDisk, &file.path, LIMIT).ok()?;
    while snapshot.next_item().ok()?.is_some() {}
    snapshot.tail().end(file.zxid)
}

/// A server of Apache's that was killed under load, when the newest whole snapshot was one of no one moment.
fn killed_under_load(packing: &str, seed: u64) -> Server {
    let mut java = Server::start(Implementation::Apache, &setup(packing)).unwrap();
    let load = Load::start(java.address(), seed);
    let deadline = Instant::now() + PATIENCE;
    let fuzzy = loop {
        assert!(
            Instant::now() < deadline,
            "no snapshot is written while something changes"
        );
        let snapshots = java_dir(&java.data_dir()).snapshots;
        let newest = snapshots
            .iter()
            .rev()
            .find_map(|file| Some((file.zxid, end_of(file)?)));
        if let Some((zxid, end)) = newest.filter(|(zxid, end)| snapshots.len() > 3 && end > zxid) {
            break (zxid, end);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // More behind it, so that there is a log to go on with.
    load.wait_for(300);
    java.kill().unwrap();
    load.stop();
    eprintln!("killed; the snapshot {} reaches {}", fuzzy.0, fuzzy.1);
    java
}

/// The files below a directory with their contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in contents(from) {
        fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

/// A server that has not been started yet, with a copy of another one's `version-2`.
fn on_copy(implementation: Implementation, of: &Server, packing: &str) -> Server {
    let server = Server::prepare(implementation, setup(packing), free_address()).unwrap();
    copy(
        &of.data_dir().join("version-2"),
        &server.data_dir().join("version-2"),
    );
    server
}

/// zabd on what a killed server left shows what that server shows when it is started again.
fn is_taken_over(packing: &str, seed: u64) {
    if is_skipped() {
        return;
    }
    let mut java = killed_under_load(packing, seed);
    let mut zabd = on_copy(Implementation::Zabd, &java, packing);
    let before = contents(&zabd.data_dir().join("version-2"));
    // Each is looked at soon after its start: sessions without clients end.
    zabd.restart().unwrap();
    let shown = Shown::by(&zabd);
    java.restart().unwrap();
    shown.check_is(&Shown::by(&java));
    assert!(shown.has_everything(), "{}", shown.summary());
    assert!(
        !zabd.log().contains("is not the one that Java had"),
        "{}",
        zabd.log()
    );
    // Java's files are as they were, and the second start is one on the own data.
    zabd.kill().unwrap();
    let mark = zabd.data_dir().join("version-2/taken-over-by-zabd");
    let mut after = contents(&zabd.data_dir().join("version-2"));
    after.retain(|(path, _)| *path != mark);
    assert!(after == before && mark.exists());
    zabd.restart().unwrap();
    assert_eq!(
        zabd.log().matches("was taken over;").count(),
        1,
        "{}",
        zabd.log()
    );
    shown.check_nodes_are(&Shown::by(&zabd));
}

#[test]
fn a_fuzzy_snapshot_and_its_log_are_taken_over() {
    is_taken_over("", 1);
}

#[test]
fn a_gz_snapshot_is_taken_over() {
    is_taken_over("gz", 2);
}

#[test]
fn a_snappy_snapshot_is_taken_over() {
    is_taken_over("snappy", 3);
}
