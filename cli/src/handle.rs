//! The operations of a client, on a session that opens with the first of them.
//!
//! Paths go in and come out as the user sees them: checked here, with the chroot put on and taken off.

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::proto::{
    AclReply, AddWatchMode, AddWatchRequest, AuthPacket, ChildrenReply, ClientInfo, CreateFlags,
    CreateRequest, CreateTtlRequest, DataReply, DeleteRequest, MultiOp, MultiOps, MultiResult,
    PathRequest, PathStatReply, PathWatchRequest, ReconfigRequest, Request, SetAclRequest,
    SetDataRequest, WatcherType,
};
use jute_codec::{Acl, DecodeError, ErrorCode, Jute, Reader, Stat, Text};
use zab::Watcher;

use crate::client::{
    Client, ClientError, ConnectError, ConnectString, Notification, SessionOptions,
};
use crate::failure::Failure;
use crate::invocation::Credential;
use crate::lasting::Lasting;
use crate::path;

/// The node that holds the ensemble's configuration; never under a chroot.
const CONFIG_NODE: &str = "/zookeeper/config";

/// How long to wait before the servers are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What can be told on the side while a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Connected,
    ConnectedReadOnly,
    AuthFailed,
    /// The connection is lost; the session may last.
    Disconnected,
    /// The servers have given the session up.
    Expired,
    Closed,
    /// Events may have been missed while there was no connection.
    Missed,
    /// Watches of one kind were removed.
    Removed {
        kind: WatcherType,
        path: String,
    },
    Watch(Notification),
}

/// A session, open or yet to be.
#[derive(Debug)]
pub(crate) struct Handle {
    connect: ConnectString,
    options: SessionOptions,
    credentials: Vec<Credential>,
    client: Option<Client>,
    events: Vec<Event>,
    /// In its place where commands are given one after the other.
    lasting: Option<Lasting>,
    /// What a command waits for on it.
    watcher: Option<Watcher>,
}

/// Whether a read leaves a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    Leave,
    No,
}

impl Watch {
    pub(crate) const fn when(wanted: bool) -> Self {
        if wanted { Self::Leave } else { Self::No }
    }
}

/// A node to be created.
#[derive(Debug, Clone)]
pub(crate) struct NewNode {
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) flags: CreateFlags,
    /// In milliseconds; for kinds that have one.
    pub(crate) ttl_ms: i64,
}

impl Handle {
    pub(crate) fn new(
        connect: ConnectString,
        options: SessionOptions,
        credentials: Vec<Credential>,
    ) -> Self {
        Self {
            connect,
            options,
            credentials,
            client: None,
            events: Vec::new(),
            lasting: None,
            watcher: None,
        }
    }

    /// A handle for a session that lasts.
    pub(crate) fn of(lasting: Lasting, options: SessionOptions) -> Self {
        let connect = lasting.connect_string();
        Self {
            lasting: Some(lasting),
            ..Self::new(connect, options, Vec::new())
        }
    }

    /// Goes on with other servers, or with a new session on the same. Only for a session that lasts.
    pub(crate) fn connect(&mut self, connect: ConnectString) {
        if let Some(lasting) = &self.lasting {
            self.connect = connect.clone();
            lasting.connect(connect);
        }
    }

    /// The session that lasts.
    pub(crate) fn lasting(&self) -> Option<&Lasting> {
        self.lasting.as_ref()
    }

    /// Ends what [`Self::add_watch`] has begun.
    pub(crate) fn end_watch(&mut self) {
        if self.watcher.take().is_some() {
            self.events.clear();
        }
    }

    /// Connects now, trying again until there is a server or the session timeout wished for has passed.
    pub(crate) fn wait_for_connection(&mut self) -> Result<(), Failure> {
        let patience = u64::try_from(self.options.timeout_ms).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_millis(patience);
        loop {
            match self.client(None) {
                Err(Failure::NoReply { code, .. })
                    if code == ErrorCode::ConnectionLoss
                        && Instant::now() + RETRY_PAUSE < deadline =>
                {
                    thread::sleep(RETRY_PAUSE);
                }
                other => return other.map(drop),
            }
        }
    }

