//! Result codes of the client protocol.

use std::fmt;

macro_rules! codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, $text:literal; )*) => {
        /// A result code other than success.
        ///
        /// ZooKeeper: `KeeperException.Code`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode { $( $(#[$meta])* $name = $code, )* }

        impl ErrorCode {
            /// Every code, in the order of the wire.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The code with this number, if there is one.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }

            /// The words that the Java client uses for it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }
    };
}

codes! {
    /// The server failed in a way that has no code of its own.
    SystemError = -1, "SystemError";
    /// A sub-operation behind the one that failed a multi.
    RuntimeInconsistency = -2, "RuntimeInconsistency";
    /// Data that contradicts itself.
    DataInconsistency = -3, "DataInconsistency";
    /// The connection broke; made up by clients.
    ConnectionLoss = -4, "ConnectionLoss";
    /// The request's body cannot be decoded.
    MarshallingError = -5, "MarshallingError";
    /// The operation is unknown or not offered.
    Unimplemented = -6, "Unimplemented";
    /// An operation took too long; made up by clients.
    OperationTimeout = -7, "OperationTimeout";
    /// A path, flag or other argument makes no sense.
    BadArguments = -8, "BadArguments";
    /// The session is not known here.
    UnknownSession = -12, "UnknownSession";
    /// No quorum of a new configuration is in touch.
    NewConfigNoQuorum = -13, "NewConfigNoQuorum";
    /// Another reconfiguration is under way.
    ReconfigInProgress = -14, "ReconfigInProgress";
    /// A failure of the API; a mark of a range.
    ApiError = -100, "APIError";
    /// The node does not exist.
    NoNode = -101, "NoNode";
    /// The access control list denies it.
    NoAuth = -102, "NoAuth";
    /// The expected version is not the node's.
    BadVersion = -103, "BadVersion";
    /// An ephemeral node cannot have children.
    NoChildrenForEphemerals = -108, "NoChildrenForEphemerals";
    /// The node exists already.
    NodeExists = -110, "NodeExists";
    /// The node has children.
    NotEmpty = -111, "Directory not empty";
    /// The session has expired or is closing.
    SessionExpired = -112, "Session expired";
    /// A callback is invalid; made up by clients.
    InvalidCallback = -113, "Invalid callback";
    /// The access control list is not valid.
    InvalidAcl = -114, "InvalidACL";
    /// Authentication failed.
    AuthFailed = -115, "AuthFailed";
    /// The session is connected to another server.
    SessionMoved = -118, "Session moved";
    /// A write at a read-only server.
    NotReadOnly = -119, "Not a read-only call";
    /// An ephemeral node on a local session.
    EphemeralOnLocalSession = -120, "Ephemeral node on local session";
    /// No such watch is registered.
    NoWatcher = -121, "No such watcher";
    /// The request timed out; made up by clients.
    RequestTimeout = -122, "Unknown error REQUESTTIMEOUT";
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123, "Reconfig is disabled";
    /// The server wants the connection to authenticate first.
    SessionClosedRequireSaslAuth = -124, "Session closed because client failed to authenticate";
    /// A hard quota would be exceeded.
    QuotaExceeded = -125, "Quota has exceeded";
    /// The request waited too long and was not carried out.
    ThrottledOp = -127, "Op throttled due to high load";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ErrorCode {}
