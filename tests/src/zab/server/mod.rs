//! A server: inputs to its core, and the core's effects carried out.

mod effects;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jute_codec::Zxid;
use zabd::replica::ensemble::{Configs, ServerId, Standalone};
use zabd::replica::zab::{Recovered, Role, Zab, ZabEffect, ZabInput, ZabParams};

use super::book::{Seen, Server};
use super::check::Check;
use super::disk::{Aside, Disk, Write};
use super::entry::{Entry, last};
use super::net::{Staged, Way};
use super::plan::{Plan, Planted};
use super::world::{Event, World};

/// One server, up or down.
#[derive(Debug)]
pub(super) struct SimServer {
    pub(super) boot: u64,
    pub(super) configs: Configs,
    pub(super) zab: Option<Zab>,
    /// What has come while the server stands still.
    pub(super) mailbox: VecDeque<ZabInput>,
    pub(super) paused: bool,
    /// Its copy was said to be another than the leader's.
    pub(super) diverged: bool,
    pub(super) disk: Disk,
    /// A copy that was ruined.
    pub(super) aside: Option<Aside>,
    /// The state.
    pub(super) applied: Vec<Entry>,
    /// So many of `applied` were committed in an epoch that this server served in.
    pub(super) served: usize,
    pub(super) role: Role,
    pub(super) listening: bool,
    /// The connection on which a snapshot is waited for.
    pub(super) expecting: Option<u64>,
    /// Snapshots that have come and were not asked for yet.
    pub(super) snapshots: BTreeMap<u64, Staged>,
    pub(super) accepted: u64,
    /// Transactions of clients that wait for an answer.
    asked: BTreeSet<u64>,
    wakeup_ms: i64,
    /// Effects that were held back on purpose.
    pub(super) held: Vec<ZabEffect>,
    /// Writes that were put off on purpose.
    pub(super) put_off: Vec<Write>,
}

impl SimServer {
    pub(super) fn new(configs: Configs) -> Self {
        Self {
            boot: 0,
            configs,
            zab: None,
            mailbox: VecDeque::new(),
            paused: false,
            diverged: false,
            disk: Disk::default(),
            aside: None,
            applied: Vec::new(),
            served: 0,
            role: Role::Looking,
            listening: false,
            expecting: None,
            snapshots: BTreeMap::new(),
            accepted: 0,
            asked: BTreeSet::new(),
            wakeup_ms: i64::MAX,
            held: Vec::new(),
            put_off: Vec::new(),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.zab.is_some()
    }

    pub(super) fn serves(&self) -> bool {
        self.zab.as_ref().is_some_and(Zab::is_established)
    }

    pub(super) fn serves_under(&self, leader: Server) -> bool {
        let led_by = self.zab.as_ref().and_then(Zab::leader);
        self.serves() && led_by == Some(ServerId(leader))
    }

    pub(super) fn leads(&self) -> bool {
        self.role == Role::Leading && self.serves()
    }

    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        let zab = self.zab.as_ref().filter(|_| !self.paused)?;
        zab.next_zxid()
    }

    pub(super) fn leads_in(&self, epoch: i64) -> bool {
        let epochs = self.zab.as_ref().map(Zab::epochs);
        self.role == Role::Leading
            && self.serves()
            && epochs.is_some_and(|epochs| epochs.current == epoch)
    }

    pub(super) fn describe(&self) -> String {
        let Some(zab) = &self.zab else {
            return "down".to_owned();
        };
        format!(
            "{:?} under {:?}, serves: {}, {:?}, log {}, state {}, disk {} + {} writes, learners {:?}, in force {:?}, \
             proposed {:?}",
            self.role,
            zab.leader(),
            self.serves(),
            zab.epochs(),
            last(&self.disk.latest),
            last(&self.applied),
            last(&self.disk.durable),
            self.disk.pending.len(),
            zab.learners(),
            zab.configs().committed.text(),
            zab.configs().proposed.text(),
        )
    }
}

/// What the state says of the members when it is as of the end of this history.
pub(super) fn logged<T>(history: &[Entry], of: impl FnOnce(Option<(&str, i64)>) -> T) -> T {
    let newest = history.iter().rev().find_map(|entry| entry.members());
    let text = newest.as_ref().map(|members| members.text());
    let version = newest.as_ref().map(|members| members.version());
    of(text.as_deref().zip(version))
}

fn params(plan: &Plan, server: Server) -> ZabParams {
    ZabParams {
        tick_ms: plan.tick_ms,
        init_limit: plan.init_limit,
        sync_limit: plan.sync_limit,
        recent_max: plan.recent_max,
        force_snapshot_sync: plan.force_snapshot_sync,
        reconfig_enabled: plan.changes,
        standalone: Standalone::Disabled,
        notification_max_ms: plan.notification_max_ms,
        counter_max: plan.counter_max,
        ..ZabParams::new(ServerId(server))
    }
}

