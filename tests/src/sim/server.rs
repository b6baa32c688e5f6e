//! The server under test, with its threads as events: the same parts in the same order as in `zabd::runtime`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jute_codec::frame::write_frame;
use jute_codec::proto::{ConnectResponse, Request};
use jute_codec::{Jute, SessionId, Zxid};
use zabd::replica::Replica;
use zabd::replica::clock::Clock;
use zabd::replica::effect::{Effect, WriteSeq};
use zabd::replica::input::Input;
use zabd::replica::params::ReplicaParams;
use zabd::replica::session::password::password_of;
use zabd::state::conn::{Advance, CloseReason, ConnId, Submission};
use zabd::state::{Committed, Output, Outputs, State, StateParams};

use super::check::{Check, ack_means_durable, broken, tree_digest};
use super::conn::{SimConn, Waiting};
use super::ctx::{Ctx, Event, Wire};
use super::ledger::Cause;
use super::plan::{Plan, Planted};
use super::store::{Fold, Log};

/// The length of a tick, in milliseconds.
pub(super) const TICK_MS: i32 = 2000;
/// The shortest and the longest session timeout, in milliseconds.
pub(super) const TIMEOUTS_MS: (i32, i32) = (4000, 40_000);

/// What a state is built with in a run.
pub(super) fn state_params(plan: &Plan) -> StateParams {
    StateParams {
        hash_seed: plan.seed,
        extended_types: plan.extended_types,
        ..StateParams::default()
    }
}

fn replica_params(plan: &Plan) -> ReplicaParams {
    ReplicaParams {
        tick_ms: TICK_MS,
        session_timeout_min_ms: TIMEOUTS_MS.0,
        session_timeout_max_ms: TIMEOUTS_MS.1,
        extended_types: plan.extended_types,
        container_check_interval_ms: 3000,
        ..ReplicaParams::default()
    }
}

#[derive(Debug)]
enum Step {
    Commit(Box<Committed>),
    Connected(ConnId, ConnectResponse),
    Close(ConnId),
}

/// A running server.
#[derive(Debug)]
pub(super) struct SimServer {
    pub(super) boot: u64,
    boot_us: i64,
    replica: Replica,
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) fold: Option<Fold>,
    // The transaction of the newest fold.
    pub(super) folded: Zxid,
    conns: BTreeMap<u64, SimConn>,
    inputs: Vec<Input>,
    steps: VecDeque<Step>,
    // Handed to the log's thread and not yet in a sync that has begun.
    to_log: Vec<(WriteSeq, Zxid, Bytes)>,
    // The newest write of the sync under way, and how it came out.
    syncing: Option<(WriteSeq, bool)>,
    driver_scheduled: bool,
    // When the driver wakes by itself.
    timer_us: i64,
}

/// The machine went down while the server was doing something.
pub(super) struct PowerCut;

/// What came of a step of the server: it may have found a promise broken, or the machine may have gone down.
pub(super) enum Halt {
    Violation(super::check::Violation),
    PowerCut,
}

