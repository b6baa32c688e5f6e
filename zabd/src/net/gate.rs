//! What stops reading while too much waits to be looked at.

use tokio::sync::watch;

/// A gate that readers of sockets pass before they read on.
///
/// Whoever takes what they deliver closes it when too much waits, and opens it again. What a reader has in its hands at
/// that moment, one packet or message, is still delivered.
#[derive(Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Gate {
    /// Lets nobody pass.
    pub fn close(&self) {
        self.set(false);
    }

    /// Lets everybody pass.
    pub fn open(&self) {
        self.set(true);
    }

    fn set(&self, open: bool) {
        self.0
            .send_if_modified(|was| std::mem::replace(was, open) != open);
    }

    /// Whether readers may pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the gate is open.
    pub(super) async fn passed(&self) {
        if !self.is_open() {
            let mut open = self.0.subscribe();
            // The sender is here, so the wait ends by the gate's opening only.
            drop(open.wait_for(|open| *open).await);
        }
    }
}
