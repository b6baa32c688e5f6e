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
    /// The same, with names that come from outside.
    Object(Vec<(String, Self)>),
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

    /// Names and values, of what has them.
    pub(super) fn fields(&self) -> Option<Vec<(&str, &Self)>> {
        match self {
            Self::Map(fields) => Some(fields.iter().map(|(name, value)| (*name, value)).collect()),
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.as_str(), value));
                Some(fields.collect())
            }
            _ => None,
        }
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
            Self::Object(fields) if fields.is_empty() => "{}".to_owned(),
            Self::List(_) | Self::Map(_) | Self::Object(_) => return None,
        })
    }

    fn write_json(&self, json: &mut String, depth: Option<usize>) {
        if let Some(scalar) = self.scalar() {
            json.push_str(&scalar);
            return;
        }
        let items: Vec<(Option<&str>, &Self)> = match (self, self.fields()) {
            (_, Some(fields)) => fields
                .into_iter()
                .map(|(name, value)| (Some(name), value))
                .collect(),
            (Self::List(items), None) => items.iter().map(|item| (None, item)).collect(),
            _ => return,
        };
        let (open, close) = match self {
            Self::List(_) => ('[', ']'),
            _ => ('{', '}'),
        };
        let inner = depth.map(|depth| depth + 1);
        json.push(open);
        for (at, (name, value)) in items.into_iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            break_line(json, inner);
            if let Some(name) = name {
                let space = if depth.is_some() { " " } else { "" };
                write!(json, "{}:{space}", quoted(name))
                    .expect("a String takes whatever is written");
            }
            value.write_json(json, inner);
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
            (
                "named",
                Doc::Object(vec![("a \"name\"".to_owned(), Doc::Int(2))]),
            ),
            ("unnamed", Doc::Object(Vec::new())),
        ])
    }

    #[test]
    fn json_keeps_the_order_of_fields() {
        let line = r#"{"path":"/a\"\n","none":null,"list":[1,true],"empty":[],"named":{"a \"name\"":2},"unnamed":{}}"#;
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
        assert!(pretty.ends_with("  \"unnamed\": {}\n}"), "{pretty}");
        assert!(serde_json::from_str::<Value>(&pretty).is_ok());
    }
}
