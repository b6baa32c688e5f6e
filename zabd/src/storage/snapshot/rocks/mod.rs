//! The snapshot in RocksDB, which is never on the path of a commit or a read.
//!
//! Three column families: `znodes` (path → row), `sessions` (id, big-endian → timeout, little-endian) and
//! `meta` (`version`, `state`, and further values under `x/`). RocksDB's own log is off, since the
//! transaction log is the log; what makes several families agree after a crash is `atomic_flush`. A flush
//! of one family alone would undo that, so there is none.
//!
//! What is durable is read back rather than remembered: `ReadTier::Persisted` looks past the memtables.
//!
//! A store is staged in `<dir>.received`, as tables rather than through memtables (`staged`). Adopting it is two renames,
//! `<dir>` to `<dir>.old` and `<dir>.received` to `<dir>`; whoever asked for it knows from elsewhere that it must be finished
//! after a crash between them.

mod staged;
mod staging;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use jute_codec::{SessionId, Zxid};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    ErrorKind, FlushOptions, LogLevel, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};

use super::{FoldBatch, RowVisitor, SnapshotError, SnapshotMeta, SnapshotStore, SnapshotView};

/// A snapshot store in a directory of its own.
pub struct RocksStore {
    /// Shared with views; none after an adoption that failed half-way.
    db: Option<Arc<DB>>,
    dir: PathBuf,
    /// Tells the views to let go of the database.
    views_end: Arc<AtomicBool>,
}

impl RocksStore {
    /// Opens the store, or makes an empty one if `dir` holds none. What is lost or broken is an error,
    /// never an empty store.
    ///
    /// # Errors
    /// Damage, another format version, another process that has it open, the disk's.
    pub fn open(dir: &Path) -> Result<Self, SnapshotError> {
        let failed = |error: rocksdb::Error| failure("open", dir, &error);
        let mut options = db_options();
        match what_is_there(dir).map_err(|source| io_error("open", dir, source))? {
            Found::Nothing => options.create_if_missing(true),
            Found::Database => {}
            Found::Remains => {
                let detail = format!(
                    "{} is missing, but there are tables",
                    dir.join(CURRENT).display()
                );
                return Err(SnapshotError::Damaged {
                    dir: dir.to_owned(),
                    detail,
                });
            }
        }
        if is_unfinished(&options, dir) {
            options.create_missing_column_families(true);
        }
        let families = [(ZNODES, 16 << 20), (SESSIONS, 1 << 20), (META, 1 << 20)];
        let families = families.map(|(name, memtable_bytes)| {
            ColumnFamilyDescriptor::new(name, family_options(memtable_bytes))
        });
        let db = DB::open_cf_descriptors(&options, dir, families).map_err(failed)?;
        let mut store = Self {
            db: Some(Arc::new(db)),
            dir: dir.to_owned(),
            views_end: Arc::default(),
        };
        store.check_version()?;
        Ok(store)
    }

    /// Moves the store in `dir`, and whatever is staged or replaced beside it, into the directory `to`, durably; what is
    /// not there is left out. Nobody may have it open.
    ///
    /// # Errors
    /// The disk's; calling again goes on.
    pub fn set_aside(dir: &Path, to: &Path) -> Result<(), SnapshotError> {
        staging::set_aside(dir, to)
    }

