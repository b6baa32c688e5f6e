//! What clients ask for: few paths, so that they get in each other's way; all nodes are open to all.

use bytes::Bytes;
use jute_codec::Text;
use jute_codec::data::Acl;
use jute_codec::proto::{
    AddWatchRequest, CheckVersionRequest, CreateRequest, DeleteRequest, MultiOp, MultiOps,
    PathRequest, PathWatchRequest, Request, SetDataRequest,
};

use crate::sim::rng::Rng;

const PATHS: [&str; 9] = [
    "/a",
    "/a",
    "/b",
    "/c",
    "/a/x",
    "/a/x",
    "/a/y",
    "/b/x",
    "/none/of/this",
];
const PARENTS: [&str; 5] = ["/", "/a/", "/b/", "/a/q-", "/q-"];

fn path(rng: &mut Rng) -> Option<Text> {
    Some(Text::from(*rng.pick(&PATHS)))
}

fn data(rng: &mut Rng) -> Option<Bytes> {
    let length = if rng.chance(1, 20) { 900 } else { 20 };
    Some(Bytes::from(vec![b'd'; rng.place(length)]))
}

fn version(rng: &mut Rng) -> i32 {
    *rng.pick(&[-1, -1, -1, 0, 1, 2])
}

fn create(rng: &mut Rng) -> CreateRequest {
    let flags = *rng.pick(&[0, 0, 0, 1, 1, 1, 2, 3, 3]);
    let path = if matches!(flags, 2 | 3) {
        Some(Text::from(*rng.pick(&PARENTS)))
    } else {
        path(rng)
    };
    CreateRequest {
        path,
        data: data(rng),
        acl: Some(vec![Acl::open()]),
        flags,
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
    match rng.below(8) {
        0..=2 => MultiOp::Create(create(rng)),
        3 => MultiOp::Delete(delete(rng)),
        4..=6 => MultiOp::SetData(set_data(rng)),
        _ => MultiOp::Check(CheckVersionRequest {
            path: path(rng),
            version: version(rng),
        }),
    }
}

/// A write.
pub(super) fn write(rng: &mut Rng) -> Request {
    match rng.below(20) {
        0..=6 => Request::Create(create(rng)),
        7 => Request::Create2(create(rng)),
        8 => Request::CreateContainer(CreateRequest {
            flags: 4,
            path: path(rng),
            ..create(rng)
        }),
        9..=12 => Request::Delete(delete(rng)),
        13..=17 => Request::SetData(set_data(rng)),
        _ => {
            let count = rng.between(1, 4);
            Request::Multi(MultiOps((0..count).map(|_| sub_operation(rng)).collect()))
        }
    }
}

/// A read, or something about watches.
pub(super) fn read(rng: &mut Rng) -> Request {
    let watched = |rng: &mut Rng| PathWatchRequest {
        path: path(rng),
        watch: rng.chance(1, 2),
    };
    match rng.below(20) {
        0..=4 => Request::GetData(watched(rng)),
        5..=8 => Request::Exists(watched(rng)),
        9 | 10 => Request::GetChildren(watched(rng)),
        11..=13 => Request::GetChildren2(watched(rng)),
        14 => Request::GetEphemerals(PathRequest {
            path: Some(Text::from("/")),
        }),
        15 => Request::GetAllChildrenNumber(PathRequest {
            path: Some(Text::from("/")),
        }),
        16..=18 => sync(),
        _ => Request::AddWatch(AddWatchRequest {
            path: path(rng),
            mode: i32::from(rng.chance(1, 2)),
        }),
    }
}

/// Who the members are, and perhaps a word when that changes.
pub(super) fn watch_members(rng: &mut Rng) -> Request {
    let request = PathWatchRequest {
        path: Some(Text::from(super::membership::PATH)),
        watch: rng.chance(1, 2),
    };
    if rng.chance(1, 4) {
        Request::Exists(request)
    } else {
        Request::GetData(request)
    }
}

/// A sync.
pub(super) fn sync() -> Request {
    Request::Sync(PathRequest {
        path: Some(Text::from("/")),
    })
}
