//! Sessions that only this server knows: no transaction begins or ends them, and they end with its service.
//!
//! ZooKeeper: `LocalSessionTracker`, `UpgradeableSessionTracker`, `QuorumZooKeeperServer.checkUpgradeSession`; section H
//! of `semantics.md`.

use jute_codec::SessionId;
use jute_codec::proto::{CreateFlags, MultiOp, MultiOps, Request};

use super::{Owner, SessionTracker};
use crate::replica::effect::Effect;
use crate::replica::params::{LocalSessions, ReplicaParams};
use crate::state::conn::{ConnId, WriteBody};

/// The local sessions of a server.
#[derive(Debug)]
pub(in crate::replica) struct Locals {
    mode: LocalSessions,
    sessions: SessionTracker,
}

/// What a request comes to that a local session may not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replica) enum Upgrade {
    /// It may, or the session is not local.
    NotNeeded,
    /// Sessions stay local: it is refused.
    Refused,
    /// The session is not local any more. It has to be made everybody's, before the request.
    Needed {
        /// The session's timeout in milliseconds.
        timeout_ms: i32,
        /// Its connection.
        conn: Option<ConnId>,
    },
}

impl Locals {
    /// No sessions yet.
    pub(in crate::replica) fn new(params: &ReplicaParams) -> Self {
        Self {
            mode: params.local_sessions,
            sessions: SessionTracker::new(params.tick_ms),
        }
    }

    /// Whether sessions begin local.
    pub(in crate::replica) fn are_on(&self) -> bool {
        self.mode != LocalSessions::Off
    }

    /// Whether a session is local, and lives.
    pub(in crate::replica) fn has(&self, session: SessionId) -> bool {
        self.sessions.is_live(session)
    }

    /// The sessions, with their deadlines.
    pub(in crate::replica) const fn sessions(&self) -> &SessionTracker {
        &self.sessions
    }

    /// A session begins.
    pub(in crate::replica) fn open(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        conn: ConnId,
        now_ms: i64,
    ) {
        self.sessions.track(session, timeout_ms, now_ms);
        self.sessions.attach(session, Owner::Conn(conn));
    }

    /// A local session's client comes back; whether there is such a session.
    pub(in crate::replica) fn reattach(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        conn: ConnId,
        now_ms: i64,
    ) -> bool {
        self.sessions
            .reattach(session, timeout_ms, Owner::Conn(conn), now_ms)
    }

    /// The session ends.
    pub(in crate::replica) fn close(&mut self, session: SessionId) {
        self.sessions.forget(session);
    }

    /// Takes the session's connection away from it.
    pub(in crate::replica) fn detach_session(&mut self, session: SessionId) -> Option<ConnId> {
        let conn = self.sessions.conn_of(session)?;
        self.sessions.detach(conn);
        Some(conn)
    }

    /// A connection is gone.
    pub(in crate::replica) fn detach(&mut self, conn: ConnId) {
        self.sessions.detach(conn);
    }

    /// The session was heard of at `at_ms`; nothing happens if it is not local.
    pub(in crate::replica) fn touch(&mut self, session: SessionId, at_ms: i64) {
        self.sessions.touch(session, at_ms);
    }

    /// Ends the sessions whose time has come; they are returned, with their connections.
    pub(in crate::replica) fn expire(&mut self, now_ms: i64) -> Vec<(SessionId, Option<ConnId>)> {
        let due = self.sessions.due(now_ms);
        for (session, _) in &due {
            self.sessions.forget(*session);
        }
        due
    }

    /// Ends the sessions whose time has come, and says so: no transaction follows.
    pub(in crate::replica) fn expire_into(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        for (session, conn) in self.expire(now_ms) {
            effects.push(Effect::Expired { session });
            effects.extend(conn.map(|conn| Effect::CloseConn { conn }));
        }
    }

    /// Whether a request needs a session that all servers know, and what becomes of its own.
    pub(in crate::replica) fn upgrade(&mut self, session: SessionId, body: &WriteBody) -> Upgrade {
        let Some(timeout_ms) = self.sessions.timeout_of(session) else {
            return Upgrade::NotNeeded;
        };
        match body {
            WriteBody::Request(request) if makes_ephemerals(request) => {}
            _ => return Upgrade::NotNeeded,
        }
        if self.mode != LocalSessions::Upgraded {
            return Upgrade::Refused;
        }
        let conn = self.sessions.conn_of(session);
        self.sessions.forget(session);
        Upgrade::Needed { timeout_ms, conn }
    }
}

/// Only by create and create2, alone or in a multi. That a container or TTL node with the flags of an ephemeral is
/// refused on a local session is for whoever makes the transaction to say.
fn makes_ephemerals(request: &Request) -> bool {
    let is_ephemeral = |flags| CreateFlags::from_i32(flags).is_some_and(CreateFlags::is_ephemeral);
    match request {
        Request::Create(create) | Request::Create2(create) => is_ephemeral(create.flags),
        Request::Multi(MultiOps(ops)) => ops.iter().any(|op| match op {
            MultiOp::Create(create) | MultiOp::Create2(create) => is_ephemeral(create.flags),
            _ => false,
        }),
        _ => false,
    }
}
