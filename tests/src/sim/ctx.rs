//! Virtual time, and what all parts of a run share.

use std::collections::BTreeMap;

use bytes::Bytes;
use jute_codec::Zxid;

use super::check::ack_means_durable::AckMeansDurable;
use super::check::sessions_live::SessionsLive;
use super::ledger::Ledger;
use super::plan::Plan;
use super::rng::Rng;
use super::trace::Trace;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    /// Who drives the replica looks whether there is something to do.
    Driver { boot: u64 },
    /// A connection's task does.
    Conn { boot: u64, conn: u64 },
    /// The log's thread does.
    Log { boot: u64 },
    /// A sync that was begun is through.
    LogDone { boot: u64 },
    /// The folder does.
    Fold { boot: u64 },
    /// A connection reaches the server.
    Open { conn: u64 },
    /// Bytes do.
    ToServer { conn: u64, bytes: Bytes },
    /// The client's end of the stream.
    ServerSeesEnd { conn: u64 },
    /// Bytes reach the client.
    ToClient {
        client: usize,
        conn: u64,
        bytes: Bytes,
    },
    /// The server's end of the stream.
    ClientSeesEnd { client: usize, conn: u64 },
    /// A client decides what to do next.
    Client { client: usize },
    /// The machine or the process goes down.
    Crash,
    /// It comes up again.
    Start,
    /// Something else goes wrong.
    Fault,
    /// What went wrong is put right.
    Repair,
}

/// A way that bytes take: they never overtake each other on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wire {
    Up(u64),
    Down(u64),
}

/// What all parts of a run share.
#[derive(Debug)]
pub(super) struct Ctx {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) now_us: i64,
    pub(super) trace: Trace,
    pub(super) ledger: Ledger,
    pub(super) sessions: SessionsLive,
    pub(super) acks: AckMeansDurable,
    /// The handshakes sent: session asked for, and whether its password was right.
    pub(super) asked: BTreeMap<u64, (i64, bool)>,
    /// How far the wall clock is off, in milliseconds.
    pub(super) skew_ms: i64,
    /// The disk takes so much longer, in microseconds.
    pub(super) slow_us: u64,
    /// No more faults, no more work: everybody is to be answered.
    pub(super) draining: bool,
    queue: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    arrivals: BTreeMap<Wire, i64>,
    conns: BTreeMap<u64, usize>,
}

/// The wall clock when a run begins: 2023-11-14.
const WALL_MS: i64 = 1_700_000_000_000;

impl Ctx {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            rng: Rng::new(plan.seed),
            trace: Trace::new(plan.prints),
            now_us: 0,
            ledger: Ledger::new(plan.extended_types),
            plan,
            sessions: SessionsLive::default(),
            acks: AckMeansDurable::default(),
            asked: BTreeMap::new(),
            skew_ms: 0,
            slow_us: 0,
            draining: false,
            queue: BTreeMap::new(),
            scheduled: 0,
            arrivals: BTreeMap::new(),
            conns: BTreeMap::new(),
        }
    }

    /// The time by which the checkers go, which no clock in the run shows.
    pub(super) const fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    /// What the wall clock shows.
    pub(super) const fn wall_ms(&self) -> i64 {
        WALL_MS + self.now_ms() + self.skew_ms
    }

    pub(super) fn after(&mut self, delay_us: u64, event: Event) {
        let at_us = self.now_us.saturating_add_unsigned(delay_us);
        self.at(at_us, event);
    }

    pub(super) fn at(&mut self, at_us: i64, event: Event) {
        self.scheduled += 1;
        self.queue
            .insert((at_us.max(self.now_us), self.scheduled), event);
    }

    /// After as long as a thread takes to notice.
    pub(super) fn soon(&mut self, event: Event) {
        let delay_us = self.rng.below(self.plan.wakeup_us + 1);
        self.after(delay_us, event);
    }

    /// The next event; time moves on to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let ((at_us, _), event) = self.queue.pop_first()?;
        self.now_us = at_us;
        Some(event)
    }

    /// Bytes, or the end of a stream, set out.
    pub(super) fn send(&mut self, wire: Wire, event: Event) {
        let delay_us = self.rng.below(self.plan.network_us + 1);
        let arrival = self.arrivals.entry(wire).or_default();
        *arrival = (*arrival).max(self.now_us.saturating_add_unsigned(delay_us));
        let at_us = *arrival;
        self.at(at_us, event);
    }

    /// A new connection's number.
    pub(super) fn open(&mut self, client: usize) -> u64 {
        let conn = self.conns.len() as u64 + 1;
        self.conns.insert(conn, client);
        conn
    }

    /// Whose connection it is.
    pub(super) fn client_of(&self, conn: u64) -> usize {
        self.conns.get(&conn).copied().unwrap_or_default()
    }

    /// A client was shown a state.
    pub(super) fn on_revealed(&mut self, zxid: Zxid) {
        self.acks.on_revealed(zxid);
    }
}
