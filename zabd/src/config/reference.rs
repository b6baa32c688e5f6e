//! Pages made from the table: the reference in `docs/configuration.md`, and the values in force.

use std::fmt::Write as _;

use super::keys::{Applies, Key, Kind, Property, SECTIONS, Spelling, find};
use super::value::allowed_text;
use super::zoo_cfg::Config;
use crate::replica::ensemble::Role;

/// The whole of `docs/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        page.push_str(&format!("\n## {}\n\n", section.title));
        page.push_str("| key | allowed | default | effect |\n|---|---|---|---|\n");
        for key in section.keys {
            page.push_str(&row(key));
        }
    }
    page
}

/// The values in force as lines of a configuration file, secrets as `***`.
#[must_use]
pub fn effective_text(config: &Config) -> String {
    let mut text = String::new();
    if let Some(ensemble) = &config.ensemble {
        let role = match ensemble.role() {
            Role::Participant => "a participant",
            Role::Observer => "an observer",
        };
        let me = ensemble.me;
        push(
            &mut text,
            format_args!("# server {me} of an ensemble, {role}; its members:\n"),
        );
        for line in ensemble.members.text().lines() {
            push(&mut text, format_args!("#   {line}\n"));
        }
    }
    for (name, value) in config.effective() {
        let hidden = if is_hidden(name) { "# " } else { "" };
        let (name, value) = (escaped_key(name), escaped(value));
        push(&mut text, format_args!("{hidden}{name}={value}\n"));
    }
    text
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what)
        .expect("a String takes all that is written to it");
}

/// A hidden value must not be read back for the value itself, so its line is a comment.
fn is_hidden(name: &str) -> bool {
    find(name).is_some_and(|found| found.key.is_secret(name))
}

/// Makes a key survive the properties format, where it ends at a separator and must not begin a comment.
fn escaped_key(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in escaped(name).chars() {
        if matches!(c, ' ' | '=' | ':' | '#' | '!') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Makes a value survive the properties format.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for unit in value.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some('\\') => text.push_str("\\\\"),
            Some(c @ ' '..='~') => text.push(c),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

fn row(key: &Key) -> String {
    let mut name = format!("`{}`", key.name.replace('*', "…"));
    for alias in key.aliases {
        debug_assert!(find(alias).is_some_and(|found| found.spelling == Spelling::Alias));
        name.push_str(&format!(", `{alias}`"));
    }
    if key.property == Property::Bare && !key.name.starts_with("zabd.") {
        name.push_str(" (ZooKeeper: `-D` only)");
    }
    let mut allowed = match key.kind {
        Kind::Class(classes) => classes
            .iter()
            .map(|class| format!("`{class}`"))
            .collect::<Vec<_>>()
            .join(", "),
        kind => allowed_text(kind),
    };
    if !key.unit.is_empty() {
        allowed.push_str(&format!("; {}", key.unit));
    }
    let default = match key.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let effect = match key.applies {
        Applies::Yes => key.doc.to_owned(),
        Applies::EnsembleLater(reason) => {
            format!("{}. *Ensembles only, and no effect yet: {reason}*", key.doc)
        }
        Applies::Ensemble => format!("{}. *Ensembles only*", key.doc),
        Applies::Ignored(reason) => format!("{}. *No effect: {reason}*", key.doc),
        Applies::Later(reason) => format!("{}. *No effect yet: {reason}*", key.doc),
        Applies::Refused(reason) => format!("{}. *Refused: {reason}*", key.doc),
    };
    format!("| {name} | {allowed} | {default} | {effect} |\n").replace("  |", " |")
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table in zabd/src/config/keys; `UPDATE_DOCS=1 cargo test -p zabd config` rewrites it. -->

zabd reads the file that Apache ZooKeeper 3.9 reads, `zoo.cfg`, under the rules Java reads it by: the
format of `java.util.Properties`, in ISO-8859-1, the last of two lines for one key in force.
`zabd check-config FILE` says all that is wrong with a file, and prints the values in force.

**Precedence.** Flags (`--data-dir`, `--client-port`, `--log-level`, `--log-format`), then the environment
(`ZABD_LOG`, `ZABD_LOG_FORMAT`), then the file, then `-Dname=value`, then the default. Without a file
zabd serves clients on port 2181 of every address and keeps its data in `./zabd-data`, or where `ZABD_DATA_DIR`
says.

**Spelling.** A key can also be written under the name of its JVM property, which is `zookeeper.` and the
key unless noted, and under the further names in its row, all of them in the file and behind `-D`. ZooKeeper itself passes
some of these over; `check-config` says so.

**What becomes of a line.** *note*: worth knowing. *warning*: the server starts, with something else in force than
was written. *error*: the server does not start, and exits with code 2. An unknown key is a warning. A key
this version does not serve is passed over with a warning where that is harmless, and refused where it would weaken
durability, quorum or security. Numbers and flags that ZooKeeper reads leniently (a number it cannot read leaves the
default in force, `forceSync=NO` still syncs) are read the same way here, with a warning.
";
