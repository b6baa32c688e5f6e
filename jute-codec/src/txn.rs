//! Transactions, exactly as they stand in the log and in proposals: header, record, digest.
//!
//! ZooKeeper: `SerializeUtils.deserializeTxn`, `Util.marshallTxnEntry`.

use bytes::Bytes;

use crate::data::Acl;
use crate::digest::TxnDigest;
use crate::ids::{SessionId, Zxid};
use crate::proto::OpCode;
use crate::record::records;
use crate::{DecodeError, Jute, Reader, Text};

records! {
    /// Who asked for a transaction, when, and which it is.
    pub struct TxnHeader {
        /// The session.
        pub client_id: SessionId,
        /// The session's number for the request.
        pub cxid: i32,
        /// The transaction's id.
        pub zxid: Zxid,
        /// When the leader prepared it, in milliseconds since 1970 UTC.
        pub time: i64,
        /// The opcode; -1 when the request failed.
        pub op: i32,
    }

    /// create, create2.
    pub struct CreateTxn {
        /// The final path.
        pub path: Text,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The access control list, expanded.
        pub acl: Option<Vec<Acl>>,
        /// Whether the node belongs to the session.
        pub ephemeral: bool,
        /// The parent's stored cversion after it; -1 is unknown.
        pub parent_cversion: i32,
    }

    /// createContainer.
    pub struct CreateContainerTxn {
        /// The final path.
        pub path: Text,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The access control list, expanded.
        pub acl: Option<Vec<Acl>>,
        /// The parent's stored cversion after it; -1 is unknown.
        pub parent_cversion: i32,
    }

    /// createTTL.
    pub struct CreateTtlTxn {
        /// The final path.
        pub path: Text,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The access control list, expanded.
        pub acl: Option<Vec<Acl>>,
        /// The parent's stored cversion after it; -1 is unknown.
        pub parent_cversion: i32,
        /// How long the node may be left alone, in milliseconds.
        pub ttl_ms: i64,
    }

    /// delete, deleteContainer.
    pub struct DeleteTxn {
        /// The path.
        pub path: Text,
    }

    /// setData, reconfig.
    pub struct SetDataTxn {
        /// The path.
        pub path: Text,
        /// The data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// The version after it.
        pub version: i32,
    }

    /// setACL.
    pub struct SetAclTxn {
        /// The path.
        pub path: Text,
        /// The access control list, expanded.
        pub acl: Option<Vec<Acl>>,
        /// The version of the list after it.
        pub version: i32,
    }

    /// check; only inside a multi.
    pub struct CheckVersionTxn {
        /// The path.
        pub path: Text,
        /// The version that was found, plus one.
        pub version: i32,
    }
}

/// What a transaction changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a variant is the opcode of the same name, documented there"
)]
pub enum Txn {
    Create(CreateTxn),
    Create2(CreateTxn),
    CreateContainer(CreateContainerTxn),
    CreateTtl(CreateTtlTxn),
    Delete(DeleteTxn),
    DeleteContainer(DeleteTxn),
    SetData(SetDataTxn),
    SetAcl(SetAclTxn),
    Reconfig(SetDataTxn),
    Check(CheckVersionTxn),
    /// The sub-transactions; if one is [`Txn::Error`] the whole has no effect.
    Multi(Vec<Self>),
    CreateSession {
        timeout_ms: i32,
    },
    /// The paths to delete; `None` in logs of servers that did not list them.
    CloseSession(Option<Vec<Text>>),
    /// The code that the request failed with; no effect.
    Error(i32),
}

/// A whole transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnEntry {
    /// Who, when, which.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn,
    /// The digest of the tree after it, if the leader computed one.
    pub digest: Option<TxnDigest>,
}

/// The fewest bytes of a sub-transaction: its type, the length of its record, and an error's code or a null path.
const SUB_TXN_BYTES_MIN: usize = 12;

/// Bytes of a digest behind a record.
const DIGEST_BYTES: usize = 12;

