//! Programs on Curator and the C library that hold one lock and count with one counter, and a witness of it outside of
//! ZooKeeper: a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::Text;
use jute_codec::data::Acl;
use jute_codec::proto::{CreateRequest, Request};

use crate::ensemble::{Tree, ask, create_request};
use crate::raw::RawClient;

const LOCK: &str = "/held";
const COUNTER: &str = "/counted";
/// Longer than a session that was left behind keeps a lock.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// The programs, by name.
#[derive(Debug)]
pub struct Holders {
    programs: BTreeMap<String, Child>,
    file: PathBuf,
}

/// What they did in all.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How often each of them held the lock.
    pub locks: BTreeMap<String, usize>,
    /// How often the counter was raised for all that they were told.
    pub counts: usize,
}

impl Holders {
    /// Starts two of each kind.
    ///
    /// # Errors
    /// When there is no Python, or `client` is not served.
    pub fn start(hosts: &str, client: &mut RawClient) -> anyhow::Result<Self> {
        ask(client, &create_request(LOCK, "", 0))?;
        let zero = CreateRequest {
            path: Some(Text::from(COUNTER)),
            data: Some(Bytes::from_static(&[0; 8])),
            acl: Some(vec![Acl::open()]),
            flags: 0,
        };
        ask(client, &Request::Create(zero))?;
        let name = format!("zabd-holders-{}.witness", std::process::id());
        let file = std::env::temp_dir().join(name);
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let mut holders = Self {
            programs: BTreeMap::new(),
            file,
        };
        for number in 1..=2 {
            for (kind, program) in [("java", "Hold"), ("c", "hold")] {
                let name = format!("{kind}-{number}");
                let child = Command::new("python3")
                    .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/recipes.py"))
                    .args([kind, program, hosts, LOCK, COUNTER])
                    .arg(&holders.file)
                    .arg(&name)
                    .stdin(Stdio::piped())
                    .spawn()
                    .context("start programs that hold a lock")?;
                holders.programs.insert(name, child);
            }
        }
        Ok(holders)
    }

    /// Waits until every one of them has held the lock so many times more.
    ///
    /// # Errors
    /// When one has ended, or that takes too long.
    pub fn wait_for(&mut self, more: usize) -> anyhow::Result<()> {
        let until = Instant::now() + END_PATIENCE;
        let before = self.held()?.locks;
        loop {
            let now = self.held()?.locks;
            let count = |held: &BTreeMap<String, usize>, name: &str| {
                held.get(name).copied().unwrap_or_default()
            };
            let rests = |name: &&String| count(&now, name) < count(&before, name) + more;
            let Some(rests) = self.programs.keys().find(rests).cloned() else {
                return Ok(());
            };
            for (name, child) in &mut self.programs {
                if let Some(status) = child.try_wait()? {
                    bail!("{name} ended with {status}");
                }
            }
            ensure!(Instant::now() < until, "{rests} does not get the lock");
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends them. No two ever held the lock at a time, no number was given out twice, and all still had their first sessions
    /// and their ephemeral nodes. What they counted is to be compared with what is there then ([`Held::check`]).
    ///
    /// # Errors
    /// When that is not so.
    pub fn finish(mut self) -> anyhow::Result<Held> {
        for child in self.programs.values_mut() {
            drop(child.stdin.take());
        }
        let until = Instant::now() + END_PATIENCE;
        for (name, child) in &mut self.programs {
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                ensure!(Instant::now() < until, "{name} does not end");
                sleep(Duration::from_millis(20));
            };
            ensure!(status.success(), "{name} ended with {status}");
        }
        let text = fs::read_to_string(&self.file)?;
        for name in self.programs.keys() {
            ensure!(
                text.lines().any(|line| line == format!("kept {name}")),
                "{name} has not kept its session, or the node of it"
            );
        }
        let held = self.held()?;
        fs::remove_file(&self.file)?;
        Ok(held)
    }

    fn held(&self) -> anyhow::Result<Held> {
        witness(&fs::read_to_string(&self.file).unwrap_or_default())
    }
}

impl Held {
    /// Compares with what is there in the end: an answer that got lost may have raised the counter, too.
    ///
    /// # Errors
    /// When the counter is behind what somebody was told, or a lock is left.
    pub fn check(&self, tree: &Tree) -> anyhow::Result<()> {
        let (data, _) = tree.get(COUNTER).context("the counter is gone")?;
        let bytes: [u8; 8] = data.as_deref().unwrap_or_default().try_into()?;
        let value = u64::from_be_bytes(bytes);
        ensure!(
            value >= self.counts as u64,
            "the counter is {value}, and was raised {} times",
            self.counts
        );
        let left = tree.keys().find(|path| path.starts_with("/held/"));
        ensure!(left.is_none(), "{left:?} is left");
        Ok(())
    }
}

/// Reads the file.
fn witness(text: &str) -> anyhow::Result<Held> {
    let mut held = Held::default();
    let (mut inside, mut values) = (None, BTreeSet::new());
    // A line that is being written may have no end yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["enter", name] => {
                ensure!(
                    inside.is_none(),
                    "{name} holds the lock, and so does {inside:?}"
                );
                inside = Some(name);
                *held.locks.entry(name.to_owned()).or_default() += 1;
            }
            ["leave", name] => {
                ensure!(inside == Some(name), "{name} leaves, {inside:?} is inside");
                inside = None;
            }
            ["count", name, value] => {
                let value: u64 = value.parse()?;
                ensure!(values.insert(value), "{name} is the second to get {value}");
            }
            ["kept", _] => {}
            _ => bail!("a torn line: {line}"),
        }
    }
    // Each of these raised it by one of its own.
    held.counts = values.len();
    if let Some(greatest) = values.last() {
        ensure!(*greatest >= held.counts as u64, "{greatest} is too little");
    }
    Ok(held)
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in self.programs.values_mut() {
            // Both fail when it has ended in order.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_is_seen() {
        let good = "enter a\ncount b 1\nleave a\nenter b\nleave b\ncount a 3\nkept a\nenter";
        let held = witness(good).unwrap();
        assert_eq!((held.locks["a"], held.locks["b"], held.counts), (1, 1, 2));
        for bad in [
            "enter a\nenter b\n",
            "enter a\nleave b\n",
            "leave a\n",
            "count a 1\ncount b 1\n",
            "enter\n",
        ] {
            assert!(witness(bad).is_err(), "{bad}");
        }
    }
}
