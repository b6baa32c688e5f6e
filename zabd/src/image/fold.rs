//! What changed in a state, as one batch for the store.

use bytes::Bytes;

use crate::state::{FoldSlice, FoldStart, State};
use crate::storage::snapshot::FoldBatch;

/// All that changed since the last fold began, or since the state was made, at one go: for a state that nobody else looks at.
#[must_use]
pub fn whole_fold(state: &mut State) -> FoldBatch {
    fold_batch(state.begin_fold(), || state.fold_slice(usize::MAX))
}

/// A fold that has begun, as a batch; `next_slice` is asked until there is no more to come.
#[must_use]
pub fn fold_batch(start: FoldStart, mut next_slice: impl FnMut() -> FoldSlice) -> FoldBatch {
    let key = |path: Box<str>| Bytes::from(path.into_string());
    let mut batch = FoldBatch {
        zxid: start.zxid,
        digest: start.digest,
        deletes: start.deleted.into_iter().map(key).collect(),
        ..FoldBatch::default()
    };
    for (session, timeout_ms) in start.sessions {
        match timeout_ms {
            Some(timeout_ms) => batch.session_puts.push((session, timeout_ms)),
            None => batch.session_deletes.push(session),
        }
    }
    loop {
        let slice = next_slice();
        let rows = slice.rows.into_iter();
        batch
            .puts
            .extend(rows.map(|(path, row)| (key(path), Bytes::from(row))));
        if !slice.more {
            return batch;
        }
    }
}
