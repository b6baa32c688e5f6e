//! One command after the other: typed at a terminal, or sent in through a pipe.
//!
//! In a pipe it prints what the Java shell prints there. On a terminal there is an editor, and what happens on the side
//! is told in one line each, above the one that is being typed.

mod commands;
mod complete;
mod editor;
mod words;

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use rustix::process::Signal;
use zab::{ConnectString, Options, State};

pub(crate) use commands::NAMES;
pub(crate) use complete::candidates;

use crate::client::SessionOptions;
use crate::commands::{Line, VERSION_LINE, help_text};
use crate::exit;
use crate::failure::{Failure, Kind};
use crate::handle::{Event, Handle};
use crate::invocation::{Credential, Run};
use crate::lasting::Lasting;
use crate::output::Format;
use crate::recipe;
use crate::shell::Shell;
use commands::Next;
use editor::{Lines, Typed};
use words::Escapes;

/// How long the first prompt waits for a server.
const SETTLING: Duration = Duration::from_millis(500);

/// What is kept from one line to the next.
pub(crate) struct Interactive {
    is_terminal: bool,
    /// What this shell was begun with.
    run: Run,
    /// All that were given, for `history` and `redo`.
    lines: Vec<String>,
    exit_code: u8,
}

/// Runs commands until there are no more; the exit code is that of the last.
pub(crate) fn run(
    run: &Run,
    connect: ConnectString,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, Failure> {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let options = Options {
        timeout: Duration::from_millis(u64::try_from(run.timeout_ms).unwrap_or(0).max(1)),
        read_only_allowed: run.read_only_allowed,
        credentials: run
            .credentials
            .iter()
            .map(|credential| zab::Credential {
                scheme: credential.scheme.clone(),
                secret: credential.secret.clone(),
            })
            .collect(),
    };
    writeln!(out, "Connecting to {}", run.server)?;
    let lasting = Lasting::begin(connect, options, is_terminal)
        .map_err(|error| Failure::local("begin a session", &error))?;
    let session = SessionOptions {
        timeout_ms: run.timeout_ms,
        read_only_allowed: run.read_only_allowed,
    };
    let mut shell = Shell::new(Handle::of(lasting.clone(), session), out, err);
    let mut interactive = Interactive {
        is_terminal,
        run: run.clone(),
        lines: Vec::new(),
        exit_code: 0,
    };
    if is_terminal {
        interactive.converse(&mut shell, &lasting)?;
    } else {
        interactive.read_lines(&mut shell)?;
    }
    if let Err(error) = lasting.close() {
        shell.complain(format_args!(
            "The session was not closed and will expire: {error}"
        ))?;
    }
    Ok(interactive.exit_code)
}

impl Interactive {
    /// Commands from a pipe or a file.
    fn read_lines(&mut self, shell: &mut Shell<'_>) -> Result<(), Failure> {
        shell.say("Welcome to ZooKeeper!\nJLine support is disabled")?;
        recipe::keep_input();
        loop {
            // Not locked between lines: a command may ask for what comes next as its data.
            let mut line = Vec::new();
            let read = io::stdin().lock().read_until(b'\n', &mut line);
            if read.map_err(|error| Failure::local("read the standard input", &error))? == 0 {
                return Ok(());
            }
            let line = String::from_utf8(line).map_err(|error| {
                Failure::told(Kind::Input, format!("read the standard input: {error}"))
            })?;
            let line = line.trim_end_matches(['\n', '\r']);
            if self.line(shell, line)? == Next::End {
                return Ok(());
            }
        }
    }

    /// Commands from a terminal.
    fn converse(&mut self, shell: &mut Shell<'_>, lasting: &Lasting) -> Result<(), Failure> {
        let with_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        shell.say(format_args!(
            "{VERSION_LINE}\nhelp lists the commands, Tab completes, Ctrl-R searches what was typed, Ctrl-D ends."
        ))?;
        shell.event_words = Some(event_words);
        let mut lines = Lines::new(lasting.clone(), with_colour)?;
        lasting.settle(SETTLING);
        loop {
            shell.print_events()?;
            shell.out().flush()?;
            let prompt = prompt(lasting, self.lines.len());
            match lines.read(&prompt)? {
                Typed::Nothing => {}
                Typed::End => return Ok(()),
                Typed::Line(line) => {
                    if !line.trim().is_empty() {
                        lines.remember(&line);
                    }
                    if self.line(shell, &line)? == Next::End {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Runs a line, and tells what came of it.
    fn line(&mut self, shell: &mut Shell<'_>, line: &str) -> Result<Next, Failure> {
        let escapes = if self.is_terminal {
            Escapes::Taken
        } else {
            Escapes::Literal
        };
        let words = words::split(line, escapes);
        if words.is_empty() {
            return Ok(Next::Line);
        }
        self.lines.push(line.to_owned());
        if let Some(lasting) = shell.zk.lasting() {
            lasting.begin_command();
        }
        let result = match self.command(shell, words, escapes) {
            // Nobody reads any more, or the terminal has gone.
            Err((failure @ Failure::Output(_), _)) => return Err(failure),
            Err((failure, code)) => {
                self.exit_code = code;
                shell.complain(&failure)?;
                Next::Line
            }
            // The exit code is that of the last command.
            Ok(Next::End) => Next::End,
            Ok(Next::Line) => {
                self.exit_code = 0;
                Next::Line
            }
        };
        shell.print_events()?;
        Ok(result)
    }

    /// Runs a command; a failure comes with its exit code.
    fn command(
        &mut self,
        shell: &mut Shell<'_>,
        mut words: Vec<String>,
        escapes: Escapes,
    ) -> Result<Next, (Failure, u8)> {
        let java = |failure: Failure| {
            let code = failure.exit_code();
            (failure, code)
        };
        if words[0] == "redo" {
            words = self.redone(&words, escapes).map_err(java)?;
        }
        if let Some(result) = commands::run(self, shell, &words) {
            return result.map_err(java);
        }
        let line = Line::parse(&words, self.run.format).map_err(java)?;
        if !commands::is_alive(shell).map_err(java)? {
            return Ok(Next::Line);
        }
        if recipe::is_for_people(&words[0], &words[1..]) {
            return self.recipe(shell, &words[0], &words[1..]);
        }
        let result = crate::commands::run(shell, &line);
        shell.set_format(Format::Text, true);
        result.map(|()| Next::Line).map_err(|failure| {
            let code = line.exit_code(&failure);
            (failure, code)
        })
    }

    /// Runs a recipe, on a session of its own: what it holds goes with it, and it does not go with this one.
    fn recipe(
        &mut self,
        shell: &mut Shell<'_>,
        name: &str,
        words: &[String],
    ) -> Result<Next, (Failure, u8)> {
        let told = |failure: Failure| {
            let code = failure.kind().code();
            (failure, code)
        };
        shell
            .print_events()
            .and_then(|()| shell.out().flush())
            .map_err(|error| told(error.into()))?;
        let Some(lasting) = shell.zk.lasting().cloned() else {
            return Ok(Next::Line);
        };
        let credentials = lasting.credentials().into_iter();
        let run = Run {
            credentials: credentials
                .map(|credential| Credential {
                    scheme: credential.scheme,
                    secret: credential.secret,
                })
                .collect(),
            ..self.run.clone()
        };
        // It has something to do first when it is to end.
        lasting.leave_signals(true);
        let done = recipe::run(&run, lasting.connect_string(), name, words, shell.out());
        lasting.leave_signals(false);
        let code = match &done {
            Ok(code) => *code,
            Err(error) => error.exit_code(),
        };
        if code == exit::of_signal(Signal::INT) {
            lasting.hear_interrupt();
        }
        let result = match done {
            Ok(0) => Ok(Next::Line),
            Ok(code) => {
                // What a program of the user's own meant by it is not known.
                let is_own = !words.iter().any(|word| word == "--");
                let meaning = exit::meaning(code).filter(|_| is_own);
                let meaning = meaning.map_or_else(String::new, |words| format!(": {words}"));
                let failure = Failure::told(Kind::Other, format!("exit code {code}{meaning}"));
                Err((failure, code))
            }
            Err(error) => {
                let words = error.to_string().trim_end().to_owned();
                Err((Failure::told(Kind::Other, words), error.exit_code()))
            }
        };
        match lasting.ending() {
            Some(code) => {
                self.exit_code = code;
                Ok(Next::End)
            }
            None => result,
        }
    }

    /// The words of the line that `redo` names.
    fn redone(&mut self, words: &[String], escapes: Escapes) -> Result<Vec<String>, Failure> {
        let number = words.get(1).map(|number| number.parse::<usize>());
        let Some(Ok(number)) = number else {
            return Err(Failure::usage("redo cmdno"));
        };
        let line = self.lines.get(number);
        let line = line.ok_or_else(|| Failure::usage("Command index out of range"))?;
        let earlier = words::split(line, escapes);
        if earlier.first().is_some_and(|name| name == "redo") {
            return Err(Failure::usage("No redoing redos"));
        }
        let line = line.clone();
        if let Some(last) = self.lines.last_mut() {
            *last = line;
        }
        Ok(earlier)
    }
}

/// `help` on a terminal.
fn help(shell: &mut Shell<'_>, words: &[String]) -> Result<(), Failure> {
    let text = help_text(words)?;
    shell.say(text.trim_end())
}

fn prompt(lasting: &Lasting, number: usize) -> String {
    let connect = lasting.connect_string();
    let first = connect.servers.first().map(ToString::to_string);
    let others = match connect.servers.len() {
        0 | 1 => "",
        _ => ",…",
    };
    let state = match lasting.state() {
        State::Connecting | State::Suspended | State::Overdue => "CONNECTING",
        State::Connected { .. } => "CONNECTED",
        State::ConnectedReadOnly { .. } => "CONNECTEDREADONLY",
        State::Expired => "EXPIRED",
        State::AuthFailed => "AUTH_FAILED",
        State::Closed => "CLOSED",
    };
    format!(
        "[zab: {}{others}{}({state}) {number}] ",
        first.unwrap_or_default(),
        connect.chroot.unwrap_or_default()
    )
}

/// An event in a line, for a terminal.
fn event_words(event: &Event) -> String {
    match event {
        Event::Connected => "* connected".to_owned(),
        Event::ConnectedReadOnly => "* connected to a server that serves reads only".to_owned(),
        Event::AuthFailed => "* a credential was refused: the session is over; see connect".to_owned(),
        Event::Disconnected => {
            "* connection lost: another server is being looked for, the session is kept".to_owned()
        }
        Event::Expired => {
            "* the session has expired: its ephemeral nodes and watches are gone, the next command begins another"
                .to_owned()
        }
        Event::Closed => "* session closed".to_owned(),
        Event::Missed => "* events may have been missed while there was no connection".to_owned(),
        Event::Removed { path, .. } => format!("* watch removed: {path}"),
        Event::Watch(notification) => {
            let what = match notification.event.kind {
                1 => "created",
                2 => "deleted",
                3 => "data changed",
                4 => "children changed",
                _ => "something happened",
            };
            format!("* {what}: {} (zxid {})", notification.event.path, notification.zxid)
        }
    }
}
