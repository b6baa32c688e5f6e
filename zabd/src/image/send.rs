//! A snapshot as a leader sends it.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::snapshot::{
    OPEN_ACL, write_acl, write_count, write_end, write_node, write_session,
};

use super::acl_numbers::{AclNumbers, text_of};
use crate::state::RowError;
use crate::state::tree::RowDecoder;
use crate::storage::disk::Disk;
use crate::storage::snapshot::{SnapshotError, SnapshotStore, SnapshotView};
use crate::storage::txn_log::{LogError, LogHold, LogIndex};

/// A snapshot in the encoding of Java's, made slice by slice out of a view: everything as of one transaction, whatever is
/// applied and folded meanwhile. In memory are one slice and the distinct access control lists.
///
/// The rows are read twice: the lists come before the nodes, and only the rows tell which there are.
///
/// ZooKeeper: `SerializeUtils.serializeSnapshot`, whose streams are not of one moment.
pub struct SnapshotStream {
    view: Box<dyn SnapshotView>,
    slice_bytes: usize,
    acls: AclNumbers,
    part: Part,
}

enum Part {
    Head,
    Nodes { after: Option<Bytes> },
    Over,
}

/// Why a stream breaks off. What was sent so far is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The store.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A row is not what a zabd wrote.
    #[error("the snapshot cannot be sent: {0}")]
    Row(#[from] RowError),
    /// There is more of something than the encoding can count.
    #[error("the snapshot cannot be sent: it has {count} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

impl SnapshotStream {
    /// A stream of what `store` has now, and a hold that keeps the log after it from being purged, for what is to be
    /// sent next. `None` while there was no fold yet: one is to be made first. Nobody may purge the log meanwhile.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub fn open<D: Disk>(
        store: &dyn SnapshotStore,
        log: &LogIndex<D>,
        slice_bytes: usize,
    ) -> Result<Option<(Self, LogHold)>, SendError> {
        let Some(view) = store.view()? else {
            return Ok(None);
        };
        let hold = log.hold_after(view.meta().zxid)?;
        Ok(Some((Self::new(view, slice_bytes), hold)))
    }

    /// A stream of what `view` shows, in slices of about `slice_bytes` bytes.
    #[must_use]
    pub fn new(view: Box<dyn SnapshotView>, slice_bytes: usize) -> Self {
        Self {
            view,
            slice_bytes,
            acls: AclNumbers::default(),
            part: Part::Head,
        }
    }

    /// The transaction as of which the snapshot is, exactly.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.view.meta().zxid
    }

    /// The next slice; `None` when the snapshot is complete, signature included.
    ///
    /// # Errors
    /// Damage; the disk's. There is no going on then.
    pub fn next_slice(&mut self) -> Result<Option<Bytes>, SendError> {
        match std::mem::replace(&mut self.part, Part::Over) {
            Part::Head => {
                let head = self.head()?;
                self.part = Part::Nodes { after: None };
                Ok(Some(head))
            }
            Part::Nodes { after } => self.nodes(after).map(Some),
            Part::Over => Ok(None),
        }
    }

    fn head(&mut self) -> Result<Bytes, SendError> {
        let mut out = Vec::new();
        let sessions = self.view.sessions()?;
        write_count(count("sessions", sessions.len())?, &mut out);
        for (session, timeout_ms) in sessions {
            write_session(session, timeout_ms, &mut out);
        }
        let mut after = None;
        let mut decoder = RowDecoder::default();
        loop {
            let rows = self.view.rows_after(after.as_deref(), self.slice_bytes)?;
            for (key, row) in &rows {
                let image = decoder.decode(path_of(key)?, row)?;
                if !image.same_acl
                    && let Some(acl) = image.acl
                {
                    self.acls.add(acl);
                }
            }
            let Some((last, _)) = rows.last() else {
                break;
            };
            after = Some(last.clone());
        }
        let lists = self.acls.lists();
        write_count(count("access control lists", lists.len())?, &mut out);
        for (number, acl) in lists {
            write_acl(number, acl, &mut out);
        }
        Ok(out.into())
    }

    fn nodes(&mut self, after: Option<Bytes>) -> Result<Bytes, SendError> {
        let rows = self.view.rows_after(after.as_deref(), self.slice_bytes)?;
        let mut out = Vec::with_capacity(self.slice_bytes);
        let mut decoder = RowDecoder::default();
        let mut number = OPEN_ACL;
        for (key, row) in &rows {
            let path = path_of(key)?;
            let image = decoder.decode(path, row)?;
            if !image.same_acl {
                number = self
                    .acls
                    .of(image.acl)
                    .expect("a view shows the same rows twice");
            }
            let path = if path == "/" { "" } else { path };
            write_node(path, image.data.as_deref(), number, &image.stat, &mut out);
        }
        match rows.into_iter().next_back() {
            Some((last, _)) => self.part = Part::Nodes { after: Some(last) },
            None => write_end(&mut out),
        }
        Ok(out.into())
    }
}

impl Iterator for SnapshotStream {
    type Item = Result<Bytes, SendError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_slice().transpose()
    }
}

fn path_of(key: &Bytes) -> Result<&str, RowError> {
    text_of(key).ok_or_else(|| RowError::NotAPath {
        path: String::from_utf8_lossy(key).into_owned(),
    })
}

fn count(what: &'static str, count: usize) -> Result<i32, SendError> {
    i32::try_from(count).map_err(|_| SendError::TooMany { what, count })
}
