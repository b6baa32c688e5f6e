//! Data of nodes, as people and files have it: text, hexadecimal digits, base64, JSON.
//!
//! The options are zab's own, beside those of the Java shell: `-b` of `get` and `set`, and `-x` of `get`.

use std::fs;
use std::io::{self, Read, Write};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::Arguments;
use crate::failure::{Failure, Kind};
use crate::flags::{Flag, own_switch, own_valued};
use crate::shell::Shell;
use crate::tools::NewFile;

/// Takes base64 with and without padding, as Java's decoder does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The longest data that is read from a file. What a server takes is less, as a rule 1 MiB.
const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Data that a server takes unless `jute.maxbuffer` says otherwise, with the rest of its request.
const USUAL_BYTES_MAX: usize = 1_000_000;

pub(super) const IN_HEX: Flag = own_switch("hex", "The data is given as hexadecimal digits");
pub(super) const IN_JSON: Flag = own_switch("json", "The data must be JSON");
pub(super) const IN_BASE64: Flag = own_switch("base64", "The data is given in base64");
pub(super) const IN_FILE: Flag = own_valued(
    "file",
    "Take the data from a file, as it is; - for the standard input",
);

pub(super) const OUT_TEXT: Flag =
    own_switch("text", "Print the data as text, what is none as \\x..");
pub(super) const OUT_HEX: Flag = own_switch("hex", "Print the data as hexadecimal digits");
pub(super) const OUT_JSON: Flag =
    own_switch("json", "Print the data, which must be JSON, indented");
pub(super) const OUT_FILE: Flag = own_valued(
    "file",
    "Write the data to a file, as it is; - for the standard output",
);

/// The data that the words give, and how many of the words behind the path it took.
pub(super) fn input(arguments: &Arguments) -> Result<(Option<Bytes>, usize), Failure> {
    let (text, words): (Option<Vec<u8>>, usize) = match arguments.value("file") {
        Some(name) => (Some(read(name)?), 0),
        None => {
            let word = arguments.positional(1);
            (
                word.map(|word| word.as_bytes().to_vec()),
                usize::from(word.is_some()),
            )
        }
    };
    let Some(text) = text else {
        return Ok((None, words));
    };
    let data = if arguments.has("b") || arguments.has("base64") {
        let decoded = BASE64.decode(text.trim_ascii());
        decoded.map_err(|error| not(format_args!("base64: {error}")))?
    } else if arguments.has("hex") {
        from_hex(&text)?
    } else {
        if arguments.has("json") {
            serde_json::from_slice::<serde_json::Value>(&text)
                .map_err(|error| not(format_args!("JSON: {error}")))?;
        }
        text
    };
    Ok((Some(data.into()), words))
}

/// What is to be written is not of the form it should have.
fn not(what: std::fmt::Arguments<'_>) -> Failure {
    Failure::told(Kind::Input, format!("The data is not {what}"))
}

/// Says why a server may have hung up on data.
pub(super) fn explain(failure: Failure, bytes: usize) -> Failure {
    match failure {
        Failure::NoReply {
            reason,
            code,
            path,
            is_ambiguous,
        } if bytes > USUAL_BYTES_MAX => Failure::NoReply {
            reason: format!(
                "{reason}\nThe data has {bytes} bytes; a server takes about 1 MiB unless its jute.maxbuffer is larger"
            ),
            code,
            path,
            is_ambiguous,
        },
        other => other,
    }
}

fn read(name: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::local(format_args!("read {name}"), &error);
    let input: &mut dyn Read = match name {
        "-" => &mut io::stdin().lock(),
        name => &mut fs::File::open(name).map_err(failed)?,
    };
    let mut data = Vec::new();
    input
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut data)
        .map_err(failed)?;
    Ok(data)
}

fn from_hex(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let digits: Vec<_> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(*byte).to_digit(16))
        .collect();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [Some(high), Some(low)] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or_else(|| {
        not(format_args!(
            "hexadecimal: it takes two digits for each byte"
        ))
    })
}

/// Prints data as one of zab's own options wants it; says whether there was one.
pub(super) fn print(
    shell: &mut Shell<'_>,
    arguments: &Arguments,
    data: &[u8],
) -> Result<bool, Failure> {
    if let Some(name) = arguments.value("file") {
        if name == "-" {
            shell.out().write_all(data)?;
        } else {
            let mut file = NewFile::create(name)?;
            file.write_all(data)
                .map_err(|error| Failure::local(format_args!("write {name}"), &error))?;
            file.commit()?;
        }
    } else if arguments.has("json") {
        let value: serde_json::Value = serde_json::from_slice(data).map_err(|error| {
            Failure::told(Kind::Input, format!("The data is not JSON: {error}"))
        })?;
        shell.say(format_args!("{value:#}"))?;
    } else if arguments.has("hex") {
        let digits: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        shell.say(digits)?;
    } else if arguments.has("text") {
        shell.say(escaped(data))?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Text with what could upset a terminal, or is no text, as `\x..`.
fn escaped(data: &[u8]) -> String {
    let mut text = String::new();
    for chunk in data.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() && !matches!(letter, '\n' | '\t') {
                text.extend(letter.escape_default());
            } else {
                text.push(letter);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_needs_no_padding() {
        assert_eq!(BASE64.decode("aGk").unwrap(), b"hi");
        assert_eq!(BASE64.decode("aGk=").unwrap(), b"hi");
        assert!(BASE64.decode("a*k=").is_err());
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(from_hex(b"00 fF\n7a").unwrap(), [0, 255, 0x7a]);
        for text in ["0", "0g", "é0"] {
            assert!(from_hex(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn text_does_not_upset_a_terminal() {
        assert_eq!(escaped(b"a\tb\n\x1b[2J\xff"), "a\tb\n\\u{1b}[2J\\xff");
    }
}
