//! Putting a leader's history, a snapshot and the log behind it, in the place of all there was, in one step.
//!
//! Both are staged beside the old ones ([`SnapshotStore::stage`], [`super::txn_log::StagedLog`]), whole and durable. Then a
//! small file is written, the *mark*, which says how far they go: with that the new history is the one that counts. What
//! follows only carries it out: the staged snapshot is adopted, then the staged log, and the mark is removed. A crash before
//! the mark is durable leaves the old history; after that the next start carries out the rest, from the beginning, which
//! does no harm to what is done already. Nothing may be appended to the log before the mark is gone for good.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::disk::Disk;
use super::layout::Layout;
use super::small_file::{seal, unseal, write_atomically};
use super::snapshot::{SnapshotError, SnapshotStore};
use super::txn_log::{LogError, LogIndex};

/// The replacement of the history by what is staged. Once begun it must be finished, by this run or the next.
#[derive(Debug)]
#[must_use = "until it is finished the old history is neither whole nor gone"]
pub struct Installation {
    mark: PathBuf,
    received: Received,
}

/// How far a history goes that was received from a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// As of when the snapshot is; the log goes on from there.
    pub snapshot: Zxid,
    /// The newest transaction of the log; `snapshot` if it has none.
    pub through: Zxid,
}

/// Why a leader's history cannot be put in place. Unless noted otherwise the next start tries again.
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

    /// The log that was put in place is not what the mark says.
    #[error(
        "{} says that the transactions after {} through {} were received, but the log that was put in place {}. {REPAIR}",
        mark.display(), expected.snapshot, expected.through, ranges(*found)
    )]
    OtherLog {
        /// The mark.
        mark: PathBuf,
        /// What the log should have.
        expected: Received,
        /// What it has.
        found: Option<Received>,
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
    /// Decides that what is staged, durable and closed is the history from now on. Durable when it returns.
    ///
    /// # Errors
    /// The disk's. The old history stands then, or the new one does at the next start: this run must not go on with either
    /// before [`Installation::take_back`] or a repetition succeeds.
    pub fn begin<D: Disk>(
        disk: &D,
        layout: &Layout,
        received: Received,
    ) -> Result<Self, InstallError> {
        let mark = Self::mark_path(layout);
        let Received { snapshot, through } = received;
        let bytes = seal(&format!("received {snapshot} through {through}\n"));
        write_atomically(disk, &mark, &bytes).map_err(failed("write", &mark))?;
        Ok(Self { mark, received })
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
            Ok(received) => Ok(Some(Self { mark, received })),
            Err(detail) => Err(InstallError::Damaged { path: mark, detail }),
        }
    }

    /// Where the mark is.
    #[must_use]
    pub(super) fn mark_path(layout: &Layout) -> PathBuf {
        layout.root.join(MARK_NAME)
    }

    /// How far the new history goes.
    #[must_use]
    pub fn received(&self) -> Received {
        self.received
    }

    /// Adopts what is staged: `adopt_log` does as [`super::txn_log::TxnLog::adopt`] and returns the log when that is
    /// durable. Afterwards it may be appended to.
    ///
    /// # Errors
    /// Everything in [`InstallError`]; calling again, or the next start, goes on. Until then neither log nor snapshot may be
    /// used.
    pub fn finish<D: Disk, S: SnapshotStore>(
        &self,
        disk: &D,
        store: &mut S,
        adopt_log: impl FnOnce() -> Result<LogIndex<D>, LogError>,
    ) -> Result<(), InstallError> {
        store.adopt_staged()?;
        let found = store.durable_zxid()?;
        if found != Some(self.received.snapshot) {
            return Err(InstallError::Other {
                mark: self.mark.clone(),
                snapshot_dir: self.mark.with_file_name("snapshot"),
                expected: self.received.snapshot,
                found,
            });
        }
        let log = adopt_log()?;
        let found = log.oldest_base().map(|snapshot| Received {
            snapshot,
            through: log.durable_zxid(),
        });
        if found != Some(self.received) {
            return Err(InstallError::OtherLog {
                mark: self.mark.clone(),
                expected: self.received,
                found,
            });
        }
        remove(disk, &self.mark)
    }
}

