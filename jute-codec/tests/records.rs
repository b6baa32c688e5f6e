//! Every record: what is written is read back as it was, and nothing of it is left.

use bytes::Bytes;
use jute_codec::digest::TxnDigest;
use jute_codec::proto::{
    AclReply, AddWatchRequest, AuthPacket, CheckVersionRequest, ChildrenReply, ClientInfo,
    ConnectRequest, ConnectResponse, CreateRequest, CreateTtlRequest, DataReply,
    DeleteContainerRequest, DeleteRequest, MultiHeader, MultiOp, MultiOps, MultiResult, OpCode,
    PathRequest, PathStatReply, PathWatchRequest, ReconfigRequest, Reply, ReplyHeader, Request,
    RequestHeader, SaslRequest, SetAclRequest, SetDataRequest, SetWatches, SetWatches2,
    WatcherEvent, WatchesRequest,
};
use jute_codec::txn::{
    CheckVersionTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
    Txn, TxnEntry, TxnHeader,
};
use jute_codec::{Acl, Id, Jute, Reader, SessionId, Stat, StatPersisted, Text, Zxid};
use proptest::prelude::*;

/// A type of which values can be made up.
trait Arbitrary: Sized + std::fmt::Debug + 'static {
    fn any() -> BoxedStrategy<Self>;
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl Arbitrary for $type {
            fn any() -> BoxedStrategy<Self> {
                any::<$type>().boxed()
            }
        }
    )* };
}

numbers!(bool i32 i64);

impl Arbitrary for Text {
    /// Characters beyond the BMP are left out: Java's writer and reader do not agree about them.
    fn any() -> BoxedStrategy<Self> {
        let bmp = any::<char>().prop_filter("within the BMP", |c| u32::from(*c) < 0x1_0000);
        let character = prop_oneof![Just('/'), proptest::char::range('\0', 'z'), bmp];
        prop::collection::vec(character, 0..8)
            .prop_map(|characters| characters.into_iter().collect::<String>().into())
            .boxed()
    }
}

impl Arbitrary for Bytes {
    fn any() -> BoxedStrategy<Self> {
        any::<Vec<u8>>().prop_map(Self::from).boxed()
    }
}

impl<T: Arbitrary + Clone> Arbitrary for Option<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::option::of(T::any()).boxed()
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::collection::vec(T::any(), 0..4).boxed()
    }
}

impl Arbitrary for [u8; 16] {
    fn any() -> BoxedStrategy<Self> {
        any::<Self>().boxed()
    }
}

impl Arbitrary for Zxid {
    fn any() -> BoxedStrategy<Self> {
        any::<i64>().prop_map(Self).boxed()
    }
}

impl Arbitrary for SessionId {
    fn any() -> BoxedStrategy<Self> {
        any::<i64>().prop_map(Self).boxed()
    }
}

/// Lists the fields of records, and makes a test for each: `decode(encode(x)) == x`.
macro_rules! records {
    ($( $test:ident: $name:ident { $($field:ident),* } )*) => {
        $(
            impl Arbitrary for $name {
                fn any() -> BoxedStrategy<Self> {
                    ($(records!(@strategy $field),)*)
                        .prop_map(|($($field,)*)| $name { $($field),* })
                        .boxed()
                }
            }
        )*

        proptest! {
            $(
                #[test]
                fn $test(record in <$name as Arbitrary>::any()) {
                    let bytes = Bytes::from(record.to_vec());
                    prop_assert!(bytes.len() >= $name::MIN_BYTES);
                    let mut reader = Reader::new(&bytes);
                    prop_assert_eq!($name::read(&mut reader), Ok(record));
                    prop_assert_eq!(reader.remaining(), 0);
                }
            )*
        }
    };
    (@strategy $field:ident) => { Arbitrary::any() };
}

