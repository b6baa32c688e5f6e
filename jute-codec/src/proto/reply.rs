//! Replies and notifications.

use bytes::Bytes;

use crate::Text;
use crate::data::{Acl, Stat};
use crate::ids::Zxid;
use crate::record::records;

/// Request numbers with a meaning of their own.
pub mod xid {
    /// A watch notification.
    pub const NOTIFICATION: i32 = -1;
    /// A ping; its reply always has this number, whatever the request's.
    pub const PING: i32 = -2;
    /// An auth packet, by the clients' convention.
    pub const AUTH: i32 = -4;
    /// setWatches, by the clients' convention.
    pub const SET_WATCHES: i32 = -8;
}

records! {
    /// What every frame from the server but the handshake starts with.
    pub struct ReplyHeader {
        /// The request's number.
        pub xid: i32,
        /// The transaction, or the newest one that the server has applied.
        pub zxid: Zxid,
        /// 0 or a result code; a body follows 0 only.
        pub err: i32,
    }

    /// getData, reconfig.
    pub struct DataReply {
        /// The data.
        pub data: Option<Bytes>,
        /// The stat.
        pub stat: Stat,
    }

    /// create2, createContainer, createTTL.
    pub struct PathStatReply {
        /// The final path.
        pub path: Text,
        /// The stat.
        pub stat: Stat,
    }

    /// getACL.
    pub struct AclReply {
        /// The list, masked for those who may not administer it.
        pub acl: Vec<Acl>,
        /// The stat.
        pub stat: Stat,
    }

    /// getChildren2.
    pub struct ChildrenReply {
        /// The names, in no particular order.
        pub children: Vec<Text>,
        /// The stat.
        pub stat: Stat,
    }

    /// One identity of whoAmI's list.
    pub struct ClientInfo {
        /// The scheme.
        pub auth_scheme: Option<Text>,
        /// The user's name within it.
        pub user: Option<Text>,
    }

    /// A watch notification.
    pub struct WatcherEvent {
        /// See [`EventType`].
        pub kind: i32,
        /// Always 3, connected.
        pub state: i32,
        /// The node.
        pub path: Text,
    }
}

/// What happened to a watched node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EventType {
    /// It was created.
    NodeCreated = 1,
    /// It was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl WatcherEvent {
    /// The state that a server always writes: connected.
    pub const SYNC_CONNECTED: i32 = 3;
}
