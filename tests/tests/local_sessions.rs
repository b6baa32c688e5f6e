//! Sessions that only their server knows, in ensembles of real processes: the same story, word by word, by zabd, by Apache
//! ZooKeeper, and by ensembles of both, whoever leads. What has Apache ZooKeeper in it is left out, with a word about why, where
//! that cannot be run; fails then if `CI` is set. `ZABD_MIXED=OOOO,ZOOZ` has it told by these alone, by the letters of
//! [`zabd_tests::mixed::kinds`], and `ZABD_MIXED=all` by each with either release.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::proto::{ConnectResponse, CreateFlags, MultiOp, MultiOps, PathRequest, Request};
use zabd_tests::ensemble::{Ensemble, create_request};
use zabd_tests::mixed::{chosen, kinds, unavailable};
use zabd_tests::raw::{RawClient, Received, connect_request, four_letter_word};
use zabd_tests::servers::Setup;

const TIMEOUT_MS: i32 = 15_000;

const PATIENCE: Duration = Duration::from_secs(5);

/// What a client does at the leader, a follower and an observer, and what comes of it.
struct Story {
    ensemble: Ensemble,
    told: String,
}

impl Story {
    /// By servers of these kinds ([`kinds`]), the last of which observes.
    fn of(letters: &str, upgrading: bool) -> anyhow::Result<String> {
        let setup = Setup::default()
            .key("localSessionsEnabled", "true")
            .key("localSessionsUpgradingEnabled", &upgrading.to_string())
            .property("zookeeper.4lw.commands.whitelist", "*");
        let mut story = Self {
            ensemble: Ensemble::start_of(&kinds(letters), 3, setup)?,
            told: String::new(),
        };
        story.tell().with_context(|| story.ensemble.last_words())?;
        Ok(story.told)
    }

    fn tell(&mut self) -> anyhow::Result<()> {
        let modes: Vec<String> = (0..4)
            .map(|number| self.mode(number))
            .collect::<Result<_, _>>()?;
        for place in ["leader", "follower", "observer"] {
            let at = modes.iter().position(|mode| mode == place);
            let at = at.with_context(|| format!("no {place} among {modes:?}"))?;
            let elsewhere = (at + 1) % 3;
            writeln!(self.told, "at the {place}")?;
            self.client(place, at, elsewhere)?;
        }
        Ok(())
    }

