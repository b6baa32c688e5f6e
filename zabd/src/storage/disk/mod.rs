//! What the storage layer asks of a disk, so that the same code runs on a real one and on a simulated
//! one that loses power.
//!
//! The contract is POSIX's, read pessimistically: a write may reach the platter in any order, in part
//! or not at all until [`DiskFile::sync_data`] returns; a name may come, change or go at any time until
//! [`Disk::sync_dir`] returns; after a failed `sync_data` nothing is known about what was written
//! before it. One 512-byte sector whose old and new bytes agree keeps those bytes (a sector is never
//! garbled by rewriting part of it); the log relies on that when a batch begins where the last ended.

mod real;
mod sim;

use std::io;
use std::path::Path;

#[cfg(test)]
pub(crate) use real::TestDir;
pub use real::{RealDisk, RealFile, RealLock};
pub use sim::{Crash, SimDisk, SimFile, SimLock};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read and write, the file must not exist (`O_EXCL`).
    CreateNew,
    /// Read only, the file must exist.
    Read,
    /// Read and write, the file must exist.
    ReadWrite,
}

/// A file system, or what stands for one.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Held while the lock file is locked; the lock ends when this is dropped or the process dies.
    type Lock: Send + 'static;

    /// Makes `dir` and its parents, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;
    /// Renames a file, replacing `to` atomically if it exists. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name. Open files stay readable. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory, some time.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names of the files in `dir`, sorted; directories are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in `dir` durable as they are now.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be written on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Takes the lock file at `path`, making it if need be. `None` if another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// A number nobody outside can know, for salts.
    fn entropy(&self) -> u64;

    /// The whole of a file, or `None` if there is none.
    ///
    /// # Errors
    /// Whatever opening and reading report, except a missing file.
    fn read_whole(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }
}

/// An open file of a [`Disk`].
#[expect(
    clippy::len_without_is_empty,
    reason = "emptiness of a file is of no interest here"
)]
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buf` from `offset`; less than its length only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Grows a new file to `len` bytes of zeros that have their place on the disk, so that writing
    /// there needs no allocation, and makes that durable.
    fn allocate_zeroed(&self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable (fdatasync). After an error the file is not to be trusted.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
}
