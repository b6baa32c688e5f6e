//! Decay of durable bytes is reported with its place; unfinished writes are left out without a word.

use super::super::DamageCause;
use super::super::format::{RecordKind, SegmentHeader};
use super::super::reader::open_segment;
use super::super::segment::Step;
use super::*;
use crate::storage::disk::{Crash, Disk, DiskFile, OpenMode};

struct Place {
    file: PathBuf,
    offset: u64,
    len: u64,
    zxid: Zxid,
    kind: RecordKind,
}

/// Every record of every segment.
fn places(disk: &SimDisk) -> Vec<Place> {
    let mut places = Vec::new();
    for file in segment_files(disk) {
        let mut reader = open_segment(disk, &file).unwrap();
        while let Step::Record { offset, head, .. } = reader.step().unwrap() {
            let len = u64::from(head.len) + 32;
            places.push(Place {
                file: file.clone(),
                offset,
                len,
                zxid: head.zxid,
                kind: head.kind,
            });
        }
    }
    places
}

/// Zxids 1 to 23 in several segments, the last batch being 22 and 23.
fn log_of_23(seal: bool) -> SimDisk {
    let disk = SimDisk::new(8);
    let (mut log, _) = open(&disk);
    for zxid in (1..=21).step_by(3) {
        append(&mut log, zxid..zxid + 3, 700);
        log.sync().unwrap();
    }
    append(&mut log, [22, 23], 90);
    log.sync().unwrap();
    if seal {
        log.close().unwrap();
    }
    disk.reboot(Crash::Process);
    disk
}

/// Everything the log says, on opening or on reading it.
fn read_all(disk: &SimDisk) -> Result<Vec<i64>, LogError> {
    let (log, _) = try_open(disk)?;
    Ok(try_contents(&log, Zxid::ZERO)?
        .into_iter()
        .map(|(zxid, _)| zxid.0)
        .collect())
}