records! {
    id: Id { scheme, id }
    acl: Acl { perms, id }
    stat: Stat {
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length, num_children, pzxid
    }
    stat_persisted: StatPersisted {
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid
    }
    connect_request: ConnectRequest {
        protocol_version, last_zxid_seen, timeout_ms, session, password, read_only
    }
    connect_response: ConnectResponse { protocol_version, timeout_ms, session, password, read_only }
    request_header: RequestHeader { xid, op }
    reply_header: ReplyHeader { xid, zxid, err }
    multi_header: MultiHeader { op, done, err }
    create_request: CreateRequest { path, data, acl, flags }
    create_ttl_request: CreateTtlRequest { path, data, acl, flags, ttl_ms }
    delete_request: DeleteRequest { path, version }
    delete_container_request: DeleteContainerRequest { path }
    set_data_request: SetDataRequest { path, data, version }
    set_acl_request: SetAclRequest { path, acl, version }
    check_version_request: CheckVersionRequest { path, version }
    path_watch_request: PathWatchRequest { path, watch }
    path_request: PathRequest { path }
    watches_request: WatchesRequest { path, watcher_type }
    add_watch_request: AddWatchRequest { path, mode }
    reconfig_request: ReconfigRequest { joining_servers, leaving_servers, new_members, current_config_id }
    auth_packet: AuthPacket { kind, scheme, auth }
    sasl_request: SaslRequest { token }
    set_watches: SetWatches { relative_zxid, data_watches, exist_watches, child_watches }
    set_watches_2: SetWatches2 { standard, persistent_watches, persistent_recursive_watches }
    data_reply: DataReply { data, stat }
    path_stat_reply: PathStatReply { path, stat }
    acl_reply: AclReply { acl, stat }
    children_reply: ChildrenReply { children, stat }
    client_info: ClientInfo { auth_scheme, user }
    watcher_event: WatcherEvent { kind, state, path }
    txn_header: TxnHeader { client_id, cxid, zxid, time, op }
    txn_digest: TxnDigest { version, tree_digest }
    create_txn: CreateTxn { path, data, acl, ephemeral, parent_cversion }
    create_container_txn: CreateContainerTxn { path, data, acl, parent_cversion }
    create_ttl_txn: CreateTtlTxn { path, data, acl, parent_cversion, ttl_ms }
    delete_txn: DeleteTxn { path }
    set_data_txn: SetDataTxn { path, data, version }
    set_acl_txn: SetAclTxn { path, acl, version }
    check_version_txn: CheckVersionTxn { path, version }
}

/// One strategy that makes up any of several variants, each from its fields.
macro_rules! variants {
    ($( $make:expr ),* $(,)?) => {
        prop_oneof![ $( Arbitrary::any().prop_map($make) ),* ]
    };
}

impl Arbitrary for MultiOp {
    fn any() -> BoxedStrategy<Self> {
        variants![
            Self::Create,
            Self::Create2,
            Self::CreateContainer,
            Self::CreateTtl,
            Self::Delete,
            Self::SetData,
            Self::Check,
            Self::GetData,
            Self::GetChildren,
        ]
        .boxed()
    }
}

impl Arbitrary for MultiOps {
    fn any() -> BoxedStrategy<Self> {
        Arbitrary::any().prop_map(Self).boxed()
    }
}

impl Arbitrary for MultiResult {
    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            Just(Self::Delete),
            Just(Self::Check),
            variants![Self::Create, Self::SetData, Self::GetChildren, Self::Error],
            (Arbitrary::any(), Arbitrary::any()).prop_map(|(path, stat)| Self::Create2(path, stat)),
            (Arbitrary::any(), Arbitrary::any()).prop_map(|(data, stat)| Self::GetData(data, stat)),
        ]
        .boxed()
    }
}

