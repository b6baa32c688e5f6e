//! How things get from one server to another.

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use zabd::replica::ensemble::ServerId;
use zabd::replica::zab::{LinkId, ZabInput};

use super::book::{Link, Seen, Server};
use super::check::Check;
use super::entry::{Entry, last};
use super::net::{Conn, End, Item, Out, Pipe, Staged, Staging, Way};
use super::plan::Planted;
use super::world::{Event, World};

impl World {
    /// A message of the election sets out; an older one that waits is forgotten.
    pub(super) fn notify(&mut self, from: Server, to: Server, notification: Notification) {
        if self.plan.has(Planted::ElectionDeaf) || !self.servers.contains_key(&to) {
            return;
        }
        let boot = self.servers[&from].boot;
        let slot = self.net.slots.entry((from, to)).or_default();
        slot.last = Some((boot, notification.clone()));
        slot.waiting = Some(notification);
        self.deliver(from, to);
    }

    fn deliver(&mut self, from: Server, to: Server) {
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

    pub(super) fn on_notified(&mut self, from: Server, to: Server) -> Check {
        let is_cut = self.net.is_cut(from, to);
        let is_lost = self.rng.chance(1, 2);
        let Some(slot) = self.net.slots.get_mut(&(from, to)) else {
            return Ok(());
        };
        slot.on_its_way = false;
        if is_cut {
            if is_lost {
                slot.waiting = None;
            }
            return Ok(());
        }
        let Some(notification) = slot.waiting.take() else {
            return Ok(());
        };
        let boot = self.servers[&to].boot;
        let from = ServerId(from);
        self.feed(to, boot, ZabInput::Notified { from, notification })
    }

    /// Connections are made anew: the last that was said is said again.
    pub(super) fn resend(&mut self, from: Server, to: Server) {
        let boot = self.servers[&from].boot;
        let is_up = self.servers[&from].is_up();
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

    pub(super) fn resend_to(&mut self, to: Server) {
        let others: Vec<Server> = self
            .servers
            .keys()
            .copied()
            .filter(|id| *id != to)
            .collect();
        for from in others {
            self.resend(from, to);
        }
    }

    /// Messages that wait for a connection are tried again.
    pub(super) fn resend_from(&mut self, from: Server) {
        let others: Vec<Server> = self
            .servers
            .keys()
            .copied()
            .filter(|id| *id != from)
            .collect();
        for to in others {
            self.deliver(from, to);
        }
    }

    /// An attempt to connect to a leader.
    pub(super) fn connect(
        &mut self,
        id: Server,
        boot: u64,
        link: LinkId,
        leader: Server,
        attempts: u64,
    ) {
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
                let event = Event::Connect {
                    server: id,
                    boot,
                    id: link,
                    leader,
                    attempts: attempts - 1,
                };
                self.after(pause_us, event);
            } else {
                self.feed_later(pause_us, id, ZabInput::LinkDown { link });
            }
            return;
        }
        self.net.made += 1;
        let number = self.net.made;
        let leader_boot = self.servers[&leader].boot;
        let accepting = self.server(leader);
        accepting.accepted += 1;
        let accepted = LinkId(accepting.accepted);
        let end = |server, id, boot| End {
            id,
            server,
            boot,
            open: true,
        };
        let conn = Conn {
            link: Link {
                number,
                learner: id,
                leader,
            },
            learner: end(id, link, boot),
            leader: end(leader, accepted, leader_boot),
            to_learner: Pipe::default(),
            to_leader: Pipe::default(),
            outbox: std::collections::VecDeque::new(),
            busy: false,
            in_snapshot: Zxid::ZERO,
            named: Zxid::ZERO,
            staged: None,
            stalled: false,
        };
        self.net.by_end.insert((id, link), number);
        self.net.by_end.insert((leader, accepted), number);
        self.net.conns.insert(number, conn);
        self.feed_later(0, leader, ZabInput::LinkUp { link: accepted });
        self.put(number, Way::ToLearner, Item::Opened);
    }

