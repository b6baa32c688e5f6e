//! What a command works with: the session, and where it prints.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use jute_codec::proto::WatcherType;
use jute_codec::{ErrorCode, Text};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::failure::{Failure, Kind};
use crate::handle::{Event, Handle, Watch};
use crate::output::{Doc, Documents, Format};
use crate::path;

/// Names that are shown on a terminal before it is asked whether there should be more.
const PAGE: usize = 500;

/// A session and two outputs. Results go to one of them and words about them to the other; which is which follows the
/// Java shell.
pub(crate) struct Shell<'a> {
    pub(crate) zk: Handle,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    documents: Documents,
    /// Whether what happens on the side is told on the standard output, as the Java shell does.
    tells_events: bool,
    /// Whether nobody wants to hear of them at all.
    pub(crate) hides_events: bool,
    /// How they are told on a terminal; else in the words of the Java shell.
    pub(crate) event_words: Option<fn(&Event) -> String>,
}

impl<'a> Shell<'a> {
    pub(crate) fn new(zk: Handle, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            zk,
            out,
            err,
            documents: Documents::default(),
            tells_events: true,
            hides_events: false,
            event_words: None,
        }
    }

    /// Chooses how the next command prints. `tells_events`: whether events may stand between its results.
    pub(crate) fn set_format(&mut self, format: Format, tells_events: bool) {
        self.documents = Documents::new(format, io::stdout().is_terminal());
        self.tells_events = tells_events;
    }

    /// How the command prints.
    pub(crate) fn format(&self) -> Format {
        self.documents.format
    }

    /// Whether the command prints text, not documents.
    pub(crate) fn is_text(&self) -> bool {
        self.format() == Format::Text
    }

    /// Prints a document.
    pub(crate) fn emit(&mut self, doc: Doc) -> Result<(), Failure> {
        self.print_events()?;
        self.documents.take(doc, self.out)?;
        Ok(())
    }

    /// Prints what waits for the end of the command.
    pub(crate) fn finish_documents(&mut self) -> Result<(), Failure> {
        self.documents.finish(self.out)?;
        self.out.flush()?;
        Ok(())
    }

    /// The standard output, for bytes as they are.
    pub(crate) fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Prints a line on the standard output, events that came before it first.
    pub(crate) fn say(&mut self, line: impl Display) -> Result<(), Failure> {
        self.print_events()?;
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    /// Prints names between brackets, one after the other: there may be millions.
    pub(crate) fn say_list(&mut self, names: &[Text]) -> Result<(), Failure> {
        self.print_events()?;
        if self.event_words.is_some() && names.len() > PAGE {
            return self.say_pages(names);
        }
        let mut out = BufWriter::new(&mut *self.out);
        out.write_all(b"[")?;
        for (at, name) in names.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(out, "{between}{name}")?;
        }
        out.write_all(b"]\n")?;
        out.flush()?;
        Ok(())
    }

    /// Prints so many names that nobody reads them at once: some at a time, on a terminal.
    fn say_pages(&mut self, names: &[Text]) -> Result<(), Failure> {
        let mut shown = 0;
        // Of its own: these are no commands, and nothing to be remembered.
        let mut editor = DefaultEditor::new().map_err(|error| terminal_failure(&error))?;
        for page in names.chunks(PAGE) {
            for name in page {
                writeln!(self.out, "{name}")?;
            }
            shown += page.len();
            if shown == names.len() {
                break;
            }
            let total = names.len();
            self.out.flush()?;
            let prompt = format!("-- {shown} of {total}: Enter goes on, q and Enter ends --");
            match editor.readline(&prompt) {
                Ok(answer) if answer.trim() == "q" => break,
                Ok(_) => {}
                // Ctrl-C and Ctrl-D are as good as a q.
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
                Err(error) => return Err(terminal_failure(&error)),
            }
        }
        Ok(())
    }

    /// Prints text without a line end.
    pub(crate) fn say_inline(&mut self, text: impl Display) -> Result<(), Failure> {
        self.print_events()?;
        write!(self.out, "{text}")?;
        Ok(())
    }

    /// Prints a line on the standard error.
    pub(crate) fn complain(&mut self, line: impl Display) -> Result<(), Failure> {
        self.print_events()?;
        writeln!(self.err, "{line}")?;
        Ok(())
    }

    /// Prints what has happened on the side, in the words of the Java shell's watcher.
    pub(crate) fn print_events(&mut self) -> io::Result<()> {
        if !self.tells_events {
            // They are for the command, if for anybody.
            return Ok(());
        }
        for event in self.zk.take_events() {
            if self.hides_events || event == Event::Missed {
                continue;
            }
            if let Some(words) = self.event_words {
                writeln!(self.out, "{}", words(&event))?;
                continue;
            }
            writeln!(self.out, "\nWATCHER::\n\n{}", event_words(&event))?;
        }
        Ok(())
    }

    /// Visits a node and everything below it: all children of a node, then below each of them.
    /// Nodes that go away meanwhile are passed over.
    ///
    /// ZooKeeper: `ZKUtil.visitSubTreeDFS`.
    pub(crate) fn visit_depth_first(
        &mut self,
        root: &str,
        watch: Watch,
        mut visit: impl FnMut(&mut Self, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.zk.data(root, watch)?;
        visit(self, root)?;
        let mut stack = vec![root.to_owned()];
        while let Some(node) = stack.pop() {
            let names = match self.zk.children(&node, watch) {
                Err(failure) if failure.is_code(ErrorCode::NoNode) => continue,
                result => result?.children,
            };
            let children: Vec<_> = names.iter().map(|name| path::join(&node, name)).collect();
            for child in &children {
                visit(self, child)?;
            }
            stack.extend(children.into_iter().rev());
        }
        Ok(())
    }

    /// The paths of a node and everything below it, parents before their children, level by level.
    pub(crate) fn list_breadth_first(&mut self, root: &str) -> Result<Vec<String>, Failure> {
        path::validate(root)?;
        let mut paths = vec![root.to_owned()];
        let mut queue = VecDeque::from([root.to_owned()]);
        while let Some(node) = queue.pop_front() {
            for name in self.zk.children(&node, Watch::No)?.children {
                let child = path::join(&node, &name);
                queue.push_back(child.clone());
                paths.push(child);
            }
        }
        Ok(paths)
    }
}

