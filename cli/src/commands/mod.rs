//! The commands, and how their words become calls.

mod config;
mod help;
mod man;
mod quota;
mod read;
mod session;
mod value;
mod write;

use crate::failure::Failure;
use crate::flags::{self, FlagSet, Parsed};
use crate::interactive;
use crate::output::Format;
use crate::recipe;
use crate::shell::Shell;
use crate::tools::TOOLS;

pub(crate) use help::{help_text, others};
pub(crate) use man::{COMMAND as MAN, page as manual};
pub(crate) use session::VERSION_LINE;

/// A command of the shell.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Options and arguments, as the usage shows them.
    pub(crate) syntax: &'static str,
    pub(crate) flags: FlagSet,
    /// Whether the usage explains each option.
    pub(crate) explains_flags: bool,
    pub(crate) run: fn(&mut Shell<'_>, &mut Arguments) -> Result<(), Failure>,
}

impl Command {
    fn usage(&self) -> String {
        let line = format!("{} {}", self.name, self.syntax);
        if self.flags.flags.iter().all(|flag| flag.own) && self.explains_flags {
            format!("{line}\n{}", self.flags.full_table())
        } else if self.explains_flags {
            format!("{line}\n{}", self.flags.table())
        } else {
            line
        }
    }
}

/// Every command, in the order of the usage.
const COMMANDS: &[Command] = &[
    session::ADD_AUTH,
    config::CONFIG,
    write::CREATE,
    write::DELETE,
    write::DELETE_ALL,
    quota::DEL_QUOTA,
    read::GET,
    read::GET_ACL,
    read::GET_ALL_CHILDREN_NUMBER,
    read::GET_EPHEMERALS,
    quota::LIST_QUOTA,
    read::LS,
    config::RECONFIG,
    write::SET,
    write::SET_ACL,
    quota::SET_QUOTA,
    read::STAT,
    session::SYNC,
    session::VERSION,
    session::WHO_AM_I,
];

/// A command's words, parsed.
pub(crate) struct Arguments {
    command: &'static Command,
    words: Vec<String>,
    parsed: Parsed,
}

impl Arguments {
    fn parse(command: &'static Command, words: &[String]) -> Result<Self, Failure> {
        Ok(Self {
            command,
            words: words.to_vec(),
            parsed: flags::parse(&command.flags, words)?,
        })
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.parsed.has(flag)
    }

    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        self.parsed.value(flag)
    }

    /// The values of an option that may be given several times.
    pub(crate) fn values(&self, flag: &'static str) -> impl Iterator<Item = &str> {
        self.parsed.values(flag)
    }

    /// The value of one of zab's own options, which is a number.
    pub(crate) fn number(&self, flag: &str) -> Result<Option<usize>, Failure> {
        let text = self.value(flag);
        text.map(|text| {
            text.parse()
                .map_err(|_| Failure::usage(format!("--{flag} takes a number, not \"{text}\"")))
        })
        .transpose()
    }

    /// The positional arguments from this one on.
    pub(crate) fn rest(&self, from: usize) -> &[String] {
        self.parsed.positionals.get(from..).unwrap_or_default()
    }

    /// The value of `-v`, an expected version; -1 without one.
    fn version(&self) -> Result<i32, Failure> {
        match self.value("v").map(str::parse) {
            None => Ok(-1),
            Some(Ok(version)) => Ok(version),
            Some(Err(_)) => Err(Failure::usage("-v argument must be an int value")),
        }
    }

    pub(crate) fn positional(&self, at: usize) -> Option<&str> {
        self.parsed.positionals.get(at).map(String::as_str)
    }

    /// A positional argument that must be there.
    pub(crate) fn required(&self, at: usize) -> Result<&str, Failure> {
        self.positional(at)
            .ok_or_else(|| Failure::Usage(self.command.usage()))
    }

    /// Understands `get path watch` as `get path -w`, with a word of advice: the second word behind the command,
    /// whatever it is, becomes `-w`.
    fn allow_deprecated_watch(
        &mut self,
        shell: &mut Shell<'_>,
        form: &str,
        better: &str,
    ) -> Result<(), Failure> {
        if self.positional(1).is_none() {
            return Ok(());
        }
        shell.complain(format_args!(
            "'{form}' has been deprecated. Please use '{better}' instead."
        ))?;
        self.words[1] = "-w".to_owned();
        self.parsed = flags::parse(&self.command.flags, &self.words)?;
        Ok(())
    }
}

