//! `LeaderStream`: what a leader sends never breaks a Java learner.
//!
//! | | rule |
//! |---|---|
//! | G1 | no COMMIT while nothing is proposed and not committed |
//! | G2 | COMMITs in the order of PROPOSALs, each once |
//! | G3 | zxids without gaps within an epoch, and from 1 in a new one |
//! | G4 | transactions are what was proposed, byte by byte |
//! | G5 | TRUNC only to what the learner has, and within the epoch of what it loses |

use std::collections::{BTreeMap, VecDeque};

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Link, Seen};
use crate::zab::entry::{Entry, follows, last};

/// The promise's name.
pub const NAME: &str = "LeaderStream";

#[derive(Debug, Default)]
struct Stream {
    /// What the learner had when it said what it had; it may be elsewhere by the time of an answer.
    log: Vec<Entry>,
    newest: Zxid,
    proposed: VecDeque<Zxid>,
}

/// All streams, and all that was ever proposed.
#[derive(Debug, Default)]
pub struct LeaderStream {
    streams: BTreeMap<Link, Stream>,
    proposed: BTreeMap<Zxid, u64>,
}

impl LeaderStream {
    fn on_transaction(&mut self, link: Link, zxid: Zxid, txn: &[u8]) -> Check {
        let stream = self.streams.entry(link).or_default();
        if !follows(stream.newest, zxid) {
            return broken(
                NAME,
                format!("G3: {zxid} behind {} on {link:?}", stream.newest),
            );
        }
        stream.newest = zxid;
        let proposed = self.proposed.get(&zxid).copied();
        if proposed != Some(Entry::read(zxid, txn).number) {
            return broken(
                NAME,
                format!("G4: {zxid} is not what was proposed, on {link:?}"),
            );
        }
        Ok(())
    }
}

impl Checker for LeaderStream {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let (link, packet) = match seen {
            Seen::Proposed { entry, .. } => {
                self.proposed.insert(entry.zxid, entry.number);
                return Ok(());
            }
            Seen::ToLeader {
                link,
                packet: LearnerPacket::AckEpoch { .. },
            } => {
                let stream = self.streams.entry(*link).or_default();
                stream.log.clone_from(&book.of(link.learner).log);
                return Ok(());
            }
            Seen::ToLearner { link, packet } => (*link, packet),
            _ => return Ok(()),
        };
        let stream = self.streams.entry(link).or_default();
        match packet {
            LeaderPacket::Diff { .. } => stream.newest = last(&stream.log),
            LeaderPacket::Snap { zxid } => stream.newest = *zxid,
            LeaderPacket::Trunc { zxid } => {
                let log = &stream.log;
                let kept = log.iter().position(|entry| entry.zxid == *zxid);
                let lost = kept.and_then(|kept| log.get(kept + 1));
                if kept.is_none() || lost.is_some_and(|lost| lost.zxid.epoch() != zxid.epoch()) {
                    return broken(NAME, format!("G5: TRUNC {zxid} of {log:?}, on {link:?}"));
                }
                stream.newest = *zxid;
            }
            LeaderPacket::Proposal { zxid, txn } => {
                stream.proposed.push_back(*zxid);
                return self.on_transaction(link, *zxid, txn);
            }
            LeaderPacket::Inform { zxid, txn }
            | LeaderPacket::InformAndActivate { zxid, txn, .. } => {
                return self.on_transaction(link, *zxid, txn);
            }
            LeaderPacket::Commit { zxid } | LeaderPacket::CommitAndActivate { zxid, .. } => {
                match stream.proposed.pop_front() {
                    None => {
                        return broken(NAME, format!("G1: COMMIT {zxid} of nothing, on {link:?}"));
                    }
                    Some(oldest) if oldest != *zxid => {
                        return broken(
                            NAME,
                            format!("G2: COMMIT {zxid} before {oldest}, on {link:?}"),
                        );
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}
