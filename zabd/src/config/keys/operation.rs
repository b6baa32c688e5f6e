//! Rows on watching the server, and on parts of the Java server that zabd has not got.

use super::{
    FlagRule, INT_MAX, INT_MIN, Key, Kind, ONLY_TRUE, PORT_MAX, TRUE_OR_FALSE, bare, int, lenient,
    lenient_long, own, prefixed,
};

const NO_HTTP: &str = "the HTTP administration server is not served by this version";
const NO_METRICS_PORT: &str = "metrics over HTTP are not served by this version; `mntr` has them";
const NO_AUDIT: &str = "the audit log is not written by this version";
const NO_JVM: &str = "there is no JVM to pause";
const NO_NETTY: &str = "zabd has one implementation of connections, and needs no tuning of it";
const ONE_WATCH_TABLE: &str = "zabd has one implementation of watches";
const NO_PIPELINE: &str =
    "zabd has no commit processor: reads run on their connection's own thread";

/// Values of `zabd.log.format`.
pub(crate) const LOG_FORMATS: &[&str] = &["plain", "json"];

pub(super) const OPERATION: &[Key] = &[
    bare("zabd.log.level", Kind::LogFilter, "info").doc(
        "what is traced to standard error: `off`, `error`, `warn`, `info`, `debug` or `trace`, or \
         `target=level` pairs separated by commas. The flag `--log-level` and the environment \
         variable `ZABD_LOG` go before it. zabd's own",
    ),
    bare("zabd.log.format", Kind::Choice(LOG_FORMATS), "plain").doc(
        "shape of the trace: `plain`, or `json` with one object a line. The flag `--log-format` \
         and the environment variable `ZABD_LOG_FORMAT` go before it. zabd's own",
    ),
    bare("zabd.ioThreads", int(0, 1024), "0")
        .unit("threads")
        .doc("threads that serve client connections; 0 is one for every core. zabd's own"),
    prefixed("4lw.commands.whitelist", Kind::List, "").doc(
        "four-letter words that are answered, separated by commas; `*` is all. `srvr` always is, \
         and `isro` with `readonlymode.enabled`",
    ),
    prefixed(
        "admin.enableServer",
        Kind::Flag(FlagRule::UnlessFalse),
        "true",
    )
    .later(NO_HTTP)
    .doc("the HTTP administration server; only exactly `false` switches it off"),
    prefixed("admin.serverAddress", Kind::Host, "0.0.0.0")
        .later(NO_HTTP)
        .doc("address it listens on"),
    prefixed("admin.serverPort", lenient(0, PORT_MAX), "8080")
        .later(NO_HTTP)
        .unit("port")
        .doc("port it listens on"),
    prefixed("admin.idleTimeout", lenient(0, INT_MAX), "30000")
        .later(NO_HTTP)
        .unit("ms")
        .doc("idle time after which it closes a connection"),
    prefixed("admin.commandURL", Kind::Text, "/commands")
        .later(NO_HTTP)
        .doc("path its commands are under"),
    prefixed("admin.httpVersion", lenient(INT_MIN, INT_MAX), "11")
        .later(NO_HTTP)
        .doc("version of HTTP, times ten"),
    prefixed("admin.portUnification", ONLY_TRUE, "false")
        .later(NO_HTTP)
        .doc("its port takes TLS and plaintext"),
    prefixed("admin.forceHttps", ONLY_TRUE, "false")
        .later(NO_HTTP)
        .doc("its port takes TLS only"),
    prefixed("admin.needClientAuth", ONLY_TRUE, "false")
        .later(NO_HTTP)
        .doc("asks its clients for a certificate"),
    prefixed(
        "admin.rateLimiterIntervalInMS",
        lenient(0, INT_MAX),
        "300000",
    )
    .later(NO_HTTP)
    .unit("ms")
    .doc("least time between two snapshots or restores through it"),
    prefixed("admin.snapshot.enabled", ONLY_TRUE, "true")
        .later(NO_HTTP)
        .doc("snapshots through it"),
    prefixed("admin.restore.enabled", ONLY_TRUE, "true")
        .later(NO_HTTP)
        .doc("restores through it"),
    prefixed("audit.enable", ONLY_TRUE, "false")
        .later(NO_AUDIT)
        .doc("one line for each operation that changes something"),
    prefixed(
        "audit.impl.class",
        Kind::Text,
        "org.apache.zookeeper.audit.Slf4jAuditLogger",
    )
    .later(NO_AUDIT)
    .doc("class that writes those lines"),
    own(
        "metricsProvider.className",
        Kind::Text,
        METRICS_PROVIDERS[0],
    )
    .doc(
        "class that gives metrics out; the default and null providers of ZooKeeper need nothing \
         more than `mntr`, its Prometheus provider is understood and not served yet",
    ),
    own("metricsProvider.httpHost", Kind::Host, "0.0.0.0")
        .later(NO_METRICS_PORT)
        .doc("address the Prometheus provider listens on"),
    own("metricsProvider.httpPort", int(0, PORT_MAX), "7000")
        .later(NO_METRICS_PORT)
        .unit("port")
        .doc("port the Prometheus provider listens on"),
    own("metricsProvider.exportJvmInfo", ONLY_TRUE, "true")
        .ignored(NO_JVM)
        .doc("gives metrics of the JVM out as well"),
    own("metricsProvider.*", Kind::Text, "")
        .later(NO_METRICS_PORT)
        .doc("further keys of the metrics provider"),
    prefixed("pathStats.*", Kind::Text, "")
        .later("requests are not sampled by path in this version")
        .doc("sampling of requests by path"),
];

/// Classes for `metricsProvider.className`, the default first.
pub(crate) const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
];

