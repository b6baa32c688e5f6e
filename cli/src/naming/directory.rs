//! Registering, and reading what is registered.

use bytes::Bytes;
use jute_codec::proto::{CreateFlags, DataReply, MultiResult};
use jute_codec::{Acl, ErrorCode, SessionId, Stat, Zxid};
use tokio::task::JoinHandle;

use super::instance::{Extras, HOST, INSTANCE_BYTES_MAX, Instance, Unreadable, is_address};
use crate::path;
use crate::recipes::ensure_containers;
use crate::session::{Client, Error, State};

/// How many nodes are asked for at a time: enough to hide the way to the server, few enough to hold in memory.
const READ_AT_ONCE: usize = 64;

/// Why something was not registered or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// The servers, or the session.
    #[error(transparent)]
    Session(#[from] Error),
    /// No name of a service or an instance.
    #[error("\"{name}\" is no {of}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Of what.
        of: &'static str,
        /// What is the matter.
        reason: String,
    },
    /// Too much metadata.
    #[error(
        "the instance takes {0} bytes, and may take {INSTANCE_BYTES_MAX}: give it less metadata"
    )]
    TooLarge(usize),
    /// Somebody registered it to stay, or it is no instance at all.
    #[error(
        "{0} is there to stay, so it is not replaced: delete it if it is left over, or give another id"
    )]
    Permanent(String),
    /// Somebody else has registered an instance of this id since.
    #[error("session {session} has registered an instance of this id since")]
    Newer {
        /// Who.
        session: SessionId,
    },
}

impl From<path::PathError> for NamingError {
    fn from(error: path::PathError) -> Self {
        Self::Session(error.into())
    }
}

/// The instances of a service, by id, and nodes beside them that are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Those that can be read.
    pub instances: Vec<Instance>,
    /// Names of the other nodes, and what is the matter with them.
    pub unreadable: Vec<(String, Unreadable)>,
}

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Somebody has deleted the node.
    Deleted,
    /// Somebody else has registered an instance of this id.
    Replaced {
        /// By whom.
        session: SessionId,
    },
    /// The session is over, and the node with it, or the servers refuse to tell.
    Ended(Error),
}

/// Services under one node.
#[derive(Debug, Clone)]
pub struct Directory {
    client: Client,
    root: String,
}

