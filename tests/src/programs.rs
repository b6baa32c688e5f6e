//! Programs on other client libraries that record histories as [`crate::registers`] does: kazoo and the Java client.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Clients of one kind, in a process of their own.
#[derive(Debug)]
pub struct Program {
    kind: String,
    child: Child,
    file: PathBuf,
}

impl Program {
    /// Starts clients, in a network namespace or not; `hosts` are names or addresses with ports, separated by commas. `first`
    /// is the number of the first client: no other client of a history may have one of theirs.
    ///
    /// # Errors
    /// When there is no Python, or no such kind.
    pub fn start(
        kind: &str,
        namespace: Option<&str>,
        hosts: &str,
        clients: usize,
        first: usize,
        file: PathBuf,
    ) -> anyhow::Result<Self> {
        ensure!(
            ["kazoo", "java"].contains(&kind),
            "there are no clients of the kind {kind}"
        );
        let mut command = Command::new(if namespace.is_some() { "ip" } else { "python3" });
        if let Some(namespace) = namespace {
            command.args(["netns", "exec", namespace, "python3"]);
        }
        let child = command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/registers.py"))
            .args([kind, hosts])
            .arg(&file)
            .args([clients.to_string(), first.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("start other clients")?;
        Ok(Self {
            kind: kind.to_owned(),
            child,
            file,
        })
    }

    /// Lets the clients go on with the registers of another page.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn turn_page(&mut self, page: usize) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("no input")?;
        writeln!(input, "{page}").with_context(|| format!("{} has ended", self.kind))
    }

    /// Ends the clients. Says how many operations there were, and the file with the history.
    ///
    /// # Errors
    /// When the program fails, does not end, or did nothing.
    pub fn finish(mut self) -> anyhow::Result<(String, PathBuf)> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "{} does not end", self.kind);
            sleep(Duration::from_millis(50));
        };
        ensure!(status.success(), "{} ended with {status}", self.kind);
        let history = fs::read_to_string(&self.file)?;
        let unknown = history.matches("unknown").count();
        let operations = history.lines().count();
        if operations == unknown {
            bail!("{} was answered nothing", self.kind);
        }
        let said = format!("{} {operations} operations", self.kind);
        Ok((said, std::mem::take(&mut self.file)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended in order.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
