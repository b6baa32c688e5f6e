//! Clients that write on and on while servers fail under them, and hold the servers to what they answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, CreateFlags, Request, SetDataRequest};
use jute_codec::{Text, Zxid};

use crate::ensemble::{AddressBook, Tree, create_request, read};
use crate::raw::{RawClient, connect_request};

/// The timeout of a writer's session, in milliseconds: longer than any outage, and than reading everything in the end.
const TIMEOUT_MS: i32 = 20_000;
/// How long a writer rests between batches: all that it writes is read from every server in the end, and that must not
/// take longer than its session lives.
const REST: Duration = Duration::from_millis(25);
/// Requests that a writer sends before it waits for the first reply.
const BATCH: u32 = 8;
/// A paused server accepts connections and says nothing: whoever waits longer than this tries another.
const PATIENCE: Duration = Duration::from_secs(1);
/// No outage that a test makes comes near this.
const OUTAGE_MAX: Duration = Duration::from_secs(15);

/// Several writers, each on a thread and with a session of its own.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<anyhow::Result<Writer>>>,
}

impl Writers {
    /// Begins to write; `seed` decides which server each of them tries when.
    #[must_use]
    pub fn start(count: usize, addresses: impl Into<AddressBook>, seed: u64) -> Self {
        Self::start_resting(count, addresses, seed, REST)
    }