impl From<super::check::Violation> for Halt {
    fn from(violation: super::check::Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<PowerCut> for Halt {
    fn from(PowerCut: PowerCut) -> Self {
        Self::PowerCut
    }
}

pub(super) type Run<T = ()> = Result<T, Halt>;

impl SimServer {
    /// A server that has recovered `state` and `log`.
    pub(super) fn start(ctx: &mut Ctx, boot: u64, state: State, log: Log) -> Check<Self> {
        let boot_us = ctx.now_us / 1000 * 1000;
        let clock = Clock {
            monotonic_ms: 0,
            wall_ms: ctx.wall_ms(),
        };
        let mut effects = Vec::new();
        let replica = Replica::standalone(replica_params(&ctx.plan), clock, &state, &mut effects);
        let mut server = Self {
            boot,
            boot_us,
            replica,
            state,
            log,
            fold: None,
            folded: Zxid::ZERO,
            conns: BTreeMap::new(),
            inputs: Vec::new(),
            steps: VecDeque::new(),
            to_log: Vec::new(),
            syncing: None,
            driver_scheduled: false,
            timer_us: 0,
        };
        server.carry_out(ctx, effects)?;
        server.wake_driver(ctx);
        ctx.after(ctx.plan.fold_us, Event::Fold { boot });
        Ok(server)
    }

    fn clock(&self, ctx: &Ctx) -> Clock {
        Clock {
            monotonic_ms: (ctx.now_us - self.boot_us) / 1000,
            wall_ms: ctx.wall_ms(),
        }
    }

    fn wake_driver(&mut self, ctx: &mut Ctx) {
        if !self.driver_scheduled {
            self.driver_scheduled = true;
            ctx.soon(Event::Driver { boot: self.boot });
        }
    }

    fn input(&mut self, ctx: &mut Ctx, input: Input) {
        self.inputs.push(input);
        self.wake_driver(ctx);
    }

    /// Steps the replica with all that has come in, then applies a batch.
    pub(super) fn run_driver(&mut self, ctx: &mut Ctx) -> Run {
        self.driver_scheduled = false;
        let clock = self.clock(ctx);
        let mut effects = Vec::new();
        for mut input in std::mem::take(&mut self.inputs) {
            if let Input::Submitted(Submission::Connect { request, .. }) = &mut input
                && ctx.plan.has(Planted::PasswordIgnored)
            {
                request.password = Some(password_of(request.session).to_vec().into());
            }
            ctx.trace.say(|| format!("input {input:?}"));
            self.replica.step(clock, input, &self.state, &mut effects);
        }
        if clock.monotonic_ms >= self.replica.deadline() && !ctx.plan.has(Planted::ExpiryForgotten)
        {
            self.look_at_sessions(ctx, clock, &mut effects);
        }
        self.carry_out(ctx, effects)?;
        self.apply(ctx)?;
        ctx.sessions
            .on_looked(ctx.now_ms(), 2 * i64::from(TICK_MS))?;
        if !self.steps.is_empty() {
            self.wake_driver(ctx);
        }
        let deadline_us = self
            .boot_us
            .saturating_add(self.replica.deadline().saturating_mul(1000));
        let deadline_us = deadline_us.max(ctx.now_us + 1000);
        if self.timer_us <= ctx.now_us || deadline_us < self.timer_us {
            self.timer_us = deadline_us;
            ctx.at(deadline_us, Event::Driver { boot: self.boot });
        }
        Ok(())
    }

    fn look_at_sessions(&mut self, ctx: &Ctx, clock: Clock, effects: &mut Vec<Effect>) {
        for (session, conn) in self.replica.about_to_expire(clock) {
            let heard = conn
                .and_then(|conn| self.conns.get(&conn.0))
                .and_then(|conn| conn.heard);
            ctx.trace
                .say(|| format!("{session} on {conn:?} is about to expire, heard {heard:?}"));
            if let Some((_, at_ms)) = heard.filter(|_| !ctx.plan.has(Planted::SilenceAssumed)) {
                self.replica.step(
                    clock,
                    Input::Touched { session, at_ms },
                    &self.state,
                    effects,
                );
            }
        }
        self.replica
            .step(clock, Input::Wakeup, &self.state, effects);
    }

    fn carry_out(&mut self, ctx: &mut Ctx, effects: Vec<Effect>) -> Check {
        let mut effects: VecDeque<Effect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Write {
                    write,
                    zxid,
                    mut payload,
                } => {
                    if ctx.plan.has(Planted::WrongDigest) {
                        payload = changed(&payload, payload.len() - 1);
                    }
                    ctx.trace.bytes(&payload);
                    let cause = ctx.ledger.on_proposed(zxid, &payload)?;
                    ctx.trace.say(|| format!("{zxid}: {cause:?}"));
                    on_cause(ctx, &cause)?;
                    self.to_log.push((write, zxid, payload));
                    ctx.soon(Event::Log { boot: self.boot });
                    if ctx.plan.has(Planted::ApplyBeforeDurable) {
                        let clock = self.clock(ctx);
                        let mut more = Vec::new();
                        self.replica
                            .step(clock, Input::Durable(write), &self.state, &mut more);
                        effects.extend(more);
                    }
                }
                Effect::Commit(committed) => self.steps.push_back(Step::Commit(committed)),
                Effect::Connected { conn, response } => {
                    if let Some((session, knows)) = ctx.asked.get(&conn.0).copied() {
                        let let_in =
                            (response.session != SessionId::NONE).then_some(response.timeout_ms);
                        ctx.sessions
                            .on_reattach(session, knows, let_in, ctx.now_ms())?;
                    }
                    self.steps.push_back(Step::Connected(conn, response));
                }
                Effect::CloseConn { conn } => {
                    if let Some(conn) = self.conns.get_mut(&conn.0) {
                        conn.superseded = true;
                    }
                    self.steps.push_back(Step::Close(conn));
                }
                Effect::Expired { .. } | Effect::QuotaExceeded { .. } => {}
                other => unreachable!("of members of an ensemble only: {other:?}"),
            }
        }
        Ok(())
    }

