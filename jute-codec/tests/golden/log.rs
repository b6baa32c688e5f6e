//! Transactions logged by Apache ZooKeeper: each is decoded and written again to the same bytes, and a small tree
//! that applies them arrives at the digest that each one carries.

use std::collections::BTreeMap;

use crate::vectors::{TXNS, lines, txns, unhex, without_surrogates};
use bytes::Bytes;
use jute_codec::digest::{DIGEST_VERSION, TxnDigest, counts, node_digest};
use jute_codec::proto::OpCode;
use jute_codec::txn::{CreateTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{Acl, ErrorCode, Jute, Reader, SessionId, StatPersisted, Text, Zxid};

const CONTAINER: i64 = i64::MIN;
const TTL: i64 = 0xff << 56;

/// A tree that is plainly right and as slow: `storage-formats.md` §7 for a log without gaps.
struct Tree(BTreeMap<String, (Option<Bytes>, StatPersisted)>);

impl Tree {
    fn new() -> Self {
        let mut tree: BTreeMap<_, _> = ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"]
            .map(|path| (path.to_owned(), (Some(Bytes::new()), StatPersisted::ZERO)))
            .into();
        if let Some((_, stat)) = tree.get_mut("/zookeeper/config") {
            stat.aversion = -1;
        }
        Self(tree)
    }

    fn node(&mut self, path: &str) -> &mut (Option<Bytes>, StatPersisted) {
        let path = if path == "/" { "" } else { path };
        self.0
            .get_mut(path)
            .unwrap_or_else(|| panic!("{path} is not there"))
    }

    fn parent(&mut self, path: &str) -> &mut StatPersisted {
        let (parent, _) = path.rsplit_once('/').expect("a path has a slash");
        &mut self.node(parent).1
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &Text,
        data: &Option<Bytes>,
        parent_cversion: i32,
        owner: i64,
    ) {
        let parent = self.parent(path);
        let cversion = match parent_cversion {
            -1 => parent.cversion + 1,
            given => given,
        };
        assert_eq!(cversion, parent.cversion + 1, "{path}");
        parent.cversion = cversion;
        parent.pzxid = header.zxid;
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner,
            ..StatPersisted::ZERO
        };
        let former = self.0.insert(path.to_string(), (data.clone(), stat));
        assert!(former.is_none(), "{path} was there already");
    }

    fn delete(&mut self, header: &TxnHeader, path: &str) {
        self.parent(path).pzxid = header.zxid;
        assert!(self.0.remove(path).is_some(), "{path} is not there");
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn) {
        match txn {
            Txn::Create(txn) | Txn::Create2(txn) => {
                let owner = if txn.ephemeral { header.client_id.0 } else { 0 };
                self.create(header, &txn.path, &txn.data, txn.parent_cversion, owner);
            }
            Txn::CreateContainer(txn) => {
                self.create(header, &txn.path, &txn.data, txn.parent_cversion, CONTAINER);
            }
            Txn::CreateTtl(txn) => {
                let owner = TTL | txn.ttl_ms;
                self.create(header, &txn.path, &txn.data, txn.parent_cversion, owner);
            }
            Txn::Delete(txn) | Txn::DeleteContainer(txn) => self.delete(header, &txn.path),
            Txn::SetData(txn) | Txn::Reconfig(txn) => {
                let (data, stat) = self.node(&txn.path);
                *data = txn.data.clone();
                stat.version = txn.version;
                stat.mzxid = header.zxid;
                stat.mtime = header.time;
            }
            Txn::SetAcl(txn) => self.node(&txn.path).1.aversion = txn.version,
            Txn::Multi(txns) if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) => {}
            Txn::Multi(txns) => txns.iter().for_each(|txn| self.apply(header, txn)),
            Txn::CloseSession(paths) => {
                for path in paths.iter().flatten() {
                    let owner = self.node(path).1.ephemeral_owner;
                    assert_eq!(owner, header.client_id.0, "{path}");
                    self.delete(header, path);
                }
            }
            Txn::Check(_) | Txn::CreateSession { .. } | Txn::Error(_) => {}
        }
    }

    fn digest(&self) -> i64 {
        self.0
            .iter()
            .filter(|(path, _)| counts(path))
            .map(|(path, (data, stat))| {
                i64::from(node_digest(path, data.as_deref().unwrap_or_default(), stat))
            })
            .fold(0, i64::wrapping_add)
    }
}

