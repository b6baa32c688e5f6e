//! `zab elect`: a command as the leader of a group.

use std::io::Write;

use clap::Parser;
use zab::recipes::lock::{Lock, holder_and_waiting};

use super::child::{self, Ending, Signals};
use super::lock::{Held, Wait, close, identity, under, wait_for};
use super::{RecipeError, Site, exit, options};

pub(super) async fn elect(
    site: &Site,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Elect::try_parse_from(words)?;
    zab::path::validate(&options.path)?;
    if options.who {
        return who(site, &options.path, out).await;
    }
    let mut signals = Signals::catch()?;
    loop {
        let wait = wait_for(site, None, &mut signals, async |client| {
            let identity = identity(&options.running);
            let leadership = Lock::leadership(client, &options.path)?.with_identity(&identity);
            Ok(Some(Held::Lock(leadership.acquire().await?)))
        });
        let (client, held) = match wait.await? {
            Wait::Over(client, held) => (client, held),
            Wait::InVain(client) => {
                close(&client).await;
                return Ok(exit::NOT_OBTAINED);
            }
            Wait::Told(client, signal) => {
                close(&client).await;
                return Ok(exit::of_signal(signal));
            }
        };
        let run = under(&options.path, &options.running, &options.command, &held);
        let end = run.go(&mut signals).await;
        close(&client).await;
        match end? {
            Ending::Exited(status) => return Ok(child::exit_code(status)),
            Ending::Lost(error) => {
                eprintln!("zab: the leadership of {} was lost: {error}", options.path);
                if !options.again {
                    return Ok(exit::LOST);
                }
            }
        }
    }
}

async fn who(site: &Site, path: &str, out: &mut dyn Write) -> Result<u8, RecipeError> {
    let mut signals = Signals::catch()?;
    let client = site.session(&mut signals).await?;
    let line = signals
        .over(async { Ok(holder_and_waiting(&client, path).await?) })
        .await;
    close(&client).await;
    match line?.first() {
        Some(leader) => {
            writeln!(out, "{leader}")?;
            Ok(0)
        }
        None => Ok(exit::NOT_OBTAINED),
    }
}
