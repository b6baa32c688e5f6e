//! Finding out, again and again, whether an instance is well.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zab::naming::{Health, Instance, Thresholds, printable};

use super::service_options::Checks;

/// A status line is shorter.
const STATUS_BYTES_MAX: u64 = 1024;

/// What is thought of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It was not looked at yet.
    Unknown,
    Well,
    Unwell {
        reason: String,
    },
}

/// What is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Probe {
    Command(String),
    Http { authority: String, target: String },
    Tcp(String),
}

/// What cannot be a check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(
        "--check-http takes http://HOST:PORT/PATH or /PATH, not \"{0}\"; for https use --check-command 'curl -fsS …'"
    )]
    Url(String),
    #[error("--check-tcp takes HOST:PORT, not \"{0}\"")]
    HostPort(String),
    #[error("the check needs a --port")]
    NoPort,
}

impl Probe {
    fn of(checks: &Checks, instance: &Instance) -> Result<Option<Self>, CheckError> {
        let own = || {
            instance
                .port
                .or(instance.ssl_port)
                .ok_or(CheckError::NoPort)?;
            Ok(instance.endpoint().unwrap_or_default())
        };
        if let Some(command) = &checks.check_command {
            return Ok(Some(Self::Command(command.clone())));
        }
        if let Some(target) = &checks.check_tcp {
            let authority = match target.as_str() {
                "" => own()?,
                target => with_port(target, None).ok_or(CheckError::HostPort(target.to_owned()))?,
            };
            return Ok(Some(Self::Tcp(authority)));
        }
        let Some(url) = &checks.check_http else {
            return Ok(None);
        };
        let wrong = || CheckError::Url(url.clone());
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        let (authority, target) = if url.starts_with('/') {
            (own()?, url.clone())
        } else {
            let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
            let at = rest.find('/').unwrap_or(rest.len());
            let (authority, target) = rest.split_at(at);
            let authority = with_port(authority, Some(80)).ok_or_else(wrong)?;
            let target = if target.is_empty() { "/" } else { target };
            (authority, target.to_owned())
        };
        Ok(Some(Self::Http { authority, target }))
    }

    async fn run(&self, environment: &[(&str, String)]) -> Result<(), String> {
        match self {
            Self::Command(command) => run_command(command, environment).await,
            Self::Tcp(authority) => connect(authority).await.map(drop),
            Self::Http { authority, target } => {
                let mut stream = connect(authority).await?;
                let status = ask(&mut stream, authority, target).await;
                let status = status.map_err(|error| format!("GET {target}: {error}"))?;
                match good_status(&status) {
                    true => Ok(()),
                    false => Err(format!("GET {target}: {}", printable(&status))),
                }
            }
        }
    }
}

/// `HOST:PORT`, if it is that or can be made that.
fn with_port(text: &str, default: Option<u16>) -> Option<String> {
    let behind = text.rsplit_once(']').map_or(text, |(_, behind)| behind);
    match behind.rsplit_once(':') {
        Some((_, port)) => {
            let host = &text[..text.len() - port.len() - 1];
            (port.parse::<u16>().is_ok() && !host.is_empty()).then(|| text.to_owned())
        }
        None if text.is_empty() => None,
        None => default.map(|port| format!("{text}:{port}")),
    }
}

async fn connect(authority: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(authority).await;
    stream.map_err(|error| format!("connect to {authority}: {error}"))
}

/// The first line of the answer.
async fn ask(stream: &mut TcpStream, authority: &str, target: &str) -> io::Result<String> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: zab\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    let mut stream = stream.take(STATUS_BYTES_MAX);
    let mut part = [0; 256];
    loop {
        let count = stream.read(&mut part).await?;
        line.extend_from_slice(&part[..count]);
        let end = line.iter().position(|byte| *byte == b'\n');
        if count == 0 || end.is_some() {
            line.truncate(end.unwrap_or(line.len()));
            return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}

fn good_status(line: &str) -> bool {
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let code = words.next().and_then(|code| code.parse::<u16>().ok());
    version.starts_with("HTTP/1.") && code.is_some_and(|code| (200..300).contains(&code))
}

/// Kills a command with all that it has started when nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

async fn run_command(command: &str, environment: &[(&str, String)]) -> Result<(), String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("run sh: {error}"))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    let status = child.wait().await;
    // What it has left running goes on, as with any shell; its number may be another's from now on.
    group.0 = None;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the check command ended with {status}")),
        Err(error) => Err(format!("wait for the check command: {error}")),
    }
}

/// Checks that go on in a task until this is dropped.
pub(super) struct Checker {
    condition: watch::Receiver<Condition>,
    task: Option<JoinHandle<()>>,
}

