//! `LeadersOnlyLead`: with `leaderServes=no` a leader takes no clients, and everybody is served by the others.

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "LeadersOnlyLead";

/// A leader has let a client in.
pub(in crate::members) fn let_in(leader: Node, session: i64) -> Check {
    broken(
        NAME,
        format!("{leader} leads, and lets the client of {session:#x} in"),
    )
}
