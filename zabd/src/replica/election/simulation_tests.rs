//! Many elections on virtual time, from seeds: messages late, lost, doubled and replaced, servers that crash, come late
//! and come back, cut links. Then the faults stop, and everybody must have the same leader before long.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use super::*;
use crate::replica::ensemble::Members;

/// One world takes well below a millisecond; more seeds by `ELECTION_SEEDS`, one alone by `ELECTION_SEED`.
const SEEDS: u64 = 3_000;

/// How often roles are looked after, in milliseconds.
const TICK_MS: i64 = 250;

/// After so long without its leader a follower looks for a new one, in milliseconds.
const PATIENCE_MS: i64 = 3_000;

/// The same for a leader without its quorum.
const LEADER_PATIENCE_MS: i64 = 6_000;

/// More messages than any world needs: two servers that answer each other for ever.
const MESSAGES_MAX: u64 = 20_000;

/// A small generator (xorshift*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        i64::try_from(drawn).unwrap() % limit
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

/// A server: its election, and just enough of a role to notice that the leader is of no use.
struct Server {
    election: Election,
    params: ElectionParams,
    is_up: bool,
    // What survives a crash.
    offer: Candidacy,
    // When a follower last had its leader, or the leader its quorum.
    content_at_ms: i64,
    // The epoch that was established, while it is.
    established: Option<i64>,
}

type Key = (ServerId, ServerId);

