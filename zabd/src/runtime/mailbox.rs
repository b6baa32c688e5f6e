//! What the driver is told, by many, taken by one.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admin::SessionDeadlines;
use crate::net::client::ReplicaHandle;
use crate::net::gate::Gate;
use crate::replica::input::Input;
use crate::state::conn::{ConnId, Submission};
use jute_codec::SessionId;

/// How long somebody who asks the driver waits for the answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// With more inputs than this nothing more is read from other servers.
const INPUTS_MAX: usize = 1 << 14;

#[derive(Debug, Default)]
struct Waiting {
    inputs: Vec<Input>,
    questions: Vec<Sender<SessionDeadlines>>,
    stopping: bool,
}

/// Inputs that wait for the driver. Who puts something in never waits for the driver's work, only for another hand in
/// the box; the driver takes all there is at once. What connections put in is bounded by what they may have under way.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
    // What other servers send has to wait outside while there is too much in here.
    gate: Arc<Gate>,
}

/// What the driver took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) inputs: Vec<Input>,
    pub(super) questions: Vec<Sender<SessionDeadlines>>,
    /// No more will come.
    pub(super) stopping: bool,
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
        let is_full = waiting.inputs.len() > INPUTS_MAX;
        drop(waiting);
        if is_full {
            self.gate.close();
        }
        if wake {
            self.arrival.notify_one();
        }
    }

    /// What readers of connections to other servers pass before they read on.
    pub(super) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// No more waiting: the driver ends once the box is empty.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.arrival.notify_one();
    }

    /// Asks the driver for the sessions; nothing if it is busy for long or gone.
    pub(super) fn session_deadlines(&self) -> SessionDeadlines {
        let (question, answer) = channel();
        self.lock().questions.push(question);
        self.arrival.notify_one();
        answer.recv_timeout(ANSWER_PATIENCE).unwrap_or_default()
    }

    /// Takes all that waits; waits up to `patience` for something. `taken` comes back with its memory.
    pub(super) fn take(&self, taken: &mut Taken, patience: Duration) {
        let idle = |waiting: &mut Waiting| {
            waiting.inputs.is_empty() && waiting.questions.is_empty() && !waiting.stopping
        };
        let (mut waiting, _) = self
            .arrival
            .wait_timeout_while(self.lock(), patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut taken.inputs, &mut waiting.inputs);
        taken.questions.append(&mut waiting.questions);
        taken.stopping = waiting.stopping;
        drop(waiting);
        self.gate.open();
    }
}

impl ReplicaHandle for Mailbox {
    fn submit(&self, submissions: &mut Vec<Submission>) {
        self.put(submissions.drain(..).map(Input::Submitted));
    }

    fn disconnected(&self, conn: ConnId, heard: Option<(SessionId, i64)>) {
        let touched = heard.map(|(session, at_ms)| Input::Touched { session, at_ms });
        self.put(touched.into_iter().chain([Input::Disconnected { conn }]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads and pings go by the driver; without this a session that only reads would expire at a reconnect.
    #[test]
    fn what_a_connection_has_heard_outlives_it() {
        let mailbox = Mailbox::default();
        mailbox.disconnected(ConnId(1), Some((SessionId(7), 3999)));
        mailbox.disconnected(ConnId(2), None);
        let mut taken = Taken::default();
        mailbox.take(&mut taken, Duration::ZERO);
        let told = format!("{:?}", taken.inputs);
        assert_eq!(
            told,
            "[Touched { session: 0x7, at_ms: 3999 }, Disconnected { conn: ConnId(1) }, Disconnected { conn: ConnId(2) }]"
        );
    }
}
