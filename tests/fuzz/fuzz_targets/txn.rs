//! The payload of a log record or proposal.

#![no_main]

use bytes::Bytes;
use jute_codec::digest::DIGEST_VERSION;
use jute_codec::txn::{Txn, TxnEntry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let payload = Bytes::copy_from_slice(payload);
    let Ok(entry) = TxnEntry::decode(&payload) else {
        return;
    };
    assert_eq!(entry.header.op, entry.txn.op().code());
    // Whether a closeSession has a list is told by its digest's version and by what two paths need at least. No
    // server writes other versions, and no node has a path without characters.
    if let Txn::CloseSession(paths) = &entry.txn {
        let strange_path = paths.iter().flatten().any(|path| path.is_empty());
        let strange_digest = entry
            .digest
            .as_ref()
            .is_some_and(|digest| digest.version != DIGEST_VERSION);
        if strange_path || strange_digest {
            return;
        }
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
