//! Configuration: the file ZooKeeper reads, checked before anything starts.
//!
//! Owns every key there is ([`keys`]) and the two types a configuration is: what was [`Written`],
//! with file and line, and [`Config`], which is valid. All checks happen between them, and all
//! [`Findings`] come at once. Nothing later reads strings; `zabd check-config` runs the same code.
//!
//! The way through: [`properties`] takes bytes apart, [`Sources`] adds what the command line and
//! the environment say, the settings pick one value a key and read it by its row, the check looks
//! at what keys mean together.
//!
//! Never changes a file, and never starts anything. Secrets print as `***`.

mod check;
mod ensemble;
mod findings;
pub mod keys;
mod members;
mod reference;
mod settings;
#[cfg(test)]
mod tests;
pub mod value;
mod written;
mod zoo_cfg;

pub use crate::properties;
pub use check::load;
pub use ensemble::{
    ElectionConfig, EnsembleConfig, LeaderConfig, MembersOrigin, MultiAddressConfig, ObserverConfig,
};
pub use findings::{Finding, Findings, Origin, Severity};
pub use members::NEXT_SUFFIX;
pub use reference::{effective_text, reference_page};
pub use written::{Sources, Written};
pub use zoo_cfg::{
    AdminConfig, AuthConfig, AuthProvider, ConfFigures, Config, ConnectionConfig,
    ConnectionThrottle, ContainerConfig, DigestAlgorithm, FourLetterWhitelist, Listener, LogConfig,
    LogFormat, MetricsConfig, RequestConfig, Secret, SessionConfig, SessionWeights, StorageConfig,
    TreeConfig,
};
