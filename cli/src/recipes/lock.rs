//! Locks and elections.
//!
//! [`Lock::exclusive`] excludes kazoo's `Lock` and `WriteLock`, Curator's `InterProcessMutex` and the write lock of its
//! `InterProcessReadWriteLock` on the same path, and whoever reads there by [`Lock::shared`], kazoo's `ReadLock` or
//! Curator's read lock. [`Lock::leadership`] stands in one line with Curator's `LeaderLatch` and `LeaderSelector` and
//! kazoo's `Election`.

use std::sync::Arc;
use std::time::Duration;

use jute_codec::{ErrorCode, Zxid};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::line::{Kind, Mark, Place, in_order};
use crate::path;
use crate::session::{Client, Error};

const MUTEX: Mark = Mark::Curator("lock-");
const WRITE: Mark = Mark::Curator("__WRIT__");
const READ: Mark = Mark::Curator("__READ__");
const LATCH: Mark = Mark::Curator("latch-");
const KAZOO: Mark = Mark::Kazoo("__lock__");
const KAZOO_READ: Mark = Mark::Kazoo("__rlock__");

const EXCLUSIVE: Kind = Kind {
    faces: &[MUTEX, WRITE, KAZOO],
    yields_to: &[MUTEX, WRITE, READ, KAZOO, KAZOO_READ],
};
const SHARED: Kind = Kind {
    faces: &[READ, KAZOO_READ],
    yields_to: &[MUTEX, WRITE, KAZOO],
};
const LEADERSHIP: Kind = Kind {
    faces: &[LATCH, MUTEX, KAZOO],
    yields_to: &[LATCH, MUTEX, KAZOO],
};

/// A lock, or the leadership of a group: one of those who hold it by clones of this value, however often.
///
/// Reentrant: who has it gets it again at once, and others get it when it was released as often. Several values made
/// for one path are several owners, also in one session.
#[derive(Debug, Clone)]
pub struct Lock {
    client: Client,
    path: String,
    kind: Kind,
    data: Vec<u8>,
    held: Arc<Mutex<Option<Held>>>,
}

#[derive(Debug)]
struct Held {
    place: Arc<Place>,
    times: usize,
}

impl Lock {
    /// Held by one owner at a time, and not while it is shared.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn exclusive(client: &Client, path: &str) -> Result<Self, Error> {
        Self::new(client, path, EXCLUSIVE)
    }

    /// Held by any number of owners who share it, and not while one holds it exclusively. Who comes behind somebody
    /// who waits for it exclusively waits, too.
    ///
    /// # Errors
    /// As [`Self::exclusive`].
    pub fn shared(client: &Client, path: &str) -> Result<Self, Error> {
        Self::new(client, path, SHARED)
    }

    /// Held by the leader: the one who has been in line for the longest.
    ///
    /// # Errors
    /// As [`Self::exclusive`].
    pub fn leadership(client: &Client, path: &str) -> Result<Self, Error> {
        Self::new(client, path, LEADERSHIP)
    }

    fn new(client: &Client, path: &str, kind: Kind) -> Result<Self, Error> {
        path::validate(path)?;
        Ok(Self {
            client: client.clone(),
            path: path.to_owned(),
            kind,
            data: Vec::new(),
            held: Arc::default(),
        })
    }

    /// Tells the others who this is: the data of its nodes.
    #[must_use]
    pub fn with_identity(mut self, identity: &str) -> Self {
        self.data = identity.as_bytes().to_vec();
        self
    }

    /// Waits for the lock. Giving up the wait gives up the place in line.
    ///
    /// # Errors
    /// When the session is over, or the place in line was taken away.
    pub async fn acquire(&self) -> Result<Guard, Error> {
        let mut held = self.held.lock().await;
        if let Some(guard) = self.again(&mut held) {
            return Ok(guard);
        }
        let place = self.place().await?;
        place.0.wait().await?;
        Ok(self.first(&mut held, place.won()))
    }

    /// Waits for the lock for some time; `None` when it was not to be had.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, Error> {
        match timeout(patience, self.acquire()).await {
            Ok(guard) => guard.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        let mut held = self.held.lock().await;
        if let Some(guard) = self.again(&mut held) {
            return Ok(Some(guard));
        }
        let place = self.place().await?;
        if !place.0.is_first().await? {
            leave(&place.won()).await?;
            return Ok(None);
        }
        Ok(Some(self.first(&mut held, place.won())))
    }

    /// Takes a place in line, in a task of its own: who gives up the wait while a request is on its way must not leave
    /// a place behind that nobody knows of.
    async fn place(&self) -> Result<Waiting, Error> {
        let (sender, receiver) = oneshot::channel();
        let lock = self.clone();
        tokio::spawn(async move {
            let place = Place::take(&lock.client, &lock.path, lock.kind, &lock.data).await;
            // Dropped on the way, it is left.
            drop(sender.send(place.map(Waiting::new)));
        });
        receiver.await.unwrap_or(Err(Error::Closed))
    }

    fn again(&self, held: &mut Option<Held>) -> Option<Guard> {
        let held = held.as_mut()?;
        held.times += 1;
        Some(self.guard(Arc::clone(&held.place)))
    }

    fn first(&self, held: &mut Option<Held>, place: Arc<Place>) -> Guard {
        *held = Some(Held {
            place: Arc::clone(&place),
            times: 1,
        });
        self.guard(place)
    }

    fn guard(&self, place: Arc<Place>) -> Guard {
        Guard {
            place,
            held: Arc::clone(&self.held),
            released: false,
        }
    }
}

