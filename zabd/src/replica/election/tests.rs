//! The election, step by step.

use std::sync::Arc;

use super::*;
use crate::replica::ensemble::Members;

const OFFER: Candidacy = Candidacy {
    zxid: Zxid(0x1_0000_0005),
    peer_epoch: 1,
};

pub(super) fn params(me: i64) -> ElectionParams {
    ElectionParams {
        me: ServerId(me),
        is_observer: false,
        finalize_wait_ms: 200,
        min_interval_ms: 200,
        max_interval_ms: 60_000,
    }
}

/// Participants of these ids, and an observer 9.
fn configs(voters: i64) -> Configs {
    let lines: Vec<String> = (1..=voters)
        .map(|id| format!("server.{id}=h{id}:2888:3888"))
        .chain(["server.9=h9:2888:3888:observer".to_owned()])
        .collect();
    members(&lines.join("\n"))
}

pub(super) fn members(text: &str) -> Configs {
    Configs::of(Arc::new(text.parse().unwrap()))
}

fn vote(leader: i64, zxid: i64, election_epoch: i64, peer_epoch: i64) -> Vote {
    Vote {
        leader: ServerId(leader),
        zxid: Zxid(zxid),
        election_epoch,
        peer_epoch,
    }
}

fn says(state: PeerState, vote: Vote) -> Notification {
    Notification {
        state,
        leader: vote.leader.0,
        zxid: vote.zxid,
        election_epoch: vote.election_epoch,
        peer_epoch: vote.peer_epoch,
        version: 2,
        members: Some("server.1=h:1:2:participant\nversion=0".into()),
        proposed: None,
    }
}

/// An election under test with what it has said since it was last asked.
pub(super) struct Tested {
    pub(super) election: Election,
    pub(super) configs: Configs,
    pub(super) out: Vec<ElectionEffect>,
}

impl Tested {
    pub(super) fn new(params: ElectionParams, configs: Configs) -> Self {
        Self {
            election: Election::new(params),
            configs,
            out: Vec::new(),
        }
    }

    /// Server `me` of these voters, in round 1, its first votes sent.
    fn looking(me: i64, voters: i64) -> Self {
        let mut tested = Self::new(params(me), configs(voters));
        tested.begin(0, OFFER);
        tested.said();
        tested
    }

    pub(super) fn begin(&mut self, now_ms: i64, offer: Candidacy) {
        self.election
            .begin(now_ms, offer, &self.configs, &mut self.out);
    }

    fn hear(&mut self, now_ms: i64, from: i64, state: PeerState, vote: Vote) {
        let notification = says(state, vote);
        let from = ServerId(from);
        self.election
            .on_notification(now_ms, from, &notification, &self.configs, &mut self.out);
    }

    fn wakeup(&mut self, now_ms: i64, delivered: bool) {
        self.election
            .wakeup(now_ms, delivered, &self.configs, &mut self.out);
    }

    /// Who was told what, in short: `to state leader/zxid/round/epoch`.
    fn said(&mut self) -> Vec<String> {
        let text = self.configs.committed.text();
        self.out
            .drain(..)
            .map(|effect| match effect {
                ElectionEffect::ConnectAll => "connect".to_owned(),
                ElectionEffect::Elected { vote } => format!("elected {}", short(vote)),
                ElectionEffect::Notify { to, notification } => {
                    assert_eq!(notification.version, 2);
                    assert_eq!(notification.members, Some(text.clone()));
                    let ballot = Ballot::of(&notification);
                    format!("{to} {:?} {}", ballot.state, short(ballot.vote))
                }
            })
            .collect()
    }
}

fn short(vote: Vote) -> String {
    let of_low = |value: i64| match value {
        i64::MIN => "min".to_owned(),
        other => format!("{other:x}"),
    };
    format!(
        "{}/{}/{}/{}",
        of_low(vote.leader.0),
        of_low(vote.zxid.0),
        vote.election_epoch,
        of_low(vote.peer_epoch)
    )
}