/// The mark of a server that has lost what it has acknowledged, as its copy was damaged: before it has a leader's whole history it
/// must not vote.
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

    /// Sets the mark, durably, before a copy is set aside.
    ///
    /// # Errors
    /// The disk's.
    pub fn set<D: Disk>(&self, disk: &D) -> Result<(), InstallError> {
        let bytes = seal("does not vote\n");
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

fn decode(bytes: &[u8]) -> Result<Received, &'static str> {
    let words = unseal(bytes)?
        .strip_prefix("received ")
        .and_then(|line| line.strip_suffix('\n'))
        .and_then(|line| line.split_once(" through "));
    let zxid = |word: &str| {
        let hex = word.strip_prefix("0x")?;
        let zxid = u64::from_str_radix(hex, 16).ok()?;
        Some(Zxid(zxid.cast_signed()))
    };
    words
        .and_then(|(snapshot, through)| {
            Some(Received {
                snapshot: zxid(snapshot)?,
                through: zxid(through)?,
            })
        })
        .ok_or("it does not name two transactions")
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

fn ranges(found: Option<Received>) -> String {
    found.map_or_else(
        || "is empty".to_owned(),
        |found| {
            format!(
                "has those after {} through {}",
                found.snapshot, found.through
            )
        },
    )
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
    use crate::storage::txn_log::{Durability, LogOptions, StagedLog, TxnLog};

    #[test]
    fn a_mark_of_what_is_incomplete_survives_and_goes() {
        let disk = SimDisk::new(3);
        disk.create_dir_all(Path::new("/data/zabd")).unwrap();
        let mark = Incomplete::new(&layout());
        assert!(!mark.is_set(&disk).unwrap());
        mark.clear(&disk).unwrap();
        mark.set(&disk).unwrap();
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

    /// A log behind a snapshot, staged and put in place.
    fn adopted(disk: &SimDisk, snapshot: i64, through: i64) -> LogIndex<SimDisk> {
        let (dir, received) = (layout().log_dir, layout().received_log_dir);
        let other = TxnLog::open(disk.clone(), &dir, OPTIONS).unwrap().0;
        let snapshot = Zxid(snapshot);
        let mut staged =
            StagedLog::begin(disk, &received, OPTIONS, &other.index(), snapshot).unwrap();
        for zxid in snapshot.0 + 1..=through {
            staged.append(Zxid(zxid), vec![1; 20].into()).unwrap();
        }
        staged.finish().unwrap();
        let mut log = other;
        log.adopt(&received).unwrap();
        log.index()
    }

    const OPTIONS: LogOptions = LogOptions {
        segment_bytes: 8192,
        inline_segment_bytes: 8192,
        durability: Durability::Fsync,
    };

    const fn received(snapshot: i64, through: i64) -> Received {
        Received {
            snapshot: Zxid(snapshot),
            through: Zxid(through),
        }
    }

    /// The layout of docs/file-formats.md, with a checksum that another implementation computed.
    #[test]
    fn the_bytes_are_those_that_the_document_describes() {
        let disk = SimDisk::new(1);
        let far = received(0x5_0000_0001, 0x5_0000_0007);
        let _begun = Installation::begin(&disk, &layout(), far).unwrap();
        let bytes = disk.read_whole(Path::new("/data/zabd/received")).unwrap();
        assert_eq!(
            bytes.unwrap(),
            b"received 0x500000001 through 0x500000007\ncrc cae757dc\n"
        );
    }

    #[test]
    fn the_mark_stays_until_the_log_is_in_place() {
        let disk = SimDisk::new(1);
        let mut store = staged(-3);
        let installation = Installation::begin(&disk, &layout(), received(-3, 2)).unwrap();
        let refuse = || Err(LogError::Refused("no".into()));
        assert!(matches!(
            installation.finish(&disk, &mut store, refuse),
            Err(InstallError::Log(_))
        ));
        disk.reboot(Crash::Power);
        let again = Installation::unfinished(&disk, &layout()).unwrap().unwrap();
        assert_eq!(again.received(), received(-3, 2));
        let log = adopted(&disk, -3, 2);
        again.finish(&disk, &mut store, || Ok(log)).unwrap();
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
        let _begun = Installation::begin(&disk, &layout(), received(3, 3)).unwrap();
        Installation::take_back(&disk, &layout()).unwrap();
        Installation::take_back(&disk, &layout()).unwrap();
        assert!(
            Installation::unfinished(&disk, &layout())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn another_history_than_the_mark_says_is_not_taken() {
        let disk = SimDisk::new(1);
        let installation = Installation::begin(&disk, &layout(), received(5, 9)).unwrap();
        let error = installation
            .finish(&disk, &mut staged(4), || panic!("the log is left alone"))
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("0x5") && message.contains("as of 0x4"),
            "{message}"
        );
        for (snapshot, through, words) in [(5, 8, "through 0x8"), (4, 9, "after 0x4")] {
            let log = adopted(&disk, snapshot, through);
            let error = installation
                .finish(&disk, &mut staged(5), || Ok(log))
                .unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("through 0x9") && message.contains(words),
                "{message}"
            );
        }
        assert!(
            Installation::unfinished(&disk, &layout())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_damaged_mark_is_not_passed_over() {
        let disk = SimDisk::new(1);
        for bytes in [
            &b""[..],
            &seal("received 0x5\n"),
            &seal("received 0xx through 0x5\n"),
            &seal("0x5 through 0x5\n"),
        ] {
            write_atomically(&disk, &Installation::mark_path(&layout()), bytes).unwrap();
            assert!(matches!(
                Installation::unfinished(&disk, &layout()),
                Err(InstallError::Damaged { .. })
            ));
        }
    }
}
