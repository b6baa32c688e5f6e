//! One part of a run: all its connections, over a few threads.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Barrier, Semaphore};

use super::drive::{Course, drive};
use super::ground::{Gap, Ground, Pace, Window, nanos};
use super::line::Line;
use super::sessions::{Held, hold};
use super::tally::{Kind, Tally};
use super::traffic::{Job, Rules};
use super::watches::{Fan, change, watch};

/// Connections of one thread that are being opened at a time: servers' queues of new connections are short.
const OPENING_MAX: usize = 32;
/// How long a connection is tried to be had at the start.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What one connection is for.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Sends requests.
    Drive(Job),
    /// Changes the node that this many watch.
    Change(u32),
    Watch,
    /// Holds a session.
    Hold,
}

/// What all connections of a part share.
#[derive(Debug)]
pub(crate) struct Part {
    ground: Arc<Ground>,
    rules: Rules,
    window: Window,
    gap: Option<Gap>,
    fan: Fan,
    held: Held,
    all_there: Barrier,
    failure: Mutex<Option<String>>,
}

/// What came of a part.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// How far each connection's job came, if it had one.
    pub(crate) jobs: Vec<(u32, Job)>,
    /// From when on requests counted, in nanoseconds of the run's clock.
    pub(crate) measured_from_ns: u64,
    /// The longest time without an acknowledgement and its beginning, if that was asked for.
    pub(crate) gap_ns: Option<(u64, u64)>,
    /// Sessions attached to again; the first loss and the last return.
    pub(crate) returns_ns: (u64, Option<(u64, u64)>),
}

impl Part {
    pub(crate) fn new(
        ground: Arc<Ground>,
        rules: Rules,
        pace: Pace,
        connections: usize,
        gap: Option<Gap>,
        drop_all: bool,
    ) -> Self {
        Self {
            ground,
            rules,
            window: Window::new(pace),
            gap,
            fan: Fan::default(),
            held: Held::new(connections, drop_all),
            all_there: Barrier::new(connections),
            failure: Mutex::new(None),
        }
    }

    /// Runs all connections to their end.
    ///
    /// # Errors
    /// When a connection cannot be had at the start, or one that everything hangs on is lost: in words.
    pub(crate) fn run(
        self,
        roles: Vec<Role>,
        threads: usize,
        mut progress: impl FnMut(u64),
    ) -> Result<Outcome, String> {
        let part = Arc::new(self);
        let total = roles.len();
        let roles = Arc::new(roles);
        let (sender, results) = channel();
        for number in 0..threads.clamp(1, total) {
            let (part, roles, sender) = (Arc::clone(&part), Arc::clone(&roles), sender.clone());
            let mine =
                number * total / threads.min(total)..(number + 1) * total / threads.min(total);
            thread::Builder::new()
                .name(format!("bench-{number}"))
                .spawn(move || {
                    // Nobody listens any more only if the receiver has given up.
                    sender.send(run_thread(&part, &roles, mine)).ok();
                })
                .map_err(|error| format!("start a thread: {error}"))?;
        }
        drop(sender);
        let (mut tally, mut jobs) = (Tally::default(), Vec::new());
        loop {
            match results.recv_timeout(PROGRESS_EVERY) {
                Ok(result) => {
                    let (part_tally, part_jobs) =
                        result.map_err(|error| format!("run a thread: {error}"))?;
                    tally.merge(&part_tally);
                    jobs.extend(part_jobs);
                }
                Err(RecvTimeoutError::Timeout) => {
                    progress(
                        part.ground
                            .answered
                            .load(std::sync::atomic::Ordering::Relaxed),
                    );
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(failure) = part.failure().take() {
            return Err(failure);
        }
        Ok(Outcome {
            tally,
            jobs,
            measured_from_ns: part.window.measured_from_ns(&part.ground),
            gap_ns: part.gap.as_ref().map(Gap::longest_ns),
            returns_ns: part.held.returns_ns(),
        })
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the part; the first reason is the one that is told.
    fn fail(&self, reason: String) {
        self.failure().get_or_insert(reason);
        self.window.abort();
    }
}

type Ran = (Tally, Vec<(u32, Job)>);

fn run_thread(part: &Arc<Part>, roles: &[Role], mine: Range<usize>) -> io::Result<Ran> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    let jobs = runtime.block_on(async {
        let tasks: Vec<_> = mine
            .map(|index| {
                let (part, tally) = (Arc::clone(part), Arc::clone(&tally));
                let (opening, role) = (Arc::clone(&opening), roles[index].clone());
                let connection = u32::try_from(index).expect("connections are counted in 32 bits");
                let task = tokio::spawn(run_connection(part, connection, role, tally, opening));
                (connection, task)
            })
            .collect();
        let mut jobs = Vec::new();
        for (connection, task) in tasks {
            match task.await {
                Ok(job) => jobs.extend(job.map(|job| (connection, job))),
                Err(error) => part.fail(format!("connection {connection}: {error}")),
            }
        }
        jobs
    });
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((tally, jobs))
}

async fn run_connection(
    part: Arc<Part>,
    connection: u32,
    role: Role,
    tally: Arc<Mutex<Tally>>,
    opening: Arc<Semaphore>,
) -> Option<Job> {
    let ground = &part.ground;
    let mut line = Line::new(ground, connection);
    let opened = {
        // The semaphore is never closed.
        let _permit = opening.acquire().await.ok();
        let began_ns = ground.now_ns();
        let opened = line
            .attach(began_ns.saturating_add(nanos(OPEN_PATIENCE)))
            .await;
        if matches!(role, Role::Hold) && opened.is_ok() {
            let now_ns = ground.now_ns();
            tally
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answered(Kind::Open, now_ns - began_ns, now_ns);
        }
        opened
    };
    let link = opened.map_err(|error| part.fail(error)).ok();
    part.all_there.wait().await;
    let link = link.filter(|_| !part.window.is_aborted())?;
    let course = Course {
        ground,
        window: &part.window,
        rules: &part.rules,
        connection,
        gap: part.gap.as_ref(),
        tally,
    };
    match role {
        Role::Drive(job) => {
            return drive(&course, line, link, job)
                .await
                .map_err(|error| part.fail(format!("connection {connection}: {error}")))
                .ok();
        }
        Role::Change(watchers) => {
            if let Err(error) = change(&course, &part.fan, watchers, link).await {
                part.fail(error);
            }
        }
        Role::Watch => watch(&course, &part.fan, line, link).await,
        Role::Hold => hold(&course, &part.held, line, link).await,
    }
    None
}
