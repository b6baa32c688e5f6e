//! `zab service register`: an instance that is registered while it lives and is well.

use std::mem::discriminant;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zab::naming::{Directory, Instance, Lost, NamingError, Registration, check};
use zab::{Client, Error as SessionError, SessionId, Zxid};

use super::child::{self, Ending, Orders, Signals};
use super::lock::close;
use super::service_check::{Checker, Condition};
use super::service_options::{Register, Unhealthy};
use super::{RecipeError, Site, exit};

/// The pause before servers are looked for again, or asked again after they refused.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// The pause before an instance is registered again that somebody has deleted: he may be about to register his own.
const DELETED_PAUSE: Duration = Duration::from_millis(300);

/// How long a signal waits for the instance to be gone. The session's end takes it away in any case.
const WITHDRAW_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn register(
    site: &Site,
    root: &str,
    options: &Register,
) -> Result<u8, RecipeError> {
    let instance = instance(options);
    check(&instance, options.extras.extras())?;
    let mut signals = Signals::catch()?;
    let client = tokio::select! {
        client = site.connect() => client?,
        signal = signals.next() => return Ok(exit::of_signal(signal)),
    };
    let directory = Directory::new(&client, root)?;
    let environment = [
        ("ZAB_SERVICE", instance.name.clone()),
        ("ZAB_INSTANCE", instance.id.clone()),
        ("ZAB_NODE", directory.node(&instance.name, &instance.id)?),
    ];
    let orders = Orders {
        signal: options.signal,
        grace: options.grace,
    };
    let (forward, forwarded) = mpsc::channel(1);
    // The command is there before its checks begin.
    let mut for_command = Signals::only(forwarded);
    let mut keeper = Keeper {
        checker: Checker::start(&options.checks, &instance, &environment)?,
        site: site.clone(),
        root: root.to_owned(),
        options,
        instance,
        client,
        is_first: true,
        last: None,
    };
    let end = if options.command.is_empty() {
        keeper.run(&mut signals, None).await
    } else {
        let kept = keeper.run(&mut signals, Some(forward));
        let command = &options.command;
        match child::run_while(command, &environment, orders, &mut for_command, kept).await {
            Ok(Ending::Exited(status)) => End::Exited(child::exit_code(status)),
            Ok(Ending::Lost(end)) => end,
            Err(error) => End::Failed(error),
        }
    };
    close(&keeper.client).await;
    match end {
        End::Exited(code) => Ok(code),
        End::Failed(error) => Err(error),
        End::Replaced(session) => {
            let (name, id) = (&keeper.instance.name, &keeper.instance.id);
            eprintln!("zab: {name}: session {session} has registered {id} for itself: giving way");
            Ok(exit::LOST)
        }
    }
}

fn instance(options: &Register) -> Instance {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    let mut instance = Instance {
        port: options.port,
        ssl_port: options.ssl_port,
        weight: options.weight,
        version: options.version.clone(),
        tags: options.tags.clone(),
        metadata: options.metadata.iter().cloned().collect(),
        registered_ms: i64::try_from(now).unwrap_or(i64::MAX),
        uri_spec: options.uri.clone(),
        ..Instance::new(&options.service, "", Some(options.address.clone()))
    };
    instance.id = match &options.id {
        Some(id) => id.clone(),
        None => instance.endpoint().unwrap_or_default(),
    };
    instance
}

/// Why nothing more is registered.
enum End {
    /// As the command did, or a signal said.
    Exited(u8),
    /// It makes no sense to go on.
    Failed(RecipeError),
    /// Somebody else has the id.
    Replaced(SessionId),
}

/// What is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Instance { enabled: bool },
}

struct Keeper<'a> {
    site: Site,
    root: String,
    options: &'a Register,
    instance: Instance,
    checker: Checker,
    /// The latest session.
    client: Client,
    /// Whether nothing was done so far: who is refused then has made a mistake.
    is_first: bool,
    /// The transaction by which it was registered the last time.
    last: Option<Zxid>,
}

