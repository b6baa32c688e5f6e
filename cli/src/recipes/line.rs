//! Standing in line: ephemeral sequential nodes under one node, of which the lowest goes first.
//!
//! Curator and kazoo use the same idea with other names, and none sees the other's. A contender of ours shows itself
//! under each of the names that the others look for, with nodes made in one transaction, so that their numbers are
//! neighbours and nobody stands between them; it yields to everybody who stands before the first of them. Curator
//! sorts by what follows its own mark in a name, and names without the mark by the whole of it: ours begin with a
//! letter or an underscore there, and so sort behind all of its numbers.
//!
//! Nodes carry a name that nobody else has. When a connection is lost on the create, that name tells whether it was
//! carried out. Each contender watches the one before it only: when one leaves, one is woken.

use std::time::Duration;

use jute_codec::proto::{CreateFlags, MultiResult};
use jute_codec::{Acl, ErrorCode, Zxid};
use tokio::time::sleep;

use super::ensure_containers;
use crate::path;
use crate::random;
use crate::session::{Client, Error};

/// Digits of the number that a server puts behind a sequential node's name.
const DIGITS: usize = 10;

/// The pause before a node that could not be deleted is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How a kind of contender stands in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// What it is seen as, marks that stand right before the number.
    pub(super) faces: &'static [Mark],
    /// The marks of contenders that it waits for.
    pub(super) yields_to: &'static [Mark],
}

/// What stands before the number in a contender's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// `_c_GUID-MARK0000000001`
    Curator(&'static str),
    /// `HEX__MARK__0000000001`
    Kazoo(&'static str),
}

impl Mark {
    const fn text(self) -> &'static str {
        match self {
            Self::Curator(text) | Self::Kazoo(text) => text,
        }
    }

    /// A name that others take for one of theirs, without its number.
    fn name(self, id: &str) -> String {
        match self {
            Self::Curator(text) => {
                let id = format!(
                    "{}-{}-{}-{}-{}",
                    &id[..8],
                    &id[8..12],
                    &id[12..16],
                    &id[16..20],
                    &id[20..]
                );
                format!("_c_{id}-{text}")
            }
            // Not a digit first, see the module.
            Self::Kazoo(text) => format!("zab-{id}{text}"),
        }
    }
}

/// The number of a contender with one of these marks; none for nodes that are something else.
pub(super) fn number(name: &str, marks: &[Mark]) -> Option<i32> {
    let split = name.len().checked_sub(DIGITS)?;
    let (mut front, mut digits) = (name.get(..split)?, name.get(split..)?);
    // Behind 2147483647 comes -2147483648.
    if let Some(shorter) = front.strip_suffix('-')
        && marks.iter().any(|mark| shorter.ends_with(mark.text()))
    {
        front = shorter;
        digits = &name[front.len()..];
    }
    if !marks.iter().any(|mark| front.ends_with(mark.text())) {
        return None;
    }
    digits.parse().ok()
}

/// Of all contenders before `ours` that are waited for, the last.
fn predecessor<'a>(
    names: impl IntoIterator<Item = &'a str>,
    ours: i32,
    yields_to: &[Mark],
) -> Option<&'a str> {
    names
        .into_iter()
        .filter_map(|name| Some((number(name, yields_to)?, name)))
        .filter(|(number, _)| *number < ours)
        .max()
        .map(|(_, name)| name)
}

/// The contenders in the order in which their turn comes, each once.
pub(super) fn in_order<'a>(
    names: impl IntoIterator<Item = &'a str>,
    marks: &[Mark],
) -> Vec<&'a str> {
    let mut line: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((number(name, marks)?, name)))
        .collect();
    line.sort_unstable();
    let mut seen = Vec::new();
    line.retain(|(_, name)| {
        let id = identity(name);
        let new = id.is_none() || !seen.contains(&id);
        seen.push(id);
        new
    });
    line.into_iter().map(|(_, name)| name).collect()
}

