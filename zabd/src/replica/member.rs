//! A server of an ensemble: it serves clients as leader, or on behalf of one, or not at all.
//!
//! [`Zab`] orders; what it orders is made here by [`Primary`] on the leader, and matched with those who wait for it by
//! [`Attendant`] elsewhere. Clients are served from [`ZabEffect::Established`], and once the state has caught up, until
//! the role ends; then all of them are sent away. Between roles it may serve those who only read ([`ReadOnly`]).

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, Request};
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Zxid};

use super::attendant::Attendant;
use super::clock::Clock;
use super::effect::{Answer, Effect};
use super::ensemble::Configs;
use super::input::Input;
use super::params::ReplicaParams;
use super::primary::{Forwarded, Made, Primary, Turn};
use super::read_only::ReadOnly;
use super::session::password::password_of;
use super::session::{Locals, SessionIds, SessionTracker};
use super::zab::{LinkId, Recovered, Role, Zab, ZabEffect, ZabInput, ZabParams};
use crate::state::conn::{ClientRequest, ConnId, Submission, WriteBody};
use crate::state::{Committed, State};

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) zab: Zab,
    serving: Serving,
    // When to serve read-only clients, in monotonic milliseconds; while this server looks for a leader.
    read_only_at_ms: Option<i64>,
    // Transactions that the leader sent and that are not committed, as far as they need not be decoded again.
    decoded: VecDeque<TxnEntry>,
    said: Vec<ZabEffect>,
    made: Vec<Made>,
}

#[derive(Debug)]
enum Serving {
    No,
    /// The epoch is established, the state not yet as of its beginning. What learners ask meanwhile is kept.
    Soon(Vec<ZabEffect>),
    Leader(Box<Leading>),
    /// There has been no leader for a while.
    ReadOnly(Box<ReadOnly>),
    Learner {
        attendant: Box<Attendant>,
        /// When to ask next which clients have been heard of.
        next_hearing_ms: i64,
    },
}

#[derive(Debug)]
struct Leading {
    primary: Primary,
    /// Proposed and not committed, in zxid order.
    outstanding: VecDeque<Committed>,
    /// What this server's clients are to hear once everything up to some transaction is committed.
    behind: VecDeque<(Zxid, Effect)>,
}

