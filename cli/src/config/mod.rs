//! The configuration centre: values of applications, published together, followed by instances.
//!
//! `docs/config-centre.md` describes the layout for clients of other makes. A namespace is one node whose data is the
//! document in force; what was in force before stands below it, and what only some instances are to take, and who
//! has taken what.

mod centre;
mod follow;
mod model;
mod properties;
mod yaml;

pub use centre::{Centre, CentreError, Holder};
pub use follow::{Followed, Follower, Hold};
pub use model::{
    Change, Document, Grey, Instance, Kind, ModelError, Namespace, Rule, Value, differences,
};
pub use properties::{parse as parse_properties, write as write_properties};
pub use yaml::{parse as parse_yaml, write as write_yaml};