impl Directory {
    /// The services at a node: the base path of Curator's `ServiceDiscovery`.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, root: &str) -> Result<Self, NamingError> {
        path::validate(root)?;
        Ok(Self {
            client: client.clone(),
            root: root.to_owned(),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The node of a service.
    ///
    /// # Errors
    /// [`NamingError::Name`].
    pub fn service_node(&self, service: &str) -> Result<String, NamingError> {
        named(&self.root, service, "name of a service")
    }

    /// The node of an instance.
    ///
    /// # Errors
    /// [`NamingError::Name`].
    pub fn node(&self, service: &str, id: &str) -> Result<String, NamingError> {
        named(&self.service_node(service)?, id, "id of an instance")
    }

    /// Registers an instance for as long as the session lives. One with the same id, left by an earlier session or by
    /// somebody else, is replaced in one step: who lists the service meanwhile finds one or the other.
    ///
    /// # Errors
    /// [`NamingError::Permanent`], [`NamingError::Name`], [`NamingError::TooLarge`]; when there is no good reply.
    pub async fn register(
        &self,
        instance: &Instance,
        place: Extras,
    ) -> Result<Registration, NamingError> {
        self.register_since(instance, place, None).await
    }

    /// Registers an instance again after a registration was lost, if nobody else has registered one of the same id
    /// since: who comes back after a long sleep does not take the place of who has taken his.
    ///
    /// # Errors
    /// [`NamingError::Newer`], and as [`Self::register`].
    pub async fn register_again(
        &self,
        instance: &Instance,
        place: Extras,
        before: Zxid,
    ) -> Result<Registration, NamingError> {
        self.register_since(instance, place, Some(before)).await
    }

    async fn register_since(
        &self,
        instance: &Instance,
        place: Extras,
        before: Option<Zxid>,
    ) -> Result<Registration, NamingError> {
        check(instance, place)?;
        let service = self.service_node(&instance.name)?;
        let node = self.node(&instance.name, &instance.id)?;
        let data = data(instance, place)?;
        let open = [Acl::open()];
        loop {
            let ephemeral = CreateFlags::Ephemeral;
            match self
                .client
                .create(&node, data.clone(), ephemeral, &open)
                .await
            {
                Ok((_, stat)) => return Ok(self.registration(node, &stat)),
                Err(error) if error.is(ErrorCode::NoNode) => {
                    ensure_containers(&self.client, &service).await?;
                    continue;
                }
                // What was created with the answer lost is found to be there.
                Err(Error::ConnectionLoss) => continue,
                Err(error) if error.is(ErrorCode::NodeExists) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(stat) = self.client.exists(&node).await? else {
                continue;
            };
            let owner = stat.ephemeral_owner;
            if self.is_ours(owner) {
                match self.client.set(&node, data.clone(), stat.version).await {
                    Ok(stat) => return Ok(self.registration(node, &stat)),
                    Err(error) if is_race(&error) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            if owner == 0 {
                return Err(NamingError::Permanent(node));
            }
            if before.is_some_and(|before| stat.czxid > before) {
                return Err(NamingError::Newer {
                    session: SessionId(owner),
                });
            }
            let exchange = self
                .client
                .transaction()
                .delete(&node, stat.version)
                .create(&node, data.clone(), ephemeral, &open);
            match exchange.commit().await.map_err(Error::from) {
                Ok(results) => {
                    if let Some(MultiResult::Create2(_, stat)) = results.last() {
                        return Ok(self.registration(node, stat));
                    }
                }
                Err(error) if is_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_ours(&self, owner: i64) -> bool {
        self.client.session().map(|session| session.0) == Some(owner)
    }

    fn registration(&self, node: String, stat: &Stat) -> Registration {
        Registration {
            client: self.client.clone(),
            node,
            session: SessionId(stat.ephemeral_owner),
            czxid: stat.czxid,
        }
    }

    /// Takes this session's instance out; one that is not there, or is somebody else's, is left at that.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn withdraw(&self, service: &str, id: &str) -> Result<(), NamingError> {
        let node = self.node(service, id)?;
        loop {
            let stat = match self.client.exists(&node).await? {
                Some(stat) if self.is_ours(stat.ephemeral_owner) => stat,
                _ => return Ok(()),
            };
            match self.client.delete(&node, stat.version).await {
                Ok(()) => return Ok(()),
                Err(error) if is_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The services, by name.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn services(&self) -> Result<Vec<String>, NamingError> {
        Ok(self.names(&self.root).await?)
    }

    /// The instances of a service. A service that nobody has heard of has none.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn instances(&self, service: &str) -> Result<Listing, NamingError> {
        let ids = self.ids(service).await?;
        let mut listing = Listing::default();
        for (id, read) in self.read(service, &ids).await? {
            match read {
                Some(Ok(instance)) => listing.instances.push(instance),
                Some(Err(reason)) => listing.unreadable.push((id, reason)),
                None => {}
            }
        }
        Ok(listing)
    }

    /// The names of the nodes of a service's instances, in order.
    pub(super) async fn ids(&self, service: &str) -> Result<Vec<String>, NamingError> {
        Ok(self.names(&self.service_node(service)?).await?)
    }

    /// Reads instances by name; those that have gone meanwhile are none.
    pub(super) async fn read(
        &self,
        service: &str,
        ids: &[String],
    ) -> Result<Vec<(String, Option<Result<Instance, Unreadable>>)>, NamingError> {
        let parent = self.service_node(service)?;
        let mut found = Vec::new();
        for ids in ids.chunks(READ_AT_ONCE) {
            let asked: Vec<_> = ids
                .iter()
                .map(|id| self.fetch(path::join(&parent, id)))
                .collect();
            for (id, reply) in ids.iter().zip(asked) {
                let reply = reply.await.unwrap_or(Err(Error::Closed));
                let read = match reply {
                    Err(error) if error.is(ErrorCode::NoNode) => None,
                    Err(error) if error.is(ErrorCode::NoAuth) => Some(Err(Unreadable::Denied)),
                    reply => Some(Instance::parse(service, id, &bytes(reply?))),
                };
                found.push((id.clone(), read));
            }
        }
        Ok(found)
    }

    async fn names(&self, node: &str) -> Result<Vec<String>, Error> {
        let mut names = self.client.child_names(node).await?;
        names.sort_unstable();
        Ok(names)
    }

    /// Asks for a node in a task of its own, so that others are asked for meanwhile.
    fn fetch(&self, node: String) -> JoinHandle<Result<DataReply, Error>> {
        let client = self.client.clone();
        tokio::spawn(async move { client.get(&node).await })
    }
}

/// An instance that is registered. Dropping this leaves it registered.
#[derive(Debug)]
pub struct Registration {
    client: Client,
    node: String,
    session: SessionId,
    czxid: Zxid,
}

impl Registration {
    /// The transaction by which it was registered.
    #[must_use]
    pub const fn czxid(&self) -> Zxid {
        self.czxid
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Says something else about the instance.
    ///
    /// # Errors
    /// When there is no good reply; a registration that is lost is none, [`Self::lost`] tells that.
    pub async fn update(&self, instance: &Instance, place: Extras) -> Result<(), NamingError> {
        let data = data(instance, place)?;
        loop {
            let version = match self.client.exists(&self.node).await? {
                Some(stat) if stat.ephemeral_owner == self.session.0 => stat.version,
                _ => return Ok(()),
            };
            match self.client.set(&self.node, data.clone(), version).await {
                Ok(_) => return Ok(()),
                Err(error) if is_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the registration is lost, and says how. A lost connection is no loss: the instance stays registered
    /// as long as the session lives.
    pub async fn lost(&self) -> Lost {
        let mut states = self.client.states();
        let over = async {
            let state = states.wait_for(|state| state.is_over()).await;
            match state.map(|state| *state) {
                Ok(State::Expired) => Error::SessionExpired,
                _ => Error::Closed,
            }
        };
        tokio::select! {
            error = over => Lost::Ended(error),
            lost = self.gone() => lost,
        }
    }

    async fn gone(&self) -> Lost {
        loop {
            match self.client.exists_and_watch(&self.node).await {
                Ok((None, _)) => return Lost::Deleted,
                Ok((Some(stat), _)) if stat.ephemeral_owner != self.session.0 => {
                    return Lost::Replaced {
                        session: SessionId(stat.ephemeral_owner),
                    };
                }
                Ok((Some(_), change)) => {
                    if let Err(error) = change.await {
                        return Lost::Ended(error);
                    }
                }
                Err(error) => return Lost::Ended(error),
            }
        }
    }
}

/// Whether an instance can be registered, as far as that can be told without servers.
///
/// # Errors
/// [`NamingError::Name`], [`NamingError::TooLarge`].
pub fn check(instance: &Instance, place: Extras) -> Result<(), NamingError> {
    let service = named("/", &instance.name, "name of a service")?;
    named(&service, &instance.id, "id of an instance")?;
    if let Some(address) = instance.address.as_ref().filter(|text| !is_address(text)) {
        return Err(NamingError::Name {
            name: address.clone(),
            of: "address",
            reason: format!("it is not {HOST}"),
        });
    }
    data(instance, place).map(drop)
}

/// A node below another, of one name.
fn named(parent: &str, name: &str, of: &'static str) -> Result<String, NamingError> {
    let wrong = |reason: String| NamingError::Name {
        name: name.to_owned(),
        of,
        reason,
    };
    if name.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    if name.contains('/') {
        return Err(wrong("it has a slash".to_owned()));
    }
    let node = path::join(parent, name);
    path::validate(&node).map_err(|error| wrong(error.to_string()))?;
    Ok(node)
}

fn data(instance: &Instance, place: Extras) -> Result<Bytes, NamingError> {
    let data = instance.to_data(place);
    if data.len() > INSTANCE_BYTES_MAX {
        return Err(NamingError::TooLarge(data.len()));
    }
    Ok(data.into())
}

fn bytes(reply: DataReply) -> Bytes {
    reply.data.unwrap_or_default()
}

/// Whether it is worth looking again: somebody else was quicker, or it is not known who was.
fn is_race(error: &Error) -> bool {
    let race = [
        ErrorCode::BadVersion,
        ErrorCode::NoNode,
        ErrorCode::NodeExists,
    ];
    *error == Error::ConnectionLoss || race.iter().any(|code| error.is(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_read_is_not_registered() {
        let long = "x".repeat(INSTANCE_BYTES_MAX);
        for (name, id, address, wrong) in [
            ("web", "h:1", "h", ""),
            ("", "a", "h", "\"\" is no name of a service: it is empty"),
            (
                "a/b",
                "a",
                "h",
                "\"a/b\" is no name of a service: it has a slash",
            ),
            (
                "web",
                "a/b",
                "h",
                "\"a/b\" is no id of an instance: it has a slash",
            ),
            (
                "..",
                "a",
                "h",
                "\"..\" is no name of a service: Invalid path",
            ),
            (
                "web",
                "a\n",
                "h",
                "\"a\n\" is no id of an instance: Invalid path",
            ),
            ("web", "a", "", "\"\" is no address: it is not a host name"),
            (
                "web",
                "a",
                "a b",
                "\"a b\" is no address: it is not a host name",
            ),
            ("web", "a", &long, "the instance takes 6"),
        ] {
            let instance = Instance::new(name, id, Some(address.to_owned()));
            let said = match check(&instance, Extras::Payload) {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(
                said.starts_with(wrong) && said.is_empty() == wrong.is_empty(),
                "{said}"
            );
        }
    }
}
