//! A client: sessions and connections, requests in bursts, silence, and coming back.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use jute_codec::data::Id;
use jute_codec::frame::{take_frame, write_frame};
use jute_codec::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, PASSWORD_BYTES, PathRequest, Request,
    RequestHeader, xid,
};
use jute_codec::{Jute, Reader, SessionId};

use super::check::{Check, ack_means_durable, broken, session_fifo, sessions_live};
use super::ctx::{Ctx, Event, Wire};
use super::ledger::SentWrite;
use super::model::Who;
use super::probe::digest_id;
use super::rng::Rng;
use super::server::TIMEOUTS_MS;
use super::view::{Got, Seen, View, is_write};
use super::workload;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Without a connection.
    Away,
    /// The handshake has been sent.
    Knocking { timeout_ms: i32, since_us: i64 },
    /// With a session.
    In,
    /// Nothing more to do.
    Done,
}

/// A client.
#[derive(Debug)]
pub(super) struct SimClient {
    number: usize,
    rng: Rng,
    phase: Phase,
    // The connection that it listens to, and what has come on it.
    conn: u64,
    inbox: BytesMut,
    view: Option<View>,
    session: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    seen: Seen,
    next_xid: i32,
    requests_left: u64,
    // Sends nothing more on this connection.
    closing: bool,
    // The last request of the run is sent.
    last_sent: bool,
}

impl SimClient {
    pub(super) fn new(number: usize, ctx: &mut Ctx) -> Self {
        let client = Self {
            number,
            rng: ctx.rng.fork(),
            phase: Phase::Away,
            conn: 0,
            inbox: BytesMut::new(),
            view: None,
            session: None,
            seen: Seen::default(),
            next_xid: 1,
            requests_left: ctx.plan.requests,
            closing: false,
            last_sent: false,
        };
        client.come_back(ctx, 20_000);
        client
    }

    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether it has sent all it wanted to.
    pub(super) const fn is_tired(&self) -> bool {
        self.requests_left == 0
    }

    pub(super) fn describe(&self) -> String {
        let unanswered = self.view.as_ref().map(View::unanswered);
        format!(
            "client {} {:?}, session {:?}, unanswered {unanswered:?}",
            self.number,
            self.phase,
            self.session.map(|(id, _)| id)
        )
    }

    fn come_back(&self, ctx: &mut Ctx, within_us: u64) {
        let delay_us = ctx.rng.below(within_us);
        ctx.after(
            delay_us,
            Event::Client {
                client: self.number,
            },
        );
    }

    /// Decides what to do next.
    pub(super) fn act(&mut self, ctx: &mut Ctx) {
        match self.phase {
            Phase::Done => {}
            Phase::Away => {
                self.connect(ctx);
                self.come_back(ctx, 4_000_000);
            }
            Phase::Knocking { since_us, .. } => {
                if ctx.now_us - since_us > 3_000_000 {
                    self.hang_up(ctx);
                }
                self.come_back(ctx, 4_000_000);
            }
            Phase::In if ctx.draining => {
                self.finish(ctx);
                if self.phase != Phase::Done {
                    self.come_back(ctx, 500_000);
                }
            }
            Phase::In => self.work(ctx),
        }
    }

