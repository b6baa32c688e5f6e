//! `find`: the nodes of a subtree that answer a description.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regex::Regex;

use super::{Denied, pattern};
use crate::commands::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{FlagSet, own_switch, own_valued};
use crate::output::Doc;
use crate::output::fields::NodeKind;
use crate::path;
use crate::progress::Progress;
use crate::shell::Shell;
use crate::walk::{Entry, Walk, Wanted};

pub(super) const FIND: Command = Command {
    name: "find",
    syntax: "[path] [--name glob] [--path glob] [--regex re] [--data re] [--kind k] [--size n] [--newer t] \
             [--older t] [--owner session] [--leaf] [--empty] [--depth n] [--limit n] [--count] [--print0]",
    flags: FlagSet::free(&[
        own_valued("name", "The name answers a glob, such as \"lock-*\""),
        own_valued(
            "path",
            "The path answers a glob; ** also stands for slashes",
        ),
        own_valued("regex", "A regular expression matches within the path"),
        own_valued("data", "A regular expression matches within the data"),
        own_valued("kind", "persistent, ephemeral or sequential"),
        own_valued(
            "size",
            "Bytes of data: n, +n for more, -n for less; k and M are units",
        ),
        own_valued("newer", "Data set at most so long ago: 90s, 15m, 2h, 7d"),
        own_valued("older", "Data set longer ago than this"),
        own_valued(
            "owner",
            "Ephemeral node of this session, such as 0x10000a1b2c3d4e5",
        ),
        own_switch("leaf", "Without children"),
        own_switch("empty", "Without data"),
        own_valued("depth", "Look this many levels below the node"),
        own_valued("limit", "Stop after so many"),
        own_switch("count", "Print only how many there are"),
        own_switch(
            "print0",
            "End each path with a null character, for xargs -0",
        ),
    ]),
    explains_flags: true,
    run: find,
};

/// What a node must be like.
#[derive(Debug, Default)]
struct Test {
    name: Option<Regex>,
    path: Option<Regex>,
    regex: Option<Regex>,
    data: Option<regex::bytes::Regex>,
    kinds: Vec<String>,
    sizes: Vec<Size>,
    /// In milliseconds since 1970 UTC.
    changed_after: Option<i64>,
    changed_before: Option<i64>,
    owner: Option<i64>,
    leaf: bool,
    empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Exactly(i64),
    More(i64),
    Less(i64),
}

impl Test {
    fn parse(arguments: &Arguments, now_ms: i64) -> Result<Self, Failure> {
        let glob = |option| {
            let text = arguments.value(option);
            text.map(|text| pattern::glob(option, text)).transpose()
        };
        let time = |option| {
            let text = arguments.value(option);
            text.map(|text| age_ms(option, text).map(|age| now_ms.saturating_sub(age)))
                .transpose()
        };
        let data = arguments.value("data").map(|text| {
            regex::bytes::Regex::new(text)
                .map_err(|error| Failure::usage(format!("--data: {error}")))
        });
        Ok(Self {
            name: glob("name")?,
            path: glob("path")?,
            regex: arguments
                .value("regex")
                .map(|text| pattern::regex("regex", text))
                .transpose()?,
            data: data.transpose()?,
            kinds: arguments
                .values("kind")
                .map(kind)
                .collect::<Result<_, _>>()?,
            sizes: arguments
                .values("size")
                .map(size)
                .collect::<Result<_, _>>()?,
            changed_after: time("newer")?,
            changed_before: time("older")?,
            owner: arguments.value("owner").map(session).transpose()?,
            leaf: arguments.has("leaf"),
            empty: arguments.has("empty"),
        })
    }

    fn passes(&self, entry: &Entry) -> bool {
        let stat = &entry.stat;
        let name = path::name(&entry.path);
        let matches = |regex: &Option<Regex>, text: &str| {
            regex.as_ref().is_none_or(|regex| regex.is_match(text))
        };
        let is_kind = |kind: &String| match kind.as_str() {
            "sequential" => is_sequential(name),
            kind => NodeKind::of(stat).name() == kind,
        };
        let has_size = |size: &Size| {
            let length = i64::from(stat.data_length);
            match *size {
                Size::Exactly(bytes) => length == bytes,
                Size::More(bytes) => length > bytes,
                Size::Less(bytes) => length < bytes,
            }
        };
        matches(&self.name, name)
            && matches(&self.path, &entry.path)
            && matches(&self.regex, &entry.path)
            && self.kinds.iter().all(is_kind)
            && self.sizes.iter().all(has_size)
            && self.changed_after.is_none_or(|time| stat.mtime >= time)
            && self.changed_before.is_none_or(|time| stat.mtime < time)
            && self.owner.is_none_or(|owner| stat.ephemeral_owner == owner)
            && !(self.leaf && stat.num_children > 0)
            && !(self.empty && stat.data_length > 0)
            && self.data.as_ref().is_none_or(|regex| {
                let data = entry.data.as_deref();
                data.is_some_and(|data| regex.is_match(data))
            })
    }
}

