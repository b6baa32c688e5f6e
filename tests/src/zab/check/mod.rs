//! Checkers: one file an invariant, each named as in the design and in the TLA+ model `Zab.tla`.
//!
//! They look at what servers say to each other, to their disks and to clients; never at how they came to it.

pub mod ack_inconsistent;
pub mod ack_means_durable;
pub mod acknowledged_stays;
pub mod activated_when_committed;
pub mod agreement;
pub mod commit_in_order;
pub mod commit_inconsistent;
pub mod dialogue;
pub mod epochs_on_disk;
pub mod global_primary_order;
pub mod heals_and_serves;
pub mod history_before_epoch_before_ack;
pub mod integrity;
pub mod leader_stream;
pub mod leadership;
pub mod local_primary_order;
pub mod message_illegal;
pub mod no_ack_overtakes;
pub mod no_gaps;
pub mod one_promise_an_epoch;
pub mod prefix_consistency;
pub mod primary_integrity;
pub mod proposal_inconsistent;
pub mod state_inconsistent;
pub mod sync_starts_clean;
#[cfg(test)]
mod tests;
pub mod total_order;

use std::fmt;

use super::book::{Book, Seen};
pub(crate) use crate::sim::check::broken;
pub use crate::sim::check::{Check, Violation};

/// Watches one promise.
pub trait Checker: fmt::Debug {
    /// The promise's name.
    fn name(&self) -> &'static str;

    /// Something was seen, and is in the book already.
    ///
    /// # Errors
    /// When the promise is broken by it.
    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check;
}

/// All checkers, and their book.
#[derive(Debug)]
pub struct Checkers {
    /// The book.
    pub book: Book,
    checkers: Vec<Box<dyn Checker>>,
}

impl Checkers {
    /// All, or the one of that name.
    #[must_use]
    pub fn new(book: Book, only: Option<&str>) -> Self {
        let mut checkers: Vec<Box<dyn Checker>> = vec![
            Box::<ack_inconsistent::AckInconsistent>::default(),
            Box::<ack_means_durable::AckMeansDurable>::default(),
            Box::<acknowledged_stays::AcknowledgedStays>::default(),
            Box::<activated_when_committed::ActivatedWhenCommitted>::default(),
            Box::<agreement::Agreement>::default(),
            Box::<commit_in_order::CommitInOrder>::default(),
            Box::<commit_inconsistent::CommitInconsistent>::default(),
            Box::<epochs_on_disk::EpochsOnDisk>::default(),
            Box::<global_primary_order::GlobalPrimaryOrder>::default(),
            Box::<history_before_epoch_before_ack::HistoryBeforeEpochBeforeAck>::default(),
            Box::<integrity::Integrity>::default(),
            Box::<leader_stream::LeaderStream>::default(),
            Box::<leadership::Leadership>::default(),
            Box::<local_primary_order::LocalPrimaryOrder>::default(),
            Box::<message_illegal::MessageIllegal>::default(),
            Box::<no_ack_overtakes::NoAckOvertakes>::default(),
            Box::<no_gaps::NoGaps>::default(),
            Box::<one_promise_an_epoch::OnePromiseAnEpoch>::default(),
            Box::<prefix_consistency::PrefixConsistency>::default(),
            Box::<primary_integrity::PrimaryIntegrity>::default(),
            Box::<proposal_inconsistent::ProposalInconsistent>::default(),
            Box::<state_inconsistent::StateInconsistent>::default(),
            Box::<sync_starts_clean::SyncStartsClean>::default(),
            Box::<total_order::TotalOrder>::default(),
        ];
        if let Some(only) = only {
            checkers.retain(|checker| checker.name() == only);
        }
        Self { book, checkers }
    }

    /// The names of all.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        let all = Self::new(Book::default(), None);
        all.checkers.iter().map(|checker| checker.name()).collect()
    }

    /// Something was seen.
    ///
    /// # Errors
    /// The first promise broken by it.
    pub fn see(&mut self, seen: &Seen<'_>) -> Check {
        self.book.take_down(seen);
        for checker in &mut self.checkers {
            checker.on(&self.book, seen)?;
        }
        Ok(())
    }
}
