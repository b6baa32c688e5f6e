//! `OneHistory`: all servers let their clients see one history, without gaps.

use bytes::Bytes;
use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "OneHistory";

/// A server has `found` in a place where another had `first`.
pub(in crate::members) fn same(
    place: usize,
    first: (Zxid, &Bytes),
    found: (Zxid, &Bytes),
) -> Check {
    if first == found {
        return Ok(());
    }
    broken(
        NAME,
        format!(
            "transaction number {place} is {} at one server and {} at another, or has other bytes",
            first.0, found.0
        ),
    )
}

/// A server has `zxid` in this place; so many transactions are known, up to `newest`.
pub(in crate::members) fn next(place: usize, count: usize, newest: Zxid, zxid: Zxid) -> Check {
    let follows = zxid.0 == newest.0 + 1 || (zxid.epoch() > newest.epoch() && zxid.counter() == 1);
    if place == count && follows {
        return Ok(());
    }
    broken(
        NAME,
        format!("{zxid} is number {place}, and {count} are known up to {newest}"),
    )
}
