//! What a connection shares with the rest of the server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use jute_codec::SessionId;

use super::outgoing::Outgoing;
use super::worker::Hub;
use crate::state::Output;
use crate::state::conn::ConnId;

/// An outbox keeps this much memory when it is empty.
const OUTBOX_BYTES_KEPT: usize = 4096;

/// What a connection is to hear and has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Frames, in order.
    frames: Vec<u8>,
    /// How many of them answer writes.
    pub(super) replies: usize,
    /// The transaction and result code in the last of those.
    pub(super) last_reply: (i64, i32),
    /// What the handshake came to.
    pub(super) connected: Option<(SessionId, i32)>,
    /// Whether, and how, the connection closes behind all that. Nothing is added afterwards.
    pub(super) ending: Option<Ending>,
    // Whether the link is in the hub's list of those to wake.
    in_hub: bool,
}

/// Who ends a connection from outside its task, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The replica or an operator: what is there is written first.
    Told,
    /// Nothing was heard for too long.
    Silent,
    /// The client does not take what it is sent.
    Overflow,
}

impl Outbox {
    /// Moves the frames behind what is in `out`.
    pub(super) fn take_frames(&mut self, out: &mut Outgoing) {
        self.in_hub = false;
        if self.frames.is_empty() {
            return;
        }
        out.buffer().extend_from_slice(&self.frames);
        if self.frames.capacity() > OUTBOX_BYTES_KEPT {
            self.frames = Vec::new();
        } else {
            self.frames.clear();
        }
    }

    fn add(&mut self, output: Output<'_>, bytes_max: usize) {
        let frame = match output {
            Output::Event(frame) => frame,
            Output::Reply(frame) => {
                self.replies += 1;
                self.last_reply = reply_zxid_err(frame);
                frame
            }
            Output::Connected {
                frame,
                session,
                timeout_ms,
            } => {
                self.connected = Some((session, timeout_ms));
                frame
            }
            Output::Close => {
                self.ending = Some(Ending::Told);
                return;
            }
        };
        // One frame fits always: its size is the state's to bound.
        if !self.frames.is_empty() && self.frames.len() + frame.len() > bytes_max {
            self.ending = Some(Ending::Overflow);
            self.frames = Vec::new();
        } else {
            self.frames.extend_from_slice(frame);
        }
    }
}

/// Zxid and result code of a reply: they stand behind the length and the xid.
fn reply_zxid_err(frame: &[u8]) -> (i64, i32) {
    let Some((zxid, rest)) = frame.get(8..).and_then(|rest| rest.split_first_chunk()) else {
        return (0, 0);
    };
    (
        i64::from_be_bytes(*zxid),
        rest.first_chunk().map_or(0, |err| i32::from_be_bytes(*err)),
    )
}

/// What `cons` shows of a connection.
///
/// ZooKeeper: the statistics of `ServerCnxn`. Only for connections with a session is all of it shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnStats {
    /// Requests under way.
    pub queued: usize,
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// The last operation, by its short name in Java; `NA` if there was none.
    pub last_op: &'static str,
    /// The client's number for the last request; -1 if there was none.
    pub last_cxid: i32,
    /// The newest transaction when the last reply was made; -1 if there was none.
    pub last_zxid: i64,
    /// When that was, in monotonic milliseconds.
    pub last_response_ms: i64,
    /// How long the last request took.
    pub last_latency_ms: u64,
    /// The shortest; 0 if there was none.
    pub min_latency_ms: u64,
    /// The longest.
    pub max_latency_ms: u64,
    /// Requests that `total_latency_ms` is the sum of.
    pub count: u64,
    /// All of them together.
    pub total_latency_ms: u64,
}

impl Default for ConnStats {
    fn default() -> Self {
        Self {
            queued: 0,
            received: 0,
            sent: 0,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            min_latency_ms: 0,
            max_latency_ms: 0,
            count: 0,
            total_latency_ms: 0,
        }
    }
}

impl ConnStats {
    /// The mean latency in whole milliseconds, as `cons` has it.
    #[must_use]
    pub const fn avg_latency_ms(&self) -> u64 {
        match self.count {
            0 => 0,
            count => self.total_latency_ms / count,
        }
    }

    pub(super) fn on_answered(&mut self, latency_ms: u64, count: u64) {
        if self.count == 0 || latency_ms < self.min_latency_ms {
            self.min_latency_ms = latency_ms;
        }
        self.max_latency_ms = self.max_latency_ms.max(latency_ms);
        self.last_latency_ms = latency_ms;
        self.count += count;
        self.total_latency_ms += latency_ms * count;
    }

    fn reset(&mut self) {
        let queued = self.queued;
        *self = Self {
            queued,
            ..Self::default()
        };
    }
}

/// A connection at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Its id; in the order of accepting.
    pub conn: ConnId,
    /// The client's address.
    pub peer: SocketAddr,
    /// The listener that accepted it, by its place in the list of [`super::serve`].
    pub listener: usize,
    /// When it was accepted, in milliseconds since 1970 UTC.
    pub established_ms: i64,
    /// Its session, once there is one.
    pub session: SessionId,
    /// The session's timeout in milliseconds.
    pub timeout_ms: i64,
    /// What it waits for: 1 to read, 4 to write, 5 both, 0 neither.
    pub interest_ops: u8,
    /// When the server closes it unless something is heard before, in monotonic milliseconds.
    pub idle_deadline_ms: i64,
    /// Figures.
    pub stats: ConnStats,
}

