//! What the driver is told, by many, taken by one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::replica::input::Input;

#[derive(Debug, Default)]
struct Waiting {
    inputs: Vec<Input>,
    stopping: bool,
}

/// Inputs that wait for the driver. Who puts something in never waits for the driver's work, only for another hand in
/// the box; the driver takes all there is at once.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
}

impl Mailbox {
    // Nothing in here panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut waiting = self.lock();
        let was_empty = waiting.inputs.is_empty();
        waiting.inputs.extend(inputs);
        let wake = was_empty && !waiting.inputs.is_empty();
        drop(waiting);
        if wake {
            self.arrival.notify_one();
        }
    }

    /// No more waiting: the driver ends once the box is empty.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.arrival.notify_one();
    }

    /// Swaps all that waits into `inputs`, which is empty; waits up to `patience` for something. False when stopping.
    pub(super) fn take(&self, inputs: &mut Vec<Input>, patience: Duration) -> bool {
        let idle = |waiting: &mut Waiting| waiting.inputs.is_empty() && !waiting.stopping;
        let (mut waiting, _) =
            self.arrival.wait_timeout_while(self.lock(), patience, idle).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(inputs, &mut waiting.inputs);
        !waiting.stopping
    }
}
