//! Binding listeners and accepting connections.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::replica::ensemble::HostPort;

/// How long accepting rests after an error that would come again at once, such as too many open files.
pub(super) const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("listen on {addr}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Binds a listener.
pub(super) fn bind(addr: SocketAddr, backlog: i32) -> Result<TcpListener, BindError> {
    let bound = match bind_exactly(addr, backlog) {
        Err(error) if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && lacks_ipv6(&error) => {
            bind_exactly(
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())),
                backlog,
            )
        }
        bound => bound,
    };
    bound.map_err(|source| BindError { addr, source })
}

/// Binds the listeners of a server that others reach at `hosts`; on all addresses of the machine if `everywhere`.
///
/// A name may stand for several addresses. One that is not this machine's, or of a family that it does not have, is
/// left out if there is another. Blocks while names are looked up.
pub(super) fn bind_hosts(
    hosts: &[HostPort],
    everywhere: bool,
    backlog: i32,
) -> io::Result<Vec<TcpListener>> {
    let mut wanted = Vec::new();
    for host in hosts {
        if everywhere {
            wanted.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, host.port)));
        } else {
            wanted.extend((host.host.as_str(), host.port).to_socket_addrs()?);
        }
    }
    let mut seen = BTreeSet::new();
    wanted.retain(|addr| addr.port() == 0 || seen.insert(*addr));
    let mut bound = Vec::new();
    let mut left_out = None;
    for addr in wanted {
        match bind(addr, backlog) {
            Ok(listener) => bound.push(listener),
            Err(error) if is_elsewhere(&error.source) => left_out = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match left_out {
        Some(error) if bound.is_empty() => Err(error.into()),
        _ => Ok(bound),
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        Self::new(error.source.kind(), format!("{error}: {}", error.source))
    }
}

fn is_elsewhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || lacks_ipv6(error)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .map(Errno::from_raw_os_error)
        .is_some_and(|errno| matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_exactly(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether only the connection that was to be accepted is affected.
pub(super) fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Accepts until the task is dropped. `greet` starts a task for a connection of which nothing is known yet; of those that
/// are under way more than `unfinished_max`, the oldest is given up, so that silent ones cost others nothing.
pub(super) async fn accept(
    listener: tokio::net::TcpListener,
    unfinished_max: usize,
    greet: impl Fn(TcpStream, SocketAddr) -> AbortHandle,
) {
    let mut unfinished = Unfinished::default();
    let mut resting = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                resting = false;
                unfinished.make_room(unfinished_max);
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                unfinished.0.push_back(greet(stream, peer));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !resting {
                    warn!(%error, "accepting connections of servers fails; trying on");
                }
                resting = true;
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
    }
}

/// Connections that have not said who they are, oldest first; given up when dropped.
#[derive(Debug, Default)]
struct Unfinished(VecDeque<AbortHandle>);

impl Unfinished {
    fn make_room(&mut self, limit: usize) {
        if self.0.len() >= limit {
            self.0.retain(|task| !task.is_finished());
        }
        while self.0.len() >= limit.max(1) {
            let oldest = self.0.pop_front().expect("there is at least one");
            oldest.abort();
            debug!("too many connections of servers are silent; the oldest is closed");
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_wildcard_takes_both_families() {
        let listener = bind("[::]:0".parse().unwrap(), 50).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn an_address_in_use_is_told() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 50).unwrap();
        let addr = listener.local_addr().unwrap();
        let error = bind(addr, 50).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("listen on {addr}"));
    }

    #[test]
    fn a_servers_listeners_are_bound_where_it_is_reached_or_everywhere() {
        let host = |host: &str, port| HostPort {
            host: host.to_owned(),
            port,
        };
        let [listener] = <[TcpListener; 1]>::try_from(
            bind_hosts(&[host("127.0.0.1", 0), host("192.0.2.1", 0)], false, 50).unwrap(),
        )
        .unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(addr.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let taken = bind_hosts(&[host("127.0.0.1", addr.port())], false, 50).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let elsewhere = bind_hosts(&[host("192.0.2.1", 0)], false, 50).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
        drop(listener);

        let port = addr.port();
        let twice = [host("192.0.2.1", port), host("192.0.2.2", port)];
        let bound = bind_hosts(&twice, true, 50).unwrap();
        assert_eq!(bound.len(), 1, "one port, one listener");
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
