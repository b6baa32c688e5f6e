//! Session passwords: a function of the id alone, so that any server can check one, also after a restart.
//!
//! ZooKeeper: `ZooKeeperServer.generatePasswd`, which takes 16 bytes of `java.util.Random`.

use jute_codec::SessionId;
use jute_codec::proto::PASSWORD_BYTES;

const SECRET: u64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

/// The password of a session.
#[must_use]
pub fn password_of(session: SessionId) -> [u8; PASSWORD_BYTES] {
    let mut password = [0; PASSWORD_BYTES];
    let mut state = (session.0.cast_unsigned() ^ SECRET ^ MULTIPLIER) & MASK;
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        // The 32 bits above the lowest 16, least significant byte first.
        word.copy_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    password
}

/// Whether `password` is the session's.
#[must_use]
pub fn password_matches(session: SessionId, password: Option<&[u8]>) -> bool {
    session != SessionId::NONE && password == Some(&password_of(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of `client-protocol.md` §3.6 and `storage-formats.md` §10.5.
    #[test]
    fn passwords_are_those_of_java() {
        for (session, password) in [
            (
                0x0100_002c_8295_0000,
                0x2135_df1c_9a76_c639_67a7_0772_7319_3fa8_u128,
            ),
            (
                0x0100_0015_da51_0000,
                0x95c8_3277_fe76_c64c_fba9_919d_772a_c3e8,
            ),
            (
                0x1000_0000_0000_0001,
                0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005,
            ),
        ] {
            assert_eq!(password_of(SessionId(session)), password.to_be_bytes());
            assert!(password_matches(
                SessionId(session),
                Some(&password.to_be_bytes())
            ));
        }
        assert!(!password_matches(
            SessionId::NONE,
            Some(&password_of(SessionId::NONE))
        ));
        assert!(!password_matches(SessionId(1), None));
        assert!(!password_matches(
            SessionId(1),
            Some(&password_of(SessionId(1))[..15])
        ));
    }
}
