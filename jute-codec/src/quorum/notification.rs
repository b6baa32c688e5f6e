//! Messages of the election port.
//!
//! ZooKeeper: `FastLeaderElection.buildMsg`, `FastLeaderElection.WorkerReceiver.run`.

use bytes::{Bytes, BytesMut};

use crate::frame::{self, FrameError};
use crate::ids::Zxid;
use crate::{DecodeError, Jute, Reader, Text};

/// The longest frame on the election port, in bytes. The shortest is 1.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;

/// The version of a notification with a membership.
pub const NOTIFICATION_VERSION: i32 = 2;

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

impl PeerState {
    /// The state with this code, if there is one.
    #[must_use]
    pub const fn from_i32(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
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
    /// The text of a newer one that is proposed and may never come into force, where the sender knows of one. It stands
    /// behind all that ZooKeeper reads, which says nothing of the kind; only with [`Self::members`].
    pub proposed: Option<Text>,
}

/// Bytes of a message without even a peer's epoch.
const OLDEST_BYTES: usize = 28;

/// Bytes of a message without a membership; what its version says does not count.
const OLD_BYTES: usize = 40;

/// The version that messages of [`OLD_BYTES`] carry.
const OLD_VERSION: i32 = 1;

impl Notification {
    /// Reads a notification, which is all of `payload`.
    ///
    /// # Errors
    /// When the message ends too early, its state is unknown or the membership's length out of range. Such messages
    /// are passed over.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let code = reader.i32()?;
        let leader = reader.i64()?;
        let zxid = Zxid::read(&mut reader)?;
        let election_epoch = reader.i64()?;
        let peer_epoch = match payload.len() {
            OLDEST_BYTES => zxid.epoch(),
            _ => reader.i64()?,
        };
        let version = match payload.len() {
            OLDEST_BYTES | OLD_BYTES => 0,
            _ => reader.i32()?,
        };
        let members = match version {
            NOTIFICATION_VERSION.. => Some(read_members(payload, &mut reader)?),
            _ => None,
        };
        let proposed = match members {
            Some(_) if reader.remaining() > 0 => read_members(payload, &mut reader).ok(),
            _ => None,
        };
        let state = PeerState::from_i32(code).ok_or(DecodeError::UnexpectedValue {
            what: "peer state",
            value: code.into(),
        })?;
        Ok(Self {
            state,
            leader,
            zxid,
            election_epoch,
            peer_epoch,
            version,
            members,
            proposed,
        })
    }

    /// Appends the message, without a frame: with a membership in version 2, whatever [`Self::version`] says; without
    /// one as servers sent it that knew of none.
    ///
    /// A server must send a membership, and a valid one: ZooKeeper's receiver does not survive some invalid texts.
    /// With a membership of more than half a megabyte the frame is too long for any receiver.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.state.code().write(out);
        self.leader.write(out);
        self.zxid.write(out);
        self.election_epoch.write(out);
        self.peer_epoch.write(out);
        match &self.members {
            None => OLD_VERSION.write(out),
            Some(members) => {
                NOTIFICATION_VERSION.write(out);
                // Not as a string of a record: characters beyond the BMP are plain UTF-8 here.
                frame::write_frame(out, |out| out.extend_from_slice(members.as_bytes()));
                if let Some(proposed) = &self.proposed {
                    frame::write_frame(out, |out| out.extend_from_slice(proposed.as_bytes()));
                }
            }
        }
    }

    /// Appends the message in its frame.
    pub fn write_frame(&self, out: &mut Vec<u8>) {
        frame::write_frame(out, |out| self.write(out));
    }
}

fn read_members(payload: &Bytes, reader: &mut Reader<'_>) -> Result<Text, DecodeError> {
    let length = reader.i32()?;
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= payload.len())
        .ok_or(DecodeError::UnreasonableLength {
            length,
            limit: payload.len(),
        })?;
    Ok(Text::decode(payload, reader.take(bytes)?))
}

