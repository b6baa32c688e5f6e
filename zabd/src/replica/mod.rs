//! What a server decides: the order of transactions, what each request becomes, which sessions live.
//!
//! Pure and single-threaded: [`Replica::step`] takes an [`Input`] and returns [`Effect`]s, in order. What it must know
//! of the time and of the committed state comes in with the call. Today there is one role, the server that stands
//! alone; the ensemble's roles come beside it, on the same inputs and effects.
//!
//! | module | what it holds |
//! |---|---|
//! | [`input`], [`effect`], [`clock`] | the boundary |
//! | `request` | from request to transaction: checks in Java's order, on a speculative overlay |
//! | [`session`] | ids, passwords, deadlines |
//!
//! Promises kept here: `AckMeansDurable` (a commit follows [`Input::Durable`] of its own write), `CommitInOrder`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod clock;
pub mod effect;
pub mod election;
pub mod ensemble;
pub mod input;
mod janitor;
pub mod params;
mod request;
pub mod session;
#[cfg(test)]
mod tests;
pub mod zab;

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::digest::{DIGEST_VERSION, TxnDigest};
use jute_codec::proto::{ConnectRequest, ConnectResponse, Request};
use jute_codec::txn::{Txn, TxnEntry, TxnHeader};
use jute_codec::{SessionId, Text, Zxid};

use crate::state::conn::{ClientRequest, ConnId, Origin, ReplyKind, Submission, WriteBody};
use crate::state::{Committed, State};
use clock::Clock;
use effect::{Effect, WriteSeq};
use input::Input;
use janitor::Janitor;
use params::ReplicaParams;
use request::overlay::{Overlay, Speculation};
use request::prepare;
use session::SessionTracker;
use session::password::{password_matches, password_of};

/// One server's share in the ensemble's decisions.
#[derive(Debug)]
pub struct Replica {
    params: ReplicaParams,
    sessions: SessionTracker,
    janitor: Janitor,
    // What the tree will be once everything outstanding is applied.
    overlay: Overlay,
    // The newest transaction that was given a zxid.
    last_proposed: Zxid,
    // Transactions not yet durable, in zxid order.
    outstanding: VecDeque<Proposal>,
    // The newest write that was asked for.
    last_write: WriteSeq,
}

#[derive(Debug)]
struct Proposal {
    write: WriteSeq,
    committed: Committed,
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

impl Replica {
    /// A server that stands alone, with what was recovered of `state`. All sessions get their full timeout again.
    ///
    /// Ephemeral nodes whose session is unknown, which no history of ours leaves behind, are removed by transactions.
    #[must_use]
    pub fn standalone(
        params: ReplicaParams,
        clock: Clock,
        state: &State,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut sessions = SessionTracker::new(params.server_id, params.tick_ms, clock.wall_ms);
        for (session, timeout_ms) in state.sessions() {
            sessions.track(*session, *timeout_ms, clock.monotonic_ms);
        }
        let mut replica = Self {
            sessions,
            janitor: Janitor::new(&params, clock.monotonic_ms),
            overlay: Overlay::new(state.digest()),
            last_proposed: state.last_zxid(),
            outstanding: VecDeque::new(),
            last_write: WriteSeq(0),
            params,
        };
        let orphans: Vec<SessionId> = state
            .sessions_with_ephemerals()
            .map(|(session, _)| session)
            .filter(|session| !state.sessions().contains_key(session))
            .collect();
        for session in orphans {
            replica.propose_close(clock, state, session, 0, None, effects);
        }
        replica
    }

    /// Takes one input; what must happen is appended to `effects`, in order.
    ///
    /// `state` is the state with everything applied that earlier commits asked for, or with a part of it.
    pub fn step(&mut self, clock: Clock, input: Input, state: &State, effects: &mut Vec<Effect>) {
        self.overlay.forget_applied(state.last_zxid());
        match input {
            Input::Submitted(Submission::Connect { conn, request }) => {
                self.on_connect(clock, conn, &request, state, effects);
            }
            Input::Submitted(Submission::Write(request)) => {
                self.on_request(clock, request, state, effects)
            }
            Input::Durable(write) => self.on_durable(write, effects),
            Input::Touched { session, at_ms } => self.sessions.touch(session, at_ms),
            Input::Disconnected { conn } => self.sessions.detach(conn),
            Input::Wakeup => self.on_wakeup(clock, state, effects),
        }
        #[cfg(debug_assertions)]
        self.invariants();
    }

