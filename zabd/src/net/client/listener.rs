//! Accepting, and the limits on that.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use socket2::SockRef;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::link::{ClockMs, Link};
use super::registered::Registered;
use super::serve::Shared;
use super::worker::{Accepted, Hub};
use crate::net::addr::SocketAddress;
use crate::net::listen::{REST_AFTER_ERROR, concerns_one_connection};

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddr {
    /// The address. `[::]` takes IPv4 too, and becomes `0.0.0.0` on a machine without IPv6.
    pub addr: SocketAddr,
}

/// A listener, as those see it who answer for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its place in the list of [`super::serve`].
    pub index: usize,
    /// The address it is bound to.
    pub local_addr: SocketAddr,
}

/// The connections of one listener, counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    by_address: Mutex<HashMap<IpAddr, usize, RandomState>>,
    total: AtomicUsize,
}

impl Census {
    // Nothing under this lock panics half-way through a change.
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize, RandomState>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from `address` in, unless there are enough; 0 is no limit.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        per_address_max: usize,
        total_max: usize,
    ) -> Option<Admission> {
        // One thread accepts, so nobody gets in between look and count.
        if total_max != 0 && self.total.load(Relaxed) >= total_max {
            return None;
        }
        let mut by_address = self.by_address();
        let count = by_address.entry(address).or_default();
        if per_address_max != 0 && *count >= per_address_max {
            return None;
        }
        *count += 1;
        self.total.fetch_add(1, Relaxed);
        Some(Admission {
            census: Arc::clone(self),
            address,
        })
    }
}

/// A connection's place in the census; given back when dropped.
#[derive(Debug)]
pub(super) struct Admission {
    census: Arc<Census>,
    address: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.census.total.fetch_sub(1, Relaxed);
        let mut by_address = self.census.by_address();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A thread that new connections can be handed to.
pub(super) struct Target {
    pub(super) hub: Arc<Hub>,
    pub(super) sender: mpsc::UnboundedSender<Accepted>,
}

/// Accepts until the task is dropped.
pub(super) async fn accept(
    listener: tokio::net::TcpListener,
    index: usize,
    shared: Arc<Shared>,
    targets: Arc<[Target]>,
) {
    let census = Arc::new(Census::default());
    let mut resting = false;
    loop {
        match next(&listener).await {
            Ok((stream, peer)) => {
                resting = false;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let params = &shared.ctx.params;
                match census.admit(peer.ip(), params.conns_per_address_max, params.conns_max) {
                    Some(admission) => hand_out(stream, peer, index, admission, &shared, &targets),
                    None => {
                        shared.ctx.stats.connections_rejected.add(1);
                        debug!(client = %SocketAddress(peer), "too many connections; one is refused");
                    }
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !resting {
                    warn!(%error, "accepting connections fails; trying on");
                }
                resting = true;
                tokio::time::sleep(REST_AFTER_ERROR).await;
            }
        }
    }
}

async fn next(listener: &tokio::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    // Its own thread will watch it.
    Ok((stream.into_std()?, peer))
}

fn hand_out(
    stream: TcpStream,
    peer: SocketAddr,
    listener: usize,
    admission: Admission,
    shared: &Arc<Shared>,
    targets: &[Target],
) {
    let params = &shared.ctx.params;
    if let Err(error) = prepare(&stream, params.tcp_keep_alive) {
        debug!(client = %SocketAddress(peer), %error, "a connection is gone already");
        return;
    }
    let Some(target) = targets
        .iter()
        .min_by_key(|target| target.hub.load.load(Relaxed))
    else {
        return;
    };
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let clock_ms = ClockMs {
        monotonic: shared.ctx.clock.now_ms(),
        wall: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    };
    let link = Arc::new(Link::new(
        shared.ctx.connections.next_id(),
        peer,
        listener,
        Arc::clone(&target.hub),
        clock_ms,
        params.sessionless_timeout_ms,
    ));
    let connection = Registered::new(link, admission, Arc::clone(shared));
    // When the thread has ended, because the server stops, both are dropped.
    drop(target.sender.send(Accepted { stream, connection }));
}

fn prepare(stream: &TcpStream, keep_alive: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if keep_alive {
        SockRef::from(stream).set_keepalive(true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_census_counts_by_address_and_in_all() {
        let census = Arc::new(Census::default());
        let [here, there]: [IpAddr; 2] = [[127, 0, 0, 1].into(), [127, 0, 0, 2].into()];
        let admit = |address| census.admit(address, 2, 3);
        let first = admit(here).unwrap();
        let _second = admit(here).unwrap();
        assert!(admit(here).is_none(), "two from one address");
        let _third = admit(there).unwrap();
        assert!(admit(there).is_none(), "three in all");
        drop(first);
        assert!(admit(here).is_some());
        assert!(census.admit(there, 0, 0).is_some(), "0 is no limit");
        assert_eq!(census.by_address().len(), 2);
    }
}
