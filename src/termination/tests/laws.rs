//! What holds between any two statuses of one object that follow each other, and of any status by itself.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{
    bench::Bench,
    kstatus::{Kstatus, kstatus},
};
use crate::{
    api::{
        GuestTerminationStatus as Status, Outcome, WebhookState,
        conditions::{ConditionStatus as Is, ConditionType as Type, find, has_status},
    },
    termination::phase,
};

/// The definition's rules on the status, and what the documentation says of its fields.
pub(super) fn check_transition(old: &Status, new: &Status, now: Timestamp) {
    if old.is_finished() {
        assert!(new.is_finished(), "finished stays");
        assert_eq!(new.outcome, old.outcome, "a final outcome stays");
        assert_eq!(new.completion_time, old.completion_time);
        assert_eq!(new.history, old.history);
        assert_eq!(new.phase, old.phase, "nothing leaves a terminal phase");
    }
    assert!(
        !old.is_settled() || new == old,
        "what is settled is never written again"
    );
    assert!(!old.may_have_applied() || new.may_have_applied(), "doubt stays");
    assert!(
        new.attempts >= old.attempts && new.attempts <= old.attempts + 1,
        "attempts never fall"
    );
    assert!(new.retries >= old.retries && new.retries <= old.retries + 1);
    assert!(new.suspended_seconds >= old.suspended_seconds);
    assert!(old.last_send_time.as_ref().map(|time| time.0) <= new.last_send_time.as_ref().map(|time| time.0));
    assert!(
        old.connection.is_none() || new.connection == old.connection,
        "a pin stays"
    );
    assert!(old.start_time.is_none() || new.start_time == old.start_time);
    assert_eq!(new.rest, old.rest, "what this version does not know is carried through");
    for before in &old.webhooks {
        let after = new.webhooks.iter().find(|after| after.name == before.name).unwrap();
        assert_eq!(
            (&after.message_id, after.format),
            (&before.message_id, before.format),
            "one id for each event"
        );
        assert!(
            before.state == WebhookState::Pending || after == before,
            "a delivery that is over stays so"
        );
    }
    for after in &new.conditions {
        let before = old.conditions.iter().find(|before| before.type_ == after.type_);
        let time = after.last_transition_time.0;
        match before {
            Some(before) if before.status == after.status => {
                assert_eq!(
                    time, before.last_transition_time.0,
                    "{} moved without its status",
                    after.type_
                );
            }
            Some(before) => assert!(time >= before.last_transition_time.0, "{} moved back", after.type_),
            None => {}
        }
        assert!(time <= now, "{} is ahead of time", after.type_);
    }
}

/// What holds of any status that was written.
pub(super) fn check_status(bench: &Bench) {
    let status = &bench.status;
    assert!(status.history.len() <= 10);
    assert!(
        status.history.is_sorted_by(|newer, older| newer.number > older.number),
        "newest first, each once"
    );
    let types: BTreeSet<_> = status.conditions.iter().map(|condition| &condition.type_).collect();
    assert_eq!(types.len(), status.conditions.len(), "one condition of each type");
    let stored = serde_json::to_value(status).unwrap();
    assert_eq!(
        &serde_json::from_value::<Status>(stored.clone()).unwrap(),
        status,
        "the server keeps whole seconds"
    );
    for condition in &status.conditions {
        assert!(
            condition.message.is_empty() || condition.message.ends_with('.'),
            "{} is no sentence",
            condition.message
        );
        assert!(
            !has_instant(&condition.message),
            "{} holds an instant",
            condition.message
        );
    }
    if status.start_time.is_none() {
        return;
    }
    assert_eq!(status.phase, Some(phase::of(status)));
    assert_eq!(status.outcome.is_some(), status.is_finished());
    assert!(
        !status.is_settled() || status.is_finished(),
        "settled comes with finished"
    );
    let finished = find(&status.conditions, Type::Finished).unwrap();
    assert_eq!(finished.status == "True", status.is_finished());
    for always in [Type::SessionValidated, Type::RetentionApplied] {
        assert!(find(&status.conditions, always).is_some(), "{always} is missing");
    }
    let is = |type_, is| has_status(&status.conditions, type_, is);
    let suspended = is(Type::Suspended, Is::True);
    let ready = find(&status.conditions, Type::Ready);
    if status.is_finished() {
        assert_eq!((&status.current_attempt, &status.next_attempt_time), (&None, &None));
        assert!(
            find(&status.conditions, Type::Reconciling).is_none(),
            "Reconciling ends with the result"
        );
        let good = matches!(status.outcome, Some(Outcome::Terminated | Outcome::AlreadyTerminated));
        assert_eq!(is(Type::Ready, Is::True), good);
        assert_eq!(status.audit.as_ref().unwrap().success, good);
        assert_eq!(good, !status.webhooks.is_empty(), "only a success is announced");
        assert_eq!(is(Type::Stalled, Is::True), is(Type::Ready, Is::False));
        assert!(good || ready.is_some() || (status.outcome == Some(Outcome::Expired) && status.attempts == 0));
        let pending = status
            .webhooks
            .iter()
            .any(|webhook| webhook.state == WebhookState::Pending);
        assert_eq!(status.is_settled(), !pending);
        assert_eq!(is(Type::WebhookDelivered, Is::Unknown), pending);
    } else {
        assert!(find(&status.conditions, Type::Stalled).is_none());
        assert_eq!(ready.is_some(), !suspended, "what is suspended carries no Ready");
        assert_eq!(find(&status.conditions, Type::Reconciling).is_some(), !suspended);
        assert_eq!(status.deadline_time.is_some(), !suspended);
        assert!(!is(Type::RetentionApplied, Is::True));
        assert!(status.webhooks.is_empty());
    }
    if is(Type::RetentionApplied, Is::True) {
        assert_eq!(
            status.outcome,
            Some(Outcome::Terminated),
            "it never claims what was not sent"
        );
    }
    check_kstatus(bench, &stored, suspended);
}

fn check_kstatus(bench: &Bench, stored: &serde_json::Value, suspended: bool) {
    let status = &bench.status;
    if status.observed_generation != bench.object.metadata.generation {
        return;
    }
    let object = json!({"metadata": {"generation": bench.object.metadata.generation}, "status": stored});
    let expected = match status.outcome {
        Some(Outcome::Terminated | Outcome::AlreadyTerminated) => Kstatus::Current,
        Some(Outcome::Expired) if status.attempts == 0 => Kstatus::Current,
        Some(_) => Kstatus::Failed,
        None if suspended => Kstatus::Current,
        None => Kstatus::InProgress,
    };
    assert_eq!(kstatus(&object), expected, "{stored}");
}

/// Four digits and a dash, or digits on both sides of a colon: messages that change with time look like news each time.
fn has_instant(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    (0..bytes.len()).any(|index| {
        (bytes[index] == b':' && index > 0 && digit(index - 1) && digit(index + 1))
            || (bytes[index] == b'-' && index >= 4 && (index - 4..index).all(digit))
    })
}
