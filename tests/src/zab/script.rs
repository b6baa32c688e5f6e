//! Stories in text about one server's share in ZAB: commands, then exactly what comes of them.
//!
//! Like [`crate::sim::script`]: comments behind `#`, commands, a line `----`, and what they print, up to an empty line.
//! Zxids are written `epoch:counter`, histories as ranges such as `1:1-5,3:1-2`; link 9 is the way to the leader.
//!
//! | command | what it does |
//! |---|---|
//! | `leader log=H [recent=N] [changes]` | server 1 of 1, 2, 3 and observer 4 with history H leads, server 2 follows; prints nothing |
//! | `learner L server=N has=Z epoch=E [accepted=E] [observes]` | a learner comes on link L and says all that it says first |
//! | `comes L server=N accepted=E`, `agrees L has=Z epoch=E` | the same in two steps |
//! | `looked-up L exactly`, `after=Z`, `unusable` | what the log says |
//! | `ack L Z` | a learner acknowledges |
//! | `propose` | the next transaction |
//! | `reconfig voters=N,.. [observers=N,..]` | the next transaction changes the members |
//! | `follower log=H accepted=E current=E [changes]` | server 2 of the same ensemble, elected to follow server 1; prints nothing |
//! | `observer log=H accepted=E current=E changes` | server 4, which observes server 1; prints nothing |
//! | `led` | the others say that server 1 leads, and the way to it is there; prints nothing |
//! | `linked` | the way to the leader is there |
//! | `LEADERINFO Z`, `DIFF Z`, `TRUNC Z`, `SNAP Z`, `PROPOSAL Z`, `COMMIT Z`, `NEWLEADER Z`, `UPTODATE` | what the leader says |
//! | `NEWLEADER Z voters=.. as-of=Z` | the same with the newest members that the leader knows |
//! | `PROPOSAL Z voters=..`, `ACTIVATE Z leader=N`, `INFORMACTIVATE Z leader=N voters=..` | the same of a change of the members |
//! | `truncated Z` | the history was cut |
//! | `installed Z [pending=H] [leader=N]`, `broken-off` | it was replaced, and has more proposals behind that; or it was not |
//! | `durable` | everything written is on disk |
//! | `link-down L` | a connection is gone |

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use jute_codec::Zxid;
use jute_codec::quorum::{
    LeaderPacket, LearnerInfo, LearnerPacket, Notification, PeerState, packet::PROTOCOL_VERSION,
};
use zabd::replica::effect::WriteSeq;
use zabd::replica::ensemble::{Configs, Member, Members, ServerId};
use zabd::replica::zab::{
    Epochs, LinkId, LogPlace, Recovered, Zab, ZabEffect, ZabInput, ZabParams,
};

use super::entry::Entry;
use super::server::logged;
use crate::story::retell;

/// A script with what its commands print now, in the place of what it says that they print.
///
/// # Errors
/// When a command is none.
pub fn run_script(script: &str) -> anyhow::Result<String> {
    retell(script, &mut Story::default(), Story::command, |story| {
        &mut story.printed
    })
}

#[derive(Default)]
struct Story {
    zab: Option<Zab>,
    now_ms: i64,
    /// The newest write asked for.
    asked: WriteSeq,
    proposed: u64,
    changes: bool,
    /// What the server has logged.
    log: Vec<Entry>,
    own: Option<LinkId>,
    printed: String,
}

