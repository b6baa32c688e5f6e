//! Commands from a pipe: word by word what the Java shell prints, and completion for other shells.

use std::io::Write;
use std::process::{Command, Stdio};

use zabd_tests::servers::{Implementation, Server, apache_java, apache_unavailable, zab_binary};

use crate::bench::{Ran, fed, ok, start};

/// A session with everything that only makes sense in one.
const SESSION: &str = "create /p \"x y\"
get /p

create -e /p/e
getEphemerals
addWatch /p
addWatch -m PERSISTENT /p
addWatch
set /p z
ls -w /p
create /p/f
get -w /p
set /p zz
set /p 'quo\"ted'
get /p
removewatches /p -r
removewatches /p -p
removewatches /p -p
removewatches /nothing
removewatches /p -z
ls -w /p
get -w /p
removewatches /p -c
removewatches /p -d
removewatches /p -d -l
addWatch -m PERSISTENT_RECURSIVE /p
addWatch -m NONSENSE /p
removewatches /p -r
printwatches
printwatches off
printwatches
set /p {\"x\":1}
get /p
redo 1
redo 99
history
nosuch
deleteall /p
close
ls /
";

#[test]
fn a_pipe_is_read_as_by_the_java_shell() {
    if let Some(reason) = apache_unavailable() {
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("SKIP the Java shell in a pipe: {reason}");
        return;
    }
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let expected = java(&server);
    if expected.err.contains("NoClassDefFoundError") {
        println!("SKIP the Java shell in a pipe: the archive of an earlier run has no commons-cli");
        return;
    }
    let ran = fed(&server, &[], SESSION.as_bytes());
    assert_eq!(sorted(&ran, &server), sorted(&expected, &server));
}

fn java(server: &str) -> Ran {
    let mut child = apache_java()
        .unwrap()
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off")
        .args(["org.apache.zookeeper.ZooKeeperMain", "-server", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(SESSION.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap().into()
}

/// What was printed, with the events, which come in between by chance, at the end. The usage lists what each has.
fn sorted(ran: &Ran, server: &str) -> (Option<i32>, String, String, Vec<String>) {
    let out = ran.out.replace(server, "SERVER");
    let mut parts = out.split("\nWATCHER::\n\n");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    let mut events = Vec::new();
    for part in parts {
        let (event, rest) = part.split_once('\n').unwrap_or((part, ""));
        // That the session is closed may not be told any more.
        if !event.contains("state:Closed") {
            events.push(event.split(" zxid: ").next().unwrap_or(event).to_owned());
        }
        plain.push_str(rest);
    }
    events.sort();
    let err = ran.err.lines().filter(|line| {
        !line.starts_with('\t') && !line.contains("-server") && !line.starts_with("SLF4J")
    });
    let err: Vec<_> = err.collect();
    (ran.code, plain, err.join("\n"), events)
}

#[test]
fn recipes_are_run_between_other_commands() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    // What comes on the standard input is the shell's: the command in between reads nothing of it, and what a
    // command asks for by name it gets.
    let lines = "counter /n add 2\nlock /l -- cat\nqueue /q put item\nqueue /q take --timeout 0\n\
                 elect /l --who\nset /n --file -\n7";
    let ran = fed(&server, &[], lines.as_bytes());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("\n2\n") && ran.out.contains("\nitem\n"),
        "{}",
        ran.out
    );
    assert_eq!(
        ran.err.trim_end(),
        "exit code 75: it was not to be had, now or in time: held by others, empty, closed, led by nobody"
    );
    assert!(ok(&server, &["get", "/n"]).ends_with("\n7\n"));
    let ran = fed(&server, &[], b"lock /l -- sh -c \"exit 3\"\n");
    assert_eq!(
        ran.code,
        Some(3),
        "the exit code is that of the last command: {}",
        ran.err
    );
}

/// A server with nodes that begin alike, one of them with a space in its name; and its address.
fn with_names_to_complete() -> (Server, String) {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    for path in ["/app", "/app/a b", "/apple"] {
        ok(&server, &["create", path]);
    }
    (daemon, server)
}

#[test]
fn bash_completes_what_zab_tells_it() {
    let (_daemon, server) = with_names_to_complete();
    let server = server.as_str();
    let zab = zab_binary().unwrap();
    for (words, replies) in [
        (&["tre"][..], &["tree"][..]),
        (&["-server", server, "ls", "/ap"], &["/app", "/apple"]),
        (&["-server", server, "ls", "/appl"], &["/apple"]),
        (&["-server", server, "get", "/app/"], &["/app/a\\ b"]),
        (&["-server", server, "tree", "--de"], &["--depth"]),
    ] {
        let script = r#"
            source <("$0" completions bash)
            compopt() { :; }
            COMP_WORDS=("$0" "$@") COMP_CWORD=$#
            _zab
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let output = Command::new("bash")
            .args(["-c", script])
            .arg(&zab)
            .args(words)
            .output()
            .unwrap();
        let ran = Ran::from(output);
        assert_eq!(
            ran.out.lines().collect::<Vec<_>>(),
            replies,
            "{words:?}: {ran:?}"
        );
    }
}

/// Asks a shell what it would offer, by a script that gets zab and the words.
fn offered(shell: &str, script: &str, words: &[&str]) -> Option<Vec<String>> {
    let zab = zab_binary().unwrap();
    let output = Command::new(shell)
        .args(["-c", script])
        .args((shell == "zsh").then_some("zsh"))
        .arg(&zab)
        .args(words)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{shell}: {error}");
            println!("SKIP completion in {shell}: {error}");
            return None;
        }
    };
    assert!(output.stderr.is_empty(), "{shell}: {output:?}");
    let ran = Ran::from(output);
    Some(ran.out.lines().map(str::to_owned).collect())
}

