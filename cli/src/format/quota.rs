//! The text of quota nodes: `count=2,bytes=100=;byteHardLimit=-1;countHardLimit=3`.
//!
//! ZooKeeper: `StatsTrack`.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// Something that a quota bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Count,
    Bytes,
    CountHardLimit,
    ByteHardLimit,
}

impl Field {
    const fn key(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::CountHardLimit => "countHardLimit",
            Self::ByteHardLimit => "byteHardLimit",
        }
    }
}

/// A quota node that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" in a quota node is not a key and a number")]
pub(crate) struct QuotaTextError(String);

/// Limits or usage; what is absent or -1 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StatsTrack(BTreeMap<String, i64>);

impl StatsTrack {
    /// Reads a quota node's data; null and empty are the same.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, QuotaTextError> {
        let text = String::from_utf8_lossy(data);
        let mut track = Self::default();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let error = || QuotaTextError(pair.to_owned());
            // The number of bytes is followed by a second `=` that means nothing.
            let mut parts = pair.split('=');
            let (key, value) = parts.next().zip(parts.next()).ok_or_else(error)?;
            let value = match value {
                "" => -1,
                value => value.parse().map_err(|_| error())?,
            };
            track.0.insert(key.to_owned(), value);
        }
        Ok(track)
    }

    pub(crate) fn set(&mut self, field: Field, value: i64) {
        self.0.insert(field.key().to_owned(), value);
    }

    /// The value, or -1.
    pub(crate) fn value(&self, field: Field) -> i64 {
        self.0.get(field.key()).copied().unwrap_or(-1)
    }
}

impl fmt::Display for StatsTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = (self.value(Field::Count), self.value(Field::Bytes));
        write!(f, "count={count},bytes={bytes}")?;
        let others = self.0.iter().filter(|(key, _)| {
            let key = key.as_str();
            key != Field::Count.key() && key != Field::Bytes.key()
        });
        for (at, (key, value)) in others.enumerate() {
            let before = if at == 0 { "=;" } else { ";" };
            write!(f, "{before}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_and_write_back_the_same() {
        for text in [
            "count=2,bytes=100",
            "count=2,bytes=100=;byteHardLimit=-1;countHardLimit=3",
        ] {
            let track = StatsTrack::parse(text.as_bytes()).unwrap();
            assert_eq!(track.to_string(), text);
            assert_eq!(track.value(Field::Bytes), 100);
        }
        assert_eq!(
            StatsTrack::parse(b"").unwrap().to_string(),
            "count=-1,bytes=-1"
        );
    }

    #[test]
    fn damaged_text_is_an_error() {
        for text in ["count", "count=x", "count=1,=,bytes"] {
            assert!(StatsTrack::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
