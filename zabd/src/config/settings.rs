//! What was written, sorted by key: one value in force for each, read by the rules of the table.

use std::collections::BTreeMap;

use super::findings::{Findings, Origin, Severity};
use super::keys::{self, Applies, Key, Property, Spelling};
use super::value::{self, Reading, Value};
use super::written::Written;

/// One value in force for each key.
#[derive(Debug, Default)]
pub(super) struct Settings {
    // By the row's name, or the member's own for a family.
    by_name: BTreeMap<String, Setting>,
    pub(super) findings: Findings,
}

/// The value of one key and who wrote it.
#[derive(Debug)]
struct Setting {
    key: &'static Key,
    spelling: Spelling,
    written: Written,
    // None: the text could not be used, and the default is in force.
    value: Option<Value>,
}

impl Settings {
    /// Sorts, reads, and reports all that a key on its own can be wrong about.
    pub(super) fn resolve(written: Vec<Written>, findings: Findings) -> Self {
        let mut settings = Self {
            by_name: BTreeMap::new(),
            findings,
        };
        for one in written {
            settings.add(one);
        }
        let names: Vec<String> = settings.by_name.keys().cloned().collect();
        for name in names {
            settings.read(&name);
        }
        settings
    }

    /// Puts `written` in its place unless something stronger is there.
    fn add(&mut self, written: Written) {
        let Some(found) = keys::find(&written.name) else {
            self.report_unknown(&written);
            return;
        };
        let name = match (found.key.stem(), found.spelling) {
            (Some(_), Spelling::Prefixed) => written
                .name
                .strip_prefix("zookeeper.")
                .unwrap_or(&written.name)
                .to_owned(),
            (Some(_), _) => written.name.clone(),
            (None, _) => found.key.name.to_owned(),
        };
        self.report_spelling(found, &written);
        let setting = Setting {
            key: found.key,
            spelling: found.spelling,
            written,
            value: None,
        };
        let Some(other) = self.by_name.remove(&name) else {
            self.by_name.insert(name, setting);
            return;
        };
        let (winner, loser) = if setting.strength() >= other.strength() {
            (setting, other)
        } else {
            (other, setting)
        };
        let is_twice = winner.written.origin.rank() == loser.written.origin.rank();
        if is_twice && winner.written.origin != Origin::BuiltIn {
            let given = &loser.written;
            let message = format!(
                "is written again as {} at {}, which is in force",
                winner.written.name, winner.written.origin
            );
            self.findings.push(
                Severity::Warning,
                Some(given.origin.clone()),
                &given.name,
                message,
            );
        }
        self.by_name.insert(name, winner);
    }

    fn report_unknown(&mut self, written: &Written) {
        let severity = match written.origin {
            Origin::Property => Severity::Note,
            _ => Severity::Warning,
        };
        let similar = keys::all().find(|key| key.name.eq_ignore_ascii_case(&written.name));
        let hint = similar
            .map(|key| format!("; did you mean {}?", key.name))
            .unwrap_or_default();
        let message = format!("is not known and passed over{hint}");
        self.findings.push(
            severity,
            Some(written.origin.clone()),
            &written.name,
            message,
        );
    }

    fn report_spelling(&mut self, found: keys::Found, written: &Written) {
        if !matches!(written.origin, Origin::File { .. }) {
            return;
        }
        let name = found.key.name;
        let message = match found.spelling {
            Spelling::Alias => format!("is taken for {name}; ZooKeeper passes this spelling over"),
            Spelling::Prefixed => {
                format!("is taken for {name}; in a file ZooKeeper passes this spelling over")
            }
            Spelling::Own if found.key.property == Property::Bare && !name.starts_with("zabd.") => {
                "is taken from this file; ZooKeeper takes it from -D only".to_owned()
            }
            Spelling::Own => return,
        };
        self.findings.push(
            Severity::Note,
            Some(written.origin.clone()),
            &written.name,
            message,
        );
    }

