//! Callers on the ports between servers who are no servers, or slow ones: they cost themselves, and nobody else.
//!
//! | environment | effect |
//! |---|---|
//! | `ZABD_BIN` | the binary to test, in place of that of this build |

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use jute_codec::Text;
use jute_codec::proto::{Request, SetDataRequest};
use zabd_tests::ensemble::{Ensemble, ask, create_request};
use zabd_tests::raw::{RawClient, four_letter_word};
use zabd_tests::servers::{Implementation, Setup};

fn on_ensemble(case: impl FnOnce(&mut Ensemble) -> anyhow::Result<()>) {
    let setup = Setup::default().key("4lw.commands.whitelist", "*");
    let mut ensemble =
        Ensemble::start_of(&[Implementation::Zabd; 3], 3, setup).expect("an ensemble starts");
    if let Err(problem) = case(&mut ensemble) {
        panic!("{problem:?}\n{}", ensemble.last_words());
    }
}

/// What a caller says, and whether it ends its half of the connection then.
const CALLS: &[(&[u8], bool)] = &[
    (b"", false),
    (b"", true),
    (b"G", false),
    (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", false),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", false),
    // The protocol's number on the election port, then a length of the caller's address that cannot be.
    (b"\xff\xff\xff\xff\xff\xff\x00\x00", true),
    (
        b"\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x7f\xff\xff\xff",
        false,
    ),
    (
        b"\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff\xff\xfe",
        false,
    ),
    // The beginning of FOLLOWERINFO on the quorum port, and one with a length that cannot be.
    (b"\x00\x00\x00\x0b\x00\x00\x00\x00", false),
    (
        b"\x00\x00\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
        false,
    ),
    (
        b"\x00\x00\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00",
        true,
    ),
];

/// Callers to each port, all of which stay for as long as they are let.
const FLOOD: usize = 150;
/// Different names among them: of each, one caller stays on each election port.
const STRANGERS: usize = 4;
/// More than that a server does not need for callers who say nothing sensible.
const ROOM: u64 = 48 << 20;

#[test]
fn floods_and_nonsense_cost_nobody_else_anything() {
    on_ensemble(|ensemble| {
        let leader = ensemble.leader()?;
        let mut client = ensemble.client(leader)?;
        ask(&mut client, &create_request("/n", "", 0))?;
        let before = all_memory(ensemble)?;
        let mut callers = Vec::new();
        for address in peer_addresses(ensemble)? {
            for number in 0..FLOOD {
                let (bytes, ends) = CALLS[number % CALLS.len()];
                // Followers do not listen on their quorum port.
                let Ok(mut caller) = TcpStream::connect(address) else {
                    break;
                };
                caller.write_all(bytes).ok();
                if ends {
                    caller.shutdown(Shutdown::Write).ok();
                }
                callers.push(caller);
            }
            set(&mut client, "/n").with_context(|| format!("while {address} is flooded"))?;
        }
        ensure!(callers.len() >= 4 * FLOOD, "{} callers", callers.len());
        trickle(ensemble, &mut client)?;
        for (number, (before, now)) in before.iter().zip(all_memory(ensemble)?).enumerate() {
            let more = now.saturating_sub(*before);
            ensure!(
                more < ROOM,
                "server {} has taken {more} bytes more",
                number + 1
            );
        }
        // A server that comes back gets through between them.
        let follower = ensemble.followers()?[0];
        ensemble.kill(follower)?;
        set(&mut client, "/n")?;
        ensemble.spawn(follower)?;
        ensemble.wait_until_serving(&[follower])?;
        ensure!(ensemble.leader()? == leader, "the leader is another");
        // Nobody stays for ever who does not say who it is. On an election port eight bytes are a name; of strangers with
        // one, few may stay.
        let until = Instant::now() + Duration::from_secs(30);
        let mut kept = 0;
        for caller in &mut callers {
            kept += usize::from(!is_closed(caller, until)?);
        }
        ensure!(kept <= 3 * STRANGERS, "{kept} callers are kept");
        ensemble.same_tree().map(drop)
    });
}

