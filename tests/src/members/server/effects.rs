//! What a replica wants done, in the order in which it says so.

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, ReplyHeader};
use jute_codec::txn::Txn;
use jute_codec::{SessionId, Text, Zxid};
use zabd::replica::effect::{Answer, Effect};
use zabd::replica::zab::{Role, ZabEffect, ZabInput};
use zabd::state::conn::ConnId;
use zabd::state::{Committed, Outputs, Service};

use crate::members::check::{Check, leaders_only_lead, server_stays_up};
use crate::members::disk::{Logged, Write, Written, last};
use crate::members::net::{Node, Out};
use crate::members::plan::Planted;
use crate::members::world::{Event, World};

/// Something for the state or for connections, in the order of the replica's effects.
#[derive(Debug)]
pub(in crate::members) enum Step {
    Commit(Box<Committed>),
    Connected(ConnId, ConnectResponse),
    Close(ConnId),
    Synced(ConnId, i32, Option<Text>),
    Answered(ConnId, i32, Answer),
    Serve(Service),
    ServeReadOnly,
    Config(Text, i64),
    ReplaceState(ZabEffect),
}

impl World {
    pub(in crate::members) fn carry_out(&mut self, id: Node, effects: Vec<Effect>) -> Check {
        for effect in self.tamper(id, effects) {
            self.trace.say(|| format!("    {id} > {effect:?}"));
            let step = match effect {
                Effect::Write {
                    write,
                    zxid,
                    payload,
                } => {
                    self.sessions.on_logged(&payload);
                    let logged = Logged { zxid, txn: payload };
                    self.write(id, Write::of(write, Written::Txn(logged)));
                    continue;
                }
                Effect::StoreEpochs { write, epochs } => {
                    self.write(id, Write::of(write, Written::Epochs(epochs)));
                    continue;
                }
                Effect::Expired { session } => {
                    self.report.expired += 1;
                    self.on_expired(id, session.0)?;
                    continue;
                }
                // Nobody asks for it in these runs.
                Effect::QuotaExceeded { .. } => continue,
                Effect::ServeReadOnly => Step::ServeReadOnly,
                Effect::Peer(
                    effect @ (ZabEffect::Truncate { .. }
                    | ZabEffect::ReceiveSnapshot { .. }
                    | ZabEffect::Check),
                ) => Step::ReplaceState(effect),
                Effect::Peer(effect) => {
                    self.peer(id, effect)?;
                    continue;
                }
                Effect::Commit(committed) => Step::Commit(committed),
                Effect::Connected { conn, response } => {
                    let leads = self.servers[&id].said_role == Role::Leading;
                    if leads && !self.plan.leader_serves && response.session != SessionId::NONE {
                        return leaders_only_lead::let_in(id, response.session.0);
                    }
                    Step::Connected(conn, response)
                }
                Effect::CloseConn { conn } => Step::Close(conn),
                Effect::Synced { conn, xid, path } => Step::Synced(conn, xid, path),
                Effect::Answered { conn, xid, answer } => Step::Answered(conn, xid, answer),
                Effect::Serve => {
                    self.note_leader(id);
                    self.on_reign(id);
                    Step::Serve(Service::Full)
                }
                Effect::ServeNobody => {
                    self.note_leader(id);
                    self.on_reign(id);
                    let serves = self.plan.has(Planted::LeaderServes);
                    Step::Serve(if serves {
                        Service::Full
                    } else {
                        Service::Others
                    })
                }
                Effect::StopServing => {
                    if self.servers[&id].said_role == Role::Leading {
                        self.on_leader_stops(id)?;
                    }
                    Step::Serve(Service::None)
                }
                Effect::Config { .. } if self.plan.has(Planted::MembersUnsaid) => continue,
                Effect::Config { text, version } => Step::Config(text, version),
            };
            self.server(id).steps.push_back(step);
        }
        Ok(())
    }

    fn peer(&mut self, id: Node, effect: ZabEffect) -> Check {
        match effect {
            ZabEffect::Notify { to, notification } => self.notify(id, to.0, notification),
            ZabEffect::ConnectElection => self.resend_from(id),
            ZabEffect::Connect { link, leader } => {
                let boot = self.servers[&id].boot;
                let delay_us = self.network_delay();
                let event = Event::Dial {
                    server: id,
                    boot,
                    id: link,
                    leader: leader.0,
                    attempts: 5,
                };
                self.after(delay_us, event);
            }
            ZabEffect::Listen(listening) => self.server(id).listening = listening,
            ZabEffect::CloseLink { link } => self.close(id, link),
            ZabEffect::ToLearner { link, packet } => self.send_out(id, link, Out::Packet(packet)),
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => self.send_out(id, link, Out::Log { after, through }),
            ZabEffect::SendSnapshot { link, through } => {
                self.send_out(id, link, Out::Snapshot { through });
            }
            ZabEffect::ToLeader { link, packet } => self.send_up(id, link, packet),
            ZabEffect::Members { configs } => self.on_members(id, &configs),
            ZabEffect::LookUp { link, zxid } => {
                let found = self.servers[&id].disk.look_up(zxid);
                let unusable = self.rng.chance(1, self.plan.unusable_one_in);
                let found = if unusable {
                    zabd::replica::zab::LogPlace::Unusable
                } else {
                    found
                };
                let delay_us = self.rng.below(self.plan.bulk_us);
                self.tell_later(delay_us, id, ZabInput::LookedUp { link, found });
            }
            ZabEffect::RoleChanged { role, leader, .. } => {
                let leader = leader.map_or(0, |leader| leader.0.cast_unsigned());
                self.trace.step(self.now_us, "role", leader);
                self.server(id).said_role = role;
                self.report.reigns += u64::from(role == Role::Leading);
            }
            ZabEffect::Fatal { why } => {
                return server_stays_up::stuck(format!("{id} gives up: {why}"));
            }
            other => return server_stays_up::stuck(format!("{id} says {other:?}")),
        }
        Ok(())
    }

