//! Identities of the scheme `digest`: a user's name and a hash of name and password.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use thiserror::Error;

/// The hash of [`digest_id`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-1, the default. Weak, but what existing access control lists were made with.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-224.
    Sha3With224,
    /// SHA3-256.
    Sha3With256,
    /// SHA3-384.
    Sha3With384,
    /// SHA3-512.
    Sha3With512,
}

/// The name of no hash that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no digest algorithm that is offered; there are SHA1, SHA-224, SHA-256, SHA-384, SHA-512, \
     SHA3-224, SHA3-256, SHA3-384 and SHA3-512"
)]
pub struct UnknownAlgorithm(pub String);

impl FromStr for DigestAlgorithm {
    type Err = UnknownAlgorithm;

    /// Takes Java's names, in any case. MD5 and what else Java has is refused.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name.to_ascii_uppercase().as_str() {
            "SHA" | "SHA1" | "SHA-1" => Ok(Self::Sha1),
            "SHA224" | "SHA-224" => Ok(Self::Sha224),
            "SHA256" | "SHA-256" => Ok(Self::Sha256),
            "SHA384" | "SHA-384" => Ok(Self::Sha384),
            "SHA512" | "SHA-512" => Ok(Self::Sha512),
            "SHA3-224" => Ok(Self::Sha3With224),
            "SHA3-256" => Ok(Self::Sha3With256),
            "SHA3-384" => Ok(Self::Sha3With384),
            "SHA3-512" => Ok(Self::Sha3With512),
            _ => Err(UnknownAlgorithm(name.to_owned())),
        }
    }
}

impl DigestAlgorithm {
    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha224 => Sha224::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
            Self::Sha3With224 => Sha3_224::digest(bytes).to_vec(),
            Self::Sha3With256 => Sha3_256::digest(bytes).to_vec(),
            Self::Sha3With384 => Sha3_384::digest(bytes).to_vec(),
            Self::Sha3With512 => Sha3_512::digest(bytes).to_vec(),
        }
    }
}

/// The identity of `user:password`: `user:` and the Base64 form of the hash of the whole. Without a colon, all of it is
/// the user's name, and hashed.
///
/// ZooKeeper: `DigestAuthenticationProvider.generateDigest`.
#[must_use]
pub fn digest_id(user_password: &str, algorithm: DigestAlgorithm) -> String {
    let user = user_password.split(':').next().unwrap_or_default();
    let hash = STANDARD.encode(algorithm.hash(user_password.as_bytes()));
    format!("{user}:{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of `operations.md` §5.2, made by the Java server.
    #[test]
    fn identities_are_those_of_java() {
        for (credential, id) in [
            ("super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("bob:pw", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="),
            ("a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0="),
        ] {
            assert_eq!(digest_id(credential, DigestAlgorithm::Sha1), id);
        }
        assert!(digest_id("abc", DigestAlgorithm::Sha1).starts_with("abc:qZk"));
    }

    /// The vectors of FIPS 180 for `abc`, in Base64.
    #[test]
    fn other_hashes_are_what_their_names_say() {
        let sha256 = digest_id("abc", "sha-256".parse().unwrap());
        assert_eq!(sha256, "abc:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        for (name, bytes) in [
            ("SHA-224", 28),
            ("SHA-384", 48),
            ("SHA-512", 64),
            ("SHA3-224", 28),
            ("SHA3-384", 48),
            ("SHA3-512", 64),
        ] {
            let algorithm: DigestAlgorithm = name.parse().unwrap();
            assert_eq!(algorithm.hash(b"").len(), bytes);
        }
        // The administrator of ZooKeeper's own test of this hash.
        assert_eq!(
            digest_id("super:test", "SHA3-256".parse().unwrap()),
            "super:cRy/KPYuDpW/dtsepniTMpuiuupnWgdU9txltIfv3hA="
        );
        assert!("MD5".parse::<DigestAlgorithm>().is_err());
    }
}
