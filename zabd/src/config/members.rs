//! `server.N`, `group.N` and `weight.N` lines, the file they may stand in, and `myid`: which server this is, who else
//! there is, and whether it stands alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ensemble::MembersOrigin;
use super::findings::{Origin, Severity};
use super::settings::Settings;
use super::written::{self, Written};
use crate::replica::ensemble::{
    GroupsError, HostPort, Member, Members, MembersDraft, MembersError, ServerId, Standalone,
};

/// Behind the name of the main file: what a server of ZooKeeper knows to be proposed and not in force.
///
/// ZooKeeper: `QuorumPeerConfig.nextDynamicConfigFileSuffix`.
pub const NEXT_SUFFIX: &str = ".dynamic.next";

/// What the members and `myid` say about this server.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Number in `myid`.
    pub(super) server_id: Option<i64>,
    /// Where the lines have this server's clients connect.
    pub(super) client: Option<HostPort>,
    /// Whether that line is this server's by its `myid`, so that it binds `clientPort`.
    pub(super) is_self: bool,
    /// Where the lines stand, to report what is wrong with them together.
    pub(super) lines: Vec<Written>,
    /// The ensemble, if this server does not stand alone and nothing is wrong with its lines.
    pub(super) ensemble: Option<Ensemble>,
    /// Whether this server is meant to be a member, even if something is wrong.
    pub(super) is_member: bool,
    /// The main file.
    pub(super) file: Option<PathBuf>,
}

/// An ensemble as its lines give it.
#[derive(Debug)]
pub(super) struct Ensemble {
    pub(super) members: Arc<Members>,
    pub(super) next: Option<Arc<Members>>,
    pub(super) origin: MembersOrigin,
}

/// Reads members and `myid`.
///
/// ZooKeeper: `QuorumPeerConfig.setupQuorumPeerConfig`, `parseDynamicConfig`, `isDistributed`.
pub(super) fn read(
    settings: &mut Settings,
    file: Option<&Path>,
    data_dir: Option<&Path>,
) -> Membership {
    let dynamic = settings.text("dynamicConfigFile").map(PathBuf::from);
    let lines = member_lines(settings, dynamic.as_deref());
    let version = match &dynamic {
        Some(path) => version_of_name(settings, path),
        None => written_version(settings),
    };
    let members = parse_members(settings, &lines).map(|members| members.with_version(version));
    let Some(members) = members else {
        let server_id = data_dir.and_then(|directory| read_my_id(settings, directory).ok()?);
        return Membership {
            server_id,
            lines,
            ..Membership::default()
        };
    };
    let is_member = is_distributed(settings, &members, &lines);
    let server_id = match (data_dir, is_member) {
        (None, _) => None,
        (Some(directory), false) => read_my_id(settings, directory).ok().flatten(),
        (Some(directory), true) => my_id_of_member(settings, directory, &members),
    };
    let own = match (is_member, server_id) {
        (true, id) => id.and_then(|id| members.servers().get(&ServerId(id))),
        // Standing alone it goes by the only participant, whatever `myid` says.
        (false, _) => members
            .voters()
            .next()
            .and_then(|only| members.servers().get(&only)),
    };
    let client = own.and_then(|member| member.client.clone());
    let is_self = server_id.is_some_and(|id| is_member || members.is_voter(ServerId(id)));
    if is_member {
        warn_of_like_numbers(settings, &members, &lines);
        check_rewritable(settings, file, &lines, dynamic.is_some());
    }
    let next = dynamic
        .as_deref()
        .filter(|_| is_member && settings.flag("reconfigEnabled"))
        .and_then(|_| next_members(settings, file?))
        .filter(|next| next.version() > members.version());
    let origin = dynamic.map_or(MembersOrigin::Static, MembersOrigin::Dynamic);
    let ensemble = is_member.then(|| Ensemble {
        members: Arc::new(members),
        next: next.map(Arc::new),
        origin,
    });
    Membership {
        server_id,
        client,
        is_self,
        lines,
        ensemble,
        is_member,
        file: file.map(Path::to_owned),
    }
}

