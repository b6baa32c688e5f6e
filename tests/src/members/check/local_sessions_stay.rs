//! `LocalSessionsStay`: a local session is that of its server alone, for as long as that serves without a break, unless it
//! is made everybody's; it ends there by its client's word or silence, and with the service.

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "LocalSessionsStay";

/// A server lets a client in with a local session that is another's, or over.
pub(in crate::members) fn let_in(session: i64, server: Node, home: Node, ended: bool) -> Check {
    broken(
        NAME,
        format!(
            "{server} lets in a client with session {session:#x}, local to {home} in another time, ended: {ended}"
        ),
    )
}

/// A server sends a client away whose local session lives there.
pub(in crate::members) fn sent_away(session: i64, server: Node) -> Check {
    broken(
        NAME,
        format!("{server} sends the client of {session:#x} away, which is local there and lives"),
    )
}
