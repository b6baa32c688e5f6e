//! Runs the `zab` binary against a server in this process that follows a script: what goes over the wire, what is
//! printed where, and the exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{take_frame, write_frame};
use jute_codec::proto::{
    ChildrenReply, ConnectRequest, ConnectResponse, DataReply, MultiOp, OpCode, ReplyHeader,
    Request, RequestHeader, WatcherEvent, xid,
};
use jute_codec::{Jute, Reader, SessionId, Stat, Text, Zxid};

/// What the server does about a request.
enum Answer {
    /// Success with this body.
    Body(Vec<u8>),
    /// This result code.
    Code(i32),
    /// A watch event, then success with this body.
    AfterEvent(WatcherEvent, Vec<u8>),
    /// Nothing until this many pings have come, then success with this body.
    AfterPings(u32, Vec<u8>),
    /// The end of the connection.
    HangUp,
}

/// The requests that a client has made, the handshake aside.
struct Served {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Served {
    /// Runs `zab` with this server and says what it printed, and all it asked of the server.
    fn zab(self, options: &[&str], command: &[&str]) -> (Output, Vec<Request>) {
        let output = zab(&self.address.to_string(), options, command);
        (output, self.requests.iter().collect())
    }
}

fn zab(server: &str, options: &[&str], command: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zab"))
        .args(["-server", server])
        .args(options)
        .args(command)
        .output()
        .unwrap()
}

/// Serves one connection. `script` answers all requests but pings and closeSession.
fn serve(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut connection = Connection {
            stream,
            received: BytesMut::new(),
        };
        connection.serve(script, |request| sender.send(request).unwrap());
    });
    Served { address, requests }
}

struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

