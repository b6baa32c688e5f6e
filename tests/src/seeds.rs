//! Seeds from the environment, and histories run on all processors.

use std::fmt::Display;
use std::ops::Range;
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A variable of the environment that is set to something.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The seeds that the variable `name` asks for: so many, or a range such as `5000..6000`; else `count`.
///
/// # Panics
/// When it says neither.
#[must_use]
pub fn seeds(name: &str, count: u64) -> Range<u64> {
    let Some(asked) = variable(name) else {
        return 0..count;
    };
    let number = |text: &str| -> u64 { text.parse().expect("a number of seeds, or a range") };
    match asked.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&asked),
    }
}

/// What comes of a run, or what it panicked with: a panic of the code under test is a finding like any other.
///
/// # Errors
/// What the run says, or what `stays_up` makes of a panic's words.
pub fn caught<R, V>(
    run: impl FnOnce() -> Result<R, V> + UnwindSafe,
    stays_up: impl FnOnce(String) -> V,
) -> Result<R, V> {
    catch_unwind(run).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(stays_up(format!("a panic: {}", words.unwrap_or_default())))
    })
}

/// The seeds that a file keeps: one in a line, and why behind a `#`.
///
/// # Panics
/// When a line begins with something else.
pub fn kept(file: &str) -> impl Iterator<Item = u64> {
    file.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|seed| !seed.is_empty())
        .map(|seed| seed.parse().expect("a seed"))
}

/// What failed, in words, each with the command that repeats it; nothing if nothing did.
pub fn words<V: Display>(failures: &[(u64, V)], repeat: impl Fn(u64) -> String) -> String {
    let words =
        |(seed, violation): &(u64, V)| format!("\n{violation}\n  to repeat: {}", repeat(*seed));
    failures.iter().map(words).collect()
}

/// Runs each number on all processors until `most` have failed; what came of them, and what failed, by number.
pub fn run_all<R: Send, V: Send>(
    numbers: Range<u64>,
    most: usize,
    run: impl Fn(u64) -> Result<R, V> + Sync,
) -> (Vec<R>, Vec<(u64, V)>) {
    let next = AtomicU64::new(numbers.start);
    let results = Mutex::new((Vec::new(), Vec::new()));
    // Whoever runs a history catches its panics: nothing is left half done under the lock.
    let lock = || results.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = lock().1.len() >= most;
                    if number >= numbers.end || enough {
                        return;
                    }
                    let result = run(number);
                    let mut results = lock();
                    match result {
                        Ok(report) => results.0.push(report),
                        Err(violation) => results.1.push((number, violation)),
                    }
                }
            });
        }
    });
    let (reports, mut failures) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|(number, _)| *number);
    (reports, failures)
}