impl World {
    pub(super) fn server(&mut self, server: Server) -> &mut SimServer {
        self.servers
            .get_mut(&server)
            .expect("servers are never removed")
    }

    /// It comes up with what its disk has.
    pub(super) fn start(&mut self, id: Server) -> Check {
        if self.servers[&id].is_up() {
            return Ok(());
        }
        let (plan, now_ms) = (self.plan.clone(), self.now_ms());
        let repairs_epoch = self.rng.chance(1, 2);
        let recent_from = self.rng.below(8);
        let server = self.server(id);
        server.boot += 1;
        server.disk.loses_snapshots = plan.has(Planted::SnapshotNotSaved);
        let history = server.disk.latest.clone();
        // A log that goes on in an epoch has the whole history that the epoch began with.
        if repairs_epoch {
            let logged_in = last(&history).epoch();
            server.disk.epochs.current = server
                .disk
                .epochs
                .current
                .max(logged_in.min(server.disk.epochs.accepted));
        }
        let epochs = server.disk.epochs;
        let recent_from = match recent_from {
            0 => history.len(),
            some => server
                .disk
                .purged
                .max(history.len().saturating_sub(plan.recent_max))
                .saturating_sub(usize::from(some == 1))
                .max(server.disk.purged),
        };
        let recent = history[recent_from..]
            .iter()
            .map(|entry| (entry.zxid, entry.txn()));
        let recovered = Recovered {
            epochs,
            last: last(&history),
            recent: recent.collect(),
            may_lack: server.disk.lacks && !plan.has(Planted::RepairedVotes),
        };
        server.applied.clone_from(&history);
        server.served = server.disk.folded;
        server.role = Role::Looking;
        server.wakeup_ms = i64::MAX;
        let mut effects = Vec::new();
        let mut configs = server.configs.clone();
        let version = configs.committed.version();
        if plan.changes && !plan.has(Planted::ChangesForgotten) {
            configs = logged(&history, |logged| {
                configs.with_logged(logged, Standalone::Disabled)
            });
        }
        server.zab = Some(Zab::new(
            params(&plan, id),
            configs,
            recovered,
            now_ms,
            &mut effects,
        ));
        let boot = server.boot;
        self.trace.step(self.now_us, "start", id.cast_unsigned());
        self.see(&Seen::Recovered {
            server: id,
            epochs,
            history: &history,
            lacks: self.servers[&id].disk.lacks,
        })?;
        self.see(&Seen::InForce {
            server: id,
            version,
        })?;
        let fold_us = self.rng.below(self.plan.fold_us);
        self.after(fold_us, Event::Fold { server: id, boot });
        self.resend_to(id);
        self.resume_pipes();
        self.carry_out(id, effects)
    }

    /// It goes down; with `power` gone nobody is told.
    pub(super) fn crash(&mut self, id: Server, power: bool) -> Check {
        if !self.servers[&id].is_up() {
            return Ok(());
        }
        self.trace.step(self.now_us, "crash", id.cast_unsigned());
        self.report.crashes += 1;
        let loses_tail = self.plan.has(Planted::LogTailLost);
        let loses_epochs = self.plan.has(Planted::EpochsLost);
        let mut rng = self.rng.fork();
        let server = self.server(id);
        server.zab = None;
        server.mailbox.clear();
        server.held.clear();
        server.put_off.clear();
        server.asked.clear();
        server.snapshots.clear();
        server.expecting = None;
        server.paused = false;
        server.diverged = false;
        server.listening = false;
        let written = server.disk.crash(&mut rng);
        if loses_tail {
            let kept = server.disk.durable.len().saturating_sub(rng.place(4));
            server.disk.durable.truncate(kept);
            server.disk.latest.truncate(kept);
            server.disk.stay_within();
        }
        if loses_epochs {
            server.disk.epochs = zabd::replica::zab::Epochs::default();
        }
        for write in written {
            self.see(&Seen::OnDisk {
                server: id,
                written: &write.what,
            })?;
        }
        self.damage(id);
        self.lose_links(id, power);
        let down_us = self.rng.below(8 * self.plan.tick_ms.cast_unsigned() * 1000);
        self.after(down_us, Event::Start { server: id });
        Ok(())
    }

    /// Something for the core, unless the server is another by now.
    pub(super) fn feed(&mut self, id: Server, boot: u64, input: ZabInput) -> Check {
        let server = self.server(id);
        if server.boot != boot || !server.is_up() {
            return Ok(());
        }
        if server.paused {
            server.mailbox.push_back(input);
            return Ok(());
        }
        self.step(id, input)
    }

