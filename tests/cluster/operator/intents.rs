//! Crashes around the one call, and intents that somebody else left open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use simulator::api::{FaultAction, FaultSpec, GuestSpec, Moment, Operation};

use super::lifecycle_stage::{A_WHILE, instant, seconds, with_policy};
use crate::stage::{Stage, verdict};

fn hang(operation: Operation, after_effect: bool) -> FaultSpec {
    FaultSpec::on(operation)
        .guest("guest")
        .times(1)
        .action(FaultAction::Hang { after_effect })
}

fn one_webhook(stage: &Stage<'_>) {
    let ids = stage.simulator.summary().webhooks;
    assert_eq!(ids.len(), 1, "{ids:?}");
    let (id, webhook) = ids.iter().next().unwrap();
    assert!(!id.is_empty());
    assert_eq!(webhook.distinct_bodies, 1);
    assert!(webhook.verified >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_effect_is_made_good_by_a_look() {
    let stage = Stage::set("crash").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(hang(Operation::Terminate, true)).unwrap();
    let first = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Effective, "guest").await;
    let started = first.story("guest");
    first.crash().await;
    assert_eq!(started, ["attempt_started"]);

    let second = stage.operate().await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(object["status"]["audit"]["duplicateTermination"], false);
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotConfirmed");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    assert_eq!(stage.calls_of("guest"), (3, 1));
    assert_eq!(second.story("guest"), ["attempt_result Gone", "outcome Terminated"]);
    one_webhook(&stage);
    second.stop().await;
}

/// The one test of the real patience with somebody else's intent: 5 s to begin and send, 10 s for the call, 5 s to spare.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_effect_costs_twenty_seconds_and_one_retry() {
    let stage = Stage::set("crash").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(hang(Operation::Terminate, false)).unwrap();
    let first = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    first.crash().await;

    let second = stage.operate().await;
    let restarted = tokio::time::Instant::now();
    let abandoned = stage
        .until("guest", "abandoned", |object| {
            object["status"]["history"][0]["result"] == "Abandoned"
        })
        .await;
    assert!(restarted.elapsed() >= seconds(20), "{:?}", restarted.elapsed());
    assert_eq!(abandoned["status"]["mayHaveApplied"], true);
    assert_eq!(abandoned["status"]["retries"], 1);
    assert!(abandoned["status"]["currentAttempt"].is_null());
    assert!(!abandoned["status"]["nextAttemptTime"].is_null());
    let began = instant(&abandoned["status"]["history"][0]["startedAt"]);
    assert_eq!(
        instant(&abandoned["status"]["lastSendTime"]),
        began + seconds(6),
        "never early"
    );
    // One look before the intent, one on sight, one at twenty seconds.
    assert_eq!(stage.asked(Operation::Observe, "guest"), 3);

    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 2);
    assert_eq!(stage.calls_of("guest").1, 1);
    one_webhook(&stage);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_no_storm() {
    let stage = Stage::set("crash").await;
    let settings = with_policy(&stage, |policy| policy.foreign_intent_patience = seconds(6));
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.add_fault(hang(Operation::Terminate, false)).unwrap();
    let first = stage.operate_with(settings.clone()).await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    first.crash().await;
    for _ in 0..5 {
        let operator = stage.operate_with(settings.clone()).await;
        tokio::time::sleep(seconds(1)).await;
        operator.crash().await;
    }
    // Each looked once on sight, and none sent anything.
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    let looks = stage.asked(Operation::Observe, "guest");
    assert!((2..=6).contains(&looks), "{looks}");
    let last = stage.operate_with(settings).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"], 1);
    assert_eq!(stage.calls_of("guest").1, 1);
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_result_leaves_the_webhook_to_the_next_process() {
    let stage = Stage::set("crash").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    // The receiver has it and says nothing: whether it counts is open, and it is sent again under the same id.
    let fault = FaultSpec::on(Operation::Webhook)
        .times(1)
        .action(FaultAction::Hang { after_effect: true });
    stage.simulator.add_fault(fault).unwrap();
    let first = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Webhook, Moment::Effective, "analytics").await;
    first.crash().await;
    let object = serde_json::to_value(stage.terminations().get("guest").await.unwrap()).unwrap();
    assert_eq!(object["status"]["finished"], true);
    assert_eq!(verdict(&object, "WebhookDelivered"), "Unknown/Pending");

    let second = stage.operate().await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["webhooks"][0]["state"], "Delivered");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 1);
    assert_eq!(stage.calls_of("guest"), (2, 1), "the vendor is not asked again");
    assert_eq!(stage.simulator.ledger().webhooks.len(), 2);
    one_webhook(&stage);
    second.stop().await;
}

