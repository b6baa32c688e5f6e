//! The crate `zookeeper-client` against a server.

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::{Doing, Failure, Outcome, Suite, address, check, equal, eventually, server};
use tokio::time::{sleep, timeout};
use zookeeper_client::{
    Acl, Acls, AddWatchMode, AuthId, Client, CreateMode, CreateOptions, Error, EventType,
    LockPrefix, MultiReadResult, MultiWriteError, MultiWriteResult, Permission, PersistentWatcher,
    SessionState,
};

const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

#[tokio::main]
async fn main() {
    let mut suite = Suite::default();
    let (one, two) = match (open(10).await, open(10).await) {
        (Ok(one), Ok(two)) => (one, two),
        (one, two) => {
            println!("cannot connect: {:?} {:?}", one.err(), two.err());
            std::process::exit(1);
        }
    };
    suite.test("data", 20, data(&one, &two)).await;
    suite.test("modes", 30, modes(&one)).await;
    suite.test("errors", 20, errors(&one)).await;
    suite.test("multi", 20, multi(&one)).await;
    suite.test("multi-read", 20, multi_read(&one)).await;
    suite.test("watch-oneshot", 20, oneshot(&one, &two)).await;
    suite
        .test("watch-persistent", 20, persistent(&one, &two))
        .await;
    suite
        .test("watch-recursive", 20, recursive(&one, &two))
        .await;
    suite.test("auth", 20, auth(&one)).await;
    suite.test("chroot", 20, chroot(&one)).await;
    suite.test("ephemerals", 20, ephemerals(&one)).await;
    suite.test("lock", 60, lock()).await;
    suite.test("session-reuse", 30, session_reuse(&one)).await;
    drop((one, two));
    suite
        .test("restart-term", 100, restart("/r-term", "stop"))
        .await;
    suite
        .test("restart-kill", 100, restart("/r-kill", "kill"))
        .await;
    std::process::exit(suite.end());
}

async fn open(seconds: u64) -> Result<Client, Failure> {
    Client::connector()
        .with_session_timeout(Duration::from_secs(seconds))
        .connect(&address())
        .await
        .doing("connect")
}

async fn create(client: &Client, path: &str, data: &str) -> Outcome {
    client
        .create(path, data.as_bytes(), &PERSISTENT)
        .await
        .doing(path)
        .map(|_| ())
}

fn refused<T>(result: Result<T, Error>, wanted: Error, what: &str) -> Outcome {
    match result {
        Ok(_) => Err(format!("{what}: done, wanted {wanted}")),
        Err(error) => equal(error, wanted, what),
    }
}

async fn data(one: &Client, two: &Client) -> Outcome {
    let (made, _) = one
        .create("/r-data", b"hello", &PERSISTENT)
        .await
        .doing("create")?;
    let (value, stat) = two.get_data("/r-data").await.doing("get")?;
    equal(value, b"hello".to_vec(), "data")?;
    equal(stat, made, "stat")?;
    let set = one.set_data("/r-data", b"x", Some(0)).await.doing("set")?;
    equal(set.version, 1, "version")?;
    equal(set.data_length, 1, "length")?;
    check(set.mzxid > made.mzxid, "mzxid grows")?;
    create(one, "/r-data/kid", "").await?;
    let (children, parent) = two.get_children("/r-data").await.doing("children")?;
    equal(children, vec!["kid".to_owned()], "children")?;
    equal(parent.cversion, 1, "cversion")?;
    equal(
        two.count_descendants_number("/r-data")
            .await
            .doing("count")?,
        1,
        "descendants",
    )?;
    two.sync("/r-data").await.doing("sync")?;
    one.delete("/r-data/kid", Some(0)).await.doing("delete")?;
    one.delete("/r-data", None).await.doing("delete")?;
    equal(two.check_stat("/r-data").await.doing("stat")?, None, "gone")
}

async fn modes(one: &Client) -> Outcome {
    create(one, "/r-modes", "").await?;
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    for wanted in 0..3 {
        let (_, sequence) = one
            .create("/r-modes/s-", b"", &sequential)
            .await
            .doing("sequential")?;
        equal(sequence.to_string(), format!("{wanted:010}"), "sequence")?;
    }
    let (stat, _) = one
        .create("/r-modes/e", b"", &EPHEMERAL)
        .await
        .doing("ephemeral")?;
    equal(stat.ephemeral_owner, one.session_id().0, "owner")?;
    let brief = PERSISTENT.clone().with_ttl(Duration::from_millis(300));
    one.create("/r-modes/ttl", b"", &brief).await.doing("ttl")?;
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    one.create("/r-modes/container", b"", &container)
        .await
        .doing("container")?;
    create(one, "/r-modes/container/kid", "").await?;
    one.delete("/r-modes/container/kid", None)
        .await
        .doing("delete")?;
    for path in ["/r-modes/ttl", "/r-modes/container"] {
        eventually(12, path, || async {
            matches!(one.check_stat(path).await, Ok(None))
        })
        .await?;
    }
    Ok(())
}

