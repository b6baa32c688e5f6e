//! Listeners, threads and connections together.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle as Task;
use tracing::{error, info, warn};

use super::ClientContext;
use super::link::Ending;
use super::listener::{self, ListenAddr, ListenerInfo, Target};
use super::worker::{Hub, Worker};
use crate::net::listen::{BindError, bind};
use crate::net::throttle::{BlueThrottle, HandshakeKind};

/// How often silent connections are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What connections have in common besides the context.
pub(super) struct Shared {
    pub(super) ctx: ClientContext,
    /// All there ever were: connections know theirs by its place.
    listeners: RwLock<Vec<ListenerInfo>>,
    /// What large frames take, in bytes.
    pub(super) large_bytes: AtomicUsize,
    /// Connections that are closed but whose sockets linger.
    pub(super) lingering: AtomicUsize,
    throttle: Mutex<(BlueThrottle, u64)>,
}

impl Shared {
    fn new(ctx: ClientContext, listeners: Vec<ListenerInfo>) -> Self {
        let throttle = BlueThrottle::new(ctx.params.connection_throttle, ctx.clock.now_ms());
        // Chance for early drops only: the process' hash seed will do.
        let seed = std::hash::BuildHasher::hash_one(&RandomState::default(), 0) | 1;
        Self {
            ctx,
            listeners: RwLock::new(listeners),
            large_bytes: AtomicUsize::new(0),
            lingering: AtomicUsize::new(0),
            throttle: Mutex::new((throttle, seed)),
        }
    }

    // Nothing under this lock panics half-way through a change.
    fn throttle(&self) -> MutexGuard<'_, (BlueThrottle, u64)> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listener of that place.
    pub(super) fn listener(&self, index: usize) -> ListenerInfo {
        self.listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner)[index]
    }

    /// Whether a handshake may go on.
    pub(super) fn admit(&self, kind: HandshakeKind, now_ms: i64) -> bool {
        let mut guard = self.throttle();
        let (throttle, random) = &mut *guard;
        // xorshift64.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let chance = (*random >> 11) as f64 / (1u64 << 53) as f64;
        let admitted = throttle.admit(kind, now_ms, chance);
        let stats = &self.ctx.stats;
        stats.token_deficit.record(throttle.deficit(), 1);
        stats.set_connection_drop_probability(throttle.drop_probability());
        admitted
    }

    fn end_silent(&self) {
        let now_ms = self.ctx.clock.now_ms();
        self.ctx.connections.for_each(|link| {
            if link.idle_deadline_ms() <= now_ms {
                link.end(Ending::Silent);
            }
        });
        self.ctx.connections.wake();
    }
}

/// Has clients come to other addresses.
#[derive(Debug, Clone)]
pub struct Rebinder(mpsc::UnboundedSender<Vec<ListenAddr>>);

impl Rebinder {
    /// Listens on these addresses, and on none of those before. Connections stay. An address that cannot be listened on is
    /// tried again until it can.
    ///
    /// ZooKeeper: `ServerCnxnFactory.reconfigure`.
    pub fn rebind(&self, listeners: Vec<ListenAddr>) {
        if self.0.send(listeners).is_err() {
            warn!("clients are not served any more, at no address");
        }
    }
}

/// Serves clients until it is stopped or dropped.
#[derive(Debug)]
pub struct ServeHandle {
    local_addrs: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    rebinder: Rebinder,
    acceptor: Option<JoinHandle<()>>,
}

impl ServeHandle {
    /// The addresses listened on, in the order asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// To change the addresses.
    #[must_use]
    pub fn rebinder(&self) -> Rebinder {
        self.rebinder.clone()
    }

    /// Stops accepting, closes all connections once they have what they were told, and waits for that a few seconds
    /// at the most.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        // Nobody listens any more if the threads have ended by themselves, and that is fine.
        self.stop.send_replace(true);
        if let Some(acceptor) = self.acceptor.take()
            && acceptor.join().is_err()
        {
            error!("the thread that accepts connections panicked");
        }
    }
}

