//! Plays cases on a server and writes down what came back.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use jute_codec::proto::{ConnectRequest, ConnectResponse, OpCode, Request, xid};
use jute_codec::{Jute, Reader, SessionId, Zxid};
use zabd_tests::raw::{RawClient, Received, connect_request, four_letter_word, split_reply};
use zabd_tests::servers::Server;

use crate::request::{Asked, Numbers, Outgoing, encode, zxid};
use crate::script::{Action, Case, Show, Step, hexadecimal};
use crate::transcript::{Names, shape};

/// How long a reply may take. A server that is asked for nothing odd answers within milliseconds.
const REPLY_PATIENCE: Duration = Duration::from_secs(8);
/// How long a server may take to close a connection that it is done with.
const CLOSE_PATIENCE: Duration = Duration::from_secs(4);
/// What a client asks for unless the step says otherwise: long enough that nothing expires by accident.
const TIMEOUT_MS: i32 = 30_000;

/// What came back for one step, a line each.
pub(crate) type Answer = Vec<String>;

/// Plays all steps of a case; one answer a step.
pub(crate) fn play(server: &mut Server, case: &Case) -> anyhow::Result<Vec<Answer>> {
    let mut player = Player {
        names: Names::new(newest_zxid(server)?),
        base_zxid: newest_zxid(server)?,
        server,
        conns: BTreeMap::new(),
        sessions: BTreeMap::new(),
        settles: true,
    };
    let mut answers = Vec::new();
    for step in &case.steps {
        let mut answer = player
            .step(step)
            .with_context(|| format!("case {}: {}", case.name, step.text))?;
        if step.unordered {
            answer.sort();
        }
        answers.push(answer);
    }
    player.finish()?;
    Ok(answers)
}

fn newest_zxid(server: &Server) -> anyhow::Result<i64> {
    let answer = four_letter_word(server.address(), b"srvr", REPLY_PATIENCE)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let zxid = answer
        .lines()
        .find_map(|line| line.strip_prefix("Zxid: 0x"))
        .with_context(|| format!("no zxid in the answer to srvr:\n{answer}"))?;
    Ok(i64::from_str_radix(zxid, 16)?)
}

fn word_answer(server: &Server, bytes: &[u8], half_close: bool) -> anyhow::Result<Bytes> {
    let mut client = RawClient::open(server.address())?;
    client.send_bytes(bytes)?;
    if half_close {
        client.shut_down_sending()?;
    }
    Ok(client.receive_to_end(Instant::now() + REPLY_PATIENCE)?.0)
}

/// What the next frame that is not a notification answers.
#[derive(Debug, Clone, Copy)]
enum Due {
    Handshake,
    Reply(Asked),
}

#[derive(Debug)]
struct Conn {
    client: RawClient,
    held: Vec<u8>,
    due: VecDeque<Due>,
    next_xid: i32,
    has_session: bool,
    /// The server has said, by what it answered, that it will close.
    closes: bool,
    closed: bool,
}

