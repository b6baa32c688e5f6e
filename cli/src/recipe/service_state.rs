//! What one call of `zab service resolve` leaves for the next: which instance it chose.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zab::naming::fingerprint;

/// More is not an id: another file was given by mistake.
const STATE_BYTES_MAX: u64 = 4096;

/// The first line: what the file is.
const HEAD: &str = "zab service resolve";

/// A file that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("{0} is something else; it is left alone")]
    Foreign(String),
    #[error(
        "there is no place to remember the last choice: neither XDG_STATE_HOME nor HOME is set; give --state FILE"
    )]
    NoPlace,
}

/// The file, locked: other calls wait until this one has chosen.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    file: File,
    last: Option<String>,
}

impl State {
    /// Opens a file, makes it if need be, and waits for those who have it.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Io {
            path: path.display().to_string(),
            source,
        };
        if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut bytes = Vec::new();
        let read = (&mut file)
            .take(STATE_BYTES_MAX + 1)
            .read_to_end(&mut bytes);
        read.map_err(failed)?;
        let foreign = || StateError::Foreign(path.display().to_string());
        let text = String::from_utf8(bytes).map_err(|_| foreign())?;
        let last = match text.as_str() {
            "" => None,
            text => {
                let rest = text.strip_prefix(HEAD).ok_or_else(foreign)?;
                if text.len() as u64 > STATE_BYTES_MAX {
                    return Err(foreign());
                }
                // Torn by a power failure it is forgotten.
                let id = rest
                    .strip_prefix('\n')
                    .and_then(|rest| rest.strip_suffix('\n'));
                id.map(str::to_owned)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            last,
        })
    }

    /// What was chosen last.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Leaves a choice for the next call.
    pub(super) fn keep(mut self, id: &str) -> Result<(), StateError> {
        if self.last.as_deref() == Some(id) {
            return Ok(());
        }
        let text = format!("{HEAD}\n{id}\n");
        let file = &mut self.file;
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(text.as_bytes()));
        written.map_err(|source| StateError::Io {
            path: self.path.display().to_string(),
            source,
        })
    }
}

/// Where choices are remembered if nobody says: a file for each thing that is chosen, by `parts`.
pub(super) fn default_path(parts: &[&str]) -> Result<PathBuf, StateError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (set("XDG_STATE_HOME"), set("HOME")) {
        (Some(state), _) => PathBuf::from(state),
        (None, Some(home)) => Path::new(&home).join(".local/state"),
        (None, None) => return Err(StateError::NoPlace),
    };
    Ok(base.join("zab").join(file_name(parts)))
}

/// Readable as far as it goes, and different for what is different.
fn file_name(parts: &[&str]) -> String {
    let readable = |part: &&str| -> String {
        let kept = part
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
        kept.take(24).collect()
    };
    let names: Vec<_> = parts
        .iter()
        .map(readable)
        .filter(|part| !part.is_empty())
        .collect();
    let hash = fingerprint(parts);
    let mut name = names.join("-");
    name.truncate(100);
    format!("resolve-{name}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_remembered_and_other_files_left_alone() {
        let directory = std::env::temp_dir().join(format!("zab-state-{}", std::process::id()));
        let path = directory.join("deep/state");
        assert_eq!(State::open(&path).unwrap().last(), None);
        for id in ["10.0.0.1:80", "b", "a much longer id than before"] {
            State::open(&path).unwrap().keep(id).unwrap();
            assert_eq!(State::open(&path).unwrap().last(), Some(id));
        }
        for (text, is_foreign) in [
            ("", false),
            ("zab service resolve\nab", false),
            ("something else", true),
            (&format!("{HEAD}\n{}\n", "x".repeat(5000)), true),
        ] {
            fs::write(&path, text).unwrap();
            match State::open(&path) {
                Ok(state) => assert!(!is_foreign && state.last().is_none()),
                Err(error) => assert!(is_foreign && matches!(error, StateError::Foreign(_))),
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_different_is_kept_apart() {
        let names = [
            file_name(&["/s", "web", "sticky"]),
            file_name(&["s", "web", "sticky"]),
            file_name(&["/s", "we", "bsticky"]),
            file_name(&["/s", "../web", "sticky"]),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!name.contains('/'), "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
    }
}
