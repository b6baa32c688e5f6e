//! `zab service`: instances of services, registered, listed, watched and chosen among.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant as Moment, timeout_at};
use zab::Client;
use zab::naming::{
    Directory, Follower, Instance, Listing, NamingError, Policy, Unreadable, Wish, choose, dice,
    in_order, printable,
};

use super::child::Signals;
use super::lock::close;
use super::service_options::{self as options, Action, Resolve};
use super::service_state::{State, default_path};
use super::{RecipeError, Site, exit, service_register, service_watch};
use crate::format::date::iso;
use crate::output::{Doc, Documents, Format};

/// Who waits for an instance is told of it as soon as it is there.
const WAITING_QUIET: Duration = Duration::from_millis(10);

/// More nodes that are no instances than this are counted, not named.
const WARNINGS_MAX: usize = 20;

pub(super) async fn service(
    site: &Site,
    format: Option<Format>,
    words: &[String],
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let options = options::Service::try_parse_from(words)?;
    zab::path::validate(&options.root)?;
    let root = options.root.as_str();
    let format = options.output.or(format).unwrap_or_default();
    match &options.action {
        Action::Register(register) => service_register::register(site, root, register).await,
        Action::Watch(watch) => service_watch::watch(site, root, watch, format, out).await,
        Action::List { service } => {
            let mut signals = Signals::catch()?;
            let client = site.session(&mut signals).await?;
            let listed = list(&client, root, service.as_deref(), format, out);
            let done = signals.over(listed).await;
            close(&client).await;
            done.map(|()| 0)
        }
        Action::Resolve(wish) => {
            let mut signals = Signals::catch()?;
            let client = tokio::select! {
                client = site.connect() => client?,
                signal = signals.next() => return Ok(exit::of_signal(signal)),
            };
            let done = tokio::select! {
                done = resolve(&client, root, wish, format, out) => done,
                signal = signals.next() => Ok(exit::of_signal(signal)),
            };
            close(&client).await;
            done
        }
    }
}

async fn list(
    client: &Client,
    root: &str,
    service: Option<&str>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), RecipeError> {
    let directory = Directory::new(client, root)?;
    let mut printed = documents(format);
    let Some(service) = service else {
        for name in directory.services().await? {
            if format == Format::Text {
                writeln!(out, "{}", printable(&name))?;
                continue;
            }
            let listing = directory.instances(&name).await?;
            let usable = listing.instances.iter().filter(|one| one.is_usable());
            let doc = Doc::Map(vec![
                ("name", Doc::text(&name)),
                ("instances", Doc::count(listing.instances.len())),
                ("usable", Doc::count(usable.count())),
                ("unreadable", Doc::count(listing.unreadable.len())),
            ]);
            printed.take(doc, out)?;
        }
        return Ok(printed.finish(out)?);
    };
    let listing = directory.instances(service).await?;
    warn(root, service, listing.unreadable.iter());
    for instance in &listing.instances {
        if format == Format::Text {
            writeln!(out, "{}", line(instance))?;
        } else {
            printed.take(document(instance), out)?;
        }
    }
    Ok(printed.finish(out)?)
}

async fn resolve(
    client: &Client,
    root: &str,
    wish: &Resolve,
    format: Format,
    out: &mut dyn Write,
) -> Result<u8, RecipeError> {
    let directory = Directory::new(client, root)?;
    let mut listing = directory.instances(&wish.service).await?;
    if matching(&listing, wish).is_empty()
        && let Some(patience) = wish.wait
    {
        listing = wait(&directory, wish, patience).await?.unwrap_or(listing);
    }
    warn(root, &wish.service, listing.unreadable.iter());
    let candidates = matching(&listing, wish);
    let chosen = chosen(root, wish, &candidates)?;
    let mut printed = documents(format);
    for instance in &chosen {
        if format == Format::Text {
            writeln!(out, "{}", printable(&wish.format.build(instance)))?;
        } else {
            printed.take(document(instance), out)?;
        }
    }
    printed.finish(out)?;
    if chosen.is_empty() {
        let all = listing.instances.len();
        let fitting = wanted(&listing, wish).len();
        eprintln!(
            "zab: {}: no instance can be used; {all} registered, {fitting} of them with the tags and version wanted",
            wish.service
        );
        return Ok(exit::NOT_OBTAINED);
    }
    Ok(0)
}

/// Those with the tags and the version that are wanted, whether they can be used or not.
fn wanted(listing: &Listing, wish: &Resolve) -> Vec<Instance> {
    let fits = |one: &&Instance| {
        wish.tags.iter().all(|tag| one.tags.contains(tag))
            && (wish.version.is_none() || one.version == wish.version)
    };
    listing.instances.iter().filter(fits).cloned().collect()
}

/// Those that can be used.
fn matching(listing: &Listing, wish: &Resolve) -> Vec<Instance> {
    let mut all = wanted(listing, wish);
    all.retain(Instance::is_usable);
    all
}

