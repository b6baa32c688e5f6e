//! Stories: scripts of commands, each with what it printed when it was last looked at.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// A script with what its commands print now, in the place of what it says that they print. `command` carries one out,
/// and `printed` is where it prints.
///
/// # Errors
/// When a command is none.
pub fn retell<S>(
    script: &str,
    story: &mut S,
    command: fn(&mut S, &str) -> anyhow::Result<()>,
    printed: fn(&mut S) -> &mut String,
) -> anyhow::Result<String> {
    let mut told = String::new();
    let mut skipping = false;
    for line in script.lines() {
        if skipping {
            skipping = !line.is_empty();
            if skipping {
                continue;
            }
        }
        writeln!(told, "{line}")?;
        if line == "----" {
            let printed = std::mem::take(printed(story));
            told.push_str(if printed.is_empty() {
                "(nothing)\n"
            } else {
                &printed
            });
            skipping = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            command(story, line).with_context(|| line.to_owned())?;
        }
    }
    Ok(told)
}

/// Retells all stories of a folder beside `Cargo.toml`, of which there are `least` or more. With `REWRITE=1` in the
/// environment what is printed is written into them, to be reviewed like code.
///
/// # Panics
/// When a story is not told as it stands.
pub fn check_all(folder: &str, least: usize, run: impl Fn(&str) -> anyhow::Result<String>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut stories = 0;
    for entry in fs::read_dir(&dir).expect("the folder of the stories") {
        let path = entry.expect("a story").path();
        let script = fs::read_to_string(&path).expect("a story");
        let told = run(&script).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        stories += 1;
        if rewrite {
            fs::write(&path, told).expect("a story can be written");
        } else if told != script {
            let mut pairs = told.lines().zip(script.lines()).enumerate();
            let first = pairs.find(|(_, (told, script))| told != script);
            panic!(
                "{} is told otherwise, first at {first:?}:\n{told}",
                path.display()
            );
        }
    }
    assert!(
        stories >= least,
        "only {stories} stories in {}",
        dir.display()
    );
}