impl Story {
    fn command(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, rest) = words.split_first().context("an empty line")?;
        let options: BTreeMap<&str, &str> = rest
            .iter()
            .map(|word| word.split_once('=').unwrap_or((*word, "")))
            .collect();
        let option = |name: &str| options.get(name).copied().context(name.to_owned());
        let number = |name: &str| anyhow::Ok(option(name)?.parse::<i64>()?);
        match *command {
            "leader" => {
                self.changes = options.contains_key("changes");
                self.lead(option("log")?, option("recent").unwrap_or("500").parse()?)?;
            }
            "follower" | "observer" => {
                self.changes = options.contains_key("changes");
                let me = if *command == "follower" { 2 } else { 4 };
                self.learn(me, option("log")?, number("accepted")?, number("current")?)?;
            }
            "led" => self.led([PeerState::Leading, PeerState::Following]),
            "linked" => self.step(ZabInput::LinkUp { link: self.own() }),
            "learner" => {
                let epoch = number("epoch")?;
                let accepted = number("accepted").unwrap_or(epoch);
                let observes = options.contains_key("observes");
                self.learner(self.link(rest)?, number("server")?, accepted, observes);
                self.agrees(self.link(rest)?, option("has")?, epoch)?;
            }
            "comes" => {
                let link = self.link(rest)?;
                self.learner(link, number("server")?, number("accepted")?, false);
            }
            "agrees" => self.agrees(self.link(rest)?, option("has")?, number("epoch")?)?,
            "looked-up" => {
                let found = match rest.get(1) {
                    Some(&"exactly") => LogPlace::Exactly,
                    Some(&"unusable") => LogPlace::Unusable,
                    _ => LogPlace::After(zxid(option("after")?)?),
                };
                let link = self.link(rest)?;
                self.step(ZabInput::LookedUp { link, found });
            }
            "ack" => {
                let zxid = zxid(rest.get(1).context("a zxid")?)?;
                self.learner_says(self.link(rest)?, LearnerPacket::Ack { zxid });
            }
            "propose" => {
                self.proposed += 1;
                let number = self.proposed;
                self.propose(|zxid| Entry { zxid, number })?;
            }
            "reconfig" => {
                let (voters, observers) = (ids(&options, "voters")?, ids(&options, "observers")?);
                self.propose(|zxid| Entry::change(zxid, 0, voters, observers))?;
            }
            "truncated" => {
                let zxid = zxid(rest.first().context("a zxid")?)?;
                self.cut(zxid);
                self.step(ZabInput::Truncated { zxid });
            }
            "installed" => {
                let zxid = zxid(rest.first().context("a zxid")?)?;
                let pending = option("pending").map_or(Ok(Vec::new()), history)?;
                let pending = pending
                    .iter()
                    .map(|entry| (entry.zxid, Entry::bytes(entry.number)));
                self.cut(zxid);
                self.step(ZabInput::Installed {
                    zxid,
                    pending: pending.collect(),
                    successor: number("leader").ok().map(ServerId),
                });
            }
            "broken-off" => self.step(ZabInput::NotInstalled),
            "durable" => self.step(ZabInput::Durable(self.asked)),
            "link-down" => {
                let link = self.link(rest)?;
                self.step(ZabInput::LinkDown { link });
            }
            command => {
                let packet = LeaderSays {
                    zxid: rest.first().map_or(Ok(Zxid::ZERO), |word| zxid(word))?,
                    voters: ids(&options, "voters")?,
                    observers: ids(&options, "observers")?,
                    leader: number("leader").unwrap_or_default(),
                    as_of: options
                        .get("as-of")
                        .map_or(Ok(Zxid::ZERO), |word| zxid(word))?,
                }
                .packet(command)?;
                let link = self.own();
                self.step(ZabInput::FromLeader { link, packet });
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        me: i64,
        log: &[Entry],
        recent: usize,
        epochs: Epochs,
    ) -> anyhow::Result<Vec<ZabEffect>> {
        let members = ["participant", "participant", "participant", "observer"];
        let members = members.iter().zip(1..).map(|(role, id)| {
            anyhow::Ok((
                ServerId(id),
                Member::parse(&format!("s{id}:2888:3888:{role}"))?,
            ))
        });
        let members = Members::majority(0, members.collect::<anyhow::Result<_>>()?);
        let newest = &log[log.len().saturating_sub(recent)..];
        let recovered = Recovered {
            epochs,
            last: super::entry::last(log),
            recent: newest
                .iter()
                .map(|entry| (entry.zxid, Entry::bytes(entry.number)))
                .collect(),
            may_lack: false,
        };
        let mut params = ZabParams::new(ServerId(me));
        params.recent_max = recent;
        params.reconfig_enabled = self.changes;
        let mut effects = Vec::new();
        let configs = Configs::of(Arc::new(members));
        self.zab = Some(Zab::new(params, configs, recovered, 0, &mut effects));
        self.log = log.to_vec();
        Ok(effects)
    }

    /// Others vote for server 1 as well, and nobody for anybody else.
    fn elect(&mut self, from: &[(i64, PeerState)], zxid: Zxid, peer_epoch: i64) {
        for (from, state) in from {
            let notification = Notification {
                state: *state,
                leader: 1,
                zxid,
                election_epoch: 1,
                peer_epoch,
                version: 0,
                members: None,
                proposed: None,
            };
            let from = ServerId(*from);
            self.step(ZabInput::Notified { from, notification });
        }
        self.now_ms += 1000;
        self.step(ZabInput::Wakeup);
    }

    fn lead(&mut self, log: &str, recent: usize) -> anyhow::Result<()> {
        let log = history(log)?;
        let newest = super::entry::last(&log);
        let epoch = newest.epoch();
        let epochs = Epochs {
            accepted: epoch,
            current: epoch,
        };
        self.start(1, &log, recent, epochs)?;
        self.elect(&[(2, PeerState::Looking)], newest, epoch);
        let link = LinkId(2);
        self.learner(link, 2, epoch, false);
        self.step(ZabInput::Durable(self.asked));
        let current_epoch = i32::try_from(epoch)?;
        self.learner_says(
            link,
            LearnerPacket::AckEpoch {
                zxid: newest,
                current_epoch,
            },
        );
        self.step(ZabInput::Durable(self.asked));
        let zxid = Zxid((epoch + 1) << 32);
        self.learner_says(link, LearnerPacket::Ack { zxid });
        self.printed.clear();
        anyhow::ensure!(
            self.zab.as_ref().is_some_and(Zab::is_established),
            "it does not lead"
        );
        Ok(())
    }

    fn learn(&mut self, me: i64, log: &str, accepted: i64, current: i64) -> anyhow::Result<()> {
        let log = history(log)?;
        self.start(me, &log, 500, Epochs { accepted, current })?;
        self.led([PeerState::Looking; 2]);
        Ok(())
    }

    fn led(&mut self, [first, second]: [PeerState; 2]) {
        let accepted = self.zab.as_ref().map_or(0, |zab| zab.epochs().accepted);
        self.elect(&[(1, first), (3, second)], Zxid(i64::MAX), accepted);
        self.step(ZabInput::LinkUp { link: self.own() });
        self.printed.clear();
    }

    /// The newest connection that the server has asked for.
    fn own(&self) -> LinkId {
        self.own.unwrap_or(OWN)
    }

    fn link(&self, words: &[&str]) -> anyhow::Result<LinkId> {
        match *words.first().context("a link")? {
            "9" => Ok(self.own()),
            word => Ok(LinkId(word.parse()?)),
        }
    }

    /// History and log end with `zxid`, and the server is told what that says of the members.
    fn cut(&mut self, zxid: Zxid) {
        self.log.truncate(super::entry::through(&self.log, zxid));
        let mut effects = Vec::new();
        if let Some(zab) = &mut self.zab {
            logged(&self.log, |logged| zab.know_members(logged, &mut effects));
        }
        self.tell(effects);
    }

    fn learner(&mut self, link: LinkId, server: i64, accepted: i64, observes: bool) {
        self.step(ZabInput::LinkUp { link });
        let accepted_epoch = Zxid(accepted << 32);
        let info = Some(LearnerInfo {
            server,
            protocol_version: PROTOCOL_VERSION,
            config_version: 0,
        });
        let packet = if observes {
            LearnerPacket::ObserverInfo {
                accepted_epoch,
                info,
            }
        } else {
            LearnerPacket::FollowerInfo {
                accepted_epoch,
                info,
            }
        };
        self.learner_says(link, packet);
    }

    fn agrees(&mut self, link: LinkId, has: &str, epoch: i64) -> anyhow::Result<()> {
        let (zxid, current_epoch) = (zxid(has)?, i32::try_from(epoch)?);
        let packet = LearnerPacket::AckEpoch {
            zxid,
            current_epoch,
        };
        self.learner_says(link, packet);
        Ok(())
    }

    fn learner_says(&mut self, link: LinkId, packet: LearnerPacket) {
        self.step(ZabInput::FromLearner { link, packet });
    }

    fn propose(&mut self, what: impl FnOnce(Zxid) -> Entry) -> anyhow::Result<()> {
        let zab = self.zab.as_mut().context("no server")?;
        let Some(zxid) = zab.next_zxid() else {
            self.printed.push_str("proposes nothing\n");
            return Ok(());
        };
        let mut effects = Vec::new();
        zab.propose(zxid, what(zxid).txn(), &mut effects);
        self.tell(effects);
        Ok(())
    }

    fn step(&mut self, input: ZabInput) {
        let mut effects = Vec::new();
        if let Some(zab) = &mut self.zab {
            zab.step(self.now_ms, input, &mut effects);
        }
        self.tell(effects);
    }

    fn tell(&mut self, effects: Vec<ZabEffect>) {
        for effect in effects {
            if let ZabEffect::Append { write, .. } | ZabEffect::StoreEpochs { write, .. } = &effect
            {
                self.asked = *write;
            }
            match &effect {
                ZabEffect::Append { zxid, txn, .. } => self.log.push(Entry::read(*zxid, txn)),
                ZabEffect::Connect { link, .. } => self.own = Some(*link),
                _ => {}
            }
            if let Some(line) = describe(&effect) {
                self.printed.push_str(&line);
                self.printed.push('\n');
            }
        }
    }
}

/// From here on connections are numbered that a server makes.
const OWN: LinkId = LinkId(1 << 63);

/// Servers that an option names, a bit for each.
fn ids(options: &BTreeMap<&str, &str>, name: &str) -> anyhow::Result<u16> {
    let words = options.get(name).into_iter().flat_map(|ids| ids.split(','));
    words.map(|id| Ok(1 << id.parse::<u16>()?)).sum()
}

fn zxid(word: &str) -> anyhow::Result<Zxid> {
    let (epoch, counter) = word.split_once(':').context("a zxid is epoch:counter")?;
    Ok(Zxid(
        (epoch.parse::<i64>()? << 32) + counter.parse::<i64>()?,
    ))
}

fn history(word: &str) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for range in word.split(',') {
        let (from, to) = range.split_once('-').context("a range is epoch:from-to")?;
        let from = zxid(from)?;
        for counter in from.counter()..=to.parse()? {
            entries.push(Entry {
                zxid: Zxid((from.epoch() << 32) + counter),
                number: entries.len() as u64,
            });
        }
    }
    Ok(entries)
}