/// What is the same in all names of one contender: the hexadecimal digits in front of its mark.
fn identity(name: &str) -> Option<String> {
    let name = name
        .strip_prefix("_c_")
        .or_else(|| name.strip_prefix("zab-"))
        .unwrap_or(name);
    let id: String = name
        .chars()
        .filter(|c| *c != '-')
        .take_while(char::is_ascii_hexdigit)
        .take(32)
        .collect();
    (id.len() == 32).then_some(id)
}

/// A place in line.
#[derive(Debug)]
pub(super) struct Place {
    client: Client,
    parent: String,
    kind: Kind,
    /// Of our nodes, as they are called in the end.
    names: Vec<String>,
    /// The lowest of our numbers.
    number: i32,
    /// The transaction that made the nodes.
    czxid: Zxid,
}

impl Place {
    /// Goes to the end of the line at `parent`, which is made if need be.
    pub(super) async fn take(
        client: &Client,
        parent: &str,
        kind: Kind,
        data: &[u8],
    ) -> Result<Self, Error> {
        let id = random::unique_name();
        let fronts: Vec<String> = kind.faces.iter().map(|face| face.name(&id)).collect();
        loop {
            let mut transaction = client.transaction();
            for front in &fronts {
                transaction = transaction.create(
                    &path::join(parent, front),
                    data.to_vec(),
                    CreateFlags::EphemeralSequential,
                    &[Acl::open()],
                );
            }
            let made = match transaction.commit().await.map_err(Error::from) {
                Ok(results) => made_by(&results),
                // The parent is not there, or no longer: it is a container, which goes when it is empty.
                Err(error) if error.is(ErrorCode::NoNode) => {
                    ensure_containers(client, parent).await?;
                    continue;
                }
                Err(Error::ConnectionLoss) => found(client, parent, &fronts).await?,
                Err(error) => return Err(error),
            };
            let Some((names, czxid)) = made.filter(|(names, _)| names.len() == fronts.len()) else {
                continue;
            };
            let numbers = names.iter().filter_map(|name| number(name, kind.faces));
            let Some(number) = numbers.min() else {
                continue;
            };
            return Ok(Self {
                client: client.clone(),
                parent: parent.to_owned(),
                kind,
                names,
                number,
                czxid,
            });
        }
    }

    /// The transaction by which it was taken: greater than that of everybody before.
    pub(super) fn czxid(&self) -> Zxid {
        self.czxid
    }

    /// One of the nodes by which it is held.
    pub(super) fn node(&self) -> String {
        path::join(&self.parent, &self.names[0])
    }

    /// Whether it is the first's turn now.
    pub(super) async fn is_first(&self) -> Result<bool, Error> {
        Ok(self.before().await?.is_none())
    }

