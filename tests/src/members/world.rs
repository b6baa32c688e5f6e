//! The loop of a run: events in order of time, until all faults are over and everybody is served again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jute_codec::quorum::LearnerPacket;
use zabd::replica::ensemble::{Configs, ServerId};
use zabd::replica::zab::{LinkId, ZabInput};

use super::check::{Check, Violation, ephemerals_follow_sessions, heals_and_serves};
use super::chronicle::Chronicle;
use super::client::SimClient;
use super::locals::Locals;
use super::membership::{self, InForce};
use super::net::{FIRST_CLIENT, Net, Node, Way};
use super::plan::Plan;
use super::server::{SimServer, TIMEOUT_TICKS};
use super::sessions::Sessions;
use crate::sim::check::nothing_half_applied;
use crate::sim::probe::read_all;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Start {
        server: Node,
    },
    Crash {
        server: Node,
    },
    /// Who drives the replica looks whether there is something to do.
    Driver {
        server: Node,
        boot: u64,
    },
    /// A deadline has come.
    Timer {
        server: Node,
        boot: u64,
    },
    /// A connection's task does.
    Conn {
        server: Node,
        boot: u64,
        number: u64,
    },
    Input {
        server: Node,
        boot: u64,
        input: ZabInput,
    },
    Written {
        server: Node,
        boot: u64,
    },
    Fold {
        server: Node,
        boot: u64,
    },
    Resume {
        server: Node,
    },
    Repair {
        server: Node,
    },
    /// What a server sends and is sent takes no longer than usual again.
    Hasten {
        server: Node,
    },
    /// A packet that was kept back.
    Late {
        server: Node,
        boot: u64,
        link: LinkId,
        packet: Box<LearnerPacket>,
    },
    /// A message of the election arrives.
    Notified {
        from: Node,
        to: Node,
    },
    /// Something on a connection does.
    Arrived {
        number: u64,
        way: Way,
    },
    /// A part of the log, or a snapshot, was read.
    Read {
        number: u64,
    },
    Dial {
        server: Node,
        boot: u64,
        id: LinkId,
        leader: Node,
        attempts: u64,
    },
    /// A client decides what to do next.
    Client {
        client: Node,
        turn: u64,
    },
    Fault,
    /// A copy becomes another.
    Alter,
    Mend,
    /// Is everybody well again?
    Probe,
}

impl Event {
    /// The server, and which life of it, that does this by itself.
    const fn server(&self) -> Option<(Node, u64)> {
        match self {
            Self::Driver { server, boot }
            | Self::Timer { server, boot }
            | Self::Conn { server, boot, .. }
            | Self::Input { server, boot, .. }
            | Self::Written { server, boot }
            | Self::Fold { server, boot }
            | Self::Late { server, boot, .. }
            | Self::Dial { server, boot, .. } => Some((*server, *boot)),
            _ => None,
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Stands for everything that happened.
    pub trace: u64,
    /// Events.
    pub events: u64,
    /// Transactions that are committed.
    pub committed: u64,
    /// Writes that clients were answered.
    pub acknowledged: u64,
    /// Reads that they were answered, syncs among them.
    pub reads: u64,
    /// Syncs.
    pub syncs: u64,
    /// Watch events that came.
    pub events_told: u64,
    /// How often clients said anew what they watch.
    pub rewatched: u64,
    /// How often a client took its session to another server.
    pub moves: u64,
    /// How often a server sent a client away that has seen more than it has.
    pub turned_away: u64,
    /// How often a client was told that its session is over.
    pub refused: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Changes of the members.
    pub changes: u64,
    /// How often a server without a leader began to show what it has.
    pub shows: u64,
    /// What clients were answered there.
    pub shown: u64,
    /// Copies that were found damaged.
    pub damaged: u64,
    /// Copies that became another than their transactions come to.
    pub altered: u64,
    /// How often a server found its tree to be another than its leader's.
    pub differed: u64,
    /// How often a server took such a copy over from its leader.
    pub spread: u64,
    /// Whether it ended with nobody to elect, as a server without its copy had become one that is needed.
    pub stranded: u64,
    /// Sessions that began local.
    pub locals: u64,
    /// Of these, sessions that became everybody's.
    pub upgraded: u64,
    /// How often a server was about to lead.
    pub reigns: u64,
    /// Crashes.
    pub crashes: u64,
    /// How often a learner was told DIFF, TRUNC, SNAP, and how often a part of the log was sent.
    pub synced: [u64; 4],
    /// How long it took until all clients were served, in milliseconds of virtual time.
    pub healed_ms: i64,
}

/// How often a copy may become another in a run in which that happens.
const ALTERED: u64 = 3;

/// A run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) now_us: i64,
    pub(super) servers: BTreeMap<Node, SimServer>,
    pub(super) clients: Vec<Option<SimClient>>,
    pub(super) net: Net,
    pub(super) chronicle: Chronicle,
    pub(super) in_force: InForce,
    pub(super) sessions: Sessions,
    pub(super) locals: Locals,
    pub(super) report: Report,
    /// Somebody has led with another tree than the model's.
    pub(super) led_by_odd: bool,
    queue: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    mended_at_us: Option<i64>,
    healed_at_us: Option<i64>,
}

/// Runs one history.
///
/// # Errors
/// The first promise that was found broken.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    let mut world = World::new(plan);
    world.run()?;
    world.report.trace = world.trace.hash();
    world.report.committed = world.chronicle.len() as u64;
    world.report.locals = world.locals.len();
    world.report.upgraded = world.locals.count(world.chronicle.sessions_begun());
    Ok(world.report)
}

