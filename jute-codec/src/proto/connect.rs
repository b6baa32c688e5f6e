//! The handshake.

use bytes::Bytes;

use crate::ids::{SessionId, Zxid};
use crate::writer::write_buffer;
use crate::{DecodeError, Jute, Reader};

/// Bytes of a session password.
pub const PASSWORD_BYTES: usize = 16;

/// The first frame from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// 0; ignored.
    pub protocol_version: i32,
    /// The newest transaction that the client has seen.
    pub last_zxid_seen: Zxid,
    /// The session timeout that the client would like, in milliseconds.
    pub timeout_ms: i32,
    /// The session to re-attach to, or none.
    pub session: SessionId,
    /// Its password; ignored for a new session.
    pub password: Option<Bytes>,
    /// Whether a read-only server will do; `None` from clients that know no such servers and expect no such field.
    pub read_only: Option<bool>,
}

impl Jute for ConnectRequest {
    const MIN_BYTES: usize = 28;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: reader.i32()?,
            last_zxid_seen: Zxid::read(reader)?,
            timeout_ms: reader.i32()?,
            session: SessionId::read(reader)?,
            password: reader.buffer()?,
            read_only: reader.bool().ok(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.protocol_version.write(out);
        self.last_zxid_seen.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        self.password.write(out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}

/// The first frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// 0.
    pub protocol_version: i32,
    /// The negotiated timeout in milliseconds; 0 when the session is not valid.
    pub timeout_ms: i32,
    /// The session, or none when it is not valid.
    pub session: SessionId,
    /// The session's password; zeros when it is not valid.
    pub password: [u8; PASSWORD_BYTES],
    /// Whether the server is read-only; present exactly if the request had the field.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a re-attachment that cannot be: unknown, expired or a wrong password.
    #[must_use]
    pub fn invalid(read_only: Option<bool>) -> Self {
        Self {
            protocol_version: 0,
            timeout_ms: 0,
            session: SessionId::NONE,
            password: [0; PASSWORD_BYTES],
            read_only,
        }
    }
}

impl Jute for ConnectResponse {
    const MIN_BYTES: usize = 36;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let protocol_version = reader.i32()?;
        let timeout_ms = reader.i32()?;
        let session = SessionId::read(reader)?;
        let password = reader.buffer()?.unwrap_or_default();
        let password = password[..]
            .try_into()
            .map_err(|_| DecodeError::UnexpectedValue {
                what: "password length",
                value: i64::try_from(password.len()).unwrap_or(i64::MAX),
            })?;
        Ok(Self {
            protocol_version,
            timeout_ms,
            session,
            password,
            read_only: reader.bool().ok(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.protocol_version.write(out);
        self.timeout_ms.write(out);
        self.session.write(out);
        write_buffer(Some(&self.password), out);
        if let Some(read_only) = self.read_only {
            read_only.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<ConnectRequest, DecodeError> {
        ConnectRequest::read(&mut Reader::new(&Bytes::copy_from_slice(bytes)))
    }

    /// `client-protocol.md` §3.1.
    #[test]
    fn only_the_last_byte_of_the_handshake_is_optional() {
        let full = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(1),
            timeout_ms: 10_000,
            session: SessionId(2),
            password: Some(Bytes::from_static(&[3; PASSWORD_BYTES])),
            read_only: Some(true),
        };
        let bytes = full.to_vec();
        assert_eq!(bytes.len(), 45);
        let old = ConnectRequest {
            read_only: None,
            ..full.clone()
        };
        assert_eq!(read(&bytes), Ok(full));
        assert_eq!(read(&bytes[..44]), Ok(old));
        for length in 0..44 {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_password_may_be_null_but_not_of_another_negative_length() {
        let mut bytes = [0; 29];
        bytes[24..28].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(read(&bytes).map(|request| request.password), Ok(None));
        bytes[24..28].copy_from_slice(&(-2i32).to_be_bytes());
        assert!(read(&bytes).is_err());
    }
}
