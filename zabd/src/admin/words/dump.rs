//! `dump`.

use std::collections::BTreeMap;

use jute_codec::SessionId;

use super::cons::append;
use crate::admin::java::CivilTime;
use crate::net::addr::SocketAddress;
use crate::net::client::ConnInfo;

/// What `dump` is made of.
pub(in crate::admin) struct Dump<'a> {
    /// Of sessions that only this server knows, if there may be such.
    pub(in crate::admin) local: Option<&'a [(i64, Vec<SessionId>)]>,
    pub(in crate::admin) sessions: DumpedSessions<'a>,
    pub(in crate::admin) ephemerals: &'a [(SessionId, Vec<String>)],
    pub(in crate::admin) connections: &'a [ConnInfo],
    pub(in crate::admin) now: Now,
}

/// Sessions that all servers know, as far as this one knows of them.
pub(in crate::admin) enum DumpedSessions<'a> {
    /// By the monotonic millisecond at which they expire, soonest first.
    Expiring(&'a [(i64, Vec<SessionId>)]),
    /// Sorted, with timeouts in milliseconds: a learner does not know when they expire.
    Global(&'a [(SessionId, i32)]),
}

/// The same moment on both clocks, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Now {
    pub(in crate::admin) monotonic_ms: i64,
    pub(in crate::admin) wall_ms: i64,
}

impl Now {
    fn date(self, monotonic_ms: i64) -> CivilTime {
        let wall_ms = self
            .wall_ms
            .saturating_add(monotonic_ms.saturating_sub(self.monotonic_ms));
        CivilTime::of_unix_seconds(wall_ms.div_euclid(1000))
    }
}

