//! The driver: one thread that steps the replica and applies what it decides.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, ReplyHeader};
use jute_codec::{Jute as _, Text, Zxid};
use metrics::counter;
use tracing::{debug, error, info, warn};

use super::clock::SystemClock;
use super::mailbox::{Mailbox, Taken};
use super::membership::Membership;
use super::milestones::Milestones;
use super::peers::Peers;
use crate::admin::SessionDeadlines;
use crate::net::client::Connections;
use crate::net::stats::Sizes;
use crate::replica::Replica;
use crate::replica::effect::{Answer, Effect, WriteSeq};
use crate::replica::ensemble::{Configs, Members, ServerId};
use crate::replica::input::Input;
use crate::replica::session::SessionTracker;
use crate::replica::zab::{Role, Zab, ZabEffect, ZabInput};
use crate::state::conn::ConnId;
use crate::state::{Committed, DigestMismatch, Outputs, Service, State};
use crate::storage::epochs::{EpochFile, Epochs};
use crate::storage::log_thread::{self, DurableWrite, LogHandle};

/// How many transactions are applied in one go: readers wait for one batch at the most.
const APPLY_AT_ONCE: usize = 128;

/// How long a server whose copy is not whole waits before it says so, and says it again.
pub(super) const WAITING_SILENCE_MS: i64 = 30_000;

const WAITS_FOR_A_COPY: &str = "this server's copy of the data is not whole: it waits for a leader whom others elect, and \
    does not vote. If they cannot, too few of them are up or have whole copies: start those that are down. Nothing that \
    was set aside is lost; docs/repair.md says how to put a copy back";

const WAITS_FOR_A_MAJORITY: &str = "had another tree than this server after the same transactions, and there are too few \
    servers to settle which is right: start those that are down; docs/repair.md says what to do if there are none";

/// The longest sleep; deadlines beyond it are looked at again.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Figures that the driver keeps for operators.
#[derive(Debug, Default)]
pub(super) struct DriverFigures {
    /// Transactions given a zxid.
    pub(super) proposed: AtomicU64,
    /// Transactions applied.
    pub(super) committed: AtomicU64,
    /// Sessions that were not heard of in time.
    pub(super) sessions_expired: AtomicU64,
    /// Transactions after which the tree was not what the replica predicted.
    pub(super) digest_mismatches: AtomicU64,
    /// Transactions that are not durable yet.
    pub(super) outstanding: AtomicU64,
    /// Live sessions that all servers know.
    pub(super) sessions: AtomicI64,
    /// Live sessions that only this server knows.
    pub(super) local_sessions: AtomicI64,
    /// What this server is in its ensemble.
    pub(super) place: Mutex<Place>,
    /// Sizes of what it proposes as leader, in bytes.
    pub(super) proposal_sizes: Arc<Sizes>,
}

/// A server's place in its ensemble.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) is_read_only: bool,
    pub(super) leader: Option<ServerId>,
    /// Of a leader: who, whether an observer, whether it serves clients.
    pub(super) learners: Vec<(ServerId, bool, bool)>,
    /// Of a leader: syncs of learners that wait.
    pub(super) pending_syncs: usize,
    /// The members in force.
    pub(super) members: Option<Arc<Members>>,
    /// Since when it has led a quorum, in monotonic milliseconds; -1 unless it does.
    pub(super) leading_since_ms: i64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            role: Role::Looking,
            is_read_only: false,
            leader: None,
            learners: Vec::new(),
            pending_syncs: 0,
            members: None,
            leading_since_ms: -1,
        }
    }
}

/// Something for the state or for connections, in the order of the replica's effects.
#[derive(Debug)]
enum Step {
    Commit(Box<Committed>),
    Connected(ConnId, ConnectResponse),
    Close(ConnId),
    Synced {
        conn: ConnId,
        xid: i32,
        path: Option<Text>,
    },
    Answered {
        conn: ConnId,
        xid: i32,
        answer: Answer,
    },
    /// `/zookeeper/config` says this.
    Config(Text, i64),
    /// Lets clients do more, or sends all of them away.
    Serve(Service),
    /// Puts another state in place: when everything before has been applied, and before anything behind.
    ReplaceState(ZabEffect),
}

