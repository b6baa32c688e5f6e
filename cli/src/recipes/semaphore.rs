//! Semaphores: so many holders at a time.
//!
//! Who wants a lease goes through a gate, which is a lock, so that one at a time looks at the leases. Curator's
//! `InterProcessSemaphoreV2` has the gate at `PATH/locks` and leases as sequential nodes in `PATH/leases`; kazoo's
//! `Semaphore` has it at `PATH-__lock__` and leases right under `PATH`, whose data is how many there may be.

use std::sync::Arc;

use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode, Zxid};
use tokio::sync::oneshot;

use super::lock::Lock;
use super::{ensure_containers, ensure_path};
use crate::path;
use crate::random;
use crate::session::{Client, Error};

/// Whose semaphores these are to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Curator's `InterProcessSemaphoreV2`.
    Curator,
    /// kazoo's `Semaphore`.
    Kazoo,
}

/// Held by up to so many owners at a time.
#[derive(Debug, Clone)]
pub struct Semaphore {
    client: Client,
    path: String,
    layout: Layout,
    permits: usize,
    data: Vec<u8>,
}

/// A semaphore that cannot be used like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SemaphoreError {
    /// The servers, or the session.
    #[error(transparent)]
    Session(#[from] Error),
    /// Others use it with another number of leases.
    #[error("{path} has {there} leases for all, not {wanted}")]
    OtherPermits {
        /// The semaphore.
        path: String,
        /// As its node says.
        there: usize,
        /// As asked for.
        wanted: usize,
    },
}