impl Drop for ServeHandle {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// Listens on all of `listeners` and serves clients on `threads` threads; 0 is one for each core.
///
/// # Errors
/// When an address cannot be listened on, or threads or runtimes cannot be made.
pub fn serve(
    listeners: &[ListenAddr],
    ctx: ClientContext,
    threads: usize,
) -> Result<ServeHandle, ServeError> {
    let backlog = ctx.params.listen_backlog;
    let bound = listeners
        .iter()
        .map(|listen| bind(listen.addr, backlog))
        .collect::<Result<Vec<_>, _>>()?;
    let local_addrs = bound
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<Vec<_>>>()?;
    let infos = local_addrs
        .iter()
        .enumerate()
        .map(|(index, &local_addr)| ListenerInfo { index, local_addr })
        .collect();
    let shared = Arc::new(Shared::new(ctx, infos));
    let (stop, stopped) = watch::channel(false);
    let (rebind, rebinds) = mpsc::unbounded_channel();
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let workers = (0..threads)
        .map(|number| {
            let hub = Arc::new(Hub::default());
            shared.ctx.connections.add_hub(Arc::clone(&hub));
            Worker::spawn(number, hub, Arc::clone(&shared), stopped.clone())
        })
        .collect::<io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let acceptor = std::thread::Builder::new()
        .name("client-accept".to_owned())
        .spawn(move || {
            if let Err(error) =
                runtime.block_on(accept_all(bound, &shared, &workers, stopped, rebinds))
            {
                error!(%error, "accepting connections is not possible");
            }
            // Listeners are closed with their runtime, so no connection comes in behind this.
            drop(runtime);
            shared.ctx.connections.close_all();
            workers.into_iter().for_each(Worker::join);
        })?;
    Ok(ServeHandle {
        local_addrs,
        stop,
        rebinder: Rebinder(rebind),
        acceptor: Some(acceptor),
    })
}

async fn accept_all(
    listeners: Vec<TcpListener>,
    shared: &Arc<Shared>,
    workers: &[Worker],
    mut stopped: watch::Receiver<bool>,
    mut rebinds: mpsc::UnboundedReceiver<Vec<ListenAddr>>,
) -> io::Result<()> {
    let targets: Arc<[Target]> = workers
        .iter()
        .map(|worker| Target {
            hub: Arc::clone(&worker.hub),
            sender: worker.sender.clone(),
        })
        .collect();
    let mut accepting = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        accepting.push(accept_at(listener, index, shared, &targets)?);
    }
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut wanted = None;
    loop {
        tokio::select! {
            _ = sweep.tick() => shared.end_silent(),
            Some(listeners) = rebinds.recv() => {
                for task in accepting.drain(..) {
                    task.abort();
                    // The port is free once the task is gone.
                    drop(task.await);
                }
                wanted = Some(listeners);
            }
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
        if let Some(listeners) = wanted.take_if(|_| accepting.is_empty()) {
            match bind_again(&listeners, shared, &targets) {
                Ok(tasks) => accepting = tasks,
                Err(error) => {
                    let problem = error.to_string();
                    warn!(problem, "clients cannot connect; trying again");
                    wanted = Some(listeners);
                }
            }
        }
    }
}

fn bind_again(
    listeners: &[ListenAddr],
    shared: &Arc<Shared>,
    targets: &Arc<[Target]>,
) -> Result<Vec<Task<()>>, ServeError> {
    let mut bound = Vec::new();
    for listen in listeners {
        bound.push(bind(listen.addr, shared.ctx.params.listen_backlog)?);
    }
    let mut tasks = Vec::new();
    for listener in bound {
        let local_addr = listener.local_addr()?;
        let mut infos = shared
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let index = infos.len();
        infos.push(ListenerInfo { index, local_addr });
        drop(infos);
        tasks.push(accept_at(listener, index, shared, targets)?);
        info!(address = %local_addr, "serving clients");
    }
    Ok(tasks)
}

fn accept_at(
    listener: TcpListener,
    index: usize,
    shared: &Arc<Shared>,
    targets: &Arc<[Target]>,
) -> io::Result<Task<()>> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (shared, targets) = (Arc::clone(shared), Arc::clone(targets));
    Ok(tokio::spawn(listener::accept(
        listener, index, shared, targets,
    )))
}

/// Why clients cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Threads or runtimes cannot be made.
    #[error("start threads for client connections")]
    Start(#[from] io::Error),
}
