//! A little randomness, from what the standard library seeds its maps with: for names that must differ
//! and for waits that should.

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

/// 32 hexadecimal digits that nobody else comes up with.
pub(crate) fn unique_name() -> String {
    format!("{:016x}{:016x}", number(), number())
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
    fn names_differ_and_nothing_is_lost_in_a_shuffle() {
        assert_ne!(unique_name(), unique_name());
        assert_eq!(unique_name().len(), 32);
        assert!((0.0..=1.0).contains(&fraction()));
        let mut things: Vec<_> = (0..50).collect();
        shuffle(&mut things);
        assert_ne!(things, (0..50).collect::<Vec<_>>());
        things.sort_unstable();
        assert_eq!(things, (0..50).collect::<Vec<_>>());
    }
}
