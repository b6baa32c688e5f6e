//! `zabd snapshot`: snapshots printed, checked, compared, summed up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::snapshot::{List, Loaded, Node};
use super::{Form, InspectError, Verdict};
use crate::state::tree::Owner;
use crate::utc;

/// What to do with snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotCommand {
    /// Print sessions and nodes, with their data if it is wanted.
    Print {
        /// Which.
        path: PathBuf,
        /// Whether to print data, too.
        data: bool,
    },
    /// Read everything, and say whether it is sound.
    Check {
        /// Which.
        path: PathBuf,
    },
    /// Say what differs between two.
    Compare {
        /// One.
        left: PathBuf,
        /// The other one.
        right: PathBuf,
    },
    /// Count, and measure subtrees.
    Summary {
        /// Which.
        path: PathBuf,
        /// How many levels of subtrees to show.
        depth: usize,
    },
}

/// Carries it out.
///
/// # Errors
/// Everything in [`InspectError`].
pub fn run_snapshot(
    command: &SnapshotCommand,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    match command {
        SnapshotCommand::Print { path, data } => print(&Loaded::read(path)?, *data, form, out),
        SnapshotCommand::Check { path } => match Loaded::read(path) {
            Ok(loaded) => check(&loaded, form, out),
            Err(problem) if problem.is_damage() => {
                let words = problem.to_string();
                match form {
                    Form::Text => writeln!(out, "damaged: {words}")?,
                    Form::Json => {
                        writeln!(out, "{}", json!({"sound": false, "findings": [words]}))?
                    }
                }
                Ok(Verdict::Wrong)
            }
            Err(problem) => Err(problem),
        },
        SnapshotCommand::Compare { left, right } => {
            compare(&Loaded::read(left)?, &Loaded::read(right)?, form, out)
        }
        SnapshotCommand::Summary { path, depth } => {
            summary(&Loaded::read(path)?, *depth, form, out)
        }
    }
}

fn print(
    loaded: &Loaded,
    data: bool,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    if form == Form::Json {
        // One node a line, so that large ones can be read piece by piece.
        let head = head_json(loaded);
        writeln!(out, "{{\"snapshot\":{head},\"sessions\":[")?;
        lines(loaded.sessions.iter().map(|(session, timeout_ms)| {
            json!({"session": session.to_string(), "timeoutMs": timeout_ms})
        }), out)?;
        writeln!(out, "],\"nodes\":[")?;
        lines(
            loaded
                .nodes
                .iter()
                .map(|(path, node)| node_json(path, node, data)),
            out,
        )?;
        writeln!(out, "]}}")?;
        return Ok(Verdict::Sound);
    }
    head_text(loaded, out)?;
    writeln!(out, "\n{} sessions", loaded.sessions.len())?;
    for (session, timeout_ms) in &loaded.sessions {
        writeln!(out, "{session} timeout {timeout_ms} ms")?;
    }
    writeln!(out, "\n{} nodes", loaded.nodes.len())?;
    for (path, node) in &loaded.nodes {
        node_text(path, node, data, out)?;
    }
    Ok(Verdict::Sound)
}

fn lines(values: impl Iterator<Item = Value>, out: &mut dyn Write) -> Result<(), InspectError> {
    for (place, value) in values.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        writeln!(out, "{comma}{value}")?;
    }
    Ok(())
}

fn head_json(loaded: &Loaded) -> Value {
    json!({
        "path": loaded.path.to_string_lossy(),
        "zxid": loaded.zxid.to_string(),
        "end": loaded.end.map(|end| end.to_string()),
        "exact": loaded.is_exact(),
        "digest": format!("{:x}", loaded.digest()),
        "toldDigest": loaded.told.map(|(zxid, digest)| json!({"zxid": zxid.to_string(), "digest": format!("{digest:x}")})),
    })
}

fn head_text(loaded: &Loaded, out: &mut dyn Write) -> Result<(), InspectError> {
    writeln!(out, "{}", loaded.path.display())?;
    match loaded.end {
        Some(_) if loaded.is_exact() => writeln!(out, "as of {}", loaded.zxid)?,
        Some(end) => writeln!(
            out,
            "as of {}, with parts of what came up to {end}",
            loaded.zxid
        )?,
        None => writeln!(
            out,
            "as of {}, with parts of what came after; how much is not told",
            loaded.zxid
        )?,
    }
    writeln!(out, "digest {:x}", loaded.digest())?;
    Ok(())
}

fn acl_text(list: &List) -> String {
    match list {
        List::Open => "world:anyone:31".to_owned(),
        List::Missing(number) => format!("missing ({number})"),
        List::Of(acl) => {
            let text = |text: &Option<jute_codec::Text>| text.as_deref().unwrap_or("").to_owned();
            let entries: Vec<_> = acl
                .iter()
                .map(|entry| {
                    format!(
                        "{}:{}:{}",
                        text(&entry.id.scheme),
                        text(&entry.id.id),
                        entry.perms
                    )
                })
                .collect();
            entries.join(",")
        }
    }
}