use PeerState::{Following, Leading, Looking as IsLooking, Observing};

#[test]
fn one_voter_elects_itself() {
    let mut tested = Tested::new(params(1), configs(1));
    assert_eq!(tested.election.deadline(), i64::MAX);
    tested.begin(1_000, OFFER);
    assert!(tested.election.is_looking());
    assert_eq!(tested.said(), [""; 0]);
    assert_eq!(tested.election.deadline(), 1_200);
    tested.wakeup(1_199, true);
    assert_eq!(tested.said(), [""; 0]);
    tested.wakeup(1_200, true);
    assert_eq!(tested.said(), ["elected 1/100000005/1/1"]);
    assert!(!tested.election.is_looking());
    assert_eq!(tested.election.vote(), Some(vote(1, 0x1_0000_0005, 1, 1)));
}

#[test]
fn a_quorum_decides_after_the_wait_and_a_better_vote_starts_it_again() {
    let mut tested = Tested::new(params(2), configs(3));
    tested.begin(0, OFFER);
    assert_eq!(
        tested.said(),
        ["1 Looking 2/100000005/1/1", "3 Looking 2/100000005/1/1"]
    );
    tested.hear(10, 1, IsLooking, vote(2, 0x1_0000_0005, 1, 1));
    assert_eq!(tested.election.deadline(), 210);
    tested.hear(100, 1, IsLooking, vote(2, 0x1_0000_0005, 1, 1));
    assert_eq!(
        tested.election.deadline(),
        210,
        "nothing better, no new wait"
    );
    tested.hear(150, 3, IsLooking, vote(3, 0x1_0000_0005, 1, 1));
    assert_eq!(
        tested.said(),
        ["1 Looking 3/100000005/1/1", "3 Looking 3/100000005/1/1"]
    );
    assert_eq!(tested.election.deadline(), 350, "2 and 3 are for 3");
    tested.wakeup(350, true);
    assert_eq!(tested.said(), ["elected 3/100000005/1/1"]);
    let supporters: Vec<i64> = tested.election.supporters().iter().map(|id| id.0).collect();
    assert_eq!(supporters, [2, 3]);
}

/// Quorums have a server in common with those that have acknowledged anything, so the lost leader need not be asked.
#[test]
fn nothing_is_waited_for_when_all_but_the_lost_leader_agree() {
    let mut one = Tested::looking(1, 4);
    one.hear(10, 4, Leading, vote(4, 0x1_0000_0005, 1, 1));
    one.hear(10, 2, Following, vote(4, 0x1_0000_0005, 1, 1));
    one.hear(10, 3, Following, vote(4, 0x1_0000_0005, 1, 1));
    assert_eq!(one.said(), ["elected 4/100000005/1/1"]);

    one.begin(1000, OFFER);
    one.hear(1010, 3, IsLooking, vote(3, 0x1_0000_0005, 2, 1));
    assert_ne!(one.election.deadline(), 1010, "no quorum");
    one.hear(1020, 2, IsLooking, vote(3, 0x1_0000_0005, 2, 1));
    assert_eq!(one.election.deadline(), 1020);
    one.said();
    one.wakeup(1020, true);
    assert_eq!(one.said(), ["elected 3/100000005/2/1"]);

    // Who is late has still had the lost leader when it was told, and took no notice.
    one.begin(1500, OFFER);
    one.said();
    one.hear(1510, 2, IsLooking, vote(2, 0x1_0000_0004, 3, 1));
    assert_eq!(one.said(), ["2 Looking 1/100000005/3/1"]);
    one.hear(1520, 2, IsLooking, vote(2, 0x1_0000_0004, 3, 1));
    assert_eq!(one.said(), [""; 0], "once");

    // The next one is lost, too: the first one counts again, and has not voted.
    one.begin(2000, OFFER);
    one.hear(2010, 2, IsLooking, vote(2, 0x1_0000_0005, 4, 1));
    one.hear(2010, 3, IsLooking, vote(2, 0x1_0000_0005, 4, 1));
    assert_eq!(one.election.deadline(), 2210);
    one.hear(2020, 4, IsLooking, vote(2, 0x1_0000_0005, 4, 1));
    assert_eq!(one.election.deadline(), 2020);
    // The lost one has something newer to offer, in time.
    one.hear(2020, 3, IsLooking, vote(3, 0x1_0000_0007, 4, 1));
    assert_ne!(one.election.deadline(), 2020);
}

