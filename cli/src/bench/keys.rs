//! Where the nodes are, and what is in them.
//!
//! Nodes have numbers, and stand in directories of a thousand: `ROOT/d000012/k0000012345`. A value says which node it
//! belongs to and how often that has been written, and the rest of it follows from those two, so that a reader knows a
//! wrong value without knowing what was written.

/// Nodes in one directory.
pub(crate) const DIRECTORY_KEYS: u32 = 1000;

/// Bytes of a value that are not filling: the node's number and the write's.
const VALUE_HEADER_BYTES: usize = 8;

/// Paths under a root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: String,
    keys: u32,
}

impl Layout {
    pub(crate) fn new(root: String, keys: u32) -> Self {
        Self { root, keys }
    }

    pub(crate) fn keys(&self) -> u32 {
        self.keys
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// How many directories the nodes need.
    pub(crate) fn directories(&self) -> u32 {
        self.keys.div_ceil(DIRECTORY_KEYS)
    }

    /// How many nodes a directory holds.
    pub(crate) fn directory_len(&self, directory: u32) -> u32 {
        self.keys
            .saturating_sub(directory * DIRECTORY_KEYS)
            .min(DIRECTORY_KEYS)
    }

    /// Puts the path of a node into `path`.
    pub(crate) fn key_path(&self, key: u32, path: &mut String) {
        self.directory_path(key / DIRECTORY_KEYS, path);
        path.push_str("/k");
        push_digits(key, 10, path);
    }

    /// Puts the path of a directory into `path`.
    pub(crate) fn directory_path(&self, directory: u32, path: &mut String) {
        path.clear();
        path.push_str(&self.root);
        path.push_str("/d");
        push_digits(directory, 6, path);
    }

    /// Puts the path of a connection's own directory into `path`.
    pub(crate) fn own_path(&self, connection: u32, path: &mut String) {
        path.clear();
        path.push_str(&self.root);
        path.push_str("/c");
        push_digits(connection, 6, path);
    }

    /// Puts the path of a node that a connection made into `path`.
    pub(crate) fn made_path(&self, connection: u32, number: u32, path: &mut String) {
        self.own_path(connection, path);
        path.push_str("/n");
        push_digits(number, 10, path);
    }
}

fn push_digits(number: u32, width: usize, path: &mut String) {
    let mut digits = [b'0'; 10];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).expect("a remainder of ten");
        rest /= 10;
    }
    path.extend(digits[10 - width..].iter().copied().map(char::from));
}

/// Appends the value of a node after its write number `stamp`.
pub(crate) fn write_value(key: u32, stamp: u32, bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let word = filling(key, stamp);
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&stamp.to_be_bytes());
    while out.len() < start + bytes {
        out.extend_from_slice(&word);
    }
    out.truncate(start + bytes);
}

/// The number of the write that a value comes from, if it is a whole value of this node.
pub(crate) fn read_value(key: u32, bytes: usize, value: &[u8]) -> Result<u32, WrongValue> {
    if value.len() != bytes {
        return Err(WrongValue::Length(value.len()));
    }
    let Some((header, rest)) = value.split_at_checked(VALUE_HEADER_BYTES) else {
        // Too short to say anything.
        return Ok(0);
    };
    let (of, stamp) = (be_u32(header), be_u32(&header[4..]));
    if of != key {
        return Err(WrongValue::OtherKey(of));
    }
    let word = filling(key, stamp);
    let mut words = rest.chunks_exact(word.len());
    let whole = words.by_ref().all(|chunk| chunk == word);
    let tail = words.remainder();
    if !whole || *tail != word[..tail.len()] {
        return Err(WrongValue::Filling);
    }
    Ok(stamp)
}

/// How a value is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrongValue {
    /// It has this many bytes.
    Length(usize),
    /// It belongs to this node.
    OtherKey(u32),
    /// It is damaged.
    Filling,
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

fn filling(key: u32, stamp: u32) -> [u8; 8] {
    mix(u64::from(key) << 32 | u64::from(stamp)).to_be_bytes()
}

/// Scatters a number over all 64 bits (the finalizer of splitmix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_width_and_directories_a_thousand_nodes() {
        let layout = Layout::new("/b".into(), 2500);
        let mut path = String::new();
        layout.key_path(1234, &mut path);
        assert_eq!(path, "/b/d000001/k0000001234");
        layout.made_path(7, 4_000_000_000, &mut path);
        assert_eq!(path, "/b/c000007/n4000000000");
        assert_eq!(layout.directories(), 3);
        assert_eq!([0, 2, 3].map(|at| layout.directory_len(at)), [1000, 500, 0]);
    }

    #[test]
    fn a_value_is_known_again_and_nothing_else_is() {
        for bytes in [0, 5, 8, 9, 100] {
            let mut value = Vec::new();
            write_value(5, 17, bytes, &mut value);
            assert_eq!(value.len(), bytes);
            let stamp = if bytes < 8 { 0 } else { 17 };
            assert_eq!(read_value(5, bytes, &value), Ok(stamp));
            assert_eq!(
                read_value(5, bytes + 1, &value),
                Err(WrongValue::Length(bytes))
            );
            if bytes >= 8 {
                assert_eq!(read_value(6, bytes, &value), Err(WrongValue::OtherKey(5)));
            }
            for at in 8..bytes {
                let mut damaged = value.clone();
                damaged[at] ^= 1;
                assert_eq!(read_value(5, bytes, &damaged), Err(WrongValue::Filling));
            }
        }
    }
}
