//! The life of a connection: missing, incomplete, insecure, suspended, replaced; and how often it is written.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{
    Simulator,
    api::{FaultAction, FaultSpec, GuestSpec, Operation, Outage, OutageKind, Settings},
};

use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, condition, verdict},
};

fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition(object, type_)["message"].as_str().unwrap_or_default()
}

/// Creates a termination of an active guest.
async fn terminate(stage: &Stage<'_>, name: &str) {
    stage.simulator.add_guest(GuestSpec::active(name));
    stage.terminate(name, json!({})).await;
}

/// It ends as it should, and nothing was spent on the wait.
async fn ends_well(stage: &Stage<'_>, name: &str) -> Value {
    let object = stage.settled(name).await;
    assert_eq!(object["status"]["outcome"], "Terminated", "{object:#}");
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    assert_eq!(object["status"]["attempts"], 1);
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_missing_is_waited_for() {
    let stage = Stage::bare("missing").await;
    let _operator = stage.operate().await;
    terminate(&stage, "guest-1").await;
    let object = stage.waits("guest-1", "Unknown/WaitingForConnection").await;
    assert!(message(&object, "Ready").contains("There is no GenesysConnection default in this namespace."));
    assert_eq!(kstatus(&object), Kstatus::InProgress);
    let events = stage.events_with("guest-1", "ConnectionNotFound").await;
    assert_eq!(events[0].0, "Warning");
    stage.connect(stage.connection("default")).await;
    ends_well(&stage, "guest-1").await;
    assert_eq!(
        stage.events_of("guest-1").await.len(),
        2,
        "one for the cause, one for the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_a_connection_that_is_missing_is_the_cause() {
    let stage = Stage::bare("nodeadline").await;
    let _operator = stage.operate().await;
    stage.terminate("guest-1", json!({"activeDeadlineSeconds": 2})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert!(message(&object, "Ready").contains("There is no GenesysConnection default in this namespace."));
    assert_eq!(kstatus(&object), Kstatus::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_incomplete_or_malformed_is_named_and_its_repair_noticed() {
    let stage = Stage::bare("secrets").await;
    let mut connection = stage.connection("default");
    connection["spec"]["credentialsSecretRef"] = json!({"name": "later"});
    stage.connect(connection).await;
    let _operator = stage.operate().await;
    terminate(&stage, "guest-1").await;
    let says = |words: &'static str| {
        let stage = &stage;
        async move {
            let connection = stage
                .connection_until("default", words, |connection| {
                    message(connection, "Ready").contains(words)
                })
                .await;
            assert_eq!(verdict(&connection, "Ready"), "False/SecretMissing");
            assert_eq!(verdict(&connection, "Stalled"), "True/SecretMissing");
            assert_eq!(kstatus(&connection), Kstatus::Failed);
            let text = message(&connection, "Ready").to_owned();
            assert!(text.ends_with('.') && text.starts_with(char::is_uppercase), "{text}");
            let object = stage
                .until("guest-1", words, |object| message(object, "Ready").contains(words))
                .await;
            assert_eq!(verdict(&object, "Ready"), "Unknown/WaitingForConnection");
            assert_eq!(kstatus(&object), Kstatus::InProgress);
        }
    };
    says("ecret later").await;
    stage.secret("later", &[("clientId", simulator::CLIENT_ID)]).await;
    says("has no key clientSecret").await;
    stage
        .edit_secret("later", &[("clientSecret", Some("canary\nsecret"))])
        .await;
    says("holds a control character or more than one line").await;
    stage.edit_secret("later", &[("clientSecret", Some(""))]).await;
    says("is empty").await;
    assert_eq!(stage.calls(Operation::Token), 0);
    stage
        .edit_secret("later", &[("clientSecret", Some(simulator::CLIENT_SECRET))])
        .await;
    ends_well(&stage, "guest-1").await;
    stage.connection_says("default", "True/TokenValid").await;

    // Gone again, while nobody asks: noticed by the next who does.
    stage.edit_secret("later", &[("clientId", None)]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    terminate(&stage, "guest-2").await;
    stage.connection_says("default", "False/SecretMissing").await;
    stage.waits("guest-2", "Unknown/WaitingForConnection").await;
    stage
        .edit_secret("later", &[("clientId", Some(simulator::CLIENT_ID))])
        .await;
    ends_well(&stage, "guest-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_refused_unless_the_operator_may_use_it() {
    let stage = Stage::set("insecure").await;
    let mut settings = stage.settings();
    settings.allow_insecure_endpoints = false;
    let operator = stage.operate_with(settings).await;
    terminate(&stage, "guest-1").await;
    let connection = stage.connection_says("default", "False/InsecureEndpoint").await;
    assert_eq!(kstatus(&connection), Kstatus::Failed);
    let object = stage.waits("guest-1", "Unknown/WaitingForConnection").await;
    assert!(message(&object, "Ready").contains("http"), "{object:#}");
    assert!(
        stage.simulator.ledger().calls.is_empty(),
        "not even the credentials leave"
    );
    operator.stop().await;
    let _operator = stage.operate().await;
    ends_well(&stage, "guest-1").await;
    stage.connection_says("default", "True/TokenValid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_connection_stops_calls_and_webhooks_and_not_for_ever() {
    let stage = Stage::set("suspended").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    // One object whose webhook is still to be delivered, one that is still to be asked about.
    stage.simulator.set_outage(Outage {
        webhooks: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    terminate(&stage, "guest-0").await;
    stage.finished("guest-0").await;
    stage.edit_connection("default", json!({"suspend": true})).await;
    let connection = stage.connection_says("default", "Unknown/Suspended").await;
    assert_eq!(verdict(&connection, "Stalled"), "absent");
    stage.simulator.set_outage(Outage::default());
    let before = stage.simulator.ledger();
    terminate(&stage, "guest-1").await;
    let object = stage.waits("guest-1", "Unknown/ConnectionSuspended").await;
    assert!(message(&object, "Ready").contains("spec.suspend"), "{object:#}");
    // Longer than the second try of the webhook would have waited.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let after = stage.simulator.ledger();
    assert_eq!(before.calls.len(), after.calls.len());
    assert_eq!(before.webhooks.len(), after.webhooks.len());

    stage.edit_connection("default", json!({"suspend": false})).await;
    ends_well(&stage, "guest-1").await;
    let object = stage.settled("guest-0").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(
        object["status"]["webhooks"][0]["attempts"], 2,
        "the wait used nothing up"
    );
    stage.connection_says("default", "True/TokenValid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_the_same_name_is_not_the_one_that_was_asked() {
    let stage = Stage::set("pinned").await;
    let _operator = stage.operate_with(stage.settings().scaled(0.05)).await;
    stage.warm_up().await;
    // An attempt that left nothing behind but its pin.
    let reset = FaultAction::Reset { after_effect: false };
    let fault = FaultSpec::on(Operation::Terminate).guest("guest-1").action(reset);
    let fault = stage.simulator.add_fault(fault).unwrap();
    terminate(&stage, "guest-1").await;
    stage
        .until("guest-1", "tried", |object| object["status"]["mayHaveApplied"] == true)
        .await;
    stage.disconnect("default").await;
    let missing = |object: &Value| message(object, "Ready").contains("There is no GenesysConnection");
    stage.until("guest-1", "connection missing", missing).await;
    stage.simulator.remove_fault(fault).unwrap();
    stage.connect(stage.connection("default")).await;
    let other = |object: &Value| message(object, "Ready").contains("was deleted and created again");
    let object = stage.until("guest-1", "another connection", other).await;
    assert_eq!(verdict(&object, "Ready"), "Unknown/WaitingForConnection");
    assert_eq!(kstatus(&object), Kstatus::InProgress);
    let before = stage.calls(Operation::Terminate);
    // The new one serves who has no history.
    terminate(&stage, "guest-2").await;
    ends_well(&stage, "guest-2").await;
    let about = stage.calls_about(Operation::Terminate, |call| call.guest.as_deref() == Some("guest-1"));
    assert_eq!(about.len(), before);
    assert_eq!(stage.simulator.summary().effective_total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_says_what_it_is_and_is_over_when_it_is_over() {
    let stage = Stage::set("outage").await;
    let _operator = stage.operate_with(stage.settings().scaled(0.1)).await;
    stage.warm_up().await;
    stage.simulator.set_outage(Outage::vendor(OutageKind::Unavailable));
    let position = stage.cluster.audit_position();
    for index in 0..10 {
        terminate(&stage, &format!("guest-{index}")).await;
    }
    let connection = stage.connection_says("default", "Unknown/Unavailable").await;
    assert!(
        message(&connection, "Ready").contains("HTTP 503 (service.unavailable)"),
        "{connection:#}"
    );
    assert_eq!(kstatus(&connection), Kstatus::InProgress);
    // Failures of other kinds are the same trouble in other words: nothing is written for them at once.
    stage.simulator.set_outage(Outage::vendor(OutageKind::Reset));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.status_writes(position, "genesysconnections", "default"), 1);
    stage.simulator.set_outage(Outage::default());
    for index in 0..10 {
        let object = stage.settled(&format!("guest-{index}")).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
    }
    stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(stage.status_writes(position, "genesysconnections", "default"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_objects_are_three_writes_of_the_connection_at_most() {
    let stage = Stage::set("quiet").await;
    // The vendor's own headers, which change with every call.
    let settings = simulator::api::Settings {
        requests_per_minute: Some(100_000),
        ..stage.simulator.settings()
    };
    stage.simulator.set_settings(settings);
    let position = stage.cluster.audit_position();
    let _operator = stage.operate().await;
    let names: Vec<String> = (0..50).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        terminate(&stage, name).await;
    }
    for name in &names {
        ends_well(&stage, name).await;
    }
    let connection = stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(verdict(&connection, "RouteProven"), "True/GuestRead");
    assert_eq!(kstatus(&connection), Kstatus::Current);
    let writes = stage.status_writes(position, "genesysconnections", "default");
    assert!((1..=3).contains(&writes), "{writes}");
    assert_eq!(stage.calls(Operation::Token), 1);
    let quiet = stage.cluster.audit_position();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.writes_since(quiet), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_used_yet_says_that_it_is_ready() {
    let stage = Stage::set("unused").await;
    let _operator = stage.operate().await;
    let connection = stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(verdict(&connection, "RouteProven"), "Unknown/NoGuestReadYet");
    assert_eq!(verdict(&connection, "Reconciling"), "absent");
    assert_eq!(kstatus(&connection), Kstatus::Current);
    assert_ne!(connection["status"]["tokenExpirationTime"], Value::Null);
    assert_eq!(stage.calls(Operation::Observe), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_deleted_under_a_call_does_not_take_its_answer_along() {
    let stage = Stage::set("midcall").await;
    let operator = stage.operate().await;
    let slow = FaultSpec {
        delay_after_ms: 2_000,
        ..FaultSpec::on(Operation::Terminate)
    };
    stage.simulator.add_fault(slow).unwrap();
    terminate(&stage, "guest-1").await;
    let effective = simulator::api::WaitFor::new(Operation::Terminate, simulator::api::Moment::Effective);
    stage.simulator.wait_for(&effective).await.unwrap();
    stage.disconnect("default").await;
    let object = stage.finished("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["connection"]["name"], "default");
    // What announces it goes through the connection that is gone, and waits.
    assert_ne!(object["status"]["settled"], true);
    assert_eq!(verdict(&object, "WebhookDelivered"), "Unknown/Pending");
    let lines = operator.lines();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["attempt_started", "attempt_result", "outcome"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_slow_holds_up_no_other() {
    let stage = Stage::set("slow").await;
    let slow = Simulator::start(simulator::Options::default()).await.unwrap();
    slow.set_settings(Settings {
        requests_per_minute: None,
        ..slow.settings()
    });
    let mut manifest = stage.connection("slow");
    manifest["spec"]["endpoints"] = json!({"apiUrl": slow.url(), "loginUrl": slow.url()});
    // More than there are workers, if one connection could have them all.
    manifest["spec"]["rateLimit"]["maxInFlight"] = json!(100);
    stage.connect(manifest).await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    let through_slow = async |name: &str| {
        slow.add_guest(GuestSpec::active(name));
        let spec = json!({"connectionRef": {"kind": "GenesysConnection", "name": "slow"}});
        stage.terminate(name, spec).await;
    };
    // Its breaker is half-open until one has gone through.
    through_slow("slow-warm-up").await;
    ends_well(&stage, "slow-warm-up").await;
    let looks = || {
        let calls = slow.ledger().calls.into_iter();
        calls.filter(|call| call.operation == Operation::Observe).count() - 1
    };
    // No look is answered before it is given up, after 10 s.
    let silent = FaultSpec {
        delay_before_ms: 60_000,
        ..FaultSpec::on(Operation::Observe)
    };
    slow.add_fault(silent).unwrap();
    for number in 0..80 {
        through_slow(&format!("slow-{number}")).await;
    }
    for number in 0..20 {
        terminate(&stage, &format!("guest-{number}")).await;
    }
    for number in 0..20 {
        ends_well(&stage, &format!("guest-{number}")).await;
    }
    // On a busy machine some may have been given up, and made again.
    let (half_of_the_workers, seen) = (stage.settings().workers / 2, looks());
    assert!(
        (half_of_the_workers..half_of_the_workers * 3 / 2).contains(&seen),
        "{seen} slow calls, though {half_of_the_workers} workers are for one connection"
    );
}
