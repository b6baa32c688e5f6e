//! The leader's listeners, and callers that have not said anything yet.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};

use super::inbound::Inbound;
use super::net::Shared;
use crate::net::{dial, listen};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// How long binding rests between two attempts: another leader of before may be about to close.
const BIND_REST: Duration = Duration::from_millis(100);

/// Listens until the task is dropped. `closing` is dropped with the last listener.
pub(super) async fn run(shared: Arc<Shared>, closing: mpsc::Sender<()>) {
    let listeners = bind(&shared).await;
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (shared, closing) = (Arc::clone(&shared), closing.clone());
        accepting.spawn(async move {
            let greet = |stream, caller| greet(stream, caller, &shared);
            listen::accept(listener, shared.params.unfinished_max, greet).await;
            drop(closing);
        });
    }
    while accepting.join_next().await.is_some() {}
}

/// Tries on until there are listeners: without them a leader cannot lead, and it gives up by itself.
async fn bind(shared: &Arc<Shared>) -> Vec<tokio::net::TcpListener> {
    let mut failed = false;
    loop {
        let binding = Arc::clone(shared);
        let bound = tokio::task::spawn_blocking(move || {
            let everywhere = binding.params.listen_everywhere;
            listen::bind_hosts(&binding.addresses(), everywhere, BACKLOG)
        });
        match bound
            .await
            .map_err(io::Error::other)
            .flatten()
            .and_then(watched)
        {
            Ok((listeners, addresses)) => {
                info!(?addresses, "quorum port is open");
                shared.set_local_addrs(addresses);
                return listeners;
            }
            Err(error) => {
                if !failed {
                    warn!(%error, "the quorum port cannot be bound; trying on");
                }
                failed = true;
                tokio::time::sleep(BIND_REST).await;
            }
        }
    }
}

fn watched(bound: Vec<TcpListener>) -> io::Result<(Vec<tokio::net::TcpListener>, Vec<SocketAddr>)> {
    let addresses = bound
        .iter()
        .map(TcpListener::local_addr)
        .collect::<io::Result<_>>()?;
    let listeners = bound
        .into_iter()
        .map(tokio::net::TcpListener::from_std)
        .collect::<io::Result<_>>()?;
    Ok((listeners, addresses))
}

/// Starts waiting for a caller's first packet.
fn greet(stream: TcpStream, caller: SocketAddr, shared: &Arc<Shared>) -> AbortHandle {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let greeting = greeted(stream, caller, &shared);
        match tokio::time::timeout(shared.params.initial_timeout, greeting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%caller, %error, "a caller on the quorum port is refused"),
            Err(_) => debug!(%caller, "a caller on the quorum port says nothing"),
        }
    })
    .abort_handle()
}

async fn greeted(stream: TcpStream, caller: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    dial::prepare(&stream, shared.params.keep_alive)?;
    let (reader, writer) = stream.into_split();
    let (first, inbound) = Inbound::first(reader, shared.params.data_bytes_max).await?;
    shared.accepted(caller, first, inbound, writer)
}
