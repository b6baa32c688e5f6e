//! Tests of the pure part, with a server made of frames.

use bytes::BytesMut;
use jute_codec::frame::take_frame;
use jute_codec::proto::{
    AddWatchMode, CreateRequest, DataReply, OpCode, PathWatchRequest, SetWatches,
};
use jute_codec::{Stat, Text};

use super::*;
use crate::session::watches::{self, Notice, WatchEvent};

const TIMEOUT: Duration = Duration::from_secs(9);

/// A session with a server that says what the test wants.
struct Story {
    core: Core,
    states: watch::Receiver<State>,
    out: Vec<u8>,
    start: Instant,
    at: Duration,
    zxid: i64,
}

type Reading = oneshot::Receiver<Result<Reply, Error>>;

impl Story {
    fn new(options: Options) -> Self {
        let start = Instant::now();
        let patience = Duration::from_secs(1);
        let (core, states) = Core::new(options, Chroot::default(), patience, start);
        Self {
            core,
            states,
            out: Vec::new(),
            start,
            at: Duration::ZERO,
            zxid: 100,
        }
    }

    fn connected() -> Self {
        let mut story = Self::new(Options {
            timeout: TIMEOUT,
            ..Options::default()
        });
        story.link();
        story.hello(TIMEOUT, false);
        story.sent();
        story
    }

    fn now(&self) -> Instant {
        self.start + self.at
    }

    fn ask(&mut self, request: Request) -> Reading {
        self.ask_watching(request, None)
    }

    fn ask_watching(&mut self, request: Request, watch: Option<(String, Wish)>) -> Reading {
        let (answer, answered) = oneshot::channel();
        let pending = Pending {
            request,
            answer,
            watch,
        };
        let now = self.now();
        self.core.submit(pending, now, &mut self.out);
        answered
    }

    /// A connection, and what is asked for on it.
    fn link(&mut self) -> ConnectRequest {
        self.out.clear();
        let now = self.now();
        self.core.on_link(now, &mut self.out);
        let mut buffer = BytesMut::from(&self.out[..]);
        self.out.clear();
        let frame = take_frame(&mut buffer, 1 << 20).unwrap().unwrap();
        ConnectRequest::read(&mut Reader::new(&frame)).unwrap()
    }

    fn hello(&mut self, timeout: Duration, read_only: bool) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap(),
            session: SessionId(if timeout.is_zero() { 0 } else { 7 }),
            password: [5; PASSWORD_BYTES],
            read_only: Some(read_only),
        };
        self.receive(&response.to_vec()).unwrap();
    }

    fn receive(&mut self, payload: &[u8]) -> Result<(), LinkError> {
        let now = self.now();
        let frame = Bytes::copy_from_slice(payload);
        self.core.on_frame(&frame, now, &mut self.out)
    }

    fn reply(&mut self, xid: i32, err: i32, body: &[u8]) -> Result<(), LinkError> {
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        let mut payload = ReplyHeader { xid, zxid, err }.to_vec();
        payload.extend_from_slice(body);
        self.receive(&payload)
    }

    fn lose(&mut self) {
        self.core.on_link_lost();
        self.out.clear();
    }

    /// Lets time pass; true if the connection stands it.
    fn pass(&mut self, time: Duration) -> bool {
        self.at += time;
        let now = self.now();
        self.core.on_time(now, &mut self.out).is_ok()
    }

    /// What was sent since the last call.
    fn sent(&mut self) -> Vec<(i32, Request)> {
        let mut buffer = BytesMut::from(&self.out[..]);
        self.out.clear();
        let mut requests = Vec::new();
        while let Some(frame) = take_frame(&mut buffer, 1 << 20).unwrap() {
            let mut reader = Reader::new(&frame);
            let header = RequestHeader::read(&mut reader).unwrap();
            let op = OpCode::from_i32(header.op).unwrap();
            requests.push((header.xid, Request::read(op, &mut reader).unwrap()));
        }
        assert!(buffer.is_empty());
        requests
    }

    fn ops(&mut self) -> Vec<(i32, OpCode)> {
        let sent = self.sent();
        sent.iter()
            .map(|(xid, request)| (*xid, request.op()))
            .collect()
    }

    fn state(&self) -> State {
        *self.states.borrow()
    }
}

