//! The server of clients that does not decide: a follower or an observer passes on what changes something, and matches
//! what is committed with those who wait for it.
//!
//! ZooKeeper: `FollowerRequestProcessor`, `ObserverRequestProcessor`, `CommitProcessor`, `LearnerSessionTracker`,
//! `Learner`; sections 10.5, 10.6, 12 and 13 of `quorum-protocol.md`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jute_codec::proto::{ConnectRequest, ConnectResponse, OpCode, Request};
use jute_codec::quorum::LearnerPacket;
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{ErrorCode, SessionId, Text};

use super::effect::{Answer, Effect};
use super::member::Around;
use super::params::ReplicaParams;
use super::session::password::{password_matches, password_of};
use super::session::{Attached, Locals, Upgrade};
use crate::state::Committed;
use crate::state::conn::{ClientRequest, ConnId, Origin, ReplyKind, WriteBody};

/// A server whose clients' changes are decided elsewhere.
#[derive(Debug)]
pub(super) struct Attendant {
    // The clients of sessions that the leader decides on,
    attached: Attached,
    // and the sessions that only this server knows.
    pub(super) locals: Locals,
    // Who waits for which transaction: by session, in the order in which the leader gets the requests.
    waiting: BTreeMap<SessionId, VecDeque<Waiting>>,
    waiting_count: usize,
    // Clients that come back, until the leader has said whether their session lives.
    returning: BTreeMap<SessionId, VecDeque<Returning>>,
    // Syncs with the leader, in order, and how many are over.
    syncs: VecDeque<Syncing>,
    syncs_over: u64,
}

#[derive(Debug)]
enum Waiting {
    /// For the transaction of this request.
    Txn {
        cxid: i32,
        /// Who asked; nobody, if the server itself did.
        origin: Option<Origin>,
        /// What a refusal is called, whatever the leader calls it.
        refusal: Option<ErrorCode>,
    },
    /// For those before it: it takes no transaction.
    Turn {
        /// So many syncs come before it.
        syncs: u64,
        conn: ConnId,
        xid: i32,
        answer: Answer,
        closes: bool,
    },
}

#[derive(Debug)]
struct Returning {
    conn: ConnId,
    timeout_ms: i32,
    read_only: Option<bool>,
}

#[derive(Debug)]
struct Syncing {
    session: SessionId,
    conn: ConnId,
    xid: i32,
    path: Option<Text>,
}

impl Attendant {
    /// Nobody is served yet.
    pub(super) fn new(params: &ReplicaParams) -> Self {
        Self {
            attached: Attached::default(),
            locals: Locals::new(params),
            waiting: BTreeMap::new(),
            waiting_count: 0,
            returning: BTreeMap::new(),
            syncs: VecDeque::new(),
            syncs_over: 0,
        }
    }

    /// The session's connection was heard of at `at_ms`; its timeout in milliseconds, if that is news.
    pub(super) fn on_touched(&mut self, session: SessionId, at_ms: i64) -> Option<i32> {
        self.locals.touch(session, at_ms);
        self.attached.hear(session, at_ms)
    }

