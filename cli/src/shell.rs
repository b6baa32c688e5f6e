//! What a command works with: the session, and where it prints.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};

use jute_codec::ErrorCode;

use crate::failure::Failure;
use crate::handle::{Event, Handle, Watch};
use crate::path;

/// A session and two outputs. Results go to one of them and words about them to the other; which is which follows the
/// Java shell.
pub(crate) struct Shell<'a> {
    pub(crate) zk: Handle,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl<'a> Shell<'a> {
    pub(crate) fn new(zk: Handle, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { zk, out, err }
    }

    /// Prints a line on the standard output, events that came before it first.
    pub(crate) fn say(&mut self, line: impl Display) -> Result<(), Failure> {
        self.print_events()?;
        writeln!(self.out, "{line}")?;
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
        for event in self.zk.take_events() {
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

fn event_words(event: &Event) -> String {
    let connection =
        |state: &str| format!("WatchedEvent state:{state} type:None path:null zxid: -1");
    match event {
        Event::Connected => connection("SyncConnected"),
        Event::ConnectedReadOnly => connection("ConnectedReadOnly"),
        Event::AuthFailed => connection("AuthFailed"),
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