/// What a line says of a packet of the leader.
struct LeaderSays {
    zxid: Zxid,
    voters: u16,
    observers: u16,
    leader: i64,
    as_of: Zxid,
}

impl LeaderSays {
    fn packet(&self, command: &str) -> anyhow::Result<LeaderPacket> {
        let (zxid, leader) = (self.zxid, self.leader);
        let change = |zxid| Entry::change(zxid, 0, self.voters, self.observers);
        let txn = match self.voters {
            0 => Entry::bytes(0),
            _ => change(zxid).txn(),
        };
        let members = change(self.as_of).members();
        let members = members.filter(|_| self.voters != 0);
        Ok(match command {
            "LEADERINFO" => LeaderPacket::LeaderInfo {
                epoch: zxid,
                protocol_version: PROTOCOL_VERSION,
            },
            "DIFF" => LeaderPacket::Diff { zxid },
            "TRUNC" => LeaderPacket::Trunc { zxid },
            "SNAP" => LeaderPacket::Snap { zxid },
            "PROPOSAL" => LeaderPacket::Proposal { zxid, txn },
            "COMMIT" => LeaderPacket::Commit { zxid },
            "ACTIVATE" => LeaderPacket::CommitAndActivate { zxid, leader },
            "INFORMACTIVATE" => LeaderPacket::InformAndActivate { zxid, leader, txn },
            "NEWLEADER" => LeaderPacket::NewLeader {
                epoch: zxid,
                members: members.map(|members| members.text().as_bytes_shared().clone()),
            },
            "UPTODATE" => LeaderPacket::UpToDate,
            _ => bail!("not a command"),
        })
    }
}

