//! A server of an ensemble that has been without a leader for a while: it shows what it has to clients that are content
//! with that, and changes nothing.
//!
//! What it shows is its state as of the end of its log, which may be behind the others' and may hold what is never
//! committed, as in Java. Sessions begin and end here and are nobody else's.
//!
//! ZooKeeper: `ReadOnlyZooKeeperServer`, `ReadOnlyRequestProcessor`; section L of `semantics.md`.

use jute_codec::proto::{ConnectRequest, ConnectResponse, Request};
use jute_codec::{ErrorCode, SessionId};

use super::effect::{Answer, Effect};
use super::member::Around;
use super::params::ReplicaParams;
use super::session::Locals;
use super::session::password::{password_matches, password_of};
use crate::state::conn::{ClientRequest, ConnId, WriteBody};

/// See the module.
#[derive(Debug)]
pub(super) struct ReadOnly {
    pub(super) locals: Locals,
}

impl ReadOnly {
    /// Nobody is served yet.
    pub(super) fn new(params: &ReplicaParams) -> Self {
        Self {
            locals: Locals::new(params),
        }
    }

    /// A client asks for a session.
    ///
    /// It gets one also where sessions do not begin local otherwise. Java answers such a client with a frame that is no
    /// handshake's answer, so that it cannot connect.
    pub(super) fn on_connect(
        &mut self,
        around: &mut Around<'_>,
        conn: ConnId,
        request: &ConnectRequest,
    ) {
        let now_ms = around.clock.monotonic_ms;
        let sessions = around.state.sessions();
        // Whoever wants more, and whoever has a session that only a leader can vouch for, looks for another server.
        if request.read_only != Some(true) || sessions.contains_key(&request.session) {
            return around.effects.push(Effect::CloseConn { conn });
        }
        let timeout_ms = around.params.negotiated_ms(request.timeout_ms);
        if request.session == SessionId::NONE {
            let is_taken = |id| sessions.contains_key(&id) || self.locals.has(id);
            let session = around.ids.next(is_taken);
            self.locals.open(session, timeout_ms, conn, now_ms);
            return connected(conn, session, timeout_ms, around.effects);
        }
        let former = self.locals.detach_session(request.session);
        if let Some(former) = former.filter(|former| *former != conn) {
            around.effects.push(Effect::CloseConn { conn: former });
        }
        if password_matches(request.session, request.password.as_deref())
            && self
                .locals
                .reattach(request.session, timeout_ms, conn, now_ms)
        {
            return connected(conn, request.session, timeout_ms, around.effects);
        }
        let response = ConnectResponse::invalid(Some(true));
        around.effects.push(Effect::Connected { conn, response });
        around.effects.push(Effect::CloseConn { conn });
    }

    /// A client asks for what only a leader can do, or ends its session.
    pub(super) fn on_request(
        &mut self,
        now_ms: i64,
        request: &ClientRequest,
        effects: &mut Vec<Effect>,
    ) {
        let ClientRequest {
            conn,
            session,
            xid,
            ref body,
            ..
        } = *request;
        if !self.locals.has(session) {
            return;
        }
        self.locals.touch(session, now_ms);
        let closes = matches!(body, WriteBody::Request(Request::CloseSession));
        let answer = if closes {
            self.locals.close(session);
            Answer::Done
        } else {
            Answer::Refused(ErrorCode::NotReadOnly)
        };
        effects.push(Effect::Answered { conn, xid, answer });
        if closes {
            effects.push(Effect::CloseConn { conn });
        }
    }

    /// Ends sessions whose time has come.
    pub(super) fn on_wakeup(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        self.locals.expire_into(now_ms, effects);
    }
}

fn connected(conn: ConnId, session: SessionId, timeout_ms: i32, effects: &mut Vec<Effect>) {
    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms,
        session,
        password: password_of(session),
        read_only: Some(true),
    };
    effects.push(Effect::Connected { conn, response });
}
