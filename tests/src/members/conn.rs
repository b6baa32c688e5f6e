//! Connections of clients as a server has them: the task's part of `zabd::net`, without the socket.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{peek_length, take_frame, write_frame};
use jute_codec::proto::{ConnectResponse, OpCode, ReplyHeader, Request};
use jute_codec::{Jute, SessionId, Text};
use zabd::replica::input::Input;
use zabd::state::conn::{
    Advance, ClientConn, ClientRequest, CloseReason, ConnId, ConnParams, FrameKind, Submission,
    WriteBody,
};
use zabd::state::{Output, Outputs, Service};

use super::check::Check;
use super::net::{Item, Node, Way};
use super::plan::Planted;
use super::world::{Event, World};
use crate::sim::probe::SimAuth;

/// What waits in a connection's outbox.
#[derive(Debug)]
enum Waiting {
    Event(Bytes),
    Reply(Bytes),
    Connected(Bytes, SessionId),
    Close,
}

/// A connection.
#[derive(Debug)]
pub(super) struct SimConn {
    machine: ClientConn,
    inbox: BytesMut,
    outbox: VecDeque<Waiting>,
    /// When it was last heard of, by the server's monotonic clock.
    pub(super) heard_ms: Option<i64>,
    /// The client's end of the stream has come.
    ended: bool,
    scheduled: bool,
}

impl SimConn {
    fn new(conn: u64, syncs_by_itself: bool) -> Self {
        let params = Arc::new(ConnParams {
            field_bytes_max: 1 << 20,
            required_schemes: None,
            sync_by_replica: !syncs_by_itself,
        });
        Self {
            machine: ClientConn::new(ConnId(conn), "127.0.0.1".to_owned(), params),
            inbox: BytesMut::new(),
            outbox: VecDeque::new(),
            heard_ms: None,
            ended: false,
            scheduled: false,
        }
    }

    fn has_frame(&self) -> bool {
        peek_length(&self.inbox, 1 << 20)
            .is_ok_and(|length| length.is_some_and(|length| self.inbox.len() >= length + 4))
    }

    fn reverse_replies(&mut self) {
        let places: Vec<usize> = (0..self.outbox.len())
            .filter(|place| matches!(self.outbox[*place], Waiting::Reply(_)))
            .collect();
        let pairs = places.iter().zip(places.iter().rev());
        for (first, last) in pairs.take(places.len() / 2) {
            self.outbox.swap(*first, *last);
        }
    }
}

impl World {
    /// A client connects.
    pub(super) fn on_open(&mut self, id: Node, number: u64) {
        let conn = SimConn::new(number, self.plan.has(Planted::SyncAtOnce));
        self.server(id).conns.insert(number, conn);
    }

    pub(super) fn on_client_item(&mut self, number: u64, id: Node, item: Item) {
        let at_once = self.rng.chance(1, 2);
        let Some(conn) = self.server(id).conns.get_mut(&number) else {
            return;
        };
        match item {
            Item::Bytes(bytes) => conn.inbox.extend_from_slice(&bytes),
            _ => {
                // What came before may still be carried out.
                conn.ended = true;
                if at_once {
                    conn.inbox.clear();
                }
            }
        }
        self.wake_conn(id, number);
    }

    fn wake_conn(&mut self, id: Node, number: u64) {
        let server = self.server(id);
        let boot = server.boot;
        if let Some(conn) = server.conns.get_mut(&number)
            && !conn.scheduled
        {
            conn.scheduled = true;
            self.soon(Event::Conn {
                server: id,
                boot,
                number,
            });
        }
    }

