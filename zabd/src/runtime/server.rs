//! A running server: built, started, stopped.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tracing::{error, info, warn};

use super::clock::SystemClock;
use super::driver::Driver;
use super::figures::DriverFigures;
use super::folder::{FoldFigures, FoldSignal, Folder};
use super::history::History;
use super::mailbox::{Bringer, Mailbox};
use super::membership::Membership;
use super::milestones::Milestones;
use super::peers::{Peers, PeersError};
use super::publish::WAITING_SILENCE_MS;
use super::recover::{
    RecoverError, Recovery, begin_or_repair, end_for_repair, import_java_data, is_snapshot_damaged,
    others_suffice, recover, recovered, refuse_incomplete,
};
use super::settings;
use super::work::Work;
use crate::admin::{
    AdminContext, FourLetterWords, LearnerCounts, MemberFigures, Metrics, RuntimeFigures,
};
use crate::auth::Providers;
use crate::config::{ConfFigures, Config, EnsembleConfig};
use crate::net::client::{
    ClientContext, Connections, ListenerInfo, ServeError, ServeHandle, serve,
};
use crate::net::stats::ServerStats;
use crate::replica::Replica;
use crate::replica::comparing::Comparing;
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::{Configs, Members};
use crate::replica::input::Input;
use crate::replica::zab::{Recovered, ZabInput};
use crate::state::{Service, State, StateParams};
use crate::storage::disk::{Disk as _, RealDisk, RealLock};
use crate::storage::epochs::EpochFile;
use crate::storage::layout::Layout;
use crate::storage::log_thread::{FsyncStats, LogEvent, LogThread};
use crate::storage::recovery::Storage;
use crate::storage::retention::purge_up_to;
use crate::storage::snapshot::RocksStore;
use crate::storage::txn_log::LogError;

/// A server that does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory is not there and must not be made.
    #[error("data directory {0} does not exist, and datadir.autocreate is false")]
    NoDataDir(PathBuf),
    /// The data cannot be used.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The other servers cannot be talked to.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// Clients cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A thread cannot be made.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it without [`Server::stop`] leaves the data as a crash would: nothing is lost.
pub struct Server {
    clients: ServeHandle,
    mailbox: Arc<Mailbox>,
    driver: JoinHandle<()>,
    fold_signal: Arc<FoldSignal<RocksStore>>,
    folder: JoinHandle<()>,
    log: LogThread,
    // Keeps other processes out of the data for as long as threads may write it.
    _lock: RealLock,
}

/// What several threads of a server look at.
#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    layout: Layout,
    clock: SystemClock,
    state: Arc<RwLock<State>>,
    mailbox: Arc<Mailbox>,
    connections: Arc<Connections>,
    driver: Arc<DriverFigures>,
    folds: Arc<FoldFigures>,
    startup: (u64, u64),
}

impl Server {
    /// Recovers the data and starts serving.
    ///
    /// # Errors
    /// When the data cannot be used, an address cannot be listened on, or the system gives no threads. Nothing was
    /// changed then, short of a torn tail that was cut.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let clock = SystemClock::start();
        let has_data = |name| config.data_dir.join(name).is_dir();
        if !config.data_dir_autocreate && !has_data("zabd") && !has_data("version-2") {
            return Err(StartError::NoDataDir(config.data_dir));
        }
        let state_params = settings::state(&config, RealDisk.entropy());
        import_java_data(
            &settings::storage(&config),
            state_params.clone(),
            settings::conn(&config).field_bytes_max,
            are_others_enough(&config),
        )?;
        let (recovery, member) = begin(&config, &state_params)?;
        let startup_ms = clock.monotonic().now_ms().cast_unsigned();
        let figures = recovery.state.figures();
        info!(
            zxid = %recovery.state.last_zxid(), znodes = figures.nodes, sessions = figures.sessions,
            replayed = recovery.replayed, elapsed_ms = startup_ms, "data recovered"
        );
        let Recovery {
            mut state,
            storage,
            snapshot_zxid,
            replayed,
        } = recovery;
        let epochs = EpochFile::new(&storage.layout);
        let mut effects = Vec::new();
        let replica = match (&config.ensemble, member) {
            (Some(ensemble), Some(recovered)) => {
                state.set_service(Service::None);
                Replica::member(
                    settings::replica(&config),
                    settings::zab(ensemble),
                    configs_of(ensemble, &state),
                    recovered,
                    clock.now(),
                    &mut effects,
                )
            }
            _ => Replica::standalone(
                settings::replica(&config),
                clock.now(),
                &state,
                &mut effects,
            ),
        };
        let Storage {
            log,
            snapshot: store,
            layout,
            lock,
            ..
        } = storage;

