//! An ensemble of Apache ZooKeeper moved to zabd server by server, and back, under load: `docs/migration.md`, as it stands there.
//!
//! Skipped, with a word about why, where Apache ZooKeeper cannot be run; fails then if `CI` is set.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use zabd_tests::ensemble::Ensemble;
use zabd_tests::raw::four_letter_word;
use zabd_tests::servers::{Implementation, Setup, apache_unavailable, zabd_binary};
use zabd_tests::writers::Writers;

/// The followers first, the leader last.
fn order(ensemble: &Ensemble) -> anyhow::Result<Vec<usize>> {
    let mut order = ensemble.all();
    let mut leads = Vec::new();
    for number in &order {
        let address = ensemble.server(*number).address();
        let answer = four_letter_word(address, b"srvr", Duration::from_secs(5))?;
        leads.push(String::from_utf8_lossy(&answer).contains("Mode: leader"));
    }
    order.sort_by_key(|number| leads[*number]);
    Ok(order)
}

fn exit_of(ensemble: &Ensemble, number: usize, word: &str) -> anyhow::Result<()> {
    let config = ensemble.server(number).directory().join("zoo.cfg");
    let output = Command::new(zabd_binary()?)
        .arg(word)
        .arg(config)
        .output()
        .context("run zabd")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{word}: {words}");
    Ok(())
}

/// Moves every server, one after the other, while writers write.
fn roll(ensemble: &mut Ensemble, to: Implementation, writers: &Writers) -> anyhow::Result<()> {
    for number in order(ensemble)? {
        writers.wait_for(100)?;
        ensemble.stop(number)?;
        if to == Implementation::Apache {
            exit_of(ensemble, number, "export-java")?;
        }
        ensemble.set_implementation(number, to)?;
        ensemble.spawn(number)?;
        ensemble
            .wait_until_serving(&[number])
            .with_context(|| format!("server {} as {}", number + 1, to.name()))?;
        eprintln!(
            "server {} is {} after {} writes",
            number + 1,
            to.name(),
            writers.acknowledged()
        );
        writers.wait_for(100)?;
    }
    Ok(())
}

fn story() -> anyhow::Result<()> {
    let setup = Setup::default()
        .property("zookeeper.snapCount", "500")
        .property("zookeeper.preAllocSize", "256")
        .property("zookeeper.4lw.commands.whitelist", "*");
    let mut ensemble = Ensemble::start_of(&[Implementation::Apache; 3], 3, setup)?;
    let writers = Writers::start(3, ensemble.book(), 1);
    let rolled = writers
        .wait_for(600)
        .and_then(|()| roll(&mut ensemble, Implementation::Zabd, &writers))
        .and_then(|()| roll(&mut ensemble, Implementation::Apache, &writers));
    let told = rolled.and_then(|()| {
        // What the writers saw says more than that they stopped.
        let writers = writers.finish()?;
        let tree = ensemble.same_tree()?;
        writers.iter().try_for_each(|writer| writer.check(&tree))?;
        for number in ensemble.all() {
            let log = ensemble.server(number).log();
            for words in [
                "tree is not the leader's",
                "is not the one that Java had",
                "Digests are not matching",
            ] {
                ensure!(!log.contains(words), "server {}: {words}", number + 1);
            }
        }
        Ok(())
    });
    told.with_context(|| ensemble.last_words())
}

#[test]
fn an_ensemble_is_moved_under_load_and_back() {
    if let Some(why) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return eprintln!("skipped: {why}");
    }
    story().unwrap_or_else(|problem| panic!("{problem:#}"));
}
