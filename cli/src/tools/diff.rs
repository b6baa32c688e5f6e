//! `diff`: what is different between two subtrees, of one server or two.

use std::cmp::Ordering;

use super::node::relative;
use crate::client::ConnectString;
use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::handle::Handle;
use crate::output::Doc;
use crate::output::fields::{self, NodeKind};
use crate::progress::Progress;
use crate::shell::Shell;
use crate::walk::{Entry, Walk, Wanted};

pub(super) const DIFF: Command = Command {
    name: "diff",
    syntax: "[--with host:port[/chroot]] [--acl] [--data] [--quiet] [--system] path [path]",
    flags: FlagSet::free(&[
        own_valued("with", "The second path is on this server, or on these"),
        own_switch("acl", "Compare access control lists, too"),
        own_switch("data", "Show the data that differs, where it is text"),
        own_switch("quiet", "Print nothing; the exit code tells"),
        own_switch("system", "Also what is below /zookeeper"),
    ]),
    explains_flags: true,
    run: diff,
};

/// One side, read in order.
struct Side {
    root: String,
    walk: Walk,
    next: Option<Entry>,
}

impl Side {
    fn begin(root: &str, wanted: Wanted, zk: &mut Handle) -> Result<Self, Failure> {
        let mut walk = Walk::new(root, wanted)?;
        let next = walk.next(zk)?;
        Ok(Self {
            root: root.to_owned(),
            walk,
            next,
        })
    }

    fn take(&mut self, zk: &mut Handle) -> Result<Option<Entry>, Failure> {
        let next = self.walk.next(zk)?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn path(&self) -> Option<String> {
        let entry = self.next.as_ref()?;
        Some(relative(&entry.path, &self.root))
    }
}

fn diff(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let left = arguments.required(0)?;
    let right = match arguments.positional(1) {
        Some(right) => right,
        // The same place on the other server.
        None if arguments.has("with") => left,
        None => arguments.required(1)?,
    };
    let mut other = match arguments.value("with") {
        None => None,
        Some(text) => {
            let connect = ConnectString::parse(text)
                .map_err(|error| Failure::usage(format!("--with: {error}")))?;
            Some(shell.zk.elsewhere(connect))
        }
    };
    let result = compare(shell, arguments, left, right, &mut other);
    if let Some(mut other) = other {
        // The comparison is done; a session that cannot be closed expires.
        other.close().ok();
    }
    match result? {
        0 => Ok(()),
        count => {
            let s = if count == 1 { "" } else { "s" };
            Err(Failure::told(
                Kind::Differs,
                format!("{count} difference{s}"),
            ))
        }
    }
}

fn compare(
    shell: &mut Shell<'_>,
    arguments: &Arguments,
    left: &str,
    right: &str,
    other: &mut Option<Handle>,
) -> Result<usize, Failure> {
    let wanted = Wanted {
        data: true,
        acl: arguments.has("acl"),
        depth: None,
        passes_over_system: !arguments.has("system"),
    };
    let mut left = Side::begin(left, wanted, &mut shell.zk)?;
    let mut right = Side::begin(right, wanted, other.as_mut().unwrap_or(&mut shell.zk))?;
    let mut differences = 0;
    let mut progress = Progress::new("nodes", None);
    loop {
        progress.add(1);
        let (path, order) = match (left.path(), right.path()) {
            (None, None) => return Ok(differences),
            (Some(path), None) => (path, Ordering::Less),
            (None, Some(path)) => (path, Ordering::Greater),
            (Some(left), Some(right)) => match visiting_order(&left, &right) {
                Ordering::Greater => (right, Ordering::Greater),
                order => (left, order),
            },
        };
        let a = match order {
            Ordering::Greater => None,
            _ => left.take(&mut shell.zk)?,
        };
        let b = match order {
            Ordering::Less => None,
            _ => right.take(other.as_mut().unwrap_or(&mut shell.zk))?,
        };
        let changes = changes(a.as_ref(), b.as_ref());
        if changes.is_empty() {
            continue;
        }
        differences += 1;
        if arguments.has("quiet") {
            continue;
        }
        progress.hide();
        if shell.is_text() {
            print(shell, arguments, &path, &changes, [a.as_ref(), b.as_ref()])?;
        } else {
            shell.emit(document(&path, &changes, [a.as_ref(), b.as_ref()]))?;
        }
    }
}

/// Which of two paths a walk comes to first: names are compared one after the other.
fn visiting_order(a: &str, b: &str) -> Ordering {
    let names = |path: &str| -> Vec<String> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    names(a).cmp(&names(b))
}

/// In which ways two nodes differ, of which one may not be there.
fn changes(a: Option<&Entry>, b: Option<&Entry>) -> Vec<&'static str> {
    let (a, b) = match (a, b) {
        (Some(_), None) => return vec!["removed"],
        (None, Some(_)) => return vec!["added"],
        (None, None) => return Vec::new(),
        (Some(a), Some(b)) => (a, b),
    };
    if a.denied || b.denied {
        return vec!["unreadable"];
    }
    let mut changes = Vec::new();
    if a.data != b.data {
        changes.push("data");
    }
    if NodeKind::of(&a.stat) != NodeKind::of(&b.stat) {
        changes.push("kind");
    }
    if a.acl != b.acl {
        changes.push("acl");
    }
    changes
}

fn print(
    shell: &mut Shell<'_>,
    arguments: &Arguments,
    path: &str,
    changes: &[&str],
    [a, b]: [Option<&Entry>; 2],
) -> Result<(), Failure> {
    let (sign, what) = match changes {
        ["removed"] => ("-", String::new()),
        ["added"] => ("+", String::new()),
        changes => ("~", format!("  ({})", changes.join(", "))),
    };
    shell.say(format_args!("{sign} {path}{what}"))?;
    if !arguments.has("data") {
        return Ok(());
    }
    for (sign, side) in [("-", a), ("+", b)] {
        let data = side.and_then(|entry| entry.data.as_deref());
        match data.map(|data| (data, fields::readable(data))) {
            Some(([], _)) => {}
            Some((_, Some(text))) if changes != ["acl"] => {
                for line in text.lines() {
                    shell.say(format_args!("    {sign} {line}"))?;
                }
            }
            Some((data, None)) if changes != ["acl"] => {
                shell.say(format_args!(
                    "    {sign} {} bytes that are no text",
                    data.len()
                ))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn document(path: &str, changes: &[&str], sides: [Option<&Entry>; 2]) -> Doc {
    let side = |entry: Option<&Entry>| {
        entry.map_or(Doc::Null, |entry| {
            let mut doc = vec![
                ("path", Doc::text(&entry.path)),
                ("kind", Doc::text(NodeKind::of(&entry.stat).name())),
                fields::data(entry.data.as_deref()),
            ];
            if !entry.acl.is_empty() {
                doc.push(("acl", fields::acl(&entry.acl)));
            }
            Doc::Map(doc)
        })
    };
    Doc::Map(vec![
        ("path", Doc::text(path)),
        ("changes", Doc::texts(changes)),
        ("left", side(sides[0])),
        ("right", side(sides[1])),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_ordered_as_they_are_visited() {
        let mut paths = ["/a-b", "/a/x/y", "/b", "/a", "/", "/a/x"];
        paths.sort_by(|a, b| visiting_order(a, b));
        assert_eq!(paths, ["/", "/a", "/a/x", "/a/x/y", "/a-b", "/b"]);
    }
}
