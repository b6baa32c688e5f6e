//! One connection's loop: requests out, replies in, and a new connection when one is lost.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jute_codec::proto::{OpCode, xid};

use super::alarm::{Alarm, Pacer};
use super::ground::{Gap, Ground, Window, nanos};
use super::line::Line;
use super::link::{Frame, Link, Turn};
use super::tally::{Broken, Kind, Tally, Trouble};
use super::traffic::{Job, Rules, Slot, Traffic};

/// How long what is late at the end is waited for.
const DRAIN: Duration = Duration::from_secs(30);
/// How long the reply to a closing session is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What a connection's loop needs.
pub(crate) struct Course<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) window: &'a Window,
    pub(crate) rules: &'a Rules,
    pub(crate) connection: u32,
    /// Where acknowledged writes are told, if somebody wants to know.
    pub(crate) gap: Option<&'a Gap>,
    /// Shared by the connections of one thread, so that it is never waited for.
    pub(crate) tally: Arc<Mutex<Tally>>,
}

impl Course<'_> {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A paced connection's times.
struct Schedule {
    next_ns: f64,
    interval_ns: f64,
}

struct Driver<'a> {
    course: &'a Course<'a>,
    line: Line<'a>,
    traffic: Traffic<'a>,
    slots: VecDeque<Slot>,
    schedule: Option<Schedule>,
    alarm: Alarm,
    over_ns: u64,
    measured_from_ns: u64,
    last_heard_ns: u64,
    last_sent_ns: u64,
    exhausted: bool,
}

/// Runs a job to its end, and says how far it came.
pub(crate) async fn drive<'a>(
    course: &'a Course<'a>,
    line: Line<'a>,
    link: Link,
    job: Job,
) -> io::Result<Job> {
    let Course { ground, window, .. } = *course;
    let start_ns = window.start_ns(ground);
    let connections = f64::from(course.rules.connections);
    let schedule = window.pace().rate.map(|rate| {
        let interval_ns = 1e9 * connections / rate;
        let share = f64::from(course.connection) / connections;
        Schedule {
            next_ns: start_ns as f64 + interval_ns * share,
            interval_ns,
        }
    });
    let pacer = schedule.as_ref().map(|_| Pacer::new()).transpose()?;
    let mut driver = Driver {
        course,
        traffic: Traffic::new(course.rules, course.connection, job),
        slots: VecDeque::with_capacity(window.pace().in_flight + 1),
        schedule,
        alarm: Alarm::new(line.tick(), pacer),
        line,
        over_ns: window.over_ns(ground),
        measured_from_ns: window.measured_from_ns(ground),
        last_heard_ns: start_ns,
        last_sent_ns: start_ns,
        exhausted: false,
    };
    let link = driver.run(link).await?;
    driver.finish(link).await;
    Ok(driver.traffic.into_job())
}

