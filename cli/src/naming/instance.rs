//! One who serves, as its node's data says.
//!
//! Curator: `ServiceInstance`, as `JsonInstanceSerializer` reads and writes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::uri::UriSpec;

/// How much of the work an instance gets that does not say.
pub const WEIGHT_DEFAULT: u32 = 100;

/// Data of more bytes than this are not looked into: whoever may write there decides how much everybody reads.
pub const INSTANCE_BYTES_MAX: usize = 64 << 10;

/// The payload's class for Curator: what its reader makes of an object without one, too.
const MAP_CLASS: &str = "java.util.LinkedHashMap";
const CLASS: &str = "@class";

/// The field beside Curator's, which its readers pass over.
const FIELD: &str = "zab";

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The service.
    pub name: String,
    /// Different from those of the service's other instances.
    pub id: String,
    /// Host name or IP address.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Its port for TLS.
    pub ssl_port: Option<u16>,
    /// How much of the work it is to get, compared with the others; 0 is none.
    pub weight: u32,
    /// Its version.
    pub version: Option<String>,
    /// What it is good for.
    pub tags: Vec<String>,
    /// What else there is to know.
    pub metadata: BTreeMap<String, String>,
    /// When it was registered, in milliseconds since 1970 UTC, by its own clock.
    pub registered_ms: i64,
    /// How its node is kept.
    pub service_type: ServiceType,
    /// Where it is, with path and scheme.
    pub uri_spec: Option<UriSpec>,
    /// Whether it is to be used.
    pub enabled: bool,
}

/// How an instance's node is kept.
///
/// Curator: `ServiceType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceType {
    /// With the session of who registered it.
    Dynamic,
    /// Until somebody deletes it.
    Static,
    /// The same.
    Permanent,
    /// With the session, under its id with a number behind it.
    DynamicSequential,
}

impl ServiceType {
    const ALL: [Self; 4] = [
        Self::Dynamic,
        Self::Static,
        Self::Permanent,
        Self::DynamicSequential,
    ];

    /// As Curator writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "DYNAMIC",
            Self::Static => "STATIC",
            Self::Permanent => "PERMANENT",
            Self::DynamicSequential => "DYNAMIC_SEQUENTIAL",
        }
    }
}

/// Where weight, version, tags and metadata are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extras {
    /// Into a field of their own, which Curator's clients pass over whatever payload they are made for.
    Field,
    /// Into the payload, where Curator's clients find them as a map. Those that are made for another payload than
    /// `Map` or `Object`, so for none at all, fail to read the whole service.
    Payload,
}

/// Data that are no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Too much.
    #[error("{0} bytes are more than the {INSTANCE_BYTES_MAX} of an instance")]
    TooLarge(usize),
    /// Not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but no object.
    #[error("JSON, but no object")]
    NotAnObject,
    /// A field that cannot be what it is.
    #[error("{field} is not {wanted}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// The access control list is against it.
    #[error("not allowed to read it")]
    Denied,
}

