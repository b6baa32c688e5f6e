//! Who belongs to the ensemble: what clients ask for, what a change comes to, written a second time, and which members
//! were ever in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::proto::{DataReply, ReconfigRequest, Reply, Request};
use jute_codec::txn::Txn;
use jute_codec::{ErrorCode, Text, Zxid};
use zabd::replica::ensemble::{Configs, Member, Members, ServerId};

use super::check::{Check, members_follow_history};
use super::net::Node;
use super::plan::{Plan, Planted};
use super::world::{Event, World};
use crate::sim::ledger::{Moment, SentWrite};
use crate::sim::model::{Answer, configure, reconfigure};
use crate::sim::rng::Rng;

/// The version of the members that a run begins with. Of them nobody is told as of something new.
pub(super) const FIRST: Zxid = Zxid(1);

/// Where the members stand in the tree.
pub(super) const PATH: &str = "/zookeeper/config";

/// The members that a run begins with.
pub(super) fn first(plan: &Plan) -> Members {
    let members = plan.members().map(|id| {
        let votes = id <= plan.voters.cast_signed();
        let member = Member::parse(&asked(id, votes)).expect("well-formed");
        (ServerId(id), member)
    });
    Members::majority(FIRST.0, members.collect())
}

/// A member as it is asked for.
fn asked(id: Node, votes: bool) -> String {
    let role = if votes { "participant" } else { "observer" };
    format!("s{id}:2888:3888:{role};2181")
}

/// A change that a client asks for; `version` is that of the newest members it can know.
pub(super) fn request(rng: &mut Rng, servers: &[Node], version: Zxid) -> Request {
    let current_config_id = *rng.pick(&[-1, -1, -1, version.0, version.0, FIRST.0]);
    let mut request = ReconfigRequest {
        joining_servers: None,
        leaving_servers: None,
        new_members: None,
        current_config_id,
    };
    match rng.below(20) {
        0..=9 => {
            let mut lines = Vec::new();
            for id in servers {
                if rng.chance(3, 4) {
                    lines.push(format!("server.{id}={}", asked(*id, rng.chance(2, 3))));
                }
            }
            let separator = if rng.chance(1, 2) { "," } else { "\n" };
            request.new_members = Some(Text::from(lines.join(separator)));
        }
        10 => request.leaving_servers = Some(Text::from("who")),
        11 => request.joining_servers = Some(Text::from("server.3=s3:2888:3888")),
        _ => {
            let mut joining = Vec::new();
            for _ in 0..rng.below(3) {
                let id = *rng.pick(servers);
                joining.push(format!("server.{id}={}", asked(id, rng.chance(2, 3))));
            }
            if rng.chance(1, 2) {
                request.leaving_servers = Some(Text::from(rng.pick(servers).to_string()));
            }
            request.joining_servers = Some(Text::from(joining.join(",")));
        }
    }
    Request::Reconfig(request)
}

/// The tree with the members that a run begins with.
pub(super) fn begin(mut moment: Moment, members: &Members) -> Moment {
    configure(&mut moment.tree, text(members), FIRST);
    moment
}

fn text(members: &Members) -> Bytes {
    members.text().as_bytes_shared().clone()
}

/// The lines of what stands in the tree, but for the version.
fn lines(data: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter(|line| !line.starts_with("version="));
    lines.map(str::to_owned).collect()
}

fn version_line(data: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(data);
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("version="))?;
    i64::from_str_radix(version, 16).ok()
}

/// What a request for a change comes to, whoever asks, if nothing stands in its way for the moment.
fn predict(
    current: &[u8],
    version: Zxid,
    request: &ReconfigRequest,
) -> Result<BTreeSet<String>, ErrorCode> {
    if ![-1, version.0].contains(&request.current_config_id) {
        return Err(ErrorCode::BadVersion);
    }
    let told = |line: &str| format!("{}0.0.0.0:2181", line.strip_suffix("2181").unwrap_or(line));
    let votes = |lines: &BTreeSet<String>| lines.iter().any(|line| line.contains(":participant;"));
    if let Some(text) = &request.new_members {
        let lines = text.split([',', '\n']).filter(|line| !line.is_empty());
        let lines = lines.map(told).collect();
        return if votes(&lines) {
            Ok(lines)
        } else {
            Err(ErrorCode::MarshallingError)
        };
    }
    let mut lines = lines(current);
    let is_of = |line: &str, id: &str| line.split('=').next() == Some(&format!("server.{id}"));
    if let Some(id) = request.leaving_servers.as_deref() {
        if id.parse::<i64>().is_err() {
            return Err(ErrorCode::MarshallingError);
        }
        lines.retain(|line| !is_of(line, id));
    }
    let joining = request.joining_servers.as_deref().unwrap_or_default();
    for line in joining.split(',').filter(|line| !line.is_empty()) {
        let id = line.split(['.', '=']).nth(1).unwrap_or_default();
        if !line.contains(';') {
            return Err(ErrorCode::BadArguments);
        }
        lines.retain(|line| !is_of(line, id));
        lines.insert(told(line));
    }
    if votes(&lines) {
        Ok(lines)
    } else {
        Err(ErrorCode::BadArguments)
    }
}

