//! Access control lists: stored once each, checked against the identities of a connection.
//!
//! ZooKeeper: `ReferenceCountedACLCache`, `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `DigestAuthenticationProvider`, `IPAuthenticationProvider`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use jute_codec::data::{Acl, Id, perms};
use jute_codec::{ErrorCode, Text};

/// An access control list as nodes share it.
pub type AclList = Arc<[Acl]>;

/// What an identity of a connection is worth; the same for all connections of a server.
#[derive(Debug, Clone)]
pub struct AclRules {
    /// `skipACL=yes`: everything is allowed.
    pub skip: bool,
    /// Whether the `digest` scheme exists.
    pub digest: bool,
    /// Schemes beyond `ip` and `digest` that lists may name, with exact matching (`x509`, `sasl`, ...).
    pub exact_schemes: Vec<Text>,
}

impl Default for AclRules {
    fn default() -> Self {
        Self {
            skip: false,
            digest: true,
            exact_schemes: Vec::new(),
        }
    }
}

impl AclRules {
    /// Whether somebody with `ids` may do one of `wanted` where `acl` holds. An absent list allows everything.
    #[must_use]
    pub fn allows(&self, acl: Option<&[Acl]>, wanted: i32, ids: &[Id]) -> bool {
        let Some(acl) = acl.filter(|acl| !acl.is_empty() && !self.skip) else {
            return true;
        };
        if ids.iter().any(|id| id.scheme.as_deref() == Some("super")) {
            return true;
        }
        acl.iter()
            .any(|entry| entry.perms & wanted != 0 && self.matches(&entry.id, ids))
    }

    fn matches(&self, granted: &Id, ids: &[Id]) -> bool {
        if granted.is_anyone() {
            return true;
        }
        let (Some(scheme), Some(pattern)) = (granted.scheme.as_deref(), granted.id.as_deref())
        else {
            return false;
        };
        ids.iter().any(|id| {
            id.scheme.as_deref() == Some(scheme)
                && id.id.as_deref().is_some_and(|held| match scheme {
                    "ip" => ip_matches(held, pattern),
                    "digest" => self.digest && held == pattern,
                    _ => {
                        self.has_exact(scheme)
                            && (held == pattern || scheme == "sasl" && held == "super")
                    }
                })
        })
    }

    fn has_scheme(&self, scheme: &str) -> bool {
        scheme == "ip" || scheme == "digest" && self.digest || self.has_exact(scheme)
    }

    fn has_exact(&self, scheme: &str) -> bool {
        self.exact_schemes.iter().any(|known| known == scheme)
    }

    /// The list to store for the one that a client wished for.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidAcl`] for lists that grant nothing or name what does not exist;
    /// [`ErrorCode::MarshallingError`] for a null id, as Java answers.
    pub fn fix_up(&self, wished: Option<&[Acl]>, ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
        let wished = wished
            .filter(|wished| !wished.is_empty())
            .ok_or(ErrorCode::InvalidAcl)?;
        let mut list = Vec::with_capacity(wished.len());
        for (place, entry) in wished.iter().enumerate() {
            if !wished[..place].contains(entry) {
                self.fix_up_entry(entry, ids, &mut list)?;
            }
        }
        Ok(list)
    }

    fn fix_up_entry(&self, entry: &Acl, ids: &[Id], list: &mut Vec<Acl>) -> Result<(), ErrorCode> {
        let scheme = entry.id.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        if scheme == "auth" {
            let before = list.len();
            list.extend(
                ids.iter()
                    .filter(|id| self.is_authenticated(id))
                    .map(|id| Acl {
                        perms: entry.perms,
                        id: id.clone(),
                    }),
            );
            return if list.len() > before {
                Ok(())
            } else {
                Err(ErrorCode::InvalidAcl)
            };
        }
        if scheme != "world" && !self.has_scheme(scheme) {
            return Err(ErrorCode::InvalidAcl);
        }
        let id = entry.id.id.as_deref().ok_or(ErrorCode::MarshallingError)?;
        if entry.id.is_anyone() || self.is_valid_id(scheme, id) {
            list.push(entry.clone());
            return Ok(());
        }
        Err(ErrorCode::InvalidAcl)
    }

    fn is_authenticated(&self, id: &Id) -> bool {
        match id.scheme.as_deref() {
            Some("digest") => self.digest,
            Some(scheme) => self.has_exact(scheme),
            None => false,
        }
    }

    fn is_valid_id(&self, scheme: &str, id: &str) -> bool {
        match scheme {
            "digest" => self.digest && is_valid_digest_id(id),
            "ip" => is_valid_ip_pattern(id),
            _ => self.has_exact(scheme),
        }
    }
}

/// Exactly two parts at colons, where empty parts at the end do not count.
fn is_valid_digest_id(id: &str) -> bool {
    let mut parts: Vec<&str> = id.split(':').collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts.len() == 2
}

