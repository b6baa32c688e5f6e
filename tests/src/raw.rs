//! A blocking client of the wire: it sends what it is told, well-formed or not, and keeps what comes back in order.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use jute_codec::frame;
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, ReplyHeader, Request, RequestHeader, WatcherEvent, xid,
};
use jute_codec::{Jute, Reader, SessionId, Zxid};

/// Longest frame that the client takes, in bytes: far above what servers are configured to accept.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A host that is cut off says nothing, and the system would wait for minutes.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// An orderly end of the stream.
    Fin,
    /// A reset.
    Reset,
}

/// What came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A frame's payload.
    Frame(Bytes),
    /// The connection ended, at a frame boundary or not.
    Closed(Closing),
    /// Nothing until the deadline.
    Nothing,
}

/// A reply to a request: its header and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The header.
    pub header: ReplyHeader,
    /// The record behind the header, empty for most failures.
    pub body: Bytes,
}

/// A watch notification: its header and event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The header; its `zxid` is that of the transaction that fired the watch.
    pub header: ReplyHeader,
    /// The event.
    pub event: WatcherEvent,
}

/// One connection to a server.
///
/// [`Self::receive`] sees every frame in its order. [`Self::handshake`], [`Self::request`] and [`Self::reply`] are for
/// tests that are not about the order of frames: they set notifications aside, in order, for
/// [`Self::take_notifications`].
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    buffer: BytesMut,
    closed: Option<Closing>,
    notifications: VecDeque<Notification>,
    next_xid: i32,
    patience: Duration,
}

impl RawClient {
    /// Opens a connection; no bytes are sent yet.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            // Accepted and closed already: a wait with a limit takes that for a failure, one without does not.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                TcpStream::connect(address)?
            }
            outcome => outcome?,
        };
        // A server that has closed already makes these fail; what matters of it is seen when reading.
        let closed = stream.set_nodelay(true).is_err();
        if !closed {
            stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        }
        Ok(Self {
            stream,
            buffer: BytesMut::new(),
            closed: closed.then_some(Closing::Reset),
            notifications: VecDeque::new(),
            next_xid: 1,
            patience: Duration::from_secs(10),
        })
    }

    /// Opens a connection and begins a new session with it.
    ///
    /// # Errors
    /// When the server does not accept the connection or the session.
    pub fn connect(
        address: SocketAddr,
        timeout_ms: i32,
    ) -> anyhow::Result<(Self, ConnectResponse)> {
        let mut client = Self::open(address)?;
        let response = client.handshake(&connect_request(timeout_ms))?;
        ensure!(response.timeout_ms > 0, "the server refused a new session");
        Ok((client, response))
    }

    /// How long [`Self::handshake`], [`Self::request`] and [`Self::reply`] wait, 10 s unless set.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Numbers what is sent from now on as on the `nth` connection of a session: no number comes twice. ZooKeeper takes a commit
    /// for that of the request that waits by session and number alone, and clients of its own go on counting.
    pub fn number_as_on(&mut self, nth: i32) {
        self.next_xid = (nth & 0x7ff) << 20 | 1;
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one frame with the right length before it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_frame(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(frame::PREFIX_BYTES + payload.len());
        frame::write_frame(&mut out, |out| out.extend_from_slice(payload));
        self.send_bytes(&out)
    }

    /// Sends a request under the next number, without waiting, and returns the number.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, request: &Request) -> io::Result<i32> {
        let number = self.next_xid;
        self.next_xid = self.next_xid.wrapping_add(1);
        let mut out = Vec::new();
        frame::write_frame(&mut out, |out| {
            let header = RequestHeader {
                xid: number,
                op: request.op().code(),
            };
            header.write(out);
            request.write_body(out);
        });
        self.send_bytes(&out)?;
        Ok(number)
    }

    /// Says that nothing more will be sent, as `nc` does at the end of its input.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn shut_down_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// The next frame of any kind, in order of arrival.
    ///
    /// # Errors
    /// On errors of the socket other than its end, and for a frame of impossible length.
    pub fn receive(&mut self, deadline: Instant) -> anyhow::Result<Received> {
        loop {
            if let Some(payload) = frame::take_frame(&mut self.buffer, FRAME_BYTES_MAX)? {
                return Ok(Received::Frame(payload));
            }
            if let Some(closing) = self.fill(deadline)? {
                return Ok(closing);
            }
        }
    }

    /// Every byte from here to the end of the stream, as four-letter words are answered.
    ///
    /// # Errors
    /// On errors of the socket, and when the stream does not end before the deadline.
    pub fn receive_to_end(&mut self, deadline: Instant) -> anyhow::Result<(Bytes, Closing)> {
        loop {
            match self.fill(deadline)? {
                None => {}
                Some(Received::Closed(closing)) => {
                    let length = self.buffer.len();
                    return Ok((self.buffer.split_to(length).freeze(), closing));
                }
                Some(_) => bail!("the stream did not end: {:?}", self.buffer),
            }
        }
    }

    /// Reads once from the socket; `Some` when there is no more, now or ever.
    fn fill(&mut self, deadline: Instant) -> anyhow::Result<Option<Received>> {
        if let Some(closing) = self.closed {
            return Ok(Some(Received::Closed(closing)));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none; what has already arrived is still read with a past deadline.
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16 << 10];
        let closing = match self.stream.read(&mut chunk) {
            Ok(0) => Closing::Fin,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                return Ok(None);
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    return Ok(
                        (left.is_zero() || Instant::now() >= deadline).then_some(Received::Nothing)
                    );
                }
                ErrorKind::Interrupted => return Ok(None),
                ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted => Closing::Reset,
                _ => return Err(error).context("read from the server"),
            },
        };
        self.closed = Some(closing);
        Ok(Some(Received::Closed(closing)))
    }

    /// Sends a handshake and waits for the answer, which may say that the session is not valid.
    ///
    /// # Errors
    /// When the connection ends, or no well-formed answer comes in time.
    pub fn handshake(&mut self, request: &ConnectRequest) -> anyhow::Result<ConnectResponse> {
        self.send_frame(&request.to_vec())?;
        match self.receive(Instant::now() + self.patience)? {
            Received::Frame(payload) => Ok(ConnectResponse::read(&mut Reader::new(&payload))?),
            other => bail!("no answer to the handshake: {other:?}"),
        }
    }

    /// Sends a request and waits for its reply, setting notifications aside.
    ///
    /// # Errors
    /// When the connection ends, or something else comes in place of the reply, or nothing in time.
    pub fn request(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let number = self.send(request)?;
        let reply = self.reply()?;
        let expected = match request {
            Request::Ping => xid::PING,
            _ => number,
        };
        ensure!(
            reply.header.xid == expected,
            "a reply to {expected} was due, {:?} came",
            reply.header
        );
        Ok(reply)
    }

    /// Waits for the next reply, setting notifications aside.
    ///
    /// # Errors
    /// When the connection ends, or no well-formed frame comes in time.
    pub fn reply(&mut self) -> anyhow::Result<Reply> {
        let deadline = Instant::now() + self.patience;
        loop {
            let payload = match self.receive(deadline)? {
                Received::Frame(payload) => payload,
                other => bail!("no reply: {other:?}"),
            };
            match notification(&payload)? {
                Some(notification) => self.notifications.push_back(notification),
                None => return split_reply(&payload),
            }
        }
    }

    /// The notifications set aside so far, in order of arrival.
    pub fn take_notifications(&mut self) -> Vec<Notification> {
        self.notifications.drain(..).collect()
    }
}

