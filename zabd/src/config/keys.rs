//! The one table of configuration keys.
//!
//! The parser, the reference page `docs/configuration.md` and the output of `zabd check-config` all
//! come from the rows here. A row says how a key is spelled, how its text is read, what it is when
//! absent and whether this version acts on it; the rows stand in `storage`, `sessions`, `cluster`,
//! `security` and `operation`, by subject.
//!
//! Spelling: a file uses ZooKeeper's name of `zoo.cfg`. Every key is also known under the name of
//! its JVM property (`zookeeper.snapCount`, `jute.maxbuffer`), in the file as well as behind `-D`,
//! and under the headings of the manual that ZooKeeper itself passes over (`connectionMaxTokens`).

mod cluster;
mod operation;
mod security;
mod sessions;
mod storage;

pub(super) use operation::METRICS_PROVIDERS;
pub(super) use security::AUTH_PROVIDERS;
#[cfg(test)]
pub(super) use {operation::LOG_FORMATS, security::DIGEST_ALGORITHMS};

/// One row: everything the parser and the reference page know about a key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// ZooKeeper's spelling in `zoo.cfg`. A family of keys ends in `*` (`authProvider.*`), the star
    /// standing for any text.
    pub name: &'static str,
    /// Further spellings that mean the same.
    pub aliases: &'static [&'static str],
    /// How a JVM flag would name it.
    pub property: Property,
    /// How the text is read.
    pub kind: Kind,
    /// The text in force when nothing is written. Empty: none, or worked out from other keys as
    /// `doc` says.
    pub default: &'static str,
    /// Unit of a number, for people.
    pub unit: &'static str,
    /// Whether this version acts on it.
    pub applies: Applies,
    /// What it does, for the reference page.
    pub doc: &'static str,
}

/// Name of a key as a JVM property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// `name` as it stands (`-Djute.maxbuffer`). ZooKeeper does not read these from a file; zabd does.
    Bare,
    /// None: ZooKeeper takes the key from the file only. zabd takes `-Dname` too.
    FileOnly,
    /// `zookeeper.` and the name.
    Prefixed,
}

/// How a value is read, and with it what is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// One of these class names, matched exactly.
    Class(&'static [&'static str]),
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A decimal fraction.
    Decimal {
        /// Least value allowed.
        min: f64,
        /// Greatest value allowed.
        max: f64,
    },
    /// Yes or no.
    Flag(FlagRule),
    /// Host name or address.
    Host,
    /// Whole number.
    Int(IntRule),
    /// Comma-separated words.
    List,
    /// Filter of the trace: a level, or `target=level` pairs separated by commas.
    LogFilter,
    /// File or directory.
    Path,
    /// Text that must not be shown.
    Secret,
    /// Any text.
    Text,
}

/// Which words mean yes and no. ZooKeeper reads its flags in six ways, kept here one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagRule {
    /// `true` or `false` in any case; anything else is an error.
    /// ZooKeeper: `QuorumPeerConfig.parseBoolean`.
    TrueOrFalse,
    /// `true` in any case is yes, all else no. ZooKeeper: `Boolean.parseBoolean`.
    OnlyTrue,
    /// Exactly `true` is yes, all else no.
    ExactlyTrue,
    /// Exactly `yes` is yes, all else no.
    ExactlyYes,
    /// Exactly `no` is no, all else yes.
    UnlessNo,
    /// Exactly `false` is no, all else yes.
    UnlessFalse,
}

/// Bounds of a whole number and what becomes of one outside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntRule {
    /// Least value allowed.
    pub min: i64,
    /// Greatest value allowed.
    pub max: i64,
    /// What a text that is no number does.
    pub text: IntText,
    /// What a number outside the bounds does.
    pub outside: Outside,
}

/// How digits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntText {
    /// Decimal; anything else is an error. ZooKeeper: `Integer.parseInt`, `Long.parseLong`.
    Strict,
    /// Decimal, `0x…`, `#…` or octal `0…` of an `int`; anything else leaves the default in force,
    /// with a warning here and silently there. ZooKeeper: `Integer.getInteger`.
    LenientInt,
    /// The same for a `long`. ZooKeeper: `Long.getLong`.
    LenientLong,
    /// Decimal; anything else leaves the default in force, with a warning there as well.
    /// ZooKeeper: `FilePadding`.
    LenientDecimal,
}

/// What becomes of a number outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The nearest bound is used, with a warning.
    Clamp,
    /// The default is used, with a warning.
    Default,
    /// Start-up is refused.
    Refuse,
}

