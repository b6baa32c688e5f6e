//! Reading and publishing.

use std::collections::BTreeMap;

use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode};
use serde_json::{Value as Json, json};

use super::model::{Document, Grey, Instance, ModelError, Namespace};
use crate::path::{self, PathError};
use crate::recipes::ensure_path;
use crate::session::{Client, Error};

/// The nodes below a namespace.
const HISTORY: &str = "history";
const GREY: &str = "grey";
pub(super) const HOLDERS: &str = "holders";

/// Revisions that are kept; older ones go when a new one is published.
const HISTORY_MAX: u64 = 100;

/// Why something was not read or published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CentreError {
    /// The servers, or the session. After [`Error::ConnectionLoss`] it may be published or not.
    #[error(transparent)]
    Session(#[from] Error),
    /// What is there is not ours, or what is given makes no sense.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Somebody has published since.
    #[error(
        "{namespace} is at revision {there}, not {wanted}: look at what has changed, and publish again"
    )]
    Stale {
        /// What was to be published to.
        namespace: String,
        /// The revision in force.
        there: u64,
        /// The one that was expected.
        wanted: u64,
    },
    /// There is no such revision, or it is too old to be kept.
    #[error("{namespace} has no revision {revision}")]
    NoRevision {
        /// The namespace.
        namespace: String,
        /// The revision.
        revision: u64,
    },
    /// There is no grey release to do something about.
    #[error("{0} has no grey release")]
    NoGrey(String),
    /// A grey release has to be promoted or abandoned first.
    #[error("{0} has a grey release: promote or abandon it first")]
    GreyPending(String),
}

impl From<PathError> for CentreError {
    fn from(error: PathError) -> Self {
        Self::Session(error.into())
    }
}

/// An instance that has taken a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub instance: Instance,
    /// What.
    pub revision: u64,
}

impl Holder {
    pub(super) fn to_json(&self) -> Json {
        json!({
            "revision": self.revision,
            "address": self.instance.address,
            "labels": self.instance.labels,
        })
    }

    fn parse(id: &str, data: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(data).ok()?;
        let labels = json.get("labels").and_then(Json::as_object);
        let labels: BTreeMap<_, _> = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let address = json.get("address").and_then(Json::as_str);
        Some(Self {
            instance: Instance {
                id: id.to_owned(),
                address: address.unwrap_or_default().to_owned(),
                labels,
            },
            revision: json.get("revision")?.as_u64()?,
        })
    }
}

/// All namespaces under one node.
#[derive(Debug, Clone)]
pub struct Centre {
    pub(super) client: Client,
    root: String,
}

/// A document and the version of its node.
struct Kept {
    document: Document,
    version: i32,
}

