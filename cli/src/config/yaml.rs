//! YAML 1.2 with its core schema, as far as JSON can say it too.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value as Json};

/// How deep lists and mappings may be in each other. Recursion elsewhere relies on it.
const DEPTH_MAX: usize = 100;
/// Nodes of all documents, those that aliases stand for counted each time.
const NODES_MAX: usize = 1_000_000;

/// The documents of a text.
///
/// # Errors
/// What is the matter, and where, in words: when it is no YAML, has a key twice or one that is no scalar, or is deeper or
/// larger than could be meant.
pub fn parse(text: &str) -> Result<Vec<Json>, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        builder.event(&event).map_err(|reason| {
            let (line, column) = (span.start.line(), span.start.col() + 1);
            format!("{reason} at line {line} column {column}")
        })?;
    }
    Ok(builder.documents)
}

/// A list or mapping that has not ended.
enum Open {
    List(Vec<Json>),
    /// With the key whose value comes next, and what is merged under what it says itself.
    Map(Map<String, Json>, Option<String>, Vec<Json>),
}

#[derive(Default)]
struct Builder {
    documents: Vec<Json>,
    /// With the anchor of each, or 0.
    open: Vec<(Open, usize)>,
    /// What aliases stand for, with its nodes.
    anchors: HashMap<usize, (Json, usize)>,
    nodes: usize,
    nothing_yet: bool,
}

