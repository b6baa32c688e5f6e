//! What waits for the log's thread, and for the one that makes segments ahead.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jute_codec::Zxid;

use super::{DurableWrite, LogThreadOptions, WriteSeq};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue_bytes_max: usize,
    pub(super) queue: Mutex<Queue>,
    pub(super) changed: Condvar,
    pub(super) spare_wish: Mutex<SpareWish>,
    pub(super) spare_wished: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) writes: VecDeque<Queued>,
    /// The number of the newest write that was queued.
    pub(super) newest: WriteSeq,
    /// Of queued writes and of those taken that are not durable yet.
    pub(super) bytes: usize,
    pub(super) purge: Option<Zxid>,
    pub(super) roll: bool,
    pub(super) closed: bool,
    /// The log's thread waits for something to do.
    pub(super) idle: bool,
    /// So many submitters wait for room.
    pub(super) waiting_for_room: usize,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) seq: WriteSeq,
    pub(super) write: DurableWrite,
    pub(super) bytes: usize,
    /// Who waits for it.
    pub(super) done: Option<Sender<()>>,
}

#[derive(Debug, Default)]
pub(super) struct SpareWish {
    pub(super) wanted: bool,
    pub(super) closed: bool,
}

impl Shared {
    pub(super) fn new(options: LogThreadOptions) -> Self {
        Self {
            queue_bytes_max: options.queue_bytes_max,
            queue: Mutex::default(),
            changed: Condvar::new(),
            spare_wish: Mutex::default(),
            spare_wished: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the log's thread if it waits, for what was queued.
    pub(super) fn announce(&self, queue: MutexGuard<'_, Queue>) {
        let idle = queue.idle;
        drop(queue);
        if idle {
            self.changed.notify_all();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.spare_wished.notify_all();
    }

    pub(super) fn wish_for_spare(&self) {
        self.spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wanted = true;
        self.spare_wished.notify_all();
    }

    /// Waits; false when it is over.
    pub(super) fn wait_for_spare_wish(&self) -> bool {
        let mut wish = self
            .spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !wish.wanted && !wish.closed {
            wish = self
                .spare_wished
                .wait(wish)
                .unwrap_or_else(PoisonError::into_inner);
        }
        wish.wanted = false;
        !wish.closed
    }

    pub(super) fn pause(&self, how_long: Duration) {
        let wish = self
            .spare_wish
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .spare_wished
            .wait_timeout_while(wish, how_long, |wish| !wish.closed);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Queue {
    pub(super) fn push(&mut self, seq: WriteSeq, write: DurableWrite, bytes: usize) {
        self.bytes += bytes;
        self.newest = self.newest.max(seq);
        self.writes.push_back(Queued {
            seq,
            write,
            bytes,
            done: None,
        });
    }
}

/// What is carried out with one sync: appends that follow each other, or one other write.
pub(super) struct Group {
    pub(super) writes: Vec<Queued>,
    pub(super) bytes: usize,
}

pub(super) fn take_group(queue: &mut Queue, bytes_max: usize) -> Option<Group> {
    let first = queue.writes.pop_front()?;
    let groups = matches!(first.write, DurableWrite::Append(_));
    let mut group = Group {
        bytes: first.bytes,
        writes: vec![first],
    };
    while groups
        && let Some(next) = queue.writes.pop_front_if(|next| {
            matches!(next.write, DurableWrite::Append(_)) && group.bytes + next.bytes <= bytes_max
        })
    {
        group.bytes += next.bytes;
        group.writes.push(next);
    }
    Some(group)
}