    /// Something sets out on a connection.
    pub(super) fn put(&mut self, number: u64, way: Way, item: Item) {
        let delay_us = self.network_delay();
        let now_us = self.now_us;
        let swaps = self.swaps(&item);
        let Some(conn) = self.net.conns.get_mut(&number) else {
            return;
        };
        let pipe = conn.pipe_mut(way);
        pipe.arrival_us = pipe
            .arrival_us
            .max(now_us.saturating_add_unsigned(delay_us));
        let at_us = pipe.arrival_us;
        pipe.items.push_back((at_us, item));
        if swaps && pipe.items.len() > 1 {
            let newest = pipe.items.len() - 1;
            pipe.items.swap(newest - 1, newest);
        }
        self.schedule(number, way);
    }

    fn schedule(&mut self, number: u64, way: Way) {
        let Some(conn) = self.net.conns.get_mut(&number) else {
            return;
        };
        let stalled = conn.stalled && way == Way::ToLearner;
        let pipe = conn.pipe_mut(way);
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
        let Some(conn) = self.net.conns.get_mut(&number) else {
            return Ok(());
        };
        let (from, to) = (conn.end(way.back()).server, conn.end(way).server);
        let stalled = conn.stalled && way == Way::ToLearner;
        conn.pipe_mut(way).scheduled = false;
        // Who stands still reads nothing.
        if self.net.cut.contains(&(from, to)) || self.servers[&to].paused || stalled {
            return Ok(());
        }
        if let Some((_, item)) = conn.pipe_mut(way).items.pop_front() {
            self.arrive(number, way, item)?;
        }
        self.schedule(number, way);
        Ok(())
    }

    fn arrive(&mut self, number: u64, way: Way, item: Item) -> Check {
        let Some(conn) = self.net.conns.get(&number) else {
            return Ok(());
        };
        let end = *conn.end(way);
        if !self.is_end_alive(number, way) {
            // Who is up, and knows nothing of the connection, says so.
            if self.servers[&end.server].is_up() && !matches!(item, Item::End) {
                self.put(number, way.back(), Item::End);
            }
            return Ok(());
        }
        self.trace.step(self.now_us, "arrives", number);
        let (id, boot) = (end.server, end.boot);
        match item {
            Item::Opened => self.feed(id, boot, ZabInput::LinkUp { link: end.id }),
            Item::FromLeader(packet) => match self.stage(number, packet)? {
                Staging::Taken => self.feed(id, boot, ZabInput::Heard { link: end.id }),
                Staging::Passed(packet) => {
                    let link = end.id;
                    self.feed(id, boot, ZabInput::FromLeader { link, packet })
                }
                Staging::Refused => {
                    self.close(id, end.id);
                    self.feed(id, boot, ZabInput::LinkDown { link: end.id })
                }
            },
            Item::FromLearner(packet) => {
                let link = end.id;
                self.feed(id, boot, ZabInput::FromLearner { link, packet })
            }
            Item::Snapshot(history) => {
                let staged = Staged::new(number, conn.named, history);
                if self.plan.has(Planted::SnapshotAlone) {
                    self.on_snapshot(id, staged);
                    return Ok(());
                }
                if let Some(conn) = self.net.conns.get_mut(&number) {
                    conn.staged = Some(staged);
                }
                self.feed(id, boot, ZabInput::Heard { link: end.id })
            }
            Item::End => {
                if let Some(conn) = self.net.conns.get_mut(&number) {
                    conn.end_mut(way).open = false;
                }
                self.feed(id, boot, ZabInput::LinkDown { link: end.id })?;
                self.no_snapshot(id, number);
                self.net.forget_if_over(number);
                Ok(())
            }
        }
    }