    /// Waits until everybody before has gone.
    pub(super) async fn wait(&self) -> Result<(), Error> {
        while let Some(before) = self.before().await? {
            match self.client.get_and_watch(&before).await {
                Ok((_, change)) => drop(change.await?),
                Err(error) if error.is(ErrorCode::NoNode) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the place is lost or may be: the session over or overdue, or the nodes deleted by somebody.
    pub(super) async fn lost(&self) -> Error {
        super::lost(&self.client, &self.node()).await
    }

    /// Leaves the line. Tries until it is certain; when the session is over the nodes are gone with it.
    pub(super) async fn leave(&self) -> Result<(), Error> {
        for name in &self.names {
            let node = path::join(&self.parent, name);
            loop {
                match self.client.delete(&node, -1).await {
                    Ok(()) => break,
                    Err(error) if error.is(ErrorCode::NoNode) => break,
                    Err(error) if error.ends_session() => return Ok(()),
                    Err(Error::ConnectionLoss) => sleep(RETRY_PAUSE).await,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn before(&self) -> Result<Option<String>, Error> {
        let children = self.client.children(&self.parent).await?.children;
        if !self
            .names
            .iter()
            .all(|name| children.iter().any(|child| *child == name.as_str()))
        {
            return Err(Error::Server(ErrorCode::NoNode.code()));
        }
        let names = children.iter().map(|child| child.as_str());
        let before = predecessor(names, self.number, self.kind.yields_to);
        Ok(before.map(|name| path::join(&self.parent, name)))
    }
}

fn made_by(results: &[MultiResult]) -> Option<(Vec<String>, Zxid)> {
    let mut names = Vec::new();
    let mut czxid = Zxid::ZERO;
    for result in results {
        let MultiResult::Create2(path, stat) = result else {
            return None;
        };
        names.push(path::name(path).to_owned());
        czxid = stat.czxid;
    }
    Some((names, czxid))
}

/// Looks for nodes that may have been made. The session has moved to another connection meanwhile, behind which the
/// old one can change nothing, and the sync shows what it did change.
async fn found(
    client: &Client,
    parent: &str,
    fronts: &[String],
) -> Result<Option<(Vec<String>, Zxid)>, Error> {
    client.sync(parent).await?;
    let children = match client.children(parent).await {
        Err(error) if error.is(ErrorCode::NoNode) => return Ok(None),
        reply => reply?.children,
    };
    let name_with = |front: &String| {
        let name = children.iter().find(|name| name.starts_with(front));
        name.map(|name| name.to_string())
    };
    let Some(names) = fronts.iter().map(name_with).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let node = path::join(parent, &names[0]);
    let stat = client.exists(&node).await?;
    Ok(stat.map(|stat| (names, stat.czxid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Mark = Mark::Curator("lock-");
    const KAZOO: Mark = Mark::Kazoo("__lock__");

    #[test]
    fn numbers_stand_behind_the_marks_that_count() {
        for (name, number_of) in [
            ("_c_1-lock-0000000012", Some(12)),
            ("ab__lock__0000000003", Some(3)),
            ("ab__lock__-2147483648", Some(i32::MIN)),
            ("_c_1-lock--2147483647", Some(-2_147_483_647)),
            ("ab__rlock__0000000003", None),
            ("_c_1-latch-0000000003", None),
            ("lock-12", None),
            ("0000000012", None),
            ("", None),
            ("ä0000000012", None),
            ("lock-00000000ä1", None),
        ] {
            assert_eq!(number(name, &[LOCK, KAZOO]), number_of, "{name}");
        }
    }

    #[test]
    fn the_one_right_before_is_waited_for() {
        let names = [
            "a__lock__0000000007",
            "_c_b-lock-0000000003",
            "c__rlock__0000000005",
            "_c_d-lock-0000000006",
        ];
        for (ours, before) in [
            (3, None),
            (4, Some("_c_b-lock-0000000003")),
            (7, Some("_c_d-lock-0000000006")),
            (9, Some("a__lock__0000000007")),
        ] {
            assert_eq!(predecessor(names, ours, &[LOCK, KAZOO]), before, "{ours}");
        }
    }

    #[test]
    fn names_are_what_curator_and_kazoo_look_for() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            LOCK.name(id),
            "_c_01234567-89ab-cdef-0123-456789abcdef-lock-"
        );
        assert_eq!(
            KAZOO.name(id),
            "zab-0123456789abcdef0123456789abcdef__lock__"
        );
        let mine = format!("{}0000000004", LOCK.name(id));
        let also_mine = format!("{}0000000005", KAZOO.name(id));
        let other = "ffff456789abcdef0123456789abcdef__lock__0000000002";
        assert_eq!(
            in_order([also_mine.as_str(), &mine, other], &[LOCK, KAZOO]),
            [other, &mine]
        );
    }

    /// Curator's order: what follows the last mark, or the whole name.
    #[test]
    fn curator_sorts_names_of_others_behind_its_own() {
        let id = random::unique_name();
        for face in [
            KAZOO,
            Mark::Curator("__WRIT__"),
            Mark::Curator("__READ__"),
            Mark::Curator("latch-"),
        ] {
            let name = format!("{}0000000001", face.name(&id));
            assert!(!name.contains("lock-"));
            assert!(name.as_str() > "2147483647", "{name}");
        }
    }
}
