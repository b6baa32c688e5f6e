//! Watch fan-out: one node changes, and everybody hears of it.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jute_codec::proto::{OpCode, xid};
use jute_codec::writer::write_str;
use jute_codec::{Jute, Zxid};
use tokio::select;
use tokio::sync::watch::{Sender, channel};
use tokio::time::sleep;

use super::alarm::Alarm;
use super::drive::{Course, close};
use super::ground::nanos;
use super::line::Line;
use super::link::{Link, Turn};
use super::tally::{Broken, Kind, Tally, Trouble};

/// How long the writer waits before it looks again whether all is ready.
const LOOK: Duration = Duration::from_millis(1);
/// How long all the events of one change may take.
const ROUND: Duration = Duration::from_secs(60);

/// What writer and watchers tell each other.
#[derive(Debug, Default)]
pub(crate) struct Fan {
    /// Watches that have been left since the last change.
    armed: AtomicU32,
    /// Events that have come since the last change.
    fired: AtomicU32,
    /// When the last change was sent.
    changed_ns: AtomicU64,
    /// When the newest event came.
    last_event_ns: AtomicU64,
    /// Watchers whose connection is gone.
    gone: AtomicU32,
    /// Grows when all have heard of a change. Nobody leaves a new watch before: what is measured is how long the events take.
    rounds: Rounds,
    /// Set by the writer when it is done.
    over: AtomicU32,
}

#[derive(Debug)]
struct Rounds(Sender<u64>);

impl Default for Rounds {
    fn default() -> Self {
        Self(channel(0).0)
    }
}

