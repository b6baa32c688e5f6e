//! What could come next on a line: commands, their options, and paths, which the server knows.

use super::words::{self, quote};
use crate::commands::{self, find_command};
use crate::output::Format;
use crate::recipe;

/// The names of a node's children, if they can be had.
pub(super) type Names<'n> = dyn FnMut(&str) -> Option<Vec<String>> + 'n;

/// More candidates than this are not told: nobody reads them.
const CANDIDATES_MAX: usize = 10_000;

/// Where the word begins that is being completed, and what it could be, as it has to be typed.
pub(super) fn complete(line: &str, names: &mut Names<'_>) -> (usize, Vec<String>) {
    let (start, word) = words::last_word(line);
    let before = words::split(&line[..start], words::Escapes::Taken);
    let found = candidates(&before, &word, names);
    (start, found.iter().map(|word| finish(word)).collect())
}

/// What a word could be, behind those before it. A candidate that ends in a space is whole.
pub(crate) fn candidates(
    before: &[String],
    word: &str,
    names: &mut dyn FnMut(&str) -> Option<Vec<String>>,
) -> Vec<String> {
    let Some(name) = before.first() else {
        return whole(commands::names(), word);
    };
    if name == "help" {
        return whole(commands::names(), word);
    }
    if let Some(found) = recipe::complete(before, word, names) {
        return found;
    }
    let previous = before.last().map_or("", String::as_str);
    if previous == "--output" {
        return whole(Format::NAMES, word);
    }
    if word.starts_with('-') {
        let Some(known) = commands::flags(name) else {
            return Vec::new();
        };
        let flags = known.flags.iter().map(|flag| {
            let dashes = if flag.own { "--" } else { "-" };
            format!("{dashes}{}", flag.name)
        });
        // Those that print nothing but words have no other form.
        let output = find_command(name).map(|_| "--output".to_owned());
        return whole(flags.chain(output), word);
    }
    if word.starts_with('/') {
        return paths(word, names);
    }
    if word.is_empty() {
        return vec!["/".to_owned()];
    }
    Vec::new()
}

fn whole<T: AsRef<str>>(all: impl IntoIterator<Item = T>, word: &str) -> Vec<String> {
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|name| name.as_ref().starts_with(word))
        .map(|name| format!("{} ", name.as_ref()))
        .collect();
    found.sort();
    found
}

fn paths(word: &str, names: &mut Names<'_>) -> Vec<String> {
    let (parent, prefix) = word.rsplit_once('/').unwrap_or(("", word));
    let children = names(if parent.is_empty() { "/" } else { parent });
    let mut found: Vec<_> = children
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| format!("{parent}/{name}"))
        .collect();
    found.sort();
    found.truncate(CANDIDATES_MAX);
    if let [only] = &mut found[..] {
        // The next word can follow, or the same key again goes on below: a slash that is not wanted is an error.
        if names(only).is_none_or(|names| names.is_empty()) {
            only.push(' ');
        } else if only.as_str() == word {
            only.push('/');
        }
    }
    found
}

/// A candidate as it has to be typed: the space that ends it stays outside the quotes.
fn finish(candidate: &str) -> String {
    match candidate.strip_suffix(' ') {
        Some(word) => quote(word) + " ",
        // A quote that is left open lets the rest be typed.
        None => quote(candidate).trim_end_matches('"').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Option<Vec<String>> {
        let names: &[&str] = match path {
            "/" => &["app", "apple", "z k"],
            "/app" => &["config", "lock"],
            "/app/config" | "/z k" => &["x"],
            _ => &[],
        };
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn lines_are_completed() {
        for (line, start, found) in [
            ("getA", 0, &["getAcl ", "getAllChildrenNumber "][..]),
            ("help tr", 5, &["tree "]),
            ("ls /app", 3, &["/app", "/apple"]),
            ("ls /app/", 3, &["/app/config", "/app/lock"]),
            ("ls /app/c", 3, &["/app/config"]),
            ("ls /app/config", 3, &["/app/config/"]),
            ("ls /app/l", 3, &["/app/lock "]),
            ("ls /none/", 3, &[]),
            ("ls /z", 3, &["\"/z k"]),
            ("ls \"/z k", 3, &["\"/z k/"]),
            ("ls \"/z k/", 3, &["\"/z k/x\" "]),
            ("ls -", 3, &["--output ", "-? ", "-R ", "-s ", "-w "]),
            ("tree --d", 5, &["--data ", "--depth "]),
            ("get /a --output y", 16, &["yaml "]),
            ("ls ", 3, &["/"]),
            ("nosuch -", 7, &[]),
            ("addWatch -", 9, &["-m "]),
            ("removewatches -l", 14, &["-l "]),
            ("loc", 0, &["lock "]),
            ("lock --sh", 5, &["--shared "]),
            ("lock /app", 5, &["/app", "/apple"]),
            ("lock /app/lock -- ", 18, &[]),
            ("config pub", 7, &["publish "]),
            ("config publish prod/shop --fl", 25, &["--flatten "]),
            ("config run prod/shop --on-change h", 33, &["hup "]),
        ] {
            let found: Vec<_> = found.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(complete(line, &mut names), (start, found), "{line}");
        }
    }
}
