//! `du`: how many nodes and bytes are where.

use super::{Denied, human};
use crate::commands::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::output::Doc;
use crate::output::fields::NodeKind;
use crate::progress::Progress;
use crate::shell::Shell;
use crate::walk::{Entry, Walk, Wanted};

pub(super) const DU: Command = Command {
    name: "du",
    syntax: "[--depth n] [--sort] [--top n] [--bytes] [path]",
    flags: FlagSet::free(&[
        own_valued(
            "depth",
            "Show sums this many levels below the node [default: 1]",
        ),
        own_switch("sort", "Largest first"),
        own_valued("top", "Show only the largest so many"),
        own_switch("bytes", "Print bytes, without units"),
    ]),
    explains_flags: true,
    run: du,
};

/// What a subtree comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    path: String,
    depth: usize,
    nodes: u64,
    ephemerals: u64,
    /// Of data; the names are not counted.
    bytes: u64,
}

impl Sum {
    fn of(entry: &Entry) -> Self {
        Self {
            path: entry.path.clone(),
            depth: entry.depth,
            nodes: 1,
            ephemerals: u64::from(NodeKind::of(&entry.stat) == NodeKind::Ephemeral),
            bytes: u64::try_from(entry.stat.data_length).unwrap_or(0),
        }
    }

    fn add(&mut self, other: &Self) {
        self.nodes += other.nodes;
        self.ephemerals += other.ephemerals;
        self.bytes += other.bytes;
    }

    fn doc(&self) -> Doc {
        Doc::Map(vec![
            ("path", Doc::text(&self.path)),
            ("nodes", Doc::count(self.nodes)),
            ("ephemerals", Doc::count(self.ephemerals)),
            ("bytes", Doc::count(self.bytes)),
        ])
    }
}

/// Sums that grow while a walk goes on; finished ones come out below before above.
#[derive(Debug, Default)]
struct Sums {
    /// From the root to where the walk is.
    open: Vec<Sum>,
    finished: Vec<Sum>,
    depth: usize,
}

impl Sums {
    fn enter(&mut self, sum: Sum) {
        self.close(sum.depth);
        self.open.push(sum);
    }

    /// Finishes all sums at this depth and deeper.
    fn close(&mut self, depth: usize) {
        while self.open.len() > depth {
            let Some(sum) = self.open.pop() else {
                return;
            };
            if let Some(parent) = self.open.last_mut() {
                parent.add(&sum);
            }
            if sum.depth <= self.depth {
                self.finished.push(sum);
            }
        }
    }
}

fn du(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let top: Option<usize> = arguments.number("top")?;
    let mut sums = Sums {
        depth: arguments.number("depth")?.unwrap_or(1),
        ..Sums::default()
    };
    let path = arguments.positional(0).unwrap_or("/");
    let mut walk = Walk::new(path, Wanted::default())?;
    let mut denied = Denied::default();
    let mut progress = Progress::new("nodes", None);
    while let Some(entry) = walk.next(&mut shell.zk)? {
        progress.add(1);
        if entry.denied {
            progress.hide();
            denied.note(shell, &entry.path)?;
        }
        sums.enter(Sum::of(&entry));
    }
    sums.close(0);
    drop(progress);
    let mut sums = sums.finished;
    if arguments.has("sort") || top.is_some() {
        sums.sort_by(|a, b| (b.bytes, b.nodes, &a.path).cmp(&(a.bytes, a.nodes, &b.path)));
    }
    sums.truncate(top.unwrap_or(usize::MAX));
    if !shell.is_text() {
        sums.iter().try_for_each(|sum| shell.emit(sum.doc()))?;
        return denied.check();
    }
    let size = |bytes| {
        if arguments.has("bytes") {
            format!("{bytes}")
        } else {
            human(bytes)
        }
    };
    shell.say(format_args!("{:>12} {:>10}  PATH", "DATA", "NODES"))?;
    for sum in &sums {
        let ephemerals = match sum.ephemerals {
            0 => String::new(),
            count => format!("  ({count} ephemeral)"),
        };
        shell.say(format_args!(
            "{:>12} {:>10}  {}{ephemerals}",
            size(sum.bytes),
            sum.nodes,
            sum.path
        ))?;
    }
    denied.check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_up_and_only_upper_levels_are_told() {
        let mut sums = Sums {
            depth: 1,
            ..Sums::default()
        };
        for (path, depth, bytes) in [
            ("/", 0, 1),
            ("/a", 1, 2),
            ("/a/x", 2, 4),
            ("/a/x/y", 3, 8),
            ("/b", 1, 16),
        ] {
            sums.enter(Sum {
                path: path.to_owned(),
                depth,
                nodes: 1,
                ephemerals: 0,
                bytes,
            });
        }
        sums.close(0);
        let told: Vec<_> = sums
            .finished
            .iter()
            .map(|sum| (sum.path.as_str(), sum.nodes, sum.bytes))
            .collect();
        assert_eq!(told, [("/a", 3, 14), ("/b", 1, 16), ("/", 5, 31)]);
    }
}