fn get(path: &str) -> Request {
    Request::GetData(PathWatchRequest {
        path: Some(path.into()),
        watch: false,
    })
}

fn create(path: &str) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: None,
        flags: 0,
    })
}

fn data(text: &'static str) -> Vec<u8> {
    DataReply {
        data: Some(Bytes::from_static(text.as_bytes())),
        stat: Stat::ZERO,
    }
    .to_vec()
}

fn answer(reading: &mut Reading) -> Option<Result<Reply, Error>> {
    reading.try_recv().ok()
}

#[test]
fn what_is_asked_early_waits_for_a_session_behind_the_credentials() {
    let mut story = Story::new(Options {
        credentials: vec![Credential {
            scheme: "digest".to_owned(),
            secret: Bytes::from_static(b"u:p"),
        }],
        ..Options::default()
    });
    let mut first = story.ask(create("/a"));
    let mut second = story.ask(get("/a"));
    assert!(story.out.is_empty());
    assert_eq!(story.link().session, SessionId::NONE);
    story.hello(TIMEOUT, false);
    assert_eq!(
        story.ops(),
        [
            (xid::AUTH, OpCode::Auth),
            (1, OpCode::Create),
            (2, OpCode::GetData)
        ]
    );
    story.reply(xid::AUTH, 0, &[]).unwrap();
    story.reply(1, 0, &Text::from("/a").to_vec()).unwrap();
    story.reply(2, 0, &data("x")).unwrap();
    assert!(matches!(answer(&mut first), Some(Ok(Reply::Path(_)))));
    assert!(matches!(answer(&mut second), Some(Ok(Reply::Data(_)))));
    assert!(matches!(story.state(), State::Connected { .. }));
}

#[test]
fn a_lost_connection_leaves_writes_unknown_and_asks_reads_again() {
    let mut story = Story::connected();
    let mut write = story.ask(create("/a"));
    let mut read = story.ask(get("/a"));
    let mut given_up = story.ask(get("/b"));
    given_up.close();
    story.sent();
    story.lose();
    assert_eq!(story.state(), State::Suspended);
    assert_eq!(answer(&mut write), Some(Err(Error::ConnectionLoss)));
    assert_eq!(answer(&mut read), None);
    let mut later = story.ask(create("/c"));
    let hello = story.link();
    assert_eq!(
        (hello.session, hello.password),
        (SessionId(7), Some(Bytes::from_static(&[5; PASSWORD_BYTES])))
    );
    story.hello(TIMEOUT, false);
    assert_eq!(story.ops(), [(4, OpCode::GetData), (5, OpCode::Create)]);
    story.reply(4, 0, &data("x")).unwrap();
    assert!(matches!(answer(&mut read), Some(Ok(_))));
    // Sent once, it is not sent again.
    story.lose();
    assert_eq!(answer(&mut later), Some(Err(Error::ConnectionLoss)));
    assert_eq!(story.link().last_zxid_seen, Zxid(story.zxid));
}

#[test]
fn an_expired_session_is_over_for_good() {
    let mut story = Story::connected();
    let mut read = story.ask(get("/a"));
    let (once, mut change) = oneshot::channel();
    let watching = Some(("/a".to_owned(), Wish::Data(once)));
    let mut watched = story.ask_watching(get("/a"), watching);
    story.reply(1, 0, &data("x")).unwrap();
    story.reply(2, 0, &data("x")).unwrap();
    assert!(matches!(answer(&mut read), Some(Ok(_))));
    assert!(matches!(answer(&mut watched), Some(Ok(_))));
    story.lose();
    let mut write = story.ask(create("/a"));
    story.link();
    story.hello(Duration::ZERO, false);
    assert_eq!(story.state(), State::Expired);
    assert_eq!(answer(&mut write), Some(Err(Error::SessionExpired)));
    assert_eq!(change.try_recv(), Ok(Err(Error::SessionExpired)));
    let mut after = story.ask(get("/a"));
    assert_eq!(answer(&mut after), Some(Err(Error::SessionExpired)));
    story.lose();
    assert_eq!(story.state(), State::Expired);
    assert!(story.core.has_ended());
}

