//! Which of several instances is taken: pure, the dice come in as an argument.

use crate::random;

use super::instance::Instance;

/// How one of several instances is chosen.
///
/// Whatever the policy, those that are disabled, without an address, or of weight 0 get nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One after the other, in the order of their ids, as often whatever their weights.
    RoundRobin,
    /// Any, whatever their weights.
    Random,
    /// Any, as often as their weights say.
    Weighted,
    /// For one key always the same, for all who ask. When an instance goes only its keys move, when one comes only
    /// those move that it gets, and each gets as many as its weight says.
    ConsistentHash,
    /// The same as before as long as it is there; then any, as often as their weights say.
    Sticky,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish<'a> {
    /// How to choose.
    pub policy: Policy,
    /// With [`Policy::ConsistentHash`]: what is to get to the same instance each time.
    pub key: &'a str,
    /// With [`Policy::RoundRobin`] and [`Policy::Sticky`]: the id of the instance that was chosen before.
    pub last: Option<&'a str>,
    /// A random number.
    pub dice: u64,
}

/// Chooses one; none if there is none that can be used.
#[must_use]
pub fn choose<'a>(
    instances: impl IntoIterator<Item = &'a Instance>,
    wish: &Wish<'_>,
) -> Option<&'a Instance> {
    let mut usable: Vec<_> = instances
        .into_iter()
        .filter(|instance| instance.is_usable())
        .collect();
    usable.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    match (wish.policy, wish.last) {
        (Policy::RoundRobin, Some(last)) => {
            let next = usable.iter().find(|instance| instance.id.as_str() > last);
            next.or(usable.first()).copied()
        }
        // Many who begin at one time do not all begin with the same.
        (Policy::RoundRobin, None) | (Policy::Random, _) => at(&usable, wish.dice),
        (Policy::Weighted, _) => weighted(&usable, wish.dice),
        (Policy::ConsistentHash, _) => usable
            .into_iter()
            .max_by(|a, b| score(a, wish.key).total_cmp(&score(b, wish.key))),
        (Policy::Sticky, last) => {
            let same = usable
                .iter()
                .find(|instance| Some(instance.id.as_str()) == last);
            same.copied().or_else(|| weighted(&usable, wish.dice))
        }
    }
}

/// All that can be used, in the order in which to try them: the chosen one first, then as if it were not there.
#[must_use]
pub fn in_order<'a>(instances: &'a [Instance], wish: &Wish<'_>) -> Vec<&'a Instance> {
    let Some(first) = choose(instances, wish) else {
        return Vec::new();
    };
    let rest = instances
        .iter()
        .filter(|one| one.is_usable() && one.id != first.id);
    let dice = wish.dice.to_string();
    // The greatest goes first. To draw by these scores is to draw by the weights again and again.
    let mut rest: Vec<(f64, &Instance)> = rest
        .map(|one| {
            let score = match wish.policy {
                Policy::RoundRobin => f64::from(u8::from(one.id > first.id)),
                Policy::Random => drawn(one, &dice),
                Policy::ConsistentHash => score(one, wish.key),
                Policy::Sticky | Policy::Weighted => score(one, &dice),
            };
            (score, one)
        })
        .collect();
    rest.sort_unstable_by(|(a, one), (b, other)| b.total_cmp(a).then(one.id.cmp(&other.id)));
    let rest = rest.into_iter().map(|(_, one)| one);
    std::iter::once(first).chain(rest).collect()
}

fn at<'a>(usable: &[&'a Instance], number: u64) -> Option<&'a Instance> {
    let at = number.checked_rem(usable.len() as u64)?;
    usable.get(usize::try_from(at).ok()?).copied()
}

fn weighted<'a>(usable: &[&'a Instance], dice: u64) -> Option<&'a Instance> {
    let all: u64 = usable.iter().map(|one| u64::from(one.weight)).sum();
    let mut left = dice.checked_rem(all)?;
    usable.iter().copied().find(|instance| {
        let weight = u64::from(instance.weight);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    })
}

/// Rendezvous hashing with weights: each instance draws a number for the key, on its own, and the greatest wins. The
/// chance of winning is the weight over the sum of all, and who comes or goes changes nobody else's draw.
fn score(instance: &Instance, key: &str) -> f64 {
    f64::from(instance.weight) / -drawn(instance, key).ln()
}

