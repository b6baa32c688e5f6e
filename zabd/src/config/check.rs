//! From what was written to a valid configuration, with every finding on the way.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::ensemble::{self, EnsembleConfig};
use super::findings::{Findings, Origin, Severity};
use super::keys;
use super::members::{self, Membership};
use super::settings::Settings;
use super::written::{self, Sources, Written};
use super::zoo_cfg::{
    AdminConfig, AuthConfig, AuthProvider, Config, ConnectionConfig, ConnectionThrottle,
    ContainerConfig, DigestAlgorithm, FourLetterWhitelist, Listener, LogConfig, LogFormat,
    MetricsConfig, RequestConfig, Secret, SessionConfig, SessionWeights, StorageConfig, TreeConfig,
};
use crate::replica::ensemble::member::HostPort;

/// Port of the embedded server.
const CLIENT_PORT: &str = "2181";

/// Data directory of the embedded server, under the working directory.
const DATA_DIR: &str = "./zabd-data";

/// Reads and checks a configuration.
///
/// Reads the file, the file `dynamicConfigFile` names and `myid`; resolves host names of listeners.
/// Changes nothing.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(sources: &Sources) -> Result<(Config, Findings), Findings> {
    let mut findings = Findings::default();
    let mut written = sources.written.clone();
    match &sources.file {
        Some(path) => written.extend(written::read_file(path, &mut findings)),
        None => {
            // In front, since the later of two that are built in wins.
            written.insert(0, Written::new("clientPort", CLIENT_PORT, Origin::BuiltIn));
            written.insert(0, Written::new("dataDir", DATA_DIR, Origin::BuiltIn));
        }
    }
    let unreadable = findings.has_errors();
    let mut settings = Settings::resolve(written, findings);
    let config = build(&mut settings, sources.file.as_deref(), unreadable);
    let mut findings = settings.findings;
    findings.sort();
    match config {
        Some(config) if !findings.has_errors() => Ok((config, findings)),
        _ => Err(findings),
    }
}

/// Builds the configuration; `None` only with an error reported.
fn build(settings: &mut Settings, file: Option<&Path>, unreadable: bool) -> Option<Config> {
    let data_dir = directory(settings, "dataDir");
    if data_dir.is_none() && !settings.is_written("dataDir") && !unreadable {
        settings.report(Severity::Error, "dataDir", "is not set");
    }
    let data_log_dir = directory(settings, "dataLogDir").or_else(|| data_dir.clone());
    let membership = members::read(settings, file, data_dir.as_deref());
    let ensemble = ensemble::read(settings, &membership);
    let (listeners, has_main_listener) = listeners(settings, &membership, unreadable);
    let sessions = sessions(settings);
    let connections = connections(settings);
    let connection_throttle = connection_throttle(settings);
    let auth = auth(settings);
    let four_letter_whitelist = four_letter_whitelist(settings);
    let metrics = metrics(settings);
    warn_of_danger(settings);
    let requests = requests(settings);
    let effective = effective(
        settings,
        ensemble.as_ref(),
        sessions,
        requests,
        data_log_dir.as_deref(),
    );
    Some(Config {
        listeners,
        has_main_listener,
        data_dir: data_dir?,
        data_log_dir: data_log_dir?,
        data_dir_autocreate: settings.flag("datadir.autocreate"),
        server_id: membership.server_id,
        ensemble,
        sessions,
        connections,
        connection_throttle,
        requests,
        storage: storage(settings),
        tree: TreeConfig {
            extended_types_enabled: settings.flag("extendedTypesEnabled"),
            enforce_quota: settings.flag("enforceQuota"),
        },
        containers: ContainerConfig {
            check_interval_ms: settings.count("znode.container.checkIntervalMs"),
            max_per_minute: settings.count("znode.container.maxPerMinute"),
            max_never_used_ms: positive(settings.int("znode.container.maxNeverUsedIntervalMs")),
        },
        auth,
        four_letter_whitelist,
        admin: AdminConfig {
            enabled: settings.flag("admin.enableServer"),
            address: settings.text("admin.serverAddress").unwrap_or_default(),
            port: port(settings.int("admin.serverPort")),
            idle_timeout_ms: settings.count("admin.idleTimeout"),
            command_url: settings.text("admin.commandURL").unwrap_or_default(),
        },
        metrics,
        audit_enabled: settings.flag("audit.enable"),
        read_only_mode_enabled: settings.flag("readonlymode.enabled"),
        reconfig_enabled: settings.flag("reconfigEnabled"),
        standalone_enabled: settings.flag("standaloneEnabled"),
        log: log(settings),
        effective,
    })
}

