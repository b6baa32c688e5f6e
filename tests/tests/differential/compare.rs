//! Plays the same cases on two servers and says where the answers part.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use anyhow::{Context, anyhow};
use zabd_tests::servers::{Implementation, Server, Setup, apache_unavailable};

use crate::play::{Answer, play};
use crate::script::{Case, Script, Step, parse};

/// Answers longer than this, in lines, are shown without what both servers answer.
const WHOLE_LINES_MAX: usize = 16;

/// The two servers of a comparison: the second is held against the first.
pub(crate) const APACHE_THEN_ZABD: [Implementation; 2] =
    [Implementation::Apache, Implementation::Zabd];

/// Which servers to compare; `ZABD_DIFF_SELF=1` holds Apache ZooKeeper against itself, to test the test.
pub(crate) fn contestants() -> [Implementation; 2] {
    if env::var("ZABD_DIFF_SELF").is_ok_and(|value| value == "1") {
        [Implementation::Apache; 2]
    } else {
        APACHE_THEN_ZABD
    }
}

/// Whether there is a reference to compare with; says so when there is none, and fails in CI.
pub(crate) fn reference_is_here(test: &str) -> bool {
    let Some(reason) = apache_unavailable() else {
        return true;
    };
    assert!(
        env::var("CI").is_err(),
        "{test}: Apache ZooKeeper is needed in CI: {reason}"
    );
    eprintln!("{test}: SKIPPED, nothing was compared: {reason}");
    false
}

fn cases_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/cases")
}

/// Reads `tests/differential/cases/NAME.txt`.
pub(crate) fn load(name: &str) -> anyhow::Result<Script> {
    let path = cases_directory().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// The names of all files of cases, sorted.
pub(crate) fn all_scripts() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(cases_directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Plays a file of cases on both servers, prints a line a case, and fails on any difference.
pub(crate) fn run_script(name: &str) {
    if !reference_is_here(name) {
        return;
    }
    let mut script = load(name).expect("the script is well-formed");
    if let Ok(only) = env::var("ZABD_DIFF_CASE") {
        script.cases.retain(|case| case.name.contains(&only));
    }
    let servers = contestants();
    let played = play_both(&script.setup, &script.cases, servers)
        .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let mut failures = String::new();
    for (case, (expected, actual)) in script.cases.iter().zip(played) {
        show(case, &actual);
        let verdict = compare(case, expected, actual, servers[1]);
        println!("{name}: {}: {}", verdict.word(), case.name);
        if let Verdict::Differs(report) = verdict {
            writeln!(failures, "\ncase {}\n{report}", case.name)
                .expect("writing to a string does not fail");
        }
    }
    assert!(
        failures.is_empty(),
        "{} (<) and {} (>) differ:\n{failures}\nrepeat with: \
         ZABD_DIFF_CASE='part of its name' cargo test -p zabd-tests --test differential {name}",
        servers[0].name(),
        servers[1].name(),
    );
}

/// Prints what the second server answered, if that is wanted.
pub(crate) fn show(case: &Case, played: &Played) {
    if env::var_os("ZABD_DIFF_SHOW").is_none() {
        return;
    }
    println!("\ncase {}", case.name);
    if let Some(Ok(answers)) = played {
        for (step, answer) in case.steps.iter().zip(answers) {
            println!("  {}", step.text);
            for line in answer {
                println!("    {line}");
            }
        }
    }
}

/// What a case gave on one server; none if the case is not for it.
pub(crate) type Played = Option<anyhow::Result<Vec<Answer>>>;

/// Plays all cases on both servers at once.
pub(crate) fn play_both(
    setup: &Setup,
    cases: &[Case],
    [first, second]: [Implementation; 2],
) -> anyhow::Result<Vec<(Played, Played)>> {
    let (expected, actual) = thread::scope(|scope| {
        let expected = scope.spawn(move || play_all(first, setup, cases));
        let actual = play_all(second, setup, cases);
        (expected.join(), actual)
    });
    let expected = expected.map_err(|_| anyhow!("playing on {} panicked", first.name()))??;
    Ok(expected.into_iter().zip(actual?).collect())
}

fn play_all(
    implementation: Implementation,
    setup: &Setup,
    cases: &[Case],
) -> anyhow::Result<Vec<Played>> {
    let mut server = Server::start(implementation, setup)?;
    Ok(cases
        .iter()
        .map(|case| {
            if case.zabd_only && implementation == Implementation::Apache {
                return None;
            }
            let played = play(&mut server, case).with_context(|| {
                let exited = if server.has_exited() { " (exited)" } else { "" };
                format!("{}{exited}", implementation.name())
            });
            Some(played)
        })
        .collect())
}

/// What holding one case's answers against each other gave.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// No difference but those meant.
    Same,
    /// Neither server was to play it.
    NotPlayed,
    /// The difference, for people.
    Differs(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::NotPlayed => "not played",
            Self::Differs(_) => "DIFFERS",
        }
    }
}

