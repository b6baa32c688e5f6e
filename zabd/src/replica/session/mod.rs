//! Sessions: which live, until when, and on which connection.
//!
//! ZooKeeper: `SessionTrackerImpl`, `ExpiryQueue`; rules G1 to G7 of `semantics.md`.

mod attached;
mod ids;
mod local;
pub mod password;

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::SessionId;

pub(super) use attached::Attached;
pub(super) use ids::SessionIds;
pub(super) use local::{Locals, Upgrade};

use super::zab::LinkId;
use crate::state::conn::ConnId;

/// Where a session's client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// To this server.
    Conn(ConnId),
    /// To a learner, which is connected like this.
    Link(LinkId),
}

#[derive(Debug)]
struct Session {
    timeout_ms: i32,
    /// A multiple of the tick; the session's place in `buckets`.
    deadline_ms: i64,
    owner: Option<Owner>,
    // The connection to this server that the session is on, or was before it moved to a learner.
    conn: Option<ConnId>,
}

/// The sessions that a server keeps the time of.
#[derive(Debug)]
pub struct SessionTracker {
    tick_ms: i64,
    // Live sessions. One that is ending is gone from here before its transaction is made.
    sessions: BTreeMap<SessionId, Session>,
    // Exactly the live sessions, by deadline; no bucket is empty.
    buckets: BTreeMap<i64, BTreeSet<SessionId>>,
    // Exactly the connections of live sessions.
    conns: BTreeMap<ConnId, SessionId>,
}

impl SessionTracker {
    /// No sessions yet.
    #[must_use]
    pub fn new(tick_ms: i32) -> Self {
        Self {
            tick_ms: i64::from(tick_ms.max(1)),
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
            conns: BTreeMap::new(),
        }
    }

    /// Keeps the time of a session that exists already.
    pub fn track(&mut self, session: SessionId, timeout_ms: i32, now_ms: i64) {
        self.remove(session);
        let deadline_ms = self.deadline_of(now_ms, timeout_ms);
        self.sessions.insert(
            session,
            Session {
                timeout_ms,
                deadline_ms,
                owner: None,
                conn: None,
            },
        );
        self.buckets.entry(deadline_ms).or_default().insert(session);
    }

    /// Moves a live session to where its client is now and gives it a new timeout; whether it lives.
    pub fn reattach(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Owner,
        now_ms: i64,
    ) -> bool {
        let Some(live) = self.sessions.get_mut(&session) else {
            return false;
        };
        live.timeout_ms = timeout_ms;
        self.attach(session, owner);
        // A shorter timeout brings the deadline forward.
        self.move_deadline(session, self.deadline_of(now_ms, timeout_ms));
        true
    }

    /// A live session's client is there now. A connection to this server that it was on before may still be heard of,
    /// and closes with the session, as in Java.
    pub fn attach(&mut self, session: SessionId, owner: Owner) {
        let Some(live) = self.sessions.get_mut(&session) else {
            return;
        };
        live.owner = Some(owner);
        if let Owner::Conn(conn) = owner {
            if let Some(former) = live.conn.replace(conn) {
                self.conns.remove(&former);
            }
            self.conns.insert(conn, session);
        }
    }

    /// A connection is gone.
    pub fn detach(&mut self, conn: ConnId) {
        if let Some(session) = self.conns.remove(&conn)
            && let Some(live) = self.sessions.get_mut(&session)
        {
            live.conn = None;
            live.owner = live.owner.filter(|owner| *owner != Owner::Conn(conn));
        }
    }

    /// The session was heard of at `at_ms`; an older sign of life changes nothing.
    pub fn touch(&mut self, session: SessionId, at_ms: i64) {
        let Some(live) = self.sessions.get(&session) else {
            return;
        };
        let deadline_ms = self.deadline_of(at_ms, live.timeout_ms);
        if deadline_ms > live.deadline_ms {
            self.move_deadline(session, deadline_ms);
        }
    }

    fn move_deadline(&mut self, session: SessionId, deadline_ms: i64) {
        let Some(live) = self.sessions.get_mut(&session) else {
            return;
        };
        let former = std::mem::replace(&mut live.deadline_ms, deadline_ms);
        self.leave_bucket(session, former);
        self.buckets.entry(deadline_ms).or_default().insert(session);
    }

