//! `HealsAndServes`: once nothing goes wrong any more there is a leader, all servers are in step with it, and a new
//! transaction gets through to all of them, within a bound of virtual time.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "HealsAndServes";

/// That did not come about.
///
/// # Errors
/// Always.
pub fn stuck<T>(what: impl Into<String>) -> Check<T> {
    broken(NAME, what)
}
