//! How things get from one node to another.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use zabd::replica::ensemble::ServerId;
use zabd::replica::input::Input;
use zabd::replica::zab::{LinkId, ZabInput};

use super::check::Check;
use super::disk::{Logged, last};
use super::net::{End, Item, Link, Node, Out, Staged, Staging, Way};
use super::plan::Planted;
use super::world::{Event, World};

impl World {
    /// A message of the election sets out; an older one that waits is forgotten.
    pub(super) fn notify(&mut self, from: Node, to: Node, notification: Notification) {
        if self.plan.has(Planted::ElectionDeaf) || !self.servers.contains_key(&to) {
            return;
        }
        let boot = self.servers[&from].boot;
        let slot = self.net.slots.entry((from, to)).or_default();
        slot.last = Some((boot, notification.clone()));
        slot.waiting = Some(notification);
        self.deliver(from, to);
    }

    fn deliver(&mut self, from: Node, to: Node) {
        let delay_us = self.network_delay();
        let is_cut = self.net.is_cut(from, to);
        if let Some(slot) = self.net.slots.get_mut(&(from, to))
            && !is_cut
            && !slot.on_its_way
            && slot.waiting.is_some()
        {
            slot.on_its_way = true;
            self.after(delay_us, Event::Notified { from, to });
        }
    }

    pub(super) fn on_notified(&mut self, from: Node, to: Node) {
        let is_cut = self.net.is_cut(from, to);
        let is_lost = self.rng.chance(1, 2);
        let Some(slot) = self.net.slots.get_mut(&(from, to)) else {
            return;
        };
        slot.on_its_way = false;
        if is_cut {
            if is_lost {
                slot.waiting = None;
            }
            return;
        }
        let Some(notification) = slot.waiting.take() else {
            return;
        };
        let boot = self.servers[&to].boot;
        let from = ServerId(from);
        self.tell(to, boot, ZabInput::Notified { from, notification });
    }

    /// Connections are made anew: the last that was said is said again.
    pub(super) fn resend(&mut self, from: Node, to: Node) {
        let Some(sender) = self.servers.get(&from) else {
            return;
        };
        let (boot, is_up) = (sender.boot, sender.is_up());
        if let Some(slot) = self.net.slots.get_mut(&(from, to))
            && slot.waiting.is_none()
            && let Some((said_in, last)) = &slot.last
            && *said_in == boot
            && is_up
        {
            slot.waiting = Some(last.clone());
        }
        self.deliver(from, to);
    }

    pub(super) fn resend_to(&mut self, to: Node) {
        for from in self.server_ids() {
            self.resend(from, to);
        }
    }

    /// Messages that wait for a connection are tried again.
    pub(super) fn resend_from(&mut self, from: Node) {
        for to in self.server_ids() {
            self.deliver(from, to);
        }
    }

    /// An attempt to connect to a leader.
    pub(super) fn dial(&mut self, id: Node, boot: u64, link: LinkId, leader: Node, attempts: u64) {
        if self.servers[&id].boot != boot || !self.servers[&id].is_up() {
            return;
        }
        let is_cut = self.net.is_cut(id, leader) || self.net.is_cut(leader, id);
        let accepts = self
            .servers
            .get(&leader)
            .is_some_and(|server| server.is_up() && server.listening);
        if is_cut || !accepts {
            // A silent network takes its time to say no.
            let pause_us = if is_cut { 1_000_000 } else { 100_000 };
            if attempts > 1 {
                let event = Event::Dial {
                    server: id,
                    boot,
                    id: link,
                    leader,
                    attempts: attempts - 1,
                };
                self.after(pause_us, event);
            } else {
                self.tell_later(pause_us, id, ZabInput::LinkDown { link });
            }
            return;
        }
        let leader_boot = self.servers[&leader].boot;
        let accepting = self.server(leader);
        accepting.accepted += 1;
        let accepted = LinkId(accepting.accepted);
        let caller = End {
            node: id,
            boot,
            open: true,
            id: link,
        };
        let called = End {
            node: leader,
            boot: leader_boot,
            open: true,
            id: accepted,
        };
        let number = self.open(Link::new(caller, called));
        self.net.by_end.insert((id, link), number);
        self.net.by_end.insert((leader, accepted), number);
        self.tell_later(0, leader, ZabInput::LinkUp { link: accepted });
        self.put(number, Way::ToCaller, Item::Opened);
    }

    fn open(&mut self, link: Link) -> u64 {
        self.net.made += 1;
        self.net.links.insert(self.net.made, link);
        self.net.made
    }

