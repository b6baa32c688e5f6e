//! The state machine of one connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::frame::write_frame;
use jute_codec::proto::{ConnectRequest, OpCode, ReplyHeader, Request, RequestHeader};
use jute_codec::{ErrorCode, Jute, SessionId, Text, Zxid};
use thiserror::Error;

use super::ConnId;
use super::read::Reader;
use super::request::{self, AuthOutcome, Authenticator, ClientRequest, Parsed, WriteBody};
use crate::state::State;
use crate::state::tree::FETCHED_AT_ONCE;

/// How many requests an empty queue keeps room for.
const QUEUE_KEPT: usize = 32;

/// What all connections of a server have in common.
#[derive(Debug, Clone)]
pub struct ConnParams {
    /// The longest string or buffer inside a request, in bytes.
    pub field_bytes_max: usize,
    /// With enforced authentication: the schemes of which a connection must hold an identity.
    pub required_schemes: Option<Vec<String>>,
    /// Whether syncs go to the replica: in an ensemble, where others may be ahead.
    pub sync_by_replica: bool,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// A frame has no room for a request header, or the handshake cannot be decoded.
    #[error("a frame that is no request")]
    Malformed,
    /// The client has seen a newer transaction than this server: it would go back in time.
    #[error("the client has seen {client}, which is ahead of this server's {server}")]
    ClientAhead {
        /// The client's newest transaction.
        client: Zxid,
        /// Ours.
        server: Zxid,
    },
    /// The server has no leader, or no quorum follows it.
    #[error("this server serves no clients at the moment")]
    NotServing,
    /// Authentication failed in a way that the client is not told.
    #[error("authentication dropped the connection")]
    AuthDropped,
    /// The connection was told all there was to tell.
    #[error("the conversation is over")]
    Finished,
}

/// What a connection asks of the replica.
#[derive(Debug)]
pub enum Submission {
    /// A session, new or old.
    Connect {
        /// Who.
        conn: ConnId,
        /// What for.
        request: ConnectRequest,
    },
    /// A write. The reply comes back as an output.
    Write(ClientRequest),
}

/// What became of the requests that were waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// Go on; more frames are welcome.
    Open,
    /// Write what there is, then close.
    CloseAfterFlush(CloseReason),
    /// Close now.
    Close(CloseReason),
}

#[derive(Debug)]
enum Pending {
    Connect(ConnectRequest),
    Write {
        xid: i32,
        body: WriteBody,
        ids: Arc<[Id]>,
    },
    Read {
        xid: i32,
        request: Request,
        ids: Arc<[Id]>,
    },
    /// A reply that is known already, in its turn.
    Known(KnownReply),
}

impl Pending {
    /// The path of the node that is read.
    fn reads(&self) -> Option<&str> {
        match self {
            Self::Read { request, .. } => request.path().map(Text::as_str),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct KnownReply {
    xid: i32,
    /// `None` is the newest transaction applied when its turn comes.
    zxid: Option<Zxid>,
    err: i32,
    /// What follows the header.
    body: Vec<u8>,
    /// Whether the connection closes behind it.
    last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet but perhaps parts of a frame.
    Handshake,
    /// The handshake is with the replica.
    Connecting,
    Attached(SessionId),
    /// What comes now is not looked at.
    Ending,
}

/// One connection.
#[derive(Debug)]
pub struct ClientConn {
    id: ConnId,
    params: Arc<ConnParams>,
    peer: String,
    ids: Arc<[Id]>,
    // Whether the watch tables have yet to hear of `ids`.
    ids_changed: bool,
    phase: Phase,
    // The session of the requests in `queue`; it outlasts the phase.
    session: SessionId,
    // Requests not yet begun, in order.
    queue: VecDeque<Pending>,
    // Writes that the replica has and that are not answered yet. No read begins before they are.
    in_flight: usize,
}

impl ClientConn {
    /// A connection from `peer`, an address in Java's textual form.
    #[must_use]
    pub fn new(id: ConnId, peer: String, params: Arc<ConnParams>) -> Self {
        let ids = Arc::from([Id::new("ip", peer.as_str())]);
        Self {
            id,
            params,
            peer,
            ids,
            ids_changed: false,
            phase: Phase::Handshake,
            session: SessionId::NONE,
            queue: VecDeque::new(),
            in_flight: 0,
        }
    }

    /// The session, once there is one.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self.phase {
            Phase::Attached(session) => Some(session),
            _ => None,
        }
    }

    /// Whether the handshake frame is still to come.
    #[must_use]
    pub fn is_before_handshake(&self) -> bool {
        self.phase == Phase::Handshake
    }

    /// Whether frames are welcome: not while the handshake is with the replica.
    #[must_use]
    pub fn wants_frames(&self) -> bool {
        self.phase != Phase::Connecting
    }

    /// The connection's identities.
    #[must_use]
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// Requests that are not answered yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.queue.len() + self.in_flight
    }