impl Dump<'_> {
    /// The answer to `dump`.
    ///
    /// ZooKeeper: `DumpCommand`, `SessionTrackerImpl.dumpSessions`, `LeaderSessionTracker.dumpSessions`,
    /// `LearnerSessionTracker.dumpSessions`, `DataTree.dumpEphemerals`, `NIOServerCnxnFactory.dumpConnections`.
    pub(in crate::admin) fn text(&self) -> String {
        let mut text = String::from("SessionTracker dump:\n");
        let line = |text: &mut String, session: &SessionId| {
            append(text, format_args!("\t{session}\n"));
        };
        if let Some(sessions) = self.local {
            text.push_str("Local Session ");
            self.expiring(&mut text, sessions, line);
        }
        match self.sessions {
            DumpedSessions::Expiring(sessions) => {
                let title = ["Session ", "Global Session "];
                text.push_str(title[usize::from(self.local.is_some())]);
                self.expiring(&mut text, sessions, line);
            }
            DumpedSessions::Global(sessions) => {
                append(
                    &mut text,
                    format_args!("Global Sessions({}):\n", sessions.len()),
                );
                for (session, timeout_ms) in sessions {
                    append(&mut text, format_args!("{session}\t{timeout_ms}ms\n"));
                }
            }
        }
        let owners = self.ephemerals.len();
        append(
            &mut text,
            format_args!("ephemeral nodes dump:\nSessions with Ephemerals ({owners}):\n"),
        );
        for (session, paths) in self.ephemerals {
            append(&mut text, format_args!("{session}:\n"));
            for path in paths {
                append(&mut text, format_args!("\t{path}\n"));
            }
        }
        text.push_str("Connections dump:\nConnections ");
        self.expiring(&mut text, &self.connections_by_deadline(), |text, info| {
            let (peer, session) = (SocketAddress(info.peer), info.session);
            append(text, format_args!("\tip: {peer} sessionId: {session}\n"));
        });
        text
    }

    fn connections_by_deadline(&self) -> Vec<(i64, Vec<&ConnInfo>)> {
        let mut by_deadline: BTreeMap<i64, Vec<&ConnInfo>> = BTreeMap::new();
        for info in self.connections {
            by_deadline
                .entry(info.idle_deadline_ms)
                .or_default()
                .push(info);
        }
        by_deadline.into_iter().collect()
    }

    /// ZooKeeper: `ExpiryQueue.dump`.
    fn expiring<T>(
        &self,
        text: &mut String,
        sets: &[(i64, Vec<T>)],
        line: impl Fn(&mut String, &T),
    ) {
        let elements = sets.iter().map(|(_, set)| set.len()).sum::<usize>();
        append(text, format_args!("Sets ({})/({elements}):\n", sets.len()));
        for (deadline_ms, set) in sets {
            append(
                text,
                format_args!("{} expire at {}:\n", set.len(), self.now.date(*deadline_ms)),
            );
            for element in set {
                line(text, element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::words::cons::tests::{with_session, without_session};

    const NOW: Now = Now {
        monotonic_ms: 12_500,
        wall_ms: 1_795_176_429_500,
    };

    #[test]
    fn a_dump_looks_like_javas() {
        let connections = [
            without_session(1, "127.0.0.1:40822"),
            with_session(2, "127.0.0.1:40796"),
        ];
        let session = connections[1].session;
        let dump = Dump {
            local: None,
            sessions: DumpedSessions::Expiring(&[(20_000, vec![session])]),
            ephemerals: &[(session, vec!["/app/e".to_owned(), "/app/f".to_owned()])],
            connections: &connections,
            now: NOW,
        };
        assert_eq!(
            dump.text(),
            "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Fri Nov 20 12:07:17 UTC 2026:\n\
             \t0x100001449840000\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100001449840000:\n\
             \t/app/e\n\t/app/f\nConnections dump:\nConnections Sets (1)/(2):\n\
             2 expire at Fri Nov 20 12:07:17 UTC 2026:\n\tip: /127.0.0.1:40822 sessionId: 0x0\n\
             \tip: /127.0.0.1:40796 sessionId: 0x100001449840000\n"
        );
    }

    #[test]
    fn a_learner_shows_timeouts() {
        let dump = Dump {
            local: None,
            sessions: DumpedSessions::Global(&[(SessionId(0x77), 4000), (SessionId(0x78), 30_000)]),
            ephemerals: &[],
            connections: &[],
            now: NOW,
        };
        assert!(dump.text().starts_with(
            "SessionTracker dump:\nGlobal Sessions(2):\n0x77\t4000ms\n0x78\t30000ms\nephemeral nodes dump:\n"
        ));
    }

    #[test]
    fn local_sessions_come_first() {
        let local = [(20_000, vec![SessionId(0x79)])];
        let titles = |sessions| {
            let dump = Dump {
                local: Some(&local),
                sessions,
                ephemerals: &[],
                connections: &[],
                now: NOW,
            };
            let text = dump.text();
            let of_sessions = text
                .lines()
                .take_while(|line| !line.starts_with("ephemeral"));
            of_sessions.skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let of_local = [
            "Local Session Sets (1)/(1):",
            "1 expire at Fri Nov 20 12:07:17 UTC 2026:",
            "\t0x79",
        ];
        let leaders = titles(DumpedSessions::Expiring(&[]));
        assert_eq!(leaders[..3], of_local);
        assert_eq!(leaders[3..], ["Global Session Sets (0)/(0):"]);
        let learners = titles(DumpedSessions::Global(&[]));
        assert_eq!(learners[..3], of_local);
        assert_eq!(learners[3..], ["Global Sessions(0):"]);
    }

    #[test]
    fn an_empty_dump_keeps_its_titles() {
        let dump = Dump {
            local: None,
            sessions: DumpedSessions::Expiring(&[]),
            ephemerals: &[],
            connections: &[],
            now: NOW,
        };
        assert_eq!(
            dump.text(),
            "SessionTracker dump:\nSession Sets (0)/(0):\nephemeral nodes dump:\nSessions with Ephemerals (0):\n\
             Connections dump:\nConnections Sets (0)/(0):\n"
        );
    }
}
