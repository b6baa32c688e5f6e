//! How often servers that do not vote are answered.

use std::collections::BTreeMap;

use crate::replica::ensemble::ServerId;

/// Counts answers, so that no outsider keeps this server busy.
#[derive(Debug)]
pub(super) struct Outsiders {
    interval_ms: i64,
    since_ms: i64,
    // At most `SERVERS_MAX` servers, at most `ANSWERS_MAX` answers each.
    answers: BTreeMap<ServerId, u32>,
}

impl Outsiders {
    pub(super) fn new(interval_ms: i64) -> Self {
        Self {
            interval_ms,
            since_ms: i64::MIN,
            answers: BTreeMap::new(),
        }
    }

    /// Whether this server may be answered once more; if so, that is counted.
    pub(super) fn may_answer(&mut self, now_ms: i64, server: ServerId) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= self.interval_ms {
            self.since_ms = now_ms;
            self.answers.clear();
        }
        if self.answers.len() >= SERVERS_MAX && !self.answers.contains_key(&server) {
            return false;
        }
        let answers = self.answers.entry(server).or_default();
        *answers = answers.saturating_add(1);
        *answers <= ANSWERS_MAX
    }
}

/// Answers to one server in an interval; one that joins needs two or three for each voter at most.
const ANSWERS_MAX: u32 = 16;

/// Servers to answer in an interval.
const SERVERS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_share_and_a_new_one_in_the_next_interval() {
        let mut outsiders = Outsiders::new(200);
        for now_ms in [0, 200, 450] {
            for server in [7, 8] {
                for _ in 0..ANSWERS_MAX {
                    assert!(outsiders.may_answer(now_ms, ServerId(server)));
                }
                assert!(!outsiders.may_answer(now_ms + 199, ServerId(server)));
            }
        }
    }

    #[test]
    fn made_up_ids_take_no_room() {
        let mut outsiders = Outsiders::new(200);
        let answered = (0..10_000)
            .filter(|id| outsiders.may_answer(0, ServerId(*id)))
            .count();
        assert_eq!(answered, SERVERS_MAX);
        assert_eq!(outsiders.answers.len(), SERVERS_MAX);
    }
}