#[test]
fn silence_is_answered_with_pings_and_then_given_up() {
    let mut story = Story::connected();
    assert!(story.pass(TIMEOUT / 3 - Duration::from_millis(1)));
    assert_eq!(story.ops(), []);
    assert!(story.pass(Duration::from_millis(1)));
    assert_eq!(story.ops(), [(xid::PING, OpCode::Ping)]);
    story.reply(xid::PING, 0, &[]).unwrap();
    assert!(story.pass(TIMEOUT * 2 / 3 - Duration::from_millis(1)));
    assert!(!story.pass(Duration::from_millis(1)));
}

#[test]
fn a_session_is_overdue_from_when_the_last_answered_request_was_sent() {
    let mut story = Story::connected();
    assert!(story.pass(TIMEOUT / 3));
    // The ping's answer takes its time; the server may have had the ping at once.
    story.pass(TIMEOUT / 3);
    story.reply(xid::PING, 0, &[]).unwrap();
    story.lose();
    assert_eq!(story.state(), State::Suspended);
    story.pass(TIMEOUT * 2 / 3 - Duration::from_millis(1));
    assert_eq!(story.state(), State::Suspended);
    assert_eq!(
        story.core.deadline(story.now()),
        Some(story.now() + Duration::from_millis(1))
    );
    story.pass(Duration::from_millis(1));
    assert_eq!(story.state(), State::Overdue);
    assert_eq!(story.core.deadline(story.now()), None);
    // The servers have been patient: it lives after all.
    story.link();
    story.hello(TIMEOUT, false);
    assert!(matches!(story.state(), State::Connected { .. }));
}

#[test]
fn after_a_pause_of_this_process_old_answers_vouch_for_nothing() {
    let mut story = Story::connected();
    story.pass(TIMEOUT / 3);
    // Stopped, with the answer waiting in the socket.
    story.at += TIMEOUT * 2;
    story.reply(xid::PING, 0, &[]).unwrap();
    story.pass(Duration::ZERO);
    assert_eq!(story.state(), State::Overdue);
    // What is asked now and answered is news.
    let mut read = story.ask(get("/a"));
    story.reply(1, 0, &data("x")).unwrap();
    assert!(matches!(answer(&mut read), Some(Ok(_))));
    assert!(matches!(story.state(), State::Connected { .. }));
}

#[test]
fn watches_are_there_again_before_anything_is_asked() {
    let mut story = Story::connected();
    let (once, mut change) = oneshot::channel();
    let watching = Some(("/a".to_owned(), Wish::Exists(once)));
    let exists = Request::Exists(PathWatchRequest {
        path: Some("/a".into()),
        watch: true,
    });
    let mut reading = story.ask_watching(exists, watching);
    story.reply(1, ErrorCode::NoNode.code(), &[]).unwrap();
    assert_eq!(answer(&mut reading), Some(Err(Error::Server(-101))));
    let (sender, mut lasting) = watches::watcher();
    let watching = Some((
        "/b".to_owned(),
        Wish::Lasting(AddWatchMode::PersistentRecursive, sender),
    ));
    let add = Request::AddWatch(jute_codec::proto::AddWatchRequest {
        path: Some("/b".into()),
        mode: 1,
    });
    let _added = story.ask_watching(add, watching);
    story.reply(2, 0, &0_i32.to_vec()).unwrap();
    let seen = Zxid(story.zxid);
    story.lose();
    let _later = story.ask(get("/c"));
    story.link();
    story.hello(TIMEOUT, false);
    let sent = story.sent();
    let Request::SetWatches2(watches) = &sent[0].1 else {
        panic!("{sent:?}");
    };
    assert_eq!(
        watches.standard,
        SetWatches {
            relative_zxid: seen,
            data_watches: Some(vec![]),
            exist_watches: Some(vec![Some("/a".into())]),
            child_watches: Some(vec![]),
        }
    );
    assert_eq!(
        watches.persistent_recursive_watches,
        Some(vec![Some("/b".into())])
    );
    assert_eq!(sent[1].1, get("/c"));
    story.reply(xid::SET_WATCHES, 0, &[]).unwrap();
    let mut event = ReplyHeader {
        xid: xid::NOTIFICATION,
        zxid: Zxid(-1),
        err: 0,
    }
    .to_vec();
    WatcherEvent {
        kind: 1,
        state: 3,
        path: "/a".into(),
    }
    .write(&mut event);
    story.receive(&event).unwrap();
    let told: WatchEvent = change.try_recv().unwrap().unwrap();
    assert_eq!(told.path, "/a");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    assert_eq!(
        runtime.unwrap().block_on(lasting.next()),
        Some(Notice::Missed)
    );
}

