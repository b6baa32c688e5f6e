//! `WatchesExact`: each watch fires exactly when it must, and tells what it must, in the order of the changes.

use std::collections::VecDeque;

use super::{Check, broken};
use crate::sim::model::watches::Told;

/// The promise's name.
pub const NAME: &str = "WatchesExact";

/// An event came; `due` are those that must come, oldest first.
///
/// # Errors
/// When it is not the next.
pub fn on_event(told: &Told, due: &mut VecDeque<Told>) -> Check {
    match due.pop_front() {
        Some(next) if next == *told => Ok(()),
        Some(next) => broken(NAME, format!("{told:?} came, {next:?} was due")),
        None => broken(NAME, format!("{told:?} came, nothing was due")),
    }
}

/// The events that came in front of the reply to a setWatches, and those that the model says.
///
/// # Errors
/// When they differ.
pub fn on_catch_up(told: &[Told], due: &[Told]) -> Check {
    if told == due {
        return Ok(());
    }
    broken(
        NAME,
        format!("setWatches caught up on {told:?}, not on {due:?}"),
    )
}
