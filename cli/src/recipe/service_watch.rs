//! `zab service watch`: who serves, and each change of that, over as many sessions as it takes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::sleep;
use zab::Client;
use zab::naming::{Directory, Follower, Instance, Listing, NamingError};

use super::child::{self, Ending, Orders, Signals};
use super::lock::close;
use super::service::{self, document, documents, line};
use super::service_options::Watch;
use super::{RecipeError, Site, exit};
use crate::output::{Doc, Documents, Format};

/// The pause before servers are looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// More than this of endpoints is not put into the environment.
const ENDPOINTS_BYTES_MAX: usize = 100_000;

/// A command that is to end has this long.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn watch(
    site: &Site,
    root: &str,
    options: &Watch,
    format: Format,
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let mut signals = Signals::catch()?;
    let mut client = tokio::select! {
        client = site.connect() => client?,
        signal = signals.next() => return Ok(exit::of_signal(signal)),
    };
    let mut teller = Teller {
        options,
        format,
        told: None,
    };
    loop {
        let followed = teller.follow(&client, root, &mut signals, out).await;
        let error = match followed {
            Ok(code) => {
                close(&client).await;
                return Ok(code);
            }
            Err(RecipeError::Naming(NamingError::Session(error))) if error.ends_session() => error,
            Err(error) => {
                close(&client).await;
                return Err(error);
            }
        };
        eprintln!(
            "zab: {}: {error}; going on with another session",
            options.service
        );
        client = loop {
            let client = tokio::select! {
                client = site.connect() => client,
                signal = signals.next() => return Ok(exit::of_signal(signal)),
            };
            match client {
                Ok(client) => break client,
                Err(error) => eprintln!("zab: {}: {error}; trying again", options.service),
            }
            sleep(RETRY_PAUSE).await;
        };
    }
}

struct Teller<'a> {
    options: &'a Watch,
    format: Format,
    /// What was told last.
    told: Option<Listing>,
}

impl Teller<'_> {
    /// As long as one session lives, or until a signal says otherwise; then its exit code.
    async fn follow(
        &mut self,
        client: &Client,
        root: &str,
        signals: &mut Signals,
        out: &mut dyn Write,
    ) -> Result<u8, RecipeError> {
        let directory = Directory::new(client, root)?;
        let (service, quiet) = (&self.options.service, self.options.debounce);
        let mut follower = tokio::select! {
            follower = Follower::new(&directory, service, quiet) => follower?,
            signal = signals.next() => return Ok(exit::of_signal(signal)),
        };
        loop {
            let listing = tokio::select! {
                listing = follower.next() => listing?,
                signal = signals.next() => return Ok(exit::of_signal(signal)),
            };
            // After a new session it may be what was told before.
            if self.told.as_ref() == Some(&listing) {
                continue;
            }
            let is_first = self.told.is_none();
            let before = self.told.replace(listing.clone()).unwrap_or_default();
            self.warn(root, &before, &listing);
            if before.instances == listing.instances && !is_first {
                continue;
            }
            if self.options.command.is_empty() {
                self.tell(&before, &listing, out)?;
            } else if let Some(code) = self.run(&listing, signals).await? {
                return Ok(code);
            }
        }
    }

    /// Of nodes that are no instances, once each.
    fn warn(&self, root: &str, before: &Listing, now: &Listing) {
        let known = &before.unreadable;
        let news = now.unreadable.iter().filter(|node| !known.contains(node));
        service::warn(root, &self.options.service, news);
    }

    fn tell(&self, before: &Listing, now: &Listing, out: &mut dyn Write) -> io::Result<()> {
        if self.format == Format::Text {
            for (sign, instance) in changes(&before.instances, &now.instances) {
                writeln!(out, "{sign} {}", line(instance))?;
            }
        } else {
            let mut printed = documents(self.format);
            self.print(&mut printed, now, out)?;
        }
        out.flush()
    }

    fn print(&self, printed: &mut Documents, now: &Listing, out: &mut dyn Write) -> io::Result<()> {
        let all = now.instances.iter().map(document);
        match self.format {
            Format::Table => {
                for instance in all {
                    printed.take(instance, out)?;
                }
                printed.finish(out)?;
                writeln!(out)
            }
            _ => {
                let doc = Doc::Map(vec![
                    ("service", Doc::text(&self.options.service)),
                    ("instances", Doc::List(all.collect())),
                ]);
                if self.format == Format::Yaml {
                    writeln!(out, "---")?;
                }
                printed.take(doc, out)
            }
        }
    }

    /// Runs the command to its end; the exit code if a signal has come meanwhile.
    async fn run(
        &self,
        listing: &Listing,
        signals: &mut Signals,
    ) -> Result<Option<u8>, RecipeError> {
        let usable = listing.instances.iter().filter(|one| one.is_usable());
        let endpoints: Vec<_> = usable.filter_map(Instance::endpoint).collect();
        let environment = [
            ("ZAB_SERVICE", self.options.service.clone()),
            ("ZAB_COUNT", endpoints.len().to_string()),
            ("ZAB_ENDPOINTS", endpoints.join(" ")),
        ];
        // The system takes no longer values; standard input has all of it.
        let fits = environment[2].1.len() <= ENDPOINTS_BYTES_MAX;
        let environment = if fits {
            &environment[..]
        } else {
            &environment[..2]
        };
        let all = Doc::List(listing.instances.iter().map(document).collect());
        let input = Some(format!("{}\n", all.to_json()).into_bytes());
        let orders = Orders {
            signal: rustix::process::Signal::TERM,
            grace: GRACE,
        };
        let command = &self.options.command;
        let never = std::future::pending::<()>();
        let ending = child::run_fed(command, environment, input, orders, signals, never).await?;
        if let Some(signal) = signals.last() {
            return Ok(Some(exit::of_signal(signal)));
        }
        if let Ending::Exited(status) = ending
            && !status.success()
        {
            let program = command.first().map_or("", String::as_str);
            eprintln!("zab: {program}: {status}");
        }
        Ok(None)
    }
}

/// What came, changed and went, in the order of ids.
fn changes<'a>(before: &'a [Instance], now: &'a [Instance]) -> Vec<(char, &'a Instance)> {
    let mut changes = BTreeMap::new();
    for instance in before {
        changes.insert(&instance.id, ('-', instance));
    }
    for instance in now {
        let sign = match changes.remove(&instance.id) {
            Some((_, before)) if before == instance => continue,
            Some(_) => '~',
            None => '+',
        };
        changes.insert(&instance.id, (sign, instance));
    }
    changes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let one = |id: &str, weight| Instance {
            weight,
            ..Instance::new("web", id, None)
        };
        let before = [one("a", 1), one("b", 1), one("c", 1)];
        let now = [one("b", 1), one("c", 2), one("d", 1)];
        let told: Vec<_> = changes(&before, &now)
            .into_iter()
            .map(|(sign, instance)| format!("{sign}{}", instance.id))
            .collect();
        assert_eq!(told, ["-a", "~c", "+d"]);
        assert!(changes(&now, &now).is_empty());
    }
}
