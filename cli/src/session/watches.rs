//! Who waits for what: the client's side of watches.
//!
//! A server keeps one watch a path, kind and connection, and forgets them all with the connection. This table knows
//! everybody behind them, and registers them anew on the next connection.
//!
//! ZooKeeper: `ZKWatchManager`, `ClientCnxn.primeConnection`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jute_codec::proto::{AddWatchMode, EventType, Request, SetWatches, SetWatches2, WatcherEvent};
use jute_codec::{Text, Zxid};
use tokio::sync::{mpsc, oneshot};

use super::chroot::Chroot;
use super::error::Error;

/// How many notices may wait for the one who asked for them before he has to look for himself.
const NOTICES_MAX: usize = 1024;

/// The most bytes of paths in one request that registers watches anew.
///
/// ZooKeeper: `ClientCnxn.SET_WATCHES_MAX_LENGTH`.
const SET_WATCHES_BYTES_MAX: usize = 128 << 10;

/// What happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventType,
    /// The node, or for changes of children their parent.
    pub path: String,
    /// The transaction; -1 from servers that do not say, and when it happened while no server was connected.
    pub zxid: Zxid,
}

/// What somebody with a lasting watch is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something happened.
    Event(WatchEvent),
    /// Events may have been missed: the connection was lost for a while, or too many waited. Whoever mirrors the nodes
    /// reads them anew; the watch is in place again before anything that is asked from now on.
    Missed,
}

/// A lasting watch.
#[derive(Debug)]
pub struct Watcher {
    notices: mpsc::Receiver<Notice>,
    overflowed: Arc<AtomicBool>,
}

impl Watcher {
    /// Waits for the next notice; `None` when the session is over. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.notices.try_recv() {
            Ok(notice) => Some(notice),
            Err(_) if self.overflowed.swap(false, Ordering::Relaxed) => Some(Notice::Missed),
            Err(_) => self.notices.recv().await,
        }
    }
}

/// The end of a lasting watch at which events come in.
#[derive(Debug)]
pub(super) struct WatcherSender {
    notices: mpsc::Sender<Notice>,
    overflowed: Arc<AtomicBool>,
}

/// Both ends of a lasting watch.
pub(super) fn watcher() -> (WatcherSender, Watcher) {
    let (sender, notices) = mpsc::channel(NOTICES_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    (
        WatcherSender {
            notices: sender,
            overflowed: Arc::clone(&overflowed),
        },
        Watcher {
            notices,
            overflowed,
        },
    )
}

impl WatcherSender {
    fn tell(&self, notice: Notice) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.notices.try_send(notice) {
            self.overflowed.store(true, Ordering::Relaxed);
        }
    }

    fn is_closed(&self) -> bool {
        self.notices.is_closed()
    }
}

/// Whom a single change is told.
pub(super) type Once = oneshot::Sender<Result<WatchEvent, Error>>;

/// A watch to be kept once its request has succeeded.
#[derive(Debug)]
pub(super) enum Wish {
    Data(Once),
    /// Becomes a data watch where the node is there, and else waits for it.
    Exists(Once),
    Children(Once),
    Lasting(AddWatchMode, WatcherSender),
}

type Onces = BTreeMap<String, Vec<Once>>;
type Lasting = BTreeMap<String, Vec<WatcherSender>>;

/// Everybody who waits, by the server's paths.
#[derive(Debug, Default)]
pub(super) struct WatchTable {
    data: Onces,
    exist: Onces,
    children: Onces,
    persistent: Lasting,
    recursive: Lasting,
}

impl WatchTable {
    /// Keeps a watch. `is_there` says whether the node exists.
    pub(super) fn keep(&mut self, path: String, wish: Wish, is_there: bool) {
        let (onces, once) = match wish {
            Wish::Data(once) => (&mut self.data, once),
            Wish::Exists(once) if is_there => (&mut self.data, once),
            Wish::Exists(once) => (&mut self.exist, once),
            Wish::Children(once) => (&mut self.children, once),
            Wish::Lasting(mode, sender) => {
                let lasting = match mode {
                    AddWatchMode::Persistent => &mut self.persistent,
                    AddWatchMode::PersistentRecursive => &mut self.recursive,
                };
                lasting.entry(path).or_default().push(sender);
                return;
            }
        };
        let waiting = onces.entry(path).or_default();
        // Who looks at the same node again and again, and waits for something else meanwhile, leaves these behind.
        waiting.retain(|once| !once.is_closed());
        waiting.push(once);
    }

