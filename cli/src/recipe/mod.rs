//! Commands that hold something while another program runs, and what several processes agree on.

mod child;
mod complete;
mod config;
mod config_files;
mod config_follow;
mod config_options;
mod elect;
mod lock;
mod options;
mod service;
mod service_check;
mod service_options;
mod service_register;
mod service_state;
mod service_watch;
mod small;

use std::io::{self, Write};
use std::time::Duration;

pub(crate) use child::Signals;
pub(crate) use child::keep_input;
pub(crate) use complete::{complete, help, manual};
use rustix::process::Signal;
use service_check::CheckError;
use service_state::StateError;
use thiserror::Error;
use tokio::runtime::Builder;
use zab::config::{CentreError, ModelError};
use zab::naming::NamingError;
use zab::path::PathError;
use zab::recipes::counter::CounterError;
use zab::recipes::id::IdError;
use zab::recipes::semaphore::SemaphoreError;
use zab::{Client, ConnectString, Credential, Error as SessionError, Options, State};

pub(crate) use crate::exit;
use crate::exit::Kind;
use crate::invocation::Run;

/// The commands, with what the usage says about their arguments.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    (
        "barrier",
        "path set|remove|wait|enter [options, see barrier --help]",
    ),
    (
        "counter",
        "path [get|add|set] [options, see counter --help]",
    ),
    (
        "elect",
        "path [--who] [options, see elect --help] -- command",
    ),
    (
        "id",
        "path worker|snowflake|segment [options, see id --help]",
    ),
    ("lock", "path [options, see lock --help] -- command"),
    (
        "queue",
        "path put|take|peek|len [options, see queue --help]",
    ),
    (
        "service",
        "register|list|watch|resolve name [options, see service --help]",
    ),
];

