//! Servers of all kinds are killed and paused while clients write: no acknowledged write is lost, and in the end all have the
//! same.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use zabd_tests::ensemble::{SYNC_LIMIT, TICK_MS};
use zabd_tests::mixed::Mixed;
use zabd_tests::servers::Setup;
use zabd_tests::writers::{Random, Writers};

use crate::{count_of, each, on};

#[test]
fn what_is_acknowledged_stays_whatever_is_done_to_servers() {
    each(&["JZZJ", "ZJJZ"], |letters| {
        let seed = count_of("ZABD_MIXED_SEED", std::process::id() as usize) as u64;
        let rounds = count_of("ZABD_MIXED_ROUNDS", 4);
        eprintln!("{letters}: ZABD_MIXED_SEED={seed} ZABD_MIXED_ROUNDS={rounds}");
        on(Mixed::start(letters, 3, Setup::default())?, |mixed| {
            let mut random = Random(seed);
            let writers = Writers::start(3, mixed.book(), seed);
            // Their sessions and first nodes are to be there before anything is done.
            let hurt = writers.wait_for(50).and_then(|()| {
                (0..rounds).try_for_each(|round| {
                    hurt(mixed, &mut random, &writers).with_context(|| format!("round {round}"))
                })
            });
            let served = hurt.and_then(|()| mixed.wait_until_all_serve());
            let writers = writers.finish()?;
            served?;
            // Before their sessions expire.
            let tree = mixed.same_tree()?;
            for writer in &writers {
                writer.check(&tree)?;
            }
            mixed.check().map(drop)
        })
    });
}

/// One round: something is done to one or two servers, and taken back.
fn hurt(mixed: &mut Mixed, random: &mut Random, writers: &Writers) -> anyhow::Result<()> {
    let victim = match random.below(3) {
        0 => mixed.await_leader(&[0, 1, 2])?,
        _ => random.below(mixed.all().len()),
    };
    let what = random.below(4);
    eprintln!(
        "{} {} (server {})",
        ["kill", "kill for long", "pause", "kill all"][what],
        mixed.server(victim).implementation().name(),
        victim + 1
    );
    match what {
        0 => {
            mixed.kill(victim)?;
            mixed.spawn(victim)?;
        }
        1 => {
            mixed.kill(victim)?;
            writers.wait_for(100)?;
            mixed.spawn(victim)?;
        }
        2 => {
            mixed.server(victim).pause()?;
            sleep(Duration::from_millis((SYNC_LIMIT + 1) * TICK_MS));
            mixed.server(victim).resume()?;
        }
        _ => {
            for number in mixed.all() {
                mixed.kill(number)?;
            }
            for number in mixed.all() {
                mixed.spawn(number)?;
            }
        }
    }
    writers.wait_for(50)?;
    mixed.wait_until_all_serve()
}
