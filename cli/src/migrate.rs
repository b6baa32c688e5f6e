//! `zab migrate`: what a move between Apache ZooKeeper and zabd, server by server, has to know.
//!
//! `status` asks every member by four-letter words (`srvr`, `hash`) what it runs, what it is, how far it is, and compares the digests of
//! their trees at transactions that several have noted: what differed and agrees since is a remark, and nothing is in the way. `check` does that, and looks for what stands in the way: versions, settings
//! that zabd has not got (`zabd check-config`), words that are not allowed.

mod digests;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::digests::{Comparison, Digests};
use crate::client::ConnectString;
use crate::exit;
use crate::forward;

/// The command's name.
pub(crate) const COMMAND: &str = "migrate";

pub(crate) const USAGE: &str = "usage: zab migrate status HOST:PORT[,HOST:PORT...] [--json]\n       zab migrate check \
                     HOST:PORT[,HOST:PORT...] [--config ZOO.CFG]... [--json]";

const PATIENCE: Duration = Duration::from_secs(5);
/// `hash` has 1024 lines at most.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
struct Wish {
    check: bool,
    servers: String,
    configs: Vec<String>,
    json: bool,
}

/// What a member says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Member {
    address: String,
    version: Option<String>,
    mode: Option<String>,
    zxid: Option<u64>,
    nodes: Option<u64>,
    digests: Digests,
    secure_port: bool,
    problems: Vec<String>,
    remarks: Vec<String>,
}

/// What is to be said of the members.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// What is in the way.
    findings: Vec<String>,
    /// What is worth knowing, and in nobody's way.
    remarks: Vec<String>,
}

/// Carries it out; the exit code: 0 when nothing is in the way, 1 when something is, or that of words that say nothing.
///
/// # Errors
/// When nothing can be printed.
pub(crate) fn run(words: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let words: Vec<_> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let wish = parse(&words).and_then(|wish| {
        let servers = ConnectString::parse(&wish.servers).map_err(|problem| problem.to_string());
        servers.map(|servers| (wish, servers.servers))
    });
    let (wish, servers) = match wish {
        Ok(parsed) => parsed,
        Err(problem) => {
            writeln!(err, "{problem}")?;
            return Ok(exit::USAGE);
        }
    };
    let members: Vec<_> = servers
        .iter()
        .map(|server| ask(&server.to_string()))
        .collect();
    let compared = compared(&members);
    let mut said = Said {
        findings: findings(&members, &compared),
        remarks: remarks(&members, &compared),
    };
    if wish.check {
        said.findings.extend(obstacles(&members));
        for config in &wish.configs {
            said.take_config(check_config(config));
        }
    }
    if wish.json {
        let value = json!({
            "members": members.iter().map(Member::json).collect::<Vec<_>>(),
            "digestsAgreeAt": compared.agreed.map(|zxid| format!("{zxid:#x}")),
            "findings": said.findings,
            "remarks": said.remarks,
        });
        writeln!(out, "{value}")?;
    } else {
        print(&members, &compared, &said, out)?;
    }
    Ok(u8::from(!said.findings.is_empty()))
}

fn parse(words: &[String]) -> Result<Wish, String> {
    let usage = || USAGE.to_owned();
    let mut words = words.iter();
    let check = match words.next().map(String::as_str) {
        Some("check") => true,
        Some("status") => false,
        _ => return Err(usage()),
    };
    let mut wish = Wish {
        check,
        servers: String::new(),
        configs: Vec::new(),
        json: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => wish.json = true,
            "--config" if check => wish.configs.push(words.next().ok_or_else(usage)?.clone()),
            option if option.starts_with('-') => return Err(usage()),
            _ if wish.servers.is_empty() => wish.servers.clone_from(word),
            _ => return Err(usage()),
        }
    }
    if wish.servers.is_empty() {
        return Err(usage());
    }
    Ok(wish)
}

fn ask(address: &str) -> Member {
    let mut member = Member {
        address: address.to_owned(),
        ..Member::default()
    };
    match word(address, "srvr") {
        Ok(answer) => member.take_srvr(&answer),
        Err(problem) => {
            member.problems.push(format!("does not answer: {problem}"));
            return member;
        }
    }
    match word(address, "hash") {
        Ok(answer) => member.take_hash(&answer),
        Err(problem) => member.problems.push(format!("hash: {problem}")),
    }
    if let Ok(answer) = word(address, "conf") {
        member.secure_port = answer
            .lines()
            .filter_map(|line| line.strip_prefix("secureClientPort="))
            .any(|port| port.trim() != "-1" && !port.trim().is_empty());
    }
    member
}

fn word(address: &str, word: &str) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Err(problem) => last = problem,
            Ok(mut stream) => {
                let left = deadline.saturating_duration_since(Instant::now());
                stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                stream.write_all(word.as_bytes())?;
                let mut answer = Vec::new();
                stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
        }
    }
    Err(last)
}

