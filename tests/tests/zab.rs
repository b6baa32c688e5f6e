//! Tests with the simulator of ensembles. One seed, one history: a failure prints the command that repeats it.
//!
//! | variable | meaning |
//! |---|---|
//! | `ZABD_ZAB_SEED` | run this seed alone, and print every step |
//! | `ZABD_ZAB_SEEDS` | run so many seeds, or a range such as `5000..6000` |

use zabd_tests::seeds::{kept, run_all, seeds, variable, words};
use zabd_tests::zab::check::{self, Checkers};
use zabd_tests::zab::{Plan, Planted, Report, run_caught};

/// How many random histories are run unless the environment says otherwise.
const SEEDS: u64 = 2000;

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("zab_regression_seeds.txt");

fn repeat(seed: u64) -> String {
    format!(
        "ZABD_ZAB_SEED={seed} cargo test -p zabd-tests --test zab -- random_histories --nocapture"
    )
}

/// Everything at once, drawn from the seed.
#[test]
fn random_histories() {
    if let Some(seed) = variable("ZABD_ZAB_SEED") {
        let plan = Plan {
            prints: true,
            ..Plan::random(seed.parse().unwrap())
        };
        eprintln!("{plan:#?}");
        let report = run_caught(&plan).unwrap_or_else(|violation| panic!("{violation}"));
        eprintln!("{report:?}");
        return;
    }
    let (reports, failures) = run_all(seeds("ZABD_ZAB_SEEDS", SEEDS), 5, |seed| {
        run_caught(&Plan::random(seed))
    });
    // A simulator in which nothing happens finds nothing.
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let synced =
        [0, 1, 2, 3].map(|way| reports.iter().map(|report| report.synced[way]).sum::<u64>());
    let healed_ms = reports.iter().map(|report| report.healed_ms).max();
    eprintln!(
        "{} histories: {} events, {} answers, {} reigns, {} crashes, {} changes of the members; DIFF, TRUNC, SNAP, log: {synced:?}; \
         healed after {healed_ms:?} ms at the most",
        reports.len(),
        sum(|report| report.events),
        sum(|report| report.answered),
        sum(|report| report.reigns),
        sum(|report| report.crashes),
        sum(|report| report.changes),
    );
    let ruined = [0, 1].map(|kind| {
        reports
            .iter()
            .map(|report| report.ruined[kind])
            .sum::<u64>()
    });
    eprintln!(
        "{} copies ruined, {} of them put back",
        ruined[0], ruined[1]
    );
    assert!(failures.is_empty(), "{}", words(&failures, repeat));
    if reports.len() > 100 {
        let histories = reports.len() as u64;
        assert!(sum(|report| report.answered) > 20 * histories);
        assert!(sum(|report| report.reigns) > 2 * histories);
        assert!(sum(|report| report.crashes) > histories);
        assert!(ruined[0] > ruined[1] && ruined[1] > 0, "{ruined:?}");
        assert!(sum(|report| report.changes) > histories);
        assert!(synced.iter().all(|times| *times > 0), "{synced:?}");
    }
}

/// Seeds that found something once must never again.
#[test]
fn regression_seeds() {
    for seed in kept(REGRESSIONS) {
        if let Err(violation) = run_caught(&Plan::random(seed)) {
            panic!("{violation}\n  to repeat: {}", repeat(seed));
        }
    }
}

/// Same seed, same trace.
#[test]
fn a_seed_gives_the_same_trace_twice() {
    let mut traces = Vec::new();
    for seed in 0..40 {
        let (first, second) = (
            run_caught(&Plan::random(seed)),
            run_caught(&Plan::random(seed)),
        );
        assert_eq!(first, second, "{}", repeat(seed));
        traces.push(first.map(|report| report.trace));
    }
    traces.dedup();
    assert_eq!(traces.len(), 40, "every seed has a trace of its own");
}

