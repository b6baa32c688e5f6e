//! Three voters and an observer, each in a network namespace and on a disk of its own, hurt in every way that a machine
//! and a network can hurt them, under load. No acknowledged write may be lost, what clients saw must be linearizable,
//! and in the end all servers have the same.
//!
//! Needs root; says that it is skipped where namespaces are not permitted.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |
//! | `ZABD_NETNS_ROUNDS=N` | so many rounds in place of one, each with an ensemble of its own |
//! | `ZABD_NETNS_SCENES=a,b` | only these scenes |
//! | `ZABD_NETNS_BURSTS=N` | bursts of failures in the scene `chaos`, in place of 2 |
//! | `ZABD_NETNS_SEED=N` | the order of scenes, and what clients do when, in place of a seed of the clock's |
//! | `ZABD_NETNS_CLIENTS=kazoo,java` | clients on these libraries, too; `scripts/install-test-deps` installs them |
//! | `ZABD_NETNS_KEEP=DIR` | keep the histories there, and print what servers said in scenes that took long |

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail, ensure};
use zabd_tests::ensemble::{Ensemble, Place, SYNC_LIMIT, TICK_MS};
use zabd_tests::linearizability::{Checker, Verdict};
use zabd_tests::netns::{Host, Network, Weather, run};
use zabd_tests::programs::Program;
use zabd_tests::registers::{Registers, now_ns};
use zabd_tests::servers::Setup;
use zabd_tests::writers::{Random, Writer, Writers};

const VOTERS: usize = 3;
const OBSERVER: usize = 3;
const SERVERS: usize = 4;
/// Clients of registers, of each kind.
const CLIENTS: usize = 6;
const CLIENT_PORT: u16 = 2181;
/// The size of each server's disk, as `mount` takes it.
const DISK: &str = "size=192m";
/// Longer than a leader or follower waits for one that is silent.
const SILENCE: Duration = Duration::from_millis((SYNC_LIMIT + 2) * TICK_MS);
/// No outage that a scene makes comes near this.
const OUTAGE_MAX: Duration = Duration::from_secs(15);

/// Scenes that take longer are looked into by whoever keeps histories.
const SLOW_NS: i64 = 10_000_000_000;

type Scene = fn(&mut World, &mut Load) -> anyhow::Result<()>;

const SCENES: &[(&str, Scene)] = &[
    ("killed", killed),
    ("leader-paused", leader_paused),
    ("leader-cut-off", leader_cut_off),
    ("leader-unheard", leader_unheard),
    ("leader-deaf", leader_deaf),
    ("follower-alone", follower_alone),
    ("bad-weather", bad_weather),
    ("all-restarted", all_restarted),
    ("rolling-restart", rolling_restart),
    ("disks-full", disks_full),
    ("addresses-changed", addresses_changed),
    ("chaos", chaos),
];

/// Servers with their network and disks.
struct World {
    ensemble: Ensemble,
    network: Network,
    disks: Vec<PathBuf>,
    random: Random,
}

impl World {
    fn build(seed: u64) -> anyhow::Result<Self> {
        let network = Network::build(SERVERS)?;
        network.enter()?;
        let places: Vec<Place> = (0..SERVERS)
            .map(|server| Place {
                address: client_address(&network, server),
                member: format!("{}:2888:3888", Network::name(server)),
                namespace: Some(network.namespace(Host::Server(server))),
            })
            .collect();
        let mut world = Self {
            ensemble: Ensemble::prepare(VOTERS, &places, setup())?,
            network,
            disks: Vec::new(),
            random: Random(seed),
        };
        for server in 0..SERVERS {
            let disk = world.ensemble.server(server).data_dir();
            let arguments = ["-t", "tmpfs", "-o", DISK, "zabd-test"];
            run(Command::new("mount").args(arguments).arg(&disk), "")?;
            world.disks.push(disk);
        }
        world.ensemble.launch()?;
        Ok(world)
    }

