//! The election port as the rest of the server sees it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute_codec::frame::PREFIX_BYTES;
use jute_codec::quorum::notification::FRAME_BYTES_MAX;
use jute_codec::quorum::{InitialMessage, Notification, PeerAddress};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::call;
use super::link;
use super::params::ElectionParams;
use super::table::{Addresses, Ends, Plan, Table};
use crate::net::gate::Gate;
use crate::net::listen;
use crate::replica::ensemble::ServerId;

/// What is done with a message from a server. It must not wait; if messages come faster than they can be looked at, the
/// gate is there to be closed.
pub type OnMessage = Arc<dyn Fn(ServerId, Notification) + Send + Sync>;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// How long binding rests between two attempts.
const BIND_REST: Duration = Duration::from_secs(1);

/// How long a stop waits for the listeners to be closed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The election port, and the connections of all servers' election ports with this one. Dropping it closes all.
#[derive(Debug)]
pub struct ElectionNet {
    shared: Arc<Shared>,
    listeners: Vec<AbortHandle>,
    local_addrs: Vec<SocketAddr>,
    // Disconnected when the last listener is closed.
    closed: mpsc::Receiver<()>,
}

/// What all tasks share.
pub(super) struct Shared {
    pub(super) params: ElectionParams,
    pub(super) initial_message: Vec<u8>,
    pub(super) on_message: OnMessage,
    pub(super) gate: Arc<Gate>,
    handle: Handle,
    table: Mutex<Guarded>,
}

#[derive(Debug)]
struct Guarded {
    table: Table,
    stopped: bool,
}

impl ElectionNet {
    /// Listens, and runs everything on `handle`'s runtime. Blocks while names are looked up and, if the port cannot be
    /// bound, for a second between attempts.
    ///
    /// # Errors
    /// When the port cannot be bound with all attempts made, or an address is too long to be told to others.
    pub fn start(
        mut params: ElectionParams,
        handle: &Handle,
        gate: Arc<Gate>,
        on_message: OnMessage,
    ) -> io::Result<Self> {
        let bound = bind(&params)?;
        let local_addrs = bound
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        for (address, local) in params.addresses.iter_mut().zip(&local_addrs) {
            if address.port == 0 {
                address.port = local.port();
            }
        }
        let shared = Arc::new(Shared {
            initial_message: initial_message(&params)?,
            table: Mutex::new(Guarded {
                table: Table::new(params.strangers_max),
                stopped: false,
            }),
            params,
            on_message,
            gate,
            handle: handle.clone(),
        });
        let (closing, closed) = mpsc::channel();
        let mut net = Self {
            shared,
            listeners: Vec::new(),
            local_addrs,
            closed,
        };
        let _inside = handle.enter();
        for listener in bound {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (shared, closing) = (Arc::clone(&net.shared), closing.clone());
            let accepting = handle.spawn(async move {
                let unfinished_max = shared.params.unfinished_max;
                let greet = |stream, caller| call::greet(stream, caller, &shared);
                listen::accept(listener, unfinished_max, greet).await;
                drop(closing);
            });
            net.listeners.push(accepting.abort_handle());
        }
        info!(sid = %net.shared.params.me, addresses = ?net.local_addrs, "election port is open");
        Ok(net)
    }

    /// Sets where the servers are: by the membership in force, and by the newest proposed one. Connections stay.
    pub fn set_members(&self, committed: Addresses, proposed: Addresses) {
        self.shared.table().set_members(committed, proposed);
    }

    /// Sends a message to another server, in place of one that still waits, and calls that server if it is not
    /// connected. A message to a server that is in no membership and not connected is dropped.
    pub fn send(&self, to: ServerId, notification: &Notification) {
        let mut frame = Vec::new();
        notification.write_frame(&mut frame);
        if to == self.shared.params.me || frame.len() > PREFIX_BYTES + FRAME_BYTES_MAX {
            warn!(sid = %to, bytes = frame.len(), "a notification cannot be sent");
            return;
        }
        let mut table = self.shared.table();
        table.queue(to, Bytes::from(frame));
        let plan = table.begin_call(to);
        drop(table);
        self.shared.follow(to, plan);
    }