    /// A client connects; whether anybody is there it learns later.
    pub(super) fn call(&mut self, client: Node, server: Node) -> u64 {
        let end = |node, open| End {
            node,
            boot: 0,
            open,
            id: LinkId(0),
        };
        let number = self.open(Link::new(end(client, true), end(server, false)));
        self.put(number, Way::ToCalled, Item::Opened);
        number
    }

    /// Something sets out on a connection.
    pub(super) fn put(&mut self, number: u64, way: Way, item: Item) {
        let delay_us = self.network_delay();
        let now_us = self.now_us;
        let Some(link) = self.net.links.get(&number) else {
            return;
        };
        let extra_us = self.net.extra_us(link.caller.node, link.called.node);
        let Some(link) = self.net.links.get_mut(&number) else {
            return;
        };
        let pipe = link.pipe_mut(way);
        if pipe.ended {
            return;
        }
        pipe.ended = matches!(item, Item::End);
        pipe.arrival_us = pipe
            .arrival_us
            .max(now_us.saturating_add_unsigned(delay_us + extra_us));
        pipe.items.push_back((pipe.arrival_us, item));
        self.schedule(number, way);
    }

    fn schedule(&mut self, number: u64, way: Way) {
        let Some(link) = self.net.links.get_mut(&number) else {
            return;
        };
        let stalled = link.stalled && way == Way::ToCaller;
        let pipe = link.pipe_mut(way);
        if let Some((at_us, _)) = pipe.items.front()
            && !pipe.scheduled
            && !stalled
        {
            let at_us = *at_us;
            pipe.scheduled = true;
            self.at(at_us, Event::Arrived { number, way });
        }
    }

    pub(super) fn on_arrived(&mut self, number: u64, way: Way) -> Check {
        let Some(link) = self.net.links.get_mut(&number) else {
            return Ok(());
        };
        let (from, to) = (link.end(way.back()).node, link.end(way).node);
        let stalled = link.stalled && way == Way::ToCaller;
        link.pipe_mut(way).scheduled = false;
        // Who stands still reads nothing.
        let paused = self.servers.get(&to).is_some_and(|server| server.paused);
        if self.net.cut.contains(&(from, to)) || paused || stalled {
            return Ok(());
        }
        if let Some((_, item)) = link.pipe_mut(way).items.pop_front() {
            self.arrive(number, way, item)?;
        }
        self.schedule(number, way);
        Ok(())
    }

    fn arrive(&mut self, number: u64, way: Way, item: Item) -> Check {
        let Some(link) = self.net.links.get(&number) else {
            return Ok(());
        };
        let (end, is_of_client) = (*link.end(way), link.is_of_client());
        self.trace.step(self.now_us, "arrives", number);
        if is_of_client && way == Way::ToCaller {
            return self.at_client(number, end, item);
        }
        if is_of_client && matches!(item, Item::Opened) {
            self.accept(number);
            return Ok(());
        }
        if !self.is_end_alive(number, way) {
            // Who is up, and knows nothing of the connection, says so.
            if self.servers[&end.node].is_up() && !matches!(item, Item::End) {
                self.put(number, way.back(), Item::End);
            }
            return Ok(());
        }
        if is_of_client {
            self.on_client_item(number, end.node, item);
            return Ok(());
        }
        let (id, boot, link) = (end.node, end.boot, end.id);
        match item {
            Item::Opened => self.tell(id, boot, ZabInput::LinkUp { link }),
            Item::FromLeader(packet) => self.on_leader_packet(number, end, packet),
            Item::FromLearner(packet) => {
                self.tell(id, boot, ZabInput::FromLearner { link, packet });
            }
            Item::Snapshot { history, altered } => {
                self.tell(id, boot, ZabInput::Heard { link });
                let staged = Staged::new(number, history, altered);
                if self.plan.has(Planted::SnapshotAlone) {
                    self.install(id, staged);
                } else if let Some(link) = self.net.links.get_mut(&number) {
                    link.staged = Some(staged);
                }
            }
            Item::End => {
                if let Some(link) = self.net.links.get_mut(&number) {
                    link.end_mut(way).open = false;
                }
                self.tell(id, boot, ZabInput::LinkDown { link });
                self.no_snapshot(id, number);
                self.net.forget_if_over(number);
            }
            Item::Bytes(_) => {}
        }
        Ok(())
    }

