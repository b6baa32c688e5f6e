//! What servers say to each other: packets of the quorum port, messages of the election port.
//!
//! ZooKeeper: `QuorumPacket`, `Leader` (packet types), `LearnerInfo`, `FastLeaderElection`, `QuorumCnxManager`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`kind`] | the record that carries all packets, and their types |
//! | [`packet`] | what leaders and learners say with it |
//! | [`stream`] | packets out of a connection, on which nothing stands between them |
//! | [`snapshot`] | what follows SNAP, which is no packet |
//! | [`initial`] | the first bytes of a connection between election ports |
//! | [`notification`] | votes, which are framed |

pub mod initial;
pub mod kind;
pub mod notification;
pub mod packet;
pub mod snapshot;
pub mod stream;

pub use initial::{InitialError, InitialMessage, PeerAddress};
pub use kind::{PacketKind, QuorumPacket};
pub use notification::{Notification, PeerState};
pub use packet::{LeaderPacket, LearnerInfo, LearnerPacket};
pub use stream::PacketDecoder;