impl Keeper<'_> {
    /// Keeps the instance registered until there is a reason not to. Signals take it out before they go on to the
    /// command; without one they are the reason.
    async fn run(&mut self, signals: &mut Signals, command: Option<mpsc::Sender<Signal>>) -> End {
        let signal = {
            let mut keep = pin!(self.keep());
            loop {
                let signal = tokio::select! {
                    end = &mut keep => return end,
                    signal = signals.next() => signal,
                };
                match &command {
                    // To most programs it means to read their configuration again.
                    Some(command) if signal == Signal::HUP => {
                        command.send(signal).await.ok();
                    }
                    _ => break signal,
                }
            }
        };
        self.withdraw().await;
        let Some(command) = command else {
            return End::Exited(exit::of_signal(signal));
        };
        // A second signal is meant to be quicker.
        let second = tokio::select! {
            () = sleep(self.options.drain) => None,
            second = signals.next() => Some(second),
        };
        command.send(signal).await.ok();
        if let Some(second) = second {
            command.send(second).await.ok();
        }
        loop {
            let signal = signals.next().await;
            command.send(signal).await.ok();
        }
    }

    async fn withdraw(&self) {
        let withdrawn = async {
            let directory = Directory::new(&self.client, &self.root)?;
            directory
                .withdraw(&self.instance.name, &self.instance.id)
                .await
        };
        match timeout(WITHDRAW_PATIENCE, withdrawn).await {
            Ok(Ok(())) => self.say("is no longer registered"),
            Ok(Err(NamingError::Session(error))) if error.ends_session() => {}
            Ok(Err(error)) => self.say(&format!("could not be taken out: {error}")),
            Err(_) => {
                self.say("could not be taken out: no server answers; it goes with the session")
            }
        }
    }

    /// Over as many sessions as it takes.
    async fn keep(&mut self) -> End {
        loop {
            let error = match self.session().await {
                Ok(lost) => match lost {
                    Lost::Replaced { session } => return End::Replaced(session),
                    Lost::Deleted => {
                        self.say("was deleted by somebody; registering it again");
                        sleep(DELETED_PAUSE).await;
                        continue;
                    }
                    Lost::Ended(error) => error.into(),
                },
                Err(error) => error,
            };
            match error {
                NamingError::Newer { session } => return End::Replaced(session),
                NamingError::Session(error) if error.ends_session() => {
                    self.say(&format!("is no longer registered: {error}"));
                    self.connect().await;
                }
                error if self.is_first => return End::Failed(error.into()),
                // What was allowed before may be allowed again.
                error => {
                    self.say(&format!("is not registered: {error}; trying again"));
                    sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }

    async fn connect(&mut self) {
        loop {
            match self.site.connect().await {
                Ok(client) => {
                    self.client = client;
                    return;
                }
                Err(error) => self.say(&format!("is not registered: {error}; trying again")),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Has registered what is wanted, as the checks want it, until that is lost.
    async fn session(&mut self) -> Result<Lost, NamingError> {
        let directory = Directory::new(&self.client, &self.root)?;
        let place = self.options.extras.extras();
        let mut registration: Option<Registration> = None;
        let mut done = None;
        let mut told = None;
        loop {
            let condition = self.checker.condition();
            let wanted = self.wanted(&condition);
            if done != Some(wanted) {
                match (wanted, &registration) {
                    (Wanted::Nothing, _) => {
                        let (name, id) = (&self.instance.name, &self.instance.id);
                        directory.withdraw(name, id).await?;
                        registration = None;
                    }
                    (Wanted::Instance { enabled }, there) => {
                        self.instance.enabled = enabled;
                        match there {
                            Some(there) => there.update(&self.instance, place).await?,
                            None => {
                                let entered = self.enter(&directory).await?;
                                self.last = Some(entered.czxid());
                                registration = Some(entered);
                            }
                        }
                        self.is_first = false;
                    }
                }
                done = Some(wanted);
            }
            if told != Some(discriminant(&condition)) {
                self.say_condition(&condition, wanted);
                told = Some(discriminant(&condition));
            }
            tokio::select! {
                lost = lost(&self.client, registration.as_ref()) => return Ok(lost),
                () = self.checker.changed() => {}
            }
        }
    }

    async fn enter(&self, directory: &Directory) -> Result<Registration, NamingError> {
        let place = self.options.extras.extras();
        match self.last {
            None => directory.register(&self.instance, place).await,
            Some(last) => directory.register_again(&self.instance, place, last).await,
        }
    }

    fn wanted(&self, condition: &Condition) -> Wanted {
        match (condition, self.options.unhealthy) {
            (Condition::Well, _) => Wanted::Instance { enabled: true },
            (_, Unhealthy::Disable) => Wanted::Instance { enabled: false },
            (_, Unhealthy::Remove) => Wanted::Nothing,
        }
    }

    fn say_condition(&self, condition: &Condition, wanted: Wanted) {
        match (condition, wanted) {
            (Condition::Well, _) => self.say("is registered"),
            (Condition::Unknown, _) => {}
            (Condition::Unwell { reason }, Wanted::Nothing) => {
                self.say(&format!("is not well and not registered: {reason}"));
            }
            (Condition::Unwell { reason }, Wanted::Instance { .. }) => {
                self.say(&format!("is not well and disabled: {reason}"));
            }
        }
    }

    fn say(&self, what: &str) {
        eprintln!("zab: {}: {} {what}", self.instance.name, self.instance.id);
    }
}

/// How what there is is lost: the registration, or without one the session.
async fn lost(client: &Client, registration: Option<&Registration>) -> Lost {
    match registration {
        Some(registration) => registration.lost().await,
        None => {
            let mut states = client.states();
            // With the task that tells states the session is over, too.
            states.wait_for(|state| state.is_over()).await.ok();
            Lost::Ended(SessionError::SessionExpired)
        }
    }
}
