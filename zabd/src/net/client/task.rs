//! One connection's task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use jute_codec::proto::{OpCode, RequestHeader};
use jute_codec::{ErrorCode, SessionId};
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::ClientContext;
use super::closing::{self, Cause};
use super::inbound::Inbound;
use super::link::Ending;
use super::outgoing::Outgoing;
use super::params::NetParams;
use super::registered::Registered;
use super::serve::Shared;
use super::tally::{self, Answered, Entry, Tally};
use super::worker::Accepted;
use crate::net::addr::{HostAddress, SocketAddress};
use crate::net::throttle::HandshakeKind;
use crate::state::conn::{Advance, ClientConn, FrameKind, Submission};

/// A connection lets others of its thread go on after so many rounds of reading, answering and writing.
const ROUNDS: usize = 4;

/// Frames taken in one round.
const FRAMES_A_ROUND: usize = 256;

/// Bytes of a request header: no request is shorter.
const HEADER_BYTES: usize = 8;

/// Bytes that are read for a connection that is held back, to see whether its client goes.
const HELD_BACK_BYTES_MAX: usize = 64 << 10;

/// Runs a connection from accept to close.
pub(super) async fn run(accepted: Accepted, shared: Arc<Shared>) {
    let Accepted { stream, connection } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            warn!(%error, "a connection cannot be watched");
            return;
        }
    };
    let peer = connection.link.peer;
    let mut task = Task::new(stream, connection);
    let cause = poll_fn(|cx| task.poll(cx)).await;
    let session = task.conn.session().unwrap_or_default();
    match &cause {
        Cause::Overflow => {
            warn!(client = %SocketAddress(peer), %session, %cause, "connection ends")
        }
        _ => debug!(client = %SocketAddress(peer), %session, %cause, "connection ends"),
    }
    let (stream, rest) = task.end(&cause);
    closing::close(stream, rest, cause, shared).await;
}

struct Task {
    stream: TcpStream,
    registered: Registered,
    conn: ClientConn,
    inbound: Inbound,
    out: Outgoing,
    tally: Tally,
    submissions: Vec<Submission>,
    // Writes that the replica has and that are not answered yet.
    in_flight: usize,
    // When the handshake came, in microseconds, if it asks for a new session.
    asked_session_us: Option<i64>,
    // What large frames take of which the end is not there yet.
    large_bytes: usize,
    // The result code and transaction of the last write answered.
    last_reply: (i64, i32),
    phase: Phase,
}

/// What the task found at the end of its last round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no whole frame.
    Starved,
    /// There are frames to take, perhaps when something else has happened.
    Sated,
    /// The request throttle holds frames back.
    HeldBack,
}

impl Task {
    fn new(stream: TcpStream, registered: Registered) -> Self {
        let link = &registered.link;
        let peer = HostAddress(link.peer.ip()).to_string();
        let conn = ClientConn::new(
            link.conn,
            peer,
            Arc::clone(&registered.shared.ctx.conn_params),
        );
        Self {
            stream,
            registered,
            conn,
            inbound: Inbound::default(),
            out: Outgoing::default(),
            tally: Tally::default(),
            submissions: Vec::new(),
            in_flight: 0,
            asked_session_us: None,
            large_bytes: 0,
            last_reply: (0, 0),
            phase: Phase::Starved,
        }
    }

    fn ctx(&self) -> &ClientContext {
        &self.registered.shared.ctx
    }

    fn params(&self) -> &NetParams {
        &self.ctx().params
    }

    /// Gives all places back; the socket and what is left to send.
    fn end(self, cause: &Cause) -> (TcpStream, Vec<u8>) {
        let stats = &self.ctx().stats;
        match cause {
            Cause::Gone | Cause::Socket(_) => stats.connections_dropped.add(1),
            Cause::Silent => stats.sessionless_connections_expired.add(1),
            Cause::Overflow => stats.slow_clients_closed.add(1),
            _ => {}
        }
        (self.stream, self.out.into_rest())
    }

