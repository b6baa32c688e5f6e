//! A snapshot's rows, read by one thread and put into a tree by another.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, scope};

use bytes::{Bytes, BytesMut};

use crate::state::{RowError, StateLoader};
use crate::storage::snapshot::{SnapshotError, SnapshotStore};

/// Takes all rows of `snapshot`. Few are taken on this thread; of many, reading takes about as long as what comes of it, so
/// both go on at once.
///
/// The outer error is the store's; the inner one is about a row that came.
pub(super) fn load_rows(
    snapshot: &impl SnapshotStore,
    loader: StateLoader,
) -> Result<Result<StateLoader, RowError>, SnapshotError> {
    let (chunks, taken) = sync_channel::<Chunk>(CHUNKS_WAITING);
    // The loader is moved only once there is somebody to take it.
    let (loaders, handed) = sync_channel(1);
    let work = move || -> Option<Result<StateLoader, RowError>> {
        let loader = handed.recv().ok()?;
        Some(fill(loader, &taken))
    };
    scope(|scope| {
        let mut loader = Some(loader);
        let mut work = Some(work);
        let mut filling = None;
        let mut refused = None;
        let mut chunk = Chunk::default();
        let scanned = snapshot.scan_rows(&mut |path, row| {
            chunk.push(path, row);
            if chunk.bytes.len() < CHUNK_BYTES {
                return ControlFlow::Continue(());
            }
            if let Some(work) = work.take() {
                let thread = Builder::new().name("snapshot-load".to_owned());
                filling = thread.spawn_scoped(scope, work).ok();
            }
            let full = std::mem::take(&mut chunk);
            match (&filling, &mut loader) {
                (Some(_), waiting) => {
                    if let Some(loader) = waiting.take() {
                        loaders.send(loader).ok();
                    }
                    match chunks.send(full) {
                        Ok(()) => ControlFlow::Continue(()),
                        // It has refused a row.
                        Err(_) => ControlFlow::Break(()),
                    }
                }
                (None, Some(loader)) => match full.load(loader) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(problem) => {
                        refused = Some(problem);
                        ControlFlow::Break(())
                    }
                },
                (None, None) => ControlFlow::Break(()),
            }
        });
        let Some(filling) = filling else {
            let mut loader = loader.expect("nobody else has taken it");
            scanned?;
            return Ok(match refused {
                Some(problem) => Err(problem),
                None => chunk.load(&mut loader).map(|()| loader),
            });
        };
        chunks.send(chunk).ok();
        drop(chunks);
        let filled = filling.join().unwrap_or_else(|panic| resume_unwind(panic));
        scanned?;
        Ok(filled.expect("the loader was sent before the first rows"))
    })
}

fn fill(mut loader: StateLoader, chunks: &Receiver<Chunk>) -> Result<StateLoader, RowError> {
    for chunk in chunks {
        chunk.load(&mut loader)?;
    }
    Ok(loader)
}

/// Rows with their paths, one behind the other.
#[derive(Default)]
struct Chunk {
    bytes: BytesMut,
    // Where each path and each row ends.
    ends: Vec<(usize, usize)>,
}

impl Chunk {
    fn push(&mut self, path: &[u8], row: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
        }
        self.bytes.extend_from_slice(path);
        let path_end = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.ends.push((path_end, self.bytes.len()));
    }

    fn load(self, loader: &mut StateLoader) -> Result<(), RowError> {
        let bytes: Bytes = self.bytes.freeze();
        let mut begin = 0;
        for (path_end, end) in self.ends {
            // Paths come out of frames as text; other bytes are damage, which the digest would find at the latest.
            let path = String::from_utf8_lossy(&bytes[begin..path_end]);
            loader.row(&path, &bytes.slice(path_end..end))?;
            begin = end;
        }
        Ok(())
    }
}

/// How much is read before it is handed on, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait.
const CHUNKS_WAITING: usize = 8;

#[cfg(test)]
mod tests {
    use jute_codec::Zxid;
    use jute_codec::data::StatPersisted;

    use super::*;
    use crate::state::StateParams;
    use crate::state::tree::encode_row;
    use crate::storage::snapshot::{FoldBatch, MemStore};

    /// A root and so many children; the row at `bad`, if there is one, is none.
    fn store(children: usize, bad: Option<usize>) -> MemStore {
        let mut row = Vec::new();
        encode_row(&StatPersisted::ZERO, None, Some(&[7; 100]), &mut row);
        let row = Bytes::from(row);
        let mut puts = vec![(Bytes::from_static(b"/"), row.clone())];
        puts.extend((0..children).map(|number| {
            let row = match bad {
                Some(bad) if bad == number => Bytes::from_static(b"\x01"),
                _ => row.clone(),
            };
            (Bytes::from(format!("/n{number:06}")), row)
        }));
        let mut store = MemStore::new();
        store
            .write(FoldBatch {
                zxid: Zxid(1),
                puts,
                ..FoldBatch::default()
            })
            .unwrap();
        store
    }

    fn load(store: &MemStore) -> Result<usize, RowError> {
        let loaded = load_rows(store, StateLoader::new(StateParams::default())).unwrap();
        let state = loaded?.finish_untold(Zxid(1)).expect("there is a root");
        Ok(state.figures().nodes)
    }

    #[test]
    fn few_rows_and_many_are_all_loaded() {
        for children in [0, 1, 1000, 10_000] {
            assert_eq!(load(&store(children, None)), Ok(children + 1));
        }
    }

    #[test]
    fn a_row_that_is_none_is_refused_wherever_it_stands() {
        for (children, bad) in [(10, 5), (10_000, 0), (10_000, 5000), (10_000, 9999)] {
            let refused = load(&store(children, Some(bad))).unwrap_err();
            let path = format!("/n{bad:06}");
            assert!(matches!(&refused, RowError::Damaged { path: at, .. } if *at == path));
        }
    }
}
