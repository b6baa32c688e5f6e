//! What the driver is told, by many, and who it is that drives.
//!
//! The driver has a thread. When there is little to do, whoever brings something deals with it right there: that saves
//! waking the thread, which takes longer than the work, several times on the way of a single write. The driver sits behind
//! a lock for that. What waits is only ever taken under it, so it is dealt with in the order in which it came.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tracing::error;

use super::driver::Driver;
use super::server::end_process;
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

/// Who brings more than this leaves it to the driver's thread.
pub(super) const FEW_INPUTS: usize = 64;

/// So often somebody who has dealt with what waited looks whether more has come meanwhile, before the thread does.
const ROUNDS: usize = 3;

/// The longest sleep; deadlines beyond it are looked at again.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Who deals with what waits: [`Driver`], but for tests.
pub(super) trait Deals: Send {
    /// Deals with inputs, and with what was left.
    fn deal(&mut self, taken: &mut Taken);

    /// The same, but on another thread and without waiting for anything: not begun unless it is quick, and what would
    /// take longer is left. `take` gives what waits, into an empty list.
    fn deal_quickly(&mut self, who: Bringer, take: impl FnOnce(&mut Vec<Input>)) -> Dealt;

    /// When to deal again without any input, in monotonic milliseconds.
    fn deadline_ms(&self) -> i64;

    /// How long it is until then; zero if it has passed.
    fn patience(&self) -> Duration;
}

/// Who brings inputs, on a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bringer {
    /// A connection of a client.
    Client,
    /// The log.
    Log,
    /// A connection to another server.
    Peer,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dealt {
    /// All is done that there was.
    All,
    /// That, but more has come.
    More,
    /// The driver's thread has something to do.
    Some,
}

#[derive(Debug, Default)]
struct Waiting {
    inputs: Vec<Input>,
    questions: Vec<Sender<SessionDeadlines>>,
    // There is something to do besides.
    called: bool,
    stopping: bool,
}

/// Inputs that wait for the driver, and the driver. Who puts something in never waits for the driver's work, only for
/// another hand in the box; the driver takes all there is at once. What connections put in is bounded by what they may
/// have under way.
#[derive(Debug)]
pub(super) struct Mailbox<D = Driver> {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
    // None before the driver's thread runs, and when it has ended.
    driver: Mutex<Option<D>>,
    // When the driver's thread deals again by itself. Changed by that thread only, and under the driver's lock.
    deadline_ms: AtomicI64,
    // What other servers send has to wait outside while there is too much in here.
    gate: Arc<Gate>,
}

impl<D> Default for Mailbox<D> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            arrival: Condvar::new(),
            driver: Mutex::new(None),
            deadline_ms: AtomicI64::new(i64::MIN),
            gate: Arc::default(),
        }
    }
}

/// What the driver took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) inputs: Vec<Input>,
    pub(super) questions: Vec<Sender<SessionDeadlines>>,
}

impl<D: Deals> Mailbox<D> {
    // Nothing in here panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in for the driver's thread.
    pub(super) fn put(&self, inputs: impl IntoIterator<Item = Input>) {
        let (before, now) = self.add(inputs);
        if before == 0 && now != 0 {
            self.arrival.notify_one();
        }
    }

    /// Puts something in and, if that is done quickly and nobody is at it, deals with it.
    pub(super) fn put_and_deal(&self, who: Bringer, inputs: impl IntoIterator<Item = Input>) {
        let (before, now) = self.add(inputs);
        if now == 0 {
            return;
        }
        if now > FEW_INPUTS {
            if before <= FEW_INPUTS {
                self.arrival.notify_one();
            }
            return;
        }
        for _ in 0..ROUNDS {
            match self.try_deal(who) {
                Dealt::All => return,
                Dealt::More => {}
                Dealt::Some => break,
            }
        }
        self.lock().called = true;
        self.arrival.notify_one();
    }

    /// Deals with what waits, unless somebody is at it.
    fn try_deal(&self, who: Bringer) -> Dealt {
        let mut seat = match self.driver.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Who has the driver looks into the box again afterwards.
            Err(TryLockError::WouldBlock) => return Dealt::All,
        };
        let Some(driver) = seat.as_mut() else {
            return Dealt::Some;
        };
        let watch = PanicEnds;
        let take = |inputs: &mut Vec<Input>| std::mem::swap(inputs, &mut self.lock().inputs);
        let dealt = driver.deal_quickly(who, take);
        // The thread sleeps until another time then.
        let is_sooner = driver.deadline_ms() < self.deadline_ms.load(Ordering::Relaxed);
        drop(watch);
        drop(seat);
        let has_more = !self.lock().inputs.is_empty();
        match dealt {
            _ if is_sooner => Dealt::Some,
            Dealt::All if has_more => Dealt::More,
            dealt => dealt,
        }
    }

    /// How many inputs waited before, and do now.
    fn add(&self, inputs: impl IntoIterator<Item = Input>) -> (usize, usize) {
        let mut waiting = self.lock();
        let before = waiting.inputs.len();
        waiting.inputs.extend(inputs);
        let now = waiting.inputs.len();
        drop(waiting);
        if now > INPUTS_MAX {
            self.gate.close();
        }
        (before, now)
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

    /// The driver's thread: deals with all that others do not. Hands the driver back when the mailbox is stopped and
    /// everything was taken.
    pub(super) fn drive(&self, driver: D) -> Option<D> {
        let mut taken = Taken::default();
        *self.seat() = Some(driver);
        loop {
            let mut seat = self.seat();
            let is_over = self.take(&mut taken);
            if is_over {
                return seat.take();
            }
            let driver = seat.as_mut()?;
            driver.deal(&mut taken);
            let patience = driver.patience().min(PATIENCE_MAX);
            self.deadline_ms
                .store(driver.deadline_ms(), Ordering::Relaxed);
            drop(seat);
            self.wait(patience);
        }
    }

    // After a panic the process ends.
    fn seat(&self) -> MutexGuard<'_, Option<D>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `patience` for something to do.
    fn wait(&self, patience: Duration) {
        let idle = |waiting: &mut Waiting| {
            waiting.inputs.is_empty()
                && waiting.questions.is_empty()
                && !waiting.called
                && !waiting.stopping
        };
        let waited = self
            .arrival
            .wait_timeout_while(self.lock(), patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        drop(waited);
    }

    /// Takes all that waits; whether nothing more will come. `taken` comes back with its memory.
    fn take(&self, taken: &mut Taken) -> bool {
        let mut waiting = self.lock();
        std::mem::swap(&mut taken.inputs, &mut waiting.inputs);
        taken.questions.append(&mut waiting.questions);
        waiting.called = false;
        let is_over = waiting.stopping && taken.inputs.is_empty();
        drop(waiting);
        self.gate.open();
        is_over
    }
}

/// If the driver panics the process ends, on whatever thread: going on without it would look alive and not be.
struct PanicEnds;

impl Drop for PanicEnds {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!("the server's driver panicked: ending the process; please report this");
            end_process();
        }
    }
}