fn tally<'a>(course: &'a Course<'_>) -> MutexGuard<'a, Tally> {
    course.tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves a watch, waits for its event and for everybody else's, and again.
pub(crate) async fn watch(course: &Course<'_>, fan: &Fan, line: Line<'_>, mut link: Link) {
    if follow(course, fan, &line, &mut link).await.is_err() {
        fan.gone.fetch_add(1, Ordering::Relaxed);
        tally(course).trouble(Trouble::Disconnected, 1);
        return;
    }
    close(link).await;
}

async fn follow(
    course: &Course<'_>,
    fan: &Fan,
    line: &Line<'_>,
    link: &mut Link,
) -> io::Result<()> {
    let ground = course.ground;
    let mut alarm = Alarm::new(line.tick().min(Duration::from_millis(500)), None);
    let mut ping_ns = ground.now_ns();
    let (mut next_xid, mut last_zxid) = (1, Zxid::ZERO);
    let (mut watching, mut told) = (false, false);
    let mut rounds = fan.rounds.0.subscribe();
    arm(course, link, next_xid);
    while fan.over.load(Ordering::Acquire) == 0 {
        let turn = select! {
            turn = link.turn(Some(&mut alarm)) => turn?,
            // The sender is the fan's.
            Ok(()) = rounds.changed(), if told => {
                told = false;
                next_xid += 1;
                arm(course, link, next_xid);
                continue;
            }
        };
        if turn == Turn::Alarm {
            if ground.now_ns().saturating_sub(ping_ns) > nanos(line.tick()) {
                link.write_request(xid::PING, OpCode::Ping, |_| {});
                ping_ns = ground.now_ns();
            }
            continue;
        }
        let now_ns = ground.now_ns();
        while let Some(frame) = link.take_frame()? {
            match frame.xid {
                xid::PING => {}
                xid::NOTIFICATION => {
                    if !std::mem::take(&mut watching) {
                        tally(course).broken(Broken::ReplyOrder, "an event without a watch");
                        continue;
                    }
                    let changed_ns = fan.changed_ns.load(Ordering::Acquire);
                    let taken_ns = now_ns.saturating_sub(changed_ns);
                    if changed_ns >= course.window.measured_from_ns(ground) {
                        tally(course).answered(Kind::Event, taken_ns, now_ns);
                    }
                    fan.last_event_ns.fetch_max(now_ns, Ordering::Relaxed);
                    fan.fired.fetch_add(1, Ordering::Release);
                    ground.answered.fetch_add(1, Ordering::Relaxed);
                    told = true;
                }
                got => {
                    if got != next_xid || frame.err != 0 {
                        tally(course).broken(
                            Broken::ReplyOrder,
                            format_args!("{got} with code {} where {next_xid} was due", frame.err),
                        );
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    if frame.zxid < last_zxid {
                        tally(course).broken(
                            Broken::ZxidWentBack,
                            format_args!("{} after {last_zxid}", frame.zxid),
                        );
                    }
                    last_zxid = frame.zxid;
                    watching = true;
                    fan.armed.fetch_add(1, Ordering::Release);
                }
            }
        }
    }
    Ok(())
}

fn arm(course: &Course<'_>, link: &mut Link, xid: i32) {
    let mut path = String::new();
    course.rules.layout.key_path(0, &mut path);
    link.write_request(xid, OpCode::GetData, |out| {
        write_str(&path, out);
        true.write(out);
    });
}

/// Changes the node whenever all watches are there, until time is over.
///
/// # Errors
/// When the writer's own connection is lost, or events do not come.
pub(crate) async fn change(
    course: &Course<'_>,
    fan: &Fan,
    watchers: u32,
    mut link: Link,
) -> Result<(), String> {
    let result = changes(course, fan, watchers, &mut link).await;
    fan.over.store(1, Ordering::Release);
    result?;
    close(link).await;
    Ok(())
}

async fn changes(
    course: &Course<'_>,
    fan: &Fan,
    watchers: u32,
    link: &mut Link,
) -> Result<(), String> {
    let ground = course.ground;
    let mut path = String::new();
    course.rules.layout.key_path(0, &mut path);
    let mut next_xid = 1;
    loop {
        wait(course, fan, watchers, &fan.armed).await?;
        let now_ns = ground.now_ns();
        if now_ns >= course.window.over_ns(ground) {
            return Ok(());
        }
        fan.armed.store(0, Ordering::Relaxed);
        fan.fired.store(0, Ordering::Relaxed);
        fan.changed_ns.store(now_ns, Ordering::Release);
        let bytes = vec![0; course.rules.value_bytes];
        link.write_request(next_xid, OpCode::SetData, |out| {
            write_str(&path, out);
            jute_codec::writer::write_buffer(Some(&bytes), out);
            (-1i32).write(out);
        });
        let answer = loop {
            link.turn(None)
                .await
                .map_err(|error| format!("the writer's connection is lost: {error}"))?;
            if let Some(frame) = link.take_frame().map_err(|error| error.to_string())? {
                break frame;
            }
        };
        if answer.xid != next_xid || answer.err != 0 {
            return Err(format!("the change failed with code {}", answer.err));
        }
        next_xid += 1;
        wait(course, fan, watchers, &fan.fired).await?;
        fan.rounds.0.send_modify(|round| *round += 1);
        let last_ns = fan.last_event_ns.load(Ordering::Relaxed);
        if now_ns >= course.window.measured_from_ns(ground) {
            tally(course).answered(Kind::LastEvent, last_ns.saturating_sub(now_ns), last_ns);
        }
    }
}

/// Waits until a count has all watchers that are left.
async fn wait(
    course: &Course<'_>,
    fan: &Fan,
    watchers: u32,
    count: &AtomicU32,
) -> Result<(), String> {
    let until_ns = course.ground.now_ns().saturating_add(nanos(ROUND));
    loop {
        let left = watchers.saturating_sub(fan.gone.load(Ordering::Relaxed));
        if left == 0 {
            return Err("all watchers' connections are lost".to_owned());
        }
        if count.load(Ordering::Acquire) >= left {
            return Ok(());
        }
        if course.ground.now_ns() > until_ns {
            return Err(format!(
                "{} of {left} watchers have not been heard for {} s",
                left.saturating_sub(count.load(Ordering::Relaxed)),
                ROUND.as_secs()
            ));
        }
        sleep(LOOK).await;
    }
}
