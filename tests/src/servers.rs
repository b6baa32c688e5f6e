//! zabd and Apache ZooKeeper as child processes: one description, two servers.
//!
//! Each server listens on a free loopback port and has a data directory of its own under the system's temporary
//! directory, which goes with the [`Server`].

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::apache::Release;
pub use crate::apache::{APACHE_VERSION, apache_java, apache_unavailable};
use crate::raw::four_letter_word;

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Which server to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// Apache ZooKeeper, release [`APACHE_VERSION`].
    Apache,
    /// Apache ZooKeeper, release [`crate::apache::OLD_APACHE_VERSION`].
    OldApache,
    /// zabd, the binary named by `ZABD_BIN` or else that of the build which this test belongs to.
    Zabd,
}

impl Implementation {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apache => "Apache ZooKeeper",
            Self::OldApache => "old Apache ZooKeeper",
            Self::Zabd => "zabd",
        }
    }

    /// Which release of Apache ZooKeeper it is, if it is one.
    #[must_use]
    pub const fn release(self) -> Option<Release> {
        match self {
            Self::Apache => Some(Release::Current),
            Self::OldApache => Some(Release::Old),
            Self::Zabd => None,
        }
    }
}

/// How a server is to be set up, in terms that both implementations have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// Keys of zoo.cfg beyond `clientPort`, `clientPortAddress` and `dataDir`.
    pub keys: Vec<(String, String)>,
    /// Java system properties by their full names. Apache gets them as `-D`, zabd as keys of zoo.cfg without the
    /// prefix `zookeeper.`.
    pub properties: Vec<(String, String)>,
    /// The network namespace to run in, where it is not that of the test. Only root may.
    pub namespace: Option<String>,
    /// Once it is there zoo.cfg is the server's own, which rewrites it when the members change.
    pub keeps_file: bool,
    /// Apache writes a log, as zabd always does. Without it is silent, and starts faster.
    pub apache_logs: bool,
}

impl Setup {
    /// Adds a key of zoo.cfg.
    #[must_use]
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.keys.push((name.into(), value.into()));
        self
    }

    /// Adds a Java system property, or for zabd the key it stands for.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