impl World {
    fn new(plan: &Plan) -> Self {
        let members = membership::first(plan);
        let mut world = Self {
            plan: plan.clone(),
            rng: Rng::new(plan.seed),
            trace: Trace::new(plan.prints),
            now_us: 0,
            servers: BTreeMap::new(),
            clients: Vec::new(),
            net: Net::default(),
            chronicle: Chronicle::new(&members, plan.local_sessions),
            in_force: InForce::default(),
            sessions: Sessions::default(),
            locals: Locals::default(),
            report: Report::default(),
            led_by_odd: false,
            queue: BTreeMap::new(),
            scheduled: 0,
            mended_at_us: None,
            healed_at_us: None,
        };
        let configs = Configs::of(Arc::new(members));
        for server in plan.servers() {
            world
                .servers
                .insert(server, SimServer::new(configs.clone()));
            let delay_us = world.rng.below(2 * world.tick_us());
            world.after(delay_us, Event::Start { server });
        }
        for number in 0..plan.clients {
            let ticks = *world.rng.pick(&[4, 6, 10, TIMEOUT_TICKS.1]);
            let rng = world.rng.fork();
            let mut client = SimClient::new(number, rng, ticks * plan.tick_ms, plan.requests);
            client.is_admin = plan.changes && number % 2 == 0;
            client.may_read_only = plan.read_only_ticks.is_some() && number % 3 != 1;
            world.clients.push(Some(client));
            let delay_us = world.rng.below(4 * world.tick_us());
            let client = FIRST_CLIENT + i64::try_from(number).unwrap_or_default();
            world.after(delay_us, Event::Client { client, turn: 0 });
        }
        let end_us = plan.fault_ticks * world.tick_us();
        for _ in 0..plan.faults.count {
            let at_us = world.rng.below(end_us);
            world.after(at_us, Event::Fault);
        }
        if plan.faults.differs {
            for _ in 0..ALTERED {
                let at_us = world.rng.below(end_us);
                world.after(at_us, Event::Alter);
            }
        }
        world.after(end_us, Event::Mend);
        world
    }

    pub(super) const fn tick_us(&self) -> u64 {
        self.plan.tick_ms.cast_unsigned() * 1000
    }

