//! A blocking client of one connection and one session.
//!
//! It sends one request at a time and waits for its reply, keeps the session alive with pings while it waits,
//! collects watch events, and closes the session when told to. It never reconnects: what runs one command is better
//! served by an error than by a request sent twice.

mod batch;
mod error;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jute_codec::frame::{take_frame, write_frame};
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, PASSWORD_BYTES, ReplyHeader, Request, RequestHeader,
    WatcherEvent, xid,
};
use jute_codec::{Jute, Reader, SessionId, Zxid};

pub(crate) use error::{ClientError, ConnectError};
pub(crate) use zab::connect_string::{ConnectString, ConnectStringError, HostPort};

/// The largest reply taken, in bytes. Well above what a server takes in requests, as a list of children may be longer.
const REPLY_BYTES_MAX: usize = 128 << 20;

/// How long the reply to a closing session is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What a session is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionOptions {
    /// The session timeout wished for; also bounds how long connecting may take.
    pub(crate) timeout_ms: i32,
    /// Whether a read-only server will do.
    pub(crate) read_only_allowed: bool,
}

impl SessionOptions {
    fn timeout(self) -> Duration {
        Duration::from_millis(u64::try_from(self.timeout_ms).unwrap_or(0).max(1))
    }
}

/// A watch event as it came, with the zxid of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) event: WatcherEvent,
    pub(crate) zxid: Zxid,
}

/// How long a frame is waited for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Instant,
    patience: Duration,
    /// Once there is a session: pings go out in time to keep it, and a server that is silent is given up.
    session_timeout: Option<Duration>,
}

/// A connection with a session on it.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    server: SocketAddr,
    received: BytesMut,
    /// As negotiated; the longest that a reply is waited for.
    timeout: Duration,
    read_only: bool,
    last_xid: i32,
    last_sent: Instant,
    last_heard: Instant,
    notifications: Vec<Notification>,
    /// Set by the first failure of the connection; nothing more is sent then.
    broken: bool,
}

impl Client {
    /// Connects to the first of `servers`, in order, that grants a session.
    pub(crate) fn connect(
        servers: &[HostPort],
        options: SessionOptions,
    ) -> Result<Self, ConnectError> {
        let share = options.timeout() / u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
        let mut reasons = Vec::new();
        for server in servers {
            let addresses = match (server.host.as_str(), server.port).to_socket_addrs() {
                Ok(addresses) => addresses,
                Err(error) => {
                    reasons.push(format!("{server}: {error}"));
                    continue;
                }
            };
            for address in addresses {
                match Self::open(address, options, share.max(Duration::from_millis(1))) {
                    Ok(client) => return Ok(client),
                    Err(reason) => reasons.push(reason.to_string()),
                }
            }
        }
        Err(ConnectError::NoServer(reasons))
    }

