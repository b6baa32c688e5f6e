//! The order that Java's `HashMap<Long, …>` is gone through in, which shows in the membership's text.

/// Sorts keys, each there once, into that order.
///
/// Keys that meet in one bucket stand in the order that they were put in, which in Java is again that of a hash table;
/// here the smaller goes first. That takes ids 16 apart, or more.
///
/// Java: `HashMap.hash`, `HashMap.resize`.
pub(super) fn sort_as_hash_map<T>(entries: &mut [T], key: impl Fn(&T) -> i64) {
    let mut buckets: u32 = 16;
    while entries.len() > buckets as usize / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    entries.sort_by_key(|entry| (bucket(key(entry), buckets), key(entry)));
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Java mixes the halves of the key's bits just so"
)]
fn bucket(key: i64, buckets: u32) -> u32 {
    let hash = (key ^ (key as u64 >> 32) as i64) as u32;
    (hash ^ (hash >> 16)) & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ids_ascend_and_greater_ones_wrap() {
        for (given, expected) in [
            (vec![3, 1, 2], vec![1, 2, 3]),
            (vec![1, 2, 16], vec![16, 1, 2]),
            (vec![1, 15, 100, 200], vec![1, 100, 200, 15]),
            (vec![-1, 1], vec![-1, 1]),
            ((0..13).rev().collect(), (0..13).collect()),
            ((4..17).collect(), (4..17).collect()),
        ] {
            let mut sorted = given.clone();
            sort_as_hash_map(&mut sorted, |key| *key);
            assert_eq!(sorted, expected, "{given:?}");
        }
    }
}