impl Driver<'_> {
    /// Drives until all is done; there is no connection at the end if the last one was lost then.
    async fn run(&mut self, mut link: Link) -> io::Result<Option<Link>> {
        let now_ns = self.course.ground.now_ns();
        let slot = self.traffic.sync(&mut link, now_ns);
        self.slots.push_back(slot);
        loop {
            let now_ns = self.course.ground.now_ns();
            self.fill(&mut link, now_ns)?;
            if self.slots.is_empty() && self.is_over(now_ns) {
                return Ok(Some(link));
            }
            if now_ns > self.over_ns.saturating_add(nanos(DRAIN)) {
                return Ok(Some(link));
            }
            let lost = match link.turn(Some(&mut self.alarm)).await {
                Ok(Turn::Heard) => self.hear(&mut link).is_err(),
                Ok(Turn::Alarm) => self.look_after(&mut link),
                Err(_) => true,
            };
            if lost {
                self.lose();
                // A preparation has no end in time, but is not to hang when all servers are gone.
                let until_ns = self.over_ns.min(self.course.ground.now_ns() + nanos(DRAIN));
                match self.line.attach(until_ns).await {
                    Ok(next) => link = next,
                    Err(_) => return Ok(None),
                }
                self.last_heard_ns = self.course.ground.now_ns();
                self.last_sent_ns = self.last_heard_ns;
                self.exhausted = false;
                let expired = std::mem::take(&mut self.line.expired);
                self.course
                    .tally()
                    .trouble(Trouble::SessionExpired, expired);
            }
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        let due = match &self.schedule {
            Some(schedule) => schedule.next_ns < self.over_ns as f64,
            None => now_ns < self.over_ns,
        };
        self.exhausted || !due || self.course.window.is_aborted()
    }

    /// Adds the requests that are due and have room.
    fn fill(&mut self, link: &mut Link, now_ns: u64) -> io::Result<()> {
        let room = self.course.window.pace().in_flight;
        while self.slots.len() < room && !self.is_over(now_ns) {
            let due_ns = match &mut self.schedule {
                None => now_ns,
                Some(schedule) => {
                    let wait_ns = schedule.next_ns - now_ns as f64;
                    if wait_ns > 0.0 {
                        return self.alarm.set_fine(Duration::from_secs_f64(wait_ns / 1e9));
                    }
                    let due_ns = schedule.next_ns;
                    schedule.next_ns += schedule.interval_ns;
                    Duration::from_secs_f64(due_ns / 1e9)
                        .as_nanos()
                        .try_into()
                        .unwrap_or(u64::MAX)
                }
            };
            match self.traffic.next(link, due_ns) {
                Some(slot) => self.slots.push_back(slot),
                None => self.exhausted = true,
            }
            self.last_sent_ns = now_ns;
        }
        Ok(())
    }

    /// Takes all replies that have come; an error means that the connection is of no more use.
    fn hear(&mut self, link: &mut Link) -> io::Result<()> {
        let course = self.course;
        let now_ns = course.ground.now_ns();
        self.last_heard_ns = now_ns;
        let mut tally = course.tally();
        let mut answered = 0;
        while let Some(frame) = link.take_frame()? {
            self.note_zxid(&frame, &mut tally);
            if frame.xid == xid::PING || frame.xid == xid::NOTIFICATION {
                continue;
            }
            let Some(slot) = self.slots.pop_front() else {
                tally.broken(
                    Broken::ReplyOrder,
                    format_args!("{} answers nothing", frame.xid),
                );
                return Err(io::ErrorKind::InvalidData.into());
            };
            if slot.xid != frame.xid {
                tally.broken(
                    Broken::ReplyOrder,
                    format_args!("{} where {} was due", frame.xid, slot.xid),
                );
                self.slots.push_front(slot);
                return Err(io::ErrorKind::InvalidData.into());
            }
            if frame.err != 0 {
                if self.traffic.failed(&slot, frame.err) {
                    tally.trouble(Trouble::Code(frame.err), 1);
                }
                continue;
            }
            self.traffic
                .check(&slot, &frame, link.body(&frame), &mut tally);
            answered += 1;
            if slot.kind == Kind::Sync {
                continue;
            }
            if let Some(gap) = course.gap {
                gap.acknowledged(now_ns);
            }
            if slot.due_ns >= self.measured_from_ns {
                tally.answered(slot.kind, now_ns.saturating_sub(slot.due_ns), now_ns);
            }
        }
        course
            .ground
            .answered
            .fetch_add(answered, Ordering::Relaxed);
        Ok(())
    }

    fn note_zxid(&mut self, frame: &Frame, tally: &mut Tally) {
        let session = &mut self.line.session;
        // An event has the zxid of what it tells of, and -1 with servers of before 3.9.
        if frame.xid == xid::NOTIFICATION || !self.course.rules.verify {
            return;
        }
        if frame.zxid < session.last_zxid {
            tally.broken(
                Broken::ZxidWentBack,
                format_args!("{} after {}", frame.zxid, session.last_zxid),
            );
        }
        session.last_zxid = session.last_zxid.max(frame.zxid);
    }

    /// Pings when nothing was sent for long; true if the server has been silent for too long.
    fn look_after(&mut self, link: &mut Link) -> bool {
        let now_ns = self.course.ground.now_ns();
        if now_ns.saturating_sub(self.last_heard_ns) > self.line.silence_ns() {
            return true;
        }
        if now_ns.saturating_sub(self.last_sent_ns) >= nanos(self.line.tick()) {
            link.write_request(xid::PING, OpCode::Ping, |_| {});
            self.last_sent_ns = now_ns;
        }
        false
    }

    /// Gives up what was under way on a connection that is lost.
    fn lose(&mut self) {
        let mut tally = self.course.tally();
        tally.trouble(Trouble::Disconnected, 1);
        for slot in self.slots.drain(..) {
            self.traffic.lost(&slot);
            if slot.kind != Kind::Sync {
                tally.trouble(Trouble::ConnectionLoss, 1);
            }
        }
        self.line.turn_away();
    }

    /// Counts what was never sent, and closes the session.
    async fn finish(&mut self, link: Option<Link>) {
        if let Some(schedule) = &self.schedule {
            let left_ns = (self.over_ns as f64 - schedule.next_ns).max(0.0);
            let left = Duration::from_secs_f64(left_ns / schedule.interval_ns).as_secs();
            self.course.tally().trouble(Trouble::NotSent, left);
        }
        let late = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        self.course.tally().trouble(Trouble::ConnectionLoss, late);
        if let Some(link) = link.filter(|_| late == 0) {
            close(link).await;
        }
    }
}

/// Closes a session that nothing is under way on.
pub(crate) async fn close(mut link: Link) {
    link.write_request(0, OpCode::CloseSession, |_| {});
    let closing = async {
        // The reply, or the end of the connection: either will do.
        while let Ok(Turn::Heard) = link.turn(None).await {
            match link.take_frame() {
                Ok(Some(_)) | Err(_) => break,
                Ok(None) => {}
            }
        }
    };
    tokio::time::timeout(CLOSE_WAIT, closing).await.ok();
}
