//! Local sessions: which server each belongs to, and how long that serves.

use std::collections::BTreeMap;

use jute_codec::SessionId;
use zabd::replica::params::LocalSessions;

use super::check::{Check, heard_is_kept, local_sessions_stay};
use super::net::Node;
use super::world::World;

/// A session that began without a transaction.
#[derive(Debug, Clone, Copy)]
struct Local {
    server: Node,
    /// Since when that server had been serving.
    serving_since_us: Option<i64>,
    timeout_ms: i64,
    ended: bool,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Locals(BTreeMap<i64, Local>);

impl Locals {
    /// Whether a session began as a local one.
    pub(super) fn has(&self, session: i64) -> bool {
        self.0.contains_key(&session)
    }

    /// How many there were.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// How many of these began as local ones.
    pub(super) fn count(&self, sessions: impl Iterator<Item = i64>) -> u64 {
        sessions.filter(|session| self.has(*session)).count() as u64
    }

    /// Its client has ended it.
    pub(super) fn end(&mut self, session: i64) {
        if let Some(local) = self.0.get_mut(&session) {
            local.ended = true;
        }
    }
}

impl World {
    /// Whether a session that began local is nobody else's yet.
    fn is_local(&self, session: i64) -> bool {
        self.locals.has(session) && !self.sessions.is_everybodys(session)
    }

    /// A server lets a client in without a transaction.
    pub(super) fn on_let_in_here(
        &mut self,
        id: Node,
        session: SessionId,
        timeout_ms: i32,
    ) -> Check {
        let session = session.0;
        let serving_since_us = self.servers[&id].serving_since_us;
        let may_begin = self.plan.local_sessions != LocalSessions::Off;
        if !may_begin || self.sessions.is_everybodys(session) {
            return Ok(());
        }
        let Some(local) = self.locals.0.get(&session) else {
            let local = Local {
                server: id,
                serving_since_us,
                timeout_ms: timeout_ms.into(),
                ended: false,
            };
            self.locals.0.insert(session, local);
            return Ok(());
        };
        let is_here = (local.server, local.serving_since_us) == (id, serving_since_us);
        if is_here && !local.ended {
            return Ok(());
        }
        local_sessions_stay::let_in(session, id, local.server, local.ended)
    }

    /// A server tells a client that its session is over.
    pub(super) fn on_refused_here(&self, id: Node, session: i64) -> Check {
        let Some(local) = self
            .locals
            .0
            .get(&session)
            .filter(|_| self.is_local(session))
        else {
            return Ok(());
        };
        let here = (id, self.servers[&id].serving_since_us);
        if !local.ended && (local.server, local.serving_since_us) == here {
            return local_sessions_stay::sent_away(session, id);
        }
        Ok(())
    }

    /// A server ends a session that was not heard of; whether it was a local one.
    pub(super) fn on_local_expired(&mut self, id: Node, session: i64) -> Check<bool> {
        if !self.is_local(session) {
            return Ok(false);
        }
        let timeout_ms = self.locals.0[&session].timeout_ms;
        self.locals.end(session);
        // Times are told in milliseconds.
        if let Some(at_us) = self.sessions.heard_by(session, id)
            && (self.now_us - at_us) / 1000 + 1 < timeout_ms
        {
            let silent_ms = (self.now_us - at_us) / 1000;
            return heard_is_kept::heard_elsewhere(session, id, silent_ms, timeout_ms);
        }
        Ok(true)
    }
}
