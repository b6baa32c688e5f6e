//! Containers and nodes with a time to live. Servers answer clients as if these were persistent: whoever carries them
//! somewhere else has to say which they are.

use regex::Regex;

use super::pattern::glob;
use crate::commands::Arguments;
use crate::failure::Failure;
use crate::flags::{Flag, own_valued};
use crate::output::fields::NodeKind;

pub(super) const CONTAINERS: Flag = own_valued(
    "containers",
    "A glob of paths whose nodes are containers, which servers do not tell; may be repeated",
);
pub(super) const TTL: Flag = own_valued(
    "ttl",
    "GLOB=MS: nodes with this time to live, which servers do not tell; may be repeated",
);

/// What is said about nodes that look persistent.
#[derive(Debug, Default)]
pub(super) struct Modes(Vec<(Regex, NodeKind)>);

impl Modes {
    pub(super) fn parse(arguments: &Arguments) -> Result<Self, Failure> {
        let mut modes = Vec::new();
        for text in arguments.values(CONTAINERS.name) {
            modes.push((glob(CONTAINERS.name, text)?, NodeKind::Container));
        }
        for text in arguments.values(TTL.name) {
            let parsed = text.rsplit_once('=').and_then(|(pattern, ms)| {
                let ttl_ms = ms.parse().ok().filter(|ttl_ms| *ttl_ms > 0)?;
                Some((pattern, ttl_ms))
            });
            let (pattern, ttl_ms) = parsed.ok_or_else(|| {
                Failure::usage(format!("--ttl takes GLOB=MILLISECONDS, not \"{text}\""))
            })?;
            modes.push((glob(TTL.name, pattern)?, NodeKind::Ttl { ttl_ms }));
        }
        Ok(Self(modes))
    }

    /// What a node is: the first of what is said about its path, if it looks persistent.
    pub(super) fn of(&self, path: &str, kind: NodeKind) -> NodeKind {
        let mut said = self.0.iter().filter(|(pattern, _)| pattern.is_match(path));
        match (kind, said.next()) {
            (NodeKind::Persistent, Some((_, said))) => *said,
            _ => kind,
        }
    }
}
