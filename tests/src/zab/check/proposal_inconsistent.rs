//! `proposalInconsistent`: what a learner is told to keep is a part of its history and has in it what it has delivered;
//! what it is sent is what comes next.

use std::collections::BTreeMap;

use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Link, Seen};
use crate::zab::entry::{follows, last};

/// The promise's name.
pub const NAME: &str = "proposalInconsistent";

/// The newest transaction that each connection's learner has, or has on its way.
#[derive(Debug, Default)]
pub struct ProposalInconsistent {
    newest: BTreeMap<Link, Zxid>,
}

impl Checker for ProposalInconsistent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let Seen::AtLearner { link, packet } = seen else {
            return Ok(());
        };
        match packet {
            LeaderPacket::Diff { .. } => {
                self.newest.insert(*link, book.last_logged(link.learner));
            }
            LeaderPacket::Snap { zxid } => {
                self.newest.insert(*link, *zxid);
            }
            LeaderPacket::Trunc { zxid } => {
                let learner = book.of(link.learner);
                let kept = learner.log.iter().any(|entry| entry.zxid == *zxid);
                if !kept && *zxid != Zxid::ZERO {
                    return broken(
                        NAME,
                        format!("{zxid} is not in the log of {}", link.learner),
                    );
                }
                if last(&learner.delivered) > *zxid {
                    return broken(
                        NAME,
                        format!(
                            "{} has delivered {}, and is told to keep {zxid}",
                            link.learner,
                            last(&learner.delivered)
                        ),
                    );
                }
                self.newest.insert(*link, *zxid);
            }
            LeaderPacket::Proposal { zxid, .. }
            | LeaderPacket::Inform { zxid, .. }
            | LeaderPacket::InformAndActivate { zxid, .. } => {
                let newest = self.newest.entry(*link).or_default();
                if !follows(*newest, *zxid) {
                    return broken(NAME, format!("{zxid} arrives behind {newest} on {link:?}"));
                }
                *newest = *zxid;
            }
            _ => {}
        }
        Ok(())
    }
}
