//! Answers that decide: over already, gone, refused, forbidden; and one that decides nothing.

use serde_json::{Value, json};
use simulator::api::{FaultBody, FaultSpec, GuestSpec, Operation, ScriptedAnswer};

use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Operator, Stage, condition, verdict},
};

/// Text that a body of the vendor's holds, and nothing else ever may.
const CANARY: &str = "canary-of-a-vendor-body";

fn refusal(status: u16, code: &str) -> ScriptedAnswer {
    let text = json!({"code": code, "status": status, "message": CANARY, "details": [CANARY]}).to_string();
    let content_type = "application/json".to_owned();
    ScriptedAnswer::new(status, FaultBody::Text { content_type, text })
}

/// What was told to anybody of a vendor's body: nothing.
async fn keeps_to_itself(stage: &Stage<'_>, operator: &Operator, name: &str) {
    let object = stage.terminations().get(name).await.unwrap();
    let connection = stage.connections().get("default").await.unwrap();
    let events = stage.events_of(name).await;
    let told = format!(
        "{} {} {events:?} {:?} {:?}",
        serde_json::to_string(&object).unwrap(),
        serde_json::to_string(&connection).unwrap(),
        operator.lines(),
        stage.simulator.ledger().webhooks,
    );
    assert!(!told.contains(CANARY), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_is_already_terminated_whatever_it_calls_that() {
    let stage = Stage::set("over").await;
    let operator = stage.operate().await;
    let states = ["closed", "terminated", "ended", "expired", "disconnected"];
    for state in states {
        stage.simulator.add_guest(GuestSpec::in_state(state, state));
        stage.terminate(state, json!({})).await;
    }
    for state in states {
        let object = stage.settled(state).await;
        assert_eq!(object["status"]["phase"], "Terminated");
        assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
        assert_eq!(object["status"]["attempts"].as_i64().unwrap_or(0), 0);
        assert_eq!(object["status"]["session"]["state"], state);
        assert_eq!(object["status"]["audit"]["duplicateTermination"], true);
        assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
        assert_eq!(verdict(&object, "Ready"), "True/AlreadyTerminated");
        assert_eq!(verdict(&object, "SessionValidated"), "True/SessionAlreadyClosed");
        assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/SessionAlreadyClosed");
        assert_eq!(kstatus(&object), Kstatus::Current);
        let events = stage.events_with(state, "AlreadyTerminated").await;
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].0, "Normal");
    }
    assert_eq!(stage.calls(Operation::Observe), states.len());
    assert_eq!(stage.calls(Operation::Terminate), 0);
    assert_eq!(operator.lines().len(), states.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_was_to_go_and_may_not_have_gone_is_told_everywhere() {
    let stage = Stage::set("retain").await;
    let operator = stage.operate().await;
    stage.simulator.add_guest(GuestSpec::in_state("guest-1", "closed"));
    stage.terminate("guest-1", json!({"retainData": false})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/SessionAlreadyClosed");
    let events = stage.events_with("guest-1", "RetentionNotApplied").await;
    let event = events.iter().find(|event| event.1 == "RetentionNotApplied").unwrap();
    assert_eq!(event.0, "Warning");
    let lines = operator.lines();
    assert_eq!(lines[0]["kind"], "outcome");
    assert_eq!(lines[0]["success"], true);
    assert_eq!(lines[0]["retain_data"], false);
    assert_eq!(lines[0]["retention_applied"], "Unknown");
    assert_eq!(lines[0]["duplicate_termination"], true);
    let body: Value = serde_json::from_slice(&stage.simulator.ledger().webhooks[0].body).unwrap();
    assert_eq!(body["retain_data"], false);
    assert_ne!(body["retention_applied"], true);
    assert_eq!(body["duplicate_termination"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_there_is_over_once_the_route_is_proven_or_the_code_says_so() {
    let stage = Stage::set("gone").await;
    let _operator = stage.operate().await;
    // A code that only a missing session can have needs no proof.
    let code = |code: &str| FaultBody::Vendor {
        code: Some(code.to_owned()),
    };
    let conclusive = ScriptedAnswer::new(404, code("conversation.error.conversation.not.found"));
    let fault = FaultSpec::on(Operation::Observe).guest("conclusive").answer(conclusive);
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("conclusive", json!({})).await;
    assert_eq!(
        stage.settled("conclusive").await["status"]["outcome"],
        "AlreadyTerminated"
    );

    stage.terminate("unknown", json!({})).await;
    stage.waits("unknown", "Unknown/RouteNotProven").await;
    let gone = FaultSpec::on(Operation::Observe)
        .guest("gone")
        .answer(ScriptedAnswer::new(410, code("not.found")));
    stage.simulator.add_fault(gone).unwrap();
    let empty = ScriptedAnswer {
        vendor_headers: Some(true),
        ..ScriptedAnswer::new(404, FaultBody::Empty)
    };
    let empty = FaultSpec::on(Operation::Observe).guest("empty").answer(empty);
    stage.simulator.add_fault(empty).unwrap();
    for name in ["gone", "empty"] {
        stage.terminate(name, json!({})).await;
        stage.waits(name, "Unknown/RouteNotProven").await;
    }
    stage.warm_up().await;
    for name in ["unknown", "gone", "empty"] {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
        assert_eq!(object["status"]["audit"]["duplicateTermination"], true);
    }
    assert_eq!(
        stage.calls(Operation::Terminate),
        0,
        "the ledger was cleared after the warm-up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_between_look_and_call_was_ended_by_somebody_else() {
    let stage = Stage::set("between").await;
    let _operator = stage.operate().await;
    stage.simulator.add_guest(GuestSpec::active("guest-1"));
    let fault = FaultSpec::on(Operation::Terminate).guest("guest-1");
    stage
        .simulator
        .add_fault(fault.answer(ScriptedAnswer::vendor(404)))
        .unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(object["status"]["history"][0]["result"], "Gone");
    assert_eq!(verdict(&object, "SessionValidated"), "True/SessionActive");
    assert_eq!(stage.calls(Operation::Terminate), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_nobody_knows_is_never_green_and_nothing_is_sent() {
    let stage = Stage::set("unclear").await;
    let operator = stage.operate_with(stage.settings().scaled(0.05)).await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::in_state("guest-1", "hibernating"));
    stage.terminate("guest-1", json!({"backoffLimit": 2})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "RetriesExhausted");
    assert_eq!(object["status"]["retries"], 3);
    assert_eq!(verdict(&object, "Ready"), "False/RetriesExhausted");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("\"hibernating\""), "{message}");
    assert_eq!(kstatus(&object), Kstatus::Failed);
    assert_eq!(stage.calls(Operation::Observe), 3);
    assert_eq!(stage.calls(Operation::Terminate), 0);
    stage.events_with("guest-1", "RetriesExhausted").await;
    stage.events_with("guest-1", "AttemptFailed").await;
    let outcome = operator.lines().pop().unwrap();
    assert_eq!(
        (&outcome["kind"], &outcome["success"]),
        (&json!("outcome"), &json!(false))
    );
    assert!(
        stage.simulator.ledger().webhooks.is_empty(),
        "only ends of sessions are announced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_refuses_for_good_is_rejected_by_its_code_and_never_its_words() {
    let stage = Stage::set("refused").await;
    let operator = stage.operate().await;
    let rows = [
        ("look-400", Operation::Observe, 400, "bad.request"),
        ("look-422", Operation::Observe, 422, "invalid.guest"),
        ("call-400", Operation::Terminate, 400, "bad.request"),
        ("call-405", Operation::Terminate, 405, "method.not.allowed"),
        ("call-413", Operation::Terminate, 413, "request.entity.too.large"),
    ];
    for (name, operation, status, code) in rows {
        stage.simulator.add_guest(GuestSpec::active(name));
        let fault = FaultSpec::on(operation).guest(name).answer(refusal(status, code));
        stage.simulator.add_fault(fault).unwrap();
        stage.terminate(name, json!({})).await;
    }
    for (name, operation, status, code) in rows {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Rejected", "{object:#}");
        assert_eq!(object["status"]["phase"], "Failed");
        assert_eq!(verdict(&object, "Ready"), "False/Rejected");
        assert_eq!(verdict(&object, "Finished"), "True/Rejected");
        let message = condition(&object, "Ready")["message"].as_str().unwrap();
        assert!(message.contains(&format!("HTTP {status} ({code})")), "{message}");
        let validated = match operation {
            Operation::Observe => "False/ValidationRejected",
            _ => "True/SessionActive",
        };
        assert_eq!(verdict(&object, "SessionValidated"), validated);
        assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotSent");
        assert_eq!(kstatus(&object), Kstatus::Failed);
        stage.events_with(name, "Rejected").await;
        keeps_to_itself(&stage, &operator, name).await;
        let calls = stage.calls_about(operation, |call| call.guest.as_deref() == Some(name));
        assert_eq!(calls.len(), 1, "a refusal is final");
    }
    assert_eq!(stage.simulator.summary().effective_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_may_have_come_too_late_is_final_after_a_look() {
    let stage = Stage::set("late").await;
    let operator = stage.operate_with(stage.settings().scaled(0.05)).await;
    stage.simulator.add_guest(GuestSpec::active("guest-1"));
    let fault = FaultSpec::on(Operation::Terminate).answer(refusal(451, "legal.hold"));
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Rejected");
    assert_eq!(object["status"]["mayHaveApplied"], true);
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotConfirmed");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("HTTP 451 (legal.hold)"), "{message}");
    keeps_to_itself(&stage, &operator, "guest-1").await;
    let operations: Vec<_> = stage
        .simulator
        .ledger()
        .calls
        .iter()
        .map(|call| call.operation)
        .collect();
    assert_eq!(
        operations[1..],
        [Operation::Observe, Operation::Terminate, Operation::Observe]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_object_waits_alone() {
    let stage = Stage::set("forbidden").await;
    let operator = stage.operate_with(stage.settings().scaled(0.01)).await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest-0"));
    stage.simulator.add_guest(GuestSpec::active("guest-1"));
    let fault = FaultSpec::on(Operation::Terminate)
        .guest("guest-0")
        .answer(refusal(403, "missing.any.permissions"));
    let fault = stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest-0", json!({})).await;
    let object = stage.waits("guest-0", "Unknown/PermissionDenied").await;
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("webchat:guest:manage"), "{message}");
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    assert_ne!(object["status"]["nextAttemptTime"], Value::Null);
    stage.terminate("guest-1", json!({})).await;
    assert_eq!(stage.settled("guest-1").await["status"]["outcome"], "Terminated");
    let events = stage.events_with("guest-0", "PermissionDenied").await;
    assert_eq!(events[0].0, "Warning");
    stage.connection_says("default", "True/TokenValid").await;
    keeps_to_itself(&stage, &operator, "guest-0").await;

    stage.simulator.remove_fault(fault).unwrap();
    let object = stage.settled("guest-0").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_ne!(object["status"]["mayHaveApplied"], true);
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
}

/// An address that no guest was ever read through answers 403, and later 404: the one is over, the other one is all that
/// is left to be said, and is said once.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_back_is_seen_where_no_guest_was_ever_read() {
    let stage = Stage::set("permitted").await;
    let mut settings = stage.settings();
    settings.pacing.trial_cap = std::time::Duration::from_secs(2);
    settings.policy.permission_pause = std::time::Duration::from_secs(2);
    let operator = stage.operate_with(settings).await;
    let fault = FaultSpec::on(Operation::Observe).answer(refusal(403, "missing.any.permissions"));
    stage.simulator.add_fault(fault).unwrap();
    let names = ["guest-0", "guest-1", "guest-2"];
    for name in names {
        stage.terminate(name, json!({})).await;
    }
    stage.connection_says("default", "False/PermissionDenied").await;
    stage.simulator.clear_faults();
    stage.connection_says("default", "True/TokenValid").await;
    for name in names {
        stage.waits(name, "Unknown/RouteNotProven").await;
        keeps_to_itself(&stage, &operator, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_forbidden_objects_are_the_connections_trouble_until_one_gets_through() {
    let stage = Stage::set("denied").await;
    let mut settings = stage.settings();
    settings.pacing.trial_cap = std::time::Duration::from_secs(3);
    settings.policy.permission_pause = std::time::Duration::from_secs(3);
    let _operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    let fault = FaultSpec::on(Operation::Observe).answer(refusal(403, "missing.any.permissions"));
    stage.simulator.add_fault(fault).unwrap();
    let names: Vec<String> = (0..6).map(|index| format!("guest-{index}")).collect();
    for name in &names[..3] {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    let connection = stage.connection_says("default", "False/PermissionDenied").await;
    assert_eq!(verdict(&connection, "Stalled"), "True/PermissionDenied");
    assert_eq!(kstatus(&connection), Kstatus::Failed);
    // Who comes now is told, and asks nothing.
    for name in &names[3..] {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
        stage.waits(name, "Unknown/PermissionDenied").await;
    }
    let asked = stage.calls(Operation::Observe);
    assert!(
        asked <= 4,
        "one pass at a time, seconds apart, after the first three: {asked}"
    );
    stage.simulator.clear_faults();
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    stage.connection_says("default", "True/TokenValid").await;
}
