//! What went to the log, and what the model makes of it: the tree after every transaction.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use jute_codec::proto::{Reply, Request};
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{Text, Zxid};

use super::check::commit_in_order::CommitInOrder;
use super::check::session_fifo::WriteOrder;
use super::check::{
    Check, nothing_half_applied, nothing_invented, replies_match_model, tree_digest,
};
use super::model::tree::Tree;
use super::model::{self, Answer, Fire, Who};

/// A write that a client has sent.
#[derive(Debug, Clone)]
pub struct SentWrite {
    /// On which connection.
    pub conn: u64,
    /// By whom.
    pub who: Who,
    /// What.
    pub request: Request,
}

/// What a transaction came of.
#[derive(Debug, Clone)]
pub enum Cause {
    /// A client's request, under its number.
    Request(i32, SentWrite),
    /// A handshake that begins a session.
    Begin {
        /// The new session.
        session: i64,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// A session that was not heard of.
    Expiry(i64),
    /// A container or TTL node that was left alone.
    Abandoned(Text),
}

/// A transaction, and what it came of.
#[derive(Debug)]
pub struct Proposal {
    /// Its id.
    pub zxid: Zxid,
    /// What it is stamped with, in milliseconds since 1970.
    pub time: i64,
    /// What it came of.
    pub cause: Cause,
    /// The nodes that a closing session takes with it, in their order.
    pub closing: Vec<Text>,
    /// The tree's digest after it, as the server that made it predicts.
    pub digest: u64,
}

/// The world right after one transaction.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The tree.
    pub tree: Tree,
    /// Live sessions with their timeouts.
    pub sessions: Rc<BTreeMap<i64, i32>>,
    /// The watches that the transaction fired, in order.
    pub fires: Rc<[Fire]>,
    /// Who is answered what: session and request number.
    pub answer: Option<(i64, i32, Answer)>,
    /// The tree's digest.
    pub digest: u64,
}

impl Moment {
    /// The world of a new server.
    #[must_use]
    pub fn first(extended_types: bool) -> Self {
        let tree = Tree::new(extended_types);
        Self {
            digest: tree.digest(),
            tree,
            sessions: Rc::default(),
            fires: Rc::new([]),
            answer: None,
        }
    }

    /// The world right after one more transaction.
    ///
    /// # Errors
    /// When the server does by itself what it may not.
    pub fn after(&self, proposal: &Proposal) -> Check<Self> {
        let Proposal {
            zxid,
            time,
            cause,
            closing,
            ..
        } = proposal;
        let (mut tree, mut sessions, mut fires) =
            (self.tree.clone(), Rc::clone(&self.sessions), Vec::new());
        let mut answer = None;
        match cause {
            Cause::Request(xid, sent) => {
                let body = match sent.request {
                    Request::CloseSession => {
                        Self::close(
                            &mut tree,
                            &mut sessions,
                            sent.who.session,
                            closing,
                            *zxid,
                            &mut fires,
                        )?;
                        Answer::ok(Reply::Empty)
                    }
                    _ => model::write(
                        &mut tree,
                        &sent.who,
                        &sent.request,
                        *zxid,
                        *time,
                        &mut fires,
                    ),
                };
                answer = Some((sent.who.session, *xid, body));
            }
            Cause::Begin {
                session,
                timeout_ms,
            } => {
                Rc::make_mut(&mut sessions).insert(*session, *timeout_ms);
            }
            Cause::Expiry(session) => {
                Self::close(
                    &mut tree,
                    &mut sessions,
                    *session,
                    closing,
                    *zxid,
                    &mut fires,
                )?;
            }
            Cause::Abandoned(path) => {
                if !model::delete_abandoned(&mut tree, path, *zxid, &mut fires) {
                    return nothing_invented::unasked(format!("the deletion of {path} at {zxid}"));
                }
            }
        }
        Ok(Self {
            digest: tree.digest(),
            tree,
            sessions,
            fires: fires.into(),
            answer,
        })
    }

