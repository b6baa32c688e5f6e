//! A client: sessions that move between servers, requests in bursts, pings, silence, watches set again.

mod hearing;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jute_codec::frame::write_frame;
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, PASSWORD_BYTES, Request, RequestHeader, xid,
};
use jute_codec::{Jute, SessionId, Zxid};

use zabd::state::Service;

use super::check::Check;
use super::check::watches_survive::Kind;
use super::membership;
use super::net::{End, FIRST_CLIENT, Item, Node, Way};
use super::onlooker::Onlooker;
use super::workload;
use super::world::{Event, World};
use crate::sim::ledger::SentWrite;
use crate::sim::rng::Rng;
use crate::sim::view::{Seen, View, is_write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Without a connection.
    Away,
    /// The handshake has been sent, at that time.
    Knocking(i64),
    /// At a server that only shows what it has.
    Reading,
    /// With a session.
    In,
    /// Nobody hears of it any more.
    Gone,
}

/// A client.
#[derive(Debug)]
pub(super) struct SimClient {
    node: Node,
    rng: Rng,
    phase: Phase,
    timeout_us: i64,
    /// The connection that it listens to, to which server, and what has come on it.
    link: u64,
    server: Node,
    inbox: BytesMut,
    view: Option<View>,
    session: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    seen: Seen,
    next_xid: i32,
    requests_left: u64,
    /// Sends nothing more on this connection.
    closing: bool,
    heard_us: i64,
    sent_us: i64,
    works_us: i64,
    silent_until_us: i64,
    /// The event that it decides at next; others are void.
    turn: u64,
    /// What the client, not the connection, watches, and since which transaction.
    watched: BTreeMap<(Kind, String), Zxid>,
    persistent: BTreeMap<String, bool>,
    /// The server knows of `watched`.
    watching: bool,
    /// Of each sync under way, what had been shown when it was sent.
    syncs: VecDeque<BTreeMap<i64, Zxid>>,
    /// The last requests of the run are sent.
    last_sent: bool,
    pub(super) done: bool,
    /// It may change the members.
    pub(super) is_admin: bool,
    /// It is content with what a server shows that has no leader.
    pub(super) may_read_only: bool,
    /// What it does there.
    reader: Option<Onlooker>,
}

impl SimClient {
    pub(super) fn new(number: usize, rng: Rng, timeout_ms: i64, requests: u64) -> Self {
        Self {
            node: FIRST_CLIENT + i64::try_from(number).unwrap_or_default(),
            rng,
            phase: Phase::Away,
            timeout_us: timeout_ms * 1000,
            link: 0,
            server: 0,
            inbox: BytesMut::new(),
            view: None,
            session: None,
            seen: Seen::default(),
            next_xid: 1,
            requests_left: requests,
            closing: false,
            heard_us: 0,
            sent_us: 0,
            works_us: 0,
            silent_until_us: 0,
            turn: 0,
            watched: BTreeMap::new(),
            persistent: BTreeMap::new(),
            watching: false,
            syncs: VecDeque::new(),
            last_sent: false,
            done: false,
            is_admin: false,
            may_read_only: false,
            reader: None,
        }
    }

    /// The session that the client keeps alive.
    pub(super) fn keeps(&self) -> Option<i64> {
        let (session, _) = self.session?;
        (self.phase == Phase::In && !self.closing).then_some(session.0)
    }

    /// The session that the client has, with its password and timeout.
    pub(super) fn has(&self) -> Option<ConnectResponse> {
        let (session, password) = self.session?;
        Some(ConnectResponse {
            protocol_version: 0,
            timeout_ms: i32::try_from(self.timeout_us / 1000).unwrap_or(i32::MAX),
            session,
            password,
            read_only: Some(false),
        })
    }

    pub(super) fn describe(&self) -> String {
        let unanswered = self.view.as_ref().map(View::unanswered);
        format!(
            "client {} {:?} at {}, session {:?}, seen {:?}, unanswered {unanswered:?}, done {}",
            self.node,
            self.phase,
            self.server,
            self.session.map(|(session, _)| session),
            self.seen,
            self.done
        )
    }

    /// Nobody will hear of it again.
    fn vanish(&mut self, world: &mut World) {
        if self.rng.chance(1, 2) {
            self.hang_up(world);
        }
        // Its connection stays, if it has one; nobody listens there.
        self.link = 0;
        self.phase = Phase::Gone;
        self.done = true;
    }

