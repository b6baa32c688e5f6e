//! Rows on sessions, connections, requests and their limits.

use super::{
    INT_MAX, INT_MIN, Key, Kind, ONLY_TRUE, TRUE_OR_FALSE, bare, int, lenient, lenient_long, own,
    prefixed,
};

pub(super) const SESSIONS: &[Key] = &[
    own("minSessionTimeout", int(-1, INT_MAX), "-1")
        .unit("ms")
        .doc("least timeout a session is granted; -1 is twice `tickTime`"),
    own("maxSessionTimeout", int(-1, INT_MAX), "-1")
        .unit("ms")
        .doc("greatest timeout a session is granted; -1 is twenty times `tickTime`"),
    own("maxClientCnxns", int(INT_MIN, INT_MAX), "60")
        .unit("connections")
        .doc(
            "connections from one address to one listener; 0 or less is no limit. Started with \
         `port dataDir` instead of a file there is no limit either",
        ),
    prefixed("maxCnxns", lenient(INT_MIN, INT_MAX), "0")
        .unit("connections")
        .doc("connections of all clients together; 0 or less is no limit"),
    own("clientPortListenBacklog", int(INT_MIN, INT_MAX), "-1")
        .unit("connections")
        .doc("connections the system keeps until they are accepted; 0 or less is 4096, where Java has 50"),
    prefixed("clientTcpKeepAlive", ONLY_TRUE, "false").doc("SO_KEEPALIVE on client connections"),
    prefixed("nio.sessionlessCnxnTimeout", lenient(1, INT_MAX), "10000")
        .clamped()
        .unit("ms")
        .doc("a connection that has not opened a session by then is closed"),
    prefixed("connection_throttle_tokens", lenient(INT_MIN, INT_MAX), "0")
        .unit("tokens")
        .aliases(&["connectionMaxTokens"])
        .doc("size of the bucket new sessions take tokens from; 0 or less throttles none"),
    prefixed("connection_throttle_fill_time", lenient(1, INT_MAX), "1")
        .clamped()
        .unit("ms")
        .aliases(&["connectionTokenFillTime"])
        .doc("time between two refills of the bucket"),
    prefixed("connection_throttle_fill_count", lenient(1, INT_MAX), "1")
        .clamped()
        .unit("tokens")
        .aliases(&["connectionTokenFillCount"])
        .doc("tokens a refill adds"),
    prefixed(
        "connection_throttle_freeze_time",
        lenient(-1, INT_MAX),
        "-1",
    )
    .clamped()
    .unit("ms")
    .aliases(&["connectionFreezeTime"])
    .doc("time between two changes of the probability of dropping; -1 drops none by chance"),
    prefixed(
        "connection_throttle_drop_increase",
        Kind::Decimal { min: 0.0, max: 1.0 },
        "0.02",
    )
    .unit("probability")
    .aliases(&["connectionDropIncrease"])
    .doc("added to the probability of dropping while the bucket is empty"),
    prefixed(
        "connection_throttle_drop_decrease",
        Kind::Decimal { min: 0.0, max: 1.0 },
        "0.002",
    )
    .unit("probability")
    .aliases(&["connectionDropDecrease"])
    .doc("taken from it while the bucket is fuller than `connection_throttle_decrease_ratio`"),
    prefixed(
        "connection_throttle_decrease_ratio",
        Kind::Decimal { min: 0.0, max: 1.0 },
        "0",
    )
    .unit("share")
    .aliases(&["connectionDecreaseRatio"])
    .doc("share of the bucket above which the probability of dropping goes down"),
    prefixed("connection_throttle_weight_enabled", ONLY_TRUE, "false").doc(
        "takes tokens by the kind of session; the bucket and its refill are then multiplied by the \
         weight of a global session",
    ),
    prefixed(
        "connection_throttle_global_session_weight",
        lenient(1, INT_MAX),
        "3",
    )
    .or_default()
    .unit("tokens")
    .doc("tokens a new global session takes; at least as many as a local one"),
    prefixed(
        "connection_throttle_renew_session_weight",
        lenient(1, INT_MAX),
        "2",
    )
    .or_default()
    .unit("tokens")
    .doc("tokens a session takes that comes back; at least as many as a local one"),
    prefixed(
        "connection_throttle_local_session_weight",
        lenient(1, INT_MAX),
        "1",
    )
    .or_default()
    .unit("tokens")
    .doc("tokens a new local session takes"),
    own("localSessionsEnabled", TRUE_OR_FALSE, "false")
        .ensemble()
        .doc("sessions that only the server they are connected to knows"),
    own("localSessionsUpgradingEnabled", TRUE_OR_FALSE, "false")
        .ensemble()
        .doc("makes a local session global when it creates an ephemeral"),
    bare(
        "readonlymode.enabled",
        Kind::Flag(super::FlagRule::ExactlyTrue),
        "false",
    )
    .doc(
        "allows `isro`; in an ensemble, a server that has been without a quorum for a tick, or two seconds if that is \
         more, serves clients that ask for no more than reading. A standalone server always has a quorum",
    ),
];

