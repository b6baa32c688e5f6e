//! The providers of a server.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use jute_codec::{Id, Text};

use super::digest::{DigestAlgorithm, digest_id};
use crate::state::conn::{AuthOutcome, Authenticator};

/// Which schemes there are besides `ip`, `world` and `auth`, which are always there.
#[derive(Debug, Clone)]
pub struct ProviderParams {
    /// `digest`, unless it is switched off.
    pub digest: Option<DigestParams>,
    /// `ensemble`, if it is registered: the names that clients may know this ensemble by. None are no check.
    pub ensemble_names: Option<Vec<String>>,
    /// Schemes whose identities come with the connection, as `x509` and `sasl`: known, but not to be had by asking.
    pub implicit_schemes: Vec<String>,
}

impl Default for ProviderParams {
    fn default() -> Self {
        Self {
            digest: Some(DigestParams::default()),
            ensemble_names: None,
            implicit_schemes: Vec::new(),
        }
    }
}

/// Settings of the scheme `digest`.
#[derive(Clone, Default)]
pub struct DigestParams {
    /// The hash.
    pub algorithm: DigestAlgorithm,
    /// The identity (`super:` and a hash) of those whom no access control list keeps out.
    pub super_digest: Option<String>,
}

impl std::fmt::Debug for DigestParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestParams")
            .field("algorithm", &self.algorithm)
            .field("super_digest", &self.super_digest.as_ref().map(|_| "***"))
            .finish()
    }
}

/// Judges credentials by scheme.
///
/// ZooKeeper: `ProviderRegistry` and the `AuthenticationProvider`s; rules of `operations.md` §5.2.
#[derive(Debug, Default)]
pub struct Providers {
    params: ProviderParams,
    refused: AtomicU64,
    ensemble_success: AtomicU64,
    ensemble_fail: AtomicU64,
    ensemble_skip: AtomicU64,
}

impl Providers {
    /// The providers that `params` ask for.
    #[must_use]
    pub fn new(params: ProviderParams) -> Self {
        Self {
            params,
            ..Self::default()
        }
    }

    /// Credentials refused so far: `auth_failed_count`.
    #[must_use]
    pub fn auth_failed_count(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The counters of `ensemble` credentials begin anew; those refused are a gauge in ZooKeeper, and stay.
    pub fn reset_counters(&self) {
        for counter in [
            &self.ensemble_success,
            &self.ensemble_fail,
            &self.ensemble_skip,
        ] {
            counter.store(0, Relaxed);
        }
    }

    /// `ensemble` credentials that named this ensemble: `ensemble_auth_success`.
    #[must_use]
    pub fn ensemble_auth_success(&self) -> u64 {
        self.ensemble_success.load(Relaxed)
    }

    /// Those that named another: `ensemble_auth_fail`.
    #[must_use]
    pub fn ensemble_auth_fail(&self) -> u64 {
        self.ensemble_fail.load(Relaxed)
    }

    /// Those that named none, or were not looked at: `ensemble_auth_skip`.
    #[must_use]
    pub fn ensemble_auth_skip(&self) -> u64 {
        self.ensemble_skip.load(Relaxed)
    }

    fn judge(&self, scheme: &str, credential: Option<&[u8]>) -> AuthOutcome {
        match scheme {
            // Every connection has its address as an identity already; Java lets clients ask for it all the same.
            "ip" => AuthOutcome::Accepted(Vec::new()),
            "digest" => match (&self.params.digest, credential) {
                (Some(params), Some(credential)) => digest(params, credential),
                _ => AuthOutcome::Refused,
            },
            "ensemble" => match &self.params.ensemble_names {
                Some(names) => self.ensemble(names, credential.unwrap_or_default()),
                None => AuthOutcome::Refused,
            },
            _ => AuthOutcome::Refused,
        }
    }

    fn ensemble(&self, names: &[String], credential: &[u8]) -> AuthOutcome {
        let (counter, outcome) = if names.is_empty() || credential.is_empty() {
            (&self.ensemble_skip, AuthOutcome::Accepted(Vec::new()))
        } else if names.iter().any(|name| name.as_bytes() == credential) {
            (&self.ensemble_success, AuthOutcome::Accepted(Vec::new()))
        } else {
            (&self.ensemble_fail, AuthOutcome::Dropped)
        };
        counter.fetch_add(1, Relaxed);
        outcome
    }
}

fn digest(params: &DigestParams, credential: &[u8]) -> AuthOutcome {
    // The same replacement of what is no UTF-8 as in strings on the wire.
    let credential = Bytes::copy_from_slice(credential);
    let id = digest_id(&Text::decode(&credential, &credential), params.algorithm);
    let mut ids = Vec::with_capacity(2);
    if params.super_digest.as_ref() == Some(&id) {
        ids.push(Id::new("super", ""));
    }
    ids.push(Id::new("digest", id.as_str()));
    AuthOutcome::Accepted(ids)
}

impl Authenticator for Providers {
    fn authenticate(&self, scheme: &str, credential: Option<&[u8]>, peer: &str) -> AuthOutcome {
        let outcome = self.judge(scheme, credential);
        match outcome {
            AuthOutcome::Accepted(_) => {}
            AuthOutcome::Refused | AuthOutcome::Dropped => {
                self.refused.fetch_add(1, Relaxed);
                tracing::debug!(scheme, client = peer, "credential refused");
            }
        }
        outcome
    }