    /// Whether [`Self::advance`] would do something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self.queue.front() {
            None => false,
            Some(Pending::Write { .. } | Pending::Connect(_)) => true,
            Some(Pending::Read { .. } | Pending::Known(_)) => self.in_flight == 0,
        }
    }

    /// Takes a whole frame.
    ///
    /// # Errors
    /// When the frame is such that the connection closes at once.
    pub fn on_frame(
        &mut self,
        frame: &Bytes,
        auth: &dyn Authenticator,
    ) -> Result<FrameKind, CloseReason> {
        match self.phase {
            Phase::Handshake => self.on_handshake(frame),
            Phase::Attached(_) => self.on_request(frame, auth),
            Phase::Connecting | Phase::Ending => Ok(FrameKind::Ignored),
        }
    }

    fn on_handshake(&mut self, frame: &Bytes) -> Result<FrameKind, CloseReason> {
        let mut reader = jute_codec::Reader::with_limit(frame, self.params.field_bytes_max);
        let request = ConnectRequest::read(&mut reader).map_err(|_| CloseReason::Malformed)?;
        self.phase = Phase::Connecting;
        self.queue.push_back(Pending::Connect(request));
        Ok(FrameKind::Handshake)
    }

    fn on_request(
        &mut self,
        frame: &Bytes,
        auth: &dyn Authenticator,
    ) -> Result<FrameKind, CloseReason> {
        let (header, mut reader) =
            request::split(frame, self.params.field_bytes_max).ok_or(CloseReason::Malformed)?;
        if self.lacks_required_identity(&header) {
            let err = ErrorCode::SessionClosedRequireSaslAuth;
            self.end_with(KnownReply::new(header.xid, Some(Zxid::ZERO), err));
            return Ok(FrameKind::Request(header));
        }
        match request::parse(&header, &mut reader) {
            Parsed::Write(body) => {
                let closes = matches!(body, WriteBody::Request(Request::CloseSession));
                self.queue.push_back(Pending::Write {
                    xid: header.xid,
                    body,
                    ids: Arc::clone(&self.ids),
                });
                if closes {
                    self.phase = Phase::Ending;
                }
            }
            Parsed::Read(request @ Request::Sync(_)) if self.params.sync_by_replica => {
                self.queue.push_back(Pending::Write {
                    xid: header.xid,
                    body: WriteBody::Request(request),
                    ids: Arc::clone(&self.ids),
                });
            }
            Parsed::Read(request) => {
                self.queue.push_back(Pending::Read {
                    xid: header.xid,
                    request,
                    ids: Arc::clone(&self.ids),
                });
            }
            Parsed::Inline(request) => self.on_auth(header.xid, &request, auth)?,
            Parsed::Fails(code) => self
                .queue
                .push_back(Pending::Known(KnownReply::new(header.xid, None, code))),
            Parsed::Unknown => {
                self.end_with(KnownReply::new(
                    header.xid,
                    Some(Zxid(-1)),
                    ErrorCode::Unimplemented,
                ));
            }
            Parsed::Close => return Err(CloseReason::Malformed),
        }
        Ok(FrameKind::Request(header))
    }

    fn lacks_required_identity(&self, header: &RequestHeader) -> bool {
        let Some(schemes) = &self.params.required_schemes else {
            return false;
        };
        let is_auth = matches!(
            OpCode::from_i32(header.op),
            Some(OpCode::Auth | OpCode::Sasl)
        );
        let held = |id: &Id| {
            id.scheme
                .as_deref()
                .is_some_and(|held| schemes.iter().any(|scheme| scheme == held))
        };
        !is_auth && !self.ids.iter().any(held)
    }

    /// auth takes effect as it comes in, for the requests behind it; it is answered in its turn.
    fn on_auth(
        &mut self,
        xid: i32,
        request: &Request,
        auth: &dyn Authenticator,
    ) -> Result<(), CloseReason> {
        let packet = match request {
            Request::Auth(packet) => packet,
            // No SASL mechanism is offered. The form is that of a failed exchange: the code, a null token, the end.
            Request::Sasl(sasl) if sasl.token.is_some() => {
                let mut reply = KnownReply::new(xid, Some(Zxid::ZERO), ErrorCode::AuthFailed);
                (-1i32).write(&mut reply.body);
                self.end_with(reply);
                return Ok(());
            }
            _ => return Err(CloseReason::Malformed),
        };
        let scheme = packet.scheme.as_deref().unwrap_or_default();
        match auth.authenticate(scheme, packet.auth.as_deref(), &self.peer) {
            AuthOutcome::Accepted(ids) => {
                self.add_ids(ids);
                self.queue
                    .push_back(Pending::Known(KnownReply::ok(xid, Zxid::ZERO)));
                Ok(())
            }
            AuthOutcome::Refused => {
                self.end_with(KnownReply::new(
                    xid,
                    Some(Zxid::ZERO),
                    ErrorCode::AuthFailed,
                ));
                Ok(())
            }
            AuthOutcome::Dropped => Err(CloseReason::AuthDropped),
        }
    }

    fn add_ids(&mut self, ids: Vec<Id>) {
        let mut all = self.ids.to_vec();
        for id in ids {
            if !all.contains(&id) {
                all.push(Id {
                    scheme: id.scheme.as_ref().map(Text::detached),
                    id: id.id.as_ref().map(Text::detached),
                });
            }
        }
        self.ids = all.into();
        self.ids_changed = true;
    }

    fn end_with(&mut self, reply: KnownReply) {
        self.queue.push_back(Pending::Known(KnownReply {
            last: true,
            ..reply
        }));
        self.phase = Phase::Ending;
    }

    /// Drops what waits, and looks at nothing that still comes: a handshake that load forbids must not reach the
    /// replica, which would close the session's other connection for it.
    pub fn abandon(&mut self) {
        self.queue.clear();
        self.phase = Phase::Ending;
    }

    /// The replica has answered the handshake; no session when it failed.
    pub fn on_connected(&mut self, session: SessionId, state: &State) {
        if session == SessionId::NONE {
            self.phase = Phase::Ending;
            return;
        }
        self.phase = Phase::Attached(session);
        self.session = session;
        self.ids_changed = false;
        state.watches().attach(self.id, session, &self.ids);
    }

    /// The replica has answered the oldest write in flight.
    pub fn on_reply(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Begins what can be begun: reads are answered into `out`, writes go to `submissions`.
    ///
    /// `outputs` of the replica that were handed on before the caller took hold of `state` must stand in `out`
    /// already (`EventBeforeReveal`). Stops when `out` holds `out_bytes_max` bytes; what waits then goes on waiting.
    pub fn advance(
        &mut self,
        state: &State,
        auth: &dyn Authenticator,
        out_bytes_max: usize,
        out: &mut Vec<u8>,
        submissions: &mut Vec<Submission>,
    ) -> Advance {
        if !state.is_serving() {
            return Advance::Close(CloseReason::NotServing);
        }
        if self.ids_changed {
            self.ids_changed = false;
            state.watches().set_ids(self.id, &self.ids);
        }
        let mut fetched = 0;
        while self.is_ready() && out.len() < out_bytes_max {
            if fetched == 0 {
                fetched = FETCHED_AT_ONCE;
                let next = self.queue.iter().take(FETCHED_AT_ONCE);
                state.tree.fetch(next.filter_map(Pending::reads));
            }
            fetched -= 1;
            let Some(pending) = self.queue.pop_front() else {
                break;
            };
            match pending {
                Pending::Connect(request) => {
                    let (client, server) = (request.last_zxid_seen, state.last_zxid());
                    if client > server {
                        return Advance::Close(CloseReason::ClientAhead { client, server });
                    }
                    submissions.push(Submission::Connect {
                        conn: self.id,
                        request,
                    });
                }
                Pending::Write { xid, body, ids } => {
                    self.in_flight += 1;
                    let session = self.session;
                    submissions.push(Submission::Write(ClientRequest {
                        conn: self.id,
                        session,
                        xid,
                        body,
                        ids,
                    }));
                }
                Pending::Read { xid, request, ids } => {
                    let session = self.session;
                    let reader = Reader {
                        state,
                        conn: self.id,
                        session,
                        ids: &ids,
                        peer_auth: auth,
                    };
                    reader.answer(xid, &request, out);
                }
                Pending::Known(reply) => {
                    let last = reply.last;
                    reply.write(state.last_zxid(), out);
                    if last {
                        return Advance::CloseAfterFlush(CloseReason::Finished);
                    }
                }
            }
        }
        Advance::Open
    }

    /// Gives back memory that a burst of requests took.
    pub fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > QUEUE_KEPT {
            self.queue = VecDeque::new();
        }
    }

    /// Answers the newest waiting request with `code`, in its turn, instead of carrying it out; used where load
    /// forbids it. Whether there was one that may be refused like that.
    pub fn refuse_newest(&mut self, code: ErrorCode) -> bool {
        let Some(newest) = self.queue.back_mut() else {
            return false;
        };
        let xid = match newest {
            Pending::Read {
                request: Request::Ping,
                ..
            }
            | Pending::Connect(_)
            | Pending::Known(_) => return false,
            Pending::Write {
                body: WriteBody::Request(Request::CloseSession | Request::CreateSession { .. }),
                ..
            } => {
                return false;
            }
            Pending::Write { xid, .. } | Pending::Read { xid, .. } => *xid,
        };
        *newest = Pending::Known(KnownReply::new(xid, None, code));
        true
    }
}

/// What a frame was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameKind {
    /// The handshake.
    Handshake,
    /// A request.
    Request(RequestHeader),
    /// Not looked at: the connection is ending.
    Ignored,
}

impl KnownReply {
    fn new(xid: i32, zxid: Option<Zxid>, code: ErrorCode) -> Self {
        Self {
            xid,
            zxid,
            err: code.code(),
            body: Vec::new(),
            last: false,
        }
    }

    fn ok(xid: i32, zxid: Zxid) -> Self {
        Self {
            xid,
            zxid: Some(zxid),
            err: 0,
            body: Vec::new(),
            last: false,
        }
    }

    fn write(&self, last_zxid: Zxid, out: &mut Vec<u8>) {
        write_frame(out, |out| {
            ReplyHeader {
                xid: self.xid,
                zxid: self.zxid.unwrap_or(last_zxid),
                err: self.err,
            }
            .write(out);
            out.extend_from_slice(&self.body);
        });
    }
}