    fn apply(&mut self, ctx: &mut Ctx) -> Check {
        let mut outputs = Outputs::default();
        let two_commits = matches!(
            (self.steps.front(), self.steps.get(1)),
            (Some(Step::Commit(_)), Some(Step::Commit(_)))
        );
        if two_commits && ctx.plan.has(Planted::CommitsSwapped) {
            self.steps.swap(0, 1);
        }
        for _ in 0..self.steps.len().min(ctx.plan.apply_at_once) {
            match self.steps.pop_front() {
                Some(Step::Commit(committed)) => {
                    let zxid = committed.entry.header.zxid;
                    ctx.ledger.on_applied(zxid)?;
                    if let Err(mismatch) = self.state.apply(&committed, &mut outputs) {
                        return broken(tree_digest::NAME, mismatch.to_string());
                    }
                    self.deliver(ctx, &mut outputs);
                }
                Some(Step::Connected(conn, response)) => {
                    let mut frame = Vec::new();
                    write_frame(&mut frame, |out| response.write(out));
                    let waiting = Waiting::Connected(frame.into(), response.session);
                    self.put(ctx, conn.0, waiting);
                }
                Some(Step::Close(conn)) => self.put(ctx, conn.0, Waiting::Close),
                None => break,
            }
        }
        tree_digest::same(
            self.state.last_zxid(),
            "counted along",
            self.state.digest(),
            ctx.ledger.last().digest,
        )
    }

    fn deliver(&mut self, ctx: &mut Ctx, outputs: &mut Outputs) {
        let mut waiting = Vec::new();
        for (conn, output) in outputs.iter() {
            let copy = Bytes::copy_from_slice;
            waiting.push((
                conn.0,
                match output {
                    Output::Event(frame) => Waiting::Event(copy(frame)),
                    Output::Reply(frame) => Waiting::Reply(copy(frame)),
                    Output::Connected { frame, session, .. } => {
                        Waiting::Connected(copy(frame), session)
                    }
                    Output::Close => Waiting::Close,
                },
            ));
        }
        outputs.clear();
        for (conn, waiting) in waiting {
            let is_event = matches!(waiting, Waiting::Event(_));
            let waiting = match waiting {
                // The last byte of a failed reply is the last one of its code.
                Waiting::Reply(frame) if frame.len() == 20 && ctx.plan.has(Planted::WrongCode) => {
                    Waiting::Reply(changed(&frame, 19))
                }
                waiting => waiting,
            };
            if is_event && ctx.plan.has(Planted::EventLost) && ctx.rng.chance(1, 4) {
                continue;
            }
            if let Waiting::Event(frame) = &waiting
                && ctx.plan.has(Planted::EventTwice)
                && ctx.rng.chance(1, 4)
            {
                self.put(ctx, conn, Waiting::Event(frame.clone()));
            }
            self.put(ctx, conn, waiting);
        }
    }

    fn put(&mut self, ctx: &mut Ctx, conn: u64, waiting: Waiting) {
        if let Some(to) = self.conns.get_mut(&conn) {
            to.outbox.push_back(waiting);
            self.wake_conn(ctx, conn);
        }
    }

    fn wake_conn(&mut self, ctx: &mut Ctx, conn: u64) {
        if let Some(to) = self.conns.get_mut(&conn)
            && !to.scheduled
        {
            to.scheduled = true;
            ctx.soon(Event::Conn {
                boot: self.boot,
                conn,
            });
        }
    }

    /// A client connects.
    pub(super) fn on_open(&mut self, conn: u64) {
        self.conns.insert(conn, SimConn::new(conn));
    }

    /// Bytes come in; those of connections that are gone, or of before a restart, reach nobody.
    pub(super) fn on_bytes(&mut self, ctx: &mut Ctx, conn: u64, bytes: &[u8]) {
        if let Some(to) = self.conns.get_mut(&conn) {
            to.inbox.extend_from_slice(bytes);
            self.wake_conn(ctx, conn);
        }
    }

    /// The client has closed its end. What it sent before may still be carried out.
    pub(super) fn on_end(&mut self, ctx: &mut Ctx, conn: u64) {
        let at_once = ctx.rng.chance(1, 2);
        if let Some(ended) = self.conns.get_mut(&conn) {
            ended.ended = true;
            if at_once {
                ended.inbox.clear();
            }
            self.wake_conn(ctx, conn);
        }
    }

