//! Requests.

use bytes::Bytes;

use super::{MultiOps, OpCode};
use crate::data::Acl;
use crate::ids::Zxid;
use crate::record::records;
use crate::{DecodeError, Jute, Reader, Text};

records! {
    /// What every request but the handshake starts with.
    pub struct RequestHeader {
        /// The client's number for the request; see [`super::xid`] for special ones.
        pub xid: i32,
        /// The opcode.
        pub op: i32,
    }

    /// create, create2, createContainer.
    pub struct CreateRequest {
        /// The path, or for sequential nodes its prefix.
        pub path: Option<Text>,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The access control list as wished for.
        pub acl: Option<Vec<Acl>>,
        /// See [`CreateFlags`].
        pub flags: i32,
    }

    /// createTTL.
    pub struct CreateTtlRequest {
        /// The path, or for sequential nodes its prefix.
        pub path: Option<Text>,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The access control list as wished for.
        pub acl: Option<Vec<Acl>>,
        /// See [`CreateFlags`].
        pub flags: i32,
        /// How long the node may be left alone, in milliseconds.
        pub ttl_ms: i64,
    }

    /// delete.
    pub struct DeleteRequest {
        /// The path.
        pub path: Option<Text>,
        /// The expected version; -1 is any.
        pub version: i32,
    }

    /// deleteContainer.
    pub struct DeleteContainerRequest {
        /// The path's bytes.
        pub path: Option<Bytes>,
    }

    /// setData.
    pub struct SetDataRequest {
        /// The path.
        pub path: Option<Text>,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The expected version; -1 is any.
        pub version: i32,
    }

    /// setACL.
    pub struct SetAclRequest {
        /// The path.
        pub path: Option<Text>,
        /// The access control list as wished for.
        pub acl: Option<Vec<Acl>>,
        /// The expected version of the list; -1 is any.
        pub version: i32,
    }

    /// check.
    pub struct CheckVersionRequest {
        /// The path.
        pub path: Option<Text>,
        /// The expected version; -1 is any.
        pub version: i32,
    }

    /// exists, getData, getChildren, getChildren2.
    pub struct PathWatchRequest {
        /// The path.
        pub path: Option<Text>,
        /// Whether to leave a watch.
        pub watch: bool,
    }

    /// getACL, sync, getEphemerals, getAllChildrenNumber.
    pub struct PathRequest {
        /// The path.
        pub path: Option<Text>,
    }

    /// checkWatches, removeWatches.
    pub struct WatchesRequest {
        /// The path, taken literally.
        pub path: Option<Text>,
        /// See [`WatcherType`].
        pub watcher_type: i32,
    }

    /// addWatch.
    pub struct AddWatchRequest {
        /// The path, taken literally.
        pub path: Option<Text>,
        /// See [`AddWatchMode`].
        pub mode: i32,
    }

    /// reconfig.
    pub struct ReconfigRequest {
        /// Servers to add, comma-separated.
        pub joining_servers: Option<Text>,
        /// Ids of servers to remove, comma-separated.
        pub leaving_servers: Option<Text>,
        /// The whole new membership, in place of the other two.
        pub new_members: Option<Text>,
        /// The configuration that the change is meant for; -1 is any.
        pub current_config_id: i64,
    }

    /// auth.
    pub struct AuthPacket {
        /// Ignored.
        pub kind: i32,
        /// The scheme.
        pub scheme: Option<Text>,
        /// The credential.
        pub auth: Option<Bytes>,
    }

    /// sasl.
    pub struct SaslRequest {
        /// The client's token.
        pub token: Option<Bytes>,
    }

    /// setWatches.
    pub struct SetWatches {
        /// The newest transaction that the client has seen.
        pub relative_zxid: Zxid,
        /// Paths with data watches.
        pub data_watches: Option<Vec<Option<Text>>>,
        /// Paths watched for coming into being.
        pub exist_watches: Option<Vec<Option<Text>>>,
        /// Paths with child watches.
        pub child_watches: Option<Vec<Option<Text>>>,
    }

    /// setWatches2.
    pub struct SetWatches2 {
        /// As in [`SetWatches`].
        pub standard: SetWatches,
        /// Paths with persistent watches.
        pub persistent_watches: Option<Vec<Option<Text>>>,
        /// Paths with persistent recursive watches.
        pub persistent_recursive_watches: Option<Vec<Option<Text>>>,
    }
}

/// The kinds of node that create flags can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateFlags {
    /// Stays.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Stays; the name gets a number.
    PersistentSequential = 2,
    /// Goes with its session; the name gets a number.
    EphemeralSequential = 3,
    /// Goes when its last child has gone.
    Container = 4,
    /// Goes when left alone long enough.
    PersistentWithTtl = 5,
    /// Goes when left alone long enough; the name gets a number.
    PersistentSequentialWithTtl = 6,
}