/// A change of the members that was proposed to a server of ZooKeeper here, and of which that never heard the end.
///
/// ZooKeeper: `QuorumPeerConfig.parseProperties`.
fn next_members(settings: &mut Settings, file: &Path) -> Option<Members> {
    // Where a link leads to, as when members are written.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut name = file.into_os_string();
    name.push(NEXT_SUFFIX);
    let path = PathBuf::from(name);
    let problem = match std::fs::read(&path) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).parse::<Members>() {
            Ok(members) => match members.check(standalone(settings)) {
                Ok(()) => return Some(members),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    let message = format!(
        "{} has a change of the members that was proposed, and cannot be read: {problem}. If it is not to be completed, \
         remove the file",
        path.display()
    );
    settings.report(Severity::Error, "dynamicConfigFile", message);
    None
}

fn standalone(settings: &Settings) -> Standalone {
    if settings.flag("standaloneEnabled") {
        Standalone::Enabled
    } else {
        Standalone::Disabled
    }
}

/// Members that can be changed must be where the change can be written.
fn check_rewritable(
    settings: &mut Settings,
    file: Option<&Path>,
    lines: &[Written],
    is_dynamic: bool,
) {
    let stands_in_file = |origin: Option<&Origin>| match (origin, file) {
        (Some(Origin::File { path, .. }), Some(file)) => path.as_path() == file,
        _ => false,
    };
    let is_rewritable = if is_dynamic {
        stands_in_file(settings.origin("dynamicConfigFile"))
    } else {
        lines.iter().all(|line| stands_in_file(Some(&line.origin)))
    };
    if settings.flag("reconfigEnabled") && !is_rewritable {
        let message = "needs the members, or dynamicConfigFile, to stand in the configuration file, which is rewritten \
                       when they change";
        settings.report(Severity::Error, "reconfigEnabled", message);
    }
}

impl Membership {
    /// Reports on the line of one server, or on the first line if it has none.
    pub(super) fn report(
        &self,
        settings: &mut Settings,
        server: Option<i64>,
        severity: Severity,
        message: impl Into<String>,
    ) {
        let own = self
            .lines
            .iter()
            .find(|line| server.is_some() && server_of(&line.name) == server);
        report(settings, own.or(self.lines.first()), severity, message);
    }
}

/// The lines about members, from the file they stand in.
fn member_lines(settings: &mut Settings, dynamic: Option<&Path>) -> Vec<Written> {
    let mut lines = Vec::new();
    for stem in STEMS {
        lines.append(&mut settings.family(stem));
    }
    let Some(path) = dynamic else {
        return lines;
    };
    for line in &lines {
        let message = "must stand in the file of dynamicConfigFile, not in this one";
        report(settings, Some(line), Severity::Error, message);
    }
    let mut last: BTreeMap<String, Written> = BTreeMap::new();
    for line in written::read_file(path, &mut settings.findings) {
        if STEMS.iter().any(|stem| line.name.starts_with(stem)) {
            last.insert(line.name.clone(), line);
            continue;
        }
        let message = match line.name.as_str() {
            "version" => "must not stand here: the version is the end of the file's name",
            _ => "does not belong here, where server.N, group.N and weight.N are allowed",
        };
        report(settings, Some(&line), Severity::Error, message);
    }
    last.into_values().collect()
}

/// The version that ends the name of the dynamic file, behind its last dot; 0 if none does.
///
/// ZooKeeper: `QuorumPeerConfig.getVersionFromFilename`.
fn version_of_name(settings: &mut Settings, path: &Path) -> i64 {
    let text = path.to_string_lossy();
    let number = text
        .rsplit_once('.')
        .and_then(|(_, suffix)| i64::from_str_radix(suffix, 16).ok());
    match number {
        Some(number) if number < 0 => {
            let message = format!("{text:?} ends in a version that is negative");
            settings.report(Severity::Error, "dynamicConfigFile", message);
            0
        }
        number => number.unwrap_or(0),
    }
}

/// The version written beside the members, in hexadecimal; 0 if none is.
///
/// ZooKeeper: `QuorumMaj.<init>`, `QuorumHierarchical.parse`.
fn written_version(settings: &mut Settings) -> i64 {
    let Some(text) = settings.text("version") else {
        return 0;
    };
    match i64::from_str_radix(&text, 16) {
        Ok(number) if number >= 0 => number,
        _ => {
            let message = format!("{text:?} was given, where hexadecimal digits are allowed");
            settings.report(Severity::Error, "version", message);
            0
        }
    }
}

/// The members, unless a line is malformed or they do not fit together.
fn parse_members(settings: &mut Settings, lines: &[Written]) -> Option<Members> {
    let mut draft = MembersDraft::default();
    let mut all_good = true;
    for line in lines {
        if let Err(error) = draft.line(&line.name, &line.value) {
            all_good = false;
            let message = line_problem(line, &error);
            report(settings, Some(line), Severity::Error, message);
        } else if line.name.starts_with("server.")
            && Member::parse(&line.value).is_ok_and(|member| member.addresses.len() > 1)
            && !settings.flag("multiAddress.enabled")
        {
            let message = "has several addresses, for which multiAddress.enabled is needed";
            report(settings, Some(line), Severity::Error, message);
        }
    }
    if !all_good {
        return None;
    }
    let error = match draft.finish() {
        Ok(members) => return Some(members),
        Err(error) => error,
    };
    let about = match &error {
        MembersError::Groups(GroupsError::Missing(server)) => Some(format!("server.{server}")),
        MembersError::Groups(GroupsError::Negative(server)) => Some(format!("weight.{server}")),
        MembersError::Groups(GroupsError::TooHeavy(group) | GroupsError::Twice(group)) => {
            Some(format!("group.{group}"))
        }
        _ => None,
    };
    let line = lines
        .iter()
        .find(|line| Some(&line.name) == about.as_ref())
        .or_else(|| lines.iter().find(|line| line.name.starts_with("group")))
        .or(lines.first());
    report(settings, line, Severity::Error, error.to_string());
    None
}

fn line_problem(line: &Written, error: &MembersError) -> String {
    let (name, value) = (&line.name, &line.value);
    let number = name.split_once('.').map_or("", |(_, number)| number);
    match error {
        MembersError::Member { error, .. } => format!("{value:?} {error}"),
        MembersError::Twice(_) => format!("server {number} is there twice"),
        _ if number.parse::<i64>().is_err() && name.starts_with("group") => {
            format!("{number:?} is not the number of a group")
        }
        _ if number.parse::<i64>().is_err() => format!("{number:?} is not the number of a server"),
        _ if name.starts_with("group") => {
            format!("{value:?} was given, where numbers of servers joined by colons are allowed")
        }
        _ => format!("{value:?} was given, where a whole number is allowed"),
    }
}

/// Whether these members are an ensemble; reports what none can be.
///
/// ZooKeeper: `QuorumPeerConfig.isDistributed`.
fn is_distributed(settings: &mut Settings, members: &Members, lines: &[Written]) -> bool {
    let first = lines.iter().find(|line| line.name.starts_with("server."));
    let participants = members.voters().count();
    let observers = members.servers().len() - participants;
    let standalone = standalone(settings);
    let (severity, message) = match (participants, standalone) {
        (0, Standalone::Enabled) if observers == 0 => return false,
        (0, Standalone::Enabled) => (
            Severity::Error,
            "observers need participants to observe".to_owned(),
        ),
        (0, Standalone::Disabled) => {
            let message = "false needs at least one server.N that is a participant";
            settings.report(Severity::Error, "standaloneEnabled", message);
            return false;
        }
        (1, Standalone::Enabled) if observers > 0 => (
            Severity::Error,
            "observers need a quorum to observe".to_owned(),
        ),
        (1, Standalone::Enabled) => (
            Severity::Note,
            "the only participant: this server is standalone".to_owned(),
        ),
        (1 | 2, _) => (
            Severity::Warning,
            format!("with {participants} of them no participant may fail; 3 bear that one does"),
        ),
        (even, _) if even % 2 == 0 => (
            Severity::Warning,
            format!(
                "{even} participants bear no more failures than {}",
                even - 1
            ),
        ),
        _ => (Severity::Note, String::new()),
    };
    if !message.is_empty() {
        report(settings, first, severity, message);
    }
    let is_member = participants > 1 || participants == 1 && standalone == Standalone::Disabled;
    if is_member && let Err(error) = members.check(standalone) {
        report(settings, first, Severity::Error, error.to_string());
    }
    is_member
}

/// A session's id begins with the low byte of the number of the server that made it.
///
/// ZooKeeper: `SessionTrackerImpl.initializeNextSessionId`.
fn warn_of_like_numbers(settings: &mut Settings, members: &Members, lines: &[Written]) {
    let mut first_with: BTreeMap<i64, ServerId> = BTreeMap::new();
    for server in members.servers().keys() {
        let first = *first_with.entry(server.0 & 0xff).or_insert(*server);
        if first != *server {
            let line = lines
                .iter()
                .find(|line| server_of(&line.name) == Some(server.0));
            let message = format!(
                "its number and {first} differ by a multiple of 256, so that both could give out the same session id"
            );
            report(settings, line, Severity::Warning, message);
        }
    }
}

/// The number in `myid`, which must be there and be a member's.
///
/// ZooKeeper: `QuorumPeerConfig.checkValidity`, `QuorumPeer.start`, `EphemeralType.validateServerId`.
fn my_id_of_member(settings: &mut Settings, data_dir: &Path, members: &Members) -> Option<i64> {
    let number = match read_my_id(settings, data_dir) {
        Err(MyIdError) => return None,
        Ok(Some(number)) => number,
        Ok(None) => {
            let message = format!(
                "{} is missing: it holds the number of this server",
                data_dir.join("myid").display()
            );
            settings
                .findings
                .push(Severity::Error, None, "myid", message);
            return None;
        }
    };
    let mut error = |message: String| {
        let origin = Some(my_id_origin(data_dir));
        settings
            .findings
            .push(Severity::Error, origin, "myid", message);
    };
    if !members.servers().contains_key(&ServerId(number)) {
        let known: Vec<String> = members.servers().keys().map(ServerId::to_string).collect();
        error(format!(
            "{number} is none of the servers {}",
            known.join(", ")
        ));
        return None;
    }
    // Other numbers stand for observers without a name.
    if !(0..i64::MAX).contains(&number) {
        error(format!(
            "{number} was given, where a whole number, 0 or more is allowed"
        ));
    }
    if number > ID_MAX_EXTENDED && settings.flag("extendedTypesEnabled") {
        let message = format!(
            "{number} was given, where at most {ID_MAX_EXTENDED} is allowed with extendedTypesEnabled"
        );
        let origin = Some(my_id_origin(data_dir));
        settings
            .findings
            .push(Severity::Error, origin, "myid", message);
    }
    Some(number)
}

struct MyIdError;

/// First line of `myid` as a number; none if there is no such file. What is wrong with it is reported.
///
/// ZooKeeper: `QuorumPeerConfig.setupMyId`.
fn read_my_id(settings: &mut Settings, data_dir: &Path) -> Result<Option<i64>, MyIdError> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let message = match std::fs::read(&path) {
        Err(error) => format!("cannot be read: {error}"),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let first = text.split(['\n', '\r']).next().unwrap_or_default();
            match first.parse() {
                Ok(id) => return Ok(Some(id)),
                Err(_) => format!("{first:?} is not the number of a server"),
            }
        }
    };
    let origin = Some(my_id_origin(data_dir));
    settings
        .findings
        .push(Severity::Error, origin, "myid", message);
    Err(MyIdError)
}

fn my_id_origin(data_dir: &Path) -> Origin {
    Origin::File {
        path: Arc::new(data_dir.join("myid")),
        line: 1,
    }
}

fn server_of(name: &str) -> Option<i64> {
    name.strip_prefix("server.")?.parse().ok()
}

fn report(
    settings: &mut Settings,
    line: Option<&Written>,
    severity: Severity,
    message: impl Into<String>,
) {
    let origin = line.map(|line| line.origin.clone());
    let name = line.map_or("", |line| line.name.as_str());
    settings.findings.push(severity, origin, name, message);
}

/// What keys about members begin with.
const STEMS: [&str; 3] = ["server.", "group", "weight"];

/// The largest id of a server whose ephemerals cannot be taken for those of extended types.
///
/// ZooKeeper: `EphemeralType.MAX_EXTENDED_SERVER_ID`.
const ID_MAX_EXTENDED: i64 = 0xfe;
