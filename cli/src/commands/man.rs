//! The manual page, from what the help has.

use std::fmt::Write;

use super::help::{EXIT_CODES, MORE, OPTIONS, about, help_text, others, recipes};
use super::{COMMANDS, Command};
use crate::exit;
use crate::flags::FlagSet;
use crate::interactive;
use crate::recipe;
use crate::tools::{FOUR_LETTER_WORDS, TOOLS};

/// The command that prints it.
pub(crate) const COMMAND: &str = "man";

const EXAMPLES: &str = "\
zab                                          # at a terminal: Tab completes, Ctrl-R searches
zab -server a:2181,b:2181/app get /config    # one command; a chroot as in any connect string
zab ls / --output json                       # or yaml, table
zab dump /app --file app.jsonl               # load brings it back
zab diff /app --with other:2181              # exits with 1 if they differ
zab watch /app -- sh -c 'echo $ZAB_PATH'     # outlives servers and sessions
zab lock /locks/backup -- backup.sh          # nobody else runs it meanwhile
zab config run prod/shop -- shop             # started anew when its configuration changes";

/// The page, for `man`.
pub(crate) fn page() -> String {
    let mut page = String::from(
        ".TH ZAB 1 \"\" \"zab\" \"User Commands\"\n.SH NAME\nzab \\- a shell for zabd and Apache ZooKeeper\n\
         .SH SYNOPSIS\n.B zab\n[options] [command [arguments]]\n",
    );
    let mut section = |title: &str, text: &str| {
        page.push_str(&format!(".SH {title}\n"));
        page.push_str(text);
    };
    section(
        "DESCRIPTION",
        &paragraph(
            "Takes the place of zkCli.sh: the same commands and options, the same output and exit codes. Without a \
             command it reads commands from the terminal, with an editor, or from a pipe.",
        ),
    );
    section("OPTIONS", &verbatim(OPTIONS));
    section("COMMANDS OF ZKCLI.SH", &commands(COMMANDS));
    section("MORE COMMANDS", &commands(TOOLS));
    let mut named: Vec<_> = recipes();
    named.extend(others());
    // The word is zkCli.sh's, too; what may follow it is not.
    named.push("config");
    named.sort_unstable();
    let mut text = String::new();
    for name in named {
        text.push_str(&heading(name, "", about(name)));
        if let Some(help) = recipe::manual(name) {
            text.push_str(&verbatim(&help));
        } else if let Ok(help) = help_text(&[name.to_owned()]) {
            text.push_str(&verbatim(
                help.split_once("\n\n").map_or("", |(_, how)| how),
            ));
        }
    }
    section("COMMANDS WITH A HELP OF THEIR OWN", &text);
    let lines = interactive::NAMES.iter().map(|command| {
        heading(command.name, command.syntax, about(command.name)) + &options(&command.flags)
    });
    section("COMMANDS WHERE MORE FOLLOW", &lines.collect::<String>());
    section(
        "EXIT STATUS",
        &format!("{}{}", paragraph(EXIT_CODES), verbatim(&exit::all())),
    );
    section(
        "ENVIRONMENT",
        &format!(
            "{}{}",
            tagged(
                "ZAB_HISTORY",
                "The file of the lines that were given; empty for none."
            ),
            tagged(
                "ZABD_BIN",
                "The daemon's program, for snapshot, log and export-java."
            )
        ),
    );
    section(
        "FILES",
        &tagged("~/.zab_history", "The lines that were given at a terminal."),
    );
    section("EXAMPLES", &verbatim(EXAMPLES));
    page
}

fn commands(commands: &[Command]) -> String {
    let mut text = String::new();
    for command in commands {
        text.push_str(&heading(command.name, command.syntax, about(command.name)));
        text.push_str(&options(&command.flags));
        if let Some((_, more)) = MORE.iter().find(|(name, _)| *name == command.name) {
            for line in more.lines().filter(|line| !line.is_empty()) {
                text.push_str(&if line.starts_with(' ') {
                    verbatim(line)
                } else {
                    paragraph(line)
                });
            }
        }
        if command.name == "admin" {
            let words = FOUR_LETTER_WORDS.iter();
            let words: Vec<_> = words
                .map(|(word, about)| format!("{word}  {about}"))
                .collect();
            text.push_str(&verbatim(&words.join("\n")));
        }
    }
    text
}

fn options(flags: &FlagSet) -> String {
    if flags.flags.is_empty() {
        return String::new();
    }
    verbatim(&flags.full_table())
}

fn heading(name: &str, syntax: &str, about: &str) -> String {
    format!(
        ".SS {name}\n.B {name}\n{}{}",
        lines(syntax),
        paragraph(&format!("{about}."))
    )
}

fn paragraph(text: &str) -> String {
    format!(".PP\n{}", lines(text))
}

fn tagged(tag: &str, text: &str) -> String {
    format!(".TP\n{}{}", lines(tag), lines(text))
}

/// Text that keeps its lines and blanks.
fn verbatim(text: &str) -> String {
    format!(".PP\n.nf\n{}.fi\n", lines(text.trim_matches('\n')))
}

/// Text that has no meaning for troff, with a line end.
fn lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for letter in line.chars() {
            match letter {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                '\'' => out.push_str("\\(aq"),
                '`' => out.push_str("\\(ga"),
                '^' => out.push_str("\\(ha"),
                '~' => out.push_str("\\(ti"),
                letter if letter.is_ascii() => out.push(letter),
                letter => {
                    write!(out, "\\[u{:04X}]", u32::from(letter)).expect("a String takes all")
                }
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::help::ABOUT;
    use super::*;

    #[test]
    fn every_command_is_on_the_page() {
        let page = page();
        for (name, about) in ABOUT {
            assert!(page.contains(&format!(".SS {name}\n")), "{name}");
            assert!(page.contains(lines(about).trim_end()), "{name}");
        }
        assert!(page.contains("Usage: zab lock "));
        assert!(page.contains(" \\-\\-depth <arg> "), "options are there");
        assert!(page.lines().all(|line| !line.starts_with('\'')));
    }

    #[test]
    fn text_is_not_taken_for_requests() {
        assert_eq!(lines(".x\n'y \\- é"), "\\&.x\n\\&\\(aqy \\e\\- \\[u00E9]\n");
    }
}
