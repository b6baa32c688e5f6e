//! The trace: what the program says about itself, on standard error.
//!
//! Standard output is for data (`check-config`, `--help`), so that nothing of the trace gets into it.

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::LogFormat;

/// Why the trace could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The filter is none. A checked configuration never has such a one.
    #[error("{filter:?} is no filter of the trace")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Somebody set a trace up before.
    #[error("the trace is set up already")]
    Twice(#[source] TryInitError),
}

/// Starts tracing to standard error for the rest of the process.
///
/// `filter` is a level (`info`) or `target=level` pairs separated by commas. Plain lines are
/// coloured only on a terminal.
///
/// # Errors
/// [`LoggingError::Filter`] for a malformed filter, [`LoggingError::Twice`] the second time.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let env_filter = EnvFilter::try_new(filter).map_err(|source| LoggingError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Plain => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(is_terminal).finish().try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LoggingError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, since the trace is one for the whole process.
    #[test]
    fn starts_once_and_refuses_nonsense() {
        assert!(matches!(
            init("zabd=loud", LogFormat::Json),
            Err(LoggingError::Filter { .. })
        ));
        init("warn,zabd::net=debug", LogFormat::Json).unwrap();
        tracing::debug!("filtered out");
        assert!(matches!(
            init("info", LogFormat::Plain),
            Err(LoggingError::Twice(_))
        ));
    }
}