    /// What comes behind a snapshot is put behind it, up to NEWLEADER; then all of it is installed at once. Otherwise a
    /// server that goes down in between would come back with less than it has acknowledged: the snapshot may be older than
    /// the history that it takes the place of.
    fn stage(&mut self, number: u64, packet: LeaderPacket) -> Check<Staging> {
        let reads_ahead = self.plan.reads_ahead;
        let Some(conn) = self.net.conns.get_mut(&number) else {
            return Ok(Staging::Taken);
        };
        if let LeaderPacket::Snap { zxid } = &packet {
            conn.named = *zxid;
        }
        let (link, learner) = (conn.link, conn.learner.server);
        let Some(staged) = &mut conn.staged else {
            return Ok(Staging::Passed(packet));
        };
        let staging = staged.take(packet.clone());
        if matches!(staging, Staging::Passed(_)) {
            let whole = conn.staged.take();
            conn.stalled = !reads_ahead;
            if let Some(whole) = whole {
                self.on_snapshot(learner, whole);
            }
        } else {
            let packet = &packet;
            self.see(&Seen::AtLearner { link, packet })?;
        }
        Ok(staging)
    }

    /// What was held up by a cut goes on.
    pub(super) fn resume_pipes(&mut self) {
        let numbers: Vec<u64> = self.net.conns.keys().copied().collect();
        for number in numbers {
            self.schedule(number, Way::ToLearner);
            self.schedule(number, Way::ToLeader);
        }
    }

    pub(super) fn unstall(&mut self, number: u64) {
        if let Some(conn) = self.net.conns.get_mut(&number) {
            conn.stalled = false;
            self.schedule(number, Way::ToLearner);
        }
    }

    /// A server closes its end.
    pub(super) fn close(&mut self, id: Server, link: LinkId) {
        let Some((number, way)) = self.net.find(id, link) else {
            return;
        };
        if let Some(conn) = self.net.conns.get_mut(&number) {
            conn.end_mut(way).open = false;
            conn.stalled = false;
        }
        self.put(number, way.back(), Item::End);
        if way == Way::ToLearner {
            self.no_snapshot(id, number);
        }
        self.net.forget_if_over(number);
    }

    /// A connection breaks for both ends, with what is under way on it.
    pub(super) fn break_link(&mut self, number: u64) {
        for way in [Way::ToLearner, Way::ToLeader] {
            if let Some(conn) = self.net.conns.get_mut(&number) {
                conn.stalled = false;
                conn.outbox.clear();
                conn.pipe_mut(way).items.clear();
            }
            self.put(number, way, Item::End);
        }
    }

