//! What follows the membership in force on this server: the files that it is read from at the next start, and the address
//! that its clients come to.
//!
//! Nothing that other servers rely on waits for the files. Of a change that was made by a transaction the log knows, and a
//! server that starts with older files takes it for one that is under way.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tracing::{error, info};

use super::settings;
use crate::config::{Config, EnsembleConfig, NEXT_SUFFIX};
use crate::net::client::{ListenAddr, Rebinder};
use crate::properties;
use crate::replica::ensemble::{Configs, HostPort, Members, ServerId};

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    me: ServerId,
    /// `zoo.cfg`; there if the membership may change.
    file: Option<PathBuf>,
    in_force: Arc<Members>,
    /// Where clients come to: first where the membership says so, or `clientPort`, then elsewhere.
    listeners: Vec<ListenAddr>,
    /// Whether the first of them is such.
    has_main: bool,
    rebinder: Arc<OnceLock<Rebinder>>,
}

impl Membership {
    pub(super) fn new(
        config: &Config,
        ensemble: &EnsembleConfig,
        rebinder: Arc<OnceLock<Rebinder>>,
    ) -> Self {
        Self {
            me: ensemble.me,
            file: ensemble.file.clone().filter(|_| ensemble.reconfig_enabled),
            in_force: Arc::clone(&ensemble.members),
            listeners: settings::listeners(config),
            has_main: config.has_main_listener,
            rebinder,
        }
    }

    /// Takes what the replica says of the membership.
    pub(super) fn follow(&mut self, configs: &Configs) {
        let members = &configs.committed;
        if configs.is_changing() {
            info!(
                version = format!("{:x}", configs.proposed.version()),
                "a change of the members is proposed"
            );
        }
        if let Some(members) = &configs.rumoured {
            info!(
                version = format!("{:x}", members.version()),
                "other voters know of a change of the members that this server does not have, and elect by it: this server \
                 votes for whom they vote for"
            );
        }
        if members.version() == self.in_force.version() {
            return;
        }
        let voters: Vec<i64> = members.voters().map(|voter| voter.0).collect();
        info!(
            version = format!("{:x}", members.version()),
            ?voters,
            is_member = members.servers().contains_key(&self.me),
            "a membership is in force"
        );
        self.in_force = Arc::clone(members);
        if let Some(file) = &self.file
            && let Err(problem) = store(file, members, self.me)
        {
            error!(
                %problem, file = %file.display(),
                "the members in force cannot be written beside the configuration file: until they can be, a restart begins with \
                 the former ones and needs a quorum of those, too"
            );
        }
        let own = members.servers().get(&self.me);
        if let Some(client) = own.and_then(|own| own.client.clone()) {
            self.move_clients(&client);
        }
    }

    fn move_clients(&mut self, client: &HostPort) {
        let address = match resolve(client) {
            Ok(address) => address,
            Err(problem) => {
                error!(%problem, host = client.host, "the client address of this server has no address: it stays where it is");
                return;
            }
        };
        let main = self.listeners.first().filter(|_| self.has_main);
        if main.is_some_and(|main| is_same(main.addr, address)) {
            return;
        }
        let main = ListenAddr { addr: address };
        if self.has_main {
            self.listeners[0] = main;
        } else {
            self.listeners.insert(0, main);
            self.has_main = true;
        }
        if let Some(rebinder) = self.rebinder.get() {
            rebinder.rebind(self.listeners.clone());
        }
    }
}

fn resolve(client: &HostPort) -> io::Result<SocketAddr> {
    let mut addresses = (client.host.as_str(), client.port).to_socket_addrs()?;
    addresses
        .next()
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// `0.0.0.0` is every address, as `[::]` is where it takes both.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() && other.ip().is_unspecified())
}