    fn close(
        tree: &mut Tree,
        sessions: &mut Rc<BTreeMap<i64, i32>>,
        session: i64,
        closing: &[Text],
        zxid: Zxid,
        fires: &mut Vec<Fire>,
    ) -> Check {
        let mut listed = closing.to_vec();
        listed.sort();
        let owned = tree.ephemerals(session);
        if listed != owned {
            let what = format!("session {session:#x} ends and takes {listed:?}, it owns {owned:?}");
            return super::check::broken(super::check::sessions_live::NAME, what);
        }
        model::close_session(tree, closing, zxid, fires);
        Rc::make_mut(sessions).remove(&session);
        Ok(())
    }
}

/// Committed transactions, and the model's world after each.
pub trait Witness {
    /// The world after a transaction that was applied.
    fn at(&self, zxid: Zxid) -> Option<&Moment>;

    /// The transaction that comes behind `zxid`, if there is one.
    fn behind(&self, zxid: Zxid) -> Option<(Zxid, &Moment)>;

    /// The answer to the write `xid` of `session`, which a reply says was transaction `zxid`.
    ///
    /// # Errors
    /// When that was another transaction, or none.
    fn answer(&self, zxid: Zxid, session: i64, xid: i32) -> Check<&Answer> {
        match self.at(zxid).and_then(|moment| moment.answer.as_ref()) {
            Some((of, number, answer)) if *of == session && *number == xid => Ok(answer),
            other => super::check::broken(
                replies_match_model::NAME,
                format!("the reply to {xid} of {session:#x} names {zxid}, which was {other:?}"),
            ),
        }
    }
}

impl Witness for Ledger {
    fn at(&self, zxid: Zxid) -> Option<&Moment> {
        self.moments.get(usize::try_from(zxid.0).ok()?)
    }

    fn behind(&self, zxid: Zxid) -> Option<(Zxid, &Moment)> {
        let next = zxid.next();
        self.at(next).map(|moment| (next, moment))
    }
}

/// All transactions of a history that was never lost.
#[derive(Debug)]
pub struct Ledger {
    sent: BTreeMap<(i64, i32), SentWrite>,
    proposals: VecDeque<Proposal>,
    // By zxid; the first is the empty server's.
    moments: Vec<Moment>,
    // What the log was given, by zxid; one longer than `proposals` and `moments` together say.
    payloads: Vec<Bytes>,
    begun: BTreeMap<i64, Zxid>,
    order: CommitInOrder,
    writes: WriteOrder,
}

impl Ledger {
    /// The history of a new server.
    #[must_use]
    pub fn new(extended_types: bool) -> Self {
        Self {
            sent: BTreeMap::new(),
            proposals: VecDeque::new(),
            moments: vec![Moment::first(extended_types)],
            payloads: vec![Bytes::new()],
            begun: BTreeMap::new(),
            order: CommitInOrder::default(),
            writes: WriteOrder::default(),
        }
    }

    /// A client sends a write.
    pub fn on_sent(&mut self, xid: i32, sent: SentWrite) {
        self.writes.on_sent(sent.conn, xid);
        self.sent.insert((sent.who.session, xid), sent);
    }

