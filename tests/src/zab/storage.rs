//! What a server does with its disk.

use jute_codec::Zxid;
use zabd::replica::effect::WriteSeq;
use zabd::replica::ensemble::ServerId;
use zabd::replica::zab::{LinkId, ZabInput};

use super::book::{Seen, Server, Written};
use super::check::{Check, broken};
use super::disk::Write;
use super::entry::{last, through};
use super::net::{Extent, Staged};
use super::plan::Planted;
use super::world::{Event, World};

impl World {
    /// Whether nobody else knows of anything that it lacks: with two of three in that state there is no way on.
    pub(super) fn others_whole(&self, id: Server) -> bool {
        let mut others = self.servers.iter().filter(|(other, _)| **other != id);
        others.all(|(_, server)| !server.disk.lacks && !server.diverged)
    }

    /// The end of a log that is not written to is found damaged, as long as others have all of it.
    pub(super) fn damage(&mut self, id: Server) {
        if !self.plan.faults.damage {
            return;
        }
        let happens = self.rng.chance(1, 3);
        let lost = self.rng.place(6);
        let others_whole = self.others_whole(id);
        let disk = &self.servers[&id].disk;
        let kept = disk.durable.len().saturating_sub(lost).max(disk.folded);
        let safe = disk.durable[kept..].iter().all(|entry| {
            let voters = self.plan.voters.cast_signed();
            let others = self
                .servers
                .iter()
                .filter(|(other, _)| **other != id && **other <= voters);
            let whole = others
                .filter(|(_, server)| server.disk.durable.contains(entry))
                .count();
            whole > usize::try_from(voters).unwrap_or_default() / 2
        });
        if happens && others_whole && safe && kept < disk.durable.len() {
            self.trace.step(self.now_us, "damage", id.cast_unsigned());
            let disk = &mut self.server(id).disk;
            disk.durable.truncate(kept);
            disk.latest.truncate(kept);
            disk.lacks = true;
        }
    }

    pub(super) fn truncate(&mut self, id: Server, zxid: Zxid) -> Check {
        if self.plan.has(Planted::TruncIgnored) {
            self.feed_later(1000, id, ZabInput::Truncated { zxid });
            return Ok(());
        }
        let server = self.server(id);
        server.applied.truncate(through(&server.applied, zxid));
        if server.applied.len() < server.disk.folded {
            let (kept, folded) = (server.applied.len(), server.disk.folded);
            return broken(
                "SnapshotHasCommittedOnly",
                format!("{id} is to keep {kept} transactions, its snapshot on disk has {folded}"),
            );
        }
        server.served = server.served.min(server.applied.len());
        self.write(id, None, Written::Cut(zxid), None);
        self.see(&Seen::Cut { server: id, zxid })
    }

    pub(super) fn expect_snapshot(&mut self, id: Server, link: LinkId) {
        let Some((number, _)) = self.net.find(id, link) else {
            return self.feed_later(0, id, ZabInput::NotInstalled);
        };
        let server = self.server(id);
        match server.snapshots.remove(&number) {
            Some(staged) => self.install(id, staged),
            None => server.expecting = Some(number),
        }
    }

    fn install(&mut self, id: Server, staged: Staged) {
        let Staged { history, extent } = staged;
        self.write(id, None, Written::History(history), Some(extent));
    }

    pub(super) fn write(
        &mut self,
        id: Server,
        seq: Option<WriteSeq>,
        what: Written,
        extent: Option<Extent>,
    ) {
        if let Some(seq) = seq
            && self.plan.has(Planted::DurableBeforeSync)
        {
            self.feed_later(0, id, ZabInput::Durable(seq));
        }
        if seq.is_some() && self.skips_append(&what) {
            return self.feed_later(1000, id, ZabInput::Durable(seq.unwrap_or_default()));
        }
        let write = Write { seq, what, extent };
        if let Some(seq) = seq
            && self.is_put_off(id, &write.what)
        {
            self.server(id).put_off.push(write);
            return self.feed_later(1000, id, ZabInput::Durable(seq));
        }
        self.server(id).disk.push(write);
        self.flush(id);
    }

    /// What was put off is written after all.
    pub(super) fn catch_up(&mut self, id: Server) {
        let server = self.server(id);
        for write in std::mem::take(&mut server.put_off) {
            server.disk.push(write);
        }
        self.flush(id);
    }

