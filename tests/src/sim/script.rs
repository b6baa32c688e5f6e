//! Stories in text about the replica's steps: commands, then exactly what comes of them.
//!
//! A script is a series of blocks: comments behind `#`, commands, a line `----`, and what they print, up to an empty
//! line. With `REWRITE=1` the printed lines are put into the file in place of comparing them.
//!
//! | command | what it does |
//! |---|---|
//! | `connect c1 [session=s1] [password=wrong] [timeout=MS]` | a handshake on connection 1 |
//! | `request c1 OP PATH [v=N] [data=TEXT] [flags=N]` | a request: create, delete, set, close |
//! | `request c1 multi OP PATH ..., OP PATH ...` | several in one |
//! | `watch c1 PATH` | leaves a data watch and a child watch |
//! | `durable write#N` | the log reports that write and all before it |
//! | `disconnect c1` | a connection is gone |
//! | `touch s1` | the session was heard of just now |
//! | `at MS` | the monotonic clock shows so many milliseconds |
//! | `wakeup` | the replica looks at its deadlines |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::{Acl, Id};
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, DeleteRequest, MultiOp, MultiOps, MultiResult,
    OpCode, Reply, ReplyHeader, Request, SetDataRequest, WatcherEvent, xid,
};
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{Jute, Reader, SessionId, Text, Zxid};
use zabd::replica::Replica;
use zabd::replica::clock::Clock;
use zabd::replica::effect::{Effect, WriteSeq};
use zabd::replica::input::Input;
use zabd::replica::params::ReplicaParams;
use zabd::replica::session::password::password_of;
use zabd::state::conn::{ClientRequest, ConnId, Submission, WriteBody};
use zabd::state::{Output, Outputs, State, StateParams};

use crate::story::retell;

/// A script with what its commands print now, in the place of what it says that they print.
///
/// # Errors
/// When a command is none.
pub fn run_script(script: &str) -> anyhow::Result<String> {
    retell(script, &mut Story::new(), Story::command, |story| {
        &mut story.printed
    })
}

struct Story {
    replica: Replica,
    state: State,
    clock: Clock,
    // Sessions by the order in which they began: s1, s2, ...
    sessions: Vec<SessionId>,
    // The session that each connection has.
    attached: BTreeMap<u64, SessionId>,
    asked: BTreeMap<(u64, i32), OpCode>,
    next_xid: i32,
    printed: String,
}

const START_MS: i64 = 1_700_000_000_000;

impl Story {
    fn new() -> Self {
        let state = State::new(StateParams::default());
        let clock = Clock {
            monotonic_ms: 0,
            wall_ms: START_MS,
        };
        let params = ReplicaParams {
            tick_ms: 2000,
            session_timeout_min_ms: 4000,
            session_timeout_max_ms: 40_000,
            ..ReplicaParams::default()
        };
        let replica = Replica::standalone(params, clock, &state, &mut Vec::new());
        Self {
            replica,
            state,
            clock,
            sessions: Vec::new(),
            attached: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_xid: 1,
            printed: String::new(),
        }
    }

    fn command(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let input = match words[..] {
            ["connect", conn, ref options @ ..] => self.connect(number(conn, "c")?, options)?,
            ["request", conn, "multi", ..] => {
                let (_, ops) = line.split_once("multi").unwrap_or_default();
                let ops = ops
                    .split(',')
                    .map(|op| sub_operation(&op.split_whitespace().collect::<Vec<_>>()));
                self.request(
                    number(conn, "c")?,
                    Request::Multi(MultiOps(ops.collect::<anyhow::Result<_>>()?)),
                )
            }
            ["request", conn, ref op @ ..] => self.request(number(conn, "c")?, request(op)?),
            ["watch", conn, path] => {
                let (conn, watches) = (ConnId(number(conn, "c")?), self.state.watches());
                watches.watch_data(conn, path);
                watches.watch_children(conn, path);
                return Ok(());
            }
            ["durable", write] => Input::Durable(WriteSeq(number(write, "write#")?)),
            ["disconnect", conn] => {
                let conn = ConnId(number(conn, "c")?);
                self.state.watches().detach(conn);
                Input::Disconnected { conn }
            }
            ["touch", session] => Input::Touched {
                session: self.session(session)?,
                at_ms: self.clock.monotonic_ms,
            },
            ["at", ms] => {
                let ms: i64 = ms.parse()?;
                self.clock = Clock {
                    monotonic_ms: ms,
                    wall_ms: START_MS + ms,
                };
                return Ok(());
            }
            ["wakeup"] => Input::Wakeup,
            _ => anyhow::bail!("not a command: {line}"),
        };
        let mut effects = Vec::new();
        self.replica
            .step(self.clock, input, &self.state, &mut effects);
        effects.into_iter().try_for_each(|effect| self.tell(effect))
    }

