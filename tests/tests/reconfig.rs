//! The members of an ensemble of real processes change while clients write; and what Apache ZooKeeper answers to the same
//! requests.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::proto::{AuthPacket, DataReply, ReconfigRequest, Request};
use jute_codec::{Jute, Reader, Text};
use zabd_tests::ensemble::{Tree, ask, create_request, free_port, read, read_request, sync, tree};
use zabd_tests::raw::{RawClient, connect_request, four_letter_word};
use zabd_tests::servers::{Implementation, Server, Setup, apache_unavailable};
use zabd_tests::writers::Writers;

const CONFIG: &str = "/zookeeper/config";
const SESSION_TIMEOUT_MS: i32 = 20_000;
/// Longer than an election, and than a Java server takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user `super` with the password `test`.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
const NO_AUTH: i32 = -102;
const CONNECTION_LOST: i32 = -4;

/// Ports of a server: quorum, election, clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports([u16; 3]);

impl Ports {
    fn free() -> anyhow::Result<Self> {
        Ok(Self([free_port()?, free_port()?, free_port()?]))
    }

    fn line(self, id: i64, role: &str) -> String {
        format!("server.{id}={}", self.value(role))
    }

    fn value(self, role: &str) -> String {
        let Self([quorum, election, client]) = self;
        format!("127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}")
    }

    fn client(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0[2]))
    }
}

/// Servers of an ensemble by id. They are started, and never told of each other but by the ensemble.
struct Cluster {
    implementation: Implementation,
    servers: BTreeMap<i64, Server>,
    ports: BTreeMap<i64, Ports>,
}

