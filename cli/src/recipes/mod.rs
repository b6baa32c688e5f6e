//! Recipes: what several processes agree on by nodes, on the layouts of Curator and kazoo.
//!
//! | module | what it holds |
//! |---|---|
//! | [`lock`] | locks that exclude, shared locks, leaders: everything that stands in a line |
//! | [`semaphore`] | several holders at a time |
//! | [`barrier`] | waiting for each other |
//! | [`queue`], [`counter`] | one thing after the other |
//! | [`id`] | numbers that nobody else has |
//!
//! A recipe says what it holds and when that may be lost, and never guesses how a lost request ended. Whoever changes
//! something outside by what he holds presents the fencing token there, and whoever is changed refuses tokens below the
//! greatest that it has seen.

pub mod barrier;
pub mod counter;
pub mod id;
mod line;
pub mod lock;
pub mod queue;
pub mod semaphore;

use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode};

use crate::session::{Client, Error, State};

/// Makes a node and what is above it, where they are missing: containers, which go when they are empty, as Curator's.
///
/// # Errors
/// When a node cannot be made for another reason than that it is there.
pub async fn ensure_containers(client: &Client, path: &str) -> Result<(), Error> {
    ensure(client, path, CreateFlags::Container).await
}

/// Makes a node and what is above it, where they are missing, to stay.
///
/// # Errors
/// As [`ensure_containers`].
pub async fn ensure_path(client: &Client, path: &str) -> Result<(), Error> {
    ensure(client, path, CreateFlags::Persistent).await
}

async fn ensure(client: &Client, path: &str, flags: CreateFlags) -> Result<(), Error> {
    if path == "/" || client.exists(path).await?.is_some() {
        return Ok(());
    }
    let mut flags = flags;
    let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/');
    let ends: Vec<usize> = ends.map(|(at, _)| at).chain([path.len()]).collect();
    for end in ends {
        let part = &path[..end];
        loop {
            match client.create(part, "", flags, &[Acl::open()]).await {
                Ok(_) => break,
                Err(error) if error.is(ErrorCode::NodeExists) => break,
                // Asking twice does no harm.
                Err(Error::ConnectionLoss) => {}
                // Before ZooKeeper 3.5 there are no containers.
                Err(error)
                    if error.is(ErrorCode::Unimplemented) && flags == CreateFlags::Container =>
                {
                    flags = CreateFlags::Persistent;
                }
                // A parent may be closed to us and the rest of the path there all the same.
                Err(error) if error.is(ErrorCode::NoAuth) && end < path.len() => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Waits until what is held by an ephemeral node is lost or may be: the session over or overdue, or the node deleted by
/// somebody.
pub(crate) async fn lost(client: &Client, node: &str) -> Error {
    let mut states = client.states();
    let unsafe_state = async {
        let state = states.wait_for(|state| !state.is_safe()).await;
        match state.map(|state| *state) {
            Ok(State::Closed) => Error::Closed,
            _ => Error::SessionExpired,
        }
    };
    let gone = async {
        loop {
            match client.exists_and_watch(node).await {
                Ok((None, _)) => return Error::Server(ErrorCode::NoNode.code()),
                Ok((Some(_), change)) => {
                    if let Err(error) = change.await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = unsafe_state => error,
        error = gone => error,
    }
}