fn node_json(path: &str, node: &Node, data: bool) -> Value {
    let stat = &node.stat;
    let mut value = json!({
        "path": path,
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": format!("{:#x}", stat.ephemeral_owner),
        "acl": acl_text(&node.acl),
        "dataLength": node.data.as_ref().map(|data| data.len()),
    });
    if data {
        value["data"] = json!(node.data.as_ref().map(|data| STANDARD.encode(data)));
    }
    value
}

fn node_text(path: &str, node: &Node, data: bool, out: &mut dyn Write) -> Result<(), InspectError> {
    let stat = &node.stat;
    writeln!(out, "{path}")?;
    writeln!(out, "  cZxid = {}", stat.czxid)?;
    writeln!(out, "  ctime = {}", utc::text(stat.ctime))?;
    writeln!(out, "  mZxid = {}", stat.mzxid)?;
    writeln!(out, "  mtime = {}", utc::text(stat.mtime))?;
    writeln!(out, "  pZxid = {}", stat.pzxid)?;
    writeln!(out, "  cversion = {}", stat.cversion)?;
    writeln!(out, "  dataVersion = {}", stat.version)?;
    writeln!(out, "  aclVersion = {}", stat.aversion)?;
    writeln!(out, "  ephemeralOwner = {:#x}", stat.ephemeral_owner)?;
    writeln!(out, "  acl = {}", acl_text(&node.acl))?;
    match &node.data {
        None => writeln!(out, "  no data")?,
        Some(bytes) if data => writeln!(out, "  data = {}", STANDARD.encode(bytes))?,
        Some(bytes) => writeln!(out, "  dataLength = {}", bytes.len())?,
    }
    Ok(())
}

/// What is not as it should be in a snapshot that could be read.
fn findings(loaded: &Loaded) -> Vec<String> {
    let mut findings: Vec<_> = loaded
        .orphans()
        .map(|path| format!("{path} has no parent"))
        .collect();
    if let Some((zxid, told)) = loaded.told
        && zxid == loaded.zxid
        && loaded.is_exact()
        && told != loaded.digest()
    {
        findings.push(format!(
            "the nodes come to the digest {:x}, and the snapshot says {told:x}",
            loaded.digest()
        ));
    }
    if loaded.is_exact() {
        let missing = loaded
            .nodes
            .iter()
            .filter_map(|(path, node)| match node.acl {
                List::Missing(number) => Some(format!(
                    "{path} names access control list {number}, which is not there"
                )),
                _ => None,
            });
        findings.extend(missing);
    }
    findings
}

fn check(loaded: &Loaded, form: Form, out: &mut dyn Write) -> Result<Verdict, InspectError> {
    let findings = findings(loaded);
    match form {
        Form::Json => {
            let value = json!({
                "snapshot": head_json(loaded), "nodes": loaded.nodes.len(), "sessions": loaded.sessions.len(),
                "sound": findings.is_empty(), "findings": findings,
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            head_text(loaded, out)?;
            writeln!(
                out,
                "{} nodes, {} sessions",
                loaded.nodes.len(),
                loaded.sessions.len()
            )?;
            for finding in &findings {
                writeln!(out, "{finding}")?;
            }
            writeln!(
                out,
                "{}",
                if findings.is_empty() {
                    "sound"
                } else {
                    "not sound"
                }
            )?;
        }
    }
    Ok(verdict(findings.is_empty()))
}

const fn verdict(is_sound: bool) -> Verdict {
    if is_sound {
        Verdict::Sound
    } else {
        Verdict::Wrong
    }
}

/// What every server keeps for itself.
fn differs_by_server(path: &str) -> bool {
    path == "/zookeeper/config" || path.ends_with("/zookeeper_stats")
}

fn compare(
    left: &Loaded,
    right: &Loaded,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    let mut differences = Vec::new();
    let paths: BTreeSet<_> = left.nodes.keys().chain(right.nodes.keys()).collect();
    for path in paths {
        match (left.nodes.get(path), right.nodes.get(path)) {
            (Some(_), None) => differences.push((path.clone(), "only on the left".to_owned())),
            (None, Some(_)) => differences.push((path.clone(), "only on the right".to_owned())),
            (Some(ours), Some(theirs)) if ours != theirs && !differs_by_server(path) => {
                differences.push((path.clone(), fields(ours, theirs)));
            }
            _ => {}
        }
    }
    let sessions: BTreeSet<_> = left.sessions.keys().chain(right.sessions.keys()).collect();
    for session in sessions {
        let of = |loaded: &Loaded| loaded.sessions.get(session).copied();
        if of(left) != of(right) {
            let text = |timeout: Option<i32>| {
                timeout.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"))
            };
            let words = format!("timeout {} | {}", text(of(left)), text(of(right)));
            differences.push((format!("session {session}"), words));
        }
    }
    let exact = left.is_exact() && right.is_exact();
    match form {
        Form::Json => {
            let list: Vec<_> = differences
                .iter()
                .map(|(what, difference)| json!({"what": what, "difference": difference}))
                .collect();
            let value = json!({
                "left": head_json(left), "right": head_json(right), "same": differences.is_empty(), "differences": list,
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            head_text(left, out)?;
            head_text(right, out)?;
            for (what, difference) in &differences {
                writeln!(out, "{what}: {difference}")?;
            }
            if !exact {
                writeln!(
                    out,
                    "not both are of one moment: what changed while they were written may differ"
                )?;
            }
            match differences.len() {
                0 => writeln!(
                    out,
                    "the same: {} nodes, {} sessions",
                    left.nodes.len(),
                    left.sessions.len()
                )?,
                count => writeln!(out, "{count} differences")?,
            }
        }
    }
    Ok(verdict(differences.is_empty()))
}

fn fields(left: &Node, right: &Node) -> String {
    let mut fields = Vec::new();
    let mut field = |name: &str, left: String, right: String| {
        if left != right {
            fields.push(format!("{name} {left} | {right}"));
        }
    };
    let data = |node: &Node| match &node.data {
        None => "none".to_owned(),
        Some(data) => format!("{} bytes, crc {:08x}", data.len(), crc32fast::hash(data)),
    };
    field("data", data(left), data(right));
    field("acl", acl_text(&left.acl), acl_text(&right.acl));
    let (ours, theirs) = (&left.stat, &right.stat);
    for (name, left, right) in [
        ("czxid", ours.czxid, theirs.czxid),
        ("mzxid", ours.mzxid, theirs.mzxid),
        ("pzxid", ours.pzxid, theirs.pzxid),
    ] {
        field(name, left.to_string(), right.to_string());
    }
    for (name, left, right) in [
        ("ctime", ours.ctime, theirs.ctime),
        ("mtime", ours.mtime, theirs.mtime),
        ("version", ours.version.into(), theirs.version.into()),
        ("cversion", ours.cversion.into(), theirs.cversion.into()),
        ("aversion", ours.aversion.into(), theirs.aversion.into()),
        (
            "ephemeralOwner",
            ours.ephemeral_owner,
            theirs.ephemeral_owner,
        ),
    ] {
        field(name, left.to_string(), right.to_string());
    }
    fields.join(", ")
}

#[derive(Default)]
struct Subtree {
    nodes: usize,
    bytes: usize,
}

fn summary(
    loaded: &Loaded,
    depth: usize,
    form: Form,
    out: &mut dyn Write,
) -> Result<Verdict, InspectError> {
    let mut subtrees = BTreeMap::<String, Subtree>::new();
    let (mut ephemerals, mut containers, mut ttls, mut deepest) = (0, 0, 0, 0);
    let mut lists = BTreeSet::new();
    for (path, node) in &loaded.nodes {
        match Owner::of(node.stat.ephemeral_owner, true) {
            Owner::Persistent => {}
            Owner::Container => containers += 1,
            Owner::Ttl(_) => ttls += 1,
            Owner::Session(_) => ephemerals += 1,
        }
        lists.insert(acl_text(&node.acl));
        let bytes = node.data.as_ref().map_or(0, |data| data.len());
        let names = path.split('/').filter(|name| !name.is_empty());
        let level = names.clone().count();
        deepest = deepest.max(level);
        let mut above = String::new();
        let within = std::iter::once(String::from("/")).chain(names.map(|name| {
            above = format!("{above}/{name}");
            above.clone()
        }));
        for top in within.take(depth + 1) {
            let subtree = subtrees.entry(top).or_default();
            subtree.nodes += 1;
            subtree.bytes += bytes;
        }
    }
    match form {
        Form::Json => {
            let list: Vec<_> = subtrees
                .iter()
                .map(|(path, subtree)| json!({"path": path, "nodes": subtree.nodes, "dataBytes": subtree.bytes}))
                .collect();
            let value = json!({
                "snapshot": head_json(loaded), "nodes": loaded.nodes.len(), "sessions": loaded.sessions.len(),
                "ephemerals": ephemerals, "containers": containers, "ttls": ttls, "acls": lists.len(),
                "deepest": deepest, "subtrees": list,
            });
            writeln!(out, "{value}")?;
        }
        Form::Text => {
            head_text(loaded, out)?;
            writeln!(
                out,
                "{} nodes ({ephemerals} ephemeral, {containers} containers, {ttls} with a TTL), at most {deepest} deep; {} \
                 sessions, {} access control lists",
                loaded.nodes.len(),
                loaded.sessions.len(),
                lists.len()
            )?;
            writeln!(out, "{:>10} {:>14}  subtree", "nodes", "data bytes")?;
            for (path, subtree) in &subtrees {
                writeln!(out, "{:>10} {:>14}  {path}", subtree.nodes, subtree.bytes)?;
            }
        }
    }
    Ok(Verdict::Sound)
}
