//! A server, and the shell's binary to be run against it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use zabd_tests::servers::{Implementation, Server, Setup, zab_binary};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn start(implementation: Implementation) -> Server {
    let setup = Setup::default()
        .property("zookeeper.4lw.commands.whitelist", "ruok,srvr,mntr")
        .property("zookeeper.extendedTypesEnabled", "true");
    Server::start(implementation, &setup).unwrap()
}

/// What a command printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn command(server: &str, words: &[&str]) -> Command {
    let mut command = Command::new(zab_binary().unwrap());
    command.args(["-server", server]).args(words);
    command
}

/// Runs a command to its end, without input.
pub(crate) fn zab(server: &str, words: &[&str]) -> Ran {
    let output = command(server, words).stdin(Stdio::null()).output();
    output.unwrap().into()
}

/// Runs a command that must succeed, and says what it printed.
pub(crate) fn ok(server: &str, words: &[&str]) -> String {
    let ran = zab(server, words);
    assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
    ran.out
}

/// Runs a command that must fail, and says its exit code and what it complained of.
pub(crate) fn fails(server: &str, words: &[&str]) -> (i32, String) {
    let ran = zab(server, words);
    let code = ran.code.unwrap();
    assert_ne!(code, 0, "{words:?}: {ran:?}");
    (code, ran.err)
}

/// Runs a command with input.
pub(crate) fn fed(server: &str, words: &[&str], input: &[u8]) -> Ran {
    let mut child = command(server, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap().into()
}

/// A command that runs until it is killed, and the lines that it prints.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(server: &str, words: &[&str]) -> Self {
        let mut child = command(server, words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A directory that goes with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
