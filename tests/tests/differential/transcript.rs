//! Frames to lines of text in which only what may differ between two servers has been replaced.
//!
//! | in the frame | in the text |
//! |---|---|
//! | zxid | relative to the newest one when the case began: `+3`; `base`; `base-2`; absolute if it is 0 or less |
//! | session id | the order in which the case met it: `S1` |
//! | password | `good` if it is what the session id gives |
//! | ctime, mtime | nothing, if they are those of every other appearance of czxid and mzxid, and of about now |
//! | names of children, ids of whoAmI, paths of ephemerals | sorted |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, OpCode, ReplyHeader};
use jute_codec::{Acl, Jute, Reader, Stat};
use zabd_tests::raw::Reply;

use crate::request::Asked;

/// Longest data that is shown in full, in bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// The difference between the clocks of two processes on one machine, and some, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 2_000;

/// The replacements of one case on one server.
#[derive(Debug)]
pub(crate) struct Names {
    base_zxid: i64,
    began_ms: i64,
    sessions: BTreeMap<i64, usize>,
    times: BTreeMap<i64, i64>,
}

impl Names {
    /// Nothing met yet; `base_zxid` is the newest transaction.
    pub(crate) fn new(base_zxid: i64) -> Self {
        Self {
            base_zxid,
            began_ms: now_ms(),
            sessions: BTreeMap::new(),
            times: BTreeMap::new(),
        }
    }

    /// A zxid as text.
    pub(crate) fn zxid(&self, zxid: i64) -> String {
        match zxid - self.base_zxid {
            _ if zxid <= 0 => zxid.to_string(),
            0 => "base".into(),
            distance if distance > 0 => format!("+{distance}"),
            distance => format!("base{distance}"),
        }
    }

    /// A session id as text.
    pub(crate) fn session(&mut self, session: i64) -> String {
        if session == 0 {
            return "0".into();
        }
        let next = self.sessions.len() + 1;
        format!("S{}", self.sessions.entry(session).or_insert(next))
    }

    fn owner(&mut self, owner: i64) -> String {
        match self.sessions.get(&owner) {
            Some(number) => format!("S{number}"),
            None => format!("{owner:#x}"),
        }
    }

    fn stat(&mut self, stat: &Stat) -> String {
        let mut text = format!(
            "[c={} m={} p={} v={} cv={} av={} owner={} len={} children={}",
            self.zxid(stat.czxid.0),
            self.zxid(stat.mzxid.0),
            self.zxid(stat.pzxid.0),
            stat.version,
            stat.cversion,
            stat.aversion,
            self.owner(stat.ephemeral_owner),
            stat.data_length,
            stat.num_children,
        );
        for (name, zxid, time) in [
            ("ctime", stat.czxid.0, stat.ctime),
            ("mtime", stat.mzxid.0, stat.mtime),
        ] {
            if let Some(complaint) = self.time_complaint(zxid, time) {
                write!(text, " {name}: {complaint}").expect("writing to a string does not fail");
            }
        }
        text.push(']');
        text
    }

