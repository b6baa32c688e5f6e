//! What goes wrong, and the end of it.

use super::check::Check;
use super::net::{FIRST_CLIENT, Node};
use super::world::{Event, World};

impl World {
    /// Something goes wrong.
    pub(super) fn fault(&mut self) -> Check {
        if self.is_mended() {
            return Ok(());
        }
        let faults = self.plan.faults;
        let for_us = self.rng.below(12 * self.tick_us());
        let server = self.any_server();
        let leader = self.servers.iter().find(|(_, server)| server.listening);
        let leader = leader.map(|(id, _)| *id);
        match self.rng.below(18) {
            0 | 1 if faults.crashes => {
                let power = self.rng.chance(1, 2);
                self.crash(server, power);
            }
            // The leader is worth more.
            2 | 3 if faults.crashes => {
                let power = self.rng.chance(1, 2);
                if let Some(leader) = leader {
                    self.crash(leader, power);
                }
            }
            4 if faults.crashes && self.rng.chance(1, 2) => {
                for server in self.server_ids() {
                    self.crash(server, true);
                }
            }
            5 | 6 if faults.pauses => {
                let server = leader.filter(|_| self.rng.chance(1, 2)).unwrap_or(server);
                self.pause(server, for_us);
            }
            7..=9 if faults.cuts => self.cut(),
            10 if faults.breaks => {
                let numbers: Vec<u64> = self.net.links.keys().copied().collect();
                if !numbers.is_empty() {
                    let number = *self.rng.pick(&numbers);
                    self.trace.step(self.now_us, "break", number);
                    let link = &self.net.links[&number];
                    let ends = [link.caller.node, link.called.node];
                    self.disturb(&ends);
                    self.break_link(number);
                }
            }
            11 if faults.slow_disks => {
                self.trace
                    .step(self.now_us, "slow disk", server.cast_unsigned());
                self.server(server).disk.slow_us = self.rng.below(4 * self.tick_us());
                self.after(for_us, Event::Repair { server });
            }
            12 if faults.full_disks => {
                self.trace
                    .step(self.now_us, "full disk", server.cast_unsigned());
                self.server(server).disk.full = true;
                self.after(for_us, Event::Repair { server });
            }
            13 if faults.clock_jumps => {
                let jump_ms = self.rng.below(7_200_000).cast_signed() - 3_600_000;
                self.trace
                    .step(self.now_us, "clock", jump_ms.cast_unsigned());
                self.server(server).skew_ms += jump_ms;
            }
            // A leader that is not heard, and perhaps does not live to see the end of it.
            14 | 15 if faults.cuts => {
                if let Some(leader) = leader {
                    self.isolate(leader);
                    if faults.crashes && self.rng.chance(1, 2) {
                        self.after(for_us / 8, Event::Crash { server: leader });
                    }
                }
            }
            // One server lags behind.
            16 | 17 if faults.slow_links => {
                self.trace
                    .step(self.now_us, "slow link", server.cast_unsigned());
                let extra_us = self.rng.below(self.tick_us());
                self.net.slow.insert(server, extra_us);
                self.disturb(&[server]);
                self.after(for_us, Event::Hasten { server });
            }
            _ => {}
        }
        // What is cut does not stay so for ever.
        if self.rng.chance(1, 3) {
            self.heal_network();
        }
        Ok(())
    }

    pub(super) fn any_server(&mut self) -> Node {
        let all = self.server_ids();
        *self.rng.pick(&all)
    }

    fn nodes(&self) -> Vec<Node> {
        let clients = i64::try_from(self.clients.len()).unwrap_or_default();
        let clients = FIRST_CLIENT..FIRST_CLIENT + clients;
        self.server_ids().into_iter().chain(clients).collect()
    }

    /// From now on nobody counts on these servers having been in touch before.
    pub(super) fn disturb(&mut self, nodes: &[Node]) {
        let now_us = self.now_us;
        for node in nodes {
            if let Some(server) = self.servers.get_mut(node) {
                server.disturbed_us = server.disturbed_us.max(now_us);
            }
        }
    }

    fn pause(&mut self, id: Node, for_us: u64) {
        if self.servers[&id].is_up() && !self.servers[&id].paused {
            self.trace.step(self.now_us, "pause", id.cast_unsigned());
            self.server(id).paused = true;
            self.disturb(&[id]);
            self.after(for_us, Event::Resume { server: id });
        }
    }

    pub(super) fn resume(&mut self, id: Node) {
        if !self.servers[&id].paused {
            return;
        }
        self.trace.step(self.now_us, "resume", id.cast_unsigned());
        self.server(id).paused = false;
        self.disturb(&[id]);
        for event in std::mem::take(&mut self.server(id).postponed) {
            self.after(0, event);
        }
        self.resume_pipes();
    }

    /// Nothing of this server gets out to the others; perhaps nothing gets in. Its clients may still reach it.
    fn isolate(&mut self, server: Node) {
        self.trace
            .step(self.now_us, "isolate", server.cast_unsigned());
        let (both_ways, clients_too) = (self.rng.chance(1, 2), self.rng.chance(1, 4));
        // One may hear it still.
        let spared = *self.rng.pick(&[0, 0, 1, 2, 3]);
        for other in self.nodes() {
            if other == server || (other >= FIRST_CLIENT && !clients_too) {
                continue;
            }
            if other != spared {
                self.net.cut.insert((server, other));
            }
            if both_ways {
                self.net.cut.insert((other, server));
            }
        }
        let all = self.server_ids();
        self.disturb(&all);
    }

    fn cut(&mut self) {
        let all = self.nodes();
        let kind = self.rng.below(5);
        let (one, other) = (*self.rng.pick(&all), *self.rng.pick(&all));
        let in_group: Vec<bool> = all.iter().map(|_| self.rng.chance(1, 2)).collect();
        for (from, from_in) in all.iter().zip(&in_group) {
            for (to, to_in) in all.iter().zip(&in_group) {
                let is_cut = match kind {
                    // One way between two.
                    0 => (*from, *to) == (one, other),
                    // One hears nothing.
                    1 => *to == one,
                    // One is alone.
                    2 => *to == one || *from == one,
                    // Two groups of servers; clients reach both.
                    3 => from_in != to_in && *from < FIRST_CLIENT && *to < FIRST_CLIENT,
                    // Two groups.
                    _ => from_in != to_in,
                };
                if is_cut && from != to {
                    self.net.cut.insert((*from, *to));
                }
            }
        }
        self.trace.step(self.now_us, "cut", kind);
        let cut = &self.net.cut;
        self.trace.say(|| format!("cut: {cut:?}"));
        let all = self.server_ids();
        self.disturb(&all);
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
        let all = self.server_ids();
        self.disturb(&all);
    }

    /// What a server sends and is sent takes no longer than usual.
    pub(super) fn hasten(&mut self, server: Node) {
        if self.net.slow.remove(&server).is_some() {
            self.disturb(&[server]);
        }
    }

    /// The disk works as it should.
    pub(super) fn repair(&mut self, server: Node) {
        let disk = &mut self.server(server).disk;
        (disk.slow_us, disk.full, disk.told) = (0, false, false);
        self.flush(server);
    }
}
