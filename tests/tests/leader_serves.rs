//! `leaderServes=no`: the same by zabd and by Apache ZooKeeper. The latter is left out, with a word about why, where it
//! cannot be run; fails then if `CI` is set.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zabd_tests::ensemble::{Ensemble, ask, create_request, read, sync};
use zabd_tests::raw::{RawClient, four_letter_word};
use zabd_tests::servers::{Implementation, Setup, apache_unavailable};

const PATIENCE: Duration = Duration::from_secs(60);

fn word(ensemble: &Ensemble, number: usize, word: &[u8]) -> anyhow::Result<String> {
    let address = ensemble.server(number).address();
    let answer = four_letter_word(address, word, Duration::from_secs(5))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The only one of these servers that is no follower, once the others are and serve. Apache ZooKeeper calls itself a
/// follower before that, and may still be sent back to another election.
fn leader(ensemble: &Ensemble, numbers: &[usize]) -> anyhow::Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let (followers, others): (Vec<usize>, Vec<usize>) = numbers.iter().partition(|number| {
            word(ensemble, **number, b"srvr").is_ok_and(|text| text.contains("Mode: follower"))
        });
        let serve = || {
            followers
                .iter()
                .all(|&number| ensemble.client(number).is_ok())
        };
        if let [leader] = &others[..]
            && serve()
        {
            return Ok(*leader);
        }
        sleep(Duration::from_millis(20));
    }
    bail!("the others do not follow");
}

fn takes_no_clients(ensemble: &Ensemble, leader: usize) -> anyhow::Result<()> {
    let srvr = word(ensemble, leader, b"srvr")?;
    let expected = "This ZooKeeper instance is not currently serving requests\n";
    ensure!(srvr == expected, "{srvr}");
    let isro = word(ensemble, leader, b"isro")?;
    ensure!(isro == "null", "{isro}");
    let client = RawClient::connect(ensemble.server(leader).address(), 10_000);
    ensure!(client.is_err(), "the leader takes a client");
    Ok(())
}

fn story(implementation: Implementation) -> anyhow::Result<()> {
    let setup = Setup::default()
        .property("zookeeper.leaderServes", "no")
        .property("zookeeper.4lw.commands.whitelist", "*");
    let mut ensemble = Ensemble::spawn_of(&[implementation; 3], 3, setup)?;
    let told = (|| {
        let first = leader(&ensemble, &[0, 1, 2])?;
        takes_no_clients(&ensemble, first)?;
        let others: Vec<usize> = (0..3).filter(|number| *number != first).collect();
        let mut client = ensemble.client(others[0])?;
        ask(&mut client, &create_request("/kept", "", 0))?;
        let mut client = ensemble.client(others[1])?;
        sync(&mut client)?;
        ensure!(read(&mut client, "/kept")?.is_some(), "/kept is not there");

        ensemble.kill(first)?;
        let next = leader(&ensemble, &others)?;
        takes_no_clients(&ensemble, next)?;
        let left = others.into_iter().find(|number| *number != next);
        let mut client = ensemble.client(left.context("nobody is left")?)?;
        ensure!(read(&mut client, "/kept")?.is_some(), "/kept went");
        ask(&mut client, &create_request("/later", "", 0)).map(drop)
    })();
    told.with_context(|| ensemble.last_words())
}

#[test]
fn a_leader_that_takes_no_clients_leads_those_of_others() {
    story(Implementation::Zabd).expect("zabd");
    if let Some(why) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return eprintln!("without Apache ZooKeeper: {why}");
    }
    story(Implementation::Apache).expect("Apache ZooKeeper");
}
