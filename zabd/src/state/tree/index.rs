//! The way from a parent and a name to the child.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;

use super::node::{NodeId, Slab};

/// How many tables the entries are spread over. Growing one of them is all that a single insertion can cost: with ten
/// million nodes a table holds some 10,000 entries and grows in some microseconds.
const SHARDS: usize = 1024;

/// `(parent, name) → child`, keyed by a hash whose seed nobody outside knows.
#[derive(Debug)]
pub(super) struct ChildIndex {
    hasher: FixedState,
    shards: Box<[Shard]>,
    // Hashes and ids that are not in the shards yet; only while a tree is loaded.
    waiting: Option<Vec<(u64, NodeId)>>,
}

/// A child, by the hash of what it is looked for by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sought(u64);

impl ChildIndex {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(hash_seed),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            waiting: None,
        }
    }

    /// Lets what is inserted wait for [`Self::settle`]: all of a tree at once costs a fraction of one by one. Nothing may be
    /// looked for or removed meanwhile.
    pub(super) fn let_wait(&mut self) {
        self.waiting.get_or_insert_default();
    }

    /// Takes in what waits; nothing waits any more.
    pub(super) fn wait_no_more(&mut self) {
        self.settle();
        self.waiting = None;
    }

    /// Takes in what waits.
    pub(super) fn settle(&mut self) {
        let waiting = self
            .waiting
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        if waiting.len() < MANY || self.shards.iter().any(|shard| shard.len > 0) {
            for (hash, id) in waiting {
                self.shards[shard(hash)].insert(tag(hash), id);
            }
            return;
        }
        let mut ends = vec![0; SHARDS];
        for (hash, _) in &waiting {
            ends[shard(*hash)] += 1;
        }
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let mut entries = vec![Entry::FREE; waiting.len()];
        for (hash, id) in waiting {
            let next = &mut ends[shard(hash)];
            entries[*next] = Entry::new(tag(hash), id);
            *next += 1;
        }
        let mut begin = 0;
        for (shard, end) in self.shards.iter_mut().zip(ends) {
            shard.fill(&mut entries[begin..end]);
            begin = end;
        }
    }

    fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        parent.hash(&mut hasher);
        hasher.write(name);
        hasher.finish()
    }

    pub(super) fn find(&self, nodes: &Slab, parent: NodeId, name: &str) -> Option<NodeId> {
        debug_assert!(
            self.waiting.as_ref().is_none_or(Vec::is_empty),
            "what waits is not found"
        );
        let name = name.as_bytes();
        let hash = self.hash(parent, name);
        let is_it = |id| nodes.links(id).parent == parent && nodes.name(id) == name;
        let found = self.shards[shard(hash)].find(tag(hash), is_it)?;
        Some(found.1)
    }

    /// Where a child of this name is, if there is one.
    pub(super) fn sought(&self, parent: NodeId, name: &str) -> Sought {
        Sought(self.hash(parent, name.as_bytes()))
    }

    /// The number in the first place that [`Self::find`] looks at.
    pub(super) fn first_place(&self, sought: Sought) -> u32 {
        let shard = &self.shards[shard(sought.0)];
        let place = shard.places.get(shard.home(tag(sought.0)));
        place.map_or(0, |entry| entry.id().0)
    }

    /// Who is most likely to be it; [`NodeId::NIL`] if nobody is.
    pub(super) fn candidate(&self, sought: Sought) -> NodeId {
        let candidate = self.shards[shard(sought.0)].find(tag(sought.0), |_| true);
        candidate.map_or(NodeId::NIL, |(_, id)| id)
    }

    pub(super) fn insert(&mut self, parent: NodeId, name: &str, id: NodeId) {
        let hash = self.hash(parent, name.as_bytes());
        match &mut self.waiting {
            Some(waiting) => waiting.push((hash, id)),
            None => self.shards[shard(hash)].insert(tag(hash), id),
        }
    }

    pub(super) fn remove(&mut self, parent: NodeId, name: &str, id: NodeId) {
        let hash = self.hash(parent, name.as_bytes());
        self.shards[shard(hash)].remove(tag(hash), id);
    }
}

/// The shard goes by bits that the tag does not hold.
const fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is wanted"
)]
const fn tag(hash: u64) -> u16 {
    hash as u16
}

/// A table in the order of its entries' tags: each entry stands at its tag's share of the table's length or as near
/// behind that as those before it allow. So a longer table is filled front to back, without a look at any node, lengths
/// need not double, and nine places of ten may be taken.
#[derive(Debug, Default)]
struct Shard {
    // Nothing wraps around: some places stand behind the last home, and more if these do not do.
    places: Vec<Entry>,
    homes: u32,
    len: u32,
}

/// A tag and an id. Six bytes, so the id is in two parts.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u16,
    id: [u16; 2],
}

impl Entry {
    const FREE: Self = Self::new(0, NodeId::NIL);

    #[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
    const fn new(tag: u16, id: NodeId) -> Self {
        Self {
            tag,
            id: [id.0 as u16, (id.0 >> 16) as u16],
        }
    }

    const fn id(self) -> NodeId {
        NodeId(self.id[0] as u32 | (self.id[1] as u32) << 16)
    }

    fn is_free(self) -> bool {
        self.id() == NodeId::NIL
    }
}

impl Shard {
    const fn home(&self, tag: u16) -> usize {
        ((tag as u64 * self.homes as u64) >> 16) as usize
    }

    fn find(&self, tag: u16, is_it: impl Fn(NodeId) -> bool) -> Option<(usize, NodeId)> {
        let begin = self.home(tag);
        for (ahead, entry) in self.places.get(begin..)?.iter().enumerate() {
            if entry.is_free() || entry.tag > tag {
                return None;
            }
            if entry.tag == tag && is_it(entry.id()) {
                return Some((begin + ahead, entry.id()));
            }
        }
        None
    }