async fn errors(one: &Client) -> Outcome {
    create(one, "/r-err", "").await?;
    one.create("/r-err/e", b"", &EPHEMERAL)
        .await
        .doing("create")?;
    refused(
        one.create("/r-err", b"", &PERSISTENT).await,
        Error::NodeExists,
        "create again",
    )?;
    refused(
        one.create("/r-err/a/b", b"", &PERSISTENT).await,
        Error::NoNode,
        "no parent",
    )?;
    refused(
        one.create("/r-err/e/x", b"", &PERSISTENT).await,
        Error::NoChildrenForEphemerals,
        "child of an ephemeral",
    )?;
    refused(
        one.delete("/r-err", None).await,
        Error::NotEmpty,
        "delete with children",
    )?;
    refused(
        one.set_data("/r-err", b"", Some(9)).await,
        Error::BadVersion,
        "set at a wrong version",
    )?;
    refused(
        one.get_data("/r-none").await,
        Error::NoNode,
        "get of nothing",
    )?;
    let authed = CreateMode::Persistent.with_acls(Acls::creator_all());
    refused(
        one.create("/r-err/x", b"", &authed).await,
        Error::InvalidAcl,
        "auth without an identity",
    )
}

async fn multi(one: &Client) -> Outcome {
    create(one, "/r-multi", "").await?;
    let mut writer = one.new_multi_writer();
    writer.add_check_version("/r-multi", 0).doing("check")?;
    writer
        .add_create("/r-multi/a", b"1", &PERSISTENT)
        .doing("create")?;
    writer
        .add_set_data("/r-multi/a", b"2", Some(0))
        .doing("set")?;
    writer
        .add_create("/r-multi/b", b"", &PERSISTENT)
        .doing("create")?;
    writer.add_delete("/r-multi/b", Some(0)).doing("delete")?;
    let results = writer.commit().await.doing("commit")?;
    equal(results.len(), 5, "results")?;
    match &results[1] {
        MultiWriteResult::Create { path, .. } => equal(path.as_str(), "/r-multi/a", "path")?,
        other => return Err(format!("result of a create: {other:?}")),
    }
    match &results[2] {
        MultiWriteResult::SetData { stat } => {
            equal(stat.version, 1, "version")?;
            equal(stat.czxid, stat.mzxid, "one zxid")?;
        }
        other => return Err(format!("result of a set: {other:?}")),
    }
    let mut writer = one.new_multi_writer();
    writer.add_set_data("/r-multi/a", b"9", None).doing("set")?;
    writer.add_delete("/r-multi/none", None).doing("delete")?;
    match writer.commit().await {
        Err(MultiWriteError::OperationFailed { index, source }) => {
            equal(index, 1, "which one failed")?;
            equal(source, Error::NoNode, "why it failed")?;
        }
        other => return Err(format!("refused multi: {other:?}")),
    }
    equal(
        one.get_data("/r-multi/a").await.doing("get")?.0,
        b"2".to_vec(),
        "undone",
    )
}

async fn multi_read(one: &Client) -> Outcome {
    create(one, "/r-read", "x").await?;
    create(one, "/r-read/kid", "").await?;
    let mut reader = one.new_multi_reader();
    reader.add_get_data("/r-read").doing("get")?;
    reader.add_get_children("/r-read").doing("children")?;
    reader.add_get_data("/r-none").doing("get")?;
    match reader.commit().await.doing("commit")?.as_slice() {
        [
            MultiReadResult::Data { data, .. },
            MultiReadResult::Children { children },
            MultiReadResult::Error { err },
        ] => {
            equal(data.as_slice(), b"x".as_slice(), "data")?;
            equal(
                children.as_slice(),
                ["kid".to_owned()].as_slice(),
                "children",
            )?;
            equal(err.clone(), Error::NoNode, "error of one read")
        }
        other => Err(format!("results: {other:?}")),
    }
}

/// The next event of a persistent watcher as text.
async fn next(watcher: &mut PersistentWatcher) -> Result<(EventType, String), Failure> {
    let event = timeout(Duration::from_secs(5), watcher.changed())
        .await
        .doing("wait for an event")?;
    Ok((event.event_type, event.path))
}

