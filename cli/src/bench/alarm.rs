//! When a connection has to be looked after although nothing has come: coarse for pings, fine for a paced load.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep};

/// Goes off now and then, and when the pacer says so.
#[derive(Debug)]
pub(crate) struct Alarm {
    every: Duration,
    coarse: Pin<Box<Sleep>>,
    fine: Option<Pacer>,
}

impl Alarm {
    /// An alarm that goes off after each `every`.
    pub(crate) fn new(every: Duration, fine: Option<Pacer>) -> Self {
        Self {
            every,
            coarse: Box::pin(sleep(every)),
            fine,
        }
    }

    /// Goes off once more after this time.
    pub(crate) fn set_fine(&mut self, after: Duration) -> io::Result<()> {
        self.fine.as_ref().map_or(Ok(()), |fine| fine.set(after))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.coarse.as_mut().poll(cx).is_ready() {
            self.coarse.as_mut().reset(Instant::now() + self.every);
            return Poll::Ready(Ok(()));
        }
        match &mut self.fine {
            Some(fine) => fine.poll(cx),
            None => Poll::Pending,
        }
    }
}

/// A timer of the kernel's: the runtime's own ticks in milliseconds, which is longer than many a request takes.
#[derive(Debug)]
pub(crate) struct Pacer(AsyncFd<OwnedFd>);

impl Pacer {
    #[expect(
        deprecated,
        reason = "what is wrong with it are types whose descriptor changes; the new one is unsafe"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(AsyncFd::new(timerfd_create(
            TimerfdClockId::Monotonic,
            flags,
        )?)?))
    }

    fn set(&self, after: Duration) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        timerfd_settime(
            self.0.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: zero,
                it_value: value,
            },
        )?;
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let mut count = [0; 8];
            match rustix::io::read(self.0.get_ref(), &mut count) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if io::Error::from(error).kind() == ErrorKind::WouldBlock => {
                    guard.clear_ready();
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}
