use std::collections::BTreeMap;

use guest_termination_operator::api::{Outcome, WebhookState};
use serde_json::{Value, json};
use simulator::api::{Call, Operation, Outcome as Ending, WebhookCall};

use super::*;

const START: &str = "2026-11-24T10:00:00Z";

fn at(millis: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_millis(millis)
}

fn call(at_ms: i64, status: u16, effective: bool) -> Call {
    Call {
        sequence: at_ms.unsigned_abs(),
        time: format!("{:.3}", at(at_ms)),
        at_ms: at_ms.unsigned_abs(),
        operation: Operation::Terminate,
        method: "DELETE".to_owned(),
        path_and_query: "/".to_owned(),
        guest: Some("guest".to_owned()),
        query: vec![
            ("reason".to_owned(), "timeout".to_owned()),
            ("retainData".to_owned(), "true".to_owned()),
        ],
        token: None,
        client: None,
        incarnation: Some(1),
        told_state: None,
        effective,
        effective_at_ms: None,
        outcome: Ending::Answered,
        status: Some(status),
        correlation_id: None,
        answered_at_ms: Some(at_ms.unsigned_abs()),
        caller_gone: false,
        fault: None,
        outage: false,
    }
}

fn webhook(at_ms: i64) -> WebhookCall {
    WebhookCall {
        sequence: at_ms.unsigned_abs(),
        time: format!("{:.3}", at(at_ms)),
        at_ms: at_ms.unsigned_abs(),
        endpoint: "analytics".to_owned(),
        id: Some("msg_1".to_owned()),
        timestamp: None,
        headers: BTreeMap::new(),
        body: b"body".to_vec(),
        verified: true,
        refusal: None,
        taken: true,
        outcome: Ending::Answered,
        status: Some(200),
        answered_at_ms: Some(at_ms.unsigned_abs()),
        caller_gone: false,
        fault: None,
        outage: false,
    }
}

/// The API server carried out a status write, of the version `version`.
fn write(at_ms: i64, version: u64, status: &Value) -> AuditEvent {
    AuditEvent {
        user: "operator".to_owned(),
        user_agent: String::new(),
        verb: "update".to_owned(),
        uri: String::new(),
        group: "guestops.dev".to_owned(),
        resource: "guestterminations".to_owned(),
        subresource: "status".to_owned(),
        namespace: "tenant".to_owned(),
        name: "guest".to_owned(),
        code: 200,
        received_at: at(at_ms).to_string(),
        answered_at: at(at_ms + 1).to_string(),
        content: Some(json!({"metadata": {"uid": "u-1", "resourceVersion": version.to_string()}, "status": status})),
    }
}

fn line(at_ms: i64, kind: &str, attempt: Option<&str>) -> Value {
    json!({"message": "session_termination_audit", "timestamp": format!("{:.3}", at(at_ms)), "kind": kind,
           "uid": "u-1", "attempt_id": attempt})
}

fn life(number: usize, killed_at: Option<i64>, audit: Vec<Value>) -> Life {
    Life {
        number,
        killed: killed_at.is_some(),
        gone: at(killed_at.unwrap_or(9_000)),
        ending: "exit status: 0".to_owned(),
        succeeded: killed_at.is_none(),
        audit,
        strange: Vec::new(),
        leaks: Vec::new(),
    }
}

fn open(id: &str) -> Value {
    json!({"attempts": 1, "currentAttempt": {"id": id, "number": 1, "holder": "h", "startedAt": START}})
}

/// A termination as it should be: intent, call, result, webhook.
fn good() -> Evidence {
    let end = json!({
        "attempts": 1, "finished": true, "settled": true, "outcome": "Terminated",
        "webhooks": [{"name": "analytics", "event": "session.terminated", "format": "Flat", "messageId": "msg_1",
                      "state": "Delivered", "attempts": 1}],
    });
    let object = json!({
        "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
        "metadata": {"name": "guest", "namespace": "tenant", "uid": "u-1"},
        "spec": {"guestId": "guest", "reason": "timeout", "retainData": true},
        "status": end,
    });
    Evidence {
        expected: 1,
        objects: vec![serde_json::from_value(object).unwrap()],
        ledger: Ledger {
            calls: vec![call(1_000, 204, true)],
            webhooks: vec![webhook(3_000)],
        },
        requests: vec![write(0, 1, &open("a")), write(2_000, 2, &end)],
        lives: vec![life(
            1,
            None,
            vec![
                line(500, "attempt_started", Some("a")),
                line(1_500, "attempt_result", Some("a")),
                line(1_500, "outcome", None),
            ],
        )],
        leaks: Vec::new(),
    }
}

/// A second attempt `b`, with its call at 30 s, after whatever the first one did.
fn again(evidence: &mut Evidence) {
    let end = evidence.requests.pop().unwrap();
    let status = end.content.as_ref().unwrap()["status"].clone();
    evidence.requests.push(write(25_000, 2, &json!({"attempts": 1})));
    evidence.requests.push(write(29_500, 3, &open("b")));
    evidence.requests.push(write(31_000, 4, &status));
    evidence.ledger.calls.push(call(30_000, 204, true));
    evidence.ledger.webhooks = vec![webhook(32_000)];
    let started = line(29_600, "attempt_started", Some("b"));
    let result = line(30_500, "attempt_result", Some("b"));
    evidence.lives.push(life(2, None, vec![started, result]));
}

fn promises(evidence: &Evidence) -> Vec<&'static str> {
    let rules = Rules {
        allowance: Some(10),
        ..Rules::default()
    };
    let verdict = judge(evidence, &rules).unwrap();
    verdict.violations.iter().map(|violation| violation.promise).collect()
}

