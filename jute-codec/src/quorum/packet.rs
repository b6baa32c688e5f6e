//! Packets of the quorum port, which follow each other without any length in front.
//!
//! One record, [`QuorumPacket`], carries all of them; here they are told apart by who sends them. What a packet has
//! besides is passed over: data where none belong, ids of anything but a request, bytes behind the data's fields.
//!
//! ZooKeeper: `LearnerHandler.run`, `Learner.registerWithLeader`, `Follower.processPacket`, `Observer.processPacket`.

use bytes::Bytes;

use super::{PacketKind, QuorumPacket};
use crate::data::Id;
use crate::frame::write_frame;
use crate::ids::{SessionId, Zxid};
use crate::record::records;
use crate::{DecodeError, Jute, Reader};

/// The protocol version that every current server announces; older ones are refused.
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

records! {
    /// Who a learner is.
    pub struct LearnerInfo {
        /// The server's id.
        pub server: i64,
        /// [`PROTOCOL_VERSION`].
        pub protocol_version: i32,
        /// The version of the membership that the server goes by.
        pub config_version: i64,
    }
}

/// A packet from a leader, or from a follower that serves observers, to a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderPacket {
    /// LEADERINFO: the epoch that a quorum is asked to accept, in the zxid's high half.
    LeaderInfo {
        /// The epoch's zxid zero.
        epoch: Zxid,
        /// [`PROTOCOL_VERSION`].
        protocol_version: i32,
    },
    /// DIFF: the learner's history is a part of the leader's; what is missing follows.
    Diff {
        /// The leader's newest transaction; learners do not look at it.
        zxid: Zxid,
    },
    /// TRUNC: forget what comes after.
    Trunc {
        /// The newest transaction to keep.
        zxid: Zxid,
    },
    /// SNAP: a whole snapshot follows, as a stream of its own.
    Snap {
        /// As of when it is, or a little later.
        zxid: Zxid,
    },
    /// PROPOSAL.
    Proposal {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes, as in the log.
        txn: Bytes,
    },
    /// COMMIT.
    Commit {
        /// The transaction's id.
        zxid: Zxid,
    },
    /// COMMITANDACTIVATE: of a change of the membership.
    CommitAndActivate {
        /// The transaction's id.
        zxid: Zxid,
        /// The server that is to lead from now on.
        leader: i64,
    },
    /// INFORM: proposal and commit in one, for observers.
    Inform {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes, as in the log.
        txn: Bytes,
    },
    /// INFORMANDACTIVATE.
    InformAndActivate {
        /// The transaction's id.
        zxid: Zxid,
        /// The server that is to lead from now on.
        leader: i64,
        /// The transaction's bytes, as in the log.
        txn: Bytes,
    },
    /// NEWLEADER: what was sent so far is the whole history that the epoch begins with.
    NewLeader {
        /// The epoch's zxid zero.
        epoch: Zxid,
        /// The text of the leader's newest membership; `None` from old servers.
        members: Option<Bytes>,
    },
    /// UPTODATE: a quorum has that history; clients may be served.
    UpToDate,
    /// PING.
    Ping {
        /// The leader's newest proposal.
        zxid: Zxid,
    },
    /// REVALIDATE: whether a session lives.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Whether it does.
        valid: bool,
    },
    /// SYNC: everything that was committed when the oldest sync in flight reached the leader has been sent.
    Sync,
}

