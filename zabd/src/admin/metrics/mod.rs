//! ZooKeeper's metrics by name, and those that zabd has of its own.
//!
//! There are two ways to a value. Most figures are kept where they arise (`ServerStats`, `FsyncStats`,
//! `RuntimeFigures`, the state) and are read when somebody asks: `figures`. The rest is recorded through the `metrics`
//! facade into [`Metrics`], with handles that are registered once and kept. Where both know a metric, what was recorded
//! wins.
//!
//! Every name that a standalone Apache ZooKeeper shows is always there: [`inventory`] has the list and says of each why
//! it has a value or stays at zero.

mod figures;
pub mod inventory;
mod reading;
mod recorder;
mod summary;

pub(super) use reading::Reading;
pub use recorder::Metrics;
