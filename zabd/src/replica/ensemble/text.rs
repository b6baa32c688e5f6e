//! The text of a membership: how it is read and how it is written.
//!
//! One line `server.N=…` a member, then `group.N=…` and `weight.N=…` if there are groups, and at last `version=` with
//! the version in hexadecimal and no line end. It is read as `java.util.Properties` are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use super::ServerId;
use super::java_order::sort_as_hash_map;
use super::member::Member;
use super::members::{Members, MembersError};
use super::quorum::Groups;
use crate::properties;

/// A membership that is being read, line by line.
#[derive(Debug, Default)]
pub struct MembersDraft {
    version: i64,
    servers: BTreeMap<ServerId, Member>,
    groups: Vec<(i64, Vec<ServerId>)>,
    weights: BTreeMap<ServerId, i64>,
    is_hierarchical: bool,
}

impl MembersDraft {
    /// Takes one line.
    ///
    /// ZooKeeper: `QuorumMaj.<init>`, `QuorumHierarchical.parse`.
    ///
    /// # Errors
    /// A [`MembersError`] if the key does not belong here or something is malformed.
    pub fn line(&mut self, key: &str, value: &str) -> Result<(), MembersError> {
        let no_number = || MembersError::Number {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let id = || number(key.split_once('.').map_or("", |(_, id)| id)).ok_or_else(no_number);
        if key.starts_with("server.") {
            let server = ServerId(id()?);
            let member =
                Member::parse(value).map_err(|error| MembersError::Member { server, error })?;
            if self.servers.insert(server, member).is_some() {
                return Err(MembersError::Twice(server));
            }
        } else if key.starts_with("group") {
            self.is_hierarchical = true;
            let servers = without_trailing_colons(value).split(':');
            let servers = servers.map(|server| number(server).map(ServerId));
            let servers: Option<_> = servers.collect();
            self.groups.push((id()?, servers.ok_or_else(no_number)?));
        } else if key.starts_with("weight") {
            self.is_hierarchical = true;
            let weight = number(value).ok_or_else(no_number)?;
            self.weights.insert(ServerId(id()?), weight);
        } else if key == "version" {
            self.version = i64::from_str_radix(value, 16).map_err(|_| no_number())?;
        } else {
            return Err(MembersError::Key(key.to_owned()));
        }
        Ok(())
    }

    /// The membership of all lines; with groups if any of them was about one.
    ///
    /// # Errors
    /// [`MembersError::Groups`] if groups and members do not fit together.
    pub fn finish(self) -> Result<Members, MembersError> {
        if self.is_hierarchical {
            let groups = Groups::new(&self.servers, &self.groups, self.weights)?;
            Ok(Members::hierarchical(self.version, self.servers, groups))
        } else {
            Ok(Members::majority(self.version, self.servers))
        }
    }
}

impl FromStr for Members {
    type Err = MembersError;

    /// Reads the text that another server sends, or that `/zookeeper/config` holds.
    ///
    /// Whether it may be passed on is for [`Members::check`] to say.
    ///
    /// ZooKeeper: `QuorumPeer.configFromString`.
    fn from_str(text: &str) -> Result<Self, MembersError> {
        let parsed = properties::parse_text(text);
        if let Some(malformed) = parsed.malformed.first() {
            return Err(MembersError::Escape(malformed.line));
        }
        // The last of a key is in force.
        let lines: BTreeMap<String, String> = parsed
            .entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        let mut draft = MembersDraft::default();
        for (key, value) in &lines {
            draft.line(key, value)?;
        }
        draft.finish()
    }
}

/// The text of a membership.
pub(super) fn write(
    version: i64,
    servers: &BTreeMap<ServerId, Member>,
    groups: Option<&Groups>,
) -> String {
    let mut text = String::new();
    let mut servers: Vec<_> = servers.iter().collect();
    sort_as_hash_map(&mut servers, |(server, _)| server.0);
    for (server, member) in servers {
        push(&mut text, format_args!("server.{server}={member}\n"));
    }
    if let Some(groups) = groups {
        write_groups(&mut text, groups);
    }
    push(&mut text, format_args!("version={version:x}"));
    text
}

fn write_groups(text: &mut String, groups: &Groups) {
    let mut servers: Vec<_> = groups.groups().collect();
    sort_as_hash_map(&mut servers, |(server, _)| server.0);
    let mut members: BTreeMap<i64, String> = BTreeMap::new();
    for (server, group) in servers {
        let line = members.entry(group).or_default();
        let colon = if line.is_empty() { "" } else { ":" };
        push(line, format_args!("{colon}{server}"));
    }
    let mut members: Vec<_> = members.into_iter().collect();
    sort_as_hash_map(&mut members, |(group, _)| *group);
    for (group, line) in members {
        push(text, format_args!("group.{group}={line}\n"));
    }
    let mut weights: Vec<_> = groups.weights().collect();
    sort_as_hash_map(&mut weights, |(server, _)| server.0);
    for (server, weight) in weights {
        push(text, format_args!("weight.{server}={weight}\n"));
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}

fn number(digits: &str) -> Option<i64> {
    digits.parse().ok()
}

/// Java's `String.split` does not tell of empty parts at the end, unless there is nothing else.
fn without_trailing_colons(value: &str) -> &str {
    value.trim_end_matches(':')
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
