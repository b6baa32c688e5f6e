//! What a session is, apart from its sockets: requests in order, replies, watches, time.
//!
//! Pure: bytes and the time come in as arguments, bytes go out into a buffer. Invariants: requests are answered in the
//! order in which they were sent; a write is sent at most once; a request that was never sent is never reported as
//! possibly carried out.
//!
//! ZooKeeper: `ClientCnxn`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::frame::write_frame;
use jute_codec::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, PASSWORD_BYTES, Reply, ReplyHeader, Request,
    RequestHeader, WatcherEvent, xid,
};
use jute_codec::{DecodeError, ErrorCode, Jute, Reader, SessionId, Zxid};
use thiserror::Error as ThisError;
use tokio::sync::{oneshot, watch};

use super::chroot::Chroot;
use super::error::Error;
use super::watches::{WatchTable, Wish};
use super::{Credential, Options, State};

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<Reply, Error>>;

/// A request, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) answer: Answer,
    /// A watch on the server's path, kept once the request has succeeded.
    pub(super) watch: Option<(String, Wish)>,
}

/// Why a connection is given up; the session goes on with another.
#[derive(Debug, ThisError)]
pub(super) enum LinkError {
    #[error("it sent what cannot be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("it answered request {got} where {expected} was due")]
    OutOfOrder { expected: i32, got: i32 },
    #[error("it answered request {0}, which there was not")]
    Unasked(i32),
    #[error("nothing was heard from it for {} ms", .0.as_millis())]
    Silent(Duration),
}

#[derive(Debug)]
struct InFlight {
    xid: i32,
    sent: Instant,
    pending: Pending,
}

/// A credential, presented on every connection.
#[derive(Debug)]
struct Presented {
    credential: Credential,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Between connections.
    Down,
    /// The handshake was sent at this time and has not been answered.
    ShakingHands {
        since: Instant,
    },
    Up {
        read_only: bool,
    },
    /// For good: what everything is answered from now on.
    Ended(Error),
}

/// One session.
#[derive(Debug)]
pub(super) struct Core {
    options: Options,
    chroot: Chroot,
    /// How long one server is given for the handshake.
    hello_patience: Duration,
    id: SessionId,
    password: [u8; PASSWORD_BYTES],
    /// As negotiated, or as wished for.
    timeout: Duration,
    seen: Zxid,
    phase: Phase,
    /// Not yet sent, in order.
    unsent: VecDeque<Pending>,
    /// Sent and not yet answered, in order.
    in_flight: VecDeque<InFlight>,
    credentials: Vec<Presented>,
    /// Credentials sent and not yet answered, by index, in order.
    auths: VecDeque<usize>,
    /// When pings were sent that are not yet answered.
    pings: VecDeque<Instant>,
    watches: WatchTable,
    last_xid: i32,
    last_sent: Instant,
    last_heard: Instant,
    /// Until when the session is known not to have expired: counted from when the newest request that was answered
    /// left here, as a server cannot have heard it earlier.
    vouched_until: Option<Instant>,
    state: watch::Sender<State>,
}

impl Core {
    pub(super) fn new(
        options: Options,
        chroot: Chroot,
        hello_patience: Duration,
        now: Instant,
    ) -> (Self, watch::Receiver<State>) {
        let (state, states) = watch::channel(State::Connecting);
        let credentials = options.credentials.iter().cloned();
        let core = Self {
            credentials: credentials.map(Presented::silent).collect(),
            timeout: options.timeout,
            options,
            chroot,
            hello_patience,
            id: SessionId::NONE,
            password: [0; PASSWORD_BYTES],
            seen: Zxid::ZERO,
            phase: Phase::Down,
            unsent: VecDeque::new(),
            in_flight: VecDeque::new(),
            auths: VecDeque::new(),
            pings: VecDeque::new(),
            watches: WatchTable::default(),
            last_xid: 0,
            last_sent: now,
            last_heard: now,
            vouched_until: None,
            state,
        };
        (core, states)
    }