impl Centre {
    /// The configuration centre at a node, `/config` by custom.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, root: &str) -> Result<Self, CentreError> {
        path::validate(root)?;
        Ok(Self {
            client: client.clone(),
            root: root.to_owned(),
        })
    }

    /// The node of a namespace.
    #[must_use]
    pub fn node(&self, namespace: &Namespace) -> String {
        path::join(&self.root, &namespace.to_string())
    }

    /// What is in force; revision 0 where nothing was published.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn current(&self, namespace: &Namespace) -> Result<Document, CentreError> {
        Ok(self
            .kept(namespace)
            .await?
            .map(|kept| kept.document)
            .unwrap_or_default())
    }

    /// The grey release, if there is one.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn grey(&self, namespace: &Namespace) -> Result<Option<Grey>, CentreError> {
        Ok(self.kept_grey(namespace).await?.map(|(grey, _)| grey))
    }

    /// The revisions that are kept, newest first.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn history(&self, namespace: &Namespace) -> Result<Vec<Document>, CentreError> {
        let history = path::join(&self.node(namespace), HISTORY);
        let mut revisions = self.revisions(&history).await?;
        revisions.reverse();
        let mut documents = Vec::new();
        for revision in revisions {
            documents.push(self.revision(namespace, revision).await?);
        }
        Ok(documents)
    }

    /// One revision.
    ///
    /// # Errors
    /// [`CentreError::NoRevision`]; when there is no good reply.
    pub async fn revision(
        &self,
        namespace: &Namespace,
        revision: u64,
    ) -> Result<Document, CentreError> {
        match self
            .client
            .get(&self.revision_node(namespace, revision))
            .await
        {
            Err(error) if error.is(ErrorCode::NoNode) => Err(CentreError::NoRevision {
                namespace: namespace.to_string(),
                revision,
            }),
            reply => Ok(Document::parse(&reply?.data.unwrap_or_default())?),
        }
    }

    /// Publishes values, all at one time, in place of those in force: `values` is everything that is configured then.
    /// `base` is the revision that they were made from; another one in force is an error. Says what is in force now.
    ///
    /// # Errors
    /// [`CentreError::Stale`], [`CentreError::GreyPending`]; [`Error::ConnectionLoss`] when that is unknown.
    pub async fn publish(
        &self,
        namespace: &Namespace,
        base: u64,
        document: Document,
    ) -> Result<Document, CentreError> {
        if self.grey(namespace).await?.is_some() {
            return Err(CentreError::GreyPending(namespace.to_string()));
        }
        self.put_in_force(namespace, base, document, None).await
    }

    /// Lets some instances take other values than those in force, in place of an earlier grey release.
    ///
    /// # Errors
    /// [`CentreError::Stale`]; [`Error::ConnectionLoss`] when that is unknown.
    pub async fn release_grey(
        &self,
        namespace: &Namespace,
        base: u64,
        mut grey: Grey,
    ) -> Result<Grey, CentreError> {
        let kept = self.at(namespace, base).await?;
        let node = self.node(namespace);
        let acl = self.acl(namespace).await?;
        grey.document.revision = base + 1;
        let data = grey.to_json().to_string();
        let place = path::join(&node, GREY);
        let transaction = self.client.transaction().check(&node, kept.version);
        let done = match self.kept_grey(namespace).await? {
            Some((_, version)) => transaction.set(&place, data, version).commit().await,
            None => {
                let flags = CreateFlags::Persistent;
                transaction.create(&place, data, flags, &acl).commit().await
            }
        };
        match done {
            Ok(_) => Ok(grey),
            Err(error) => Err(self.raced(namespace, base, error.into()).await),
        }
    }

    /// Puts what some instances have taken in force for all.
    ///
    /// # Errors
    /// [`CentreError::NoGrey`], [`CentreError::Stale`]; [`Error::ConnectionLoss`] when that is unknown.
    pub async fn promote(&self, namespace: &Namespace) -> Result<Document, CentreError> {
        let Some((grey, version)) = self.kept_grey(namespace).await? else {
            return Err(CentreError::NoGrey(namespace.to_string()));
        };
        let base = grey.document.revision.saturating_sub(1);
        self.put_in_force(namespace, base, grey.document, Some(version))
            .await
    }

    /// Takes a grey release back.
    ///
    /// # Errors
    /// [`CentreError::NoGrey`]; when there is no good reply.
    pub async fn abandon(&self, namespace: &Namespace) -> Result<(), CentreError> {
        let grey = path::join(&self.node(namespace), GREY);
        match self.client.delete(&grey, -1).await {
            Err(error) if error.is(ErrorCode::NoNode) => {
                Err(CentreError::NoGrey(namespace.to_string()))
            }
            done => Ok(done?),
        }
    }

    /// The instances that follow a namespace, by name, and the revisions that they have taken.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn holders(&self, namespace: &Namespace) -> Result<Vec<Holder>, CentreError> {
        let parent = path::join(&self.node(namespace), HOLDERS);
        let mut names = self.client.child_names(&parent).await?;
        names.sort_unstable();
        let mut holders = Vec::new();
        for name in names {
            match self.client.get(&path::join(&parent, &name)).await {
                Ok(reply) => holders.extend(Holder::parse(&name, &reply.data.unwrap_or_default())),
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(holders)
    }

    /// Everything there is below `prefix`: environments, applications of one, namespaces of one.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, CentreError> {
        let node = match prefix.trim_matches('/') {
            "" => self.root.clone(),
            prefix => path::join(&self.root, prefix),
        };
        let mut names = self.client.child_names(&node).await?;
        names.sort_unstable();
        Ok(names)
    }

    /// Gives an application's nodes, from now on, to some only: those that exist, and those that are made below. Who
    /// follows may be seen and said by everybody all the same.
    ///
    /// # Errors
    /// Among others `InvalidAcl`, `NoAuth`.
    pub async fn restrict(&self, namespace: &Namespace, acl: &[Acl]) -> Result<(), CentreError> {
        let environment = path::join(&self.root, &namespace.environment);
        self.create(&environment, &namespace.application).await?;
        self.give(path::join(&environment, &namespace.application), acl)
            .await
    }

    /// The same for all applications of an environment.
    ///
    /// # Errors
    /// As [`Self::restrict`].
    pub async fn restrict_environment(
        &self,
        environment: &str,
        acl: &[Acl],
    ) -> Result<(), CentreError> {
        let environment = path::join(&self.root, environment);
        path::validate(&environment)?;
        ensure_path(&self.client, &environment).await?;
        self.give(environment, acl).await
    }

    async fn give(&self, top: String, acl: &[Acl]) -> Result<(), CentreError> {
        let mut nodes = vec![top];
        while let Some(node) = nodes.pop() {
            // Children first: behind the change the rest may be closed to us.
            for name in self.client.child_names(&node).await? {
                if name != HOLDERS {
                    nodes.push(path::join(&node, &name));
                }
            }
            self.client.set_acl(&node, acl, -1).await?;
        }
        Ok(())
    }

    async fn put_in_force(
        &self,
        namespace: &Namespace,
        base: u64,
        mut document: Document,
        grey: Option<i32>,
    ) -> Result<Document, CentreError> {
        let kept = self.at(namespace, base).await?;
        let node = self.node(namespace);
        let acl = self.acl(namespace).await?;
        document.revision = base + 1;
        let data = document.to_json().to_string();
        let history = self.revision_node(namespace, document.revision);
        let mut transaction = self
            .client
            .transaction()
            .set(&node, data.clone(), kept.version)
            .create(&history, data, CreateFlags::Persistent, &acl);
        if let Some(version) = grey {
            transaction = transaction.delete(&path::join(&node, GREY), version);
        }
        match transaction.commit().await {
            Ok(_) => {}
            Err(error) => {
                let error = error.into();
                // What is in force now tells whether it was this one: nobody else publishes the same.
                let ours =
                    error == Error::ConnectionLoss && self.current(namespace).await? == document;
                if !ours {
                    return Err(self.raced(namespace, base, error).await);
                }
            }
        }
        self.forget_old(namespace, document.revision).await?;
        Ok(document)
    }

    /// What is in force, if it is the revision `base`; the nodes are made if need be.
    async fn at(&self, namespace: &Namespace, base: u64) -> Result<Kept, CentreError> {
        let kept = match self.kept(namespace).await? {
            Some(kept) => kept,
            None => {
                self.prepare(namespace).await?;
                let kept = self.kept(namespace).await?;
                kept.ok_or(Error::Server(ErrorCode::NoNode.code()))?
            }
        };
        if kept.document.revision != base {
            return Err(CentreError::Stale {
                namespace: namespace.to_string(),
                there: kept.document.revision,
                wanted: base,
            });
        }
        Ok(kept)
    }

    /// The words for a transaction that somebody else was quicker than.
    async fn raced(&self, namespace: &Namespace, base: u64, error: Error) -> CentreError {
        let race = [
            ErrorCode::BadVersion,
            ErrorCode::NodeExists,
            ErrorCode::NoNode,
        ];
        if !race.iter().any(|code| error.is(*code)) {
            return error.into();
        }
        match self.current(namespace).await {
            Ok(document) => CentreError::Stale {
                namespace: namespace.to_string(),
                there: document.revision,
                wanted: base,
            },
            Err(error) => error,
        }
    }

    /// Makes a namespace's nodes. They belong to whom the application's node belongs to; everybody who may read may
    /// say that he holds a revision.
    pub(super) async fn prepare(&self, namespace: &Namespace) -> Result<(), CentreError> {
        let node = self.node(namespace);
        let environment = path::join(&self.root, &namespace.environment);
        self.create(&environment, &namespace.application).await?;
        let acl = self.acl(namespace).await?;
        self.create_with(&node, &acl).await?;
        self.create_with(&path::join(&node, HISTORY), &acl).await?;
        self.create_with(&path::join(&node, HOLDERS), &[Acl::open()])
            .await
    }

    /// Makes an application's node. It belongs to whom the environment's node belongs to.
    async fn create(&self, environment: &str, application: &str) -> Result<(), CentreError> {
        ensure_path(&self.client, environment).await?;
        let application = path::join(environment, application);
        if self.client.exists(&application).await?.is_some() {
            return Ok(());
        }
        let acl = self.client.acl(environment).await?.acl;
        self.create_with(&application, &acl).await
    }

    async fn create_with(&self, path: &str, acl: &[Acl]) -> Result<(), CentreError> {
        // Who may only read is refused even where there is nothing to do.
        if self.client.exists(path).await?.is_some() {
            return Ok(());
        }
        loop {
            let flags = CreateFlags::Persistent;
            match self.client.create(path, "", flags, acl).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is(ErrorCode::NodeExists) => return Ok(()),
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn acl(&self, namespace: &Namespace) -> Result<Vec<Acl>, CentreError> {
        let application = path::join(
            &path::join(&self.root, &namespace.environment),
            &namespace.application,
        );
        Ok(self.client.acl(&application).await?.acl)
    }

    async fn forget_old(&self, namespace: &Namespace, newest: u64) -> Result<(), CentreError> {
        let history = path::join(&self.node(namespace), HISTORY);
        for revision in self.revisions(&history).await? {
            if revision + HISTORY_MAX > newest {
                break;
            }
            let node = self.revision_node(namespace, revision);
            match self.client.delete(&node, -1).await {
                // Another time will do as well, and somebody else.
                Ok(()) | Err(Error::ConnectionLoss) => {}
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn kept(&self, namespace: &Namespace) -> Result<Option<Kept>, CentreError> {
        match self.client.get(&self.node(namespace)).await {
            Err(error) if error.is(ErrorCode::NoNode) => Ok(None),
            reply => {
                let reply = reply?;
                Ok(Some(Kept {
                    document: Document::parse(&reply.data.unwrap_or_default())?,
                    version: reply.stat.version,
                }))
            }
        }
    }

    async fn kept_grey(&self, namespace: &Namespace) -> Result<Option<(Grey, i32)>, CentreError> {
        let node = path::join(&self.node(namespace), GREY);
        match self.client.get(&node).await {
            Err(error) if error.is(ErrorCode::NoNode) => Ok(None),
            reply => {
                let reply = reply?;
                let grey = Grey::parse(&reply.data.unwrap_or_default())?;
                Ok(Some((grey, reply.stat.version)))
            }
        }
    }

    fn revision_node(&self, namespace: &Namespace, revision: u64) -> String {
        path::join(
            &path::join(&self.node(namespace), HISTORY),
            &format!("{revision:010}"),
        )
    }

    pub(super) fn grey_node(&self, namespace: &Namespace) -> String {
        path::join(&self.node(namespace), GREY)
    }

    /// The revisions in a history, oldest first.
    async fn revisions(&self, history: &str) -> Result<Vec<u64>, CentreError> {
        let names = self.client.child_names(history).await?;
        let mut revisions: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        revisions.sort_unstable();
        Ok(revisions)
    }
}
