//! What comes in on the quorum port: a stream cut into pieces gives the packets that it gives in one piece, and what
//! leaders and learners say is written and read back as it was.
//!
//! Input: the size of the pieces in one byte, then the stream.

#![no_main]

#[path = "support/limit.rs"]
mod limit;

use bytes::BytesMut;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, PacketDecoder, QuorumPacket};
use jute_codec::{DecodeError, Jute};
use libfuzzer_sys::fuzz_target;

/// Of what is read from the input. What is written again can be longer: for a byte that is no UTF-8 it has three.
const LIMIT: usize = 4096;

/// The packets of `stream` when it comes in pieces of `size` bytes, how it ended, and what is left.
fn packets(
    stream: &[u8],
    size: usize,
    limit: usize,
) -> (Vec<QuorumPacket>, Option<DecodeError>, BytesMut) {
    let mut decoder = PacketDecoder::new(limit);
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.take(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Some(error), buffer),
            }
        }
        assert!(decoder.missing(&buffer) > 0);
    }
    (packets, None, buffer)
}

/// The one packet that `bytes` are.
fn read(bytes: &[u8]) -> QuorumPacket {
    let (mut packets, error, rest) = packets(bytes, bytes.len(), 4 * LIMIT);
    assert!(packets.len() == 1 && error.is_none() && rest.is_empty());
    packets.remove(0)
}

/// What is written is read back as it was; `plain` is whether that holds of texts too, of which Java has some written
/// otherwise than read.
fn check<T: PartialEq + std::fmt::Debug>(
    value: &T,
    plain: bool,
    write: impl Fn(&T, &mut Vec<u8>),
    from_record: impl Fn(QuorumPacket) -> Result<Option<T>, DecodeError>,
) {
    let again = |value: &T| {
        let mut bytes = Vec::new();
        write(value, &mut bytes);
        let packet = from_record(read(&bytes)).expect("what was written can be read");
        packet.expect("it is of the same type")
    };
    let stable = again(value);
    assert_eq!(again(&stable), stable);
    if plain {
        assert_eq!(stable, *value);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let (whole, error, _) = packets(stream, stream.len().max(1), LIMIT);
    let (pieces, error_in_pieces, rest) = packets(stream, usize::from(*size) + 1, LIMIT);
    assert_eq!(whole, pieces);
    assert_eq!(error, error_in_pieces);
    let written: usize = whole.iter().map(|packet| packet.to_vec().len()).sum();
    // Neither texts that are not UTF-8 nor negative counts.
    if error.is_none() && stream.is_ascii() {
        assert_eq!(written + rest.len(), stream.len());
    }
    let plain = !stream.iter().any(|byte| (0xf0..=0xf4).contains(byte));
    for record in whole {
        check(&record, plain, Jute::write, |record| Ok(Some(record)));
        if let Ok(Some(packet)) = LeaderPacket::from_record(record.clone()) {
            assert_eq!(packet.kind().code(), record.kind);
            check(
                &packet,
                true,
                LeaderPacket::write,
                LeaderPacket::from_record,
            );
        }
        if let Ok(Some(packet)) = LearnerPacket::from_record(record.clone()) {
            assert_eq!(packet.kind().code(), record.kind);
            check(
                &packet,
                plain,
                LearnerPacket::write,
                LearnerPacket::from_record,
            );
        }
    }
});
