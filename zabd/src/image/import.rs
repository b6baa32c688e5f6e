//! The history that a server of Apache ZooKeeper left on disk, taken over into zabd's own snapshot and log.
//!
//! Java's snapshots are of no one moment: one named after transaction *z* has everything up to *z*, and of what came up to *e*,
//! when it was finished, whatever the writer happened to see. With the log replayed from *z* on the tree is exact from *e* on, by the
//! rules of `crate::state`. Such a tree becomes the snapshot, and the transactions after it the log.
//!
//! A mark says that this is under way ([`ImportMark`]): until it says that it is done nothing in zabd's directories counts,
//! and the next start begins again. Java's files are only read. A mark beside them says in the end that they are old from here on
//! ([`TakenOverMark`]).
//!
//! ZooKeeper: `FileTxnSnapLog.restore`, `FileSnap.deserialize`.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;
use jute_codec::txn::TxnEntry;
use thiserror::Error;
use tracing::{error, info, warn};

use super::fold::whole_fold;
use super::stage::{Stage, StageError};
use crate::state::{Committed, DigestMismatch, Outputs, State, StateParams};
use crate::storage::disk::Disk;
use crate::storage::epochs::{EpochError, EpochFile};
use crate::storage::java::dir::{JavaDir, NamedFile};
use crate::storage::java::log::{LogFiles, LogRecord};
use crate::storage::java::mark::{
    ExportMark, ImportMark, ImportState, TakenOverMark, has_own_data,
};
use crate::storage::java::snapshot::{SnapshotFile, Tail};
use crate::storage::java::{JavaFileError, epochs};
use crate::storage::layout::{Layout, LockError};
use crate::storage::recovery::StorageOptions;
use crate::storage::snapshot::{SnapshotError, SnapshotStore};
use crate::storage::txn_log::{LogError, TxnLog};

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// As of when the snapshot is that was made.
    pub snapshot: Zxid,
    /// The newest transaction.
    pub last: Zxid,
    /// The digest of the tree as of then.
    pub digest: u64,
    /// Transactions after which the tree was not what Java had then.
    pub mismatches: u64,
}

/// Why Java's history is not taken over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file of Java's.
    #[error("take over the data of Apache ZooKeeper: {0}. {HELP}")]
    Java(#[from] JavaFileError),

    /// There are logs, and no snapshot that they continue.
    #[error(
        "{} has no snapshot, and {} has transaction logs: everything before them may be missing. {HELP}",
        snapshot_dir.display(), log_dir.display()
    )]
    NoSnapshot {
        /// Where one should be.
        snapshot_dir: PathBuf,
        /// Where the logs are.
        log_dir: PathBuf,
    },

    /// None of the snapshots is of use.
    #[error(
        "take over the data of Apache ZooKeeper: no snapshot is of use: {}. {HELP}",
        list(problems)
    )]
    NoneUsable {
        /// What is wrong with each, newest first.
        problems: Vec<Unusable>,
    },

    /// A snapshot was damaged, and the logs do not have what it had.
    #[error(
        "take over the data of Apache ZooKeeper: with an older snapshot the logs lead to {last} only, and {name} and before \
         have been there: {}. {HELP}",
        list(problems)
    )]
    Lost {
        /// The newest transaction that logs and older snapshot come to.
        last: Zxid,
        /// What the name of a snapshot says.
        name: Zxid,
        /// Why that one was not used.
        problems: Vec<Unusable>,
    },

    /// An import was begun, and what was being imported is gone.
    #[error(
        "{} says that data of Apache ZooKeeper was being taken over, which is not there any more. Put it back; or remove {} to \
         begin without", mark.display(), root.display()
    )]
    Gone {
        /// The mark that says so.
        mark: PathBuf,
        /// zabd's directory.
        root: PathBuf,
    },

    /// A server of Apache ZooKeeper went on with data that zabd had taken over.
    #[error(
        "{} has {newest} of Apache ZooKeeper, but zabd took that directory over when it ended with {imported}: both have gone on \
         with it since. Decide which counts, and move all of the other one away: {}, or {}", java[0].display(),
        paths(java), paths(own)
    )]
    BothWentOn {
        /// Java's directories, that of snapshots first.
        java: Vec<PathBuf>,
        /// zabd's.
        own: Vec<PathBuf>,
        /// What was taken over.
        imported: Zxid,
        /// What is there now.
        newest: Zxid,
    },

    /// It was taken over before, and what zabd had since is gone.
    #[error(
        "{} says that zabd took this data of Apache ZooKeeper over up to {imported}, and {} is gone, with all that came \
         since: what ZooKeeper left is old, and is not taken over again. Put {} back. Or, if this server belongs to an ensemble that \
         has a quorum without it, make {} with an empty file named `incomplete`: it then takes everything from the others \
         and votes when it has it. To begin with the old data all the same, and lose what came since, remove {}",
        mark.display(), root.display(), root.display(), root.display(), mark.display()
    )]
    OwnGone {
        /// The mark that says so.
        mark: PathBuf,
        /// zabd's directory.
        root: PathBuf,
        /// What was taken over.
        imported: Zxid,
    },

    /// An export was begun and did not end.
    #[error(
        "{} says that this server's data was being given to Apache ZooKeeper, in {}: run `zabd export-java` again to finish \
         that", mark.display(), java_dir.display()
    )]
    ExportUnderWay {
        /// The mark that says so.
        mark: PathBuf,
        /// Where Java's data is.
        java_dir: PathBuf,
    },

    /// The own snapshot cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

    /// The own log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),

    /// The own epochs cannot be written.
    #[error(transparent)]
    Epochs(#[from] EpochError),

    /// Another process is using the directory.
    #[error(transparent)]
    Lock(#[from] LockError),

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

impl ImportError {
    /// Whether this copy of the data is damaged or gone, so that another one would help.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Java(problem) => {
                problem.is_damage() || matches!(problem, JavaFileError::Gap { .. })
            }
            Self::NoSnapshot { .. }
            | Self::NoneUsable { .. }
            | Self::Lost { .. }
            | Self::OwnGone { .. } => true,
            _ => false,
        }
    }
}