        let shared = Shared {
            connections: Arc::new(Connections::new(settings::net(&config).outbox_bytes_max)),
            config: Arc::new(config),
            layout,
            clock,
            state: Arc::new(RwLock::new(state)),
            mailbox: Arc::default(),
            driver: Arc::default(),
            folds: Arc::default(),
            startup: (startup_ms, replayed),
        };
        let (index, reader) = (log.index(), log.index());
        let durable = Arc::clone(&shared.mailbox);
        let log = LogThread::spawn(log, settings::log_thread(&shared.config), move |event| {
            on_log_event(event, &durable);
        })
        .map_err(StartError::Thread)?;
        let log_handle = log.handle();

        shared
            .folds
            .durable_zxid
            .store(snapshot_zxid.0, Ordering::Relaxed);
        let fold_signal = Arc::new(FoldSignal::new(settings::folds(&shared.config)));
        let repairs = are_others_enough(&shared.config);
        let damaged = shared.layout.clone();
        let (retain, purge) = (shared.config.storage.snap_retain_count, log_handle.clone());
        let folder = Folder {
            state: Arc::clone(&shared.state),
            store,
            signal: Arc::clone(&fold_signal),
            figures: Arc::clone(&shared.folds),
            folded: snapshot_zxid,
            on_failure: Box::new(move |problem| {
                if repairs && is_snapshot_damaged(problem) {
                    end_for_repair(&damaged);
                }
            }),
            on_durable: Box::new(move |zxid| {
                if let Some(zxid) = purge_up_to(&index.segment_bases(), Some(zxid), retain as usize)
                {
                    purge.purge(zxid);
                }
            }),
        };
        let folder = spawn("zabd-folder", move || folder.run())?;

        let peers = match &shared.config.ensemble {
            None => None,
            Some(ensemble) => {
                let field_bytes_max = settings::conn(&shared.config).field_bytes_max;
                let history = History {
                    state: Arc::clone(&shared.state),
                    state_params,
                    folder: Arc::clone(&fold_signal),
                    log: log_handle.clone(),
                    log_options: settings::storage(&shared.config).log,
                    index: reader,
                    layout: shared.layout.clone(),
                    mailbox: Arc::clone(&shared.mailbox),
                    field_bytes_max,
                    log_share: ensemble.leader.snapshot_size_factor.unwrap_or(-1.0),
                    folds: Arc::clone(&shared.folds),
                    log_begins: AtomicI64::new(0),
                    mismatch_behind: Mutex::default(),
                    others_suffice: AtomicBool::new(false),
                };
                let configs = replica.zab().map_or_else(
                    || Configs::of(Arc::clone(&ensemble.members)),
                    |zab| zab.configs().clone(),
                );
                Some(Peers::start(
                    ensemble,
                    &configs,
                    Arc::new(history),
                    field_bytes_max,
                )?)
            }
        };
        let after_batch = Arc::clone(&fold_signal);
        let log_figures = log_handle.figures();
        // Before anything is counted.
        drop(Metrics::of_process());
        let is_member = shared.config.ensemble.is_some();
        let milestones = Milestones::new(clock.monotonic().now_ms(), is_member);
        let rebinder = Arc::new(OnceLock::new());
        let membership = shared
            .config
            .ensemble
            .as_ref()
            .map(|ensemble| Membership::new(&shared.config, ensemble, Arc::clone(&rebinder)));
        let clients = shared.serve(&log_figures)?;
        for address in clients.local_addrs() {
            info!(%address, "serving clients");
        }
        // Nobody else has it yet.
        drop(rebinder.set(clients.rebinder()));
        let driver = Driver {
            replica,
            state: Arc::clone(&shared.state),
            clock,
            mailbox: Arc::clone(&shared.mailbox),
            connections: Arc::clone(&shared.connections),
            log: log_handle,
            epochs,
            peers,
            membership,
            figures: Arc::clone(&shared.driver),
            quota_silence_until_ms: 0,
            diverged: None,
            comparing: Comparing::default(),
            waiting_said_ms: WAITING_SILENCE_MS,
            milestones,
            after_batch: Box::new(move |report| after_batch.after_batch(report)),
            work: Work::begin(effects),
        };
        let driver = spawn("zabd-driver", move || driver.run())?;
        Ok(Self {
            clients,
            mailbox: shared.mailbox,
            driver,
            fold_signal,
            folder,
            log,
            _lock: lock,
        })
    }

    /// The addresses that clients connect to.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.clients.local_addrs()
    }

    /// Closes the connections, brings the snapshot up to date and seals the log. Sessions live on, for the next start.
    ///
    /// # Errors
    /// When the disk takes no more writes: what was not acknowledged is lost, nothing else.
    pub fn stop(self) -> Result<(), LogError> {
        self.clients.stop();
        self.mailbox.stop();
        join("driver", self.driver);
        self.fold_signal.stop();
        join("folder", self.folder);
        self.log.shutdown()
    }
}