impl Said {
    /// Takes the lines of `zabd check-config`: its notes are remarks.
    fn take_config(&mut self, lines: Vec<String>) {
        let (notes, others): (Vec<_>, Vec<_>) = lines
            .into_iter()
            .partition(|line| line.contains(": note: "));
        self.remarks.extend(notes);
        self.findings.extend(others);
    }
}

impl Member {
    fn take_srvr(&mut self, answer: &str) {
        for line in answer.lines() {
            let Some((name, value)) = line.split_once(": ") else {
                continue;
            };
            match name {
                "Zookeeper version" => {
                    let version = value.split(',').next().unwrap_or(value);
                    self.version = Some(version.trim().to_owned());
                }
                "Mode" => self.mode = Some(value.to_owned()),
                "Zxid" => self.zxid = value.strip_prefix("0x").and_then(hex),
                "Node count" => self.nodes = value.parse().ok(),
                _ => {}
            }
        }
        if self.mode.is_none() {
            let first = answer.lines().next().unwrap_or("says nothing");
            self.problems.push(first.to_owned());
        }
    }

    fn take_hash(&mut self, answer: &str) {
        if answer.contains("not in the whitelist") {
            let words = "its digests are not compared: hash is not in its 4lw.commands.whitelist";
            self.remarks.push(words.to_owned());
        }
        self.digests = answer
            .lines()
            .filter_map(|line| {
                let (zxid, digest) = line.split_once(": ")?;
                Some((hex(zxid)?, digest.parse().ok()?))
            })
            .collect();
    }

    fn is_zabd(&self) -> bool {
        self.version
            .as_ref()
            .is_some_and(|version| version.contains("-zabd"))
    }

    fn serves(&self) -> bool {
        self.mode.is_some()
    }

