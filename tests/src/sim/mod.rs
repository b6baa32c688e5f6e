//! The simulator: one server and its clients in one thread, on virtual time and a virtual disk.
//!
//! The code under test is zabd's own: replica, state, connections, log. Threads, sockets and clocks are events in one
//! queue; when each happens, what clients do and what goes wrong follows from the seed. Checkers watch what goes to
//! the log, what clients get and what a restart finds, and compare it with a slow model of their own.
//!
//! | module | what it holds |
//! |---|---|
//! | [`plan`] | what a run is made of, drawn from a seed; ways to break the server on purpose |
//! | `world`, `ctx` | the loop, virtual time |
//! | `server`, `conn`, `store` | the server's threads as events; connections; log, snapshot, recovery |
//! | `client`, `workload` | clients and what they ask for |
//! | [`view`] | one connection as its client sees it |
//! | [`ledger`] | all transactions, and the model's world after each |
//! | [`model`] | what a server should do, written a second time |
//! | [`check`] | the promises, one file each |
//! | [`probe`] | reading a whole state |
//! | [`script`] | stories in text about the steps of the replica |

pub mod check;
mod client;
mod conn;
mod ctx;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod probe;
pub mod rng;
pub mod script;
mod server;
mod store;
pub mod trace;
pub mod view;
mod workload;
mod world;

pub use check::Violation;
pub use plan::{Faults, Plan, Planted};
pub use world::{Report, run};

/// Runs the random history of `seed`; a panic of the code under test is a finding like any other.
///
/// # Errors
/// The first promise that was found broken.
pub fn run_seed(seed: u64) -> Result<Report, Violation> {
    run_caught(&Plan::random(seed))
}

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
