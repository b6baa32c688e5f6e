//! Results in a form that other programs read: JSON, YAML, tables.

mod doc;
pub(crate) mod fields;
mod table;
mod yaml;

use std::io::{self, Write};

pub(crate) use doc::Doc;

use crate::failure::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// As each command sees fit; the Java shell's commands as there.
    #[default]
    Text,
    /// A document a line; over several lines on a terminal.
    Json,
    /// Documents with `---` between them.
    Yaml,
    /// Columns.
    Table,
}

impl Format {
    /// The names of all, as `--output` takes them.
    pub(crate) const NAMES: [&'static str; 4] = ["text", "json", "yaml", "table"];

    /// The format of this name.
    pub(crate) fn parse(name: &str) -> Result<Self, Failure> {
        Ok(match name {
            "text" => Self::Text,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "table" => Self::Table,
            _ => {
                return Err(Failure::usage(format!(
                    "--output takes {}, not \"{name}\"",
                    Self::NAMES.join(", ")
                )));
            }
        })
    }
}

/// Takes documents and prints them, each as early as its format allows.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) format: Format,
    /// Whether people are reading.
    pub(crate) pretty: bool,
    printed: usize,
    /// Of a table: the columns are known when all rows are.
    rows: Vec<Doc>,
}

impl Documents {
    pub(crate) fn new(format: Format, pretty: bool) -> Self {
        Self {
            format,
            pretty,
            ..Self::default()
        }
    }

    pub(crate) fn take(&mut self, doc: Doc, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Json if self.pretty => writeln!(out, "{}", doc.to_pretty_json())?,
            Format::Json | Format::Text => writeln!(out, "{}", doc.to_json())?,
            Format::Yaml => {
                let between = if self.printed > 0 { "---\n" } else { "" };
                write!(out, "{between}{}", yaml::yaml(&doc))?;
            }
            Format::Table => self.rows.push(doc),
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints what could not be printed before the end.
    pub(crate) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", table::table(&std::mem::take(&mut self.rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_separated_as_the_format_has_it() {
        for (format, expected) in [
            (Format::Json, "{\"n\":1}\n{\"n\":2}\n"),
            (Format::Yaml, "n: 1\n---\nn: 2\n"),
            (Format::Table, "N\n1\n2\n"),
        ] {
            let mut out = Vec::new();
            let mut documents = Documents::new(format, false);
            for number in [1, 2] {
                let doc = Doc::Map(vec![("n", Doc::Int(number))]);
                documents.take(doc, &mut out).unwrap();
            }
            documents.finish(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn formats_have_names() {
        for name in Format::NAMES {
            assert!(Format::parse(name).is_ok());
        }
        assert_eq!(
            Format::parse("xml").map_err(|error| error.to_string()),
            Err("--output takes text, json, yaml, table, not \"xml\"".to_owned())
        );
    }
}
