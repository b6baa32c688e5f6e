//! Options of a command: single-dash, bundled or glued to their value, before or after the positional arguments.
//!
//! Takes and refuses what the Java shell does, which reads its options with commons-cli's `DefaultParser`, and says
//! so in the same words.

use thiserror::Error;

/// An option that a command knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without the dash.
    pub(crate) name: &'static str,
    pub(crate) takes_value: bool,
    /// For the table of options.
    pub(crate) help: &'static str,
    /// Whether the Java shell does not have it. Such an option takes two dashes, and stands in the help only.
    pub(crate) own: bool,
}

/// An option without a value.
pub(crate) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        takes_value: false,
        help,
        own: false,
    }
}

/// An option with a value.
pub(crate) const fn valued(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        takes_value: true,
        help,
        own: false,
    }
}

/// An option without a value that the Java shell does not have.
pub(crate) const fn own_switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        own: true,
        ..switch(name, help)
    }
}

/// An option with a value that the Java shell does not have.
pub(crate) const fn own_valued(name: &'static str, help: &'static str) -> Flag {
    Flag {
        own: true,
        ..valued(name, help)
    }
}

/// How a command's options go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Each on its own.
    Free,
    /// At most one kind of them.
    AtMostOne,
    /// Exactly one kind of them.
    ExactlyOne,
    /// There are none: whatever is given is taken, dashes and all.
    NotParsed,
}

/// The options that a command takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlagSet {
    pub(crate) flags: &'static [Flag],
    pub(crate) choice: Choice,
}

impl FlagSet {
    /// A command without options.
    pub(crate) const NONE: Self = Self::free(&[]);

    /// Options that do not exclude each other.
    pub(crate) const fn free(flags: &'static [Flag]) -> Self {
        Self {
            flags,
            choice: Choice::Free,
        }
    }

    /// The option that a word with one dash names.
    fn find(&self, name: &str) -> Option<&'static Flag> {
        self.flags
            .iter()
            .find(|flag| flag.name == name && !flag.own)
    }

    /// The option that a word with two dashes names: a long one, or one that the Java shell does not have.
    fn find_long(&self, name: &str) -> Option<&'static Flag> {
        self.flags
            .iter()
            .find(|flag| flag.name == name && (flag.own || name.len() > 1))
    }

    fn find_letter(&self, letter: char) -> Option<&'static Flag> {
        self.find(letter.encode_utf8(&mut [0; 4]))
    }

    /// Whether a word is one of the options that the Java shell does not have.
    pub(crate) fn has_own(&self, word: &str) -> bool {
        let name = word.strip_prefix("--").map(|word| {
            let end = word.find('=').unwrap_or(word.len());
            &word[..end]
        });
        name.and_then(|name| self.find_long(name))
            .is_some_and(|flag| flag.own)
    }

    /// The table of the Java shell's options, one line each, as commons-cli lays it out.
    pub(crate) fn table(&self) -> String {
        Self::table_of(self.flags.iter().filter(|flag| !flag.own).collect())
    }

    /// The table of all options.
    pub(crate) fn full_table(&self) -> String {
        Self::table_of(self.flags.iter().collect())
    }

    fn table_of(mut flags: Vec<&Flag>) -> String {
        flags.sort_by_key(|flag| (flag.own, flag.name.to_ascii_lowercase()));
        let label = |flag: &Flag| {
            let value = if flag.takes_value { " <arg>" } else { "" };
            let dashes = if flag.own { "--" } else { "-" };
            format!(" {dashes}{}{value}", flag.name)
        };
        let width = flags.iter().map(|flag| label(flag).len()).max();
        let width = width.unwrap_or(0);
        flags
            .iter()
            .map(|flag| format!("{:width$}   {}\n", label(flag), flag.help))
            .collect()
    }
}

/// Options that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FlagError {
    #[error("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {0}")]
    Unrecognized(String),
    #[error("org.apache.commons.cli.MissingArgumentException: Missing argument for option: {0}")]
    MissingValue(&'static str),
    #[error(
        "org.apache.commons.cli.AlreadySelectedException: The option '{second}' was specified but an option from \
         this group has already been selected: '{first}'"
    )]
    AlreadySelected {
        first: &'static str,
        second: &'static str,
    },
    #[error("org.apache.commons.cli.MissingOptionException: Missing required option: [{0}]")]
    MissingOption(String),
}

/// What was given on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parsed {
    options: Vec<(&'static str, Option<String>)>,
    /// What is neither an option nor an option's value.
    pub(crate) positionals: Vec<String>,
}

impl Parsed {
    /// Whether the option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The values of all occurrences of the option.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.options.iter().filter(move |(given, _)| *given == name);
        given.filter_map(|(_, value)| value.as_deref())
    }

    /// The value of the option's first occurrence.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.options.iter().find(|(given, _)| *given == name)?;
        value.as_deref()
    }
}

