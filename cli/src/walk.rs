//! Going through a subtree: a node, then each of its children with everything below it, in the order of names.
//!
//! Requests go out many at a time. A tree may change meanwhile: each node is as it was when it was asked for, and
//! what has gone by then is passed over.

use bytes::Bytes;
use jute_codec::proto::{
    AclReply, ChildrenReply, DataReply, PathRequest, PathWatchRequest, Request,
};
use jute_codec::{Acl, ErrorCode, Jute, Reader, Stat};

use crate::failure::Failure;
use crate::handle::Handle;
use crate::path;

/// Nodes asked for at once.
const AHEAD: usize = 256;

/// The child of the root that belongs to the servers.
const SYSTEM: &str = "zookeeper";

/// Bytes of data fetched at once, a single node's aside.
const AHEAD_BYTES: usize = 4 << 20;

/// What is wanted of each node, beyond its stat and its children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) data: bool,
    pub(crate) acl: bool,
    /// Levels below the root that are visited; all without.
    pub(crate) depth: Option<usize>,
    /// Whether `/zookeeper`, where the servers keep the configuration and quotas, is passed over.
    pub(crate) passes_over_system: bool,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// Levels below the root of the walk.
    pub(crate) depth: usize,
    /// Whether it is the last of its parent's children.
    pub(crate) is_last: bool,
    pub(crate) stat: Stat,
    /// If wanted and allowed.
    pub(crate) data: Option<Bytes>,
    /// If wanted.
    pub(crate) acl: Vec<Acl>,
    /// Whether its data and children may not be read, so that nothing below it is visited.
    pub(crate) denied: bool,
}

/// A node that is still to be visited.
#[derive(Debug)]
struct Pending {
    path: String,
    depth: usize,
    is_last: bool,
    known: Known,
}

/// What has been fetched of a node ahead of its turn.
#[derive(Debug)]
enum Known {
    Nothing,
    Gone,
    Denied,
    Node {
        stat: Stat,
        /// Sorted.
        children: Vec<String>,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        complete: bool,
    },
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk {
    wanted: Wanted,
    /// The next node is the last.
    stack: Vec<Pending>,
}

impl Walk {
    /// A walk from a root, which must be there and readable when the walk begins.
    pub(crate) fn new(root: &str, wanted: Wanted) -> Result<Self, Failure> {
        path::validate(root)?;
        Ok(Self {
            wanted,
            stack: vec![Pending {
                path: root.to_owned(),
                depth: 0,
                is_last: true,
                known: Known::Nothing,
            }],
        })
    }

    /// The next node, or none at the end.
    pub(crate) fn next(&mut self, zk: &mut Handle) -> Result<Option<Entry>, Failure> {
        while let Some(top) = self.stack.last() {
            match top.known {
                Known::Nothing => {
                    self.look_ahead(zk)?;
                    continue;
                }
                Known::Node {
                    complete: false, ..
                } => {
                    self.fetch_ahead(zk)?;
                    continue;
                }
                _ => {}
            }
            let Some(node) = self.stack.pop() else {
                break;
            };
            let (stat, children, data, acl, denied) = match node.known {
                Known::Gone if node.depth == 0 => return Err(no_node(&node.path)),
                Known::Gone | Known::Nothing => continue,
                Known::Denied => (Stat::ZERO, Vec::new(), None, Vec::new(), true),
                Known::Node {
                    stat,
                    children,
                    data,
                    acl,
                    ..
                } => (stat, children, data, acl, false),
            };
            if self.wanted.depth.is_none_or(|depth| node.depth < depth) {
                let mut children = children;
                if self.wanted.passes_over_system && zk.server_path(&node.path).as_str() == "/" {
                    children.retain(|name| name != SYSTEM);
                }
                let last = children.len().saturating_sub(1);
                let below = children.iter().enumerate().rev();
                self.stack.extend(below.map(|(at, name)| Pending {
                    path: path::join(&node.path, name),
                    depth: node.depth + 1,
                    is_last: at == last,
                    known: Known::Nothing,
                }));
            }
            return Ok(Some(Entry {
                path: node.path,
                depth: node.depth,
                is_last: node.is_last,
                stat,
                data,
                acl,
                denied,
            }));
        }
        Ok(None)
    }

