//! One lock, wanted by zab, kazoo and Curator at once, while holders are killed and cut off for longer than sessions
//! live. Each has a way of its own to the server.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use zabd_tests::proxy::Proxy;
use zabd_tests::servers::{Implementation, Server};

use super::support::{PATIENCE, Rule, Witness, other_at, server, until, zab_binary};

/// zab's contenders, kills and cuts of one run.
const CONTENDERS: usize = 3;
const KILLS: usize = 3;
const CUTS: usize = 6;
const SESSION_MS: u32 = 1500;
/// Longer than any of the sessions.
const CUT: Duration = Duration::from_secs(4);
/// Rounds of each of the other libraries.
const ROUNDS: usize = 40;

/// What the disturber and the contenders share.
struct Contest<'a> {
    command: &'static [&'static str],
    path: &'static str,
    witness: &'a Witness,
    is_over: AtomicBool,
    /// Who of zab's is running, by contender.
    running: [Mutex<Option<(String, Child)>>; CONTENDERS],
    /// Who said that he had lost it.
    told: AtomicUsize,
}

impl Contest<'_> {
    /// One contender of zab: a process after the other.
    fn contend(&self, number: usize, address: SocketAddr) {
        for round in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let name = format!("zab-{number}-{round}");
            let log = self.witness.log.display();
            let say = |what: &str| format!("echo \"{what} {name} $ZAB_FENCING_TOKEN w\" >> {log}");
            let (enter, leave) = (say("enter"), say("leave"));
            let linger = self.linger(number);
            let linger = linger.display();
            let script = format!(
                "trap '{}; exit 3' TERM; {enter}; sleep 0.3 & wait $!; \
                 while [ -e {linger} ]; do sleep 0.02; done; trap '' TERM; {leave}",
                leave.replace('\'', "'\\''")
            );
            let child = Command::new(zab_binary())
                .args(["-server", &address.to_string()])
                .args(["-timeout", &SESSION_MS.to_string()])
                .args(self.command)
                .args([self.path, "--", "sh", "-c", &script])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            *self.running(number) = Some((name, child));
            let deadline = Instant::now() + PATIENCE;
            let status = loop {
                let mut running = self.running(number);
                let (name, child) = running.as_mut().unwrap();
                if let Some(status) = child.try_wait().unwrap() {
                    *running = None;
                    break status;
                }
                assert!(Instant::now() < deadline, "{name} does not end");
                drop(running);
                sleep(Duration::from_millis(5));
            };
            match status.code() {
                Some(76) => drop(self.told.fetch_add(1, Ordering::SeqCst)),
                // Done; no server; killed by the disturber.
                Some(0 | 69) | None => {}
                code => panic!("zab-{number}-{round} ends with {code:?}"),
            }
        }
    }

    /// While this file is there, who holds it goes on.
    fn linger(&self, number: usize) -> PathBuf {
        self.witness.log.with_extension(format!("linger-{number}"))
    }

    fn running(&self, number: usize) -> std::sync::MutexGuard<'_, Option<(String, Child)>> {
        self.running[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one of zab's to hold it, and says which.
    fn holder(&self) -> (usize, String) {
        let mut found = None;
        until("one of zab's holds it", || {
            let lines = self.witness.lines();
            let last = lines.last().filter(|line| line.starts_with("enter zab-"));
            found = last.and_then(|line| {
                let name = line.split(' ').nth(1)?;
                let number = name.split('-').nth(1)?.parse().ok()?;
                Some((number, name.to_owned()))
            });
            found.is_some()
        });
        found.unwrap()
    }
}

/// Runs a contest while it is disturbed; how often it was held, and how many were told that they had lost it.
fn contest(
    server: &Server,
    command: &'static [&'static str],
    path: &'static str,
    others: &[(&str, &str)],
) -> (usize, usize) {
    let witness = Witness::new(server, &path.replace('/', "cut-"));
    let proxy = |_| Proxy::start(server.address()).unwrap();
    let ours: [Proxy; CONTENDERS] = std::array::from_fn(proxy);
    let theirs: Vec<Proxy> = others.iter().enumerate().map(|(at, _)| proxy(at)).collect();
    let programs: Vec<Child> = others
        .iter()
        .zip(&theirs)
        .map(|((library, kind), proxy)| {
            let address = proxy.address().to_string();
            other_at(&address, library, kind, path, ROUNDS, &witness, library)
        })
        .collect();
    // They take their time to start: what is cut is to be in use.
    until("the others begin", || {
        others
            .iter()
            .all(|(library, _)| witness.has(&format!("enter {library} ")))
    });
    let contest = Contest {
        command,
        path,
        witness: &witness,
        is_over: AtomicBool::new(false),
        running: Default::default(),
        told: AtomicUsize::new(0),
    };
    let mut lost = BTreeSet::new();
    thread::scope(|scope| {
        for (number, proxy) in ours.iter().enumerate() {
            let contest = &contest;
            scope.spawn(move || contest.contend(number, proxy.address()));
        }
        for _ in 0..KILLS {
            let (number, name) = contest.holder();
            if let Some((_, child)) = contest
                .running(number)
                .as_mut()
                .filter(|(running, _)| *running == name)
            {
                child.kill().unwrap();
                lost.insert(name);
            }
        }
        for cut in 0..CUTS {
            let (number, name) = contest.holder();
            fs::write(contest.linger(number), "").unwrap();
            ours[number].cut();
            lost.insert(name);
            // Now and then another library, too, whatever it is about.
            let other = theirs.get(cut % (theirs.len() + 1));
            other.into_iter().for_each(Proxy::cut);
            sleep(CUT);
            other.into_iter().for_each(Proxy::mend);
            ours[number].mend();
            fs::remove_file(contest.linger(number)).unwrap();
        }
        contest.is_over.store(true, Ordering::SeqCst);
    });
    programs.into_iter().for_each(super::support::finish);
    let held = witness.check(Rule::One, &lost);
    for name in others
        .iter()
        .map(|(library, _)| *library)
        .chain(["zab-0", "zab-1", "zab-2"])
    {
        assert!(witness.has(&format!("enter {name}")), "{name} has held it");
    }
    (held, contest.told.load(Ordering::SeqCst))
}

#[test]
fn holders_that_are_cut_off_lose_it_and_nobody_enters_before() {
    let server = server(Implementation::Zabd);
    let others = [("kazoo", "as-curator"), ("java", "lock")];
    let (held, told) = contest(&server, &["lock"], "/cut-lock", &others);
    assert!(told > 0, "nobody was told that he had lost it");
    eprintln!("lock: held {held} times, {told} told that they had lost it");
    let others = [("kazoo", "as-latch"), ("java", "latch")];
    let (held, told) = contest(&server, &["elect"], "/cut-latch", &others);
    assert!(told > 0, "nobody was told that he had lost it");
    eprintln!("elect: held {held} times, {told} told that they had lost it");
}
