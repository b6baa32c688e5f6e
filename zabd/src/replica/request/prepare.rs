//! Requests checked, in Java's order, and turned into transactions.
//!
//! ZooKeeper: `PrepRequestProcessor`; the order of checks is section C of `semantics.md`, the first hit wins.

use bytes::Bytes;
use jute_codec::data::{Id, perms};
use jute_codec::proto::{
    CheckVersionRequest, CreateFlags, CreateRequest, CreateTtlRequest, DeleteContainerRequest,
    DeleteRequest, MultiOp, MultiOps, OpCode, ReconfigRequest, Request, SetAclRequest,
    SetDataRequest,
};
use jute_codec::txn::{
    CheckVersionTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
    Txn, TxnHeader,
};
use jute_codec::{ErrorCode, Text};

use super::overlay::{Look, Speculation};
use super::reconfig::Membership;
use crate::replica::params::ReplicaParams;
use crate::state::tree::{Owner, TTL_MAX_MS, path, quota};
use crate::state::{State, apply};

/// Who makes a request.
#[derive(Debug, Clone, Copy)]
pub(in crate::replica) struct Asker<'a> {
    /// The identities of the connection.
    pub(in crate::replica) ids: &'a [Id],
    /// Whether the session may have ephemeral nodes, and how it is refused if not.
    pub(in crate::replica) may_own: Result<(), ErrorCode>,
}