    /// Bytes of the tables on disk, roughly.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let of = |name| {
            let db = self.db.as_ref()?;
            let family = db.cf_handle(name)?;
            db.property_int_value_cf(family, "rocksdb.total-sst-files-size")
                .ok()
                .flatten()
        };
        [ZNODES, SESSIONS, META].into_iter().filter_map(of).sum()
    }

    fn check_version(&mut self) -> Result<(), SnapshotError> {
        match self.meta_value(VERSION_KEY, ReadTier::All)? {
            Some(bytes) => match bytes.as_slice().try_into().map(u32::from_le_bytes) {
                Ok(VERSION) => Ok(()),
                Ok(found) => Err(SnapshotError::Version {
                    dir: self.dir.clone(),
                    found,
                    supported: VERSION,
                }),
                Err(_) => Err(self.damaged("its version is not four bytes long")),
            },
            None => {
                let mut rows = 0;
                self.scan_rows(&mut |_, _| {
                    rows += 1;
                    ControlFlow::Break(())
                })?;
                if rows > 0 || self.meta()?.is_some() {
                    return Err(self.damaged("it has rows but no version"));
                }
                self.db()?
                    .put_cf_opt(
                        self.family(META)?,
                        VERSION_KEY,
                        VERSION.to_le_bytes(),
                        &unlogged(),
                    )
                    .map_err(|error| failure("write", &self.dir, &error))?;
                self.flush()
            }
        }
    }

    fn meta_value(&self, key: &[u8], tier: ReadTier) -> Result<Option<Vec<u8>>, SnapshotError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(tier);
        self.db()?
            .get_cf_opt(self.family(META)?, key, &options)
            .map_err(|error| failure("read", &self.dir, &error))
    }

    fn state(&self, tier: ReadTier) -> Result<Option<SnapshotMeta>, SnapshotError> {
        let Some(bytes) = self.meta_value(STATE_KEY, tier)? else {
            return Ok(None);
        };
        decode_state(&bytes, &self.dir).map(Some)
    }

    fn scan(&self, family: &'static str, visit: &mut TryVisitor<'_>) -> Result<(), SnapshotError> {
        let mut options = ReadOptions::default();
        // The scan of a restart reads each block once; keeping them would only push others out.
        options.fill_cache(false);
        options.set_readahead_size(2 << 20);
        let mut rows = self
            .db()?
            .raw_iterator_cf_opt(self.family(family)?, options);
        rows.seek_to_first();
        while let (Some(key), Some(value)) = (rows.key(), rows.value()) {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
            rows.next();
        }
        // An iterator ends at a damaged block as it does at the end; only its status tells which.
        rows.status()
            .map_err(|error| failure("read", &self.dir, &error))
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, SnapshotError> {
        family(self.db()?, &self.dir, name)
    }

    fn db(&self) -> Result<&DB, SnapshotError> {
        Ok(self.shared_db()?)
    }

    fn shared_db(&self) -> Result<&Arc<DB>, SnapshotError> {
        let closed = || io::Error::other("what was to take its place could not be put there");
        self.db
            .as_ref()
            .ok_or_else(|| io_error("use", &self.dir, closed()))
    }

    /// Closes the database, once no view uses it any more: it can be opened again only then.
    fn close(&mut self) -> Result<(), SnapshotError> {
        self.views_end.store(true, Ordering::Release);
        let Some(mut db) = self.db.take() else {
            return Ok(());
        };
        for _ in 0..CLOSE_ATTEMPTS {
            match Arc::try_unwrap(db) {
                Ok(db) => {
                    drop(db);
                    return Ok(());
                }
                Err(shared) => db = shared,
            }
            thread::sleep(view::PATIENCE / 2);
        }
        self.db = Some(db);
        self.views_end = Arc::default();
        let busy = io::Error::other("somebody goes on reading it");
        Err(io_error("close", &self.dir, busy))
    }

    fn damaged(&self, detail: &str) -> SnapshotError {
        damaged(&self.dir, detail)
    }
}

impl SnapshotStore for RocksStore {
    fn write(&mut self, batch: FoldBatch) -> Result<(), SnapshotError> {
        let (znodes, sessions, meta) = (
            self.family(ZNODES)?,
            self.family(SESSIONS)?,
            self.family(META)?,
        );
        let mut writes = WriteBatch::default();
        for path in &batch.deletes {
            writes.delete_cf(znodes, path);
        }
        for (path, row) in &batch.puts {
            writes.put_cf(znodes, path, row);
        }
        for id in &batch.session_deletes {
            writes.delete_cf(sessions, id.0.to_be_bytes());
        }
        for (id, timeout_ms) in &batch.session_puts {
            writes.put_cf(sessions, id.0.to_be_bytes(), timeout_ms.to_le_bytes());
        }
        for (name, value) in &batch.extras {
            writes.put_cf(meta, extra_key(name), value);
        }
        let mut state = [0; 16];
        state[..8].copy_from_slice(&batch.zxid.0.to_le_bytes());
        state[8..].copy_from_slice(&batch.digest.to_le_bytes());
        writes.put_cf(meta, STATE_KEY, state);
        self.db()?
            .write_opt(writes, &unlogged())
            .map_err(|error| failure("write", &self.dir, &error))
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = [
            self.family(ZNODES)?,
            self.family(SESSIONS)?,
            self.family(META)?,
        ];
        self.db()?
            .flush_cfs_opt(&families, &options)
            .map_err(|error| failure("flush", &self.dir, &error))
    }