/// A directory, with ZooKeeper's warning of relative ones.
fn directory(settings: &mut Settings, name: &str) -> Option<PathBuf> {
    let text = settings.text(name)?;
    let path = PathBuf::from(&text);
    if path.is_relative() && !text.starts_with("./") {
        let message =
            format!("{text:?} is relative to the working directory; ./{text} if it is meant so");
        settings.report(Severity::Warning, name, message);
    }
    Some(path)
}

/// Every plaintext listener, and whether the first is that of `clientPort` or of this server's line; reports if there is none, or a host has no address.
///
/// ZooKeeper: `QuorumPeerConfig.parseProperties`, `setupClientPort`.
fn listeners(
    settings: &mut Settings,
    membership: &Membership,
    unreadable: bool,
) -> (Vec<Listener>, bool) {
    let mut listeners: Vec<Listener> = Vec::new();
    let main = main_listener(settings);
    listeners.extend(main);
    if let Some(client) = &membership.client {
        let line = listener(settings, "server.N", client);
        match (line, main) {
            (Some(line), Some(main)) if membership.is_self => {
                let agrees = line.port == main.port && (main.ip.is_none() || main.ip == line.ip);
                if !agrees {
                    let message = format!(
                        "{main} is not {line}, the client address of this server's server.N"
                    );
                    settings.report(Severity::Error, "clientPort", message);
                }
                // The line is the more exact of the two.
                listeners = vec![line];
            }
            (Some(line), None) => listeners.push(line),
            // Without myid ZooKeeper does not know the line for this server's either.
            (Some(_), Some(_)) | (None, _) => {}
        }
    }
    let has_main = !listeners.is_empty();
    const LIST: &str = "zabd.clientPortAddresses";
    for word in settings.words(LIST) {
        match HostPort::parse(&word) {
            Ok(address) => listeners.extend(listener(settings, LIST, &address)),
            Err(_) => {
                let message =
                    format!("{word:?} was given, where host:port or [v6]:port is allowed");
                settings.report(Severity::Error, LIST, message);
            }
        }
    }
    report_twice(settings, &listeners);
    // What was asked for and did not become a listener has been reported.
    let asked_for = settings.is_written("clientPort")
        || membership.client.is_some()
        || !settings.words(LIST).is_empty();
    if listeners.is_empty() && !asked_for && !unreadable {
        let severity = match membership.is_member {
            // A member without clients still counts for the quorum.
            true => Severity::Warning,
            false => Severity::Error,
        };
        let message = "is not set, so that no client could connect";
        settings.report(severity, "clientPort", message);
    }
    (listeners, has_main)
}

fn main_listener(settings: &mut Settings) -> Option<Listener> {
    let host = settings.text("clientPortAddress");
    let Some(number) = settings.int("clientPort") else {
        if host.is_some() && !settings.is_written("clientPort") {
            let message = "is set but clientPort is not set";
            settings.report(Severity::Error, "clientPortAddress", message);
        }
        return None;
    };
    let port = port(Some(number));
    match host {
        None => Some(Listener { ip: None, port }),
        Some(host) => listener(settings, "clientPortAddress", &HostPort { host, port }),
    }
}

/// Resolves a host; one that has no address is an error of `name`.
fn listener(settings: &mut Settings, name: &str, address: &HostPort) -> Option<Listener> {
    let Some(ip) = resolve(&address.host) else {
        let message = format!("{:?} has no address", address.host);
        settings.report(Severity::Error, name, message);
        return None;
    };
    // Java binds either wildcard to every address of the machine.
    Some(Listener {
        ip: Some(ip).filter(|ip| !ip.is_unspecified()),
        port: address.port,
    })
}

fn resolve(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Some(ip);
    }
    // What Java prints of an interface's address. A zone says something of addresses of one link only.
    let zoned = bare.split_once('%').and_then(|(ip, _)| ip.parse().ok());
    if let Some(ip) = zoned.filter(|ip: &Ipv6Addr| !ip.is_unicast_link_local()) {
        return Some(ip.into());
    }
    Some((host, 0).to_socket_addrs().ok()?.next()?.ip())
}

