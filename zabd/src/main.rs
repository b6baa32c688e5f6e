//! The daemon: reads its configuration, serves until it is told to stop.

use std::io::{BufWriter, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tracing::{error, info};
use zabd::cli_args::{
    self, Command, Exit, ExportArgs, LogArgs, LogWhat, RunArgs, SnapshotArgs, SnapshotWhat,
};
use zabd::config;
use zabd::inspect::{self, Form, InspectError, LogCommand, SnapshotCommand, Verdict};
use zabd::logging;
use zabd::runtime::{STOP_PATIENCE, Server, StartError, export_java_copy};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How jemalloc is set up, which it reads before anything else runs: memory that nobody uses goes back to the system within
/// a second, whichever thread freed it, and few threads need few arenas to hold some back (docs/decisions/0007).
#[cfg(feature = "jemalloc")]
#[expect(
    unsafe_code,
    reason = "jemalloc looks for this name; its type is that of a C string's pointer"
)]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: Option<&'static u8> =
    Some(&b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0,narenas:2,cache_oblivious:false\0"[0]);

fn main() -> ExitCode {
    let command = cli_args::parse(std::env::args_os()).unwrap_or_else(|problem| problem.exit());
    let ended = match command {
        Command::CheckConfig(args) => cli_args::check_config(
            &args,
            &mut std::io::stdout().lock(),
            &mut std::io::stderr().lock(),
        )
        .context("print the findings"),
        Command::ExportJava(args) => export_java(&args),
        Command::Log(args) => look_into_logs(args),
        Command::Run(args) => run(&args),
        Command::Snapshot(args) => look_into_snapshots(args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(problem) => {
            eprintln!("zabd: {problem:#}");
            Exit::UnexpectedError.into()
        }
    }
}

fn export_java(args: &ExportArgs) -> anyhow::Result<Exit> {
    let (config, findings) = match config::load(&args.sources()) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprint!("{findings}");
            return Ok(say(Exit::InvalidInvocation));
        }
    };
    logging::init(&config.log.filter, config.log.format).context("set tracing up")?;
    findings.trace();
    let exported = match &args.to {
        Some(to) => export_java_copy(&config, to),
        None => zabd::runtime::export_java(&config),
    }
    .context("give the data to Apache ZooKeeper")?;
    println!(
        "{} as of {}, digest {:x}",
        exported.path.display(),
        exported.zxid,
        exported.digest
    );
    Ok(Exit::Finished)
}

fn look_into_snapshots(args: SnapshotArgs) -> anyhow::Result<Exit> {
    let command = match args.what {
        SnapshotWhat::Check { path } => SnapshotCommand::Check { path },
        SnapshotWhat::Compare { left, right } => SnapshotCommand::Compare { left, right },
        SnapshotWhat::Print { path, data } => SnapshotCommand::Print { path, data },
        SnapshotWhat::Summary { path, depth } => SnapshotCommand::Summary { path, depth },
    };
    said(inspect::run_snapshot(
        &command,
        form(args.json),
        &mut BufWriter::new(std::io::stdout().lock()),
    ))
}

fn look_into_logs(args: LogArgs) -> anyhow::Result<Exit> {
    let command = match args.what {
        LogWhat::Check { path } => LogCommand::Check { path },
        LogWhat::Compare { left, right } => LogCommand::Compare { left, right },
        LogWhat::Print { path, from, to } => LogCommand::Print { path, from, to },
        LogWhat::Summary { path } => LogCommand::Summary { path },
    };
    said(inspect::run_log(
        &command,
        form(args.json),
        &mut BufWriter::new(std::io::stdout().lock()),
    ))
}

const fn form(json: bool) -> Form {
    if json { Form::Json } else { Form::Text }
}

/// What a command that looks into files came to; whoever reads no more of its output wants no words about it.
fn said(verdict: Result<Verdict, InspectError>) -> anyhow::Result<Exit> {
    match verdict {
        Ok(Verdict::Sound) => Ok(Exit::Finished),
        Ok(Verdict::Wrong) => Ok(Exit::UnexpectedError),
        Err(InspectError::Output(problem)) if problem.kind() == ErrorKind::BrokenPipe => {
            Ok(Exit::Finished)
        }
        Err(problem) => Err(problem.into()),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let (config, findings) = match config::load(&args.sources(|name| std::env::var(name).ok())) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprint!("{findings}");
            return Ok(say(Exit::InvalidInvocation));
        }
    };
    logging::init(&config.log.filter, config.log.format).context("set tracing up")?;
    findings.trace();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %config.data_dir.display(),
        stands_alone = config.ensemble.is_none(),
        "zabd starts"
    );
    // Signals are caught before anything starts: whoever stops a server that is just starting means it, too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("wait for signals")?;
    let signals = runtime
        .block_on(async { Signals::catch() })
        .context("catch signals")?;
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(problem) => {
            let exit = match problem {
                StartError::NoDataDir(_) | StartError::Recover(_) => Exit::UnableToAccessDatadir,
                _ => Exit::UnexpectedError,
            };
            error!(
                problem = format!("{:#}", anyhow::Error::from(problem)),
                "cannot start"
            );
            return Ok(say(exit));
        }
    };
    let signal = runtime.block_on(signals.wait());
    info!(
        signal,
        "stopping: closing connections, writing the snapshot"
    );
    end_in_any_case(STOP_PATIENCE);
    server
        .stop()
        .context("stop in order; a restart recovers everything that was acknowledged")?;
    info!("stopped");
    Ok(Exit::Finished)
}

fn say(exit: Exit) -> Exit {
    if let Some(words) = exit.words() {
        eprintln!("{words}");
    }
    exit
}

/// A disk that never answers must not keep the process for ever: what is acknowledged is durable anyway.
fn end_in_any_case(patience: Duration) {
    let end = move || {
        std::thread::sleep(patience);
        error!(
            "stopping takes too long; ending all the same, nothing that was acknowledged is lost"
        );
        std::process::exit(i32::from(Exit::UnexpectedError as u8));
    };
    if let Err(problem) = std::thread::Builder::new()
        .name("zabd-stop".to_owned())
        .spawn(end)
    {
        error!(%problem, "no thread to watch over the end");
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
