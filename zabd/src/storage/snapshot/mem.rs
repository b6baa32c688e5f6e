//! A snapshot in memory, for the simulator: the same promises, and folds that a crash can take back.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jute_codec::{SessionId, Zxid};

use super::{FoldBatch, RowVisitor, SnapshotError, SnapshotMeta, SnapshotStore, SnapshotView};

/// A snapshot store in memory; clones share it, as successive boots of a machine share a disk.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    durable: Image,
    /// As the folds not yet durable leave it.
    current: Image,
    pending: Vec<FoldBatch>,
    staged: Option<MemStore>,
}

#[derive(Clone, Debug, Default)]
struct Image {
    meta: Option<SnapshotMeta>,
    rows: BTreeMap<Bytes, Bytes>,
    /// Keyed by the unsigned id, for the order that the durable store has.
    sessions: BTreeMap<u64, i32>,
    extras: BTreeMap<String, Bytes>,
}

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses power: of the folds since the last flush the first `kept` survive (the store may have made
    /// some durable by itself), the others are gone.
    pub fn crash(&self, kept: usize) {
        let mut inner = self.lock();
        let pending = std::mem::take(&mut inner.pending);
        for batch in pending.into_iter().take(kept) {
            inner.durable.apply(batch);
        }
        inner.current = inner.durable.clone();
        if let Some(staged) = &inner.staged {
            staged.crash(0);
        }
    }

    /// Whether something is staged and neither adopted nor discarded.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.lock().staged.is_some()
    }

    /// How many folds a crash can take back.
    #[must_use]
    pub fn pending_folds(&self) -> usize {
        self.lock().pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SnapshotStore for MemStore {
    fn write(&mut self, batch: FoldBatch) -> Result<(), SnapshotError> {
        let mut inner = self.lock();
        inner.current.apply(batch.clone());
        inner.pending.push(batch);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        let mut inner = self.lock();
        for batch in std::mem::take(&mut inner.pending) {
            inner.durable.apply(batch);
        }
        Ok(())
    }

    fn durable_zxid(&self) -> Result<Option<Zxid>, SnapshotError> {
        Ok(self.lock().durable.meta.map(|meta| meta.zxid))
    }

    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.lock().current.meta)
    }

    fn extra(&self, name: &str) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.lock().current.extras.get(name).cloned())
    }

    fn scan_rows(&self, visit: &mut RowVisitor<'_>) -> Result<(), SnapshotError> {
        for (path, row) in &self.lock().current.rows {
            if visit(path, row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_sessions(&self, visit: &mut dyn FnMut(SessionId, i32)) -> Result<(), SnapshotError> {
        for (id, timeout_ms) in &self.lock().current.sessions {
            visit(SessionId(id.cast_signed()), *timeout_ms);
        }
        Ok(())
    }

    fn view(&self) -> Result<Option<Box<dyn SnapshotView>>, SnapshotError> {
        let image = self.lock().current.clone();
        Ok(image
            .meta
            .map(|meta| Box::new(MemView { meta, image }) as Box<dyn SnapshotView>))
    }

    fn stage(&mut self) -> Result<Box<dyn SnapshotStore>, SnapshotError> {
        let staged = Self::new();
        self.lock().staged = Some(staged.clone());
        Ok(Box::new(staged))
    }

    fn discard_staged(&mut self) -> Result<(), SnapshotError> {
        self.lock().staged = None;
        Ok(())
    }

    fn adopt_staged(&mut self) -> Result<(), SnapshotError> {
        let mut inner = self.lock();
        if let Some(staged) = inner.staged.take() {
            inner.durable = staged.lock().durable.clone();
            inner.current = inner.durable.clone();
            inner.pending.clear();
        }
        Ok(())
    }
}

struct MemView {
    meta: SnapshotMeta,
    image: Image,
}

impl SnapshotView for MemView {
    fn meta(&self) -> SnapshotMeta {
        self.meta
    }

    fn rows_after(
        &mut self,
        after: Option<&[u8]>,
        bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, SnapshotError> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut taken = 0;
        let rows = self.image.rows.range::<[u8], _>((after, Bound::Unbounded));
        Ok(rows
            .take_while(|(path, row)| {
                let before = taken;
                taken += path.len() + row.len();
                before < bytes.max(1)
            })
            .map(|(path, row)| (path.clone(), row.clone()))
            .collect())
    }

    fn sessions(&mut self) -> Result<Vec<(SessionId, i32)>, SnapshotError> {
        Ok(self
            .image
            .sessions
            .iter()
            .map(|(id, timeout_ms)| (SessionId(id.cast_signed()), *timeout_ms))
            .collect())
    }
}

impl Image {
    fn apply(&mut self, batch: FoldBatch) {
        self.meta = Some(SnapshotMeta {
            zxid: batch.zxid,
            digest: batch.digest,
        });
        for path in &batch.deletes {
            self.rows.remove(path);
        }
        self.rows.extend(batch.puts);
        for id in batch.session_deletes {
            self.sessions.remove(&id.0.cast_unsigned());
        }
        self.sessions.extend(
            batch
                .session_puts
                .into_iter()
                .map(|(id, timeout_ms)| (id.0.cast_unsigned(), timeout_ms)),
        );
        self.extras.extend(batch.extras);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::ControlFlow;

    use super::*;

    /// A fold that leaves the store in a state that tells which folds are in it.
    pub(in super::super) fn fold(n: i64) -> FoldBatch {
        let path = |n: i64| Bytes::from(format!("/node-{n}"));
        FoldBatch {
            zxid: Zxid(n),
            digest: n.cast_unsigned() * 3,
            deletes: vec![path(n - 2)],
            puts: vec![
                (path(n), format!("row {n}").into()),
                ("/counter".into(), n.to_string().into()),
            ],
            session_deletes: vec![SessionId(n - 1)],
            session_puts: vec![(SessionId(n), 4000), (SessionId(-n), 9000)],
            extras: vec![("acls".into(), n.to_string().into())],
        }
    }

    /// Checks that a store holds folds 1 to `n`, whole.
    pub(in super::super) fn assert_holds(store: &dyn SnapshotStore, n: i64) {
        let meta = (n > 0).then(|| SnapshotMeta {
            zxid: Zxid(n),
            digest: n.cast_unsigned() * 3,
        });
        assert_eq!(store.meta().unwrap(), meta);
        let mut rows = Vec::new();
        store
            .scan_rows(&mut |path, row| {
                rows.push((
                    String::from_utf8(path.to_vec()).unwrap(),
                    String::from_utf8(row.to_vec()).unwrap(),
                ));
                ControlFlow::Continue(())
            })
            .unwrap();
        let mut expected: Vec<_> = (1.max(n - 1)..=n)
            .map(|n| (format!("/node-{n}"), format!("row {n}")))
            .collect();
        expected.extend((n > 0).then(|| ("/counter".to_owned(), n.to_string())));
        expected.sort();
        assert_eq!(rows, expected);
        let mut sessions = Vec::new();
        store
            .scan_sessions(&mut |id, timeout_ms| sessions.push((id.0, timeout_ms)))
            .unwrap();
        let mut expected: Vec<_> = (1..=n)
            .map(|n| (-n, 9000))
            .chain((n > 0).then_some((n, 4000)))
            .collect();
        expected.sort_by_key(|(id, _)| id.cast_unsigned());
        assert_eq!(sessions, expected);
        assert_eq!(
            store.extra("acls").unwrap(),
            (n > 0).then(|| n.to_string().into())
        );
        assert_eq!(store.extra("none").unwrap(), None);
    }

    #[test]
    fn a_crash_takes_back_a_suffix_of_the_folds() {
        for kept in 0..=3 {
            let mut store = MemStore::new();
            assert_holds(&store, 0);
            for n in 1..=2 {
                store.write(fold(n)).unwrap();
            }
            store.flush().unwrap();
            for n in 3..=5 {
                store.write(fold(n)).unwrap();
            }
            assert_holds(&store, 5);
            assert_eq!(store.durable_zxid().unwrap(), Some(Zxid(2)));
            store.crash(kept);
            assert_holds(&store, 2 + i64::try_from(kept).unwrap());
            assert_eq!(
                store.durable_zxid().unwrap(),
                store.meta().unwrap().map(|meta| meta.zxid)
            );
        }
    }

    #[test]
    fn a_view_stays_as_it_was() {
        view_stays(&mut MemStore::new());
    }

    /// Views at different moments, read in pages of any size while folds go on.
    pub(in super::super) fn view_stays(store: &mut dyn SnapshotStore) {
        assert!(store.view().unwrap().is_none(), "nothing to see yet");
        store.write(fold(1)).unwrap();
        store.write(fold(2)).unwrap();
        let mut view = store.view().unwrap().unwrap();
        for n in 3..=6 {
            store.write(fold(n)).unwrap();
            store.flush().unwrap();
        }
        assert_eq!((view.meta().zxid, view.meta().digest), (Zxid(2), 6));
        for bytes in [0, 1, 20, 21, 1000] {
            let mut rows = Vec::new();
            loop {
                let last = rows.last().map(|(path, _): &(Bytes, Bytes)| path.clone());
                let page = view.rows_after(last.as_deref(), bytes).unwrap();
                let most = page[..page.len().saturating_sub(1)]
                    .iter()
                    .map(|(path, row)| path.len() + row.len())
                    .sum::<usize>();
                assert!(most < bytes.max(1), "{most} bytes before the last row");
                if page.is_empty() {
                    break;
                }
                rows.extend(page);
            }
            let expected = [
                ("/counter", "2"),
                ("/node-1", "row 1"),
                ("/node-2", "row 2"),
            ];
            let expected = expected.map(|(path, row)| (Bytes::from(path), Bytes::from(row)));
            assert_eq!(rows, expected, "{bytes}");
        }
        assert_eq!(
            view.sessions().unwrap(),
            [(2, 4000), (-2, 9000), (-1, 9000)].map(|(id, timeout_ms)| (SessionId(id), timeout_ms))
        );
        assert_eq!(store.view().unwrap().unwrap().meta().zxid, Zxid(6));
    }

    #[test]
    fn what_is_staged_is_adopted_whole_or_discarded() {
        let mut store = MemStore::new();
        adopts(&mut store);
        assert!(!store.has_staged());
    }

    pub(in super::super) fn adopts(store: &mut dyn SnapshotStore) {
        store.adopt_staged().unwrap();
        assert_holds(store, 0);
        for n in 1..=3 {
            store.write(fold(n)).unwrap();
        }
        // Staged and discarded, and staged anew: nothing of the first is left.
        let mut staged = store.stage().unwrap();
        staged.write(fold(70)).unwrap();
        staged.flush().unwrap();
        drop(staged);
        store.discard_staged().unwrap();
        store.adopt_staged().unwrap();
        assert_holds(store, 3);
        let mut staged = store.stage().unwrap();
        staged.write(fold(70)).unwrap();
        drop(staged);
        let mut staged = store.stage().unwrap();
        staged.write(fold(1)).unwrap();
        assert_holds(&*staged, 1);
        assert_holds(store, 3);
        staged.flush().unwrap();
        drop(staged);
        assert_holds(store, 3);
        let view = store.view().unwrap();
        store.adopt_staged().unwrap();
        drop(view);
        assert_holds(store, 1);
        assert_eq!(store.durable_zxid().unwrap(), Some(Zxid(1)));
        store.adopt_staged().unwrap();
        store.write(fold(2)).unwrap();
        assert_holds(store, 2);
    }

    #[test]
    fn what_is_made_again_in_the_fold_that_deletes_it_stays() {
        let mut store = MemStore::new();
        made_again(&mut store);
    }

    pub(in super::super) fn made_again(store: &mut dyn SnapshotStore) {
        let path = Bytes::from("/again");
        let batch = FoldBatch {
            zxid: Zxid(1),
            deletes: vec![path.clone()],
            puts: vec![(path, "new".into())],
            session_deletes: vec![SessionId(1)],
            session_puts: vec![(SessionId(1), 5)],
            ..FoldBatch::default()
        };
        store.write(batch).unwrap();
        let (mut rows, mut sessions) = (0, 0);
        store
            .scan_rows(&mut |_, row| {
                assert_eq!(row, b"new");
                rows += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        store.scan_sessions(&mut |_, _| sessions += 1).unwrap();
        assert_eq!((rows, sessions), (1, 1));
    }

    #[test]
    fn a_scan_stops_when_told() {
        let mut store = MemStore::new();
        store.write(fold(5)).unwrap();
        let mut seen = 0;
        store
            .scan_rows(&mut |_, _| {
                seen += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(seen, 1);
    }
}
