//! A little randomness, from what the standard library seeds its maps with: for waits that should differ.

use std::hash::{BuildHasher, RandomState};

/// A random number.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(0_u64)
}

/// A random number from 0 to 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "32 bits are more than enough and fit exactly"
)]
pub(crate) fn fraction() -> f64 {
    (number() >> 32) as f64 / f64::from(u32::MAX)
}

/// Puts things into random order.
pub(crate) fn shuffle<T>(things: &mut [T]) {
    for at in (1..things.len()).rev() {
        let other = number() % (at as u64 + 1);
        things.swap(at, usize::try_from(other).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_in_a_shuffle() {
        assert!((0.0..=1.0).contains(&fraction()));
        let mut things: Vec<_> = (0..50).collect();
        shuffle(&mut things);
        assert_ne!(things, (0..50).collect::<Vec<_>>());
        things.sort_unstable();
        assert_eq!(things, (0..50).collect::<Vec<_>>());
    }
}