    /// Connects to one address and shakes hands.
    fn open(
        address: SocketAddr,
        options: SessionOptions,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let io = |source| ClientError::Io {
            server: address,
            source,
        };
        let started = Instant::now();
        let stream = TcpStream::connect_timeout(&address, patience).map_err(|source| {
            ClientError::Connect {
                server: address,
                source,
            }
        })?;
        stream.set_nodelay(true).map_err(io)?;
        stream
            .set_write_timeout(Some(options.timeout()))
            .map_err(io)?;
        let now = Instant::now();
        let mut client = Self {
            stream,
            server: address,
            received: BytesMut::new(),
            timeout: options.timeout(),
            read_only: false,
            last_xid: 0,
            last_sent: now,
            last_heard: now,
            notifications: Vec::new(),
            broken: false,
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: options.timeout_ms,
                session: SessionId::NONE,
                password: Some(Bytes::from_static(&[0; PASSWORD_BYTES])),
                read_only: Some(options.read_only_allowed),
            }
            .write(out);
        });
        client.send_frame(&frame)?;
        let wait = Wait {
            since: started,
            patience,
            session_timeout: None,
        };
        let reply = client.receive(wait)?;
        let response = ConnectResponse::read(&mut Reader::with_limit(&reply, reply.len()))
            .map_err(|source| client.undecodable(source))?;
        client.timeout = match u64::try_from(response.timeout_ms) {
            Ok(timeout_ms) if timeout_ms > 0 => Duration::from_millis(timeout_ms),
            _ => return Err(ClientError::NoSession { server: address }),
        };
        client.read_only = response.read_only.unwrap_or(false);
        Ok(client)
    }

    /// Sends a request and waits for its reply's body.
    pub(crate) fn call(&mut self, request: &Request) -> Result<Bytes, ClientError> {
        let waited = self.timeout;
        let result = self.exchange(request, waited);
        if !matches!(result, Ok(_) | Err(ClientError::Server(_))) {
            self.broken = true;
        }
        result
    }

    /// Closes the session, so that its ephemeral nodes go now and not when it expires.
    pub(crate) fn close(mut self) -> Result<(), ClientError> {
        if self.broken {
            return Ok(());
        }
        let waited = self.timeout.min(CLOSE_WAIT);
        self.exchange(&Request::CloseSession, waited).map(drop)
    }

    /// Notes that the server is closing the connection, so that nothing more is sent on it.
    pub(crate) fn give_up(&mut self) {
        self.broken = true;
    }

    /// Whether the server serves reads only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The watch events that have come since the last call.
    pub(crate) fn take_notifications(&mut self) -> Vec<Notification> {
        std::mem::take(&mut self.notifications)
    }

    fn exchange(&mut self, request: &Request, patience: Duration) -> Result<Bytes, ClientError> {
        let expected = match request {
            Request::Auth(_) => xid::AUTH,
            _ => self.next_xid(),
        };
        self.send(expected, request)?;
        self.await_reply(expected, patience)
    }

    fn next_xid(&mut self) -> i32 {
        // Positive for ever: the negative ones mean something.
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        self.last_xid
    }

    /// Waits for the reply that is due next.
    fn await_reply(&mut self, expected: i32, patience: Duration) -> Result<Bytes, ClientError> {
        let wait = Wait {
            since: Instant::now(),
            patience,
            session_timeout: Some(self.timeout),
        };
        loop {
            let frame = self.receive(wait)?;
            let mut reader = Reader::with_limit(&frame, frame.len());
            let header =
                ReplyHeader::read(&mut reader).map_err(|source| self.undecodable(source))?;
            match header.xid {
                xid::PING => {}
                xid::NOTIFICATION => self.note_event(&mut reader, header.zxid)?,
                got if got == expected => {
                    return match header.err {
                        0 => Ok(reader.rest()),
                        code => Err(ClientError::Server(code)),
                    };
                }
                got => {
                    return Err(ClientError::OutOfOrder {
                        server: self.server,
                        expected,
                        got,
                    });
                }
            }
        }
    }

    fn note_event(&mut self, reader: &mut Reader<'_>, zxid: Zxid) -> Result<(), ClientError> {
        let event = WatcherEvent::read(reader).map_err(|source| self.undecodable(source))?;
        self.notifications.push(Notification { event, zxid });
        Ok(())
    }

    fn send(&mut self, xid: i32, request: &Request) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        write_frame(&mut frame, |out| {
            RequestHeader {
                xid,
                op: request.op().code(),
            }
            .write(out);
            request.write_body(out);
        });
        self.send_frame(&frame)
    }

    fn send_frame(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        self.stream
            .write_all(frame)
            .map_err(|source| self.io(source))?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Waits for a frame.
    fn receive(&mut self, wait: Wait) -> Result<Bytes, ClientError> {
        let deadline = wait.since + wait.patience;
        // Only silence while waiting counts: between requests nothing is read.
        self.last_heard = self.last_heard.max(wait.since);
        loop {
            if let Some(frame) =
                take_frame(&mut self.received, REPLY_BYTES_MAX).map_err(|source| {
                    ClientError::Frame {
                        server: self.server,
                        source,
                    }
                })?
            {
                return Ok(frame);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(ClientError::Timeout {
                    server: self.server,
                    waited: wait.patience,
                });
            }
            let mut wake = deadline;
            if let Some(timeout) = wait.session_timeout {
                let silence = timeout * 2 / 3;
                if now >= self.last_heard + silence {
                    return Err(ClientError::Silent {
                        server: self.server,
                        silence,
                    });
                }
                if now >= self.last_sent + timeout / 3 {
                    self.send(xid::PING, &Request::Ping)?;
                }
                wake = wake
                    .min(self.last_heard + silence)
                    .min(self.last_sent + timeout / 3);
            }
            self.read_some(wake.saturating_duration_since(now))?;
        }
    }

    /// Reads what is there, or waits for at most `patience`.
    fn read_some(&mut self, patience: Duration) -> Result<(), ClientError> {
        let mut chunk = [0; 16 << 10];
        self.stream
            .set_read_timeout(Some(patience.max(Duration::from_millis(1))))
            .map_err(|source| self.io(source))?;
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ClientError::Closed {
                server: self.server,
            }),
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                self.last_heard = Instant::now();
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(()),
                _ => Err(self.io(error)),
            },
        }
    }

    fn io(&self, source: std::io::Error) -> ClientError {
        ClientError::Io {
            server: self.server,
            source,
        }
    }

    /// The error for a reply that is not what its request calls for.
    pub(crate) fn undecodable(&self, source: jute_codec::DecodeError) -> ClientError {
        ClientError::Decode {
            server: self.server,
            source,
        }
    }
}
