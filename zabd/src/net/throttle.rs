//! The token bucket that handshakes take from.

/// How fast sessions may be asked for. Times in milliseconds.
///
/// ZooKeeper: `BlueThrottle`, the settings `connection_throttle_*`; rule M3 of `semantics.md`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThrottleParams {
    /// The most tokens there can be; 0 switches the throttle off.
    pub tokens: u32,
    /// How long it takes to refill by `fill_count`.
    pub fill_time_ms: u32,
    /// How many tokens come every `fill_time_ms`.
    pub fill_count: u32,
    /// How often the drop probability is looked at again; `None` switches random dropping off.
    pub freeze_time_ms: Option<u32>,
    /// What an empty bucket adds to the drop probability.
    pub drop_increase: f64,
    /// What a bucket that is full enough takes from it.
    pub drop_decrease: f64,
    /// The part of the bucket that may be missing for it to be full enough.
    pub decrease_ratio: f64,
    /// What handshakes take, if that depends on their kind; else they take one token each.
    pub weights: Option<ThrottleWeights>,
}

/// How many tokens a handshake takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleWeights {
    /// For a new global session. Capacity and refill are multiplied by it.
    pub global: u32,
    /// For a new local session.
    pub local: u32,
    /// For a session that is re-attached to.
    pub renew: u32,
}

impl Default for ThrottleWeights {
    fn default() -> Self {
        Self {
            global: 3,
            local: 1,
            renew: 2,
        }
    }
}

impl Default for ThrottleParams {
    fn default() -> Self {
        Self {
            tokens: 0,
            fill_time_ms: 1,
            fill_count: 1,
            freeze_time_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weights: None,
        }
    }
}

/// What kind of session a handshake asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeKind {
    /// A new session, known to the whole ensemble.
    Global,
    /// A new session of this server alone.
    Local,
    /// A session that exists.
    Renew,
}

/// A token bucket with random early drops. Time and chance come in as arguments.
#[derive(Debug)]
pub struct BlueThrottle {
    params: ThrottleParams,
    capacity: u64,
    fill_count: u64,
    // tokens <= capacity.
    tokens: u64,
    filled_ms: i64,
    frozen_ms: i64,
    // Within 0..=1.
    drop_probability: f64,
}

impl BlueThrottle {
    /// A full bucket.
    #[must_use]
    pub fn new(params: ThrottleParams, now_ms: i64) -> Self {
        let factor = params.weights.map_or(1, |weights| weights.global);
        let capacity = u64::from(params.tokens) * u64::from(factor);
        Self {
            params,
            capacity,
            fill_count: u64::from(params.fill_count) * u64::from(factor),
            tokens: capacity,
            filled_ms: now_ms,
            frozen_ms: now_ms,
            drop_probability: 0.0,
        }
    }

    /// Whether a handshake may go on; takes its tokens if so. `chance` is drawn evenly from `0..1`.
    pub fn admit(&mut self, kind: HandshakeKind, now_ms: i64, chance: f64) -> bool {
        if self.params.tokens == 0 {
            return true;
        }
        self.refill(now_ms);
        self.adjust_drop(now_ms);
        if self.params.freeze_time_ms.is_some() && chance < self.drop_probability {
            return false;
        }
        let wanted = u64::from(self.params.weights.map_or(1, |weights| match kind {
            HandshakeKind::Global => weights.global,
            HandshakeKind::Local => weights.local,
            HandshakeKind::Renew => weights.renew,
        }));
        match self.tokens.checked_sub(wanted) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now_ms: i64) {
        let fill_time = i64::from(self.params.fill_time_ms.max(1));
        let passed = now_ms.saturating_sub(self.filled_ms);
        // Strictly longer, as in Java: within one fill time nothing comes.
        if passed > fill_time {
            let passed = passed.cast_unsigned();
            let refill = passed.saturating_mul(self.fill_count) / fill_time.cast_unsigned();
            self.tokens = self.capacity.min(self.tokens.saturating_add(refill));
            self.filled_ms = now_ms;
        }
    }