    pub(super) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us.saturating_add_unsigned(delay_us), event);
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

    /// After as long as a message takes.
    pub(super) fn network_delay(&mut self) -> u64 {
        let most_us = self.plan.network_us;
        self.rng.between(most_us / 4, most_us)
    }

    /// No more faults, and nothing new but last words.
    pub(super) const fn is_mended(&self) -> bool {
        self.mended_at_us.is_some()
    }

    fn run(&mut self) -> Check {
        let mut at_once = 0;
        while let Some(((at_us, _), event)) = self.queue.pop_first() {
            at_once = if at_us == self.now_us { at_once + 1 } else { 0 };
            if at_once > 50_000 {
                return heals_and_serves::stuck(format!("time stands still at {event:?}"));
            }
            self.now_us = at_us;
            self.report.events += 1;
            if matches!(event, Event::Probe) {
                if self.probe()? {
                    return Ok(());
                }
                continue;
            }
            self.on_event(event)?;
        }
        heals_and_serves::stuck("nothing happens any more")
    }

    fn on_event(&mut self, event: Event) -> Check {
        if let Some((server, boot)) = event.server() {
            let on = self.server(server);
            if on.boot != boot || !on.is_up() {
                return Ok(());
            }
            if on.paused {
                on.postponed.push(event);
                return Ok(());
            }
        }
        match event {
            Event::Start { server } => return self.start(server),
            Event::Crash { server } if !self.is_mended() => self.crash(server, false),
            Event::Crash { .. } | Event::Probe => {}
            Event::Driver { server, .. } => return self.run_driver(server),
            Event::Timer { server, .. } => self.wake_driver(server),
            Event::Conn { server, number, .. } => return self.run_conn(server, number),
            Event::Input {
                server,
                boot,
                input,
            } => self.tell(server, boot, input),
            Event::Written { server, .. } => {
                self.trace
                    .step(self.now_us, "written", server.cast_unsigned());
                return self.on_written(server);
            }
            Event::Fold { server, .. } => self.fold(server),
            Event::Resume { server } => self.resume(server),
            Event::Repair { server } => self.repair(server),
            Event::Hasten { server } => self.hasten(server),
            Event::Late {
                server,
                link,
                packet,
                ..
            } => self.send_up(server, link, *packet),
            Event::Notified { from, to } => self.on_notified(from, to),
            Event::Arrived { number, way } => return self.on_arrived(number, way),
            Event::Read { number } => self.on_read(number),
            Event::Dial {
                server,
                boot,
                id,
                leader,
                attempts,
            } => self.dial(server, boot, id, leader, attempts),
            Event::Client { client, turn } => return self.on_client(client, turn),
            Event::Fault => return self.fault(),
            Event::Alter => self.alter(),
            Event::Mend => return self.mend(),
        }
        Ok(())
    }

    fn mend(&mut self) -> Check {
        self.trace.step(self.now_us, "mend", 0);
        self.mended_at_us = Some(self.now_us);
        self.heal_network();
        for server in self.server_ids() {
            self.repair(server);
            self.hasten(server);
            self.resume(server);
            self.start(server)?;
        }
        self.send_some_away()?;
        self.after(0, Event::Probe);
        Ok(())
    }

    /// Whether all servers serve in step, all clients are answered, and sessions without clients have ended.
    fn probe(&mut self) -> Check<bool> {
        let waited_ms = |since_us: i64| (self.now_us - since_us) / 1000;
        let mended_ms = waited_ms(self.mended_at_us.unwrap_or(self.now_us));
        let clients = self.clients.iter().flatten();
        let answered = clients.clone().all(|client| client.done);
        let leader = self.servers.iter().find(|(_, server)| server.leads());
        let leader = leader.map(|(id, _)| ServerId(*id));
        let in_step = leader.is_some()
            && self
                .servers
                .values()
                .all(|server| server.is_serving() && server.leader() == leader)
            && self.is_everywhere(self.chronicle.newest());
        if self.healed_at_us.is_none() {
            if answered && in_step {
                self.healed_at_us = Some(self.now_us);
                self.report.healed_ms = mended_ms;
            } else if mended_ms > self.patience_ms() && self.is_stranded() {
                self.report.stranded += 1;
                return Ok(true);
            } else if mended_ms > self.patience_ms() {
                return heals_and_serves::stuck(self.describe());
            }
        } else if answered && in_step {
            let kept = clients.filter_map(SimClient::keeps);
            // Of a local one nobody else knows.
            let kept: BTreeSet<i64> = kept
                .filter(|session| self.chronicle.began(*session).is_some())
                .collect();
            match ephemerals_follow_sessions::at_the_end(self.chronicle.now(), &kept) {
                Ok(()) => return self.check_end().map(|()| true),
                Err(violation) if waited_ms(self.healed_at_us.unwrap_or(0)) > self.expiry_ms() => {
                    return Err(violation);
                }
                Err(_) => {}
            }
        } else if waited_ms(self.healed_at_us.unwrap_or(0)) > self.patience_ms() {
            // It was well once, and is not again.
            return heals_and_serves::stuck(self.describe());
        }
        self.after(self.tick_us() / 4, Event::Probe);
        Ok(false)
    }

    /// Everything that is on any server is what the model says, counted afresh.
    fn check_end(&mut self) -> Check {
        // What nobody has seen may still be so.
        let right = |server: &&SimServer| !server.difference.is_odd;
        for server in self.servers.values().filter(right) {
            let zxid = server.state.last_zxid();
            self.chronicle
                .compare_digest(0, zxid, server.state.audit_digest())?;
        }
        let one = self.rng.place(self.servers.len());
        // A leader that takes no clients cannot be read.
        let one = self.servers.values().nth(one);
        if let Some(server) = one.filter(right).filter(|server| server.state.is_serving()) {
            let found = read_all(&server.state);
            let expected = &self.chronicle.now().tree;
            nothing_half_applied::on_recovered(self.chronicle.newest(), &found, expected)?;
        }
        self.in_force
            .check(|change| self.chronicle.changed_to(change))
    }

    /// How long it may take until everybody is served: the longest silence of the election, then a few attempts, then
    /// the clients' own.
    fn patience_ms(&self) -> i64 {
        let attempt_ms = (self.plan.init_limit + self.plan.sync_limit) * self.plan.tick_ms;
        let client_ms = 4 * TIMEOUT_TICKS.1 * self.plan.tick_ms;
        2 * self.plan.notification_max_ms + 10 * attempt_ms + client_ms + 20_000
    }

    /// How long sessions without clients may live on then.
    fn expiry_ms(&self) -> i64 {
        (TIMEOUT_TICKS.1 + 10) * self.plan.tick_ms + 1000
    }

    fn describe(&self) -> String {
        let servers = self
            .servers
            .iter()
            .map(|(id, server)| format!("{id}: {}", server.describe()));
        let clients = self.clients.iter().flatten().map(SimClient::describe);
        let all: Vec<String> = servers.chain(clients).collect();
        format!("after {} ms: {all:#?}", self.now_us / 1000)
    }
}
