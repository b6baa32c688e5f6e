//! Leaders whose digests are those of no other server.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use zabd_tests::ensemble::{ask, create_request};
use zabd_tests::mixed::{Mixed, PATIENCE};
use zabd_tests::servers::Setup;

use crate::{each, on};

/// A JVM counts names outside of ASCII by its default charset. Nothing is wrong with the tree: the leader is followed.
#[test]
fn a_leader_that_counts_otherwise_is_followed() {
    each(&["JZJ"], |letters| {
        // A word that zabd passes over.
        let setup = Setup::default().property("file.encoding", "US-ASCII");
        on(Mixed::prepare(letters, 3, setup)?, |mixed| {
            mixed.revive_leader(2)?;
            let mut client = mixed.client(2)?;
            ask(&mut client, &create_request("/\u{fc}", "", 0))?;
            let until = Instant::now() + PATIENCE;
            while !mixed.server(1).log().contains("it counts otherwise") {
                // Clients' sessions are transactions, too.
                mixed.client(2)?;
                ensure!(Instant::now() < until, "nothing is said of it");
                sleep(Duration::from_millis(200));
            }
            mixed.wait_until_all_serve()?;
            for number in 0..20 {
                ask(&mut client, &create_request(&format!("/{number}"), "", 0))?;
            }
            let leader = mixed.await_leader(&[0, 1, 2])?;
            ensure!(leader == 2, "server {} leads", leader + 1);
            mixed.same_tree().map(drop)
        })
    });
}
