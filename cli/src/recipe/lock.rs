//! `zab lock`: a command while a lock is held.

use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};
use zab::recipes::lock::{Guard, Lock};
use zab::recipes::semaphore::{self, Lease, Semaphore, SemaphoreError};
use zab::{Client, Error as SessionError, Zxid};

use super::child::{self, Ending, Orders, Signals};
use super::options::{self, Running};
use super::{RecipeError, Site, exit};

/// What is held while a command runs.
pub(super) enum Held {
    Lock(Guard),
    Lease(Lease),
}

impl Held {
    fn token(&self) -> Zxid {
        match self {
            Self::Lock(guard) => guard.token(),
            Self::Lease(lease) => lease.token(),
        }
    }

    fn node(&self) -> String {
        match self {
            Self::Lock(guard) => guard.node(),
            Self::Lease(lease) => lease.node().to_owned(),
        }
    }

    async fn lost(&self) -> SessionError {
        match self {
            Self::Lock(guard) => guard.lost().await,
            Self::Lease(lease) => lease.lost().await,
        }
    }
}

/// How a wait for something to hold ended.
pub(super) enum Wait {
    /// It is held, by this session.
    Over(Client, Held),
    /// It was not to be had.
    InVain(Client),
    /// This program was told to end.
    Told(Client, Signal),
}

pub(super) async fn lock(site: &Site, words: &[String]) -> Result<u8, RecipeError> {
    let options = options::Lock::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    let deadline = options.timeout.map(|patience| Instant::now() + patience);
    let mut signals = Signals::catch()?;
    match obtain(site, &options, deadline, &mut signals).await? {
        Wait::Over(client, held) => {
            let run = under(&options.path, &options.running, &options.command, &held);
            let end = run.go(&mut signals).await;
            close(&client).await;
            match end? {
                Ending::Exited(status) => Ok(child::exit_code(status)),
                Ending::Lost(error) => {
                    eprintln!(
                        "zab: {} was lost while the command ran: {error}",
                        options.path
                    );
                    Ok(exit::LOST)
                }
            }
        }
        Wait::InVain(client) => {
            close(&client).await;
            eprintln!("zab: {} is held by another", options.path);
            Ok(exit::NOT_OBTAINED)
        }
        Wait::Told(client, signal) => {
            close(&client).await;
            Ok(exit::of_signal(signal))
        }
    }
}

/// Closes the session, so that the next in line need not wait for it to expire.
pub(super) async fn close(client: &Client) {
    if let Err(error) = client.close().await {
        eprintln!("zab: the session was not closed and will expire: {error}");
    }
}

async fn obtain(
    site: &Site,
    options: &options::Lock,
    deadline: Option<Instant>,
    signals: &mut Signals,
) -> Result<Wait, RecipeError> {
    wait_for(site, deadline, signals, async |client| {
        let identity = identity(&options.running);
        if let Some(permits) = options.permits {
            let permits = usize::try_from(permits).unwrap_or(usize::MAX);
            let layout = match options.layout {
                options::Layout::Curator => semaphore::Layout::Curator,
                options::Layout::Kazoo => semaphore::Layout::Kazoo,
            };
            let semaphore =
                Semaphore::new(client, &options.path, layout, permits)?.with_identity(&identity);
            let lease = if options.immediate {
                semaphore.try_acquire().await?
            } else {
                Some(semaphore.acquire().await?)
            };
            return Ok(lease.map(Held::Lease));
        }
        let lock = if options.shared {
            Lock::shared(client, &options.path)?
        } else {
            Lock::exclusive(client, &options.path)?
        };
        let lock = lock.with_identity(&identity);
        let guard = if options.immediate {
            lock.try_acquire().await?
        } else {
            Some(lock.acquire().await?)
        };
        Ok(guard.map(Held::Lock))
    })
    .await
}

/// Waits for something to hold, with another session when one expires meanwhile.
pub(super) async fn wait_for(
    site: &Site,
    deadline: Option<Instant>,
    signals: &mut Signals,
    take: impl AsyncFn(&Client) -> Result<Option<Held>, RecipeError>,
) -> Result<Wait, RecipeError> {
    loop {
        let client = site.session(signals).await?;
        let far = || Instant::now() + Duration::from_secs(u64::from(u32::MAX));
        let taken = tokio::select! {
            taken = timeout_at(deadline.unwrap_or_else(far), take(&client)) => taken,
            signal = signals.next() => return Ok(Wait::Told(client, signal)),
        };
        match taken {
            Ok(Ok(Some(held))) => return Ok(Wait::Over(client, held)),
            Ok(Ok(None)) | Err(_) => return Ok(Wait::InVain(client)),
            Ok(Err(
                RecipeError::Session(SessionError::SessionExpired)
                | RecipeError::Semaphore(SemaphoreError::Session(SessionError::SessionExpired)),
            )) => eprintln!("zab: the session expired in line; waiting anew"),
            Ok(Err(error)) => {
                close(&client).await;
                return Err(error);
            }
        }
    }
}

/// A command to be run under what is held.
pub(super) struct Under<'a> {
    path: &'a str,
    orders: Orders,
    command: &'a [String],
    held: &'a Held,
}

pub(super) fn under<'a>(
    path: &'a str,
    running: &Running,
    command: &'a [String],
    held: &'a Held,
) -> Under<'a> {
    Under {
        path,
        orders: Orders {
            signal: running.signal,
            grace: running.grace,
        },
        command,
        held,
    }
}

impl Under<'_> {
    /// Runs it. What was held goes with the session, which is to be closed next: that takes no longer than it should
    /// where no server answers.
    pub(super) async fn go(
        self,
        signals: &mut Signals,
    ) -> Result<Ending<SessionError>, RecipeError> {
        let environment = [
            ("ZAB_FENCING_TOKEN", self.held.token().0.to_string()),
            ("ZAB_PATH", self.path.to_owned()),
            ("ZAB_NODE", self.held.node()),
        ];
        let lost = self.held.lost();
        child::run_while(self.command, &environment, self.orders, signals, lost).await
    }
}

/// Who this is, as given or as found out.
pub(super) fn identity(running: &Running) -> String {
    running.identity.clone().unwrap_or_else(|| {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        format!("{host}:{}", std::process::id())
    })
}