#[test]
fn any_flip_in_a_superseded_record_is_reported_with_its_place() {
    for seal in [false, true] {
        let pristine = log_of_23(seal);
        assert_eq!(
            read_all(&pristine.fork()).unwrap(),
            (1..=23).collect::<Vec<_>>()
        );
        assert!(segment_files(&pristine).len() > 1);
        for place in places(&pristine) {
            let superseded = place.zxid <= Zxid(21) || seal;
            if !superseded || place.kind == RecordKind::Seal {
                continue;
            }
            for byte in [0, 4, 8, 12, 16, 24, 31, 32, place.len / 2, place.len - 1] {
                let disk = pristine.fork();
                assert!(disk.flip_bit(&place.file, place.offset + byte, 3));
                let error = read_all(&disk).unwrap_err();
                let LogError::Damaged {
                    file,
                    offset,
                    last_good,
                    next_good,
                    cause,
                } = &error
                else {
                    panic!("{error}");
                };
                assert_eq!((file, *offset), (&place.file, place.offset), "{error}");
                assert_eq!(*last_good, Zxid(place.zxid.0 - 1));
                // 23 is followed by the seal alone.
                let next = (place.zxid < Zxid(23)).then_some(place.zxid.next());
                assert_eq!(*next_good, next, "byte {byte} of {}: {error}", place.zxid);
                assert!(
                    matches!(cause, DamageCause::Checksum | DamageCause::Short),
                    "{error}"
                );
                let text = error.to_string();
                assert!(
                    text.contains(&file.display().to_string()) && text.contains("Restore the file"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn a_flip_in_the_last_batch_cannot_be_told_from_a_torn_write() {
    let pristine = log_of_23(false);
    for place in places(&pristine)
        .iter()
        .filter(|place| place.zxid > Zxid(21))
    {
        let disk = pristine.fork();
        assert!(disk.flip_bit(&place.file, place.offset + 40, 0));
        assert_eq!(
            read_all(&disk).unwrap(),
            (1..place.zxid.0).collect::<Vec<_>>()
        );
    }
    // Once such a log has been opened, its last batch is proven and the limit is gone.
    drop(open(&pristine));
    pristine.reboot(Crash::Process);
    let last = places(&pristine).pop().unwrap();
    assert_eq!(last.zxid, Zxid(23));
    assert!(pristine.flip_bit(&last.file, last.offset + 40, 0));
    assert!(matches!(
        read_all(&pristine),
        Err(LogError::Damaged {
            last_good: Zxid(22),
            ..
        })
    ));
}

#[test]
fn a_write_cut_anywhere_in_the_last_record_is_left_out() {
    let pristine = log_of_23(false);
    let last = places(&pristine).pop().unwrap();
    for kept in 0..last.len {
        let disk = pristine.fork();
        let file = disk.open(&last.file, OpenMode::ReadWrite).unwrap();
        let rest = usize::try_from(last.len - kept).unwrap();
        file.write_at(&vec![0; rest], last.offset + kept).unwrap();
        let (log, recovered) = open(&disk);
        assert_eq!(recovered.last_zxid, Zxid(22), "{kept} bytes kept");
        // A head whose last bytes are zeros anyway may be whole a little earlier than its length says.
        assert!(recovered.torn.is_none() || kept > 24, "{kept} bytes kept");
        assert!(recovered.torn.is_some() || kept < 32, "{kept} bytes kept");
        assert_eq!(zxids(&log), (1..=22).collect::<Vec<_>>());
    }
}

#[test]
fn a_flip_in_a_header_is_reported() {
    let pristine = log_of_23(true);
    for file in segment_files(&pristine) {
        for byte in 0..64 {
            let disk = pristine.fork();
            assert!(disk.flip_bit(&file, byte, 5));
            let error = read_all(&disk).unwrap_err();
            assert!(
                matches!(&error, LogError::DamagedHeader { file: named, .. } if *named == file),
                "{error}"
            );
        }
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let pristine = log_of_23(true);
    let files = segment_files(&pristine);
    assert!(files.len() > 2);
    let disk = pristine.fork();
    disk.remove(&files[1]).unwrap();
    let error = read_all(&disk).unwrap_err();
    assert!(
        matches!(&error, LogError::Damaged { file, .. } if *file == files[0]),
        "{error}"
    );
    let disk = pristine.fork();
    disk.remove(&files[0]).unwrap();
    assert!(matches!(read_all(&disk), Err(LogError::Purged { .. })));
    let disk = pristine.fork();
    disk.rename(&files[0], Path::new("/log/00000000000000ff.zlog"))
        .unwrap();
    assert!(matches!(
        read_all(&disk),
        Err(LogError::DamagedHeader {
            cause: DamageCause::Name,
            ..
        })
    ));
}

#[test]
fn a_shortened_segment_is_noticed() {
    let disk = log_of_23(true);
    let last = segment_files(&disk).pop().unwrap();
    let mut bytes = disk.read_whole(&last).unwrap().unwrap();
    bytes.pop();
    disk.remove(&last).unwrap();
    disk.open(&last, OpenMode::CreateNew)
        .unwrap()
        .write_at(&bytes, 0)
        .unwrap();
    assert!(matches!(
        read_all(&disk),
        Err(LogError::DamagedHeader {
            cause: DamageCause::Short,
            ..
        })
    ));
}

#[test]
fn a_segment_that_leaves_no_sequence_number_to_the_next_is_refused() {
    let disk = SimDisk::new(4);
    let header = SegmentHeader {
        salt: 1,
        base: Zxid::ZERO,
        sequence: u64::MAX,
        proven_end: 0,
        file_bytes: 0,
        restart: false,
    };
    disk.open(Path::new("/log/0000000000000001.zlog"), OpenMode::CreateNew)
        .unwrap()
        .write_at(&header.encode(), 0)
        .unwrap();
    assert!(matches!(
        read_all(&disk),
        Err(LogError::DamagedHeader {
            cause: DamageCause::Sequence,
            ..
        })
    ));
}

#[test]
fn records_of_a_files_earlier_life_are_not_seen() {
    let disk = SimDisk::new(2);
    let (mut log, _) = open(&disk);
    // Records of one size: stale ones stand exactly where new ones will end.
    for zxid in 1..=200 {
        if log.wants_spare() {
            log.spares().prepare().unwrap();
        }
        append(&mut log, [zxid], 480);
        log.sync().unwrap();
        log.purge(Zxid(zxid)).unwrap();
        let seen = disk.fork();
        seen.reboot(Crash::Power);
        let (seen, recovered) = open(&seen);
        assert_eq!((recovered.last_zxid, recovered.torn), (Zxid(zxid), None));
        assert_eq!(zxids(&seen).last(), Some(&zxid));
    }
    assert!(
        disk.used_bytes() < 5 * OPTIONS.segment_bytes,
        "files are reused"
    );
}

#[test]
fn bytes_that_look_like_records_inside_a_transaction_prove_nothing() {
    // A client stores a copy of a segment, records and all; then the write of it is torn.
    let disk = log_of_23(false);
    let copied = disk.read_whole(&segment_files(&disk)[0]).unwrap().unwrap();
    let (mut log, _) = open(&disk);
    log.append(Zxid(24), Bytes::from(copied)).unwrap();
    log.sync().unwrap();
    append(&mut log, [25], 10);
    log.sync().unwrap();
    log.append(Zxid(26), Bytes::from(vec![1; 2000])).unwrap();
    log.sync().unwrap();
    drop(log);
    disk.reboot(Crash::Process);
    let last = places(&disk).pop().unwrap();
    assert!(disk.flip_bit(&last.file, last.offset + 100, 1));
    assert_eq!(read_all(&disk).unwrap(), (1..=25).collect::<Vec<_>>());
}

#[test]
fn unsynced_logs_lose_a_suffix_and_never_claim_damage() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let options = LogOptions {
            durability: Durability::NoFsync,
            ..OPTIONS
        };
        let (mut log, _) = TxnLog::open(disk.clone(), Path::new(DIR), options).unwrap();
        for zxid in 1..=30 {
            append(&mut log, [zxid], 900);
            log.sync().unwrap();
        }
        disk.reboot(Crash::Power);
        drop(log);
        let (log, _) = open(&disk);
        let found = zxids(&log);
        assert_eq!(
            found,
            (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>()
        );
    }
}
