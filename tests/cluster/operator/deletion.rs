//! Objects that are deleted, replayed, or one of many.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use simulator::api::{FaultAction, FaultSpec, GuestSpec, Moment, Operation, Outage, OutageKind, ScriptedAnswer};

use super::lifecycle_stage::{A_WHILE, seconds, with_pacing, with_policy};
use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Operator, Stage, verdict},
};

async fn story_until(operator: &Operator, name: &str, wanted: &[&str]) {
    for _ in 0..400 {
        if operator.story(name) == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(operator.story(name), wanted, "the audit lines of {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_before_anything_was_sent_nothing_is() {
    let stage = Stage::bare("deleted").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage
        .until("guest", "waiting", |object| {
            verdict(object, "Ready") == "Unknown/WaitingForConnection"
        })
        .await;
    let position = stage.cluster.audit_position();
    stage.delete("guest").await;
    story_until(&operator, "guest", &["outcome"]).await;
    let line = operator.lines().pop().unwrap();
    assert_eq!(line["success"], false);
    assert!(
        line["error"].as_str().unwrap().contains("no call took effect"),
        "{line}"
    );
    stage.connect(stage.connection("default")).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    let events = stage.cluster.audit_events_since(position).unwrap();
    let reads = events.iter().filter(|event| {
        event.verb == "get" && event.resource == "guestterminations" && event.namespace == stage.namespace
    });
    assert_eq!(reads.count(), 1, "one read tells that it is gone");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_in_flight_the_call_completes_and_the_audit_log_says_so() {
    let stage = Stage::set("deleted").await;
    let settings = with_pacing(&stage, |pacing| pacing.deletion_grace = seconds(3));
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    let before = stage.simulator.ledger().webhooks.len();
    for (guest, effect) in [("applied", true), ("open", false)] {
        stage.simulator.add_guest(GuestSpec::active(guest));
        let slow = FaultSpec {
            delay_after_ms: 2000,
            action: if effect {
                FaultAction::Pass
            } else {
                FaultAction::Reset { after_effect: false }
            },
            ..FaultSpec::on(Operation::Terminate).guest(guest)
        };
        stage.simulator.add_fault(slow).unwrap();
        stage.terminate(guest, json!({})).await;
        stage.happens(Operation::Terminate, Moment::Received, guest).await;
        stage.delete(guest).await;
    }
    let applied = [
        "attempt_started",
        "attempt_result Applied",
        "outcome Terminated",
        "webhook_abandoned Terminated",
    ];
    story_until(&operator, "applied", &applied).await;
    story_until(
        &operator,
        "open",
        &["attempt_started", "attempt_result Unknown", "outcome"],
    )
    .await;
    let lines = operator.lines();
    let outcome = |name: &str| -> Value {
        let found = lines
            .iter()
            .find(|line| line["name"] == name && line["kind"] == "outcome");
        found.unwrap().clone()
    };
    assert_eq!(outcome("applied")["success"], true);
    assert_eq!(outcome("open")["success"], false);
    let error = outcome("open")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("was not found out"), "{error}");
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(stage.calls_of("applied"), (2, 1));
    assert_eq!(stage.calls_of("open"), (2, 0), "nobody looks after it any more");
    for guest in ["applied", "open"] {
        assert!(stage.terminations().get_opt(guest).await.unwrap().is_none());
    }
    // Never before the result is durable, which it cannot become any more.
    assert_eq!(stage.simulator.ledger().webhooks.len(), before);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_with_a_webhook_pending_it_is_delivered_from_memory() {
    let stage = Stage::set("deleted").await;
    let settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(0), seconds(3)]);
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let fault = FaultSpec::on(Operation::Webhook)
        .times(1)
        .answer(ScriptedAnswer::vendor(500));
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest", json!({})).await;
    stage
        .until("guest", "tried", |object| {
            object["status"]["webhooks"][0]["attempts"] == 1
        })
        .await;
    stage.delete("guest").await;
    for _ in 0..200 {
        if stage.simulator.summary().webhooks_verified == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let webhooks = stage.simulator.summary().webhooks;
    assert_eq!(webhooks.len(), 1);
    assert_eq!(webhooks.values().next().unwrap().calls, 2);
    assert_eq!(webhooks.values().next().unwrap().verified, 1);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        operator.story("guest"),
        ["attempt_started", "attempt_result Applied", "outcome Terminated"]
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_with_a_webhook_that_nobody_takes_it_is_abandoned_after_the_grace() {
    let stage = Stage::set("deleted").await;
    let mut settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(1); 60]);
    settings.pacing.deletion_grace = seconds(4);
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.simulator.set_outage(Outage {
        webhooks: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    stage.terminate("guest", json!({})).await;
    stage
        .until("guest", "tried", |object| {
            object["status"]["webhooks"][0]["attempts"] == 1
        })
        .await;
    stage.delete("guest").await;
    let deleted = tokio::time::Instant::now();
    let story = [
        "attempt_started",
        "attempt_result Applied",
        "outcome Terminated",
        "webhook_abandoned Terminated",
    ];
    story_until(&operator, "guest", &story).await;
    assert!(deleted.elapsed() >= seconds(4), "{:?}", deleted.elapsed());
    let line = operator.lines().pop().unwrap();
    assert_eq!(line["webhook"], "analytics");
    let tries = stage.simulator.ledger().webhooks.len();
    assert!(tries >= 3, "it was tried on from memory: {tries}");
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.simulator.ledger().webhooks.len(), tries);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_manifest_again_finds_the_session_over() {
    let stage = Stage::set("again").await;
    let operator = stage.operate().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let first = stage.terminate("guest", json!({})).await;
    stage.settled("guest").await;

    // Applied again as it is: nothing is written.
    let version = stage
        .terminations()
        .get("guest")
        .await
        .unwrap()
        .metadata
        .resource_version;
    let position = stage.cluster.audit_position();
    let mut manifest = serde_json::to_value(&first).unwrap();
    manifest["metadata"] = json!({"name": "guest", "namespace": stage.namespace});
    manifest.as_object_mut().unwrap().remove("status");
    let owner = PatchParams::apply("kubectl").force();
    for _ in 0..2 {
        let applied = stage
            .terminations()
            .patch("guest", &owner, &Patch::Apply(&manifest))
            .await;
        assert!(applied.is_ok(), "{applied:?}");
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.writes_since(position), []);
    let object = stage.terminations().get("guest").await.unwrap();
    assert_eq!(object.status.unwrap().observed_generation, Some(1));
    assert_ne!(version, None);
    assert_eq!(stage.calls_of("guest"), (2, 1));

    stage.delete("guest").await;
    let second = stage.terminate("guest", json!({})).await;
    assert_ne!(first.metadata.uid, second.metadata.uid);
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
    assert_eq!(object["status"]["audit"]["duplicateTermination"], true);
    assert_eq!(verdict(&object, "Ready"), "True/AlreadyTerminated");
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/SessionAlreadyClosed");
    assert_eq!(kstatus(&object), Kstatus::Current);
    assert_eq!(stage.calls_of("guest"), (3, 1));
    let ids = stage.simulator.summary().webhooks;
    assert_eq!(ids.len(), 2, "another object is another message");
    operator.stop().await;
}

/// Deleted while the call is on its way, and created again under the same name before the old one is known to be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_of_the_same_name_waits_for_the_call_of_the_one_before() {
    let stage = Stage::set("again").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_before_ms: 2000,
        ..FaultSpec::on(Operation::Terminate).guest("guest").times(1)
    };
    stage.simulator.add_fault(slow).unwrap();
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    stage.delete("guest").await;
    stage.terminate("guest", json!({})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
    assert_eq!(stage.calls_of("guest"), (3, 1));
    assert_eq!(stage.simulator.summary().max_concurrent["guest"], 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_objects_for_one_guest_the_second_finds_it_closed() {
    let stage = Stage::set("two").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_before_ms: 700,
        ..FaultSpec::default()
    };
    stage.simulator.add_fault(slow).unwrap();
    for name in ["one", "two"] {
        stage.terminate(name, json!({"guestId": "guest"})).await;
    }
    let mut outcomes = Vec::new();
    for name in ["one", "two"] {
        let object = stage.settled(name).await;
        outcomes.push(object["status"]["outcome"].as_str().unwrap().to_owned());
    }
    outcomes.sort();
    assert_eq!(outcomes, ["AlreadyTerminated", "Terminated"]);
    assert_eq!(stage.simulator.summary().max_concurrent["guest"], 1);
    assert_eq!(stage.calls_of("guest"), (3, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_deleted_at_once_leave_one_line_each_and_no_stray_call() {
    let stage = Stage::set("many").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    stage.edit_connection("default", json!({"suspend": true})).await;
    for index in 0..60 {
        let guest = format!("guest-{index}");
        stage.simulator.add_guest(GuestSpec::active(&guest));
        stage.terminate(&guest, json!({})).await;
    }
    let held = |object: &Value| verdict(object, "Ready") == "Unknown/ConnectionSuspended";
    stage.until("guest-59", "held", held).await;
    stage
        .terminations()
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    for index in 0..60 {
        story_until(&operator, &format!("guest-{index}"), &["outcome"]).await;
    }
    stage.edit_connection("default", json!({"suspend": false})).await;
    // The operator goes on with what comes next.
    stage.simulator.add_guest(GuestSpec::active("next"));
    stage.terminate("next", json!({})).await;
    let object = stage.settled("next").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.simulator.summary().effective_total, 1, "next alone");
    operator.stop().await;
}
