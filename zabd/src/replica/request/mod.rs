//! From request to transaction.

pub(super) mod overlay;
pub(super) mod prepare;
pub(super) mod reconfig;