#[test]
fn epoch_goes_before_zxid_and_zxid_before_id() {
    for (better, worse) in [
        (vote(1, 0, 1, 2), vote(3, 9, 1, 1)),
        (vote(1, 6, 1, 1), vote(3, 5, 1, 1)),
        (vote(3, 5, 1, 1), vote(2, 5, 1, 1)),
        (vote(1, i64::MIN + 1, 1, 0), vote(3, i64::MIN, 1, 0)),
    ] {
        let members = &configs(3).committed;
        let (better, worse) = (Candidate::of(better), Candidate::of(worse));
        assert!(better.is_better_than(worse, members));
        assert!(!worse.is_better_than(better, members));
        assert!(!better.is_better_than(better, members));
    }
}

#[test]
fn who_weighs_nothing_is_not_proposed() {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\ngroup.1=1:2:3\nweight.3=0";
    let mut tested = Tested::new(params(1), members(text));
    tested.begin(0, OFFER);
    tested.said();
    tested.hear(10, 3, IsLooking, vote(3, 0x9_0000_0000, 1, 9));
    assert_eq!(tested.said(), [""; 0]);
    tested.hear(10, 2, IsLooking, vote(2, 0x1_0000_0006, 1, 1));
    assert_eq!(tested.said().len(), 2);
}

#[test]
fn a_later_round_is_joined_with_the_better_of_both_first_votes() {
    for (heard, proposed) in [
        (vote(3, 0x1_0000_0004, 7, 1), "2/100000005/7/1"),
        (vote(3, 0x1_0000_0005, 7, 1), "3/100000005/7/1"),
    ] {
        let mut tested = Tested::looking(2, 3);
        // Of the round before, and better than anything: forgotten.
        tested.hear(5, 1, IsLooking, vote(1, 0x9_0000_0000, 1, 9));
        tested.said();
        assert_eq!(tested.election.deadline(), 205);
        tested.hear(10, 3, IsLooking, heard);
        let expected = [1, 3].map(|to| format!("{to} Looking {proposed}"));
        assert_eq!(tested.said(), expected);
    }
}

#[test]
fn an_earlier_round_is_told_of_the_later_one() {
    let mut tested = Tested::looking(2, 3);
    tested.hear(5, 3, IsLooking, vote(3, 0x1_0000_0005, 4, 1));
    tested.said();
    tested.hear(10, 1, IsLooking, vote(1, 0x9_0000_0000, 3, 9));
    assert_eq!(tested.said(), ["1 Looking 3/100000005/4/1"]);
    let sent_to_nobody_else = tested.election.deadline();
    assert_eq!(sent_to_nobody_else, 205, "2 and 3 are for 3");
}

#[test]
fn votes_are_sent_again_ever_more_seldom() {
    let mut tested = Tested::looking(1, 5);
    let mut now_ms = 200;
    for wait_ms in [
        400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000,
    ] {
        assert_eq!(tested.election.deadline(), now_ms);
        tested.wakeup(now_ms, true);
        assert_eq!(tested.said().len(), 4);
        assert_eq!(tested.election.deadline(), now_ms + wait_ms);
        now_ms += wait_ms;
    }
    tested.wakeup(now_ms, false);
    assert_eq!(tested.said(), ["connect"]);
    // Hearing what is known puts nothing off; with something new it begins with the shortest wait.
    tested.hear(now_ms + 7, 2, IsLooking, vote(1, 0x1_0000_0005, 0, 1));
    assert_eq!(tested.election.deadline(), now_ms + 60_000);
    tested.hear(now_ms + 8, 2, IsLooking, vote(2, 0x1_0000_0005, 2, 1));
    assert_eq!(tested.election.deadline(), now_ms + 208);
    // A new election begins with the shortest wait.
    tested.begin(now_ms + 10, OFFER);
    assert_eq!(tested.election.deadline(), now_ms + 210);
}