    /// All connections of a server that went down; with the power gone, nobody hears of it.
    pub(super) fn lose_links(&mut self, id: Server, power: bool) {
        let mut lost = Vec::new();
        for (number, conn) in &mut self.net.conns {
            for way in [Way::ToLearner, Way::ToLeader] {
                let end = conn.end_mut(way);
                if end.server == id && end.open {
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

    pub(super) fn send_up(&mut self, id: Server, link: LinkId, packet: LearnerPacket) -> Check {
        let Some((number, Way::ToLearner)) = self.net.find(id, link) else {
            return Ok(());
        };
        let link = self.net.conns[&number].link;
        self.see(&Seen::ToLeader {
            link,
            packet: &packet,
        })?;
        self.put(number, Way::ToLeader, Item::FromLearner(packet));
        Ok(())
    }

    pub(super) fn send_out(&mut self, id: Server, link: LinkId, out: Out) -> Check {
        let Some((number, Way::ToLeader)) = self.net.find(id, link) else {
            return Ok(());
        };
        if let Some(conn) = self.net.conns.get_mut(&number) {
            conn.outbox.push_back(out);
        }
        self.send_waiting(number)
    }

    fn send_waiting(&mut self, number: u64) -> Check {
        loop {
            let Some(conn) = self.net.conns.get_mut(&number) else {
                return Ok(());
            };
            if conn.busy {
                return Ok(());
            }
            match conn.outbox.front() {
                Some(Out::Packet(_)) => {}
                Some(_) => {
                    conn.busy = true;
                    let delay_us = self.rng.below(self.plan.bulk_us + 1);
                    self.after(delay_us, Event::Read { number });
                    return Ok(());
                }
                None => return Ok(()),
            }
            let in_snapshot = conn.in_snapshot;
            if let Some(Out::Packet(packet)) = conn.outbox.pop_front()
                && !is_in(&packet, in_snapshot)
            {
                self.send_packet(number, packet)?;
            }
        }
    }

    fn send_packet(&mut self, number: u64, packet: LeaderPacket) -> Check {
        let link = self.net.conns[&number].link;
        match packet {
            LeaderPacket::Diff { .. } => self.report.synced[0] += 1,
            LeaderPacket::Trunc { .. } => self.report.synced[1] += 1,
            LeaderPacket::Snap { .. } => self.report.synced[2] += 1,
            _ => {}
        }
        self.see(&Seen::ToLearner {
            link,
            packet: &packet,
        })?;
        self.put(number, Way::ToLearner, Item::FromLeader(packet));
        Ok(())
    }

    /// What was to be read from the disk for a learner is there.
    pub(super) fn on_read(&mut self, number: u64) -> Check {
        let Some(conn) = self.net.conns.get_mut(&number) else {
            return Ok(());
        };
        conn.busy = false;
        let (leader, id) = (conn.leader.server, conn.leader.id);
        if !self.is_end_alive(number, Way::ToLeader) {
            return Ok(());
        }
        let conn = self
            .net
            .conns
            .get_mut(&number)
            .expect("it was there just now");
        let entries = match conn.outbox.pop_front() {
            Some(Out::Log { after, through }) => {
                self.report.synced[3] += 1;
                self.servers[&leader].disk.read_log(after, through)
            }
            Some(Out::Snapshot { through }) => self.send_snapshot(number, leader, through)?,
            _ => None,
        };
        let Some(entries) = entries else {
            // It cannot be read: the connection is of no use.
            self.close(leader, id);
            self.feed_later(0, leader, ZabInput::LinkDown { link: id });
            return Ok(());
        };
        for entry in entries {
            let (zxid, txn) = (entry.zxid, entry.txn());
            self.send_packet(number, LeaderPacket::Proposal { zxid, txn })?;
            self.send_packet(number, LeaderPacket::Commit { zxid })?;
        }
        self.feed_later(0, leader, ZabInput::Heard { link: id });
        self.send_waiting(number)
    }

    /// Sends a snapshot; what is to follow from the log, if the log has it.
    fn send_snapshot(
        &mut self,
        number: u64,
        leader: Server,
        through: Zxid,
    ) -> Check<Option<Vec<Entry>>> {
        let server = &self.servers[&leader];
        let (oldest, newest) = (server.disk.folded, server.served.min(server.applied.len()));
        // Who serves brings its snapshot up to date first; before that nothing may get into it.
        let count = if server.serves() {
            newest.max(oldest)
        } else {
            oldest
        };
        let history = self.servers[&leader].applied[..count].to_vec();
        let zxid = last(&history);
        let named = if self.plan.has(Planted::SnapshotAhead) {
            Zxid(zxid.0 + 10)
        } else {
            zxid
        };
        if let Some(conn) = self.net.conns.get_mut(&number) {
            conn.in_snapshot = zxid;
        }
        self.send_packet(number, LeaderPacket::Snap { zxid: named })?;
        self.put(number, Way::ToLearner, Item::Snapshot(history));
        if zxid >= through {
            return Ok(Some(Vec::new()));
        }
        Ok(self.servers[&leader].disk.read_log(zxid, through))
    }
}

/// Whether a snapshot as of `zxid` has it already.
fn is_in(packet: &LeaderPacket, snapshot: Zxid) -> bool {
    match packet {
        LeaderPacket::Proposal { zxid, .. }
        | LeaderPacket::Commit { zxid }
        | LeaderPacket::CommitAndActivate { zxid, .. }
        | LeaderPacket::InformAndActivate { zxid, .. }
        | LeaderPacket::Inform { zxid, .. } => *zxid <= snapshot,
        _ => false,
    }
}
