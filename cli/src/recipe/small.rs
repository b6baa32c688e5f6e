//! `zab barrier`, `zab counter`, `zab id` and `zab queue`.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use rustix::process::Signal;
use tokio::time::{sleep, timeout};
use zab::recipes::barrier::{Barrier, DoubleBarrier};
use zab::recipes::counter::{self, Counter};
use zab::recipes::id::{self, Snowflake, Worker};
use zab::recipes::lock::Lock;
use zab::recipes::queue::{Item, Queue, Style};
use zab::{Client, Error as SessionError};

use super::child::{self, Ending, Orders, Signals};
use super::lock::close;
use super::options::{self, BarrierAction, CounterAction, IdAction, QueueAction};
use super::{RecipeError, Site, exit};

/// Waits for something, for some time if it is given.
async fn within<T>(patience: Option<Duration>, wait: impl Future<Output = T>) -> Option<T> {
    match patience {
        Some(patience) => timeout(patience, wait).await.ok(),
        None => Some(wait.await),
    }
}

pub(super) async fn barrier(site: &Site, words: &[String]) -> Result<u8, RecipeError> {
    let options = options::Barrier::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let done = match options.action {
        BarrierAction::Set | BarrierAction::Remove => {
            let action = barrier_action(&client, &options, &mut signals);
            site.answered(&client, action).await
        }
        BarrierAction::Wait { .. } | BarrierAction::Enter { .. } => {
            barrier_action(&client, &options, &mut signals).await
        }
    };
    close(&client).await;
    done
}

async fn barrier_action(
    client: &Client,
    options: &options::Barrier,
    signals: &mut Signals,
) -> Result<u8, RecipeError> {
    let gate = Barrier::new(client, &options.path)?;
    match &options.action {
        BarrierAction::Set => drop(signals.over(async { Ok(gate.set().await?) }).await?),
        BarrierAction::Remove => drop(signals.over(async { Ok(gate.remove().await?) }).await?),
        BarrierAction::Wait { timeout } => {
            let open = within(*timeout, gate.wait());
            match signals.over(async { Ok(open.await) }).await? {
                Some(open) => open?,
                None => return Ok(exit::NOT_OBTAINED),
            }
        }
        BarrierAction::Enter {
            count,
            timeout,
            command,
        } => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            let room = DoubleBarrier::new(client, &options.path, count)?;
            let entered = within(*timeout, room.enter());
            match signals.over(async { Ok(entered.await) }).await? {
                Some(inside) => inside?,
                None => return Ok(exit::NOT_OBTAINED),
            }
            let orders = Orders {
                signal: Signal::TERM,
                grace: Duration::ZERO,
            };
            let never = std::future::pending::<()>();
            let environment = [("ZAB_PATH", options.path.clone())];
            let end = child::run_while(command, &environment, orders, signals, never).await?;
            signals.over(async { Ok(room.leave().await?) }).await?;
            if let Ending::Exited(status) = end {
                return Ok(child::exit_code(status));
            }
        }
    }
    Ok(0)
}

pub(super) async fn counter(
    site: &Site,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Counter::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let action = counter_action(&client, &options);
    let value = signals.over(site.answered(&client, action)).await;
    close(&client).await;
    writeln!(out, "{}", value?)?;
    Ok(0)
}

async fn counter_action(client: &Client, options: &options::Counter) -> Result<i64, RecipeError> {
    let format = match options.format {
        options::Format::Text => counter::Format::Text,
        options::Format::Long => counter::Format::Long,
        options::Format::Int => counter::Format::Int,
    };
    let counter = Counter::new(client, &options.path, format)?;
    Ok(match options.action {
        None | Some(CounterAction::Get) => counter.value().await?,
        Some(CounterAction::Add { delta }) => counter.add(delta).await?.1,
        Some(CounterAction::Set { value }) => counter.set(value).await?.1,
    })
}

