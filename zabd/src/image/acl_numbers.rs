//! Access control lists and the numbers that stand for them in a stream.

use std::collections::HashMap;

use bytes::Bytes;
use jute_codec::data::{Acl, perms};
use jute_codec::quorum::snapshot::OPEN_ACL;

/// Numbers for the lists of a tree, from 1 on, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct AclNumbers {
    numbers: HashMap<Vec<Acl>, i64>,
    lists: Vec<Vec<Acl>>,
}

impl AclNumbers {
    /// Gives a list a number, if it has none.
    pub(super) fn add(&mut self, acl: &[Acl]) {
        if self.numbers.contains_key(acl) {
            return;
        }
        // The list must not keep the page alive that its texts are in.
        let own: Vec<Acl> = acl.iter().map(detached).collect();
        self.lists.push(own.clone());
        let number = i64::try_from(self.lists.len()).expect("memory ends before 2^63 lists");
        self.numbers.insert(own, number);
    }

    /// The number of a list; of no list it is that of the open one.
    pub(super) fn of(&self, acl: Option<&[Acl]>) -> Option<i64> {
        acl.map_or(Some(OPEN_ACL), |acl| self.numbers.get(acl).copied())
    }

    /// The lists with their numbers.
    pub(super) fn lists(&self) -> impl ExactSizeIterator<Item = (i64, &[Acl])> {
        self.lists
            .iter()
            .enumerate()
            .map(|(place, acl)| (place as i64 + 1, &acl[..]))
    }
}

fn detached(entry: &Acl) -> Acl {
    let mut entry = entry.clone();
    for text in [&mut entry.id.scheme, &mut entry.id.id]
        .into_iter()
        .flatten()
    {
        *text = text.detached();
    }
    entry
}

/// Lists by the numbers that a stream gives them.
#[derive(Debug, Default)]
pub(super) struct NumberedAcls {
    lists: HashMap<i64, Vec<Acl>>,
}

impl NumberedAcls {
    pub(super) fn insert(&mut self, number: i64, acl: Vec<Acl>) {
        self.lists.insert(number, acl);
    }

    /// What a node with this number is stored with.
    ///
    /// Java may send nodes that name a list which the stream lacks (it copies the lists before the nodes); a transaction
    /// that follows repairs them. Until then nobody may do anything there, rather than everybody.
    pub(super) fn list(&self, number: i64) -> Option<&[Acl]> {
        if number == OPEN_ACL {
            return None;
        }
        Some(self.lists.get(&number).map_or(nobody(), |acl| &acl[..]))
    }
}

/// A list that grants nothing. An empty one would grant everything.
fn nobody() -> &'static [Acl] {
    static NOBODY: std::sync::LazyLock<[Acl; 1]> = std::sync::LazyLock::new(|| {
        let mut entry = Acl::open();
        entry.perms = 0;
        [entry]
    });
    debug_assert!(NOBODY[0].perms & perms::ALL == 0);
    &*NOBODY
}

/// A key of the store as the text that it is.
pub(super) fn text_of(key: &Bytes) -> Option<&str> {
    std::str::from_utf8(key).ok()
}
