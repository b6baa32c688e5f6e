//! The threads that connections live on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::link::Link;
use super::registered::Registered;
use super::serve::Shared;
use super::task;

/// How long connections may take to end when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// One thread's list of connections to wake. One wake-up of the thread serves them all.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listed: Mutex<Listed>,
    // Connections that wait for the request throttle; see `Hub::stall`.
    stalled: Mutex<Vec<Arc<Link>>>,
    // Connections of the thread, for handing out new ones.
    pub(super) load: AtomicUsize,
}

#[derive(Debug, Default)]
struct Listed {
    links: Vec<Arc<Link>>,
    // Of the task that wakes them; taken when it is woken.
    waker: Option<Waker>,
}

impl Hub {
    // Nothing under these locks panics half-way through a change.
    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stalled(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection is to be woken.
    pub(super) fn list(&self, link: Arc<Link>) {
        self.listed().links.push(link);
    }

    /// Wakes the thread if it has connections to wake.
    pub(super) fn wake(&self) {
        let mut listed = self.listed();
        if listed.links.is_empty() {
            return;
        }
        let waker = listed.waker.take();
        drop(listed);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Notes that a connection wants to look at the request throttle again.
    pub(super) fn stall(&self, link: Arc<Link>) {
        self.stalled().push(link);
    }

    /// Wakes connections from within the thread: cheaper for each than from outside.
    async fn dispatch(&self) {
        let mut links = Vec::new();
        std::future::poll_fn(|cx| {
            let mut listed = self.listed();
            listed.waker = Some(cx.waker().clone());
            std::mem::swap(&mut links, &mut listed.links);
            drop(listed);
            for link in links.drain(..) {
                link.wake();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    async fn retry_stalled(&self, every: Duration) {
        let mut interval = tokio::time::interval(every);
        loop {
            interval.tick().await;
            for link in std::mem::take(&mut *self.stalled()) {
                link.wake();
            }
        }
    }
}

/// A connection that was just accepted.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) connection: Registered,
}

/// One thread.
pub(super) struct Worker {
    pub(super) hub: Arc<Hub>,
    pub(super) sender: mpsc::UnboundedSender<Accepted>,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn spawn(
        number: usize,
        hub: Arc<Hub>,
        shared: Arc<Shared>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let task_hub = Arc::clone(&hub);
        let thread = std::thread::Builder::new()
            .name(format!("client-{number}"))
            .spawn(move || runtime.block_on(run(&task_hub, shared, receiver, stop)))?;
        Ok(Self {
            hub,
            sender,
            thread,
        })
    }

    pub(super) fn join(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("a thread for client connections panicked");
        }
    }
}

async fn run(
    hub: &Arc<Hub>,
    shared: Arc<Shared>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    mut stop: watch::Receiver<bool>,
) {
    let background = tokio::spawn({
        let hub = Arc::clone(hub);
        async move { hub.dispatch().await }
    });
    let throttle = &shared.ctx.params;
    if throttle.request_throttle_max_requests != 0 {
        let every = Duration::from_millis(throttle.request_throttle_stall_ms.max(1));
        let hub = Arc::clone(hub);
        tokio::spawn(async move { hub.retry_stalled(every).await });
    }
    loop {
        tokio::select! {
            next = accepted.recv() => match next {
                Some(accepted) => {
                    tokio::spawn(task::run(accepted, Arc::clone(&shared)));
                }
                None => break,
            },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // What waits in here was not looked at; dropping it closes it.
    drop(accepted);
    // The connections were told to close; what they still have to write is small.
    let gone = async {
        while hub.load.load(Relaxed) != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(STOP_PATIENCE, gone).await.is_err() {
        tracing::debug!(left = hub.load.load(Relaxed), "connections cut off");
    }
    background.abort();
}
