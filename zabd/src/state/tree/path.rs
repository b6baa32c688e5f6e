//! Paths: validation, parents, names.
//!
//! ZooKeeper: `PathUtils.validatePath`, `PrepRequestProcessor`, `DataTree.isSpecialPath`.

/// The root of what the server itself keeps in the tree.
pub const ZOOKEEPER: &str = "/zookeeper";
/// Where quotas are kept.
pub const QUOTA: &str = "/zookeeper/quota";
/// Where the ensemble's membership is kept.
pub const CONFIG: &str = "/zookeeper/config";

/// Whether `path` may name a node: the full check.
///
/// Java strings are UTF-16: a character beyond the BMP counts as two surrogates and is refused.
#[must_use]
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(relative) = path.strip_prefix('/') else {
        return false;
    };
    names(relative).all(is_valid_name)
}

/// What stands between the slashes. Names are short: looking for the next slash byte by byte is quicker than `str::split`.
pub(super) fn names(relative: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(relative);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.bytes().position(|byte| byte == b'/') {
            Some(slash) => {
                rest = Some(&text[slash + 1..]);
                Some(&text[..slash])
            }
            None => rest.take(),
        }
    })
}

/// Whether `path` leads from the root to a node through names that are not empty, whatever their characters.
#[must_use]
pub fn is_absolute(path: &str) -> bool {
    path == "/"
        || path
            .strip_prefix('/')
            .is_some_and(|relative| names(relative).all(|name| !name.is_empty()))
}

fn is_valid_name(name: &str) -> bool {
    let is_plain = |byte| matches!(byte, b' '..=b'~');
    !matches!(name, "" | "." | "..")
        && (name.bytes().all(is_plain) || name.chars().all(is_valid_char))
}

const fn is_valid_char(char: char) -> bool {
    !matches!(
        char,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{10000}'..
    )
}

/// The check that deletions and the first stage of creations make: a slash somewhere, and no NUL. The parent.
#[must_use]
pub fn parent_of_loose(path: &str) -> Option<&str> {
    if path.contains('\0') {
        return None;
    }
    path.rfind('/').map(|slash| &path[..slash])
}

/// Text before the last slash: the empty string for top-level nodes.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

/// Text behind the last slash.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rfind('/').map_or(path, |slash| &path[slash + 1..])
}

/// Whether the node at `path` is part of every tree and cannot be deleted.
#[must_use]
pub fn is_built_in(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | QUOTA | CONFIG)
}

/// The form of `path` that clients see: the root is `/`, not the empty string.
#[must_use]
pub const fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// `path` and all that lies above it, the root as `/` last.
pub fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let current = next?;
        next = match current.rfind('/') {
            _ if current == "/" => None,
            Some(0) => Some("/"),
            Some(slash) => Some(&current[..slash]),
            None => None,
        };
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_have_no_empty_names() {
        for absolute in ["/", "/a", "/a/b", "/.", "/\0"] {
            assert!(is_absolute(absolute), "{absolute:?}");
        }
        for other in ["", "a", "a/b", "//", "/a/", "//a", "/a//b"] {
            assert!(!is_absolute(other), "{other:?}");
        }
    }

    /// Rules B1, B2 of `semantics.md`, with the examples observed there.
    #[test]
    fn names_are_judged_as_java_does() {
        for good in [
            "/",
            "/a",
            "/a/b c",
            "/...",
            "/.a",
            "/a.",
            "/\u{f900}",
            "/\u{ffef}",
            "/\u{a0}",
            "/\u{d7ff}",
            "/zookeeper",
        ] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn ancestors_end_at_the_root() {
        let all = |path| self_and_ancestors(path).collect::<Vec<_>>();
        assert_eq!(all("/a/b/c"), ["/a/b/c", "/a/b", "/a", "/"]);
        assert_eq!(all("/a"), ["/a", "/"]);
        assert_eq!(all("/"), ["/"]);
        assert_eq!(all("odd"), ["odd"]);
    }
}