    /// Closes the session if there is one.
    pub(crate) fn close(&mut self) -> Result<(), ClientError> {
        self.client.take().map_or(Ok(()), Client::close)
    }

    /// What has happened on the side since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        if let (Some(lasting), None) = (&self.lasting, &self.watcher) {
            return lasting.side().take();
        }
        let notifications = self.client.as_mut().map(Client::take_notifications);
        let chroot = self.connect.chroot.as_deref();
        let watches = notifications.into_iter().flatten().map(|mut notification| {
            notification.event.path = strip_chroot(chroot, &notification.event.path);
            Event::Watch(notification)
        });
        self.events.extend(watches);
        std::mem::take(&mut self.events)
    }

    pub(crate) fn exists(&mut self, path: &str, watch: Watch) -> Result<Option<Stat>, Failure> {
        let request = Request::Exists(self.path_watch(path, watch)?);
        match self.call(Some(path), &request) {
            Err(failure) if failure.is_code(ErrorCode::NoNode) => Ok(None),
            result => result.map(Some),
        }
    }

    pub(crate) fn data(&mut self, path: &str, watch: Watch) -> Result<DataReply, Failure> {
        let request = Request::GetData(self.path_watch(path, watch)?);
        self.call(Some(path), &request)
    }

    /// The names of a node's children, sorted.
    pub(crate) fn children(&mut self, path: &str, watch: Watch) -> Result<ChildrenReply, Failure> {
        let request = Request::GetChildren2(self.path_watch(path, watch)?);
        let mut reply: ChildrenReply = self.call(Some(path), &request)?;
        reply.children.sort();
        Ok(reply)
    }

    /// Creates a node and says what it is called in the end.
    pub(crate) fn create(&mut self, path: &str, node: NewNode) -> Result<Text, Failure> {
        if node.flags.is_sequential() {
            path::validate(&format!("{path}1"))?;
        } else {
            path::validate(path)?;
        }
        // As the Java client does, before anything is sent, and naming no path.
        if node.acl.is_empty() {
            return Err(invalid_acl());
        }
        let server_path = Some(self.server_path(path));
        let (data, acl, flags) = (node.data, Some(node.acl), node.flags as i32);
        let created = if node.flags.is_ttl() {
            let request = Request::CreateTtl(CreateTtlRequest {
                path: server_path,
                data,
                acl,
                flags,
                ttl_ms: node.ttl_ms,
            });
            self.call::<PathStatReply>(Some(path), &request)?.path
        } else {
            let request = CreateRequest {
                path: server_path,
                data,
                acl,
                flags,
            };
            let request = match node.flags {
                CreateFlags::Container => Request::CreateContainer(request),
                _ => Request::Create(request),
            };
            self.call(Some(path), &request)?
        };
        Ok(strip_chroot(self.connect.chroot.as_deref(), &created))
    }

    pub(crate) fn set_data(
        &mut self,
        path: &str,
        data: Bytes,
        version: i32,
    ) -> Result<Stat, Failure> {
        path::validate(path)?;
        let request = Request::SetData(SetDataRequest {
            path: Some(self.server_path(path)),
            data: Some(data),
            version,
        });
        self.call(Some(path), &request)
    }

    pub(crate) fn delete(&mut self, path: &str, version: i32) -> Result<(), Failure> {
        path::validate(path)?;
        let request = Request::Delete(DeleteRequest {
            path: Some(self.deletable_path(path)),
            version,
        });
        self.request(Some(path), &request).map(drop)
    }

    /// Deletes nodes in one transaction, whatever their versions; says whether it went through.
    pub(crate) fn delete_together(&mut self, paths: &[String]) -> Result<bool, Failure> {
        let ops = paths.iter().map(|path| {
            MultiOp::Delete(DeleteRequest {
                path: Some(self.deletable_path(path)),
                version: -1,
            })
        });
        let request = Request::Multi(MultiOps(ops.collect()));
        let body = match self.request(None, &request) {
            Err(Failure::Server { .. }) => return Ok(false),
            result => result?,
        };
        let results = self.decode(None, &body, MultiResult::read_all)?;
        let failed =
            |result: &MultiResult| matches!(result, MultiResult::Error(code) if *code != 0);
        Ok(!results.iter().any(failed))
    }

    pub(crate) fn acl(&mut self, path: &str) -> Result<AclReply, Failure> {
        let request = Request::GetAcl(self.path_request(path)?);
        self.call(Some(path), &request)
    }

    pub(crate) fn set_acl(
        &mut self,
        path: &str,
        acl: &[Acl],
        version: i32,
    ) -> Result<Stat, Failure> {
        path::validate(path)?;
        if acl.is_empty() {
            return Err(invalid_acl());
        }
        let request = Request::SetAcl(SetAclRequest {
            path: Some(self.server_path(path)),
            acl: Some(acl.to_vec()),
            version,
        });
        self.call(Some(path), &request)
    }

    /// Catches up with the leader; the result code is part of the success.
    pub(crate) fn sync(&mut self, path: &str) -> Result<i32, Failure> {
        let request = Request::Sync(self.path_request(path)?);
        match self.request(Some(path), &request) {
            Ok(_) => Ok(0),
            Err(Failure::Server { code, .. }) => Ok(code),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn all_children_number(&mut self, path: &str) -> Result<i32, Failure> {
        let request = Request::GetAllChildrenNumber(self.path_request(path)?);
        self.call(Some(path), &request)
    }

    /// The session's own ephemeral nodes below a prefix, which like the result is the server's: no chroot is applied,
    /// as in the Java client.
    pub(crate) fn ephemerals(&mut self, prefix: &str) -> Result<Vec<Text>, Failure> {
        path::validate(prefix)?;
        let request = Request::GetEphemerals(PathRequest {
            path: Some(prefix.into()),
        });
        self.call(None, &request)
    }

    pub(crate) fn who_am_i(&mut self) -> Result<Vec<ClientInfo>, Failure> {
        self.call(None, &Request::WhoAmI)
    }

    /// The ensemble's configuration, from the node that holds it.
    pub(crate) fn config(&mut self, watch: Watch) -> Result<DataReply, Failure> {
        let request = Request::GetData(PathWatchRequest {
            path: Some(Text::from_static(CONFIG_NODE)),
            watch: watch == Watch::Leave,
        });
        self.call(Some(CONFIG_NODE), &request)
    }

    pub(crate) fn reconfigure(&mut self, request: ReconfigRequest) -> Result<DataReply, Failure> {
        self.call(Some(""), &Request::Reconfig(request))
    }

    /// Presents a credential on the open session.
    pub(crate) fn add_auth(&mut self, scheme: &str, secret: Option<Bytes>) -> Result<(), Failure> {
        if let Some(lasting) = &self.lasting {
            return lasting.add_auth(zab::Credential {
                scheme: scheme.to_owned(),
                secret: secret.unwrap_or_default(),
            });
        }
        self.client(None)?;
        let packet = auth_packet(scheme, secret);
        let result = self.request(None, &packet).map(drop);
        if let Err(Failure::Server { .. }) = result {
            if let Some(client) = &mut self.client {
                client.give_up();
            }
            self.events.push(Event::AuthFailed);
        }
        result
    }

    /// The servers and the chroot.
    pub(crate) fn connect_string(&self) -> &ConnectString {
        &self.connect
    }

    /// A session like this one with other servers: same options, same credentials.
    pub(crate) fn elsewhere(&self, connect: ConnectString) -> Self {
        Self::new(connect, self.options, self.credentials.clone())
    }

    /// Sends many requests at once, and tells the outcome of each. `paths` name them in what is said of a failure.
    pub(crate) fn call_all<'p>(
        &mut self,
        requests: &[Request],
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<Vec<Result<Bytes, Failure>>, Failure> {
        let replies = match &self.lasting {
            Some(lasting) => lasting.request_all(requests)?,
            None => self
                .client(None)?
                .call_all(requests)
                .map_err(|error| client_failure(&error, None, requests.iter().any(is_change)))?,
        };
        let outcome = |(reply, path): (Result<Bytes, i32>, &str)| {
            reply.map_err(|code| Failure::Server {
                code,
                path: Some(path.to_owned()),
            })
        };
        Ok(replies.into_iter().zip(paths).map(outcome).collect())
    }

    /// Carries out operations as one transaction; their paths are the server's. An error carries the number of the
    /// operation that failed.
    pub(crate) fn multi(&mut self, ops: Vec<MultiOp>) -> Result<Result<(), (usize, i32)>, Failure> {
        let body = self.request(None, &Request::Multi(MultiOps(ops)))?;
        let results = self.decode(None, &body, MultiResult::read_all)?;
        // Those in front of the one that failed carry 0, those behind it a code of their own.
        let failed = results
            .iter()
            .enumerate()
            .find_map(|(at, result)| match result {
                MultiResult::Error(code) if *code != 0 => Some((at, *code)),
                _ => None,
            });
        Ok(failed.map_or(Ok(()), Err))
    }

    /// Waits for watch events, at most for `patience`; they are in [`Self::take_events`] then.
    pub(crate) fn await_event(&mut self, patience: Duration) -> Result<(), Failure> {
        if let (Some(lasting), Some(watcher)) = (&self.lasting, &mut self.watcher) {
            self.events.extend(lasting.notice(watcher, patience)?);
            return Ok(());
        }
        let client = self.client(None)?;
        client
            .await_event(patience)
            .map_err(|error| client_failure(&error, None, false))
    }

    /// Leaves a persistent watch.
    pub(crate) fn add_watch(&mut self, path: &str, mode: AddWatchMode) -> Result<(), Failure> {
        path::validate(path)?;
        if let Some(lasting) = &self.lasting {
            self.watcher = Some(lasting.watcher(path, mode)?);
            return Ok(());
        }
        let request = Request::AddWatch(AddWatchRequest {
            path: Some(self.server_path(path)),
            mode: mode as i32,
        });
        self.request(Some(path), &request).map(drop)
    }

    /// Gives the connection up, so that the next request opens a new session.
    pub(crate) fn abandon(&mut self) {
        self.client = None;
    }

    fn path_watch(&self, path: &str, watch: Watch) -> Result<PathWatchRequest, Failure> {
        path::validate(path)?;
        Ok(PathWatchRequest {
            path: Some(self.server_path(path)),
            watch: watch == Watch::Leave,
        })
    }

    fn path_request(&self, path: &str) -> Result<PathRequest, Failure> {
        path::validate(path)?;
        Ok(PathRequest {
            path: Some(self.server_path(path)),
        })
    }

    /// A path as the server knows it.
    pub(crate) fn server_path(&self, path: &str) -> Text {
        match self.connect.chroot.as_deref() {
            None => path.into(),
            Some(chroot) if path == "/" => chroot.into(),
            Some(chroot) => format!("{chroot}{path}").into(),
        }
    }

    /// The root stays the root, so that it cannot be deleted under a chroot either.
    fn deletable_path(&self, path: &str) -> Text {
        match path {
            "/" => Text::from_static("/"),
            path => self.server_path(path),
        }
    }

    fn call<T: Jute>(&mut self, path: Option<&str>, request: &Request) -> Result<T, Failure> {
        let body = self.request(path, request)?;
        self.decode(path, &body, T::read)
    }

    fn decode<T>(
        &self,
        path: Option<&str>,
        body: &Bytes,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, Failure> {
        read(&mut Reader::with_limit(body, body.len())).map_err(|source| {
            let reason = match &self.client {
                Some(client) => client.undecodable(source).to_string(),
                None => source.to_string(),
            };
            Failure::NoReply {
                reason,
                code: ErrorCode::MarshallingError,
                path: path.map(str::to_owned),
                is_ambiguous: false,
            }
        })
    }

    fn request(&mut self, path: Option<&str>, request: &Request) -> Result<Bytes, Failure> {
        if let Some(lasting) = &self.lasting {
            return lasting.request(request, path);
        }
        let client = self.client(path)?;
        client
            .call(request)
            .map_err(|error| client_failure(&error, path, is_change(request)))
    }

    /// The open connection, opened if need be. `path` is what a failure is put down to.
    fn client(&mut self, path: Option<&str>) -> Result<&mut Client, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.open().map_err(|error| connect_failure(&error, path))?,
        };
        Ok(self.client.insert(client))
    }

    fn open(&mut self) -> Result<Client, ConnectError> {
        let mut client = Client::connect(&self.connect.servers, self.options)?;
        self.events.push(if client.is_read_only() {
            Event::ConnectedReadOnly
        } else {
            Event::Connected
        });
        for credential in &self.credentials {
            let packet = auth_packet(&credential.scheme, Some(credential.secret.clone()));
            client.call(&packet).map_err(|error| match error {
                ClientError::Server(_) => ConnectError::AuthFailed {
                    scheme: credential.scheme.clone(),
                },
                other => ConnectError::Auth(other),
            })?;
        }
        Ok(client)
    }
}

