//! The history of a member of an ensemble as a whole: cut, replaced, sent and received.
//!
//! All of that needs the snapshot, which belongs to the folder's thread, so it is done there, between folds. The state
//! changes hands under its lock; nobody is served meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use jute_codec::Zxid;
use thiserror::Error;
use tracing::{error, info, warn};

use super::folder::{FoldFigures, FoldSignal};
use super::mailbox::{Bringer, Mailbox};
use super::recover::{end_for_repair, is_log_damaged, is_snapshot_damaged};
use super::server::{chain, end_process};
use crate::image::rebuild::{RebuildError, Rebuilt, Sources};
use crate::image::{
    Behind, BehindLimits, ReceiveError, SendError, SnapshotReceiver, SnapshotStream, TakenOver,
};
use crate::replica::ensemble::ServerId;
use crate::replica::input::Input;
use crate::replica::zab::{LinkId, LogPlace, ZabInput};
use crate::state::{DigestMismatch, Service, State, StateParams};
use crate::storage::disk::RealDisk;
use crate::storage::install::{Incomplete, InstallError, Installation};
use crate::storage::layout::Layout;
use crate::storage::log_thread::{DurableWrite, LogHandle, SubmitError};
use crate::storage::snapshot::{RocksStore, SnapshotError, SnapshotStore};
use crate::storage::txn_log::{self, LogError, LogHold, LogIndex, LogOptions, StagedLog, Unusable};

/// Log, snapshot and state together.
pub(super) struct History {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) state_params: StateParams,
    pub(super) folder: Arc<FoldSignal<RocksStore>>,
    pub(super) log: LogHandle,
    pub(super) log_options: LogOptions,
    pub(super) index: LogIndex<RealDisk>,
    pub(super) layout: Layout,
    pub(super) mailbox: Arc<Mailbox>,
    /// The longest string or buffer that is taken from other servers, in bytes.
    pub(super) field_bytes_max: usize,
    /// How much of the log a learner is sent rather than a snapshot, as a part of the snapshot's size; negative for
    /// never. ZooKeeper: `zookeeper.snapshotSizeFactor`.
    pub(super) log_share: f64,
    /// As of when the snapshot is.
    pub(super) folds: Arc<FoldFigures>,
    /// The log before this transaction is damaged, and needed for nothing but to bring learners up to date.
    pub(super) log_begins: AtomicI64,
    /// See [`History::take_mismatch_behind`].
    pub(super) mismatch_behind: Mutex<Option<DigestMismatch>>,
    /// The others are a quorum without this server, so they can make its copy whole again.
    pub(super) others_suffice: AtomicBool,
}

/// The folder has ended, or the log has: the server stops.
#[derive(Debug, Error)]
#[error("the server is stopping")]
pub(super) struct Stopping;

impl From<Stopping> for io::Error {
    fn from(stopping: Stopping) -> Self {
        Self::other(stopping)
    }
}

impl History {
    /// Says what happened to the replica.
    pub(super) fn tell(&self, input: ZabInput) {
        self.mailbox.put([Input::Peer(input)]);
    }

    /// Says what happened on a connection to another server.
    pub(super) fn tell_all(&self, inputs: &mut Vec<ZabInput>) {
        let inputs = inputs.drain(..).map(Input::Peer);
        self.mailbox.put_and_deal(Bringer::Peer, inputs);
    }