    /// Applies a batch, and hands on what connections are to hear.
    pub(super) fn apply(&mut self, id: Node) -> Check {
        let mut outputs = Outputs::default();
        for _ in 0..self.plan.apply_at_once {
            let Some(step) = self.server(id).steps.pop_front() else {
                break;
            };
            match step {
                Step::Commit(committed) => {
                    self.commit(id, &committed, &mut outputs)?;
                }
                Step::Connected(conn, response) => {
                    self.on_let_in(id, conn.0, &response)?;
                    outputs.connected(conn, &response);
                }
                Step::Close(conn) => outputs.close(conn),
                Step::Synced(conn, xid, path) => {
                    let mut zxid = self.servers[&id].state.last_zxid();
                    if self.plan.has(Planted::SyncNamesOldZxid) && zxid.counter() > 1 {
                        zxid = Zxid(zxid.0 - 1);
                    }
                    let header = ReplyHeader { xid, zxid, err: 0 };
                    self.deliver_outputs(id, &mut outputs);
                    self.answer_sync(id, conn, &header, path.as_ref());
                }
                Step::Answered(conn, xid, answer) => {
                    let reads_only = self.servers[&id].state.service() == Service::ReadOnly;
                    if answer == Answer::Done && !reads_only {
                        self.on_closed_here(id, conn.0);
                    }
                    let zxid = self.servers[&id].state.last_zxid();
                    answer.tell(conn, xid, zxid, &mut outputs);
                }
                // The time is that of the server, which the model knows nothing of.
                Step::Config(text, version) => self.server(id).state.set_config(&text, version, 0),
                Step::ServeReadOnly => {
                    self.report.shows += 1;
                    self.trace
                        .step(self.now_us, "read only", id.cast_unsigned());
                    self.server(id).state.set_service(Service::ReadOnly);
                }
                Step::Serve(service @ (Service::Full | Service::Others)) => {
                    self.begin_to_serve(id, service)?;
                }
                Step::Serve(_) => {
                    self.deliver_outputs(id, &mut outputs);
                    self.serve_nobody(id);
                    self.close_all(id);
                }
                Step::ReplaceState(effect) => {
                    self.settle_difference(id, effect);
                    break;
                }
            }
        }
        self.deliver_outputs(id, &mut outputs);
        Ok(())
    }

    fn commit(&mut self, id: Node, committed: &Committed, outputs: &mut Outputs) -> Check {
        let zxid = committed.entry.header.zxid;
        let mut txn = Vec::new();
        committed.entry.write(&mut txn);
        let txn = Bytes::from(txn);
        let server = self.server(id);
        let place = server.applied.len();
        server.applied.push(Logged {
            zxid,
            txn: txn.clone(),
        });
        let serves = server.state.is_committed();
        if serves {
            server.verified = place + 1;
            self.chronicle.on_committed(place, zxid, &txn)?;
            self.trace.bytes(&txn);
        }
        let changes_members = matches!(committed.entry.txn, Txn::Reconfig(_));
        let leads = self.servers[&id].leads();
        let mut committed = committed.clone();
        if self.plan.has(Planted::AppliedGarbled) && self.rng.chance(1, 8) {
            committed.entry.header.time += 1;
        }
        let server = self.server(id);
        let compared = server.state.apply(&committed, outputs);
        self.on_compared(id, compared, committed.entry.digest.is_some(), outputs)?;
        let server = &self.servers[&id];
        if serves {
            if !server.difference.is_odd {
                let digest = server.state.digest();
                self.chronicle.compare_digest(id, zxid, digest)?;
            }
            if changes_members {
                self.report.changes += u64::from(leads);
                self.check_members(id)?;
            }
        }
        Ok(())
    }

    fn begin_to_serve(&mut self, id: Node, service: Service) -> Check {
        let now_us = self.now_us;
        if !self.may_serve(id)? {
            return Ok(());
        }
        self.trace.step(now_us, "serve", id.cast_unsigned());
        let runs = self.plan.has(Planted::ClockRuns);
        let tick_ms = self.plan.tick_ms;
        let server = &self.servers[&id];
        let leads = server.role() == Role::Leading;
        // All of it is committed now.
        for place in server.verified..server.applied.len() {
            let Logged { zxid, txn } = &server.applied[place];
            self.chronicle.on_committed(place, *zxid, txn)?;
        }
        let (count, digest) = (server.applied.len(), server.state.digest());
        if leads {
            let epoch = server.epoch();
            self.chronicle.on_leader(id, epoch, count)?;
        }
        if !server.difference.is_odd {
            self.chronicle
                .compare_digest(id, last(&server.applied), digest)?;
        }
        self.check_members(id)?;
        let server = self.server(id);
        server.verified = count;
        server.state.set_service(service);
        server.serving_since_us = Some(now_us);
        server.disturbed_us = now_us;
        if leads && runs {
            server.ahead_ms += tick_ms * 12;
        }
        Ok(())
    }
}
