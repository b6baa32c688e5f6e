//! The simulator of ensembles with their clients: several whole servers in one thread, on virtual time, a virtual
//! network and virtual disks.
//!
//! The code under test is [`zabd::replica::Replica`] as a member of an ensemble, with [`zabd::state`] and its
//! connections: elections, orders, trees, sessions, watches. Threads, sockets, clocks and disks are events in one queue;
//! when each happens, what clients do and what goes wrong follows from the seed. What servers let their clients see is
//! one history, kept with the slow model's world after each transaction ([`crate::sim::model`]); what clients are told
//! is compared with that. In the end all faults are over, and every client must be served again.
//!
//! | module | what it holds |
//! |---|---|
//! | [`plan`] | what a run is made of, drawn from a seed; ways to break the world on purpose |
//! | `world`, `faults` | the loop, virtual time; what goes wrong, and the end of it |
//! | `server`, `storage`, `disk` | a server: inputs to its replica, effects carried out, what is on its disk |
//! | `conn` | connections of clients as a server has them |
//! | `net`, `wires` | what is under way between nodes; how it gets there |
//! | `onlooker` | clients at servers that have no leader and show what they have |
//! | `client`, `workload` | clients that move between servers, and what they ask for |
//! | `damage`, `difference` | copies that are found damaged; copies that differ |
//! | `locals` | sessions that one server knows |
//! | `membership` | changes of the members, and what they come to |
//! | `chronicle`, `sessions` | the committed history; who has heard of whom |
//! | `tamper` | effects broken on purpose |
//! | [`check`] | the promises, one file each |

pub mod check;
mod chronicle;
mod client;
mod conn;
mod damage;
mod difference;
mod disk;
mod faults;
mod locals;
mod membership;
mod net;
mod onlooker;
pub mod plan;
mod server;
mod sessions;
mod storage;
mod tamper;
mod wires;
mod workload;
mod world;

pub use check::Violation;
pub use plan::{Faults, Plan, Planted};
pub use world::{Report, run};

/// Runs a plan; a panic of the code under test is a finding like any other.
///
/// # Errors
/// The first promise that was found broken.
pub fn run_caught(plan: &Plan) -> Result<Report, Violation> {
    crate::seeds::caught(
        || run(plan),
        |what| Violation {
            invariant: check::server_stays_up::NAME,
            what,
        },
    )
}
