//! A node apart from its place: what `cp`, `dump` and `load` carry, and its line of JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jute_codec::data::perms;
use jute_codec::proto::{CreateFlags, CreateRequest, CreateTtlRequest, MultiOp, Request};
use jute_codec::{Acl, Text};
use serde_json::Value;

use super::modes::Modes;
use crate::format::date::iso;
use crate::output::Doc;
use crate::output::fields::{self, NodeKind};
use crate::walk::Entry;

/// What makes a node, without its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Below the root of what is carried: `/` for the root itself.
    pub(super) path: String,
    pub(super) data: Option<Bytes>,
    pub(super) acl: Vec<Acl>,
    pub(super) kind: NodeKind,
}

impl Node {
    /// The node of a walk that fetched data and access control lists.
    pub(super) fn of(entry: &Entry, root: &str, modes: &Modes) -> Self {
        Self {
            path: relative(&entry.path, root),
            data: entry.data.clone(),
            acl: entry.acl.clone(),
            kind: modes.of(&entry.path, NodeKind::of(&entry.stat)),
        }
    }

    /// The line of a dump.
    pub(super) fn line(&self, entry: &Entry) -> Doc {
        let data = self.data.as_deref();
        let mut line = vec![
            ("path", Doc::text(&self.path)),
            (
                "data",
                data.map_or(Doc::Null, |data| Doc::text(STANDARD.encode(data))),
            ),
            ("acl", fields::acl(&self.acl)),
            ("mode", Doc::text(self.kind.name())),
        ];
        match self.kind {
            NodeKind::Ttl { ttl_ms } => line.push(("ttlMs", Doc::Int(ttl_ms))),
            NodeKind::Ephemeral => line.push((
                "owner",
                Doc::text(format!("{:#x}", entry.stat.ephemeral_owner)),
            )),
            NodeKind::Persistent | NodeKind::Container => {}
        }
        line.push(("version", Doc::Int(entry.stat.version.into())));
        line.push(("mtime", Doc::text(iso(entry.stat.mtime))));
        Doc::Map(line)
    }

    /// Reads a line of a dump.
    pub(super) fn parse(line: &Value) -> Result<Self, String> {
        let path = text(line, "path")?;
        if path != "/" {
            crate::path::validate(path).map_err(|error| error.to_string())?;
        }
        let data = match line.get("data") {
            Some(Value::Null) | None => None,
            Some(Value::String(data)) => Some(
                STANDARD
                    .decode(data)
                    .map_err(|error| format!("its data is not base64: {error}"))?
                    .into(),
            ),
            Some(_) => return Err("its data is not a text".to_owned()),
        };
        let kind = match line.get("mode").and_then(Value::as_str) {
            None | Some("persistent") => NodeKind::Persistent,
            Some("ephemeral") => NodeKind::Ephemeral,
            Some("container") => NodeKind::Container,
            Some("ttl") => NodeKind::Ttl {
                ttl_ms: line
                    .get("ttlMs")
                    .and_then(Value::as_i64)
                    .filter(|ttl_ms| *ttl_ms > 0)
                    .ok_or("its ttlMs is not a positive number")?,
            },
            Some(mode) => return Err(format!("its mode \"{mode}\" does not exist")),
        };
        let acl = match line.get("acl") {
            None => vec![Acl::open()],
            Some(Value::Array(entries)) if !entries.is_empty() => {
                entries.iter().map(parse_acl).collect::<Result<_, _>>()?
            }
            Some(_) => return Err("its acl is not a list with entries".to_owned()),
        };
        Ok(Self {
            path: path.to_owned(),
            data,
            acl,
            kind,
        })
    }

    /// The operation that creates this node at a path of the server.
    pub(super) fn create(&self, path: Text, acl: Vec<Acl>) -> MultiOp {
        let (flags, ttl_ms) = match self.kind {
            NodeKind::Persistent | NodeKind::Ephemeral => (CreateFlags::Persistent, 0),
            NodeKind::Container => (CreateFlags::Container, 0),
            NodeKind::Ttl { ttl_ms } => (CreateFlags::PersistentWithTtl, ttl_ms),
        };
        let (path, data, acl, flags) = (Some(path), self.data.clone(), Some(acl), flags as i32);
        match self.kind {
            NodeKind::Ttl { .. } => MultiOp::CreateTtl(CreateTtlRequest {
                path,
                data,
                acl,
                flags,
                ttl_ms,
            }),
            NodeKind::Container => MultiOp::CreateContainer(CreateRequest {
                path,
                data,
                acl,
                flags,
            }),
            NodeKind::Persistent | NodeKind::Ephemeral => MultiOp::Create(CreateRequest {
                path,
                data,
                acl,
                flags,
            }),
        }
    }

