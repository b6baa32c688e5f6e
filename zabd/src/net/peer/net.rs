//! The quorum port as the rest of the server sees it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use jute_codec::quorum::{LeaderPacket, LearnerPacket};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::bulk::{BulkSink, BulkSource, Guarded};
use super::inbound::{Inbound, Other};
use super::link::{Link, LinkFigures};
use super::outbox::Item;
use super::params::PeerParams;
use super::{listening, outbound};
use crate::net::dial;
use crate::net::gate::Gate;
use crate::replica::ensemble::HostPort;
use crate::replica::zab::{LinkId, ZabInput};

/// What is done with what happens; it takes all that came together. It must not wait; if packets come faster than they
/// can be looked at, the gate is there to be closed.
pub type OnInputs = Arc<dyn Fn(&mut Vec<ZabInput>) + Send + Sync>;

/// Connections that are accepted are numbered from zero; those to leaders must be asked for with numbers from here on.
pub const OWN_FROM: u64 = 1 << 63;

/// How long to rest before a leader's address is tried a second time; then twice as long, and so on.
const FIRST_REST: Duration = Duration::from_millis(5);

/// How long a stop waits for the listeners to be closed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The quorum port, and all connections of it and with those of others. Dropping it closes all.
#[derive(Debug)]
pub struct PeerNet {
    shared: Arc<Shared>,
    // Disconnected when nobody listens any more.
    closed: mpsc::Receiver<()>,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) params: PeerParams,
    pub(super) gate: Arc<Gate>,
    on_inputs: OnInputs,
    handle: Handle,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    links: BTreeMap<LinkId, Entry>,
    accepted: u64,
    listening: Option<AbortHandle>,
    local_addrs: Vec<SocketAddr>,
    /// Where learners are to find this server.
    addresses: Vec<HostPort>,
    // Cloned into whoever listens; none any more after the stop.
    closing: Option<mpsc::Sender<()>>,
}