    fn user_name(&self, id: &Id) -> String {
        let name = id.id.as_deref().unwrap_or_default();
        let scheme = id.scheme.as_deref().unwrap_or_default();
        match scheme {
            "digest" if self.params.digest.is_some() => {
                name.split(':').next().unwrap_or_default().to_owned()
            }
            "ip" => name.to_owned(),
            _ if self
                .params
                .implicit_schemes
                .iter()
                .any(|known| known == scheme) =>
            {
                name.to_owned()
            }
            // Schemes without a provider, `super` among them.
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPER: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

    fn providers() -> Providers {
        Providers::new(ProviderParams {
            digest: Some(DigestParams {
                algorithm: DigestAlgorithm::Sha1,
                super_digest: Some(SUPER.to_owned()),
            }),
            ensemble_names: Some(vec!["east".to_owned(), "west".to_owned()]),
            implicit_schemes: vec!["sasl".to_owned()],
        })
    }

    fn judge(scheme: &str, credential: Option<&str>) -> AuthOutcome {
        providers().authenticate(scheme, credential.map(str::as_bytes), "127.0.0.1")
    }

    #[test]
    fn digest_gives_an_identity_and_the_super_user_two() {
        let bob = Id::new("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert_eq!(
            judge("digest", Some("bob:pw")),
            AuthOutcome::Accepted(vec![bob])
        );
        assert_eq!(
            judge("digest", Some("super:test")),
            AuthOutcome::Accepted(vec![Id::new("super", ""), Id::new("digest", SUPER)])
        );
        assert_eq!(judge("digest", None), AuthOutcome::Refused);
        let off = Providers::new(ProviderParams {
            digest: None,
            ..ProviderParams::default()
        });
        assert_eq!(
            off.authenticate("digest", Some(b"a:b"), ""),
            AuthOutcome::Refused
        );
        assert_eq!(off.auth_failed_count(), 1);
    }

    #[test]
    fn other_schemes_are_judged_as_java_does() {
        assert_eq!(judge("ip", None), AuthOutcome::Accepted(Vec::new()));
        for scheme in ["world", "auth", "sasl", "super", "x509", "", "nonsense"] {
            assert_eq!(
                judge(scheme, Some("anyone")),
                AuthOutcome::Refused,
                "{scheme}"
            );
        }
    }

    #[test]
    fn ensembles_are_compared_by_name() {
        let providers = providers();
        let judge = |name: Option<&str>| {
            providers.authenticate("ensemble", name.map(str::as_bytes), "127.0.0.1")
        };
        assert_eq!(judge(Some("west")), AuthOutcome::Accepted(Vec::new()));
        assert_eq!(judge(Some("north")), AuthOutcome::Dropped);
        assert_eq!(judge(None), AuthOutcome::Accepted(Vec::new()));
        assert_eq!(
            (
                providers.ensemble_auth_success(),
                providers.ensemble_auth_fail(),
                providers.ensemble_auth_skip()
            ),
            (1, 1, 1)
        );
    }

    #[test]
    fn user_names_are_what_who_am_i_tells() {
        let providers = providers();
        for (scheme, id, name) in [
            ("digest", "bob:hash", "bob"),
            ("ip", "10.0.0.1", "10.0.0.1"),
            ("super", "", ""),
            ("sasl", "alice", "alice"),
            ("x509", "CN=alice", ""),
        ] {
            assert_eq!(providers.user_name(&Id::new(scheme, id)), name);
        }
    }

    #[test]
    fn the_super_digest_is_not_printed() {
        assert!(!format!("{:?}", providers()).contains(SUPER));
    }
}
