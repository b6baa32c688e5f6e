//! The shell `zab` against a zabd of its own: commands in pipes, files, two servers, and what goes wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "shell/bench.rs"]
mod bench;
#[path = "shell/tools.rs"]
mod tools;
#[path = "shell/values.rs"]
mod values;
