//! Words of a step to the bytes of a request.

use anyhow::{Context, bail, ensure};
use jute_codec::Jute;
use jute_codec::proto::{MultiHeader, OpCode};
use jute_codec::writer::write_buffer;

use crate::script::{hexadecimal, optional_bytes, word};

/// What is asked of a reply's decoder: the number and the opcode of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The number that the reply is to have.
    pub(crate) xid: i32,
    /// The opcode.
    pub(crate) op: i32,
}

/// Bytes to send, and what they ask.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Whole frames, or whatever else the step wants sent.
    pub(crate) bytes: Vec<u8>,
    /// The reply that is due, if one is.
    pub(crate) asked: Option<Asked>,
}

/// What the words of a step may refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    /// The number that the request gets unless it names one.
    pub(crate) xid: i32,
    /// The newest transaction when the case began.
    pub(crate) base_zxid: i64,
}

/// Encodes a request: an operation with its arguments, and modifiers behind them.
///
/// | modifier | effect |
/// |---|---|
/// | `xid=N` | the number |
/// | `cut=N` | the last N bytes of the frame's payload are left out |
/// | `pad=HEX` | bytes behind the payload |
/// | `length=N` | the frame's prefix, whatever its payload |
/// | `noreply` | no reply is awaited |
pub(crate) fn encode(words: &[String], context: Numbers) -> anyhow::Result<Outgoing> {
    let mut words = words.to_vec();
    let mut xid = context.xid;
    let mut cut = 0;
    let mut pad = Vec::new();
    let mut length = None;
    let mut replies = true;
    while let Some(last) = words.last().cloned() {
        match last.split_once('=') {
            Some(("xid", value)) => xid = value.parse()?,
            Some(("cut", value)) => cut = value.parse()?,
            Some(("pad", value)) => pad = hexadecimal(value)?,
            Some(("length", value)) => length = Some(value.parse::<i32>()?),
            _ if last == "noreply" => replies = false,
            _ => break,
        }
        words.pop();
    }
    let mut payload = Vec::new();
    let op = match word(&words, 0)? {
        // Bytes on the wire as they are.
        "bytes" => {
            return Ok(Outgoing {
                bytes: hexadecimal(word(&words, 1)?)?,
                asked: None,
            });
        }
        // A frame of its own making: number and opcode are part of the bytes.
        "frame" => {
            payload = hexadecimal(word(&words, 1)?)?;
            let header = |at: usize| {
                let bytes = payload.get(at..at + 4)?;
                Some(i32::from_be_bytes(bytes.try_into().ok()?))
            };
            xid = header(0).unwrap_or(0);
            header(4).unwrap_or(0)
        }
        "op" => {
            let op = word(&words, 1)?.parse()?;
            xid.write(&mut payload);
            i32::write(&op, &mut payload);
            payload.extend(hexadecimal(words.get(2).map_or("-", String::as_str))?);
            op
        }
        name => {
            let op = op_code(name)?;
            xid.write(&mut payload);
            op.code().write(&mut payload);
            body(op, &words[1..], context, &mut payload).with_context(|| format!("{words:?}"))?;
            op.code()
        }
    };
    ensure!(cut <= payload.len(), "cannot cut {cut} bytes");
    payload.truncate(payload.len() - cut);
    payload.extend(pad);
    let prefix = match length {
        Some(length) => length,
        None => i32::try_from(payload.len())?,
    };
    let mut bytes = prefix.to_be_bytes().to_vec();
    bytes.extend(payload);
    Ok(Outgoing {
        bytes,
        asked: replies.then_some(Asked { xid, op }),
    })
}

/// The opcode of an operation's name, as the documentation spells it.
pub(crate) fn op_code(name: &str) -> anyhow::Result<OpCode> {
    Ok(match name {
        "create" => OpCode::Create,
        "delete" => OpCode::Delete,
        "exists" => OpCode::Exists,
        "getData" => OpCode::GetData,
        "setData" => OpCode::SetData,
        "getACL" => OpCode::GetAcl,
        "setACL" => OpCode::SetAcl,
        "getChildren" => OpCode::GetChildren,
        "sync" => OpCode::Sync,
        "ping" => OpCode::Ping,
        "getChildren2" => OpCode::GetChildren2,
        "check" => OpCode::Check,
        "multi" => OpCode::Multi,
        "create2" => OpCode::Create2,
        "reconfig" => OpCode::Reconfig,
        "checkWatches" => OpCode::CheckWatches,
        "removeWatches" => OpCode::RemoveWatches,
        "createContainer" => OpCode::CreateContainer,
        "deleteContainer" => OpCode::DeleteContainer,
        "createTTL" => OpCode::CreateTtl,
        "multiRead" => OpCode::MultiRead,
        "auth" => OpCode::Auth,
        "setWatches" => OpCode::SetWatches,
        "sasl" => OpCode::Sasl,
        "getEphemerals" => OpCode::GetEphemerals,
        "getAllChildrenNumber" => OpCode::GetAllChildrenNumber,
        "setWatches2" => OpCode::SetWatches2,
        "addWatch" => OpCode::AddWatch,
        "whoAmI" => OpCode::WhoAmI,
        "createSession" => OpCode::CreateSession,
        "closeSession" => OpCode::CloseSession,
        _ => bail!("unknown operation {name}"),
    })
}

