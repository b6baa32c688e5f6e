//! A valid configuration, typed and with units in its names. Nothing later reads strings.
//!
//! Built by [`load`](super::load) only. Each field names the key it comes from; meaning, unit and
//! default are in `docs/configuration.md`, which is made from the same table.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ensemble::EnsembleConfig;
use crate::replica::ensemble::Members;

/// A server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect in plaintext; empty only for a member of an ensemble. The first is `clientPort`, if
    /// written.
    pub listeners: Vec<Listener>,
    /// `dataDir`, as written.
    pub data_dir: PathBuf,
    /// `dataLogDir`, else the same as `data_dir`.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: whether missing directories are made.
    pub data_dir_autocreate: bool,
    /// Number in `myid`, if the file is there. A standalone server needs none.
    pub server_id: Option<i64>,
    /// How it takes part in an ensemble; `None` stands alone.
    pub ensemble: Option<EnsembleConfig>,
    /// Whether the first of `listeners` is that of `clientPort`, or of this server's line among the members.
    pub has_main_listener: bool,
    /// Timing of sessions.
    pub sessions: SessionConfig,
    /// Connections of clients.
    pub connections: ConnectionConfig,
    /// Token bucket for new sessions.
    pub connection_throttle: ConnectionThrottle,
    /// Requests and their limits.
    pub requests: RequestConfig,
    /// Transaction log, snapshots and retention.
    pub storage: StorageConfig,
    /// What the tree allows.
    pub tree: TreeConfig,
    /// Reaper of containers and TTL znodes.
    pub containers: ContainerConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// `4lw.commands.whitelist`.
    pub four_letter_whitelist: FourLetterWhitelist,
    /// HTTP administration server; not served by this version.
    pub admin: AdminConfig,
    /// Where metrics are given out.
    pub metrics: MetricsConfig,
    /// `audit.enable`; not served by this version.
    pub audit_enabled: bool,
    /// `readonlymode.enabled`.
    pub read_only_mode_enabled: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `standaloneEnabled`.
    pub standalone_enabled: bool,
    /// What is traced, and how.
    pub log: LogConfig,
    /// Text in force of each key this version acts on.
    pub(super) effective: Vec<(String, String)>,
}

/// One plaintext listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Address; `None` is every address, IPv6 and IPv4 where the machine has both.
    pub ip: Option<IpAddr>,
    /// Port; 0 takes any free one.
    pub port: u16,
}

/// Timing of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// `tickTime`; at least 1.
    pub tick_ms: u32,
    /// `minSessionTimeout`, worked out; at most `timeout_max_ms`.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`, worked out.
    pub timeout_max_ms: u32,
}

/// Connections of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// `maxClientCnxns`, per address and listener; `None` is no limit.
    pub max_per_client: Option<u32>,
    /// `maxCnxns`; `None` is no limit.
    pub max_total: Option<u32>,
    /// `clientPortListenBacklog` as written, for `conf`; see [`ConnectionConfig::backlog`].
    pub listen_backlog_written: i32,
    /// `clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `nio.sessionlessCnxnTimeout`.
    pub sessionless_timeout_ms: u32,
    /// `zabd.ioThreads`; `None` is one for every core.
    pub io_threads: Option<u32>,
}

/// Token bucket for new sessions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnectionThrottle {
    /// Size of the bucket, weights worked in; `None` throttles none.
    pub tokens: Option<u32>,
    /// `connection_throttle_fill_time`.
    pub fill_time_ms: u32,
    /// Tokens a refill adds, weights worked in.
    pub fill_count: u32,
    /// `connection_throttle_freeze_time`; `None` drops none by chance.
    pub freeze_time_ms: Option<u32>,
    /// `connection_throttle_drop_increase`, a probability.
    pub drop_increase: f64,
    /// `connection_throttle_drop_decrease`, a probability.
    pub drop_decrease: f64,
    /// `connection_throttle_decrease_ratio`, a share of the bucket.
    pub decrease_ratio: f64,
    /// Tokens by kind of session; all 1 without `connection_throttle_weight_enabled`.
    pub weights: SessionWeights,
}

/// Tokens a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionWeights {
    /// A new session.
    pub global: u32,
    /// A new local session.
    pub local: u32,
    /// A session that comes back.
    pub renew: u32,
}

/// Requests and their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestConfig {
    /// `jute.maxbuffer`: longest frame of a client.
    pub frame_bytes_max: u32,
    /// `jute.maxbuffer.extrasize`: how much longer records from disk and other servers may be.
    pub record_extra_bytes: u32,
    /// `globalOutstandingLimit`.
    pub outstanding_max: u32,
    /// `largeRequestThreshold`; `None` counts no request as large.
    pub large_threshold_bytes: Option<u32>,
    /// `largeRequestMaxBytes`.
    pub large_bytes_max: u32,
    /// `request_throttle_max_requests`; `None` lets all pass.
    pub throttle_max: Option<u32>,
    /// `request_throttle_stall_time`.
    pub throttle_stall_ms: u32,
    /// `request_throttle_drop_stale`.
    pub throttle_drop_stale: bool,
    /// `request_stale_latency_check`.
    pub stale_latency_check: bool,
    /// `request_stale_connection_check`.
    pub stale_connection_check: bool,
    /// `throttled_op_wait_time`; `None` answers none so.
    pub throttled_op_wait_ms: Option<u32>,
}

