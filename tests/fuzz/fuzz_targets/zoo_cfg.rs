//! A configuration file of any bytes is read or refused; what it comes to can be written down and read again.

#![no_main]

#[path = "support/limit.rs"]
mod limit;

use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zabd::config::{self, Sources, properties};

/// No name has an address: a fuzzer must not ask the network about the names it makes up.
///
/// In place of libc's function, since the linker looks here first. -2 is `EAI_NONAME`.
#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(
    _: *const c_char,
    _: *const c_char,
    _: *const c_void,
    _: *mut *mut c_void,
) -> c_int {
    -2
}

fn file(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("zabd-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the directory for temporary files can be written");
        dir
    });
    dir.join(name)
}

fn load(name: &str, bytes: &[u8]) -> Option<String> {
    let path = file(name);
    std::fs::write(&path, bytes).expect("the directory for temporary files can be written");
    match config::load(&Sources::file(&path)) {
        Ok((config, findings)) => {
            assert!(!findings.has_errors());
            assert!(config.ensemble.is_some() || !config.listeners.is_empty());
            assert!(config.sessions.timeout_min_ms <= config.sessions.timeout_max_ms);
            Some(config::effective_text(&config))
        }
        Err(findings) => {
            assert!(findings.has_errors());
            assert!(findings.to_string().len() <= 1024 + 64 * (bytes.len() + 64));
            None
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parsed = properties::parse(bytes);
    let breaks = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = breaks.count() + 1;
    assert!(parsed.entries.len() + parsed.malformed.len() <= lines);
    let read: usize = parsed
        .entries
        .iter()
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    assert!(read <= 3 * bytes.len());
    for entry in &parsed.entries {
        assert!(entry.line as usize <= lines);
    }
    // Such a key names another file, which may be any on this machine.
    if parsed
        .entries
        .iter()
        .any(|entry| entry.key.contains("dynamicConfigFile"))
    {
        return;
    }
    if let Some(effective) = load("zoo.cfg", bytes) {
        let again = load("effective.cfg", effective.as_bytes());
        // Secrets are not in the text.
        if !effective.contains("\n# ") {
            assert_eq!(again.as_ref(), Some(&effective));
        }
    }
});