/// Writes the members into a file of their own, then has the main file name it. After a crash in between, the former
/// members are read.
///
/// ZooKeeper: `QuorumPeer.setQuorumVerifier`, `QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`,
/// `backupOldConfig`.
fn store(file: &Path, members: &Members, me: ServerId) -> io::Result<()> {
    // Where a link leads to, it keeps leading.
    let file = file.canonicalize()?;
    let former = fs::read(&file)?;
    let dynamic = beside(&file, &format!(".dynamic.{:x}", members.version()));
    replace(&dynamic, lines(members).as_bytes(), 0o644)?;
    let has_client = members
        .servers()
        .get(&me)
        .is_some_and(|own| own.client.is_some());
    let edited = edit(&former, &dynamic, has_client);
    // It may hold secrets.
    let mode = fs::metadata(&file)?.permissions().mode() & 0o7777;
    if edited.had_members {
        replace(&beside(&file, ".bak"), &former, mode)?;
    }
    replace(&file, &edited.bytes, mode)?;
    // Left there by ZooKeeper.
    match fs::remove_file(beside(&file, NEXT_SUFFIX)) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => Err(problem),
        _ => Ok(()),
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// After a crash there are the old contents or the new.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = beside(path, ".tmp");
    match fs::remove_file(&temporary) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// As ZooKeeper writes them: sorted, the version in the name of the file only, no line end at the end.
fn lines(members: &Members) -> String {
    let text = members.text();
    let lines = text.split('\n');
    let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[derive(Debug, PartialEq, Eq)]
struct Edited {
    bytes: Vec<u8>,
    /// Members stood in the main file itself.
    had_members: bool,
}

/// The main file without what the file of the members says. Unlike ZooKeeper's, it keeps its order and its comments.
fn edit(former: &[u8], dynamic: &Path, has_client: bool) -> Edited {
    let mut edited = Edited {
        bytes: Vec::with_capacity(former.len() + 64),
        had_members: false,
    };
    for line in LogicalLines(former) {
        let entry = properties::parse(line).entries.into_iter().next();
        let key = entry.map(|entry| entry.key).unwrap_or_default();
        let key = key.trim();
        let is_member = ["server.", "group", "weight"]
            .iter()
            .any(|stem| key.starts_with(stem));
        edited.had_members |= is_member;
        let goes = match key {
            "dynamicConfigFile" | "peerType" | "version" => true,
            "clientPort" | "clientPortAddress" => has_client,
            _ => is_member,
        };
        if !goes {
            edited.bytes.extend_from_slice(line);
        }
    }
    if edited.bytes.last().is_some_and(|last| *last != b'\n') {
        edited.bytes.push(b'\n');
    }
    edited.bytes.extend_from_slice(b"dynamicConfigFile=");
    for unit in dynamic.to_string_lossy().encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => edited.bytes.extend_from_slice(b"\\\\"),
            Ok(byte @ b' '..=b'~') => edited.bytes.push(byte),
            _ => edited
                .bytes
                .extend_from_slice(format!("\\u{unit:04x}").as_bytes()),
        }
    }
    edited.bytes.push(b'\n');
    edited
}

/// Lines with those that continue them, line ends included.
struct LogicalLines<'a>(&'a [u8]);

impl<'a> Iterator for LogicalLines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let rest = &self.0[end..];
            let length = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(rest.len(), |at| at + 1);
            let is_first = end == 0;
            end += length;
            let line = rest[..length].trim_ascii();
            let is_comment = is_first && matches!(line.first(), None | Some(b'#' | b'!'));
            let content = rest[..length]
                .strip_suffix(b"\n")
                .unwrap_or(&rest[..length]);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            let backslashes = content.iter().rev().take_while(|byte| **byte == b'\\');
            if is_comment || backslashes.count() % 2 == 0 || end == self.0.len() {
                break;
            }
        }
        let (line, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# where data is\ndataDir=/d\n  server.1 : a:1:2\nserver.2=b:1:\\\n  2;5\n#server.9=x\n\
                        clientPort=2181\nclientPortListenBacklog=9\npeerType=observer\nversion=0\n\
                        group.1=1:2\ntickTime=5";

    fn edited(has_client: bool) -> String {
        let edited = edit(FILE.as_bytes(), Path::new("/e/z\u{f6}o\\x"), has_client);
        assert!(edited.had_members);
        String::from_utf8(edited.bytes).unwrap()
    }

    #[test]
    fn the_main_file_keeps_all_that_is_not_about_members() {
        assert_eq!(
            edited(true),
            "# where data is\ndataDir=/d\n#server.9=x\nclientPortListenBacklog=9\ntickTime=5\n\
             dynamicConfigFile=/e/z\\u00f6o\\\\x\n"
        );
        assert!(edited(false).contains("clientPort=2181\n"));
        let again = edit(edited(true).as_bytes(), Path::new("/e/next"), true);
        assert!(!again.had_members);
        assert!(
            again
                .bytes
                .ends_with(b"tickTime=5\ndynamicConfigFile=/e/next\n")
        );
    }

    #[test]
    fn members_are_stored_where_the_next_start_reads_them() {
        let directory = std::env::temp_dir().join(format!("zabd-members-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("zoo.cfg");
        fs::write(&file, FILE).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(directory.join("zoo.cfg.dynamic.next"), "x").unwrap();
        for version in [0x1_0000_0000_i64, 0x1_0000_0003] {
            let text = format!("server.2=b:1:2;5\nserver.10=a:1:2\nversion={version:x}");
            let members: Members = text.parse().unwrap();
            store(&file, &members, ServerId(2)).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(read("zoo.cfg.bak"), FILE);
        assert_eq!(
            read("zoo.cfg.dynamic.100000003"),
            "server.10=a:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:5"
        );
        let main = read("zoo.cfg");
        assert!(main.ends_with("zoo.cfg.dynamic.100000003\n"), "{main}");
        assert_eq!(main.matches("dynamicConfigFile").count(), 1, "{main}");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let mut names: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "zoo.cfg",
                "zoo.cfg.bak",
                "zoo.cfg.dynamic.100000000",
                "zoo.cfg.dynamic.100000003"
            ]
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn every_address_is_one_whatever_the_family() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_same(address("0.0.0.0:5"), address("[::]:5")));
        assert!(!is_same(address("0.0.0.0:5"), address("0.0.0.0:6")));
        assert!(!is_same(address("127.0.0.1:5"), address("[::]:5")));
    }
}
