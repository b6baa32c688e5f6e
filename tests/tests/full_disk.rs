//! A member of an ensemble whose disk is full: a small file system of its own, filled up.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use zabd_tests::ensemble::{Ensemble, create_request};

/// A file system in memory over a directory, gone when dropped.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn over(dir: &Path, mb: u64) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mb}m"), "tmpfs"])
            .arg(dir)
            .output()
            .ok()?;
        mounted.status.success().then(|| Self {
            dir: dir.to_owned(),
        })
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Takes all the room that there is.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())?;
        for len in [1 << 20, 4096] {
            let block = vec![7; len];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    fn make_room(&self) -> anyhow::Result<()> {
        fs::remove_file(self.ballast()).context("remove the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.dir)
            .output()
            .ok();
    }
}

/// Follower or leader: it does not acknowledge what it cannot write, the others go on, and it comes back by itself.
#[test]
fn a_member_with_a_full_disk_takes_no_part_until_there_is_room() {
    let mut ensemble = Ensemble::start(3, 0).expect("an ensemble starts");
    for role in ["follower", "leader"] {
        match full(&mut ensemble, role) {
            Ok(true) => {}
            Ok(false) => return eprintln!("skipped: mounting a file system is not permitted here"),
            Err(problem) => panic!("{role}: {problem:?}\n{}", ensemble.last_words()),
        }
    }
}

fn full(ensemble: &mut Ensemble, role: &str) -> anyhow::Result<bool> {
    // With the same history the highest id leads.
    let victim = if role == "leader" {
        2
    } else {
        ensemble.followers()?[0]
    };
    let data_dir = ensemble.server(victim).data_dir();
    ensemble.kill(victim)?;
    let Some(disk) = SmallDisk::over(&data_dir, 48) else {
        return Ok(false);
    };
    ensemble.spawn(victim)?;
    ensemble.wait_until_all_serve()?;
    if role == "leader" {
        for _ in 0..10 {
            let leader = ensemble.leader()?;
            if leader == victim {
                break;
            }
            ensemble.kill(leader)?;
            sleep(Duration::from_secs(1));
            ensemble.leader()?;
            ensemble.spawn(leader)?;
            ensemble.wait_until_all_serve()?;
        }
        ensure!(ensemble.leader()? == victim, "it does not come to lead");
    }
    disk.fill()?;
    let parent = format!("/{role}");
    let mut written = 0;
    // More than is left in the segment that it has. While another server is elected nobody takes anything.
    let deadline = Instant::now() + Duration::from_secs(60);
    while write_one(ensemble, &parent).is_err() {
        ensure!(Instant::now() < deadline, "writes do not go on");
        sleep(Duration::from_millis(50));
    }
    while written < 80 {
        ensure!(Instant::now() < deadline, "writes do not go on");
        written += usize::from(write_one(ensemble, &format!("{parent}/{written}")).is_ok());
    }
    let said = ensemble.server(victim).log();
    ensure!(
        said.contains("cannot write the transaction log"),
        "it does not say so"
    );
    ensure!(!ensemble.has_ended(victim), "it has ended");
    ensure!(ensemble.client(victim).is_err(), "it serves");
    ensure!(ensemble.leader()? != victim, "it leads");
    disk.make_room()?;
    ensemble.wait_until_serving(&[victim])?;
    let tree = ensemble.same_tree()?;
    for number in 0..written {
        ensure!(
            tree.contains_key(&format!("{parent}/{number}")),
            "{number} is lost"
        );
    }
    // Its snapshot can be written again, too: what it has survives without the log's oldest part.
    ensemble.kill(victim)?;
    ensemble.spawn(victim)?;
    ensemble.wait_until_all_serve()?;
    ensemble.same_tree()?;
    // The directory goes with the test.
    ensemble.kill(victim)?;
    drop(disk);
    ensemble.spawn(victim)?;
    ensemble.wait_until_all_serve()?;
    Ok(true)
}

/// Creates a node with much data through whichever server takes it.
fn write_one(ensemble: &Ensemble, path: &str) -> anyhow::Result<()> {
    let data = "x".repeat(100 << 10);
    for number in ensemble.all() {
        let Ok(mut client) = ensemble.client(number) else {
            continue;
        };
        let request = create_request(path, &data, 0);
        match client.request(&request) {
            // It may have been done although nobody said so.
            Ok(reply) if [0, -110].contains(&reply.header.err) => return Ok(()),
            _ => {}
        }
    }
    bail!("nobody takes it")
}
