//! The list of differences that are meant, made from the cases that show them.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use crate::compare::{all_scripts, load};

const HEADING: &str = "# Where zabd answers differently on purpose\n\n\
    Made from `cases/*.txt` by `REWRITE=1 cargo test -p zabd-tests --test differential expected`; \
    `+N` is the Nth transaction of the case.\n";

#[test]
fn expected_differences_are_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/expected.md");
    let list = list();
    if env::var_os("REWRITE").is_some() {
        fs::write(&path, &list).expect("the list can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, list,
        "expected.md is not what the cases say; REWRITE=1 writes it anew"
    );
}

fn list() -> String {
    let mut text = HEADING.to_owned();
    for name in all_scripts().expect("the cases can be listed") {
        let script = load(&name).expect("the script is well-formed");
        for case in &script.cases {
            let mut heading = Some(if case.zabd_only {
                format!("\n## {} (played on zabd alone)\n\n", case.name)
            } else {
                format!("\n## {}\n\n", case.name)
            });
            for step in &case.steps {
                let Some(exception) = &step.zabd else {
                    continue;
                };
                assert!(
                    !exception.why.is_empty() || case.zabd_only,
                    "{name}: {}: {}: no reason is given",
                    case.name,
                    step.text
                );
                text.push_str(&heading.take().unwrap_or_default());
                let answer = match exception.lines.as_slice() {
                    [] => "nothing".to_owned(),
                    lines => format!("`{}`", lines.join("`, `")),
                };
                writeln!(text, "- `{}`\n  zabd answers {answer}", step.text)
                    .expect("writing to a string does not fail");
                if !exception.why.is_empty() {
                    writeln!(text, "  because {}", exception.why)
                        .expect("writing to a string does not fail");
                }
            }
        }
    }
    text
}
