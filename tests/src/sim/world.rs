//! The loop of a run: events in order of time, until everybody is answered.

use zabd::storage::disk::{Crash, SimDisk};
use zabd::storage::snapshot::MemStore;

use super::check::{Check, Violation, server_stays_up};
use super::client::SimClient;
use super::ctx::{Ctx, Event};
use super::plan::{Faults, Plan};
use super::server::{Halt, Run, SimServer};
use super::store::{self, Fold, Start};

/// Virtual time in which everybody must be answered once all faults are over.
const PATIENCE_US: i64 = 600_000_000;

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Stands for everything that happened.
    pub trace: u64,
    /// Transactions that were applied and are not lost.
    pub transactions: u64,
    /// Crashes that happened.
    pub crashes: u64,
    /// Changing operations of the disk.
    pub disk_operations: u64,
    /// Snapshots that were brought up to date, and compared.
    pub folds: u64,
}

struct World {
    ctx: Ctx,
    disk: SimDisk,
    snapshot: MemStore,
    server: Option<SimServer>,
    boots: u64,
    clients: Vec<SimClient>,
    crashes: u64,
    folds: u64,
    disk_crashes_left: u64,
    drain_began_us: Option<i64>,
    start_attempts: u64,
}

/// Runs one history.
///
/// # Errors
/// The first promise that was found broken.
pub fn run(plan: &Plan) -> Result<Report, Violation> {
    let mut world = World::new(plan);
    world.run()?;
    Ok(Report {
        trace: world.ctx.trace.hash(),
        transactions: world.ctx.ledger.applied().0.unsigned_abs(),
        crashes: world.crashes,
        disk_operations: world.disk.operations(),
        folds: world.folds,
    })
}

impl World {
    fn new(plan: &Plan) -> Self {
        let mut ctx = Ctx::new(plan.clone());
        let disk = SimDisk::new(plan.seed);
        if let Some((operation, persistence)) = plan.crash_point {
            disk.reseed(persistence);
            disk.crash_at(operation);
        }
        ctx.at(0, Event::Start);
        let clients = (0..plan.clients)
            .map(|number| SimClient::new(number, &mut ctx))
            .collect();
        let Faults {
            crashes,
            disk_crashes,
            ..
        } = plan.faults;
        for _ in 0..crashes {
            let at_us = ctx.rng.below(30_000_000);
            ctx.after(at_us, Event::Crash);
        }
        let other_faults = ctx.rng.below(8);
        for _ in 0..other_faults {
            let at_us = ctx.rng.below(20_000_000);
            ctx.after(at_us, Event::Fault);
        }
        Self {
            ctx,
            disk,
            snapshot: MemStore::new(),
            server: None,
            boots: 0,
            clients,
            crashes: 0,
            folds: 0,
            disk_crashes_left: disk_crashes,
            drain_began_us: None,
            start_attempts: 0,
        }
    }

    fn run(&mut self) -> Check {
        while let Some(event) = self.ctx.next() {
            match self.on_event(event) {
                Ok(()) => {}
                Err(Halt::Violation(violation)) => return Err(violation),
                Err(Halt::PowerCut) => self.go_down(Crash::Power),
            }
            if self.is_over()? {
                return self.check_end();
            }
        }
        server_stays_up::stuck("nothing happens any more")
    }

    fn is_over(&mut self) -> Check<bool> {
        if self.drain_began_us.is_none() {
            let long_enough = self.ctx.now_us > 200_000_000;
            if long_enough || self.clients.iter().all(SimClient::is_tired) {
                self.begin_draining();
            }
        }
        if let Some(began_us) = self.drain_began_us
            && self.ctx.now_us - began_us > PATIENCE_US
        {
            let clients: Vec<String> = self.clients.iter().map(SimClient::describe).collect();
            let server = self.server.as_ref().map(SimServer::stuck);
            return server_stays_up::stuck(format!("clients {clients:#?}, server {server:?}"));
        }
        Ok(self.drain_began_us.is_some() && self.clients.iter().all(SimClient::is_done))
    }

    /// No more work and no more faults.
    fn begin_draining(&mut self) {
        self.drain_began_us = Some(self.ctx.now_us);
        self.ctx.draining = true;
        self.repair();
    }

    fn repair(&mut self) {
        self.disk.set_capacity(None);
        self.ctx.slow_us = 0;
    }

    fn check_end(&self) -> Check {
        match &self.server {
            Some(server) => store::compare_at_rest(&self.ctx, &server.state),
            None => Ok(()),
        }
    }

    fn on_event(&mut self, event: Event) -> Run {
        let at_us = self.ctx.now_us;
        match event {
            Event::Driver { boot } => {
                if let Some(server) = server_of(&mut self.server, boot) {
                    self.ctx.trace.step(at_us, "driver", boot);
                    server.run_driver(&mut self.ctx)?;
                }
            }
            Event::Conn { boot, conn } => {
                if let Some(server) = server_of(&mut self.server, boot) {
                    self.ctx.trace.step(at_us, "conn", conn);
                    server.run_conn(&mut self.ctx, conn)?;
                }
            }
            Event::Log { boot } => {
                if let Some(server) = server_of(&mut self.server, boot) {
                    server.run_log(&mut self.ctx)?;
                }
            }
            Event::LogDone { boot } => {
                if let Some(server) = server_of(&mut self.server, boot) {
                    self.ctx.trace.step(at_us, "durable", boot);
                    server.on_log_done(&mut self.ctx);
                }
            }
            Event::Fold { boot } => self.run_fold(boot)?,
            Event::Open { conn } => match &mut self.server {
                Some(server) => server.on_open(conn),
                None => self.refuse(conn),
            },
            Event::ToServer { conn, bytes } => {
                if let Some(server) = &mut self.server {
                    server.on_bytes(&mut self.ctx, conn, &bytes);
                }
            }
            Event::ServerSeesEnd { conn } => {
                if let Some(server) = &mut self.server {
                    server.on_end(&mut self.ctx, conn);
                }
            }
            Event::ToClient {
                client,
                conn,
                bytes,
            } => self.clients[client].on_bytes(&mut self.ctx, conn, &bytes)?,
            Event::ClientSeesEnd { client, conn } => self.clients[client].on_end(conn),
            Event::Client { client } => self.clients[client].act(&mut self.ctx),
            Event::Crash => {
                if self.server.is_some() && !self.ctx.draining {
                    let crash = if self.ctx.rng.chance(1, 3) {
                        Crash::Process
                    } else {
                        Crash::Power
                    };
                    self.go_down(crash);
                }
            }
            Event::Start => self.start()?,
            Event::Fault => self.fault(),
            Event::Repair => self.repair(),
        }
        Ok(())
    }

