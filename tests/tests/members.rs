//! Tests with the simulator of ensembles and their clients. One seed, one history: a failure prints the command that
//! repeats it.
//!
//! | variable | meaning |
//! |---|---|
//! | `ZABD_MEMBERS_SEED` | run this seed alone, and print every step |
//! | `ZABD_MEMBERS_SEEDS` | run so many seeds, or a range such as `5000..6000` |

use std::collections::BTreeMap;

use zabd_tests::members::check::{
    acknowledged_stays, doubted_is_hidden, ephemerals_follow_sessions, heals_and_serves,
    heard_is_kept, leaders_only_lead, local_sessions_stay, members_follow_history, one_history,
    others_go_on, read_only_changes_nothing, replicas_agree, sessions_live,
    sessions_outlive_leaders, sync_sees_all, watches_survive, writes_linearizable,
};
use zabd_tests::members::{Plan, Planted, Report, run_caught};
use zabd_tests::seeds::{kept, run_all, seeds, variable, words};
use zabd_tests::sim::check::{
    event_before_reveal, never_back_in_time, read_your_writes, replies_match_model, session_fifo,
    watches_exact,
};

/// How many random histories are run unless the environment says otherwise.
const SEEDS: u64 = 2000;

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("members_regression_seeds.txt");

fn repeat(seed: u64) -> String {
    format!(
        "ZABD_MEMBERS_SEED={seed} cargo test -p zabd-tests --test members -- random_histories --nocapture"
    )
}

