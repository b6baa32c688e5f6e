//! The command line in front of the command.
//!
//! ZooKeeper: `ZooKeeperMain.MyCommandOptions`.

use std::fs;

use bytes::Bytes;
use thiserror::Error;

use crate::exit::Kind;
use crate::failure::Failure;
use crate::output::Format;

/// What to do, as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Print how to use this program, or the command that these words name.
    Help(Vec<String>),
    /// Print which program this is.
    Version,
    /// Run a command.
    Run(Run),
}

/// A command and where to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The connect string as given.
    pub(crate) server: String,
    /// The session timeout wished for.
    pub(crate) timeout_ms: i32,
    /// Whether a read-only server will do.
    pub(crate) read_only_allowed: bool,
    /// Whether to wait for a server before the command is looked at.
    pub(crate) wait_for_connection: bool,
    /// Presented to the server before the command runs, in order.
    pub(crate) credentials: Vec<Credential>,
    /// How results are printed, if it is said in front of the command.
    pub(crate) format: Option<Format>,
    /// The command and its arguments; empty if none was given.
    pub(crate) words: Vec<String>,
}

/// A credential of some scheme.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) scheme: String,
    pub(crate) secret: Bytes,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:***", self.scheme)
    }
}

/// A command line that cannot be followed.
#[derive(Debug, Error)]
pub(crate) enum InvocationError {
    #[error("Error: no argument found for option {0}")]
    NoValue(&'static str),
    #[error("Error: -timeout takes a positive number of milliseconds, not \"{0}\"")]
    Timeout(String),
    #[error("Error: a credential has the form scheme:secret")]
    Credential,
    #[error("Error: read {path}: {source}")]
    CredentialFile {
        path: String,
        source: std::io::Error,
    },
    #[error("Error: {0}")]
    Output(#[from] Failure),
    #[error("Error: read {path}: {source}")]
    ClientConfiguration {
        path: String,
        source: std::io::Error,
    },
    /// It would be passed over in silence otherwise, and what is to be secret sent in the clear.
    #[error("Error: {path}: {key}={value} is not supported: zab speaks neither TLS nor SASL")]
    NotSecure {
        path: String,
        key: String,
        value: String,
    },
}

impl InvocationError {
    /// The exit code: of options that the Java shell has, its own.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            // That of an invalid invocation there.
            Self::ClientConfiguration { .. } | Self::NotSecure { .. } => 2,
            Self::Timeout(_) => Kind::Differs.code(),
            Self::NoValue(_) | Self::Credential | Self::Output(_) => Kind::Usage.code(),
            Self::CredentialFile { .. } => Kind::Local.code(),
        }
    }
}

impl Invocation {
    /// Parses the arguments behind the program's name. Unknown options in front of the command are passed over, as
    /// the Java shell does.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, InvocationError> {
        let mut run = Run {
            server: "localhost:2181".to_owned(),
            timeout_ms: 30_000,
            read_only_allowed: false,
            wait_for_connection: false,
            credentials: Vec::new(),
            format: None,
            words: Vec::new(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = |option| words.next().ok_or(InvocationError::NoValue(option));
            match word.as_str() {
                "-h" | "-help" | "--help" => return Ok(Self::Help(words.collect())),
                "-version" | "--version" => return Ok(Self::Version),
                "-server" => run.server = value("-server")?,
                "-timeout" => {
                    let text = value("-timeout")?;
                    run.timeout_ms = text
                        .parse()
                        .ok()
                        .filter(|ms| *ms > 0)
                        .ok_or(InvocationError::Timeout(text))?;
                }
                "-r" => run.read_only_allowed = true,
                "-waitforconnection" => run.wait_for_connection = true,
                "-auth" => run.credentials.extend(credentials(&value("-auth")?)?),
                "--output" => run.format = Some(Format::parse(&value("--output")?)?),
                "-client-configuration" => client_configuration(&value("-client-configuration")?)?,
                option if option.starts_with("--output=") => {
                    run.format = Some(Format::parse(&option["--output=".len()..])?);
                }
                option if option.starts_with('-') => {}
                _ => {
                    run.words.push(word);
                    run.words.extend(words);
                    break;
                }
            }
        }
        Ok(Self::Run(run))
    }
}

