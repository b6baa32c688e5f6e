//! Running a command while something is held, and telling it when that is lost.
//!
//! The command must not outlive this program unknowingly: it is started by way of this program's own binary, which asks
//! the system for a signal on its parent's death and then becomes the command.

use std::future::pending;
use std::io::{self, IsTerminal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, getppid, kill_process, kill_process_group, set_parent_process_death_signal,
};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{RecipeError, exit};

/// The first word of the command line by which this program becomes a command. Not for people.
pub(super) const GUARD: &str = "__run";

/// Whether what comes on the standard input is for this program: commands find nothing there.
static INPUT_IS_OURS: AtomicBool = AtomicBool::new(false);

/// Keeps the standard input from commands, from here on.
pub(crate) fn keep_input() {
    INPUT_IS_OURS.store(true, Ordering::Relaxed);
}

/// How a command is told to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders {
    pub(super) signal: Signal,
    pub(super) grace: Duration,
}

/// How a command ended.
#[derive(Debug)]
pub(super) enum Ending<L> {
    /// By itself or by somebody's signal.
    Exited(ExitStatus),
    /// It was made to, as what it ran under is lost.
    Lost(L),
}

/// Signals to this program that are passed on, or end what it does.
pub(crate) struct Signals {
    system: Option<System>,
    /// Signals that this program itself has for the command.
    own: Option<mpsc::Receiver<Signal>>,
    last: Option<Signal>,
}

struct System {
    hup: Arrivals,
    int: Arrivals,
    term: Arrivals,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            system: Some(System {
                hup: signal(SignalKind::hangup())?,
                int: signal(SignalKind::interrupt())?,
                term: signal(SignalKind::terminate())?,
            }),
            own: None,
            last: None,
        })
    }

    /// Those that come through a channel, and no others: somebody else catches them and has something to do first.
    pub(super) fn only(own: mpsc::Receiver<Signal>) -> Self {
        Self {
            system: None,
            own: Some(own),
            last: None,
        }
    }

    /// The same, and those that come through a channel.
    pub(super) fn with(mut self, own: mpsc::Receiver<Signal>) -> Self {
        self.own = Some(own);
        self
    }

    pub(crate) async fn next(&mut self) -> Signal {
        let own = async {
            match &mut self.own {
                Some(own) => own.recv().await,
                None => None,
            }
        };
        let system = async {
            match &mut self.system {
                Some(system) => system.next().await,
                None => pending().await,
            }
        };
        let signal = tokio::select! {
            signal = system => signal,
            Some(signal) = own => signal,
        };
        self.last = Some(signal);
        signal
    }

    /// Waits for something unless one comes first, which is the error then.
    pub(super) async fn over<T>(
        &mut self,
        wait: impl Future<Output = Result<T, RecipeError>>,
    ) -> Result<T, RecipeError> {
        tokio::select! {
            biased;
            done = wait => done,
            signal = self.next() => Err(RecipeError::Told(signal)),
        }
    }

    /// The last one that came, if any has.
    pub(super) const fn last(&self) -> Option<Signal> {
        self.last
    }
}

impl System {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hup.recv() => Signal::HUP,
            _ = self.int.recv() => Signal::INT,
            _ = self.term.recv() => Signal::TERM,
        }
    }
}

/// Runs a command until it ends or `lost` does.
pub(super) async fn run_while<L>(
    command: &[String],
    environment: &[(&str, String)],
    orders: Orders,
    signals: &mut Signals,
    lost: impl Future<Output = L>,
) -> Result<Ending<L>, RecipeError> {
    run_fed(command, environment, None, orders, signals, lost).await
}

/// The same, with something on the command's standard input.
pub(super) async fn run_fed<L>(
    command: &[String],
    environment: &[(&str, String)],
    input: Option<Vec<u8>>,
    orders: Orders,
    signals: &mut Signals,
    lost: impl Future<Output = L>,
) -> Result<Ending<L>, RecipeError> {
    let failed = |source| RecipeError::Command {
        command: command.first().cloned().unwrap_or_default(),
        source,
    };
    let own_group = input.is_some() || !io::stdin().is_terminal();
    let mut start = Command::new(std::env::current_exe().map_err(failed)?);
    start
        .arg(GUARD)
        .arg(std::process::id().to_string())
        .arg(orders.signal.as_raw().to_string())
        .args(command)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    if own_group {
        start.process_group(0);
    }
    if input.is_some() {
        start.stdin(Stdio::piped());
    } else if INPUT_IS_OURS.load(Ordering::Relaxed) {
        start.stdin(Stdio::null());
    }
    let mut child = start.spawn().map_err(failed)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // It need not read it.
        tokio::spawn(async move { pipe.write_all(&input).await.ok() });
    }
    tokio::pin!(lost);
    loop {
        tokio::select! {
            biased;
            // What can be known about the loss comes first: the command's success then is worth nothing.
            loss = &mut lost => {
                tell(&child, own_group, orders.signal);
                if timeout(orders.grace, child.wait()).await.is_err() {
                    tell(&child, own_group, Signal::KILL);
                    child.wait().await.map_err(failed)?;
                }
                return Ok(Ending::Lost(loss));
            }
            status = child.wait() => return Ok(Ending::Exited(status.map_err(failed)?)),
            signal = signals.next() => {
                // The terminal has sent its own to the whole group.
                if own_group || signal != Signal::INT {
                    tell(&child, own_group, signal);
                }
            }
        }
    }
}

/// The code to exit with as the command did.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code),
        (None, Some(signal)) => u8::try_from(i32::from(exit::SIGNAL) + signal),
        (None, None) => Ok(exit::Kind::Other.code()),
    };
    code.unwrap_or(u8::MAX)
}

/// The command may have ended already, which is as good.
fn tell(child: &Child, whole_group: bool, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(pid) = id.and_then(Pid::from_raw) else {
        return;
    };
    let sent = if whole_group {
        kill_process_group(pid, signal)
    } else {
        kill_process(pid, signal)
    };
    sent.ok();
}

/// Becomes a command: `words` are the parent's process id, the number of the signal for when it dies, and the command
/// line. Returns only if that fails.
pub(super) fn become_command(words: &[String]) -> RecipeError {
    let [parent, signal, program, arguments @ ..] = words else {
        return io::Error::from(io::ErrorKind::InvalidInput).into();
    };
    let failed = |source: io::Error| RecipeError::Command {
        command: program.clone(),
        source,
    };
    let signal = signal.parse().ok().and_then(Signal::from_named_raw);
    if let Err(error) = set_parent_process_death_signal(signal) {
        return failed(error.into());
    }
    // It may have died before it was asked to tell.
    let alive = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if alive.as_deref() != Some(parent.as_str()) {
        return failed(io::Error::other("zab has ended"));
    }
    failed(std::process::Command::new(program).args(arguments).exec())
}
