//! The text format of `zoo.cfg` and of memberships: `java.util.Properties`, as `Properties.load` reads it.
//!
//! Owns the step from bytes or text to key and value with the line each began on. It knows no key, trims
//! nothing and drops no duplicate: that is for the reader of the entries, who can then tell the
//! operator where things stand. Never panics, whatever comes, and never allocates more than a
//! few times its length.
//!
//! Bytes are ISO-8859-1, as Java takes them from a stream, so a file in UTF-8 with letters outside
//! ASCII reads as it would there: one character a byte. `\u` and four digits give any UTF-16 unit;
//! halves of a surrogate pair that do not meet become U+FFFD, since Rust has no text to hold them.

use std::fmt;

/// One key with its value, escapes resolved and neither of them trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; may be empty (`=value` is legal).
    pub key: String,
    /// The value; may be empty.
    pub value: String,
    /// Line the key stands on, counted from 1.
    pub line: u32,
}

/// A `\u` that four hexadecimal digits do not follow; Java refuses the whole file for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Line the logical line began on, counted from 1.
    pub line: u32,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\\u is followed by something else than four hexadecimal digits")
    }
}

/// What a file holds: the entries in order, and what could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Entries in the order of the file, duplicates included: the last of a key is in force.
    pub entries: Vec<Entry>,
    /// Lines left out. Java would read nothing at all from a file with one of these.
    pub malformed: Vec<MalformedEscape>,
}

/// Reads a whole file.
///
/// ZooKeeper: `QuorumPeerConfig.parse`, which gives the file to `Properties.load`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    parse_units(bytes.iter().copied().map(u16::from).collect())
}

/// Reads text that has been decoded before.
///
/// ZooKeeper: `QuorumPeer.configFromString`, which gives a reader to `Properties.load`.
#[must_use]
pub fn parse_text(text: &str) -> Parsed {
    parse_units(text.encode_utf16().collect())
}

fn parse_units(units: Vec<u16>) -> Parsed {
    let mut lines = LogicalLines {
        units,
        at: 0,
        line: 1,
    };
    let mut parsed = Parsed::default();
    while let Some((line, text)) = lines.next_line() {
        match split(&text) {
            Some((key, value)) => parsed.entries.push(Entry { key, value, line }),
            None => parsed.malformed.push(MalformedEscape { line }),
        }
    }
    parsed
}

/// Cuts UTF-16 units into logical lines: comments and blank lines gone, continuations joined.
struct LogicalLines {
    units: Vec<u16>,
    at: usize,
    line: u32,
}

impl LogicalLines {
    /// The next logical line and the number of the natural line its first character is on.
    fn next_line(&mut self) -> Option<(u32, Vec<u16>)> {
        let mut text = Vec::new();
        let mut began = self.line;
        let mut skipping_blanks = true;
        let mut continued = false;
        let mut escaping = false;
        loop {
            let Some(unit) = self.take() else {
                // A backslash with nothing after it is dropped. One that was the whole line leaves
                // an empty line, which Java stores as an empty key.
                if text.is_empty() {
                    return None;
                }
                if escaping {
                    text.pop();
                }
                return Some((began, text));
            };
            let ends_line = ends_line(unit);
            if skipping_blanks {
                if is_blank(unit) || (ends_line && !continued) {
                    continue;
                }
                skipping_blanks = false;
                continued = false;
            }
            // Only an empty logical line can turn into a comment; that includes one that so far is
            // a lone backslash and its line end, a quirk kept from Java.
            if text.is_empty() {
                if [HASH, BANG].contains(&unit) {
                    self.skip_comment();
                    skipping_blanks = true;
                    continue;
                }
                began = self.line;
            }
            if !ends_line {
                text.push(unit);
                escaping = unit == BACKSLASH && !escaping;
            } else if text.is_empty() {
                skipping_blanks = true;
            } else if escaping {
                text.pop();
                if self.at == self.units.len() {
                    return Some((began, text));
                }
                if unit == RETURN && self.units.get(self.at) == Some(&NEWLINE) {
                    self.at += 1;
                }
                skipping_blanks = true;
                continued = true;
                escaping = false;
            } else {
                return Some((began, text));
            }
        }
    }

    /// The next unit. Counts lines; the `\n` of a `\r\n` is none of its own.
    fn take(&mut self) -> Option<u16> {
        let unit = *self.units.get(self.at)?;
        let after_return = self.at > 0 && self.units.get(self.at - 1) == Some(&RETURN);
        self.at += 1;
        if unit == RETURN || (unit == NEWLINE && !after_return) {
            self.line = self.line.saturating_add(1);
        }
        Some(unit)
    }

    fn skip_comment(&mut self) {
        while let Some(unit) = self.take() {
            if ends_line(unit) {
                return;
            }
        }
    }
}

/// Splits a logical line at its first unescaped separator and resolves escapes in both halves.
fn split(text: &[u16]) -> Option<(String, String)> {
    let mut escaping = false;
    let mut key_end = text.len();
    for (at, &unit) in text.iter().enumerate() {
        if !escaping && (separates(unit) || is_blank(unit)) {
            key_end = at;
            break;
        }
        escaping = unit == BACKSLASH && !escaping;
    }
    // Blanks, then at most one `=` or `:`, then blanks.
    let mut value_start = key_end;
    let mut separated = false;
    while let Some(&unit) = text.get(value_start) {
        if separates(unit) && !separated {
            separated = true;
        } else if !is_blank(unit) {
            break;
        }
        value_start += 1;
    }
    let key = unescape(&text[..key_end])?;
    let value = unescape(&text[value_start..])?;
    Some((key, value))
}

