//! The members of an ensemble of real processes change while clients write; and what Apache ZooKeeper answers to the same
//! requests.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use jute_codec::proto::{DataReply, ReconfigRequest, Request};
use jute_codec::{Jute, Reader, Text};
use zabd_tests::cluster::{CONFIG, Cluster, PATIENCE, Ports, fits, joining, leaving};
use zabd_tests::ensemble::{ask, create_request, read, read_request};
use zabd_tests::servers::apache_unavailable;
use zabd_tests::writers::Writers;

const NO_AUTH: i32 = -102;

#[test]
fn members_come_and_go_under_load() {
    let mut cluster = Cluster::start("Z").expect("an ensemble starts");
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
fn transcript(letters: &str) -> anyhow::Result<String> {
    let mut cluster = Cluster::start(letters)?;
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
        say(&mut told, "config at first", normal(cluster, &reply.body)?);
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
        let described = normal_text(cluster, &format!("{request:?}"));
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
        say(&mut told, what, normal(cluster, &reply.body)?);
        for id in 1..=3 {
            let mut reader = cluster.client(id)?;
            let reply = ask(&mut reader, &read_request(CONFIG, false))?;
            say(&mut told, what, normal(cluster, &reply.body)?);
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
        normal_text(cluster, &cluster.config(4)?),
    );
    cluster.wait_until_serving(at)?;
    let mut client = cluster.superuser(at)?;
    ask(&mut client, &create_request("/after", "", 0))?;
    let leader = cluster.leader()?;
    // Which of the first three leads is chance.
    let left = (1..=4).filter(|id| *id != leader);
    let left = left.map(|id| cluster.ports[&id].line(id, "participant"));
    let left = normal_text(cluster, &left.collect::<Vec<_>>().join("\n"));
    let nameless = |text: String| {
        ensure!(text.contains(&left), "not {left}, but {text}");
        Ok(text.replace(&left, "all but the one that led"))
    };
    cluster.change(at, &leaving(&leader.to_string()))?;
    cluster.wait_for_mode(leader, "follower")?;
    cluster.wait_until_serving(leader)?;
    say(
        &mut told,
        "the leader is gone",
        nameless(normal_text(cluster, &cluster.config(leader)?))?,
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
    let members = nameless(normal_text(cluster, &members))?;
    say(&mut told, "members", members);
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

/// Data and stat of the node.
fn normal(cluster: &Cluster, body: &Bytes) -> anyhow::Result<String> {
    let reply = DataReply::read(&mut Reader::new(body))?;
    let text = String::from_utf8(reply.data.unwrap_or_default().to_vec())?;
    let version = text
        .rsplit_once("version=")
        .map_or("", |(_, version)| version);
    let version = i64::from_str_radix(version, 16).context(text.clone())?;
    let stat = reply.stat;
    Ok(format!(
        "{}\nmzxid is the version: {}, {} {} {} {} {} {} {}",
        normal_text(cluster, &text),
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

fn normal_text(cluster: &Cluster, text: &str) -> String {
    let mut text = text.to_owned();
    for (id, Ports(ports)) in &cluster.ports {
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

#[test]
fn answers_are_those_of_zookeeper() {
    if let Some(why) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let expected = transcript("J").expect("what ZooKeeper says");
    let found = transcript("Z").expect("what zabd says");
    if expected != found {
        let differs = expected
            .lines()
            .zip(found.lines())
            .find(|(one, other)| one != other);
        panic!("{differs:#?}\n\n--- ZooKeeper\n{expected}\n--- zabd\n{found}");
    }
}