    /// The task of one connection: what waits in the outbox first, then frames, then what can be begun, then one write.
    pub(super) fn run_conn(&mut self, ctx: &mut Ctx, id: u64) -> Run {
        let clock = self.clock(ctx);
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        conn.scheduled = false;
        let mut out = Vec::new();
        let mut closes = false;
        let reads_first = ctx.plan.has(Planted::EventsAfterReads);
        if !reads_first {
            closes = conn.drain(&ctx.plan, &self.state, &mut out);
        }
        let mut goes_on = Advance::Open;
        let mut submissions = Vec::new();
        if !closes {
            if let Err(reason) = conn.take_frames(ctx, clock.monotonic_ms) {
                goes_on = Advance::Close(reason);
            } else {
                let (state, most) = (&self.state, ctx.plan.out_bytes);
                goes_on = conn.advance(ctx, state, most, &mut out, &mut submissions);
            }
        }
        if reads_first {
            closes |= conn.drain(&ctx.plan, &self.state, &mut out);
        }
        // Only ready, never stuck: what waits for the replica wakes the task when it comes.
        let more = conn.machine.is_ready() || conn.has_frame() && conn.machine.wants_frames();
        let ended = conn.ended && !more;
        for submission in submissions {
            if let Submission::Write(request) = &submission
                && ctx.plan.has(Planted::RequestTwice)
                && ctx.rng.chance(1, 10)
            {
                self.input(ctx, Input::Submitted(Submission::Write(request.clone())));
            }
            self.input(ctx, Input::Submitted(submission));
        }
        match goes_on {
            Advance::Close(reason @ CloseReason::ClientAhead { .. }) => {
                broken(ack_means_durable::NAME, reason.to_string())?;
            }
            Advance::Close(_) => out.clear(),
            Advance::Open | Advance::CloseAfterFlush(_) => {}
        }
        if !out.is_empty() {
            let client = ctx.client_of(id);
            ctx.send(
                Wire::Down(id),
                Event::ToClient {
                    client,
                    conn: id,
                    bytes: out.into(),
                },
            );
        }
        if closes || ended || goes_on != Advance::Open {
            self.close(ctx, id);
        } else if more {
            self.wake_conn(ctx, id);
        }
        Ok(())
    }

    fn close(&mut self, ctx: &mut Ctx, id: u64) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        self.state.watches().detach(ConnId(id));
        // What the connection knows of its client goes with it.
        if let Some((session, at_ms)) = conn.heard.filter(|_| !ctx.plan.has(Planted::LastWordsLost))
        {
            self.input(ctx, Input::Touched { session, at_ms });
        }
        self.input(ctx, Input::Disconnected { conn: ConnId(id) });
        let client = ctx.client_of(id);
        ctx.send(Wire::Down(id), Event::ClientSeesEnd { client, conn: id });
    }

    /// The log's thread: takes all that waits, one sync for all of it.
    pub(super) fn run_log(&mut self, ctx: &mut Ctx) -> Run {
        if self.syncing.is_some() || self.to_log.is_empty() && !self.log.owes_sync() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.to_log);
        let is_new = !batch.is_empty();
        for (write, zxid, payload) in batch {
            self.log.append(write, zxid, payload)?;
        }
        let last = self.log.last_write();
        if is_new && ctx.plan.has(Planted::DurableBeforeSync) {
            self.input(ctx, Input::Durable(last));
            ctx.after(100_000, Event::Log { boot: self.boot });
            return Ok(());
        }
        let done = self.log.sync()?;
        ctx.trace.say(|| format!("sync up to {last:?}: {done}"));
        self.syncing = Some((last, done));
        let delay_us = ctx.rng.below(ctx.plan.sync_us + 1) + ctx.rng.below(ctx.slow_us + 1);
        ctx.after(delay_us, Event::LogDone { boot: self.boot });
        Ok(())
    }

    /// A sync is through: it is reported, or tried again.
    pub(super) fn on_log_done(&mut self, ctx: &mut Ctx) {
        let Some((write, done)) = self.syncing.take() else {
            return;
        };
        if done && !ctx.plan.has(Planted::LogSilent) {
            self.input(ctx, Input::Durable(write));
        }
        let pause_us = if done { 0 } else { 50_000 };
        ctx.after(pause_us, Event::Log { boot: self.boot });
    }

    /// Requests, by connection, that are not answered: for a message.
    pub(super) fn stuck(&self) -> String {
        let waiting: Vec<String> = self
            .conns
            .iter()
            .map(|(id, conn)| {
                format!(
                    "{id}: {} waiting, inbox {}",
                    conn.machine.outstanding(),
                    conn.inbox.len()
                )
            })
            .collect();
        format!(
            "{} not durable, {} steps, connections {waiting:?}",
            self.replica.outstanding(),
            self.steps.len()
        )
    }
}

/// A copy with one bit changed.
fn changed(frame: &Bytes, place: usize) -> Bytes {
    let mut copy = frame.to_vec();
    copy[place] ^= 1;
    copy.into()
}

fn on_cause(ctx: &mut Ctx, cause: &Cause) -> Check {
    let now_ms = ctx.now_ms();
    match cause {
        Cause::Begin {
            session,
            timeout_ms,
        } => {
            ctx.sessions.on_begun(*session, *timeout_ms, now_ms);
            Ok(())
        }
        Cause::Expiry(session) => ctx.sessions.on_expired(*session, now_ms),
        Cause::Request(_, sent) => {
            // A write that had to wait in its connection is a sign of life when its turn comes.
            ctx.sessions.on_heard(sent.who.session, now_ms);
            if sent.request == Request::CloseSession {
                ctx.sessions.on_closed(sent.who.session);
            }
            Ok(())
        }
        Cause::Abandoned(_) => Ok(()),
    }
}
