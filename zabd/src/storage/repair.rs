//! Setting a damaged copy aside, so that a member of an ensemble takes over that of the others.
//!
//! Nothing is removed and nothing is mended in place: log segments and snapshot move into a directory whose name tells
//! the time, `<dataDir>/zabd/<name>` and `<dataLogDir>/zabd/<name>`, and the server begins without a history. What it has
//! acknowledged may be gone then, so it must not vote before it has a leader's history: the first thing that is written,
//! before anything is moved, is the mark [`Incomplete`]. The epochs stay where they are: what the server has promised holds.
//!
//! The second thing is the mark *repair*, with the name of the directory. While it is there the data may be half-way between
//! two places, and the next start goes on with moving. It goes when everything has been moved for good. A server that finds
//! damage while it runs writes it, too ([`Repair::ask`]), and ends.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, OpenMode};
use super::install::{Incomplete, InstallError, Installation};
use super::layout::{Layout, LockError};
use super::small_file::{seal, unseal, write_atomically};
use super::snapshot::SnapshotError;
use super::txn_log::is_segment;

/// A copy that is to be set aside, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The name of the directories that it is moved to.
    name: String,
}

/// Why a damaged copy cannot be set aside. Nothing is lost; the next start tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// Another process is using the data.
    #[error(transparent)]
    Lock(#[from] LockError),

    /// A file of that name has been moved there before.
    #[error("cannot move {} aside: {} is there already", from.display(), to.display())]
    InTheWay {
        /// What is to be moved.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },

    /// The mark that comes first.
    #[error(transparent)]
    Mark(#[from] InstallError),

    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

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

impl Repair {
    /// One into directories of this name, which no other repair has had: it tells the time.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name }
    }

    /// What an earlier run asked for, or began and did not finish. If the mark itself is damaged, `otherwise` is the name.
    ///
    /// # Errors
    /// The disk's.
    pub fn wanted<D: Disk>(
        disk: &D,
        layout: &Layout,
        otherwise: &str,
    ) -> Result<Option<Self>, RepairError> {
        let mark = mark_path(layout);
        let found = disk.read_whole(&mark).map_err(failed("read", &mark))?;
        Ok(found.map(|bytes| Self {
            name: decode(&bytes).unwrap_or(otherwise).to_owned(),
        }))
    }

    /// Lets the next start set everything aside. Durable when it returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn ask<D: Disk>(&self, disk: &D, layout: &Layout) -> Result<(), RepairError> {
        // Whoever starts without knowing of this mark must not vote either.
        Incomplete::new(layout).set(disk)?;
        let mark = mark_path(layout);
        let bytes = seal(&format!("{PREFIX}{}\n", self.name));
        write_atomically(disk, &mark, &bytes).map_err(failed("write", &mark))
    }

    /// Moves everything aside. `set_snapshot_aside` moves the snapshot, and whatever is staged or replaced beside it, into a
    /// directory that is there, durably; what it has moved already it leaves there. Nobody may have log or snapshot open.
    ///
    /// # Errors
    /// Everything in [`RepairError`].
    pub fn carry_out<D: Disk>(
        &self,
        disk: &D,
        layout: &Layout,
        set_snapshot_aside: impl FnOnce(&Path) -> Result<(), SnapshotError>,
    ) -> Result<(), RepairError> {
        let _lock = layout.lock(disk)?;
        self.ask(disk, layout)?;

        let aside = self.snapshot_dir(layout);
        disk.create_dir_all(&aside)
            .map_err(failed("create", &aside))?;
        // First: what it says of the snapshot is not true any more from here on.
        let received = Installation::mark_path(layout);
        move_files(disk, &layout.root, &aside, |name| received.ends_with(name))?;
        self.move_log(disk, layout)?;
        set_snapshot_aside(&aside)?;

        let mark = mark_path(layout);
        disk.remove(&mark).map_err(failed("remove", &mark))?;
        disk.sync_dir(&layout.root)
            .map_err(failed("sync", &layout.root))
    }

    fn move_log<D: Disk>(&self, disk: &D, layout: &Layout) -> Result<(), RepairError> {
        let aside = self.log_dir(layout);
        for dir in [&layout.log_dir, &aside] {
            disk.create_dir_all(dir).map_err(failed("create", dir))?;
        }
        move_files(disk, &layout.log_dir, &aside, is_segment)?;
        // What was on its way into that log.
        let aside = aside.with_extension("received");
        if !has_segments(disk, &layout.received_log_dir)? && !has_segments(disk, &aside)? {
            return Ok(());
        }
        for dir in [&layout.received_log_dir, &aside] {
            disk.create_dir_all(dir).map_err(failed("create", dir))?;
        }
        move_files(disk, &layout.received_log_dir, &aside, is_segment)
    }

    /// Where the snapshot goes.
    #[must_use]
    pub fn snapshot_dir(&self, layout: &Layout) -> PathBuf {
        layout.root.join(&self.name)
    }

    /// Where the log goes.
    #[must_use]
    pub fn log_dir(&self, layout: &Layout) -> PathBuf {
        let parent = layout.log_dir.parent().unwrap_or(&layout.log_dir);
        parent.join(&self.name).join("log")
    }
}

fn has_segments<D: Disk>(disk: &D, dir: &Path) -> Result<bool, RepairError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        names => {
            let names = names.map_err(failed("list", dir))?;
            Ok(names.iter().any(|name| is_segment(name)))
        }
    }
}