impl Instance {
    /// An instance of which no more is known.
    #[must_use]
    pub fn new(name: &str, id: &str, address: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            address,
            port: None,
            ssl_port: None,
            weight: WEIGHT_DEFAULT,
            version: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            registered_ms: 0,
            service_type: ServiceType::Dynamic,
            uri_spec: None,
            enabled: true,
        }
    }

    /// Reads a node's data, by whomever they were written. Service and id are those of the node's path, whatever the
    /// data say: Curator's sequential instances have a number behind their id there.
    ///
    /// # Errors
    /// When no Curator could have written them.
    pub fn parse(name: &str, id: &str, data: &[u8]) -> Result<Self, Unreadable> {
        if data.len() > INSTANCE_BYTES_MAX {
            return Err(Unreadable::TooLarge(data.len()));
        }
        let json: Json =
            serde_json::from_slice(data).map_err(|error| Unreadable::NotJson(error.to_string()))?;
        let Json::Object(json) = json else {
            return Err(Unreadable::NotAnObject);
        };
        let field = |name: &str| json.get(name).filter(|value| !value.is_null());
        let address = field("address").map(|value| address(value).ok_or(wrong("address", HOST)));
        let registered = field("registrationTimeUTC")
            .map(|value| value.as_i64().ok_or(wrong("registrationTimeUTC", TIME)));
        let service_type = field("serviceType").map(|value| {
            let known = |kind: &ServiceType| value.as_str() == Some(kind.name());
            let found = ServiceType::ALL.into_iter().find(known);
            found.ok_or(wrong("serviceType", "one of Curator's"))
        });
        let uri_spec = field("uriSpec")
            .map(|value| UriSpec::from_json(value).ok_or(wrong("uriSpec", "a list of parts")));
        let enabled =
            field("enabled").map(|value| value.as_bool().ok_or(wrong("enabled", "true or false")));
        let mut instance = Self {
            port: field("port").map(|value| port("port", value)).transpose()?,
            ssl_port: field("sslPort")
                .map(|value| port("sslPort", value))
                .transpose()?,
            registered_ms: registered.transpose()?.unwrap_or(0),
            service_type: service_type.transpose()?.unwrap_or(ServiceType::Dynamic),
            uri_spec: uri_spec.transpose()?,
            enabled: enabled.transpose()?.unwrap_or(true),
            ..Self::new(name, id, address.transpose()?)
        };
        for extras in [field("payload"), field(FIELD)] {
            if let Some(Json::Object(extras)) = extras {
                instance.take_extras(extras);
            }
        }
        Ok(instance)
    }

    /// What makes sense of somebody's payload: ours, or a map of another's, whose texts and numbers are metadata.
    fn take_extras(&mut self, extras: &Map<String, Json>) {
        for (key, value) in extras {
            let known = match key.as_str() {
                CLASS => true,
                "weight" => weight(value).is_some_and(|weight| {
                    self.weight = weight;
                    true
                }),
                "version" => scalar(value).is_some_and(|version| {
                    self.version = Some(version);
                    true
                }),
                "tags" => tags(value).is_some_and(|tags| {
                    self.tags = tags;
                    true
                }),
                "metadata" => value.as_object().is_some_and(|metadata| {
                    let pairs = metadata.iter().filter(|(key, _)| *key != CLASS);
                    self.metadata.extend(
                        pairs.filter_map(|(key, value)| Some((key.clone(), scalar(value)?))),
                    );
                    true
                }),
                _ => false,
            };
            if !known && let Some(value) = scalar(value) {
                self.metadata.insert(key.clone(), value);
            }
        }
    }

    /// As it is kept. What is as usual is left out where old readers know no better: `enabled`, which Curator before
    /// 4.0 refuses, and a payload that says nothing.
    #[must_use]
    pub fn to_data(&self, place: Extras) -> Vec<u8> {
        let extras = self.extras();
        let mut json = json!({
            "name": self.name,
            "id": self.id,
            "address": self.address,
            "port": self.port,
            "sslPort": self.ssl_port,
            "payload": null,
            "registrationTimeUTC": self.registered_ms,
            "serviceType": self.service_type.name(),
            "uriSpec": self.uri_spec.as_ref().map(UriSpec::to_json),
        });
        if !self.enabled {
            json["enabled"] = json!(false);
        }
        if !extras.is_empty() {
            match place {
                Extras::Field => json[FIELD] = extras.into(),
                Extras::Payload => {
                    let class = [(CLASS.to_owned(), Json::from(MAP_CLASS))];
                    json["payload"] = class
                        .into_iter()
                        .chain(extras)
                        .collect::<Map<_, _>>()
                        .into();
                }
            }
        }
        json.to_string().into_bytes()
    }

    fn extras(&self) -> Map<String, Json> {
        let mut extras = Map::new();
        let mut put = |key: &str, value: Json| extras.insert(key.to_owned(), value);
        if self.weight != WEIGHT_DEFAULT {
            put("weight", self.weight.into());
        }
        if let Some(version) = &self.version {
            put("version", version.as_str().into());
        }
        if !self.tags.is_empty() {
            put("tags", json!(self.tags));
        }
        if !self.metadata.is_empty() {
            put("metadata", json!(self.metadata));
        }
        extras
    }

    /// Whether it is to get any work.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.enabled && self.weight > 0 && self.address.is_some()
    }

    /// `ADDRESS:PORT`, or the address alone; the port for TLS where there is no other.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let address = self.address.as_ref()?;
        Some(match self.port.or(self.ssl_port) {
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address.clone(),
        })
    }

    /// Where it is, as its pattern has it.
    #[must_use]
    pub fn uri(&self) -> Option<String> {
        self.uri_spec.as_ref().map(|spec| spec.build_uri(self))
    }
}

