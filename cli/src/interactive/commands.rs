//! Commands that only make sense where more are to follow.
//!
//! ZooKeeper: `ZooKeeperMain.processZKCmd`, `AddWatchCommand`, `RemoveWatchesCommand`.

use jute_codec::proto::{AddWatchMode, WatcherType};
use zab::{ConnectString, State};

use super::Interactive;
use crate::failure::Failure;
use crate::flags::{self, FlagSet, switch, valued};
use crate::handle::Event;
use crate::shell::Shell;

/// Lines that `history` shows.
const SHOWN: usize = 11;

/// A command of these.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// What may follow.
    pub(crate) syntax: &'static str,
    pub(crate) flags: FlagSet,
}

impl Named {
    const fn new(name: &'static str, syntax: &'static str, flags: FlagSet) -> Self {
        Self {
            name,
            syntax,
            flags,
        }
    }
}

/// All of them.
pub(crate) const NAMES: &[Named] = &[
    Named::new(
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
        ADD_WATCH,
    ),
    Named::new("close", "", FlagSet::NONE),
    Named::new("connect", "host:port", FlagSet::NONE),
    Named::new("help", "[command]", FlagSet::NONE),
    Named::new("history", "", FlagSet::NONE),
    Named::new("printwatches", "on|off", FlagSet::NONE),
    Named::new("quit", "", FlagSet::NONE),
    Named::new("redo", "cmdno", FlagSet::NONE),
    Named::new(
        "removewatches",
        "path [-c|-d|-p|-r|-a] [-l]",
        REMOVE_WATCHES,
    ),
];

const ADD_WATCH: FlagSet = FlagSet::free(&[valued("m", "mode")]);

const REMOVE_WATCHES: FlagSet = FlagSet::free(&[
    switch("c", "child watcher type"),
    switch("d", "data watcher type"),
    switch("p", "persistent watcher type"),
    switch("r", "persistent recursive watcher type"),
    switch("a", "any watcher type"),
    switch("l", "remove locally when there is no server connection"),
]);

/// What comes after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    End,
}

/// Runs a command of these, if it is one.
pub(super) fn run(
    interactive: &mut Interactive,
    shell: &mut Shell<'_>,
    words: &[String],
) -> Option<Result<Next, Failure>> {
    let (name, rest) = words.split_first()?;
    let result = match name.as_str() {
        "addWatch" => add_watch(shell, rest),
        "close" => close(shell),
        "connect" => connect(shell, rest),
        // As a word alone it is unknown to the Java shell.
        "help" if interactive.is_terminal => super::help(shell, rest),
        "history" => history(interactive, shell),
        "printwatches" => print_watches(shell, rest),
        "quit" => return Some(Ok(Next::End)),
        "removewatches" => remove_watches(shell, rest),
        _ => return None,
    };
    Some(result.map(|()| Next::Line))
}

fn usage(name: &str) -> Failure {
    let known = NAMES.iter().find(|known| known.name == name);
    Failure::Usage(format!("{name} {}", known.map_or("", |known| known.syntax)))
}

fn history(interactive: &Interactive, shell: &mut Shell<'_>) -> Result<(), Failure> {
    let lines = &interactive.lines;
    let skipped = lines.len().saturating_sub(SHOWN);
    for (number, line) in lines.iter().enumerate().skip(skipped) {
        shell.say(format_args!("{number} - {line}"))?;
    }
    Ok(())
}

fn print_watches(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    match words.first() {
        None => {
            let state = if shell.hides_events { "off" } else { "on" };
            shell.say(format_args!("printwatches is {state}"))
        }
        Some(word) => {
            shell.hides_events = word != "on";
            Ok(())
        }
    }
}

fn connect(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    let servers = match words.first() {
        None => shell.zk.connect_string().clone(),
        Some(text) => {
            ConnectString::parse(text).map_err(|error| Failure::usage(error.to_string()))?
        }
    };
    shell.zk.connect(servers);
    Ok(())
}

fn close(shell: &mut Shell<'_>) -> Result<(), Failure> {
    match shell.zk.lasting().map(|lasting| lasting.close()) {
        Some(Err(error)) => shell.complain(format_args!(
            "The session was not closed and will expire: {error}"
        )),
        _ => Ok(()),
    }
}

/// Whether commands can ask anything; where not, says so as the Java shell does.
pub(super) fn is_alive(shell: &mut Shell<'_>) -> Result<bool, Failure> {
    let state = shell.zk.lasting().map(|lasting| lasting.state());
    if matches!(state, Some(State::Closed | State::AuthFailed)) {
        shell.say("Not connected")?;
        return Ok(false);
    }
    Ok(true)
}

fn add_watch(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    let parsed = flags::parse(&ADD_WATCH, words)?;
    let [path] = &parsed.positionals[..] else {
        return Err(usage("addWatch"));
    };
    let mode = match parsed.value("m").map(str::to_ascii_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(usage("addWatch")),
    };
    crate::path::validate(path)?;
    if !is_alive(shell)? {
        return Ok(());
    }
    match shell.zk.lasting() {
        Some(lasting) => lasting.leave_watch(path, mode),
        None => Ok(()),
    }
}

fn remove_watches(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    let parsed = flags::parse(&REMOVE_WATCHES, words)?;
    let path = parsed.positionals.first();
    let path = path.ok_or_else(|| usage("removewatches"))?.clone();
    crate::path::validate(&path)?;
    let kinds = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let kind = kinds.iter().find(|(flag, _)| parsed.has(flag));
    let kind = kind.map_or(WatcherType::Any, |(_, kind)| *kind);
    if !is_alive(shell)? {
        return Ok(());
    }
    let Some(lasting) = shell.zk.lasting().cloned() else {
        return Ok(());
    };
    for kind in lasting.remove_watches(&path, kind, parsed.has("l"))? {
        let path = path.clone();
        lasting.side().tell(Event::Removed { kind, path });
    }
    Ok(())
}
