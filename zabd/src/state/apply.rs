//! Applying transactions.
//!
//! One function serves live commits, replay of the log and the leader's speculation, so that what a leader predicts,
//! what clients are told and what a restart finds cannot differ.
//!
//! ZooKeeper: `DataTree.processTxn`; the rules are those of `storage-formats.md` §7.4.

use bytes::Bytes;
use jute_codec::data::{Acl, Stat, StatPersisted};
use jute_codec::proto::MultiResult;
use jute_codec::txn::{SetDataTxn, Txn, TxnHeader};
use jute_codec::{ErrorCode, SessionId, Text, Zxid};

use super::tree::{Change, NewNode, Nodes, Owner, path};

/// What applying a transaction came to; what the reply is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// A node was created.
    Created {
        /// Its final path.
        path: Text,
        /// Its stat.
        stat: Stat,
    },
    /// A node changed; its stat.
    Changed(Stat),
    /// The configuration changed; its text and the node's stat.
    Reconfigured(Option<Bytes>, Stat),
    /// What each sub-transaction came to.
    Multi(Vec<MultiResult>),
    /// The request had failed, or, in replay only, the transaction could not be applied.
    Failed(i32),
}

/// Applies a transaction to `nodes`.
pub(crate) fn apply<N: Nodes>(nodes: &mut N, header: &TxnHeader, txn: &Txn) -> Outcome {
    match txn {
        Txn::Multi(txns) => apply_multi(nodes, header, txns),
        Txn::Error(code) => Outcome::Failed(*code),
        Txn::CreateSession { timeout_ms } => {
            nodes.open_session(header.client_id, *timeout_ms);
            Outcome::Done
        }
        Txn::CloseSession(paths) => {
            close_session(nodes, header, paths.as_deref().unwrap_or_default());
            Outcome::Done
        }
        _ => apply_one(nodes, header, txn).unwrap_or_else(|code| Outcome::Failed(code.code())),
    }
}

fn apply_one<N: Nodes>(nodes: &mut N, header: &TxnHeader, txn: &Txn) -> Result<Outcome, ErrorCode> {
    match txn {
        Txn::Create(_) | Txn::Create2(_) | Txn::CreateContainer(_) | Txn::CreateTtl(_) => {
            create(nodes, header, &Creation::of(header, txn))
        }
        Txn::Delete(txn) | Txn::DeleteContainer(txn) => {
            delete(nodes, header.zxid, &txn.path).map(|()| Outcome::Done)
        }
        Txn::SetData(txn) => set_data(nodes, header, txn).map(Outcome::Changed),
        Txn::Reconfig(txn) => {
            let stat = set_data(nodes, header, txn)?;
            Ok(Outcome::Reconfigured(txn.data.clone(), stat))
        }
        Txn::SetAcl(txn) => {
            let key = nodes.find(&txn.path).ok_or(ErrorCode::NoNode)?;
            let stat = StatPersisted {
                aversion: txn.version,
                ..nodes.stat(key)
            };
            nodes.update(
                key,
                &txn.path,
                Change {
                    stat: Some(stat),
                    acl: Some(txn.acl.as_deref()),
                    data: None,
                },
            );
            Ok(Outcome::Changed(nodes.client_stat(key)))
        }
        Txn::Check(_) => Ok(Outcome::Done),
        Txn::Multi(_) | Txn::CreateSession { .. } | Txn::CloseSession(_) => {
            Err(ErrorCode::MarshallingError)
        }
        Txn::Error(code) => Ok(Outcome::Failed(*code)),
    }
}

/// What the four kinds of creation have in common.
struct Creation<'a> {
    path: &'a Text,
    data: Option<&'a Bytes>,
    acl: Option<&'a [Acl]>,
    owner: i64,
    parent_cversion: i32,
}

impl<'a> Creation<'a> {
    fn of(header: &TxnHeader, txn: &'a Txn) -> Self {
        match txn {
            Txn::CreateContainer(txn) => Self {
                path: &txn.path,
                data: txn.data.as_ref(),
                acl: txn.acl.as_deref(),
                owner: Owner::Container.stored(),
                parent_cversion: txn.parent_cversion,
            },
            Txn::CreateTtl(txn) => Self {
                path: &txn.path,
                data: txn.data.as_ref(),
                acl: txn.acl.as_deref(),
                owner: Owner::Ttl(txn.ttl_ms).stored(),
                parent_cversion: txn.parent_cversion,
            },
            Txn::Create(txn) | Txn::Create2(txn) => Self {
                path: &txn.path,
                data: txn.data.as_ref(),
                acl: txn.acl.as_deref(),
                owner: if txn.ephemeral { header.client_id.0 } else { 0 },
                parent_cversion: txn.parent_cversion,
            },
            _ => unreachable!("called for creations only"),
        }
    }
}