struct Player<'a> {
    server: &'a mut Server,
    names: Names,
    base_zxid: i64,
    conns: BTreeMap<String, Conn>,
    sessions: BTreeMap<String, (i64, Vec<u8>)>,
    settles: bool,
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> anyhow::Result<Answer> {
        let mut answer = Answer::new();
        match &step.action {
            Action::Send { conn, hold, what } => {
                self.send(conn, *hold, what, &mut answer)?;
                if *hold {
                    return Ok(answer);
                }
                self.settle(Some(conn), &mut answer)?;
            }
            Action::Drop { conn } => {
                self.conns.remove(conn);
                // The server learns of it by and by; nothing that it does then is seen by others.
                sleep(Duration::from_millis(20));
            }
            Action::AwaitClose { conn, within_ms } => {
                self.await_close(conn, Duration::from_millis(*within_ms), &mut answer)?;
                self.settle(Some(conn), &mut answer)?;
            }
            Action::AwaitFrame { conn, within_ms } => {
                self.await_frame(conn, Duration::from_millis(*within_ms), &mut answer)?;
                self.settle(Some(conn), &mut answer)?;
            }
            Action::Sleep { ms } => {
                sleep(Duration::from_millis(*ms));
                self.settle(None, &mut answer)?;
            }
            Action::Settle(on) => self.settles = *on,
            Action::Restart => {
                self.conns.clear();
                self.server.stop()?;
                self.server.restart()?;
            }
            Action::Kill => {
                self.conns.clear();
                self.server.kill()?;
                self.server.restart()?;
            }
            Action::Word { bytes, show } => self.word(bytes, *show, &mut answer),
        }
        Ok(answer)
    }

    fn send(
        &mut self,
        name: &str,
        hold: bool,
        what: &[String],
        answer: &mut Answer,
    ) -> anyhow::Result<()> {
        let verb = what.first().context("nothing to send")?.as_str();
        if matches!(verb, "connect" | "open") && !self.is_open_for_handshake(name) {
            match RawClient::open(self.server.address()) {
                Ok(client) => {
                    let conn = Conn {
                        client,
                        held: Vec::new(),
                        due: VecDeque::new(),
                        next_xid: 1,
                        has_session: false,
                        closes: false,
                        closed: false,
                    };
                    self.conns.insert(name.into(), conn);
                }
                Err(error) => {
                    answer.push(format!("{name}: cannot connect: {error}"));
                    return Ok(());
                }
            }
        }
        if verb == "open" {
            return Ok(());
        }
        let outgoing = if verb == "connect" {
            Outgoing {
                bytes: self.handshake(&what[1..])?,
                asked: None,
            }
        } else {
            let next_xid = self.conns.get(name).map_or(0, |conn| conn.next_xid);
            encode(
                what,
                Numbers {
                    xid: next_xid,
                    base_zxid: self.base_zxid,
                },
            )?
        };
        let Some(conn) = self.conns.get_mut(name).filter(|conn| !conn.closed) else {
            answer.push(format!("{name}: not connected"));
            return Ok(());
        };
        conn.held.extend(outgoing.bytes);
        if verb == "connect" {
            conn.due.push_back(Due::Handshake);
        } else if let Some(asked) = outgoing.asked {
            conn.next_xid += 1;
            conn.due.push_back(Due::Reply(asked));
        }
        if !hold {
            let held = take(&mut conn.held);
            // A server may close before it has read everything; what it answers is what counts.
            let _broken = conn.client.send_bytes(&held);
            self.await_replies(name, answer)?;
        }
        Ok(())
    }

    fn is_open_for_handshake(&self, name: &str) -> bool {
        self.conns
            .get(name)
            .is_some_and(|conn| !conn.closed && !conn.has_session && conn.due.is_empty())
    }

    /// `timeout=MS zxid=Z session=CONN|=ID password=good|bad|null|HEX read-only=none|N protocol=N cut=N pad=HEX`.
    fn handshake(&self, words: &[String]) -> anyhow::Result<Vec<u8>> {
        let mut request: ConnectRequest = connect_request(TIMEOUT_MS);
        let (mut cut, mut pad, mut flag) = (0, Vec::new(), None);
        for setting in words {
            let (name, value) = setting.split_once('=').context("NAME=VALUE")?;
            match name {
                "timeout" => request.timeout_ms = value.parse()?,
                "protocol" => request.protocol_version = value.parse()?,
                "zxid" => {
                    let numbers = Numbers {
                        xid: 0,
                        base_zxid: self.base_zxid,
                    };
                    request.last_zxid_seen = Zxid(zxid(value, numbers)?);
                }
                "session" => {
                    if let Some(id) = value.strip_prefix("0x") {
                        request.session = SessionId(i64::from_str_radix(id, 16)?);
                    } else {
                        // A session that was never granted is one that the server does not know.
                        let unknown = (1, vec![0; 16]);
                        let (id, password) = self.sessions.get(value).unwrap_or(&unknown);
                        request.session = SessionId(*id);
                        request.password = Some(Bytes::copy_from_slice(password));
                    }
                }
                "password" => {
                    request.password = match value {
                        "good" => request.password,
                        "bad" => Some(Bytes::from_static(&[7; 16])),
                        "null" => None,
                        hex => Some(hexadecimal(hex)?.into()),
                    }
                }
                "read-only" if value == "none" => request.read_only = None,
                "read-only" => flag = Some(value.parse::<u8>()?),
                "cut" => cut = value.parse()?,
                "pad" => pad = hexadecimal(value)?,
                _ => bail!("unknown setting {setting}"),
            }
        }
        let mut payload = request.to_vec();
        if let (Some(flag), Some(last)) = (flag, payload.last_mut()) {
            *last = flag;
        }
        payload.truncate(payload.len().saturating_sub(cut));
        payload.extend(pad);
        let mut bytes = i32::try_from(payload.len())?.to_be_bytes().to_vec();
        bytes.extend(payload);
        Ok(bytes)
    }

    /// Reads until everything that is due has come, or the connection ends, or patience does.
    fn await_replies(&mut self, name: &str, answer: &mut Answer) -> anyhow::Result<()> {
        let deadline = Instant::now() + REPLY_PATIENCE;
        loop {
            let conn = self.conns.get_mut(name).context("no such connection")?;
            if conn.due.is_empty() {
                break;
            }
            match conn.client.receive(deadline)? {
                Received::Frame(payload) => self.on_frame(name, &payload, answer)?,
                Received::Closed(_) => {
                    self.on_closed(name, answer);
                    return Ok(());
                }
                Received::Nothing => {
                    answer.push(format!("{name}: {} replies MISSING", conn.due.len()));
                    conn.due.clear();
                }
            }
        }
        let conn = self.conns.get(name).context("no such connection")?;
        if conn.closes {
            self.await_close(name, CLOSE_PATIENCE, answer)?;
        }
        Ok(())
    }

    fn await_close(
        &mut self,
        name: &str,
        patience: Duration,
        answer: &mut Answer,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let Some(conn) = self.conns.get_mut(name).filter(|conn| !conn.closed) else {
                return Ok(());
            };
            match conn.client.receive(deadline)? {
                Received::Frame(payload) => self.on_frame(name, &payload, answer)?,
                Received::Closed(_) => {
                    self.on_closed(name, answer);
                    return Ok(());
                }
                Received::Nothing => {
                    answer.push(format!("{name}: stays open"));
                    return Ok(());
                }
            }
        }
    }

    fn await_frame(
        &mut self,
        name: &str,
        patience: Duration,
        answer: &mut Answer,
    ) -> anyhow::Result<()> {
        let Some(conn) = self.conns.get_mut(name).filter(|conn| !conn.closed) else {
            answer.push(format!("{name}: not connected"));
            return Ok(());
        };
        match conn.client.receive(Instant::now() + patience)? {
            Received::Frame(payload) => self.on_frame(name, &payload, answer)?,
            Received::Closed(_) => self.on_closed(name, answer),
            Received::Nothing => answer.push(format!("{name}: nothing came")),
        }
        Ok(())
    }

    fn on_closed(&mut self, name: &str, answer: &mut Answer) {
        answer.push(format!("{name}: closed"));
        if let Some(conn) = self.conns.get_mut(name) {
            conn.closed = true;
            conn.due.clear();
        }
    }

    fn on_frame(&mut self, name: &str, payload: &Bytes, answer: &mut Answer) -> anyhow::Result<()> {
        let conn = self.conns.get_mut(name).context("no such connection")?;
        // Before there is a session, a frame can only be the answer to a handshake, however that was sent.
        if matches!(conn.due.front(), Some(Due::Handshake))
            || (conn.due.is_empty() && !conn.has_session)
        {
            conn.due.pop_front();
            let text = self.names.connect_response(payload)?;
            let response = ConnectResponse::read(&mut Reader::new(payload))?;
            conn.has_session = response.timeout_ms > 0;
            conn.closes = response.timeout_ms <= 0;
            if conn.has_session {
                self.sessions.insert(
                    name.into(),
                    (response.session.0, response.password.to_vec()),
                );
            }
            answer.push(format!("{name}: {text}"));
            return Ok(());
        }
        // createSession is answered in the form of a handshake.
        if let Some(Due::Reply(Asked { op: -10, .. })) = conn.due.front()
            && matches!(payload.len(), 36 | 37)
        {
            conn.due.pop_front();
            let text = self.names.connect_response(payload)?;
            answer.push(format!("{name}: {text}"));
            return Ok(());
        }
        let reply = split_reply(payload)?;
        let matches = |due: &Due| match due {
            Due::Handshake => false,
            Due::Reply(asked) => {
                let number = if asked.op == OpCode::Ping.code() {
                    xid::PING
                } else {
                    asked.xid
                };
                number == reply.header.xid
            }
        };
        let asked = conn
            .due
            .iter()
            .position(matches)
            .and_then(|at| conn.due.remove(at))
            .and_then(|due| match due {
                Due::Handshake => None,
                Due::Reply(asked) => Some(asked),
            });
        let text = if asked.is_none() && reply.header.xid == xid::NOTIFICATION {
            self.names.notification(&reply)?
        } else {
            let op = asked.map(|asked| asked.op);
            // Unknown opcode, failed authentication, enforcement of authentication, and the end of the session.
            conn.closes |= (reply.header.err == -6 && reply.header.zxid.0 == -1)
                || matches!(reply.header.err, -115 | -124)
                || (op == Some(OpCode::CloseSession.code()) && reply.header.err == 0);
            self.names.reply(&reply, asked)
        };
        answer.push(format!("{name}: {text}"));
        Ok(())
    }

    /// Asks every other connection for what has been sent to it: a ping's reply stands behind all of that.
    fn settle(&mut self, except: Option<&str>, answer: &mut Answer) -> anyhow::Result<()> {
        if !self.settles {
            return Ok(());
        }
        let names: Vec<String> = self
            .conns
            .iter()
            .filter(|(name, conn)| {
                Some(name.as_str()) != except && conn.has_session && !conn.closed
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let before = answer.len();
            let words = ["ping".to_owned()];
            self.send(&name, false, &words, answer)?;
            // What is of interest is what came before it.
            let quiet = format!("{name}: xid=-2 zxid=");
            let mut index = 0;
            answer.retain(|line| {
                index += 1;
                index <= before || !(line.starts_with(&quiet) && line.ends_with(" err=0"))
            });
            if let Some(conn) = self.conns.get_mut(&name) {
                conn.next_xid -= 1;
            }
        }
        Ok(())
    }

    /// Ends the sessions of the case, so that their ephemerals and expiry do not reach into the next.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.settles = false;
        self.conns.clear();
        for (_, (session, password)) in take(&mut self.sessions) {
            let mut client = RawClient::open(self.server.address())?;
            let request = ConnectRequest {
                session: SessionId(session),
                password: Some(password.into()),
                ..connect_request(TIMEOUT_MS)
            };
            // A session that the case has ended is refused; a server that wants less from us refuses everything.
            let attached = client.handshake(&request);
            if attached.is_ok_and(|response| response.timeout_ms > 0)
                && let Err(error) = client.request(&Request::CloseSession)
            {
                eprintln!("closing a session of the case: {error:#}");
            }
        }
        Ok(())
    }

    fn word(&mut self, bytes: &[u8], show: Show, answer: &mut Answer) {
        let half_close = matches!(show, Show::AfterHalfClose);
        let text = match word_answer(self.server, bytes, half_close) {
            Ok(text) => text,
            Err(error) => {
                answer.push(format!("4lw: {error:#}"));
                return;
            }
        };
        let whole = String::from_utf8_lossy(&text).into_owned();
        match show {
            Show::Exact => answer.push(format!("4lw: {}", text.escape_ascii())),
            Show::Shape | Show::Sorted | Show::AfterHalfClose => {
                let mut lines = shape(&whole);
                if matches!(show, Show::Sorted) {
                    lines.sort();
                }
                answer.extend(lines.iter().map(|line| format!("4lw: {line}")));
                let end = if whole.ends_with('\n') { "" } else { " no" };
                answer.push(format!("4lw:{end} newline at the end"));
            }
            Show::Keys => {
                // Metrics that zabd has of its own are no difference in those that both have.
                let mut keys: Vec<String> = whole
                    .lines()
                    .filter(|line| !line.starts_with("zk_zabd_"))
                    .map(|line| {
                        let key = line.split(['=', '\t']).next().unwrap_or(line);
                        format!("4lw: {key}")
                    })
                    .collect();
                keys.sort();
                answer.extend(keys);
            }
        }
    }
}
