//! An ensemble of real processes on loopback, to be hurt: killed, paused, erased, and asked what it knows.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::data::{Acl, Stat};
use jute_codec::proto::{
    ChildrenReply, CreateRequest, DataReply, PathRequest, PathWatchRequest, Request,
};
use jute_codec::{ErrorCode, Jute, Reader, Text};

use crate::raw::{RawClient, Reply, connect_request, four_letter_word};
use crate::servers::{Implementation, Server, Setup};

/// The tick of the servers, in milliseconds.
pub const TICK_MS: u64 = 1000;
/// Ticks after which a silent server is given up.
pub const SYNC_LIMIT: u64 = 2;
/// Transactions that a leader keeps in memory for servers that come back.
pub const COMMIT_LOG_COUNT: usize = 500;
/// The timeout of all sessions here: longer than any outage that a test makes, in milliseconds.
pub const SESSION_TIMEOUT_MS: i32 = 20_000;

/// Longer than an election, and than a Java server takes to start on a busy machine.
const SERVING_PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for any answer of a server that serves; a paused one costs its client this much.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Everything a server has: paths, with data and stat.
pub type Tree = BTreeMap<String, (Option<Bytes>, Stat)>;

/// Where clients find the servers of an ensemble now: those who have the book see each change.
#[derive(Debug, Clone, Default)]
pub struct AddressBook(Arc<Mutex<Vec<SocketAddr>>>);

impl AddressBook {
    /// The addresses, in the order of the servers.
    #[must_use]
    pub fn all(&self) -> Vec<SocketAddr> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, addresses: Vec<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

impl From<&Vec<SocketAddr>> for AddressBook {
    fn from(addresses: &Vec<SocketAddr>) -> Self {
        Self(Arc::new(Mutex::new(addresses.clone())))
    }
}

/// Where a server is to run.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where clients connect.
    pub address: SocketAddr,
    /// What other servers are told: host, quorum port and election port, with colons between.
    pub member: String,
    /// The network namespace, where it is not that of the test.
    pub namespace: Option<String>,
}

/// Servers of one ensemble, numbered from 0; the id of each is one more. Voters come first.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Server>,
    voters: usize,
    book: AddressBook,
}

impl Ensemble {
    /// Starts an ensemble on empty data directories and waits until all of it serves.
    ///
    /// # Errors
    /// When a server cannot be started or does not serve in time.
    pub fn start(voters: usize, observers: usize) -> anyhow::Result<Self> {
        let implementations = vec![Implementation::Zabd; voters + observers];
        Self::start_of(&implementations, voters, Setup::default())
    }

