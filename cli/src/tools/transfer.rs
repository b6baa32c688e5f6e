//! Writing many nodes, many at a time, in an order that never leaves one without its parent.

use jute_codec::proto::{Request, SetAclRequest, SetDataRequest};
use jute_codec::{Acl, ErrorCode};

use super::node::{Node, absolute};
use crate::commands::Arguments;
use crate::failure::Failure;
use crate::flags::{Flag, own_switch, own_valued};
use crate::output::fields::NodeKind;
use crate::progress::Progress;
use crate::shell::Shell;

/// Nodes, and bytes of their data, that are written at once.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 20;

pub(super) const EPHEMERALS: Flag = own_valued(
    "ephemerals",
    "What becomes of ephemeral nodes: skip, or persist for persistent ones [default: refuse]",
);
pub(super) const ACLS: Flag = own_valued(
    "acls",
    "Access control lists: now, last (when all nodes are there), open (none) [default: now]",
);
pub(super) const MERGE: Flag = own_switch("merge", "Write over nodes that are there already");

/// What becomes of ephemeral nodes, whose session is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ephemerals {
    Refuse,
    Skip,
    Persist,
}

/// When access control lists are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acls {
    Now,
    Last,
    Open,
}

/// How nodes are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) ephemerals: Ephemerals,
    pub(super) acls: Acls,
    pub(super) merge: bool,
}

impl Manner {
    pub(super) fn parse(arguments: &Arguments) -> Result<Self, Failure> {
        Ok(Self {
            ephemerals: match arguments.value("ephemerals") {
                None | Some("refuse") => Ephemerals::Refuse,
                Some("skip") => Ephemerals::Skip,
                Some("persist") => Ephemerals::Persist,
                Some(other) => {
                    return Err(Failure::usage(format!(
                        "--ephemerals takes refuse, skip or persist, not \"{other}\""
                    )));
                }
            },
            acls: match arguments.value("acls") {
                None | Some("now") => Acls::Now,
                Some("last") => Acls::Last,
                Some("open") => Acls::Open,
                Some(other) => {
                    return Err(Failure::usage(format!(
                        "--acls takes now, last or open, not \"{other}\""
                    )));
                }
            },
            merge: arguments.has("merge"),
        })
    }

    /// Whether a node is to be written. An ephemeral node cannot be: it would go with the session that wrote it.
    pub(super) fn takes(self, node: &Node, path: &str) -> Result<bool, Failure> {
        match (node.kind, self.ephemerals) {
            (NodeKind::Ephemeral, Ephemerals::Refuse) => Err(Failure::usage(format!(
                "{path} is ephemeral and would go when this session ends: say --ephemerals skip, or --ephemerals \
                 persist to make it a persistent node"
            ))),
            (NodeKind::Ephemeral, Ephemerals::Skip) => Ok(false),
            _ => Ok(true),
        }
    }

    /// The list that a node is created with.
    pub(super) fn first_acl(self, node: &Node) -> Vec<Acl> {
        match self.acls {
            Acls::Now => node.acl.clone(),
            Acls::Last | Acls::Open => vec![Acl::open()],
        }
    }
}

/// Writes nodes below a target.
#[derive(Debug)]
pub(super) struct Writer {
    target: String,
    manner: Manner,
    batch: Vec<(String, Node)>,
    batch_bytes: usize,
    /// Lists that are set at the end.
    late: Vec<(String, Vec<Acl>)>,
    progress: Progress,
    pub(super) created: usize,
    pub(super) updated: usize,
    pub(super) skipped: usize,
    pub(super) bytes: usize,
}

impl Writer {
    /// `total`: how many nodes there will be, if that is known.
    pub(super) fn new(target: &str, manner: Manner, total: Option<usize>) -> Self {
        Self {
            target: target.to_owned(),
            manner,
            batch: Vec::new(),
            batch_bytes: 0,
            late: Vec::new(),
            progress: Progress::new("nodes written", total),
            created: 0,
            updated: 0,
            skipped: 0,
            bytes: 0,
        }
    }

