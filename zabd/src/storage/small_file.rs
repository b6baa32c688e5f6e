//! Small files that are replaced whole: after a crash there is the old contents or the new.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::disk::{Disk, DiskFile, OpenMode};

/// Replaces the contents of `path`, durably. On an error the old contents stand, or the new ones do;
/// which, the next [`Disk::read_whole`] tells, and calling again settles it.
///
/// # Errors
/// The disk's.
pub fn write_atomically<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = temporary_path(path)?;
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    // Before the rename: else the new name could show an empty file.
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// Lines of text with a checksum after them, for small files that a person may want to read.
#[must_use]
pub fn seal(lines: &str) -> Vec<u8> {
    let crc = crc32fast::hash(lines.as_bytes());
    format!("{lines}crc {crc:08x}\n").into_bytes()
}

/// The lines that [`seal`] was given.
///
/// # Errors
/// What does not fit, when the bytes are not what it returned.
pub fn unseal(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let lines = text
        .len()
        .checked_sub(SEAL_BYTES)
        .and_then(|len| text.get(..len))
        .ok_or("it is too short")?;
    if seal(lines) == bytes {
        Ok(lines)
    } else {
        Err("its checksum does not match")
    }
}

/// `crc `, eight digits, the line's end.
const SEAL_BYTES: usize = 13;

fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{Crash, SimDisk};

    #[test]
    fn a_crash_anywhere_leaves_the_old_or_the_new() {
        let path = Path::new("/d/currentEpoch");
        let (mut old, mut new) = (0, 0);
        for at in 0..12 {
            for seed in 0..40 {
                let disk = SimDisk::new(seed);
                disk.crash_at(at);
                let first = write_atomically(&disk, path, b"41").is_ok();
                let second = first && write_atomically(&disk, path, b"42 and longer").is_ok();
                disk.reboot(Crash::Power);
                match disk.read_whole(path).unwrap().as_deref() {
                    None => assert!(!first),
                    Some(b"41") => {
                        assert!(!second);
                        old += 1;
                    }
                    Some(b"42 and longer") => {
                        assert!(first);
                        new += 1;
                    }
                    Some(other) => panic!("{other:?}"),
                }
            }
        }
        assert!(old > 0 && new > 0);
    }

    #[test]
    fn a_failed_attempt_is_repeated() {
        let disk = SimDisk::new(1);
        let path = Path::new("/d/acceptedEpoch");
        disk.fail_writes(0, 1);
        assert!(write_atomically(&disk, path, b"7").is_err());
        disk.fail_syncs(0, 1);
        assert!(write_atomically(&disk, path, b"7").is_err());
        write_atomically(&disk, path, b"7").unwrap();
        disk.reboot(Crash::Power);
        assert_eq!(disk.read_whole(path).unwrap().unwrap(), b"7");
    }
}
