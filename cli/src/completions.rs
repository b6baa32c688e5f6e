//! Completion in the shells that people start `zab` from: a script for each of them, which asks `zab` itself.

use std::io::Write;

use crate::client::{ConnectString, SessionOptions};
use crate::commands;
use crate::failure::Failure;
use crate::handle::{Handle, Watch};
use crate::interactive::candidates;
use crate::invocation::{Invocation, Run};

/// The command that prints a script, and the one that the scripts call.
pub(crate) const COMMAND: &str = "completions";
pub(crate) const ASK: &str = "__complete";

/// How long a key may wait for a server.
const PATIENCE_MS: i32 = 1000;

const GLOBAL: [&str; 9] = [
    "--help ",
    "--output ",
    "-auth ",
    "-client-configuration ",
    "-r ",
    "-server ",
    "-timeout ",
    "-version ",
    "-waitforconnection ",
];

const BASH: &str = r#"# zab completions bash > /etc/bash_completion.d/zab, or: source <(zab completions bash)
_zab() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null))
    # A candidate that does not end in a space goes on.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *' ' ]]; then
        COMPREPLY[0]=${COMPREPLY[0]% }
    else
        compopt -o nospace
        COMPREPLY=("${COMPREPLY[@]% }")
    fi
    local at
    for at in "${!COMPREPLY[@]}"; do
        printf -v 'COMPREPLY[at]' '%q' "${COMPREPLY[at]}"
    done
}
complete -o default -F _zab zab
"#;

const ZSH: &str = r#"#compdef zab
# zab completions zsh > "${fpath[1]}/_zab"
_zab() {
    local -a whole open
    local line
    while IFS= read -r line; do
        if [[ $line == *' ' ]]; then whole+=("${line% }"); else open+=("$line"); fi
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2> /dev/null)
    (( ${#whole} )) && compadd -- "${whole[@]}"
    (( ${#open} )) && compadd -S '' -- "${open[@]}"
    (( ${#whole} + ${#open} )) || _files
}
if [ "$funcstack[1]" = "_zab" ]; then _zab "$@"; else compdef _zab zab; fi
"#;

const FISH: &str = r#"# zab completions fish > ~/.config/fish/completions/zab.fish
function __zab_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2> /dev/null | string trim --right
end
complete -c zab -f -a '(__zab_complete)'
"#;

/// Prints the script for a shell.
pub(crate) fn script(words: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let script = match words.first().map(String::as_str) {
        Some("bash") => BASH,
        Some("zsh") => ZSH,
        Some("fish") => FISH,
        _ => return Err(Failure::usage("completions bash|zsh|fish")),
    };
    write!(out, "{script}")?;
    Ok(())
}

/// Prints what the last of the words could be, a line each; what is whole ends in a space.
pub(crate) fn ask(words: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let (word, before) = match words.split_last() {
        Some((word, before)) => (word.as_str(), before),
        None => ("", words),
    };
    if before.last().is_some_and(|word| word == "--help") {
        return print(out, candidates(&["help".to_owned()], word, &mut |_| None));
    }
    // An option that still wants its value: nothing is known of that.
    let Ok(Invocation::Run(run)) = Invocation::parse(before.iter().cloned()) else {
        return Ok(());
    };
    if run.words.is_empty() && word.starts_with('-') {
        let found = GLOBAL.iter().filter(|name| name.starts_with(word));
        return print(out, found.map(|name| (*name).to_owned()).collect());
    }
    let mut handle = connect(&run);
    let mut names = |path: &str| {
        let reply = handle.as_mut()?.children(path, Watch::No).ok()?;
        Some(reply.children.iter().map(ToString::to_string).collect())
    };
    let mut found = candidates(&run.words, word, &mut names);
    if run.words.is_empty() {
        // Those that are no commands of a session.
        let others = commands::others().filter(|name| name.starts_with(word));
        found.extend(others.map(|name| format!("{name} ")));
        found.sort();
    }
    let printed = print(out, found);
    if let Some(mut handle) = handle {
        // A session that cannot be closed expires.
        handle.close().ok();
    }
    printed
}

fn print(out: &mut dyn Write, found: Vec<String>) -> Result<(), Failure> {
    for candidate in found {
        writeln!(out, "{candidate}")?;
    }
    Ok(())
}

fn connect(run: &Run) -> Option<Handle> {
    let servers = ConnectString::parse(&run.server).ok()?;
    let options = SessionOptions {
        timeout_ms: PATIENCE_MS,
        read_only_allowed: true,
    };
    Some(Handle::new(servers, options, run.credentials.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_completed_are_explained() {
        let help = commands::help_text(&[]).unwrap();
        for option in GLOBAL {
            assert!(help.contains(option.trim_end()), "{option}");
        }
    }

    #[test]
    fn options_and_commands_need_no_server() {
        for (words, found) in [
            (&["-serv"][..], "-server \n"),
            (&["-server", "h:1", "getAll"], "getAllChildrenNumber \n"),
            (&["--help", "tre"], "tree \n"),
            (&["-server", "h"], ""),
            (&["du", "--so"], "--sort \n"),
            (
                &["s"],
                "service \nset \nsetAcl \nsetquota \nsnapshot \nstat \nsync \n",
            ),
            (&["service", "wa"], "watch \n"),
            (&["lock", "/l", "--gr"], "--grace \n"),
        ] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let mut out = Vec::new();
            ask(&words, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), found, "{words:?}");
        }
    }
}
