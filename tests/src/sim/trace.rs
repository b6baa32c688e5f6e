//! What happened in a run, as one number to compare and, on request, as lines to read.

use std::fmt;

/// The record of a run. Two runs of one seed must have the same hash.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    prints: bool,
}

impl Trace {
    /// An empty record; with `prints` each line goes to stderr as it comes.
    #[must_use]
    pub const fn new(prints: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            prints,
        }
    }

    /// Takes bytes in, such as a frame on the wire.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.events += 1;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }

    const fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }

    /// Takes in a step of kind `what` about `who` at `at_us`.
    pub fn step(&mut self, at_us: i64, what: &'static str, who: u64) {
        self.word(at_us.cast_unsigned());
        self.bytes(what.as_bytes());
        self.word(who);
        if self.prints {
            eprintln!("{:>12.3} ms  {what} {who}", micros_as_ms(at_us));
        }
    }

    /// A line for people; not part of the hash.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.prints {
            eprintln!("                 {}", line());
        }
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How much was taken in.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn micros_as_ms(us: i64) -> f64 {
    us as f64 / 1000.0
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} after {} events", self.hash, self.events)
    }
}
