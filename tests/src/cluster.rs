//! Ensembles whose members change: servers by their ids, each with files of its own in which it writes who the members are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::Text;
use jute_codec::proto::{AuthPacket, ReconfigRequest, Request};

use crate::ensemble::{Tree, free_port, read, sync, tree};
use crate::mixed::kinds;
use crate::raw::{RawClient, connect_request, four_letter_word};
use crate::servers::{Implementation, Server, Setup};

/// The node that says who the members are.
pub const CONFIG: &str = "/zookeeper/config";
/// Longer than an election, and than a Java server takes to start on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const SESSION_TIMEOUT_MS: i32 = 20_000;
/// The user `super` with the password `test`.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const CONNECTION_LOST: i32 = -4;

/// Ports of a server: quorum, election, clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports(pub [u16; 3]);

impl Ports {
    /// Ports that nobody has.
    ///
    /// # Errors
    /// When there are none.
    pub fn free() -> anyhow::Result<Self> {
        Ok(Self([free_port()?, free_port()?, free_port()?]))
    }

    /// The line of a server with these ports.
    #[must_use]
    pub fn line(self, id: i64, role: &str) -> String {
        format!("server.{id}={}", self.value(role))
    }

    /// What stands in the line behind the name.
    #[must_use]
    pub fn value(self, role: &str) -> String {
        let Self([quorum, election, client]) = self;
        format!("127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}")
    }

    /// Where clients connect.
    #[must_use]
    pub fn client(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0[2]))
    }
}

/// Servers of an ensemble by id. They are started, and never told of each other but by the ensemble.
#[derive(Debug)]
pub struct Cluster {
    kinds: Vec<Implementation>,
    /// The servers.
    pub servers: BTreeMap<i64, Server>,
    /// Their ports, also of some that are not started.
    pub ports: BTreeMap<i64, Ports>,
}

impl Cluster {
    /// Three participants, of the kinds of the letters ([`kinds`]); those that come later have the next ones, and after the
    /// last the first again.
    ///
    /// # Errors
    /// When they do not serve.
    pub fn start(letters: &str) -> anyhow::Result<Self> {
        let mut cluster = Self {
            kinds: kinds(letters),
            servers: BTreeMap::new(),
            ports: BTreeMap::new(),
        };
        for id in 1..=3 {
            cluster.ports.insert(id, Ports::free()?);
        }
        for id in 1..=3 {
            cluster.spawn(id, "participant", &[1, 2, 3])?;
        }
        for id in 1..=3 {
            cluster.wait_until_serving(id)?;
        }
        Ok(cluster)
    }

    fn kind(&self, id: i64) -> Implementation {
        let place = usize::try_from(id - 1).unwrap_or_default();
        self.kinds[place % self.kinds.len()]
    }

    /// Starts a server that knows of these.
    fn spawn(&mut self, id: i64, role: &str, others: &[i64]) -> anyhow::Result<()> {
        let mut setup = Setup::default()
            .key("tickTime", "1000")
            .key("initLimit", "10")
            .key("syncLimit", "2")
            .key("reconfigEnabled", "true")
            .key("4lw.commands.whitelist", "*")
            .property(
                "zookeeper.DigestAuthenticationProvider.superDigest",
                SUPER_DIGEST,
            )
            .property("zookeeper.admin.enableServer", "false");
        setup.keeps_file = true;
        setup.apache_logs = self.kinds.contains(&Implementation::Zabd);
        for other in others.iter().filter(|other| **other != id) {
            let value = self.ports[other].value("participant");
            setup = setup.key(&format!("server.{other}"), &value);
        }
        setup = setup.key(&format!("server.{id}"), &self.ports[&id].value(role));
        let address = self.ports[&id].client();
        let mut server = Server::prepare(self.kind(id), setup, address)?;
        fs::write(server.data_dir().join("myid"), format!("{id}\n"))?;
        server.spawn()?;
        self.servers.insert(id, server);
        Ok(())
    }

