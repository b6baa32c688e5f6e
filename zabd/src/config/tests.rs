//! Whole files through [`load`]: what keys mean together, and what an operator gets to read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[path = "ensemble_tests.rs"]
mod ensemble;

/// A directory of its own for each test, gone when dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("zabd-config-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Loads `text` as a file; `DIR` in it stands for the directory, and so it does in findings.
    fn load(&self, text: &str) -> Result<(Config, String), String> {
        let directory = self.path.to_str().unwrap();
        let path = self.write("zoo.cfg", &text.replace("DIR", directory));
        let shown = |findings: Findings| findings.to_string().replace(directory, "DIR");
        match load(&Sources::file(&path)) {
            Ok((config, findings)) => Ok((config, shown(findings))),
            Err(findings) => Err(shown(findings)),
        }
    }

    /// The same on top of a minimal file.
    fn load_with(&self, text: &str) -> Result<(Config, String), String> {
        self.load(&format!("{text}\ndataDir=DIR\nclientPort=2181\n"))
    }

    /// A file that loads without a word.
    fn quiet(&self, text: &str) -> Config {
        let (config, findings) = self.load_with(text).unwrap();
        assert_eq!(findings, "", "{text}");
        config
    }

    fn error(&self, text: &str) -> String {
        self.load_with(text).unwrap_err()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).unwrap();
    }
}

fn all(port: u16) -> Listener {
    Listener { ip: None, port }
}

#[test]
fn no_file_at_all_is_the_embedded_server() {
    let (config, findings) = load(&Sources::default()).unwrap();
    assert!(findings.is_empty(), "{findings}");
    assert_eq!(config.listeners, [all(2181)]);
    assert_eq!(config.data_dir, Path::new("./zabd-data"));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.server_id, None);
}

