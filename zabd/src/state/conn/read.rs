//! Reads: answered from this server's state, on the connection's own task.
//!
//! ZooKeeper: `FinalRequestProcessor.processRequest`; rules C and F of `semantics.md`.

use jute_codec::data::{Acl, Id, perms};
use jute_codec::frame::write_frame;
use jute_codec::proto::{
    AddWatchMode, EventType, MultiOp, MultiOps, MultiResult, PathWatchRequest, ReplyHeader,
    Request, SetWatches, SetWatches2, WatcherType, WatchesRequest, write_multi_results, xid,
};
use jute_codec::writer::{write_buffer, write_str};
use jute_codec::{ErrorCode, Jute, SessionId, Text, Zxid};

use super::ConnId;
use super::request::Authenticator;
use crate::state::State;
use crate::state::output::write_event;
use crate::state::tree::{NodeId, acl};
use crate::state::watch::{WatchMode, WatchTable};

/// How much data a multiRead may return, in bytes. A request can name a large node many thousand times; a Java server
/// runs out of memory then.
const MULTI_READ_BYTES_MAX: usize = 64 << 20;

/// Who reads.
pub(super) struct Reader<'a> {
    pub(super) state: &'a State,
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) ids: &'a [Id],
    pub(super) peer_auth: &'a dyn Authenticator,
}

/// Paths of a request, or nothing where the request has a null where none may be.
type Paths<'a> = Option<&'a [Option<Text>]>;

