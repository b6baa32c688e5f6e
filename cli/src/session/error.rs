//! What can become of a request.

use jute_codec::{DecodeError, ErrorCode};
use thiserror::Error;

use crate::path::PathError;

/// A request without a good reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with this result code: nothing was changed.
    #[error("{}", code_words(*.0))]
    Server(i32),
    /// The connection was lost with the request on its way: it was carried out, or not. Only writes end like that;
    /// reads are asked again.
    #[error("the connection was lost before the reply: the change may have been made or not")]
    ConnectionLoss,
    /// The servers have given up the session: its ephemeral nodes are gone. A request that was not sent before was not
    /// carried out.
    #[error("the session has expired")]
    SessionExpired,
    /// A server refused a credential, which ends the session here.
    #[error("the server refused the {scheme} credential")]
    AuthFailed {
        /// The credential's scheme.
        scheme: String,
    },
    /// The client was closed.
    #[error("the session is closed")]
    Closed,
    /// The path could not be that of any node; nothing was sent.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The server's reply is not what the request calls for.
    #[error("the server's reply cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// No server gave a session in time. What each of them said, as far as is known.
    #[error("no server gave a session within {waited_ms} ms{}", list(.reasons))]
    NoServer {
        /// How long was waited, in milliseconds.
        waited_ms: u128,
        /// Server and reason, the latest of each.
        reasons: Vec<String>,
    },
}

impl Error {
    /// The result code, where there is one, or what a Java client would call it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Self::Server(code) => return ErrorCode::from_i32(*code),
            Self::ConnectionLoss | Self::Closed | Self::NoServer { .. } => {
                ErrorCode::ConnectionLoss
            }
            Self::SessionExpired => ErrorCode::SessionExpired,
            Self::AuthFailed { .. } => ErrorCode::AuthFailed,
            Self::Path(_) => ErrorCode::BadArguments,
            Self::Decode(_) => ErrorCode::MarshallingError,
        })
    }

    /// Whether the server answered with this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        *self == Self::Server(code.code())
    }

    /// Whether the request may have been carried out all the same.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::ConnectionLoss | Self::Decode(_))
    }

    /// Whether the session is over.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::SessionExpired | Self::AuthFailed { .. } | Self::Closed
        )
    }
}

fn code_words(code: i32) -> String {
    match ErrorCode::from_i32(code) {
        Some(code) => code.text().to_owned(),
        None => format!("Unknown error {code}"),
    }
}

fn list(reasons: &[String]) -> String {
    reasons
        .iter()
        .map(|reason| format!("\n{reason}"))
        .collect::<String>()
}
