//! Rows of a snapshot: those of a new server, then rows of any bytes, in the order of their paths.
//!
//! Input: whether the new server's rows come first (1 byte), then rows: path, row, each behind its length.

#![no_main]

#[path = "support/limit.rs"]
mod limit;
#[path = "support/source.rs"]
mod source;

use std::collections::BTreeMap;

use bytes::Bytes;
use jute_codec::Zxid;
use libfuzzer_sys::fuzz_target;
use source::Source;
use zabd::state::{DigestMismatch, State, StateLoader, StateParams};

fn params() -> StateParams {
    StateParams {
        extended_types: true,
        ..StateParams::default()
    }
}

type Rows = BTreeMap<String, Bytes>;

fn rows(input: &[u8]) -> Rows {
    let mut source = Source::new(input);
    let mut rows = Rows::new();
    if source.byte() % 4 != 0 {
        let mut state = State::new(params());
        let _start = state.begin_fold();
        let slice = state.fold_slice(usize::MAX);
        rows.extend(
            slice
                .rows
                .into_iter()
                .map(|(path, row)| (path.into(), row.into())),
        );
    }
    while !source.is_empty() {
        let path = String::from_utf8_lossy(source.short()).into_owned();
        let row = match source.byte() {
            // As the new server's row for that path, with one byte changed.
            change @ 0..=99 => {
                let mut row = rows.get(&path).map(|row| row.to_vec()).unwrap_or_default();
                if let Some(byte) = row.get_mut(usize::from(change)) {
                    *byte = source.byte();
                }
                row
            }
            // A stat and what follows.
            100..=199 => [&[1], source.short()].concat(),
            _ => source.short().to_vec(),
        };
        rows.insert(path, row.into());
    }
    rows
}

/// The state of those rows that can be taken.
fn load(rows: &Rows, digest: u64) -> Result<State, DigestMismatch> {
    let mut loader = StateLoader::new(params());
    for (path, row) in rows {
        if let Err(error) = loader.row(path, row) {
            assert!(!error.to_string().is_empty());
        }
    }
    loader.finish(Zxid(7), digest)
}

fuzz_target!(|input: &[u8]| {
    let rows = rows(input);
    let mut state = match load(&rows, 0) {
        Ok(state) => state,
        Err(mismatch) => {
            load(&rows, mismatch.found).expect("the digest is that of the same rows a moment ago")
        }
    };
    assert_eq!(state.digest(), state.audit_digest());
    assert!(state.quotas().count() <= state.figures().nodes);
    drop(state.abandoned(i64::MAX, 1));
    let _start = state.begin_fold();
    while state.fold_slice(3).more {}
});
