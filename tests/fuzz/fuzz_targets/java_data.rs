//! Taking over a data directory of Apache ZooKeeper: a snapshot and a log of any bytes, or with checksums that are right.
//!
//! Input: how they are made (1 byte), then what they are made of; see [`raw`] and [`sealed`].

#![no_main]

#[path = "support/limit.rs"]
mod limit;
#[path = "support/source.rs"]
mod source;

use std::path::Path;

use jute_codec::Zxid;
use libfuzzer_sys::fuzz_target;
use source::Source;
use zabd::image::forgo::forgo_import;
use zabd::image::import::{ImportError, Imported, import_if_wanted};
use zabd::image::rebuild::Sources;
use zabd::state::StateParams;
use zabd::storage::disk::{Crash, Disk, DiskFile, OpenMode, SimDisk};
use zabd::storage::java::snapshot::SnapshotWriter;
use zabd::storage::recovery::{LogBehind, Storage, StorageOptions};
use zabd::storage::repair::Repair;
use zabd::storage::snapshot::MemStore;
use zabd::storage::txn_log::{Durability, LogOptions};

const JAVA: &str = "/data/version-2";
const MARK: &str = "taken-over-by-zabd";
/// The greatest length of a text, of data, of a record.
const LIMIT: usize = 1 << 20;

fn options() -> StorageOptions {
    StorageOptions {
        data_dir: "/data".into(),
        data_log_dir: "/data".into(),
        log: LogOptions {
            segment_bytes: 16384,
            inline_segment_bytes: 8192,
            durability: Durability::Fsync,
        },
        log_behind: LogBehind::Refuse,
    }
}

fn params() -> StateParams {
    StateParams {
        extended_types: true,
        ..StateParams::default()
    }
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let dir = Path::new(JAVA);
    disk.create_dir_all(dir).expect("the disk works");
    // Two of the same name: the first one stays.
    if let Ok(file) = disk.open(&dir.join(name), OpenMode::CreateNew) {
        file.write_at(bytes, 0).expect("the disk works");
        file.sync_data().expect("the disk works");
        disk.sync_dir(dir).expect("the disk works");
    }
}

/// Files of bytes as they are. Input: how the snapshot is packed (1 byte), the snapshot behind its length, the epochs, the log.
fn raw(source: &mut Source<'_>, disk: &SimDisk) {
    let packing = [".gz", ".snappy", ""][usize::from(source.byte() % 3)];
    put(disk, &format!("snapshot.0{packing}"), source.long());
    put(disk, "acceptedEpoch", source.short());
    put(disk, "currentEpoch", source.short());
    if !source.is_empty() {
        put(disk, "log.1", source.rest());
    }
}

/// Snapshots and logs whose checksums are right. Input: how many snapshots there are, for each its zxid and what is between
/// header and seals, behind its length; then records: whether it begins another log (1 byte), what is in it behind its length.
fn sealed(source: &mut Source<'_>, disk: &SimDisk) {
    for _ in 0..=source.byte() % 2 {
        let zxid = Zxid((source.number() >> 1).cast_signed());
        let (end, digest) = (Zxid(zxid.0.saturating_add(source.byte().into())), source.number());
        let mut file = SnapshotWriter::begin(Vec::new()).expect("a vector takes all");
        file.write(source.long()).expect("a vector takes all");
        let file = file.finish(end, digest).expect("a vector takes all");
        put(disk, &format!("snapshot.{:x}", zxid.0), &file);
    }
    let mut log = Vec::new();
    let mut name = 1;
    while !source.is_empty() {
        let begins = source.byte() % 8 == 1;
        let payload = source.long();
        if begins || log.is_empty() {
            if !log.is_empty() {
                put(disk, &format!("log.{name:x}"), &log);
            }
            // The zxid stands behind session and number of the request.
            let zxid = payload.get(12..20).and_then(|bytes| bytes.try_into().ok());
            name = zxid.map_or(1, u64::from_be_bytes) >> 1 << 1 | 1;
            log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
        }
        log.extend(u64::from(adler(payload)).to_be_bytes());
        log.extend((payload.len() as u32).to_be_bytes());
        log.extend(payload);
        log.push(b'B');
    }
    if !log.is_empty() {
        log.extend([0; 64]);
        put(disk, &format!("log.{name:x}"), &log);
    }
}

fn adler(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65521;
        high = (high + low) % 65521;
    }
    high << 16 | low
}

/// What Java has, without the mark.
fn java(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let mut names = disk.list(Path::new(JAVA)).unwrap_or_default();
    names.retain(|name| name != MARK);
    names.sort();
    let read = |name: &String| {
        let bytes = disk.read_whole(&Path::new(JAVA).join(name));
        bytes.expect("the disk works").map(|bytes| bytes.to_vec())
    };
    names
        .iter()
        .map(|name| (name.clone(), read(name)))
        .collect()
}

fn import(disk: &SimDisk, store: &MemStore) -> Result<Option<Imported>, ImportError> {
    import_if_wanted(disk, &options(), params(), LIMIT, |_| Ok(store.clone()))
}

fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let disk = SimDisk::new(1);
    match source.byte() {
        0..=79 => raw(&mut source, &disk),
        _ => sealed(&mut source, &disk),
    }
    let (before, store) = (java(&disk), MemStore::new());
    let outcome = import(&disk, &store);
    assert_eq!(java(&disk), before, "Java's files are changed");
    disk.reboot(Crash::Power);
    match outcome {
        Ok(None) => {}
        Ok(Some(imported)) => {
            let storage = Storage::open(&disk, &options(), |_| Ok(store.clone()))
                .expect("what was taken over can be opened");
            let sources = Sources {
                layout: &storage.layout,
                snapshot: &store,
                log: storage.log.index(),
            };
            // Another tree than Java had is the same other tree each time.
            match sources.newest(params()) {
                Ok(rebuilt) => {
                    let found = (rebuilt.state.last_zxid(), rebuilt.state.digest());
                    assert_eq!(found, (imported.last, imported.digest));
                    assert_eq!(rebuilt.state.digest(), rebuilt.state.audit_digest());
                }
                Err(problem) => assert!(imported.mismatches > 0, "{problem}"),
            }
            drop(storage);
            disk.reboot(Crash::Power);
            assert_eq!(import(&disk, &store).expect("it is done"), None);
        }
        Err(problem) => {
            assert!(!problem.to_string().is_empty());
            if problem.is_damage() {
                let repair = Repair::new("damaged-1".to_owned());
                forgo_import(&disk, &options(), &repair).expect("a server begins without");
                assert_eq!(import(&disk, &store).expect("it is over"), None);
            }
        }
    }
});
