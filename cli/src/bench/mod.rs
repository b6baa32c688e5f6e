//! `zab bench`: what a ZooKeeper does in a second, and how long it takes over it.
//!
//! A run has parts, one after the other, each with connections of its own: the nodes are made, the workload is
//! measured, the nodes are removed. A connection is one task that writes frames into one buffer and reads them out of
//! another ([`link`]); the tasks are spread over a few threads with a runtime each ([`part`]). Client and server mostly
//! share a machine, so this program is to take as little of it as possible.
//!
//! It believes nothing ([`traffic`]): replies must come in order, zxids must not go back, and a value must be what was
//! written. A run that sees anything else fails.

mod alarm;
mod drive;
mod ground;
mod histogram;
mod keys;
mod line;
mod link;
mod options;
mod part;
mod report;
mod sessions;
mod tally;
mod traffic;
mod watches;

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{CommandFactory, Parser};
use jute_codec::data::perms;
use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode, Id};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::client::{ConnectString, HostPort, SessionOptions};
use crate::exit::Kind;
use crate::failure::Failure;
use crate::handle::{Handle, NewNode};
use crate::invocation::Run;
use crate::path;
use ground::{Gap, Ground, Pace, nanos};
use keys::Layout;
use options::{Options, Workload};
use part::{Outcome, Part, Role};
use report::{Report, Returns};
use traffic::{Job, Rules};

/// The name of the command.
pub(crate) const COMMAND: &str = "bench";

/// Requests in flight on each connection that makes or removes nodes, and how many connections do.
const PREPARING_IN_FLIGHT: usize = 64;
const PREPARING_CONNECTIONS: u32 = 16;
/// File descriptors that are not connections.
const FILES_SPARE: u64 = 64;

/// A run that could not be done, or was not as it must be.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// The options cannot be understood, or help was asked for.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    #[error("Error: --root: {0}")]
    Root(#[from] path::PathError),
    #[error(
        "Error: {0} exists: another run is going on, or one was cut off. Remove it with deleteall, or name another one \
         with --root; --reuse takes the nodes that a run with --keep left there"
    )]
    RootExists(String),
    #[error(
        "Error: {wanted} connections need more than the {limit} open files that are allowed; see `ulimit -n`"
    )]
    TooManyConnections { wanted: u32, limit: u64 },
    #[error("Error: no server can be reached:\n{0}")]
    NoServer(String),
    #[error("Error: {doing}: {reason}")]
    Part { doing: &'static str, reason: String },
    #[error("Error: the nodes cannot be made: {0}")]
    Prepare(String),
    #[error(transparent)]
    Command(#[from] Failure),
    #[error("Error: no request was answered")]
    NothingAnswered,
    #[error("Error: replies were not as they must be")]
    Broken,
}

impl BenchError {
    /// The kind of it, for the exit code.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Usage(_) | Self::Root(_) => Kind::Usage,
            Self::RootExists(_) => Kind::Conflict,
            Self::TooManyConnections { .. } => Kind::Local,
            Self::NoServer(_) | Self::NothingAnswered => Kind::Unreachable,
            Self::Part { .. } | Self::Prepare(_) => Kind::Other,
            Self::Broken => Kind::Differs,
            Self::Command(failure) => failure.kind(),
        }
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::Command(Failure::Output(error))
    }
}

/// What its command line looks like.
pub(crate) fn parser() -> clap::Command {
    Options::command()
}

/// Runs `zab bench`. `words` are those behind `bench`.
pub(crate) fn run(
    run: &Run,
    connect: ConnectString,
    words: &[String],
    out: &mut dyn Write,
) -> Result<(), BenchError> {
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) if !error.use_stderr() => {
            write!(out, "{error}")?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    path::validate(&options.root)?;
    allow_files(options.connections)?;
    let servers = reachable(&connect.servers)?;
    let timeout = Duration::from_millis(u64::try_from(run.timeout_ms).unwrap_or(1));
    let share = timeout / u32::try_from(servers.len()).unwrap_or(1);
    let connect_timeout = options
        .connect_timeout_ms
        .map_or(share, Duration::from_millis);
    let ground = Ground::new(
        servers,
        run.credentials.clone(),
        run.timeout_ms,
        connect_timeout,
    );
    let root = format!(
        "{}{}",
        connect.chroot.as_deref().unwrap_or_default(),
        options.root.trim_end_matches('/')
    );
    let session = SessionOptions {
        timeout_ms: run.timeout_ms,
        read_only_allowed: false,
    };
    let bench = Bench {
        layout: Layout::new(root, options.keys),
        ground: Arc::new(ground),
        threads: threads(&options),
        servers: run.server.clone(),
        options,
    };
    bench.run(Handle::new(connect, session, run.credentials.clone()), out)
}

