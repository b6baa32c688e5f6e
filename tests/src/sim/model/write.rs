//! What writes do: sections C, D, F3, I, N and P of `semantics.md`.

use std::rc::Rc;

use bytes::Bytes;
use jute_codec::data::{Acl, perms};
use jute_codec::proto::{
    CreateRequest, CreateTtlRequest, DeleteRequest, EventType, MultiOp, MultiResult, OpCode,
    PathStatReply, Reply, Request, SetAclRequest, SetDataRequest,
};
use jute_codec::{ErrorCode, Stat, Text, Zxid};

use super::acl::{allows, fix_up};
use super::tree::{Kind, Node, Tree};
use super::{Answer, Audience, Fire, Who};

/// A transaction's number and time.
#[derive(Debug, Clone, Copy)]
struct When {
    zxid: Zxid,
    // Milliseconds since 1970.
    time: i64,
}

/// Carries out one request, which has become the transaction `when`: the tree changes, the answer is returned and the
/// watches it fires are appended to `fires`.
pub fn write(
    tree: &mut Tree,
    who: &Who,
    request: &Request,
    zxid: Zxid,
    time: i64,
    fires: &mut Vec<Fire>,
) -> Answer {
    let mut doing = Doing {
        tree,
        who,
        when: When { zxid, time },
        fires,
    };
    let done = match request {
        Request::Create(create) => doing
            .create(OpCode::Create, create, None)
            .map(|(path, _)| Reply::Path(Some(path))),
        Request::Create2(create) => doing.create(OpCode::Create2, create, None).map(path_stat),
        Request::CreateContainer(create) => doing
            .create(OpCode::CreateContainer, create, None)
            .map(path_stat),
        Request::CreateTtl(create) => doing.create_ttl(create).map(path_stat),
        Request::Delete(delete) => doing.delete(delete).map(|()| Reply::Empty),
        Request::DeleteContainer(delete) => {
            let path = delete
                .path
                .as_deref()
                .and_then(|path| std::str::from_utf8(path).ok())
                .unwrap_or_default();
            doing.delete_container(path).map(|()| Reply::Empty)
        }
        Request::SetData(set) => doing.set_data(set).map(Reply::Stat),
        Request::SetAcl(set) => doing.set_acl(set).map(Reply::Stat),
        Request::Multi(ops) => Ok(Reply::Multi(doing.multi(&ops.0))),
        Request::Reconfig(_) => Err(ErrorCode::ReconfigDisabled),
        _ => Err(ErrorCode::MarshallingError),
    };
    match done {
        Ok(body) => Answer::ok(body),
        Err(code) => Answer::failed(code.code()),
    }
}

/// Ends a session: its ephemeral nodes go, in the order of `paths`.
pub fn close_session(tree: &mut Tree, paths: &[Text], zxid: Zxid, fires: &mut Vec<Fire>) {
    let who = Who {
        session: 0,
        ids: Rc::new([]),
        no_ephemerals: None,
    };
    let mut doing = Doing {
        tree,
        who: &who,
        when: When { zxid, time: 0 },
        fires,
    };
    for path in paths {
        doing.remove(path);
    }
}

/// The server itself deletes a container or TTL node that was left alone; whether it may.
pub fn delete_abandoned(tree: &mut Tree, path: &str, zxid: Zxid, fires: &mut Vec<Fire>) -> bool {
    let may = tree
        .get(path)
        .is_some_and(|node| matches!(node.kind, Kind::Container | Kind::Ttl(_)));
    if !may || tree.below(path).next().is_some() {
        return false;
    }
    let who = Who {
        session: 0,
        ids: Rc::new([]),
        no_ephemerals: None,
    };
    Doing {
        tree,
        who: &who,
        when: When { zxid, time: 0 },
        fires,
    }
    .remove(path);
    true
}

/// The server itself writes down who its members are, as of `version`; no transaction does that.
pub fn configure(tree: &mut Tree, text: Bytes, version: Zxid) {
    tree.change(CONFIG, |node| {
        node.data = Some(text);
        node.version = -1;
        node.mzxid = version;
    });
}

/// The members change; the stat of the node that says so.
pub fn reconfigure(
    tree: &mut Tree,
    text: Bytes,
    zxid: Zxid,
    time: i64,
    fires: &mut Vec<Fire>,
) -> Stat {
    configure(tree, text, zxid);
    tree.change(CONFIG, |node| node.mtime = time);
    if let Some(node) = tree.get(CONFIG) {
        fires.push(Fire {
            audience: Audience::Data,
            event: EventType::NodeDataChanged,
            path: Rc::from(CONFIG),
            acl: Rc::clone(&node.acl),
        });
    }
    tree.stat(CONFIG).unwrap_or(Stat::ZERO)
}

/// Where the members stand.
const CONFIG: &str = "/zookeeper/config";

fn path_stat((path, stat): (Text, Stat)) -> Reply {
    Reply::PathStat(PathStatReply { path, stat })
}

