//! `HealsAndServes`: once all faults are over, the ensemble serves all clients again, within a bound.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "HealsAndServes";

/// It does not.
///
/// # Errors
/// Always.
pub fn stuck<T>(what: impl Into<String>) -> Check<T> {
    broken(NAME, what)
}
