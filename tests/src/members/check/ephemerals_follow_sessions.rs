//! `EphemeralsFollowSessions`: a session that ends takes exactly its ephemeral nodes with it, nothing else does, and a
//! session whose client is gone ends.

use std::collections::BTreeSet;

use super::{Check, broken};
use crate::sim::ledger::Moment;
use crate::sim::model::tree::Kind;

/// The promise's name.
pub const NAME: &str = "EphemeralsFollowSessions";

/// Long after the last fault these sessions have clients, and no others live.
pub(in crate::members) fn at_the_end(moment: &Moment, clients: &BTreeSet<i64>) -> Check {
    let live: BTreeSet<i64> = moment.sessions.keys().copied().collect();
    if live != *clients {
        return broken(
            NAME,
            format!("sessions {live:x?} live, clients have {clients:x?}"),
        );
    }
    for (path, node) in moment.tree.iter() {
        if let Kind::Ephemeral(session) = node.kind
            && !live.contains(&session)
        {
            return broken(NAME, format!("{path} outlives its session {session:#x}"));
        }
    }
    Ok(())
}
