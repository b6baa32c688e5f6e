//! Runs `zab bench` against a server in this process: what it sends, and that it notices replies that are wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{take_frame, write_frame};
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, DataReply, MultiResult, OpCode, ReplyHeader, Request,
    RequestHeader, write_multi_results,
};
use jute_codec::{Jute, Reader, SessionId, Stat, Zxid};
use serde_json::Value;

/// What a server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every tenth reply has the number of the request after it.
    Order,
    /// Every tenth reply's zxid is below the one before.
    Zxid,
    /// Every tenth value read is the one before the last written.
    Stale,
    /// Every tenth write does not happen, and has the zxid of the one before.
    LostWrite,
    /// Every hundredth request ends its connection.
    HangUp,
}

/// One node for everybody.
#[derive(Debug, Default)]
struct Node {
    value: Option<Bytes>,
    before: Option<Bytes>,
    zxid: i64,
    sessions: Vec<i64>,
}

/// Serves until the process ends.
fn serve(fault: Fault) -> (SocketAddr, Arc<Mutex<Node>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let node = Arc::new(Mutex::new(Node::default()));
    let (shared, asked) = (Arc::clone(&node), Arc::new(AtomicU32::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (node, asked) = (Arc::clone(&shared), Arc::clone(&asked));
            thread::spawn(move || serve_connection(stream.unwrap(), fault, &node, &asked));
        }
    });
    (address, node)
}

fn receive(stream: &mut TcpStream, received: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(frame) = take_frame(received, 1 << 20).unwrap() {
            return Some(frame);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(length) if length > 0 => received.extend_from_slice(&chunk[..length]),
            _ => return None,
        }
    }
}

fn serve_connection(
    mut stream: TcpStream,
    fault: Fault,
    node: &Mutex<Node>,
    asked: &AtomicU32,
) -> Option<()> {
    let mut received = BytesMut::new();
    let hello = receive(&mut stream, &mut received)?;
    let hello = ConnectRequest::read(&mut Reader::new(&hello)).unwrap();
    node.lock().unwrap().sessions.push(hello.session.0);
    let mut frame = Vec::new();
    write_frame(&mut frame, |out| {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: hello.timeout_ms,
            session: SessionId(9),
            password: [1; 16],
            read_only: Some(false),
        }
        .write(out);
    });
    stream.write_all(&frame).ok()?;
    loop {
        let frame = receive(&mut stream, &mut received)?;
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::read(&mut reader).unwrap();
        let request = Request::read(OpCode::from_i32(header.op).unwrap(), &mut reader).unwrap();
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        if fault == Fault::HangUp && number.is_multiple_of(100) {
            return None;
        }
        let wrong = number.is_multiple_of(10);
        let (mut zxid, body) = answer(&request, wrong.then_some(fault), &mut node.lock().unwrap());
        let mut xid = header.xid;
        match fault {
            Fault::Order if wrong => xid += 1,
            Fault::Zxid if wrong => zxid -= 1000,
            _ => {}
        }
        let mut out = Vec::new();
        write_frame(&mut out, |out| {
            ReplyHeader {
                xid,
                zxid: Zxid(zxid),
                err: 0,
            }
            .write(out);
            out.extend_from_slice(&body);
        });
        stream.write_all(&out).ok()?;
    }
}

fn answer(request: &Request, fault: Option<Fault>, node: &mut Node) -> (i64, Vec<u8>) {
    let mut body = Vec::new();
    let set = |data: &Option<Bytes>, node: &mut Node| {
        node.before = node.value.take();
        node.value = data.clone();
        Stat {
            mzxid: Zxid(node.zxid),
            ..Stat::ZERO
        }
    };
    match request {
        Request::SetData(request) if fault == Some(Fault::LostWrite) => {
            let kept = node.value.clone();
            set(&request.data, node).write(&mut body);
            node.value = kept;
        }
        Request::SetData(request) => {
            node.zxid += 1;
            set(&request.data, node).write(&mut body);
        }
        Request::Multi(ops) => {
            node.zxid += 1;
            let mut results = Vec::new();
            for op in &ops.0 {
                let jute_codec::proto::MultiOp::SetData(request) = op else {
                    panic!("{op:?}");
                };
                results.push(MultiResult::SetData(set(&request.data, node)));
            }
            write_multi_results(&results, &mut body);
        }
        Request::GetData(_) => DataReply {
            data: match fault {
                Some(Fault::Stale) => node.before.clone(),
                _ => node.value.clone(),
            },
            stat: Stat::ZERO,
        }
        .write(&mut body),
        Request::Sync(request) => request.write(&mut body),
        Request::Create(request) => request.path.write(&mut body),
        Request::Delete(_) | Request::Ping | Request::CloseSession => {}
        other => panic!("{other:?}"),
    }
    (node.zxid, body)
}

