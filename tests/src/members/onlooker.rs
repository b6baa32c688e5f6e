//! A client at a server that shows what it has, and changes nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::proto::{PathWatchRequest, Reply, ReplyHeader, Request, xid};
use jute_codec::{Jute as _, Reader, Text, Zxid};

use super::check::{Check, read_only_changes_nothing};
use super::chronicle::Chronicle;
use super::workload;
use crate::sim::check::{never_back_in_time, session_fifo};
use crate::sim::ledger::Witness as _;
use crate::sim::model::watches::Watches;
use crate::sim::model::{self, Answer, Who};
use crate::sim::rng::Rng;

/// What the client has asked, and what it was shown.
#[derive(Debug)]
pub(super) struct Onlooker {
    pub(super) since_us: i64,
    sent: VecDeque<(i32, Request)>,
    shown: Zxid,
}

impl Onlooker {
    pub(super) const fn new(since_us: i64, shown: Zxid) -> Self {
        Self {
            since_us,
            sent: VecDeque::new(),
            shown,
        }
    }

    /// Something to ask: to be shown something, or, now and then, for a change.
    pub(super) fn ask(&mut self, rng: &mut Rng, number: i32) -> Request {
        let path = |rng: &mut Rng| Some(Text::from(*rng.pick(&["/", "/a", "/b", "/a/x"])));
        let request = if rng.chance(1, 5) {
            workload::write(rng)
        } else {
            let read = PathWatchRequest {
                path: path(rng),
                watch: false,
            };
            match rng.below(3) {
                0 => Request::GetData(read),
                1 => Request::Exists(read),
                _ => Request::GetChildren2(read),
            }
        };
        self.sent.push_back((number, request.clone()));
        request
    }

    /// Something was answered. What the server shows may never be committed; where it is, it is what everybody sees.
    pub(super) fn on_frame(&mut self, frame: &Bytes, chronicle: &Chronicle) -> Check {
        let mut reader = Reader::new(frame);
        let Ok(header) = ReplyHeader::read(&mut reader) else {
            return read_only_changes_nothing::unreadable(frame);
        };
        if header.xid == xid::PING {
            return Ok(());
        }
        session_fifo::on_reply(self.sent.front().map(|(number, _)| *number), header.xid)?;
        let Some((_, request)) = self.sent.pop_front() else {
            return Ok(());
        };
        never_back_in_time::on_shown(self.shown, header.zxid)?;
        self.shown = header.zxid;
        if crate::sim::view::is_write(&request) {
            return read_only_changes_nothing::on_answered(&request, header.err);
        }
        let body = match header.err {
            0 => Reply::read(request.op(), &mut reader),
            _ => Ok(Reply::Empty),
        };
        let Ok(body) = body else {
            return read_only_changes_nothing::unreadable(frame);
        };
        let found = Answer {
            err: header.err,
            body,
        };
        let who = Who {
            session: 0,
            ids: std::rc::Rc::new([Id::new("ip", "127.0.0.1")]),
            no_ephemerals: None,
        };
        let expected = chronicle
            .at(header.zxid)
            .and_then(|moment| model::read(&moment.tree, &who, &request, &mut Watches::default()));
        match expected {
            Some(expected) if expected.clone().normalized() != found.clone().normalized() => {
                read_only_changes_nothing::shown(&request, header.zxid, &found, &expected)
            }
            _ => Ok(()),
        }
    }
}