/// One byte after the other keeps nobody's place for ever.
fn trickle(ensemble: &Ensemble, client: &mut RawClient) -> anyhow::Result<()> {
    let mut slow: Vec<TcpStream> = peer_addresses(ensemble)?
        .into_iter()
        .filter_map(|address| TcpStream::connect(address).ok())
        .collect();
    let until = Instant::now() + Duration::from_secs(40);
    while !slow.is_empty() {
        ensure!(Instant::now() < until, "{} are kept", slow.len());
        slow.retain_mut(|caller| caller.write_all(b"\0").is_ok());
        set(client, "/n").context("among slow callers")?;
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A follower that takes nothing is dropped, and holds up neither memory nor writes; then it is brought up to date.
#[test]
fn a_follower_that_does_not_read_is_dropped() {
    on_ensemble(|ensemble| {
        let (leader, stuck) = (ensemble.leader()?, ensemble.followers()?[0]);
        let mut client = ensemble.client(leader)?;
        ask(&mut client, &create_request("/big", "", 0))?;
        set_big(&mut client)?;
        let before = memory(ensemble, leader)?;
        ensemble.server(stuck).pause()?;
        let outcome = (|| {
            let mut most = 0;
            for _ in 0..100 {
                for _ in 0..10 {
                    set_big(&mut client)?;
                }
                most = memory(ensemble, leader)?.max(most);
                if synced_followers(ensemble, leader)? == 1 {
                    return Ok(most);
                }
            }
            bail!("500 MB were sent, and the follower is still there")
        })();
        ensemble.server(stuck).resume()?;
        let more = outcome?.saturating_sub(before);
        // What may wait for a learner is 256 MiB; the rest is what the leader keeps for all, and its store.
        ensure!(more < 400 << 20, "the leader has taken {more} bytes more");
        ensemble.wait_until_all_serve()?;
        ensure!(ensemble.leader()? == leader, "the leader is another");
        ensemble.same_tree().map(drop)
    });
}

fn set(client: &mut RawClient, path: &str) -> anyhow::Result<()> {
    set_data(client, path, Bytes::from_static(b"small"))
}

fn set_big(client: &mut RawClient) -> anyhow::Result<()> {
    set_data(client, "/big", Bytes::from(vec![7; 500 << 10]))
}

fn set_data(client: &mut RawClient, path: &str, data: Bytes) -> anyhow::Result<()> {
    let request = Request::SetData(SetDataRequest {
        path: Some(Text::from(path)),
        data: Some(data),
        version: -1,
    });
    ask(client, &request).map(drop)
}

/// Quorum ports and election ports of all servers.
fn peer_addresses(ensemble: &Ensemble) -> anyhow::Result<Vec<SocketAddr>> {
    let data_dir = ensemble.server(0).data_dir();
    let config = fs::read_to_string(data_dir.with_file_name("zoo.cfg"))?;
    let mut addresses = Vec::new();
    for line in config.lines().filter(|line| line.starts_with("server.")) {
        for port in line.split(':').skip(1) {
            addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)));
        }
    }
    ensure!(addresses.len() == 6, "{addresses:?}");
    Ok(addresses)
}

fn is_closed(caller: &mut TcpStream, until: Instant) -> anyhow::Result<bool> {
    caller.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut bytes = [0; 4096];
    loop {
        match caller.read(&mut bytes) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() > until {
                    return Ok(false);
                }
            }
            Err(_) => return Ok(true),
        }
    }
}

fn all_memory(ensemble: &Ensemble) -> anyhow::Result<Vec<u64>> {
    ensemble
        .all()
        .into_iter()
        .map(|number| memory(ensemble, number))
        .collect()
}

fn synced_followers(ensemble: &Ensemble, leader: usize) -> anyhow::Result<u32> {
    let address = ensemble.server(leader).address();
    let mntr = four_letter_word(address, b"mntr", Duration::from_secs(10))?;
    let mntr = std::str::from_utf8(&mntr)?;
    let line = mntr
        .lines()
        .find_map(|line| line.strip_prefix("zk_synced_followers\t"));
    Ok(line.context("zk_synced_followers")?.parse()?)
}

/// What a server has in memory, in bytes.
fn memory(ensemble: &Ensemble, number: usize) -> anyhow::Result<u64> {
    let process = ensemble.server(number).process_id().context("it runs")?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line
        .and_then(|line| line.split_whitespace().next())
        .context("its size")?;
    Ok(kb.parse::<u64>()? << 10)
}
