//! Copies of the data that were damaged, in ensembles of real processes.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zabd_tests::ensemble::{Ensemble, Tree, ask, create_request, read, sync};

fn on_ensemble(case: impl FnOnce(&mut Ensemble) -> anyhow::Result<()>) {
    let mut ensemble = Ensemble::start(3, 0).expect("an ensemble starts");
    if let Err(problem) = case(&mut ensemble) {
        panic!("{problem:?}\n{}", ensemble.last_words());
    }
}

/// What is done to a copy.
type Damage = fn(&Path) -> anyhow::Result<()>;

const DAMAGE: &[(&str, Damage)] = &[
    ("a record in the middle of the log", |root| {
        flip(&first_segment(root)?, 4096 + 40).map(drop)
    }),
    ("the header of a segment", |root| {
        flip(&first_segment(root)?, 20).map(drop)
    }),
    ("a table cut short", |root| {
        let table = file_in(&root.join("snapshot"), ".sst")?;
        let file = OpenOptions::new().write(true).open(&table)?;
        Ok(file.set_len(file.metadata()?.len() / 2)?)
    }),
    ("a table that is missing", |root| {
        Ok(fs::remove_file(file_in(&root.join("snapshot"), ".sst")?)?)
    }),
    ("CURRENT missing", |root| {
        Ok(fs::remove_file(root.join("snapshot/CURRENT"))?)
    }),
    ("CURRENT overwritten", |root| {
        Ok(fs::write(root.join("snapshot/CURRENT"), "nothing")?)
    }),
    ("MANIFEST missing", |root| {
        Ok(fs::remove_file(file_in(
            &root.join("snapshot"),
            "MANIFEST",
        )?)?)
    }),
    ("MANIFEST overwritten", |root| {
        let manifest = file_in(&root.join("snapshot"), "MANIFEST")?;
        let len = fs::metadata(&manifest)?.len();
        for at in 0..len / 7 {
            flip(&manifest, at * 7)?;
        }
        Ok(())
    }),
    ("epochs overwritten", |root| {
        Ok(fs::write(root.join("epochs"), "accepted 0")?)
    }),
    ("epochs missing", |root| {
        Ok(fs::remove_file(root.join("epochs"))?)
    }),
];

/// Whatever happens to one copy, the server comes back with that of the others, and keeps the damaged one aside.
#[test]
fn a_damaged_copy_is_replaced_by_that_of_the_others() {
    on_ensemble(|ensemble| {
        let mut expected = 0;
        for (number, (name, damage)) in DAMAGE.iter().enumerate() {
            let victim = number % 3;
            create_some(ensemble, &format!("/{number}")).context(*name)?;
            ensemble.kill(victim)?;
            let root = root_of(ensemble, victim);
            let before = asides(&root)?.len();
            damage(&root).context(*name)?;
            // Written while it is away.
            create_some(ensemble, &format!("/{number}-away")).context(*name)?;
            expected += 2;
            ensemble.spawn(victim)?;
            ensemble.wait_until_serving(&[victim]).context(*name)?;
            let tree = ensemble.same_tree().context(*name)?;
            ensure!(nodes(&tree) == expected * SOME, "{name}: nodes are missing");
            let asides = asides(&root)?;
            let is_set_aside = !name.starts_with("epochs");
            ensure!(
                asides.len() == before + usize::from(is_set_aside),
                "{name}: {asides:?}"
            );
            for mark in ["repair", "incomplete", "received"] {
                ensure!(!root.join(mark).exists(), "{name}: the mark {mark} stays");
            }
        }
        // All of them hold up what they have now.
        for server in ensemble.all() {
            ensemble.kill(server)?;
        }
        for server in ensemble.all() {
            ensemble.spawn(server)?;
        }
        ensemble.wait_until_all_serve()?;
        ensure!(
            nodes(&ensemble.same_tree()?) == expected * SOME,
            "nodes are missing"
        );
        Ok(())
    });
}

