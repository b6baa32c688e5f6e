//! Learners that were away are brought up to date in every way there is, by leaders of the other kind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jute_codec::proto::CreateFlags;
use zabd_tests::ensemble::{COMMIT_LOG_COUNT, ask, create_request};
use zabd_tests::mixed::{Mixed, PATIENCE};
use zabd_tests::raw::RawClient;
use zabd_tests::servers::{Implementation, Setup};

use crate::churn::{Churn, bulk};
use crate::{count_of, each, on};

/// Ways to bring a learner up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// What the leader has in memory.
    Diff,
    /// A part of the leader's log.
    Log,
    /// Transactions are forgotten first.
    Trunc,
    /// Everything anew.
    Snap,
}

/// What a leader or a learner writes when it does so; nothing where it does not say so.
fn says(implementation: Implementation, leads: bool, way: Way) -> Option<&'static str> {
    match (implementation, leads, way) {
        (Implementation::Zabd, true, Way::Snap) => Some("a learner gets a snapshot"),
        (Implementation::Zabd, false, Way::Snap) => Some("the leader's snapshot is in place"),
        (Implementation::Zabd, false, Way::Trunc) => {
            Some("transactions that the leader does not have are forgotten")
        }
        // It says nothing of one to where its own history ends.
        (Implementation::Zabd, ..) | (_, true, Way::Trunc) => None,
        (_, true, Way::Diff) => Some("Sending DIFF"),
        (_, true, Way::Log) => Some("Use txnlog and committedLog"),
        (_, true, Way::Snap) => Some("Sending snapshot"),
        (_, false, Way::Diff | Way::Log) => Some("Getting a diff from the leader"),
        (_, false, Way::Trunc) => Some("Truncating log to get in sync with the leader"),
        (_, false, Way::Snap) => Some("Getting a snapshot from leader"),
    }
}

fn count(mixed: &Mixed, number: usize, leads: bool, way: Way) -> Option<usize> {
    let server = mixed.server(number);
    let words = says(server.implementation(), leads, way)?;
    Some(server.log().matches(words).count())
}

/// Learners come back, and it goes that way.
fn come_back(mixed: &mut Mixed, leader: usize, learners: &[usize], way: Way) -> anyhow::Result<()> {
    let before = |mixed: &Mixed| {
        let mut counts = vec![count(mixed, leader, true, way)];
        counts.extend(
            learners
                .iter()
                .map(|learner| count(mixed, *learner, false, way)),
        );
        counts
    };
    let was = before(mixed);
    mixed.revive(learners)?;
    let is = before(mixed);
    for (place, (was, is)) in was.iter().zip(&is).enumerate() {
        ensure!(
            was.is_none() || is > was,
            "{way:?}: nothing of it in the log of {}",
            if place == 0 {
                "the leader"
            } else {
                "a learner"
            }
        );
    }
    Ok(())
}

/// Writes of every kind that changes what later ones come to, so many times.
fn write(mixed: &Mixed, at: usize, name: &str, count: usize) -> anyhow::Result<()> {
    let mut client = mixed.client(at)?;
    ask(&mut client, &create_request(&format!("/{name}"), "", 0))?;
    let ephemeral = CreateFlags::EphemeralSequential as i32;
    for number in 0..count {
        let path = format!("/{name}/{number}");
        let flags = if number % 10 == 9 { ephemeral } else { 0 };
        client.send(&create_request(&path, "some data", flags))?;
    }
    for _ in 0..count {
        let header = client.reply()?.header;
        ensure!(header.err == 0, "{header:?}");
    }
    Ok(())
}

/// Server 3 leads; others, one of them an observer, come back to it. Then server 2 leads, which is of the other kind, and server
/// 3 has transactions that nobody else has.
#[test]
fn learners_are_brought_up_to_date_in_every_way() {
    each(&["ZZJZ", "OJZO"], |letters| {
        let setup = Setup::default()
            // However small the snapshot, the log is worth sending.
            .property("zookeeper.snapshotSizeFactor", "0");
        on(Mixed::prepare(letters, 3, setup)?, every_way)
    });
}

