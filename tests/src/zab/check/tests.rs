//! Checkers on traces made by hand: what must pass, and the one step that must not.

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};
use zabd::replica::zab::{Epochs, Role};

use super::*;
use crate::zab::book::{Book, Link, Server, Written};
use crate::zab::entry::Entry;

const LINK: Link = Link {
    number: 1,
    learner: 2,
    leader: 1,
};

const fn zxid(epoch: i64, counter: i64) -> Zxid {
    Zxid((epoch << 32) + counter)
}

/// Transaction `counter` of the epoch; its number says both.
const fn entry(epoch: i64, counter: i64) -> Entry {
    Entry {
        zxid: zxid(epoch, counter),
        number: (epoch * 100 + counter).unsigned_abs(),
    }
}

/// Three voters watched by one checker.
struct Watch(Checkers);

impl Watch {
    fn new(name: &str) -> Self {
        let mut checkers = Checkers::new(Book::new(1..=3), Some(name));
        for server in 1..=3 {
            let seen = Seen::Recovered {
                server,
                epochs: Epochs::default(),
                history: &[],
                lacks: false,
            };
            checkers.see(&seen).unwrap();
            let written = &Written::Epochs(Epochs {
                accepted: 1,
                current: 1,
            });
            checkers.see(&Seen::OnDisk { server, written }).unwrap();
        }
        Self(checkers)
    }

    fn ok(&mut self, seen: &Seen<'_>) {
        self.0.see(seen).unwrap();
    }

    fn broken(&mut self, seen: &Seen<'_>) {
        let violation = self.0.see(seen).unwrap_err();
        let checkers = &self.0.checkers;
        assert_eq!(violation.invariant, checkers[0].name(), "{violation}");
    }

    fn on_disk(&mut self, server: Server, written: &Written) {
        self.ok(&Seen::OnDisk { server, written });
    }

    /// A leader of the epoch, with what it has.
    fn lead(&mut self, server: Server, epoch: i64) {
        let role = Role::Leading;
        self.ok(&Seen::Role { server, role });
        self.ok(&Seen::Established { server, epoch });
    }

    fn follow(&mut self, server: Server, epoch: i64) {
        let role = Role::Following;
        self.ok(&Seen::Role { server, role });
        self.ok(&Seen::Established { server, epoch });
    }

    fn log(&mut self, server: Server, entry: Entry) {
        self.ok(&Seen::Appended { server, entry });
    }
}

const fn commit(server: Server, entry: Entry) -> Seen<'static> {
    Seen::Applied {
        server,
        entry,
        committed: true,
    }
}

const fn propose(server: Server, entry: Entry) -> Seen<'static> {
    Seen::Proposed { server, entry }
}

/// Server 1 leads in epoch 1 and has delivered two of three proposals, which servers 1 and 3 have on disk; server 2 has
/// delivered one.
fn reign(name: &str) -> Watch {
    let mut watch = Watch::new(name);
    watch.lead(1, 1);
    watch.follow(2, 1);
    for counter in 1..=3 {
        watch.ok(&propose(1, entry(1, counter)));
        for server in [1, 2] {
            watch.log(server, entry(1, counter));
        }
    }
    for server in [1, 3] {
        for counter in 1..=2 {
            watch.on_disk(server, &Written::Entry(entry(1, counter)));
        }
    }
    watch.ok(&commit(1, entry(1, 1)));
    watch.ok(&commit(1, entry(1, 2)));
    watch.ok(&commit(2, entry(1, 1)));
    watch
}

#[test]
fn what_is_delivered_is_what_others_deliver() {
    for name in [
        prefix_consistency::NAME,
        agreement::NAME,
        local_primary_order::NAME,
        commit_in_order::NAME,
    ] {
        reign(name).ok(&commit(2, entry(1, 2)));
        reign(name).broken(&commit(2, entry(1, 3)));
    }
    let mut watch = reign(total_order::NAME);
    watch.ok(&commit(2, entry(1, 3)));
    watch.broken(&commit(1, entry(1, 3)));
    reign(integrity::NAME).broken(&commit(2, entry(1, 9)));
}

