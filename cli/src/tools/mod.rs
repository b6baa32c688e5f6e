//! Commands that the Java shell does not have: on subtrees, on files, and on servers.
//!
//! They print nothing but their results, and their exit codes tell [`Kind`](crate::exit::Kind)s of failures.

mod admin;
mod copy;
mod diff;
mod du;
mod dump;
mod file;
mod find;
mod load;
mod modes;
mod node;
mod pattern;
mod transfer;
mod tree;
mod watch;

pub(crate) use admin::FOUR_LETTER_WORDS;
pub(crate) use file::NewFile;

use crate::commands::Command;
use crate::failure::{Failure, Kind};
use crate::shell::Shell;

/// All of them, sorted.
pub(crate) const TOOLS: &[Command] = &[
    admin::ADMIN,
    copy::CP,
    diff::DIFF,
    du::DU,
    dump::DUMP,
    find::FIND,
    load::LOAD,
    copy::MV,
    tree::TREE,
    watch::WATCH,
];

/// Counts nodes that may not be read, and names the first few.
#[derive(Debug, Default)]
struct Denied(usize);

impl Denied {
    /// How many are named.
    const NAMED: usize = 10;

    fn note(&mut self, shell: &mut Shell<'_>, path: &str) -> Result<(), Failure> {
        self.0 += 1;
        if self.0 <= Self::NAMED {
            shell.complain(format_args!("not allowed to read {path}"))?;
        }
        Ok(())
    }

    /// The failure that the result is not whole, if it is not.
    fn check(&self) -> Result<(), Failure> {
        match self.0 {
            0 => Ok(()),
            1 => Err(Failure::told(
                Kind::NotAllowed,
                "1 node could not be read; what is below it is missing above",
            )),
            count => Err(Failure::told(
                Kind::NotAllowed,
                format!("{count} nodes could not be read; what is below them is missing above"),
            )),
        }
    }
}

/// A number with a decimal unit, for people: `999 B`, `1.2 kB`, `3.4 MB`.
fn human(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "kB", "MB", "GB", "TB"] {
        // What would round up to 1000 goes to the next unit.
        if bytes < unit.saturating_mul(1000) - unit / 20 || name == "TB" {
            if unit == 1 {
                return format!("{bytes} B");
            }
            let tenths = (bytes + unit / 20) / (unit / 10);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit = unit.saturating_mul(1000);
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1249, "1.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (5_300_000_000, "5.3 GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
