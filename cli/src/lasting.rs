//! A session that lasts while commands come and go: it is kept alive in the background, moves between servers, and
//! tells what happens on the side.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jute_codec::proto::{
    AddWatchMode, PathWatchRequest, Reply, Request, WatcherEvent, WatcherType,
};
use jute_codec::{ErrorCode, Text};
use rustix::process::Signal;
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use zab::{Change, Client, ConnectString, Error, Notice, Options, State, WatchEvent, Watcher};

use crate::client::Notification;
use crate::failure::{Failure, Kind};
use crate::handle::Event;
use crate::interrupts::Interrupts;
use crate::recipe::Signals;
use crate::side::Side;

/// How long the end of this process waits for the end of the session.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// How long an interrupt may be on its way to one who has not heard of it yet.
const INTERRUPT_PATIENCE: Duration = Duration::from_millis(500);

/// A watch that somebody asked for.
#[derive(Debug)]
struct Kept {
    path: String,
    kind: WatcherType,
    task: AbortHandle,
}

/// The session. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Lasting(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    runtime: Runtime,
    /// Ends the runtime's thread when it is dropped.
    _end: oneshot::Sender<()>,
    options: Options,
    session: Mutex<Session>,
    watches: Mutex<Vec<Kept>>,
    side: Side,
    /// Signals by which somebody wants less than all of this.
    interrupts: Interrupts,
}

#[derive(Debug)]
struct Session {
    connect: ConnectString,
    client: Client,
    /// Presented since it began.
    credentials: Vec<zab::Credential>,
}

impl Lasting {
    /// Begins a session. `takes_interrupts`: Ctrl-C ends what is being waited for, not this process. Other signals end
    /// it, when the session is closed.
    pub(crate) fn begin(
        connect: ConnectString,
        options: Options,
        takes_interrupts: bool,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let (client, signals) = {
            let _context = handle.enter();
            let client = Client::start(connect.clone(), options.clone());
            (client, Signals::catch()?)
        };
        thread::Builder::new()
            .name("session".to_owned())
            .spawn(move || runtime.block_on(ended).ok())?;
        let lasting = Self(Arc::new(Shared {
            runtime: handle,
            _end: end,
            options,
            session: Mutex::new(Session {
                connect,
                client,
                credentials: Vec::new(),
            }),
            watches: Mutex::new(Vec::new()),
            side: Side::default(),
            interrupts: Interrupts::default(),
        }));
        lasting.follow();
        lasting.heed(signals, takes_interrupts);
        Ok(lasting)
    }

    /// What happens on the side.
    pub(crate) fn side(&self) -> &Side {
        &self.0.side
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        let session = self.0.session.lock();
        session.unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Kept>> {
        let watches = self.0.watches.lock();
        watches.unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Client {
        self.session().client.clone()
    }

    /// How the session is.
    pub(crate) fn state(&self) -> State {
        self.session().client.state()
    }

    /// Where it is served.
    pub(crate) fn connect_string(&self) -> ConnectString {
        self.session().connect.clone()
    }

    /// Begins another session, on other servers or on the same. The one before it closes.
    pub(crate) fn connect(&self, connect: ConnectString) {
        self.begin_anew(connect, Vec::new());
    }

    fn begin_anew(&self, connect: ConnectString, credentials: Vec<zab::Credential>) {
        self.watches().drain(..).for_each(|kept| kept.task.abort());
        let before = {
            let _context = self.0.runtime.enter();
            let mut options = self.0.options.clone();
            options.credentials.extend(credentials.iter().cloned());
            let client = Client::start(connect.clone(), options);
            let session = Session {
                connect,
                client,
                credentials,
            };
            std::mem::replace(&mut *self.session(), session)
        };
        self.follow();
        // What cannot be closed expires.
        self.0.runtime.block_on(before.client.close()).ok();
    }

    /// Closes the session.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.0.runtime.block_on(self.client().close())
    }

    /// Tells how the session becomes.
    fn follow(&self) {
        let mut states = self.client().states();
        let shared = Arc::downgrade(&self.0);
        self.0.runtime.spawn(async move {
            while states.changed().await.is_ok() {
                let state = *states.borrow_and_update();
                let event = match state {
                    State::Connecting | State::Overdue => continue,
                    State::Connected { .. } => Event::Connected,
                    State::ConnectedReadOnly { .. } => Event::ConnectedReadOnly,
                    State::Suspended => Event::Disconnected,
                    State::Expired => Event::Expired,
                    State::AuthFailed => Event::AuthFailed,
                    State::Closed => Event::Closed,
                };
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared.side.tell(event);
                if state.is_over() {
                    return;
                }
            }
        });
    }

    /// Waits for something of this session, until it is interrupted.
    fn wait<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let interrupts = &self.0.interrupts;
        self.0.runtime.block_on(async move {
            tokio::select! {
                result = future => result,
                () = interrupts.wait() => Err(Failure::told(
                    Kind::Interrupted,
                    "interrupted: what had been sent may have been done or not",
                )),
            }
        })
    }