pub(super) const REQUESTS: &[Key] = &[
    bare("jute.maxbuffer", lenient(1, INT_MAX), "1048575").unit("bytes").doc(
        "longest frame a client may send; a longer one closes the connection. Clients have a limit \
         of their own under the same name",
    ),
    prefixed("jute.maxbuffer.extrasize", lenient(1024, INT_MAX), "").clamped().unit("bytes").doc(
        "how much longer records read from disk or from other servers may be; absent, as much as \
         `jute.maxbuffer`",
    ),
    prefixed("globalOutstandingLimit", lenient(0, INT_MAX), "1000").clamped().unit("requests").doc(
        "requests in flight above which no connection is read from",
    ),
    prefixed("largeRequestThreshold", lenient(-1, INT_MAX), "-1").or_default().unit("bytes").doc(
        "requests longer than this count as large; -1 is none",
    ),
    prefixed("largeRequestMaxBytes", lenient(1, INT_MAX), "104857600").or_default().unit("bytes").doc(
        "bytes of large requests in flight; one that does not fit closes its connection",
    ),
    prefixed("request_throttle_max_requests", lenient(INT_MIN, INT_MAX), "0")
        .unit("requests")
        .aliases(&["requestThrottleLimit"])
        .doc("requests in progress above which further ones wait; 0 or less lets all pass"),
    prefixed("request_throttle_stall_time", lenient(1, INT_MAX), "100")
        .clamped().unit("ms")
        .aliases(&["requestThrottleStallTime"])
        .doc("longest time a request waits before it is looked at again"),
    prefixed("request_throttle_drop_stale", ONLY_TRUE, "true")
        .aliases(&["requestThrottleDropStale"])
        .doc("drops waiting requests that are stale"),
    prefixed("request_stale_latency_check", ONLY_TRUE, "false")
        .aliases(&["requestStaleLatencyCheck"])
        .doc("a request older than its session's timeout is stale"),
    prefixed("request_stale_connection_check", ONLY_TRUE, "true")
        .aliases(&["requestStaleConnectionCheck"])
        .doc("a request whose connection is gone is stale"),
    prefixed("request_throttler.shutdownTimeout", lenient(0, INT_MAX), "10000")
        .clamped()
        .unit("ms")
        .ignored("requests in progress when a server stops are durable or not acknowledged")
        .doc("how long a stopping server waits for requests in progress"),
    prefixed("throttled_op_wait_time", lenient(INT_MIN, INT_MAX), "0")
        .unit("ms")
        .aliases(&["throttledOpWaitTime"])
        .doc("a request that waited longer is answered ThrottledOp (-127); 0 or less is never"),
    prefixed("enforceQuota", ONLY_TRUE, "false").doc(
        "refuses writes beyond a hard quota with QuotaExceeded (-125); otherwise they are traced",
    ),
    prefixed("enableEagerACLCheck", ONLY_TRUE, "false").ensemble_later("the leader alone checks ACLs of writes").doc(
        "checks the ACL of a write before it is sent to the leader",
    ),
    prefixed("maxResponseCacheSize", lenient(INT_MIN, INT_MAX), "400")
        .ignored("replies are encoded straight from the tree")
        .unit("entries")
        .doc("cache of encoded getData replies"),
    prefixed("maxGetChildrenResponseCacheSize", lenient(INT_MIN, INT_MAX), "400")
        .ignored("replies are encoded straight from the tree")
        .unit("entries")
        .doc("cache of encoded getChildren2 replies"),
    prefixed("intBufferStartingSizeBytes", lenient_long(32, INT_MAX), "1024")
        .ignored("buffers grow as they are needed")
        .unit("bytes")
        .doc("first size of encoding buffers"),
];
