//! `RepliesMatchModel`: every reply is the one that the slow model gives.

use jute_codec::Zxid;

use super::{Check, broken};
use crate::sim::model::Answer;

/// The promise's name.
pub const NAME: &str = "RepliesMatchModel";

/// A request was answered.
///
/// # Errors
/// When the model answers otherwise.
pub fn on_reply(
    request: &dyn std::fmt::Debug,
    zxid: Zxid,
    found: Answer,
    expected: Answer,
) -> Check {
    let (found, expected) = (found.normalized(), expected.normalized());
    if found == expected {
        return Ok(());
    }
    broken(
        NAME,
        format!(
            "at {zxid}, {request:?}\n  was answered     {found:?}\n  the model says   {expected:?}"
        ),
    )
}
