//! Why and how connections end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jute_codec::frame::FrameError;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::serve::Shared;
use crate::state::conn::CloseReason;

/// How long a client may take to take the last it is told.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// How long a closed connection's socket waits for the client to close, too.
const LINGER: Duration = Duration::from_secs(1);

/// How many sockets may linger at once; above, they close at once.
const LINGERING_MAX: usize = 1024;

/// Why a connection ends.
#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error("the client has gone")]
    Gone,
    #[error("the socket failed")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Conn(#[from] CloseReason),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame of {0} bytes is no request")]
    FrameTooShort(usize),
    #[error("large requests take too much together")]
    LargeRequests,
    #[error("too many sessions are asked for")]
    ConnectionThrottle,
    #[error("its requests were held back too long")]
    Stale,
    #[error("the server closes it")]
    Told,
    #[error("nothing was heard for too long")]
    Silent,
    #[error("the client does not take what it is sent")]
    Overflow,
    #[error("a four-letter word is answered")]
    FourLetter,
    #[error("the session is not valid")]
    SessionInvalid,
    #[error("the state was left in disorder")]
    StatePoisoned,
}

impl Cause {
    /// Whether what is there is still to be written.
    const fn is_orderly(&self) -> bool {
        !matches!(
            self,
            Self::Gone | Self::Socket(_) | Self::Silent | Self::Overflow
        )
    }
}

/// Writes the last bytes, then closes the socket so that the client gets them: closing with unread bytes left would
/// make the kernel reset the connection, and take back what the client has not read.
pub(super) async fn close(mut stream: TcpStream, rest: Vec<u8>, cause: Cause, shared: Arc<Shared>) {
    if !cause.is_orderly() {
        return;
    }
    if shared.lingering.fetch_add(1, Relaxed) < LINGERING_MAX {
        let farewell = async {
            stream.write_all(&rest).await?;
            stream.shutdown().await
        };
        if let Ok(Ok(())) = timeout(FLUSH_PATIENCE, farewell).await {
            linger(&mut stream).await;
        }
    } else {
        // What the socket takes at once has to do.
        drop(stream.try_write(&rest));
    }
    shared.lingering.fetch_sub(1, Relaxed);
}

async fn linger(stream: &mut TcpStream) {
    let mut ignored = Vec::with_capacity(1024);
    let drain = async {
        while stream
            .read_buf(&mut ignored)
            .await
            .is_ok_and(|bytes| bytes != 0)
        {
            ignored.clear();
        }
    };
    // Elapsed or not, the socket closes now.
    drop(timeout(LINGER, drain).await);
}
