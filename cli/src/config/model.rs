//! What is configured, apart from where it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value as Json, json};

use super::{properties, yaml};

/// Something that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No name of a namespace.
    #[error("\"{0}\" is not ENVIRONMENT/APPLICATION or ENVIRONMENT/APPLICATION/NAMESPACE")]
    Namespace(String),
    /// A value that is not of its type.
    #[error("the value of {key} is no {kind}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What it should be.
        kind: Kind,
        /// What is the matter.
        reason: String,
    },
    /// Data of a node that is no document of ours.
    #[error("no document of a configuration: {0}")]
    Document(String),
}

/// The name of a namespace: environment, application, namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// Such as `prod`.
    pub environment: String,
    /// Such as `shop`.
    pub application: String,
    /// `application` where none is given.
    pub name: String,
}

impl FromStr for Namespace {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let parts: Vec<_> = text.split('/').collect();
        let (environment, application, name) = match parts[..] {
            [environment, application] => (environment, application, "application"),
            [environment, application, name] => (environment, application, name),
            _ => return Err(ModelError::Namespace(text.to_owned())),
        };
        if [environment, application, name].contains(&"") {
            return Err(ModelError::Namespace(text.to_owned()));
        }
        Ok(Self {
            environment: environment.to_owned(),
            application: application.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.environment, self.application, self.name)
    }
}

/// What a value's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A JSON text.
    Json,
    /// A number, as JSON writes it.
    Number,
    /// Keys and values, as Java's properties.
    Properties,
    /// Any text.
    Text,
    /// YAML, of one document or several.
    Yaml,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Boolean,
        Self::Json,
        Self::Number,
        Self::Properties,
        Self::Text,
        Self::Yaml,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Json => "json",
            Self::Number => "number",
            Self::Properties => "properties",
            Self::Text => "text",
            Self::Yaml => "yaml",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// As it was published.
    pub text: String,
}

impl Value {
    /// A value that is what it says.
    ///
    /// # Errors
    /// When the text is not of the kind. `key` is for the words about that.
    pub fn checked(key: &str, kind: Kind, text: String) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::Value {
            key: key.to_owned(),
            kind,
            reason,
        };
        match kind {
            Kind::Boolean if text != "true" && text != "false" => {
                return Err(wrong("it is neither true nor false".to_owned()));
            }
            Kind::Json => {
                serde_json::from_str::<Json>(&text).map_err(|error| wrong(error.to_string()))?;
            }
            Kind::Number => {
                serde_json::from_str::<serde_json::Number>(&text)
                    .map_err(|error| wrong(error.to_string()))?;
            }
            Kind::Properties => {
                if let Some(key) = properties::parse(&text).into_keys().find(String::is_empty) {
                    return Err(wrong(format!("it has an empty key {key}")));
                }
            }
            Kind::Yaml => {
                yaml::parse(&text).map_err(wrong)?;
            }
            Kind::Boolean | Kind::Text => {}
        }
        Ok(Self { kind, text })
    }
}

/// One revision of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Counted from 1; 0 is nothing published yet.
    pub revision: u64,
    /// Who published it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When, in milliseconds since 1970 UTC, by the clock of who published it.
    pub time_ms: i64,
    /// What is configured.
    pub values: BTreeMap<String, Value>,
}

