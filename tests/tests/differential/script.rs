//! The language of the cases: one step a line, the answers compared rather than written down.
//!
//! ```text
//! server tickTime=2000 -Dzookeeper.enforceQuota=true      (once, at the top of a file)
//! case C2 an existing node is only admitted to callers who may create
//! a connect                       a new session on connection `a`
//! a create /x hi open 0           one request, sent and awaited
//! a& setData /x one 0             `&`: kept back, and sent in one write with the next step of `a`
//! a setData /x two 0
//! !zabd a: xid=…                  zabd's own answer to the step above, where it differs by decision …
//! !why                            … and why
//! ```
//!
//! Words are separated by spaces. In a word `\s` is a space, `\xHH` a byte, `\u{…}` a character; `null` is null and
//! `""` empty. `#` at the start of a line begins a comment.

use anyhow::{Context, bail, ensure};
use zabd_tests::servers::Setup;

/// A file of cases, all played one after the other on one server.
#[derive(Debug)]
pub(crate) struct Script {
    /// What the server needs.
    pub(crate) setup: Setup,
    /// The cases in order.
    pub(crate) cases: Vec<Case>,
}

/// Some steps that show one rule.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The rule and a sentence about it.
    pub(crate) name: String,
    /// Whether Apache ZooKeeper is spared, because the input would stop it.
    pub(crate) zabd_only: bool,
    /// The steps in order.
    pub(crate) steps: Vec<Step>,
}

/// One line of a case.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The line as written.
    pub(crate) text: String,
    /// What to do.
    pub(crate) action: Action,
    /// Whether the order of what arrives means nothing.
    pub(crate) unordered: bool,
    /// zabd's answer where it is meant to differ.
    pub(crate) zabd: Option<Exception>,
}

/// An answer that differs from Apache ZooKeeper's on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exception {
    /// The lines that zabd is to answer.
    pub(crate) lines: Vec<String>,
    /// The reason, for people.
    pub(crate) why: String,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Sends something on a connection, or with `hold` keeps it for the next step on the same connection.
    Send {
        conn: String,
        hold: bool,
        what: Vec<String>,
    },
    /// Closes the client's end.
    Drop { conn: String },
    /// Waits until the server closes.
    AwaitClose { conn: String, within_ms: u64 },
    /// Waits for one frame, a notification say, or the close.
    AwaitFrame { conn: String, within_ms: u64 },
    /// Waits, and looks whether anything has come.
    Sleep { ms: u64 },
    /// Whether every other connection is asked for its events after each step; on unless switched off.
    Settle(bool),
    /// Stops the server in order and starts it again.
    Restart,
    /// Kills the server and starts it again.
    Kill,
    /// Sends bytes in place of a handshake and reads to the end of the stream.
    Word { bytes: Vec<u8>, show: Show },
}

/// How the answer to a four-letter word is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Show {
    /// Byte for byte.
    Exact,
    /// With numbers, addresses and the like replaced by their kind.
    Shape,
    /// In shape and with sorted lines, where the order is that of a hash table.
    Sorted,
    /// In shape, and sent by a client that closes its half of the connection at once.
    AfterHalfClose,
    /// The sorted words before the first `=` or tab of each line; metrics that only zabd has are left out.
    Keys,
}

/// Reads a file of cases.
pub(crate) fn parse(text: &str) -> anyhow::Result<Script> {
    let mut script = Script {
        setup: Setup::default(),
        cases: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        parse_line(line.trim(), &mut script).with_context(|| format!("line {}", index + 1))?;
    }
    Ok(script)
}

fn parse_line(line: &str, script: &mut Script) -> anyhow::Result<()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("server ") {
        for setting in rest.split_whitespace() {
            let (name, value) = setting.split_once('=').context("NAME=VALUE")?;
            let target = match name.strip_prefix("-D") {
                Some(_) => &mut script.setup.properties,
                None => &mut script.setup.keys,
            };
            target.push((name.trim_start_matches("-D").into(), value.into()));
        }
        return Ok(());
    }
    if let Some(name) = line
        .strip_prefix("case ")
        .or(line.strip_prefix("zabd-only case "))
    {
        script.cases.push(Case {
            name: name.trim().into(),
            zabd_only: line.starts_with("zabd-only"),
            steps: Vec::new(),
        });
        return Ok(());
    }
    let case = script.cases.last_mut().context("a step before any case")?;
    if let Some(rest) = line.strip_prefix('!') {
        let step = case
            .steps
            .last_mut()
            .context("an exception before any step")?;
        let exception = step.zabd.get_or_insert_default();
        if let Some(answer) = rest.strip_prefix("zabd") {
            let answer = answer.trim();
            // An empty line says that nothing is to be answered.
            if !answer.is_empty() {
                exception.lines.push(answer.into());
            }
        } else if let Some(why) = rest.strip_prefix("why ") {
            exception.why = why.trim().into();
        } else {
            bail!("`!zabd` or `!why` expected");
        }
        return Ok(());
    }
    case.steps.push(parse_step(line)?);
    Ok(())
}

