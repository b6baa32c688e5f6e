//! The checker of linearizability, porcupine: a Go program beside these tests, built on first use.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::servers::profile_directory;

/// What the checker says of histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All of them are, or not; with what it prints.
    Linearizable(String),
    /// One of them is not.
    Not(String),
    /// There was no answer in time.
    Unclear(String),
}

/// The program.
#[derive(Debug)]
pub struct Checker(PathBuf);

impl Checker {
    /// Builds the program; Go itself knows what has changed. `None` where there is no Go, unless `CI=true`.
    ///
    /// # Errors
    /// When it cannot be built, or in CI there is no Go.
    pub fn build() -> anyhow::Result<Option<Self>> {
        let has_go = Command::new("go").arg("version").output().is_ok();
        if !has_go {
            ensure!(
                env::var_os("CI").is_none_or(|ci| ci != "true"),
                "there is no Go: scripts/install-test-deps must provide it"
            );
            return Ok(None);
        }
        let program = profile_directory()?.join("linearizability");
        let output = Command::new("go")
            .args(["build", "-mod=readonly", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("linearizability"))
            .env("CGO_ENABLED", "0")
            .output()?;
        ensure!(
            output.status.success(),
            "build the checker: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Some(Self(program)))
    }

    /// Checks the history in some files. A history that is not linearizable is drawn beside the first of them.
    ///
    /// # Errors
    /// When a file is no history.
    pub fn check(&self, files: &[PathBuf]) -> anyhow::Result<Verdict> {
        let first = files.first().context("a history")?;
        let output = Command::new(&self.0)
            .arg("-picture")
            .arg(first.with_extension("html"))
            .args(files)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(match output.status.code() {
            Some(0) => Verdict::Linearizable(said),
            Some(1) => Verdict::Not(said),
            Some(3) => Verdict::Unclear(said),
            code => bail!("the checker ended with {code:?}: {said}"),
        })
    }
}
