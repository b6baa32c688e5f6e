//! `dump`: a subtree as lines of JSON, for `load`.
//!
//! The first line says what it is and the last how many nodes there are, so that a torn file is told from a whole one.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::file::NewFile;
use super::human;
use super::modes::{CONTAINERS, Modes, TTL};
use super::node::Node;
use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::format::date::iso;
use crate::output::Doc;
use crate::progress::Progress;
use crate::shell::Shell;
use crate::walk::{Walk, Wanted};

pub(super) const DUMP: Command = Command {
    name: "dump",
    syntax: "[--file name] [--system] [--partial] [--containers glob] [--ttl glob=ms] [path]",
    flags: FlagSet::free(&[
        own_valued(
            "file",
            "Write here; the file is replaced when the dump is whole, and on disk",
        ),
        own_switch("system", "Also what is below /zookeeper"),
        own_switch("partial", "Leave out what may not be read, and say so"),
        CONTAINERS,
        TTL,
    ]),
    explains_flags: true,
    run: dump,
};

/// The field of the first and of the last line, and what is in it.
pub(super) const MARK: &str = "zab";
pub(super) const HEAD: &str = "dump";
pub(super) const END: &str = "end";
/// The number in the first line that changes when the lines do.
pub(super) const FORMAT: i64 = 1;

fn dump(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let root = arguments.positional(0).unwrap_or("/").to_owned();
    let Some(name) = arguments.value("file").filter(|name| *name != "-") else {
        return write_dump(shell, arguments, &root, None).map(drop);
    };
    let mut file = NewFile::create(name)?;
    let written = write_dump(shell, arguments, &root, Some((name, &mut file)))?;
    file.commit()?;
    let Written {
        nodes,
        bytes,
        left_out,
    } = written;
    if shell.is_text() {
        let s = if nodes == 1 { "" } else { "s" };
        shell.complain(format_args!(
            "{nodes} node{s} ({}) of {root} are in {name}",
            human(bytes as u64)
        ))?;
    } else {
        shell.emit(Doc::Map(vec![
            ("path", Doc::text(root)),
            ("file", Doc::text(name)),
            ("nodes", Doc::count(nodes)),
            ("bytes", Doc::count(bytes)),
            ("leftOut", Doc::count(left_out)),
        ]))?;
    }
    Ok(())
}

struct Written {
    nodes: usize,
    bytes: usize,
    left_out: usize,
}

/// Writes the lines, to the standard output unless there is a file.
fn write_dump(
    shell: &mut Shell<'_>,
    arguments: &Arguments,
    root: &str,
    mut file: Option<(&str, &mut NewFile)>,
) -> Result<Written, Failure> {
    let modes = Modes::parse(arguments)?;
    let mut write = |shell: &mut Shell<'_>, doc: Doc| -> Result<(), Failure> {
        match &mut file {
            None => writeln!(shell.out(), "{}", doc.to_json())?,
            Some((name, file)) => writeln!(file, "{}", doc.to_json())
                .map_err(|error| Failure::local(format_args!("write {name}"), &error))?,
        }
        Ok(())
    };
    let wanted = Wanted {
        data: true,
        acl: true,
        depth: None,
        passes_over_system: !arguments.has("system"),
    };
    let mut walk = Walk::new(root, wanted)?;
    let mut written = Written {
        nodes: 0,
        bytes: 0,
        left_out: 0,
    };
    let mut progress = Progress::new("nodes", None);
    // The first node is read before anything is written: where there is none, there is no dump.
    let mut next = walk.next(&mut shell.zk)?;
    write(shell, head(shell, root))?;
    while let Some(entry) = next {
        progress.add(1);
        if entry.denied && !arguments.has("partial") {
            return Err(Failure::told(
                Kind::NotAllowed,
                format!(
                    "not allowed to read {}: the dump would not be whole; give a credential with -auth, or say --partial",
                    entry.path
                ),
            ));
        }
        if entry.denied {
            progress.hide();
            shell.complain(format_args!(
                "left out, not allowed to read: {}",
                entry.path
            ))?;
            written.left_out += 1;
        } else {
            let node = Node::of(&entry, root, &modes);
            write(shell, node.line(&entry))?;
            written.nodes += 1;
            written.bytes += node.bytes();
        }
        next = walk.next(&mut shell.zk)?;
    }
    let end = Doc::Map(vec![
        (MARK, Doc::text(END)),
        ("nodes", Doc::count(written.nodes)),
        ("leftOut", Doc::count(written.left_out)),
    ]);
    write(shell, end)?;
    shell.out().flush()?;
    Ok(written)
}

fn head(shell: &Shell<'_>, root: &str) -> Doc {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let connect = shell.zk.connect_string();
    let servers = connect.servers.iter().map(ToString::to_string);
    Doc::Map(vec![
        (MARK, Doc::text(HEAD)),
        ("format", Doc::Int(FORMAT)),
        ("root", Doc::text(shell.zk.server_path(root).as_str())),
        ("servers", Doc::text(servers.collect::<Vec<_>>().join(","))),
        ("time", Doc::text(iso(now_ms))),
    ])
}