    /// Requests that wait for the leader.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting_count + self.syncs.len()
    }

    /// Sessions on connections of this server.
    pub(super) const fn attached(&self) -> &Attached {
        &self.attached
    }

    /// A client asks for a session.
    pub(super) fn on_connect(
        &mut self,
        around: &mut Around<'_>,
        conn: ConnId,
        request: &ConnectRequest,
    ) -> Option<LearnerPacket> {
        let Around {
            clock,
            params,
            ids,
            state,
            effects,
        } = around;
        let now_ms = clock.monotonic_ms;
        let timeout_ms = params.negotiated_ms(request.timeout_ms);
        let read_only = request.read_only.map(|_| false);
        if request.session == SessionId::NONE {
            let is_taken = |id| state.sessions().contains_key(&id) || self.locals.has(id);
            let session = ids.next(is_taken);
            let response = answer(session, timeout_ms, read_only);
            if self.locals.are_on() {
                self.locals.open(session, timeout_ms, conn, now_ms);
                effects.push(Effect::Connected { conn, response });
                return None;
            }
            let origin = Origin {
                conn,
                xid: 0,
                kind: ReplyKind::Connected(response),
            };
            self.wait(session, 0, Some(origin), None);
            self.attached.attach(session, conn, timeout_ms);
            return Some(create_session(session, timeout_ms));
        }
        // As on every server: the session's other connection closes before anything else is looked at.
        let former = self
            .locals
            .detach_session(request.session)
            .or_else(|| self.attached.detach_session(request.session));
        if let Some(former) = former
            && former != conn
        {
            effects.push(Effect::CloseConn { conn: former });
        }
        if !password_matches(request.session, request.password.as_deref()) {
            refuse(conn, read_only, effects);
            return None;
        }
        if self
            .locals
            .reattach(request.session, timeout_ms, conn, now_ms)
        {
            effects.push(Effect::Connected {
                conn,
                response: answer(request.session, timeout_ms, read_only),
            });
            return None;
        }
        self.returning
            .entry(request.session)
            .or_default()
            .push_back(Returning {
                conn,
                timeout_ms,
                read_only,
            });
        Some(LearnerPacket::Revalidate {
            session: request.session,
            timeout_ms,
        })
    }

    /// The leader has said whether a session lives.
    pub(super) fn on_revalidated(
        &mut self,
        session: SessionId,
        valid: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(queue) = self.returning.get_mut(&session) else {
            return;
        };
        let returning = queue.pop_front();
        if queue.is_empty() {
            self.returning.remove(&session);
        }
        let Some(Returning {
            conn,
            timeout_ms,
            read_only,
        }) = returning
        else {
            return;
        };
        if !valid {
            return refuse(conn, read_only, effects);
        }
        if let Some(former) = self.attached.attach(session, conn, timeout_ms)
            && former != conn
        {
            effects.push(Effect::CloseConn { conn: former });
        }
        effects.push(Effect::Connected {
            conn,
            response: answer(session, timeout_ms, read_only),
        });
    }

    /// A client asks for a change, or for a sync; what the leader is to hear of it, in order.
    pub(super) fn on_request(
        &mut self,
        request: ClientRequest,
        effects: &mut Vec<Effect>,
    ) -> Vec<LearnerPacket> {
        let ClientRequest {
            conn,
            session,
            xid,
            body,
            ids,
        } = request;
        let is_local = self.locals.has(session);
        // Of a session that has ended nothing is carried out and nothing answered; its connection closes.
        if !is_local && self.attached.timeout_of(session).is_none() {
            return Vec::new();
        }
        match &body {
            WriteBody::Request(Request::CloseSession) if is_local => {
                self.locals.close(session);
                let turn = Waiting::Turn {
                    syncs: self.syncs_before(session),
                    conn,
                    xid,
                    answer: Answer::Done,
                    closes: true,
                };
                self.take_turn(session, turn, effects);
                return Vec::new();
            }
            WriteBody::Request(Request::CreateSession { .. }) if self.locals.are_on() => {
                let timeout_ms = self.timeout_of(session);
                let turn = Waiting::Turn {
                    syncs: self.syncs_before(session),
                    conn,
                    xid,
                    answer: Answer::Session(answer(session, timeout_ms, Some(false))),
                    closes: false,
                };
                self.take_turn(session, turn, effects);
                return Vec::new();
            }
            _ => {}
        }
        let mut packets = Vec::new();
        let refusal = match self.locals.upgrade(session, &body) {
            Upgrade::NotNeeded => None,
            Upgrade::Refused => Some(ErrorCode::EphemeralOnLocalSession),
            Upgrade::Needed { timeout_ms, conn } => {
                if let Some(conn) = conn {
                    self.attached.attach(session, conn, timeout_ms);
                }
                self.wait(session, 0, None, None);
                packets.push(create_session(session, timeout_ms));
                None
            }
        };
        let (op, bytes) = match &body {
            // No body is what the leader cannot decode either.
            WriteBody::Malformed => (OpCode::Multi, Vec::new()),
            WriteBody::Request(request) => {
                let mut bytes = Vec::new();
                request.write_body(&mut bytes);
                (request.op(), bytes)
            }
        };
        match body {
            WriteBody::Request(Request::Sync(path)) => self.syncs.push_back(Syncing {
                session,
                conn,
                xid,
                path: path.path,
            }),
            WriteBody::Request(Request::CreateSession { .. }) => {
                let response = answer(session, self.timeout_of(session), Some(false));
                let kind = ReplyKind::Reconnected(response);
                self.wait(session, xid, Some(Origin { conn, xid, kind }), None);
            }
            _ => {
                let kind = ReplyKind::Op(op);
                // A multi says what became of each of its parts.
                let refusal = refusal.filter(|_| op != OpCode::Multi);
                self.wait(session, xid, Some(Origin { conn, xid, kind }), refusal);
            }
        }
        packets.push(LearnerPacket::Request {
            session,
            cxid: xid,
            op: op.code(),
            body: Bytes::from(bytes),
            ids: Some(ids.to_vec()),
        });
        packets
    }

    fn timeout_of(&self, session: SessionId) -> i32 {
        let local = self.locals.sessions().timeout_of(session);
        local
            .or_else(|| self.attached.timeout_of(session))
            .unwrap_or_default()
    }

    fn wait(
        &mut self,
        session: SessionId,
        cxid: i32,
        origin: Option<Origin>,
        refusal: Option<ErrorCode>,
    ) {
        self.waiting_count += 1;
        self.waiting
            .entry(session)
            .or_default()
            .push_back(Waiting::Txn {
                cxid,
                origin,
                refusal,
            });
    }

    /// What takes no transaction is answered behind the session's requests that do.
    fn take_turn(&mut self, session: SessionId, turn: Waiting, effects: &mut Vec<Effect>) {
        self.waiting_count += 1;
        self.waiting.entry(session).or_default().push_back(turn);
        self.answer_turns(session, effects);
    }

    /// How many syncs are over when the session's own are.
    fn syncs_before(&self, session: SessionId) -> u64 {
        let mut syncs = self.syncs.iter();
        let newest = syncs.rposition(|sync| sync.session == session);
        newest.map_or(0, |place| self.syncs_over + place as u64 + 1)
    }

    /// Answers what waited for the session's transactions and syncs, and for nothing any more.
    fn answer_turns(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        let Some(queue) = self.waiting.get_mut(&session) else {
            return;
        };
        let over = self.syncs_over;
        let is_next =
            |first: &mut Waiting| matches!(first, Waiting::Turn { syncs, .. } if *syncs <= over);
        while let Some(turn) = queue.pop_front_if(is_next) {
            self.waiting_count -= 1;
            turn.answer(effects);
        }
        if queue.is_empty() {
            self.waiting.remove(&session);
        }
    }

    /// Finds who waits for a transaction. The leader handles a session's requests in order, so it is the first who does,
    /// or nobody here.
    pub(super) fn on_commit(&mut self, entry: TxnEntry, effects: &mut Vec<Effect>) {
        let (session, cxid) = (entry.header.client_id, entry.header.cxid);
        let mut origin = None;
        if let Some(queue) = self.waiting.get_mut(&session) {
            let is_it = |first: &mut Waiting| matches!(first, Waiting::Txn { cxid: waited, .. } if *waited == cxid);
            if let Some(Waiting::Txn {
                origin: found,
                refusal,
                ..
            }) = queue.pop_front_if(is_it)
            {
                self.waiting_count -= 1;
                origin = found;
                if let (Some(origin), Some(code), Txn::Error(_)) =
                    (&mut origin, refusal, &entry.txn)
                {
                    origin.kind = ReplyKind::Refused(code);
                }
            }
        }
        let mut close = None;
        if matches!(entry.txn, Txn::CloseSession(_)) {
            close = self.attached.detach_session(session);
            // Whatever it still waited for, the leader refuses from now on.
            if let Some(queue) = self.waiting.remove(&session) {
                self.waiting_count -= queue.len();
            }
        }
        // The session has moved away. The client learns of it by the end of the connection: there is no reply.
        if entry.txn == Txn::Error(ErrorCode::SessionMoved.code())
            && let Some(Origin { conn, .. }) = origin.take()
        {
            close = Some(conn);
            self.attached.detach(conn);
        }
        effects.push(Effect::Commit(Box::new(Committed {
            entry,
            origin,
            close,
        })));
        self.answer_turns(session, effects);
    }

    /// Ends local sessions whose time has come.
    pub(super) fn on_wakeup(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        self.locals.expire_into(now_ms, effects);
    }

    /// The oldest sync is over.
    pub(super) fn on_synced(&mut self, effects: &mut Vec<Effect>) {
        if let Some(Syncing {
            session,
            conn,
            xid,
            path,
        }) = self.syncs.pop_front()
        {
            self.syncs_over += 1;
            effects.push(Effect::Synced { conn, xid, path });
            self.answer_turns(session, effects);
        }
    }

    /// A connection is gone.
    pub(super) fn on_disconnected(&mut self, conn: ConnId) {
        self.attached.detach(conn);
        self.locals.detach(conn);
    }
}

impl Waiting {
    /// Whoever waits for a transaction is answered with it.
    fn answer(self, effects: &mut Vec<Effect>) {
        if let Self::Turn {
            conn,
            xid,
            answer,
            closes,
            ..
        } = self
        {
            effects.push(Effect::Answered { conn, xid, answer });
            if closes {
                effects.push(Effect::CloseConn { conn });
            }
        }
    }
}

fn create_session(session: SessionId, timeout_ms: i32) -> LearnerPacket {
    LearnerPacket::Request {
        session,
        cxid: 0,
        op: OpCode::CreateSession.code(),
        body: Bytes::copy_from_slice(&timeout_ms.to_be_bytes()),
        ids: None,
    }
}

fn answer(session: SessionId, timeout_ms: i32, read_only: Option<bool>) -> ConnectResponse {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms,
        session,
        password: password_of(session),
        read_only,
    }
}

fn refuse(conn: ConnId, read_only: Option<bool>, effects: &mut Vec<Effect>) {
    effects.push(Effect::Connected {
        conn,
        response: ConnectResponse::invalid(read_only),
    });
    effects.push(Effect::CloseConn { conn });
}
