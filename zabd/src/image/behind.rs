//! What comes behind a snapshot, as a learner takes it: transactions, up to NEWLEADER.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use jute_codec::quorum::{LeaderPacket, PacketDecoder, PacketKind};
use jute_codec::txn::TxnEntry;
use jute_codec::{DecodeError, Zxid};
use thiserror::Error;

use crate::state::{Committed, DigestMismatch, Outputs, State};
use crate::storage::disk::Disk;
use crate::storage::install::Received;
use crate::storage::txn_log::{LogError, StagedLog};

/// Takes the transactions that follow a snapshot into a log staged beside the old one, and those that are committed into the
/// state that was received. The staged snapshot stays as it is: nothing that is not committed may reach it.
///
/// What was there before is untouched. A taker that is dropped before [`Behind::finish`] leaves a staged log, which
/// [`StagedLog::discard`] removes, as does the next start.
///
/// ZooKeeper: `Learner.syncWithLeader`.
pub struct Behind<D: Disk> {
    snapshot: Zxid,
    state: State,
    log: StagedLog<D>,
    limits: BehindLimits,
    buffer: BytesMut,
    decoder: PacketDecoder,
    // Whether `buffer` begins with a packet of which nothing was looked at.
    is_at_packet: bool,
    // In the log and not in the state, in order.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    successor: Option<i64>,
    // The first of the newest transactions after which the tree was not the leader's.
    mismatch: Option<DigestMismatch>,
    outputs: Outputs,
}

struct Pending {
    txn: Bytes,
    entry: TxnEntry,
}

/// What a leader may send.
#[derive(Debug, Clone, Copy)]
pub struct BehindLimits {
    /// The newest epoch that a transaction may be of.
    pub epoch: i64,
    /// The longest data of a packet, in bytes.
    pub data_bytes_max: usize,
    /// How much may wait in memory for its COMMIT, in bytes.
    pub pending_bytes_max: usize,
}

/// How far the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// So many bytes were taken; of the others, more is needed.
    More(usize),
    /// So many bytes were taken; NEWLEADER follows.
    NewLeader(usize),
}

/// What came of snapshot and log.
#[derive(Debug)]
pub struct TakenOver {
    /// How far they go.
    pub received: Received,
    /// The state, as of the newest transaction that is committed.
    pub state: State,
    /// What the log has behind that.
    pub pending: Vec<(Zxid, Bytes)>,
    /// The id of the server that leads from now on, if a change of the membership that came into force has said so.
    pub successor: Option<i64>,
    /// The transaction from which on the tree was another than the leader of the limits' epoch had. A snapshot that had
    /// something of what came behind it, as Java's may, is none as long as it comes out right in the end.
    pub mismatch: Option<DigestMismatch>,
}

