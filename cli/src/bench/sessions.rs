//! Sessions that are held, and attached to again whenever their connection is lost.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jute_codec::proto::{OpCode, xid};
use tokio::sync::Barrier;
use tokio::time::sleep;

use super::alarm::Alarm;
use super::drive::{Course, close};
use super::ground::{Ground, nanos};
use super::line::Line;
use super::link::{Link, Turn};
use super::tally::{Broken, Kind, Tally, Trouble};

/// How long sessions are tried to be attached to again at the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// When connections went and came back, over all sessions.
#[derive(Debug)]
pub(crate) struct Held {
    /// Nanoseconds of the run's clock; the greatest number if none was lost.
    first_lost_ns: AtomicU64,
    last_back_ns: AtomicU64,
    back: AtomicU64,
    /// Whether every connection is dropped when the time is over.
    drop_all: bool,
    all_held: Barrier,
}

impl Held {
    pub(crate) fn new(sessions: usize, drop_all: bool) -> Self {
        Self {
            first_lost_ns: AtomicU64::new(u64::MAX),
            last_back_ns: AtomicU64::new(0),
            back: AtomicU64::new(0),
            drop_all,
            all_held: Barrier::new(sessions),
        }
    }

    /// How many were attached to again, and the first loss and the last return, if any.
    pub(crate) fn returns_ns(&self) -> (u64, Option<(u64, u64)>) {
        let back = self.back.load(Ordering::Relaxed);
        let lost_ns = self.first_lost_ns.load(Ordering::Relaxed);
        let span = (back > 0).then(|| (lost_ns, self.last_back_ns.load(Ordering::Relaxed)));
        (back, span)
    }

    fn lost(&self, at_ns: u64) {
        self.first_lost_ns.fetch_min(at_ns, Ordering::Relaxed);
    }

    fn came_back(&self, at_ns: u64) {
        self.last_back_ns.fetch_max(at_ns, Ordering::Relaxed);
        self.back.fetch_add(1, Ordering::Relaxed);
    }
}

fn tally<'a>(course: &'a Course<'_>) -> MutexGuard<'a, Tally> {
    course.tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds a session until time is over.
pub(crate) async fn hold(course: &Course<'_>, held: &Held, mut line: Line<'_>, link: Link) {
    let ground = course.ground;
    let over_ns = course.window.over_ns(ground);
    let mut link = Some(link);
    while let Some(alive) = link.as_mut() {
        if idle(ground, &mut line, alive, over_ns, course)
            .await
            .is_ok()
        {
            break;
        }
        tally(course).trouble(Trouble::Disconnected, 1);
        link = return_to(course, held, &mut line).await;
    }
    held.all_held.wait().await;
    if held.drop_all
        && let Some(alive) = link.take()
    {
        drop(alive);
        link = return_to(course, held, &mut line).await;
    }
    // Nobody closes before all are back: closing is work for the server, too.
    held.all_held.wait().await;
    if let Some(link) = link {
        close(link).await;
    }
}

/// Attaches to the session again.
async fn return_to(course: &Course<'_>, held: &Held, line: &mut Line<'_>) -> Option<Link> {
    let ground = course.ground;
    let lost_ns = ground.now_ns();
    held.lost(lost_ns);
    line.turn_away();
    let result = line.attach(lost_ns.saturating_add(nanos(PATIENCE))).await;
    let now_ns = ground.now_ns();
    let mut tally = tally(course);
    tally.trouble(Trouble::SessionExpired, std::mem::take(&mut line.expired));
    match result {
        Ok(link) => {
            tally.answered(Kind::Reattach, now_ns.saturating_sub(lost_ns), now_ns);
            held.came_back(now_ns);
            ground.answered.fetch_add(1, Ordering::Relaxed);
            Some(link)
        }
        Err(_) => {
            tally.trouble(Trouble::ConnectionLoss, 1);
            None
        }
    }
}

/// Pings until time is over.
///
/// # Errors
/// When the connection is lost.
async fn idle(
    ground: &Ground,
    line: &mut Line<'_>,
    link: &mut Link,
    over_ns: u64,
    course: &Course<'_>,
) -> io::Result<()> {
    let mut alarm = Alarm::new(line.tick(), None);
    let mut last_heard_ns = ground.now_ns();
    loop {
        let now_ns = ground.now_ns();
        if now_ns >= over_ns {
            return Ok(());
        }
        let turn = tokio::select! {
            turn = link.turn(Some(&mut alarm)) => turn?,
            () = sleep(Duration::from_nanos(over_ns - now_ns)) => return Ok(()),
        };
        if turn == Turn::Alarm {
            if ground.now_ns().saturating_sub(last_heard_ns) > line.silence_ns() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            link.write_request(xid::PING, OpCode::Ping, |_| {});
            continue;
        }
        last_heard_ns = ground.now_ns();
        while let Some(frame) = link.take_frame()? {
            if frame.zxid < line.session.last_zxid {
                tally(course).broken(
                    Broken::ZxidWentBack,
                    format_args!("{} after {}", frame.zxid, line.session.last_zxid),
                );
            }
            line.session.last_zxid = line.session.last_zxid.max(frame.zxid);
        }
    }
}
