//! What a command says, before it is text: values whose fields keep their order.

use std::fmt::Write;

use serde_json::Value;

/// A value of some output format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doc {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Self>),
    /// Fields in the order in which they are printed.
    Map(Vec<(&'static str, Self)>),
}

/// Spaces of one level of nesting.
const INDENT: usize = 2;

impl Doc {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A list of texts.
    pub(crate) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter();
        Self::List(texts.map(|text| Self::text(text.as_ref())).collect())
    }

    /// A number that is never larger than an `i64` in practice; the largest one if it is.
    pub(crate) fn count(number: impl TryInto<i64>) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json, None);
        json
    }

    /// JSON for people, over several lines.
    pub(crate) fn to_pretty_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json, Some(0));
        json
    }

    /// A scalar as JSON, which YAML understands, too.
    pub(super) fn scalar(&self) -> Option<String> {
        Some(match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(items) if items.is_empty() => "[]".to_owned(),
            Self::Map(fields) if fields.is_empty() => "{}".to_owned(),
            Self::List(_) | Self::Map(_) => return None,
        })
    }

    fn write_json(&self, json: &mut String, depth: Option<usize>) {
        if let Some(scalar) = self.scalar() {
            json.push_str(&scalar);
            return;
        }
        let (open, close, length) = match self {
            Self::List(items) => ('[', ']', items.len()),
            Self::Map(fields) => ('{', '}', fields.len()),
            _ => return,
        };
        let inner = depth.map(|depth| depth + 1);
        json.push(open);
        for at in 0..length {
            if at > 0 {
                json.push(',');
            }
            break_line(json, inner);
            match self {
                Self::Map(fields) => {
                    let (name, value) = &fields[at];
                    let space = if depth.is_some() { " " } else { "" };
                    write!(json, "{}:{space}", quoted(name))
                        .expect("a String takes whatever is written");
                    value.write_json(json, inner);
                }
                Self::List(items) => items[at].write_json(json, inner),
                _ => {}
            }
        }
        break_line(json, depth);
        json.push(close);
    }
}

fn break_line(json: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        json.push('\n');
        json.extend(std::iter::repeat_n(' ', depth * INDENT));
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Doc {
        Doc::Map(vec![
            ("path", Doc::text("/a\"\n")),
            ("none", Doc::Null),
            ("list", Doc::List(vec![Doc::Int(1), Doc::Bool(true)])),
            ("empty", Doc::List(Vec::new())),
        ])
    }

    #[test]
    fn json_keeps_the_order_of_fields() {
        let line = r#"{"path":"/a\"\n","none":null,"list":[1,true],"empty":[]}"#;
        assert_eq!(sample().to_json(), line);
        let parsed: Value = serde_json::from_str(line).unwrap();
        assert_eq!(parsed["list"][0], 1);
    }

    #[test]
    fn json_for_people_is_indented() {
        let pretty = sample().to_pretty_json();
        assert!(
            pretty.starts_with("{\n  \"path\": \"/a\\\"\\n\",\n"),
            "{pretty}"
        );
        assert!(pretty.ends_with("  \"empty\": []\n}"), "{pretty}");
        assert!(serde_json::from_str::<Value>(&pretty).is_ok());
    }
}
