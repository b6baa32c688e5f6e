//! `SessionsLive`: a session lives as long as it is heard of, not much longer, also over restarts; and its ephemeral
//! nodes live exactly as long as it does.

use std::collections::BTreeMap;

use super::{Check, broken};
use crate::sim::model::tree::{Kind, Tree};

/// The promise's name.
pub const NAME: &str = "SessionsLive";

#[derive(Debug)]
struct Life {
    timeout_ms: i32,
    heard_ms: i64,
}

/// The sessions that the server must keep, by its own doing.
#[derive(Debug, Default)]
pub struct SessionsLive {
    lives: BTreeMap<i64, Life>,
}

impl SessionsLive {
    /// A session begins.
    pub fn on_begun(&mut self, session: i64, timeout_ms: i32, now_ms: i64) {
        self.lives.insert(
            session,
            Life {
                timeout_ms,
                heard_ms: now_ms,
            },
        );
    }

    /// The server has read something of the session.
    pub fn on_heard(&mut self, session: i64, now_ms: i64) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.heard_ms = now_ms;
        }
    }

    /// Somebody who knows the password, or does not, asks for the session and is let in, or is not.
    ///
    /// # Errors
    /// When that is the wrong decision.
    pub fn on_reattach(
        &mut self,
        session: i64,
        knows: bool,
        let_in: Option<i32>,
        now_ms: i64,
    ) -> Check {
        let lives = self.lives.get_mut(&session);
        match (lives, let_in) {
            (Some(life), Some(timeout_ms)) if knows => {
                *life = Life {
                    timeout_ms,
                    heard_ms: now_ms,
                };
                Ok(())
            }
            (Some(_), None) if !knows => Ok(()),
            (None, None) => Ok(()),
            (lives, let_in) => {
                let lives = lives.is_some();
                broken(
                    NAME,
                    format!(
                        "session {session:#x} (lives: {lives}, password known: {knows}) got {let_in:?}"
                    ),
                )
            }
        }
    }

    /// The client ends its session.
    pub fn on_closed(&mut self, session: i64) {
        self.lives.remove(&session);
    }

    /// The server ends the session by itself.
    ///
    /// # Errors
    /// When it is too early.
    pub fn on_expired(&mut self, session: i64, now_ms: i64) -> Check {
        match self.lives.remove(&session) {
            None => broken(
                NAME,
                format!("session {session:#x} expires and does not live"),
            ),
            Some(life) if now_ms - life.heard_ms < i64::from(life.timeout_ms) => {
                let silent = now_ms - life.heard_ms;
                broken(
                    NAME,
                    format!(
                        "session {session:#x} expires after {silent} ms of {} ms",
                        life.timeout_ms
                    ),
                )
            }
            Some(_) => Ok(()),
        }
    }

    /// The server has had time to look at its sessions: none may be overdue by more than `slack_ms`.
    ///
    /// # Errors
    /// When one is.
    pub fn on_looked(&self, now_ms: i64, slack_ms: i64) -> Check {
        let overdue = self
            .lives
            .iter()
            .find(|(_, life)| now_ms - life.heard_ms > i64::from(life.timeout_ms) + slack_ms);
        match overdue {
            Some((session, life)) => broken(
                NAME,
                format!(
                    "session {session:#x} should have expired at {} ms",
                    life.heard_ms
                ),
            ),
            None => Ok(()),
        }
    }

    /// A server came up with `found` sessions; `expected` began and have not ended. All get their full timeout again.
    ///
    /// # Errors
    /// When they differ.
    pub fn on_recovered(
        &mut self,
        found: &BTreeMap<i64, i32>,
        expected: &BTreeMap<i64, i32>,
        now_ms: i64,
    ) -> Check {
        if found != expected {
            return broken(
                NAME,
                format!("sessions {found:x?} were recovered, {expected:x?} live"),
            );
        }
        self.lives = expected
            .iter()
            .map(|(session, timeout_ms)| {
                (
                    *session,
                    Life {
                        timeout_ms: *timeout_ms,
                        heard_ms: now_ms,
                    },
                )
            })
            .collect();
        Ok(())
    }

    /// Whether the session lives.
    #[must_use]
    pub fn lives(&self, session: i64) -> bool {
        self.lives.contains_key(&session)
    }
}

/// Ephemeral nodes as a server lists them by session, against sessions and tree of the model.
///
/// # Errors
/// When a node has no live session, or is listed elsewhere.
pub fn ephemerals(
    found: &BTreeMap<i64, Vec<String>>,
    tree: &Tree,
    sessions: &BTreeMap<i64, i32>,
) -> Check {
    let mut expected: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        if let Kind::Ephemeral(session) = node.kind {
            if !sessions.contains_key(&session) {
                return broken(NAME, format!("{path} outlives its session {session:#x}"));
            }
            expected.entry(session).or_default().push(path.to_owned());
        }
    }
    if *found != expected {
        return broken(
            NAME,
            format!("ephemeral nodes {found:x?}, the model says {expected:x?}"),
        );
    }
    Ok(())
}
