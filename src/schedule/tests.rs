//! Laws of the queue as a whole, held against random shells: nobody is lost, nobody flies twice, nobody starves, and the
//! allowance is never overdrawn.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    breaker::{BreakerPolicy, Health, Operation},
    bucket::Limits,
    lane::{Ask, Class, Lane, ProofPolicy, TOKENS_OF_A_PASS},
    queue::{ConnectionUid, Queue},
    *,
};

const MINUTE: Duration = Duration::from_secs(60);

fn queue() -> Queue {
    Queue::new(BreakerPolicy::default(), ProofPolicy::default())
}

fn seconds(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// A choice of the random shell.
#[derive(Clone, Debug)]
enum Act {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Turns are asked for.
    Turn,
    /// The running pass of that rank ends with so many calls made, and so many extra ones.
    End {
        rank: usize,
        calls: u32,
        extra: u32,
        then: Then,
    },
    /// Something wakes an object.
    Wake(usize),
    /// A connection is paused, in milliseconds.
    Pause(usize, u64),
    /// The look of a running pass is answered.
    Report(usize, Operation, Health),
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Finished,
    Again(Class),
    Later(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let class = prop_oneof![
        Just(Class::Urgent),
        Just(Class::Fresh),
        Just(Class::Retry),
        Just(Class::Unproven)
    ];
    let then = prop_oneof![
        3 => Just(Then::Finished),
        2 => class.prop_map(Then::Again),
        1 => (0u64..5_000).prop_map(Then::Later),
    ];
    let operation = prop_oneof![Just(Operation::Observe), Just(Operation::Terminate)];
    let health = prop_oneof![
        4 => Just(Health::Success),
        2 => Just(Health::Failure),
        1 => Just(Health::Neither),
        1 => Just(Health::Unproven),
    ];
    prop_oneof![
        3 => (0u64..3_000).prop_map(Act::Pass),
        6 => Just(Act::Turn),
        4 => (0usize..8, 0u32..=2, 0u32..=2, then)
            .prop_map(|(rank, calls, extra, then)| Act::End { rank, calls, extra, then }),
        1 => (0usize..OBJECTS).prop_map(Act::Wake),
        1 => (0usize..2, 0u64..4_000).prop_map(|(connection, span)| Act::Pause(connection, span)),
        3 => (0usize..8, operation, health).prop_map(|(rank, operation, health)| Act::Report(rank, operation, health)),
    ]
}

const OBJECTS: usize = 24;

/// A shell that does what the real one does with a queue, and checks what it is told.
struct Shell {
    queue: Queue,
    limits: Limits,
    now: Moment,
    connections: [ConnectionUid; 2],
    classes: BTreeMap<usize, Class>,
    running: Vec<(usize, bool)>,
    finished: BTreeSet<usize>,
    paused: [Moment; 2],
    calls: [Vec<Moment>; 2],
}

impl Shell {
    fn new(limits: Limits) -> Self {
        let mut shell = Self {
            queue: queue(),
            limits,
            now: Moment::ZERO,
            connections: ["c0".into(), "c1".into()],
            classes: BTreeMap::new(),
            running: Vec::new(),
            finished: BTreeSet::new(),
            paused: [Moment::ZERO; 2],
            calls: [Vec::new(), Vec::new()],
        };
        for connection in &shell.connections {
            shell.queue.connection(connection, limits, Moment::ZERO);
        }
        for index in 0..OBJECTS {
            shell.queue.wake(&uid(index));
        }
        shell
    }

    fn ask(&self, index: usize) -> Ask {
        Ask {
            namespace: format!("n{}", index % 3).into(),
            guest: format!("g{}", guest(index)).into(),
            class: self.classes.get(&index).copied().unwrap_or(Class::Fresh),
        }
    }

    fn turn(&mut self) {
        let Some(turn) = self.queue.next(self.now) else {
            let due = self.queue.next_due(self.now);
            assert!(
                due.is_none_or(|due| due > self.now),
                "nobody has a turn at {:?}, and yet one is due at {due:?}",
                self.now
            );
            return;
        };
        let index: usize = turn.uid.parse().unwrap();
        assert!(
            self.running.iter().all(|(other, _)| *other != index),
            "two passes over one object"
        );
        if let Some((connection, _)) = &turn.grant {
            let lane = index % 2;
            assert_eq!(*connection, self.connections[lane]);
            assert!(self.paused[lane] <= self.now, "let through in a pause");
            let flying: Vec<usize> = self
                .running
                .iter()
                .filter(|(other, granted)| *granted && other % 2 == lane)
                .map(|(other, _)| *other)
                .collect();
            assert!(flying.len() < self.limits.in_flight() as usize, "too many in flight");
            assert!(
                flying.iter().all(|other| guest(*other) != guest(index)),
                "two flights for one guest"
            );
        }
        self.running.push((index, turn.grant.is_some()));
    }

    fn end(&mut self, rank: usize, calls: u32, extra: u32, then: Then) {
        if self.running.is_empty() {
            return;
        }
        let (index, granted) = self.running.remove(rank % self.running.len());
        let lane = index % 2;
        if !granted {
            // Half of the shells ask before they say that the pass is over.
            let (connection, ask) = (self.connections[lane].clone(), self.ask(index));
            if index.is_multiple_of(2) {
                self.queue.offer(&uid(index), &connection, ask.clone());
            }
            if self.queue.done(&uid(index), 0, self.now) {
                self.queue.wake(&uid(index));
            } else {
                self.queue.offer(&uid(index), &connection, ask);
            }
            return;
        }
        for _ in 0..calls {
            self.calls[lane].push(self.now);
        }
        for _ in 0..extra {
            if self.queue.lane(&self.connections[lane]).unwrap().extra(self.now) {
                self.calls[lane].push(self.now);
            }
        }
        let again = self.queue.done(&uid(index), TOKENS_OF_A_PASS - calls, self.now);
        match then {
            Then::Finished => {
                self.finished.insert(index);
                self.queue.forget(&uid(index));
            }
            _ if again => self.queue.wake(&uid(index)),
            Then::Again(class) => {
                self.classes.insert(index, class);
                let (connection, ask) = (self.connections[lane].clone(), self.ask(index));
                self.queue.offer(&uid(index), &connection, ask);
            }
            Then::Later(span) => self.queue.wake_at(&uid(index), self.now + Duration::from_millis(span)),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Pass(span) => self.now += Duration::from_millis(span),
            Act::Turn => self.turn(),
            Act::End {
                rank,
                calls,
                extra,
                then,
            } => self.end(rank, calls, extra, then),
            Act::Wake(index) => {
                if !self.finished.contains(&index) {
                    self.queue.wake(&uid(index));
                }
            }
            Act::Pause(lane, span) => {
                let until = self.now + Duration::from_millis(span);
                self.paused[lane] = self.paused[lane].max(until);
                self.queue.lane(&self.connections[lane]).unwrap().pause(until);
            }
            Act::Report(rank, operation, health) => {
                let flying: Vec<usize> = self
                    .running
                    .iter()
                    .filter(|(_, granted)| *granted)
                    .map(|(index, _)| *index)
                    .collect();
                if let Some(index) = flying.get(rank % flying.len().max(1)) {
                    let connection = self.connections[index % 2].clone();
                    self.queue
                        .report(&connection, &uid(*index), operation, health, self.now);
                }
            }
        }
    }

    /// The vendor answers everything from here on: whoever waits comes to an end.
    fn drain(&mut self) {
        for _ in 0..50_000 {
            if self.finished.len() == OBJECTS {
                return;
            }
            let before = self.running.len();
            self.turn();
            if self.running.len() > before {
                let (index, granted) = *self.running.last().unwrap();
                if granted {
                    let connection = self.connections[index % 2].clone();
                    for operation in [Operation::Observe, Operation::Terminate] {
                        self.queue
                            .report(&connection, &uid(index), operation, Health::Success, self.now);
                    }
                }
            } else if self.running.is_empty() {
                let due = self.queue.next_due(self.now);
                let left: Vec<_> = (0..OBJECTS).filter(|index| !self.finished.contains(index)).collect();
                self.now = due.unwrap_or_else(|| panic!("nothing is due, and {left:?} were lost"));
                continue;
            }
            self.end(0, 1, 0, Then::Finished);
        }
        panic!("it takes too many turns");
    }
}

fn uid(index: usize) -> Uid {
    index.to_string().into()
}

/// Four objects share each guest, two of them on each connection.
fn guest(index: usize) -> usize {
    index / 4
}

fn most_in_a_minute(calls: &[Moment]) -> usize {
    let inside = |from: &Moment| calls.iter().filter(|at| *at >= from && **at < *from + MINUTE).count();
    calls.iter().map(inside).max().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a shell does: one pass over an object at a time, one flight for a guest, no more in flight and no more
    /// calls a minute than allowed, nobody in a pause; and in the end everybody had a turn.
    #[test]
    fn nobody_is_lost_and_no_limit_is_broken(
        requests_per_minute in Limits::SMALLEST..200,
        max_in_flight in 1u32..8,
        acts in proptest::collection::vec(act(), 0..300),
    ) {
        let mut shell = Shell::new(Limits { requests_per_minute, max_in_flight });
        for act in acts {
            shell.act(act);
        }
        shell.drain();
        for calls in &shell.calls {
            prop_assert!(most_in_a_minute(calls) <= requests_per_minute as usize);
        }
        prop_assert_eq!(shell.queue.counts().waiting, 0);
    }

    /// However often and however untimely the lane is asked, each of k busy namespaces gets its share of the turns: one
    /// with a large backlog, one whose work fails, one that asks for the same guest over and over.
    #[test]
    fn busy_namespaces_share_a_connection(
        backlogs in proptest::collection::vec(1usize..200, 2..6),
        same_guest in any::<bool>(),
        pauses in proptest::collection::vec(1u64..700, 50..300),
        polls in 1usize..4,
    ) {
        let limits = Limits { requests_per_minute: 240, max_in_flight: 5 };
        let mut lane = Lane::new(limits, BreakerPolicy::default(), ProofPolicy::default(), Moment::ZERO);
        lane.report(&"x".into(), Operation::Observe, Health::Success, Moment::ZERO);
        let mut serial = 0;
        let mut offer = |lane: &mut Lane, namespace: usize| {
            serial += 1;
            let guest = if same_guest && namespace == 0 { "same".to_owned() } else { format!("g{serial}") };
            let class = if namespace == 1 { Class::Retry } else { Class::Fresh };
            let ask = Ask { namespace: format!("n{namespace}").into(), guest: guest.into(), class };
            lane.offer(&format!("{namespace}-{serial}").into(), ask);
        };
        for (namespace, backlog) in backlogs.iter().enumerate() {
            for _ in 0..*backlog {
                offer(&mut lane, namespace);
            }
        }
        let mut turns = vec![0usize; backlogs.len()];
        let mut now = Moment::ZERO;
        for pause in pauses {
            now += Duration::from_millis(pause);
            for _ in 0..polls {
                if let Some((uid, _)) = lane.next(now) {
                    let namespace: usize = uid.split('-').next().unwrap().parse().unwrap();
                    turns[namespace] += 1;
                    lane.land(&uid, 0, now);
                    offer(&mut lane, namespace);
                }
            }
        }
        let total: usize = turns.iter().sum();
        let share = 0.8 * total as f64 / turns.len() as f64;
        // A round that was cut short leaves each namespace at most one turn behind.
        prop_assert!(turns.iter().all(|turns| *turns as f64 + 1.0 >= share), "{turns:?}");
    }
}

fn open_lane(unproven: &[&str]) -> Lane {
    let limits = Limits {
        requests_per_minute: 6_000,
        max_in_flight: 5,
    };
    let mut lane = Lane::new(limits, BreakerPolicy::default(), ProofPolicy::default(), Moment::ZERO);
    lane.report(&"x".into(), Operation::Observe, Health::Success, Moment::ZERO);
    for uid in unproven {
        lane.offer(&(*uid).into(), ask(uid, Class::Unproven));
    }
    lane
}

fn ask(guest: &str, class: Class) -> Ask {
    Ask {
        namespace: "n".into(),
        guest: guest.into(),
        class,
    }
}

#[test]
fn the_first_unproven_answer_is_followed_by_a_pause() {
    let mut lane = open_lane(&[]);
    lane.offer(&"a".into(), ask("a", Class::Fresh));
    let (uid, _) = lane.next(seconds(60)).unwrap();
    lane.report(&uid, Operation::Observe, Health::Unproven, seconds(60));
    lane.land(&uid, 1, seconds(60));
    lane.offer(&uid, ask("a", Class::Unproven));
    assert_eq!(lane.next(seconds(60)), None);
    assert_eq!(lane.next_due(seconds(60)), Some(seconds(90)));
}

#[test]
fn a_proof_frees_also_those_behind_a_flight_of_their_guest() {
    let mut lane = open_lane(&["first", "other"]);
    lane.offer(&"urgent".into(), ask("first", Class::Urgent));
    let (urgent, _) = lane.next(seconds(60)).unwrap();
    let (probe, _) = lane.next(seconds(60)).unwrap();
    assert_eq!(&*probe, "other", "the guest of the first is in flight");
    lane.prove();
    lane.land(&urgent, 0, seconds(60));
    assert_eq!(lane.next(seconds(60)).map(|(uid, _)| uid), Some("first".into()));
}

#[test]
fn what_is_asked_for_during_a_pass_comes_after_it() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    let limits = Limits {
        requests_per_minute: 600,
        max_in_flight: 5,
    };
    queue.connection(&connection, limits, Moment::ZERO);
    queue.wake(&"a".into());
    queue.next(MINUTE).unwrap();
    queue.offer(&"a".into(), &connection, ask("a", Class::Fresh));
    assert_eq!(queue.next(MINUTE), None, "one pass at a time over one object");
    assert!(!queue.done(&"a".into(), 0, MINUTE));
    assert!(queue.next(MINUTE).is_some_and(|turn| turn.grant.is_some()));
    queue.offer(&"a".into(), &connection, ask("a", Class::Fresh));
    queue.forget(&"a".into());
    queue.done(&"a".into(), 0, MINUTE);
    assert_eq!(queue.next(MINUTE), None, "who is forgotten does not line up");
}