/// What asks for more than zab can do in a file of the Java client's settings, and must not be passed over: each with
/// the value that asks for nothing.
const SECURITY: [(&str, &str); 2] = [
    ("java.security.auth.login.config", ""),
    ("zookeeper.client.secure", "false"),
];

/// Looks whether a file of the Java client's settings has any that matter here. The others, such as those of its sockets
/// and buffers, say nothing to this client.
fn client_configuration(path: &str) -> Result<(), InvocationError> {
    let text = fs::read_to_string(path).map_err(|source| InvocationError::ClientConfiguration {
        path: path.to_owned(),
        source,
    })?;
    for (key, value) in zab::config::parse_properties(&text) {
        let wanted = SECURITY.iter().find(|(known, _)| *known == key);
        if wanted.is_some_and(|(_, nothing)| !value.trim().eq_ignore_ascii_case(nothing)) {
            return Err(InvocationError::NotSecure {
                path: path.to_owned(),
                key,
                value,
            });
        }
    }
    Ok(())
}

/// The credentials that a value of `-auth` stands for: itself, or with `@` in front the lines of a file, which keeps
/// them out of the list of processes.
fn credentials(value: &str) -> Result<Vec<Credential>, InvocationError> {
    let Some(path) = value.strip_prefix('@') else {
        return Ok(vec![credential(value)?]);
    };
    let text = fs::read_to_string(path).map_err(|source| InvocationError::CredentialFile {
        path: path.to_owned(),
        source,
    })?;
    text.lines()
        .filter(|line| !line.is_empty())
        .map(credential)
        .collect()
}

fn credential(text: &str) -> Result<Credential, InvocationError> {
    let (scheme, secret) = text.split_once(':').ok_or(InvocationError::Credential)?;
    Ok(Credential {
        scheme: scheme.to_owned(),
        secret: Bytes::copy_from_slice(secret.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, String> {
        Invocation::parse(line.split_whitespace().map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    fn run(line: &str) -> Run {
        match parse(line) {
            Ok(Invocation::Run(run)) => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_end_where_the_command_starts() {
        let run = run("-server h:1/c -timeout 500 -r -odd -waitforconnection get -s -r /x");
        assert_eq!(run.server, "h:1/c");
        assert_eq!(run.timeout_ms, 500);
        assert!(run.read_only_allowed && run.wait_for_connection);
        assert_eq!(run.words, ["get", "-s", "-r", "/x"]);
    }

    #[test]
    fn defaults_are_those_of_the_java_shell() {
        let run = run("ls /");
        assert_eq!(run.server, "localhost:2181");
        assert_eq!(run.timeout_ms, 30_000);
        assert!(!run.read_only_allowed && !run.wait_for_connection);
    }

    #[test]
    fn credentials_split_at_the_first_colon_and_do_not_print() {
        let run = run("-auth digest:u:p -auth ip: whoami");
        assert_eq!(
            run.credentials[0],
            Credential {
                scheme: "digest".into(),
                secret: Bytes::from_static(b"u:p"),
            }
        );
        assert_eq!(run.credentials[1].secret, Bytes::new());
        assert_eq!(format!("{:?}", run.credentials[0]), "digest:***");
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for (line, words) in [
            ("-server", "Error: no argument found for option -server"),
            (
                "-timeout x ls",
                "Error: -timeout takes a positive number of milliseconds, not \"x\"",
            ),
            (
                "-auth secret ls",
                "Error: a credential has the form scheme:secret",
            ),
            (
                "-client-configuration",
                "Error: no argument found for option -client-configuration",
            ),
            (
                "-client-configuration /nonexistent ls",
                "Error: read /nonexistent: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(parse(line), Err(words.to_owned()));
        }
    }

    #[test]
    fn settings_that_would_weaken_nothing_are_passed_over() {
        let path = std::env::temp_dir().join(format!("zab-client-{}", std::process::id()));
        let line = format!("-client-configuration {} ls /", path.display());
        for (text, refused) in [
            (
                "zookeeper.request.timeout=5\nzookeeper.client.secure = false\n",
                false,
            ),
            ("zookeeper.client.secure=TRUE", true),
            ("java.security.auth.login.config=/etc/jaas.conf", true),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(parse(&line).is_err(), refused, "{text}");
        }
        fs::remove_file(path).unwrap();
    }
}
