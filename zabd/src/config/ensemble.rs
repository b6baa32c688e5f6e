//! The part of a configuration that only a member of an ensemble has.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::findings::Severity;
use super::members::Membership;
use super::settings::Settings;
use crate::replica::ensemble::{Member, Members, Role, ServerId};

/// How this server takes part in an ensemble. Each field names the key it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleConfig {
    /// `myid`: this server, one of `members`; 0 or more.
    pub me: ServerId,
    /// Everybody, with this server's own line. With the version of the file's name, else 0.
    pub members: Arc<Members>,
    /// Those that a server of ZooKeeper left behind as proposed (`zoo.cfg.dynamic.next`), if they are newer: only with
    /// [`Self::reconfig_enabled`] and `dynamicConfigFile`.
    pub next: Option<Arc<Members>>,
    /// Where the members are written.
    pub origin: MembersOrigin,
    /// `tickTime`; at least 1.
    pub tick_ms: u32,
    /// `initLimit` in ticks; at least 1.
    pub init_limit: u32,
    /// `syncLimit` in ticks; at least 1.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit` in ticks, else `init_limit`; at least 1.
    pub connect_limit: u32,
    /// `leaderConnectDelayDuringRetryMs`.
    pub connect_retry_delay_ms: u32,
    /// `quorumListenOnAllIPs`.
    pub listen_on_all_ips: bool,
    /// Elections and the connections they are held over.
    pub election: ElectionConfig,
    /// Members with several addresses.
    pub multi_address: MultiAddressConfig,
    /// What this server does as a leader.
    pub leader: LeaderConfig,
    /// What this server does as an observer.
    pub observer: ObserverConfig,
    /// `localSessionsEnabled`: sessions begin as this server's own.
    pub local_sessions_enabled: bool,
    /// `localSessionsUpgradingEnabled`: they become everybody's when they create an ephemeral node.
    pub local_sessions_upgrading_enabled: bool,
    /// `db.autocreate`: whether a server without data and without the file `initialize` may vote.
    pub db_autocreate: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// The main file, which is rewritten when the members change.
    pub file: Option<PathBuf>,
    /// `standaloneEnabled`.
    pub standalone_enabled: bool,
}

/// Where members are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersOrigin {
    /// In a file of their own: `dynamicConfigFile`, as written.
    Dynamic(PathBuf),
    /// In the main file.
    Static,
}

/// Elections and the connections they are held over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionConfig {
    /// `cnxTimeout`; `None` waits as long as the system does.
    pub connect_timeout_ms: Option<u32>,
    /// `quorumCnxnTimeoutMs`, else `syncLimit`: how long a new connection may take to say who it is.
    pub read_timeout_ms: u64,
    /// `electionPortBindRetry`; `None` never gives up.
    pub bind_tries: Option<u32>,
    /// `tcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `fastleader.minNotificationInterval`; at least 1.
    pub notification_min_ms: u32,
    /// `fastleader.maxNotificationInterval`; at least 1.
    pub notification_max_ms: u32,
}

/// Members with several addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiAddressConfig {
    /// `multiAddress.enabled`; also what others learn of it, who then are told all addresses.
    pub enabled: bool,
    /// `multiAddress.reachabilityCheckEnabled`.
    pub reachability_check_enabled: bool,
    /// `multiAddress.reachabilityCheckTimeoutMs`.
    pub reachability_check_timeout_ms: u32,
}

/// What this server does as a leader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaderConfig {
    /// `leaderServes`: whether it takes clients.
    pub serves_clients: bool,
    /// `leader.maxConcurrentSnapSyncs`; at least 1.
    pub snap_syncs_max: u32,
    /// `leader.maxConcurrentDiffSyncs`; at least 1.
    pub diff_syncs_max: u32,
    /// `leader.maxTimeToWaitForEpoch`; `None` waits for `init_limit`.
    pub epoch_wait_max_ms: Option<u32>,
    /// `forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// `commitLogCount`; at least 500.
    pub commit_log_count: u32,
    /// `snapshotSizeFactor`; `None` synchronises nobody from the log on disk.
    pub snapshot_size_factor: Option<f64>,
}

