//! Reading the captured vectors.

use bytes::Bytes;

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    FromServer,
}

/// One captured frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) direction: Direction,
    /// What the capture called it; a request and its reply share a name.
    pub(crate) name: &'static str,
    /// What stands behind the length prefix.
    pub(crate) payload: Bytes,
}

/// Every captured conversation, in order: request, events that came before its reply, reply.
pub(crate) const FRAMES: &[(&str, &str)] = &[
    ("reference", include_str!("reference.frames")),
    ("standalone", include_str!("standalone.frames")),
    ("ensemble", include_str!("ensemble.frames")),
];

/// Every captured transaction log.
pub(crate) const TXNS: &[(&str, &str)] = &[
    ("reference", include_str!("reference.txns")),
    ("standalone", include_str!("standalone.txns")),
    ("ensemble", include_str!("ensemble.txns")),
];

/// The frames of a conversation.
pub(crate) fn frames(text: &'static str) -> Vec<Frame> {
    lines(text)
        .map(|line| {
            let mut words = line.split(' ');
            let direction = match words.next() {
                Some(">") => Direction::ToServer,
                Some("<") => Direction::FromServer,
                other => panic!("no direction: {other:?}"),
            };
            let name = words.next().expect("a frame has a name");
            let frame = unhex(words.next().expect("a frame has bytes"));
            let length = frame
                .first_chunk::<4>()
                .map(|prefix| u32::from_be_bytes(*prefix) as usize);
            assert_eq!(length, Some(frame.len() - 4), "{name}");
            let payload = frame.slice(4..);
            Frame {
                direction,
                name,
                payload,
            }
        })
        .collect()
}

/// The payloads of a log, each with the type that the capture found in it.
pub(crate) fn txns(text: &'static str) -> Vec<(i32, Bytes)> {
    lines(text)
        .map(|line| {
            let (op, payload) = line.split_once(' ').expect("a type and a payload");
            (op.parse().expect("a type is a number"), unhex(payload))
        })
        .collect()
}

/// The lines that are no comments.
pub(crate) fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// Bytes from their hexadecimal digits.
pub(crate) fn unhex(digits: &str) -> Bytes {
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2));
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits"))
        .collect()
}

/// `bytes` as they are after decoding and writing: Java writes surrogates of three bytes each and reads back U+FFFD,
/// which has three as well.
pub(crate) fn without_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 2..bytes.len() {
        if let [0xed, 0xa0..=0xbf, 0x80..=0xbf] = bytes[at - 2..=at] {
            bytes[at - 2..=at].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    bytes
}

/// Everything captured between servers: an ensemble whose members stay, the same of an older release, an ensemble to which a
/// member is added, and the greeting of a server with several addresses.
pub(crate) const PACKETS: &[(&str, &str)] = &[
    ("quorum", include_str!("quorum.packets")),
    ("quorum-3.8.6", include_str!("quorum-3.8.6.packets")),
    ("reconfig", include_str!("reconfig.packets")),
    ("addresses", include_str!("addresses.packets")),
];

/// A connection between two servers.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// `quorum` or `election`.
    pub(crate) port: &'static str,
    /// The server that connected.
    pub(crate) from: i64,
    /// The server that listens.
    pub(crate) to: i64,
    /// What was said, in order; [`Frame::payload`] is all of its bytes here.
    pub(crate) said: Vec<Frame>,
}

impl Link {
    /// What was said in one direction.
    pub(crate) fn said(&self, direction: Direction) -> impl Iterator<Item = &Frame> {
        self.said
            .iter()
            .filter(move |frame| frame.direction == direction)
    }
}

/// The connections to one port in a capture, in the order in which they were made.
pub(crate) fn links(capture: &str, port: &str) -> Vec<Link> {
    let (_, text) = PACKETS
        .iter()
        .find(|(name, _)| *name == capture)
        .expect("the capture is in the list");
    let mut links = Vec::<Link>::new();
    for line in lines(text) {
        let words: Vec<_> = line.split(' ').collect();
        let direction = match words[..] {
            ["=", port, from, to] => {
                let number = |word: &str| word.parse().expect("a server is a number");
                links.push(Link {
                    port,
                    from: number(from),
                    to: number(to),
                    said: Vec::new(),
                });
                continue;
            }
            [">", _, _] => Direction::ToServer,
            ["<", _, _] => Direction::FromServer,
            _ => panic!("neither a connection nor a message: {line}"),
        };
        let link = links.last_mut().expect("a message has its connection");
        link.said.push(Frame {
            direction,
            name: words[1],
            payload: unhex(words[2]),
        });
    }
    links.retain(|link| link.port == port);
    links
}
