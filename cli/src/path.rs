//! The rules that a znode path must keep, checked before anything is sent.
//!
//! ZooKeeper: `PathUtils.validatePath`.

use thiserror::Error;

/// A path that no server would take, in the words of the Java client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// There is nothing.
    #[error("Path length must be > 0")]
    Empty,
    /// It does not begin at the root.
    #[error("Path must start with / character")]
    Relative,
    /// It ends in a slash.
    #[error("Path must not end with / character")]
    TrailingSlash,
    /// A character or a name in it is not allowed.
    #[error("Invalid path string \"{path}\" caused by {reason} @{at}")]
    Malformed {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
        /// Index of the offending character, in UTF-16 units.
        at: usize,
    },
}

/// Checks a whole path.
///
/// # Errors
/// When a server would refuse it.
pub fn validate(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    // Java looks at UTF-16 units, so characters beyond the BMP are surrogates to it, which are refused.
    let units: Vec<u16> = path.encode_utf16().collect();
    let malformed = |reason, at| {
        Err(PathError::Malformed {
            path: path.to_owned(),
            reason,
            at,
        })
    };
    let (slash, dot) = (u16::from(b'/'), u16::from(b'.'));
    let ends_name = |at: usize| units.get(at).is_none_or(|&unit| unit == slash);
    for (at, &unit) in units.iter().enumerate().skip(1) {
        let previous = units[at - 1];
        match unit {
            0 => return malformed("null character not allowed", at),
            _ if unit == slash && previous == slash => {
                return malformed("empty node name specified", at);
            }
            _ if unit == dot && ends_name(at + 1) => {
                let starts_name = previous == slash || (previous == dot && units[at - 2] == slash);
                if starts_name {
                    return malformed("relative paths not allowed", at);
                }
            }
            0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => {
                return malformed("invalid character", at);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path of `child` under `parent`.
#[must_use]
pub fn join(parent: &str, child: &str) -> String {
    match parent {
        "/" => format!("/{child}"),
        _ => format!("{parent}/{child}"),
    }
}

/// What is behind the last slash of a path: the node's own name, and none for the root.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/a.b",
            "/...",
            "/.a",
            "/a..",
            "/a b",
            "/ä/日本",
        ] {
            assert_eq!(validate(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn broken_paths_are_refused_in_the_words_of_java() {
        for (path, words) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            (
                "/a//b",
                "Invalid path string \"/a//b\" caused by empty node name specified @3",
            ),
            (
                "/.",
                "Invalid path string \"/.\" caused by relative paths not allowed @1",
            ),
            (
                "/a/../b",
                "Invalid path string \"/a/../b\" caused by relative paths not allowed @4",
            ),
            (
                "/\u{1}",
                "Invalid path string \"/\u{1}\" caused by invalid character @1",
            ),
            (
                "/a\u{1f600}",
                "Invalid path string \"/a\u{1f600}\" caused by invalid character @2",
            ),
        ] {
            assert_eq!(
                validate(path).map_err(|error| error.to_string()),
                Err(words.to_owned())
            );
        }
    }
}
