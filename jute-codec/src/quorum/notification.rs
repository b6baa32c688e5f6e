//! Messages of the election port.

use crate::Text;
use crate::ids::Zxid;

/// What a server is doing; the code goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// In an election.
    Looking = 0,
    /// It follows a leader.
    Following = 1,
    /// It leads.
    Leading = 2,
    /// It observes.
    Observing = 3,
}

/// A vote, and who casts it in which state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: PeerState,
    /// The server that is proposed as leader; `i64::MIN` for none.
    pub leader: i64,
    /// That server's newest logged transaction.
    pub zxid: Zxid,
    /// The round of the election.
    pub election_epoch: i64,
    /// The proposed server's current epoch.
    pub peer_epoch: i64,
    /// The version of the message: 2 for those with a membership, 0 for old ones.
    pub version: i32,
    /// The text of the membership that the sender goes by.
    pub members: Option<Text>,
}
