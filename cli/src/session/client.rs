//! The handle of a session, and its operations.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::proto::{
    AclReply, AddWatchMode, AddWatchRequest, ChildrenReply, ClientInfo, CreateFlags, CreateRequest,
    CreateTtlRequest, DataReply, DeleteRequest, MultiOp, MultiOps, MultiResult, PathRequest,
    PathWatchRequest, ReconfigRequest, Reply, Request, SetAclRequest, SetDataRequest, WatcherType,
    WatchesRequest,
};
use jute_codec::{Acl, DecodeError, ErrorCode, SessionId, Stat, Text};
use tokio::sync::{mpsc, oneshot, watch};

use super::answer::{Answered, Change};
use super::chroot::Chroot;
use super::core::{Core, Pending};
use super::driver::{Command, Driver, Reasons};
use super::error::Error;
use super::transaction::Transaction;
use super::watches::{self, Watcher, Wish};
use super::{Credential, Options, State};
use crate::connect_string::ConnectString;
use crate::path::{self, PathError};

/// The node that holds the ensemble's configuration; never under a chroot.
const CONFIG_NODE: &str = "/zookeeper/config";

/// The longest that closing a session takes.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// A session. Clones share it; it closes when the last of them is dropped, better with [`Self::close`].
///
/// An operation is sent when its future is first polled. To send several before the first reply, use
/// [`Self::submit`], or poll the futures together.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    states: watch::Receiver<State>,
    chroot: Chroot,
    reasons: Reasons,
    timeout: Duration,
}