/// Everything at once, drawn from the seed.
#[test]
fn random_histories() {
    if let Some(seed) = variable("ZABD_MEMBERS_SEED") {
        let plan = Plan {
            prints: true,
            ..Plan::random(seed.parse().unwrap())
        };
        eprintln!("{plan:#?}");
        let report = run_caught(&plan).unwrap_or_else(|violation| panic!("{violation}"));
        eprintln!("{report:?}");
        return;
    }
    let (reports, failures) = run_all(seeds("ZABD_MEMBERS_SEEDS", SEEDS), 5, |seed| {
        run_caught(&Plan::random(seed))
    });
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let synced =
        [0, 1, 2, 3].map(|way| reports.iter().map(|report| report.synced[way]).sum::<u64>());
    let healed_ms = reports.iter().map(|report| report.healed_ms).max();
    eprintln!(
        "{} histories: {} events, {} transactions, {} writes and {} reads ({} syncs) answered, {} watch events, {} times \
         watches set again, {} moves, {} turned away, {} refused, {} expired, {} reigns, {} crashes, {} changes of the members, {} copies damaged ({} needed), {} altered ({} times noticed, {} times taken over), {} local sessions ({} upgraded), {} times read-only \
         ({} replies); DIFF, TRUNC, SNAP, \
         log: {synced:?}; healed after {healed_ms:?} ms at the most",
        reports.len(),
        sum(|report| report.events),
        sum(|report| report.committed),
        sum(|report| report.acknowledged),
        sum(|report| report.reads),
        sum(|report| report.syncs),
        sum(|report| report.events_told),
        sum(|report| report.rewatched),
        sum(|report| report.moves),
        sum(|report| report.turned_away),
        sum(|report| report.refused),
        sum(|report| report.expired),
        sum(|report| report.reigns),
        sum(|report| report.crashes),
        sum(|report| report.changes),
        sum(|report| report.damaged),
        sum(|report| report.stranded),
        sum(|report| report.altered),
        sum(|report| report.differed),
        sum(|report| report.spread),
        sum(|report| report.locals),
        sum(|report| report.upgraded),
        sum(|report| report.shows),
        sum(|report| report.shown),
    );
    assert!(failures.is_empty(), "{}", words(&failures, repeat));
    // A simulator in which nothing happens finds nothing.
    if reports.len() > 100 {
        let histories = reports.len() as u64;
        assert!(sum(|report| report.acknowledged) > 20 * histories);
        assert!(sum(|report| report.reads) > 20 * histories);
        assert!(sum(|report| report.rewatched) > histories);
        assert!(sum(|report| report.moves) > 5 * histories);
        assert!(sum(|report| report.expired) > histories / 2);
        assert!(sum(|report| report.reigns) > 2 * histories);
        assert!(sum(|report| report.crashes) > histories);
        assert!(sum(|report| report.changes) > histories / 10);
        assert!(sum(|report| report.damaged) > histories / 20);
        assert!(sum(|report| report.altered) > histories / 10);
        assert!(sum(|report| report.differed) > histories / 20);
        assert!(sum(|report| report.stranded) <= 1 + histories / 1000);
        assert!(sum(|report| report.locals) > histories);
        assert!(sum(|report| report.upgraded) > histories / 10);
        assert!(sum(|report| report.shown) > histories / 10);
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
    for seed in 0..20 {
        let (first, second) = (
            run_caught(&Plan::random(seed)),
            run_caught(&Plan::random(seed)),
        );
        assert_eq!(first, second, "{}", repeat(seed));
        traces.push(first.map(|report| report.trace));
    }
    traces.dedup();
    assert_eq!(traces.len(), 20, "every seed has a trace of its own");
}

/// Each promise, and faults that break it: its checker notices each of them.
const BROKEN_BY: &[(&str, &[Planted])] = &[
    (
        acknowledged_stays::NAME,
        &[
            Planted::LogTailLost,
            Planted::DurableBeforeSync,
            Planted::RepairedVotes,
            Planted::SnapshotAlone,
        ],
    ),
    (
        doubted_is_hidden::NAME,
        &[Planted::DifferenceOverlooked, Planted::CheckAgrees],
    ),
    (
        ephemerals_follow_sessions::NAME,
        &[Planted::EphemeralLeft, Planted::ExpiryForgotten],
    ),
    (event_before_reveal::NAME, &[Planted::EventsAfterReads]),
    (
        heals_and_serves::NAME,
        &[Planted::ElectionDeaf, Planted::CheckUnanswered],
    ),
    (
        heard_is_kept::NAME,
        &[Planted::TouchesLost, Planted::SilenceAssumed],
    ),
    (leaders_only_lead::NAME, &[Planted::LeaderServes]),
    (
        local_sessions_stay::NAME,
        &[Planted::ForeignSessionLetIn, Planted::LiveSessionRefused],
    ),
    (
        members_follow_history::NAME,
        &[
            Planted::ChangesForgotten,
            Planted::ActivatedAtOnce,
            Planted::MembersUnsaid,
        ],
    ),
    (never_back_in_time::NAME, &[Planted::SyncNamesOldZxid]),
    (
        one_history::NAME,
        &[Planted::CommitLost, Planted::CommitsSwapped],
    ),
    (
        read_only_changes_nothing::NAME,
        &[Planted::ReadOnlyTakesWrites, Planted::ReadOnlyForAll],
    ),
    (others_go_on::NAME, &[Planted::OthersDoubtToo]),
    (read_your_writes::NAME, &[Planted::ReadsNameOldZxid]),
    (replicas_agree::NAME, &[Planted::AppliedGarbled]),
    (replies_match_model::NAME, &[Planted::WrongCode]),
    (
        session_fifo::NAME,
        &[Planted::RepliesReversed, Planted::RequestLate],
    ),
    (sessions_live::NAME, &[Planted::LiveSessionRefused]),
    (sessions_outlive_leaders::NAME, &[Planted::ClockRuns]),
    (sync_sees_all::NAME, &[Planted::SyncAtOnce]),
    (
        watches_exact::NAME,
        &[Planted::EventLost, Planted::EventTwice],
    ),
    (watches_survive::NAME, &[Planted::WatchesForgotten]),
    (
        writes_linearizable::NAME,
        &[Planted::AckNamesNext, Planted::RequestTwice],
    ),
];

/// To trust a checker, break something and see it fire.
#[test]
fn every_checker_fires_when_something_is_broken() {
    let mut unnoticed = Vec::new();
    for planted in Planted::ALL {
        let names = BROKEN_BY
            .iter()
            .filter(|(_, faults)| faults.contains(&planted))
            .map(|(name, _)| *name);
        let plan_of = |seed| Plan::random(seed).with_planted(planted);
        let (_, failures) = run_all(0..2000, 60, |number| run_caught(&plan_of(number)));
        // How often, and the first seed.
        let mut noticed = BTreeMap::<&str, (usize, u64)>::new();
        for (seed, violation) in &failures {
            noticed.entry(violation.invariant).or_insert((0, *seed)).0 += 1;
        }
        eprintln!("{planted:?}: {noticed:?}");
        let mut used = false;
        for name in names {
            used = true;
            if !noticed.contains_key(name) {
                unnoticed.push((name, planted));
            }
        }
        assert!(used, "{planted:?} breaks nothing");
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