/// The world after a request for a change has become the transaction `zxid`; when it was sent, `floor` had been shown.
pub(super) fn after(
    now: &Moment,
    xid: i32,
    sent: &SentWrite,
    floor: Zxid,
    (zxid, time): (Zxid, i64),
    txn: &Txn,
) -> Check<Moment> {
    let Request::Reconfig(request) = &sent.request else {
        return members_follow_history::wrong("no request for a change", zxid);
    };
    let node = now.tree.get(PATH);
    let (current, version) = node.map_or((Bytes::new(), FIRST), |node| {
        (node.data.clone().unwrap_or_default(), node.mzxid)
    });
    let predicted = predict(&current, version, request);
    let is_super = |id: &Id| id.scheme.as_deref() == Some("super");
    let allowed = if sent.who.ids.iter().any(is_super) {
        predicted.clone()
    } else {
        predicted.clone().and(Err(ErrorCode::NoAuth))
    };
    let mut moment = Moment {
        fires: std::rc::Rc::new([]),
        ..now.clone()
    };
    let answer = match txn {
        Txn::Error(code) => {
            // Another change is under way until somebody can be shown that it is committed, and who is in step changes.
            let is_passing = *code == ErrorCode::ReconfigInProgress.code() && version > floor
                || *code == ErrorCode::NewConfigNoQuorum.code() && predicted.is_ok();
            let expected = allowed.as_ref().err().map(|expected| expected.code());
            if !is_passing && expected != Some(*code) {
                return members_follow_history::refused(zxid, *code, expected);
            }
            Answer {
                err: *code,
                body: Reply::Empty,
            }
        }
        Txn::Reconfig(change) => {
            let data = change.data.clone().unwrap_or_default();
            if allowed.ok() != Some(lines(&data)) || version_line(&data) != Some(zxid.0) {
                return members_follow_history::wrong(&String::from_utf8_lossy(&data), zxid);
            }
            let mut fires = Vec::new();
            let stat = reconfigure(&mut moment.tree, data.clone(), zxid, time, &mut fires);
            moment.fires = fires.into();
            Answer {
                err: 0,
                body: Reply::Data(DataReply {
                    data: Some(data),
                    stat,
                }),
            }
        }
        other => return members_follow_history::wrong(&format!("{other:?}"), zxid),
    };
    moment.digest = moment.tree.digest();
    moment.answer = Some((sent.who.session, xid, answer));
    Ok(moment)
}

/// Which members servers have gone by, with their versions, and one that did.
#[derive(Debug, Default)]
pub(super) struct InForce(BTreeMap<i64, (Node, Bytes)>);

impl InForce {
    fn note(&mut self, server: Node, members: &Members) {
        let entry = self.0.entry(members.version());
        entry.or_insert_with(|| (server, text(members)));
    }

    /// Each of them came of a transaction that is committed: `said` tells what that left in the tree.
    pub(super) fn check(&self, said: impl Fn(Zxid) -> Option<Bytes>) -> Check {
        for (version, (server, text)) in &self.0 {
            if said(Zxid(*version)).as_ref() != Some(text) {
                return members_follow_history::in_force(*server, Zxid(*version));
            }
        }
        Ok(())
    }
}

impl World {
    /// The members that a server comes up with: the last that it wrote down, and a change that its log brings.
    pub(super) fn known_members(&mut self, id: Node) -> Configs {
        let configs = self.servers[&id].configs.clone();
        self.in_force.note(id, &configs.committed);
        if self.plan.has(Planted::ChangesForgotten) {
            return configs;
        }
        configs.with_logged(self.servers[&id].state.config(), super::server::STANDALONE)
    }

    /// Nobody relies on it that members are written down, so that it may fail.
    pub(super) fn on_members(&mut self, id: Node, configs: &Configs) {
        let members = &configs.committed;
        self.in_force.note(id, members);
        if configs.is_changing() && self.plan.has(Planted::ActivatedAtOnce) {
            self.server(id).configs = Configs::of(Arc::clone(&configs.proposed));
            self.after(1, Event::Crash { server: id });
            return;
        }
        let is_new = members.version() != self.servers[&id].configs.committed.version();
        if is_new && !self.plan.has(Planted::ChangesForgotten) && self.rng.chance(3, 4) {
            let version = members.version().cast_unsigned();
            self.trace.step(self.now_us, "members", version);
            self.server(id).configs = Configs::of(Arc::clone(members));
        }
    }

    /// What a server that serves says of the members is what the history says.
    pub(super) fn check_members(&self, id: Node) -> Check {
        let state = &self.servers[&id].state;
        let found = state.config().map(|(text, _)| text.as_bytes());
        let expected = self.chronicle.config_at(state.last_zxid());
        members_follow_history::said(id, state.last_zxid(), found, expected.as_deref())
    }
}
