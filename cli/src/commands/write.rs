//! Commands that change nodes.

use bytes::Bytes;
use jute_codec::proto::CreateFlags;
use jute_codec::{Acl, ErrorCode, Stat};

use super::{Arguments, Command, value};
use crate::failure::Failure;
use crate::flags::{FlagSet, switch, valued};
use crate::format::acl::{ParsedAcl, parse_acl};
use crate::format::stat::stat_block;
use crate::handle::{NewNode, Watch};
use crate::output::{Doc, fields};
use crate::shell::Shell;

/// The longest time to live that a node can have, in milliseconds.
const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// Nodes that deleteall takes into one transaction unless told otherwise.
const DELETE_BATCH: usize = 1000;

/// Bytes of paths in one transaction of deleteall, well below what a server takes in a frame.
const DELETE_BATCH_BYTES: usize = 512 << 10;

pub(super) const CREATE: Command = Command {
    name: "create",
    syntax: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
    flags: FlagSet::free(&[
        switch("e", "ephemeral"),
        switch("s", "sequential"),
        switch("c", "container"),
        valued("t", "ttl"),
        value::IN_HEX,
        value::IN_BASE64,
        value::IN_JSON,
        value::IN_FILE,
    ]),
    explains_flags: false,
    run: create,
};

pub(super) const DELETE: Command = Command {
    name: "delete",
    syntax: "[-v version] path",
    flags: FlagSet::free(&[valued("v", "version")]),
    explains_flags: false,
    run: delete,
};

pub(super) const DELETE_ALL: Command = Command {
    name: "deleteall",
    syntax: "path [-b batch size]",
    flags: FlagSet::free(&[valued("b", "batch size")]),
    explains_flags: false,
    run: delete_all,
};

pub(super) const SET: Command = Command {
    name: "set",
    syntax: "path data [-s] [-v version] [-b]",
    flags: FlagSet::free(&[
        switch("s", "Print znode stats additionally"),
        valued("v", "Set with an expected version"),
        switch("b", "Supply data in base64 format"),
        value::IN_HEX,
        value::IN_JSON,
        value::IN_FILE,
    ]),
    explains_flags: true,
    run: set,
};

pub(super) const SET_ACL: Command = Command {
    name: "setAcl",
    syntax: "[-s] [-v version] [-R] path acl",
    flags: FlagSet::free(&[
        switch("s", "stats"),
        valued("v", "version"),
        switch("R", "recursive"),
    ]),
    explains_flags: false,
    run: set_acl,
};

fn create(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let (flags, ttl_ms) = kind_of_node(arguments)?;
    let (data, words) = value::input(arguments)?;
    let bytes = data.as_ref().map_or(0, Bytes::len);
    let node = NewNode {
        data,
        acl: match arguments.positional(1 + words) {
            None => vec![Acl::open()],
            Some(text) => read_acl(shell, text)?,
        },
        flags,
        ttl_ms,
    };
    match shell.zk.create(path, node) {
        Ok(path) if !shell.is_text() => {
            shell.emit(Doc::Map(vec![("path", Doc::text(path.as_str()))]))
        }
        Ok(path) => shell.complain(format_args!("Created {path}")),
        Err(failure) => {
            if failure.is_code(ErrorCode::InvalidAcl) {
                shell.complain(failure.keeper_message())?;
            } else if failure.is_code(ErrorCode::EphemeralOnLocalSession) {
                shell.complain("Unable to create ephemeral node on a local session")?;
            }
            Err(value::explain(failure, bytes))
        }
    }
}