struct Entry {
    link: Arc<Link>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerNet {
    /// Neither listens nor connects yet. Everything is run on `handle`'s runtime; what makes and takes bulk, on its
    /// threads for what blocks.
    #[must_use]
    pub fn new(params: PeerParams, handle: &Handle, gate: Arc<Gate>, on_inputs: OnInputs) -> Self {
        let (closing, closed) = mpsc::channel();
        let table = Table {
            closing: Some(closing),
            addresses: params.addresses.clone(),
            ..Table::default()
        };
        let shared = Arc::new(Shared {
            params,
            gate,
            on_inputs,
            handle: handle.clone(),
            table: Mutex::new(table),
        });
        Self { shared, closed }
    }

    /// Listens for learners, or stops that. If the port cannot be bound it is tried again until it can. Connections
    /// stay.
    pub fn listen(&self, on: bool) {
        let mut table = self.shared.table();
        if !on {
            if let Some(listening) = table.listening.take() {
                listening.abort();
                table.local_addrs.clear();
            }
        } else if table.listening.is_none()
            && let Some(closing) = table.closing.clone()
        {
            let shared = Arc::clone(&self.shared);
            let listening = self.shared.handle.spawn(listening::run(shared, closing));
            table.listening = Some(listening.abort_handle());
        }
    }

    /// Where learners are to find this server, from now on; if it listens, there. Connections stay.
    pub fn set_addresses(&self, addresses: Vec<HostPort>) {
        let mut table = self.shared.table();
        let is_listening = table.listening.is_some();
        table.addresses = addresses;
        drop(table);
        if is_listening {
            self.listen(false);
            self.listen(true);
        }
    }

    /// Connects to a leader, who may be at several addresses. What comes of it is told as
    /// [`ZabInput::LinkUp`] or [`ZabInput::LinkDown`]. What is sent meanwhile waits.
    ///
    /// ZooKeeper: `Learner.connectToLeader`.
    pub fn connect(&self, link: LinkId, leader: Vec<HostPort>) {
        let shared = Arc::clone(&self.shared);
        self.shared.start(link, |link| async move {
            match dialled(leader, &shared.params).await {
                Err(error) => shared.ended(&link, &error),
                Ok(stream) => {
                    if let Ok(remote) = stream.peer_addr() {
                        link.remote.get_or_init(|| remote);
                    }
                    let (reader, writer) = stream.into_split();
                    let inbound = Inbound::new(reader, shared.params.data_bytes_max);
                    shared.tell(&link, &mut vec![ZabInput::LinkUp { link: link.id }]);
                    run(link, Other::Leader, inbound, writer, &shared).await;
                }
            }
        });
    }

    /// Sends a packet to a learner. If too many wait already, its connection is closed.
    pub fn send_to_learner(&self, link: LinkId, packet: LeaderPacket) {
        self.send(link, Item::ToLearner(packet));
    }

    /// Sends a packet to the leader. If too many wait already, the connection is closed.
    pub fn send_to_leader(&self, link: LinkId, packet: LearnerPacket) {
        self.send(link, Item::ToLeader(packet));
    }

    /// Sends bulk: it is made when everything before it was sent, and what is sent later follows it. If it fails the
    /// connection is closed.
    pub fn send_bulk(&self, link: LinkId, source: Box<dyn BulkSource>) {
        self.send(link, Item::Bulk(source));
    }

    /// Queues a packet for a learner, to be sent together with others by [`Unsent::flush`]. If too many wait already, its
    /// connection is closed.
    pub fn queue_to_learner(&self, link: LinkId, packet: LeaderPacket, unsent: &mut Unsent) {
        self.queue(link, Item::ToLearner(packet), unsent);
    }

    /// The same for the leader.
    pub fn queue_to_leader(&self, link: LinkId, packet: LearnerPacket, unsent: &mut Unsent) {
        self.queue(link, Item::ToLeader(packet), unsent);
    }

    /// Gives what takes the bulk that follows a SNAP, which has come or is about to. Nothing behind the SNAP is looked
    /// at before. If the connection ends before the bulk does, or is gone, the sink is told to abort.
    pub fn receive_snapshot(&self, link: LinkId, sink: Box<dyn BulkSink>) {
        let sink = Guarded::new(sink);
        if let Some(link) = self.shared.link(link) {
            link.give_sink(sink);
        }
    }

    /// Sets how long a connection may be silent from now on, in milliseconds; 0 is for ever. A connection is not silent while it
    /// takes bulk, and not listened to while the gate is closed or bulk from it is being taken.
    pub fn set_read_timeout(&self, link: LinkId, timeout_ms: u64) {
        if let Some(link) = self.shared.link(link) {
            link.set_read_timeout_ms(timeout_ms);
        }
    }

    /// Closes a connection at once, whatever still waits to be sent; nothing more is told of it.
    pub fn close(&self, link: LinkId) {
        let entry = self.shared.table().links.remove(&link);
        if let Some(entry) = entry {
            entry.link.close();
        }
    }

    /// How a connection is doing; `None` if there is none with this number.
    #[must_use]
    pub fn figures(&self, link: LinkId) -> Option<LinkFigures> {
        self.shared.link(link).map(|link| link.figures())
    }

    /// The addresses listened on; none while the port is not bound.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.table().local_addrs.clone()
    }

    /// Closes everything, and tells nothing of it. Waits until the port is free, so it must not be called on the
    /// runtime.
    pub fn stop(self) {
        self.abort();
        if self.closed.recv_timeout(STOP_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            warn!("the quorum port is still being closed");
        }
    }

    fn abort(&self) {
        self.listen(false);
        let mut table = self.shared.table();
        table.closing = None;
        let links = std::mem::take(&mut table.links);
        drop(table);
        for entry in links.values() {
            entry.link.close();
        }
    }

    fn send(&self, link: LinkId, item: Item) {
        let mut unsent = Unsent::default();
        self.queue(link, item, &mut unsent);
        unsent.flush();
    }

    fn queue(&self, id: LinkId, item: Item, unsent: &mut Unsent) {
        if let Some(link) = unsent.0.iter().find(|link| link.id == id) {
            link.push(item);
        } else if let Some(link) = self.shared.link(id) {
            link.push(item);
            unsent.0.push(link);
        }
    }
}

/// Connections on which something is queued.
#[derive(Default)]
pub struct Unsent(Vec<Arc<Link>>);

impl Unsent {
    /// Sends what is queued. Never waits: what a socket does not take at once its own task sends.
    pub fn flush(&mut self) {
        for link in self.0.drain(..) {
            link.flush();
        }
    }
}

