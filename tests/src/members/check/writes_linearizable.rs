//! `WritesLinearizable`: a write takes effect at most once, at the transaction that its reply names, and behind
//! everything that anybody had been shown when it was sent.

use jute_codec::Zxid;

use super::{Check, broken};
use crate::sim::model::Answer;

/// The promise's name.
pub const NAME: &str = "WritesLinearizable";

/// A write took effect before, and does again.
pub(in crate::members) fn twice<T>(session: i64, xid: i32, before: Zxid, now: Zxid) -> Check<T> {
    broken(
        NAME,
        format!("write {xid} of {session:#x} takes effect at {before} and at {now}"),
    )
}

/// A write takes effect at `zxid`; when it was sent, somebody had been shown `floor`.
pub(in crate::members) fn in_real_time(xid: i32, floor: Zxid, zxid: Zxid) -> Check {
    if zxid > floor {
        return Ok(());
    }
    broken(
        NAME,
        format!("write {xid} was sent when {floor} had been shown, and takes effect at {zxid}"),
    )
}

/// A reply names a transaction that was another.
pub(in crate::members) fn told<T>(
    session: i64,
    xid: i32,
    zxid: Zxid,
    found: Option<&(i64, i32, Answer)>,
) -> Check<T> {
    broken(
        NAME,
        format!("the reply to {xid} of {session:#x} names {zxid}, which was {found:?}"),
    )
}
