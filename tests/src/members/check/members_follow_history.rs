//! `MembersFollowHistory`: a change of the members is what was asked for, comes into force only if it is committed, and at
//! one transaction `/zookeeper/config` says the same on all servers.

use jute_codec::Zxid;

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "MembersFollowHistory";

/// A change was refused, for no reason or another.
pub(in crate::members) fn refused<T>(zxid: Zxid, found: i32, expected: Option<i32>) -> Check<T> {
    broken(
        NAME,
        format!("the change of {zxid} is refused with {found}, expected was {expected:?}"),
    )
}

/// A request has become something else than was asked for.
pub(in crate::members) fn wrong<T>(found: &str, zxid: Zxid) -> Check<T> {
    broken(NAME, format!("{zxid} is not what was asked for: {found}"))
}

/// A server went by members whose change is not committed.
pub(in crate::members) fn in_force(server: Node, version: Zxid) -> Check {
    broken(
        NAME,
        format!("{server} went by the members of {version}, which is no committed change"),
    )
}

/// What a server says of the members when its state is as of `zxid`.
pub(in crate::members) fn said(
    server: Node,
    zxid: Zxid,
    found: Option<&[u8]>,
    expected: Option<&[u8]>,
) -> Check {
    if found == expected {
        return Ok(());
    }
    let text = |bytes: Option<&[u8]>| {
        bytes
            .map(String::from_utf8_lossy)
            .map(|text| text.into_owned())
    };
    broken(
        NAME,
        format!(
            "at {zxid} {server} says that the members are {:?}, by the history they are {:?}",
            text(found),
            text(expected)
        ),
    )
}