#[test]
fn zsh_and_fish_complete_what_zab_tells_them() {
    let (_daemon, server) = with_names_to_complete();
    let server = server.as_str();
    // What compadd is given, and whether a space follows.
    let zsh = r#"
        compdef() { :; }
        compadd() {
            local end=" "
            while [[ $1 != -- ]]; do [[ $1 == -S ]] && { end=$2; shift; }; shift; done
            shift
            print -rl -- "${@/%/$end}"
        }
        source <("$1" completions zsh)
        words=("$@") CURRENT=$#
        _zab
    "#;
    let fish = r#"
        source ($argv[1] completions fish | psub)
        set -l line (string escape -- $argv[2..-2])
        complete -C "$argv[1] $line $argv[-1]" | string replace -r '\t.*' ''
    "#;
    for (words, replies) in [
        (&["tre"][..], &["tree "][..]),
        (&["-server", server, "ls", "/ap"], &["/app ", "/apple "]),
        (&["-server", server, "tree", "--de"], &["--depth "]),
    ] {
        if let Some(found) = offered("zsh", zsh, words) {
            let found: Vec<_> = found.iter().map(|word| word.trim_end()).collect();
            let replies: Vec<_> = replies.iter().map(|word| word.trim_end()).collect();
            assert_eq!(found, replies, "zsh: {words:?}");
        }
        if let Some(found) = offered("fish", fish, words) {
            let replies: Vec<_> = replies.iter().map(|word| word.trim_end()).collect();
            assert_eq!(found, replies, "fish: {words:?}");
        }
    }
}

#[test]
fn the_manual_page_is_one_for_man() {
    let page = ok("localhost", &["man"]);
    for part in [
        ".TH ZAB 1",
        ".SS tree\n",
        ".SS lock\n",
        ".SS config\n",
        ".SH EXIT STATUS\n",
        "\\-\\-grace",
        // Of subcommands, and of commands that only an interactive shell has.
        "Usage: zab config publish [OPTIONS] <NAMESPACE>",
        "\\-\\-flatten",
        "\\-\\-on\\-change",
        "\\-\\-check\\-tcp",
        "persistent recursive watcher type",
        ".SS migrate\n",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let child = Command::new("groff")
        .args(["-man", "-ww", "-Tutf8", "-z"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("SKIP a look at the manual page by groff: {error}");
            return;
        }
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}