#[test]
fn who_may_have_lost_data_neither_votes_nor_is_voted_for() {
    let lost = Candidacy {
        zxid: Zxid(-1),
        peer_epoch: 1,
    };
    let mut tested = Tested::new(params(1), configs(1));
    tested.begin(0, lost);
    assert_eq!(tested.election.deadline(), 200, "not even for itself");
    let mut tested = Tested::new(params(3), configs(3));
    tested.begin(0, lost);
    assert_eq!(
        tested.said(),
        ["1 Looking 3/-1/1/1", "2 Looking 3/-1/1/1"]
            .map(|line| line.replace("-1", "ffffffffffffffff"))
    );
    for from in [1, 2] {
        tested.hear(10, from, IsLooking, vote(2, 5, 8, 1));
    }
    assert_eq!(tested.said(), [""; 0]);
    assert_eq!(tested.election.deadline(), 200);
    // It follows those that have a leader.
    tested.hear(20, 1, Following, vote(2, 5, 8, 1));
    tested.hear(20, 2, Leading, vote(2, 5, 8, 1));
    assert_eq!(tested.said(), ["elected 2/5/8/1"]);

    let mut tested = Tested::looking(1, 3);
    for from in [2, 3] {
        tested.hear(10, from, IsLooking, vote(3, -1, 8, 9));
    }
    assert_eq!(tested.said(), [""; 0], "its round is not joined either");
}

#[test]
fn latecomers_join_a_quorum_whose_leader_says_so_itself() {
    use PeerState::Observing;
    let led = vote(3, 5, 4, 2);
    let epoch_before = vote(3, 5, 4, 1);
    for (heard, joined) in [
        // A quorum without the leader, the leader without a quorum, a leader that only follows.
        (
            vec![
                (2, Following, led),
                (4, Following, led),
                (5, Following, led),
            ],
            false,
        ),
        (vec![(3, Leading, led), (4, Following, led)], false),
        (
            vec![
                (3, Following, led),
                (4, Following, led),
                (5, Following, led),
            ],
            false,
        ),
        (
            vec![(3, Leading, led), (4, Observing, led), (5, Following, led)],
            false,
        ),
        (
            vec![(3, Leading, led), (4, Following, led), (5, Following, led)],
            true,
        ),
        (
            vec![(5, Following, led), (4, Following, led), (3, Leading, led)],
            true,
        ),
        // Rounds and zxids may differ, epochs not.
        (
            vec![
                (4, Following, vote(3, 1, 9, 2)),
                (5, Following, vote(3, 2, 8, 2)),
                (3, Leading, led),
            ],
            true,
        ),
        (
            vec![
                (4, Following, epoch_before),
                (5, Following, led),
                (3, Leading, led),
            ],
            false,
        ),
        // The newest word of a server counts.
        (
            vec![
                (4, Following, led),
                (5, Following, led),
                (4, Following, vote(2, 5, 4, 2)),
                (3, Leading, led),
            ],
            false,
        ),
    ] {
        let mut tested = Tested::looking(1, 5);
        for (from, state, vote) in &heard {
            tested.hear(10, *from, *state, *vote);
        }
        let said = tested.said();
        assert_eq!(!said.is_empty(), joined, "{heard:?}: {said:?}");
        if joined {
            assert_eq!(said, ["elected 3/5/4/2"]);
            // Its next election is in the round after that one.
            tested.begin(20, OFFER);
            assert!(tested.said()[0].ends_with("/5/1"));
        }
    }
}