/// What is on disk, and what a member of an ensemble begins with.
fn begin(
    config: &Config,
    params: &StateParams,
) -> Result<(Recovery, Option<Recovered>), RecoverError> {
    let options = settings::storage(config);
    let layout = Layout::new(&options.data_dir, &options.data_log_dir);
    let Some(ensemble) = &config.ensemble else {
        refuse_incomplete(&layout)?;
        return Ok((recover(&options, params.clone())?, None));
    };
    let zab = settings::zab(ensemble);
    // The file says it once.
    let initialize = config.data_dir.join("initialize");
    let may_be_new = ensemble.db_autocreate || std::fs::remove_file(initialize).is_ok();
    let begin = || {
        let recovery = recover(&options, params.clone())?;
        let Recovery { state, storage, .. } = &recovery;
        let recent = (zab.recent_max, zab.recent_bytes_max);
        let recovered = recovered(storage, state, recent, may_be_new)?;
        Ok((recovery, Some(recovered)))
    };
    if others_suffice(&ensemble.members, ensemble.me) {
        begin_or_repair(&layout, begin)
    } else {
        begin()
    }
}

/// Whether this is a member of an ensemble that has a quorum without it.
fn are_others_enough(config: &Config) -> bool {
    let ensemble = config.ensemble.as_ref();
    ensemble.is_some_and(|ensemble| others_suffice(&ensemble.members, ensemble.me))
}

/// What this server knows of the membership: the files, and what the log says of a change.
fn configs_of(ensemble: &EnsembleConfig, state: &State) -> Configs {
    let configs = Configs::of(Arc::clone(&ensemble.members));
    if !ensemble.reconfig_enabled {
        return configs;
    }
    let standalone = settings::standalone(ensemble.standalone_enabled);
    let mut configs = configs.with_logged(state.config(), standalone);
    if let Some(next) = &ensemble.next
        && next.version() > configs.proposed.version()
    {
        configs.proposed = Arc::clone(next);
        warn!(
            file = format!("{:x}", configs.committed.version()),
            next = format!("{:x}", next.version()),
            "a change of the members was proposed to ZooKeeper here (zoo.cfg.dynamic.next): unless another server knows which is \
             in force, a quorum of both is needed, and completes it"
        );
    } else if configs.is_changing() {
        warn!(
            file = format!("{:x}", configs.committed.version()),
            log = format!("{:x}", configs.proposed.version()),
            "the log has a newer membership than the files: unless another server knows which is in force, a quorum of both is \
             needed"
        );
    }
    configs
}

impl Shared {
    fn serve(&self, log: &Arc<FsyncStats>) -> Result<ServeHandle, StartError> {
        let params = Arc::new(settings::net(&self.config));
        let stats = Arc::new(ServerStats::default());
        let auth = Arc::new(Providers::new(settings::auth(&self.config)));
        let four_letter =
            FourLetterWords::new(self.admin(Arc::clone(&stats), Arc::clone(&auth), log));
        let context = ClientContext {
            state: Arc::clone(&self.state),
            connections: Arc::clone(&self.connections),
            replica: Arc::clone(&self.mailbox) as _,
            auth,
            conn_params: Arc::new(settings::conn(&self.config)),
            params,
            stats,
            four_letter: Arc::new(four_letter),
            clock: self.clock.monotonic(),
        };
        let threads = self.config.connections.io_threads.unwrap_or(0) as usize;
        Ok(serve(&settings::listeners(&self.config), context, threads)?)
    }

    fn admin(
        &self,
        stats: Arc<ServerStats>,
        auth: Arc<Providers>,
        log: &Arc<FsyncStats>,
    ) -> AdminContext {
        let (mailbox, config) = (Arc::clone(&self.mailbox), Arc::clone(&self.config));
        let (conf, dirs, runtime) = (self.clone(), self.clone(), self.clone());
        let member = self.clone();
        AdminContext {
            state: Arc::clone(&self.state),
            connections: Arc::clone(&self.connections),
            stats,
            clock: self.clock.monotonic(),
            log: Arc::clone(log),
            metrics: Metrics::of_process(),
            auth,
            session_deadlines: Arc::new(move || mailbox.session_deadlines()),
            conf: Arc::new(move |listener| conf.conf_text(listener)),
            dir_bytes: Arc::new(move || dirs.dir_bytes()),
            is_enabled: Arc::new(move |word| config.four_letter_whitelist.allows(word)),
            runtime: Arc::new(move || runtime.figures()),
            member: Arc::new(move || member.member_figures()),
            proposal_sizes: Arc::clone(&self.driver.proposal_sizes),
        }
    }