const HELP: &str = "Nothing of it was changed. Restore it from a copy; or, if this server belongs to an ensemble that has a \
                    quorum without it, replace <dataDir>/zabd by a directory with an empty file named `incomplete`: it then \
                    takes everything from the others and votes when it has it";

/// Why a snapshot is passed over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It is damaged.
    #[error(transparent)]
    Damaged(JavaFileError),
    /// It was being written while transactions were applied that the logs do not have: it is of no one moment.
    #[error("{} has parts of transactions up to {end}, and the logs end with {last}", path.display())]
    BeyondLog {
        /// The snapshot.
        path: PathBuf,
        /// The newest transaction of which it may have something.
        end: Zxid,
        /// The newest one that the logs have.
        last: Zxid,
    },
}

fn paths(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" and ")
}

fn list(problems: &[Unusable]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// Takes Java's history over if there is one and none of zabd's; `limit` is the greatest length of a record in it.
///
/// # Errors
/// Everything in [`ImportError`]. The server must not start then.
pub fn import_if_wanted<D: Disk, S: SnapshotStore>(
    disk: &D,
    options: &StorageOptions,
    params: StateParams,
    limit: usize,
    open_store: impl FnOnce(&Path) -> Result<S, SnapshotError>,
) -> Result<Option<Imported>, ImportError> {
    let layout = Layout::new(&options.data_dir, &options.data_log_dir);
    let java = JavaDir::look(disk, &options.data_dir, &options.data_log_dir)?;
    let (mark, export) = (ImportMark::new(&layout), ExportMark::new(&layout));
    if export.is_set(disk)? {
        return Err(ImportError::ExportUnderWay {
            mark: export.path().to_owned(),
            java_dir: java.snapshot_dir,
        });
    }
    match mark.read(disk)? {
        ImportState::UnderWay if java.is_empty() => {
            return Err(ImportError::Gone {
                mark: mark.path().to_owned(),
                root: layout.root,
            });
        }
        ImportState::UnderWay => {
            info!(
                "the last run ended while taking over the data of Apache ZooKeeper; beginning again"
            );
        }
        ImportState::Done(imported) => {
            return refuse_if_went_on(&java, &layout, imported).map(|()| None);
        }
        ImportState::Never if java.is_empty() => return Ok(None),
        ImportState::Never if has_own_data(disk, &layout)? => {
            // Of zabd's directories the one that tells of the import may be away, and the other not.
            if let Some(imported) = TakenOverMark::new(&java.snapshot_dir).read(disk)? {
                refuse_if_went_on(&java, &layout, imported)?;
            }
            warn!(
                java = %java.snapshot_dir.display(), own = %layout.root.display(),
                "there is data of Apache ZooKeeper beside this server's own; its own counts"
            );
            return Ok(None);
        }
        ImportState::Never => {
            let mark = TakenOverMark::new(&java.snapshot_dir);
            let before = mark.read(disk)?;
            // Whatever ZooKeeper has written since, it was told to by whoever moved zabd's data away.
            if let Some(imported) = before.filter(|before| java.newest_name() <= Some(*before)) {
                return Err(ImportError::OwnGone {
                    mark: mark.path().to_owned(),
                    root: layout.root,
                    imported,
                });
            }
        }
    }
    let _lock = layout.lock(disk)?;
    mark.begin(disk)?;
    let mut store = open_store(&layout.snapshot_dir)?;
    let (mut log, _) = TxnLog::open(disk.clone(), &layout.log_dir, options.log)?;
    let importer = Importer {
        disk,
        java: &java,
        params,
        limit,
    };
    let imported = importer.run(&mut store, &mut log)?;
    if let Some(epochs) = epochs::read(disk, &java.snapshot_dir, imported.last)? {
        EpochFile::new(&layout).store(disk, epochs)?;
    }
    log.close()?;
    // First: no moment without one of the two, should zabd's directories go.
    // A log that was made for a transaction which did not come to be in it is no sign that ZooKeeper went on.
    let known = java
        .newest_name()
        .map_or(imported.last, |newest| newest.max(imported.last));
    TakenOverMark::new(&java.snapshot_dir).set(disk, known)?;
    mark.finish(disk, known)?;
    info!(
        from = %java.snapshot_dir.display(), snapshot = %imported.snapshot, last = %imported.last,
        digest = format!("{:#x}", imported.digest),
        "the data of Apache ZooKeeper was taken over; what it was made of is left as it is"
    );
    Ok(Some(imported))
}

/// ZooKeeper is not to have more than what was taken over of it.
fn refuse_if_went_on(java: &JavaDir, layout: &Layout, imported: Zxid) -> Result<(), ImportError> {
    let Some(newest) = java.newest_name().filter(|newest| *newest > imported) else {
        return Ok(());
    };
    let mut both = vec![java.snapshot_dir.clone(), java.log_dir.clone()];
    both.dedup();
    let mut own = vec![layout.root.clone()];
    if !layout.log_dir.starts_with(&layout.root) {
        own.extend(layout.log_dir.parent().map(Path::to_owned));
    }
    Err(ImportError::BothWentOn {
        java: both,
        own,
        imported,
        newest,
    })
}

struct Importer<'a, D> {
    disk: &'a D,
    java: &'a JavaDir,
    params: StateParams,
    limit: usize,
}

