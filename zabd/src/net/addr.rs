//! Addresses as Java prints them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An address as Java's `InetAddress.getHostAddress` has it: IPv6 in eight groups, never shortened.
///
/// An IPv4 address mapped into IPv6 is shown as IPv4, as Java does. Unlike in Java, the scope of a link-local address
/// is left out: no access control list could match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostAddress(pub IpAddr);

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, g, h, i] = ip.segments();
                write!(f, "{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}:{h:x}:{i:x}")
            }
        }
    }
}

/// An address and port as Java's `InetSocketAddress.toString` has them, without a host name: `/127.0.0.1:2181`,
/// `/[0:0:0:0:0:0:0:1]:2181`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAddress(pub SocketAddr);

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.0.ip().to_canonical(), self.0.port());
        match ip {
            IpAddr::V4(_) => write!(f, "/{}:{port}", HostAddress(ip)),
            IpAddr::V6(_) => write!(f, "/[{}]:{port}", HostAddress(ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_like_javas() {
        for (addr, host, socket) in [
            ("127.0.0.1:40796", "127.0.0.1", "/127.0.0.1:40796"),
            ("[::1]:1", "0:0:0:0:0:0:0:1", "/[0:0:0:0:0:0:0:1]:1"),
            ("[::ffff:10.1.2.3]:80", "10.1.2.3", "/10.1.2.3:80"),
            (
                "[2001:db8::ff00:42:8329]:2181",
                "2001:db8:0:0:0:ff00:42:8329",
                "/[2001:db8:0:0:0:ff00:42:8329]:2181",
            ),
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(HostAddress(addr.ip()).to_string(), host);
            assert_eq!(SocketAddress(addr).to_string(), socket);
        }
    }
}
