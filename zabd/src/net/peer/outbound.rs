//! Sending: all that is queued with one write, and bulk.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tracing::debug;

use super::bulk::BulkSource;
use super::link::Link;
use super::outbox::Item;

/// About how much is written at once, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// A buffer larger than this is given back to the allocator.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Chunks of bulk that wait to be sent.
const CHUNKS_MAX: usize = 4;

/// Sends what is queued until that fails.
pub(super) async fn send(mut writer: OwnedWriteHalf, link: Arc<Link>) -> io::Error {
    let mut outbound = Outbound {
        link,
        out: Vec::new(),
        skip_through: None,
    };
    let mut batch = Vec::new();
    loop {
        outbound.link.take(&mut batch, WRITE_BYTES);
        let sent = match batch.pop() {
            None => {
                outbound.link.to_send.notified().await;
                continue;
            }
            Some(Item::Bulk(source)) => outbound.bulk(source, &mut writer).await,
            Some(last) => {
                batch.push(last);
                outbound.packets(&mut batch, &mut writer).await
            }
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

struct Outbound {
    link: Arc<Link>,
    out: Vec<u8>,
    // Bulk had everything up to here.
    skip_through: Option<Zxid>,
}

impl Outbound {
    async fn packets(
        &mut self,
        batch: &mut Vec<Item>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        for item in batch.drain(..) {
            item.write(self.skip_through, &mut self.out);
        }
        writer.write_all(&self.out).await?;
        self.out.clear();
        self.out.shrink_to(BUFFER_BYTES_MAX);
        Ok(())
    }

    async fn bulk(
        &mut self,
        mut source: Box<dyn BulkSource>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
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
        while let Some(chunk) = chunks.recv().await {
            if chunk.len() >= WRITE_BYTES {
                self.write_bulk(&chunk, writer).await?;
                continue;
            }
            let mut out = std::mem::take(&mut self.out);
            out.extend_from_slice(&chunk);
            while out.len() < WRITE_BYTES
                && let Ok(chunk) = chunks.try_recv()
            {
                out.extend_from_slice(&chunk);
            }
            self.write_bulk(&out, writer).await?;
            out.clear();
            out.shrink_to(BUFFER_BYTES_MAX);
            self.out = out;
        }
        let made: io::Result<_> = making.await.map_err(io::Error::other)?;
        let skip_through = made?;
        debug!(link = self.link.id.0, ?skip_through, "bulk was sent");
        self.skip_through = self.skip_through.max(skip_through);
        Ok(())
    }

    async fn write_bulk(&self, mut bytes: &[u8], writer: &mut OwnedWriteHalf) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = writer.write(bytes).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.link.excuse();
            bytes = &bytes[written..];
        }
        Ok(())
    }
}
