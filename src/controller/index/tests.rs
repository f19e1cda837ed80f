use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::*;
use crate::{
    api::Outcome,
    termination::{
        answer::{Failure, Look, SessionSeen},
        deadline::decisive_from,
        decide::{Observed, Step, Wake, decide},
        fact::Fact,
        instants,
        policy::Policy,
    },
};

/// What a write said, and what is told of it if it is stored.
fn unanswered(written: &GuestTermination, holds: Holds) -> Unanswered {
    Unanswered {
        written: written.status.clone().unwrap(),
        holds,
        telling: Telling {
            outcome: Some(Outcome::Terminated),
            notices: Vec::new(),
        },
    }
}

fn finished(uid: &str, version: &str) -> GuestTermination {
    let mut object = object(uid, version);
    object.status = Some(GuestTerminationStatus {
        outcome: Some(Outcome::Terminated),
        finished: Some(true),
        ..Default::default()
    });
    object
}

fn kept() -> Fact {
    Fact::NotSent { why: "why".to_owned() }
}

const ZERO: Reading = Reading {
    wall: Timestamp::UNIX_EPOCH,
    monotonic: Moment::ZERO,
};

fn object(uid: &str, version: &str) -> GuestTermination {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "guestops.dev/v1alpha1",
        "kind": "GuestTermination",
        "metadata": {"name": uid, "namespace": "care", "uid": uid, "resourceVersion": version,
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"guestId": "guest", "reason": "timeout", "retainData": true},
    }))
    .unwrap()
}

fn identity(uid: &str, version: &str) -> Identity {
    object(uid, version).metadata.into()
}

#[test]
fn older_versions_change_nothing() {
    let mut index = Index::default();
    let uid: Uid = "a".into();
    assert_eq!(index.see(object("a", "10"), ZERO), Some((uid.clone(), Taken::News)));
    assert_eq!(index.see(object("a", "9"), ZERO), Some((uid.clone(), Taken::Known)));
    index.wrote(&uid, object("a", "12"), ZERO);
    assert_eq!(index.see(object("a", "11"), ZERO), Some((uid.clone(), Taken::Known)));
    assert_eq!(
        index.see(object("a", "12"), ZERO),
        Some((uid.clone(), Taken::Known)),
        "the own write's echo"
    );
    assert_eq!(index.see(object("a", "100"), ZERO), Some((uid, Taken::News)));
}

#[test]
fn only_the_own_settling_write_explains_a_departure() {
    let mut index = Index::default();
    index.see(object("a", "10"), ZERO);
    assert_eq!(
        index.left(&identity("a", "10")).map(|(_, why)| why),
        Some(Departure::Unclear)
    );
    let mut settled = object("a", "11");
    settled.status = Some(GuestTerminationStatus {
        settled: Some(true),
        ..Default::default()
    });
    index.wrote(&"a".into(), settled, ZERO);
    assert_eq!(
        index.left(&identity("a", "11")).map(|(_, why)| why),
        Some(Departure::Settled)
    );
    assert_eq!(
        index.left(&identity("a", "12")).map(|(_, why)| why),
        Some(Departure::Unclear)
    );
    assert_eq!(index.left(&identity("b", "12")), None);
}

#[test]
fn a_listing_tells_who_is_missing() {
    let mut index = Index::default();
    for uid in ["a", "b"] {
        index.see(object(uid, "1"), ZERO);
    }
    index.list_began();
    index.see(object("b", "1"), ZERO);
    index.see(object("c", "2"), ZERO);
    assert_eq!(index.list_ended(), ["a".into()]);
    assert_eq!(index.list_ended(), Vec::<Uid>::new());
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "1"), ZERO).unwrap();
    let connection = index.get(&uid).unwrap().connection();
    assert_eq!(index.users(&connection), std::slice::from_ref(&uid));
    index.remove(&uid);
    assert!(index.entries.is_empty() && index.by_connection.is_empty());
}

/// A watch that lags tells of it as it was before its end: that is no new object.
#[test]
fn what_was_let_go_for_good_does_not_come_back_as_it_was() {
    let settled = |version| {
        let mut object = finished("a", version);
        object.status.as_mut().unwrap().settled = Some(true);
        object
    };
    for deleted in [false, true] {
        let mut index = Index::default();
        let last = if deleted { object("a", "11") } else { settled("11") };
        let (uid, _) = index.see(last, ZERO).unwrap();
        index.get_mut(&uid).unwrap().deleted = deleted;
        index.remove(&uid);
        assert_eq!(index.see(object("a", "10"), ZERO), Some((uid.clone(), Taken::Known)));
        assert!(index.get(&uid).is_none(), "deleted: {deleted}");
        // Somebody can take back what settled means; nobody can bring a uid back.
        let later = if deleted { Taken::Known } else { Taken::News };
        assert_eq!(index.see(object("a", "12"), ZERO), Some((uid, later)));
    }
}

