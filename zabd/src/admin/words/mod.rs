//! The text of each answer, out of plain values.

pub(super) mod cons;
pub(super) mod dump;
pub(super) mod envi;
pub(super) mod srvr;
pub(super) mod watches;