    /// What the state made connections hear goes to their outboxes.
    pub(super) fn deliver_outputs(&mut self, id: Node, outputs: &mut Outputs) {
        let copy = Bytes::copy_from_slice;
        let waiting: Vec<(u64, Waiting)> = outputs
            .iter()
            .map(|(conn, output)| {
                let waiting = match output {
                    Output::Event(frame) => Waiting::Event(copy(frame)),
                    Output::Reply(frame) => Waiting::Reply(copy(frame)),
                    Output::Connected { frame, session, .. } => {
                        Waiting::Connected(copy(frame), session)
                    }
                    Output::Close => Waiting::Close,
                };
                (conn.0, waiting)
            })
            .collect();
        outputs.clear();
        for (conn, mut waiting) in waiting {
            match &mut waiting {
                Waiting::Event(frame) => {
                    let happens = self.rng.chance(1, 4);
                    if happens && self.plan.has(Planted::EventLost) {
                        continue;
                    }
                    if happens && self.plan.has(Planted::EventTwice) {
                        let frame = frame.clone();
                        self.put_waiting(id, conn, Waiting::Event(frame));
                    }
                }
                // The last byte of a failed reply is the last one of its code.
                Waiting::Reply(frame) if frame.len() == 20 && self.plan.has(Planted::WrongCode) => {
                    *frame = changed(frame, 19);
                }
                Waiting::Reply(frame)
                    if self.plan.has(Planted::AckNamesNext) && frame[15].is_multiple_of(4) =>
                {
                    *frame = changed(frame, 15);
                }
                _ => {}
            }
            self.put_waiting(id, conn, waiting);
        }
    }

    fn put_waiting(&mut self, id: Node, number: u64, waiting: Waiting) {
        if let Some(conn) = self.server(id).conns.get_mut(&number) {
            conn.outbox.push_back(waiting);
            self.wake_conn(id, number);
        }
    }

    /// The end of a sync, as the driver writes it.
    pub(super) fn answer_sync(
        &mut self,
        id: Node,
        conn: ConnId,
        header: &ReplyHeader,
        path: Option<&Text>,
    ) {
        let mut frame = Vec::new();
        write_frame(&mut frame, |out| {
            header.write(out);
            path.cloned().write(out);
        });
        self.put_waiting(id, conn.0, Waiting::Reply(frame.into()));
    }

    /// The task of one connection: what waits in the outbox first, then frames, then what can be begun, then one write.
    pub(super) fn run_conn(&mut self, id: Node, number: u64) -> Check {
        let most = self.rng.between(1, 8);
        let reads_first = self.plan.has(Planted::EventsAfterReads);
        let reverses = self.plan.has(Planted::RepliesReversed);
        let names_old = self.plan.has(Planted::ReadsNameOldZxid);
        let (out_bytes, now_us) = (self.plan.out_bytes, self.now_us);
        let server = self.server(id);
        let now_ms = server.clock(now_us).monotonic_ms;
        let Some(conn) = server.conns.get_mut(&number) else {
            return Ok(());
        };
        conn.scheduled = false;
        if reverses {
            conn.reverse_replies();
        }
        let mut out = Vec::new();
        let (mut heard, mut submissions) = (None, Vec::new());
        let (mut closes, mut goes_on) = (false, Advance::Open);
        for stage in [reads_first, !reads_first] {
            if closes {
                break;
            }
            if stage {
                goes_on = match take_frames(conn, most, now_ms, &mut heard) {
                    Err(reason) => Advance::Close(reason),
                    Ok(()) => {
                        let from = out.len();
                        let (state, limit) = (&server.state, from + out_bytes);
                        let goes_on = conn.machine.advance(
                            state,
                            &SimAuth,
                            limit,
                            &mut out,
                            &mut submissions,
                        );
                        // The first reply's transaction, in the last byte but four of the frame's first twenty.
                        if names_old && out.len() > from + 15 && out[from + 15] % 4 == 1 {
                            out[from + 15] -= 1;
                        }
                        goes_on
                    }
                };
            } else {
                while let Some(waiting) = conn.outbox.pop_front() {
                    match waiting {
                        Waiting::Event(frame) => out.extend_from_slice(&frame),
                        Waiting::Reply(frame) => {
                            out.extend_from_slice(&frame);
                            conn.machine.on_reply();
                        }
                        Waiting::Connected(frame, session) => {
                            out.extend_from_slice(&frame);
                            conn.machine.on_connected(session, &server.state);
                        }
                        Waiting::Close => {
                            closes = true;
                            break;
                        }
                    }
                }
            }
        }
        // Only ready, never stuck: what waits for the replica wakes the task when it comes.
        let more = conn.machine.is_ready() || conn.has_frame() && conn.machine.wants_frames();
        let ended = conn.ended && !more;
        // That it is let in is no sign of life: its time began when the leader committed it.
        if let Some((session, ends)) = heard.filter(|_| server.state.is_serving()) {
            if ends {
                self.sessions.on_last_heard(session.0);
            } else {
                self.sessions.on_heard(session.0, id, now_us);
            }
        }
        for submission in submissions {
            self.input(id, Input::Submitted(submission));
        }
        if let Advance::Close(reason) = goes_on {
            out.clear();
            self.report.turned_away += u64::from(matches!(reason, CloseReason::ClientAhead { .. }));
        }
        if !out.is_empty() {
            self.servers[&id].shows(id)?;
            self.put_bytes(number, Way::ToCaller, out.into());
        }
        if closes || ended || goes_on != Advance::Open {
            self.close_conn(id, number);
        } else if more {
            self.wake_conn(id, number);
        }
        Ok(())
    }