    /// Waits for a server, so that nothing is asked that would be carried out long after it was given up.
    async fn connected(&self, client: &Client, path: Option<&str>) -> Result<(), Failure> {
        let mut states = client.states();
        let wait = states.wait_for(|state| state.is_connected() || state.is_over());
        let patience = self.0.options.timeout;
        if tokio::time::timeout(patience, wait).await.is_ok() {
            return Ok(());
        }
        let waited_ms = patience.as_millis();
        let reasons = client.reasons();
        Err(failure(&Error::NoServer { waited_ms, reasons }, path))
    }

    /// Gives a server a moment to answer.
    pub(crate) fn settle(&self, patience: Duration) {
        let mut states = self.client().states();
        let wait = states.wait_for(|state| state.is_connected() || state.is_over());
        // It may also be found later.
        self.0
            .runtime
            .block_on(async { tokio::time::timeout(patience, wait).await.is_ok() });
    }

    /// Begins anew after a session that the servers have given up.
    fn renew(&self) {
        if self.state() == State::Expired {
            // The same person goes on: what was presented to the one is presented to the next.
            let credentials = self.session().credentials.clone();
            self.begin_anew(self.connect_string(), credentials);
        }
    }

    /// What this session has shown, from the start and since.
    pub(crate) fn credentials(&self) -> Vec<zab::Credential> {
        let since = self.session().credentials.clone();
        self.0
            .options
            .credentials
            .iter()
            .cloned()
            .chain(since)
            .collect()
    }

    /// A command begins: interrupts of what was before do not matter any more.
    pub(crate) fn begin_command(&self) {
        self.0.interrupts.forget();
    }

    /// What has just ended was interrupted: waits a moment until that has been heard here, too, lest it be taken for an
    /// interrupt of the next command.
    pub(crate) fn hear_interrupt(&self) {
        let heard = self.0.interrupts.wait();
        // What ends with this code may also have done so for a reason of its own.
        self.0
            .runtime
            .block_on(async { tokio::time::timeout(INTERRUPT_PATIENCE, heard).await.ok() });
    }

    /// From here on, or no longer, somebody else takes the signals that end this process; [`Self::ending`] tells whether
    /// one has come.
    pub(crate) fn leave_signals(&self, to_another: bool) {
        self.0.interrupts.left.store(to_another, Ordering::SeqCst);
    }

    /// The exit code, if this process is to end.
    pub(crate) fn ending(&self) -> Option<u8> {
        let code = self.0.interrupts.ending.load(Ordering::SeqCst);
        (code != 0).then_some(code)
    }

    fn heed(&self, mut signals: Signals, takes_interrupts: bool) {
        let shared = Arc::downgrade(&self.0);
        self.0.runtime.spawn(async move {
            loop {
                let signal = signals.next().await;
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if signal == Signal::INT && takes_interrupts {
                    shared.interrupts.tell();
                    continue;
                }
                let code = crate::exit::of_signal(signal);
                shared.interrupts.ending.store(code, Ordering::SeqCst);
                if shared.interrupts.left.load(Ordering::SeqCst) {
                    continue;
                }
                let client = {
                    let session = shared.session.lock();
                    session
                        .unwrap_or_else(PoisonError::into_inner)
                        .client
                        .clone()
                };
                // What cannot be closed in time expires.
                tokio::time::timeout(CLOSE_PATIENCE, client.close())
                    .await
                    .ok();
                std::process::exit(code.into());
            }
        });
    }