fn report_twice(settings: &mut Settings, listeners: &[Listener]) {
    for (at, listener) in listeners.iter().enumerate() {
        if listener.port != 0 && listeners[..at].contains(listener) {
            let message = format!("{listener} is listened on already");
            settings.report(Severity::Error, "zabd.clientPortAddresses", message);
        }
    }
}

fn sessions(settings: &mut Settings) -> SessionConfig {
    let tick_ms = settings.count("tickTime");
    let written = |settings: &Settings, name: &str| settings.int(name).filter(|ms| *ms >= 0);
    let ticks = |count: u32| i64::from(tick_ms) * i64::from(count);
    let min_ms = written(settings, "minSessionTimeout").unwrap_or(ticks(2));
    let max_ms = written(settings, "maxSessionTimeout").unwrap_or(ticks(20));
    if min_ms > max_ms {
        let message = format!("{min_ms} is larger than maxSessionTimeout, which is {max_ms}");
        settings.report(Severity::Error, "minSessionTimeout", message);
    }
    if max_ms == 0 {
        let message = "0 leaves sessions no time at all";
        settings.report(Severity::Error, "maxSessionTimeout", message);
    }
    // A timeout is an int on the wire.
    let clamp = |ms: i64| u32::try_from(ms.min(i64::from(i32::MAX))).unwrap_or(0);
    SessionConfig {
        tick_ms,
        timeout_min_ms: clamp(min_ms),
        timeout_max_ms: clamp(max_ms),
    }
}

fn connections(settings: &Settings) -> ConnectionConfig {
    let backlog = settings.int("clientPortListenBacklog").unwrap_or(-1);
    ConnectionConfig {
        max_per_client: settings.limit("maxClientCnxns"),
        max_total: settings.limit("maxCnxns"),
        listen_backlog_written: i32::try_from(backlog).unwrap_or(-1),
        tcp_keep_alive: settings.flag("clientTcpKeepAlive"),
        sessionless_timeout_ms: settings.count("nio.sessionlessCnxnTimeout"),
        io_threads: settings.limit("zabd.ioThreads"),
    }
}

/// ZooKeeper: the static part of `BlueThrottle`.
fn connection_throttle(settings: &mut Settings) -> ConnectionThrottle {
    const GLOBAL: &str = "connection_throttle_global_session_weight";
    const RENEW: &str = "connection_throttle_renew_session_weight";
    let weighted = settings.flag("connection_throttle_weight_enabled");
    let local = settings.count("connection_throttle_local_session_weight");
    let mut at_least_local = |name: &str| {
        let weight = settings.count(name);
        if weighted && weight < local {
            let message =
                format!("{weight} is less than a local session's, so that {local} is in force");
            settings.report(Severity::Warning, name, message);
        }
        weight.max(local)
    };
    let mut weights = SessionWeights {
        global: at_least_local(GLOBAL),
        local,
        renew: at_least_local(RENEW),
    };
    if !weighted {
        weights = SessionWeights {
            global: 1,
            local: 1,
            renew: 1,
        };
    }
    ConnectionThrottle {
        tokens: settings
            .limit("connection_throttle_tokens")
            .map(|tokens| tokens.saturating_mul(weights.global)),
        fill_time_ms: settings.count("connection_throttle_fill_time"),
        fill_count: settings
            .count("connection_throttle_fill_count")
            .saturating_mul(weights.global),
        freeze_time_ms: settings
            .int("connection_throttle_freeze_time")
            .and_then(|ms| u32::try_from(ms).ok()),
        drop_increase: settings.decimal("connection_throttle_drop_increase"),
        drop_decrease: settings.decimal("connection_throttle_drop_decrease"),
        decrease_ratio: settings.decimal("connection_throttle_decrease_ratio"),
        weights,
    }
}

fn requests(settings: &Settings) -> RequestConfig {
    let frame_bytes_max = settings.count("jute.maxbuffer");
    let extra = settings
        .int("jute.maxbuffer.extrasize")
        .and_then(|extra| u32::try_from(extra).ok());
    RequestConfig {
        frame_bytes_max,
        record_extra_bytes: extra.unwrap_or(frame_bytes_max).max(1024),
        outstanding_max: settings.count("globalOutstandingLimit"),
        large_threshold_bytes: settings.limit("largeRequestThreshold"),
        large_bytes_max: settings.count("largeRequestMaxBytes"),
        throttle_max: settings.limit("request_throttle_max_requests"),
        throttle_stall_ms: settings.count("request_throttle_stall_time"),
        throttle_drop_stale: settings.flag("request_throttle_drop_stale"),
        stale_latency_check: settings.flag("request_stale_latency_check"),
        stale_connection_check: settings.flag("request_stale_connection_check"),
        throttled_op_wait_ms: settings.limit("throttled_op_wait_time"),
    }
}