    fn connect(&mut self, ctx: &mut Ctx) {
        let session = self.session;
        let knows = session.is_none() || ctx.draining || !self.rng.chance(1, 30);
        let password = session.map(|(_, mut password)| {
            password[3] ^= u8::from(!knows);
            Bytes::copy_from_slice(&password)
        });
        let timeout_ms = *self.rng.pick(&[1, 4000, 6000, 10_000, 30_000, 1_000_000]);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen.shown,
            timeout_ms,
            session: session.map_or(SessionId::NONE, |(session, _)| session),
            password,
            read_only: self.rng.chance(1, 2).then_some(false),
        };
        self.conn = ctx.open(self.number);
        self.inbox.clear();
        self.closing = false;
        self.last_sent = false;
        if let Some((session, _)) = session {
            ctx.asked.insert(self.conn, (session.0, knows));
        }
        self.phase = Phase::Knocking {
            timeout_ms,
            since_us: ctx.now_us,
        };
        ctx.send(Wire::Up(self.conn), Event::Open { conn: self.conn });
        let mut bytes = Vec::new();
        write_frame(&mut bytes, |out| request.write(out));
        ctx.send(
            Wire::Up(self.conn),
            Event::ToServer {
                conn: self.conn,
                bytes: bytes.into(),
            },
        );
    }

    fn hang_up(&mut self, ctx: &mut Ctx) {
        ctx.send(
            Wire::Up(self.conn),
            Event::ServerSeesEnd { conn: self.conn },
        );
        self.forget_conn();
    }

    fn forget_conn(&mut self) {
        self.conn = 0;
        self.view = None;
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Away;
        if self.closing {
            // It cannot know whether its session has ended; it begins another one.
            self.session = None;
            self.seen.written = jute_codec::Zxid::ZERO;
        }
    }

    fn work(&mut self, ctx: &mut Ctx) {
        if self.closing || self.requests_left == 0 {
            // Only what keeps the session alive, now and then.
            if !self.closing {
                self.request(ctx, Request::Ping);
            }
            return self.come_back(ctx, 2_000_000);
        }
        match self.rng.below(100) {
            0 => {
                // Silence, perhaps for longer than the session lasts.
                let seconds = self.rng.between(1, 45);
                ctx.after(
                    seconds * 1_000_000,
                    Event::Client {
                        client: self.number,
                    },
                );
            }
            1 | 2 => {
                self.hang_up(ctx);
                let most_us = *self.rng.pick(&[1000, 1_000_000, 30_000_000]);
                self.come_back(ctx, most_us);
            }
            3 | 4 => {
                // A second connection for the same session; the first one is left to the server.
                self.view = None;
                self.connect(ctx);
                self.come_back(ctx, 1_000_000);
            }
            5 => {
                self.request(ctx, Request::CloseSession);
                self.closing = true;
                self.come_back(ctx, 1_000_000);
            }
            _ => {
                let most = *self.rng.pick(&[1, 1, 2, 5, 12]);
                for _ in 0..most.min(self.requests_left) {
                    let request = if self.rng.chance(1, 2) {
                        workload::write(&mut self.rng)
                    } else {
                        workload::read(&mut self.rng)
                    };
                    self.request(ctx, request);
                    self.requests_left -= 1;
                }
                let pause_us = *self.rng.pick(&[10, 300, 3_000, 60_000, 1_500_000]);
                self.come_back(ctx, pause_us);
            }
        }
    }

    /// One last read: its answer shows that nothing is left behind.
    fn finish(&mut self, ctx: &mut Ctx) {
        let unanswered = self.view.as_ref().map_or(0, View::unanswered);
        if self.last_sent && unanswered == 0 {
            self.phase = Phase::Done;
        } else if !self.last_sent && !self.closing {
            self.last_sent = true;
            self.request(
                ctx,
                Request::Sync(PathRequest {
                    path: Some("/".into()),
                }),
            );
        }
    }

    fn request(&mut self, ctx: &mut Ctx, request: Request) {
        let Some(view) = &mut self.view else {
            return;
        };
        let number = match &request {
            Request::Ping => xid::PING,
            Request::Auth(_) => xid::AUTH,
            Request::SetWatches(_) | Request::SetWatches2(_) => xid::SET_WATCHES,
            _ => {
                self.next_xid += 1;
                self.next_xid
            }
        };
        ctx.trace
            .say(|| format!("client {} sends {number} {request:?}", self.number));
        let mut bytes = Vec::new();
        write_frame(&mut bytes, |out| {
            RequestHeader {
                xid: number,
                op: request.op().code(),
            }
            .write(out);
            request.write_body(out);
        });
        if is_write(&request) {
            let sent = SentWrite {
                conn: view.conn,
                who: view.who.clone(),
                request: request.clone(),
            };
            ctx.ledger.on_sent(number, sent);
        }
        let accepted = match &request {
            Request::Auth(packet) => accepted(packet),
            _ => None,
        };
        view.on_sent(number, request);
        if let Some(id) = accepted.filter(|id| !view.who.ids.contains(id)) {
            view.who.ids = view.who.ids.iter().cloned().chain([id]).collect();
        }
        ctx.trace.bytes(&bytes);
        self.send_in_parts(ctx, bytes.into());
    }

    fn send_in_parts(&mut self, ctx: &mut Ctx, mut bytes: Bytes) {
        let conn = self.conn;
        if self.rng.chance(1, 20) {
            let first = bytes.split_to(self.rng.place(bytes.len()));
            ctx.send(Wire::Up(conn), Event::ToServer { conn, bytes: first });
        }
        ctx.send(Wire::Up(conn), Event::ToServer { conn, bytes });
    }

    /// Bytes come in.
    pub(super) fn on_bytes(&mut self, ctx: &mut Ctx, conn: u64, bytes: &[u8]) -> Check {
        if conn != self.conn {
            return Ok(());
        }
        self.inbox.extend_from_slice(bytes);
        while let Ok(Some(frame)) = take_frame(&mut self.inbox, 1 << 24) {
            ctx.trace.bytes(&frame);
            if let Some(view) = &mut self.view {
                let got = view.on_frame(&frame, &ctx.ledger, &mut self.seen)?;
                ctx.on_revealed(self.seen.shown);
                if let Got::Reply(got) = got {
                    let (request, answer) = *got;
                    ctx.trace
                        .say(|| format!("client {} gets {answer:?} for {request:?}", self.number));
                    if request == Request::CloseSession {
                        self.closing = true;
                    }
                }
            } else {
                self.on_connected(ctx, &frame)?;
            }
        }
        Ok(())
    }

    fn on_connected(&mut self, ctx: &mut Ctx, frame: &Bytes) -> Check {
        let Phase::Knocking { timeout_ms, .. } = self.phase else {
            return broken(
                session_fifo::NAME,
                format!("{frame:?} comes behind the end"),
            );
        };
        let Ok(response) = ConnectResponse::read(&mut Reader::new(frame)) else {
            return broken(session_fifo::NAME, format!("{frame:?} answers a handshake"));
        };
        if response.session == SessionId::NONE {
            // Whether it should have been refused was judged when it was decided.
            self.session = None;
            self.seen.written = jute_codec::Zxid::ZERO;
            return Ok(());
        }
        let agreed = timeout_ms.clamp(TIMEOUTS_MS.0, TIMEOUTS_MS.1);
        let same = self.session.is_none_or(|(session, password)| {
            (session, password) == (response.session, response.password)
        });
        if response.timeout_ms != agreed || !same {
            return broken(
                sessions_live::NAME,
                format!(
                    "asked for {timeout_ms} ms of {:?}: {response:?}",
                    self.session
                ),
            );
        }
        if self.session.is_none() {
            match ctx.ledger.began(response.session.0) {
                Some(zxid) => ctx.on_revealed(zxid),
                None => {
                    return broken(
                        ack_means_durable::NAME,
                        format!("{response:?} of a session that has not begun"),
                    );
                }
            }
        }
        self.session = Some((response.session, response.password));
        self.phase = Phase::In;
        let who = Who {
            session: response.session.0,
            ids: Rc::new([Id::new("ip", "127.0.0.1")]),
            no_ephemerals: None,
        };
        self.view = Some(View::new(self.conn, who, self.seen.shown));
        self.introduce(ctx);
        Ok(())
    }

    /// What a client does first on a new connection.
    fn introduce(&mut self, ctx: &mut Ctx) {
        let packet = |scheme: &'static str, auth: String| {
            Request::Auth(AuthPacket {
                kind: 0,
                scheme: Some(scheme.into()),
                auth: Some(auth.into()),
            })
        };
        match self.rng.below(40) {
            0..=19 => self.request(ctx, packet("digest", workload::credential(self.number))),
            20..=23 => self.request(ctx, packet("super", String::new())),
            24 if !ctx.draining => self.request(ctx, packet("nobody", "knows".to_owned())),
            _ => {}
        }
        if self.rng.chance(1, 3) {
            let request = workload::set_watches(&mut self.rng, self.seen.shown);
            self.request(ctx, request);
        }
    }

    /// The server has died: the end of the stream comes, perhaps before what it sent last.
    pub(super) fn lose_conn(&self, ctx: &mut Ctx) {
        if self.conn != 0 {
            ctx.soon(Event::ClientSeesEnd {
                client: self.number,
                conn: self.conn,
            });
        }
    }

    /// The server has closed its end.
    pub(super) fn on_end(&mut self, conn: u64) {
        if conn == self.conn {
            self.forget_conn();
        }
    }
}

/// The identity that a server gives for a credential.
fn accepted(packet: &AuthPacket) -> Option<Id> {
    let credential = packet
        .auth
        .as_deref()
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    match packet.scheme.as_deref() {
        Some("digest") => Some(digest_id(&credential)),
        Some("super") => Some(Id::new("super", "")),
        _ => None,
    }
}
