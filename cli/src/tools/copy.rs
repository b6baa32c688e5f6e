//! `cp` and `mv`: a subtree to another place, in one transaction where it fits into one.

use jute_codec::ErrorCode;
use jute_codec::proto::{
    CheckVersionRequest, DeleteRequest, MultiOp, MultiOps, Request, RequestHeader,
};

use super::human;
use super::modes::{CONTAINERS, Modes, TTL};
use super::node::{Node, absolute};
use super::transfer::{ACLS, EPHEMERALS, MERGE, Manner, Writer};
use crate::commands::{Arguments, Command};
use crate::failure::{Failure, Kind};
use crate::flags::{FlagSet, own_switch};
use crate::handle::Watch;
use crate::output::Doc;
use crate::path;
use crate::shell::Shell;
use crate::walk::{Walk, Wanted};

/// Bytes of a request that every server takes unless it is set up to take less: `jute.maxbuffer` is 1 MiB less one,
/// and the followers add something.
const REQUEST_BYTES_MAX: usize = 1_000_000;

/// Bytes of the frame around a multi's operations.
const HEADER_BYTES: usize = size_of::<RequestHeader>() + 9;

/// Deletions that are under way at once.
const DELETE_BATCH: usize = 1000;

const STEPWISE: crate::flags::Flag = own_switch(
    "stepwise",
    "Write node by node if need be; others see it under way, and a failure leaves a part",
);

pub(super) const CP: Command = Command {
    name: "cp",
    syntax: "[--stepwise] [--merge] [--ephemerals skip|persist] [--acls now|last|open] \
             [--containers glob] [--ttl glob=ms] source target",
    flags: FlagSet::free(&[STEPWISE, MERGE, EPHEMERALS, ACLS, CONTAINERS, TTL]),
    explains_flags: true,
    run: cp,
};

pub(super) const MV: Command = Command {
    name: "mv",
    syntax: "[--stepwise] [--ephemerals skip|persist] [--acls now|last|open] [--containers glob] \
             [--ttl glob=ms] source target",
    flags: FlagSet::free(&[STEPWISE, EPHEMERALS, ACLS, CONTAINERS, TTL]),
    explains_flags: true,
    run: mv,
};

/// Whether the source stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stays,
    Goes,
}

impl Source {
    const fn done(self) -> &'static str {
        match self {
            Self::Stays => "copied",
            Self::Goes => "moved",
        }
    }
}

/// A node as it was read.
struct Read {
    node: Node,
    path: String,
    version: i32,
}

fn cp(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    transfer(shell, arguments, Source::Stays)
}

fn mv(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    transfer(shell, arguments, Source::Goes)
}

fn transfer(
    shell: &mut Shell<'_>,
    arguments: &mut Arguments,
    source: Source,
) -> Result<(), Failure> {
    let (from, to) = (arguments.required(0)?, arguments.required(1)?);
    let manner = Manner::parse(arguments)?;
    let modes = Modes::parse(arguments)?;
    path::validate(from)?;
    path::validate(to)?;
    let inside = |inner: &str, outer: &str| {
        inner == outer || outer == "/" || inner.starts_with(&format!("{outer}/"))
    };
    if inside(to, from) || (source == Source::Goes && inside(from, to)) {
        return Err(Failure::usage(format!(
            "{from} and {to}: one is within the other"
        )));
    }
    // A transaction with operations that write over nodes could not tell which are there.
    if !manner.merge && shell.zk.exists(to, Watch::No)?.is_some() {
        let hint = match source {
            Source::Stays => "; --merge --stepwise writes over what is there",
            Source::Goes => "",
        };
        return Err(Failure::told(
            Kind::Conflict,
            format!("{to} exists already{hint}"),
        ));
    }
    let wanted = Wanted {
        data: true,
        acl: true,
        ..Wanted::default()
    };
    let mut walk = Walk::new(from, wanted)?;
    let may_step = arguments.has("stepwise");
    if manner.merge && !may_step {
        return Err(Failure::usage(
            "--merge is not done in one transaction: say --stepwise, too",
        ));
    }
    let mut read = Vec::new();
    let mut bytes = 0;
    while let Some(entry) = walk.next(&mut shell.zk)? {
        if entry.denied {
            return Err(Failure::told(
                Kind::NotAllowed,
                format!(
                    "not allowed to read {}; nothing was {}",
                    entry.path,
                    source.done()
                ),
            ));
        }
        let node = Node::of(&entry, from, &modes);
        let version = entry.stat.version;
        let path = entry.path;
        bytes += operations_bytes(shell, &node, &path, to, source);
        read.push(Read {
            node,
            path,
            version,
        });
        if bytes > REQUEST_BYTES_MAX || manner.merge {
            if !may_step {
                return Err(Failure::told(
                    Kind::Refused,
                    format!(
                        "{from} does not fit into one transaction: its first {} nodes take {} of a server's {}; nothing \
                         was {}. With --stepwise it is written node by node: others see it under way, and a failure \
                         leaves a part",
                        read.len(),
                        human(bytes as u64),
                        human(REQUEST_BYTES_MAX as u64),
                        source.done(),
                    ),
                ));
            }
            return stepwise(shell, walk, read, (manner, &modes), (from, to), source);
        }
    }
    atomically(shell, read, manner, (from, to), source)
}