fn create<N: Nodes>(
    nodes: &mut N,
    header: &TxnHeader,
    creation: &Creation<'_>,
) -> Result<Outcome, ErrorCode> {
    // No leader makes one, but a damaged log or a hostile one may: what cannot be found again must not be there.
    if !path::is_absolute(creation.path) {
        return Err(ErrorCode::BadArguments);
    }
    let parent_path = path::parent(creation.path);
    let parent = nodes.find(parent_path).ok_or(ErrorCode::NoNode)?;
    let existing = nodes.find(creation.path);
    if let Some(child) = existing {
        // Replay over an image that is ahead of its zxid: only the list and the parent's counters are made good.
        nodes.update(
            child,
            creation.path,
            Change {
                acl: Some(creation.acl),
                ..Change::default()
            },
        );
    }
    raise_parent(
        nodes,
        parent,
        parent_path,
        creation.parent_cversion,
        header.zxid,
    );
    if existing.is_some() {
        return Err(ErrorCode::NodeExists);
    }
    let stat = StatPersisted {
        czxid: header.zxid,
        mzxid: header.zxid,
        ctime: header.time,
        mtime: header.time,
        ephemeral_owner: creation.owner,
        pzxid: header.zxid,
        ..StatPersisted::ZERO
    };
    nodes.insert(
        parent,
        creation.path,
        NewNode {
            stat,
            data: creation.data,
            acl: creation.acl,
        },
    );
    nodes.created(parent, creation.path);
    let key = nodes
        .find(creation.path)
        .expect("the node was just inserted");
    Ok(Outcome::Created {
        path: creation.path.clone(),
        stat: nodes.client_stat(key),
    })
}

/// Counts a creation in the parent, unless that is past it already. A counter that has reached its greatest value
/// stays there, and the parent's pzxid with it, as in Java.
fn raise_parent<N: Nodes>(
    nodes: &mut N,
    parent: N::Key,
    parent_path: &str,
    cversion: i32,
    zxid: Zxid,
) {
    let stored = nodes.stat(parent);
    let cversion = if cversion == -1 {
        stored.cversion.wrapping_add(1)
    } else {
        cversion
    };
    if cversion > stored.cversion {
        let stat = StatPersisted {
            cversion,
            pzxid: zxid,
            ..stored
        };
        nodes.update(
            parent,
            parent_path,
            Change {
                stat: Some(stat),
                ..Change::default()
            },
        );
    }
}

fn delete<N: Nodes>(nodes: &mut N, zxid: Zxid, node_path: &Text) -> Result<(), ErrorCode> {
    // No server deletes the root; only a log that is none says so.
    if path::name(node_path).is_empty() {
        return Err(ErrorCode::NoNode);
    }
    let parent_path = path::parent(node_path);
    let parent = nodes.find(parent_path).ok_or(ErrorCode::NoNode)?;
    let stored = nodes.stat(parent);
    if zxid > stored.pzxid {
        let stat = StatPersisted {
            pzxid: zxid,
            ..stored
        };
        nodes.update(
            parent,
            parent_path,
            Change {
                stat: Some(stat),
                ..Change::default()
            },
        );
    }
    let key = nodes.find(node_path).ok_or(ErrorCode::NoNode)?;
    nodes.deleting(parent, key, node_path);
    nodes.remove(parent, key, node_path);
    Ok(())
}

fn set_data<N: Nodes>(
    nodes: &mut N,
    header: &TxnHeader,
    txn: &SetDataTxn,
) -> Result<Stat, ErrorCode> {
    let key = nodes.find(&txn.path).ok_or(ErrorCode::NoNode)?;
    let stat = StatPersisted {
        version: txn.version,
        mzxid: header.zxid,
        mtime: header.time,
        ..nodes.stat(key)
    };
    nodes.update(
        key,
        &txn.path,
        Change {
            stat: Some(stat),
            data: Some(txn.data.as_ref()),
            acl: None,
        },
    );
    nodes.data_set(key, &txn.path);
    Ok(nodes.client_stat(key))
}

/// Ends a session: the listed nodes go, then whatever else still belongs to it.
fn close_session<N: Nodes>(nodes: &mut N, header: &TxnHeader, listed: &[Text]) {
    let session: SessionId = header.client_id;
    for node_path in listed {
        // A listed node that is missing was taken by an image ahead of its zxid.
        let _gone = delete(nodes, header.zxid, node_path);
    }
    for node_path in nodes.ephemerals_of(session) {
        let _gone = delete(nodes, header.zxid, &node_path);
    }
    nodes.close_session(session);
}

fn apply_multi<N: Nodes>(nodes: &mut N, header: &TxnHeader, txns: &[Txn]) -> Outcome {
    if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) {
        return Outcome::Multi(failed_multi(txns));
    }
    Outcome::Multi(
        txns.iter()
            .map(|txn| multi_result(txn, apply_one(nodes, header, txn)))
            .collect(),
    )
}

/// The results of a multi that failed: 0 before the failure, then its code, then the code of each one behind it.
fn failed_multi(txns: &[Txn]) -> Vec<MultiResult> {
    let mut failed = false;
    txns.iter()
        .map(|txn| match txn {
            Txn::Error(code) => {
                failed = true;
                MultiResult::Error(*code)
            }
            _ if failed => MultiResult::Error(ErrorCode::RuntimeInconsistency.code()),
            _ => MultiResult::Error(0),
        })
        .collect()
}

fn multi_result(txn: &Txn, outcome: Result<Outcome, ErrorCode>) -> MultiResult {
    match (outcome, txn) {
        (Err(code), _) => MultiResult::Error(code.code()),
        (Ok(Outcome::Created { path, .. }), Txn::Create(_)) => MultiResult::Create(path),
        (Ok(Outcome::Created { path, stat }), _) => MultiResult::Create2(path, stat),
        (Ok(Outcome::Changed(stat)), _) => MultiResult::SetData(stat),
        (Ok(_), Txn::Check(_)) => MultiResult::Check,
        (Ok(_), _) => MultiResult::Delete,
    }
}