    fn session(&self, word: &str) -> anyhow::Result<SessionId> {
        let place = usize::try_from(number(word, "s")?)?;
        let session = place
            .checked_sub(1)
            .and_then(|place| self.sessions.get(place));
        session
            .copied()
            .ok_or_else(|| anyhow::anyhow!("no session {word} yet"))
    }

    fn name(&mut self, session: SessionId) -> String {
        if session == SessionId::NONE {
            return "nobody".to_owned();
        }
        let place = self
            .sessions
            .iter()
            .position(|known| *known == session)
            .unwrap_or_else(|| {
                self.sessions.push(session);
                self.sessions.len() - 1
            });
        format!("s{}", place + 1)
    }

    fn connect(&self, conn: u64, options: &[&str]) -> anyhow::Result<Input> {
        let (mut session, mut timeout_ms, mut wrong) = (SessionId::NONE, 4000, false);
        for option in options {
            match option.split_once('=') {
                Some(("session", name)) => session = self.session(name)?,
                Some(("timeout", ms)) => timeout_ms = ms.parse()?,
                Some(("password", "wrong")) => wrong = true,
                _ => anyhow::bail!("not an option: {option}"),
            }
        }
        let mut password = password_of(session);
        password[0] ^= u8::from(wrong);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms,
            session,
            password: Some(Bytes::copy_from_slice(&password)),
            read_only: None,
        };
        Ok(Input::Submitted(Submission::Connect {
            conn: ConnId(conn),
            request,
        }))
    }

    fn request(&mut self, conn: u64, request: Request) -> Input {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.asked.insert((conn, xid), request.op());
        Input::Submitted(Submission::Write(ClientRequest {
            conn: ConnId(conn),
            session: self.attached.get(&conn).copied().unwrap_or_default(),
            xid,
            body: WriteBody::Request(request),
            ids: Arc::from([Id::new("ip", "127.0.0.1")]),
        }))
    }

    fn tell(&mut self, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::Write {
                write,
                zxid,
                payload,
            } => {
                let entry = TxnEntry::decode(&payload)?;
                let (who, what) = (self.name(entry.header.client_id), txn(&entry.txn));
                writeln!(self.printed, "write#{} {zxid} of {who}: {what}", write.0)?;
            }
            Effect::Commit(committed) => {
                writeln!(self.printed, "commit {}", committed.entry.header.zxid)?;
                let mut outputs = Outputs::default();
                self.state.apply(&committed, &mut outputs)?;
                for (conn, output) in outputs.iter() {
                    self.tell_output(conn, &output)?;
                }
            }
            Effect::Connected { conn, response } => {
                self.tell_connected(conn, response.session, response.timeout_ms)?
            }
            Effect::CloseConn { conn } => writeln!(self.printed, "  c{} closes", conn.0)?,
            Effect::QuotaExceeded { path, refused } => {
                let what = if refused { "enforced" } else { "exceeded" };
                writeln!(self.printed, "quota of {path} {what}")?;
            }
            Effect::Expired { session } => {
                let name = self.name(session);
                writeln!(self.printed, "{name} expired")?;
            }
            other => unreachable!("of members of an ensemble only: {other:?}"),
        }
        Ok(())
    }

    fn tell_connected(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout_ms: i32,
    ) -> anyhow::Result<()> {
        let name = self.name(session);
        writeln!(
            self.printed,
            "  c{} is connected: {name}, {timeout_ms} ms",
            conn.0
        )?;
        if session != SessionId::NONE {
            self.attached.insert(conn.0, session);
            self.state.watches().attach(conn, session, &[]);
        }
        Ok(())
    }

    fn tell_output(&mut self, conn: ConnId, output: &Output<'_>) -> anyhow::Result<()> {
        let frame =
            |bytes: &[u8]| Bytes::copy_from_slice(&bytes[jute_codec::frame::PREFIX_BYTES..]);
        match output {
            Output::Connected { frame: bytes, .. } => {
                let response = ConnectResponse::read(&mut Reader::new(&frame(bytes)))?;
                self.tell_connected(conn, response.session, response.timeout_ms)?;
            }
            Output::Event(bytes) | Output::Reply(bytes) => {
                let bytes = frame(bytes);
                let mut reader = Reader::new(&bytes);
                let header = ReplyHeader::read(&mut reader)?;
                if header.xid == xid::NOTIFICATION {
                    let event = WatcherEvent::read(&mut reader)?;
                    writeln!(
                        self.printed,
                        "  c{} event {} {}",
                        conn.0,
                        event_name(event.kind),
                        event.path
                    )?;
                } else {
                    let op = self
                        .asked
                        .get(&(conn.0, header.xid))
                        .copied()
                        .unwrap_or(OpCode::Ping);
                    let body = if header.err == 0 {
                        reply(&Reply::read(op, &mut reader)?)
                    } else {
                        String::new()
                    };
                    let line = format!("  c{} reply {} {body}", conn.0, header.err);
                    writeln!(self.printed, "{}", line.trim_end())?;
                }
            }
            Output::Close => writeln!(self.printed, "  c{} closes", conn.0)?,
        }
        Ok(())
    }
}

