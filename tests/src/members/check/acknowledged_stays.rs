//! `AcknowledgedStays`: whoever leads has everything that any client was ever shown of the epochs before.

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "AcknowledgedStays";

/// A server begins to lead in `epoch` with `count` transactions; of the epochs before so many are committed.
pub(in crate::members) fn on_leader(
    server: Node,
    epoch: i64,
    count: usize,
    committed: usize,
) -> Check {
    if count >= committed {
        return Ok(());
    }
    broken(
        NAME,
        format!(
            "{server} leads in epoch {epoch} with {count} transactions, {committed} of before were shown"
        ),
    )
}
