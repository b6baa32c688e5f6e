//! What clients ask for: few paths, so that they get in each other's way.

use bytes::Bytes;
use jute_codec::Text;
use jute_codec::Zxid;
use jute_codec::data::{Acl, perms};
use jute_codec::proto::{
    AddWatchRequest, CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteContainerRequest,
    DeleteRequest, MultiOp, MultiOps, PathRequest, PathWatchRequest, ReconfigRequest, Request,
    SetAclRequest, SetDataRequest, SetWatches, SetWatches2, WatchesRequest,
};

use super::probe::digest_id;
use super::rng::Rng;

const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/a",
    "/b",
    "/c",
    "/a/x",
    "/a/y",
    "/a/x/1",
    "/a/x/2",
    "/b/x",
    "/b/y",
    "/c/z",
    "/zookeeper",
    "/zookeeper/config",
];
const PARENTS: [&str; 7] = ["/", "/a/", "/b/", "/a/x/", "/c/", "/b/q-", "/q-"];
/// Names that no node may have, or that mean something else.
const ODD: [&str; 6] = ["", "a", "/a/", "//a", "/a/./b", "/none/of/this"];

/// The user name and password of client number `client`.
pub(super) fn credential(client: usize) -> String {
    format!("u{client}:p{client}")
}

fn path(rng: &mut Rng) -> Option<Text> {
    let path = if rng.chance(1, 40) {
        *rng.pick(&ODD)
    } else {
        *rng.pick(&PATHS)
    };
    Some(Text::from(path))
}

fn readable_path(rng: &mut Rng) -> Option<Text> {
    Some(Text::from(*rng.pick(&PATHS)))
}

fn data(rng: &mut Rng) -> Option<Bytes> {
    match rng.below(10) {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(Bytes::from(vec![b'x'; rng.place(1500)])),
        _ => Some(Bytes::from(vec![b'd'; rng.place(24)])),
    }
}

fn version(rng: &mut Rng) -> i32 {
    *rng.pick(&[-1, -1, -1, 0, 0, 1, 1, 2, 3, -2])
}

fn acl(rng: &mut Rng, open_of_100: u64) -> Option<Vec<Acl>> {
    if rng.chance(open_of_100, 100) {
        return Some(vec![Acl::open()]);
    }
    let user = |rng: &mut Rng| digest_id(&credential(rng.place(3)));
    Some(match rng.below(9) {
        0 => vec![],
        1 => vec![Acl::new(perms::READ, "world", "anyone")],
        2 => vec![Acl::new(perms::ALL, "auth", "")],
        3 => vec![Acl {
            perms: perms::ALL,
            id: user(rng),
        }],
        4 => {
            let owner = Acl {
                perms: perms::ALL,
                id: user(rng),
            };
            vec![
                owner.clone(),
                Acl::new(perms::READ, "world", "anyone"),
                owner,
            ]
        }
        5 => vec![Acl::new(perms::ALL & !perms::DELETE, "ip", "127.0.0.1")],
        6 => vec![Acl::new(perms::ALL, "nobody", "knows")],
        7 => vec![Acl::new(perms::ALL, "world", "someone")],
        _ => vec![Acl::new(
            perms::ADMIN | perms::CREATE | perms::DELETE,
            "world",
            "anyone",
        )],
    })
}

fn create(rng: &mut Rng) -> CreateRequest {
    let flags = *rng.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 7]);
    let path = if matches!(flags, 2 | 3) || rng.chance(1, 20) {
        Some(Text::from(*rng.pick(&PARENTS)))
    } else {
        path(rng)
    };
    CreateRequest {
        path,
        data: data(rng),
        acl: acl(rng, 88),
        flags,
    }
}

fn create_ttl(rng: &mut Rng) -> CreateTtlRequest {
    let flags = *rng.pick(&[5, 5, 6]);
    let path = if flags == 6 {
        Some(Text::from(*rng.pick(&PARENTS)))
    } else {
        path(rng)
    };
    CreateTtlRequest {
        path,
        data: data(rng),
        acl: acl(rng, 90),
        flags,
        ttl_ms: *rng.pick(&[1, 500, 5000, 0, -1]),
    }
}

fn delete(rng: &mut Rng) -> DeleteRequest {
    DeleteRequest {
        path: path(rng),
        version: version(rng),
    }
}

fn set_data(rng: &mut Rng) -> SetDataRequest {
    SetDataRequest {
        path: path(rng),
        data: data(rng),
        version: version(rng),
    }
}

