//! What goes wrong, and the end of it.

use zabd::replica::zab::ZabInput;

use super::book::Server;
use super::check::Check;
use super::world::{Event, World};

impl World {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) -> Check {
        if self.is_mended() {
            return Ok(());
        }
        let faults = self.plan.faults;
        let tick_us = self.plan.tick_ms.cast_unsigned() * 1000;
        let for_us = self.rng.below(12 * tick_us);
        let server = self.any_server();
        let others_whole = self.others_whole(server);
        if faults.damage && others_whole && self.servers[&server].serves() && self.rng.chance(1, 8)
        {
            self.server(server).diverged = true;
            self.feed_later(0, server, ZabInput::Diverged);
        }
        match self.rng.below(14) {
            0 | 1 if faults.crashes => {
                let power = self.rng.chance(1, 2);
                self.crash(server, power)?;
            }
            // The leader is worth more.
            2 | 3 if faults.crashes => {
                let power = self.rng.chance(1, 2);
                let leader = self.servers.iter().find(|(_, server)| server.listening);
                if let Some(leader) = leader.map(|(id, _)| *id) {
                    self.crash(leader, power)?;
                }
            }
            4 if faults.crashes && self.rng.chance(1, 2) => {
                let all: Vec<Server> = self.servers.keys().copied().collect();
                for server in all {
                    self.crash(server, true)?;
                }
            }
            5 if faults.pauses && self.servers[&server].is_up() => {
                self.trace
                    .step(self.now_us, "pause", server.cast_unsigned());
                self.server(server).paused = true;
                self.after(for_us, Event::Resume { server });
            }
            6..=8 if faults.cuts => self.cut(),
            9 if faults.breaks => {
                let numbers: Vec<u64> = self.net.conns.keys().copied().collect();
                if !numbers.is_empty() {
                    let number = *self.rng.pick(&numbers);
                    self.trace.step(self.now_us, "break", number);
                    self.break_link(number);
                }
            }
            10 if faults.slow_disks => {
                self.trace
                    .step(self.now_us, "slow disk", server.cast_unsigned());
                self.server(server).disk.slow_us = self.rng.below(4 * tick_us);
                self.after(for_us, Event::Repair { server });
            }
            11 if faults.full_disks => {
                self.trace
                    .step(self.now_us, "full disk", server.cast_unsigned());
                self.server(server).disk.full = true;
                self.after(for_us, Event::Repair { server });
            }
            // A leader that proposes what nobody hears of, and perhaps does not live to see the end of it.
            12 | 13 if faults.cuts => {
                let leader = self.servers.iter().find(|(_, server)| server.leads());
                if let Some(leader) = leader.map(|(id, _)| *id) {
                    self.isolate(leader);
                    for _ in 0..self.rng.between(1, 4) {
                        self.submit(leader)?;
                    }
                    if faults.crashes && self.rng.chance(1, 2) {
                        self.flush(leader);
                        self.after(for_us / 8, Event::Crash { server: leader });
                    }
                }
            }
            _ => {}
        }
        // What is cut does not stay so for ever.
        if self.rng.chance(1, 3) {
            self.heal_network();
        }
        Ok(())
    }

    /// Everything loses power, and some voters find nothing whole when they come back.
    pub(super) fn ruin(&mut self) -> Check {
        if self.is_mended() {
            return Ok(());
        }
        self.trace.step(self.now_us, "ruin", self.plan.ruined);
        let all: Vec<Server> = self.servers.keys().copied().collect();
        for server in all {
            self.crash(server, true)?;
        }
        let mut voters: Vec<Server> = (1..=self.plan.voters.cast_signed()).collect();
        for _ in 0..self.plan.ruined {
            let place = self.rng.place(voters.len());
            let server = self.server(voters.remove(place));
            server.aside = Some(server.disk.set_aside());
            self.report.ruined[0] += 1;
        }
        Ok(())
    }

    /// If too few copies are whole to go on, nothing that was set aside has been thrown away.
    pub(super) fn put_copies_back(&mut self) -> Check {
        let voters = self.plan.voters.cast_signed();
        let lacking = (1..=voters)
            .filter(|id| self.servers[id].disk.lacks)
            .count();
        if i64::try_from(lacking).unwrap_or(i64::MAX) * 2 < voters {
            return Ok(());
        }
        for id in 1..=voters {
            let Some(aside) = self.server(id).aside.take() else {
                continue;
            };
            self.crash(id, true)?;
            if self.server(id).disk.put_back(aside) {
                self.trace.step(self.now_us, "put back", id.cast_unsigned());
                self.report.ruined[1] += 1;
            }
        }
        Ok(())
    }

    fn any_server(&mut self) -> Server {
        let all: Vec<Server> = self.servers.keys().copied().collect();
        *self.rng.pick(&all)
    }

    /// Nothing of this server gets out; perhaps nothing gets in.
    fn isolate(&mut self, server: Server) {
        self.trace
            .step(self.now_us, "isolate", server.cast_unsigned());
        let both_ways = self.rng.chance(1, 2);
        let others: Vec<Server> = self
            .servers
            .keys()
            .copied()
            .filter(|id| *id != server)
            .collect();
        // One may hear it still.
        let spared = *self.rng.pick(&[0, 0, 1, 2, 3]);
        for other in others {
            if other != spared {
                self.net.cut.insert((server, other));
            }
            if both_ways {
                self.net.cut.insert((other, server));
            }
        }
    }

    fn cut(&mut self) {
        let all: Vec<Server> = self.servers.keys().copied().collect();
        let kind = self.rng.below(4);
        let (one, other) = (self.any_server(), self.any_server());
        let in_group: Vec<bool> = all.iter().map(|_| self.rng.chance(1, 2)).collect();
        for (from, from_in) in all.iter().zip(&in_group) {
            for (to, to_in) in all.iter().zip(&in_group) {
                let is_cut = match kind {
                    // One way between two.
                    0 => (*from, *to) == (one, other),
                    // One server hears nothing.
                    1 => *to == one,
                    // One server is alone.
                    2 => *to == one || *from == one,
                    // Two groups.
                    _ => from_in != to_in,
                };
                if is_cut && from != to {
                    self.trace.say(|| format!("cut {from} -> {to}"));
                    self.net.cut.insert((*from, *to));
                }
            }
        }
        self.trace.step(self.now_us, "cut", kind);
    }

    /// Everything gets through again.
    pub(super) fn heal_network(&mut self) {
        self.trace.step(self.now_us, "heal", 0);
        let cut = std::mem::take(&mut self.net.cut);
        for (from, to) in cut {
            self.resend(from, to);
            self.resend(to, from);
        }
        self.resume_pipes();
    }

    /// The disk works as it should.
    pub(super) fn repair(&mut self, server: Server) {
        let disk = &mut self.server(server).disk;
        (disk.slow_us, disk.full, disk.told) = (0, false, false);
        self.flush(server);
    }
}
