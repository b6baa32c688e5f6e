//! The watch tables of one server.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use jute_codec::SessionId;
use jute_codec::data::Id;
use jute_codec::proto::WatcherType;

use super::audience::Audience;
use crate::state::conn::ConnId;
use crate::state::tree::path;

/// What a connection registered at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// Fires once.
    Standard,
    /// Stays.
    Persistent,
    /// Stays, and covers the subtree.
    PersistentRecursive,
}

impl WatchMode {
    const fn bit(self) -> u8 {
        match self {
            Self::Standard => 1,
            Self::Persistent => 2,
            Self::PersistentRecursive => 4,
        }
    }
}

/// Who watches at one path: connections in the order of their first registration, with the bits of their modes.
type Watchers = Vec<(ConnId, u8)>;

/// One of the two tables: of data and existence, or of children.
#[derive(Debug)]
struct Table {
    by_path: HashMap<Box<str>, Watchers, FixedState>,
}

impl Table {
    fn new(hash_seed: u64) -> Self {
        Self {
            by_path: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
        }
    }

    /// Whether anything changed, and whether the connection is new at this path.
    fn add(&mut self, conn: ConnId, at: &str, mode: WatchMode) -> (bool, bool) {
        let watchers = match self.by_path.get_mut(at) {
            Some(watchers) => watchers,
            None => self.by_path.entry(at.into()).or_default(),
        };
        match watchers.iter_mut().find(|(watcher, _)| *watcher == conn) {
            Some((_, bits)) => {
                let added = *bits & mode.bit() == 0;
                *bits |= mode.bit();
                (added, false)
            }
            None => {
                watchers.push((conn, mode.bit()));
                (true, true)
            }
        }
    }

    fn bits(&self, conn: ConnId, at: &str) -> u8 {
        self.by_path
            .get(at)
            .and_then(|watchers| watchers.iter().find(|(watcher, _)| *watcher == conn))
            .map_or(0, |(_, bits)| *bits)
    }

    /// Takes modes away; the bits that were there.
    fn remove(&mut self, conn: ConnId, at: &str, mask: u8) -> u8 {
        let Some(watchers) = self.by_path.get_mut(at) else {
            return 0;
        };
        let Some(place) = watchers.iter().position(|(watcher, _)| *watcher == conn) else {
            return 0;
        };
        let before = watchers[place].1;
        watchers[place].1 &= !mask;
        if watchers[place].1 == 0 {
            watchers.remove(place);
        }
        if watchers.is_empty() {
            self.by_path.remove(at);
        }
        before
    }
}

/// What the tables know of a connection.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// Its session; none before the handshake is done.
    pub(super) session: SessionId,
    /// Its identities: an event is shown only to those who may read its node.
    pub(super) ids: Vec<Id>,
    // Paths with entries in the data and child tables; what goes when the connection goes.
    data_paths: BTreeMap<Box<str>, ()>,
    child_paths: BTreeMap<Box<str>, ()>,
    // Whether a data watch was left, and not the last one removed by request: Java lists a connection even when all
    // its watches have fired.
    has_watched_data: bool,
}

#[derive(Debug)]
struct Inner {
    data: Table,
    children: Table,
    subscribers: BTreeMap<ConnId, Subscriber>,
    // How many recursive entries there are: with none, no ancestor needs a look.
    recursive: usize,
    // How many entries, by connection, path and table.
    entries: usize,
}

/// The watch tables of one server.
#[derive(Debug)]
pub struct WatchTable {
    inner: Mutex<Inner>,
}

/// Totals for `wchs` and `mntr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchTotals {
    /// Connections that have left a data watch, whether it has fired meanwhile or not.
    ///
    /// ZooKeeper: `WatchManager.triggerWatch` leaves the connection in its table, `unwatch` does not.
    pub connections: usize,
    /// Paths with data watches.
    pub paths: usize,
    /// Data watches.
    pub data_watches: usize,
    /// Data and child watches.
    pub watches: usize,
}