fn log(name: &str) -> Vec<TxnEntry> {
    let (_, text) = TXNS
        .iter()
        .find(|(log, _)| *log == name)
        .expect("the log is in the list");
    txns(text)
        .iter()
        .map(|(_, payload)| TxnEntry::decode(payload).expect("a logged transaction"))
        .collect()
}

fn replay(name: &str) -> Tree {
    let mut tree = Tree::new();
    for entry in log(name) {
        tree.apply(&entry.header, &entry.txn);
        if let Some(digest) = &entry.digest {
            assert_eq!(digest.version, DIGEST_VERSION);
            assert_eq!(
                digest.tree_digest,
                tree.digest(),
                "{name} {}",
                entry.header.zxid
            );
        }
    }
    tree
}

#[test]
fn logged_transactions_are_written_as_they_were_read() {
    for (name, text) in TXNS {
        let mut last = None;
        for (op, payload) in txns(text) {
            let entry = TxnEntry::decode(&payload).expect("a logged transaction can be decoded");
            assert_eq!(entry.header.op, op);
            assert_eq!(entry.txn.op().code(), op);
            assert!(last.is_none_or(|last: Zxid| last.next() == entry.header.zxid));
            last = Some(entry.header.zxid);
            let mut written = Vec::new();
            entry.write(&mut written);
            assert_eq!(
                written,
                without_surrogates(&payload),
                "{name} {}",
                entry.header.zxid
            );
        }
    }
}

