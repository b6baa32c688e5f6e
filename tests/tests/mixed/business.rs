//! What clients do at every server of an ensemble, and what they hold the ensemble to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use jute_codec::data::{Acl, Id};
use jute_codec::proto::{
    CheckVersionRequest, ConnectResponse, CreateFlags, CreateTtlRequest, DeleteRequest, EventType,
    MultiOp, MultiOps, PathRequest, Request, SetAclRequest, SetDataRequest,
};
use jute_codec::{ErrorCode, Text, Zxid};
use zabd_tests::ensemble::{SESSION_TIMEOUT_MS, ask, create_request, read, read_request};
use zabd_tests::mixed::{Mixed, PATIENCE};
use zabd_tests::raw::{RawClient, connect_request};

/// A session that is let go expires after this, in milliseconds.
const SHORT_TIMEOUT_MS: i32 = 4000;
const EPHEMERAL: i32 = CreateFlags::Ephemeral as i32;

/// All of it; `name` tells the nodes from those of another time.
pub(crate) fn all(mixed: &Mixed, name: &str) -> anyhow::Result<()> {
    let expiring = Expiring::begin(mixed, name)?;
    writes_and_moves(mixed, name)?;
    expiring.end(mixed)
}

/// What takes no time.
pub(crate) fn writes_and_moves(mixed: &Mixed, name: &str) -> anyhow::Result<()> {
    for number in mixed.all() {
        every_kind_of_write(mixed, number, name)
            .with_context(|| format!("writes at server {}", number + 1))?;
    }
    for from in mixed.all() {
        let to = (from + 1) % mixed.all().len();
        a_session_moves(mixed, [from, to], name)
            .with_context(|| format!("a session from server {} to {}", from + 1, to + 1))?;
        a_watch_fires(mixed, [from, to], name)
            .with_context(|| format!("a watch at server {}", from + 1))?;
    }
    Ok(())
}

fn write(client: &mut RawClient, request: &Request, code: i32) -> anyhow::Result<()> {
    let reply = client.request(request)?;
    ensure!(
        reply.header.err == code,
        "{request:?} is answered with {:?}, not with {code}",
        reply.header
    );
    Ok(())
}

fn text(path: &str) -> Option<Text> {
    Some(Text::from(path))
}

fn set(path: &str, data: &str, version: i32) -> Request {
    Request::SetData(SetDataRequest {
        path: text(path),
        data: Some(Bytes::from(data.to_owned())),
        version,
    })
}

fn delete(path: &str, version: i32) -> Request {
    let path = text(path);
    Request::Delete(DeleteRequest { path, version })
}

fn multi(requests: impl IntoIterator<Item = Request>) -> Request {
    let parts = requests.into_iter().map(|request| match request {
        Request::Create(create) => MultiOp::Create(create),
        Request::Create2(create) => MultiOp::Create2(create),
        Request::CreateContainer(create) => MultiOp::CreateContainer(create),
        Request::CreateTtl(create) => MultiOp::CreateTtl(create),
        Request::Delete(delete) => MultiOp::Delete(delete),
        Request::SetData(set) => MultiOp::SetData(set),
        other => panic!("{other:?} is no part of a multi here"),
    });
    Request::Multi(MultiOps(parts.collect()))
}

fn create2(path: &str, flags: i32) -> Request {
    match create_request(path, "2", flags) {
        Request::Create(create) => Request::Create2(create),
        other => other,
    }
}

fn container(path: &str) -> Request {
    match create_request(path, "c", CreateFlags::Container as i32) {
        Request::Create(create) => Request::CreateContainer(create),
        other => other,
    }
}

fn with_ttl(path: &str, flags: CreateFlags) -> Request {
    Request::CreateTtl(CreateTtlRequest {
        path: text(path),
        data: Some(Bytes::from_static(b"t")),
        acl: Some(vec![Acl::open()]),
        flags: flags as i32,
        ttl_ms: 3_600_000,
    })
}

