//! The input, taken apart from its front. What is missing at the end reads as zeros, so that every input means
//! something.

/// What is left of an input.
pub struct Source<'a>(&'a [u8]);

#[allow(dead_code, reason = "each target uses its own part")]
impl<'a> Source<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Up to `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes behind their length, which is one byte.
    pub fn short(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// Bytes behind their length, which is two bytes.
    pub fn long(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(len)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A number that is mostly small or at the end of its range, and sometimes anything.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            high @ 200..=219 => u64::MAX - u64::from(high - 200),
            high @ 220..=229 => i64::MAX as u64 - u64::from(high - 220),
            blocks @ 230..=239 => u64::from(blocks - 229) * 4096,
            _ => self.u64(),
        }
    }
}