/// Transaction log, snapshots and retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageConfig {
    /// `forceSync`: whether a write is on disk before it is acknowledged.
    pub force_sync: bool,
    /// `preAllocSize` in bytes; `None` allocates nothing ahead.
    pub pre_alloc_bytes: Option<u64>,
    /// `snapCount`; at least 2.
    pub snap_count: u32,
    /// `snapSizeLimitInKb` in bytes; `None` is no limit.
    pub snap_size_limit_bytes: Option<u64>,
    /// `txnLogSizeLimitInKb` in bytes; `None` is no limit.
    pub txn_log_size_limit_bytes: Option<u64>,
    /// `autopurge.snapRetainCount`; at least 3.
    pub snap_retain_count: u32,
    /// `fsync.warningthresholdms`.
    pub fsync_warning_threshold_ms: u64,
}

/// What the tree allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeConfig {
    /// `extendedTypesEnabled`.
    pub extended_types_enabled: bool,
    /// `enforceQuota`.
    pub enforce_quota: bool,
}

/// Reaper of containers and TTL znodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerConfig {
    /// `znode.container.checkIntervalMs`.
    pub check_interval_ms: u32,
    /// `znode.container.maxPerMinute`.
    pub max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; `None` keeps those never used.
    pub max_never_used_ms: Option<u64>,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// `skipACL`.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest_scheme_enabled: bool,
    /// `DigestAuthenticationProvider.digestAlg`.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`: `super:<base64 of the hash>`.
    pub super_digest: Option<Secret>,
    /// `enforce.auth.schemes`, when `enforce.auth.enabled`; then never empty, and each served.
    pub enforced_schemes: Option<Vec<String>>,
    /// `ensembleAuthName`; none are no check.
    pub ensemble_names: Vec<String>,
    /// `authProvider.*`.
    pub providers: Vec<AuthProvider>,
}

/// An authentication provider beyond `digest` and `ip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthProvider {
    /// Class as written.
    pub class: String,
    /// Its scheme, for a class of ZooKeeper's own.
    pub scheme: Option<&'static str>,
}

/// Hash of the scheme `digest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `SHA1`, `SHA-1`, `SHA`.
    Sha1,
    /// `SHA-224`.
    Sha224,
    /// `SHA-256`.
    Sha256,
    /// `SHA-384`.
    Sha384,
    /// `SHA-512`.
    Sha512,
    /// `SHA3-224`.
    Sha3With224,
    /// `SHA3-256`.
    Sha3With256,
    /// `SHA3-384`.
    Sha3With384,
    /// `SHA3-512`.
    Sha3With512,
}

/// Four-letter words that are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FourLetterWhitelist {
    pub(super) all: bool,
    pub(super) words: BTreeSet<String>,
}

/// HTTP administration server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `admin.enableServer`.
    pub enabled: bool,
    /// `admin.serverAddress`.
    pub address: String,
    /// `admin.serverPort`.
    pub port: u16,
    /// `admin.idleTimeout`.
    pub idle_timeout_ms: u32,
    /// `admin.commandURL`.
    pub command_url: String,
}

/// Where metrics are given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricsConfig {
    /// Four-letter words only; also for a class nobody knows.
    Default,
    /// Nowhere. ZooKeeper: `NullMetricsProvider`.
    Null,
    /// Over HTTP; not served by this version.
    Prometheus {
        /// `metricsProvider.httpHost`.
        host: String,
        /// `metricsProvider.httpPort`.
        port: u16,
    },
}

/// What is traced, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or `target=level` pairs separated by commas.
    pub filter: String,
    /// Shape of the lines.
    pub format: LogFormat,
}

/// Shape of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Text that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

/// What `conf` prints and only a running server knows.
#[derive(Debug, Clone, Copy)]
pub struct ConfFigures<'a> {
    /// Port bound, where the configured one may be 0.
    pub client_port: u16,
    /// Directory the snapshot is in.
    pub data_dir: &'a Path,
    /// Bytes under it.
    pub data_dir_bytes: u64,
    /// Directory the log is in.
    pub data_log_dir: &'a Path,
    /// Bytes under it; with one directory for both, the same total.
    pub data_log_bytes: u64,
    /// For a member of an ensemble: the membership in force, where it is not the configured one.
    pub members: Option<&'a Members>,
    /// Whether this server serves those who only read: Java then leaves the membership out.
    pub is_read_only: bool,
}

