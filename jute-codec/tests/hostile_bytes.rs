//! Bytes from anywhere: no decoder panics, and none allocates more than a small multiple of what it was given.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, OpCode, Reply, ReplyHeader, Request, RequestHeader,
    WatcherEvent,
};
use jute_codec::quorum::notification::take_frame;
use jute_codec::quorum::snapshot::SnapshotReader;
use jute_codec::quorum::{
    InitialMessage, LeaderPacket, LearnerPacket, Notification, PacketDecoder, PacketKind,
    QuorumPacket,
};
use jute_codec::txn::TxnEntry;
use jute_codec::{Jute, Reader, Zxid};
use proptest::prelude::*;

thread_local! {
    /// Bytes that this thread holds, and the most it has held.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, keeping count for each thread.
struct Counting;

fn count(freed: usize, allocated: usize) {
    let (held, peak) = HELD.get();
    let held = held.saturating_sub(freed) + allocated;
    HELD.set((held, peak.max(held)));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator can be counted in no other way")]
// SAFETY: every call is handed on to the system's allocator as it is; counting touches a thread-local cell that
// needs no allocation of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes held at most while `decode` ran, beyond those held before.
fn peak_of(decode: impl FnOnce()) -> usize {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    decode();
    HELD.get().1 - before
}

/// What may be held for each byte of input. The most costly is a multi of reads without a path: 14 bytes become the
/// largest variant of `MultiOp`, in a vector that grows by doubling and is copied when it does.
const MULTIPLE: usize = 24;

/// What may be held in any case: the first, smallest allocation of a vector.
const CONSTANT: usize = 1024;

/// Every decoder under its name.
type Decoders = Vec<(String, Box<dyn Fn(&Bytes)>)>;

fn decoders() -> Decoders {
    fn add(list: &mut Decoders, name: String, decode: impl Fn(&Bytes) + 'static) {
        list.push((name, Box::new(decode)));
    }
    fn record<T: Jute + 'static>(bytes: &Bytes) {
        drop(T::read(&mut Reader::new(bytes)));
    }
    let mut list = Decoders::new();
    add(&mut list, "connect".into(), record::<ConnectRequest>);
    add(&mut list, "connected".into(), record::<ConnectResponse>);
    add(&mut list, "request header".into(), record::<RequestHeader>);
    add(&mut list, "reply header".into(), record::<ReplyHeader>);
    add(&mut list, "event".into(), record::<WatcherEvent>);
    add(&mut list, "transaction".into(), |bytes| {
        drop(TxnEntry::decode(bytes));
    });
    add(&mut list, "quorum packet".into(), record::<QuorumPacket>);
    add(&mut list, "quorum packets".into(), |bytes| {
        let mut decoder = PacketDecoder::default();
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut packets = Vec::new();
        while let Ok(Some(packet)) = decoder.take(&mut buffer) {
            packets.push(packet);
        }
    });
    add(&mut list, "initial message".into(), |bytes| {
        drop(InitialMessage::take(&mut BytesMut::from(&bytes[..])));
    });
    add(&mut list, "addresses".into(), |bytes| {
        let mut message = BytesMut::from(&[0xff; 16][..]);
        message[6..8].fill(0);
        let length = i32::try_from(bytes.len()).expect("inputs are short");
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(bytes);
        drop(InitialMessage::take(&mut message));
    });
    add(&mut list, "notification".into(), |bytes| {
        drop(Notification::decode(bytes));
    });
    add(&mut list, "election frame".into(), |bytes| {
        drop(take_frame(&mut BytesMut::from(&bytes[..])));
    });
    // From the start, at the lists, in a list, and at the nodes.
    let in_a_list = [
        &[0, 0, 0, 0, 0, 0, 0, 1][..],
        &[0; 8],
        &i32::MAX.to_be_bytes(),
    ]
    .concat();
    for head in [vec![], vec![0; 4], in_a_list, vec![0; 8]] {
        let name = format!("snapshot after {} bytes", head.len());
        add(&mut list, name, move |bytes| {
            for piece in [100, bytes.len().max(1)] {
                let mut reader = SnapshotReader::new(Reader::DEFAULT_LIMIT);
                reader.feed(&head);
                for bytes in bytes.chunks(piece) {
                    reader.feed(bytes);
                    while let Ok(Some(item)) = reader.next_item() {
                        drop(item);
                    }
                }
            }
        });
    }
    for &kind in PacketKind::ALL {
        let packet = move |bytes: &Bytes| QuorumPacket {
            kind: kind.code(),
            zxid: Zxid::ZERO,
            data: Some(bytes.clone()),
            ids: None,
        };
        add(
            &mut list,
            format!("from the leader, {kind}"),
            move |bytes| {
                drop(LeaderPacket::from_record(packet(bytes)));
            },
        );
        add(&mut list, format!("from a learner, {kind}"), move |bytes| {
            drop(LearnerPacket::from_record(packet(bytes)));
        });
    }
    for &op in OpCode::ALL {
        add(&mut list, format!("request {op:?}"), move |bytes| {
            drop(Request::read(op, &mut Reader::new(bytes)));
        });
        add(&mut list, format!("reply {op:?}"), move |bytes| {
            drop(Reply::read(op, &mut Reader::new(bytes)));
        });
        // With its type in place, so that the record is reached.
        add(&mut list, format!("transaction {op:?}"), move |bytes| {
            let mut payload = vec![0; 28];
            payload.extend(op.code().to_be_bytes());
            payload.extend_from_slice(bytes);
            let payload = Bytes::from(payload);
            drop(TxnEntry::decode(&payload));
        });
    }
    list
}

fn check(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for (name, decode) in decoders() {
        let peak = peak_of(|| decode(&bytes));
        assert!(
            peak <= MULTIPLE * bytes.len() + CONSTANT,
            "{name}: {peak} bytes held for {} given",
            bytes.len()
        );
    }
}

/// A vector that claims `count` elements, then `elements` as they are.
fn vector(count: i32, elements: &[u8]) -> Vec<u8> {
    [&count.to_be_bytes(), elements].concat()
}

#[test]
fn counting_counts() {
    let mut list = Vec::new();
    assert_eq!(peak_of(|| list.resize(4096, 0u8)), 4096);
    drop(list);
    assert_eq!(peak_of(|| drop(vec![0u8; 100])), 100);
    assert_eq!(peak_of(|| {}), 0);
}

/// The smallest elements there are, many of them.
#[test]
fn the_densest_records_are_bounded() {
    let null = [0xff; 4];
    let error = [&[0xff; 4][..], &[0, 0, 0, 4], &[0xff; 4]].concat();
    let multi_op = |op: u8, body: &[u8]| [&[0, 0, 0, op, 0, 0, 0, 0, 0], body].concat();
    for element in [
        vec![0],
        vec![0xff],
        null.to_vec(),
        [0; 4].to_vec(),
        [[0; 4], null, null].concat(),
        error,
        multi_op(4, &[0xff, 0xff, 0xff, 0xff, 0]),
        multi_op(2, &[0xff; 8]),
        multi_op(13, &[0; 8]),
        [&[0xff; 4][..], &[0; 5]].concat(),
    ] {
        for length in [1, 1_000, 1_800, 100_000] {
            let elements = element.repeat(length / element.len() + 1);
            let count = i32::try_from(elements.len() / element.len()).expect("lengths are small");
            check(&elements);
            check(&vector(count, &elements));
            // setWatches: the vectors stand behind a zxid.
            check(&[&[0; 8][..], &vector(count, &elements)].concat());
        }
    }
}

#[test]
fn a_count_is_only_a_claim() {
    for count in [i32::MAX, i32::MAX / 2, 1 << 24, -1, -2, i32::MIN] {
        check(&vector(count, &[]));
        check(&vector(count, &[0; 64]));
        check(&[&[0; 8][..], &vector(count, &[0; 64])].concat());
        check(&[&[0; 8][..], &vector(count, &vector(count, &[0; 64]))].concat());
    }
}

/// The worst text: each byte is replaced by three.
#[test]
fn malformed_text_is_bounded() {
    for length in [1usize, 10, 1_000, 100_000] {
        let length_prefix = i32::try_from(length).expect("lengths are small");
        check(&vector(length_prefix, &vec![0xff; length]));
        check(&[&vector(length_prefix, &vec![0x80; length])[..], &[0; 80]].concat());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    /// Mostly small numbers and -1: these get further than noise does.
    #[test]
    fn plausible_words(words in prop::collection::vec(
        prop_oneof![4 => -1i32..6, 1 => Just(i32::MIN), 1 => any::<i32>()], 0..60,
    )) {
        check(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
    }
}
