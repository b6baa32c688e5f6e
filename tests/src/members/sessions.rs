//! When sessions were heard of, by whom, and whether they may expire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use jute_codec::SessionId;
use jute_codec::proto::OpCode;
use jute_codec::quorum::LearnerPacket;
use jute_codec::txn::{Txn, TxnEntry};
use zabd::replica::effect::Effect;
use zabd::replica::input::Input;
use zabd::replica::session::Owner;
use zabd::replica::zab::{Role, ZabEffect, ZabInput};

use super::check::{Check, heard_is_kept, sessions_live, sessions_outlive_leaders};
use super::conn::{is_sync, session_of};
use super::net::Node;
use super::world::World;

/// A sign of life, as the leader has it.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// It began to lead.
    Leads(i64),
    /// The session was heard of.
    Heard(i64),
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    timeouts: BTreeMap<i64, i64>,
    ended: BTreeSet<i64>,
    /// By leader, what it knows.
    leaders: BTreeMap<Node, BTreeMap<i64, Sign>>,
    /// Frames of clients, in microseconds, and the servers that took them.
    heard: BTreeMap<i64, VecDeque<(i64, Node)>>,
    /// The server that let its client in last.
    places: BTreeMap<i64, Node>,
}

impl Sessions {
    /// Somebody writes a transaction to the log.
    pub(super) fn on_logged(&mut self, txn: &Bytes) -> Option<i64> {
        let entry = TxnEntry::decode(txn).ok()?;
        let session = entry.header.client_id.0;
        match entry.txn {
            Txn::CreateSession { timeout_ms } => {
                self.timeouts.insert(session, timeout_ms.into());
                return Some(session);
            }
            Txn::CloseSession(_) => {
                self.ended.insert(session);
            }
            _ => {}
        }
        None
    }

    /// A server begins to lead.
    fn on_leader(&mut self, leader: Node, sessions: &BTreeMap<SessionId, i32>, now_ms: i64) {
        let signs = sessions
            .keys()
            .map(|session| (session.0, Sign::Leads(now_ms)));
        self.leaders.insert(leader, signs.collect());
    }

    /// A server lets a session's client in.
    pub(super) fn on_let_in(&mut self, session: i64, server: Node) {
        self.places.insert(session, server);
    }

    /// A server takes a client's frame. Where the client has left for another server it is none that anybody waits for.
    pub(super) fn on_heard(&mut self, session: i64, server: Node, now_us: i64) {
        if self
            .places
            .get(&session)
            .is_some_and(|place| *place != server)
        {
            return;
        }
        let heard = self.heard.entry(session).or_default();
        heard.push_back((now_us, server));
        if heard.len() > 64 {
            heard.pop_front();
        }
    }

    /// A client ends its session: it may be gone before anybody knows, and then nobody waits for it any longer.
    pub(super) fn on_last_heard(&mut self, session: i64) {
        self.heard.remove(&session);
    }

    /// A leader hears of a session.
    pub(super) fn at_leader(&mut self, leader: Node, session: i64, at_ms: i64) {
        let signs = self.leaders.entry(leader).or_default();
        match signs.get(&session) {
            Some(Sign::Leads(before) | Sign::Heard(before)) if *before > at_ms => {}
            _ => {
                signs.insert(session, Sign::Heard(at_ms));
            }
        }
    }

    /// Whether a transaction that begins it was ever written to a log.
    pub(super) fn is_everybodys(&self, session: i64) -> bool {
        self.timeouts.contains_key(&session)
    }

    /// When a server took a frame of it last, in microseconds.
    pub(super) fn heard_by(&self, session: i64, server: Node) -> Option<i64> {
        let heard = self.heard.get(&session)?;
        let mut of_server = heard.iter().rev().filter(|(_, by)| *by == server);
        of_server.next().map(|(at_us, _)| *at_us)
    }

    /// Whether anybody has ever ended it.
    pub(super) fn sent_away(&self, session: i64) -> Check {
        sessions_live::sent_away(session, self.ended.contains(&session))
    }
}

impl World {
    /// A replica has decided to serve. If it leads, the time of all sessions begins now: its followers hear of it, and may
    /// serve clients, before it shows its own clients anything.
    pub(super) fn on_reign(&mut self, id: Node) {
        let server = &self.servers[&id];
        if server.role() == Role::Leading {
            let (sessions, now_ms) = (server.state.sessions(), self.now_us / 1000);
            self.sessions.on_leader(id, sessions, now_ms);
        }
    }