#[test]
fn what_is_as_it_should_be_breaks_nothing() {
    assert_eq!(judge(&good(), &Rules::default()).unwrap().violations, []);
}

#[test]
fn a_second_call_is_allowed_after_an_unclear_answer_and_after_a_crash_and_not_otherwise() {
    let mut evidence = good();
    evidence.ledger.calls[0].status = Some(503);
    again(&mut evidence);
    assert_eq!(promises(&evidence), [""; 0], "unclear");

    let mut evidence = good();
    evidence.ledger.calls[0].caller_gone = true;
    again(&mut evidence);
    assert_eq!(promises(&evidence), [""; 0], "the answer came too late");

    let mut evidence = good();
    let audit = evidence.lives[0].audit.clone();
    evidence.lives[0] = life(1, Some(1_600), audit.clone());
    again(&mut evidence);
    assert_eq!(promises(&evidence), [""; 0], "killed before the result was written");
    let verdict = judge(&evidence, &Rules::default()).unwrap();
    assert_eq!((verdict.figures.orphans, verdict.figures.ended_again), (1, 1));

    let mut evidence = good();
    evidence.lives[0] = life(1, Some(26_000), audit);
    again(&mut evidence);
    assert_eq!(promises(&evidence), ["I1"], "killed after the result was written");

    let mut evidence = good();
    again(&mut evidence);
    assert_eq!(promises(&evidence), ["I1"]);
}

#[test]
fn a_write_whose_caller_died_over_it_may_have_been_carried_out() {
    let mut evidence = good();
    let mut cancelled = evidence.requests[1].clone();
    cancelled.code = 504;
    evidence.requests[1].received_at = at(4_000).to_string();
    assert_eq!(promises(&evidence), ["I6"], "the webhook came before");
    evidence.requests.push(cancelled.clone());
    assert_eq!(promises(&evidence), [""; 0]);

    // But no call may leave for an intent whose write was not answered.
    let mut evidence = good();
    evidence.requests[0].code = 504;
    assert_eq!(promises(&evidence), ["I2"]);
}

#[test]
fn a_write_that_was_never_read_is_none() {
    let mut evidence = good();
    let mut unread = evidence.requests[1].clone();
    unread.code = 500;
    unread.content = None;
    evidence.requests.insert(0, unread);
    assert_eq!(promises(&evidence), [""; 0]);

    evidence.requests[0].code = 200;
    assert!(
        judge(&evidence, &Rules::default()).is_err(),
        "a log without contents cannot be judged"
    );
}

#[test]
fn each_broken_promise_is_found() {
    type Change = fn(&mut Evidence);
    let changes: [(&str, Change); 20] = [
        ("I2", |evidence| evidence.requests[0] = write(1_500, 1, &open("a"))),
        ("I2", |evidence| evidence.requests[0] = write(-20_000, 1, &open("a"))),
        ("I2", |evidence| {
            evidence.ledger.calls[0].status = Some(503);
            evidence.ledger.calls.push(call(1_200, 204, true));
        }),
        ("I3", |evidence| evidence.requests.push(write(2_500, 3, &open("a")))),
        ("I4", |evidence| evidence.ledger.calls[0].effective = false),
        ("I4", |evidence| {
            evidence.objects[0].status.as_mut().unwrap().outcome = Some(Outcome::AlreadyTerminated);
        }),
        ("I5", |evidence| evidence.ledger.webhooks[0].taken = false),
        ("I5", |evidence| {
            evidence.ledger.webhooks.push(WebhookCall {
                body: b"other".to_vec(),
                ..webhook(3_500)
            });
        }),
        ("I5", |evidence| {
            evidence.ledger.webhooks.push(WebhookCall {
                id: Some("msg_2".to_owned()),
                ..webhook(3_500)
            });
        }),
        ("I5", |evidence| {
            evidence.objects[0].status.as_mut().unwrap().webhooks[0].state = WebhookState::Failed
        }),
        ("I6", |evidence| evidence.ledger.webhooks[0] = webhook(1_900)),
        ("I7", |evidence| {
            evidence.ledger.calls[0].query[0].1 = "customer_initiated".to_owned()
        }),
        ("I7", |evidence| {
            evidence.ledger.calls.push(Call {
                guest: Some("somebody".to_owned()),
                ..call(1_200, 404, false)
            });
        }),
        ("I8", |evidence| {
            let look = Call {
                operation: Operation::Observe,
                ..call(900, 200, false)
            };
            evidence.ledger.calls.splice(0..0, std::iter::repeat_n(look, 10));
        }),
        ("I9", |evidence| drop(evidence.lives[0].audit.remove(0))),
        ("I9", |evidence| drop(evidence.lives[0].audit.remove(1))),
        ("I9", |evidence| {
            evidence.lives[0].audit[0] = line(1_200, "attempt_started", Some("a"))
        }),
        ("I10", |evidence| evidence.lives[0].leaks.push("a token".to_owned())),
        ("I13", |evidence| {
            evidence.objects[0].status.as_mut().unwrap().settled = None
        }),
        ("no silent death", |evidence| evidence.lives[0].succeeded = false),
    ];
    for (index, (promise, change)) in changes.into_iter().enumerate() {
        let mut evidence = good();
        change(&mut evidence);
        let found = promises(&evidence);
        assert!(
            found.contains(&promise) && found.iter().all(|found| *found == promise),
            "{index}: {promise} was broken, and found is {found:?}"
        );
    }
}