    fn insert(&mut self, tag: u16, id: NodeId) {
        if self.len >= self.homes / 10 * 9 {
            self.refill(self.homes + (self.homes / 8).max(HOMES_MIN));
        }
        let mut at = self.home(tag);
        while self
            .places
            .get(at)
            .is_some_and(|entry| !entry.is_free() && entry.tag <= tag)
        {
            at += 1;
        }
        let room = self.places[at..].iter().position(|entry| entry.is_free());
        let free = at
            + room.unwrap_or_else(|| {
                self.places.push(Entry::FREE);
                self.places.len() - 1 - at
            });
        self.places.copy_within(at..free, at + 1);
        self.places[at] = Entry::new(tag, id);
        self.len += 1;
    }

    fn remove(&mut self, tag: u16, id: NodeId) {
        let Some((mut at, _)) = self.find(tag, |candidate| candidate == id) else {
            return;
        };
        // Those behind it move up, as far as they are behind their homes.
        while let Some(next) = self.places.get(at + 1).copied()
            && !next.is_free()
            && self.home(next.tag) <= at
        {
            self.places[at] = next;
            at += 1;
        }
        self.places[at] = Entry::FREE;
        self.len -= 1;
        if self.homes > 4 * HOMES_MIN && self.len < self.homes / 4 {
            self.refill(self.homes / 2);
        }
    }

    /// Takes these, in any order, in the place of nothing.
    fn fill(&mut self, entries: &mut [Entry]) {
        entries.sort_unstable_by_key(|entry| entry.tag);
        self.len = u32::try_from(entries.len()).expect("there are fewer than nodes");
        self.places = entries.to_vec();
        self.refill(self.len / 8 * 9 + HOMES_MIN);
    }

    /// Makes it so long.
    fn refill(&mut self, homes: u32) {
        let former = std::mem::take(&mut self.places);
        self.homes = homes;
        let places = homes as usize + SPARE;
        self.places.reserve_exact(places);
        for entry in former.into_iter().filter(|entry| !entry.is_free()) {
            let place = self.home(entry.tag).max(self.places.len());
            self.places.resize(place, Entry::FREE);
            self.places.push(entry);
        }
        if self.places.len() < places {
            self.places.resize(places, Entry::FREE);
        }
    }
}

/// From so many on they are taken in together.
const MANY: usize = 8 * SHARDS;
/// The least that a table has, and grows by.
const HOMES_MIN: u32 = 10;
/// Places behind the last home.
const SPARE: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn holds(shard: &Shard, expected: &BTreeMap<u32, u16>) {
        assert_eq!(shard.len as usize, expected.len());
        for (id, tag) in expected {
            let found = shard.find(*tag, |candidate| candidate == NodeId(*id));
            assert!(found.is_some(), "{id} with {tag}");
        }
        let there = shard.places.iter().filter(|entry| !entry.is_free());
        let tags: Vec<u16> = there.map(|entry| entry.tag).collect();
        assert!(tags.is_sorted());
    }

    proptest! {
        /// Tags that spread, and tags that crowd at either end.
        #[test]
        fn a_table_holds_what_came_and_did_not_go(
            steps in proptest::collection::vec(
                (prop_oneof![any::<u16>(), 0..3u16, 65_500..=u16::MAX], 0..400u32, any::<bool>()),
                0..1500,
            ),
        ) {
            let mut shard = Shard::default();
            let mut expected = BTreeMap::new();
            for (tag, id, comes) in steps {
                match expected.get(&id).copied() {
                    None if comes => {
                        shard.insert(tag, NodeId(id));
                        expected.insert(id, tag);
                    }
                    Some(former) if !comes => {
                        shard.remove(former, NodeId(id));
                        expected.remove(&id);
                    }
                    _ => {}
                }
            }
            holds(&shard, &expected);
        }
    }

    #[test]
    fn what_waits_is_there_once_it_has_settled() {
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let holds_all = |index: &ChildIndex, count: u32| {
            (0..count).all(|number| {
                let hash = hash(number);
                let found = index.shards[shard(hash)].find(tag(hash), |id| id == NodeId(number));
                found.is_some()
            })
        };
        for count in [0, 1, 100, 20_000] {
            let mut index = ChildIndex::new(7);
            index.let_wait();
            let waiting = (0..count).map(|number| (hash(number), NodeId(number)));
            index.waiting = Some(waiting.collect());
            index.settle();
            assert!(holds_all(&index, count), "{count}");
            let tables = index.shards.iter().map(|shard| shard.len);
            assert_eq!(tables.sum::<u32>(), count);
            // More that comes later is found beside it.
            index.waiting = Some(vec![(hash(count), NodeId(count))]);
            index.settle();
            assert!(holds_all(&index, count + 1), "{count}");
        }
    }

    #[test]
    fn a_table_that_fills_wastes_little_and_one_that_empties_shrinks() {
        let mut shard = Shard::default();
        let tag = |number: u32| tag(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
        let mut expected = BTreeMap::new();
        for number in 0..20_000 {
            shard.insert(tag(number), NodeId(number));
            expected.insert(number, tag(number));
            let places = shard.places.len();
            assert!(
                number < 1000 || places * 10 < expected.len() * 13,
                "{places} for {number}"
            );
        }
        holds(&shard, &expected);
        for number in 100..20_000 {
            shard.remove(tag(number), NodeId(number));
            expected.remove(&number);
        }
        holds(&shard, &expected);
        assert!(shard.places.len() < 1000);
    }
}
