//! What the digests that servers have noted say of their trees.
//!
//! A server notes the digest of its tree after one transaction in 128, the last 1024 of them. Two servers are compared at the
//! transactions that both have noted, and the newest of these counts: a ZooKeeper server that was sent a snapshot of no one moment
//! notes wrong digests until it has applied what was written meanwhile, and right ones from there on.

use std::collections::{BTreeMap, BTreeSet};

/// What a server has noted: digests by zxid.
pub(super) type Digests = BTreeMap<u64, i64>;

/// What comes of comparing servers, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// The newest transaction after which all that have noted it, two or more, had the same tree.
    pub(super) agreed: Option<u64>,
    /// Of servers that differed after the newest transaction that both have noted.
    pub(super) differ: Vec<String>,
    /// Of servers that differed after an earlier one, and agree since.
    pub(super) differed: Vec<String>,
}

/// Compares servers, named by their addresses.
pub(super) fn compare(servers: &[(&str, &Digests)]) -> Comparison {
    // Those of whom the same is to be said are named together, by their places.
    let mut differ = BTreeMap::<_, BTreeSet<usize>>::new();
    let mut differed = BTreeMap::<_, BTreeSet<usize>>::new();
    for (second, (_, later)) in servers.iter().enumerate() {
        for (first, (_, sooner)) in servers[..second].iter().enumerate() {
            match Pair::of(sooner, later) {
                Pair::Agrees => {}
                Pair::Differs { from, to } => {
                    differ
                        .entry((from, to))
                        .or_default()
                        .extend([first, second]);
                }
                Pair::Differed { last, since } => {
                    let named = differed.entry((last, since)).or_default();
                    named.extend([first, second]);
                }
            }
        }
    }
    let differ = differ.iter().map(|(&(from, to), named)| {
        let still = match from == to {
            true => String::new(),
            false => format!(", and still after {to:#x}"),
        };
        let had = had(servers, named, from);
        format!("the trees differ after transaction {from:#x}{still}: {had}")
    });
    let differed = differed.iter().map(|(&(last, since), named)| {
        let had = had(servers, named, last);
        format!("the trees differed after transaction {last:#x}, and agree after {since:#x}: {had}")
    });
    Comparison {
        agreed: agreed(servers),
        differ: differ.collect(),
        differed: differed.collect(),
    }
}

/// What two servers' digests say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    /// They are the same, or there is no transaction that both have noted.
    Agrees,
    /// They differ at the newest, and at all that both have noted from `from` on.
    Differs { from: u64, to: u64 },
    /// They differ at `last`, and agree at all that come after it, of which `since` is the first.
    Differed { last: u64, since: u64 },
}

impl Pair {
    fn of(one: &Digests, other: &Digests) -> Self {
        let mut said = Self::Agrees;
        for (&zxid, digest) in one {
            let Some(others) = other.get(&zxid) else {
                continue;
            };
            said = match (said, digest == others) {
                (Self::Differs { to: last, .. }, true) => Self::Differed { last, since: zxid },
                (said, true) => said,
                (Self::Differs { from, .. }, false) => Self::Differs { from, to: zxid },
                (_, false) => Self::Differs {
                    from: zxid,
                    to: zxid,
                },
            };
        }
        said
    }
}

fn agreed(servers: &[(&str, &Digests)]) -> Option<u64> {
    let zxids = servers.iter().flat_map(|(_, digests)| digests.keys());
    zxids
        .filter(|zxid| {
            let mut digests = servers.iter().filter_map(|(_, digests)| digests.get(*zxid));
            let first = digests.next();
            digests.clone().count() > 0 && digests.all(|digest| Some(digest) == first)
        })
        .max()
        .copied()
}

