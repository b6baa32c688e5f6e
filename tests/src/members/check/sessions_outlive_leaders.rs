//! `SessionsOutliveLeaders`: a new leader gives each session its whole timeout again.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "SessionsOutliveLeaders";

/// A session expires, so long after its leader began to lead, and was not heard of by it.
pub(in crate::members) fn on_expired(session: i64, led_ms: i64, timeout_ms: i64) -> Check {
    if led_ms >= timeout_ms {
        return Ok(());
    }
    broken(
        NAME,
        format!(
            "session {session:#x} expires {led_ms} ms after its leader began, of {timeout_ms} ms"
        ),
    )
}
