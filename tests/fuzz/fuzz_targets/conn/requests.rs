//! Requests made of few bytes of input: mostly of paths that other requests name too.

use bytes::Bytes;
use jute_codec::data::{Acl, Id};
use jute_codec::proto::{
    AddWatchRequest, AuthPacket, CheckVersionRequest, CreateRequest, CreateTtlRequest,
    DeleteContainerRequest, DeleteRequest, MultiOp, MultiOps, OpCode, PathRequest,
    PathWatchRequest, ReconfigRequest, Request, SaslRequest, SetAclRequest, SetDataRequest,
    SetWatches, SetWatches2, WatchesRequest,
};
use jute_codec::{Text, Zxid};

use crate::source::Source;

/// The password of the user whom no list keeps out.
pub const SUPER: &str = "super:secret";

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/c",
    "/a-",
    "/b",
    "/a/\u{1f600}",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
    "/zookeeper/quota/zookeeper_limits",
    "/zookeeper/quota/b",
    "/zookeeper/quota/b/zookeeper_limits",
    "/a/b0000000000",
    "",
    "/a/",
    "/a//b",
    "/a/../b",
    "/a/.",
    "a",
    "/a\0b",
    "/a/b/c/d/e",
];

const DATA: &[&[u8]] = &[
    b"",
    b"x",
    b"count=2,bytes=10",
    b"count=-1,bytes=-1;byteHardLimit=20;countHardLimit=3",
    b"count=1,bytes=-1,=;byteHardLimit=-1;countHardLimit=2",
    b"count=99999999999999999999,bytes=9223372036854775807",
    b"count=9223372036854775807,bytes=-9223372036854775808;byteHardLimit=9223372036854775807",
];

fn path(source: &mut Source<'_>) -> Option<Text> {
    match source.byte() {
        255 => None,
        250..=254 => Some(Text::from(
            String::from_utf8_lossy(source.short()).into_owned(),
        )),
        place => Some(Text::from_static(PATHS[usize::from(place) % PATHS.len()])),
    }
}

fn data(source: &mut Source<'_>) -> Option<Bytes> {
    match source.byte() {
        255 => None,
        240..=254 => Some(Bytes::copy_from_slice(source.short())),
        place => Some(Bytes::from_static(DATA[usize::from(place) % DATA.len()])),
    }
}

fn version(source: &mut Source<'_>) -> i32 {
    match source.byte() {
        0..=127 => -1,
        small @ 128..=239 => i32::from(small % 8),
        240..=249 => i32::MAX - i32::from(source.byte() % 4),
        _ => source.number() as i32,
    }
}

fn acl(source: &mut Source<'_>) -> Option<Vec<Acl>> {
    let list = match source.byte() {
        0..=159 => vec![Acl::open()],
        160..=169 => vec![Acl::new(31, "auth", "")],
        170..=179 => vec![Acl::new(1, "world", "anyone")],
        180..=189 => vec![
            Acl::new(4, "world", "anyone"),
            Acl::new(27, "ip", "127.0.0.1/8"),
        ],
        190..=199 => vec![Acl::new(31, "digest", "user:x"), Acl::new(31, "auth", "")],
        200..=209 => vec![Acl::new(16, "world", "anyone")],
        210..=219 => vec![],
        220..=229 => return None,
        230..=239 => vec![Acl {
            perms: source.number() as i32,
            id: Id {
                scheme: None,
                id: None,
            },
        }],
        _ => {
            let scheme = String::from_utf8_lossy(source.short()).into_owned();
            let id = String::from_utf8_lossy(source.short()).into_owned();
            vec![Acl::new(source.byte().into(), scheme, id)]
        }
    };
    Some(list)
}

fn flags(source: &mut Source<'_>) -> i32 {
    i32::from(source.byte() % 8)
}

fn create(source: &mut Source<'_>) -> CreateRequest {
    CreateRequest {
        path: path(source),
        data: data(source),
        acl: acl(source),
        flags: flags(source),
    }
}

fn create_ttl(source: &mut Source<'_>) -> CreateTtlRequest {
    let CreateRequest {
        path,
        data,
        acl,
        flags,
    } = create(source);
    CreateTtlRequest {
        path,
        data,
        acl,
        flags: if flags < 4 { 5 } else { flags },
        ttl_ms: source.number() as i64,
    }
}

fn delete(source: &mut Source<'_>) -> DeleteRequest {
    DeleteRequest {
        path: path(source),
        version: version(source),
    }
}

fn set_data(source: &mut Source<'_>) -> SetDataRequest {
    SetDataRequest {
        path: path(source),
        data: data(source),
        version: version(source),
    }
}

fn read(source: &mut Source<'_>) -> PathWatchRequest {
    PathWatchRequest {
        path: path(source),
        watch: source.byte() % 2 == 1,
    }
}

fn multi_op(source: &mut Source<'_>) -> MultiOp {
    match source.byte() % 16 {
        0..=3 => MultiOp::Create(create(source)),
        4 => MultiOp::Create2(create(source)),
        5 => MultiOp::CreateContainer(create(source)),
        6 => MultiOp::CreateTtl(create_ttl(source)),
        7..=9 => MultiOp::Delete(delete(source)),
        10 | 11 => MultiOp::SetData(set_data(source)),
        12 => MultiOp::Check(CheckVersionRequest {
            path: path(source),
            version: version(source),
        }),
        13 => MultiOp::GetData(read(source)),
        14 => MultiOp::GetChildren(read(source)),
        _ => MultiOp::Delete(DeleteRequest {
            path: path(source),
            version: -1,
        }),
    }
}