/// A packet from a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnerPacket {
    /// FOLLOWERINFO: somebody who acknowledges proposals.
    FollowerInfo {
        /// The zxid zero of the newest epoch that it has accepted.
        accepted_epoch: Zxid,
        /// Who; `None` from one without a name.
        info: Option<LearnerInfo>,
    },
    /// OBSERVERINFO: somebody who does not.
    ObserverInfo {
        /// The zxid zero of the newest epoch that it has accepted.
        accepted_epoch: Zxid,
        /// Who; `None` from one without a name.
        info: Option<LearnerInfo>,
    },
    /// ACKEPOCH.
    AckEpoch {
        /// The newest transaction in its log.
        zxid: Zxid,
        /// The epoch whose whole initial history it has; -1 if it has accepted the leader's epoch before and must not
        /// be counted a second time.
        current_epoch: i32,
    },
    /// ACK: of a proposal, or of NEWLEADER and UPTODATE.
    Ack {
        /// The transaction, or the epoch's zxid zero.
        zxid: Zxid,
    },
    /// PING: the answer to one.
    Ping {
        /// As in the leader's.
        zxid: Zxid,
        /// Sessions heard of since the last one, with their timeouts in milliseconds.
        touched: Vec<(SessionId, i32)>,
    },
    /// REVALIDATE: asks whether a session lives.
    Revalidate {
        /// The session.
        session: SessionId,
        /// The timeout that its client asks for, in milliseconds.
        timeout_ms: i32,
    },
    /// REQUEST: a client's request for the leader to decide.
    Request {
        /// The client's session.
        session: SessionId,
        /// The client's number for it.
        cxid: i32,
        /// The opcode.
        op: i32,
        /// The record of the request, without its header.
        body: Bytes,
        /// Who the client is.
        ids: Option<Vec<Id>>,
    },
}

/// The zxid of packets that are about none.
const NO_ZXID: Zxid = Zxid(-1);

/// Bytes of a touched session in a PING: its id and its timeout.
const TOUCH_BYTES: usize = 12;

impl LeaderPacket {
    /// What a packet from a leader says; `None` if learners do not know its type, which they pass over.
    ///
    /// # Errors
    /// When the data that its type needs are missing or too short.
    pub fn from_record(packet: QuorumPacket) -> Result<Option<Self>, DecodeError> {
        let Some(kind) = PacketKind::from_i32(packet.kind) else {
            return Ok(None);
        };
        let zxid = packet.zxid;
        let data = packet.data;
        Ok(Some(match kind {
            PacketKind::LeaderInfo => Self::LeaderInfo {
                epoch: zxid,
                protocol_version: Reader::new(&required(data)?).i32()?,
            },
            PacketKind::Diff => Self::Diff { zxid },
            PacketKind::Trunc => Self::Trunc { zxid },
            PacketKind::Snap => Self::Snap { zxid },
            PacketKind::Proposal => Self::Proposal {
                zxid,
                txn: required(data)?,
            },
            PacketKind::Commit => Self::Commit { zxid },
            PacketKind::CommitAndActivate => Self::CommitAndActivate {
                zxid,
                leader: Reader::new(&required(data)?).i64()?,
            },
            PacketKind::Inform => Self::Inform {
                zxid,
                txn: required(data)?,
            },
            PacketKind::InformAndActivate => {
                let data = required(data)?;
                let mut reader = Reader::new(&data);
                Self::InformAndActivate {
                    zxid,
                    leader: reader.i64()?,
                    txn: reader.rest(),
                }
            }
            PacketKind::NewLeader => Self::NewLeader {
                epoch: zxid,
                members: data,
            },
            PacketKind::UpToDate => Self::UpToDate,
            PacketKind::Ping => Self::Ping { zxid },
            PacketKind::Revalidate => {
                let data = required(data)?;
                let mut reader = Reader::new(&data);
                Self::Revalidate {
                    session: SessionId::read(&mut reader)?,
                    valid: reader.bool()?,
                }
            }
            PacketKind::Sync => Self::Sync,
            PacketKind::Request
            | PacketKind::Ack
            | PacketKind::FollowerInfo
            | PacketKind::ObserverInfo
            | PacketKind::AckEpoch => return Ok(None),
        }))
    }

