//! Ensembles of zabd and Apache ZooKeeper servers, as real processes. Letters name them: `J` is the current Apache
//! ZooKeeper, `O` the old one, `Z` zabd; the three that vote come first.
//!
//! Skipped, with a word about why, where Apache ZooKeeper cannot be run; fails then if `CI` is set.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |
//! | `ZABD_MIXED=JZJZ,OZZO` | only these ensembles |
//! | `ZABD_MIXED=all` | each of them also with every Apache ZooKeeper of the other release |
//! | `ZABD_MIXED_ROUNDS=50` | how often servers are killed, paused and cut off, or learners get everything anew |
//! | `ZABD_MIXED_SEED=N` | what is done to whom, in place of the process's number |
//! | `ZABD_MIXED_KEEP=DIR` | keep the logs of servers of failed tests there |

mod business;
mod chaos;
mod churn;
mod digests;
mod elections;
mod members;
mod moved;
mod synchronising;

use std::sync::{Mutex, PoisonError};

use zabd_tests::mixed::{Mixed, chosen, unavailable};
use zabd_tests::servers::Setup;

/// Java servers start and answer slowly where many do: one ensemble at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Those of the ensembles that can be run here.
fn each(letters: &[&str], test: impl Fn(&str) -> anyhow::Result<()>) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for letters in &chosen(letters) {
        if let Some(why) = unavailable(letters) {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("{letters} skipped: {why}");
            continue;
        }
        if let Err(problem) = test(letters) {
            panic!("{letters}: {problem:?}");
        }
        eprintln!("{letters} passed");
    }
}

/// A number of the environment, or this one.
fn count_of(name: &str, otherwise: usize) -> usize {
    let chosen = std::env::var(name).ok();
    chosen
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Runs a case on servers; a failure shows what they said last.
fn on(mut mixed: Mixed, case: impl FnOnce(&mut Mixed) -> anyhow::Result<()>) -> anyhow::Result<()> {
    case(&mut mixed).map_err(|problem| problem.context(mixed.last_words()))
}

#[test]
fn clients_are_served_alike_whoever_leads() {
    each(
        &["JZJZ", "ZOZO", "OJZZ", "ZZJO", "ZJJZ", "OZZJ"],
        |letters| {
            on(Mixed::start(letters, 3, Setup::default())?, |mixed| {
                let first = mixed.await_leader(&[0, 1, 2])?;
                business::all(mixed, "first")?;
                mixed.check()?;
                mixed.kill(first)?;
                let left: Vec<usize> = (0..3).filter(|number| *number != first).collect();
                mixed.await_leader(&left)?;
                mixed.revive(&[first])?;
                mixed.wait_until_all_serve()?;
                business::writes_and_moves(mixed, "second")?;
                mixed.check()?;
                Ok(())
            })
        },
    );
}
