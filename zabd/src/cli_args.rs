//! The command line of `zabd`: what it takes, and what a process says with its exit code.
//!
//! Decides nothing about values: flags become [`Written`] entries beside those of the file, and
//! [`config::load`] judges them all together.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jute_codec::Zxid;

use crate::config::{self, Origin, Sources, Written};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Check a file and print the values in force.
    CheckConfig(CheckArgs),
    /// Give a stopped server's data to Apache ZooKeeper.
    ExportJava(ExportArgs),
    /// Look into transaction logs.
    Log(LogArgs),
    /// Run the server.
    Run(RunArgs),
    /// Look into snapshots.
    Snapshot(SnapshotArgs),
}

/// Takes the arguments of a process, its own name first.
///
/// # Errors
/// What clap says: also for `--help` and `--version`. Its `exit()` prints to the right stream and
/// ends with 0 for these and 2 for bad usage.
pub fn parse<I, T>(args: I) -> Result<Command, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(args)?;
    let command = match cli.command {
        Some(Sub::CheckConfig(args)) => Command::CheckConfig(args),
        Some(Sub::ExportJava(args)) => Command::ExportJava(args),
        Some(Sub::Log(args)) => Command::Log(args),
        Some(Sub::Run(args)) => Command::Run(args),
        Some(Sub::Snapshot(args)) => Command::Snapshot(args),
        None => Command::Run(cli.run),
    };
    Ok(command)
}

#[derive(Debug, Parser)]
#[command(
    name = "zabd",
    version,
    about = "A coordination daemon that takes the place of Apache ZooKeeper",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Run the server; what zabd does when no command is named
    Run(RunArgs),
    /// Check a configuration file: findings on standard error, the values in force on standard output
    CheckConfig(CheckArgs),
    /// Give a stopped server's data to Apache ZooKeeper, where it is or as a copy
    ExportJava(ExportArgs),
    /// Look into transaction logs, zabd's or ZooKeeper's
    Log(LogArgs),
    /// Look into snapshots, zabd's or ZooKeeper's
    Snapshot(SnapshotArgs),
}

/// Arguments of `zabd export-java`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ExportArgs {
    /// Configuration file of the server
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write a copy as this dataDir, and leave everything else as it is
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    properties: Properties,
}

impl ExportArgs {
    /// Where the configuration comes from.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            file: Some(self.file.clone()),
            written: self.properties.written(),
        }
    }
}

/// Arguments of `zabd snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: SnapshotWhat,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with snapshots. A path is a file of ZooKeeper's, or a directory that zabd or ZooKeeper keeps one in.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SnapshotWhat {
    /// Read everything and say whether it is sound; exit code 1 if not
    Check {
        /// File of ZooKeeper's, or dataDir, version-2, or zabd's directory
        path: PathBuf,
    },
    /// Say what differs; exit code 1 if something does
    Compare {
        /// As for check
        left: PathBuf,
        /// As for check
        right: PathBuf,
    },
    /// Print sessions and nodes
    Print {
        /// As for check
        path: PathBuf,
        /// Print data, in base64
        #[arg(long)]
        data: bool,
    },
    /// Count nodes and measure subtrees
    Summary {
        /// As for check
        path: PathBuf,
        /// Levels of subtrees to show
        #[arg(long, default_value_t = 1)]
        depth: usize,
    },
}

/// Arguments of `zabd log`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: LogWhat,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with logs. A path is a file of ZooKeeper's, or a directory that zabd or ZooKeeper keeps logs in.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum LogWhat {
    /// Read everything and say whether it is sound; exit code 1 if not
    Check {
        /// File of ZooKeeper's, or dataLogDir, version-2, or zabd's directory
        path: PathBuf,
    },
    /// Compare transactions that both have; exit code 1 if some differ
    Compare {
        /// As for check
        left: PathBuf,
        /// As for check
        right: PathBuf,
    },
    /// Print transactions, one a line
    Print {
        /// As for check
        path: PathBuf,
        /// Leave out those before this zxid
        #[arg(long, value_name = "ZXID", value_parser = zxid)]
        from: Option<Zxid>,
        /// Leave out those after this zxid
        #[arg(long, value_name = "ZXID", value_parser = zxid)]
        to: Option<Zxid>,
    },
    /// Count transactions by kind
    Summary {
        /// As for check
        path: PathBuf,
    },
}

