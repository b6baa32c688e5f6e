//! Documents as YAML: block style, with strings quoted as in JSON wherever plain ones could mean something else.

use super::doc::Doc;

/// The document, each line ended.
pub(super) fn yaml(doc: &Doc) -> String {
    let mut text = String::new();
    write(doc, 0, &mut text);
    text
}

fn write(doc: &Doc, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match doc {
        Doc::List(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&indent);
                text.push_str("- ");
                nested(item, depth, text);
            }
        }
        Doc::Map(_) | Doc::Object(_) if doc.scalar().is_none() => {
            for (name, value) in doc.fields().unwrap_or_default() {
                text.push_str(&indent);
                match doc {
                    // Names of ours are plain, those of others need not be.
                    Doc::Object(_) => {
                        text.push_str(&scalar(&Doc::text(name)).unwrap_or_default());
                    }
                    _ => text.push_str(name),
                }
                text.push(':');
                if scalar(value).is_some() {
                    text.push(' ');
                } else {
                    text.push('\n');
                }
                match scalar(value) {
                    Some(scalar) => text.push_str(&(scalar + "\n")),
                    None => write(value, depth + 1, text),
                }
            }
        }
        other => text.push_str(&format!("{indent}{}\n", scalar(other).unwrap_or_default())),
    }
}

/// What stands behind a dash: a map's first field on the same line, the others below it.
fn nested(item: &Doc, depth: usize, text: &mut String) {
    match scalar(item) {
        Some(scalar) => text.push_str(&(scalar + "\n")),
        None => {
            let mut block = String::new();
            write(item, depth + 1, &mut block);
            text.push_str(block.trim_start_matches(' '));
        }
    }
}

fn scalar(doc: &Doc) -> Option<String> {
    match doc {
        Doc::Text(text) if is_plain(text) => Some(text.clone()),
        other => other.scalar(),
    }
}

/// Whether a string can stand without quotes in every version of YAML: it looks like a word or a path, not like a
/// number, a date or a truth.
fn is_plain(text: &str) -> bool {
    let mut characters = text.chars();
    let starts_well = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '/');
    let word = text.to_ascii_lowercase();
    starts_well
        && characters.all(|other| other.is_ascii_alphanumeric() || "/_-.".contains(other))
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_indented_and_strings_quoted_where_it_matters() {
        let doc = Doc::Map(vec![
            ("path", Doc::text("/a/b-1")),
            ("truth", Doc::text("no")),
            ("number", Doc::text("12")),
            ("hex", Doc::text("0x1f")),
            ("colon", Doc::text("a: b")),
            ("lines", Doc::text("a\nb")),
            ("none", Doc::Null),
            (
                "list",
                Doc::List(vec![
                    Doc::Map(vec![("a", Doc::Int(1)), ("b", Doc::texts(["x"]))]),
                    Doc::text("word"),
                ]),
            ),
            ("empty", Doc::List(Vec::new())),
            (
                "named",
                Doc::Object(vec![
                    ("zone".to_owned(), Doc::text("a")),
                    ("x: y".to_owned(), Doc::text("b")),
                ]),
            ),
        ]);
        assert_eq!(
            yaml(&doc),
            "path: /a/b-1\ntruth: \"no\"\nnumber: \"12\"\nhex: \"0x1f\"\ncolon: \"a: b\"\nlines: \"a\\nb\"\nnone: null\n\
             list:\n  - a: 1\n    b:\n      - x\n  - word\nempty: []\n\
             named:\n  zone: a\n  \"x: y\": b\n"
        );
        assert_eq!(yaml(&Doc::texts(["a", "b"])), "- a\n- b\n");
        assert_eq!(yaml(&Doc::Int(3)), "3\n");
    }
}
