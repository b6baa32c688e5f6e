//! The line editor: history, completion, colours, and a place above the line for what happens meanwhile.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};
use zab::State;

use super::complete::complete;
use crate::commands;
use crate::failure::Failure;
use crate::lasting::Lasting;
use crate::shell::terminal_failure;

/// How long a key waits for the server.
const COMPLETION_PATIENCE: Duration = Duration::from_millis(1500);

/// Lines that are remembered from one run to the next.
const LINES_MAX: usize = 10_000;

/// Candidates that are listed without a question.
const LISTED_MAX: usize = 200;

/// Dim, and the end of that.
const DIM: (&str, &str) = ("\x1b[2m", "\x1b[0m");

/// The editor.
pub(super) struct Lines {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
    lasting: Lasting,
}

/// What a line is.
pub(super) enum Typed {
    Line(String),
    /// Given up with Ctrl-C.
    Nothing,
    End,
}

impl Lines {
    pub(super) fn new(lasting: Lasting, with_colour: bool) -> Result<Self, Failure> {
        let failed = |error| terminal_failure(&error);
        let config = Config::builder()
            .max_history_size(LINES_MAX)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(LISTED_MAX)
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant {
            lasting: lasting.clone(),
            with_colour,
            state: State::Connecting,
        }));
        let history = history_file();
        if let Some(path) = &history {
            // The first run has none; one that cannot be read is as good as none.
            editor.load_history(path).ok();
        }
        let mut printer = editor.create_external_printer().map_err(failed)?;
        lasting.side().set_printer(Box::new(move |event| {
            let words = super::event_words(event);
            // When the terminal has gone there is nobody to tell.
            printer.print(words + "\n").ok();
        }));
        Ok(Self {
            editor,
            history,
            lasting,
        })
    }

    pub(super) fn read(&mut self, prompt: &str) -> Result<Typed, Failure> {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.state = self.lasting.state();
        }
        self.lasting.side().set_editing(true);
        let line = self.editor.readline(prompt);
        self.lasting.side().set_editing(false);
        match line {
            Ok(line) => Ok(Typed::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(terminal_failure(&error)),
        }
    }

    /// Keeps a line for this run and the next, unless there is a secret in it.
    pub(super) fn remember(&mut self, line: &str) {
        if line.trim_start().starts_with("addauth") {
            return;
        }
        // The line has been typed; what cannot be kept is only missed by the next run.
        self.editor.add_history_entry(line).ok();
        if let Some(path) = &self.history {
            self.editor.append_history(path).ok();
        }
    }
}

/// `ZAB_HISTORY`, or a file of this name in the home directory; an empty name keeps none.
fn history_file() -> Option<PathBuf> {
    match std::env::var_os("ZAB_HISTORY") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".zab_history")),
    }
}

/// Looks over the shoulder of who types.
struct Assistant {
    lasting: Lasting,
    with_colour: bool,
    state: State,
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let mut names = |path: &str| self.lasting.names(path, COMPLETION_PATIENCE);
        Ok(complete(&line[..pos], &mut names))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    /// What may follow a command that has just been typed.
    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        let name = line.strip_suffix(' ').filter(|_| pos == line.len())?;
        commands::syntax(name).filter(|syntax| !syntax.is_empty())
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if !self.with_colour {
            return Cow::Borrowed(prompt);
        }
        let colour = match self.state {
            State::Connected { .. } => "\x1b[32m",
            State::ConnectedReadOnly { .. } | State::Connecting | State::Suspended => "\x1b[33m",
            _ => "\x1b[31m",
        };
        Cow::Owned(format!("{colour}{prompt}\x1b[0m"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if !self.with_colour {
            return Cow::Borrowed(hint);
        }
        Cow::Owned(format!("{}{hint}{}", DIM.0, DIM.1))
    }
}
