//! Where Apache ZooKeeper comes from, and how it is started. Its jars are fetched by Maven on first use and kept beside
//! the build.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, anyhow, ensure};

use crate::servers::profile_directory;

/// The release of Apache ZooKeeper that zabd is compared with.
pub const APACHE_VERSION: &str = "3.9.5";

/// The newest release of the series before it, which a live ensemble may still run.
pub const OLD_APACHE_VERSION: &str = "3.8.6";

/// A release of Apache ZooKeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// [`APACHE_VERSION`].
    Current,
    /// [`OLD_APACHE_VERSION`].
    Old,
}

impl Release {
    /// Its version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Current => APACHE_VERSION,
            Self::Old => OLD_APACHE_VERSION,
        }
    }

    /// Why it cannot be run here, if it cannot.
    ///
    /// Without Java or Maven, and with no archive of an earlier run, there is nothing to compare with.
    #[must_use]
    pub fn unavailable(self) -> Option<String> {
        self.jars().err().map(|error| format!("{error:#}"))
    }

    /// Java with all classes of the release, which says nothing; more properties, the class to run and its arguments are to
    /// follow.
    ///
    /// # Errors
    /// When [`Self::unavailable`] says why.
    pub fn java(self) -> anyhow::Result<Command> {
        Ok(java(self.jars()?, &[])?)
    }

    /// The same, with a log on its standard error.
    ///
    /// # Errors
    /// As for [`Self::java`], and when the library for logs cannot be fetched.
    pub fn java_with_log(self) -> anyhow::Result<Command> {
        static LOGGING: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
        let logging = LOGGING.get_or_init(|| {
            let found = fetch("slf4j-simple", "logging.pom.xml", None).and_then(|dir| list(&dir));
            found.map_err(|error| format!("{error:#}"))
        });
        let logging = logging.as_ref().map_err(|error| anyhow!("{error}"))?;
        let mut command = java(self.jars()?, logging)?;
        command.args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]);
        Ok(command)
    }

    fn jars(self) -> anyhow::Result<&'static [PathBuf]> {
        static CURRENT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
        static OLD: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
        let jars = match self {
            Self::Current => &CURRENT,
            Self::Old => &OLD,
        };
        let found = jars.get_or_init(|| self.find().map_err(|error| format!("{error:#}")));
        let jars = found.as_ref().map_err(|error| anyhow!("{error}"))?;
        Ok(jars)
    }

    fn find(self) -> anyhow::Result<Vec<PathBuf>> {
        let java = Command::new("java")
            .arg("-version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        ensure!(
            java.is_ok_and(|status| status.success()),
            "there is no Java here"
        );
        let version = self.version();
        let directory = match env::var_os("ZABD_TEST_ZOOKEEPER_LIB") {
            Some(directory) if self == Self::Current => PathBuf::from(directory),
            _ => fetch(
                &format!("apache-zookeeper-{version}"),
                "pom.xml",
                Some(version),
            )?,
        };
        let jars = list(&directory)?;
        ensure!(
            jars.iter()
                .any(|jar| jar.ends_with(format!("zookeeper-{version}.jar"))),
            "{} holds no zookeeper-{version}.jar",
            directory.display()
        );
        Ok(jars)
    }
}

/// [`Release::unavailable`] of the current release.
#[must_use]
pub fn apache_unavailable() -> Option<String> {
    Release::Current.unavailable()
}

/// [`Release::java`] of the current release.
///
/// # Errors
/// When [`apache_unavailable`] says why.
pub fn apache_java() -> anyhow::Result<Command> {
    Release::Current.java()
}

fn java(jars: &[PathBuf], before: &[PathBuf]) -> Result<Command, env::JoinPathsError> {
    let class_path: OsString = env::join_paths(before.iter().chain(jars))?;
    let mut command = Command::new("java");
    // Small and quick to start: the tests start many, and none lives long.
    command.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dzookeeper.admin.enableServer=false",
        "-Dzookeeper.jmx.log4j.disable=true",
        "-Djava.net.preferIPv4Stack=true",
    ]);
    command.arg("-cp").arg(class_path);
    Ok(command)
}

fn list(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut jars: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| format!("list {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jar"))
        .collect();
    jars.sort();
    Ok(jars)
}

fn fetch(name: &str, project: &str, version: Option<&str>) -> anyhow::Result<PathBuf> {
    let profile = profile_directory()?;
    let cache = profile.parent().unwrap_or(&profile);
    let directory = cache.join(name);
    if directory.exists() {
        return Ok(directory);
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("differential")
        .join(project);
    let partial = cache.join(format!("{name}.{}", std::process::id()));
    eprintln!("fetching {name} with Maven");
    let mut command = Command::new("mvn");
    command
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&project)
        .arg(format!("-DoutputDirectory={}", partial.display()));
    if let Some(version) = version {
        command.arg(format!("-Dzookeeper.version={version}"));
    }
    let output = command
        .arg("dependency:copy-dependencies")
        .output()
        .context("there is no Maven here")?;
    ensure!(
        output.status.success(),
        "Maven could not fetch {name}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // Whole or not at all; if another process was quicker, its copy is as good as ours.
    if let Err(error) = fs::rename(&partial, &directory) {
        fs::remove_dir_all(&partial)?;
        ensure!(directory.exists(), "keep {}: {error}", directory.display());
    }
    Ok(directory)
}