/// What was set aside because it could not be read comes back as it is.
#[test]
fn what_was_let_go_for_now_comes_back() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "11"), ZERO).unwrap();
    index.remove(&uid);
    assert_eq!(index.see(object("a", "11"), ZERO), Some((uid, Taken::News)));
}

#[test]
fn what_was_stored_without_an_answer_is_durable_and_told_once() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "10"), ZERO).unwrap();
    let entry = index.get_mut(&uid).unwrap();
    entry.memory.kept = Some(kept());
    let write = unanswered(&finished("a", "11"), Holds::Kept);
    entry.memory.unanswered.push(write.clone());
    // An older event does not show it, and does not disprove it.
    index.see(object("a", "9"), ZERO);
    assert_eq!(index.get(&uid).unwrap().memory.unanswered.len(), 1);
    index.see(finished("a", "11"), ZERO);
    let memory = &mut index.get_mut(&uid).unwrap().memory;
    assert_eq!(memory.kept, None);
    assert_eq!(std::mem::take(&mut memory.overdue), [write.telling]);
    index.see(finished("a", "12"), ZERO);
    assert_eq!(index.get(&uid).unwrap().memory.overdue, []);
}

#[test]
fn what_a_read_does_not_show_was_not_stored() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "10"), ZERO).unwrap();
    let entry = index.get_mut(&uid).unwrap();
    entry.memory.kept = Some(kept());
    entry.doubtful = true;
    entry
        .memory
        .unanswered
        .push(unanswered(&finished("a", "11"), Holds::Kept));
    index.read(&uid, object("a", "10"), &object("a", "10"), ZERO);
    let entry = index.get(&uid).unwrap();
    assert_eq!(entry.memory.kept, Some(kept()), "it is still to be written");
    assert!(entry.memory.unanswered.is_empty() && entry.memory.overdue.is_empty() && !entry.doubtful);
}

#[test]
fn a_try_of_a_webhook_is_found_though_another_one_was_written_meanwhile() {
    let webhook = |name: &str, attempts| {
        serde_json::from_value(
            serde_json::json!({"name": name, "event": "session.terminated", "format": "Flat",
            "messageId": "msg_1", "state": "Pending", "attempts": attempts}),
        )
        .unwrap()
    };
    let with = |version, attempts: [i32; 2]| {
        let mut object = finished("a", version);
        let status = object.status.as_mut().unwrap();
        status.webhooks = vec![webhook("one", attempts[0]), webhook("two", attempts[1])];
        object
    };
    let mut index = Index::default();
    let (uid, _) = index.see(with("10", [0, 0]), ZERO).unwrap();
    let memory = &mut index.get_mut(&uid).unwrap().memory;
    for name in ["one", "two"] {
        memory.tried.insert(name.to_owned(), kept());
    }
    memory
        .unanswered
        .push(unanswered(&with("11", [1, 0]), Holds::Try("one".to_owned())));
    index.see(with("12", [1, 3]), ZERO);
    let tried: Vec<_> = index.get(&uid).unwrap().memory.tried.keys().cloned().collect();
    assert_eq!(tried, ["two"]);
}

#[test]
fn a_read_is_the_last_word_unless_news_came_in_between() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "10"), ZERO).unwrap();
    let version = |index: &Index| {
        index
            .get(&uid)
            .unwrap()
            .object
            .metadata
            .resource_version
            .clone()
            .unwrap()
    };
    // A restored server's version is lower than what was known.
    index.read(&uid, object("a", "7"), &object("a", "10"), ZERO);
    assert_eq!(version(&index), "7");
    // News came while the read was under way: what it found is old.
    index.see(object("a", "12"), ZERO);
    index.get_mut(&uid).unwrap().doubtful = true;
    index.read(&uid, object("a", "8"), &object("a", "7"), ZERO);
    assert_eq!(version(&index), "12");
    assert!(index.get(&uid).unwrap().doubtful, "and it is read again");
    index.read(&uid, object("a", "13"), &object("a", "7"), ZERO);
    assert_eq!(version(&index), "13");
    assert!(!index.get(&uid).unwrap().doubtful);
}

#[test]
fn who_is_open_is_known_by_connection() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "1"), ZERO).unwrap();
    let connection = index.get(&uid).unwrap().connection();
    assert!(index.has_open(&connection));
    index.see(finished("a", "2"), ZERO);
    assert!(!index.has_open(&connection));
}

