//! One connection's watches: section F of `semantics.md`.

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::Zxid;
use jute_codec::data::{Id, perms};
use jute_codec::proto::{EventType, Request, SetWatches};

use super::acl::allows;
use super::tree::Tree;
use super::{Audience, Fire};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

type Table = BTreeMap<String, BTreeSet<Mode>>;

/// What a connection watches.
#[derive(Debug, Clone, Default)]
pub struct Watches {
    data: Table,
    child: Table,
}

/// What a connection must be told: kind and path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The transaction; -1 for what setWatches catches up on.
    pub zxid: Zxid,
    /// The kind of event.
    pub event: i32,
    /// The path.
    pub path: String,
}

fn take(table: &mut Table, path: &str, mode: Mode) -> bool {
    let Some(modes) = table.get_mut(path) else {
        return false;
    };
    let had = modes.remove(&mode);
    if modes.is_empty() {
        table.remove(path);
    }
    had
}

fn has(table: &Table, path: &str, mode: Mode) -> bool {
    table.get(path).is_some_and(|modes| modes.contains(&mode))
}

impl Watches {
    pub(super) fn add_standard_data(&mut self, path: &str) {
        self.data
            .entry(path.to_owned())
            .or_default()
            .insert(Mode::Standard);
    }

    pub(super) fn add_standard_child(&mut self, path: &str) {
        self.child
            .entry(path.to_owned())
            .or_default()
            .insert(Mode::Standard);
    }

    pub(super) fn add_persistent(&mut self, path: &str, recursive: bool) {
        let mode = if recursive {
            Mode::Recursive
        } else {
            Mode::Persistent
        };
        self.data.entry(path.to_owned()).or_default().insert(mode);
        if !recursive {
            self.child.entry(path.to_owned()).or_default().insert(mode);
        }
    }

    pub(super) fn has(&self, path: &str, kind: i32) -> bool {
        match kind {
            1 => has(&self.child, path, Mode::Standard),
            2 => has(&self.data, path, Mode::Standard),
            4 => has(&self.data, path, Mode::Persistent),
            5 => has(&self.data, path, Mode::Recursive),
            _ => self.data.contains_key(path) || self.child.contains_key(path),
        }
    }

    pub(super) fn remove(&mut self, path: &str, kind: i32) -> bool {
        match kind {
            1 => take(&mut self.child, path, Mode::Standard),
            2 => take(&mut self.data, path, Mode::Standard),
            4 => {
                let data = take(&mut self.data, path, Mode::Persistent);
                take(&mut self.child, path, Mode::Persistent) || data
            }
            5 => take(&mut self.data, path, Mode::Recursive),
            _ => {
                let data = self.data.remove(path).is_some();
                self.child.remove(path).is_some() || data
            }
        }
    }

    /// What the connection, whose identities are `ids`, is told of `fire`. Watches that fire once are used up.
    pub fn fire(&mut self, zxid: Zxid, fire: &Fire, ids: &[Id]) -> Option<Told> {
        let path = &*fire.path;
        let in_data = fire.audience != Audience::Children
            && (self.data.contains_key(path)
                || ancestors(path).any(|above| has(&self.data, above, Mode::Recursive)));
        let in_child = fire.audience != Audience::Data && self.child.contains_key(path);
        if fire.audience != Audience::Children {
            take(&mut self.data, path, Mode::Standard);
        }
        if fire.audience != Audience::Data {
            take(&mut self.child, path, Mode::Standard);
        }
        let told = Told {
            zxid,
            event: fire.event.code(),
            path: path.to_owned(),
        };
        ((in_data || in_child) && allows(&fire.acl, perms::READ, ids)).then_some(told)
    }

    /// What a setWatches is told at once by a server that holds `tree`; the rest is watched from now on.
    pub fn set(&mut self, request: &Request, tree: &Tree) -> Vec<Told> {
        let mut told = Vec::new();
        match request {
            Request::SetWatches(standard) => self.set_standard(standard, tree, &mut told),
            Request::SetWatches2(request) => {
                self.set_standard(&request.standard, tree, &mut told);
                for path in request.persistent_watches.iter().flatten().flatten() {
                    self.add_persistent(path, false);
                }
                for path in request
                    .persistent_recursive_watches
                    .iter()
                    .flatten()
                    .flatten()
                {
                    self.add_persistent(path, true);
                }
            }
            _ => {}
        }
        told
    }

    fn set_standard(&mut self, request: &SetWatches, tree: &Tree, told: &mut Vec<Told>) {
        let since = request.relative_zxid;
        let mut tell = |event: EventType, path: &str| {
            told.push(Told {
                zxid: Zxid(-1),
                event: event.code(),
                path: path.to_owned(),
            });
        };
        for path in request.data_watches.iter().flatten().flatten() {
            match tree.get(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.mzxid > since => tell(EventType::NodeDataChanged, path),
                Some(_) => self.add_standard_data(path),
            }
        }
        for path in request.exist_watches.iter().flatten().flatten() {
            match tree.get(path) {
                None => self.add_standard_data(path),
                Some(_) => tell(EventType::NodeCreated, path),
            }
        }
        for path in request.child_watches.iter().flatten().flatten() {
            match tree.get(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.pzxid > since => tell(EventType::NodeChildrenChanged, path),
                Some(_) => self.add_standard_child(path),
            }
        }
    }
}

/// All paths above `path`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path
        .match_indices('/')
        .map(|(place, _)| place)
        .collect::<Vec<_>>();
    slashes
        .into_iter()
        .map(move |place| if place == 0 { "/" } else { &path[..place] })
        .filter(move |above| *above != path)
}