    /// Begins to write what is pending, unless that is under way.
    pub(super) fn flush(&mut self, id: Server) {
        self.epochs_first(id);
        let most = self.servers[&id].disk.pending.len();
        let count = if self.rng.chance(1, 4) {
            1 + self.rng.place(most.max(1))
        } else {
            most
        };
        let mut delay_us = self.rng.below(self.plan.sync_us + 1);
        let server = self.server(id);
        let disk = &mut server.disk;
        if disk.pending.is_empty() || disk.flushing > 0 || server.zab.is_none() {
            return;
        }
        let boot = server.boot;
        if disk.full {
            if !disk.told {
                disk.told = true;
                self.feed_later(delay_us, id, ZabInput::LogTrouble);
            }
            return;
        }
        disk.flushing = count;
        delay_us += disk.slow_us;
        self.after(delay_us, Event::Written { server: id, boot });
    }

    pub(super) fn on_written(&mut self, id: Server, boot: u64) -> Check {
        let server = self.server(id);
        if server.boot != boot || !server.is_up() {
            return Ok(());
        }
        let mut durable = None;
        for _ in 0..server.disk.flushing {
            let Some(write) = self.server(id).disk.write_one() else {
                break;
            };
            durable = durable.max(write.seq);
            if !self.servers[&id].disk.loses(&write.what) {
                self.see(&Seen::OnDisk {
                    server: id,
                    written: &write.what,
                })?;
            }
            if write.seq.is_some() {
                continue;
            }
            // Reports come in the order of what they report.
            if let Some(durable) = durable.take() {
                self.feed(id, boot, ZabInput::Durable(durable))?;
            }
            let zxid = last(&self.servers[&id].disk.durable);
            let (Written::History(history), Some(extent)) = (&write.what, write.extent) else {
                self.feed(id, boot, ZabInput::Truncated { zxid })?;
                continue;
            };
            let (applied, pending) = history.split_at(extent.committed);
            let server = self.server(id);
            server.applied = applied.to_vec();
            server.served = server.disk.folded;
            self.see(&Seen::Replaced {
                server: id,
                history,
                applied,
            })?;
            let pending = pending.iter().map(|entry| (entry.zxid, entry.txn()));
            let installed = ZabInput::Installed {
                zxid: last(applied).max(extent.named),
                pending: pending.collect(),
                successor: extent.successor.map(ServerId),
            };
            self.feed(id, boot, installed)?;
            self.unstall(extent.conn);
        }
        if let Some(durable) = durable {
            self.feed(id, boot, ZabInput::Durable(durable))?;
        }
        self.flush(id);
        Ok(())
    }

    /// The snapshot on disk is brought up to date, and the log cut.
    pub(super) fn fold(&mut self, id: Server, boot: u64) {
        let mut rng = self.rng.fork();
        let takes_all = self.plan.has(Planted::SnapshotUncommitted);
        let server = self.server(id);
        if server.boot != boot || !server.is_up() {
            return;
        }
        if server.disk.pending.iter().all(|write| write.seq.is_some()) {
            let most = if takes_all { usize::MAX } else { server.served };
            server.disk.fold(most, &mut rng);
        }
        let pause_us = self.rng.between(1, self.plan.fold_us);
        self.after(pause_us, Event::Fold { server: id, boot });
    }

    /// What a connection that is gone means for a snapshot that was to come on it.
    pub(super) fn no_snapshot(&mut self, id: Server, number: u64) {
        let abandons = self.rng.chance(1, 2);
        let server = self.server(id);
        server.snapshots.remove(&number);
        let mut answered = server
            .expecting
            .take_if(|expected| *expected == number)
            .is_some();
        // One that is being installed may be given up as long as it is not begun.
        let begun = server.disk.flushing;
        let place = server
            .disk
            .pending
            .iter()
            .position(|write| write.extent.is_some_and(|extent| extent.conn == number));
        if let Some(place) = place
            && place >= begun
            && abandons
        {
            server.disk.pending.remove(place);
            answered = true;
        }
        if answered {
            self.feed_later(0, id, ZabInput::NotInstalled);
        }
    }

    /// A snapshot has come, with what stands behind it up to NEWLEADER.
    pub(super) fn on_snapshot(&mut self, id: Server, staged: Staged) {
        let (server, number) = (self.server(id), staged.extent.conn);
        if server
            .expecting
            .take_if(|expected| *expected == number)
            .is_some()
        {
            self.install(id, staged);
        } else {
            server.snapshots.insert(number, staged);
        }
    }
}