fn request() -> impl Strategy<Value = Request> {
    use Request as R;
    prop_oneof![
        variants![
            R::Create,
            R::Create2,
            R::CreateContainer,
            R::CreateTtl,
            R::Delete,
            R::DeleteContainer,
            R::Exists,
            R::GetData,
            R::SetData,
        ],
        variants![
            R::GetAcl,
            R::SetAcl,
            R::GetChildren,
            R::GetChildren2,
            R::Sync,
            R::Multi,
            R::MultiRead,
            R::Reconfig,
            R::CheckWatches,
        ],
        variants![
            R::RemoveWatches,
            R::Auth,
            R::Sasl,
            R::SetWatches,
            R::SetWatches2,
            R::GetEphemerals,
            R::GetAllChildrenNumber,
            R::AddWatch,
            |timeout_ms| R::CreateSession { timeout_ms },
        ],
        Just(R::Ping),
        Just(R::WhoAmI),
        Just(R::CloseSession),
    ]
}

/// A reply and an opcode that it answers.
fn reply() -> impl Strategy<Value = (OpCode, Reply)> {
    prop_oneof![
        Just((OpCode::Delete, Reply::Empty)),
        variants![
            |path| (OpCode::Sync, Reply::Path(path)),
            |body| (OpCode::Create2, Reply::PathStat(body)),
            |stat| (OpCode::Exists, Reply::Stat(stat)),
            |body| (OpCode::GetData, Reply::Data(body)),
            |body| (OpCode::GetAcl, Reply::Acl(body)),
            |names| (OpCode::GetChildren, Reply::Names(names)),
            |body| (OpCode::GetChildren2, Reply::Children(body)),
            |results| (OpCode::MultiRead, Reply::Multi(results)),
            |token| (OpCode::Sasl, Reply::Token(token)),
        ],
        variants![
            |count| (OpCode::GetAllChildrenNumber, Reply::Int(count)),
            |identities| (OpCode::WhoAmI, Reply::Identities(identities)),
        ],
    ]
}

/// What may stand inside a multi.
fn sub_txn() -> impl Strategy<Value = Txn> {
    variants![
        Txn::Create,
        Txn::Create2,
        Txn::CreateContainer,
        Txn::CreateTtl,
        Txn::Delete,
        Txn::DeleteContainer,
        Txn::SetData,
        Txn::Check,
        Txn::Error,
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    // An empty path cannot be told from a digest where it matters, and no node has one.
    let paths = prop::collection::vec(
        Text::any().prop_map(|text| Text::from(format!("/{text}"))),
        0..4,
    );
    prop_oneof![
        sub_txn().prop_filter("stands alone", |txn| !matches!(txn, Txn::Check(_))),
        variants![Txn::SetAcl, Txn::Reconfig, |timeout_ms| {
            Txn::CreateSession { timeout_ms }
        }],
        prop::option::of(paths).prop_map(Txn::CloseSession),
        prop::collection::vec(sub_txn(), 0..4).prop_map(Txn::Multi),
    ]
}

fn digest() -> impl Strategy<Value = Option<TxnDigest>> {
    prop::option::of(i64::any().prop_map(|tree_digest| TxnDigest {
        version: jute_codec::digest::DIGEST_VERSION,
        tree_digest,
    }))
}

proptest! {
    #[test]
    fn requests(request in request()) {
        let mut body = Vec::new();
        request.write_body(&mut body);
        let body = Bytes::from(body);
        let mut reader = Reader::new(&body);
        prop_assert_eq!(Request::read(request.op(), &mut reader), Ok(request));
        prop_assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn replies((op, reply) in reply()) {
        let mut body = Vec::new();
        reply.write_body(&mut body);
        let body = Bytes::from(body);
        let mut reader = Reader::new(&body);
        prop_assert_eq!(Reply::read(op, &mut reader), Ok(reply));
        prop_assert_eq!(reader.remaining(), 0);
    }

    #[test]
    fn transactions(mut header in TxnHeader::any(), txn in txn(), digest in digest()) {
        header.op = txn.op().code();
        let entry = TxnEntry { header, txn, digest };
        let mut payload = Vec::new();
        entry.write(&mut payload);
        prop_assert_eq!(TxnEntry::decode(&payload.into()), Ok(entry));
    }
}
