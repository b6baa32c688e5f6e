//! Writing Jute values.
//!
//! ZooKeeper: `BinaryOutputArchive`.

use bytes::Bytes;

use crate::{DecodeError, Jute, Reader, Text};

fn write_length(length: usize, out: &mut Vec<u8>) {
    let length = i32::try_from(length).expect("frames are bounded far below 2 GiB");
    out.extend_from_slice(&length.to_be_bytes());
}

/// Appends a length-prefixed run of bytes.
pub fn write_buffer(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(bytes) => {
            write_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a string as the Java server writes it: characters outside the BMP as two three-byte surrogates (CESU-8).
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    // A lead byte of 0xf0 or above is the only way UTF-8 spells a character beyond the BMP.
    if text.bytes().all(|byte| byte < 0xf0) {
        write_buffer(Some(text.as_bytes()), out);
        return;
    }
    let start = out.len();
    write_length(0, out);
    for unit in text.encode_utf16() {
        write_utf16_unit(unit, out);
    }
    let length = i32::try_from(out.len() - start - 4).expect("frames are bounded far below 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_utf16_unit(unit: u16, out: &mut Vec<u8>) {
    let low = |shift: u16, mask: u16| (unit >> shift & mask).to_be_bytes()[1];
    match unit {
        0..0x80 => out.push(low(0, 0x7f)),
        0x80..0x800 => out.extend_from_slice(&[0xc0 | low(6, 0x1f), 0x80 | low(0, 0x3f)]),
        _ => out.extend_from_slice(&[
            0xe0 | low(12, 0x0f),
            0x80 | low(6, 0x3f),
            0x80 | low(0, 0x3f),
        ]),
    }
}

impl Jute for bool {
    const MIN_BYTES: usize = 1;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bool()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Jute for i32 {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.i32()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Jute for i64 {
    const MIN_BYTES: usize = 8;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.i64()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl Jute for Option<Text> {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => write_buffer(None, out),
            Some(text) => write_str(text, out),
        }
    }
}

impl Jute for Option<Bytes> {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.buffer()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_buffer(self.as_deref(), out);
    }
}

/// A string that is never null: null is a decoding error.
impl Jute for Text {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text()?.ok_or(DecodeError::Null { what: "a string" })
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_str(self, out);
    }
}

impl<T: Jute> Jute for Option<Vec<T>> {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.vector()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1i32).write(out),
            Some(elements) => elements.write(out),
        }
    }
}

/// A vector that is never null: null is a decoding error.
impl<T: Jute> Jute for Vec<T> {
    const MIN_BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader
            .vector()?
            .ok_or(DecodeError::Null { what: "a vector" })
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.len(), out);
        for element in self {
            element.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `storage-formats.md` §10.5.
    #[test]
    fn characters_beyond_the_bmp_are_written_as_two_surrogates() {
        let mut out = Vec::new();
        write_str("\u{1f600}", &mut out);
        assert_eq!(out, b"\0\0\0\x06\xed\xa0\xbd\xed\xb8\x80");
        out.clear();
        write_str("a\0\u{e9}\u{ffff}\u{10ffff}", &mut out);
        assert_eq!(
            out,
            b"\0\0\0\x0da\0\xc3\xa9\xef\xbf\xbf\xed\xaf\xbf\xed\xbf\xbf"
        );
    }

    #[test]
    fn null_and_empty_stay_apart() {
        assert_eq!(None::<Text>.to_vec(), [0xff; 4]);
        assert_eq!(Some(Text::new()).to_vec(), [0; 4]);
        assert_eq!(None::<Vec<i32>>.to_vec(), [0xff; 4]);
        assert_eq!(Some(Vec::<i32>::new()).to_vec(), [0; 4]);
    }
}
