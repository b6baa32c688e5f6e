//! The server that turns requests into transactions: alone, or as the leader of an ensemble.
//!
//! It checks against what the tree will be, decides which sessions live, and gives each transaction its zxid. When a
//! transaction is committed is for others to say.

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::digest::{DIGEST_VERSION, TxnDigest};
use jute_codec::proto::{ConnectRequest, ConnectResponse, OpCode, Request};
use jute_codec::txn::{DeleteTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{ErrorCode, Reader, SessionId, Text, Zxid};

use super::clock::Clock;
use super::effect::Effect;
use super::janitor::Janitor;
use super::params::ReplicaParams;
use super::request::overlay::{Overlay, Speculation};
use super::request::prepare::{self, Asker, BeyondQuota};
use super::request::reconfig::Membership;
use super::session::password::{password_matches, password_of};
use super::session::{Locals, Owner, SessionIds, SessionTracker, Upgrade};
use super::zab::{LinkId, Zab};
use crate::state::conn::{ClientRequest, ConnId, Origin, ReplyKind, WriteBody};
use crate::state::{Committed, State};

/// How much room for encoding transactions is kept, in bytes.
const ENCODED_KEPT: usize = 4096;

/// A server that makes transactions.
#[derive(Debug)]
pub(super) struct Primary {
    params: ReplicaParams,
    /// Sessions that all servers know.
    pub(super) sessions: SessionTracker,
    /// Those of this server's clients that only it knows.
    pub(super) locals: Locals,
    janitor: Janitor,
    // What the tree will be once everything outstanding is applied.
    overlay: Overlay,
    // The newest transaction that was given a zxid.
    last_proposed: Zxid,
    // The bytes of a transaction while it is made.
    encoded: Vec<u8>,
}

/// What one input came to, in order.
#[derive(Debug)]
pub(super) enum Made {
    /// A transaction for all servers.
    Proposal(Proposal),
    /// Something that concerns this server only.
    Effect(Effect),
}

/// A transaction that has a zxid.
#[derive(Debug)]
pub(super) struct Proposal {
    /// Its bytes, as in the log and on the wire.
    pub(super) payload: Bytes,
    /// What is to be applied, and who is to hear of it.
    pub(super) committed: Committed,
}

impl Proposal {
    /// Its id.
    pub(super) const fn zxid(&self) -> Zxid {
        self.committed.entry.header.zxid
    }
}

/// One input's surroundings.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) clock: Clock,
    pub(super) state: &'a State,
    /// The order that this server keeps among servers, of a leader.
    pub(super) zab: Option<&'a Zab>,
    pub(super) made: &'a mut Vec<Made>,
}

impl Turn<'_> {
    fn effect(&mut self, effect: Effect) {
        self.made.push(Made::Effect(effect));
    }
}

/// A request that a learner passed on.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) link: LinkId,
    pub(super) session: SessionId,
    pub(super) cxid: i32,
    pub(super) op: i32,
    pub(super) body: Bytes,
    pub(super) ids: Vec<Id>,
}

/// Who asked for a transaction.
#[derive(Debug, Clone, Copy)]
struct Requester {
    session: SessionId,
    cxid: i32,
}

impl Requester {
    /// The server itself.
    const SERVER: Self = Self {
        session: SessionId::NONE,
        cxid: 0,
    };
}

impl Primary {
    /// A server that goes on after `last_proposed`, with `state` as of the newest transaction there is. All sessions get
    /// their full timeout again.
    ///
    /// Ephemeral nodes whose session is unknown, which no history of ours leaves behind, are removed by transactions.
    pub(super) fn new(params: ReplicaParams, last_proposed: Zxid, turn: &mut Turn<'_>) -> Self {
        let now_ms = turn.clock.monotonic_ms;
        let mut sessions = SessionTracker::new(params.tick_ms);
        for (session, timeout_ms) in turn.state.sessions() {
            sessions.track(*session, *timeout_ms, now_ms);
        }
        let mut primary = Self {
            sessions,
            locals: Locals::new(&params),
            janitor: Janitor::new(&params, now_ms),
            overlay: Overlay::new(turn.state.digest()),
            last_proposed,
            encoded: Vec::new(),
            params,
        };
        let orphans: Vec<SessionId> = turn
            .state
            .sessions_with_ephemerals()
            .map(|(session, _)| session)
            .filter(|session| !turn.state.sessions().contains_key(session))
            .collect();
        for session in orphans {
            primary.propose_close(turn, session, 0, None);
        }
        primary
    }

