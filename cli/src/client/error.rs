//! What can go wrong between this process and a server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jute_codec::DecodeError;
use jute_codec::frame::FrameError;
use thiserror::Error;

/// No server gave a session.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Each server in turn, and why it did not do.
    #[error("{}", .0.join("\n"))]
    NoServer(Vec<String>),
    /// A server refused a credential.
    #[error("the server refused the {scheme} credential")]
    AuthFailed { scheme: String },
    /// The connection broke while a credential was being presented.
    #[error(transparent)]
    Auth(ClientError),
}

/// A request without a good reply.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// The server answered with this result code.
    #[error("result code {0}")]
    Server(i32),
    #[error("connect to {server}: {source}")]
    Connect {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("{server} refused a session")]
    NoSession { server: SocketAddr },
    #[error("connection to {server} lost: {source}")]
    Io {
        server: SocketAddr,
        source: io::Error,
    },
    #[error("connection to {server} lost: the server closed it")]
    Closed { server: SocketAddr },
    #[error("connection to {server} given up: nothing heard from it for {} ms", .silence.as_millis())]
    Silent {
        server: SocketAddr,
        silence: Duration,
    },
    #[error("no reply from {server} within {} ms", .waited.as_millis())]
    Timeout {
        server: SocketAddr,
        waited: Duration,
    },
    #[error("{server} sent a frame that cannot be taken: {source}")]
    Frame {
        server: SocketAddr,
        source: FrameError,
    },
    #[error("{server} sent a reply that cannot be read: {source}")]
    Decode {
        server: SocketAddr,
        source: DecodeError,
    },
    #[error("{server} answered request {got} where {expected} was due")]
    OutOfOrder {
        server: SocketAddr,
        expected: i32,
        got: i32,
    },
}