/// What is wrong with the terminal.
pub(crate) fn terminal_failure(error: &ReadlineError) -> Failure {
    Failure::told(Kind::Local, format!("the terminal: {error}"))
}

fn event_words(event: &Event) -> String {
    let connection =
        |state: &str| format!("WatchedEvent state:{state} type:None path:null zxid: -1");
    match event {
        Event::Connected => connection("SyncConnected"),
        Event::ConnectedReadOnly => connection("ConnectedReadOnly"),
        Event::AuthFailed => connection("AuthFailed"),
        Event::Disconnected => connection("Disconnected"),
        Event::Expired => connection("Expired"),
        Event::Closed => connection("Closed"),
        Event::Missed => connection("SyncConnected"),
        Event::Removed { kind, path } => {
            let kind = match kind {
                WatcherType::Children => "ChildWatchRemoved",
                WatcherType::Data | WatcherType::Any => "DataWatchRemoved",
                WatcherType::Persistent | WatcherType::PersistentRecursive => {
                    "PersistentWatchRemoved"
                }
            };
            format!("WatchedEvent state:SyncConnected type:{kind} path:{path} zxid: -1")
        }
        Event::Watch(notification) => {
            let kind = match notification.event.kind {
                1 => "NodeCreated",
                2 => "NodeDeleted",
                3 => "NodeDataChanged",
                4 => "NodeChildrenChanged",
                _ => "Unknown",
            };
            let (path, zxid) = (&notification.event.path, notification.zxid.0);
            format!("WatchedEvent state:SyncConnected type:{kind} path:{path} zxid: {zxid}")
        }
    }
}

#[cfg(test)]
mod tests {
    use jute_codec::Zxid;
    use jute_codec::proto::WatcherEvent;

    use super::*;
    use crate::client::Notification;

    #[test]
    fn events_read_as_in_the_java_shell() {
        assert_eq!(
            event_words(&Event::Connected),
            "WatchedEvent state:SyncConnected type:None path:null zxid: -1"
        );
        let event = Event::Watch(Notification {
            event: WatcherEvent {
                kind: 3,
                state: WatcherEvent::SYNC_CONNECTED,
                path: "/x".into(),
            },
            zxid: Zxid(8_589_934_889),
        });
        assert_eq!(
            event_words(&event),
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/x zxid: 8589934889"
        );
    }
}
