//! What a connection shares with the rest of the server.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::bulk::Guarded;
use super::outbound::{Sending, Stopped};
use super::outbox::{Item, Outbox, Overflow};
use super::params::PeerParams;
use crate::replica::zab::LinkId;

/// Whoever queues no more than this sends it, too, in bytes.
const AT_ONCE_BYTES: usize = 32 << 10;

/// How a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFigures {
    /// The other end; `None` until there is a connection.
    pub remote: Option<SocketAddr>,
    /// Packets that wait to be sent.
    pub queued_packets: usize,
    /// What they take, in bytes; about.
    pub queued_bytes: usize,
}

/// One connection, or an attempt to make one.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) remote: OnceLock<SocketAddr>,
    outbox: Mutex<Outbox>,
    sending: Mutex<Sending>,
    /// Told when there is something that the connection's task has to send.
    pub(super) to_send: Notify,
    // Set once; nothing is queued any more.
    overflow: OnceLock<Overflow>,
    overflowed: Notify,
    read_timeout_ms: AtomicU64,
    /// Told when the timeout is another.
    pub(super) timeout_changed: Notify,
    // Silence is counted from here on at the earliest: when the timeout was set, or bulk last taken. A learner that
    // takes a snapshot has nothing to say meanwhile.
    excused_at: Mutex<Option<Instant>>,
    sink: Mutex<Option<Guarded>>,
    sink_given: Notify,
    closed: AtomicBool,
}

impl Link {
    pub(super) fn new(id: LinkId, params: &PeerParams) -> Self {
        let initial_ms = u64::try_from(params.initial_timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            id,
            remote: OnceLock::new(),
            outbox: Mutex::new(Outbox::new(
                params.queue_bytes_max,
                params.queue_packets_max,
            )),
            sending: Mutex::default(),
            to_send: Notify::new(),
            overflow: OnceLock::new(),
            overflowed: Notify::new(),
            read_timeout_ms: AtomicU64::new(initial_ms),
            timeout_changed: Notify::new(),
            excused_at: Mutex::new(None),
            sink: Mutex::new(None),
            sink_given: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Queues an item, for [`Self::flush`]. If too much waits the connection is on its way to its end.
    pub(super) fn push(&self, item: Item) {
        if self.overflow.get().is_some() {
            return;
        }
        let pushed = lock(&self.outbox).push(item);
        if let Err(overflow) = pushed {
            // Set by one of those who queue; the others' is as good.
            drop(self.overflow.set(overflow));
            self.overflowed.notify_one();
        }
    }

    /// Sends what is queued: at once if it is little and the socket takes it, which saves another thread's being woken;
    /// else the connection's task does. Never waits.
    pub(super) fn flush(&self) {
        if self.is_closed() || self.overflow.get().is_some() {
            return;
        }
        if lock(&self.outbox).bytes() <= AT_ONCE_BYTES {
            // Who has it may have seen what is queued, or not.
            if let Ok(mut sending) = self.sending.try_lock() {
                let mut stopped = Ok(Stopped::Midway);
                while matches!(stopped, Ok(Stopped::Midway)) {
                    stopped = sending.write(&self.outbox);
                }
                if matches!(stopped, Ok(Stopped::Idle)) {
                    return;
                }
            }
        }
        self.to_send.notify_one();
    }

    /// Writes a part of what is queued, as far as the socket takes it.
    pub(super) fn write(&self) -> io::Result<Stopped> {
        self.sending().write(&self.outbox)
    }

    /// The sending end.
    pub(super) fn sending(&self) -> MutexGuard<'_, Sending> {
        lock(&self.sending)
    }

    /// Waits until too much waits to be sent.
    pub(super) async fn overflowed(&self) -> io::Error {
        self.overflowed.notified().await;
        let (packets, bytes) = self.overflow.get().map_or((0, 0), |o| (o.packets, o.bytes));
        let why =
            format!("it does not take what it is sent: {packets} packets, {bytes} bytes wait");
        io::Error::new(io::ErrorKind::QuotaExceeded, why)
    }

    pub(super) fn set_read_timeout_ms(&self, timeout_ms: u64) {
        self.read_timeout_ms.store(timeout_ms, Relaxed);
        self.excuse();
        self.timeout_changed.notify_one();
    }

    /// How long the other side may be silent; `None` is for ever.
    pub(super) fn read_timeout(&self) -> Option<Duration> {
        match self.read_timeout_ms.load(Relaxed) {
            0 => None,
            timeout_ms => Some(Duration::from_millis(timeout_ms)),
        }
    }

    /// Counts the other side's silence from now on only.
    pub(super) fn excuse(&self) {
        *lock(&self.excused_at) = Some(Instant::now());
    }

    /// Since when the other side is silent if nothing came since `heard`.
    pub(super) fn silent_since(&self, heard: Instant) -> Instant {
        (*lock(&self.excused_at)).map_or(heard, |at| at.max(heard))
    }

    /// Gives the taker of the bulk that comes.
    pub(super) fn give_sink(&self, sink: Guarded) {
        let before = lock(&self.sink).replace(sink);
        drop(before);
        self.sink_given.notify_one();
    }

    /// Waits for it.
    pub(super) async fn sink(&self) -> Guarded {
        loop {
            let given = lock(&self.sink).take();
            match given {
                Some(sink) => return sink,
                None => self.sink_given.notified().await,
            }
        }
    }

    /// From now on nothing is told of the connection.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        let sink = lock(&self.sink).take();
        drop(sink);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(super) fn figures(&self) -> LinkFigures {
        let outbox = lock(&self.outbox);
        LinkFigures {
            remote: self.remote.get().copied(),
            queued_packets: outbox.len(),
            queued_bytes: outbox.bytes(),
        }
    }
}

// Nothing under these locks panics half-way through a change.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
