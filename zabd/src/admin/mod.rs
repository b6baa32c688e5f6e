//! What operators see: four-letter words and metrics. Figures are read here, none is decided.
//!
//! | module | what it holds |
//! |---|---|
//! | [`AdminContext`] | where the figures are |
//! | [`FourLetterWords`] | the words: which there are, who may ask, what each answers |
//! | `words` | the text of each answer, out of plain values |
//! | [`metrics`] | ZooKeeper's metrics by name, and those that zabd has of its own |
//! | `java` | numbers and dates as Java prints them |
//! | `version` | which release this claims to be |

mod context;
mod four_letter;
mod java;
mod member;
pub mod metrics;
mod version;
mod words;

pub use self::metrics::Metrics;
pub use context::{AdminContext, RuntimeFigures, SessionBuckets, SessionDeadlines};
pub use four_letter::FourLetterWords;
pub use member::{LearnerCounts, MemberFigures};
pub use version::full_version;