    fn close_conn(&mut self, id: Node, number: u64) {
        let server = self.server(id);
        let Some(conn) = server.conns.remove(&number) else {
            return;
        };
        server.state.watches().detach(ConnId(number));
        // What the connection knows of its client goes with it.
        if let (Some(session), Some(at_ms)) = (conn.machine.session(), conn.heard_ms) {
            self.input(id, Input::Touched { session, at_ms });
        }
        let conn = ConnId(number);
        self.input(id, Input::Disconnected { conn });
        self.close_end(number, Way::ToCalled);
    }

    /// A client has ended its session, and no transaction came of it.
    pub(super) fn on_closed_here(&mut self, id: Node, number: u64) {
        let conn = self.servers[&id].conns.get(&number);
        if let Some(session) = conn.and_then(|conn| conn.machine.session()) {
            self.locals.end(session.0);
        }
    }

    /// The server serves no more.
    pub(super) fn close_all(&mut self, id: Node) {
        let numbers: Vec<u64> = self.servers[&id].conns.keys().copied().collect();
        for number in numbers {
            self.close_conn(id, number);
        }
    }

    /// The replica has answered a handshake.
    pub(super) fn on_let_in(&mut self, id: Node, number: u64, response: &ConnectResponse) -> Check {
        let epoch = self.servers[&id].epoch();
        if let Some(link) = self.net.links.get_mut(&number) {
            link.epoch = epoch;
            let client = link.caller.node;
            if response.session == SessionId::NONE {
                return self.on_refused(client, number, id);
            }
            if self.servers[&id].state.service() != Service::ReadOnly {
                self.sessions.on_let_in(response.session.0, id);
                self.on_let_in_here(id, response.session, response.timeout_ms)?;
            }
        }
        Ok(())
    }
}

fn take_frames(
    conn: &mut SimConn,
    most: u64,
    now_ms: i64,
    heard: &mut Option<(SessionId, bool)>,
) -> Result<(), CloseReason> {
    for _ in 0..most {
        if !conn.machine.wants_frames() {
            break;
        }
        let Ok(Some(frame)) = take_frame(&mut conn.inbox, 1 << 20) else {
            break;
        };
        let session = conn.machine.session();
        let kind = conn.machine.on_frame(&frame, &SimAuth)?;
        conn.heard_ms = Some(now_ms);
        if let (FrameKind::Request(header), Some(session)) = (kind, session) {
            let ends = header.op == OpCode::CloseSession.code();
            *heard = Some((session, ends));
        }
    }
    Ok(())
}

/// A copy with its lowest bit changed in one place.
fn changed(frame: &Bytes, place: usize) -> Bytes {
    let mut copy = frame.to_vec();
    copy[place] ^= 1;
    copy.into()
}

/// Who a submission is about, if it says so.
pub(super) const fn session_of(submission: &Submission) -> SessionId {
    match submission {
        Submission::Connect { request, .. } => request.session,
        Submission::Write(request) => request.session,
    }
}

/// Whether it is a sync: the connection knows that it was heard of, the replica does not ask.
pub(super) const fn is_sync(submission: &Submission) -> bool {
    matches!(
        submission,
        Submission::Write(ClientRequest {
            body: WriteBody::Request(Request::Sync(_)),
            ..
        })
    )
}