impl Checker {
    /// Begins. Without a check the instance is always well.
    pub(super) fn start(
        checks: &Checks,
        instance: &Instance,
        environment: &[(&'static str, String)],
    ) -> Result<Self, CheckError> {
        let (sender, condition) = watch::channel(Condition::Well);
        let Some(probe) = Probe::of(checks, instance)? else {
            return Ok(Self {
                condition,
                task: None,
            });
        };
        sender.send_replace(Condition::Unknown);
        let rounds = Rounds {
            probe,
            interval: checks.check_interval.max(INTERVAL_MIN),
            patience: checks.check_timeout,
            health: Health::new(Thresholds {
                rise: checks.rise,
                fall: checks.fall,
            }),
            environment: environment.to_vec(),
        };
        let task = tokio::spawn(rounds.go(sender));
        Ok(Self {
            condition,
            task: Some(task),
        })
    }

    pub(super) fn condition(&mut self) -> Condition {
        self.condition.borrow_and_update().clone()
    }

    /// Waits until something else is thought than [`Self::condition`] said.
    pub(super) async fn changed(&mut self) {
        if self.condition.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Who is being started is looked at no more seldom than this.
const STARTING_INTERVAL: Duration = Duration::from_secs(1);

/// A pause of nothing would keep the machine busy with checks.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

impl Drop for Checker {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Rounds {
    probe: Probe,
    interval: Duration,
    patience: Duration,
    health: Health,
    environment: Vec<(&'static str, String)>,
}

impl Rounds {
    async fn go(mut self, sender: watch::Sender<Condition>) {
        loop {
            let checked = timeout(self.patience, self.probe.run(&self.environment)).await;
            let checked =
                checked.unwrap_or_else(|_| Err(format!("no result within {:?}", self.patience)));
            let is_well = self.health.note(checked.is_ok());
            sender.send_if_modified(|condition| {
                let now = match &checked {
                    _ if is_well => Condition::Well,
                    Err(reason) => Condition::Unwell {
                        reason: reason.clone(),
                    },
                    // It gets better: the reason is that of before.
                    Ok(()) => return false,
                };
                let is_news = std::mem::discriminant(&now) != std::mem::discriminant(condition);
                *condition = now;
                is_news
            });
            let pause = match self.health.is_starting() {
                true => self.interval.min(STARTING_INTERVAL),
                false => self.interval,
            };
            sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpListener;

    use super::super::service_options::{Action, Service};
    use super::*;

    fn probe(words: &str) -> Result<Option<Probe>, CheckError> {
        let words = format!("register web --address ::1 {words}");
        let Action::Register(register) = Service::try_parse_from(words.split_whitespace())
            .unwrap()
            .action
        else {
            panic!("another action");
        };
        let mut instance = Instance::new("web", "a", Some(register.address.clone()));
        instance.port = register.port;
        Probe::of(&register.checks, &instance)
    }

    #[test]
    fn checks_are_what_the_command_line_says() {
        let http = |authority: &str, target: &str| {
            Some(Probe::Http {
                authority: authority.to_owned(),
                target: target.to_owned(),
            })
        };
        let tcp = |authority: &str| Some(Probe::Tcp(authority.to_owned()));
        for (words, wanted) in [
            ("", Ok(None)),
            ("--port 80 --check-tcp", Ok(tcp("[::1]:80"))),
            ("--check-tcp=h:81", Ok(tcp("h:81"))),
            ("--check-tcp=[::2]:81", Ok(tcp("[::2]:81"))),
            ("--port 80 --check-http /h?x", Ok(http("[::1]:80", "/h?x"))),
            ("--check-http http://h", Ok(http("h:80", "/"))),
            ("--check-http http://[::2]:8/x", Ok(http("[::2]:8", "/x"))),
            ("--check-tcp", Err(CheckError::NoPort)),
            ("--check-http /h", Err(CheckError::NoPort)),
            ("--check-tcp=h", Err(CheckError::HostPort("h".into()))),
            ("--check-tcp=:1", Err(CheckError::HostPort(":1".into()))),
            (
                "--check-tcp=[::2]",
                Err(CheckError::HostPort("[::2]".into())),
            ),
            (
                "--check-http https://h/",
                Err(CheckError::Url("https://h/".into())),
            ),
            (
                "--check-http http:///x",
                Err(CheckError::Url("http:///x".into())),
            ),
        ] {
            assert_eq!(probe(words), wanted, "{words}");
        }
    }

    #[test]
    fn only_success_is_good() {
        for (line, is_good) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.0 204", true),
            ("HTTP/1.1 301 Moved", false),
            ("HTTP/1.1 503 Service Unavailable", false),
            ("SSH-2.0-OpenSSH 200", false),
            ("", false),
        ] {
            assert_eq!(good_status(line), is_good, "{line}");
        }
    }

    #[tokio::test]
    async fn a_server_that_talks_without_end_is_not_listened_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let probe = Probe::Http {
            authority,
            target: "/".to_owned(),
        };
        let error = probe.run(&[]).await.unwrap_err();
        assert!(error.starts_with("GET /: xxx"), "{error}");
        assert!(error.len() < 1100);
    }

    #[tokio::test]
    async fn commands_tell_by_their_exit_code_and_end_with_their_time() {
        let run = |command: &str| {
            let probe = Probe::Command(command.to_owned());
            async move { probe.run(&[("ZAB_INSTANCE", "a".to_owned())]).await }
        };
        assert_eq!(run("test $ZAB_INSTANCE = a").await, Ok(()));
        let error = run("exit 3").await.unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        let directory = std::env::temp_dir().join(format!("zab-check-{}", std::process::id()));
        let mark = directory.display();
        let slow = run(&format!("echo $$ > {mark}; sleep 100 & wait"))
            .await_briefly()
            .await;
        assert!(slow.is_none());
        let group: i32 = std::fs::read_to_string(&directory)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        std::fs::remove_file(&directory).unwrap();
        let group = Pid::from_raw(group).unwrap();
        // Its child is gone with it.
        while rustix::process::test_kill_process_group(group).is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    trait Briefly: Future + Sized {
        async fn await_briefly(self) -> Option<Self::Output> {
            timeout(Duration::from_millis(500), self).await.ok()
        }
    }

    impl<F: Future> Briefly for F {}
}
