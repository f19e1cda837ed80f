//! What comes between an intent and its call: the send fence lets nothing leave that should not.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use serde_json::json;
use simulator::api::{GuestSpec, Operation};

use super::lifecycle_stage::{A_WHILE, from_now, seconds};
use crate::stage::{Lines, Operator, Stage};

/// An audit log that stands still at the first `attempt_started`: the intent is durable, and its call has not left.
struct Gate {
    lines: Lines,
    reached: Sender<()>,
    opened: Option<Receiver<()>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("attempt_started")
            && let Some(opened) = self.opened.take()
        {
            self.reached.send(()).unwrap();
            let _ = opened.recv_timeout(Duration::from_secs(60));
        }
        self.lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The operator, stopped between the intent and the call of `guest`. Sending or dropping what comes with it lets it go on.
async fn at_the_gate(stage: &Stage<'_>, spec: serde_json::Value) -> (Operator, Sender<()>) {
    stage.simulator.add_guest(GuestSpec::active("guest"));
    let (reached, arrival) = channel();
    let (open, opened) = channel();
    let lines = Lines::default();
    let gate = Gate {
        lines: lines.clone(),
        reached,
        opened: Some(opened),
    };
    let operator = stage.operate_audited(stage.settings(), Box::new(gate), lines).await;
    stage.terminate("guest", spec).await;
    let arrival = tokio::task::spawn_blocking(move || arrival.recv_timeout(Duration::from_secs(60)));
    arrival.await.unwrap().unwrap();
    (operator, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleted_between_intent_and_call_nothing_leaves() {
    let stage = Stage::set("fence").await;
    let (operator, open) = at_the_gate(&stage, json!({})).await;
    stage.delete("guest").await;
    tokio::time::sleep(A_WHILE).await;
    open.send(()).unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        operator.story("guest"),
        ["attempt_started", "attempt_result NotSent", "outcome"]
    );
    let line = operator.lines().pop().unwrap();
    assert!(
        line["error"].as_str().unwrap().contains("no call took effect"),
        "{line}"
    );
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn suspended_between_intent_and_call_nothing_leaves() {
    let stage = Stage::set("fence").await;
    let (operator, open) = at_the_gate(&stage, json!({})).await;
    stage.edit("guest", json!({"spec": {"suspend": true}})).await;
    tokio::time::sleep(A_WHILE).await;
    open.send(()).unwrap();
    let object = stage
        .until("guest", "suspended", |object| object["status"]["phase"] == "Suspended")
        .await;
    assert!(object["status"]["currentAttempt"].is_null());
    assert!(object["status"]["mayHaveApplied"].as_bool().is_none_or(|may| !may));
    assert_eq!(object["status"]["history"][0]["result"], "NotSent");
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    assert_eq!(operator.story("guest"), ["attempt_started", "attempt_result NotSent"]);

    stage.edit("guest", json!({"spec": {"suspend": false}})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or_default(), 0);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_takes_too_long_between_intent_and_call_starts_anew() {
    let stage = Stage::set("fence").await;
    let (operator, open) = at_the_gate(&stage, json!({})).await;
    tokio::time::sleep(seconds(6)).await;
    open.send(()).unwrap();
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["history"][1]["result"], "NotSent");
    assert_eq!(
        object["status"]["retries"].as_i64().unwrap_or_default(),
        0,
        "no budget is spent"
    );
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn not_after_that_passes_between_intent_and_call_is_final() {
    let stage = Stage::set("fence").await;
    let (operator, open) = at_the_gate(&stage, json!({"notAfter": from_now(6)})).await;
    let passed = stage.until("guest", "past notAfter", |object| {
        let limit: k8s_openapi::jiff::Timestamp = object["spec"]["notAfter"].as_str().unwrap().parse().unwrap();
        k8s_openapi::jiff::Timestamp::now() > limit
    });
    passed.await;
    open.send(()).unwrap();
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Expired");
    assert_eq!(object["status"]["history"][0]["result"], "NotSent");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_suspended_between_intent_and_call_holds_the_call() {
    let stage = Stage::set("fence").await;
    let (operator, open) = at_the_gate(&stage, json!({})).await;
    stage.edit_connection("default", json!({"suspend": true})).await;
    tokio::time::sleep(A_WHILE).await;
    open.send(()).unwrap();
    stage
        .until("guest", "held", |object| {
            crate::stage::verdict(object, "Ready") == "Unknown/ConnectionSuspended"
        })
        .await;
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    stage.edit_connection("default", json!({"suspend": false})).await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    operator.stop().await;
}
