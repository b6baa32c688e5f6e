//! Following a namespace: what is in force for one instance, and each change of it.

use jute_codec::proto::{CreateFlags, DataReply};
use jute_codec::{Acl, ErrorCode, SessionId, Zxid};

use super::centre::{Centre, CentreError, HOLDERS, Holder};
use super::model::{Document, Grey, Instance, Namespace};
use crate::path;
use crate::session::{Change, Error};

/// Takes what is in force for an instance, and says so to the others by an ephemeral node.
#[derive(Debug)]
pub struct Follower {
    centre: Centre,
    namespace: Namespace,
    instance: Instance,
    /// What fires when it is time to look again.
    changes: Option<(Change, Change)>,
    taken: Option<Document>,
    listed: Option<Zxid>,
}

/// Who goes by the name of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// This one.
    Listed,
    /// Another, who came later.
    Taken {
        /// Its session.
        by: SessionId,
    },
}

/// What an instance is to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The document.
    pub document: Document,
    /// Whether it is a grey release, which others do not take.
    pub is_grey: bool,
}

impl Follower {
    /// Follows a namespace as an instance; [`Self::next`] says what to take.
    ///
    /// # Errors
    /// When the namespace's nodes are not there and cannot be made.
    pub async fn new(
        centre: &Centre,
        namespace: &Namespace,
        instance: Instance,
    ) -> Result<Self, CentreError> {
        centre.prepare(namespace).await?;
        Ok(Self {
            centre: centre.clone(),
            namespace: namespace.clone(),
            instance,
            changes: None,
            taken: None,
            listed: None,
        })
    }

    /// Waits until there is something else to take than before: at once for the first time. Changes that follow each
    /// other quickly may come as one, the last never fails to come.
    ///
    /// # Errors
    /// When the session ends. A document that cannot be read is an error, too, and waited over by the next call.
    pub async fn next(&mut self) -> Result<Followed, CentreError> {
        loop {
            if let Some((own, grey)) = &mut self.changes {
                tokio::select! {
                    changed = own => changed?,
                    changed = grey => changed?,
                };
            }
            let followed = self.look().await?;
            if self.taken.as_ref() != Some(&followed.document) {
                self.taken = Some(followed.document.clone());
                return Ok(followed);
            }
        }
    }

    /// Goes on from a follower of an earlier session, which was listed by this transaction: whoever has taken the name
    /// of the instance since keeps it.
    #[must_use]
    pub fn after(mut self, listed: Option<Zxid>) -> Self {
        self.listed = listed;
        self
    }

    /// The transaction by which this instance came to be listed the last time.
    #[must_use]
    pub const fn listed(&self) -> Option<Zxid> {
        self.listed
    }

    /// Tells the others which revision this instance has taken, or who has its name by now: of several that go by one,
    /// the latest is listed. All of them follow.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn hold(&mut self, revision: u64) -> Result<Hold, CentreError> {
        let client = self.centre.client.clone();
        let node = self.holder_node();
        let holder = Holder {
            instance: self.instance.clone(),
            revision,
        };
        let data = holder.to_json().to_string();
        loop {
            let session = client.session().map(|session| session.0);
            match client.exists(&node).await? {
                Some(stat) if Some(stat.ephemeral_owner) == session => {
                    match client.set(&node, data.clone(), -1).await {
                        Ok(stat) => {
                            self.listed = Some(stat.czxid);
                            return Ok(Hold::Listed);
                        }
                        Err(Error::ConnectionLoss) => continue,
                        Err(error) if error.is(ErrorCode::NoNode) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Some(stat) if self.listed.is_some_and(|listed| stat.czxid > listed) => {
                    return Ok(Hold::Taken {
                        by: SessionId(stat.ephemeral_owner),
                    });
                }
                // One of an earlier session of the same instance, or of one that was here before.
                Some(_) => match client.delete(&node, -1).await {
                    Ok(()) | Err(Error::ConnectionLoss) => {}
                    Err(error) if error.is(ErrorCode::NoNode) => {}
                    Err(error) => return Err(error.into()),
                },
                None => {}
            }
            let (flags, open) = (CreateFlags::Ephemeral, [Acl::open()]);
            match client.create(&node, data.clone(), flags, &open).await {
                Ok((_, stat)) => {
                    self.listed = Some(stat.czxid);
                    return Ok(Hold::Listed);
                }
                Err(Error::ConnectionLoss) => {}
                Err(error) if error.is(ErrorCode::NodeExists) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until another has the name of this instance, and tells who. It makes sense after [`Self::hold`], and goes
    /// on by itself.
    ///
    /// # Errors
    /// When the session ends.
    pub fn taken(&self) -> impl Future<Output = Result<SessionId, Error>> + Send + use<> {
        let client = self.centre.client.clone();
        let node = self.holder_node();
        async move {
            loop {
                let (stat, change) = client.exists_and_watch(&node).await?;
                let session = client.session().map(|session| session.0);
                match stat.map(|stat| stat.ephemeral_owner) {
                    Some(owner) if Some(owner) != session => return Ok(SessionId(owner)),
                    _ => drop(change.await?),
                }
            }
        }
    }

    fn holder_node(&self) -> String {
        let parent = path::join(&self.centre.node(&self.namespace), HOLDERS);
        path::join(&parent, &self.instance.id)
    }

    /// Reads both nodes, each with a watch. The grey release first: when it is promoted between the two reads, both
    /// are the same, where the other way round an older one would come back for a moment.
    async fn look(&mut self) -> Result<Followed, CentreError> {
        let client = &self.centre.client;
        let grey_node = self.centre.grey_node(&self.namespace);
        let (stat, grey_change) = client.exists_and_watch(&grey_node).await?;
        let grey = match stat {
            None => None,
            Some(_) => match client.get(&grey_node).await {
                Err(error) if error.is(ErrorCode::NoNode) => None,
                reply => Some(data(reply?)),
            },
        };
        let node = self.centre.node(&self.namespace);
        let (reply, change) = client.get_and_watch(&node).await?;
        self.changes = Some((change, grey_change));
        let grey = grey.map(|data| Grey::parse(&data)).transpose()?;
        let grey = grey.filter(|grey| grey.rule.applies_to(&self.instance));
        Ok(match grey {
            Some(grey) => Followed {
                document: grey.document,
                is_grey: true,
            },
            None => Followed {
                document: Document::parse(&data(reply))?,
                is_grey: false,
            },
        })
    }
}

fn data(reply: DataReply) -> Vec<u8> {
    reply.data.map(|data| data.to_vec()).unwrap_or_default()
}
