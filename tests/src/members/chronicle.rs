//! The committed history, and the model's world after each transaction of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jute_codec::proto::{Reply, Request};
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{ErrorCode, Zxid};
use zabd::replica::ensemble::Members;
use zabd::replica::params::LocalSessions;

use super::check::{
    Check, Violation, acknowledged_stays, broken, ephemerals_follow_sessions, one_history,
    replicas_agree, sessions_live, writes_linearizable,
};
use super::membership;
use super::net::Node;
use crate::sim::check::session_fifo::WriteOrder;
use crate::sim::check::{nothing_invented, sessions_live as model_sessions};
use crate::sim::ledger::{Cause, Moment, Proposal, SentWrite, Witness};
use crate::sim::model::Answer;

/// A transaction that is committed.
#[derive(Debug)]
struct Page {
    zxid: Zxid,
    txn: Bytes,
    moment: Moment,
}

/// A write under way, and what anybody had been shown when it was sent.
#[derive(Debug)]
struct Pending {
    sent: SentWrite,
    floor: Zxid,
}

/// All that is committed, as soon as any server lets its clients see it.
#[derive(Debug)]
pub(super) struct Chronicle {
    local_sessions: LocalSessions,
    /// What the end of a local session is answered with.
    closed: Answer,
    first: Moment,
    pages: Vec<Page>,
    sent: BTreeMap<(i64, i32), Pending>,
    done: BTreeMap<(i64, i32), Zxid>,
    writes: WriteOrder,
    begun: BTreeMap<i64, Zxid>,
    /// The newest that any client was shown, by epoch.
    revealed: BTreeMap<i64, Zxid>,
    /// Epochs whose leader had another tree than the model when it began.
    odd_epochs: BTreeSet<i64>,
}

impl Chronicle {
    pub(super) fn new(members: &Members, local_sessions: LocalSessions) -> Self {
        Self {
            local_sessions,
            closed: Answer {
                err: 0,
                body: Reply::Empty,
            },
            first: membership::begin(Moment::first(false), members),
            pages: Vec::new(),
            sent: BTreeMap::new(),
            done: BTreeMap::new(),
            writes: WriteOrder::default(),
            begun: BTreeMap::new(),
            revealed: BTreeMap::new(),
            odd_epochs: BTreeSet::new(),
        }
    }

    /// Whoever leads in this epoch has another tree than the model: what it predicts nobody comes to who is right.
    pub(super) fn on_odd_epoch(&mut self, epoch: i64) {
        self.odd_epochs.insert(epoch);
    }

    /// Whether that is so.
    pub(super) fn is_odd_epoch(&self, epoch: i64) -> bool {
        self.odd_epochs.contains(&epoch)
    }

