//! What clients bring: requests, signs of life, and the time in which there were none.

use jute_codec::SessionId;
use jute_codec::proto::Request;

use super::serving::{Serving, hearing_ms};
use super::{Around, Member};
use crate::replica::effect::Effect;
use crate::replica::primary::Turn;
use crate::replica::zab::ZabEffect;
use crate::state::conn::{ClientRequest, Submission, WriteBody};

impl Member {
    pub(super) fn on_wakeup(&mut self, around: &mut Around<'_>) {
        let now_ms = around.clock.monotonic_ms;
        self.on_overdue(now_ms);
        match &mut self.serving {
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => {
                let mut turn = Turn {
                    clock: around.clock,
                    state: around.state,
                    zab: Some(&self.zab),
                    made: &mut self.made,
                };
                leading.primary.on_wakeup(&mut turn);
            }
            Serving::ReadOnly(reads) => reads.on_wakeup(now_ms, around.effects),
            Serving::Learner {
                attendant,
                next_hearing_ms,
            } => {
                attendant.on_wakeup(now_ms, around.effects);
                if now_ms >= *next_hearing_ms {
                    *next_hearing_ms = now_ms + hearing_ms(around.params);
                }
            }
        }
    }

    pub(super) fn on_touched(&mut self, session: SessionId, at_ms: i64) {
        match &mut self.serving {
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => leading.primary.touch(session, at_ms),
            Serving::ReadOnly(reads) => reads.locals.touch(session, at_ms),
            Serving::Learner { attendant, .. } => {
                if let Some(timeout_ms) = attendant.on_touched(session, at_ms) {
                    self.zab.touch(session, timeout_ms);
                }
            }
        }
    }

    pub(super) fn on_submitted(&mut self, around: &mut Around<'_>, submission: Submission) {
        match &mut self.serving {
            // A connection that is about to hear that it is closed.
            Serving::No | Serving::Soon(_) => {}
            Serving::Leader(leading) => {
                let mut turn = Turn {
                    clock: around.clock,
                    state: around.state,
                    zab: Some(&self.zab),
                    made: &mut self.made,
                };
                match submission {
                    Submission::Connect { conn, request } => {
                        leading
                            .primary
                            .on_connect(&mut turn, around.ids, conn, &request);
                    }
                    // Nothing is proposed any more, as another server leads by the new members, or there are no zxids
                    // left. What comes behind a request that is not answered is not answered either.
                    Submission::Write(ClientRequest { conn, .. })
                        if self.zab.next_zxid().is_none() =>
                    {
                        leading.say_behind(Effect::CloseConn { conn }, around.effects);
                    }
                    // Nothing is to be said of now, and out of turn nothing can be said: another server will.
                    Submission::Write(ClientRequest {
                        body: WriteBody::Request(Request::Sync(_)),
                        conn,
                        ..
                    }) if !self.zab.hears_quorum(around.clock.monotonic_ms) => {
                        leading.say_behind(Effect::CloseConn { conn }, around.effects);
                    }
                    Submission::Write(request) => {
                        leading.on_request(&mut turn, request, around.effects);
                    }
                }
            }
            Serving::ReadOnly(reads) => match submission {
                Submission::Connect { conn, request } => reads.on_connect(around, conn, &request),
                Submission::Write(request) => {
                    reads.on_request(around.clock.monotonic_ms, &request, around.effects);
                }
            },
            Serving::Learner { attendant, .. } => {
                let packets = match submission {
                    Submission::Connect { conn, request } => {
                        Vec::from_iter(attendant.on_connect(around, conn, &request))
                    }
                    Submission::Write(request) => attendant.on_request(request, around.effects),
                };
                if let Some(link) = self.zab.serving_link() {
                    let packets = packets.into_iter();
                    self.said
                        .extend(packets.map(|packet| ZabEffect::ToLeader { link, packet }));
                }
            }
        }
    }
}
