//! What follows the header of a successful reply.

use bytes::Bytes;

use super::{
    AclReply, ChildrenReply, ClientInfo, DataReply, MultiResult, OpCode, PathStatReply,
    write_multi_results,
};
use crate::data::Stat;
use crate::{DecodeError, Jute, Reader, Text};

/// A decoded reply body, named by what it holds; several opcodes share a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// delete, ping, setWatches, closeSession and others: nothing.
    Empty,
    /// create: the final path. sync: the request's path, null included.
    Path(Option<Text>),
    /// create2, createContainer, createTTL: the final path and the stat.
    PathStat(PathStatReply),
    /// exists, setData, setACL: the stat.
    Stat(Stat),
    /// getData, reconfig: data and stat.
    Data(DataReply),
    /// getACL: the list and the stat.
    Acl(AclReply),
    /// getChildren: names. getEphemerals: paths.
    Names(Vec<Text>),
    /// getChildren2: names and the stat.
    Children(ChildrenReply),
    /// multi, multiRead: a result for each sub-operation.
    Multi(Vec<MultiResult>),
    /// sasl: the server's token.
    Token(Option<Bytes>),
    /// getAllChildrenNumber: how many descendants. addWatch: a result code, always 0.
    Int(i32),
    /// whoAmI: the connection's identities.
    Identities(Vec<ClientInfo>),
}

impl Reply {
    /// Decodes the body of a successful reply to a request with opcode `op`, as a client does; bytes behind it are
    /// ignored.
    ///
    /// # Errors
    /// When the body is not one that answers `op`, or `op` is never answered with a header and a body.
    pub fn read(op: OpCode, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::Ping
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CloseSession => Self::Empty,
            OpCode::Create | OpCode::Sync => Self::Path(Jute::read(reader)?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Self::PathStat(Jute::read(reader)?)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Self::Stat(Jute::read(reader)?),
            OpCode::GetData | OpCode::Reconfig => Self::Data(Jute::read(reader)?),
            OpCode::GetAcl => Self::Acl(Jute::read(reader)?),
            OpCode::GetChildren | OpCode::GetEphemerals => Self::Names(Jute::read(reader)?),
            OpCode::GetChildren2 => Self::Children(Jute::read(reader)?),
            OpCode::Multi | OpCode::MultiRead => Self::Multi(MultiResult::read_all(reader)?),
            OpCode::Sasl => Self::Token(Jute::read(reader)?),
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => Self::Int(Jute::read(reader)?),
            OpCode::WhoAmI => Self::Identities(Jute::read(reader)?),
            OpCode::CreateSession | OpCode::Error | OpCode::Notification | OpCode::Check => {
                return Err(DecodeError::UnexpectedValue {
                    what: "opcode of a reply",
                    value: op.code().into(),
                });
            }
        })
    }

    /// Appends the body, without a header.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Path(body) => body.write(out),
            Self::PathStat(body) => body.write(out),
            Self::Stat(body) => body.write(out),
            Self::Data(body) => body.write(out),
            Self::Acl(body) => body.write(out),
            Self::Names(body) => body.write(out),
            Self::Children(body) => body.write(out),
            Self::Multi(results) => write_multi_results(results, out),
            Self::Token(body) => body.write(out),
            Self::Int(body) => body.write(out),
            Self::Identities(body) => body.write(out),
        }
    }
}