/// A handshake for a new session.
#[must_use]
pub fn connect_request(timeout_ms: i32) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session: SessionId::NONE,
        password: Some(Bytes::from_static(&[0; 16])),
        read_only: Some(false),
    }
}

/// Splits a frame into the header of a reply and the rest.
///
/// # Errors
/// When the frame is too short for a header.
pub fn split_reply(payload: &Bytes) -> anyhow::Result<Reply> {
    let mut reader = Reader::new(payload);
    let header = ReplyHeader::read(&mut reader).context("reply header")?;
    let mut body = payload.clone();
    body.advance(payload.len() - reader.remaining());
    Ok(Reply { header, body })
}

/// The notification in a frame, if its number says that it is one.
///
/// # Errors
/// When the frame is malformed.
pub fn notification(payload: &Bytes) -> anyhow::Result<Option<Notification>> {
    let reply = split_reply(payload)?;
    if reply.header.xid != xid::NOTIFICATION {
        return Ok(None);
    }
    let event = WatcherEvent::read(&mut Reader::new(&reply.body)).context("notification")?;
    Ok(Some(Notification {
        header: reply.header,
        event,
    }))
}

/// Sends a four-letter word, or any bytes in place of a handshake, and returns the whole answer.
///
/// # Errors
/// When the server does not accept the connection or does not close it in time.
pub fn four_letter_word(
    address: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> anyhow::Result<Bytes> {
    let mut client = RawClient::open(address)?;
    client.send_bytes(bytes)?;
    Ok(client.receive_to_end(Instant::now() + patience)?.0)
}
