//! All connections by id.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::link::{ConnInfo, Ending, Link};
use super::worker::Hub;
use crate::state::Outputs;
use crate::state::conn::ConnId;

/// A walk over all connections holds up one of so many parts of them at a time.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<ConnId, Arc<Link>, RandomState>>;

/// The connections of a server: how the rest of it reaches them.
#[derive(Debug)]
pub struct Connections {
    shards: Box<[Shard]>,
    hubs: RwLock<Vec<Arc<Hub>>>,
    next_id: AtomicU64,
    outbox_bytes_max: usize,
}

impl Connections {
    /// None yet. A client for which more than `outbox_bytes_max` bytes wait is cut off.
    #[must_use]
    pub fn new(outbox_bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hubs: RwLock::default(),
            next_id: AtomicU64::new(1),
            outbox_bytes_max,
        }
    }

    /// Puts `outputs` into outboxes. Called with the state's write lock held, so that no read can see a change whose
    /// events are not in their outboxes (`EventBeforeReveal`); waits for nobody but those who hold an outbox for
    /// a moment. What is for connections that are gone is dropped. Nobody is woken: see [`Self::wake`].
    pub fn deliver(&self, outputs: &Outputs) {
        for (conn, output) in outputs.iter() {
            if let Some(link) = self.link(conn) {
                link.add(output, self.outbox_bytes_max);
            }
        }
    }

    /// Wakes all connections that got something; called once the state's lock is released.
    pub fn wake(&self) {
        for hub in self
            .hubs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            hub.wake();
        }
    }

    /// When the last request came over a connection, in monotonic milliseconds; `None` if the connection is gone.
    #[must_use]
    pub fn last_heard_ms(&self, conn: ConnId) -> Option<i64> {
        self.link(conn).map(|link| link.last_heard_ms())
    }

    /// All connections, in the order of accepting.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ConnInfo> {
        let mut all = Vec::new();
        self.for_each(|link| all.push(link.info()));
        all.sort_by_key(|info| info.conn);
        all
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// Closes a connection once what it was told is written.
    pub fn close(&self, conn: ConnId) {
        if let Some(link) = self.link(conn) {
            link.end(Ending::Told);
        }
        self.wake();
    }

    /// Closes all connections so.
    pub fn close_all(&self) {
        self.for_each(|link| link.end(Ending::Told));
        self.wake();
    }

    /// Forgets the figures of every connection: `crst`.
    pub fn reset_stats(&self) {
        self.for_each(|link| link.reset_stats());
    }

    pub(super) fn next_id(&self) -> ConnId {
        ConnId(self.next_id.fetch_add(1, Relaxed))
    }

    pub(super) fn add_hub(&self, hub: Arc<Hub>) {
        self.hubs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hub);
    }

    pub(super) fn insert(&self, link: Arc<Link>) {
        write(self.shard(link.conn)).insert(link.conn, link);
    }

    pub(super) fn remove(&self, conn: ConnId) {
        write(self.shard(conn)).remove(&conn);
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(&Arc<Link>)) {
        for shard in &self.shards {
            read(shard).values().for_each(&mut visit);
        }
    }

    fn link(&self, conn: ConnId) -> Option<Arc<Link>> {
        read(self.shard(conn)).get(&conn).cloned()
    }

    fn shard(&self, conn: ConnId) -> &Shard {
        // Ids are given out in turn: their low bits spread evenly.
        &self.shards[usize::try_from(conn.0 % SHARDS as u64).unwrap_or(0)]
    }
}

// Nothing under these locks panics half-way through a change.
fn read(shard: &Shard) -> RwLockReadGuard<'_, HashMap<ConnId, Arc<Link>, RandomState>> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &Shard) -> RwLockWriteGuard<'_, HashMap<ConnId, Arc<Link>, RandomState>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
