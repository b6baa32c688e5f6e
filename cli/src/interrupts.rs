//! Signals to a shell: Ctrl-C ends a command, others end the shell.

use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Ctrl-C, and the signals that end this process.
#[derive(Debug)]
pub(crate) struct Interrupts {
    told: watch::Sender<()>,
    /// What has been told since the command began is news to this one.
    heard: Mutex<watch::Receiver<()>>,
    /// Whether somebody else takes the signals now.
    pub(crate) left: AtomicBool,
    /// The exit code, or 0 as long as this process is not to end.
    pub(crate) ending: AtomicU8,
}

impl Default for Interrupts {
    fn default() -> Self {
        let (told, heard) = watch::channel(());
        Self {
            told,
            heard: Mutex::new(heard),
            left: AtomicBool::new(false),
            ending: AtomicU8::new(0),
        }
    }
}

impl Interrupts {
    fn heard(&self) -> MutexGuard<'_, watch::Receiver<()>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has pressed Ctrl-C.
    pub(crate) fn tell(&self) {
        self.told.send_replace(());
    }

    /// A command begins: what was before does not matter any more.
    pub(crate) fn forget(&self) {
        self.heard().mark_unchanged();
    }

    /// Waits for Ctrl-C; not at all if that came since the command began.
    pub(crate) async fn wait(&self) {
        let mut heard = self.heard().clone();
        if heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
