//! `EventBeforeReveal`: a client never sees in a reply a state later than an event that it should have got first.

use std::collections::VecDeque;

use jute_codec::Zxid;

use super::{Check, broken};
use crate::sim::model::watches::Told;

/// The promise's name.
pub const NAME: &str = "EventBeforeReveal";

/// A reply came that shows the state after `zxid`; `due` are the events up to there that have not come.
///
/// # Errors
/// When there are any.
pub fn on_reply(zxid: Zxid, due: &VecDeque<Told>) -> Check {
    match due.front() {
        None => Ok(()),
        Some(event) => broken(
            NAME,
            format!("a reply shows {zxid}, but {event:?} has not come"),
        ),
    }
}