    /// Starts an ensemble of these servers, with more in their setups than every ensemble here has.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_of(
        implementations: &[Implementation],
        voters: usize,
        setup: Setup,
    ) -> anyhow::Result<Self> {
        let mut ensemble = Self::spawn_of(implementations, voters, setup)?;
        ensemble.wait_until_all_serve()?;
        Ok(ensemble)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub fn spawn_of(
        implementations: &[Implementation],
        voters: usize,
        setup: Setup,
    ) -> anyhow::Result<Self> {
        let places = free_places(implementations.len())?;
        let mut ensemble = Self::prepare_of(implementations, voters, &places, setup)?;
        for number in ensemble.all() {
            ensemble.spawn(number)?;
        }
        Ok(ensemble)
    }

    /// Makes the servers' directories and starts nothing. `setup` says more than every ensemble here has.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn prepare(voters: usize, places: &[Place], setup: Setup) -> anyhow::Result<Self> {
        Self::prepare_of(
            &vec![Implementation::Zabd; places.len()],
            voters,
            places,
            setup,
        )
    }

    /// The same for servers of several kinds.
    ///
    /// # Errors
    /// As for [`Self::prepare`].
    pub fn prepare_of(
        implementations: &[Implementation],
        voters: usize,
        places: &[Place],
        setup: Setup,
    ) -> anyhow::Result<Self> {
        let mut setup = setup
            .key("tickTime", &TICK_MS.to_string())
            .key("initLimit", "10")
            .key("syncLimit", &SYNC_LIMIT.to_string())
            .property("zookeeper.commitLogCount", &COMMIT_LOG_COUNT.to_string());
        for (index, place) in places.iter().enumerate() {
            let role = if index < voters { "" } else { ":observer" };
            let line = format!("{}{role}", place.member);
            setup = setup.key(&format!("server.{}", index + 1), &line);
        }
        let mut ensemble = Self {
            servers: Vec::new(),
            voters,
            book: AddressBook::default(),
        };
        for (place, implementation) in places.iter().zip(implementations) {
            setup.namespace.clone_from(&place.namespace);
            let server = Server::prepare(*implementation, setup.clone(), place.address)?;
            ensemble.servers.push(server);
        }
        ensemble.book.set(ensemble.addresses());
        Ok(ensemble)
    }

    /// Starts all servers and waits until all of them serve.
    ///
    /// # Errors
    /// When a server cannot be started or does not serve in time.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        for number in self.all() {
            self.spawn(number)?;
        }
        self.wait_until_all_serve()
    }

    /// The numbers of all servers.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        (0..self.servers.len()).collect()
    }

    /// Where clients of all servers connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// The same, for clients that are to see changes.
    #[must_use]
    pub fn book(&self) -> AddressBook {
        self.book.clone()
    }

    /// Lets a killed server listen for clients elsewhere from its next start on.
    ///
    /// # Errors
    /// When it runs.
    pub fn set_address(&mut self, number: usize, address: SocketAddr) -> anyhow::Result<()> {
        self.servers[number].set_address(address)?;
        self.book.set(self.addresses());
        Ok(())
    }

    /// Asks a server to stop (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self, number: usize) -> anyhow::Result<()> {
        self.servers[number].stop()
    }

    /// Whether a server's process has ended by itself.
    pub fn has_exited(&mut self, number: usize) -> bool {
        self.servers[number].has_exited()
    }

    /// A server.
    #[must_use]
    pub fn server(&self, number: usize) -> &Server {
        &self.servers[number]
    }

    /// Kills a server (SIGKILL), paused or not.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.servers[number].kill()
    }

    /// Starts a server that was killed, and does not wait for it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn spawn(&mut self, number: usize) -> anyhow::Result<()> {
        let server = &mut self.servers[number];
        fs::write(server.data_dir().join("myid"), format!("{}\n", number + 1))?;
        server.spawn()
    }

    /// Lets the other implementation go on with the data of a server that is stopped.
    ///
    /// # Errors
    /// When it runs.
    pub fn set_implementation(
        &mut self,
        number: usize,
        implementation: Implementation,
    ) -> anyhow::Result<()> {
        self.servers[number].set_implementation(implementation)
    }

    /// Whether a server has ended, by itself or killed.
    pub fn has_ended(&mut self, number: usize) -> bool {
        self.servers[number].has_exited()
    }

    /// Removes all that a killed server has.
    ///
    /// # Errors
    /// When it runs, or its directory cannot be emptied.
    pub fn erase(&mut self, number: usize) -> anyhow::Result<()> {
        let server = &mut self.servers[number];
        ensure!(server.has_exited(), "a running server is not to be erased");
        fs::remove_dir_all(server.data_dir()).context("remove the data")?;
        fs::create_dir(server.data_dir()).context("make an empty data directory")
    }

    /// Waits until every server answers clients, and with what the leader has.
    ///
    /// # Errors
    /// When one of them does not in time, or has ended.
    pub fn wait_until_all_serve(&mut self) -> anyhow::Result<()> {
        self.wait_until_serving(&self.all())
    }

    /// Waits until servers answer clients.
    ///
    /// # Errors
    /// As for [`Self::wait_until_all_serve`].
    pub fn wait_until_serving(&mut self, numbers: &[usize]) -> anyhow::Result<()> {
        let deadline = Instant::now() + SERVING_PATIENCE;
        for &number in numbers {
            while self.client(number).is_err() {
                let server = &mut self.servers[number];
                ensure!(!server.has_exited(), "server {} has ended", number + 1);
                ensure!(
                    Instant::now() < deadline,
                    "server {} does not serve",
                    number + 1
                );
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// A new session with a server that serves.
    ///
    /// # Errors
    /// When it does not serve now.
    pub fn client(&self, number: usize) -> anyhow::Result<RawClient> {
        let mut client = RawClient::open(self.servers[number].address())?;
        client.set_patience(ANSWER_PATIENCE);
        let response = client.handshake(&connect_request(SESSION_TIMEOUT_MS))?;
        ensure!(response.timeout_ms > 0, "a new session is refused");
        sync(&mut client)?;
        Ok(client)
    }

    /// The server that leads, once one does and serves.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + SERVING_PATIENCE;
        while Instant::now() < deadline {
            for number in 0..self.voters {
                // What a server that was killed or deposed last said of itself is old; it is not served either.
                if self.leads(number) && self.client(number).is_ok() && self.leads(number) {
                    return Ok(number);
                }
            }
            sleep(Duration::from_millis(50));
        }
        bail!("there is no leader");
    }

    /// The voters that do not lead.
    ///
    /// # Errors
    /// As for [`Self::leader`].
    pub fn followers(&self) -> anyhow::Result<Vec<usize>> {
        let leader = self.leader()?;
        Ok((0..self.voters)
            .filter(|number| *number != leader)
            .collect())
    }

    fn leads(&self, number: usize) -> bool {
        let server = &self.servers[number];
        if server.implementation() != Implementation::Zabd {
            return mode(server.address()).is_some_and(|mode| mode == "leader");
        }
        let log = server.log();
        let last = log
            .lines()
            .rev()
            .find(|line| line.contains("zabd::runtime::peers: "));
        server.process_id().is_some()
            && last.is_some_and(|line| line.contains("zabd::runtime::peers: leading"))
    }

    /// Reads everything from every server, and compares. One server is read after the other, and sessions of earlier
    /// clients may end meanwhile, with their nodes: what differs is looked at again for a while.
    ///
    /// # Errors
    /// When a server cannot be read, or still has something else than the first.
    pub fn same_tree(&self) -> anyhow::Result<Tree> {
        let until = Instant::now() + SAME_WITHIN;
        loop {
            match self.same_tree_now() {
                Err(_) if Instant::now() < until => sleep(Duration::from_millis(500)),
                outcome => return outcome,
            }
        }
    }

    fn same_tree_now(&self) -> anyhow::Result<Tree> {
        let mut first = None;
        for number in self.all() {
            let tree = tree(&mut self.client(number)?)
                .with_context(|| format!("read server {}", number + 1))?;
            let first = first.get_or_insert_with(|| tree.clone());
            for path in first.keys().chain(tree.keys()) {
                ensure!(
                    first.get(path) == tree.get(path),
                    "{path}: server 1 has {:?}, server {} has {:?}",
                    first.get(path),
                    number + 1,
                    tree.get(path)
                );
            }
        }
        first.context("an ensemble of none")
    }

    /// The last lines of every server's log, for a test that fails.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        for (index, server) in self.servers.iter().enumerate() {
            let log = server.log();
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!("--- server {}\n", index + 1));
            for line in &lines[lines.len().saturating_sub(30)..] {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

/// How long servers may differ: longer than the timeouts of clients that went without a word.
const SAME_WITHIN: Duration = Duration::from_secs(30);

/// Places on loopback for so many servers.
///
/// # Errors
/// As for [`free_port`].
pub fn free_places(count: usize) -> anyhow::Result<Vec<Place>> {
    let places = (0..count).map(|_| {
        let [client, quorum, election] = [free_port()?, free_port()?, free_port()?];
        Ok(Place {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, client)),
            member: format!("127.0.0.1:{quorum}:{election}"),
            namespace: None,
        })
    });
    places.collect()
}

