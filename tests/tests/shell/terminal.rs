//! The shell at a terminal: what is typed, what is seen, and what stays when servers go.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use zabd_tests::servers::{Implementation, Server, Setup};

use crate::bench::{Directory, PATIENCE, command, ok, start, zab};

/// A terminal with the shell at it.
struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// What has been printed and not been looked for yet, without colours.
    seen: String,
}

impl Terminal {
    fn open(server: &str, words: &[&str], history: &str) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let side = || -> Stdio {
            let path = name.to_str().unwrap();
            let file = OpenOptions::new().read(true).write(true).open(path);
            file.unwrap().into()
        };
        let shell = command(server, words);
        // It is the shell's own terminal: keys become signals to it and what it runs.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(shell.get_program())
            .args(shell.get_args())
            .env("TERM", "xterm")
            .env("ZAB_HISTORY", history)
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let mut out = keys.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The read fails when the shell has gone.
            while let Ok(length @ 1..) = out.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this has been printed, and takes everything up to it.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut raw = Vec::new();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(chunk) = self.screen.recv_timeout(left) else {
                panic!("no {text:?} in {:?}", self.seen);
            };
            raw.extend(chunk);
            // A character may come in two parts.
            if let Ok(text) = std::str::from_utf8(&raw) {
                self.seen.push_str(&plain(text));
                raw.clear();
            }
        }
    }

    /// Types a line when the shell waits for one.
    fn run(&mut self, line: &str) {
        self.press(line);
        self.press("\r");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the shell by Ctrl-D, which says nothing to it while a command runs.
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.keys.write_all(b"\x04").ok();
            thread::sleep(Duration::from_millis(100));
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.seen);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Text without the sequences that move the cursor and choose colours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            if letters.next() == Some('[') {
                letters.by_ref().find(char::is_ascii_alphabetic);
            }
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[test]
fn lines_are_completed_remembered_and_searched() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let directory = Directory::new("history");
    let history = directory.file("history");
    let mut terminal = Terminal::open(&server, &[], &history);
    terminal.expect("* connected");
    terminal.run("create /application \"two\\nlines\"");
    terminal.expect("Created /application");
    // The command, the path, and what is in it.
    terminal.press("ge\t");
    terminal.press(" /app\t\r");
    terminal.expect("two\r\nlines\r\n");
    terminal.press("tree --de\t");
    terminal.expect("tree --depth ");
    terminal.press("1 /zoo\t\r");
    terminal.expect("├── config\r\n");
    terminal.run("nosuch");
    terminal.expect("Command not found: nosuch; help lists all");
    terminal.run("ls relative");
    terminal.expect("Path must start with / character");
    terminal.run("help mv");
    terminal.expect("mv: move a subtree");
    terminal.run("addauth digest user:secret");
    terminal.run("history");
    terminal.expect("0 - create /application");
    terminal.expect("(CONNECTED) 8]");
    assert_eq!(terminal.end(), Some(0));

    let kept = fs::read_to_string(&history).unwrap();
    assert!(
        kept.contains("create /application") && !kept.contains("secret"),
        "{kept}"
    );
    let mut again = Terminal::open(&format!("{server}/application"), &[], &history);
    again.expect("* connected");
    again.expect("/application(");
    // Ctrl-R.
    again.press("\x12tree");
    again.expect("tree --depth 1 /zoo");
    again.press("\x03");
    again.expect("(CONNECTED) 0] ");
    again.run("get /");
    again.expect("two\r\nlines");
    again.run("get /none");
    again.expect("Node does not exist: /none");
    assert_eq!(
        again.end(),
        Some(1),
        "the exit code is that of the last command"
    );
}

#[test]
fn events_are_told_above_the_line_that_is_typed() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("create /w before");
    terminal.expect("Created /w");
    terminal.run("get -w /w");
    terminal.expect("before");
    terminal.run("addWatch /tree");
    terminal.expect("(CONNECTED) 3] ");
    terminal.press("get /");
    terminal.expect("get /");
    ok(&server, &["set", "/w", "after"]);
    terminal.expect("* data changed: /w (zxid 0x");
    // The line comes again, as it was, and goes on.
    terminal.expect("] get /");
    ok(&server, &["create", "/tree"]);
    terminal.expect("* created: /tree");
    terminal.press("w\r");
    terminal.expect("after");
    terminal.run("removewatches /tree");
    terminal.expect("* watch removed: /tree");
    terminal.run("removewatches /tree");
    terminal.expect("No such watcher for /tree");
    assert_eq!(terminal.end(), Some(1));
}