impl Client {
    /// Begins a session, in a task on the current tokio runtime. Operations wait until a server is found.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(connect: ConnectString, options: Options) -> Self {
        let servers = u32::try_from(connect.servers.len()).unwrap_or(u32::MAX);
        // As the Java client: no server may use up the time that the others need.
        let patience = (options.timeout / servers).max(Duration::from_millis(1));
        let chroot = Chroot::new(connect.chroot);
        let timeout = options.timeout;
        let (core, states) = Core::new(options, chroot.clone(), patience, Instant::now());
        let (commands, receiver) = mpsc::unbounded_channel();
        let reasons = Reasons::default();
        let driver = Driver::new(
            core,
            connect.servers,
            receiver,
            Arc::clone(&reasons),
            patience,
        );
        tokio::spawn(driver.run());
        Self {
            commands,
            states,
            chroot,
            reasons,
            timeout,
        }
    }

    /// Begins a session and waits until a server is connected.
    ///
    /// # Errors
    /// [`Error::NoServer`] when there is none within the session timeout wished for; [`Error::AuthFailed`].
    pub async fn connect(connect: ConnectString, options: Options) -> Result<Self, Error> {
        let client = Self::start(connect, options);
        client.connected(client.timeout).await?;
        Ok(client)
    }

    /// Waits until a server is connected.
    ///
    /// # Errors
    /// [`Error::NoServer`] after `patience`; what ended the session, if it is over.
    pub async fn connected(&self, patience: Duration) -> Result<(), Error> {
        let mut states = self.states.clone();
        let served = async {
            // It fails when the session is over, as the request does then.
            drop(
                states
                    .wait_for(|state| state.is_connected() || state.is_over())
                    .await,
            );
            // An answer means that the server has looked at the credentials; or it says what has ended the session.
            self.exists("/").await.map(drop)
        };
        match tokio::time::timeout(patience, served).await {
            Ok(served) => served,
            Err(_) => Err(Error::NoServer {
                waited_ms: patience.as_millis(),
                reasons: self.reasons(),
            }),
        }
    }

    /// How the session is, and how it becomes.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<State> {
        self.states.clone()
    }

    /// How the session is.
    #[must_use]
    pub fn state(&self) -> State {
        *self.states.borrow()
    }

    /// The session's id, once and while a server is connected.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self.state() {
            State::Connected { session, .. } | State::ConnectedReadOnly { session } => {
                Some(session)
            }
            _ => None,
        }
    }

    /// Why servers could not be reached or were left, the latest reason of each.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons
            .iter()
            .map(|(server, reason)| format!("{server}: {reason}"))
            .collect()
    }

    /// Closes the session, so that its ephemeral nodes go now and not when it expires.
    ///
    /// # Errors
    /// When no server has confirmed it within five seconds, or the session timeout if that is shorter. The session
    /// then expires.
    pub async fn close(&self) -> Result<(), Error> {
        if self.state().is_over() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let patience = self.timeout.min(CLOSE_PATIENCE);
        // If the task has ended the answer's other end goes with the command, which says so.
        drop(self.commands.send(Command::Close(answer, patience)));
        match Answered(answered).await {
            Ok(_) | Err(Error::SessionExpired) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends any request, now, behind all that was sent before. Paths in it and in the reply are the server's: no
    /// chroot is applied, and nothing is checked.
    pub fn submit(&self, request: Request) -> Answered {
        self.send(request, None)
    }

    /// Presents a credential, now and on every connection to come.
    ///
    /// # Errors
    /// [`Error::AuthFailed`], which ends the session.
    pub async fn add_auth(&self, credential: Credential) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        drop(
            self.commands
                .send(Command::AddCredential(credential, answer)),
        );
        Answered(answered).await.map(drop)
    }

    /// Creates a node, and says what it is called in the end and its stat. For kinds with a time to live see
    /// [`Self::create_ttl`].
    ///
    /// # Errors
    /// Among others `NodeExists`, `NoNode` for a missing parent, `NoChildrenForEphemerals`.
    pub async fn create(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        flags: CreateFlags,
        acl: &[Acl],
    ) -> Result<(String, Stat), Error> {
        let request = create_request(self.new_path(path, flags)?, data.into(), flags, acl);
        self.created(match flags {
            CreateFlags::Container => Request::CreateContainer(request),
            _ => Request::Create2(request),
        })
        .await
    }

    /// Creates a node that goes when it was left alone, without children, for a time.
    ///
    /// # Errors
    /// As [`Self::create`]; `Unimplemented` where the servers do not offer it.
    pub async fn create_ttl(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        flags: CreateFlags,
        acl: &[Acl],
        ttl: Duration,
    ) -> Result<(String, Stat), Error> {
        let request = create_request(self.new_path(path, flags)?, data.into(), flags, acl);
        self.created(Request::CreateTtl(CreateTtlRequest {
            path: request.path,
            data: request.data,
            acl: request.acl,
            flags: request.flags,
            ttl_ms: i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX),
        }))
        .await
    }

    /// Deletes a node without children; `version` -1 is any.
    ///
    /// # Errors
    /// Among others `NoNode`, `NotEmpty`, `BadVersion`.
    pub async fn delete(&self, path: &str, version: i32) -> Result<(), Error> {
        let path = Some(self.deletable(path)?);
        self.submit(Request::Delete(DeleteRequest { path, version }))
            .await
            .map(drop)
    }

    /// The stat of a node that may be missing.
    ///
    /// # Errors
    /// When there is no good reply; a missing node is none.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, Error> {
        let request = Request::Exists(self.path_watch(path, false)?);
        stat_if_any(self.submit(request).await)
    }

    /// The stat of a node that may be missing, and its creation, deletion or next change of data.
    ///
    /// # Errors
    /// As [`Self::exists`].
    pub async fn exists_and_watch(&self, path: &str) -> Result<(Option<Stat>, Change), Error> {
        let request = Request::Exists(self.path_watch(path, true)?);
        let (reply, change) = self.send_watching(path, request, Wish::Exists);
        Ok((stat_if_any(reply.await)?, change))
    }

    /// A node's data and stat.
    ///
    /// # Errors
    /// Among others `NoNode`, `NoAuth`.
    pub async fn get(&self, path: &str) -> Result<DataReply, Error> {
        let request = Request::GetData(self.path_watch(path, false)?);
        data(self.submit(request).await?)
    }

    /// A node's data and stat, and the next change of its data or its deletion.
    ///
    /// # Errors
    /// As [`Self::get`]; no watch is left then.
    pub async fn get_and_watch(&self, path: &str) -> Result<(DataReply, Change), Error> {
        let request = Request::GetData(self.path_watch(path, true)?);
        let (reply, change) = self.send_watching(path, request, Wish::Data);
        Ok((data(reply.await?)?, change))
    }

    /// Sets a node's data; `version` -1 is any.
    ///
    /// # Errors
    /// Among others `NoNode`, `BadVersion`, `NoAuth`.
    pub async fn set(
        &self,
        path: &str,
        data: impl Into<Bytes>,
        version: i32,
    ) -> Result<Stat, Error> {
        let request = Request::SetData(SetDataRequest {
            path: Some(self.existing(path)?),
            data: Some(data.into()),
            version,
        });
        stat(self.submit(request).await?)
    }

    /// The names of a node's children, in no particular order, and its stat.
    ///
    /// # Errors
    /// Among others `NoNode`, `NoAuth`.
    pub async fn children(&self, path: &str) -> Result<ChildrenReply, Error> {
        let request = Request::GetChildren2(self.path_watch(path, false)?);
        children(self.submit(request).await?)
    }

    /// The names of a node's children, in no particular order; none if there is no such node.
    ///
    /// # Errors
    /// Among others `NoAuth`.
    pub async fn child_names(&self, path: &str) -> Result<Vec<String>, Error> {
        match self.children(path).await {
            Err(error) if error.is(ErrorCode::NoNode) => Ok(Vec::new()),
            reply => Ok(reply?.children.iter().map(ToString::to_string).collect()),
        }
    }

    /// The names of a node's children, and the next change of their list or the node's deletion.
    ///
    /// # Errors
    /// As [`Self::children`]; no watch is left then.
    pub async fn children_and_watch(&self, path: &str) -> Result<(ChildrenReply, Change), Error> {
        let request = Request::GetChildren2(self.path_watch(path, true)?);
        let (reply, change) = self.send_watching(path, request, Wish::Children);
        Ok((children(reply.await?)?, change))
    }

    /// A node's access control list.
    ///
    /// # Errors
    /// Among others `NoNode`.
    pub async fn acl(&self, path: &str) -> Result<AclReply, Error> {
        let request = Request::GetAcl(self.path_request(path)?);
        match self.submit(request).await? {
            Reply::Acl(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Sets a node's access control list; `version` -1 is any.
    ///
    /// # Errors
    /// Among others `NoNode`, `InvalidAcl`, `BadVersion`, `NoAuth`.
    pub async fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, Error> {
        let request = Request::SetAcl(SetAclRequest {
            path: Some(self.existing(path)?),
            acl: Some(acl.to_vec()),
            version,
        });
        stat(self.submit(request).await?)
    }

    /// Waits until the server has caught up with the leader: what is read afterwards is no older than this call.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn sync(&self, path: &str) -> Result<(), Error> {
        let request = Request::Sync(self.path_request(path)?);
        self.submit(request).await.map(drop)
    }

    /// How many nodes are below a node.
    ///
    /// # Errors
    /// Among others `NoNode`.
    pub async fn all_children_number(&self, path: &str) -> Result<i32, Error> {
        let request = Request::GetAllChildrenNumber(self.path_request(path)?);
        match self.submit(request).await? {
            Reply::Int(number) => Ok(number),
            _ => Err(unexpected()),
        }
    }

    /// The session's own ephemeral nodes whose paths begin with a prefix.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let request = Request::GetEphemerals(self.path_request(prefix)?);
        match self.submit(request).await? {
            Reply::Names(paths) => Ok(paths.iter().map(|path| self.chroot.strip(path)).collect()),
            _ => Err(unexpected()),
        }
    }

    /// Who the server thinks this is.
    ///
    /// # Errors
    /// `Unimplemented` before ZooKeeper 3.7.
    pub async fn who_am_i(&self) -> Result<Vec<ClientInfo>, Error> {
        match self.submit(Request::WhoAmI).await? {
            Reply::Identities(identities) => Ok(identities),
            _ => Err(unexpected()),
        }
    }

    /// The ensemble's configuration.
    ///
    /// # Errors
    /// Among others `NoNode` where reconfiguration is off.
    pub async fn config(&self) -> Result<DataReply, Error> {
        let request = Request::GetData(PathWatchRequest {
            path: Some(Text::from_static(CONFIG_NODE)),
            watch: false,
        });
        data(self.submit(request).await?)
    }

    /// Changes the ensemble's members, and says what the configuration is then.
    ///
    /// # Errors
    /// Among others `ReconfigDisabled`, `NewConfigNoQuorum`, `BadVersion`.
    pub async fn reconfigure(&self, request: ReconfigRequest) -> Result<DataReply, Error> {
        data(self.submit(Request::Reconfig(request)).await?)
    }

    /// Leaves a lasting watch on a node, or on it and all below it. Neither has to exist.
    ///
    /// # Errors
    /// `Unimplemented` before ZooKeeper 3.6.
    pub async fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<Watcher, Error> {
        let full = self.existing(path)?;
        let request = Request::AddWatch(AddWatchRequest {
            path: Some(full.clone()),
            mode: mode as i32,
        });
        let (sender, watcher) = watches::watcher();
        let wish = Wish::Lasting(mode, sender);
        self.send(request, Some((full.to_string(), wish))).await?;
        Ok(watcher)
    }

    /// Removes watches of this connection from the server. Those who wait for them here wait on in vain: drop them.
    ///
    /// # Errors
    /// `NoWatcher` when there are none.
    pub async fn remove_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        let request = Request::RemoveWatches(self.watches_request(path, kind)?);
        self.submit(request).await.map(drop)
    }

    /// Asks whether the server has watches of this connection.
    ///
    /// # Errors
    /// `NoWatcher` when it has none.
    pub async fn check_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        let request = Request::CheckWatches(self.watches_request(path, kind)?);
        self.submit(request).await.map(drop)
    }

    /// Begins to put together writes that are to be carried out all or none.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// Reads of data and of children, answered as of one moment, each with its own result.
    ///
    /// # Errors
    /// When there is no good reply as a whole.
    pub async fn multi_read(&self, ops: Vec<MultiOp>) -> Result<Vec<MultiResult>, Error> {
        let ops = ops.into_iter().map(|op| match op {
            MultiOp::GetData(request) => Ok(MultiOp::GetData(self.under_chroot(request)?)),
            MultiOp::GetChildren(request) => Ok(MultiOp::GetChildren(self.under_chroot(request)?)),
            other => Ok(other),
        });
        let ops = ops.collect::<Result<_, PathError>>()?;
        match self.submit(Request::MultiRead(MultiOps(ops))).await? {
            Reply::Multi(results) => Ok(results),
            _ => Err(unexpected()),
        }
    }

    fn under_chroot(&self, request: PathWatchRequest) -> Result<PathWatchRequest, PathError> {
        self.path_watch(request.path.as_deref().unwrap_or(""), request.watch)
    }

    async fn created(&self, request: Request) -> Result<(String, Stat), Error> {
        match self.submit(request).await? {
            Reply::PathStat(reply) => Ok((self.chroot.strip(&reply.path), reply.stat)),
            _ => Err(unexpected()),
        }
    }

    fn send(&self, request: Request, watch: Option<(String, Wish)>) -> Answered {
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            request,
            answer,
            watch,
        };
        // If the task has ended the answer's other end goes with the command, which says so.
        drop(self.commands.send(Command::Submit(pending)));
        Answered(answered)
    }

    fn send_watching(
        &self,
        path: &str,
        request: Request,
        wish: impl FnOnce(watches::Once) -> Wish,
    ) -> (Answered, Change) {
        let (once, change) = oneshot::channel();
        let watch = (self.chroot.full(path), wish(once));
        (self.send(request, Some(watch)), Change(change))
    }

    /// A server's path as the user knows it.
    pub(super) fn visible(&self, path: &str) -> String {
        self.chroot.strip(path)
    }

    pub(super) fn existing(&self, path: &str) -> Result<Text, PathError> {
        path::validate(path)?;
        Ok(self.chroot.full(path).into())
    }

    /// The root stays the root, so that it cannot be deleted under a chroot either.
    pub(super) fn deletable(&self, path: &str) -> Result<Text, PathError> {
        match path {
            "/" => Ok(Text::from_static("/")),
            path => self.existing(path),
        }
    }

    pub(super) fn new_path(&self, path: &str, flags: CreateFlags) -> Result<Text, PathError> {
        if flags.is_sequential() {
            path::validate(&format!("{path}1"))?;
        } else {
            path::validate(path)?;
        }
        Ok(self.chroot.full(path).into())
    }

    fn path_watch(&self, path: &str, watch: bool) -> Result<PathWatchRequest, PathError> {
        Ok(PathWatchRequest {
            path: Some(self.existing(path)?),
            watch,
        })
    }

    fn path_request(&self, path: &str) -> Result<PathRequest, PathError> {
        Ok(PathRequest {
            path: Some(self.existing(path)?),
        })
    }

    fn watches_request(&self, path: &str, kind: WatcherType) -> Result<WatchesRequest, PathError> {
        Ok(WatchesRequest {
            path: Some(self.existing(path)?),
            watcher_type: kind as i32,
        })
    }
}