#[expect(
    deprecated,
    reason = "waits for the answer to removeWatches, which Drop does not"
)]
async fn oneshot(one: &Client, two: &Client) -> Outcome {
    let soon = Duration::from_secs(5);
    let (stat, made) = one.check_and_watch_stat("/r-watch").await.doing("stat")?;
    equal(stat, None, "stat")?;
    let (created, _) = two
        .create("/r-watch", b"", &PERSISTENT)
        .await
        .doing("create")?;
    let event = timeout(soon, made.changed()).await.doing("created")?;
    equal(event.event_type, EventType::NodeCreated, "type")?;
    equal(event.path.as_str(), "/r-watch", "path")?;
    equal(event.zxid, created.czxid, "zxid")?;
    let (_, _, changed) = one.get_and_watch_data("/r-watch").await.doing("get")?;
    let (_, _, kids) = one
        .get_and_watch_children("/r-watch")
        .await
        .doing("children")?;
    two.set_data("/r-watch", b"x", None).await.doing("set")?;
    let event = timeout(soon, changed.changed()).await.doing("changed")?;
    equal(event.event_type, EventType::NodeDataChanged, "type")?;
    create(two, "/r-watch/kid", "").await?;
    let event = timeout(soon, kids.changed()).await.doing("child")?;
    equal(event.event_type, EventType::NodeChildrenChanged, "type")?;
    let (_, _, unused) = one.get_and_watch_data("/r-watch").await.doing("get")?;
    unused.remove().await.doing("remove a watch")
}

#[expect(
    deprecated,
    reason = "waits for the answer to removeWatches, which Drop does not"
)]
async fn persistent(one: &Client, two: &Client) -> Outcome {
    let mut watcher = one
        .watch("/r-lasting", AddWatchMode::Persistent)
        .await
        .doing("watch")?;
    create(two, "/r-lasting", "").await?;
    two.set_data("/r-lasting", b"x", None).await.doing("set")?;
    create(two, "/r-lasting/kid", "").await?;
    two.set_data("/r-lasting/kid", b"x", None)
        .await
        .doing("set")?;
    two.delete("/r-lasting/kid", None).await.doing("delete")?;
    two.delete("/r-lasting", None).await.doing("delete")?;
    for wanted in [
        EventType::NodeCreated,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
        EventType::NodeChildrenChanged,
        EventType::NodeDeleted,
    ] {
        equal(
            next(&mut watcher).await?,
            (wanted, "/r-lasting".to_owned()),
            "event",
        )?;
    }
    watcher.remove().await.doing("remove")
}

#[expect(
    deprecated,
    reason = "waits for the answer to removeWatches, which Drop does not"
)]
async fn recursive(one: &Client, two: &Client) -> Outcome {
    let mut watcher = one
        .watch("/r-tree", AddWatchMode::PersistentRecursive)
        .await
        .doing("watch")?;
    create(two, "/r-tree", "").await?;
    create(two, "/r-tree/a", "").await?;
    create(two, "/r-tree/a/b", "").await?;
    two.set_data("/r-tree/a/b", b"x", None).await.doing("set")?;
    two.delete("/r-tree/a/b", None).await.doing("delete")?;
    for (wanted, path) in [
        (EventType::NodeCreated, "/r-tree"),
        (EventType::NodeCreated, "/r-tree/a"),
        (EventType::NodeCreated, "/r-tree/a/b"),
        (EventType::NodeDataChanged, "/r-tree/a/b"),
        (EventType::NodeDeleted, "/r-tree/a/b"),
    ] {
        equal(
            next(&mut watcher).await?,
            (wanted, path.to_owned()),
            "event",
        )?;
    }
    watcher.remove().await.doing("remove")
}

async fn auth(one: &Client) -> Outcome {
    let owner = open(10).await?;
    owner.auth("digest", b"me:secret").await.doing("auth")?;
    let users = owner.list_auth_users().await.doing("who am I")?;
    check(
        users
            .iter()
            .any(|user| user.scheme() == "digest" && user.user() == "me"),
        "who am I",
    )?;
    let authed = CreateMode::Persistent.with_acls(Acls::creator_all());
    owner
        .create("/r-auth", b"", &authed)
        .await
        .doing("create")?;
    let (acls, _) = owner.get_acl("/r-auth").await.doing("get acl")?;
    equal(acls.len(), 1, "entries")?;
    equal(acls[0].scheme(), "digest", "scheme")?;
    equal(acls[0].permission(), Permission::ALL, "permissions")?;
    refused(
        one.get_data("/r-auth").await,
        Error::NoAuth,
        "read by another",
    )?;
    let opened = [
        acls[0].clone(),
        Acl::new(Permission::READ, AuthId::anyone()),
    ];
    let stat = owner
        .set_acl("/r-auth", &opened, Some(0))
        .await
        .doing("set acl")?;
    equal(stat.aversion, 1, "aversion")?;
    one.get_data("/r-auth")
        .await
        .doing("read by another, now allowed")?;
    refused(
        one.set_data("/r-auth", b"", None).await,
        Error::NoAuth,
        "write by another",
    )
}

