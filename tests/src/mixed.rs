//! Ensembles of zabd and Apache ZooKeeper: started from letters, compared node by node, and their logs read for what must
//! not be in there.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jute_codec::data::Acl;
use jute_codec::proto::{AclReply, AuthPacket, PathRequest, Request};
use jute_codec::{Jute, Reader, Text};

use crate::apache::Release;
use crate::ensemble::{Ensemble, Place, Tree, ask, free_places, mode};
use crate::raw::{RawClient, four_letter_word};
use crate::servers::{Implementation, Server, Setup};

/// Longer than an election among Java servers on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The user `super` with the password `test`, who may read what others have closed.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// The kinds of servers by their letters: `J` for the current Apache ZooKeeper, `O` for the old one, `Z` for zabd.
///
/// # Panics
/// For any other letter.
#[must_use]
pub fn kinds(letters: &str) -> Vec<Implementation> {
    let kind = |letter| match letter {
        'J' => Implementation::Apache,
        'O' => Implementation::OldApache,
        'Z' => Implementation::Zabd,
        _ => panic!("{letter} stands for no server"),
    };
    letters.chars().map(kind).collect()
}

/// The ensembles that `ZABD_MIXED` asks for, in place of these: a list of letters ([`kinds`]), or `all` for these with the one
/// and with the other release, too.
#[must_use]
pub fn chosen(letters: &[&str]) -> Vec<String> {
    match std::env::var("ZABD_MIXED").as_deref() {
        Err(_) => letters.iter().map(ToString::to_string).collect(),
        Ok("all") => with_each_release(letters),
        Ok(chosen) => chosen.split(',').map(str::to_owned).collect(),
    }
}

