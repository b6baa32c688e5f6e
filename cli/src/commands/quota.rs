//! Commands about quotas, which are nodes below `/zookeeper/quota`.
//!
//! ZooKeeper: `SetQuotaCommand`, `ListQuotaCommand`, `DelQuotaCommand`, `Quotas`.

use bytes::Bytes;
use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode, Text};

use super::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{Choice, FlagSet, switch, valued};
use crate::format::quota::{Field, StatsTrack};
use crate::handle::{NewNode, Watch};
use crate::output::Doc;
use crate::shell::Shell;

/// Below here each node with a quota has a node of the same path.
const QUOTA_ROOT: &str = "/zookeeper/quota";
/// The child that holds the limits.
const LIMITS: &str = "zookeeper_limits";
/// The child that holds what is in use.
const STATS: &str = "zookeeper_stats";

pub(super) const DEL_QUOTA: Command = Command {
    name: "delquota",
    syntax: "[-n|-b|-N|-B] path",
    flags: FlagSet {
        flags: &[
            switch("n", "num soft quota"),
            switch("b", "bytes soft quota"),
            switch("N", "num hard quota"),
            switch("B", "bytes hard quota"),
        ],
        choice: Choice::AtMostOne,
    },
    explains_flags: false,
    run: del_quota,
};

pub(super) const LIST_QUOTA: Command = Command {
    name: "listquota",
    syntax: "path",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: list_quota,
};

pub(super) const SET_QUOTA: Command = Command {
    name: "setquota",
    syntax: "-n|-b|-N|-B val path",
    flags: FlagSet {
        flags: &[
            valued("n", "num soft quota"),
            valued("b", "bytes soft quota"),
            valued("N", "num hard quota"),
            valued("B", "bytes hard quota"),
        ],
        choice: Choice::ExactlyOne,
    },
    explains_flags: false,
    run: set_quota,
};

/// Which option bounds what.
const FIELDS: [(&str, Field); 4] = [
    ("n", Field::Count),
    ("b", Field::Bytes),
    ("N", Field::CountHardLimit),
    ("B", Field::ByteHardLimit),
];

/// What the limits are called in documents; -1 is none.
const NAMES: [(&str, Field); 4] = [
    ("count", Field::Count),
    ("bytes", Field::Bytes),
    ("countHard", Field::CountHardLimit),
    ("bytesHard", Field::ByteHardLimit),
];

fn quota_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}")
}

fn track_at(shell: &mut Shell<'_>, path: &str) -> Result<StatsTrack, Failure> {
    let data = shell.zk.data(path, Watch::No)?.data.unwrap_or_default();
    StatsTrack::parse(&data).map_err(|error| Failure::usage(format!("{path}: {error}")))
}

fn list_quota(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let quota = quota_path(path);
    if !shell.is_text() {
        let limits = track_at(shell, &format!("{quota}/{LIMITS}"))?;
        let used = track_at(shell, &format!("{quota}/{STATS}"))?;
        let doc = |track: &StatsTrack, fields: &[(&'static str, Field)]| {
            let field =
                |(name, field): &(&'static str, Field)| (*name, Doc::Int(track.value(*field)));
            Doc::Map(fields.iter().map(field).collect())
        };
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            ("limits", doc(&limits, &NAMES)),
            ("used", doc(&used, &NAMES[..2])),
        ]));
    }
    shell.complain(format_args!("absolute path is {quota}/{LIMITS}"))?;
    let read = |shell: &mut Shell<'_>| -> Result<[StatsTrack; 2], Failure> {
        Ok([
            track_at(shell, &format!("{quota}/{LIMITS}"))?,
            track_at(shell, &format!("{quota}/{STATS}"))?,
        ])
    };
    match read(shell) {
        Err(failure) if failure.is_code(ErrorCode::NoNode) => {
            shell.complain(format_args!("quota for {path} does not exist."))
        }
        result => {
            let [limits, stats] = result?;
            shell.say(format_args!("Output quota for {path} {limits}"))?;
            shell.say(format_args!("Output stat for {path} {stats}"))
        }
    }
}

