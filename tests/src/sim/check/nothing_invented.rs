//! `NothingInvented`: every transaction comes of a request that a client sent, once, or of the server's own duties;
//! what recovery finds in the log is what was written there.

use bytes::Bytes;
use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "NothingInvented";

/// A transaction that nobody asked for.
///
/// # Errors
/// Always.
pub fn unasked<T>(what: impl std::fmt::Display) -> Check<T> {
    broken(NAME, format!("nobody asked for {what}"))
}

/// Recovery finds `found` in the log where `written` was written.
///
/// # Errors
/// When they differ.
pub fn on_replayed(zxid: Zxid, found: &Bytes, written: Option<&Bytes>) -> Check {
    if written == Some(found) {
        return Ok(());
    }
    broken(
        NAME,
        format!("the log holds another transaction {zxid} than was written"),
    )
}