    /// Decides what to do next.
    fn act(&mut self, world: &mut World) -> Check {
        let now_us = world.now_us;
        let (third, idle_us) = (self.timeout_us / 3, self.timeout_us / 6);
        if self.phase == Phase::Gone {
            return Ok(());
        }
        if now_us >= self.silent_until_us || world.is_mended() {
            match self.phase {
                Phase::Away => self.connect(world),
                Phase::Knocking(since_us) if now_us - since_us > third => self.hang_up(world),
                Phase::In if now_us - self.heard_us > 2 * third => self.hang_up(world),
                Phase::In => {
                    if world.is_mended() {
                        self.finish(world);
                    } else if now_us >= self.works_us {
                        self.work(world);
                    }
                    if self.phase == Phase::In && now_us - self.sent_us > third {
                        self.request(world, Request::Ping);
                    }
                }
                Phase::Reading => self.read(world),
                Phase::Knocking(_) | Phase::Gone => {}
            }
        }
        let most_us = match self.phase {
            Phase::In if now_us < self.works_us => idle_us.min(self.works_us - now_us),
            _ => idle_us,
        };
        let most_us = most_us.cast_unsigned();
        let delay_us = if self.phase == Phase::Away {
            let most_us = *self.rng.pick(&[100, 10_000, most_us]);
            self.rng.below(most_us)
        } else {
            self.rng.between(most_us / 2, most_us)
        };
        self.act_after(world, delay_us.max(10));
        Ok(())
    }

    fn act_after(&mut self, world: &mut World, delay_us: u64) {
        self.turn += 1;
        let (client, turn) = (self.node, self.turn);
        world.after(delay_us, Event::Client { client, turn });
    }

    fn connect(&mut self, world: &mut World) {
        let servers = world.server_ids();
        let mut server = *self.rng.pick(&servers);
        if server == self.server && self.rng.chance(3, 4) {
            server = *self.rng.pick(&servers);
        }
        if self.session.is_some() && server != self.server {
            world.report.moves += 1;
        }
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen.shown,
            timeout_ms: i32::try_from(self.timeout_us / 1000).unwrap_or(i32::MAX),
            session: self.session.map_or(SessionId::NONE, |(session, _)| session),
            password: self
                .session
                .map(|(_, password)| Bytes::copy_from_slice(&password)),
            read_only: self.rng.chance(1, 2).then_some(self.may_read_only),
        };
        self.server = server;
        self.link = world.call(self.node, server);
        self.inbox.clear();
        self.closing = false;
        self.last_sent = false;
        self.watching = false;
        self.syncs.clear();
        self.phase = Phase::Knocking(world.now_us);
        let mut bytes = Vec::new();
        write_frame(&mut bytes, |out| request.write(out));
        world.put_bytes(self.link, Way::ToCalled, bytes.into());
    }

    fn hang_up(&mut self, world: &mut World) {
        if self.link != 0 {
            world.close_end(self.link, Way::ToCaller);
        }
        self.forget_link();
    }

    fn forget_link(&mut self) {
        self.link = 0;
        self.view = None;
        self.reader = None;
        if self.phase == Phase::Gone {
            return;
        }
        self.phase = Phase::Away;
        if self.closing {
            // It cannot know whether its session has ended; it begins another one.
            self.forget_session();
        }
    }

    /// Looks at what a server shows, and goes on looking for one that does more.
    fn read(&mut self, world: &mut World) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if world.is_mended() || world.now_us - reader.since_us > self.timeout_us {
            return self.hang_up(world);
        }
        self.next_xid += 1;
        let number = self.next_xid;
        let request = reader.ask(&mut self.rng, number);
        let mut bytes = Vec::new();
        write_request(&mut bytes, number, &request);
        self.sent_us = world.now_us;
        world.put_bytes(self.link, Way::ToCalled, bytes.into());
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.seen.written = Zxid::ZERO;
        self.watched.clear();
        self.persistent.clear();
    }

    fn work(&mut self, world: &mut World) {
        let mean_us = world.plan.fault_ticks * world.tick_us() / world.plan.requests;
        let pause_us = if self.rng.chance(1, 3) {
            self.rng.below(2000)
        } else {
            self.rng.below(4 * mean_us)
        };
        self.works_us = world.now_us.saturating_add_unsigned(pause_us);
        if self.closing || self.requests_left == 0 {
            return;
        }
        match self.rng.below(60) {
            0 => {
                // Silence, perhaps for longer than the session lasts.
                let silence_us = self.rng.below(2 * self.timeout_us.cast_unsigned());
                self.silent_until_us = world.now_us.saturating_add_unsigned(silence_us);
            }
            1..=3 => self.hang_up(world),
            4 => {
                // A second connection for the same session; the first one is left to the server.
                self.view = None;
                self.connect(world);
            }
            5 => {
                self.request(world, Request::CloseSession);
                self.closing = true;
            }
            _ => {
                let most = *self.rng.pick(&[1, 1, 2, 4, 8]);
                for _ in 0..most.min(self.requests_left) {
                    let request = if world.plan.changes && self.rng.chance(1, 12) {
                        self.about_members(world)
                    } else if self.rng.chance(1, 2) {
                        workload::write(&mut self.rng)
                    } else {
                        workload::read(&mut self.rng)
                    };
                    self.request(world, request);
                    self.requests_left -= 1;
                }
            }
        }
    }

    /// Asks for a change of the members, or who they are.
    fn about_members(&mut self, world: &World) -> Request {
        if self.rng.chance(1, 4) {
            return workload::watch_members(&mut self.rng);
        }
        let version = world.chronicle.members_version();
        membership::request(&mut self.rng, &world.server_ids(), version)
    }

    /// A last write, and a last sync: their answers show that nothing is left behind.
    fn finish(&mut self, world: &mut World) {
        let unanswered = self.view.as_ref().map_or(0, View::unanswered);
        if !self.last_sent && !self.closing {
            self.last_sent = true;
            let write = workload::write(&mut self.rng);
            self.request(world, write);
            self.request(world, workload::sync());
        } else if self.last_sent && unanswered == 0 {
            self.done = true;
        }
    }

    fn request(&mut self, world: &mut World, request: Request) {
        let Some(view) = &mut self.view else {
            return;
        };
        let number = match &request {
            Request::Ping => xid::PING,
            Request::SetWatches(_) | Request::SetWatches2(_) => xid::SET_WATCHES,
            Request::Auth(_) => xid::AUTH,
            _ => {
                self.next_xid += 1;
                self.next_xid
            }
        };
        let node = self.node;
        world
            .trace
            .say(|| format!("client {node} sends {number} {request:?}"));
        let mut bytes = Vec::new();
        write_request(&mut bytes, number, &request);
        if is_write(&request) {
            let sent = SentWrite {
                conn: view.conn,
                who: view.who.clone(),
                request: request.clone(),
            };
            world.chronicle.on_sent(number, sent);
        }
        if matches!(request, Request::Sync(_)) {
            self.syncs.push_back(world.chronicle.floors());
        }
        view.on_sent(number, request);
        self.sent_us = world.now_us;
        world.put_bytes(self.link, Way::ToCalled, bytes.into());
    }
}

