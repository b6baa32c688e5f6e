//! Naming: instances of services, registered while they live, and found by name.
//!
//! On the layout of Curator's service discovery, which `docs/naming.md` describes for clients of other makes: an
//! instance is an ephemeral node `ROOT/SERVICE/ID` whose data says where it is. What Curator has no field for, weight,
//! version, tags and metadata, is in the payload, where its clients can read it.

mod directory;
mod follow;
mod health;
mod instance;
mod policy;
mod uri;

pub use directory::{Directory, Listing, Lost, NamingError, Registration, check};
pub use follow::Follower;
pub use health::{Health, Thresholds};
pub use instance::{
    Extras, INSTANCE_BYTES_MAX, Instance, ServiceType, Unreadable, WEIGHT_DEFAULT, printable,
};
pub use policy::{Chooser, Policy, Wish, choose, dice, fingerprint, in_order};
pub use uri::{UriError, UriSpec};