/// One connection, for all but its own task.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) listener: usize,
    established_ms: i64,
    idle_grain_ms: i64,
    hub: Arc<Hub>,
    // The waker of the connection's task, which never changes.
    waker: OnceLock<Waker>,
    outbox: Mutex<Outbox>,
    stats: Mutex<ConnStats>,
    session: AtomicI64,
    timeout_ms: AtomicI64,
    // The last request, and the last time that the socket was of use in either direction.
    last_heard_ms: AtomicI64,
    last_io_ms: AtomicI64,
    interest_ops: AtomicU8,
}

impl Link {
    pub(super) fn new(
        conn: ConnId,
        peer: SocketAddr,
        listener: usize,
        hub: Arc<Hub>,
        clock_ms: ClockMs,
        idle_grain_ms: u64,
    ) -> Self {
        Self {
            conn,
            peer,
            listener,
            established_ms: clock_ms.wall,
            idle_grain_ms: i64::try_from(idle_grain_ms).unwrap_or(i64::MAX).max(1),
            hub,
            waker: OnceLock::new(),
            outbox: Mutex::default(),
            stats: Mutex::default(),
            session: AtomicI64::new(0),
            timeout_ms: AtomicI64::new(0),
            last_heard_ms: AtomicI64::new(clock_ms.monotonic),
            last_io_ms: AtomicI64::new(clock_ms.monotonic),
            interest_ops: AtomicU8::new(1),
        }
    }

    // Nothing under these locks panics half-way through a change.
    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> MutexGuard<'_, ConnStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the outbox; the hub's list then has the link.
    pub(super) fn add(self: &Arc<Self>, output: Output<'_>, bytes_max: usize) {
        let mut outbox = self.outbox();
        if outbox.ending.is_none() {
            outbox.add(output, bytes_max);
            self.list_in_hub(outbox);
        }
    }

    /// Ends the connection, unless that is under way.
    pub(super) fn end(self: &Arc<Self>, ending: Ending) {
        let mut outbox = self.outbox();
        if outbox.ending.is_none() {
            outbox.ending = Some(ending);
            self.list_in_hub(outbox);
        }
    }

    fn list_in_hub(self: &Arc<Self>, mut outbox: MutexGuard<'_, Outbox>) {
        // A task that does not take its outbox (its client is slow) still has to hear of the end.
        if !outbox.in_hub || outbox.ending.is_some() {
            outbox.in_hub = true;
            drop(outbox);
            self.hub.list(Arc::clone(self));
        }
    }

    /// Called by the connection's task when it starts.
    pub(super) fn set_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn set_session(&self, session: SessionId, timeout_ms: i32) {
        self.timeout_ms.store(i64::from(timeout_ms), Relaxed);
        self.session.store(session.0, Relaxed);
    }

    pub(super) fn set_heard_ms(&self, now_ms: i64) {
        self.last_heard_ms.store(now_ms, Relaxed);
    }

    pub(super) fn set_io_ms(&self, now_ms: i64) {
        self.last_io_ms.store(now_ms, Relaxed);
    }

    pub(super) fn set_interest_ops(&self, ops: u8) {
        self.interest_ops.store(ops, Relaxed);
    }

    /// The session, if there is one, and when it was last heard of.
    pub(super) fn heard(&self) -> Option<(SessionId, i64)> {
        let session = SessionId(self.session.load(Relaxed));
        (session != SessionId::NONE).then(|| (session, self.last_heard_ms()))
    }

    pub(super) fn last_heard_ms(&self) -> i64 {
        self.last_heard_ms.load(Relaxed)
    }

    pub(super) fn timeout_ms(&self) -> i64 {
        self.timeout_ms.load(Relaxed)
    }

    /// When the connection has been silent for too long: its session's timeout, or the sessionless limit, after the
    /// last sign of life, rounded up to the next multiple of the latter.
    ///
    /// ZooKeeper: `NIOServerCnxnFactory.touchCnxn`, `ExpiryQueue`.
    pub(super) fn idle_deadline_ms(&self) -> i64 {
        let grain = self.idle_grain_ms;
        let timeout = match self.timeout_ms() {
            0 => grain,
            ms => ms,
        };
        let at = self.last_io_ms.load(Relaxed).saturating_add(timeout);
        (at / grain).saturating_add(1).saturating_mul(grain)
    }

    pub(super) fn reset_stats(&self) {
        self.stats().reset();
    }

    pub(super) fn info(&self) -> ConnInfo {
        ConnInfo {
            conn: self.conn,
            peer: self.peer,
            listener: self.listener,
            established_ms: self.established_ms,
            session: SessionId(self.session.load(Relaxed)),
            timeout_ms: self.timeout_ms(),
            interest_ops: self.interest_ops.load(Relaxed),
            idle_deadline_ms: self.idle_deadline_ms(),
            stats: self.stats().clone(),
        }
    }
}

/// Both clocks, when a connection was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockMs {
    pub(super) monotonic: i64,
    pub(super) wall: i64,
}