async fn wait(
    directory: &Directory,
    wish: &Resolve,
    patience: Duration,
) -> Result<Option<Listing>, NamingError> {
    let end = Moment::now() + patience;
    let mut follower = Follower::new(directory, &wish.service, WAITING_QUIET).await?;
    loop {
        match timeout_at(end, follower.next()).await {
            Ok(listing) => {
                let listing = listing?;
                if !matching(&listing, wish).is_empty() {
                    return Ok(Some(listing));
                }
            }
            Err(_) => return Ok(None),
        }
    }
}

fn chosen<'a>(
    root: &str,
    wish: &Resolve,
    candidates: &'a [Instance],
) -> Result<Vec<&'a Instance>, RecipeError> {
    let policy = wish.policy.policy();
    let state = match policy {
        Policy::RoundRobin | Policy::Sticky => Some(State::open(&match &wish.state {
            Some(path) => path.clone(),
            None => default_path(&state_parts(root, wish))?,
        })?),
        _ => None,
    };
    let asked = Wish {
        policy,
        key: wish.key.as_deref().unwrap_or_default(),
        last: state.as_ref().and_then(State::last),
        dice: dice(),
    };
    let chosen = if wish.all {
        in_order(candidates, &asked)
    } else {
        choose(candidates, &asked).into_iter().collect()
    };
    if let (Some(state), Some(first)) = (state, chosen.first()) {
        state.keep(&first.id)?;
    }
    Ok(chosen)
}

/// What makes a choice another one.
fn state_parts<'a>(root: &'a str, wish: &'a Resolve) -> Vec<&'a str> {
    let policy = match wish.policy.policy() {
        Policy::RoundRobin => "round-robin",
        _ => "sticky",
    };
    let mut parts = vec![root, wish.service.as_str(), policy];
    parts.push(wish.key.as_deref().unwrap_or_default());
    parts.push(wish.version.as_deref().unwrap_or_default());
    parts.extend(wish.tags.iter().map(String::as_str));
    parts
}

pub(super) fn documents(format: Format) -> Documents {
    Documents::new(format, io::stdout().is_terminal())
}

/// Tells of nodes that are no instances.
pub(super) fn warn<'a>(
    root: &str,
    service: &str,
    nodes: impl Iterator<Item = &'a (String, Unreadable)>,
) {
    let mut more = 0_usize;
    for (at, (id, reason)) in nodes.enumerate() {
        if at < WARNINGS_MAX {
            let node = zab::path::join(&zab::path::join(root, service), id);
            let words = format!("{node} is no instance and passed over: {reason}");
            eprintln!("zab: {}", printable(&words));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        eprintln!(
            "zab: {more} more nodes of {} are no instances",
            printable(service)
        );
    }
}

/// An instance in a line: id, address and port, and what is not as usual.
pub(super) fn line(instance: &Instance) -> String {
    let mut line = printable(&instance.id);
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            line.push_str(&format!("\t{name}{}", printable(value)));
        }
    };
    add("", &instance.endpoint().unwrap_or_else(|| "-".to_owned()));
    add("weight=", &instance.weight.to_string());
    add("version=", instance.version.as_deref().unwrap_or_default());
    add("tags=", &instance.tags.join(","));
    let metadata = instance.metadata.iter();
    let pairs: Vec<_> = metadata
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    add("meta=", &pairs.join(","));
    if !instance.enabled {
        add("", "disabled");
    }
    line
}

/// An instance for programs.
pub(super) fn document(instance: &Instance) -> Doc {
    let text = |text: &Option<String>| text.as_ref().map_or(Doc::Null, Doc::text);
    let port = |port: Option<u16>| port.map_or(Doc::Null, |port| Doc::Int(port.into()));
    let metadata = instance.metadata.iter();
    Doc::Map(vec![
        ("id", Doc::text(&instance.id)),
        ("address", text(&instance.address)),
        ("port", port(instance.port)),
        ("sslPort", port(instance.ssl_port)),
        ("weight", Doc::count(instance.weight)),
        ("version", text(&instance.version)),
        ("tags", Doc::texts(&instance.tags)),
        (
            "metadata",
            Doc::Object(
                metadata
                    .map(|(name, value)| (name.clone(), Doc::text(value)))
                    .collect(),
            ),
        ),
        ("enabled", Doc::Bool(instance.enabled)),
        ("registered", Doc::text(iso(instance.registered_ms))),
        ("type", Doc::text(instance.service_type.name())),
        ("uri", text(&instance.uri())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_one_line_whatever_is_in_them() {
        let mut instance = Instance::new("web", "a", Some("h".to_owned()));
        assert_eq!(line(&instance), "a\th\tweight=100");
        instance.port = Some(80);
        instance.version = Some("2\n\u{1b}[2J".to_owned());
        instance.tags = vec!["x".to_owned(), "y".to_owned()];
        instance.metadata = [("k".to_owned(), "v".to_owned())].into();
        instance.enabled = false;
        assert_eq!(
            line(&instance),
            "a\th:80\tweight=100\tversion=2\\n\\u{1b}[2J\ttags=x,y\tmeta=k=v\tdisabled"
        );
    }
}
