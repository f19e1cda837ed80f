use super::*;

const PLENTY: Limits = Limits {
    requests_per_minute: 60_000,
    max_in_flight: 100,
};

fn lane(limits: Limits) -> Lane {
    let mut lane = Lane::new(limits, BreakerPolicy::default(), ProofPolicy::default(), Moment::ZERO);
    lane.breaker
        .report(Operation::Observe, Health::Success, true, Moment::ZERO);
    lane.breaker
        .report(Operation::Terminate, Health::Success, true, Moment::ZERO);
    lane
}

fn ask(namespace: &str, guest: &str, class: Class) -> Ask {
    Ask {
        namespace: namespace.into(),
        guest: guest.into(),
        class,
    }
}

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// Everybody that may go at `now`, each landed at once.
fn turns(lane: &mut Lane, now: Moment) -> Vec<String> {
    std::iter::from_fn(|| {
        let (uid, _) = lane.next(now)?;
        lane.land(&uid, TOKENS_OF_A_PASS, now);
        Some(uid.to_string())
    })
    .collect()
}

fn offer(lane: &mut Lane, uid: &str, namespace: &str, class: Class) {
    lane.offer(&uid.into(), ask(namespace, uid, class));
}

#[test]
fn namespaces_take_turns_and_what_is_urgent_comes_first() {
    let mut lane = lane(PLENTY);
    for index in 0..3 {
        offer(&mut lane, &format!("a{index}"), "a", Class::Fresh);
    }
    offer(&mut lane, "b0", "b", Class::Fresh);
    offer(&mut lane, "b1", "b", Class::Urgent);
    assert_eq!(turns(&mut lane, at(60)), ["a0", "b1", "a1", "b0", "a2"]);
}

#[test]
fn fresh_work_comes_before_retries_which_still_get_their_share() {
    let mut lane = lane(PLENTY);
    for index in 0..6 {
        offer(&mut lane, &format!("retry{index}"), "a", Class::Retry);
        offer(&mut lane, &format!("fresh{index}"), "a", Class::Fresh);
    }
    let order = turns(&mut lane, at(60));
    assert_eq!(order[..5], ["fresh0", "fresh1", "fresh2", "retry0", "fresh3"]);
    assert_eq!(order.len(), 12);
}

#[test]
fn a_guest_has_one_flight_at_a_time() {
    let mut lane = lane(PLENTY);
    for uid in ["one", "two", "three"] {
        lane.offer(&uid.into(), ask(uid, "guest", Class::Fresh));
    }
    let (first, _) = lane.next(at(60)).unwrap();
    assert_eq!(lane.next(at(60)), None);
    lane.land(&first, 0, at(60));
    let (second, _) = lane.next(at(60)).unwrap();
    assert_ne!(first, second);
    assert_eq!(lane.next(at(60)), None);
    lane.forget(&"one".into());
    lane.land(&second, 0, at(60));
    assert!(lane.next(at(60)).is_some());
}

#[test]
fn nobody_goes_without_tokens_or_before_the_pause_is_over() {
    let mut lane = lane(Limits {
        requests_per_minute: 60,
        max_in_flight: 5,
    });
    for index in 0..20 {
        offer(&mut lane, &format!("a{index}"), "a", Class::Fresh);
    }
    assert_eq!(lane.next(at(0)), None, "a new process starts with an empty bucket");
    let due = lane.next_due(at(0)).unwrap();
    assert!(lane.next(due).is_some());
    lane.pause(at(100));
    assert_eq!(lane.next(at(99)), None);
    assert_eq!(lane.next_due(at(99)), Some(at(100)));
    assert!(lane.next(at(100)).is_some());
}

#[test]
fn slots_bound_the_flights() {
    let mut lane = lane(Limits {
        requests_per_minute: 60_000,
        max_in_flight: 2,
    });
    for index in 0..5 {
        offer(&mut lane, &format!("a{index}"), "a", Class::Fresh);
    }
    let (first, _) = lane.next(at(60)).unwrap();
    lane.next(at(60)).unwrap();
    assert_eq!(lane.next(at(60)), None);
    assert_eq!(lane.next_due(at(60)), None, "a slot that comes free is what wakes it");
    lane.land(&first, 0, at(60));
    assert!(lane.next(at(60)).is_some());
}

