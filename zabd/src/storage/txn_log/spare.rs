//! Files made ahead: zero-filled or recycled, so that a segment begins without waiting for an allocation.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::LogError;
use super::format::{HEADER_BLOCK, NameKind, SPARE_SUFFIX, name_kind};
use crate::storage::disk::{Disk, DiskFile, OpenMode};

/// The spare files of one log directory. Clones share them; a background thread may fill the pool.
#[derive(Clone, Debug)]
pub struct SparePool<D: Disk> {
    disk: D,
    dir: PathBuf,
    segment_bytes: u64,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    ready: Vec<Spare>,
    preparing: bool,
    made: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

impl<D: Disk> SparePool<D> {
    /// Removes what an earlier run left: nothing is known about those files.
    pub(super) fn open(
        disk: D,
        dir: &Path,
        segment_bytes: u64,
        names: &[String],
    ) -> Result<Self, LogError> {
        for name in names
            .iter()
            .filter(|name| name_kind(name) == NameKind::Spare)
        {
            let path = dir.join(name);
            disk.remove(&path)
                .map_err(LogError::io("remove left-over", &path))?;
        }
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            inner: Arc::default(),
        })
    }

    /// Makes a spare file of full size unless there is one. May take long; meant for a thread of its own.
    ///
    /// # Errors
    /// The disk's, with nothing left behind; the log then makes do with a small file when it needs one.
    pub fn prepare(&self) -> Result<(), LogError> {
        {
            let mut inner = self.lock();
            if inner.preparing || !inner.ready.is_empty() {
                return Ok(());
            }
            inner.preparing = true;
        }
        let made = self.make(self.segment_bytes);
        let mut inner = self.lock();
        inner.preparing = false;
        inner.ready.push(made?);
        Ok(())
    }

    pub(super) fn has_spare(&self) -> bool {
        let inner = self.lock();
        inner.preparing || !inner.ready.is_empty()
    }

    /// A file of at least `needed` bytes: a spare one, else a new one of `inline_bytes`, else, when the
    /// disk is nearly full, one just large enough.
    pub(super) fn take(&self, needed: u64, inline_bytes: u64) -> Result<Spare, LogError> {
        let ready = {
            let mut inner = self.lock();
            let fits = inner.ready.iter().position(|spare| spare.len >= needed);
            fits.map(|at| inner.ready.swap_remove(at))
        };
        if let Some(spare) = ready {
            return Ok(spare);
        }
        let exact = needed.next_multiple_of(HEADER_BLOCK as u64);
        match self.make(inline_bytes.max(exact)) {
            Err(error) if error.is_disk_full() && inline_bytes > exact => self.make(exact),
            made => made,
        }
    }

    /// Takes a purged segment's name away, if a spare file is wanted. The caller makes that durable and
    /// then calls [`SparePool::add`].
    pub(super) fn recycle(&self, path: &Path, len: u64) -> Option<Spare> {
        let name = {
            let mut inner = self.lock();
            if inner.preparing || !inner.ready.is_empty() || len != self.segment_bytes {
                return None;
            }
            self.next_name(&mut inner)
        };
        self.disk.rename(path, &name).ok()?;
        Some(Spare { path: name, len })
    }

    pub(super) fn add(&self, spare: Spare) {
        self.lock().ready.push(spare);
    }

    /// Gives up a spare that could not be used.
    pub(super) fn discard(&self, spare: &Spare) {
        if let Err(error) = self.disk.remove(&spare.path) {
            tracing::debug!(path = %spare.path.display(), %error, "unused log file not removed");
        }
    }

    fn make(&self, len: u64) -> Result<Spare, LogError> {
        let path = self.next_name(&mut self.lock());
        let file = self
            .disk
            .open(&path, OpenMode::CreateNew)
            .map_err(LogError::io("create", &path))?;
        let spare = Spare { path, len };
        if let Err(error) = file.allocate_zeroed(len) {
            self.discard(&spare);
            return Err(LogError::io("allocate", &spare.path)(error));
        }
        Ok(spare)
    }

    fn next_name(&self, inner: &mut Inner) -> PathBuf {
        inner.made += 1;
        self.dir.join(format!("{}.{SPARE_SUFFIX}", inner.made))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
