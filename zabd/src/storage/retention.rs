//! Which log segments may go. Pure: [`super::txn_log::TxnLog::purge`] carries it out.

use jute_codec::Zxid;

/// What ZooKeeper keeps unless told otherwise (`autopurge.snapRetainCount`), and the least it accepts.
pub const RETAIN_COUNT_DEFAULT: usize = 3;

/// The zxid to purge the log up to, if anything may go.
///
/// `bases` are those of the segments, oldest first: a segment holds the transactions after its base up
/// to the next one's base, the newest has no end. A segment may go once the durable snapshot has
/// everything in it; of those that may, the `retain` newest stay, so that learners which lag a little
/// are brought up to date from the log.
#[must_use]
pub fn purge_up_to(bases: &[Zxid], snapshot_durable: Option<Zxid>, retain: usize) -> Option<Zxid> {
    let durable = snapshot_durable?;
    let ends = bases.get(1..)?;
    let covered = ends.partition_point(|end| *end <= durable);
    let goes = covered.checked_sub(retain.max(1))?.checked_sub(1)?;
    ends.get(goes).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(bases: &[i64], durable: Option<i64>, retain: usize) -> Option<i64> {
        let bases: Vec<Zxid> = bases.iter().copied().map(Zxid).collect();
        purge_up_to(&bases, durable.map(Zxid), retain).map(|zxid| zxid.0)
    }

    #[test]
    fn only_covered_segments_go_and_some_of_them_stay() {
        let bases = [0, 10, 20, 30, 40, 50];
        for (durable, retain, expected) in [
            (None, 1, None),
            (Some(0), 1, None),
            (Some(19), 1, None),
            (Some(20), 1, Some(10)),
            (Some(29), 1, Some(10)),
            (Some(50), 1, Some(40)),
            (Some(50), 3, Some(20)),
            (Some(49), 3, Some(10)),
            (Some(i64::MAX), 3, Some(20)),
            (Some(50), 5, None),
            (Some(50), 0, Some(40)),
        ] {
            assert_eq!(
                purge(&bases, durable, retain),
                expected,
                "durable {durable:?}, retain {retain}"
            );
        }
    }

    #[test]
    fn the_newest_segment_and_an_empty_log_have_nothing_to_give() {
        assert_eq!(purge(&[], Some(9), 1), None);
        assert_eq!(purge(&[0], Some(9), 1), None);
        assert_eq!(purge(&[0, 5], Some(9), 1), None);
    }

    #[test]
    fn what_goes_is_in_the_snapshot() {
        for durable in 0..60 {
            for retain in 0..6 {
                if let Some(up_to) = purge(&[0, 10, 20, 30, 40, 50], Some(durable), retain) {
                    assert!(up_to <= durable);
                }
            }
        }
    }
}
