//! The exit codes of this program, all of them.
//!
//! From 64 on they are those of `sysexits.h` where it has one, so that they do not look like the codes of the commands
//! that `lock`, `elect` and others run. Commands of the Java shell have the Java shell's codes instead.

use rustix::process::Signal;
use zab::{Error as SessionError, ErrorCode};

/// How a run ends, as its exit code tells: who has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was done.
    Done = 0,
    /// It was done, and the answer is no.
    Differs = 1,
    /// The command line cannot be followed.
    Usage = 64,
    /// A file, a node or the standard input does not hold what it should.
    Input = 65,
    /// There is no such node, key or revision.
    NoNode = 66,
    /// There is no server, or none that answers; nothing was changed.
    Unreachable = 69,
    /// None of the others.
    Other = 70,
    /// The tree is not as the command needs it.
    Conflict = 73,
    /// A file or another program on this machine.
    Local = 74,
    /// It was not to be had, now or in time.
    NotObtained = 75,
    /// The session has ended, and with it what it held.
    SessionLost = 76,
    /// An access control list or a credential stands against it.
    NotAllowed = 77,
    /// The server does not do that, or not now.
    Refused = 78,
    /// The connection was lost before the answer.
    Unknown = 79,
    /// The command to be run cannot be.
    NotExecutable = 126,
    /// There is no such command.
    UnknownCommand = 127,
    /// Somebody has pressed Ctrl-C: as of a program that the signal ends.
    Interrupted = 130,
}

/// The exit code of a program that was told to end by a signal, and did.
pub(crate) fn of_signal(signal: Signal) -> u8 {
    SIGNAL.saturating_add(u8::try_from(signal.as_raw()).unwrap_or(0))
}

/// What an exit code of this program's own means, for people.
pub(crate) fn meaning(code: u8) -> Option<&'static str> {
    let found = TABLE.iter().find(|(kind, _)| kind.code() == code);
    found.map(|(_, words)| *words)
}

/// What each of them means, for people. Signals come behind.
pub(crate) const TABLE: &[(Kind, &str)] = &[
    (Kind::Done, "done"),
    (
        Kind::Differs,
        "done, and the answer is no: diff, migrate or bench found something; zkCli.sh's commands: any failure",
    ),
    (Kind::Usage, "the command line cannot be followed"),
    (
        Kind::Input,
        "a file or node does not hold what it should: a torn dump, no JSON, a value that is not of its type",
    ),
    (Kind::NoNode, "there is no such node, key or revision"),
    (
        Kind::Unreachable,
        "no server, or no answer; nothing was changed",
    ),
    (Kind::Other, "something else; the words tell"),
    (
        Kind::Conflict,
        "it exists already, is not empty, or has another version; somebody has published since",
    ),
    (Kind::Local, "a file or a program on this machine"),
    (
        Kind::NotObtained,
        "it was not to be had, now or in time: held by others, empty, closed, led by nobody",
    ),
    (
        Kind::SessionLost,
        "the session was lost, and what was held by it",
    ),
    (
        Kind::NotAllowed,
        "not allowed: access control, or a credential",
    ),
    (
        Kind::Refused,
        "the server does not do that, or not now: read-only, quota, whitelist, size",
    ),
    (
        Kind::Unknown,
        "the connection was lost: the change may have been made or not",
    ),
    (Kind::NotExecutable, "the command to be run cannot be"),
    (Kind::UnknownCommand, "there is no such command"),
    (
        Kind::Interrupted,
        "interrupted; a change may have been made or not",
    ),
];

/// The command line cannot be followed.
pub(crate) const USAGE: u8 = Kind::Usage.code();
/// What was wanted was not to be had, now or in time.
pub(crate) const NOT_OBTAINED: u8 = Kind::NotObtained.code();
/// What was held was lost while the command ran.
pub(crate) const LOST: u8 = Kind::SessionLost.code();
/// The connection was lost: the change may have been made or not.
pub(crate) const UNKNOWN: u8 = Kind::Unknown.code();
/// What a signal's number is added to, as in shells.
pub(crate) const SIGNAL: u8 = 128;

/// What is said about those who run another program and were ended by a signal.
const SIGNALS: &str = "128 and more: the command that was run, or zab, was ended by the signal with that number less 128";