/// A port that nothing listens on, outside the range from which the system takes the ports of those who connect: a
/// server that comes back would else find its port taken now and then.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free");
}

/// What a server says that it is, if it serves.
#[must_use]
pub fn mode(address: SocketAddr) -> Option<String> {
    let answer = four_letter_word(address, b"srvr", ANSWER_PATIENCE).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.to_owned())
}

/// Asks for a path's creation, with an open access control list.
#[must_use]
pub fn create_request(path: &str, data: &str, flags: i32) -> Request {
    Request::Create(CreateRequest {
        path: Some(Text::from(path)),
        data: Some(Bytes::from(data.to_owned())),
        acl: Some(vec![Acl::open()]),
        flags,
    })
}

/// Asks for a node's data and stat.
#[must_use]
pub fn read_request(path: &str, watch: bool) -> Request {
    Request::GetData(PathWatchRequest {
        path: Some(Text::from(path)),
        watch,
    })
}

/// Sends a request that is to succeed.
///
/// # Errors
/// When it is not answered, or with an error.
pub fn ask(client: &mut RawClient, request: &Request) -> anyhow::Result<Reply> {
    let reply = client.request(request)?;
    ensure!(
        reply.header.err == 0,
        "{request:?} is answered with {:?}",
        reply.header
    );
    Ok(reply)
}