/// Bytes that the operations for one node take in a request.
fn operations_bytes(shell: &Shell<'_>, node: &Node, path: &str, to: &str, source: Source) -> usize {
    let target = shell.zk.server_path(&absolute(&node.path, to));
    let ops = vec![
        node.create(target, node.acl.clone()),
        source_op(shell, path, -1, source),
    ];
    let mut body = Vec::new();
    Request::Multi(MultiOps(ops)).write_body(&mut body);
    body.len()
}

/// What the transaction does about a source node: it must be as it was read.
fn source_op(shell: &Shell<'_>, path: &str, version: i32, source: Source) -> MultiOp {
    let path = Some(shell.zk.server_path(path));
    match source {
        Source::Stays => MultiOp::Check(CheckVersionRequest { path, version }),
        Source::Goes => MultiOp::Delete(DeleteRequest { path, version }),
    }
}

fn atomically(
    shell: &mut Shell<'_>,
    read: Vec<Read>,
    manner: Manner,
    (from, to): (&str, &str),
    source: Source,
) -> Result<(), Failure> {
    let (mut creates, mut paths, mut bytes) = (Vec::new(), Vec::new(), 0);
    for Read { node, path, .. } in &read {
        if !manner.takes(node, path)? {
            continue;
        }
        let target = absolute(&node.path, to);
        let acl = match manner.acls {
            super::transfer::Acls::Open => vec![jute_codec::Acl::open()],
            _ => node.acl.clone(),
        };
        creates.push(node.create(shell.zk.server_path(&target), acl));
        paths.push(target);
        bytes += node.bytes();
    }
    let nodes = creates.len();
    let mut ops = creates;
    // Children before their parents.
    for Read { path, version, .. } in read.iter().rev() {
        ops.push(source_op(shell, path, *version, source));
        paths.push(path.clone());
    }
    let mut frame = vec![0; HEADER_BYTES];
    Request::Multi(MultiOps(ops.clone())).write_body(&mut frame);
    if let Err((at, code)) = shell.zk.multi(ops)? {
        let path = paths.get(at).cloned();
        let failure = Failure::Server { code, path };
        let meanwhile = [ErrorCode::BadVersion, ErrorCode::NotEmpty];
        let why = if meanwhile.iter().any(|code| failure.is_code(*code))
            || (at >= nodes && failure.is_code(ErrorCode::NoNode))
        {
            "it changed meanwhile"
        } else if failure.is_code(ErrorCode::NoNode) {
            "the parent of the target must be there"
        } else {
            "the transaction was refused"
        };
        return Err(Failure::told(
            failure.kind(),
            format!("{failure}\n{why}; nothing was {}", source.done()),
        ));
    }
    report(
        shell,
        (from, to),
        source,
        [nodes, 0, read.len() - nodes],
        bytes,
        true,
    )
}