    fn durable_zxid(&self) -> Result<Option<Zxid>, SnapshotError> {
        Ok(self.state(ReadTier::Persisted)?.map(|meta| meta.zxid))
    }

    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        self.state(ReadTier::All)
    }

    fn extra(&self, name: &str) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self
            .meta_value(&extra_key(name), ReadTier::All)?
            .map(Bytes::from))
    }

    fn scan_rows(&self, visit: &mut RowVisitor<'_>) -> Result<(), SnapshotError> {
        self.scan(ZNODES, &mut |path, row| Ok(visit(path, row)))
    }

    fn scan_sessions(&self, visit: &mut dyn FnMut(SessionId, i32)) -> Result<(), SnapshotError> {
        self.scan(SESSIONS, &mut |id, timeout_ms| {
            let (id, timeout_ms) = decode_session(id, timeout_ms, &self.dir)?;
            visit(id, timeout_ms);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn view(&self) -> Result<Option<Box<dyn SnapshotView>>, SnapshotError> {
        let db = Arc::clone(self.shared_db()?);
        view::open(db, &self.dir, Arc::clone(&self.views_end))
    }

    fn stage(&mut self) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        self.discard_staged()?;
        let store = Self::open(&staging::received_dir(&self.dir))?;
        Ok(Box::new(staged::Staged::new(store)?))
    }

    fn discard_staged(&mut self) -> Result<(), SnapshotError> {
        staging::remove(&staging::received_dir(&self.dir))
    }

    fn adopt_staged(&mut self) -> Result<(), SnapshotError> {
        let staged = staging::received_dir(&self.dir).exists();
        if staged {
            self.close()?;
            staging::switch(&self.dir)?;
        }
        if self.db.is_none() {
            *self = Self::open(&self.dir)?;
        }
        staging::remove(&staging::old_dir(&self.dir))
    }
}

fn decode_state(bytes: &[u8], dir: &Path) -> Result<SnapshotMeta, SnapshotError> {
    let (Some(zxid), Some(digest), 16) = (bytes.first_chunk(), bytes.last_chunk(), bytes.len())
    else {
        return Err(damaged(dir, "its state is not sixteen bytes long"));
    };
    Ok(SnapshotMeta {
        zxid: Zxid(i64::from_le_bytes(*zxid)),
        digest: u64::from_le_bytes(*digest),
    })
}

fn decode_session(
    id: &[u8],
    timeout_ms: &[u8],
    dir: &Path,
) -> Result<(SessionId, i32), SnapshotError> {
    let (Ok(id), Ok(timeout_ms)) = (id.try_into(), timeout_ms.try_into()) else {
        return Err(damaged(dir, "a session's row has the wrong length"));
    };
    Ok((
        SessionId(i64::from_be_bytes(id)),
        i32::from_le_bytes(timeout_ms),
    ))
}

fn family<'a>(
    db: &'a DB,
    dir: &Path,
    name: &'static str,
) -> Result<&'a ColumnFamily, SnapshotError> {
    db.cf_handle(name)
        .ok_or_else(|| damaged(dir, &format!("it has no column family {name}")))
}

fn damaged(dir: &Path, detail: &str) -> SnapshotError {
    SnapshotError::Damaged {
        dir: dir.to_owned(),
        detail: detail.to_owned(),
    }
}

type TryVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, SnapshotError> + 'a;

/// What a directory holds.
enum Found {
    /// No database, or one whose making was cut short before anything was in it.
    Nothing,
    Database,
    /// Tables, but not the file that says which of them count.
    Remains,
}

fn what_is_there(dir: &Path) -> io::Result<Found> {
    let mut found = Found::Nothing;
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name == CURRENT {
            return Ok(Found::Database);
        }
        if Path::new(&name)
            .extension()
            .is_some_and(|extension| extension == "sst")
        {
            found = Found::Remains;
        }
    }
    Ok(found)
}

/// Whether the database was made but not yet its families: a crash between the two.
fn is_unfinished(options: &Options, dir: &Path) -> bool {
    match DB::list_cf(options, dir) {
        Ok(families) => families == ["default"],
        // Nothing there yet; or damage, which opening reports better.
        Err(_) => !dir.join(CURRENT).exists(),
    }
}

fn db_options() -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(4 << 20);
    options.set_keep_log_file_num(3);
    options.set_stats_dump_period_sec(0);
    options
}

fn family_options(memtable_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(4 << 20));
    blocks.set_block_size(16 << 10);
    blocks.set_format_version(5);
    let mut options = Options::default();
    options.set_write_buffer_size(memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&blocks);
    options
}

fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn extra_key(name: &str) -> Vec<u8> {
    [EXTRA_PREFIX, name.as_bytes()].concat()
}

fn failure(action: &'static str, dir: &Path, error: &rocksdb::Error) -> SnapshotError {
    let detail = error.to_string();
    // A missing table comes as an IO error.
    if error.kind() == ErrorKind::Corruption || detail.contains("No such file") {
        return SnapshotError::Damaged {
            dir: dir.to_owned(),
            detail,
        };
    }
    io_error(action, dir, io::Error::other(detail))
}

fn io_error(action: &'static str, dir: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        action,
        dir: dir.to_owned(),
        source,
    }
}

/// How often a view is waited for: 30 seconds.
const CLOSE_ATTEMPTS: u32 = 600;

const CURRENT: &str = "CURRENT";
const ZNODES: &str = "znodes";
const SESSIONS: &str = "sessions";
const META: &str = "meta";
const VERSION_KEY: &[u8] = b"version";
const STATE_KEY: &[u8] = b"state";
const EXTRA_PREFIX: &[u8] = b"x/";
const VERSION: u32 = 1;