#[test]
fn in_the_same_round_epochs_of_those_who_have_a_leader_do_not_count() {
    let mut tested = Tested::looking(1, 3);
    tested.hear(10, 2, Following, vote(3, 5, 1, 1));
    tested.hear(10, 3, Leading, vote(3, 5, 1, 2));
    assert_eq!(tested.said(), ["elected 3/5/1/2"]);
}

#[test]
fn what_was_said_in_a_round_that_is_over_does_not_count() {
    let mut tested = Tested::looking(1, 5);
    tested.hear(10, 4, Following, vote(3, 5, 1, 1));
    tested.hear(20, 2, IsLooking, vote(2, 5, 7, 1));
    tested.hear(30, 5, Following, vote(3, 5, 7, 2));
    tested.hear(30, 3, Leading, vote(3, 5, 7, 2));
    assert!(
        tested.election.is_looking(),
        "4 tells another epoch, of another round"
    );
    tested.hear(40, 4, Following, vote(3, 5, 7, 1));
    tested.hear(50, 3, Leading, vote(3, 5, 7, 2));
    assert!(!tested.election.is_looking());
}

#[test]
fn a_vote_of_this_round_and_the_leaders_word_are_enough() {
    let mut tested = Tested::looking(1, 5);
    let decided = vote(3, 0x1_0000_0006, 1, 1);
    tested.hear(10, 2, IsLooking, decided);
    tested.said();
    tested.hear(20, 3, Leading, decided);
    assert_eq!(tested.said(), ["elected 3/100000006/1/1"], "1, 2 and 3");
}

#[test]
fn who_is_followed_in_this_very_round_leads() {
    for (round, leads) in [(1, true), (2, false)] {
        let mut tested = Tested::looking(1, 3);
        for from in [2, 3] {
            tested.hear(10, from, Following, vote(1, 5, round, 1));
        }
        assert_eq!(tested.election.is_looking(), !leads);
    }
}

#[test]
fn votes_of_and_for_those_who_have_none_are_not_counted() {
    let mut tested = Tested::looking(1, 3);
    // For an observer, a stranger, nobody.
    for leader in [9, 77, i64::MIN] {
        for from in [2, 3] {
            tested.hear(10, from, IsLooking, vote(leader, 0x9_0000_0000, 1, 9));
            tested.hear(10, from, Leading, vote(leader, 0x9_0000_0000, 1, 9));
        }
    }
    assert_eq!(tested.said(), [""; 0]);
    // By an observer, a stranger; they are answered.
    for from in [9, 77, -1] {
        tested.hear(10, from, IsLooking, vote(3, 0x9_0000_0000, 1, 9));
        assert_eq!(tested.said(), [format!("{from} Looking 1/100000005/1/1")]);
    }
    // Somebody who says to be this server.
    tested.hear(10, 1, IsLooking, vote(3, 0x9_0000_0000, 1, 9));
    assert_eq!(tested.said(), [""; 0]);
}