impl Txn {
    /// The path of the one node that this changes; `None` if there are several or none.
    #[must_use]
    pub const fn path(&self) -> Option<&Text> {
        match self {
            Self::Create(txn) | Self::Create2(txn) => Some(&txn.path),
            Self::CreateContainer(txn) => Some(&txn.path),
            Self::CreateTtl(txn) => Some(&txn.path),
            Self::Delete(txn) | Self::DeleteContainer(txn) => Some(&txn.path),
            Self::SetData(txn) | Self::Reconfig(txn) => Some(&txn.path),
            Self::SetAcl(txn) => Some(&txn.path),
            Self::Check(_)
            | Self::Multi(_)
            | Self::CreateSession { .. }
            | Self::CloseSession(_)
            | Self::Error(_) => None,
        }
    }

    /// The opcode that goes into the header of a transaction like this.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::DeleteContainer(_) => OpCode::DeleteContainer,
            Self::SetData(_) => OpCode::SetData,
            Self::SetAcl(_) => OpCode::SetAcl,
            Self::Reconfig(_) => OpCode::Reconfig,
            Self::Check(_) => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::CreateSession { .. } => OpCode::CreateSession,
            Self::CloseSession(_) => OpCode::CloseSession,
            Self::Error(_) => OpCode::Error,
        }
    }

    /// Appends the record, without header and digest.
    pub fn write_record(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(txn) | Self::Create2(txn) => txn.write(out),
            Self::CreateContainer(txn) => txn.write(out),
            Self::CreateTtl(txn) => txn.write(out),
            Self::Delete(txn) | Self::DeleteContainer(txn) => txn.write(out),
            Self::SetData(txn) | Self::Reconfig(txn) => txn.write(out),
            Self::SetAcl(txn) => txn.write(out),
            Self::Check(txn) => txn.write(out),
            Self::Multi(txns) => write_multi(txns, out),
            Self::CreateSession { timeout_ms } => timeout_ms.write(out),
            Self::CloseSession(None) => {}
            Self::CloseSession(Some(paths)) => paths.write(out),
            Self::Error(code) => code.write(out),
        }
    }

    fn read_record(op: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(OpCode::Create) => Self::Create(read_create(reader)?),
            Some(OpCode::SetAcl) => Self::SetAcl(Jute::read(reader)?),
            Some(OpCode::Reconfig) => Self::Reconfig(Jute::read(reader)?),
            Some(OpCode::Multi) => Self::Multi(read_multi(reader)?),
            Some(OpCode::CreateSession) => Self::CreateSession {
                timeout_ms: reader.i32()?,
            },
            Some(OpCode::CloseSession) => Self::CloseSession(read_close_session(reader)?),
            Some(OpCode::Check) => return Err(unexpected_type(op)),
            _ => Self::read_sub_record(op, reader)?,
        })
    }

    /// Reads one of the records that may also stand inside a multi, and those that only may.
    fn read_sub_record(op: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(OpCode::Create) => Self::Create(Jute::read(reader)?),
            Some(OpCode::Create2) => Self::Create2(Jute::read(reader)?),
            Some(OpCode::CreateContainer) => Self::CreateContainer(Jute::read(reader)?),
            Some(OpCode::CreateTtl) => Self::CreateTtl(Jute::read(reader)?),
            Some(OpCode::Delete) => Self::Delete(Jute::read(reader)?),
            Some(OpCode::DeleteContainer) => Self::DeleteContainer(Jute::read(reader)?),
            Some(OpCode::SetData) => Self::SetData(Jute::read(reader)?),
            Some(OpCode::Check) => Self::Check(Jute::read(reader)?),
            Some(OpCode::Error) => Self::Error(reader.i32()?),
            _ => return Err(unexpected_type(op)),
        })
    }
}

fn unexpected_type(op: i32) -> DecodeError {
    DecodeError::UnexpectedValue {
        what: "transaction type",
        value: op.into(),
    }
}