async fn chroot(one: &Client) -> Outcome {
    create(one, "/r-root", "").await?;
    let inside = one
        .clone()
        .chroot("/r-root")
        .map_err(|_| "chroot".to_owned())?;
    create(&inside, "/kid", "x").await?;
    equal(
        one.get_data("/r-root/kid").await.doing("get")?.0,
        b"x".to_vec(),
        "data",
    )?;
    equal(
        inside.list_children("/").await.doing("list")?,
        vec!["kid".to_owned()],
        "children",
    )
}

async fn ephemerals(one: &Client) -> Outcome {
    let owner = open(10).await?;
    owner
        .create("/r-eph-1", b"", &EPHEMERAL)
        .await
        .doing("create")?;
    owner
        .create("/r-eph-2", b"", &EPHEMERAL)
        .await
        .doing("create")?;
    let mut listed = owner.list_ephemerals("/r-eph").await.doing("list")?;
    listed.sort();
    equal(
        listed,
        vec!["/r-eph-1".to_owned(), "/r-eph-2".to_owned()],
        "ephemerals",
    )?;
    let (_, watcher) = one.check_and_watch_stat("/r-eph-1").await.doing("stat")?;
    drop(owner);
    let event = timeout(Duration::from_secs(5), watcher.changed())
        .await
        .doing("deleted")?;
    equal(event.event_type, EventType::NodeDeleted, "type")
}

async fn lock() -> Outcome {
    create(&open(10).await?, "/r-lock", "").await?;
    let holders = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let holders = holders.clone();
            tokio::spawn(async move {
                let client = open(10).await?;
                for _ in 0..10 {
                    let prefix = LockPrefix::new_curator("/r-lock", "lock-").doing("prefix")?;
                    let held = client
                        .lock(prefix, b"", Acls::anyone_all())
                        .await
                        .doing("lock")?;
                    equal(holders.fetch_add(1, Ordering::SeqCst), 0, "other holders")?;
                    sleep(Duration::from_millis(2)).await;
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.doing("join")??;
    }
    Ok(())
}

/// A session is detached from its first client and taken over by a second.
async fn session_reuse(one: &Client) -> Outcome {
    let first = Client::connector()
        .with_session_timeout(Duration::from_secs(10))
        .with_detached()
        .connect(&address())
        .await
        .doing("connect")?;
    first
        .create("/r-reuse", b"", &EPHEMERAL)
        .await
        .doing("create")?;
    let session = first.into_session();
    let id = session.id();
    let second = Client::connector()
        .with_session(session)
        .connect(&address())
        .await
        .doing("connect")?;
    equal(second.session_id(), id, "session")?;
    let stat = one
        .check_stat("/r-reuse")
        .await
        .doing("stat")?
        .ok_or("the ephemeral is gone")?;
    equal(stat.ephemeral_owner, id.0, "owner")?;
    second.delete("/r-reuse", None).await.doing("delete")
}

async fn restart(path: &str, stop: &'static str) -> Outcome {
    let (one, two) = (open(30).await?, open(30).await?);
    let session = one.session_id();
    let eph = format!("{path}-eph");
    create(&one, path, "x").await?;
    one.create(&eph, b"", &EPHEMERAL).await.doing("create")?;
    let (_, before, watcher) = one.get_and_watch_data(path).await.doing("get")?;
    server(stop).await?;
    eventually(10, "disconnected", || async {
        one.state() == SessionState::Disconnected
    })
    .await?;
    // The library keeps requests until the session is connected again.
    let kept = one.get_data(path);
    server("start").await?;
    for client in [&one, &two] {
        eventually(30, "connected", || async {
            client.state() == SessionState::SyncConnected
        })
        .await?;
    }
    equal(one.session_id(), session, "session")?;
    let (value, after) = kept.await.doing("request that was made without a server")?;
    equal(value, b"x".to_vec(), "data")?;
    equal(after, before, "stat")?;
    let owner = two
        .check_stat(&eph)
        .await
        .doing("stat")?
        .ok_or("the ephemeral is gone")?;
    equal(owner.ephemeral_owner, session.0, "owner")?;
    two.set_data(path, b"y", Some(0)).await.doing("set")?;
    let event = timeout(Duration::from_secs(5), watcher.changed())
        .await
        .doing("the watch lives on")?;
    // Persistent watches are not looked at: 0.11.2 does not register them again on a new connection.
    equal(event.event_type, EventType::NodeDataChanged, "type")
}
