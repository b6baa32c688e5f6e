//! What a server should do, written a second time: from `semantics.md`, slowly and plainly, without a call into zabd.
//!
//! | module | what it holds |
//! |---|---|
//! | [`tree`] | znodes in one ordered map |
//! | [`acl`] | access control lists |
//! | `write` | what each request does to the tree, what it is answered, which watches it fires |
//! | `read` | what each read is answered |
//! | [`watches`] | one connection's watches |

pub mod acl;
mod read;
pub mod tree;
pub mod watches;
mod write;

use std::rc::Rc;

use jute_codec::data::{Acl, Id};
use jute_codec::proto::{EventType, MultiResult, Reply};

pub use read::read;
pub use write::{close_session, configure, delete_abandoned, reconfigure, write};

/// Who asks.
#[derive(Debug, Clone)]
pub struct Who {
    /// The session's id.
    pub session: i64,
    /// The connection's identities when the request was sent.
    pub ids: Rc<[Id]>,
    /// What it is answered when it would have ephemeral nodes and may not, as its session is one server's alone.
    pub no_ephemerals: Option<i32>,
}

/// What a request is answered: a result code, and a body where that is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result code.
    pub err: i32,
    /// The body.
    pub body: Reply,
}

impl Answer {
    pub(crate) const fn ok(body: Reply) -> Self {
        Self { err: 0, body }
    }

    pub(crate) const fn failed(err: i32) -> Self {
        Self {
            err,
            body: Reply::Empty,
        }
    }

    /// Lists whose order means nothing, in order.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        match &mut self.body {
            Reply::Names(names) => names.sort(),
            Reply::Children(reply) => reply.children.sort(),
            Reply::Multi(results) => {
                for result in results {
                    if let MultiResult::GetChildren(names) = result {
                        names.sort();
                    }
                }
            }
            _ => {}
        }
        self
    }
}

/// Which watches a change fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those in the data table.
    Data,
    /// Those in the child table.
    Children,
    /// Those in either, each connection once: of a node that is deleted.
    Both,
}

/// One firing of the watches at a path.
#[derive(Debug, Clone)]
pub struct Fire {
    /// Which watches.
    pub audience: Audience,
    /// What they are told.
    pub event: EventType,
    /// The path.
    pub path: Rc<str>,
    /// Who may not read this is not told.
    pub acl: Rc<[Acl]>,
}
