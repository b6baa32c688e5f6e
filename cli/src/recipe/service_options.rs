//! What the command lines of naming look like.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::Signal;
use zab::naming::{Extras, Policy, UriSpec, WEIGHT_DEFAULT};

use super::options::{MORE_CODES, pair, seconds, signal};
use crate::exit::{self, Kind};
use crate::output::Format;

/// Services: instances are registered while they live and are well, listed, watched, and chosen among.
///
/// On the layout of Curator's service discovery (docs/naming.md): Curator's ServiceDiscovery and ServiceProvider see
/// what is registered here, and the other way round.
#[derive(Debug, Clone, Parser)]
#[command(name = "zab service", bin_name = "zab service", no_binary_name = true, disable_version_flag = true, after_help = codes())]
pub(crate) struct Service {
    /// The node of the services: the base path of Curator's ServiceDiscovery.
    #[arg(long, value_name = "PATH", default_value = "/services", global = true)]
    pub(crate) root: String,
    /// How results are printed: text, json, yaml, table.
    #[arg(long, value_name = "FORMAT", value_parser = format, global = true)]
    pub(crate) output: Option<Format>,
    #[command(subcommand)]
    pub(crate) action: Action,
}

fn codes() -> String {
    let codes = exit::lines(
        &[
            Kind::Done,
            Kind::Usage,
            Kind::Input,
            Kind::Unreachable,
            Kind::Conflict,
            Kind::NotObtained,
            Kind::SessionLost,
            Kind::NotAllowed,
            Kind::NotExecutable,
            Kind::UnknownCommand,
        ],
        &[
            (Kind::Done, "done; of register -- COMMAND that of COMMAND"),
            (Kind::Input, "the file of --state is something else"),
            (
                Kind::Conflict,
                "the id belongs to a node that is there to stay, and COMMAND was told to end",
            ),
            (Kind::NotObtained, "no instance can be used"),
            (
                Kind::SessionLost,
                "another has registered the same id: COMMAND was told by --signal and had --grace to end",
            ),
            (Kind::NotExecutable, "COMMAND cannot be run"),
            (Kind::UnknownCommand, "there is no COMMAND"),
        ],
    );
    format!(
        "Exit codes:\n{codes} 128 and the number of the signal that ended COMMAND, or register or watch without one\n\
         {MORE_CODES}\n\n{EXAMPLES}"
    )
}

const EXAMPLES: &str = "    zab service register web --address 10.0.0.7 --port 8080 --check-http /health -- ./web --port 8080
    zab service list web
    curl \"http://$(zab service resolve web)/\"
    zab service watch web -- ./write-backends";

const REGISTERING: &str = "\
It is registered as an ephemeral node. When zab ends it is gone at once; when zab or its machine dies, when the session
expires (-timeout). After a lost session it is registered anew, in place of what an earlier session left. The latest who
registers an id has it: the one before is told, and ends with 76.

An unhealthy instance is removed, since that is what every client of every age understands, also one that only lists
nodes; when it is well again it is registered again. With --unhealthy disable it stays with \"enabled\": false, so that
people see that it is there: Curator's ServiceProvider and zab do not use it, but Curator's queryForInstances hands it
out, and Curator before 4.0 cannot read it.

Checks begin with COMMAND, every second at least until one is good, which counts at once. After that it takes --fall bad
ones in a row, and then --rise good ones, to think otherwise.

On SIGTERM and SIGINT the instance is removed first; --drain later COMMAND gets the signal. COMMAND finds in its
environment ZAB_SERVICE, ZAB_INSTANCE (the id) and ZAB_NODE. It runs in a process group of its own, which gets the
signals, unless the standard input is a terminal, and is told to end if zab is killed.

Weight, version, tags and metadata go into the payload as a map, which Curator's clients read with the payload type Map
or Object; those made for another type, Void too, fail on it, and need --extras field: then these are beside the
payload, which is empty, and only zab reads them. Without any there is no payload, and every client reads it.";

