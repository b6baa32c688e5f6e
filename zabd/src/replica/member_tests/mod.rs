//! Three servers with their states on a network that loses nothing, one message after the other.
//!
//! `world`, `wires` and `clients` are what they run in; the other files are the tests, by what they are about.

mod clients;
mod divergence;
mod leaders;
mod local;
mod moved;
mod read_only;
mod reconfig;
mod serving;
mod unknown;
mod wires;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::{Acl, Id, perms};
use jute_codec::proto::{
    ConnectRequest, CreateFlags, CreateRequest, PathRequest, ReplyHeader, Request,
};
use jute_codec::quorum::LeaderPacket;
use jute_codec::txn::TxnEntry;
use jute_codec::{ErrorCode, Jute, Reader, SessionId, Text, Zxid};

use super::Replica;
use super::clock::Clock;
use super::effect::Effect;
use super::ensemble::{Configs, Members, ServerId, Standalone};
use super::input::Input;
use super::params::{LocalSessions, ReplicaParams};
use super::session::password::password_of;
use super::zab::{Epochs, LinkId, LogPlace, Recovered, Role, ZabEffect, ZabInput, ZabParams};
use crate::state::conn::{ClientRequest, ConnId, Submission, WriteBody};
use crate::state::{Committed, DigestMismatch, Output, Outputs, State, StateParams};

const TICK_MS: i64 = 1000;
const SYNC_LIMIT_MS: i64 = 5 * TICK_MS;

struct Server {
    replica: Replica,
    state: State,
    configs: Configs,
    epochs: Epochs,
    log: Vec<(Zxid, Bytes)>,
    /// What its copy has beyond that, in memory and on disk.
    altered: Option<TxnEntry>,
    diverged: Option<DigestMismatch>,
    listens: bool,
    serves: bool,
    /// Whether it serves those who only read.
    shows: bool,
    /// Whether it leads, and serves nobody itself.
    only_leads: bool,
}

/// A log, and what a copy has beyond that.
type Stream = (Vec<(Zxid, Bytes)>, Option<TxnEntry>);

/// Both ends of a connection: server and its number for it.
type End = (ServerId, LinkId);

#[derive(Default)]
struct World {
    now_ms: i64,
    servers: BTreeMap<ServerId, Server>,
    inputs: VecDeque<(ServerId, Input)>,
    links: BTreeMap<End, End>,
    links_accepted: u64,
    /// Snapshots under way, by the end that gets them: all transactions.
    streams: BTreeMap<End, Stream>,
    /// Connections that are tried again: when, how often still, from where, whose.
    dialing: Vec<(i64, u32, End, ServerId)>,
    conns_made: u64,
    /// What a server knows of the membership when it starts; without one all have the same three.
    members: BTreeMap<ServerId, Arc<Members>>,
    /// Who the clients are besides where they come from.
    ids: Vec<Id>,
    /// What clients got: events by connection, in words.
    heard: BTreeMap<ConnId, Vec<Heard>>,
    /// Clients are heard of all the time, unless they are in here.
    silent: BTreeSet<SessionId>,
    /// Servers that have looked whether their disk has the leader's tree, and whether it had.
    checks: Vec<(i64, bool)>,
    /// Servers that stand still, and what they have not heard.
    deaf: BTreeSet<ServerId>,
    unheard: Vec<(ServerId, Input)>,
    /// The last counter of an epoch, if not the usual one.
    counter_max: Option<i64>,
    /// Of servers that are started from now on.
    local_sessions: LocalSessions,
    read_only_after_ms: Option<i64>,
    /// Leaders take no clients.
    leaders_only_lead: bool,
    /// Servers that sent their clients away, in order.
    sent_away: Vec<ServerId>,
    /// What stopped servers had on disk, for tests that start them again.
    disks: BTreeMap<i64, (Vec<(Zxid, Bytes)>, Epochs)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Connected(SessionId),
    ConnectedReadOnly(SessionId),
    Reply { xid: i32, err: i32 },
    Event,
    Closed,
}

fn configs() -> Configs {
    let text = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nversion=0";
    Configs::of(Arc::new(text.parse::<Members>().unwrap()))
}

fn new_state() -> State {
    State::new(StateParams::default())
}

fn create(path: &str, flags: CreateFlags) -> Request {
    let anyone = Acl {
        perms: perms::ALL,
        id: Id::new("world", "anyone"),
    };
    Request::Create(CreateRequest {
        path: Some(Text::from(path)),
        data: Some(Bytes::from_static(b"x")),
        acl: Some(vec![anyone]),
        flags: flags as i32,
    })
}

fn three() -> World {
    three_in(World::default())
}

fn three_in(mut world: World) -> World {
    for server in 1..=3 {
        world.start(server);
    }
    world.run(5000);
    world
}

const DONE: i32 = 0;