impl WatchTable {
    /// Empty tables.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                data: Table::new(hash_seed),
                children: Table::new(hash_seed),
                subscribers: BTreeMap::new(),
                recursive: 0,
                entries: 0,
            }),
        }
    }

    // Nothing in here panics half-way through a change, so a poisoned lock still guards sound tables.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection known; replaces what was known of it.
    pub fn attach(&self, conn: ConnId, session: SessionId, ids: &[Id]) {
        let subscriber = Subscriber {
            session,
            ids: ids.to_vec(),
            ..Subscriber::default()
        };
        self.lock().subscribers.insert(conn, subscriber);
    }

    /// Sets the identities that events are filtered by.
    pub fn set_ids(&self, conn: ConnId, ids: &[Id]) {
        if let Some(subscriber) = self.lock().subscribers.get_mut(&conn) {
            subscriber.ids = ids.to_vec();
        }
    }

    /// Forgets a connection with all its watches.
    pub fn detach(&self, conn: ConnId) {
        let inner = &mut *self.lock();
        let Some(subscriber) = inner.subscribers.remove(&conn) else {
            return;
        };
        for at in subscriber.data_paths.keys() {
            inner.count_removed(WatchSide::Data, conn, at, u8::MAX);
        }
        for at in subscriber.child_paths.keys() {
            inner.count_removed(WatchSide::Children, conn, at, u8::MAX);
        }
    }

    /// Leaves a data watch.
    pub fn watch_data(&self, conn: ConnId, at: &str) {
        self.lock()
            .add(WatchSide::Data, conn, at, WatchMode::Standard);
    }

    /// Leaves a child watch.
    pub fn watch_children(&self, conn: ConnId, at: &str) {
        self.lock()
            .add(WatchSide::Children, conn, at, WatchMode::Standard);
    }

    /// Leaves a watch that stays: a persistent one in both tables, a recursive one among the data watches.
    pub fn watch_persistently(&self, conn: ConnId, at: &str, mode: WatchMode) {
        let mut inner = self.lock();
        inner.add(WatchSide::Data, conn, at, mode);
        if mode == WatchMode::Persistent {
            inner.add(WatchSide::Children, conn, at, mode);
        }
    }

    /// Whether the connection has a watch of that kind at the path.
    ///
    /// ZooKeeper: `DataTree.containsWatcher`.
    #[must_use]
    pub fn has(&self, conn: ConnId, at: &str, kind: WatcherType) -> bool {
        let inner = self.lock();
        let (data, children) = (inner.data.bits(conn, at), inner.children.bits(conn, at));
        let standard = WatchMode::Standard.bit();
        match kind {
            WatcherType::Children => children & standard != 0,
            WatcherType::Data => data & standard != 0,
            WatcherType::Any => data | children != 0,
            WatcherType::Persistent => data & WatchMode::Persistent.bit() != 0,
            WatcherType::PersistentRecursive => data & WatchMode::PersistentRecursive.bit() != 0,
        }
    }

    /// Removes the connection's watches of that kind at the path; whether there was one.
    ///
    /// ZooKeeper: `DataTree.removeWatch`.
    pub fn remove(&self, conn: ConnId, at: &str, kind: WatcherType) -> bool {
        let inner = &mut *self.lock();
        let standard = WatchMode::Standard.bit();
        let (data_mask, child_mask) = match kind {
            WatcherType::Children => (0, standard),
            WatcherType::Data => (standard, 0),
            WatcherType::Any => (u8::MAX, u8::MAX),
            WatcherType::Persistent => (WatchMode::Persistent.bit(), WatchMode::Persistent.bit()),
            WatcherType::PersistentRecursive => (WatchMode::PersistentRecursive.bit(), 0),
        };
        let data = inner.take(WatchSide::Data, conn, at, data_mask);
        if data && let Some(subscriber) = inner.subscribers.get_mut(&conn) {
            subscriber.has_watched_data = !subscriber.data_paths.is_empty();
        }
        let children = inner.take(WatchSide::Children, conn, at, child_mask);
        data || children
    }

    /// Fires the data watches at `at`: those that are to hear of it, at most once each.
    pub(crate) fn fire_data(&mut self, at: &str, seen: &mut Audience<'_>) {
        self.inner
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .fire(WatchSide::Data, at, seen);
    }

    /// Fires the child watches at `at`.
    pub(crate) fn fire_children(&mut self, at: &str, seen: &mut Audience<'_>) {
        self.inner
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .fire(WatchSide::Children, at, seen);
    }

    /// Whether nobody watches anything.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.inner
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            == 0
    }

    /// Totals for operators.
    #[must_use]
    pub fn totals(&self) -> WatchTotals {
        let inner = self.lock();
        WatchTotals {
            connections: inner
                .subscribers
                .values()
                .filter(|subscriber| subscriber.has_watched_data)
                .count(),
            paths: inner.data.by_path.len(),
            data_watches: inner.data.by_path.values().map(Vec::len).sum(),
            watches: inner.entries,
        }
    }

    /// Data watches by session, for `wchc`; a session whose watches have all fired has no paths.
    #[must_use]
    pub fn paths_by_session(&self) -> Vec<(SessionId, Vec<String>)> {
        self.lock()
            .subscribers
            .values()
            .filter(|subscriber| subscriber.has_watched_data)
            .map(|subscriber| {
                (
                    subscriber.session,
                    subscriber
                        .data_paths
                        .keys()
                        .map(|at| (**at).to_owned())
                        .collect(),
                )
            })
            .collect()
    }

    /// Data watches by path, for `wchp`.
    #[must_use]
    pub fn sessions_by_path(&self) -> BTreeMap<String, Vec<SessionId>> {
        let inner = self.lock();
        let session = |conn: &ConnId| {
            inner
                .subscribers
                .get(conn)
                .map(|subscriber| subscriber.session)
        };
        inner
            .data
            .by_path
            .iter()
            .map(|(at, watchers)| {
                (
                    (**at).to_owned(),
                    watchers
                        .iter()
                        .filter_map(|(conn, _)| session(conn))
                        .collect(),
                )
            })
            .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchSide {
    Data,
    Children,
}

impl Inner {
    fn table(&mut self, side: WatchSide) -> &mut Table {
        match side {
            WatchSide::Data => &mut self.data,
            WatchSide::Children => &mut self.children,
        }
    }

    fn add(&mut self, side: WatchSide, conn: ConnId, at: &str, mode: WatchMode) {
        // A connection that has gone meanwhile must not leave a watch behind that nobody would ever remove.
        let Some(subscriber) = self.subscribers.get_mut(&conn) else {
            return;
        };
        let paths = match side {
            WatchSide::Data => {
                subscriber.has_watched_data = true;
                &mut subscriber.data_paths
            }
            WatchSide::Children => &mut subscriber.child_paths,
        };
        if !paths.contains_key(at) {
            paths.insert(at.into(), ());
        }
        let (added, new_watcher) = self.table(side).add(conn, at, mode);
        self.entries += usize::from(new_watcher);
        self.recursive += usize::from(added && mode == WatchMode::PersistentRecursive);
    }

    /// Takes modes away from an entry and keeps count; whether one of them was there.
    fn count_removed(&mut self, side: WatchSide, conn: ConnId, at: &str, mask: u8) -> bool {
        let before = self.table(side).remove(conn, at, mask);
        let recursive = WatchMode::PersistentRecursive.bit();
        self.recursive -= usize::from(before & mask & recursive != 0);
        self.entries -= usize::from(before != 0 && before & !mask == 0);
        before & mask != 0
    }

    fn take(&mut self, side: WatchSide, conn: ConnId, at: &str, mask: u8) -> bool {
        let found = self.count_removed(side, conn, at, mask);
        self.forget_path_if_empty(side, conn, at);
        found
    }

    fn forget_path_if_empty(&mut self, side: WatchSide, conn: ConnId, at: &str) {
        if self.table(side).bits(conn, at) != 0 {
            return;
        }
        if let Some(subscriber) = self.subscribers.get_mut(&conn) {
            match side {
                WatchSide::Data => subscriber.data_paths.remove(at),
                WatchSide::Children => subscriber.child_paths.remove(at),
            };
        }
    }

    fn fire(&mut self, side: WatchSide, at: &str, audience: &mut Audience<'_>) {
        let here = self
            .table(side)
            .by_path
            .get(at)
            .cloned()
            .unwrap_or_default();
        for (conn, bits) in here {
            audience.tell(conn, &self.subscribers);
            if bits & WatchMode::Standard.bit() != 0 {
                self.take(side, conn, at, WatchMode::Standard.bit());
            }
        }
        if side == WatchSide::Data && self.recursive > 0 {
            for above in path::self_and_ancestors(at).skip(1) {
                for (conn, bits) in self.data.by_path.get(above).into_iter().flatten() {
                    if bits & WatchMode::PersistentRecursive.bit() != 0 {
                        audience.tell(*conn, &self.subscribers);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tree::acl::AclRules;

    /// As Apache ZooKeeper 3.9.5 answers `wchs` and `wchc`.
    #[test]
    fn a_connection_stays_listed_when_its_watches_fire() {
        let table = WatchTable::new(0);
        let (conn, session) = (ConnId(1), SessionId(7));
        table.attach(conn, session, &[]);
        table.watch_children(conn, "/a");
        assert_eq!(table.paths_by_session(), []);
        table.watch_data(conn, "/a");
        assert_eq!(table.paths_by_session(), [(session, vec!["/a".to_owned()])]);

        let rules = AclRules::default();
        table
            .lock()
            .fire(WatchSide::Data, "/a", &mut Audience::new(None, &rules));
        assert_eq!(table.paths_by_session(), [(session, vec![])]);
        let totals = WatchTotals {
            connections: 1,
            paths: 0,
            data_watches: 0,
            watches: 1,
        };
        assert_eq!(table.totals(), totals);

        table.watch_data(conn, "/b");
        assert!(table.remove(conn, "/b", WatcherType::Data));
        assert_eq!(
            table.totals(),
            WatchTotals {
                connections: 0,
                ..totals
            }
        );
    }
}
