//! A server: its driver, its disk and its state as events, the same parts in the same order as in `zabd::runtime`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, ReplyHeader};
use jute_codec::txn::Txn;
use jute_codec::{SessionId, Text, Zxid};
use zabd::replica::Replica;
use zabd::replica::clock::Clock;
use zabd::replica::effect::{Answer, Effect};
use zabd::replica::ensemble::{Configs, ServerId, Standalone};
use zabd::replica::input::Input;
use zabd::replica::params::ReplicaParams;
use zabd::replica::zab::{Recovered, Role, ZabEffect, ZabInput, ZabParams};
use zabd::state::conn::ConnId;
use zabd::state::{Committed, Outputs, Service, State, StateParams};

use super::check::{Check, broken, leaders_only_lead, replicas_agree, server_stays_up};
use super::conn::SimConn;
use super::disk::{Disk, Logged, Write, Written, last};
use super::net::{Node, Out};
use super::plan::{Plan, Planted};
use super::storage::rebuilt;
use super::world::{Event, World};

/// The wall clock when a run begins: 2023-11-14.
const WALL_MS: i64 = 1_700_000_000_000;

/// The shortest and the longest session timeout, in ticks.
pub(super) const TIMEOUT_TICKS: (i64, i64) = (2, 20);

/// One that votes alone is an ensemble all the same.
pub(super) const STANDALONE: Standalone = Standalone::Disabled;

/// Something for the state or for connections, in the order of the replica's effects.
#[derive(Debug)]
pub(super) enum Step {
    Commit(Box<Committed>),
    Connected(ConnId, ConnectResponse),
    Close(ConnId),
    Synced(ConnId, i32, Option<Text>),
    Answered(ConnId, i32, Answer),
    Serve(Service),
    ServeReadOnly,
    Config(Text, i64),
    ReplaceState(ZabEffect),
}

/// One server, up or down.
#[derive(Debug)]
pub(super) struct SimServer {
    pub(super) boot: u64,
    boot_us: i64,
    /// How far the wall clock is off, in milliseconds.
    pub(super) skew_ms: i64,
    /// How far the monotonic clock runs ahead, in milliseconds: a fault that is planted.
    pub(super) ahead_ms: i64,
    pub(super) configs: Configs,
    pub(super) replica: Option<Replica>,
    pub(super) state: State,
    /// What the state is made of.
    pub(super) applied: Vec<Logged>,
    /// So many of `applied` are known to be what was committed.
    pub(super) verified: usize,
    pub(super) conns: BTreeMap<u64, SimConn>,
    inputs: Vec<Input>,
    pub(super) steps: VecDeque<Step>,
    pub(super) disk: Disk,
    pub(super) paused: bool,
    /// Down without a word, as with the power gone.
    pub(super) silent: bool,
    /// What has come up while it stands still.
    pub(super) postponed: Vec<Event>,
    pub(super) listening: bool,
    /// The connection on which a snapshot is waited for.
    pub(super) expecting: Option<u64>,
    pub(super) accepted: u64,
    driver_scheduled: bool,
    timer_us: i64,
    /// What it said last of its role. By the end of a step it may have another one.
    said_role: Role,
    /// Since when it serves clients.
    pub(super) serving_since_us: Option<i64>,
    /// When the last thing went wrong with it that may keep it from being heard.
    pub(super) disturbed_us: i64,
}