    /// A transaction goes to the log.
    ///
    /// # Errors
    /// When it should not, or not now.
    pub fn on_proposed(&mut self, zxid: Zxid, payload: &Bytes) -> Check<Cause> {
        self.order.on_proposed(zxid)?;
        let Ok(TxnEntry {
            header,
            txn,
            digest,
        }) = TxnEntry::decode(payload)
        else {
            return nothing_invented::unasked(format!("{zxid}, which cannot be decoded"));
        };
        let (session, xid) = (header.client_id.0, header.cxid);
        let closing = match &txn {
            Txn::CloseSession(paths) => paths.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        let cause = match (self.sent.remove(&(session, xid)), txn) {
            (Some(sent), _) => {
                self.writes.on_proposed(sent.conn, xid)?;
                Cause::Request(xid, sent)
            }
            (None, Txn::CreateSession { timeout_ms }) if xid == 0 => {
                self.begun.insert(session, zxid);
                Cause::Begin {
                    session,
                    timeout_ms,
                }
            }
            (None, Txn::CloseSession(_)) if xid == 0 => Cause::Expiry(session),
            (None, Txn::DeleteContainer(delete)) if session == 0 => Cause::Abandoned(delete.path),
            (None, txn) => {
                return nothing_invented::unasked(format!(
                    "{zxid} {txn:?} of session {session:#x} {xid}"
                ));
            }
        };
        let digest = digest.map_or(0, |digest| digest.tree_digest.cast_unsigned());
        let proposal = Proposal {
            zxid,
            time: header.time,
            cause: cause.clone(),
            closing,
            digest,
        };
        self.payloads.push(payload.clone());
        self.proposals.push_back(proposal);
        Ok(cause)
    }

    /// A transaction is applied.
    ///
    /// # Errors
    /// When it is not the next, or the model says that something else comes of it.
    pub fn on_applied(&mut self, zxid: Zxid) -> Check {
        self.order.on_applied(zxid)?;
        let Some(proposal) = self.proposals.pop_front() else {
            return nothing_invented::unasked(zxid);
        };
        let moment = self.last().after(&proposal)?;
        tree_digest::same(
            zxid,
            "the replica predicted",
            proposal.digest,
            moment.digest,
        )?;
        self.moments.push(moment);
        Ok(())
    }

    /// A server came up with everything up to `zxid`; `replayed` is what it read from the log.
    ///
    /// # Errors
    /// When that is not what was written there.
    pub fn on_recovered(&mut self, zxid: Zxid, replayed: &[(Zxid, Bytes)]) -> Check {
        for (found, payload) in replayed {
            let written = usize::try_from(found.0)
                .ok()
                .and_then(|place| self.payloads.get(place));
            nothing_invented::on_replayed(*found, payload, written)?;
        }
        while self
            .proposals
            .front()
            .is_some_and(|proposal| proposal.zxid <= zxid)
        {
            let next = self.applied().next();
            self.on_applied(next)?;
        }
        if self.applied() < zxid {
            return nothing_invented::unasked(format!(
                "the state at {zxid}, nothing was proposed behind {}",
                self.applied()
            ));
        }
        // With a promise broken on purpose what was applied may be lost; the checker of that promise speaks first.
        let kept = usize::try_from(zxid.0).unwrap_or(0) + 1;
        self.moments.truncate(kept);
        self.payloads.truncate(kept);
        self.proposals.clear();
        self.sent.clear();
        self.writes = WriteOrder::default();
        self.order.on_recovered(zxid);
        Ok(())
    }

    /// The newest transaction applied.
    #[must_use]
    pub fn applied(&self) -> Zxid {
        Zxid(i64::try_from(self.moments.len()).unwrap_or(i64::MAX) - 1)
    }

    /// The world after the newest transaction applied.
    ///
    /// # Panics
    /// Never: the first moment is always there.
    #[must_use]
    pub fn last(&self) -> &Moment {
        self.moments
            .last()
            .expect("the first moment is always there")
    }

    /// The transaction that began a session, if it was applied.
    #[must_use]
    pub fn began(&self, session: i64) -> Option<Zxid> {
        self.begun
            .get(&session)
            .copied()
            .filter(|zxid| *zxid <= self.applied())
    }

    /// A tree that was read out of a server at `zxid`, against the model's.
    ///
    /// # Errors
    /// When they differ.
    pub fn compare(&self, zxid: Zxid, found: &BTreeMap<String, super::probe::SeenNode>) -> Check {
        match self.at(zxid) {
            Some(moment) => nothing_half_applied::on_recovered(zxid, found, &moment.tree),
            None => nothing_invented::unasked(format!("the state at {zxid}")),
        }
    }
}
