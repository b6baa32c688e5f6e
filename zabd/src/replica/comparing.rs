//! What the digests say that come with transactions: whether this server's tree is the leader's.
//!
//! A snapshot of a Java leader is of no one moment, and comes out right only behind all that follows it before clients are
//! served: until then a digest that differs says nothing. A tree that was taken over from a leader and differs even then,
//! and in everything that was ever compared since, differs because the leader counts otherwise: a JVM whose default charset
//! is not UTF-8 counts names outside of ASCII so. Nothing can be compared with that one.

use crate::state::DigestMismatch;

/// See the module.
#[derive(Debug, Default)]
pub struct Comparing {
    copy: Copy,
}

/// Where the tree comes from.
#[derive(Debug, Default)]
enum Copy {
    /// It was the leader's once.
    #[default]
    Proven,
    /// A leader's snapshot has taken its place, and more is to follow; what the newest comparison here came to.
    Unfinished(Option<Result<(), DigestMismatch>>),
    /// A leader's snapshot has taken its place, and nothing was compared since all of it is there.
    Unproven,
    /// The leader of this epoch counts otherwise.
    Incomparable(i64),
}

/// What a comparison means.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, or that the trees are the same.
    Fine,
    /// The leader of this epoch counts otherwise; said once.
    Incomparable(DigestMismatch),
    /// One of the two is wrong.
    Differs(DigestMismatch),
}

impl Comparing {
    /// A leader's snapshot takes the place of the tree.
    pub fn on_taken_over(&mut self) {
        self.copy = Copy::Unfinished(None);
    }

    /// The tree was made anew out of what is on disk.
    pub fn on_made_anew(&mut self) {
        self.copy = Copy::Proven;
    }

    /// Whether the tree may be of no one moment.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        matches!(self.copy, Copy::Unfinished(_))
    }

    /// Everything is there that the leader had when `epoch` began; `behind` is what comparisons came to of what was taken over
    /// together with the snapshot.
    pub fn on_serve(&mut self, epoch: i64, behind: Option<DigestMismatch>) -> Verdict {
        let Copy::Unfinished(newest) = &self.copy else {
            return Verdict::Fine;
        };
        match newest.unwrap_or(behind.map_or(Ok(()), Err)) {
            // What an earlier leader had is not what this one has.
            Err(mismatch) if mismatch.zxid.epoch() == epoch => {
                self.copy = Copy::Incomparable(epoch);
                Verdict::Incomparable(mismatch)
            }
            _ => {
                self.copy = Copy::Unproven;
                Verdict::Fine
            }
        }
    }

    /// A transaction was applied; `is_told` says whether it came with a digest.
    pub fn on_applied(&mut self, compared: Result<(), DigestMismatch>, is_told: bool) -> Verdict {
        match (&mut self.copy, compared) {
            _ if !is_told => Verdict::Fine,
            (Copy::Unfinished(newest), compared) => {
                *newest = Some(compared);
                Verdict::Fine
            }
            (Copy::Unproven, Err(mismatch)) => {
                self.copy = Copy::Incomparable(mismatch.zxid.epoch());
                Verdict::Incomparable(mismatch)
            }
            (Copy::Incomparable(epoch), Err(mismatch)) if mismatch.zxid.epoch() == *epoch => {
                Verdict::Fine
            }
            (_, Err(mismatch)) => Verdict::Differs(mismatch),
            (copy, Ok(())) => {
                *copy = Copy::Proven;
                Verdict::Fine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jute_codec::Zxid;

    use super::*;

    const SAME: Result<(), DigestMismatch> = Ok(());

    fn at(epoch: i64) -> DigestMismatch {
        DigestMismatch {
            zxid: Zxid(epoch << 32 | 7),
            expected: 1,
            found: 2,
        }
    }

    #[test]
    fn a_tree_of_no_one_moment_may_differ_until_all_of_it_is_there() {
        let mut comparing = Comparing::default();
        assert!(!comparing.is_unfinished());
        comparing.on_taken_over();
        assert_eq!(comparing.on_applied(Err(at(2)), true), Verdict::Fine);
        assert_eq!(comparing.on_applied(SAME, true), Verdict::Fine);
        assert!(comparing.is_unfinished());
        // Says nothing of the tree.
        assert_eq!(comparing.on_applied(SAME, false), Verdict::Fine);
        assert_eq!(comparing.on_serve(2, None), Verdict::Fine);
        assert!(!comparing.is_unfinished());
        assert_eq!(comparing.on_applied(SAME, true), Verdict::Fine);
        let differs = Verdict::Differs(at(2));
        assert_eq!(comparing.on_applied(Err(at(2)), true), differs);
    }

    #[test]
    fn who_differs_from_the_very_copy_that_it_sent_counts_otherwise() {
        for before in [true, false] {
            let mut comparing = Comparing::default();
            comparing.on_taken_over();
            let incomparable = Verdict::Incomparable(at(2));
            if before {
                assert_eq!(comparing.on_applied(Err(at(2)), true), Verdict::Fine);
                assert_eq!(comparing.on_serve(2, None), incomparable);
            } else {
                assert_eq!(comparing.on_serve(2, None), Verdict::Fine);
                assert_eq!(comparing.on_applied(Err(at(2)), true), incomparable);
            }
            // Said once, and true of that leader only.
            assert_eq!(comparing.on_applied(Err(at(2)), true), Verdict::Fine);
            let differs = Verdict::Differs(at(3));
            assert_eq!(comparing.on_applied(Err(at(3)), true), differs);
        }
    }

    #[test]
    fn what_came_with_the_snapshot_counts_unless_more_came() {
        let serve = |more: &[Result<(), DigestMismatch>], behind| {
            let mut comparing = Comparing::default();
            comparing.on_taken_over();
            for compared in more {
                assert_eq!(comparing.on_applied(*compared, true), Verdict::Fine);
            }
            comparing.on_serve(2, behind)
        };
        assert_eq!(serve(&[], None), Verdict::Fine);
        assert_eq!(serve(&[], Some(at(1))), Verdict::Fine);
        assert_eq!(serve(&[], Some(at(2))), Verdict::Incomparable(at(2)));
        assert_eq!(serve(&[SAME], Some(at(2))), Verdict::Fine);
    }

    #[test]
    fn what_earlier_leaders_had_says_nothing() {
        let mut comparing = Comparing::default();
        comparing.on_taken_over();
        assert_eq!(comparing.on_applied(Err(at(1)), true), Verdict::Fine);
        assert_eq!(comparing.on_serve(2, None), Verdict::Fine);
        assert_eq!(comparing.on_applied(SAME, true), Verdict::Fine);
    }

    #[test]
    fn one_that_came_out_right_once_is_compared_with_from_then_on() {
        let mut comparing = Comparing::default();
        let differs = Verdict::Differs(at(1));
        assert_eq!(comparing.on_applied(Err(at(1)), true), differs);
        comparing.on_taken_over();
        comparing.on_serve(1, None);
        comparing.on_applied(SAME, true);
        assert_eq!(comparing.on_applied(Err(at(1)), true), differs);
        comparing.on_taken_over();
        comparing.on_made_anew();
        assert_eq!(comparing.on_applied(Err(at(1)), true), differs);
    }
}