    pub(super) fn feed_later(&mut self, delay_us: u64, id: Server, input: ZabInput) {
        let boot = self.servers[&id].boot;
        let event = Event::Input {
            server: id,
            boot,
            input,
        };
        self.after(delay_us, event);
    }

    fn step(&mut self, id: Server, input: ZabInput) -> Check {
        self.trace
            .step(self.now_us, kind(&input), id.cast_unsigned());
        self.trace.say(|| format!("{id} < {input:?}"));
        self.see_arrival(id, &input)?;
        if self.overlooks(id, &input) {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let mut effects = self.hasty(&input);
        let server = self.server(id);
        if let Some(zab) = &mut server.zab {
            if matches!(
                input,
                ZabInput::Truncated { .. } | ZabInput::Installed { .. }
            ) {
                logged(&server.applied, |logged| {
                    zab.know_members(logged, &mut effects)
                });
            }
            zab.step(now_ms, input, &mut effects);
        }
        self.carry_out(id, effects)
    }

    /// A packet has arrived when the server looks at it.
    fn see_arrival(&mut self, id: Server, input: &ZabInput) -> Check {
        let (ZabInput::FromLeader { link, .. } | ZabInput::FromLearner { link, .. }) = input else {
            return Ok(());
        };
        let Some((number, _)) = self.net.find(id, *link) else {
            return Ok(());
        };
        let link = self.net.conns[&number].link;
        match input {
            ZabInput::FromLeader { packet, .. } => self.see(&Seen::AtLearner { link, packet }),
            ZabInput::FromLearner { packet, .. } => self.see(&Seen::AtLeader { link, packet }),
            _ => Ok(()),
        }
    }

    pub(super) fn on_wakeup(&mut self, id: Server, boot: u64) -> Check {
        let now_ms = self.now_ms();
        let server = self.server(id);
        let due = server
            .zab
            .as_ref()
            .is_some_and(|zab| zab.deadline() <= now_ms);
        if server.boot != boot {
            return Ok(());
        }
        server.wakeup_ms = i64::MAX;
        if server.paused {
            return Ok(());
        }
        if due {
            return self.step(id, ZabInput::Wakeup);
        }
        self.arm(id);
        Ok(())
    }

    pub(super) fn resume(&mut self, id: Server) -> Check {
        let server = self.server(id);
        if !server.paused {
            return Ok(());
        }
        server.paused = false;
        self.trace.step(self.now_us, "resume", id.cast_unsigned());
        while let Some(input) = self.server(id).mailbox.pop_front() {
            self.step(id, input)?;
            if !self.servers[&id].is_up() {
                return Ok(());
            }
        }
        self.arm(id);
        self.resume_pipes();
        Ok(())
    }

    fn arm(&mut self, id: Server) {
        let server = self.server(id);
        let Some(zab) = &server.zab else { return };
        let deadline_ms = zab.deadline();
        if deadline_ms < server.wakeup_ms {
            server.wakeup_ms = deadline_ms;
            let boot = server.boot;
            self.at(
                deadline_ms.saturating_mul(1000),
                Event::Wakeup { server: id, boot },
            );
        }
    }

    pub(super) fn propose(&mut self, id: Server, entry: Entry) -> Check {
        self.see(&Seen::Proposed { server: id, entry })?;
        let mut effects = Vec::new();
        let server = self.server(id);
        server.asked.insert(entry.number);
        if let Some(zab) = &mut server.zab {
            zab.propose(entry.zxid, entry.txn(), &mut effects);
        }
        self.carry_out(id, effects)?;
        self.acknowledge_for_the_new(id, entry);
        Ok(())
    }

    pub(super) fn is_end_alive(&self, number: u64, way: Way) -> bool {
        self.net.conns.get(&number).is_some_and(|conn| {
            let end = conn.end(way);
            let server = &self.servers[&end.server];
            end.open && server.is_up() && server.boot == end.boot
        })
    }
}

const fn kind(input: &ZabInput) -> &'static str {
    match input {
        ZabInput::Notified { .. } => "notified",
        ZabInput::LinkUp { .. } => "link up",
        ZabInput::LinkDown { .. } => "link down",
        ZabInput::FromLearner { .. } => "from learner",
        ZabInput::FromLeader { .. } => "from leader",
        ZabInput::Unknown { .. } => "unknown",
        ZabInput::Durable(_) => "durable",
        ZabInput::LogTrouble => "log trouble",
        ZabInput::Diverged => "diverged",
        ZabInput::Checked { .. } => "checked",
        ZabInput::LookedUp { .. } => "looked up",
        ZabInput::Heard { .. } => "heard",
        ZabInput::Truncated { .. } => "truncated",
        ZabInput::Installed { .. } => "installed",
        ZabInput::NotInstalled => "not installed",
        ZabInput::Wakeup => "wakeup",
    }
}
