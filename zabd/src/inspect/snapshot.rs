//! A snapshot in memory, whoever wrote it.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::digest::{counts, node_digest};
use jute_codec::quorum::snapshot::{OPEN_ACL, SnapshotItem};
use jute_codec::{SessionId, Zxid};

use super::{InspectError, RECORD_BYTES_MAX};
use crate::state::tree::RowDecoder;
use crate::storage::disk::RealDisk;
use crate::storage::java::dir::{FOLDER, JavaDir, snapshot_zxid};
use crate::storage::java::snapshot::SnapshotFile;
use crate::storage::snapshot::{RocksStore, SnapshotStore as _};

/// Everything that a snapshot holds.
pub(super) struct Loaded {
    /// What it was read from.
    pub(super) path: PathBuf,
    /// Everything up to here is in it.
    pub(super) zxid: Zxid,
    /// And perhaps something of what comes up to here; unknown of one that old servers wrote.
    pub(super) end: Option<Zxid>,
    /// The digest that it says its tree has, and as of when.
    pub(super) told: Option<(Zxid, u64)>,
    pub(super) sessions: BTreeMap<SessionId, i32>,
    /// By path, the root's being `/`.
    pub(super) nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) stat: StatPersisted,
    pub(super) acl: List,
    pub(super) data: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Everybody may do everything.
    Open,
    /// As it stands.
    Of(Vec<Acl>),
    /// It is named by a number that the snapshot does not have: a transaction that follows repairs it.
    Missing(i64),
}

impl Loaded {
    /// Reads a snapshot: a file of ZooKeeper's; or the newest one below a `dataDir` or `version-2`; or zabd's, in its `dataDir`
    /// or by its own directory.
    pub(super) fn read(path: &Path) -> Result<Self, InspectError> {
        let nothing = |what| InspectError::Nothing {
            path: path.to_owned(),
            what,
        };
        if path.is_file() {
            return Self::java(path);
        }
        if !path.is_dir() {
            return Err(nothing("not there"));
        }
        for own in [
            path.to_owned(),
            path.join("snapshot"),
            path.join("zabd/snapshot"),
        ] {
            if own.join("CURRENT").is_file() {
                return Self::own(&own);
            }
        }
        let data_dir = if path.ends_with(FOLDER) {
            path.parent().unwrap_or(path)
        } else {
            path
        };
        match JavaDir::look(&RealDisk, data_dir, data_dir)?
            .snapshots
            .last()
        {
            Some(newest) => Self::java(&newest.path),
            None => Err(nothing("a directory without a snapshot")),
        }
    }

    fn java(path: &Path) -> Result<Self, InspectError> {
        let name = path.file_name().and_then(|name| name.to_str());
        let mut loaded = Self {
            path: path.to_owned(),
            zxid: name.and_then(snapshot_zxid).unwrap_or(Zxid::ZERO),
            end: None,
            told: None,
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        let mut lists = HashMap::new();
        let mut file = SnapshotFile::open(&RealDisk, path, RECORD_BYTES_MAX)?;
        while let Some(item) = file.next_item()? {
            match item {
                SnapshotItem::Session {
                    session,
                    timeout_ms,
                } => {
                    loaded.sessions.insert(session, timeout_ms);
                }
                SnapshotItem::Acl { id, acl } => {
                    lists.insert(id, acl);
                }
                SnapshotItem::Node(node) => {
                    let path = if node.path.is_empty() {
                        "/"
                    } else {
                        &*node.path
                    };
                    let known = lists.get(&node.acl_id).cloned().map(List::Of);
                    let acl = match known {
                        _ if node.acl_id == OPEN_ACL => List::Open,
                        Some(list) => list,
                        None => List::Missing(node.acl_id),
                    };
                    let seen = Node {
                        stat: node.stat,
                        acl,
                        // It must not keep the part of the file alive that it stands in.
                        data: node.data.map(|data| Bytes::copy_from_slice(&data)),
                    };
                    if loaded.nodes.insert(path.to_owned(), seen).is_some() {
                        return Err(file.damaged_here(&format!("{path} comes twice")).into());
                    }
                }
                SnapshotItem::End => {}
            }
        }
        let tail = file.tail();
        loaded.end = tail.end(loaded.zxid);
        loaded.told = tail
            .digest
            .filter(|digest| digest.zxid >= loaded.zxid && digest.zxid > Zxid::ZERO)
            .map(|digest| (digest.zxid, digest.digest));
        Ok(loaded)
    }

    fn own(path: &Path) -> Result<Self, InspectError> {
        let store = RocksStore::open(path)?;
        let Some(meta) = store.meta()? else {
            return Err(InspectError::Nothing {
                path: path.to_owned(),
                what: "an empty snapshot",
            });
        };
        let mut loaded = Self {
            path: path.to_owned(),
            zxid: meta.zxid,
            end: Some(meta.zxid),
            told: Some((meta.zxid, meta.digest)),
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        let (mut refused, mut decoder) = (None, RowDecoder::default());
        store.scan_rows(&mut |path, row| {
            let path = String::from_utf8_lossy(path).into_owned();
            match decoder.decode(&path, &Bytes::copy_from_slice(row)) {
                Ok(image) => {
                    let node = Node {
                        stat: image.stat,
                        acl: image.acl.map_or(List::Open, |acl| List::Of(acl.to_vec())),
                        data: image.data,
                    };
                    loaded.nodes.insert(path, node);
                    ControlFlow::Continue(())
                }
                Err(problem) => {
                    refused = Some(problem);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(problem) = refused {
            return Err(problem.into());
        }
        store.scan_sessions(&mut |session, timeout_ms| {
            loaded.sessions.insert(session, timeout_ms);
        })?;
        Ok(loaded)
    }

    /// Whether it is of one moment.
    pub(super) fn is_exact(&self) -> bool {
        self.end == Some(self.zxid)
    }

    /// The digest of the nodes as they stand.
    pub(super) fn digest(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|(path, _)| counts(path))
            .map(|(path, node)| {
                let path = if path == "/" { "" } else { path };
                let data = node.data.as_deref().unwrap_or_default();
                u64::from(node_digest(path, data, &node.stat))
            })
            .fold(0, u64::wrapping_add)
    }

    /// Paths whose parents are missing.
    pub(super) fn orphans(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str).filter(|path| {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let parent = if parent.is_empty() { "/" } else { parent };
            !self.nodes.contains_key(parent)
        })
    }
}