/// A tree that is exact, and where the log goes on from there.
struct Exact<'a, D: Disk> {
    state: State,
    staged: Box<dyn SnapshotStore>,
    log: LogFiles<'a, D>,
    mismatches: Mismatches,
}

impl<'a, D: Disk> Importer<'a, D> {
    fn run<S: SnapshotStore>(
        &self,
        store: &mut S,
        log: &mut TxnLog<D>,
    ) -> Result<Imported, ImportError> {
        let Some(newest) = self.java.snapshots.last() else {
            if !self.java.logs.is_empty() {
                return Err(ImportError::NoSnapshot {
                    snapshot_dir: self.java.snapshot_dir.clone(),
                    log_dir: self.java.log_dir.clone(),
                });
            }
            // It has promised something and seen nothing.
            let exact = Exact {
                state: State::new(self.params.clone()),
                staged: store.stage()?,
                log: self.log_after(Zxid::ZERO),
                mismatches: Mismatches::default(),
            };
            return take_over(exact, store, log);
        };
        let (mut problems, mut must_reach) = (Vec::new(), Zxid::ZERO);
        for candidate in self.java.snapshots.iter().rev() {
            match self.exact(candidate, store)? {
                Ok(exact) => {
                    let imported = take_over(exact, store, log)?;
                    // A leader names its first snapshot after the beginning of its epoch, which is no transaction.
                    if imported.last < must_reach && must_reach.counter() != 0 {
                        return Err(ImportError::Lost {
                            last: imported.last,
                            name: newest.zxid,
                            problems,
                        });
                    }
                    return Ok(imported);
                }
                Err(problem) => {
                    warn!(%problem, "a snapshot is not used; an older one may do, if the logs have what came after it");
                    must_reach = must_reach.max(candidate.zxid);
                    problems.push(problem);
                }
            }
        }
        Err(ImportError::NoneUsable { problems })
    }

