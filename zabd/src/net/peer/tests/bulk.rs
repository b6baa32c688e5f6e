//! Bulk between packets.

use super::*;

/// Gives chunks, and waits a little before each.
struct Chunks {
    chunks: std::vec::IntoIter<Bytes>,
    wait: Duration,
    end: io::Result<Option<Zxid>>,
}

impl Chunks {
    fn of(chunks: Vec<Bytes>) -> Self {
        Self {
            chunks: chunks.into_iter(),
            wait: Duration::ZERO,
            end: Ok(None),
        }
    }
}

impl BulkSource for Chunks {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::thread::sleep(self.wait);
        match (self.chunks.next(), &self.end) {
            (None, Err(error)) => Err(error.kind().into()),
            (chunk, _) => Ok(chunk),
        }
    }

    fn skip_through(&self) -> Option<Zxid> {
        *self.end.as_ref().unwrap()
    }
}

/// Gives chunks for ever, and counts them.
struct Endless(Arc<Mutex<usize>>);

impl BulkSource for Endless {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        *self.0.lock().unwrap() += 1;
        Ok(Some(data(3, 64 << 10)))
    }
}

/// How much of what it is given a sink takes.
#[derive(Debug, Clone, Copy)]
enum Appetite {
    Everything,
    OneByte,
    /// Only if this much is there.
    AtLeast(usize),
    /// More than there is.
    TooMuch,
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
enum Received {
    Whole(Vec<u8>),
    Aborted,
}

/// Takes a stream of `length` bytes.
struct Stream {
    taken: Vec<u8>,
    length: usize,
    appetite: Appetite,
    outcome: mpsc::Sender<Received>,
}

impl BulkSink for Stream {
    fn take(&mut self, bytes: &[u8]) -> io::Result<Taken> {
        let missing = self.length - self.taken.len();
        let wanted = match self.appetite {
            Appetite::Everything => bytes.len(),
            Appetite::OneByte => 1,
            Appetite::AtLeast(least) if bytes.len() < least.min(missing) => 0,
            Appetite::AtLeast(least) => least,
            Appetite::TooMuch => return Ok(Taken::More(bytes.len() + 1)),
            Appetite::Nothing => 0,
        };
        let taken = wanted.min(missing).min(bytes.len());
        self.taken.extend_from_slice(&bytes[..taken]);
        if self.taken.len() < self.length {
            return Ok(Taken::More(taken));
        }
        let whole = Received::Whole(std::mem::take(&mut self.taken));
        self.outcome.send(whole).unwrap();
        Ok(Taken::End(taken))
    }