fn body(op: OpCode, words: &[String], context: Numbers, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut used = 0;
    let mut next = || {
        used += 1;
        word(words, used - 1)
    };
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            write_optional(next()?, out)?;
            write_optional(next()?, out)?;
            write_acl(next()?, out)?;
            next()?.parse::<i32>()?.write(out);
            if op == OpCode::CreateTtl {
                next()?.parse::<i64>()?.write(out);
            }
        }
        OpCode::Delete
        | OpCode::Check
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::AddWatch => {
            write_optional(next()?, out)?;
            next()?.parse::<i32>()?.write(out);
        }
        OpCode::SetData => {
            write_optional(next()?, out)?;
            write_optional(next()?, out)?;
            next()?.parse::<i32>()?.write(out);
        }
        OpCode::SetAcl => {
            write_optional(next()?, out)?;
            write_acl(next()?, out)?;
            next()?.parse::<i32>()?.write(out);
        }
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            write_optional(next()?, out)?;
            // Any byte: all but zero are true.
            out.push(next()?.parse::<u8>()?);
        }
        OpCode::GetAcl
        | OpCode::Sync
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::DeleteContainer
        | OpCode::Sasl => write_optional(next()?, out)?,
        OpCode::Reconfig => {
            for _ in 0..3 {
                write_optional(next()?, out)?;
            }
            next()?.parse::<i64>()?.write(out);
        }
        OpCode::Auth => {
            let scheme = next()?.to_owned();
            let auth = next()?.to_owned();
            // Ignored by servers.
            let kind = words.get(2).map_or(Ok(0), |kind| kind.parse::<i32>())?;
            used = words.len();
            kind.write(out);
            write_optional(&scheme, out)?;
            write_optional(&auth, out)?;
        }
        OpCode::SetWatches | OpCode::SetWatches2 => {
            zxid(next()?, context)?.write(out);
            let vectors = if op == OpCode::SetWatches { 3 } else { 5 };
            for _ in 0..vectors {
                write_vector(next()?, out)?;
            }
        }
        OpCode::CreateSession => next()?.parse::<i32>()?.write(out),
        OpCode::Multi | OpCode::MultiRead => {
            used = words.len();
            for sub in words
                .split(|word| word == ";")
                .filter(|sub| !sub.is_empty())
            {
                write_sub_operation(sub, context, out)?;
            }
            MultiHeader::END.write(out);
        }
        OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession => {}
        OpCode::Error | OpCode::Notification => bail!("no request of its own"),
    }
    ensure!(used == words.len(), "words left over: {:?}", &words[used..]);
    Ok(())
}

fn write_sub_operation(
    words: &[String],
    context: Numbers,
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let name = word(words, 0)?;
    let header = |op| MultiHeader {
        op,
        done: false,
        err: -1,
    };
    match name {
        "op" => {
            header(word(words, 1)?.parse()?).write(out);
            out.extend(hexadecimal(word(words, 2)?)?);
        }
        // A header that ends the stream, with any type.
        "end" => MultiHeader {
            op: word(words, 1)?.parse()?,
            done: true,
            err: 0,
        }
        .write(out),
        _ => {
            let op = op_code(name)?;
            header(op.code()).write(out);
            body(op, &words[1..], context, out)?;
        }
    }
    Ok(())
}

fn write_optional(word: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
    write_buffer(optional_bytes(word)?.as_deref(), out);
    Ok(())
}

/// `[a,b]`, `[]`, `null`, or `count:N` for a count with nothing behind it.
fn write_vector(word: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
    if word == "null" {
        (-1i32).write(out);
        return Ok(());
    }
    if let Some(count) = word.strip_prefix("count:") {
        count.parse::<i32>()?.write(out);
        return Ok(());
    }
    let inner = word
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .context("a list in brackets")?;
    let items: Vec<&str> = inner.split(',').filter(|item| !item.is_empty()).collect();
    i32::try_from(items.len())?.write(out);
    for item in items {
        write_optional(item, out)?;
    }
    Ok(())
}

/// `open`, `creator`, `readonly`, `empty`, `null`, `count:N`, or `PERMS:SCHEME:ID` several times with commas between.
fn write_acl(word: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
    if let Some(count) = word.strip_prefix("count:") {
        count.parse::<i32>()?.write(out);
        return Ok(());
    }
    let list = match word {
        "null" => {
            (-1i32).write(out);
            return Ok(());
        }
        "empty" => "",
        "open" => "31:world:anyone",
        "creator" => "31:auth:\"\"",
        "readonly" => "1:world:anyone",
        list => list,
    };
    let entries: Vec<&str> = list.split(',').filter(|entry| !entry.is_empty()).collect();
    i32::try_from(entries.len())?.write(out);
    for entry in entries {
        let mut parts = entry.splitn(3, ':');
        let mut part = || parts.next().context("PERMS:SCHEME:ID");
        part()?.parse::<i32>()?.write(out);
        write_optional(part()?, out)?;
        write_optional(part()?, out)?;
    }
    Ok(())
}

/// `+N` and `-N` count from the newest transaction at the start of the case, `base`; `=N` is absolute.
pub(crate) fn zxid(word: &str, context: Numbers) -> anyhow::Result<i64> {
    if word == "base" {
        return Ok(context.base_zxid);
    }
    if let Some(absolute) = word.strip_prefix('=') {
        return Ok(absolute.parse()?);
    }
    Ok(context.base_zxid + word.parse::<i64>()?)
}
