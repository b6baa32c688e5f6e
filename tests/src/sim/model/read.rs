//! What reads are answered: sections C, E4 and E5 of `semantics.md`.

use jute_codec::ErrorCode;
use jute_codec::data::perms;
use jute_codec::proto::{
    AclReply, ChildrenReply, ClientInfo, DataReply, MultiOp, MultiResult, Reply, Request,
};

use super::acl::{allows, masked};
use super::tree::{Node, Tree};
use super::watches::Watches;
use super::{Answer, Who};

/// What `request` is answered by a server that holds `tree`; `None` for requests that are no reads. Watches that the
/// request leaves or takes are left or taken in `watches`.
#[must_use]
pub fn read(tree: &Tree, who: &Who, request: &Request, watches: &mut Watches) -> Option<Answer> {
    Some(match request {
        Request::Exists(request) => {
            let path = request.path.as_deref()?;
            let denied = tree
                .get(path)
                .is_some_and(|node| !allows(&node.acl, perms::READ, &who.ids));
            if denied {
                return Some(Answer::failed(ErrorCode::NoAuth.code()));
            }
            if request.watch {
                watches.add_standard_data(path);
            }
            tree.stat(path)
                .map_or(Answer::failed(ErrorCode::NoNode.code()), |stat| {
                    Answer::ok(Reply::Stat(stat))
                })
        }
        Request::GetData(request) => {
            let path = request.path.as_deref()?;
            answer(readable(tree, who, path), |node| {
                if request.watch {
                    watches.add_standard_data(path);
                }
                Reply::Data(DataReply {
                    data: node.data.clone(),
                    stat: stat(tree, path),
                })
            })
        }
        Request::GetChildren(list) | Request::GetChildren2(list) => {
            let path = list.path.as_deref()?;
            answer(readable(tree, who, path), |_| {
                if list.watch {
                    watches.add_standard_child(path);
                }
                let children = tree.children(path);
                match request {
                    Request::GetChildren(_) => Reply::Names(children),
                    _ => Reply::Children(ChildrenReply {
                        children,
                        stat: stat(tree, path),
                    }),
                }
            })
        }
        Request::GetAcl(request) => {
            let path = request.path.as_deref()?;
            let found = tree.get(path).ok_or(ErrorCode::NoNode.code());
            let readable = found.and_then(|node| {
                let may = allows(&node.acl, perms::READ | perms::ADMIN, &who.ids);
                if may {
                    Ok(&**node)
                } else {
                    Err(ErrorCode::NoAuth.code())
                }
            });
            answer(readable, |node| {
                let whole = allows(&node.acl, perms::ADMIN, &who.ids);
                let acl = if whole {
                    node.acl.to_vec()
                } else {
                    masked(&node.acl)
                };
                Reply::Acl(AclReply {
                    acl,
                    stat: stat(tree, path),
                })
            })
        }
        Request::GetAllChildrenNumber(request) => {
            let path = request.path.as_deref()?;
            // Java counts the root as below the empty path.
            let more = usize::from(path.is_empty());
            answer(readable(tree, who, path), |_| {
                Reply::Int(i32::try_from(tree.below(path).count() + more).unwrap_or(i32::MAX))
            })
        }
        Request::GetEphemerals(request) => {
            let prefix = request.path.as_deref()?;
            let mine = tree.ephemerals(who.session);
            Answer::ok(Reply::Names(
                mine.into_iter()
                    .filter(|path| path.starts_with(prefix))
                    .collect(),
            ))
        }
        Request::Sync(request) => Answer::ok(Reply::Path(request.path.clone())),
        Request::Ping => Answer::ok(Reply::Empty),
        Request::WhoAmI => {
            let info = |id: &jute_codec::Id| ClientInfo {
                auth_scheme: id.scheme.clone(),
                user: id.id.clone(),
            };
            Answer::ok(Reply::Identities(who.ids.iter().map(info).collect()))
        }
        Request::MultiRead(ops) => {
            let results = ops
                .0
                .iter()
                .map(|op| sub_read(tree, who, op))
                .collect::<Option<_>>()?;
            Answer::ok(Reply::Multi(results))
        }
        Request::AddWatch(request) => {
            watches.add_persistent(request.path.as_deref()?, request.mode == 1);
            Answer::ok(Reply::Int(0))
        }
        Request::CheckWatches(request) => {
            found(watches.has(request.path.as_deref()?, request.watcher_type))
        }
        Request::RemoveWatches(request) => {
            found(watches.remove(request.path.as_deref()?, request.watcher_type))
        }
        Request::SetWatches(_) | Request::SetWatches2(_) => Answer::ok(Reply::Empty),
        _ => return None,
    })
}

fn found(found: bool) -> Answer {
    if found {
        Answer::ok(Reply::Empty)
    } else {
        Answer::failed(ErrorCode::NoWatcher.code())
    }
}

fn readable<'a>(tree: &'a Tree, who: &Who, path: &str) -> Result<&'a Node, i32> {
    let node = tree.get(path).ok_or(ErrorCode::NoNode.code())?;
    if allows(&node.acl, perms::READ, &who.ids) {
        Ok(node)
    } else {
        Err(ErrorCode::NoAuth.code())
    }
}

fn answer(found: Result<&Node, i32>, body: impl FnOnce(&Node) -> Reply) -> Answer {
    match found {
        Ok(node) => Answer::ok(body(node)),
        Err(code) => Answer::failed(code),
    }
}

fn stat(tree: &Tree, path: &str) -> jute_codec::Stat {
    tree.stat(path).unwrap_or(jute_codec::Stat::ZERO)
}

fn sub_read(tree: &Tree, who: &Who, op: &MultiOp) -> Option<MultiResult> {
    Some(match op {
        MultiOp::GetData(request) => {
            let path = request.path.as_deref()?;
            match readable(tree, who, path) {
                Ok(node) => MultiResult::GetData(node.data.clone(), stat(tree, path)),
                Err(code) => MultiResult::Error(code),
            }
        }
        MultiOp::GetChildren(request) => {
            let path = request.path.as_deref()?;
            match readable(tree, who, path) {
                Ok(_) => MultiResult::GetChildren(tree.children(path)),
                Err(code) => MultiResult::Error(code),
            }
        }
        _ => return None,
    })
}
