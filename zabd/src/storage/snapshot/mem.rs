//! A snapshot in memory, for the simulator: what was not flushed is gone after a crash.

use std::collections::BTreeMap;

use super::{FoldBatch, SnapshotError, SnapshotMeta, SnapshotStore};

#[derive(Debug, Clone, Default)]
struct Image {
    meta: Option<SnapshotMeta>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    sessions: BTreeMap<i64, i32>,
}

/// A snapshot in memory.
#[derive(Debug, Clone, Default)]
pub struct MemStore {
    written: Image,
    flushed: Image,
}

impl MemStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what was not flushed.
    pub fn crash(&mut self) {
        self.written = self.flushed.clone();
    }
}

impl SnapshotStore for MemStore {
    fn write(&mut self, batch: &FoldBatch) -> Result<(), SnapshotError> {
        let image = &mut self.written;
        for path in &batch.deletes {
            image.rows.remove(path);
        }
        image.rows.extend(batch.puts.iter().cloned());
        for session in &batch.session_deletes {
            image.sessions.remove(session);
        }
        image.sessions.extend(batch.session_puts.iter().copied());
        image.meta = Some(SnapshotMeta { zxid: batch.zxid, digest: batch.digest });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        self.flushed = self.written.clone();
        Ok(())
    }

    fn durable(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.flushed.meta)
    }

    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.written.meta)
    }

    fn scan<E: From<SnapshotError>>(
        &self,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
        mut session: impl FnMut(i64, i32),
    ) -> Result<(), E> {
        for (path, image) in &self.written.rows {
            row(path, image)?;
        }
        for (id, timeout_ms) in &self.written.sessions {
            session(*id, *timeout_ms);
        }
        Ok(())
    }
}