    /// Does something with the snapshot, and waits for it.
    fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut RocksStore, &Sender<T>) -> Option<Zxid> + Send + 'static,
    ) -> Result<T, Stopping> {
        let (answer, answered) = channel();
        self.folder.job(Box::new(move |store| work(store, &answer)));
        answered.recv().map_err(|_| Stopping)
    }

    fn replace_state(&self, mut state: State) {
        state.set_service(Service::None);
        let former = std::mem::replace(
            &mut *self.state.write().unwrap_or_else(PoisonError::into_inner),
            state,
        );
        // A large tree takes its time, and nobody has to wait for it.
        drop(former);
    }

    /// Forgets everything after `zxid`.
    pub(super) fn truncate(self: &Arc<Self>, zxid: Zxid) {
        let this = Arc::clone(self);
        self.folder.job(Box::new(move |store| {
            let sources = Sources {
                layout: &this.layout,
                snapshot: store,
                log: this.index.clone(),
            };
            let cut = |zxid| this.write(DurableWrite::TruncateAfter(zxid));
            match sources.truncate(zxid, this.state_params.clone(), cut) {
                Ok(Rebuilt { state, .. }) => {
                    this.replace_state(state);
                    info!(%zxid, "transactions that the leader does not have are forgotten");
                    this.tell(ZabInput::Truncated { zxid });
                }
                Err(problem) => {
                    match &problem {
                        RebuildError::Log(problem) => this.on_log_problem_here(problem),
                        RebuildError::Snapshot(problem) => this.on_snapshot_problem(problem),
                        _ => {}
                    }
                    error!(
                        %zxid, problem = %chain(&problem),
                        "the leader wants everything after a transaction forgotten, and that cannot be done. If this server's \
                         copy is not needed any more, move its zabd directories away and let it synchronise"
                    );
                    end_process();
                }
            }
            None
        }));
    }

    /// Makes the state anew out of what is on disk, after a transaction that the leader came to another tree by, and says
    /// whether that is the leader's.
    pub(super) fn check(self: &Arc<Self>, mismatch: Option<DigestMismatch>) {
        let this = Arc::clone(self);
        self.folder.job(Box::new(move |store| {
            let Some(mismatch) = mismatch else {
                // The state was made anew since.
                this.tell(ZabInput::Checked { agrees: true });
                return None;
            };
            let agrees = match this.rebuild(store, mismatch) {
                Ok(digest) => digest == Some(mismatch.expected),
                Err(problem) => {
                    error!(problem = %chain(&problem), "this server cannot make its tree anew out of what is on disk");
                    // If nobody can help, it must not go on with what it has.
                    this.on_damage();
                    end_process();
                }
            };
            if agrees {
                error!(
                    zxid = %mismatch.zxid,
                    "what is on disk comes to the leader's tree: this server's memory was wrong, and is made anew. Please \
                     report this; or the machine's memory is failing"
                );
            } else {
                error!(
                    zxid = %mismatch.zxid,
                    "what is on disk does not come to the leader's tree either: if the leader keeps a quorum without this \
                     server, this one takes over the leader's copy; if not, the others take over another's. Please report this"
                );
            }
            this.tell(ZabInput::Checked { agrees });
            None
        }));
    }

    /// Replaces the state by one made of what is on disk; the digest as of the transaction in question.
    fn rebuild(
        &self,
        store: &RocksStore,
        mismatch: DigestMismatch,
    ) -> Result<Option<u64>, RebuildError> {
        // A transaction may have been applied before it was on disk.
        self.write(DurableWrite::Append(Vec::new()))?;
        let sources = Sources {
            layout: &self.layout,
            snapshot: store,
            log: self.index.clone(),
        };
        let now = self
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last_zxid();
        let params = self.state_params.clone();
        let (rebuilt, digest) = sources.through_and_digest_at(now, mismatch.zxid, params)?;
        self.replace_state(rebuilt.state);
        Ok(digest)
    }

    fn write(&self, write: DurableWrite) -> Result<(), LogError> {
        self.log
            .write_and_wait(write)
            .map_err(|problem: SubmitError| LogError::Refused(problem.to_string()))
    }

    /// Begins to take a snapshot.
    pub(super) fn begin_to_receive(
        &self,
        zxid: Zxid,
    ) -> Result<Result<SnapshotReceiver, ReceiveError>, Stopping> {
        let (params, limit) = (self.state_params.clone(), self.field_bytes_max);
        self.with_store(move |store, answer| {
            answer
                .send(SnapshotReceiver::begin(store, zxid, params, limit))
                .ok();
            None
        })
    }

    /// Begins to take what comes behind a snapshot, up to transactions of `epoch`.
    pub(super) fn begin_behind(
        &self,
        state: State,
        epoch: i64,
    ) -> Result<Behind<RealDisk>, LogError> {
        // The log makes no segment any more that the staged ones would not come after.
        self.write(DurableWrite::Append(Vec::new()))?;
        let dir = &self.layout.received_log_dir;
        let after = state.last_zxid();
        let log = StagedLog::begin(&RealDisk, dir, self.log_options, &self.index, after)?;
        let limits = BehindLimits {
            epoch,
            data_bytes_max: self.field_bytes_max,
            pending_bytes_max: PENDING_BYTES_MAX,
        };
        Ok(Behind::begin(state, log, limits))
    }

    /// Puts what was received in the place of everything, and says so.
    pub(super) fn install(
        self: &Arc<Self>,
        taken_over: TakenOver,
    ) -> Result<Result<(), InstallError>, Stopping> {
        let this = Arc::clone(self);
        self.with_store(move |store, answer| {
            let TakenOver {
                received,
                state,
                pending,
                successor,
                mismatch,
            } = taken_over;
            let installation = match Installation::begin(&RealDisk, &this.layout, received) {
                Ok(installation) => installation,
                Err(problem) => {
                    if let Err(problem) = Installation::take_back(&RealDisk, &this.layout) {
                        error!(problem = %chain(&problem), "a snapshot can neither be put in place nor given up");
                        end_process();
                    }
                    answer.send(Err(problem)).ok();
                    return None;
                }
            };
            let adopt_log = || {
                let dir = this.layout.received_log_dir.clone();
                this.write(DurableWrite::Adopt(dir))?;
                Ok(this.index.clone())
            };
            if let Err(problem) = installation.finish(&RealDisk, store, adopt_log) {
                error!(
                    problem = %chain(&problem),
                    "a snapshot from the leader cannot be put in place; the next start goes on with that"
                );
                end_process();
            }
            let zxid = state.last_zxid();
            this.replace_state(state);
            info!(
                snapshot = %received.snapshot, through = %received.through,
                "the leader's snapshot is in place, and the log behind it"
            );
            *this.behind() = mismatch;
            this.tell(ZabInput::Installed {
                zxid,
                pending,
                successor: successor.map(ServerId),
            });
            answer.send(Ok(())).ok();
            Some(received.snapshot)
        })
    }

    /// What comparisons came to of what was taken over together with the newest snapshot; told once.
    pub(super) fn take_mismatch_behind(&self) -> Option<DigestMismatch> {
        self.behind().take()
    }

    fn behind(&self) -> MutexGuard<'_, Option<DigestMismatch>> {
        self.mismatch_behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader's whole history is on disk.
    pub(super) fn is_whole(&self) {
        if let Err(problem) = self.incomplete().clear(&RealDisk) {
            // The next start is careful without need.
            error!(problem = %chain(&problem), "cannot remove the mark of a history that was incomplete");
        }
    }

    fn incomplete(&self) -> Incomplete {
        Incomplete::new(&self.layout)
    }

    /// What was staged is not wanted any more.
    pub(super) fn discard(&self) {
        let dir = self.layout.received_log_dir.clone();
        self.folder.job(Box::new(move |store| {
            if let Err(problem) = store.discard_staged() {
                error!(problem = %chain(&problem), "what is left of a snapshot that broke off cannot be removed");
            }
            if let Err(problem) = StagedLog::discard(&RealDisk, &dir) {
                error!(problem = %chain(&problem), "what is left of a log that broke off cannot be removed");
            }
            None
        }));
    }

    /// The snapshot as it is now, to be sent, and the log behind it, which stays for as long as the hold lives; `None` while
    /// there is none.
    pub(super) fn stream(
        &self,
        slice_bytes: usize,
    ) -> Result<Result<Option<(SnapshotStream, LogHold)>, SendError>, Stopping> {
        let index = self.index.clone();
        self.with_store(move |store, answer| {
            let opened = SnapshotStream::open(store, &index, slice_bytes);
            answer.send(opened).ok();
            None
        })
    }

    /// Brings the snapshot up to date before it is sent, if much of the log would have to be sent behind it; `beat` is
    /// called meanwhile. Only what is committed goes into it, so there is nothing to wait for while nobody is served.
    pub(super) fn fold_first(&self, mut beat: impl FnMut()) {
        let (is_serving, now) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.is_serving(), state.last_zxid())
        };
        if !is_serving || self.folder.logged_since_fold() <= LOG_BYTES_MIN {
            return;
        }
        self.folder.fold_soon();
        let until = Instant::now() + FOLD_PATIENCE;
        while self.folds.durable_zxid.load(Ordering::Relaxed) < now.0 && Instant::now() < until {
            beat();
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log cannot be read for a learner. Damage to what this server does not need itself, as its snapshot is further,
    /// costs learners a snapshot. Other damage ends the process: the next start sets this copy aside.
    pub(super) fn on_log_problem(self: &Arc<Self>, problem: &LogError) {
        if !is_log_damaged(problem) {
            return;
        }
        error!(problem = %chain(problem), "the transaction log is damaged");
        let this = Arc::clone(self);
        let LogError::Damaged { last_good, .. } = *problem else {
            // Of a file that is no segment any more nobody knows what was in it.
            return self.on_damage();
        };
        self.folder.job(Box::new(move |store| {
            let bases = this.index.segment_bases();
            let next = bases.into_iter().find(|base| *base > last_good);
            match (next, store.durable_zxid()) {
                (Some(next), Ok(Some(durable))) if next <= durable => {
                    this.log_begins.fetch_max(next.0, Ordering::Relaxed);
                    warn!(
                        %next,
                        "the snapshot has everything that the damaged part of the log had: it is used no more, and \
                         learners that would need it get a snapshot"
                    );
                }
                _ => this.on_damage(),
            }
            None
        }));
    }

    /// The log cannot be read for this server itself.
    fn on_log_problem_here(&self, problem: &LogError) {
        if is_log_damaged(problem) {
            error!(problem = %chain(problem), "the transaction log is damaged");
            self.on_damage();
        }
    }

    /// The snapshot cannot be read for a learner.
    pub(super) fn on_snapshot_problem(&self, problem: &SnapshotError) {
        if is_snapshot_damaged(problem) {
            error!(problem = %chain(problem), "the snapshot is damaged");
            self.on_damage();
        }
    }

    /// Damage that has been said. Without others that could help this server goes on, as what it serves is in memory.
    fn on_damage(&self) {
        if self.others_suffice.load(Ordering::Relaxed) {
            end_for_repair(&self.layout);
        }
    }

    /// Whether the log is sound after `zxid`, as far as that is known.
    pub(super) fn log_reaches(&self, zxid: Zxid) -> bool {
        zxid.0 >= self.log_begins.load(Ordering::Relaxed)
    }

    /// Where a learner's newest transaction is in the log.
    pub(super) fn look_up(self: &Arc<Self>, link: LinkId, zxid: Zxid) {
        let found = if self.log_share < 0.0 || !self.log_reaches(zxid) {
            LogPlace::Unusable
        } else {
            // A snapshot would not even bring it to where it is.
            let is_ahead = zxid.0 >= self.folds.durable_zxid.load(Ordering::Relaxed);
            let bytes_max = (!is_ahead).then(|| self.log_bytes_worth_sending());
            match self.index.look_up(zxid, bytes_max) {
                txn_log::LogPlace::Exactly => LogPlace::Exactly,
                txn_log::LogPlace::After(before) => LogPlace::After(before),
                txn_log::LogPlace::Unusable(why) => {
                    if let Unusable::Log(problem) = &why {
                        self.on_log_problem(problem);
                    }
                    info!(link = link.0, %zxid, why = %chain(&why), "a learner is not brought up to date from the log");
                    LogPlace::Unusable
                }
            }
        };
        self.tell(ZabInput::LookedUp { link, found });
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a float's cast saturates, and to the byte it does not matter"
    )]
    fn log_bytes_worth_sending(&self) -> u64 {
        let snapshot = super::server::bytes_below(&self.layout.snapshot_dir);
        ((snapshot as f64 * self.log_share) as u64).max(LOG_BYTES_MIN)
    }

    /// Where the snapshot is, for messages.
    pub(super) fn snapshot_dir(&self) -> &PathBuf {
        &self.layout.snapshot_dir
    }
}

/// How long a learner waits for the snapshot to be brought up to date, before it gets the one there is.
const FOLD_PATIENCE: Duration = Duration::from_secs(30);

/// So much of the log is sent however small the snapshot is.
const LOG_BYTES_MIN: u64 = 16 << 20;

/// How much of what a leader proposes may wait for its COMMIT while a snapshot is being taken, in bytes.
const PENDING_BYTES_MAX: usize = 64 << 20;
