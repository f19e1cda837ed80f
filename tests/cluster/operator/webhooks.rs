//! The announcement of the end: what it says, who signed it, and how it ends when nobody takes it.

use guest_termination_operator::webhook::guard::GuardPolicy;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use simulator::api::{
    FaultAction, FaultBody, FaultSpec, GuestSpec, Operation, Outage, OutageKind, ScriptedAnswer, WebhookEndpoint,
};

use super::lifecycle_stage::{A_WHILE, seconds, with_policy};
use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{SIGNING_KEY, Stage, condition, verdict},
};

const OTHER_KEY: &str = "whsec_YW5vdGhlci1zaWduaW5nLWtleS1hbm90aGVyLWtleQ==";

/// Ends the session of `guest` and waits until that is finished, whatever becomes of the webhooks.
async fn finished(stage: &Stage<'_>) -> Value {
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage
        .until("guest", "finished", |object| object["status"]["finished"] == true)
        .await
}

fn tried(times: i64) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["webhooks"][0]["attempts"] == times
}

#[tokio::test(flavor = "multi_thread")]
async fn every_try_is_the_same_message_and_changes_no_outcome() {
    let stage = Stage::bare("hook").await;
    stage
        .simulator
        .set_webhook(&WebhookEndpoint::new("elsewhere", SIGNING_KEY))
        .unwrap();
    let mut connection = stage.connection("default");
    connection["spec"]["webhooks"][0]["timeoutSeconds"] = json!(1);
    stage.connect(connection).await;
    let answer = |answer| FaultSpec::on(Operation::Webhook).times(1).answer(answer);
    let elsewhere = stage.simulator.webhook_url("elsewhere");
    for fault in [
        answer(ScriptedAnswer::vendor(500)),
        FaultSpec::on(Operation::Webhook)
            .times(1)
            .action(FaultAction::Hang { after_effect: true }),
        answer(ScriptedAnswer::new(302, FaultBody::Empty).header("location", elsewhere)),
    ] {
        stage.simulator.add_fault(fault).unwrap();
    }
    let settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(1); 6]);
    let operator = stage.operate_with(settings).await;
    let object = finished(&stage).await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "Unknown/Pending");
    for (times, said) in [(1, "HTTP 500"), (2, "in time"), (3, "redirect")] {
        let object = stage.until("guest", "tried", tried(times)).await;
        let message = condition(&object, "WebhookDelivered")["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(verdict(&object, "Ready"), "True/Terminated");
        assert_eq!(kstatus(&object), Kstatus::Current);
        assert!(object["status"]["settled"].as_bool().is_none_or(|settled| !settled));
    }
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    let webhook = &object["status"]["webhooks"][0];
    assert_eq!(webhook["attempts"], 4);
    assert_eq!(webhook["lastStatus"], 204);
    let calls = stage.simulator.ledger().webhooks;
    assert_eq!(calls.len(), 4);
    for call in &calls {
        assert_eq!(call.endpoint, "analytics", "a redirect is not followed");
        assert_eq!(call.id.as_deref(), webhook["messageId"].as_str());
        assert_eq!(call.body, calls[0].body);
    }
    assert!(calls.last().unwrap().verified);
    assert_ne!(calls[0].timestamp, calls[3].timestamp, "the timestamp is the try's own");
    stage.events_until("guest", &["Terminated"]).await;
    assert_eq!(stage.calls_of("guest"), (2, 1));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_asked_no_more() {
    let stage = Stage::set("hook").await;
    let fault = FaultSpec::on(Operation::Webhook).answer(ScriptedAnswer::new(410, FaultBody::Empty));
    stage.simulator.add_fault(fault).unwrap();
    let settings = with_policy(&stage, |policy| policy.webhook_delays = vec![seconds(1); 6]);
    let operator = stage.operate_with(settings).await;
    finished(&stage).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "False/EndpointGone");
    assert_eq!(object["status"]["webhooks"][0]["state"], "Failed");
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(kstatus(&object), Kstatus::Current);
    stage.events_until("guest", &["Terminated", "WebhookFailed"]).await;
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.simulator.ledger().webhooks.len(), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_removed_ends_its_deliveries() {
    let stage = Stage::set("hook").await;
    stage.simulator.set_outage(Outage {
        webhooks: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    let operator = stage.operate().await;
    finished(&stage).await;
    // The next try is five minutes away: the edit wakes it.
    stage.until("guest", "tried", tried(2)).await;
    stage.edit_connection("default", json!({"webhooks": []})).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "False/EndpointRemoved");
    assert_eq!(object["status"]["webhooks"][0]["state"], "Failed");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 2);
    assert_eq!(object["status"]["outcome"], "Terminated");
    stage.events_until("guest", &["Terminated", "WebhookFailed"]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_cloud_event_carries_the_same_data() {
    let stage = Stage::bare("hook").await;
    let mut connection = stage.connection("default");
    connection["spec"]["webhooks"][0]["format"] = json!("CloudEvents");
    stage.connect(connection).await;
    let operator = stage.operate().await;
    finished(&stage).await;
    let object = stage.settled("guest").await;
    let call = stage.simulator.ledger().webhooks.remove(0);
    assert!(call.verified);
    assert!(call.headers["content-type"].starts_with("application/cloudevents+json"));
    let event: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"].as_str(), call.id.as_deref());
    assert_eq!(event["data"]["guest_id"], "guest");
    assert_eq!(event["data"]["event"], "session.terminated");
    assert_eq!(event["data"]["resource"]["uid"], object["metadata"]["uid"]);
    assert_eq!(event["data"]["timestamp"], object["status"]["completionTime"]);
    operator.stop().await;
}

/// One receiver knows the new key, one the old one, while the Secret holds both.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_key_rotates_old_and_new_receivers_verify() {
    let stage = Stage::bare("hook").await;
    stage
        .simulator
        .set_webhook(&WebhookEndpoint::new("renewed", OTHER_KEY))
        .unwrap();
    let mut connection = stage.connection("default");
    let reference = json!({"name": "signing", "key": "key", "previousKey": "previous"});
    connection["spec"]["webhooks"] = json!([
        {"name": "analytics", "url": stage.simulator.webhook_url("analytics"), "signingSecretRef": reference},
        {"name": "renewed", "url": stage.simulator.webhook_url("renewed"), "signingSecretRef": reference},
    ]);
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let patch = json!({"stringData": {"key": OTHER_KEY, "previous": SIGNING_KEY}});
    secrets
        .patch("signing", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    stage.connect(connection).await;
    let operator = stage.operate().await;
    finished(&stage).await;
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    let calls = stage.simulator.ledger().webhooks;
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert!(call.verified, "{:?}", call.refusal);
        assert_eq!(call.headers["webhook-signature"].split(' ').count(), 2);
    }
    assert_eq!(calls[0].body, calls[1].body);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_for_an_address_that_is_not_public() {
    let stage = Stage::set("hook").await;
    let mut settings = with_policy(&stage, |policy| {
        policy.webhook_delays = vec![seconds(0), seconds(1), seconds(1)];
    });
    settings.guard = GuardPolicy::new(Vec::new(), true);
    let operator = stage.operate_with(settings).await;
    finished(&stage).await;
    let object = stage.until("guest", "tried", tried(1)).await;
    let message = condition(&object, "WebhookDelivered")["message"].as_str().unwrap();
    assert!(message.contains("not a public address"), "{message}");
    let object = stage.settled("guest").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "False/DeliveryFailed");
    let message = condition(&object, "WebhookDelivered")["message"].as_str().unwrap();
    assert!(
        message.contains("Last cause: ") && message.contains("not a public address"),
        "{message}"
    );
    assert_eq!(object["status"]["outcome"], "Terminated");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(stage.simulator.ledger().webhooks.len(), 0);
    operator.stop().await;
}
