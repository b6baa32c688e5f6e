//! The commands, and how their words become calls.

mod config;
mod quota;
mod read;
mod session;
mod write;

use crate::failure::Failure;
use crate::flags::{self, FlagSet, Parsed};
use crate::recipe;
use crate::shell::Shell;

pub(crate) use session::VERSION_LINE;

/// A command of the shell.
pub(crate) struct Command {
    name: &'static str,
    /// Options and arguments, as the usage shows them.
    syntax: &'static str,
    flags: FlagSet,
    /// Whether the usage explains each option.
    explains_flags: bool,
    run: fn(&mut Shell<'_>, &mut Arguments) -> Result<(), Failure>,
}

impl Command {
    fn usage(&self) -> String {
        let line = format!("{} {}", self.name, self.syntax);
        if self.explains_flags {
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

/// Commands of the Java shell that only make sense in an interactive one, which this is not.
const INTERACTIVE: &[&str] = &[
    "addWatch",
    "close",
    "connect",
    "history",
    "printwatches",
    "quit",
    "redo",
    "removewatches",
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

    fn has(&self, flag: &str) -> bool {
        self.parsed.has(flag)
    }

    fn value(&self, flag: &str) -> Option<&str> {
        self.parsed.value(flag)
    }

    /// The value of `-v`, an expected version; -1 without one.
    fn version(&self) -> Result<i32, Failure> {
        match self.value("v").map(str::parse) {
            None => Ok(-1),
            Some(Ok(version)) => Ok(version),
            Some(Err(_)) => Err(Failure::usage("-v argument must be an int value")),
        }
    }

    fn positional(&self, at: usize) -> Option<&str> {
        self.parsed.positionals.get(at).map(String::as_str)
    }

    /// A positional argument that must be there.
    fn required(&self, at: usize) -> Result<&str, Failure> {
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

/// Runs one command line.
pub(crate) fn run(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = words.split_first() else {
        shell.complain(usage())?;
        return Err(Failure::usage("No command entered"));
    };
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return (command.run)(shell, &mut Arguments::parse(command, rest)?);
    }
    shell.complain(usage())?;
    Err(Failure::UnknownCommand(
        if INTERACTIVE.contains(&name.as_str()) {
            format!("{name} belongs to an interactive shell, which zab does not have")
        } else {
            format!("Command not found {name}")
        },
    ))
}

/// How to use this program, the last line without its line end.
pub(crate) fn usage() -> String {
    let mut usage = String::from(
        "zab [-server host:port[,host:port...][/chroot]] [-timeout ms] [-r] [-waitforconnection] \
         [-auth scheme:secret|@file]... cmd args",
    );
    for command in COMMANDS {
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
        assert!(
            COMMANDS
                .windows(2)
                .all(|pair| pair[0].name.to_lowercase() < pair[1].name.to_lowercase())
        );
        assert!(usage().contains("\n\tls [-s] [-w] [-R] path\n"));
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
