//! Who drives a server: everything that has come in goes to the replica, and what it decides is applied.

use zabd::replica::effect::Effect;
use zabd::replica::input::Input;

use crate::members::check::Check;
use crate::members::net::Node;
use crate::members::plan::Planted;
use crate::members::world::{Event, World};

impl World {
    pub(in crate::members) fn wake_driver(&mut self, id: Node) {
        let server = self.server(id);
        if server.is_up() && !server.driver_scheduled {
            server.driver_scheduled = true;
            let boot = server.boot;
            self.soon(Event::Driver { server: id, boot });
        }
    }

    pub(in crate::members) fn input(&mut self, id: Node, input: Input) {
        self.server(id).inputs.push(input);
        self.wake_driver(id);
    }

    /// Steps the replica with all that has come in, then applies a batch.
    pub(in crate::members) fn run_driver(&mut self, id: Node) -> Check {
        self.server(id).driver_scheduled = false;
        // Everything that was decided is applied before anything else is.
        if self.servers[&id].steps.is_empty() {
            let mut effects = Vec::new();
            if self.is_overdue(id) {
                self.step(id, Input::Overdue, &mut effects);
            }
            for input in std::mem::take(&mut self.server(id).inputs) {
                self.step(id, input, &mut effects);
            }
            self.maybe_wake_up(id, &mut effects);
            self.carry_out(id, effects)?;
        }
        self.apply(id)?;
        let server = &self.servers[&id];
        if !server.is_up() {
            return Ok(());
        }
        if !server.steps.is_empty() || !server.inputs.is_empty() {
            self.wake_driver(id);
        }
        self.arm(id);
        Ok(())
    }

    fn step(&mut self, id: Node, mut input: Input, effects: &mut Vec<Effect>) {
        self.tamper_input(id, &mut input);
        self.trace.say(|| format!("{id} < {input:?}"));
        self.hear_input(id, &input, effects);
        let now_us = self.now_us;
        let server = self.server(id);
        let clock = server.clock(now_us);
        if let Some(replica) = &mut server.replica {
            replica.step(clock, input, &server.state, effects);
        }
        self.unmark(id);
    }

    fn is_overdue(&self, id: Node) -> bool {
        let server = &self.servers[&id];
        let now_ms = server.clock(self.now_us).monotonic_ms;
        let replica = server.replica.as_ref();
        replica.is_some_and(|replica| now_ms >= replica.deadline())
    }

    /// What has a deadline that has come; first, connections are asked what they have heard.
    fn maybe_wake_up(&mut self, id: Node, effects: &mut Vec<Effect>) {
        let server = &self.servers[&id];
        let clock = server.clock(self.now_us);
        let Some(replica) = &server.replica else {
            return;
        };
        if !self.is_overdue(id) {
            return;
        }
        if server.leads() && self.plan.has(Planted::ExpiryForgotten) {
            // Leading goes on, sessions are not looked at.
            let kept = replica.about_to_expire(clock);
            for (session, _) in kept {
                let at_ms = clock.monotonic_ms;
                self.step(id, Input::Touched { session, at_ms }, effects);
            }
        }
        let Some(replica) = &self.servers[&id].replica else {
            return;
        };
        for (session, conn) in replica.about_to_expire(clock) {
            let server = &self.servers[&id];
            let heard = conn
                .and_then(|conn| server.conns.get(&conn.0))
                .and_then(|conn| conn.heard_ms);
            if let Some(at_ms) = heard
                && !(server.leads() && self.plan.has(Planted::SilenceAssumed))
            {
                self.step(id, Input::Touched { session, at_ms }, effects);
            }
        }
        self.step(id, Input::Wakeup, effects);
    }

    fn arm(&mut self, id: Node) {
        let now_us = self.now_us;
        let server = self.server(id);
        let Some(replica) = &server.replica else {
            return;
        };
        let deadline_ms = replica.deadline().saturating_sub(server.ahead_ms);
        let deadline_us = deadline_ms
            .saturating_mul(1000)
            .saturating_add(server.boot_us)
            .max(now_us + 1000);
        if server.timer_us <= now_us || deadline_us < server.timer_us {
            server.timer_us = deadline_us;
            let boot = server.boot;
            if deadline_us < i64::MAX / 2 {
                self.at(deadline_us, Event::Timer { server: id, boot });
            }
        }
    }
}
