//! Clients that change a few paths over and over, by every kind of request, until the server goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::Text;
use jute_codec::data::Acl;
use jute_codec::proto::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiOps,
    Request, SetAclRequest, SetDataRequest,
};
use zabd_tests::raw::RawClient;
use zabd_tests::sim::rng::Rng;

const CLIENTS: u64 = 3;
const PARENTS: u64 = 24;
/// Requests that are sent before the first reply is waited for.
const BATCH: usize = 24;
const TIMEOUT_MS: i32 = 40_000;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    // Sessions that own something and do nothing more.
    _idle: Vec<RawClient>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, seed: u64) -> Self {
        let (mut client, _) = RawClient::connect(address, TIMEOUT_MS).unwrap();
        prepare(&mut client);
        let idle = (0..3).map(|number| idle(address, number)).collect();
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let threads = (0..CLIENTS)
            .map(|number| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                let mut rng = Rng::new(seed << 8 | number);
                thread::spawn(move || {
                    // When the server is killed, that is the end.
                    while !stop.load(Ordering::Relaxed) {
                        let Ok((client, _)) = RawClient::connect(address, TIMEOUT_MS) else {
                            return;
                        };
                        session(client, &mut rng, &stop, &done);
                    }
                })
            })
            .collect();
        Self {
            stop,
            done,
            threads,
            _idle: idle,
        }
    }

    /// Waits until so many more requests are answered.
    pub(crate) fn wait_for(&self, more: usize) {
        let target = self.done.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.done.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "the server answers no more");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// What stays, and enough of it that writing a snapshot takes a while.
fn prepare(client: &mut RawClient) {
    let mut requests = vec![
        create("/load", None, 0),
        create("/containers", None, 0),
        create("/ttl", None, 0),
        create("/idle", None, 0),
        create("/bulk", None, 0),
        create("/null", None, 0),
        create("/large", Some(Bytes::from(vec![b'x'; 200_000])), 0),
        create("/é中", Some(Bytes::from_static(b"\xff\x00")), 0),
        create("/zookeeper/quota/load", None, 0),
        create(
            "/zookeeper/quota/load/zookeeper_limits",
            Some(Bytes::from_static(b"count=100000,bytes=100000000")),
            0,
        ),
        create(
            "/zookeeper/quota/load/zookeeper_stats",
            Some(Bytes::from_static(b"count=0,bytes=0")),
            0,
        ),
    ];
    // One of each kind that nothing happens to any more.
    let text = |path: &str| Some(Text::from(path));
    requests.push(Request::CreateContainer(CreateRequest {
        path: text("/containers/kept"),
        data: None,
        acl: Some(vec![Acl::open()]),
        flags: 4,
    }));
    requests.push(create("/containers/kept/child", None, 0));
    requests.push(Request::CreateTtl(CreateTtlRequest {
        path: text("/ttl/kept"),
        data: None,
        acl: Some(vec![Acl::new(31, "ip", "127.0.0.1")]),
        flags: 5,
        ttl_ms: 3_600_000,
    }));
    for version in 0..3 {
        requests.push(Request::SetData(SetDataRequest {
            path: text("/null"),
            data: None,
            version,
        }));
    }
    requests.push(Request::SetAcl(SetAclRequest {
        path: text("/null"),
        acl: Some(vec![Acl::open(), Acl::new(1, "ip", "10.0.0.0/8")]),
        version: 0,
    }));
    for parent in 0..PARENTS {
        requests.push(create(&format!("/load/{parent}"), None, 0));
    }
    for number in 0..1500 {
        let data = Bytes::from(vec![b'b'; number % 700]);
        requests.push(create(&format!("/bulk/{number}"), Some(data), 0));
    }
    for requests in requests.chunks(100) {
        for request in requests {
            client.send(request).unwrap();
        }
        for _ in requests {
            client.reply().unwrap();
        }
    }
}

/// A session with nodes of its own, which it keeps.
fn idle(address: SocketAddr, number: u64) -> RawClient {
    let (mut client, _) = RawClient::connect(address, TIMEOUT_MS).unwrap();
    for place in 0..3 {
        let path = format!("/idle/{number}-{place}");
        client
            .request(&create(&path, Some(Bytes::new()), 1))
            .unwrap();
    }
    client
}

