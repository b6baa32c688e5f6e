//! Histories made from a seed: a few sessions, few paths, every operation, one global order.
//!
//! A history is a case like those in the files. Each step is sent and awaited before the next, so both servers see one
//! order of everything; only within one connection are requests pipelined. What an Apache ZooKeeper server itself
//! answers differently from run to run is left out: a change of an access control list or of the ids of a connection
//! with requests pipelined behind it, and anything that depends on time.

use std::env;
use std::time::{Duration, Instant};

use zabd_tests::servers::{Implementation, Setup};

use crate::compare::{
    Verdict, compare, contestants, first_difference, play_both, reference_is_here, show,
};
use crate::script::{Case, parse_step};

/// The seeds of a run that names none.
const SEEDS: [u64; 8] = [1, 2, 3, 5, 8, 13, 21, 34];
const STEPS: usize = 250;
/// How long to look for a shorter history that still shows a difference.
const SHRINKING: Duration = Duration::from_secs(60);

const CONNECTIONS: [&str; 4] = ["a", "b", "c", "d"];
const PATHS: [&str; 12] = [
    "/r",
    "/r/a",
    "/r/b",
    "/r/c",
    "/r/a/x",
    "/r/a/y",
    "/r/b/x",
    "/r/a/x/1",
    "/r/s-0000000000",
    "/r/s-0000000003",
    "/s",
    "/",
];
const ODD_PATHS: [&str; 8] = [
    "",
    "r",
    "/r/",
    "//r",
    "/r/../a",
    "/r/\\x01",
    "/zookeeper",
    "/zookeeper/config",
];
const ACLS: [&str; 8] = [
    "open",
    "open",
    "open",
    "readonly",
    "creator",
    "15:world:anyone",
    "31:digest:u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=,1:world:anyone",
    "30:ip:127.0.0.0/8",
];

#[test]
fn random_histories() {
    if !reference_is_here("random_histories") {
        return;
    }
    let number = |name: &str| {
        let text = env::var(name).ok()?;
        Some(
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} is a number")),
        )
    };
    let seeds = number("ZABD_DIFF_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let steps = number("ZABD_DIFF_STEPS").map_or(STEPS, |steps| {
        usize::try_from(steps).expect("a number of steps fits")
    });
    for seed in seeds {
        let profile = Profile::of(seed);
        let history = history(seed, steps);
        let Some(difference) = difference(profile, &history) else {
            println!("random: same: seed {seed}, {steps} steps");
            continue;
        };
        let short = shrink(profile, difference);
        panic!(
            "seed {seed}: the servers differ; the shortest history found is\n\ncase random {seed}\n{}\n\n{}\n\
             repeat the whole with: ZABD_DIFF_SEED={seed} ZABD_DIFF_STEPS={steps} \
             cargo test -p zabd-tests --test differential random",
            short.lines.join("\n"),
            short.report,
        );
    }
}

/// What a history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Everything but quotas.
    Pipelines,
    /// Quotas, enforced. Java counts what is applied, so nothing is pipelined here.
    Quotas,
}

impl Profile {
    /// Every third history is about quotas.
    fn of(seed: u64) -> Self {
        if seed.is_multiple_of(3) {
            Self::Quotas
        } else {
            Self::Pipelines
        }
    }

    fn setup(self) -> Setup {
        // Long ticks: no session ends by itself.
        let setup = Setup::default().key("tickTime", "10000");
        match self {
            Self::Pipelines => setup,
            Self::Quotas => setup.property("zookeeper.enforceQuota", "true"),
        }
    }
}

struct Difference {
    /// The history up to the first step that differs.
    lines: Vec<String>,
    report: String,
}

/// Plays a history on two fresh servers.
fn difference(profile: Profile, lines: &[String]) -> Option<Difference> {
    let case = Case {
        name: "random".into(),
        zabd_only: false,
        steps: lines
            .iter()
            .map(|line| parse_step(line).expect("a well-formed step was made"))
            .collect(),
    };
    let setup = profile.setup();
    let servers: [Implementation; 2] = contestants();
    let mut played =
        play_both(&setup, std::slice::from_ref(&case), servers).expect("both servers run");
    let (expected, actual) = played.pop().expect("one case was played");
    show(&case, &actual);
    let first = match (&expected, &actual) {
        (Some(Ok(expected)), Some(Ok(actual))) => first_difference(expected, actual)?,
        _ => lines.len() - 1,
    };
    match compare(&case, expected, actual, servers[1]) {
        Verdict::Differs(report) => Some(Difference {
            lines: lines[..=first].to_vec(),
            report,
        }),
        Verdict::Same | Verdict::NotPlayed => None,
    }
}

