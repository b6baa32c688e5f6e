//! Receiving: packets, and bulk behind SNAP.

use std::io;

use bytes::{Buf, BytesMut};
use jute_codec::quorum::{LeaderPacket, LearnerPacket, PacketDecoder, QuorumPacket};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;
use tracing::debug;

use super::link::Link;
use super::net::Shared;
use crate::net::gate::Gate;
use crate::replica::zab::ZabInput;

/// Room for what is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// The same when nobody has said anything yet, and while there is bulk.
const FIRST_READ_BYTES: usize = 512;
const BULK_READ_BYTES: usize = 256 << 10;

/// The longest data of a first packet, in bytes; it says who a learner is.
const FIRST_DATA_BYTES_MAX: usize = 1 << 10;

/// Bytes of bulk that wait for more behind them, at the most: the longest value in a snapshot, and as much again.
const BULK_BYTES_MAX: usize = 8 << 20;

/// What the other side is on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    Leader,
    Learner,
}

/// Where taking packets stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    /// There is no whole packet any more.
    All,
    /// Behind a SNAP.
    UpToBulk,
    /// The gate is closed.
    UpToGate,
}

/// The receiving half of a connection.
pub(super) struct Inbound {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    decoder: PacketDecoder,
}

impl Inbound {
    /// For packets with `data_bytes_max` bytes of data.
    pub(super) fn new(reader: OwnedReadHalf, data_bytes_max: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            decoder: PacketDecoder::new(data_bytes_max),
        }
    }

    /// For a connection on which nothing was said yet. Its first packet is returned, together with what comes next.
    pub(super) async fn first(
        reader: OwnedReadHalf,
        data_bytes_max: usize,
    ) -> io::Result<(LearnerPacket, Self)> {
        let mut inbound = Self::new(reader, FIRST_DATA_BYTES_MAX);
        loop {
            if let Some(packet) = inbound.take()? {
                let kind = packet.kind;
                let packet = LearnerPacket::from_record(packet).map_err(invalid)?;
                inbound.decoder = PacketDecoder::new(data_bytes_max);
                return packet
                    .map(|packet| (packet, inbound))
                    .ok_or_else(|| invalid(format!("it begins with a packet of type {kind}")));
            }
            inbound.make_room(FIRST_READ_BYTES);
            if inbound.reader.read_buf(&mut inbound.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Receives until that fails.
    pub(super) async fn receive(mut self, other: Other, link: &Link, shared: &Shared) -> io::Error {
        loop {
            match self.packets(other, link, shared).await {
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    /// Hands on all packets that are there, and reads more.
    async fn packets(&mut self, other: Other, link: &Link, shared: &Shared) -> io::Result<()> {
        let mut inputs = Vec::new();
        loop {
            let gathered = self.gather(other, link, &shared.gate, &mut inputs);
            if !inputs.is_empty() {
                shared.tell(link, &mut inputs);
            }
            match gathered? {
                Gathered::All => return self.fill(READ_BYTES, link).await,
                Gathered::UpToBulk => self.bulk(link).await?,
                Gathered::UpToGate => {}
            }
            shared.gate.passed().await;
        }
    }

    /// Takes packets; one at the most while the gate is closed.
    fn gather(
        &mut self,
        other: Other,
        link: &Link,
        gate: &Gate,
        inputs: &mut Vec<ZabInput>,
    ) -> io::Result<Gathered> {
        while let Some(packet) = self.take()? {
            let link = link.id;
            let mut bulk_follows = false;
            let kind = packet.kind;
            let input = match other {
                Other::Learner => LearnerPacket::from_record(packet)
                    .map_err(invalid)?
                    .map(|packet| ZabInput::FromLearner { link, packet }),
                Other::Leader => {
                    LeaderPacket::from_record(packet)
                        .map_err(invalid)?
                        .map(|packet| {
                            bulk_follows = matches!(packet, LeaderPacket::Snap { .. });
                            ZabInput::FromLeader { link, packet }
                        })
                }
            };
            match input {
                Some(input) => inputs.push(input),
                None => debug!(
                    link = link.0,
                    kind, "a packet of unknown type is passed over"
                ),
            }
            if bulk_follows {
                return Ok(Gathered::UpToBulk);
            }
            if !gate.is_open() {
                return Ok(Gathered::UpToGate);
            }
        }
        Ok(Gathered::All)
    }

    fn take(&mut self) -> io::Result<Option<QuorumPacket>> {
        self.decoder.take(&mut self.buffer).map_err(invalid)
    }

    /// Hands bytes to the taker of bulk until it has come to its end.
    async fn bulk(&mut self, link: &Link) -> io::Result<()> {
        let mut sink = link.sink().await;
        loop {
            if !self.buffer.is_empty() {
                let buffer = std::mem::take(&mut self.buffer);
                // What the sink is given back in is here or, if the connection is closed meanwhile, dropped there.
                let taking = tokio::task::spawn_blocking(move || {
                    let taken = sink.take(&buffer);
                    (sink, buffer, taken)
                });
                let taken;
                (sink, self.buffer, taken) = taking.await.map_err(io::Error::other)?;
                let (bytes, at_end) = taken?;
                self.buffer.advance(bytes);
                if at_end {
                    debug!(link = link.id.0, "bulk was received");
                    return Ok(());
                }
                if bytes > 0 {
                    continue;
                }
                if self.buffer.len() > BULK_BYTES_MAX {
                    return Err(invalid("a value in the bulk is too long"));
                }
            }
            self.fill(BULK_READ_BYTES, link).await?;
        }
    }

    /// Makes room in the buffer, which grows with what comes, not with what a length promises.
    ///
    /// Packets share the buffer's memory for as long as they are kept. So it is filled to nearly its end before there is
    /// another: else a small packet would keep as much as a large one.
    fn make_room(&mut self, room: usize) {
        if self.buffer.capacity() - self.buffer.len() < room / 16 {
            self.buffer.reserve(room);
        }
    }

    /// Reads what is there, or waits for it as long as it may take.
    async fn fill(&mut self, room: usize, link: &Link) -> io::Result<()> {
        self.make_room(room);
        let began = Instant::now();
        loop {
            let silent_since = link.silent_since(began);
            let deadline = link.read_timeout().map(|timeout| silent_since + timeout);
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let why = format!("nothing came for {:?}", silent_since.elapsed());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            tokio::select! {
                biased;
                read = self.reader.read_buf(&mut self.buffer) => return match read? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                },
                () = sleep_until(deadline) => {}
                () = link.timeout_changed.notified() => {}
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