    fn spawn_and_wait(&mut self, server: usize) -> anyhow::Result<()> {
        self.ensemble.spawn(server)?;
        self.ensemble.wait_until_serving(&[server])
    }

    fn leader(&self) -> anyhow::Result<usize> {
        self.ensemble.leader()
    }

    fn follower(&self) -> anyhow::Result<usize> {
        self.ensemble.followers().map(|followers| followers[0])
    }

    /// All servers but this.
    fn others(&self, server: usize) -> Vec<Host> {
        let all = self.ensemble.all().into_iter();
        all.filter(|other| *other != server)
            .map(Host::Server)
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in self.ensemble.all() {
            if let Err(error) = self.ensemble.kill(server) {
                eprintln!("{error:#}");
            }
        }
        for disk in &self.disks {
            if let Err(error) = run(Command::new("umount").arg("--lazy").arg(disk), "") {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Log files that are small and not allocated ahead: a full disk is felt at once. A leader that hears nobody may be elected
/// again, for what it said before is heard; followers do not try for long to connect to it.
fn setup() -> Setup {
    Setup::default()
        .key("connectToLearnerMasterLimit", "2")
        .key("preAllocSize", "16")
        .key("txnLogSizeLimitInKb", "512")
}

fn client_address(network: &Network, server: usize) -> SocketAddr {
    SocketAddr::from((network.address(server), CLIENT_PORT))
}

/// Clients that go on through everything.
struct Load {
    writers: Writers,
    registers: Registers,
    programs: Vec<Program>,
}

impl Load {
    fn start(world: &World, seed: u64) -> anyhow::Result<Self> {
        let book = world.ensemble.book();
        let registers = Registers::start(CLIENTS, &book, seed, &mut world.ensemble.client(0)?)?;
        let writers = Writers::start_resting(1, book, seed, Duration::from_millis(50));
        let hosts: Vec<String> = (0..SERVERS)
            .map(|server| format!("{}:{CLIENT_PORT}", Network::name(server)))
            .collect();
        let kinds = env::var("ZABD_NETNS_CLIENTS").unwrap_or_default();
        let programs = kinds
            .split(',')
            .filter(|kind| !kind.is_empty())
            .enumerate()
            .map(|(number, kind)| {
                let namespace = world.network.namespace(Host::Clients);
                let file = history_file(kind, seed);
                let first = CLIENTS * (number + 1);
                Program::start(
                    kind,
                    Some(&namespace),
                    &hosts.join(","),
                    CLIENTS,
                    first,
                    file,
                )
            });
        Ok(Self {
            registers,
            writers,
            programs: programs.collect::<Result<_, _>>()?,
        })
    }

    fn turn_page(&mut self, world: &World) -> anyhow::Result<()> {
        let mut client = world.ensemble.client(world.leader()?)?;
        let page = self.registers.turn_page(&mut client)?;
        self.programs
            .iter_mut()
            .try_for_each(|program| program.turn_page(page))
    }

    /// Waits until clients are served again.
    fn goes_on(&self, when: &str) -> anyhow::Result<()> {
        let target = self.registers.answered() + 50;
        self.writers.wait_for(16).context(when.to_owned())?;
        let deadline = Instant::now() + OUTAGE_MAX;
        while self.registers.answered() < target {
            ensure!(Instant::now() < deadline, "{when}: registers rest");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Waits until writes are acknowledged no more.
fn wait_until_nothing_is_written(load: &mut Load) -> anyhow::Result<()> {
    let deadline = Instant::now() + OUTAGE_MAX;
    while Instant::now() < deadline {
        let before = load.writers.acknowledged();
        sleep(Duration::from_secs(2));
        if load.writers.acknowledged() == before {
            return Ok(());
        }
    }
    bail!("writes are acknowledged with no room for them");
}

#[test]
fn nothing_is_lost_whatever_fails() {
    if let Some(reason) = Network::unavailable() {
        // Not by a macro: what those print is not shown when a test passes.
        let word = format!("\nSKIP netns: no network namespaces here: {reason}\n");
        io::stdout()
            .write_all(word.as_bytes())
            .expect("standard output is there");
        return;
    }
    let first = number("ZABD_NETNS_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::from(since.map_or(0, |since| since.subsec_nanos()))
    });
    let checker = Checker::build().expect("the checker is built");
    for round in 0..number("ZABD_NETNS_ROUNDS").unwrap_or(1) {
        let seed = first + round;
        // The thread goes to another namespace, and this one stays.
        let outcome = thread::scope(|scope| scope.spawn(|| play(seed, checker.as_ref())).join());
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => panic!("seed {seed}: {problem:?}"),
            Err(_) => panic!("seed {seed}: a panic"),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// One round: an ensemble through all scenes, and the account in the end.
fn play(seed: u64, checker: Option<&Checker>) -> anyhow::Result<()> {
    let mut world = World::build(seed)?;
    let outcome = play_scenes(&mut world, seed, checker);
    outcome.with_context(|| world.ensemble.last_words())
}

fn play_scenes(world: &mut World, seed: u64, checker: Option<&Checker>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut load = Load::start(world, seed)?;
    let mut acts = Vec::new();
    let mut outcome = load.goes_on("at first");
    for (name, scene) in order(seed)? {
        if outcome.is_err() {
            break;
        }
        let from = now_ns();
        outcome = scene(world, &mut load)
            .and_then(|()| world.ensemble.wait_until_all_serve())
            .and_then(|()| load.goes_on("after it"))
            .context(name);
        let to = now_ns();
        acts.push((name, from, to));
        if to - from > SLOW_NS && env::var_os("ZABD_NETNS_KEEP").is_some() {
            say(&format!("{name}\n{}", world.ensemble.last_words()));
        }
        if outcome.is_ok() {
            load.turn_page(world)?;
        }
    }
    // What clients saw says more than that they stopped.
    let history = load.registers.finish();
    let writers = load.writers.finish();
    outcome?;
    let (history, writers) = (history?, writers?);
    let mut files = vec![history_file("rust", seed)];
    history.save(&files[0])?;
    for program in load.programs {
        let (said, file) = program.finish()?;
        say(&format!("seed {seed}: {said}"));
        files.push(file);
    }
    for (name, from, to) in acts {
        let took = Duration::from_nanos((to - from).unsigned_abs());
        let gap = history.longest_gap(from, to);
        say(&format!(
            "seed {seed} {name}: {took:.1?}, at most {gap:.1?} without a write"
        ));
    }
    world.ensemble.wait_until_all_serve()?;
    let tree = world.ensemble.same_tree()?;
    for writer in &writers {
        writer.check(&tree)?;
    }
    let said = check(&files, checker)?;
    say(&format!(
        "seed {seed}: {} writes acknowledged, {} unanswered, {} nodes created; {said}; {:.0?}",
        history.acknowledged(),
        history.unknown(),
        writers.iter().map(Writer::acknowledged).sum::<usize>(),
        began.elapsed()
    ));
    Ok(())
}

/// On standard error, as it happens: `--nocapture` shows it.
fn say(line: &str) {
    eprintln!("{line}");
}

/// The scenes of a round, in an order that the seed decides.
fn order(seed: u64) -> anyhow::Result<Vec<(&'static str, Scene)>> {
    let mut left: Vec<_> = match env::var("ZABD_NETNS_SCENES") {
        Err(_) => SCENES.to_vec(),
        Ok(names) => names
            .split(',')
            .map(|name| {
                let found = SCENES.iter().find(|(other, _)| *other == name);
                found.copied().ok_or_else(|| anyhow!("no scene {name}"))
            })
            .collect::<Result<_, _>>()?,
    };
    // Seeds that follow each other are to differ in more than the first scenes.
    let mut rest = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let mut chosen = Vec::new();
    while !left.is_empty() {
        let count = left.len() as u64;
        chosen.push(left.remove(usize::try_from(rest % count)?));
        rest /= count;
    }
    Ok(chosen)
}

fn history_file(kind: &str, seed: u64) -> PathBuf {
    let kept = env::var_os("ZABD_NETNS_KEEP").map(PathBuf::from);
    let name = format!("zabd-history-{}-{seed}-{kind}.jsonl", std::process::id());
    kept.unwrap_or_else(env::temp_dir).join(name)
}

fn check(files: &[PathBuf], checker: Option<&Checker>) -> anyhow::Result<String> {
    let said = match checker.map(|checker| checker.check(files)).transpose()? {
        None => "not checked: there is no Go here".to_owned(),
        Some(Verdict::Linearizable(said)) => said,
        Some(other) => bail!("{other:?}; see {files:?}"),
    };
    if env::var_os("ZABD_NETNS_KEEP").is_none() {
        files.iter().try_for_each(fs::remove_file)?;
    }
    Ok(said)
}

fn killed(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let (follower, leader) = (world.follower()?, world.leader()?);
    for victim in [follower, OBSERVER, leader] {
        world.ensemble.kill(victim)?;
        load.goes_on("one is killed")?;
        world.spawn_and_wait(victim)?;
    }
    Ok(())
}

fn leader_paused(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let leader = world.leader()?;
    world.ensemble.server(leader).pause()?;
    sleep(SILENCE);
    let meanwhile = load.goes_on("the leader is paused");
    world.ensemble.server(leader).resume()?;
    meanwhile
}

/// Clients reach all servers, and these do not reach each other.
fn leader_cut_off(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let leader = world.leader()?;
    let others = world.others(leader);
    world.network.cut(&[Host::Server(leader)], &others)?;
    world.network.cut(&others, &[Host::Server(leader)])?;
    sleep(SILENCE);
    load.goes_on("the leader is cut off")?;
    ensure!(world.leader()? != leader, "one of three leads");
    ensure!(
        world.ensemble.client(leader).is_err(),
        "one of three serves"
    );
    world.network.join()
}

fn leader_unheard(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let leader = world.leader()?;
    let others = world.others(leader);
    world.network.cut(&[Host::Server(leader)], &others)?;
    sleep(SILENCE);
    load.goes_on("nobody hears the leader")?;
    world.network.join()
}

fn leader_deaf(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let leader = world.leader()?;
    let others = world.others(leader);
    world.network.cut(&others, &[Host::Server(leader)])?;
    sleep(SILENCE);
    load.goes_on("the leader hears nobody")?;
    world.network.join()
}

fn follower_alone(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let follower = world.follower()?;
    let mut others = world.others(follower);
    others.push(Host::Clients);
    world.network.cut(&[Host::Server(follower)], &others)?;
    world.network.cut(&others, &[Host::Server(follower)])?;
    sleep(SILENCE);
    load.goes_on("a follower is alone")?;
    world.network.join()
}

fn bad_weather(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let means = world.network.set_weather(Weather {
        loss_percent: 3,
        delay_ms: 20,
    })?;
    say(means);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        load.goes_on("bad weather")?;
    }
    world.network.set_weather(Weather::default()).map(drop)
}

fn all_restarted(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    for victim in world.ensemble.all() {
        world.ensemble.kill(victim)?;
    }
    for victim in world.ensemble.all() {
        world.ensemble.spawn(victim)?;
    }
    load.goes_on("all are back")
}

fn rolling_restart(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    for server in world.ensemble.all() {
        world.ensemble.stop(server)?;
        load.goes_on("one is stopped")?;
        world.spawn_and_wait(server)?;
    }
    Ok(())
}

/// One disk after the other, and then the disks of a quorum at once.
fn disks_full(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let (follower, leader) = (world.follower()?, world.leader()?);
    for victims in [&[follower][..], &[leader], &[follower, leader]] {
        for victim in victims {
            fill(&world.disks[*victim])?;
        }
        if victims.len() == 1 {
            sleep(SILENCE / 2);
            load.goes_on("a disk is full")?;
        } else {
            wait_until_nothing_is_written(load)?;
        }
        for victim in victims {
            fs::remove_file(filler(&world.disks[*victim]))?;
            if world.ensemble.has_exited(*victim) {
                say("a server with a full disk has ended");
                world.ensemble.kill(*victim)?;
                world.ensemble.spawn(*victim)?;
            }
        }
        world.ensemble.wait_until_serving(victims)?;
        load.goes_on("disks have room")?;
    }
    Ok(())
}

fn filler(disk: &Path) -> PathBuf {
    disk.join("filler")
}

fn fill(disk: &Path) -> anyhow::Result<()> {
    let mut file = File::create(filler(disk))?;
    let mut size = 1 << 20;
    while size > 0 {
        // Ever smaller pieces, until not a byte goes in.
        if file.write_all(&vec![0; size]).is_err() {
            size /= 4;
        }
    }
    Ok(())
}

fn addresses_changed(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    let (follower, leader) = (world.follower()?, world.leader()?);
    for server in [follower, OBSERVER, leader] {
        world.ensemble.kill(server)?;
        world.network.change_address(server)?;
        let address = client_address(&world.network, server);
        world.ensemble.set_address(server, address)?;
        load.goes_on("one is away")?;
        world.spawn_and_wait(server)?;
        load.goes_on("one is back elsewhere")?;
    }
    Ok(())
}

/// Failures that overlap, a few at a time, with an ensemble whole again between bursts.
fn chaos(world: &mut World, load: &mut Load) -> anyhow::Result<()> {
    for _ in 0..number("ZABD_NETNS_BURSTS").unwrap_or(2) {
        let mut paused = Vec::new();
        let mut done = Vec::new();
        for _ in 0..3 + world.random.below(5) {
            done.push(hurt(world, &mut paused)?);
            sleep(Duration::from_millis(world.random.below(1200) as u64));
        }
        world.network.join()?;
        for server in paused {
            world.ensemble.server(server).resume()?;
        }
        for server in world.ensemble.all() {
            if world.ensemble.server(server).process_id().is_none() {
                world.ensemble.spawn(server)?;
            }
        }
        let back = load
            .goes_on("all is mended")
            .and_then(|()| world.ensemble.wait_until_all_serve());
        back.with_context(|| done.join(", "))?;
        load.turn_page(world)?;
    }
    Ok(())
}

/// Does one thing to one server, or undoes it.
fn hurt(world: &mut World, paused: &mut Vec<usize>) -> anyhow::Result<String> {
    let server = world.random.below(SERVERS);
    let runs = world.ensemble.server(server).process_id().is_some();
    let is_paused = paused.contains(&server);
    Ok(match world.random.below(6) {
        0 | 1 if runs => {
            paused.retain(|other| *other != server);
            world.ensemble.kill(server)?;
            format!("kill {}", server + 1)
        }
        2 if runs && !is_paused => {
            world.ensemble.server(server).pause()?;
            paused.push(server);
            format!("pause {}", server + 1)
        }
        3 | 4 => {
            let hosts = [0, 1, 2, 3].map(Host::Server);
            let mut all: Vec<Host> = hosts.into_iter().chain([Host::Clients]).collect();
            let from = all.remove(server);
            let to = all[world.random.below(all.len())];
            world.network.cut(&[from], &[to])?;
            format!("cut {from:?} to {to:?}")
        }
        _ if !runs => {
            world.ensemble.spawn(server)?;
            format!("spawn {}", server + 1)
        }
        _ if is_paused => {
            paused.retain(|other| *other != server);
            world.ensemble.server(server).resume()?;
            format!("resume {}", server + 1)
        }
        _ => {
            world.network.join()?;
            "join".to_owned()
        }
    })
}