    /// Appends the packet as it is on the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = self.kind();
        match self {
            Self::LeaderInfo {
                epoch,
                protocol_version,
            } => write_packet(kind, *epoch, None, out, |out| protocol_version.write(out)),
            Self::Diff { zxid }
            | Self::Trunc { zxid }
            | Self::Snap { zxid }
            | Self::Commit { zxid }
            | Self::Ping { zxid } => write_without_data(kind, *zxid, out),
            Self::Proposal { zxid, txn } | Self::Inform { zxid, txn } => {
                write_packet(kind, *zxid, None, out, |out| out.extend_from_slice(txn));
            }
            Self::CommitAndActivate { zxid, leader } => {
                write_packet(kind, *zxid, None, out, |out| leader.write(out));
            }
            Self::InformAndActivate { zxid, leader, txn } => {
                write_packet(kind, *zxid, None, out, |out| {
                    leader.write(out);
                    out.extend_from_slice(txn);
                });
            }
            Self::NewLeader { epoch, members } => match members {
                None => write_without_data(kind, *epoch, out),
                Some(members) => {
                    write_packet(kind, *epoch, None, out, |out| {
                        out.extend_from_slice(members)
                    });
                }
            },
            Self::UpToDate => write_without_data(kind, NO_ZXID, out),
            Self::Revalidate { session, valid } => write_packet(kind, NO_ZXID, None, out, |out| {
                session.write(out);
                valid.write(out);
            }),
            Self::Sync => write_without_data(kind, Zxid::ZERO, out),
        }
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::LeaderInfo { .. } => PacketKind::LeaderInfo,
            Self::Diff { .. } => PacketKind::Diff,
            Self::Trunc { .. } => PacketKind::Trunc,
            Self::Snap { .. } => PacketKind::Snap,
            Self::Proposal { .. } => PacketKind::Proposal,
            Self::Commit { .. } => PacketKind::Commit,
            Self::CommitAndActivate { .. } => PacketKind::CommitAndActivate,
            Self::Inform { .. } => PacketKind::Inform,
            Self::InformAndActivate { .. } => PacketKind::InformAndActivate,
            Self::NewLeader { .. } => PacketKind::NewLeader,
            Self::UpToDate => PacketKind::UpToDate,
            Self::Ping { .. } => PacketKind::Ping,
            Self::Revalidate { .. } => PacketKind::Revalidate,
            Self::Sync => PacketKind::Sync,
        }
    }
}

impl LearnerPacket {
    /// What a packet from a learner says; `None` if leaders do not know its type, which they pass over.
    ///
    /// # Errors
    /// When the data that its type needs are missing or too short, or the sessions of a PING end inside of one.
    pub fn from_record(packet: QuorumPacket) -> Result<Option<Self>, DecodeError> {
        let Some(kind) = PacketKind::from_i32(packet.kind) else {
            return Ok(None);
        };
        let zxid = packet.zxid;
        let data = packet.data;
        Ok(Some(match kind {
            PacketKind::FollowerInfo => Self::FollowerInfo {
                accepted_epoch: zxid,
                info: data.map(|data| LearnerInfo::from_prefix(&data)),
            },
            PacketKind::ObserverInfo => Self::ObserverInfo {
                accepted_epoch: zxid,
                info: data.map(|data| LearnerInfo::from_prefix(&data)),
            },
            PacketKind::AckEpoch => Self::AckEpoch {
                zxid,
                current_epoch: Reader::new(&required(data)?).i32()?,
            },
            PacketKind::Ack => Self::Ack { zxid },
            PacketKind::Ping => Self::Ping {
                zxid,
                touched: touched_sessions(&required(data)?)?,
            },
            PacketKind::Revalidate => {
                let data = required(data)?;
                let mut reader = Reader::new(&data);
                Self::Revalidate {
                    session: SessionId::read(&mut reader)?,
                    timeout_ms: reader.i32()?,
                }
            }
            PacketKind::Request => {
                let data = required(data)?;
                let mut reader = Reader::new(&data);
                Self::Request {
                    session: SessionId::read(&mut reader)?,
                    cxid: reader.i32()?,
                    op: reader.i32()?,
                    body: reader.rest(),
                    ids: packet.ids,
                }
            }
            PacketKind::Proposal
            | PacketKind::Commit
            | PacketKind::Sync
            | PacketKind::Inform
            | PacketKind::CommitAndActivate
            | PacketKind::NewLeader
            | PacketKind::UpToDate
            | PacketKind::Diff
            | PacketKind::Trunc
            | PacketKind::Snap
            | PacketKind::LeaderInfo
            | PacketKind::InformAndActivate => return Ok(None),
        }))
    }