/// Waits until the client's server has what the leader has.
///
/// # Errors
/// When the server does not answer.
pub fn sync(client: &mut RawClient) -> anyhow::Result<()> {
    let path = Some(Text::from("/"));
    ask(client, &Request::Sync(PathRequest { path })).map(drop)
}

/// A node's data and stat, if there is the node.
///
/// # Errors
/// When the server does not answer, or with another error than that there is none.
pub fn read(client: &mut RawClient, path: &str) -> anyhow::Result<Option<DataReply>> {
    let reply = client.request(&read_request(path, false))?;
    if reply.header.err == ErrorCode::NoNode.code() {
        return Ok(None);
    }
    ensure!(reply.header.err == 0, "{path}: {:?}", reply.header);
    Ok(Some(DataReply::read(&mut Reader::new(&reply.body))?))
}

/// Reads all that the client's server has.
///
/// # Errors
/// When the server does not answer, or something changes meanwhile.
pub fn tree(client: &mut RawClient) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut left = VecDeque::from(["/".to_owned()]);
    // Sent and not answered. One by one they would take longer than sessions live that are to be seen.
    let mut asked = VecDeque::new();
    while !(left.is_empty() && asked.is_empty()) {
        while asked.len() < READS_IN_FLIGHT
            && let Some(path) = left.pop_front()
        {
            client.send(&read_request(&path, false))?;
            client.send(&Request::GetChildren2(PathWatchRequest {
                path: Some(Text::from(path.as_str())),
                watch: false,
            }))?;
            asked.push_back(path);
        }
        let path = asked.pop_front().context("nothing was asked")?;
        let (data, children) = (client.reply()?, client.reply()?);
        for reply in [&data, &children] {
            ensure!(reply.header.err == 0, "{path}: {:?}", reply.header);
        }
        let node = DataReply::read(&mut Reader::new(&data.body))?;
        let children = ChildrenReply::read(&mut Reader::new(&children.body))?;
        ensure!(
            children.stat == node.stat,
            "{path}: two stats without a change between"
        );
        let parent = path.trim_end_matches('/');
        left.extend(
            children
                .children
                .iter()
                .map(|child| format!("{parent}/{child}")),
        );
        let mut stat = node.stat;
        if path == "/zookeeper/config" {
            // Each server says for itself who the members are, and when it began to.
            stat.mtime = 0;
        }
        tree.insert(path, (node.data, stat));
    }
    Ok(tree)
}

const READS_IN_FLIGHT: usize = 64;