/// Resolves `\t \r \n \f` and `\u` with four digits; any other escaped character stands for itself.
fn unescape(text: &[u16]) -> Option<String> {
    if !text.contains(&BACKSLASH) {
        return Some(String::from_utf16_lossy(text));
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(unit) = rest.next() {
        if unit != BACKSLASH {
            units.push(unit);
            continue;
        }
        let Some(escaped) = rest.next() else {
            break;
        };
        units.push(match u8::try_from(escaped) {
            Ok(b't') => TAB,
            Ok(b'r') => RETURN,
            Ok(b'n') => NEWLINE,
            Ok(b'f') => FORM_FEED,
            Ok(b'u') => hex_unit(&mut rest)?,
            _ => escaped,
        });
    }
    Some(String::from_utf16_lossy(&units))
}

fn hex_unit(rest: &mut impl Iterator<Item = u16>) -> Option<u16> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = char::from(u8::try_from(rest.next()?).ok()?).to_digit(16)?;
        unit = (unit << 4) | u16::try_from(digit).ok()?;
    }
    Some(unit)
}

fn is_blank(unit: u16) -> bool {
    [SPACE, TAB, FORM_FEED].contains(&unit)
}

fn separates(unit: u16) -> bool {
    [EQUALS, COLON].contains(&unit)
}

fn ends_line(unit: u16) -> bool {
    [NEWLINE, RETURN].contains(&unit)
}

const TAB: u16 = b'\t' as u16;
const NEWLINE: u16 = b'\n' as u16;
const FORM_FEED: u16 = 0x0c;
const RETURN: u16 = b'\r' as u16;
const SPACE: u16 = b' ' as u16;
const BANG: u16 = b'!' as u16;
const HASH: u16 = b'#' as u16;
const COLON: u16 = b':' as u16;
const EQUALS: u16 = b'=' as u16;
const BACKSLASH: u16 = b'\\' as u16;

#[cfg(test)]
#[path = "properties/java_tests.rs"]
mod java_tests;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_with_lines_that_are_there(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(&b"ab=: \\\n\r#u00"[..])],
                0..200,
            ),
        ) {
            let parsed = parse(&bytes);
            let breaks = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
            let mut previous = 0;
            for entry in &parsed.entries {
                prop_assert!(entry.line > previous);
                prop_assert!(entry.line as usize <= breaks + 1);
                previous = entry.line;
            }
        }
    }

    fn pairs(text: &str) -> Vec<(String, String, u32)> {
        let parsed = parse(text.as_bytes());
        assert_eq!(parsed.malformed, []);
        parsed
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.value, entry.line))
            .collect()
    }

    fn pair(key: &str, value: &str, line: u32) -> (String, String, u32) {
        (key.to_owned(), value.to_owned(), line)
    }

    #[test]
    fn separators_are_equals_colon_and_blanks() {
        assert_eq!(
            pairs("a=1\nb:2\nc 3\nd\t=\t4\n e : = 5\nf\n=g\n"),
            [
                pair("a", "1", 1),
                pair("b", "2", 2),
                pair("c", "3", 3),
                pair("d", "4", 4),
                pair("e", "= 5", 5),
                pair("f", "", 6),
                pair("", "g", 7),
            ]
        );
    }

    #[test]
    fn comments_and_blank_lines_count_but_say_nothing() {
        assert_eq!(
            pairs("# x\\\n\n  ! y\r\na=1 # not a comment\r\r\nb=2"),
            [pair("a", "1 # not a comment", 4), pair("b", "2", 6)]
        );
    }

    #[test]
    fn continuation_keeps_the_line_of_the_key() {
        assert_eq!(
            pairs("a=one,\\\n   two,\\\r\n\tthree\nb=4\nc=\\\\\nd=5\\\n\ne=6"),
            [
                pair("a", "one,two,three", 1),
                pair("b", "4", 4),
                pair("c", "\\", 5),
                pair("d", "5", 6),
                pair("e", "6", 8),
            ]
        );
    }

    #[test]
    fn escapes_resolve_and_others_stand_for_themselves() {
        assert_eq!(
            pairs("a\\ b\\=c=\\u0041\\u00e4\\t\\q\\\\ \n\\u0062=\\ud83d\\ude00"),
            [pair("a b=c", "Aä\tq\\ ", 1), pair("b", "😀", 2)]
        );
    }

    #[test]
    fn bytes_above_ascii_are_latin_1() {
        let parsed = parse(b"a=\xe4\xc3\xa4");
        assert_eq!(parsed.entries[0].value, "äÃ¤");
    }

    #[test]
    fn text_is_read_as_it_is() {
        let parsed = parse_text("a=ä\\€=😀\nb=\\u20ac");
        assert_eq!(parsed.entries[0].value, "ä€=😀");
        assert_eq!(parsed.entries[1].value, "€");
    }

    #[test]
    fn duplicates_stay_in_order() {
        assert_eq!(pairs("a=1\na=2"), [pair("a", "1", 1), pair("a", "2", 2)]);
    }

    #[test]
    fn a_bad_escape_is_reported_with_its_line_and_the_rest_is_read() {
        let parsed = parse(b"a=1\nb=\\u12\nc=\\u00g0\nd=2\ne\\u=3");
        let lines: Vec<u32> = parsed.malformed.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [2, 3, 5]);
        let keys: Vec<&str> = parsed.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["a", "d"]);
    }
}