/// Ensembles as they are, with the current release only, and with the old one only.
fn with_each_release(letters: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = letters
        .iter()
        .flat_map(|letters| {
            let letters = letters.to_string();
            let (new, old) = (letters.replace('O', "J"), letters.replace('J', "O"));
            [letters, new, old]
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Why servers of some kinds cannot be run here.
#[must_use]
pub fn unavailable(letters: &str) -> Option<String> {
    let releases = kinds(letters)
        .into_iter()
        .filter_map(Implementation::release);
    releases.into_iter().find_map(Release::unavailable)
}

/// An ensemble of several kinds of servers.
#[derive(Debug)]
pub struct Mixed {
    ensemble: Ensemble,
    letters: String,
    // Where each leads, as others write it.
    quorum_ports: Vec<String>,
}

impl Deref for Mixed {
    type Target = Ensemble;

    fn deref(&self) -> &Ensemble {
        &self.ensemble
    }
}

impl DerefMut for Mixed {
    fn deref_mut(&mut self) -> &mut Ensemble {
        &mut self.ensemble
    }
}

impl Mixed {
    /// Servers that are not started yet, by the letters of [`kinds`]; voters first.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn prepare(letters: &str, voters: usize, setup: Setup) -> anyhow::Result<Self> {
        Self::prepare_at(letters, voters, &free_places(letters.len())?, setup)
    }

    /// The same, at these places.
    ///
    /// # Errors
    /// As for [`Self::prepare`].
    pub fn prepare_at(
        letters: &str,
        voters: usize,
        places: &[Place],
        mut setup: Setup,
    ) -> anyhow::Result<Self> {
        let kinds = kinds(letters);
        setup.apache_logs = true;
        let setup = setup
            .property("zookeeper.4lw.commands.whitelist", "*")
            .property("zookeeper.extendedTypesEnabled", "true")
            .property(
                "zookeeper.DigestAuthenticationProvider.superDigest",
                SUPER_DIGEST,
            );
        let ensemble = Ensemble::prepare_of(&kinds, voters, places, setup)?;
        let quorum_port = |place: &Place| {
            let (port, _) = place.member.rsplit_once(':').context("no election port")?;
            Ok(port.to_owned())
        };
        Ok(Self {
            ensemble,
            letters: letters.to_owned(),
            quorum_ports: places
                .iter()
                .map(quorum_port)
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Servers that all serve.
    ///
    /// # Errors
    /// When one does not.
    pub fn start(letters: &str, voters: usize, setup: Setup) -> anyhow::Result<Self> {
        let mut mixed = Self::prepare(letters, voters, setup)?;
        mixed.launch()?;
        Ok(mixed)
    }

    /// Starts servers, and waits until they serve.
    ///
    /// # Errors
    /// When one does not.
    pub fn revive(&mut self, numbers: &[usize]) -> anyhow::Result<()> {
        for number in numbers {
            self.spawn(*number)?;
        }
        self.wait_until_serving(numbers)
    }

    /// Starts all servers in such an order that this one, which must vote, leads.
    ///
    /// # Errors
    /// When another one leads, or none.
    pub fn revive_leader(&mut self, leader: usize) -> anyhow::Result<()> {
        let other = usize::from(leader == 0);
        self.revive_two([leader, other])?;
        let leads = self.await_leader(&[leader, other])?;
        ensure!(leads == leader, "server {} leads", leads + 1);
        let others: Vec<usize> = self.all();
        let others = others
            .into_iter()
            .filter(|number| ![leader, other].contains(number));
        self.revive(&others.collect::<Vec<_>>())
    }

    fn revive_two(&mut self, two: [usize; 2]) -> anyhow::Result<()> {
        for number in two {
            self.spawn(number)?;
        }
        self.wait_until_serving(&two)
    }

    /// Waits until one of these servers leads, and says which.
    ///
    /// # Errors
    /// When none does.
    pub fn await_leader(&self, numbers: &[usize]) -> anyhow::Result<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let leads = |number: &&usize| {
                mode(self.server(**number).address()).is_some_and(|mode| mode == "leader")
            };
            if let Some(leader) = numbers.iter().find(leads) {
                return Ok(*leader);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("none of {numbers:?} leads");
    }

    /// Waits until one of these servers leads all the others.
    ///
    /// # Errors
    /// When that does not come about.
    pub fn await_followed(&self, numbers: &[usize]) -> anyhow::Result<usize> {
        let until = Instant::now() + PATIENCE;
        let mut modes = Vec::new();
        while Instant::now() < until {
            let modes_now = numbers
                .iter()
                .map(|number| mode(self.server(*number).address()));
            modes = modes_now.map(Option::unwrap_or_default).collect();
            let (leaders, others): (Vec<_>, Vec<_>) = modes
                .iter()
                .zip(numbers)
                .partition(|(mode, _)| *mode == "leader");
            if let ([(_, leader)], true) = (
                &leaders[..],
                others.iter().all(|(mode, _)| *mode == "follower"),
            ) {
                return Ok(**leader);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("{numbers:?} are {modes:?}");
    }

    /// A line of what a server says to `mntr`.
    ///
    /// # Errors
    /// When it does not answer, or has no such line.
    pub fn figure(&self, number: usize, name: &str) -> anyhow::Result<String> {
        figure(self.server(number).address(), name)
    }

    /// The digests that a server has noted, by the transactions after which it has.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn digests(&self, number: usize) -> anyhow::Result<BTreeMap<String, String>> {
        let address = self.server(number).address();
        let answer = four_letter_word(address, b"hash", Duration::from_secs(5))?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let noted = text.lines().filter_map(|line| line.split_once(": "));
        Ok(noted
            .map(|(zxid, digest)| (zxid.to_owned(), digest.to_owned()))
            .collect())
    }

    /// All servers have the same nodes with the same data, stats and access control lists; nobody has ever seen another
    /// digest than the leader's; and no log has anything in it that must not be there.
    ///
    /// # Errors
    /// When that is not so.
    pub fn check(&mut self) -> anyhow::Result<Tree> {
        let tree = self.same_tree()?;
        self.same_lists(&tree)?;
        for number in self.all() {
            ensure!(!self.has_exited(number), "server {} has ended", number + 1);
            let mismatches = self.figure(number, "zk_digest_mismatches_count")?;
            ensure!(
                mismatches == "0" || self.was_sent_no_one_moment(number),
                "server {} counts {mismatches} digest mismatches",
                number + 1
            );
        }
        self.check_logs()?;
        Ok(tree)
    }

    /// Whether a Java server had a snapshot of another one, of no one moment, right before each digest that it found to be
    /// wrong. That happens without zabd.
    fn was_sent_no_one_moment(&self, number: usize) -> bool {
        let mut mismatches = Mismatches::default();
        mismatches.read_on(&self.server(number).log(), &self.java_leaders());
        self.is_java(number) && mismatches.are_all_explained()
    }

    /// The ports at which a Java server leads, whenever it does, as others write them.
    #[must_use]
    pub fn java_leaders(&self) -> Vec<&str> {
        let ports = self.quorum_ports.iter().zip(self.all());
        ports
            .filter(|(_, number)| self.is_java(*number))
            .map(|(port, _)| port.as_str())
            .collect()
    }

    /// Whether Java serves there.
    #[must_use]
    pub fn is_java(&self, number: usize) -> bool {
        self.server(number).implementation() != Implementation::Zabd
    }

    /// The part of [`Self::check`] that is about logs: also of servers that have ended.
    ///
    /// # Errors
    /// When there is something in one that must not be.
    pub fn check_logs(&self) -> anyhow::Result<()> {
        self.all().into_iter().try_for_each(|number| {
            let harmless: &[&str] = match self.was_sent_no_one_moment(number) {
                true => &[FIRST_MISMATCH],
                false => &[],
            };
            check_log_without(self.server(number), harmless)
        })
    }

    fn same_lists(&self, tree: &Tree) -> anyhow::Result<()> {
        let mut first: Option<BTreeMap<String, Vec<Acl>>> = None;
        for number in self.all() {
            let mut client = self.client(number)?;
            become_super(&mut client)?;
            // Those of sessions may go meanwhile.
            let lasting = tree
                .iter()
                .filter(|(_, (_, stat))| stat.ephemeral_owner == 0);
            let lists = lasting
                .map(|(path, _)| Ok((path.clone(), list(&mut client, path)?)))
                .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
            let first = first.get_or_insert_with(|| lists.clone());
            for (path, list) in &lists {
                ensure!(
                    first.get(path) == Some(list),
                    "{path}: server 1 has {:?}, server {} has {list:?}",
                    first.get(path),
                    number + 1
                );
            }
        }
        Ok(())
    }

    /// Keeps what the servers have written, where `ZABD_MIXED_KEEP` says, and tells the end of it.
    #[must_use]
    pub fn last_words(&self) -> String {
        if let Some(directory) = std::env::var_os("ZABD_MIXED_KEEP") {
            let directory = PathBuf::from(directory);
            for number in self.all() {
                let file = directory.join(format!("{}-{}.log", self.letters, number + 1));
                fs::create_dir_all(&directory).ok();
                fs::write(file, self.server(number).log()).ok();
            }
        }
        format!("{}\n{}", self.letters, self.ensemble.last_words())
    }

    /// Whether a server has text in its log of transactions, whatever its format.
    #[must_use]
    pub fn has_logged(&self, number: usize, text: &str) -> bool {
        let data = self.server(number).data_dir();
        ["zabd/log", "version-2"]
            .iter()
            .any(|below| contains(&data.join(below), text.as_bytes()))
    }
}

/// A line of what a server says to `mntr`.
///
/// # Errors
/// When it does not answer, or has no such line.
pub fn figure(address: SocketAddr, name: &str) -> anyhow::Result<String> {
    let answer = four_letter_word(address, b"mntr", Duration::from_secs(5))?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    Ok(value
        .with_context(|| format!("no {name} in {text}"))?
        .to_owned())
}

/// There is nothing in the log of a server that must not be there, whatever was done to the others.
///
/// # Errors
/// When there is.
pub fn check_log(server: &Server) -> anyhow::Result<()> {
    check_log_without(server, &[])
}

fn check_log_without(server: &Server, harmless: &[&str]) -> anyhow::Result<()> {
    let mut complaints = match server.implementation() {
        Implementation::Zabd => complaints(&server.log(), ZABD_COMPLAINTS, &[]),
        Implementation::Apache => {
            let harmless = [APACHE_HARMLESS, harmless].concat();
            complaints(&server.log(), APACHE_COMPLAINTS, &harmless)
        }
        Implementation::OldApache => {
            let harmless = [APACHE_HARMLESS, OLD_APACHE_HARMLESS, harmless].concat();
            complaints(&server.log(), APACHE_COMPLAINTS, &harmless)
        }
    };
    if server.implementation() == Implementation::OldApache {
        drop_old_apache_pairs(&mut complaints);
    }
    ensure!(
        complaints.is_empty(),
        "the server at {} says:\n{}",
        server.address(),
        complaints.join("\n")
    );
    Ok(())
}

/// Makes a client one that may do everything.
///
/// # Errors
/// When the server does not take it for that.
pub fn become_super(client: &mut RawClient) -> anyhow::Result<()> {
    client.send(&Request::Auth(AuthPacket {
        kind: 0,
        scheme: Some(Text::from("digest")),
        auth: Some(bytes::Bytes::from_static(b"super:test")),
    }))?;
    ensure!(client.reply()?.header.err == 0, "not taken for super");
    Ok(())
}

fn list(client: &mut RawClient, path: &str) -> anyhow::Result<Vec<Acl>> {
    let path = Some(Text::from(path));
    let reply = ask(client, &Request::GetAcl(PathRequest { path }))?;
    Ok(AclReply::read(&mut Reader::new(&reply.body))?.acl)
}

fn contains(directory: &Path, text: &[u8]) -> bool {
    let Ok(files) = fs::read_dir(directory) else {
        return false;
    };
    files.filter_map(Result::ok).any(|file| {
        // Files come and go while the server runs.
        let bytes = fs::read(file.path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

/// Digests that a Java server found to be wrong, as its log tells. It does so without zabd's doing while or after it took a
/// snapshot of a Java leader, if it followed no other since: that is of no one moment, and it compares at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mismatches {
    is_of_java: bool,
    is_snapshot: bool,
    explained: usize,
    unexplained: Vec<String>,
    read_bytes: usize,
}

impl Mismatches {
    /// Reads what the log has beyond that of the last time; all of it stems from a time when these ports were those of
    /// Java leaders.
    pub fn read_on(&mut self, log: &str, java_leaders: &[&str]) {
        let unread = log.get(self.read_bytes..).unwrap_or_default();
        let whole = unread.rfind('\n').map_or(0, |end| end + 1);
        self.read_bytes += whole;
        for line in unread[..whole].lines() {
            if let Some((_, address)) = line.split_once("connected to leader, using address: /") {
                self.is_of_java = java_leaders.contains(&address.trim());
                self.is_snapshot = false;
            } else if line.contains("Getting a snapshot from leader") {
                self.is_snapshot = true;
            } else if line.contains(FIRST_MISMATCH) {
                if self.is_of_java && self.is_snapshot {
                    self.explained += 1;
                } else {
                    self.unexplained.push(line.to_owned());
                }
            }
        }
    }

    /// Those that a snapshot of a Java leader does not explain, as they stand in the log.
    #[must_use]
    pub fn unexplained(&self) -> &[String] {
        &self.unexplained
    }

    fn are_all_explained(&self) -> bool {
        self.explained > 0 && self.unexplained.is_empty()
    }
}

const FIRST_MISMATCH: &str = "First digest mismatch on txn";

/// Lines with one of the words, but without any of the others.
fn complaints(log: &str, words: &[&str], harmless: &[&str]) -> Vec<String> {
    let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let lines = log.lines();
    lines
        .filter(|line| has(line, words) && !has(line, harmless))
        .map(str::to_owned)
        .collect()
}

const ZABD_COMPLAINTS: &[&str] = &[" ERROR ", "panicked", "diverge"];

const APACHE_COMPLAINTS: &[&str] = &[
    " ERROR ",
    "Exception",
    "igest mismatch",
    "Severe",
    "Committing zxid",
];

/// What Java servers write when others go away, come back, or when a client asks for what is not there.
const APACHE_HARMLESS: &[&str] = &[
    "ZooKeeperServer not running",
    "EOFException",
    "InterruptedException",
    "ConnectException",
    "SocketException",
    "SocketTimeoutException",
    "Exception when following the leader",
    "Exception when observing the leader",
    "Unexpected exception in LearnerHandler",
    "Exception while shutting down acceptor",
    "Failed to send last message. Shutting down thread.",
    "Error sending data synchronously",
    "AsynchronousCloseException",
    "CancelledKeyException",
    "Exception when using channel",
    // It has led an epoch, or been led in one, without a transaction.
    "Unhandled scenario for peer",
    // An observer was led in such an epoch, and comes before a quorum does.
    "Follower is ahead of the leader",
    "changes proposed in reconfig",
    // Its election is begun anew while it connects to somebody.
    "Exception while submitting quorum connection request",
    // The leader is cut off from it, or gone.
    "connectToLeader exceeded",
    "retries exceeded. tries=",
    "Failed connect to",
    "RejectedExecutionException",
    // A client's request for a leader that is gone: the follower begins anew.
    "Severe unrecoverable error, from thread : FollowerRequestProcessor",
    "Severe unrecoverable error, from thread : ObserverRequestProcessor",
    "Exception while sending packets in LearnerHandler",
    // A session comes back before its old connection is gone.
    "InstanceAlreadyExistsException",
];

/// What old ones do whoever leads.
const OLD_APACHE_HARMLESS: &[&str] = &[
    "Failed to register MBean InMemoryDataTree",
    // ZOOKEEPER-4394: a commit comes after it has acknowledged NEWLEADER and before UPTODATE. It joins anew.
    r#"Cannot read field "hdr" because "pif" is null"#,
];

/// The same where it takes two lines.
const OLD_APACHE_PAIRS: &[[&str; 2]] = &[
    // ZOOKEEPER-4409: it has left its leader while it acknowledges what it has logged.
    [
        "Severe unrecoverable error, from thread : SyncThread",
        r#"because "this.learner.sock" is null"#,
    ],
];

/// Takes out the lines of which one and the next are harmless together.
fn drop_old_apache_pairs(complaints: &mut Vec<String>) {
    let is_pair = |lines: &[String]| {
        let mut pairs = OLD_APACHE_PAIRS.iter();
        pairs.any(|pair| {
            lines
                .iter()
                .zip(pair)
                .all(|(line, word)| line.contains(word))
        })
    };
    while let Some(at) = complaints.windows(2).position(is_pair) {
        complaints.drain(at..at + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_in_two_lines_is_not_in_one() {
        let [thread, sock] = OLD_APACHE_PAIRS[0];
        for (lines, left) in [
            (vec![thread, sock], vec![]),
            (vec![thread], vec![thread]),
            (vec![sock, thread], vec![sock, thread]),
            (
                vec![thread, sock, "other", thread, sock, thread],
                vec!["other", thread],
            ),
        ] {
            let mut complaints = lines.iter().map(ToString::to_string).collect();
            drop_old_apache_pairs(&mut complaints);
            assert_eq!(complaints, left, "{lines:?}");
        }
    }

    #[test]
    fn only_digests_behind_a_java_leaders_snapshot_are_explained() {
        let to = |port| format!("Successfully connected to leader, using address: /h:{port}");
        let (java, zabd) = (to(1), to(2));
        let (snapshot, diff) = ("Getting a snapshot from leader", "Getting a diff");
        let wrong = format!("ERROR {FIRST_MISMATCH}: 1");
        for (lines, explained) in [
            (vec![java.as_str(), snapshot, &wrong], true),
            (vec![&java, snapshot, &java, diff], false),
            (vec![&java, snapshot, &java, diff, &wrong], false),
            (vec![&zabd, snapshot, &wrong], false),
            (
                vec![&java, snapshot, &wrong, &zabd, snapshot, &wrong],
                false,
            ),
            (vec![&wrong], false),
        ] {
            let log = lines.join("\n") + "\n";
            let mut mismatches = Mismatches::default();
            mismatches.read_on(&log, &["h:1"]);
            assert_eq!(mismatches.are_all_explained(), explained, "{log}");
            // The same bit by bit, while it is written.
            let mut read = Mismatches::default();
            for end in 0..=log.len() {
                read.read_on(&log[..end], &["h:1"]);
            }
            assert_eq!(read, mismatches, "{log}");
        }
    }
}
