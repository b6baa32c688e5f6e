//! `zabd log`: transaction logs printed, checked, compared, summed up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;
use jute_codec::txn::{Txn, TxnEntry};
use serde_json::{Value, json};

use super::log::{Logged, Source};
use super::{Form, InspectError, Verdict};
use crate::utc;

/// What to do with logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogCommand {
    /// Print transactions, one a line.
    Print {
        /// Which log.
        path: PathBuf,
        /// The first one.
        from: Option<Zxid>,
        /// The last one.
        to: Option<Zxid>,
    },
    /// Read everything, and say whether it is sound.
    Check {
        /// Which log.
        path: PathBuf,
    },
    /// Say where two begin to differ, as far as both have the same transactions.
    Compare {
        /// One.
        left: PathBuf,
        /// The other one.
        right: PathBuf,
    },
    /// Count.
    Summary {
        /// Which log.
        path: PathBuf,
    },
}

/// Carries it out.
///
/// # Errors
/// Everything in [`InspectError`].
pub fn run_log(
    command: &LogCommand,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    match command {
        LogCommand::Print { path, from, to } => {
            Source::find(path)?.each(&mut |logged| {
                let zxid = logged.entry.header.zxid;
                if from.is_some_and(|from| zxid < from) || to.is_some_and(|to| zxid > to) {
                    return Ok(());
                }
                match form {
                    Form::Text => writeln!(out, "{}", text(&logged.entry))?,
                    Form::Json => writeln!(out, "{}", value(&logged))?,
                }
                Ok(())
            })?;
            Ok(Verdict::Sound)
        }
        LogCommand::Check { path } => check(path, form, out),
        LogCommand::Compare { left, right } => compare(left, right, form, out),
        LogCommand::Summary { path } => summary(path, form, out),
    }
}

#[derive(Default)]
struct Count {
    transactions: u64,
    bytes: u64,
    first: Option<Zxid>,
    last: Option<Zxid>,
    times: Option<(i64, i64)>,
    kinds: BTreeMap<String, u64>,
    sessions: BTreeSet<i64>,
    with_digest: u64,
}

impl Count {
    fn take(&mut self, logged: &Logged) {
        let TxnEntry {
            header,
            txn,
            digest,
        } = &logged.entry;
        self.transactions += 1;
        self.bytes += logged.bytes as u64;
        self.first = self.first.or(Some(header.zxid));
        self.last = Some(header.zxid);
        let (from, to) = self.times.unwrap_or((header.time, header.time));
        self.times = Some((from.min(header.time), to.max(header.time)));
        *self.kinds.entry(kind(txn)).or_default() += 1;
        self.sessions.insert(header.client_id.0);
        self.with_digest += u64::from(digest.is_some());
    }

    fn zxids(&self) -> String {
        match (self.first, self.last) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "none".to_owned(),
        }
    }
}