/// With two damaged copies of three nobody serves, and nothing is thrown away: what was set aside can be put back.
#[test]
fn without_a_quorum_of_whole_copies_nothing_is_lost() {
    on_ensemble(|ensemble| {
        create_some(ensemble, "/a")?;
        ensemble.wait_until_all_serve()?;
        for server in ensemble.all() {
            ensemble.kill(server)?;
        }
        let mut hurt = Vec::new();
        for victim in [0, 1] {
            let segment = first_segment(&root_of(ensemble, victim))?;
            let undamaged = flip(&segment, 4096 + 40)?;
            hurt.push((victim, segment, undamaged));
        }
        for server in ensemble.all() {
            ensemble.spawn(server)?;
        }
        // Longer than it takes them to elect each other, if they would.
        sleep(Duration::from_secs(8));
        for server in ensemble.all() {
            ensure!(
                ensemble.client(server).is_err(),
                "server {} serves",
                server + 1
            );
            ensure!(
                ensemble.server(server).process_id().is_some(),
                "server {} has ended",
                server + 1
            );
        }
        for (victim, segment, undamaged) in hurt {
            ensemble.kill(victim)?;
            let root = root_of(ensemble, victim);
            let [aside] = asides(&root)?
                .try_into()
                .map_err(|asides| anyhow::anyhow!("not one directory: {asides:?}"))?;
            // As docs/repair.md says, with a copy that somebody has mended.
            fs::remove_dir_all(root.join("snapshot"))?;
            for entry in fs::read_dir(root.join("log"))? {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "zlog")
                {
                    fs::remove_file(path)?;
                }
            }
            fs::rename(aside.join("snapshot"), root.join("snapshot"))?;
            for entry in fs::read_dir(aside.join("log"))? {
                let path = entry?.path();
                let name = path.file_name().context("a name")?.to_owned();
                fs::rename(&path, root.join("log").join(name))?;
            }
            write_byte(&segment, 4096 + 40, undamaged)?;
            fs::remove_file(root.join("incomplete"))?;
            ensemble.spawn(victim)?;
        }
        ensemble.wait_until_all_serve()?;
        ensure!(nodes(&ensemble.same_tree()?) == SOME, "nodes are missing");
        Ok(())
    });
}

/// Damage that a server meets while it brings another one up to date. What it does not need itself costs the other one a
/// snapshot, else it starts anew with the copy of the others; the other one gets nothing wrong in either case.
#[test]
fn damage_that_is_found_while_running_reaches_nobody() {
    on_ensemble(|ensemble| {
        let followers = ensemble.followers()?;
        let (leader, away) = (ensemble.leader()?, followers[0]);
        create_some(ensemble, "/first")?;
        ensemble.kill(away)?;
        let mut client = ensemble.client(leader)?;
        for number in 0..700 {
            // More than a leader has in memory.
            ask(
                &mut client,
                &create_request(&format!("/away-{number}"), "", 0),
            )?;
        }
        drop(client);
        let root = root_of(ensemble, leader);
        // Within what the other one is to be sent; the page that the leader reads is the one that is written here.
        let segment = first_segment(&root)?;
        for at in 0..16 {
            flip(&segment, 4096 + 30_000 + at)?;
        }
        ensemble.spawn(away)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ensemble.has_ended(leader) {
            ensure!(Instant::now() < deadline, "the leader does not notice");
            sleep(Duration::from_millis(50));
        }
        ensure!(
            ensemble
                .server(leader)
                .log()
                .contains("the transaction log is damaged"),
            "it does not say why"
        );
        ensemble.kill(leader)?;
        // The others go on without it, and it takes over their copy.
        ensemble.wait_until_serving(&followers)?;
        ensemble.spawn(leader)?;
        ensemble.wait_until_all_serve()?;
        ensure!(
            nodes(&ensemble.same_tree()?) == SOME + 700,
            "nodes are missing"
        );
        ensure!(asides(&root)?.len() == 1, "the damaged copy is gone");
        Ok(())
    });
}

const SOME: usize = 40;

/// Nodes below a path that is new, one after the other, each in a batch of its own.
fn create_some(ensemble: &Ensemble, path: &str) -> anyhow::Result<()> {
    let mut client = ensemble.client(ensemble.leader()?)?;
    for number in 0..SOME {
        ask(
            &mut client,
            &create_request(&format!("{path}-{number}"), "some data", 0),
        )?;
    }
    sync(&mut client)?;
    ensure!(
        read(&mut client, &format!("{path}-0"))?.is_some(),
        "{path}-0 is not there"
    );
    Ok(())
}

/// How many nodes tests have made.
fn nodes(tree: &Tree) -> usize {
    tree.keys()
        .filter(|path| *path != "/" && !path.starts_with("/zookeeper"))
        .count()
}

fn root_of(ensemble: &Ensemble, number: usize) -> PathBuf {
    ensemble.server(number).data_dir().join("zabd")
}

/// Directories with what was set aside.
fn asides(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("damaged-") {
            ensure!(path.join("log").is_dir(), "{} has no log", path.display());
            found.push(path);
        }
    }
    Ok(found)
}

fn first_segment(root: &Path) -> anyhow::Result<PathBuf> {
    file_in(&root.join("log"), ".zlog")
}

/// The first file whose name has `part` in it.
fn file_in(dir: &Path, part: &str) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found.sort();
    found
        .into_iter()
        .next()
        .with_context(|| format!("no {part} in {}", dir.display()))
}

/// Changes a byte, and returns what it was.
fn flip(path: &Path, at: u64) -> anyhow::Result<u8> {
    let mut byte = [0];
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 0x10], at)?;
    Ok(byte[0])
}

fn write_byte(path: &Path, at: u64, byte: u8) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    Ok(file.write_all_at(&[byte], at)?)
}
