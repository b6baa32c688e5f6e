//! Long transfers between servers: a part of the log, a snapshot.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;
use tracing::{info, warn};

use super::history::History;
use super::server::chain;
use crate::image::{
    Behind, Progress, Received, SendError, SnapshotReceiver, SnapshotStream, Taking,
};
use crate::net::peer::{BulkSink, BulkSource, Taken};
use crate::replica::zab::{LinkId, ZabInput};
use crate::state::State;
use crate::storage::disk::RealDisk;
use crate::storage::txn_log::{LogHold, LogReader};

/// Pieces of about this many bytes are made at a time.
const SLICE_BYTES: usize = 256 << 10;

/// How often the replica is told that a transfer goes on.
const PULSE: Duration = Duration::from_millis(200);

/// Tells the replica now and then that a connection is alive.
struct Pulse {
    history: Arc<History>,
    link: LinkId,
    last: Instant,
}

impl Pulse {
    fn new(history: &Arc<History>, link: LinkId) -> Self {
        Self {
            history: Arc::clone(history),
            link,
            last: Instant::now(),
        }
    }

    fn beat(&mut self) {
        if self.last.elapsed() >= PULSE {
            self.last = Instant::now();
            let link = self.link;
            self.history.tell(ZabInput::Heard { link });
        }
    }
}

/// A part of the log, as proposals and commits.
pub(super) struct LogSource {
    reader: LogReader<RealDisk>,
    sent: Zxid,
    through: Zxid,
    pulse: Pulse,
    // Keeps the log from being purged meanwhile.
    _hold: LogHold,
}

impl LogSource {
    /// What comes after `after`, up to `through`.
    pub(super) fn new(
        history: &Arc<History>,
        link: LinkId,
        after: Zxid,
        through: Zxid,
    ) -> io::Result<Self> {
        let hold = history.index.hold_after(after).map_err(io::Error::other)?;
        if !history.log_reaches(after) {
            return Err(io::Error::other("that part of the log is damaged"));
        }
        Self::with_hold(history, link, after, through, hold)
    }

    fn with_hold(
        history: &Arc<History>,
        link: LinkId,
        after: Zxid,
        through: Zxid,
        hold: LogHold,
    ) -> io::Result<Self> {
        Ok(Self {
            reader: history.index.read_after(after).map_err(|problem| {
                history.on_log_problem(&problem);
                io::Error::other(problem)
            })?,
            sent: after,
            through,
            pulse: Pulse::new(history, link),
            _hold: hold,
        })
    }
}

impl BulkSource for LogSource {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.pulse.beat();
        let mut out = Vec::new();
        while self.sent < self.through && out.len() < SLICE_BYTES {
            let (zxid, txn) = match self.reader.next() {
                Some(Ok(logged)) => logged,
                Some(Err(problem)) => {
                    self.pulse.history.on_log_problem(&problem);
                    return Err(io::Error::other(problem));
                }
                None => {
                    return Err(io::Error::other(
                        "the log ends before the part that is to be sent",
                    ));
                }
            };
            LeaderPacket::Proposal { zxid, txn }.write(&mut out);
            LeaderPacket::Commit { zxid }.write(&mut out);
            self.sent = zxid;
        }
        Ok((!out.is_empty()).then(|| Bytes::from(out)))
    }
}

/// A snapshot, and the log behind it.
pub(super) struct SnapshotSource {
    history: Arc<History>,
    link: LinkId,
    through: Zxid,
    as_of: Option<Zxid>,
    part: Part,
    pulse: Pulse,
}

enum Part {
    Start,
    Stream(Box<SnapshotStream>, LogHold),
    Log(Box<LogSource>),
    Over,
}

impl SnapshotSource {
    pub(super) fn new(history: &Arc<History>, link: LinkId, through: Zxid) -> Self {
        Self {
            history: Arc::clone(history),
            link,
            through,
            as_of: None,
            part: Part::Start,
            pulse: Pulse::new(history, link),
        }
    }

    fn start(&mut self) -> io::Result<Bytes> {
        let pulse = &mut self.pulse;
        self.history.fold_first(|| pulse.beat());
        let opened = self.history.stream(SLICE_BYTES)?;
        let opened = opened.map_err(|problem| self.on_problem(problem))?;
        let (stream, hold) = opened.ok_or_else(|| io::Error::other("there is no snapshot yet"))?;
        let zxid = stream.zxid();
        info!(
            link = self.link.0, %zxid, snapshot = %self.history.snapshot_dir().display(),
            "a learner gets a snapshot"
        );
        self.as_of = Some(zxid);
        self.part = Part::Stream(Box::new(stream), hold);
        let mut head = Vec::new();
        LeaderPacket::Snap { zxid }.write(&mut head);
        Ok(Bytes::from(head))
    }

