//! Writes that are carried out all or none.

use bytes::Bytes;
use jute_codec::proto::{
    CheckVersionRequest, CreateFlags, DeleteRequest, MultiOp, MultiOps, MultiResult, Reply,
    Request, SetDataRequest,
};
use jute_codec::{Acl, ErrorCode, Text};

use super::client::{Client, create_request, unexpected};
use super::error::Error;
use crate::path::PathError;

/// Writes that are carried out all or none, in order.
#[derive(Debug)]
#[must_use = "nothing is sent before commit"]
pub struct Transaction<'a> {
    client: &'a Client,
    ops: Result<Vec<MultiOp>, PathError>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            ops: Ok(Vec::new()),
        }
    }

    /// Creates a node of a kind without a time to live.
    pub fn create(
        self,
        path: &str,
        data: impl Into<Bytes>,
        flags: CreateFlags,
        acl: &[Acl],
    ) -> Self {
        let data = data.into();
        self.and(|client| {
            let request = create_request(client.new_path(path, flags)?, data, flags, acl);
            Ok(match flags {
                CreateFlags::Container => MultiOp::CreateContainer(request),
                _ => MultiOp::Create2(request),
            })
        })
    }

    /// Deletes a node; `version` -1 is any.
    pub fn delete(self, path: &str, version: i32) -> Self {
        self.and(|client| {
            let path = Some(client.deletable(path)?);
            Ok(MultiOp::Delete(DeleteRequest { path, version }))
        })
    }

    /// Sets a node's data; `version` -1 is any.
    pub fn set(self, path: &str, data: impl Into<Bytes>, version: i32) -> Self {
        let data = Some(data.into());
        self.and(|client| {
            Ok(MultiOp::SetData(SetDataRequest {
                path: Some(client.existing(path)?),
                data,
                version,
            }))
        })
    }

    /// Goes on only if a node is there and has this version; -1 is any.
    pub fn check(self, path: &str, version: i32) -> Self {
        self.and(|client| {
            let path = Some(client.existing(path)?);
            Ok(MultiOp::Check(CheckVersionRequest { path, version }))
        })
    }

    /// Carries all of it out, or nothing. The results are those of the writes, in their order; paths in them are as
    /// given, with numbers of sequential nodes.
    ///
    /// # Errors
    /// The first write that could not be carried out says why: see [`MultiError`]. Nothing was changed then, unless the
    /// error [is ambiguous](Error::is_ambiguous).
    pub async fn commit(self) -> Result<Vec<MultiResult>, MultiError> {
        let ops = self.ops.map_err(Error::from)?;
        let client = self.client;
        let Reply::Multi(results) = client.submit(Request::Multi(MultiOps(ops))).await? else {
            return Err(unexpected().into());
        };
        let failed = results
            .iter()
            .enumerate()
            .find_map(|(at, result)| match result {
                MultiResult::Error(code)
                    if *code != 0 && *code != ErrorCode::RuntimeInconsistency.code() =>
                {
                    Some((at, *code))
                }
                _ => None,
            });
        if let Some((at, code)) = failed {
            return Err(MultiError {
                at: Some(at),
                error: Error::Server(code),
            });
        }
        let strip = |path: Text| client.visible(&path).into();
        Ok(results
            .into_iter()
            .map(|result| match result {
                MultiResult::Create(path) => MultiResult::Create(strip(path)),
                MultiResult::Create2(path, stat) => MultiResult::Create2(strip(path), stat),
                other => other,
            })
            .collect())
    }

    fn and(mut self, op: impl FnOnce(&Client) -> Result<MultiOp, PathError>) -> Self {
        if let Ok(ops) = &mut self.ops {
            match op(self.client) {
                Ok(op) => ops.push(op),
                Err(error) => self.ops = Err(error),
            }
        }
        self
    }
}

/// Why a transaction was not carried out, or is not known to have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct MultiError {
    /// Which of the writes, from 0, could not be carried out; none when it failed as a whole.
    pub at: Option<usize>,
    /// Why.
    pub error: Error,
}

impl From<Error> for MultiError {
    fn from(error: Error) -> Self {
        Self { at: None, error }
    }
}

impl From<MultiError> for Error {
    fn from(error: MultiError) -> Self {
        error.error
    }
}