fn every_way(mixed: &mut Mixed) -> anyhow::Result<()> {
    const LEADER: usize = 2;
    mixed.revive_leader(LEADER)?;
    let learners = [0, 3];
    let leave = |mixed: &mut Mixed| learners.iter().try_for_each(|number| mixed.kill(*number));

    leave(mixed)?;
    write(mixed, LEADER, "diff", 50)?;
    come_back(mixed, LEADER, &learners, Way::Diff)?;
    mixed.check()?;

    leave(mixed)?;
    write(mixed, LEADER, "log", COMMIT_LOG_COUNT + 100)?;
    come_back(mixed, LEADER, &learners, Way::Log)?;
    mixed.check()?;

    // Nobody but the leader has what it proposes now.
    let (mut client, _) = RawClient::connect(mixed.server(LEADER).address(), 20_000)?;
    for number in [0, 1] {
        mixed.kill(number)?;
    }
    for number in 0..10 {
        client.send(&create_request(&format!("/lost-{number}"), "", 0))?;
    }
    let until = Instant::now() + PATIENCE;
    while !mixed.has_logged(LEADER, "/lost-9") {
        ensure!(Instant::now() < until, "it does not log what it proposes");
        sleep(Duration::from_millis(20));
    }
    mixed.kill(LEADER)?;
    mixed.spawn(0)?;
    mixed.spawn(1)?;
    let next = mixed.await_leader(&[0, 1])?;
    ensure!(next == 1, "server {} leads", next + 1);
    // Once its epoch has transactions, ZooKeeper would rather send everything.
    come_back(mixed, next, &[LEADER], Way::Trunc)?;
    mixed.wait_until_all_serve()?;
    let tree = mixed.check()?;
    ensure!(!tree.contains_key("/lost-0"), "what was lost is there");

    // And what the other kind as leader has to give.
    mixed.kill(LEADER)?;
    write(mixed, next, "diff-2", 50)?;
    come_back(mixed, next, &[LEADER], Way::Diff)?;
    mixed.kill(LEADER)?;
    write(mixed, next, "log-2", COMMIT_LOG_COUNT + 100)?;
    come_back(mixed, next, &[LEADER], Way::Log)?;
    mixed.check().context("at the end").map(drop)
}

/// Learners get everything anew while clients write, again and again: snapshots of Apache ZooKeeper are of no one moment.
#[test]
fn snapshots_are_taken_while_clients_write() {
    each(&["ZZOZ", "JJZJ"], |letters| {
        let setup = Setup::default().property("zookeeper.forceSnapshotSync", "true");
        on(Mixed::prepare(letters, 3, setup)?, |mixed| {
            const LEADER: usize = 2;
            mixed.revive_leader(LEADER)?;
            bulk(mixed, LEADER)?;
            let rounds = count_of("ZABD_MIXED_ROUNDS", 2);
            for round in 0..rounds {
                let churn = Churn::start(mixed, LEADER, round as u64);
                churn.wait()?;
                for learner in [0, 3] {
                    mixed.kill(learner)?;
                    if round % 2 == 0 {
                        mixed.erase(learner)?;
                    }
                }
                let came = come_back(mixed, LEADER, &[0, 3], Way::Snap);
                churn.stop()?;
                came?;
                mixed.check().with_context(|| format!("round {round}"))?;
                noted_alike(mixed, LEADER).with_context(|| format!("round {round}"))?;
            }
            Ok(())
        })
    });
}

/// No server of zabd that was sent a snapshot tells a digest that the leader has not had: what it had of the snapshot
/// before the transactions that followed it is of no one moment.
fn noted_alike(mixed: &Mixed, leader: usize) -> anyhow::Result<()> {
    let leaders = mixed.digests(leader)?;
    for learner in [0, 3] {
        if mixed.server(learner).implementation() != Implementation::Zabd {
            continue;
        }
        for (zxid, digest) in mixed.digests(learner)? {
            ensure!(
                leaders.get(&zxid).is_none_or(|had| *had == digest),
                "after {zxid} server {} has noted {digest}, the leader {:?}",
                learner + 1,
                leaders.get(&zxid)
            );
        }
    }
    Ok(())
}
