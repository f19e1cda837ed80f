use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{api::Outcome, termination::fact::Fact};

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

/// It may be another process's, whose call ended the session that the look had seen.
#[test]
fn a_look_from_before_an_intent_is_forgotten_when_the_intent_is_seen() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "1"), ZERO).unwrap();
    let looked = SeenLook {
        verdict: crate::termination::answer::Look::Failed(crate::termination::answer::Failure::Unanswered),
        connection: "c".into(),
        at: Timestamp::UNIX_EPOCH,
        moment: Moment::ZERO,
        failures: 1,
        jitter: 0.5,
    };
    let intended = |version: &str| {
        let mut object = object("a", version);
        let open =
            serde_json::json!({"id": "i", "number": 1, "holder": "another", "startedAt": "1970-01-01T00:00:00Z"});
        object.status = Some(GuestTerminationStatus {
            current_attempt: serde_json::from_value(open).unwrap(),
            ..Default::default()
        });
        object
    };
    for (version, kept) in [("2", false), ("3", true)] {
        index.get_mut(&uid).unwrap().memory.look = Some(looked.clone());
        index.see(intended(version), ZERO);
        let look = &index.get(&uid).unwrap().memory.look;
        assert_eq!(look.is_some(), kept, "a look from after it stays");
    }
}
