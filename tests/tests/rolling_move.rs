//! An ensemble of Apache ZooKeeper moved to zabd server by server, and back, under load: `docs/migration.md`, as it stands there.
//!
//! Skipped, with a word about why, where Apache ZooKeeper cannot be run; fails then if `CI` is set. `ZABD_MOVE=O` moves the
//! old release of [`zabd_tests::mixed::kinds`].

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use zabd_tests::ensemble::Ensemble;
use zabd_tests::holders::Holders;
use zabd_tests::linearizability::{Checker, Verdict};
use zabd_tests::mixed::{Mismatches, Mixed, kinds, unavailable};
use zabd_tests::programs::Program;
use zabd_tests::raw::four_letter_word;
use zabd_tests::registers::Registers;
use zabd_tests::servers::{Implementation, Setup, zab_binary, zabd_binary};
use zabd_tests::writers::Writers;

/// The ensemble, and what its logs told so far of digests.
struct Moved {
    ensemble: Mixed,
    mismatches: Vec<Mismatches>,
}

impl Moved {
    /// Reads the logs, before another server becomes another one.
    fn read_logs(&mut self) {
        let java_leaders = self.ensemble.java_leaders();
        for (number, mismatches) in self.mismatches.iter_mut().enumerate() {
            mismatches.read_on(&self.ensemble.server(number).log(), &java_leaders);
        }
    }

    /// No server ever had another tree than its leader, but for what Java servers do to each other.
    fn check_logs(&mut self) -> anyhow::Result<()> {
        self.read_logs();
        for (number, mismatches) in self.mismatches.iter().enumerate() {
            let unexplained = mismatches.unexplained();
            ensure!(
                unexplained.is_empty(),
                "server {}: {unexplained:?}",
                number + 1
            );
            let log = self.ensemble.server(number).log();
            for words in ["tree is not the leader's", "is not the one that Java had"] {
                ensure!(!log.contains(words), "server {}: {words}", number + 1);
            }
        }
        Ok(())
    }
}

/// The followers first, the leader last.
fn order(ensemble: &Ensemble) -> anyhow::Result<Vec<usize>> {
    let mut order = ensemble.all();
    let mut leads = Vec::new();
    for number in &order {
        let address = ensemble.server(*number).address();
        let answer = four_letter_word(address, b"srvr", Duration::from_secs(5))?;
        leads.push(String::from_utf8_lossy(&answer).contains("Mode: leader"));
    }
    order.sort_by_key(|number| leads[*number]);
    Ok(order)
}

fn exit_of(ensemble: &Ensemble, number: usize, word: &str) -> anyhow::Result<()> {
    let config = ensemble.server(number).directory().join("zoo.cfg");
    let output = Command::new(zabd_binary()?)
        .arg(word)
        .arg(config)
        .output()
        .context("run zabd")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{word}: {words}");
    Ok(())
}

/// Waits until `zab migrate` finds nothing in the way: a server may still be on its way back.
fn migrate(ensemble: &Ensemble, word: &str, zabd: usize) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match migrate_now(ensemble, word, zabd) {
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(500)),
            outcome => return outcome,
        }
    }
}

/// It finds nothing now, and so many servers of zabd among those that serve.
fn migrate_now(ensemble: &Ensemble, word: &str, zabd: usize) -> anyhow::Result<()> {
    let addresses: Vec<_> = ensemble
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut command = Command::new(zab_binary()?);
    command.args(["migrate", word, &addresses.join(","), "--json"]);
    if word == "check" {
        let config = ensemble.server(0).directory().join("zoo.cfg");
        command.arg("--config").arg(config);
        command.env("ZABD_BIN", zabd_binary()?);
    }
    let output = command.output().context("run zab migrate")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "migrate {word}: {said}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let members = told["members"].as_array().context("no members")?;
    let count = |is: &dyn Fn(&Value) -> bool| members.iter().filter(|member| is(member)).count();
    ensure!(
        count(&|member| member["zabd"] == true) == zabd
            && count(&|member| member["mode"] == "leader") == 1
            && count(&|member| member["mode"] == "follower") == 2,
        "{said}"
    );
    // Two or more have noted the digest after some transaction.
    ensure!(told["digestsAgreeAt"].is_string(), "no digest: {said}");
    for remark in told["remarks"].as_array().context("no remarks")? {
        eprintln!("{remark}");
    }
    Ok(())
}

/// Clients of five kinds, and what they saw.
struct Load {
    writers: Writers,
    registers: Registers,
    programs: Vec<Program>,
    holders: Holders,
}

/// Of each kind.
const CLIENTS: usize = 2;