/// Transactions on their way to the log.
#[derive(Debug, Default)]
struct Records {
    txns: Vec<(Zxid, Bytes)>,
    /// The number of the newest.
    last: WriteSeq,
}

/// What a batch did.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchReport {
    /// Bytes that went to the log.
    pub(super) logged_bytes: u64,
    /// What the next fold would hold.
    pub(super) fold_backlog: usize,
}

pub(super) struct Driver {
    pub(super) replica: Replica,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) clock: SystemClock,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) connections: Arc<Connections>,
    pub(super) log: LogHandle,
    /// Where epochs are stored.
    pub(super) epochs: EpochFile,
    /// The other servers, of a member of an ensemble.
    pub(super) peers: Option<Peers>,
    /// What goes by the membership in force, of a member of an ensemble.
    pub(super) membership: Option<Membership>,
    pub(super) figures: Arc<DriverFigures>,
    /// Until then nothing is said of quotas, in monotonic milliseconds.
    pub(super) quota_silence_until_ms: i64,
    /// The first transaction after which the tree was another than the leader's, until the state is made anew.
    pub(super) diverged: Option<DigestMismatch>,
    /// When to say that this server waits for the others to make its copy whole, in monotonic milliseconds.
    pub(super) waiting_said_ms: i64,
    /// How elections and synchronisations go.
    pub(super) milestones: Milestones,
    /// Called after each batch.
    pub(super) after_batch: Box<dyn FnMut(BatchReport) + Send>,
}

impl Driver {
    /// Runs until the mailbox is stopped; what was taken until then is carried out, what is not durable then is not.
    pub(super) fn run(mut self, mut effects: Vec<Effect>) {
        let mut taken = Taken::default();
        let mut steps = VecDeque::new();
        let mut outputs = Outputs::default();
        let mut fold_backlog = 0;
        loop {
            let logged_bytes = self.carry_out(&mut effects, &mut steps);
            if let Some(backlog) = self.apply(&mut steps, &mut outputs) {
                fold_backlog = backlog;
            }
            (self.after_batch)(BatchReport {
                logged_bytes,
                fold_backlog,
            });
            self.publish_figures();
            self.mailbox.take(&mut taken, self.patience());
            if taken.stopping && taken.inputs.is_empty() {
                if let Some(peers) = self.peers {
                    peers.stop();
                }
                return;
            }
            for question in taken.questions.drain(..) {
                // Who asked may have run out of patience.
                drop(question.send(self.session_deadlines()));
            }
            self.step(&mut taken.inputs, &mut effects);
        }
    }

    fn session_deadlines(&self) -> SessionDeadlines {
        let buckets = |sessions: &SessionTracker| {
            let buckets = sessions.by_deadline();
            buckets
                .map(|(deadline_ms, sessions)| (deadline_ms, sessions.iter().copied().collect()))
                .collect()
        };
        SessionDeadlines {
            local: self.replica.local_sessions().map(buckets),
            global: self.replica.sessions().map(buckets).unwrap_or_default(),
        }
    }

    fn patience(&self) -> Duration {
        let ms = self
            .replica
            .deadline()
            .saturating_sub(self.clock.monotonic().now_ms())
            .max(0);
        Duration::from_millis(ms.cast_unsigned()).min(PATIENCE_MAX)
    }