/// The list is complete: a decoder for a new type without a capture fails here.
#[test]
fn every_type_of_transaction_is_in_a_log() {
    let mut missing = vec![
        OpCode::CloseSession,
        OpCode::CreateSession,
        OpCode::Error,
        OpCode::Create,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::SetAcl,
        OpCode::Check,
        OpCode::Multi,
        OpCode::Create2,
        OpCode::Reconfig,
        OpCode::CreateContainer,
        OpCode::DeleteContainer,
        OpCode::CreateTtl,
    ];
    for (name, _) in TXNS {
        for entry in log(name) {
            missing.retain(|op| *op != entry.txn.op());
            if let Txn::Multi(txns) = &entry.txn {
                missing.retain(|op| txns.iter().all(|txn| txn.op() != *op));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn applying_a_log_gives_the_digests_in_it() {
    for (name, _) in TXNS {
        replay(name);
    }
}

/// `storage-formats.md` §10.2.
#[test]
fn the_reference_log_has_the_digests_of_the_reference() {
    let digests: Vec<_> = log("reference")
        .iter()
        .filter_map(|entry| entry.digest.as_ref())
        .map(|digest| digest.tree_digest)
        .collect();
    assert_eq!(Tree::new().digest(), 0x51c6_d660);
    assert_eq!(
        digests,
        [
            0x1_d581_b42a,
            0x1_c61e_3923,
            0x1_77a9_1473,
            0x1_88d2_2032,
            0x2_30c3_27e5,
            0x2_30c3_27e5,
            0x1_8c81_397d,
            0x1_8c81_397d,
            0x1_8c81_397d,
            0x1_cbbc_3bcd,
            0x1_edb2_32c8,
            0x2_a3d8_6142,
            0x2_9be4_200f,
        ]
    );
}

/// `storage-formats.md` §10.3.
#[test]
fn the_reference_log_gives_the_tree_of_the_reference() {
    let mut tree = replay("reference");
    let zxid = |counter: i64| Zxid(0x1_0000_0000 | counter);
    let stat = StatPersisted::ZERO;
    let expected = [
        (
            "",
            "r",
            StatPersisted {
                mzxid: zxid(13),
                mtime: 0x18b_cfe5_9ac8,
                version: 1,
                cversion: 4,
                pzxid: zxid(12),
                ..stat.clone()
            },
        ),
        (
            "/a",
            "bye",
            StatPersisted {
                czxid: zxid(1),
                mzxid: zxid(3),
                ctime: 0x18b_cfe5_6be8,
                mtime: 0x18b_cfe5_73b8,
                version: 1,
                cversion: 1,
                aversion: 1,
                pzxid: zxid(10),
                ..stat.clone()
            },
        ),
        (
            "/\u{e9}",
            "",
            StatPersisted {
                czxid: zxid(12),
                mzxid: zxid(12),
                ctime: 0x18b_cfe5_96e0,
                mtime: 0x18b_cfe5_96e0,
                pzxid: zxid(12),
                ..stat.clone()
            },
        ),
        ("/zookeeper", "", stat.clone()),
        (
            "/zookeeper/config",
            "",
            StatPersisted {
                aversion: -1,
                ..stat.clone()
            },
        ),
        ("/zookeeper/quota", "", stat),
    ];
    for (path, data, stat) in expected {
        assert_eq!(
            tree.0.remove(path),
            Some((Some(data.into()), stat)),
            "{path}"
        );
    }
    assert!(tree.0.is_empty(), "{:?}", tree.0.keys());
}

/// `storage-formats.md` §10.1 in fields.
#[test]
fn fields_of_the_reference_log() {
    let log = log("reference");
    assert_eq!(
        log[0],
        TxnEntry {
            header: TxnHeader {
                client_id: SessionId(0x1000_0000_0000_0001),
                cxid: 1,
                zxid: Zxid(0x1_0000_0001),
                time: 1_700_000_001_000,
                op: 1,
            },
            txn: Txn::Create(CreateTxn {
                path: "/a".into(),
                data: Some("hello".into()),
                acl: Some(vec![Acl::open()]),
                ephemeral: false,
                parent_cversion: 1,
            }),
            digest: Some(TxnDigest {
                version: 2,
                tree_digest: 0x1_d581_b42a,
            }),
        }
    );
    assert!(matches!(&log[1].txn, Txn::Create2(txn) if txn.ephemeral && txn.data.is_none()));
    assert_eq!(log[5].txn, Txn::Error(ErrorCode::NoNode.code()));
    assert_eq!(log[7].txn, Txn::Multi([0, -110, -2].map(Txn::Error).into()));
    assert_eq!(log[8].txn, Txn::CreateSession { timeout_ms: 30_000 });
    assert_eq!(log[9].txn, Txn::CloseSession(Some(vec!["/a/b".into()])));
    assert!(
        matches!(&log[11].txn, Txn::Create(txn) if txn.path == "/\u{e9}" && txn.parent_cversion == -1)
    );
}

#[test]
fn fields_of_the_captured_log() {
    let log = log("standalone");
    let at = |zxid: i64| {
        log.iter()
            .find(|entry| entry.header.zxid == Zxid(zxid))
            .expect("the zxid is in the log")
    };
    assert!(matches!(&at(0xc).txn, Txn::CreateTtl(txn) if txn.ttl_ms == 86_400_000));
    assert!(matches!(&at(0x15).txn, Txn::SetData(txn) if txn.data.is_none() && txn.version == 1));
    assert!(
        matches!(&at(0x18).txn, Txn::SetAcl(txn) if txn.acl.as_ref().is_some_and(|acl| acl.len() == 4))
    );
    let Txn::Multi(failed) = &at(0x24).txn else {
        panic!("{:?}", at(0x24));
    };
    assert!(matches!(
        &failed[..],
        [
            Txn::Create(_),
            Txn::SetData(_),
            Txn::Error(-101),
            Txn::Error(-2)
        ]
    ));
    assert!(at(0x24).digest.is_some());
    assert_eq!(at(0x3).digest, None, "a plain failure has no digest");
    assert_eq!(at(0x2d).txn, Txn::CloseSession(Some(Vec::new())));
    assert!(matches!(&at(0x2f).txn, Txn::CloseSession(Some(paths)) if paths.len() == 2));
}

/// `storage-formats.md` §10.4: the records of a snapshot, of which the file itself is not this crate's matter.
#[test]
fn nodes_of_the_reference_snapshot() {
    let text = include_str!("reference.snapshot");
    let file = unhex(&lines(text).collect::<String>());
    let mut reader = Reader::new(&file);
    reader.take(16).expect("the file's header");
    assert_eq!(reader.i32(), Ok(0), "sessions");
    assert_eq!((reader.i32(), reader.i64()), (Ok(1), Ok(1)), "lists");
    let acl = reader.vector::<Acl>();
    assert_eq!(acl, Ok(Some(vec![Acl::new(1, "world", "anyone")])));

    let start = file.len() - reader.remaining();
    let mut written = Vec::new();
    let mut tree = Tree::new();
    loop {
        let path = Text::read(&mut reader).expect("a node's path");
        path.write(&mut written);
        if path == "/" {
            break;
        }
        let data = reader.buffer().expect("a node's data");
        let acl = reader.i64().expect("a node's list");
        let stat = StatPersisted::read(&mut reader).expect("a node's stat");
        data.write(&mut written);
        acl.write(&mut written);
        stat.write(&mut written);
        assert_eq!(tree.0.remove(&*path), Some((data, stat)), "{path}");
    }
    assert!(tree.0.is_empty(), "{:?}", tree.0.keys());
    let end = file.len() - reader.remaining();
    assert_eq!(end, 0x19b);
    assert_eq!(written, file[start..end]);
}
