//! The way back: a stopped server's data given to Apache ZooKeeper.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::info;

use super::recover::{RecoverError, recover, refuse_incomplete};
use super::settings;
use crate::config::Config;
use crate::image::export::{ExportError, Exported, write_java_dir};
use crate::image::whole_fold;
use crate::storage::disk::{Disk as _, RealDisk};
use crate::storage::epochs::EpochFile;
use crate::storage::java::JavaFileError;
use crate::storage::java::dir::FOLDER;
use crate::storage::java::mark::{ExportMark, has_own_data};
use crate::storage::layout::{Layout, LockError};
use crate::storage::snapshot::SnapshotStore as _;

/// Why the data is not given to ZooKeeper.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportJavaError {
    /// There is none.
    #[error("{} holds no data of zabd", root.display())]
    Nothing {
        /// zabd's directory.
        root: PathBuf,
    },
    /// There is something where it is to go.
    #[error("{} is there already", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// A server is using it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The own data cannot be used.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// It cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A mark cannot be read or written.
    #[error(transparent)]
    Mark(#[from] JavaFileError),
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

/// Writes a copy for ZooKeeper into `to`, as its `dataDir`: `version-2` and, of a member of an ensemble, `myid`. The own data
/// stays, and counts.
///
/// # Errors
/// Everything in [`ExportJavaError`].
pub fn export_java_copy(config: &Config, to: &Path) -> Result<Exported, ExportJavaError> {
    let folder = to.join(FOLDER);
    if folder.exists() {
        return Err(ExportJavaError::Exists { path: folder });
    }
    let exported = write(config, &folder)?;
    if let Some(ensemble) = &config.ensemble {
        let myid = to.join("myid");
        fs::write(&myid, format!("{}\n", ensemble.me)).map_err(failed("write", &myid))?;
    }
    Ok(exported)
}

/// Gives the data to ZooKeeper where it is: writes `version-2` anew, and sets aside both what was there and zabd's own
/// directories, which count no more. A crash on the way leaves a mark that keeps zabd from starting; calling again
/// finishes it.
///
/// # Errors
/// Everything in [`ExportJavaError`].
pub fn export_java(config: &Config) -> Result<Exported, ExportJavaError> {
    let layout = Layout::new(&config.data_dir, &config.data_log_dir);
    let mark = ExportMark::new(&layout);
    let (staged, folder) = (
        config.data_dir.join("version-2.exporting"),
        config.data_dir.join(FOLDER),
    );
    if layout.root.exists() {
        // Whoever exports next opens the data itself, with a lock of its own; the mark keeps servers out meanwhile.
        drop(layout.lock(&RealDisk)?);
    }
    if !mark.is_set(&RealDisk)? || staged.exists() {
        remove(&staged)?;
        let exported = write(config, &staged)?;
        mark.set(&RealDisk, exported.zxid)?;
    }
    let exported = finished(&staged, &folder)?;
    let suffix = format!("before-{:x}", exported.zxid.0);
    if staged.exists() {
        if config.data_log_dir != config.data_dir {
            // ZooKeeper makes an empty one.
            set_aside(&config.data_log_dir.join(FOLDER), &suffix)?;
        }
        set_aside(&folder, &suffix)?;
        rename(&staged, &folder)?;
    }
    let suffix = format!("exported-{:x}", exported.zxid.0);
    if config.data_log_dir != config.data_dir {
        set_aside(&config.data_log_dir.join("zabd"), &suffix)?;
    }
    // The mark goes with it, so this comes last.
    set_aside(&layout.root, &suffix)?;
    Ok(Exported {
        path: folder.join(exported.path.file_name().unwrap_or_default()),
        ..exported
    })
}

/// Brings the own snapshot up to date and writes it for ZooKeeper.
fn write(config: &Config, folder: &Path) -> Result<Exported, ExportJavaError> {
    let options = settings::storage(config);
    let layout = Layout::new(&options.data_dir, &options.data_log_dir);
    if !has_own_data(&RealDisk, &layout)? {
        return Err(ExportJavaError::Nothing { root: layout.root });
    }
    refuse_incomplete(&layout)?;
    let recovery = recover(&options, settings::state(config, RealDisk.entropy()))?;
    let (mut state, mut storage) = (recovery.state, recovery.storage);
    info!(zxid = %state.last_zxid(), znodes = state.figures().nodes, "data recovered");
    storage
        .snapshot
        .write(whole_fold(&mut state))
        .and_then(|()| storage.snapshot.flush())
        .map_err(RecoverError::from)?;
    let epochs = EpochFile::new(&layout);
    let has_epochs = epochs.exists(&RealDisk).map_err(RecoverError::from)?;
    let epochs = has_epochs
        .then(|| epochs.load(&RealDisk, state.last_zxid()))
        .transpose()
        .map_err(RecoverError::from)?;
    let view = storage.snapshot.view().map_err(RecoverError::from)?;
    let view = view.ok_or(ExportJavaError::Nothing { root: layout.root })?;
    Ok(write_java_dir(&RealDisk, view, epochs, folder)?)
}

/// What was written, here or there, by this call or one before it.
fn finished(staged: &Path, folder: &Path) -> Result<Exported, ExportJavaError> {
    use crate::storage::java::dir::snapshot_zxid;
    use crate::storage::java::snapshot::SnapshotFile;
    let dir = if staged.exists() { staged } else { folder };
    let names = RealDisk.list(dir).map_err(failed("list", dir))?;
    let newest = names
        .into_iter()
        .filter_map(|name| Some((snapshot_zxid(&name)?, name)))
        .max();
    let Some((zxid, name)) = newest else {
        return Err(ExportJavaError::Nothing {
            root: dir.to_owned(),
        });
    };
    let path = dir.join(name);
    // What ZooKeeper is to start from is read as it would.
    let mut snapshot = SnapshotFile::open(&RealDisk, &path, usize::MAX >> 1)?;
    while snapshot.next_item()?.is_some() {}
    let digest = snapshot.tail().digest.map_or(0, |digest| digest.digest);
    Ok(Exported { path, zxid, digest })
}

/// Gives a directory another name, with a number behind it if there is one of that name already.
fn set_aside(dir: &Path, suffix: &str) -> Result<(), ExportJavaError> {
    if !dir.exists() {
        return Ok(());
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut to = dir.with_file_name(format!("{name}.{suffix}"));
    for number in 2.. {
        if !to.exists() {
            break;
        }
        to = dir.with_file_name(format!("{name}.{suffix}-{number}"));
    }
    info!(from = %dir.display(), to = %to.display(), "set aside");
    rename(dir, &to)
}

fn rename(from: &Path, to: &Path) -> Result<(), ExportJavaError> {
    fs::rename(from, to).map_err(failed("rename", from))?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    RealDisk.sync_dir(parent).map_err(failed("sync", parent))
}

fn remove(dir: &Path) -> Result<(), ExportJavaError> {
    match fs::remove_dir_all(dir) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", dir)(problem))
        }
        _ => Ok(()),
    }
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ExportJavaError + use<'a> {
    move |source| ExportJavaError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
