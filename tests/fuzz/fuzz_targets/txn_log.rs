//! Opening a transaction log whose segments are of any bytes, or whole but for some, or lie in whole checksums.
//!
//! Input: how the log is made (1 byte), then what it is made of; see [`raw`], [`damaged`] and [`forged`].

#![no_main]

#[path = "support/limit.rs"]
mod limit;
#[path = "support/source.rs"]
mod source;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::Zxid;
use libfuzzer_sys::fuzz_target;
use source::Source;
use zabd::storage::disk::{Crash, Disk, DiskFile, OpenMode, SimDisk};
use zabd::storage::txn_log::{Durability, LogError, LogOptions, Recovered, TxnLog};

const DIR: &str = "/log";
const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 16384,
    inline_segment_bytes: 8192,
    durability: Durability::Fsync,
};
const HEADER_BLOCK: usize = 4096;

/// Transactions that a log may hold, by their place in it.
type Contents = Vec<(Zxid, Bytes)>;

fn open(disk: &SimDisk) -> Result<(TxnLog<SimDisk>, Recovered), LogError> {
    TxnLog::open(disk.clone(), Path::new(DIR), OPTIONS)
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).expect("the disk works");
    let segments = names.iter().filter(|name| name.ends_with(".zlog"));
    segments.map(|name| Path::new(DIR).join(name)).collect()
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let path = Path::new(DIR).join(name);
    let file = match disk.open(&path, OpenMode::CreateNew) {
        Ok(file) => file,
        Err(_) => disk.open(&path, OpenMode::ReadWrite).expect("it exists"),
    };
    file.write_at(bytes, 0).expect("the disk works");
}

/// One segment of the bytes as they are.
fn raw(source: &mut Source<'_>) -> SimDisk {
    let disk = SimDisk::new(1);
    put(&disk, "0000000000000001.zlog", source.rest());
    disk
}

/// A log that the library wrote, with some bytes changed. Input: how many transactions there are, those (2 bytes each,
/// size and whether the batch or the segment ends), how many changes there are, those (segment, place, bits).
fn damaged(source: &mut Source<'_>) -> (SimDisk, Contents, bool) {
    let disk = SimDisk::new(2);
    let (mut log, _) = open(&disk).expect("the disk works");
    let mut contents = Contents::new();
    let count = 1 + source.byte() % 32;
    for zxid in 1..=i64::from(count) {
        let (size, end) = (usize::from(source.byte()), source.byte());
        let size = if end >= 250 { size * 64 } else { size };
        let txn: Bytes = vec![zxid as u8; size].into();
        log.append(Zxid(zxid), txn.clone()).expect("zxids ascend");
        contents.push((Zxid(zxid), txn));
        match end % 8 {
            0..=2 => drop(log.sync().expect("the disk works")),
            3 => log.roll().expect("the disk works"),
            4 => {
                log.sync().expect("the disk works");
                let left = log.truncate_after(Zxid(zxid - 1)).expect("the disk works");
                assert_eq!(left, Zxid(zxid - 1));
                log.append(Zxid(zxid), contents[contents.len() - 1].1.clone())
                    .expect("zxids ascend");
            }
            _ => {}
        }
    }
    log.sync().expect("the disk works");
    if source.byte() % 2 == 0 {
        log.close().expect("the disk works");
    } else {
        drop(log);
    }
    disk.reboot(Crash::Process);
    let paths = segments(&disk);
    let mut whole = true;
    while !source.is_empty() {
        let path = &paths[usize::from(source.byte()) % paths.len()];
        let place = u64::from(source.u16());
        let place = if place < 256 {
            place
        } else {
            place - 256 + HEADER_BLOCK as u64
        };
        let bits = source.byte();
        for bit in (0..8).filter(|bit| bits & 1 << bit != 0) {
            whole &= !disk.flip_bit(path, place, bit);
        }
    }
    (disk, contents, whole)
}

