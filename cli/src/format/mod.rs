//! How values are printed and read: stats, dates, hex grids, access control lists, quotas.

pub(crate) mod acl;
pub(crate) mod date;
pub(crate) mod hex;
pub(crate) mod quota;
pub(crate) mod stat;
