//! Counters: a number at a node, changed by compare and swap.
//!
//! Written as text, as kazoo's `Counter` does; as eight bytes, as Curator's `DistributedAtomicLong`; or as four, as
//! Curator's `SharedCount`. The most significant byte goes first.

use bytes::Bytes;
use jute_codec::ErrorCode;

use super::ensure_path;
use crate::path;
use crate::session::{Client, Error};

/// How the number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Decimal text: kazoo's `Counter`.
    Text,
    /// Eight bytes: Curator's `DistributedAtomicLong`.
    Long,
    /// Four bytes: Curator's `SharedCount`.
    Int,
}

/// A counter at a node; 0 where there is none yet.
#[derive(Debug, Clone)]
pub struct Counter {
    client: Client,
    path: String,
    format: Format,
}

/// What is the matter with a counter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// The servers, or the session. After [`Error::ConnectionLoss`] the number may have been changed or not.
    #[error(transparent)]
    Session(#[from] Error),
    /// The node's data is no number of this format.
    #[error("{path} holds no number of this format")]
    NoNumber {
        /// The node.
        path: String,
    },
    /// The result does not fit.
    #[error("{path} would go beyond what its format can hold")]
    Overflow {
        /// The node.
        path: String,
    },
}

impl Counter {
    /// The counter at a path.
    ///
    /// # Errors
    /// When the path could not be that of any node.
    pub fn new(client: &Client, path: &str, format: Format) -> Result<Self, Error> {
        path::validate(path)?;
        Ok(Self {
            client: client.clone(),
            path: path.to_owned(),
            format,
        })
    }

    /// The number.
    ///
    /// # Errors
    /// When there is no good reply, or something else than a number.
    pub async fn value(&self) -> Result<i64, CounterError> {
        match self.client.get(&self.path).await {
            Err(error) if error.is(ErrorCode::NoNode) => Ok(0),
            reply => self.decode(&reply?.data.unwrap_or_default()),
        }
    }

    /// Adds to it, and says what it was before and is now.
    ///
    /// # Errors
    /// When the result does not fit. After [`Error::ConnectionLoss`] it may have been added or not.
    pub async fn add(&self, delta: i64) -> Result<(i64, i64), CounterError> {
        self.change(|value| value.checked_add(delta)).await
    }

    /// Sets it, and says what it was before and is now.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub async fn set(&self, value: i64) -> Result<(i64, i64), CounterError> {
        self.change(|_| Some(value)).await
    }

    async fn change(
        &self,
        change: impl Fn(i64) -> Option<i64>,
    ) -> Result<(i64, i64), CounterError> {
        loop {
            let reply = match self.client.get(&self.path).await {
                Err(error) if error.is(ErrorCode::NoNode) => {
                    ensure_path(&self.client, &self.path).await?;
                    continue;
                }
                reply => reply?,
            };
            let before = self.decode(&reply.data.unwrap_or_default())?;
            let overflow = || CounterError::Overflow {
                path: self.path.clone(),
            };
            let after = change(before).ok_or_else(overflow)?;
            let data = self.encode(after).ok_or_else(overflow)?;
            match self.client.set(&self.path, data, reply.stat.version).await {
                Ok(_) => return Ok((before, after)),
                // Somebody else was quicker.
                Err(error) if error.is(ErrorCode::BadVersion) => {}
                Err(Error::ConnectionLoss) => {
                    self.client.sync(&self.path).await?;
                    let now = self.client.get(&self.path).await?;
                    // Certain only where nothing has changed.
                    if now.stat.version != reply.stat.version {
                        return Err(Error::ConnectionLoss.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn decode(&self, data: &Bytes) -> Result<i64, CounterError> {
        decode(data, self.format).ok_or_else(|| CounterError::NoNumber {
            path: self.path.clone(),
        })
    }

    fn encode(&self, value: i64) -> Option<Vec<u8>> {
        Some(match self.format {
            Format::Text => value.to_string().into_bytes(),
            Format::Long => value.to_be_bytes().to_vec(),
            Format::Int => i32::try_from(value).ok()?.to_be_bytes().to_vec(),
        })
    }
}

fn decode(data: &[u8], format: Format) -> Option<i64> {
    if data.is_empty() {
        return Some(0);
    }
    match format {
        Format::Text => std::str::from_utf8(data).ok()?.trim().parse().ok(),
        Format::Long => Some(i64::from_be_bytes(data.try_into().ok()?)),
        Format::Int => Some(i32::from_be_bytes(data.try_into().ok()?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_libraries_write_them() {
        for (data, format, value) in [
            (b"".as_slice(), Format::Text, Some(0)),
            (b"-12", Format::Text, Some(-12)),
            (b"1.5", Format::Text, None),
            (&[0, 0, 0, 0, 0, 0, 1, 2], Format::Long, Some(258)),
            (&[0, 1], Format::Long, None),
            (&[0xff, 0xff, 0xff, 0xfe], Format::Int, Some(-2)),
            (b"12345", Format::Int, None),
        ] {
            assert_eq!(decode(data, format), value, "{data:?}");
        }
    }
}