/// A create record of a server before 3.4 ends behind `ephemeral`.
fn read_create(reader: &mut Reader<'_>) -> Result<CreateTxn, DecodeError> {
    let path = Text::read(reader)?;
    let data = reader.buffer()?;
    let acl = reader.vector()?;
    let ephemeral = reader.bool()?;
    let parent_cversion = if reader.remaining() == 0 {
        -1
    } else {
        reader.i32()?
    };
    Ok(CreateTxn {
        path,
        data,
        acl,
        ephemeral,
        parent_cversion,
    })
}

/// With the list of paths, without it, and without it but with a digest: told apart by what is left, because two
/// paths (what a digest's version would claim) need more bytes than a digest has.
fn read_close_session(reader: &mut Reader<'_>) -> Result<Option<Vec<Text>>, DecodeError> {
    match reader.remaining() {
        0 => Ok(None),
        DIGEST_BYTES if reader.clone().i32()? == crate::digest::DIGEST_VERSION => Ok(None),
        _ => reader.vector(),
    }
}

fn read_multi(reader: &mut Reader<'_>) -> Result<Vec<Txn>, DecodeError> {
    let count = reader.i32()?;
    if count == -1 {
        return Err(DecodeError::Null {
            what: "the list of sub-transactions",
        });
    }
    // As for vectors: the count is only a claim.
    let count = usize::try_from(count).unwrap_or(0);
    let mut txns = Vec::with_capacity(count.min(reader.remaining() / SUB_TXN_BYTES_MIN));
    for _ in 0..count {
        let op = reader.i32()?;
        let record = reader.buffer()?.ok_or(DecodeError::Null {
            what: "a sub-transaction",
        })?;
        txns.push(Txn::read_sub_record(
            op,
            &mut Reader::with_limit(&record, record.len()),
        )?);
    }
    Ok(txns)
}

