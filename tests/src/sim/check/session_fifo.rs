//! `SessionFifo`: a connection's requests take effect and are answered in the order in which they were sent.

use std::collections::BTreeMap;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "SessionFifo";

/// A reply came; the oldest request without one has the number `expected`.
///
/// # Errors
/// When it answers another one.
pub fn on_reply(expected: Option<i32>, found: i32) -> Check {
    if expected == Some(found) {
        return Ok(());
    }
    broken(
        NAME,
        format!("a reply to {found} came, the oldest request is {expected:?}"),
    )
}

/// The writes that each connection has sent and that have not become transactions, oldest first.
#[derive(Debug, Default)]
pub struct WriteOrder {
    waiting: BTreeMap<u64, Vec<i32>>,
}

impl WriteOrder {
    /// A connection sends a write.
    pub fn on_sent(&mut self, conn: u64, xid: i32) {
        self.waiting.entry(conn).or_default().push(xid);
    }

    /// It becomes a transaction.
    ///
    /// # Errors
    /// When an older one of that connection has not.
    pub fn on_proposed(&mut self, conn: u64, xid: i32) -> Check {
        let waiting = self.waiting.entry(conn).or_default();
        if waiting.first() != Some(&xid) {
            return broken(
                NAME,
                format!("write {xid} of connection {conn} takes effect, before it {waiting:?}"),
            );
        }
        waiting.remove(0);
        Ok(())
    }

    /// A connection is gone, with what it had not got through.
    pub fn on_gone(&mut self, conn: u64) {
        self.waiting.remove(&conn);
    }
}
