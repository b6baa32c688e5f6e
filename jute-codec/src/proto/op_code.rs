//! Opcodes.

macro_rules! op_codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal; )*) => {
        /// What a request asks for; also the type of a transaction.
        ///
        /// ZooKeeper: `ZooDefs.OpCode`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum OpCode { $( $(#[$meta])* $name = $code, )* }

        impl OpCode {
            /// Every opcode, in the order of the wire.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The opcode with this number, if there is one.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }
        }
    };
}

op_codes! {
    /// Ends a session.
    CloseSession = -11;
    /// Begins a session; never sent by clients.
    CreateSession = -10;
    /// A failed request, as a transaction and inside results of a multi.
    Error = -1;
    /// A watch notification; never a request.
    Notification = 0;
    /// Creates a node, answering its path.
    Create = 1;
    /// Deletes a node without children.
    Delete = 2;
    /// Stats a node that may be missing.
    Exists = 3;
    /// Reads a node's data.
    GetData = 4;
    /// Sets a node's data.
    SetData = 5;
    /// Reads a node's access control list.
    GetAcl = 6;
    /// Sets a node's access control list.
    SetAcl = 7;
    /// Lists a node's children.
    GetChildren = 8;
    /// Waits until this server has caught up with the leader.
    Sync = 9;
    /// Keeps the session alive.
    Ping = 11;
    /// Lists a node's children and stats it.
    GetChildren2 = 12;
    /// Checks a node's version; only inside a multi.
    Check = 13;
    /// Several writes, all or none.
    Multi = 14;
    /// Creates a node, answering its path and stat.
    Create2 = 15;
    /// Changes the membership of the ensemble.
    Reconfig = 16;
    /// Asks whether watches are registered.
    CheckWatches = 17;
    /// Removes watches.
    RemoveWatches = 18;
    /// Creates a node that goes when its last child has gone.
    CreateContainer = 19;
    /// Deletes an empty container; sent by the server to itself.
    DeleteContainer = 20;
    /// Creates a node that goes when it has been left alone long enough.
    CreateTtl = 21;
    /// Several reads.
    MultiRead = 22;
    /// Adds an identity to the connection.
    Auth = 100;
    /// Registers watches anew after a reconnect.
    SetWatches = 101;
    /// One step of a SASL exchange.
    Sasl = 102;
    /// Lists the session's ephemeral nodes.
    GetEphemerals = 103;
    /// Counts all descendants of a node.
    GetAllChildrenNumber = 104;
    /// Registers watches anew after a reconnect, persistent ones too.
    SetWatches2 = 105;
    /// Registers a persistent watch.
    AddWatch = 106;
    /// Lists the connection's identities.
    WhoAmI = 107;
}

impl OpCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Whether a request of its own may have this opcode. Others are answered with
    /// [`Unimplemented`](crate::ErrorCode::Unimplemented), which is not the same as an undecodable body.
    ///
    /// ZooKeeper: `Request.isValid`, and the two opcodes that the connection itself answers.
    #[must_use]
    pub const fn is_request(self) -> bool {
        !matches!(self, Self::Error | Self::Notification | Self::Check)
    }
}
