//! One connection as its client sees it: what was sent, what must come, and what does.

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::proto::{OpCode, Reply, ReplyHeader, Request, WatcherEvent, xid};
use jute_codec::{ErrorCode, Jute, Reader, Zxid};

use super::check::{
    Check, broken, event_before_reveal, never_back_in_time, nothing_invented, read_your_writes,
    replies_match_model, session_fifo, watches_exact,
};
use super::ledger::Witness;
use super::model::watches::{Told, Watches};
use super::model::{self, Answer, Who};

/// What a session has been shown so far; it outlives connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The newest transaction shown.
    pub shown: Zxid,
    /// The newest write of its own that was answered.
    pub written: Zxid,
}

#[derive(Debug)]
struct Sent {
    xid: i32,
    who: Who,
    request: Request,
}

/// What came.
#[derive(Debug)]
pub enum Got {
    /// A notification.
    Event,
    /// A reply: to what, and what.
    Reply(Box<(Request, Answer)>),
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct View {
    /// The connection.
    pub conn: u64,
    /// The session and the identities.
    pub who: Who,
    sent: VecDeque<Sent>,
    watches: Watches,
    // Events up to here have come or are in `due`.
    cursor: Zxid,
    due: VecDeque<Told>,
    caught_up: Vec<Told>,
}

/// Whether a request becomes a transaction.
#[must_use]
pub const fn is_write(request: &Request) -> bool {
    matches!(
        request.op(),
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::Reconfig
            | OpCode::CloseSession
    )
}

impl View {
    /// A connection that has just been given a session which has been shown `shown`.
    #[must_use]
    pub fn new(conn: u64, who: Who, shown: Zxid) -> Self {
        Self {
            conn,
            who,
            sent: VecDeque::new(),
            watches: Watches::default(),
            cursor: shown,
            due: VecDeque::new(),
            caught_up: Vec::new(),
        }
    }

    /// A request goes out.
    pub fn on_sent(&mut self, xid: i32, request: Request) {
        self.sent.push_back(Sent {
            xid,
            who: self.who.clone(),
            request,
        });
    }

    /// Requests without a reply.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.sent.len()
    }

    /// A frame comes in.
    ///
    /// # Errors
    /// When it should not have come, or not yet, or says something wrong.
    pub fn on_frame(
        &mut self,
        frame: &Bytes,
        ledger: &impl Witness,
        seen: &mut Seen,
    ) -> Check<Got> {
        let mut reader = Reader::new(frame);
        let Ok(header) = ReplyHeader::read(&mut reader) else {
            return broken(
                replies_match_model::NAME,
                format!("a frame without a header: {frame:?}"),
            );
        };
        // An event of a setWatches names no transaction.
        if header.zxid > Zxid::ZERO && ledger.at(header.zxid).is_none() {
            return nothing_invented::unasked(format!("{}, which a client is shown", header.zxid));
        }
        if header.xid == xid::NOTIFICATION {
            self.on_event(header.zxid, &mut reader, ledger)?;
            seen.shown = seen.shown.max(header.zxid);
            return Ok(Got::Event);
        }
        self.on_reply(&header, &mut reader, ledger, seen)
    }

    fn on_event(&mut self, zxid: Zxid, reader: &mut Reader<'_>, ledger: &impl Witness) -> Check {
        let Ok(WatcherEvent { kind, path, .. }) = WatcherEvent::read(reader) else {
            return broken(watches_exact::NAME, "an event that cannot be decoded");
        };
        let told = Told {
            zxid,
            event: kind,
            path: path.to_string(),
        };
        if zxid == Zxid(-1) {
            self.caught_up.push(told);
            return Ok(());
        }
        self.look_ahead(zxid, ledger);
        watches_exact::on_event(&told, &mut self.due)
    }

    /// Everything up to `zxid` has happened: which events follow from it?
    fn look_ahead(&mut self, zxid: Zxid, ledger: &impl Witness) {
        while let Some((next, moment)) = ledger.behind(self.cursor)
            && next <= zxid
        {
            self.cursor = next;
            for fire in moment.fires.iter() {
                self.due
                    .extend(self.watches.fire(self.cursor, fire, &self.who.ids));
            }
        }
    }

    fn on_reply(
        &mut self,
        header: &ReplyHeader,
        reader: &mut Reader<'_>,
        ledger: &impl Witness,
        seen: &mut Seen,
    ) -> Check<Got> {
        let expected = self.sent.front().map(|sent| match sent.request {
            Request::Ping => xid::PING,
            _ => sent.xid,
        });
        session_fifo::on_reply(expected, header.xid)?;
        let Some(Sent { xid, who, request }) = self.sent.pop_front() else {
            return broken(session_fifo::NAME, "a reply to nothing");
        };
        let body = if header.err == 0 {
            Reply::read(request.op(), reader)
        } else {
            Ok(Reply::Empty)
        };
        let Ok(body) = body else {
            return broken(
                replies_match_model::NAME,
                format!("the reply to {request:?} cannot be decoded"),
            );
        };
        let found = Answer {
            err: header.err,
            body,
        };
        let zxid = header.zxid;
        if matches!(request, Request::Auth(_)) {
            let expected = if zxid == Zxid::ZERO {
                found.err
            } else {
                ErrorCode::SystemError.code()
            };
            replies_match_model::on_reply(
                &request,
                zxid,
                found.clone(),
                Answer {
                    err: expected,
                    ..found.clone()
                },
            )?;
            return Ok(Got::Reply(Box::new((request, found))));
        }
        if !is_write(&request) {
            read_your_writes::on_read(seen.written, zxid)?;
        }
        never_back_in_time::on_shown(seen.shown, zxid)?;
        self.look_ahead(zxid, ledger);
        event_before_reveal::on_reply(zxid, &self.due)?;
        seen.shown = zxid;
        let expected = if is_write(&request) {
            seen.written = zxid;
            ledger.answer(zxid, who.session, xid)?.clone()
        } else {
            self.read(&request, &who, zxid, ledger)?
        };
        replies_match_model::on_reply(&request, zxid, found.clone(), expected)?;
        Ok(Got::Reply(Box::new((request, found))))
    }

    fn read(
        &mut self,
        request: &Request,
        who: &Who,
        zxid: Zxid,
        ledger: &impl Witness,
    ) -> Check<Answer> {
        let Some(moment) = ledger.at(zxid) else {
            return nothing_invented::unasked(format!("the state at {zxid}"));
        };
        let catch_up = self.watches.set(request, &moment.tree);
        watches_exact::on_catch_up(&std::mem::take(&mut self.caught_up), &catch_up)?;
        match model::read(&moment.tree, who, request, &mut self.watches) {
            Some(answer) => Ok(answer),
            None => nothing_invented::unasked(format!("{request:?}")),
        }
    }
}
