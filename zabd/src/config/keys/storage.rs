//! Rows on where to listen, where data is and how it is kept.

use super::{
    FlagRule, INT_MAX, INT_MIN, IntRule, IntText, Key, Kind, ONLY_TRUE, Outside, PORT_MAX, bare,
    int, lenient, lenient_long, own, prefixed,
};

pub(super) const BASICS: &[Key] = &[
    own("clientPort", int(0, PORT_MAX), "").unit("port").doc(
        "plaintext port for clients and four-letter words; 0 takes any free port. Without a \
         configuration file 2181. Required unless `zabd.clientPortAddresses` or the client part of \
         the only `server.N` line says where to listen",
    ),
    own("clientPortAddress", Kind::Host, "").doc(
        "address `clientPort` is bound to; absent, `0.0.0.0` and `::` all mean every address. \
         Needs `clientPort`",
    ),
    bare("zabd.clientPortAddresses", Kind::List, "").doc(
        "further plaintext listeners, `host:port` or `[v6]:port` separated by commas. zabd's own",
    ),
    own("secureClientPort", int(0, PORT_MAX), "")
        .unit("port")
        .refused("TLS is not supported by this version")
        .doc("port for clients over TLS"),
    own("secureClientPortAddress", Kind::Host, "")
        .refused("TLS is not supported by this version")
        .doc("address `secureClientPort` is bound to"),
    own("dataDir", Kind::Path, "").doc(
        "directory of the data and of `myid`; required in a file. Without a file `zabd-data` in \
         the working directory, or what the environment variable `ZABD_DATA_DIR` names",
    ),
    own("dataLogDir", Kind::Path, "").doc(
        "directory of the transaction log; absent, `dataDir`. A disk of its own keeps fsync short",
    ),
    own("tickTime", int(1, INT_MAX), "3000").unit("ms").doc(
        "the unit sessions are timed in. ZooKeeper's sample files say 2000, its built-in value and \
         zabd's is 3000",
    ),
];

pub(super) const STORAGE: &[Key] = &[
    prefixed("preAllocSize", PRE_ALLOC, "65536").unit("KiB").doc(
        "step in which a log file is allocated ahead of its use; 0 allocates nothing ahead",
    ),
    prefixed("snapCount", lenient(2, INT_MAX), "100000").clamped().unit("znodes").doc(
        "changed znodes after which the snapshot is brought up to date, in the background; above \
         50000 that many. ZooKeeper counts transactions",
    ),
    prefixed("snapSizeLimitInKb", lenient_long(i64::MIN, i64::MAX), "4194304").unit("KiB").doc(
        "bytes of log after which the snapshot is brought up to date, in the background; above 48 MiB \
         that many",
    ),
    prefixed("txnLogSizeLimitInKb", lenient_long(i64::MIN, i64::MAX), "-1").unit("KiB").doc(
        "size at which a log file is closed and the next begun; 0 or less is no limit",
    ),
    own("autopurge.snapRetainCount", int(3, INT_MAX), "3").clamped().unit("snapshots").doc(
        "log files that the snapshot has passed and that are kept all the same; there is one snapshot",
    ),
    own("autopurge.purgeInterval", int(INT_MIN, INT_MAX), "0")
        .unit("h")
        .ignored("old log files are removed whenever the snapshot has passed them, so that they never fill the disk")
        .doc("hours between two rounds of retention"),
    prefixed("fsync.warningthresholdms", lenient_long(0, i64::MAX), "1000").clamped().unit("ms").doc(
        "an fsync that takes longer is counted and traced as a warning",
    ),
    prefixed("forceSync", Kind::Flag(FlagRule::UnlessNo), "yes").doc(
        "exactly `no` acknowledges writes that are not on disk yet: a power cut loses them",
    ),
    prefixed("flushDelay", lenient_long(0, INT_MAX), "0")
        .clamped()
        .unit("ms")
        .ignored("whatever waits shares one fsync, and nothing waits for company")
        .doc("how long a write may wait for others to share its fsync"),
    prefixed("maxBatchSize", lenient(1, INT_MAX), "1000")
        .clamped()
        .unit("transactions")
        .ignored("whatever waits shares one fsync, and nothing waits for company")
        .doc("transactions that share an fsync at most while `flushDelay` is on"),
    prefixed("maxWriteQueuePollTime", lenient_long(i64::MIN, i64::MAX), "")
        .unit("ms")
        .ignored("the log thread waits for work without polling")
        .doc("idle poll of the log writer while `flushDelay` is on"),
    prefixed("digest.enabled", ONLY_TRUE, "true")
        .ignored("the digest is always kept")
        .doc("digest of the whole tree in every transaction and snapshot, checked when they are applied"),
    prefixed("extendedTypesEnabled", ONLY_TRUE, "false").doc(
        "TTL znodes; without it creating one is answered Unimplemented",
    ),
    prefixed("emulate353TTLNodes", ONLY_TRUE, "false")
        .refused("there are no data of ZooKeeper 3.5.3 that this version could read")
        .doc("reads and writes the owner of TTL znodes as ZooKeeper 3.5.3 did"),
    bare("znode.container.checkIntervalMs", lenient(1, INT_MAX), "60000").unit("ms").doc(
        "time between two looks for empty containers and expired TTL znodes",
    ),
    bare("znode.container.maxPerMinute", lenient(1, INT_MAX), "10000").clamped().unit("znodes").doc(
        "such znodes deleted in a minute at most",
    ),
    bare("znode.container.maxNeverUsedIntervalMs", lenient_long(0, i64::MAX), "0")
        .clamped().unit("ms")
        .doc("age at which a container that never had a child is deleted; 0 is never"),
    prefixed("datadir.autocreate", ONLY_TRUE, "true").doc(
        "creates missing data directories; otherwise their absence ends the start with exit code 3",
    ),
    prefixed("db.autocreate", ONLY_TRUE, "true").ensemble().doc(
        "false: a server with an empty data directory and no `initialize` file in it does not vote",
    ),
    prefixed("snapshot.trust.empty", ONLY_TRUE, "false")
        .ignored("a log of zabd names the snapshot it goes on from")
        .doc("accepts log files without any snapshot"),
    prefixed("snapshot.compression.method", Kind::Text, "")
        .ignored("the snapshot lives in RocksDB, compressed with LZ4")
        .doc("compression of snapshot files: `gz`, `snappy` or none"),
    prefixed("serializeLastProcessedZxid.enabled", ONLY_TRUE, "true")
        .ignored("a snapshot of zabd is always of one exact zxid")
        .doc("stores the last zxid at the end of a snapshot"),
    prefixed("closeSessionTxn.enabled", ONLY_TRUE, "true")
        .ignored("zabd always lists the ephemerals in the transaction that closes a session")
        .doc("lists the ephemerals in the transaction that closes a session"),
    prefixed("snapshotSizeFactor", Kind::Decimal { min: f64::MIN, max: f64::MAX }, "0.33")
        .ensemble()
        .doc("share of the snapshot's size up to which followers are synchronised from the log"),
    prefixed("commitLogCount", lenient(500, INT_MAX), "500").clamped().ensemble().unit("transactions").doc(
        "committed transactions kept in memory to synchronise followers from",
    ),
];

const PRE_ALLOC: Kind = Kind::Int(IntRule {
    min: 0,
    max: INT_MAX,
    text: IntText::LenientDecimal,
    outside: Outside::Clamp,
});