fn sub_operation(rng: &mut Rng) -> MultiOp {
    match rng.below(12) {
        0..=2 => MultiOp::Create(multi_create(rng)),
        3 => MultiOp::Create2(multi_create(rng)),
        4 => MultiOp::CreateContainer(multi_create(rng)),
        5 => MultiOp::CreateTtl(CreateTtlRequest {
            ttl_ms: 700,
            ..create_ttl(rng)
        }),
        6 | 7 => MultiOp::Delete(delete(rng)),
        8 | 9 => MultiOp::SetData(set_data(rng)),
        _ => MultiOp::Check(CheckVersionRequest {
            path: path(rng),
            version: version(rng),
        }),
    }
}

/// Flags that mean nothing make a multi undecodable, which is another story.
fn multi_create(rng: &mut Rng) -> CreateRequest {
    let request = create(rng);
    let flags = if (0..=4).contains(&request.flags) {
        request.flags
    } else {
        0
    };
    CreateRequest { flags, ..request }
}

fn paths(rng: &mut Rng) -> Option<Vec<Option<Text>>> {
    let count = rng.below(3);
    Some((0..count).map(|_| readable_path(rng)).collect())
}

/// What a client asks for when it has come back: its watches, as of `seen` or of some time before.
pub(super) fn set_watches(rng: &mut Rng, seen: Zxid) -> Request {
    let before = if rng.chance(1, 2) {
        0
    } else {
        rng.below(10).cast_signed()
    };
    let standard = SetWatches {
        relative_zxid: Zxid((seen.0 - before).max(0)),
        data_watches: paths(rng),
        exist_watches: paths(rng),
        child_watches: paths(rng),
    };
    if rng.chance(1, 2) {
        return Request::SetWatches(standard);
    }
    Request::SetWatches2(SetWatches2 {
        standard,
        persistent_watches: paths(rng),
        persistent_recursive_watches: paths(rng),
    })
}

/// A write.
pub(super) fn write(rng: &mut Rng) -> Request {
    match rng.below(40) {
        0..=8 => Request::Create(create(rng)),
        9 | 10 => Request::Create2(create(rng)),
        11 => Request::CreateContainer(create(rng)),
        12 | 13 => Request::CreateTtl(create_ttl(rng)),
        14..=19 => Request::Delete(delete(rng)),
        20..=28 => Request::SetData(set_data(rng)),
        29 | 30 => Request::SetAcl(SetAclRequest {
            path: path(rng),
            acl: acl(rng, 50),
            version: version(rng),
        }),
        31..=37 => {
            let count = rng.below(5);
            Request::Multi(MultiOps((0..count).map(|_| sub_operation(rng)).collect()))
        }
        38 => {
            let path = path(rng).map(|path| path.as_bytes_shared().clone());
            Request::DeleteContainer(DeleteContainerRequest { path })
        }
        _ => Request::Reconfig(ReconfigRequest {
            joining_servers: None,
            leaving_servers: None,
            new_members: Some("server.1=a:1:2".into()),
            current_config_id: -1,
        }),
    }
}

/// A read, or something about watches.
pub(super) fn read(rng: &mut Rng) -> Request {
    let watched = |rng: &mut Rng| PathWatchRequest {
        path: path(rng),
        watch: rng.chance(1, 2),
    };
    match rng.below(30) {
        0..=5 => Request::GetData(watched(rng)),
        6..=10 => Request::Exists(watched(rng)),
        11..=13 => Request::GetChildren(watched(rng)),
        14..=16 => Request::GetChildren2(watched(rng)),
        17 => Request::GetAcl(PathRequest { path: path(rng) }),
        18 => Request::GetAllChildrenNumber(PathRequest { path: path(rng) }),
        19 => Request::GetEphemerals(PathRequest {
            path: Some(Text::from(*rng.pick(&["/", "/a", "/b/"]))),
        }),
        20 => Request::Sync(PathRequest { path: path(rng) }),
        21 => Request::Ping,
        22 => Request::WhoAmI,
        23..=25 => Request::AddWatch(AddWatchRequest {
            path: readable_path(rng),
            mode: i32::from(rng.chance(1, 2)),
        }),
        26 => Request::CheckWatches(watches(rng)),
        27 => Request::RemoveWatches(watches(rng)),
        28 => set_watches(rng, Zxid(1 << 40)),
        _ => {
            let count = rng.below(4);
            let op = |rng: &mut Rng| {
                let request = PathWatchRequest {
                    path: path(rng),
                    watch: true,
                };
                if rng.chance(1, 2) {
                    MultiOp::GetData(request)
                } else {
                    MultiOp::GetChildren(request)
                }
            };
            Request::MultiRead(MultiOps((0..count).map(|_| op(rng)).collect()))
        }
    }
}

fn watches(rng: &mut Rng) -> WatchesRequest {
    let kind = rng.between(1, 5);
    WatchesRequest {
        path: readable_path(rng),
        watcher_type: i32::try_from(kind).unwrap_or(3),
    }
}