/// Takes the next whole frame of the election port out of `buffer` without copying it, or leaves `buffer` as it is.
///
/// # Errors
/// When the length is not between 1 and [`FRAME_BYTES_MAX`]. The connection is of no more use then.
pub fn take_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    match frame::peek_length(buffer, FRAME_BYTES_MAX)? {
        Some(0) => Err(FrameError::LengthOutOfRange {
            length: 0,
            limit: FRAME_BYTES_MAX,
        }),
        _ => frame::take_frame(buffer, FRAME_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_members(members: &str) -> Notification {
        Notification {
            state: PeerState::Following,
            leader: 2,
            zxid: Zxid(0x3_0000_0004),
            election_epoch: 5,
            peer_epoch: 6,
            version: NOTIFICATION_VERSION,
            members: Some(members.into()),
            proposed: None,
        }
    }

    fn bytes_of(notification: &Notification) -> Vec<u8> {
        let mut out = Vec::new();
        notification.write(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Notification, DecodeError> {
        Notification::decode(&Bytes::copy_from_slice(bytes))
    }

    /// `quorum-protocol.md` §3.1, by the length of the message.
    #[test]
    fn the_length_tells_what_an_old_message_has() {
        let whole = with_members("");
        let bytes = bytes_of(&whole);
        assert_eq!(bytes.len(), 44);
        let old = Notification {
            version: 0,
            members: None,
            ..whole.clone()
        };
        assert_eq!(decode(&bytes[..40]), Ok(old.clone()));
        let oldest = Notification {
            peer_epoch: 3,
            ..old
        };
        assert_eq!(decode(&bytes[..28]), Ok(oldest));
        assert_eq!(decode(&bytes), Ok(whole));
        for length in (0..28).chain(29..40).chain(41..44) {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_message_without_members_is_written_as_before_there_were_any() {
        let old = Notification {
            version: 0,
            members: None,
            ..with_members("")
        };
        let bytes = bytes_of(&old);
        assert_eq!((bytes.len(), &bytes[36..]), (40, &[0, 0, 0, 1][..]));
        assert_eq!(decode(&bytes), Ok(old));
    }

    /// Longer than 40 bytes but of a version without members: what follows is passed over.
    #[test]
    fn only_versions_from_two_on_have_members() {
        for (version, members) in [
            (i32::MIN, None),
            (-1, None),
            (1, None),
            (2, Some("a")),
            (i32::MAX, Some("a")),
        ] {
            let mut bytes = bytes_of(&with_members("a"));
            bytes[36..40].copy_from_slice(&version.to_be_bytes());
            let decoded = decode(&bytes).expect("no version is refused");
            assert_eq!(decoded.version, version);
            assert_eq!(decoded.members.as_deref(), members, "{version}");
        }
    }

    #[test]
    fn lengths_of_members_out_of_range_are_refused() {
        for (length, taken) in [(0, true), (3, true), (4, false), (47, false), (48, false)] {
            let mut bytes = bytes_of(&with_members("abc"));
            bytes[40..44].copy_from_slice(&i32::to_be_bytes(length));
            assert_eq!(decode(&bytes).is_ok(), taken, "{length}");
        }
        for length in [-1, i32::MIN, i32::MAX] {
            let mut bytes = bytes_of(&with_members("abc"));
            bytes[40..44].copy_from_slice(&length.to_be_bytes());
            assert_eq!(
                decode(&bytes),
                Err(DecodeError::UnreasonableLength { length, limit: 47 })
            );
        }
    }

    #[test]
    fn unknown_states_are_refused() {
        for code in [-1, 4, i32::MAX] {
            let mut bytes = bytes_of(&with_members("a"));
            bytes[..4].copy_from_slice(&code.to_be_bytes());
            assert_eq!(
                decode(&bytes),
                Err(DecodeError::UnexpectedValue {
                    what: "peer state",
                    value: code.into()
                })
            );
        }
    }

    #[test]
    fn members_are_plain_utf8() {
        let bytes = bytes_of(&with_members("\u{1f600}"));
        assert_eq!(&bytes[44..], "\u{1f600}".as_bytes());
        assert_eq!(decode(&bytes), Ok(with_members("\u{1f600}")));
    }

    #[test]
    fn what_is_proposed_stands_behind_what_zookeeper_reads() {
        let plain = with_members("abc");
        let telling = Notification {
            proposed: Some("defg".into()),
            ..plain.clone()
        };
        let bytes = bytes_of(&telling);
        assert!(bytes.starts_with(&bytes_of(&plain)));
        assert_eq!(decode(&bytes), Ok(telling));
        // What somebody else may put there is passed over.
        for length in bytes_of(&plain).len()..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Ok(plain.clone()), "{length}");
        }
    }

    #[test]
    fn frames_have_one_byte_to_half_a_megabyte() {
        for (length, taken) in [
            (-1, false),
            (0, false),
            (1, true),
            (524_288, true),
            (524_289, false),
            (i32::MAX, false),
        ] {
            let mut buffer = BytesMut::from(&i32::to_be_bytes(length)[..]);
            assert_eq!(take_frame(&mut buffer).is_ok(), taken, "{length}");
        }
        let mut buffer = BytesMut::from(&b"\0\0\0\x01a\0\0\0\x02b"[..]);
        assert_eq!(take_frame(&mut buffer), Ok(Some("a".into())));
        assert_eq!(take_frame(&mut buffer), Ok(None));
        assert_eq!(&buffer[..], b"\0\0\0\x02b");
    }
}
