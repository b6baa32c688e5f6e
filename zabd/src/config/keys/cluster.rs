//! Rows on ensembles.

use super::{
    FlagRule, INT_MAX, INT_MIN, Key, Kind, ONLY_TRUE, PORT_MAX, TRUE_OR_FALSE, bare, int, lenient,
    lenient_long, own, prefixed,
};

pub(super) const CLUSTER: &[Key] = &[
    own("server.*", Kind::Text, "").doc(
        "member: `host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort]`, \
         IPv6 addresses in brackets. One participant is a standalone server, with its client \
         address, unless `standaloneEnabled` is false; more are an ensemble, of which the file `myid` in \
         `dataDir` says which member this server is",
    ),
    own("group*", Kind::Text, "")
        .ensemble()
        .doc("servers of a group, joined by colons. With groups, a quorum is more than half of the weight in more than half of \
              the groups; each participant is in one"),
    own("weight*", Kind::Text, "")
        .ensemble()
        .doc("weight of a server in its group; 1 unless written"),
    own("dynamicConfigFile", Kind::Path, "").doc(
        "file with the members; then `server.N`, `group.N` and `weight.N` must not stand in the \
         main file. Hexadecimal digits behind the last dot of its name are the version of the membership. With \
         reconfigEnabled, a `.dynamic.next` beside the main file (`zoo.cfg.dynamic.next`) has the change that was proposed to \
         ZooKeeper last; it is completed if it is newer",
    ),
    own("version", Kind::Text, "")
        .ensemble()
        .doc("version of the membership in hexadecimal, where its lines stand in the main file"),
    own("standaloneEnabled", TRUE_OR_FALSE, "true").doc(
        "true: a single participant runs standalone. false: it is an ensemble of one",
    ),
    own("reconfigEnabled", TRUE_OR_FALSE, "false").doc(
        "allows changing the members at run time, and rewriting the file for it; a standalone server refuses it either \
         way, with different errors",
    ),
    own("initLimit", int(INT_MIN, INT_MAX), "0")
        .ensemble()
        .unit("ticks")
        .doc("time a follower has to connect and synchronise; a member of an ensemble needs it"),
    own("syncLimit", int(INT_MIN, INT_MAX), "0")
        .ensemble()
        .unit("ticks")
        .doc("how far a follower may fall behind; a member of an ensemble needs it"),
    own("connectToLearnerMasterLimit", int(INT_MIN, INT_MAX), "0")
        .ensemble()
        .unit("ticks")
        .doc("time to connect to the leader; 0 is `initLimit`"),
    own("electionAlg", int(3, 3), "3")
        .ensemble()
        .doc("election algorithm; there is one"),
    own(
        "peerType",
        Kind::Choice(&["participant", "observer"]),
        "participant",
    )
    .ensemble()
    .doc("whether this server votes; the list of members decides"),
    own("observerMasterPort", int(INT_MIN, PORT_MAX), "0")
        .ensemble_later("only the leader serves observers")
        .unit("port")
        .doc("port on which followers serve observers; 0 or less is none"),
    own("syncEnabled", TRUE_OR_FALSE, "true")
        .ensemble_later("an observer always writes to disk")
        .aliases(&["observer.syncEnabled"])
        .doc("observers write transactions and snapshots to disk"),
    own("quorumListenOnAllIPs", TRUE_OR_FALSE, "false")
        .ensemble()
        .doc("listens for other servers on every address"),
    own("oraclePath", Kind::Path, "")
        .ensemble_later("an oracle is not asked; of two participants both are needed")
        .doc("file of the oracle of an ensemble of two"),
    own("multiAddress.enabled", TRUE_OR_FALSE, "false")
        .ensemble()
        .doc("members with several addresses"),
    own(
        "multiAddress.reachabilityCheckEnabled",
        TRUE_OR_FALSE,
        "true",
    )
    .ensemble_later("all addresses are tried, and the first that connects is used")
    .doc("probes those addresses"),
    own(
        "multiAddress.reachabilityCheckTimeoutMs",
        int(INT_MIN, INT_MAX),
        "1000",
    )
    .ensemble_later("all addresses are tried, and the first that connects is used")
    .unit("ms")
    .doc("how long a probe may take"),
    prefixed("leaderServes", Kind::Flag(FlagRule::UnlessNo), "yes")
        .ensemble()
        .doc("exactly `no`: a leader takes no clients"),
    prefixed(
        "leader.maxConcurrentSnapSyncs",
        lenient(INT_MIN, INT_MAX),
        "10",
    )
    .ensemble()
    .aliases(&["maxConcurrentSnapSyncs"])
    .unit("learners")
    .doc("learners sent a snapshot at a time; only observers have to come again"),
    prefixed(
        "leader.maxConcurrentDiffSyncs",
        lenient(INT_MIN, INT_MAX),
        "100",
    )
    .ensemble()
    .aliases(&["maxConcurrentDiffSyncs"])
    .unit("learners")
    .doc("learners sent transactions at a time; only observers have to come again"),
    prefixed(
        "leader.maxTimeToWaitForEpoch",
        lenient(INT_MIN, INT_MAX),
        "-1",
    )
    .ensemble_later("`initLimit` is waited for")
    .aliases(&["maxTimeToWaitForEpoch"])
    .unit("ms")
    .doc("gives leadership up when followers take longer; -1 waits for `initLimit`"),
    prefixed(
        "leader.ackLoggingFrequency",
        lenient(INT_MIN, INT_MAX),
        "1000",
    )
    .ensemble_later("the latency of acknowledgements is not sampled")
    .unit("transactions")
    .doc("how often the latency of acknowledgements is sampled"),
    prefixed(
        "leaderConnectDelayDuringRetryMs",
        lenient(INT_MIN, INT_MAX),
        "100",
    )
    .ensemble()
    .unit("ms")
    .doc("pause between two attempts to reach the leader"),
    prefixed(
        "fastleader.minNotificationInterval",
        lenient(INT_MIN, INT_MAX),
        "200",
    )
    .ensemble()
    .unit("ms")
    .doc("first pause of an election before it asks again"),
    prefixed(
        "fastleader.maxNotificationInterval",
        lenient(INT_MIN, INT_MAX),
        "60000",
    )
    .ensemble()
    .unit("ms")
    .doc("longest such pause"),
    prefixed("cnxTimeout", int(INT_MIN, INT_MAX), "5000")
        .ensemble()
        .unit("ms")
        .doc("time to connect to another server's election port"),
    prefixed("quorumCnxnTimeoutMs", lenient(INT_MIN, INT_MAX), "-1")
        .ensemble()
        .unit("ms")
        .doc("time to read from an election connection; -1 is `syncLimit`"),
    prefixed("tcpKeepAlive", ONLY_TRUE, "false")
        .ensemble()
        .doc("SO_KEEPALIVE on election connections"),
    prefixed("electionPortBindRetry", lenient(0, INT_MAX), "3")
        .or_default()
        .ensemble()
        .unit("tries")
        .doc("attempts to bind the election port; 0 never gives up"),
    prefixed(
        "observer.reconnectDelayMs",
        lenient_long(i64::MIN, i64::MAX),
        "0",
    )
    .ensemble_later("an observer connects again at once")
    .unit("ms")
    .doc("pause before an observer connects again"),
    prefixed(
        "observer.election.DelayMs",
        lenient_long(i64::MIN, i64::MAX),
        "200",
    )
    .ensemble_later("an observer looks for the leader at once")
    .unit("ms")
    .doc("pause before an observer looks for the leader"),
    prefixed(
        "observerMaster.sizeLimit",
        lenient(INT_MIN, INT_MAX),
        "33554432",
    )
    .ensemble_later("only the leader serves observers")
    .unit("bytes")
    .doc("recent transactions a follower keeps for its observers"),
    prefixed("learner.asyncSending", ONLY_TRUE, "false")
        .ignored("nothing in zabd waits for a connection to another server")
        .doc("a learner sends on a thread of its own"),
    prefixed("learner.closeSocketAsync", ONLY_TRUE, "false")
        .ignored("nothing in zabd waits for a connection to another server")
        .doc("a learner closes connections on a thread of its own"),
    prefixed("leader.closeSocketAsync", ONLY_TRUE, "false")
        .ignored("nothing in zabd waits for a connection to another server")
        .doc("a leader closes connections on a thread of its own"),
    prefixed(
        "forward_learner_requests_to_commit_processor_disabled",
        ONLY_TRUE,
        "false",
    )
    .ignored("zabd keeps a learner's request in one place only")
    .doc("saves memory on the leader"),
    prefixed(
        "follower.skipLearnerRequestToNextProcessor",
        ONLY_TRUE,
        "false",
    )
    .ensemble_later("only the leader serves observers")
    .doc("saves memory on followers that serve observers"),
    prefixed("messageTracker.BufferSize", lenient(INT_MIN, INT_MAX), "10")
        .ensemble_later(NO_TRACKER)
        .unit("packets")
        .doc("packets between servers kept for the trace"),
    prefixed("messageTracker.Enabled", ONLY_TRUE, "false")
        .ensemble_later(NO_TRACKER)
        .doc("keeps packets between servers for the trace"),
    prefixed("forceSnapshotSync", ONLY_TRUE, "false")
        .ensemble()
        .doc("always synchronises followers with a snapshot"),
    bare("leader.nodelay", Kind::Flag(FlagRule::ExactlyTrue), "true")
        .ensemble_later(ALWAYS_NODELAY)
        .doc("TCP_NODELAY on the leader's connections to followers"),
    bare(
        "follower.nodelay",
        Kind::Flag(FlagRule::ExactlyTrue),
        "true",
    )
    .ensemble_later(ALWAYS_NODELAY)
    .doc("TCP_NODELAY on a follower's connection to the leader"),
];

const NO_TRACKER: &str = "packets between servers are not kept";
const ALWAYS_NODELAY: &str = "connections between servers never delay what is small";
