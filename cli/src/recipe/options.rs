//! What the command lines of recipes look like.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::Signal;

use crate::exit::{self, Kind};

/// Exit codes of commands that run another, and what it finds around it.
fn running() -> String {
    let codes = exit::lines(
        &[
            Kind::Usage,
            Kind::Unreachable,
            Kind::NotObtained,
            Kind::SessionLost,
            Kind::NotAllowed,
            Kind::NotExecutable,
            Kind::UnknownCommand,
        ],
        &[
            (
                Kind::Unreachable,
                "no server, or no answer; COMMAND was not run",
            ),
            (
                Kind::NotObtained,
                "it was not to be had, now (--try) or in time (--timeout); COMMAND was not run",
            ),
            (
                Kind::SessionLost,
                "it was lost while COMMAND ran, which was told by --signal and had --grace to end",
            ),
            (
                Kind::NotAllowed,
                "not allowed: access control, or a credential; COMMAND was not run",
            ),
            (Kind::NotExecutable, "COMMAND cannot be run"),
            (Kind::UnknownCommand, "there is no COMMAND"),
        ],
    );
    format!(
        "Exit codes: that of COMMAND, or 128 and the number of the signal that ended it;\n{codes}{MORE_CODES}\n\n\
         {ENVIRONMENT}"
    )
}

/// Exit codes of commands that only ask and change.
fn asking() -> String {
    let codes = exit::lines(
        &[
            Kind::Done,
            Kind::Usage,
            Kind::Input,
            Kind::Unreachable,
            Kind::NotObtained,
            Kind::NotAllowed,
            Kind::Refused,
            Kind::Unknown,
        ],
        &[(Kind::NotObtained, "it was not to be had, now or in time")],
    );
    format!("Exit codes:\n{codes}{MORE_CODES}")
}

pub(super) const MORE_CODES: &str = "All of them are in zab --help.";

const ENVIRONMENT: &str = "\
COMMAND finds in its environment
  ZAB_FENCING_TOKEN  a number greater than that of whoever held it before (not so for --shared, where several
                     hold it at a time). Present it with every change outside; whoever is changed should refuse
                     tokens smaller than the greatest that it has seen.
  ZAB_PATH           PATH
  ZAB_NODE           the node by which it is held

COMMAND runs in a process group of its own, which gets the signals, unless the standard input is a terminal. If zab
itself is killed COMMAND gets --signal at once; what it holds stays until the session expires.";

/// How a command is run, and how it is told that what it ran under is lost.
#[derive(Debug, Clone, Args)]
pub(crate) struct Running {
    /// Who this is, for those who ask [default: host name and process id].
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// The signal by which COMMAND is told that it is lost.
    #[arg(long, default_value = "TERM", value_parser = signal)]
    pub(crate) signal: Signal,
    /// How long COMMAND may go on after that, in seconds, before it is killed. Others may have it already.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
}

/// Runs a command while holding a lock.
///
/// The lock is a place in a line of ephemeral nodes under PATH. It excludes Curator's InterProcessMutex and read-write
/// locks and kazoo's Lock, WriteLock and ReadLock on the same PATH; with -n it is Curator's InterProcessSemaphoreV2 or
/// kazoo's Semaphore.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab lock", bin_name = "zab lock", no_binary_name = true, disable_version_flag = true, after_help = running())]
pub(crate) struct Lock {
    /// The node of the lock, made if need be.
    pub(crate) path: String,
    /// Do not wait if it is held.
    #[arg(long = "try")]
    pub(crate) immediate: bool,
    /// Wait no longer than this, in seconds.
    #[arg(long, value_parser = seconds, conflicts_with = "immediate")]
    pub(crate) timeout: Option<Duration>,
    /// Share it with others who share it; excludes those who do not.
    #[arg(long)]
    pub(crate) shared: bool,
    /// Let so many hold it at a time: everybody has to give the same number.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "shared",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) permits: Option<u32>,
    /// With -n: whose semaphores these are.
    #[arg(long, value_enum, default_value_t = Layout::Curator, requires = "permits")]
    pub(crate) layout: Layout,
    #[command(flatten)]
    pub(crate) running: Running,
    /// What to run.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// Runs a command as the leader of a group, or says who leads.
///
/// Leads who has been in line at PATH for the longest, together with Curator's LeaderLatch and LeaderSelector and
/// kazoo's Election.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab elect", bin_name = "zab elect", no_binary_name = true, disable_version_flag = true, after_help = running())]
pub(crate) struct Elect {
    /// The node of the election, made if need be.
    pub(crate) path: String,
    /// Print who leads, and nothing else; exit with 75 if nobody does.
    #[arg(long, conflicts_with_all = ["command", "again"])]
    pub(crate) who: bool,
    /// After the leadership was lost, stand for election again.
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) running: Running,
    /// What to run as the leader.
    #[arg(last = true, required_unless_present = "who")]
    pub(crate) command: Vec<String>,
}

/// Waits for each other.
///
/// A gate is closed while PATH is there (Curator's DistributedBarrier, kazoo's Barrier); a room at PATH is entered and
/// left together (DoubleBarrier of both).
#[derive(Debug, Clone, Parser)]
#[command(name = "zab barrier", bin_name = "zab barrier", no_binary_name = true, disable_version_flag = true, after_help = asking())]
pub(crate) struct Barrier {
    /// The node of the barrier.
    pub(crate) path: String,
    #[command(subcommand)]
    pub(crate) action: BarrierAction,
}