struct Bench {
    options: Options,
    servers: String,
    layout: Layout,
    ground: Arc<Ground>,
    threads: usize,
}

impl Bench {
    fn run(&self, zk: Handle, out: &mut dyn Write) -> Result<(), BenchError> {
        let options = &self.options;
        let has_nodes = options.workload != Workload::Sessions;
        if has_nodes && !options.reuse {
            make_root(zk, &options.root)?;
            let made = self.make_nodes();
            if made.is_err() && !options.keep {
                // The reason is told; what is left can be removed by hand.
                self.remove_nodes().ok();
            }
            made?;
        }
        if options.workload == Workload::Create {
            self.make(self.own_directories())?;
        }
        let cpu_s = cpu_seconds();
        let measured = self.measure();
        let client_cpu_s = cpu_seconds() - cpu_s;
        let mut cleaned = Ok(());
        if let Ok(outcome) = &measured {
            cleaned = self.unmake(outcome);
        }
        if has_nodes && !options.reuse && !options.keep && options.workload != Workload::Load {
            cleaned = cleaned.and(self.remove_nodes());
        }
        let outcome = measured?;
        self.report(&outcome, client_cpu_s, out)?;
        cleaned
    }

    /// Makes directories and nodes; with the workload that measures this, only the directories.
    fn make_nodes(&self) -> Result<(), BenchError> {
        let mut path = String::new();
        let directories = (0..self.layout.directories()).map(|directory| {
            self.layout.directory_path(directory, &mut path);
            path.clone()
        });
        self.make(directories.collect())?;
        if self.options.workload == Workload::Load {
            return Ok(());
        }
        let job = Job::Load {
            next: 0,
            again: Vec::new(),
        };
        let (connections, roles) = self.preparing(job);
        let outcome = self.part(
            "making the nodes",
            connections,
            preparing_pace(),
            None,
            roles,
        )?;
        let made = u32::try_from(outcome.tally.count()).unwrap_or(u32::MAX);
        if made < self.layout.keys() && !outcome.tally.troubles().is_empty() {
            let troubles = outcome.tally.troubles().iter();
            let words: Vec<_> = troubles
                .map(|(trouble, count)| format!("{count} x {trouble}"))
                .collect();
            return Err(BenchError::Prepare(words.join(", ")));
        }
        Ok(())
    }

    fn make(&self, paths: Vec<String>) -> Result<(), BenchError> {
        let wanted = paths.len() as u64;
        let roles = vec![Role::Drive(Job::Make(paths))];
        let outcome = self.part("making directories", 1, preparing_pace(), None, roles)?;
        let failed: u64 = outcome.tally.troubles().values().sum();
        if failed > 0 {
            return Err(BenchError::Prepare(format!(
                "{failed} of {wanted} directories"
            )));
        }
        Ok(())
    }

    fn own_directories(&self) -> Vec<String> {
        let mut path = String::new();
        (0..self.options.connections)
            .map(|connection| {
                self.layout.own_path(connection, &mut path);
                path.clone()
            })
            .collect()
    }

    /// Removes what the create workload made.
    fn unmake(&self, outcome: &Outcome) -> Result<(), BenchError> {
        let mut made: Vec<_> = outcome
            .jobs
            .iter()
            .filter_map(|(connection, job)| match job {
                Job::Create { made } => Some((*connection, *made)),
                _ => None,
            })
            .collect();
        made.sort_unstable();
        let roles: Vec<_> = made
            .iter()
            .map(|(_, made)| {
                Role::Drive(Job::Unmake {
                    next: 0,
                    made: *made,
                })
            })
            .collect();
        // Each connection knows the directory by its number, so all must be there.
        if roles.len() != usize::try_from(self.options.connections).unwrap_or(0) {
            return Ok(());
        }
        let connections = self.options.connections;
        self.part("removing nodes", connections, preparing_pace(), None, roles)?;
        let roles = vec![Role::Drive(Job::Remove(self.own_directories()))];
        self.part("removing nodes", 1, preparing_pace(), None, roles)
            .map(drop)
    }

