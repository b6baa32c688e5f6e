//! The loop of a run: events in order of time, until all faults are over and the ensemble serves again.

use std::collections::BTreeMap;
use std::sync::Arc;

use jute_codec::Zxid;
use zabd::replica::ensemble::{Configs, Member, Members, ServerId};
use zabd::replica::zab::{LinkId, Role, ZabInput};

use super::book::{Book, Seen, Server};
use super::check::{Check, Checkers, Violation, heals_and_serves};
use super::entry::Entry;
use super::net::{Net, Way};
use super::plan::{Plan, Planted};
use super::server::SimServer;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Start {
        server: Server,
    },
    Crash {
        server: Server,
    },
    Input {
        server: Server,
        boot: u64,
        input: ZabInput,
    },
    Wakeup {
        server: Server,
        boot: u64,
    },
    Written {
        server: Server,
        boot: u64,
    },
    Fold {
        server: Server,
        boot: u64,
    },
    Resume {
        server: Server,
    },
    Repair {
        server: Server,
    },
    /// A message of the election arrives.
    Notified {
        from: Server,
        to: Server,
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
    Connect {
        server: Server,
        boot: u64,
        id: LinkId,
        leader: Server,
        attempts: u64,
    },
    Client,
    Fault,
    /// Copies are ruined.
    Ruin,
    Mend,
    /// Is the ensemble well again?
    Probe,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Stands for everything that happened.
    pub trace: u64,
    /// Events.
    pub events: u64,
    /// Transactions that clients were told of.
    pub answered: u64,
    /// Leaderships that were established.
    pub reigns: u64,
    /// Crashes.
    pub crashes: u64,
    /// Copies that were ruined, and how many of them were put back by hand.
    pub ruined: [u64; 2],
    /// How often a learner was told DIFF, TRUNC, SNAP, and how often a part of the log was sent.
    pub synced: [u64; 4],
    /// Changes of the members that were proposed.
    pub changes: u64,
    /// How long it took until all was well, in milliseconds of virtual time.
    pub healed_ms: i64,
}

/// A run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) now_us: i64,
    pub(super) servers: BTreeMap<Server, SimServer>,
    pub(super) net: Net,
    pub(super) checkers: Checkers,
    pub(super) report: Report,
    queue: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    transactions: u64,
    mended_at_us: Option<i64>,
    last_words: Option<Entry>,
}

/// Runs one history.
///
/// # Errors
/// The first promise that was found broken.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    let mut world = World::new(plan);
    world.run()?;
    world.report.trace = world.trace.hash();
    Ok(world.report)
}

impl World {
    fn new(plan: &Plan) -> Self {
        let book = Book::new(1..=plan.voters.cast_signed());
        let mut world = Self {
            plan: plan.clone(),
            rng: Rng::new(plan.seed),
            trace: Trace::new(plan.prints),
            now_us: 0,
            servers: BTreeMap::new(),
            net: Net::default(),
            checkers: Checkers::new(book, plan.only),
            report: Report {
                trace: 0,
                events: 0,
                answered: 0,
                reigns: 0,
                crashes: 0,
                ruined: [0; 2],
                synced: [0; 4],
                changes: 0,
                healed_ms: 0,
            },
            queue: BTreeMap::new(),
            scheduled: 0,
            transactions: 0,
            mended_at_us: None,
            last_words: None,
        };
        for server in plan.servers() {
            world
                .servers
                .insert(server, SimServer::new(world.configs_of(server)));
            let delay_us = world.rng.below(2_000_000);
            world.after(delay_us, Event::Start { server });
        }
        world.after(0, Event::Client);
        let end_us = plan.fault_ticks * plan.tick_ms.cast_unsigned() * 1000;
        for _ in 0..plan.faults.count {
            let at_us = world.rng.below(end_us);
            world.after(at_us, Event::Fault);
        }
        if plan.ruined > 0 {
            world.after(end_us / 2, Event::Ruin);
        }
        world.after(end_us, Event::Mend);
        world
    }

