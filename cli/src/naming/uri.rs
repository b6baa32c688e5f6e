//! Addresses made from a pattern: `{scheme}://{address}:{port}/path`.
//!
//! Curator: `UriSpec`.

use serde_json::{Value as Json, json};

use super::instance::Instance;

/// A text with names in braces, for which an instance has the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriSpec {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    value: String,
    is_variable: bool,
}

/// A pattern that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// A brace is not closed, or closed and not open.
    #[error("\"{0}\" has a brace without its other one; {{[}} and {{]}} stand for braces")]
    Brace(String),
    /// Nobody knows that name.
    #[error("there is no {{{0}}}; there are {names}, and {{meta.NAME}}", names = NAMES.join(", "))]
    Name(String),
}

/// The names that an instance has values for, besides `meta.NAME`. Those up to `]` are Curator's, too.
const NAMES: [&str; 15] = [
    "scheme",
    "name",
    "id",
    "address",
    "port",
    "ssl-port",
    "registration-time-utc",
    "service-type",
    "[",
    "]",
    "endpoint",
    "tags",
    "uri",
    "version",
    "weight",
];

impl UriSpec {
    /// Takes a pattern apart. Names that Curator does not know are left to its users' own variables.
    ///
    /// # Errors
    /// [`UriError::Brace`].
    pub fn parse(pattern: &str) -> Result<Self, UriError> {
        let wrong = || UriError::Brace(pattern.to_owned());
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}').ok_or_else(wrong)?;
            if before.contains('}') || name.contains('{') {
                return Err(wrong());
            }
            parts.push(Part::text(before));
            parts.push(Part {
                value: name.to_owned(),
                is_variable: true,
            });
            rest = behind;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        parts.push(Part::text(rest));
        parts.retain(|part| part.is_variable || !part.value.is_empty());
        Ok(Self { parts })
    }

    /// The pattern, if everything in it is known here.
    ///
    /// # Errors
    /// [`UriError::Brace`], [`UriError::Name`].
    pub fn parse_format(pattern: &str) -> Result<Self, UriError> {
        let spec = Self::parse(pattern)?;
        for part in spec.parts.iter().filter(|part| part.is_variable) {
            let name = part.value.as_str();
            if !NAMES.contains(&name) && !name.starts_with("meta.") {
                return Err(UriError::Name(name.to_owned()));
            }
        }
        Ok(spec)
    }

    /// As Curator keeps it.
    pub(super) fn to_json(&self) -> Json {
        let parts = self
            .parts
            .iter()
            .map(|part| json!({"value": part.value, "variable": part.is_variable}));
        json!({"parts": parts.collect::<Vec<_>>()})
    }

    /// What Curator keeps; none if it is something else.
    pub(super) fn from_json(json: &Json) -> Option<Self> {
        let parts = json.get("parts")?.as_array()?.iter().map(|part| {
            Some(Part {
                value: part.get("value")?.as_str()?.to_owned(),
                is_variable: part.get("variable")?.as_bool()?,
            })
        });
        Some(Self {
            parts: parts.collect::<Option<_>>()?,
        })
    }

    /// The text for an instance. What it has no value for is left out, as Curator does.
    #[must_use]
    pub fn build(&self, instance: &Instance) -> String {
        self.filled(|name| match name {
            "uri" => instance.uri(),
            _ => value(instance, name),
        })
    }

    /// The same without `{uri}`, which may be this very pattern.
    pub(super) fn build_uri(&self, instance: &Instance) -> String {
        self.filled(|name| value(instance, name))
    }

    fn filled(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let parts = self.parts.iter().map(|part| {
            if part.is_variable {
                value(&part.value).unwrap_or_default()
            } else {
                part.value.clone()
            }
        });
        parts.collect()
    }
}

impl Part {
    fn text(value: &str) -> Self {
        Self {
            value: value.to_owned(),
            is_variable: false,
        }
    }
}

fn value(instance: &Instance, name: &str) -> Option<String> {
    Some(match name {
        "scheme" if instance.ssl_port.is_some() => "https".to_owned(),
        "scheme" => "http".to_owned(),
        "name" => instance.name.clone(),
        "id" => instance.id.clone(),
        "address" => instance.address.clone()?,
        "port" => instance.port?.to_string(),
        "ssl-port" => instance.ssl_port?.to_string(),
        "registration-time-utc" => instance.registered_ms.to_string(),
        "service-type" => instance.service_type.name().to_owned(),
        "[" => "{".to_owned(),
        "]" => "}".to_owned(),
        "endpoint" => instance.endpoint()?,
        "tags" => instance.tags.join(","),
        "version" => instance.version.clone()?,
        "weight" => instance.weight.to_string(),
        _ => instance.metadata.get(name.strip_prefix("meta.")?)?.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_filled_in_as_curator_does() {
        let mut instance = Instance::new("web", "a", Some("h".to_owned()));
        instance.port = Some(80);
        instance.metadata = [("zone".to_owned(), "z1".to_owned())].into();
        for (pattern, text) in [
            ("{scheme}://{address}:{port}/x", "http://h:80/x"),
            ("{[}{name}{]}/{id}", "{web}/a"),
            ("{ssl-port}|{none}|{version}", "||"),
            ("{meta.zone}-{meta.rack}", "z1-"),
            ("{endpoint} {weight}", "h:80 100"),
            ("plain", "plain"),
            ("", ""),
        ] {
            let spec = UriSpec::parse(pattern).unwrap();
            assert_eq!(spec.build(&instance), text, "{pattern}");
            assert_eq!(UriSpec::from_json(&spec.to_json()), Some(spec));
        }
        instance.ssl_port = Some(443);
        instance.uri_spec = Some(UriSpec::parse("{scheme}://{address}:{ssl-port}{uri}").unwrap());
        let format = UriSpec::parse_format("<{uri}>").unwrap();
        assert_eq!(format.build(&instance), "<https://h:443>");
    }

    #[test]
    fn patterns_that_make_no_sense_are_refused() {
        for pattern in ["{", "}", "{a", "a}", "{a{b}}", "x}{a}"] {
            assert!(
                matches!(UriSpec::parse(pattern), Err(UriError::Brace(_))),
                "{pattern}"
            );
        }
        let error = UriSpec::parse_format("{adress}").unwrap_err().to_string();
        assert!(
            error.contains("no {adress}; there are scheme, name"),
            "{error}"
        );
        for json in [
            json!({}),
            json!({"parts": 1}),
            json!({"parts": [{"value": 1}]}),
        ] {
            assert_eq!(UriSpec::from_json(&json), None);
        }
    }
}
