//! How a line becomes words.
//!
//! As in the Java shell a word is what stands between spaces, or between quotes if it begins with one; a quote within a
//! word is part of it. On a terminal there are escapes between double quotes, too.
//!
//! ZooKeeper: `ZooKeeperMain.MyCommandOptions.parseCommand`.

/// Whether escapes mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    Taken,
    Literal,
}

/// The words of a line.
pub(super) fn split(line: &str, escapes: Escapes) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return words;
        };
        if first == '"' || first == '\'' {
            let inner = &rest[1..];
            let with_escapes = first == '"' && escapes == Escapes::Taken;
            match closing_quote(inner, first, with_escapes) {
                Some(end) if with_escapes => {
                    words.push(unescape(&inner[..end]));
                    rest = &inner[end + 1..];
                }
                Some(end) => {
                    words.push(inner[..end].to_owned());
                    rest = &inner[end + 1..];
                }
                // Without its end a quote is passed over.
                None => rest = inner,
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
}

/// Where the word that ends the line begins, and what it is so far: for completion. None within quotes that are full
/// of what completion does not know.
pub(super) fn last_word(line: &str) -> (usize, String) {
    let mut start = 0;
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let Some(first) = rest.chars().next() else {
            break;
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            start = at;
            continue;
        }
        start = at;
        if first == '"' || first == '\'' {
            match closing_quote(&rest[1..], first, first == '"') {
                Some(end) => at += end + 2,
                None => return (start, rest[1..].to_owned()),
            }
            start = at;
        } else {
            at += rest.find(char::is_whitespace).unwrap_or(rest.len());
        }
    }
    (start, line[start..].to_owned())
}

/// A word as it has to be typed.
pub(super) fn quote(word: &str) -> String {
    let plain = !word.is_empty()
        && !word.starts_with(['"', '\''])
        && !word.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    if plain {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

fn closing_quote(text: &str, quote: char, with_escapes: bool) -> Option<usize> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            return Some(at);
        }
        if letter == '\\' && with_escapes {
            letters.next();
        }
    }
    None
}

/// What is no escape stays as it is, backslash and all.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('0') => plain.push('\0'),
            Some(same @ ('"' | '\\')) => plain.push(same),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_java_shell() {
        for (line, words) in [
            ("  ls   /  ", &["ls", "/"][..]),
            ("create /a \"x y\"", &["create", "/a", "x y"]),
            ("create /a 'x \"y\"'", &["create", "/a", "x \"y\""]),
            ("create /a {\"x\":1}", &["create", "/a", "{\"x\":1}"]),
            ("set /a \"\"", &["set", "/a", ""]),
            ("set /a \"x\"y", &["set", "/a", "x", "y"]),
            ("set /a \"x", &["set", "/a", "x"]),
            ("set /a C:\\n", &["set", "/a", "C:\\n"]),
            ("", &[]),
        ] {
            for escapes in [Escapes::Taken, Escapes::Literal] {
                assert_eq!(split(line, escapes), words, "{line}");
            }
        }
    }

    #[test]
    fn escapes_stand_between_double_quotes() {
        let line = r#"set /a "a\n\"b\" \d\\" 'c\n'"#;
        assert_eq!(
            split(line, Escapes::Taken),
            ["set", "/a", "a\n\"b\" \\d\\", "c\\n"]
        );
    }

    #[test]
    fn quoted_words_come_back() {
        for word in ["/a b", "plain", "", "\"x\"", "a\nb", "a\\ b"] {
            assert_eq!(split(&quote(word), Escapes::Taken), [word]);
        }
    }

    #[test]
    fn the_last_word_is_what_is_completed() {
        for (line, start, word) in [
            ("", 0, ""),
            ("ge", 0, "ge"),
            ("get ", 4, ""),
            ("get /a", 4, "/a"),
            ("get \"/a b", 4, "/a b"),
            ("get \"/a b\" ", 11, ""),
        ] {
            assert_eq!(last_word(line), (start, word.to_owned()), "{line}");
        }
    }
}
