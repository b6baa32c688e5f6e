//! Which of two histories counts: the one in zabd's own directories, or the one in Java's.
//!
//! Both may stand in one `dataDir`: Java's stays where it is when zabd has taken it over. Two small files in `<dataDir>/zabd` say
//! what has been done: `import`, while Java's history is being taken over and ever after, and `exported`, while zabd's is being
//! given back.

use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::dir::list;
use super::{JavaFileError, failed};
use crate::storage::disk::Disk;
use crate::storage::layout::Layout;
use crate::storage::small_file::{seal, unseal, write_atomically};

/// The file `import`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportMark {
    path: PathBuf,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// There is no such file.
    Never,
    /// It was begun. Nothing in zabd's directories counts.
    UnderWay,
    /// It is done: zabd's directories count. The newest transaction that there was.
    Done(Zxid),
}

impl ImportMark {
    /// That of a server.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            path: layout.root.join("import"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub fn read<D: Disk>(&self, disk: &D) -> Result<ImportState, JavaFileError> {
        let bytes = disk
            .read_whole(&self.path)
            .map_err(failed("read", &self.path))?;
        let Some(bytes) = bytes else {
            return Ok(ImportState::Never);
        };
        decode(&bytes).map_err(|detail| JavaFileError::Damaged {
            path: self.path.clone(),
            offset: 0,
            detail: detail.to_owned(),
        })
    }

    /// Says that an import is under way; durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin<D: Disk>(&self, disk: &D) -> Result<(), JavaFileError> {
        self.write(disk, UNDER_WAY)
    }

    /// Says that it is done, up to `last`; durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish<D: Disk>(&self, disk: &D, last: Zxid) -> Result<(), JavaFileError> {
        self.write(disk, &format!("{IMPORTED}{last}\n"))
    }

    fn write<D: Disk>(&self, disk: &D, line: &str) -> Result<(), JavaFileError> {
        write_atomically(disk, &self.path, &seal(line)).map_err(failed("write", &self.path))
    }
}

const UNDER_WAY: &str = "importing\n";
const IMPORTED: &str = "imported up to ";

fn decode(bytes: &[u8]) -> Result<ImportState, &'static str> {
    let line = unseal(bytes)?;
    if line == UNDER_WAY {
        return Ok(ImportState::UnderWay);
    }
    zxid_behind(line, IMPORTED)
        .map(ImportState::Done)
        .ok_or("it says nothing about an import")
}

fn zxid_behind(line: &str, words: &str) -> Option<Zxid> {
    let digits = line.strip_prefix(words)?.strip_prefix("0x")?;
    let zxid = u64::from_str_radix(digits.strip_suffix('\n')?, 16).ok()?;
    Some(Zxid(zxid.cast_signed()))
}

/// The file `exported`: while it is there, zabd's directories are on their way out, and Java's may not be complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportMark {
    path: PathBuf,
}

impl ExportMark {
    /// That of a server.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            path: layout.root.join("exported"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there, whatever is in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn is_set<D: Disk>(&self, disk: &D) -> Result<bool, JavaFileError> {
        let found = disk.read_whole(&self.path);
        Ok(found.map_err(failed("read", &self.path))?.is_some())
    }

    /// Sets it, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn set<D: Disk>(&self, disk: &D, zxid: Zxid) -> Result<(), JavaFileError> {
        let bytes = seal(&format!("exported as of {zxid}\n"));
        write_atomically(disk, &self.path, &bytes).map_err(failed("write", &self.path))
    }
}

/// The file `taken-over-by-zabd` in Java's directory. Java passes it over, and it goes aside with what it speaks of when zabd's
/// history is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOverMark {
    path: PathBuf,
}

impl TakenOverMark {
    /// That of Java's snapshots in this directory.
    #[must_use]
    pub fn new(snapshot_dir: &Path) -> Self {
        Self {
            path: snapshot_dir.join("taken-over-by-zabd"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest transaction that there was, if it was taken over.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub fn read<D: Disk>(&self, disk: &D) -> Result<Option<Zxid>, JavaFileError> {
        let bytes = disk
            .read_whole(&self.path)
            .map_err(failed("read", &self.path))?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let line = unseal(&bytes);
        match line.map(|line| zxid_behind(line, TAKEN_OVER)) {
            Ok(Some(zxid)) => Ok(Some(zxid)),
            other => Err(JavaFileError::Damaged {
                path: self.path.clone(),
                offset: 0,
                detail: other.err().unwrap_or("it names no transaction").to_owned(),
            }),
        }
    }

    /// Says it, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn set<D: Disk>(&self, disk: &D, last: Zxid) -> Result<(), JavaFileError> {
        let bytes = seal(&format!("{TAKEN_OVER}{last}\n"));
        write_atomically(disk, &self.path, &bytes).map_err(failed("write", &self.path))
    }
}

const TAKEN_OVER: &str = "zabd took this over up to ";

/// Whether a zabd has left a history, or its promises, in its directories.
///
/// # Errors
/// The disk's.
pub fn has_own_data<D: Disk>(disk: &D, layout: &Layout) -> Result<bool, JavaFileError> {
    let root = list(disk, &layout.root)?;
    let log = list(disk, &layout.log_dir)?;
    let counts = ["epochs", "received", "repair", "incomplete"];
    Ok(root.iter().any(|name| counts.contains(&name.as_str()))
        || log
            .iter()
            .any(|name| name == "epochs" || name.ends_with(".zlog"))
        || !list(disk, &layout.snapshot_dir)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::SimDisk;

    #[test]
    fn what_was_said_is_read() {
        let (disk, layout) = (SimDisk::new(1), Layout::new("/d".as_ref(), "/d".as_ref()));
        disk.create_dir_all(&layout.root).unwrap();
        let mark = ImportMark::new(&layout);
        assert_eq!(mark.read(&disk).unwrap(), ImportState::Never);
        mark.begin(&disk).unwrap();
        assert_eq!(mark.read(&disk).unwrap(), ImportState::UnderWay);
        let last = Zxid(0x5_0000_0001);
        mark.finish(&disk, last).unwrap();
        assert_eq!(mark.read(&disk).unwrap(), ImportState::Done(last));
        assert!(disk.flip_bit(mark.path(), 3, 1));
        assert!(mark.read(&disk).unwrap_err().is_damage());

        let mark = TakenOverMark::new("/d/version-2".as_ref());
        disk.create_dir_all("/d/version-2".as_ref()).unwrap();
        assert_eq!(mark.read(&disk).unwrap(), None);
        mark.set(&disk, last).unwrap();
        assert_eq!(mark.read(&disk).unwrap(), Some(last));
        assert!(disk.flip_bit(mark.path(), 3, 1));
        assert!(mark.read(&disk).unwrap_err().is_damage());
    }
}
