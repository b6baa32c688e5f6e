//! What a member of an ensemble wants of the other servers, carried out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use jute_codec::quorum::LearnerPacket;
use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::{debug, error, info};

use super::history::History;
use super::recover::others_suffice;
use super::server::end_process;
use super::transfer::{LogSource, SnapshotSink, SnapshotSource, refused};
use crate::config::EnsembleConfig;
use crate::net::election::{ElectionNet, ElectionParams, OnMessage};
use crate::net::peer::{PeerNet, PeerParams, Unsent};
use crate::replica::ensemble::{Configs, HostPort, Members, ServerId};
use crate::replica::zab::{Role, UNKNOWN_TXN, ZabEffect, ZabInput};
use crate::state::DigestMismatch;

/// How far making and taking bulk stands back (`man 2 nice`, of a single thread).
const BULK_NICENESS: i32 = 5;

/// Why a server cannot talk to the others.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PeersError {
    /// No threads.
    #[error("start the threads for connections to other servers")]
    Runtime(#[source] io::Error),
    /// No election port.
    #[error("open the election port")]
    Election(#[source] io::Error),
}

/// The connections to the other servers.
pub(super) struct Peers {
    history: Arc<History>,
    // There but for the moment in which it moves.
    election: Option<ElectionNet>,
    election_params: ElectionParams,
    on_message: OnMessage,
    quorum: PeerNet,
    /// What is queued and not sent yet.
    unsent: Unsent,
    me: ServerId,
    own_quorum: Vec<HostPort>,
    /// Where the quorum ports are, in force or proposed.
    quorum_addresses: BTreeMap<ServerId, Vec<HostPort>>,
    handle: Handle,
    // Ends the thread that everything above runs on.
    _ending: oneshot::Sender<()>,
}

impl Peers {
    pub(super) fn start(
        config: &EnsembleConfig,
        configs: &Configs,
        history: Arc<History>,
        data_bytes_max: usize,
    ) -> Result<Self, PeersError> {
        let (handle, ending) = start_runtime().map_err(PeersError::Runtime)?;
        let (quorum_addresses, election_addresses) = addresses(&configs.committed);
        let own = |of: &BTreeMap<ServerId, Vec<HostPort>>| of.get(&config.me).cloned();
        let gate = Arc::clone(history.mailbox.gate());

        let mut params =
            ElectionParams::new(config.me, own(&election_addresses).unwrap_or_default());
        params.listen_everywhere = config.listen_on_all_ips;
        params.multi_address = config.multi_address.enabled;
        params.bind_attempts = config.election.bind_tries.unwrap_or(0);
        if let Some(ms) = config.election.connect_timeout_ms {
            params.connect_timeout = Duration::from_millis(ms.into());
        }
        params.handshake_timeout = Duration::from_millis(config.election.read_timeout_ms);
        params.keep_alive = config.election.tcp_keep_alive;
        let heard = Arc::clone(&history);
        let on_message: OnMessage = Arc::new(move |from, notification| {
            heard.tell(ZabInput::Notified { from, notification });
        });
        let election_params = params.clone();
        let election =
            ElectionNet::start(params, &handle, Arc::clone(&gate), Arc::clone(&on_message))
                .map_err(PeersError::Election)?;

        let ticks =
            |ticks: u32| Duration::from_millis(u64::from(config.tick_ms) * u64::from(ticks));
        let own_quorum = own(&quorum_addresses).unwrap_or_default();
        let mut params = PeerParams::new(own_quorum.clone());
        params.listen_everywhere = config.listen_on_all_ips;
        params.keep_alive = config.election.tcp_keep_alive;
        params.initial_timeout = ticks(config.init_limit);
        params.connect_budget = ticks(config.connect_limit);
        params.connect_rest = Duration::from_millis(config.connect_retry_delay_ms.into());
        params.data_bytes_max = data_bytes_max;
        let heard = Arc::clone(&history);
        let quorum = PeerNet::new(
            params,
            &handle,
            gate,
            Arc::new(move |inputs| heard.tell_all(inputs)),
        );
        let mut peers = Self {
            history,
            election: Some(election),
            election_params,
            on_message,
            quorum,
            unsent: Unsent::default(),
            me: config.me,
            own_quorum,
            quorum_addresses,
            handle,
            _ending: ending,
        };
        peers.set_members(configs);
        Ok(peers)
    }

    /// Goes by another membership from now on; its own ports move if that says so. A server that is no member any more
    /// stays where it is.
    pub(super) fn set_members(&mut self, configs: &Configs) {
        let others_suffice = [&configs.committed, &configs.proposed]
            .iter()
            .all(|members| others_suffice(members, self.me));
        self.history
            .others_suffice
            .store(others_suffice, Ordering::Relaxed);
        let (quorum, election) = addresses(&configs.committed);
        let (mut others_quorum, mut others_election) = (BTreeMap::new(), BTreeMap::new());
        for members in configs.rumoured.iter().chain([&configs.proposed]) {
            let (quorum, election) = addresses(members);
            others_quorum.extend(quorum);
            others_election.extend(election);
        }
        if let Some(own) = election.get(&self.me)
            && *own != self.election_params.addresses
        {
            self.move_election(own.clone());
        }
        if let Some(election_net) = &self.election {
            election_net.set_members(election, others_election);
        }
        if let Some(own) = quorum.get(&self.me)
            && *own != self.own_quorum
        {
            self.own_quorum.clone_from(own);
            self.quorum.set_addresses(own.clone());
        }
        self.quorum_addresses = others_quorum;
        self.quorum_addresses.extend(quorum);
    }

    /// ZooKeeper: `QuorumPeer.restartLeaderElection`, where a port that cannot be bound ends the process.
    fn move_election(&mut self, addresses: Vec<HostPort>) {
        // The new port may be the old one on another address.
        if let Some(former) = self.election.take() {
            former.stop();
        }
        let former = std::mem::replace(&mut self.election_params.addresses, addresses);
        let started = self.start_election().or_else(|problem| {
            error!(
                %problem,
                "the election port that the membership names for this server cannot be opened; it stays at the former one, \
                 where others may not find it"
            );
            self.election_params.addresses = former;
            self.start_election()
        });
        match started {
            Ok(election) => self.election = Some(election),
            Err(problem) => {
                error!(%problem, "no election port can be opened: ending the process");
                end_process();
            }
        }
    }

    fn start_election(&self) -> io::Result<ElectionNet> {
        let gate = Arc::clone(self.history.mailbox.gate());
        let on_message = Arc::clone(&self.on_message);
        ElectionNet::start(self.election_params.clone(), &self.handle, gate, on_message)
    }

    /// Packets are only queued: [`Self::flush`] sends them.
    pub(super) fn carry_out(&mut self, effect: ZabEffect) {
        match effect {
            ZabEffect::Notify { to, notification } => {
                if let Some(election) = &self.election {
                    election.send(to, &notification);
                }
            }
            ZabEffect::ConnectElection => {
                if let Some(election) = &self.election {
                    election.connect_all();
                }
            }
            ZabEffect::Connect { link, leader } => {
                let leader = self.quorum_addresses.get(&leader).cloned();
                self.quorum.connect(link, leader.unwrap_or_default());
            }
            ZabEffect::Listen(on) => self.quorum.listen(on),
            ZabEffect::CloseLink { link } => self.quorum.close(link),
            ZabEffect::ToLearner { link, packet } => {
                self.quorum.queue_to_learner(link, packet, &mut self.unsent);
            }
            ZabEffect::ToLeader { link, packet } => {
                // Only of NEWLEADER and UPTODATE: what this server may have lacked is on its disk.
                if matches!(packet, LearnerPacket::Ack { zxid } if zxid.counter() == 0) {
                    self.history_is_whole();
                }
                self.quorum.queue_to_leader(link, packet, &mut self.unsent);
            }
            ZabEffect::LookUp { link, zxid } => {
                let history = Arc::clone(&self.history);
                self.handle
                    .spawn_blocking(move || history.look_up(link, zxid));
            }
            ZabEffect::SendLog {
                link,
                after,
                through,
            } => match LogSource::new(&self.history, link, after, through) {
                Ok(source) => self.quorum.send_bulk(link, Box::new(source)),
                Err(problem) => {
                    refused(link, &problem);
                    self.quorum.close(link);
                    self.history.tell(ZabInput::LinkDown { link });
                }
            },
            ZabEffect::SendSnapshot { link, through } => {
                let source = SnapshotSource::new(&self.history, link, through);
                self.quorum.send_bulk(link, Box::new(source));
            }
            ZabEffect::Truncate { zxid } => self.history.truncate(zxid),
            ZabEffect::ReceiveSnapshot { link, zxid, epoch } => {
                let sink = SnapshotSink::new(&self.history, link, zxid, epoch);
                self.quorum.receive_snapshot(link, Box::new(sink));
            }
            ZabEffect::RoleChanged { role, leader, why } => {
                let leader = leader.map(|leader| leader.0);
                match role {
                    Role::Looking if why == UNKNOWN_TXN => error!("{why}"),
                    Role::Looking => info!(why, "looking for a leader"),
                    Role::Leading => info!(why, "leading"),
                    Role::Following => info!(leader, why, "following"),
                    Role::Observing => info!(leader, why, "observing"),
                }
            }
            ZabEffect::Fatal { why } => {
                error!("{why}");
                end_process();
            }
            other => unreachable!("the replica keeps this to itself: {other:?}"),
        }
    }

    /// Sends the packets that are queued; never waits.
    pub(super) fn flush(&mut self) {
        self.unsent.flush();
    }

    /// This server's tree was another than the leader's.
    pub(super) fn check(&self, mismatch: Option<DigestMismatch>) {
        self.history.check(mismatch);
    }

    /// See [`History::take_mismatch_behind`].
    pub(super) fn take_mismatch_behind(&self) -> Option<DigestMismatch> {
        self.history.take_mismatch_behind()
    }

    /// A leader's whole history is on disk.
    pub(super) fn history_is_whole(&self) {
        self.history.is_whole();
    }

    pub(super) fn stop(self) {
        if let Some(election) = self.election {
            election.stop();
        }
        self.quorum.stop();
    }
}

/// One thread for all connections; it ends when the answer is dropped. The threads for what blocks, above all making and
/// taking snapshots, stand back behind everything else: clients wait for the rest.
fn start_runtime() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let stand_back = || {
        if let Err(problem) = rustix::process::nice(BULK_NICENESS) {
            debug!(%problem, "a thread for bulk has the priority of all others");
        }
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_start(stand_back)
        .build()?;
    let handle = runtime.handle().clone();
    let (ending, ended) = oneshot::channel();
    thread::Builder::new()
        .name("peers".to_owned())
        .spawn(move || {
            // That the sender is dropped is the end.
            drop(runtime.block_on(ended));
            runtime.shutdown_background();
        })?;
    Ok((handle, ending))
}

type Addresses = BTreeMap<ServerId, Vec<HostPort>>;

/// Quorum ports and election ports of all members.
fn addresses(members: &Members) -> (Addresses, Addresses) {
    let (mut quorum, mut election) = (Addresses::new(), Addresses::new());
    for (server, member) in members.servers() {
        let at = |port: fn(&crate::replica::ensemble::MemberAddress) -> u16| {
            let hosts = member.addresses.iter().map(|address| HostPort {
                host: address.host.clone(),
                port: port(address),
            });
            hosts.collect()
        };
        quorum.insert(*server, at(|address| address.quorum_port));
        election.insert(*server, at(|address| address.election_port));
    }
    (quorum, election)
}