#[test]
fn defaults_are_zookeepers() {
    let scratch = Scratch::new();
    let config = scratch.quiet("");
    assert_eq!(
        config.sessions,
        SessionConfig {
            tick_ms: 3000,
            timeout_min_ms: 6000,
            timeout_max_ms: 60_000
        }
    );
    assert_eq!(config.connections.max_per_client, Some(60));
    assert_eq!(config.connections.max_total, None);
    assert_eq!(config.connections.sessionless_timeout_ms, 10_000);
    assert_eq!(config.connection_throttle.tokens, None);
    assert_eq!(config.connection_throttle.freeze_time_ms, None);
    assert_eq!(config.connection_throttle.drop_increase, 0.02);
    assert_eq!(config.requests.frame_bytes_max, 1_048_575);
    assert_eq!(config.requests.record_extra_bytes, 1_048_575);
    assert_eq!(config.requests.outstanding_max, 1000);
    assert_eq!(config.requests.large_threshold_bytes, None);
    assert_eq!(config.requests.large_bytes_max, 100 << 20);
    assert_eq!(config.requests.throttled_op_wait_ms, None);
    assert!(config.requests.throttle_drop_stale && config.requests.stale_connection_check);
    assert!(!config.requests.stale_latency_check);
    assert!(config.storage.force_sync);
    assert_eq!(config.storage.pre_alloc_bytes, Some(64 << 20));
    assert_eq!(config.storage.snap_count, 100_000);
    assert_eq!(config.storage.snap_size_limit_bytes, Some(4 << 30));
    assert_eq!(config.storage.txn_log_size_limit_bytes, None);
    assert_eq!(config.storage.snap_retain_count, 3);
    assert!(!config.tree.extended_types_enabled);
    assert_eq!(config.containers.check_interval_ms, 60_000);
    assert_eq!(config.containers.max_never_used_ms, None);
    assert!(!config.auth.skip_acl && config.auth.digest_scheme_enabled);
    assert_eq!(config.auth.digest_algorithm, DigestAlgorithm::Sha1);
    assert_eq!(
        (
            config.auth.super_digest.clone(),
            config.auth.enforced_schemes.clone()
        ),
        (None, None)
    );
    assert!(config.four_letter_whitelist.allows("srvr"));
    assert!(!config.four_letter_whitelist.allows("ruok"));
    assert_eq!((config.admin.enabled, config.admin.port), (true, 8080));
    assert_eq!(config.metrics, MetricsConfig::Default);
    assert!(!config.reconfig_enabled && config.standalone_enabled);
    assert_eq!(
        config.log,
        LogConfig {
            filter: "info".into(),
            format: LogFormat::Plain
        }
    );
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_line() {
    let scratch = Scratch::new();
    let error = scratch
        .load(
            "tickTime=fast\n# comment\nclientPort=70000\nreconfigEnabled=maybe\nsecureClientPort=2281\n\
             electionAlg=0\nDigestAuthenticationProvider.digestAlg=MD5\nautopurge.snapRetainCount=1\n\
             zabd.log.level=loud\nbroken=\\u12\nserver.1=a:1:2\nserver.2=b:1:2\nsnapCount=100k\n",
        )
        .unwrap_err();
    assert_eq!(
        error,
        "DIR/zoo.cfg:1: error: tickTime: \"fast\" was given, where a whole number, 1 or more is allowed\n\
         DIR/zoo.cfg:3: error: clientPort: \"70000\" was given, where a whole number from 0 to 65535 is allowed\n\
         DIR/zoo.cfg:4: error: reconfigEnabled: \"maybe\" was given, where true, false is allowed\n\
         DIR/zoo.cfg:5: error: secureClientPort: TLS is not supported by this version\n\
         DIR/zoo.cfg:6: error: electionAlg: \"0\" was given, where 3 is allowed\n\
         DIR/zoo.cfg:7: error: DigestAuthenticationProvider.digestAlg: \"MD5\" was given, where SHA1, SHA-1, SHA, SHA-224, SHA-256, SHA-384, SHA-512, SHA3-224, SHA3-256, SHA3-384, SHA3-512 is allowed\n\
         DIR/zoo.cfg:8: warning: autopurge.snapRetainCount: \"1\" is not a whole number, 3 or more, so that 3 is in force\n\
         DIR/zoo.cfg:9: error: zabd.log.level: \"loud\" was given, where off, error, warn, info, debug, trace, or target=level separated by commas is allowed\n\
         DIR/zoo.cfg:10: error: \\u is followed by something else than four hexadecimal digits\n\
         DIR/zoo.cfg:11: warning: server.1: with 2 of them no participant may fail; 3 bear that one does\n\
         DIR/zoo.cfg:13: warning: snapCount: \"100k\" is not a whole number, 2 or more, so that the default is in force, as in ZooKeeper\n\
         error: initLimit: is not set, which a member of an ensemble needs\n\
         error: syncLimit: is not set, which a member of an ensemble needs\n"
    );
}

#[test]
fn what_is_required_is_missed() {
    let scratch = Scratch::new();
    let error = scratch.load("tickTime=2000\n").unwrap_err();
    assert_eq!(
        error,
        "error: dataDir: is not set\n\
         error: clientPort: is not set, so that no client could connect\n"
    );
    let error = scratch
        .load("clientPortAddress=127.0.0.1\ndataDir=\n")
        .unwrap_err();
    assert_eq!(
        error,
        "DIR/zoo.cfg:1: error: clientPortAddress: is set but clientPort is not set\n\
         DIR/zoo.cfg:2: error: dataDir: \"\" was given, where a path is allowed\n\
         error: clientPort: is not set, so that no client could connect\n"
    );
    let error = scratch
        .load("dataDir=DIR\nzabd.clientPortAddresses=\n")
        .unwrap_err();
    assert_eq!(
        error,
        "error: clientPort: is not set, so that no client could connect\n"
    );
}

#[test]
fn a_file_that_is_not_there_is_the_one_finding() {
    let error = load(&Sources::file(Path::new("/no/such/zoo.cfg"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: cannot read /no/such/zoo.cfg: there is no such file\n"
    );
}

#[test]
fn session_timeouts_follow_the_tick() {
    let scratch = Scratch::new();
    let sessions = |text: &str| {
        let sessions = scratch.quiet(text).sessions;
        (sessions.timeout_min_ms, sessions.timeout_max_ms)
    };
    assert_eq!(sessions("tickTime=2000"), (4000, 40_000));
    assert_eq!(
        sessions("tickTime=2000\nminSessionTimeout=-1\nmaxSessionTimeout=-1"),
        (4000, 40_000)
    );
    assert_eq!(
        sessions("minSessionTimeout=0\nmaxSessionTimeout=100"),
        (0, 100)
    );
    assert_eq!(
        sessions("tickTime=2147483647\nminSessionTimeout=5"),
        (5, 2_147_483_647)
    );
    assert_eq!(
        scratch.error("minSessionTimeout=70000"),
        "DIR/zoo.cfg:1: error: minSessionTimeout: 70000 is larger than maxSessionTimeout, which is 60000\n"
    );
    assert!(scratch.error("tickTime=0").contains("1 or more"));
    assert!(
        scratch
            .error("minSessionTimeout=0\nmaxSessionTimeout=0")
            .contains("no time at all")
    );
}

#[test]
fn listeners_come_from_all_places() {
    let scratch = Scratch::new();
    let config = scratch
        .quiet("clientPortAddress=127.0.0.1\nzabd.clientPortAddresses=[::1]:2182, 0.0.0.0:0");
    let shown: Vec<String> = config.listeners.iter().map(Listener::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:2181", "[::1]:2182", "*:0"]);
    for wildcard in ["0.0.0.0", "::", "[::]"] {
        let config = scratch.quiet(&format!("clientPortAddress={wildcard}"));
        assert_eq!(config.listeners, [all(2181)], "{wildcard}");
    }
    let config = scratch.quiet("clientPortAddress=0:0:0:0:0:0:0:1%lo");
    assert_eq!(config.listeners[0].to_string(), "[::1]:2181");
    let (config, _) = scratch
        .load("dataDir=DIR\nzabd.clientPortAddresses=localhost:2190\n")
        .unwrap();
    assert!(config.listeners[0].ip.unwrap().is_loopback());
    assert_eq!(
        scratch.error("zabd.clientPortAddresses=0.0.0.0:2181,2182"),
        "DIR/zoo.cfg:1: error: zabd.clientPortAddresses: \"2182\" was given, where host:port or [v6]:port is allowed\n\
         DIR/zoo.cfg:1: error: zabd.clientPortAddresses: *:2181 is listened on already\n"
    );
    assert_eq!(
        scratch.error("clientPortAddress=a b"),
        "DIR/zoo.cfg:1: error: clientPortAddress: \"a b\" has no address\n"
    );
}

#[test]
fn one_participant_is_standalone_with_its_client_address() {
    const NOTE: &str =
        "DIR/zoo.cfg:1: note: server.1: the only participant: this server is standalone\n";
    let scratch = Scratch::new();
    // Without clientPort the line says where to listen.
    let line = "server.1=zk1:2888:3888:participant;127.0.0.1:2185\ndataDir=DIR\n";
    let (config, findings) = scratch.load(line).unwrap();
    assert_eq!(findings, NOTE);
    assert_eq!(config.listeners[0].to_string(), "127.0.0.1:2185");
    assert_eq!(config.server_id, None);
    // With it, but no myid to say that the line is ours, clientPort does.
    let (config, _) = scratch.load_with("server.1=zk1:2888:3888;2185").unwrap();
    assert_eq!(config.listeners, [all(2181)]);
    // With myid both must agree.
    scratch.write("myid", "1\n");
    assert_eq!(
        scratch.error("server.1=zk1:2888:3888;2185"),
        format!(
            "{NOTE}DIR/zoo.cfg:3: error: clientPort: *:2181 is not *:2185, the client address of this server's server.N\n"
        )
    );
    let (config, findings) = scratch
        .load_with("server.1=zk1:2888:3888;127.0.0.1:2181")
        .unwrap();
    assert_eq!(findings, NOTE);
    assert_eq!(config.server_id, Some(1));
    assert_eq!(config.listeners[0].to_string(), "127.0.0.1:2181");
    // A plain line, as HBase writes it.
    let (config, _) = scratch.load_with("server.1=zk1:2888:3888").unwrap();
    assert_eq!(config.listeners, [all(2181)]);
}

#[test]
fn members_may_stand_in_the_dynamic_file() {
    let scratch = Scratch::new();
    scratch.write(
        "members",
        "server.1=zk1:2888:3888;127.0.0.1:2185\ngroup.1=1\n",
    );
    let (config, _) = scratch
        .load("dataDir=DIR\ndynamicConfigFile=DIR/members\n")
        .unwrap();
    assert_eq!(config.listeners[0].to_string(), "127.0.0.1:2185");
    let error = scratch.error("dynamicConfigFile=DIR/members\nserver.2=b:1:2\nweight.1=2");
    assert_eq!(
        error,
        "DIR/members:1: note: server.1: the only participant: this server is standalone\n\
         DIR/zoo.cfg:2: error: server.2: must stand in the file of dynamicConfigFile, not in this one\n\
         DIR/zoo.cfg:3: error: weight.1: must stand in the file of dynamicConfigFile, not in this one\n"
    );
    scratch.write("members", "version=1\ntickTime=1\n");
    let error = scratch.error("dynamicConfigFile=DIR/members");
    assert!(
        error.contains("DIR/members:1: error: version: must not stand here"),
        "{error}"
    );
    assert!(
        error.contains("DIR/members:2: error: tickTime: does not belong here"),
        "{error}"
    );
    assert!(
        scratch
            .error("dynamicConfigFile=DIR/none")
            .contains("cannot read DIR/none")
    );
}

#[test]
fn myid_must_be_a_number() {
    let scratch = Scratch::new();
    scratch.write("myid", "one\n2\n");
    assert_eq!(
        scratch.error(""),
        "DIR/myid:1: error: myid: \"one\" is not the number of a server\n"
    );
    scratch.write("myid", "");
    assert!(scratch.error("").contains("\"\" is not the number"));
    scratch.write("myid", "-7\r\nignored");
    assert_eq!(scratch.quiet("").server_id, Some(-7));
}

#[test]
fn authentication_that_nobody_could_pass_is_refused() {
    let scratch = Scratch::new();
    let config = scratch.quiet("enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip");
    assert_eq!(
        config.auth.enforced_schemes,
        Some(vec!["digest".into(), "ip".into()])
    );
    assert_eq!(
        scratch
            .quiet("enforce.auth.schemes=sasl")
            .auth
            .enforced_schemes,
        None
    );
    for (text, message) in [
        (
            "enforce.auth.enabled=true",
            "enforce.auth.schemes must be set",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=sasl",
            "\"sasl\" was given, where digest, ip is served",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=ip,",
            "\"\" was given",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=digest\nDigestAuthenticationProvider.enabled=false",
            "where ip is served",
        ),
        (
            "sessionRequireClientSASLAuth=true",
            "no client could be served",
        ),
    ] {
        let error = scratch.error(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn providers_of_clusters_in_the_wild_are_understood() {
    let scratch = Scratch::new();
    let text = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
                authProvider.2=org.apache.zookeeper.server.auth.DigestAuthenticationProvider\n\
                authProvider.3=com.example.Auth\nauthProvider.4=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider\n\
                ensembleAuthName=east, west\nrequireClientAuthScheme=sasl\njaasLoginRenew=3600000";
    let (config, findings) = scratch.load_with(text).unwrap();
    let schemes: Vec<_> = config
        .auth
        .providers
        .iter()
        .map(|provider| provider.scheme)
        .collect();
    assert_eq!(
        schemes,
        [Some("sasl"), Some("digest"), None, Some("ensemble")]
    );
    assert_eq!(config.auth.ensemble_names, ["east", "west"]);
    assert_eq!(
        findings,
        "DIR/zoo.cfg:1: warning: authProvider.1: has no effect: the scheme sasl is not served by this version\n\
         DIR/zoo.cfg:3: warning: authProvider.3: has no effect: \"com.example.Auth\" is a class zabd does not know\n\
         DIR/zoo.cfg:6: warning: requireClientAuthScheme: is not known and passed over\n\
         DIR/zoo.cfg:7: warning: jaasLoginRenew: is not known and passed over\n"
    );
}

#[test]
fn metrics_providers_are_understood() {
    let scratch = Scratch::new();
    let text = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
                metricsProvider.httpPort=7070\nmetricsProvider.exportJvmInfo=true";
    let (config, findings) = scratch.load_with(text).unwrap();
    assert_eq!(
        config.metrics,
        MetricsConfig::Prometheus {
            host: "0.0.0.0".into(),
            port: 7070
        }
    );
    assert!(
        findings
            .starts_with("DIR/zoo.cfg:1: warning: metricsProvider.className: metrics over HTTP")
    );
    let text = "metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider";
    assert_eq!(scratch.quiet(text).metrics, MetricsConfig::Null);
    let (config, findings) = scratch.load_with("metricsProvider.className=x.Y").unwrap();
    assert_eq!(config.metrics, MetricsConfig::Default);
    assert!(findings.contains("warning"));
}

#[test]
fn four_letter_words_follow_the_whitelist() {
    let scratch = Scratch::new();
    let allowed = |text: &str| {
        let config = scratch.quiet(text);
        ["conf", "isro", "ruok", "srvr"].map(|word| config.four_letter_whitelist.allows(word))
    };
    assert_eq!(allowed(""), [false, false, false, true]);
    assert_eq!(
        allowed("4lw.commands.whitelist=ruok , conf"),
        [true, false, true, true]
    );
    assert_eq!(allowed("4lw.commands.whitelist=*"), [true; 4]);
    let (config, findings) = scratch.load_with("readonlymode.enabled=true").unwrap();
    assert!(config.four_letter_whitelist.allows("isro"));
    assert!(findings.contains("note: readonlymode.enabled: is taken from this file"));
    let (_, findings) = scratch
        .load_with("4lw.commands.whitelist=ruok,quit")
        .unwrap();
    assert!(findings.contains("warning: 4lw.commands.whitelist: \"quit\" is not one of conf,"));
}

#[test]
fn weights_multiply_the_bucket() {
    let scratch = Scratch::new();
    let throttle = |text: &str| scratch.load_with(text).unwrap().0.connection_throttle;
    let plain = throttle("connectionMaxTokens=10\nconnection_throttle_fill_count=2");
    assert_eq!(
        (plain.tokens, plain.fill_count, plain.weights.global),
        (Some(10), 2, 1)
    );
    let weighted = throttle(
        "connection_throttle_weight_enabled=true\nconnection_throttle_tokens=10\n\
         connection_throttle_fill_count=2\nconnection_throttle_local_session_weight=5",
    );
    assert_eq!((weighted.tokens, weighted.fill_count), (Some(50), 10));
    assert_eq!(
        weighted.weights,
        SessionWeights {
            global: 5,
            local: 5,
            renew: 5
        }
    );
}

#[test]
fn sizes_change_their_unit() {
    let scratch = Scratch::new();
    let config = scratch.quiet("preAllocSize=0\nsnapSizeLimitInKb=-1\ntxnLogSizeLimitInKb=2");
    assert_eq!(config.storage.pre_alloc_bytes, None);
    assert_eq!(config.storage.snap_size_limit_bytes, None);
    assert_eq!(config.storage.txn_log_size_limit_bytes, Some(2048));
    let huge = scratch.quiet("snapSizeLimitInKb=9223372036854775807");
    assert_eq!(huge.storage.snap_size_limit_bytes, Some(u64::MAX));
}

#[test]
fn what_gives_safety_up_is_said() {
    let scratch = Scratch::new();
    let (config, findings) = scratch.load_with("forceSync=no\nskipACL=yes").unwrap();
    assert!(!config.storage.force_sync && config.auth.skip_acl);
    assert_eq!(
        findings
            .lines()
            .filter(|line| line.contains(": warning: "))
            .count(),
        2,
        "{findings}"
    );
    let (config, findings) = scratch.load_with("forceSync=NO\nskipACL=true").unwrap();
    assert!(config.storage.force_sync && !config.auth.skip_acl);
    assert_eq!(
        findings,
        "DIR/zoo.cfg:1: warning: forceSync: \"NO\" stays on, as in ZooKeeper, where only exactly no switches it off\n\
         DIR/zoo.cfg:2: warning: skipACL: \"true\" stays off, as in ZooKeeper, where only exactly yes switches it on\n"
    );
}

#[test]
fn the_super_digest_is_kept_out_of_sight() {
    let scratch = Scratch::new();
    let config = scratch
        .quiet("DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    let exposed = config.auth.super_digest.as_ref().map(Secret::expose);
    assert_eq!(exposed, Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU="));
    for shown in [format!("{config:?}"), effective_text(&config)] {
        assert!(!shown.contains("D/InIHSb"), "{shown}");
        assert!(shown.contains("***"));
    }
    let (_, findings) = scratch
        .load_with("DigestAuthenticationProvider.superDigest=root:x")
        .unwrap();
    assert!(
        findings.contains("nobody is super") && !findings.contains("root:x"),
        "{findings}"
    );
}

#[test]
fn relative_directories_are_warned_of() {
    let scratch = Scratch::new();
    let (_, findings) = scratch
        .load("dataDir=data\nclientPort=1\ndataLogDir=./log\n")
        .unwrap();
    assert_eq!(
        findings,
        "DIR/zoo.cfg:1: warning: dataDir: \"data\" is relative to the working directory; ./data if it is meant so\n"
    );
}

#[test]
fn the_values_in_force_make_the_same_configuration_again() {
    let scratch = Scratch::new();
    let text = "tickTime=2000\nmaxClientCnxns=0\nsnapCount=500\nforceSync=no\n4lw.commands.whitelist=*\n\
                jute.maxbuffer=4194304\nconnection_throttle_drop_increase=0.5\ndataLogDir=DIR/l\\\\og\\u00e4\n\
                zabd.clientPortAddresses=127.0.0.1:2190\nauthProvider.a\\ b\\=\\\\\\u00ff#=x";
    let (config, _) = scratch.load_with(text).unwrap();
    let first = effective_text(&config);
    let (again, _) = scratch.load(&first).unwrap();
    assert_eq!(effective_text(&again), first);
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    for line in [
        "tickTime=2000",
        "minSessionTimeout=4000",
        "maxSessionTimeout=40000",
        "forceSync=no",
    ] {
        assert!(
            first.lines().any(|one| one == line),
            "{line} is not in\n{first}"
        );
    }
}

#[test]
fn samples_load_without_a_word() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    for name in ["zoo.cfg", "zoo_sample.cfg"] {
        let (config, findings) = load(&Sources::file(&directory.join(name))).unwrap();
        assert_eq!(findings.to_string(), "", "{name}");
        assert_eq!(config.listeners, [all(2181)], "{name}");
    }
}

/// A commented line of the samples is a key with the value it has anyway.
#[test]
fn the_full_samples_show_defaults() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let text = ["zoo_sample.cfg", "zoo_ensemble.cfg"]
        .map(|name| std::fs::read_to_string(directory.join(name)).unwrap())
        .concat();
    let mut shown = 0;
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
        else {
            continue;
        };
        // What is to be said on one server only is no default.
        if name.contains(' ') || name == "peerType" {
            continue;
        }
        let found = keys::find(name).unwrap_or_else(|| panic!("{name} is no key"));
        assert!(
            found.key.default.is_empty() || found.key.default == value,
            "{name} is {} unless written, not {value}",
            found.key.default
        );
        shown += 1;
    }
    assert!(shown > 20, "{shown}");
}

#[test]
fn the_reference_page_is_made_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "{} is not what the table says: UPDATE_DOCS=1 cargo test -p zabd config rewrites it",
        path.display()
    );
}