fn at(zxid: Zxid) -> String {
    format!("{}:{}", zxid.epoch(), zxid.counter())
}

/// What a story says of an effect; of the election it says nothing.
fn describe(effect: &ZabEffect) -> Option<String> {
    Some(match effect {
        ZabEffect::Append { write, zxid, .. } => format!("write#{} append {}", write.0, at(*zxid)),
        ZabEffect::StoreEpochs { write, epochs } => format!(
            "write#{} epochs accepted={} current={}",
            write.0, epochs.accepted, epochs.current
        ),
        ZabEffect::Commit { zxid, .. } => format!("commit {}", at(*zxid)),
        ZabEffect::Replay { zxid, .. } => format!("replay {}", at(*zxid)),
        ZabEffect::Truncate { zxid } => format!("truncate {}", at(*zxid)),
        ZabEffect::Check => "check".to_owned(),
        ZabEffect::ReceiveSnapshot { zxid, .. } => format!("receive snapshot {}", at(*zxid)),
        ZabEffect::ToLearner { link, packet } => format!("link {}: {}", link.0, of_leader(packet)),
        ZabEffect::ToLeader { packet, .. } => format!("leader: {}", of_learner(packet)),
        ZabEffect::LookUp { link, zxid } => format!("link {}: look up {}", link.0, at(*zxid)),
        ZabEffect::SendLog {
            link,
            after,
            through,
        } => format!(
            "link {}: log after {} through {}",
            link.0,
            at(*after),
            at(*through)
        ),
        ZabEffect::SendSnapshot { link, through } => {
            format!("link {}: snapshot, log through {}", link.0, at(*through))
        }
        ZabEffect::CloseLink { link } if *link >= OWN => "close the way to the leader".to_owned(),
        ZabEffect::CloseLink { link } => format!("close link {}", link.0),
        ZabEffect::RoleChanged { role, why, .. } => format!("{role:?}: {why}"),
        ZabEffect::Established { epoch } => format!("serves in epoch {epoch}"),
        ZabEffect::Members { configs } => {
            let force = of_members(&configs.committed);
            if configs.is_changing() {
                format!(
                    "in force {force}, proposed {}",
                    of_members(&configs.proposed)
                )
            } else {
                format!("in force {force}")
            }
        }
        ZabEffect::Fatal { why } => format!("fatal: {why}"),
        _ => return None,
    })
}

