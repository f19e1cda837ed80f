use std::time::Duration;

use super::*;
use crate::schedule::lane::Class;

fn queue() -> Queue {
    Queue::new(BreakerPolicy::default(), ProofPolicy::default())
}

fn uid(text: &str) -> Uid {
    text.into()
}

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn ask(guest: &str) -> Ask {
    Ask {
        namespace: "n".into(),
        guest: guest.into(),
        class: Class::Fresh,
    }
}

#[test]
fn a_wake_during_a_pass_is_not_lost() {
    let mut queue = queue();
    queue.wake(&uid("a"));
    queue.wake(&uid("a"));
    assert_eq!(
        queue.next(at(0)),
        Some(Turn {
            uid: uid("a"),
            grant: None
        })
    );
    assert_eq!(queue.next(at(0)), None);
    queue.wake(&uid("a"));
    assert_eq!(queue.next(at(0)), None, "one pass at a time over one object");
    assert!(queue.done(&uid("a"), 0, at(0)));
    assert!(!queue.done(&uid("a"), 0, at(0)));
}

#[test]
fn timers_fire_in_order_and_say_when() {
    let mut queue = queue();
    queue.wake_at(&uid("late"), at(9));
    queue.wake_at(&uid("early"), at(5));
    queue.wake_at(&uid("late"), at(7));
    assert_eq!(queue.next_due(at(0)), Some(at(5)));
    assert_eq!(queue.next(at(4)), None);
    assert_eq!(queue.next(at(8)).map(|turn| turn.uid), Some(uid("early")));
    assert_eq!(queue.next(at(8)).map(|turn| turn.uid), Some(uid("late")));
    assert_eq!(queue.next_due(at(8)), None);
}

#[test]
fn a_wake_takes_an_object_out_of_its_lane() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    queue.connection(
        &connection,
        Limits {
            requests_per_minute: 600,
            max_in_flight: 5,
        },
        at(0),
    );
    queue.offer(&uid("a"), &connection, ask("a"));
    assert_eq!(queue.counts().waiting, 1);
    queue.wake(&uid("a"));
    assert_eq!(queue.counts().waiting, 0);
    assert_eq!(queue.next(at(60)).and_then(|turn| turn.grant), None);
}

#[test]
fn lanes_take_turns() {
    let mut queue = queue();
    let lanes: Vec<ConnectionUid> = vec!["c1".into(), "c2".into()];
    for connection in &lanes {
        let lane = queue.connection(
            connection,
            Limits {
                requests_per_minute: 600,
                max_in_flight: 5,
            },
            at(0),
        );
        lane.report(&uid("x"), Operation::Observe, Health::Success, at(0));
        for index in 0..2 {
            let name = format!("{connection}-{index}");
            queue.offer(&uid(&name), connection, ask(&name));
        }
    }
    let order: Vec<String> = std::iter::from_fn(|| queue.next(at(60)).map(|turn| turn.uid.to_string())).collect();
    assert_eq!(order, ["c1-0", "c2-0", "c1-1", "c2-1"]);
}

/// What was saved while others led is not spent, and what is under way lands without a trace.
#[test]
fn one_that_starts_anew_has_empty_lanes_and_knows_what_is_under_way() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    let limits = Limits {
        requests_per_minute: 600,
        max_in_flight: 5,
    };
    queue.connection(&connection, limits, at(0));
    queue.offer(&uid("a"), &connection, ask("a"));
    queue.offer(&uid("b"), &connection, ask("b"));
    assert_eq!(queue.next(at(60)).map(|turn| turn.uid), Some(uid("a")));
    queue.start_anew();
    queue.connection(&connection, limits, at(60));
    queue.wake(&uid("a"));
    queue.offer(&uid("b"), &connection, ask("b"));
    assert_eq!(queue.next(at(60)), None, "the bucket is empty, and a is under way");
    assert!(queue.done(&uid("a"), 2, at(60)));
    assert_eq!(
        queue.next(at(60)),
        None,
        "what a former term did not spend is not given back"
    );
    let due = queue.next_due(at(60)).unwrap();
    assert_eq!(queue.next(due).map(|turn| turn.uid), Some(uid("b")));
}

