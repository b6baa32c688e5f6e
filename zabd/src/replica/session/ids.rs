//! Ids of new sessions.

use jute_codec::SessionId;

/// Gives out ids that no session has had.
///
/// The high byte is the server's id, then 40 bits of milliseconds, then 16 of a counter.
///
/// Java takes the milliseconds of a clock that starts with the host, so that a host that boots twice can hand out an
/// id twice; the wall clock cannot, short of being set back.
#[derive(Debug)]
pub(in crate::replica) struct SessionIds {
    next: i64,
}

impl SessionIds {
    pub(in crate::replica) const fn new(server_id: u8, wall_ms: i64) -> Self {
        let by_time = (wall_ms.cast_unsigned() << 24 >> 8).cast_signed();
        Self {
            next: by_time | (server_id as i64) << 56,
        }
    }

    /// The next id that is not taken.
    pub(in crate::replica) fn next(&mut self, is_taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let candidate = SessionId(self.next);
            self.next = self.next.wrapping_add(1);
            if !matches!(candidate.0, 0 | i64::MIN) && !is_taken(candidate) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_server_and_time_and_never_mean_none() {
        let mut ids = SessionIds::new(1, 0x2c_8295_0000 >> 16);
        assert_eq!(ids.next(|_| false), SessionId(0x0100_002c_8295_0000));
        assert_eq!(
            ids.next(|id| id.0 & 0xff < 4),
            SessionId(0x0100_002c_8295_0004)
        );
        let mut wrapping = SessionIds::new(128, 0);
        assert_eq!(wrapping.next(|_| false), SessionId(i64::MIN + 1));
    }
}
