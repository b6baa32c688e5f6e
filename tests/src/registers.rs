//! Clients that read, write, and compare and set a few znodes, and write down what they were told and when: histories
//! for a checker of linearizability.
//!
//! A read is a sync and a read behind it. Each part of a test has registers of its own, for what nobody answered may
//! take effect at any later time, and many such writes are hard to check.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use jute_codec::data::Stat;
use jute_codec::proto::{ConnectResponse, DataReply, PathRequest, Request, SetDataRequest};
use jute_codec::{ErrorCode, Jute, Reader, Text, Zxid};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::ensemble::{AddressBook, ask, create_request, read_request};
use crate::raw::{RawClient, Reply, connect_request};
use crate::writers::Random;

/// Registers that are in use at a time.
const REGISTERS: usize = 3;
/// The timeout of a client's session, in milliseconds: longer than any outage.
const TIMEOUT_MS: i32 = 20_000;
/// Whoever waits longer than this for an answer tries another server.
const PATIENCE: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(5);

/// One operation and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    client: usize,
    key: String,
    kind: Kind,
    value: String,
    version: i32,
    outcome: Outcome,
    call_ns: i64,
    return_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Only if the version is this.
    CompareAndSet(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused,
    Unknown,
}

impl Operation {
    /// A line for the checker.
    fn line(&self) -> String {
        let (op, expected) = match self.kind {
            Kind::Read => ("read", 0),
            Kind::Write => ("write", 0),
            Kind::CompareAndSet(version) => ("cas", version),
        };
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
        };
        json!({
            "client": self.client, "key": self.key, "op": op, "if": expected, "value": self.value,
            "version": self.version, "outcome": outcome, "call": self.call_ns, "return": self.return_ns,
        })
        .to_string()
    }
}

/// What all clients did, for people and for a checker.
#[derive(Debug, Default)]
pub struct History(Vec<Operation>);

impl History {
    /// Writes lines of JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        for operation in &self.0 {
            writeln!(text, "{}", operation.line()).expect("writing to a string does not fail");
        }
        fs::write(path, text)
    }

    /// How many operations were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        let unknown = |operation: &&Operation| operation.outcome != Outcome::Unknown;
        self.0.iter().filter(unknown).count()
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.acknowledgements().count()
    }

    /// How many writes nobody answered.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.0.len() - self.answered()
    }

    /// The longest time without an acknowledged write, between two moments of [`now_ns`].
    #[must_use]
    pub fn longest_gap(&self, from_ns: i64, to_ns: i64) -> Duration {
        let mut times: Vec<i64> = self
            .acknowledgements()
            .map(|operation| operation.return_ns)
            .filter(|time| (from_ns..to_ns).contains(time))
            .collect();
        times.extend([from_ns, to_ns]);
        times.sort_unstable();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        Duration::from_nanos(longest.unwrap_or(0).unsigned_abs())
    }

    fn acknowledgements(&self) -> impl Iterator<Item = &Operation> {
        self.0
            .iter()
            .filter(|operation| operation.kind != Kind::Read && operation.outcome == Outcome::Done)
    }
}

/// Nanoseconds of the system's monotonic clock, the same for all processes.
#[must_use]
pub fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Several clients, each on a thread.
#[derive(Debug)]
pub struct Registers {
    stop: Arc<AtomicBool>,
    page: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<anyhow::Result<Vec<Operation>>>>,
}

impl Registers {
    /// Makes the first registers by a client, and lets the others begin.
    ///
    /// # Errors
    /// When the registers cannot be made.
    pub fn start(
        count: usize,
        book: &AddressBook,
        seed: u64,
        maker: &mut RawClient,
    ) -> anyhow::Result<Self> {
        ask(maker, &create_request(ROOT, "", 0))?;
        make_page(maker, 0)?;
        let (stop, page, done) = (Arc::default(), Arc::default(), Arc::default());
        let threads = (0..count)
            .map(|number| {
                let client = Client {
                    number,
                    book: book.clone(),
                    random: Random(seed ^ ((number as u64 + 1) << 40)),
                    session: None,
                    connections: 0,
                    seen: Zxid::ZERO,
                    next: 0,
                    known: None,
                    operations: Vec::new(),
                };
                let (stop, page, done) = (Arc::clone(&stop), Arc::clone(&page), Arc::clone(&done));
                thread::spawn(move || client.run(&stop, &page, &done))
            })
            .collect();
        Ok(Self {
            stop,
            page,
            done,
            threads,
        })
    }

    /// Lets the clients go on with new registers. Returns the number of these.
    ///
    /// # Errors
    /// When these cannot be made.
    pub fn turn_page(&self, maker: &mut RawClient) -> anyhow::Result<usize> {
        let next = self.page.load(Ordering::Relaxed) + 1;
        make_page(maker, next)?;
        self.page.store(next, Ordering::Relaxed);
        Ok(next)
    }

    /// Operations answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the clients.
    ///
    /// # Errors
    /// When one of them was answered with what no server may say.
    pub fn finish(self) -> anyhow::Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for thread in self.threads {
            let operations = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            history.0.extend(operations);
        }
        Ok(history)
    }
}

const ROOT: &str = "/registers";

