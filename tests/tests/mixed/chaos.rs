//! Servers of all kinds are killed, paused and cut off while clients write: no acknowledged write is lost, what clients of zabd saw is
//! linearizable, and in the end all have the same.
//!
//! They are cut off in network namespaces; where these are not permitted that part is left out, with a word about it.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use zabd_tests::ensemble::{AddressBook, Place, SYNC_LIMIT, TICK_MS};
use zabd_tests::linearizability::{Checker, Verdict};
use zabd_tests::mixed::Mixed;
use zabd_tests::netns::{Host, Network};
use zabd_tests::registers::Registers;
use zabd_tests::servers::Setup;
use zabd_tests::writers::{Random, Writers};

use crate::{count_of, each, on};

const SERVERS: usize = 4;
/// Clients of registers.
const CLIENTS: usize = 4;
/// Longer than a leader or follower waits for one that is silent.
const SILENCE: Duration = Duration::from_millis((SYNC_LIMIT + 1) * TICK_MS);

/// What is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hurt {
    /// Killed, and started at once.
    Kill,
    /// The others go on without it for a while.
    KillForLong,
    /// Stopped where it stands, longer than others wait.
    Pause,
    /// All are killed.
    KillAll,
    /// Nothing passes between it and the others; clients reach all.
    CutOff,
    /// The others hear nothing of it.
    Unheard,
    /// It hears nothing of the others.
    Deaf,
}

use Hurt::{CutOff, Deaf, Kill, KillAll, KillForLong, Pause, Unheard};

const HURTS: [Hurt; 7] = [Kill, CutOff, Pause, Unheard, KillForLong, Deaf, KillAll];

#[test]
fn what_is_acknowledged_stays_whatever_is_done_to_servers() {
    let without = Network::unavailable();
    if let Some(why) = &without {
        // Not by a macro: what those print is not shown when a test passes.
        let word = format!("\nSKIP partitions of mixed ensembles: no network namespaces: {why}\n");
        let written = io::stdout().write_all(word.as_bytes());
        written.expect("standard output is there");
    }
    let checker = Checker::build().expect("the checker is built");
    each(&["JZZJ", "ZJJZ"], |letters| {
        let seed = count_of("ZABD_MIXED_SEED", std::process::id() as usize) as u64;
        let rounds = count_of("ZABD_MIXED_ROUNDS", 3);
        eprintln!("{letters}: ZABD_MIXED_SEED={seed} ZABD_MIXED_ROUNDS={rounds}");
        let play = || play(letters, without.is_none(), seed, rounds, checker.as_ref());
        // The thread goes to another namespace, and this one stays.
        let outcome = thread::scope(|scope| scope.spawn(play).join());
        outcome.map_err(|_| anyhow!("a panic"))?
    });
}

fn play(
    letters: &str,
    cuts: bool,
    seed: u64,
    rounds: usize,
    checker: Option<&Checker>,
) -> anyhow::Result<()> {
    let network = cuts.then(|| Network::build(SERVERS)).transpose()?;
    let mixed = match &network {
        None => Mixed::prepare(letters, 3, Setup::default())?,
        Some(network) => {
            network.enter()?;
            let places: Vec<Place> = (0..SERVERS).map(|server| place(network, server)).collect();
            Mixed::prepare_at(letters, 3, &places, Setup::default())?
        }
    };
    on(mixed, |mixed| {
        mixed.launch()?;
        let (mut random, book) = (Random(seed), mixed.book());
        let mut world = World {
            mixed,
            network,
            writers: Writers::start_resting(3, book.clone(), seed, rest(rounds)),
        };
        // A leader of ZooKeeper's that stood still answers a sync with what it has, whoever leads by now. What it says is
        // not held against the ensemble; what zabd's servers say is.
        let of_zabd = book.all().into_iter().zip(letters.chars());
        let of_zabd: Vec<SocketAddr> = of_zabd
            .filter_map(|(address, letter)| (letter == 'Z').then_some(address))
            .collect();
        let of_zabd = AddressBook::from(&of_zabd);
        let registers = Registers::start(CLIENTS, &of_zabd, seed, &mut world.mixed.client(0)?)?;
        // Their sessions and first nodes are to be there before anything is done.
        let played = world.writers.wait_for(50).and_then(|()| {
            (0..rounds).try_for_each(|round| {
                let hurt = world.hurt(round, &mut random);
                hurt.with_context(|| format!("round {round}"))?;
                let leader = world.mixed.leader()?;
                registers
                    .turn_page(&mut world.mixed.client(leader)?)
                    .map(drop)
            })
        });
        let served = played.and_then(|()| world.mixed.wait_until_all_serve());
        let (writers, history) = (world.writers.finish(), registers.finish());
        served?;
        let (writers, history) = (writers?, history?);
        // Before their sessions expire.
        let tree = world.mixed.same_tree()?;
        for writer in &writers {
            writer.check(&tree)?;
        }
        world.mixed.check()?;
        let file = format!("zabd-mixed-{}-{letters}.history", std::process::id());
        let file = std::env::temp_dir().join(file);
        history.save(&file)?;
        let said = match checker.map(|checker| checker.check(std::slice::from_ref(&file))) {
            None => "not checked for linearizability: there is no Go here".to_owned(),
            Some(verdict) => match verdict? {
                Verdict::Linearizable(said) => said,
                other => bail!("{other:?}; see {}", file.display()),
            },
        };
        let nodes: usize = writers.iter().map(|writer| writer.acknowledged()).sum();
        eprintln!(
            "{letters}: {rounds} rounds, {nodes} nodes created, {} other writes acknowledged; {said}",
            history.acknowledged()
        );
        Ok(fs::remove_file(&file)?)
    })
}

