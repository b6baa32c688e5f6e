//! Values that several records share: identities, access control lists, stats.

use crate::Text;
use crate::ids::Zxid;
use crate::record::records;

/// Permission bits of an [`Acl`]. They are stored as given, unknown bits included.
pub mod perms {
    /// Read data, children and the list itself; stat an existing node.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the list, and read it unmasked.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

records! {
    /// Who somebody is, in the terms of one authentication scheme.
    pub struct Id {
        /// The scheme, such as `digest`, `ip` or `world`.
        pub scheme: Option<Text>,
        /// The identity within it.
        pub id: Option<Text>,
    }

    /// One entry of an access control list.
    pub struct Acl {
        /// What is granted; see [`perms`].
        pub perms: i32,
        /// To whom.
        pub id: Id,
    }

    /// A node's stat as clients see it: 68 bytes.
    pub struct Stat {
        /// Transaction that created the node.
        pub czxid: Zxid,
        /// Transaction that last set its data.
        pub mzxid: Zxid,
        /// When it was created, in milliseconds since 1970 UTC.
        pub ctime: i64,
        /// When its data was last set, in milliseconds since 1970 UTC.
        pub mtime: i64,
        /// How often its data was set; wraps.
        pub version: i32,
        /// How many children were created and deleted; wraps.
        pub cversion: i32,
        /// How often its access control list was set; wraps.
        pub aversion: i32,
        /// The owning session of an ephemeral node, else 0.
        pub ephemeral_owner: i64,
        /// Bytes of data; 0 for null.
        pub data_length: i32,
        /// Direct children.
        pub num_children: i32,
        /// Transaction that last created or deleted a direct child.
        pub pzxid: Zxid,
    }

    /// A node's stat as it is stored: 60 bytes.
    pub struct StatPersisted {
        /// Transaction that created the node.
        pub czxid: Zxid,
        /// Transaction that last set its data.
        pub mzxid: Zxid,
        /// When it was created, in milliseconds since 1970 UTC.
        pub ctime: i64,
        /// When its data was last set, in milliseconds since 1970 UTC.
        pub mtime: i64,
        /// How often its data was set; wraps.
        pub version: i32,
        /// How many children were created (not the client's `cversion`); wraps.
        pub cversion: i32,
        /// How often its access control list was set; wraps.
        pub aversion: i32,
        /// Session id, or the marks of container and TTL nodes.
        pub ephemeral_owner: i64,
        /// Transaction that last created or deleted a direct child.
        pub pzxid: Zxid,
    }
}

impl Id {
    /// An identity of which both parts are given.
    #[must_use]
    pub fn new(scheme: impl Into<Text>, id: impl Into<Text>) -> Self {
        Self {
            scheme: Some(scheme.into()),
            id: Some(id.into()),
        }
    }

    /// Whether this is `world:anyone`.
    #[must_use]
    pub fn is_anyone(&self) -> bool {
        self.scheme.as_deref() == Some("world") && self.id.as_deref() == Some("anyone")
    }
}

impl Acl {
    /// One entry granting `perms` to `scheme:id`.
    #[must_use]
    pub fn new(perms: i32, scheme: impl Into<Text>, id: impl Into<Text>) -> Self {
        Self {
            perms,
            id: Id::new(scheme, id),
        }
    }

    /// `world:anyone` with all permissions.
    #[must_use]
    pub fn open() -> Self {
        Self::new(
            perms::ALL,
            Text::from_static("world"),
            Text::from_static("anyone"),
        )
    }
}

impl Stat {
    /// The stat of no node: all zero.
    pub const ZERO: Self = Self {
        czxid: Zxid::ZERO,
        mzxid: Zxid::ZERO,
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: 0,
        num_children: 0,
        pzxid: Zxid::ZERO,
    };
}

impl StatPersisted {
    /// The stat of a node that is part of every tree from the start: all zero.
    pub const ZERO: Self = Self {
        czxid: Zxid::ZERO,
        mzxid: Zxid::ZERO,
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        pzxid: Zxid::ZERO,
    };
}