    /// Nodes that are in the tree now.
    pub(super) fn written(&self) -> usize {
        self.created + self.updated
    }

    /// Writes a node, at once or with others. Its parent must have come before.
    pub(super) fn put(&mut self, shell: &mut Shell<'_>, node: Node) -> Result<(), Failure> {
        let path = absolute(&node.path, &self.target);
        if !self.manner.takes(&node, &path)? {
            self.skipped += 1;
            return Ok(());
        }
        self.batch_bytes += node.bytes();
        self.batch.push((path, node));
        if self.batch.len() == BATCH || self.batch_bytes > BATCH_BYTES {
            self.flush(shell)?;
        }
        Ok(())
    }

    /// Writes what has not been written yet, and the lists that come last.
    pub(super) fn finish(&mut self, shell: &mut Shell<'_>) -> Result<(), Failure> {
        self.flush(shell)?;
        // Deepest first: a list may forbid what is to come below.
        let late = std::mem::take(&mut self.late);
        for lists in late.rchunks(BATCH) {
            let requests: Vec<_> = lists
                .iter()
                .rev()
                .map(|(path, acl)| set_acl(shell, path, acl))
                .collect();
            let paths = lists.iter().rev().map(|(path, _)| path.as_str());
            for reply in shell.zk.call_all(&requests, paths)? {
                reply?;
            }
        }
        self.progress.hide();
        Ok(())
    }

    fn flush(&mut self, shell: &mut Shell<'_>) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let requests: Vec<_> = batch
            .iter()
            .map(|(path, node)| {
                let acl = self.manner.first_acl(node);
                node.create_request(shell.zk.server_path(path), acl)
            })
            .collect();
        let paths = batch.iter().map(|(path, _)| path.as_str());
        let replies = shell.zk.call_all(&requests, paths)?;
        let mut there = Vec::new();
        let mut first_failure = None;
        for ((path, node), reply) in batch.iter().zip(replies) {
            match reply {
                Ok(_) => {
                    self.created += 1;
                    self.bytes += node.bytes();
                    self.progress.add(1);
                    if self.manner.acls == Acls::Last {
                        self.late.push((path.clone(), node.acl.clone()));
                    }
                }
                Err(failure)
                    if failure.is_code(ErrorCode::NodeExists)
                        && (self.manner.merge || path == "/") =>
                {
                    there.push((path, node));
                }
                // What is behind the first one may have failed because of it.
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        if let Some(failure) = first_failure {
            self.progress.hide();
            return Err(failure);
        }
        self.overwrite(shell, &there)
    }

    fn overwrite(
        &mut self,
        shell: &mut Shell<'_>,
        nodes: &[(&String, &Node)],
    ) -> Result<(), Failure> {
        let mut requests: Vec<_> = nodes
            .iter()
            .map(|(path, node)| {
                Request::SetData(SetDataRequest {
                    path: Some(shell.zk.server_path(path)),
                    data: node.data.clone(),
                    version: -1,
                })
            })
            .collect();
        if self.manner.acls == Acls::Now {
            requests.extend(
                nodes
                    .iter()
                    .map(|(path, node)| set_acl(shell, path, &node.acl)),
            );
        }
        let paths: Vec<_> = nodes.iter().map(|(path, _)| path.as_str()).collect();
        let replies = shell
            .zk
            .call_all(&requests, paths.iter().copied().cycle())?;
        for (at, reply) in replies.into_iter().enumerate() {
            reply?;
            if let Some((path, node)) = nodes.get(at) {
                self.updated += 1;
                self.bytes += node.bytes();
                self.progress.add(1);
                if self.manner.acls == Acls::Last {
                    self.late.push(((*path).clone(), node.acl.clone()));
                }
            }
        }
        Ok(())
    }
}

fn set_acl(shell: &Shell<'_>, path: &str, acl: &[Acl]) -> Request {
    Request::SetAcl(SetAclRequest {
        path: Some(shell.zk.server_path(path)),
        acl: Some(acl.to_vec()),
        version: -1,
    })
}
