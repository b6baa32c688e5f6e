//! A document's values in files: properties, JSON, YAML.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};
use zab::config::{
    Document, Kind, Value, parse_properties, parse_yaml, write_properties, write_yaml,
};

use super::config_options::Format;

/// The values of a file, of the kind that its name says. With `flatten` what is nested has values of its own.
///
/// # Errors
/// What is the matter with it, in words.
pub(super) fn read(
    file: &Path,
    text: &str,
    flatten: bool,
) -> Result<BTreeMap<String, Value>, String> {
    let wrong = |reason: String| format!("{}: {reason}", file.display());
    let extension = file.extension().and_then(|extension| extension.to_str());
    let (nested, map) = match extension {
        Some("json") => {
            let map: Map<String, Json> =
                serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            (Kind::Json, map)
        }
        Some("yaml" | "yml") => (Kind::Yaml, mapping(text).map_err(wrong)?),
        _ => {
            let values = parse_properties(text).into_iter().map(|(key, text)| {
                let kind = Kind::Text;
                (key, Value { kind, text })
            });
            return Ok(values.collect());
        }
    };
    let mut values = BTreeMap::new();
    let mut waiting: Vec<_> = map.into_iter().collect();
    while let Some((key, value)) = waiting.pop() {
        let value = match value {
            Json::Object(inner) if flatten && !inner.is_empty() => {
                let inner = inner.into_iter();
                waiting.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
                continue;
            }
            Json::String(text) => Value {
                kind: Kind::Text,
                text,
            },
            Json::Bool(_) => Value {
                kind: Kind::Boolean,
                text: value.to_string(),
            },
            Json::Number(_) => Value {
                kind: Kind::Number,
                text: value.to_string(),
            },
            nested_value => Value {
                kind: nested,
                text: match nested {
                    Kind::Yaml => write_yaml(&nested_value),
                    _ => nested_value.to_string(),
                },
            },
        };
        if values.contains_key(&key) {
            return Err(wrong(format!("there is more than one {key}")));
        }
        values.insert(key, value);
    }
    Ok(values)
}

/// The mapping that a file of YAML is.
fn mapping(text: &str) -> Result<Map<String, Json>, String> {
    let mut documents = parse_yaml(text)?;
    match (documents.pop(), documents.is_empty()) {
        (None | Some(Json::Null), true) => Ok(Map::new()),
        (Some(Json::Object(map)), true) => Ok(map),
        (_, true) => Err("it is not a mapping of keys and values".to_owned()),
        (_, false) => Err("it has more than one document".to_owned()),
    }
}

/// A document's values as a file has them.
pub(super) fn print(document: &Document, format: Format) -> String {
    let values = &document.values;
    let typed = || {
        let values = values
            .iter()
            .map(|(key, value)| (key.clone(), typed(value)));
        Json::Object(values.collect())
    };
    match format {
        Format::Properties => write_properties(
            values
                .iter()
                .map(|(key, value)| (key.as_str(), value.text.as_str())),
        ),
        Format::Document => format!("{:#}\n", document.to_json()),
        Format::Json => format!("{:#}\n", typed()),
        Format::Yaml => write_yaml(&typed()),
    }
}

/// A value as what it is. Where there is no telling, as of YAML with several documents, it is its text.
fn typed(value: &Value) -> Json {
    let typed = match value.kind {
        Kind::Boolean | Kind::Json | Kind::Number => serde_json::from_str(&value.text).ok(),
        Kind::Yaml => parse_yaml(&value.text).ok().and_then(|mut documents| {
            let last = documents.pop();
            last.filter(|_| documents.is_empty())
        }),
        Kind::Properties | Kind::Text => None,
    };
    typed.unwrap_or_else(|| Json::String(value.text.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        "{\"a\": true, \"b\": 1.5, \"c\": \"x\", \"d\": {\"e\": {\"f\": [1]}}, \"g\": null}";
    const YAML: &str = "a: true\nb: 1.5\nc: x\nd:\n  e:\n    f:\n      - 1\ng: null\n";

    fn kinds(values: &BTreeMap<String, Value>) -> Vec<(&str, Kind)> {
        let kinds = values.iter().map(|(key, value)| (key.as_str(), value.kind));
        kinds.collect()
    }

    #[test]
    fn files_are_read_and_printed_alike() {
        for (name, text, format, nested) in [
            ("x.json", JSON, Format::Json, Kind::Json),
            ("x.yaml", YAML, Format::Yaml, Kind::Yaml),
            ("x.yml", YAML, Format::Yaml, Kind::Yaml),
        ] {
            let values = read(Path::new(name), text, false).unwrap();
            let all = [
                ("a", Kind::Boolean),
                ("b", Kind::Number),
                ("c", Kind::Text),
                ("d", nested),
                ("g", nested),
            ];
            assert_eq!(kinds(&values), all);
            let document = Document {
                values: values.clone(),
                ..Document::default()
            };
            let printed = print(&document, format);
            assert_eq!(read(Path::new(name), &printed, false).unwrap(), values);
            // What came from one can go to the other.
            let other = print(&document, Format::Yaml);
            assert_eq!(other, YAML);
        }
        let properties = read(Path::new("x.conf"), "a=1", false).unwrap();
        assert_eq!(kinds(&properties), [("a", Kind::Text)]);
    }

    #[test]
    fn what_is_nested_can_have_keys_of_its_own() {
        for (name, text) in [("x.json", JSON), ("x.yaml", YAML)] {
            let values = read(Path::new(name), text, true).unwrap();
            let keys: Vec<_> = values.keys().map(String::as_str).collect();
            assert_eq!(keys, ["a", "b", "c", "d.e.f", "g"]);
        }
        let twice = read(Path::new("x.yaml"), "a.b: 1\na: {b: 2}", true);
        assert_eq!(twice.unwrap_err(), "x.yaml: there is more than one a.b");
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for (name, text, words) in [
            ("x.json", "[1]", "invalid type"),
            ("x.yaml", "- 1", "x.yaml: it is not a mapping"),
            (
                "x.yaml",
                "a: 1\n---\nb: 2",
                "x.yaml: it has more than one document",
            ),
            ("x.yaml", "a: [", ""),
        ] {
            let error = read(Path::new(name), text, false).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(
            read(Path::new("x.yaml"), "# nothing\n", false)
                .unwrap()
                .is_empty()
        );
    }
}
