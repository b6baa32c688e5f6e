//! Reading a whole state, the way a client would that may read everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute_codec::data::{Acl, Id, Stat};
use jute_codec::frame::take_frame;
use jute_codec::proto::{
    ConnectRequest, PathRequest, PathWatchRequest, Reply, ReplyHeader, Request, RequestHeader,
};
use jute_codec::{Jute, Reader, SessionId, Text, Zxid};
use zabd::state::State;
use zabd::state::conn::{AuthOutcome, Authenticator, ClientConn, ConnId, ConnParams};

/// What identities are worth in a simulation.
#[derive(Debug, Clone, Copy)]
pub struct SimAuth;

/// The identity that a digest credential gives: not Java's hash, which the simulator need not know.
#[must_use]
pub fn digest_id(credential: &str) -> Id {
    let user = credential.split(':').next().unwrap_or_default();
    let hash = credential.bytes().fold(17_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    Id::new("digest", format!("{user}:{hash:08x}"))
}

impl Authenticator for SimAuth {
    fn authenticate(&self, scheme: &str, credential: Option<&[u8]>, _peer: &str) -> AuthOutcome {
        let credential = credential.map(String::from_utf8_lossy).unwrap_or_default();
        match scheme {
            "digest" => AuthOutcome::Accepted(vec![digest_id(&credential)]),
            "super" => AuthOutcome::Accepted(vec![Id::new("super", "")]),
            _ => AuthOutcome::Refused,
        }
    }

    fn user_name(&self, id: &Id) -> String {
        id.id.as_deref().unwrap_or_default().to_owned()
    }
}

/// A node as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    /// Its data.
    pub data: Option<Bytes>,
    /// Its stat.
    pub stat: Stat,
    /// Its access control list.
    pub acl: Vec<Acl>,
}

/// Settings of the connections of a simulation.
#[must_use]
pub fn conn_params() -> Arc<ConnParams> {
    Arc::new(ConnParams {
        field_bytes_max: 1 << 20,
        required_schemes: None,
        sync_by_replica: false,
    })
}

/// A connection that nobody else has.
const PROBE: ConnId = ConnId(u64::MAX);

/// Everything that is in `state`.
///
/// # Panics
/// When the state does not answer, which other checks would have said in better words.
#[must_use]
pub fn read_all(state: &State) -> BTreeMap<String, SeenNode> {
    let mut reading = Reading::begin(state);
    let mut seen = BTreeMap::new();
    let mut level = vec!["/".to_owned()];
    while !level.is_empty() {
        let mut below = Vec::new();
        let requests = level.iter().flat_map(|path| {
            let path = || Some(Text::from(&**path));
            [
                Request::GetData(PathWatchRequest {
                    path: path(),
                    watch: false,
                }),
                Request::GetAcl(PathRequest { path: path() }),
                Request::GetChildren(PathWatchRequest {
                    path: path(),
                    watch: false,
                }),
            ]
        });
        let replies = reading.ask(requests.collect());
        for (path, replies) in level.iter().zip(replies.chunks(3)) {
            let [Reply::Data(data), Reply::Acl(acl), Reply::Names(names)] = replies else {
                panic!("{path} cannot be read: {replies:?}");
            };
            let node = SeenNode {
                data: data.data.clone(),
                stat: data.stat.clone(),
                acl: acl.acl.clone(),
            };
            let prefix = if path == "/" { "" } else { path };
            below.extend(names.iter().map(|name| format!("{prefix}/{name}")));
            seen.insert(path.clone(), node);
        }
        level = below;
    }
    state.watches().detach(PROBE);
    seen
}

struct Reading<'a> {
    state: &'a State,
    conn: ClientConn,
}

impl<'a> Reading<'a> {
    fn begin(state: &'a State) -> Self {
        let mut conn = ClientConn::new(PROBE, "127.0.0.1".to_owned(), conn_params());
        let handshake = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: 10_000,
            session: SessionId::NONE,
            password: None,
            read_only: None,
        };
        conn.on_frame(&handshake.to_vec().into(), &SimAuth)
            .expect("a handshake is a frame");
        conn.advance(
            state,
            &SimAuth,
            usize::MAX,
            &mut Vec::new(),
            &mut Vec::new(),
        );
        conn.on_connected(SessionId(i64::MAX), state);
        let mut reading = Self { state, conn };
        let packet = jute_codec::proto::AuthPacket {
            kind: 0,
            scheme: Some("super".into()),
            auth: None,
        };
        reading.ask(vec![Request::Auth(packet)]);
        reading
    }

    fn ask(&mut self, requests: Vec<Request>) -> Vec<Reply> {
        let mut out = Vec::new();
        for request in &requests {
            let mut frame = Vec::new();
            RequestHeader {
                xid: 1,
                op: request.op().code(),
            }
            .write(&mut frame);
            request.write_body(&mut frame);
            self.conn
                .on_frame(&frame.into(), &SimAuth)
                .expect("a request is a frame");
        }
        self.conn
            .advance(self.state, &SimAuth, usize::MAX, &mut out, &mut Vec::new());
        let mut bytes = BytesMut::from(&out[..]);
        let mut replies = Vec::new();
        for request in requests {
            let frame = take_frame(&mut bytes, usize::MAX >> 1)
                .ok()
                .flatten()
                .expect("every request is answered");
            let mut reader = Reader::new(&frame);
            let header = ReplyHeader::read(&mut reader).expect("every reply has a header");
            assert_eq!(header.err, 0, "{request:?}");
            replies.push(Reply::read(request.op(), &mut reader).expect("every reply has its body"));
        }
        replies
    }
}
