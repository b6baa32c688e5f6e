//! `admin`: what a server tells in answer to four letters.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::client::HostPort;
use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::output::Doc;
use crate::shell::Shell;

pub(super) const ADMIN: Command = Command {
    name: "admin",
    syntax: "[--first] [--wait ms] word",
    flags: FlagSet::free(&[
        own_switch(
            "first",
            "Ask the first server that answers only, not all of -server",
        ),
        own_valued(
            "wait",
            "How long to wait for a server, in milliseconds [default: 5000]",
        ),
    ]),
    explains_flags: true,
    run: admin,
};

/// What the words are for.
pub(crate) const FOUR_LETTER_WORDS: [(&str, &str); 14] = [
    ("conf", "the configuration"),
    ("cons", "connections, one a line"),
    ("crst", "resets what cons counts"),
    ("dirs", "bytes of snapshots and logs"),
    ("dump", "sessions and their ephemeral nodes"),
    ("envi", "the environment"),
    ("hash", "digests of the tree"),
    ("isro", "ro if the server is read-only, else rw"),
    ("mntr", "figures for monitoring"),
    ("ruok", "imok from a server that runs"),
    ("srst", "resets what stat counts"),
    ("srvr", "the server's state"),
    ("stat", "the same, with connections"),
    ("wchs", "how many watches there are"),
];

/// The longest answer that is taken.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

fn admin(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let word = arguments.required(0)?;
    // Some are seldom used and stand in no list: wchc, wchp, lead, stmk, gtmk.
    if word.len() != 4 || !word.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return Err(Failure::usage(format!(
            "\"{word}\" does not have four letters; such words are {}",
            FOUR_LETTER_WORDS.map(|(word, _)| word).join(", ")
        )));
    }
    let wait = Duration::from_millis(match arguments.number("wait")? {
        None => 5000,
        Some(ms) => u64::try_from(ms).unwrap_or(u64::MAX).max(1),
    });
    let servers = shell.zk.connect_string().servers.clone();
    let many = servers.len() > 1 && !arguments.has("first");
    let mut failure = None;
    for server in &servers {
        let answer = match ask(server, word, wait) {
            Ok(answer) => answer,
            Err(words) => {
                shell.complain(&words)?;
                failure = Some(Failure::told(
                    Kind::Unreachable,
                    format!("{server} did not answer"),
                ));
                continue;
            }
        };
        let refused = answer.contains("is not executed because it is not in the whitelist");
        if refused {
            failure = Some(Failure::told(
                Kind::Refused,
                format!("{server} does not allow {word}: add it to 4lw.commands.whitelist"),
            ));
        }
        if shell.is_text() {
            if many {
                shell.say(format_args!("==== {server}"))?;
            }
            let end = if answer.ends_with('\n') { "" } else { "\n" };
            shell.say_inline(format_args!("{answer}{end}"))?;
        } else {
            shell.emit(Doc::Map(vec![
                ("server", Doc::text(server.to_string())),
                ("word", Doc::text(word)),
                ("answer", Doc::text(answer)),
            ]))?;
        }
        if arguments.has("first") {
            failure = failure.filter(|_| refused);
            break;
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Asks a server, at its first address that answers.
fn ask(server: &HostPort, word: &str, wait: Duration) -> Result<String, String> {
    let addresses = (server.host.as_str(), server.port)
        .to_socket_addrs()
        .map_err(|error| format!("{server}: {error}"))?;
    let mut told = format!("{server}: no address");
    for address in addresses {
        let answer = || {
            let mut stream = TcpStream::connect_timeout(&address, wait)?;
            stream.set_read_timeout(Some(wait))?;
            stream.set_write_timeout(Some(wait))?;
            stream.write_all(word.as_bytes())?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        match answer() {
            Ok(answer) if answer.is_empty() => {
                told = format!("{server}: the server closed the connection without an answer");
            }
            Ok(answer) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => told = format!("{server}: {error}"),
        }
    }
    Err(told)
}
