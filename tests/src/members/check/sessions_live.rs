//! `SessionsLive`: a client that comes back to a session that nobody has ended is let in.
//!
//! A leader that has been replaced without knowing says of sessions that began under its successor that they are over,
//! as long as it serves, in ZooKeeper as here. So what counts is what began up to the epoch in which the server serves.

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "SessionsLive";

/// A request was refused because its session is over.
pub(in crate::members) fn refused(session: i64, lives: bool) -> Check {
    if lives {
        return broken(
            NAME,
            format!("a request of {session:#x} is refused, and the session lives"),
        );
    }
    Ok(())
}

/// A client was sent away with a session that had begun; whether anybody has ever ended it.
pub(in crate::members) fn sent_away(session: i64, ended: bool) -> Check {
    if ended {
        return Ok(());
    }
    broken(
        NAME,
        format!("the client of {session:#x} is told that it is over, and nobody has ended it"),
    )
}