struct Doing<'a> {
    tree: &'a mut Tree,
    who: &'a Who,
    when: When,
    fires: &'a mut Vec<Fire>,
}

type Done<T> = Result<T, ErrorCode>;

impl Doing<'_> {
    fn node(&self, path: &str) -> Done<Rc<Node>> {
        self.tree.get(path).cloned().ok_or(ErrorCode::NoNode)
    }

    fn check_allowed(&self, node: &Node, wanted: i32) -> Done<()> {
        if allows(&node.acl, wanted, &self.who.ids) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn fixed_acl(&self, wished: Option<&[Acl]>) -> Done<Rc<[Acl]>> {
        fix_up(wished, &self.who.ids).map_err(|_| ErrorCode::InvalidAcl)
    }

    fn create_ttl(&mut self, request: &CreateTtlRequest) -> Done<(Text, Stat)> {
        let CreateTtlRequest {
            path,
            data,
            acl,
            flags,
            ttl_ms,
        } = request.clone();
        self.create(
            OpCode::CreateTtl,
            &CreateRequest {
                path,
                data,
                acl,
                flags,
            },
            Some(ttl_ms),
        )
    }

    fn create(
        &mut self,
        op: OpCode,
        request: &CreateRequest,
        ttl_ms: Option<i64>,
    ) -> Done<(Text, Stat)> {
        let wished = request.path.as_deref().unwrap_or_default();
        if !(0..=6).contains(&request.flags) {
            return Err(ErrorCode::BadArguments);
        }
        let ttl_flags = request.flags >= 5;
        if ttl_flags && !self.tree.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_fits = ttl_ms.map_or(!ttl_flags, |ttl_ms| {
            ttl_flags && (1..=0xff_ffff_ffff).contains(&ttl_ms)
        });
        if !ttl_fits || !wished.contains('/') || wished.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        if let (1 | 3, Some(code)) = (request.flags, self.who.no_ephemerals) {
            return Err(ErrorCode::from_i32(code).unwrap_or(ErrorCode::SessionExpired));
        }
        let acl = self.fixed_acl(request.acl.as_deref())?;
        let parent_path = parent(wished);
        let parent = self.node(parent_path)?;
        self.check_allowed(&parent, perms::CREATE)?;
        let is_sequential = matches!(request.flags, 2 | 3 | 6);
        let path = if is_sequential {
            format!("{wished}{:010}", parent.creations)
        } else {
            wished.to_owned()
        };
        if !is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.tree.get(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let kind = match (op, request.flags) {
            (OpCode::CreateContainer, _) => Kind::Container,
            (OpCode::CreateTtl, _) => Kind::Ttl(ttl_ms.unwrap_or_default()),
            (_, 1 | 3) => Kind::Ephemeral(self.who.session),
            _ => Kind::Persistent,
        };
        self.insert(&path, kind, request.data.clone(), acl);
        let stat = self.tree.stat(&path).unwrap_or(Stat::ZERO);
        Ok((Text::from(path), stat))
    }

    fn insert(&mut self, path: &str, kind: Kind, data: Option<Bytes>, acl: Rc<[Acl]>) {
        let When { zxid, time } = self.when;
        let parent_path = shown(parent(path));
        self.tree.change(parent_path, |parent| {
            parent.creations += 1;
            parent.pzxid = zxid;
        });
        let node = Node {
            data,
            acl: Rc::clone(&acl),
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            aversion: 0,
            creations: 0,
            kind,
        };
        self.tree.put(path, node);
        self.fire(Audience::Data, EventType::NodeCreated, path, acl);
        self.fire_parent(parent_path);
    }

    fn fire(&mut self, audience: Audience, event: EventType, path: &str, acl: Rc<[Acl]>) {
        self.fires.push(Fire {
            audience,
            event,
            path: Rc::from(path),
            acl,
        });
    }

    fn fire_parent(&mut self, path: &str) {
        if let Some(acl) = self.tree.get(path).map(|node| Rc::clone(&node.acl)) {
            self.fire(
                Audience::Children,
                EventType::NodeChildrenChanged,
                path,
                acl,
            );
        }
    }

    fn remove(&mut self, path: &str) {
        let Some(node) = self.tree.get(path).cloned() else {
            return;
        };
        let parent_path = shown(parent(path));
        let zxid = self.when.zxid;
        self.tree.remove(path);
        self.tree.change(parent_path, |parent| parent.pzxid = zxid);
        self.fire(
            Audience::Both,
            EventType::NodeDeleted,
            path,
            Rc::clone(&node.acl),
        );
        self.fire_parent(parent_path);
    }

    fn delete(&mut self, request: &DeleteRequest) -> Done<()> {
        let path = request.path.as_deref().unwrap_or_default();
        check_deletable(path)?;
        let parent = self.node(parent(path))?;
        self.check_allowed(&parent, perms::DELETE)?;
        let node = self.node(path)?;
        check_version(node.version, request.version)?;
        self.check_empty(path)?;
        self.remove(path);
        Ok(())
    }

    /// As in Java, but that it takes the permission to delete.
    fn delete_container(&mut self, path: &str) -> Done<()> {
        check_deletable(path)?;
        let node = self.node(path)?;
        self.check_empty(path)?;
        if matches!(node.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::BadVersion);
        }
        let parent = self.node(parent(path))?;
        self.check_allowed(&parent, perms::DELETE)?;
        self.remove(path);
        Ok(())
    }

    fn check_empty(&self, path: &str) -> Done<()> {
        if self.tree.below(path).next().is_some() {
            Err(ErrorCode::NotEmpty)
        } else {
            Ok(())
        }
    }

    fn set_data(&mut self, request: &SetDataRequest) -> Done<Stat> {
        let path = valid(request.path.as_deref())?;
        let node = self.node(path)?;
        self.check_allowed(&node, perms::WRITE)?;
        check_version(node.version, request.version)?;
        let When { zxid, time } = self.when;
        self.tree.change(path, |node| {
            node.data = request.data.clone();
            node.version = node.version.wrapping_add(1);
            node.mzxid = zxid;
            node.mtime = time;
        });
        self.fire(
            Audience::Data,
            EventType::NodeDataChanged,
            path,
            Rc::clone(&node.acl),
        );
        Ok(self.tree.stat(path).unwrap_or(Stat::ZERO))
    }

    fn set_acl(&mut self, request: &SetAclRequest) -> Done<Stat> {
        let path = valid(request.path.as_deref())?;
        let acl = self.fixed_acl(request.acl.as_deref())?;
        let node = self.node(path)?;
        self.check_allowed(&node, perms::ADMIN)?;
        check_version(node.aversion, request.version)?;
        self.tree.change(path, |node| {
            node.acl = acl;
            node.aversion = node.aversion.wrapping_add(1);
        });
        Ok(self.tree.stat(path).unwrap_or(Stat::ZERO))
    }

    fn check(&self, path: Option<&str>, version: i32) -> Done<()> {
        let node = self.node(valid(path)?)?;
        self.check_allowed(&node, perms::READ)?;
        check_version(node.version, version)
    }

    fn multi(&mut self, ops: &[MultiOp]) -> Vec<MultiResult> {
        let (before, fired) = (self.tree.clone(), self.fires.len());
        let mut results = Vec::new();
        for (place, op) in ops.iter().enumerate() {
            match self.sub_operation(op) {
                Ok(result) => results.push(result),
                Err(code) => {
                    *self.tree = before;
                    self.fires.truncate(fired);
                    let code_at = |other: usize| match other.cmp(&place) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.code(),
                        std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
                    };
                    return (0..ops.len())
                        .map(|other| MultiResult::Error(code_at(other)))
                        .collect();
                }
            }
        }
        results
    }

    fn sub_operation(&mut self, op: &MultiOp) -> Done<MultiResult> {
        let created = |(path, stat)| MultiResult::Create2(path, stat);
        match op {
            MultiOp::Create(create) | MultiOp::Create2(create) if create.flags == 4 => self
                .create(OpCode::CreateContainer, create, None)
                .map(created),
            MultiOp::Create(create) => self
                .create(OpCode::Create, create, None)
                .map(|(path, _)| MultiResult::Create(path)),
            MultiOp::Create2(create) => self.create(OpCode::Create2, create, None).map(created),
            MultiOp::CreateContainer(create) => self
                .create(OpCode::CreateContainer, create, None)
                .map(created),
            MultiOp::CreateTtl(create) => self.create_ttl(create).map(created),
            MultiOp::Delete(delete) => self.delete(delete).map(|()| MultiResult::Delete),
            MultiOp::SetData(set) => self.set_data(set).map(MultiResult::SetData),
            MultiOp::Check(check) => self
                .check(check.path.as_deref(), check.version)
                .map(|()| MultiResult::Check),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(ErrorCode::MarshallingError),
        }
    }
}

/// All before the last slash; nothing for a node at the top.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Rule B1, for the names that the workload makes.
fn is_valid(path: &str) -> bool {
    let names_are_fine = |relative: &str| {
        relative
            .split('/')
            .all(|name| !matches!(name, "" | "." | ".."))
    };
    path == "/"
        || path.strip_prefix('/').is_some_and(names_are_fine) && !path.chars().any(char::is_control)
}

fn valid(path: Option<&str>) -> Done<&str> {
    path.filter(|path| is_valid(path))
        .ok_or(ErrorCode::BadArguments)
}

fn check_deletable(path: &str) -> Done<()> {
    let built_in = matches!(
        path,
        "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config"
    );
    if built_in || !path.contains('/') {
        Err(ErrorCode::BadArguments)
    } else {
        Ok(())
    }
}

fn check_version(current: i32, expected: i32) -> Done<()> {
    if expected == -1 || expected == current {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}
