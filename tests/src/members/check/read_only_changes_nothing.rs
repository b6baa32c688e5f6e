//! `ReadOnlyChangesNothing`: a server without a leader that shows what it has refuses every change, and serves only those
//! who are content with that; where what it shows is committed, it is what everybody sees.

use bytes::Bytes;
use jute_codec::proto::Request;
use jute_codec::{ErrorCode, Zxid};

use super::{Check, broken};
use crate::sim::model::Answer;

/// The promise's name.
pub const NAME: &str = "ReadOnlyChangesNothing";

/// A change was asked for.
pub(in crate::members) fn on_answered(request: &Request, err: i32) -> Check {
    if err == ErrorCode::NotReadOnly.code() {
        return Ok(());
    }
    broken(NAME, format!("{request:?} is answered with {err}"))
}

/// What was shown is not what is committed.
pub(in crate::members) fn shown(
    request: &Request,
    zxid: Zxid,
    found: &Answer,
    expected: &Answer,
) -> Check {
    broken(
        NAME,
        format!("{request:?} shows {found:?} at {zxid}, committed is {expected:?}"),
    )
}

/// A client was let in that asked for a server which leads, or is led.
pub(in crate::members) fn let_in(session: i64) -> Check {
    broken(
        NAME,
        format!("a client gets {session:#x}, and did not ask for so little"),
    )
}

/// An answer cannot be decoded.
pub(in crate::members) fn unreadable(frame: &Bytes) -> Check {
    broken(NAME, format!("{frame:?} is no answer"))
}