fn multi_ops(source: &mut Source<'_>) -> MultiOps {
    let count = source.byte() % 8;
    MultiOps((0..count).map(|_| multi_op(source)).collect())
}

fn reads(source: &mut Source<'_>) -> MultiOps {
    let count = source.byte() % 8;
    let read = |source: &mut Source<'_>| match source.byte() % 2 {
        0 => MultiOp::GetData(read(source)),
        _ => MultiOp::GetChildren(read(source)),
    };
    MultiOps((0..count).map(|_| read(source)).collect())
}

fn paths(source: &mut Source<'_>) -> Option<Vec<Option<Text>>> {
    match source.byte() {
        255 => None,
        count => Some((0..count % 4).map(|_| path(source)).collect()),
    }
}

fn set_watches(source: &mut Source<'_>) -> SetWatches {
    SetWatches {
        relative_zxid: Zxid(source.number() as i64),
        data_watches: paths(source),
        exist_watches: paths(source),
        child_watches: paths(source),
    }
}

fn auth(source: &mut Source<'_>) -> AuthPacket {
    let (scheme, auth) = match source.byte() {
        0..=99 => (Some("digest".into()), Some(Bytes::from_static(b"user:x"))),
        100..=149 => (
            Some("digest".into()),
            Some(Bytes::from_static(SUPER.as_bytes())),
        ),
        150..=199 => (
            Some("digest".into()),
            Some(Bytes::copy_from_slice(source.short())),
        ),
        200..=219 => (Some("ip".into()), None),
        _ => (
            Some(String::from_utf8_lossy(source.short()).into_owned().into()),
            Some(Bytes::copy_from_slice(source.short())),
        ),
    };
    AuthPacket {
        kind: 0,
        scheme,
        auth,
    }
}

/// A request of any kind; `None` for an opcode that is none.
pub fn request(source: &mut Source<'_>) -> Option<Request> {
    // Half of the first byte's values change nodes.
    let op = match source.byte() {
        0..=31 => OpCode::Create,
        32..=47 => OpCode::CreateTtl,
        48..=79 => OpCode::Delete,
        80..=95 => OpCode::SetData,
        96..=127 => OpCode::Multi,
        other => OpCode::ALL[usize::from(other) % OpCode::ALL.len()],
    };
    let path_of = |source: &mut Source<'_>| PathRequest { path: path(source) };
    Some(match op {
        OpCode::Create => Request::Create(create(source)),
        OpCode::Create2 => Request::Create2(create(source)),
        OpCode::CreateContainer => Request::CreateContainer(create(source)),
        OpCode::CreateTtl => Request::CreateTtl(create_ttl(source)),
        OpCode::Delete => Request::Delete(delete(source)),
        OpCode::DeleteContainer => Request::DeleteContainer(DeleteContainerRequest {
            path: path(source).map(|path| path.as_bytes_shared().clone()),
        }),
        OpCode::Exists => Request::Exists(read(source)),
        OpCode::GetData => Request::GetData(read(source)),
        OpCode::GetChildren => Request::GetChildren(read(source)),
        OpCode::GetChildren2 => Request::GetChildren2(read(source)),
        OpCode::SetData => Request::SetData(set_data(source)),
        OpCode::SetAcl => Request::SetAcl(SetAclRequest {
            path: path(source),
            acl: acl(source),
            version: version(source),
        }),
        OpCode::GetAcl => Request::GetAcl(path_of(source)),
        OpCode::Sync => Request::Sync(path_of(source)),
        OpCode::GetEphemerals => Request::GetEphemerals(path_of(source)),
        OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(path_of(source)),
        OpCode::Ping => Request::Ping,
        OpCode::WhoAmI => Request::WhoAmI,
        OpCode::CloseSession => Request::CloseSession,
        OpCode::CreateSession => Request::CreateSession {
            timeout_ms: source.number() as i32,
        },
        OpCode::Multi => Request::Multi(multi_ops(source)),
        OpCode::MultiRead => Request::MultiRead(reads(source)),
        OpCode::Reconfig => Request::Reconfig(ReconfigRequest {
            joining_servers: path(source),
            leaving_servers: path(source),
            new_members: path(source),
            current_config_id: source.number() as i64,
        }),
        OpCode::CheckWatches | OpCode::RemoveWatches => {
            let watches = WatchesRequest {
                path: path(source),
                watcher_type: i32::from(source.byte() % 7),
            };
            if op == OpCode::CheckWatches {
                Request::CheckWatches(watches)
            } else {
                Request::RemoveWatches(watches)
            }
        }
        OpCode::AddWatch => Request::AddWatch(AddWatchRequest {
            path: path(source),
            mode: i32::from(source.byte() % 3),
        }),
        OpCode::SetWatches => Request::SetWatches(set_watches(source)),
        OpCode::SetWatches2 => Request::SetWatches2(SetWatches2 {
            standard: set_watches(source),
            persistent_watches: paths(source),
            persistent_recursive_watches: paths(source),
        }),
        OpCode::Auth => Request::Auth(auth(source)),
        OpCode::Sasl => Request::Sasl(SaslRequest {
            token: data(source),
        }),
        OpCode::Error | OpCode::Notification | OpCode::Check => return None,
    })
}
