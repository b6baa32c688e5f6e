//! `zab`, a shell for zabd and Apache ZooKeeper: runs one command and exits, or one after the other until it is told
//! to.
//!
//! Commands, outputs and exit codes are those of ZooKeeper's `zkCli.sh`, so that scripts can call either. Three
//! things are better left different: the session is closed at the end instead of being left to expire, all servers of
//! a list are tried before a command fails, and dates are printed in UTC whatever the machine's time zone.

mod bench;
mod client;
mod commands;
mod completions;
mod exit;
mod failure;
mod flags;
mod format;
mod forward;
mod handle;
mod interactive;
mod interrupts;
mod invocation;
mod lasting;
mod migrate;
mod output;
mod progress;
mod recipe;
mod shell;
mod side;
mod tools;
mod walk;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use bench::BenchError;
use client::{ConnectString, ConnectStringError, SessionOptions};
use commands::{Line, VERSION_LINE};
use exit::Kind;
use failure::Failure;
use handle::Handle;
use invocation::{Invocation, InvocationError, Run};
use recipe::RecipeError;
use shell::Shell;
use thiserror::Error;
use zab::path;

/// The end of a run that did not do what it should.
#[derive(Debug, Error)]
enum Fatal {
    #[error(transparent)]
    Invocation(#[from] InvocationError),
    #[error("Error: -server: {0}")]
    Server(#[from] ConnectStringError),
    /// The same, before what the Java shell does, too.
    #[error("Error: -server: {0}")]
    JavaServer(ConnectStringError),
    #[error("{failure}")]
    Command { failure: Failure, code: u8 },
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

impl Fatal {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Invocation(error) => error.exit_code(),
            Self::Server(_) => Kind::Usage.code(),
            Self::JavaServer(_) => Kind::Differs.code(),
            Self::Bench(error) => error.kind().code(),
            Self::Command { code, .. } => *code,
            Self::Recipe(error) => error.exit_code(),
        }
    }

    /// Whether it is only that nobody reads the output any more.
    fn is_broken_pipe(&self) -> bool {
        matches!(
            self,
            Self::Command { failure: Failure::Output(error), .. } | Self::Bench(BenchError::Command(Failure::Output(error)))
                if error.kind() == ErrorKind::BrokenPipe
        )
    }
}

impl From<Failure> for Fatal {
    fn from(failure: Failure) -> Self {
        let code = failure.kind().code();
        Self::Command { failure, code }
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(handed_on) = forward::run(&args) {
        return handed_on.map_or_else(|problem| complain(&problem), ExitCode::from);
    }
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    if let Some((command, words)) = args.split_first()
        && command.to_str() == Some(migrate::COMMAND)
    {
        return migrate::run(words, &mut out, &mut err).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    match run(&mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        Err(fatal) => {
            if !fatal.is_broken_pipe() {
                // If the words about a failure cannot be written, the exit code still tells.
                writeln!(err, "{fatal}").ok();
            }
            ExitCode::from(fatal.exit_code())
        }
    }
}

fn complain(problem: &str) -> ExitCode {
    writeln!(io::stderr(), "{problem}").ok();
    ExitCode::FAILURE
}

/// Runs what was asked for; says with which code to exit.
fn run(out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Fatal> {
    match Invocation::parse(std::env::args().skip(1))? {
        Invocation::Help(words) => {
            let text = commands::help_text(&words)?;
            writeln!(out, "{}", text.trim_end()).map_err(Failure::from)?;
        }
        Invocation::Version => writeln!(out, "{VERSION_LINE}").map_err(Failure::from)?,
        Invocation::Run(run) => match run.words.split_first() {
            // Without a word behind it, it is unknown, as in the Java shell.
            Some((name, words)) if name == "help" && !words.is_empty() => {
                let text = commands::help_text(words)?;
                writeln!(out, "{}", text.trim_end()).map_err(Failure::from)?;
            }
            None => {
                let connect = ConnectString::parse(&run.server).map_err(Fatal::JavaServer)?;
                return Ok(interactive::run(&run, connect, out, err)?);
            }
            Some((name, words)) if recipe::is_recipe(name, words) => {
                let connect = ConnectString::parse(&run.server)?;
                return Ok(recipe::run(&run, connect, name, words, out)?);
            }
            Some((name, _)) if name == commands::MAN => {
                write!(out, "{}", commands::manual()).map_err(Failure::from)?;
            }
            Some((name, words)) if name == completions::COMMAND => {
                completions::script(words, out)?;
            }
            Some((name, words)) if name == completions::ASK => completions::ask(words, out)?,
            Some(_) => run_command(run, out, err)?,
        },
    }
    Ok(0)
}

fn run_command(run: Run, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Fatal> {
    if let Some((bench::COMMAND, words)) = run
        .words
        .split_first()
        .map(|(name, words)| (name.as_str(), words))
    {
        return Ok(bench::run(
            &run,
            ConnectString::parse(&run.server)?,
            words,
            out,
        )?);
    }
    // What is wrong with the form of output is wrong with an option of zab's own.
    let line = Line::parse(&run.words, run.format).map_err(|failure| Fatal::Command {
        code: failure.kind().code(),
        failure,
    })?;
    if line.is_java() {
        writeln!(out, "Connecting to {}", run.server).map_err(Failure::from)?;
    }
    let options = SessionOptions {
        timeout_ms: run.timeout_ms,
        read_only_allowed: run.read_only_allowed,
    };
    let connect = match ConnectString::parse(&run.server) {
        Err(error) if line.is_java() => return Err(Fatal::JavaServer(error)),
        connect => connect?,
    };
    let zk = Handle::new(connect, options, run.credentials);
    let mut shell = Shell::new(zk, out, err);
    let mut result = Ok(());
    if run.wait_for_connection {
        result = shell.zk.wait_for_connection();
    }
    let result = result.and_then(|()| commands::run(&mut shell, &line));
    // What was watched during the command is told even if the command failed; the command's failure goes first.
    let told = shell.print_events();
    if let Err(error) = shell.zk.close() {
        shell.complain(format_args!(
            "The session was not closed and will expire: {error}"
        ))?;
    }
    result.map_err(|failure| Fatal::Command {
        code: line.exit_code(&failure),
        failure,
    })?;
    told.map_err(Failure::from)?;
    Ok(())
}