    fn remove_nodes(&self) -> Result<(), BenchError> {
        let (connections, roles) = self.preparing(Job::Delete { next: 0 });
        self.part("removing nodes", connections, preparing_pace(), None, roles)?;
        let mut path = String::new();
        // From the last to the first: the root goes last.
        let mut paths = vec![self.layout.root().to_owned()];
        paths.extend((0..self.layout.directories()).map(|directory| {
            self.layout.directory_path(directory, &mut path);
            path.clone()
        }));
        let roles = vec![Role::Drive(Job::Remove(paths))];
        self.part("removing nodes", 1, preparing_pace(), None, roles)
            .map(drop)
    }

    fn preparing(&self, job: Job) -> (u32, Vec<Role>) {
        let connections = PREPARING_CONNECTIONS.min(self.layout.keys());
        (
            connections,
            vec![Role::Drive(job); usize::try_from(connections).unwrap_or(1)],
        )
    }

    fn measure(&self) -> Result<Outcome, BenchError> {
        let options = &self.options;
        let count = usize::try_from(options.connections).unwrap_or(usize::MAX);
        let job = match options.workload {
            Workload::Read => Job::Read,
            Workload::Write | Workload::Failover => Job::Write,
            Workload::Create => Job::Create { made: 0 },
            Workload::Delete => Job::Delete { next: 0 },
            Workload::Mixed => Job::Mixed {
                reads_percent: options.reads_percent,
            },
            Workload::Multi => Job::Multi {
                ops: options.multi_ops,
            },
            Workload::Children => Job::Children,
            Workload::Load => Job::Load {
                next: 0,
                again: Vec::new(),
            },
            Workload::Watch | Workload::Sessions => {
                let mut roles = match options.workload {
                    Workload::Watch => vec![Role::Watch; count],
                    _ => vec![Role::Hold; count],
                };
                if options.workload == Workload::Watch {
                    roles.push(Role::Change(options.connections));
                }
                return self.part("measuring", options.connections, self.pace(), None, roles);
            }
        };
        let gap = (options.workload == Workload::Failover).then(Gap::default);
        let roles = vec![Role::Drive(job); count];
        self.part("measuring", options.connections, self.pace(), gap, roles)
    }

    fn pace(&self) -> Pace {
        let options = &self.options;
        // What ends by itself is measured from its first request to its last.
        let whole = matches!(options.workload, Workload::Load | Workload::Delete);
        Pace {
            in_flight: usize::try_from(options.in_flight).unwrap_or(usize::MAX),
            warmup: match options.workload {
                Workload::Load | Workload::Delete | Workload::Sessions => Duration::ZERO,
                _ => Duration::from_secs_f64(options.warmup_s),
            },
            duration: match options.workload {
                Workload::Load => None,
                _ => Some(Duration::from_secs_f64(options.duration_s)),
            },
            rate: options
                .rate
                .filter(|_| !whole || options.workload == Workload::Delete),
        }
    }

    fn part(
        &self,
        doing: &'static str,
        connections: u32,
        pace: Pace,
        gap: Option<Gap>,
        roles: Vec<Role>,
    ) -> Result<Outcome, BenchError> {
        let rules = Rules {
            layout: self.layout.clone(),
            connections,
            value_bytes: usize::try_from(self.options.value_bytes).unwrap_or(0),
            fresh: !self.options.reuse,
            verify: !self.options.no_verify,
        };
        let drop_all = self.options.reattach;
        let part = Part::new(
            Arc::clone(&self.ground),
            rules,
            pace,
            roles.len(),
            gap,
            drop_all,
        );
        let mut progress = Progress::new(doing, &self.ground);
        part.run(roles, self.threads, |answered| progress.show(answered))
            .map_err(|reason| BenchError::Part { doing, reason })
    }

    fn report(
        &self,
        outcome: &Outcome,
        client_cpu_s: f64,
        out: &mut dyn Write,
    ) -> Result<(), BenchError> {
        let ground = &self.ground;
        let tally = &outcome.tally;
        let elapsed_ns = tally
            .last_reply_ns()
            .saturating_sub(outcome.measured_from_ns);
        let (count, span_ns) = outcome.returns_ns;
        let report = Report {
            options: &self.options,
            servers: self.servers.clone(),
            tally,
            elapsed_s: elapsed_ns as f64 / 1e9,
            client_cpu_s,
            gap_ms: outcome
                .gap_ns
                .map(|(gap_ns, began_ns)| (gap_ns as f64 / 1e6, ground.unix_ms(began_ns))),
            returns: span_ns.map(|(lost_ns, back_ns)| Returns {
                count,
                first_lost_unix_ms: ground.unix_ms(lost_ns),
                last_back_unix_ms: ground.unix_ms(back_ns),
                span_ms: back_ns.saturating_sub(lost_ns) as f64 / 1e6,
            }),
        };
        if self.options.json {
            writeln!(out, "{}", report.json())?;
        } else {
            write!(out, "{}", report.table())?;
        }
        if !tally.broken_promises().is_empty() {
            return Err(BenchError::Broken);
        }
        if tally.count() == 0 {
            return Err(BenchError::NothingAnswered);
        }
        Ok(())
    }
}