fn auth_packet(scheme: &str, secret: Option<Bytes>) -> Request {
    Request::Auth(AuthPacket {
        kind: 0,
        scheme: Some(scheme.into()),
        auth: secret,
    })
}

/// What the Java client says of an empty list.
fn invalid_acl() -> Failure {
    Failure::Server {
        code: ErrorCode::InvalidAcl.code(),
        path: None,
    }
}

fn client_failure(error: &ClientError, path: Option<&str>, is_change: bool) -> Failure {
    let path = path.map(str::to_owned);
    let code = match error {
        ClientError::Server(code) => return Failure::Server { code: *code, path },
        ClientError::Timeout { .. } => ErrorCode::OperationTimeout,
        ClientError::Decode { .. } => ErrorCode::MarshallingError,
        _ => ErrorCode::ConnectionLoss,
    };
    Failure::NoReply {
        reason: error.to_string(),
        code,
        path,
        is_ambiguous: is_change,
    }
}

/// Whether a request changes the tree, so that it matters whether it was carried out.
fn is_change(request: &Request) -> bool {
    matches!(
        request,
        Request::Create(_)
            | Request::Create2(_)
            | Request::CreateContainer(_)
            | Request::CreateTtl(_)
            | Request::Delete(_)
            | Request::Multi(_)
            | Request::Reconfig(_)
            | Request::SetAcl(_)
            | Request::SetData(_)
    )
}

fn connect_failure(error: &ConnectError, path: Option<&str>) -> Failure {
    let code = match error {
        ConnectError::AuthFailed { .. } => ErrorCode::AuthFailed,
        ConnectError::NoServer(_) | ConnectError::Auth(_) => ErrorCode::ConnectionLoss,
    };
    Failure::NoReply {
        reason: error.to_string(),
        code,
        path: path.map(str::to_owned),
        is_ambiguous: false,
    }
}

/// A server's path as the user sees it. A path outside the chroot stays as it is.
fn strip_chroot(chroot: Option<&str>, path: &Text) -> Text {
    let inner = chroot.and_then(|chroot| path.strip_prefix(chroot));
    match inner {
        Some("") => Text::from_static("/"),
        Some(inner) if inner.starts_with('/') => inner.into(),
        _ => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chroot_comes_off_whole_names_only() {
        for (chroot, path, seen) in [
            (None, "/a", "/a"),
            (Some("/a"), "/a", "/"),
            (Some("/a"), "/a/b", "/b"),
            (Some("/a"), "/ab", "/ab"),
            (Some("/a"), "/c", "/c"),
        ] {
            assert_eq!(strip_chroot(chroot, &path.into()), seen);
        }
    }
}