#[test]
fn the_session_outlives_its_connection_and_a_command_can_be_interrupted() {
    let mut daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("create -e /mine");
    terminal.expect("Created /mine");
    terminal.run("addWatch /seen");
    terminal.expect("(CONNECTED) 2] ");
    daemon.kill().unwrap();
    terminal.expect("* connection lost");
    daemon.restart().unwrap();
    terminal.expect("* connected");
    terminal.run("getEphemerals");
    terminal.expect("[/mine]");
    ok(&server, &["create", "/seen"]);
    terminal.expect("* created: /seen");
    terminal.run("watch --initial /mine");
    terminal.expect("present /mine");
    terminal.signal(Signal::INT);
    terminal.expect("interrupted");
    terminal.run("quit");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(130));
    // The session was closed: what it held is gone at once.
    assert_eq!(zab(&server, &["stat", "/mine"]).code, Some(1));
}

#[test]
fn a_session_that_is_lost_is_told_and_followed_by_another() {
    let setup = Setup::default().key("tickTime", "500");
    let daemon = Server::start(Implementation::Zabd, &setup).unwrap();
    let server = daemon.address().to_string();
    let mut terminal = Terminal::open(&server, &["-timeout", "1000"], "");
    terminal.expect("* connected");
    terminal.run("create -e /mine");
    terminal.expect("Created /mine");
    terminal.signal(Signal::STOP);
    let deadline = Instant::now() + PATIENCE;
    while zab(&server, &["stat", "/mine"]).code == Some(0) {
        assert!(Instant::now() < deadline, "the session does not expire");
        thread::sleep(Duration::from_millis(100));
    }
    terminal.signal(Signal::CONT);
    terminal.expect("* the session has expired");
    terminal.run("create -e /mine again");
    terminal.expect("Created /mine");
    terminal.run("getEphemerals");
    terminal.expect("[/mine]");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_huge_parent_comes_in_pages() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let mut lines = String::from("create /huge\n");
    for number in 0..1200 {
        lines.push_str(&format!("create /huge/{number:04}\n"));
    }
    assert_eq!(
        crate::bench::fed(&server, &[], lines.as_bytes()).code,
        Some(0)
    );
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("ls /huge");
    terminal.expect("0499\r\n");
    terminal.expect("-- 500 of 1200: Enter goes on, q and Enter ends --");
    terminal.press("\r");
    terminal.expect("0999\r\n");
    terminal.expect("-- 1000 of 1200: Enter goes on, q and Enter ends --");
    terminal.run("q");
    terminal.expect("(CONNECTED) 1]");
    // Ctrl-C is as good.
    terminal.run("ls /huge");
    terminal.expect("-- 500 of 1200: Enter goes on, q and Enter ends --");
    terminal.press("\x03");
    terminal.expect("(CONNECTED) 2]");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn credentials_and_servers_that_do_not_do_are_told() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let nobody = crate::bench::nobody().to_string();
    let mut terminal = Terminal::open(&nobody, &["-timeout", "1000"], "");
    terminal.run("ls /");
    terminal.expect("no server gave a session within 1000 ms");
    terminal.expect("KeeperErrorCode = ConnectionLoss for /");
    terminal.run(&format!("connect {server}"));
    terminal.expect("* connected");
    terminal.run("ls /");
    terminal.expect("[zookeeper]");
    terminal.run("addauth digest");
    terminal.run("close");
    terminal.expect("* session closed");
    terminal.run("ls /");
    terminal.expect("Not connected");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn recipes_are_run_at_the_prompt_and_ctrl_c_ends_them_alone() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("addauth digest ann:secret");
    // Command, option and path are completed, as those of other commands.
    terminal.press("loc\t/zoo\t --sha\t-- echo done\r");
    terminal.expect("lock /zookeeper --shared ");
    terminal.expect("\r\ndone\r\n");
    terminal.run("lock /l -- sh -c 'echo token=$ZAB_FENCING_TOKEN; exit 3'");
    terminal.expect("token=");
    terminal.expect("exit code 3\r\n");
    terminal.run("counter /c add 5");
    terminal.expect("5\r\n");
    terminal.run("elect /e --who");
    terminal.expect("exit code 75: it was not to be had");
    terminal.run("lock /l");
    terminal.expect("required arguments");
    terminal.run("config publish prod/shop color=red");
    terminal.expect("prod/shop/application is at revision 1");
    // What was presented at the prompt goes for recipes, too.
    terminal.run("config restrict prod/shop auth::cdrwa");
    terminal.run("config get prod/shop color");
    terminal.expect("red\r\n");
    refused_to_others(&server);

    // What waits, what runs a command, and what waits to run one.
    terminal.run("queue /q take");
    until_there(&server, "/q");
    terminal.press("\x03");
    terminal.expect("ended by a signal");
    // A shell may miss a signal while it forks.
    terminal.run("lock /l -- sh -c 'echo begun; exec sleep 60'");
    terminal.expect("begun\r\n");
    terminal.press("\x03");
    terminal.expect("exit code 130");
    let holder = zab_spawn(&server, &["lock", "/l", "--", "sleep", "60"]);
    until(|| ok(&server, &["ls", "/l"]).contains("lock"));
    terminal.run("lock /l -- echo entered");
    until(|| ok(&server, &["ls", "/l"]).matches("__lock__").count() == 2);
    terminal.press("\x03");
    terminal.expect("exit code 130");
    drop(holder);
    // And the shell is the same as before.
    terminal.run("get /c");
    terminal.expect("5\r\n");
    terminal.run("config watch prod/shop");
    terminal.expect("\"red\"");
    // Told to end, it ends what it runs first.
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn data_comes_and_goes_in_many_forms_at_a_terminal() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let directory = Directory::new("terminal-values");
    let file = directory.file("data");
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("create /v");
    terminal.expect("Created /v");
    terminal.run("set /v 00ff10 --hex");
    terminal.run("get /v --hex");
    terminal.expect("00ff10\r\n");
    terminal.run("get /v --json");
    terminal.expect("The data is not JSON");
    terminal.run("set /v {\"b\":[1]} --json");
    terminal.run("get /v --json");
    terminal.expect("{\r\n  \"b\": [\r\n    1\r\n  ]\r\n}\r\n");
    terminal.run(&format!("get /v --file {file}"));
    terminal.expect("(CONNECTED) 7] ");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"b\":[1]}");
    fs::write(&file, "from a file").unwrap();
    terminal.run(&format!("set /v --file {file}"));
    terminal.run("get /v");
    terminal.expect("from a file\r\n");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_slip_at_the_prompt_is_answered_in_a_line() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let mut terminal = Terminal::open(&server, &[], "");
    terminal.expect("* connected");
    terminal.run("getacl /");
    let said = terminal.expect("Command not found: getacl; is it getAcl? help lists all\r\n");
    assert!(!said.contains("removewatches"), "{said}");
    terminal.run("bench read");
    terminal.expect("it is for the command line, zab bench");
    terminal.run("help config publish");
    terminal.expect("--flatten");
    // Told to end at the prompt, it closes its session.
    terminal.run("create -e /mine");
    terminal.expect("Created /mine");
    terminal.expect("(CONNECTED) 4] ");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.child.wait().unwrap().code(), Some(128 + 15));
    assert_eq!(zab(&server, &["stat", "/mine"]).code, Some(1));
}

fn refused_to_others(server: &str) {
    assert_eq!(
        zab(server, &["config", "get", "prod/shop"]).code,
        Some(77),
        "others may not"
    );
}

fn zab_spawn(server: &str, words: &[&str]) -> Spawned {
    Spawned(command(server, words).spawn().unwrap())
}

/// A program that goes with the test.
struct Spawned(Child);

impl Drop for Spawned {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(50));
    }
}

fn until_there(server: &str, path: &str) {
    until(|| zab(server, &["stat", path]).code == Some(0));
}
