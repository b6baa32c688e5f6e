//! Text of one value to what it means, by the rules of its row in the table.
//!
//! Pure: looks at one key and one text. What keys mean together is `check`'s business.

use super::keys::{FlagRule, IntRule, IntText, Kind, Outside};

/// A value that has been read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a decimal key.
    Decimal(f64),
    /// Of a flag.
    Flag(bool),
    /// Of a number.
    Int(i64),
    /// Of every other key; choices in the spelling of the table.
    Text(String),
}

/// What came of reading a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// As it was meant.
    Plain(Value),
    /// ZooKeeper takes it for something the writer hardly meant; `None` is the key's default.
    Surprising {
        /// What is in force.
        value: Option<Value>,
        /// What is in force and why, as a sentence without subject.
        why: String,
    },
    /// Not allowed: start-up is refused.
    Refused {
        /// What is allowed.
        allowed: String,
    },
}

/// Reads `text`, which must have been trimmed.
#[must_use]
pub fn read(kind: Kind, text: &str) -> Reading {
    match kind {
        Kind::Class(allowed) => match allowed.iter().find(|name| **name == text) {
            Some(name) => plain_text(name),
            None => refused(allowed_text(kind)),
        },
        Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => plain_text(word),
            None => refused(allowed_text(kind)),
        },
        Kind::Decimal { min, max } => match text.parse::<f64>() {
            Ok(number) if (min..=max).contains(&number) => Reading::Plain(Value::Decimal(number)),
            _ => refused(allowed_text(kind)),
        },
        Kind::Flag(rule) => read_flag(rule, text),
        Kind::Int(rule) => read_int(rule, text),
        Kind::Host | Kind::Path if text.is_empty() => refused(allowed_text(kind)),
        Kind::LogFilter if !is_log_filter(text) => refused(allowed_text(kind)),
        Kind::Host | Kind::List | Kind::LogFilter | Kind::Path | Kind::Secret | Kind::Text => {
            plain_text(text)
        }
    }
}

/// What a key of this kind may be given, for messages and the reference page.
#[must_use]
pub fn allowed_text(kind: Kind) -> String {
    match kind {
        Kind::Class(words) | Kind::Choice(words) => words.join(", "),
        Kind::Decimal { min, max } if min <= f64::MIN && max >= f64::MAX => {
            "a decimal fraction".to_owned()
        }
        Kind::Decimal { min, max } => format!("a decimal fraction from {min} to {max}"),
        Kind::Flag(rule) => match rule {
            FlagRule::ExactlyTrue | FlagRule::OnlyTrue | FlagRule::TrueOrFalse => "true, false",
            FlagRule::ExactlyYes | FlagRule::UnlessNo => "yes, no",
            FlagRule::UnlessFalse => "true, false",
        }
        .to_owned(),
        Kind::Host => "a host name or an address".to_owned(),
        Kind::Int(rule) => range_text(rule),
        Kind::List => "words separated by commas".to_owned(),
        Kind::LogFilter => {
            format!(
                "{}, or target=level separated by commas",
                LOG_LEVELS.join(", ")
            )
        }
        Kind::Path => "a path".to_owned(),
        Kind::Secret | Kind::Text => "any text".to_owned(),
    }
}

fn range_text(rule: IntRule) -> String {
    let unbounded_below = rule.min == i64::MIN || rule.min == i64::from(i32::MIN);
    let unbounded_above = rule.max == i64::MAX || rule.max == i64::from(i32::MAX);
    match (unbounded_below, unbounded_above) {
        _ if rule.min == rule.max => format!("{}", rule.min),
        (true, true) => "a whole number".to_owned(),
        (false, true) => format!("a whole number, {} or more", rule.min),
        (true, false) => format!("a whole number, {} or less", rule.max),
        (false, false) => format!("a whole number from {} to {}", rule.min, rule.max),
    }
}

fn read_flag(rule: FlagRule, text: &str) -> Reading {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    let (value, meant) = match rule {
        FlagRule::TrueOrFalse if is("true") => (true, true),
        FlagRule::TrueOrFalse if is("false") => (false, true),
        FlagRule::TrueOrFalse => return refused("true, false".to_owned()),
        FlagRule::OnlyTrue => (is("true"), is("true") || is("false")),
        FlagRule::ExactlyTrue => (text == "true", text == "true" || is("false")),
        FlagRule::ExactlyYes => (text == "yes", text == "yes" || is("no")),
        FlagRule::UnlessNo => (text != "no", text == "no" || is("yes")),
        FlagRule::UnlessFalse => (text != "false", text == "false" || is("true")),
    };
    if meant {
        return Reading::Plain(Value::Flag(value));
    }
    let (only, state) = match rule {
        FlagRule::TrueOrFalse | FlagRule::OnlyTrue => ("true", "off"),
        FlagRule::ExactlyTrue => ("exactly true", "off"),
        FlagRule::ExactlyYes => ("exactly yes", "off"),
        FlagRule::UnlessNo => ("exactly no", "on"),
        FlagRule::UnlessFalse => ("exactly false", "on"),
    };
    let switch = if value { "off" } else { "on" };
    Reading::Surprising {
        value: Some(Value::Flag(value)),
        why: format!("stays {state}, as in ZooKeeper, where only {only} switches it {switch}"),
    }
}

