//! `server.N` lines, the file they may stand in, and `myid`: which server this is and whether it
//! stands alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::findings::Severity;
use super::settings::Settings;
use super::written::{self, Written};
use crate::replica::ensemble::member::{HostPort, Member, Role};

/// What the members and `myid` say about this server.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Number in `myid`.
    pub(super) server_id: Option<i64>,
    /// Where the only member has its clients connect.
    pub(super) client: Option<HostPort>,
    /// Whether that member is this server by its `myid`, so that the line binds `clientPort`.
    pub(super) is_self: bool,
}

/// Reads members and `myid`; refuses what is not a standalone server.
///
/// ZooKeeper: `QuorumPeerConfig.setupQuorumPeerConfig`, `parseDynamicConfig`, `isDistributed`.
pub(super) fn read(settings: &mut Settings, data_dir: Option<&Path>) -> Membership {
    let lines = member_lines(settings);
    let Some(members) = parse_members(settings, &lines) else {
        return Membership::default();
    };
    check_alone(settings, &members, &lines);
    let server_id = data_dir.and_then(|directory| read_my_id(settings, directory));
    let participants = members
        .iter()
        .filter(|(_, member)| member.role == Role::Participant);
    let only = participants.map(|(id, member)| (*id, member)).next();
    Membership {
        server_id,
        client: only.and_then(|(_, member)| member.client.clone()),
        is_self: only.is_some_and(|(id, _)| server_id == Some(id)),
    }
}

/// The `server.N` lines, from the file they stand in.
fn member_lines(settings: &mut Settings) -> Vec<Written> {
    let Some(path) = settings.text("dynamicConfigFile").map(PathBuf::from) else {
        return settings.family("server.");
    };
    for stem in ["server.", "group", "weight"] {
        for line in settings.family(stem) {
            let message = "must stand in the file of dynamicConfigFile, not in this one";
            settings
                .findings
                .push(Severity::Error, Some(line.origin), &line.name, message);
        }
    }
    let mut last: BTreeMap<String, Written> = BTreeMap::new();
    for line in written::read_file(&path, &mut settings.findings) {
        if ["group", "weight"]
            .iter()
            .any(|stem| line.name.starts_with(stem))
        {
            continue;
        }
        if line.name.starts_with("server.") {
            last.insert(line.name.clone(), line);
            continue;
        }
        let message = match line.name.as_str() {
            "version" => "must not stand here: the version is the end of the file's name",
            _ => "does not belong here, where server.N, group.N and weight.N are allowed",
        };
        settings
            .findings
            .push(Severity::Error, Some(line.origin), &line.name, message);
    }
    last.into_values().collect()
}

/// Members by id, unless one is malformed.
fn parse_members(settings: &mut Settings, lines: &[Written]) -> Option<BTreeMap<i64, Member>> {
    let mut members = BTreeMap::new();
    let mut all_good = true;
    for line in lines {
        let digits = line
            .name
            .rsplit_once("server.")
            .map_or("", |(_, digits)| digits);
        let message = match (digits.parse::<i64>(), Member::parse(&line.value)) {
            (Err(_), _) => format!("{digits:?} is not the number of a server"),
            (_, Err(error)) => format!("{:?} {error}", line.value),
            (Ok(id), Ok(member)) => {
                if member.addresses.len() > 1 && !settings.flag("multiAddress.enabled") {
                    let message = "has several addresses, for which multiAddress.enabled is needed";
                    settings.findings.push(
                        Severity::Error,
                        Some(line.origin.clone()),
                        &line.name,
                        message,
                    );
                }
                members.insert(id, member);
                continue;
            }
        };
        all_good = false;
        settings.findings.push(
            Severity::Error,
            Some(line.origin.clone()),
            &line.name,
            message,
        );
    }
    all_good.then_some(members)
}

/// Refuses everything but no member, or one participant that may stand alone.
fn check_alone(settings: &mut Settings, members: &BTreeMap<i64, Member>, lines: &[Written]) {
    let observers = members
        .values()
        .filter(|member| member.role == Role::Observer)
        .count();
    let participants = members.len() - observers;
    if participants == 0 && observers > 0 {
        return report(
            settings,
            lines,
            Severity::Error,
            "observers need participants to observe",
        );
    }
    if participants > 1 {
        let message =
            format!("{participants} participants: ensembles are not supported by this version");
        return report(settings, lines, Severity::Error, message);
    }
    if !settings.flag("standaloneEnabled") {
        let message = match participants {
            0 => "false needs at least one server.N that is a participant",
            _ => "false asks for an ensemble of one: ensembles are not supported by this version",
        };
        return settings.report(Severity::Error, "standaloneEnabled", message);
    }
    if participants == 1 && observers > 0 {
        return report(
            settings,
            lines,
            Severity::Error,
            "observers need a quorum to observe",
        );
    }
    if participants == 1 {
        report(
            settings,
            lines,
            Severity::Note,
            "the only participant: this server is standalone",
        );
    }
}

fn report(
    settings: &mut Settings,
    lines: &[Written],
    severity: Severity,
    message: impl Into<String>,
) {
    let first = lines.first();
    let origin = first.map(|line| line.origin.clone());
    let name = first.map_or("", |line| line.name.as_str());
    settings.findings.push(severity, origin, name, message);
}

/// First line of `myid` as a number; none if there is no such file.
///
/// ZooKeeper: `QuorumPeerConfig.setupMyId`.
fn read_my_id(settings: &mut Settings, data_dir: &Path) -> Option<i64> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return None;
    }
    let message = match std::fs::read(&path) {
        Err(error) => format!("cannot read {}: {error}", path.display()),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let first = text.split(['\n', '\r']).next().unwrap_or_default();
            match first.parse() {
                Ok(id) => return Some(id),
                Err(_) => format!(
                    "{}: {first:?} is not the number of a server",
                    path.display()
                ),
            }
        }
    };
    settings
        .findings
        .push(Severity::Error, None, "myid", message);
    None
}
