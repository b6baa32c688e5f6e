//! What is to be sent on a connection.

use std::collections::VecDeque;

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::bulk::BulkSource;

/// What a packet takes besides its data, in bytes; about.
const PACKET_BYTES: usize = 64;

/// What is to be sent, in order.
pub(super) struct Outbox {
    items: VecDeque<Item>,
    // Of all packets in `items`; at most `bytes_max` but for a single packet.
    bytes: usize,
    bytes_max: usize,
    packets_max: usize,
}

/// One thing to send.
pub(super) enum Item {
    ToLearner(LeaderPacket),
    ToLeader(LearnerPacket),
    Bulk(Box<dyn BulkSource>),
}

/// More waits than may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow {
    pub(super) packets: usize,
    pub(super) bytes: usize,
}

impl Outbox {
    pub(super) const fn new(bytes_max: usize, packets_max: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            bytes_max,
            packets_max,
        }
    }

    /// Queues an item, unless too much waits.
    pub(super) fn push(&mut self, item: Item) -> Result<(), Overflow> {
        let bytes = self.bytes + item.bytes();
        if !self.items.is_empty()
            && (self.items.len() >= self.packets_max || bytes > self.bytes_max)
        {
            return Err(Overflow {
                packets: self.items.len(),
                bytes: self.bytes,
            });
        }
        self.bytes = bytes;
        self.items.push_back(item);
        Ok(())
    }

    /// Moves about `bytes_max` bytes of items to `batch`. Bulk comes alone.
    pub(super) fn take(&mut self, batch: &mut Vec<Item>, bytes_max: usize) {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(item) = self.items.front()
        {
            let is_bulk = matches!(item, Item::Bulk(_));
            if is_bulk && !batch.is_empty() {
                break;
            }
            bytes += item.bytes();
            batch.extend(self.items.pop_front());
            if is_bulk {
                break;
            }
        }
        self.bytes -= bytes;
        if self.items.is_empty() && self.items.capacity() > 1024 {
            self.items = VecDeque::new();
        }
    }

    /// Items that wait.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let data = match self {
            Self::ToLearner(packet) => match packet {
                LeaderPacket::Proposal { txn, .. }
                | LeaderPacket::Inform { txn, .. }
                | LeaderPacket::InformAndActivate { txn, .. } => txn.len(),
                LeaderPacket::NewLeader { members, .. } => members.as_ref().map_or(0, |m| m.len()),
                _ => 0,
            },
            Self::ToLeader(packet) => match packet {
                LearnerPacket::Request { body, ids, .. } => {
                    let texts = ids.iter().flatten().flat_map(|id| [&id.scheme, &id.id]);
                    body.len() + texts.flatten().map(|text| text.len() + 32).sum::<usize>()
                }
                LearnerPacket::Ping { touched, .. } => 16 * touched.len(),
                _ => 0,
            },
            Self::Bulk(_) => return 0,
        };
        PACKET_BYTES + data
    }

    /// Appends the packet's bytes, unless it is about a transaction up to `skip_through`.
    pub(super) fn write(&self, skip_through: Option<Zxid>, out: &mut Vec<u8>) {
        match self {
            Self::ToLearner(packet) => {
                if transaction(packet).is_none_or(|zxid| Some(zxid) > skip_through) {
                    packet.write(out);
                }
            }
            Self::ToLeader(packet) => packet.write(out),
            Self::Bulk(_) => {}
        }
    }
}

/// The transaction that a packet proposes or commits.
const fn transaction(packet: &LeaderPacket) -> Option<Zxid> {
    match packet {
        LeaderPacket::Proposal { zxid, .. }
        | LeaderPacket::Commit { zxid }
        | LeaderPacket::CommitAndActivate { zxid, .. }
        | LeaderPacket::Inform { zxid, .. }
        | LeaderPacket::InformAndActivate { zxid, .. } => Some(*zxid),
        _ => None,
    }
}