impl SimServer {
    pub(super) fn new(configs: Configs) -> Self {
        Self {
            boot: 0,
            boot_us: 0,
            skew_ms: 0,
            ahead_ms: 0,
            configs,
            replica: None,
            state: State::new(StateParams::default()),
            applied: Vec::new(),
            verified: 0,
            conns: BTreeMap::new(),
            inputs: Vec::new(),
            steps: VecDeque::new(),
            disk: Disk::default(),
            paused: false,
            silent: false,
            postponed: Vec::new(),
            listening: false,
            expecting: None,
            accepted: 0,
            driver_scheduled: false,
            timer_us: i64::MIN,
            said_role: Role::Looking,
            serving_since_us: None,
            disturbed_us: 0,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// Whether clients may read what is committed.
    pub(super) fn is_serving(&self) -> bool {
        self.replica.is_some() && self.state.is_committed()
    }

    pub(super) fn leads(&self) -> bool {
        self.is_serving() && self.role() == Role::Leading
    }

    pub(super) fn role(&self) -> Role {
        let zab = self.replica.as_ref().and_then(Replica::zab);
        zab.map_or(Role::Looking, |zab| zab.role())
    }

    pub(super) fn leader(&self) -> Option<ServerId> {
        self.replica.as_ref()?.zab()?.leader()
    }

    /// The epoch that it serves in.
    pub(super) fn epoch(&self) -> i64 {
        let zab = self.replica.as_ref().and_then(Replica::zab);
        let leads = zab.and_then(|zab| zab.next_zxid());
        leads.map_or(self.disk.epochs.current, |zxid| zxid.epoch())
    }

    /// So much of the history may get into its snapshot.
    pub(super) fn foldable(&self) -> usize {
        self.verified.min(self.disk.durable.len())
    }

    pub(super) fn clock(&self, now_us: i64) -> Clock {
        Clock {
            monotonic_ms: (now_us - self.boot_us) / 1000 + self.ahead_ms,
            wall_ms: WALL_MS + now_us / 1000 + self.skew_ms,
        }
    }

    /// A time of the server's monotonic clock, as the world counts.
    pub(super) const fn world_ms(&self, at_ms: i64) -> i64 {
        at_ms + self.boot_us / 1000 - self.ahead_ms
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "role {:?} of {:?}, serving {}, epochs {:?}, applied {} up to {}, verified {}, logged {}, {} pending, {} \
             steps, {} conns",
            self.role(),
            self.leader(),
            self.is_serving(),
            self.disk.epochs,
            self.applied.len(),
            last(&self.applied),
            self.verified,
            last(&self.disk.latest),
            self.disk.pending.len(),
            self.steps.len(),
            self.conns.len()
        )
    }
}

fn replica_params(plan: &Plan, server: Node) -> ReplicaParams {
    let ms = |ticks: i64| i32::try_from(plan.tick_ms * ticks).unwrap_or(i32::MAX);
    ReplicaParams {
        server_id: u8::try_from(server).unwrap_or(u8::MAX),
        tick_ms: ms(1),
        session_timeout_min_ms: ms(TIMEOUT_TICKS.0),
        session_timeout_max_ms: ms(TIMEOUT_TICKS.1),
        container_check_interval_ms: 3000,
        reconfig_enabled: plan.changes,
        standalone: STANDALONE,
        local_sessions: plan.local_sessions,
        leader_serves: plan.leader_serves,
        read_only_after_ms: plan.read_only_ticks.map(|ticks| ticks * plan.tick_ms),
        ..ReplicaParams::default()
    }
}

fn zab_params(plan: &Plan, server: Node) -> ZabParams {
    ZabParams {
        tick_ms: plan.tick_ms,
        init_limit: plan.init_limit,
        sync_limit: plan.sync_limit,
        recent_max: plan.recent_max,
        force_snapshot_sync: plan.force_snapshot_sync,
        notification_max_ms: plan.notification_max_ms,
        reconfig_enabled: plan.changes,
        standalone: STANDALONE,
        ..ZabParams::new(ServerId(server))
    }
}

impl World {
    pub(super) fn server(&mut self, server: Node) -> &mut SimServer {
        self.servers
            .get_mut(&server)
            .expect("servers are never removed")
    }

    pub(super) fn server_ids(&self) -> Vec<Node> {
        self.servers.keys().copied().collect()
    }

