//! Clients that change a large tree everywhere, all the time: what a snapshot that is not of one moment has to survive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use bytes::Bytes;
use jute_codec::Text;
use jute_codec::data::Acl;
use jute_codec::proto::{
    CreateFlags, DeleteRequest, MultiOp, MultiOps, Request, SetAclRequest, SetDataRequest,
};
use zabd_tests::ensemble::{ask, create_request};
use zabd_tests::mixed::{Mixed, PATIENCE};
use zabd_tests::raw::RawClient;
use zabd_tests::writers::Random;

/// Nodes below `/bulk`, each of which may have one below itself.
const NODES: usize = 4000;
const TIMEOUT_MS: i32 = 30_000;
const CLIENTS: u64 = 3;
/// Requests that a client sends before it takes their replies.
const BATCH: usize = 20;

/// Makes the tree.
pub(crate) fn bulk(mixed: &Mixed, at: usize) -> anyhow::Result<()> {
    let mut client = mixed.client(at)?;
    ask(&mut client, &create_request("/bulk", "", 0))?;
    let data = "x".repeat(200);
    let numbers: Vec<usize> = (0..NODES).collect();
    for numbers in numbers.chunks(200) {
        let parts = numbers.iter().map(|number| {
            match create_request(&format!("/bulk/{number}"), &data, 0) {
                Request::Create(create) => MultiOp::Create(create),
                other => panic!("{other:?}"),
            }
        });
        ask(&mut client, &Request::Multi(MultiOps(parts.collect())))?;
    }
    Ok(())
}

/// The clients.
pub(crate) struct Churn {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Churn {
    pub(crate) fn start(mixed: &Mixed, at: usize, seed: u64) -> Self {
        let address = mixed.server(at).address();
        let (stop, done): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let threads = (0..CLIENTS).map(|number| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let random = Random(seed ^ number << 32);
            thread::spawn(move || churn(address, random, &stop, &done))
        });
        let threads = threads.collect();
        Self {
            stop,
            done,
            threads,
        }
    }

    /// Waits until they have begun.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.done.load(Ordering::Relaxed) < 200 {
            ensure!(Instant::now() < until, "clients make no progress");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(())
    }
}

fn churn(
    address: SocketAddr,
    mut random: Random,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> anyhow::Result<()> {
    let (mut client, _) = RawClient::connect(address, TIMEOUT_MS)?;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            client.send(&any(&mut random))?;
        }
        for _ in 0..BATCH {
            // Most fail, as most nodes are as somebody else wants them to be.
            client.reply()?;
        }
        done.fetch_add(BATCH, Ordering::Relaxed);
        if random.below(4) == 0 {
            // With it go its ephemeral nodes.
            ask(&mut client, &Request::CloseSession)?;
            client = RawClient::connect(address, TIMEOUT_MS)?.0;
        }
    }
    ask(&mut client, &Request::CloseSession).map(drop)
}

fn any(random: &mut Random) -> Request {
    let number = random.below(NODES);
    let path = format!("/bulk/{number}");
    let below = format!("{path}/x");
    let text = Some(Text::from(path.as_str()));
    let delete = |path: &str| DeleteRequest {
        path: Some(Text::from(path)),
        version: -1,
    };
    let create = |path: &str, flags| match create_request(path, "new", flags) {
        Request::Create(create) => create,
        other => panic!("{other:?}"),
    };
    match random.below(8) {
        0 => Request::SetData(SetDataRequest {
            path: text,
            data: Some(Bytes::from("y".repeat(random.below(300)))),
            version: -1,
        }),
        1 => Request::Create2(create(&below, 0)),
        2 => Request::Create(create(&below, CreateFlags::Ephemeral as i32)),
        3 => Request::Delete(delete(&below)),
        // Away, and there again with one below.
        4 => Request::Multi(MultiOps(vec![
            MultiOp::Delete(delete(&path)),
            MultiOp::Create(create(&path, 0)),
            MultiOp::Create(create(&below, 0)),
        ])),
        5 => Request::Delete(delete(&path)),
        6 => Request::Create(create(&path, 0)),
        _ => Request::SetAcl(SetAclRequest {
            path: text,
            // A list that nobody has yet.
            acl: Some(vec![
                Acl::open(),
                Acl {
                    perms: 1,
                    id: jute_codec::data::Id {
                        scheme: Some(Text::from("ip")),
                        id: Some(Text::from(format!(
                            "10.0.{}.{}",
                            number / 200,
                            number % 200
                        ))),
                    },
                },
            ]),
            version: -1,
        }),
    }
}