impl Builder {
    fn event(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.nothing_yet = true;
            }
            Event::DocumentEnd if self.nothing_yet => self.documents.push(Json::Null),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, *style, tag.as_deref());
                // A key is what is written, whatever it could mean.
                if let Some((Open::Map(_, key @ None, _), _)) = self.open.last_mut() {
                    *key = Some(text.clone().into_owned());
                    if *anchor > 0 {
                        self.anchors.insert(*anchor, (value, 1));
                    }
                    return self.count(1);
                }
                self.put(value, *anchor)?;
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List(Vec::new()), *anchor)?,
            Event::MappingStart(anchor, _) => {
                self.begin(Open::Map(Map::new(), None, Vec::new()), *anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (value, anchor) = match self.open.pop() {
                    Some((Open::List(items), anchor)) => (Json::Array(items), anchor),
                    Some((Open::Map(mut map, _, merged), anchor)) => {
                        merge(&mut map, merged)?;
                        (Json::Object(map), anchor)
                    }
                    None => return Err("an end without a beginning".to_owned()),
                };
                self.put(value, anchor)?;
            }
            Event::Alias(anchor) => {
                let (value, nodes) = self
                    .anchors
                    .get(anchor)
                    .cloned()
                    .ok_or("an alias of what has not ended")?;
                self.count(nodes)?;
                if let Some((Open::Map(_, key @ None, _), _)) = self.open.last_mut() {
                    let text = value.as_str().ok_or("a key that is no text")?;
                    *key = Some(text.to_owned());
                    return Ok(());
                }
                self.put(value, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} values"));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, anchor: usize) -> Result<(), String> {
        if let Some((Open::Map(_, None, _), _)) = self.open.last() {
            return Err("a key that is no scalar".to_owned());
        }
        if self.open.len() == DEPTH_MAX {
            return Err(format!("deeper than {DEPTH_MAX}"));
        }
        self.open.push((open, anchor));
        Ok(())
    }

    fn put(&mut self, value: Json, anchor: usize) -> Result<(), String> {
        self.count(1)?;
        if anchor > 0 {
            let nodes = nodes(&value);
            // What is kept counts, too: it is a copy.
            self.count(nodes)?;
            self.anchors.insert(anchor, (value.clone(), nodes));
        }
        if self.open.len() + depth(&value) > DEPTH_MAX {
            return Err(format!("deeper than {DEPTH_MAX}"));
        }
        match self.open.last_mut() {
            None => {
                self.nothing_yet = false;
                self.documents.push(value);
            }
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Map(map, key, merged), _)) => {
                let key = key.take().ok_or("a key that is no scalar")?;
                if key == "<<" {
                    merged.push(value);
                } else if map.contains_key(&key) {
                    return Err(format!("the key {key} for the second time"));
                } else {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }
}

/// `<<`: what the mapping does not say itself, from the first that says it.
fn merge(map: &mut Map<String, Json>, merged: Vec<Json>) -> Result<(), String> {
    let lists = merged.into_iter().flat_map(|value| match value {
        Json::Array(items) => items,
        other => vec![other],
    });
    for value in lists {
        let Json::Object(from) = value else {
            return Err("<< with what is no mapping".to_owned());
        };
        for (key, value) in from {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn nodes(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Json::Object(map) => 1 + map.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Json {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Json::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Json::Null,
        "true" | "True" | "TRUE" => Json::Bool(true),
        "false" | "False" | "FALSE" => Json::Bool(false),
        _ => number(text).map_or_else(|| Json::String(text.to_owned()), Json::Number),
    }
}

/// A number that JSON can say without loss of what is meant; infinities are not among them, nor are integers of more
/// than 64 bits.
fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return (!digits.starts_with('+'))
            .then(|| u64::from_str_radix(digits, 16).ok())?
            .map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return (!digits.starts_with('+'))
            .then(|| u64::from_str_radix(digits, 8).ok())?
            .map(Number::from);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        return unsigned
            .parse::<i64>()
            .map(Number::from)
            .or_else(|_| unsigned.parse::<u64>().map(Number::from))
            .ok();
    }
    let is_float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && !digits.starts_with(['e', 'E', '+', '-']);
    is_float.then(|| text.parse().ok().and_then(Number::from_f64))?
}

/// A value as a document that [`parse`] and other readers take for the same, in block style.
#[must_use]
pub fn write(value: &Json) -> String {
    let mut text = String::new();
    match value {
        Json::Array(items) if !items.is_empty() => write_list(items, 0, &mut text),
        Json::Object(map) if !map.is_empty() => write_map(map, 0, &mut text),
        other => {
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
    text
}

fn write_map(map: &Map<String, Json>, indent: usize, text: &mut String) {
    for (key, value) in map {
        text.push_str(&" ".repeat(indent));
        text.push_str(&quoted(key));
        text.push(':');
        match value {
            Json::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_list(items, indent + 2, text);
            }
            Json::Object(map) if !map.is_empty() => {
                text.push('\n');
                write_map(map, indent + 2, text);
            }
            other => {
                text.push(' ');
                text.push_str(&inline(other));
                text.push('\n');
            }
        }
    }
}

fn write_list(items: &[Json], indent: usize, text: &mut String) {
    for item in items {
        text.push_str(&" ".repeat(indent));
        text.push('-');
        match item {
            Json::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_list(items, indent + 2, text);
            }
            Json::Object(map) if !map.is_empty() => {
                let mut block = String::new();
                write_map(map, indent + 2, &mut block);
                text.push(' ');
                text.push_str(block.trim_start_matches(' '));
            }
            other => {
                text.push(' ');
                text.push_str(&inline(other));
                text.push('\n');
            }
        }
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// A text in quotes, unless no reader could take it for anything else.
fn quoted(text: &str) -> String {
    const WORDS: [&str; 10] = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan",
    ];
    let mut bytes = text.bytes();
    let is_plain = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'/')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            letter if is_unprintable(letter) => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn is_unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        let text = "\
# a comment
db: &db
  url: jdbc:mysql://h/x   # the first
  pool: 5
  ratio: .5
  safe: true
  none: ~
  \"quoted\": '007'
  version: 1.2.3
  mask: 0x1F
hosts: [a, \"b\", -1]
long: |
  two
  lines
copy:
  <<: *db
  pool: 6
same: *db
";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 1);
        let db = &documents[0]["db"];
        assert_eq!(
            *db,
            json!({"url": "jdbc:mysql://h/x", "pool": 5, "ratio": 0.5, "safe": true, "none": null,
                "quoted": "007", "version": "1.2.3", "mask": 31})
        );
        assert_eq!(documents[0]["hosts"], json!(["a", "b", -1]));
        assert_eq!(documents[0]["long"], json!("two\nlines\n"));
        assert_eq!(documents[0]["same"], *db);
        assert_eq!(documents[0]["copy"]["pool"], json!(6));
        assert_eq!(documents[0]["copy"]["url"], db["url"]);
        assert_eq!(parse("a\n---\nb\n").unwrap(), [json!("a"), json!("b")]);
        assert_eq!(parse("").unwrap(), [json!(null); 0]);
        assert_eq!(parse("!!str 5").unwrap(), [json!("5")]);
    }

    #[test]
    fn what_could_not_be_meant_is_refused() {
        let bomb = format!(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n{}",
            ('b'..='k')
                .zip('a'..)
                .map(|(next, last)| format!(
                    "{next}: &{next} [{}]\n",
                    format!("*{last},").repeat(10)
                ))
                .collect::<String>()
        );
        let deep = "[".repeat(100_000);
        for (text, words) in [
            ("a: 1\na: 2", "the key a for the second time at line 2"),
            ("a: [1", ""),
            ("a: b: c", ""),
            ("? [a]\n: b", "a key that is no scalar"),
            ("*x", ""),
            ("<<: 5", "<< with what is no mapping"),
            ("&a [*a]", "an alias of what has not ended"),
            (&bomb, "more than 1000000 values"),
            (&deep, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e9..1e9).prop_map(Json::from),
            "(\\PC|\\pC){0,12}".prop_map(Json::from),
            "[-a-z0-9:#~ .]{0,6}".prop_map(Json::from),
            prop_oneof!["<<", "yes", "1e3", "0x1", "- a", "a: b", ".5", "~"].prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-z.# \\n]{0,6}", inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in json()) {
            let text = write(&value);
            prop_assert_eq!(parse(&text), Ok(vec![value]), "{}", text);
        }

        #[test]
        fn any_text_can_be_read(text in "([\\[\\]{}:,?&*!|>'\"%@#\\n -]|[ab]|\\PC){0,40}") {
            drop(parse(&text));
        }
    }
}