fn read_int(rule: IntRule, text: &str) -> Reading {
    let (number, octal) = match rule.text {
        IntText::Strict | IntText::LenientDecimal => (text.parse::<i64>().ok(), false),
        IntText::LenientInt => (
            decode(text).filter(|number| i32::try_from(*number).is_ok()),
            is_octal(text),
        ),
        IntText::LenientLong => (decode(text), is_octal(text)),
    };
    let Some(number) = number else {
        if rule.text == IntText::Strict {
            return refused(range_text(rule));
        }
        return Reading::Surprising {
            value: None,
            why: format!(
                "is not {}, so that the default is in force, as in ZooKeeper",
                range_text(rule)
            ),
        };
    };
    if !(rule.min..=rule.max).contains(&number) {
        let allowed = range_text(rule);
        return match rule.outside {
            Outside::Clamp => {
                let nearest = number.clamp(rule.min, rule.max);
                Reading::Surprising {
                    value: Some(Value::Int(nearest)),
                    why: format!("is not {allowed}, so that {nearest} is in force"),
                }
            }
            Outside::Default => Reading::Surprising {
                value: None,
                why: format!("is not {allowed}, so that the default is in force"),
            },
            Outside::Refuse => refused(allowed),
        };
    }
    if octal {
        return Reading::Surprising {
            value: Some(Value::Int(number)),
            why: format!("is octal for its leading zero, as in ZooKeeper: {number} is in force"),
        };
    }
    Reading::Plain(Value::Int(number))
}

/// Sign, then decimal, `0x`/`#` hexadecimal or `0` octal digits. Java: `Long.decode`.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hexadecimal = ["0x", "0X", "#"]
        .iter()
        .find_map(|mark| digits.strip_prefix(mark));
    let (digits, radix) = match hexadecimal {
        Some(rest) => (rest, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    // A second sign would pass `from_str_radix`.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -number } else { number }).ok()
}

fn is_octal(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && !digits[1..].starts_with(['x', 'X'])
}

/// Whether every comma-separated part is a level or `target=level`.
#[must_use]
pub fn is_log_filter(text: &str) -> bool {
    let is_level = |word: &str| {
        LOG_LEVELS
            .iter()
            .any(|level| level.eq_ignore_ascii_case(word))
    };
    let is_target = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    text.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    })
}

fn plain_text(text: &str) -> Reading {
    Reading::Plain(Value::Text(text.to_owned()))
}

fn refused(allowed: String) -> Reading {
    Reading::Refused { allowed }
}

