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

use super::effect::Effect;
use super::params::ReplicaParams;
use super::session::password::{password_matches, password_of};
use super::session::{Attached, SessionIds};
use crate::state::conn::{ClientRequest, ConnId, Origin, ReplyKind, WriteBody};
use crate::state::{Committed, State};

/// A server whose clients' changes are decided elsewhere.
#[derive(Debug, Default)]
pub(super) struct Attendant {
    attached: Attached,
    // Who waits for which transaction: by session, in the order in which the leader gets the requests.
    waiting: BTreeMap<SessionId, VecDeque<(i32, Origin)>>,
    waiting_count: usize,
    // Clients that come back, until the leader has said whether their session lives.
    returning: BTreeMap<SessionId, VecDeque<Returning>>,
    // Syncs with the leader, in order.
    syncs: VecDeque<Syncing>,
}

#[derive(Debug)]
struct Returning {
    conn: ConnId,
    timeout_ms: i32,
    read_only: Option<bool>,
}

#[derive(Debug)]
struct Syncing {
    conn: ConnId,
    xid: i32,
    path: Option<Text>,
}

impl Attendant {
    /// The session's connection was heard of at `at_ms`; its timeout in milliseconds, if that is news.
    pub(super) fn on_touched(&mut self, session: SessionId, at_ms: i64) -> Option<i32> {
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
        params: &ReplicaParams,
        ids: &mut SessionIds,
        state: &State,
        conn: ConnId,
        request: &ConnectRequest,
        effects: &mut Vec<Effect>,
    ) -> Option<LearnerPacket> {
        let timeout_ms = params.negotiated_ms(request.timeout_ms);
        let read_only = request.read_only.map(|_| false);
        if request.session == SessionId::NONE {
            let session = ids.next(|id| state.sessions().contains_key(&id));
            let response = answer(session, timeout_ms, read_only);
            let origin = Origin {
                conn,
                xid: 0,
                kind: ReplyKind::Connected(response),
            };
            self.wait(session, 0, origin);
            self.attached.attach(session, conn, timeout_ms);
            return Some(LearnerPacket::Request {
                session,
                cxid: 0,
                op: OpCode::CreateSession.code(),
                body: Bytes::copy_from_slice(&timeout_ms.to_be_bytes()),
                ids: None,
            });
        }
        // As on every server: the session's other connection closes before anything else is looked at.
        if let Some(former) = self.attached.detach_session(request.session)
            && former != conn
        {
            effects.push(Effect::CloseConn { conn: former });
        }
        if !password_matches(request.session, request.password.as_deref()) {
            refuse(conn, read_only, effects);
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

    /// A client asks for a change, or for a sync.
    pub(super) fn on_request(&mut self, request: ClientRequest) -> LearnerPacket {
        let ClientRequest {
            conn,
            session,
            xid,
            body,
            ids,
        } = request;
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
                conn,
                xid,
                path: path.path,
            }),
            WriteBody::Request(Request::CreateSession { .. }) => {
                let timeout_ms = self.attached.timeout_of(session).unwrap_or_default();
                let response = answer(session, timeout_ms, Some(false));
                let kind = ReplyKind::Reconnected(response);
                self.wait(session, xid, Origin { conn, xid, kind });
            }
            _ => {
                let kind = ReplyKind::Op(op);
                self.wait(session, xid, Origin { conn, xid, kind });
            }
        }
        LearnerPacket::Request {
            session,
            cxid: xid,
            op: op.code(),
            body: Bytes::from(bytes),
            ids: Some(ids.to_vec()),
        }
    }

    fn wait(&mut self, session: SessionId, cxid: i32, origin: Origin) {
        self.waiting_count += 1;
        self.waiting
            .entry(session)
            .or_default()
            .push_back((cxid, origin));
    }

    /// Finds who waits for a transaction. The leader handles a session's requests in order, so it is the first who does,
    /// or nobody here.
    pub(super) fn on_commit(&mut self, entry: TxnEntry) -> Committed {
        let (session, cxid) = (entry.header.client_id, entry.header.cxid);
        let mut origin = None;
        if let Some(queue) = self.waiting.get_mut(&session) {
            origin = queue
                .pop_front_if(|(waited, _)| *waited == cxid)
                .map(|(_, origin)| origin);
            if origin.is_some() {
                self.waiting_count -= 1;
            }
            if queue.is_empty() {
                self.waiting.remove(&session);
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
        Committed {
            entry,
            origin,
            close,
        }
    }

    /// The oldest sync is over.
    pub(super) fn on_synced(&mut self, effects: &mut Vec<Effect>) {
        if let Some(Syncing { conn, xid, path }) = self.syncs.pop_front() {
            effects.push(Effect::Synced { conn, xid, path });
        }
    }

    /// A connection is gone.
    pub(super) fn on_disconnected(&mut self, conn: ConnId) {
        self.attached.detach(conn);
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
