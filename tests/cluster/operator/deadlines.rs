//! Ends that time or the budget brings: `notAfter`, the deadline, and the retries.

use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Operation, Outage, OutageKind, ScriptedAnswer};

use super::lifecycle_stage::{A_WHILE, from_now, instant, seconds, with_policy};
use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, condition, verdict},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_not_after_at_its_creation_is_expired_without_a_call() {
    let stage = Stage::set("past").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage.terminate("guest", json!({"notAfter": from_now(-60)})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Expired");
    assert_eq!(object["status"]["phase"], "Expired");
    assert_eq!(object["status"]["audit"]["success"], false);
    assert_eq!(verdict(&object, "Ready"), "absent");
    assert_eq!(verdict(&object, "Stalled"), "absent");
    assert_eq!(verdict(&object, "Finished"), "True/Expired");
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotSent");
    assert_eq!(kstatus(&object), Kstatus::Current);
    stage.events_until("guest", &["Expired"]).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    assert_eq!(stage.simulator.ledger().webhooks.len(), 0);
    assert_eq!(operator.story("guest"), ["outcome Expired"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_after_passes_while_the_connection_is_missing() {
    let stage = Stage::bare("past").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage.terminate("guest", json!({"notAfter": from_now(4)})).await;
    let waiting = stage
        .until("guest", "waiting", |object| {
            verdict(object, "Ready") == "Unknown/WaitingForConnection"
        })
        .await;
    assert_eq!(kstatus(&waiting), Kstatus::InProgress);
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Expired");
    assert_eq!(verdict(&object, "Ready"), "absent");
    assert_eq!(kstatus(&object), Kstatus::Current);
    stage.connect(stage.connection("default")).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_not_after_an_attempt_is_only_looked_after() {
    let stage = Stage::set("past").await;
    let settings = with_policy(&stage, |policy| {
        policy.effect_lag = seconds(4);
        policy.backoff_base = seconds(60);
    });
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    for (guest, effect) in [("active", false), ("over", true)] {
        stage.simulator.add_guest(GuestSpec::active(guest));
        stage.break_off(guest, effect);
        stage.terminate(guest, json!({"notAfter": from_now(3)})).await;
    }
    let active = stage.settled("active").await;
    assert_eq!(active["status"]["outcome"], "Expired");
    assert_eq!(verdict(&active, "Ready"), "False/Expired");
    assert_eq!(verdict(&active, "Stalled"), "True/Expired");
    assert_eq!(verdict(&active, "RetentionApplied"), "Unknown/NotConfirmed");
    assert_eq!(kstatus(&active), Kstatus::Failed);
    assert_eq!(
        stage.calls_of("active"),
        (3, 0),
        "a look, the call, the look that decides"
    );
    let over = stage.settled("over").await;
    assert_eq!(over["status"]["outcome"], "Terminated");
    assert_eq!(over["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(stage.calls_of("over"), (3, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_names_the_last_cause() {
    let stage = Stage::bare("late").await;
    let operator = stage.operate().await;
    stage
        .terminate("no-connection", json!({"activeDeadlineSeconds": 8}))
        .await;
    stage
        .until("no-connection", "waiting", |object| {
            verdict(object, "Ready") == "Unknown/WaitingForConnection"
        })
        .await;
    let object = stage.settled("no-connection").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(verdict(&object, "Ready"), "False/DeadlineExceeded");
    assert_eq!(verdict(&object, "Stalled"), "True/DeadlineExceeded");
    assert_eq!(kstatus(&object), Kstatus::Failed);
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("There is no GenesysConnection default"), "{message}");
    stage
        .events_until("no-connection", &["ConnectionNotFound", "DeadlineExceeded"])
        .await;

    // The vendor is down from the first call on: no object's budget is spent, and its deadline passes all the same.
    stage.simulator.add_guest(GuestSpec::active("vendor-down"));
    stage.simulator.set_outage(Outage {
        reads: Some(OutageKind::Unavailable),
        writes: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    stage.connect(stage.connection("default")).await;
    stage
        .terminate("vendor-down", json!({"activeDeadlineSeconds": 4}))
        .await;
    let object = stage.settled("vendor-down").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or_default(), 0);
    assert_eq!(kstatus(&object), Kstatus::Failed);
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("Last cause: ") && message.contains("503"), "{message}");

    // No token can be had.
    stage.simulator.set_outage(Outage::vendor(OutageKind::Unavailable));
    let mut connection = stage.connection("tokenless");
    connection["spec"]["webhooks"] = json!([]);
    stage.connect(connection).await;
    stage
        .terminate(
            "no-token",
            json!({"activeDeadlineSeconds": 4, "connectionRef": {"kind": "GenesysConnection", "name": "tokenless"}}),
        )
        .await;
    let object = stage.settled("no-token").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    let message = condition(&object, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains("Last cause: ") && message.contains("token"),
        "{message}"
    );
    assert_eq!(stage.calls_of("no-token"), (0, 0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_the_number_of_retries() {
    let stage = Stage::set("budget").await;
    let settings = with_policy(&stage, |policy| policy.backoff_base = seconds(1));
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    for (guest, limit) in [("none", 0), ("one", 1)] {
        stage.simulator.add_guest(GuestSpec::active(guest));
        let fault = FaultSpec::on(Operation::Observe)
            .guest(guest)
            .answer(ScriptedAnswer::vendor(503));
        stage.simulator.add_fault(fault).unwrap();
        stage.terminate(guest, json!({"backoffLimit": limit})).await;
        let object = stage.settled(guest).await;
        assert_eq!(object["status"]["outcome"], "RetriesExhausted");
        assert_eq!(object["status"]["attempts"].as_i64().unwrap_or_default(), 0);
        assert_eq!(verdict(&object, "Ready"), "False/RetriesExhausted");
        assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotSent");
        assert_eq!(kstatus(&object), Kstatus::Failed);
        let message = condition(&object, "Ready")["message"].as_str().unwrap();
        assert!(message.contains("503"), "{message}");
        assert_eq!(stage.calls_of(guest), (limit + 1, 0));
    }
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_with_an_open_question_is_decided_by_a_last_look() {
    let stage = Stage::set("budget").await;
    let settings = with_policy(&stage, |policy| policy.effect_lag = seconds(3));
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    for (guest, effect) in [("active", false), ("over", true)] {
        stage.simulator.add_guest(GuestSpec::active(guest));
        stage.break_off(guest, effect);
        stage.terminate(guest, json!({"backoffLimit": 0})).await;
    }
    let active = stage.settled("active").await;
    assert_eq!(active["status"]["outcome"], "RetriesExhausted");
    assert_eq!(active["status"]["mayHaveApplied"], true);
    assert_eq!(verdict(&active, "RetentionApplied"), "Unknown/NotConfirmed");
    assert_eq!(kstatus(&active), Kstatus::Failed);
    assert_eq!(stage.calls_of("active"), (3, 0));
    let over = stage.settled("over").await;
    assert_eq!(over["status"]["outcome"], "Terminated");
    assert_eq!(over["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(over["status"]["audit"]["duplicateTermination"], false);
    assert_eq!(kstatus(&over), Kstatus::Current);
    assert_eq!(stage.calls_of("over"), (3, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_outcome_is_unknown_and_says_so() {
    let stage = Stage::set("unknown").await;
    let settings = with_policy(&stage, |policy| {
        policy.effect_lag = seconds(1);
        policy.last_look_patience = seconds(3);
    });
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.break_off("guest", true);
    stage
        .terminate("guest", json!({"backoffLimit": 0, "activeDeadlineSeconds": 5}))
        .await;
    stage
        .until("guest", "unsure", |object| object["status"]["mayHaveApplied"] == true)
        .await;
    stage.simulator.set_outage(Outage {
        reads: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Unconfirmed");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(verdict(&object, "Ready"), "False/OutcomeUnknown");
    assert_eq!(verdict(&object, "Finished"), "True/OutcomeUnknown");
    assert_eq!(kstatus(&object), Kstatus::Failed);
    let completed = instant(&object["status"]["completionTime"]);
    let created = instant(&object["metadata"]["creationTimestamp"]);
    assert!(completed >= created + seconds(8), "{created} {completed}");
    stage.events_until("guest", &["AttemptFailed", "OutcomeUnknown"]).await;
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_are_observed_while_it_waits() {
    let stage = Stage::bare("edits").await;
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    let before = stage
        .until("guest", "waiting", |object| object["status"]["observedGeneration"] == 1)
        .await;
    let observed = |object: &serde_json::Value, generation| {
        object["metadata"]["generation"] == generation && object["status"]["observedGeneration"] == generation
    };
    stage.edit("guest", json!({"spec": {"backoffLimit": 3}})).await;
    stage.until("guest", "observed", |object| observed(object, 2)).await;
    stage
        .edit("guest", json!({"spec": {"activeDeadlineSeconds": 3600}}))
        .await;
    let edited = stage.until("guest", "observed", |object| observed(object, 3)).await;
    let deadline = |object: &serde_json::Value| instant(&object["status"]["deadlineTime"]).as_second();
    assert_eq!(deadline(&before) - deadline(&edited), 21_600 - 3600);
    assert_eq!(kstatus(&edited), Kstatus::InProgress);
    stage.edit("guest", json!({"spec": {"activeDeadlineSeconds": 1}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert!(observed(&object, 4), "{object:#}");
    operator.stop().await;
}

/// A success comes before every other end.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_under_way_when_time_ran_out_may_still_succeed() {
    let stage = Stage::set("late").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_after_ms: 8000,
        ..FaultSpec::on(Operation::Terminate).guest("guest")
    };
    stage.simulator.add_fault(slow).unwrap();
    let operator = stage.operate().await;
    stage
        .terminate("guest", json!({"activeDeadlineSeconds": 6, "notAfter": from_now(6)}))
        .await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    let created = instant(&object["metadata"]["creationTimestamp"]);
    assert!(instant(&object["status"]["completionTime"]) >= created + seconds(7));
    assert_eq!(stage.calls_of("guest"), (2, 1));
    operator.stop().await;
}