fn number(word: &str, prefix: &str) -> anyhow::Result<u64> {
    let digits = word
        .strip_prefix(prefix)
        .ok_or_else(|| anyhow::anyhow!("{word} should be {prefix}N"))?;
    Ok(digits.parse()?)
}

fn request(words: &[&str]) -> anyhow::Result<Request> {
    if words == ["close"] {
        return Ok(Request::CloseSession);
    }
    Ok(match sub_operation(words)? {
        MultiOp::Create(create) => Request::Create(create),
        MultiOp::Delete(delete) => Request::Delete(delete),
        MultiOp::SetData(set) => Request::SetData(set),
        other => anyhow::bail!("{other:?} stands only in a multi"),
    })
}

fn sub_operation(words: &[&str]) -> anyhow::Result<MultiOp> {
    let [op, path, options @ ..] = words else {
        anyhow::bail!("not an operation: {words:?}");
    };
    let (mut version, mut data, mut flags) = (-1, Bytes::new(), 0);
    for option in options {
        match option.split_once('=') {
            Some(("v", value)) => version = value.parse()?,
            Some(("data", text)) => data = Bytes::from(text.to_owned()),
            Some(("flags", value)) => flags = value.parse()?,
            _ => anyhow::bail!("not an option: {option}"),
        }
    }
    let path = Some(Text::from(*path));
    Ok(match *op {
        "create" => MultiOp::Create(CreateRequest {
            path,
            data: Some(data),
            acl: Some(vec![Acl::open()]),
            flags,
        }),
        "delete" => MultiOp::Delete(DeleteRequest { path, version }),
        "set" => MultiOp::SetData(SetDataRequest {
            path,
            data: Some(data),
            version,
        }),
        "check" => MultiOp::Check(jute_codec::proto::CheckVersionRequest { path, version }),
        _ => anyhow::bail!("not an operation: {op}"),
    })
}

fn txn(txn: &Txn) -> String {
    match txn {
        Txn::Create(create) => format!(
            "create {}{}",
            create.path,
            if create.ephemeral { " ephemeral" } else { "" }
        ),
        Txn::Delete(delete) => format!("delete {}", delete.path),
        Txn::SetData(set) => format!("set {} version {}", set.path, set.version),
        Txn::Check(check) => format!("check {}", check.path),
        Txn::Error(code) => format!("error {code}"),
        Txn::Multi(txns) => format!(
            "multi [{}]",
            txns.iter().map(self::txn).collect::<Vec<_>>().join(", ")
        ),
        Txn::CreateSession { timeout_ms } => format!("begin session, {timeout_ms} ms"),
        Txn::CloseSession(paths) => {
            let paths: Vec<&str> = paths.iter().flatten().map(Text::as_str).collect();
            format!("end session, delete [{}]", paths.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Path(path) => path.as_deref().unwrap_or_default().to_owned(),
        Reply::Stat(stat) => format!("version {}", stat.version),
        Reply::Multi(results) => {
            let results: Vec<String> = results
                .iter()
                .map(|result| match result {
                    MultiResult::Create(path) => path.to_string(),
                    MultiResult::SetData(stat) => format!("version {}", stat.version),
                    MultiResult::Error(code) => code.to_string(),
                    _ => "done".to_owned(),
                })
                .collect();
            format!("[{}]", results.join(", "))
        }
        _ => String::new(),
    }
}

const fn event_name(kind: i32) -> &'static str {
    match kind {
        1 => "created",
        2 => "deleted",
        3 => "changed",
        _ => "children",
    }
}
