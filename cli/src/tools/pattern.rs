//! Patterns that names and paths are held against.

use regex::Regex;

use crate::failure::Failure;

/// A regular expression, as given.
pub(super) fn regex(option: &str, text: &str) -> Result<Regex, Failure> {
    Regex::new(text).map_err(|error| Failure::usage(format!("--{option}: {error}")))
}

/// A glob as a regular expression for the whole text: `*` and `?` stand for anything but a slash, `**` for anything,
/// `[a-z]` and `[!a-z]` for one of some, `{a,b}` for either, and a backslash takes a character as it is.
pub(super) fn glob(option: &str, text: &str) -> Result<Regex, Failure> {
    let mut pattern = String::from(r"\A(?s:");
    let mut letters = text.chars().peekable();
    let mut braces = 0;
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.next_if_eq(&'*').is_some() => pattern.push_str(".*"),
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            '[' => {
                pattern.push('[');
                if letters.next_if_eq(&'!').is_some() {
                    pattern.push('^');
                }
                for inner in letters.by_ref() {
                    match inner {
                        ']' => break,
                        '-' => pattern.push('-'),
                        other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
                    }
                }
                pattern.push(']');
            }
            '{' => {
                braces += 1;
                pattern.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                pattern.push(')');
            }
            ',' if braces > 0 => pattern.push('|'),
            '\\' => {
                let escaped = letters.next().unwrap_or('\\');
                pattern.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push_str(r")\z");
    Regex::new(&pattern)
        .map_err(|_| Failure::usage(format!("--{option}: \"{text}\" is not a glob")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, matches) in [
            ("a*", "abc", true),
            ("a*", "xabc", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("?.x", "a.x", true),
            ("?.x", "abx", false),
            ("[a-c]1", "b1", true),
            ("[!a-c]1", "b1", false),
            ("{lock,queue}-*", "queue-7", true),
            ("{lock,queue}-*", "barrier-7", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("a,b", "a,b", true),
        ] {
            assert_eq!(
                glob("name", pattern).unwrap().is_match(text),
                matches,
                "{pattern} {text}"
            );
        }
        assert!(glob("name", "[z-a]").is_err());
        assert!(glob("name", "{a").is_err());
    }
}
