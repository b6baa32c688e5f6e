//! Bugs that Apache ZooKeeper had, made on purpose: what went wrong there is planted in the simulator of ensembles, and
//! the checkers named here notice it. A story in `tests/zab_scripts` shows the order that zabd keeps instead.

use std::path::Path;

use zabd_tests::seeds::run_all;
use zabd_tests::zab::check::{
    ack_means_durable, acknowledged_stays, heals_and_serves, history_before_epoch_before_ack,
    leader_stream, no_ack_overtakes, no_gaps, proposal_inconsistent, sync_starts_clean,
};
use zabd_tests::zab::{Plan, Planted, run_caught};

/// A promise of the simulated servers themselves.
const SNAPSHOT_HAS_COMMITTED_ONLY: &str = "SnapshotHasCommittedOnly";

/// A bug, known by the number of its issue there.
struct Bug {
    issue: &'static str,
    /// What is planted, and which promise is then found broken.
    planted: &'static [(Planted, &'static str)],
    /// The story of how it goes in zabd.
    story: Option<&'static str>,
}

const BUGS: &[Bug] = &[
    // A snapshot had a transaction that was never committed; cutting the log later did not take it out.
    Bug {
        issue: "ZOOKEEPER-1549",
        planted: &[(Planted::SnapshotUncommitted, SNAPSHOT_HAS_COMMITTED_ONLY)],
        story: None,
    },
    // A server that looked for a leader anew voted with what it had applied, and had more in its log.
    Bug {
        issue: "ZOOKEEPER-2845",
        planted: &[(Planted::VoteTooOld, sync_starts_clean::NAME)],
        story: Some("vote_with_the_whole_log.txt"),
    },
    // The snapshot before the word to NEWLEADER was left out, and with it the sync of what a DIFF had brought.
    Bug {
        issue: "ZOOKEEPER-2678",
        planted: &[
            (Planted::SyncUnlogged, ack_means_durable::NAME),
            (Planted::SyncUnlogged, history_before_epoch_before_ack::NAME),
        ],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // The epoch was stored, and NEWLEADER acknowledged, while transactions of the DIFF were in memory.
    Bug {
        issue: "ZOOKEEPER-3023",
        planted: &[
            (
                Planted::NewLeaderAckAtOnce,
                history_before_epoch_before_ack::NAME,
            ),
            (
                Planted::EpochBeforeHistory,
                history_before_epoch_before_ack::NAME,
            ),
        ],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // A leader died when its SNAP was sent; the learner went on in the next epoch from memory, its disk did not.
    Bug {
        issue: "ZOOKEEPER-3642",
        planted: &[
            (Planted::SnapshotNotSaved, ack_means_durable::NAME),
            (
                Planted::SnapshotNotSaved,
                history_before_epoch_before_ack::NAME,
            ),
        ],
        story: Some("snapshot_broken_off.txt"),
    },
    // Uncommitted transactions of a DIFF were acknowledged by way of NEWLEADER, and lost with the power.
    Bug {
        issue: "ZOOKEEPER-3911",
        planted: &[
            (Planted::SyncUnlogged, ack_means_durable::NAME),
            (
                Planted::DurableBeforeSync,
                history_before_epoch_before_ack::NAME,
            ),
        ],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // A COMMIT between NEWLEADER and UPTODATE found its proposal gone.
    Bug {
        issue: "ZOOKEEPER-4394",
        planted: &[(Planted::CommitLostInSync, heals_and_serves::NAME)],
        story: Some("commit_before_up_to_date.txt"),
    },
    // The epoch was on disk before the transactions that it begins with; a crash between the two had them cut off.
    Bug {
        issue: "ZOOKEEPER-4643",
        planted: &[(
            Planted::EpochBeforeHistory,
            history_before_epoch_before_ack::NAME,
        )],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // NEWLEADER was acknowledged before the transactions were on disk.
    Bug {
        issue: "ZOOKEEPER-4646",
        planted: &[
            (
                Planted::NewLeaderAckAtOnce,
                history_before_epoch_before_ack::NAME,
            ),
            (Planted::LogTailLost, acknowledged_stays::NAME),
        ],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // A proposal was acknowledged before NEWLEADER was, and the leader gave up because of it.
    Bug {
        issue: "ZOOKEEPER-4685",
        planted: &[(Planted::AckBeforeLog, no_ack_overtakes::NAME)],
        story: Some("ack_before_new_leader.txt"),
    },
    // The log's writer of a role that had ended went on, and wrote behind what the next role had made of the log.
    Bug {
        issue: "ZOOKEEPER-4712",
        planted: &[(Planted::LateWriter, no_gaps::NAME)],
        story: None,
    },
    // A thread of its own wrote the log while the word to NEWLEADER was on its way.
    Bug {
        issue: "ZOOKEEPER-4785",
        planted: &[(Planted::DurableBeforeSync, ack_means_durable::NAME)],
        story: Some("new_leader_waits_for_the_disk.txt"),
    },
    // What a learner took over did not all get into its memory of recent transactions; as a leader it handed on the gap.
    Bug {
        issue: "ZOOKEEPER-4925",
        planted: &[
            (Planted::ProposalLeftOut, leader_stream::NAME),
            (Planted::ProposalLeftOut, proposal_inconsistent::NAME),
        ],
        story: Some("gap_in_a_diff.txt"),
    },
];

#[test]
fn every_bug_is_noticed_when_it_is_made_again() {
    let mut unnoticed = Vec::new();
    for bug in BUGS {
        for (planted, promise) in bug.planted {
            let plan_of = |seed| Plan::random(seed).with_planted(*planted, Some(*promise));
            // What else goes wrong because of it does not count.
            let (_, noticed) = run_all(0..2000, 1, |seed| match run_caught(&plan_of(seed)) {
                Err(found) if found.invariant == *promise => Err(found),
                _ => Ok(()),
            });
            match noticed.first() {
                Some((seed, found)) => eprintln!("{}: seed {seed}: {found}", bug.issue),
                None => unnoticed.push((bug.issue, planted, promise)),
            }
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

#[test]
fn stories_name_the_bugs_that_they_are_about() {
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("zab_scripts");
    for bug in BUGS {
        let Some(story) = bug.story else { continue };
        let text = std::fs::read_to_string(stories.join(story)).unwrap();
        assert!(
            text.contains(bug.issue),
            "{story} does not name {}",
            bug.issue
        );
    }
}