    /// Appends the packet as it is on the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = self.kind();
        match self {
            Self::FollowerInfo {
                accepted_epoch,
                info,
            }
            | Self::ObserverInfo {
                accepted_epoch,
                info,
            } => match info {
                None => write_without_data(kind, *accepted_epoch, out),
                Some(info) => write_packet(kind, *accepted_epoch, None, out, |out| info.write(out)),
            },
            Self::AckEpoch {
                zxid,
                current_epoch,
            } => write_packet(kind, *zxid, None, out, |out| current_epoch.write(out)),
            Self::Ack { zxid } => write_without_data(kind, *zxid, out),
            Self::Ping { zxid, touched } => write_packet(kind, *zxid, None, out, |out| {
                for (session, timeout_ms) in touched {
                    session.write(out);
                    timeout_ms.write(out);
                }
            }),
            Self::Revalidate {
                session,
                timeout_ms,
            } => write_packet(kind, NO_ZXID, None, out, |out| {
                session.write(out);
                timeout_ms.write(out);
            }),
            Self::Request {
                session,
                cxid,
                op,
                body,
                ids,
            } => write_packet(kind, NO_ZXID, ids.as_ref(), out, |out| {
                session.write(out);
                cxid.write(out);
                op.write(out);
                out.extend_from_slice(body);
            }),
        }
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::FollowerInfo { .. } => PacketKind::FollowerInfo,
            Self::ObserverInfo { .. } => PacketKind::ObserverInfo,
            Self::AckEpoch { .. } => PacketKind::AckEpoch,
            Self::Ack { .. } => PacketKind::Ack,
            Self::Ping { .. } => PacketKind::Ping,
            Self::Revalidate { .. } => PacketKind::Revalidate,
            Self::Request { .. } => PacketKind::Request,
        }
    }
}

impl LearnerInfo {
    /// What of it is there: each field came with a version of its own, and old learners send fewer. Missing ones are
    /// what ZooKeeper takes them to be: server 0, version 1, no membership.
    fn from_prefix(data: &[u8]) -> Self {
        let server = data.first_chunk();
        let protocol_version = data.get(8..).and_then(<[u8]>::first_chunk);
        let config_version = data.get(12..).and_then(<[u8]>::first_chunk);
        Self {
            server: server.map_or(0, |bytes| i64::from_be_bytes(*bytes)),
            protocol_version: protocol_version.map_or(1, |bytes| i32::from_be_bytes(*bytes)),
            config_version: config_version.map_or(0, |bytes| i64::from_be_bytes(*bytes)),
        }
    }
}

fn touched_sessions(data: &Bytes) -> Result<Vec<(SessionId, i32)>, DecodeError> {
    let mut reader = Reader::new(data);
    let mut touched = Vec::with_capacity(data.len() / TOUCH_BYTES);
    while reader.remaining() > 0 {
        touched.push((SessionId::read(&mut reader)?, reader.i32()?));
    }
    Ok(touched)
}

fn required(data: Option<Bytes>) -> Result<Bytes, DecodeError> {
    data.ok_or(DecodeError::Null {
        what: "a packet's data",
    })
}

fn write_packet(
    kind: PacketKind,
    zxid: Zxid,
    ids: Option<&Vec<Id>>,
    out: &mut Vec<u8>,
    data: impl FnOnce(&mut Vec<u8>),
) {
    kind.code().write(out);
    zxid.write(out);
    write_frame(out, data);
    match ids {
        None => NULL.write(out),
        Some(ids) => ids.write(out),
    }
}

fn write_without_data(kind: PacketKind, zxid: Zxid, out: &mut Vec<u8>) {
    kind.code().write(out);
    zxid.write(out);
    NULL.write(out);
    NULL.write(out);
}

/// The length of what is null.
const NULL: i32 = -1;