    fn step(&mut self, inputs: &mut Vec<Input>, effects: &mut Vec<Effect>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let clock = self.clock.now();
        if clock.monotonic_ms >= self.replica.deadline() {
            self.replica.step(clock, Input::Overdue, &state, effects);
        }
        for input in inputs.drain(..) {
            self.replica.step(clock, input, &state, effects);
        }
        if clock.monotonic_ms < self.replica.deadline() {
            return;
        }
        // Reads never come by here: ask the connections of sessions that look silent when they were last heard of.
        for (session, conn) in self.replica.about_to_expire(clock) {
            if let Some(at_ms) = conn.and_then(|conn| self.connections.last_heard_ms(conn)) {
                self.replica
                    .step(clock, Input::Touched { session, at_ms }, &state, effects);
            }
        }
        self.replica.step(clock, Input::Wakeup, &state, effects);
    }

    /// Sends writes to the log, and queues the rest; the bytes that went to the log.
    fn carry_out(&mut self, effects: &mut Vec<Effect>, steps: &mut VecDeque<Step>) -> u64 {
        let mut records = Records::default();
        let mut bytes = 0;
        let now_ms = self.clock.monotonic().now_ms();
        for effect in effects.drain(..) {
            match effect {
                Effect::Write {
                    write,
                    zxid,
                    payload,
                } => {
                    bytes += payload.len() as u64;
                    self.milestones.on_logged();
                    if self
                        .replica
                        .zab()
                        .is_some_and(|zab| zab.role() == Role::Leading)
                    {
                        let size = i64::try_from(payload.len()).unwrap_or(i64::MAX);
                        self.figures.proposal_sizes.record(size, size, size);
                    }
                    records.last = write;
                    records.txns.push((zxid, payload));
                }
                // In one order with the transactions.
                Effect::StoreEpochs { write, epochs } => {
                    self.append(&mut records);
                    let epochs = Epochs {
                        accepted: epochs.accepted,
                        current: epochs.current,
                    };
                    self.submit(write, self.epochs.write(epochs));
                }
                Effect::Commit(committed) => {
                    self.milestones.on_committed();
                    steps.push_back(Step::Commit(committed));
                }
                Effect::Connected { conn, response } => {
                    steps.push_back(Step::Connected(conn, response))
                }
                Effect::CloseConn { conn } => steps.push_back(Step::Close(conn)),
                Effect::QuotaExceeded { path } => self.on_quota_exceeded(&path),
                Effect::Expired { session } => {
                    self.figures
                        .sessions_expired
                        .fetch_add(1, Ordering::Relaxed);
                    info!(%session, "session expired");
                }
                Effect::Synced { conn, xid, path } => {
                    steps.push_back(Step::Synced { conn, xid, path });
                }
                Effect::Answered { conn, xid, answer } => {
                    steps.push_back(Step::Answered { conn, xid, answer });
                }
                Effect::Config { text, version } => steps.push_back(Step::Config(text, version)),
                Effect::Serve => {
                    if let Some(peers) = &self.peers {
                        peers.history_is_whole();
                    }
                    self.milestones.on_serve(now_ms);
                    steps.push_back(Step::Serve(Service::Full));
                }
                Effect::ServeReadOnly => {
                    info!(
                        "there has been no leader for a while: serving read-only clients what there is here"
                    );
                    steps.push_back(Step::Serve(Service::ReadOnly));
                }
                Effect::ServeNobody => {
                    if let Some(peers) = &self.peers {
                        peers.history_is_whole();
                    }
                    self.milestones.on_serve(now_ms);
                    steps.push_back(Step::Serve(Service::Others));
                }
                Effect::StopServing => {
                    self.milestones.on_stop_serving(now_ms);
                    steps.push_back(Step::Serve(Service::None));
                }
                Effect::Peer(
                    effect @ (ZabEffect::Truncate { .. }
                    | ZabEffect::Check
                    | ZabEffect::ReceiveSnapshot { .. }),
                ) => steps.push_back(Step::ReplaceState(effect)),
                Effect::Peer(ZabEffect::Members { configs }) => self.on_members(&configs),
                Effect::Peer(effect) => {
                    self.milestones.on_peer_effect(now_ms, &effect);
                    self.tell_peers(effect);
                }
            }
        }
        if self.peers.is_some() {
            self.milestones.count();
        }
        self.append(&mut records);
        bytes
    }