/// What to do about a barrier.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BarrierAction {
    /// Close the gate.
    Set,
    /// Open the gate.
    Remove,
    /// Wait until the gate is open.
    Wait {
        /// Wait no longer than this, in seconds.
        #[arg(long, value_parser = seconds)]
        timeout: Option<Duration>,
    },
    /// Enter a room when all are there, run a command, and leave when all are done. Exits as the command did.
    Enter {
        /// How many are to be in the room.
        #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// Wait no longer than this for the others to come, in seconds.
        #[arg(long, value_parser = seconds)]
        timeout: Option<Duration>,
        /// What to run.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// A number that many may change.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab counter", bin_name = "zab counter", no_binary_name = true, disable_version_flag = true, after_help = asking())]
pub(crate) struct Counter {
    /// The node of the counter.
    pub(crate) path: String,
    /// How the number is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) action: Option<CounterAction>,
}

/// What to do about a counter: all print the number it has then.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CounterAction {
    /// Print it.
    Get,
    /// Add to it.
    Add {
        /// How much; less than nothing will do.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
    },
    /// Set it.
    Set {
        /// To what.
        #[arg(allow_negative_numbers = true)]
        value: i64,
    },
}

/// What is put in comes out once.
///
/// Items are those of Curator's SimpleDistributedQueue or kazoo's Queue; both kinds are taken.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab queue", bin_name = "zab queue", no_binary_name = true, disable_version_flag = true, after_help = asking())]
pub(crate) struct Queue {
    /// The node of the queue.
    pub(crate) path: String,
    #[command(subcommand)]
    pub(crate) action: QueueAction,
}

/// What to do about a queue.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum QueueAction {
    /// Put an item in.
    Put {
        /// The item; - is the standard input.
        item: String,
        /// Who is to take it, besides zab.
        #[arg(long, value_enum, default_value_t = Layout::Curator)]
        layout: Layout,
        /// With --layout kazoo: from 0 to 999, the lowest first.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(..=999))]
        priority: u16,
    },
    /// Take the next item and print it. Exits with 79 if the connection was lost meanwhile and another may have
    /// taken it, too.
    Take {
        /// Wait for an item no longer than this, in seconds; 0 is not at all.
        #[arg(long, value_parser = seconds)]
        timeout: Option<Duration>,
    },
    /// Print the next item and leave it.
    Peek,
    /// Print how many items there are.
    Len,
}

/// Numbers that nobody else has.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab id", bin_name = "zab id", no_binary_name = true, disable_version_flag = true, after_help = asking())]
pub(crate) struct Id {
    /// The node of the workers, as /snowflake/NAME of Leaf; of a segment, its counter.
    pub(crate) path: String,
    #[command(subcommand)]
    pub(crate) action: IdAction,
}

/// Which numbers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IdAction {
    /// Print the worker id of a name, from 0 to 1023: always the same for one name. Refused while this machine's clock
    /// is behind what the worker has used before.
    Worker {
        /// Such as 10.0.0.1:8080.
        name: String,
    },
    /// Print Snowflake ids of a worker: 41 bits of milliseconds since 2010-11-04, 10 of the worker, 12 of a count.
    Snowflake {
        /// Such as 10.0.0.1:8080.
        name: String,
        /// How many.
        #[arg(short, long, default_value_t = 1)]
        count: u32,
    },
    /// Take some numbers of a counter, and print the first and the last.
    Segment {
        /// How many.
        #[arg(default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..))]
        step: i64,
    },
}

/// Whose layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// That of Apache Curator.
    Curator,
    /// That of kazoo.
    Kazoo,
}

/// How a counter is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As text: kazoo's Counter.
    Text,
    /// In eight bytes: Curator's DistributedAtomicLong.
    Long,
    /// In four bytes: Curator's SharedCount.
    Int,
}

/// Parses a time in seconds, with or without a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Parses a name and its value.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("\"{text}\" is not of the form NAME=VALUE")),
    }
}

/// Parses a signal that makes sense to send.
pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, signal)| *signal)
        .ok_or_else(|| {
            let names: Vec<_> = SIGNALS.iter().map(|(name, _)| *name).collect();
            format!("no signal {text}; there are {}", names.join(", "))
        })
}

const SIGNALS: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_hold_together() {
        for command in [
            Lock::command(),
            Elect::command(),
            Barrier::command(),
            Counter::command(),
            Queue::command(),
            Id::command(),
        ] {
            command.debug_assert();
        }
    }

    #[test]
    fn a_commands_own_options_are_left_alone() {
        let lock = Lock::try_parse_from(["/l", "--timeout", "1.5", "--", "ls", "--try"]).unwrap();
        assert_eq!(lock.command, ["ls", "--try"]);
        assert_eq!(lock.timeout, Some(Duration::from_millis(1500)));
        assert!(!lock.immediate);
        for wrong in [
            &["/l"][..],
            &["/l", "--try", "--timeout", "1", "--", "ls"],
            &["/l", "--timeout", "-1", "--", "ls"],
            &["/l", "-n", "0", "--", "ls"],
            &["/l", "--signal", "STOP", "--", "ls"],
        ] {
            assert!(Lock::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
        assert!(Elect::try_parse_from(["/e"]).is_err());
        assert!(Elect::try_parse_from(["/e", "--who"]).unwrap().who);
    }
}
