//! The driver: steps the replica and applies what it decides. It has a thread, and others may drive when little is to do
//! (see `mailbox`).

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use jute_codec::proto::ReplyHeader;
use jute_codec::{Jute as _, Zxid};
use metrics::counter;
use tracing::{debug, error, info, warn};

use super::clock::SystemClock;
use super::figures::DriverFigures;
use super::mailbox::{Bringer, Deals, Dealt, FEW_INPUTS, Mailbox, Taken};
use super::membership::Membership;
use super::milestones::Milestones;
use super::peers::Peers;
use super::work::{Step, Work};
use crate::admin::SessionDeadlines;
use crate::net::client::Connections;
use crate::replica::Replica;
use crate::replica::comparing::{Comparing, Verdict};
use crate::replica::effect::{Effect, WriteSeq};
use crate::replica::ensemble::Configs;
use crate::replica::input::Input;
use crate::replica::session::SessionTracker;
use crate::replica::zab::{Role, ZabEffect, ZabInput};
use crate::state::tree::FETCHED_AT_ONCE;
use crate::state::{DigestMismatch, Service, State};
use crate::storage::epochs::{EpochFile, Epochs};
use crate::storage::log_thread::{self, DurableWrite, LogHandle};

/// How many transactions are applied in one go: readers wait for one batch at the most.
const APPLY_AT_ONCE: usize = 128;

/// After so many of them connections are woken, if there are more to apply. Each wake-up costs a connection two calls of the
/// system, so it had better take several answers with it.
const APPLY_BEFORE_WAKING: u64 = 1024;

/// With more transactions under way than this everything is the driver's thread's: others have enough to do then.
const FEW_TXNS: usize = 256;

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
    /// What the digests of transactions say.
    pub(super) comparing: Comparing,
    /// When to say that this server waits for the others to make its copy whole, in monotonic milliseconds.
    pub(super) waiting_said_ms: i64,
    /// How elections and synchronisations go.
    pub(super) milestones: Milestones,
    /// Called after each batch.
    pub(super) after_batch: Box<dyn FnMut(BatchReport) + Send>,
    /// What is begun.
    pub(super) work: Work,
}

/// On which thread the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// Its own, which may wait.
    Own,
    /// One that must not.
    Another,
}

impl Deals for Driver {
    fn deal(&mut self, taken: &mut Taken) {
        if !self.work.is_done() {
            self.finish(On::Own);
        }
        self.work.inputs.append(&mut taken.inputs);
        for question in taken.questions.drain(..) {
            // Who asked may have run out of patience.
            drop(question.send(self.session_deadlines()));
        }
        self.step(On::Own);
        self.finish(On::Own);
    }

    fn deal_quickly(&mut self, who: Bringer, take: impl FnOnce(&mut Vec<Input>)) -> Dealt {
        // The log's thread has its own work, and whoever drives puts more of it there.
        let is_busy = who == Bringer::Log && self.log.waiting_bytes() > 0;
        if is_busy || !self.work.is_done() || self.replica.outstanding() > FEW_TXNS {
            return Dealt::Some;
        }
        take(&mut self.work.inputs);
        if self.work.inputs.len() > FEW_INPUTS {
            return Dealt::Some;
        }
        self.step(On::Another);
        if self.work.is_quick() {
            self.finish(On::Another);
        }
        match self.work.is_done() {
            true => Dealt::All,
            false => Dealt::Some,
        }
    }

    fn deadline_ms(&self) -> i64 {
        self.replica.deadline()
    }

    fn patience(&self) -> Duration {
        let now_ms = self.clock.monotonic().now_ms();
        let ms = self.replica.deadline().saturating_sub(now_ms).max(0);
        Duration::from_millis(ms.cast_unsigned())
    }
}

/// The state, to be changed; on a thread that must not wait, unless it is in use.
fn write_lock(state: &RwLock<State>, on: On) -> Option<RwLockWriteGuard<'_, State>> {
    match (on, state.try_write()) {
        (_, Ok(state)) => Some(state),
        (_, Err(TryLockError::Poisoned(poisoned))) => Some(poisoned.into_inner()),
        (On::Own, Err(TryLockError::WouldBlock)) => {
            Some(state.write().unwrap_or_else(PoisonError::into_inner))
        }
        (On::Another, Err(TryLockError::WouldBlock)) => None,
    }
}

