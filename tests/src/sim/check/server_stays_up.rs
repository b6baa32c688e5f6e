//! `ServerStaysUp`: nothing but a crash or a disk that is really broken keeps a server from starting, serving and, once
//! all faults are over, answering everybody.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "ServerStaysUp";

/// The server did not start after a crash.
///
/// # Errors
/// Always.
pub fn no_start<T>(why: &dyn std::fmt::Display) -> Check<T> {
    broken(NAME, format!("it does not start: {why}"))
}

/// All faults are over and somebody still waits.
///
/// # Errors
/// Always.
pub fn stuck<T>(what: impl Into<String>) -> Check<T> {
    broken(NAME, what)
}
