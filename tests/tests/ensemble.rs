//! Ensembles of real processes: three voters and an observer that agree, whatever is done to them.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |
//! | `ZABD_ENSEMBLE_SEED=N` | which servers the writers try when, in place of a seed of the clock's |

use std::env;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::proto::{CreateFlags, DataReply, EventType, PathRequest, Request, SetDataRequest};
use jute_codec::{ErrorCode, Jute, Reader, Text};
use zabd_tests::ensemble::{
    COMMIT_LOG_COUNT, Ensemble, SESSION_TIMEOUT_MS, SYNC_LIMIT, TICK_MS, ask, create_request, read,
    read_request, sync,
};
use zabd_tests::raw::{RawClient, Received, connect_request, notification, split_reply};
use zabd_tests::writers::Writers;

/// Longer than a leader or follower waits for one that is silent.
const SILENCE: Duration = Duration::from_millis((SYNC_LIMIT + 2) * TICK_MS);

/// Runs a case on an ensemble of three voters and an observer; a failure shows what the servers said last.
fn on_ensemble(case: impl FnOnce(&mut Ensemble) -> anyhow::Result<()>) {
    let mut ensemble = Ensemble::start(3, 1).expect("an ensemble starts");
    if let Err(problem) = case(&mut ensemble) {
        panic!("{problem:?}\n{}", ensemble.last_words());
    }
}

#[test]
fn all_serve_one_history() {
    on_ensemble(|ensemble| {
        writes_are_seen_everywhere(ensemble)?;
        a_session_moves(ensemble)?;
        a_watch_fires_before_its_change_is_seen(ensemble)?;
        ensemble.same_tree().map(drop)
    });
}

fn writes_are_seen_everywhere(ensemble: &Ensemble) -> anyhow::Result<()> {
    for writer in ensemble.all() {
        let path = format!("/through-{writer}");
        let mut client = ensemble.client(writer)?;
        ask(&mut client, &create_request(&path, &path, 0))?;
        for reader in ensemble.all() {
            let mut client = ensemble.client(reader)?;
            sync(&mut client)?;
            let node = read(&mut client, &path)?
                .with_context(|| format!("{path} is not at server {}", reader + 1))?;
            ensure!(node.data.as_deref() == Some(path.as_bytes()), "{node:?}");
        }
    }
    Ok(())
}

fn a_session_moves(ensemble: &Ensemble) -> anyhow::Result<()> {
    let addresses = ensemble.addresses();
    // Voter to voter, voter to observer, and from the observer back.
    for (number, pair) in [[0, 1], [2, 3], [3, 0]].into_iter().enumerate() {
        let [from, to] = pair;
        let path = format!("/moved-{number}");
        let (mut old, session) = RawClient::connect(addresses[from], SESSION_TIMEOUT_MS)?;
        let create = create_request(&path, "", CreateFlags::Ephemeral as i32);
        ask(&mut old, &create)?;
        let mut request = connect_request(SESSION_TIMEOUT_MS);
        request.session = session.session;
        request.password = Some(Bytes::copy_from_slice(&session.password));
        let mut new = RawClient::open(addresses[to])?;
        let moved = new.handshake(&request)?;
        ensure!(moved.session == session.session, "{pair:?}: {moved:?}");
        sync(&mut new)?;
        ensure!(read(&mut new, &path)?.is_some(), "{pair:?}: {path} went");
        // A write where the session was before is not done, if that server still listens at all.
        let late = format!("{path}-late");
        if let Ok(reply) = old.request(&create_request(&late, "", 0)) {
            ensure!(
                reply.header.err == ErrorCode::SessionMoved.code(),
                "{pair:?}: {reply:?}"
            );
        }
        ask(&mut new, &Request::CloseSession)?;
        for reader in ensemble.all() {
            let mut client = ensemble.client(reader)?;
            for path in [&path, &late] {
                ensure!(
                    read(&mut client, path)?.is_none(),
                    "{pair:?}: {path} is at server {}",
                    reader + 1
                );
            }
        }
    }
    Ok(())
}

