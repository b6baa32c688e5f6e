//! The bytes of a segment; `docs/file-formats.md` is the same in prose. All integers are little-endian.

use crc32fast::Hasher;
use jute_codec::Zxid;

/// The header's own block; records begin here, so that no record shares a page with the header.
pub(super) const HEADER_BLOCK: usize = 4096;
/// The head of a record.
pub(super) const RECORD_HEAD: usize = 32;
/// Records begin on multiples of this.
pub(super) const ALIGN: usize = 8;
/// The longest transaction a record can hold.
pub(super) const TXN_BYTES_MAX: usize = 512 * 1024 * 1024;
/// The version written; no other is read.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ZABDLOG\n";
const HEADER_BYTES: usize = 64;
const FLAG_RESTART: u32 = 1;
const KIND_TXN: u32 = 1;
const KIND_SEAL: u32 = 2;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Drawn anew for every use of a file; part of every checksum in it.
    pub(super) salt: u64,
    /// The last transaction before this segment. Whatever older segments hold beyond it does not count,
    /// and whatever they hold up to it was durable when this segment was made.
    pub(super) base: Zxid,
    /// Of two segments the one with the higher sequence is newer.
    pub(super) sequence: u64,
    /// The bytes before this offset were durable before the segment got its name.
    pub(super) proven_end: u64,
    /// The length the file was allocated with.
    pub(super) file_bytes: u64,
    /// No older segment counts: the history up to `base` is in the snapshot.
    pub(super) restart: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    NotASegment,
    Checksum,
    Version(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.proven_end.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[48..52].copy_from_slice(&(if self.restart { FLAG_RESTART } else { 0 }).to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .first_chunk()
            .filter(|bytes| bytes.starts_with(&MAGIC))
            .ok_or(HeaderError::NotASegment)?;
        if u32_at(bytes, 12) != header_crc(bytes) {
            return Err(HeaderError::Checksum);
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            other => return Err(HeaderError::Version(other)),
        }
        Ok(Self {
            salt: u64_at(bytes, 16),
            base: Zxid(u64_at(bytes, 24).cast_signed()),
            sequence: u64_at(bytes, 32),
            proven_end: u64_at(bytes, 40),
            file_bytes: u64_at(bytes, 56),
            restart: u32_at(bytes, 48) & FLAG_RESTART != 0,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    Txn,
    /// Written by a clean close: everything before it was durable, nothing follows.
    Seal,
}

/// The head of a record; its own checksum makes length and batch trustworthy even if the body is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub(super) kind: RecordKind,
    pub(super) zxid: Zxid,
    /// The offset of the first record of the fsync batch. Everything before it was durable when this
    /// record was written.
    pub(super) batch_start: u64,
    pub(super) len: u32,
    pub(super) body_crc: u32,
}

impl RecordHead {
    /// Reads the head at `offset`; `None` unless its checksum holds for this salt and place.
    pub(super) fn decode(bytes: &[u8; RECORD_HEAD], salt: u64, offset: u64) -> Option<Self> {
        let kind = match u32_at(bytes, 12) {
            KIND_TXN => RecordKind::Txn,
            KIND_SEAL => RecordKind::Seal,
            _ => return None,
        };
        if u32_at(bytes, 0) != head_crc(bytes, salt, offset) {
            return None;
        }
        Some(Self {
            kind,
            len: u32_at(bytes, 4),
            body_crc: u32_at(bytes, 8),
            zxid: Zxid(u64_at(bytes, 16).cast_signed()),
            batch_start: u64_at(bytes, 24),
        })
    }

    pub(super) fn body_matches(&self, body: &[u8], salt: u64, offset: u64) -> bool {
        body_crc(body, salt, offset) == self.body_crc
    }
}

/// Appends a record, padded to its alignment, to `out`, which will be written at `out_offset`.
pub(super) fn encode_record(
    out: &mut Vec<u8>,
    out_offset: u64,
    salt: u64,
    batch_start: u64,
    zxid: Zxid,
    txn: &[u8],
) {
    encode(out, out_offset, salt, batch_start, zxid, KIND_TXN, txn);
}

/// Appends a seal; it is a batch of its own.
pub(super) fn encode_seal(out: &mut Vec<u8>, out_offset: u64, salt: u64, zxid: Zxid) {
    let offset = out_offset + out.len() as u64;
    encode(out, out_offset, salt, offset, zxid, KIND_SEAL, &[]);
}

fn encode(
    out: &mut Vec<u8>,
    out_offset: u64,
    salt: u64,
    batch_start: u64,
    zxid: Zxid,
    kind: u32,
    body: &[u8],
) {
    let start = out.len();
    let offset = out_offset + start as u64;
    let mut head = [0; RECORD_HEAD];
    let len = u32::try_from(body.len()).expect("append refused longer transactions");
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&body_crc(body, salt, offset).to_le_bytes());
    head[12..16].copy_from_slice(&kind.to_le_bytes());
    head[16..24].copy_from_slice(&zxid.0.to_le_bytes());
    head[24..32].copy_from_slice(&batch_start.to_le_bytes());
    let crc = head_crc(&head, salt, offset);
    head[0..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    out.resize(start + record_bytes(body.len()), 0);
}

/// What a transaction of `len` bytes takes in the file, head and padding included.
pub(super) const fn record_bytes(len: usize) -> usize {
    (RECORD_HEAD + len).next_multiple_of(ALIGN)
}

/// What a seal takes.
pub(super) const SEAL_BYTES: u64 = record_bytes(0) as u64;

fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[0..12]);
    hasher.update(&bytes[16..]);
    hasher.finalize()
}