impl Semaphore {
    /// A semaphore of `permits` leases; everybody has to use the same number.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, path: &str, layout: Layout, permits: usize) -> Result<Self, Error> {
        path::validate(path)?;
        Ok(Self {
            client: client.clone(),
            path: path.to_owned(),
            layout,
            permits,
            data: Vec::new(),
        })
    }

    /// Tells the others who this is: the data of its lease.
    #[must_use]
    pub fn with_identity(mut self, identity: &str) -> Self {
        self.data = identity.as_bytes().to_vec();
        self
    }

    /// Waits for a lease. Giving up the wait gives it back.
    ///
    /// # Errors
    /// When the session is over, or others use another number of leases.
    pub async fn acquire(&self) -> Result<Lease, SemaphoreError> {
        self.ensure().await?;
        let gate = self.gate()?.acquire().await?;
        let lease = self.through(true).await?;
        gate.release().await?;
        lease.ok_or(SemaphoreError::Session(Error::Closed))
    }

    /// Takes a lease if one is free and nobody waits for it.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Lease>, SemaphoreError> {
        self.ensure().await?;
        let Some(gate) = self.gate()?.try_acquire().await? else {
            return Ok(None);
        };
        let lease = self.through(false).await?;
        gate.release().await?;
        Ok(lease)
    }

    fn gate(&self) -> Result<Lock, Error> {
        let path = match self.layout {
            Layout::Curator => path::join(&self.path, "locks"),
            Layout::Kazoo => format!("{}-__lock__", self.path),
        };
        Lock::exclusive(&self.client, &path)
    }

    fn leases(&self) -> String {
        match self.layout {
            Layout::Curator => path::join(&self.path, "leases"),
            Layout::Kazoo => self.path.clone(),
        }
    }

    async fn ensure(&self) -> Result<(), SemaphoreError> {
        if self.layout == Layout::Curator {
            return Ok(ensure_containers(&self.client, &self.leases()).await?);
        }
        let client = &self.client;
        if client.exists(&self.path).await?.is_none() {
            ensure_path(client, &self.path).await?;
            let permits = self.permits.to_string();
            match client.set(&self.path, permits.into_bytes(), 0).await {
                Ok(_) => return Ok(()),
                // Somebody else was first, or the answer is lost: see what is there.
                Err(error) if error.is(ErrorCode::BadVersion) => {}
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let data = client.get(&self.path).await?.data.unwrap_or_default();
        // As kazoo: what is no number is for something else.
        let there = std::str::from_utf8(&data).ok().and_then(|t| t.parse().ok());
        match there {
            Some(there) if there != self.permits => Err(SemaphoreError::OtherPermits {
                path: self.path.clone(),
                there,
                wanted: self.permits,
            }),
            _ => Ok(()),
        }
    }

    /// Takes a lease as the one who has come through the gate: nobody else makes one now. Those of kazoo look first and
    /// then make theirs, those of Curator the other way round; here it comes to the same.
    async fn through(&self, wait: bool) -> Result<Option<Lease>, Error> {
        let leases = self.leases();
        loop {
            let (reply, change) = self.client.children_and_watch(&leases).await?;
            if reply.children.len() < self.permits {
                break;
            }
            if !wait {
                return Ok(None);
            }
            change.await?;
        }
        // In a task of its own: who gives up the wait must not leave a lease that nobody knows of.
        let (sender, receiver) = oneshot::channel();
        let semaphore = self.clone();
        tokio::spawn(async move { drop(sender.send(semaphore.make(&leases).await)) });
        receiver.await.unwrap_or(Err(Error::Closed)).map(Some)
    }

    async fn make(&self, leases: &str) -> Result<Lease, Error> {
        let id = random::unique_name();
        let (front, flags) = match self.layout {
            Layout::Curator => (format!("_c_{id}-lease-"), CreateFlags::EphemeralSequential),
            Layout::Kazoo => (id, CreateFlags::Ephemeral),
        };
        let node = path::join(leases, &front);
        let (path, czxid) = loop {
            let open = [Acl::open()];
            match self
                .client
                .create(&node, self.data.clone(), flags, &open)
                .await
            {
                Ok((path, stat)) => break (path, stat.czxid),
                Err(Error::ConnectionLoss) => {
                    if let Some(found) = self.find(leases, &front).await? {
                        break found;
                    }
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Lease(Arc::new(Node {
            client: self.client.clone(),
            path,
            czxid,
        })))
    }

    async fn find(&self, leases: &str, front: &str) -> Result<Option<(String, Zxid)>, Error> {
        self.client.sync(leases).await?;
        let children = self.client.children(leases).await?.children;
        let Some(name) = children.iter().find(|name| name.starts_with(front)) else {
            return Ok(None);
        };
        let node = path::join(leases, name);
        let stat = self.client.exists(&node).await?;
        Ok(stat.map(|stat| (node, stat.czxid)))
    }
}

/// A lease, held. Dropping it gives it back in a task of its own; [`Self::release`] tells when that is done.
#[derive(Debug)]
pub struct Lease(Arc<Node>);

#[derive(Debug)]
struct Node {
    client: Client,
    path: String,
    czxid: Zxid,
}

impl Lease {
    /// The transaction that gave it: greater than that of every lease given before.
    #[must_use]
    pub fn token(&self) -> Zxid {
        self.0.czxid
    }

    /// The node by which it is held.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.path
    }

    /// Waits until it is lost, or can have been lost, and says why.
    pub async fn lost(&self) -> Error {
        super::lost(&self.0.client, &self.0.path).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When the servers refuse to delete the node.
    pub async fn release(self) -> Result<(), Error> {
        give_back(&self.0).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let node = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(give_back(&node).await) });
        }
    }
}

async fn give_back(node: &Node) -> Result<(), Error> {
    loop {
        match node.client.delete(&node.path, -1).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is(ErrorCode::NoNode) || error.ends_session() => return Ok(()),
            Err(Error::ConnectionLoss) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Who holds leases: the names of their nodes.
///
/// # Errors
/// When there is no good reply; a missing node is none.
pub async fn holders(client: &Client, path: &str, layout: Layout) -> Result<Vec<String>, Error> {
    let leases = match layout {
        Layout::Curator => path::join(path, "leases"),
        Layout::Kazoo => path.to_owned(),
    };
    client.child_names(&leases).await
}