impl Load {
    fn start(ensemble: &Ensemble) -> anyhow::Result<Self> {
        let book = ensemble.book();
        let registers = Registers::start(CLIENTS, &book, 1, &mut ensemble.client(0)?)?;
        let hosts: Vec<_> = book.all().iter().map(ToString::to_string).collect();
        let programs = ["kazoo", "java"].into_iter().zip(1..).map(|(kind, place)| {
            let (file, first) = (history_file(kind), CLIENTS * place);
            Program::start(kind, None, &hosts.join(","), CLIENTS, first, file)
        });
        Ok(Self {
            writers: Writers::start(3, book, 1),
            programs: programs.collect::<anyhow::Result<_>>()?,
            registers,
            holders: Holders::start(&hosts.join(","), &mut ensemble.client(0)?)?,
        })
    }

    fn turn_page(&mut self, ensemble: &Ensemble, number: usize) -> anyhow::Result<()> {
        let page = self.registers.turn_page(&mut ensemble.client(number)?)?;
        let mut programs = self.programs.iter_mut();
        programs.try_for_each(|program| program.turn_page(page))
    }

    /// Everything that was acknowledged is there, and what clients saw can have happened.
    fn finish(self, ensemble: &Ensemble) -> anyhow::Result<()> {
        let (writers, history) = (self.writers.finish()?, self.registers.finish()?);
        let mut files = vec![history_file("rust")];
        history.save(&files[0])?;
        eprintln!("rust {} operations", history.answered());
        for program in self.programs {
            let (said, file) = program.finish()?;
            eprintln!("{said}");
            files.push(file);
        }
        let held = self.holders.finish()?;
        eprintln!("{held:?}");
        let tree = ensemble.same_tree()?;
        held.check(&tree)?;
        writers.iter().try_for_each(|writer| writer.check(&tree))?;
        match Checker::build()?.map(|checker| checker.check(&files)) {
            None => eprintln!("not checked for linearizability: there is no Go here"),
            Some(verdict) => match verdict? {
                Verdict::Linearizable(said) => eprintln!("{said}"),
                other => bail!("{other:?}; see {files:?}"),
            },
        }
        Ok(files.iter().try_for_each(fs::remove_file)?)
    }
}

fn history_file(kind: &str) -> PathBuf {
    let name = format!("zabd-rolling-move-{}-{kind}.history", std::process::id());
    std::env::temp_dir().join(name)
}

/// Moves every server, one after the other, while clients go on.
fn roll(moved: &mut Moved, to: Implementation, load: &mut Load) -> anyhow::Result<()> {
    for number in order(&moved.ensemble)? {
        let ensemble = &mut moved.ensemble;
        load.turn_page(ensemble, number)?;
        let writers = &load.writers;
        writers.wait_for(100)?;
        load.holders.wait_for(2)?;
        ensemble.stop(number)?;
        moved.read_logs();
        let ensemble = &mut moved.ensemble;
        if to != Implementation::Zabd {
            exit_of(ensemble, number, "export-java")?;
        }
        ensemble.set_implementation(number, to)?;
        ensemble.spawn(number)?;
        ensemble
            .wait_until_serving(&[number])
            .with_context(|| format!("server {} as {}", number + 1, to.name()))?;
        eprintln!(
            "server {} is {} after {} writes",
            number + 1,
            to.name(),
            writers.acknowledged()
        );
        writers.wait_for(100)?;
        load.holders.wait_for(2)?;
        let zabd = ensemble
            .all()
            .into_iter()
            .filter(|number| ensemble.server(*number).implementation() == Implementation::Zabd);
        migrate(ensemble, "status", zabd.count())?;
    }
    Ok(())
}

fn story(letters: &str) -> anyhow::Result<()> {
    let setup = Setup::default()
        .property("zookeeper.snapCount", "500")
        .property("zookeeper.preAllocSize", "256");
    let ensemble = Mixed::start(letters, 3, setup)?;
    let mut moved = Moved {
        mismatches: vec![Mismatches::default(); ensemble.all().len()],
        ensemble,
    };
    let mut load = Load::start(&moved.ensemble)?;
    let rolled = load
        .writers
        .wait_for(600)
        .and_then(|()| load.holders.wait_for(2))
        .and_then(|()| migrate(&moved.ensemble, "check", 0))
        .and_then(|()| roll(&mut moved, Implementation::Zabd, &mut load))
        .and_then(|()| roll(&mut moved, kinds(letters)[0], &mut load));
    let told = rolled
        .and_then(|()| load.finish(&moved.ensemble))
        .and_then(|()| moved.check_logs());
    told.with_context(|| moved.ensemble.last_words())
}

#[test]
fn an_ensemble_is_moved_under_load_and_back() {
    let letter = std::env::var("ZABD_MOVE").unwrap_or_else(|_| "J".to_owned());
    if let Some(why) = unavailable(&letter) {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        return eprintln!("skipped: {why}");
    }
    story(&letter.repeat(3)).unwrap_or_else(|problem| panic!("{problem:#}"));
}
