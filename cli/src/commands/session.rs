//! Commands about the session and this program.

use bytes::Bytes;
use jute_codec::proto::ClientInfo;

use super::{Arguments, Command};
use crate::failure::Failure;
use crate::flags::{Choice, FlagSet};
use crate::output::Doc;
use crate::shell::Shell;

pub(super) const ADD_AUTH: Command = Command {
    name: "addauth",
    syntax: "scheme auth",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: add_auth,
};

pub(super) const SYNC: Command = Command {
    name: "sync",
    syntax: "path",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: sync,
};

pub(super) const VERSION: Command = Command {
    name: "version",
    syntax: "",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: version,
};

pub(super) const WHO_AM_I: Command = Command {
    name: "whoami",
    syntax: "",
    flags: FlagSet {
        flags: &[],
        choice: Choice::NotParsed,
    },
    explains_flags: false,
    run: who_am_i,
};

/// The release of ZooKeeper whose commands these are.
const ZOOKEEPER: &str = "3.9.5";

/// Which program this is, and whose protocol and commands it speaks.
pub(crate) const VERSION_LINE: &str = concat!(
    "ZooKeeper CLI version: 3.9.5, zab ",
    env!("CARGO_PKG_VERSION")
);

/// A refused credential is an event, not an error, as in the Java shell.
fn add_auth(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let scheme = arguments.required(0)?;
    let secret = arguments
        .positional(1)
        .map(|secret| Bytes::copy_from_slice(secret.as_bytes()));
    match shell.zk.add_auth(scheme, secret) {
        Err(Failure::Server { .. }) => Ok(()),
        result => result,
    }
}

fn sync(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let code = shell.zk.sync(path)?;
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            ("code", Doc::Int(code.into())),
        ]));
    }
    match code {
        0 => shell.say("Sync is OK"),
        code => shell.say(format_args!("Sync has failed. rc={code}")),
    }
}

fn version(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    if arguments.positional(0).is_some() {
        return Err(Failure::Usage(VERSION.usage()));
    }
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("zab", Doc::text(env!("CARGO_PKG_VERSION"))),
            ("zookeeper", Doc::text(ZOOKEEPER)),
        ]));
    }
    shell.say(VERSION_LINE)
}

fn who_am_i(shell: &mut Shell<'_>, _: &mut Arguments) -> Result<(), Failure> {
    let identities = shell.zk.who_am_i()?;
    if !shell.is_text() {
        let identity = |identity: &ClientInfo| {
            Doc::Map(vec![
                (
                    "scheme",
                    Doc::text(identity.auth_scheme.as_deref().unwrap_or("")),
                ),
                ("user", Doc::text(identity.user.as_deref().unwrap_or(""))),
            ])
        };
        return shell.emit(Doc::List(identities.iter().map(identity).collect()));
    }
    shell.say("Auth scheme: User")?;
    for identity in &identities {
        let [scheme, user] = [&identity.auth_scheme, &identity.user]
            .map(|text| text.as_deref().unwrap_or("null").to_owned());
        shell.say(format_args!("{scheme}: {user}"))?;
    }
    Ok(())
}
