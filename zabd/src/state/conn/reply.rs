//! Replies to writes, made of what applying them came to.

use jute_codec::proto::{ConnectResponse, OpCode, ReplyHeader, write_multi_results};
use jute_codec::{ErrorCode, Jute, Zxid};

use super::ConnId;
use crate::state::apply::Outcome;
use crate::state::output::Outputs;

/// The request that a transaction came of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who waits for the reply.
    pub conn: ConnId,
    /// The client's number for the request.
    pub xid: i32,
    /// What the reply looks like.
    pub kind: ReplyKind,
}

/// What the reply to a write looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyKind {
    /// That of this opcode.
    Op(OpCode),
    /// The answer to a handshake.
    Connected(ConnectResponse),
    /// This error, whatever the transaction says.
    Refused(ErrorCode),
    /// The answer to a createSession from a client that has a session: a handshake's, again.
    Reconnected(ConnectResponse),
}

/// Adds the reply to `origin`, whose transaction is `zxid`.
pub(crate) fn write(origin: &Origin, zxid: Zxid, outcome: &Outcome, outputs: &mut Outputs) {
    let op = match &origin.kind {
        ReplyKind::Connected(response) => return outputs.connected(origin.conn, response),
        ReplyKind::Reconnected(response) => return outputs.reply_raw(origin.conn, response),
        ReplyKind::Refused(code) => {
            let header = ReplyHeader {
                xid: origin.xid,
                zxid,
                err: code.code(),
            };
            return outputs.reply(origin.conn, &header, |_| {});
        }
        ReplyKind::Op(op) => *op,
    };
    let err = match outcome {
        Outcome::Failed(code) => *code,
        _ => 0,
    };
    let header = ReplyHeader {
        xid: origin.xid,
        zxid,
        err,
    };
    outputs.reply(origin.conn, &header, |out| match outcome {
        Outcome::Done | Outcome::Failed(_) => {}
        Outcome::Created { path, stat } => {
            path.write(out);
            if op != OpCode::Create {
                stat.write(out);
            }
        }
        Outcome::Changed(stat) => stat.write(out),
        Outcome::Reconfigured(data, stat) => {
            data.write(out);
            stat.write(out);
        }
        Outcome::Multi(results) => write_multi_results(results, out),
    });
}