/// Some hundred requests in one session, which is closed at the end, left to expire, or goes on.
fn session(mut client: RawClient, rng: &mut Rng, stop: &AtomicBool, done: &AtomicUsize) {
    for _ in 0..rng.between(4, 30) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut sent = 0;
        for _ in 0..BATCH {
            if client.send(&request(rng)).is_err() {
                return;
            }
            sent += 1;
        }
        for _ in 0..sent {
            if client.reply().is_err() {
                return;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    if rng.chance(2, 3) && client.send(&Request::CloseSession).is_ok() {
        drop(client.reply());
    }
}

fn path(rng: &mut Rng) -> String {
    let parent = rng.below(PARENTS);
    match rng.below(8) {
        0 => format!("/load/{parent}"),
        1 => format!("/load/{parent}/{}/below", rng.below(4)),
        _ => format!("/load/{parent}/{}", rng.below(4)),
    }
}

fn data(rng: &mut Rng) -> Option<Bytes> {
    match rng.below(12) {
        0 => None,
        1 => Some(Bytes::new()),
        _ => {
            let byte = u8::try_from(rng.below(256)).unwrap();
            Some(Bytes::from(vec![byte; rng.place(400)]))
        }
    }
}

fn create(path: &str, data: Option<Bytes>, flags: i32) -> Request {
    Request::Create(CreateRequest {
        path: Some(Text::from(path)),
        data,
        acl: Some(vec![Acl::open()]),
        flags,
    })
}

fn acl(rng: &mut Rng) -> Vec<Acl> {
    let entry = |rng: &mut Rng| match rng.below(3) {
        0 => Acl::open(),
        1 => Acl::new(31, "ip", "127.0.0.1"),
        _ => Acl::new(
            1 + i32::try_from(rng.below(31)).unwrap(),
            "digest",
            "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        ),
    };
    // Whoever comes from here may always do everything: the load goes on.
    let mut acl = vec![Acl::new(31, "ip", "127.0.0.1")];
    acl.extend((0..rng.below(3)).map(|_| entry(rng)));
    acl
}

fn request(rng: &mut Rng) -> Request {
    let path = path(rng);
    let text = Some(Text::from(path.as_str()));
    match rng.below(16) {
        0..=4 => {
            let flags = *rng.pick(&[0, 0, 1, 1, 2, 3]);
            let Request::Create(request) = create(&path, data(rng), flags) else {
                unreachable!("that is what it makes")
            };
            let request = CreateRequest {
                acl: Some(acl(rng)),
                ..request
            };
            if rng.chance(1, 2) {
                Request::Create(request)
            } else {
                Request::Create2(request)
            }
        }
        5..=7 => Request::Delete(DeleteRequest {
            path: text,
            version: -1,
        }),
        8 | 9 => Request::SetData(SetDataRequest {
            path: text,
            data: data(rng),
            version: -1,
        }),
        10 => Request::SetAcl(SetAclRequest {
            path: text,
            acl: Some(acl(rng)),
            version: -1,
        }),
        11 => Request::CreateContainer(CreateRequest {
            path: Some(Text::from(format!("/containers/{}", rng.below(20)))),
            data: data(rng),
            acl: Some(acl(rng)),
            flags: 4,
        }),
        12 => Request::CreateTtl(CreateTtlRequest {
            path: Some(Text::from(format!("/ttl/{}", rng.below(20)))),
            data: data(rng),
            acl: Some(acl(rng)),
            flags: *rng.pick(&[5, 6]),
            ttl_ms: 3_600_000,
        }),
        13 => create(&format!("/containers/{}/", rng.below(20)), data(rng), 2),
        _ => multi(rng, &path),
    }
}

/// Often refused as a whole.
fn multi(rng: &mut Rng, path: &str) -> Request {
    let text = |path: &str| Some(Text::from(path));
    let create = |path: &str, rng: &mut Rng| {
        MultiOp::Create(CreateRequest {
            path: text(path),
            data: data(rng),
            acl: Some(acl(rng)),
            flags: 0,
        })
    };
    let delete = |path: &str| {
        MultiOp::Delete(DeleteRequest {
            path: text(path),
            version: -1,
        })
    };
    Request::Multi(MultiOps(match rng.below(4) {
        // Gone and there again.
        0 => vec![
            delete(path),
            create(path, rng),
            create(&format!("{path}/below"), rng),
        ],
        1 => vec![
            MultiOp::Check(CheckVersionRequest {
                path: text(path),
                version: 1,
            }),
            MultiOp::SetData(SetDataRequest {
                path: text(path),
                data: data(rng),
                version: -1,
            }),
        ],
        2 => vec![create(path, rng), delete(path)],
        _ => vec![
            create(&format!("{path}/x"), rng),
            create(&format!("{path}/y"), rng),
        ],
    }))
}
