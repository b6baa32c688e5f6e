//! `load`: a dump back into a tree.
//!
//! The whole input is read and checked before the first node is written.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};

use jute_codec::ErrorCode;
use serde_json::Value;

use super::dump::{END, FORMAT, HEAD, MARK};
use super::file::spool;
use super::human;
use super::node::{Node, absolute};
use super::transfer::{ACLS, EPHEMERALS, MERGE, Manner, Writer};
use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::handle::Watch;
use crate::output::Doc;
use crate::path;
use crate::shell::Shell;

pub(super) const LOAD: Command = Command {
    name: "load",
    syntax: "[--file name] [--merge] [--ephemerals skip|persist] [--acls now|last|open] [--dry-run] path",
    flags: FlagSet::free(&[
        own_valued("file", "Read this file [default: the standard input]"),
        own_switch("dry-run", "Check the input and say what would be written"),
        MERGE,
        EPHEMERALS,
        ACLS,
    ]),
    explains_flags: true,
    run: load,
};

/// The longest line that is taken. A node's data can be as long as a server allows, 1 MiB unless it is set up
/// otherwise.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Lines of a dump, one after the other.
struct Lines<'f> {
    input: BufReader<&'f mut File>,
    name: &'f str,
    number: usize,
}

impl<'f> Lines<'f> {
    fn new(file: &'f mut File, name: &'f str) -> Result<Self, Failure> {
        file.rewind()
            .map_err(|error| Failure::local(format_args!("read {name}"), &error))?;
        Ok(Self {
            input: BufReader::new(file),
            name,
            number: 0,
        })
    }

    fn wrong(&self, why: impl std::fmt::Display) -> Failure {
        let (name, number) = (self.name, self.number);
        Failure::told(
            Kind::Input,
            format!("{name}, line {number}: {why}; nothing was written"),
        )
    }

    fn next(&mut self) -> Result<Option<Value>, Failure> {
        self.number += 1;
        let mut line = String::new();
        let read = self
            .input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_line(&mut line)
            .map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => self.wrong("it is not text"),
                _ => Failure::local(format_args!("read {}", self.name), &error),
            })?;
        if read == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| self.wrong(format_args!("it is not JSON: {error}")))
    }
}

/// What is in a dump.
#[derive(Debug, Default)]
struct Checked {
    nodes: usize,
    bytes: usize,
}

fn load(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let target = arguments.required(0)?;
    path::validate(target)?;
    let manner = Manner::parse(arguments)?;
    let (mut file, name) = match arguments.value("file").filter(|name| *name != "-") {
        Some(name) => {
            let file = File::open(name)
                .map_err(|error| Failure::local(format_args!("open {name}"), &error))?;
            (file, name)
        }
        None => {
            if io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "there is no input: name a file with --file, or send one in",
                ));
            }
            (spool(&mut io::stdin().lock())?, "the standard input")
        }
    };
    let checked = check(&mut Lines::new(&mut file, name)?, target, manner)?;
    // The root is always there.
    if target != "/" && !manner.merge && shell.zk.exists(target, Watch::No)?.is_some() {
        return Err(Failure::told(
            Kind::Conflict,
            format!(
                "{target} exists already; --merge writes over what is there. Nothing was written"
            ),
        ));
    }
    let mut writer = Writer::new(target, manner, Some(checked.nodes));
    if !arguments.has("dry-run") {
        let mut lines = Lines::new(&mut file, name)?;
        write(shell, &mut lines, &mut writer).map_err(|failure| {
            let hint = if failure.is_code(ErrorCode::NoNode) && writer.written() == 0 {
                format!("\nthe parent of {target} must be there")
            } else if failure.is_code(ErrorCode::NoAuth) {
                "\n--acls last sets access control lists when all nodes are there".to_owned()
            } else {
                String::new()
            };
            Failure::told(
                failure.kind(),
                format!(
                    "{failure}{hint}\n{} of {} nodes were written below {target}; run it again with --merge to go on",
                    writer.written(),
                    checked.nodes
                ),
            )
        })?;
    }
    report(shell, target, &writer, &checked, arguments.has("dry-run"))
}

fn report(
    shell: &mut Shell<'_>,
    target: &str,
    writer: &Writer,
    checked: &Checked,
    is_dry: bool,
) -> Result<(), Failure> {
    let (nodes, bytes) = if is_dry {
        (checked.nodes, checked.bytes)
    } else {
        (writer.written(), writer.bytes)
    };
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(target)),
            ("dryRun", Doc::Bool(is_dry)),
            ("nodes", Doc::count(nodes)),
            ("created", Doc::count(writer.created)),
            ("updated", Doc::count(writer.updated)),
            ("skipped", Doc::count(writer.skipped)),
            ("bytes", Doc::count(bytes)),
        ]));
    }
    let s = if nodes == 1 { "" } else { "s" };
    let size = human(bytes as u64);
    if is_dry {
        return shell.say(format_args!(
            "{nodes} node{s} ({size}) would be written below {target}"
        ));
    }
    let mut rest = String::new();
    if writer.updated > 0 {
        rest.push_str(&format!(", {} of them written over", writer.updated));
    }
    if writer.skipped > 0 {
        rest.push_str(&format!(", {} ephemeral left out", writer.skipped));
    }
    shell.say(format_args!(
        "loaded {nodes} node{s} ({size}) below {target}{rest}"
    ))
}

