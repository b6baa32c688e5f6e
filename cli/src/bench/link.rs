//! One connection: bytes out, frames in, and the handshake. Nothing is allocated for a request or a reply.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use jute_codec::frame::{PREFIX_BYTES, peek_length, write_frame};
use jute_codec::proto::{
    AuthPacket, ConnectRequest, ConnectResponse, OpCode, PASSWORD_BYTES, RequestHeader, xid,
};
use jute_codec::{Jute, Reader, SessionId, Zxid};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::alarm::Alarm;
use crate::invocation::Credential;

/// The largest reply taken, in bytes.
const REPLY_BYTES_MAX: usize = 128 << 20;
/// Room for replies at first; a connection that sees larger ones takes more.
const INPUT_BYTES: usize = 16 << 10;
/// Bytes of a reply's header.
const REPLY_HEADER_BYTES: usize = 16;

/// A session, on a connection or between two.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) password: [u8; PASSWORD_BYTES],
    /// As wished for, then as negotiated.
    pub(crate) timeout_ms: i32,
    /// The greatest zxid that was seen.
    pub(crate) last_zxid: Zxid,
}

impl Session {
    /// No session yet.
    pub(crate) fn new(timeout_ms: i32) -> Self {
        Self {
            id: SessionId::NONE,
            password: [0; PASSWORD_BYTES],
            timeout_ms,
            last_zxid: Zxid::ZERO,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.timeout_ms).unwrap_or(0).max(1))
    }
}

/// Why there is no connection with the session.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The server knows the session no more.
    Expired,
    /// It may go better with another server, or later.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something has come.
    Heard,
    /// The alarm went off.
    Alarm,
}

/// The header of a reply, and where its body is in the input.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) xid: i32,
    pub(crate) zxid: Zxid,
    pub(crate) err: i32,
    pub(crate) body: Range<usize>,
}

/// A connection that has passed the handshake.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// Frames to be sent; [`Self::turn`] sends them.
    pub(crate) out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// What of `input` was received and not yet taken.
    unread: Range<usize>,
}

impl Link {
    /// Connects and attaches to the session, or opens one if it is none, and presents the credentials.
    ///
    /// # Errors
    /// When the session has expired, or the connection breaks, or all that takes longer than `patience`.
    pub(crate) async fn open(
        server: SocketAddr,
        session: &mut Session,
        credentials: &[Credential],
        patience: Duration,
    ) -> Result<Self, OpenError> {
        tokio::time::timeout(patience, Self::shake_hands(server, session, credentials))
            .await
            .unwrap_or_else(|_| Err(OpenError::Io(ErrorKind::TimedOut.into())))
    }

    async fn shake_hands(
        server: SocketAddr,
        session: &mut Session,
        credentials: &[Credential],
    ) -> Result<Self, OpenError> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut link = Self {
            stream,
            out: Vec::new(),
            sent: 0,
            input: vec![0; INPUT_BYTES],
            unread: 0..0,
        };
        write_frame(&mut link.out, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: session.last_zxid,
                timeout_ms: session.timeout_ms,
                session: session.id,
                password: Some(Bytes::copy_from_slice(&session.password)),
                read_only: Some(false),
            }
            .write(out);
        });
        let payload = link.next_payload().await?;
        let payload = Bytes::copy_from_slice(&link.input[payload]);
        let response = ConnectResponse::read(&mut Reader::new(&payload))
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if response.timeout_ms <= 0 {
            return Err(OpenError::Expired);
        }
        session.id = response.session;
        session.password = response.password;
        session.timeout_ms = response.timeout_ms;
        for credential in credentials {
            link.authenticate(credential).await?;
        }
        Ok(link)
    }

    async fn authenticate(&mut self, credential: &Credential) -> io::Result<()> {
        self.write_request(xid::AUTH, OpCode::Auth, |out| {
            AuthPacket {
                kind: 0,
                scheme: Some(credential.scheme.as_str().into()),
                auth: Some(credential.secret.clone()),
            }
            .write(out);
        });
        let frame = loop {
            let payload = self.next_payload().await?;
            let frame = self.header(payload)?;
            if frame.xid == xid::AUTH {
                break frame;
            }
        };
        match frame.err {
            0 => Ok(()),
            _ => Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!("the server refused the {} credential", credential.scheme),
            )),
        }
    }

    /// Waits for a whole frame, sending what is to be sent.
    async fn next_payload(&mut self) -> io::Result<Range<usize>> {
        loop {
            if let Some(payload) = self.take_payload()? {
                return Ok(payload);
            }
            self.turn(None).await?;
        }
    }

    /// Appends a request to what is to be sent.
    pub(crate) fn write_request(&mut self, xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
        write_frame(&mut self.out, |out| {
            RequestHeader { xid, op: op.code() }.write(out);
            body(out);
        });
    }

    /// Sends what can be sent and receives what is there; waits until something came or the alarm goes off.
    ///
    /// # Errors
    /// When the connection is lost, also by the server's closing it.
    pub(crate) async fn turn(&mut self, mut alarm: Option<&mut Alarm>) -> io::Result<Turn> {
        poll_fn(|cx| {
            while self.sent < self.out.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(length)) => self.sent += length,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
            }
            let mut room = ReadBuf::new(&mut self.input[self.unread.end..]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if room.filled().is_empty() => {
                    return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(())) => {
                    self.unread.end += room.filled().len();
                    return Poll::Ready(Ok(Turn::Heard));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            match alarm.as_mut().map(|alarm| alarm.poll(cx)) {
                Some(Poll::Ready(rung)) => Poll::Ready(rung.map(|()| Turn::Alarm)),
                Some(Poll::Pending) | None => Poll::Pending,
            }
        })
        .await
    }

    /// The next reply that has come whole.
    ///
    /// # Errors
    /// When what came cannot be a reply.
    pub(crate) fn take_frame(&mut self) -> io::Result<Option<Frame>> {
        match self.take_payload()? {
            Some(payload) => self.header(payload).map(Some),
            None => Ok(None),
        }
    }

    /// The body of a reply; valid until the next [`Self::take_frame`].
    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        &self.input[frame.body.clone()]
    }

    fn take_payload(&mut self) -> io::Result<Option<Range<usize>>> {
        let unread = &self.input[self.unread.clone()];
        let needed = match peek_length(unread, REPLY_BYTES_MAX)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
        {
            Some(length) if unread.len() >= PREFIX_BYTES + length => {
                let start = self.unread.start + PREFIX_BYTES;
                self.unread.start = start + length;
                return Ok(Some(start..start + length));
            }
            Some(length) => PREFIX_BYTES + length,
            None => PREFIX_BYTES,
        };
        // The rest of a frame goes to the front, with room for all of it, and more.
        self.input.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.input.len() < 2 * needed {
            self.input.resize(2 * needed, 0);
        }
        Ok(None)
    }

    fn header(&self, payload: Range<usize>) -> io::Result<Frame> {
        let bytes = &self.input[payload.clone()];
        let Some(header) = bytes.first_chunk::<REPLY_HEADER_BYTES>() else {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("a reply of {} bytes", bytes.len()),
            ));
        };
        let [x0, x1, x2, x3, zxid @ .., e0, e1, e2, e3] = *header;
        Ok(Frame {
            xid: i32::from_be_bytes([x0, x1, x2, x3]),
            zxid: Zxid(i64::from_be_bytes(zxid)),
            err: i32::from_be_bytes([e0, e1, e2, e3]),
            body: payload.start + REPLY_HEADER_BYTES..payload.end,
        })
    }
}
