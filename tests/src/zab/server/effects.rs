//! What a core wants done, in the order in which it says so.

use std::sync::Arc;

use jute_codec::quorum::PeerState;
use zabd::replica::ensemble::Configs;
use zabd::replica::zab::{Role, Zab, ZabEffect, ZabInput};

use crate::zab::book::{Seen, Server, Written};
use crate::zab::check::{Check, broken};
use crate::zab::entry::{Entry, last};
use crate::zab::net::Out;
use crate::zab::plan::Planted;
use crate::zab::world::{Event, World};

impl World {
    pub(super) fn carry_out(&mut self, id: Server, effects: Vec<ZabEffect>) -> Check {
        let mut established = None;
        for effect in self.tamper(id, effects) {
            self.trace.say(|| format!("    {id} > {effect:?}"));
            match effect {
                ZabEffect::Established { epoch } => established = Some(epoch),
                ZabEffect::RoleChanged { role, leader, .. } => {
                    established = None;
                    self.trace.step(
                        self.now_us,
                        "role",
                        leader.map_or(0, |leader| leader.0.cast_unsigned()),
                    );
                    self.catch_up(id);
                    self.writes_later(id);
                    self.server(id).role = role;
                    self.see(&Seen::Role { server: id, role })?;
                }
                effect => self.carry_out_one(id, effect)?,
            }
        }
        if let Some(epoch) = established {
            self.trace
                .step(self.now_us, "established", id.cast_unsigned());
            let server = self.server(id);
            server.served = server.applied.len();
            server.disk.lacks = false;
            server.diverged = false;
            self.report.reigns += u64::from(self.servers[&id].role == Role::Leading);
            self.see(&Seen::Established { server: id, epoch })?;
            self.catch_up(id);
        }
        self.arm(id);
        Ok(())
    }

    fn carry_out_one(&mut self, id: Server, effect: ZabEffect) -> Check {
        match effect {
            ZabEffect::Append { write, zxid, txn } => {
                let entry = Entry::read(zxid, &txn);
                self.write(id, Some(write), Written::Entry(entry), None);
                self.see(&Seen::Appended { server: id, entry })
            }
            ZabEffect::StoreEpochs { write, epochs } => {
                self.write(id, Some(write), Written::Epochs(epochs), None);
                Ok(())
            }
            ZabEffect::Commit { zxid, txn } => self.apply(id, Entry::read(zxid, &txn), true),
            ZabEffect::Replay { zxid, txn } => self.apply(id, Entry::read(zxid, &txn), false),
            ZabEffect::Truncate { zxid } => self.truncate(id, zxid),
            ZabEffect::Check => {
                let agrees = self.rng.chance(1, 3);
                let delay_us = self.rng.below(self.plan.sync_us * 20 + 1);
                self.feed_later(delay_us, id, ZabInput::Checked { agrees });
                Ok(())
            }
            ZabEffect::ReceiveSnapshot { link, .. } => {
                self.expect_snapshot(id, link);
                Ok(())
            }
            ZabEffect::Notify { to, notification } => {
                if notification.state == PeerState::Looking && notification.leader == id {
                    let zxid = notification.zxid;
                    self.see(&Seen::Stood { server: id, zxid })?;
                }
                self.notify(id, to.0, notification);
                Ok(())
            }
            ZabEffect::ConnectElection => {
                self.resend_from(id);
                Ok(())
            }
            ZabEffect::Connect { link, leader } => {
                let server = &self.servers[&id];
                let boot = server.boot;
                // Where others are is known from a membership, and from nowhere else.
                let configs = server.zab.as_ref().map(Zab::configs);
                let is_known = |configs: &Configs| {
                    let mut all = configs.all();
                    all.any(|members| members.servers().contains_key(&leader))
                };
                if !configs.is_some_and(is_known) {
                    self.feed_later(1, id, ZabInput::LinkDown { link });
                    return Ok(());
                }
                let delay_us = self.network_delay();
                let event = Event::Connect {
                    server: id,
                    boot,
                    id: link,
                    leader: leader.0,
                    attempts: 5,
                };
                self.after(delay_us, event);
                Ok(())
            }
            ZabEffect::Listen(listening) => {
                self.server(id).listening = listening;
                Ok(())
            }
            ZabEffect::CloseLink { link } => {
                self.close(id, link);
                Ok(())
            }
            ZabEffect::ToLearner { link, packet } => self.send_out(id, link, Out::Packet(packet)),
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => self.send_out(id, link, Out::Log { after, through }),
            ZabEffect::SendSnapshot { link, through } => {
                self.send_out(id, link, Out::Snapshot { through })
            }
            ZabEffect::ToLeader { link, packet } => self.send_up(id, link, packet),
            ZabEffect::Members { configs } => {
                self.store_members(id, &configs);
                self.see(&Seen::InForce {
                    server: id,
                    version: configs.committed.version(),
                })
            }
            ZabEffect::LookUp { link, zxid } => {
                let disk = &self.servers[&id].disk;
                // A snapshot is worth its size only to those who have less than it.
                let may_be_long = zxid < last(&disk.latest[..disk.folded]);
                let found = disk.look_up(zxid);
                let unusable = may_be_long && self.rng.chance(1, self.plan.unusable_one_in);
                let found = if unusable {
                    zabd::replica::zab::LogPlace::Unusable
                } else {
                    found
                };
                let delay_us = self.rng.below(self.plan.bulk_us);
                self.feed_later(delay_us, id, ZabInput::LookedUp { link, found });
                Ok(())
            }
            ZabEffect::Fatal { why } => broken("ServerStaysUp", format!("{id} gives up: {why}")),
            // Of sessions there are none.
            _ => Ok(()),
        }
    }

    /// Nobody relies on it, so that it may fail.
    fn store_members(&mut self, id: Server, configs: &Configs) {
        if configs.is_changing() && self.plan.has(Planted::ActivatedAtOnce) {
            self.server(id).configs = Configs::of(Arc::clone(&configs.proposed));
            self.after(1, Event::Crash { server: id });
            return;
        }
        let is_new = configs.committed.version() != self.servers[&id].configs.committed.version();
        if is_new && !self.plan.has(Planted::ChangesForgotten) && self.rng.chance(3, 4) {
            self.trace.step(
                self.now_us,
                "members",
                configs.committed.version().cast_unsigned(),
            );
            self.server(id).configs = Configs::of(Arc::clone(&configs.committed));
        }
    }

    fn apply(&mut self, id: Server, entry: Entry, committed: bool) -> Check {
        let server = self.server(id);
        server.applied.push(entry);
        let answers =
            committed && server.role == Role::Leading && server.asked.remove(&entry.number);
        if server.serves() && committed {
            server.served = server.applied.len();
        }
        self.see(&Seen::Applied {
            server: id,
            entry,
            committed,
        })?;
        if answers {
            self.report.answered += 1;
            self.see(&Seen::Answered { server: id, entry })?;
        }
        Ok(())
    }
}
