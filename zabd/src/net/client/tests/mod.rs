//! Connections over real sockets, with a replica that does only what the tests need.

mod closing;
mod flow;
mod limits;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};

use jute_codec::frame::write_frame;
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, OpCode, PathWatchRequest, ReplyHeader, Request, RequestHeader,
};
use jute_codec::txn::{CreateTxn, SetDataTxn, Txn, TxnEntry, TxnHeader};
use jute_codec::{Acl, ErrorCode, Jute, Reader, SessionId, Zxid};

use super::*;
use crate::auth::Providers;
use crate::state::conn::{ClientRequest, Origin, ReplyKind, WriteBody};
use crate::state::{Committed, Outputs, StateParams};

/// Nothing that the tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commits at once whatever it is given, or, while its gate is closed, later.
struct TestReplica {
    state: Arc<RwLock<State>>,
    connections: Arc<Connections>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    waiting: Vec<Submission>,
    disconnected: Vec<ConnId>,
    // The last words of connections.
    heard: Vec<Option<(SessionId, i64)>>,
}

impl TestReplica {
    fn close_gate(&self) {
        self.inner.lock().unwrap().closed = true;
    }

    fn open_gate(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.closed = false;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.commit(waiting);
    }

    fn waiting(&self) -> usize {
        self.inner.lock().unwrap().waiting.len()
    }

    fn wait_for_waiting(&self, count: usize) {
        self.wait_until(|inner| inner.waiting.len() >= count);
    }

    fn wait_until(&self, holds: impl Fn(&Inner) -> bool) {
        let inner = self.inner.lock().unwrap();
        let (_guard, timeout) = self
            .changed
            .wait_timeout_while(inner, PATIENCE, |inner| !holds(inner))
            .unwrap();
        assert!(!timeout.timed_out(), "what was waited for did not happen");
    }

    fn commit(&self, submissions: impl IntoIterator<Item = Submission>) {
        let mut outputs = Outputs::default();
        let mut state = self.state.write().unwrap();
        for submission in submissions {
            let zxid = state.last_zxid().next();
            match submission {
                Submission::Connect { conn, request } if request.session != SessionId::NONE => {
                    outputs.connected(conn, &ConnectResponse::invalid(request.read_only));
                }
                submission => state
                    .apply(&committed(submission, zxid), &mut outputs)
                    .unwrap(),
            }
        }
        self.connections.deliver(&outputs);
        drop(state);
        self.connections.wake();
    }
}

fn committed(submission: Submission, zxid: Zxid) -> Committed {
    let (session, cxid, origin, txn, close) = match submission {
        Submission::Connect { conn, request } => {
            let session = SessionId(i64::try_from(conn.0).unwrap() + 0x1000);
            let response = ConnectResponse {
                protocol_version: 0,
                timeout_ms: request.timeout_ms,
                session,
                password: [7; 16],
                read_only: request.read_only,
            };
            let origin = Origin {
                conn,
                xid: 0,
                kind: ReplyKind::Connected(response),
            };
            (
                session,
                0,
                origin,
                Txn::CreateSession {
                    timeout_ms: request.timeout_ms,
                },
                None,
            )
        }
        Submission::Write(ClientRequest {
            conn,
            session,
            xid,
            body,
            ..
        }) => {
            let WriteBody::Request(request) = body else {
                panic!("no test sends a malformed multi")
            };
            let (op, txn) = match request {
                Request::Create(request) => {
                    let txn = CreateTxn {
                        path: request.path.unwrap(),
                        data: request.data,
                        acl: request.acl,
                        ephemeral: false,
                        parent_cversion: 1,
                    };
                    (OpCode::Create, Txn::Create(txn))
                }
                Request::SetData(request) => {
                    let txn = SetDataTxn {
                        path: request.path.unwrap(),
                        data: request.data,
                        version: xid,
                    };
                    (OpCode::SetData, Txn::SetData(txn))
                }
                Request::CloseSession => (OpCode::CloseSession, Txn::CloseSession(None)),
                _ => (OpCode::Delete, Txn::Error(ErrorCode::NoNode.code())),
            };
            let close = (op == OpCode::CloseSession).then_some(conn);
            (
                session,
                xid,
                Origin {
                    conn,
                    xid,
                    kind: ReplyKind::Op(op),
                },
                txn,
                close,
            )
        }
    };
    let header = TxnHeader {
        client_id: session,
        cxid,
        zxid,
        time: 1,
        op: txn.op().code(),
    };
    Committed {
        entry: TxnEntry {
            header,
            txn,
            digest: None,
        },
        origin: Some(origin),
        close,
    }
}

impl ReplicaHandle for TestReplica {
    fn submit(&self, submissions: &mut Vec<Submission>) {
        let mut inner = self.inner.lock().unwrap();
        if inner.closed {
            inner.waiting.append(submissions);
            self.changed.notify_all();
        } else {
            drop(inner);
            self.commit(submissions.drain(..));
        }
    }

    fn disconnected(&self, conn: ConnId, heard: Option<(SessionId, i64)>) {
        let mut inner = self.inner.lock().unwrap();
        inner.disconnected.push(conn);
        inner.heard.push(heard);
        drop(inner);
        self.changed.notify_all();
    }
}

struct Words;