    /// The same as a request of its own.
    pub(super) fn create_request(&self, path: Text, acl: Vec<Acl>) -> Request {
        match self.create(path, acl) {
            MultiOp::CreateTtl(create) => Request::CreateTtl(create),
            MultiOp::CreateContainer(create) => Request::CreateContainer(create),
            MultiOp::Create(create) | MultiOp::Create2(create) => Request::Create(create),
            other => Request::Multi(jute_codec::proto::MultiOps(vec![other])),
        }
    }

    /// Bytes of data.
    pub(super) fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }
}

/// A path below a root, seen from there.
pub(super) fn relative(path: &str, root: &str) -> String {
    let below = match root {
        "/" => path,
        root => path.strip_prefix(root).unwrap_or(path),
    };
    if below.is_empty() { "/" } else { below }.to_owned()
}

/// The path that [`relative`] came from, below another root.
pub(super) fn absolute(path: &str, root: &str) -> String {
    match (root, path) {
        (root, "/") => root.to_owned(),
        ("/", path) => path.to_owned(),
        (root, path) => format!("{root}{path}"),
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, String> {
    value
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("its {field} is not a text"))
}

fn parse_acl(entry: &Value) -> Result<Acl, String> {
    let letters = text(entry, "perms")?;
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'c' => perms::CREATE,
            'd' => perms::DELETE,
            'r' => perms::READ,
            'w' => perms::WRITE,
            'a' => perms::ADMIN,
            other => return Err(format!("its acl has a permission \"{other}\"")),
        };
    }
    Ok(Acl::new(bits, text(entry, "scheme")?, text(entry, "id")?))
}

#[cfg(test)]
mod tests {
    use jute_codec::Stat;

    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let entry = |owner| Entry {
            path: "/a/b".to_owned(),
            depth: 1,
            is_last: true,
            stat: Stat {
                ephemeral_owner: owner,
                ..Stat::ZERO
            },
            data: None,
            acl: vec![Acl::open(), Acl::new(1, "digest", "u:x=")],
            denied: false,
        };
        for (owner, kind) in [
            (0, NodeKind::Persistent),
            (7, NodeKind::Ephemeral),
            (0, NodeKind::Container),
            (0, NodeKind::Ttl { ttl_ms: 5000 }),
        ] {
            for data in [
                None,
                Some(Bytes::new()),
                Some(Bytes::from_static(b"\x00\xff")),
            ] {
                let entry = entry(owner);
                let node = Node {
                    kind,
                    data,
                    ..Node::of(&entry, "/a", &Modes::default())
                };
                assert_eq!(node.path, "/b");
                let line = node.line(&entry).to_json();
                let parsed = Node::parse(&serde_json::from_str(&line).unwrap());
                assert_eq!(parsed, Ok(node), "{line}");
            }
        }
    }

    #[test]
    fn damaged_lines_are_refused() {
        for line in [
            "{}",
            r#"{"path":"a"}"#,
            r#"{"path":"/a/../b"}"#,
            r#"{"path":"/a","data":1}"#,
            r#"{"path":"/a","data":"***"}"#,
            r#"{"path":"/a","mode":"odd"}"#,
            r#"{"path":"/a","mode":"ttl"}"#,
            r#"{"path":"/a","acl":[]}"#,
            r#"{"path":"/a","acl":[{"scheme":"world","id":"anyone","perms":"z"}]}"#,
        ] {
            assert!(
                Node::parse(&serde_json::from_str(line).unwrap()).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn paths_move_from_root_to_root() {
        for (root, path, below) in [
            ("/", "/a/b", "/a/b"),
            ("/", "/", "/"),
            ("/a", "/a", "/"),
            ("/a", "/a/b", "/b"),
        ] {
            assert_eq!(relative(path, root), below);
            assert_eq!(absolute(below, root), path);
        }
    }
}