    fn append(&self, records: &mut Records) {
        let txns = std::mem::take(&mut records.txns);
        if !txns.is_empty() {
            self.figures
                .proposed
                .fetch_add(txns.len() as u64, Ordering::Relaxed);
            self.submit(records.last, DurableWrite::Append(txns));
        }
    }

    fn submit(&self, write: WriteSeq, what: DurableWrite) {
        if let Err(problem) = self.log.submit(log_thread::WriteSeq(write.0), what) {
            // Nothing is acknowledged from here on; the log thread has said why.
            error!(error = %problem, "a write was not taken by the log");
        }
    }

    fn on_members(&mut self, configs: &Configs) {
        if let Some(peers) = &mut self.peers {
            peers.set_members(configs);
        }
        if let Some(membership) = &mut self.membership {
            membership.follow(configs);
        }
    }

    fn tell_peers(&self, effect: ZabEffect) {
        if let Some(peers) = &self.peers {
            peers.carry_out(effect);
        }
    }

    /// Counts it, and says it, but not more than once a second: a client provokes it.
    fn on_quota_exceeded(&mut self, path: &str) {
        let namespace = path.split('/').nth(1).unwrap_or_default().to_owned();
        counter!("quota_exceeded_error_per_namespace", "key" => namespace).increment(1);
        let now_ms = self.clock.monotonic().now_ms();
        if now_ms >= self.quota_silence_until_ms {
            self.quota_silence_until_ms = now_ms + 1000;
            warn!(path, "a request goes beyond the quota on this path");
        }
    }

    /// Applies in bounded batches, with readers in between. What connections are to hear is in their outboxes before
    /// the lock is released (`EventBeforeReveal`). What the next fold would hold, if anything was applied.
    fn apply(&mut self, steps: &mut VecDeque<Step>, outputs: &mut Outputs) -> Option<usize> {
        let mut backlog = None;
        let shared = Arc::clone(&self.state);
        while !steps.is_empty() {
            let mut state = shared.write().unwrap_or_else(PoisonError::into_inner);
            let mut commits = 0;
            let mut replace = None;
            while commits < APPLY_AT_ONCE as u64
                && let Some(step) = steps.pop_front()
            {
                match step {
                    Step::Commit(committed) => {
                        commits += 1;
                        if let Err(mismatch) = state.apply(&committed, outputs)
                            && self.on_mismatch(mismatch)
                        {
                            // Nobody reads what may be wrong, and no fold puts it on disk.
                            state.set_service(Service::None);
                            outputs.clear();
                            self.connections.close_all();
                        }
                    }
                    Step::Connected(conn, response) => outputs.connected(conn, &response),
                    Step::Close(conn) => outputs.close(conn),
                    Step::Synced { conn, xid, path } => {
                        let header = ReplyHeader {
                            xid,
                            zxid: state.last_zxid(),
                            err: 0,
                        };
                        outputs.reply(conn, &header, |out| path.write(out));
                    }
                    Step::Answered { conn, xid, answer } => {
                        answer.tell(conn, xid, state.last_zxid(), outputs);
                    }
                    Step::Config(text, version) => {
                        state.set_config(&text, version, self.clock.now().wall_ms);
                    }
                    Step::Serve(service) => {
                        let service = if self.diverged.is_none() {
                            service
                        } else {
                            Service::None
                        };
                        state.set_service(service);
                        if matches!(service, Service::None | Service::Others) {
                            self.connections.close_all();
                        }
                    }
                    Step::ReplaceState(effect) => {
                        replace = Some(effect);
                        break;
                    }
                }
            }
            self.connections.deliver(outputs);
            backlog = Some(state.fold_backlog());
            drop(state);
            outputs.clear();
            self.connections.wake();
            self.figures.committed.fetch_add(commits, Ordering::Relaxed);
            if let Some(effect) = replace {
                let mismatch = self.diverged.take();
                match (&self.peers, effect) {
                    (Some(peers), ZabEffect::Check) => peers.check(mismatch),
                    (_, effect) => self.tell_peers(effect),
                }
            }
        }
        backlog
    }

