//! `.properties` files, as Java reads them.

use std::collections::BTreeMap;

/// What is passed over at the start of a line and around what separates; no other blanks are.
const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// Reads keys and values. Of a key that comes twice the last counts; there is no text that is none.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let text = text.replace("\r\n", "\n");
    let mut lines = text.split(['\n', '\r']);
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        // An odd number of backslashes at the end goes on with the next line.
        while (logical.len() - logical.trim_end_matches('\\').len()) % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some(next) => logical.push_str(next.trim_start_matches(BLANK)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        values.insert(unescape(key), unescape(value));
    }
    values
}

/// The key ends at the first `=`, `:` or blank that is not escaped; blanks around one of the two belong to neither.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if matches!(c, '=' | ':' | ' ' | '\t' | '\x0c') {
            end = at;
            break;
        }
    }
    let rest = line[end..].trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut plain = |c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        match c {
            '\\' => match chars.next() {
                Some('n') => plain('\n'),
                Some('r') => plain('\r'),
                Some('t') => plain('\t'),
                Some('f') => plain('\x0c'),
                Some('u') => {
                    let rest = chars.as_str();
                    let hex = rest
                        .get(..4)
                        .and_then(|hex| u16::from_str_radix(hex, 16).ok());
                    match hex {
                        Some(unit) => {
                            units.push(unit);
                            chars = rest[4..].chars();
                        }
                        None => plain('u'),
                    }
                }
                Some(other) => plain(other),
                None => {}
            },
            other => plain(other),
        }
    }
    String::from_utf16_lossy(&units)
}

/// Writes keys and values so that [`parse`] and Java read the same, one a line, sorted.
#[must_use]
pub fn write<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut lines: Vec<_> = values
        .into_iter()
        .map(|(key, value)| format!("{}={}\n", escape(key, true), escape(value, false)))
        .collect();
    lines.sort_unstable();
    lines.concat()
}

fn escape(text: &str, is_key: bool) -> String {
    let mut escaped = String::new();
    for (at, c) in text.char_indices() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\x0c' => escaped.push_str("\\f"),
            ' ' if is_key || at == 0 => escaped.push_str("\\ "),
            '=' | ':' | '#' | '!' if is_key => {
                escaped.push('\\');
                escaped.push(c);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_as_java_does() {
        let text = "# a comment\n! another\n a = 1 \nb:2\nc 3\nd\\ e\\=f=g=h\nlong=x\\\n   y\nu=\\u00e4\\ud83d\\ude00\n\
                    empty\nb=4\n\u{a0}=5\rend=\\";
        let values = parse(text);
        let wanted = [
            ("a", "1 "),
            ("b", "4"),
            ("c", "3"),
            ("d e=f", "g=h"),
            ("empty", ""),
            ("end", ""),
            ("long", "xy"),
            ("u", "ä\u{1f600}"),
            ("\u{a0}", "5"),
        ];
        let read: Vec<_> = values
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(read, wanted);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::btree_map("[^\\p{C}]{1,8}|[ =:#!\\\\\\t\\n]{1,4}", ".{0,12}", 0..6)) {
            let pairs = values.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            prop_assert_eq!(parse(&write(pairs)), values);
        }

        #[test]
        fn any_text_can_be_read(text in "(.|\\n|\\\\u){0,40}") {
            drop(parse(&text));
        }
    }
}