/// A command line: the command, if there is one of that name, its words, and how it is to print.
#[derive(Clone)]
pub(crate) struct Line {
    name: String,
    words: Vec<String>,
    format: Option<Format>,
    command: Option<&'static Command>,
    /// Whether it is zab's own: its command, or one of its options.
    is_own: bool,
}

impl Line {
    /// Looks up the command and takes `--output` out of its words; where it stands does not matter, unless that is
    /// behind `--`.
    pub(crate) fn parse(words: &[String], format: Option<Format>) -> Result<Self, Failure> {
        let (name, words) = match words.split_first() {
            Some((name, words)) => (name.clone(), words.to_vec()),
            None => (String::new(), Vec::new()),
        };
        let named = |command: &&Command| command.name == name;
        let tool = TOOLS.iter().find(named);
        let command = COMMANDS.iter().find(named).or(tool);
        let mut line = Self {
            name,
            words,
            format,
            command,
            is_own: tool.is_some(),
        };
        if let Some(command) = command {
            line.take_format()?;
            line.is_own |= line.words.iter().any(|word| command.flags.has_own(word));
            line.is_own |= line.asks_for_help();
        }
        Ok(line)
    }

    fn take_format(&mut self) -> Result<(), Failure> {
        let end = self.words.iter().position(|word| word == "--");
        let end = end.unwrap_or(self.words.len());
        let Some(at) = self.words[..end]
            .iter()
            .position(|word| word == "--output" || word.starts_with("--output="))
        else {
            return Ok(());
        };
        let word = self.words.remove(at);
        let value = match word.split_once('=') {
            Some((_, value)) => value.to_owned(),
            None if at < self.words.len() => self.words.remove(at),
            None => String::new(),
        };
        self.format = Some(Format::parse(&value)?);
        Ok(())
    }

    /// Whether how to use the command is all that is wanted. No command takes the word for anything else.
    fn asks_for_help(&self) -> bool {
        let own = self.words.iter().take_while(|word| *word != "--");
        own.into_iter().any(|word| word == "--help")
    }

    /// Whether the output is all the Java shell's: where it connects to first, and events between results.
    pub(crate) fn is_java(&self) -> bool {
        !self.is_own && self.format.unwrap_or_default() == Format::Text
    }

    /// The exit code of a failure. The Java shell's command lines have its codes, unless a form of output was asked
    /// for.
    pub(crate) fn exit_code(&self, failure: &Failure) -> u8 {
        if self.is_own || self.format.is_some() {
            failure.kind().code()
        } else {
            failure.exit_code()
        }
    }
}

/// Runs one command line.
pub(crate) fn run(shell: &mut Shell<'_>, line: &Line) -> Result<(), Failure> {
    shell.set_format(line.format.unwrap_or_default(), line.is_java());
    let name = &line.name;
    if name.is_empty() {
        shell.complain(usage())?;
        return Err(Failure::usage("No command entered"));
    }
    if let Some(command) = line.command {
        if line.asks_for_help() {
            return shell.say(help_text(std::slice::from_ref(name))?.trim_end());
        }
        let is_tool = TOOLS.iter().any(|tool| tool.name == command.name);
        let parsed = Arguments::parse(command, &line.words);
        let mut arguments = parsed.map_err(|failure| match failure {
            // The class of an exception is for those who know the Java shell's.
            Failure::Flags(error) if is_tool => {
                let words = error.to_string();
                let words = words
                    .split_once(": ")
                    .map_or(words.as_str(), |(_, words)| words);
                Failure::Usage(format!("{words}; zab {name} --help tells what there is"))
            }
            other => other,
        })?;
        let result = (command.run)(shell, &mut arguments);
        shell.zk.end_watch();
        // What has been found is told even if the rest failed.
        let printed = shell.finish_documents();
        return result.and(printed);
    }
    if shell.event_words.is_some() {
        // Who sits at a terminal does not want a page of words.
        let hint = match alike(name) {
            Some(meant) => format!("; is it {meant}? help lists all"),
            None if others().any(|known| known == name) => {
                format!("; it is for the command line, zab {name}")
            }
            None => "; help lists all".to_owned(),
        };
        return Err(Failure::UnknownCommand(format!("{name}{hint}")));
    }
    shell.complain(usage())?;
    let is_interactive = interactive::NAMES.iter().any(|known| known.name == name);
    Err(Failure::UnknownCommand(
        if is_interactive && name != "help" {
            format!("{name} belongs to an interactive shell: start zab without a command")
        } else {
            format!("Command not found {name}")
        },
    ))
}