    fn log_after(&self, zxid: Zxid) -> LogFiles<'a, D> {
        LogFiles::after(self.disk.clone(), self.java, zxid, self.limit)
    }

    /// The first exact tree that a snapshot leads to.
    fn exact<S: SnapshotStore>(
        &self,
        candidate: &NamedFile,
        store: &mut S,
    ) -> Result<Result<Exact<'a, D>, Unusable>, ImportError> {
        let staged = store.stage()?;
        let (mut state, mut staged, tail) = match self.load(candidate, staged) {
            Ok(loaded) => loaded,
            Err(ImportError::Java(problem)) if problem.is_damage() => {
                return Ok(Err(Unusable::Damaged(problem)));
            }
            Err(problem) => return Err(problem),
        };
        let end = tail.end(candidate.zxid);
        let mut mismatches = Mismatches::default();
        let mut log = self.log_after(candidate.zxid);
        while end.is_none_or(|end| state.last_zxid() < end) {
            let Some((path, record)) = log.next_record()? else {
                break;
            };
            // Between the two the tree is of no one moment, and has no digest that anybody knows.
            let _unknown = apply(&mut state, &path, &record)?;
        }
        let last = state.last_zxid();
        if let Some(end) = end.filter(|end| last < *end) {
            return Ok(Err(Unusable::BeyondLog {
                path: candidate.path.clone(),
                end,
                last,
            }));
        }
        if let Some(expected) = tail.digest_at(last)
            && expected != state.digest()
        {
            mismatches.note(&DigestMismatch {
                zxid: last,
                expected,
                found: state.digest(),
            });
        }
        staged.write(whole_fold(&mut state))?;
        Ok(Ok(Exact {
            state,
            staged,
            log,
            mismatches,
        }))
    }

    /// What stands in a snapshot, as it stands there: in a state, and in a store beside the one that is there.
    fn load(
        &self,
        file: &NamedFile,
        staged: Box<dyn SnapshotStore>,
    ) -> Result<(State, Box<dyn SnapshotStore>, Tail), ImportError> {
        let mut snapshot = SnapshotFile::open(self.disk, &file.path, self.limit)?;
        let mut stage = Stage::new(file.zxid, self.params.clone(), staged);
        while let Some(item) = snapshot.next_item()? {
            if let Err(problem) = stage.take(item) {
                return Err(match problem {
                    StageError::Store(problem) => problem.into(),
                    other => snapshot.damaged_here(&other.to_string()).into(),
                });
            }
        }
        let (state, staged) = stage
            .finish()?
            .ok_or_else(|| ImportError::from(snapshot.damaged_here("it has no nodes")))?;
        Ok((state, staged, snapshot.tail()))
    }
}

/// Puts the tree in place, and the transactions after it into the log.
fn take_over<D: Disk, S: SnapshotStore>(
    exact: Exact<'_, D>,
    store: &mut S,
    log: &mut TxnLog<D>,
) -> Result<Imported, ImportError> {
    let Exact {
        mut state,
        mut staged,
        log: mut java,
        mut mismatches,
    } = exact;
    let snapshot = state.last_zxid();
    if snapshot == Zxid::ZERO {
        // A tree that has never seen a transaction has all its nodes still to be folded.
        staged.write(whole_fold(&mut state))?;
    }
    staged.flush()?;
    drop(staged);
    store.adopt_staged()?;
    log.restart_at(snapshot)?;
    while let Some((path, record)) = java.next_record()? {
        if let Err(mismatch) = apply(&mut state, &path, &record)? {
            mismatches.note(&mismatch);
        }
        log.append(record.zxid, record.payload)?;
        if log.pending_bytes() >= SYNC_BYTES {
            log.sync()?;
        }
    }
    log.sync()?;
    Ok(Imported {
        snapshot,
        last: state.last_zxid(),
        digest: state.digest(),
        mismatches: mismatches.0,
    })
}

/// How much is appended before it is made durable.
const SYNC_BYTES: u64 = 8 << 20;

fn apply(
    state: &mut State,
    path: &Path,
    record: &LogRecord,
) -> Result<Result<(), DigestMismatch>, ImportError> {
    let entry = TxnEntry::decode(&record.payload).map_err(|problem| JavaFileError::Damaged {
        path: path.to_owned(),
        offset: record.offset,
        detail: format!("transaction {} cannot be read: {problem}", record.zxid),
    })?;
    let committed = Committed {
        entry,
        origin: None,
        close: None,
    };
    Ok(state.apply(&committed, &mut Outputs::default()))
}

#[derive(Default)]
struct Mismatches(u64);

impl Mismatches {
    /// Those behind the first follow from it.
    fn note(&mut self, mismatch: &DigestMismatch) {
        if self.0 == 0 {
            error!(%mismatch, "the tree that was taken over is not the one that Java had then; Java itself would go on, too");
        }
        self.0 += 1;
    }
}