    /// When to step with [`Input::Wakeup`], in monotonic milliseconds.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        self.sessions
            .next_deadline()
            .map_or(i64::MAX, |deadline| deadline)
            .min(self.janitor.deadline())
    }

    /// Sessions that the next [`Input::Wakeup`] would expire, with their connections: whoever keeps track of what
    /// connections send says [`Input::Touched`] for those that have been heard of, first.
    #[must_use]
    pub fn about_to_expire(&self, clock: Clock) -> Vec<(SessionId, Option<ConnId>)> {
        self.sessions.due(clock.monotonic_ms)
    }

    /// The newest transaction that was given a zxid.
    #[must_use]
    pub const fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// Transactions that are not durable yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Sessions and deadlines, for operators.
    #[must_use]
    pub const fn sessions(&self) -> &SessionTracker {
        &self.sessions
    }

    fn on_connect(
        &mut self,
        clock: Clock,
        conn: ConnId,
        request: &ConnectRequest,
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        let timeout_ms = request.timeout_ms.clamp(
            self.params.session_timeout_min_ms,
            self.params.session_timeout_max_ms,
        );
        let response = |session| ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session,
            password: password_of(session),
            read_only: request.read_only.map(|_| false),
        };
        if request.session == SessionId::NONE {
            let session = self.sessions.create(timeout_ms, conn, clock.monotonic_ms);
            let origin = Origin {
                conn,
                xid: 0,
                kind: ReplyKind::Connected(response(session)),
            };
            let who = Requester { session, cxid: 0 };
            self.propose(
                clock,
                state,
                who,
                Txn::CreateSession { timeout_ms },
                Some(origin),
                None,
                effects,
            );
            return;
        }
        // Java closes the session's other connection before it looks at the password; see docs/compatibility.md.
        if let Some(former) = self
            .sessions
            .conn_of(request.session)
            .filter(|former| *former != conn)
        {
            self.sessions.detach(former);
            effects.push(Effect::CloseConn { conn: former });
        }
        let knows_password = password_matches(request.session, request.password.as_deref());
        if knows_password
            && self
                .sessions
                .reattach(request.session, timeout_ms, conn, clock.monotonic_ms)
        {
            effects.push(Effect::Connected {
                conn,
                response: response(request.session),
            });
        } else {
            effects.push(Effect::Connected {
                conn,
                response: ConnectResponse::invalid(request.read_only.map(|_| false)),
            });
            effects.push(Effect::CloseConn { conn });
        }
    }

    fn on_request(
        &mut self,
        clock: Clock,
        request: ClientRequest,
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        // Of a session that has ended or is ending nothing is carried out and nothing answered; its connection closes.
        if !self.sessions.is_live(request.session) {
            return;
        }
        self.sessions.touch(request.session, clock.monotonic_ms);
        let ClientRequest {
            conn,
            session,
            xid,
            body,
            ids,
        } = request;
        let who = Requester { session, cxid: xid };
        let origin = |op| {
            Some(Origin {
                conn,
                xid,
                kind: ReplyKind::Op(op),
            })
        };
        match body {
            WriteBody::Malformed => {
                let txn = Txn::Error(jute_codec::ErrorCode::MarshallingError.code());
                self.propose(
                    clock,
                    state,
                    who,
                    txn,
                    origin(jute_codec::proto::OpCode::Multi),
                    None,
                    effects,
                );
            }
            WriteBody::Request(Request::CloseSession) => {
                let origin = origin(jute_codec::proto::OpCode::CloseSession);
                self.sessions.begin_close(session);
                self.propose_close(clock, state, session, xid, origin, effects);
            }
            WriteBody::Request(Request::CreateSession { timeout_ms }) => {
                self.on_create_session(clock, state, who, conn, timeout_ms, effects);
            }
            WriteBody::Request(request) => {
                let op = request.op();
                let zxid = self.last_proposed.next();
                let header = TxnHeader {
                    client_id: session,
                    cxid: xid,
                    zxid,
                    time: clock.wall_ms,
                    op: op.code(),
                };
                let mut speculation = Speculation::new(&mut self.overlay, state.tree(), zxid);
                let mut exceeded = None;
                let txn = prepare::prepare(
                    &self.params,
                    &header,
                    &request,
                    &ids,
                    state,
                    &mut speculation,
                    &mut exceeded,
                );
                if let Some(path) = exceeded {
                    effects.push(Effect::QuotaExceeded { path });
                }
                self.enqueue(header, txn, origin(op), None, effects);
            }
        }
    }

    /// createSession from a client that has a session: the transaction says the timeout that was asked for, the answer
    /// the one that was agreed to, as in Java.
    fn on_create_session(
        &mut self,
        clock: Clock,
        state: &State,
        who: Requester,
        conn: ConnId,
        timeout_ms: i32,
        effects: &mut Vec<Effect>,
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
        self.propose(
            clock,
            state,
            who,
            Txn::CreateSession { timeout_ms },
            Some(origin),
            None,
            effects,
        );
    }

    fn propose_close(
        &mut self,
        clock: Clock,
        state: &State,
        session: SessionId,
        cxid: i32,
        origin: Option<Origin>,
        effects: &mut Vec<Effect>,
    ) {
        let close = origin
            .as_ref()
            .map(|origin| origin.conn)
            .or_else(|| self.sessions.conn_of(session));
        let speculation =
            Speculation::new(&mut self.overlay, state.tree(), self.last_proposed.next());
        let paths: Vec<Text> = speculation.ephemerals(session);
        let who = Requester { session, cxid };
        self.propose(
            clock,
            state,
            who,
            Txn::CloseSession(Some(paths)),
            origin,
            close,
            effects,
        );
        self.sessions.forget(session);
    }

    /// Proposes a transaction that needs no checks.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of the one transaction"
    )]
    fn propose(
        &mut self,
        clock: Clock,
        state: &State,
        who: Requester,
        txn: Txn,
        origin: Option<Origin>,
        close: Option<ConnId>,
        effects: &mut Vec<Effect>,
    ) {
        let zxid = self.last_proposed.next();
        let header = TxnHeader {
            client_id: who.session,
            cxid: who.cxid,
            zxid,
            time: clock.wall_ms,
            op: txn.op().code(),
        };
        let mut speculation = Speculation::new(&mut self.overlay, state.tree(), zxid);
        crate::state::apply(&mut speculation, &header, &txn);
        self.enqueue(header, txn, origin, close, effects);
    }

    /// Sends a transaction that the overlay has taken in to the log.
    fn enqueue(
        &mut self,
        mut header: TxnHeader,
        txn: Txn,
        origin: Option<Origin>,
        close: Option<ConnId>,
        effects: &mut Vec<Effect>,
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
        let mut payload = Vec::new();
        entry.write(&mut payload);
        self.last_write = self.last_write.next();
        let (write, zxid) = (self.last_write, entry.header.zxid);
        effects.push(Effect::Write {
            write,
            zxid,
            payload: Bytes::from(payload),
        });
        self.outstanding.push_back(Proposal {
            write,
            committed: Committed {
                entry,
                origin,
                close,
            },
        });
    }

    fn on_durable(&mut self, write: WriteSeq, effects: &mut Vec<Effect>) {
        while let Some(proposal) = self
            .outstanding
            .pop_front_if(|proposal| proposal.write <= write)
        {
            effects.push(Effect::Commit(Box::new(proposal.committed)));
        }
    }

    fn on_wakeup(&mut self, clock: Clock, state: &State, effects: &mut Vec<Effect>) {
        for (session, _) in self.sessions.due(clock.monotonic_ms) {
            effects.push(Effect::Expired { session });
            self.propose_close(clock, state, session, 0, None, effects);
        }
        self.janitor.look(clock, state);
        while let Some(path) = self.janitor.next(clock.monotonic_ms) {
            let zxid = self.last_proposed.next();
            let mut speculation = Speculation::new(&mut self.overlay, state.tree(), zxid);
            if prepare::may_abandon(&mut speculation, &path) {
                let txn = Txn::DeleteContainer(jute_codec::txn::DeleteTxn { path });
                self.propose(clock, state, Requester::SERVER, txn, None, None, effects);
            }
        }
    }

    /// Holds after every step.
    #[cfg(debug_assertions)]
    fn invariants(&self) {
        let mut expected = self.last_proposed;
        for proposal in self.outstanding.iter().rev().take(2) {
            assert_eq!(
                proposal.committed.entry.header.zxid, expected,
                "zxids are gapless and in order"
            );
            expected = Zxid(expected.0 - 1);
        }
    }
}