    /// A replica that leads is about to be told something.
    pub(super) fn hear_input(&mut self, id: Node, input: &Input, effects: &[Effect]) {
        let server = &self.servers[&id];
        if !server.leads() {
            return;
        }
        // What comes behind the end of a connection means nothing.
        if let Input::Peer(ZabInput::FromLearner { link, .. }) = input {
            let closes = |effect: &Effect| match effect {
                Effect::Peer(ZabEffect::CloseLink { link: closed }) => closed == link,
                _ => false,
            };
            let place = self.net.find(id, *link);
            let is_open = place.is_some_and(|(number, way)| self.is_end_alive(number, way));
            if !is_open || effects.iter().any(closes) {
                return;
            }
        }
        let now_ms = self.now_us / 1000;
        let mut heard = Vec::new();
        match input {
            Input::Touched { session, at_ms } => heard.push((*session, server.world_ms(*at_ms))),
            Input::Submitted(submission) if !is_sync(submission) => {
                heard.push((session_of(submission), now_ms));
            }
            Input::Peer(ZabInput::FromLearner { link, packet }) => match packet {
                LearnerPacket::Ping { touched, .. } => {
                    heard.extend(touched.iter().map(|(session, _)| (*session, now_ms)));
                }
                LearnerPacket::Revalidate { session, .. } => heard.push((*session, now_ms)),
                // A sync is no sign of life by itself; the next PING tells of it.
                LearnerPacket::Request { session, op, .. } if *op != OpCode::Sync.code() => {
                    let sessions = server
                        .replica
                        .as_ref()
                        .and_then(|replica| replica.sessions());
                    let owner = sessions.and_then(|sessions| sessions.owner_of(*session));
                    // What comes from where the session is not is refused.
                    if owner.is_none_or(|owner| owner == Owner::Link(*link)) {
                        heard.push((*session, now_ms));
                    }
                }
                _ => {}
            },
            _ => {}
        }
        for (session, at_ms) in heard {
            self.sessions.at_leader(id, session.0, at_ms);
        }
    }

    /// A leader ends a session by itself.
    pub(super) fn on_expired(&mut self, id: Node, session: i64) -> Check {
        self.trace
            .step(self.now_us, "expired", session.cast_unsigned());
        if self.on_local_expired(id, session)? {
            return Ok(());
        }
        let now_ms = self.now_us / 1000;
        let Some(timeout_ms) = self.sessions.timeouts.get(&session).copied() else {
            return Ok(());
        };
        let signs = self.sessions.leaders.entry(id).or_default();
        match signs.get(&session) {
            Some(Sign::Leads(since_ms)) => {
                sessions_outlive_leaders::on_expired(session, now_ms - since_ms, timeout_ms)?;
            }
            Some(Sign::Heard(at_ms)) => {
                heard_is_kept::on_expired(session, now_ms - at_ms, timeout_ms)?;
            }
            None => {}
        }
        self.heard_elsewhere(id, session, timeout_ms)
    }

    /// What a server in touch with the leader hears reaches the leader within this time.
    fn relay_us(&self) -> i64 {
        let us = self.tick_us() + 4 * self.plan.network_us + 200 * self.plan.wakeup_us;
        us.cast_signed()
    }

    fn heard_elsewhere(&self, leader: Node, session: i64, timeout_ms: i64) -> Check {
        let Some(heard) = self.sessions.heard.get(&session) else {
            return Ok(());
        };
        let undisturbed = |server: Node, since_us: i64| {
            let server_is = &self.servers[&server];
            !server_is.paused
                && !self.net.is_ill(server)
                && server_is.disturbed_us < since_us
                && server_is
                    .serving_since_us
                    .is_some_and(|serving| serving < since_us)
        };
        for (at_us, server) in heard {
            let silent_us = self.now_us - at_us;
            let in_touch = silent_us >= self.relay_us()
                && undisturbed(leader, *at_us)
                && undisturbed(*server, *at_us)
                && (*server == leader
                    || self.servers[server].leader().map(|leader| leader.0) == Some(leader));
            if in_touch && silent_us / 1000 < timeout_ms {
                return heard_is_kept::heard_elsewhere(
                    session,
                    *server,
                    silent_us / 1000,
                    timeout_ms,
                );
            }
        }
        Ok(())
    }
}