    /// It comes up with what its disk has.
    pub(super) fn start(&mut self, id: Node) -> Check {
        if self.servers[&id].is_up() {
            return Ok(());
        }
        self.trace.step(self.now_us, "start", id.cast_unsigned());
        let (seed, now_us) = (self.plan.seed, self.now_us / 1000 * 1000);
        let recent = self.rng.place(self.plan.recent_max.min(100) + 1);
        let repaired_votes = self.plan.has(Planted::RepairedVotes);
        let (replica_params, zab_params) =
            (replica_params(&self.plan, id), zab_params(&self.plan, id));
        let server = self.server(id);
        server.boot += 1;
        server.said_role = Role::Looking;
        server.boot_us = now_us;
        server.ahead_ms = 0;
        server.silent = false;
        server.disturbed_us = now_us;
        if repaired_votes {
            server.disk.lacks = false;
        }
        let history = server.disk.durable.clone();
        let logged = &history[server.disk.purged..];
        let recent = &logged[logged.len().saturating_sub(recent)..];
        let recovered = Recovered {
            epochs: server.disk.epochs,
            last: last(&history),
            recent: recent
                .iter()
                .map(|logged| (logged.zxid, logged.txn.clone()))
                .collect(),
            may_lack: server.disk.lacks && !repaired_votes,
        };
        server.state = rebuilt(seed, &history)?;
        server.verified = 0;
        server.applied = history;
        server.timer_us = i64::MIN;
        let mut effects = Vec::new();
        let clock = server.clock(now_us);
        let configs = self.known_members(id);
        let server = self.server(id);
        server.replica = Some(Replica::member(
            replica_params,
            zab_params,
            configs,
            recovered,
            clock,
            &mut effects,
        ));
        let boot = server.boot;
        let fold_us = self.rng.below(self.plan.fold_us);
        self.after(fold_us, Event::Fold { server: id, boot });
        self.resend_to(id);
        self.resume_pipes();
        self.carry_out(id, effects)?;
        self.wake_driver(id);
        Ok(())
    }

    /// It goes down; with `power` gone nobody is told.
    pub(super) fn crash(&mut self, id: Node, power: bool) {
        if !self.servers[&id].is_up() {
            return;
        }
        self.trace.step(self.now_us, "crash", id.cast_unsigned());
        self.report.crashes += 1;
        let mut rng = self.rng.fork();
        let (loses_tail, was_told) = (
            self.plan.has(Planted::LogTailLost),
            self.plan.has(Planted::DurableBeforeSync),
        );
        let server = self.server(id);
        server.replica = None;
        server.inputs.clear();
        server.steps.clear();
        server.postponed.clear();
        server.conns.clear();
        server.expecting = None;
        server.paused = false;
        server.silent = power;
        server.listening = false;
        server.driver_scheduled = false;
        server.serving_since_us = None;
        server.disk.crash(&mut rng);
        if loses_tail || was_told {
            server.disk.lose_tail(rng.place(4));
        }
        self.damage(id);
        self.lose_links(id, power);
        let down_us = self.rng.below(8 * self.tick_us());
        self.after(down_us, Event::Start { server: id });
    }

    pub(super) fn wake_driver(&mut self, id: Node) {
        let server = self.server(id);
        if server.is_up() && !server.driver_scheduled {
            server.driver_scheduled = true;
            let boot = server.boot;
            self.soon(Event::Driver { server: id, boot });
        }
    }

    pub(super) fn input(&mut self, id: Node, input: Input) {
        self.server(id).inputs.push(input);
        self.wake_driver(id);
    }

    /// Steps the replica with all that has come in, then applies a batch.
    pub(super) fn run_driver(&mut self, id: Node) -> Check {
        self.server(id).driver_scheduled = false;
        // Everything that was decided is applied before anything else is.
        if self.servers[&id].steps.is_empty() {
            let mut effects = Vec::new();
            if self.is_overdue(id) {
                self.step(id, Input::Overdue, &mut effects);
            }
            for input in std::mem::take(&mut self.server(id).inputs) {
                self.step(id, input, &mut effects);
            }
            self.maybe_wake_up(id, &mut effects);
            self.carry_out(id, effects)?;
        }
        self.apply(id)?;
        let server = &self.servers[&id];
        if !server.is_up() {
            return Ok(());
        }
        if !server.steps.is_empty() || !server.inputs.is_empty() {
            self.wake_driver(id);
        }
        self.arm(id);
        Ok(())
    }