/// The kind that the options of `create` ask for, and the time to live or 0.
fn kind_of_node(arguments: &Arguments) -> Result<(CreateFlags, i64), Failure> {
    let [ephemeral, sequential, container] = ["e", "s", "c"].map(|flag| arguments.has(flag));
    if container && (ephemeral || sequential) {
        return Err(Failure::usage(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    let Some(ttl) = arguments.value("t") else {
        let flags = match (ephemeral, sequential) {
            (true, true) => CreateFlags::EphemeralSequential,
            (true, false) => CreateFlags::Ephemeral,
            (false, true) => CreateFlags::PersistentSequential,
            (false, false) if container => CreateFlags::Container,
            (false, false) => CreateFlags::Persistent,
        };
        return Ok((flags, 0));
    };
    let ttl_ms = ttl
        .parse()
        .map_err(|_| Failure::usage("-t argument must be a long value"))?;
    if ephemeral {
        return Err(Failure::usage("TTLs cannot be used with Ephemeral znodes"));
    }
    if container {
        return Err(Failure::usage("TTLs cannot be used with Container znodes"));
    }
    if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Err(Failure::usage(format!(
            "ttl must be positive and cannot be larger than: {TTL_MS_MAX}"
        )));
    }
    let flags = if sequential {
        CreateFlags::PersistentSequentialWithTtl
    } else {
        CreateFlags::PersistentWithTtl
    };
    Ok((flags, ttl_ms))
}

fn delete(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    if arguments.positional(1).is_some() {
        shell.complain(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.",
        )?;
    }
    shell.zk.delete(path, arguments.version()?)
}

fn delete_all(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let batch: i32 = match arguments.value("b") {
        None => i32::try_from(DELETE_BATCH).unwrap_or(i32::MAX),
        Some(batch) => batch
            .parse()
            .map_err(|_| Failure::usage("-b argument must be an int value"))?,
    };
    let mut paths = shell.list_breadth_first(path)?;
    // Children before their parents.
    paths.reverse();
    let Some(batch) = usize::try_from(batch).ok().filter(|batch| *batch > 0) else {
        return paths.iter().try_for_each(|path| shell.zk.delete(path, -1));
    };
    for batch in batches(&paths, batch) {
        if !shell.zk.delete_together(batch)? {
            return shell.complain("Failed to delete some node(s) in the subtree!");
        }
    }
    Ok(())
}

/// Cuts paths into runs of at most `count`, shorter where they would not fit a frame together.
fn batches(paths: &[String], count: usize) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (at, path) in paths.iter().enumerate() {
        if at > start && (at - start == count || bytes + path.len() > DELETE_BATCH_BYTES) {
            batches.push(&paths[start..at]);
            start = at;
            bytes = 0;
        }
        bytes += path.len();
    }
    if start < paths.len() {
        batches.push(&paths[start..]);
    }
    batches
}

fn set(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    if arguments.value("file").is_none() {
        arguments.required(1)?;
    }
    let data = value::input(arguments)?.0.unwrap_or_default();
    let bytes = data.len();
    let stat = shell
        .zk
        .set_data(path, data, arguments.version()?)
        .map_err(|failure| value::explain(failure, bytes))?;
    if !shell.is_text() {
        return emit_stat(shell, path, &stat);
    }
    if arguments.has("s") {
        shell.say(stat_block(&stat))?;
    }
    Ok(())
}

fn set_acl(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let (path, text) = (arguments.required(0)?, arguments.required(1)?);
    let acl = read_acl(shell, text)?;
    let version = arguments.version()?;
    if arguments.has("R") {
        return shell.visit_depth_first(path, Watch::No, |shell, path| {
            match shell.zk.set_acl(path, &acl, version) {
                // One node's refusal does not stop the others; the Java shell ends no line here.
                Err(failure @ Failure::Server { .. }) => shell.say_inline(failure.keeper_message()),
                result => result.map(drop),
            }
        });
    }
    let stat = shell.zk.set_acl(path, &acl, version)?;
    if !shell.is_text() {
        return emit_stat(shell, path, &stat);
    }
    if arguments.has("s") {
        shell.say(stat_block(&stat))?;
    }
    Ok(())
}

fn emit_stat(shell: &mut Shell<'_>, path: &str, stat: &Stat) -> Result<(), Failure> {
    shell.emit(Doc::Map(vec![
        ("path", Doc::text(path)),
        ("stat", fields::stat(stat)),
    ]))
}

/// Parses a list and says which parts of it are left out.
fn read_acl(shell: &mut Shell<'_>, text: &str) -> Result<Vec<Acl>, Failure> {
    let ParsedAcl { acl, complaints } = parse_acl(text);
    for complaint in complaints {
        shell.complain(complaint)?;
    }
    Ok(acl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_number_and_by_bytes() {
        let short: Vec<_> = (0..5).map(|at| format!("/{at}")).collect();
        let sizes = |paths: &[String], count| -> Vec<usize> {
            batches(paths, count).iter().map(|run| run.len()).collect()
        };
        assert_eq!(sizes(&short, 2), [2, 2, 1]);
        assert_eq!(sizes(&short, 9), [5]);
        assert_eq!(sizes(&[], 9), [0; 0]);
        let long = vec!["x".repeat(300 << 10); 3];
        assert_eq!(sizes(&long, 9), [1, 1, 1]);
    }
}