fn write_multi(txns: &[Txn], out: &mut Vec<u8>) {
    i32::try_from(txns.len())
        .expect("frames are bounded far below 2 GiB")
        .write(out);
    for txn in txns {
        txn.op().code().write(out);
        let length_at = out.len();
        0i32.write(out);
        txn.write_record(out);
        let length =
            i32::try_from(out.len() - length_at - 4).expect("frames are bounded far below 2 GiB");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl TxnEntry {
    /// Decodes a payload of the log or of a proposal; bytes behind the digest are ignored.
    ///
    /// # Errors
    /// When the payload is not a transaction that a server may apply.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        // What has been accepted once must be readable for ever, so only the payload's own length bounds it.
        let mut reader = Reader::with_limit(payload, payload.len());
        let header = TxnHeader::read(&mut reader)?;
        let txn = Txn::read_record(header.op, &mut reader)?;
        let digest = if reader.remaining() >= DIGEST_BYTES {
            Some(TxnDigest::read(&mut reader)?)
        } else {
            None
        };
        Ok(Self {
            header,
            txn,
            digest,
        })
    }

    /// Appends the payload of the log and of proposals.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.header.write(out);
        self.txn.write_record(out);
        if let Some(digest) = &self.digest {
            digest.write(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(txn: Txn) -> TxnEntry {
        let header = TxnHeader {
            client_id: SessionId(7),
            cxid: 1,
            zxid: Zxid(2),
            time: 3,
            op: txn.op().code(),
        };
        TxnEntry {
            header,
            txn,
            digest: None,
        }
    }

    fn payload(entry: &TxnEntry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.write(&mut out);
        out
    }

    fn decode(payload: Vec<u8>) -> Result<TxnEntry, DecodeError> {
        TxnEntry::decode(&Bytes::from(payload))
    }

    const DIGEST: Option<TxnDigest> = Some(TxnDigest {
        version: crate::digest::DIGEST_VERSION,
        tree_digest: 0x1_d581_b42a,
    });

    /// `storage-formats.md` §5.2: a check is a transaction only as part of a multi.
    #[test]
    fn a_check_stands_only_inside_a_multi() {
        let check = Txn::Check(CheckVersionTxn {
            path: "/a".into(),
            version: 1,
        });
        let inside = entry(Txn::Multi(vec![check.clone()]));
        assert_eq!(decode(payload(&inside)), Ok(inside));
        assert!(matches!(
            decode(payload(&entry(check))),
            Err(DecodeError::UnexpectedValue { value: 13, .. })
        ));
    }

    #[test]
    fn only_what_may_be_part_of_a_multi_is_read_inside_one() {
        for txn in [
            Txn::Multi(Vec::new()),
            Txn::CreateSession { timeout_ms: 1 },
            Txn::CloseSession(Some(Vec::new())),
            Txn::SetAcl(SetAclTxn {
                path: "/a".into(),
                acl: None,
                version: 1,
            }),
            Txn::Reconfig(SetDataTxn {
                path: "/a".into(),
                data: None,
                version: -1,
            }),
        ] {
            let op = txn.op().code();
            let outcome = decode(payload(&entry(Txn::Multi(vec![txn]))));
            assert!(
                matches!(outcome, Err(DecodeError::UnexpectedValue { value, .. }) if value == i64::from(op)),
                "{op}: {outcome:?}"
            );
        }
    }

    /// A server with a larger `jute.maxbuffer` has accepted it, alone or in a multi.
    #[test]
    fn data_above_the_default_limit_is_readable_in_every_place() {
        let set = Txn::SetData(SetDataTxn {
            path: "/a".into(),
            data: Some(Bytes::from(vec![0; Reader::DEFAULT_LIMIT + 1])),
            version: 1,
        });
        for txn in [set.clone(), Txn::Multi(vec![set])] {
            let entry = entry(txn);
            assert_eq!(decode(payload(&entry)), Ok(entry));
        }
    }

    #[test]
    fn a_multi_without_a_list_is_refused() {
        let mut bytes = payload(&entry(Txn::Multi(Vec::new())));
        let count_at = bytes.len() - 4;
        bytes[count_at..].copy_from_slice(&(-1i32).to_be_bytes());
        assert!(matches!(decode(bytes), Err(DecodeError::Null { .. })));
    }

    /// `storage-formats.md` §5.5.
    #[test]
    fn close_session_is_told_apart_by_what_is_left() {
        for paths in [
            None,
            Some(Vec::new()),
            Some(vec!["/a".into()]),
            Some(vec!["/a".into(), "/b".into()]),
        ] {
            for digest in [None, DIGEST] {
                let mut entry = entry(Txn::CloseSession(paths.clone()));
                entry.digest = digest;
                assert_eq!(decode(payload(&entry)), Ok(entry));
            }
        }
    }

    /// `storage-formats.md` §5.5: logs of servers before 3.4.
    #[test]
    fn a_create_that_ends_behind_ephemeral_is_of_version_zero() {
        let create = CreateTxn {
            path: "/a".into(),
            data: Some(Bytes::from_static(b"x")),
            acl: Some(vec![Acl::open()]),
            ephemeral: true,
            parent_cversion: -1,
        };
        let short = |txn| {
            let mut bytes = payload(&entry(txn));
            bytes.truncate(bytes.len() - 4);
            decode(bytes)
        };
        assert_eq!(
            short(Txn::Create(create.clone())),
            Ok(entry(Txn::Create(create.clone())))
        );
        assert!(matches!(
            short(Txn::Create2(create)),
            Err(DecodeError::EndOfRecord { .. })
        ));
    }

    #[test]
    fn null_and_empty_data_stay_apart() {
        for data in [None, Some(Bytes::new())] {
            let entry = entry(Txn::SetData(SetDataTxn {
                path: "/a".into(),
                data,
                version: 1,
            }));
            assert_eq!(decode(payload(&entry)), Ok(entry));
        }
    }
}