/// Moves files, durably: none is at both places or at neither afterwards, whatever happens to the power.
fn move_files<D: Disk>(
    disk: &D,
    from: &Path,
    to: &Path,
    belongs: impl Fn(&str) -> bool,
) -> Result<(), RepairError> {
    for name in disk.list(from).map_err(failed("list", from))? {
        if !belongs(&name) {
            continue;
        }
        let (old, new) = (from.join(&name), to.join(&name));
        if disk.open(&new, OpenMode::Read).is_ok() {
            return Err(RepairError::InTheWay { from: old, to: new });
        }
        disk.rename(&old, &new).map_err(failed("rename", &old))?;
    }
    // Also when nothing was moved: the run before may have ended before this.
    disk.sync_dir(to).map_err(failed("sync", to))?;
    disk.sync_dir(from).map_err(failed("sync", from))
}

fn decode(bytes: &[u8]) -> Option<&str> {
    let name = unseal(bytes)
        .ok()?
        .strip_prefix(PREFIX)?
        .strip_suffix('\n')?;
    // It becomes a part of a path.
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    (is_plain && !name.is_empty() && !name.starts_with('.')).then_some(name)
}

fn mark_path(layout: &Layout) -> PathBuf {
    layout.root.join(MARK_NAME)
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RepairError + use<'a> {
    move |source| RepairError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

const MARK_NAME: &str = "repair";
const PREFIX: &str = "set aside as ";

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jute_codec::Zxid;

    use super::*;
    use crate::storage::disk::{Crash, SimDisk};
    use crate::storage::recovery::{LogBehind, RecoveryError, Storage, StorageOptions};
    use crate::storage::snapshot::{FoldBatch, MemStore, SnapshotStore};
    use crate::storage::txn_log::{Durability, LogError, LogOptions};

    const NAME: &str = "damaged-20260102T030405.678Z";

    fn options() -> StorageOptions {
        StorageOptions {
            data_dir: "/data".into(),
            data_log_dir: "/logs".into(),
            log: LogOptions {
                segment_bytes: 8192,
                inline_segment_bytes: 8192,
                durability: Durability::Fsync,
            },
            log_behind: LogBehind::Refuse,
        }
    }

    fn layout() -> Layout {
        Layout::new(Path::new("/data"), Path::new("/logs"))
    }

    fn open(disk: &SimDisk, store: &MemStore) -> Result<Storage<SimDisk, MemStore>, RecoveryError> {
        Storage::open(disk, &options(), |_| Ok(store.clone()))
    }

    /// A snapshot as of 3 and a log of 1 to 20 in several segments, one of which has decayed in the middle.
    fn damaged(seed: u64) -> SimDisk {
        let (disk, store) = (SimDisk::new(seed), snapshot());
        let mut storage = open(&disk, &MemStore::new()).unwrap();
        for zxid in 1..=20 {
            let txn = Bytes::from(vec![1; 1500]);
            storage.log.append(Zxid(zxid), txn).unwrap();
            storage.log.sync().unwrap();
        }
        drop(storage);
        disk.reboot(Crash::Process);
        let names = segments(&disk);
        assert!(names.len() > 3, "{names:?}");
        let middle = layout().log_dir.join(&names[names.len() / 2]);
        assert!(disk.flip_bit(&middle, 4200, 3));
        let storage = open(&disk, &store).unwrap();
        let found = storage.replay().unwrap().find_map(Result::err);
        assert!(matches!(found, Some(LogError::Damaged { .. })), "{found:?}");
        drop(storage);
        disk.reboot(Crash::Process);
        disk
    }

    fn snapshot() -> MemStore {
        let mut store = MemStore::new();
        store
            .write(FoldBatch {
                zxid: Zxid(3),
                ..FoldBatch::default()
            })
            .unwrap();
        store.flush().unwrap();
        store
    }

    fn segments(disk: &SimDisk) -> Vec<String> {
        segments_in(disk, &layout().log_dir)
    }

    fn segments_in(disk: &SimDisk, dir: &Path) -> Vec<String> {
        let names = disk.list(dir).unwrap().into_iter();
        names.filter(|name| is_segment(name)).collect()
    }

    /// The snapshot is a directory of its own, which a test stands for by whether it is still there.
    fn repair(disk: &SimDisk, store: &mut Option<MemStore>) -> Result<(), RepairError> {
        let repair = Repair::wanted(disk, &layout(), NAME)?.unwrap_or(Repair::new(NAME.to_owned()));
        repair.carry_out(disk, &layout(), |_| {
            *store = None;
            Ok(())
        })
    }

    #[test]
    fn a_crash_anywhere_loses_nothing_and_never_votes_again_by_itself() {
        let original = damaged(7);
        let names = segments(&original);
        let contents = |disk: &SimDisk, dir: &Path, name: &str| {
            disk.read_whole(&dir.join(name)).unwrap().unwrap()
        };
        let (mut operation, mut interrupted) = (0, 0);
        loop {
            let disk = original.fork();
            disk.reseed(operation);
            let mut store = Some(snapshot());
            disk.crash_at(disk.operations() + operation);
            let done = repair(&disk, &mut store).is_ok();
            let is_over = !disk.is_off();
            assert_eq!(is_over, done);
            disk.reboot(Crash::Power);
            let aside = Repair::new(NAME.to_owned()).log_dir(&layout());
            let moved = segments_in(&disk, &aside);
            let has_begun = !moved.is_empty() || store.is_none();
            if has_begun {
                assert!(Incomplete::new(&layout()).is_set(&disk).unwrap());
            }
            if has_begun && !done {
                interrupted += 1;
                // Whoever starts next goes on, if the end of it was not just about to be written.
                let goes_on = Repair::wanted(&disk, &layout(), "other").unwrap();
                assert!(goes_on.is_none_or(|repair| repair.name == NAME));
            }
            repair_again(&disk, &mut store);
            assert!(store.is_none() && segments(&disk).is_empty());
            assert_eq!(segments_in(&disk, &aside), names);
            for name in &names {
                let log_dir = layout().log_dir;
                assert_eq!(
                    contents(&disk, &aside, name),
                    contents(&original, &log_dir, name)
                );
            }
            // What is left is a server without a history, which must not vote.
            let storage = open(&disk, &MemStore::new()).unwrap();
            assert_eq!(storage.recovered.last_zxid, Zxid::ZERO);
            assert!(Incomplete::new(&layout()).is_set(&disk).unwrap());
            assert_eq!(Repair::wanted(&disk, &layout(), "other").unwrap(), None);
            if is_over {
                break;
            }
            operation += 1;
        }
        assert!(
            operation > 10 && interrupted > 3,
            "{operation} {interrupted}"
        );
    }

    /// What a start does: goes on with what was begun, else it looks whether there is damage.
    fn repair_again(disk: &SimDisk, store: &mut Option<MemStore>) {
        let is_wanted = Repair::wanted(disk, &layout(), NAME).unwrap().is_some();
        if is_wanted || !segments(disk).is_empty() || store.is_some() {
            repair(disk, store).unwrap();
        }
    }

    #[test]
    fn the_mark_is_what_the_document_describes_and_names_no_other_place() {
        let disk = SimDisk::new(1);
        disk.create_dir_all(&layout().root).unwrap();
        assert_eq!(Repair::wanted(&disk, &layout(), "x").unwrap(), None);
        Repair::new(NAME.to_owned()).ask(&disk, &layout()).unwrap();
        let mark = Path::new("/data/zabd/repair");
        let bytes = disk.read_whole(mark).unwrap().unwrap();
        assert!(bytes.starts_with(b"set aside as damaged-20260102T030405.678Z\ncrc "));
        disk.reboot(Crash::Power);
        let wanted = Repair::wanted(&disk, &layout(), "x").unwrap().unwrap();
        assert_eq!(wanted.name, NAME);
        for name in ["../../etc", "", ".", "a/b", "a b"] {
            let bytes = seal(&format!("{PREFIX}{name}\n"));
            write_atomically(&disk, mark, &bytes).unwrap();
            let wanted = Repair::wanted(&disk, &layout(), "x").unwrap().unwrap();
            assert_eq!(wanted.name, "x", "{name:?}");
        }
    }

    #[test]
    fn what_was_set_aside_before_is_not_overwritten() {
        let disk = damaged(3);
        repair(&disk, &mut None).unwrap();
        let mut storage = open(&disk, &MemStore::new()).unwrap();
        storage
            .log
            .append(Zxid(1), Bytes::from_static(b"x"))
            .unwrap();
        storage.log.sync().unwrap();
        drop(storage);
        disk.reboot(Crash::Process);
        let problem = repair(&disk, &mut None).unwrap_err();
        assert!(matches!(problem, RepairError::InTheWay { .. }), "{problem}");
        assert_eq!(segments(&disk).len(), 1);
    }
}
