//! A server: its driver, its disk and its state as events, the same parts in the same order as in `zabd::runtime`.

mod driver;
mod effects;

use std::collections::{BTreeMap, VecDeque};

use jute_codec::Zxid;
use zabd::replica::Replica;
use zabd::replica::clock::Clock;
use zabd::replica::ensemble::{Configs, ServerId, Standalone};
use zabd::replica::input::Input;
use zabd::replica::params::ReplicaParams;
use zabd::replica::zab::{Recovered, Role, ZabParams};
use zabd::state::{State, StateParams};

use super::check::Check;
use super::conn::SimConn;
use super::difference::Difference;
use super::disk::{Disk, Logged, last};
use super::net::Node;
use super::plan::{Plan, Planted};
use super::storage::rebuilt;
use super::world::{Event, World};
use effects::Step;

/// The wall clock when a run begins: 2023-11-14.
const WALL_MS: i64 = 1_700_000_000_000;

/// The shortest and the longest session timeout, in ticks.
pub(super) const TIMEOUT_TICKS: (i64, i64) = (2, 20);

/// One that votes alone is an ensemble all the same.
pub(super) const STANDALONE: Standalone = Standalone::Disabled;

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
    pub(super) difference: Difference,
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
            difference: Difference::default(),
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
        let now_us = self.now_us / 1000 * 1000;
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
        let altered = server.disk.altered;
        let (state, _) = rebuilt(&self.plan, &self.chronicle, &history, altered, 0)?;
        let server = self.server(id);
        server.difference = Difference::of_copy(altered);
        server.state = state;
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

    /// Whether a history holds a transaction, for tests of the end.
    pub(super) fn is_everywhere(&self, zxid: Zxid) -> bool {
        self.servers
            .values()
            .all(|server| server.state.last_zxid() >= zxid)
    }
}