    /// Reads the value under `name` and reports what is the matter with it.
    fn read(&mut self, name: &str) {
        let Some(setting) = self.by_name.get_mut(name) else {
            return;
        };
        let key = setting.key;
        let text = setting.written.value.clone();
        let shown = if key.is_secret(name) {
            "***"
        } else {
            text.as_str()
        };
        let mut report = Vec::new();
        match value::read(key.kind, &text) {
            Reading::Plain(value) => setting.value = Some(value),
            Reading::Surprising { value, why } => {
                setting.value = value;
                report.push((Severity::Warning, format!("{shown:?} {why}")));
            }
            Reading::Refused { allowed } => {
                let message = format!("{shown:?} was given, where {allowed} is allowed");
                report.push((Severity::Error, message));
            }
        }
        let is_default = setting.value == default_of(key);
        match key.applies {
            // Which of the two it is turns out later: see `report_not_served_in_ensembles`.
            Applies::EnsembleLater(_) => {}
            Applies::Yes | Applies::Ensemble => {}
            Applies::Ignored(reason) => {
                report.push((Severity::Note, format!("has no effect: {reason}")));
            }
            // What is not served and is switched off is as it was asked for.
            Applies::Later(_) if setting.value == Some(Value::Flag(false)) => {}
            Applies::Later(reason) if !is_default => {
                report.push((Severity::Warning, format!("has no effect: {reason}")));
            }
            Applies::Refused(reason) if !is_default => {
                report.push((Severity::Error, reason.to_owned()));
            }
            Applies::Later(_) | Applies::Refused(_) => {}
        }
        let (origin, given) = (setting.written.origin.clone(), setting.written.name.clone());
        for (severity, message) in report {
            self.findings
                .push(severity, Some(origin.clone()), &given, message);
        }
    }

    /// Reports what this version serves only where it stands alone, once it is known not to.
    pub(super) fn report_not_served_in_ensembles(&mut self) {
        for setting in self.by_name.values() {
            let Applies::EnsembleLater(reason) = setting.key.applies else {
                continue;
            };
            if setting.value.is_some() && setting.value != default_of(setting.key) {
                let (origin, name) = (setting.written.origin.clone(), &setting.written.name);
                let message = format!("has no effect in an ensemble: {reason}");
                self.findings
                    .push(Severity::Warning, Some(origin), name, message);
            }
        }
    }

    /// Value in force, the default if nothing (usable) is written.
    fn value(&self, name: &str) -> Option<Value> {
        let written = self
            .by_name
            .get(name)
            .and_then(|setting| setting.value.clone());
        written.or_else(|| keys::find(name).and_then(|found| default_of(found.key)))
    }

    /// A flag; every one has a default.
    pub(super) fn flag(&self, name: &str) -> bool {
        debug_assert!(
            matches!(self.value(name), Some(Value::Flag(_))),
            "{name} is no flag"
        );
        self.value(name) == Some(Value::Flag(true))
    }

    /// A number, if written or with a default.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        }
    }

    /// A number that is not negative; what is beyond `u32` or below 0 comes as the nearest.
    pub(super) fn count(&self, name: &str) -> u32 {
        let number = self.int(name).unwrap_or_default();
        debug_assert!(
            self.int(name).is_some(),
            "{name} is no number with a default"
        );
        u32::try_from(number.max(0)).unwrap_or(u32::MAX)
    }

    /// A limit that 0 and negative numbers switch off.
    pub(super) fn limit(&self, name: &str) -> Option<u32> {
        Some(self.count(name)).filter(|limit| *limit > 0)
    }

    /// A fraction; every one has a default.
    pub(super) fn decimal(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Decimal(number)) => number,
            other => {
                debug_assert!(false, "{name} is no fraction: {other:?}");
                0.0
            }
        }
    }

    /// A text, if written or with a default; an empty one is none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Where the value of a key in force is written.
    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        Some(&self.by_name.get(name)?.written.origin)
    }

    /// Words of a list, trimmed. Empty words stay: some keys mind them.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        if text.is_empty() {
            return Vec::new();
        }
        text.split(',').map(|word| word.trim().to_owned()).collect()
    }

    /// Whether somebody wrote it, usable or not.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// What was written in the family with this stem, by name.
    pub(super) fn family(&self, stem: &'static str) -> Vec<Written> {
        let members = self
            .by_name
            .values()
            .filter(|one| one.key.stem() == Some(stem));
        members.map(|setting| setting.written.clone()).collect()
    }

    /// Reports on a key, at the place it was written.
    pub(super) fn report(&mut self, severity: Severity, name: &str, message: impl Into<String>) {
        let origin = self
            .by_name
            .get(name)
            .map(|setting| setting.written.origin.clone());
        self.findings.push(severity, origin, name, message);
    }

    /// Text in force of each key this version acts on, in the order of the table; secrets hidden.
    /// `derived` are values worked out from other keys, in place of what was written.
    pub(super) fn effective(
        &self,
        is_member: bool,
        derived: &[(&str, String)],
    ) -> Vec<(String, String)> {
        let is_acted_on = |key: &&Key| match key.applies {
            Applies::Yes => true,
            Applies::Ensemble => is_member,
            _ => false,
        };
        let mut effective = Vec::new();
        for key in keys::all().filter(is_acted_on) {
            if let Some(stem) = key.stem() {
                for written in self.family(stem) {
                    effective.push((written.name, written.value));
                }
                continue;
            }
            if let Some((_, text)) = derived.iter().find(|(name, _)| *name == key.name) {
                effective.push((key.name.to_owned(), text.clone()));
                continue;
            }
            let text = match self.value(key.name) {
                None => continue,
                Some(Value::Flag(on)) => flag_text(key, on),
                Some(Value::Int(number)) => number.to_string(),
                Some(Value::Decimal(number)) => number.to_string(),
                Some(Value::Text(_)) if key.is_secret(key.name) => "***".to_owned(),
                Some(Value::Text(text)) => text,
            };
            effective.push((key.name.to_owned(), text));
        }
        effective
    }
}