/// Who votes, and the version.
fn of_members(members: &Members) -> String {
    let voters: Vec<String> = members.voters().map(|voter| voter.to_string()).collect();
    format!("{} as of {}", voters.join(","), at(Zxid(members.version())))
}

fn of_leader(packet: &LeaderPacket) -> String {
    match packet {
        LeaderPacket::LeaderInfo { epoch, .. } => format!("LEADERINFO {}", at(*epoch)),
        LeaderPacket::Diff { zxid } => format!("DIFF {}", at(*zxid)),
        LeaderPacket::Trunc { zxid } => format!("TRUNC {}", at(*zxid)),
        LeaderPacket::Proposal { zxid, .. } => format!("PROPOSAL {}", at(*zxid)),
        LeaderPacket::Commit { zxid } => format!("COMMIT {}", at(*zxid)),
        LeaderPacket::Inform { zxid, .. } => format!("INFORM {}", at(*zxid)),
        LeaderPacket::NewLeader { epoch, .. } => format!("NEWLEADER {}", at(*epoch)),
        LeaderPacket::CommitAndActivate { zxid, leader } => {
            format!("ACTIVATE {} leader={leader}", at(*zxid))
        }
        LeaderPacket::InformAndActivate { zxid, leader, .. } => {
            format!("INFORMACTIVATE {} leader={leader}", at(*zxid))
        }
        LeaderPacket::UpToDate => "UPTODATE".to_owned(),
        other => format!("{other:?}"),
    }
}

fn of_learner(packet: &LearnerPacket) -> String {
    match packet {
        LearnerPacket::AckEpoch {
            zxid,
            current_epoch,
        } => format!("ACKEPOCH {} current={current_epoch}", at(*zxid)),
        LearnerPacket::Ack { zxid } => format!("ACK {}", at(*zxid)),
        LearnerPacket::FollowerInfo { accepted_epoch, .. } => {
            format!("FOLLOWERINFO accepted={}", accepted_epoch.epoch())
        }
        other => format!("{other:?}"),
    }
}
