//! Access control lists, written `scheme:id:perms,...` and printed one entry in two lines.
//!
//! ZooKeeper: `AclParser`, `ZKUtil.getPermString`, `Id.toString`.

use jute_codec::Acl;
use jute_codec::data::perms;

/// The letters of permissions, in the order in which they are printed.
const LETTERS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

/// A list as parsed, and what was wrong with parts of it, which are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ParsedAcl {
    pub(crate) acl: Vec<Acl>,
    /// One line each.
    pub(crate) complaints: Vec<String>,
}

/// Parses a list; an entry is split at its first and its last colon.
pub(crate) fn parse_acl(text: &str) -> ParsedAcl {
    let mut parsed = ParsedAcl::default();
    let mut items: Vec<_> = text.split(',').collect();
    while items.len() > 1 && items.last().is_some_and(|item| item.is_empty()) {
        items.pop();
    }
    for item in items {
        match (item.find(':'), item.rfind(':')) {
            (Some(first), Some(last)) if first < last => {
                let perms = parse_perms(&item[last + 1..], &mut parsed.complaints);
                let id = item[first + 1..last].to_owned();
                parsed
                    .acl
                    .push(Acl::new(perms, item[..first].to_owned(), id));
            }
            _ => parsed
                .complaints
                .push(format!("{item} does not have the form scheme:id:perm")),
        }
    }
    parsed
}

fn parse_perms(letters: &str, complaints: &mut Vec<String>) -> i32 {
    let mut perms = 0;
    for letter in letters.chars() {
        match LETTERS.iter().find(|(known, _)| *known == letter) {
            Some((_, bit)) => perms |= bit,
            None => complaints.push(format!("Unknown perm type: {letter}")),
        }
    }
    perms
}

/// The two lines of an entry, the last without its line end.
pub(crate) fn acl_lines(acl: &Acl) -> String {
    let perms: String = LETTERS
        .iter()
        .filter(|(_, bit)| acl.perms & bit != 0)
        .map(|(letter, _)| *letter)
        .collect();
    let scheme = quote(acl.id.scheme.as_deref());
    let id = quote(acl.id.id.as_deref());
    format!("{scheme},{id}\n: {perms}")
}

/// A string as Jute's text form writes it.
fn quote(text: Option<&str>) -> String {
    let Some(text) = text else {
        return String::new();
    };
    let mut quoted = String::from("'");
    for character in text.chars() {
        match character {
            '\0' => quoted.push_str("%00"),
            '\n' => quoted.push_str("%0A"),
            '\r' => quoted.push_str("%0D"),
            ',' => quoted.push_str("%2C"),
            '}' => quoted.push_str("%7D"),
            '%' => quoted.push_str("%25"),
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_split_at_the_outer_colons() {
        let parsed = parse_acl("world:anyone:cdrwa,digest:u:c2hh=:r,ip:::1:w");
        assert_eq!(
            parsed.acl,
            [
                Acl::new(31, "world", "anyone"),
                Acl::new(1, "digest", "u:c2hh="),
                Acl::new(2, "ip", "::1"),
            ]
        );
        assert!(parsed.complaints.is_empty());
    }

    #[test]
    fn bad_parts_are_named_and_left_out() {
        let parsed = parse_acl("foo,a:b,world:anyone:rz,,");
        assert_eq!(parsed.acl, [Acl::new(1, "world", "anyone")]);
        assert_eq!(
            parsed.complaints,
            [
                "foo does not have the form scheme:id:perm",
                "a:b does not have the form scheme:id:perm",
                "Unknown perm type: z",
            ]
        );
        assert_eq!(
            parse_acl("").complaints,
            [" does not have the form scheme:id:perm"]
        );
    }

    #[test]
    fn entries_print_in_the_order_of_the_java_shell() {
        assert_eq!(
            acl_lines(&Acl::new(31, "world", "anyone")),
            "'world,'anyone\n: cdrwa"
        );
        assert_eq!(
            acl_lines(&Acl::new(0, "x509", "CN=a,O=50%")),
            "'x509,'CN=a%2CO=50%25\n: "
        );
    }
}