    /// Tells everybody whom an event concerns.
    pub(super) fn fire(&mut self, event: &WatcherEvent, zxid: Zxid, chroot: &Chroot) {
        let path = event.path.as_str();
        let (kind, onces): (_, Vec<&mut Onces>) = match event.kind {
            1 => (
                EventType::NodeCreated,
                vec![&mut self.data, &mut self.exist],
            ),
            2 => (
                EventType::NodeDeleted,
                vec![&mut self.data, &mut self.exist, &mut self.children],
            ),
            3 => (
                EventType::NodeDataChanged,
                vec![&mut self.data, &mut self.exist],
            ),
            4 => (EventType::NodeChildrenChanged, vec![&mut self.children]),
            // A server newer than this client, or not one at all: nobody waits for it.
            _ => return,
        };
        let told = WatchEvent {
            kind,
            path: chroot.strip(path),
            zxid,
        };
        for once in onces.into_iter().filter_map(|onces| onces.remove(path)) {
            for once in once {
                // Who no longer waits need not be told.
                drop(once.send(Ok(told.clone())));
            }
        }
        let notice = Notice::Event(told);
        tell(&mut self.persistent, path, &notice);
        // Those of a subtree hear of its nodes, not of lists of children.
        if kind != EventType::NodeChildrenChanged {
            for ancestor in ancestors(path) {
                tell(&mut self.recursive, ancestor, &notice);
            }
        }
    }

    /// Tells everybody with a lasting watch that something may have happened meanwhile.
    pub(super) fn tell_missed(&self) {
        for sender in self
            .persistent
            .values()
            .chain(self.recursive.values())
            .flatten()
        {
            sender.tell(Notice::Missed);
        }
    }

    /// Tells everybody who waits that nothing more will come.
    pub(super) fn end(&mut self, error: &Error) {
        let table = std::mem::take(self);
        for once in [table.data, table.exist, table.children]
            .into_iter()
            .flat_map(BTreeMap::into_values)
            .flatten()
        {
            drop(once.send(Err(error.clone())));
        }
    }

    /// The requests that register all watches on a new connection.
    pub(super) fn register(&mut self, seen: Zxid) -> Vec<Request> {
        self.prune();
        let kinds: [Vec<&String>; 5] = [
            self.data.keys().collect(),
            self.exist.keys().collect(),
            self.children.keys().collect(),
            self.persistent.keys().collect(),
            self.recursive.keys().collect(),
        ];
        let mut requests = Vec::new();
        let mut batch: [Vec<Option<Text>>; 5] = Default::default();
        let mut bytes = 0;
        for (kind, paths) in kinds.into_iter().enumerate() {
            for path in paths {
                bytes += path.len();
                batch[kind].push(Some(path.as_str().into()));
                if bytes >= SET_WATCHES_BYTES_MAX {
                    requests.push(set_watches(std::mem::take(&mut batch), seen));
                    bytes = 0;
                }
            }
        }
        if batch.iter().any(|paths| !paths.is_empty()) {
            requests.push(set_watches(batch, seen));
        }
        requests
    }

    fn prune(&mut self) {
        for onces in [&mut self.data, &mut self.exist, &mut self.children] {
            onces.retain(|_, waiting| {
                waiting.retain(|once| !once.is_closed());
                !waiting.is_empty()
            });
        }
        for lasting in [&mut self.persistent, &mut self.recursive] {
            lasting.retain(|_, senders| {
                senders.retain(|sender| !sender.is_closed());
                !senders.is_empty()
            });
        }
    }
}

fn tell(lasting: &mut Lasting, path: &str, notice: &Notice) {
    let Some(senders) = lasting.get_mut(path) else {
        return;
    };
    senders.retain(|sender| !sender.is_closed());
    for sender in senders.iter() {
        sender.tell(notice.clone());
    }
    if senders.is_empty() {
        lasting.remove(path);
    }
}

/// A path and all above it, the root last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let path = next?;
        next = match path.rfind('/') {
            _ if path == "/" => None,
            Some(0) => Some("/"),
            Some(at) => Some(&path[..at]),
            None => None,
        };
        Some(path)
    })
}

