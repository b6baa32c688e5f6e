//! What a client hears, and what it makes of it.

use std::rc::Rc;

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::frame::take_frame;
use jute_codec::proto::{
    AuthPacket, ConnectResponse, EventType, ReplyHeader, Request, SetWatches, SetWatches2,
    WatcherEvent,
};
use jute_codec::{ErrorCode, Jute, Reader, SessionId, Text, Zxid};

use super::{Phase, SimClient};
use crate::members::check::watches_survive::{self, Kind};
use crate::members::check::{Check, broken, read_only_changes_nothing, sync_sees_all};
use crate::members::membership;
use crate::members::net::Item;
use crate::members::onlooker::Onlooker;
use crate::members::plan::Planted;
use crate::members::world::World;
use crate::sim::check::{ack_means_durable, session_fifo};
use crate::sim::ledger::Witness as _;
use crate::sim::model::{Answer, Who};
use crate::sim::view::{Got, View, is_write};

impl SimClient {
    pub(super) fn on_item(
        &mut self,
        world: &mut World,
        number: u64,
        epoch: i64,
        item: Item,
    ) -> Check {
        if number != self.link {
            return Ok(());
        }
        match item {
            Item::Bytes(bytes) => self.inbox.extend_from_slice(&bytes),
            Item::End => {
                self.forget_link();
                let most_us = *self
                    .rng
                    .pick(&[100, 10_000, self.timeout_us.cast_unsigned() / 6]);
                let delay_us = self.rng.below(most_us);
                self.act_after(world, delay_us);
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.heard_us = world.now_us;
        while let Ok(Some(frame)) = take_frame(&mut self.inbox, 1 << 24) {
            world.trace.bytes(&frame);
            if let Some(reader) = &mut self.reader {
                world.report.shown += 1;
                reader.on_frame(&frame, &world.chronicle)?;
            } else if let Some(view) = &mut self.view {
                let got = view.on_frame(&frame, &world.chronicle, &mut self.seen)?;
                world.chronicle.on_revealed(self.seen.shown);
                let node = self.node;
                world
                    .trace
                    .say(|| format!("client {node} gets {got:?}, has seen {:?}", self.seen));
                match got {
                    Got::Event => self.on_event(world, &frame),
                    Got::Reply(got) => self.on_reply(world, epoch, &got.0, &got.1)?,
                }
            } else {
                self.on_connected(world, &frame)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, world: &mut World, frame: &Bytes) {
        world.report.events_told += 1;
        let mut reader = Reader::new(frame);
        let event = ReplyHeader::read(&mut reader)
            .and_then(|_| WatcherEvent::read(&mut reader))
            .expect("it was decoded once");
        let path = event.path.to_string();
        let kinds: &[Kind] = match event.kind {
            kind if kind == EventType::NodeChildrenChanged.code() => &[Kind::Children],
            kind if kind == EventType::NodeDeleted.code() => {
                &[Kind::Data, Kind::Existence, Kind::Children]
            }
            _ => &[Kind::Data, Kind::Existence],
        };
        for kind in kinds {
            self.watched.remove(&(*kind, path.clone()));
        }
    }

    fn on_reply(
        &mut self,
        world: &mut World,
        epoch: i64,
        request: &Request,
        answer: &Answer,
    ) -> Check {
        let zxid = self.seen.shown;
        let ok = answer.err == 0;
        match request {
            Request::CloseSession => self.closing = true,
            Request::Sync(_) => {
                world.report.syncs += 1;
                let floors = self.syncs.pop_front().unwrap_or_default();
                let floor = floors.range(..=epoch).next_back();
                let floor = floor.map_or(Zxid::ZERO, |(_, zxid)| *zxid);
                sync_sees_all::on_synced(floor, zxid)?;
            }
            Request::SetWatches(_) | Request::SetWatches2(_) => {
                world.report.rewatched += 1;
                self.watching = true;
            }
            Request::AddWatch(request) if ok => {
                let path = request.path.as_deref().unwrap_or_default().to_owned();
                self.persistent.insert(path, request.mode == 1);
            }
            Request::GetData(request) if request.watch && ok => {
                self.watch(Kind::Data, request.path.as_ref());
            }
            Request::Exists(request) if request.watch && ok => {
                self.watch(Kind::Data, request.path.as_ref());
            }
            Request::Exists(request) if request.watch && answer.err == ErrorCode::NoNode.code() => {
                self.watch(Kind::Existence, request.path.as_ref());
            }
            Request::GetChildren(request) | Request::GetChildren2(request)
                if request.watch && ok =>
            {
                self.watch(Kind::Children, request.path.as_ref());
            }
            _ => {}
        }
        if is_write(request) {
            world.report.acknowledged += 1;
        } else {
            world.report.reads += 1;
        }
        if self.watching
            && let Some(moment) = world.chronicle.at(zxid)
        {
            for ((kind, path), since) in &self.watched {
                watches_survive::on_shown(*kind, path, *since, &moment.tree)?;
            }
        }
        Ok(())
    }

    fn watch(&mut self, kind: Kind, path: Option<&Text>) {
        let path = path.map(ToString::to_string).unwrap_or_default();
        let since = self.seen.shown.max(membership::FIRST);
        self.watched.entry((kind, path)).or_insert(since);
    }

    fn on_connected(&mut self, world: &mut World, frame: &Bytes) -> Check {
        let Phase::Knocking(_) = self.phase else {
            let what = format!("{frame:?} comes behind the end");
            return broken(session_fifo::NAME, what);
        };
        let Ok(response) = ConnectResponse::read(&mut Reader::new(frame)) else {
            return broken(session_fifo::NAME, format!("{frame:?} answers a handshake"));
        };
        if response.session == SessionId::NONE {
            world.report.refused += 1;
            self.forget_session();
            return Ok(());
        }
        if response.read_only == Some(true) {
            if !self.may_read_only {
                return read_only_changes_nothing::let_in(response.session.0);
            }
            self.phase = Phase::Reading;
            self.reader = Some(Onlooker::new(world.now_us, self.seen.shown));
            return Ok(());
        }
        let same = self.session.is_none_or(|(session, password)| {
            (session, password) == (response.session, response.password)
        });
        let agreed = i64::from(response.timeout_ms) * 1000 == self.timeout_us;
        if !agreed || !same {
            let what = format!("{response:?} for {:?}", self.session);
            return broken(session_fifo::NAME, what);
        }
        match world.chronicle.began(response.session.0) {
            None if world.locals.has(response.session.0) => {}
            None => {
                let what = format!("{response:?} of a session that has not begun");
                return broken(ack_means_durable::NAME, what);
            }
            Some(zxid) => world.chronicle.on_revealed(zxid),
        }
        self.session = Some((response.session, response.password));
        self.phase = Phase::In;
        let who = Who {
            session: response.session.0,
            ids: Rc::new([Id::new("ip", "127.0.0.1")]),
            no_ephemerals: None,
        };
        self.view = Some(View::new(self.link, who, self.seen.shown));
        if self.is_admin {
            self.become_super(world);
        }
        let watches_nothing = self.watched.is_empty() && self.persistent.is_empty();
        if watches_nothing || world.plan.has(Planted::WatchesForgotten) {
            self.watching = true;
        } else {
            let request = self.set_watches();
            self.request(world, request);
        }
        Ok(())
    }

    /// Who changes the members has to be allowed to.
    fn become_super(&mut self, world: &mut World) {
        let request = Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some(Text::from_static("super")),
            auth: Some(Bytes::new()),
        });
        self.request(world, request);
        if let Some(view) = &mut self.view {
            let ids = [Id::new("ip", "127.0.0.1"), Id::new("super", "")];
            view.who.ids = Rc::new(ids);
        }
    }

    /// What a client says first on a new connection.
    fn set_watches(&self) -> Request {
        let of = |wanted: Kind| {
            let paths = self.watched.keys().filter(|(kind, _)| *kind == wanted);
            Some(paths.map(|(_, path)| Some(Text::from(&**path))).collect())
        };
        let standard = SetWatches {
            relative_zxid: self.seen.shown,
            data_watches: of(Kind::Data),
            exist_watches: of(Kind::Existence),
            child_watches: of(Kind::Children),
        };
        if self.persistent.is_empty() {
            return Request::SetWatches(standard);
        }
        let of = |wanted: bool| {
            let paths = self
                .persistent
                .iter()
                .filter(|(_, recursive)| **recursive == wanted);
            Some(paths.map(|(path, _)| Some(Text::from(&**path))).collect())
        };
        Request::SetWatches2(SetWatches2 {
            standard,
            persistent_watches: of(false),
            persistent_recursive_watches: of(true),
        })
    }
}