/// Who holds a lock or leads, and who waits, in order: the data of their nodes. Empty when there is nobody.
///
/// # Errors
/// When there is no good reply; a missing node is none.
pub async fn holder_and_waiting(client: &Client, path: &str) -> Result<Vec<String>, Error> {
    let names = match client.children(path).await {
        Err(error) if error.is(ErrorCode::NoNode) => return Ok(Vec::new()),
        reply => reply?.children,
    };
    let marks = [MUTEX, WRITE, READ, LATCH, KAZOO, KAZOO_READ];
    let mut line = Vec::new();
    for name in in_order(names.iter().map(|name| name.as_str()), &marks) {
        match client.get(&path::join(path, name)).await {
            Ok(reply) => {
                let data = reply.data.unwrap_or_default();
                line.push(String::from_utf8_lossy(&data).into_owned());
            }
            Err(error) if error.is(ErrorCode::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

/// A place in line that is left when nobody waits in it any more.
#[derive(Debug)]
struct Waiting(Arc<Place>, bool);

impl Waiting {
    fn new(place: Place) -> Self {
        Self(Arc::new(place), true)
    }

    fn won(mut self) -> Arc<Place> {
        self.1 = false;
        Arc::clone(&self.0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.1 {
            leave_later(&self.0);
        }
    }
}

/// The lock, held. Dropping it releases it in a task of its own; [`Self::release`] tells when that is done.
#[derive(Debug)]
pub struct Guard {
    place: Arc<Place>,
    held: Arc<Mutex<Option<Held>>>,
    released: bool,
}

impl Guard {
    /// The fencing token: greater than that of every owner before, as long as it is held exclusively.
    #[must_use]
    pub fn token(&self) -> Zxid {
        self.place.czxid()
    }

    /// A node by which it is held.
    #[must_use]
    pub fn node(&self) -> String {
        self.place.node()
    }

    /// Waits until it is lost, or can have been lost, and says why: the session has expired or is
    /// [overdue](crate::State::Overdue), or somebody has deleted the node.
    pub async fn lost(&self) -> Error {
        self.place.lost().await
    }

    /// Gives it back, if it was not taken several times.
    ///
    /// # Errors
    /// When the servers refuse to delete the nodes.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        match let_go(&self.held, &self.place).await {
            Some(place) => leave(&place).await,
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (held, place) = (Arc::clone(&self.held), Arc::clone(&self.place));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Some(place) = let_go(&held, &place).await {
                    drop(place.leave().await);
                }
            });
        }
    }
}

/// One owner less; the place to be left when it was the last.
async fn let_go(held: &Mutex<Option<Held>>, place: &Arc<Place>) -> Option<Arc<Place>> {
    let mut held = held.lock().await;
    let same = held
        .as_mut()
        .filter(|held| Arc::ptr_eq(&held.place, place))?;
    same.times -= 1;
    if same.times > 0 {
        return None;
    }
    held.take().map(|held| held.place)
}

/// Leaves a place, to the end even if the caller does not wait for it.
async fn leave(place: &Arc<Place>) -> Result<(), Error> {
    match leave_later(place) {
        Some(task) => task.await.unwrap_or(Err(Error::Closed)),
        None => Ok(()),
    }
}

/// Without a runtime the session ends, and the nodes with it.
fn leave_later(place: &Arc<Place>) -> Option<JoinHandle<Result<(), Error>>> {
    let place = Arc::clone(place);
    let runtime = Handle::try_current().ok()?;
    Some(runtime.spawn(async move { place.leave().await }))
}
