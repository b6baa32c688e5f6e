//! `HeardIsKept`: a session does not expire while its client is heard of within its timeout, by the leader or by a
//! server that is in touch with it.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "HeardIsKept";

/// A session expires at a leader that heard of it so long ago.
pub(in crate::members) fn on_expired(session: i64, silent_ms: i64, timeout_ms: i64) -> Check {
    if silent_ms >= timeout_ms {
        return Ok(());
    }
    broken(
        NAME,
        format!("session {session:#x} expires, heard of {silent_ms} ms ago of {timeout_ms} ms"),
    )
}

/// A session expires, and a server in touch with the leader had heard of it.
pub(in crate::members) fn heard_elsewhere<T>(
    session: i64,
    server: i64,
    silent_ms: i64,
    timeout_ms: i64,
) -> Check<T> {
    broken(
        NAME,
        format!(
            "session {session:#x} expires, and {server} has heard of it {silent_ms} ms ago of {timeout_ms} ms"
        ),
    )
}
