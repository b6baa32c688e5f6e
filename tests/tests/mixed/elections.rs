//! Who is elected: whatever the kinds of the servers, those that an ensemble of Java servers alone elects.

use anyhow::{Context, ensure};
use zabd_tests::ensemble::{ask, create_request};
use zabd_tests::mixed::Mixed;
use zabd_tests::servers::Setup;

use crate::{each, on};

/// What happens to the servers, who are counted from 1 here, and who leads then.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start(&'static [usize]),
    Kill(&'static [usize]),
    /// Through any server that serves.
    Write,
    Leads(usize),
}

use Step::{Kill, Leads, Start, Write};

/// An ensemble of Java servers alone is the first that this is true of.
const STEPS: &[Step] = &[
    Start(&[1, 2]),
    Leads(2),
    // Who leads goes on, whoever comes.
    Start(&[3]),
    Leads(2),
    // It stands at the beginning of the epoch that it has led, though nothing was written.
    Kill(&[1, 3]),
    Start(&[1]),
    Leads(2),
    Start(&[3]),
    Leads(2),
    Kill(&[2]),
    Leads(3),
    Write,
    Kill(&[1, 3]),
    Start(&[2, 1]),
    Leads(1),
    Start(&[3]),
    Leads(1),
    Write,
    // With the same history, the highest id.
    Kill(&[1, 2, 3]),
    Start(&[1, 3]),
    Leads(3),
    Start(&[2, 4]),
    Leads(3),
    Kill(&[3]),
    Leads(2),
    Write,
    Start(&[3]),
    Leads(2),
];

#[test]
fn the_same_servers_are_elected_whatever_their_kinds() {
    each(&["JZZJ", "ZOOZ"], |letters| {
        on(Mixed::prepare(letters, 3, Setup::default())?, |mixed| {
            for (number, step) in STEPS.iter().enumerate() {
                take(mixed, *step).with_context(|| format!("step {number}, {step:?}"))?;
            }
            mixed.wait_until_all_serve()?;
            mixed.check().map(drop)
        })
    });
}

fn take(mixed: &mut Mixed, step: Step) -> anyhow::Result<()> {
    match step {
        Start(servers) => servers
            .iter()
            .try_for_each(|server| mixed.spawn(server - 1)),
        Kill(servers) => servers.iter().try_for_each(|server| mixed.kill(server - 1)),
        Write => {
            let leader = mixed.await_leader(&[0, 1, 2])?;
            let mut client = mixed.client(leader)?;
            ask(&mut client, &create_request("/w", "", 2)).map(drop)
        }
        Leads(server) => {
            let voters = [0, 1, 2].into_iter();
            let up: Vec<usize> = voters
                .filter(|number| mixed.server(*number).process_id().is_some())
                .collect();
            let leader = mixed.await_followed(&up)? + 1;
            ensure!(leader == server, "server {leader} leads");
            Ok(())
        }
    }
}
