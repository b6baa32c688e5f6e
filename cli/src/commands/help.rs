//! What there is, and how to use it.

use super::{COMMANDS, Command, flags, man, syntax};
use crate::exit;
use crate::failure::Failure;
use crate::interactive;
use crate::recipe;
use crate::tools::{FOUR_LETTER_WORDS, TOOLS};

/// A line about each command.
pub(super) const ABOUT: &[(&str, &str)] = &[
    (
        "addauth",
        "present a credential, such as digest user:password",
    ),
    (
        "addWatch",
        "leave a lasting watch on a node, or on all below it",
    ),
    ("admin", "ask servers in four-letter words"),
    ("barrier", "let processes wait for each other"),
    ("bench", "measure a ZooKeeper"),
    ("close", "close the session"),
    (
        "completions",
        "print a script that completes zab's words in bash, zsh or fish",
    ),
    (
        "config",
        "show the ensemble's members; with a word behind it, the configuration centre",
    ),
    (
        "connect",
        "go on with another server, or with a new session",
    ),
    ("counter", "a number that many count on"),
    ("cp", "copy a subtree"),
    ("create", "create a node"),
    ("delete", "delete a node without children"),
    ("deleteall", "delete a node with all below it"),
    ("delquota", "lift a quota"),
    ("diff", "compare two subtrees, of one server or of two"),
    ("du", "count nodes and bytes by subtree"),
    ("dump", "write a subtree as lines of JSON"),
    ("elect", "run a command while this is the elected one"),
    (
        "export-java",
        "write a data directory's nodes as ZooKeeper's own servers keep them",
    ),
    ("find", "find nodes by name, data, size, age, kind"),
    ("get", "show a node's data"),
    ("getAcl", "show a node's access control list"),
    ("getAllChildrenNumber", "count all nodes below a node"),
    ("getEphemerals", "list this session's ephemeral nodes"),
    ("help", "explain a command"),
    ("history", "list the lines that were given"),
    ("id", "numbers that nobody else has"),
    ("listquota", "show a quota"),
    ("load", "read back what dump has written"),
    ("lock", "run a command while a lock is held"),
    ("log", "show or check a data directory's log"),
    ("ls", "list children"),
    ("man", "print this program's manual page, for man"),
    (
        "migrate",
        "tell what a move between ZooKeeper and zabd has to know",
    ),
    ("mv", "move a subtree"),
    ("printwatches", "show events, or do not"),
    ("queue", "put and take what others put"),
    ("quit", "end"),
    ("reconfig", "change the ensemble's members"),
    ("redo", "run a line again"),
    ("removewatches", "remove watches"),
    (
        "service",
        "register instances of services, list, watch and choose among them",
    ),
    ("set", "set a node's data"),
    ("setAcl", "set a node's access control list"),
    ("setquota", "set a quota"),
    ("snapshot", "show or check a data directory's snapshot"),
    ("stat", "show a node's stat"),
    ("sync", "catch up with the leader"),
    ("tree", "draw a subtree"),
    ("version", "show which program this is"),
    (
        "watch",
        "tell what changes below a node, or run a command for each change",
    ),
    ("whoami", "show who the server thinks this is"),
];

