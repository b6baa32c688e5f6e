//! What makes and takes bulk: bytes between packets that are no packets, or more of them than a queue can hold.

use std::io;

use bytes::Bytes;
use jute_codec::Zxid;

/// Makes bulk to be sent. Runs on a thread of its own and may block.
pub trait BulkSource: Send {
    /// The next bytes; `None` at the end. It is asked again when the connection has taken most of what it gave before.
    ///
    /// # Errors
    /// When there are no more bytes though there should be; the connection is closed.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>>;

    /// Asked once, at the end: proposals and commits up to this transaction need not be sent behind the bulk, it has
    /// them already.
    fn skip_through(&self) -> Option<Zxid> {
        None
    }
}

/// Takes bulk that is received. Runs on a thread of its own and may block.
pub trait BulkSink: Send {
    /// Takes bytes, which follow those that it took before. Of what it does not take, it is asked again; if it takes
    /// none, with more bytes behind.
    ///
    /// # Errors
    /// When the bytes are not what they should be, or cannot be stored; the connection is closed.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Taken>;

    /// The connection is gone before the end. May be called on the thread that all connections share: it must not
    /// take long.
    fn abort(self: Box<Self>);
}

/// What a [`BulkSink`] has done with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many of them were bulk, and more is to come.
    More(usize),
    /// So many of them were bulk, and that was the end of it; packets follow. The sink is not asked again.
    End(usize),
}

/// A sink that is aborted unless it has come to its end.
pub(super) struct Guarded(Option<Box<dyn BulkSink>>);

impl Guarded {
    pub(super) fn new(sink: Box<dyn BulkSink>) -> Self {
        Self(Some(sink))
    }

    /// Hands bytes to the sink; says how many it took, and whether that was all.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let sink = self.0.as_mut().ok_or_else(|| invalid("the bulk is over"))?;
        let (taken, at_end) = match sink.take(bytes)? {
            Taken::More(taken) => (taken, false),
            Taken::End(taken) => (taken, true),
        };
        if taken > bytes.len() {
            return Err(invalid("more bytes were taken than there were"));
        }
        if at_end {
            self.0 = None;
        }
        Ok((taken, at_end))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(sink) = self.0.take() {
            sink.abort();
        }
    }
}
