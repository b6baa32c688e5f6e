//! What servers say to each other: packets of the quorum port, messages of the election port.
//!
//! ZooKeeper: `QuorumPacket`, `Leader` (packet types), `LearnerInfo`, `FastLeaderElection`, `QuorumCnxManager`.

pub mod notification;
pub mod packet;

pub use notification::{Notification, PeerState};
pub use packet::{LeaderPacket, LearnerInfo, LearnerPacket};