/// Between 0 and 1, neither of them.
#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits of the hash and a half fit exactly"
)]
fn drawn(instance: &Instance, key: &str) -> f64 {
    let hash = hash(&[key, &instance.id]) >> 12;
    (hash as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The same in every process, on every machine, in every version.
fn hash(parts: &[&str]) -> u64 {
    mixed(fingerprint(parts))
}

/// FNV-1a of some texts: the same in every process, on every machine, in every version.
#[must_use]
pub fn fingerprint(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // 0xff is in no UTF-8: "ab", "c" is not "a", "bc".
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The mix of splitmix64.
const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number for [`Wish::dice`].
#[must_use]
pub fn dice() -> u64 {
    random::number()
}

/// Chooses again and again, and remembers what it has chosen.
#[derive(Debug, Clone)]
pub struct Chooser {
    policy: Policy,
    last: Option<String>,
}

impl Chooser {
    /// Has chosen nothing yet.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, last: None }
    }

    /// The next one. `key` is for [`Policy::ConsistentHash`].
    pub fn next<'a>(&mut self, instances: &'a [Instance], key: &str) -> Option<&'a Instance> {
        let wish = Wish {
            policy: self.policy,
            key,
            last: self.last.as_deref(),
            dice: dice(),
        };
        let chosen = choose(instances, &wish)?;
        self.last = Some(chosen.id.clone());
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn instance(id: &str, weight: u32) -> Instance {
        Instance {
            weight,
            ..Instance::new("web", id, Some("h".to_owned()))
        }
    }

    fn group(weights: &[(&str, u32)]) -> Vec<Instance> {
        let all = weights.iter();
        all.map(|(id, weight)| instance(id, *weight)).collect()
    }

    fn wish(policy: Policy, dice: u64) -> Wish<'static> {
        Wish {
            policy,
            key: "",
            last: None,
            dice,
        }
    }

    const POLICIES: [Policy; 5] = [
        Policy::RoundRobin,
        Policy::Random,
        Policy::Weighted,
        Policy::ConsistentHash,
        Policy::Sticky,
    ];

    /// How often each is chosen in so many draws with different dice and keys.
    fn counts(instances: &[Instance], policy: Policy, draws: u64) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for draw in 0..draws {
            let key = format!("key-{draw}");
            let dice = mixed(draw);
            let key = key.as_str();
            let chosen = choose(
                instances,
                &Wish {
                    key,
                    ..wish(policy, dice)
                },
            )
            .unwrap();
            *counts.entry(chosen.id.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn those_that_are_not_to_be_used_get_nothing() {
        let mut all = group(&[
            ("b", 3),
            ("a", 1),
            ("drained", 0),
            ("disabled", 9),
            ("nowhere", 9),
        ]);
        all[3].enabled = false;
        all[4].address = None;
        for policy in POLICIES {
            let counts = counts(&all, policy, 200);
            assert_eq!(counts.keys().collect::<Vec<_>>(), ["a", "b"], "{policy:?}");
            let drained = Wish {
                last: Some("drained"),
                ..wish(policy, 1)
            };
            assert!(["a", "b"].contains(&choose(&all, &drained).unwrap().id.as_str()));
            assert_eq!(choose(&all[2..], &wish(policy, 1)), None, "{policy:?}");
            assert_eq!(choose(&[], &wish(policy, 1)), None, "{policy:?}");
        }
    }

    #[test]
    fn each_gets_its_share() {
        let all = group(&[("a", 1), ("b", 2), ("c", 7)]);
        for (policy, shares) in [
            (Policy::Random, [33, 33, 33]),
            (Policy::Weighted, [10, 20, 70]),
            (Policy::ConsistentHash, [10, 20, 70]),
            (Policy::Sticky, [10, 20, 70]),
            (Policy::RoundRobin, [33, 33, 33]),
        ] {
            let counts = counts(&all, policy, 10_000);
            for (id, share) in ["a", "b", "c"].into_iter().zip(shares) {
                let percent = counts[id] / 100;
                assert!(percent.abs_diff(share) <= 2, "{policy:?} {id}: {percent}%");
            }
        }
        // The largest weights do not overflow.
        let huge = group(&[("a", u32::MAX), ("b", u32::MAX)]);
        assert!(counts(&huge, Policy::Weighted, 1000)["a"].abs_diff(500) < 60);
    }

    #[test]
    fn round_robin_goes_on_behind_the_last_one_also_when_that_is_gone() {
        let all = group(&[("c", 1), ("a", 5), ("b", 1)]);
        for (last, next) in [("a", "b"), ("b", "c"), ("c", "a"), ("aa", "b"), ("z", "a")] {
            let wish = Wish {
                last: Some(last),
                ..wish(Policy::RoundRobin, 0)
            };
            assert_eq!(choose(&all, &wish).unwrap().id, next, "{last}");
        }
        let mut chooser = Chooser::new(Policy::RoundRobin);
        let turns: Vec<_> = (0..6)
            .map(|_| chooser.next(&all, "").unwrap().id.as_str())
            .collect();
        assert_eq!(turns[..3], turns[3..]);
        assert_eq!(turns.iter().filter(|id| **id == "b").count(), 2);
    }

    #[test]
    fn sticky_stays_as_long_as_it_can() {
        let all = group(&[("a", 1), ("b", 1), ("c", 1)]);
        let mut chooser = Chooser::new(Policy::Sticky);
        let first = chooser.next(&all, "").unwrap().id.clone();
        for _ in 0..50 {
            assert_eq!(chooser.next(&all, "").unwrap().id, first);
        }
        let left: Vec<_> = all.iter().filter(|one| one.id != first).cloned().collect();
        let second = chooser.next(&left, "").unwrap().id.clone();
        assert_ne!(second, first);
        assert_eq!(
            chooser.next(&all, "").unwrap().id,
            second,
            "it does not go back"
        );
    }

    #[test]
    fn only_the_keys_of_who_comes_or_goes_move() {
        let all = group(&[("a", 100), ("b", 100), ("c", 100), ("d", 50), ("e", 100)]);
        let place = |instances: &[Instance], key: u64| {
            let key = format!("user-{key}");
            let key = key.as_str();
            let wish = Wish {
                key,
                ..wish(Policy::ConsistentHash, 0)
            };
            choose(instances, &wish).unwrap().id.clone()
        };
        const KEYS: u64 = 5000;
        for gone in ["a", "d"] {
            let fewer: Vec<_> = all.iter().filter(|one| one.id != gone).cloned().collect();
            let mut moved = 0;
            for key in 0..KEYS {
                let (before, after) = (place(&all, key), place(&fewer, key));
                assert!(before == after || before == gone, "{key}: {before} {after}");
                moved += u64::from(before != after);
            }
            // Its share, and no more.
            let share = if gone == "d" {
                KEYS * 50 / 450
            } else {
                KEYS * 100 / 450
            };
            assert!(
                moved.abs_diff(share) < KEYS / 40,
                "{gone}: {moved}, not {share}"
            );
        }
        // A weight that changes moves keys from or to that instance only.
        let mut lighter = all.clone();
        lighter[1].weight = 30;
        for key in 0..KEYS {
            let (before, after) = (place(&all, key), place(&lighter, key));
            assert!(before == after || before == "b", "{key}");
        }
        // Known values: others compute the same, and so does the next version.
        let places: String = (0..12).map(|key| place(&all, key)).collect();
        assert_eq!(places, "baacbdedadab");
    }

    #[test]
    fn all_are_put_in_order_and_the_chosen_one_is_first() {
        let all = group(&[("a", 1), ("b", 2), ("c", 3), ("none", 0)]);
        for policy in POLICIES {
            let wish = Wish {
                key: "k",
                last: Some("b"),
                ..wish(policy, 77)
            };
            let order: Vec<_> = in_order(&all, &wish)
                .iter()
                .map(|one| one.id.as_str())
                .collect();
            assert_eq!(order[0], choose(&all, &wish).unwrap().id, "{policy:?}");
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, ["a", "b", "c"], "{policy:?}");
            if policy == Policy::RoundRobin {
                assert_eq!(order, ["c", "a", "b"]);
            }
        }
        // The second is drawn by weight, too, and by key what the key would get without the first.
        let (mut seconds, draws) = (0, 4000);
        for draw in 0..draws {
            let (key, dice) = (draw.to_string(), mixed(draw));
            let hashed = Wish {
                key: &key,
                ..wish(Policy::ConsistentHash, 0)
            };
            let order = in_order(&all, &hashed);
            let left = order[1..].iter().copied();
            assert_eq!(choose(left, &hashed), Some(order[1]));
            let order = in_order(&all[..3], &wish(Policy::Weighted, dice));
            seconds += u64::from(order[0].id == "a" && order[1].id == "c");
        }
        // A sixth of the draws begins with a; three fifths of these go on with c.
        assert!(
            seconds.abs_diff(draws / 10) < draws / 50,
            "{seconds} of {draws}"
        );
        let many: Vec<_> = (0..20_000).map(|id| instance(&id.to_string(), 1)).collect();
        assert_eq!(
            in_order(&many, &wish(Policy::Weighted, 1)).len(),
            many.len()
        );
    }
}