#[test]
fn answers_while_serving() {
    for (leader, is_observer, state) in [
        (1, false, Leading),
        (2, false, Following),
        (2, true, Observing),
    ] {
        let mut configs = configs(3);
        if is_observer {
            configs =
                members("server.1=a:1:2:observer\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2");
        }
        let mut tested = Tested::new(
            ElectionParams {
                is_observer,
                ..params(1)
            },
            configs,
        );
        // Before the first election there is nothing to say.
        tested.hear(0, 2, IsLooking, vote(2, 5, 1, 1));
        tested.hear(0, 77, IsLooking, vote(2, 5, 1, 1));
        tested.begin(0, OFFER);
        tested.said();
        let decided = vote(leader, 0x1_0000_0005, 1, 1);
        for from in [2, 3] {
            let state = if from == leader { Leading } else { Following };
            tested.hear(10, from, state, decided);
        }
        assert_eq!(tested.said(), [format!("elected {leader}/100000005/1/1")]);
        tested.election.set_established(2);

        let answer = format!("{state:?} {leader}/100000005/1/2");
        tested.hear(20, 3, IsLooking, vote(3, 0, 9, 0));
        assert_eq!(tested.said(), [format!("3 {answer}")]);
        tested.hear(20, 77, IsLooking, vote(i64::MIN, i64::MIN, 9, i64::MIN));
        assert_eq!(tested.said(), [format!("77 {answer}")]);
        for other in [Following, Leading, Observing] {
            tested.hear(20, 3, other, vote(3, 0, 9, 0));
        }
        assert_eq!(tested.said(), [""; 0]);
        tested.election.on_role_over();
        tested.hear(25, 3, IsLooking, vote(3, 0, 9, 0));
        tested.hear(25, 77, IsLooking, vote(3, 0, 9, 0));
        assert_eq!(tested.said(), [""; 0], "what it knew is over");
        // The next election goes on with what was logged, not with the vote that was told.
        tested.begin(30, OFFER);
        assert!(tested.election.is_looking());
        assert_eq!(tested.election.vote().map(|vote| vote.peer_epoch), Some(2));
    }
}

#[test]
fn who_does_not_vote_proposes_nobody_and_learns_the_leader() {
    let me_observes = ElectionParams {
        is_observer: true,
        ..params(9)
    };
    for (params, first) in [
        (me_observes, "min/min/1/min"),
        (params(8), "min/100000005/1/1"),
    ] {
        let mut tested = Tested::new(params, configs(3));
        tested.begin(0, OFFER);
        let expected = [1, 2, 3].map(|to| format!("{to} Looking {first}"));
        assert_eq!(tested.said(), expected);
        // Its own round is of no use to others.
        tested.hear(5, 1, IsLooking, vote(1, 0x1_0000_0006, 0, 1));
        assert_eq!(tested.said(), [""; 0]);
        // While the others look: in their round, with their votes.
        for from in [1, 2] {
            tested.hear(10, from, IsLooking, vote(2, 0x1_0000_0006, 5, 1));
        }
        let expected = [1, 2, 3].map(|to| format!("{to} Looking 2/100000006/5/1"));
        assert_eq!(tested.said(), expected);
        tested.wakeup(tested.election.deadline(), true);
        assert_eq!(tested.said(), ["elected 2/100000006/5/1"]);
        // Once they have a leader.
        tested.begin(1_000, OFFER);
        tested.said();
        tested.hear(1_010, 2, Leading, vote(2, 0x1_0000_0006, 5, 2));
        tested.hear(1_010, 3, Following, vote(2, 0x1_0000_0006, 5, 2));
        assert_eq!(tested.said(), ["elected 2/100000006/5/2"]);
    }
}

#[test]
fn a_change_of_the_membership_needs_both_quorums() {
    let old = Arc::new(
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=1"
            .parse::<Members>()
            .unwrap(),
    );
    let new = "server.1=a:1:2\nserver.4=d:1:2\nserver.5=e:1:2\nversion=2"
        .parse::<Members>()
        .unwrap();
    let changing = Configs {
        rumoured: None,
        committed: old,
        proposed: Arc::new(new),
    };
    let mut tested = Tested::new(params(1), changing);
    tested.begin(0, OFFER);
    assert_eq!(tested.said().len(), 4, "2 to 5");
    let mine = vote(1, 0x1_0000_0005, 1, 1);
    tested.hear(10, 2, IsLooking, mine);
    assert_eq!(
        tested.election.deadline(),
        200,
        "no quorum of the new one: the next notification"
    );
    tested.hear(20, 4, IsLooking, mine);
    tested.wakeup(220, true);
    assert_eq!(tested.said(), ["elected 1/100000005/1/1"]);

    // One that joins with the change votes, and stands: it may have the newest history. Where that is no newer, one goes
    // first whom everybody knows.
    let configs = tested.configs.clone();
    let mut tested = Tested::new(params(4), configs);
    tested.begin(0, OFFER);
    assert_eq!(tested.said()[0], "1 Looking 4/100000005/1/1");
    tested.hear(10, 1, IsLooking, mine);
    assert_eq!(tested.said()[0], "1 Looking 1/100000005/1/1");
}