    /// Nobody listens.
    fn refuse(&mut self, conn: u64) {
        let client = self.ctx.client_of(conn);
        self.ctx.soon(Event::ClientSeesEnd { client, conn });
    }

    fn run_fold(&mut self, boot: u64) -> Run {
        let Some(server) = server_of(&mut self.server, boot) else {
            return Ok(());
        };
        server.log.prepare()?;
        let mut pause_us = self.ctx.rng.below(self.ctx.plan.fold_us + 1);
        if let Some(fold) = &mut server.fold {
            let done = fold.run(&mut self.ctx, &mut server.state, &mut self.snapshot)?;
            self.ctx.trace.step(self.ctx.now_us, "fold", boot);
            if let Some(zxid) = done {
                server.fold = None;
                server.folded = zxid;
                self.folds += 1;
                server.log.purge(zxid)?;
            } else {
                pause_us = self.ctx.rng.below(self.ctx.plan.wakeup_us * 4 + 1);
            }
        } else if server.state.last_zxid() > server.folded {
            server.fold = Some(Fold::begin(&mut server.state));
        }
        self.ctx.after(pause_us.max(1), Event::Fold { boot });
        Ok(())
    }

    fn start(&mut self) -> Run {
        if self.server.is_some() {
            return Ok(());
        }
        self.boots += 1;
        self.ctx.trace.step(self.ctx.now_us, "start", self.boots);
        if self.boots > 1 && self.disk_crashes_left > 0 && !self.ctx.draining {
            self.arm_disk_crash();
        }
        match store::recover(&mut self.ctx, &self.disk, &self.snapshot)? {
            Start::Up(up) => {
                let (state, log) = *up;
                self.start_attempts = 0;
                self.server = Some(SimServer::start(&mut self.ctx, self.boots, state, log)?);
                if self.disk_crashes_left > 0 && !self.ctx.draining && self.boots == 1 {
                    self.arm_disk_crash();
                }
            }
            Start::Later(why) => {
                self.start_attempts += 1;
                self.ctx.trace.say(|| why.clone());
                if self.start_attempts > 100 && self.ctx.draining {
                    return Ok(server_stays_up::no_start(&why)?);
                }
                self.disk.reboot(Crash::Process);
                self.ctx.after(1_000_000, Event::Start);
            }
        }
        Ok(())
    }

    /// The machine will go down in the middle of one of the next disk operations.
    fn arm_disk_crash(&mut self) {
        self.disk_crashes_left -= 1;
        let ahead = self
            .ctx
            .rng
            .below(*self.ctx.rng.clone().pick(&[3, 30, 300]));
        self.disk.crash_at(self.disk.operations() + ahead);
    }

    fn go_down(&mut self, crash: Crash) {
        self.ctx
            .trace
            .step(self.ctx.now_us, "crash", u64::from(crash == Crash::Power));
        self.crashes += 1;
        self.server = None;
        self.disk.reboot(crash);
        let kept = self.ctx.rng.place(self.snapshot.pending_folds() + 1);
        self.snapshot.crash(kept);
        for client in &self.clients {
            client.lose_conn(&mut self.ctx);
        }
        let down_us = self.ctx.rng.below(5_000_000);
        self.ctx.after(down_us, Event::Start);
    }

    fn fault(&mut self) {
        if self.ctx.draining {
            return;
        }
        let faults = self.ctx.plan.faults;
        let rng = &mut self.ctx.rng;
        match rng.below(6) {
            0 if faults.disk_errors => {
                let (skip, times) = (rng.below(5), rng.between(1, 3));
                self.disk.fail_syncs(skip, times);
            }
            1 if faults.disk_errors => {
                let (skip, times) = (rng.below(5), rng.between(1, 3));
                self.disk.fail_writes(skip, times);
            }
            2 if faults.disk_full => {
                let more = rng.below(16 << 10);
                self.disk.set_capacity(Some(self.disk.used_bytes() + more));
            }
            3 if faults.disk_slow => self.ctx.slow_us = rng.below(8_000_000),
            4 | 5 if faults.clock_jumps => {
                let jump_ms = rng.below(2_000_000).cast_signed() - 1_000_000;
                self.ctx.skew_ms += jump_ms;
            }
            _ => {}
        }
        let repaired_after_us = self.ctx.rng.below(20_000_000);
        self.ctx.after(repaired_after_us, Event::Repair);
    }
}

fn server_of(server: &mut Option<SimServer>, boot: u64) -> Option<&mut SimServer> {
    server.as_mut().filter(|server| server.boot == boot)
}