pub(super) fn create_request(
    path: Text,
    data: Bytes,
    flags: CreateFlags,
    acl: &[Acl],
) -> CreateRequest {
    CreateRequest {
        path: Some(path),
        data: Some(data),
        acl: Some(acl.to_vec()),
        flags: flags as i32,
    }
}

fn stat(reply: Reply) -> Result<Stat, Error> {
    match reply {
        Reply::Stat(stat) => Ok(stat),
        _ => Err(unexpected()),
    }
}

fn stat_if_any(reply: Result<Reply, Error>) -> Result<Option<Stat>, Error> {
    match reply {
        Err(error) if error.is(ErrorCode::NoNode) => Ok(None),
        reply => stat(reply?).map(Some),
    }
}

fn data(reply: Reply) -> Result<DataReply, Error> {
    match reply {
        Reply::Data(reply) => Ok(reply),
        _ => Err(unexpected()),
    }
}

fn children(reply: Reply) -> Result<ChildrenReply, Error> {
    match reply {
        Reply::Children(reply) => Ok(reply),
        _ => Err(unexpected()),
    }
}

/// A reply of another shape than its opcode's: [`Reply::read`] makes none.
pub(super) fn unexpected() -> Error {
    Error::Decode(DecodeError::UnexpectedValue {
        what: "shape of a reply",
        value: 0,
    })
}
