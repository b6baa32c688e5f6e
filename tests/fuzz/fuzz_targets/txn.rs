//! The payload of a log record or proposal.

#![no_main]

use bytes::Bytes;
use jute_codec::txn::{Txn, TxnEntry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let payload = Bytes::copy_from_slice(payload);
    let Ok(entry) = TxnEntry::decode(&payload) else {
        return;
    };
    assert_eq!(entry.header.op, entry.txn.op().code());
    // Two paths without a character are taken for a digest; no node has such a path.
    if let Txn::CloseSession(Some(paths)) = &entry.txn
        && paths.iter().any(|path| path.is_empty())
    {
        return;
    }

    let write = |entry: &TxnEntry| {
        let mut payload = Vec::new();
        entry.write(&mut payload);
        Bytes::from(payload)
    };
    let read = |payload| TxnEntry::decode(&payload).expect("what was written can be read");
    let stable = read(write(&entry));
    assert_eq!(read(write(&stable)), stable);
    if !payload.iter().any(|byte| *byte >= 0xf0 && *byte <= 0xf4) {
        assert_eq!(stable, entry);
    }
});