    /// Asks one thing; `path` is what a failure is put down to. The reply's body is as a server sends it.
    pub(crate) fn request(&self, request: &Request, path: Option<&str>) -> Result<Bytes, Failure> {
        self.renew();
        let client = self.client();
        self.wait(async {
            self.connected(&client, path).await?;
            let reply = match request {
                Request::Exists(read) if read.watch => {
                    self.watched(&client, request, read, WatcherType::Data)
                        .await
                }
                Request::GetData(read) if read.watch => {
                    self.watched(&client, request, read, WatcherType::Data)
                        .await
                }
                Request::GetChildren2(read) if read.watch => {
                    self.watched(&client, request, read, WatcherType::Children)
                        .await
                }
                other => client.submit(other.clone()).await,
            };
            reply
                .map(|reply| body(&reply))
                .map_err(|error| failure(&error, path))
        })
    }

    /// Reads, and tells of the next change on the side.
    async fn watched(
        &self,
        client: &Client,
        request: &Request,
        read: &PathWatchRequest,
        kind: WatcherType,
    ) -> Result<Reply, Error> {
        let chroot = self.connect_string().chroot;
        let server_path = read.path.as_deref().unwrap_or("");
        let inner = server_path.strip_prefix(chroot.as_deref().unwrap_or(""));
        let path = match inner {
            Some("") => "/",
            Some(inner) => inner,
            // Above the chroot: the library watches nothing there.
            None => return client.submit(request.clone()).await,
        };
        let (reply, change) = match request {
            Request::Exists(_) => {
                let (stat, change) = client.exists_and_watch(path).await?;
                let missing = || Error::Server(ErrorCode::NoNode.code());
                (stat.map(Reply::Stat).ok_or_else(missing), change)
            }
            Request::GetData(_) => {
                let (reply, change) = client.get_and_watch(path).await?;
                (Ok(Reply::Data(reply)), change)
            }
            _ => {
                let (reply, change) = client.children_and_watch(path).await?;
                (Ok(Reply::Children(reply)), change)
            }
        };
        self.keep(path, kind, change);
        reply
    }

    fn keep(&self, path: &str, kind: WatcherType, change: Change) {
        let shared = Arc::downgrade(&self.0);
        let task = self.0.runtime.spawn(async move {
            if let (Ok(event), Some(shared)) = (change.await, shared.upgrade()) {
                shared.side.tell(told(event));
            }
        });
        self.remember(path, kind, task.abort_handle());
    }

    fn remember(&self, path: &str, kind: WatcherType, task: AbortHandle) {
        let mut watches = self.watches();
        watches.retain(|kept| !kept.task.is_finished());
        watches.push(Kept {
            path: path.to_owned(),
            kind,
            task,
        });
    }

    /// Asks many things at once.
    pub(crate) fn request_all(
        &self,
        requests: &[Request],
    ) -> Result<Vec<Result<Bytes, i32>>, Failure> {
        self.renew();
        let client = self.client();
        self.wait(async {
            self.connected(&client, None).await?;
            let answers: Vec<_> = requests
                .iter()
                .map(|request| client.submit(request.clone()))
                .collect();
            let mut bodies = Vec::with_capacity(answers.len());
            for answer in answers {
                bodies.push(match answer.await {
                    Ok(reply) => Ok(body(&reply)),
                    Err(Error::Server(code)) => Err(code),
                    Err(other) => return Err(failure(&other, None)),
                });
            }
            Ok(bodies)
        })
    }

    /// The names below a node, if they can be had quickly: for completion.
    pub(crate) fn names(&self, path: &str, patience: Duration) -> Option<Vec<String>> {
        let client = self.client();
        if !client.state().is_connected() {
            return None;
        }
        let reply = async { tokio::time::timeout(patience, client.children(path)).await };
        let reply = self.0.runtime.block_on(reply).ok()?.ok()?;
        Some(reply.children.iter().map(ToString::to_string).collect())
    }

