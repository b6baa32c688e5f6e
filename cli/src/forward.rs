//! Commands that the daemon carries out, as they need its storage: this program has the codec and no more.
//!
//! `zab snapshot`, `zab log` and `zab export-java` become the daemon's commands of the same names, with the same arguments, output
//! and exit code. See docs/decisions/0005.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// What is handed on.
pub(crate) const COMMANDS: [&str; 3] = ["export-java", "log", "snapshot"];

/// Hands the command on, if it is one of those; the exit code.
///
/// # Errors
/// When the daemon's program cannot be run, with words about it.
pub(crate) fn run(args: &[OsString]) -> Option<Result<u8, String>> {
    let is_one = args
        .first()
        .and_then(|first| first.to_str())
        .is_some_and(|first| COMMANDS.contains(&first));
    is_one.then(|| {
        let program = program();
        let status = Command::new(&program).args(args).status();
        match status {
            Ok(status) => Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1)),
            Err(problem) => Err(format!(
                "{} cannot be run: {problem}; it carries out {}. Name it in ZABD_BIN",
                program.display(),
                COMMANDS.join(", ")
            )),
        }
    })
}

/// The daemon: named in `ZABD_BIN`, or beside this program, or wherever programs are looked for.
pub(crate) fn program() -> PathBuf {
    if let Some(named) = env::var_os("ZABD_BIN") {
        return named.into();
    }
    let beside = env::current_exe()
        .ok()
        .map(|own| own.with_file_name("zabd"))
        .filter(|path| path.is_file());
    beside.unwrap_or_else(|| "zabd".into())
}