const RESOLVING: &str = "\
Policies:
  weighted         any, as often as their weights say (register --weight)
  random           any, whatever their weights
  round-robin      the one behind the one that the last call chose, in the order of ids, whatever their weights
  consistent-hash  for one --key always the same, whoever asks and wherever; when instances come and go only the keys
                   move that have to
  sticky           the one that the last call chose, as long as it can be used; then as weighted

Each call is a process of its own, so round-robin and sticky remember in a file which instance they chose last: one file
for each root, service, policy, --key, tag and version, in $XDG_STATE_HOME/zab or ~/.local/state/zab, or the one of
--state. Calls of one user on one machine take turns or stick together by that; others have turns of their own, which
begin anywhere. To send the same client to the same instance from several machines use consistent-hash.

Instances that are disabled, have no address, or the weight 0 are never chosen.

--format puts the instance's values for names in braces: {endpoint} (address and port), {address}, {port}, {ssl-port},
{id}, {name}, {scheme}, {uri}, {version}, {weight}, {tags}, {meta.NAME}, {registration-time-utc}, {service-type}.

Each call opens and closes a session, which the ensemble has to agree on. Who resolves many times a second runs
zab service watch, or uses the library.";

const WATCHING: &str = "\
Prints a line for each instance that came (+), changed (~) or went (-), beginning with those that are there; with
--output json or yaml a document with all of them for each change. With COMMAND nothing is printed: COMMAND is run for
the state at the start and for each change, and gets all instances as JSON on its standard input, and in its environment
ZAB_SERVICE, ZAB_COUNT (how many can be used) and ZAB_ENDPOINTS (address and port of those, with spaces between; left
out where that is more than 100,000 bytes). While it runs changes wait; the latest state is never missed.

After a lost connection or session zab goes on with another. What it does not know any better stays as it was: no server
does not mean no instances.";

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// Register an instance while a command runs, or until a signal ends zab.
    #[command(after_help = REGISTERING)]
    Register(Box<Register>),
    /// Print the services, or the instances of one.
    List {
        /// The service.
        service: Option<String>,
    },
    /// Tell who serves, and each change of that.
    #[command(after_help = WATCHING)]
    Watch(Watch),
    /// Print where to find an instance, chosen by a policy.
    #[command(after_help = RESOLVING)]
    Resolve(Resolve),
}

/// Who is registered, and when.
#[derive(Debug, Clone, Args)]
pub(crate) struct Register {
    /// The service.
    pub(crate) service: String,
    /// Where the instance is: a host name or an IP address.
    #[arg(long)]
    pub(crate) address: String,
    /// Its port.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Its port for TLS.
    #[arg(long)]
    pub(crate) ssl_port: Option<u16>,
    /// Different from those of the service's other instances [default: ADDRESS:PORT].
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// How much of the work it is to get, compared with the others; 0 is none.
    #[arg(long, default_value_t = WEIGHT_DEFAULT)]
    pub(crate) weight: u32,
    /// Its version.
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// What it is good for.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// What else there is to know.
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Curator's uriSpec, such as {scheme}://{address}:{port}/api.
    #[arg(long, value_name = "PATTERN", value_parser = UriSpec::parse)]
    pub(crate) uri: Option<UriSpec>,
    /// Where weight, version, tags and metadata are written.
    #[arg(long, value_enum, default_value_t = Place::Payload)]
    pub(crate) extras: Place,
    #[command(flatten)]
    pub(crate) checks: Checks,
    /// What becomes of an unhealthy instance.
    #[arg(long, value_enum, default_value_t = Unhealthy::Remove)]
    pub(crate) unhealthy: Unhealthy,
    /// How long COMMAND goes on after it is no longer registered and before it gets the signal, in seconds.
    #[arg(long, default_value = "0", value_parser = seconds)]
    pub(crate) drain: Duration,
    /// The signal by which COMMAND is told that another has its id.
    #[arg(long, default_value = "TERM", value_parser = signal)]
    pub(crate) signal: Signal,
    /// How long COMMAND may go on after that, in seconds, before it is killed.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// What to run.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// How it is found out whether an instance is well.
#[derive(Debug, Clone, Args)]
pub(crate) struct Checks {
    /// Well is when this shell command succeeds.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["check_tcp", "check_http"])]
    pub(crate) check_command: Option<String>,
    /// Well is what accepts connections: --address and --port, or this.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, default_missing_value = "",
        require_equals = true, conflicts_with = "check_http")]
    pub(crate) check_tcp: Option<String>,
    /// Well is what answers GET of this with 200 to 299: http://HOST:PORT/PATH, or /PATH at --address and --port.
    #[arg(long, value_name = "URL")]
    pub(crate) check_http: Option<String>,
    /// The pause between two checks, in seconds.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) check_interval: Duration,
    /// How long a check may take, in seconds.
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) check_timeout: Duration,
    /// Good checks in a row after which an unhealthy instance is well.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rise: u32,
    /// Bad checks in a row after which a healthy instance is not.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) fall: u32,
}

