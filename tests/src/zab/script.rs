//! Stories in text about one server's share in ZAB: commands, then exactly what comes of them.
//!
//! Like [`crate::sim::script`]: comments behind `#`, commands, a line `----`, and what they print, up to an empty line.
//! Zxids are written `epoch:counter`, histories as ranges such as `1:1-5,3:1-2`; link 9 is the way to the leader.
//!
//! | command | what it does |
//! |---|---|
//! | `leader log=H [recent=N]` | server 1 of 1, 2, 3 and observer 4 with history H leads, server 2 follows; prints nothing |
//! | `learner L server=N has=Z epoch=E [accepted=E] [observes]` | a learner comes on link L and says all that it says first |
//! | `looked-up L exactly`, `after=Z`, `unusable` | what the log says |
//! | `ack L Z` | a learner acknowledges |
//! | `propose` | the next transaction |
//! | `follower log=H accepted=E current=E` | server 2 of the same ensemble, elected to follow server 1; prints nothing |
//! | `LEADERINFO Z`, `DIFF Z`, `TRUNC Z`, `SNAP Z`, `PROPOSAL Z`, `COMMIT Z`, `NEWLEADER Z`, `UPTODATE` | what the leader says |
//! | `installed Z`, `broken-off` | a history was replaced, or was not |
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
            "leader" => self.lead(option("log")?, option("recent").unwrap_or("500").parse()?)?,
            "follower" => self.follow(option("log")?, number("accepted")?, number("current")?)?,
            "learner" => {
                let epoch = number("epoch")?;
                let accepted = number("accepted").unwrap_or(epoch);
                let observes = options.contains_key("observes");
                self.learner(link(rest)?, number("server")?, accepted, observes);
                let zxid = zxid(option("has")?)?;
                let current_epoch = i32::try_from(epoch)?;
                self.learner_says(
                    link(rest)?,
                    LearnerPacket::AckEpoch {
                        zxid,
                        current_epoch,
                    },
                );
            }
            "looked-up" => {
                let found = match rest.get(1) {
                    Some(&"exactly") => LogPlace::Exactly,
                    Some(&"unusable") => LogPlace::Unusable,
                    _ => LogPlace::After(zxid(option("after")?)?),
                };
                let link = link(rest)?;
                self.step(ZabInput::LookedUp { link, found });
            }
            "ack" => {
                let zxid = zxid(rest.get(1).context("a zxid")?)?;
                self.learner_says(link(rest)?, LearnerPacket::Ack { zxid });
            }
            "propose" => self.propose()?,
            "installed" => {
                let zxid = zxid(rest.first().context("a zxid")?)?;
                self.step(ZabInput::Installed { zxid });
            }
            "broken-off" => self.step(ZabInput::NotInstalled),
            "durable" => self.step(ZabInput::Durable(self.asked)),
            "link-down" => {
                let link = link(rest)?;
                self.step(ZabInput::LinkDown { link });
            }
            command => {
                let zxid = rest.first().map_or(Ok(Zxid::ZERO), |word| zxid(word))?;
                let packet = leader_packet(command, zxid)?;
                self.step(ZabInput::FromLeader { link: OWN, packet });
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
        let mut effects = Vec::new();
        let configs = Configs::of(Arc::new(members));
        self.zab = Some(Zab::new(params, configs, recovered, 0, &mut effects));
        Ok(effects)
    }

    /// Others vote for server 1 as well, and nobody for anybody else.
    fn elect(&mut self, from: i64, zxid: Zxid, peer_epoch: i64) {
        let notification = Notification {
            state: PeerState::Looking,
            leader: 1,
            zxid,
            election_epoch: 1,
            peer_epoch,
            version: 0,
            members: None,
        };
        let from = ServerId(from);
        self.step(ZabInput::Notified { from, notification });
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
        self.elect(2, newest, epoch);
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

    fn follow(&mut self, log: &str, accepted: i64, current: i64) -> anyhow::Result<()> {
        let log = history(log)?;
        self.start(2, &log, 500, Epochs { accepted, current })?;
        self.elect(1, Zxid(i64::MAX), current.max(accepted));
        self.step(ZabInput::LinkUp { link: OWN });
        self.printed.clear();
        Ok(())
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

    fn learner_says(&mut self, link: LinkId, packet: LearnerPacket) {
        self.step(ZabInput::FromLearner { link, packet });
    }

    fn propose(&mut self) -> anyhow::Result<()> {
        let zab = self.zab.as_mut().context("no server")?;
        let zxid = zab.next_zxid().context("it does not lead")?;
        self.proposed += 1;
        let mut effects = Vec::new();
        zab.propose(zxid, Entry::bytes(self.proposed), &mut effects);
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
            if let Some(line) = describe(&effect) {
                self.printed.push_str(&line);
                self.printed.push('\n');
            }
        }
    }
}

/// The first connection that a server makes.
const OWN: LinkId = LinkId((1 << 63) | 1);

fn link(words: &[&str]) -> anyhow::Result<LinkId> {
    match *words.first().context("a link")? {
        "9" => Ok(OWN),
        word => Ok(LinkId(word.parse()?)),
    }
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

fn leader_packet(command: &str, zxid: Zxid) -> anyhow::Result<LeaderPacket> {
    Ok(match command {
        "LEADERINFO" => LeaderPacket::LeaderInfo {
            epoch: zxid,
            protocol_version: PROTOCOL_VERSION,
        },
        "DIFF" => LeaderPacket::Diff { zxid },
        "TRUNC" => LeaderPacket::Trunc { zxid },
        "SNAP" => LeaderPacket::Snap { zxid },
        "PROPOSAL" => LeaderPacket::Proposal {
            zxid,
            txn: Entry::bytes(0),
        },
        "COMMIT" => LeaderPacket::Commit { zxid },
        "NEWLEADER" => LeaderPacket::NewLeader {
            epoch: zxid,
            members: None,
        },
        "UPTODATE" => LeaderPacket::UpToDate,
        _ => bail!("not a command"),
    })
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
        ZabEffect::CloseLink { link } if *link == OWN => "close the way to the leader".to_owned(),
        ZabEffect::CloseLink { link } => format!("close link {}", link.0),
        ZabEffect::RoleChanged { role, why, .. } => format!("{role:?}: {why}"),
        ZabEffect::Established { epoch } => format!("serves in epoch {epoch}"),
        ZabEffect::Fatal { why } => format!("fatal: {why}"),
        _ => return None,
    })
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
        other => format!("{other:?}"),
    }
}