    fn configs_of(&self, server: Server) -> Configs {
        let alone = self.plan.has(Planted::EveryoneAQuorum);
        let members = self.plan.servers().map(|id| {
            let votes = if alone {
                id == server
            } else {
                id <= self.plan.voters.cast_signed()
            };
            let role = if votes { "participant" } else { "observer" };
            let member = Member::parse(&format!("s{id}:2888:3888:{role}")).expect("well-formed");
            (ServerId(id), member)
        });
        Configs::of(Arc::new(Members::majority(0, members.collect())))
    }

    pub(super) const fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    pub(super) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us.saturating_add_unsigned(delay_us), event);
    }

    pub(super) fn at(&mut self, at_us: i64, event: Event) {
        self.scheduled += 1;
        self.queue
            .insert((at_us.max(self.now_us), self.scheduled), event);
    }

    /// After as long as a message takes.
    pub(super) fn network_delay(&mut self) -> u64 {
        let most_us = self.plan.network_us;
        self.rng.between(most_us / 4, most_us)
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>) -> Check {
        self.checkers.see(seen)
    }

    /// No more faults, and nothing new but the last transaction.
    pub(super) const fn is_mended(&self) -> bool {
        self.mended_at_us.is_some()
    }

    fn run(&mut self) -> Check {
        let mut at_once = 0;
        while let Some(((at_us, _), event)) = self.queue.pop_first() {
            at_once = if at_us == self.now_us { at_once + 1 } else { 0 };
            if at_once > 20_000 {
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
        let at_us = self.now_us;
        match event {
            Event::Start { server } => self.start(server),
            Event::Crash { server } if !self.is_mended() => self.crash(server, false),
            Event::Input {
                server,
                boot,
                input,
            } => self.feed(server, boot, input),
            Event::Wakeup { server, boot } => self.on_wakeup(server, boot),
            Event::Written { server, boot } => {
                self.trace.step(at_us, "written", server.cast_unsigned());
                self.on_written(server, boot)
            }
            Event::Fold { server, boot } => {
                self.fold(server, boot);
                Ok(())
            }
            Event::Resume { server } => self.resume(server),
            Event::Repair { server } => {
                self.repair(server);
                Ok(())
            }
            Event::Notified { from, to } => self.on_notified(from, to),
            Event::Arrived { number, way } => self.on_arrived(number, way),
            Event::Read { number } => self.on_read(number),
            Event::Connect {
                server,
                boot,
                id,
                leader,
                attempts,
            } => {
                self.connect(server, boot, id, leader, attempts);
                Ok(())
            }
            Event::Client => self.on_client(),
            Event::Fault => self.fault(),
            Event::Ruin => self.ruin(),
            Event::Mend => self.mend(),
            Event::Crash { .. } | Event::Probe => Ok(()),
        }
    }

    /// Some more transactions for whoever leads.
    fn on_client(&mut self) -> Check {
        if self.is_mended() {
            return Ok(());
        }
        let count = self.rng.between(1, self.plan.burst);
        for _ in 0..count {
            let servers: Vec<Server> = self.servers.keys().copied().collect();
            for server in servers {
                self.submit(server)?;
            }
        }
        let ticks_us = self.plan.fault_ticks * self.plan.tick_ms.cast_unsigned() * 1000;
        let pause_us = ticks_us * (self.plan.burst + 1) / (self.plan.transactions * 2);
        let pause_us = self.rng.below(2 * pause_us + 1);
        self.after(pause_us, Event::Client);
        Ok(())
    }

    /// A new transaction, if the server leads.
    pub(super) fn submit(&mut self, server: Server) -> Check<Option<Entry>> {
        let Some(zxid) = self.servers[&server].next_zxid() else {
            return Ok(None);
        };
        self.transactions += 1;
        let entry = self.change_of_members(server, zxid).unwrap_or(Entry {
            zxid,
            number: self.transactions,
        });
        self.trace.step(self.now_us, "submit", entry.number);
        self.propose(server, entry)?;
        Ok(Some(entry))
    }

    /// Now and then a change that a quorum of the new members is ready for.
    fn change_of_members(&mut self, leader: Server, zxid: Zxid) -> Option<Entry> {
        if !self.plan.changes || self.is_mended() || !self.rng.chance(1, 10) {
            return None;
        }
        let ids: Vec<Server> = self.servers.keys().copied().collect();
        let zab = self.servers[&leader].zab.as_ref()?;
        let (synced, is_changing) = (zab.synced(), zab.configs().is_changing());
        let (mut voters, mut observers) = (0_u16, 0_u16);
        for id in ids {
            let votes = if synced.contains(&ServerId(id)) {
                self.rng.chance(3, 4)
            } else {
                self.rng.chance(1, 4)
            };
            match (votes, self.rng.chance(1, 2)) {
                (true, _) => voters |= 1 << id,
                (false, true) => observers |= 1 << id,
                (false, false) => {}
            }
        }
        let entry = Entry::change(zxid, self.transactions, voters, observers);
        let is_fit = entry
            .members()
            .is_some_and(|members| members.is_quorum(&synced));
        (!is_changing && is_fit).then(|| {
            self.report.changes += 1;
            entry
        })
    }

    fn mend(&mut self) -> Check {
        self.trace.step(self.now_us, "mend", 0);
        self.mended_at_us = Some(self.now_us);
        self.heal_network();
        self.put_copies_back()?;
        let servers: Vec<Server> = self.servers.keys().copied().collect();
        for server in servers {
            self.repair(server);
            self.resume(server)?;
            if !self.servers[&server].is_up() {
                self.start(server)?;
            }
        }
        self.after(0, Event::Probe);
        Ok(())
    }

    /// Whether all servers are in step, and the last transaction is everywhere.
    fn probe(&mut self) -> Check<bool> {
        let mended_us = self.mended_at_us.unwrap_or(self.now_us);
        let waited_ms = (self.now_us - mended_us) / 1000;
        if waited_ms > self.patience_ms() {
            return heals_and_serves::stuck(self.describe());
        }
        let leads = |server: &&SimServer| server.serves() && server.role == Role::Leading;
        let leader = self
            .servers
            .iter()
            .find(|(_, server)| leads(server))
            .map(|(id, _)| *id);
        if let Some(leader) = leader
            && self
                .servers
                .values()
                .all(|server| server.serves_under(leader))
        {
            let everywhere = |entry| {
                self.servers
                    .values()
                    .all(|server| server.applied.contains(&entry))
            };
            match self.last_words {
                Some(entry) if everywhere(entry) => {
                    self.report.healed_ms = waited_ms;
                    return self.check_end().map(|()| true);
                }
                Some(entry) if self.servers[&leader].leads_in(entry.zxid.epoch()) => {}
                _ => self.last_words = self.submit(leader)?,
            }
        }
        self.after(20_000, Event::Probe);
        Ok(false)
    }

    fn check_end(&self) -> Check {
        let mut applied = self
            .servers
            .iter()
            .map(|(id, server)| (id, &server.applied));
        let Some((first, expected)) = applied.next() else {
            return Ok(());
        };
        match applied.find(|(_, applied)| *applied != expected) {
            Some((other, _)) => {
                heals_and_serves::stuck(format!("{first} and {other} differ at the end"))
            }
            None => Ok(()),
        }
    }

    /// How long it may take until all is well: the longest silence of the election, then a few attempts.
    fn patience_ms(&self) -> i64 {
        let attempt_ms = (self.plan.init_limit + self.plan.sync_limit) * self.plan.tick_ms;
        2 * self.plan.notification_max_ms + 10 * attempt_ms + 20_000
    }

    fn describe(&self) -> String {
        let servers: Vec<String> = self
            .servers
            .iter()
            .map(|(id, server)| format!("{id}: {}", server.describe()))
            .collect();
        format!("after {} ms: {servers:#?}", self.now_ms())
    }
}
