//! Fields that several commands print: stats, data, access control lists, kinds of nodes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jute_codec::data::perms;
use jute_codec::{Acl, Stat};

use super::Doc;
use crate::format::date::iso;

/// What keeps a node.
///
/// A server does not tell its clients which nodes are containers and which have a time to live: they look persistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Persistent,
    Ephemeral,
    Container,
    Ttl { ttl_ms: i64 },
}

impl NodeKind {
    /// The kind of a node with this stat, as far as it can be told.
    pub(crate) const fn of(stat: &Stat) -> Self {
        match stat.ephemeral_owner {
            0 => Self::Persistent,
            _ => Self::Ephemeral,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Ephemeral => "ephemeral",
            Self::Container => "container",
            Self::Ttl { .. } => "ttl",
        }
    }
}

/// A stat, in the names of the Java client. Zxids and sessions are hexadecimal texts: as numbers they are too large
/// for many a reader of JSON.
pub(crate) fn stat(stat: &Stat) -> Doc {
    Doc::Map(vec![
        ("kind", Doc::text(NodeKind::of(stat).name())),
        ("czxid", Doc::text(stat.czxid.to_string())),
        ("ctime", Doc::text(iso(stat.ctime))),
        ("mzxid", Doc::text(stat.mzxid.to_string())),
        ("mtime", Doc::text(iso(stat.mtime))),
        ("pzxid", Doc::text(stat.pzxid.to_string())),
        ("version", Doc::Int(stat.version.into())),
        ("cversion", Doc::Int(stat.cversion.into())),
        ("aversion", Doc::Int(stat.aversion.into())),
        (
            "ephemeralOwner",
            Doc::text(format!("{:#x}", stat.ephemeral_owner)),
        ),
        ("dataLength", Doc::Int(stat.data_length.into())),
        ("numChildren", Doc::Int(stat.num_children.into())),
    ])
}

/// Data under a name that says how it is written: `data` for text and for null, `dataBase64` for anything else.
pub(crate) fn data(data: Option<&[u8]>) -> (&'static str, Doc) {
    match data.map(|data| (data, readable(data))) {
        None => ("data", Doc::Null),
        Some((_, Some(text))) => ("data", Doc::text(text)),
        Some((data, None)) => ("dataBase64", Doc::text(STANDARD.encode(data))),
    }
}

/// Data as text if people can read it: UTF-8 without control characters other than line ends and tabs.
pub(crate) fn readable(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
    (!text.contains(odd)).then_some(text)
}

/// The letters of permissions, as `setAcl` takes them.
pub(crate) fn permissions(bits: i32) -> String {
    let letters = [
        ('c', perms::CREATE),
        ('d', perms::DELETE),
        ('r', perms::READ),
        ('w', perms::WRITE),
        ('a', perms::ADMIN),
    ];
    let granted = letters.iter().filter(|(_, bit)| bits & bit != 0);
    granted.map(|(letter, _)| *letter).collect()
}

/// An access control list.
pub(crate) fn acl(acl: &[Acl]) -> Doc {
    let entry = |entry: &Acl| {
        Doc::Map(vec![
            (
                "scheme",
                Doc::text(entry.id.scheme.as_deref().unwrap_or("")),
            ),
            ("id", Doc::text(entry.id.id.as_deref().unwrap_or(""))),
            ("perms", Doc::text(permissions(entry.perms))),
        ])
    };
    Doc::List(acl.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_if_it_can_be_read() {
        assert_eq!(data(None), ("data", Doc::Null));
        assert_eq!(data(Some(b"a\nb")), ("data", Doc::text("a\nb")));
        assert_eq!(data(Some(b"\x00")), ("dataBase64", Doc::text("AA==")));
        assert_eq!(data(Some(b"\xff")), ("dataBase64", Doc::text("/w==")));
    }
}
