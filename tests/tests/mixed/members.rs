//! The members of an ensemble of several kinds change while clients write.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use zabd_tests::cluster::{Cluster, joining, leaving};
use zabd_tests::mixed::{check_log, figure};
use zabd_tests::servers::Implementation;
use zabd_tests::writers::Writers;

use crate::each;

#[test]
fn members_change_whoever_leads() {
    each(&["JZZJZJ"], |letters| {
        let mut cluster = Cluster::start(letters)?;
        come_and_go(&mut cluster).map_err(|problem| problem.context(cluster.last_words()))
    });
}

fn come_and_go(cluster: &mut Cluster) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = (1..=3).map(|id| cluster.ports[&id].client()).collect();
    let writers = Writers::start(2, &addresses, u64::from(std::process::id()));
    let changed = change(cluster, &writers);
    let writers = writers.finish()?;
    changed?;
    let tree = cluster.same_tree()?;
    for writer in &writers {
        writer.check(&tree)?;
    }
    for (id, server) in &mut cluster.servers {
        ensure!(!server.has_exited(), "server {id} has ended");
        let mismatches = figure(server.address(), "zk_digest_mismatches_count")?;
        ensure!(mismatches == "0", "server {id} counts {mismatches}");
        check_log(server).with_context(|| format!("server {id}"))?;
    }
    Ok(())
}

fn change(cluster: &mut Cluster, writers: &Writers) -> anyhow::Result<()> {
    writers.wait_for(20).context("at first")?;
    // One of each kind comes to vote, and one first observes.
    for (id, others) in [(4, &[1, 2, 3][..]), (5, &[1, 2, 3, 4][..])] {
        cluster.join(id, "participant", others)?;
        cluster.change(1, &joining(&[cluster.ports[&id].line(id, "participant")]))?;
        writers
            .wait_for(20)
            .with_context(|| format!("{id} joined"))?;
    }
    cluster.join(6, "observer", &[1, 2, 3])?;
    cluster.change(2, &joining(&[cluster.ports[&6].line(6, "observer")]))?;
    cluster.wait_for_mode(6, "observer")?;
    cluster.change(2, &joining(&[cluster.ports[&6].line(6, "participant")]))?;
    cluster.wait_for_mode(6, "follower")?;
    writers.wait_for(20).context("an observer votes")?;

    // Leaders make way, until one of the other kind has led such a change, too.
    let mut led = Vec::new();
    while !(led.contains(&Implementation::Zabd) && led.len() > 1) || led.len() < 2 {
        ensure!(led.len() < 6, "only some kinds lead: {led:?}");
        let leader = cluster.leader()?;
        let other = (1..=6).find(|id| *id != leader).context("another")?;
        let kind = cluster.servers[&leader].implementation();
        led.push(kind);
        cluster.change(other, &leaving(&leader.to_string()))?;
        writers.wait_for(20).context("the leader removed")?;
        ensure!(cluster.leader()? != leader, "it leads on");
        cluster.wait_for_mode(leader, "follower")?;
        let line = cluster.ports[&leader].line(leader, "participant");
        cluster.change(other, &joining(&[line]))?;
        writers.wait_for(20).context("it is back")?;
    }

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
        let text = cluster.config(*id)?;
        ensure!(text.lines().count() == 7, "server {id} has {text}");
    }
    writers.wait_for(20).context("all killed")?;

    cluster.change(1, &leaving("4,5,6"))?;
    for id in 4..=6 {
        cluster.servers.remove(&id);
    }
    writers.wait_for(20).context("three are left")?;
    (1..=3).try_for_each(|id| cluster.wait_until_serving(id))
}