/// The next step; those that come next are fetched with it now and then, as `fetched` says.
fn next_step(steps: &mut VecDeque<Step>, fetched: &mut usize, state: &State) -> Option<Step> {
    if *fetched == 0 {
        *fetched = FETCHED_AT_ONCE;
        let next = steps.iter().take(FETCHED_AT_ONCE);
        state.tree().fetch(next.filter_map(Step::path));
    }
    *fetched -= 1;
    steps.pop_front()
}

impl Driver {
    /// Runs until the mailbox is stopped; what was taken until then is carried out, what is not durable then is not.
    pub(super) fn run(self) {
        let mailbox = Arc::clone(&self.mailbox);
        if let Some(driver) = mailbox.drive(self)
            && let Some(peers) = driver.peers
        {
            peers.stop();
        }
    }

    /// Carries out what was decided, and applies it; some of it may be left on another thread.
    fn finish(&mut self, on: On) {
        let logged_bytes = self.carry_out(on);
        self.apply(on);
        (self.after_batch)(BatchReport {
            logged_bytes,
            fold_backlog: self.work.fold_backlog,
        });
        self.publish_figures();
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

    /// Decides what comes of the inputs; on another thread nothing while the state is being changed.
    fn step(&mut self, on: On) {
        let state = match (on, self.state.try_read()) {
            (_, Ok(state)) => state,
            (_, Err(TryLockError::Poisoned(poisoned))) => poisoned.into_inner(),
            (On::Own, Err(TryLockError::WouldBlock)) => {
                self.state.read().unwrap_or_else(PoisonError::into_inner)
            }
            (On::Another, Err(TryLockError::WouldBlock)) => return,
        };
        let Work {
            inputs, effects, ..
        } = &mut self.work;
        let clock = self.clock.now();
        if clock.monotonic_ms >= self.replica.deadline() {
            self.replica.step(clock, Input::Overdue, &state, effects);
        }
        let mut waiting = inputs.drain(..);
        loop {
            let next = waiting.as_slice().iter().take(FETCHED_AT_ONCE);
            state.tree().fetch(next.filter_map(Input::path));
            let mut stepped = false;
            for input in waiting.by_ref().take(FETCHED_AT_ONCE) {
                self.replica.step(clock, input, &state, effects);
                stepped = true;
            }
            if !stepped {
                break;
            }
        }
        drop(waiting);
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
    fn carry_out(&mut self, on: On) -> u64 {
        let mut effects = std::mem::take(&mut self.work.effects);
        let mut steps = std::mem::take(&mut self.work.steps);
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
                    self.append(&mut records, on);
                    let epochs = Epochs {
                        accepted: epochs.accepted,
                        current: epochs.current,
                    };
                    self.submit(write, self.epochs.write(epochs), on);
                }
                Effect::Commit(committed) => {
                    self.milestones.on_committed();
                    steps.push_back(Step::Commit(committed));
                }
                Effect::Connected { conn, response } => {
                    steps.push_back(Step::Connected(conn, response))
                }
                Effect::CloseConn { conn } => steps.push_back(Step::Close(conn)),
                Effect::QuotaExceeded { path, refused } => self.on_quota_exceeded(&path, refused),
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
        // Others are to write to their disks while this server does, and nobody waits for what was applied before.
        if !records.txns.is_empty() || steps.is_empty() {
            self.flush_peers();
        }
        self.append(&mut records, on);
        self.work.effects = effects;
        self.work.steps = steps;
        bytes
    }

    fn append(&self, records: &mut Records, on: On) {
        let txns = std::mem::take(&mut records.txns);
        if !txns.is_empty() {
            self.figures
                .proposed
                .fetch_add(txns.len() as u64, Ordering::Relaxed);
            self.submit(records.last, DurableWrite::Append(txns), on);
        }
    }

    fn submit(&self, write: WriteSeq, what: DurableWrite, on: On) {
        let write = log_thread::WriteSeq(write.0);
        let submitted = match on {
            On::Own => self.log.submit(write, what),
            On::Another => self.log.submit_at_once(write, what),
        };
        if let Err(problem) = submitted {
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

    fn tell_peers(&mut self, effect: ZabEffect) {
        if let Some(peers) = &mut self.peers {
            peers.carry_out(effect);
        }
    }

    /// Sends what was queued for other servers.
    fn flush_peers(&mut self) {
        if let Some(peers) = &mut self.peers {
            peers.flush();
        }
    }

    /// Counts what was refused, and says it, but not more than once a second: a client provokes it.
    fn on_quota_exceeded(&mut self, path: &str, refused: bool) {
        if refused {
            let namespace = path.split('/').nth(1).unwrap_or_default().to_owned();
            counter!("quota_exceeded_error_per_namespace", "key" => namespace).increment(1);
        }
        let now_ms = self.clock.monotonic().now_ms();
        if now_ms >= self.quota_silence_until_ms {
            self.quota_silence_until_ms = now_ms + 1000;
            warn!(
                path,
                refused, "a request goes beyond the quota on this path"
            );
        }
    }

    /// Applies in bounded batches, with readers in between. What connections are to hear is in their outboxes before
    /// the lock is released (`EventBeforeReveal`).
    fn apply(&mut self, on: On) {
        let mut steps = std::mem::take(&mut self.work.steps);
        let mut outputs = std::mem::take(&mut self.work.outputs);
        let shared = Arc::clone(&self.state);
        let mut untold = 0;
        while !steps.is_empty()
            && let Some(mut state) = write_lock(&shared, on)
        {
            let (mut commits, mut fetched) = (0, 0);
            let mut replace = None;
            while commits < APPLY_AT_ONCE as u64
                && let Some(step) = next_step(&mut steps, &mut fetched, &state)
            {
                match step {
                    Step::Commit(committed) => {
                        commits += 1;
                        let is_told = committed.entry.digest.is_some();
                        let compared = state.apply(&committed, &mut outputs);
                        let verdict = self.comparing.on_applied(compared, is_told);
                        if self.judge(verdict) {
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
                        answer.tell(conn, xid, state.last_zxid(), &mut outputs);
                    }
                    Step::Config(text, version) => {
                        state.set_config(&text, version, self.clock.now().wall_ms);
                    }
                    Step::Serve(service) => {
                        if service != Service::None
                            && let Some(zab) = self.replica.zab()
                        {
                            if self.comparing.is_unfinished() {
                                state.forget_digests();
                            }
                            let peers = self.peers.as_ref();
                            let behind = peers.and_then(Peers::take_mismatch_behind);
                            let verdict = self.comparing.on_serve(zab.epochs().accepted, behind);
                            self.judge(verdict);
                        }
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
            self.connections.deliver(&outputs);
            self.work.fold_backlog = state.fold_backlog();
            drop(state);
            outputs.clear();
            untold += commits;
            if untold >= APPLY_BEFORE_WAKING || steps.is_empty() || replace.is_some() {
                self.connections.wake();
                untold = 0;
            }
            self.flush_peers();
            self.figures.committed.fetch_add(commits, Ordering::Relaxed);
            if let Some(effect) = replace {
                let mismatch = self.diverged.take();
                match effect {
                    ZabEffect::ReceiveSnapshot { .. } => self.comparing.on_taken_over(),
                    _ => self.comparing.on_made_anew(),
                }
                match (&self.peers, effect) {
                    (Some(peers), ZabEffect::Check) => peers.check(mismatch),
                    (_, effect) => self.tell_peers(effect),
                }
            }
        }
        if untold != 0 {
            self.connections.wake();
        }
        self.flush_peers();
        self.work.steps = steps;
        self.work.outputs = outputs;
    }

    /// Whether this server has to look into what a comparison came to.
    fn judge(&mut self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Fine => false,
            Verdict::Differs(mismatch) => self.on_mismatch(mismatch),
            Verdict::Incomparable(mismatch) => {
                self.figures
                    .digest_mismatches
                    .fetch_add(1, Ordering::Relaxed);
                error!(
                    %mismatch,
                    "the leader's digest is not even that of the copy that it has just sent: it counts otherwise, as Java does \
                     where the default charset is not UTF-8 and names are not ASCII (start it with -Dfile.encoding=UTF-8). \
                     Nothing is compared with it for as long as it leads"
                );
                false
            }
        }
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
}