impl CreateFlags {
    /// The flags with this number, if they mean anything.
    #[must_use]
    pub const fn from_i32(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentWithTtl,
            6 => Self::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// Whether the node goes with its session.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the name gets a number.
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Whether the node has a time to live.
    #[must_use]
    pub const fn is_ttl(self) -> bool {
        matches!(
            self,
            Self::PersistentWithTtl | Self::PersistentSequentialWithTtl
        )
    }
}

/// Which watches checkWatches and removeWatches mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum WatcherType {
    /// Standard child watches.
    Children = 1,
    /// Standard data and exists watches.
    Data = 2,
    /// All of them.
    Any = 3,
    /// Persistent watches.
    Persistent = 4,
    /// Persistent recursive watches.
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type with this number, if there is one.
    #[must_use]
    pub const fn from_i32(kind: i32) -> Option<Self> {
        Some(match kind {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }
}

/// What addWatch registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum AddWatchMode {
    /// Stays when it fires.
    Persistent = 0,
    /// Stays when it fires, and covers the whole subtree.
    PersistentRecursive = 1,
}

impl AddWatchMode {
    /// The mode with this number, if there is one.
    #[must_use]
    pub const fn from_i32(mode: i32) -> Option<Self> {
        match mode {
            0 => Some(Self::Persistent),
            1 => Some(Self::PersistentRecursive),
            _ => None,
        }
    }
}

/// A decoded request body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a variant is the opcode of the same name, documented there"
)]
pub enum Request {
    Create(CreateRequest),
    Create2(CreateRequest),
    CreateContainer(CreateRequest),
    CreateTtl(CreateTtlRequest),
    Delete(DeleteRequest),
    DeleteContainer(DeleteContainerRequest),
    Exists(PathWatchRequest),
    GetData(PathWatchRequest),
    SetData(SetDataRequest),
    GetAcl(PathRequest),
    SetAcl(SetAclRequest),
    GetChildren(PathWatchRequest),
    GetChildren2(PathWatchRequest),
    Sync(PathRequest),
    Ping,
    Multi(MultiOps),
    MultiRead(MultiOps),
    Reconfig(ReconfigRequest),
    CheckWatches(WatchesRequest),
    RemoveWatches(WatchesRequest),
    Auth(AuthPacket),
    Sasl(SaslRequest),
    SetWatches(SetWatches),
    SetWatches2(SetWatches2),
    GetEphemerals(PathRequest),
    GetAllChildrenNumber(PathRequest),
    AddWatch(AddWatchRequest),
    WhoAmI,
    CreateSession { timeout_ms: i32 },
    CloseSession,
}

impl Request {
    /// The path of the one node that this is about; `None` if there are several, none, or the path is null.
    #[must_use]
    pub fn path(&self) -> Option<&Text> {
        match self {
            Self::Create(request) | Self::Create2(request) | Self::CreateContainer(request) => {
                request.path.as_ref()
            }
            Self::CreateTtl(request) => request.path.as_ref(),
            Self::Delete(request) => request.path.as_ref(),
            Self::Exists(request)
            | Self::GetData(request)
            | Self::GetChildren(request)
            | Self::GetChildren2(request) => request.path.as_ref(),
            Self::SetData(request) => request.path.as_ref(),
            Self::SetAcl(request) => request.path.as_ref(),
            Self::GetAcl(request) | Self::Sync(request) | Self::GetAllChildrenNumber(request) => {
                request.path.as_ref()
            }
            _ => None,
        }
    }