fn storage(settings: &Settings) -> StorageConfig {
    let kib = |name: &str| positive(settings.int(name)).map(|kib| kib.saturating_mul(1024));
    StorageConfig {
        force_sync: settings.flag("forceSync"),
        pre_alloc_bytes: kib("preAllocSize"),
        snap_count: settings.count("snapCount"),
        snap_size_limit_bytes: kib("snapSizeLimitInKb"),
        txn_log_size_limit_bytes: kib("txnLogSizeLimitInKb"),
        snap_retain_count: settings.count("autopurge.snapRetainCount"),
        fsync_warning_threshold_ms: positive(settings.int("fsync.warningthresholdms")).unwrap_or(0),
    }
}

fn auth(settings: &mut Settings) -> AuthConfig {
    let digest_scheme_enabled = settings.flag("DigestAuthenticationProvider.enabled");
    let algorithm = settings.text("DigestAuthenticationProvider.digestAlg");
    const SUPER: &str = "DigestAuthenticationProvider.superDigest";
    let super_digest = settings.text(SUPER);
    if let Some(digest) = &super_digest {
        let is_of_form = digest
            .split_once(':')
            .is_some_and(|(id, hash)| id == "super" && !hash.is_empty());
        if !is_of_form {
            let message = "is not of the form super:<base64 of the hash>, so that nobody is super";
            settings.report(Severity::Warning, SUPER, message);
        } else if !digest_scheme_enabled {
            let message = "has no effect: DigestAuthenticationProvider.enabled is off";
            settings.report(Severity::Warning, SUPER, message);
        }
    }
    AuthConfig {
        skip_acl: settings.flag("skipACL"),
        digest_scheme_enabled,
        digest_algorithm: algorithm
            .and_then(|name| DigestAlgorithm::by_name(&name))
            .unwrap_or(DigestAlgorithm::Sha1),
        super_digest: super_digest.map(Secret),
        enforced_schemes: enforced_schemes(settings, digest_scheme_enabled),
        ensemble_names: settings.words("ensembleAuthName"),
        providers: providers(settings),
    }
}

/// ZooKeeper: `AuthenticationHelper.validateConfiguredProperties`.
fn enforced_schemes(settings: &mut Settings, digest_scheme_enabled: bool) -> Option<Vec<String>> {
    const SCHEMES: &str = "enforce.auth.schemes";
    if !settings.flag("enforce.auth.enabled") {
        return None;
    }
    let schemes = settings.words(SCHEMES);
    if schemes.is_empty() {
        let message = "is on, for which enforce.auth.schemes must be set";
        settings.report(Severity::Error, "enforce.auth.enabled", message);
    }
    let served: &[&str] = if digest_scheme_enabled {
        &["digest", "ip"]
    } else {
        &["ip"]
    };
    for scheme in schemes
        .iter()
        .filter(|scheme| !served.contains(&scheme.as_str()))
    {
        let message = format!(
            "{scheme:?} was given, where {} is served",
            served.join(", ")
        );
        settings.report(Severity::Error, SCHEMES, message);
    }
    Some(schemes)
}

fn providers(settings: &mut Settings) -> Vec<AuthProvider> {
    let mut providers = Vec::new();
    for written in settings.family("authProvider.") {
        let known = keys::AUTH_PROVIDERS
            .iter()
            .find(|(class, _)| *class == written.value);
        let scheme = known.map(|(_, scheme)| *scheme);
        let message = match scheme {
            Some("digest" | "ip" | "ensemble") => None,
            Some(scheme) => Some(format!(
                "has no effect: the scheme {scheme} is not served by this version"
            )),
            None => Some(format!(
                "has no effect: {:?} is a class zabd does not know",
                written.value
            )),
        };
        if let Some(message) = message {
            settings.findings.push(
                Severity::Warning,
                Some(written.origin),
                &written.name,
                message,
            );
        }
        providers.push(AuthProvider {
            class: written.value,
            scheme,
        });
    }
    providers
}