    /// Presents a credential.
    pub(crate) fn add_auth(&self, credential: zab::Credential) -> Result<(), Failure> {
        let client = self.client();
        self.wait(async {
            self.connected(&client, None).await?;
            client
                .add_auth(credential.clone())
                .await
                .map_err(|error| failure(&error, None))
        })?;
        self.session().credentials.push(credential);
        Ok(())
    }

    /// Leaves a lasting watch for a command that reads what it tells with [`Self::notice`].
    pub(crate) fn watcher(&self, path: &str, mode: AddWatchMode) -> Result<Watcher, Failure> {
        self.renew();
        let client = self.client();
        self.wait(async {
            self.connected(&client, Some(path)).await?;
            client
                .add_watch(path, mode)
                .await
                .map_err(|error| failure(&error, Some(path)))
        })
    }

    /// The next thing that a watch tells, if there is one in time.
    pub(crate) fn notice(
        &self,
        watcher: &mut Watcher,
        patience: Duration,
    ) -> Result<Option<Event>, Failure> {
        self.wait(async {
            match tokio::time::timeout(patience, watcher.next()).await {
                Err(_) => Ok(None),
                Ok(Some(Notice::Event(event))) => Ok(Some(told(event))),
                Ok(Some(Notice::Missed)) => Ok(Some(Event::Missed)),
                Ok(None) => Err(failure(&Error::SessionExpired, None)),
            }
        })
    }

    /// Leaves a lasting watch whose events are told on the side.
    pub(crate) fn leave_watch(&self, path: &str, mode: AddWatchMode) -> Result<(), Failure> {
        let mut watcher = self.watcher(path, mode)?;
        let shared = Arc::downgrade(&self.0);
        let task = self.0.runtime.spawn(async move {
            while let Some(notice) = watcher.next().await {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                shared.side.tell(match notice {
                    Notice::Event(event) => told(event),
                    Notice::Missed => Event::Missed,
                });
            }
        });
        let kind = match mode {
            AddWatchMode::Persistent => WatcherType::Persistent,
            AddWatchMode::PersistentRecursive => WatcherType::PersistentRecursive,
        };
        self.remember(path, kind, task.abort_handle());
        Ok(())
    }

    /// Removes watches of one kind, or all, and says which kinds there were. `locally`: also if no server can be told.
    pub(crate) fn remove_watches(
        &self,
        path: &str,
        kind: WatcherType,
        locally: bool,
    ) -> Result<Vec<WatcherType>, Failure> {
        let mut kinds: Vec<WatcherType> = Vec::new();
        for kept in self.watches().iter() {
            let is_meant = kept.path == path && (kind == WatcherType::Any || kept.kind == kind);
            if is_meant && !kept.task.is_finished() && !kinds.contains(&kept.kind) {
                kinds.push(kept.kind);
            }
        }
        if kinds.is_empty() {
            return Err(Failure::Server {
                code: ErrorCode::NoWatcher.code(),
                path: Some(path.to_owned()),
            });
        }
        let client = self.client();
        let removed = self.wait(async {
            for kind in &kinds {
                match client.remove_watches(path, *kind).await {
                    Err(error) if !error.is(ErrorCode::NoWatcher) => {
                        return Err(failure(&error, Some(path)));
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        if !locally {
            removed?;
        }
        self.watches().retain(|kept| {
            let goes = kept.path == path && kinds.contains(&kept.kind);
            if goes {
                kept.task.abort();
            }
            !goes
        });
        Ok(kinds)
    }
}

fn body(reply: &Reply) -> Bytes {
    let mut body = Vec::new();
    reply.write_body(&mut body);
    body.into()
}

fn told(event: WatchEvent) -> Event {
    Event::Watch(Notification {
        event: WatcherEvent {
            kind: event.kind.code(),
            state: WatcherEvent::SYNC_CONNECTED,
            path: Text::from(event.path),
        },
        zxid: event.zxid,
    })
}

fn failure(error: &Error, path: Option<&str>) -> Failure {
    let path = path.map(str::to_owned);
    match error {
        Error::Server(code) => Failure::Server { code: *code, path },
        Error::Path(error) => Failure::Path(error.clone()),
        other => Failure::NoReply {
            reason: other.to_string(),
            code: other.code().unwrap_or(ErrorCode::SystemError),
            path,
            is_ambiguous: other.is_ambiguous(),
        },
    }
}