/// An address and the number of leading bits that count.
fn parse_ip_pattern(pattern: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match pattern.split_once('/') {
        None => (pattern, None),
        Some((address, bits)) => (address, Some(bits)),
    };
    // Java takes neither a dotted tail nor a zone in IPv6 addresses.
    if address.contains(':') && address.contains(['.', '%']) {
        return None;
    }
    let address = if address.contains(':') {
        address.parse().ok()?
    } else {
        IpAddr::V4(parse_ipv4(address)?)
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => width,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
    };
    Some((address, bits))
}

/// Four numbers up to 255; Java takes leading zeros, and takes them as decimal.
fn parse_ipv4(address: &str) -> Option<Ipv4Addr> {
    let mut parts = address.split('.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        let part = parts
            .next()
            .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn is_valid_ip_pattern(pattern: &str) -> bool {
    parse_ip_pattern(pattern).is_some()
}

fn ip_matches(held: &str, pattern: &str) -> bool {
    let (Ok(held), Some((pattern, bits))) = (held.parse::<IpAddr>(), parse_ip_pattern(pattern))
    else {
        return false;
    };
    match (held, pattern) {
        (IpAddr::V4(held), IpAddr::V4(pattern)) => {
            let differing = u32::from(held) ^ u32::from(pattern);
            differing.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(held), IpAddr::V6(pattern)) => {
            let differing = u128::from(held) ^ u128::from(pattern);
            differing.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// What somebody without ADMIN sees of a list: secrets of `digest` entries are masked.
#[must_use]
pub fn masked(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(
            |entry| match (entry.id.scheme.as_deref(), entry.id.id.as_deref()) {
                (Some("digest"), Some(id)) => {
                    let user = id.split_once(':').map_or(id, |(user, _)| user);
                    Acl::new(
                        entry.perms,
                        Text::from_static("digest"),
                        format!("{user}:x"),
                    )
                }
                _ => entry.clone(),
            },
        )
        .collect()
}

/// Whether somebody with `wanted` = READ only may look, or ADMIN too: what getACL asks for.
pub const READ_OR_ADMIN: i32 = perms::READ | perms::ADMIN;

/// The number of a list in an [`AclTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AclKey(pub(super) u32);

impl AclKey {
    /// No list: everybody may do everything.
    pub(crate) const NONE: Self = Self(0);
}

#[derive(Debug)]
struct Entry {
    list: AclList,
    // How many nodes have the list; the entry goes at 0.
    nodes: u32,
}

/// Every list in use, once.
#[derive(Debug)]
pub(crate) struct AclTable {
    // entries[key - 1]; None is free and its key stands in `free`.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    keys: HashMap<AclList, u32, FixedState>,
    // The last list that was taken: mostly the next one is the same.
    recent: AclKey,
}

impl AclTable {
    pub(crate) fn new(hash_seed: u64) -> Self {
        let hasher = FixedState::with_seed(hash_seed);
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            keys: HashMap::with_hasher(hasher),
            recent: AclKey::NONE,
        }
    }

    /// Takes a use of `list`.
    pub(crate) fn intern(&mut self, list: Option<&[Acl]>) -> AclKey {
        let Some(list) = list else {
            return AclKey::NONE;
        };
        let known = if self
            .list(self.recent)
            .is_some_and(|recent| **recent == *list)
        {
            Some(self.recent.0)
        } else {
            self.keys.get(list).copied()
        };
        if let Some(key) = known {
            let entry = self.entries[key as usize - 1]
                .as_mut()
                .expect("keys holds only keys of entries");
            entry.nodes += 1;
            self.recent = AclKey(key);
            return AclKey(key);
        }
        // A copy of its own: the decoded list's strings share, and would keep alive, the whole request.
        let list: AclList = list.iter().map(detached).collect();
        let key = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len()).expect("there are fewer lists than nodes")
        });
        self.keys.insert(Arc::clone(&list), key);
        self.entries[key as usize - 1] = Some(Entry { list, nodes: 1 });
        AclKey(key)
    }

    /// Gives a use back.
    pub(crate) fn release(&mut self, key: AclKey) {
        let Some(place) = (key.0 as usize).checked_sub(1) else {
            return;
        };
        let slot = &mut self.entries[place];
        let entry = slot.as_mut().expect("a node's list is in use");
        entry.nodes -= 1;
        if entry.nodes == 0 {
            self.keys.remove(&entry.list[..]);
            *slot = None;
            self.free.push(key.0);
        }
    }

    pub(crate) fn list(&self, key: AclKey) -> Option<&AclList> {
        let place = (key.0 as usize).checked_sub(1)?;
        self.entries[place].as_ref().map(|entry| &entry.list)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn detached(acl: &Acl) -> Acl {
    Acl {
        perms: acl.perms,
        id: Id {
            scheme: acl.id.scheme.as_ref().map(Text::detached),
            id: acl.id.id.as_ref().map(Text::detached),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[(&str, &str)]) -> Vec<Id> {
        list.iter()
            .map(|(scheme, id)| Id::new(*scheme, *id))
            .collect()
    }

    /// Rule E2.
    #[test]
    fn digest_ids_have_two_parts() {
        for good in ["a:b", ":b", "a:b::"] {
            assert!(is_valid_digest_id(good), "{good}");
        }
        for bad in ["a", "a:", "a:b:c", "", ":", "::"] {
            assert!(!is_valid_digest_id(bad), "{bad}");
        }
    }

    /// Rules E2, E10.
    #[test]
    fn ip_patterns_match_by_leading_bits() {
        for good in [
            "127.0.0.1",
            "10.0.0.0/8",
            "0127.0.0.1",
            "0.0.0.0/0",
            "1.2.3.4/32",
            "::1",
            "fe80::/10",
            "1:2:3:4:5:6:7:8/128",
        ] {
            assert!(is_valid_ip_pattern(good), "{good}");
        }
        for bad in [
            "",
            "localhost",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "::1/129",
            "::1.2.3.4",
            "fe80::1%eth0",
        ] {
            assert!(!is_valid_ip_pattern(bad), "{bad}");
        }
        assert!(ip_matches("10.1.2.3", "10.0.0.0/8"));
        assert!(!ip_matches("11.1.2.3", "10.0.0.0/8"));
        assert!(ip_matches("11.1.2.3", "0.0.0.0/0"));
        assert!(ip_matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(!ip_matches("127.0.0.1", "::1/0"));
    }

    /// Rule E1.
    #[test]
    fn wishes_are_fixed_up() {
        let rules = AclRules::default();
        let me = ids(&[("ip", "127.0.0.1"), ("digest", "u:h"), ("super", "")]);
        let auth = Acl {
            perms: 3,
            id: Id {
                scheme: Some("auth".into()),
                id: None,
            },
        };
        assert_eq!(
            rules.fix_up(Some(std::slice::from_ref(&auth)), &me),
            Ok(vec![Acl::new(3, "digest", "u:h")])
        );
        assert_eq!(
            rules.fix_up(Some(&[auth]), &me[..1]),
            Err(ErrorCode::InvalidAcl)
        );
        assert_eq!(rules.fix_up(None, &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(rules.fix_up(Some(&[]), &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(
            rules.fix_up(Some(&[Acl::open(), Acl::open()]), &me),
            Ok(vec![Acl::open()])
        );
        assert_eq!(
            rules.fix_up(Some(&[Acl::new(1, "world", "me")]), &me),
            Err(ErrorCode::InvalidAcl)
        );
        assert_eq!(
            rules.fix_up(Some(&[Acl::new(1, "x509", "CN=a")]), &me),
            Err(ErrorCode::InvalidAcl)
        );
        let null_id = Acl {
            perms: 1,
            id: Id {
                scheme: Some("world".into()),
                id: None,
            },
        };
        assert_eq!(
            rules.fix_up(Some(&[null_id]), &me),
            Err(ErrorCode::MarshallingError)
        );
    }

    /// Rule E3.
    #[test]
    fn one_granting_entry_is_enough() {
        let rules = AclRules::default();
        let list = [
            Acl::new(perms::READ, "world", "anyone"),
            Acl::new(perms::WRITE, "digest", "u:h"),
        ];
        assert!(rules.allows(Some(&list), perms::READ, &[]));
        assert!(!rules.allows(Some(&list), perms::WRITE, &ids(&[("ip", "1.1.1.1")])));
        assert!(rules.allows(Some(&list), perms::WRITE, &ids(&[("digest", "u:h")])));
        assert!(rules.allows(Some(&list), perms::ADMIN, &ids(&[("super", "")])));
        assert!(rules.allows(None, perms::ADMIN, &[]));
        assert!(
            AclRules {
                skip: true,
                ..rules
            }
            .allows(Some(&list), perms::ADMIN, &[])
        );
    }

    /// Rule E5.
    #[test]
    fn digests_are_masked() {
        let list = [
            Acl::new(1, "digest", "u:secret"),
            Acl::new(1, "ip", "1.1.1.1"),
        ];
        assert_eq!(
            masked(&list),
            [Acl::new(1, "digest", "u:x"), Acl::new(1, "ip", "1.1.1.1")]
        );
    }

    #[test]
    fn lists_are_stored_once_and_go_with_their_last_user() {
        let mut table = AclTable::new(7);
        let open = table.intern(Some(&[Acl::open()]));
        assert_eq!(table.intern(Some(&[Acl::open()])), open);
        assert_eq!(table.intern(None), AclKey::NONE);
        table.release(open);
        assert_eq!(table.list(open).map(|list| list.len()), Some(1));
        table.release(open);
        assert_eq!((table.list(open), table.len()), (None, 0));
        table.release(AclKey::NONE);
        let other = table.intern(Some(&[Acl::new(1, "world", "anyone")]));
        assert_eq!(table.list(other).map(|list| list[0].perms), Some(1));
    }
}
