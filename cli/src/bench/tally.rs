//! What was seen: times by kind of request, errors, and promises that were not kept.

use std::collections::BTreeMap;
use std::fmt;

use jute_codec::ErrorCode;

use super::histogram::Histogram;

/// Kinds of request with a histogram of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Children,
    Create,
    Delete,
    Multi,
    Read,
    /// Passes the time until a server has caught up; never measured.
    Sync,
    Write,
    /// From a change to the event of one watcher.
    Event,
    /// From a change to the event of the last watcher.
    LastEvent,
    /// From connecting to a new session.
    Open,
    /// From a lost connection to the session on another.
    Reattach,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Children => "children",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Multi => "multi",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Write => "write",
            Self::Event => "event",
            Self::LastEvent => "last event",
            Self::Open => "open",
            Self::Reattach => "reattach",
        }
    }
}

/// Something that did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// The server said no, with this code.
    Code(i32),
    /// The request was under way when its connection was lost.
    ConnectionLoss,
    /// A connection was lost.
    Disconnected,
    /// A session was gone when it was attached to again.
    SessionExpired,
    /// The request was due, and not sent when the run was over.
    NotSent,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => match ErrorCode::from_i32(*code) {
                Some(code) => f.write_str(code.text()),
                None => write!(f, "code {code}"),
            },
            Self::ConnectionLoss => f.write_str("lost with its connection"),
            Self::Disconnected => f.write_str("connection lost"),
            Self::SessionExpired => f.write_str("session expired"),
            Self::NotSent => f.write_str("due and not sent"),
        }
    }
}

/// A promise of ZooKeeper's that was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// A reply came out of the order of the requests.
    ReplyOrder,
    /// A reply cannot be read.
    Garbled,
    /// A reply's zxid is below an earlier one's of the same session.
    ZxidWentBack,
    /// A session's write has no greater zxid than the one before.
    WriteOrder,
    /// A value is not what was written.
    WrongValue,
}

impl Broken {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReplyOrder => "reply out of order",
            Self::Garbled => "reply cannot be read",
            Self::ZxidWentBack => "zxid went back",
            Self::WriteOrder => "writes out of order",
            Self::WrongValue => "wrong value",
        }
    }
}

/// Counts of what was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    times: BTreeMap<Kind, Histogram>,
    troubles: BTreeMap<Trouble, u64>,
    /// With the words of the first.
    broken: BTreeMap<Broken, (u64, String)>,
    /// When the last measured reply came, in nanoseconds of the run's clock.
    last_reply_ns: u64,
}

impl Tally {
    /// Counts a request that was answered `taken_ns` after it was due.
    pub(crate) fn answered(&mut self, kind: Kind, taken_ns: u64, now_ns: u64) {
        self.times
            .entry(kind)
            .or_insert_with(Histogram::new)
            .record(taken_ns);
        self.last_reply_ns = self.last_reply_ns.max(now_ns);
    }

    pub(crate) fn trouble(&mut self, trouble: Trouble, count: u64) {
        if count > 0 {
            *self.troubles.entry(trouble).or_insert(0) += count;
        }
    }

    pub(crate) fn broken(&mut self, broken: Broken, words: impl fmt::Display) {
        self.broken
            .entry(broken)
            .or_insert_with(|| (0, words.to_string()))
            .0 += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (kind, histogram) in &other.times {
            self.times
                .entry(*kind)
                .or_insert_with(Histogram::new)
                .merge(histogram);
        }
        for (trouble, count) in &other.troubles {
            self.trouble(*trouble, *count);
        }
        for (broken, (count, words)) in &other.broken {
            let entry = self.broken.entry(*broken).or_insert((0, words.clone()));
            entry.0 += count;
        }
        self.last_reply_ns = self.last_reply_ns.max(other.last_reply_ns);
    }

    pub(crate) fn times(&self) -> &BTreeMap<Kind, Histogram> {
        &self.times
    }

    pub(crate) fn troubles(&self) -> &BTreeMap<Trouble, u64> {
        &self.troubles
    }

    pub(crate) fn broken_promises(&self) -> &BTreeMap<Broken, (u64, String)> {
        &self.broken
    }

    pub(crate) fn last_reply_ns(&self) -> u64 {
        self.last_reply_ns
    }

    /// Requests that were answered well, over all kinds.
    pub(crate) fn count(&self) -> u64 {
        self.times.values().map(Histogram::count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_up_and_keeps_the_first_words() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.answered(Kind::Read, 10, 100);
        other.answered(Kind::Read, 30, 90);
        other.answered(Kind::Write, 5, 95);
        one.trouble(Trouble::Code(-101), 2);
        other.trouble(Trouble::Code(-101), 1);
        other.trouble(Trouble::NotSent, 0);
        one.broken(Broken::WrongValue, "first");
        other.broken(Broken::WrongValue, "second");
        other.broken(Broken::WrongValue, "third");
        one.merge(&other);
        assert_eq!(one.count(), 3);
        assert_eq!(one.times()[&Kind::Read].max(), 30);
        assert_eq!(one.last_reply_ns(), 100);
        let troubles: Vec<_> = one
            .troubles()
            .iter()
            .map(|(t, n)| format!("{t} {n}"))
            .collect();
        assert_eq!(troubles, ["NoNode 3"]);
        assert_eq!(
            one.broken_promises()[&Broken::WrongValue],
            (3, "first".into())
        );
    }
}