fn del_quota(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let result = match FIELDS.iter().find(|(flag, _)| arguments.has(flag)) {
        None => remove_quota(shell, path),
        Some((_, field)) => lift_limit(shell, path, *field),
    };
    match result {
        Err(failure) if failure.is_code(ErrorCode::NoNode) => {
            shell.complain(format_args!("quota for {path} does not exist."))
        }
        result => result,
    }
}

/// Whether there is a quota; says so where there is none.
fn has_quota(shell: &mut Shell<'_>, path: &str) -> Result<bool, Failure> {
    let limits = format!("{}/{LIMITS}", quota_path(path));
    let exists = shell.zk.exists(&limits, Watch::No)?.is_some();
    if !exists {
        shell.say(format_args!("Quota does not exist for {path}"))?;
    }
    Ok(exists)
}

fn lift_limit(shell: &mut Shell<'_>, path: &str, field: Field) -> Result<(), Failure> {
    if !has_quota(shell, path)? {
        return Ok(());
    }
    let limits_path = format!("{}/{LIMITS}", quota_path(path));
    let mut limits = track_at(shell, &limits_path)?;
    limits.set(field, -1);
    shell
        .zk
        .set_data(&limits_path, text_bytes(&limits), -1)
        .map(drop)
}

/// Deletes the quota's nodes, and the nodes above them that are left without children.
fn remove_quota(shell: &mut Shell<'_>, path: &str) -> Result<(), Failure> {
    if !has_quota(shell, path)? {
        return Ok(());
    }
    let mut node = quota_path(path);
    for child in shell.zk.children(&node, Watch::No)?.children {
        shell.zk.delete(&format!("{node}/{child}"), -1)?;
    }
    while node != QUOTA_ROOT && shell.zk.children(&node, Watch::No)?.children.is_empty() {
        shell.zk.delete(&node, -1)?;
        node.truncate(node.rfind('/').unwrap_or(0));
    }
    Ok(())
}

fn set_quota(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    if path.starts_with(QUOTA_ROOT) {
        return shell.complain(format_args!(
            "cannot set a quota under the path: {QUOTA_ROOT}"
        ));
    }
    let given = FIELDS
        .iter()
        .find_map(|(flag, field)| Some((*field, arguments.value(flag)?)));
    let Some((field, text)) = given else {
        return shell.complain(SET_QUOTA.usage());
    };
    match parse_limit(field, text) {
        Ok(limit) => set_limit(shell, path, field, limit),
        // The Java shell exits with 0 here.
        Err(words) => shell.complain(words),
    }
}

fn parse_limit(field: Field, text: &str) -> Result<i64, &'static str> {
    let not_a_number = "NumberFormatException happens when parsing the option value";
    match field {
        Field::Count | Field::CountHardLimit => match text.parse::<i32>() {
            Err(_) => Err(not_a_number),
            Ok(count) if count <= 0 => Err("the num quota must be greater than zero"),
            Ok(count) => Ok(count.into()),
        },
        Field::Bytes | Field::ByteHardLimit => match text.parse::<i64>() {
            Err(_) => Err(not_a_number),
            Ok(bytes) if bytes < 0 => Err("the bytes quota must be greater than or equal to zero"),
            Ok(bytes) => Ok(bytes),
        },
    }
}

fn set_limit(shell: &mut Shell<'_>, path: &str, field: Field, limit: i64) -> Result<(), Failure> {
    if shell.zk.exists(path, Watch::No)?.is_none() {
        return Err(Failure::usage(format!("{path} does not exist.")));
    }
    check_no_quota_below(shell, path)?;
    check_no_quota_above(shell, path)?;
    let mut node = QUOTA_ROOT.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        node.push('/');
        node.push_str(name);
        create_if_missing(shell, &node)?;
    }
    let limits_path = format!("{node}/{LIMITS}");
    let stats_path = format!("{node}/{STATS}");
    if shell.zk.exists(&limits_path, Watch::No)?.is_some() {
        let mut limits = track_at(shell, &limits_path)?;
        limits.set(field, limit);
        let stats = track_at(shell, &stats_path)?;
        warn_if_exceeded(shell, &limits, &stats)?;
        return shell
            .zk
            .set_data(&limits_path, text_bytes(&limits), -1)
            .map(drop);
    }
    let mut limits = StatsTrack::default();
    for (_, unlimited) in FIELDS {
        limits.set(unlimited, -1);
    }
    limits.set(field, limit);
    create(shell, &limits_path, Some(text_bytes(&limits)))?;
    // The server counts as soon as the node is there.
    let mut stats = StatsTrack::default();
    stats.set(Field::Count, 0);
    stats.set(Field::Bytes, 0);
    create(shell, &stats_path, Some(text_bytes(&stats)))?;
    let limits = track_at(shell, &limits_path)?;
    let stats = track_at(shell, &stats_path)?;
    warn_if_exceeded(shell, &limits, &stats)
}

