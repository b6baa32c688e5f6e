//! Sessions: which live, until when, and on which connection.
//!
//! ZooKeeper: `SessionTrackerImpl`, `ExpiryQueue`; rules G1 to G7 of `semantics.md`.

pub mod password;

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::SessionId;

use crate::state::conn::ConnId;

#[derive(Debug)]
struct Session {
    timeout_ms: i32,
    /// A multiple of the tick; the session's place in `buckets`.
    deadline_ms: i64,
    conn: Option<ConnId>,
}

/// The sessions that a server keeps the time of.
#[derive(Debug)]
pub struct SessionTracker {
    tick_ms: i64,
    next_id: i64,
    // Live sessions. One that is ending is gone from here before its transaction is made.
    sessions: BTreeMap<SessionId, Session>,
    // Exactly the live sessions, by deadline; no bucket is empty.
    buckets: BTreeMap<i64, BTreeSet<SessionId>>,
    // Exactly the connections of live sessions.
    conns: BTreeMap<ConnId, SessionId>,
}

impl SessionTracker {
    /// No sessions yet. Ids start at a place that the wall clock and the server's id tell apart from earlier ones.
    #[must_use]
    pub fn new(server_id: u8, tick_ms: i32, wall_ms: i64) -> Self {
        Self {
            tick_ms: i64::from(tick_ms.max(1)),
            next_id: first_id(server_id, wall_ms),
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
            conns: BTreeMap::new(),
        }
    }

    /// Begins a session on a connection.
    pub fn create(&mut self, timeout_ms: i32, conn: ConnId, now_ms: i64) -> SessionId {
        let session = loop {
            let candidate = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            let is_free =
                !matches!(candidate.0, 0 | i64::MIN) && !self.sessions.contains_key(&candidate);
            if is_free {
                break candidate;
            }
        };
        self.track(session, timeout_ms, now_ms);
        self.attach(session, conn);
        session
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
                conn: None,
            },
        );
        self.buckets.entry(deadline_ms).or_default().insert(session);
    }

    /// Moves a live session to a connection and gives it a new timeout; whether it lives.
    pub fn reattach(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        conn: ConnId,
        now_ms: i64,
    ) -> bool {
        let Some(live) = self.sessions.get_mut(&session) else {
            return false;
        };
        live.timeout_ms = timeout_ms;
        self.attach(session, conn);
        // A shorter timeout brings the deadline forward.
        self.move_deadline(session, self.deadline_of(now_ms, timeout_ms));
        true
    }

    fn attach(&mut self, session: SessionId, conn: ConnId) {
        if let Some(live) = self.sessions.get_mut(&session) {
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

    /// The session ends: it is not live any more, but keeps its connection until [`Self::forget`].
    pub(super) fn begin_close(&mut self, session: SessionId) {
        self.remove(session);
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

    /// The connection that the session is on.
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

/// The high byte is the server's id, then 40 bits of milliseconds, then 16 of a counter.
///
/// Java takes the milliseconds of a clock that starts with the host, so that a host that boots twice can hand out an
/// id twice; the wall clock cannot, short of being set back.
const fn first_id(server_id: u8, wall_ms: i64) -> i64 {
    let by_time = (wall_ms.cast_unsigned() << 24 >> 8).cast_signed();
    by_time | (server_id as i64) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId(1);

    #[test]
    fn sessions_expire_between_timeout_and_a_tick_later() {
        let mut tracker = SessionTracker::new(1, 2000, 1_700_000_000_000);
        let session = tracker.create(4000, CONN, 1);
        assert_eq!(tracker.next_deadline(), Some(6000));
        assert_eq!(tracker.due(5999), []);
        assert_eq!(tracker.due(6000), [(session, Some(CONN))]);
        tracker.touch(session, 2500);
        assert_eq!(tracker.due(6000), []);
        // An old sign of life does not bring the deadline forward.
        tracker.touch(session, 2);
        assert_eq!(tracker.next_deadline(), Some(8000));
    }

    #[test]
    fn ids_carry_server_and_time_and_never_mean_none() {
        let mut tracker = SessionTracker::new(1, 2000, 0x2c_8295_0000 >> 16);
        assert_eq!(tracker.create(1, CONN, 0), SessionId(0x0100_002c_8295_0000));
        let mut wrapping = SessionTracker::new(128, 2000, 0);
        assert_eq!(wrapping.create(1, CONN, 0), SessionId(i64::MIN + 1));
    }

    #[test]
    fn a_session_has_one_connection() {
        let mut tracker = SessionTracker::new(1, 2000, 5);
        let session = tracker.create(4000, CONN, 0);
        assert!(tracker.reattach(session, 9000, ConnId(2), 100));
        tracker.detach(CONN);
        assert_eq!(tracker.conn_of(session), Some(ConnId(2)));
        tracker.detach(ConnId(2));
        assert_eq!(tracker.conn_of(session), None);
        assert!(tracker.is_live(session));
        tracker.forget(session);
        assert!(!tracker.reattach(session, 9000, CONN, 100));
        assert_eq!((tracker.next_deadline(), tracker.len()), (None, 0));
    }
}