pub(super) async fn queue(
    site: &Site,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Queue::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    // Before there is a session, which would not outlast who types slowly.
    let item = match &options.action {
        QueueAction::Put { item, .. } => item_bytes(item)?,
        _ => Vec::new(),
    };
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let action = queue_action(&client, &options, item, out);
    let done = match options.action {
        QueueAction::Take { timeout: None } => signals.over(action).await,
        QueueAction::Take { .. } => match signals.over(site.answered(&client, action)).await {
            // It may be gone already.
            Err(RecipeError::Session(SessionError::NoServer { .. })) => {
                Err(SessionError::ConnectionLoss.into())
            }
            done => done,
        },
        _ => signals.over(site.answered(&client, action)).await,
    };
    close(&client).await;
    done
}

async fn queue_action(
    client: &Client,
    options: &options::Queue,
    item: Vec<u8>,
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let queue = Queue::new(client, &options.path)?;
    match &options.action {
        QueueAction::Put {
            layout, priority, ..
        } => {
            let style = match layout {
                options::Layout::Curator => Style::Curator,
                options::Layout::Kazoo => Style::Kazoo(*priority),
            };
            queue.put(item, style).await?;
        }
        QueueAction::Take { timeout } => {
            let item = match timeout {
                Some(patience) => queue.take_within(*patience).await?,
                None => Some(queue.take().await?),
            };
            let Some(Item { data, only_here }) = item else {
                return Ok(exit::NOT_OBTAINED);
            };
            out.write_all(&data)?;
            writeln!(out)?;
            return Ok(if only_here { 0 } else { exit::UNKNOWN });
        }
        QueueAction::Peek => match queue.peek().await? {
            Some(data) => {
                out.write_all(&data)?;
                writeln!(out)?;
            }
            None => return Ok(exit::NOT_OBTAINED),
        },
        QueueAction::Len => writeln!(out, "{}", queue.len().await?)?,
    }
    Ok(0)
}

fn item_bytes(item: &str) -> std::io::Result<Vec<u8>> {
    if item != "-" {
        return Ok(item.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) async fn id(
    site: &Site,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Id::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let ids = site.answered(&client, ids(&client, &options));
    let ids = signals.over(ids).await;
    close(&client).await;
    for line in ids? {
        writeln!(out, "{line}")?;
    }
    Ok(0)
}

async fn ids(client: &Client, options: &options::Id) -> Result<Vec<String>, RecipeError> {
    match &options.action {
        IdAction::Worker { name } => {
            let mut worker = Worker::claim(client, &options.path, name, now_ms()).await?;
            worker.vouch(now_ms()).await?;
            Ok(vec![worker.id().to_string()])
        }
        IdAction::Snowflake { name, count } => {
            snowflakes(client, &options.path, name, *count).await
        }
        IdAction::Segment { step } => {
            let (first, last) = id::segment(client, &options.path, *step).await?;
            Ok(vec![format!("{first} {last}")])
        }
    }
}

/// Makes ids as the only one who is this worker now. What is noted before they are told is the time of the last: who
/// comes next makes ids for later times only.
async fn snowflakes(
    client: &Client,
    path: &str,
    name: &str,
    count: u32,
) -> Result<Vec<String>, RecipeError> {
    let lock = zab::path::join(&zab::path::join(path, "locks"), name);
    let guard = Lock::exclusive(client, &lock)?.acquire().await?;
    let mut worker = Worker::claim(client, path, name, now_ms()).await?;
    let mut maker = Snowflake::new(worker.id(), worker.last_ms());
    let mut ids = Vec::new();
    while ids.len() < usize::try_from(count).unwrap_or(usize::MAX) {
        match maker.next(now_ms()) {
            Some(id) => ids.push(id.to_string()),
            None => sleep(Duration::from_millis(1)).await,
        }
    }
    worker.vouch(maker.last_ms()).await?;
    guard.release().await?;
    Ok(ids)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