    /// The same, with another time to rest between batches.
    #[must_use]
    pub fn start_resting(
        count: usize,
        addresses: impl Into<AddressBook>,
        seed: u64,
        rest: Duration,
    ) -> Self {
        let addresses = addresses.into();
        let (stop, done) = (Arc::default(), Arc::default());
        let threads = (0..count)
            .map(|number| {
                let writer = Writer {
                    name: format!("/writer-{number}"),
                    random: Random(seed ^ (number as u64) << 32),
                    addresses: addresses.clone(),
                    rest,
                    session: None,
                    connections: 0,
                    seen: Zxid::ZERO,
                    next: 0,
                    creations: Vec::new(),
                    value_done: 0,
                    value_sent: 0,
                };
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                thread::spawn(move || writer.run(&stop, &done))
            })
            .collect();
        Self {
            stop,
            done,
            threads,
        }
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Errors
    /// When that takes too long: service was not taken up again.
    pub fn wait_for(&self, more: usize) -> anyhow::Result<()> {
        let target = self.done.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + OUTAGE_MAX;
        while self.done.load(Ordering::Relaxed) < target {
            ensure!(
                Instant::now() < deadline && !self.threads.iter().any(JoinHandle::is_finished),
                "writers make no progress, or one of them has given up"
            );
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the writing; the sessions stay.
    ///
    /// # Errors
    /// When a writer was lied to: a session is gone, or a server that took it on lacks what it has seen.
    pub fn finish(self) -> anyhow::Result<Vec<Writer>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a writer panicked"))?)
            .collect()
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(i32),
    Unknown,
}

#[derive(Debug)]
struct Creation {
    path: String,
    // Requests of one batch went over one connection, in this order.
    batch: u32,
    outcome: Outcome,
}

/// One writer and what it remembers.
#[derive(Debug)]
pub struct Writer {
    name: String,
    random: Random,
    addresses: AddressBook,
    rest: Duration,
    session: Option<ConnectResponse>,
    connections: i32,
    seen: Zxid,
    next: u32,
    creations: Vec<Creation>,
    // value_done <= value_sent; numbers written into the node of the writer's name, in order.
    value_done: u32,
    value_sent: u32,
}

impl Writer {
    fn run(mut self, stop: &AtomicBool, done: &AtomicUsize) -> anyhow::Result<Self> {
        let mut client = self.begin()?;
        while !stop.load(Ordering::Relaxed) {
            let from = self.creations.len();
            let whole = self.batch(&mut client);
            let acknowledged = self.creations[from..]
                .iter()
                .filter(|creation| creation.outcome == Outcome::Done);
            done.fetch_add(acknowledged.count(), Ordering::Relaxed);
            if whole.is_err() {
                client = self.reconnect()?;
            }
            sleep(self.rest);
        }
        Ok(self)
    }

    /// Makes the session, the writer's own node and, beside it, one that lives as long as the session.
    fn begin(&mut self) -> anyhow::Result<RawClient> {
        let mut client = self.reconnect()?;
        for (path, flags) in [
            (self.name.clone(), 0),
            (self.alive(), CreateFlags::Ephemeral as i32),
        ] {
            let reply = client.request(&create_request(&path, "0", flags))?;
            ensure!(reply.header.err == 0, "{path}: {:?}", reply.header);
            self.seen = self.seen.max(reply.header.zxid);
        }
        Ok(client)
    }

    fn alive(&self) -> String {
        format!("{}-lives", self.name)
    }

    /// Sends some requests and takes their replies. After an error the rest of them are unknown.
    fn batch(&mut self, client: &mut RawClient) -> anyhow::Result<()> {
        let from = self.creations.len();
        self.value_sent += 1;
        let batch = self.value_sent;
        for _ in 0..BATCH {
            let path = format!("{}/{:06}", self.name, self.next);
            self.next += 1;
            let request = create_request(&path, &path, 0);
            self.creations.push(Creation {
                path,
                batch,
                outcome: Outcome::Unknown,
            });
            client.send(&request)?;
        }
        client.send(&Request::SetData(SetDataRequest {
            path: Some(Text::from(self.name.as_str())),
            data: Some(Bytes::from(self.value_sent.to_string())),
            version: -1,
        }))?;
        for index in from..self.creations.len() {
            let header = client.reply()?.header;
            self.creations[index].outcome = match header.err {
                0 => Outcome::Done,
                code => Outcome::Refused(code),
            };
            self.seen = self.seen.max(header.zxid);
        }
        let header = client.reply()?.header;
        if header.err == 0 {
            self.value_done = self.value_sent;
        }
        self.seen = self.seen.max(header.zxid);
        // One who only sees refusals has lost its session's connection to another, or more.
        ensure!(header.err == 0, "refused: {header:?}");
        Ok(())
    }

    /// Takes the session to any server that serves, and looks whether it has what this writer has seen.
    fn reconnect(&mut self) -> anyhow::Result<RawClient> {
        let deadline = Instant::now() + OUTAGE_MAX;
        loop {
            let addresses = self.addresses.all();
            let address = addresses[self.random.below(addresses.len())];
            match self.attach(address) {
                Ok(Some(client)) => return Ok(client),
                Ok(None) => sleep(Duration::from_millis(20)),
                Err(problem) => return Err(problem.context(self.name.clone())),
            }
            ensure!(
                Instant::now() < deadline,
                "{}: nobody serves any more",
                self.name
            );
        }
    }

    /// `None` when the server does not serve; an error when it does, and wrongly.
    fn attach(&mut self, address: SocketAddr) -> anyhow::Result<Option<RawClient>> {
        let Ok(mut client) = RawClient::open(address) else {
            return Ok(None);
        };
        client.set_patience(PATIENCE);
        client.number_as_on(self.connections);
        self.connections += 1;
        let mut request = connect_request(TIMEOUT_MS);
        request.last_zxid_seen = self.seen;
        if let Some(session) = &self.session {
            request.session = session.session;
            request.password = Some(Bytes::copy_from_slice(&session.password));
        }
        let Ok(response) = client.handshake(&request) else {
            return Ok(None);
        };
        ensure!(
            response.timeout_ms > 0,
            "{address} says that the session has expired"
        );
        self.session = Some(response);
        let last = self
            .creations
            .iter()
            .rev()
            .find(|creation| creation.outcome == Outcome::Done);
        if let Some(last) = last {
            let Ok(node) = read(&mut client, &last.path) else {
                return Ok(None);
            };
            ensure!(
                node.is_some(),
                "{address} has seen {} and does not have {}",
                self.seen,
                last.path
            );
        }
        Ok(Some(client))
    }

    /// How many creations were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.creations
            .iter()
            .filter(|creation| creation.outcome == Outcome::Done)
            .count()
    }

    /// How many creations were never answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.creations
            .iter()
            .filter(|creation| creation.outcome == Outcome::Unknown)
            .count()
    }

    /// Compares what servers have with what they said.
    ///
    /// # Errors
    /// When something acknowledged is missing, something refused is there, a creation is there that was sent after one
    /// that is not, or the session's node is gone.
    pub fn check(&self, tree: &Tree) -> anyhow::Result<()> {
        let mut absent = None;
        for creation in &self.creations {
            let Creation {
                path,
                batch,
                outcome,
            } = creation;
            let is_there = tree.contains_key(path);
            match outcome {
                Outcome::Done => ensure!(is_there, "{path} was acknowledged and is missing"),
                Outcome::Refused(code) => {
                    ensure!(!is_there, "{path} was refused with {code} and is there");
                    // A refusal is an answer: what was sent behind it goes on without it.
                    continue;
                }
                Outcome::Unknown => {}
            }
            if is_there {
                ensure!(
                    absent != Some(batch),
                    "{path} is there, and one sent before it is not"
                );
            } else {
                absent = Some(batch);
            }
        }
        let (data, _) = tree.get(&self.name).context("the writer's own node")?;
        let value: u32 = std::str::from_utf8(data.as_deref().unwrap_or_default())?.parse()?;
        ensure!(
            (self.value_done..=self.value_sent).contains(&value),
            "{}: {value} is there, {} was acknowledged and {} sent",
            self.name,
            self.value_done,
            self.value_sent
        );
        let session = self.session.as_ref().context("no session")?.session;
        let owner = tree
            .get(&self.alive())
            .map(|(_, stat)| stat.ephemeral_owner);
        ensure!(
            owner == Some(session.0),
            "{}: owner {owner:x?}, session {session}",
            self.alive()
        );
        Ok(())
    }
}

/// SplitMix64: choices that a seed repeats.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below a limit of this type")
    }
}