/// Reads one step.
pub(crate) fn parse_step(line: &str) -> anyhow::Result<Step> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let unordered = words.last().is_some_and(|word| word == "unordered");
    if unordered {
        words.pop();
    }
    ensure!(!words.is_empty(), "an empty step");
    let action = match words[0].as_str() {
        "sleep" => Action::Sleep {
            ms: word(&words, 1)?.parse()?,
        },
        "settle" => Action::Settle(word(&words, 1)? == "on"),
        "restart" => Action::Restart,
        "kill" => Action::Kill,
        "4lw" => Action::Word {
            bytes: unescape(word(&words, 1)?)?,
            show: match words.get(2).map(String::as_str) {
                None => Show::Exact,
                Some("shape") => Show::Shape,
                Some("keys") => Show::Keys,
                Some("sorted") => Show::Sorted,
                Some("half") => Show::AfterHalfClose,
                Some(other) => bail!("unknown way to show: {other}"),
            },
        },
        conn => {
            let hold = conn.ends_with('&');
            let conn = conn.trim_end_matches('&').to_owned();
            let within_ms = |default| -> anyhow::Result<u64> {
                words
                    .get(2)
                    .map_or(Ok(default), |ms| Ok(ms.parse::<u64>()?))
            };
            match word(&words, 1)? {
                "drop" => Action::Drop { conn },
                "await-close" => Action::AwaitClose {
                    conn,
                    within_ms: within_ms(5000)?,
                },
                "await-frame" => Action::AwaitFrame {
                    conn,
                    within_ms: within_ms(5000)?,
                },
                _ => Action::Send {
                    conn,
                    hold,
                    what: words.split_off(1),
                },
            }
        }
    };
    Ok(Step {
        text: line.into(),
        action,
        unordered,
        zabd: None,
    })
}

/// The word at `index`.
pub(crate) fn word(words: &[String], index: usize) -> anyhow::Result<&str> {
    words
        .get(index)
        .map(String::as_str)
        .with_context(|| format!("word {} is missing in {words:?}", index + 1))
}

/// The bytes that a word stands for.
pub(crate) fn unescape(word: &str) -> anyhow::Result<Vec<u8>> {
    if word == "\"\"" {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('s') {
            bytes.push(b' ');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('x') {
            let digits = tail.get(..2).context("two hexadecimal digits")?;
            bytes.push(u8::from_str_radix(digits, 16)?);
            rest = &tail[2..];
        } else if let Some(tail) = rest.strip_prefix("u{") {
            let (digits, tail) = tail.split_once('}').context("a closing brace")?;
            let character = char::from_u32(u32::from_str_radix(digits, 16)?)
                .context("the number of a character")?;
            bytes.extend_from_slice(character.to_string().as_bytes());
            rest = tail;
        } else {
            bail!("unknown escape in {word}");
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// As [`unescape`], where `null` is none and `fill:N` is N bytes.
pub(crate) fn optional_bytes(word: &str) -> anyhow::Result<Option<Vec<u8>>> {
    if word == "null" {
        return Ok(None);
    }
    if let Some(length) = word.strip_prefix("fill:") {
        return Ok(Some(vec![b'x'; length.parse()?]));
    }
    unescape(word).map(Some)
}

/// Bytes written in hexadecimal; dots may separate groups, and a dash alone is none.
pub(crate) fn hexadecimal(word: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<char> = word.chars().filter(|c| *c != '.' && *c != '-').collect();
    ensure!(
        digits.len().is_multiple_of(2),
        "an odd number of hexadecimal digits"
    );
    digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(&String::from_iter(pair), 16)?))
        .collect()
}
