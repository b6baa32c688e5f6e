//! The snapshot stream against one that a server sent, and against the bodies of snapshot files that servers wrote.

use bytes::Bytes;
use jute_codec::data::{Acl, perms};
use jute_codec::quorum::snapshot::{
    OPEN_ACL, SnapshotItem, SnapshotNode, SnapshotReader, write_acl, write_count, write_end,
    write_node, write_session,
};

use crate::vectors::{lines, unhex};

const HEADER_BYTES: usize = 16;
/// The first seal, the digest and the last transaction with theirs.
const SEALS_BYTES: usize = 13 + 54;

/// A file as SNAP would have sent it.
fn stream(text: &'static str) -> Vec<u8> {
    let file = unhex(&lines(text).collect::<String>());
    let body = &file[HEADER_BYTES..file.len() - SEALS_BYTES];
    [body, b"\0\0\0\x0aBenWasHere"].concat()
}

fn items(stream: &[u8], piece: usize) -> Vec<SnapshotItem> {
    let mut reader = SnapshotReader::new(1 << 20);
    let mut items = Vec::new();
    for bytes in stream.chunks(piece) {
        reader.feed(bytes);
        while let Some(item) = reader.next_item().expect("a stream of a server") {
            items.push(item);
        }
    }
    assert_eq!(items.last(), Some(&SnapshotItem::End));
    items
}

#[test]
fn what_a_server_sent_or_saved_is_written_byte_for_byte() {
    let sent = include_str!("quorum.packets")
        .lines()
        .find_map(|line| line.strip_prefix("< snapshot "))
        .expect("a snapshot was sent");
    for stream in [
        stream(include_str!("reference.snapshot")),
        stream(include_str!("server.snapshot")),
        unhex(sent).to_vec(),
    ] {
        let items = items(&stream, 61);
        let count = |wanted: fn(&SnapshotItem) -> bool| {
            i32::try_from(items.iter().filter(|item| wanted(item)).count()).expect("a few")
        };
        let sessions = count(|item| matches!(item, SnapshotItem::Session { .. }));
        let lists = count(|item| matches!(item, SnapshotItem::Acl { .. }));
        let mut written = Vec::new();
        write_count(sessions, &mut written);
        let mut lists_announced = false;
        for item in &items {
            if !lists_announced && !matches!(item, SnapshotItem::Session { .. }) {
                write_count(lists, &mut written);
                lists_announced = true;
            }
            match item {
                SnapshotItem::Session {
                    session,
                    timeout_ms,
                } => write_session(*session, *timeout_ms, &mut written),
                SnapshotItem::Acl { id, acl } => write_acl(*id, acl, &mut written),
                SnapshotItem::Node(node) => write_node(
                    &node.path,
                    node.data.as_deref(),
                    node.acl_id,
                    &node.stat,
                    &mut written,
                ),
                SnapshotItem::End => write_end(&mut written),
            }
        }
        assert_eq!(written, stream);
    }
}

#[test]
fn what_a_server_saved_is_what_was_put_there() {
    let items = items(&stream(include_str!("server.snapshot")), 4096);
    let node = |path: &str| -> &SnapshotNode {
        items
            .iter()
            .find_map(|item| match item {
                SnapshotItem::Node(node) if node.path == path => Some(node),
                _ => None,
            })
            .unwrap_or_else(|| panic!("no {path}"))
    };
    let acl_of = |path: &str| -> &[Acl] {
        let wanted = node(path).acl_id;
        items
            .iter()
            .find_map(|item| match item {
                SnapshotItem::Acl { id, acl } if *id == wanted => Some(&acl[..]),
                _ => None,
            })
            .unwrap_or_else(|| panic!("no list {wanted}"))
    };
    let [
        SnapshotItem::Session {
            session,
            timeout_ms: 30_000,
        },
        ..,
    ] = items[..]
    else {
        panic!("no session: {items:?}");
    };
    assert_eq!(node("").acl_id, OPEN_ACL);
    assert_eq!(node("/null").data, None);
    assert_eq!(node("/empty").data, Some(Bytes::new()));
    assert_eq!(
        node("/binary").data.as_deref(),
        Some(&[0, 0xff, b'/', b'\n', 0x80][..])
    );
    let digest = acl_of("/binary");
    assert_eq!(
        (digest.len(), digest[0].id.scheme.as_deref()),
        (1, Some("digest"))
    );
    assert_eq!(
        acl_of("/\u{e9}t\u{e9}/\u{4e2d}\u{6587}"),
        [Acl::new(perms::READ, "world", "anyone")]
    );
    assert_eq!(acl_of("/\u{e9}t\u{e9}!"), [Acl::open()]);
    assert_eq!(
        acl_of("/lists"),
        [
            Acl::new(perms::ALL, "ip", "127.0.0.1"),
            Acl::new(perms::READ, "world", "anyone")
        ]
    );
    let stat = &node("/lists").stat;
    assert_eq!((stat.version, stat.aversion, stat.cversion), (1, 1, 1));
    assert_eq!(node("/ephemeral").stat.ephemeral_owner, session.0);
    assert_eq!(node("/container").stat.ephemeral_owner, i64::MIN);
    assert_eq!(
        node("/ttl").stat.ephemeral_owner.cast_unsigned(),
        0xff00_0000_0000_0000 | 3_600_000
    );
    assert_eq!(
        node("/zookeeper/quota/lists/zookeeper_stats")
            .data
            .as_deref(),
        Some(&b"count=1,bytes=6"[..])
    );
}