#[test]
fn votes_for_strangers_count_where_nobody_is_elected_without_them() {
    let newer = vote(7, 0x1_0000_0006, 1, 1);
    let mut tested = Tested::looking(1, 3);
    let needs = |tested: &Tested| tested.election.needs_those_astray(&tested.configs);
    assert!(!needs(&tested), "nobody was heard of");
    // Of one that does not vote, and of one that is for nobody.
    tested.hear(10, 7, IsLooking, newer);
    tested.hear(10, 2, IsLooking, vote(i64::MIN, i64::MIN, 1, i64::MIN));
    assert!(!needs(&tested));
    tested.hear(20, 2, IsLooking, newer);
    assert!(needs(&tested));
    tested.hear(30, 3, IsLooking, vote(3, 5, 1, 1));
    assert!(!needs(&tested), "1 and 3 are a quorum");
    tested.hear(40, 3, Following, newer);
    assert!(needs(&tested));
    tested.said();

    let known = "server.2=b:1:2\nserver.7=g:1:2\nversion=6";
    tested.configs.rumoured = Some(Arc::new(known.parse().unwrap()));
    tested.begin(50, OFFER);
    let to: Vec<String> = tested.said();
    assert_eq!(to.last().unwrap(), "7 Looking 1/100000005/2/1");
    tested.hear(60, 2, IsLooking, vote(7, 0x1_0000_0006, 2, 1));
    assert_eq!(tested.said()[0], "2 Looking 7/100000006/2/1");
    // Its own quorum is what it was.
    tested.wakeup(260, true);
    assert_eq!(tested.said(), ["elected 7/100000006/2/1"]);
}

#[test]
fn a_membership_that_changes_during_the_last_wait_is_looked_at() {
    let mut tested = Tested::looking(2, 3);
    tested.hear(10, 1, IsLooking, vote(2, 0x1_0000_0005, 1, 1));
    tested.configs = configs(5);
    tested.wakeup(210, true);
    assert_eq!(tested.said(), [""; 0]);
    assert_eq!(tested.election.deadline(), 410);
    tested.hear(250, 4, IsLooking, vote(2, 0x1_0000_0005, 1, 1));
    tested.wakeup(450, true);
    assert_eq!(tested.said(), ["elected 2/100000005/1/1"]);
}

#[test]
fn messages_without_version_agree_on_the_leader_alone() {
    let old = |vote| Notification {
        version: 0,
        members: None,
        ..says(Following, vote)
    };
    let mut tested = Tested::looking(1, 3);
    let from = ServerId(2);
    let heard = old(vote(3, 5, 4, 1));
    let (configs, out) = (tested.configs.clone(), &mut tested.out);
    tested
        .election
        .on_notification(10, from, &heard, &configs, out);
    tested.hear(10, 3, Leading, vote(3, 5, 4, 2));
    assert_eq!(tested.said(), ["elected 3/5/4/2"]);
}

#[test]
fn absurd_numbers_do_no_harm() {
    let mut tested = Tested::looking(1, 3);
    for extreme in [i64::MAX, i64::MIN, -1, 0] {
        for state in [IsLooking, Following, Leading, Observing] {
            for leader in [extreme, 3] {
                let vote = vote(leader, extreme, extreme, extreme);
                tested.hear(extreme, 3, state, vote);
                tested.wakeup(extreme, true);
            }
        }
    }
    tested.begin(i64::MAX, OFFER);
    tested.begin(i64::MIN, OFFER);
    assert!(tested.election.is_looking());
}