    /// Decodes the body of a request with opcode `op`; bytes behind it are ignored.
    ///
    /// # Errors
    /// When the body is not that of `op`, or `op` is never a request of its own.
    pub fn read(op: OpCode, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create => Self::Create(Jute::read(reader)?),
            OpCode::Create2 => Self::Create2(Jute::read(reader)?),
            OpCode::CreateContainer => Self::CreateContainer(Jute::read(reader)?),
            OpCode::CreateTtl => Self::CreateTtl(Jute::read(reader)?),
            OpCode::Delete => Self::Delete(Jute::read(reader)?),
            OpCode::DeleteContainer => Self::DeleteContainer(Jute::read(reader)?),
            OpCode::Exists => Self::Exists(Jute::read(reader)?),
            OpCode::GetData => Self::GetData(Jute::read(reader)?),
            OpCode::SetData => Self::SetData(Jute::read(reader)?),
            OpCode::GetAcl => Self::GetAcl(Jute::read(reader)?),
            OpCode::SetAcl => Self::SetAcl(Jute::read(reader)?),
            OpCode::GetChildren => Self::GetChildren(Jute::read(reader)?),
            OpCode::GetChildren2 => Self::GetChildren2(Jute::read(reader)?),
            OpCode::Sync => Self::Sync(Jute::read(reader)?),
            OpCode::Ping => Self::Ping,
            OpCode::Multi => Self::Multi(Jute::read(reader)?),
            OpCode::MultiRead => Self::MultiRead(Jute::read(reader)?),
            OpCode::Reconfig => Self::Reconfig(Jute::read(reader)?),
            OpCode::CheckWatches => Self::CheckWatches(Jute::read(reader)?),
            OpCode::RemoveWatches => Self::RemoveWatches(Jute::read(reader)?),
            OpCode::Auth => Self::Auth(Jute::read(reader)?),
            OpCode::Sasl => Self::Sasl(Jute::read(reader)?),
            OpCode::SetWatches => Self::SetWatches(Jute::read(reader)?),
            OpCode::SetWatches2 => Self::SetWatches2(Jute::read(reader)?),
            OpCode::GetEphemerals => Self::GetEphemerals(Jute::read(reader)?),
            OpCode::GetAllChildrenNumber => Self::GetAllChildrenNumber(Jute::read(reader)?),
            OpCode::AddWatch => Self::AddWatch(Jute::read(reader)?),
            OpCode::WhoAmI => Self::WhoAmI,
            OpCode::CreateSession => Self::CreateSession {
                timeout_ms: reader.i32()?,
            },
            OpCode::CloseSession => Self::CloseSession,
            OpCode::Error | OpCode::Notification | OpCode::Check => {
                return Err(DecodeError::UnexpectedValue {
                    what: "opcode",
                    value: op.code().into(),
                });
            }
        })
    }

    /// The opcode that goes into the header.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::Exists(_) => OpCode::Exists,
            Self::GetData(_) => OpCode::GetData,
            Self::SetData(_) => OpCode::SetData,
            Self::GetAcl(_) => OpCode::GetAcl,
            Self::SetAcl(_) => OpCode::SetAcl,
            Self::GetChildren(_) => OpCode::GetChildren,
            Self::GetChildren2(_) => OpCode::GetChildren2,
            Self::Sync(_) => OpCode::Sync,
            Self::Ping => OpCode::Ping,
            Self::Multi(_) => OpCode::Multi,
            Self::MultiRead(_) => OpCode::MultiRead,
            Self::Reconfig(_) => OpCode::Reconfig,
            Self::CheckWatches(_) => OpCode::CheckWatches,
            Self::RemoveWatches(_) => OpCode::RemoveWatches,
            Self::Auth(_) => OpCode::Auth,
            Self::Sasl(_) => OpCode::Sasl,
            Self::SetWatches(_) => OpCode::SetWatches,
            Self::SetWatches2(_) => OpCode::SetWatches2,
            Self::GetEphemerals(_) => OpCode::GetEphemerals,
            Self::GetAllChildrenNumber(_) => OpCode::GetAllChildrenNumber,
            Self::AddWatch(_) => OpCode::AddWatch,
            Self::WhoAmI => OpCode::WhoAmI,
            Self::CreateSession { .. } => OpCode::CreateSession,
            Self::CloseSession => OpCode::CloseSession,
        }
    }

    /// Appends the body, without a header.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(body) | Self::Create2(body) | Self::CreateContainer(body) => {
                body.write(out)
            }
            Self::CreateTtl(body) => body.write(out),
            Self::Delete(body) => body.write(out),
            Self::DeleteContainer(body) => body.write(out),
            Self::Exists(body)
            | Self::GetData(body)
            | Self::GetChildren(body)
            | Self::GetChildren2(body) => {
                body.write(out);
            }
            Self::SetData(body) => body.write(out),
            Self::SetAcl(body) => body.write(out),
            Self::GetAcl(body)
            | Self::Sync(body)
            | Self::GetEphemerals(body)
            | Self::GetAllChildrenNumber(body) => {
                body.write(out);
            }
            Self::Multi(body) | Self::MultiRead(body) => body.write(out),
            Self::Reconfig(body) => body.write(out),
            Self::CheckWatches(body) | Self::RemoveWatches(body) => body.write(out),
            Self::Auth(body) => body.write(out),
            Self::Sasl(body) => body.write(out),
            Self::SetWatches(body) => body.write(out),
            Self::SetWatches2(body) => body.write(out),
            Self::AddWatch(body) => body.write(out),
            Self::CreateSession { timeout_ms } => timeout_ms.write(out),
            Self::Ping | Self::WhoAmI | Self::CloseSession => {}
        }
    }
}