fn a_watch_fires_before_its_change_is_seen(ensemble: &Ensemble) -> anyhow::Result<()> {
    let followers = ensemble.followers()?;
    let leader = ensemble.leader()?;
    for (watcher, writer) in [(followers[0], leader), (followers[1], 3), (3, followers[0])] {
        let (mut watching, mut writing) = (ensemble.client(watcher)?, ensemble.client(writer)?);
        let path = format!("/watched-{watcher}-{writer}");
        ask(&mut writing, &create_request(&path, "0", 0))?;
        sync(&mut watching)?;
        for round in 1..=20 {
            ask(&mut watching, &read_request(&path, true))?;
            let value = Bytes::from(round.to_string());
            writing.send(&Request::SetData(SetDataRequest {
                path: Some(Text::from(path.as_str())),
                data: Some(value.clone()),
                version: -1,
            }))?;
            await_change(&mut watching, &path, &value)?;
            ensure!(writing.reply()?.header.err == 0, "{path}: not written");
        }
    }
    Ok(())
}

/// Reads until the new value is there, and finds that a notification came before it.
fn await_change(client: &mut RawClient, path: &str, value: &Bytes) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut is_told = false;
    while Instant::now() < deadline {
        client.send(&read_request(path, false))?;
        loop {
            let Received::Frame(frame) = client.receive(deadline)? else {
                bail!("{path}: no reply");
            };
            if let Some(told) = notification(&frame)? {
                ensure!(
                    told.event.kind == EventType::NodeDataChanged.code(),
                    "{told:?}"
                );
                is_told = true;
                continue;
            }
            let reply = split_reply(&frame)?;
            let node = DataReply::read(&mut Reader::new(&reply.body))?;
            if node.data.as_ref() == Some(value) {
                ensure!(is_told, "{path}: {value:?} is seen before its notification");
                return Ok(());
            }
            break;
        }
    }
    bail!("{path}: {value:?} never came");
}

#[test]
fn nothing_acknowledged_is_lost() {
    let seed = env::var("ZABD_ENSEMBLE_SEED").map_or_else(
        |_| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::from(since.map_or(0, |since| since.subsec_nanos()))
        },
        |text| text.parse().expect("a seed is a number"),
    );
    on_ensemble(|ensemble| {
        let writers = Writers::start(4, ensemble.book(), seed);
        let result = hurt(ensemble, &writers);
        let writers = writers.finish();
        // What the writers saw says more than that they stopped.
        let writers = writers.with_context(|| format!("seed {seed}"))?;
        result.with_context(|| format!("seed {seed}"))?;
        ensemble.wait_until_all_serve()?;
        let tree = ensemble.same_tree()?;
        for writer in &writers {
            writer
                .check(&tree)
                .with_context(|| format!("seed {seed}"))?;
            eprintln!(
                "{} writes acknowledged, {} unanswered",
                writer.acknowledged(),
                writer.unanswered()
            );
        }
        Ok(())
    });
}

fn hurt(ensemble: &mut Ensemble, writers: &Writers) -> anyhow::Result<()> {
    writers.wait_for(100).context("at first")?;
    let leader = ensemble.leader()?;
    let follower = ensemble.followers()?[0];
    for (name, victim) in [("follower", follower), ("observer", 3), ("leader", leader)] {
        ensemble.kill(victim)?;
        writers
            .wait_for(100)
            .with_context(|| format!("{name} killed"))?;
        ensemble.spawn(victim)?;
        ensemble.wait_until_serving(&[victim])?;
        writers
            .wait_for(50)
            .with_context(|| format!("{name} back"))?;
    }

    let leader = ensemble.leader()?;
    ensemble.server(leader).pause()?;
    sleep(SILENCE);
    let meanwhile = writers.wait_for(50).context("leader paused");
    ensemble.server(leader).resume()?;
    meanwhile?;
    writers.wait_for(100).context("leader resumed")?;
    ensemble.wait_until_all_serve()?;

    for victim in ensemble.all() {
        ensemble.kill(victim)?;
    }
    for victim in ensemble.all() {
        ensemble.spawn(victim)?;
    }
    ensemble.wait_until_all_serve()?;
    writers.wait_for(100).context("all killed")
}

