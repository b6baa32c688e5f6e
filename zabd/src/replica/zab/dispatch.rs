//! Which input goes where: to the election, to the role, or to what is being done to the history.

use super::core::{Doubt, Installing};
use super::{Left, State, Zab, ZabEffect, ZabInput};

/// Why a learner has left a leader whose transactions it does not know.
pub const UNKNOWN_TXN: &str = "the leader sent a transaction of a type that this server does not know, or a damaged one; it \
    takes no part for as long as it cannot read everything. If all servers can be the same release, make them so";

impl Zab {
    /// Takes one input; what must happen is appended to `out`, in order. `now_ms` never goes back.
    pub fn step(&mut self, now_ms: i64, input: ZabInput, out: &mut Vec<ZabEffect>) {
        let served = self.is_established();
        if let Err(left) = self.take(now_ms, input, out) {
            self.leave(now_ms, left, out);
        }
        // What this server tells others of its vote goes by the epoch, once that stands.
        if !served && self.is_established() {
            self.core.may_lack = false;
            self.core.doubt = None;
            self.election.set_established(self.core.epochs.current);
        }
    }

    fn take(&mut self, now_ms: i64, input: ZabInput, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let core = &mut self.core;
        match (input, &mut self.state) {
            // The last role is over, and what to say instead depends on the disk.
            (ZabInput::Notified { .. }, State::Settling(_)) => {}
            (ZabInput::Notified { notification, .. }, State::Electing)
                if core.passes_over(now_ms, &notification) => {}
            (ZabInput::Notified { from, notification }, state) => {
                if matches!(state, State::Electing) && self.take_over_members(&notification, out) {
                    self.elect(now_ms, out);
                    return Ok(());
                }
                if let (State::Electing, Some(text)) = (&self.state, &notification.proposed) {
                    self.core.hear_rumour(from, text);
                }
                let core = &self.core;
                let mut said = Vec::new();
                self.election.on_notification(
                    now_ms,
                    from,
                    &notification,
                    &core.configs,
                    &mut said,
                );
                self.on_election(now_ms, said, out);
            }
            (ZabInput::Durable(write), _) => {
                core.durable = core.durable.max(write);
                self.on_durable(now_ms, out)?;
            }
            (ZabInput::LogTrouble, State::Leading(_) | State::Learning(_)) => {
                return Err(Left("the log cannot be written"));
            }
            // What is being done to the history makes the state anew, too.
            (ZabInput::Diverged, state) if core.installing == Installing::Nothing => {
                let leader = match state {
                    State::Learning(learner) => Some(learner.leader()),
                    _ => None,
                };
                core.installing = Installing::Check(leader);
                out.push(ZabEffect::Check);
                return Err(Left(
                    "this server's tree is not the leader's: it checks its copy",
                ));
            }
            (ZabInput::Checked { agrees }, _) => {
                let Installing::Check(leader) = core.installing else {
                    return Ok(());
                };
                core.installing = Installing::Nothing;
                core.doubt = leader.filter(|_| !agrees).map(|leader| Doubt {
                    leader,
                    until_ms: now_ms + 2 * core.params.sync_ms(),
                });
                self.settle(now_ms, out);
            }
            (ZabInput::Truncated { zxid }, state) if core.installing == Installing::Cut => {
                core.installing = Installing::Nothing;
                core.history.cut(zxid);
                if let State::Learning(learner) = state {
                    return learner.on_truncated(now_ms, core, zxid, out);
                }
                self.settle(now_ms, out);
            }
            (
                ZabInput::Installed {
                    zxid,
                    pending,
                    successor,
                },
                state,
            ) if core.installing == Installing::Snapshot => {
                core.installing = Installing::Nothing;
                let installed = core.replace(zxid, pending, successor, out);
                match state {
                    State::Learning(learner) => {
                        return learner.on_installed(now_ms, core, installed, out);
                    }
                    State::Settling(logged) => *logged = installed.pending,
                    State::Electing | State::Leading(_) => {}
                }
                self.settle(now_ms, out);
            }
            (ZabInput::NotInstalled, state) if core.installing == Installing::Snapshot => {
                core.installing = Installing::Nothing;
                if matches!(state, State::Learning(_)) {
                    return Err(Left("the snapshot broke off"));
                }
                self.settle(now_ms, out);
            }
            (ZabInput::Unknown { link }, State::Learning(learner)) => {
                // It would be the same at once, and the leader has other things to do.
                learner.on_link_down(link).map_err(|_| {
                    core.avoided = Some((learner.leader(), now_ms + core.params.init_ms()));
                    Left(UNKNOWN_TXN)
                })?;
            }
            (ZabInput::LinkUp { link }, State::Leading(leader)) => {
                leader.on_link_up(now_ms, core, link);
            }
            (ZabInput::LinkUp { link }, State::Learning(learner)) => {
                learner.on_link_up(now_ms, core, link, out);
            }
            (ZabInput::LinkDown { link }, State::Leading(leader)) => {
                leader.on_link_down(core, link)?;
            }
            (ZabInput::LinkDown { link }, State::Learning(learner)) => {
                learner.on_link_down(link)?;
            }
            (ZabInput::Heard { link }, State::Leading(leader)) => {
                leader.on_heard(now_ms, core, link)
            }
            (ZabInput::Heard { link }, State::Learning(learner)) => {
                learner.on_heard(now_ms, core, link)
            }
            (ZabInput::FromLearner { link, packet }, State::Leading(leader)) => {
                leader.on_packet(now_ms, core, link, packet, out)?;
            }
            (ZabInput::FromLeader { link, packet }, State::Learning(learner)) => {
                learner.on_packet(now_ms, core, link, packet, out)?;
            }
            (ZabInput::LookedUp { link, found }, State::Leading(leader)) => {
                leader.on_looked_up(core, link, found, out);
            }
            (ZabInput::Wakeup, _) => self.wakeup(now_ms, out)?,
            // Nobody accepts connections but a leader; what comes late, of a role that is over, has no meaning.
            (ZabInput::LinkUp { link }, _) => out.push(ZabEffect::CloseLink { link }),
            _ => {}
        }
        Ok(())
    }

    fn on_durable(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        match &mut self.state {
            State::Settling(_) => self.settle(now_ms, out),
            State::Electing => {}
            State::Leading(leader) => return leader.on_durable(now_ms, &mut self.core, out),
            State::Learning(learner) => learner.on_durable(now_ms, &mut self.core, out),
        }
        Ok(())
    }

    fn wakeup(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let is_due = now_ms >= self.election.deadline();
        if is_due
            && self.election.needs_those_astray(&self.core.configs)
            && self.core.follow_rumour(out)
        {
            self.elect(now_ms, out);
        } else if is_due {
            let mut said = Vec::new();
            self.election
                .wakeup(now_ms, true, &self.core.configs, &mut said);
            self.on_election(now_ms, said, out);
        }
        match &mut self.state {
            State::Settling(_) | State::Electing => Ok(()),
            State::Leading(leader) => leader.wakeup(now_ms, &self.core, out),
            State::Learning(learner) => learner.wakeup(now_ms),
        }
    }
}