    /// Goes on until there is nothing to do, or it is the turn of others.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        self.registered.link.set_waker(cx.waker());
        for _ in 0..ROUNDS {
            match self.round(cx) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => {
                    self.rest();
                    return Poll::Pending;
                }
                Err(cause) => return Poll::Ready(cause),
            }
        }
        cx.waker().wake_by_ref();
        self.rest();
        Poll::Pending
    }

    /// Takes frames, answers, sends, receives: each as far as it goes. Pending: nothing more can be done now.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Cause> {
        // What came before a frame that ends the connection is still carried out.
        let parsed = self.take_frames();
        let worked = self.work();
        parsed?;
        worked?;
        let was_full = self.is_full();
        if self.out.poll_send(&mut self.stream, cx)? {
            self.touch();
        }
        if was_full && !self.is_full() || self.is_ready_to_take() {
            return Ok(Poll::Ready(()));
        }
        if !self.is_ready_to_read() {
            return Ok(Poll::Pending);
        }
        match self.inbound.poll_fill(&mut self.stream, cx)? {
            Poll::Ready(0) => Err(Cause::Gone),
            Poll::Ready(bytes) => {
                if self.phase != Phase::HeldBack {
                    self.inbound.set_filled_us(self.ctx().clock.now_us());
                }
                self.ctx().stats.bytes_received.add(bytes as u64);
                self.touch();
                Ok(Poll::Ready(()))
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn touch(&self) {
        self.registered.link.set_io_ms(self.ctx().clock.now_ms());
    }

    /// Whether the client has so much to take that it gets no more.
    fn is_full(&self) -> bool {
        self.out.unsent() >= self.params().out_bytes_max
    }

    fn is_ready_to_take(&self) -> bool {
        self.phase == Phase::Sated
            && self.inbound.has_frame(self.params().frame_bytes_max)
            && self.welcomes_frames(self.registered.outstanding_elsewhere())
    }

    fn is_ready_to_read(&self) -> bool {
        let has_frame = || self.inbound.has_frame(self.params().frame_bytes_max);
        match self.phase {
            Phase::Sated if has_frame() => false,
            Phase::Starved | Phase::Sated => {
                self.welcomes_frames(self.registered.outstanding_elsewhere())
            }
            Phase::HeldBack => {
                self.params().request_stale_connection_check
                    && self.inbound.bytes().len() < HELD_BACK_BYTES_MAX
            }
        }
    }

    /// Whether the connection may have another request, with so many under way on others.
    fn welcomes_frames(&self, outstanding_elsewhere: usize) -> bool {
        let own = self.conn.outstanding();
        self.conn.wants_frames()
            && !self.is_full()
            && own < self.params().conn_outstanding_max
            && (own == 0 || own + outstanding_elsewhere <= self.params().global_outstanding_limit)
    }

    /// Frames go to the connection's machine as long as it wants them.
    fn take_frames(&mut self) -> Result<(), Cause> {
        let elsewhere = self.registered.outstanding_elsewhere();
        let (mut taken, mut heard) = (0, false);
        self.phase = Phase::Sated;
        let result = loop {
            if taken == FRAMES_A_ROUND || !self.welcomes_frames(elsewhere) {
                break Ok(());
            }
            match self.next_frame() {
                Ok(Some(frame)) => {
                    taken += 1;
                    match self.on_frame(&frame) {
                        Ok(touches) => heard |= touches,
                        Err(cause) => break Err(cause),
                    }
                }
                Ok(None) => break Ok(()),
                Err(cause) => break Err(cause),
            }
        };
        if taken != 0 {
            self.ctx().stats.packets_received.add(taken as u64);
            self.registered.link.stats().received += taken as u64;
        }
        if heard {
            self.registered
                .link
                .set_heard_ms(self.inbound.filled_us() / 1000);
        }
        result
    }

    /// The next frame, or none: then `phase` says why.
    fn next_frame(&mut self) -> Result<Option<Bytes>, Cause> {
        let before_handshake = self.conn.is_before_handshake();
        if before_handshake && let Some(word) = self.inbound.bytes().first_chunk() {
            self.maybe_answer_word(*word)?;
        }
        if self.phase == Phase::Starved {
            return Ok(None);
        }
        let limit = self.params().frame_bytes_max;
        let Some(length) = self.inbound.peek(limit)? else {
            self.phase = Phase::Starved;
            return Ok(None);
        };
        if !before_handshake && length < HEADER_BYTES {
            return Err(Cause::FrameTooShort(length));
        }
        self.take_room(length)?;
        if !before_handshake && self.is_held_back()? {
            self.phase = Phase::HeldBack;
            return Ok(None);
        }
        let frame = self.inbound.take(limit)?;
        if frame.is_none() {
            self.phase = Phase::Starved;
        }
        Ok(frame)
    }

    /// Answers a four-letter word, which ends the connection; does nothing if it is none.
    fn maybe_answer_word(&mut self, word: [u8; 4]) -> Result<(), Cause> {
        let words = Arc::clone(&self.ctx().four_letter);
        if !words.is_command(word) {
            return Ok(());
        }
        let argument = &self.inbound.bytes()[word.len()..];
        let wanted = words.argument_bytes(word);
        if argument.len() < wanted {
            self.phase = Phase::Starved;
            return Ok(());
        }
        let link = &self.registered.link;
        link.set_interest_ops(0);
        link.stats().received += 1;
        self.ctx().stats.packets_received.add(1);
        let listener = self.registered.shared.listener(link.listener);
        let answer = words.answer(word, &argument[..wanted], link.conn, &listener);
        self.out.buffer().extend_from_slice(&answer);
        Err(Cause::FourLetter)
    }

    /// Takes room for a large frame, once.
    fn take_room(&mut self, length: usize) -> Result<(), Cause> {
        let large = self
            .params()
            .large_request_threshold
            .is_some_and(|threshold| length > threshold);
        if large && self.large_bytes == 0 {
            if !self.registered.take_large(length) {
                self.ctx().stats.large_requests_rejected.add(1);
                return Err(Cause::LargeRequests);
            }
            self.large_bytes = length;
        }
        Ok(())
    }

    /// Whether the request throttle holds the next frame back.
    ///
    /// ZooKeeper: `RequestThrottler.run`.
    fn is_held_back(&mut self) -> Result<bool, Cause> {
        let limit = self.params().request_throttle_max_requests;
        if limit == 0 {
            return Ok(false);
        }
        self.registered.set_outstanding(self.conn.outstanding());
        if self.registered.outstanding_elsewhere() + self.conn.outstanding() < limit {
            return Ok(false);
        }
        let timeout_ms = self.registered.link.timeout_ms();
        if self.params().request_stale_latency_check && self.waited_ms() > timeout_ms {
            self.ctx().stats.stale_requests.add(1);
            if self.params().request_throttle_drop_stale {
                self.ctx().stats.stale_requests_dropped.add(1);
                return Err(Cause::Stale);
            }
        }
        Ok(true)
    }

    /// How long the frames received have been waiting.
    fn waited_ms(&self) -> i64 {
        (self.ctx().clock.now_us() - self.inbound.filled_us()) / 1000
    }

    /// Whether the session was heard of with it.
    fn on_frame(&mut self, frame: &Bytes) -> Result<bool, Cause> {
        let before = self.conn.outstanding();
        let kind = self
            .conn
            .on_frame(frame, &*self.registered.shared.ctx.auth)?;
        match kind {
            FrameKind::Handshake => self.on_handshake(frame)?,
            FrameKind::Request(header) => {
                if self.conn.outstanding() > before {
                    self.on_request(&header);
                }
                let op = OpCode::from_i32(header.op);
                return Ok(!matches!(op, Some(OpCode::Auth | OpCode::Sasl)));
            }
            FrameKind::Ignored => self.free_room(),
        }
        Ok(false)
    }

    fn on_handshake(&mut self, frame: &Bytes) -> Result<(), Cause> {
        self.free_room();
        self.ctx().stats.connection_requests.add(1);
        // The session asked for: behind version, zxid and timeout, as the machine has just decoded it.
        let renews = frame.get(16..24).is_some_and(|session| session != [0; 8]);
        let kind = match renews {
            true => HandshakeKind::Renew,
            false if self.params().local_sessions => HandshakeKind::Local,
            false => HandshakeKind::Global,
        };
        if !self
            .registered
            .shared
            .admit(kind, self.inbound.filled_us() / 1000)
        {
            self.ctx().stats.connections_rejected.add(1);
            self.conn.abandon();
            return Err(Cause::ConnectionThrottle);
        }
        if !renews {
            self.asked_session_us = Some(self.inbound.filled_us());
        }
        Ok(())
    }

    fn on_request(&mut self, header: &RequestHeader) {
        let at_us = self.inbound.filled_us();
        let large_bytes = std::mem::take(&mut self.large_bytes);
        self.tally.push(Entry {
            xid: header.xid,
            op: header.op,
            at_us,
            large_bytes,
        });
        let wait_max = self.params().throttled_op_wait_ms;
        if wait_max != 0
            && self.waited_ms().unsigned_abs() > wait_max
            && self.conn.refuse_newest(ErrorCode::ThrottledOp)
        {
            self.ctx().stats.throttled_ops.add(1);
        }
    }

    /// Gives back the room of a large frame that became no request.
    fn free_room(&mut self) {
        let bytes = std::mem::take(&mut self.large_bytes);
        self.registered.give_large(bytes);
    }

    /// Takes what the outbox holds, begins what can be begun, and hands writes to the replica.
    fn work(&mut self) -> Result<(), Cause> {
        if self.is_full() && self.registered.link.outbox().ending.is_none() {
            return Ok(());
        }
        let mark = self.out.mark();
        let result = self.answer();
        if !self.submissions.is_empty() {
            self.registered.submitted = true;
            self.registered
                .shared
                .ctx
                .replica
                .submit(&mut self.submissions);
            // Empty now; a burst's memory is not worth keeping.
            self.submissions.shrink_to(4);
        }
        self.count(mark);
        result
    }

    fn answer(&mut self) -> Result<(), Cause> {
        let mut connected = None;
        if !self.conn.is_ready() || self.is_full() {
            connected = self.take_outbox()?;
        }
        if connected.is_none() && !self.conn.is_ready() {
            return Ok(());
        }
        let shared = Arc::clone(&self.registered.shared);
        let Ok(state) = shared.ctx.state.read() else {
            return Err(Cause::StatePoisoned);
        };
        // Only now is it certain that all events of what can be seen are in the outbox (`EventBeforeReveal`).
        let connected = self.take_outbox()?.or(connected);
        if let Some((session, timeout_ms)) = connected {
            self.conn.on_connected(session, &state);
            if session == SessionId::NONE {
                return Err(Cause::SessionInvalid);
            }
            self.registered.link.set_session(session, timeout_ms);
        }
        let out_bytes_max = self.out.length_max(shared.ctx.params.out_bytes_max);
        let advance = self.conn.advance(
            &state,
            &*shared.ctx.auth,
            out_bytes_max,
            self.out.buffer(),
            &mut self.submissions,
        );
        self.last_reply.0 = state.last_zxid().0;
        drop(state);
        self.in_flight += self
            .submissions
            .iter()
            .filter(|item| matches!(item, Submission::Write(_)))
            .count();
        match advance {
            Advance::Open => Ok(()),
            Advance::CloseAfterFlush(reason) | Advance::Close(reason) => Err(reason.into()),
        }
    }

    /// Moves the outbox behind what is to be sent; what the handshake came to, if it stood in there.
    fn take_outbox(&mut self) -> Result<Option<(SessionId, i32)>, Cause> {
        let mut outbox = self.registered.link.outbox();
        match outbox.ending {
            Some(Ending::Silent) => return Err(Cause::Silent),
            Some(Ending::Overflow) => return Err(Cause::Overflow),
            None | Some(Ending::Told) => {}
        }
        outbox.take_frames(&mut self.out);
        let replies = std::mem::take(&mut outbox.replies);
        let connected = outbox.connected.take();
        let ending = outbox.ending;
        if replies != 0 {
            self.last_reply = outbox.last_reply;
        }
        drop(outbox);
        for _ in 0..replies {
            self.conn.on_reply();
        }
        self.in_flight = self.in_flight.saturating_sub(replies);
        if ending.is_some() {
            return Err(Cause::Told);
        }
        Ok(connected)
    }

    /// Counts what the round came to.
    fn count(&mut self, mark: usize) {
        let left = self.conn.outstanding();
        let added = self.out.added_since(mark);
        // Requests whose client does not take the answers keep nobody else waiting.
        let under_way = if self.is_full() { self.in_flight } else { left };
        self.registered.set_outstanding(under_way);
        let ctx = &self.registered.shared.ctx;
        let mut conn = self.registered.link.stats();
        conn.queued = left;
        if added.frames == 0 {
            return;
        }
        conn.sent += added.frames;
        ctx.stats.packets_sent.add(added.frames);
        ctx.stats.response_bytes.add(added.bytes);
        let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        ctx.stats
            .response_size
            .record(size(added.last), size(added.min), size(added.max));
        let (zxid, last_err) = self.last_reply;
        let answered = Answered {
            now_us: ctx.clock.now_us(),
            zxid,
            last_err,
        };
        if let Some(at_us) = self
            .asked_session_us
            .take_if(|_| self.conn.session().is_some())
        {
            tally::on_session_made(at_us, answered, &ctx.stats, &mut conn);
        }
        let freed = self.tally.answer(left, answered, &ctx.stats, &mut conn);
        drop(conn);
        self.registered.give_large(freed);
    }

    /// Before waiting: gives memory back, and says what is waited for.
    fn rest(&mut self) {
        if self.phase == Phase::HeldBack {
            self.ctx().stats.request_throttle_waits.add(1);
            let link = Arc::clone(&self.registered.link);
            self.registered.link.hub().stall(link);
        }
        self.inbound.shrink();
        self.out.shrink();
        self.tally.shrink();
        self.conn.shrink();
        let reads = u8::from(self.is_ready_to_read());
        let writes = u8::from(self.out.unsent() != 0);
        self.registered.link.set_interest_ops(reads | writes << 2);
    }
}