    /// Whether this server has to look into it that its tree is another than the leader's.
    ///
    /// ZooKeeper: `DataTree.reportDigestMismatch`, which goes on.
    fn on_mismatch(&mut self, mismatch: DigestMismatch) -> bool {
        self.figures
            .digest_mismatches
            .fetch_add(1, Ordering::Relaxed);
        let Some(zab) = self.replica.zab() else {
            error!(%mismatch, "the tree is not what was predicted; please report this");
            return false;
        };
        // What an earlier leader had is not what this one has: if that one was wrong, its transactions tell so for ever.
        if mismatch.zxid.epoch() != zab.epochs().accepted {
            debug!(%mismatch, "the leader of an earlier epoch had another tree");
            return false;
        }
        if self.diverged.is_none() {
            let leader = zab.leader().map(|leader| leader.0);
            error!(
                %mismatch, leader,
                "this server's tree is not the leader's: it serves nobody until it is settled which of them is right"
            );
            self.diverged = Some(mismatch);
            self.mailbox.put([Input::Peer(ZabInput::Diverged)]);
        }
        true
    }

    fn publish_figures(&mut self) {
        self.figures
            .outstanding
            .store(self.replica.outstanding() as u64, Ordering::Relaxed);
        let count = |sessions: Option<&SessionTracker>| {
            i64::try_from(sessions.map_or(0, SessionTracker::len)).unwrap_or(i64::MAX)
        };
        let (global, local) = (self.replica.sessions(), self.replica.local_sessions());
        self.figures
            .sessions
            .store(count(global), Ordering::Relaxed);
        self.figures
            .local_sessions
            .store(count(local), Ordering::Relaxed);
        if let Some(zab) = self.replica.zab() {
            let waits = match (zab.is_established(), zab.doubts()) {
                (true, _) => None,
                (false, _) if zab.may_lack() => Some(WAITS_FOR_A_COPY.to_owned()),
                (false, doubts) => {
                    doubts.map(|leader| format!("server {leader} {WAITS_FOR_A_MAJORITY}"))
                }
            };
            self.publish_place(zab);
            self.say_why_it_waits(waits);
        }
    }

    /// Says now and then why a server does nothing.
    fn say_why_it_waits(&mut self, why: Option<String>) {
        let now_ms = self.clock.monotonic().now_ms();
        match why {
            None => self.waiting_said_ms = now_ms + WAITING_SILENCE_MS,
            Some(why) if now_ms >= self.waiting_said_ms => {
                self.waiting_said_ms = now_ms + WAITING_SILENCE_MS;
                warn!("{why}");
            }
            Some(_) => {}
        }
    }

    fn publish_place(&self, zab: &Zab) {
        let mut place = self
            .figures
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let leads = zab.role() == Role::Leading && zab.is_established();
        let since_ms = match (leads, place.leading_since_ms) {
            (false, _) => -1,
            (true, ..0) => self.clock.monotonic().now_ms(),
            (true, since_ms) => since_ms,
        };
        if zab.role() != Role::Leading {
            // Whoever leads next begins anew.
            self.figures.proposal_sizes.reset();
        }
        *place = Place {
            role: zab.role(),
            is_read_only: self.replica.is_read_only(),
            leader: zab.leader(),
            learners: zab.learners(),
            pending_syncs: zab.pending_syncs(),
            members: Some(Arc::clone(&zab.configs().committed)),
            leading_since_ms: since_ms,
        };
    }
}
