//! What a server does with its disk.

use jute_codec::txn::TxnEntry;
use zabd::replica::effect::WriteSeq;
use zabd::replica::ensemble::ServerId;
use zabd::replica::input::Input;
use zabd::replica::zab::{ZabEffect, ZabInput};
use zabd::state::{Committed, DigestMismatch, Outputs, Service, State, StateParams};

use super::check::{Check, broken, replicas_agree};
use super::chronicle::Chronicle;
use super::difference::{alter, first_mismatch};
use super::disk::{Logged, Write, Written, last, through};
use super::net::{Node, Staged};
use super::plan::{Plan, Planted};
use super::world::{Event, World};

/// The state that a history comes to, on a snapshot that may be altered; and what the comparisons came to of what is behind
/// the first `folded`.
pub(super) fn rebuilt(
    plan: &Plan,
    chronicle: &Chronicle,
    history: &[Logged],
    altered: bool,
    folded: usize,
) -> Check<(State, Option<DigestMismatch>)> {
    let mut state = State::new(StateParams {
        hash_seed: plan.seed,
        ..StateParams::default()
    });
    if altered {
        alter(&mut state);
    }
    let mut behind = None;
    let mut outputs = Outputs::default();
    for (place, Logged { zxid, txn }) in history.iter().enumerate() {
        let Ok(entry) = TxnEntry::decode(txn) else {
            return broken(replicas_agree::NAME, format!("{zxid} cannot be decoded"));
        };
        let committed = Committed {
            entry,
            origin: None,
            close: None,
        };
        let is_told = committed.entry.digest.is_some();
        let compared = state.apply(&committed, &mut outputs);
        if let Err(mismatch) = &compared
            && !altered
            && !chronicle.is_odd_epoch(zxid.epoch())
        {
            return broken(replicas_agree::NAME, mismatch.to_string());
        }
        if place >= folded {
            behind = first_mismatch(behind, compared, is_told);
        }
    }
    state.set_service(Service::None);
    Ok((state, behind))
}

impl World {
    pub(super) fn replace_state(&mut self, id: Node, effect: ZabEffect) {
        match effect {
            ZabEffect::Truncate { zxid } => self.write(id, Write::unnumbered(Written::Cut(zxid))),
            ZabEffect::ReceiveSnapshot { link, .. } => match self.net.find(id, link) {
                Some((number, way)) if self.is_end_alive(number, way) => {
                    self.server(id).expecting = Some(number);
                    self.unstall(number);
                }
                _ => self.tell_later(0, id, ZabInput::NotInstalled),
            },
            _ => {}
        }
    }

    /// A leader's history has come.
    pub(super) fn install(&mut self, id: Node, staged: Staged) {
        let (server, number) = (self.server(id), staged.link);
        if server
            .expecting
            .take_if(|expected| *expected == number)
            .is_some()
        {
            if let Some(link) = self.net.links.get_mut(&number) {
                link.stalled = true;
            }
            self.write(id, Write::unnumbered(Written::History(staged)));
        }
    }

    /// What a connection that is gone means for a snapshot that was to come on it. One that is being put in place is.
    pub(super) fn no_snapshot(&mut self, id: Node, number: u64) {
        let server = self.server(id);
        if server
            .expecting
            .take_if(|expected| *expected == number)
            .is_some()
        {
            self.tell_later(0, id, ZabInput::NotInstalled);
        }
    }

    pub(super) fn write(&mut self, id: Node, write: Write) {
        if let Some(seq) = write.seq
            && self.plan.has(Planted::DurableBeforeSync)
        {
            self.input(id, Input::Durable(seq));
        }
        self.server(id).disk.push(write);
        self.flush(id);
    }

    /// Begins to write what is pending, unless that is under way.
    pub(super) fn flush(&mut self, id: Node) {
        let most = self.servers[&id].disk.pending.len();
        let count = if self.rng.chance(1, 4) {
            1 + self.rng.place(most.max(1))
        } else {
            most
        };
        let mut delay_us = self.rng.below(self.plan.sync_us + 1);
        let server = self.server(id);
        let is_up = server.is_up() || server.boot == 0;
        let disk = &mut server.disk;
        if disk.pending.is_empty() || disk.flushing > 0 || !is_up {
            return;
        }
        let boot = server.boot;
        if disk.full {
            if !disk.told {
                disk.told = true;
                self.tell_later(delay_us, id, ZabInput::LogTrouble);
            }
            return;
        }
        disk.flushing = count;
        delay_us += disk.slow_us;
        self.after(delay_us, Event::Written { server: id, boot });
    }

    pub(super) fn on_written(&mut self, id: Node) -> Check {
        for _ in 0..self.servers[&id].disk.flushing {
            let Some(write) = self.server(id).disk.write_one() else {
                break;
            };
            match (write.seq, write.what) {
                (Some(seq), _) => self.input(id, Input::Durable(seq)),
                (None, what) => self.replaced(id, what)?,
            }
        }
        self.flush(id);
        Ok(())
    }

    /// The history is another one, durably.
    fn replaced(&mut self, id: Node, what: Written) -> Check {
        let server = self.server(id);
        let (mut is_taken_over, mut in_snapshot) = (false, 0);
        let (history, number, input) = match what {
            Written::Check(mismatch) => {
                let state = self.checked(id, mismatch)?;
                let server = self.server(id);
                server.state = state;
                server.verified = 0;
                return Ok(());
            }
            Written::History(staged) => {
                let Staged {
                    link,
                    mut history,
                    folded,
                    committed,
                    successor,
                    ..
                } = staged;
                (is_taken_over, in_snapshot) = (true, folded);
                let pending = history.split_off(committed).into_iter();
                let installed = ZabInput::Installed {
                    zxid: last(&history),
                    pending: pending.map(|logged| (logged.zxid, logged.txn)).collect(),
                    successor: successor.map(ServerId),
                };
                (history, Some(link), installed)
            }
            Written::Cut(zxid) => {
                let history = server.applied[..through(&server.applied, zxid)].to_vec();
                let zxid = last(&history);
                (history, None, ZabInput::Truncated { zxid })
            }
            Written::Txn(_) | Written::Epochs(_) => return Ok(()),
        };
        let altered = server.disk.altered;
        let (state, behind) = rebuilt(&self.plan, &self.chronicle, &history, altered, in_snapshot)?;
        self.report.spread += u64::from(is_taken_over && altered);
        let server = self.server(id);
        if is_taken_over {
            server.difference.on_taken_over(altered, behind);
        } else {
            server.difference.on_made_anew(altered);
        }
        server.state = state;
        server.verified = 0;
        server.applied = history;
        self.input(id, Input::Peer(input));
        if let Some(number) = number {
            self.unstall(number);
        }
        Ok(())
    }

    /// The snapshot on disk is brought up to date, and the log cut.
    pub(super) fn fold(&mut self, id: Node) {
        let mut rng = self.rng.fork();
        let server = self.server(id);
        let rests = server.disk.pending.iter().all(|write| write.seq.is_some());
        if server.is_serving() && rests {
            let most = server.foldable();
            server.disk.fold(most, &mut rng);
        }
        let boot = server.boot;
        let pause_us = self.rng.between(1, self.plan.fold_us);
        self.after(pause_us, Event::Fold { server: id, boot });
    }
}

impl Write {
    pub(super) const fn of(seq: WriteSeq, what: Written) -> Self {
        Self {
            seq: Some(seq),
            what,
        }
    }

    pub(super) const fn unnumbered(what: Written) -> Self {
        Self { seq: None, what }
    }
}
