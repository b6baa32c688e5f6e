//! The simulator's tests. One seed, one history: a failure prints the command that repeats it.
//!
//! | variable | meaning |
//! |---|---|
//! | `ZABD_SIM_SEED` | run this seed alone, and print every step |
//! | `ZABD_SIM_SEEDS` | run so many seeds, or a range such as `5000..6000` |

use zabd_tests::seeds::{kept, run_all, seeds, variable, words};
use zabd_tests::sim::{Plan, Planted, Report, Violation, check, run_caught};

/// How many random histories are run unless the environment says otherwise.
const SEEDS: u64 = 3000;

/// Seeds that found something once.
const REGRESSIONS: &str = include_str!("sim_regression_seeds.txt");

fn repeat(seed: u64, test: &str) -> String {
    format!("ZABD_SIM_SEED={seed} cargo test -p zabd-tests --test sim -- {test} --nocapture")
}

fn fail(test: &str, failures: &[(u64, Violation)]) {
    let words = words(failures, |seed| repeat(seed, test));
    assert!(failures.is_empty(), "{words}");
}

/// Everything at once, drawn from the seed.
#[test]
fn random_histories() {
    if let Some(seed) = variable("ZABD_SIM_SEED") {
        let plan = Plan {
            prints: true,
            ..Plan::random(seed.parse().unwrap())
        };
        eprintln!("{plan:#?}");
        let report = run_caught(&plan).unwrap_or_else(|violation| panic!("{violation}"));
        eprintln!("{report:?}");
        return;
    }
    let (reports, failures) = run_all(seeds("ZABD_SIM_SEEDS", SEEDS), 5, |seed| {
        run_caught(&Plan::random(seed))
    });
    fail("random_histories", &failures);
    // A simulator in which nothing happens finds nothing.
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    eprintln!(
        "{} histories: {} transactions, {} crashes, {} folds",
        reports.len(),
        sum(|report| report.transactions),
        sum(|report| report.crashes),
        sum(|report| report.folds)
    );
    if reports.len() > 100 {
        assert!(sum(|report| report.crashes) > reports.len() as u64);
        assert!(sum(|report| report.folds) > reports.len() as u64);
        assert!(sum(|report| report.transactions) > 30 * reports.len() as u64);
    }
}

/// Seeds that found something once must never again.
#[test]
fn regression_seeds() {
    for seed in kept(REGRESSIONS) {
        if let Err(violation) = run_caught(&Plan::random(seed)) {
            fail("random_histories", &[(seed, violation)]);
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
        assert_eq!(first, second, "{}", repeat(seed, "random_histories"));
        traces.push(first.map(|report| report.trace));
    }
    traces.dedup();
    assert_eq!(traces.len(), 40, "every seed has a trace of its own");
}

/// One history without faults; then the same with a power cut in each of its disk operations, several times over with
/// other outcomes for what was not synced.
#[test]
fn crash_at_every_disk_operation() {
    let persistences = variable("ZABD_SIM_PERSISTENCES").map_or(6, |value| value.parse().unwrap());
    for seed in 0..2 {
        let undisturbed = run_caught(&Plan::crash_point(seed, None))
            .unwrap_or_else(|violation| panic!("{violation}"));
        let points = undisturbed.disk_operations;
        assert!(points > 100, "only {points} disk operations");
        let plan_of = |number: u64| Plan::crash_point(seed, Some((number / persistences, number)));
        let (reports, failures) = run_all(0..points * persistences, 5, |number| {
            run_caught(&plan_of(number))
        });
        for (number, violation) in &failures {
            eprintln!(
                "seed {seed}, power cut in operation {} ({number}): {violation}",
                number / persistences
            );
        }
        assert!(
            failures.is_empty(),
            "{} of {} crash points",
            failures.len(),
            points * persistences
        );
        let crashed = reports.iter().filter(|report| report.crashes > 0).count() as u64;
        assert!(
            crashed * 10 > points * persistences * 9,
            "{crashed} of {} runs crashed",
            points * persistences
        );
    }
}

/// The promise that a broken server breaks first.
fn promises_broken_by(planted: Planted) -> &'static [&'static str] {
    match planted {
        Planted::DurableBeforeSync | Planted::ApplyBeforeDurable | Planted::RecoveryDropsTail => {
            &[check::ack_means_durable::NAME]
        }
        Planted::EventsAfterReads => &[check::event_before_reveal::NAME],
        // A reply comes next, or another event.
        Planted::EventLost => &[check::event_before_reveal::NAME, check::watches_exact::NAME],
        Planted::EventTwice => &[check::watches_exact::NAME],
        Planted::RepliesReversed => &[check::session_fifo::NAME],
        Planted::ReadsDoNotWait => &[check::read_your_writes::NAME],
        Planted::CommitsSwapped => &[check::commit_in_order::NAME],
        Planted::FoldSkipsDeletion | Planted::FoldSkipsRow => &[check::fold_is_exact::NAME],
        Planted::RecoveryDropsSession
        | Planted::SilenceAssumed
        | Planted::LastWordsLost
        | Planted::ExpiryForgotten
        | Planted::PasswordIgnored => &[check::sessions_live::NAME],
        Planted::RecoveryHalvesMulti => &[check::nothing_half_applied::NAME],
        Planted::RequestTwice => &[check::nothing_invented::NAME],
        // Where the older state looks the same, the client's own past tells, or an event that comes too late.
        Planted::ReadsNameOldZxid => &[
            check::never_back_in_time::NAME,
            check::read_your_writes::NAME,
            check::replies_match_model::NAME,
            check::watches_exact::NAME,
        ],
        Planted::WrongCode => &[check::replies_match_model::NAME],
        Planted::WrongDigest => &[check::tree_digest::NAME],
        Planted::LogSilent => &[check::server_stays_up::NAME],
    }
}

/// To trust a checker, break the code once and see it fire.
#[test]
fn every_checker_fires_when_the_server_is_broken() {
    for planted in Planted::ALL {
        // Some faults show in few histories, some in several ways.
        let (histories, most) = match planted {
            Planted::LastWordsLost => (3000, 1),
            Planted::ReadsNameOldZxid => (400, 30),
            _ => (400, 4),
        };
        let plan_of = |seed| Plan::random(seed).with_planted(planted);
        let (_, failures) = run_all(0..histories, most, |number| run_caught(&plan_of(number)));
        let expected = promises_broken_by(planted);
        assert!(
            failures
                .iter()
                .any(|(_, violation)| violation.invariant == expected[0]),
            "{planted:?} was not noticed"
        );
        for (seed, violation) in &failures {
            assert!(
                expected.contains(&violation.invariant),
                "{planted:?} with seed {seed}: {violation}"
            );
        }
    }
}
