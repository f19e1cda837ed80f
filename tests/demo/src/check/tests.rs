//! Whether the check finds what is wrong, and says so.

use super::*;
use crate::cases::CASES;
use serde_json::json;

/// A look at a session that was over, of the first case of that kind, and all that comes of it.
fn case() -> (Case, Found) {
    let case = CASES[1];
    let condition = |kind: &str, status: &str, reason: &str| {
        let mut condition = json!({"type": kind, "status": status, "reason": reason});
        condition["message"] = json!("Because.");
        condition
    };
    let object = json!({
        "metadata": {"name": case.name, "uid": "u1"},
        "spec": {"guestId": case.guest(), "reason": "timeout", "retainData": true},
        "status": {
            "phase": "Terminated", "outcome": "AlreadyTerminated", "settled": true,
            "conditions": [
                condition("Ready", "True", "AlreadyTerminated"),
                condition("Finished", "True", "AlreadyTerminated"),
                condition("RetentionApplied", "Unknown", "SessionAlreadyClosed"),
                condition("WebhookDelivered", "True", "Delivered"),
            ],
            "webhooks": [{"name": "analytics", "messageId": "msg_1"}],
        },
    });
    let event = json!({"type": "Normal", "reason": "AlreadyTerminated", "regarding": {"uid": "u1"}});
    let line = json!({"uid": "u1", "kind": "outcome", "outcome": "AlreadyTerminated", "success": true});
    let ledger = json!({
        "calls": [{
            "sequence": 1, "time": "", "at_ms": 0, "operation": "observe", "method": "GET", "path_and_query": "",
            "guest": case.guest(), "query": [], "effective": false, "outcome": "answered", "caller_gone": false,
            "outage": false,
        }],
        "webhooks": [{
            "sequence": 2, "time": "", "at_ms": 0, "endpoint": "analytics", "id": "msg_1", "headers": {},
            // {"resource":{"uid":"u1"},"outcome":"AlreadyTerminated"}
            "body_base64": "eyJyZXNvdXJjZSI6eyJ1aWQiOiJ1MSJ9LCJvdXRjb21lIjoiQWxyZWFkeVRlcm1pbmF0ZWQifQ==",
            "verified": true, "taken": true, "outcome": "answered", "caller_gone": false, "outage": false,
        }],
    });
    let found = Found {
        objects: vec![object],
        events: vec![event],
        audit: vec![line],
        ledger: serde_json::from_value(ledger).unwrap(),
    };
    (case, found)
}

/// What is wrong after a change, in one line each.
fn wrong(change: impl FnOnce(&mut Found)) -> Vec<String> {
    let (case, mut found) = case();
    change(&mut found);
    let line = |problem: Problem| {
        let Problem {
            object,
            what,
            expected,
            found,
            ..
        } = problem;
        format!("{object}: {what}: {expected} / {found}")
    };
    problems(&[case], &found).into_iter().map(line).collect()
}

#[test]
fn nothing_is_wrong_with_what_is_right() {
    assert_eq!(wrong(|_| ()), Vec::<String>::new());
}

#[test]
fn whatever_is_wrong_is_named_with_what_was_expected_and_what_was_found() {
    let one = |change: fn(&mut Found), line: &str| assert_eq!(wrong(change), [line]);
    one(
        |found| found.objects.clear(),
        "already-closed: the object: there / not there",
    );
    one(
        |found| found.objects[0]["status"]["phase"] = json!("Failed"),
        "already-closed: status.phase: Terminated / Failed",
    );
    one(
        |found| found.objects[0]["status"]["conditions"][2]["status"] = json!("True"),
        "already-closed: the condition RetentionApplied: Unknown SessionAlreadyClosed / \
         True SessionAlreadyClosed Because.",
    );
    one(
        |found| {
            let undeserved = json!({"type": "Warning", "reason": "AttemptFailed", "regarding": {"uid": "u1"}});
            found.events.push(undeserved);
        },
        "already-closed: the Events: Normal AlreadyTerminated / Normal AlreadyTerminated, Warning AttemptFailed",
    );
    one(
        |found| found.audit.push(found.audit[0].clone()),
        "already-closed: its audit lines outcome: 1 / 2",
    );
    one(
        |found| found.ledger.calls.clear(),
        "already-closed: whether its session was looked at: true / false",
    );
    one(
        |found| found.ledger.webhooks[0].refusal = Some("no signature fits".to_owned()),
        "already-closed: whether its webhook is verified: yes / no signature fits",
    );
}

#[test]
fn an_attempt_is_a_call_unless_it_was_not_sent() {
    let attempt = |result: &'static str| {
        move |found: &mut Found| {
            found.objects[0]["status"]["attempts"] = json!(1);
            found.audit.push(json!({"uid": "u1", "kind": "attempt_started"}));
            let over = json!({"uid": "u1", "kind": "attempt_result", "result": result});
            found.audit.push(over);
        }
    };
    assert_eq!(wrong(attempt("NotSent")), Vec::<String>::new());
    let line = "already-closed: the attempts that were sent, by its audit lines: 0 / 1";
    assert_eq!(wrong(attempt("Unknown")), [line]);
}

#[test]
fn a_session_that_should_not_have_been_ended_and_a_second_webhook_are_wrong() {
    let lines = wrong(|found| found.ledger.calls[0].effective = true);
    assert!(
        lines.contains(&"already-closed: the calls that ended its session: 0 / 1".to_owned()),
        "{lines:#?}"
    );
    let lines = wrong(|found| {
        let second = WebhookCall {
            id: Some("msg_2".to_owned()),
            ..found.ledger.webhooks[0].clone()
        };
        found.ledger.webhooks.push(second);
    });
    assert!(
        lines.contains(&"already-closed: its webhook ids: 1 / 2".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"webhooks: the number of different webhook ids: 1 / 2".to_owned()),
        "{lines:#?}"
    );
}