    /// How many transactions are committed.
    pub(super) const fn len(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn newest(&self) -> Zxid {
        self.pages.last().map_or(Zxid::ZERO, |page| page.zxid)
    }

    /// The world as it is now.
    pub(super) fn now(&self) -> &Moment {
        self.pages.last().map_or(&self.first, |page| &page.moment)
    }

    /// A client sends a write.
    pub(super) fn on_sent(&mut self, xid: i32, sent: SentWrite) {
        self.writes.on_sent(sent.conn, xid);
        let floor = self.revealed_in(i64::MAX);
        let key = (sent.who.session, xid);
        self.sent.insert(key, Pending { sent, floor });
    }

    /// A client was shown a state, or was answered.
    pub(super) fn on_revealed(&mut self, zxid: Zxid) {
        let newest = self.revealed.entry(zxid.epoch()).or_default();
        *newest = (*newest).max(zxid);
    }

    /// The newest that any client was shown in epochs up to this one.
    pub(super) fn revealed_in(&self, epoch: i64) -> Zxid {
        let newest = self.revealed.range(..=epoch).next_back();
        newest.map_or(Zxid::ZERO, |(_, zxid)| *zxid)
    }

    /// What was shown, by epoch.
    pub(super) fn floors(&self) -> BTreeMap<i64, Zxid> {
        self.revealed.clone()
    }

    /// A server shows its clients a history whose transaction in this place is this one.
    pub(super) fn on_committed(&mut self, place: usize, zxid: Zxid, txn: &Bytes) -> Check {
        if let Some(page) = self.pages.get(place) {
            return one_history::same(place, (page.zxid, &page.txn), (zxid, txn));
        }
        one_history::next(place, self.len(), self.newest(), zxid)?;
        let Ok(entry) = TxnEntry::decode(txn) else {
            return nothing_invented::unasked(format!("{zxid}, which cannot be decoded"));
        };
        let moment = self.moment(&entry)?;
        self.pages.push(Page {
            zxid,
            txn: txn.clone(),
            moment,
        });
        Ok(())
    }

    fn moment(&mut self, entry: &TxnEntry) -> Check<Moment> {
        let (header, txn) = (&entry.header, &entry.txn);
        let (session, xid) = (header.client_id.0, header.cxid);
        if let Some(before) = self.done.get(&(session, xid)) {
            return writes_linearizable::twice(session, xid, *before, header.zxid);
        }
        let closing = match txn {
            Txn::CloseSession(paths) => paths.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        let cause = match (self.sent.remove(&(session, xid)), txn) {
            (Some(Pending { mut sent, floor }), _) => {
                writes_linearizable::in_real_time(xid, floor, header.zxid)?;
                self.done.insert((session, xid), header.zxid);
                self.writes.on_proposed(sent.conn, xid)?;
                if let Some(moment) = self.refused(session, xid, &sent, txn)? {
                    return Ok(moment);
                }
                if self.is_local(session) {
                    sent.who.no_ephemerals = Some(refusal_in(txn));
                }
                if let Request::Reconfig(_) = sent.request {
                    let when = (header.zxid, header.time);
                    return membership::after(self.now(), xid, &sent, floor, when, txn);
                }
                Cause::Request(xid, sent)
            }
            (None, Txn::CreateSession { timeout_ms }) if xid == 0 => {
                self.begun.insert(session, header.zxid);
                Cause::Begin {
                    session,
                    timeout_ms: *timeout_ms,
                }
            }
            (None, Txn::CloseSession(_)) if xid == 0 => Cause::Expiry(session),
            (None, Txn::DeleteContainer(delete)) if session == 0 => {
                Cause::Abandoned(delete.path.clone())
            }
            (None, txn) => {
                return nothing_invented::unasked(format!(
                    "{} {txn:?} of session {session:#x} {xid}",
                    header.zxid
                ));
            }
        };
        let digest = entry.digest.as_ref().map_or(0, |digest| digest.tree_digest);
        let proposal = Proposal {
            zxid: header.zxid,
            time: header.time,
            cause,
            closing,
            digest: digest.cast_unsigned(),
        };
        let moment = self.now().after(&proposal).map_err(|violation| Violation {
            // The nodes of a session that ends are this simulator's own promise.
            invariant: if violation.invariant == model_sessions::NAME {
                ephemerals_follow_sessions::NAME
            } else {
                violation.invariant
            },
            ..violation
        })?;
        if !self.is_odd_epoch(header.zxid.epoch()) {
            replicas_agree::predicted(header.zxid, proposal.digest, moment.digest)?;
        }
        Ok(moment)
    }

    /// What the leader refuses because of the session, whatever is asked.
    fn refused(
        &self,
        session: i64,
        xid: i32,
        sent: &SentWrite,
        txn: &Txn,
    ) -> Check<Option<Moment>> {
        let Txn::Error(code) = txn else {
            return Ok(None);
        };
        let now = self.now();
        let mut told = *code;
        let makes_ephemeral = matches!(
            &sent.request,
            Request::Create(create) | Request::Create2(create) if matches!(create.flags, 1 | 3)
        );
        let stays_local = self.local_sessions == LocalSessions::Kept && self.is_local(session);
        if stays_local && makes_ephemeral && is_refusal(*code) {
            // Whatever the leader calls it.
            told = ErrorCode::EphemeralOnLocalSession.code();
        } else if *code == ErrorCode::SessionExpired.code() {
            let lives = now.sessions.contains_key(&session);
            sessions_live::refused(session, lives)?;
        } else if *code != ErrorCode::SessionMoved.code() {
            return Ok(None);
        }
        Ok(Some(Moment {
            fires: std::rc::Rc::new([]),
            answer: Some((
                session,
                xid,
                Answer {
                    err: told,
                    body: Reply::Empty,
                },
            )),
            ..now.clone()
        }))
    }

    /// Whether a session may be one that only its server knows.
    fn is_local(&self, session: i64) -> bool {
        let lives = self.now().sessions.contains_key(&session);
        self.local_sessions != LocalSessions::Off && !lives
    }

    /// All sessions that a transaction began.
    pub(super) fn sessions_begun(&self) -> impl Iterator<Item = i64> {
        self.begun.keys().copied()
    }

    /// A server begins to lead in an epoch with so many transactions.
    pub(super) fn on_leader(&self, server: Node, epoch: i64, count: usize) -> Check {
        let before = self.pages.partition_point(|page| page.zxid.epoch() < epoch);
        acknowledged_stays::on_leader(server, epoch, count, before)
    }

    /// The digest of a server's tree after `zxid`.
    pub(super) fn compare_digest(&self, server: Node, zxid: Zxid, digest: u64) -> Check {
        match self.at(zxid) {
            Some(moment) => replicas_agree::same(server, zxid, digest, moment.digest),
            None => broken(
                one_history::NAME,
                format!("{server} has {zxid}, which is not committed"),
            ),
        }
    }

    /// What `/zookeeper/config` says after a transaction.
    pub(super) fn config_at(&self, zxid: Zxid) -> Option<Bytes> {
        self.at(zxid)?.tree.get(membership::PATH)?.data.clone()
    }

    /// What a change of the members that is committed has left there; of the first ones nobody made it.
    pub(super) fn changed_to(&self, zxid: Zxid) -> Option<Bytes> {
        let moment = if zxid == membership::FIRST {
            Some(&self.first)
        } else {
            self.at(zxid)
        };
        let node = moment?.tree.get(membership::PATH)?;
        node.data.clone().filter(|_| node.mzxid == zxid)
    }

    /// The version of the newest members.
    pub(super) fn members_version(&self) -> Zxid {
        let node = self.now().tree.get(membership::PATH);
        node.map_or(membership::FIRST, |node| node.mzxid)
    }

    /// The transaction that began a session, if it is committed.
    pub(super) fn began(&self, session: i64) -> Option<Zxid> {
        self.begun.get(&session).copied()
    }
}

/// Whether a leader says so that a session may not have ephemeral nodes.
fn is_refusal(code: i32) -> bool {
    code == ErrorCode::SessionExpired.code() || code == ErrorCode::EphemeralOnLocalSession.code()
}

/// What a multi says where an ephemeral node was refused.
fn refusal_in(txn: &Txn) -> i32 {
    let Txn::Multi(parts) = txn else {
        return ErrorCode::SessionExpired.code();
    };
    let codes = parts.iter().filter_map(|part| match part {
        Txn::Error(code) if is_refusal(*code) => Some(*code),
        _ => None,
    });
    codes.last().unwrap_or(ErrorCode::SessionExpired.code())
}

impl Witness for Chronicle {
    fn at(&self, zxid: Zxid) -> Option<&Moment> {
        if zxid == Zxid::ZERO {
            return Some(&self.first);
        }
        let place = self.pages.binary_search_by_key(&zxid, |page| page.zxid);
        Some(&self.pages[place.ok()?].moment)
    }

    fn behind(&self, zxid: Zxid) -> Option<(Zxid, &Moment)> {
        let place = self.pages.partition_point(|page| page.zxid <= zxid);
        let page = self.pages.get(place)?;
        Some((page.zxid, &page.moment))
    }

    fn answer(&self, zxid: Zxid, session: i64, xid: i32) -> Check<&Answer> {
        let answer = self.at(zxid).and_then(|moment| moment.answer.as_ref());
        match answer {
            Some((of, number, answer)) if *of == session && *number == xid => Ok(answer),
            // A local session ends without a transaction.
            _ if self.local_sessions != LocalSessions::Off
                && !self.begun.contains_key(&session)
                && self.sent.get(&(session, xid)).is_some_and(|pending| {
                    matches!(pending.sent.request, Request::CloseSession)
                }) =>
            {
                Ok(&self.closed)
            }
            other => writes_linearizable::told(session, xid, zxid, other),
        }
    }
}