fn find(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let test = Test::parse(arguments, now_ms)?;
    let wanted = Wanted {
        data: test.data.is_some(),
        depth: arguments.number("depth")?,
        ..Wanted::default()
    };
    let limit = arguments.number("limit")?.unwrap_or(usize::MAX);
    let counts = arguments.has("count");
    let mut walk = Walk::new(arguments.positional(0).unwrap_or("/"), wanted)?;
    let mut denied = Denied::default();
    let mut found = 0;
    let mut progress = Progress::new("nodes looked at", None);
    while found < limit {
        let Some(entry) = walk.next(&mut shell.zk)? else {
            break;
        };
        progress.add(1);
        if entry.denied {
            progress.hide();
            denied.note(shell, &entry.path)?;
            continue;
        }
        if !test.passes(&entry) {
            continue;
        }
        found += 1;
        if counts {
            continue;
        }
        progress.hide();
        if !shell.is_text() {
            shell.emit(Doc::Map(vec![
                ("path", Doc::text(&entry.path)),
                ("kind", Doc::text(NodeKind::of(&entry.stat).name())),
                ("dataLength", Doc::Int(entry.stat.data_length.into())),
                (
                    "mtime",
                    Doc::text(crate::format::date::iso(entry.stat.mtime)),
                ),
                ("version", Doc::Int(entry.stat.version.into())),
                ("numChildren", Doc::Int(entry.stat.num_children.into())),
            ]))?;
        } else if arguments.has("print0") {
            shell.say_inline(format_args!("{}\0", entry.path))?;
        } else {
            shell.say(&entry.path)?;
        }
    }
    drop(progress);
    if counts && shell.is_text() {
        shell.say(found)?;
    } else if counts {
        shell.emit(Doc::Map(vec![("count", Doc::count(found))]))?;
    }
    denied.check()
}

/// Whether a name ends in the ten digits that a sequential node gets.
fn is_sequential(name: &str) -> bool {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    digits >= 10
}

fn kind(name: &str) -> Result<String, Failure> {
    if ["persistent", "ephemeral", "sequential"].contains(&name) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!(
        "--kind takes persistent, ephemeral or sequential, not \"{name}\""
    )))
}

fn size(text: &str) -> Result<Size, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--size takes a number of bytes, such as 100, +4k or -1M, not \"{text}\""
        ))
    };
    let (make, rest): (fn(i64) -> Size, &str) = match text.chars().next() {
        Some('+') => (Size::More, &text[1..]),
        Some('-') => (Size::Less, &text[1..]),
        _ => (Size::Exactly, text),
    };
    let (digits, unit) = match rest.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => rest
            .strip_suffix('M')
            .map_or((rest, 1), |digits| (digits, 1 << 20)),
    };
    let number: u32 = digits.parse().map_err(|_| wrong())?;
    Ok(make(i64::from(number) * unit))
}

/// A time span in milliseconds.
fn age_ms(option: &str, text: &str) -> Result<i64, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--{option} takes a time span such as 90s, 15m, 2h or 7d, not \"{text}\""
        ))
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let span = Duration::from_secs(u64::from(number) * seconds);
    Ok(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

fn session(text: &str) -> Result<i64, Failure> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map(u64::cast_signed),
        None => text.parse(),
    };
    parsed.map_err(|_| Failure::usage(format!("--owner takes a session id, not \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_units() {
        assert_eq!(size("100").unwrap(), Size::Exactly(100));
        assert_eq!(size("+4k").unwrap(), Size::More(4096));
        assert_eq!(size("-1M").unwrap(), Size::Less(1 << 20));
        assert_eq!(age_ms("newer", "15m").unwrap(), 900_000);
        assert_eq!(session("0xffffffffffffffff").unwrap(), -1);
        for text in ["", "x", "+", "4kk", "ä"] {
            assert!(size(text).is_err(), "{text}");
            assert!(age_ms("newer", text).is_err(), "{text}");
            assert!(session(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ten_digits_make_a_sequential_name() {
        assert!(is_sequential("lock-0000000012"));
        assert!(is_sequential("0000000012"));
        assert!(!is_sequential("lock-12"));
    }
}