/// A line on the terminal that says how it goes.
struct Progress {
    doing: &'static str,
    shown: bool,
    before: u64,
    before_ns: u64,
    ground: Arc<Ground>,
}

impl Progress {
    fn new(doing: &'static str, ground: &Arc<Ground>) -> Self {
        Self {
            doing,
            shown: io::stderr().is_terminal(),
            before: ground.answered.load(std::sync::atomic::Ordering::Relaxed),
            before_ns: ground.now_ns(),
            ground: Arc::clone(ground),
        }
    }

    fn show(&mut self, answered: u64) {
        if !self.shown {
            return;
        }
        let now_ns = self.ground.now_ns();
        let seconds = now_ns.saturating_sub(self.before_ns) as f64 / 1e9;
        let rate = answered.saturating_sub(self.before) as f64 / seconds.max(1e-3);
        // Only for the eye.
        write!(io::stderr(), "\r\x1b[K{}: {rate:.0}/s", self.doing).ok();
        (self.before, self.before_ns) = (answered, now_ns);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}

fn preparing_pace() -> Pace {
    Pace {
        in_flight: PREPARING_IN_FLIGHT,
        warmup: Duration::ZERO,
        duration: None,
        rate: None,
    }
}

/// Half of the processors, as the servers are mostly on the same machine.
fn threads(options: &Options) -> usize {
    let wanted = options.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2)),
        |threads| usize::try_from(threads).unwrap_or(1),
    );
    wanted.max(1)
}

fn make_root(mut zk: Handle, root: &str) -> Result<(), BenchError> {
    let node = NewNode {
        data: Some(Bytes::new()),
        acl: vec![Acl {
            perms: perms::ALL,
            id: Id {
                scheme: Some("world".into()),
                id: Some("anyone".into()),
            },
        }],
        flags: CreateFlags::Persistent,
        ttl_ms: -1,
    };
    let made = zk.create(root, node);
    // It expires otherwise.
    zk.close().ok();
    match made {
        Err(failure) if failure.is_code(ErrorCode::NodeExists) => {
            Err(BenchError::RootExists(root.to_owned()))
        }
        result => Ok(result.map(drop)?),
    }
}

/// The address of each server: the first one that takes a connection, else the first one. Names of one machine often
/// stand for several addresses of which it serves one.
fn reachable(servers: &[HostPort]) -> Result<Vec<SocketAddr>, BenchError> {
    let mut found = Vec::new();
    let mut reasons = Vec::new();
    for server in servers {
        let addresses = match (server.host.as_str(), server.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect::<Vec<_>>(),
            Err(error) => {
                reasons.push(format!("{server}: {error}"));
                continue;
            }
        };
        let mut taken = None;
        for address in &addresses {
            match TcpStream::connect_timeout(address, Duration::from_secs(5)) {
                Ok(_) => {
                    taken = Some(*address);
                    break;
                }
                Err(error) => reasons.push(format!("{server}: {error}")),
            }
        }
        found.extend(
            taken
                .or_else(|| addresses.first().copied())
                .map(|address| (address, taken)),
        );
    }
    if found.iter().all(|(_, taken)| taken.is_none()) {
        return Err(BenchError::NoServer(reasons.join("\n")));
    }
    Ok(found.into_iter().map(|(address, _)| address).collect())
}

/// Raises the limit of open files as far as allowed.
fn allow_files(connections: u32) -> Result<(), BenchError> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, it may be enough.
    setrlimit(Resource::Nofile, limit).ok();
    match getrlimit(Resource::Nofile).current {
        // A paced connection has a timer, too.
        Some(allowed) if allowed < 2 * u64::from(connections) + FILES_SPARE => {
            Err(BenchError::TooManyConnections {
                wanted: connections,
                limit: allowed,
            })
        }
        _ => Ok(()),
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let whole = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    (nanos(whole) + rest) as f64 / 1e9
}