/// Who had which digest after a transaction.
fn had(servers: &[(&str, &Digests)], named: &BTreeSet<usize>, zxid: u64) -> String {
    let mut by_digest = BTreeMap::<i64, Vec<&str>>::new();
    for (address, digests) in named.iter().map(|place| servers[*place]) {
        if let Some(digest) = digests.get(&zxid) {
            by_digest.entry(*digest).or_default().push(address);
        }
    }
    let groups = by_digest
        .iter()
        .map(|(digest, who)| format!("{} had {digest:x}", who.join(" and ")));
    groups.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_transaction_that_two_have_noted_counts() {
        // Digests of servers a, b, c as `zxid=digest`; what agrees, what differs, what differed.
        type Case = (
            &'static [&'static str],
            Option<u64>,
            &'static [&'static str],
            &'static [&'static str],
        );
        let cases: &[Case] = &[
            (&[], None, &[], &[]),
            (&["1=1"], None, &[], &[]),
            (&["1=1", "2=1"], None, &[], &[]),
            (&["1=1 2=2", "1=1 3=7"], Some(1), &[], &[]),
            // One has begun anew: what comes later is to be seen yet.
            (
                &["1=1 2=5 3=3", "1=1 2=6"],
                Some(1),
                &["differ after transaction 0x2: a had 5, b had 6"],
                &[],
            ),
            (
                &["1=1 2=5 3=5 4=4", "1=2 2=6 3=6"],
                None,
                &["differ after transaction 0x1, and still after 0x3: a had 1, b had 2"],
                &[],
            ),
            (
                &["1=1 2=2 4=9", "1=7 2=2 3=3"],
                Some(2),
                &[],
                &["differed after transaction 0x1, and agree after 0x2: a had 1, b had 7"],
            ),
            // It came, went, and came back.
            (
                &["1=1 2=2 3=3 4=4", "1=0 2=2 3=8 4=9"],
                Some(2),
                &["differ after transaction 0x3, and still after 0x4: a had 3, b had 8"],
                &[],
            ),
            (
                &["1=1 2=2 3=3 4=4 5=5", "1=0 2=2 3=8 4=4 5=5"],
                Some(5),
                &[],
                &["differed after transaction 0x3, and agree after 0x4: a had 3, b had 8"],
            ),
            // Of three one alone was wrong for a while.
            (
                &["1=1 2=2", "1=7 2=2", "1=1 2=2"],
                Some(2),
                &[],
                &["differed after transaction 0x1, and agree after 0x2: a and c had 1, b had 7"],
            ),
            // That two agree later says nothing of the third.
            (
                &["1=1 2=2", "1=7 2=2", "1=8"],
                Some(2),
                &["differ after transaction 0x1: a had 1, b had 7, c had 8"],
                &["differed after transaction 0x1, and agree after 0x2: a had 1, b had 7"],
            ),
            (
                &["1=1 3=3", "1=1 2=2 3=3", "2=9"],
                Some(3),
                &["differ after transaction 0x2: b had 2, c had 9"],
                &[],
            ),
            (
                &["1=1", "1=-1"],
                None,
                &["differ after transaction 0x1: b had ffffffffffffffff, a had 1"],
                &[],
            ),
        ];
        for (noted, agreed, differ, differed) in cases {
            let noted: Vec<Digests> = noted.iter().map(|noted| digests(noted)).collect();
            let servers: Vec<(&str, &Digests)> = ["a", "b", "c"].into_iter().zip(&noted).collect();
            let compared = compare(&servers);
            let the_trees = |said: &[&str]| -> Vec<String> {
                said.iter()
                    .map(|said| format!("the trees {said}"))
                    .collect()
            };
            let expected = Comparison {
                agreed: *agreed,
                differ: the_trees(differ),
                differed: the_trees(differed),
            };
            assert_eq!(compared, expected, "{noted:?}");
        }
    }

    fn digests(noted: &str) -> Digests {
        let number = |text: &str| text.parse::<i64>().unwrap();
        let noted = noted.split(' ').map(|noted| noted.split_once('=').unwrap());
        noted
            .map(|(zxid, digest)| (number(zxid).cast_unsigned(), number(digest)))
            .collect()
    }
}
