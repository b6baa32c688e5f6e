//! `acceptedEpoch` and `currentEpoch`: a decimal number each.

use std::path::Path;

use jute_codec::Zxid;

use super::dir::{ACCEPTED, CURRENT};
use super::{JavaFileError, failed};
use crate::storage::disk::Disk;
use crate::storage::epochs::Epochs;
use crate::storage::small_file::write_atomically;

/// The epochs of a server whose newest transaction is `last`; `None` if it has stored none, as one that stood alone.
///
/// A file that is missing beside the other one is taken for the epoch of `last`. `currentEpoch.tmp` counts when a crash
/// came before it got its name.
///
/// ZooKeeper: `QuorumPeer.loadDataBase`.
///
/// # Errors
/// When a file holds no number, or they do not fit each other or `last`; the disk's.
pub fn read<D: Disk>(disk: &D, dir: &Path, last: Zxid) -> Result<Option<Epochs>, JavaFileError> {
    let (accepted, current) = (number(disk, dir, ACCEPTED)?, number(disk, dir, CURRENT)?);
    if accepted.is_none() && current.is_none() {
        return Ok(None);
    }
    let mut current = current.unwrap_or(last.epoch());
    if current < last.epoch()
        && let Ok(Some(unnamed)) = number(disk, dir, "currentEpoch.tmp")
    {
        current = current.max(unnamed);
    }
    let accepted = accepted.unwrap_or(last.epoch());
    let wrong = |name, detail| JavaFileError::Damaged {
        path: dir.join(name),
        offset: 0,
        detail,
    };
    if accepted < current {
        let detail =
            format!("it says {accepted}, and currentEpoch says {current}, which comes later");
        return Err(wrong(ACCEPTED, detail));
    }
    if accepted < last.epoch() {
        let detail =
            format!("it says {accepted}, and the newest transaction is {last}, of a later epoch");
        return Err(wrong(ACCEPTED, detail));
    }
    Ok(Some(Epochs { accepted, current }))
}

/// Stores the epochs, each file whole and durable.
///
/// # Errors
/// The disk's.
pub fn write<D: Disk>(disk: &D, dir: &Path, epochs: Epochs) -> Result<(), JavaFileError> {
    // The promise first: a server with a current epoch that it has not accepted is refused.
    for (name, epoch) in [(ACCEPTED, epochs.accepted), (CURRENT, epochs.current)] {
        let path = dir.join(name);
        write_atomically(disk, &path, epoch.to_string().as_bytes())
            .map_err(failed("write", &path))?;
    }
    Ok(())
}

fn number<D: Disk>(disk: &D, dir: &Path, name: &str) -> Result<Option<i64>, JavaFileError> {
    let path = dir.join(name);
    let Some(bytes) = disk.read_whole(&path).map_err(failed("read", &path))? else {
        return Ok(None);
    };
    let first_line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let number = std::str::from_utf8(first_line)
        .ok()
        .and_then(|line| line.trim_end_matches('\r').parse().ok())
        .filter(|epoch: &i64| *epoch >= 0);
    match number {
        Some(epoch) => Ok(Some(epoch)),
        None => Err(JavaFileError::Damaged {
            path,
            offset: 0,
            detail: "it should hold the number of an epoch".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{DiskFile as _, OpenMode, SimDisk};

    fn disk(files: &[(&str, &str)]) -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir_all("/d".as_ref()).unwrap();
        for (name, text) in files {
            let file = disk.open(&Path::new("/d").join(name), OpenMode::CreateNew);
            file.unwrap().write_at(text.as_bytes(), 0).unwrap();
        }
        disk
    }

    type Files = &'static [(&'static str, &'static str)];

    #[test]
    fn epochs_are_what_java_would_start_with() {
        let both = |accepted, current| Some(Epochs { accepted, current });
        let cases: &[(Files, Option<Epochs>)] = &[
            (&[], None),
            (&[(ACCEPTED, "7"), (CURRENT, "5")], both(7, 5)),
            (&[(ACCEPTED, "7\n"), (CURRENT, "7\r\nx")], both(7, 7)),
            (&[(CURRENT, "5")], both(5, 5)),
            (&[(ACCEPTED, "6")], both(6, 5)),
            // Short of the newest transaction: the own start settles that, if it was accepted.
            (&[(ACCEPTED, "5"), (CURRENT, "4")], both(5, 4)),
            (
                &[(ACCEPTED, "5"), (CURRENT, "4"), ("currentEpoch.tmp", "5")],
                both(5, 5),
            ),
            (
                &[(ACCEPTED, "5"), (CURRENT, "4"), ("currentEpoch.tmp", "")],
                both(5, 4),
            ),
        ];
        for (files, expected) in cases {
            let found = read(&disk(files), "/d".as_ref(), Zxid(0x5_0000_0001)).unwrap();
            assert_eq!(found, *expected, "{files:?}");
        }
    }

    #[test]
    fn epochs_that_cannot_be_are_refused_by_name() {
        let cases: &[(Files, &str)] = &[
            (&[(ACCEPTED, "")], "/d/acceptedEpoch"),
            (&[(CURRENT, "-1")], "/d/currentEpoch"),
            (&[(CURRENT, "x"), (ACCEPTED, "5")], "/d/currentEpoch"),
            (&[(ACCEPTED, "5"), (CURRENT, "6")], "which comes later"),
            (&[(ACCEPTED, "4"), (CURRENT, "4")], "of a later epoch"),
        ];
        for (files, word) in cases {
            let problem = read(&disk(files), "/d".as_ref(), Zxid(0x5_0000_0001)).unwrap_err();
            assert!(problem.to_string().contains(word), "{files:?}: {problem}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let disk = disk(&[]);
        let epochs = Epochs {
            accepted: 9,
            current: 8,
        };
        write(&disk, "/d".as_ref(), epochs).unwrap();
        assert_eq!(
            read(&disk, "/d".as_ref(), Zxid::ZERO).unwrap(),
            Some(epochs)
        );
    }
}