/// Leaves out steps as long as a difference remains.
fn shrink(profile: Profile, found: Difference) -> Difference {
    let began = Instant::now();
    let Some(mut best) = difference(profile, &found.lines) else {
        return Difference {
            report: format!(
                "(it did not show again, so it depends on timing)\n{}",
                found.report
            ),
            ..found
        };
    };
    let mut size = best.lines.len() / 2;
    while size > 0 && began.elapsed() < SHRINKING {
        let mut at = 0;
        while at < best.lines.len() && began.elapsed() < SHRINKING {
            let mut shorter = best.lines.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            match difference(profile, &shorter) {
                Some(found) if !shorter.is_empty() => best = found,
                _ => at += size,
            }
        }
        size /= 2;
    }
    best
}

/// A small generator of random numbers (SplitMix64): the same numbers for the same seed, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("limits are small");
        usize::try_from(self.next() % limit).expect("less than the limit")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

fn history(seed: u64, steps: usize) -> Vec<String> {
    let mut random = Random(seed);
    let mut lines = Vec::new();
    for conn in CONNECTIONS {
        lines.push(format!("{conn} connect timeout=200000"));
    }
    lines.push("a create /r \"\" open 0".into());
    lines.push("b create /r/a one open 0".into());
    let profile = Profile::of(seed);
    while lines.len() < steps {
        if profile == Profile::Quotas && random.one_in(4) {
            let conn = random.pick(&CONNECTIONS);
            lines.push(format!("{conn} {}", quota_operation(&mut random)));
        } else {
            step(&mut random, profile, &mut lines);
        }
    }
    lines
}

/// Quotas on three nodes, one of them below another.
fn quota_operation(random: &mut Random) -> String {
    let node = random.pick(&["/r", "/r/a", "/s"]);
    let text = format!(
        "count={},bytes={}=;byteHardLimit={};countHardLimit={}",
        limit(random, 4),
        limit(random, 9),
        limit(random, 500),
        limit(random, 6),
    );
    let (limits, stats) = (
        format!("/zookeeper/quota{node}/zookeeper_limits"),
        format!("/zookeeper/quota{node}/zookeeper_stats"),
    );
    match random.below(12) {
        0..=1 => format!("create /zookeeper/quota{node} \"\" open 0"),
        2..=3 => format!("create {limits} {text} open 0"),
        4 => format!("setData {limits} {text} -1"),
        5..=6 => format!("create {stats} count=0,bytes=0 open 0"),
        7 => format!(
            "delete {} -1",
            if random.one_in(2) { limits } else { stats }
        ),
        8 => format!("getChildren2 /zookeeper/quota{node} 1"),
        _ => format!("getData {stats} 1"),
    }
}

fn limit(random: &mut Random, most: usize) -> i64 {
    if random.one_in(2) {
        return -1;
    }
    i64::try_from(random.below(most)).expect("small")
}

fn step(random: &mut Random, profile: Profile, lines: &mut Vec<String>) {
    let conn = random.pick(&CONNECTIONS);
    match random.below(100) {
        0..=69 if profile == Profile::Quotas => {
            lines.push(format!("{conn} {}", operation(random)));
        }
        0..=54 => lines.push(format!("{conn} {}", operation(random))),
        55..=69 => {
            for _ in 0..=random.below(5) {
                lines.push(format!("{conn}& {}", operation(random)));
            }
            if random.one_in(12) {
                lines.push(format!("{conn} closeSession unordered"));
                lines.push(format!("{conn} connect timeout=200000"));
            } else {
                lines.push(format!("{conn} {}", operation(random)));
            }
        }
        70..=77 => lines.push(format!("{conn} {}", watch_operation(random))),
        78..=82 => {
            let vectors = 3 + 2 * random.below(2);
            let lists: Vec<String> = (0..vectors).map(|_| list(random)).collect();
            let name = if vectors == 3 {
                "setWatches"
            } else {
                "setWatches2"
            };
            let back = random.below(60);
            lines.push(format!("{conn} {name} +{back} {}", lists.join(" ")));
        }
        83..=86 => {
            let (path, acl) = (path(random), random.pick(&ACLS));
            let version = version(random);
            lines.push(format!("{conn} setACL {path} {acl} {version}"));
        }
        87..=89 => {
            let id = random.pick(&["u:p", "v:q", "w:r"]);
            lines.push(format!("{conn} auth digest {id}"));
        }
        90..=92 => {
            lines.push(format!("{conn} closeSession unordered"));
            lines.push(format!("{conn} connect timeout=200000"));
        }
        93..=94 => {
            lines.push(format!("{conn} drop"));
            lines.push(format!("{conn} connect session={conn} timeout=200000"));
        }
        95 => {
            // One connection takes another's session over; the other starts anew.
            let other = random.pick(&CONNECTIONS);
            if other != conn {
                lines.push(format!("{conn} closeSession unordered"));
                lines.push(format!("{conn} connect session={other} timeout=200000"));
                lines.push(format!("{other} connect timeout=200000"));
            }
        }
        96 => lines.push(format!("e connect session={conn} password=bad")),
        97 => {
            let cut = 1 + random.below(6);
            lines.push(format!("{conn} {} cut={cut}", single(random)));
        }
        _ => {
            let odd = random.pick(&ODD_PATHS);
            let odd = if odd.is_empty() { "\"\"" } else { odd };
            let operation = match random.below(6) {
                0 => format!("create {odd} x open {}", random.below(4)),
                1 => format!("delete {odd} -1"),
                2 => format!("setData {odd} x 5"),
                3 => format!("exists {odd} 1"),
                4 => format!("getChildren2 {odd} 1"),
                _ => format!("getACL {odd}"),
            };
            lines.push(format!("{conn} {operation}"));
        }
    }
}

