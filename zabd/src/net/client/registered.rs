//! A connection's places in tables and counts, given back however it ends.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use super::link::Link;
use super::listener::Admission;
use super::serve::Shared;

/// A connection while it counts as one.
pub(super) struct Registered {
    pub(super) link: Arc<Link>,
    pub(super) shared: Arc<Shared>,
    /// Whether the replica has heard of it.
    pub(super) submitted: bool,
    // What this connection adds to the server-wide counts.
    outstanding: usize,
    large_bytes: usize,
    _admission: Admission,
}

impl Registered {
    pub(super) fn new(link: Arc<Link>, admission: Admission, shared: Arc<Shared>) -> Self {
        link.hub().load.fetch_add(1, Relaxed);
        shared.ctx.stats.connections.fetch_add(1, Relaxed);
        shared.ctx.connections.insert(Arc::clone(&link));
        Self {
            link,
            shared,
            submitted: false,
            outstanding: 0,
            large_bytes: 0,
            _admission: admission,
        }
    }

    /// Sets how many requests of this connection are under way.
    pub(super) fn set_outstanding(&mut self, count: usize) {
        if count != self.outstanding {
            let change = count.cast_signed() - self.outstanding.cast_signed();
            self.shared
                .ctx
                .stats
                .outstanding
                .fetch_add(change as i64, Relaxed);
            self.outstanding = count;
        }
    }

    /// Requests under way on all other connections.
    pub(super) fn outstanding_elsewhere(&self) -> usize {
        let all = self.shared.ctx.stats.outstanding.load(Relaxed);
        usize::try_from(all)
            .unwrap_or(0)
            .saturating_sub(self.outstanding)
    }

    /// Takes from what large frames may take together; whether there was enough.
    pub(super) fn take_large(&mut self, bytes: usize) -> bool {
        let limit = self.shared.ctx.params.large_request_bytes_max;
        let taken = self
            .shared
            .large_bytes
            .fetch_update(Relaxed, Relaxed, |taken| {
                taken.checked_add(bytes).filter(|&taken| taken <= limit)
            });
        if taken.is_ok() {
            self.large_bytes += bytes;
        }
        taken.is_ok()
    }

    /// Gives it back.
    pub(super) fn give_large(&mut self, bytes: usize) {
        if bytes != 0 {
            self.large_bytes -= bytes;
            self.shared.large_bytes.fetch_sub(bytes, Relaxed);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.set_outstanding(0);
        self.give_large(self.large_bytes);
        let (ctx, conn) = (&self.shared.ctx, self.link.conn);
        if self.submitted {
            // Even a state that a panic left behind must not keep what is gone.
            ctx.state
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .watches()
                .detach(conn);
            // Before the connection cannot be asked any more: in between its session would look silent.
            ctx.replica.disconnected(conn, self.link.heard());
        }
        ctx.connections.remove(conn);
        ctx.stats.connections.fetch_sub(1, Relaxed);
        self.link.hub().load.fetch_sub(1, Relaxed);
    }
}