    fn word(&self, number: usize, word: &[u8]) -> anyhow::Result<String> {
        let address = self.ensemble.server(number).address();
        let answer = four_letter_word(address, word, PATIENCE)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn mode(&self, number: usize) -> anyhow::Result<String> {
        let answer = self.word(number, b"srvr")?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
        Ok(mode.context("no mode")?.to_owned())
    }

    fn client(&mut self, place: &str, at: usize, elsewhere: usize) -> anyhow::Result<()> {
        let address = self.ensemble.server(at).address();
        let (mut client, session) = RawClient::connect(address, TIMEOUT_MS)?;
        let path = |name: &str| format!("/{place}-{name}");
        let ephemeral = CreateFlags::Ephemeral as i32;
        let container = |flags| match create_request(&path("c"), "", flags) {
            Request::Create(create) => Request::CreateContainer(create),
            other => other,
        };
        let sync = Request::Sync(PathRequest {
            path: Some("/".into()),
        });
        let multi = |names: [&str; 2], flags| {
            let [first, second] = names.map(path);
            let parts = [
                create_request(&first, "", 0),
                create_request(&second, "", flags),
            ];
            let parts = parts.into_iter().filter_map(|part| match part {
                Request::Create(create) => Some(MultiOp::Create(create)),
                _ => None,
            });
            Request::Multi(MultiOps(parts.collect()))
        };
        // So that there is a newest transaction.
        client.request(&create_request(&path("first"), "", 0))?;
        let requests = [
            ("sync", sync.clone()),
            ("create", create_request(&path("p"), "", 0)),
            ("container", container(CreateFlags::Container as i32)),
            ("ephemeral container", container(ephemeral)),
            ("multi", multi(["m", "m/p"], 0)),
            ("multi with an ephemeral", multi(["m2", "m2-e"], ephemeral)),
            ("ephemeral", create_request(&path("e"), "", ephemeral)),
            ("ephemeral again", create_request(&path("e"), "", ephemeral)),
            ("sync", sync),
        ];
        let mut before = None;
        for (what, request) in requests {
            let reply = client.request(&request).with_context(|| what.to_owned())?;
            let (zxid, err) = (reply.header.zxid, reply.header.err);
            let taken = before.map_or(0, |before: Zxid| zxid.0 - before.0);
            before = Some(zxid);
            let body = if matches!(request, Request::Multi(_)) && err == 0 {
                codes(&reply.body)
            } else {
                String::new()
            };
            writeln!(self.told, "  {what}: {err}, {taken} zxids{body}")?;
        }
        self.whereabouts(at, &session)?;
        self.come_back("elsewhere", elsewhere, &session)?;
        // Whoever has it there loses it, wherever it came back.
        drop(client);
        let Some(mut client) = self.come_back("here", at, &session)? else {
            return Ok(());
        };
        client.send(&Request::CloseSession)?;
        let reply = client.reply()?;
        let zxid = before.map_or(0, |before| reply.header.zxid.0 - before.0);
        let closes = client.receive(std::time::Instant::now() + PATIENCE)?;
        let closes = matches!(closes, Received::Closed(_));
        writeln!(
            self.told,
            "  close: {}, {zxid} zxids, closes {closes}",
            reply.header.err
        )?;
        drop(self.come_back("after its end", at, &session)?);
        self.whereabouts(at, &session)
    }

    /// Comes back with the session, and reads if it may.
    fn come_back(
        &mut self,
        what: &str,
        at: usize,
        session: &ConnectResponse,
    ) -> anyhow::Result<Option<RawClient>> {
        let mut request = connect_request(TIMEOUT_MS);
        request.session = session.session;
        request.password = Some(Bytes::copy_from_slice(&session.password));
        let mut client = RawClient::open(self.ensemble.server(at).address())?;
        let response = client.handshake(&request)?;
        let is_same = response.session == session.session;
        ensure!(is_same == (response.timeout_ms > 0), "{response:?}");
        writeln!(self.told, "  comes back {what}: {is_same}")?;
        Ok(is_same.then_some(client))
    }

    /// Under which titles of `dump` the session stands.
    fn whereabouts(&mut self, at: usize, session: &ConnectResponse) -> anyhow::Result<()> {
        let dump = self.word(at, b"dump")?;
        let mut title = "";
        for line in dump
            .lines()
            .take_while(|line| !line.starts_with("Connections dump"))
        {
            if line.contains('(') {
                // How many there are in all is a matter of time.
                title = line.split('(').next().unwrap_or_default().trim_end();
                if line.contains("ocal") || line.contains("lobal") {
                    writeln!(self.told, "  {title}")?;
                }
            } else if line.contains(&format!("0x{:x}", session.session.0)) {
                writeln!(self.told, "    in {title}")?;
            }
        }
        let mntr = self.word(at, b"mntr")?;
        let name = "zk_ephemerals_count\t";
        let value = mntr.lines().find_map(|line| line.strip_prefix(name));
        writeln!(self.told, "  {} ephemerals", value.unwrap_or("?"))?;
        let has_locals = mntr
            .lines()
            .any(|line| line.starts_with("zk_local_sessions\t"));
        ensure!(has_locals, "no zk_local_sessions: {mntr}");
        Ok(())
    }
}

/// The codes of the parts of a multi, by the headers and bodies that failures have.
fn codes(body: &Bytes) -> String {
    let error_type = (-1i32).to_be_bytes();
    let errors = body
        .windows(13)
        .filter(|window| window[..4] == error_type && window[4] == 0);
    let mut text = String::new();
    for error in errors {
        let code: [u8; 4] = error[9..13].try_into().expect("four bytes");
        text.push_str(&format!(", {}", i32::from_be_bytes(code)));
    }
    text
}

fn same_story(upgrading: bool, expected: &str) {
    // Of both kinds one leads the others: of servers that have nothing that with the highest id.
    for letters in &chosen(&["ZZZZ", "JJJJ", "ZJJZ", "JZZJ", "ZOOZ"]) {
        if let Some(why) = unavailable(letters) {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("without {letters}: {why}");
            continue;
        }
        let told = Story::of(letters, upgrading);
        let told = told.unwrap_or_else(|problem| panic!("{letters}: {problem:?}"));
        assert_eq!(told, expected, "{letters} tell: {told}");
    }
}

/// The story at all places: what stands between `{leader|learner}` differs.
fn at_all_places(story: &str) -> String {
    let mut all = String::new();
    for (place, take) in [("leader", 0), ("follower", 1), ("observer", 1)] {
        writeln!(all, "at the {place}").expect("a String takes all that is written to it");
        let mut rest = story;
        while let Some((before, (choice, behind))) = rest
            .split_once('{')
            .and_then(|(before, behind)| Some((before, behind.split_once('}')?)))
        {
            all.push_str(before);
            all.push_str(choice.split('|').nth(take).unwrap_or_default());
            rest = behind;
        }
        all.push_str(rest);
    }
    all
}

#[test]
fn local_sessions_that_stay_local() {
    let story = "  sync: 0, 0 zxids
  create: 0, 1 zxids
  container: 0, 1 zxids
  ephemeral container: -112, 1 zxids
  multi: 0, 1 zxids
  multi with an ephemeral: 0, 1 zxids, 0, {-120|-112}
  ephemeral: -120, 1 zxids
  ephemeral again: -120, 1 zxids
  sync: 0, 0 zxids
  Local Session Sets
    in Local Session Sets
  Global Session{ Set|}s
  0 ephemerals
  comes back elsewhere: false
  comes back here: true
  close: 0, 0 zxids, closes true
  comes back after its end: false
  Local Session Sets
  Global Session{ Set|}s
  0 ephemerals
";
    same_story(false, &at_all_places(story));
}

#[test]
fn local_sessions_that_are_upgraded() {
    let story = "  sync: 0, 0 zxids
  create: 0, 1 zxids
  container: 0, 1 zxids
  ephemeral container: -112, 1 zxids
  multi: 0, 1 zxids
  multi with an ephemeral: 0, 2 zxids
  ephemeral: 0, 1 zxids
  ephemeral again: -110, 1 zxids
  sync: 0, 0 zxids
  Local Session Sets
  Global Session{ Set|}s
    in Global Session{ Set|}s
    in Sessions with Ephemerals
  2 ephemerals
  comes back elsewhere: true
  comes back here: true
  close: 0, 1 zxids, closes true
  comes back after its end: false
  Local Session Sets
  Global Session{ Set|}s
  0 ephemerals
";
    same_story(true, &at_all_places(story));
}
