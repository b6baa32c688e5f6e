//! `AckMeansDurable` (I2): who acknowledges a proposal has it, and the leader's whole history before it, on disk, and
//! still has it after any crash; what a leader commits is on the disks of a quorum.

use std::collections::BTreeMap;

use jute_codec::quorum::LearnerPacket;
use zabd::replica::zab::Role;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen, Server, Written};
use crate::zab::entry::{Entry, through};

/// The promise's name.
pub const NAME: &str = "AckMeansDurable";

/// What each server has acknowledged, and was not told to forget.
#[derive(Debug, Default)]
pub struct AckMeansDurable {
    acked: BTreeMap<Server, Vec<Entry>>,
}

fn has(log: &[Entry], entry: Entry) -> bool {
    through(log, entry.zxid)
        .checked_sub(1)
        .is_some_and(|place| log[place] == entry)
}

/// Whether an entry is on enough disks, for those who vote by a history.
fn is_on_quorum(book: &Book, history: &[Entry], entry: Entry) -> bool {
    let on_disk = book
        .servers
        .iter()
        .filter(|(_, ghost)| has(&ghost.disk, entry));
    book.is_quorum(history, on_disk.map(|(server, _)| *server))
}

/// The same for who commits it: to change the members takes a quorum of the former ones, too.
pub(super) fn may_be_committed(book: &Book, applied: &[Entry], entry: Entry) -> bool {
    let place = through(applied, entry.zxid);
    let before = &applied[..place.saturating_sub(1)];
    is_on_quorum(book, &applied[..place], entry)
        && (entry.members().is_none() || is_on_quorum(book, before, entry))
}

impl Checker for AckMeansDurable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::ToLeader {
                link,
                packet: LearnerPacket::Ack { zxid },
            } if zxid.counter() != 0 => {
                let disk = &book.of(link.learner).disk;
                let disk = &disk[..through(disk, *zxid)];
                let Some(reign) = book.reigns.get(&zxid.epoch()) else {
                    return broken(NAME, format!("{zxid} acknowledged, and nobody leads"));
                };
                if !reign.through(*zxid).eq(disk)
                    || disk.last().is_none_or(|last| last.zxid != *zxid)
                {
                    return broken(
                        NAME,
                        format!(
                            "{} acknowledges {zxid} and has {:?} on disk",
                            link.learner,
                            disk.last()
                        ),
                    );
                }
                let acked = self.acked.entry(link.learner).or_default();
                acked.extend(disk.last());
            }
            Seen::OnDisk {
                server,
                written: Written::Cut(_) | Written::History(_),
            } => {
                let disk = &book.of(*server).disk;
                let acked = self.acked.entry(*server).or_default();
                let lost = acked.extract_if(.., |entry| !has(disk, *entry));
                for lost in lost {
                    // Its acknowledgement may count for nothing by now; what is delivered needs a quorum in any case.
                    let mut ghosts = book.servers.values();
                    let delivered = ghosts.find(|ghost| has(&ghost.delivered, lost));
                    if let Some(ghost) = delivered
                        && !is_on_quorum(
                            book,
                            &ghost.delivered[..through(&ghost.delivered, lost.zxid)],
                            lost,
                        )
                    {
                        return broken(
                            NAME,
                            format!(
                                "{server} throws away {lost:?}, and too few have it on disk now"
                            ),
                        );
                    }
                }
            }
            Seen::Recovered {
                server,
                history,
                lacks,
                ..
            } => {
                let acked = self.acked.entry(*server).or_default();
                // What it knows to be missing it does not count on.
                acked.retain(|entry| !lacks || has(history, *entry));
                if let Some(lost) = acked.iter().find(|entry| !has(history, **entry)) {
                    return broken(
                        NAME,
                        format!("{server} had acknowledged {lost:?}, and has lost it"),
                    );
                }
            }
            Seen::Applied {
                server,
                entry,
                committed: true,
            } if book.of(*server).role == Some(Role::Leading)
                && !may_be_committed(book, &book.of(*server).applied, *entry) =>
            {
                return broken(
                    NAME,
                    format!("{server} commits {entry:?}, which is not on the disks of a quorum"),
                );
            }
            _ => {}
        }
        Ok(())
    }
}
