//! Which sessions are on which connections of this server.

use std::collections::BTreeMap;

use jute_codec::SessionId;

use crate::state::conn::ConnId;

#[derive(Debug)]
struct Place {
    conn: ConnId,
    timeout_ms: i32,
    /// When the connection was last heard of, as far as was told.
    heard_ms: i64,
}

/// Sessions and their connections, one to one.
#[derive(Debug, Default)]
pub(in crate::replica) struct Attached {
    conns: BTreeMap<SessionId, Place>,
    sessions: BTreeMap<ConnId, SessionId>,
}

impl Attached {
    /// The session is on that connection now, with that timeout in milliseconds; the one that it was on.
    pub(in crate::replica) fn attach(
        &mut self,
        session: SessionId,
        conn: ConnId,
        timeout_ms: i32,
    ) -> Option<ConnId> {
        let former = self.detach_session(session);
        let place = Place {
            conn,
            timeout_ms,
            heard_ms: i64::MIN,
        };
        self.conns.insert(session, place);
        self.sessions.insert(conn, session);
        former
    }

    /// The connection is gone.
    pub(in crate::replica) fn detach(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.remove(&conn) {
            self.conns.remove(&session);
        }
    }

    /// The session is gone, or elsewhere; the connection that it was on.
    pub(in crate::replica) fn detach_session(&mut self, session: SessionId) -> Option<ConnId> {
        let Place { conn, .. } = self.conns.remove(&session)?;
        self.sessions.remove(&conn);
        Some(conn)
    }

    /// The session's timeout in milliseconds.
    pub(in crate::replica) fn timeout_of(&self, session: SessionId) -> Option<i32> {
        Some(self.conns.get(&session)?.timeout_ms)
    }

    /// The session's connection was heard of at `at_ms`; the session's timeout, if that is news.
    pub(in crate::replica) fn hear(&mut self, session: SessionId, at_ms: i64) -> Option<i32> {
        let place = self.conns.get_mut(&session)?;
        (at_ms > place.heard_ms).then(|| {
            place.heard_ms = at_ms;
            place.timeout_ms
        })
    }

    /// All sessions, with their connections.
    pub(in crate::replica) fn iter(&self) -> impl Iterator<Item = (SessionId, ConnId)> {
        self.conns
            .iter()
            .map(|(session, place)| (*session, place.conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_one_connection_and_a_connection_one_session() {
        let (session, one, other) = (SessionId(1), ConnId(1), ConnId(2));
        let mut attached = Attached::default();
        assert_eq!(attached.attach(session, one, 10), None);
        assert_eq!(attached.attach(session, other, 20), Some(one));
        // The first connection's end comes late.
        attached.detach(one);
        assert_eq!(attached.iter().collect::<Vec<_>>(), [(session, other)]);
        assert_eq!(attached.hear(session, 5), Some(20));
        assert_eq!(attached.hear(session, 5), None);
        assert_eq!(attached.detach_session(session), Some(other));
        assert_eq!(attached.timeout_of(session), None);
    }
}
