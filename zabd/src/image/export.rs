//! A history given to a server of Apache ZooKeeper: a snapshot that it starts from, and the epochs.
//!
//! Everything is written into one new directory, whole and durable, before that takes the place of `version-2`. What ZooKeeper's had
//! there stays beside it under another name: its logs end before the snapshot begins, and a server that went on from both would
//! send others a history with a hole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jute_codec::Zxid;
use jute_codec::quorum::snapshot::{write_end, write_end_of_nodes};
use thiserror::Error;

use super::send::{SendError, SnapshotStream};
use crate::storage::disk::{Disk, DiskFile, OpenMode};
use crate::storage::epochs::Epochs;
use crate::storage::java::snapshot::SnapshotWriter;
use crate::storage::java::{JavaFileError, epochs as java_epochs};
use crate::storage::snapshot::SnapshotView;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The snapshot.
    pub path: PathBuf,
    /// The transaction as of which it is.
    pub zxid: Zxid,
    /// The digest of the tree.
    pub digest: u64,
}

/// Why nothing is given to ZooKeeper.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The own snapshot cannot be read.
    #[error(transparent)]
    Read(#[from] SendError),
    /// The epochs cannot be written.
    #[error(transparent)]
    Java(#[from] JavaFileError),
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

/// Writes what `view` shows, and the epochs, as `dir`, which must not be there. It is durable when this returns; what a crash
/// leaves before that is to be removed.
///
/// ZooKeeper: `FileTxnSnapLog.save`.
///
/// # Errors
/// Everything in [`ExportError`].
pub fn write_java_dir<D: Disk>(
    disk: &D,
    view: Box<dyn SnapshotView>,
    epochs: Option<Epochs>,
    dir: &Path,
) -> Result<Exported, ExportError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Io {
            action,
            path,
            source,
        }
    };
    let meta = view.meta();
    disk.create_dir_all(dir).map_err(io("create", dir))?;
    let path = dir.join(format!("snapshot.{:x}", meta.zxid.0));
    let file = disk
        .open(&path, OpenMode::CreateNew)
        .map_err(io("create", &path))?;
    let out = BufWriter::with_capacity(WRITE_BYTES, FileWriter { file, offset: 0 });
    let mut writer = SnapshotWriter::begin(out).map_err(io("write", &path))?;
    let mut body = Body::default();
    for slice in SnapshotStream::new(view, WRITE_BYTES) {
        writer
            .write(body.next(&slice?))
            .map_err(io("write", &path))?;
    }
    writer.write(&body.end()).map_err(io("write", &path))?;
    let out = writer
        .finish(meta.zxid, meta.digest)
        .map_err(io("write", &path))?;
    let out = out
        .into_inner()
        .map_err(|problem| io("write", &path)(problem.into_error()))?;
    out.file.sync_data().map_err(io("sync", &path))?;
    if let Some(epochs) = epochs {
        java_epochs::write(disk, dir, epochs)?;
    }
    disk.sync_dir(dir).map_err(io("sync", dir))?;
    Ok(Exported {
        path,
        zxid: meta.zxid,
        digest: meta.digest,
    })
}

const WRITE_BYTES: usize = 1 << 20;

/// A stream without what ends it on the wire only. That comes last, in one slice or several.
#[derive(Default)]
struct Body {
    held: Vec<u8>,
    given: Vec<u8>,
}

impl Body {
    /// What is for certain before the end.
    fn next(&mut self, slice: &[u8]) -> &[u8] {
        self.held.extend_from_slice(slice);
        let certain = self.held.len().saturating_sub(ending(write_end).len());
        self.given = self.held.drain(..certain).collect();
        &self.given
    }

    /// What stands at the end in a file.
    fn end(&self) -> Vec<u8> {
        debug_assert_eq!(self.held, ending(write_end));
        ending(write_end_of_nodes)
    }
}

fn ending(write: fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut ending = Vec::new();
    write(&mut ending);
    ending
}

struct FileWriter<F> {
    file: F,
    offset: u64,
}

impl<F: DiskFile> Write for FileWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
