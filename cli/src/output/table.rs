//! Documents as a table: one row each, columns as wide as what is in them.

use unicode_width::UnicodeWidthStr;

use super::doc::Doc;

/// The table, each line ended; nothing for no documents. A single document that is not a row of a list reads better
/// from top to bottom.
pub(super) fn table(docs: &[Doc]) -> String {
    let rows: Vec<_> = docs.iter().map(cells).collect();
    match &rows[..] {
        [] => String::new(),
        [row] if row.len() > 1 => {
            let pairs = row
                .iter()
                .map(|(name, value)| vec![name.clone(), value.clone()]);
            layout(
                &["FIELD".to_owned(), "VALUE".to_owned()],
                &pairs.collect::<Vec<_>>(),
            )
        }
        rows => {
            let mut names: Vec<String> = Vec::new();
            for (name, _) in rows.iter().flatten() {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            let find = |row: &[(String, String)], name: &String| {
                let cell = row.iter().find(|(named, _)| named == name);
                cell.map_or_else(String::new, |(_, value)| value.clone())
            };
            let lines: Vec<Vec<_>> = rows
                .iter()
                .map(|row| names.iter().map(|name| find(row, name)).collect())
                .collect();
            let heads: Vec<_> = names.iter().map(|name| name.to_uppercase()).collect();
            layout(&heads, &lines)
        }
    }
}

/// The cells of a document: those of a map within it carry both names.
fn cells(doc: &Doc) -> Vec<(String, String)> {
    let Some(fields) = doc.fields() else {
        return vec![("value".to_owned(), cell(doc))];
    };
    fields
        .into_iter()
        .flat_map(|(name, value)| match value {
            Doc::Map(_) => cells(value)
                .into_iter()
                .map(|(inner, value)| (format!("{name}.{inner}"), value))
                .collect(),
            other => vec![(name.to_owned(), cell(other))],
        })
        .collect()
}

fn cell(doc: &Doc) -> String {
    match doc {
        Doc::Null => "-".to_owned(),
        // A line end within a cell would tear the table.
        Doc::Text(text) if text.chars().any(char::is_control) => doc.to_json(),
        Doc::Text(text) => text.clone(),
        Doc::List(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Doc::Map(fields) => {
            let values = fields.iter().map(|(_, value)| cell(value));
            values.collect::<Vec<_>>().join(":")
        }
        // Columns of names that come from outside would be as many as somebody likes.
        Doc::Object(fields) => {
            let pairs = fields
                .iter()
                .map(|(name, value)| format!("{name}={}", cell(value)));
            cell(&Doc::text(pairs.collect::<Vec<_>>().join(",")))
        }
        other => other.to_json(),
    }
}

fn layout(heads: &[String], lines: &[Vec<String>]) -> String {
    let widths: Vec<_> = (0..heads.len())
        .map(|at| {
            let cells = lines.iter().map(|line| line[at].width());
            cells.chain([heads[at].width()]).max().unwrap_or(0)
        })
        .collect();
    let mut table = String::new();
    for line in std::iter::once(heads).chain(lines.iter().map(Vec::as_slice)) {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_are_rows() {
        let row =
            |path: &str, size| Doc::Map(vec![("path", Doc::text(path)), ("bytes", Doc::Int(size))]);
        assert_eq!(
            table(&[row("/ä日", 1), row("/a\n", 12)]),
            "PATH    BYTES\n/ä日    1\n\"/a\\n\"  12\n"
        );
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn one_document_reads_down() {
        let doc = Doc::Map(vec![
            ("path", Doc::text("/a")),
            ("stat", Doc::Map(vec![("version", Doc::Int(3))])),
            ("children", Doc::texts(["x", "y"])),
            ("named", Doc::Object(vec![("a".to_owned(), Doc::text("b"))])),
        ]);
        assert_eq!(
            table(&[doc]),
            "FIELD         VALUE\npath          /a\nstat.version  3\nchildren      x,y\nnamed         a=b\n"
        );
        assert_eq!(
            table(&[Doc::Map(vec![("name", Doc::text("x"))])]),
            "NAME\nx\n"
        );
    }
}