fn check(path: &Path, form: Form, out: &mut dyn Write) -> Result<Verdict, InspectError> {
    let mut count = Count::default();
    let read = Source::find(path)?.each(&mut |logged| {
        count.take(&logged);
        Ok(())
    });
    let finding = match read {
        Ok(()) => None,
        Err(problem) if problem.is_damage() => Some(problem.to_string()),
        Err(problem) => return Err(problem),
    };
    match form {
        Form::Json => {
            let value = json!({
                "sound": finding.is_none(), "findings": finding.iter().collect::<Vec<_>>(),
                "transactions": count.transactions, "first": count.first.map(|zxid| zxid.to_string()),
                "last": count.last.map(|zxid| zxid.to_string()),
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            writeln!(
                out,
                "{} transactions: {}",
                count.transactions,
                count.zxids()
            )?;
            match &finding {
                None => writeln!(out, "sound")?,
                Some(words) => writeln!(out, "{words}\nnot sound")?,
            }
        }
    }
    Ok(if finding.is_none() {
        Verdict::Sound
    } else {
        Verdict::Wrong
    })
}

fn summary(path: &Path, form: Form, out: &mut dyn Write) -> Result<Verdict, InspectError> {
    let mut count = Count::default();
    Source::find(path)?.each(&mut |logged| {
        count.take(&logged);
        Ok(())
    })?;
    match form {
        Form::Json => {
            let value = json!({
                "transactions": count.transactions, "bytes": count.bytes, "sessions": count.sessions.len(),
                "first": count.first.map(|zxid| zxid.to_string()), "last": count.last.map(|zxid| zxid.to_string()),
                "from": count.times.map(|times| times.0), "to": count.times.map(|times| times.1),
                "withDigest": count.with_digest, "kinds": count.kinds,
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            writeln!(
                out,
                "{} transactions ({} with a digest), {} bytes, {} sessions: {}",
                count.transactions,
                count.with_digest,
                count.bytes,
                count.sessions.len(),
                count.zxids()
            )?;
            if let Some((from, to)) = count.times {
                writeln!(out, "from {} to {}", utc::text(from), utc::text(to))?;
            }
            for (kind, count) in &count.kinds {
                writeln!(out, "{count:>10}  {kind}")?;
            }
        }
    }
    Ok(Verdict::Sound)
}

fn compare(
    left: &Path,
    right: &Path,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    let (left, right) = (Source::find(left)?, Source::find(right)?);
    let (mut left, mut right) = (left.open()?, right.open()?);
    let (mut ours, mut theirs) = (left.next()?, right.next()?);
    let (mut same, mut only) = (0u64, [0u64; 2]);
    let mut first = None;
    loop {
        let zxid = |side: &Option<Logged>| side.as_ref().map(|logged| logged.entry.header.zxid);
        let (at_left, at_right) = (zxid(&ours), zxid(&theirs));
        match (at_left, at_right) {
            (None, None) => break,
            (Some(left_zxid), right_zxid) if right_zxid.is_none_or(|right| left_zxid < right) => {
                only[0] += 1;
                ours = left.next()?;
                continue;
            }
            (left_zxid, _) if left_zxid != at_right => {
                only[1] += 1;
                theirs = right.next()?;
                continue;
            }
            _ => {}
        }
        if let (Some(one), Some(other)) = (&ours, &theirs) {
            // Servers keep digests or not, as they are configured.
            let is_same =
                (&one.entry.header, &one.entry.txn) == (&other.entry.header, &other.entry.txn);
            if is_same {
                same += 1;
            } else if first.is_none() {
                first = Some((text(&one.entry), text(&other.entry)));
            }
        }
        ours = left.next()?;
        theirs = right.next()?;
    }
    match form {
        Form::Json => {
            let difference = first
                .as_ref()
                .map(|(left, right)| json!({"left": left, "right": right}));
            let value = json!({
                "same": first.is_none(), "equal": same, "onlyLeft": only[0], "onlyRight": only[1], "firstDifference": difference,
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            writeln!(
                out,
                "{same} transactions are the same; {} only on the left, {} only on the right",
                only[0], only[1]
            )?;
            if let Some((left, right)) = &first {
                writeln!(out, "the first that differs:\n< {left}\n> {right}")?;
            }
        }
    }
    Ok(if first.is_none() {
        Verdict::Sound
    } else {
        Verdict::Wrong
    })
}

fn kind(txn: &Txn) -> String {
    let name = format!("{:?}", txn.op());
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// The path that a transaction is about, or what else it says.
fn about(txn: &Txn) -> String {
    let length = |data: &Option<bytes::Bytes>| match data {
        None => "no data".to_owned(),
        Some(data) => format!("{} bytes", data.len()),
    };
    match txn {
        Txn::Create(txn) | Txn::Create2(txn) => {
            let kind = if txn.ephemeral { " ephemeral" } else { "" };
            format!("{} {}{kind}", txn.path, length(&txn.data))
        }
        Txn::CreateContainer(txn) => format!("{} {}", txn.path, length(&txn.data)),
        Txn::CreateTtl(txn) => format!("{} {} ttl {} ms", txn.path, length(&txn.data), txn.ttl_ms),
        Txn::Delete(txn) | Txn::DeleteContainer(txn) => txn.path.to_string(),
        Txn::SetData(txn) | Txn::Reconfig(txn) => {
            format!("{} {} version {}", txn.path, length(&txn.data), txn.version)
        }
        Txn::SetAcl(txn) => format!("{} version {}", txn.path, txn.version),
        Txn::Check(txn) => format!("{} version {}", txn.path, txn.version),
        Txn::CreateSession { timeout_ms } => format!("timeout {timeout_ms} ms"),
        Txn::CloseSession(None) => String::new(),
        Txn::CloseSession(Some(paths)) => {
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            paths.join(" ")
        }
        Txn::Error(code) => code.to_string(),
        Txn::Multi(txns) => {
            let parts: Vec<_> = txns
                .iter()
                .map(|txn| format!("{} {}", kind(txn), about(txn)))
                .collect();
            format!("[{}]", parts.join("; "))
        }
    }
}

fn text(entry: &TxnEntry) -> String {
    let header = &entry.header;
    let digest = entry.digest.as_ref().map_or_else(String::new, |digest| {
        format!(" digest {:x}", digest.tree_digest)
    });
    format!(
        "{} session {} cxid {:#x} zxid {} {} {}{digest}",
        utc::text(header.time),
        header.client_id,
        header.cxid,
        header.zxid,
        kind(&entry.txn),
        about(&entry.txn)
    )
}

fn value(logged: &Logged) -> Value {
    let header = &logged.entry.header;
    let digest = logged.entry.digest.as_ref();
    let place = logged.place.as_ref();
    json!({
        "zxid": header.zxid.to_string(),
        "time": header.time,
        "session": header.client_id.to_string(),
        "cxid": header.cxid,
        "type": kind(&logged.entry.txn),
        "about": about(&logged.entry.txn),
        "digest": digest.map(|digest| format!("{:x}", digest.tree_digest)),
        "bytes": logged.bytes,
        "file": place.map(|(path, _)| path.to_string_lossy()),
        "offset": place.map(|(_, offset)| offset),
    })
}