/// The status of an object whose call another process announced.
async fn announce_elsewhere(stage: &Stage<'_>) -> Value {
    let connection = serde_json::to_value(stage.connections().get("default").await.unwrap()).unwrap();
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let started = k8s_openapi::jiff::Timestamp::from_second(now).unwrap().to_string();
    stage.terminate("guest", json!({})).await;
    let attempt = json!({"id": "0123456789abcdef", "number": 1, "holder": "elsewhere/1", "startedAt": started});
    stage
        .forge(
            "guest",
            json!({
                "attempts": 1,
                "startTime": started,
                "observedGeneration": 1,
                "connection": {"kind": "GenesysConnection", "name": "default", "uid": connection["metadata"]["uid"],
                               "api": "WebMessagingGuests", "host": "127.0.0.1"},
                "currentAttempt": attempt,
            }),
        )
        .await;
    attempt
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_s_intent_is_looked_at_on_sight_and_believed_when_the_session_is_gone() {
    let stage = Stage::set("foreign").await;
    stage.simulator.add_guest(GuestSpec::in_state("guest", "closed"));
    announce_elsewhere(&stage).await;
    let operator = stage.operate().await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(object["status"]["history"][0]["result"], "Gone");
    assert_eq!(stage.calls_of("guest"), (1, 0));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_s_intent_is_left_alone_for_its_time_and_cleared_once() {
    let stage = Stage::set("foreign").await;
    let patience = seconds(5);
    let settings = with_policy(&stage, |policy| policy.foreign_intent_patience = patience);
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let attempt = announce_elsewhere(&stage).await;
    let operator = stage.operate_with(settings).await;
    stage.happens(Operation::Observe, Moment::Answered, "guest").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.calls_of("guest"), (1, 0), "one look on sight and no more");
    let object = serde_json::to_value(stage.terminations().get("guest").await.unwrap()).unwrap();
    assert_eq!(object["status"]["currentAttempt"]["id"], attempt["id"]);

    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"], 1);
    let results: Vec<_> = object["status"]["history"].as_array().unwrap().iter().collect();
    assert_eq!(results[0]["result"], "Applied");
    assert_eq!(results[1]["result"], "Abandoned");
    assert_eq!(results[1]["id"], attempt["id"]);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}

/// Does something to the object about fifty times a second until it is told to stop. Says how often it did.
fn keep_on(
    stage: &Stage<'_>,
    status: bool,
    patch: impl Fn(usize) -> Value + Send + 'static,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, api) = (stop.clone(), stage.terminations());
    let task = tokio::spawn(async move {
        let mut done = 0;
        let parameters = PatchParams::default();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !stopped.load(Ordering::SeqCst) {
            tick.tick().await;
            let patch = Patch::Merge(patch(done));
            let patched = if status {
                api.patch_status("guest", &parameters, &patch).await
            } else {
                api.patch("guest", &parameters, &patch).await
            };
            done += usize::from(patched.is_ok());
        }
        done
    });
    (stop, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_edited_all_the_time_finishes_with_the_same_two_calls() {
    let stage = Stage::set("editor").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    // Slow enough that every step of the pass meets newer versions.
    let slow = FaultSpec {
        delay_after_ms: 1500,
        ..FaultSpec::default()
    };
    stage.simulator.add_fault(slow).unwrap();
    stage.terminate("guest", json!({"suspend": true})).await;
    let (stop, editor) = keep_on(
        &stage,
        false,
        |round| json!({"metadata": {"labels": {"round": round.to_string()}}}),
    );
    let operator = stage.operate().await;
    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    stop.store(true, Ordering::SeqCst);
    let edits = editor.await.unwrap();
    assert!(edits > 100, "{edits}");
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    let story = operator.story("guest");
    assert_eq!(
        story,
        ["attempt_started", "attempt_result Applied", "outcome Terminated"]
    );
    one_webhook(&stage);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_writes_the_status_all_the_time_changes_no_outcome() {
    let stage = Stage::set("stranger").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_after_ms: 700,
        ..FaultSpec::default()
    };
    stage.simulator.add_fault(slow).unwrap();
    stage.terminate("guest", json!({})).await;
    let (stop, writer) = keep_on(
        &stage,
        true,
        |round| json!({"status": {"session": {"conversationId": round.to_string()}}}),
    );
    let operator = stage.operate().await;
    let object = stage.settled("guest").await;
    stop.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 50);
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    one_webhook(&stage);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_a_stranger_removes_in_flight_is_recorded_all_the_same() {
    let stage = Stage::set("stranger").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_before_ms: 2000,
        ..FaultSpec::on(Operation::Terminate)
    };
    stage.simulator.add_fault(slow).unwrap();
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    stage.forge("guest", json!({"currentAttempt": null})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}
