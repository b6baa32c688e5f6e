//! The words: which there are, who may ask, what each answers.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::context::AdminContext;
use super::member::{mode, peer_state};
use super::metrics::Reading;
use super::version::full_version;
use super::words::dump::{Dump, DumpedSessions, Now};
use super::words::srvr::Srvr;
use super::words::{cons, envi, watches};
use crate::net::client::{ConnInfo, FourLetter, ListenerInfo};
use crate::replica::zab::Role;
use crate::state::State;
use crate::state::conn::ConnId;

/// Java counts the root twice: once as `/` and once as the empty path.
pub(super) const NODES_MORE: usize = 1;

/// What `gtmk` shows unless `stmk` changed it. The mask switches nothing here: what is traced is a matter of
/// `RUST_LOG`.
///
/// ZooKeeper: `ZooTrace`.
const TRACE_MASK: i64 = 306;

/// What most words say on a server that serves nobody, without a line's end.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// A word that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    TelnetClose,
    Wchc,
    Wchp,
    Wchs,
}

impl Word {
    const fn of(bytes: [u8; 4]) -> Option<Self> {
        Some(match &bytes {
            b"conf" => Self::Conf,
            b"cons" => Self::Cons,
            b"crst" => Self::Crst,
            b"dirs" => Self::Dirs,
            b"dump" => Self::Dump,
            b"envi" => Self::Envi,
            b"gtmk" => Self::Gtmk,
            b"hash" => Self::Hash,
            b"isro" => Self::Isro,
            b"mntr" => Self::Mntr,
            b"ruok" => Self::Ruok,
            b"srst" => Self::Srst,
            b"srvr" => Self::Srvr,
            b"stat" => Self::Stat,
            b"stmk" => Self::Stmk,
            // What telnet sends for an interrupt.
            b"\xff\xf4\xff\xfd" => Self::TelnetClose,
            b"wchc" => Self::Wchc,
            b"wchp" => Self::Wchp,
            b"wchs" => Self::Wchs,
            _ => return None,
        })
    }

    /// What the whitelist and the refusal call it.
    const fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Crst => "crst",
            Self::Dirs => "dirs",
            Self::Dump => "dump",
            Self::Envi => "envi",
            Self::Gtmk => "gtmk",
            Self::Hash => "hash",
            Self::Isro => "isro",
            Self::Mntr => "mntr",
            Self::Ruok => "ruok",
            Self::Srst => "srst",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Stmk => "stmk",
            Self::TelnetClose => "telnet close",
            Self::Wchc => "wchc",
            Self::Wchp => "wchp",
            Self::Wchs => "wchs",
        }
    }

    /// What a server that serves nobody says instead; nothing if the word does without service.
    ///
    /// ZooKeeper: `AbstractFourLetterCommand.isZKServerRunning`, `IsroCommand`, `DigestCommand`.
    fn without_service(self) -> Option<String> {
        match self {
            Self::Envi | Self::Gtmk | Self::Ruok | Self::Stmk | Self::TelnetClose => None,
            Self::Hash => Some(NOT_SERVING.to_owned()),
            Self::Isro => Some("null".to_owned()),
            _ => Some(format!("{NOT_SERVING}\n")),
        }
    }

    const fn argument_bytes(self) -> usize {
        match self {
            Self::Stmk => size_of::<i64>(),
            _ => 0,
        }
    }
}

/// Who asks, and what came behind the word.
struct Asked<'a> {
    argument: &'a [u8],
    conn: ConnId,
    listener: &'a ListenerInfo,
}

/// Answers four-letter words of a server, alone or in an ensemble.
///
/// What locks guard is taken out of them as plain values; text is made of it afterwards.
///
/// ZooKeeper: `FourLetterCommands`, `CommandExecutor`, and the package `command`.
#[derive(Debug)]
pub struct FourLetterWords {
    ctx: AdminContext,
    trace_mask: AtomicI64,
}

