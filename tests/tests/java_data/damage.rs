//! What is torn is left out as by Java, what is damaged is reported, and older snapshots are used where that loses nothing.

use std::fs;
use std::path::{Path, PathBuf};

use zabd::storage::disk::RealDisk;
use zabd::storage::java::log::LogFile;
use zabd_tests::servers::{Implementation, Server};

use super::shown::Shown;
use super::{LIMIT, end_of, java_dir, killed_under_load, on_copy};

/// The newest log with transactions, and where in it each of them begins.
fn newest_log(server: &Server) -> (PathBuf, Vec<u64>) {
    let logs = java_dir(&server.data_dir()).logs;
    let records = |path: &Path| {
        let mut log = LogFile::open(&RealDisk, path, LIMIT).unwrap();
        let mut places = Vec::new();
        while let Some(record) = log.next_record().unwrap() {
            places.push(record.offset);
        }
        places
    };
    logs.iter()
        .rev()
        .map(|log| (log.path.clone(), records(&log.path)))
        .find(|(_, places)| places.len() > 3)
        .unwrap()
}

fn change(path: &Path, by: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    by(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Both servers, each on a copy with the same damage, show the same.
fn both_go_on(killed: &Server, damage: &dyn Fn(&Server)) {
    let [zabd, java] = [Implementation::Zabd, Implementation::Apache].map(|implementation| {
        let mut server = on_copy(implementation, killed, "");
        damage(&server);
        server.restart().unwrap();
        Shown::by(&server)
    });
    zabd.check_is(&java);
}

#[test]
fn damage_is_met_as_by_java_and_named() {
    if super::is_skipped() {
        return;
    }
    let killed = killed_under_load("", 4);
    // The power went while the last transaction was written.
    both_go_on(&killed, &|server| {
        let (path, places) = newest_log(server);
        let last = usize::try_from(*places.last().unwrap()).unwrap();
        change(&path, |bytes| {
            bytes[last + 30..].fill(0);
        });
    });
    both_go_on(&killed, &|server| {
        let (path, places) = newest_log(server);
        let last = usize::try_from(*places.last().unwrap()).unwrap();
        change(&path, |bytes| bytes.truncate(last + 30));
    });
    // The newest whole snapshot is damaged: an older one and more of the log.
    both_go_on(&killed, &|server| {
        let snapshots = java_dir(&server.data_dir()).snapshots;
        let newest = snapshots.iter().rev().find(|file| end_of(file).is_some());
        change(&newest.unwrap().path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    });
    // A transaction in the middle is damaged: neither starts.
    let (_, places) = newest_log(&killed);
    let damaged = places[places.len() / 2];
    for implementation in [Implementation::Zabd, Implementation::Apache] {
        let mut server = on_copy(implementation, &killed, "");
        let (path, _) = newest_log(&server);
        change(&path, |bytes| {
            bytes[usize::try_from(damaged).unwrap() + 20] ^= 1
        });
        let problem = format!("{:#}", server.restart().unwrap_err());
        assert!(problem.contains("exited at start-up"), "{problem}");
        if implementation == Implementation::Zabd {
            let name = path.file_name().unwrap().to_str().unwrap();
            let words = format!("{name} is damaged at offset {damaged}");
            assert!(problem.contains(&words), "{problem}");
            assert!(!server.data_dir().join("zabd/epochs").exists());
        }
    }
}

#[test]
fn what_was_taken_over_is_not_taken_over_again() {
    if super::is_skipped() {
        return;
    }
    let killed = killed_under_load("", 5);
    let mut zabd = on_copy(Implementation::Zabd, &killed, "");
    zabd.restart().unwrap();
    zabd.kill().unwrap();
    fs::remove_dir_all(zabd.data_dir().join("zabd")).unwrap();
    let problem = format!("{:#}", zabd.restart().unwrap_err());
    let words = "what ZooKeeper left is old, and is not taken over again";
    assert!(problem.contains(words), "{problem}");
    assert!(!zabd.data_dir().join("zabd").exists(), "something is there");
    // Unless somebody says that it is to be.
    fs::remove_file(zabd.data_dir().join("version-2/taken-over-by-zabd")).unwrap();
    zabd.restart().unwrap();
    let taken = zabd.log().matches("was taken over;").count();
    assert_eq!(taken, 2, "{}", zabd.log());
    // ZooKeeper itself passes the mark over.
    zabd.kill().unwrap();
    zabd.set_implementation(Implementation::Apache).unwrap();
    zabd.restart().unwrap();
}