impl Document {
    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let values: Map<_, _> = self
            .values
            .iter()
            .map(|(key, value)| {
                let value = json!({"type": value.kind.name(), "value": value.text});
                (key.clone(), value)
            })
            .collect();
        json!({
            "revision": self.revision,
            "author": self.author,
            "comment": self.comment,
            "time_ms": self.time_ms,
            "values": values,
        })
    }

    /// Reads what is kept. No data is nothing published. A type that is not known here is text.
    ///
    /// # Errors
    /// When it is no document.
    pub fn parse(data: &[u8]) -> Result<Self, ModelError> {
        if data.is_empty() {
            return Ok(Self::default());
        }
        Self::from_json(&parse_json(data)?)
    }

    fn from_json(json: &Json) -> Result<Self, ModelError> {
        let missing = |what: &str| ModelError::Document(format!("it has no {what}"));
        let text = |key| json.get(key).and_then(Json::as_str).unwrap_or_default();
        let revision = json.get("revision").and_then(Json::as_u64);
        let values = json.get("values").and_then(Json::as_object);
        let mut document = Self {
            revision: revision.ok_or_else(|| missing("revision"))?,
            author: text("author").to_owned(),
            comment: text("comment").to_owned(),
            time_ms: json.get("time_ms").and_then(Json::as_i64).unwrap_or(0),
            values: BTreeMap::new(),
        };
        for (key, value) in values.ok_or_else(|| missing("values"))? {
            let text = value.get("value").and_then(Json::as_str);
            let kind = value.get("type").and_then(Json::as_str);
            let value = Value {
                kind: kind.and_then(Kind::from_name).unwrap_or(Kind::Text),
                text: text
                    .ok_or_else(|| missing(&format!("value of {key}")))?
                    .to_owned(),
            };
            document.values.insert(key.clone(), value);
        }
        Ok(document)
    }
}

fn parse_json(data: &[u8]) -> Result<Json, ModelError> {
    serde_json::from_slice(data).map_err(|error| ModelError::Document(error.to_string()))
}

/// Who takes a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    /// Its name, different from those of the others.
    pub id: String,
    /// Its address, if it has one.
    pub address: String,
    /// What else there is to know about it.
    pub labels: BTreeMap<String, String>,
}

/// To which instances something applies: those that are named, have one of the addresses, or have one of the labels
/// with its value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Instances by name.
    pub instances: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<String>,
    /// Labels and their values.
    pub labels: BTreeSet<(String, String)>,
}

impl Rule {
    /// Whether it applies to this instance.
    #[must_use]
    pub fn applies_to(&self, instance: &Instance) -> bool {
        let mut labels = self.labels.iter();
        self.instances.contains(&instance.id)
            || (!instance.address.is_empty() && self.addresses.contains(&instance.address))
            || labels.any(|(name, value)| instance.labels.get(name) == Some(value))
    }
}

/// What some instances take in place of what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grey {
    /// What they take.
    pub document: Document,
    /// Which.
    pub rule: Rule,
}