#[test]
fn who_is_claimed_has_a_turn_now_and_only_once() {
    let mut queue = queue();
    queue.wake_at(&uid("a"), at(500));
    assert_eq!(queue.claim(&uid("a")).map(|turn| turn.grant), Some(None));
    assert_eq!(queue.claim(&uid("a")), None, "a pass over it is under way");
    assert_eq!(queue.next_due(at(0)), None, "its timer is gone with the claim");
    queue.wake(&uid("a"));
    assert_eq!(queue.next(at(0)), None);
    assert!(queue.done(&uid("a"), 0, at(0)));
    assert!(queue.claim(&uid("a")).is_some());
}

#[test]
fn a_connection_that_goes_takes_its_offers_along() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    queue.connection(
        &connection,
        Limits {
            requests_per_minute: 600,
            max_in_flight: 5,
        },
        at(0),
    );
    queue.offer(&uid("a"), &connection, ask("a"));
    queue.remove_connection(&connection);
    assert_eq!(queue.next_due(at(60)), None);
    assert!(queue.offers.is_empty());
}

const LIMITS: Limits = Limits {
    requests_per_minute: 600,
    max_in_flight: 5,
};

/// How many objects wait in each lane.
fn waiting<const N: usize>(queue: &Queue, connections: [&ConnectionUid; N]) -> [usize; N] {
    connections.map(|connection| queue.lane_of(connection).unwrap().waiting())
}

#[test]
fn an_object_waits_in_one_lane_alone_until_it_withdraws() {
    let mut queue = queue();
    let (one, two): (ConnectionUid, ConnectionUid) = ("c1".into(), "c2".into());
    for connection in [&one, &two] {
        queue.connection(connection, LIMITS, at(0));
    }
    assert!(queue.lane_of(&"c3".into()).is_none());
    assert!(queue.lane(&one).is_some() && queue.lane(&"c3".into()).is_none());
    queue.offer(&uid("a"), &one, ask("a"));
    queue.offer(&uid("b"), &one, ask("b"));
    assert_eq!(waiting(&queue, [&one, &two]), [2, 0]);
    queue.offer(&uid("b"), &two, ask("b"));
    assert_eq!(waiting(&queue, [&one, &two]), [1, 1]);
    queue.withdraw(&uid("b"));
    assert_eq!(waiting(&queue, [&one, &two]), [1, 0]);
    queue.forget(&uid("a"));
    assert_eq!(waiting(&queue, [&one, &two]), [0, 0]);
}

#[test]
fn who_asks_the_same_connection_again_keeps_its_place() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    queue.connection(&connection, LIMITS, at(0));
    for name in ["a", "b", "a"] {
        queue.offer(&uid(name), &connection, ask(name));
    }
    assert_eq!(queue.next(at(60)).map(|turn| turn.uid), Some(uid("a")));
}

#[test]
fn who_is_forgotten_has_no_turn_and_others_keep_theirs() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.wake(&uid(name));
    }
    queue.forget(&uid("b"));
    queue.wake_at(&uid("d"), at(9));
    let counts = queue.counts();
    assert_eq!((counts.ready, counts.timed), (2, 1));
    let order: Vec<_> = std::iter::from_fn(|| queue.next(at(0)).map(|turn| turn.uid)).collect();
    assert_eq!(order, [uid("a"), uid("c")]);
    assert!(queue.is_running(&uid("a")) && !queue.is_running(&uid("b")));
}

#[test]
fn an_answer_goes_to_the_breaker_of_its_connection() {
    let mut queue = queue();
    let connection: ConnectionUid = "c".into();
    let failed = |queue: &mut Queue| queue.report(&"c".into(), &uid("a"), Operation::Observe, Health::Failure, at(1));
    assert!(
        !failed(&mut queue),
        "an outage costs no retry because somebody replaces the connection meanwhile"
    );
    queue.connection(&connection, LIMITS, at(0));
    queue.report(&connection, &uid("a"), Operation::Observe, Health::Success, at(0));
    for _ in 0..5 {
        assert_eq!(queue.counts().broken, 0);
        assert!(failed(&mut queue));
    }
    assert_eq!(queue.counts().broken, 1);
    assert!(!failed(&mut queue));
}