    fn adjust_drop(&mut self, now_ms: i64) {
        let Some(freeze_time) = self.params.freeze_time_ms else {
            return;
        };
        if now_ms.saturating_sub(self.frozen_ms) <= i64::from(freeze_time) {
            return;
        }
        self.frozen_ms = now_ms;
        if self.tokens == 0 {
            self.drop_probability = (self.drop_probability + self.params.drop_increase).min(1.0);
        } else if self.deficit() as f64
            <= (self.capacity as f64 * self.params.decrease_ratio).round()
        {
            self.drop_probability = (self.drop_probability - self.params.drop_decrease).max(0.0);
        }
    }

    /// How many tokens are missing.
    #[must_use]
    pub const fn deficit(&self) -> u64 {
        self.capacity - self.tokens
    }

    /// The chance, `0..=1`, that the next handshake is dropped whatever the bucket holds.
    #[must_use]
    pub const fn drop_probability(&self) -> f64 {
        self.drop_probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HandshakeKind::{Global, Local, Renew};

    fn throttle(params: ThrottleParams) -> BlueThrottle {
        BlueThrottle::new(params, 0)
    }

    #[test]
    fn without_tokens_there_is_no_throttle() {
        let mut off = throttle(ThrottleParams::default());
        assert!((0..10_000).all(|_| off.admit(Global, 0, 0.0)));
    }

    #[test]
    fn the_bucket_empties_and_refills() {
        let mut bucket = throttle(ThrottleParams {
            tokens: 3,
            fill_time_ms: 10,
            fill_count: 2,
            ..ThrottleParams::default()
        });
        let admitted = |bucket: &mut BlueThrottle, now| {
            (0..10).filter(|_| bucket.admit(Global, now, 0.5)).count()
        };
        assert_eq!(admitted(&mut bucket, 0), 3);
        assert_eq!(admitted(&mut bucket, 10), 0, "not longer than a fill time");
        assert_eq!(admitted(&mut bucket, 11), 2, "11 ms bring 2.2 tokens");
        assert_eq!(
            admitted(&mut bucket, 1000),
            3,
            "never more than the capacity"
        );
        assert_eq!(bucket.deficit(), 3);
    }

    #[test]
    fn weights_enlarge_the_bucket_and_what_is_taken() {
        let mut bucket = throttle(ThrottleParams {
            tokens: 2,
            weights: Some(ThrottleWeights::default()),
            ..ThrottleParams::default()
        });
        assert!(bucket.admit(Global, 0, 0.0));
        assert!(bucket.admit(Renew, 0, 0.0));
        assert!(!bucket.admit(Renew, 0, 0.0), "one of six tokens is left");
        assert!(bucket.admit(Local, 0, 0.0));
        assert!(!bucket.admit(Local, 0, 0.0));
    }

    #[test]
    fn an_empty_bucket_raises_the_drop_probability_and_a_full_one_lowers_it() {
        let mut bucket = throttle(ThrottleParams {
            tokens: 1,
            fill_time_ms: 1000,
            freeze_time_ms: Some(100),
            drop_increase: 0.5,
            drop_decrease: 0.2,
            ..ThrottleParams::default()
        });
        assert!(bucket.admit(Global, 0, 0.0));
        assert!(!bucket.admit(Global, 101, 0.9));
        assert!((bucket.drop_probability() - 0.5).abs() < 1e-9);
        assert!(!bucket.admit(Global, 201, 0.9), "still within the freeze");
        assert!((bucket.drop_probability() - 0.5).abs() < 1e-9);
        assert!(!bucket.admit(Global, 2000, 0.1), "a token, but bad luck");
        assert!((bucket.drop_probability() - 0.3).abs() < 1e-9);
        assert!(
            bucket.admit(Global, 2000, 0.3),
            "the same token, better luck"
        );
    }
}
