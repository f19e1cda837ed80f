//! The reversible hold: what is asked while it is in force, and what it does to the clock.

use serde_json::json;
use simulator::api::{FaultAction, FaultSpec, GuestSpec, Moment, Operation, ScriptedAnswer};

use super::lifecycle_stage::{A_WHILE, from_now, instant, seconds, with_policy};
use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, verdict},
};

#[tokio::test(flavor = "multi_thread")]
async fn created_suspended_nothing_is_asked_until_it_is_resumed() {
    let stage = Stage::set("held").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage.terminate("guest", json!({"suspend": true})).await;

    let held = stage
        .until("guest", "suspended", |object| object["status"]["phase"] == "Suspended")
        .await;
    assert_eq!(verdict(&held, "Suspended"), "True/Requested");
    assert_eq!(verdict(&held, "Finished"), "False/InProgress");
    assert_eq!(verdict(&held, "SessionValidated"), "Unknown/NotChecked");
    assert_eq!(verdict(&held, "RetentionApplied"), "Unknown/NotSent");
    assert_eq!(verdict(&held, "Ready"), "absent");
    assert_eq!(verdict(&held, "Reconciling"), "absent");
    assert_eq!(kstatus(&held), Kstatus::Current);
    assert!(held["status"]["deadlineTime"].is_null(), "the clock stands");

    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    let version = stage
        .terminations()
        .get("guest")
        .await
        .unwrap()
        .metadata
        .resource_version;
    assert_eq!(
        held["metadata"]["resourceVersion"].as_str(),
        version.as_deref(),
        "nothing is written while it rests"
    );

    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(verdict(&object, "Suspended"), "False/NotSuspended");
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    assert_eq!(kstatus(&object), Kstatus::Current);
    let suspended = object["status"]["suspendedSeconds"].as_i64().unwrap();
    assert!((2..30).contains(&suspended), "{suspended}");
    let created = instant(&object["metadata"]["creationTimestamp"]);
    let deadline = instant(&object["status"]["deadlineTime"]);
    assert_eq!(deadline.as_second() - created.as_second(), 21_600 + suspended);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    stage
        .events_until("guest", &["Resumed", "Suspended", "Terminated"])
        .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_in_backoff_it_rests_and_keeps_what_it_spent() {
    let stage = Stage::set("held").await;
    let settings = with_policy(&stage, |policy| policy.backoff_base = seconds(4));
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let fault = FaultSpec::on(Operation::Observe)
        .guest("guest")
        .times(1)
        .answer(ScriptedAnswer::vendor(503));
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest", json!({})).await;
    stage
        .until("guest", "in backoff", |object| object["status"]["retries"] == 1)
        .await;
    stage.edit("guest", json!({"spec": {"suspend": true}})).await;
    let held = stage
        .until("guest", "suspended", |object| object["status"]["phase"] == "Suspended")
        .await;
    assert_eq!(verdict(&held, "Ready"), "absent");
    assert_eq!(kstatus(&held), Kstatus::Current);
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(
        stage.calls_of("guest"),
        (1, 0),
        "the backoff's time came and nothing was sent"
    );

    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["retries"], 1);
    assert_eq!(stage.calls_of("guest"), (3, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_with_an_open_question_it_looks_until_that_is_answered_and_then_rests() {
    let stage = Stage::set("held").await;
    let settings = with_policy(&stage, |policy| {
        policy.effect_lag = seconds(4);
        policy.backoff_base = seconds(20);
    });
    let operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    for (guest, effect) in [("active", false), ("over", true)] {
        stage.simulator.add_guest(GuestSpec::active(guest));
        stage.break_off(guest, effect);
        stage.terminate(guest, json!({})).await;
        stage
            .until(guest, "unsure", |object| object["status"]["mayHaveApplied"] == true)
            .await;
        stage.edit(guest, json!({"spec": {"suspend": true}})).await;
    }

    let over = stage.settled("over").await;
    assert_eq!(over["status"]["outcome"], "Terminated");
    assert_eq!(over["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(over["status"]["phase"], "Terminated");
    assert_eq!(verdict(&over, "Ready"), "True/Terminated");
    assert_eq!(verdict(&over, "RetentionApplied"), "Unknown/NotConfirmed");
    assert_eq!(kstatus(&over), Kstatus::Current);
    assert_eq!(stage.calls_of("over"), (3, 1));

    // One look at least the effect's lag after the call, which answers the question, and no other.
    let object = stage
        .until("active", "looked at", |_| {
            stage.asked(Operation::Observe, "active") == 2
        })
        .await;
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(stage.calls_of("active"), (3, 0));
    let ledger = stage.simulator.ledger();
    let look = ledger
        .calls
        .iter()
        .rfind(|call| call.guest.as_deref() == Some("active"))
        .unwrap();
    let sent = instant(&object["status"]["lastSendTime"]);
    assert!(instant(&json!(look.time)) >= sent + seconds(4), "{look:?}");
    assert_eq!(object["status"]["phase"], "Suspended");

    stage.edit("active", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("active").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(stage.calls_of("active").1, 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_waits_while_it_is_suspended() {
    let stage = Stage::set("held").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage
        .terminate("guest", json!({"suspend": true, "activeDeadlineSeconds": 8}))
        .await;
    stage
        .until("guest", "suspended", |object| object["status"]["phase"] == "Suspended")
        .await;
    tokio::time::sleep(seconds(10)).await;
    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_holds_is_told() {
    let stage = Stage::bare("held").await;
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    for suspend in [true, false, true, false] {
        stage.edit("guest", json!({"spec": {"suspend": suspend}})).await;
        let wanted = if suspend {
            "True/Requested"
        } else {
            "False/NotSuspended"
        };
        stage
            .until("guest", wanted, |object| verdict(object, "Suspended") == wanted)
            .await;
        tokio::time::sleep(seconds(1)).await;
    }
    stage
        .events_until(
            "guest",
            &["ConnectionNotFound", "Resumed", "Resumed", "Suspended", "Suspended"],
        )
        .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_after_ends_what_is_suspended() {
    let stage = Stage::set("held").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let operator = stage.operate().await;
    stage
        .terminate("guest", json!({"suspend": true, "notAfter": from_now(3)}))
        .await;
    stage
        .until("guest", "suspended", |object| object["status"]["phase"] == "Suspended")
        .await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Expired");
    assert_eq!(object["status"]["phase"], "Expired");
    assert_eq!(verdict(&object, "Ready"), "absent");
    assert_eq!(verdict(&object, "Finished"), "True/Expired");
    assert_eq!(kstatus(&object), Kstatus::Current);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.calls_of("guest"), (0, 0));
    operator.stop().await;
}

/// The process that announced the call is gone, and meanwhile the object was suspended: the open question is answered,
/// and nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn suspended_while_its_operator_was_down_its_open_call_is_looked_after_and_no_other_leaves() {
    let stage = Stage::set("held").await;
    let settings = with_policy(&stage, |policy| {
        policy.foreign_intent_patience = seconds(5);
        policy.effect_lag = seconds(3);
        policy.backoff_base = seconds(1);
    });
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let fault = FaultSpec::on(Operation::Terminate)
        .guest("guest")
        .times(1)
        .action(FaultAction::Hang { after_effect: false });
    stage.simulator.add_fault(fault).unwrap();
    let first = stage.operate_with(settings.clone()).await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    first.crash().await;
    stage.edit("guest", json!({"spec": {"suspend": true}})).await;

    let second = stage.operate_with(settings).await;
    let object = stage
        .until("guest", "abandoned", |object| {
            object["status"]["history"][0]["result"] == "Abandoned"
        })
        .await;
    assert_eq!(object["status"]["phase"], "Suspended");
    assert_eq!(verdict(&object, "Ready"), "absent");
    assert_eq!(kstatus(&object), Kstatus::Current);
    tokio::time::sleep(seconds(7)).await;
    let looks = stage.asked(Operation::Observe, "guest");
    // When no effect can follow is told by the status, and for sure by this process's own count: it depends on how long
    // the restart took whether one look serves both.
    assert!(
        (3..=5).contains(&looks),
        "before, on sight, when its time was up, and when no effect can follow: {looks}"
    );
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.asked(Operation::Observe, "guest"), looks, "it rests");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);

    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(stage.calls_of("guest").1, 1);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_in_flight_the_call_s_success_stands() {
    let stage = Stage::set("held").await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let slow = FaultSpec {
        delay_after_ms: 2000,
        ..FaultSpec::on(Operation::Terminate).guest("guest")
    };
    stage.simulator.add_fault(slow).unwrap();
    let operator = stage.operate().await;
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    stage.edit("guest", json!({"spec": {"suspend": true}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["phase"], "Terminated");
    assert_eq!(object["status"]["observedGeneration"], 2);
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    assert_eq!(kstatus(&object), Kstatus::Current);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    operator.stop().await;
}