fn bench(address: SocketAddr, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zab"))
        .args(["-server", &address.to_string(), "bench"])
        .args(words)
        .args(["--duration-s", "0.3", "--warmup-s", "0"])
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// One node that is written and read by one connection.
const ONE_NODE: [&str; 6] = ["--keys", "1", "--in-flight", "4", "--reads-percent", "50"];

#[test]
fn a_right_server_passes_every_check() {
    for workload in ["mixed", "write", "multi", "failover", "create", "delete"] {
        let (address, _) = serve(Fault::None);
        let mut words = vec![workload, "--json"];
        words.extend(ONE_NODE);
        let output = bench(address, &words);
        let report = json(&output);
        assert_eq!(
            report["broken"],
            Value::Object(Default::default()),
            "{report}"
        );
        assert_eq!(
            report["errors"],
            Value::Object(Default::default()),
            "{report}"
        );
        assert!(report["answered"].as_u64() > Some(0), "{report}");
        assert_eq!(output.status.code(), Some(0), "{report}");
    }
}

#[test]
fn a_wrong_server_fails_the_run() {
    for (fault, words) in [
        (Fault::Order, "reply out of order"),
        (Fault::Zxid, "zxid went back"),
        (Fault::Stale, "wrong value"),
        (Fault::LostWrite, "wrong value"),
        (Fault::LostWrite, "writes out of order"),
    ] {
        let (address, _) = serve(fault);
        let mut arguments = vec!["mixed", "--json"];
        arguments.extend(ONE_NODE);
        let output = bench(address, &arguments);
        let report = json(&output);
        assert!(
            report["broken"][words]["count"].as_u64() > Some(0),
            "{fault:?}: {report}"
        );
        assert_eq!(output.status.code(), Some(1), "{fault:?}");
    }
}

#[test]
fn a_lost_connection_is_made_again_with_the_session() {
    let (address, node) = serve(Fault::HangUp);
    let mut words = vec!["write", "--json", "--reuse"];
    words.extend(ONE_NODE);
    let report = json(&bench(address, &words));
    assert_eq!(
        report["broken"],
        Value::Object(Default::default()),
        "{report}"
    );
    assert!(
        report["errors"]["connection lost"].as_u64() > Some(0),
        "{report}"
    );
    let sessions = node.lock().unwrap().sessions.clone();
    assert_eq!(sessions[..2], [0, 9]);
}

#[test]
fn a_paced_run_has_the_rate_that_was_asked_for() {
    let (address, _) = serve(Fault::None);
    let words = ["write", "--json", "--connections", "2", "--rate", "200"];
    let report = json(&bench(address, &words));
    let answered = report["answered"].as_u64().unwrap();
    let late = report["errors"]["due and not sent"].as_u64().unwrap_or(0);
    assert_eq!(answered + late, 60, "{report}");
}

#[test]
fn sessions_are_attached_to_again() {
    let (address, node) = serve(Fault::None);
    let words = ["sessions", "--json", "--connections", "5", "--reattach"];
    let report = json(&bench(address, &words));
    assert_eq!(report["reattached"]["count"], 5, "{report}");
    assert_eq!(report["times_ms"]["open"]["count"], 5, "{report}");
    let sessions = node.lock().unwrap().sessions.clone();
    assert_eq!(sessions, [0, 0, 0, 0, 0, 9, 9, 9, 9, 9]);
}

#[test]
fn the_table_says_what_was_done() {
    let (address, _) = serve(Fault::None);
    let output = bench(address, &["write"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "workload     write, 1 connections x 1 in flight, 1000 nodes of 100 bytes, closed loop\n",
        "errors       none\n",
        "checks       all replies were as they must be\n",
    ] {
        assert!(text.contains(words), "{words}{text}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let (address, _) = serve(Fault::None);
    for (words, expected) in [
        (vec!["dance"], "invalid value 'dance'"),
        (
            vec!["read", "--root", "/x/"],
            "Path must not end with / character",
        ),
    ] {
        let output = bench(address, &words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(expected), "{words:?}: {text}");
        assert_eq!(output.status.code(), Some(64));
    }
}