    /// Nothing is known of the session any more.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.remove(session);
    }

    fn remove(&mut self, session: SessionId) {
        if let Some(live) = self.sessions.remove(&session) {
            self.leave_bucket(session, live.deadline_ms);
            if let Some(conn) = live.conn {
                self.conns.remove(&conn);
            }
        }
    }

    fn leave_bucket(&mut self, session: SessionId, deadline_ms: i64) {
        if let Some(bucket) = self.buckets.get_mut(&deadline_ms) {
            bucket.remove(&session);
            if bucket.is_empty() {
                self.buckets.remove(&deadline_ms);
            }
        }
    }

    /// The next multiple of the tick after the timeout has passed: all sessions of a bucket expire together.
    const fn deadline_of(&self, now_ms: i64, timeout_ms: i32) -> i64 {
        (now_ms.saturating_add(timeout_ms as i64) / self.tick_ms)
            .saturating_add(1)
            .saturating_mul(self.tick_ms)
    }

    /// Whether the session lives.
    #[must_use]
    pub fn is_live(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The timeout that was agreed to, in milliseconds.
    #[must_use]
    pub fn timeout_of(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).map(|live| live.timeout_ms)
    }

    /// Where the session's client is, if that is known.
    #[must_use]
    pub fn owner_of(&self, session: SessionId) -> Option<Owner> {
        self.sessions.get(&session)?.owner
    }

    /// The connection to this server that the session is on, or was on before it moved to a learner.
    #[must_use]
    pub fn conn_of(&self, session: SessionId) -> Option<ConnId> {
        self.sessions.get(&session)?.conn
    }

    /// When the next sessions expire, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.buckets.keys().next().copied()
    }

    /// Sessions whose deadline has come, with their connections.
    #[must_use]
    pub fn due(&self, now_ms: i64) -> Vec<(SessionId, Option<ConnId>)> {
        self.buckets
            .range(..=now_ms)
            .flat_map(|(_, bucket)| bucket)
            .map(|session| (*session, self.conn_of(*session)))
            .collect()
    }

    /// Sessions by deadline, for operators.
    pub fn by_deadline(&self) -> impl Iterator<Item = (i64, &BTreeSet<SessionId>)> {
        self.buckets
            .iter()
            .map(|(deadline_ms, sessions)| (*deadline_ms, sessions))
    }

    /// How many sessions live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId(1);

    const SESSION: SessionId = SessionId(7);

    fn tracker(timeout_ms: i32, now_ms: i64) -> SessionTracker {
        let mut tracker = SessionTracker::new(2000);
        tracker.track(SESSION, timeout_ms, now_ms);
        tracker.attach(SESSION, Owner::Conn(CONN));
        tracker
    }

    #[test]
    fn sessions_expire_between_timeout_and_a_tick_later() {
        let mut tracker = tracker(4000, 1);
        assert_eq!(tracker.next_deadline(), Some(6000));
        assert_eq!(tracker.due(5999), []);
        assert_eq!(tracker.due(6000), [(SESSION, Some(CONN))]);
        tracker.touch(SESSION, 2500);
        assert_eq!(tracker.due(6000), []);
        // An old sign of life does not bring the deadline forward.
        tracker.touch(SESSION, 2);
        assert_eq!(tracker.next_deadline(), Some(8000));
    }

    #[test]
    fn a_session_is_in_one_place() {
        let mut tracker = tracker(4000, 0);
        assert!(tracker.reattach(SESSION, 9000, Owner::Conn(ConnId(2)), 100));
        tracker.detach(CONN);
        assert_eq!(tracker.conn_of(SESSION), Some(ConnId(2)));
        tracker.attach(SESSION, Owner::Link(LinkId(5)));
        assert_eq!(
            tracker.conn_of(SESSION),
            Some(ConnId(2)),
            "it is not closed yet"
        );
        tracker.detach(ConnId(2));
        assert_eq!(tracker.owner_of(SESSION), Some(Owner::Link(LinkId(5))));
        assert_eq!(tracker.conn_of(SESSION), None);
        assert!(tracker.is_live(SESSION));
        tracker.forget(SESSION);
        assert!(!tracker.reattach(SESSION, 9000, Owner::Conn(CONN), 100));
        assert_eq!((tracker.next_deadline(), tracker.len()), (None, 0));
    }
}
