//! The record that all packets of the quorum port share, and the types that tell them apart.
//!
//! ZooKeeper: `QuorumPacket`, the constants of `Leader`.

use std::fmt;

use bytes::Bytes;

use crate::data::Id;
use crate::ids::Zxid;
use crate::record::records;

records! {
    /// A packet as it is on the wire; what its fields mean depends on [`Self::kind`].
    pub struct QuorumPacket {
        /// The code of its type; see [`PacketKind::from_i32`].
        pub kind: i32,
        /// A transaction, an epoch's zxid zero, or nothing: -1 or 0.
        pub zxid: Zxid,
        /// What else there is to say.
        pub data: Option<Bytes>,
        /// Who the client of a request is; null in all other packets.
        pub ids: Option<Vec<Id>>,
    }
}

macro_rules! packet_kinds {
    ($( $name:ident = $code:literal, $text:literal; )*) => {
        /// The type of a packet. What each means, the variants of [`LeaderPacket`](super::LeaderPacket) and
        /// [`LearnerPacket`](super::LearnerPacket) say.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum PacketKind { $( #[doc = $text] $name = $code, )* }

        impl PacketKind {
            /// Every type, in the order of the codes.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The type with this code, if there is one.
            #[must_use]
            pub const fn from_i32(code: i32) -> Option<Self> {
                match code { $( $code => Some(Self::$name), )* _ => None }
            }

            /// Its name in ZooKeeper.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )* }
            }
        }
    };
}

packet_kinds! {
    Request = 1, "REQUEST";
    Proposal = 2, "PROPOSAL";
    Ack = 3, "ACK";
    Commit = 4, "COMMIT";
    Ping = 5, "PING";
    Revalidate = 6, "REVALIDATE";
    Sync = 7, "SYNC";
    Inform = 8, "INFORM";
    CommitAndActivate = 9, "COMMITANDACTIVATE";
    NewLeader = 10, "NEWLEADER";
    FollowerInfo = 11, "FOLLOWERINFO";
    UpToDate = 12, "UPTODATE";
    Diff = 13, "DIFF";
    Trunc = 14, "TRUNC";
    Snap = 15, "SNAP";
    ObserverInfo = 16, "OBSERVERINFO";
    LeaderInfo = 17, "LEADERINFO";
    AckEpoch = 18, "ACKEPOCH";
    InformAndActivate = 19, "INFORMANDACTIVATE";
}

impl PacketKind {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