pub(super) const INTERNALS: &[Key] = &[
    prefixed(
        "serverCnxnFactory",
        Kind::Class(&[
            "org.apache.zookeeper.server.NIOServerCnxnFactory",
            "org.apache.zookeeper.server.NettyServerCnxnFactory",
        ]),
        "org.apache.zookeeper.server.NIOServerCnxnFactory",
    )
    .ignored(NO_NETTY)
    .doc("class that serves connections; either of ZooKeeper's is understood"),
    prefixed("netty.advancedFlowControl.enabled", ONLY_TRUE, "false")
        .aliases(&["advancedFlowControlEnabled"])
        .ignored(NO_NETTY)
        .doc("reads a Netty connection only when asked to"),
    prefixed(
        "netty.server.outstandingHandshake.limit",
        lenient(INT_MIN, INT_MAX),
        "-1",
    )
    .aliases(&["outstandingHandshake.limit"])
    .later("TLS is not supported by this version")
    .unit("handshakes")
    .doc("TLS handshakes in progress above which further ones are refused"),
    prefixed(
        "netty.server.earlyDropSecureConnectionHandshakes",
        ONLY_TRUE,
        "false",
    )
    .later("TLS is not supported by this version")
    .doc("refuses TLS handshakes while the server does not serve"),
    prefixed("nio.numSelectorThreads", lenient(INT_MIN, INT_MAX), "")
        .ignored("see `zabd.ioThreads`")
        .unit("threads")
        .doc("threads that wait for connections to become ready"),
    prefixed("nio.numWorkerThreads", lenient(INT_MIN, INT_MAX), "")
        .ignored("see `zabd.ioThreads`")
        .unit("threads")
        .doc("threads that read and write connections"),
    prefixed("nio.directBufferBytes", lenient(INT_MIN, INT_MAX), "65536")
        .ignored(NO_NETTY)
        .unit("bytes")
        .doc("buffer for writing to connections"),
    prefixed(
        "nio.shutdownTimeout",
        lenient_long(i64::MIN, i64::MAX),
        "5000",
    )
    .ignored(NO_NETTY)
    .unit("ms")
    .doc("wait for worker threads to end"),
    prefixed(
        "commitProcessor.numWorkerThreads",
        lenient(INT_MIN, INT_MAX),
        "",
    )
    .ignored(NO_PIPELINE)
    .unit("threads")
    .doc("threads that carry requests out"),
    prefixed(
        "commitProcessor.maxReadBatchSize",
        lenient(INT_MIN, INT_MAX),
        "-1",
    )
    .ignored(NO_PIPELINE)
    .unit("requests")
    .doc("reads between two commits at most"),
    prefixed(
        "commitProcessor.maxCommitBatchSize",
        lenient(1, INT_MAX),
        "1",
    )
    .ignored(NO_PIPELINE)
    .unit("requests")
    .doc("commits in a row at most"),
    prefixed(
        "commitProcessor.shutdownTimeout",
        lenient_long(i64::MIN, i64::MAX),
        "5000",
    )
    .ignored(NO_PIPELINE)
    .unit("ms")
    .doc("wait for those threads to end"),
    prefixed(
        "watchManagerName",
        Kind::Text,
        "org.apache.zookeeper.server.watch.WatchManager",
    )
    .ignored(ONE_WATCH_TABLE)
    .doc("class that keeps watches"),
    prefixed("watcherCleanThreadsNum", lenient(INT_MIN, INT_MAX), "2")
        .ignored(ONE_WATCH_TABLE)
        .unit("threads")
        .doc("threads that clean up after closed connections"),
    prefixed("watcherCleanThreshold", lenient(INT_MIN, INT_MAX), "1000")
        .ignored(ONE_WATCH_TABLE)
        .unit("watchers")
        .doc("closed connections that start a clean-up"),
    prefixed(
        "watcherCleanIntervalInSeconds",
        lenient(INT_MIN, INT_MAX),
        "600",
    )
    .ignored(ONE_WATCH_TABLE)
    .unit("s")
    .doc("time between two clean-ups"),
    prefixed(
        "maxInProcessingDeadWatchers",
        lenient(INT_MIN, INT_MAX),
        "-1",
    )
    .ignored(ONE_WATCH_TABLE)
    .unit("watchers")
    .doc("closed connections waiting for a clean-up at most"),
    prefixed("bitHashCacheSize", lenient(INT_MIN, INT_MAX), "10")
        .ignored(ONE_WATCH_TABLE)
        .unit("entries")
        .doc("cache of the optimized watch manager"),
    own("jvm.pause.monitor", TRUE_OR_FALSE, "false")
        .ignored(NO_JVM)
        .doc("watches for JVM pauses"),
    own("jvm.pause.sleep.time.ms", int(i64::MIN, i64::MAX), "500")
        .ignored(NO_JVM)
        .unit("ms")
        .doc("time between two looks"),
    own(
        "jvm.pause.warn-threshold.ms",
        int(i64::MIN, i64::MAX),
        "10000",
    )
    .ignored(NO_JVM)
    .unit("ms")
    .doc("pause that is a warning"),
    own(
        "jvm.pause.info-threshold.ms",
        int(i64::MIN, i64::MAX),
        "1000",
    )
    .ignored(NO_JVM)
    .unit("ms")
    .doc("pause that is worth a line"),
    prefixed("jmx.log4j.disable", ONLY_TRUE, "false")
        .ignored("there is no JMX")
        .doc("keeps log4j out of JMX"),
    prefixed("jmx.log4j.mbean", Kind::Text, "log4j:hierarchy=default")
        .ignored("there is no JMX")
        .doc("name of log4j in JMX"),
];
