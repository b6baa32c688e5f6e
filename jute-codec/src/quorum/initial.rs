//! The first bytes on a connection between election ports: who connects, and where it can be called back.
//!
//! ZooKeeper: `QuorumCnxManager.startConnection`, `QuorumCnxManager.InitialMessage.parse`, `NetUtils.formatInetAddr`.

use std::fmt;
use std::net::IpAddr;

use bytes::{Buf, BytesMut};
use thiserror::Error;

use crate::Jute;
use crate::frame::write_frame;

/// The greatest length of the addresses, in bytes.
pub const ADDRESSES_BYTES_MAX: usize = 2048;

/// The message of a server with one address; ZooKeeper's protocol version 1.
const ONE_ADDRESS: i64 = -65_536;

/// The message of a server with any number of addresses; ZooKeeper's protocol version 2.
const MANY_ADDRESSES: i64 = -65_535;

/// Bytes in front of the addresses: version, server, length.
const HEAD_BYTES: usize = 20;

/// Bytes of a version, or of a server's id without anything else.
const VERSION_BYTES: usize = 8;

/// What a server says first when it connects to another one's election port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMessage {
    /// The server that connects. Not checked: any number may be there.
    pub server: i64,
    /// Its election addresses, without wildcards; none from servers that do not send them.
    pub addresses: Vec<PeerAddress>,
}

/// A host, not resolved, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// A name or an address; one of version 6 without brackets. Neither empty nor with brackets inside.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why the first bytes of a connection are no initial message. The connection is of no use then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InitialError {
    /// The version is neither a known one nor a server's id.
    #[error("unknown protocol version {version}")]
    UnknownVersion {
        /// The version as written.
        version: i64,
    },
    /// The addresses' length is not positive or above [`ADDRESSES_BYTES_MAX`].
    #[error("addresses of {length} bytes")]
    LengthOutOfRange {
        /// The length as written.
        length: i32,
    },
    /// One of the addresses is not `host:port` with a port up to 65535.
    #[error("badly formed address {address:?}")]
    BadAddress {
        /// The address as written.
        address: String,
    },
}

impl InitialMessage {
    /// How many bytes the message at the start of `buffer` lacks at least; 0 if it is whole.
    ///
    /// # Errors
    /// When version or length tell that there is none.
    pub fn missing(buffer: &[u8]) -> Result<usize, InitialError> {
        let Some(version) = buffer.first_chunk().map(|bytes| i64::from_be_bytes(*bytes)) else {
            return Ok(VERSION_BYTES - buffer.len());
        };
        if version >= 0 {
            return Ok(0);
        }
        if !matches!(version, ONE_ADDRESS | MANY_ADDRESSES) {
            return Err(InitialError::UnknownVersion { version });
        }
        let Some((_, mut length)) = buffer
            .get(..HEAD_BYTES)
            .map(|head| head.split_at(HEAD_BYTES - 4))
        else {
            return Ok(HEAD_BYTES - buffer.len());
        };
        let length = length.get_i32();
        match usize::try_from(length) {
            Ok(bytes @ 1..=ADDRESSES_BYTES_MAX) => {
                Ok((HEAD_BYTES + bytes).saturating_sub(buffer.len()))
            }
            _ => Err(InitialError::LengthOutOfRange { length }),
        }
    }

    /// Takes the message out of `buffer` and leaves there what follows, or leaves `buffer` as it is if the message is
    /// not whole.
    ///
    /// # Errors
    /// When it is none.
    pub fn take(buffer: &mut BytesMut) -> Result<Option<Self>, InitialError> {
        if Self::missing(buffer)? > 0 {
            return Ok(None);
        }
        let version = buffer.get_i64();
        if version >= 0 {
            // A server before 3.5 sends its id and nothing else.
            return Ok(Some(Self {
                server: version,
                addresses: Vec::new(),
            }));
        }
        let server = buffer.get_i64();
        let length = usize::try_from(buffer.get_i32()).expect("missing() has checked the length");
        let text = buffer.split_to(length);
        let mut addresses = Vec::new();
        for address in String::from_utf8_lossy(&text).split('|') {
            let address = PeerAddress::parse(address).ok_or_else(|| InitialError::BadAddress {
                address: address.to_owned(),
            })?;
            if !address.is_wildcard() {
                addresses.push(address);
            }
        }
        Ok(Some(Self { server, addresses }))
    }

    /// Appends the message: in protocol version 1, which all servers since 3.5 understand, if there is one address; in
    /// version 2, for servers since 3.6, if there are several; and as a server's id alone, which must not be negative
    /// then, if there is none. The addresses must fit into [`ADDRESSES_BYTES_MAX`].
    ///
    /// ZooKeeper's reader wants the message in one segment: write it to the connection at once.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.addresses.len() {
            0 => return self.server.write(out),
            1 => ONE_ADDRESS.write(out),
            _ => MANY_ADDRESSES.write(out),
        }
        self.server.write(out);
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write_frame(out, |out| {
            out.extend_from_slice(addresses.join("|").as_bytes());
        });
    }
}

impl PeerAddress {
    /// Reads `host:port` or `[host]:port`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once("]:")?,
            None => text
                .split_once(':')
                .filter(|(_, port)| !port.contains(':'))?,
        };
        let port = port.parse().ok()?;
        (!host.is_empty() && !host.contains(['[', ']'])).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Whether the host is a wildcard, which says nothing about where the server is.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_unspecified(),
            // Resolvers read a lone 0, and fewer than four of them, as the wildcard.
            Err(_) => self
                .host
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte == b'0')),
        }
    }
}