/// Parses the words behind a command's name.
pub(crate) fn parse(set: &FlagSet, words: &[String]) -> Result<Parsed, FlagError> {
    let mut parser = Parser {
        set,
        parsed: Parsed::default(),
        awaiting: None,
    };
    let mut words = words.iter();
    for word in words.by_ref() {
        if set.choice == Choice::NotParsed {
            parser.parsed.positionals.push(word.clone());
            continue;
        }
        if word == "--" {
            break;
        }
        parser.word(word)?;
    }
    parser.parsed.positionals.extend(words.cloned());
    parser.finish()
}

struct Parser<'a> {
    set: &'a FlagSet,
    parsed: Parsed,
    /// An option whose value is to come.
    awaiting: Option<&'static Flag>,
}

impl Parser<'_> {
    fn word(&mut self, word: &str) -> Result<(), FlagError> {
        if self.awaiting.is_some() && self.is_value(word) {
            self.give_value(unquote(word));
            return Ok(());
        }
        match word.strip_prefix('-') {
            None | Some("") => {
                self.parsed.positionals.push(word.to_owned());
                Ok(())
            }
            Some(body) => self.dashed(word, body),
        }
    }

    fn dashed(&mut self, word: &str, body: &str) -> Result<(), FlagError> {
        let unrecognized = || FlagError::Unrecognized(word.to_owned());
        // The manual writes `reconfig --add`; the Java shell refuses it, to nobody's good.
        if let Some(long) = body.strip_prefix('-') {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let flag = self
                .set
                .find_long(name)
                .filter(|flag| flag.takes_value || value.is_none())
                .ok_or_else(unrecognized)?;
            self.begin(flag)?;
            if let Some(value) = value {
                self.give_value(value);
            }
            return Ok(());
        }
        if let Some((name, value)) = body.split_once('=') {
            let flag = Some(name)
                .filter(|name| name.chars().count() == 1)
                .and_then(|name| self.set.find(name))
                .filter(|flag| flag.takes_value)
                .ok_or_else(unrecognized)?;
            self.begin(flag)?;
            self.give_value(value);
            return Ok(());
        }
        if let Some(flag) = self.set.find(body) {
            return self.begin(flag);
        }
        for (at, letter) in body.char_indices() {
            let flag = self.set.find_letter(letter).ok_or_else(unrecognized)?;
            self.begin(flag)?;
            let rest = &body[at + letter.len_utf8()..];
            if flag.takes_value && !rest.is_empty() {
                self.give_value(rest);
                break;
            }
        }
        Ok(())
    }

    fn begin(&mut self, flag: &'static Flag) -> Result<(), FlagError> {
        self.check_awaiting()?;
        if self.set.choice != Choice::Free
            && !flag.own
            && let Some(first) = self.chosen()
            && first != flag.name
        {
            return Err(FlagError::AlreadySelected {
                first,
                second: flag.name,
            });
        }
        if flag.takes_value {
            self.awaiting = Some(flag);
        } else {
            self.parsed.options.push((flag.name, None));
        }
        Ok(())
    }

    /// The first option of those that exclude each other.
    fn chosen(&self) -> Option<&'static str> {
        let mut given = self.parsed.options.iter().map(|(name, _)| *name);
        given.find(|name| self.set.find(name).is_some())
    }

    fn give_value(&mut self, value: &str) {
        if let Some(flag) = self.awaiting.take() {
            self.parsed
                .options
                .push((flag.name, Some(value.to_owned())));
        }
    }

    fn check_awaiting(&self) -> Result<(), FlagError> {
        match self.awaiting {
            Some(flag) => Err(FlagError::MissingValue(flag.name)),
            None => Ok(()),
        }
    }

    /// Whether a word can be an option's value: it is not an option itself, or is a negative number.
    fn is_value(&self, word: &str) -> bool {
        let Some(body) = word.strip_prefix('-').filter(|body| !body.is_empty()) else {
            return true;
        };
        let name = body.split('=').next().unwrap_or(body);
        let long = name
            .strip_prefix('-')
            .and_then(|name| self.set.find_long(name));
        if long.is_some_and(|flag| flag.own) {
            return false;
        }
        let is_option = self.set.find(name).is_some()
            || name
                .chars()
                .next()
                .is_some_and(|letter| self.set.find_letter(letter).is_some());
        !is_option || word.parse::<f64>().is_ok()
    }

    fn finish(self) -> Result<Parsed, FlagError> {
        self.check_awaiting()?;
        if self.set.choice == Choice::ExactlyOne && self.chosen().is_none() {
            let flags = self.set.flags.iter().filter(|flag| !flag.own);
            let names: Vec<_> = flags
                .map(|flag| format!("-{} {}", flag.name, flag.help))
                .collect();
            return Err(FlagError::MissingOption(names.join(", ")));
        }
        Ok(self.parsed)
    }
}

