//! The value of `server.N`: where a member of an ensemble is reached.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// A member as `server.N` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Addresses it is reached at by other servers; more than one only with several joined by `|`.
    pub addresses: Vec<MemberAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where its clients connect, if the line says so; not what `clientPort` says.
    pub client: Option<HostPort>,
}

/// One address of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port followers connect to.
    pub quorum_port: u16,
    /// Port elections are held on.
    pub election_port: u16,
}

/// A host and a port, neither resolved nor bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Participant,
    /// It does not.
    Observer,
}

/// What is wrong with a `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MemberError {
    /// Not of the form at all.
    #[error(
        "is not of the form host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort]"
    )]
    Form,
    /// A bracket is not closed, or nothing follows it.
    #[error("has a bracketed address that is not followed by a port")]
    Bracket,
    /// Something that should be a port is none.
    #[error("has {0:?} for a port, where 0 to 65535 is allowed")]
    Port(String),
    /// Both ports are one.
    #[error("has the same quorum and election port")]
    SamePorts,
    /// The role is neither.
    #[error("has role {0:?}, where participant and observer are allowed")]
    Role(String),
    /// A character that would end the host's name when the membership is told to others.
    #[error("has {0:?} for a host")]
    Host(String),
    /// Addresses joined by `|` disagree.
    #[error("has addresses of different roles")]
    MixedRoles,
}

impl Member {
    /// Reads the value of a `server.N` key.
    ///
    /// ZooKeeper: `QuorumPeer.QuorumServer.initializeWithAddressString`. No host is resolved.
    ///
    /// # Errors
    /// A [`MemberError`] for what ZooKeeper refuses.
    pub fn parse(text: &str) -> Result<Self, MemberError> {
        let mut halves = text.split(';');
        let servers = halves.next().unwrap_or_default();
        let client = halves.next().filter(|client| !client.is_empty());
        if halves.next().is_some() {
            return Err(MemberError::Form);
        }
        let client = client.map(HostPort::parse_client).transpose()?;
        let mut addresses = Vec::new();
        let mut role = None;
        for server in servers.split('|') {
            let parts = split_host(server)?;
            let [host, quorum_port, election_port, rest @ ..] = parts.as_slice() else {
                return Err(MemberError::Form);
            };
            let address = MemberAddress {
                host: host_name(host)?,
                quorum_port: port(quorum_port)?,
                election_port: port(election_port)?,
            };
            if address.quorum_port == address.election_port {
                return Err(MemberError::SamePorts);
            }
            addresses.push(address);
            let written = match rest {
                [] => continue,
                [word] => Role::parse(word)?,
                _ => return Err(MemberError::Form),
            };
            if role.is_some_and(|earlier| earlier != written) {
                return Err(MemberError::MixedRoles);
            }
            role = Some(written);
        }
        Ok(Self {
            addresses,
            role: role.unwrap_or(Role::Participant),
            client,
        })
    }

    /// Whether both are the same member: order and repetition of addresses do not count, nor does the case of names.
    ///
    /// Names are compared as they are written; ZooKeeper compares what they resolve to at the moment.
    ///
    /// ZooKeeper: `QuorumPeer.QuorumServer.equals`.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.role == other.role
            && self.quorum_addresses() == other.quorum_addresses()
            && self.election_addresses() == other.election_addresses()
            && self.client.as_ref().map(HostPort::normalized)
                == other.client.as_ref().map(HostPort::normalized)
    }

    /// Its quorum ports, each with its host as it is compared.
    pub(super) fn quorum_addresses(&self) -> BTreeSet<(String, u16)> {
        let addresses = self.addresses.iter();
        addresses
            .map(|address| (normalized(&address.host), address.quorum_port))
            .collect()
    }

    fn election_addresses(&self) -> BTreeSet<(String, u16)> {
        let addresses = self.addresses.iter();
        addresses
            .map(|address| (normalized(&address.host), address.election_port))
            .collect()
    }
}

/// As servers tell it each other: the role always, addresses sorted by host, IP addresses in Java's spelling.
///
/// ZooKeeper: `QuorumPeer.QuorumServer.toString`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self
            .addresses
            .iter()
            .map(|address| (java_host(&address.host), address))
            .collect();
        addresses.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (at, (host, address)) in addresses.iter().enumerate() {
            let bar = if at == 0 { "" } else { "|" };
            let (quorum_port, election_port) = (address.quorum_port, address.election_port);
            write!(f, "{bar}{}:{quorum_port}:{election_port}", Bracketed(host))?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        match &self.client {
            Some(client) => write!(
                f,
                ";{}:{}",
                Bracketed(&java_host(&client.host)),
                client.port
            ),
            None => Ok(()),
        }
    }
}