/// ZooKeeper: `FourLetterCommands.isEnabled`.
fn four_letter_whitelist(settings: &mut Settings) -> FourLetterWhitelist {
    const LIST: &str = "4lw.commands.whitelist";
    let mut whitelist = FourLetterWhitelist {
        all: false,
        words: ["srvr".to_owned()].into(),
    };
    if settings.flag("readonlymode.enabled") {
        whitelist.words.insert("isro".to_owned());
    }
    for word in settings.words(LIST) {
        if word == "*" {
            whitelist.all = true;
        } else if FOUR_LETTER_WORDS.contains(&word.as_str()) {
            whitelist.words.insert(word);
        } else if !word.is_empty() {
            let message = format!("{word:?} is not one of {}", FOUR_LETTER_WORDS.join(", "));
            settings.report(Severity::Warning, LIST, message);
        }
    }
    whitelist
}

/// Words ZooKeeper knows. The last is what a telnet sends on closing.
const FOUR_LETTER_WORDS: [&str; 19] = [
    "conf",
    "cons",
    "crst",
    "dirs",
    "dump",
    "envi",
    "gtmk",
    "hash",
    "isro",
    "mntr",
    "ruok",
    "srst",
    "srvr",
    "stat",
    "stmk",
    "wchc",
    "wchp",
    "wchs",
    "telnet close",
];

fn metrics(settings: &mut Settings) -> MetricsConfig {
    const CLASS: &str = "metricsProvider.className";
    let class = settings.text(CLASS).unwrap_or_default();
    match keys::METRICS_PROVIDERS
        .iter()
        .position(|known| *known == class)
    {
        Some(0) => MetricsConfig::Default,
        Some(1) => MetricsConfig::Null,
        Some(_) => {
            let message = "metrics over HTTP are not served by this version; mntr has them";
            settings.report(Severity::Warning, CLASS, message);
            MetricsConfig::Prometheus {
                host: settings
                    .text("metricsProvider.httpHost")
                    .unwrap_or_default(),
                port: port(settings.int("metricsProvider.httpPort")),
            }
        }
        None => {
            let message = format!("has no effect: {class:?} is a class zabd does not know");
            settings.report(Severity::Warning, CLASS, message);
            MetricsConfig::Default
        }
    }
}

/// What is legal and gives safety up.
fn warn_of_danger(settings: &mut Settings) {
    if !settings.flag("forceSync") {
        let message = "no: a power cut loses writes that were acknowledged";
        settings.report(Severity::Warning, "forceSync", message);
    }
    if settings.flag("skipACL") {
        let message = "yes: any client may read, change and delete everything";
        settings.report(Severity::Warning, "skipACL", message);
    }
}

fn log(settings: &Settings) -> LogConfig {
    let format = settings
        .text("zabd.log.format")
        .and_then(|name| LogFormat::by_name(&name));
    LogConfig {
        filter: settings.text("zabd.log.level").unwrap_or_default(),
        format: format.unwrap_or(LogFormat::Plain),
    }
}

/// The table's view of the values in force, with those that are worked out from others.
fn effective(
    settings: &Settings,
    ensemble: Option<&EnsembleConfig>,
    sessions: SessionConfig,
    requests: RequestConfig,
    data_log_dir: Option<&Path>,
) -> Vec<(String, String)> {
    let mut derived = vec![
        ("minSessionTimeout", sessions.timeout_min_ms.to_string()),
        ("maxSessionTimeout", sessions.timeout_max_ms.to_string()),
        (
            "jute.maxbuffer.extrasize",
            requests.record_extra_bytes.to_string(),
        ),
    ];
    if let Some(path) = data_log_dir {
        derived.push(("dataLogDir", path.to_string_lossy().into_owned()));
    }
    if let Some(ensemble) = ensemble {
        let factor = ensemble.leader.snapshot_size_factor.unwrap_or(-1.0);
        derived.push(("snapshotSizeFactor", factor.to_string()));
        derived.push((
            "connectToLearnerMasterLimit",
            ensemble.connect_limit.to_string(),
        ));
    }
    settings.effective(ensemble.is_some(), &derived)
}

fn port(number: Option<i64>) -> u16 {
    number
        .and_then(|number| u16::try_from(number).ok())
        .unwrap_or(0)
}

fn positive(number: Option<i64>) -> Option<u64> {
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
}