    /// Fetches stats and children of the next nodes.
    fn look_ahead(&mut self, zk: &mut Handle) -> Result<(), Failure> {
        let wants_more = self.wanted.data || self.wanted.acl;
        let ahead = self.stack.iter_mut().rev().take(AHEAD);
        let nodes: Vec<_> = ahead
            .filter(|node| matches!(node.known, Known::Nothing))
            .collect();
        let requests: Vec<_> = nodes
            .iter()
            .map(|node| {
                Request::GetChildren2(PathWatchRequest {
                    path: Some(zk.server_path(&node.path)),
                    watch: false,
                })
            })
            .collect();
        let replies = zk.call_all(&requests, nodes.iter().map(|node| node.path.as_str()))?;
        for (node, reply) in nodes.into_iter().zip(replies) {
            node.known = match absent(reply)? {
                Err(known) => known,
                Ok(body) => {
                    let reply: ChildrenReply = decode(&body)?;
                    let mut children: Vec<_> =
                        reply.children.iter().map(|name| name.to_string()).collect();
                    children.sort_unstable();
                    Known::Node {
                        stat: reply.stat,
                        children,
                        data: None,
                        acl: Vec::new(),
                        complete: !wants_more,
                    }
                }
            };
        }
        Ok(())
    }

    /// Fetches what else is wanted of the next nodes, as many as have little enough data.
    fn fetch_ahead(&mut self, zk: &mut Handle) -> Result<(), Failure> {
        let mut bytes = 0;
        let mut nodes = Vec::new();
        for node in self.stack.iter_mut().rev().take(AHEAD) {
            let Known::Node { stat, complete, .. } = &node.known else {
                continue;
            };
            if *complete {
                continue;
            }
            bytes += usize::try_from(stat.data_length).unwrap_or(0);
            if bytes > AHEAD_BYTES && !nodes.is_empty() {
                break;
            }
            nodes.push(node);
        }
        let path_of = |node: &&mut Pending| Some(zk.server_path(&node.path));
        let mut requests = Vec::new();
        if self.wanted.data {
            requests.extend(nodes.iter().map(|node| {
                Request::GetData(PathWatchRequest {
                    path: path_of(node),
                    watch: false,
                })
            }));
        }
        if self.wanted.acl {
            requests.extend(nodes.iter().map(|node| {
                Request::GetAcl(PathRequest {
                    path: path_of(node),
                })
            }));
        }
        let paths: Vec<_> = nodes.iter().map(|node| node.path.clone()).collect();
        let mut replies = zk
            .call_all(&requests, paths.iter().cycle().map(String::as_str))?
            .into_iter();
        if self.wanted.data {
            for (node, reply) in nodes.iter_mut().zip(replies.by_ref()) {
                match absent(reply)? {
                    Err(known) => node.known = known,
                    Ok(body) => {
                        let reply: DataReply = decode(&body)?;
                        if let Known::Node { stat, data, .. } = &mut node.known {
                            (*stat, *data) = (reply.stat, reply.data);
                        }
                    }
                }
            }
        }
        if self.wanted.acl {
            for (node, reply) in nodes.iter_mut().zip(replies) {
                match absent(reply)? {
                    Err(known) => node.known = known,
                    Ok(body) => {
                        if let Known::Node { acl, .. } = &mut node.known {
                            *acl = decode::<AclReply>(&body)?.acl;
                        }
                    }
                }
            }
        }
        for node in nodes {
            if let Known::Node { complete, .. } = &mut node.known {
                *complete = true;
            }
        }
        Ok(())
    }
}

/// Tells a node that is not there, or may not be read, from other failures.
fn absent(reply: Result<Bytes, Failure>) -> Result<Result<Bytes, Known>, Failure> {
    match reply {
        Ok(body) => Ok(Ok(body)),
        Err(failure) if failure.is_code(ErrorCode::NoNode) => Ok(Err(Known::Gone)),
        Err(failure) if failure.is_code(ErrorCode::NoAuth) => Ok(Err(Known::Denied)),
        Err(failure) => Err(failure),
    }
}

fn no_node(path: &str) -> Failure {
    Failure::Server {
        code: ErrorCode::NoNode.code(),
        path: Some(path.to_owned()),
    }
}

fn decode<T: Jute>(body: &Bytes) -> Result<T, Failure> {
    T::read(&mut Reader::with_limit(body, body.len())).map_err(|source| Failure::NoReply {
        reason: format!("the server sent a reply that cannot be read: {source}"),
        code: ErrorCode::MarshallingError,
        path: None,
        is_ambiguous: false,
    })
}