impl Connection {
    fn receive(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = take_frame(&mut self.received, 1 << 20).unwrap() {
                return Some(frame);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(length) if length > 0 => self.received.extend_from_slice(&chunk[..length]),
                _ => return None,
            }
        }
    }

    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        write_frame(&mut frame, write);
        self.stream.write_all(&frame).unwrap();
    }

    fn reply(&mut self, xid: i32, err: i32, body: &[u8]) {
        let zxid = Zxid(7);
        self.send(|out| {
            ReplyHeader { xid, zxid, err }.write(out);
            out.extend_from_slice(body);
        });
    }

    fn serve(
        &mut self,
        mut script: impl FnMut(&Request) -> Answer,
        mut record: impl FnMut(Request),
    ) {
        let frame = self.receive().unwrap();
        let hello = ConnectRequest::read(&mut Reader::new(&frame)).unwrap();
        assert_eq!(hello.session, SessionId::NONE);
        self.send(|out| {
            ConnectResponse {
                protocol_version: 0,
                timeout_ms: hello.timeout_ms,
                session: SessionId(0x0100_0000_0000_0001),
                password: [1; 16],
                read_only: Some(hello.read_only == Some(true)),
            }
            .write(out);
        });
        let mut held: Option<(u32, i32, Vec<u8>)> = None;
        while let Some(frame) = self.receive() {
            let mut reader = Reader::new(&frame);
            let header = RequestHeader::read(&mut reader).unwrap();
            let request = Request::read(OpCode::from_i32(header.op).unwrap(), &mut reader).unwrap();
            match &request {
                Request::Ping => {
                    self.reply(xid::PING, 0, &[]);
                    if let Some((left, xid, body)) = held.take() {
                        match left - 1 {
                            0 => self.reply(xid, 0, &body),
                            left => held = Some((left, xid, body)),
                        }
                    }
                }
                Request::CloseSession => self.reply(header.xid, 0, &[]),
                other => match script(other) {
                    Answer::Body(body) => self.reply(header.xid, 0, &body),
                    Answer::Code(code) => self.reply(header.xid, code, &[]),
                    Answer::AfterEvent(event, body) => {
                        self.reply(xid::NOTIFICATION, 0, &event.to_vec());
                        self.reply(header.xid, 0, &body);
                    }
                    Answer::AfterPings(pings, body) => held = Some((pings, header.xid, body)),
                    Answer::HangUp => {
                        record(request);
                        return;
                    }
                },
            }
            record(request);
        }
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What is printed in front of a command's own output.
fn preamble(server: SocketAddr, chroot: &str) -> String {
    format!(
        "Connecting to {server}{chroot}\n\nWATCHER::\n\n\
         WatchedEvent state:SyncConnected type:None path:null zxid: -1\n"
    )
}

fn children(names: &[&'static str]) -> Answer {
    Answer::Body(
        ChildrenReply {
            children: names.iter().map(|name| Text::from_static(name)).collect(),
            stat: Stat::ZERO,
        }
        .to_vec(),
    )
}

fn data(data: &'static [u8]) -> Vec<u8> {
    DataReply {
        data: Some(Bytes::from_static(data)),
        stat: Stat::ZERO,
    }
    .to_vec()
}

#[test]
fn ls_prints_sorted_names_and_closes_the_session() {
    let server = serve(|_| children(&["b", "a"]));
    let expected = preamble(server.address, "") + "[a, b]\n";
    let (output, requests) = server.zab(&[], &["ls", "/"]);
    assert_eq!((out(&output), err(&output)), (expected, String::new()));
    assert_eq!(output.status.code(), Some(0));
    assert!(matches!(
        requests[..],
        [Request::GetChildren2(_), Request::CloseSession]
    ));
}

#[test]
fn create_prints_on_stderr_and_takes_the_chroot_on_and_off() {
    let server = serve(|request| match request {
        Request::Create(create) if create.path.as_deref() == Some("/c/x") => {
            Answer::Body(Text::from_static("/c/x").to_vec())
        }
        _ => Answer::HangUp,
    });
    let connect = format!("{}/c", server.address);
    let output = zab(&connect, &[], &["create", "/x", "hi"]);
    assert_eq!(err(&output), "Created /x\n");
    assert_eq!(out(&output), preamble(server.address, "/c"));
    let requests: Vec<_> = server.requests.iter().collect();
    let Request::Create(create) = &requests[0] else {
        panic!("{requests:?}");
    };
    assert_eq!(create.data.as_deref(), Some(&b"hi"[..]));
}

#[test]
fn errors_are_told_in_words_and_exit_with_1() {
    let server = serve(|_| Answer::Code(-101));
    let (output, requests) = server.zab(&[], &["get", "/none"]);
    assert_eq!(err(&output), "Node does not exist: /none\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(matches!(requests.last(), Some(Request::CloseSession)));
}

#[test]
fn credentials_go_first_and_a_refused_one_ends_it() {
    let server = serve(|request| match request {
        Request::Auth(_) => Answer::Body(Vec::new()),
        _ => Answer::Body(data(b"v")),
    });
    let (output, requests) = server.zab(&["-auth", "digest:u:p"], &["get", "/x"]);
    assert_eq!(output.status.code(), Some(0));
    let Request::Auth(auth) = &requests[0] else {
        panic!("{requests:?}");
    };
    assert_eq!(auth.scheme.as_deref(), Some("digest"));
    assert_eq!(auth.auth.as_deref(), Some(&b"u:p"[..]));
    assert!(matches!(requests[1], Request::GetData(_)));

    let server = serve(|_| Answer::Code(-115));
    let (output, requests) = server.zab(&["-auth", "digest:u:p"], &["get", "/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        err(&output),
        "the server refused the digest credential\nKeeperErrorCode = AuthFailed for /x\n"
    );
    assert_eq!(requests.len(), 1);
}

#[test]
fn pings_keep_the_session_while_a_reply_is_awaited() {
    let server = serve(|_| Answer::AfterPings(2, data(b"slow")));
    let (output, requests) = server.zab(&["-timeout", "2400"], &["get", "/x"]);
    assert!(out(&output).ends_with("\nslow\n"), "{output:?}");
    assert!(matches!(
        requests[..],
        [
            Request::GetData(_),
            Request::Ping,
            Request::Ping,
            Request::CloseSession
        ]
    ));
}

#[test]
fn a_reply_that_never_comes_is_given_up() {
    let server = serve(|_| Answer::AfterPings(u32::MAX, Vec::new()));
    let (output, _) = server.zab(&["-timeout", "600"], &["get", "/x"]);
    assert_eq!(output.status.code(), Some(1));
    let words = err(&output);
    assert!(words.contains(" within 600 ms\n"), "{words}");
    assert!(
        words.ends_with("\nKeeperErrorCode = OperationTimeout for /x\n"),
        "{words}"
    );
}

#[test]
fn watch_events_are_told_before_the_result_that_shows_them() {
    let event = WatcherEvent {
        kind: 3,
        state: WatcherEvent::SYNC_CONNECTED,
        path: Text::from_static("/x"),
    };
    let server = serve(move |_| Answer::AfterEvent(event.clone(), data(b"new")));
    let (output, _) = server.zab(&[], &["get", "-w", "/x"]);
    assert!(
        out(&output).ends_with(
            "\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeDataChanged path:/x zxid: 7\nnew\n"
        ),
        "{output:?}"
    );
}

#[test]
fn deleteall_deletes_children_first_in_batches() {
    let server = serve(|request| match request {
        Request::GetChildren2(read) => match read.path.as_deref() {
            Some("/t") => children(&["a", "b"]),
            _ => children(&[]),
        },
        Request::Multi(ops) => {
            let mut body = Vec::new();
            let results = vec![jute_codec::proto::MultiResult::Delete; ops.0.len()];
            jute_codec::proto::write_multi_results(&results, &mut body);
            Answer::Body(body)
        }
        _ => Answer::HangUp,
    });
    let (output, requests) = server.zab(&[], &["deleteall", "-b", "2", "/t"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let deleted: Vec<Vec<_>> = requests
        .iter()
        .filter_map(|request| match request {
            Request::Multi(ops) => Some(ops.0.iter().map(|op| match op {
                MultiOp::Delete(delete) => delete.path.as_deref().unwrap().to_owned(),
                other => panic!("{other:?}"),
            })),
            _ => None,
        })
        .map(Iterator::collect)
        .collect();
    assert_eq!(deleted, [vec!["/t/b", "/t/a"], vec!["/t"]]);
}

#[test]
fn the_next_server_is_tried_when_one_does_not_answer() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let server = serve(|_| children(&[]));
    let connect = format!("{dead},{}", server.address);
    let output = zab(&connect, &[], &["ls", "/"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn no_server_is_a_connection_loss_with_its_reason() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let output = zab(&dead.to_string(), &[], &["ls", "/"]);
    let words = err(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words.starts_with(&format!("connect to {dead}: ")),
        "{words}"
    );
    assert!(
        words.ends_with("\nKeeperErrorCode = ConnectionLoss for /\n"),
        "{words}"
    );
}

#[test]
fn waiting_for_a_connection_outlasts_a_server_that_starts_late() {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let server = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        let listener = TcpListener::bind(address).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let received = BytesMut::new();
        Connection { stream, received }.serve(|_| children(&["late"]), drop);
    });
    let output = zab(&address.to_string(), &["-waitforconnection"], &["ls", "/"]);
    assert!(out(&output).ends_with("[late]\n"), "{output:?}");
    server.join().unwrap();
}

#[test]
fn a_connection_that_breaks_is_told_and_not_retried() {
    let server = serve(|_| Answer::HangUp);
    let (output, requests) = server.zab(&[], &["set", "/x", "v"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).ends_with("\nKeeperErrorCode = ConnectionLoss for /x\n"),
        "{output:?}"
    );
    assert_eq!(requests.len(), 1);
}

#[test]
fn wrong_use_needs_no_server() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    for (command, code, words) in [
        (
            &["nosuch"][..],
            127,
            "Command not found: Command not found nosuch\n",
        ),
        (
            &["addWatch", "/"],
            127,
            "Command not found: addWatch belongs to an interactive shell: start zab without a command\n",
        ),
        (&["sync"], 1, "sync path\n"),
        (
            &["create", "-c", "-e", "/x"],
            1,
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.\n",
        ),
        (
            &["set", "-v", "x", "/x", "y"],
            1,
            "-v argument must be an int value\n",
        ),
    ] {
        let output = zab(&dead.to_string(), &[], command);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(err(&output).ends_with(words), "{output:?}");
    }
}

/// The kinds that a real server does not give at will.
#[test]
fn what_becomes_of_a_session_has_an_exit_code_each() {
    let expired = || serve(|_| Answer::Code(-112));
    let gone = || serve(|_| Answer::HangUp);
    let refused = || serve(|_| Answer::Code(-119));
    let unheard_of = || serve(|_| Answer::Code(-4711));
    for (server, command, code) in [
        (expired(), &["tree", "/x"][..], 76),
        (expired(), &["get", "/x"], 1),
        (expired(), &["get", "/x", "--output", "json"], 76),
        // A change may have been made; a read has only not been answered.
        (gone(), &["set", "/x", "--hex", "00"], 79),
        (gone(), &["du", "/x"], 69),
        (gone(), &["set", "/x", "v"], 1),
        (refused(), &["--output", "json", "set", "/x", "v"], 78),
        (unheard_of(), &["get", "/x", "--output", "json"], 70),
    ] {
        let (output, _) = server.zab(&[], command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        assert!(!err(&output).is_empty(), "{command:?}");
    }
    let (output, _) = gone().zab(&["-timeout", "500"], &["counter", "/x", "set", "1"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}