/// As old servers know it where that will do.
fn set_watches(batch: [Vec<Option<Text>>; 5], seen: Zxid) -> Request {
    let [data, exist, children, persistent, recursive] = batch;
    let standard = SetWatches {
        relative_zxid: seen,
        data_watches: Some(data),
        exist_watches: Some(exist),
        child_watches: Some(children),
    };
    if persistent.is_empty() && recursive.is_empty() {
        return Request::SetWatches(standard);
    }
    Request::SetWatches2(SetWatches2 {
        standard,
        persistent_watches: Some(persistent),
        persistent_recursive_watches: Some(recursive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once() -> (Once, oneshot::Receiver<Result<WatchEvent, Error>>) {
        oneshot::channel()
    }

    fn fire(table: &mut WatchTable, kind: i32, path: &str) {
        let event = WatcherEvent {
            kind,
            state: WatcherEvent::SYNC_CONNECTED,
            path: path.into(),
        };
        table.fire(&event, Zxid(9), &Chroot::default());
    }

    fn next(watcher: &mut Watcher) -> Option<Notice> {
        watcher.notices.try_recv().ok()
    }

    #[test]
    fn each_kind_of_watch_hears_what_it_is_for() {
        // Kind of event; whether a data, an exists (node there, not there) and a child watch hear of it.
        for (kind, heard) in [
            (1, [true, true, true, false]),
            (2, [true, true, true, true]),
            (3, [true, true, true, false]),
            (4, [false, false, false, true]),
            (7, [false; 4]),
        ] {
            let mut table = WatchTable::default();
            let mut receivers = Vec::new();
            let wishes: [fn(Once) -> Wish; 4] =
                [Wish::Data, Wish::Exists, Wish::Exists, Wish::Children];
            for (at, wish) in wishes.into_iter().enumerate() {
                let (sender, receiver) = once();
                table.keep("/a".into(), wish(sender), at != 2);
                receivers.push(receiver);
            }
            fire(&mut table, kind, "/a");
            let told: Vec<bool> = receivers.iter_mut().map(|r| r.try_recv().is_ok()).collect();
            assert_eq!(told, heard, "kind {kind}");
            assert!(table.register(Zxid(1)).len() <= 1);
        }
    }

    #[test]
    fn a_single_watch_fires_once_and_for_everybody() {
        let mut table = WatchTable::default();
        let ((first, mut one), (second, mut two)) = (once(), once());
        table.keep("/a".into(), Wish::Data(first), true);
        table.keep("/a".into(), Wish::Data(second), true);
        fire(&mut table, 3, "/a");
        for receiver in [&mut one, &mut two] {
            let event = receiver.try_recv().unwrap().unwrap();
            assert_eq!(
                (event.kind, event.path.as_str(), event.zxid),
                (EventType::NodeDataChanged, "/a", Zxid(9))
            );
        }
        assert!(table.register(Zxid(1)).is_empty());
    }

    #[test]
    fn lasting_watches_stay_and_recursive_ones_cover_the_subtree() {
        let mut table = WatchTable::default();
        let (sender, mut own) = watcher();
        table.keep(
            "/a".into(),
            Wish::Lasting(AddWatchMode::Persistent, sender),
            true,
        );
        let (sender, mut tree) = watcher();
        table.keep(
            "/".into(),
            Wish::Lasting(AddWatchMode::PersistentRecursive, sender),
            true,
        );
        for (kind, path) in [(3, "/a"), (4, "/a"), (1, "/a/b"), (2, "/ab")] {
            fire(&mut table, kind, path);
        }
        let paths = |watcher: &mut Watcher| {
            let mut paths = Vec::new();
            while let Some(Notice::Event(event)) = next(watcher) {
                paths.push((event.kind as i32, event.path));
            }
            paths
        };
        assert_eq!(paths(&mut own), [(3, "/a".into()), (4, "/a".into())]);
        assert_eq!(
            paths(&mut tree),
            [(3, "/a".into()), (1, "/a/b".into()), (2, "/ab".into())]
        );
        assert_eq!(table.register(Zxid(1)).len(), 1);
        drop((own, tree));
        assert!(
            table.register(Zxid(1)).is_empty(),
            "nobody is there any more"
        );
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_that_it_has_missed_something() {
        let mut table = WatchTable::default();
        let (sender, mut watcher) = watcher();
        table.keep(
            "/a".into(),
            Wish::Lasting(AddWatchMode::Persistent, sender),
            true,
        );
        for _ in 0..NOTICES_MAX + 5 {
            fire(&mut table, 3, "/a");
        }
        for _ in 0..NOTICES_MAX {
            assert!(matches!(watcher.next().await, Some(Notice::Event(_))));
        }
        assert_eq!(watcher.next().await, Some(Notice::Missed));
        fire(&mut table, 3, "/a");
        assert!(matches!(watcher.next().await, Some(Notice::Event(_))));
        drop(table);
        assert_eq!(watcher.next().await, None);
    }

    #[test]
    fn many_watches_are_registered_in_several_requests() {
        let mut table = WatchTable::default();
        let mut kept = Vec::new();
        for number in 0..40 {
            let (sender, receiver) = once();
            let path = format!("/{number}{}", "x".repeat(10_000));
            table.keep(path, Wish::Data(sender), true);
            kept.push(receiver);
        }
        let requests = table.register(Zxid(5));
        let mut count = 0;
        for request in &requests {
            let Request::SetWatches(watches) = request else {
                panic!("{request:?}");
            };
            assert_eq!(watches.relative_zxid, Zxid(5));
            count += watches.data_watches.as_ref().map_or(0, Vec::len);
        }
        assert_eq!((requests.len(), count), (3, 40));
    }

    #[test]
    fn ancestors_end_at_the_root() {
        let all: Vec<_> = ancestors("/a/b").collect();
        assert_eq!(all, ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), ["/"]);
    }
}