impl Cluster {
    /// Three participants.
    fn start(implementation: Implementation) -> anyhow::Result<Self> {
        let mut cluster = Self {
            implementation,
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
        for other in others.iter().filter(|other| **other != id) {
            let value = self.ports[other].value("participant");
            setup = setup.key(&format!("server.{other}"), &value);
        }
        setup = setup.key(&format!("server.{id}"), &self.ports[&id].value(role));
        let address = self.ports[&id].client();
        let mut server = Server::prepare(self.implementation, setup, address)?;
        fs::write(server.data_dir().join("myid"), format!("{id}\n"))?;
        server.spawn()?;
        self.servers.insert(id, server);
        Ok(())
    }

    /// A further server, which comes to the ensemble of those that are there, and has what they have.
    fn join(&mut self, id: i64, role: &str, others: &[i64]) -> anyhow::Result<()> {
        if let Entry::Vacant(ports) = self.ports.entry(id) {
            ports.insert(Ports::free()?);
        }
        self.spawn(id, role, others)?;
        self.wait_until_serving(id)
    }

    fn client(&self, id: i64) -> anyhow::Result<RawClient> {
        let mut client = RawClient::open(self.servers[&id].address())?;
        client.set_patience(Duration::from_secs(5));
        let response = client.handshake(&connect_request(SESSION_TIMEOUT_MS))?;
        ensure!(response.timeout_ms > 0, "a new session is refused");
        sync(&mut client)?;
        Ok(client)
    }

    /// A client that may do everything.
    fn superuser(&self, id: i64) -> anyhow::Result<RawClient> {
        let mut client = self.client(id)?;
        client.send(&Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some(Text::from("digest")),
            auth: Some(Bytes::from_static(b"super:test")),
        }))?;
        ensure!(client.reply()?.header.err == 0, "not taken for super");
        Ok(client)
    }

    fn wait_until_serving(&mut self, id: i64) -> anyhow::Result<()> {
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
    fn mode(&self, id: i64) -> Option<String> {
        let address = self.servers[&id].address();
        let answer = four_letter_word(address, b"srvr", Duration::from_secs(2)).ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.to_owned())
    }

    fn leader(&self) -> anyhow::Result<i64> {
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

    fn wait_for_mode(&self, id: i64, wanted: &str) -> anyhow::Result<()> {
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
    fn change(&self, at: i64, request: &ReconfigRequest) -> anyhow::Result<()> {
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

    fn wait_for_voters(
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

    fn config(&self, at: i64) -> anyhow::Result<String> {
        let node = read(&mut self.client(at)?, CONFIG)?.context("no config node")?;
        Ok(String::from_utf8(node.data.unwrap_or_default().to_vec())?)
    }

    /// All servers have the same, and say the same of the members.
    fn same_tree(&self) -> anyhow::Result<Tree> {
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

    fn last_words(&self) -> String {
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

fn joining(lines: &[String]) -> ReconfigRequest {
    ReconfigRequest {
        joining_servers: Some(Text::from(lines.join(","))),
        leaving_servers: None,
        new_members: None,
        current_config_id: -1,
    }
}

fn leaving(ids: &str) -> ReconfigRequest {
    ReconfigRequest {
        joining_servers: None,
        leaving_servers: Some(Text::from(ids)),
        new_members: None,
        current_config_id: -1,
    }
}

/// Whether a membership is what was asked for.
fn fits(request: &ReconfigRequest, text: &str) -> bool {
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

#[test]
fn members_come_and_go_under_load() {
    let mut cluster = Cluster::start(Implementation::Zabd).expect("an ensemble starts");
    if let Err(problem) = come_and_go(&mut cluster) {
        panic!("{problem:?}\n{}", cluster.last_words());
    }
}

fn come_and_go(cluster: &mut Cluster) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = (1..=3).map(|id| cluster.ports[&id].client()).collect();
    let writers = Writers::start(3, &addresses, u64::from(std::process::id()));
    let result = hurt(cluster, &writers);
    let writers = writers.finish()?;
    result?;
    let tree = cluster.same_tree()?;
    for writer in &writers {
        writer.check(&tree)?;
        eprintln!(
            "{} writes acknowledged, {} unanswered",
            writer.acknowledged(),
            writer.unanswered()
        );
    }
    Ok(())
}

fn hurt(cluster: &mut Cluster, writers: &Writers) -> anyhow::Result<()> {
    writers.wait_for(50).context("at first")?;
    for (id, others) in [(4, &[1, 2, 3][..]), (5, &[1, 2, 3, 4][..])] {
        cluster.join(id, "participant", others)?;
        cluster.change(1, &joining(&[cluster.ports[&id].line(id, "participant")]))?;
        writers
            .wait_for(50)
            .with_context(|| format!("{id} joined"))?;
    }
    // An observer comes, and is to vote; it takes the place of one that leaves.
    cluster.join(6, "observer", &[1, 2, 3])?;
    cluster.change(2, &joining(&[cluster.ports[&6].line(6, "observer")]))?;
    cluster.wait_for_mode(6, "observer")?;
    cluster.change(2, &joining(&[cluster.ports[&6].line(6, "participant")]))?;
    cluster.wait_for_mode(6, "follower")?;
    writers.wait_for(50).context("an observer votes")?;

    let leader = cluster.leader()?;
    let other = (1..=6).find(|id| *id != leader).context("another")?;
    cluster.change(other, &leaving(&leader.to_string()))?;
    writers.wait_for(50).context("the leader removed")?;
    ensure!(cluster.leader()? != leader, "it leads on");
    cluster.wait_for_mode(leader, "follower")?;
    cluster.change(
        other,
        &joining(&[cluster.ports[&leader].line(leader, "participant")]),
    )?;
    writers
        .wait_for(50)
        .context("the leader of before is back")?;

    // A server moves: its ports, and its clients'.
    let moved = [4, 5]
        .into_iter()
        .find(|id| cluster.leader().ok() != Some(*id))
        .context("a follower")?;
    let ports = Ports::free()?;
    cluster.change(1, &joining(&[ports.line(moved, "participant")]))?;
    cluster.ports.insert(moved, ports);
    let server = cluster.servers.get_mut(&moved).context("it")?;
    server.has_moved(ports.client());
    cluster.wait_until_serving(moved)?;
    writers.wait_for(50).context("a server moved")?;

    // Everybody finds the others again, by what has been written down.
    for server in cluster.servers.values_mut() {
        server.kill()?;
    }
    for server in cluster.servers.values_mut() {
        server.spawn()?;
    }
    let ids: Vec<i64> = cluster.servers.keys().copied().collect();
    for id in &ids {
        cluster.wait_until_serving(*id)?;
    }
    writers.wait_for(50).context("all killed")?;
    for id in &ids {
        let text = cluster.config(*id)?;
        ensure!(text.lines().count() == 7, "server {id} has {text}");
        ensure!(
            text.contains(&ports.value("participant")),
            "server {id} has {text}"
        );
    }

    // And back to three, among them one that moved.
    let gone: Vec<String> = ids
        .iter()
        .filter(|id| ![1, 2, moved].contains(id))
        .map(i64::to_string)
        .collect();
    cluster.change(1, &leaving(&gone.join(",")))?;
    for id in &gone {
        let id = id.parse()?;
        cluster.servers.remove(&id);
    }
    writers.wait_for(50).context("three are left")?;
    for id in [1, 2, moved] {
        cluster.wait_until_serving(id)?;
    }
    Ok(())
}

/// What an ensemble answers, with what differs from one to the next left out.
fn transcript(implementation: Implementation) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(implementation)?;
    let told = tell(&mut cluster);
    told.with_context(|| cluster.last_words())
}

fn tell(cluster: &mut Cluster) -> anyhow::Result<String> {
    let mut told = String::new();
    let say = |told: &mut String, what: &str, text: String| {
        told.push_str(&format!("== {what}\n{text}\n"));
    };
    let followers: Vec<i64> = {
        let leader = cluster.leader()?;
        (1..=3).filter(|id| *id != leader).collect()
    };
    let at = followers[0];
    for id in 1..=3 {
        let mut client = cluster.client(id)?;
        let reply = ask(&mut client, &read_request(CONFIG, false))?;
        say(&mut told, "config at first", cluster.normal(&reply.body)?);
    }
    let mut plain = cluster.client(at)?;
    let mut client = cluster.superuser(at)?;
    let whole = |lines: &str| ReconfigRequest {
        new_members: Some(Text::from(lines)),
        ..leaving("")
    };
    for id in 4..=6 {
        cluster.ports.insert(id, Ports::free()?);
    }
    let [four, five, six] = [4, 5, 6].map(|id| cluster.ports[&id].line(id, "participant"));
    let one = cluster.ports[&1].line(1, "participant");
    let two = cluster.ports[&2].line(2, "participant");
    let requests = [
        leaving("1,2"),
        leaving("x"),
        leaving("-"),
        joining(&["server.4".to_owned()]),
        joining(&["server.4=127.0.0.1:1:2".to_owned()]),
        joining(&["server.x=127.0.0.1:1:2;3".to_owned()]),
        joining(&["server.4=127.0.0.1:1:1;3".to_owned()]),
        joining(&["server.4=127.0.0.1:1:2:voter;3".to_owned()]),
        joining(&[four.clone(), five, six]),
        whole(""),
        whole("server.1=127.0.0.1:1:2"),
        whole("server.x=127.0.0.1:1:2"),
        whole("clientPort=4"),
        whole(&format!("{one},server.2=127.0.0.1:1:2:observer;3")),
        whole("server.8=127.0.0.1:1:2;3,server.9=127.0.0.1:4:5;6"),
        whole(&format!("{one},{two},version=x")),
        whole(&format!("{one},{two},group.1=1")),
        whole(&format!("{one},{two},group.x=1:2")),
        whole(&format!("{one},{two},weight.1=x,group.1=1:2")),
        ReconfigRequest {
            current_config_id: 7,
            ..leaving("1")
        },
    ];
    for request in requests {
        let described = cluster.normal_text(&format!("{request:?}"));
        let reply = client.request(&Request::Reconfig(request))?;
        say(&mut told, &described, format!("{}", reply.header.err));
    }
    let reply = plain.request(&Request::Reconfig(leaving("1")))?;
    ensure!(reply.header.err == NO_AUTH, "{reply:?}");

    // Watched, answered, and read everywhere.
    let mut watching = cluster.client(followers[1])?;
    ask(&mut watching, &read_request(CONFIG, true))?;
    for (what, request) in [
        ("nothing", leaving("")),
        (
            "an observer that is not there",
            joining(&[cluster.ports[&4].line(4, "observer")]),
        ),
        ("it leaves", leaving("4")),
    ] {
        let request = Request::Reconfig(request);
        let reply = ask(&mut client, &request)?;
        say(&mut told, what, cluster.normal(&reply.body)?);
        for id in 1..=3 {
            let mut reader = cluster.client(id)?;
            let reply = ask(&mut reader, &read_request(CONFIG, false))?;
            say(&mut told, what, cluster.normal(&reply.body)?);
        }
    }
    ask(&mut watching, &read_request(CONFIG, false))?;
    let events = watching.take_notifications();
    let events: Vec<_> = events.iter().map(|event| &event.event).collect();
    say(&mut told, "events", format!("{events:?}"));

    cluster.join(4, "participant", &[1, 2, 3])?;
    let request = joining(&[four]);
    cluster.change(at, &request)?;
    cluster.wait_for_voters(4, PATIENCE, |text| fits(&request, text))?;
    say(
        &mut told,
        "joined",
        cluster.normal_text(&cluster.config(4)?),
    );
    cluster.wait_until_serving(at)?;
    let mut client = cluster.superuser(at)?;
    ask(&mut client, &create_request("/after", "", 0))?;
    let leader = cluster.leader()?;
    cluster.change(at, &leaving(&leader.to_string()))?;
    cluster.wait_for_mode(leader, "follower")?;
    cluster.wait_until_serving(leader)?;
    say(
        &mut told,
        "the leader is gone",
        cluster.normal_text(&cluster.config(leader)?),
    );
    ensure!(
        read(&mut cluster.client(leader)?, "/after")?.is_some(),
        "/after went"
    );
    let server = &cluster.servers[&at];
    let names: Vec<String> = ["zoo.cfg.bak", "zoo.cfg.dynamic.next"]
        .iter()
        .map(|name| format!("{name}: {}", server.directory().join(name).exists()))
        .collect();
    say(&mut told, "files", names.join("\n"));
    let main = fs::read_to_string(server.directory().join("zoo.cfg"))?;
    let line = main
        .lines()
        .find_map(|line| line.strip_prefix("dynamicConfigFile="));
    let members = fs::read_to_string(line.context("no dynamicConfigFile")?)?;
    say(&mut told, "members", cluster.normal_text(&members));
    let mut keys: Vec<&str> = main
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, _)| key)
        .filter(|key| {
            [
                "clientPort",
                "clientPortAddress",
                "server.1",
                "peerType",
                "tickTime",
                "reconfigEnabled",
            ]
            .contains(key)
        })
        .collect();
    keys.sort_unstable();
    say(&mut told, "main file", keys.join("\n"));
    Ok(told)
}

impl Cluster {
    /// Data and stat of the node.
    fn normal(&self, body: &Bytes) -> anyhow::Result<String> {
        let reply = DataReply::read(&mut Reader::new(body))?;
        let text = String::from_utf8(reply.data.unwrap_or_default().to_vec())?;
        let version = text
            .rsplit_once("version=")
            .map_or("", |(_, version)| version);
        let version = i64::from_str_radix(version, 16).context(text.clone())?;
        let stat = reply.stat;
        Ok(format!(
            "{}\nmzxid is the version: {}, {} {} {} {} {} {} {}",
            self.normal_text(&text),
            stat.mzxid.0 == version,
            stat.czxid.0,
            stat.pzxid.0,
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length - i32::try_from(text.len())?,
            stat.num_children
        ))
    }

    fn normal_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, Ports(ports)) in &self.ports {
            for (name, port) in ["quorum", "election", "client"].iter().zip(ports) {
                text = text.replace(&port.to_string(), &format!("{name}-{id}"));
            }
        }
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some(("version", _)) => "version=?",
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn answers_are_those_of_zookeeper() {
    if let Some(why) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let expected = transcript(Implementation::Apache).expect("what ZooKeeper says");
    let found = transcript(Implementation::Zabd).expect("what zabd says");
    if expected != found {
        let differs = expected
            .lines()
            .zip(found.lines())
            .find(|(one, other)| one != other);
        panic!("{differs:#?}\n\n--- ZooKeeper\n{expected}\n--- zabd\n{found}");
    }
}
