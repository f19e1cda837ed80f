//! A connection whose address is wrong. Whatever answers there, nobody was terminated, and nothing may look as if.

use rstest::rstest;
use serde_json::{Value, json};
use simulator::api::{FaultBody, FaultSpec, GuestSpec, Operation, ScriptedAnswer, Target};

use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, condition, verdict},
};

/// A stage whose connection `default` leads to a path that the vendor does not have.
async fn astray(prefix: &str) -> Stage<'static> {
    let stage = Stage::bare(prefix).await;
    let mut connection = stage.connection("default");
    connection["spec"]["endpoints"]["apiUrl"] = json!(format!("{}/wrong", stage.simulator.url()));
    stage.connect(connection).await;
    stage
}

fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition(object, type_)["message"].as_str().unwrap_or_default()
}

/// Creates terminations of guests that the vendor does not know, and waits until each was looked at.
async fn unproven(stage: &Stage<'_>, names: &[&str]) {
    for name in names {
        stage.terminate(name, json!({})).await;
    }
    for name in names {
        stage.waits(name, "Unknown/RouteNotProven").await;
    }
}

#[rstest]
#[case::an_empty_body(FaultBody::Empty)]
#[case::a_page(FaultBody::Html)]
#[case::a_kubernetes_status(FaultBody::KubernetesStatus)]
#[case::a_gateway(FaultBody::Gateway)]
#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_404_is_nobodys_end_and_both_objects_say_what_to_check(#[case] body: FaultBody) {
    let stage = astray("wrong").await;
    let fault = FaultSpec {
        target: Target::PathPrefix("/wrong".to_owned()),
        ..FaultSpec::default()
    };
    stage
        .simulator
        .add_fault(fault.answer(ScriptedAnswer::new(404, body)))
        .unwrap();
    stage.simulator.add_guest(GuestSpec::active("guest-0"));
    let operator = stage.operate_with(stage.settings().scaled(0.05)).await;
    for index in 0..3 {
        stage
            .terminate(&format!("guest-{index}"), json!({"backoffLimit": 0}))
            .await;
    }

    let to_check = "Check that connection default points to the right address (now 127.0.0.1";
    let connection = stage
        .connection_until("default", "unavailable with its cause", |connection| {
            verdict(connection, "Ready") == "Unknown/Unavailable" && message(connection, "Ready").contains(to_check)
        })
        .await;
    assert_eq!(verdict(&connection, "RouteProven"), "Unknown/NoGuestReadYet");
    for index in 0..3 {
        let object = stage.waits(&format!("guest-{index}"), "Unknown/SuspiciousAnswer").await;
        assert!(message(&object, "Ready").contains(to_check), "{object:#}");
        assert_eq!(kstatus(&object), Kstatus::InProgress);
    }
    // Many probes later nothing is spent, nothing is sent, and nothing has ended.
    let probes = || stage.calls(Operation::Other);
    while probes() < 12 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for index in 0..3 {
        let name = format!("guest-{index}");
        let object = stage.waits(&name, "Unknown/SuspiciousAnswer").await;
        assert_eq!(object["status"]["finished"], Value::Null, "{object:#}");
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
        assert_eq!(object["status"]["attempts"].as_i64().unwrap_or(0), 0);
        let events = stage.events_with(&name, "AttemptFailed").await;
        assert_eq!(events.len(), 1, "one cause, one Event: {events:?}");
    }
    assert!(
        stage
            .simulator
            .ledger()
            .calls
            .iter()
            .all(|call| call.method != "DELETE")
    );
    assert_eq!(operator.lines(), Vec::<Value>::new());

    // The way out that the refusal of an address edit names.
    stage.disconnect("default").await;
    stage.connect(stage.connection("default")).await;
    let object = stage.finished("guest-0").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    for index in 1..3 {
        let object = stage.finished(&format!("guest-{index}")).await;
        assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_perfectly_shaped_not_found_of_an_unknown_path_is_nobodys_end() {
    let stage = astray("notfound").await;
    let operator = stage.operate().await;
    let names = ["guest-0", "guest-1", "guest-2"];
    unproven(&stage, &names).await;

    let connection = stage
        .connection_until("default", "every read not found", |connection| {
            verdict(connection, "RouteProven") == "False/EveryReadNotFound"
                && verdict(connection, "Ready") == "True/TokenValid"
        })
        .await;
    assert_eq!(
        message(&connection, "RouteProven"),
        "Every read through connection default was answered 404; nothing was ended. If the address is wrong, delete the \
         connection and create it again under the same name: objects that made no attempt follow it. If it is right and \
         the sessions are over, set spec.notFound.trust: Always. (Genesys Cloud itself does not publish this path.)"
    );
    for name in names {
        let object = stage.waits(name, "Unknown/RouteNotProven").await;
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
        assert_eq!(object["status"]["nextAttemptTime"], Value::Null);
        assert_eq!(verdict(&object, "Finished"), "False/InProgress");
        assert_eq!(verdict(&object, "SessionValidated"), "Unknown/NotChecked");
        assert_eq!(kstatus(&object), Kstatus::InProgress);
        assert!(message(&object, "Ready").contains("See the connection's condition RouteProven"));
    }
    // Each got its own first look, and then they wait together.
    assert_eq!(stage.calls(Operation::Other), names.len());

    // Created again under the same name, at the right address.
    stage.simulator.add_guest(GuestSpec::active("guest-0"));
    stage.simulator.add_guest(GuestSpec::in_state("guest-1", "closed"));
    stage.disconnect("default").await;
    stage.waits("guest-2", "Unknown/WaitingForConnection").await;
    stage.connect(stage.connection("default")).await;
    for (name, outcome) in names
        .iter()
        .zip(["Terminated", "AlreadyTerminated", "AlreadyTerminated"])
    {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], outcome);
        assert_eq!(kstatus(&object), Kstatus::Current);
    }
    assert_eq!(stage.simulator.summary().effective_total, 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_follows_a_connection_that_was_replaced_while_the_operator_was_away() {
    let stage = astray("replaced").await;
    let operator = stage.operate().await;
    let names = ["guest-0", "guest-1", "guest-2"];
    unproven(&stage, &names).await;
    operator.stop().await;
    stage.disconnect("default").await;
    stage.connect(stage.connection("default")).await;
    // The one that proves the route is nobody's turn by chance: each gets a look of its own through the new one.
    for name in names {
        stage.simulator.add_guest(GuestSpec::active(name));
        let unknown = FaultSpec::on(Operation::Observe).guest(name).times(1);
        if name != "guest-1" {
            stage
                .simulator
                .add_fault(unknown.answer(ScriptedAnswer::vendor(404)))
                .unwrap();
        }
    }
    let _operator = stage.operate().await;
    let began = std::time::Instant::now();
    assert_eq!(stage.settled("guest-1").await["status"]["outcome"], "Terminated");
    for name in ["guest-0", "guest-2"] {
        // Their first look through it may have come before or after the proof.
        let outcome = stage.settled(name).await["status"]["outcome"].clone();
        assert!(
            outcome == "Terminated" || outcome == "AlreadyTerminated",
            "{name} is {outcome}"
        );
    }
    // Had they shared one question, the proof would have been up to a minute and a half away.
    assert!(
        began.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_own_word_makes_a_404_believable() {
    let stage = Stage::set("trust").await;
    let _operator = stage.operate().await;
    unproven(&stage, &["guest-0", "guest-1"]).await;
    stage
        .edit_connection("default", json!({"notFound": {"trust": "Always"}}))
        .await;
    for name in ["guest-0", "guest-1"] {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "AlreadyTerminated");
        assert_eq!(object["status"]["audit"]["duplicateTermination"], true);
        assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/SessionAlreadyClosed");
    }
    assert_eq!(stage.calls(Operation::Terminate), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_code_of_the_facades_makes_all_who_wait_look_again() {
    let stage = Stage::set("codes").await;
    let _operator = stage.operate().await;
    let names = ["guest-0", "guest-1", "guest-2"];
    unproven(&stage, &names).await;
    let facade = FaultBody::Vendor {
        code: Some("facade.session.over".to_owned()),
    };
    let fault = FaultSpec::on(Operation::Observe).answer(ScriptedAnswer::new(404, facade));
    stage.simulator.add_fault(fault).unwrap();
    stage
        .edit_connection("default", json!({"notFound": {"codes": ["facade.session.over"]}}))
        .await;
    for name in names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "AlreadyTerminated");
    }
    assert_eq!(stage.calls(Operation::Observe), 2 * names.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_read_proves_the_route_for_everybody() {
    let stage = Stage::set("proof").await;
    let _operator = stage.operate().await;
    unproven(&stage, &["guest-0", "guest-1"]).await;
    stage.simulator.add_guest(GuestSpec::active("guest-2"));
    stage.terminate("guest-2", json!({})).await;
    assert_eq!(stage.settled("guest-2").await["status"]["outcome"], "Terminated");
    for name in ["guest-0", "guest-1"] {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "AlreadyTerminated");
    }
    let proven = |connection: &Value| verdict(connection, "RouteProven") == "True/GuestRead";
    stage.connection_until("default", "proven", proven).await;
    assert_eq!(stage.calls(Operation::Terminate), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_an_unproven_404_is_a_failure_with_this_cause() {
    let stage = Stage::set("deadline").await;
    let operator = stage.operate().await;
    stage.terminate("guest-0", json!({"activeDeadlineSeconds": 3})).await;
    let object = stage.settled("guest-0").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(verdict(&object, "Ready"), "False/DeadlineExceeded");
    assert!(message(&object, "Ready").contains("no guest was ever read through connection default"));
    assert_eq!(kstatus(&object), Kstatus::Failed);
    let lines = operator.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["success"], false);
    let error = lines[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("no guest was ever read"), "{error}");
    stage.events_with("guest-0", "DeadlineExceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_answers_is_named_and_spends_nothing() {
    let stage = Stage::bare("nobody").await;
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut connection = stage.connection("default");
    connection["spec"]["endpoints"]["apiUrl"] = json!(format!("http://{free}"));
    stage.connect(connection).await;
    let _operator = stage.operate_with(stage.settings().scaled(0.05)).await;
    stage.terminate("guest-1", json!({"backoffLimit": 0})).await;
    let to_check = format!("did not reach {free}: no connection");
    let connection = stage.connection_says("default", "Unknown/Unavailable").await;
    assert!(message(&connection, "Ready").contains(&to_check), "{connection:#}");
    let object = stage.waits("guest-1", "Unknown/RetryScheduled").await;
    assert!(message(&object, "Ready").contains(&to_check), "{object:#}");
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    assert_eq!(kstatus(&object), Kstatus::InProgress);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_address_that_leads_elsewhere_is_named() {
    let stage = Stage::bare("login").await;
    let mut connection = stage.connection("default");
    connection["spec"]["endpoints"]["loginUrl"] = json!(format!("{}/wrong", stage.simulator.url()));
    stage.connect(connection).await;
    let _operator = stage.operate().await;
    stage.terminate("guest-1", json!({"activeDeadlineSeconds": 5})).await;
    let connection = stage.connection_says("default", "Unknown/Unavailable").await;
    let text = message(&connection, "Ready");
    assert!(
        text.contains("token endpoint") && text.contains("check the address"),
        "{text}"
    );
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert_eq!(stage.calls(Operation::Observe), 0);
}