    fn on_problem(&self, problem: SendError) -> io::Error {
        match &problem {
            SendError::Snapshot(problem) => self.history.on_snapshot_problem(problem),
            SendError::Log(problem) => self.history.on_log_problem(problem),
            _ => {}
        }
        io::Error::other(problem)
    }

    fn after_stream(&self, as_of: Zxid, hold: LogHold) -> io::Result<Part> {
        if as_of >= self.through {
            return Ok(Part::Over);
        }
        let source = LogSource::with_hold(&self.history, self.link, as_of, self.through, hold)?;
        Ok(Part::Log(Box::new(source)))
    }
}

impl BulkSource for SnapshotSource {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.pulse.beat();
        loop {
            match std::mem::replace(&mut self.part, Part::Over) {
                Part::Start => return self.start().map(Some),
                Part::Stream(mut stream, hold) => {
                    let slice = stream.next_slice();
                    if let Some(slice) = slice.map_err(|problem| self.on_problem(problem))? {
                        self.part = Part::Stream(stream, hold);
                        return Ok(Some(slice));
                    }
                    self.part = self.after_stream(stream.zxid(), hold)?;
                }
                Part::Log(mut log) => {
                    let chunk = log.next_chunk()?;
                    if chunk.is_some() {
                        self.part = Part::Log(log);
                    }
                    return Ok(chunk);
                }
                Part::Over => return Ok(None),
            }
        }
    }

    fn skip_through(&self) -> Option<Zxid> {
        self.as_of
    }
}

/// Takes a snapshot from the leader, and what comes behind it up to NEWLEADER, in place of the whole history.
pub(super) struct SnapshotSink {
    history: Arc<History>,
    zxid: Zxid,
    /// The newest epoch that a transaction may be of.
    epoch: i64,
    stage: Stage,
    pulse: Pulse,
}

enum Stage {
    Start,
    Snapshot(Box<SnapshotReceiver>),
    Behind(Box<Behind<RealDisk>>),
    // It has ended, or failed.
    Over,
}

impl SnapshotSink {
    pub(super) fn new(history: &Arc<History>, link: LinkId, zxid: Zxid, epoch: i64) -> Self {
        Self {
            history: Arc::clone(history),
            zxid,
            epoch,
            stage: Stage::Start,
            pulse: Pulse::new(history, link),
        }
    }

    fn start(&self) -> io::Result<Box<SnapshotReceiver>> {
        let receiver = self.history.begin_to_receive(self.zxid)?;
        Ok(Box::new(receiver.map_err(io::Error::other)?))
    }

    fn go_on_behind(&self, state: State) -> io::Result<Box<Behind<RealDisk>>> {
        let behind = self.history.begin_behind(state, self.epoch);
        Ok(Box::new(behind.map_err(io::Error::other)?))
    }
}

impl BulkSink for SnapshotSink {
    fn take(&mut self, bytes: &[u8]) -> io::Result<Taken> {
        self.pulse.beat();
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Start => {
                self.stage = Stage::Snapshot(self.start()?);
                self.take(bytes)
            }
            Stage::Snapshot(mut receiver) => {
                if receiver.feed(bytes).map_err(io::Error::other)? == Progress::More {
                    self.stage = Stage::Snapshot(receiver);
                    return Ok(Taken::More(bytes.len()));
                }
                let Received { state, rest } = receiver.finish().map_err(io::Error::other)?;
                self.stage = Stage::Behind(self.go_on_behind(state)?);
                Ok(Taken::More(bytes.len() - rest.len()))
            }
            Stage::Behind(mut behind) => match behind.feed(bytes).map_err(io::Error::other)? {
                Taking::More(taken) => {
                    self.stage = Stage::Behind(behind);
                    Ok(Taken::More(taken))
                }
                Taking::NewLeader(taken) => {
                    let taken_over = behind.finish().map_err(io::Error::other)?;
                    let installed = self.history.install(taken_over)?;
                    installed.map_err(io::Error::other)?;
                    Ok(Taken::End(taken))
                }
            },
            Stage::Over => Err(io::Error::other("it has failed before")),
        }
    }

    fn abort(self: Box<Self>) {
        let Self { history, stage, .. } = *self;
        // What is staged must be closed before it can be removed.
        drop(stage);
        warn!("the leader's history broke off before it was whole; the old one stays");
        history.discard();
        history.tell(ZabInput::NotInstalled);
    }
}

/// A problem that a transfer could not even begin for.
pub(super) fn refused(link: LinkId, problem: &io::Error) {
    warn!(link = link.0, problem = %chain(problem), "a learner cannot be brought up to date");
}