impl ReplicaHandle for Mailbox {
    fn submit(&self, submissions: &mut Vec<Submission>) {
        self.put_and_deal(Bringer::Client, submissions.drain(..).map(Input::Submitted));
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
        let mailbox = Mailbox::<Driver>::default();
        mailbox.disconnected(ConnId(1), Some((SessionId(7), 3999)));
        mailbox.disconnected(ConnId(2), None);
        let mut taken = Taken::default();
        mailbox.take(&mut taken);
        let told = format!("{:?}", taken.inputs);
        assert_eq!(
            told,
            "[Touched { session: 0x7, at_ms: 3999 }, Disconnected { conn: ConnId(1) }, Disconnected { conn: ConnId(2) }]"
        );
    }

    /// Takes numbers that several threads bring. Some it leaves to the thread, as if it were busy.
    struct Counting {
        left: Vec<Input>,
        turns: usize,
        numbers: Arc<Mutex<Vec<u64>>>,
    }

    impl Counting {
        fn count(&mut self, inputs: &mut Vec<Input>) {
            let numbers = inputs.drain(..).map(|input| match input {
                Input::Disconnected { conn } => conn.0,
                other => panic!("nobody brings {other:?}"),
            });
            self.numbers.lock().unwrap().extend(numbers);
        }
    }

    impl Deals for Counting {
        fn deal(&mut self, taken: &mut Taken) {
            let mut left = std::mem::take(&mut self.left);
            self.count(&mut left);
            self.count(&mut taken.inputs);
        }

        fn deal_quickly(&mut self, _: Bringer, take: impl FnOnce(&mut Vec<Input>)) -> Dealt {
            self.turns += 1;
            let mut inputs = std::mem::take(&mut self.left);
            match self.turns % 7 {
                _ if !inputs.is_empty() => {}
                0 => {}
                1 => take(&mut inputs),
                _ => {
                    take(&mut inputs);
                    self.count(&mut inputs);
                    return Dealt::All;
                }
            }
            self.left = inputs;
            Dealt::Some
        }

        fn deadline_ms(&self) -> i64 {
            i64::MAX
        }

        fn patience(&self) -> Duration {
            PATIENCE_MAX
        }
    }

    #[test]
    fn what_many_bring_is_dealt_with_once_in_order_and_without_delay() {
        const BRINGERS: u64 = 3;
        const EACH: u64 = 20_000;
        let mailbox = Arc::<Mailbox<Counting>>::default();
        let numbers = Arc::<Mutex<Vec<u64>>>::default();
        let counting = Counting {
            left: Vec::new(),
            turns: 0,
            numbers: Arc::clone(&numbers),
        };
        let driving = Arc::clone(&mailbox);
        let driver = std::thread::spawn(move || driving.drive(counting).is_some());
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            for bringer in 0..BRINGERS {
                let (mailbox, numbers) = (&mailbox, &numbers);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let conn = ConnId(bringer << 32 | number);
                        let input = [Input::Disconnected { conn }];
                        match number % 5 {
                            0 => mailbox.put(input),
                            _ => mailbox.put_and_deal(Bringer::Peer, input),
                        }
                        // Nobody else may come: what was brought must not be forgotten.
                        while number % 1000 == 0
                            && !numbers.lock().unwrap().contains(&conn.0)
                            && began.elapsed() < PATIENCE_MAX
                        {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        mailbox.stop();
        assert!(driver.join().unwrap(), "the driver is handed back");
        assert!(
            began.elapsed() < PATIENCE_MAX,
            "somebody was waited for who had forgotten"
        );
        let numbers = numbers.lock().unwrap();
        for bringer in 0..BRINGERS {
            let of_one = numbers.iter().filter(|number| *number >> 32 == bringer);
            let of_one: Vec<u64> = of_one.map(|number| number & 0xffff_ffff).collect();
            assert_eq!(of_one, (0..EACH).collect::<Vec<_>>());
        }
    }
}
