//! The simulator of whole ensembles: election, leader and learners of several servers in one thread, on virtual time,
//! a virtual network and virtual disks.
//!
//! The code under test is [`zabd::replica::zab`]; transactions are opaque numbers. When each thing happens, and what
//! goes wrong, follows from the seed. Checkers see what servers say to each other, to disks and to clients. In the end
//! all faults are over, and the ensemble must serve again.
//!
//! | module | what it holds |
//! |---|---|
//! | [`plan`] | what a run is made of, drawn from a seed; ways to break the world on purpose |
//! | `world`, `faults` | the loop, virtual time, clients; what goes wrong, and the end of it |
//! | `server`, `storage` | a server: inputs to its core, effects carried out, those on the disk among them |
//! | `tamper` | the core's effects broken on purpose |
//! | `net`, `wires` | what is under way between servers; how it gets there |
//! | `disk` | snapshot, log and epochs, with writes under way |
//! | [`entry`] | transactions |
//! | [`book`] | what was seen, and the book that is kept of it |
//! | [`check`] | the promises, one file each |
//! | [`script`] | stories in text about the steps of one server |

pub mod book;
pub mod check;
mod disk;
pub mod entry;
mod faults;
mod net;
pub mod plan;
pub mod script;
mod server;
mod storage;
mod tamper;
mod wires;
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
            invariant: "ServerStaysUp",
            what,
        },
    )
}