impl Grey {
    /// As it is kept: a document with a rule.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let labels: Vec<_> = self
            .rule
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut json = self.document.to_json();
        json["rule"] = json!({
            "instances": self.rule.instances,
            "addresses": self.rule.addresses,
            "labels": labels,
        });
        json
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// When it is no document with a rule.
    pub fn parse(data: &[u8]) -> Result<Self, ModelError> {
        let json = parse_json(data)?;
        let rule = json
            .get("rule")
            .ok_or_else(|| ModelError::Document("it has no rule".to_owned()))?;
        let list = |key: &str| -> BTreeSet<String> {
            let items = rule.get(key).and_then(Json::as_array);
            let items = items.into_iter().flatten().filter_map(Json::as_str);
            items.map(str::to_owned).collect()
        };
        let labels = list("labels").into_iter().filter_map(|label| {
            let (name, value) = label.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(Self {
            document: Document::from_json(&json)?,
            rule: Rule {
                instances: list("instances"),
                addresses: list("addresses"),
                labels: labels.collect(),
            },
        })
    }
}

/// How a key differs between two documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it was; none if it is new.
    pub before: Option<Value>,
    /// What it is; none if it is gone.
    pub after: Option<Value>,
}

/// What has to change to come from one document to another, by key.
#[must_use]
pub fn differences(before: &Document, after: &Document) -> Vec<Change> {
    let keys: BTreeSet<_> = before.values.keys().chain(after.values.keys()).collect();
    keys.into_iter()
        .map(|key| Change {
            key: key.clone(),
            before: before.values.get(key).cloned(),
            after: after.values.get(key).cloned(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: Kind, text: &str) -> Result<Value, ModelError> {
        Value::checked("k", kind, text.to_owned())
    }

    #[test]
    fn values_are_what_they_say() {
        for (kind, good, bad) in [
            (Kind::Boolean, "true", "yes"),
            (Kind::Json, "{\"a\": [1]}", "{a}"),
            (Kind::Number, "-1.5e3", "1x"),
            (Kind::Properties, "a=1\nb=2", "=1"),
            (Kind::Yaml, "a: [1]\n---\nb", "a: [1"),
        ] {
            assert!(value(kind, good).is_ok(), "{kind}");
            assert!(value(kind, bad).is_err(), "{kind}");
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
    }

    #[test]
    fn documents_are_kept_and_read_again() {
        let mut document = Document {
            revision: 3,
            author: "me".to_owned(),
            comment: "why".to_owned(),
            time_ms: 9,
            values: BTreeMap::new(),
        };
        let one = value(Kind::Json, "[1]").unwrap();
        document.values.insert("one".to_owned(), one);
        let bytes = document.to_json().to_string().into_bytes();
        assert_eq!(Document::parse(&bytes), Ok(document.clone()));
        let grey = Grey {
            rule: Rule {
                labels: BTreeSet::from([("zone".to_owned(), "a=b".to_owned())]),
                ..Rule::default()
            },
            document,
        };
        let bytes = grey.to_json().to_string().into_bytes();
        assert_eq!(Grey::parse(&bytes), Ok(grey));
        assert_eq!(Document::parse(b""), Ok(Document::default()));
        for odd in [
            &b"x"[..],
            b"{}",
            b"[]",
            b"{\"revision\":1}",
            b"{\"revision\":1,\"values\":{\"a\":{}}}",
        ] {
            assert!(Document::parse(odd).is_err());
            assert!(Grey::parse(odd).is_err());
        }
    }

    #[test]
    fn rules_name_instances_addresses_or_labels() {
        let rule = Rule {
            instances: BTreeSet::from(["a".to_owned()]),
            addresses: BTreeSet::from(["10.0.0.1".to_owned()]),
            labels: BTreeSet::from([("zone".to_owned(), "x".to_owned())]),
        };
        for (id, address, zone, applies) in [
            ("a", "", "", true),
            ("b", "10.0.0.1", "", true),
            ("b", "", "x", true),
            ("b", "10.0.0.2", "y", false),
        ] {
            let instance = Instance {
                id: id.to_owned(),
                address: address.to_owned(),
                labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
            };
            assert_eq!(rule.applies_to(&instance), applies, "{instance:?}");
        }
        assert!(!Rule::default().applies_to(&Instance::default()));
    }

    #[test]
    fn differences_go_by_key() {
        let mut before = Document::default();
        for (key, text) in [("same", "1"), ("gone", "1"), ("other", "1")] {
            before
                .values
                .insert(key.to_owned(), value(Kind::Text, text).unwrap());
        }
        let mut after = before.clone();
        after.values.remove("gone");
        after
            .values
            .insert("new".to_owned(), value(Kind::Text, "1").unwrap());
        after
            .values
            .insert("other".to_owned(), value(Kind::Text, "2").unwrap());
        let keys: Vec<_> = differences(&before, &after)
            .into_iter()
            .map(|c| c.key)
            .collect();
        assert_eq!(keys, ["gone", "new", "other"]);
    }

    #[test]
    fn namespaces_have_two_or_three_names() {
        assert_eq!(
            "prod/shop".parse::<Namespace>().unwrap().to_string(),
            "prod/shop/application"
        );
        assert_eq!("prod/shop/db".parse::<Namespace>().unwrap().name, "db");
        for odd in ["", "prod", "prod/", "a//b", "a/b/c/d"] {
            assert!(odd.parse::<Namespace>().is_err(), "{odd}");
        }
    }
}
