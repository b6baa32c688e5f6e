//! The task behind a client: finds servers, moves bytes, keeps time. It decides nothing about requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use jute_codec::frame::take_frame;
use jute_codec::proto::{Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use super::Credential;
use super::core::{Answer, Core, Pending};
use super::error::Error;
use crate::connect_string::HostPort;
use crate::random;

/// The largest reply taken, in bytes: well above what a server takes in requests, as a list of children may be longer.
const REPLY_BYTES_MAX: usize = 128 << 20;

/// The pauses between rounds through all servers.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a client of a read-only server looks for a better one, at first and later.
const SEARCH_MIN: Duration = Duration::from_millis(100);
const SEARCH_MAX: Duration = Duration::from_secs(60);

/// How long a server that is asked whether it takes writes may think about it.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// What a client's handles ask of its task.
#[derive(Debug)]
pub(super) enum Command {
    Submit(Pending),
    AddCredential(Credential, Answer),
    /// Close the session; give up when it takes this long.
    Close(Answer, Duration),
}

/// Why servers could not be reached, the latest of each.
pub(super) type Reasons = Arc<Mutex<Vec<(String, String)>>>;

pub(super) struct Driver {
    pub(super) core: Core,
    pub(super) servers: Vec<HostPort>,
    pub(super) commands: UnboundedReceiver<Command>,
    pub(super) reasons: Reasons,
    /// How long one address is given to accept a connection.
    pub(super) connect_patience: Duration,
    /// The server to try next.
    next: usize,
    /// Servers tried in vain since the last session.
    failures: usize,
    /// When to give up closing.
    close_by: Option<Instant>,
    out: Vec<u8>,
}

impl Driver {
    pub(super) fn new(
        core: Core,
        mut servers: Vec<HostPort>,
        commands: UnboundedReceiver<Command>,
        reasons: Reasons,
        connect_patience: Duration,
    ) -> Self {
        random::shuffle(&mut servers);
        Self {
            core,
            servers,
            commands,
            reasons,
            connect_patience,
            next: 0,
            failures: 0,
            close_by: None,
            out: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while !self.core.has_ended() {
            let server = self.servers[self.next % self.servers.len()].clone();
            self.next = self.next.wrapping_add(1);
            let reason = match self.dial(&server).await {
                None => break,
                Some(Ok(stream)) => self.serve(stream).await,
                Some(Err(reason)) => reason,
            };
            self.note(&server, reason);
        }
        // Everything is told why from now on, as long as there is anybody to ask.
        while let Some(command) = self.commands.recv().await {
            self.take(Some(command));
        }
    }

    /// Connects to a server, its name looked up anew; pauses first when all have failed. `None` when the session ends
    /// meanwhile.
    async fn dial(&mut self, server: &HostPort) -> Option<Result<TcpStream, String>> {
        let pause = pause(self.failures, self.servers.len());
        self.failures = self.failures.saturating_add(1);
        let patience = self.connect_patience;
        let server = server.clone();
        let connect = async move {
            sleep(pause).await;
            connect(&server, patience).await
        };
        tokio::pin!(connect);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                connected = &mut connect => return Some(connected),
                command = self.commands.recv(), if self.close_by.is_none() => self.take(command),
                () = until(deadline) => {}
            }
            // Between connections there is nobody to ping and nobody to give up.
            drop(self.core.on_time(Instant::now(), &mut self.out));
            self.give_up_closing();
            if self.core.has_ended() {
                return None;
            }
        }
    }

    /// Serves a connection to its end, and says why it ended.
    async fn serve(&mut self, mut stream: TcpStream) -> String {
        self.out.clear();
        self.core.on_link(Instant::now(), &mut self.out);
        let reason = self.exchange(&mut stream).await;
        if self.core.has_ended() {
            // What is left, such as nothing; the server closes after its last reply anyhow.
            drop(stream.shutdown().await);
        }
        self.core.on_link_lost();
        self.out.clear();
        reason
    }

    async fn exchange(&mut self, stream: &mut TcpStream) -> String {
        let (mut reading, mut writing) = stream.split();
        let mut input = BytesMut::with_capacity(16 << 10);
        let mut sent = 0;
        let mut better = None;
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                // First what has come: after a pause of this process it tells whether the session lives.
                read = reading.read_buf(&mut input) => match read {
                    Ok(0) => return "it closed the connection".to_owned(),
                    Ok(_) => {
                        if let Err(reason) = self.take_frames(&mut input) {
                            return reason;
                        }
                    }
                    Err(error) => return error.to_string(),
                },
                written = writing.write(&self.out[sent..]), if sent < self.out.len() => match written {
                    Ok(length) => {
                        sent += length;
                        if sent == self.out.len() {
                            self.out.clear();
                            sent = 0;
                        }
                    }
                    Err(error) => return error.to_string(),
                },
                command = self.commands.recv(), if self.close_by.is_none() => {
                    self.take(command);
                    while let Ok(command) = self.commands.try_recv() {
                        self.take(Some(command));
                    }
                }
                index = found(&mut better) => {
                    self.next = index;
                    self.failures = 0;
                    return "another server takes writes".to_owned();
                }
                () = until(deadline) => {}
            }
            if let Err(error) = self.core.on_time(Instant::now(), &mut self.out) {
                return error.to_string();
            }
            self.give_up_closing();
            if self.core.has_ended() {
                return "the session is over".to_owned();
            }
            if self.core.is_up() {
                self.failures = 0;
            }
            if self.core.is_read_only() && better.is_none() {
                better = Some(Box::pin(find_read_write(self.servers.clone())));
            }
        }
    }

    fn take_frames(&mut self, input: &mut BytesMut) -> Result<(), String> {
        let now = Instant::now();
        loop {
            match take_frame(input, REPLY_BYTES_MAX) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self
                    .core
                    .on_frame(&frame, now, &mut self.out)
                    .map_err(|error| error.to_string())?,
                Err(error) => return Err(error.to_string()),
            }
            if self.core.has_ended() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, command: Option<Command>) {
        let now = Instant::now();
        match command {
            Some(Command::Submit(pending)) => self.core.submit(pending, now, &mut self.out),
            Some(Command::AddCredential(credential, answer)) => {
                self.core
                    .add_credential(credential, answer, now, &mut self.out);
            }
            Some(Command::Close(answer, patience)) => self.close(answer, now + patience),
            // All handles are gone: nobody can use the session any more.
            None if self.close_by.is_none() => {
                let (answer, _) = oneshot::channel();
                self.close(answer, now + PROBE_PATIENCE);
            }
            None => {}
        }
    }

    fn close(&mut self, answer: Answer, by: Instant) {
        self.close_by = Some(by);
        if self.core.has_session() {
            let pending = Pending {
                request: Request::CloseSession,
                answer,
                watch: None,
            };
            self.core.submit(pending, Instant::now(), &mut self.out);
        } else {
            self.core.end(Error::Closed);
            drop(answer.send(Ok(Reply::Empty)));
        }
    }

    fn give_up_closing(&mut self) {
        if self.close_by.is_some_and(|by| Instant::now() >= by) {
            self.core.end(Error::Closed);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        [self.core.deadline(Instant::now()), self.close_by]
            .into_iter()
            .flatten()
            .min()
    }

    fn note(&self, server: &HostPort, reason: String) {
        let server = server.to_string();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.retain(|(noted, _)| *noted != server);
        reasons.push((server, reason));
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// How long to wait before another try: not at all within a round through the servers, longer with each round.
fn pause(failures: usize, servers: usize) -> Duration {
    if failures == 0 || !failures.is_multiple_of(servers) {
        return Duration::ZERO;
    }
    let rounds = u32::try_from(failures / servers).unwrap_or(u32::MAX);
    let longest = PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(rounds.saturating_sub(1)))
        .min(PAUSE_MAX);
    // Not all clients of a server that comes back at one time.
    longest.mul_f64(0.5 + 0.5 * random::fraction())
}

/// Connects to a server's addresses in random order.
async fn connect(server: &HostPort, patience: Duration) -> Result<TcpStream, String> {
    let mut addresses = addresses(server).await?;
    random::shuffle(&mut addresses);
    let mut reason = "its name stands for no address".to_owned();
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => reason = error.to_string(),
            },
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = format!("no connection within {} ms", patience.as_millis()),
        }
    }
    Err(reason)
}