/// More about some of them.
pub(super) const MORE: &[(&str, &str)] = &[
    (
        "cp",
        "The target must not exist. What fits into one transaction is copied whole, as it was at one moment, or not at \
         all; data that changes meanwhile stops it. Larger subtrees are refused unless --stepwise says that node by node \
         will do. Servers do not tell which nodes are containers or have a time to live: these become persistent, unless \
         --containers and --ttl say which they are. Numbers of sequential nodes begin anew.\n\n\
         \x20   zab cp /app /app-backup\n\
         \x20   zab cp /app /copy --merge --stepwise     goes on where it was broken off\n\
         \x20   zab cp /app /copy --containers '/app/locks/*' --ttl '/app/sessions/*=60000'",
    ),
    (
        "mv",
        "As cp, and the source goes: in the same transaction, or with --stepwise when all of it has been copied, each \
         node only as it was copied.",
    ),
    (
        "diff",
        "Lines begin with - (only in the first), + (only in the second) or ~ (different). The exit code is 0 if there is \
         no difference and 1 if there is.\n\n\
         \x20   zab diff /app /app-backup --data\n\
         \x20   zab -server a:2181 diff /app --with b:2181",
    ),
    (
        "dump",
        "Each node is a line with its path, data (base64), access control list and mode; the last line says how many \
         there are, so that a torn dump is refused by load. With --file the file is replaced when the dump is whole. \
         Other clients may write meanwhile: each node is as it was when it was read. The mode is that of ephemeral and \
         persistent nodes; which are containers or have a time to live servers do not tell: --containers and --ttl do. \
         load makes them that again.\n\n\
         \x20   zab dump /app --file app.jsonl\n\
         \x20   zab -server a dump /app | zab -server b load /app",
    ),
    (
        "load",
        "All of the input is checked before anything is written. The path must not exist, unless --merge says to write \
         over what is there; a load that was broken off is finished with --merge. Nodes that the dump does not have stay.",
    ),
    (
        "watch",
        "Prints created, changed and deleted with the path. After a lost connection or session the subtree is read again: \
         of what changed meanwhile the latest state is told, and nothing twice. A command gets the data on its standard \
         input and finds ZAB_EVENT, ZAB_PATH, ZAB_VERSION and ZAB_ZXID in its environment; while it runs, changes wait, \
         and several of one node become one.\n\n\
         \x20   zab watch /app --data\n\
         \x20   zab watch --initial /app/config -- sh -c 'cat > app.conf && systemctl reload app'",
    ),
    (
        "find",
        "All conditions must hold. Globs: * and ? stand for anything but a slash, ** for anything, [a-z] and {a,b} for one \
         of several.\n\n\
         \x20   zab find / --kind ephemeral --owner 0x100000abc\n\
         \x20   zab find /app --name '*.lock' --older 7d --print0 | xargs -0 -n1 zab delete",
    ),
    (
        "get",
        "\n    zab get /app/config --json\n    zab get /app/key --file key.bin",
    ),
    (
        "set",
        "\n    zab set /app/config --file config.json --json\n    echo -n value | zab set /app/key --file -",
    ),
];

pub(super) const OPTIONS: &str = "\
Options:
  -server host:port[,host:port...][/chroot]   servers, and the node to take for the root [localhost:2181]
  -timeout ms                                 session timeout, and patience for connecting [30000]
  -r                                          a read-only server will do
  -waitforconnection                          wait for a server first
  -client-configuration file                  the Java client's settings; refused where they ask for TLS or SASL
  -auth scheme:secret | -auth @file           present a credential; of a file, each line
  --output text|json|yaml|table               how results are printed; it may also follow the command
  --help [command], -version

Without a command zab reads commands: from the terminal, with an editor, completion of paths and a history
(~/.zab_history, or ZAB_HISTORY); or from a pipe, a line each, and prints what zkCli.sh prints.";

pub(super) const EXIT_CODES: &str = "\
Exit codes of zkCli.sh's commands are zkCli.sh's: 0, 1 for any failure, 127 for an unknown command. All others, and
these with --output or an option of zab's own, tell the kind; a command that runs another exits as that did:";

/// Those that are neither commands of a session nor recipes.
pub(crate) fn others() -> impl Iterator<Item = &'static str> {
    let own = [
        crate::bench::COMMAND,
        crate::completions::COMMAND,
        man::COMMAND,
        crate::migrate::COMMAND,
    ];
    own.into_iter().chain(crate::forward::COMMANDS)
}

/// The help of everything, or of one command.
pub(crate) fn help_text(words: &[String]) -> Result<String, Failure> {
    match words.split_first() {
        Some((name, words)) => of_command(name, words),
        None => Ok(overview()),
    }
}

pub(super) fn about(name: &str) -> &'static str {
    let found = ABOUT.iter().find(|(known, _)| *known == name);
    found.map_or("", |(_, about)| about)
}

pub(super) fn recipes() -> Vec<&'static str> {
    recipe::COMMANDS.iter().map(|(name, _)| *name).collect()
}