    /// Calls all members that are not connected.
    pub fn connect_all(&self) {
        let members = self.shared.table().members();
        for server in members {
            if server != self.shared.params.me {
                let plan = self.shared.table().begin_call(server);
                self.shared.follow(server, plan);
            }
        }
    }

    /// Whether the messages for at least one server have been taken by a connection to it.
    ///
    /// ZooKeeper: `QuorumCnxManager.haveDelivered`.
    #[must_use]
    pub fn has_delivered(&self) -> bool {
        self.shared.table().has_delivered()
    }

    /// The servers that are connected, and how.
    #[must_use]
    pub fn connected(&self) -> BTreeMap<ServerId, Ends> {
        self.shared.table().connected()
    }

    /// The addresses listened on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Closes the port and all connections. Waits until the port is free, so it must not be called on the runtime.
    pub fn stop(self) {
        self.abort();
        if self.closed.recv_timeout(STOP_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            warn!("the election port is still being closed");
        }
    }

    fn abort(&self) {
        self.listeners.iter().for_each(AbortHandle::abort);
        let mut guarded = self.shared.lock();
        guarded.stopped = true;
        guarded.table.clear();
    }
}

impl Drop for ElectionNet {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Shared {
    // Nothing under this lock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn table(&self) -> impl std::ops::DerefMut<Target = Table> {
        TableGuard(self.lock())
    }

    /// Makes a call that has begun.
    pub(super) fn follow(self: &Arc<Self>, to: ServerId, plan: Option<Plan>) {
        if let Some(plan) = plan {
            self.handle.spawn(call::call(to, plan, Arc::clone(self)));
        }
    }

    /// Makes a connection the one with `server`.
    ///
    /// # Errors
    /// When there is no room for one more, or the connection is gone already.
    pub(super) fn attach(
        self: &Arc<Self>,
        server: ServerId,
        stream: TcpStream,
        inbound: BytesMut,
    ) -> io::Result<()> {
        let ends = Ends {
            local: stream.local_addr()?,
            remote: stream.peer_addr()?,
        };
        let mut guarded = self.lock();
        if guarded.stopped {
            return Ok(());
        }
        let attached = guarded.table.attach(server, ends, |link, wake| {
            let running = link::run(stream, inbound, server, link, wake, Arc::clone(self));
            self.handle.spawn(running).abort_handle()
        });
        drop(guarded);
        if attached {
            debug!(sid = %server, ?ends, "an election connection is there");
            return Ok(());
        }
        let why = "too many servers that are in no membership";
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, why))
    }
}

struct TableGuard<'a>(MutexGuard<'a, Guarded>);

impl std::ops::Deref for TableGuard<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0.table
    }
}

impl std::ops::DerefMut for TableGuard<'_> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.0.table
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

fn bind(params: &ElectionParams) -> io::Result<Vec<TcpListener>> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match listen::bind_hosts(&params.addresses, params.listen_everywhere, BACKLOG) {
            Ok(bound) => return Ok(bound),
            Err(error) if attempt == params.bind_attempts => return Err(error),
            Err(error) => {
                warn!(%error, attempt, "the election port cannot be bound; trying again");
                std::thread::sleep(BIND_REST);
            }
        }
    }
}

/// What this server says first when it calls.
fn initial_message(params: &ElectionParams) -> io::Result<Vec<u8>> {
    let told = match params.multi_address {
        true => params.addresses.len(),
        false => 1,
    };
    let addresses = params
        .addresses
        .iter()
        .take(told)
        .map(|address| PeerAddress {
            host: address.host.clone(),
            port: address.port,
        });
    let initial = InitialMessage {
        server: params.me.0,
        addresses: addresses.collect(),
    };
    let mut message = Vec::new();
    initial.write(&mut message);
    match InitialMessage::missing(&message) {
        Ok(_) => Ok(message),
        Err(error) => {
            let why = format!("this server's election addresses: {error}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}
