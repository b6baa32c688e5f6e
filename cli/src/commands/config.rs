//! Commands about the ensemble's membership.

use std::fs;

use jute_codec::proto::ReconfigRequest;
use jute_codec::{Stat, Text};

use super::read::text_of;
use super::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{FlagSet, switch, valued};
use crate::format::stat::stat_block;
use crate::handle::Watch;
use crate::output::{Doc, fields};
use crate::shell::Shell;

pub(super) const CONFIG: Command = Command {
    name: "config",
    syntax: "[-c] [-w] [-s]",
    flags: FlagSet::free(&[
        switch("s", "stats"),
        switch("w", "watch"),
        switch("c", "client connection string"),
    ]),
    explains_flags: false,
    run: config,
};

pub(super) const RECONFIG: Command = Command {
    name: "reconfig",
    syntax: "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
             [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
    flags: FlagSet::free(&[
        switch("s", "stats"),
        valued("v", "required current config version"),
        valued("file", "path of config file to parse for membership"),
        valued(
            "members",
            "comma-separated list of config strings for non-incremental reconfig",
        ),
        valued(
            "add",
            "comma-separated list of config strings for new servers",
        ),
        valued("remove", "comma-separated list of server IDs to remove"),
    ]),
    explains_flags: false,
    run: reconfig,
};

fn config(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let reply = shell.zk.config(Watch::when(arguments.has("w")))?;
    let text = text_of(reply.data.as_ref());
    if !shell.is_text() {
        return emit_config(shell, &text, &reply.stat);
    }
    if arguments.has("c") {
        shell.say(client_addresses(&text))?;
    } else {
        shell.say(text)?;
    }
    if arguments.has("s") {
        shell.say(stat_block(&reply.stat))?;
    }
    Ok(())
}

/// The members by their keys, such as `server.1`, and the version.
fn emit_config(shell: &mut Shell<'_>, config: &str, stat: &Stat) -> Result<(), Failure> {
    let settings = config.lines().filter_map(|line| line.split_once('='));
    let (mut members, mut version) = (Vec::new(), Doc::Null);
    for (key, value) in settings {
        match key.trim() {
            "version" => version = Doc::text(value.trim()),
            key => members.push(Doc::Map(vec![
                ("key", Doc::text(key)),
                ("value", Doc::text(value.trim())),
            ])),
        }
    }
    shell.emit(Doc::Map(vec![
        ("version", version),
        ("members", Doc::List(members)),
        ("stat", fields::stat(stat)),
    ]))
}

/// The version and where clients connect, such as `100000000 a:2181,b:2181`, servers in the order of the text.
fn client_addresses(config: &str) -> String {
    let mut version = "";
    let mut addresses = Vec::new();
    for line in config.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        match key.trim() {
            "version" => version = value.trim(),
            key if key.starts_with("server.") => {
                let client = value
                    .split_once(';')
                    .map_or("", |(_, client)| client.trim());
                addresses.push(if client.is_empty() || client.contains(':') {
                    client.to_owned()
                } else {
                    format!("0.0.0.0:{client}")
                });
            }
            _ => {}
        }
    }
    format!("{version} {}", addresses.join(","))
}

fn reconfig(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let [file, members, add, remove] =
        ["file", "members", "add", "remove"].map(|flag| arguments.value(flag));
    let (whole, parts) = (file.or(members).is_some(), add.or(remove).is_some());
    if !whole && !parts {
        return Err(Failure::Usage(RECONFIG.usage()));
    }
    let current_config_id = match arguments.value("v") {
        None => -1,
        Some(version) => i64::from_str_radix(version, 16)
            .map_err(|_| Failure::usage("-v must be followed by a long (configuration version)"))?,
    };
    if whole && parts {
        return Err(Failure::usage(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes \
             is not allowed)",
        ));
    }
    if file.and(members).is_some() {
        return Err(Failure::usage(
            "Can't use -file and -members together (conflicting non-incremental modes)",
        ));
    }
    let lower = |value: Option<&str>| value.map(|value| Text::from(value.to_lowercase()));
    let new_members = match file {
        None => lower(members),
        Some(path) => Some(members_in_file(path)?.into()),
    };
    let reply = shell.zk.reconfigure(ReconfigRequest {
        joining_servers: lower(add),
        leaving_servers: lower(remove),
        new_members,
        current_config_id,
    })?;
    let config = text_of(reply.data.as_ref());
    if !shell.is_text() {
        return emit_config(shell, &config, &reply.stat);
    }
    shell.say(format_args!("Committed new configuration:\n{config}"))?;
    if arguments.has("s") {
        shell.say(stat_block(&reply.stat))?;
    }
    Ok(())
}

/// The settings of a membership file, one a line. Whether they make sense is the leader's to check.
fn members_in_file(path: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let error = error.to_string();
        let reason = error.split(" (os error").next().unwrap_or_default();
        // The name twice, as there.
        Failure::usage(format!("Error processing {path}{path} ({reason})"))
    })?;
    let settings: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .collect();
    Ok(settings.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_addresses_come_with_the_version() {
        let config = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer;2182\n\
                      server.3=c:2888:3888\nversion=100000000";
        assert_eq!(
            client_addresses(config),
            "100000000 0.0.0.0:2181,0.0.0.0:2182,"
        );
        assert_eq!(client_addresses(""), " ");
    }
}
