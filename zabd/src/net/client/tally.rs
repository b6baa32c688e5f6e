//! Requests under way, for figures.

use std::collections::VecDeque;

use jute_codec::proto::OpCode;

use super::link::ConnStats;
use crate::net::stats::ServerStats;

/// How many entries an empty tally keeps room for.
const KEPT: usize = 64;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) xid: i32,
    pub(super) op: i32,
    /// When it came, in microseconds.
    pub(super) at_us: i64,
    /// What it takes of the room for large frames, in bytes.
    pub(super) large_bytes: usize,
}

/// The requests of a connection that are not answered yet, oldest first. Requests are answered in order, so counting
/// them is enough to know which ones are.
#[derive(Debug, Default)]
pub(super) struct Tally(VecDeque<Entry>);

/// When and as of what requests were answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// The time in microseconds.
    pub(super) now_us: i64,
    /// The newest transaction.
    pub(super) zxid: i64,
    /// The result code of the last write that was answered.
    pub(super) last_err: i32,
}

impl Tally {
    pub(super) fn push(&mut self, entry: Entry) {
        self.0.push_back(entry);
    }

    /// Notes that all but the newest `left` are answered; the room for large frames that becomes free, in bytes.
    pub(super) fn answer(
        &mut self,
        left: usize,
        answered: Answered,
        server: &ServerStats,
        conn: &mut ConnStats,
    ) -> usize {
        let mut freed = 0;
        let mut run = Run::default();
        while self.0.len() > left
            && let Some(entry) = self.0.pop_front()
        {
            freed += entry.large_bytes;
            let op = OpCode::from_i32(entry.op);
            let Some(name) = op.and_then(short_name) else {
                continue;
            };
            let writes = is_write(op);
            run.add(entry.at_us, writes, answered, server, conn);
            if entry.xid >= 0 {
                conn.last_cxid = entry.xid;
            }
            // What Java shows for a write that failed before it was applied.
            let failed = writes && op != Some(OpCode::Multi) && answered.last_err != 0;
            conn.last_op = if failed { "NA" } else { name };
        }
        run.end(answered, server, conn);
        freed
    }

    pub(super) fn shrink(&mut self) {
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = VecDeque::new();
        }
    }
}

/// Requests that came together and are answered together.
#[derive(Debug, Default)]
struct Run {
    at_us: i64,
    writes: bool,
    count: u64,
}

impl Run {
    fn add(
        &mut self,
        at_us: i64,
        writes: bool,
        answered: Answered,
        server: &ServerStats,
        conn: &mut ConnStats,
    ) {
        if self.at_us != at_us || self.writes != writes {
            self.end(answered, server, conn);
            *self = Self {
                at_us,
                writes,
                count: 0,
            };
        }
        self.count += 1;
    }

    fn end(&self, answered: Answered, server: &ServerStats, conn: &mut ConnStats) {
        if self.count == 0 {
            return;
        }
        let us = u64::try_from(answered.now_us - self.at_us).unwrap_or(0);
        let class = if self.writes {
            &server.update_latency
        } else {
            &server.read_latency
        };
        class.record(us, self.count);
        server.latency.record(us / 1000, self.count);
        conn.on_answered(us / 1000, self.count);
        conn.last_zxid = answered.zxid;
        conn.last_response_ms = answered.now_us / 1000;
    }
}

/// Notes that a handshake made a session, which Java counts as a request.
pub(super) fn on_session_made(
    at_us: i64,
    answered: Answered,
    server: &ServerStats,
    conn: &mut ConnStats,
) {
    let run = Run {
        at_us,
        writes: true,
        count: 1,
    };
    run.end(answered, server, conn);
    conn.last_cxid = 0;
    conn.last_op = "SESS";
}

const fn is_write(op: Option<OpCode>) -> bool {
    matches!(
        op,
        Some(
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::DeleteContainer
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Reconfig
                | OpCode::Multi
                | OpCode::CreateSession
                | OpCode::CloseSession
        )
    )
}

/// What `cons` calls an operation; nothing for those that never get that far.
///
/// ZooKeeper: `FinalRequestProcessor.processRequest`.
const fn short_name(op: OpCode) -> Option<&'static str> {
    Some(match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Auth | OpCode::Sasl | OpCode::Check | OpCode::Error | OpCode::Notification => {
            return None;
        }
    })
}