/// A server that runs, or has been stopped and can be started again on the same data.
#[derive(Debug)]
pub struct Server {
    implementation: Implementation,
    setup: Setup,
    directory: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on an empty data directory and waits until it serves.
    ///
    /// # Errors
    /// When the server cannot be found, or exits, or does not serve within a minute.
    pub fn start(implementation: Implementation, setup: &Setup) -> anyhow::Result<Self> {
        let mut server = Self::prepare(implementation, setup.clone(), free_address()?)?;
        // Another process may take the port between our look and the server's bind.
        for attempt in 0.. {
            match server.launch() {
                Ok(()) => break,
                Err(error) if attempt < 2 && server.log().contains("in use") => {
                    server.address = free_address()?;
                    eprintln!("{}: {error:#}; trying another port", implementation.name());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// Makes an empty data directory for a server, which [`Self::spawn`] or [`Self::restart`] starts.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn prepare(
        implementation: Implementation,
        setup: Setup,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("zabd-test-{}-{number}", std::process::id()));
        fs::create_dir_all(directory.join("data"))
            .with_context(|| format!("create {}", directory.display()))?;
        Ok(Self {
            implementation,
            setup,
            directory,
            address,
            child: None,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The running server has moved by itself: clients connect there.
    pub fn has_moved(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// The directory of zoo.cfg and of the data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives a server that is stopped another address to listen on.
    ///
    /// # Errors
    /// When it runs.
    pub fn set_address(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the server is running");
        self.address = address;
        Ok(())
    }

    /// Which server this is.
    #[must_use]
    pub fn implementation(&self) -> Implementation {
        self.implementation
    }

    /// Lets the other implementation go on with the data of a server that is stopped.
    ///
    /// # Errors
    /// When it runs.
    pub fn set_implementation(&mut self, implementation: Implementation) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the server is running");
        self.implementation = implementation;
        Ok(())
    }

    /// The directory that the server was given as `dataDir`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The process, if it is running.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What the server has written to its standard output and error, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether the process has ended by itself.
    pub fn has_exited(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => true,
        }
    }

    /// Asks the server to stop (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not stop; it is then killed.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        signal(child, Signal::TERM)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                self.child = None;
                return Ok(());
            }
            sleep(Duration::from_millis(5));
        }
        self.kill()?;
        bail!("{} did not stop when asked", self.implementation.name());
    }

    /// Kills the server (SIGKILL).
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("kill the server")?;
            child.wait().context("wait for the server")?;
        }
        Ok(())
    }

    /// Starts a stopped or killed server on its data directory and port.
    ///
    /// # Errors
    /// When it runs already, exits, or does not serve within a minute.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the server is running");
        self.launch()
    }

    /// Stops the process where it stands (SIGSTOP): its connections stay open and nothing answers on them.
    ///
    /// # Errors
    /// When it does not run, or the operating system refuses.
    pub fn pause(&self) -> anyhow::Result<()> {
        let child = self.running()?;
        signal(child, Signal::STOP)?;
        // Its threads stop one after the other, and on a busy machine some go on for a while.
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
            if waitid(WaitId::Pid(process(child)?), options)?.is_some_and(|status| status.stopped())
            {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        bail!("{} did not stop where it stood", self.implementation.name());
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// As for [`Self::pause`].
    pub fn resume(&self) -> anyhow::Result<()> {
        signal(self.running()?, Signal::CONT)
    }

    fn running(&self) -> anyhow::Result<&Child> {
        self.child.as_ref().context("the server is not running")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_until_serving()
    }

    /// Starts the process and does not wait: a member of an ensemble cannot serve without the others.
    ///
    /// # Errors
    /// When it runs already, or there is no program to run.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the server is running");
        let config = self.directory.join("zoo.cfg");
        if !(self.setup.keeps_file && config.exists()) {
            fs::write(&config, self.zoo_cfg()).context("write zoo.cfg")?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("open the server's log")?;
        let command = match self.implementation.release() {
            Some(release) => self.apache_command(release)?,
            None => Command::new(zabd_binary()?),
        };
        let mut command = self.in_namespace(command);
        command
            .arg(&config)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("start {command:?}"))?,
        );
        Ok(())
    }

    fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            if self.has_exited() {
                self.child = None;
                bail!(
                    "{} exited at start-up:\n{}",
                    self.implementation.name(),
                    self.log()
                );
            }
            // Always allowed, and answered with a mode only by a server that serves.
            if four_letter_word(self.address, b"srvr", Duration::from_secs(2)).is_ok_and(|answer| {
                answer
                    .windows(b"Mode: ".len())
                    .any(|window| window == b"Mode: ")
            }) {
                return Ok(());
            }
            sleep(Duration::from_millis(10));
        }
        self.kill()?;
        bail!(
            "{} does not serve:\n{}",
            self.implementation.name(),
            self.log()
        );
    }

    fn zoo_cfg(&self) -> String {
        let mut text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress={}\n",
            self.data_dir().display(),
            self.address.port(),
            self.address.ip(),
        );
        let mut line = |name: &str, value: &str| {
            writeln!(text, "{name}={value}").expect("writing to a string does not fail");
        };
        for (name, value) in &self.setup.keys {
            line(name, value);
        }
        if self.implementation == Implementation::Zabd {
            line("admin.enableServer", "false");
            for (name, value) in &self.setup.properties {
                line(name.strip_prefix("zookeeper.").unwrap_or(name), value);
            }
        }
        text
    }

    /// The same command where the server is to be. `ip` becomes the server: its process id is that of the server.
    fn in_namespace(&self, command: Command) -> Command {
        let Some(namespace) = &self.setup.namespace else {
            return command;
        };
        let mut there = Command::new("ip");
        there.args(["netns", "exec", namespace]);
        there.arg(command.get_program()).args(command.get_args());
        there
    }

    fn apache_command(&self, release: Release) -> anyhow::Result<Command> {
        let mut command = if self.setup.apache_logs {
            release.java_with_log()?
        } else {
            release.java()?
        };
        for (name, value) in &self.setup.properties {
            command.arg(format!("-D{name}={value}"));
        }
        let is_member = self
            .setup
            .keys
            .iter()
            .any(|(name, _)| name.starts_with("server."));
        command.arg(if is_member {
            "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        } else {
            "org.apache.zookeeper.server.ZooKeeperServerMain"
        });
        Ok(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("remove {}: {error}", self.directory.display());
        }
    }
}

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    kill_process(process(child)?, signal).context("signal the server")
}

fn process(child: &Child) -> anyhow::Result<Pid> {
    let id = i32::try_from(child.id()).context("process id")?;
    Pid::from_raw(id).ok_or_else(|| anyhow!("process id 0"))
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}

/// The directory of the cargo build that this program belongs to: `target/debug` or the like.
pub(crate) fn profile_directory() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("find this program")?;
    let deps = program.parent().context("this program's directory")?;
    let profile = if deps.ends_with("deps") {
        deps.parent().context("the build's directory")?
    } else {
        deps
    };
    Ok(profile.to_path_buf())
}

/// The zabd that tests run.
///
/// # Errors
/// When there is none.
pub fn zabd_binary() -> anyhow::Result<PathBuf> {
    binary("zabd", "ZABD_BIN")
}

/// The shell: the binary named by `ZAB_BIN` or else that of the build which this test belongs to.
///
/// # Errors
/// When there is none.
pub fn zab_binary() -> anyhow::Result<PathBuf> {
    binary("zab", "ZAB_BIN")
}

fn binary(name: &str, variable: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let path = profile_directory()?.join(name);
    ensure!(
        path.exists(),
        "{} does not exist: run `cargo build -p {name}`, or name a binary in {variable}",
        path.display()
    );
    Ok(path)
}