/// Why what came behind a snapshot is not taken. What was there before is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BehindError {
    /// A packet that cannot be read.
    #[error("what the leader sent behind its snapshot cannot be read")]
    Packet(#[from] DecodeError),
    /// A packet that belongs somewhere else.
    #[error("the leader sent {kind} between its snapshot and NEWLEADER")]
    OutOfTurn {
        /// Its type.
        kind: PacketKind,
    },
    /// Transactions are missing.
    #[error("the leader sent {zxid} behind {last} and left out what comes between them")]
    Gap {
        /// The newest before.
        last: Zxid,
        /// What came.
        zxid: Zxid,
    },
    /// A transaction of an epoch that nobody has agreed to.
    #[error("the leader of epoch {epoch:#x} sent {zxid}")]
    Epoch {
        /// The leader's.
        epoch: i64,
        /// What came.
        zxid: Zxid,
    },
    /// A transaction that is none.
    #[error("what the leader sent as {zxid} is no such transaction")]
    Txn {
        /// What it was said to be.
        zxid: Zxid,
    },
    /// A COMMIT that is not for the oldest proposal.
    #[error("the leader committed {zxid} out of order")]
    Commit {
        /// Of what.
        zxid: Zxid,
    },
    /// Proposals that nobody commits.
    #[error("the leader sent more than {bytes_max} bytes of proposals without committing any")]
    TooMuch {
        /// The limit.
        bytes_max: usize,
    },
    /// What came cannot be stored.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl<D: Disk> Behind<D> {
    /// Begins behind a snapshot that was received as `state`, with a log staged for it.
    #[must_use]
    pub fn begin(state: State, log: StagedLog<D>, limits: BehindLimits) -> Self {
        Self {
            snapshot: state.last_zxid(),
            state,
            log,
            limits,
            buffer: BytesMut::new(),
            decoder: PacketDecoder::new(limits.data_bytes_max),
            is_at_packet: true,
            pending: VecDeque::new(),
            pending_bytes: 0,
            successor: None,
            mismatch: None,
            outputs: Outputs::default(),
        }
    }

    /// Takes the next bytes, which may go beyond NEWLEADER. Of that nothing is taken, so that whoever takes packets finds it
    /// whole.
    ///
    /// # Errors
    /// Everything in [`BehindError`]; the taker is of no use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Taking, BehindError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            if self.is_at_packet {
                // All that is in the buffer is from `bytes`. A packet's type comes first.
                let taken = bytes.len() - self.buffer.len();
                let Some(kind) = self.buffer.first_chunk() else {
                    self.buffer.clear();
                    return Ok(Taking::More(taken));
                };
                if i32::from_be_bytes(*kind) == PacketKind::NewLeader.code() {
                    self.buffer.clear();
                    return Ok(Taking::NewLeader(taken));
                }
            }
            let packet = self.decoder.take(&mut self.buffer)?;
            self.is_at_packet = packet.is_some();
            let Some(packet) = packet else {
                return Ok(Taking::More(bytes.len()));
            };
            let kind = PacketKind::from_i32(packet.kind);
            // Those of unknown type are passed over, here as elsewhere.
            if let (Some(kind), Some(packet)) = (kind, LeaderPacket::from_record(packet)?) {
                self.on_packet(kind, packet)?;
            }
        }
    }

    /// Makes everything durable, when NEWLEADER has come.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> Result<TakenOver, BehindError> {
        let received = Received {
            snapshot: self.snapshot,
            through: self.log.last_zxid(),
        };
        self.log.finish()?;
        let pending = self.pending.into_iter();
        let epoch = self.limits.epoch;
        Ok(TakenOver {
            received,
            state: self.state,
            pending: pending
                .map(|Pending { txn, entry }| (entry.header.zxid, txn))
                .collect(),
            successor: self.successor,
            // What an earlier leader had is not what this one has.
            mismatch: self
                .mismatch
                .filter(|mismatch| mismatch.zxid.epoch() == epoch),
        })
    }

    fn on_packet(&mut self, kind: PacketKind, packet: LeaderPacket) -> Result<(), BehindError> {
        match packet {
            LeaderPacket::Proposal { zxid, txn } => self.on_proposal(zxid, &txn),
            LeaderPacket::Commit { zxid } => self.on_commit(zxid, None),
            LeaderPacket::Inform { zxid, txn } => {
                self.on_proposal(zxid, &txn)?;
                self.on_commit(zxid, None)
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => self.on_commit(zxid, Some(leader)),
            LeaderPacket::InformAndActivate { zxid, leader, txn } => {
                self.on_proposal(zxid, &txn)?;
                self.on_commit(zxid, Some(leader))
            }
            LeaderPacket::Ping { .. } => Ok(()),
            _ => Err(BehindError::OutOfTurn { kind }),
        }
    }

    fn on_proposal(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), BehindError> {
        let last = self.log.last_zxid();
        if zxid <= last && self.pending.is_empty() {
            // In the snapshot already.
            return Ok(());
        }
        let epoch = self.limits.epoch;
        if zxid.epoch() > epoch {
            return Err(BehindError::Epoch { epoch, zxid });
        }
        if zxid.counter() == 0 {
            return Err(BehindError::Gap { last, zxid });
        }
        // A copy of its own: the packet shares its memory with all that came along with it.
        let txn = Bytes::copy_from_slice(txn);
        let entry = TxnEntry::decode(&txn).ok();
        let entry = entry.filter(|entry| entry.header.zxid == zxid);
        let entry = entry.ok_or(BehindError::Txn { zxid })?;
        self.pending_bytes += txn.len() + PENDING_BYTES;
        if self.pending_bytes > self.limits.pending_bytes_max && !self.pending.is_empty() {
            let bytes_max = self.limits.pending_bytes_max;
            return Err(BehindError::TooMuch { bytes_max });
        }
        match self.log.append(zxid, txn.clone()) {
            Err(LogError::OutOfOrder { last, zxid }) => {
                return Err(BehindError::Gap { last, zxid });
            }
            appended => appended?,
        }
        self.pending.push_back(Pending { txn, entry });
        Ok(())
    }

    fn on_commit(&mut self, zxid: Zxid, leader: Option<i64>) -> Result<(), BehindError> {
        let oldest = self
            .pending
            .pop_front_if(|pending| pending.entry.header.zxid == zxid);
        let Some(Pending { txn, entry }) = oldest else {
            // In the snapshot already.
            return if zxid <= self.state.last_zxid() {
                Ok(())
            } else {
                Err(BehindError::Commit { zxid })
            };
        };
        self.pending_bytes -= txn.len() + PENDING_BYTES;
        self.successor = leader.or(self.successor);
        let tells_digest = entry.digest.is_some();
        let committed = Committed {
            entry,
            origin: None,
            close: None,
        };
        match self.state.apply(&committed, &mut self.outputs) {
            Err(mismatch) => {
                self.mismatch.get_or_insert(mismatch);
            }
            Ok(_) if tells_digest => self.mismatch = None,
            Ok(_) => {}
        }
        // Nobody is connected to a state that is not in use.
        self.outputs.clear();
        Ok(())
    }
}

/// What a proposal costs in memory beyond its bytes.
const PENDING_BYTES: usize = 512;
