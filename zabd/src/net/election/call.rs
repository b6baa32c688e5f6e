//! Calling, and being called: the first message of a connection, and which connection stays.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use jute_codec::quorum::InitialMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tracing::debug;

use super::net::Shared;
use super::table::Plan;
use crate::net::dial;
use crate::replica::ensemble::{HostPort, ServerId};

/// Room for the first bytes of a connection.
const INBOUND_BYTES: usize = 1 << 10;

/// The id of servers that have none. ZooKeeper: `QuorumPeer.OBSERVER_ID`.
const UNNAMED: ServerId = ServerId(i64::MAX);

/// Starts greeting a caller.
pub(super) fn greet(stream: TcpStream, caller: SocketAddr, shared: &Arc<Shared>) -> AbortHandle {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let greeting = greeted(stream, &shared);
        match tokio::time::timeout(shared.params.handshake_timeout, greeting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%caller, %error, "a caller on the election port is refused"),
            Err(_) => debug!(%caller, "a caller on the election port does not say who it is"),
        }
    })
    .abort_handle()
}

async fn greeted(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    dial::prepare(&stream, shared.params.keep_alive)?;
    let mut inbound = BytesMut::new();
    let (caller, advertised) = loop {
        if let Some(initial) = take_initial(&mut inbound)? {
            break initial;
        }
        inbound.reserve(INBOUND_BYTES);
        if stream.read_buf(&mut inbound).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let me = shared.params.me;
    if caller == UNNAMED {
        let name = shared.table().name_unnamed();
        shared.attach(name, stream, inbound)
    } else if caller > me {
        shared.attach(caller, stream, inbound)
    } else if caller < me {
        drop(stream);
        let plan = shared.table().begin_call_back(caller, advertised);
        shared.follow(caller, plan);
        Ok(())
    } else {
        let why = format!("it has this server's id, {me}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

/// Takes the initial message once it is whole: who calls, and where it can be called back.
fn take_initial(inbound: &mut BytesMut) -> io::Result<Option<(ServerId, Vec<HostPort>)>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let Some(initial) =
        InitialMessage::take(inbound).map_err(|error| invalid(error.to_string()))?
    else {
        return Ok(None);
    };
    if initial.server < 0 {
        return Err(invalid(format!("{} is no server's id", initial.server)));
    }
    let advertised = initial.addresses.into_iter().map(|address| HostPort {
        host: address.host,
        port: address.port,
    });
    Ok(Some((ServerId(initial.server), advertised.collect())))
}

/// Calls a server until that has worked, or all addresses were tried.
pub(super) async fn call(to: ServerId, mut plan: Plan, shared: Arc<Shared>) {
    loop {
        let connected = match called(to, plan, &shared).await {
            Ok(()) => true,
            Err(error) => {
                debug!(sid = %to, %error, "a server cannot be reached on its election port");
                false
            }
        };
        match shared.table().end_call(to, connected) {
            Some(next) => plan = next,
            None => return,
        }
    }
}

async fn called(to: ServerId, plan: Plan, shared: &Arc<Shared>) -> io::Result<()> {
    let params = &shared.params;
    let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
    for addresses in plan {
        let attempts = addresses
            .into_iter()
            .map(|host| dial::connect(host, params.connect_timeout));
        outcome = dial::first_of(attempts, dial::STAGGER).await;
        if outcome.is_ok() {
            break;
        }
    }
    let mut stream = outcome?;
    dial::prepare(&stream, params.keep_alive)?;
    // In one write: ZooKeeper reads it with one call, and refuses what is not there then.
    tokio::time::timeout(
        params.handshake_timeout,
        stream.write_all(&shared.initial_message),
    )
    .await??;
    if to < params.me {
        shared.attach(to, stream, BytesMut::new())
    } else {
        debug!(sid = %to, "a server with a greater id was called; it calls back");
        Ok(())
    }
}