impl FourLetterWords {
    /// Answers out of `ctx`.
    #[must_use]
    pub fn new(ctx: AdminContext) -> Self {
        Self {
            ctx,
            trace_mask: AtomicI64::new(TRACE_MASK),
        }
    }

    fn text(&self, word: Word, asked: &Asked<'_>) -> String {
        let ctx = &self.ctx;
        if let Some(text) = word.without_service()
            && !ctx.is_serving()
        {
            return text;
        }
        match word {
            Word::Conf => (ctx.conf)(asked.listener),
            Word::Cons => cons::cons(&self.connections(asked)),
            Word::Crst => self.reset_connections(),
            Word::Dirs => dirs((ctx.dir_bytes)()),
            Word::Dump => self.dump(asked),
            Word::Envi => envi::envi(full_version()),
            Word::Gtmk => self.trace_mask.load(Relaxed).to_string(),
            Word::Hash => digests(&ctx.look(|state| state.digests().collect::<Vec<_>>())),
            Word::Isro => if ctx.is_read_only() { "ro" } else { "rw" }.to_owned(),
            Word::Mntr => self.mntr(),
            Word::Ruok => "imok".to_owned(),
            Word::Srst => self.reset_stats(),
            Word::Srvr => format!("{}{}", self.version_line(), self.srvr().text()),
            Word::Stat => self.stat(asked),
            Word::Stmk => self.set_trace_mask(asked.argument),
            Word::TelnetClose => String::new(),
            Word::Wchc => {
                watches::by_session(&ctx.look(|state| state.watches().paths_by_session()))
            }
            Word::Wchp => watches::by_path(&ctx.look(|state| state.watches().sessions_by_path())),
            Word::Wchs => watches::summary(&ctx.look(|state| state.watches().totals())),
        }
    }

    /// The connections of the listener that was asked at.
    fn connections(&self, asked: &Asked<'_>) -> Vec<ConnInfo> {
        let mut all = self.ctx.connections.snapshot();
        all.retain(|info| info.listener == asked.listener.index);
        // Java has taken the one that asks out of its selector.
        for info in all.iter_mut().filter(|info| info.conn == asked.conn) {
            info.interest_ops = 0;
        }
        all
    }

    fn reset_connections(&self) -> String {
        self.ctx.connections.reset_stats();
        "Connection stats reset.\n".to_owned()
    }

    fn reset_stats(&self) -> String {
        self.ctx.reset_stats();
        "Server stats reset.\n".to_owned()
    }

    fn dump(&self, asked: &Asked<'_>) -> String {
        let is_learner = (self.ctx.member)().is_some_and(|member| member.role != Role::Leading);
        let deadlines = (self.ctx.session_deadlines)();
        let global;
        let sessions = if is_learner {
            global = self.ctx.look(|state| {
                let sessions = state.sessions().iter();
                sessions.map(|(id, ms)| (*id, *ms)).collect::<Vec<_>>()
            });
            DumpedSessions::Global(&global)
        } else {
            DumpedSessions::Expiring(&deadlines.global)
        };
        let ephemerals = self
            .ctx
            .look(|state| state.sessions_with_ephemerals().collect::<Vec<_>>());
        Dump {
            local: deadlines.local.as_deref(),
            sessions,
            ephemerals: &ephemerals,
            connections: &self.connections(asked),
            now: Now {
                monotonic_ms: self.ctx.clock.now_ms(),
                wall_ms: wall_ms(),
            },
        }
        .text()
    }

    fn version_line(&self) -> String {
        let read_only = if self.ctx.is_read_only() {
            "READ-ONLY mode; serving only read-only clients\n"
        } else {
            ""
        };
        format!("Zookeeper version: {}\n{read_only}", full_version())
    }