/// A zxid as everybody prints it, in hexadecimal digits.
fn zxid(text: &str) -> Result<Zxid, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(|zxid| Zxid(zxid.cast_signed()))
        .map_err(|_| "hexadecimal digits are wanted, as in 0x100000001".to_owned())
}

/// Arguments of `zabd run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Configuration file, or `PORT DATADIR [TICKTIME [MAXCNXNS]]`; without either, port 2181 and ./zabd-data
    #[arg(value_name = "CONFIG", num_args = 0..=4)]
    positional: Vec<String>,
    #[command(flatten)]
    properties: Properties,
    /// Directory of the data, in place of dataDir
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Port for clients, in place of clientPort; 0 takes any free one
    #[arg(long, value_name = "PORT")]
    client_port: Option<String>,
    /// What to trace: off, error, warn, info, debug, trace, or target=level separated by commas
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Shape of the trace: plain or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Arguments of `zabd check-config`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    properties: Properties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
struct Properties {
    /// A key of the configuration; the file goes before it. As for a JVM
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    property: Vec<String>,
}

impl RunArgs {
    /// Where the configuration comes from; `environment` looks a variable up.
    #[must_use]
    pub fn sources(&self, environment: impl Fn(&str) -> Option<String>) -> Sources {
        let mut sources = Sources {
            file: None,
            written: self.properties.written(),
        };
        let mut add = |name: &str, value: &str, origin: Origin| {
            sources.written.push(Written::new(name, value, origin));
        };
        match self.positional.as_slice() {
            [] => {
                if let Some(directory) = environment("ZABD_DATA_DIR") {
                    add("dataDir", &directory, Origin::Environment("ZABD_DATA_DIR"));
                }
            }
            [file] => sources.file = Some(PathBuf::from(file)),
            several => {
                // Started like this ZooKeeper limits no client, unlike with a file.
                add("maxClientCnxns", "0", Origin::BuiltIn);
                for (at, value) in several.iter().enumerate() {
                    add(POSITIONAL_KEYS[at.min(3)], value, Origin::Argument(at + 1));
                }
            }
        }
        let mut add = |name: &str, value: &str, origin: Origin| {
            sources.written.push(Written::new(name, value, origin));
        };
        for (name, key) in [
            ("ZABD_LOG", "zabd.log.level"),
            ("ZABD_LOG_FORMAT", "zabd.log.format"),
        ] {
            if let Some(value) = environment(name) {
                add(key, &value, Origin::Environment(name));
            }
        }
        for (flag, key, value) in [
            ("--data-dir", "dataDir", &self.data_dir),
            ("--client-port", "clientPort", &self.client_port),
            ("--log-level", "zabd.log.level", &self.log_level),
            ("--log-format", "zabd.log.format", &self.log_format),
        ] {
            if let Some(value) = value {
                add(key, value, Origin::Flag(flag));
            }
        }
        sources
    }
}

impl Properties {
    /// `-Dname` without a value is the empty text, as for a JVM.
    fn written(&self) -> Vec<Written> {
        let split = |text: &String| {
            let (name, value) = text.split_once('=').unwrap_or((text.as_str(), ""));
            Written::new(name, value, Origin::Property)
        };
        self.property.iter().map(split).collect()
    }
}

/// Carries `check-config` out: findings to `words`, values in force to `data`.
///
/// # Errors
/// What writing fails with.
pub fn check_config(
    args: &CheckArgs,
    data: &mut impl Write,
    words: &mut impl Write,
) -> io::Result<Exit> {
    let sources = Sources {
        file: Some(args.file.clone()),
        written: args.properties.written(),
    };
    match config::load(&sources) {
        Ok((config, findings)) => {
            write!(words, "{findings}")?;
            data.write_all(config::effective_text(&config).as_bytes())?;
            Ok(Exit::Finished)
        }
        Err(findings) => {
            write!(words, "{findings}")?;
            Ok(Exit::InvalidInvocation)
        }
    }
}

