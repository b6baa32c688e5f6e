//! A snapshot in RocksDB.
//!
//! One column family each for rows, sessions and the meta row. RocksDB's own log is off: the transaction log has
//! everything. A fold is one `WriteBatch`; families are flushed together (atomic flush), so that what a crash leaves is
//! the state after some whole batch, and the meta row says which.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{FoldBatch, SnapshotError, SnapshotMeta, SnapshotStore};

const ROWS: &str = "znodes";
const SESSIONS: &str = "sessions";
const META: &str = "meta";

/// The format of keys and values; see docs/file-formats.md.
const FORMAT: u32 = 1;
const META_KEY: &[u8] = b"snapshot";
const META_BYTES: usize = 4 + 8 + 8;

/// Memory for changes that are not yet flushed, in bytes; a fold that is larger is taken all the same.
const WRITE_BUFFER: usize = 32 << 20;
const BLOCK_CACHE: usize = 8 << 20;
/// What a scan reads ahead, in bytes: a restart reads everything once.
const READAHEAD: usize = 2 << 20;

/// A snapshot in a RocksDB database.
#[derive(Debug)]
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    // What the last successful flush of all families, or opening, made sure of.
    durable: Option<SnapshotMeta>,
}

impl RocksStore {
    /// Opens the database in `path`, making it if there is none.
    ///
    /// # Errors
    /// When it is damaged, of another format, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let descriptors = [ROWS, SESSIONS, META].map(|name| ColumnFamilyDescriptor::new(name, family_options()));
        let db = DB::open_cf_descriptors(&database_options(), path, descriptors).map_err(|problem| {
            let (path, problem) = (path.to_owned(), problem.into_string());
            if problem.contains("Corruption") || problem.contains("No such file") {
                SnapshotError::Damaged { path, problem }
            } else {
                SnapshotError::Database { path, problem }
            }
        })?;
        let mut store = Self { db, path: path.to_owned(), durable: None };
        // What can be read right after opening came from files: there is no log to replay into memory.
        store.durable = store.meta()?;
        if store.durable.is_none() && store.db.iterator_cf(store.family(ROWS)?, IteratorMode::Start).next().is_some() {
            return Err(store.damaged("there are rows, but no meta row"));
        }
        Ok(store)
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, SnapshotError> {
        self.db.cf_handle(name).ok_or_else(|| self.damaged(format!("column family {name} is missing")))
    }

    fn damaged(&self, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), problem: problem.into() }
    }

    fn problem(&self, problem: rocksdb::Error) -> SnapshotError {
        if problem.kind() == rocksdb::ErrorKind::Corruption {
            return self.damaged(problem.into_string());
        }
        SnapshotError::Database { path: self.path.clone(), problem: problem.into_string() }
    }

    fn scan_family(
        &self,
        name: &str,
    ) -> Result<impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), rocksdb::Error>> + '_, SnapshotError> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(READAHEAD);
        options.fill_cache(false);
        options.set_verify_checksums(true);
        Ok(self.db.iterator_cf_opt(self.family(name)?, options, IteratorMode::Start))
    }
}

impl SnapshotStore for RocksStore {
    fn write(&mut self, batch: &FoldBatch) -> Result<(), SnapshotError> {
        let (rows, sessions, meta) = (self.family(ROWS)?, self.family(SESSIONS)?, self.family(META)?);
        let mut changes = WriteBatch::default();
        for path in &batch.deletes {
            changes.delete_cf(rows, path);
        }
        for (path, row) in &batch.puts {
            changes.put_cf(rows, path, row);
        }
        for session in &batch.session_deletes {
            changes.delete_cf(sessions, session.to_be_bytes());
        }
        for (session, timeout_ms) in &batch.session_puts {
            changes.put_cf(sessions, session.to_be_bytes(), timeout_ms.to_be_bytes());
        }
        let value = encode_meta(SnapshotMeta { zxid: batch.zxid, digest: batch.digest });
        changes.put_cf(meta, META_KEY, value);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(&changes, &options).map_err(|problem| self.problem(problem))
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        // A flush of some of the families only would break their atomicity.
        let families = [self.family(ROWS)?, self.family(SESSIONS)?, self.family(META)?];
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families, &options).map_err(|problem| self.problem(problem))?;
        self.durable = self.meta()?;
        Ok(())
    }

    fn durable(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.durable)
    }

    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        let value = self.db.get_cf(self.family(META)?, META_KEY).map_err(|problem| self.problem(problem))?;
        value.map(|value| self.decode_meta(&value)).transpose()
    }

    fn scan<E: From<SnapshotError>>(
        &self,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
        mut session: impl FnMut(i64, i32),
    ) -> Result<(), E> {
        for entry in self.scan_family(ROWS)? {
            let (path, image) = entry.map_err(|problem| self.problem(problem))?;
            row(&path, &image)?;
        }
        for entry in self.scan_family(SESSIONS)? {
            let (id, timeout_ms) = entry.map_err(|problem| self.problem(problem))?;
            let (Ok(id), Ok(timeout_ms)) = (id[..].try_into(), timeout_ms[..].try_into()) else {
                return Err(self.damaged("a session's entry has the wrong length").into());
            };
            session(i64::from_be_bytes(id), i32::from_be_bytes(timeout_ms));
        }
        Ok(())
    }
}

impl RocksStore {
    fn decode_meta(&self, value: &[u8]) -> Result<SnapshotMeta, SnapshotError> {
        let format = value.first_chunk().map(|format| u32::from_be_bytes(*format));
        match (format, <&[u8; META_BYTES]>::try_from(value)) {
            (Some(FORMAT), Ok(value)) => {
                let word = |at: usize| {
                    u64::from_be_bytes(value[at..at + 8].try_into().expect("the length was just checked"))
                };
                Ok(SnapshotMeta { zxid: word(4).cast_signed(), digest: word(12) })
            }
            (Some(found), _) if found != FORMAT => {
                Err(SnapshotError::Version { path: self.path.clone(), found, expected: FORMAT })
            }
            _ => Err(self.damaged("the meta row has the wrong length")),
        }
    }
}

fn encode_meta(meta: SnapshotMeta) -> [u8; META_BYTES] {
    let mut value = [0; META_BYTES];
    value[..4].copy_from_slice(&FORMAT.to_be_bytes());
    value[4..12].copy_from_slice(&meta.zxid.to_be_bytes());
    value[12..].copy_from_slice(&meta.digest.to_be_bytes());
    value
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_db_write_buffer_size(4 * WRITE_BUFFER);
    options
}

fn family_options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    blocks.set_block_size(16 << 10);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_write_buffer_number(3);
    options
}
