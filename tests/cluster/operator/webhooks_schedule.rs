//! When a webhook is tried, and what that holds up: nothing else.

use serde_json::{Value, json};
use simulator::api::{
    FaultAction, FaultBody, FaultSpec, GuestSpec, Operation, Outage, OutageKind, RetryAfter, ScriptedAnswer, Target,
    WebhookEndpoint,
};

use super::lifecycle_stage::{A_WHILE, instant, seconds, with_policy};
use crate::stage::{SIGNING_KEY, Stage, condition, verdict};

fn tried(times: i64) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["webhooks"][0]["attempts"] == times
}

fn receiver_down(stage: &Stage<'_>, down: bool) {
    stage.simulator.set_outage(Outage {
        webhooks: down.then_some(OutageKind::Unavailable),
        ..Outage::default()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_is_never_earlier_than_the_receiver_said() {
    let stage = Stage::set("hook").await;
    let answer = ScriptedAnswer::new(503, FaultBody::Empty).retry_after(RetryAfter::Seconds(5));
    let fault = FaultSpec::on(Operation::Webhook).times(1).answer(answer);
    stage.simulator.add_fault(fault).unwrap();
    let settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(0), seconds(1)]);
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    let calls = stage.simulator.ledger().webhooks;
    assert_eq!(calls.len(), 2);
    let pause = calls[1].at_ms - calls[0].at_ms;
    assert!((5_000..12_000).contains(&pause), "{pause}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_over_is_told_once_and_settles() {
    let stage = Stage::set("hook").await;
    receiver_down(&stage, true);
    let settings = with_policy(&stage, |policy| {
        policy.webhook_delays = vec![seconds(0), seconds(1), seconds(1)];
    });
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let object = stage.until("guest", "tried", tried(2)).await;
    assert_eq!(object["status"]["finished"], true);
    assert!(object["status"]["settled"].as_bool().is_none_or(|settled| !settled));
    assert_eq!(stage.events("guest").await, ["Terminated"], "a failed try is no Event");
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "False/DeliveryFailed");
    let message = condition(&object, "WebhookDelivered")["message"].as_str().unwrap();
    assert!(message.contains("HTTP 503"), "{message}");
    let webhook = &object["status"]["webhooks"][0];
    assert_eq!(webhook["state"], "Failed");
    assert_eq!(webhook["attempts"], 3);
    assert_eq!(webhook["lastStatus"], 503);
    assert!(webhook["nextAttemptTime"].is_null());
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    stage.events_until("guest", &["Terminated", "WebhookFailed"]).await;
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.simulator.ledger().webhooks.len(), 3);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_the_schedule() {
    let stage = Stage::set("hook").await;
    receiver_down(&stage, true);
    let settings = with_policy(&stage, |policy| {
        policy.webhook_delays = vec![seconds(0), seconds(7), seconds(1)];
    });
    let first = stage.operate_with(settings.clone()).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let before = stage.until("guest", "tried", tried(1)).await;
    first.crash().await;
    for _ in 0..2 {
        let operator = stage.operate_with(settings.clone()).await;
        tokio::time::sleep(seconds(1)).await;
        operator.crash().await;
    }
    receiver_down(&stage, false);
    let last = stage.operate_with(settings).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 2);
    let calls = stage.simulator.ledger().webhooks;
    assert_eq!(calls.len(), 2, "no restart tried out of turn");
    let due = instant(&before["status"]["webhooks"][0]["nextAttemptTime"]);
    assert!(instant(&json!(calls[1].time)) >= due, "{due} {}", calls[1].time);
    assert_eq!(calls[0].id, calls[1].id);
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(stage.calls_of("guest"), (2, 1));
    last.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_connection_is_suspended_tries_wait_and_nothing_is_used_up() {
    let stage = Stage::set("hook").await;
    receiver_down(&stage, true);
    let settings = with_policy(&stage, |policy| {
        policy.webhook_delays = vec![seconds(0), seconds(2), seconds(1)];
    });
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.until("guest", "tried", tried(1)).await;
    stage.edit_connection("default", json!({"suspend": true})).await;
    receiver_down(&stage, false);
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(stage.simulator.ledger().webhooks.len(), 1);
    stage.edit_connection("default", json!({"suspend": false})).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_nothing_else() {
    let stage = Stage::bare("hook").await;
    stage
        .simulator
        .set_webhook(&WebhookEndpoint::new("slow", SIGNING_KEY))
        .unwrap();
    let mut connection = stage.connection("default");
    let slow = json!({"name": "a-slow", "url": stage.simulator.webhook_url("slow"), "timeoutSeconds": 30,
                      "signingSecretRef": {"name": "signing", "key": "key"}});
    connection["spec"]["webhooks"].as_array_mut().unwrap().insert(0, slow);
    stage.connect(connection).await;
    let fault = FaultSpec {
        target: Target::Path("/webhooks/slow".to_owned()),
        action: FaultAction::Hang { after_effect: false },
        ..FaultSpec::on(Operation::Webhook)
    };
    stage.simulator.add_fault(fault).unwrap();
    let mut settings = stage.settings();
    settings.deliveries = 12;
    let operator = stage.operate_with(settings).await;
    let names: Vec<_> = (0..20).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    let begun = tokio::time::Instant::now();
    for name in &names {
        let delivered = |object: &Value| object["status"]["webhooks"][1]["state"] == "Delivered";
        let object = stage.until(name, "announced to the quick endpoint", delivered).await;
        assert_eq!(object["status"]["webhooks"][0]["state"], "Pending");
        assert_eq!(object["status"]["outcome"], "Terminated");
    }
    assert!(begun.elapsed() < seconds(25), "{:?}", begun.elapsed());
    let slow = stage.simulator.ledger().webhooks;
    let open = slow.iter().filter(|call| call.endpoint == "slow").count();
    assert_eq!(open, 8, "so many tries at one endpoint, and no more");
    tokio::time::sleep(A_WHILE).await;
    operator.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_that_is_missing_is_named_and_picked_up() {
    let stage = Stage::bare("hook").await;
    let mut connection = stage.connection("default");
    connection["spec"]["webhooks"][0]["signingSecretRef"] = json!({"name": "later", "key": "key"});
    stage.connect(connection).await;
    let settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(1); 60]);
    let operator = stage.operate_with(settings).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let object = stage.until("guest", "tried", tried(1)).await;
    let message = condition(&object, "WebhookDelivered")["message"].as_str().unwrap();
    assert!(message.contains("the Secret later does not exist"), "{message}");
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.simulator.ledger().webhooks.len(), 0, "nothing leaves unsigned");
    stage.secret("later", &[("key", SIGNING_KEY)]).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert!(stage.simulator.ledger().webhooks[0].verified);
    operator.stop().await;
}