/// What another process says of its call: by its own clock.
fn called_by_another(version: &str, open: bool, by_its_clock: Timestamp) -> GuestTermination {
    let mut object = object("a", version);
    let attempt = serde_json::json!({"id": "i", "number": 1, "holder": "another", "startedAt": by_its_clock});
    object.status = Some(GuestTerminationStatus {
        attempts: 1,
        current_attempt: open.then(|| serde_json::from_value(attempt).unwrap()),
        last_send_time: (!open).then_some(Time(by_its_clock)),
        may_have_applied: Some(true),
        ..Default::default()
    });
    object
}

fn seconds(seconds: u64) -> Moment {
    Moment::from_secs(seconds)
}

fn noon() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// So many seconds after noon, and after the start of the process.
fn reading(monotonic: u64) -> Reading {
    Reading {
        wall: instants::later(noon(), seconds(monotonic)),
        monotonic: seconds(monotonic),
    }
}

/// Asked for then, and answered nine seconds later: what it says is as old as the question.
fn look(verdict: Look, asked: u64) -> SeenLook {
    SeenLook {
        verdict,
        connection: "c".into(),
        asked: reading(asked),
        answered: seconds(asked + 9),
        failures: 0,
        jitter: 0.5,
    }
}

fn active() -> Look {
    Look::Active(SessionSeen {
        state: "active".to_owned(),
        last_updated: None,
    })
}

/// Two clocks may be apart by more than a call's effect may lag: a look decides an end 60 s after the call at the
/// earliest, by the clock of the process that looks, and not later for another one's clock that is ahead.
#[test]
fn when_a_look_decides_does_not_go_by_the_clock_of_who_called() {
    let policy = Policy::default();
    for (open, from) in [(true, 166), (false, 160)] {
        for ahead in [-3600, -70, 0, 70, 3600] {
            let by_its_clock = noon().checked_add(SignedDuration::from_secs(ahead)).unwrap();
            let mut index = Index::default();
            let (uid, _) = index.see(object("a", "1"), reading(0)).unwrap();
            index.see(called_by_another("2", open, by_its_clock), reading(100));
            // An event that comes again, or tells of something else, is no call.
            let mut suspended = called_by_another("3", open, by_its_clock);
            suspended.spec.suspend = true;
            index.see(suspended, reading(120));
            let entry = index.get_mut(&uid).unwrap();
            for (asked, decides) in [(10, false), (101, false), (from - 1, false), (from, true)] {
                entry.memory.look = Some(look(active(), asked));
                for jump in [-7200, 0, 7200] {
                    let mut now = reading(from + 9);
                    now.wall = now.wall.checked_add(SignedDuration::from_secs(jump)).unwrap();
                    let look = entry.look(now, Some("c")).unwrap();
                    let decisive = look.at >= decisive_from(&entry.status_told(now, &policy), &policy);
                    assert_eq!(
                        decisive, decides,
                        "open {open}, ahead {ahead}, asked {asked}, jump {jump}"
                    );
                }
            }
        }
    }
}

/// A session that is over is found at once; that it is not over decides nothing before 60 s have passed here.
#[test]
fn a_process_that_finds_an_end_due_looks_at_once_and_decides_later() {
    let policy = Policy::default();
    let mut index = Index::default();
    let mut due = called_by_another("1", false, noon());
    due.metadata.creation_timestamp = Some(Time(noon()));
    due.spec.active_deadline_seconds = 60;
    let (uid, _) = index.see(due, reading(1000)).unwrap();
    let mut step = |look: Option<SeenLook>, now: u64| {
        let entry = index.get_mut(&uid).unwrap();
        entry.memory.look = look;
        let now = reading(now);
        let look = entry.look(now, Some("c"));
        let seen = Observed {
            kept: None,
            held: None,
            intent: entry.intent(now.monotonic),
            look: look.as_ref(),
            look_from: entry.look_from(&policy),
            jitter: 0.5,
        };
        let request = entry.request.as_ref().unwrap();
        decide(request, &entry.status_told(now, &policy), &seen, now.wall, &policy)
    };
    let waits = |until: u64| {
        let (at, on_connection) = (Some(reading(until).wall), false);
        Step::Wait(Wake { at, on_connection })
    };
    assert_eq!(step(None, 1000), Step::Look);
    let failed = Look::Failed(Failure::Unanswered);
    assert_eq!(step(Some(look(failed, 1001)), 1020), Step::Look, "it is repeated");
    assert_eq!(
        step(Some(look(active(), 1001)), 1020),
        waits(1060),
        "no third one in between"
    );
    assert_eq!(step(Some(look(active(), 1001)), 1060), Step::Look);
    let ended = step(Some(look(active(), 1060)), 1069);
    assert!(matches!(ended, Step::Record(Fact::Ended(_))), "{ended:?}");
}
