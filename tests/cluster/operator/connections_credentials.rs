//! Credentials that are refused: by the API, by the token endpoint, once and for good.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::api::{Client, FaultBody, FaultSpec, GuestSpec, Operation, RevokeTokens, ScriptedAnswer};

use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, condition, verdict},
};

/// Creates that many terminations of active guests, and gives their names.
async fn many(stage: &Stage<'_>, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_died_is_renewed_once_for_all_who_are_under_way() {
    let stage = Stage::set("revoked").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    // Slow answers, so that many are under way together.
    let slow = FaultSpec {
        delay_before_ms: 300,
        ..FaultSpec::on(Operation::Observe)
    };
    stage.simulator.add_fault(slow).unwrap();
    assert_eq!(stage.simulator.revoke_tokens(&RevokeTokens::default()), 1);
    stage
        .simulator
        .set_client(Client::new(simulator::CLIENT_ID, simulator::CLIENT_SECRET));
    for name in many(&stage, 20).await {
        let object = stage.settled(&name).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
        assert!(stage.events_of(&name).await.iter().all(|event| event.0 == "Normal"));
    }
    assert_eq!(stage.calls(Operation::Token), 1);
    let refused = stage.calls_about(Operation::Observe, |call| call.status == Some(401));
    assert!((1..=10).contains(&refused.len()), "{}", refused.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_dies_between_look_and_call_is_renewed_under_the_same_intent() {
    let stage = Stage::set("midway").await;
    let operator = stage.operate().await;
    stage.warm_up().await;
    let once = FaultSpec::on(Operation::Terminate)
        .times(1)
        .answer(ScriptedAnswer::vendor(401));
    stage.simulator.add_fault(once).unwrap();
    let names = many(&stage, 1).await;
    let object = stage.settled(&names[0]).await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(stage.calls(Operation::Terminate), 2);
    assert_eq!(stage.calls(Operation::Token), 1);
    let lines = operator.lines();
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|line| line["kind"] == kind && line["name"] == names[0])
            .count()
    };
    assert_eq!((of("attempt_started"), of("attempt_result"), of("outcome")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_for_good_everybody_waits_and_a_new_secret_wakes_them() {
    let stage = Stage::set("invalid").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    let slow = FaultSpec {
        delay_before_ms: 200,
        ..FaultSpec::on(Operation::Observe)
    };
    stage
        .simulator
        .add_fault(slow.answer(ScriptedAnswer::vendor(401)))
        .unwrap();
    let position = stage.cluster.audit_position();
    let names = many(&stage, 30).await;
    let connection = stage.connection_says("default", "False/CredentialsInvalid").await;
    assert_eq!(kstatus(&connection), Kstatus::Failed);
    for name in &names {
        let object = stage.waits(name, "Unknown/CredentialsInvalid").await;
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
        assert_eq!(object["status"]["nextAttemptTime"], Value::Null);
        assert_eq!(kstatus(&object), Kstatus::InProgress);
    }
    stage.events_with(&names[0], "CredentialsInvalid").await;
    // Whoever was under way asked twice; then the connection asks for nobody, and nobody is written again.
    let (looks, tokens) = (stage.calls(Operation::Observe), stage.calls(Operation::Token));
    assert!(looks <= 20, "at most ten were under way: {looks}");
    assert!(tokens <= 3, "{tokens}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(stage.calls(Operation::Observe), looks);
    assert_eq!(stage.calls(Operation::Token), tokens);
    for name in &names {
        assert_eq!(stage.status_writes(position, "guestterminations", name), 1, "{name}");
    }
    assert!(stage.status_writes(position, "genesysconnections", "default") <= 2);

    stage.simulator.clear_faults();
    stage.simulator.set_client(Client::new("rotated", "rotated-secret"));
    let began = Instant::now();
    let rotated = [("clientId", Some("rotated")), ("clientSecret", Some("rotated-secret"))];
    stage.edit_secret("genesys", &rotated).await;
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    stage.connection_says("default", "True/TokenValid").await;
    let last = stage.calls_about(Operation::Terminate, |_| true).pop().unwrap();
    assert_eq!(last.client.as_deref(), Some("rotated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_together_is_refused_once_and_tried_again_after_the_first_pause() {
    let stage = Stage::set("trial").await;
    let mut settings = stage.settings();
    settings.pacing.trial = Duration::from_secs(2);
    let _operator = stage.operate_with(settings).await;
    stage.warm_up().await;
    let refused = FaultSpec {
        delay_before_ms: 300,
        ..FaultSpec::on(Operation::Observe)
    };
    stage
        .simulator
        .add_fault(refused.answer(ScriptedAnswer::vendor(401)))
        .unwrap();
    let names = many(&stage, 12).await;
    stage.connection_says("default", "False/CredentialsInvalid").await;
    // The roles were granted: no Secret changes, and the next trial finds out.
    stage.simulator.clear_faults();
    let began = Instant::now();
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    // Ten that were under way together, each counted, would have made it two thousand seconds.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    stage.connection_says("default", "True/TokenValid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_asked_about_slowly_and_replaced_at_once() {
    let stage = Stage::set("wrongsecret").await;
    stage
        .edit_secret("genesys", &[("clientSecret", Some("canary-wrong-secret"))])
        .await;
    let operator = stage.operate().await;
    let names = many(&stage, 3).await;
    let connection = stage.connection_says("default", "False/CredentialsInvalid").await;
    let message = condition(&connection, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains("invalid_client") && message.contains("check the Secret"),
        "{message}"
    );
    for name in &names {
        let object = stage.waits(name, "Unknown/CredentialsInvalid").await;
        let told = format!(
            "{object} {connection} {:?} {:?}",
            stage.events_of(name).await,
            operator.lines()
        );
        assert!(!told.contains("canary-wrong-secret"), "{told}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.calls(Operation::Token), 1, "the next try is half a minute away");
    let began = Instant::now();
    stage
        .edit_secret("genesys", &[("clientSecret", Some(simulator::CLIENT_SECRET))])
        .await;
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_rotated_while_calls_are_made_fails_nobody() {
    let stage = Stage::set("rotated").await;
    let _operator = stage.operate().await;
    stage.warm_up().await;
    stage.simulator.set_client(Client::new("rotated", "rotated-secret"));
    let rotated = [("clientId", Some("rotated")), ("clientSecret", Some("rotated-secret"))];
    let names = many(&stage, 10).await;
    stage.edit_secret("genesys", &rotated).await;
    for name in &names {
        assert_eq!(stage.settled(name).await["status"]["outcome"], "Terminated");
    }
    // Noticed before the first call after a while of idling.
    tokio::time::sleep(Duration::from_secs(4)).await;
    stage.simulator.add_guest(GuestSpec::active("later"));
    stage.terminate("later", json!({})).await;
    stage.settled("later").await;
    let calls = stage.calls_about(Operation::Terminate, |call| call.guest.as_deref() == Some("later"));
    assert_eq!(calls[0].client.as_deref(), Some("rotated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_is_down_is_asked_slowly_and_holds_everybody() {
    let stage = Stage::set("tokendown").await;
    let down = FaultSpec::on(Operation::Token).answer(ScriptedAnswer::new(503, FaultBody::Html));
    stage.simulator.add_fault(down).unwrap();
    let _operator = stage.operate().await;
    let names = many(&stage, 5).await;
    let connection = stage.connection_says("default", "Unknown/Unavailable").await;
    let message = condition(&connection, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains("The token endpoint cannot be used now: it answered HTTP 503"),
        "{message}"
    );
    assert_eq!(kstatus(&connection), Kstatus::InProgress);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let asked = stage.calls(Operation::Token);
    assert!((1..=3).contains(&asked), "2 s, then 4 s: {asked}");
    assert_eq!(stage.calls(Operation::Observe), 0);
    stage.simulator.clear_faults();
    for name in &names {
        let object = stage.settled(name).await;
        assert_eq!(object["status"]["outcome"], "Terminated");
        assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    }
    assert_eq!(
        verdict(&stage.connection_says("default", "True/TokenValid").await, "Stalled"),
        "absent"
    );
}