/// Holds the answers of `second` against those of the reference, and against what the case says of zabd alone.
pub(crate) fn compare(
    case: &Case,
    expected: Played,
    actual: Played,
    second: Implementation,
) -> Verdict {
    let (expected, actual) = match (expected.transpose(), actual.transpose()) {
        (Ok(expected), Ok(actual)) => (expected, actual),
        (Err(error), _) | (_, Err(error)) => return Verdict::Differs(format!("{error:#}\n")),
    };
    let Some(actual) = actual else {
        return Verdict::NotPlayed;
    };
    let mut report = String::new();
    for (index, step) in case.steps.iter().enumerate() {
        let reference = expected.as_ref().map(|answers| &answers[index]);
        if let Some(difference) = step_difference(step, reference, &actual[index], second) {
            report.push_str(&difference);
        }
    }
    if report.is_empty() {
        Verdict::Same
    } else {
        Verdict::Differs(report)
    }
}

/// The first step, counted from 0, at which answers differ.
pub(crate) fn first_difference(expected: &[Answer], actual: &[Answer]) -> Option<usize> {
    (0..expected.len().max(actual.len())).find(|&index| expected.get(index) != actual.get(index))
}

fn step_difference(
    step: &Step,
    reference: Option<&Answer>,
    actual: &Answer,
    second: Implementation,
) -> Option<String> {
    let exception = step
        .zabd
        .as_ref()
        .filter(|_| second == Implementation::Zabd);
    let mut report = format!("  {}\n", step.text);
    let mut shown = actual.clone();
    if let Some(exception) = exception {
        if reference == Some(actual) {
            report.push_str(
                "    = the answers are the same, though the case says that zabd's differs\n",
            );
        } else if exception
            .lines
            .iter()
            .map(|line| line.trim_end())
            .eq(actual.iter().map(|line| line.trim_end()))
        {
            return None;
        }
        push_lines(&mut report, "wanted of zabd", &exception.lines);
    } else {
        // Without a reference, steps that the case says nothing about only lead up to those that it does.
        let reference = reference?;
        if reference == actual {
            return None;
        }
        let mut wanted = reference.clone();
        if wanted.len().max(shown.len()) > WHOLE_LINES_MAX {
            report.push_str("    (lines that both have are left out)\n");
            wanted.retain(|line| !actual.contains(line));
            shown.retain(|line| !reference.contains(line));
        }
        push_lines(&mut report, "<", &wanted);
    }
    push_lines(&mut report, ">", &shown);
    Some(report)
}

fn push_lines(report: &mut String, mark: &str, lines: &[String]) {
    if lines.is_empty() {
        report.push_str(&format!("    {mark} (nothing)\n"));
    }
    for line in lines {
        report.push_str(&format!("    {mark} {line}\n"));
    }
}
