//! multi and multiRead: streams of typed sub-operations, and of typed results.

use bytes::Bytes;

use super::SetDataRequest;
use super::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, OpCode, PathWatchRequest,
};
use crate::data::Stat;
use crate::record::records;
use crate::{DecodeError, Jute, Reader, Text};

records! {
    /// What stands before each sub-operation and each result, and ends the stream.
    pub struct MultiHeader {
        /// The opcode of what follows; -1 for an error and at the end.
        pub op: i32,
        /// Whether the stream ends here.
        pub done: bool,
        /// The result code; -1 in requests and at the end.
        pub err: i32,
    }
}

impl MultiHeader {
    /// The end of a stream.
    pub const END: Self = Self {
        op: -1,
        done: true,
        err: -1,
    };
}

/// A sub-operation, as decoded: which of them may stand together is not decided here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a variant is the opcode of the same name, documented there"
)]
pub enum MultiOp {
    Create(CreateRequest),
    Create2(CreateRequest),
    CreateContainer(CreateRequest),
    CreateTtl(CreateTtlRequest),
    Delete(DeleteRequest),
    SetData(SetDataRequest),
    Check(CheckVersionRequest),
    GetData(PathWatchRequest),
    GetChildren(PathWatchRequest),
}

impl MultiOp {
    /// The opcode that goes into the header.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check(_) => OpCode::Check,
            Self::GetData(_) => OpCode::GetData,
            Self::GetChildren(_) => OpCode::GetChildren,
        }
    }

    fn read(op: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(OpCode::Create) => Self::Create(Jute::read(reader)?),
            Some(OpCode::Create2) => Self::Create2(Jute::read(reader)?),
            Some(OpCode::CreateContainer) => Self::CreateContainer(Jute::read(reader)?),
            Some(OpCode::CreateTtl) => Self::CreateTtl(Jute::read(reader)?),
            Some(OpCode::Delete) => Self::Delete(Jute::read(reader)?),
            Some(OpCode::SetData) => Self::SetData(Jute::read(reader)?),
            Some(OpCode::Check) => Self::Check(Jute::read(reader)?),
            Some(OpCode::GetData) => Self::GetData(Jute::read(reader)?),
            Some(OpCode::GetChildren) => Self::GetChildren(Jute::read(reader)?),
            _ => {
                return Err(DecodeError::UnexpectedValue {
                    what: "multi sub-operation",
                    value: op.into(),
                });
            }
        })
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create(body) | Self::Create2(body) | Self::CreateContainer(body) => {
                body.write(out)
            }
            Self::CreateTtl(body) => body.write(out),
            Self::Delete(body) => body.write(out),
            Self::SetData(body) => body.write(out),
            Self::Check(body) => body.write(out),
            Self::GetData(body) | Self::GetChildren(body) => body.write(out),
        }
    }
}

/// The sub-operations of a multi or multiRead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultiOps(pub Vec<MultiOp>);

impl Jute for MultiOps {
    const MIN_BYTES: usize = MultiHeader::MIN_BYTES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        loop {
            let header = MultiHeader::read(reader)?;
            if header.done {
                return Ok(Self(ops));
            }
            ops.push(MultiOp::read(header.op, reader)?);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for op in &self.0 {
            MultiHeader {
                op: op.op().code(),
                done: false,
                err: -1,
            }
            .write(out);
            op.write_body(out);
        }
        MultiHeader::END.write(out);
    }
}

/// The result of one sub-operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// create: the final path.
    Create(Text),
    /// create2, createContainer, createTTL: the final path and the stat.
    Create2(Text, Stat),
    /// delete.
    Delete,
    /// setData: the stat.
    SetData(Stat),
    /// check.
    Check,
    /// getData: data and stat.
    GetData(Option<Bytes>, Stat),
    /// getChildren: names.
    GetChildren(Vec<Text>),
    /// A code: 0 before the sub-operation that failed, its own code, -2 behind it.
    Error(i32),
}