    /// The committed tree has everything up to `applied`.
    pub(super) fn forget_applied(&mut self, applied: Zxid) {
        self.overlay.forget_applied(applied);
    }

    /// When [`Self::on_wakeup`] has something to do, in monotonic milliseconds.
    pub(super) fn deadline(&self) -> i64 {
        let sessions = [&self.sessions, self.locals.sessions()];
        sessions
            .into_iter()
            .filter_map(SessionTracker::next_deadline)
            .fold(self.janitor.deadline(), i64::min)
    }

    /// The newest transaction that was given a zxid.
    pub(super) const fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// A client of this server asks for a session.
    pub(super) fn on_connect(
        &mut self,
        turn: &mut Turn<'_>,
        ids: &mut SessionIds,
        conn: ConnId,
        request: &ConnectRequest,
    ) {
        let timeout_ms = self.params.negotiated_ms(request.timeout_ms);
        let now_ms = turn.clock.monotonic_ms;
        let response = |session| ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session,
            password: password_of(session),
            read_only: request.read_only.map(|_| false),
        };
        if request.session == SessionId::NONE {
            let session = ids.next(|id| self.sessions.is_live(id) || self.locals.has(id));
            if self.locals.are_on() {
                self.locals.open(session, timeout_ms, conn, now_ms);
                let response = response(session);
                return turn.effect(Effect::Connected { conn, response });
            }
            self.sessions.track(session, timeout_ms, now_ms);
            self.sessions.attach(session, Owner::Conn(conn));
            let origin = Origin {
                conn,
                xid: 0,
                kind: ReplyKind::Connected(response(session)),
            };
            let who = Requester { session, cxid: 0 };
            let txn = Txn::CreateSession { timeout_ms };
            return self.propose(turn, who, txn, Some(origin), None);
        }
        // Java closes the session's other connection before it looks at the password; see docs/compatibility.md.
        let former = self.locals.detach_session(request.session);
        let former = former.or_else(|| self.sessions.conn_of(request.session));
        if let Some(former) = former.filter(|former| *former != conn) {
            self.sessions.detach(former);
            turn.effect(Effect::CloseConn { conn: former });
        }
        let knows_password = password_matches(request.session, request.password.as_deref());
        if knows_password && self.reattach(request.session, timeout_ms, conn, now_ms) {
            turn.effect(Effect::Connected {
                conn,
                response: response(request.session),
            });
        } else {
            turn.effect(Effect::Connected {
                conn,
                response: ConnectResponse::invalid(request.read_only.map(|_| false)),
            });
            turn.effect(Effect::CloseConn { conn });
        }
    }

    fn reattach(&mut self, session: SessionId, timeout_ms: i32, conn: ConnId, now_ms: i64) -> bool {
        let owner = Owner::Conn(conn);
        self.locals.reattach(session, timeout_ms, conn, now_ms)
            || self.sessions.reattach(session, timeout_ms, owner, now_ms)
    }

    /// The session was heard of at `at_ms`.
    pub(super) fn touch(&mut self, session: SessionId, at_ms: i64) {
        self.locals.touch(session, at_ms);
        self.sessions.touch(session, at_ms);
    }

    /// A transaction is committed. A session's time begins when its client can know of it, however long that took.
    ///
    /// ZooKeeper: `LeaderSessionTracker.commitSession`, `SessionTrackerImpl.trackSession`.
    pub(super) fn on_committed(&mut self, entry: &TxnEntry, now_ms: i64) {
        if let Txn::CreateSession { .. } = entry.txn {
            self.sessions.touch(entry.header.client_id, now_ms);
        }
    }

    /// A connection is gone.
    pub(super) fn detach(&mut self, conn: ConnId) {
        self.locals.detach(conn);
        self.sessions.detach(conn);
    }

    /// The timeout that was agreed to with a client of this server, in milliseconds.
    pub(super) fn timeout_of(&self, session: SessionId) -> i32 {
        let local = self.locals.sessions().timeout_of(session);
        local
            .or_else(|| self.sessions.timeout_of(session))
            .unwrap_or_default()
    }

    /// Sessions whose time has come unless they have been heard of, with their connections.
    pub(super) fn due(&self, now_ms: i64) -> Vec<(SessionId, Option<ConnId>)> {
        let mut due = self.sessions.due(now_ms);
        due.extend(self.locals.sessions().due(now_ms));
        due
    }

    /// A client of this server asks for a change. That a local session ends is not for here: it takes no transaction.
    pub(super) fn on_request(&mut self, turn: &mut Turn<'_>, request: ClientRequest) {
        let ClientRequest {
            conn,
            session,
            xid,
            body,
            ids,
        } = request;
        // Of a session that has ended or is ending nothing is carried out and nothing answered; its connection closes.
        if !self.sessions.is_live(session) && !self.locals.has(session) {
            return;
        }
        self.touch(session, turn.clock.monotonic_ms);
        let who = Requester { session, cxid: xid };
        let upgrade = self.locals.upgrade(session, &body);
        if let Upgrade::Needed { timeout_ms, conn } = upgrade {
            self.make_global(turn, session, timeout_ms, conn);
        }
        let origin = |op| {
            Some(Origin {
                conn,
                xid,
                kind: ReplyKind::Op(op),
            })
        };
        let body = match body {
            WriteBody::Request(body) => body,
            WriteBody::Malformed => {
                let code = ErrorCode::MarshallingError;
                return self.fail(turn, who, code, origin(OpCode::Multi));
            }
        };
        let op = body.op();
        if matches!(self.sessions.owner_of(session), Some(Owner::Link(_)))
            && op != OpCode::CloseSession
        {
            // The client learns of it by the end of the connection: there is no reply.
            let txn = Txn::Error(ErrorCode::SessionMoved.code());
            return self.propose(turn, who, txn, None, Some(conn));
        }
        match body {
            Request::CloseSession => {
                self.propose_close(turn, session, xid, origin(op));
            }
            Request::CreateSession { timeout_ms } => {
                self.on_create_session(turn, who, conn, timeout_ms);
            }
            request => {
                let may_own = match upgrade {
                    Upgrade::Refused => Err(ErrorCode::EphemeralOnLocalSession),
                    _ => self.may_own(session),
                };
                let asker = Asker { ids: &ids, may_own };
                self.change(turn, who, &request, asker, origin(op));
            }
        }
    }

    /// A local session becomes everybody's.
    fn make_global(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        timeout_ms: i32,
        conn: Option<ConnId>,
    ) {
        self.sessions
            .track(session, timeout_ms, turn.clock.monotonic_ms);
        if let Some(conn) = conn {
            self.sessions.attach(session, Owner::Conn(conn));
        }
        let who = Requester { session, cxid: 0 };
        self.propose(turn, who, Txn::CreateSession { timeout_ms }, None, None);
    }

    /// Ephemeral nodes are for sessions that all servers know.
    ///
    /// ZooKeeper: `LeaderSessionTracker.checkGlobalSession`.
    fn may_own(&self, session: SessionId) -> Result<(), ErrorCode> {
        if self.sessions.is_live(session) {
            Ok(())
        } else {
            Err(ErrorCode::SessionExpired)
        }
    }

    /// Whether a session that is not known may be a learner's local one. Those that began here are known here.
    ///
    /// ZooKeeper: `LeaderSessionTracker.checkSession`.
    fn may_be_local_elsewhere(&self, session: SessionId) -> bool {
        self.locals.are_on() && session.0.to_be_bytes()[0] != self.params.server_id
    }

    /// A client of a learner asks for a change. There is a transaction in any case: the learner waits for it.
    ///
    /// ZooKeeper: `PrepRequestProcessor.pRequest2Txn`, `SessionTrackerImpl.checkSession`.
    pub(super) fn on_forwarded(&mut self, turn: &mut Turn<'_>, forwarded: &Forwarded) {
        let Forwarded {
            link,
            session,
            cxid,
            op,
            ref body,
            ref ids,
        } = *forwarded;
        let who = Requester { session, cxid };
        let op = OpCode::from_i32(op);
        if op == Some(OpCode::CloseSession) {
            return self.propose_close(turn, session, cxid, None);
        }
        let request = op.and_then(|op| Request::read(op, &mut Reader::new(body)).ok());
        let Some(request) = request else {
            return self.fail(turn, who, ErrorCode::MarshallingError, None);
        };
        if let Request::CreateSession { timeout_ms } = request {
            let now_ms = turn.clock.monotonic_ms;
            if !self.sessions.is_live(session) {
                self.sessions.track(session, timeout_ms, now_ms);
            }
            self.sessions.attach(session, Owner::Link(link));
            let txn = Txn::CreateSession { timeout_ms };
            return self.propose(turn, who, txn, None, None);
        }
        let refused = match self.sessions.owner_of(session) {
            _ if !self.sessions.is_live(session) => {
                (!self.may_be_local_elsewhere(session)).then_some(ErrorCode::SessionExpired)
            }
            Some(owner) if owner != Owner::Link(link) => Some(ErrorCode::SessionMoved),
            Some(_) => None,
            None => {
                self.sessions.attach(session, Owner::Link(link));
                None
            }
        };
        match refused {
            Some(code) => self.fail(turn, who, code, None),
            None => {
                self.sessions.touch(session, turn.clock.monotonic_ms);
                let may_own = self.may_own(session);
                self.change(turn, who, &request, Asker { ids, may_own }, None);
            }
        }
    }

    /// A learner's client comes back: whether its session lives. If so it is that learner's from now on.
    pub(super) fn revalidate(
        &mut self,
        clock: Clock,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
    ) -> bool {
        self.sessions
            .reattach(session, timeout_ms, Owner::Link(link), clock.monotonic_ms)
    }

    /// A change that has to be checked.
    fn change(
        &mut self,
        turn: &mut Turn<'_>,
        who: Requester,
        request: &Request,
        asker: Asker<'_>,
        origin: Option<Origin>,
    ) {
        let header = self.header(turn, who, request.op().code());
        let tree = turn.state.tree();
        let mut speculation = Speculation::new(&mut self.overlay, tree, header.zxid);
        let mut exceeded = None;
        let membership = turn
            .zab
            .filter(|_| matches!(request, Request::Reconfig(_)))
            .map(|zab| Membership {
                configs: zab.configs(),
                synced: zab.synced(),
                standalone: self.params.standalone,
                multi_address: self.params.multi_address,
            });
        let txn = prepare::prepare(
            &self.params,
            &header,
            request,
            asker,
            (turn.state, membership.as_ref()),
            &mut speculation,
            &mut exceeded,
        );
        if let Some(BeyondQuota { path, refused }) = exceeded {
            turn.effect(Effect::QuotaExceeded { path, refused });
        }
        self.enqueue(turn, header, txn, origin, None);
    }

    fn fail(
        &mut self,
        turn: &mut Turn<'_>,
        who: Requester,
        code: ErrorCode,
        origin: Option<Origin>,
    ) {
        self.propose(turn, who, Txn::Error(code.code()), origin, None);
    }

    /// createSession from a client that has a session: the transaction says the timeout that was asked for, the answer
    /// the one that was agreed to, as in Java.
    fn on_create_session(
        &mut self,
        turn: &mut Turn<'_>,
        who: Requester,
        conn: ConnId,
        timeout_ms: i32,
    ) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: self.sessions.timeout_of(who.session).unwrap_or_default(),
            session: who.session,
            password: password_of(who.session),
            read_only: Some(false),
        };
        let origin = Origin {
            conn,
            xid: who.cxid,
            kind: ReplyKind::Reconnected(response),
        };
        let txn = Txn::CreateSession { timeout_ms };
        self.propose(turn, who, txn, Some(origin), None);
    }

    fn propose_close(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        cxid: i32,
        origin: Option<Origin>,
    ) {
        let close = origin
            .as_ref()
            .map(|origin| origin.conn)
            .or_else(|| self.sessions.conn_of(session));
        let zxid = self.last_proposed.next();
        let speculation = Speculation::new(&mut self.overlay, turn.state.tree(), zxid);
        let paths: Vec<Text> = speculation.ephemerals(session);
        let who = Requester { session, cxid };
        self.propose(turn, who, Txn::CloseSession(Some(paths)), origin, close);
        self.sessions.forget(session);
    }

    fn header(&self, turn: &Turn<'_>, who: Requester, op: i32) -> TxnHeader {
        TxnHeader {
            client_id: who.session,
            cxid: who.cxid,
            zxid: self.last_proposed.next(),
            time: turn.clock.wall_ms,
            op,
        }
    }

    /// Proposes a transaction that needs no checks.
    fn propose(
        &mut self,
        turn: &mut Turn<'_>,
        who: Requester,
        txn: Txn,
        origin: Option<Origin>,
        close: Option<ConnId>,
    ) {
        let header = self.header(turn, who, txn.op().code());
        let tree = turn.state.tree();
        let mut speculation = Speculation::new(&mut self.overlay, tree, header.zxid);
        crate::state::apply(&mut speculation, &header, &txn);
        self.enqueue(turn, header, txn, origin, close);
    }

    /// Hands on a transaction that the overlay has taken in.
    fn enqueue(
        &mut self,
        turn: &mut Turn<'_>,
        mut header: TxnHeader,
        txn: Txn,
        origin: Option<Origin>,
        close: Option<ConnId>,
    ) {
        header.op = txn.op().code();
        self.last_proposed = header.zxid;
        let digest = TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: self.overlay.digest().cast_signed(),
        };
        let entry = TxnEntry {
            header,
            txn,
            digest: Some(digest),
        };
        self.encoded.clear();
        entry.write(&mut self.encoded);
        let payload = Bytes::copy_from_slice(&self.encoded);
        self.encoded.shrink_to(ENCODED_KEPT);
        turn.made.push(Made::Proposal(Proposal {
            payload,
            committed: Committed {
                entry,
                origin,
                close,
            },
        }));
    }

    /// Ends sessions whose time has come, and deletes what has been abandoned.
    pub(super) fn on_wakeup(&mut self, turn: &mut Turn<'_>) {
        for (session, conn) in self.locals.expire(turn.clock.monotonic_ms) {
            turn.effect(Effect::Expired { session });
            if let Some(conn) = conn {
                turn.effect(Effect::CloseConn { conn });
            }
        }
        for (session, _) in self.sessions.due(turn.clock.monotonic_ms) {
            turn.effect(Effect::Expired { session });
            self.propose_close(turn, session, 0, None);
        }
        self.janitor.look(turn.clock, turn.state);
        while let Some(path) = self.janitor.next(turn.clock.monotonic_ms) {
            let zxid = self.last_proposed.next();
            let tree = turn.state.tree();
            let mut speculation = Speculation::new(&mut self.overlay, tree, zxid);
            if prepare::may_abandon(&mut speculation, &path) {
                let txn = Txn::DeleteContainer(DeleteTxn { path });
                self.propose(turn, Requester::SERVER, txn, None, None);
            }
        }
    }
}
