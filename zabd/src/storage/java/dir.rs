//! Which files a data directory of Apache ZooKeeper has.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::{JavaFileError, failed};
use crate::storage::disk::Disk;

/// The folder in `dataDir` and `dataLogDir` that everything is in. ZooKeeper: `FileTxnSnapLog.version`.
pub const FOLDER: &str = "version-2";

/// A file with the zxid that its name says: of a snapshot the newest transaction that is in it for certain, of a log the first
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// What the name says.
    pub zxid: Zxid,
    /// Where it is.
    pub path: PathBuf,
}

/// The files of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JavaDir {
    /// `<dataDir>/version-2`.
    pub snapshot_dir: PathBuf,
    /// `<dataLogDir>/version-2`.
    pub log_dir: PathBuf,
    /// Snapshots, oldest first.
    pub snapshots: Vec<NamedFile>,
    /// Logs, oldest first.
    pub logs: Vec<NamedFile>,
    /// Whether there is a file with an epoch.
    pub has_epochs: bool,
}

impl JavaDir {
    /// Looks into the directories. Those that are not there are empty.
    ///
    /// Names with more behind the zxid (`log.5.bak`, `snapshot.5.tmp`) are left out: they are what tools and broken-off
    /// writes leave. Java takes them for the real ones.
    ///
    /// ZooKeeper: `FileTxnSnapLog.<init>`, `Util.getZxidFromName`.
    ///
    /// # Errors
    /// When snapshots are among the logs or the other way round; the disk's.
    pub fn look<D: Disk>(
        disk: &D,
        data_dir: &Path,
        data_log_dir: &Path,
    ) -> Result<Self, JavaFileError> {
        let (snapshot_dir, log_dir) = (data_dir.join(FOLDER), data_log_dir.join(FOLDER));
        let names = list(disk, &snapshot_dir)?;
        let mut found = Self {
            snapshots: named(&snapshot_dir, &names, snapshot_zxid),
            logs: named(&snapshot_dir, &names, log_zxid),
            has_epochs: names
                .iter()
                .any(|name| [ACCEPTED, CURRENT].contains(&name.as_str())),
            snapshot_dir,
            log_dir,
        };
        if data_dir != data_log_dir {
            let exchanged = |file: Option<&NamedFile>, kind| match file {
                Some(file) => Err(JavaFileError::Exchanged {
                    path: file.path.clone(),
                    kind,
                }),
                None => Ok(()),
            };
            exchanged(found.logs.first(), "snapshots")?;
            let names = list(disk, &found.log_dir)?;
            exchanged(
                named(&found.log_dir, &names, snapshot_zxid).first(),
                "transaction logs",
            )?;
            found.logs = named(&found.log_dir, &names, log_zxid);
        }
        Ok(found)
    }

    /// Whether a server has left nothing here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.logs.is_empty() && !self.has_epochs
    }

    /// The newest transaction that a name tells of.
    #[must_use]
    pub fn newest_name(&self) -> Option<Zxid> {
        let newest = |files: &[NamedFile]| files.last().map(|file| file.zxid);
        newest(&self.snapshots).max(newest(&self.logs))
    }

    /// The logs that may hold transactions after `zxid`: of those that begin earlier only the newest one.
    ///
    /// ZooKeeper: `FileTxnLog.getLogFiles`.
    #[must_use]
    pub fn logs_after(&self, zxid: Zxid) -> &[NamedFile] {
        let begin_later = self
            .logs
            .partition_point(|log| log.zxid.0 <= zxid.0.saturating_add(1));
        &self.logs[begin_later.saturating_sub(1)..]
    }
}

/// The name of the file with the newest epoch that was agreed to.
pub const ACCEPTED: &str = "acceptedEpoch";
/// The name of the file with the newest epoch whose history is complete.
pub const CURRENT: &str = "currentEpoch";

/// What the name of a snapshot says, if it is one's.
#[must_use]
pub fn snapshot_zxid(name: &str) -> Option<Zxid> {
    let rest = name.strip_prefix("snapshot.")?;
    let digits = rest
        .strip_suffix(".gz")
        .or_else(|| rest.strip_suffix(".snappy"))
        .unwrap_or(rest);
    zxid_of(digits)
}

/// What the name of a log says, if it is one's.
#[must_use]
pub fn log_zxid(name: &str) -> Option<Zxid> {
    zxid_of(name.strip_prefix("log.")?)
}

fn zxid_of(digits: &str) -> Option<Zxid> {
    let is_hex = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let zxid = i64::from_str_radix(digits, 16).ok()?;
    is_hex.then_some(Zxid(zxid))
}

fn named(dir: &Path, names: &[String], zxid_of: fn(&str) -> Option<Zxid>) -> Vec<NamedFile> {
    let mut files: Vec<_> = names
        .iter()
        .filter_map(|name| {
            Some(NamedFile {
                zxid: zxid_of(name)?,
                path: dir.join(name),
            })
        })
        .collect();
    files.sort_by_key(|file| file.zxid);
    files
}

/// What is in a directory; nothing if there is none.
pub(super) fn list<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<String>, JavaFileError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(failed("list", dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_java_says_but_for_what_tools_leave() {
        for (name, zxid) in [
            ("snapshot.0", Some(0)),
            ("snapshot.1000000ab", Some(0x1_0000_00ab)),
            ("snapshot.5.gz", Some(5)),
            ("snapshot.5.snappy", Some(5)),
            ("snapshot.5.tmp", None),
            ("snapshot.5.gz.tmp", None),
            ("snapshot.", None),
            ("snapshot.+5", None),
            ("snapshot.xyz", None),
            ("snapshot.ffffffffffffffff", None),
            ("log.5", None),
        ] {
            assert_eq!(snapshot_zxid(name), zxid.map(Zxid), "{name}");
        }
        assert_eq!(log_zxid("log.c"), Some(Zxid(12)));
        assert_eq!(log_zxid("log.c.bak"), None);
    }

    #[test]
    fn only_logs_that_may_hold_what_is_wanted_are_read() {
        let file = |zxid| NamedFile {
            zxid: Zxid(zxid),
            path: format!("log.{zxid:x}").into(),
        };
        let dir = JavaDir {
            logs: [1, 10, 20].map(file).into(),
            ..JavaDir::default()
        };
        for (after, first) in [
            (0, 1),
            (5, 1),
            (8, 1),
            (9, 10),
            (10, 10),
            (18, 10),
            (19, 20),
            (99, 20),
        ] {
            assert_eq!(dir.logs_after(Zxid(after))[0], file(first), "{after}");
        }
        assert!(JavaDir::default().logs_after(Zxid(3)).is_empty());
    }
}