async fn addresses(server: &HostPort) -> Result<Vec<SocketAddr>, String> {
    lookup_host((server.host.as_str(), server.port))
        .await
        .map(Iterator::collect)
        .map_err(|error| error.to_string())
}

/// What [`find_read_write`] will say.
type Search = std::pin::Pin<Box<dyn Future<Output = usize> + Send>>;

async fn found(search: &mut Option<Search>) -> usize {
    match search {
        Some(search) => search.await,
        None => std::future::pending().await,
    }
}

/// Looks for a server that takes writes, for as long as it takes.
///
/// ZooKeeper: `ClientCnxn.SendThread.pingRwServer`.
async fn find_read_write(servers: Vec<HostPort>) -> usize {
    let mut wait = SEARCH_MIN;
    for index in (0..servers.len()).cycle() {
        sleep(wait).await;
        wait = (wait * 2).min(SEARCH_MAX);
        if let Ok(true) = timeout(PROBE_PATIENCE, takes_writes(&servers[index])).await {
            return index;
        }
    }
    std::future::pending().await
}

async fn takes_writes(server: &HostPort) -> bool {
    let Ok(mut stream) = connect(server, PROBE_PATIENCE).await else {
        return false;
    };
    let mut answer = Vec::new();
    stream.write_all(b"isro").await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"rw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_are_tried_before_there_is_a_pause() {
        for failures in [0, 1, 2, 4, 5] {
            assert_eq!(pause(failures, 3), Duration::ZERO, "{failures}");
        }
        for failures in [3, 6, 300, 3_000_000] {
            let pause = pause(failures, 3);
            assert!(
                pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX,
                "{failures}: {pause:?}"
            );
        }
    }
}
