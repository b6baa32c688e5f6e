//! The servers, programs and witnesses of these tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use zabd_tests::servers::{Implementation, Server, Setup};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn server(implementation: Implementation) -> Server {
    let setup = Setup::default()
        .key("tickTime", "250")
        .key("4lw.commands.whitelist", "*")
        .key("maxClientCnxns", "0");
    Server::start(implementation, &setup).unwrap()
}

/// `ZAB_BIN`, or that of the build which this test belongs to.
pub(crate) fn zab_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ZAB_BIN") {
        return path.into();
    }
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().parent().unwrap().join("zab");
    assert!(
        path.exists(),
        "{} does not exist: run `cargo build -p zab`, or name a binary in ZAB_BIN",
        path.display()
    );
    path
}

pub(crate) fn zab(server: &Server, timeout_ms: u32, words: &[&str]) -> Command {
    let mut command = Command::new(zab_binary());
    command
        .args(["-server", &server.address().to_string()])
        .args(["-timeout", &timeout_ms.to_string()])
        .args(words)
        .stdin(Stdio::null());
    command
}

pub(crate) fn output(server: &Server, words: &[&str]) -> Output {
    zab(server, 10_000, words).output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(10));
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A file to which everybody who holds something appends a line when he begins and one before he ends.
pub(crate) struct Witness {
    pub(crate) log: PathBuf,
}

/// How many may be in at a time.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// One, with tokens that grow.
    One,
    /// Several who read, or one who writes.
    ReadersOrWriter,
    /// So many.
    AtMost(usize),
}

impl Witness {
    pub(crate) fn new(server: &Server, name: &str) -> Self {
        Self {
            log: server.directory().join(name),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, start: &str) -> bool {
        self.lines().iter().any(|line| line.starts_with(start))
    }

    /// What a command under zab does: says when it begins, holds for a while, says when it ends.
    pub(crate) fn script(&self, name: &str, mark: &str, hold: &str) -> String {
        let log = self.log.display();
        format!(
            "echo \"enter {name} $ZAB_FENCING_TOKEN {mark}\" >> {log}; sleep {hold}; \
             echo \"leave {name} $ZAB_FENCING_TOKEN {mark}\" >> {log}"
        )
    }

    /// Reads it all and says how often something was held. Those who were killed or cut off need not
    /// have left.
    pub(crate) fn check(&self, rule: Rule, killed: &BTreeSet<String>) -> usize {
        let mut inside: Vec<(String, bool)> = Vec::new();
        let mut token_max = 0_i64;
        let mut held = 0;
        for line in self.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [what, name, token, mark] = words[..] else {
                panic!("a torn line: {line}");
            };
            if what == "leave" {
                match inside.iter().position(|(inside, _)| inside == name) {
                    Some(at) => drop(inside.remove(at)),
                    // He was told late, and somebody else had it already, with a greater token.
                    None if killed.contains(name) => {}
                    None => panic!("{line} without entering"),
                }
                continue;
            }
            inside.retain(|(name, _)| !killed.contains(name));
            let writes = mark == "w";
            let allowed = match rule {
                Rule::One => inside.is_empty(),
                Rule::ReadersOrWriter => {
                    inside.is_empty() || (!writes && inside.iter().all(|(_, writes)| !writes))
                }
                Rule::AtMost(count) => inside.len() < count,
            };
            assert!(allowed, "{line} while {inside:?} are in");
            let token: i64 = token.parse().unwrap();
            if rule == Rule::One {
                assert!(token > token_max, "{line} after token {token_max}");
                token_max = token;
            }
            inside.push((name.to_owned(), writes));
            held += 1;
        }
        held
    }
}

/// Starts a program on another library that contends.
pub(crate) fn other(
    server: &Server,
    library: &str,
    kind: &str,
    path: &str,
    rounds: usize,
    witness: &Witness,
    name: &str,
) -> Child {
    let address = server.address().to_string();
    other_at(&address, library, kind, path, rounds, witness, name)
}

/// The same, on another way to the server.
pub(crate) fn other_at(
    address: &str,
    library: &str,
    kind: &str,
    path: &str,
    rounds: usize,
    witness: &Witness,
    name: &str,
) -> Child {
    let program = if library == "java" {
        "Contend"
    } else {
        "contend"
    };
    let (rounds, log) = (rounds.to_string(), witness.log.to_string_lossy());
    program_at(
        address,
        library,
        program,
        &[kind, path, &rounds, &log, name],
    )
}

/// Starts a program of `tests/interop/recipes`.
pub(crate) fn program_of(server: &Server, library: &str, program: &str, words: &[&str]) -> Child {
    program_at(&server.address().to_string(), library, program, words)
}

fn program_at(address: &str, library: &str, program: &str, words: &[&str]) -> Child {
    Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/recipes.py"))
        .args([library, program, address])
        .args(words)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

pub(crate) fn finish(mut child: Child) {
    let mut status = None;
    until("another program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{status:?}");
}

/// A program that goes with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Waits for its end, and says its exit code.
    pub(crate) fn code(&mut self) -> i32 {
        let mut status = None;
        until("it ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Answers GET of /health with 200 or 503, and says whom it was asked by.
pub(crate) fn health_server(is_well: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let is_asked = request.starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:");
            let status = match is_well.load(Ordering::Relaxed) && is_asked {
                true => "200 OK",
                false => "503 Service Unavailable",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    port
}
