//! What neither compiler nor clippy sees: which module uses which, and leftovers.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of zabd, and what of `crate::` each may use: the arrows of ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("state", &["state"]),
    ("replica", &["replica", "state"]),
    ("storage", &["storage"]),
    ("image", &["image", "storage", "state"]),
    ("inspect", &["inspect", "image", "storage", "state"]),
    ("net", &["net", "replica", "state"]),
    ("auth", &["auth", "state"]),
    (
        "admin",
        &["admin", "auth", "net", "state", "replica", "storage"],
    ),
    ("config", &["config", "replica"]),
    (
        "runtime",
        &[
            "runtime", "net", "image", "storage", "auth", "admin", "config", "replica", "state",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for (module, allowed) in ARROWS {
        let folder = root().join("zabd/src").join(module);
        let files = sources(&folder);
        assert!(!files.is_empty(), "{} has no sources", folder.display());
        for file in files {
            // A module's tests may put it together with what it meets at run time.
            if file.iter().any(|part| part == "tests") || file.ends_with("tests.rs") {
                continue;
            }
            for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
                for used in line.split("crate::").skip(1) {
                    let used: String = used
                        .chars()
                        .take_while(|char| char.is_alphanumeric() || *char == '_')
                        .collect();
                    let is_module = ARROWS.iter().any(|(module, _)| *module == used);
                    if is_module && !allowed.contains(&used.as_str()) {
                        wrong.push(format!(
                            "{}:{}: {module} uses {used}",
                            file.display(),
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The log, and later the ensemble, order opaque transactions: they never look at the tree.
#[test]
fn the_log_knows_no_tree() {
    for file in sources(&root().join("zabd/src/storage")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("state::"),
            "{} looks into the state",
            file.display()
        );
    }
}

#[test]
fn nothing_is_left_over() {
    let mut left = Vec::new();
    for folder in ["jute-codec/src", "zabd/src", "cli/src"] {
        for file in sources(&root().join(folder)) {
            for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
                if ["FIXME", "XXX", "todo!(", "unimplemented!("]
                    .iter()
                    .any(|word| line.contains(word))
                {
                    left.push(format!(
                        "{}:{}: {}",
                        file.display(),
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}

/// Every module has a documentation that says what it is for.
#[test]
fn every_module_says_what_it_is_for() {
    for folder in ["jute-codec/src", "zabd/src", "cli/src"] {
        for file in sources(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with("//!"),
                "{} does not begin with its purpose",
                file.display()
            );
        }
    }
}