fn of_command(name: &str, words: &[String]) -> Result<String, Failure> {
    // `config` alone is zkCli.sh's.
    let own = (name != "config" || !words.is_empty())
        .then(|| recipe::help(name, words))
        .flatten();
    if let Some(help) = own {
        return Ok(help);
    }
    let hint = match name {
        crate::completions::COMMAND => Some("zab completions bash|zsh|fish".to_owned()),
        man::COMMAND => Some("zab man | man -l -".to_owned()),
        crate::migrate::COMMAND => Some(
            crate::migrate::USAGE
                .replace("usage: ", "")
                .replace("       ", "    "),
        ),
        name if crate::forward::COMMANDS.contains(&name) => {
            Some(format!("see zab {name} --help: the daemon does it"))
        }
        _ => None,
    };
    if let Some(hint) = hint {
        return Ok(format!("{name}: {}\n\n    {hint}\n", about(name)));
    }
    let syntax =
        syntax(name).ok_or_else(|| Failure::UnknownCommand(format!("Command not found {name}")))?;
    let mut text = format!("{name}: {}\n\n    {name} {syntax}\n", about(name));
    let flags = flags(name).filter(|flags| !flags.flags.is_empty());
    if let Some(flags) = flags {
        text.push_str(&format!("\n{}", flags.full_table()));
    }
    if let Some((_, more)) = MORE.iter().find(|(known, _)| *known == name) {
        text.push_str(&format!("\n{}\n", filled(more)));
    }
    if name == "config" {
        text.push_str("\nWith a word behind it, the configuration centre: help config publish, and so on.\n\n");
        text.push_str(&recipe::help(name, &[]).unwrap_or_default());
    }
    if name == "admin" {
        text.push('\n');
        for (word, about) in FOUR_LETTER_WORDS {
            text.push_str(&format!("    {word}  {about}\n"));
        }
    }
    Ok(text)
}

fn overview() -> String {
    let group = |title: &str, names: Vec<&str>| {
        let lines = names
            .into_iter()
            .map(|name| format!("  {name:21} {}\n", about(name)));
        format!("{title}\n{}\n", lines.collect::<String>())
    };
    let named = |commands: &[Command]| -> Vec<&'static str> {
        commands.iter().map(|command| command.name).collect()
    };
    let mut own = named(TOOLS);
    own.extend(others());
    own.sort_unstable();
    let interactive = interactive::NAMES.iter().map(|command| command.name);
    format!(
        "zab, a shell for zabd and Apache ZooKeeper\n\n    zab [options] [command [arguments]]\n\n{OPTIONS}\n\n{}{}{}{}\
         zab --help command, or help command in the shell, tells more.\n\n{EXIT_CODES}\n{}",
        group("Commands of zkCli.sh:", named(COMMANDS)),
        group("More commands:", own),
        group(
            "Held while a command runs, or shared; each with a --help of its own:",
            recipes()
        ),
        group("Where more commands follow:", interactive.collect()),
        exit::all(),
    )
}

/// A text in lines that fit a terminal; lines that are indented stay as they are.
fn filled(text: &str) -> String {
    const WIDTH: usize = 100;
    let mut out = String::new();
    for paragraph in text.lines() {
        if paragraph.starts_with(' ') {
            out.push_str(paragraph);
            out.push('\n');
            continue;
        }
        let mut width = 0;
        for word in paragraph.split(' ') {
            if width > 0 && width + 1 + word.len() > WIDTH {
                out.push('\n');
                width = 0;
            }
            if width > 0 {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += word.len();
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_explained() {
        for name in super::super::names().chain(others()) {
            assert_ne!(about(name), "", "{name}");
        }
        assert!(
            ABOUT
                .windows(2)
                .all(|pair| pair[0].0.to_lowercase() < pair[1].0.to_lowercase())
        );
        for name in super::super::names().chain(others()) {
            assert!(of_command(name, &[]).unwrap().contains(name));
        }
        let overview = overview();
        assert!(
            overview.contains("\n  tree                  draw a subtree\n"),
            "{overview}"
        );
        assert!(of_command("nosuch", &[]).is_err());
    }

    #[test]
    fn texts_are_filled_and_examples_stay() {
        let filled = filled(&format!("{}\n    example", "word ".repeat(30).trim_end()));
        assert!(filled.lines().all(|line| line.len() <= 100));
        assert!(filled.ends_with("\n    example\n"));
    }
}