fn every_kind_of_write(mixed: &Mixed, number: usize, name: &str) -> anyhow::Result<()> {
    let mut client = mixed.client(number)?;
    let base = format!("/{name}-{number}");
    let below = |path: &str| format!("{base}/{path}");
    let [no_node, exists, version, not_empty] = [
        ErrorCode::NoNode,
        ErrorCode::NodeExists,
        ErrorCode::BadVersion,
        ErrorCode::NotEmpty,
    ]
    .map(ErrorCode::code);
    let requests = [
        (create_request(&base, "", 0), 0),
        (create_request(&base, "", 0), exists),
        (create_request(&below("a"), "1", 0), 0),
        (create2(&below("b"), 0), 0),
        (create_request(&below("s-"), "", 2), 0),
        (create2(&below("s-"), 2), 0),
        (create_request(&below("e"), "", EPHEMERAL), 0),
        (create_request(&below("es-"), "", 3), 0),
        (container(&below("c")), 0),
        (create_request(&below("c/x"), "", 0), 0),
        (with_ttl(&below("t"), CreateFlags::PersistentWithTtl), 0),
        (
            with_ttl(&below("ts-"), CreateFlags::PersistentSequentialWithTtl),
            0,
        ),
        (create_request(&below("no/where"), "", 0), no_node),
        (set(&below("a"), "2", 0), 0),
        (set(&below("a"), "3", 0), version),
        (set(&below("a"), "", -1), 0),
        (set(&below("nothing"), "", -1), no_node),
        (delete(&below("b"), 7), version),
        (delete(&below("b"), 0), 0),
        (delete(&base, -1), not_empty),
        (delete(&below("b"), -1), no_node),
        (
            multi([
                create_request(&below("m"), "", 0),
                create2(&below("m/1"), 0),
                container(&below("m/c")),
                with_ttl(&below("m/t"), CreateFlags::PersistentWithTtl),
                create_request(&below("m/e"), "", EPHEMERAL),
                set(&below("m/1"), "x", 0),
                delete(&below("m/1"), 1),
                create_request(&below("m/1"), "again", 0),
            ]),
            0,
        ),
        (
            multi([
                create_request(&below("m2"), "", 0),
                set(&below("m"), "", -1),
                delete(&below("nothing"), -1),
            ]),
            0,
        ),
        // Names outside of ASCII, and data that is none.
        (create_request(&below("\u{fc}"), "\u{e4}", 0), 0),
        (
            Request::Create(jute_codec::proto::CreateRequest {
                path: text(&below("null")),
                data: None,
                acl: Some(vec![Acl::open()]),
                flags: 0,
            }),
            0,
        ),
        (
            Request::SetAcl(SetAclRequest {
                path: text(&below("a")),
                acl: Some(vec![
                    Acl {
                        perms: 31,
                        id: Id {
                            scheme: text("digest"),
                            id: text("super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
                        },
                    },
                    Acl {
                        perms: 1,
                        id: Id {
                            scheme: text("ip"),
                            id: text("127.0.0.1"),
                        },
                    },
                ]),
                version: -1,
            }),
            0,
        ),
    ];
    for (request, code) in &requests {
        write(&mut client, request, *code)?;
    }
    let checked = Request::Multi(MultiOps(vec![
        MultiOp::Check(CheckVersionRequest {
            path: text(&base),
            version: 0,
        }),
        MultiOp::Delete(DeleteRequest {
            path: text(&below("null")),
            version: -1,
        }),
    ]));
    write(&mut client, &checked, 0)?;
    // What is seen elsewhere is what was written.
    for other in mixed.all() {
        let mut reader = mixed.client(other)?;
        let node = read(&mut reader, &below("m/1"))?;
        let node = node.with_context(|| format!("nothing at server {}", other + 1))?;
        ensure!(node.data.as_deref() == Some(b"again"), "{node:?}");
        ensure!(read(&mut reader, &below("m2"))?.is_none(), "half a multi");
    }
    // Java leaders check what comes right behind a change of a list against the old one: by now they have applied it.
    let refused = set(&below("a"), "", -1);
    write(&mut client, &refused, ErrorCode::NoAuth.code())?;
    // The ephemeral nodes go with the session, all in one transaction.
    write(&mut client, &Request::CloseSession, 0)?;
    for other in mixed.all() {
        let mut reader = mixed.client(other)?;
        for path in ["e", "es-0000000003", "m/e"] {
            ensure!(
                read(&mut reader, &below(path))?.is_none(),
                "{path} is left at server {}",
                other + 1
            );
        }
    }
    Ok(())
}

/// The `nth` connection of a session, to this server.
fn attach(
    mixed: &Mixed,
    number: usize,
    session: &ConnectResponse,
    nth: i32,
) -> anyhow::Result<RawClient> {
    let mut request = connect_request(session.timeout_ms);
    request.session = session.session;
    request.password = Some(Bytes::copy_from_slice(&session.password));
    let mut client = RawClient::open(mixed.server(number).address())?;
    client.number_as_on(nth);
    let moved = client.handshake(&request)?;
    ensure!(moved.session == session.session, "{moved:?}");
    ensure!(moved.password == session.password, "another password");
    Ok(client)
}

/// Has a client, which is at this server, see a transaction that others were told of. A sync does that; but a Java leader
/// answers one of its own clients with what it has applied, which is less than what it has told its followers.
fn catch_up(mixed: &Mixed, at: usize, client: &mut RawClient, written: Zxid) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let path = text("/");
        let seen = ask(client, &Request::Sync(PathRequest { path }))?
            .header
            .zxid;
        if seen >= written {
            return Ok(());
        }
        let may_lag = mixed.is_java(at) && mixed.await_leader(&[0, 1, 2])? == at;
        ensure!(
            may_lag && Instant::now() < until,
            "server {} has {seen} after a sync, and not {written}",
            at + 1
        );
    }
}