/// The command of this name, if it is one that works on a session.
pub(crate) fn find_command(name: &str) -> Option<&'static Command> {
    let mut commands = COMMANDS.iter().chain(TOOLS);
    commands.find(|command| command.name == name)
}

/// The options of this command, if it is one that works on a session.
pub(crate) fn flags(name: &str) -> Option<&'static FlagSet> {
    let other = interactive::NAMES.iter().find(|known| known.name == name);
    let session = find_command(name).map(|command| &command.flags);
    session.or(other.map(|known| &known.flags))
}

/// The names of all commands that an interactive shell has.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let commands = COMMANDS.iter().chain(TOOLS).map(|command| command.name);
    let recipes = recipe::COMMANDS.iter().map(|(name, _)| *name);
    let interactive = interactive::NAMES.iter().map(|command| command.name);
    commands.chain(recipes).chain(interactive)
}

/// What may follow a command.
pub(crate) fn syntax(name: &str) -> Option<String> {
    let session = find_command(name).map(|command| command.syntax);
    let other = interactive::NAMES.iter().find(|known| known.name == name);
    let recipe = recipe::COMMANDS.iter().find(|(known, _)| *known == name);
    session
        .or(other.map(|known| known.syntax))
        .or(recipe.map(|(_, syntax)| *syntax))
        .map(str::to_owned)
}

/// The command whose name is nearest to a word, if it could be meant.
fn alike(word: &str) -> Option<&'static str> {
    let near = |name: &&'static str| distance(&name.to_lowercase(), &word.to_lowercase());
    let found = names().min_by_key(near)?;
    let is_near = near(&found) <= word.chars().count() / 3;
    is_near.then_some(found)
}

/// How many letters have to be put in, taken out or replaced to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<_> = other.chars().collect();
    let mut row: Vec<_> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for column in 0..other.len() {
            let replaced = before + usize::from(other[column] != letter);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// How to use this program, the last line without its line end.
pub(crate) fn usage() -> String {
    let mut usage = String::from(
        "zab [-server host:port[,host:port...][/chroot]] [-timeout ms] [-r] [-waitforconnection] \
         [-auth scheme:secret|@file]... cmd args",
    );
    let interactive = interactive::NAMES
        .iter()
        .filter(|command| command.name != "help")
        .map(|command| (command.name, command.syntax));
    let commands = COMMANDS
        .iter()
        .map(|command| (command.name, command.syntax));
    let mut commands: Vec<_> = commands.chain(interactive).collect();
    commands.sort_by_key(|(name, _)| name.to_lowercase());
    for (name, syntax) in commands {
        usage.push_str(&format!("\n\t{name} {syntax}"));
    }
    for command in TOOLS {
        usage.push_str(&format!("\n\t{} {}", command.name, command.syntax));
    }
    // Those behind are not commands of this session.
    for (name, syntax) in recipe::COMMANDS {
        usage.push_str(&format!("\n\t{name} {syntax}"));
    }
    usage.push_str("\n\tbench workload [options, see bench --help]");
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_sorted_and_names_are_unique() {
        for commands in [COMMANDS, TOOLS] {
            let sorted =
                |pair: &[Command]| pair[0].name.to_lowercase() < pair[1].name.to_lowercase();
            assert!(commands.windows(2).all(sorted));
        }
        let is_java = |tool: &Command| COMMANDS.iter().any(|command| command.name == tool.name);
        assert!(!TOOLS.iter().any(is_java));
        assert!(usage().contains("\n\tls [-s] [-w] [-R] path\n"));
    }

    #[test]
    fn a_slip_is_understood() {
        for (word, meant) in [
            ("tre", Some("tree")),
            ("getacl", Some("getAcl")),
            ("lcok", None),
            ("creat", Some("create")),
            ("xyzzy", None),
            ("l", None),
        ] {
            assert_eq!(alike(word), meant, "{word}");
        }
    }

    #[test]
    fn get_explains_its_options() {
        let get = COMMANDS.iter().find(|command| command.name == "get");
        assert_eq!(
            get.unwrap().usage(),
            "get [-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n -s   Print znode stats additionally\n \
             -w   Watch for changes on the znode\n -x   Output data in hexdump format\n"
        );
    }
}
