//! Barriers: a gate that is closed while a node is there, and a room that all enter and leave together.
//!
//! [`Barrier`] is Curator's `DistributedBarrier` and kazoo's `Barrier`; [`DoubleBarrier`] is both libraries'
//! `DoubleBarrier`: a node for each who is in, and `ready` once all are.

use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode};

use super::ensure_path;
use crate::path;
use crate::random;
use crate::session::{Client, Error};

/// The node that says that all are in.
const READY: &str = "ready";

/// A gate: closed while its node is there.
#[derive(Debug, Clone)]
pub struct Barrier {
    client: Client,
    path: String,
}

impl Barrier {
    /// The gate at a path.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, path: &str) -> Result<Self, Error> {
        path::validate(path)?;
        Ok(Self {
            client: client.clone(),
            path: path.to_owned(),
        })
    }

    /// Closes it; true if it was open.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn set(&self) -> Result<bool, Error> {
        if self.client.exists(&self.path).await?.is_some() {
            return Ok(false);
        }
        // The node itself last: its creation is what closes.
        if let Some((parent, _)) = self.path.rsplit_once('/').filter(|(p, _)| !p.is_empty()) {
            ensure_path(&self.client, parent).await?;
        }
        loop {
            let (flags, open) = (CreateFlags::Persistent, [Acl::open()]);
            match self.client.create(&self.path, "", flags, &open).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is(ErrorCode::NodeExists) => return Ok(false),
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens it; true if it was closed.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn remove(&self) -> Result<bool, Error> {
        loop {
            match self.client.delete(&self.path, -1).await {
                Ok(()) => return Ok(true),
                Err(error) if error.is(ErrorCode::NoNode) => return Ok(false),
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn wait(&self) -> Result<(), Error> {
        loop {
            match self.client.get_and_watch(&self.path).await {
                Ok((_, change)) => drop(change.await?),
                Err(error) if error.is(ErrorCode::NoNode) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A room for so many: nobody goes on before all are in, nor leaves before all want to.
#[derive(Debug)]
pub struct DoubleBarrier {
    client: Client,
    path: String,
    count: usize,
    own: String,
}

impl DoubleBarrier {
    /// The room at a path, for `count` of us.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, path: &str, count: usize) -> Result<Self, Error> {
        path::validate(path)?;
        Ok(Self {
            client: client.clone(),
            path: path.to_owned(),
            count,
            own: random::unique_name(),
        })
    }

    /// Goes in and waits until all are.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn enter(&self) -> Result<(), Error> {
        ensure_path(&self.client, &self.path).await?;
        let ready = path::join(&self.path, READY);
        // Looked for before going in: who sees it later may be the one who makes it.
        let (mut is_ready, mut change) = self.client.exists_and_watch(&ready).await?;
        self.make(&path::join(&self.path, &self.own), CreateFlags::Ephemeral)
            .await?;
        if self.inside().await?.len() >= self.count {
            return self.make(&ready, CreateFlags::Ephemeral).await;
        }
        while is_ready.is_none() {
            change.await?;
            (is_ready, change) = self.client.exists_and_watch(&ready).await?;
        }
        Ok(())
    }

    /// Waits until all want to leave, and leaves.
    ///
    /// # Errors
    /// When the session ends meanwhile: it has left, then.
    pub async fn leave(&self) -> Result<(), Error> {
        loop {
            let inside = self.inside().await?;
            if !inside.contains(&self.own) {
                return Ok(());
            }
            // The lowest waits for the highest, everybody else leaves and waits for the lowest, as in both libraries.
            let others = || inside.iter().filter(|name| **name != self.own);
            let lowest = inside.first().is_some_and(|name| *name == self.own);
            let wait_for = if lowest {
                others().next_back()
            } else {
                inside.first()
            };
            if !lowest || wait_for.is_none() {
                if wait_for.is_none() {
                    self.delete(READY).await?;
                }
                self.delete(&self.own).await?;
            }
            let Some(wait_for) = wait_for else {
                return Ok(());
            };
            let node = path::join(&self.path, wait_for);
            match self.client.get_and_watch(&node).await {
                Ok((_, change)) => drop(change.await?),
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error),
            }
            if !lowest {
                return self.empty().await;
            }
        }
    }

    /// Waits until nobody is in.
    async fn empty(&self) -> Result<(), Error> {
        loop {
            let inside = self.inside().await?;
            let Some(first) = inside.first() else {
                return Ok(());
            };
            let node = path::join(&self.path, first);
            match self.client.get_and_watch(&node).await {
                Ok((_, change)) => drop(change.await?),
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Who is in, in the order of the names.
    async fn inside(&self) -> Result<Vec<String>, Error> {
        let children = match self.client.children(&self.path).await {
            Err(error) if error.is(ErrorCode::NoNode) => return Ok(Vec::new()),
            reply => reply?.children,
        };
        let names = children.iter().map(|name| path::name(name).to_owned());
        let mut inside: Vec<_> = names.filter(|name| name != READY).collect();
        inside.sort_unstable();
        Ok(inside)
    }

    async fn make(&self, node: &str, flags: CreateFlags) -> Result<(), Error> {
        loop {
            match self.client.create(node, "", flags, &[Acl::open()]).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is(ErrorCode::NodeExists) => return Ok(()),
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        loop {
            match self.client.delete(&path::join(&self.path, name), -1).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is(ErrorCode::NoNode) => return Ok(()),
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