    fn srvr(&self) -> Srvr {
        let (stats, sizes) = (&self.ctx.stats, &self.ctx.proposal_sizes);
        let member = (self.ctx.member)();
        let (zxid, nodes) = self
            .ctx
            .look(|state: &State| (state.last_zxid(), state.figures().nodes));
        Srvr {
            min_latency_ms: stats.latency.min_ms(),
            avg_latency_ms: stats.latency.avg_ms(),
            max_latency_ms: stats.latency.max_ms(),
            received: stats.packets_received.count(),
            sent: stats.packets_sent.count(),
            connections: stats.connections.load(Relaxed),
            outstanding: stats.outstanding.load(Relaxed),
            zxid: zxid.0,
            nodes: nodes + NODES_MORE,
            mode: mode(member.as_ref()),
            proposals: member
                .filter(|member| member.role == Role::Leading)
                .map(|_| (sizes.last(), sizes.min(), sizes.max())),
        }
    }

    fn stat(&self, asked: &Asked<'_>) -> String {
        let clients = cons::clients(&self.connections(asked));
        format!(
            "{}Clients:\n{clients}\n{}",
            self.version_line(),
            self.srvr().text()
        )
    }

    fn mntr(&self) -> String {
        let member = (self.ctx.member)();
        let mut text = format!(
            "zk_version\t{}\nzk_server_state\t{}\n",
            full_version(),
            mode(member.as_ref())
        );
        if let Some(member) = member.filter(|member| !member.is_read_only) {
            text.push_str(&format!("zk_peer_state\t{}\n", peer_state(member.role)));
            if let (Role::Observing, Some(leader)) = (member.role, member.leader) {
                text.push_str(&format!("zk_observer_master_id\t{}\n", leader.0));
            }
        }
        for Reading { key, value } in self.ctx.readings() {
            text.push_str(&format!("zk_{key}\t{value}\n"));
        }
        text
    }

    /// Counts an answer, once it is made, as Java does.
    fn sent(&self, answer: String) -> Vec<u8> {
        self.ctx.stats.packets_sent.add(1);
        answer.into_bytes()
    }

    fn set_trace_mask(&self, argument: &[u8]) -> String {
        let Ok(bytes) = argument.try_into() else {
            // Java closes the connection over it.
            return String::new();
        };
        let mask = i64::from_be_bytes(bytes);
        self.trace_mask.store(mask, Relaxed);
        mask.to_string()
    }
}

impl FourLetter for FourLetterWords {
    fn is_command(&self, word: [u8; 4]) -> bool {
        Word::of(word).is_some()
    }

    fn argument_bytes(&self, word: [u8; 4]) -> usize {
        // A word that is refused anyway is refused at once.
        Word::of(word)
            .filter(|word| (self.ctx.is_enabled)(word.name()))
            .map_or(0, Word::argument_bytes)
    }

    fn answer(
        &self,
        word: [u8; 4],
        argument: &[u8],
        conn: ConnId,
        listener: &ListenerInfo,
    ) -> Vec<u8> {
        let Some(word) = Word::of(word) else {
            return Vec::new();
        };
        if !(self.ctx.is_enabled)(word.name()) {
            return self.sent(refusal(word.name()));
        }
        let asked = Asked {
            argument,
            conn,
            listener,
        };
        self.sent(self.text(word, &asked))
    }
}

/// ZooKeeper: `NopCommand`.
fn refusal(name: &str) -> String {
    format!("{name} is not executed because it is not in the whitelist.\n")
}

/// ZooKeeper: `DirsCommand`.
fn dirs((data_bytes, log_bytes): (u64, u64)) -> String {
    format!("datadir_size: {data_bytes}\nlogdir_size: {log_bytes}\n")
}

/// ZooKeeper: `DigestCommand`.
fn digests(digests: &[(jute_codec::Zxid, u64)]) -> String {
    digests
        .iter()
        .map(|(zxid, digest)| format!("{:x}: {}\n", zxid.0, digest.cast_signed()))
        .collect()
}

fn wall_ms() -> i64 {
    // A clock before 1970 is a clock that was never set.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "four_letter_tests.rs"]
mod tests;