impl std::fmt::Debug for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|link| link.id))
            .finish()
    }
}

impl Drop for PeerNet {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Shared {
    // Nothing under this lock panics half-way through a change.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to listen.
    pub(super) fn addresses(&self) -> Vec<HostPort> {
        self.table().addresses.clone()
    }

    fn link(&self, link: LinkId) -> Option<Arc<Link>> {
        Some(Arc::clone(&self.table().links.get(&link)?.link))
    }

    /// Makes a connection known, and starts its task.
    fn start<T: Future<Output = ()> + Send + 'static>(
        &self,
        id: LinkId,
        task: impl FnOnce(Arc<Link>) -> T,
    ) {
        let mut table = self.table();
        if table.closing.is_none() {
            return;
        }
        let link = Arc::new(Link::new(id, &self.params));
        let task = self.handle.spawn(task(Arc::clone(&link))).abort_handle();
        let before = table.links.insert(id, Entry { link, task });
        debug_assert!(before.is_none(), "numbers are never used twice");
    }

    /// Takes over a learner's connection.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn accepted(
        self: &Arc<Self>,
        caller: SocketAddr,
        first: LearnerPacket,
        inbound: Inbound,
        writer: OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut table = self.table();
        let learners = table.links.range(..LinkId(OWN_FROM)).count();
        if learners >= self.params.learners_max {
            let why = "there are too many learners";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        let id = LinkId(table.accepted);
        table.accepted += 1;
        drop(table);
        let shared = Arc::clone(self);
        self.start(id, |link| async move {
            info!(link = id.0, %caller, "a learner has connected");
            link.remote.get_or_init(|| caller);
            let first = ZabInput::FromLearner {
                link: id,
                packet: first,
            };
            shared.tell(&link, &mut vec![ZabInput::LinkUp { link: id }, first]);
            shared.gate.passed().await;
            run(link, Other::Learner, inbound, writer, &shared).await;
        });
        Ok(())
    }

    /// Tells what happened on a connection, unless it was closed.
    pub(super) fn tell(&self, link: &Link, inputs: &mut Vec<ZabInput>) {
        if !link.is_closed() {
            (self.on_inputs)(inputs);
        }
        inputs.clear();
    }

    /// A connection is over, or could not be made.
    fn ended(&self, link: &Link, why: &io::Error) {
        let entry = self.table().links.remove(&link.id);
        if entry.is_some() {
            warn!(link = link.id.0, remote = ?link.remote.get(), error = %why, "a connection to a server has ended");
            self.tell(link, &mut vec![ZabInput::LinkDown { link: link.id }]);
            link.close();
        }
    }

    pub(super) fn set_local_addrs(&self, addresses: Vec<SocketAddr>) {
        self.table().local_addrs = addresses;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// Runs a connection until it ends.
async fn run(
    link: Arc<Link>,
    other: Other,
    inbound: Inbound,
    writer: OwnedWriteHalf,
    shared: &Shared,
) {
    let why = tokio::select! {
        why = inbound.receive(other, &link, shared) => why,
        why = outbound::send(writer, Arc::clone(&link)) => why,
        why = link.overflowed() => why,
    };
    shared.ended(&link, &why);
}

/// Connects to the first of the leader's addresses that answers. It may not listen yet, so each is tried some times. It
/// mostly does a few milliseconds later, with everybody waiting for it, so the first rests are short.
async fn dialled(leader: Vec<HostPort>, params: &PeerParams) -> io::Result<TcpStream> {
    let (attempts, rest, budget) = (
        params.connect_attempts,
        params.connect_rest,
        params.connect_budget,
    );
    let addresses = leader.into_iter().map(move |host| async move {
        let (mut attempt, mut short) = (1, FIRST_REST);
        loop {
            match dial::connect(host.clone(), budget).await {
                Err(_) if short < rest => {
                    tokio::time::sleep(short).await;
                    short *= 2;
                }
                Err(_) if attempt < attempts => {
                    attempt += 1;
                    tokio::time::sleep(rest).await;
                }
                outcome => return outcome,
            }
        }
    });
    let stream = tokio::time::timeout(budget, dial::first_of(addresses, Duration::ZERO))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    dial::prepare(&stream, params.keep_alive)?;
    Ok(stream)
}
