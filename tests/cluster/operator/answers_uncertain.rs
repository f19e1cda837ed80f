//! Answers that leave open what happened, and answers that are none: the session decides, and is ended once.

use rstest::rstest;
use serde_json::{Value, json};
use simulator::api::{Acceptance, FaultAction, FaultBody, FaultSpec, GuestSpec, Operation, ScriptedAnswer};

use crate::stage::{Stage, verdict};

/// An operator whose waits are short, past its start, with one more active guest.
async fn warm(prefix: &str) -> (Stage<'static>, crate::stage::Operator) {
    let stage = Stage::set(prefix).await;
    let operator = stage.operate_with(stage.settings().scaled(0.02)).await;
    stage.warm_up().await;
    stage.simulator.add_guest(GuestSpec::active("guest-1"));
    (stage, operator)
}

fn once(operation: Operation, action: FaultAction) -> FaultSpec {
    FaultSpec::on(operation).guest("guest-1").times(1).action(action)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_is_down_for_a_moment_costs_two_retries() {
    let (stage, operator) = warm("twice503").await;
    let twice = FaultSpec::on(Operation::Terminate)
        .times(2)
        .answer(ScriptedAnswer::vendor(503));
    stage.simulator.add_fault(twice).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["retries"], 2);
    assert_eq!(object["status"]["attempts"], 3);
    assert_eq!(
        object["status"]["mayHaveApplied"], true,
        "a 5xx leaves open what happened"
    );
    let results: Vec<_> = object["status"]["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["result"].clone())
        .collect();
    assert_eq!(results, ["Applied", "Unknown", "Unknown"]);
    assert_eq!(stage.simulator.summary().max_effective_per_incarnation, 1);
    // The same cause twice is one Event.
    stage.events_with("guest-1", "Terminated").await;
    let failed = stage.events_of("guest-1").await;
    let failed: Vec<_> = failed.iter().filter(|event| event.1 == "AttemptFailed").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].2.contains("HTTP 503 (service.unavailable)"));
    let lines = operator.lines();
    let of = |kind: &str| {
        let about = |line: &&Value| line["kind"] == kind && line["name"] == "guest-1";
        lines.iter().filter(about).count()
    };
    assert_eq!((of("attempt_started"), of("attempt_result"), of("outcome")), (3, 3, 1));
}

#[rstest]
#[case::a_reset(FaultAction::Reset { after_effect: true })]
#[case::no_answer(FaultAction::Hang { after_effect: true })]
#[case::a_503(FaultAction::Answer { answer: ScriptedAnswer::vendor(503), after_effect: true })]
#[case::a_409(FaultAction::Answer { answer: ScriptedAnswer::vendor(409), after_effect: true })]
#[case::a_page(FaultAction::Answer { answer: ScriptedAnswer::new(200, FaultBody::Html), after_effect: true })]
#[case::a_gateways_400(FaultAction::Answer { answer: ScriptedAnswer::new(400, FaultBody::Gateway), after_effect: true })]
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_whose_answer_is_lost_is_found_by_looking(#[case] action: FaultAction) {
    let (stage, _operator) = warm("lost").await;
    stage.simulator.add_fault(once(Operation::Terminate, action)).unwrap();
    stage.terminate("guest-1", json!({"retainData": false})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["mayHaveApplied"], true);
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_ne!(object["status"]["audit"]["duplicateTermination"], true);
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    assert_eq!(verdict(&object, "RetentionApplied"), "Unknown/NotConfirmed");
    assert_eq!(stage.calls(Operation::Terminate), 1);
    assert_eq!(stage.simulator.summary().effective_total, 1);
    stage.events_with("guest-1", "RetentionNotApplied").await;
}

