//! `tree`: a subtree, drawn.

use super::{Denied, human};
use crate::commands::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::output::fields::{self, NodeKind};
use crate::output::{Doc, Format};
use crate::path;
use crate::shell::Shell;
use crate::walk::{Entry, Walk, Wanted};

pub(super) const TREE: Command = Command {
    name: "tree",
    syntax: "[--depth n] [--long] [--data] [path]",
    flags: FlagSet::free(&[
        own_valued("depth", "Show this many levels below the node"),
        own_switch("long", "Show kind, version and size of each node"),
        own_switch("data", "Show the data of each node, the beginning of it"),
    ]),
    explains_flags: true,
    run: tree,
};

/// Characters of data that are shown behind a node.
const DATA_SHOWN: usize = 60;

fn tree(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let with_data = arguments.has("data");
    let wanted = Wanted {
        data: with_data,
        depth: arguments.number("depth")?,
        ..Wanted::default()
    };
    let mut walk = Walk::new(arguments.positional(0).unwrap_or("/"), wanted)?;
    let mut denied = Denied::default();
    match shell.format() {
        Format::Text => {
            let long = arguments.has("long");
            let (mut nodes, mut bytes) = (0_usize, 0_u64);
            // For each level above, whether more of its nodes follow.
            let mut rails: Vec<bool> = Vec::new();
            while let Some(entry) = walk.next(&mut shell.zk)? {
                nodes += 1;
                bytes += u64::try_from(entry.stat.data_length).unwrap_or(0);
                rails.truncate(entry.depth.saturating_sub(1));
                let line = drawn(&entry, &rails, long, with_data);
                if entry.depth > 0 {
                    rails.push(!entry.is_last);
                }
                shell.say(line)?;
                if entry.denied {
                    denied.note(shell, &entry.path)?;
                }
            }
            let s = if nodes == 1 { "" } else { "s" };
            shell.say(format_args!("\n{nodes} node{s}, {}", human(bytes)))?;
        }
        Format::Table => {
            while let Some(entry) = walk.next(&mut shell.zk)? {
                shell.emit(Doc::Map(summary(&entry, "path", &entry.path, with_data)))?;
                if entry.denied {
                    denied.note(shell, &entry.path)?;
                }
            }
        }
        Format::Json | Format::Yaml => {
            let doc = nested(shell, &mut walk, &mut denied, with_data)?;
            shell.emit(doc)?;
        }
    }
    denied.check()
}

/// The line of a node.
fn drawn(entry: &Entry, rails: &[bool], long: bool, with_data: bool) -> String {
    let mut line = String::new();
    for more in rails {
        line.push_str(if *more { "│   " } else { "    " });
    }
    if entry.depth == 0 {
        line.push_str(&entry.path);
    } else {
        line.push_str(if entry.is_last {
            "└── "
        } else {
            "├── "
        });
        line.push_str(path::name(&entry.path));
    }
    let kind = NodeKind::of(&entry.stat);
    if entry.denied {
        line.push_str("  (not allowed to read)");
    } else if long {
        let size = human(u64::try_from(entry.stat.data_length).unwrap_or(0));
        line.push_str(&format!(
            "  ({}, version {}, {size})",
            kind.name(),
            entry.stat.version
        ));
    } else if kind != NodeKind::Persistent {
        line.push_str(&format!("  ({})", kind.name()));
    }
    if with_data && let Some(data) = &entry.data {
        line.push_str(" = ");
        line.push_str(&excerpt(data));
    }
    line
}

/// The beginning of data on one line.
fn excerpt(data: &[u8]) -> String {
    let text = match fields::readable(data) {
        Some(text) => text.replace('\n', "\\n").replace(['\r', '\t'], " "),
        None => {
            let bytes = data.iter().take(DATA_SHOWN / 2);
            let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            format!(
                "0x{hex}{}",
                if data.len() > DATA_SHOWN / 2 {
                    "…"
                } else {
                    ""
                }
            )
        }
    };
    match text.char_indices().nth(DATA_SHOWN + 2) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn summary(
    entry: &Entry,
    label: &'static str,
    name: &str,
    with_data: bool,
) -> Vec<(&'static str, Doc)> {
    let mut fields = vec![(label, Doc::text(name))];
    if entry.denied {
        fields.push(("denied", Doc::Bool(true)));
        return fields;
    }
    fields.extend([
        ("kind", Doc::text(NodeKind::of(&entry.stat).name())),
        ("version", Doc::Int(entry.stat.version.into())),
        ("dataLength", Doc::Int(entry.stat.data_length.into())),
    ]);
    if with_data {
        fields.push(fields::data(entry.data.as_deref()));
    }
    fields
}

/// One document with the others in it.
fn nested(
    shell: &mut Shell<'_>,
    walk: &mut Walk,
    denied: &mut Denied,
    with_data: bool,
) -> Result<Doc, Failure> {
    /// A node whose children are still coming.
    struct Open {
        fields: Vec<(&'static str, Doc)>,
        children: Vec<Doc>,
    }
    fn close(open: &mut Vec<Open>) -> Option<Doc> {
        let Open {
            mut fields,
            children,
        } = open.pop()?;
        fields.push(("children", Doc::List(children)));
        let doc = Doc::Map(fields);
        match open.last_mut() {
            Some(parent) => {
                parent.children.push(doc);
                None
            }
            None => Some(doc),
        }
    }
    let mut open: Vec<Open> = Vec::new();
    while let Some(entry) = walk.next(&mut shell.zk)? {
        while open.len() > entry.depth {
            close(&mut open);
        }
        if entry.denied {
            denied.note(shell, &entry.path)?;
        }
        let (label, name) = match entry.depth {
            0 => ("path", entry.path.as_str()),
            _ => ("name", path::name(&entry.path)),
        };
        open.push(Open {
            fields: summary(&entry, label, name, with_data),
            children: Vec::new(),
        });
    }
    let mut root = None;
    while !open.is_empty() {
        root = close(&mut open);
    }
    Ok(root.unwrap_or(Doc::Null))
}

#[cfg(test)]
mod tests {
    use jute_codec::Stat;

    use super::*;

    fn entry(path: &str, depth: usize, is_last: bool) -> Entry {
        Entry {
            path: path.to_owned(),
            depth,
            is_last,
            stat: Stat {
                data_length: 1500,
                version: 2,
                ..Stat::ZERO
            },
            data: Some("a\nb".into()),
            acl: Vec::new(),
            denied: false,
        }
    }

    #[test]
    fn branches_are_drawn() {
        for (entry, rails, line) in [
            (entry("/a", 0, true), &[][..], "/a"),
            (entry("/a/b", 1, false), &[], "├── b"),
            (entry("/a/b/c", 2, true), &[true], "│   └── c"),
            (entry("/a/b/c", 2, true), &[false], "    └── c"),
        ] {
            assert_eq!(drawn(&entry, rails, false, false), line);
        }
        assert_eq!(
            drawn(&entry("/a/b", 1, true), &[], true, true),
            "└── b  (persistent, version 2, 1.5 kB) = a\\nb"
        );
    }

    #[test]
    fn long_data_is_cut() {
        assert_eq!(excerpt(&[0, 255]), "0x00ff");
        assert!(excerpt("x".repeat(100).as_bytes()).ends_with("x…"));
    }
}
