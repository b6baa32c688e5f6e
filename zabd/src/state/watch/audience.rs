//! Who hears of one event.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use jute_codec::data::{Acl, perms};

use super::table::Subscriber;
use crate::state::conn::ConnId;
use crate::state::tree::acl::AclRules;

/// The connections that hear of one event: each once, and only if it may read the node.
#[derive(Debug)]
pub(crate) struct Audience<'a> {
    acl: Option<&'a [Acl]>,
    rules: &'a AclRules,
    // Served already, allowed or not.
    served: HashSet<ConnId, FixedState>,
    pub(crate) allowed: Vec<ConnId>,
}

impl<'a> Audience<'a> {
    pub(crate) fn new(acl: Option<&'a [Acl]>, rules: &'a AclRules) -> Self {
        let served = HashSet::with_hasher(FixedState::default());
        Self {
            acl,
            rules,
            served,
            allowed: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, conn: ConnId, subscribers: &BTreeMap<ConnId, Subscriber>) {
        if !self.served.insert(conn) {
            return;
        }
        let may_read =
            |subscriber: &Subscriber| self.rules.allows(self.acl, perms::READ, &subscriber.ids);
        if subscribers.get(&conn).is_some_and(may_read) {
            self.allowed.push(conn);
        }
    }
}
