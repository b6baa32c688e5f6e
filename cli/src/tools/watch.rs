//! `watch`: tells what changes below a node, for as long as it runs.
//!
//! What is known of the subtree is kept. After a lost connection, or a lost session, the subtree is read again and
//! compared: of what changed meanwhile the latest state is told, and nothing twice.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jute_codec::proto::AddWatchMode;
use jute_codec::{ErrorCode, Stat, Zxid};

use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch};
use crate::handle::{Event, Watch};
use crate::output::Doc;
use crate::output::fields;
use crate::shell::Shell;
use crate::walk::{Walk, Wanted};

pub(super) const WATCH: Command = Command {
    name: "watch",
    syntax: "[--node] [--initial] [--once] [--data] path [-- command...]",
    flags: FlagSet::free(&[
        own_switch("node", "Only the node itself, not what is below it"),
        own_switch(
            "initial",
            "Tell what is there at the start, too, as present",
        ),
        own_switch("once", "End after the first change"),
        own_switch("data", "Show the data"),
    ]),
    explains_flags: true,
    run: watch,
};

/// How long to wait before the servers are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// How long nothing may happen before it is looked whether a command has ended, and without one.
const COMMAND_PATIENCE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    what: &'static str,
    path: String,
    /// Of a node that is there.
    stat: Option<Stat>,
    data: Option<Bytes>,
}

/// The transactions that created a node and last set its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    czxid: Zxid,
    mzxid: Zxid,
}

/// What has been told of a subtree so far.
#[derive(Debug, Default)]
struct Known(BTreeMap<String, Seen>);

impl Known {
    /// Takes note of a node as it is now, and says what that is compared to what was known.
    fn note(&mut self, path: &str, now: Option<(Stat, Option<Bytes>)>) -> Option<Change> {
        let Some((stat, data)) = now else {
            self.0.remove(path)?;
            return Some(Change {
                what: "deleted",
                path: path.to_owned(),
                stat: None,
                data: None,
            });
        };
        let seen = Seen {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
        };
        let what = match self.0.insert(path.to_owned(), seen) {
            Some(before) if before == seen => return None,
            Some(before) if before.czxid == seen.czxid => "changed",
            // Also a node that was deleted and created again in between.
            _ => "created",
        };
        Some(Change {
            what,
            path: path.to_owned(),
            stat: Some(stat),
            data,
        })
    }
}

struct Watcher<'a> {
    root: &'a str,
    arguments: &'a Arguments,
    known: Known,
    /// Paths of which something has been heard.
    heard: VecDeque<String>,
    /// Whether the subtree was read since the session began.
    is_synced: bool,
    is_first: bool,
}

fn watch(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let root = arguments.required(0)?.to_owned();
    crate::path::validate(&root)?;
    let mut watcher = Watcher {
        root: &root,
        arguments,
        known: Known::default(),
        heard: VecDeque::new(),
        is_synced: false,
        is_first: true,
    };
    let mut is_away = false;
    loop {
        match watcher.go_on(shell) {
            Ok(Step::Again) => {
                if is_away {
                    shell.complain("connected again")?;
                }
                is_away = false;
            }
            Ok(Step::Finished) => return Ok(()),
            Err(failure)
                if !watcher.is_first
                    && matches!(failure.kind(), Kind::Unreachable | Kind::SessionLost) =>
            {
                if !is_away {
                    shell.complain(format_args!("{failure}\ntrying again"))?;
                }
                is_away = true;
                watcher.is_synced = false;
                shell.zk.abandon();
                thread::sleep(RETRY_PAUSE);
            }
            Err(failure) => return Err(failure),
        }
    }
}

enum Step {
    Again,
    Finished,
}