pub(super) const HOST: &str = "a host name or an IP address";
const PORT: &str = "a port, from 0 to 65535";
const TIME: &str = "a number of milliseconds";

const fn wrong(field: &'static str, wanted: &'static str) -> Unreadable {
    Unreadable::Field { field, wanted }
}

/// Scripts take it for one word.
fn address(value: &Json) -> Option<String> {
    let text = value.as_str()?;
    is_address(text).then(|| text.to_owned())
}

pub(super) fn is_address(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Curator takes digits for a number.
fn port(field: &'static str, value: &Json) -> Result<u16, Unreadable> {
    let number = match value {
        Json::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|port| u16::try_from(port).ok()),
    };
    number.ok_or(wrong(field, PORT))
}

fn weight(value: &Json) -> Option<u32> {
    match value {
        Json::String(text) => text.parse().ok(),
        value => value
            .as_u64()
            .map(|weight| u32::try_from(weight).unwrap_or(u32::MAX)),
    }
}

fn tags(value: &Json) -> Option<Vec<String>> {
    let tags = match value {
        Json::String(text) => text.split(',').map(str::trim).map(str::to_owned).collect(),
        Json::Array(tags) => tags.iter().map(scalar).collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    Some(tags.into_iter().filter(|tag| !tag.is_empty()).collect())
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A text by somebody else as one line that does nothing to a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = escape.is_none().then_some(c);
            escape.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Instance {
        Instance {
            port: Some(80),
            ssl_port: Some(443),
            weight: 7,
            version: Some("2".to_owned()),
            tags: vec!["blue".to_owned()],
            metadata: [("zone".to_owned(), "a".to_owned())].into(),
            registered_ms: 5,
            uri_spec: UriSpec::parse("{scheme}://{address}").ok(),
            enabled: false,
            ..Instance::new("web", "a", Some("h".to_owned()))
        }
    }

    fn parse(text: &str) -> Result<Instance, Unreadable> {
        Instance::parse("web", "a", text.as_bytes())
    }

    #[test]
    fn instances_are_kept_and_read_again() {
        for place in [Extras::Field, Extras::Payload] {
            let data = full().to_data(place);
            assert_eq!(Instance::parse("web", "a", &data), Ok(full()));
        }
        let plain = Instance::new("web", "a", Some("h".to_owned())).to_data(Extras::Payload);
        assert_eq!(
            String::from_utf8(plain).unwrap(),
            r#"{"address":"h","id":"a","name":"web","payload":null,"port":null,"registrationTimeUTC":0,"serviceType":"DYNAMIC","sslPort":null,"uriSpec":null}"#
        );
    }

    #[test]
    fn payloads_of_others_are_read_as_far_as_they_go() {
        for (payload, weight, version, tags, metadata) in [
            ("null", 100, None, "", ""),
            (r#""text""#, 100, None, "", ""),
            (r#"["java.util.List",["a"]]"#, 100, None, "", ""),
            (
                r#"{"@class":"X","zone":"a","n":3,"deep":{"x":1}}"#,
                100,
                None,
                "",
                "n=3 zone=a",
            ),
            (
                r#"{"weight":"5","version":2,"tags":"a, b,"}"#,
                5,
                Some("2"),
                "a b",
                "",
            ),
            (
                r#"{"weight":"heavy","tags":[{}]}"#,
                100,
                None,
                "",
                "weight=heavy",
            ),
            (r#"{"weight":-1}"#, 100, None, "", "weight=-1"),
            (r#"{"weight":99999999999}"#, u32::MAX, None, "", ""),
            (
                r#"{"@class":"o.s.c.z.ZookeeperInstance","id":"x","metadata":{"@class":"M","k":"v"}}"#,
                100,
                None,
                "",
                "id=x k=v",
            ),
        ] {
            let read = parse(&format!(r#"{{"address":"h","payload":{payload}}}"#)).unwrap();
            assert_eq!(
                (read.weight, read.version.as_deref()),
                (weight, version),
                "{payload}"
            );
            assert_eq!(read.tags.join(" "), tags, "{payload}");
            let pairs: Vec<_> = read
                .metadata
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            assert_eq!(pairs.join(" "), metadata, "{payload}");
        }
    }

    #[test]
    fn what_is_no_instance_is_refused_with_a_reason() {
        for (data, reason) in [
            ("", "not JSON: EOF"),
            ("hello", "not JSON: expected value"),
            ("[1]", "JSON, but no object"),
            ("5", "JSON, but no object"),
            (r#"{"port":true}"#, "port is not a port"),
            (r#"{"port":65536}"#, "port is not a port"),
            (r#"{"sslPort":-1}"#, "sslPort is not a port"),
            (r#"{"address":{}}"#, "address is not a host name"),
            (r#"{"address":"a b"}"#, "address is not a host name"),
            (r#"{"address":"a\u001b[31m"}"#, "address is not a host name"),
            (r#"{"enabled":"no"}"#, "enabled is not true"),
            (r#"{"serviceType":"NEW"}"#, "serviceType is not one"),
            (
                r#"{"registrationTimeUTC":"x"}"#,
                "registrationTimeUTC is not",
            ),
            (r#"{"uriSpec":"x"}"#, "uriSpec is not"),
        ] {
            let error = parse(data).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{data}: {error}");
        }
        let nested = "[".repeat(INSTANCE_BYTES_MAX);
        assert!(matches!(parse(&nested), Err(Unreadable::NotJson(_))));
        let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(INSTANCE_BYTES_MAX));
        assert_eq!(parse(&huge), Err(Unreadable::TooLarge(huge.len())));
        assert!(matches!(
            Instance::parse("web", "a", b"\xff\xfe"),
            Err(Unreadable::NotJson(_))
        ));
        // Little is needed.
        assert_eq!(parse("{}").unwrap(), Instance::new("web", "a", None));
        assert_eq!(parse(r#"{"port":"81"}"#).unwrap().port, Some(81));
    }

    #[test]
    fn endpoints_have_brackets_where_they_need_them() {
        for (address, port, ssl_port, endpoint) in [
            (Some("h"), Some(80), None, Some("h:80")),
            (Some("h"), None, Some(443), Some("h:443")),
            (Some("::1"), Some(80), None, Some("[::1]:80")),
            (Some("h"), None, None, Some("h")),
            (None, Some(80), None, None),
        ] {
            let mut instance = Instance::new("web", "a", address.map(str::to_owned));
            (instance.port, instance.ssl_port) = (port, ssl_port);
            assert_eq!(instance.endpoint().as_deref(), endpoint);
        }
    }

    #[test]
    fn texts_of_others_do_nothing_to_a_terminal() {
        assert_eq!(printable("ä\x1b[2J\n"), "ä\\u{1b}[2J\\n");
    }
}