/// Strips one pair of double quotes around a value.
fn unquote(word: &str) -> &str {
    word.strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: FlagSet = FlagSet::free(&[
        switch("s", "stat"),
        switch("x", "hex"),
        valued("t", "ttl"),
        valued("add", "servers"),
    ]);
    const ONE: FlagSet = FlagSet {
        flags: &[valued("n", "count"), valued("b", "bytes")],
        choice: Choice::ExactlyOne,
    };

    fn parsed(set: &FlagSet, line: &str) -> Result<Parsed, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(set, &words).map_err(|error| error.to_string())
    }

    #[test]
    fn options_stand_anywhere_bundled_or_glued() {
        for line in [
            "-s -x -t 5000 /p",
            "/p -sx -t5000",
            "-sxt 5000 /p",
            "/p -t=5000 -xs",
        ] {
            let parsed = parsed(&SET, line).unwrap();
            assert!(parsed.has("s") && parsed.has("x"), "{line}");
            assert_eq!(parsed.value("t"), Some("5000"), "{line}");
            assert_eq!(parsed.positionals, ["/p"], "{line}");
        }
    }

    #[test]
    fn a_negative_number_is_a_value_and_a_dash_a_positional() {
        assert_eq!(parsed(&SET, "-t -5").unwrap().value("t"), Some("-5"));
        assert_eq!(parsed(&SET, "-t -z").unwrap().value("t"), Some("-z"));
        assert_eq!(parsed(&SET, "/p -").unwrap().positionals, ["/p", "-"]);
    }

    #[test]
    fn own_options_take_two_dashes_and_leave_the_java_shells_alone() {
        const OWN: FlagSet = FlagSet {
            flags: &[
                valued("n", "count"),
                valued("b", "bytes"),
                own_switch("null", "own"),
                own_valued("to", "own"),
            ],
            choice: Choice::ExactlyOne,
        };
        for line in ["--null --to x -n 1 /p", "-n 1 /p --to=x --null"] {
            let parsed = parsed(&OWN, line).unwrap();
            assert!(parsed.has("null"), "{line}");
            assert_eq!(parsed.value("to"), Some("x"), "{line}");
            assert_eq!(parsed.value("n"), Some("1"), "{line}");
        }
        assert!(parsed(&OWN, "-null").is_ok_and(|parsed| parsed.value("n") == Some("ull")));
        for line in ["-to x -n 1", "--null=x -n 1", "--null", "-n --null"] {
            assert!(parsed(&OWN, line).is_err(), "{line}");
        }
        assert_eq!(OWN.table(), " -b <arg>   bytes\n -n <arg>   count\n");
        assert!(
            OWN.full_table()
                .ends_with("\n --null       own\n --to <arg>   own\n")
        );
    }

    #[test]
    fn two_dashes_end_the_options() {
        let parsed = parsed(&SET, "-s -- -x /p").unwrap();
        assert!(!parsed.has("x"));
        assert_eq!(parsed.positionals, ["-x", "/p"]);
    }

    #[test]
    fn long_names_take_one_dash_or_two() {
        assert_eq!(parsed(&SET, "-add 1=h").unwrap().value("add"), Some("1=h"));
        assert_eq!(parsed(&SET, "--add 1=h").unwrap().value("add"), Some("1=h"));
        assert!(parsed(&SET, "--s").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_as_commons_cli_does() {
        for (set, line, words) in [
            (
                &SET,
                "-z",
                "UnrecognizedOptionException: Unrecognized option: -z",
            ),
            (
                &SET,
                "-sz",
                "UnrecognizedOptionException: Unrecognized option: -sz",
            ),
            (
                &SET,
                "-s=1",
                "UnrecognizedOptionException: Unrecognized option: -s=1",
            ),
            (
                &SET,
                "/p -t",
                "MissingArgumentException: Missing argument for option: t",
            ),
            (
                &SET,
                "-t -s 1",
                "MissingArgumentException: Missing argument for option: t",
            ),
            (
                &ONE,
                "-n 1 -b 1 /p",
                "AlreadySelectedException: The option 'b' was specified but an option from this group has already \
                 been selected: 'n'",
            ),
            (
                &ONE,
                "/p",
                "MissingOptionException: Missing required option: [-n count, -b bytes]",
            ),
        ] {
            let expected = format!("org.apache.commons.cli.{words}");
            assert_eq!(parsed(set, line), Err(expected), "{line}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_aligned() {
        assert_eq!(
            SET.table(),
            " -add <arg>   servers\n -s           stat\n -t <arg>     ttl\n -x           hex\n"
        );
    }
}