impl Config {
    /// Key and text in force of every key this version acts on, in the order of the reference page;
    /// secrets as `***`. Written to a file as `key=value` they make the same configuration again.
    #[must_use]
    pub fn effective(&self) -> &[(String, String)] {
        &self.effective
    }

    /// The answer to the four-letter word `conf`, line ends included; a member's has none at its end.
    ///
    /// ZooKeeper: `ConfCommand`, `ZooKeeperServer.dumpConf`, `QuorumZooKeeperServer.dumpConf`.
    #[must_use]
    pub fn conf(&self, figures: &ConfFigures<'_>) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn fmt::Display| {
            writeln!(text, "{key}={value}").expect("a String takes all that is written to it");
        };
        line("clientPort", &figures.client_port);
        line("secureClientPort", &-1);
        line("dataDir", &figures.data_dir.display());
        line("dataDirSize", &figures.data_dir_bytes);
        line("dataLogDir", &figures.data_log_dir.display());
        line("dataLogSize", &figures.data_log_bytes);
        line("tickTime", &self.sessions.tick_ms);
        line(
            "maxClientCnxns",
            &self.connections.max_per_client.unwrap_or(0),
        );
        line("minSessionTimeout", &self.sessions.timeout_min_ms);
        line("maxSessionTimeout", &self.sessions.timeout_max_ms);
        line(
            "clientPortListenBacklog",
            &self.connections.listen_backlog_written,
        );
        // A standalone ZooKeeper is server 0 whatever `myid` says.
        line(
            "serverId",
            &self.ensemble.as_ref().map_or(0, |ensemble| ensemble.me.0),
        );
        if let Some(ensemble) = &self.ensemble {
            let members = figures.members.unwrap_or(&ensemble.members);
            ensemble.conf(&mut text, members, figures.is_read_only);
        }
        text
    }
}

impl ConnectionConfig {
    /// Backlog to listen with. Java takes 0 and less for its default of 50; here it is as long as systems allow: when
    /// a leader dies thousands of sessions connect at once, and who finds the queue full tries again a second later.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        u32::try_from(self.listen_backlog_written)
            .ok()
            .filter(|backlog| *backlog > 0)
            .unwrap_or(4096)
    }
}

impl FourLetterWhitelist {
    /// Whether `word`, one that is known, is answered.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.contains(word)
    }
}

impl DigestAlgorithm {
    /// By the name Java knows it under, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Some(Self::Sha1),
            "SHA-224" => Some(Self::Sha224),
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            "SHA3-224" => Some(Self::Sha3With224),
            "SHA3-256" => Some(Self::Sha3With256),
            "SHA3-384" => Some(Self::Sha3With384),
            "SHA3-512" => Some(Self::Sha3With512),
            _ => None,
        }
    }
}

impl LogFormat {
    /// By its name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "plain" => Some(Self::Plain),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Secret {
    /// The text itself. Not for traces, findings or replies.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            None => write!(f, "*:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn every_digest_algorithm_of_the_table_is_there() {
        for name in keys::DIGEST_ALGORITHMS {
            assert!(DigestAlgorithm::by_name(name).is_some(), "{name}");
            assert!(
                DigestAlgorithm::by_name(&name.to_lowercase()).is_some(),
                "{name}"
            );
        }
        assert_eq!(DigestAlgorithm::by_name("MD5"), None);
    }

    #[test]
    fn every_log_format_of_the_table_is_there() {
        for name in keys::LOG_FORMATS {
            assert!(LogFormat::by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn conf_prints_what_zookeeper_prints() {
        let directory = std::env::temp_dir();
        let sources = super::super::Sources::standalone(&directory, 0);
        let (config, findings) = super::super::load(&sources).unwrap();
        assert!(findings.is_empty(), "{findings}");
        let figures = ConfFigures {
            client_port: 21801,
            data_dir: Path::new("/d/version-2"),
            data_dir_bytes: 10,
            data_log_dir: Path::new("/l/version-2"),
            data_log_bytes: 20,
            members: None,
            is_read_only: false,
        };
        assert_eq!(
            config.conf(&figures),
            "clientPort=21801\nsecureClientPort=-1\ndataDir=/d/version-2\ndataDirSize=10\n\
             dataLogDir=/l/version-2\ndataLogSize=20\ntickTime=3000\nmaxClientCnxns=60\n\
             minSessionTimeout=6000\nmaxSessionTimeout=60000\nclientPortListenBacklog=-1\n\
             serverId=0\n"
        );
    }

    #[test]
    fn backlog_is_long_when_it_is_not_positive() {
        let sources = super::super::Sources::standalone(&std::env::temp_dir(), 0);
        let (config, _) = super::super::load(&sources).unwrap();
        let mut connections = config.connections;
        for (written, used) in [(-1, 4096), (0, 4096), (7, 7)] {
            connections.listen_backlog_written = written;
            assert_eq!(connections.backlog(), used);
        }
    }
}
