//! What the order of transactions and the leader's own work ask for becomes effects.

use bytes::Bytes;
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Zxid};

use super::serving::Serving;
use super::{Around, Member};
use crate::replica::effect::Effect;
use crate::replica::primary::{Forwarded, Made, Turn};
use crate::replica::zab::{LinkId, Role, ZabEffect};
use crate::state::Committed;

impl Member {
    /// Turns what [`Zab`] said and what [`Primary`] made into effects, until there is no more of either.
    pub(super) fn carry_out(&mut self, around: &mut Around<'_>) {
        while !self.said.is_empty() || !self.made.is_empty() {
            for effect in std::mem::take(&mut self.said) {
                self.on_said(around, effect);
            }
            for made in std::mem::take(&mut self.made) {
                match made {
                    Made::Effect(effect) => around.effects.push(effect),
                    Made::Proposal(proposal) => {
                        let zxid = proposal.zxid();
                        // Without a zxid the epoch is over, and with it everything that was not proposed.
                        if let Serving::Leader(leading) = &mut self.serving
                            && self.zab.next_zxid() == Some(zxid)
                        {
                            leading.outstanding.push_back(proposal.committed);
                            self.zab.propose(zxid, proposal.payload, &mut self.said);
                        }
                    }
                }
            }
        }
    }

    fn on_said(&mut self, around: &mut Around<'_>, effect: ZabEffect) {
        match effect {
            ZabEffect::Append { write, zxid, txn } => around.effects.push(Effect::Write {
                write,
                zxid,
                payload: txn,
            }),
            ZabEffect::StoreEpochs { write, epochs } => {
                around.effects.push(Effect::StoreEpochs { write, epochs });
            }
            ZabEffect::Replay { zxid, txn } => {
                if let Some(entry) = self.entry(zxid, &txn) {
                    around.effects.push(commit(entry));
                }
            }
            ZabEffect::Commit { zxid, txn } => self.on_commit(around, zxid, &txn),
            ZabEffect::Established { .. } => {
                self.stop_serving(around.effects);
                self.serving = Serving::Soon(Vec::new());
            }
            ZabEffect::RoleChanged { role, .. } => {
                if role == Role::Looking || self.is_read_only() {
                    self.stop_serving(around.effects);
                }
                if role == Role::Looking {
                    self.decoded.clear();
                    self.made.clear();
                }
                around.effects.push(Effect::Peer(effect));
            }
            ZabEffect::Requested { .. }
            | ZabEffect::Revalidate { .. }
            | ZabEffect::Touched { .. }
            | ZabEffect::Revalidated { .. }
            | ZabEffect::Synced => self.on_session_business(around, effect),
            effect => around.effects.push(Effect::Peer(effect)),
        }
    }

    fn on_commit(&mut self, around: &mut Around<'_>, zxid: Zxid, txn: &Bytes) {
        let effects = &mut *around.effects;
        match &mut self.serving {
            Serving::Leader(leading) => {
                let committed = leading.outstanding.pop_front();
                debug_assert_eq!(
                    committed
                        .as_ref()
                        .map(|committed| committed.entry.header.zxid),
                    Some(zxid),
                    "CommitInOrder"
                );
                if let Some(committed) = committed {
                    leading
                        .primary
                        .on_committed(&committed.entry, around.clock.monotonic_ms);
                    effects.push(Effect::Commit(Box::new(committed)));
                }
                while let Some((_, effect)) =
                    leading.behind.pop_front_if(|(after, _)| *after <= zxid)
                {
                    effects.push(effect);
                }
            }
            Serving::Learner { .. } => {
                let entry = self.entry(zxid, txn);
                if let (Serving::Learner { attendant, .. }, Some(entry)) =
                    (&mut self.serving, entry)
                {
                    attendant.on_commit(entry, effects);
                }
            }
            Serving::No | Serving::Soon(_) | Serving::ReadOnly(_) => {
                effects.extend(self.entry(zxid, txn).map(commit));
            }
        }
    }

    /// A logged transaction, decoded: before, or now. What is in the log was decoded once.
    fn entry(&mut self, zxid: Zxid, txn: &Bytes) -> Option<TxnEntry> {
        while self
            .decoded
            .pop_front_if(|entry| entry.header.zxid < zxid)
            .is_some()
        {}
        self.decoded
            .pop_front_if(|entry| entry.header.zxid == zxid)
            .or_else(|| decode(zxid, txn))
    }

    fn on_session_business(&mut self, around: &mut Around<'_>, effect: ZabEffect) {
        let clock = around.clock;
        match (&mut self.serving, effect) {
            (Serving::Soon(kept), effect) => kept.push(effect),
            // As for this server's own clients: nothing is proposed any more. A session that is only wished for must not be
            // tracked either, or its client would be let in with it.
            (Serving::Leader(_), ZabEffect::Requested { .. }) if self.zab.next_zxid().is_none() => {
            }
            (
                Serving::Leader(leading),
                ZabEffect::Requested {
                    link,
                    session,
                    cxid,
                    op,
                    body,
                    ids,
                },
            ) => {
                let forwarded = Forwarded {
                    link,
                    session,
                    cxid,
                    op,
                    body,
                    ids,
                };
                let mut turn = Turn {
                    clock,
                    state: around.state,
                    zab: Some(&self.zab),
                    made: &mut self.made,
                };
                leading.primary.on_forwarded(&mut turn, &forwarded);
            }
            (
                Serving::Leader(leading),
                ZabEffect::Revalidate {
                    link,
                    session,
                    timeout_ms,
                },
            ) => {
                let valid = leading.primary.revalidate(clock, link, session, timeout_ms);
                self.said.push(revalidated(link, session, valid));
            }
            (Serving::Leader(leading), ZabEffect::Touched { sessions }) => {
                for (session, _) in sessions {
                    leading.primary.sessions.touch(session, clock.monotonic_ms);
                }
            }
            (Serving::Learner { attendant, .. }, ZabEffect::Revalidated { session, valid }) => {
                attendant.on_revalidated(session, valid, around.effects);
            }
            (Serving::Learner { attendant, .. }, ZabEffect::Synced) => {
                attendant.on_synced(around.effects);
            }
            _ => {}
        }
    }
}

fn revalidated(link: LinkId, session: SessionId, valid: bool) -> ZabEffect {
    ZabEffect::ToLearner {
        link,
        packet: LeaderPacket::Revalidate { session, valid },
    }
}

fn commit(entry: TxnEntry) -> Effect {
    Effect::Commit(Box::new(Committed {
        entry,
        origin: None,
        close: None,
    }))
}

pub(super) fn decode(zxid: Zxid, txn: &Bytes) -> Option<TxnEntry> {
    let entry = TxnEntry::decode(txn).ok()?;
    (entry.header.zxid == zxid).then_some(entry)
}
