//! One connection: frames in, frames out.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use jute_codec::quorum::notification::{Notification, take_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tracing::debug;

use super::net::Shared;
use super::table::LinkNumber;
use crate::replica::ensemble::ServerId;

/// Reading goes on in a buffer only while it has room for this much.
const ROOM_BYTES_MIN: usize = 256;

/// The least and the most that room is made for then.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// Runs a connection until it ends. `inbound` is what was read of it already.
pub(super) async fn run(
    mut stream: TcpStream,
    inbound: BytesMut,
    server: ServerId,
    link: LinkNumber,
    wake: Arc<Notify>,
    shared: Arc<Shared>,
) {
    let (reader, writer) = stream.split();
    // A broken half ends the other.
    let ended = tokio::select! {
        ended = receive(reader, inbound, server, &shared) => ended,
        ended = send(writer, server, link, &wake, &shared) => ended,
    };
    match ended {
        Ok(()) => debug!(sid = %server, "an election connection has ended"),
        Err(error) => debug!(sid = %server, %error, "an election connection has broken"),
    }
    shared.table().detach(server, link);
}

async fn receive(
    mut reader: ReadHalf<'_>,
    mut buffer: BytesMut,
    from: ServerId,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        while let Some(message) = take_frame(&mut buffer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            match Notification::decode(&message) {
                Ok(notification) => (shared.on_message)(from, notification),
                // Nothing but this message is lost, as in ZooKeeper.
                Err(error) => debug!(sid = %from, %error, "a notification is passed over"),
            }
            shared.gate.passed().await;
        }
        // The buffer grows with what comes, not with what a prefix promises. Messages share its memory, so it is
        // filled before there is another.
        if buffer.capacity() - buffer.len() < ROOM_BYTES_MIN {
            buffer.reserve(buffer.len().clamp(READ_BYTES_MIN, READ_BYTES_MAX));
        }
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn send(
    mut writer: WriteHalf<'_>,
    to: ServerId,
    link: LinkNumber,
    wake: &Notify,
    shared: &Shared,
) -> io::Result<()> {
    let mut fresh = true;
    loop {
        // The lock is not held while the message goes out.
        let frame = shared.table().next_message(to, link, fresh);
        fresh = false;
        match frame {
            Some(frame) => writer.write_all(&frame).await?,
            None => wake.notified().await,
        }
    }
}
