//! Views: a thread holds RocksDB's snapshot and reads from it what it is asked for.
//!
//! RocksDB's snapshots and iterators borrow the database, and a view is to be handed around; so they stay on the stack
//! of a thread, which ends with the view or when the store is to be closed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jute_codec::SessionId;
use rocksdb::{DB, ReadOptions, SnapshotWithThreadMode};

use super::{
    META, SESSIONS, STATE_KEY, ZNODES, decode_session, decode_state, failure, family, io_error,
};
use crate::storage::snapshot::{SnapshotError, SnapshotMeta, SnapshotView};

/// How long a view that nobody asks anything takes to notice that the store is to be closed.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

type Rows = Vec<(Bytes, Bytes)>;
type Sessions = Vec<(SessionId, i32)>;
type Answer<T> = Sender<Result<T, SnapshotError>>;

enum Ask {
    Rows {
        after: Option<Vec<u8>>,
        bytes: usize,
        answer: Answer<Rows>,
    },
    Sessions(Answer<Sessions>),
}

struct RocksView {
    meta: SnapshotMeta,
    asks: Sender<Ask>,
    dir: PathBuf,
}

/// A view of the database as it is now; `None` if there was no fold yet.
pub(super) fn open(
    db: Arc<DB>,
    dir: &Path,
    end: Arc<AtomicBool>,
) -> Result<Option<Box<dyn SnapshotView>>, SnapshotError> {
    let (asks, asked) = channel();
    let (answer, opened) = channel();
    let of_thread = dir.to_owned();
    thread::Builder::new()
        .name("snapshot-view".into())
        .spawn(move || serve(&db, &of_thread, &end, &asked, &answer))
        .map_err(|error| io_error("view", dir, error))?;
    let meta = opened.recv().map_err(|_| ended(dir))??;
    Ok(meta.map(|meta| {
        Box::new(RocksView {
            meta,
            asks,
            dir: dir.to_owned(),
        }) as Box<dyn SnapshotView>
    }))
}

impl RocksView {
    fn ask<T>(&self, ask: impl FnOnce(Answer<T>) -> Ask) -> Result<T, SnapshotError> {
        let (answer, answered) = channel();
        self.asks.send(ask(answer)).map_err(|_| ended(&self.dir))?;
        answered.recv().map_err(|_| ended(&self.dir))?
    }
}

impl SnapshotView for RocksView {
    fn meta(&self) -> SnapshotMeta {
        self.meta
    }

    fn rows_after(&mut self, after: Option<&[u8]>, bytes: usize) -> Result<Rows, SnapshotError> {
        let after = after.map(<[u8]>::to_vec);
        self.ask(|answer| Ask::Rows {
            after,
            bytes,
            answer,
        })
    }

    fn sessions(&mut self) -> Result<Sessions, SnapshotError> {
        self.ask(Ask::Sessions)
    }
}

fn serve(
    db: &DB,
    dir: &Path,
    end: &AtomicBool,
    asked: &Receiver<Ask>,
    opened: &Answer<Option<SnapshotMeta>>,
) {
    let moment = Moment {
        snapshot: db.snapshot(),
        db,
        dir,
    };
    // Where nobody waits for an answer any more, the view is gone, and the next question does not come.
    let mut wanted = opened.send(moment.meta()).is_ok();
    while wanted && !end.load(Ordering::Acquire) {
        wanted = match asked.recv_timeout(PATIENCE) {
            Ok(Ask::Rows {
                after,
                bytes,
                answer,
            }) => answer.send(moment.rows(after.as_deref(), bytes)).is_ok(),
            Ok(Ask::Sessions(answer)) => answer.send(moment.sessions()).is_ok(),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        };
    }
}

struct Moment<'a> {
    snapshot: SnapshotWithThreadMode<'a, DB>,
    db: &'a DB,
    dir: &'a Path,
}

impl Moment<'_> {
    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        let family = family(self.db, self.dir, META)?;
        self.snapshot
            .get_cf(family, STATE_KEY)
            .map_err(|error| failure("read", self.dir, &error))?
            .map(|bytes| decode_state(&bytes, self.dir))
            .transpose()
    }

    fn rows(&self, after: Option<&[u8]>, bytes: usize) -> Result<Rows, SnapshotError> {
        let (mut rows, mut taken) = (Vec::new(), 0);
        self.scan(ZNODES, after, |path, row| {
            taken += path.len() + row.len();
            rows.push((Bytes::copy_from_slice(path), Bytes::copy_from_slice(row)));
            Ok(taken < bytes)
        })?;
        Ok(rows)
    }

    fn sessions(&self) -> Result<Sessions, SnapshotError> {
        let mut sessions = Vec::new();
        self.scan(SESSIONS, None, |id, timeout_ms| {
            sessions.push(decode_session(id, timeout_ms, self.dir)?);
            Ok(true)
        })?;
        Ok(sessions)
    }

    fn scan(
        &self,
        name: &'static str,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let family = family(self.db, self.dir, name)?;
        let mut entries = self.snapshot.raw_iterator_cf_opt(family, options);
        match after {
            None => entries.seek_to_first(),
            Some(after) => {
                entries.seek(after);
                if entries.key() == Some(after) {
                    entries.next();
                }
            }
        }
        while let (Some(key), Some(value)) = (entries.key(), entries.value()) {
            if !visit(key, value)? {
                return Ok(());
            }
            entries.next();
        }
        entries
            .status()
            .map_err(|error| failure("read", self.dir, &error))
    }
}

fn ended(dir: &Path) -> SnapshotError {
    io_error(
        "view",
        dir,
        io::Error::other("it is being replaced by another one"),
    )
}