impl HostPort {
    /// Reads `host:port` or `[v6]:port`.
    ///
    /// # Errors
    /// A [`MemberError`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, MemberError> {
        match split_host(text)?.as_slice() {
            [host, digits] if !host.is_empty() => Ok(Self {
                host: host_name(host)?,
                port: port(digits)?,
            }),
            _ => Err(MemberError::Form),
        }
    }

    fn normalized(&self) -> (String, u16) {
        (normalized(&self.host), self.port)
    }

    /// The same, or a port alone for every address.
    fn parse_client(text: &str) -> Result<Self, MemberError> {
        match split_host(text)?.as_slice() {
            [digits] => Ok(Self {
                host: "0.0.0.0".to_owned(),
                port: port(digits)?,
            }),
            _ => Self::parse(text),
        }
    }
}

impl Role {
    fn parse(word: &str) -> Result<Self, MemberError> {
        match word.trim().to_ascii_lowercase().as_str() {
            "observer" => Ok(Self::Observer),
            "participant" => Ok(Self::Participant),
            _ => Err(MemberError::Role(word.to_owned())),
        }
    }
}

/// Splits at colons, but not within brackets around the host.
fn split_host(text: &str) -> Result<Vec<&str>, MemberError> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Ok(text.split(':').collect());
    };
    let (host, rest) = bracketed.split_once(']').ok_or(MemberError::Bracket)?;
    let rest = rest
        .strip_prefix(':')
        .filter(|rest| !rest.is_empty())
        .ok_or(MemberError::Bracket)?;
    Ok(std::iter::once(host).chain(rest.split(':')).collect())
}

/// A host that means the same when it is written into the membership's text and read again.
fn host_name(host: &str) -> Result<String, MemberError> {
    let breaks_lines = |char: char| char.is_whitespace() || char.is_control() || char == '\\';
    if host.contains(breaks_lines) {
        return Err(MemberError::Host(host.to_owned()));
    }
    Ok(host.to_owned())
}

fn normalized(host: &str) -> String {
    java_host(host).to_ascii_lowercase()
}

/// The host as Java spells it: an IPv6 address in full, one that stands for an IPv4 address as that.
///
/// Java: `InetSocketAddress.getHostString`, `Inet6Address.getHostAddress`.
fn java_host(host: &str) -> String {
    let Ok(address) = host.parse::<Ipv6Addr>() else {
        return host.to_owned();
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Ipv4Addr::to_string(&mapped);
    }
    address.segments().map(|part| format!("{part:x}")).join(":")
}

/// A host, in brackets if it has colons.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]", self.0)
        } else {
            f.write_str(self.0)
        }
    }
}

fn port(digits: &str) -> Result<u16, MemberError> {
    digits
        .parse()
        .map_err(|_| MemberError::Port(digits.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, quorum_port: u16, election_port: u16) -> MemberAddress {
        MemberAddress {
            host: host.to_owned(),
            quorum_port,
            election_port,
        }
    }

    #[test]
    fn all_forms() {
        let member = Member::parse("zk1:2888:3888").unwrap();
        assert_eq!(member.addresses, [address("zk1", 2888, 3888)]);
        assert_eq!((member.role, member.client), (Role::Participant, None));

        let member = Member::parse("zk1:2888:3888:Observer;2181").unwrap();
        assert_eq!(member.role, Role::Observer);
        assert_eq!(
            member.client,
            Some(HostPort {
                host: "0.0.0.0".into(),
                port: 2181
            })
        );

        let member = Member::parse("[::1]:2888:3888;[fe80::1]:2182").unwrap();
        assert_eq!(member.addresses, [address("::1", 2888, 3888)]);
        assert_eq!(
            member.client,
            Some(HostPort {
                host: "fe80::1".into(),
                port: 2182
            })
        );

        let member = Member::parse("a:1:2:participant|b:3:4:participant;10.0.0.1:5").unwrap();
        assert_eq!(member.addresses, [address("a", 1, 2), address("b", 3, 4)]);
    }

    #[test]
    fn what_zookeeper_refuses_is_refused() {
        for (text, error) in [
            ("zk1", MemberError::Form),
            ("zk1:2888", MemberError::Form),
            ("a:1:2:observer:x", MemberError::Form),
            ("a:1:2;3;4", MemberError::Form),
            ("a:1:2;b:c:3", MemberError::Form),
            ("[::1", MemberError::Bracket),
            ("[::1]:", MemberError::Bracket),
            ("a:x:2", MemberError::Port("x".into())),
            ("a:1:70000", MemberError::Port("70000".into())),
            ("a:1:2;b:x", MemberError::Port("x".into())),
            ("a:1:1", MemberError::SamePorts),
            ("a:1:2:voter", MemberError::Role("voter".into())),
            ("a:1:2:observer|b:1:2:participant", MemberError::MixedRoles),
        ] {
            assert_eq!(Member::parse(text), Err(error), "{text}");
        }
    }
}
