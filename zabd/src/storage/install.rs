//! Putting a received snapshot in the place of the whole history, log and snapshot, in one step.
//!
//! The new snapshot is staged beside the old one ([`SnapshotStore::stage`]), whole and durable. Then a small file is
//! written, the *mark*, which says as of when it is: with that the new history is the one that counts. What follows only
//! carries it out: the staged snapshot is adopted, the log begins anew after its zxid, and the mark is removed. A crash before
//! the mark is durable leaves the old history; after that the next start carries out the rest, from the beginning, which
//! does no harm to what is done already. Nothing may be appended to the log before the mark is gone for good.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::disk::Disk;
use super::recovery::Layout;
use super::small_file::{seal, unseal, write_atomically};
use super::snapshot::{SnapshotError, SnapshotStore};
use super::txn_log::LogError;

/// The replacement of the history by what is staged. Once begun it must be finished, by this run or the next.
#[derive(Debug)]
#[must_use = "until it is finished the old history is neither whole nor gone"]
pub struct Installation {
    mark: PathBuf,
    zxid: Zxid,
}

/// Why a received snapshot cannot be put in place. Unless noted otherwise the next start tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The mark is not what was written.
    #[error("{} is damaged: {detail}. {REPAIR}", path.display())]
    Damaged {
        /// The mark.
        path: PathBuf,
        /// What does not fit.
        detail: &'static str,
    },

    /// What was put in place is not what the mark says.
    #[error(
        "{} says that a snapshot as of {expected} was received, but the one in {} is {}. {REPAIR}", mark.display(),
        snapshot_dir.display(), as_of(*found)
    )]
    Other {
        /// The mark.
        mark: PathBuf,
        /// Where the snapshot is.
        snapshot_dir: PathBuf,
        /// As of when it should be.
        expected: Zxid,
        /// As of when it is; `None` if it is empty.
        found: Option<Zxid>,
    },

    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),

    /// The disk.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

impl Installation {
    /// Decides that the snapshot that is staged, flushed, closed and as of `zxid` is the history from now on. Durable when it
    /// returns.
    ///
    /// # Errors
    /// The disk's. The old history stands then, or the new one does at the next start: this run must not go on with either
    /// before [`Installation::take_back`] or a repetition succeeds.
    pub fn begin<D: Disk>(disk: &D, layout: &Layout, zxid: Zxid) -> Result<Self, InstallError> {
        let mark = Self::mark_path(layout);
        let bytes = seal(&format!("received {zxid}\n"));
        write_atomically(disk, &mark, &bytes).map_err(failed("write", &mark))?;
        Ok(Self { mark, zxid })
    }

    /// Undoes a [`Installation::begin`] that failed half-way.
    ///
    /// # Errors
    /// The disk's.
    pub fn take_back<D: Disk>(disk: &D, layout: &Layout) -> Result<(), InstallError> {
        remove(disk, &Self::mark_path(layout))
    }

    /// What an earlier run began and did not finish.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub fn unfinished<D: Disk>(disk: &D, layout: &Layout) -> Result<Option<Self>, InstallError> {
        let mark = Self::mark_path(layout);
        let Some(bytes) = disk.read_whole(&mark).map_err(failed("read", &mark))? else {
            return Ok(None);
        };
        match decode(&bytes) {
            Ok(zxid) => Ok(Some(Self { mark, zxid })),
            Err(detail) => Err(InstallError::Damaged { path: mark, detail }),
        }
    }

    /// Where the mark is.
    #[must_use]
    pub(super) fn mark_path(layout: &Layout) -> PathBuf {
        layout.root.join(MARK_NAME)
    }

    /// As of when the new history begins.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Adopts what is staged and lets the log begin anew: `restart_log` does as [`super::txn_log::TxnLog::restart_at`],
    /// and returns when that is durable. Afterwards the log may be appended to.
    ///
    /// # Errors
    /// Everything in [`InstallError`]; calling again, or the next start, goes on. Until then neither log nor snapshot may be
    /// used.
    pub fn finish<D: Disk, S: SnapshotStore>(
        &self,
        disk: &D,
        store: &mut S,
        restart_log: impl FnOnce(Zxid) -> Result<(), LogError>,
    ) -> Result<(), InstallError> {
        store.adopt_staged()?;
        let found = store.durable_zxid()?;
        if found != Some(self.zxid) {
            return Err(InstallError::Other {
                mark: self.mark.clone(),
                snapshot_dir: self.mark.with_file_name("snapshot"),
                expected: self.zxid,
                found,
            });
        }
        restart_log(self.zxid)?;
        remove(disk, &self.mark)
    }
}

/// The mark of a server that is taking over a leader's history: a snapshot, and transactions behind it. The snapshot may
/// be older than what the server had, and had acknowledged, so until the rest is there it must not vote.
#[derive(Debug)]
pub struct Incomplete {
    mark: PathBuf,
}

