//! Commands that look at nodes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jute_codec::{ErrorCode, Text};

use super::{Arguments, Command, value};
use crate::failure::Failure;
use crate::flags::{FlagSet, switch};
use crate::format::acl::acl_lines;
use crate::format::hex::hex_grid;
use crate::format::stat::stat_block;
use crate::handle::Watch;
use crate::output::{Doc, Format, fields};
use crate::shell::Shell;

pub(super) const GET: Command = Command {
    name: "get",
    syntax: "[-s] [-w] [-b] [-x] path",
    flags: FlagSet::free(&[
        switch("s", "Print znode stats additionally"),
        switch("w", "Watch for changes on the znode"),
        switch("b", "Output data in base64 format"),
        switch("x", "Output data in hexdump format"),
        value::OUT_TEXT,
        value::OUT_HEX,
        value::OUT_JSON,
        value::OUT_FILE,
    ]),
    explains_flags: true,
    run: get,
};

pub(super) const GET_ACL: Command = Command {
    name: "getAcl",
    syntax: "[-s] path",
    flags: FlagSet::free(&[switch("s", "stats")]),
    explains_flags: false,
    run: get_acl,
};

pub(super) const GET_ALL_CHILDREN_NUMBER: Command = Command {
    name: "getAllChildrenNumber",
    syntax: "path",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: get_all_children_number,
};

pub(super) const GET_EPHEMERALS: Command = Command {
    name: "getEphemerals",
    syntax: "path",
    flags: FlagSet::NONE,
    explains_flags: false,
    run: get_ephemerals,
};

pub(super) const LS: Command = Command {
    name: "ls",
    syntax: "[-s] [-w] [-R] path",
    flags: FlagSet::free(&[
        switch("?", "help"),
        switch("s", "stat"),
        switch("w", "watch"),
        switch("R", "recurse"),
    ]),
    explains_flags: false,
    run: ls,
};

pub(super) const STAT: Command = Command {
    name: "stat",
    syntax: "[-w] path",
    flags: FlagSet::free(&[switch("w", "watch")]),
    explains_flags: false,
    run: stat,
};

/// Data as text, decoded as Java does; null prints as a word.
pub(super) fn text_of(data: Option<&Bytes>) -> Text {
    data.map_or(Text::from_static("null"), |data| Text::decode(data, data))
}

fn get(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    arguments.required(0)?;
    arguments.allow_deprecated_watch(shell, "get path [watch]", "get [-s] [-w] path")?;
    let watch = Watch::when(arguments.has("w"));
    let path = arguments.required(0)?;
    let reply = shell.zk.data(path, watch)?;
    let raw = reply.data.as_deref().unwrap_or_default();
    if !shell.is_text() && arguments.value("file").is_none() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            fields::data(reply.data.as_deref()),
            ("stat", fields::stat(&reply.stat)),
        ]));
    }
    if value::print(shell, arguments, raw)? {
        if arguments.has("s") {
            shell.say(stat_block(&reply.stat))?;
        }
        return Ok(());
    }
    let data = reply.data.unwrap_or(Bytes::from_static(b"null"));
    if arguments.has("x") {
        shell.say(hex_grid(&data))?;
    } else if arguments.has("b") {
        shell.say(STANDARD.encode(&data))?;
    } else {
        shell.say(text_of(Some(&data)))?;
    }
    if arguments.has("s") {
        shell.say(stat_block(&reply.stat))?;
    }
    Ok(())
}

fn get_acl(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let reply = shell.zk.acl(path)?;
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            ("acl", fields::acl(&reply.acl)),
            ("stat", fields::stat(&reply.stat)),
        ]));
    }
    for acl in &reply.acl {
        shell.say(acl_lines(acl))?;
    }
    if arguments.has("s") {
        shell.say(stat_block(&reply.stat))?;
    }
    Ok(())
}

fn get_all_children_number(
    shell: &mut Shell<'_>,
    arguments: &mut Arguments,
) -> Result<(), Failure> {
    let path = arguments.required(0)?;
    let number = shell.zk.all_children_number(path)?;
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            ("number", Doc::Int(number.into())),
        ]));
    }
    shell.say(number)
}

fn get_ephemerals(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    let paths = shell
        .zk
        .ephemerals(arguments.positional(0).unwrap_or("/"))?;
    if !shell.is_text() {
        return shell.emit(Doc::texts(&paths));
    }
    shell.say_list(&paths)
}

fn ls(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    if arguments.has("?") {
        shell.say_inline(format_args!(
            "usage: ls [options] path\n{}",
            LS.flags.table()
        ))?;
    }
    arguments.allow_deprecated_watch(shell, "ls path [watch]", "ls [-w] path")?;
    let path = arguments.required(0)?;
    let watch = Watch::when(arguments.has("w"));
    if arguments.has("R") {
        return shell.visit_depth_first(path, watch, |shell, path| {
            if shell.is_text() {
                shell.say(path)
            } else {
                shell.emit(Doc::Map(vec![("path", Doc::text(path))]))
            }
        });
    }
    let reply = shell.zk.children(path, watch)?;
    match shell.format() {
        Format::Text => shell.say_list(&reply.children)?,
        Format::Table => {
            for name in &reply.children {
                shell.emit(Doc::Map(vec![("name", Doc::text(name.as_str()))]))?;
            }
            return Ok(());
        }
        Format::Json | Format::Yaml => {
            return shell.emit(Doc::Map(vec![
                ("path", Doc::text(path)),
                ("children", Doc::texts(&reply.children)),
                ("stat", fields::stat(&reply.stat)),
            ]));
        }
    }
    if arguments.has("s") {
        shell.say(stat_block(&reply.stat))?;
    }
    Ok(())
}

fn stat(shell: &mut Shell<'_>, arguments: &mut Arguments) -> Result<(), Failure> {
    arguments.required(0)?;
    arguments.allow_deprecated_watch(shell, "stat path [watch]", "stat [-w] path")?;
    let path = arguments.required(0)?;
    let watch = Watch::when(arguments.has("w"));
    let stat = shell
        .zk
        .exists(path, watch)?
        .ok_or_else(|| Failure::Server {
            code: ErrorCode::NoNode.code(),
            path: Some(path.to_owned()),
        })?;
    if !shell.is_text() {
        return shell.emit(Doc::Map(vec![
            ("path", Doc::text(path)),
            ("stat", fields::stat(&stat)),
        ]));
    }
    shell.say(stat_block(&stat))
}
