//! The time, as an argument.

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since some moment; never goes back. Deadlines go by it.
    pub monotonic_ms: i64,
    /// Milliseconds since 1970 UTC; may jump. Stamps transactions and judges the age of TTL nodes, nothing else.
    pub wall_ms: i64,
}