impl FourLetter for Words {
    fn is_command(&self, word: [u8; 4]) -> bool {
        matches!(&word, b"ruok" | b"stmk" | b"long")
    }

    fn argument_bytes(&self, word: [u8; 4]) -> usize {
        if &word == b"stmk" { 8 } else { 0 }
    }

    fn answer(
        &self,
        word: [u8; 4],
        argument: &[u8],
        _conn: ConnId,
        _listener: &ListenerInfo,
    ) -> Vec<u8> {
        match &word {
            b"stmk" => argument.to_vec(),
            b"long" => vec![b'x'; 8 << 20],
            _ => b"imok".to_vec(),
        }
    }
}

/// A server on a free port of the loopback interface.
struct Server {
    replica: Arc<TestReplica>,
    stats: Arc<ServerStats>,
    handle: ServeHandle,
}

impl Server {
    /// With one thread, so that an answer on one connection tells that others had their turn before it.
    fn start(params: NetParams) -> Self {
        Self::start_on("127.0.0.1:0", params)
    }

    fn start_on(addr: &str, params: NetParams) -> Self {
        let state = Arc::new(RwLock::new(State::new(StateParams::default())));
        let connections = Arc::new(Connections::new(params.outbox_bytes_max));
        let replica = Arc::new(TestReplica {
            state: Arc::clone(&state),
            connections: Arc::clone(&connections),
            inner: Mutex::default(),
            changed: Condvar::new(),
        });
        let stats = Arc::new(ServerStats::default());
        let ctx = ClientContext {
            state,
            connections,
            replica: Arc::clone(&replica) as Arc<dyn ReplicaHandle>,
            auth: Arc::new(Providers::default()),
            conn_params: Arc::new(ConnParams {
                field_bytes_max: params.frame_bytes_max,
                required_schemes: None,
                sync_by_replica: false,
            }),
            params: Arc::new(params),
            stats: Arc::clone(&stats),
            four_letter: Arc::new(Words),
            clock: MonotonicClock::start(),
        };
        let handle = serve(
            &[ListenAddr {
                addr: addr.parse().unwrap(),
            }],
            ctx,
            1,
        )
        .unwrap();
        Self {
            replica,
            stats,
            handle,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.handle.local_addrs()[0]
    }

    fn raw(&self) -> Client {
        Client::to(self.addr())
    }

    /// A client with a session.
    fn client(&self) -> Client {
        let mut client = self.raw();
        client.send(&connect(0, 0));
        let response =
            ConnectResponse::read(&mut Reader::new(&client.frame().unwrap().into())).unwrap();
        assert_ne!(response.session, SessionId::NONE);
        client
    }

    /// Returns after every connection had a turn with what was received before.
    fn settle(&self) {
        for _ in 0..2 {
            assert_eq!(self.word(b"ruok"), b"imok");
        }
    }

    fn word(&self, word: &[u8]) -> Vec<u8> {
        let mut client = self.raw();
        client.send(word);
        client.rest().unwrap()
    }

    fn only(&self, client: &Client) -> ConnInfo {
        let addr = client.0.local_addr().unwrap();
        self.replica
            .connections
            .snapshot()
            .into_iter()
            .find(|info| info.peer == addr)
            .unwrap()
    }
}

/// Waits for something that other threads do and nobody tells of.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Client(TcpStream);

impl Client {
    fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next frame's payload.
    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix)?;
        let mut payload = vec![0; u32::from_be_bytes(prefix) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(payload)
    }

    fn reply(&mut self) -> (ReplyHeader, Vec<u8>) {
        let frame = self.frame().unwrap();
        let header = ReplyHeader::read(&mut Reader::new(&frame.clone().into())).unwrap();
        (header, frame[16..].to_vec())
    }

    /// Reads xid and result code of the next reply.
    fn xid_err(&mut self) -> (i32, i32) {
        let (header, _) = self.reply();
        (header.xid, header.err)
    }

    /// All up to the end of the stream, which must be an orderly one.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether nothing has been received.
    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let result = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, |out| out.extend_from_slice(payload));
    frame
}

fn connect(session: i64, last_zxid_seen: i64) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(last_zxid_seen),
        timeout_ms: 30_000,
        session: SessionId(session),
        password: Some(vec![0; 16].into()),
        read_only: Some(false),
    };
    framed(&request.to_vec())
}

fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    let mut payload = RequestHeader { xid, op }.to_vec();
    payload.extend_from_slice(body);
    framed(&payload)
}

fn read(xid: i32, op: OpCode, path: &str, watch: bool) -> Vec<u8> {
    request(
        xid,
        op.code(),
        &PathWatchRequest {
            path: Some(path.into()),
            watch,
        }
        .to_vec(),
    )
}

fn get_data(xid: i32, path: &str) -> Vec<u8> {
    read(xid, OpCode::GetData, path, false)
}

fn create(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    jute_codec::writer::write_str(path, &mut body);
    jute_codec::writer::write_buffer(Some(data), &mut body);
    vec![Acl::open()].write(&mut body);
    0i32.write(&mut body);
    request(xid, OpCode::Create.code(), &body)
}

fn set_data(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    jute_codec::writer::write_str(path, &mut body);
    jute_codec::writer::write_buffer(Some(data), &mut body);
    (-1i32).write(&mut body);
    request(xid, OpCode::SetData.code(), &body)
}
