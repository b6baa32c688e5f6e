//! Frames as requests: what is for the replica, what is read here, what is answered at once.

use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::proto::{CreateFlags, MultiOp, MultiOps, OpCode, Request, RequestHeader};
use jute_codec::{ErrorCode, Jute, Reader, SessionId};

use super::ConnId;

/// A request that changes the state: for the replica.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// Who waits for the reply.
    pub conn: ConnId,
    /// The session.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: i32,
    /// What the request asks for.
    pub body: WriteBody,
    /// The identities that the connection had when the request came in.
    pub ids: Arc<[Id]>,
}

/// The body of a write.
#[derive(Debug, Clone)]
pub enum WriteBody {
    /// A request as decoded.
    Request(Request),
    /// A request that cannot be decoded, of the kinds (multi, createSession) that take a zxid all the same, as in Java.
    Malformed,
}

/// What an authentication provider says of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthOutcome {
    /// The connection has these identities from now on, too.
    Accepted(Vec<Id>),
    /// It is refused: the client is told, and the connection closes.
    Refused,
    /// The connection closes without a word, so that the client tries another server.
    Dropped,
}

/// Judges credentials.
pub trait Authenticator {
    /// What a credential of `scheme`, sent by `peer` (its address in Java's textual form), is worth.
    fn authenticate(&self, scheme: &str, credential: Option<&[u8]>, peer: &str) -> AuthOutcome;
    /// The user's name in an identity of `scheme`, as whoAmI tells it.
    fn user_name(&self, id: &Id) -> String;
}

/// A frame, told apart.
#[derive(Debug)]
pub(super) enum Parsed {
    /// For the replica.
    Write(WriteBody),
    /// Read here, in its turn.
    Read(Request),
    /// Handled as it comes in.
    Inline(Request),
    /// Answered with this code in its turn; the connection goes on.
    Fails(ErrorCode),
    /// An opcode that does not exist: answered with -6, then the connection closes.
    Unknown,
    /// So wrong that the connection closes without an answer.
    Close,
}

/// Tells a frame apart.
pub(super) fn parse(header: &RequestHeader, reader: &mut Reader<'_>) -> Parsed {
    let Some(op) = OpCode::from_i32(header.op) else {
        return Parsed::Unknown;
    };
    match op {
        OpCode::Notification | OpCode::Error | OpCode::Check => Parsed::Unknown,
        OpCode::Auth | OpCode::Sasl => match Request::read(op, reader) {
            Ok(request) => Parsed::Inline(request),
            Err(_) => Parsed::Close,
        },
        OpCode::Multi => parse_multi(reader),
        OpCode::CreateSession => match Request::read(op, reader) {
            Ok(request) => Parsed::Write(WriteBody::Request(request)),
            Err(_) => Parsed::Write(WriteBody::Malformed),
        },
        OpCode::DeleteContainer => match Request::read(op, reader) {
            Ok(Request::DeleteContainer(request)) if request.path.is_some() => {
                Parsed::Write(WriteBody::Request(Request::DeleteContainer(request)))
            }
            _ => Parsed::Fails(ErrorCode::MarshallingError),
        },
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Reconfig
        | OpCode::CloseSession => match Request::read(op, reader) {
            Ok(request) => Parsed::Write(WriteBody::Request(request)),
            Err(_) => Parsed::Fails(ErrorCode::MarshallingError),
        },
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::MultiRead
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::SetWatches
        | OpCode::SetWatches2
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::AddWatch
        | OpCode::WhoAmI => match Request::read(op, reader) {
            Ok(Request::MultiRead(ops)) => parse_multi_read(ops),
            Ok(request) => Parsed::Read(request),
            Err(_) => Parsed::Fails(ErrorCode::MarshallingError),
        },
    }
}

/// What the Java server makes of a sub-operation before it looks at the state.
enum SubOp {
    Fine,
    /// The whole request cannot be decoded.
    Malformed,
    /// The same, noticed in a way that takes no zxid.
    MalformedWithoutZxid,
}

fn parse_multi(reader: &mut Reader<'_>) -> Parsed {
    let Ok(MultiOps(ops)) = MultiOps::read(reader) else {
        return Parsed::Write(WriteBody::Malformed);
    };
    for op in &ops {
        match judge(op) {
            SubOp::Fine if is_read(op) => return Parsed::Write(WriteBody::Malformed),
            SubOp::Fine => {}
            SubOp::Malformed => return Parsed::Write(WriteBody::Malformed),
            SubOp::MalformedWithoutZxid => return Parsed::Fails(ErrorCode::MarshallingError),
        }
    }
    Parsed::Write(WriteBody::Request(Request::Multi(MultiOps(ops))))
}

fn parse_multi_read(ops: MultiOps) -> Parsed {
    let reads = ops.0.iter().filter(|op| is_read(op)).count();
    let mixed = reads != 0 && reads != ops.0.len();
    if mixed || ops.0.iter().any(|op| !matches!(judge(op), SubOp::Fine)) {
        return Parsed::Fails(ErrorCode::MarshallingError);
    }
    Parsed::Read(Request::MultiRead(ops))
}

const fn is_read(op: &MultiOp) -> bool {
    matches!(op, MultiOp::GetData(_) | MultiOp::GetChildren(_))
}

/// ZooKeeper: `MultiOperationRecord.deserialize`, `Op.create`.
fn judge(op: &MultiOp) -> SubOp {
    match op {
        MultiOp::Create(request)
        | MultiOp::Create2(request)
        | MultiOp::CreateContainer(request) => match CreateFlags::from_i32(request.flags) {
            None => SubOp::Malformed,
            Some(flags) if flags.is_ttl() => SubOp::Malformed,
            Some(_) if request.acl.is_none() => SubOp::MalformedWithoutZxid,
            Some(_) => path_given(request.path.is_some()),
        },
        MultiOp::CreateTtl(request) => path_given(request.path.is_some()),
        MultiOp::Delete(request) => path_given(request.path.is_some()),
        MultiOp::SetData(request) => path_given(request.path.is_some()),
        MultiOp::Check(request) => path_given(request.path.is_some()),
        MultiOp::GetData(_) | MultiOp::GetChildren(_) => SubOp::Fine,
    }
}

const fn path_given(given: bool) -> SubOp {
    if given { SubOp::Fine } else { SubOp::Malformed }
}

/// Splits a frame into its header and a reader of what follows; `None` where there is no room for a header.
pub(super) fn split(frame: &Bytes, limit: usize) -> Option<(RequestHeader, Reader<'_>)> {
    let mut reader = Reader::with_limit(frame, limit);
    let header = RequestHeader::read(&mut reader).ok()?;
    Some((header, reader))
}
