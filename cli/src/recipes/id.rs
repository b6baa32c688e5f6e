//! Numbers that nobody else has: worker ids and Snowflake ids as Leaf makes them, and segments of a counter.
//!
//! A worker keeps its number under its name: a persistent sequential node in `PATH/forever`, whose number is the id and
//! whose data says when the worker was last alive, by its own clock. Who comes back with a clock behind that would
//! make ids a second time, and is refused.

use std::time::Duration;

use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode};
use serde_json::{Value, json};

use super::counter::{Counter, CounterError, Format};
use super::ensure_path;
use crate::path;
use crate::session::{Client, Error};

/// The node of workers' nodes.
const FOREVER: &str = "forever";

/// The greatest worker id that fits into an id.
pub const WORKER_MAX: i64 = 1023;
/// The greatest number within a millisecond.
const SEQUENCE_MAX: i64 = 4095;
/// When time begins: 2010-11-04, as Leaf and Twitter have it, in milliseconds since 1970 UTC.
pub const EPOCH_MS: i64 = 1_288_834_974_657;

/// Why there is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The servers, or the session.
    #[error(transparent)]
    Session(#[from] Error),
    /// The counter of segments.
    #[error(transparent)]
    Counter(#[from] CounterError),
    /// This machine's clock is behind what the worker has used before.
    #[error("the clock is {} ms behind the worker's last time: set it right, or wait", .by.as_millis())]
    ClockBehind {
        /// How far.
        by: Duration,
    },
    /// There are more workers than ids have room for.
    #[error("worker {name} would have number {number}; ids have room for {WORKER_MAX}")]
    TooManyWorkers {
        /// The worker.
        name: String,
        /// Its number.
        number: i64,
    },
}

/// A worker with a number of its own.
#[derive(Debug, Clone)]
pub struct Worker {
    client: Client,
    node: String,
    name: String,
    id: i64,
    /// The last time, in milliseconds since 1970 UTC, that the worker may have made ids for.
    last_ms: i64,
}

impl Worker {
    /// The worker of this name, such as `10.0.0.1:8080`, new or as known at `path`. `now_ms` is this machine's clock,
    /// in milliseconds since 1970 UTC. Two processes must not be one worker at a time.
    ///
    /// # Errors
    /// [`IdError::ClockBehind`] and [`IdError::TooManyWorkers`]; when there is no good reply.
    pub async fn claim(
        client: &Client,
        path: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<Self, IdError> {
        let forever = path::join(path, FOREVER);
        ensure_path(client, &forever).await?;
        let mut known = find(client, &forever, name).await?;
        while known.is_none() {
            let front = path::join(&forever, &format!("{name}-"));
            let (flags, open) = (CreateFlags::PersistentSequential, [Acl::open()]);
            let data = endpoint(name, now_ms);
            match client.create(&front, data, flags, &open).await {
                Ok(_) => {}
                Err(Error::ConnectionLoss) => client.sync(&forever).await?,
                Err(error) => return Err(error.into()),
            }
            // The lowest of several, should somebody else have made one for the same name.
            known = find(client, &forever, name).await?;
        }
        let Some((node, id)) = known else {
            return Err(Error::Server(ErrorCode::NoNode.code()).into());
        };
        if id > WORKER_MAX {
            return Err(IdError::TooManyWorkers {
                name: name.to_owned(),
                number: id,
            });
        }
        let data = client.get(&node).await?.data.unwrap_or_default();
        let last_ms = timestamp(&data).unwrap_or(0);
        if last_ms > now_ms {
            let by = u64::try_from(last_ms - now_ms).unwrap_or(u64::MAX);
            return Err(IdError::ClockBehind {
                by: Duration::from_millis(by),
            });
        }
        Ok(Self {
            client: client.clone(),
            node,
            name: name.to_owned(),
            id,
            last_ms,
        })
    }

    /// The number, from 0 to [`WORKER_MAX`].
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The last time that the worker may have made ids for, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// Notes that ids are made for times up to `now_ms`. To be done every few seconds, and before the first id.
    ///
    /// # Errors
    /// When there is no good reply.
    pub async fn vouch(&mut self, now_ms: i64) -> Result<(), Error> {
        let now_ms = now_ms.max(self.last_ms);
        loop {
            let data = endpoint(&self.name, now_ms);
            match self.client.set(&self.node, data, -1).await {
                Ok(_) => {
                    self.last_ms = now_ms;
                    return Ok(());
                }
                Err(Error::ConnectionLoss) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes ids: 41 bits of milliseconds, 10 of the worker, 12 of a count.
#[derive(Debug, Clone)]
pub struct Snowflake {
    worker: i64,
    last_ms: i64,
    sequence: i64,
}

impl Snowflake {
    /// A maker of ids for times after `last_ms`.
    #[must_use]
    pub fn new(worker: i64, last_ms: i64) -> Self {
        Self {
            worker,
            last_ms,
            sequence: SEQUENCE_MAX,
        }
    }

    /// The next id at this time; none while the clock stands behind the last id, or its millisecond is used up.
    pub fn next(&mut self, now_ms: i64) -> Option<i64> {
        if now_ms < self.last_ms || now_ms < EPOCH_MS {
            return None;
        }
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            self.sequence = 0;
        } else if self.sequence >= SEQUENCE_MAX {
            return None;
        } else {
            self.sequence += 1;
        }
        Some(((now_ms - EPOCH_MS) << 22) | (self.worker << 12) | self.sequence)
    }

    /// The time of the last id, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }
}

/// Takes `step` numbers of a counter, and says the first and the last. None of them is ever given again; a lost
/// connection may leave a gap.
///
/// # Errors
/// When there is no good reply, or the counter has come to its end.
pub async fn segment(client: &Client, path: &str, step: i64) -> Result<(i64, i64), IdError> {
    let counter = Counter::new(client, path, Format::Text)?;
    loop {
        match counter.add(step).await {
            Ok((before, after)) => return Ok((before.saturating_add(1), after)),
            Err(CounterError::Session(Error::ConnectionLoss)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn find(client: &Client, forever: &str, name: &str) -> Result<Option<(String, i64)>, Error> {
    let children = client.children(forever).await?.children;
    let numbers = children.iter().filter_map(|child| {
        let child = path::name(child);
        let (worker, number) = child.rsplit_once('-')?;
        (worker == name).then_some((number.parse::<i64>().ok()?, child))
    });
    Ok(numbers
        .min()
        .map(|(number, child)| (path::join(forever, child), number)))
}

/// A worker's data as Leaf writes it.
fn endpoint(name: &str, timestamp_ms: i64) -> Vec<u8> {
    let (ip, port) = name.rsplit_once(':').unwrap_or((name, ""));
    json!({"ip": ip, "port": port, "timestamp": timestamp_ms})
        .to_string()
        .into_bytes()
}

fn timestamp(data: &[u8]) -> Option<i64> {
    let value: Value = serde_json::from_slice(data).ok()?;
    value.get("timestamp")?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_and_never_come_twice() {
        let now = EPOCH_MS + 1000;
        let mut maker = Snowflake::new(5, now);
        assert_eq!(maker.next(now), None, "that millisecond may be used up");
        assert_eq!(maker.next(now - 1), None);
        let mut last = 0;
        for at in [now + 1, now + 2] {
            for count in 0..=SEQUENCE_MAX {
                let id = maker.next(at).unwrap();
                assert!(id > last);
                assert_eq!((id >> 12) & WORKER_MAX, 5);
                assert_eq!(id & SEQUENCE_MAX, count);
                last = id;
            }
            assert_eq!(maker.next(at), None);
        }
    }

    #[test]
    fn workers_say_when_they_were_alive_as_leaf_does() {
        let data = endpoint("10.0.0.1:80", 7);
        assert_eq!(
            serde_json::from_slice::<Value>(&data).unwrap(),
            json!({"ip": "10.0.0.1", "port": "80", "timestamp": 7})
        );
        assert_eq!(timestamp(&data), Some(7));
        assert_eq!(timestamp(b"{}"), None);
        assert_eq!(timestamp(b"\xff"), None);
    }
}