#[test]
fn what_was_delivered_is_not_taken_back() {
    let mut watch = reign(prefix_consistency::NAME);
    let server = 1;
    watch.ok(&Seen::Recovered {
        server,
        epochs: Epochs::default(),
        history: &[entry(1, 1)],
        lacks: false,
    });
    watch.broken(&Seen::Established { server, epoch: 2 });
}

#[test]
fn a_leader_has_what_was_delivered_before_it() {
    for name in [primary_integrity::NAME, acknowledged_stays::NAME] {
        let mut watch = reign(name);
        let answered = entry(1, 2);
        watch.ok(&Seen::Answered {
            server: 1,
            entry: answered,
        });
        let role = Role::Leading;
        watch.ok(&Seen::Role { server: 2, role });
        let established = Seen::Established {
            server: 2,
            epoch: 2,
        };
        if name == acknowledged_stays::NAME {
            watch.broken(&established);
        } else {
            watch.ok(&established);
            watch.broken(&propose(2, entry(2, 1)));
        }
    }
}

#[test]
fn epochs_have_one_leader_and_follow_each_other() {
    let mut watch = reign(leadership::NAME);
    let role = Role::Leading;
    watch.ok(&Seen::Role { server: 3, role });
    watch.broken(&Seen::Established {
        server: 3,
        epoch: 1,
    });

    let mut watch = reign(global_primary_order::NAME);
    watch.ok(&commit(2, entry(2, 1)));
    watch.broken(&commit(2, entry(1, 2)));
}

#[test]
fn acknowledgements_stand_on_disks() {
    let ack = |zxid| LearnerPacket::Ack { zxid };
    let mut watch = reign(ack_means_durable::NAME);
    let first = Written::Entry(entry(1, 1));
    watch.on_disk(2, &first);
    let link = LINK;
    let packet = &ack(zxid(1, 1));
    watch.ok(&Seen::ToLeader { link, packet });
    let packet = &ack(zxid(1, 2));
    watch.broken(&Seen::ToLeader { link, packet });

    // No quorum has it.
    let mut watch = reign(ack_means_durable::NAME);
    watch.broken(&commit(1, entry(1, 3)));
}

#[test]
fn an_epoch_stands_on_its_history() {
    let mut watch = reign(history_before_epoch_before_ack::NAME);
    let role = Role::Leading;
    watch.ok(&Seen::Role { server: 1, role });
    let link = LINK;
    let packet = &LeaderPacket::NewLeader {
        epoch: zxid(2, 0),
        members: None,
    };
    watch.ok(&Seen::ToLearner { link, packet });
    // One is missing.
    for counter in 1..=2 {
        watch.on_disk(2, &Written::Entry(entry(1, counter)));
    }
    let epochs = Epochs {
        accepted: 2,
        current: 2,
    };
    let written = &Written::Epochs(epochs);
    watch.broken(&Seen::OnDisk { server: 2, written });
}

#[test]
fn a_learner_keeps_what_it_has_delivered() {
    let link = LINK;
    let mut watch = reign(proposal_inconsistent::NAME);
    let packet = &LeaderPacket::Trunc { zxid: zxid(1, 1) };
    watch.ok(&Seen::AtLearner { link, packet });
    let packet = &LeaderPacket::Trunc { zxid: Zxid::ZERO };
    watch.broken(&Seen::AtLearner { link, packet });
}

#[test]
fn who_has_led_may_name_the_beginning_of_its_epoch() {
    let mut watch = Watch::new(sync_starts_clean::NAME);
    watch.lead(1, 1);
    watch.follow(2, 1);
    let zxid = zxid(1, 0);
    watch.ok(&Seen::Stood { server: 1, zxid });
    watch.broken(&Seen::Stood { server: 2, zxid });
}

#[test]
fn votes_name_the_end_of_the_log() {
    let mut watch = Watch::new(sync_starts_clean::NAME);
    let server = 1;
    watch.ok(&Seen::Stood {
        server,
        zxid: Zxid::ZERO,
    });
    watch.log(server, entry(1, 1));
    watch.broken(&Seen::Stood {
        server,
        zxid: zxid(1, 1),
    });
}