/// `host:port`, with brackets around addresses of version 6.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> PeerAddress {
        PeerAddress {
            host: host.to_owned(),
            port,
        }
    }

    fn head(version: i64, server: i64, length: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        version.write(&mut bytes);
        server.write(&mut bytes);
        length.write(&mut bytes);
        bytes
    }

    fn message(version: i64, server: i64, addresses: &str) -> Vec<u8> {
        let length = i32::try_from(addresses.len()).expect("addresses are short");
        [&head(version, server, length), addresses.as_bytes()].concat()
    }

    fn addresses_of(text: &str) -> Result<Vec<PeerAddress>, InitialError> {
        let mut buffer = BytesMut::from(&message(MANY_ADDRESSES, 1, text)[..]);
        InitialMessage::take(&mut buffer).map(|message| message.expect("it is whole").addresses)
    }

    /// `quorum-protocol.md` §2.1, observed on the wire.
    const OBSERVED: &[u8] =
        b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x07\0\0\0\x0f127.0.0.1:49999";

    #[test]
    fn the_observed_message_is_read_and_written() {
        let mut buffer = BytesMut::from(OBSERVED);
        buffer.extend_from_slice(b"rest");
        let expected = InitialMessage {
            server: 7,
            addresses: vec![address("127.0.0.1", 49_999)],
        };
        assert_eq!(
            InitialMessage::take(&mut buffer),
            Ok(Some(expected.clone()))
        );
        assert_eq!(&buffer[..], b"rest");
        let mut written = Vec::new();
        expected.write(&mut written);
        assert_eq!(written, OBSERVED);
    }

    #[test]
    fn what_is_missing_is_told_and_left_in_place() {
        for length in 0..OBSERVED.len() {
            let mut buffer = BytesMut::from(&OBSERVED[..length]);
            assert_eq!(InitialMessage::take(&mut buffer), Ok(None));
            assert_eq!(buffer.len(), length);
            let known = match length {
                0..8 => 8,
                8..20 => 20,
                _ => OBSERVED.len(),
            };
            assert_eq!(InitialMessage::missing(&buffer), Ok(known - length));
        }
    }

    #[test]
    fn an_id_alone_is_an_old_server() {
        for server in [0, 1, i64::MAX] {
            let alone = InitialMessage {
                server,
                addresses: Vec::new(),
            };
            let mut written = Vec::new();
            alone.write(&mut written);
            assert_eq!(written, server.to_be_bytes());
            let mut buffer = BytesMut::from(&[&written[..], b"rest"].concat()[..]);
            assert_eq!(InitialMessage::take(&mut buffer), Ok(Some(alone)));
            assert_eq!(&buffer[..], b"rest");
        }
    }

    #[test]
    fn both_versions_hold_one_address_or_several() {
        let several = [
            address("one", 1),
            address("::1", 2),
            address("fe80::1%eth0", 65_535),
        ];
        for version in [ONE_ADDRESS, MANY_ADDRESSES] {
            let bytes = message(version, -3, "one:1|[::1]:2|[fe80::1%eth0]:65535");
            let mut buffer = BytesMut::from(&bytes[..]);
            let read = InitialMessage::take(&mut buffer)
                .expect("it is well-formed")
                .expect("it is whole");
            assert_eq!((read.server, &read.addresses[..]), (-3, &several[..]));
            let mut written = Vec::new();
            read.write(&mut written);
            assert_eq!(written == bytes, version == MANY_ADDRESSES);
        }
    }

    #[test]
    fn wildcards_are_dropped() {
        for wildcard in [
            "0.0.0.0:1",
            "[::]:1",
            "[0:0:0:0:0:0:0:0]:1",
            "[::ffff:0.0.0.0]:1",
            "0:1",
            "0.0:1",
        ] {
            assert_eq!(addresses_of(wildcard), Ok(Vec::new()), "{wildcard}");
        }
        assert_eq!(
            addresses_of("0.0.0.0:1|0.0.0.1:2|[::]:3|[::1]:4"),
            Ok(vec![address("0.0.0.1", 2), address("::1", 4)])
        );
    }

    #[test]
    fn badly_formed_addresses_are_refused() {
        for (text, culprit) in [
            ("a", "a"),
            ("a:", "a:"),
            (":1", ":1"),
            ("a:1:2", "a:1:2"),
            ("::1:2", "::1:2"),
            ("a:65536", "a:65536"),
            ("a:-1", "a:-1"),
            ("a:x", "a:x"),
            ("[::1]", "[::1]"),
            ("[::1]2", "[::1]2"),
            ("[::1:2", "[::1:2"),
            ("[]:2", "[]:2"),
            ("[[a]:2", "[[a]:2"),
            ("a:1||b:2", ""),
            ("a:1|", ""),
            ("|a:1", ""),
        ] {
            let refused = InitialError::BadAddress {
                address: culprit.to_owned(),
            };
            assert_eq!(addresses_of(text), Err(refused), "{text}");
        }
    }

    #[test]
    fn unknown_versions_and_lengths_out_of_range_are_refused_before_more_comes() {
        for version in [-1, -65_534, -65_537, i64::MIN] {
            let mut buffer = BytesMut::from(&version.to_be_bytes()[..]);
            assert_eq!(
                InitialMessage::take(&mut buffer),
                Err(InitialError::UnknownVersion { version })
            );
        }
        for length in [0, -1, i32::MIN, 2049, i32::MAX] {
            let mut buffer = BytesMut::from(&head(ONE_ADDRESS, 1, length)[..]);
            assert_eq!(
                InitialMessage::take(&mut buffer),
                Err(InitialError::LengthOutOfRange { length })
            );
        }
        assert_eq!(
            InitialMessage::missing(&head(ONE_ADDRESS, 1, 2048)),
            Ok(2048)
        );
    }
}
