//! A store that is filled once, in the order of its keys: what a learner receives.
//!
//! The rows become tables right away, on a thread of their own, and the database takes the tables over as they are: what
//! passes through memtables costs several times as much. Rows that come in another order (a ZooKeeper leader's do) are
//! written as folds are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use jute_codec::{SessionId, Zxid};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{RocksStore, ZNODES, failure, family_options, io_error};
use crate::storage::snapshot::{
    FoldBatch, RowVisitor, SnapshotError, SnapshotMeta, SnapshotStore, SnapshotView,
};

/// A store being filled. What it holds is seen once it was flushed.
pub(super) struct Staged {
    store: RocksStore,
    /// None once a row came out of order.
    tables: Option<Tables>,
}

impl Staged {
    /// Fills `store`, which is empty.
    pub(super) fn new(store: RocksStore) -> Result<Self, SnapshotError> {
        let tables = Tables::begin(&store.dir)?;
        Ok(Self {
            store,
            tables: Some(tables),
        })
    }

    /// Hands the tables over to the database.
    fn ingest(&mut self) -> Result<(), SnapshotError> {
        let Some(tables) = self.tables.take() else {
            return Ok(());
        };
        let dir = tables.dir.clone();
        let paths = tables.finish()?;
        if !paths.is_empty() {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            self.store
                .db()?
                .ingest_external_file_cf_opts(self.store.family(ZNODES)?, &options, paths)
                .map_err(|error| failure("take tables into", &self.store.dir, &error))?;
        }
        fs::remove_dir_all(&dir).map_err(|error| io_error("tidy", &dir, error))
    }
}

impl SnapshotStore for Staged {
    fn write(&mut self, mut batch: FoldBatch) -> Result<(), SnapshotError> {
        if let Some(tables) = &mut self.tables {
            if batch.deletes.is_empty() && tables.are_next(&batch.puts) {
                tables.put(std::mem::take(&mut batch.puts))?;
            } else {
                self.ingest()?;
            }
        }
        self.store.write(batch)
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        self.ingest()?;
        self.store.flush()
    }

    fn durable_zxid(&self) -> Result<Option<Zxid>, SnapshotError> {
        self.store.durable_zxid()
    }

    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.store.meta()
    }

    fn extra(&self, name: &str) -> Result<Option<Bytes>, SnapshotError> {
        self.store.extra(name)
    }

    fn scan_rows(&self, visit: &mut RowVisitor<'_>) -> Result<(), SnapshotError> {
        self.store.scan_rows(visit)
    }

    fn scan_sessions(&self, visit: &mut dyn FnMut(SessionId, i32)) -> Result<(), SnapshotError> {
        self.store.scan_sessions(visit)
    }

    fn view(&self) -> Result<Option<Box<dyn SnapshotView>>, SnapshotError> {
        self.store.view()
    }

    fn stage(&mut self) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        self.store.stage()
    }

    fn discard_staged(&mut self) -> Result<(), SnapshotError> {
        self.store.discard_staged()
    }

    fn adopt_staged(&mut self) -> Result<(), SnapshotError> {
        self.store.adopt_staged()
    }
}

type Rows = Vec<(Bytes, Bytes)>;

/// Tables being made, below the store's directory. Dropped, it waits for its thread, so that the directory can be removed.
struct Tables {
    dir: PathBuf,
    last: Bytes,
    // None at the end.
    rows: Option<SyncSender<Rows>>,
    thread: Option<JoinHandle<Result<Vec<PathBuf>, rocksdb::Error>>>,
}

impl Tables {
    fn begin(store: &Path) -> Result<Self, SnapshotError> {
        let dir = store.join("tables");
        fs::create_dir_all(&dir).map_err(|error| io_error("stage", &dir, error))?;
        let (rows, received) = sync_channel(BATCHES_WAITING);
        let within = dir.clone();
        let thread = thread::Builder::new()
            .name("snapshot-tables".into())
            .spawn(move || make(&within, &received))
            .map_err(|error| io_error("stage", &dir, error))?;
        Ok(Self {
            dir,
            last: Bytes::new(),
            rows: Some(rows),
            thread: Some(thread),
        })
    }

    /// Whether the rows ascend, from the last one on.
    fn are_next(&self, rows: &Rows) -> bool {
        let first = rows.first().map_or(&self.last, |(key, _)| key);
        (self.last.is_empty() || rows.is_empty() || *first > self.last)
            && rows.is_sorted_by(|(one, _), (other, _)| one < other)
    }

    fn put(&mut self, rows: Rows) -> Result<(), SnapshotError> {
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        self.last = last.clone();
        match self.rows.as_ref().map(|sender| sender.send(rows)) {
            Some(Ok(())) => Ok(()),
            // It has ended over something, and says over what.
            _ => self.end().map(drop),
        }
    }

    /// The tables, on disk, in order.
    fn finish(mut self) -> Result<Vec<PathBuf>, SnapshotError> {
        self.end()
    }

    fn end(&mut self) -> Result<Vec<PathBuf>, SnapshotError> {
        self.rows = None;
        let ended = |why| io_error("write tables of", &self.dir, std::io::Error::other(why));
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(made)) => made.map_err(|error| failure("write tables of", &self.dir, &error)),
            Some(Err(_)) => Err(ended("the thread that makes tables panicked")),
            None => Err(ended("they have ended")),
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.rows = None;
        if let Some(thread) = self.thread.take() {
            // What went wrong is of no interest any more.
            thread.join().ok();
        }
    }
}

fn make(dir: &Path, rows: &Receiver<Rows>) -> Result<Vec<PathBuf>, rocksdb::Error> {
    let options = family_options(MEMTABLE_BYTES);
    let mut paths = Vec::new();
    let mut open: Option<SstFileWriter<'_>> = None;
    for rows in rows {
        let table = match &mut open {
            Some(table) => table,
            None => {
                let path = dir.join(format!("{}.sst", paths.len()));
                let table = SstFileWriter::create(&options);
                table.open(&path)?;
                paths.push(path);
                open.insert(table)
            }
        };
        for (key, row) in rows {
            table.put(key, row)?;
        }
        if table.file_size() >= TABLE_BYTES {
            table.finish()?;
            open = None;
        }
    }
    if let Some(mut table) = open {
        table.finish()?;
    }
    Ok(paths)
}

/// Of no meaning for tables, but options have to say something.
const MEMTABLE_BYTES: usize = 1 << 20;

/// A table of this size is followed by another one. Each is synced whole, and others write to the disk, too.
const TABLE_BYTES: u64 = 16 << 20;

/// Batches that wait for the thread that makes tables.
const BATCHES_WAITING: usize = 4;