    fn step(&mut self, id: Node, mut input: Input, effects: &mut Vec<Effect>) {
        self.tamper_input(id, &mut input);
        self.trace.say(|| format!("{id} < {input:?}"));
        self.hear_input(id, &input, effects);
        let now_us = self.now_us;
        let server = self.server(id);
        let clock = server.clock(now_us);
        if let Some(replica) = &mut server.replica {
            replica.step(clock, input, &server.state, effects);
        }
        self.unmark(id);
    }

    fn is_overdue(&self, id: Node) -> bool {
        let server = &self.servers[&id];
        let now_ms = server.clock(self.now_us).monotonic_ms;
        let replica = server.replica.as_ref();
        replica.is_some_and(|replica| now_ms >= replica.deadline())
    }

    /// What has a deadline that has come; first, connections are asked what they have heard.
    fn maybe_wake_up(&mut self, id: Node, effects: &mut Vec<Effect>) {
        let server = &self.servers[&id];
        let clock = server.clock(self.now_us);
        let Some(replica) = &server.replica else {
            return;
        };
        if !self.is_overdue(id) {
            return;
        }
        if server.leads() && self.plan.has(Planted::ExpiryForgotten) {
            // Leading goes on, sessions are not looked at.
            let kept = replica.about_to_expire(clock);
            for (session, _) in kept {
                let at_ms = clock.monotonic_ms;
                self.step(id, Input::Touched { session, at_ms }, effects);
            }
        }
        let Some(replica) = &self.servers[&id].replica else {
            return;
        };
        for (session, conn) in replica.about_to_expire(clock) {
            let server = &self.servers[&id];
            let heard = conn
                .and_then(|conn| server.conns.get(&conn.0))
                .and_then(|conn| conn.heard_ms);
            if let Some(at_ms) = heard
                && !(server.leads() && self.plan.has(Planted::SilenceAssumed))
            {
                self.step(id, Input::Touched { session, at_ms }, effects);
            }
        }
        self.step(id, Input::Wakeup, effects);
    }

    fn arm(&mut self, id: Node) {
        let now_us = self.now_us;
        let server = self.server(id);
        let Some(replica) = &server.replica else {
            return;
        };
        let deadline_ms = replica.deadline().saturating_sub(server.ahead_ms);
        let deadline_us = deadline_ms
            .saturating_mul(1000)
            .saturating_add(server.boot_us)
            .max(now_us + 1000);
        if server.timer_us <= now_us || deadline_us < server.timer_us {
            server.timer_us = deadline_us;
            let boot = server.boot;
            if deadline_us < i64::MAX / 2 {
                self.at(deadline_us, Event::Timer { server: id, boot });
            }
        }
    }

    pub(super) fn carry_out(&mut self, id: Node, effects: Vec<Effect>) -> Check {
        for effect in self.tamper(id, effects) {
            self.trace.say(|| format!("    {id} > {effect:?}"));
            let step = match effect {
                Effect::Write {
                    write,
                    zxid,
                    payload,
                } => {
                    self.sessions.on_logged(&payload);
                    let logged = Logged { zxid, txn: payload };
                    self.write(id, Write::of(write, Written::Txn(logged)));
                    continue;
                }
                Effect::StoreEpochs { write, epochs } => {
                    self.write(id, Write::of(write, Written::Epochs(epochs)));
                    continue;
                }
                Effect::Expired { session } => {
                    self.report.expired += 1;
                    self.on_expired(id, session.0)?;
                    continue;
                }
                // Nobody asks for it in these runs.
                Effect::QuotaExceeded { .. } => continue,
                Effect::ServeReadOnly => Step::ServeReadOnly,
                Effect::Peer(
                    effect @ (ZabEffect::Truncate { .. } | ZabEffect::ReceiveSnapshot { .. }),
                ) => Step::ReplaceState(effect),
                Effect::Peer(effect) => {
                    self.peer(id, effect)?;
                    continue;
                }
                Effect::Commit(committed) => Step::Commit(committed),
                Effect::Connected { conn, response } => {
                    let leads = self.servers[&id].said_role == Role::Leading;
                    if leads && !self.plan.leader_serves && response.session != SessionId::NONE {
                        return leaders_only_lead::let_in(id, response.session.0);
                    }
                    Step::Connected(conn, response)
                }
                Effect::CloseConn { conn } => Step::Close(conn),
                Effect::Synced { conn, xid, path } => Step::Synced(conn, xid, path),
                Effect::Answered { conn, xid, answer } => Step::Answered(conn, xid, answer),
                Effect::Serve => {
                    self.on_reign(id);
                    Step::Serve(Service::Full)
                }
                Effect::ServeNobody => {
                    self.on_reign(id);
                    let serves = self.plan.has(Planted::LeaderServes);
                    Step::Serve(if serves {
                        Service::Full
                    } else {
                        Service::Others
                    })
                }
                Effect::StopServing => Step::Serve(Service::None),
                Effect::Config { .. } if self.plan.has(Planted::MembersUnsaid) => continue,
                Effect::Config { text, version } => Step::Config(text, version),
            };
            self.server(id).steps.push_back(step);
        }
        Ok(())
    }