fn create(shell: &mut Shell<'_>, path: &str, data: Option<Bytes>) -> Result<Text, Failure> {
    shell.zk.create(
        path,
        NewNode {
            data,
            acl: vec![Acl::open()],
            flags: CreateFlags::Persistent,
            ttl_ms: 0,
        },
    )
}

fn create_if_missing(shell: &mut Shell<'_>, path: &str) -> Result<(), Failure> {
    if shell.zk.exists(path, Watch::No)?.is_some() {
        return Ok(());
    }
    match create(shell, path, None) {
        Err(failure) if !failure.is_code(ErrorCode::NodeExists) => Err(failure),
        _ => Ok(()),
    }
}

/// Quotas may not nest: none below.
fn check_no_quota_below(shell: &mut Shell<'_>, path: &str) -> Result<(), Failure> {
    let own = quota_path(path);
    let suffix = format!("/{LIMITS}");
    let result = shell.visit_depth_first(&own, Watch::No, |_, node| {
        match node.strip_suffix(&suffix) {
            Some(holder) if holder != own => Err(Failure::usage(format!(
                "{path} has a child {} which has a quota",
                &holder[QUOTA_ROOT.len()..]
            ))),
            _ => Ok(()),
        }
    });
    match result {
        Err(failure) if failure.is_code(ErrorCode::NoNode) => Ok(()),
        result => result,
    }
}

/// Quotas may not nest: none above.
fn check_no_quota_above(shell: &mut Shell<'_>, path: &str) -> Result<(), Failure> {
    let mut above = path;
    while let Some(at) = above.rfind('/').filter(|at| *at > 0) {
        above = &path[..at];
        let limits = format!("{}/{LIMITS}", quota_path(above));
        if shell.zk.exists(&limits, Watch::No)?.is_some() {
            return Err(Failure::usage(format!(
                "{path} has a parent {above} which has a quota"
            )));
        }
    }
    Ok(())
}

fn warn_if_exceeded(
    shell: &mut Shell<'_>,
    limits: &StatsTrack,
    stats: &StatsTrack,
) -> Result<(), Failure> {
    for (soft, hard, name) in [
        (Field::Count, Field::CountHardLimit, "count"),
        (Field::Bytes, Field::ByteHardLimit, "bytes"),
    ] {
        let used = stats.value(soft);
        let exceeds = |field| (0..used).contains(&limits.value(field));
        if exceeds(soft) || exceeds(hard) {
            shell.say(format_args!(
                "[Warning]: the {name} quota you create is less than the existing {name}:{used}"
            ))?;
        }
    }
    Ok(())
}

fn text_bytes(track: &StatsTrack) -> Bytes {
    track.to_string().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_before_anything_is_sent() {
        assert_eq!(parse_limit(Field::Count, "7"), Ok(7));
        assert_eq!(parse_limit(Field::Bytes, "0"), Ok(0));
        assert_eq!(
            parse_limit(Field::CountHardLimit, "0"),
            Err("the num quota must be greater than zero")
        );
        assert_eq!(
            parse_limit(Field::ByteHardLimit, "-1"),
            Err("the bytes quota must be greater than or equal to zero")
        );
        let words = "NumberFormatException happens when parsing the option value";
        assert_eq!(parse_limit(Field::Count, "2147483648"), Err(words));
        assert_eq!(parse_limit(Field::Bytes, "x"), Err(words));
    }
}
