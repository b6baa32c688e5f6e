//! Checkers: one file an invariant. They look at what servers let their clients see, and at what clients are told.
//!
//! What one connection sees is checked as in the simulator of one server ([`crate::sim::check`]), against the model at
//! the transaction that each reply names.

pub mod acknowledged_stays;
pub mod doubted_is_hidden;
pub mod ephemerals_follow_sessions;
pub mod heals_and_serves;
pub mod heard_is_kept;
pub mod leaders_only_lead;
pub mod local_sessions_stay;
pub mod members_follow_history;
pub mod one_history;
pub mod others_go_on;
pub mod read_only_changes_nothing;
pub mod replicas_agree;
pub mod sessions_live;
pub mod sessions_outlive_leaders;
pub mod sync_sees_all;
pub mod watches_survive;
pub mod writes_linearizable;

pub(crate) use crate::sim::check::broken;
pub use crate::sim::check::server_stays_up;
pub use crate::sim::check::{Check, Violation};