/// The leader hears of clients at other servers by way of these.
#[test]
fn sessions_live_by_pings_anywhere() {
    const TIMEOUT_MS: i32 = 3000;
    on_ensemble(|ensemble| {
        let ephemeral = CreateFlags::Ephemeral as i32;
        let mut live = Vec::new();
        let mut silent = Vec::new();
        for (number, address) in ensemble.addresses().into_iter().enumerate() {
            for (clients, name) in [(&mut live, "live"), (&mut silent, "silent")] {
                let (mut client, _) = RawClient::connect(address, TIMEOUT_MS)?;
                let create = create_request(&format!("/{name}-{number}"), "", ephemeral);
                ask(&mut client, &create)?;
                clients.push(client);
            }
        }
        let end = Instant::now() + Duration::from_millis(3 * u64::from(TIMEOUT_MS.cast_unsigned()));
        while Instant::now() < end {
            for client in &mut live {
                ask(client, &Request::Ping)?;
            }
            sleep(Duration::from_millis(500));
        }
        let tree = ensemble.same_tree()?;
        for number in ensemble.all() {
            ensure!(
                tree.contains_key(&format!("/live-{number}")),
                "a session with server {} expired, for all its pings",
                number + 1
            );
            ensure!(
                !tree.contains_key(&format!("/silent-{number}")),
                "a silent session with server {} did not expire",
                number + 1
            );
        }
        Ok(())
    });
}

#[test]
fn servers_catch_up() {
    on_ensemble(|ensemble| {
        let followers = ensemble.followers()?;
        create_many(ensemble, "/before", 100)?;

        for fresh in [followers[0], 3] {
            ensemble.kill(fresh)?;
            ensemble.erase(fresh)?;
            ensemble.spawn(fresh)?;
            ensemble.wait_until_serving(&[fresh])?;
            ensemble.same_tree().context("after a fresh start")?;
        }

        for away in [followers[1], 3] {
            ensemble.kill(away)?;
        }
        create_many(ensemble, "/meanwhile", COMMIT_LOG_COUNT + 100)?;
        for away in [followers[1], 3] {
            ensemble.spawn(away)?;
        }
        ensemble.wait_until_all_serve()?;
        let tree = ensemble.same_tree().context("after a long absence")?;
        let children = |path: &str| tree.get(path).map(|(_, stat)| stat.num_children);
        ensure!(children("/before") == Some(100), "nodes are missing");
        ensure!(children("/meanwhile") == Some(600), "nodes are missing");
        Ok(())
    });
}

/// Creates a node through the leader, and nodes below it.
fn create_many(ensemble: &Ensemble, parent: &str, count: usize) -> anyhow::Result<()> {
    let mut client = ensemble.client(ensemble.leader()?)?;
    ask(&mut client, &create_request(parent, "", 0))?;
    for number in 0..count {
        client.send(&create_request(&format!("{parent}/{number}"), "", 0))?;
    }
    for number in 0..count {
        let reply = client.reply()?;
        ensure!(reply.header.err == 0, "{parent}/{number}: {reply:?}");
    }
    Ok(())
}

#[test]
fn a_leader_drops_what_nobody_else_has() {
    on_ensemble(|ensemble| {
        let (leader, followers) = (ensemble.leader()?, ensemble.followers()?);
        create_many(ensemble, "/agreed", 20)?;
        let mut client = ensemble.client(leader)?;
        for follower in &followers {
            ensemble.server(*follower).pause()?;
        }
        for number in 0..20 {
            client.send(&create_request(&format!("/surplus-{number}"), "", 0))?;
        }
        // Time to write them down, and none to give up the followers.
        let answer = client.receive(Instant::now() + Duration::from_millis(TICK_MS / 2))?;
        ensure!(answer == Received::Nothing, "answered by one: {answer:?}");
        ensemble.kill(leader)?;
        // Killed too, for what a paused process has in its sockets would be read when it goes on.
        for follower in &followers {
            ensemble.kill(*follower)?;
            ensemble.spawn(*follower)?;
        }
        ensemble.wait_until_serving(&followers)?;
        let mut client = ensemble.client(followers[0])?;
        for number in 0..20 {
            ask(
                &mut client,
                &create_request(&format!("/after-{number}"), "", 0),
            )?;
        }

        ensemble.spawn(leader)?;
        ensemble.wait_until_all_serve()?;
        let tree = ensemble.same_tree()?;
        for number in 0..20 {
            ensure!(
                !tree.contains_key(&format!("/surplus-{number}")),
                "surplus of the old leader is there"
            );
            ensure!(
                tree.contains_key(&format!("/after-{number}")),
                "what the others agreed to is missing"
            );
        }
        let log = ensemble.server(leader).log();
        ensure!(
            log.contains("transactions that the leader does not have are forgotten")
                || log.contains("the leader's snapshot is in place"),
            "the old leader had no surplus"
        );
        Ok(())
    });
}

