//! Sending: what is queued with one write, by whoever queues it as long as the socket takes it; else by the connection's
//! task, and bulk always.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use jute_codec::Zxid;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tracing::debug;

use super::bulk::BulkSource;
use super::link::{Link, lock};
use super::outbox::{Item, Outbox};

/// About how much is written at once, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// A buffer larger than this is given back to the allocator.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Chunks of bulk that wait to be sent.
const CHUNKS_MAX: usize = 4;

/// The sending end of a connection. Whoever has it locked is the only one that takes from the outbox and writes.
#[derive(Default)]
pub(super) struct Sending {
    // None before there is a connection, while bulk is sent, and at the end.
    writer: Option<Arc<OwnedWriteHalf>>,
    out: Vec<u8>,
    // How much of `out` is written.
    written: usize,
    // What has to be sent next, by the connection's task.
    bulk: Option<Box<dyn BulkSource>>,
    // Bulk had everything up to here.
    skip_through: Option<Zxid>,
    batch: Vec<Item>,
}

/// Where a write stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Nothing is queued.
    Idle,
    /// More may be queued.
    Midway,
    /// The socket takes nothing now, or somebody else has it.
    Blocked,
    /// Bulk is next.
    AtBulk,
}

impl Sending {
    /// Writes about [`WRITE_BYTES`] of what is queued, as far as the socket takes it now.
    pub(super) fn write(&mut self, outbox: &Mutex<Outbox>) -> io::Result<Stopped> {
        let Some(writer) = &self.writer else {
            return Ok(Stopped::Blocked);
        };
        if self.bulk.is_some() {
            return Ok(Stopped::AtBulk);
        }
        // What bulk had already is left out, perhaps all of a batch.
        while self.out.is_empty() {
            lock(outbox).take(&mut self.batch, WRITE_BYTES);
            if self.batch.is_empty() {
                return Ok(Stopped::Idle);
            }
            for item in self.batch.drain(..) {
                match item {
                    // Bulk comes alone.
                    Item::Bulk(source) => self.bulk = Some(source),
                    item => item.write(self.skip_through, &mut self.out),
                }
            }
            if self.bulk.is_some() {
                return Ok(Stopped::AtBulk);
            }
        }
        while self.written < self.out.len() {
            match writer.try_write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Stopped::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.out.clear();
        self.out.shrink_to(BUFFER_BYTES_MAX);
        Ok(Stopped::Midway)
    }
}

/// Sends what is queued and was not sent by others, and bulk, until that fails.
pub(super) async fn send(writer: OwnedWriteHalf, link: Arc<Link>) -> io::Error {
    let outbound = Outbound {
        link,
        writer: Arc::new(writer),
    };
    outbound.lock().writer = Some(Arc::clone(&outbound.writer));
    loop {
        let stopped = outbound.link.write();
        let waited = match stopped {
            Ok(Stopped::Idle) => {
                outbound.link.to_send.notified().await;
                Ok(())
            }
            Ok(Stopped::Midway) => {
                tokio::task::yield_now().await;
                Ok(())
            }
            Ok(Stopped::Blocked) => outbound.writer.writable().await,
            Ok(Stopped::AtBulk) => outbound.bulk().await,
            Err(error) => Err(error),
        };
        if let Err(error) = waited {
            return error;
        }
    }
}

/// What the connection's task has of the sending end.
struct Outbound {
    link: Arc<Link>,
    writer: Arc<OwnedWriteHalf>,
}

impl Drop for Outbound {
    // Nobody writes any more; with the last of the two halves the socket is closed.
    fn drop(&mut self) {
        self.lock().writer = None;
    }
}

impl Outbound {
    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.link.sending()
    }

    /// Sends the bulk that is next; nobody else writes meanwhile.
    async fn bulk(&self) -> io::Result<()> {
        let source = {
            let mut sending = self.lock();
            sending.writer = None;
            sending.bulk.take()
        };
        let skip_through = match source {
            Some(source) => self.send_bulk(source).await?,
            None => None,
        };
        let mut sending = self.lock();
        sending.skip_through = sending.skip_through.max(skip_through);
        sending.writer = Some(Arc::clone(&self.writer));
        Ok(())
    }

    async fn send_bulk(&self, mut source: Box<dyn BulkSource>) -> io::Result<Option<Zxid>> {
        let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_MAX);
        // It ends when the connection does, for the receiver is gone then.
        let making = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = source.next_chunk()? {
                if sender.blocking_send(chunk).is_err() {
                    break;
                }
            }
            Ok(source.skip_through())
        });
        let mut out = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            if chunk.len() >= WRITE_BYTES {
                self.write_all(&chunk).await?;
                continue;
            }
            out.extend_from_slice(&chunk);
            while out.len() < WRITE_BYTES
                && let Ok(chunk) = chunks.try_recv()
            {
                out.extend_from_slice(&chunk);
            }
            self.write_all(&out).await?;
            out.clear();
        }
        let made: io::Result<_> = making.await.map_err(io::Error::other)?;
        let skip_through = made?;
        debug!(link = self.link.id.0, ?skip_through, "bulk was sent");
        Ok(skip_through)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            tokio::task::consume_budget().await;
            self.writer.writable().await?;
            match self.writer.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.link.excuse();
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
