//! What happens beside the commands: told above the line that is being typed, or when the next command asks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::client::Notification;
use crate::handle::Event;

/// Prints an event above the line that is being edited.
pub(crate) type Printer = Box<dyn FnMut(&Event) + Send>;

/// What happens on the side: printed at once while a line is edited, and else kept until a command asks.
#[derive(Default)]
pub(crate) struct Side(Mutex<Told>);

#[derive(Default)]
struct Told {
    waiting: VecDeque<Event>,
    printer: Option<Printer>,
    is_editing: bool,
    /// The newest watch events: one that several watches wait for is told once.
    newest: VecDeque<Notification>,
}

/// Watch events that are remembered.
const NEWEST: usize = 64;

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Side")
    }
}

impl Side {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut told = self.lock();
        if let Event::Watch(notification) = &event {
            // Without a transaction there is no telling one from the next.
            if notification.zxid.0 > 0 && told.newest.contains(notification) {
                return;
            }
            told.newest.push_front(notification.clone());
            told.newest.truncate(NEWEST);
        }
        match &mut *told {
            Told {
                printer: Some(printer),
                is_editing: true,
                ..
            } => printer(&event),
            told => told.waiting.push_back(event),
        }
    }

    /// What has not been printed yet.
    pub(crate) fn take(&self) -> Vec<Event> {
        self.lock().waiting.drain(..).collect()
    }

    /// Gives the printer for while a line is edited.
    pub(crate) fn set_printer(&self, printer: Printer) {
        self.lock().printer = Some(printer);
    }

    /// From here on, or no longer, a line is edited.
    pub(crate) fn set_editing(&self, is_editing: bool) {
        let mut told = self.lock();
        told.is_editing = is_editing;
        if let Told {
            waiting,
            printer: Some(printer),
            is_editing: true,
            ..
        } = &mut *told
        {
            waiting.drain(..).for_each(|event| printer(&event));
        }
    }
}
