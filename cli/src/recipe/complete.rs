//! What could come next on the command line of a recipe, and its help: both as its parser knows it.

use clap::{Command, CommandFactory};

use super::{config_options, options, service_options};

/// The parser's argument that is the name of a service, and the one that says where services are.
const SERVICE: &str = "service";
const ROOT: &str = "root";

/// The parser of a command that has one of its own; it is what completion, the help and the manual page are made from.
fn parser(name: &str) -> Option<Command> {
    Some(match name {
        crate::bench::COMMAND => crate::bench::parser(),
        "barrier" => options::Barrier::command(),
        "config" => config_options::Config::command(),
        "counter" => options::Counter::command(),
        "elect" => options::Elect::command(),
        "id" => options::Id::command(),
        "lock" => options::Lock::command(),
        "queue" => options::Queue::command(),
        "service" => service_options::Service::command(),
        _ => return None,
    })
}

/// The help of a command that has a parser of its own, and then that of each of its subcommands.
pub(crate) fn manual(name: &str) -> Option<String> {
    let mut command = parser(name)?;
    command.build();
    let mut text = String::new();
    pages(&mut command, &mut text);
    Some(text)
}

fn pages(command: &mut Command, text: &mut String) {
    text.push_str(&command.render_help().to_string());
    for one in command.get_subcommands_mut() {
        if one.get_name() != "help" {
            text.push('\n');
            pages(one, text);
        }
    }
}

/// The help of a command, or of the subcommand that the words behind it name.
pub(crate) fn help(name: &str, words: &[String]) -> Option<String> {
    let mut command = parser(name)?;
    command.build();
    let mut command = &mut command;
    for word in words {
        command = command.find_subcommand_mut(word)?;
    }
    Some(command.render_help().to_string())
}

/// What a word could be behind a recipe's name and what follows it; none where the recipe does not know: paths, and the
/// words of other programs. A candidate that ends in a space is whole.
pub(crate) fn complete(
    before: &[String],
    word: &str,
    names: &mut dyn FnMut(&str) -> Option<Vec<String>>,
) -> Option<Vec<String>> {
    let (name, words) = before.split_first()?;
    let mut command = parser(name)?;
    // Hands options of all subcommands down to them.
    command.build();
    let mut command = &command;
    let mut positionals = command.get_positionals();
    let mut next = positionals.next();
    // The option that the last word is, if it wants a value.
    let mut wanting = None;
    let mut root = None;
    for word in words {
        if let Some(option) = wanting.take() {
            if option == ROOT {
                root = Some(word.clone());
            }
        } else if word == "--" {
            return Some(Vec::new());
        } else if let Some(long) = word.strip_prefix("--") {
            let (long, value) = match long.split_once('=') {
                Some((long, value)) => (long, Some(value)),
                None => (long, None),
            };
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_long() == Some(long));
            let takes_value = argument.is_some_and(|argument| {
                argument.get_action().takes_values() && !argument.is_require_equals_set()
            });
            match value {
                Some(value) if long == ROOT => root = Some(value.to_owned()),
                None if takes_value => wanting = Some(long),
                _ => {}
            }
        } else if let Some(found) = command.find_subcommand(word) {
            command = found;
            positionals = command.get_positionals();
            next = positionals.next();
        } else if !word.starts_with('-') {
            next = positionals.next();
        }
    }
    let argument = match wanting {
        Some(long) => command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(long)),
        None => next,
    };
    if wanting.is_none() && word.starts_with('-') {
        let longs = command.get_arguments().filter_map(|one| one.get_long());
        return Some(whole(longs.map(|long| format!("--{long}")), word));
    }
    let values = argument.map(clap::Arg::get_possible_values);
    if let Some(values) = values.filter(|values| !values.is_empty()) {
        return Some(whole(
            values.iter().map(|value| value.get_name().to_owned()),
            word,
        ));
    }
    if wanting.is_none() && command.has_subcommands() && !word.starts_with('/') {
        let subcommands = command
            .get_subcommands()
            .map(|one| one.get_name().to_owned());
        let found = whole(subcommands, word);
        return (!found.is_empty()).then_some(found);
    }
    if argument.is_some_and(|argument| argument.get_id() == SERVICE) {
        let root = root.unwrap_or_else(|| "/services".to_owned());
        return Some(whole(names(&root).unwrap_or_default(), word));
    }
    None
}

fn whole(all: impl IntoIterator<Item = String>, word: &str) -> Vec<String> {
    let mut found: Vec<_> = all
        .into_iter()
        .filter(|name| name.starts_with(word))
        .map(|name| name + " ")
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_know_what_may_follow() {
        let mut names = |path: &str| match path {
            "/services" => Some(vec!["web".to_owned(), "wiki".to_owned(), "db".to_owned()]),
            "/other" => Some(vec!["elsewhere".to_owned()]),
            _ => None,
        };
        for (line, found) in [
            (
                "service ",
                Some(&["help ", "list ", "register ", "resolve ", "watch "][..]),
            ),
            ("service re", Some(&["register ", "resolve "])),
            ("service resolve w", Some(&["web ", "wiki "])),
            ("service --root /other list ", Some(&["elsewhere "])),
            ("service list --root=/other ", Some(&["elsewhere "])),
            ("service list --root /o", None),
            ("service list web ", None),
            ("service resolve web --policy ro", Some(&["round-robin "])),
            ("service resolve web --po", Some(&["--policy "])),
            (
                "service register web --check-t",
                Some(&["--check-tcp ", "--check-timeout "]),
            ),
            ("service register web --check-tcp ", None),
            ("service register web -- ls -", Some(&[])),
            ("lock /l --s", Some(&["--shared ", "--signal "])),
            ("lock /", None),
            ("queue /q p", Some(&["peek ", "put "])),
            ("ls /", None),
        ] {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let word = words.pop().unwrap();
            let found = found.map(|found| found.iter().map(|&one| one.to_owned()).collect());
            assert_eq!(complete(&words, &word, &mut names), found, "{line}");
        }
    }
}