#[test]
fn while_the_breaker_is_open_one_probe_goes_on_another_object_each_time() {
    let mut lane = lane(PLENTY);
    for index in 0..3 {
        offer(&mut lane, &format!("a{index}"), "a", Class::Fresh);
    }
    for _ in 0..5 {
        lane.report(&"x".into(), Operation::Observe, Health::Failure, at(60));
    }
    let mut probed = Vec::new();
    let mut now = at(60);
    while probed.len() < 4 {
        now = lane.next_due(now).unwrap();
        let (uid, grant) = lane.next(now).unwrap();
        assert!(grant.probe);
        assert_eq!(lane.next(now), None);
        assert_eq!(lane.next_due(now), None, "its landing is what wakes the lane");
        lane.report(&uid, Operation::Observe, Health::Failure, now);
        lane.land(&uid, 1, now);
        offer(&mut lane, &uid, "a", Class::Retry);
        probed.push(uid.to_string());
    }
    assert_eq!(probed, ["a0", "a1", "a2", "a0"]);
    assert_eq!(now, at(60 + 2 + 4 + 8 + 16));
}

#[test]
fn who_steps_aside_finds_its_place_again() {
    let mut lane = lane(PLENTY);
    for uid in ["a", "b"] {
        offer(&mut lane, uid, "n", Class::Fresh);
    }
    lane.step_aside(&"a".into());
    assert_eq!(lane.waiting(), 1);
    offer(&mut lane, "a", "n", Class::Fresh);
    assert_eq!(turns(&mut lane, at(60)), ["a", "b"]);
    assert!(lane.places.is_empty());
}

#[test]
fn on_trial_one_pass_at_a_time_goes_from_that_moment() {
    let mut lane = lane(PLENTY);
    for uid in ["a", "b"] {
        offer(&mut lane, uid, "n", Class::Retry);
    }
    lane.put_on_trial(Some(at(90)));
    assert_eq!(lane.next(at(89)), None);
    assert_eq!(lane.next_due(at(60)), Some(at(90)));
    assert!(lane.next(at(90)).is_some_and(|(_, grant)| grant.probe));
    assert_eq!(lane.next(at(90)), None);
    lane.put_on_trial(None);
    assert!(lane.next(at(90)).is_some());
}

#[test]
fn unproven_objects_share_one_probe_in_rotation_until_the_route_is_proven() {
    let mut lane = lane(PLENTY);
    for uid in ["a", "b", "c"] {
        offer(&mut lane, uid, "n", Class::Unproven);
    }
    let mut now = at(60);
    let mut probed = Vec::new();
    for _ in 0..4 {
        now = lane.next_due(now).unwrap();
        let (uid, _) = lane.next(now).unwrap();
        assert_eq!(lane.next(now), None);
        lane.land(&uid, 1, now);
        offer(&mut lane, &uid, "n", Class::Unproven);
        probed.push(uid.to_string());
    }
    assert_eq!(probed, ["a", "b", "c", "a"]);
    assert_eq!(now, at(60 + 30 + 60 + 120));
    offer(&mut lane, "new", "n", Class::Fresh);
    assert_eq!(
        turns(&mut lane, now),
        ["new"],
        "a new object gets its first look at once"
    );
    lane.prove();
    assert_eq!(turns(&mut lane, now).len(), 3);
}

#[test]
fn what_is_forgotten_leaves_nothing_behind() {
    let mut lane = lane(PLENTY);
    for (uid, class) in [
        ("a", Class::Urgent),
        ("b", Class::Fresh),
        ("c", Class::Retry),
        ("d", Class::Unproven),
    ] {
        offer(&mut lane, uid, uid, class);
        lane.forget(&uid.into());
    }
    assert_eq!(lane.waiting(), 0);
    assert_eq!(lane.next_due(at(60)), None);
    assert!(lane.namespaces.is_empty() && lane.unproven.is_empty());
}

