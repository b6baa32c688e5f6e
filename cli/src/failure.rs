//! Why a command failed: what is said about it, and the exit code.
//!
//! ZooKeeper: `CliWrapperException` and the other `CliException`s. The Java shell knows two exit codes for what went
//! wrong; [`Kind`](crate::exit::Kind) tells more.

use std::io;

use jute_codec::ErrorCode;
use thiserror::Error;

pub(crate) use crate::exit::Kind;
use crate::flags::FlagError;
use crate::path::PathError;

/// Exit code of a failed command, where the Java shell's codes are wanted.
const EXIT_ERROR: u8 = 1;
/// Exit code of a command that does not exist.
const EXIT_UNKNOWN_COMMAND: u8 = 127;

/// The end of a command that did not do what it should.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command's options cannot be understood.
    #[error("{0}")]
    Flags(#[from] FlagError),
    /// The command was used wrongly; says how to use it.
    #[error("{0}")]
    Usage(String),
    /// There is no such command.
    #[error("Command not found: {0}")]
    UnknownCommand(String),
    #[error("{0}")]
    Path(#[from] PathError),
    /// The server said no.
    #[error("{}", server_words(*code, path.as_deref()))]
    Server { code: i32, path: Option<String> },
    /// There was no reply; `code` is what a Java client would call it.
    #[error("{reason}\n{}", keeper_words(code.code(), path.as_deref()))]
    NoReply {
        reason: String,
        code: ErrorCode,
        path: Option<String>,
        /// Whether it was a change that may have been made all the same.
        is_ambiguous: bool,
    },
    #[error("write output: {0}")]
    Output(#[from] io::Error),
    /// What a command of zab's own came to, in words of its own.
    #[error("{words}")]
    Told { kind: Kind, words: String },
}

impl Failure {
    pub(crate) fn usage(words: impl Into<String>) -> Self {
        Self::Usage(words.into())
    }

    /// A failure of a command that the Java shell does not have.
    pub(crate) fn told(kind: Kind, words: impl Into<String>) -> Self {
        Self::Told {
            kind,
            words: words.into(),
        }
    }

    /// A file or a program that cannot be used.
    pub(crate) fn local(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::told(Kind::Local, format!("{what}: {error}"))
    }

    /// The kind of it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Flags(_) | Self::Usage(_) | Self::Path(_) => Kind::Usage,
            Self::UnknownCommand(_) => Kind::UnknownCommand,
            Self::Server { code, .. } => Kind::of_code(*code),
            Self::NoReply {
                is_ambiguous: true, ..
            } => Kind::Unknown,
            Self::NoReply { code, .. } => Kind::of_code(code.code()),
            Self::Output(_) => Kind::Local,
            Self::Told { kind, .. } => *kind,
        }
    }

    /// Whether the server's answer was this code.
    pub(crate) fn is_code(&self, wanted: ErrorCode) -> bool {
        matches!(self, Self::Server { code, .. } if *code == wanted.code())
    }

    /// The exit code of the Java shell.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownCommand(_) => EXIT_UNKNOWN_COMMAND,
            _ => EXIT_ERROR,
        }
    }

    /// The words of `KeeperException.getMessage` where this is one, else the same as displayed.
    pub(crate) fn keeper_message(&self) -> String {
        match self {
            Self::Server { code, path } => keeper_words(*code, path.as_deref()),
            other => other.to_string(),
        }
    }
}

fn keeper_words(code: i32, path: Option<&str>) -> String {
    let name = match ErrorCode::from_i32(code) {
        Some(code) => code.text().to_owned(),
        None => format!("Unknown error {code}"),
    };
    match path {
        None | Some("") => format!("KeeperErrorCode = {name}"),
        Some(path) => format!("KeeperErrorCode = {name} for {path}"),
    }
}

fn server_words(code: i32, path: Option<&str>) -> String {
    let on = path.unwrap_or("null");
    match ErrorCode::from_i32(code) {
        Some(ErrorCode::NoNode) => format!("Node does not exist: {on}"),
        Some(ErrorCode::NoChildrenForEphemerals) => {
            format!("Ephemerals cannot have children: {on}")
        }
        Some(ErrorCode::NodeExists) => format!("Node already exists: {on}"),
        Some(ErrorCode::NotEmpty) => format!("Node not empty: {on}"),
        Some(ErrorCode::NotReadOnly) => format!("Not a read-only call: {on}"),
        Some(ErrorCode::InvalidAcl) => format!("Acl is not valid : {on}"),
        Some(ErrorCode::NoAuth) => format!("Insufficient permission : {on}"),
        Some(ErrorCode::BadArguments) => format!("Arguments are not valid : {on}"),
        Some(ErrorCode::BadVersion) => format!("version No is not valid : {on}"),
        Some(ErrorCode::QuotaExceeded) => format!("Quota has exceeded : {on}"),
        Some(ErrorCode::ReconfigInProgress) => {
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"
                .to_owned()
        }
        // Three m's, as there.
        Some(ErrorCode::NewConfigNoQuorum) => {
            "No quorum of new config is connected and up-to-date with the leader of last commmitted \
             config - try invoking reconfiguration after new servers are connected and synced"
                .to_owned()
        }
        _ => keeper_words(code, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: i32, path: Option<&str>) -> Failure {
        Failure::Server {
            code,
            path: path.map(str::to_owned),
        }
    }

    #[test]
    fn codes_have_the_words_of_the_java_shell() {
        for (code, path, words) in [
            (-101, Some("/a"), "Node does not exist: /a"),
            (-102, Some(""), "Insufficient permission : "),
            (-114, None, "Acl is not valid : null"),
            (-6, Some(""), "KeeperErrorCode = Unimplemented"),
            (-112, Some("/a"), "KeeperErrorCode = Session expired for /a"),
            (
                -4711,
                Some("/a"),
                "KeeperErrorCode = Unknown error -4711 for /a",
            ),
        ] {
            assert_eq!(server(code, path).to_string(), words);
        }
        assert_eq!(
            server(-101, Some("/a")).keeper_message(),
            "KeeperErrorCode = NoNode for /a"
        );
    }

    #[test]
    fn each_kind_has_a_code() {
        for (failure, code) in [
            (server(-101, None), 66),
            (server(-110, None), 73),
            (server(-103, None), 73),
            (server(-102, None), 77),
            (server(-112, None), 76),
            (server(-6, None), 78),
            (server(-4711, None), 70),
            (Failure::usage("x"), 64),
            (Failure::told(Kind::Local, "x"), 74),
            (Failure::UnknownCommand("x".into()), 127),
        ] {
            assert_eq!(failure.kind().code(), code, "{failure:?}");
        }
    }

    #[test]
    fn only_unknown_commands_exit_with_127() {
        assert_eq!(Failure::UnknownCommand("x".into()).exit_code(), 127);
        assert_eq!(server(-101, None).exit_code(), 1);
    }
}
