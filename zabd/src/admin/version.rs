//! Which release this claims to be.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::java::CivilTime;

/// The release of ZooKeeper whose behaviour this is, and zabd's own version in the place of Java's commit id.
///
/// Clients and exporters take the digits before the hyphen (kazoo: `[\d\.]*`, of `envi`), or everything up to the
/// comma; nobody is known to need forty hexadecimal digits behind it.
const RELEASE: &str = concat!("3.9.5-zabd-", env!("CARGO_PKG_VERSION"));

/// What `srvr`, `mntr` and `envi` show: `3.9.5-zabd-0.1.0, built on 2026-11-21 08:00 UTC`.
///
/// The time is `SOURCE_DATE_EPOCH` of the build if that was set, or else the date of the binary's file.
///
/// ZooKeeper: `Version.getFullVersion`.
#[must_use]
pub fn full_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| version_built_at(built_at_s()))
}

fn version_built_at(built_at_s: i64) -> String {
    let built = CivilTime::of_unix_seconds(built_at_s);
    format!("{RELEASE}, built on {} UTC", built.minutes())
}

fn built_at_s() -> i64 {
    if let Some(seconds) = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()) {
        return seconds;
    }
    std::env::current_exe()
        .and_then(std::fs::metadata)
        .and_then(|metadata| metadata.modified())
        .map_or(0, unix_seconds)
}

fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_reads_like_javas() {
        let text = version_built_at(1_770_841_080);
        let zabd = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!("3.9.5-zabd-{zabd}, built on 2026-02-11 20:18 UTC")
        );
        assert!(full_version().starts_with("3.9.5-zabd-"));
    }
}
