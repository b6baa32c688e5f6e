//! A server without its threads, files and sockets: connections of any frames, in any order with time, restarts,
//! folds, and a log that is sometimes slow.
//!
//! Input: the server's settings (2 bytes), then steps; see [`step`]. What is checked on the way: each request is
//! answered in its turn and in the form of its opcode; the tree after each transaction is the one predicted for it;
//! the log, and a fold with the log behind it, lead to the same tree again.

#![no_main]

#[path = "conn/client.rs"]
mod client;
#[path = "support/limit.rs"]
mod limit;
#[path = "conn/requests.rs"]
mod requests;
#[path = "conn/server.rs"]
mod server;
#[path = "support/source.rs"]
mod source;

use bytes::Bytes;
use jute_codec::proto::{ConnectRequest, OpCode, RequestHeader};
use jute_codec::{Jute, SessionId, Zxid};
use libfuzzer_sys::fuzz_target;
use server::Server;
use source::Source;
use zabd::replica::session::password::password_of;

/// Sessions that have been, and the connection whose turn it is.
struct Play {
    server: Server,
    sessions: Vec<SessionId>,
    conn: u64,
    next_conn: u64,
    xid: i32,
}

impl Play {
    fn connect(&mut self, frame: &Bytes) {
        self.conn = self.next_conn;
        self.next_conn += 1;
        self.server.open(self.conn);
        self.server.frame(self.conn, frame);
        if let Some(session) = self.server.session_of(self.conn) {
            self.sessions.push(session);
        }
    }

    fn handshake(&mut self, source: &mut Source<'_>) -> Bytes {
        let mut request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 10_000,
            session: SessionId::NONE,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: Some(false),
        };
        match source.byte() {
            0..=127 => {}
            128..=199 => {
                let at = usize::from(source.byte());
                let known = at
                    .checked_rem(self.sessions.len())
                    .map(|at| self.sessions[at]);
                request.session = known.unwrap_or(SessionId(0x1000));
                request.password = Some(password_of(request.session).to_vec().into());
            }
            200..=229 => {
                request.timeout_ms = source.number() as i32;
                request.session = SessionId(source.number() as i64);
                request.last_zxid_seen = Zxid(source.number() as i64);
                request.read_only = None;
            }
            _ => return Bytes::copy_from_slice(source.short()),
        }
        request.to_vec().into()
    }

    fn request(&mut self, op: i32, body: &[u8]) {
        self.xid = self.xid.wrapping_add(1);
        let mut frame = RequestHeader { xid: self.xid, op }.to_vec();
        frame.extend_from_slice(body);
        self.server.frame(self.conn, &frame.into());
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.byte() {
            0..=149 => {
                if let Some(request) = requests::request(source) {
                    let mut body = Vec::new();
                    request.write_body(&mut body);
                    // Some bodies are cut or too long.
                    if let 250..=255 = source.byte() {
                        body.resize(usize::from(source.byte()), 0xff);
                    }
                    self.request(request.op().code(), &body);
                }
            }
            150..=169 => {
                let op = OpCode::ALL[usize::from(source.byte()) % OpCode::ALL.len()];
                self.request(op.code(), source.short());
            }
            170..=179 => self
                .server
                .frame(self.conn, &Bytes::copy_from_slice(source.long())),
            180..=199 => {
                let frame = self.handshake(source);
                self.connect(&frame);
            }
            200..=209 => {
                self.conn = self
                    .next_conn
                    .saturating_sub(1 + u64::from(source.byte() % 3))
            }
            210..=214 => self.server.drop_conn(self.conn),
            215..=224 => {
                let ms = i64::from(source.byte()) * i64::from(source.byte());
                self.server.pass(ms);
            }
            225..=229 => self.server.jump(source.number() as i32),
            230..=239 => self.server.slow_log(source.byte() % 2 == 1),
            240..=251 => self.server.fold(source.byte() % 8),
            252..=255 => self.server.restart(),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let mut play = Play {
        server: Server::new(source.u16()),
        sessions: Vec::new(),
        conn: 0,
        next_conn: 0,
        xid: 0,
    };
    let frame = play.handshake(&mut Source::new(&[]));
    play.connect(&frame);
    while !source.is_empty() {
        play.step(&mut source);
    }
    play.server.slow_log(false);
    play.server.check();
    play.server.restart();
});
