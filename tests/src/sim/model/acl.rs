//! Access control lists: rules E1 to E5 of `semantics.md`, for the schemes world, auth, digest and ip.

use std::rc::Rc;

use jute_codec::ErrorCode;
use jute_codec::data::{Acl, Id};

/// Whether somebody with `ids` may do one of `wanted`.
#[must_use]
pub fn allows(acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
    let is_super = ids.iter().any(|id| id.scheme.as_deref() == Some("super"));
    let granted = |entry: &Acl| {
        entry.perms & wanted != 0 && (entry.id.is_anyone() || ids.contains(&entry.id))
    };
    acl.is_empty() || is_super || acl.iter().any(granted)
}

/// The list that is stored for the one wished for.
///
/// # Errors
/// The result code for a list that cannot be.
pub fn fix_up(wished: Option<&[Acl]>, ids: &[Id]) -> Result<Rc<[Acl]>, i32> {
    let invalid = ErrorCode::InvalidAcl.code();
    let wished = wished.filter(|wished| !wished.is_empty()).ok_or(invalid)?;
    let mut unique: Vec<&Acl> = Vec::new();
    for entry in wished {
        if !unique.contains(&entry) {
            unique.push(entry);
        }
    }
    let mut list = Vec::new();
    for entry in unique {
        match entry.id.scheme.as_deref() {
            Some("auth") => {
                let mine = ids
                    .iter()
                    .filter(|id| id.scheme.as_deref() == Some("digest"));
                let before = list.len();
                list.extend(mine.map(|id| Acl {
                    perms: entry.perms,
                    id: id.clone(),
                }));
                if list.len() == before {
                    return Err(invalid);
                }
            }
            Some("world") if entry.id.is_anyone() => list.push(entry.clone()),
            Some("digest")
                if entry
                    .id
                    .id
                    .as_deref()
                    .is_some_and(|id| id.split(':').count() == 2) =>
            {
                list.push(entry.clone());
            }
            Some("ip") => list.push(entry.clone()),
            _ => return Err(invalid),
        }
    }
    Ok(list.into())
}

/// The list as somebody without ADMIN sees it.
#[must_use]
pub fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |entry: &Acl| match (entry.id.scheme.as_deref(), entry.id.id.as_deref()) {
        (Some("digest"), Some(id)) => {
            let user = id.split(':').next().unwrap_or_default();
            Acl::new(entry.perms, "digest", format!("{user}:x"))
        }
        _ => entry.clone(),
    };
    acl.iter().map(mask).collect()
}