/// How long writers rest: all that they write is read from every server in the end, before their sessions expire.
fn rest(rounds: usize) -> Duration {
    Duration::from_millis(25) * u32::try_from(rounds / 5 + 1).unwrap_or(1)
}

fn place(network: &Network, server: usize) -> Place {
    Place {
        address: SocketAddr::from((network.address(server), 2181)),
        member: format!("{}:2888:3888", network.address(server)),
        namespace: Some(network.namespace(Host::Server(server))),
    }
}

struct World<'a> {
    mixed: &'a mut Mixed,
    network: Option<Network>,
    writers: Writers,
}

impl World<'_> {
    /// One round: something is done to one server or to all, and taken back.
    fn hurt(&mut self, round: usize, random: &mut Random) -> anyhow::Result<()> {
        let victim = match random.below(3) {
            0 => self.mixed.await_leader(&[0, 1, 2])?,
            _ => random.below(SERVERS),
        };
        let what = match (HURTS[random.below(HURTS.len())], &self.network) {
            (CutOff | Unheard | Deaf, None) => Kill,
            // Every run has one of each that comes first.
            (_, Some(_)) if round < 3 => HURTS[round],
            (what, _) => what,
        };
        let kind = self.mixed.server(victim).implementation().name();
        eprintln!("round {round}: {what:?} {kind} (server {})", victim + 1);
        match what {
            Kill => {
                self.mixed.kill(victim)?;
                self.mixed.spawn(victim)?;
            }
            KillForLong => {
                self.mixed.kill(victim)?;
                self.writers.wait_for(100)?;
                self.mixed.spawn(victim)?;
            }
            Pause => {
                self.mixed.server(victim).pause()?;
                sleep(SILENCE);
                self.mixed.server(victim).resume()?;
            }
            KillAll => {
                for number in self.mixed.all() {
                    self.mixed.kill(number)?;
                }
                for number in self.mixed.all() {
                    self.mixed.spawn(number)?;
                }
            }
            CutOff | Unheard | Deaf => self.cut(victim, what)?,
        }
        let began = Instant::now();
        self.writers.wait_for(50)?;
        self.mixed.wait_until_all_serve()?;
        eprintln!("round {round}: all serve after {:.1?}", began.elapsed());
        Ok(())
    }

    fn cut(&mut self, victim: usize, what: Hurt) -> anyhow::Result<()> {
        let network = self.network.as_mut().context("no network")?;
        let others = self.mixed.all().into_iter();
        let others: Vec<Host> = others
            .filter(|other| *other != victim)
            .map(Host::Server)
            .collect();
        if what != Deaf {
            network.cut(&[Host::Server(victim)], &others)?;
        }
        if what != Unheard {
            network.cut(&others, &[Host::Server(victim)])?;
        }
        sleep(SILENCE);
        // Where three of four are whole they go on.
        let meanwhile = self.writers.wait_for(20).context("while it is cut off");
        self.network.as_mut().context("no network")?.join()?;
        meanwhile
    }
}