impl Incomplete {
    /// That of a server.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            mark: layout.root.join(INCOMPLETE_NAME),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mark
    }

    /// Sets the mark, durably, before a snapshot as of `zxid` is put in place.
    ///
    /// # Errors
    /// The disk's.
    pub fn set<D: Disk>(&self, disk: &D, zxid: Zxid) -> Result<(), InstallError> {
        let bytes = seal(&format!("taking over from {zxid}\n"));
        write_atomically(disk, &self.mark, &bytes).map_err(failed("write", &self.mark))
    }

    /// Whether the mark is there, whatever is in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn is_set<D: Disk>(&self, disk: &D) -> Result<bool, InstallError> {
        let found = disk.read_whole(&self.mark);
        Ok(found.map_err(failed("read", &self.mark))?.is_some())
    }

    /// Removes the mark, if it is there, when a leader's whole history is durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear<D: Disk>(&self, disk: &D) -> Result<(), InstallError> {
        if self.is_set(disk)? {
            remove(disk, &self.mark)?;
        }
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Result<Zxid, &'static str> {
    let hex = unseal(bytes)?
        .strip_prefix("received 0x")
        .and_then(|line| line.strip_suffix('\n'));
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .map(|zxid| Zxid(zxid.cast_signed()))
        .ok_or("it names no transaction")
}

fn remove<D: Disk>(disk: &D, mark: &Path) -> Result<(), InstallError> {
    match disk.remove(mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", mark)(error));
        }
        _ => {}
    }
    // If it came back after the log has grown, the next start would throw that away.
    let dir = mark.parent().unwrap_or(mark);
    disk.sync_dir(dir).map_err(failed("sync", dir))
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> InstallError + use<'a> {
    move |source| InstallError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn as_of(found: Option<Zxid>) -> String {
    found.map_or_else(|| "empty".to_owned(), |zxid| format!("as of {zxid}"))
}

const MARK_NAME: &str = "received";
const INCOMPLETE_NAME: &str = "incomplete";

const REPAIR: &str = "If this server belongs to an ensemble that has a quorum without it, move all its zabd directories \
                      away and let it synchronise from the others";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{Crash, SimDisk};
    use crate::storage::snapshot::{FoldBatch, MemStore};

    #[test]
    fn a_mark_of_what_is_incomplete_survives_and_goes() {
        let disk = SimDisk::new(3);
        disk.create_dir_all(Path::new("/data/zabd")).unwrap();
        let mark = Incomplete::new(&layout());
        assert!(!mark.is_set(&disk).unwrap());
        mark.clear(&disk).unwrap();
        mark.set(&disk, Zxid(7)).unwrap();
        disk.reboot(Crash::Process);
        assert!(mark.is_set(&disk).unwrap());
        mark.clear(&disk).unwrap();
        assert!(!mark.is_set(&disk).unwrap());
    }

    fn layout() -> Layout {
        Layout::new(Path::new("/data"), Path::new("/logs"))
    }

    fn staged(zxid: i64) -> MemStore {
        let mut store = MemStore::new();
        let mut staged = store.stage().unwrap();
        staged
            .write(FoldBatch {
                zxid: Zxid(zxid),
                ..FoldBatch::default()
            })
            .unwrap();
        staged.flush().unwrap();
        store
    }

    /// The layout of docs/file-formats.md, with a checksum that another implementation computed.
    #[test]
    fn the_bytes_are_those_that_the_document_describes() {
        let disk = SimDisk::new(1);
        let _begun = Installation::begin(&disk, &layout(), Zxid(0x5_0000_0001)).unwrap();
        let bytes = disk.read_whole(Path::new("/data/zabd/received")).unwrap();
        assert_eq!(bytes.unwrap(), b"received 0x500000001\ncrc 01642417\n");
    }

    #[test]
    fn the_mark_stays_until_the_log_has_begun_anew() {
        let disk = SimDisk::new(1);
        let mut store = staged(-3);
        let installation = Installation::begin(&disk, &layout(), Zxid(-3)).unwrap();
        let refuse = |_| Err(LogError::Refused("no".into()));
        assert!(matches!(
            installation.finish(&disk, &mut store, refuse),
            Err(InstallError::Log(_))
        ));
        disk.reboot(Crash::Power);
        let again = Installation::unfinished(&disk, &layout()).unwrap().unwrap();
        assert_eq!(again.zxid(), Zxid(-3));
        let mut restarted = None;
        let note = |zxid| {
            restarted = Some(zxid);
            Ok(())
        };
        again.finish(&disk, &mut store, note).unwrap();
        assert_eq!(restarted, Some(Zxid(-3)));
        disk.reboot(Crash::Power);
        assert!(
            Installation::unfinished(&disk, &layout())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_mark_can_be_taken_back() {
        let disk = SimDisk::new(1);
        let _begun = Installation::begin(&disk, &layout(), Zxid(3)).unwrap();
        Installation::take_back(&disk, &layout()).unwrap();
        Installation::take_back(&disk, &layout()).unwrap();
        assert!(
            Installation::unfinished(&disk, &layout())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn another_snapshot_than_the_mark_says_is_not_taken() {
        let disk = SimDisk::new(1);
        let mut store = staged(4);
        let installation = Installation::begin(&disk, &layout(), Zxid(5)).unwrap();
        let error = installation
            .finish(&disk, &mut store, |_| panic!("the log is left alone"))
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("0x5") && message.contains("as of 0x4"),
            "{message}"
        );
    }

    #[test]
    fn a_damaged_mark_is_not_passed_over() {
        let disk = SimDisk::new(1);
        for bytes in [&b""[..], &seal("received 0xx\n"), &seal("0x5\n")] {
            write_atomically(&disk, &Installation::mark_path(&layout()), bytes).unwrap();
            assert!(matches!(
                Installation::unfinished(&disk, &layout()),
                Err(InstallError::Damaged { .. })
            ));
        }
    }
}
