//! A client of zabd and Apache ZooKeeper, and what is built on it: the library behind the `zab` command.
//!
//! | module | what it holds |
//! |---|---|
//! | [`session`] | [`Client`]: one session over several servers, with watches that survive them |
//! | [`config`] | the configuration centre |
//! | [`connect_string`] | `host:port,host:port/chroot` |
//! | [`naming`] | services: registered, found, chosen among |
//! | [`path`] | what a znode's path may be |
//! | [`recipes`] | locks, elections, semaphores, barriers, queues, counters, ids |
//!
//! ```no_run
//! # async fn example() -> Result<(), zab::Error> {
//! let servers = zab::ConnectString::parse("a:2181,b:2181/app").expect("a valid list");
//! let client = zab::Client::start(servers, zab::Options::default());
//! let (created, _) = client
//!     .create("/hello", b"world".as_slice(), zab::CreateFlags::Persistent, &[zab::Acl::open()])
//!     .await?;
//! let (reply, change) = client.get_and_watch(&created).await?;
//! println!("{:?}, until {:?}", reply.data, change.await?);
//! client.close().await
//! # }
//! ```

pub mod config;
pub mod connect_string;
pub mod naming;
pub mod path;
mod random;
pub mod recipes;
pub mod session;

pub use connect_string::{ConnectString, ConnectStringError};
pub use jute_codec::proto::{
    AddWatchMode, ChildrenReply, ClientInfo, CreateFlags, DataReply, EventType, MultiOp,
    MultiResult, ReconfigRequest, Reply, Request, WatcherType,
};
pub use jute_codec::{Acl, ErrorCode, SessionId, Stat, Zxid};
pub use session::{
    Answered, Change, Client, Credential, Error, MultiError, Notice, Options, State, Transaction,
    WatchEvent, Watcher,
};