/// Reads a dump from its first line to its last: nothing is missing, and every node stands behind its parent.
fn check(lines: &mut Lines<'_>, target: &str, manner: Manner) -> Result<Checked, Failure> {
    let head = lines.next()?;
    let head = head.ok_or_else(|| lines.wrong("it is empty"))?;
    if head.get(MARK).and_then(Value::as_str) != Some(HEAD) {
        return Err(lines.wrong("it is no dump of zab"));
    }
    if head.get("format").and_then(Value::as_i64) != Some(FORMAT) {
        return Err(lines.wrong(format_args!("this zab reads dumps of format {FORMAT} only")));
    }
    let mut checked = Checked::default();
    // Only hashes: a dump may be larger than memory.
    let mut seen = HashSet::new();
    while let Some(line) = lines.next()? {
        if line.get(MARK).and_then(Value::as_str) == Some(END) {
            let nodes = line.get("nodes").and_then(Value::as_u64);
            if nodes != u64::try_from(checked.nodes).ok() {
                return Err(lines.wrong(format_args!(
                    "nodes are missing in front of it: there are {}",
                    checked.nodes
                )));
            }
            if lines.next()?.is_some() {
                return Err(lines.wrong("it is behind the end"));
            }
            return Ok(checked);
        }
        let node = Node::parse(&line).map_err(|why| lines.wrong(why))?;
        let parent = match node.path.rsplit_once('/') {
            _ if node.path == "/" => None,
            Some(("", _)) | None => Some("/"),
            Some((parent, _)) => Some(parent),
        };
        if (parent.is_none() && checked.nodes > 0)
            || parent.is_some_and(|parent| !seen.contains(&hash(parent)))
        {
            return Err(lines.wrong(format_args!("{} stands in front of its parent", node.path)));
        }
        if !seen.insert(hash(&node.path)) {
            return Err(lines.wrong(format_args!("{} is there twice", node.path)));
        }
        let path = absolute(&node.path, target);
        path::validate(&path).map_err(|error| lines.wrong(error))?;
        manner.takes(&node, &path).map_err(|why| lines.wrong(why))?;
        checked.nodes += 1;
        checked.bytes += node.bytes();
    }
    Err(lines.wrong("the end is missing: the dump was cut off"))
}

fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn write(shell: &mut Shell<'_>, lines: &mut Lines<'_>, writer: &mut Writer) -> Result<(), Failure> {
    while let Some(line) = lines.next()? {
        if line.get(MARK).is_none() {
            let node = Node::parse(&line).map_err(|why| lines.wrong(why))?;
            writer.put(shell, node)?;
        }
    }
    writer.finish(shell)
}

#[cfg(test)]
mod tests {
    use super::super::transfer::{Acls, Ephemerals};
    use super::*;

    const HEADER: &str = r#"{"zab":"dump","format":1}"#;

    fn checked(text: &str) -> Result<usize, String> {
        let mut file = spool(&mut text.as_bytes()).unwrap();
        let manner = Manner {
            ephemerals: Ephemerals::Refuse,
            acls: Acls::Now,
            merge: false,
        };
        let mut lines = Lines::new(&mut file, "f").unwrap();
        check(&mut lines, "/t", manner)
            .map(|checked| checked.nodes)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn whole_dumps_pass_and_others_say_what_is_wrong() {
        let nodes = [r#"{"path":"/"}"#, r#"{"path":"/a"}"#, r#"{"path":"/a/b"}"#].join("\n");
        let end = r#"{"zab":"end","nodes":3}"#;
        assert_eq!(checked(&format!("{HEADER}\n{nodes}\n{end}\n")), Ok(3));
        for (text, words) in [
            (String::new(), "line 1: it is empty"),
            ("x".to_owned(), "line 1: it is not JSON"),
            ("{}".to_owned(), "line 1: it is no dump of zab"),
            (
                r#"{"zab":"dump","format":2}"#.to_owned(),
                "reads dumps of format 1 only",
            ),
            (
                format!("{HEADER}\n{nodes}\n"),
                "line 5: the end is missing: the dump was cut off",
            ),
            (
                format!("{HEADER}\n{nodes}\n{{\"zab\":\"end\",\"nodes\":4}}"),
                "line 5: nodes are missing in front of it: there are 3",
            ),
            (
                format!("{HEADER}\n{nodes}\n{end}\n{end}"),
                "it is behind the end",
            ),
            (
                format!("{HEADER}\n{{\"path\":\"/\"}}\n{{\"path\":\"/a/b\"}}"),
                "line 3: /a/b stands in front of its parent",
            ),
            (
                format!("{HEADER}\n{nodes}\n{{\"path\":\"/a\"}}"),
                "line 5: /a is there twice",
            ),
            (
                format!("{HEADER}\n{nodes}\n{{\"path\":\"/\"}}"),
                "line 5: / stands in front of its parent",
            ),
            (
                format!("{HEADER}\n{{\"path\":\"/\"}}\n{{\"path\":\"/e\",\"mode\":\"ephemeral\"}}"),
                "line 3: /t/e is ephemeral",
            ),
            (
                format!("{HEADER}\n{{\"path\":\"/\""),
                "line 2: it is not JSON",
            ),
        ] {
            let told = checked(&text).unwrap_err();
            assert!(told.contains(words), "{words}: {told}");
            assert!(told.ends_with("nothing was written"), "{told}");
        }
    }
}