    fn abort(self: Box<Self>) {
        self.outcome.send(Received::Aborted).unwrap();
    }
}

fn stream(length: usize, appetite: Appetite) -> (Box<Stream>, mpsc::Receiver<Received>) {
    let (outcome, received) = mpsc::channel();
    let sink = Stream {
        taken: Vec::new(),
        length,
        appetite,
        outcome,
    };
    (Box::new(sink), received)
}

const SNAP: LeaderPacket = LeaderPacket::Snap { zxid: Zxid(50) };

#[test]
fn bulk_goes_out_between_packets() {
    let (leader, learner, link) = pair();
    let packets: Vec<Bytes> = (10..200)
        .map(|number| bytes_of(&proposal(number, 1 << number.min(20))).into())
        .collect();
    leader.net.send_to_learner(link, proposal(1, 1 << 20));
    leader.net.send_bulk(link, Box::new(Chunks::of(packets)));
    leader.net.send_to_learner(link, proposal(300, 1 << 20));
    leader.net.send_bulk(link, Box::new(Chunks::of(Vec::new())));
    leader.net.send_to_learner(link, commit(300));
    for number in [1].into_iter().chain(10..200).chain([300]) {
        match learner.heard_leader() {
            LeaderPacket::Proposal { zxid, .. } => assert_eq!(zxid, Zxid(number)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(learner.heard_leader(), commit(300));
}

/// A server that was dropped because it did not read gets what made it be dropped in bulk.
#[test]
fn what_is_left_out_holds_nothing_up_however_much_it_is() {
    let (leader, learner, link) = pair();
    let mut source = Chunks::of(vec![bytes_of(&commit(20)).into()]);
    source.end = Ok(Some(Zxid(20)));
    // Everything waits behind the bulk.
    source.wait = Duration::from_millis(50);
    leader.net.send_bulk(link, Box::new(source));
    for number in 1..=20 {
        leader
            .net
            .send_to_learner(link, proposal(number, 512 << 10));
    }
    leader.net.send_to_learner(link, commit(21));
    assert_eq!(learner.heard_leader(), commit(20));
    assert_eq!(learner.heard_leader(), commit(21));
}

#[test]
fn what_bulk_had_already_is_left_out_behind_it() {
    let (leader, learner, link) = pair();
    let mut source = Chunks::of(vec![bytes_of(&commit(20)).into()]);
    source.end = Ok(Some(Zxid(20)));
    leader.net.send_to_learner(link, commit(5));
    leader.net.send_bulk(link, Box::new(source));
    let (leader_id, txn) = (1, Bytes::new());
    for number in [19, 20, 21] {
        let zxid = Zxid(number);
        for packet in [
            proposal(number, 1),
            commit(number),
            LeaderPacket::CommitAndActivate {
                zxid,
                leader: leader_id,
            },
            LeaderPacket::Inform {
                zxid,
                txn: txn.clone(),
            },
            LeaderPacket::InformAndActivate {
                zxid,
                leader: leader_id,
                txn: txn.clone(),
            },
            LeaderPacket::Ping { zxid },
            LeaderPacket::NewLeader {
                epoch: zxid,
                members: None,
            },
        ] {
            leader.net.send_to_learner(link, packet);
        }
    }
    let mut heard = Vec::new();
    while heard.len() < 13 {
        heard.push(match learner.heard_leader() {
            LeaderPacket::Ping { zxid } => ("ping", zxid.0),
            LeaderPacket::NewLeader { epoch, .. } => ("new leader", epoch.0),
            LeaderPacket::Commit { zxid } => ("commit", zxid.0),
            LeaderPacket::Proposal { zxid, .. }
            | LeaderPacket::CommitAndActivate { zxid, .. }
            | LeaderPacket::Inform { zxid, .. }
            | LeaderPacket::InformAndActivate { zxid, .. } => ("other", zxid.0),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        heard,
        [
            ("commit", 5),
            ("commit", 20),
            ("ping", 19),
            ("new leader", 19),
            ("ping", 20),
            ("new leader", 20),
            ("other", 21),
            ("commit", 21),
            ("other", 21),
            ("other", 21),
            ("other", 21),
            ("ping", 21),
            ("new leader", 21),
        ]
    );
}

#[test]
fn bulk_that_fails_closes_the_connection() {
    let (leader, learner, link) = pair();
    let mut source = Chunks::of(vec![bytes_of(&commit(20)).into()]);
    source.end = Err(io::ErrorKind::StorageFull.into());
    leader.net.send_bulk(link, Box::new(source));
    leader.net.send_to_learner(link, commit(21));
    leader.expect_down(link);
    assert_eq!(learner.heard_leader(), commit(20));
    learner.expect_down(TO_LEADER);
}

#[test]
fn bulk_is_made_no_faster_than_it_is_taken_and_not_without_a_connection() {
    let leader = Server::leader();
    let (_socket, link) = socket_to(&leader);
    let made = Arc::new(Mutex::new(0));
    leader
        .net
        .send_bulk(link, Box::new(Endless(Arc::clone(&made))));
    let chunks = || *made.lock().unwrap();
    let mut before = 0;
    wait_until("nothing more is made", || {
        let now = chunks();
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, chunks()) == now && now > 0
    });
    assert!(chunks() < 1000, "{} chunks of 64 KB", chunks());
    leader.net.close(link);
    wait_until("the source is gone", || Arc::strong_count(&made) == 1);
}

#[test]
fn a_learner_that_takes_bulk_is_not_silent() {
    let leader = Server::leader();
    let (mut socket, link) = socket_to(&leader);
    leader.net.set_read_timeout(link, 500);
    let mut source = Chunks::of(vec![data(1, 5_000); 40]);
    source.wait = Duration::from_millis(20);
    leader.net.send_bulk(link, Box::new(source));
    let mut bulk = vec![0; 200_000];
    socket.read_exact(&mut bulk).unwrap();
    socket.write_all(&bytes_of(&ack(1))).unwrap();
    assert_eq!(leader.heard_learner(), ack(1));
    leader.expect_down(link);
}

#[test]
fn a_snapshot_is_handed_over_wherever_its_bytes_are_split() {
    const LENGTH: usize = 40;
    let content = data(0x0102_0304_0506_0708, LENGTH);
    let mut bytes = bytes_of(&commit(1));
    bytes.extend(bytes_of(&SNAP));
    bytes.extend(&content);
    bytes.extend(bytes_of(&commit(2)));
    let learner = Server::start();
    for (split, appetite) in (0..=bytes.len())
        .map(|split| (split, Appetite::Everything))
        .chain(
            (0..=bytes.len())
                .step_by(7)
                .map(|split| (split, Appetite::OneByte)),
        )
        .chain(
            (0..=bytes.len())
                .step_by(3)
                .map(|split| (split, Appetite::AtLeast(9))),
        )
    {
        let mut socket = led_by_socket(&learner);
        socket.write_all(&bytes[..split]).unwrap();
        let (sink, received) = stream(LENGTH, appetite);
        // Early for some, late for others.
        if split % 2 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        learner.net.receive_snapshot(TO_LEADER, sink);
        socket.write_all(&bytes[split..]).unwrap();
        assert_eq!(learner.heard_leader(), commit(1));
        assert_eq!(learner.heard_leader(), SNAP);
        assert_eq!(learner.heard_leader(), commit(2), "{split} {appetite:?}");
        assert_eq!(
            received.recv_timeout(PATIENCE).unwrap(),
            Received::Whole(content.to_vec())
        );
        learner.net.close(TO_LEADER);
    }
}

#[test]
fn a_large_snapshot_goes_from_server_to_server() {
    const CHUNKS: usize = 300;
    let (leader, learner, link) = pair();
    let chunks: Vec<Bytes> = (0..CHUNKS)
        .map(|number| data(i64::try_from(number).unwrap(), 100_000 + number))
        .collect();
    let whole = chunks.concat();
    let (sink, received) = stream(whole.len(), Appetite::Everything);
    let chunks = [Bytes::from(bytes_of(&SNAP))]
        .into_iter()
        .chain(chunks)
        .collect();
    let mut source = Chunks::of(chunks);
    source.end = Ok(Some(Zxid(50)));
    leader.net.send_bulk(link, Box::new(source));
    leader.net.send_to_learner(link, proposal(50, 1 << 20));
    leader.net.send_to_learner(link, proposal(51, 1 << 20));
    assert_eq!(learner.heard_leader(), SNAP);
    learner.net.send_to_leader(TO_LEADER, ack(1));
    assert_eq!(
        leader.heard_learner(),
        ack(1),
        "the other way is open meanwhile"
    );
    assert!(learner.is_quiet(), "nothing behind it before it is taken");
    learner.net.receive_snapshot(TO_LEADER, sink);
    assert!(learner.heard_leader() == proposal(51, 1 << 20));
    assert!(received.recv_timeout(PATIENCE).unwrap() == Received::Whole(whole));
}

#[test]
fn a_snapshot_that_breaks_off_is_aborted() {
    let (leader, learner, link) = pair();
    let chunks = vec![bytes_of(&SNAP).into(), data(1, 100)];
    let mut source = Chunks::of(chunks);
    source.end = Err(io::ErrorKind::StorageFull.into());
    let (sink, received) = stream(101, Appetite::Everything);
    learner.net.receive_snapshot(TO_LEADER, sink);
    leader.net.send_bulk(link, Box::new(source));
    assert_eq!(learner.heard_leader(), SNAP);
    learner.expect_down(TO_LEADER);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Received::Aborted);
    // There is no connection to take it from.
    let (sink, received) = stream(101, Appetite::Everything);
    learner.net.receive_snapshot(TO_LEADER, sink);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Received::Aborted);
}

#[test]
fn a_snapshot_on_a_connection_that_is_closed_is_aborted() {
    for send_snap in [false, true] {
        let learner = Server::start();
        let mut socket = led_by_socket(&learner);
        let (sink, received) = stream(101, Appetite::Everything);
        learner.net.receive_snapshot(TO_LEADER, sink);
        if send_snap {
            socket.write_all(&bytes_of(&SNAP)).unwrap();
            socket.write_all(&data(1, 100)).unwrap();
            assert_eq!(learner.heard_leader(), SNAP);
        }
        learner.net.close(TO_LEADER);
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Received::Aborted);
        assert_eq!(rest_of(socket), b"");
        assert!(learner.is_quiet());
    }
}

#[test]
fn a_sink_that_takes_too_much_or_nothing_costs_the_connection() {
    for appetite in [Appetite::TooMuch, Appetite::Nothing] {
        let learner = Server::start();
        let mut socket = led_by_socket(&learner);
        let (sink, received) = stream(usize::MAX, appetite);
        learner.net.receive_snapshot(TO_LEADER, sink);
        socket.write_all(&bytes_of(&SNAP)).unwrap();
        assert_eq!(learner.heard_leader(), SNAP);
        let chunk = data(1, 1 << 20);
        let mut sent = 0;
        while socket.write_all(&chunk).is_ok() {
            sent += 1;
            assert!(sent < 100, "it is read without a bound");
        }
        learner.expect_down(TO_LEADER);
        assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Received::Aborted);
    }
}
