//! What was written, before anybody asks whether it makes sense.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::findings::{Findings, Origin, Severity};
use super::properties;

/// A key and a value as somebody wrote them, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Key in the spelling used, trimmed.
    pub name: String,
    /// Value, trimmed.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

impl Written {
    /// Trims both texts as ZooKeeper does: control characters and blanks at either end.
    #[must_use]
    pub fn new(name: &str, value: &str, origin: Origin) -> Self {
        let trim = |text: &str| text.trim_matches(|c: char| c <= ' ').to_owned();
        Self {
            name: trim(name),
            value: trim(value),
            origin,
        }
    }
}

/// Everything a configuration is made from.
///
/// The default is no file and nothing written, which is the embedded standalone server: clients on
/// port 2181 of every address, data in `zabd-data` under the working directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// What the command line and the environment add. The later of two with the same origin wins;
    /// flags go before the environment, that before positional arguments, those before the file and
    /// the file before `-D`.
    pub written: Vec<Written>,
}

impl Sources {
    /// The embedded server with its data and port elsewhere; port 0 takes any free one.
    #[must_use]
    pub fn standalone(data_dir: &Path, client_port: u16) -> Self {
        let flag = |name: &str, value: &str| Written::new(name, value, Origin::BuiltIn);
        Self {
            file: None,
            written: vec![
                flag("dataDir", &data_dir.to_string_lossy()),
                flag("clientPort", &client_port.to_string()),
            ],
        }
    }

    /// The same from a file alone.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self {
            file: Some(path.to_owned()),
            written: Vec::new(),
        }
    }
}

/// Reads a file of properties; what cannot be read goes to `findings`.
pub(super) fn read_file(path: &Path, findings: &mut Findings) -> Vec<Written> {
    match std::fs::read(path) {
        Ok(bytes) => read_bytes(path, &bytes, findings),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".to_owned(),
                _ => error.to_string(),
            };
            let message = format!("cannot read {}: {why}", path.display());
            findings.push(Severity::Error, None, "", message);
            Vec::new()
        }
    }
}

fn read_bytes(path: &Path, bytes: &[u8], findings: &mut Findings) -> Vec<Written> {
    let path = Arc::new(path.to_owned());
    let origin = |line| Origin::File {
        path: Arc::clone(&path),
        line,
    };
    let parsed = properties::parse(bytes);
    for malformed in parsed.malformed {
        findings.push(
            Severity::Error,
            Some(origin(malformed.line)),
            "",
            malformed.to_string(),
        );
    }
    let all_ascii = bytes.is_ascii();
    let mut written = Vec::with_capacity(parsed.entries.len());
    for entry in parsed.entries {
        let one = Written::new(&entry.key, &entry.value, origin(entry.line));
        let is_foreign = |c: char| ('\u{80}'..='\u{ff}').contains(&c);
        if !all_ascii && one.value.contains(is_foreign) {
            findings.push(
                Severity::Warning,
                Some(one.origin.clone()),
                &one.name,
                "letters outside ASCII are read as ISO-8859-1, as in ZooKeeper; write \\u and four hexadecimal digits",
            );
        }
        written.push(one);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_trimmed_of_what_java_trims() {
        let written = Written::new(" a\t", "\u{1} b c \r\u{a0}", Origin::Property);
        assert_eq!(
            (written.name.as_str(), written.value.as_str()),
            ("a", "b c \r\u{a0}")
        );
    }

    #[test]
    fn a_missing_file_and_a_bad_escape_are_findings() {
        let mut findings = Findings::default();
        assert_eq!(read_file(Path::new("/no/such/zoo.cfg"), &mut findings), []);
        assert_eq!(
            findings.to_string(),
            "error: cannot read /no/such/zoo.cfg: there is no such file\n"
        );
        let mut findings = Findings::default();
        let written = read_bytes(
            Path::new("z"),
            b"a=\\u1\ndataDir=/d\xc3\xa4\nx=\\u00e4",
            &mut findings,
        );
        assert_eq!(written.len(), 2);
        assert_eq!(
            findings.to_string(),
            "z:1: error: \\u is followed by something else than four hexadecimal digits\n\
             z:2: warning: dataDir: letters outside ASCII are read as ISO-8859-1, as in ZooKeeper; write \\u and four hexadecimal digits\n\
             z:3: warning: x: letters outside ASCII are read as ISO-8859-1, as in ZooKeeper; write \\u and four hexadecimal digits\n"
        );
    }
}