impl Watcher<'_> {
    /// Waits for something, and tells it.
    fn go_on(&mut self, shell: &mut Shell<'_>) -> Result<Step, Failure> {
        let changes = if self.is_synced {
            self.listen(shell, PATIENCE)?;
            if !self.is_synced {
                return Ok(Step::Again);
            }
            let Some(path) = self.heard.front().cloned() else {
                return Ok(Step::Again);
            };
            let change = self.look(shell, &path)?;
            // Kept until it has been looked at, so that a lost connection loses nothing.
            self.heard.pop_front();
            change.into_iter().collect()
        } else {
            let changes = self.synchronise(shell)?;
            self.is_synced = true;
            changes
        };
        let is_start = std::mem::take(&mut self.is_first);
        for mut change in changes {
            if is_start {
                if !self.arguments.has("initial") {
                    continue;
                }
                change.what = "present";
            }
            self.tell(shell, &change)?;
            if self.arguments.has("once") {
                return Ok(Step::Finished);
            }
        }
        Ok(Step::Again)
    }

    /// Leaves the watch, then reads everything: what changes after this is heard of.
    fn synchronise(&mut self, shell: &mut Shell<'_>) -> Result<Vec<Change>, Failure> {
        let only_node = self.arguments.has("node");
        let mode = if only_node {
            AddWatchMode::Persistent
        } else {
            AddWatchMode::PersistentRecursive
        };
        shell.zk.add_watch(self.root, mode)?;
        self.heard.clear();
        let wanted = Wanted {
            data: true,
            depth: only_node.then_some(0),
            ..Wanted::default()
        };
        let mut walk = Walk::new(self.root, wanted)?;
        let mut gone: BTreeMap<_, _> = self.known.0.clone();
        let mut changes = Vec::new();
        loop {
            let entry = match walk.next(&mut shell.zk) {
                // It may come yet.
                Err(failure) if failure.is_code(ErrorCode::NoNode) => None,
                entry => entry?,
            };
            let Some(entry) = entry else {
                break;
            };
            gone.remove(&entry.path);
            if entry.denied {
                shell.complain(format_args!("not allowed to read {}", entry.path))?;
                continue;
            }
            changes.extend(self.known.note(&entry.path, Some((entry.stat, entry.data))));
        }
        // Children before their parents, as they must have gone.
        for path in gone.keys().rev() {
            changes.extend(self.known.note(path, None));
        }
        Ok(changes)
    }

    /// Takes in what is heard.
    fn listen(&mut self, shell: &mut Shell<'_>, patience: Duration) -> Result<(), Failure> {
        if self.heard.is_empty() {
            shell.zk.await_event(patience)?;
        }
        self.take_events(shell);
        Ok(())
    }

    fn take_events(&mut self, shell: &mut Shell<'_>) {
        for event in shell.zk.take_events() {
            let notification = match event {
                Event::Watch(notification) => notification,
                Event::Missed => {
                    self.is_synced = false;
                    continue;
                }
                _ => continue,
            };
            let path = notification.event.path.to_string();
            if !path.is_empty() && !self.heard.contains(&path) {
                self.heard.push_back(path);
            }
        }
    }

    /// Looks at a node of which something was heard.
    fn look(&mut self, shell: &mut Shell<'_>, path: &str) -> Result<Option<Change>, Failure> {
        let now = match shell.zk.data(path, Watch::No) {
            Ok(reply) => Some((reply.stat, reply.data)),
            Err(failure) if failure.is_code(ErrorCode::NoNode) => None,
            Err(failure) if failure.is_code(ErrorCode::NoAuth) => {
                let stat = shell.zk.exists(path, Watch::No)?;
                stat.map(|stat| (stat, None))
            }
            Err(failure) => return Err(failure),
        };
        // Also what happens to it from here on is heard of: the watch stays.
        Ok(self.known.note(path, now))
    }

    fn tell(&mut self, shell: &mut Shell<'_>, change: &Change) -> Result<(), Failure> {
        if let Some((program, words)) = self.arguments.rest(1).split_first() {
            let (program, words) = (program.clone(), words.to_vec());
            return self.run(shell, change, &program, &words);
        }
        if shell.is_text() {
            shell.say(self.line(change))?;
        } else {
            shell.emit(self.document(change))?;
        }
        shell.out().flush()?;
        Ok(())
    }

    fn line(&self, change: &Change) -> String {
        let mut line = format!("{} {}", change.what, change.path);
        if let Some(stat) = &change.stat {
            line.push_str(&format!(
                "  version {}, {} bytes",
                stat.version, stat.data_length
            ));
        }
        if self.arguments.has("data")
            && let Some(data) = &change.data
        {
            match fields::readable(data) {
                Some(text) => line.push_str(&format!("\n{text}")),
                None => line.push_str("\n(no text)"),
            }
        }
        line
    }

    fn document(&self, change: &Change) -> Doc {
        let mut doc = vec![
            ("event", Doc::text(change.what)),
            ("path", Doc::text(&change.path)),
        ];
        if self.arguments.has("data") && change.stat.is_some() {
            doc.push(fields::data(change.data.as_deref()));
        }
        if let Some(stat) = &change.stat {
            doc.push(("stat", fields::stat(stat)));
        }
        Doc::Map(doc)
    }

    /// Runs the command, and keeps the session alive meanwhile.
    fn run(
        &mut self,
        shell: &mut Shell<'_>,
        change: &Change,
        program: &str,
        words: &[String],
    ) -> Result<(), Failure> {
        let stat = change.stat.as_ref();
        let version = stat.map_or_else(String::new, |stat| stat.version.to_string());
        let zxid = stat.map_or_else(String::new, |stat| stat.mzxid.to_string());
        let failed = |error: &io::Error| Failure::local(format_args!("run {program}"), error);
        let mut child = Process::new(program)
            .args(words)
            .env("ZAB_EVENT", change.what)
            .env("ZAB_PATH", &change.path)
            .env("ZAB_VERSION", version)
            .env("ZAB_ZXID", zxid)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let feeder = feed(&mut child, change.data.clone());
        let mut is_heard = true;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
                break status;
            }
            // A connection that is lost now is noticed again when the command has ended.
            if is_heard && shell.zk.await_event(COMMAND_PATIENCE).is_ok() {
                self.take_events(shell);
            } else {
                is_heard = false;
                thread::sleep(COMMAND_PATIENCE);
            }
        };
        // A command that does not read its input ends the feeder with it.
        feeder.map(thread::JoinHandle::join);
        if !status.success() {
            let words = format!("{program}: {status}");
            if self.arguments.has("once") {
                return Err(Failure::told(Kind::Local, words));
            }
            shell.complain(words)?;
        }
        Ok(())
    }
}

/// Gives a command the data on its standard input.
fn feed(child: &mut Child, data: Option<Bytes>) -> Option<thread::JoinHandle<()>> {
    let mut input = child.stdin.take()?;
    Some(thread::spawn(move || {
        // It need not read it.
        input.write_all(&data.unwrap_or_default()).ok();
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(czxid: i64, mzxid: i64) -> Option<(Stat, Option<Bytes>)> {
        let stat = Stat {
            czxid: Zxid(czxid),
            mzxid: Zxid(mzxid),
            ..Stat::ZERO
        };
        Some((stat, None))
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let mut known = Known::default();
        for (now, what) in [
            (stat(1, 1), Some("created")),
            (stat(1, 1), None),
            (stat(1, 2), Some("changed")),
            (stat(3, 3), Some("created")),
            (None, Some("deleted")),
            (None, None),
        ] {
            let change = known.note("/a", now);
            assert_eq!(change.map(|change| change.what), what);
        }
    }
}
