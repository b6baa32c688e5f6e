//! Servers whose copy was altered on disk, so that they come to another tree than the others, in ensembles of real
//! processes.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use jute_codec::txn::{Txn, TxnEntry};
use zabd::storage::disk::RealDisk;
use zabd::storage::txn_log::{LogOptions, TxnLog};
use zabd_tests::ensemble::{Ensemble, ask, create_request};

fn on_ensemble(case: impl FnOnce(&mut Ensemble) -> anyhow::Result<()>) {
    let mut ensemble = Ensemble::start(3, 0).expect("an ensemble starts");
    if let Err(problem) = case(&mut ensemble) {
        panic!("{problem:?}\n{}", ensemble.last_words());
    }
}

/// The leader keeps its quorum: the follower takes its snapshot.
#[test]
fn a_follower_with_another_tree_takes_the_leaders() {
    on_ensemble(|ensemble| {
        let leader = ensemble.leader()?;
        let victim = ensemble.followers()?[0];
        write(ensemble, "/right")?;
        await_logged(ensemble, victim, "/right")?;
        ensemble.kill(victim)?;
        alter(&log_dir(ensemble, victim))?;
        ensemble.spawn(victim)?;
        ensemble.wait_until_serving(&[victim])?;
        write(ensemble, "/shows-it")?;
        await_word(
            ensemble,
            victim,
            "does not come to the leader's tree either",
        )?;
        is_in_step_again(ensemble, victim)?;
        ensure!(ensemble.leader()? == leader, "the leader is another");
        Ok(())
    });
}

/// All followers leave it: one of them leads, and the old leader takes its snapshot.
#[test]
fn a_leader_with_another_tree_takes_its_successors() {
    on_ensemble(|ensemble| {
        write(ensemble, "/right")?;
        for server in ensemble.all() {
            await_logged(ensemble, server, "/right")?;
        }
        for server in ensemble.all() {
            ensemble.kill(server)?;
        }
        // With the same history, the highest id leads.
        let victim = 2;
        alter(&log_dir(ensemble, victim))?;
        for server in ensemble.all() {
            ensemble.spawn(server)?;
        }
        for follower in [0, 1] {
            // A client's session is enough to show it.
            let deadline = Instant::now() + Duration::from_secs(20);
            while !said(
                ensemble,
                follower,
                "does not come to the leader's tree either",
            ) {
                ensure!(
                    Instant::now() < deadline,
                    "server {} does not notice",
                    follower + 1
                );
                ensemble.client(victim).ok();
                sleep(Duration::from_millis(100));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut written = 0;
        while !said(
            ensemble,
            victim,
            "does not come to the leader's tree either",
        ) {
            ensure!(Instant::now() < deadline, "the old leader does not notice");
            written += 1;
            write(ensemble, &format!("/later-{written}")).ok();
            sleep(Duration::from_millis(200));
        }
        is_in_step_again(ensemble, victim)?;
        ensure!(ensemble.leader()? != victim, "it leads again");
        Ok(())
    });
}

/// Waits until the server's log has a transaction about the path: a quorum that has it may be the others.
fn await_logged(ensemble: &Ensemble, server: usize, path: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for file in fs::read_dir(log_dir(ensemble, server))? {
            let file = file?.path();
            // Files come and go while the server runs.
            let bytes = fs::read(&file).unwrap_or_default();
            let mut places = bytes.windows(path.len());
            if file.extension().is_some_and(|kind| kind == "zlog")
                && places.any(|place| place == path.as_bytes())
            {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "{path} does not get to the log");
        sleep(Duration::from_millis(50));
    }
}

/// What the server had altered is as everybody has it.
fn is_in_step_again(ensemble: &mut Ensemble, victim: usize) -> anyhow::Result<()> {
    ensemble.wait_until_all_serve()?;
    let tree = ensemble.same_tree()?;
    let (data, _) = tree.get("/right").context("/right is not there")?;
    ensure!(data.as_deref() == Some(DATA.as_bytes()), "{data:?}");
    let log = ensemble.server(victim).log();
    ensure!(
        log.contains("the leader's snapshot is in place"),
        "it took no snapshot"
    );
    ensure!(
        log.contains("this server's tree is not the leader's"),
        "it says nothing of digests"
    );
    Ok(())
}

const DATA: &str = "as it should be";

fn write(ensemble: &Ensemble, path: &str) -> anyhow::Result<()> {
    let mut client = ensemble.client(ensemble.leader()?)?;
    ask(&mut client, &create_request(path, DATA, 0)).map(drop)
}

fn log_dir(ensemble: &Ensemble, number: usize) -> std::path::PathBuf {
    ensemble.server(number).data_dir().join("zabd/log")
}

fn said(ensemble: &Ensemble, number: usize, words: &str) -> bool {
    ensemble.server(number).log().contains(words)
}

fn await_word(ensemble: &Ensemble, number: usize, words: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !said(ensemble, number, words) {
        ensure!(Instant::now() < deadline, "it does not say: {words}");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Writes the log of a server that is down anew, with other data in what it has created.
fn alter(dir: &Path) -> anyhow::Result<()> {
    let (log, _) = TxnLog::open(RealDisk, dir, LogOptions::default())?;
    let mut entries = Vec::new();
    for record in log.read_after(jute_codec::Zxid::ZERO)? {
        entries.push(record?);
    }
    log.close()?;
    let old = dir.with_extension("old");
    fs::rename(dir, &old)?;
    let (mut log, _) = TxnLog::open(RealDisk, dir, LogOptions::default())?;
    let mut altered = 0;
    for (zxid, bytes) in entries {
        let mut entry = TxnEntry::decode(&bytes)?;
        if let Txn::Create(create) | Txn::Create2(create) = &mut entry.txn
            && create.data.is_some()
        {
            create.data = Some(Bytes::from_static(b"something else"));
            altered += 1;
        }
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        log.append(zxid, bytes.into())?;
    }
    log.sync()?;
    log.close()?;
    ensure!(altered > 0, "nothing was altered");
    fs::copy(old.join("epochs"), dir.join("epochs"))?;
    fs::remove_dir_all(old)?;
    Ok(())
}