#[test]
fn followers_that_were_paused_agree_with_their_old_leader() {
    on_ensemble(|ensemble| {
        let (leader, followers) = (ensemble.leader()?, ensemble.followers()?);
        let mut client = ensemble.client(leader)?;
        for follower in &followers {
            ensemble.server(*follower).pause()?;
        }
        for number in 0..20 {
            client.send(&create_request(&format!("/surplus-{number}"), "", 0))?;
        }
        let answer = client.receive(Instant::now() + Duration::from_millis(TICK_MS / 2))?;
        ensure!(answer == Received::Nothing, "answered by one: {answer:?}");
        ensemble.kill(leader)?;
        // What was in their sockets they may have, or not; all of them have the same.
        for follower in &followers {
            ensemble.server(*follower).resume()?;
        }
        ensemble.wait_until_serving(&followers)?;
        let mut client = ensemble.client(followers[1])?;
        for number in 0..20 {
            ask(
                &mut client,
                &create_request(&format!("/after-{number}"), "", 0),
            )?;
        }
        ensemble.spawn(leader)?;
        ensemble.wait_until_all_serve()?;
        let tree = ensemble.same_tree()?;
        let after = tree.keys().filter(|path| path.starts_with("/after-"));
        ensure!(after.count() == 20, "nodes are missing");
        Ok(())
    });
}

/// Whoever syncs and reads gets what others were told before, or no answer.
#[test]
fn a_leader_that_was_paused_tells_nothing_old() {
    on_ensemble(|ensemble| {
        for round in 0..2 {
            let (leader, follower) = (ensemble.leader()?, ensemble.followers()?[0]);
            let path = format!("/paused-{round}");
            let (mut old, _) =
                RawClient::connect(ensemble.addresses()[leader], SESSION_TIMEOUT_MS)?;
            ask(&mut old, &create_request(&path, "old", 0))?;
            ensemble.server(leader).pause()?;
            sleep(SILENCE);
            ensemble.wait_until_serving(&[follower])?;
            let set = Request::SetData(SetDataRequest {
                path: Some(Text::from(path.as_str())),
                data: Some(Bytes::from_static(b"new")),
                version: -1,
            });
            ask(&mut ensemble.client(follower)?, &set)?;
            old.send(&Request::Sync(PathRequest {
                path: Some(Text::from(path.as_str())),
            }))?;
            old.send(&read_request(&path, false))?;
            ensemble.server(leader).resume()?;
            let deadline = Instant::now() + Duration::from_secs(3);
            while let Received::Frame(frame) = old.receive(deadline)? {
                let body = split_reply(&frame)?.body;
                ensure!(
                    !body.windows(3).any(|part| part == b"old"),
                    "a sync, and what was there before it"
                );
            }
            ensemble.wait_until_all_serve()?;
        }
        Ok(())
    });
}

#[test]
fn one_of_three_serves_nobody() {
    on_ensemble(|ensemble| {
        let followers = ensemble.followers()?;
        let leader = ensemble.leader()?;
        let addresses = ensemble.addresses();
        let (mut client, session) = RawClient::connect(addresses[leader], SESSION_TIMEOUT_MS)?;
        let ephemeral = CreateFlags::Ephemeral as i32;
        ask(&mut client, &create_request("/session", "", ephemeral))?;
        for follower in &followers {
            ensemble.kill(*follower)?;
        }

        let deadline = Instant::now() + SILENCE + SILENCE;
        for number in [leader, 3] {
            loop {
                let mut client = RawClient::open(addresses[number])?;
                client.send_frame(&connect_request(SESSION_TIMEOUT_MS).to_vec())?;
                let answer = client.receive(Instant::now() + Duration::from_secs(1))?;
                if matches!(answer, Received::Closed(_)) {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "server {} serves without a quorum: {answer:?}",
                    number + 1
                );
                sleep(Duration::from_millis(50));
            }
        }

        ensemble.spawn(followers[0])?;
        ensemble.wait_until_serving(&[leader, followers[0], 3])?;
        let mut request = connect_request(SESSION_TIMEOUT_MS);
        request.session = session.session;
        request.password = Some(Bytes::copy_from_slice(&session.password));
        let mut client = RawClient::open(addresses[3])?;
        let response = client.handshake(&request)?;
        ensure!(response.session == session.session, "{response:?}");
        ensure!(read(&mut client, "/session")?.is_some(), "/session went");
        ask(&mut client, &create_request("/again", "", 0))?;
        ensemble.spawn(followers[1])?;
        ensemble.wait_until_all_serve()?;
        ensemble.same_tree().map(drop)
    });
}