    /// What is wrong with `time` as the time of transaction `zxid`.
    fn time_complaint(&mut self, zxid: i64, time: i64) -> Option<&'static str> {
        if zxid == 0 {
            return (time != 0).then_some("not 0");
        }
        if *self.times.entry(zxid).or_insert(time) != time {
            return Some("not the time that this transaction had before");
        }
        let earliest = if zxid > self.base_zxid {
            self.began_ms - CLOCK_TOLERANCE_MS
        } else {
            self.began_ms - 600_000
        };
        (time < earliest || time > now_ms() + CLOCK_TOLERANCE_MS).then_some("not about now")
    }

    /// A handshake's answer as text.
    pub(crate) fn connect_response(&mut self, payload: &Bytes) -> anyhow::Result<String> {
        let mut reader = Reader::new(payload);
        let response = ConnectResponse::read(&mut reader)?;
        let password = if response.password == [0; 16] {
            "zeros"
        } else if response.password == session_password(response.session.0) {
            "good"
        } else {
            "BAD"
        };
        Ok(format!(
            "connected: protocol={} timeout={} session={} of server {} password={password} read-only={:?} bytes={}",
            response.protocol_version,
            response.timeout_ms,
            self.session(response.session.0),
            response.session.0 >> 56,
            response.read_only,
            payload.len(),
        ))
    }

    /// A notification as text.
    pub(crate) fn notification(&self, reply: &Reply) -> anyhow::Result<String> {
        let mut reader = Reader::new(&reply.body);
        let (kind, state) = (reader.i32()?, reader.i32()?);
        let path = bytes_text(reader.buffer()?.as_deref());
        let kind = match kind {
            1 => "NodeCreated".to_owned(),
            2 => "NodeDeleted".to_owned(),
            3 => "NodeDataChanged".to_owned(),
            4 => "NodeChildrenChanged".to_owned(),
            other => format!("type {other}"),
        };
        let mut text = format!("event {} {kind} {path}", self.zxid(reply.header.zxid.0));
        if state != 3 {
            write!(text, " state={state}").expect("writing to a string does not fail");
        }
        if reply.header.err != 0 {
            write!(text, " err={}", reply.header.err).expect("writing to a string does not fail");
        }
        text.push_str(&left_over(&reader));
        Ok(text)
    }

    /// A reply as text.
    pub(crate) fn reply(&mut self, reply: &Reply, asked: Option<Asked>) -> String {
        let ReplyHeader { xid, zxid, err } = &reply.header;
        let mut text = format!("xid={xid} zxid={} err={err}", self.zxid(zxid.0));
        let op = asked.and_then(|asked| OpCode::from_i32(asked.op));
        let body = match op {
            Some(op) if *err == 0 => self.body(op, &reply.body),
            // Results so far, which clients ignore.
            Some(OpCode::MultiRead) if !reply.body.is_empty() => {
                self.body(OpCode::MultiRead, &reply.body)
            }
            _ => Ok(raw(&reply.body)),
        };
        let body =
            body.unwrap_or_else(|error| format!("MALFORMED ({error:#}) {}", raw(&reply.body)));
        if !body.is_empty() {
            text.push(' ');
            text.push_str(&body);
        }
        text
    }

    fn body(&mut self, op: OpCode, body: &Bytes) -> anyhow::Result<String> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let text = match op {
            OpCode::Create | OpCode::Sync => bytes_text(reader.buffer()?.as_deref()),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                let path = bytes_text(reader.buffer()?.as_deref());
                format!("{path} {}", self.stat(&Stat::read(reader)?))
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => self.stat(&Stat::read(reader)?),
            OpCode::GetData | OpCode::Reconfig => {
                let data = bytes_text(reader.buffer()?.as_deref());
                format!("{data} {}", self.stat(&Stat::read(reader)?))
            }
            OpCode::GetAcl => {
                let acl = acl_text(reader)?;
                format!("{acl} {}", self.stat(&Stat::read(reader)?))
            }
            OpCode::GetChildren | OpCode::GetEphemerals => sorted_names(reader)?,
            OpCode::GetChildren2 => {
                let names = sorted_names(reader)?;
                format!("{names} {}", self.stat(&Stat::read(reader)?))
            }
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => reader.i32()?.to_string(),
            OpCode::WhoAmI => {
                let count = reader.i32()?;
                let mut ids = Vec::new();
                for _ in 0..count {
                    let scheme = bytes_text(reader.buffer()?.as_deref());
                    ids.push(format!(
                        "{scheme}:{}",
                        bytes_text(reader.buffer()?.as_deref())
                    ));
                }
                ids.sort();
                format!("{ids:?}")
            }
            OpCode::Sasl => format!("token={}", bytes_text(reader.buffer()?.as_deref())),
            OpCode::Multi | OpCode::MultiRead => self.multi(reader)?,
            _ => String::new(),
        };
        Ok(text + &left_over(reader))
    }

    fn multi(&mut self, reader: &mut Reader<'_>) -> anyhow::Result<String> {
        let mut results = Vec::new();
        loop {
            let (op, done, err) = (reader.i32()?, reader.bool()?, reader.i32()?);
            if done {
                let end = if (op, err) == (-1, -1) {
                    String::new()
                } else {
                    format!(" end=({op},{err})")
                };
                return Ok(format!("{{{}}}{end}", results.join("; ")));
            }
            let mut text = format!("{op}:{err}");
            let body = match OpCode::from_i32(op) {
                Some(OpCode::Error) => reader.i32()?.to_string(),
                Some(OpCode::Create) => bytes_text(reader.buffer()?.as_deref()),
                Some(OpCode::Create2) => {
                    let path = bytes_text(reader.buffer()?.as_deref());
                    format!("{path} {}", self.stat(&Stat::read(reader)?))
                }
                Some(OpCode::SetData) => self.stat(&Stat::read(reader)?),
                Some(OpCode::GetData) => {
                    let data = bytes_text(reader.buffer()?.as_deref());
                    format!("{data} {}", self.stat(&Stat::read(reader)?))
                }
                Some(OpCode::GetChildren) => sorted_names(reader)?,
                Some(OpCode::Delete | OpCode::Check) => String::new(),
                _ => anyhow::bail!("result of type {op}"),
            };
            if !body.is_empty() {
                text.push(' ');
                text.push_str(&body);
            }
            results.push(text);
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("milliseconds since 1970 fit for millions of years")
}

/// What the server owes as the password of a session (client protocol, 3.6).
pub(crate) fn session_password(session: i64) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let seed = session.cast_unsigned() ^ 0xB341_5C00;
    let mut state = (seed ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for chunk in password.chunks_exact_mut(4) {
        state = (state.wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        let bytes = (state >> 16).to_le_bytes();
        chunk.copy_from_slice(&bytes[..4]);
    }
    password
}

fn bytes_text(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".into(),
        Some([]) => "\"\"".into(),
        Some(bytes) if bytes.len() > SHOWN_BYTES_MAX => format!(
            "{}…({} bytes)",
            bytes[..SHOWN_BYTES_MAX].escape_ascii(),
            bytes.len()
        ),
        Some(bytes) => bytes.escape_ascii().to_string(),
    }
}

fn raw(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let mut text = String::from("body=");
    for byte in bytes.iter().take(SHOWN_BYTES_MAX) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn left_over(reader: &Reader<'_>) -> String {
    if reader.remaining() == 0 {
        String::new()
    } else {
        format!(" LEFT OVER {}", raw(&reader.rest()))
    }
}

fn acl_text(reader: &mut Reader<'_>) -> anyhow::Result<String> {
    let list: Vec<Acl> = Jute::read(reader).context("access control list")?;
    let entries: Vec<String> = list
        .iter()
        .map(|acl| {
            format!(
                "{}:{}:{}",
                acl.perms,
                acl.id.scheme.as_deref().unwrap_or("null"),
                acl.id.id.as_deref().unwrap_or("null").escape_default()
            )
        })
        .collect();
    Ok(format!("({})", entries.join(", ")))
}

fn sorted_names(reader: &mut Reader<'_>) -> anyhow::Result<String> {
    let count = reader.i32()?;
    if count == -1 {
        return Ok("null".into());
    }
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(bytes_text(reader.buffer()?.as_deref()));
    }
    names.sort();
    Ok(format!("({})", names.join(" ")))
}

/// The answer to a four-letter word with what varies from run to run replaced by its kind.
pub(crate) fn shape(answer: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer.lines().map(shape_of_line).collect();
    // Connections are listed in no order, and how many depends on how quickly those of earlier words have gone.
    for run in lines.chunk_by_mut(|one, next| is_connection(one) && is_connection(next)) {
        run.sort();
    }
    lines.dedup();
    lines
}

fn is_connection(line: &str) -> bool {
    line.trim_start().starts_with('/')
}

fn shape_of_line(line: &str) -> String {
    if let Some(version) = line.strip_prefix("Zookeeper version: ")
        && version.starts_with("3.9.5-")
        && version.contains(", built on ")
    {
        return "Zookeeper version: 3.9.5-…, built on …".into();
    }
    let mut text = String::new();
    let mut characters = line.chars().peekable();
    let mut previous = ' ';
    while let Some(character) = characters.next() {
        let starts_number = character.is_ascii_digit() && !previous.is_ascii_alphabetic();
        if !starts_number {
            text.push(character);
            previous = character;
            continue;
        }
        // A number, a hexadecimal number, an address or a version: all are one kind.
        while characters
            .peek()
            .is_some_and(|next| next.is_ascii_hexdigit() || matches!(next, '.' | 'x'))
        {
            characters.next();
        }
        text.push('N');
        previous = 'N';
    }
    text
}