    fn peer(&mut self, id: Node, effect: ZabEffect) -> Check {
        match effect {
            ZabEffect::Notify { to, notification } => self.notify(id, to.0, notification),
            ZabEffect::ConnectElection => self.resend_from(id),
            ZabEffect::Connect { link, leader } => {
                let boot = self.servers[&id].boot;
                let delay_us = self.network_delay();
                let event = Event::Dial {
                    server: id,
                    boot,
                    id: link,
                    leader: leader.0,
                    attempts: 5,
                };
                self.after(delay_us, event);
            }
            ZabEffect::Listen(listening) => self.server(id).listening = listening,
            ZabEffect::CloseLink { link } => self.close(id, link),
            ZabEffect::ToLearner { link, packet } => self.send_out(id, link, Out::Packet(packet)),
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => self.send_out(id, link, Out::Log { after, through }),
            ZabEffect::SendSnapshot { link, through } => {
                self.send_out(id, link, Out::Snapshot { through });
            }
            ZabEffect::ToLeader { link, packet } => self.send_up(id, link, packet),
            ZabEffect::Members { configs } => self.on_members(id, &configs),
            ZabEffect::LookUp { link, zxid } => {
                let found = self.servers[&id].disk.look_up(zxid);
                let unusable = self.rng.chance(1, self.plan.unusable_one_in);
                let found = if unusable {
                    zabd::replica::zab::LogPlace::Unusable
                } else {
                    found
                };
                let delay_us = self.rng.below(self.plan.bulk_us);
                self.tell_later(delay_us, id, ZabInput::LookedUp { link, found });
            }
            ZabEffect::RoleChanged { role, leader, .. } => {
                let leader = leader.map_or(0, |leader| leader.0.cast_unsigned());
                self.trace.step(self.now_us, "role", leader);
                self.server(id).said_role = role;
                self.report.reigns += u64::from(role == Role::Leading);
            }
            ZabEffect::Fatal { why } => {
                return server_stays_up::stuck(format!("{id} gives up: {why}"));
            }
            other => return server_stays_up::stuck(format!("{id} says {other:?}")),
        }
        Ok(())
    }

