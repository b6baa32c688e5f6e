//! The shell `zab` against a zabd of its own: at a terminal and in pipes, with files, on two servers, and what goes
//! wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "shell/bench.rs"]
mod bench;
#[path = "shell/pipe.rs"]
mod pipe;
#[path = "shell/terminal.rs"]
mod terminal;
#[path = "shell/tools.rs"]
mod tools;
#[path = "shell/values.rs"]
mod values;
