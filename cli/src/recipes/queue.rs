//! Queues: what is put in comes out once, in order.
//!
//! Items are sequential nodes: `qn-` of Curator's `SimpleDistributedQueue`, `entry-100-` of kazoo's `Queue`, where a
//! lower number in the middle comes first. Taken are items of both.

use std::time::Duration;

use bytes::Bytes;
use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode};
use tokio::time::{Instant, timeout_at};

use super::ensure_path;
use crate::path;
use crate::session::{Client, Error};

/// For whom an item is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Curator's `SimpleDistributedQueue`, and those who take both.
    Curator,
    /// kazoo's `Queue`, with a priority from 0 to 999 of which the lowest comes first; and those who take both.
    Kazoo(u16),
}

/// A queue at a node.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    path: String,
}

/// What came out of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was put in.
    pub data: Bytes,
    /// Whether nobody else can have taken it: false when the connection was lost while it was taken, and it was gone
    /// afterwards.
    pub only_here: bool,
}

impl Queue {
    /// The queue at a path.
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

    /// Puts something in.
    ///
    /// # Errors
    /// [`Error::ConnectionLoss`] when it may be in, or not: put in again, it may come out twice.
    pub async fn put(&self, data: impl Into<Bytes>, style: Style) -> Result<(), Error> {
        ensure_path(&self.client, &self.path).await?;
        let front = match style {
            Style::Curator => "qn-".to_owned(),
            Style::Kazoo(priority) => format!("entry-{:03}-", priority.min(999)),
        };
        let node = path::join(&self.path, &front);
        let (flags, open) = (CreateFlags::PersistentSequential, [Acl::open()]);
        let made = self.client.create(&node, data, flags, &open).await;
        made.map(drop)
    }

    /// What would come out next; none if it is empty.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn peek(&self) -> Result<Option<Bytes>, Error> {
        for name in in_order(self.client.child_names(&self.path).await?) {
            match self.client.get(&path::join(&self.path, &name)).await {
                Ok(reply) => return Ok(Some(reply.data.unwrap_or_default())),
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// How many items are in.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn len(&self) -> Result<usize, Error> {
        Ok(in_order(self.client.child_names(&self.path).await?).len())
    }

    /// Whether nothing is in.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// Takes the next item, if there is one.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn try_take(&self) -> Result<Option<Item>, Error> {
        for name in in_order(self.client.child_names(&self.path).await?) {
            if let Some(item) = self.take_node(&path::join(&self.path, &name)).await? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Takes the next item, or waits for one. Not to be dropped before its end: an item may have been taken.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn take(&self) -> Result<Item, Error> {
        ensure_path(&self.client, &self.path).await?;
        loop {
            let (_, change) = self.client.children_and_watch(&self.path).await?;
            if let Some(item) = self.try_take().await? {
                return Ok(item);
            }
            change.await?;
        }
    }

    /// Takes the next item, or waits for one no longer than this. It ends later where the answer about an item is
    /// under way: dropping [`Self::take`] then would lose the item.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn take_within(&self, patience: Duration) -> Result<Option<Item>, Error> {
        let deadline = Instant::now() + patience;
        ensure_path(&self.client, &self.path).await?;
        loop {
            let (_, change) = self.client.children_and_watch(&self.path).await?;
            if let Some(item) = self.try_take().await? {
                return Ok(Some(item));
            }
            match timeout_at(deadline, change).await {
                Ok(change) => drop(change?),
                Err(_) => return Ok(None),
            }
        }
    }

    async fn take_node(&self, node: &str) -> Result<Option<Item>, Error> {
        let reply = match self.client.get(node).await {
            Err(error) if error.is(ErrorCode::NoNode) => return Ok(None),
            reply => reply?,
        };
        let data = reply.data.unwrap_or_default();
        let mut only_here = true;
        loop {
            match self.client.delete(node, -1).await {
                Ok(()) => {
                    return Ok(Some(Item {
                        data,
                        only_here: true,
                    }));
                }
                Err(error) if error.is(ErrorCode::NoNode) => {
                    // Somebody else has taken it; or it was this one, and the answer was lost.
                    return Ok((!only_here).then_some(Item { data, only_here }));
                }
                Err(Error::ConnectionLoss) => only_here = false,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Items in the order in which they come out: by priority, Curator's counting as 100, then by number.
fn in_order(names: Vec<String>) -> Vec<String> {
    let mut items: Vec<((u16, i32), String)> = names
        .into_iter()
        .filter_map(|name| Some((rank(&name)?, name)))
        .collect();
    items.sort_unstable();
    items.into_iter().map(|(_, name)| name).collect()
}

fn rank(name: &str) -> Option<(u16, i32)> {
    if let Some(number) = name.strip_prefix("qn-") {
        return Some((100, number.parse().ok()?));
    }
    let (priority, number) = name.strip_prefix("entry-")?.split_once('-')?;
    Some((priority.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_both_libraries_have_one_order() {
        let names = [
            "entry-100-0000000004",
            "qn-0000000003",
            "entry-010-0000000009",
            "lock-0000000001",
            "entry-odd",
            "entry-200-0000000000",
        ];
        assert_eq!(
            in_order(names.map(str::to_owned).to_vec()),
            [
                "entry-010-0000000009",
                "qn-0000000003",
                "entry-100-0000000004",
                "entry-200-0000000000"
            ]
        );
    }
}