/// Why a recipe came to nothing.
#[derive(Debug, Error)]
pub(crate) enum RecipeError {
    #[error("{0}")]
    Usage(#[from] clap::Error),
    #[error("Error: {0}")]
    Path(#[from] PathError),
    #[error("zab: {0}")]
    Session(#[from] SessionError),
    #[error("zab: {0}")]
    Semaphore(#[from] SemaphoreError),
    #[error("zab: {0}")]
    Counter(#[from] CounterError),
    #[error("zab: {0}")]
    Id(#[from] IdError),
    #[error("zab: {0}")]
    Config(#[from] CentreError),
    #[error("zab: {0}")]
    Naming(#[from] NamingError),
    #[error("zab: {0}")]
    Check(#[from] CheckError),
    #[error("zab: {0}")]
    State(#[from] StateError),
    #[error("zab: there is no key {0}")]
    NoKey(String),
    #[error("zab: {0}")]
    Acl(String),
    #[error("zab: {0}")]
    Input(String),
    #[error("zab: {name}: {source}")]
    File { name: String, source: io::Error },
    #[error("zab: run {command}: {source}")]
    Command { command: String, source: io::Error },
    #[error("zab: {0}")]
    Io(#[from] io::Error),
    #[error("zab: ended by a signal: what had been asked may have been done or not")]
    Told(Signal),
}

impl RecipeError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Told(signal) => exit::of_signal(*signal),
            other => other.kind().code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Usage(_) | Self::Path(_) | Self::Acl(_) | Self::Check(_) => Kind::Usage,
            Self::Naming(NamingError::Name { .. } | NamingError::TooLarge(_))
            | Self::State(StateError::NoPlace) => Kind::Usage,
            Self::Naming(NamingError::Permanent(_)) => Kind::Conflict,
            Self::Session(error)
            | Self::Semaphore(SemaphoreError::Session(error))
            | Self::Counter(CounterError::Session(error))
            | Self::Id(IdError::Session(error) | IdError::Counter(CounterError::Session(error)))
            | Self::Config(CentreError::Session(error))
            | Self::Naming(NamingError::Session(error)) => Kind::of_session(error),
            Self::NoKey(_)
            | Self::Config(CentreError::NoRevision { .. } | CentreError::NoGrey(_)) => Kind::NoNode,
            Self::Config(CentreError::Stale { .. } | CentreError::GreyPending(_))
            | Self::Semaphore(SemaphoreError::OtherPermits { .. }) => Kind::Conflict,
            Self::Config(CentreError::Model(ModelError::Namespace(_))) => Kind::Usage,
            Self::Input(_)
            | Self::State(StateError::Foreign(_))
            | Self::Config(CentreError::Model(_))
            | Self::Counter(CounterError::NoNumber { .. })
            | Self::Id(IdError::Counter(CounterError::NoNumber { .. })) => Kind::Input,
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::UnknownCommand
            }
            Self::Command { .. } => Kind::NotExecutable,
            Self::Told(_) => Kind::Interrupted,
            Self::File { .. } | Self::Io(_) | Self::State(_) => Kind::Local,
            Self::Config(_)
            | Self::Counter(_)
            | Self::Id(_)
            | Self::Naming(_)
            | Self::Semaphore(_) => Kind::Refused,
        }
    }
}

/// Whether a command line is one of these. `config` alone, or with options of one letter, is zkCli.sh's.
pub(crate) fn is_recipe(name: &str, words: &[String]) -> bool {
    match name {
        "config" => words
            .first()
            .is_some_and(|word| !word.starts_with('-') || word.starts_with("--")),
        _ => name == child::GUARD || COMMANDS.iter().any(|(known, _)| *known == name),
    }
}

/// The same, but for what only this program says to itself.
pub(crate) fn is_for_people(name: &str, words: &[String]) -> bool {
    name != child::GUARD && is_recipe(name, words)
}

/// Runs one of [`COMMANDS`], and says with which code to exit.
pub(crate) fn run(
    run: &Run,
    connect: ConnectString,
    name: &str,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    if name == child::GUARD {
        return Err(child::become_command(words));
    }
    let result = Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(dispatch(run, connect, name, words, out));
    match result {
        // Help was asked for.
        Err(RecipeError::Usage(error)) if !error.use_stderr() => {
            write!(out, "{error}")?;
            Ok(0)
        }
        result => result,
    }
}

async fn dispatch(
    run: &Run,
    connect: ConnectString,
    name: &str,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let site = Site {
        connect,
        options: session_options(run),
    };
    match name {
        "barrier" => small::barrier(&site, words).await,
        "config" => config::config(&site, words, out).await,
        "counter" => small::counter(&site, words, out).await,
        "elect" => elect::elect(&site, words, out).await,
        "id" => small::id(&site, words, out).await,
        "queue" => small::queue(&site, words, out).await,
        "service" => service::service(&site, run.format, words, out).await,
        _ => lock::lock(&site, words).await,
    }
}

/// Where sessions are to be had, and which.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    connect: ConnectString,
    options: Options,
}

impl Site {
    async fn connect(&self) -> Result<Client, SessionError> {
        Client::connect(self.connect.clone(), self.options.clone()).await
    }

    /// A session, unless a signal comes first.
    async fn session(&self, signals: &mut Signals) -> Result<Client, RecipeError> {
        signals.over(async { Ok(self.connect().await?) }).await
    }

    /// Waits for what is asked for, and no longer when no server has been heard of for the session's time. Nothing is
    /// on its way to a server then.
    async fn answered<T>(
        &self,
        client: &Client,
        asked: impl Future<Output = Result<T, RecipeError>>,
    ) -> Result<T, RecipeError> {
        let mut states = client.states();
        tokio::select! {
            biased;
            answer = asked => answer,
            _ = states.wait_for(|state| *state == State::Overdue) => Err(SessionError::NoServer {
                waited_ms: self.options.timeout.as_millis(),
                reasons: client.reasons(),
            }
            .into()),
        }
    }
}

fn session_options(run: &Run) -> Options {
    Options {
        timeout: Duration::from_millis(u64::try_from(run.timeout_ms).unwrap_or(1)),
        read_only_allowed: false,
        credentials: run
            .credentials
            .iter()
            .map(|credential| Credential {
                scheme: credential.scheme.clone(),
                secret: credential.secret.clone(),
            })
            .collect(),
    }
}
