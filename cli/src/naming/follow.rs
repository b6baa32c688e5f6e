//! Following a service: who serves it now, and each change of that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jute_codec::proto::AddWatchMode;
use tokio::time::{Instant as Moment, timeout_at};

use super::directory::{Directory, Listing, NamingError};
use super::instance::{Instance, Unreadable};
use crate::session::{Error, Notice, State, Watcher};

/// Whom changes keep coming for is told no later than so many quiet times after the first.
const QUIET_TIMES_MAX: u32 = 10;

/// With more nodes to look at than this, all are.
const NAMES_MAX: usize = 1024;

/// Keeps the instances of a service, by one watch on its node and what is below.
#[derive(Debug)]
pub struct Follower {
    directory: Directory,
    service: String,
    /// The service's node and a slash.
    prefix: String,
    watcher: Watcher,
    quiet: Duration,
    known: BTreeMap<String, Result<Instance, Unreadable>>,
    /// Nodes that something was heard of since they were read.
    stale: Stale,
    is_new: bool,
}

#[derive(Debug)]
enum Stale {
    All,
    Some(BTreeSet<String>),
}

impl Follower {
    /// Follows a service, which need not be there yet. Changes that follow each other within `quiet` come as one.
    ///
    /// # Errors
    /// `Unimplemented` before ZooKeeper 3.6, which has no such watches; when there is no good reply.
    pub async fn new(
        directory: &Directory,
        service: &str,
        quiet: Duration,
    ) -> Result<Self, NamingError> {
        let node = directory.service_node(service)?;
        let mode = AddWatchMode::PersistentRecursive;
        Ok(Self {
            watcher: directory.client().add_watch(&node, mode).await?,
            directory: directory.clone(),
            service: service.to_owned(),
            prefix: format!("{node}/"),
            quiet,
            known: BTreeMap::new(),
            stale: Stale::All,
            is_new: true,
        })
    }

    /// Waits until the instances are others than before: at once for the first time. The latest state never fails to
    /// come. Giving up the wait loses nothing.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn next(&mut self) -> Result<Listing, NamingError> {
        loop {
            if matches!(&self.stale, Stale::Some(names) if names.is_empty()) {
                let notice = self.notice().await?;
                self.take(notice);
                self.settle().await?;
            }
            self.refresh().await?;
            if std::mem::take(&mut self.is_new) {
                return Ok(self.listing());
            }
        }
    }

    async fn notice(&mut self) -> Result<Notice, NamingError> {
        match self.watcher.next().await {
            Some(notice) => Ok(notice),
            None => Err(match self.directory.client().state() {
                State::Closed => Error::Closed,
                _ => Error::SessionExpired,
            }
            .into()),
        }
    }

    fn take(&mut self, notice: Notice) {
        let path = match notice {
            Notice::Event(event) => event.path,
            Notice::Missed => {
                self.stale = Stale::All;
                return;
            }
        };
        // What happens to the service's node itself, or deeper, changes no instance.
        let name = path.strip_prefix(&self.prefix);
        let name = name.filter(|name| !name.contains('/'));
        if let (Some(name), Stale::Some(names)) = (name, &mut self.stale) {
            names.insert(name.to_owned());
            if names.len() > NAMES_MAX {
                self.stale = Stale::All;
            }
        }
    }

    /// Waits until nothing has happened for a while.
    async fn settle(&mut self) -> Result<(), NamingError> {
        let end = Moment::now() + self.quiet * QUIET_TIMES_MAX;
        loop {
            let pause = end.min(Moment::now() + self.quiet);
            match timeout_at(pause, self.notice()).await {
                Ok(notice) => {
                    let notice = notice?;
                    self.take(notice);
                }
                Err(_) => return Ok(()),
            }
            if Moment::now() >= end {
                return Ok(());
            }
        }
    }

    /// Reads what may have changed.
    async fn refresh(&mut self) -> Result<(), NamingError> {
        let names: Vec<String> = match &self.stale {
            Stale::Some(names) => names.iter().cloned().collect(),
            Stale::All => {
                let ids = self.directory.ids(&self.service).await?;
                let known = self.known.keys().cloned();
                let all: BTreeSet<_> = known.chain(ids).collect();
                all.into_iter().collect()
            }
        };
        for (name, read) in self.directory.read(&self.service, &names).await? {
            self.is_new |= match read {
                Some(read) => self.known.insert(name, read.clone()).as_ref() != Some(&read),
                None => self.known.remove(&name).is_some(),
            };
        }
        self.stale = Stale::Some(BTreeSet::new());
        Ok(())
    }

    fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        for (id, read) in &self.known {
            match read {
                Ok(instance) => listing.instances.push(instance.clone()),
                Err(reason) => listing.unreadable.push((id.clone(), reason.clone())),
            }
        }
        listing
    }
}