impl MultiResult {
    fn write(&self, out: &mut Vec<u8>) {
        let header = |op: OpCode| MultiHeader {
            op: op.code(),
            done: false,
            err: 0,
        };
        match self {
            Self::Create(path) => {
                header(OpCode::Create).write(out);
                path.write(out);
            }
            Self::Create2(path, stat) => {
                header(OpCode::Create2).write(out);
                path.write(out);
                stat.write(out);
            }
            Self::Delete => header(OpCode::Delete).write(out),
            Self::SetData(stat) => {
                header(OpCode::SetData).write(out);
                stat.write(out);
            }
            Self::Check => header(OpCode::Check).write(out),
            Self::GetData(data, stat) => {
                header(OpCode::GetData).write(out);
                data.write(out);
                stat.write(out);
            }
            Self::GetChildren(names) => {
                header(OpCode::GetChildren).write(out);
                names.write(out);
            }
            Self::Error(code) => {
                MultiHeader {
                    op: OpCode::Error.code(),
                    done: false,
                    err: *code,
                }
                .write(out);
                code.write(out);
            }
        }
    }

    /// Reads a stream of results, as a client does.
    ///
    /// # Errors
    /// When the stream ends early or holds a type that is no result.
    pub fn read_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut results = Vec::new();
        loop {
            let header = MultiHeader::read(reader)?;
            if header.done {
                return Ok(results);
            }
            results.push(match OpCode::from_i32(header.op) {
                Some(OpCode::Create) => Self::Create(Jute::read(reader)?),
                Some(OpCode::Create2) => Self::Create2(Jute::read(reader)?, Jute::read(reader)?),
                Some(OpCode::Delete) => Self::Delete,
                Some(OpCode::SetData) => Self::SetData(Jute::read(reader)?),
                Some(OpCode::Check) => Self::Check,
                Some(OpCode::GetData) => Self::GetData(Jute::read(reader)?, Jute::read(reader)?),
                Some(OpCode::GetChildren) => Self::GetChildren(Jute::read(reader)?),
                Some(OpCode::Error) => Self::Error(reader.i32()?),
                _ => {
                    return Err(DecodeError::UnexpectedValue {
                        what: "multi result",
                        value: header.op.into(),
                    });
                }
            });
        }
    }
}

/// Appends a whole stream of results.
pub fn write_multi_results(results: &[MultiResult], out: &mut Vec<u8>) {
    for result in results {
        result.write(out);
    }
    MultiHeader::END.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<MultiOps, DecodeError> {
        MultiOps::read(&mut Reader::new(&Bytes::copy_from_slice(bytes)))
    }

    /// `client-protocol.md` §7.1.
    #[test]
    fn done_alone_ends_the_stream() {
        assert_eq!(read(&[0, 0, 0, 0, 1, 0, 0, 0, 9]), Ok(MultiOps::default()));
        assert_eq!(
            read(&[0, 0, 0, 77, 2, 0xff, 0xff, 0xff, 0xff]),
            Ok(MultiOps::default())
        );
    }

    #[test]
    fn a_stream_without_an_end_is_refused() {
        let ops = MultiOps(vec![MultiOp::Delete(DeleteRequest {
            path: Some("/a".into()),
            version: -1,
        })]);
        let bytes = ops.to_vec();
        assert_eq!(read(&bytes), Ok(ops));
        for length in 0..bytes.len() {
            assert!(
                matches!(read(&bytes[..length]), Err(DecodeError::EndOfRecord { .. })),
                "{length}"
            );
        }
    }

    #[test]
    fn types_that_are_no_sub_operations_are_refused() {
        for op in [-11, -1, 0, 3, 7, 14, 16, 20, 22, 1000] {
            let header = MultiHeader {
                op,
                done: false,
                err: -1,
            };
            assert_eq!(
                read(&header.to_vec()),
                Err(DecodeError::UnexpectedValue {
                    what: "multi sub-operation",
                    value: op.into()
                })
            );
        }
    }
}
