//! One connection as the server has it: the task's part of `zabd::net`, without the socket.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use jute_codec::SessionId;
use jute_codec::frame::take_frame;
use jute_codec::proto::OpCode;
use zabd::state::State;
use zabd::state::conn::{Advance, ClientConn, CloseReason, ConnId, FrameKind, Submission};

use super::ctx::Ctx;
use super::plan::{Plan, Planted};
use super::probe::{SimAuth, conn_params};

/// What waits in a connection's outbox.
#[derive(Debug)]
pub(super) enum Waiting {
    Event(Bytes),
    Reply(Bytes),
    Connected(Bytes, SessionId),
    Close,
}

/// A connection as the server has it.
#[derive(Debug)]
pub(super) struct SimConn {
    pub(super) machine: ClientConn,
    pub(super) inbox: BytesMut,
    pub(super) outbox: VecDeque<Waiting>,
    // When its session was last heard of, by the server's monotonic clock.
    pub(super) heard: Option<(SessionId, i64)>,
    // Another connection has the session now.
    pub(super) superseded: bool,
    // The client's end of the stream has come.
    pub(super) ended: bool,
    pub(super) scheduled: bool,
    // With reads that do not wait: what they found, and how many replies must have gone first; writes submitted and
    // answered so far.
    held: VecDeque<(usize, Vec<u8>)>,
    submitted: usize,
    answered: usize,
}

impl SimConn {
    pub(super) fn new(conn: u64) -> Self {
        Self {
            machine: ClientConn::new(ConnId(conn), "127.0.0.1".to_owned(), conn_params()),
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            heard: None,
            superseded: false,
            ended: false,
            scheduled: false,
            held: VecDeque::new(),
            submitted: 0,
            answered: 0,
        }
    }

    pub(super) fn has_frame(&self) -> bool {
        jute_codec::frame::peek_length(&self.inbox, 1 << 20)
            .is_ok_and(|length| length.is_some_and(|length| self.inbox.len() >= length + 4))
    }

    /// Moves the outbox to `out`; whether the connection closes behind it.
    pub(super) fn drain(&mut self, plan: &Plan, state: &State, out: &mut Vec<u8>) -> bool {
        if plan.has(Planted::RepliesReversed) {
            self.reverse_replies();
        }
        while let Some(waiting) = self.outbox.pop_front() {
            match waiting {
                Waiting::Event(frame) => out.extend_from_slice(&frame),
                Waiting::Reply(frame) => {
                    out.extend_from_slice(&frame);
                    if plan.has(Planted::ReadsDoNotWait) {
                        self.answered += 1;
                        while let Some((_, found)) =
                            self.held.pop_front_if(|(first, _)| *first <= self.answered)
                        {
                            out.extend(found);
                        }
                    } else {
                        self.machine.on_reply();
                    }
                }
                Waiting::Connected(frame, session) => {
                    out.extend_from_slice(&frame);
                    self.machine.on_connected(session, state);
                }
                Waiting::Close => return true,
            }
        }
        false
    }

    fn reverse_replies(&mut self) {
        let places: Vec<usize> = (0..self.outbox.len())
            .filter(|place| matches!(self.outbox[*place], Waiting::Reply(_)))
            .collect();
        for (first, last) in places
            .iter()
            .zip(places.iter().rev())
            .take(places.len() / 2)
        {
            self.outbox.swap(*first, *last);
        }
    }

    pub(super) fn take_frames(&mut self, ctx: &mut Ctx, now_ms: i64) -> Result<(), CloseReason> {
        let most = ctx.rng.between(1, 8);
        for _ in 0..most {
            if !self.machine.wants_frames() {
                break;
            }
            let Ok(Some(frame)) = take_frame(&mut self.inbox, 1 << 20) else {
                break;
            };
            let session = self.machine.session();
            let kind = self.machine.on_frame(&frame, &SimAuth)?;
            if let (FrameKind::Request(header), Some(session), false) =
                (kind, session, self.superseded)
                && header.op != OpCode::Auth.code()
            {
                self.heard = Some((session, now_ms));
                ctx.sessions.on_heard(session.0, ctx.now_ms());
            }
        }
        Ok(())
    }

    pub(super) fn advance(
        &mut self,
        ctx: &Ctx,
        state: &State,
        most: usize,
        out: &mut Vec<u8>,
        submissions: &mut Vec<Submission>,
    ) -> Advance {
        if !ctx.plan.has(Planted::ReadsDoNotWait) {
            let from = out.len();
            let goes_on = self
                .machine
                .advance(state, &SimAuth, from + most, out, submissions);
            // The first reply's transaction, in the last byte but four of the frame's first twenty.
            if out.len() > from + 15
                && ctx.plan.has(Planted::ReadsNameOldZxid)
                && out[from + 15] % 4 == 1
            {
                out[from + 15] -= 1;
            }
            return goes_on;
        }
        loop {
            // One request at a time, so that it is known what each read found.
            let (mut found, before) = (Vec::new(), submissions.len());
            let goes_on = self
                .machine
                .advance(state, &SimAuth, 1, &mut found, submissions);
            let writes = submissions[before..]
                .iter()
                .filter(|one| matches!(one, Submission::Write(_)))
                .count();
            for _ in 0..writes {
                self.machine.on_reply();
            }
            self.submitted += writes;
            if self.submitted > self.answered {
                self.held.push_back((self.submitted, found));
            } else {
                out.extend(found);
            }
            if !self.machine.is_ready() || goes_on != Advance::Open {
                return goes_on;
            }
        }
    }
}
