//! Faults that are planted between a replica and its world.

use bytes::Bytes;
use jute_codec::proto::ConnectResponse;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{ErrorCode, SessionId};
use zabd::replica::effect::{Answer, Effect};
use zabd::replica::input::Input;
use zabd::replica::zab::ZabEffect;
use zabd::state::conn::Submission;

use super::net::{FIRST_CLIENT, Node};
use super::plan::Planted;
use super::world::{Event, World};

impl World {
    /// What is done in place of what a server wants done.
    pub(super) fn tamper(&mut self, id: Node, effects: Vec<Effect>) -> Vec<Effect> {
        let Some(planted) = self.plan.planted else {
            return effects;
        };
        let mut tampered = Vec::new();
        for effect in effects {
            self.tamper_one(planted, id, effect, &mut tampered);
        }
        tampered
    }

    /// What a server is told in place of what a client has said.
    pub(super) fn tamper_input(&self, id: Node, input: &mut Input) {
        if !self.plan.has(Planted::ReadOnlyForAll) || self.servers[&id].is_serving() {
            return;
        }
        if let Input::Submitted(Submission::Connect { request, .. }) = input {
            request.read_only = Some(true);
        }
    }

    fn tamper_one(
        &mut self,
        planted: Planted,
        id: Node,
        mut effect: Effect,
        out: &mut Vec<Effect>,
    ) {
        let happens = self.rng.chance(1, 8);
        match (planted, &mut effect) {
            (Planted::CommitLost, Effect::Commit(_)) if happens => return,
            (Planted::CommitsSwapped, Effect::Commit(_)) => {
                if let Some(Effect::Commit(_)) = out.last() {
                    let place = out.len() - 1;
                    out.insert(place, effect);
                    return;
                }
            }
            (
                Planted::RequestTwice | Planted::RequestLate,
                Effect::Peer(ZabEffect::ToLeader { link, packet }),
            ) => {
                if let LearnerPacket::Request { session, cxid, .. } = &*packet
                    && *cxid != 0
                    && *session != SessionId::NONE
                    && happens
                {
                    let (link, packet) = (*link, packet.clone());
                    if planted == Planted::RequestTwice {
                        out.push(Effect::Peer(ZabEffect::ToLeader { link, packet }));
                    } else {
                        let boot = self.servers[&id].boot;
                        let event = Event::Late {
                            server: id,
                            boot,
                            link,
                            packet: Box::new(packet),
                        };
                        return self.after(self.tick_us(), event);
                    }
                }
            }
            (
                Planted::TouchesLost,
                Effect::Peer(ZabEffect::ToLeader {
                    packet: LearnerPacket::Ping { touched, .. },
                    ..
                }),
            ) => touched.clear(),
            (Planted::EphemeralLeft, effect) => leave_one(effect),
            (Planted::LiveSessionRefused, Effect::Connected { response, .. }) if happens => {
                *response = ConnectResponse::invalid(response.read_only);
            }
            (Planted::ReadOnlyTakesWrites, Effect::Answered { answer, .. })
                if *answer == Answer::Refused(ErrorCode::NotReadOnly) =>
            {
                *answer = Answer::Done;
            }
            (Planted::ForeignSessionLetIn, Effect::Connected { conn, response })
                if happens && response.session == SessionId::NONE =>
            {
                if let Some(known) = self.session_asked_for(conn.0) {
                    *response = known;
                }
            }
            _ => {}
        }
        out.push(effect);
    }
}

impl World {
    /// What a client on this connection would like to hear.
    fn session_asked_for(&self, number: u64) -> Option<ConnectResponse> {
        let client = self.net.links.get(&number)?.caller.node;
        let place = usize::try_from(client - FIRST_CLIENT).ok()?;
        self.clients.get(place)?.as_ref()?.has()
    }
}

/// A session that ends keeps its last node, everywhere.
fn leave_one(effect: &mut Effect) {
    match effect {
        Effect::Write { payload, .. } => shorten_bytes(payload),
        Effect::Commit(committed) => shorten(&mut committed.entry),
        Effect::Peer(ZabEffect::ToLearner {
            packet: LeaderPacket::Proposal { txn, .. } | LeaderPacket::Inform { txn, .. },
            ..
        }) => shorten_bytes(txn),
        _ => {}
    }
}

fn shorten_bytes(txn: &mut Bytes) {
    if let Ok(mut entry) = TxnEntry::decode(txn)
        && matches!(entry.txn, Txn::CloseSession(_))
    {
        shorten(&mut entry);
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        *txn = bytes.into();
    }
}

fn shorten(entry: &mut TxnEntry) {
    if let Txn::CloseSession(Some(paths)) = &mut entry.txn {
        // A second time there is nothing to do: the list says that of itself.
        if entry.digest.take().is_some() {
            paths.pop();
        }
    }
}