/// Exit codes. ZooKeeper: `org.apache.zookeeper.server.ExitCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Ended as asked.
    Finished = 0,
    /// Something nobody foresaw.
    UnexpectedError = 1,
    /// Bad usage or bad configuration.
    InvalidInvocation = 2,
    /// A data directory is missing or not accessible.
    UnableToAccessDatadir = 3,
    /// The HTTP administration server did not start.
    ErrorStartingAdminServer = 4,
    /// A snapshot could not be written.
    TxnlogErrorTakingSnapshot = 10,
    /// Commits and proposals disagree.
    UnmatchedTxnCommit = 12,
    /// A packet of the leader makes no sense, or the log could not be truncated.
    QuorumPacketError = 13,
    /// The election port could not be bound.
    UnableToBindQuorumPort = 14,
}

impl Exit {
    /// The line ZooKeeper prints to standard error before it ends like this, if it prints one.
    #[must_use]
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::InvalidInvocation => Some("Invalid config, exiting abnormally"),
            Self::UnableToAccessDatadir => Some("Unable to access datadir, exiting abnormally"),
            Self::ErrorStartingAdminServer => {
                Some("Unable to start AdminServer, exiting abnormally")
            }
            Self::Finished
            | Self::UnexpectedError
            | Self::TxnlogErrorTakingSnapshot
            | Self::UnmatchedTxnCommit
            | Self::QuorumPacketError
            | Self::UnableToBindQuorumPort => None,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// ZooKeeper: `ServerConfig.parse`.
const POSITIONAL_KEYS: [&str; 4] = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];

const AFTER_HELP: &str = "\
Environment:
  ZABD_DATA_DIR    directory of the data when no configuration is named
  ZABD_LOG         what to trace; --log-level goes before it
  ZABD_LOG_FORMAT  plain or json; --log-format goes before it