fn write_request(bytes: &mut Vec<u8>, xid: i32, request: &Request) {
    write_frame(bytes, |out| {
        RequestHeader {
            xid,
            op: request.op().code(),
        }
        .write(out);
        request.write_body(out);
    });
}

fn place(client: Node) -> usize {
    usize::try_from(client - FIRST_CLIENT).unwrap_or_default()
}

impl World {
    /// Lets a client do something with the world.
    fn with_client(
        &mut self,
        client: Node,
        act: impl FnOnce(&mut SimClient, &mut Self) -> Check,
    ) -> Check {
        let Some(mut acting) = self.clients[place(client)].take() else {
            return Ok(());
        };
        let result = act(&mut acting, self);
        self.clients[place(client)] = Some(acting);
        result
    }

    /// A client decides what to do next.
    pub(super) fn on_client(&mut self, client: Node, turn: u64) -> Check {
        self.with_client(client, |client, world| {
            if client.turn != turn {
                return Ok(());
            }
            let node = client.node.cast_unsigned();
            world.trace.step(world.now_us, "client", node);
            client.act(world)
        })
    }

    /// All faults are over: some clients are never heard of again.
    pub(super) fn send_some_away(&mut self) -> Check {
        for place in 0..self.clients.len() {
            if self.rng.chance(1, 4) {
                let client = FIRST_CLIENT + i64::try_from(place).unwrap_or_default();
                self.with_client(client, |client, world| {
                    client.vanish(world);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Something reaches a client.
    pub(super) fn at_client(&mut self, number: u64, end: End, item: Item) -> Check {
        let is_end = matches!(item, Item::End);
        let epoch = self.net.links.get(&number).map_or(0, |link| link.epoch);
        if end.open {
            self.with_client(end.node, |client, world| {
                client.on_item(world, number, epoch, item)
            })?;
        }
        if is_end && let Some(link) = self.net.links.get_mut(&number) {
            link.caller.open = false;
            self.net.forget_if_over(number);
        }
        Ok(())
    }

    /// A client is told by a server that its session is over.
    pub(super) fn on_refused(&self, client: Node, number: u64, server: Node) -> Check {
        let state = &self.servers[&server].state;
        let epoch = self.servers[&server].epoch();
        let Some(client) = &self.clients[place(client)] else {
            return Ok(());
        };
        let Some((session, _)) = client.session.filter(|_| client.link == number) else {
            return Ok(());
        };
        self.on_refused_here(server, session.0)?;
        // Of what began later it knows nothing.
        match self.chronicle.began(session.0) {
            // One that shows what it has may know less than its epoch says.
            Some(zxid) if state.service() == Service::ReadOnly && zxid > state.last_zxid() => {
                Ok(())
            }
            // A local session whose client left before it was told that it is everybody's.
            Some(zxid) if self.locals.has(session.0) && client.seen.shown < zxid => Ok(()),
            Some(zxid) if zxid.epoch() <= epoch => self.sessions.sent_away(session.0),
            _ => Ok(()),
        }
    }
}