/// Whom to follow.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watch {
    /// The service.
    pub(crate) service: String,
    /// Changes that follow each other within so many seconds come as one; ten times that is the longest wait.
    #[arg(long, default_value = "0.2", value_parser = seconds)]
    pub(crate) debounce: Duration,
    /// What to run.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// Whom to choose.
#[derive(Debug, Clone, Args)]
pub(crate) struct Resolve {
    /// The service.
    pub(crate) service: String,
    /// How to choose.
    #[arg(long, value_enum, default_value_t = PolicyName::Weighted)]
    pub(crate) policy: PolicyName,
    /// What is to get to the same instance each time; needed for consistent-hash.
    #[arg(long, required_if_eq("policy", "consistent-hash"))]
    pub(crate) key: Option<String>,
    /// Only instances with this tag; several times, with all of them.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only instances of this version.
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// What is printed.
    #[arg(long, value_name = "PATTERN", default_value = "{endpoint}", value_parser = UriSpec::parse_format)]
    pub(crate) format: UriSpec,
    /// Print all that can be used, in the order in which to try them.
    #[arg(long)]
    pub(crate) all: bool,
    /// If there is none, wait for one, no longer than this, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    /// Where round-robin and sticky remember what they chose last.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
}

/// Where what Curator has no field for goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// Beside the payload: for zab, and out of the way of Curator's clients.
    Field,
    /// Into the payload, as a map: for Curator's clients, too.
    Payload,
}

impl Place {
    pub(crate) const fn extras(self) -> Extras {
        match self {
            Self::Field => Extras::Field,
            Self::Payload => Extras::Payload,
        }
    }
}

/// What becomes of an unhealthy instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unhealthy {
    /// It stays, with "enabled": false.
    Disable,
    /// Its node goes.
    Remove,
}

/// A policy by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyName {
    ConsistentHash,
    Random,
    RoundRobin,
    Sticky,
    Weighted,
}

impl PolicyName {
    pub(crate) const fn policy(self) -> Policy {
        match self {
            Self::ConsistentHash => Policy::ConsistentHash,
            Self::Random => Policy::Random,
            Self::RoundRobin => Policy::RoundRobin,
            Self::Sticky => Policy::Sticky,
            Self::Weighted => Policy::Weighted,
        }
    }
}

fn format(name: &str) -> Result<Format, String> {
    Format::parse(name).map_err(|failure| failure.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_lines_hold_together() {
        Service::command().debug_assert();
        let words =
            "register web --address h --port 80 --check-tcp --meta a=b=c --root /s -- run --port 1";
        let service = Service::try_parse_from(words.split(' ')).unwrap();
        assert_eq!(service.root, "/s");
        let Action::Register(register) = service.action else {
            panic!("another action");
        };
        assert_eq!(register.command, ["run", "--port", "1"]);
        assert_eq!(register.checks.check_tcp.as_deref(), Some(""));
        assert_eq!(register.metadata, [("a".to_owned(), "b=c".to_owned())]);
        for wrong in [
            "register web",
            "register web --address h --port 70000",
            "register web --address h --check-tcp --check-http /x",
            "register web --address h --check-tcp=h:1 --check-command x",
            "register web --address h --rise 0",
            "resolve web --policy consistent-hash",
            "resolve web --format {adress}",
            "resolve web --policy best",
            "list --output xml",
        ] {
            assert!(
                Service::try_parse_from(wrong.split(' ')).is_err(),
                "{wrong}"
            );
        }
    }
}