Exit codes:
  0 ended as asked, 1 unexpected error, 2 bad usage or configuration,
  3 data directory not accessible";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn run(args: &[&str]) -> RunArgs {
        let args = std::iter::once("zabd").chain(args.iter().copied());
        match parse(args).unwrap() {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn sources(args: &[&str], environment: &[(&str, &str)]) -> Sources {
        let lookup = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        run(args).sources(lookup)
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_what_it_does_unless_told_otherwise() {
        assert_eq!(run(&["zoo.cfg"]), run(&["run", "zoo.cfg"]));
        assert_eq!(run(&[]), run(&["run"]));
        assert_eq!(
            sources(&["zoo.cfg"], &[]),
            Sources::file("zoo.cfg".as_ref())
        );
        let parsed = parse(["zabd", "check-config", "zoo.cfg", "-Da=b"]).unwrap();
        let Command::CheckConfig(args) = parsed else {
            panic!("{parsed:?}")
        };
        assert_eq!(args.file, PathBuf::from("zoo.cfg"));
    }

    #[test]
    fn properties_look_like_a_jvms() {
        let sources = sources(
            &["-Dzookeeper.snapCount=5", "zoo.cfg", "-Dx", "-Da=b=c"],
            &[],
        );
        let expected = [("zookeeper.snapCount", "5"), ("x", ""), ("a", "b=c")]
            .map(|(name, value)| Written::new(name, value, Origin::Property));
        assert_eq!(sources.written, expected);
    }

    #[test]
    fn port_and_directory_as_for_a_standalone_zookeeper() {
        let load = |args: &[&str]| config::load(&sources(args, &[]));
        let (config, findings) = load(&["2185", "/tmp/d", "1000", "9"]).unwrap();
        assert!(findings.is_empty(), "{findings}");
        assert_eq!(config.listeners[0].port, 2185);
        assert_eq!(config.data_dir, PathBuf::from("/tmp/d"));
        assert_eq!(config.sessions.tick_ms, 1000);
        assert_eq!(config.connections.max_per_client, Some(9));
        let (config, _) = load(&["2185", "/tmp/d"]).unwrap();
        assert_eq!(config.connections.max_per_client, None);
        let findings = load(&["port", "/tmp/d"]).unwrap_err();
        assert_eq!(
            findings.to_string(),
            "argument 1: error: clientPort: \"port\" was given, where a whole number from 0 to 65535 is allowed\n"
        );
        assert!(parse(["zabd", "1", "2", "3", "4", "5"]).is_err());
    }

    #[test]
    fn flags_go_before_the_environment_and_both_before_properties() {
        let environment = [
            ("ZABD_LOG", "debug"),
            ("ZABD_LOG_FORMAT", "JSON"),
            ("ZABD_DATA_DIR", "/tmp/e"),
        ];
        let args = [
            "-DdataDir=/tmp/p",
            "-Dzabd.log.format=plain",
            "--log-level",
            "trace",
            "--client-port=0",
        ];
        let (config, _) = config::load(&sources(&args, &environment)).unwrap();
        assert_eq!(config.log.filter, "trace");
        assert_eq!(config.log.format, config::LogFormat::Json);
        assert_eq!(config.data_dir, PathBuf::from("/tmp/e"));
        assert_eq!(config.listeners[0].port, 0);
        let (config, _) = config::load(&sources(&["--data-dir", "/tmp/f"], &environment)).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/tmp/f"));
        // A file says itself where its data is.
        let with_file = sources(&["zoo.cfg"], &environment);
        assert!(
            with_file
                .written
                .iter()
                .all(|written| written.name != "dataDir")
        );
    }

    #[test]
    fn help_and_version_end_well_and_nonsense_with_2() {
        for (arg, kind, code) in [
            ("--help", ErrorKind::DisplayHelp, 0),
            ("--version", ErrorKind::DisplayVersion, 0),
            ("--nonsense", ErrorKind::UnknownArgument, 2),
        ] {
            let error = parse(["zabd", arg]).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, code), "{arg}");
        }
        let help = parse(["zabd", "--help"]).unwrap_err().to_string();
        for part in [
            "check-config",
            "--data-dir",
            "--log-format",
            "ZABD_DATA_DIR",
            "-D <NAME=VALUE>",
        ] {
            assert!(help.contains(part), "{part} is not in\n{help}");
        }
    }

    #[test]
    fn check_config_splits_data_from_words() {
        let path = std::env::temp_dir().join(format!("zabd-check-{}.cfg", std::process::id()));
        let check = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let args = CheckArgs {
                file: path.clone(),
                properties: Properties::default(),
            };
            let (mut data, mut words) = (Vec::new(), Vec::new());
            let exit = check_config(&args, &mut data, &mut words).unwrap();
            (
                exit,
                String::from_utf8(data).unwrap(),
                String::from_utf8(words).unwrap(),
            )
        };
        let (exit, data, words) = check("dataDir=/tmp/d\nclientPort=2181\nfoo=1\n");
        assert_eq!(exit, Exit::Finished);
        assert!(data.contains("tickTime=3000\n"), "{data}");
        assert!(
            words.ends_with(":3: warning: foo: is not known and passed over\n"),
            "{words}"
        );
        let (exit, data, words) = check("tickTime=0\n");
        assert_eq!((exit, data.as_str()), (Exit::InvalidInvocation, ""));
        assert_eq!(words.lines().count(), 3, "{words}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn exit_codes_are_zookeepers() {
        let codes = [
            Exit::Finished,
            Exit::UnexpectedError,
            Exit::InvalidInvocation,
            Exit::UnableToAccessDatadir,
            Exit::ErrorStartingAdminServer,
            Exit::TxnlogErrorTakingSnapshot,
            Exit::UnmatchedTxnCommit,
            Exit::QuorumPacketError,
            Exit::UnableToBindQuorumPort,
        ]
        .map(|exit| exit as u8);
        assert_eq!(codes, [0, 1, 2, 3, 4, 10, 12, 13, 14]);
    }
}