    fn json(&self) -> Value {
        json!({
            "address": self.address, "version": self.version, "zabd": self.is_zabd(), "mode": self.mode,
            "zxid": self.zxid.map(|zxid| format!("{zxid:#x}")), "nodes": self.nodes, "problems": self.problems,
            "remarks": self.remarks,
        })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// What their digests say of the members' trees.
fn compared(members: &[Member]) -> Comparison {
    let servers: Vec<_> = members
        .iter()
        .map(|member| (member.address.as_str(), &member.digests))
        .collect();
    digests::compare(&servers)
}

/// What is wrong now.
fn findings(members: &[Member], compared: &Comparison) -> Vec<String> {
    let mut findings = by_member(members, |member| &member.problems);
    findings.extend_from_slice(&compared.differ);
    if members.len() > 1 {
        let leaders = members
            .iter()
            .filter(|member| member.mode.as_deref() == Some("leader"))
            .count();
        if leaders != 1 {
            findings.push(format!("{leaders} of them say that they lead"));
        }
    }
    findings
}

/// What is worth knowing now.
fn remarks(members: &[Member], compared: &Comparison) -> Vec<String> {
    let mut remarks = by_member(members, |member| &member.remarks);
    remarks.extend_from_slice(&compared.differed);
    remarks
}

fn by_member(members: &[Member], said: impl Fn(&Member) -> &Vec<String>) -> Vec<String> {
    let of = |member| said(member).iter().map(move |words| (member, words));
    let all = members.iter().flat_map(of);
    all.map(|(member, words)| format!("{}: {words}", member.address))
        .collect()
}

/// What a move would trip over.
fn obstacles(members: &[Member]) -> Vec<String> {
    let mut findings = Vec::new();
    for member in members
        .iter()
        .filter(|member| member.serves() && !member.is_zabd())
    {
        let version = member.version.as_deref().unwrap_or("of an unknown version");
        if !(version.starts_with("3.8.") || version.starts_with("3.9.")) {
            findings.push(format!(
                "{}: ZooKeeper {version}; the move is made from 3.8 and 3.9: upgrade it first",
                member.address
            ));
        }
        if member.secure_port {
            findings.push(format!(
                "{}: has a secureClientPort; zabd has no TLS yet",
                member.address
            ));
        }
    }
    let absent: Vec<_> = members
        .iter()
        .filter(|member| !member.serves())
        .map(|member| member.address.as_str())
        .collect();
    if !absent.is_empty() {
        findings.push(format!(
            "move no server while others do not serve: {}",
            absent.join(", ")
        ));
    }
    findings
}

/// What `zabd check-config` finds in a file.
fn check_config(path: &str) -> Vec<String> {
    let program = forward::program();
    match Command::new(&program).args(["check-config", path]).output() {
        Err(problem) => vec![format!(
            "{path}: {} cannot be run: {problem}",
            program.display()
        )],
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            words.lines().map(str::to_owned).collect()
        }
    }
}

fn print(
    members: &[Member],
    compared: &Comparison,
    said: &Said,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    writeln!(
        out,
        "{:<24} {:<9} {:<20} {:<12} {:>18} {:>10}",
        "server", "software", "version", "mode", "zxid", "nodes"
    )?;
    for member in members {
        let software = match (member.serves(), member.is_zabd()) {
            (false, _) => "-",
            (true, true) => "zabd",
            (true, false) => "ZooKeeper",
        };
        let version = text(&member.version);
        // The hash of Java's sources says nothing here.
        let version = version
            .split('-')
            .take(if member.is_zabd() { 3 } else { 1 })
            .collect::<Vec<_>>();
        writeln!(
            out,
            "{:<24} {software:<9} {:<20} {:<12} {:>18} {:>10}",
            member.address,
            version.join("-"),
            text(&member.mode),
            member
                .zxid
                .map_or_else(|| "-".to_owned(), |zxid| format!("{zxid:#x}")),
            member
                .nodes
                .map_or_else(|| "-".to_owned(), |nodes| nodes.to_string()),
        )?;
    }
    match compared.agreed {
        Some(zxid) => writeln!(out, "digests agree after transaction {zxid:#x}")?,
        None => writeln!(
            out,
            "no transaction of which two servers tell the digest: they note one in 128 since their start"
        )?,
    }
    for remark in &said.remarks {
        writeln!(out, "- {remark}")?;
    }
    for finding in &said.findings {
        writeln!(out, "! {finding}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(address: &str, srvr: &str, hash: &str) -> Member {
        let mut member = Member {
            address: address.to_owned(),
            ..Member::default()
        };
        member.take_srvr(srvr);
        member.take_hash(hash);
        member
    }

    const JAVA: &str = "Zookeeper version: 3.9.5-abc, built on 2026-01-01\nZxid: 0x100000081\nMode: follower\nNode count: 5\n";
    const ZABD: &str = "Zookeeper version: 3.9.5-zabd-0.1.0, built on x\nZxid: 0x100000081\nMode: leader\nNode count: 5\n";

    #[test]
    fn members_that_agree_have_nothing_in_the_way() {
        let members = [
            member("a:1", JAVA, "100000080: -12\n100000100: 7\n"),
            member("b:1", ZABD, "100000080: -12\n"),
        ];
        let compared = compared(&members);
        assert!(findings(&members, &compared).is_empty() && obstacles(&members).is_empty());
        assert_eq!(compared.agreed, Some(0x1_0000_0080));
        assert!(members[1].is_zabd() && !members[0].is_zabd());
        assert_eq!(
            (members[0].zxid, members[0].nodes),
            (Some(0x1_0000_0081), Some(5))
        );
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let members = [
            member("a:1", &JAVA.replace("3.9.5", "3.4.14"), "80: 1\n"),
            member("b:1", JAVA, "80: 2\n"),
            member(
                "c:1",
                "This ZooKeeper instance is not currently serving requests\n",
                "hash is not executed because it is not in the whitelist.\n",
            ),
        ];
        let compared = compared(&members);
        let said = [
            findings(&members, &compared),
            obstacles(&members),
            remarks(&members, &compared),
        ]
        .concat()
        .join("\n");
        for words in [
            "the trees differ after transaction 0x80",
            "0 of them say",
            "c:1: This ZooKeeper",
            "4lw.commands.whitelist",
            "3.4.14",
            "do not serve: c:1",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(compared.agreed, None);
    }

    #[test]
    fn what_is_in_nobodys_way_is_told_and_is_no_finding() {
        let members = [
            member("a:1", JAVA, "80: 1\n100: 7\n"),
            member("b:1", ZABD, "80: 2\n100: 7\n"),
        ];
        let (compared, mut out) = (compared(&members), Vec::new());
        let mut said = Said {
            findings: findings(&members, &compared),
            remarks: remarks(&members, &compared),
        };
        assert_eq!(said.findings, <[String; 0]>::default());
        said.take_config(vec![
            "zoo.cfg:1: note: x: has no effect: it is always so".to_owned(),
            "zoo.cfg:2: warning: y: is not known and passed over".to_owned(),
        ]);
        print(&members, &compared, &said, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let remark = "digests agree after transaction 0x100\n- the trees differed after transaction 0x80, and agree after 0x100: \
                      a:1 had 1, b:1 had 2\n- zoo.cfg:1: note: x: has no effect: it is always so\n\
                      ! zoo.cfg:2: warning: y: is not known and passed over\n";
        assert!(said.ends_with(remark), "{said}");
    }

    #[test]
    fn words_are_taken_or_the_usage_is_said() {
        let parse = |words: &str| parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let wish = parse("check a:1,b:2 --config zoo.cfg --json").unwrap();
        assert_eq!(
            (wish.check, wish.json, &*wish.servers),
            (true, true, "a:1,b:2")
        );
        assert_eq!(wish.configs, ["zoo.cfg"]);
        for words in [
            "",
            "status",
            "status a:1 b:1",
            "status a:1 --config x",
            "go a:1",
            "check a:1 --config",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