fn a_session_moves(mixed: &Mixed, [from, to]: [usize; 2], name: &str) -> anyhow::Result<()> {
    let path = format!("/{name}-moved-{from}");
    let address = mixed.server(from).address();
    let (mut old, session) = RawClient::connect(address, SESSION_TIMEOUT_MS)?;
    let created = ask(&mut old, &create_request(&path, "", EPHEMERAL))?;
    let mut new = attach(mixed, to, &session, 1)?;
    catch_up(mixed, to, &mut new, created.header.zxid)?;
    ensure!(read(&mut new, &path)?.is_some(), "{path} went");
    ask(&mut new, &set(&path, "moved", -1))?;
    // Where it was before it is told so, if that server still listens to it at all.
    if let Ok(reply) = old.request(&set(&path, "late", -1)) {
        let moved = ErrorCode::SessionMoved.code();
        ensure!(reply.header.err == moved, "{reply:?}");
    }
    // The other way round, without a word between.
    let mut back = attach(mixed, from, &session, 2)?;
    let node = read(&mut back, &path)?.context("it went")?;
    ensure!(node.data.as_deref() == Some(b"moved"), "{node:?}");
    ask(&mut back, &Request::CloseSession)?;
    for number in mixed.all() {
        let mut client = mixed.client(number)?;
        ensure!(
            read(&mut client, &path)?.is_none(),
            "{path} is at server {}",
            number + 1
        );
    }
    let mut request = connect_request(SESSION_TIMEOUT_MS);
    request.session = session.session;
    request.password = Some(Bytes::copy_from_slice(&session.password));
    let answer = RawClient::open(mixed.server(to).address())?.handshake(&request)?;
    ensure!(answer.timeout_ms <= 0, "it lives on: {answer:?}");
    Ok(())
}

fn a_watch_fires(mixed: &Mixed, [at, from]: [usize; 2], name: &str) -> anyhow::Result<()> {
    let path = format!("/{name}-watched-{at}");
    let (mut watching, mut writing) = (mixed.client(at)?, mixed.client(from)?);
    let created = ask(&mut writing, &create_request(&path, "0", 0))?;
    catch_up(mixed, at, &mut watching, created.header.zxid)?;
    ask(&mut watching, &read_request(&path, true))?;
    let changed = ask(&mut writing, &set(&path, "1", -1))?;
    catch_up(mixed, at, &mut watching, changed.header.zxid)?;
    let node = read(&mut watching, &path)?.context("it went")?;
    ensure!(node.data.as_deref() == Some(b"1"), "{node:?}");
    let told = watching.take_notifications();
    let kinds: Vec<i32> = told.iter().map(|told| told.event.kind).collect();
    ensure!(kinds == [EventType::NodeDataChanged.code()], "{told:?}");
    Ok(())
}

/// Sessions at every server: one that nobody keeps, and one that only pings keep.
struct Expiring {
    name: String,
    until: Instant,
    stop: Arc<AtomicBool>,
    pings: JoinHandle<anyhow::Result<Vec<RawClient>>>,
}

impl Expiring {
    fn begin(mixed: &Mixed, name: &str) -> anyhow::Result<Self> {
        let mut kept = Vec::new();
        for number in mixed.all() {
            let address = mixed.server(number).address();
            let (mut gone, _) = RawClient::connect(address, SHORT_TIMEOUT_MS)?;
            let path = format!("/{name}-gone-{number}");
            ask(&mut gone, &create_request(&path, "", EPHEMERAL))?;
            let (mut client, _) = RawClient::connect(address, SHORT_TIMEOUT_MS)?;
            let path = format!("/{name}-kept-{number}");
            ask(&mut client, &create_request(&path, "", EPHEMERAL))?;
            kept.push(client);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let pings = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for client in &mut kept {
                    let answer = client.request(&Request::Ping);
                    answer.context("a session that pings is gone")?;
                }
                sleep(Duration::from_millis(200));
            }
            Ok(kept)
        });
        Ok(Self {
            name: name.to_owned(),
            until: Instant::now() + Duration::from_millis(2 * SHORT_TIMEOUT_MS as u64),
            stop,
            pings,
        })
    }

    fn end(self, mixed: &Mixed) -> anyhow::Result<()> {
        sleep(self.until.saturating_duration_since(Instant::now()));
        let until = Instant::now() + PATIENCE;
        for number in mixed.all() {
            let mut client = mixed.client(number)?;
            for owner in mixed.all() {
                let kept = format!("/{}-kept-{owner}", self.name);
                ensure!(read(&mut client, &kept)?.is_some(), "{kept} went");
                let gone = format!("/{}-gone-{owner}", self.name);
                while read(&mut client, &gone)?.is_some() {
                    ensure!(Instant::now() < until, "{gone} does not go");
                    sleep(Duration::from_millis(100));
                }
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        let pings = self.pings.join();
        for mut client in pings.map_err(|_| anyhow!("pings panicked"))?? {
            ask(&mut client, &Request::CloseSession)?;
        }
        Ok(())
    }
}