impl Setting {
    /// Order of precedence; the later of equals wins.
    fn strength(&self) -> (u8, bool) {
        (self.written.origin.rank(), self.spelling == Spelling::Own)
    }
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::Property => 1,
            Self::File { .. } => 2,
            Self::Argument(_) => 3,
            Self::Environment(_) => 4,
            Self::Flag(_) => 5,
        }
    }
}

fn default_of(key: &Key) -> Option<Value> {
    if key.default.is_empty() {
        return None;
    }
    match value::read(key.kind, key.default) {
        Reading::Plain(value) => Some(value),
        // A test reads every default.
        Reading::Surprising { .. } | Reading::Refused { .. } => None,
    }
}

fn flag_text(key: &Key, on: bool) -> String {
    let yes_or_no = matches!(key.default, "yes" | "no");
    match (on, yes_or_no) {
        (true, true) => "yes",
        (false, true) => "no",
        (true, false) => "true",
        (false, false) => "false",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    fn file(line: u32) -> Origin {
        Origin::File {
            path: Arc::new(PathBuf::from("zoo.cfg")),
            line,
        }
    }

    fn resolve(written: &[(&str, &str, Origin)]) -> Settings {
        let written = written
            .iter()
            .map(|(name, value, origin)| Written::new(name, value, origin.clone()));
        let mut settings = Settings::resolve(written.collect(), Findings::default());
        settings.findings.sort();
        settings
    }

    #[test]
    fn the_file_goes_before_properties_and_flags_before_the_file() {
        let settings = resolve(&[
            ("snapCount", "100", file(1)),
            ("zookeeper.snapCount", "200", Origin::Property),
            ("zookeeper.maxCnxns", "7", Origin::Property),
            ("tickTime", "1000", file(2)),
            ("tickTime", "1500", Origin::Flag("--tick")),
            ("tickTime", "1600", Origin::Environment("X")),
            ("globalOutstandingLimit", "2", Origin::BuiltIn),
            ("globalOutstandingLimit", "3", Origin::Property),
        ]);
        assert_eq!(settings.count("snapCount"), 100);
        assert_eq!(settings.count("maxCnxns"), 7);
        assert_eq!(settings.count("tickTime"), 1500);
        assert_eq!(settings.count("globalOutstandingLimit"), 3);
        assert!(settings.findings.is_empty(), "{}", settings.findings);
    }

    #[test]
    fn the_last_duplicate_wins_and_the_first_is_reported() {
        let settings = resolve(&[("tickTime", "x", file(1)), ("tickTime", "1000", file(4))]);
        assert_eq!(settings.count("tickTime"), 1000);
        assert_eq!(
            settings.findings.to_string(),
            "zoo.cfg:1: warning: tickTime: is written again as tickTime at zoo.cfg:4, which is in force\n"
        );
    }

    #[test]
    fn zookeepers_spelling_goes_before_the_manuals_wherever_it_stands() {
        let settings = resolve(&[
            ("connection_throttle_tokens", "5", file(1)),
            ("connectionMaxTokens", "6", file(2)),
            ("zookeeper.connection_throttle_tokens", "7", file(3)),
        ]);
        assert_eq!(settings.count("connection_throttle_tokens"), 5);
        assert_eq!(
            settings.findings.to_string(),
            "zoo.cfg:2: note: connectionMaxTokens: is taken for connection_throttle_tokens; ZooKeeper passes this spelling over\n\
             zoo.cfg:2: warning: connectionMaxTokens: is written again as connection_throttle_tokens at zoo.cfg:1, which is in force\n\
             zoo.cfg:3: note: zookeeper.connection_throttle_tokens: is taken for connection_throttle_tokens; in a file ZooKeeper passes this spelling over\n\
             zoo.cfg:3: warning: zookeeper.connection_throttle_tokens: is written again as connection_throttle_tokens at zoo.cfg:1, which is in force\n"
        );
    }

    #[test]
    fn unknown_keys_are_passed_over_with_their_line() {
        let settings = resolve(&[
            ("jaasLoginRenew", "3600000", file(3)),
            ("ticktime", "2000", file(4)),
            ("java.net.preferIPv4Stack", "true", Origin::Property),
        ]);
        assert_eq!(
            settings.findings.to_string(),
            "-D: note: java.net.preferIPv4Stack: is not known and passed over\n\
             zoo.cfg:3: warning: jaasLoginRenew: is not known and passed over\n\
             zoo.cfg:4: warning: ticktime: is not known and passed over; did you mean tickTime?\n"
        );
    }

    #[test]
    fn keys_of_other_parts_are_refused_warned_of_or_noted() {
        let settings = resolve(&[
            ("sslQuorum", "true", file(1)),
            ("portUnification", "false", file(2)),
            ("admin.serverPort", "8081", file(3)),
            ("admin.enableServer", "false", file(4)),
            ("watchManagerName", "x.Y", file(5)),
            ("initLimit", "10", file(6)),
            ("ssl.keyStore.password", "hush", file(7)),
        ]);
        assert_eq!(
            settings.findings.to_string(),
            "zoo.cfg:1: error: sslQuorum: TLS is not supported by this version\n\
             zoo.cfg:3: warning: admin.serverPort: has no effect: the HTTP administration server is not served by this version\n\
             zoo.cfg:5: note: watchManagerName: has no effect: zabd has one implementation of watches\n\
             zoo.cfg:7: warning: ssl.keyStore.password: has no effect: TLS is not supported by this version\n"
        );
    }

    #[test]
    fn every_refused_key_is_refused_and_its_default_is_not() {
        for key in keys::all() {
            let Applies::Refused(reason) = key.applies else {
                continue;
            };
            let asked = match key.default {
                "false" => "true",
                "" if key.name == "secureClientPort" => "2281",
                _ => "anything",
            };
            let settings = resolve(&[(key.name, asked, file(9))]);
            let expected = format!("zoo.cfg:9: error: {}: {reason}\n", key.name);
            assert_eq!(settings.findings.to_string(), expected);
            if !key.default.is_empty() {
                let settings = resolve(&[(key.name, key.default, file(9))]);
                assert!(settings.findings.is_empty(), "{}", settings.findings);
            }
        }
    }

    #[test]
    fn families_keep_their_members() {
        let settings = resolve(&[
            ("authProvider.1", "a", file(1)),
            ("zookeeper.authProvider.sasl", "b", Origin::Property),
        ]);
        let members = settings.family("authProvider.");
        let names: Vec<_> = members.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["authProvider.1", "zookeeper.authProvider.sasl"]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = resolve(&[(
            "DigestAuthenticationProvider.superDigest",
            "super:abc=",
            file(1),
        )]);
        let effective = settings.effective(false, &[]);
        let shown = effective
            .iter()
            .find(|(name, _)| name.ends_with("superDigest"))
            .unwrap();
        assert_eq!(shown.1, "***");
        assert!(!format!("{effective:?}").contains("abc"));
    }
}