fn stepwise(
    shell: &mut Shell<'_>,
    mut walk: Walk,
    read: Vec<Read>,
    (manner, modes): (Manner, &Modes),
    (from, to): (&str, &str),
    source: Source,
) -> Result<(), Failure> {
    let mut writer = Writer::new(to, manner, None);
    let mut versions = Vec::new();
    let result = (|| {
        for Read {
            node,
            path,
            version,
        } in read
        {
            versions.push((path, version));
            writer.put(shell, node)?;
        }
        while let Some(entry) = walk.next(&mut shell.zk)? {
            if entry.denied {
                return Err(Failure::told(
                    Kind::NotAllowed,
                    format!("not allowed to read {}", entry.path),
                ));
            }
            let node = Node::of(&entry, from, modes);
            versions.push((entry.path, entry.stat.version));
            writer.put(shell, node)?;
        }
        writer.finish(shell)
    })();
    if let Err(failure) = result {
        let again = match source {
            Source::Stays => "; run it again with --merge --stepwise to go on",
            Source::Goes => "",
        };
        return Err(Failure::told(
            failure.kind(),
            format!(
                "{failure}\n{} nodes were written below {to}, {from} is as it was; deleteall {to} undoes it{again}",
                writer.written()
            ),
        ));
    }
    if source == Source::Goes {
        remove(shell, &versions, (from, to))?;
    }
    let counts = [writer.created, writer.updated, writer.skipped];
    report(shell, (from, to), source, counts, writer.bytes, false)
}

/// Deletes what has been copied, children before their parents, each only as it was copied.
fn remove(
    shell: &mut Shell<'_>,
    versions: &[(String, i32)],
    (from, to): (&str, &str),
) -> Result<(), Failure> {
    let mut first_failure = None;
    let mut stayed = 0;
    for nodes in versions.rchunks(DELETE_BATCH) {
        let requests: Vec<_> = nodes
            .iter()
            .rev()
            .map(|(path, version)| {
                Request::Delete(DeleteRequest {
                    path: Some(shell.zk.server_path(path)),
                    version: *version,
                })
            })
            .collect();
        let paths = nodes.iter().rev().map(|(path, _)| path.as_str());
        for reply in shell.zk.call_all(&requests, paths)? {
            match reply {
                Ok(_) => {}
                // Somebody else was quicker.
                Err(failure) if failure.is_code(ErrorCode::NoNode) => {}
                Err(failure) => {
                    stayed += 1;
                    first_failure = first_failure.or(Some(failure));
                }
            }
        }
    }
    let Some(failure) = first_failure else {
        return Ok(());
    };
    Err(Failure::told(
        failure.kind(),
        format!(
            "{failure}\nall of {from} was copied to {to}; {stayed} nodes that changed meanwhile, or have such below them, \
             are still there, too"
        ),
    ))
}

fn report(
    shell: &mut Shell<'_>,
    (from, to): (&str, &str),
    source: Source,
    [created, updated, skipped]: [usize; 3],
    bytes: usize,
    atomic: bool,
) -> Result<(), Failure> {
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("from", Doc::text(from)),
            ("to", Doc::text(to)),
            ("created", Doc::count(created)),
            ("updated", Doc::count(updated)),
            ("skipped", Doc::count(skipped)),
            ("bytes", Doc::count(bytes)),
            ("atomic", Doc::Bool(atomic)),
        ]));
    }
    let how = if atomic {
        "in one transaction"
    } else {
        "node by node"
    };
    let nodes = created + updated;
    let s = if nodes == 1 { "" } else { "s" };
    let left_out = match skipped {
        0 => String::new(),
        count => format!(", {count} ephemeral left out"),
    };
    shell.say(format_args!(
        "{} {nodes} node{s} ({}){left_out} {how}: {from} -> {to}",
        source.done(),
        human(bytes as u64)
    ))
}