const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    /// A value the kind takes as it is meant, other than the usual defaults where there is one.
    fn good(kind: Kind) -> String {
        match kind {
            Kind::Class(words) | Kind::Choice(words) => words[words.len() - 1].to_owned(),
            Kind::Decimal { min, max } => format!("{}", (min / 2.0 + max / 2.0).clamp(-1.0, 1.0)),
            Kind::Flag(FlagRule::ExactlyYes) => "yes".to_owned(),
            Kind::Flag(FlagRule::UnlessNo) => "no".to_owned(),
            Kind::Flag(_) => "false".to_owned(),
            Kind::Host => "127.0.0.1".to_owned(),
            Kind::Int(rule) => format!("{}", rule.max.min(rule.min.max(1) + 7)),
            Kind::List => "a, b".to_owned(),
            Kind::LogFilter => "warn,zabd::net=debug".to_owned(),
            Kind::Path => "/data".to_owned(),
            Kind::Secret | Kind::Text => "anything".to_owned(),
        }
    }

    #[test]
    fn every_key_takes_a_good_value_and_speaks_up_for_a_bad_one() {
        for key in keys::all() {
            let value = good(key.kind);
            let reading = read(key.kind, &value);
            assert!(
                matches!(reading, Reading::Plain(_)),
                "{}={value}: {reading:?}",
                key.name
            );
            let bad = match key.kind {
                Kind::List | Kind::Secret | Kind::Text => continue,
                Kind::Host | Kind::Path => "",
                _ => "nonsense value",
            };
            match read(key.kind, bad) {
                Reading::Plain(value) => panic!("{} took {bad:?} as {value:?}", key.name),
                Reading::Surprising { why, .. } => assert!(!why.is_empty()),
                Reading::Refused { allowed } => assert_eq!(allowed, allowed_text(key.kind)),
            }
        }
    }

    #[test]
    fn every_number_has_its_bounds_enforced() {
        for key in keys::all() {
            let Kind::Int(rule) = key.kind else { continue };
            for bound in [rule.min, rule.max] {
                let reading = read(key.kind, &bound.to_string());
                assert_eq!(reading, Reading::Plain(Value::Int(bound)), "{}", key.name);
            }
            for beyond in [rule.min.checked_sub(1), rule.max.checked_add(1)] {
                let Some(beyond) = beyond else { continue };
                let reading = read(key.kind, &beyond.to_string());
                assert!(
                    !matches!(reading, Reading::Plain(_)),
                    "{}={beyond}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn every_default_is_a_good_value() {
        for key in keys::all().filter(|key| !key.default.is_empty()) {
            let reading = read(key.kind, key.default);
            assert!(
                matches!(reading, Reading::Plain(_)),
                "{}: {reading:?}",
                key.name
            );
        }
    }

    #[test]
    fn flags_are_read_in_zookeepers_six_ways() {
        use FlagRule::{ExactlyTrue, ExactlyYes, OnlyTrue, TrueOrFalse, UnlessFalse, UnlessNo};
        let words = ["true", "TRUE", "false", "yes", "YES", "no", "NO", ""];
        // + on, - off, each with ! where it surprises; x is refused.
        for (rule, expected) in [
            (TrueOrFalse, ["+", "+", "-", "x", "x", "x", "x", "x"]),
            (OnlyTrue, ["+", "+", "-", "-!", "-!", "-!", "-!", "-!"]),
            (ExactlyTrue, ["+", "-!", "-", "-!", "-!", "-!", "-!", "-!"]),
            (ExactlyYes, ["-!", "-!", "-!", "+", "-!", "-", "-", "-!"]),
            (UnlessNo, ["+!", "+!", "+!", "+", "+", "-", "+!", "+!"]),
            (UnlessFalse, ["+", "+", "-", "+!", "+!", "+!", "+!", "+!"]),
        ] {
            for (word, expected) in words.iter().zip(expected) {
                let got = match read(Kind::Flag(rule), word) {
                    Reading::Plain(Value::Flag(true)) => "+",
                    Reading::Plain(Value::Flag(false)) => "-",
                    Reading::Surprising {
                        value: Some(Value::Flag(true)),
                        ..
                    } => "+!",
                    Reading::Surprising {
                        value: Some(Value::Flag(false)),
                        ..
                    } => "-!",
                    Reading::Refused { .. } => "x",
                    other => panic!("{other:?}"),
                };
                assert_eq!(got, expected, "{rule:?} {word:?}");
            }
        }
    }

    #[test]
    fn properties_are_decoded_as_java_does() {
        for (text, number) in [
            ("10", Some(10)),
            ("-10", Some(-10)),
            ("+10", Some(10)),
            ("0x10", Some(16)),
            ("-0X1f", Some(-31)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("08", None),
            ("+-1", None),
            ("0x-1", None),
            ("", None),
            ("-", None),
            ("1k", None),
            ("1 ", None),
        ] {
            assert_eq!(decode(text), number, "{text:?}");
        }
    }

    #[test]
    fn an_int_property_too_big_for_an_int_leaves_the_default() {
        let rule = keys::find("snapCount").unwrap().key.kind;
        let Reading::Surprising { value: None, .. } = read(rule, "3000000000") else {
            panic!("took a number Java does not");
        };
        let Reading::Surprising {
            value: Some(Value::Int(8)),
            ..
        } = read(rule, "010")
        else {
            panic!("no warning of octal");
        };
        let Reading::Surprising {
            value: Some(Value::Int(2)),
            ..
        } = read(rule, "1")
        else {
            panic!("snapCount is at least 2");
        };
    }

    #[test]
    fn log_filters() {
        for good in ["info", "WARN", "info,zabd::net=debug", "off"] {
            assert!(is_log_filter(good), "{good}");
        }
        for bad in ["", "loud", "info,", "zabd=loud", "=info", "a b=info"] {
            assert!(!is_log_filter(bad), "{bad}");
        }
    }
}
