//! Directories beside the store's: what is staged, and what it has replaced.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::io_error;
use crate::storage::snapshot::SnapshotError;

/// Where a store is staged.
pub(super) fn received_dir(dir: &Path) -> PathBuf {
    dir.with_extension("received")
}

/// Where the replaced store waits to be removed.
pub(super) fn old_dir(dir: &Path) -> PathBuf {
    dir.with_extension("old")
}

/// Puts the staged directory in the place of `dir`, durably. The former one becomes the old one. Repeated after a crash at
/// any place it comes to the same.
pub(super) fn switch(dir: &Path) -> Result<(), SnapshotError> {
    let old = old_dir(dir);
    if dir.exists() {
        remove(&old)?;
        rename(dir, &old)?;
    }
    rename(&received_dir(dir), dir)
}

/// Removes a directory with all that is in it, if it is there; durably.
pub(super) fn remove(dir: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => sync_parent(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("remove", dir, error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    fs::rename(from, to).map_err(|error| io_error("rename", from, error))?;
    // Before anything else is renamed: the names must not come to the disk in another order.
    sync_parent(to)
}

fn sync_parent(dir: &Path) -> Result<(), SnapshotError> {
    sync(dir.parent().unwrap_or(Path::new("/")))
}

fn sync(dir: &Path) -> Result<(), SnapshotError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| io_error("sync", dir, error))
}

/// Moves `dir`, and what is beside it, into `to`, durably. What is gone already was moved before.
pub(super) fn set_aside(dir: &Path, to: &Path) -> Result<(), SnapshotError> {
    for from in [dir.to_owned(), received_dir(dir), old_dir(dir)] {
        let Some(name) = from.file_name() else {
            continue;
        };
        match fs::rename(&from, to.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("set aside", &from, error));
            }
            _ => {}
        }
        // The new place first: a name too many does no harm.
        sync(to)?;
        sync_parent(dir)?;
    }
    Ok(())
}