/// An operation that may stand in a pipeline.
fn operation(random: &mut Random) -> String {
    match random.below(20) {
        0..=2 => {
            let parts: Vec<String> = (0..random.below(5)).map(|_| part(random)).collect();
            format!("multi {}", parts.join(" ; "))
        }
        3 => {
            let parts: Vec<String> = (0..random.below(4))
                .map(|_| {
                    let name = random.pick(&["getData", "getChildren"]);
                    format!("{name} {} 1", path(random))
                })
                .collect();
            format!("multiRead {}", parts.join(" ; "))
        }
        4 => random
            .pick(&[
                "ping",
                "whoAmI",
                "sync /r",
                "getEphemerals /r",
                "getEphemerals null",
            ])
            .into(),
        5 => watch_operation(random),
        _ => single(random),
    }
}

fn single(random: &mut Random) -> String {
    match random.below(16) {
        0..=5 => create(random),
        6 => format!("delete {} {}", path(random), version(random)),
        7..=9 => format!(
            "setData {} {} {}",
            path(random),
            data(random),
            version(random)
        ),
        10 => format!("getData {} {}", path(random), random.below(2)),
        11 => format!("exists {} {}", path(random), random.below(2)),
        12 => format!("getChildren2 {} {}", path(random), random.below(2)),
        13 => format!("getChildren {} {}", path(random), random.below(2)),
        14 => format!("getACL {}", path(random)),
        _ => format!("getAllChildrenNumber {}", path(random)),
    }
}

fn create(random: &mut Random) -> String {
    let name = random.pick(&[
        "create",
        "create",
        "create2",
        "createContainer",
        "createTTL",
    ]);
    let flags = match random.below(40) {
        0 => 5,
        1 => 7,
        2..=4 => 4,
        _ => random.below(4),
    };
    // Until it is applied, Java takes a container made with the flags of an ephemeral node for one: requests behind it
    // in a pipeline see that, or do not, depending on when they come.
    let flags = if name == "createContainer" {
        flags & !1
    } else {
        flags
    };
    let path = if matches!(flags, 2 | 3) {
        random.pick(&["/r/s-", "/r/a/s-", "/r/", "/s-"])
    } else {
        path(random)
    };
    let acl = if random.one_in(4) {
        random.pick(&ACLS)
    } else {
        "open"
    };
    let data = data(random);
    // A TTL with other flags stops a Java server if it is negative.
    let ttl = if name == "createTTL" { " 1000000" } else { "" };
    format!("{name} {path} {data} {acl} {flags}{ttl}")
}

fn part(random: &mut Random) -> String {
    match random.below(8) {
        0..=2 => create(random),
        3 => format!("delete {} {}", path(random), version(random)),
        4..=5 => format!(
            "setData {} {} {}",
            path(random),
            data(random),
            version(random)
        ),
        _ => format!("check {} {}", path(random), version(random)),
    }
}

fn watch_operation(random: &mut Random) -> String {
    let path = path(random);
    match random.below(7) {
        0 => format!("addWatch {path} {}", random.below(2)),
        1 => format!("removeWatches {path} {}", random.below(7)),
        2 => format!("checkWatches {path} {}", 1 + random.below(5)),
        3 => format!("getData {path} 1"),
        4 => format!("exists {path} 1"),
        _ => format!("getChildren {path} 1"),
    }
}

fn path(random: &mut Random) -> &'static str {
    // The shallow paths first and more often: more happens where parents exist.
    let limit = if random.one_in(3) { PATHS.len() } else { 7 };
    PATHS[random.below(limit)]
}

fn data(random: &mut Random) -> &'static str {
    random.pick(&["null", "\"\"", "x", "data", "fill:200"])
}

fn version(random: &mut Random) -> i64 {
    match random.below(8) {
        0..=4 => -1,
        5 => 0,
        6 => 1,
        _ => i64::try_from(random.below(5)).expect("small") - 2,
    }
}

fn list(random: &mut Random) -> String {
    let paths: Vec<&str> = (0..random.below(3)).map(|_| path(random)).collect();
    format!("[{}]", paths.join(","))
}