/// Each promise, and faults that break it: watched alone, its checker notices each of them.
const BROKEN_BY: &[(&str, &[Planted])] = &[
    (check::ack_inconsistent::NAME, &[Planted::AcksSwapped]),
    (
        check::ack_means_durable::NAME,
        &[
            Planted::DurableBeforeSync,
            Planted::AckBeforeLog,
            Planted::LogTailLost,
            Planted::LogGap,
            Planted::SnapshotAlone,
            Planted::SnapshotNotSaved,
            Planted::SyncUnlogged,
            Planted::OldQuorumAlone,
        ],
    ),
    (
        check::acknowledged_stays::NAME,
        &[
            Planted::RepairedVotes,
            Planted::LogTailLost,
            Planted::CommitLost,
            Planted::ChangesForgotten,
        ],
    ),
    (
        check::activated_when_committed::NAME,
        &[Planted::ActivatedAtOnce],
    ),
    (
        check::agreement::NAME,
        &[Planted::CommitLost, Planted::AppliedGarbled],
    ),
    (
        check::commit_in_order::NAME,
        &[
            Planted::AppliedSwapped,
            Planted::AppliedLate,
            Planted::CommitLost,
            Planted::AppliedGarbled,
        ],
    ),
    (
        check::commit_inconsistent::NAME,
        &[Planted::WireSwaps, Planted::SnapshotAhead],
    ),
    (check::epochs_on_disk::NAME, &[Planted::EpochsLost]),
    (check::global_primary_order::NAME, &[Planted::AppliedLate]),
    (
        check::heals_and_serves::NAME,
        &[Planted::ElectionDeaf, Planted::CommitLostInSync],
    ),
    (
        check::history_before_epoch_before_ack::NAME,
        &[
            Planted::EpochBeforeHistory,
            Planted::NewLeaderAckAtOnce,
            Planted::DurableBeforeSync,
        ],
    ),
    (
        check::integrity::NAME,
        &[Planted::AppliedGarbled, Planted::ProposalGarbled],
    ),
    (
        check::leader_stream::NAME,
        &[
            Planted::CommitsSwapped,
            Planted::ProposalLeftOut,
            Planted::ProposalGarbled,
            Planted::TruncTooFar,
        ],
    ),
    (check::leadership::NAME, &[Planted::EveryoneAQuorum]),
    (
        check::local_primary_order::NAME,
        &[Planted::AppliedSwapped, Planted::CommitLost],
    ),
    (check::message_illegal::NAME, &[Planted::InformForAll]),
    (check::no_ack_overtakes::NAME, &[Planted::AckBeforeLog]),
    (
        check::no_gaps::NAME,
        &[Planted::LogGap, Planted::LateWriter],
    ),
    (
        check::one_promise_an_epoch::NAME,
        &[Planted::DoubleVote, Planted::EpochsLost],
    ),
    (
        check::prefix_consistency::NAME,
        &[
            Planted::AppliedSwapped,
            Planted::CommitLost,
            Planted::AppliedGarbled,
        ],
    ),
    (
        check::primary_integrity::NAME,
        &[Planted::LogTailLost, Planted::CommitLost],
    ),
    (
        check::proposal_inconsistent::NAME,
        &[
            Planted::ProposalLeftOut,
            Planted::TruncTooFar,
            Planted::WireSwaps,
        ],
    ),
    ("SnapshotHasCommittedOnly", &[Planted::SnapshotUncommitted]),
    (
        check::state_inconsistent::NAME,
        &[Planted::StagesSwapped, Planted::WireSwaps],
    ),
    (
        check::sync_starts_clean::NAME,
        &[Planted::VoteTooOld, Planted::TruncIgnored],
    ),
    (
        check::total_order::NAME,
        &[Planted::AppliedSwapped, Planted::CommitLost],
    ),
];

/// To trust a checker, break something and see it fire.
#[test]
fn every_checker_fires_when_something_is_broken() {
    let mut unnoticed = Vec::new();
    for (name, faults) in BROKEN_BY {
        for planted in *faults {
            let plan_of = |seed| Plan::random(seed).with_planted(*planted, Some(*name));
            // What else goes wrong because of it does not count.
            let (_, noticed) = run_all(0..2000, 3, |seed| match run_caught(&plan_of(seed)) {
                Err(violation) if violation.invariant == *name => Err(violation),
                _ => Ok(()),
            });
            if noticed.is_empty() {
                unnoticed.push((name, planted));
            }
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
    let proven: Vec<&str> = BROKEN_BY.iter().map(|(name, _)| *name).collect();
    for name in Checkers::names() {
        assert!(proven.contains(&name), "{name} is never seen to fire");
    }
    for planted in Planted::ALL {
        let is_used = BROKEN_BY
            .iter()
            .any(|(_, faults)| faults.contains(&planted));
        assert!(is_used, "{planted:?} breaks nothing");
    }
}