fn make_page(maker: &mut RawClient, page: usize) -> anyhow::Result<()> {
    for register in 0..REGISTERS {
        ask(maker, &create_request(&path(page, register), "0", 0))?;
    }
    Ok(())
}

fn path(page: usize, register: usize) -> String {
    format!("{ROOT}/{page}-{register}")
}

struct Client {
    number: usize,
    book: AddressBook,
    random: Random,
    session: Option<ConnectResponse>,
    connections: i32,
    seen: Zxid,
    next: u32,
    // The register that was read or written last, and its version then.
    known: Option<(String, i32)>,
    operations: Vec<Operation>,
}

impl Client {
    fn run(
        mut self,
        stop: &AtomicBool,
        page: &AtomicUsize,
        done: &AtomicUsize,
    ) -> anyhow::Result<Vec<Operation>> {
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(client) = &mut connection else {
                connection = self.connect();
                if connection.is_none() {
                    sleep(Duration::from_millis(20));
                }
                continue;
            };
            let register = self.random.below(REGISTERS);
            let key = path(page.load(Ordering::Relaxed), register);
            match self.operate(client, key)? {
                Outcome::Unknown => connection = None,
                Outcome::Done | Outcome::Refused => {
                    done.fetch_add(1, Ordering::Relaxed);
                    sleep(REST);
                }
            }
        }
        Ok(self.operations)
    }

    /// A connection to any server that serves, with the session of before if that lives.
    fn connect(&mut self) -> Option<RawClient> {
        let addresses = self.book.all();
        let address = addresses[self.random.below(addresses.len())];
        let mut client = RawClient::open(address).ok()?;
        client.set_patience(PATIENCE);
        client.number_as_on(self.connections);
        self.connections += 1;
        let mut request = connect_request(TIMEOUT_MS);
        request.last_zxid_seen = self.seen;
        if let Some(session) = &self.session {
            request.session = session.session;
            request.password = Some(Bytes::copy_from_slice(&session.password));
        }
        let response = client.handshake(&request).ok()?;
        // A client of its own session would be told that it has expired, and take a new one.
        self.session = (response.timeout_ms > 0).then_some(response);
        self.session.is_some().then_some(client)
    }

    fn operate(&mut self, client: &mut RawClient, key: String) -> anyhow::Result<Outcome> {
        let known = self.known.take().filter(|(path, _)| *path == key);
        let kind = match (self.random.below(10), known) {
            (0..4, _) => Kind::Read,
            (4..8, Some((_, version))) => Kind::CompareAndSet(version),
            _ => Kind::Write,
        };
        let mut operation = Operation {
            client: self.number,
            key,
            kind,
            value: String::new(),
            version: 0,
            outcome: Outcome::Unknown,
            call_ns: now_ns(),
            return_ns: 0,
        };
        if kind != Kind::Read {
            operation.value = format!("{}.{}", self.number, self.next);
            self.next += 1;
        }
        let answer = exchange(client, &operation);
        operation.return_ns = now_ns();
        if let Ok(reply) = answer {
            self.seen = self.seen.max(reply.header.zxid);
            take_answer(&mut operation, &reply)?;
        }
        let outcome = operation.outcome;
        if outcome == Outcome::Done {
            self.known = Some((operation.key.clone(), operation.version));
        }
        // A read without an answer says nothing.
        if kind != Kind::Read || outcome == Outcome::Done {
            self.operations.push(operation);
        }
        Ok(outcome)
    }
}

/// Sends an operation's requests and takes the reply that counts.
fn exchange(client: &mut RawClient, operation: &Operation) -> anyhow::Result<Reply> {
    let path = Some(Text::from(operation.key.as_str()));
    let version = match operation.kind {
        Kind::Read => {
            client.send(&Request::Sync(PathRequest { path }))?;
            client.send(&read_request(&operation.key, false))?;
            let synced = client.reply()?;
            ensure!(synced.header.err == 0, "no sync: {synced:?}");
            return client.reply();
        }
        Kind::Write => -1,
        Kind::CompareAndSet(version) => version,
    };
    client.request(&Request::SetData(SetDataRequest {
        path,
        data: Some(Bytes::from(operation.value.clone())),
        version,
    }))
}

/// Errors of the connection leave it open what happened.
fn take_answer(operation: &mut Operation, reply: &Reply) -> anyhow::Result<()> {
    let mut reader = Reader::new(&reply.body);
    match (operation.kind, reply.header.err) {
        (Kind::Read, 0) => {
            let node = DataReply::read(&mut reader)?;
            let value = node.data.context("a register without a value")?;
            operation.value = String::from_utf8(value.to_vec())?;
            operation.version = node.stat.version;
            operation.outcome = Outcome::Done;
        }
        (_, 0) => {
            operation.version = Stat::read(&mut reader)?.version;
            operation.outcome = Outcome::Done;
        }
        (Kind::CompareAndSet(_), code) if code == ErrorCode::BadVersion.code() => {
            operation.outcome = Outcome::Refused;
        }
        (_, code) => ensure!(
            code != ErrorCode::NoNode.code() && code != ErrorCode::BadVersion.code(),
            "{operation:?} is answered with {code}"
        ),
    }
    Ok(())
}