    /// Takes a request: it is sent now, or on the next connection.
    pub(super) fn submit(&mut self, pending: Pending, now: Instant, out: &mut Vec<u8>) {
        match &self.phase {
            Phase::Ended(error) => drop(pending.answer.send(Err(error.clone()))),
            Phase::Up { .. } => self.send(pending, now, out),
            Phase::Down | Phase::ShakingHands { .. } => self.unsent.push_back(pending),
        }
    }

    /// Takes a credential, to be presented now and on every connection to come.
    pub(super) fn add_credential(
        &mut self,
        credential: Credential,
        answer: Answer,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        if let Phase::Ended(error) = &self.phase {
            drop(answer.send(Err(error.clone())));
            return;
        }
        self.credentials.push(Presented {
            credential,
            answer: Some(answer),
        });
        if matches!(self.phase, Phase::Up { .. }) {
            self.present(self.credentials.len() - 1, now, out);
        }
    }

    /// Begins a connection.
    pub(super) fn on_link(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.phase = Phase::ShakingHands { since: now };
        let timeout_ms = self.options.timeout.as_millis();
        write_frame(out, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: self.seen,
                timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
                session: self.id,
                password: Some(Bytes::copy_from_slice(&self.password)),
                read_only: Some(self.options.read_only_allowed),
            }
            .write(out);
        });
    }

    /// Takes a frame from the server.
    pub(super) fn on_frame(
        &mut self,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkError> {
        self.last_heard = now;
        let mut reader = Reader::with_limit(frame, frame.len());
        if let Phase::ShakingHands { since } = self.phase {
            self.on_hello(&ConnectResponse::read(&mut reader)?, since, now, out);
            return Ok(());
        }
        let header = ReplyHeader::read(&mut reader)?;
        match header.xid {
            xid::NOTIFICATION => {
                let event = WatcherEvent::read(&mut reader)?;
                self.watches.fire(&event, header.zxid, &self.chroot);
                Ok(())
            }
            xid::PING => {
                if let Some(sent) = self.pings.pop_front() {
                    self.vouch(sent);
                }
                Ok(())
            }
            xid::SET_WATCHES => Ok(()),
            xid::AUTH => self.on_auth(header.err),
            _ => self.on_reply(&header, &mut reader),
        }
    }

    /// The connection is gone: what was sent is unknown, reads are asked again.
    pub(super) fn on_link_lost(&mut self) {
        self.auths.clear();
        self.pings.clear();
        let mut again = VecDeque::new();
        for sent in self.in_flight.drain(..) {
            if sent.pending.answer.is_closed() {
                continue;
            }
            if may_be_sent_again(&sent.pending.request) {
                again.push_back(sent.pending);
            } else {
                drop(sent.pending.answer.send(Err(Error::ConnectionLoss)));
            }
        }
        again.append(&mut self.unsent);
        self.unsent = again;
        if self.has_ended() {
            return;
        }
        self.phase = Phase::Down;
        if self.id != SessionId::NONE {
            self.show(State::Suspended);
        }
    }

    /// Looks at the clock: pings, gives up a silent server, says when the session can have expired.
    pub(super) fn on_time(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.vouched_until.is_some_and(|until| now >= until) && !self.is_read_only() {
            self.show(State::Overdue);
        }
        match self.phase {
            Phase::ShakingHands { since } if now >= since + self.hello_patience => {
                Err(LinkError::Silent(self.hello_patience))
            }
            Phase::Up { .. } => {
                let silence = self.silence_max();
                if now >= self.last_heard + silence {
                    return Err(LinkError::Silent(silence));
                }
                if now >= self.last_sent + self.ping_interval() {
                    self.pings.push_back(now);
                    self.write(xid::PING, &Request::Ping, now, out);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// When to look at the clock again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let overdue = self
            .vouched_until
            .filter(|until| *until > now && !self.is_read_only());
        let link = match self.phase {
            Phase::ShakingHands { since } => Some(since + self.hello_patience),
            Phase::Up { .. } => Some(
                (self.last_heard + self.silence_max()).min(self.last_sent + self.ping_interval()),
            ),
            Phase::Down | Phase::Ended(_) => None,
        };
        [overdue, link].into_iter().flatten().min()
    }

    /// Ends the session on this side: everything is answered with `error` from now on.
    pub(super) fn end(&mut self, error: Error) {
        self.show(match &error {
            Error::SessionExpired => State::Expired,
            Error::AuthFailed { .. } => State::AuthFailed,
            _ => State::Closed,
        });
        for sent in self.in_flight.drain(..) {
            let unknown = !may_be_sent_again(&sent.pending.request);
            let error = if unknown {
                Error::ConnectionLoss
            } else {
                error.clone()
            };
            drop(sent.pending.answer.send(Err(error)));
        }
        for pending in self.unsent.drain(..) {
            drop(pending.answer.send(Err(error.clone())));
        }
        for presented in &mut self.credentials {
            if let Some(answer) = presented.answer.take() {
                drop(answer.send(Err(error.clone())));
            }
        }
        self.watches.end(&error);
        self.watches = WatchTable::default();
        self.phase = Phase::Ended(error);
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether a server has given a session, or may be about to.
    pub(super) fn has_session(&self) -> bool {
        self.id != SessionId::NONE || self.phase != Phase::Down
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.phase == Phase::Up { read_only: true }
    }

    fn on_hello(
        &mut self,
        response: &ConnectResponse,
        since: Instant,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let timeout_ms = match u64::try_from(response.timeout_ms) {
            Ok(timeout_ms) if timeout_ms > 0 => timeout_ms,
            _ => return self.end(Error::SessionExpired),
        };
        self.timeout = Duration::from_millis(timeout_ms);
        let read_only = response.read_only.unwrap_or(false);
        self.phase = Phase::Up { read_only };
        // A read-only server's session is its own: the others do not know it.
        if !read_only {
            self.id = response.session;
            self.password = response.password;
            self.vouch(since);
        }
        for index in 0..self.credentials.len() {
            self.present(index, now, out);
        }
        for request in self.watches.register(self.seen) {
            self.write(xid::SET_WATCHES, &request, now, out);
        }
        self.watches.tell_missed();
        self.show(if read_only {
            State::ConnectedReadOnly {
                session: response.session,
            }
        } else {
            State::Connected {
                session: self.id,
                timeout: self.timeout,
            }
        });
        for pending in std::mem::take(&mut self.unsent) {
            // Whoever gave up waiting does not want it done.
            if !pending.answer.is_closed() {
                self.send(pending, now, out);
            }
        }
    }

    fn on_auth(&mut self, err: i32) -> Result<(), LinkError> {
        let index = self.auths.pop_front();
        let presented = index.and_then(|index| self.credentials.get_mut(index));
        let presented = presented.ok_or(LinkError::Unasked(xid::AUTH))?;
        if err != 0 {
            let scheme = presented.credential.scheme.clone();
            self.end(Error::AuthFailed { scheme });
        } else if let Some(answer) = presented.answer.take() {
            drop(answer.send(Ok(Reply::Empty)));
        }
        Ok(())
    }

    fn on_reply(&mut self, header: &ReplyHeader, reader: &mut Reader<'_>) -> Result<(), LinkError> {
        let Some(sent) = self.in_flight.pop_front() else {
            return Err(LinkError::Unasked(header.xid));
        };
        if sent.xid != header.xid {
            let error = LinkError::OutOfOrder {
                expected: sent.xid,
                got: header.xid,
            };
            self.in_flight.push_front(sent);
            return Err(error);
        }
        if header.zxid > Zxid::ZERO {
            self.seen = header.zxid.max(self.seen);
        }
        self.vouch(sent.sent);
        let Pending {
            request,
            answer,
            watch,
        } = sent.pending;
        let result = match header.err {
            0 => Reply::read(request.op(), reader).map_err(Error::Decode),
            code => Err(Error::Server(code)),
        };
        if let Some((path, wish)) = watch {
            let is_there = result.is_ok();
            let waits = matches!(wish, Wish::Exists(_))
                && result == Err(Error::Server(ErrorCode::NoNode.code()));
            if is_there || waits {
                self.watches.keep(path, wish, is_there);
            }
        }
        let closed = matches!(request, Request::CloseSession) && result.is_ok();
        drop(answer.send(result));
        if closed {
            self.end(Error::Closed);
        }
        Ok(())
    }

    fn send(&mut self, pending: Pending, now: Instant, out: &mut Vec<u8>) {
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        let xid = self.last_xid;
        self.write(xid, &pending.request, now, out);
        self.in_flight.push_back(InFlight {
            xid,
            sent: now,
            pending,
        });
    }

    fn present(&mut self, index: usize, now: Instant, out: &mut Vec<u8>) {
        let credential = &self.credentials[index].credential;
        let packet = Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some(credential.scheme.as_str().into()),
            auth: Some(credential.secret.clone()),
        });
        self.write(xid::AUTH, &packet, now, out);
        self.auths.push_back(index);
    }

    fn write(&mut self, xid: i32, request: &Request, now: Instant, out: &mut Vec<u8>) {
        self.last_sent = now;
        let op = request.op().code();
        write_frame(out, |out| {
            RequestHeader { xid, op }.write(out);
            request.write_body(out);
        });
    }

    /// The server has answered what was sent at this time.
    fn vouch(&mut self, sent: Instant) {
        if self.is_read_only() {
            return;
        }
        let until = sent + self.timeout;
        if self.vouched_until.is_none_or(|known| known < until) {
            self.vouched_until = Some(until);
        }
        if *self.state.borrow() == State::Overdue && self.last_heard < until && self.is_up() {
            self.show(State::Connected {
                session: self.id,
                timeout: self.timeout,
            });
        }
    }

    fn show(&self, state: State) {
        self.state.send_if_modified(|shown| {
            // What has ended stays so, and a session that may have expired is not merely suspended.
            let keep = shown.is_over() || (*shown == State::Overdue && state == State::Suspended);
            let changes = !keep && *shown != state;
            if changes {
                *shown = state;
            }
            changes
        });
    }

    fn ping_interval(&self) -> Duration {
        self.timeout / 3
    }

    fn silence_max(&self) -> Duration {
        self.timeout * 2 / 3
    }
}

impl Presented {
    fn silent(credential: Credential) -> Self {
        Self {
            credential,
            answer: None,
        }
    }
}

/// Whether a request changes nothing, so that asking twice is as good as once.
fn may_be_sent_again(request: &Request) -> bool {
    match request {
        Request::Exists(_)
        | Request::GetData(_)
        | Request::GetAcl(_)
        | Request::GetChildren(_)
        | Request::GetChildren2(_)
        | Request::Sync(_)
        | Request::Ping
        | Request::MultiRead(_)
        | Request::CheckWatches(_)
        | Request::RemoveWatches(_)
        | Request::GetEphemerals(_)
        | Request::GetAllChildrenNumber(_)
        | Request::AddWatch(_)
        | Request::WhoAmI
        | Request::CloseSession => true,
        Request::Create(_)
        | Request::Create2(_)
        | Request::CreateContainer(_)
        | Request::CreateTtl(_)
        | Request::Delete(_)
        | Request::DeleteContainer(_)
        | Request::SetData(_)
        | Request::SetAcl(_)
        | Request::Multi(_)
        | Request::Reconfig(_)
        | Request::Auth(_)
        | Request::Sasl(_)
        | Request::SetWatches(_)
        | Request::SetWatches2(_)
        | Request::CreateSession { .. } => false,
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