/// Whether this version acts on a key, and what it says if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// Acted on.
    Yes,
    /// Has a meaning between servers only: checked, then of no effect on a standalone server.
    Ensemble,
    /// The same, but not served by this version, and harmless to do without: passed over, in an ensemble with a
    /// warning.
    EnsembleLater(&'static str),
    /// Nothing here corresponds to it; the text says why. Passed over with a note.
    Ignored(&'static str),
    /// Not served by this version, and harmless to do without. Passed over with a warning.
    Later(&'static str),
    /// Not served by this version, and doing without would weaken durability, quorum or security:
    /// start-up is refused when it is asked for, that is when the value differs from the default.
    Refused(&'static str),
}

/// A group of rows with a heading of its own on the reference page.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// Rows in the order they are shown.
    pub keys: &'static [Key],
}

/// All sections, in the order of the reference page.
pub const SECTIONS: [Section; 8] = [
    Section {
        title: "Listening and data",
        keys: storage::BASICS,
    },
    Section {
        title: "Storage",
        keys: storage::STORAGE,
    },
    Section {
        title: "Sessions and connections",
        keys: sessions::SESSIONS,
    },
    Section {
        title: "Requests and limits",
        keys: sessions::REQUESTS,
    },
    Section {
        title: "Authentication, authorization and TLS",
        keys: security::SECURITY,
    },
    Section {
        title: "Administration, metrics and traces",
        keys: operation::OPERATION,
    },
    Section {
        title: "Internals of the Java server",
        keys: operation::INTERNALS,
    },
    Section {
        title: "Ensembles",
        keys: cluster::CLUSTER,
    },
];

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The row a spelling leads to.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The row.
    pub key: &'static Key,
    /// How the name relates to the row's own.
    pub spelling: Spelling,
}

/// How a name that was written relates to the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// The row's name, or a member of its family.
    Own,
    /// The JVM property `zookeeper.<name>`; in a file ZooKeeper passes it over.
    Prefixed,
    /// An alias.
    Alias,
}

/// Looks a name up, however it is spelled.
#[must_use]
pub fn find(name: &str) -> Option<Found> {
    if let Some(found) = find_exact(name) {
        return Some(found);
    }
    if let Some(key) = family_of(name) {
        return Some(Found {
            key,
            spelling: Spelling::Own,
        });
    }
    let bare = name.strip_prefix(PREFIX)?;
    let key = find_exact(bare)
        .map(|found| found.key)
        .or_else(|| family_of(bare))?;
    Some(Found {
        key,
        spelling: Spelling::Prefixed,
    })
}

fn find_exact(name: &str) -> Option<Found> {
    if let Some(key) = all().find(|key| key.name == name) {
        return Some(Found {
            key,
            spelling: Spelling::Own,
        });
    }
    let key = all().find(|key| key.aliases.contains(&name))?;
    Some(Found {
        key,
        spelling: Spelling::Alias,
    })
}

/// The family with the longest stem that `name` begins with.
fn family_of(name: &str) -> Option<&'static Key> {
    all()
        .filter(|key| key.stem().is_some_and(|stem| name.starts_with(stem)))
        .max_by_key(|key| key.name.len())
}

impl Key {
    /// For a family: what its members begin with.
    #[must_use]
    pub fn stem(&self) -> Option<&'static str> {
        self.name.strip_suffix('*')
    }

    /// Whether the value of `name`, one of this row's, must not be shown.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        self.kind == Kind::Secret || name.to_ascii_lowercase().ends_with("password")
    }

    /// The name behind `-D` on a JVM, if there is one.
    #[must_use]
    pub fn property_name(&self) -> Option<String> {
        match self.property {
            Property::Bare => Some(self.name.to_owned()),
            Property::FileOnly => None,
            Property::Prefixed => Some(format!("{PREFIX}{}", self.name)),
        }
    }

    const fn new(
        property: Property,
        name: &'static str,
        kind: Kind,
        default: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            property,
            kind,
            default,
            unit: "",
            applies: Applies::Yes,
            doc: "",
        }
    }

    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    const fn ensemble(mut self) -> Self {
        self.applies = Applies::Ensemble;
        self
    }

    const fn ensemble_later(mut self, reason: &'static str) -> Self {
        self.applies = Applies::EnsembleLater(reason);
        self
    }

    const fn ignored(mut self, reason: &'static str) -> Self {
        self.applies = Applies::Ignored(reason);
        self
    }

    const fn later(mut self, reason: &'static str) -> Self {
        self.applies = Applies::Later(reason);
        self
    }

    const fn refused(mut self, reason: &'static str) -> Self {
        self.applies = Applies::Refused(reason);
        self
    }

    /// A number outside the bounds becomes the nearest bound.
    const fn clamped(mut self) -> Self {
        self.kind = outside(self.kind, Outside::Clamp);
        self
    }

    /// A number outside the bounds leaves the default in force.
    const fn or_default(mut self) -> Self {
        self.kind = outside(self.kind, Outside::Default);
        self
    }
}