    fn conf_text(&self, listener: &ListenerInfo) -> String {
        let (data_dir_bytes, data_log_bytes) = self.dir_bytes();
        self.config.conf(&ConfFigures {
            client_port: listener.local_addr.port(),
            data_dir: &self.layout.snapshot_dir,
            data_dir_bytes,
            data_log_dir: &self.layout.log_dir,
            data_log_bytes,
            members: self.members().as_deref(),
            is_read_only: self
                .member_figures()
                .is_some_and(|member| member.is_read_only),
        })
    }

    /// Those in force, as far as the driver has said so.
    fn members(&self) -> Option<Arc<Members>> {
        let place = self
            .driver
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        place.members.clone()
    }

    fn dir_bytes(&self) -> (u64, u64) {
        (
            bytes_below(&self.layout.snapshot_dir),
            bytes_below(&self.layout.log_dir),
        )
    }

    fn member_figures(&self) -> Option<MemberFigures> {
        let configured = &self.config.ensemble.as_ref()?.members;
        let place = self
            .driver
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let members = place.members.as_ref().unwrap_or(configured);
        Some(MemberFigures {
            role: place.role,
            is_read_only: place.is_read_only,
            leader: place.leader,
            quorum_size: members.voters().count(),
            learners: LearnerCounts::of(&place.learners, |server| members.is_voter(server)),
            pending_syncs: place.pending_syncs,
            leading_since_ms: place.leading_since_ms,
        })
    }

    fn figures(&self) -> RuntimeFigures {
        RuntimeFigures {
            proposed: self.driver.proposed.load(Ordering::Relaxed),
            committed: self.driver.committed.load(Ordering::Relaxed),
            sessions_expired: self.driver.sessions_expired.load(Ordering::Relaxed),
            digest_mismatches: self.driver.digest_mismatches.load(Ordering::Relaxed),
            outstanding_txns: self.driver.outstanding.load(Ordering::Relaxed),
            sessions: self.driver.sessions.load(Ordering::Relaxed),
            local_sessions: self.driver.local_sessions.load(Ordering::Relaxed),
            folds: self.folds.folds.load(Ordering::Relaxed),
            fold_ms_total: self.folds.ms_total.load(Ordering::Relaxed),
            last_fold_zxid: self.folds.durable_zxid.load(Ordering::Relaxed),
            startup_ms: self.startup.0,
            startup_txns: self.startup.1,
        }
    }
}

/// What the log thread says; runs on it.
fn on_log_event(event: LogEvent, mailbox: &Mailbox) {
    match event {
        LogEvent::Durable(seq) => {
            mailbox.put_and_deal(Bringer::Log, [Input::Durable(WriteSeq(seq.0))]);
        }
        LogEvent::Trouble(problem) => {
            error!(
                problem = %chain(&problem),
                "cannot write the transaction log: writes wait and are not acknowledged, and a server that stands alone \
                 answers reads; make room on the disk or mend it"
            );
            mailbox.put([Input::Peer(ZabInput::LogTrouble)]);
        }
        LogEvent::Healed => info!("the transaction log can be written again; nothing was lost"),
        LogEvent::Failed(problem) => {
            error!(
                problem = %chain(&problem),
                "the transaction log takes nothing any more: ending the process; please report this"
            );
            std::process::abort();
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut cause = problem.source();
    while let Some(problem) = cause {
        text.push_str(": ");
        text.push_str(&problem.to_string());
        cause = problem.source();
    }
    text
}

/// Ends the process at once, over something that has been said.
pub(super) fn end_process() -> ! {
    std::process::abort()
}

/// A thread that the server cannot do without: if it panics the process ends, so that whoever watches over it starts it
/// anew, with everything that was acknowledged. Going on without it would look alive and not be.
fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            error!(
                name,
                "a thread of the server panicked: ending the process; please report this"
            );
            std::process::abort();
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(StartError::Thread)
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        error!(name, "a thread of the server panicked; please report this");
    }
}

/// Bytes of the files below a directory; what cannot be looked at counts nothing.
pub(super) fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// How long a server that was told to stop may take before the process ends all the same.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