#[test]
fn a_closed_lane_lets_nobody_through_until_it_opens() {
    let mut lane = lane(PLENTY);
    offer(&mut lane, "a", "n", Class::Fresh);
    lane.set_open(false);
    assert_eq!(lane.next(at(60)), None);
    assert_eq!(lane.next_due(at(60)), None);
    lane.set_open(true);
    assert_eq!(lane.next_due(at(60)), Some(at(60)));
    assert!(lane.next(at(60)).is_some());
}

#[test]
fn new_limits_count_at_once() {
    let mut lane = lane(PLENTY);
    for uid in ["a", "b"] {
        offer(&mut lane, uid, "n", Class::Fresh);
    }
    lane.limit(
        Limits {
            max_in_flight: 1,
            ..PLENTY
        },
        at(60),
    );
    assert!(lane.next(at(60)).is_some());
    assert_eq!(lane.next(at(60)), None);
}

/// An object asks for the same at every pass over it.
#[test]
fn who_asks_for_the_same_keeps_its_place_and_who_flies_does_not_line_up() {
    let mut lane = lane(PLENTY);
    for uid in ["a", "b", "a"] {
        offer(&mut lane, uid, "n", Class::Fresh);
    }
    let (first, _) = lane.next(at(60)).unwrap();
    assert_eq!(&*first, "a");
    offer(&mut lane, "a", "n", Class::Fresh);
    assert_eq!(lane.waiting(), 1, "b alone");
    offer(&mut lane, "b", "n", Class::Retry);
    offer(&mut lane, "c", "n", Class::Fresh);
    assert_eq!(
        turns(&mut lane, at(60)),
        ["c", "b"],
        "what it asks for now is what counts"
    );
}

#[test]
fn an_extra_call_takes_a_token_that_may_come_back_and_none_in_a_pause() {
    let mut lane = lane(Limits {
        requests_per_minute: 60,
        max_in_flight: 5,
    });
    for _ in 0..10 {
        assert!(lane.extra(at(60)));
    }
    assert!(!lane.extra(at(60)), "the burst is spent");
    lane.give_back(at(60));
    lane.pause(at(61));
    assert!(!lane.extra(at(60)));
    lane.pause(at(60));
    assert!(lane.is_paused(at(60)), "an earlier end shortens no pause");
    assert!(!lane.is_paused(at(61)));
    assert!(lane.extra(at(61)));
}

#[test]
fn it_says_whether_its_breaker_is_open() {
    let mut lane = lane(PLENTY);
    assert!(!lane.is_broken());
    for _ in 0..5 {
        lane.report(&"x".into(), Operation::Terminate, Health::Failure, at(60));
    }
    assert!(lane.is_broken());
}

#[test]
fn only_the_first_unproven_answer_puts_the_probe_off() {
    let mut lane = lane(PLENTY);
    let other: Uid = "other".into();
    lane.report(&other, Operation::Observe, Health::Success, at(60));
    offer(&mut lane, "a", "n", Class::Unproven);
    assert_eq!(lane.next_due(at(60)), Some(at(60)), "nobody was answered so");
    lane.report(&other, Operation::Observe, Health::Success, at(60));
    lane.report(&other, Operation::Observe, Health::Unproven, at(60));
    assert_eq!(lane.next_due(at(60)), Some(at(60)), "somebody waits already");
}

/// A lane that is asked too early passes nobody over.
#[test]
fn a_turn_that_comes_to_nothing_is_no_turn() {
    let mut lane = lane(PLENTY);
    offer(&mut lane, "a0", "a", Class::Fresh);
    offer(&mut lane, "b0", "b", Class::Fresh);
    assert_eq!(lane.next(at(0)), None, "no tokens yet");
    assert_eq!(turns(&mut lane, at(60)), ["a0", "b0"]);
}
