//! What checking a configuration found, all at once.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The n-th of the positional arguments `port dataDir [tickTime [maxClientCnxns]]`, from 1.
    Argument(usize),
    /// Nowhere: what zabd starts with when it is given no file.
    BuiltIn,
    /// An environment variable.
    Environment(&'static str),
    /// A line of a file, from 1.
    File {
        /// The file as it was named.
        path: Arc<PathBuf>,
        /// Line, from 1.
        line: u32,
    },
    /// A command-line flag with a name of its own (`--data-dir`).
    Flag(&'static str),
    /// `-Dname=value`.
    Property,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(nth) => write!(f, "argument {nth}"),
            Self::BuiltIn => f.write_str("built in"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(name) => f.write_str(name),
            Self::Property => f.write_str("-D"),
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the outcome is what was asked for.
    Note,
    /// The server starts, with something else in force than was written.
    Warning,
    /// The server does not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding. Prints as `zoo.cfg:3: error: tickTime: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where it was written; `None` for what is missing.
    pub origin: Option<Origin>,
    /// Key it is about, as written; empty if it is about a file as a whole.
    pub key: String,
    /// What is the matter, with what was given and what is allowed. Holds no secret.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Findings in the order of the file, what is missing last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    pub(super) fn push(
        &mut self,
        severity: Severity,
        origin: Option<Origin>,
        key: &str,
        message: impl Into<String>,
    ) {
        self.found.push(Finding {
            severity,
            origin,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn sort(&mut self) {
        self.found.sort_by_key(|finding| match &finding.origin {
            Some(Origin::Flag(_) | Origin::Environment(_)) => (0, 0),
            Some(Origin::Argument(nth)) => (1, *nth),
            Some(Origin::Property) => (2, 0),
            Some(Origin::File { line, .. }) => (3, usize::try_from(*line).unwrap_or(usize::MAX)),
            None | Some(Origin::BuiltIn) => (4, 0),
        });
    }

    /// Whether anything forbids the start.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The findings in order.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.found.iter()
    }

    /// Traces each finding at the level of its severity; a note is `info`.
    pub fn trace(&self) {
        for finding in self.iter() {
            match finding.severity {
                Severity::Note => tracing::info!("{finding}"),
                Severity::Warning => tracing::warn!("{finding}"),
                Severity::Error => tracing::error!("{finding}"),
            }
        }
    }
}

/// One finding a line, each with a line end.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl std::error::Error for Findings {}
