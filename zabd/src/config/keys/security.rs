//! Rows on who may do what, and on TLS.

use super::{FlagRule, Key, Kind, ONLY_TRUE, TRUE_OR_FALSE, bare, int, own, prefixed};

const NO_TLS: &str = "TLS is not supported by this version";
const NO_SASL: &str = "SASL is not supported by this version";
const NO_QUORUM_AUTH: &str = "authentication between servers is not supported by this version";

/// Digest algorithms zabd has, under the names Java knows them by.
pub(crate) const DIGEST_ALGORITHMS: &[&str] = &[
    "SHA1", "SHA-1", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA3-224", "SHA3-256",
    "SHA3-384", "SHA3-512",
];

pub(super) const SECURITY: &[Key] = &[
    prefixed("skipACL", Kind::Flag(FlagRule::ExactlyYes), "no").doc(
        "exactly `yes` switches every ACL check off: any client may read, change and delete \
         everything",
    ),
    prefixed("DigestAuthenticationProvider.enabled", ONLY_TRUE, "true").doc("the scheme `digest`"),
    prefixed("DigestAuthenticationProvider.superDigest", Kind::Secret, "").doc(
        "`super:<hash>`: who authenticates with a password of that hash passes every ACL. Absent, \
         nobody does",
    ),
    prefixed(
        "DigestAuthenticationProvider.digestAlg",
        Kind::Choice(DIGEST_ALGORITHMS),
        "SHA1",
    )
    .doc("hash of the scheme `digest`; the ACLs of a tree must all have been made with the same"),
    prefixed("enforce.auth.enabled", ONLY_TRUE, "false")
        .doc("only clients that have authenticated with one of `enforce.auth.schemes` are served"),
    prefixed("enforce.auth.schemes", Kind::List, "")
        .doc("those schemes, separated by commas; this version has `digest` and `ip`"),
    prefixed("sessionRequireClientSASLAuth", ONLY_TRUE, "false")
        .refused("SASL is not supported by this version, so that no client could be served")
        .doc("only clients that have authenticated with SASL are served"),
    prefixed("allowSaslFailedClients", ONLY_TRUE, "false")
        .later(NO_SASL)
        .doc("keeps the connection of a client whose SASL authentication failed"),
    prefixed("authProvider.*", Kind::Text, "").doc(
        "class of a further authentication provider. The classes of ZooKeeper are understood; \
         `sasl` and `x509` are not served by this version, so clients and ACLs of those schemes \
         are refused",
    ),
    prefixed("superUser", Kind::Text, "")
        .later(NO_SASL)
        .doc("SASL identity that passes every ACL"),
    prefixed("superUser.*", Kind::Text, "")
        .later(NO_SASL)
        .doc("further SASL identities that pass every ACL"),
    prefixed("letAnySaslUserDoX", Kind::Text, "")
        .later(NO_SASL)
        .doc("ACL identity that any SASL user matches"),
    prefixed("X509AuthenticationProvider.superUser", Kind::Text, "")
        .later(NO_TLS)
        .doc("distinguished name of the certificate that passes every ACL"),
    prefixed("SASLAuthenticationProvider.superPassword", Kind::Secret, "")
        .later(NO_SASL)
        .doc("password of the DIGEST-MD5 user `super`"),
    prefixed("ensembleAuthName", Kind::List, "").doc(
        "names a client may know this ensemble by, separated by commas: one that names another \
         with the scheme `ensemble` is cut off, so that it tries the next server. Absent, or \
         without `EnsembleAuthenticationProvider` among `authProvider.*`, nothing is compared",
    ),
    prefixed(
        "IPAuthenticationProvider.usexforwardedfor",
        ONLY_TRUE,
        "false",
    )
    .later("the HTTP administration server is not served by this version")
    .doc("takes the address of an HTTP client from `X-Forwarded-For`"),
    prefixed("sasl.serverconfig", Kind::Text, "Server")
        .later(NO_SASL)
        .doc("section of the JAAS file for clients"),
    bare("java.security.auth.login.config", Kind::Path, "")
        .later(NO_SASL)
        .doc("file with the JAAS sections"),
    prefixed("kerberos.*", Kind::Text, "")
        .later(NO_SASL)
        .doc("naming and renewal in Kerberos"),
    prefixed("kinit", Kind::Path, "/usr/bin/kinit")
        .later(NO_SASL)
        .doc("command that renews tickets"),
    prefixed("security.auth_to_local", Kind::Text, "DEFAULT")
        .later(NO_SASL)
        .doc("rules that make short names of Kerberos principals"),
    prefixed("requireKerberosConfig", ONLY_TRUE, "false")
        .later(NO_SASL)
        .doc("insists on a Kerberos configuration"),
    own("quorum.auth.enableSasl", TRUE_OR_FALSE, "false")
        .refused(NO_QUORUM_AUTH)
        .doc("SASL between servers"),
    own("quorum.auth.learnerRequireSasl", TRUE_OR_FALSE, "false")
        .refused(NO_QUORUM_AUTH)
        .doc("insists on it when connecting; needs `quorum.auth.enableSasl`"),
    own("quorum.auth.serverRequireSasl", TRUE_OR_FALSE, "false")
        .refused(NO_QUORUM_AUTH)
        .doc("insists on it when accepting; needs `quorum.auth.learnerRequireSasl`"),
    own(
        "quorum.auth.learner.saslLoginContext",
        Kind::Text,
        "QuorumLearner",
    )
    .ensemble_later(NO_QUORUM_AUTH)
    .doc("section of the JAAS file for connecting servers"),
    own(
        "quorum.auth.server.saslLoginContext",
        Kind::Text,
        "QuorumServer",
    )
    .ensemble_later(NO_QUORUM_AUTH)
    .doc("section of the JAAS file for accepting servers"),
    own(
        "quorum.auth.kerberos.servicePrincipal",
        Kind::Text,
        "zkquorum/localhost",
    )
    .ensemble_later(NO_QUORUM_AUTH)
    .doc("principal of the servers; `_HOST` stands for the other server's host"),
    own(
        "quorum.cnxn.threads.size",
        int(super::INT_MIN, super::INT_MAX),
        "20",
    )
    .ensemble_later(NO_QUORUM_AUTH)
    .unit("threads")
    .doc("threads that authenticate connections between servers"),
    own("sslQuorum", TRUE_OR_FALSE, "false")
        .refused(NO_TLS)
        .doc("TLS between servers"),
    own("portUnification", TRUE_OR_FALSE, "false")
        .refused(NO_TLS)
        .doc("ports between servers take TLS and plaintext"),
    own("sslQuorumReloadCertFiles", TRUE_OR_FALSE, "false")
        .ensemble_later(NO_TLS)
        .doc("reloads the key stores of `sslQuorum` when they change"),
    prefixed("client.portUnification", ONLY_TRUE, "false")
        .refused(NO_TLS)
        .doc("`clientPort` takes TLS and plaintext"),
    prefixed("client.certReload", ONLY_TRUE, "false")
        .later(NO_TLS)
        .doc("reloads the key stores of clients' TLS when they change"),
    prefixed("ssl.authProvider", Kind::Text, "x509")
        .later(NO_TLS)
        .doc("scheme that authenticates certificates"),
    prefixed("ssl.*", Kind::Text, "")
        .later(NO_TLS)
        .doc("key stores, protocols and checks of TLS for clients"),
    prefixed("ssl.quorum.*", Kind::Text, "")
        .later(NO_TLS)
        .doc("the same for TLS between servers"),
    prefixed("fips-mode", ONLY_TRUE, "true")
        .later(NO_TLS)
        .doc("restricts TLS to what FIPS allows"),
];

/// Providers of ZooKeeper, each with the scheme it serves.
pub(crate) const AUTH_PROVIDERS: &[(&str, &str)] = &[
    (
        "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
        "digest",
    ),
    (
        "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider",
        "ensemble",
    ),
    (
        "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
        "ip",
    ),
    (
        "org.apache.zookeeper.server.auth.KeyAuthenticationProvider",
        "key",
    ),
    (
        "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        "sasl",
    ),
    (
        "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        "x509",
    ),
];
