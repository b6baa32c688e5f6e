//! Members that come from Apache ZooKeeper to zabd with files that are of no use: the others have a better copy.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use zabd_tests::ensemble::{ask, create_request};
use zabd_tests::mixed::Mixed;
use zabd_tests::servers::{Implementation, Setup};

use crate::{each, on};

/// The follower that is moved.
const MOVED: usize = 0;
const WITHOUT: &str = "the data of Apache ZooKeeper is of no use";

/// Its log is damaged; then zabd's own data is gone while ZooKeeper's still stands there.
#[test]
fn who_has_no_copy_takes_that_of_the_others_and_does_not_vote_before() {
    each(&["JJZ", "OZO"], |letters| {
        on(Mixed::prepare(letters, 3, Setup::default())?, |mixed| {
            mixed.revive_leader(2)?;
            write(mixed, "before", 50)?;
            mixed.stop(MOVED)?;
            damage(mixed)?;
            mixed.set_implementation(MOVED, Implementation::Zabd)?;
            write(mixed, "meanwhile", 10)?;
            comes_back(mixed, 1)?;

            mixed.stop(MOVED)?;
            write(mixed, "later", 10)?;
            let own = mixed.server(MOVED).data_dir().join("zabd");
            fs::rename(&own, own.with_extension("away"))?;
            comes_back(mixed, 2)?;

            // It votes, and has everything: another may go.
            mixed.kill(2)?;
            write(mixed, "without-another", 10)?;
            mixed.revive(&[2])?;
            let mismatches = mixed.figure(MOVED, "zk_digest_mismatches_count")?;
            ensure!(mismatches == "0", "{mismatches} digest mismatches");
            mixed.same_tree().map(drop)
        })
    });
}

fn write(mixed: &Mixed, name: &str, count: usize) -> anyhow::Result<()> {
    let leader = mixed.await_leader(&[0, 1, 2])?;
    let mut client = mixed.client(leader)?;
    for number in 0..count {
        ask(
            &mut client,
            &create_request(&format!("/{name}-{number}"), "", 0),
        )?;
    }
    Ok(())
}

/// A bit in the middle of what it has logged: transactions that count come behind it.
fn damage(mixed: &Mixed) -> anyhow::Result<()> {
    let directory = mixed.server(MOVED).data_dir().join("version-2");
    let path: PathBuf = fs::read_dir(&directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().contains("/log."))
        .max()
        .context("no log")?;
    let mut bytes = fs::read(&path)?;
    let text = b"/before-20";
    let at = bytes.windows(text.len()).position(|window| window == text);
    bytes[at.context("not in the log")?] ^= 1;
    Ok(fs::write(&path, bytes)?)
}

/// For so many starts in all it was without a copy.
fn comes_back(mixed: &mut Mixed, times: usize) -> anyhow::Result<()> {
    mixed.revive(&[MOVED])?;
    mixed.wait_until_all_serve()?;
    let log = mixed.server(MOVED).log();
    for words in [
        WITHOUT,
        "it does not vote before it has all of a leader's history",
    ] {
        let said = log.matches(words).count();
        ensure!(said == times, "{words}: said {said} times");
    }
    mixed.same_tree().map(drop)
}