#[test]
fn a_read_that_fails_leaves_no_watch() {
    let mut story = Story::connected();
    let (once, change) = oneshot::channel::<Result<WatchEvent, Error>>();
    let watching = Some(("/a".to_owned(), Wish::Data(once)));
    let _reading = story.ask_watching(get("/a"), watching);
    story.reply(1, ErrorCode::NoNode.code(), &[]).unwrap();
    story.lose();
    story.link();
    story.hello(TIMEOUT, false);
    assert_eq!(story.ops(), []);
    drop(change);
}

#[test]
fn a_server_that_answers_out_of_order_is_left() {
    let mut story = Story::connected();
    let mut write = story.ask(create("/a"));
    assert!(matches!(
        story.reply(9, 0, &[]),
        Err(LinkError::OutOfOrder {
            expected: 1,
            got: 9
        })
    ));
    story.lose();
    assert_eq!(answer(&mut write), Some(Err(Error::ConnectionLoss)));
    story.link();
    story.hello(TIMEOUT, false);
    assert!(matches!(story.reply(2, 0, &[]), Err(LinkError::Unasked(2))));
    assert!(matches!(
        story.reply(xid::AUTH, 0, &[]),
        Err(LinkError::Unasked(_))
    ));
    for length in 0..16 {
        assert!(story.receive(&vec![0; length]).is_err(), "{length}");
    }
}

#[test]
fn a_refused_credential_ends_the_session() {
    let mut story = Story::connected();
    let (sender, mut added) = oneshot::channel();
    let credential = Credential {
        scheme: "odd".to_owned(),
        secret: Bytes::new(),
    };
    let now = story.now();
    story
        .core
        .add_credential(credential, sender, now, &mut story.out);
    story
        .reply(xid::AUTH, ErrorCode::AuthFailed.code(), &[])
        .unwrap();
    let failed = Error::AuthFailed {
        scheme: "odd".to_owned(),
    };
    assert_eq!(answer(&mut added), Some(Err(failed.clone())));
    let mut after = story.ask(get("/a"));
    assert_eq!(answer(&mut after), Some(Err(failed)));
    assert_eq!(story.state(), State::AuthFailed);
}

#[test]
fn a_read_only_servers_session_stays_with_it() {
    let mut story = Story::new(Options {
        timeout: TIMEOUT,
        read_only_allowed: true,
        ..Options::default()
    });
    assert_eq!(story.link().read_only, Some(true));
    story.hello(TIMEOUT, true);
    assert!(matches!(story.state(), State::ConnectedReadOnly { .. }));
    assert!(story.core.is_read_only());
    story.lose();
    assert_eq!(story.link().session, SessionId::NONE);
}

#[test]
fn a_closed_session_says_so() {
    let mut story = Story::connected();
    let mut closing = story.ask(Request::CloseSession);
    story.reply(1, 0, &[]).unwrap();
    assert_eq!(answer(&mut closing), Some(Ok(Reply::Empty)));
    assert_eq!(story.state(), State::Closed);
    let mut after = story.ask(get("/a"));
    assert_eq!(answer(&mut after), Some(Err(Error::Closed)));
}
