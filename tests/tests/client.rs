//! The client library against a real server that is killed, restarted and paused.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

use std::time::Duration;

use tokio::time::timeout;
use zab::{
    Acl, AddWatchMode, Client, ConnectString, CreateFlags, ErrorCode, EventType, MultiResult,
    Notice, Options, State, Watcher,
};
use zabd_tests::servers::{Implementation, Server, Setup};

const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Server {
    let setup = Setup::default().key("tickTime", "200");
    Server::start(Implementation::Zabd, &setup).unwrap()
}

fn client(server: &Server, chroot: &str, timeout: Duration) -> Client {
    // Nobody listens on port 1: every other attempt goes wrong.
    let connect = format!("127.0.0.1:1,{}{chroot}", server.address());
    let options = Options {
        timeout,
        ..Options::default()
    };
    Client::start(ConnectString::parse(&connect).unwrap(), options)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(90), test).await.unwrap() });
}

async fn reach(client: &Client, wanted: impl FnMut(&State) -> bool) -> State {
    let mut states = client.states();
    let state = timeout(PATIENCE, states.wait_for(wanted)).await;
    *state.unwrap().unwrap()
}

async fn notice(watcher: &mut Watcher) -> Option<Notice> {
    timeout(PATIENCE, watcher.next()).await.unwrap()
}

#[test]
fn operations_under_a_chroot() {
    let server = server();
    run(async {
        let root = client(&server, "", PATIENCE);
        let open = [Acl::open()];
        root.create("/app", "", CreateFlags::Persistent, &open)
            .await
            .unwrap();
        let app = client(&server, "/app", PATIENCE);
        let (path, stat) = app
            .create("/n-", "one", CreateFlags::EphemeralSequential, &open)
            .await
            .unwrap();
        assert_eq!(path, "/n-0000000000");
        let seen = root.get("/app/n-0000000000").await.unwrap();
        assert_eq!(
            (seen.data.as_deref(), seen.stat.czxid),
            (Some(b"one".as_slice()), stat.czxid)
        );
        assert_eq!(app.ephemerals("/").await.unwrap(), [path.as_str()]);
        let (_, changed) = app.get_and_watch(&path).await.unwrap();
        root.set("/app/n-0000000000", "two", 0).await.unwrap();
        let event = changed.await.unwrap();
        assert_eq!(
            (event.kind, event.path),
            (EventType::NodeDataChanged, path.clone())
        );
        let results = app
            .transaction()
            .check(&path, 1)
            .create("/made", "", CreateFlags::Persistent, &open)
            .commit()
            .await
            .unwrap();
        assert!(matches!(&results[1], MultiResult::Create2(made, _) if *made == "/made"));
        let refused = app
            .transaction()
            .set(&path, "three", -1)
            .delete("/missing", -1)
            .commit()
            .await
            .unwrap_err();
        assert_eq!(refused.at, Some(1));
        assert!(refused.error.is(ErrorCode::NoNode));
        assert!(app.get("/missing").await.unwrap_err().is(ErrorCode::NoNode));
        assert_eq!(app.exists("/missing").await.unwrap(), None);
        assert_eq!(app.children("/").await.unwrap().children.len(), 2);
        app.close().await.unwrap();
        assert_eq!(root.exists("/app/n-0000000000").await.unwrap(), None);
        assert_eq!(app.state(), State::Closed);
        root.close().await.unwrap();
    });
}

#[test]
fn a_session_outlives_its_server() {
    let mut server = server();
    run(async {
        let zk = client(&server, "", PATIENCE);
        let other = client(&server, "", PATIENCE);
        let open = [Acl::open()];
        let (path, _) = zk
            .create("/e", "", CreateFlags::Ephemeral, &open)
            .await
            .unwrap();
        let session = zk.session();
        let (gone, created) = zk.exists_and_watch("/later").await.unwrap();
        assert_eq!(gone, None);
        let mut tree = zk
            .add_watch("/", AddWatchMode::PersistentRecursive)
            .await
            .unwrap();
        reach(&other, |state| matches!(state, State::Connected { .. })).await;
        server.kill().unwrap();
        reach(&zk, |state| *state == State::Suspended).await;
        reach(&other, |state| *state == State::Suspended).await;
        // Asked while nobody is there, and answered later.
        let asked = zk.exists(&path);
        let wrote = other.create("/later", "", CreateFlags::Persistent, &open);
        let restarted = async { server.restart().unwrap() };
        let (asked, wrote, ()) = tokio::join!(asked, wrote, restarted);
        assert!(
            asked.unwrap().is_some(),
            "the node lives as the session does"
        );
        wrote.unwrap();
        assert_eq!(zk.session(), session);
        let event = timeout(PATIENCE, created).await.unwrap().unwrap();
        assert_eq!(event.kind, EventType::NodeCreated);
        assert_eq!(notice(&mut tree).await, Some(Notice::Missed));
        other.delete("/later", -1).await.unwrap();
        while let Some(notice) = notice(&mut tree).await {
            if matches!(&notice, Notice::Event(event) if event.kind == EventType::NodeDeleted) {
                break;
            }
        }
        zk.close().await.unwrap();
        other.close().await.unwrap();
    });
}

#[test]
fn a_session_that_is_not_heard_of_is_overdue_and_then_expires() {
    let mut server = server();
    run(async {
        let zk = client(&server, "", Duration::from_millis(800));
        zk.connected(PATIENCE).await.unwrap();
        server.kill().unwrap();
        reach(&zk, |state| *state == State::Suspended).await;
        reach(&zk, |state| *state == State::Overdue).await;
        // Sessions get their whole time again from a server that comes back, unless nobody asks for them.
        server.restart().unwrap();
        let state = reach(&zk, |state| state.is_connected() || state.is_over()).await;
        assert!(state.is_connected() || state == State::Expired);
        let error = zk.delete("/missing", -1).await.unwrap_err();
        assert!(error.is(ErrorCode::NoNode) || error == zab::Error::SessionExpired);
        zk.close().await.unwrap();
    });
}

#[test]
fn many_requests_at_once_are_answered_in_order() {
    let server = server();
    run(async {
        let zk = client(&server, "", PATIENCE);
        let open = [Acl::open()];
        let mut zxid = zab::Zxid(0);
        let creates: Vec<_> = (0..500)
            .map(|_| {
                zk.submit(zab::Request::Create2(jute_codec::proto::CreateRequest {
                    path: Some("/s-".into()),
                    data: None,
                    acl: Some(open.to_vec()),
                    flags: CreateFlags::PersistentSequential as i32,
                }))
            })
            .collect();
        for create in creates {
            let zab::Reply::PathStat(reply) = create.await.unwrap() else {
                panic!("another reply");
            };
            assert!(reply.stat.czxid > zxid);
            zxid = reply.stat.czxid;
        }
        zk.close().await.unwrap();
    });
}

#[test]
fn without_a_server_there_is_a_reason() {
    run(async {
        let options = Options {
            timeout: Duration::from_millis(300),
            ..Options::default()
        };
        let connect = ConnectString::parse("127.0.0.1:1,no-such-host.invalid:2").unwrap();
        let error = Client::connect(connect, options).await.unwrap_err();
        let zab::Error::NoServer { reasons, .. } = &error else {
            panic!("{error}");
        };
        assert!(reasons[0].starts_with("127.0.0.1:1: ") || reasons[1].starts_with("127.0.0.1:1: "));
    });
}
