//! The client protocol: opcodes, requests, replies and notifications.
//!
//! A request frame is a [`RequestHeader`] and the record of its opcode; a reply frame a [`ReplyHeader`] and, where the
//! result is success, the record of the reply. The first frame each way is a [`ConnectRequest`] and a
//! [`ConnectResponse`] without a header.

mod connect;
mod multi;
mod op_code;
mod reply;
mod reply_body;
mod request;

pub use connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
pub use multi::{MultiHeader, MultiOp, MultiOps, MultiResult, write_multi_results};
pub use op_code::OpCode;
pub use reply::{
    AclReply, ChildrenReply, ClientInfo, DataReply, EventType, PathStatReply, ReplyHeader,
    WatcherEvent, xid,
};
pub use reply_body::Reply;
pub use request::{
    AddWatchMode, AddWatchRequest, AuthPacket, CheckVersionRequest, CreateFlags, CreateRequest,
    CreateTtlRequest, DeleteContainerRequest, DeleteRequest, PathRequest, PathWatchRequest,
    ReconfigRequest, Request, RequestHeader, SaslRequest, SetAclRequest, SetDataRequest,
    SetWatches, SetWatches2, WatcherType, WatchesRequest,
};