/// Segments with checksums that are right, over fields from the input. Input: how many segments there are, for each
/// its header, then how many records it has, those, and what is behind them.
fn forged(source: &mut Source<'_>) -> SimDisk {
    let disk = SimDisk::new(3);
    for _ in 0..=source.byte() % 3 {
        let salt = source.number();
        let base = source.number();
        let name = match source.byte() {
            0..=219 => base.wrapping_add(1),
            _ => source.number(),
        };
        let mut bytes = vec![0; HEADER_BLOCK];
        bytes[0..8].copy_from_slice(b"ZABDLOG\n");
        bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
        bytes[16..24].copy_from_slice(&salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&base.to_le_bytes());
        // Half of the range is refused. The last number that is not would leave none for the next segment.
        let sequence = match source.number() {
            accepted @ 0..=0x7fff_ffff_ffff_ffff => accepted / 2,
            refused => refused,
        };
        bytes[32..40].copy_from_slice(&sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&source.number().to_le_bytes());
        bytes[48..52].copy_from_slice(&u32::from(source.byte() % 4 == 1).to_le_bytes());
        bytes[56..64].copy_from_slice(&source.number().to_le_bytes());
        let crc = crc32fast::hash(&[&bytes[0..12], &bytes[16..64]].concat());
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let mut zxid = base;
        let mut batch_start = HEADER_BLOCK as u64;
        for _ in 0..source.byte() % 16 {
            forged_record(source, &mut bytes, salt, &mut zxid, &mut batch_start);
        }
        if source.byte() % 4 == 0 {
            bytes.extend_from_slice(source.short());
        }
        bytes.resize(bytes.len() + usize::from(source.byte()) * 64, 0);
        put(&disk, &format!("{name:016x}.zlog"), &bytes);
    }
    disk
}

/// Input: what is unusual (1 byte of bits), the body behind its length, then the unusual fields.
fn forged_record(
    source: &mut Source<'_>,
    bytes: &mut Vec<u8>,
    salt: u64,
    zxid: &mut u64,
    batch_start: &mut u64,
) {
    let unusual = source.byte();
    let body = source.short();
    let offset = bytes.len() as u64;
    let len = if unusual & 1 != 0 {
        source.number() as u32
    } else {
        body.len() as u32
    };
    let kind = match unusual & 6 {
        2 => 2,
        4 => source.byte().into(),
        _ => 1u32,
    };
    if kind != 2 {
        *zxid = if unusual & 8 != 0 {
            source.number()
        } else {
            zxid.wrapping_add(1)
        };
    }
    if unusual & 16 != 0 {
        *batch_start = offset;
    } else if unusual & 32 != 0 {
        *batch_start = source.number();
    }
    let seeded = |parts: &[&[u8]]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    };
    let body_crc = if unusual & 64 != 0 {
        0
    } else {
        seeded(&[body])
    };
    let mut head = [0; 32];
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&body_crc.to_le_bytes());
    head[12..16].copy_from_slice(&kind.to_le_bytes());
    head[16..24].copy_from_slice(&zxid.to_le_bytes());
    head[24..32].copy_from_slice(&batch_start.to_le_bytes());
    let head_crc = if unusual & 128 != 0 {
        0
    } else {
        seeded(&[&head[4..]])
    };
    head[0..4].copy_from_slice(&head_crc.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

/// All of a log that has opened. Of older segments only the reader learns that they are damaged.
fn read(log: &TxnLog<SimDisk>) -> Result<Contents, LogError> {
    let oldest = log.index().oldest_base().unwrap_or(Zxid::ZERO);
    let contents: Contents = log.read_after(oldest)?.collect::<Result<_, _>>()?;
    assert!(contents.is_sorted_by(|one, next| one.0 < next.0));
    assert_eq!(
        contents.last().map_or(oldest, |(zxid, _)| *zxid),
        log.durable_zxid()
    );
    Ok(contents)
}

/// Opens a log, goes on with it, and opens it again.
fn go_on(disk: &SimDisk) -> Result<Contents, LogError> {
    let (mut log, recovered) = open(disk)?;
    assert_eq!(log.last_zxid(), recovered.last_zxid);
    assert_eq!(log.durable_zxid(), recovered.last_zxid);
    let one_segment = log.index().segment_bases().len() <= 1;
    let contents = read(&log);
    assert!(
        !one_segment || contents.is_ok(),
        "what opened cannot be read: {contents:?}"
    );

    let next = recovered.last_zxid.next();
    // No server gets there: zxids are of 32 bits in each of 2^31 epochs.
    if next > recovered.last_zxid {
        log.append(next, Bytes::from_static(b"next"))
            .expect("it is the next one");
        log.sync().expect("the disk works");
        log.close().expect("the disk works");
        let (log, recovered) = open(disk).expect("it has just been closed in order");
        assert_eq!((recovered.last_zxid, recovered.torn), (next, None));
        assert!(recovered.sealed);
        if let (Ok(before), Ok(after)) = (&contents, read(&log)) {
            assert_eq!(after[..after.len() - 1], before[..]);
        }
    }
    contents
}

fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    match source.byte() {
        0..=39 => drop(go_on(&raw(&mut source))),
        40..=139 => {
            let (disk, written, whole) = damaged(&mut source);
            match go_on(&disk) {
                Ok(contents) => {
                    assert!(
                        written.starts_with(&contents),
                        "what was read was never written"
                    );
                    assert!(
                        !whole || written.len() == contents.len(),
                        "what was written is lost"
                    );
                }
                Err(error) => assert!(!whole, "{error}"),
            }
        }
        _ => drop(go_on(&forged(&mut source))),
    }
});