struct World {
    dice: Dice,
    now_ms: i64,
    configs: Configs,
    servers: BTreeMap<ServerId, Server>,
    // One message a destination; the newest replaces the one that waits.
    waiting: BTreeMap<Key, Notification>,
    // Deliveries by time; the number keeps the order of sending.
    flying: BinaryHeap<Reverse<(i64, u64, Key)>>,
    messages: BTreeMap<u64, Notification>,
    sent: u64,
    cut: BTreeSet<Key>,
    is_quiet: bool,
    // What every server has offered when it cast a vote, to judge those who are elected by it.
    cast: BTreeMap<(ServerId, [i64; 4]), Candidacy>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let voters = [3, 5, 7][usize::try_from(dice.below(3)).unwrap()];
        let observers = dice.below(3);
        let mut lines: Vec<String> = (1..=voters + observers)
            .map(|id| {
                let role = if id > voters { ":observer" } else { "" };
                format!("server.{id}=h{id}:2888:3888{role}")
            })
            .collect();
        if voters == 7 && dice.chance(30) {
            lines.push("group.1=1:2:3\ngroup.2=4:5\ngroup.3=6:7\nweight.3=0\nweight.6=2".into());
        }
        let members: Members = lines.join("\n").parse().unwrap();
        let max_interval_ms = [1_000, 60_000][usize::try_from(dice.below(2)).unwrap()];
        let mut ids: Vec<i64> = (1..=voters + observers).collect();
        if dice.chance(50) {
            // A joiner, which no membership has.
            ids.push([20, -1][usize::try_from(dice.below(2)).unwrap()]);
        }
        let servers = ids
            .into_iter()
            .map(|id| {
                let params = ElectionParams {
                    me: ServerId(id),
                    is_observer: (voters + 1..=voters + observers).contains(&id),
                    finalize_wait_ms: 200,
                    min_interval_ms: 200,
                    max_interval_ms,
                };
                let epoch = dice.below(3);
                let offer = Candidacy {
                    zxid: Zxid((epoch << 32) + dice.below(4)),
                    peer_epoch: epoch,
                };
                let server = Server {
                    election: Election::new(params.clone()),
                    params,
                    is_up: false,
                    offer,
                    content_at_ms: 0,
                    established: None,
                };
                (ServerId(id), server)
            })
            .collect();
        Self {
            dice,
            now_ms: 0,
            configs: Configs::of(Arc::new(members)),
            servers,
            waiting: BTreeMap::new(),
            flying: BinaryHeap::new(),
            messages: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            is_quiet: false,
            cast: BTreeMap::new(),
        }
    }

    fn ids(&self) -> Vec<ServerId> {
        self.servers.keys().copied().collect()
    }

    fn server(&mut self, id: ServerId) -> &mut Server {
        self.servers.get_mut(&id).unwrap()
    }

    /// Goes on until this time, or until everybody is content after the faults have stopped.
    fn run_until(&mut self, end_ms: i64) {
        while self.now_ms < end_ms && !(self.is_quiet && self.is_settled()) {
            let next_tick_ms = (self.now_ms / TICK_MS + 1) * TICK_MS;
            self.run_events(next_tick_ms);
            self.now_ms = next_tick_ms;
            if !self.is_quiet {
                self.disturb();
            }
            for id in self.ids() {
                if self.servers[&id].is_up && !self.servers[&id].election.is_looking() {
                    self.look_after(id);
                }
            }
        }
    }

    /// Deliveries and deadlines up to a time, in order.
    fn run_events(&mut self, end_ms: i64) {
        loop {
            let next_up = self
                .servers
                .iter()
                .filter(|(_, server)| server.is_up)
                .map(|(id, server)| (server.election.deadline().max(self.now_ms), *id))
                .min();
            let delivery_ms = self.flying.peek().map_or(i64::MAX, |next| next.0.0);
            let deadline_ms = next_up.map_or(i64::MAX, |(at_ms, _)| at_ms);
            if delivery_ms.min(deadline_ms) >= end_ms {
                return;
            }
            if let (true, Some((_, id))) = (deadline_ms <= delivery_ms, next_up) {
                self.now_ms = deadline_ms;
                self.wakeup(id);
            } else if let Some(Reverse((at_ms, number, key))) = self.flying.pop() {
                self.now_ms = self.now_ms.max(at_ms);
                self.deliver(number, key);
            }
        }
    }

    fn wakeup(&mut self, id: ServerId) {
        let delivered = !self
            .configs
            .committed
            .voters()
            .all(|voter| voter == id || self.waiting.contains_key(&(id, voter)));
        let (now_ms, configs) = (self.now_ms, self.configs.clone());
        let mut out = Vec::new();
        self.server(id)
            .election
            .wakeup(now_ms, delivered, &configs, &mut out);
        self.carry_out(id, out);
    }

    fn deliver(&mut self, number: u64, key: Key) {
        let notification = self.messages.remove(&number).unwrap();
        let (from, to) = key;
        if self.cut.contains(&key) || !self.servers[&to].is_up {
            return;
        }
        let (now_ms, configs) = (self.now_ms, self.configs.clone());
        let mut out = Vec::new();
        self.server(to)
            .election
            .on_notification(now_ms, from, &notification, &configs, &mut out);
        self.carry_out(to, out);
    }

    fn carry_out(&mut self, me: ServerId, effects: Vec<ElectionEffect>) {
        for effect in effects {
            match effect {
                ElectionEffect::Notify { to, notification } => {
                    assert_ne!(to, me, "a message to itself");
                    if notification.state == PeerState::Looking {
                        let offer = self.servers[&me].offer;
                        self.cast.insert((me, words(&notification)), offer);
                    }
                    self.waiting.insert((me, to), notification);
                    self.flush((me, to));
                }
                ElectionEffect::ConnectAll => {
                    for to in self.ids() {
                        self.flush((me, to));
                    }
                }
                ElectionEffect::Elected { vote } => self.on_elected(me, vote),
            }
        }
    }

    /// Gives the message that waits to the network, if there is a connection.
    fn flush(&mut self, key: Key) {
        let back = (key.1, key.0);
        let is_down = self.servers.get(&key.1).is_none_or(|server| !server.is_up);
        if is_down || self.cut.contains(&key) || self.cut.contains(&back) {
            return;
        }
        // Connections are slow to start with: the message waits, and may be replaced.
        if !self.is_quiet && self.dice.chance(10) {
            return;
        }
        let Some(notification) = self.waiting.remove(&key) else {
            return;
        };
        let copies = match self.dice.below(100) {
            0..10 if !self.is_quiet => 0,
            10..15 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay_ms = if self.dice.chance(5) {
                self.dice.below(900)
            } else {
                self.dice.below(20)
            };
            self.sent += 1;
            assert!(self.sent < MESSAGES_MAX, "messages without end");
            self.messages.insert(self.sent, notification.clone());
            self.flying
                .push(Reverse((self.now_ms + delay_ms, self.sent, key)));
        }
    }

    /// Judges a decision.
    fn on_elected(&mut self, me: ServerId, vote: Vote) {
        let now_ms = self.now_ms;
        let server = self.server(me);
        server.content_at_ms = now_ms;
        server.established = None;
        assert!(!server.election.is_looking());
        assert_eq!(server.election.vote(), Some(vote));
        assert_eq!(server.election.deadline(), i64::MAX);
        let supporters = server.election.supporters().clone();
        assert!(self.configs.is_quorum(&supporters), "{me} without a quorum");
        assert!(self.configs.is_voter(vote.leader));
        assert_ne!(self.configs.committed.weight(vote.leader), 0);
        let winner = (vote.peer_epoch, vote.zxid, vote.leader);
        let words = [
            vote.leader.0,
            vote.zxid.0,
            vote.election_epoch,
            vote.peer_epoch,
        ];
        for supporter in supporters {
            // Whoever voted for it while looking had nothing better to offer.
            let Some(offer) = self.cast.get(&(supporter, words)).copied() else {
                // It was counted by what it said once it had a leader.
                continue;
            };
            let is_heavy = self.configs.committed.weight(supporter) != 0;
            if is_heavy && offer.zxid != Zxid(-1) {
                assert!(
                    (offer.peer_epoch, offer.zxid, supporter) <= winner,
                    "{me} decided for {vote:?}, {supporter} has {offer:?}"
                );
            }
        }
    }

    fn begin(&mut self, id: ServerId) {
        let (now_ms, configs) = (self.now_ms, self.configs.clone());
        let mut out = Vec::new();
        let server = self.server(id);
        server.established = None;
        server.election.on_role_over();
        let offer = server.offer;
        server.election.begin(now_ms, offer, &configs, &mut out);
        assert!(server.election.is_looking());
        self.carry_out(id, out);
    }

    fn crash(&mut self, id: ServerId) {
        self.waiting.retain(|(from, _), _| *from != id);
        self.server(id).is_up = false;
    }

    fn start(&mut self, id: ServerId) {
        let server = self.server(id);
        server.is_up = true;
        server.election = Election::new(server.params.clone());
        self.begin(id);
    }

    /// What goes wrong between two ticks.
    fn disturb(&mut self) {
        for id in self.ids() {
            if !self.servers[&id].is_up {
                if self.dice.chance(8) {
                    self.start(id);
                }
            } else if self.dice.chance(3) {
                self.crash(id);
                if self.dice.chance(10) {
                    self.server(id).offer.zxid = Zxid(-1);
                }
            }
        }
        if self.dice.chance(5) {
            // One part from the other, in both directions or only one.
            let part: BTreeSet<ServerId> = self
                .ids()
                .into_iter()
                .filter(|_| self.dice.chance(40))
                .collect();
            let is_one_way = self.dice.chance(30);
            for from in self.ids() {
                for to in self.ids() {
                    if part.contains(&from) && !part.contains(&to) {
                        self.cut.insert((from, to));
                        if !is_one_way {
                            self.cut.insert((to, from));
                        }
                    }
                }
            }
        } else if self.dice.chance(10) {
            self.cut.clear();
        }
    }

    /// Whether this server has the other for its leader, and the two can talk.
    fn is_attached(&self, id: ServerId, leader: ServerId) -> bool {
        let (server, other) = (&self.servers[&id], &self.servers[&leader]);
        let leads = |server: &Server| {
            !server.election.is_looking()
                && server
                    .election
                    .vote()
                    .is_some_and(|vote| vote.leader == leader)
        };
        server.is_up
            && other.is_up
            && leads(server)
            && leads(other)
            && !self.cut.contains(&(id, leader))
            && !self.cut.contains(&(leader, id))
    }

    /// What a leader, a follower or an observer notices at a tick.
    fn look_after(&mut self, id: ServerId) {
        let leader = self.servers[&id].election.vote().unwrap().leader;
        let is_content = if leader == id {
            self.lead(id)
        } else {
            self.is_attached(id, leader)
        };
        let patience_ms = if leader == id {
            LEADER_PATIENCE_MS
        } else {
            PATIENCE_MS
        };
        let now_ms = self.now_ms;
        let server = self.server(id);
        if is_content {
            server.content_at_ms = now_ms;
        } else if now_ms - server.content_at_ms > patience_ms {
            self.begin(id);
        }
    }

    /// Establishes an epoch once there is a quorum, and brings followers up to date.
    fn lead(&mut self, leader: ServerId) -> bool {
        let attached: BTreeSet<ServerId> = self
            .ids()
            .into_iter()
            .filter(|id| *id == leader || self.is_attached(*id, leader))
            .collect();
        if !self.configs.is_quorum(&attached) {
            return false;
        }
        let newest = attached.iter().map(|id| self.servers[id].offer.peer_epoch);
        let next = newest.max().unwrap() + 1;
        let epoch = *self.server(leader).established.get_or_insert(next);
        let zxid = Zxid((epoch << 32) + self.dice.below(5));
        for id in attached {
            let server = self.server(id);
            server.offer = Candidacy {
                zxid,
                peer_epoch: epoch,
            };
            server.election.set_established(epoch);
            server.established = Some(epoch);
        }
        true
    }

    /// The faults stop. Enough servers come up, and enough of them with their data.
    fn calm(&mut self) {
        self.is_quiet = true;
        self.cut.clear();
        let mut down = BTreeSet::new();
        let mut lost = BTreeSet::new();
        for id in self.ids() {
            let is_missed = |away: &BTreeSet<ServerId>, more: &BTreeSet<ServerId>| {
                let mut left: BTreeSet<ServerId> = self.ids().into_iter().collect();
                left.retain(|other| !away.contains(other) && !more.contains(other) && *other != id);
                !self.configs.is_quorum(&left)
            };
            let has_lost = self.servers[&id].offer.zxid == Zxid(-1);
            let may_stay_down = !is_missed(&down, &lost);
            if has_lost && may_stay_down {
                lost.insert(id);
            } else if has_lost {
                // An operator has put the data back.
                let epoch = self.servers[&id].offer.peer_epoch;
                self.server(id).offer.zxid = Zxid(epoch << 32);
                self.crash(id);
                self.start(id);
            }
            if !self.servers[&id].is_up {
                if may_stay_down && !has_lost && self.dice.chance(50) {
                    down.insert(id);
                } else {
                    self.start(id);
                }
            }
        }
    }

    /// Whether everybody who is up has the same leader, and that one its quorum.
    fn is_settled(&self) -> bool {
        let up = || self.servers.iter().filter(|(_, server)| server.is_up);
        let mut leaders = up().map(|(_, server)| {
            let vote = server.election.vote();
            vote.filter(|_| !server.election.is_looking())
                .map(|vote| vote.leader)
        });
        let Some(Some(leader)) = leaders.next() else {
            return false;
        };
        leaders.all(|other| other == Some(leader))
            && up().all(|(id, _)| self.is_attached(*id, leader))
            && self.servers[&leader].established.is_some()
    }

    fn report(&self) -> String {
        let lines = self.servers.iter().map(|(id, server)| {
            format!(
                "{id}: up {}, looking {}, vote {:?}, {:?}, deadline {}",
                server.is_up,
                server.election.is_looking(),
                server.election.vote(),
                server.offer,
                server.election.deadline()
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn words(notification: &Notification) -> [i64; 4] {
    [
        notification.leader,
        notification.zxid.0,
        notification.election_epoch,
        notification.peer_epoch,
    ]
}

/// Runs one world; how long it took to settle, in milliseconds.
fn run(seed: u64) -> i64 {
    let mut world = World::new(seed);
    let faults_end_ms = world.dice.below(60_000);
    world.run_until(faults_end_ms);
    world.calm();
    let calm_ms = world.now_ms;
    // What was lost is said again after the longest pause at most. One may be due until the voters hear of each other,
    // one for a first choice that does not hold, one until those who do not vote ask again.
    let max_interval_ms = world.servers[&ServerId(1)].params.max_interval_ms;
    let bound_ms = 4 * max_interval_ms + 30_000;
    world.run_until(calm_ms + bound_ms);
    let report = world.report();
    assert!(
        world.is_settled(),
        "not settled in {bound_ms} ms:\n{report}"
    );
    let settled_ms = world.now_ms;
    // And so it stays, without a word more than what is still under way.
    world.is_quiet = true;
    let leader = world.servers.values().find(|server| server.is_up);
    let leader = leader
        .and_then(|server| server.election.vote())
        .unwrap()
        .leader;
    world.run_events(settled_ms + 5_000);
    assert!(world.flying.is_empty(), "still talking");
    for (id, server) in world.servers.iter().filter(|(_, server)| server.is_up) {
        assert_eq!(server.election.vote().unwrap().leader, leader, "{id}");
        assert_eq!(server.election.deadline(), i64::MAX, "{id}");
    }
    settled_ms - calm_ms
}

fn number(name: &str) -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which seeds to run is the tester's choice"
    )]
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn everybody_ends_up_with_the_same_leader() {
    if let Some(seed) = number("ELECTION_SEED") {
        run(seed);
        return;
    }
    let mut slowest = (0, 0);
    for seed in 0..number("ELECTION_SEEDS").unwrap_or(SEEDS) {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(took_ms) => slowest = slowest.max((took_ms, seed)),
            Err(_) => panic!("seed {seed} failed; ELECTION_SEED={seed} repeats it"),
        }
    }
    println!("slowest: {} ms with seed {}", slowest.0, slowest.1);
}

#[test]
fn a_seed_makes_the_same_world_every_time() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}