/// What this server does as an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObserverConfig {
    /// `observer.election.DelayMs`: less than so long it waits before it looks for the leader again.
    pub election_delay_ms: u64,
    /// `observer.reconnectDelayMs`: less than so long it waits before it connects again.
    pub reconnect_delay_ms: u64,
    /// `syncEnabled`: whether it writes to disk; not served by this version, which always does.
    pub sync_enabled: bool,
}

impl EnsembleConfig {
    /// This server's own line.
    #[must_use]
    pub fn own(&self) -> &Member {
        self.members
            .servers()
            .get(&self.me)
            .expect("a configuration in which this server is no member does not load")
    }

    /// Whether this server votes.
    #[must_use]
    pub fn role(&self) -> Role {
        self.own().role
    }

    /// What `conf` prints of a member behind what it prints of every server. The membership in force may be another
    /// than the configured one.
    ///
    /// ZooKeeper: `QuorumZooKeeperServer.dumpConf`, `ReadOnlyZooKeeperServer.dumpConf`.
    pub(super) fn conf(&self, text: &mut String, in_force: &Members, is_read_only: bool) {
        let own = in_force.servers().get(&self.me).unwrap_or(self.own());
        let ports = |port: &dyn Fn(usize) -> u16| {
            let mut ports: Vec<String> = Vec::new();
            for at in 0..own.addresses.len() {
                let port = port(at).to_string();
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            ports.join("|")
        };
        let election_ports = ports(&|at| own.addresses[at].election_port);
        let quorum_ports = ports(&|at| own.addresses[at].quorum_port);
        let peer_type = match own.role {
            Role::Participant => 0,
            Role::Observer => 1,
        };
        write!(
            text,
            "initLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={election_ports}\n\
             quorumPort={quorum_ports}\npeerType={peer_type}\n",
            self.init_limit, self.sync_limit,
        )
        .expect("a String takes all that is written to it");
        if !is_read_only {
            text.push_str("membership: \n");
            text.push_str(&in_force.text());
        }
    }
}

/// Reads what a member goes by; `None` only with an error reported, or if this server stands alone.
///
/// ZooKeeper: `QuorumPeerConfig.setupPeerType`, `checkValidity`.
pub(super) fn read(settings: &mut Settings, membership: &Membership) -> Option<EnsembleConfig> {
    if !membership.is_member {
        check_peer_type(settings, membership, Role::Participant);
        return None;
    }
    settings.report_not_served_in_ensembles();
    let limits = [
        "initLimit",
        "syncLimit",
        "leader.maxConcurrentSnapSyncs",
        "leader.maxConcurrentDiffSyncs",
        "fastleader.minNotificationInterval",
        "fastleader.maxNotificationInterval",
    ];
    let [
        init,
        sync,
        snap_syncs,
        diff_syncs,
        min_notification,
        max_notification,
    ] = limits.map(|name| at_least_one(settings, name));
    let connect_timeout_ms = settings.limit("cnxTimeout");
    if settings.int("cnxTimeout").is_some_and(|ms| ms < 0) {
        let message = "is negative, where 0 or more is allowed";
        settings.report(Severity::Error, "cnxTimeout", message);
    }
    let snapshot_size_factor = snapshot_size_factor(settings);
    let ensemble = membership.ensemble.as_ref()?;
    let me = ServerId(membership.server_id?);
    let own = ensemble.members.servers().get(&me)?;
    check_peer_type(settings, membership, own.role);
    let (init_limit, sync_limit) = (init?, sync?);
    let tick_ms = settings.count("tickTime");
    let read_timeout_ms = settings.limit("quorumCnxnTimeoutMs");
    let delay = |name: &str| u64::try_from(settings.int(name).unwrap_or(0)).unwrap_or(0);
    Some(EnsembleConfig {
        me,
        members: Arc::clone(&ensemble.members),
        next: ensemble.next.clone(),
        origin: ensemble.origin.clone(),
        tick_ms,
        init_limit,
        sync_limit,
        connect_limit: settings
            .limit("connectToLearnerMasterLimit")
            .unwrap_or(init_limit),
        connect_retry_delay_ms: settings.count("leaderConnectDelayDuringRetryMs"),
        listen_on_all_ips: settings.flag("quorumListenOnAllIPs"),
        election: ElectionConfig {
            connect_timeout_ms,
            read_timeout_ms: read_timeout_ms
                .map_or(u64::from(tick_ms) * u64::from(sync_limit), u64::from),
            bind_tries: settings.limit("electionPortBindRetry"),
            tcp_keep_alive: settings.flag("tcpKeepAlive"),
            notification_min_ms: min_notification?,
            notification_max_ms: max_notification?,
        },
        multi_address: MultiAddressConfig {
            enabled: settings.flag("multiAddress.enabled"),
            reachability_check_enabled: settings.flag("multiAddress.reachabilityCheckEnabled"),
            reachability_check_timeout_ms: settings
                .count("multiAddress.reachabilityCheckTimeoutMs"),
        },
        leader: LeaderConfig {
            serves_clients: settings.flag("leaderServes"),
            snap_syncs_max: snap_syncs?,
            diff_syncs_max: diff_syncs?,
            epoch_wait_max_ms: settings
                .int("leader.maxTimeToWaitForEpoch")
                .and_then(|ms| u32::try_from(ms).ok()),
            force_snapshot_sync: settings.flag("forceSnapshotSync"),
            commit_log_count: settings.count("commitLogCount"),
            snapshot_size_factor,
        },
        observer: ObserverConfig {
            election_delay_ms: delay("observer.election.DelayMs"),
            reconnect_delay_ms: delay("observer.reconnectDelayMs"),
            sync_enabled: settings.flag("syncEnabled"),
        },
        local_sessions_enabled: settings.flag("localSessionsEnabled"),
        local_sessions_upgrading_enabled: settings.flag("localSessionsUpgradingEnabled"),
        db_autocreate: settings.flag("db.autocreate"),
        reconfig_enabled: settings.flag("reconfigEnabled"),
        file: membership.file.clone(),
        standalone_enabled: settings.flag("standaloneEnabled"),
    })
}

/// A number that an ensemble cannot do without.
fn at_least_one(settings: &mut Settings, name: &str) -> Option<u32> {
    let number = settings.limit(name);
    if number.is_none() {
        let message = match settings.int(name) {
            Some(number) if settings.is_written(name) => {
                format!("{number} was given, where a whole number, 1 or more is allowed")
            }
            _ => "is not set, which a member of an ensemble needs".to_owned(),
        };
        settings.report(Severity::Error, name, message);
    }
    number
}

/// The members decide who votes.
fn check_peer_type(settings: &mut Settings, membership: &Membership, by_list: Role) {
    let is_observer = by_list == Role::Observer;
    let says_observer = settings.text("peerType").as_deref() == Some("observer");
    if is_observer == says_observer {
        return;
    }
    if settings.is_written("peerType") {
        let listed = if is_observer {
            "an observer"
        } else {
            "a participant"
        };
        let message = format!("is not in force: by the list of members this server is {listed}");
        settings.report(Severity::Warning, "peerType", message);
    } else {
        let message = "this server is an observer; peerType=observer would say so as well";
        membership.report(settings, membership.server_id, Severity::Note, message);
    }
}

/// ZooKeeper: `ZKDatabase.<init>`.
fn snapshot_size_factor(settings: &mut Settings) -> Option<f64> {
    let factor = settings.decimal("snapshotSizeFactor");
    if factor > 1.0 {
        let message = format!("{factor} is more than 1, so that 0.33 is in force, as in ZooKeeper");
        settings.report(Severity::Warning, "snapshotSizeFactor", message);
        return Some(0.33);
    }
    Some(factor).filter(|factor| *factor >= 0.0)
}
