//! The node that stands in for the root.

/// Puts a chroot in front of paths and takes it off again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chroot(Option<String>);

impl Chroot {
    pub(super) fn new(chroot: Option<String>) -> Self {
        Self(chroot)
    }

    /// A user's path as the server knows it.
    pub(super) fn full(&self, path: &str) -> String {
        match &self.0 {
            None => path.to_owned(),
            Some(chroot) if path == "/" => chroot.clone(),
            Some(chroot) => format!("{chroot}{path}"),
        }
    }

    /// A server's path as the user knows it. A path outside the chroot stays as it is.
    pub(super) fn strip(&self, path: &str) -> String {
        let inner = self
            .0
            .as_deref()
            .and_then(|chroot| path.strip_prefix(chroot));
        match inner {
            Some("") => "/".to_owned(),
            Some(inner) if inner.starts_with('/') => inner.to_owned(),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chroot_goes_on_and_comes_off_whole_names_only() {
        for (chroot, user, server) in [
            (None, "/a", "/a"),
            (Some("/c"), "/", "/c"),
            (Some("/c"), "/a", "/c/a"),
        ] {
            let chroot = Chroot::new(chroot.map(str::to_owned));
            assert_eq!(chroot.full(user), server);
            assert_eq!(chroot.strip(server), user);
        }
        assert_eq!(Chroot::new(Some("/c".to_owned())).strip("/cd"), "/cd");
    }
}