    /// What comes behind a snapshot, up to NEWLEADER, is put in place with it.
    fn on_leader_packet(&mut self, number: u64, end: End, packet: LeaderPacket) {
        let (id, boot, link) = (end.node, end.boot, end.id);
        let arrived_us = self.now_us;
        let Some(wire) = self.net.links.get_mut(&number) else {
            return;
        };
        let Some(staged) = &mut wire.staged else {
            // What follows SNAP is not for the replica.
            wire.stalled = matches!(packet, LeaderPacket::Snap { .. });
            return self.tell(id, boot, ZabInput::FromLeader { link, packet });
        };
        match staged.take(packet) {
            Staging::Taken => self.tell(id, boot, ZabInput::Heard { link }),
            Staging::Whole(packet) => {
                let whole = wire.staged.take();
                let again = (arrived_us, Item::FromLeader(packet));
                wire.pipe_mut(Way::ToCaller).items.push_front(again);
                if let Some(whole) = whole {
                    self.install(id, whole);
                }
            }
            Staging::Refused => {
                self.close(id, link);
                self.tell(id, boot, ZabInput::LinkDown { link });
            }
        }
    }

    fn accept(&mut self, number: u64) {
        let Some(link) = self.net.links.get_mut(&number) else {
            return;
        };
        let id = link.called.node;
        match self.servers.get(&id) {
            Some(server) if server.is_up() => {
                link.called.boot = server.boot;
                link.called.open = true;
                self.on_open(id, number);
            }
            Some(server) if server.silent => {}
            _ => self.put(number, Way::ToCaller, Item::End),
        }
    }

    /// What was held up goes on.
    pub(super) fn resume_pipes(&mut self) {
        let numbers: Vec<u64> = self.net.links.keys().copied().collect();
        for number in numbers {
            for way in Way::BOTH {
                self.schedule(number, way);
            }
        }
    }

    /// What comes on a connection is read again: a part of it, the snapshot, or all.
    pub(super) fn unstall(&mut self, number: u64) {
        if let Some(link) = self.net.links.get_mut(&number) {
            link.stalled = false;
            self.schedule(number, Way::ToCaller);
        }
    }

    /// A server closes its end.
    pub(super) fn close(&mut self, id: Node, link: LinkId) {
        if let Some((number, way)) = self.net.find(id, link) {
            self.close_end(number, way);
            if way == Way::ToCaller {
                self.no_snapshot(id, number);
            }
        }
    }

    /// One end is closed; the other hears of it.
    pub(super) fn close_end(&mut self, number: u64, way: Way) {
        if let Some(link) = self.net.links.get_mut(&number) {
            link.end_mut(way).open = false;
            link.stalled = false;
        }
        self.put(number, way.back(), Item::End);
        self.net.forget_if_over(number);
    }

    /// A connection breaks for both ends, with what is under way on it.
    pub(super) fn break_link(&mut self, number: u64) {
        for way in Way::BOTH {
            if let Some(link) = self.net.links.get_mut(&number) {
                link.stalled = false;
                link.outbox.clear();
                let pipe = link.pipe_mut(way);
                pipe.items.clear();
                pipe.ended = false;
            }
            self.put(number, way, Item::End);
        }
    }

    /// All connections of a server that went down; with the power gone, nobody hears of it.
    pub(super) fn lose_links(&mut self, id: Node, power: bool) {
        let mut lost = Vec::new();
        for (number, link) in &mut self.net.links {
            for way in Way::BOTH {
                let end = link.end_mut(way);
                if end.node == id && end.open {
                    end.open = false;
                    lost.push((*number, way));
                }
            }
        }
        for (number, way) in lost {
            if !power {
                self.put(number, way.back(), Item::End);
            }
            self.net.forget_if_over(number);
        }
    }

    pub(super) fn is_end_alive(&self, number: u64, way: Way) -> bool {
        self.net.links.get(&number).is_some_and(|link| {
            let end = link.end(way);
            let server = &self.servers[&end.node];
            end.open && server.is_up() && server.boot == end.boot
        })
    }

    pub(super) fn send_up(&mut self, id: Node, link: LinkId, packet: LearnerPacket) {
        if let Some((number, Way::ToCaller)) = self.net.find(id, link) {
            self.put(number, Way::ToCalled, Item::FromLearner(packet));
        }
    }

    pub(super) fn send_out(&mut self, id: Node, link: LinkId, out: Out) {
        if let Some((number, Way::ToCalled)) = self.net.find(id, link) {
            if let Some(link) = self.net.links.get_mut(&number) {
                link.outbox.push_back(out);
            }
            self.send_waiting(number);
        }
    }

