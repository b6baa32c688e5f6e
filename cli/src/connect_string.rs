//! Connect strings: `host:port,host:port/chroot`.
//!
//! ZooKeeper: `ConnectStringParser`.

use std::fmt;

use thiserror::Error;

use crate::path::{self, PathError};

/// The port of a server that is given without one.
const DEFAULT_PORT: u16 = 2181;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without the brackets of IPv6.
    pub host: String,
    /// From 0 to 65535; 2181 where none was given.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Servers, and the node that stands in for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    /// In the order given; never empty.
    pub servers: Vec<HostPort>,
    /// A valid path other than `/`.
    pub chroot: Option<String>,
}

/// A connect string that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectStringError {
    /// What stands behind the servers is not a path.
    #[error("the chroot is not a path: {0}")]
    Chroot(#[from] PathError),
    /// There is no server in it.
    #[error("no server is given in \"{0}\"")]
    NoServer(String),
    /// What stands behind a colon is not a port.
    #[error("\"{0}\" does not end in a port between 0 and 65535")]
    Port(String),
    /// An address in brackets does not end.
    #[error("\"{0}\" has a [ without a ]")]
    Bracket(String),
}

impl ConnectString {
    /// Parses a list of servers with an optional chroot.
    ///
    /// # Errors
    /// When there is no server, a port is no number, or the chroot is no path.
    pub fn parse(text: &str) -> Result<Self, ConnectStringError> {
        let (hosts, chroot) = match text.find('/') {
            None => (text, None),
            Some(at) => (
                &text[..at],
                Some(&text[at..]).filter(|chroot| *chroot != "/"),
            ),
        };
        if let Some(chroot) = chroot {
            path::validate(chroot)?;
        }
        let servers = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(parse_host_port)
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConnectStringError::NoServer(text.to_owned()));
        }
        Ok(Self {
            servers,
            chroot: chroot.map(str::to_owned),
        })
    }
}

fn parse_host_port(text: &str) -> Result<HostPort, ConnectStringError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or_else(|| ConnectStringError::Bracket(text.to_owned()))?;
        (host, port.strip_prefix(':').unwrap_or(port))
    } else {
        text.rsplit_once(':').unwrap_or((text, ""))
    };
    let port = match port {
        "" => DEFAULT_PORT,
        port => port
            .parse()
            .map_err(|_| ConnectStringError::Port(text.to_owned()))?,
    };
    Ok(HostPort {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        let parsed = ConnectString::parse(text).unwrap();
        parsed.servers.iter().map(HostPort::to_string).collect()
    }

    #[test]
    fn servers_and_chroot_are_told_apart() {
        let parsed = ConnectString::parse("a:1,b:2/x/y").unwrap();
        assert_eq!(parsed.chroot.as_deref(), Some("/x/y"));
        assert_eq!(servers("a:1, b:2/x/y"), ["a:1", "b:2"]);
        assert_eq!(ConnectString::parse("a/").unwrap().chroot, None);
    }

    #[test]
    fn ports_are_optional_and_brackets_hold_addresses() {
        assert_eq!(
            servers("a,b:,[::1]:5,[::1]"),
            ["a:2181", "b:2181", "[::1]:5", "[::1]:2181"]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "/x", "a:b", "a:70000", "[::1", "a:1/x/", "a:1/x//y"] {
            assert!(ConnectString::parse(text).is_err(), "{text}");
        }
    }
}
