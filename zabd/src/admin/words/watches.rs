//! `wchs`, `wchc` and `wchp`: the data watches. Child watches are left out, as in Java.

use std::collections::BTreeMap;

use jute_codec::SessionId;

use super::cons::append;
use crate::state::watch::WatchTotals;

/// The answer to `wchs`.
///
/// ZooKeeper: `WatchManager.toString`.
pub(in crate::admin) fn summary(totals: &WatchTotals) -> String {
    let WatchTotals {
        connections,
        paths,
        data_watches,
        ..
    } = totals;
    format!("{connections} connections watching {paths} paths\nTotal watches:{data_watches}\n")
}

/// The answer to `wchc`.
///
/// ZooKeeper: `WatchManager.dumpWatches`.
pub(in crate::admin) fn by_session(watches: &[(SessionId, Vec<String>)]) -> String {
    let mut text = String::new();
    for (session, paths) in watches {
        append(&mut text, format_args!("{session}\n"));
        for path in paths {
            append(&mut text, format_args!("\t{path}\n"));
        }
    }
    text.push('\n');
    text
}

/// The answer to `wchp`.
///
/// ZooKeeper: `WatchManager.dumpWatches`.
pub(in crate::admin) fn by_path(watches: &BTreeMap<String, Vec<SessionId>>) -> String {
    let mut text = String::new();
    for (path, sessions) in watches {
        append(&mut text, format_args!("{path}\n"));
        for session in sessions {
            append(&mut text, format_args!("\t{session}\n"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(0x0100_0014_4984_0000);

    #[test]
    fn watches_look_like_javas() {
        let totals = WatchTotals {
            connections: 1,
            paths: 2,
            data_watches: 2,
            watches: 3,
        };
        assert_eq!(
            summary(&totals),
            "1 connections watching 2 paths\nTotal watches:2\n"
        );
        let paths = vec!["/a".to_owned(), "/b".to_owned()];
        assert_eq!(
            by_session(&[(SESSION, paths)]),
            "0x100001449840000\n\t/a\n\t/b\n\n"
        );
        assert_eq!(by_session(&[(SESSION, vec![])]), "0x100001449840000\n\n");
        let sessions = vec![SESSION, SessionId(0x2)];
        let by_path_text = by_path(&BTreeMap::from([("/a".to_owned(), sessions)]));
        assert_eq!(by_path_text, "/a\n\t0x100001449840000\n\t0x2\n\n");
    }

    #[test]
    fn no_watches_are_an_empty_line() {
        assert_eq!(by_session(&[]), "\n");
        assert_eq!(by_path(&BTreeMap::new()), "\n");
    }
}