fn head_crc(head: &[u8; RECORD_HEAD], salt: u64, offset: u64) -> u32 {
    let mut hasher = seeded(salt, offset);
    hasher.update(&head[4..]);
    hasher.finalize()
}

fn body_crc(body: &[u8], salt: u64, offset: u64) -> u32 {
    let mut hasher = seeded(salt, offset);
    hasher.update(body);
    hasher.finalize()
}

/// Salt and offset come first in every checksum: bytes of another use of the file, or of another place
/// in it, do not validate.
fn seeded(salt: u64, offset: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}

/// The name of the segment that follows `base`: the lowest zxid it can hold.
pub(super) fn segment_name(base: Zxid) -> String {
    format!("{:016x}.{SEGMENT_SUFFIX}", base.next().0)
}

/// What a name of the log directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    Segment,
    Spare,
    Other,
}

pub(super) fn name_kind(name: &str) -> NameKind {
    match name.split_once('.') {
        Some((stem, SEGMENT_SUFFIX))
            if stem.len() == 16 && u64::from_str_radix(stem, 16).is_ok() =>
        {
            NameKind::Segment
        }
        Some((_, SPARE_SUFFIX)) => NameKind::Spare,
        _ => NameKind::Other,
    }
}

/// Whether a file in the log's directory is a part of the log, by its name.
pub(in crate::storage) fn is_segment(name: &str) -> bool {
    name_kind(name) == NameKind::Segment
}

const SEGMENT_SUFFIX: &str = "zlog";
pub(super) const SPARE_SUFFIX: &str = "spare";

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        salt: 0x1122,
        base: Zxid(0x5_0000_0001),
        sequence: 9,
        proven_end: 4200,
        file_bytes: 1 << 20,
        restart: true,
    };

    #[test]
    fn headers_round_trip_and_any_flip_is_noticed() {
        let bytes = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(
            SegmentHeader::decode(&bytes[..63]),
            Err(HeaderError::NotASegment)
        );
    }

    /// The layout of docs/file-formats.md, with checksums that another implementation computed.
    #[test]
    fn the_bytes_are_those_that_the_document_describes() {
        let mut header = b"ZABDLOG\n".to_vec();
        header.extend(1u32.to_le_bytes());
        header.extend(0xedf2_82e9_u32.to_le_bytes());
        for field in [0x1122, 0x5_0000_0001, 9, 4200, 1, 1u64 << 20] {
            header.extend(field.to_le_bytes());
        }
        assert_eq!(HEADER.encode().as_slice(), header);

        let mut record = Vec::new();
        for field in [0x304f_871d, 4, 0xde6a_5bad, 1u32] {
            record.extend(field.to_le_bytes());
        }
        for field in [5, 4096u64] {
            record.extend(field.to_le_bytes());
        }
        record.extend(b"body\0\0\0\0");
        let mut out = Vec::new();
        encode_record(&mut out, 4104, 77, 4096, Zxid(5), b"body");
        assert_eq!(out, record);
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = HEADER.encode();
        bytes[8] = 2;
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Version(2)));
    }

    #[test]
    fn records_validate_only_with_their_salt_and_place() {
        let mut out = vec![0; 8];
        encode_record(&mut out, 4096, 77, 4096, Zxid(5), b"body");
        assert_eq!(out.len(), 8 + 40);
        let head: [u8; RECORD_HEAD] = out[8..40].try_into().unwrap();
        let read = RecordHead::decode(&head, 77, 4104).unwrap();
        assert_eq!(
            (read.kind, read.zxid, read.batch_start, read.len),
            (RecordKind::Txn, Zxid(5), 4096, 4)
        );
        assert!(read.body_matches(b"body", 77, 4104));
        assert!(!read.body_matches(b"bodx", 77, 4104));
        assert_eq!(RecordHead::decode(&head, 78, 4104), None);
        assert_eq!(RecordHead::decode(&head, 77, 4112), None);
    }

    #[test]
    fn names_tell_what_they_are() {
        assert_eq!(segment_name(Zxid(0x1_0000_00ff)), "0000000100000100.zlog");
        assert_eq!(name_kind("0000000100000100.zlog"), NameKind::Segment);
        assert_eq!(name_kind("3.spare"), NameKind::Spare);
        for other in [
            "LOCK",
            "log.1",
            "1.zlog",
            "000000010000010g.zlog",
            "snapshot.0",
        ] {
            assert_eq!(name_kind(other), NameKind::Other);
        }
    }
}