    /// Applies a batch, and hands on what connections are to hear.
    fn apply(&mut self, id: Node) -> Check {
        let mut outputs = Outputs::default();
        for _ in 0..self.plan.apply_at_once {
            let Some(step) = self.server(id).steps.pop_front() else {
                break;
            };
            match step {
                Step::Commit(committed) => {
                    self.commit(id, &committed, &mut outputs)?;
                }
                Step::Connected(conn, response) => {
                    self.on_let_in(id, conn.0, &response)?;
                    outputs.connected(conn, &response);
                }
                Step::Close(conn) => outputs.close(conn),
                Step::Synced(conn, xid, path) => {
                    let mut zxid = self.servers[&id].state.last_zxid();
                    if self.plan.has(Planted::SyncNamesOldZxid) && zxid.counter() > 1 {
                        zxid = Zxid(zxid.0 - 1);
                    }
                    let header = ReplyHeader { xid, zxid, err: 0 };
                    self.deliver_outputs(id, &mut outputs);
                    self.answer_sync(id, conn, &header, path.as_ref());
                }
                Step::Answered(conn, xid, answer) => {
                    let reads_only = self.servers[&id].state.service() == Service::ReadOnly;
                    if answer == Answer::Done && !reads_only {
                        self.on_closed_here(id, conn.0);
                    }
                    let zxid = self.servers[&id].state.last_zxid();
                    answer.tell(conn, xid, zxid, &mut outputs);
                }
                // The time is that of the server, which the model knows nothing of.
                Step::Config(text, version) => self.server(id).state.set_config(&text, version, 0),
                Step::ServeReadOnly => {
                    self.report.shows += 1;
                    self.trace
                        .step(self.now_us, "read only", id.cast_unsigned());
                    self.server(id).state.set_service(Service::ReadOnly);
                }
                Step::Serve(service @ (Service::Full | Service::Others)) => {
                    self.begin_to_serve(id, service)?;
                }
                Step::Serve(_) => {
                    self.deliver_outputs(id, &mut outputs);
                    let server = self.server(id);
                    server.state.set_service(Service::None);
                    server.serving_since_us = None;
                    server.disturbed_us = i64::MAX;
                    self.close_all(id);
                }
                Step::ReplaceState(effect) => {
                    self.replace_state(id, effect);
                    break;
                }
            }
        }
        self.deliver_outputs(id, &mut outputs);
        Ok(())
    }

    fn commit(&mut self, id: Node, committed: &Committed, outputs: &mut Outputs) -> Check {
        let zxid = committed.entry.header.zxid;
        let mut txn = Vec::new();
        committed.entry.write(&mut txn);
        let txn = Bytes::from(txn);
        let server = self.server(id);
        let place = server.applied.len();
        server.applied.push(Logged {
            zxid,
            txn: txn.clone(),
        });
        let serves = server.state.is_committed();
        if serves {
            server.verified = place + 1;
            self.chronicle.on_committed(place, zxid, &txn)?;
            self.trace.bytes(&txn);
        }
        let changes_members = matches!(committed.entry.txn, Txn::Reconfig(_));
        let leads = self.servers[&id].leads();
        let mut committed = committed.clone();
        if self.plan.has(Planted::AppliedGarbled) && self.rng.chance(1, 8) {
            committed.entry.header.time += 1;
        }
        let server = self.server(id);
        if let Err(mismatch) = server.state.apply(&committed, outputs) {
            return broken(replicas_agree::NAME, format!("{id}: {mismatch}"));
        }
        if serves {
            let digest = server.state.digest();
            self.chronicle.compare_digest(id, zxid, digest)?;
            if changes_members {
                self.report.changes += u64::from(leads);
                self.check_members(id)?;
            }
        }
        Ok(())
    }

    fn begin_to_serve(&mut self, id: Node, service: Service) -> Check {
        let now_us = self.now_us;
        self.trace.step(now_us, "serve", id.cast_unsigned());
        let runs = self.plan.has(Planted::ClockRuns);
        let tick_ms = self.plan.tick_ms;
        let server = &self.servers[&id];
        let leads = server.role() == Role::Leading;
        // All of it is committed now.
        for place in server.verified..server.applied.len() {
            let Logged { zxid, txn } = &server.applied[place];
            self.chronicle.on_committed(place, *zxid, txn)?;
        }
        let (count, digest) = (server.applied.len(), server.state.digest());
        if leads {
            let epoch = server.epoch();
            self.chronicle.on_leader(id, epoch, count)?;
        }
        self.chronicle
            .compare_digest(id, last(&server.applied), digest)?;
        self.check_members(id)?;
        let server = self.server(id);
        server.verified = count;
        server.state.set_service(service);
        server.serving_since_us = Some(now_us);
        server.disturbed_us = now_us;
        if leads && runs {
            server.ahead_ms += tick_ms * 12;
        }
        Ok(())
    }

    /// Whether a history holds a transaction, for tests of the end.
    pub(super) fn is_everywhere(&self, zxid: Zxid) -> bool {
        self.servers
            .values()
            .all(|server| server.state.last_zxid() >= zxid)
    }
}