const fn outside(kind: Kind, outside: Outside) -> Kind {
    match kind {
        Kind::Int(rule) => Kind::Int(IntRule { outside, ..rule }),
        other => other,
    }
}

/// A key ZooKeeper parses itself.
const fn own(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key::new(Property::FileOnly, name, kind, default)
}

/// A key that becomes the JVM property `zookeeper.<name>`.
const fn prefixed(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key::new(Property::Prefixed, name, kind, default)
}

/// A JVM property whose name has no prefix.
const fn bare(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key::new(Property::Bare, name, kind, default)
}

/// Strict number.
const fn int(min: i64, max: i64) -> Kind {
    Kind::Int(IntRule {
        min,
        max,
        text: IntText::Strict,
        outside: Outside::Refuse,
    })
}

/// Number ZooKeeper reads with `Integer.getInteger`.
const fn lenient(min: i64, max: i64) -> Kind {
    Kind::Int(IntRule {
        min,
        max,
        text: IntText::LenientInt,
        outside: Outside::Refuse,
    })
}

/// Number ZooKeeper reads with `Long.getLong`.
const fn lenient_long(min: i64, max: i64) -> Kind {
    Kind::Int(IntRule {
        min,
        max,
        text: IntText::LenientLong,
        outside: Outside::Refuse,
    })
}

const PREFIX: &str = "zookeeper.";
const INT_MIN: i64 = i32::MIN as i64;
const INT_MAX: i64 = i32::MAX as i64;
const PORT_MAX: i64 = u16::MAX as i64;
const TRUE_OR_FALSE: Kind = Kind::Flag(FlagRule::TrueOrFalse);
const ONLY_TRUE: Kind = Kind::Flag(FlagRule::OnlyTrue);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_spelling_is_there_once() {
        let mut seen = BTreeSet::new();
        for key in all() {
            for name in std::iter::once(&key.name).chain(key.aliases) {
                assert!(seen.insert(*name), "{name} is there twice");
            }
        }
    }

    #[test]
    fn every_row_is_documented() {
        for key in all() {
            assert!(key.doc.len() > 10, "{} has no doc", key.name);
            assert!(
                !key.doc.ends_with('.'),
                "{}: rows of a table have no full stop",
                key.name
            );
        }
    }

    #[test]
    fn names_are_found_with_the_prefix_of_properties_too() {
        for key in all() {
            let member = key.name.replace('*', "7");
            let found = find(&member).unwrap();
            assert_eq!((found.key.name, found.spelling), (key.name, Spelling::Own));
            let found = find(&format!("zookeeper.{member}")).unwrap();
            assert_eq!(found.key.name, key.name);
            for alias in key.aliases {
                assert_eq!(find(alias).unwrap().key.name, key.name);
            }
        }
        assert!(find("jaasLoginRenew").is_none());
        assert!(find("zookeeper.zookeeper.snapCount").is_none());
    }

    #[test]
    fn exact_names_win_over_families_and_long_stems_over_short() {
        assert_eq!(
            find("metricsProvider.httpPort").unwrap().key.name,
            "metricsProvider.httpPort"
        );
        assert_eq!(
            find("metricsProvider.other").unwrap().key.name,
            "metricsProvider.*"
        );
        assert_eq!(
            find("ssl.quorum.keyStore.type").unwrap().key.name,
            "ssl.quorum.*"
        );
        assert_eq!(find("ssl.keyStore.type").unwrap().key.name, "ssl.*");
        assert_eq!(
            find("ssl.authProvider").unwrap().key.name,
            "ssl.authProvider"
        );
    }

    #[test]
    fn passwords_are_secret() {
        let secret = |name: &str| find(name).unwrap().key.is_secret(name);
        assert!(secret("ssl.keyStore.password"));
        assert!(secret("DigestAuthenticationProvider.superDigest"));
        assert!(secret("zookeeper.SASLAuthenticationProvider.superPassword"));
        assert!(!secret("ssl.keyStore.passwordPath"));
    }
}