impl Reader<'_> {
    /// Answers one request: appends whole frames to `out`.
    pub(super) fn answer(&self, request_xid: i32, request: &Request, out: &mut Vec<u8>) {
        let start = out.len();
        // Catch-up events of setWatches stand before the reply, so they are written first.
        if let Some(Err(code)) = self.catch_up(request, out) {
            out.truncate(start);
            return self.fail(request_xid, code, out);
        }
        let reply_xid = if matches!(request, Request::Ping) {
            xid::PING
        } else {
            request_xid
        };
        let reply_at = out.len();
        let mut result = Ok(());
        write_frame(out, |out| {
            self.header(reply_xid, 0).write(out);
            result = self.body(request, out);
        });
        if let Err(code) = result {
            out.truncate(reply_at);
            self.fail(reply_xid, code, out);
            if let Request::MultiRead(_) = request {
                // What Java leaves behind the header of a multiRead that dies on a write: an empty list of results.
                out.truncate(reply_at);
                write_frame(out, |out| {
                    self.header(reply_xid, code.code()).write(out);
                    write_multi_results(&[], out);
                });
            }
        }
    }

    fn header(&self, xid: i32, err: i32) -> ReplyHeader {
        ReplyHeader {
            xid,
            zxid: self.state.last_zxid(),
            err,
        }
    }

    pub(super) fn fail(&self, xid: i32, code: ErrorCode, out: &mut Vec<u8>) {
        write_frame(out, |out| self.header(xid, code.code()).write(out));
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        match request {
            Request::GetData(request) => self.get_data(request, out),
            Request::Exists(request) => self.exists(request, out),
            Request::GetChildren(request) => self.get_children(request, out).map(|_| ()),
            Request::GetChildren2(request) => {
                let id = self.get_children(request, out)?;
                self.state.tree.stat(id).write(out);
                Ok(())
            }
            Request::GetAcl(request) => self.get_acl(given(request.path.as_ref())?, out),
            Request::GetAllChildrenNumber(request) => {
                let path = given(request.path.as_ref())?;
                let count = self.state.tree.descendants(self.readable(path)?);
                // By its empty name Java counts the root among its own descendants.
                let count = if path.is_empty() { count + 1 } else { count };
                i32::try_from(count).unwrap_or(i32::MAX).write(out);
                Ok(())
            }
            Request::GetEphemerals(request) => {
                self.get_ephemerals(request.path.as_deref().unwrap_or_default(), out);
                Ok(())
            }
            Request::Sync(request) => {
                request.path.write(out);
                Ok(())
            }
            Request::MultiRead(MultiOps(ops)) => {
                write_multi_results(&self.multi_read(ops)?, out);
                Ok(())
            }
            Request::CheckWatches(request) => self.watcher(request, WatchTable::has),
            Request::RemoveWatches(request) => self.watcher(request, WatchTable::remove),
            Request::AddWatch(request) => {
                let mode = match AddWatchMode::from_i32(request.mode)
                    .ok_or(ErrorCode::MarshallingError)?
                {
                    AddWatchMode::Persistent => WatchMode::Persistent,
                    AddWatchMode::PersistentRecursive => WatchMode::PersistentRecursive,
                };
                // Java keeps a watch on null, which nothing ever fires.
                if let Some(path) = &request.path {
                    self.state
                        .watches()
                        .watch_persistently(self.conn, path, mode);
                }
                0i32.write(out);
                Ok(())
            }
            Request::WhoAmI => {
                self.who_am_i(out);
                Ok(())
            }
            Request::Ping | Request::SetWatches(_) | Request::SetWatches2(_) => Ok(()),
            _ => Err(ErrorCode::MarshallingError),
        }
    }

    /// checkWatches and removeWatches: whether `look` finds a watch of that kind of the connection.
    fn watcher(
        &self,
        request: &WatchesRequest,
        look: fn(&WatchTable, ConnId, &str, WatcherType) -> bool,
    ) -> Result<(), ErrorCode> {
        let kind =
            WatcherType::from_i32(request.watcher_type).ok_or(ErrorCode::MarshallingError)?;
        let path = request.path.as_deref().ok_or(ErrorCode::NoWatcher)?;
        if look(self.state.watches(), self.conn, path, kind) {
            Ok(())
        } else {
            Err(ErrorCode::NoWatcher)
        }
    }

    /// The node at `path`, if the reader may read it.
    fn readable(&self, path: &str) -> Result<NodeId, ErrorCode> {
        self.permitted(path, perms::READ)
    }

    fn permitted(&self, path: &str, wanted: i32) -> Result<NodeId, ErrorCode> {
        let id = self.state.tree.find(path).ok_or(ErrorCode::NoNode)?;
        if self.allowed(id, wanted) {
            Ok(id)
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn allowed(&self, id: NodeId, wanted: i32) -> bool {
        self.state
            .params
            .acl
            .allows(self.state.tree.acl(id), wanted, self.ids)
    }

    fn get_data(&self, request: &PathWatchRequest, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let path = given(request.path.as_ref())?;
        let id = self.readable(path)?;
        if request.watch {
            self.state.watches().watch_data(self.conn, path);
        }
        let (data, stat) = self.state.tree.read(id);
        write_buffer(data, out);
        stat.write(out);
        Ok(())
    }

    fn exists(&self, request: &PathWatchRequest, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let path = given(request.path.as_ref())?;
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let found = self.state.tree.find(path);
        if found.is_some_and(|id| !self.allowed(id, perms::READ)) {
            return Err(ErrorCode::NoAuth);
        }
        if request.watch {
            self.state.watches().watch_data(self.conn, path);
        }
        self.state
            .tree
            .stat(found.ok_or(ErrorCode::NoNode)?)
            .write(out);
        Ok(())
    }

    fn get_children(
        &self,
        request: &PathWatchRequest,
        out: &mut Vec<u8>,
    ) -> Result<NodeId, ErrorCode> {
        let path = given(request.path.as_ref())?;
        let id = self.readable(path)?;
        if request.watch {
            self.state.watches().watch_children(self.conn, path);
        }
        self.write_children(id, out);
        Ok(id)
    }

    fn write_children(&self, id: NodeId, out: &mut Vec<u8>) {
        i32::try_from(self.state.tree.children(id))
            .unwrap_or(i32::MAX)
            .write(out);
        for name in self.state.tree.child_names(id) {
            write_str(name, out);
        }
    }

    fn get_acl(&self, path: &str, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let id = self.permitted(path, acl::READ_OR_ADMIN)?;
        let list = self
            .state
            .tree
            .acl(id)
            .map_or_else(|| vec![Acl::open()], <[Acl]>::to_vec);
        if self.allowed(id, perms::ADMIN) {
            list.write(out)
        } else {
            acl::masked(&list).write(out)
        }
        self.state.tree.stat(id).write(out);
        Ok(())
    }

    fn get_ephemerals(&self, prefix: &str, out: &mut Vec<u8>) {
        let all = matches!(prefix.trim(), "" | "/");
        let paths: Vec<Text> = self
            .state
            .tree
            .ephemerals(self.session)
            .filter(|path| all || path.starts_with(prefix))
            .map(Text::from)
            .collect();
        paths.write(out);
    }

    fn multi_read(&self, ops: &[MultiOp]) -> Result<Vec<MultiResult>, ErrorCode> {
        let mut results = Vec::with_capacity(ops.len());
        let mut bytes = 0;
        for op in ops {
            let (MultiOp::GetData(request) | MultiOp::GetChildren(request)) = op else {
                return Err(ErrorCode::MarshallingError);
            };
            results.push(match self.readable(given(request.path.as_ref())?) {
                Ok(id) => {
                    // A child's name is not known without a look; two dozen bytes are a fair share.
                    bytes += match op {
                        MultiOp::GetChildren(_) => 24 * self.state.tree.children(id) as usize,
                        _ => self.state.tree.data(id).map_or(0, <[u8]>::len),
                    };
                    if bytes > MULTI_READ_BYTES_MAX {
                        return Err(ErrorCode::MarshallingError);
                    }
                    self.sub_read(op, id)
                }
                Err(code) => MultiResult::Error(code.code()),
            });
        }
        Ok(results)
    }

    fn sub_read(&self, op: &MultiOp, id: NodeId) -> MultiResult {
        let tree = &self.state.tree;
        if matches!(op, MultiOp::GetChildren(_)) {
            return MultiResult::GetChildren(tree.child_names(id).map(Text::from).collect());
        }
        let (data, stat) = tree.read(id);
        MultiResult::GetData(data.map(bytes::Bytes::copy_from_slice), stat)
    }

    fn who_am_i(&self, out: &mut Vec<u8>) {
        i32::try_from(self.ids.len()).unwrap_or(i32::MAX).write(out);
        for id in self.ids {
            id.scheme.write(out);
            write_str(&self.peer_auth.user_name(id), out);
        }
    }

    /// Registers the watches of setWatches; those that would have fired meanwhile become events at once.
    fn catch_up(&self, request: &Request, out: &mut Vec<u8>) -> Option<Result<(), ErrorCode>> {
        match request {
            Request::SetWatches(watches) => Some(self.set_watches(watches, out)),
            Request::SetWatches2(SetWatches2 {
                standard,
                persistent_watches,
                persistent_recursive_watches,
            }) => {
                let result = self.set_watches(standard, out).and_then(|()| {
                    self.set_persistent(persistent_watches.as_deref(), WatchMode::Persistent)?;
                    self.set_persistent(
                        persistent_recursive_watches.as_deref(),
                        WatchMode::PersistentRecursive,
                    )
                });
                Some(result)
            }
            _ => None,
        }
    }

    fn set_watches(&self, request: &SetWatches, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let event = |event: EventType, path: &str, out: &mut Vec<u8>| {
            write_frame(out, |out| write_event(Zxid(-1), event, path, out));
        };
        let (watches, since) = (self.state.watches(), request.relative_zxid);
        for path in all_given(request.data_watches.as_deref())? {
            match self.state.tree.find(path) {
                None => event(EventType::NodeDeleted, path, out),
                Some(id) if self.state.tree.stored_stat(id).mzxid > since => {
                    event(EventType::NodeDataChanged, path, out);
                }
                Some(_) => watches.watch_data(self.conn, path),
            }
        }
        for path in all_given(request.exist_watches.as_deref())? {
            match self.state.tree.find(path) {
                None => watches.watch_data(self.conn, path),
                Some(_) => event(EventType::NodeCreated, path, out),
            }
        }
        for path in all_given(request.child_watches.as_deref())? {
            match self.state.tree.find(path) {
                None => event(EventType::NodeDeleted, path, out),
                Some(id) if self.state.tree.stored_stat(id).pzxid > since => {
                    event(EventType::NodeChildrenChanged, path, out);
                }
                Some(_) => watches.watch_children(self.conn, path),
            }
        }
        Ok(())
    }

    fn set_persistent(&self, paths: Paths<'_>, mode: WatchMode) -> Result<(), ErrorCode> {
        // As with addWatch, a watch on null is taken and never fires.
        for path in paths.ok_or(ErrorCode::MarshallingError)?.iter().flatten() {
            self.state
                .watches()
                .watch_persistently(self.conn, path, mode);
        }
        Ok(())
    }
}

fn given(path: Option<&Text>) -> Result<&Text, ErrorCode> {
    path.ok_or(ErrorCode::MarshallingError)
}

fn all_given(paths: Paths<'_>) -> Result<Vec<&Text>, ErrorCode> {
    paths
        .ok_or(ErrorCode::MarshallingError)?
        .iter()
        .map(|path| given(path.as_ref()))
        .collect()
}