/// What a step is taken with.
pub(super) struct Around<'a> {
    pub(super) clock: Clock,
    pub(super) params: &'a ReplicaParams,
    pub(super) ids: &'a mut SessionIds,
    pub(super) state: &'a State,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Member {
    pub(super) fn new(
        zab_params: ZabParams,
        configs: Configs,
        recovered: Recovered,
        clock: Clock,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut said = Vec::new();
        let zab = Zab::new(
            zab_params,
            configs,
            recovered,
            clock.monotonic_ms,
            &mut said,
        );
        // It looks for a leader: nothing is said yet that is answered in here.
        effects.extend(said.drain(..).map(Effect::Peer));
        Self {
            zab,
            serving: Serving::No,
            read_only_at_ms: None,
            decoded: VecDeque::new(),
            said,
            made: Vec::new(),
        }
    }

    pub(super) fn step(
        &mut self,
        clock: Clock,
        params: &ReplicaParams,
        ids: &mut SessionIds,
        input: Input,
        state: &State,
        effects: &mut Vec<Effect>,
    ) {
        let mut around = Around {
            clock,
            params,
            ids,
            state,
            effects,
        };
        if let Serving::Leader(leading) = &mut self.serving {
            leading.primary.forget_applied(state.last_zxid());
        }
        self.begin_to_serve(&mut around);
        let now_ms = clock.monotonic_ms;
        match input {
            Input::Peer(input @ (ZabInput::Truncated { .. } | ZabInput::Installed { .. })) => {
                let logged = around.state.config();
                self.zab.know_members(logged, &mut self.said);
                self.zab.step(now_ms, input, &mut self.said);
            }
            Input::Peer(input) => self.on_peer(now_ms, input),
            Input::Durable(write) => {
                self.zab
                    .step(now_ms, ZabInput::Durable(write), &mut self.said);
            }
            Input::Wakeup => self.on_wakeup(&mut around),
            Input::Overdue => self.on_overdue(now_ms),
            Input::Submitted(submission) => self.on_submitted(&mut around, submission),
            Input::Touched { session, at_ms } => self.on_touched(session, at_ms),
            Input::Disconnected { conn } => match &mut self.serving {
                Serving::Leader(leading) => leading.primary.detach(conn),
                Serving::Learner { attendant, .. } => attendant.on_disconnected(conn),
                Serving::ReadOnly(reads) => reads.locals.detach(conn),
                Serving::No | Serving::Soon(_) => {}
            },
        }
        self.carry_out(&mut around);
        self.begin_to_show(&mut around);
    }

    pub(super) fn deadline(&self) -> i64 {
        self.zab.deadline().min(match &self.serving {
            Serving::No => self.read_only_at_ms.unwrap_or(i64::MAX),
            // The next step may begin to serve.
            Serving::Soon(_) => i64::MIN,
            Serving::Leader(leading) => leading.primary.deadline(),
            Serving::ReadOnly(reads) => {
                let next = reads.locals.sessions().next_deadline();
                next.unwrap_or(i64::MAX)
            }
            Serving::Learner {
                attendant,
                next_hearing_ms,
            } => {
                let locals = attendant.locals.sessions().next_deadline();
                locals.map_or(*next_hearing_ms, |due_ms| due_ms.min(*next_hearing_ms))
            }
        })
    }

    /// Sessions of which it matters whether they have been heard of, with their connections.
    pub(super) fn wants_touched(&self, clock: Clock) -> Vec<(SessionId, Option<ConnId>)> {
        match &self.serving {
            Serving::No | Serving::Soon(_) => Vec::new(),
            Serving::Leader(leading) => leading.primary.due(clock.monotonic_ms),
            Serving::ReadOnly(reads) => reads.locals.sessions().due(clock.monotonic_ms),
            Serving::Learner { attendant, .. } => {
                let mut wanted = attendant.locals.sessions().due(clock.monotonic_ms);
                let attached = attendant.attached().iter();
                wanted.extend(attached.map(|(session, conn)| (session, Some(conn))));
                wanted
            }
        }
    }

    /// The server that decides, while this is it.
    pub(super) fn primary(&self) -> Option<&Primary> {
        match &self.serving {
            Serving::Leader(leading) => Some(&leading.primary),
            _ => None,
        }
    }

    /// Whether it shows what it has, and changes nothing.
    pub(super) const fn is_read_only(&self) -> bool {
        matches!(self.serving, Serving::ReadOnly(_))
    }

    /// Sessions that only this server knows; nothing unless there may be such.
    pub(super) fn local_sessions(&self) -> Option<&SessionTracker> {
        let locals = match &self.serving {
            Serving::No | Serving::Soon(_) => return None,
            Serving::ReadOnly(reads) => return Some(reads.locals.sessions()),
            Serving::Leader(leading) => &leading.primary.locals,
            Serving::Learner { attendant, .. } => &attendant.locals,
        };
        Some(locals)
            .filter(|locals| locals.are_on())
            .map(Locals::sessions)
    }

    pub(super) fn outstanding(&self) -> usize {
        match &self.serving {
            Serving::No | Serving::Soon(_) | Serving::ReadOnly(_) => 0,
            Serving::Leader(leading) => leading.outstanding.len(),
            Serving::Learner { attendant, .. } => attendant.outstanding(),
        }
    }

    /// What the leader sends is opaque to [`Zab`]; that it means something is seen to before it is in the log.
    fn on_peer(&mut self, now_ms: i64, input: ZabInput) {
        if let ZabInput::FromLeader { link, packet } = &input
            && let LeaderPacket::Proposal { zxid, txn }
            | LeaderPacket::Inform { zxid, txn }
            | LeaderPacket::InformAndActivate { zxid, txn, .. } = packet
        {
            match decode(*zxid, txn) {
                Some(entry) => self.decoded.push_back(entry),
                None => {
                    let unknown = ZabInput::Unknown { link: *link };
                    return self.zab.step(now_ms, unknown, &mut self.said);
                }
            }
        }
        self.zab.step(now_ms, input, &mut self.said);
    }

    fn on_overdue(&mut self, now_ms: i64) {
        if now_ms >= self.zab.deadline() {
            self.zab.step(now_ms, ZabInput::Wakeup, &mut self.said);
        }
    }

    fn on_wakeup(&mut self, around: &mut Around<'_>) {
        let now_ms = around.clock.monotonic_ms;
        self.on_overdue(now_ms);
        match &mut self.serving {
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => {
                let mut turn = Turn {
                    clock: around.clock,
                    state: around.state,
                    zab: Some(&self.zab),
                    made: &mut self.made,
                };
                leading.primary.on_wakeup(&mut turn);
            }
            Serving::ReadOnly(reads) => reads.on_wakeup(now_ms, around.effects),
            Serving::Learner {
                attendant,
                next_hearing_ms,
            } => {
                attendant.on_wakeup(now_ms, around.effects);
                if now_ms >= *next_hearing_ms {
                    *next_hearing_ms = now_ms + hearing_ms(around.params);
                }
            }
        }
    }

    fn on_touched(&mut self, session: SessionId, at_ms: i64) {
        match &mut self.serving {
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => leading.primary.touch(session, at_ms),
            Serving::ReadOnly(reads) => reads.locals.touch(session, at_ms),
            Serving::Learner { attendant, .. } => {
                if let Some(timeout_ms) = attendant.on_touched(session, at_ms) {
                    self.zab.touch(session, timeout_ms);
                }
            }
        }
    }

    fn on_submitted(&mut self, around: &mut Around<'_>, submission: Submission) {
        match &mut self.serving {
            // A connection that is about to hear that it is closed.
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => {
                let mut turn = Turn {
                    clock: around.clock,
                    state: around.state,
                    zab: Some(&self.zab),
                    made: &mut self.made,
                };
                match submission {
                    Submission::Connect { conn, request } => {
                        leading
                            .primary
                            .on_connect(&mut turn, around.ids, conn, &request);
                    }
                    // Nothing is proposed any more, as another server leads by the new members, or there are no zxids
                    // left. What comes behind a request that is not answered is not answered either.
                    Submission::Write(ClientRequest { conn, .. })
                        if self.zab.next_zxid().is_none() =>
                    {
                        leading.say_behind(Effect::CloseConn { conn }, around.effects);
                    }
                    // Nothing is to be said of now, and out of turn nothing can be said: another server will.
                    Submission::Write(ClientRequest {
                        body: WriteBody::Request(Request::Sync(_)),
                        conn,
                        ..
                    }) if !self.zab.hears_quorum(around.clock.monotonic_ms) => {
                        leading.say_behind(Effect::CloseConn { conn }, around.effects);
                    }
                    Submission::Write(request) => {
                        leading.on_request(&mut turn, request, around.effects);
                    }
                }
            }
            Serving::ReadOnly(reads) => match submission {
                Submission::Connect { conn, request } => reads.on_connect(around, conn, &request),
                Submission::Write(request) => {
                    reads.on_request(around.clock.monotonic_ms, &request, around.effects);
                }
            },
            Serving::Learner { attendant, .. } => {
                let packets = match submission {
                    Submission::Connect { conn, request } => {
                        Vec::from_iter(attendant.on_connect(around, conn, &request))
                    }
                    Submission::Write(request) => attendant.on_request(request, around.effects),
                };
                if let Some(link) = self.zab.serving_link() {
                    let packets = packets.into_iter();
                    self.said
                        .extend(packets.map(|packet| ZabEffect::ToLeader { link, packet }));
                }
            }
        }
    }

    /// Serves clients, once the epoch is established and the state is as of its beginning.
    fn begin_to_serve(&mut self, around: &mut Around<'_>) {
        let Serving::Soon(kept) = &mut self.serving else {
            return;
        };
        if around.state.last_zxid() < self.zab.last_applied() {
            return;
        }
        let kept = std::mem::take(kept);
        self.serving = if self.zab.role() == Role::Leading {
            let Some(next) = self.zab.next_zxid() else {
                return;
            };
            let mut turn = Turn {
                clock: around.clock,
                state: around.state,
                zab: Some(&self.zab),
                made: &mut self.made,
            };
            let last_proposed = Zxid(next.0 - 1);
            Serving::Leader(Box::new(Leading {
                primary: Primary::new(around.params.clone(), last_proposed, &mut turn),
                outstanding: VecDeque::new(),
                behind: VecDeque::new(),
            }))
        } else {
            Serving::Learner {
                attendant: Box::new(Attendant::new(around.params)),
                next_hearing_ms: around.clock.monotonic_ms + hearing_ms(around.params),
            }
        };
        let members = &self.zab.configs().committed;
        around.effects.push(Effect::Config {
            text: members.text(),
            version: members.version(),
        });
        let serves = self.zab.role() != Role::Leading || around.params.leader_serves;
        let effect = if serves {
            Effect::Serve
        } else {
            Effect::ServeNobody
        };
        around.effects.push(effect);
        self.said.extend(kept);
        self.carry_out(around);
    }

    /// Serves read-only clients, once there has been no leader for long enough.
    ///
    /// ZooKeeper: `QuorumPeer.run`.
    fn begin_to_show(&mut self, around: &mut Around<'_>) {
        let (Some(after_ms), Serving::No, true) = (
            around.params.read_only_after_ms,
            &self.serving,
            self.zab.is_waiting_whole(),
        ) else {
            self.read_only_at_ms = None;
            return;
        };
        let now_ms = around.clock.monotonic_ms;
        let at_ms = *self
            .read_only_at_ms
            .get_or_insert(now_ms.saturating_add(after_ms));
        if now_ms >= at_ms {
            self.read_only_at_ms = None;
            self.serving = Serving::ReadOnly(Box::new(ReadOnly::new(around.params)));
            around.effects.push(Effect::ServeReadOnly);
        }
    }

    /// Turns what [`Zab`] said and what [`Primary`] made into effects, until there is no more of either.
    fn carry_out(&mut self, around: &mut Around<'_>) {
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

    /// Sends all clients away, if any are served.
    fn stop_serving(&mut self, effects: &mut Vec<Effect>) {
        if !matches!(self.serving, Serving::No | Serving::Soon(_)) {
            effects.push(Effect::StopServing);
        }
        self.serving = Serving::No;
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

impl Leading {
    fn on_request(
        &mut self,
        turn: &mut Turn<'_>,
        request: ClientRequest,
        effects: &mut Vec<Effect>,
    ) {
        let ClientRequest {
            conn, session, xid, ..
        } = request;
        let answer = match &request.body {
            WriteBody::Request(Request::Sync(sync)) => {
                let path = sync.path.clone();
                return self.say_behind(Effect::Synced { conn, xid, path }, effects);
            }
            WriteBody::Request(Request::CloseSession) if self.primary.locals.has(session) => {
                Answer::Done
            }
            WriteBody::Request(Request::CreateSession { .. }) if self.primary.locals.are_on() => {
                Answer::Session(ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: self.primary.timeout_of(session),
                    session,
                    password: password_of(session),
                    read_only: Some(false),
                })
            }
            _ => return self.primary.on_request(turn, request),
        };
        let ends = answer == Answer::Done;
        self.say_behind(Effect::Answered { conn, xid, answer }, effects);
        if ends {
            self.primary.locals.close(session);
            self.say_behind(Effect::CloseConn { conn }, effects);
        }
    }

    /// Says something to a client behind everything that is proposed.
    fn say_behind(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        match self.outstanding.back() {
            Some(newest) => self.behind.push_back((newest.entry.header.zxid, effect)),
            None => effects.push(effect),
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

fn decode(zxid: Zxid, txn: &Bytes) -> Option<TxnEntry> {
    let entry = TxnEntry::decode(txn).ok()?;
    (entry.header.zxid == zxid).then_some(entry)
}

/// Often enough that every PING to the leader brings news of those that have been heard of.
const fn hearing_ms(params: &ReplicaParams) -> i64 {
    if params.tick_ms < 4 {
        1
    } else {
        params.tick_ms as i64 / 4
    }
}
