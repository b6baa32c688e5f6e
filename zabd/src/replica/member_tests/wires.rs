//! What goes on between the servers, and what they do to their histories.

use super::*;

impl World {
    pub(super) fn peer(&mut self, id: ServerId, effect: ZabEffect) {
        match effect {
            ZabEffect::Notify { to, notification } => {
                let from = id;
                self.tell(to, ZabInput::Notified { from, notification });
            }
            ZabEffect::Listen(listens) => self.servers.get_mut(&id).unwrap().listens = listens,
            ZabEffect::Connect { link, leader } => self.dial(5, (id, link), leader),
            ZabEffect::CloseLink { link } => {
                self.dialing.retain(|(.., end, _)| *end != (id, link));
                self.close((id, link));
            }
            ZabEffect::ToLeader { link, packet } => {
                if let Some((leader, link)) = self.links.get(&(id, link)).copied() {
                    self.tell(leader, ZabInput::FromLearner { link, packet });
                }
            }
            ZabEffect::ToLearner { link, packet } => self.send(id, link, packet),
            ZabEffect::LookUp { link, zxid } => {
                let log = &self.servers[&id].log;
                let before = log.iter().rev().find(|(logged, _)| *logged <= zxid);
                let found = match before {
                    Some((found, _)) if *found == zxid => LogPlace::Exactly,
                    None if zxid == Zxid::ZERO => LogPlace::Exactly,
                    Some((found, _)) => LogPlace::After(*found),
                    None => LogPlace::Unusable,
                };
                self.tell(id, ZabInput::LookedUp { link, found });
            }
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => {
                let log = self.servers[&id].log.clone();
                for (zxid, txn) in log {
                    if zxid > after && zxid <= through {
                        self.send(id, link, LeaderPacket::Proposal { zxid, txn });
                        self.send(id, link, LeaderPacket::Commit { zxid });
                    }
                }
            }
            ZabEffect::SendSnapshot { link, .. } => {
                let server = &self.servers[&id];
                let zxid = server.state.last_zxid();
                let applied = server.log.iter().filter(|(logged, _)| *logged <= zxid);
                if let Some(end) = self.links.get(&(id, link)) {
                    let stream = (applied.cloned().collect(), server.altered.clone());
                    self.streams.insert(*end, stream);
                }
                self.send(id, link, LeaderPacket::Snap { zxid });
            }
            ZabEffect::ReceiveSnapshot { link, zxid, .. } => {
                let server = self.servers.get_mut(&id).unwrap();
                (server.log, server.altered) = self.streams.remove(&(id, link)).unwrap();
                server.state = server.rebuilt(Zxid(i64::MAX));
                server.diverged = None;
                let installed = ZabInput::Installed {
                    zxid,
                    pending: Vec::new(),
                    successor: None,
                };
                self.tell(id, installed);
            }
            ZabEffect::Truncate { zxid } => {
                let server = self.servers.get_mut(&id).unwrap();
                server.log.retain(|(logged, _)| *logged <= zxid);
                server.state = server.rebuilt(zxid);
                server.diverged = None;
                self.tell(id, ZabInput::Truncated { zxid });
            }
            ZabEffect::Check => {
                let server = self.servers.get_mut(&id).unwrap();
                let mismatch = server.diverged.take().unwrap();
                let agrees = server.rebuilt(mismatch.zxid).digest() == mismatch.expected;
                server.state = server.rebuilt(server.state.last_zxid());
                self.checks.push((id.0, agrees));
                self.tell(id, ZabInput::Checked { agrees });
            }
            ZabEffect::Members { configs } => {
                self.servers.get_mut(&id).unwrap().configs = configs;
            }
            ZabEffect::RoleChanged { .. } | ZabEffect::ConnectElection => {}
            other => panic!("not needed in these stories: {other:?}"),
        }
    }

    pub(super) fn dial(&mut self, attempts: u32, end: End, leader: ServerId) {
        let (learner, link) = end;
        if self
            .servers
            .get(&leader)
            .is_some_and(|leader| leader.listens)
        {
            self.links_accepted += 1;
            let accepted = LinkId(self.links_accepted);
            self.links.insert(end, (leader, accepted));
            self.links.insert((leader, accepted), end);
            self.tell(leader, ZabInput::LinkUp { link: accepted });
            self.tell(learner, ZabInput::LinkUp { link });
        } else if attempts > 1 {
            let due_ms = self.now_ms + 100;
            self.dialing.push((due_ms, attempts - 1, end, leader));
        } else {
            self.tell(learner, ZabInput::LinkDown { link });
        }
    }

    pub(super) fn redial(&mut self) {
        let now_ms = self.now_ms;
        let due: Vec<_> = self
            .dialing
            .extract_if(.., |(due_ms, ..)| *due_ms <= now_ms)
            .collect();
        for (_, attempts, end, leader) in due {
            self.dial(attempts, end, leader);
        }
    }

    pub(super) fn send(&mut self, id: ServerId, link: LinkId, packet: LeaderPacket) {
        if let Some((learner, link)) = self.links.get(&(id, link)).copied() {
            self.tell(learner, ZabInput::FromLeader { link, packet });
        }
    }

    pub(super) fn close(&mut self, end: End) {
        if let Some(other) = self.links.remove(&end) {
            self.links.remove(&other);
            self.tell(other.0, ZabInput::LinkDown { link: other.1 });
        }
    }
}