#[rstest]
#[case::a_reset(FaultAction::Reset { after_effect: false })]
#[case::a_redirect(FaultAction::Answer {
    answer: ScriptedAnswer::new(307, FaultBody::Empty).header("location", "https://elsewhere.invalid/"),
    after_effect: false,
})]
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_effect_is_made_again_after_a_look(#[case] action: FaultAction) {
    let (stage, _operator) = warm("again").await;
    stage.simulator.add_fault(once(Operation::Terminate, action)).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"], 1);
    assert_eq!(verdict(&object, "RetentionApplied"), "True/SentWithTermination");
    let operations: Vec<_> = stage
        .simulator
        .ledger()
        .calls
        .iter()
        .map(|call| call.operation)
        .collect();
    let (look, call) = (Operation::Observe, Operation::Terminate);
    assert_eq!(operations, [look, call, look, call]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_then_happened_was_terminated() {
    let (stage, _operator) = warm("accepted").await;
    stage.simulator.add_guest(GuestSpec {
        accept: Some(Acceptance {
            ends_after_ms: Some(400),
        }),
        ..GuestSpec::active("guest-2")
    });
    stage.terminate("guest-2", json!({})).await;
    let object = stage.settled("guest-2").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(object["status"]["mayHaveApplied"], true);
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(object["status"]["retries"].as_i64().unwrap_or(0), 0);
    assert_eq!(object["status"]["history"][0]["result"], "Accepted");
    assert_eq!(stage.calls(Operation::Terminate), 1);
    assert_eq!(stage.simulator.summary().effective_total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_never_happened_is_tried_again() {
    let (stage, _operator) = warm("never").await;
    let accepted = FaultAction::Answer {
        answer: ScriptedAnswer::new(202, FaultBody::Empty),
        after_effect: false,
    };
    stage.simulator.add_fault(once(Operation::Terminate, accepted)).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage
        .until("guest-1", "accepted", |object| {
            object["status"]["currentAttempt"]["acceptedTime"].is_string()
        })
        .await;
    assert_eq!(object["status"]["mayHaveApplied"], true, "in the same write");
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 2);
    assert_eq!(object["status"]["retries"], 1);
    assert_eq!(stage.simulator.summary().effective_total, 1);
}

#[rstest]
#[case::a_body_that_breaks_off(
    ScriptedAnswer { truncated: true, ..ScriptedAnswer::new(200, FaultBody::Guest { id: None, state: "closed".to_owned() }) },
    "got an answer that broke off",
)]
#[case::another_guest(
    ScriptedAnswer::new(200, FaultBody::Guest { id: Some("guest-2".to_owned()), state: "closed".to_owned() }),
    "another guest. Nothing is concluded from it.",
)]
#[case::a_page(
    ScriptedAnswer::new(200, FaultBody::Html),
    "the body is not what was asked for. Nothing is concluded"
)]
#[case::a_proxys_question(
    ScriptedAnswer::new(407, FaultBody::Html),
    "a proxy asks for credentials. Nothing is concluded"
)]
#[case::more_than_can_be_meant(ScriptedAnswer::new(200, FaultBody::Large { bytes: 200_000 }), "the body is not what was asked for. Nothing is concluded")]
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_cannot_be_what_was_asked_is_made_again(#[case] answer: ScriptedAnswer, #[case] words: &str) {
    let (stage, _operator) = warm("odd").await;
    let fault = FaultSpec::on(Operation::Observe)
        .guest("guest-1")
        .times(1)
        .answer(answer);
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_ne!(object["status"]["mayHaveApplied"], true);
    assert_eq!(object["status"]["retries"], 1);
    assert_eq!(stage.simulator.summary().effective_total, 1);
    let events = stage.events_with("guest-1", "AttemptFailed").await;
    let failed = events.iter().find(|event| event.1 == "AttemptFailed").unwrap();
    assert!(failed.2.contains(words), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_never_followed_and_the_token_goes_nowhere() {
    let (stage, _operator) = warm("redirect").await;
    let elsewhere = simulator::Simulator::start(simulator::Options::default())
        .await
        .unwrap();
    let location = format!("{}/api/v2/webmessaging/guests/guest-1", elsewhere.url());
    let answer = ScriptedAnswer::new(302, FaultBody::Empty).header("location", location);
    let fault = FaultSpec::on(Operation::Observe).times(2).answer(answer);
    stage.simulator.add_fault(fault).unwrap();
    stage.terminate("guest-1", json!({})).await;
    let events = stage.events_with("guest-1", "AttemptFailed").await;
    let failed = events.iter().find(|event| event.1 == "AttemptFailed").unwrap();
    assert!(failed.2.contains("redirects are never followed"), "{failed:?}");
    assert_eq!(stage.settled("guest-1").await["status"]["outcome"], "Terminated");
    assert!(elsewhere.ledger().calls.is_empty());
}
