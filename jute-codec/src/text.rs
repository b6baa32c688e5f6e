//! An immutable UTF-8 string that shares the frame it came in.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Immutable UTF-8 text; cloning it costs a reference count.
///
/// Invariant: the bytes are well-formed UTF-8.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// The empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Text that lives as long as the program.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Decodes `part`, a subslice of `frame`, sharing it where it is well-formed.
    ///
    /// Malformed sequences become U+FFFD the way the Java server's decoder does it: one for each maximal
    /// ill-formed subsequence, where the first two bytes of a surrogate count as well-formed so far. So a surrogate
    /// spelled in three bytes is replaced as a whole, and the text's end within one as well.
    #[must_use]
    pub fn decode(frame: &Bytes, part: &[u8]) -> Self {
        match std::str::from_utf8(part) {
            Ok(_) => Self(frame.slice_ref(part)),
            Err(_) => Self::from(decode_lossy(part)),
        }
    }

    /// The text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self
    }

    /// The UTF-8 bytes, sharing the text's memory.
    #[must_use]
    pub fn as_bytes_shared(&self) -> &Bytes {
        &self.0
    }

    /// A copy with memory of its own, which keeps no frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

fn decode_lossy(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    loop {
        let error = match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                return text;
            }
            Err(error) => error,
        };
        let (valid, broken) = bytes.split_at(error.valid_up_to());
        text.push_str(
            std::str::from_utf8(valid).expect("from_utf8 has just found this part valid"),
        );
        text.push(char::REPLACEMENT_CHARACTER);
        let skipped = match broken {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            [0xed, 0xa0..=0xbf, ..] => 2,
            _ => error.error_len().unwrap_or(broken.len()),
        };
        bytes = &broken[skipped..];
    }
}

impl Deref for Text {
    type Target = str;

    #[expect(
        unsafe_code,
        reason = "checking the bytes again at every use would cost more than all else decoding does"
    )]
    fn deref(&self) -> &str {
        // SAFETY: every constructor takes its bytes from a `str` or checks them with `from_utf8`, and
        // `Bytes` is immutable.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

/// As `str` hashes, which [`Borrow`] demands: `Bytes` would hash its length in place of a terminator.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text.into_bytes()))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The table of `storage-formats.md` §1, observed on the Java server.
    #[test]
    fn malformed_utf8_is_replaced_as_java_does() {
        for (bytes, expected) in [
            (&b"\xff"[..], "\u{fffd}"),
            (b"\xc0\x80", "\u{fffd}\u{fffd}"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xf0\x9f\x98", "\u{fffd}"),
            (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}"),
            (b"\xf0\x9f\x98\x80", "\u{1f600}"),
            (b"a\xffb\xed\xa0", "a\u{fffd}b\u{fffd}"),
            (b"\xed\xa0A", "\u{fffd}A"),
            (b"\xed\xa0\xed\xa0\x80\xed", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let frame = Bytes::copy_from_slice(bytes);
            assert_eq!(
                Text::decode(&frame, &frame).as_str(),
                expected,
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn a_map_keyed_by_text_can_be_asked_with_a_str() {
        let map = HashMap::from([(Text::from("/a"), 1)]);
        assert_eq!(map.get("/a"), Some(&1));
    }

    #[test]
    fn well_formed_text_shares_its_frame() {
        let frame = Bytes::from_static(b"xx/a/b");
        let text = Text::decode(&frame, &frame[2..]);
        assert_eq!(text, "/a/b");
        assert_eq!(text.as_ptr(), frame[2..].as_ptr());
    }
}