/// What is under way through the former connection ends a session as surely as through the new one.
#[test]
fn a_guest_has_one_flight_though_its_connection_is_created_anew_or_another_term_begins() {
    let connections: [ConnectionUid; 3] = ["former".into(), "new".into(), "newest".into()];
    let mut queue = queue();
    let flying = |queue: &mut Queue, connection: &ConnectionUid| {
        let lane = queue.connection(connection, LIMITS, at(0));
        lane.report(&uid("x"), Operation::Observe, Health::Success, at(0));
    };
    let turns = |queue: &mut Queue| -> Vec<String> {
        std::iter::from_fn(|| queue.next(at(60)).map(|turn| turn.uid.to_string())).collect()
    };
    flying(&mut queue, &connections[0]);
    queue.offer(&uid("a"), &connections[0], ask("guest"));
    assert_eq!(turns(&mut queue), ["a"]);
    queue.remove_connection(&connections[0]);
    flying(&mut queue, &connections[1]);
    queue.offer(&uid("b"), &connections[1], ask("guest"));
    queue.offer(&uid("c"), &connections[1], ask("another"));
    assert_eq!(turns(&mut queue), ["c"]);
    queue.done(&uid("a"), 0, at(60));
    assert_eq!(turns(&mut queue), ["b"]);
    // The same where a lead begins with b and c in flight, and with the connection created anew once more.
    queue.start_anew();
    flying(&mut queue, &connections[1]);
    queue.remove_connection(&connections[1]);
    flying(&mut queue, &connections[2]);
    queue.offer(&uid("d"), &connections[2], ask("guest"));
    assert_eq!(turns(&mut queue), [""; 0]);
    queue.done(&uid("c"), 0, at(60));
    assert_eq!(turns(&mut queue), [""; 0], "another guest's flight is over");
    queue.done(&uid("b"), 0, at(60));
    assert_eq!(turns(&mut queue), ["d"]);
}

/// Two connections that are gone have a flight each for the same guest.
#[test]
fn a_guest_is_free_when_the_last_flight_of_former_lanes_for_it_is_over() {
    let [first, second, new]: [ConnectionUid; 3] = ["first".into(), "second".into(), "new".into()];
    let mut queue = queue();
    let flying = |queue: &mut Queue, connection: &ConnectionUid| {
        let lane = queue.connection(connection, LIMITS, at(0));
        lane.report(&uid("x"), Operation::Observe, Health::Success, at(0));
    };
    let turns = |queue: &mut Queue| -> BTreeSet<String> {
        std::iter::from_fn(|| queue.next(at(60)).map(|turn| turn.uid.to_string())).collect()
    };
    let these = |uids: &[&str]| -> BTreeSet<String> { uids.iter().map(|uid| (*uid).to_owned()).collect() };
    for (name, connection, guest) in [
        ("a", &first, "guest"),
        ("b", &second, "guest"),
        ("c", &first, "another"),
    ] {
        flying(&mut queue, connection);
        queue.offer(&uid(name), connection, ask(guest));
    }
    assert_eq!(turns(&mut queue), these(&["a", "b", "c"]));
    queue.remove_connection(&first);
    queue.remove_connection(&second);
    flying(&mut queue, &new);
    queue.offer(&uid("d"), &new, ask("guest"));
    queue.offer(&uid("e"), &new, ask("another"));
    assert_eq!(turns(&mut queue), these(&[]));
    queue.done(&uid("c"), 0, at(60));
    assert_eq!(turns(&mut queue), these(&["e"]));
    queue.done(&uid("a"), 0, at(60));
    assert_eq!(turns(&mut queue), these(&[]), "b still flies");
    queue.done(&uid("b"), 0, at(60));
    assert_eq!(turns(&mut queue), these(&["d"]));
}

/// An own flight of the lane keeps its guest when a flight of a former lane for the same guest lands.
#[test]
fn who_lands_from_a_former_lane_frees_no_guest_of_another_ones() {
    let (former, other): (ConnectionUid, ConnectionUid) = ("former".into(), "other".into());
    let mut queue = queue();
    for connection in [&former, &other] {
        let lane = queue.connection(connection, LIMITS, at(0));
        lane.report(&uid("x"), Operation::Observe, Health::Success, at(0));
    }
    queue.offer(&uid("a"), &former, ask("guest"));
    queue.offer(&uid("b"), &other, ask("guest"));
    let turn = |queue: &mut Queue| queue.next(at(60)).map(|turn| turn.uid.to_string());
    assert_eq!(
        (turn(&mut queue), turn(&mut queue)),
        (Some("a".to_owned()), Some("b".to_owned()))
    );
    queue.remove_connection(&former);
    queue.done(&uid("a"), 0, at(60));
    queue.offer(&uid("c"), &other, ask("guest"));
    assert_eq!(turn(&mut queue), None, "b still flies");
    queue.done(&uid("b"), 0, at(60));
    assert_eq!(turn(&mut queue).as_deref(), Some("c"));
}