    /// A further server, which comes to the ensemble of those that are there, and has what they have.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn join(&mut self, id: i64, role: &str, others: &[i64]) -> anyhow::Result<()> {
        if let Entry::Vacant(ports) = self.ports.entry(id) {
            ports.insert(Ports::free()?);
        }
        self.spawn(id, role, others)?;
        self.wait_until_serving(id)
    }

    /// A new session with a server that serves.
    ///
    /// # Errors
    /// When it does not serve now.
    pub fn client(&self, id: i64) -> anyhow::Result<RawClient> {
        let mut client = RawClient::open(self.servers[&id].address())?;
        client.set_patience(Duration::from_secs(5));
        let response = client.handshake(&connect_request(SESSION_TIMEOUT_MS))?;
        ensure!(response.timeout_ms > 0, "a new session is refused");
        sync(&mut client)?;
        Ok(client)
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// When it is not taken for that.
    pub fn superuser(&self, id: i64) -> anyhow::Result<RawClient> {
        let mut client = self.client(id)?;
        client.send(&Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some(Text::from("digest")),
            auth: Some(Bytes::from_static(b"super:test")),
        }))?;
        ensure!(client.reply()?.header.err == 0, "not taken for super");
        Ok(client)
    }

    /// Waits until a server answers clients.
    ///
    /// # Errors
    /// When it does not, or has ended.
    pub fn wait_until_serving(&mut self, id: i64) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while let Err(problem) = self.client(id) {
            let server = self.servers.get_mut(&id).context("no such server")?;
            ensure!(!server.has_exited(), "server {id} has ended");
            ensure!(
                Instant::now() < until,
                "server {id} does not serve: {problem:#}"
            );
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What the server says that it is, once it is something.
    #[must_use]
    pub fn mode(&self, id: i64) -> Option<String> {
        let address = self.servers[&id].address();
        let answer = four_letter_word(address, b"srvr", Duration::from_secs(2)).ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    }

    /// The server that leads, once one does.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self) -> anyhow::Result<i64> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let mut ids = self.servers.keys();
            if let Some(id) = ids.find(|id| self.mode(**id).as_deref() == Some("leader")) {
                return Ok(*id);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("there is no leader");
    }

    /// Waits until a server is what it should be.
    ///
    /// # Errors
    /// When it does not become that.
    pub fn wait_for_mode(&self, id: i64, wanted: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.mode(id).as_deref() != Some(wanted) {
            let mode = self.mode(id);
            ensure!(
                Instant::now() < until,
                "server {id} is {mode:?} and not a {wanted}"
            );
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Changes the members; asks again as long as the new ones are not in step, or the answer is lost with the leader.
    ///
    /// # Errors
    /// When it is refused, or does not come to an end.
    pub fn change(&self, at: i64, request: &ReconfigRequest) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self
                .superuser(at)
                .and_then(|mut client| client.request(&Request::Reconfig(request.clone())));
            let err = asked.map_or(CONNECTION_LOST, |reply| reply.header.err);
            match err {
                0 => return Ok(()),
                // Not connected yet, another one under way, or nobody knows.
                -13 | -14 | CONNECTION_LOST => {}
                err => bail!("{request:?} is answered with {err}"),
            }
            ensure!(
                Instant::now() < until,
                "{request:?} does not come to an end: {err}"
            );
            if self
                .wait_for_voters(at, Duration::from_secs(2), |text| fits(request, text))
                .is_ok()
            {
                return Ok(());
            }
        }
    }

    /// Waits until a server knows of a membership.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_voters(
        &self,
        at: i64,
        patience: Duration,
        is_there: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let text = self.config(at).unwrap_or_default();
            if is_there(&text) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "server {at} has {text}");
            sleep(Duration::from_millis(50));
        }
    }

    /// What a server says of the membership.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn config(&self, at: i64) -> anyhow::Result<String> {
        let node = read(&mut self.client(at)?, CONFIG)?.context("no config node")?;
        Ok(String::from_utf8(node.data.unwrap_or_default().to_vec())?)
    }

    /// All servers have the same, and say the same of the members.
    ///
    /// # Errors
    /// When they differ.
    pub fn same_tree(&self) -> anyhow::Result<Tree> {
        let until = Instant::now() + PATIENCE;
        loop {
            let trees = self
                .servers
                .keys()
                .map(|id| tree(&mut self.client(*id)?))
                .collect::<anyhow::Result<Vec<_>>>();
            let problem = match trees {
                Ok(trees) => {
                    let mut trees = trees.into_iter().map(|mut tree| {
                        // Who came by a snapshot, or by an election, has it at another time.
                        if let Some((_, stat)) = tree.get_mut(CONFIG) {
                            stat.mtime = 0;
                        }
                        tree
                    });
                    let first = trees.next().context("no servers")?;
                    match trees.find(|tree| *tree != first) {
                        None => return Ok(first),
                        Some(other) => {
                            let differs = first
                                .iter()
                                .find(|(path, node)| other.get(*path) != Some(node));
                            format!("{differs:?}")
                        }
                    }
                }
                Err(problem) => format!("{problem:#}"),
            };
            ensure!(Instant::now() < until, "servers differ: {problem}");
            sleep(Duration::from_millis(500));
        }
    }

    /// The last lines of every log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words = self.servers.iter().map(|(id, server)| {
            let log = server.log();
            let lines: Vec<&str> = log.lines().collect();
            format!(
                "--- server {id}\n{}\n",
                lines[lines.len().saturating_sub(40)..].join("\n")
            )
        });
        words.collect()
    }
}

/// Asks that these be members.
#[must_use]
pub fn joining(lines: &[String]) -> ReconfigRequest {
    ReconfigRequest {
        joining_servers: Some(Text::from(lines.join(","))),
        leaving_servers: None,
        new_members: None,
        current_config_id: -1,
    }
}

/// Asks that these, separated by commas, be none any more.
#[must_use]
pub fn leaving(ids: &str) -> ReconfigRequest {
    ReconfigRequest {
        joining_servers: None,
        leaving_servers: Some(Text::from(ids)),
        new_members: None,
        current_config_id: -1,
    }
}

/// Whether a membership is what was asked for.
#[must_use]
pub fn fits(request: &ReconfigRequest, text: &str) -> bool {
    let words = |words: &Option<Text>| -> Vec<String> {
        let words = words.as_deref().unwrap_or_default().split(',');
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    !text.is_empty()
        && words(&request.joining_servers)
            .iter()
            .all(|line| text.contains(line))
        && words(&request.leaving_servers)
            .iter()
            .all(|id| !text.contains(&format!("server.{id}=")))
}
