//! Transactions that change the membership, the only ones that are looked into here.

use std::sync::Arc;

use bytes::Bytes;
use jute_codec::proto::OpCode;
use jute_codec::txn::{Txn, TxnEntry};

use crate::replica::ensemble::{Members, Standalone};

/// A transaction that changes the membership to something that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The membership that a transaction brings, if it is about that.
pub(super) fn members_of(
    txn: &Bytes,
    standalone: Standalone,
) -> Result<Option<Arc<Members>>, Unreadable> {
    let op = txn.get(OP_AT..OP_AT + 4).and_then(|op| op.try_into().ok());
    if op.map(i32::from_be_bytes) != Some(OpCode::Reconfig.code()) {
        return Ok(None);
    }
    let entry = TxnEntry::decode(txn).map_err(|_| Unreadable)?;
    let Txn::Reconfig(change) = entry.txn else {
        return Err(Unreadable);
    };
    let members = read(change.data.as_deref().unwrap_or_default(), standalone)?;
    // That its version is its transaction is what makes it known again.
    if members.version() != entry.header.zxid.0 {
        return Err(Unreadable);
    }
    Ok(Some(members))
}

/// A membership as another server tells it, if it may be told on.
pub(super) fn read(text: &[u8], standalone: Standalone) -> Result<Arc<Members>, Unreadable> {
    let text = std::str::from_utf8(text).map_err(|_| Unreadable)?;
    let members: Members = text.parse().map_err(|_| Unreadable)?;
    members.check(standalone).map_err(|_| Unreadable)?;
    Ok(Arc::new(members))
}

/// Where the opcode is in a transaction's header: behind session, cxid, zxid and time.
const OP_AT: usize = 8 + 4 + 8 + 8;