    fn send_waiting(&mut self, number: u64) {
        loop {
            let Some(link) = self.net.links.get_mut(&number) else {
                return;
            };
            if link.busy {
                return;
            }
            match link.outbox.front() {
                Some(Out::Packet(_)) => {}
                Some(_) => {
                    link.busy = true;
                    let delay_us = self.rng.below(self.plan.bulk_us + 1);
                    self.after(delay_us, Event::Read { number });
                    return;
                }
                None => return,
            }
            let in_snapshot = link.in_snapshot;
            if let Some(Out::Packet(packet)) = link.outbox.pop_front()
                && !is_in(&packet, in_snapshot)
            {
                self.send_packet(number, packet);
            }
        }
    }

    fn send_packet(&mut self, number: u64, packet: LeaderPacket) {
        match packet {
            LeaderPacket::Diff { .. } => self.report.synced[0] += 1,
            LeaderPacket::Trunc { .. } => self.report.synced[1] += 1,
            LeaderPacket::Snap { .. } => self.report.synced[2] += 1,
            _ => {}
        }
        self.put(number, Way::ToCaller, Item::FromLeader(packet));
    }

    /// What was to be read from the disk for a learner is there.
    pub(super) fn on_read(&mut self, number: u64) {
        let Some(link) = self.net.links.get_mut(&number) else {
            return;
        };
        link.busy = false;
        let (leader, id) = (link.called.node, link.called.id);
        let next = link.outbox.pop_front();
        if !self.is_end_alive(number, Way::ToCalled) {
            return;
        }
        let found = match next {
            Some(Out::Log { after, through }) => {
                self.report.synced[3] += 1;
                self.servers[&leader].disk.read_log(after, through)
            }
            Some(Out::Snapshot { through }) => self.send_snapshot(number, leader, through),
            _ => None,
        };
        let Some(found) = found else {
            // It cannot be read: the connection is of no use.
            self.close(leader, id);
            return self.tell_later(0, leader, ZabInput::LinkDown { link: id });
        };
        for Logged { zxid, txn } in found {
            self.send_packet(number, LeaderPacket::Proposal { zxid, txn });
            self.send_packet(number, LeaderPacket::Commit { zxid });
        }
        self.tell_later(0, leader, ZabInput::Heard { link: id });
        self.send_waiting(number);
    }

    /// Sends a snapshot; what is to follow from the log, if the log has it.
    fn send_snapshot(&mut self, number: u64, leader: Node, through: Zxid) -> Option<Vec<Logged>> {
        let server = &self.servers[&leader];
        // Who serves brings its snapshot up to date first; before that nothing may get into it.
        let count = if server.is_serving() {
            server.disk.folded.max(server.foldable())
        } else {
            server.disk.folded
        };
        let (history, altered) = (server.disk.latest[..count].to_vec(), server.disk.altered);
        let zxid = last(&history);
        if let Some(link) = self.net.links.get_mut(&number) {
            link.in_snapshot = zxid;
        }
        self.send_packet(number, LeaderPacket::Snap { zxid });
        self.put(number, Way::ToCaller, Item::Snapshot { history, altered });
        if zxid >= through {
            return Some(Vec::new());
        }
        self.servers[&leader].disk.read_log(zxid, through)
    }

    /// Something for the replica, unless the server is another by now.
    pub(super) fn tell(&mut self, id: Node, boot: u64, input: ZabInput) {
        let server = self.server(id);
        if server.boot == boot && server.is_up() {
            self.input(id, Input::Peer(input));
        }
    }

    pub(super) fn tell_later(&mut self, delay_us: u64, id: Node, input: ZabInput) {
        let boot = self.servers[&id].boot;
        let event = Event::Input {
            server: id,
            boot,
            input,
        };
        self.after(delay_us, event);
    }

    /// Bytes for a client, or from one.
    pub(super) fn put_bytes(&mut self, number: u64, way: Way, bytes: Bytes) {
        self.trace.bytes(&bytes);
        self.put(number, way, Item::Bytes(bytes));
    }
}

/// Whether a snapshot as of `zxid` has it already.
fn is_in(packet: &LeaderPacket, snapshot: Zxid) -> bool {
    match packet {
        LeaderPacket::Proposal { zxid, .. }
        | LeaderPacket::Commit { zxid }
        | LeaderPacket::CommitAndActivate { zxid, .. }
        | LeaderPacket::Inform { zxid, .. }
        | LeaderPacket::InformAndActivate { zxid, .. } => *zxid <= snapshot,
        _ => false,
    }
}