impl Kind {
    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The kind of a server's result code.
    pub(crate) fn of_code(code: i32) -> Self {
        let Some(code) = ErrorCode::from_i32(code) else {
            return Self::Other;
        };
        match code {
            ErrorCode::NoNode => Self::NoNode,
            ErrorCode::NodeExists
            | ErrorCode::NotEmpty
            | ErrorCode::BadVersion
            | ErrorCode::NoChildrenForEphemerals => Self::Conflict,
            ErrorCode::NoAuth | ErrorCode::AuthFailed | ErrorCode::InvalidAcl => Self::NotAllowed,
            ErrorCode::ConnectionLoss | ErrorCode::OperationTimeout => Self::Unreachable,
            ErrorCode::SessionExpired | ErrorCode::SessionMoved => Self::SessionLost,
            ErrorCode::BadArguments => Self::Usage,
            _ => Self::Refused,
        }
    }

    /// The kind of a failure of the library.
    pub(crate) fn of_session(error: &SessionError) -> Self {
        match error {
            SessionError::Path(_) => Self::Usage,
            error if error.is_ambiguous() => Self::Unknown,
            error => error
                .code()
                .map_or(Self::Other, |code| Self::of_code(code.code())),
        }
    }
}

/// The lines that explain these exit codes, the first of them said otherwise where the command knows better.
pub(crate) fn lines(kinds: &[Kind], otherwise: &[(Kind, &str)]) -> String {
    let said = |kind: &Kind| {
        let all = otherwise.iter().chain(TABLE);
        let mut found = all.filter(|(known, _)| known == kind);
        found.next().map_or("", |(_, words)| words)
    };
    kinds
        .iter()
        .map(|kind| format!("{:4}  {}\n", kind.code(), said(kind)))
        .collect()
}

/// All of them, for the help.
pub(crate) fn all() -> String {
    let kinds: Vec<_> = TABLE.iter().map(|(kind, _)| *kind).collect();
    format!("{} {SIGNALS}\n", lines(&kinds, &[]))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn codes_are_explained_in_order_and_apart() {
        assert!(
            TABLE
                .windows(2)
                .all(|pair| pair[0].0.code() < pair[1].0.code())
        );
        assert!(all().lines().all(|line| line.len() <= 120), "{}", all());
        assert_eq!(
            lines(
                &[Kind::Done, Kind::Usage],
                &[(Kind::Done, "what it came to")]
            ),
            "   0  what it came to\n  64  the command line cannot be followed\n"
        );
    }

    #[test]
    fn failures_of_the_library_have_the_same_kinds() {
        for (error, kind) in [
            (SessionError::Server(-101), Kind::NoNode),
            (SessionError::Server(-102), Kind::NotAllowed),
            (SessionError::Server(-103), Kind::Conflict),
            (SessionError::Server(-119), Kind::Refused),
            (SessionError::Server(-4711), Kind::Other),
            (SessionError::ConnectionLoss, Kind::Unknown),
            (SessionError::SessionExpired, Kind::SessionLost),
            (SessionError::Closed, Kind::Unreachable),
            (
                SessionError::AuthFailed {
                    scheme: "digest".to_owned(),
                },
                Kind::NotAllowed,
            ),
            (
                SessionError::NoServer {
                    waited_ms: 1,
                    reasons: Vec::new(),
                },
                Kind::Unreachable,
            ),
        ] {
            assert_eq!(Kind::of_session(&error), kind, "{error:?}");
        }
    }

    /// `UPDATE_DOCS=1` writes the page.
    #[test]
    fn the_page_has_the_table() {
        let mut page = String::from(
            "# Exit codes of zab\n\n\
             Written from the table that `zab --help` prints; `UPDATE_DOCS=1 cargo test -p zab` writes it anew.\n\n\
             Commands of `zkCli.sh` exit as they do there: 0, 1 for any failure, 127 for an unknown command. With \
             `--output`, or\nwith an option that only zab has, they tell the kind like all other commands. `lock`, \
             `elect`, `barrier enter`,\n`config run` and `config render --hook` exit as the command that they ran.\n\n\
             | code | meaning |\n|---|---|\n",
        );
        for (kind, words) in TABLE {
            writeln!(page, "| {} | {words} |", kind.code()).unwrap();
        }
        page.push_str("| 128 + N | the command that was run, or zab, was ended by signal N |\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exit-codes.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), page);
    }
}