/// The transaction of a request; [`Txn::Error`] when it fails. Its effects are in the overlay afterwards. Who stands
/// alone has no membership.
pub(in crate::replica) fn prepare(
    params: &ReplicaParams,
    header: &TxnHeader,
    request: &Request,
    asker: Asker<'_>,
    (state, membership): (&State, Option<&Membership<'_>>),
    speculation: &mut Speculation<'_>,
    quota_exceeded: &mut Option<BeyondQuota>,
) -> Txn {
    let mut preparation = Preparation {
        params,
        header,
        ids: asker.ids,
        may_own: asker.may_own,
        state,
        membership,
        speculation,
        quota_exceeded,
    };
    match request {
        Request::Multi(MultiOps(ops)) => preparation.multi(ops),
        _ => preparation.single(request),
    }
}

/// Whether a container or TTL node may still be deleted: it exists, is still one, and has no children.
///
/// Java looks only whether it belongs to no session, so that a persistent node which has come into its place since the
/// cleaner looked is deleted. Nobody asks for that.
pub(in crate::replica) fn may_abandon(speculation: &mut Speculation<'_>, node_path: &str) -> bool {
    let extended_types = speculation.committed().extended_types();
    speculation.look(node_path).is_some_and(|node| {
        node.children == 0 && matches!(node.owner(extended_types), Owner::Container | Owner::Ttl(_))
    })
}

struct Preparation<'a, 'b> {
    params: &'a ReplicaParams,
    header: &'a TxnHeader,
    ids: &'a [Id],
    may_own: Result<(), ErrorCode>,
    state: &'a State,
    /// Of a leader.
    membership: Option<&'a Membership<'a>>,
    speculation: &'a mut Speculation<'b>,
    /// A quota that the request goes beyond, for operators.
    quota_exceeded: &'a mut Option<BeyondQuota>,
}

/// A quota that a request goes beyond.
pub(in crate::replica) struct BeyondQuota {
    /// The path that the quota is on.
    pub(in crate::replica) path: Text,
    /// Whether the request fails for it.
    pub(in crate::replica) refused: bool,
}

type Prepared = Result<Txn, ErrorCode>;

impl Preparation<'_, '_> {
    fn single(&mut self, request: &Request) -> Txn {
        let prepared = match request {
            Request::Create(request) => self.create(OpCode::Create, request, None),
            Request::Create2(request) => self.create(OpCode::Create2, request, None),
            Request::CreateContainer(request) => {
                self.create(OpCode::CreateContainer, request, None)
            }
            Request::CreateTtl(request) => self.create_ttl(request),
            Request::Delete(request) => self.delete(request),
            Request::DeleteContainer(request) => self.delete_container(request),
            Request::SetData(request) => self.set_data(request),
            Request::SetAcl(request) => self.set_acl(request),
            Request::Reconfig(request) => self.reconfig(request),
            _ => Err(ErrorCode::MarshallingError),
        };
        self.take_in(prepared)
    }

    /// Applies a prepared transaction to the overlay.
    fn take_in(&mut self, prepared: Prepared) -> Txn {
        match prepared {
            Ok(txn) => {
                apply(self.speculation, self.header, &txn);
                txn
            }
            Err(code) => Txn::Error(code.code()),
        }
    }

    /// All or none: each sub-operation is checked against what those before it did.
    fn multi(&mut self, ops: &[MultiOp]) -> Txn {
        self.speculation.begin_undoable();
        let mut txns = Vec::with_capacity(ops.len());
        let mut failed = false;
        for op in ops {
            if failed {
                txns.push(Txn::Error(ErrorCode::RuntimeInconsistency.code()));
                continue;
            }
            let prepared = self.sub_operation(op);
            if prepared == Err(ErrorCode::MarshallingError) {
                // What Java notices by an exception fails the request as a whole.
                self.speculation.roll_back();
                return Txn::Error(ErrorCode::MarshallingError.code());
            }
            failed = prepared.is_err();
            let txn = self.take_in(prepared);
            txns.push(txn);
        }
        if failed {
            self.speculation.roll_back();
        } else {
            self.speculation.keep();
        }
        Txn::Multi(txns)
    }

    /// Inside a multi the kind of node follows the flags rather than the opcode.
    ///
    /// ZooKeeper: `Op.create`, `CreateOptions`; `client-protocol.md` §7.2.
    fn sub_operation(&mut self, op: &MultiOp) -> Prepared {
        match op {
            MultiOp::Create(request) => {
                self.create(container_if(request.flags, OpCode::Create), request, None)
            }
            MultiOp::Create2(request) => {
                self.create(container_if(request.flags, OpCode::Create2), request, None)
            }
            MultiOp::CreateContainer(request) => {
                self.create(OpCode::CreateContainer, request, None)
            }
            MultiOp::CreateTtl(request) => match CreateFlags::from_i32(request.flags) {
                Some(flags) if !flags.is_ttl() => {
                    let request = without_ttl(request);
                    self.create(container_if(request.flags, OpCode::Create), &request, None)
                }
                _ => self.create_ttl(request),
            },
            MultiOp::Delete(request) => self.delete(request),
            MultiOp::SetData(request) => self.set_data(request),
            MultiOp::Check(request) => self.check(request),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(ErrorCode::MarshallingError),
        }
    }

    fn create_ttl(&mut self, request: &CreateTtlRequest) -> Prepared {
        self.create(
            OpCode::CreateTtl,
            &without_ttl(request),
            Some(request.ttl_ms),
        )
    }

    fn create(&mut self, op: OpCode, request: &CreateRequest, ttl_ms: Option<i64>) -> Prepared {
        let flags = CreateFlags::from_i32(request.flags).ok_or(ErrorCode::BadArguments)?;
        self.check_ttl(flags, ttl_ms)?;
        if flags.is_ephemeral() {
            self.may_own?;
        }
        let wished = request.path.as_ref().ok_or(ErrorCode::MarshallingError)?;
        let parent_path = path::parent_of_loose(wished).ok_or(ErrorCode::BadArguments)?;
        let acl = self.rules().fix_up(request.acl.as_deref(), self.ids)?;
        let parent = self
            .speculation
            .look(parent_path)
            .ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perms::CREATE)?;
        let (created, parent_owner) = (
            parent.stat.cversion,
            parent.owner(self.params.extended_types),
        );
        let final_path = if flags.is_sequential() {
            Text::from(format!("{wished}{created:010}"))
        } else {
            wished.clone()
        };
        // A quota on the root would kill a Java server; there is nothing it could mean.
        if !path::is_valid(&final_path) || quota::is_quota_on_root(&final_path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.speculation.look(&final_path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent_owner, Owner::Session(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(
            &final_path,
            1,
            request.data.as_ref().map_or(0, Bytes::len).cast_signed(),
        )?;
        let (path, data, acl) = (final_path, request.data.clone(), Some(acl));
        let parent_cversion = created.wrapping_add(1);
        Ok(match op {
            OpCode::Create | OpCode::Create2 => {
                let txn = CreateTxn {
                    path,
                    data,
                    acl,
                    ephemeral: flags.is_ephemeral(),
                    parent_cversion,
                };
                match op {
                    OpCode::Create => Txn::Create(txn),
                    _ => Txn::Create2(txn),
                }
            }
            OpCode::CreateTtl => Txn::CreateTtl(CreateTtlTxn {
                path,
                data,
                acl,
                parent_cversion,
                ttl_ms: ttl_ms.unwrap_or_default(),
            }),
            _ => Txn::CreateContainer(CreateContainerTxn {
                path,
                data,
                acl,
                parent_cversion,
            }),
        })
    }

    /// ZooKeeper: `PrepRequestProcessor.validateCreateRequest`, `EphemeralType.validateTTL`. A negative TTL with flags
    /// that have none kills a Java server; it is refused like any other TTL that does not fit its flags.
    fn check_ttl(&self, flags: CreateFlags, ttl_ms: Option<i64>) -> Result<(), ErrorCode> {
        if flags.is_ttl() && !self.params.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let fits = match ttl_ms {
            Some(ttl_ms) => flags.is_ttl() && (1..=TTL_MAX_MS).contains(&ttl_ms),
            None => !flags.is_ttl(),
        };
        if fits {
            Ok(())
        } else {
            Err(ErrorCode::BadArguments)
        }
    }

    fn delete(&mut self, request: &DeleteRequest) -> Prepared {
        let node_path = request.path.as_ref().ok_or(ErrorCode::MarshallingError)?;
        let parent_path = deletable_parent(node_path)?;
        let parent = self
            .speculation
            .look(parent_path)
            .ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perms::DELETE)?;
        let node = self.speculation.look(node_path).ok_or(ErrorCode::NoNode)?;
        check_version(node.stat.version, request.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        Ok(Txn::Delete(DeleteTxn {
            path: node_path.clone(),
        }))
    }

    /// Java takes this from any client and asks nobody's permission; here it takes that to delete.
    fn delete_container(&mut self, request: &DeleteContainerRequest) -> Prepared {
        let bytes = request.path.as_ref().ok_or(ErrorCode::MarshallingError)?;
        let node_path = Text::decode(bytes, bytes);
        let parent_path = deletable_parent(&node_path)?;
        let node = self.speculation.look(&node_path).ok_or(ErrorCode::NoNode)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if matches!(node.owner(self.params.extended_types), Owner::Session(_)) {
            return Err(ErrorCode::BadVersion);
        }
        let parent = self
            .speculation
            .look(parent_path)
            .ok_or(ErrorCode::NoNode)?;
        self.allow(&parent, perms::DELETE)?;
        Ok(Txn::DeleteContainer(DeleteTxn { path: node_path }))
    }

    fn set_data(&mut self, request: &SetDataRequest) -> Prepared {
        let node_path = valid_path(request.path.as_ref())?;
        let node = self.speculation.look(node_path).ok_or(ErrorCode::NoNode)?;
        self.allow(&node, perms::WRITE)?;
        let len = request.data.as_ref().map_or(0, Bytes::len);
        let (more_bytes, current) = (
            len.cast_signed() - node.data_len.cast_signed(),
            node.stat.version,
        );
        self.check_quota(node_path, 0, more_bytes)?;
        let version = check_version(current, request.version)?.wrapping_add(1);
        Ok(Txn::SetData(SetDataTxn {
            path: node_path.clone(),
            data: request.data.clone(),
            version,
        }))
    }

    fn set_acl(&mut self, request: &SetAclRequest) -> Prepared {
        let node_path = valid_path(request.path.as_ref())?;
        let acl = self.rules().fix_up(request.acl.as_deref(), self.ids)?;
        let node = self.speculation.look(node_path).ok_or(ErrorCode::NoNode)?;
        self.allow(&node, perms::ADMIN)?;
        let version = check_version(node.stat.aversion, request.version)?.wrapping_add(1);
        Ok(Txn::SetAcl(SetAclTxn {
            path: node_path.clone(),
            acl: Some(acl),
            version,
        }))
    }

    fn check(&mut self, request: &CheckVersionRequest) -> Prepared {
        let node_path = valid_path(request.path.as_ref())?;
        let node = self.speculation.look(node_path).ok_or(ErrorCode::NoNode)?;
        self.allow(&node, perms::READ)?;
        let version = check_version(node.stat.version, request.version)?.wrapping_add(1);
        Ok(Txn::Check(CheckVersionTxn {
            path: node_path.clone(),
            version,
        }))
    }

    /// Who may is looked at last, as in Java.
    fn reconfig(&mut self, request: &ReconfigRequest) -> Prepared {
        if !self.params.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        // A server that stands alone has no membership to change.
        let membership = self.membership.ok_or(ErrorCode::Unimplemented)?;
        let members = membership.change(request, self.header.zxid)?;
        let node = self
            .speculation
            .look(path::CONFIG)
            .ok_or(ErrorCode::NoNode)?;
        self.allow(&node, perms::WRITE)?;
        Ok(Txn::Reconfig(SetDataTxn {
            path: Text::from_static(path::CONFIG),
            data: Some(members.text().as_bytes_shared().clone()),
            version: -1,
        }))
    }

    fn rules(&self) -> &crate::state::tree::acl::AclRules {
        &self.state.params().acl
    }

    fn allow(&self, node: &Look<'_>, wanted: i32) -> Result<(), ErrorCode> {
        if self.rules().allows(node.acl, wanted, self.ids) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    /// Usage is that of the committed tree, as in Java: what is outstanding does not count yet.
    fn check_quota(
        &mut self,
        node_path: &str,
        more_nodes: i64,
        more_bytes: isize,
    ) -> Result<(), ErrorCode> {
        let committed = self.speculation.committed();
        let more_bytes = more_bytes as i64;
        let mut beyond = |path: &str, refused| {
            let path = Text::from(path);
            *self.quota_exceeded = Some(BeyondQuota { path, refused });
        };
        if self.params.enforce_quota {
            match committed.exceeds_quota(node_path, more_nodes, more_bytes) {
                Ok(None) => {}
                Ok(Some(path)) => {
                    beyond(path, true);
                    return Err(ErrorCode::QuotaExceeded);
                }
                Err(quota::QuotaTextError) => return Err(ErrorCode::MarshallingError),
            }
        }
        if let Some(path) = committed.softly_exceeded(node_path, more_nodes, more_bytes) {
            beyond(path, false);
        }
        Ok(())
    }
}

const fn container_if(flags: i32, otherwise: OpCode) -> OpCode {
    if flags == CreateFlags::Container as i32 {
        OpCode::CreateContainer
    } else {
        otherwise
    }
}

fn without_ttl(request: &CreateTtlRequest) -> CreateRequest {
    let CreateTtlRequest {
        path,
        data,
        acl,
        flags,
        ttl_ms: _,
    } = request.clone();
    CreateRequest {
        path,
        data,
        acl,
        flags,
    }
}

fn valid_path(node_path: Option<&Text>) -> Result<&Text, ErrorCode> {
    node_path
        .filter(|node_path| path::is_valid(node_path))
        .ok_or(ErrorCode::BadArguments)
}

/// The parent of a node that may be deleted.
fn deletable_parent(node_path: &str) -> Result<&str, ErrorCode> {
    path::parent_of_loose(node_path)
        .filter(|_| !path::is_built_in(node_path))
        .ok_or(ErrorCode::BadArguments)
}

/// The current version, if it is the expected one; -1 expects any.
const fn check_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected == -1 || expected == current {
        Ok(current)
    } else {
        Err(ErrorCode::BadVersion)
    }
}
