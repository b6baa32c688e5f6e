//! What a server shows of its data.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use jute_codec::data::{Acl, Stat};
use jute_codec::proto::{AclReply, AuthPacket, PathRequest, Request};
use jute_codec::{Jute, Reader, Text};
use zabd_tests::ensemble::{Tree, ask, tree};
use zabd_tests::raw::{RawClient, four_letter_word};
use zabd_tests::servers::Server;

/// Of the password `test`.
pub(crate) const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Everything: nodes with data, stat and list; sessions with their ephemeral nodes.
pub(crate) struct Shown {
    nodes: Tree,
    lists: BTreeMap<String, Vec<Acl>>,
    sessions: BTreeMap<String, BTreeSet<String>>,
}

/// A client that may read everything.
pub(crate) fn superuser(server: &Server) -> RawClient {
    let (mut client, _) = RawClient::connect(server.address(), 40_000).unwrap();
    client
        .send(&Request::Auth(AuthPacket {
            kind: 0,
            scheme: Some(Text::from("digest")),
            auth: Some(Bytes::from_static(b"super:test")),
        }))
        .unwrap();
    assert_eq!(client.reply().unwrap().header.err, 0);
    client
}

impl Shown {
    pub(crate) fn by(server: &Server) -> Self {
        let sessions = sessions(server);
        let mut client = superuser(server);
        let nodes = tree(&mut client).unwrap();
        let mut lists = BTreeMap::new();
        for path in nodes.keys() {
            let path_text = Some(Text::from(path.as_str()));
            let request = Request::GetAcl(PathRequest { path: path_text });
            let reply = ask(&mut client, &request).unwrap();
            let reply = AclReply::read(&mut Reader::new(&reply.body)).unwrap();
            lists.insert(path.clone(), reply.acl);
        }
        ask(&mut client, &Request::CloseSession).unwrap();
        Self {
            nodes,
            lists,
            sessions,
        }
    }

    /// Fails with the first difference.
    pub(crate) fn check_is(&self, other: &Self) {
        self.check_nodes_are(other);
        assert_eq!(self.sessions, other.sessions);
    }

    /// As [`Self::check_is`], whatever has become of sessions without nodes.
    pub(crate) fn check_nodes_are(&self, other: &Self) {
        let paths: BTreeSet<_> = self.nodes.keys().chain(other.nodes.keys()).collect();
        for path in paths {
            let node = |shown: &Self| {
                (
                    shown.nodes.get(path).cloned(),
                    shown.lists.get(path).cloned(),
                )
            };
            assert_eq!(node(self), node(other), "{path}");
        }
    }

    /// Whether nodes of all kinds are there, so that comparing them says something.
    pub(crate) fn has_everything(&self) -> bool {
        let any = |wanted: fn(&str, &(Option<Bytes>, Stat)) -> bool| {
            self.nodes.iter().any(|(path, node)| wanted(path, node))
        };
        any(|_, (_, stat)| stat.ephemeral_owner != 0)
            && any(|path, _| path.starts_with("/containers/"))
            && any(|path, _| path.starts_with("/ttl/"))
            && any(|path, _| path.ends_with("/zookeeper_stats"))
            && any(|_, (data, _)| data.as_ref().is_some_and(|data| data.len() > 100_000))
            && any(|_, (data, _)| data.is_none())
            && any(|_, (_, stat)| stat.version > 1 && stat.aversion > 0)
            && self.lists.values().collect::<HashSet<_>>().len() > 4
            && !self.sessions.is_empty()
    }

    pub(crate) fn summary(&self) -> String {
        let lists: HashSet<_> = self.lists.values().collect();
        let (nodes, sessions) = (self.nodes.len(), &self.sessions);
        format!("{nodes} nodes, lists {lists:?}, sessions {sessions:?}")
    }
}

/// Sessions with ephemeral nodes, as `dump` names both.
fn sessions(server: &Server) -> BTreeMap<String, BTreeSet<String>> {
    let answer = four_letter_word(server.address(), b"dump", Duration::from_secs(10)).unwrap();
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    let mut sessions = BTreeMap::<String, BTreeSet<String>>::new();
    let mut current = None;
    let (_, ephemerals) = answer.split_once("Sessions with Ephemerals").unwrap();
    for line in ephemerals.lines() {
        if let Some(path) = line.strip_prefix('\t') {
            let owner: &String = current.as_ref().unwrap();
            sessions.get_mut(owner).unwrap().insert(path.to_owned());
        } else if let Some(session) = line.strip_suffix(':').filter(|line| line.starts_with("0x")) {
            current = Some(session.to_owned());
            sessions.insert(session.to_owned(), BTreeSet::new());
        } else if line.starts_with("Connections") {
            break;
        }
    }
    sessions
}
