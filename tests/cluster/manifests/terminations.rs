//! The table of `GuestTermination` manifests against the API server.

use guest_termination_operator::{api::GuestTermination, termination::request::Request};
use serde_json::json;

use super::{
    gate::{Gate, Side, name_of, report, termination, with},
    termination_rows::{Row, at_creation, at_update_of_bare, at_update_of_final, at_update_of_full, full},
};
use crate::{
    fixture,
    kstatus::{Kstatus, kstatus},
};

async fn gate() -> Gate {
    let (client, namespace) = fixture::namespace("terminations").await;
    Gate::new(client, &namespace, "guestterminations")
}

#[tokio::test]
async fn manifests_are_accepted_or_refused_at_creation() {
    let gate = gate().await;
    let mut misses = Vec::new();
    for (row, patch, verdict) in at_creation() {
        let answer = gate.create(&with(&termination(), &patch)).await;
        misses.extend(verdict.miss(&row, &answer));
        // What the server lets in, the operator can read: the second lock is not narrower than the first.
        if let Ok(object) = answer {
            let parsed = serde_json::from_value::<GuestTermination>(object)
                .map_err(|error| error.to_string())
                .and_then(|object| Request::parse(&object).map_err(|error| error.to_string()));
            misses.extend(
                parsed
                    .err()
                    .map(|error| format!("{row}: accepted, and unreadable: {error}")),
            );
        }
    }
    report(misses);
}

#[tokio::test]
async fn edits_are_accepted_or_refused() {
    let gate = gate().await;
    let mut misses = Vec::new();
    for (base, rows) in [(full(), at_update_of_full()), (json!({}), at_update_of_bare())] {
        let object = gate.create(&with(&termination(), &base)).await.unwrap();
        misses.extend(edit(&gate, &name_of(&object), rows).await);
    }
    report(misses);
}

#[tokio::test]
async fn the_spec_is_frozen_with_the_outcome() {
    let gate = gate().await;
    let mut misses = Vec::new();
    for (status, sentence) in [
        (
            json!({"finished": true, "outcome": "Terminated"}),
            "This GuestTermination is finished, so spec.suspend, spec.backoffLimit and spec.activeDeadlineSeconds cannot",
        ),
        (
            json!({"finished": true, "outcome": "Terminated", "settled": true}),
            "This GuestTermination is settled, so its spec cannot be changed any more: create a new one.",
        ),
    ] {
        let object = gate.create(&with(&termination(), &full())).await.unwrap();
        let name = name_of(&object);
        gate.merge(&name, Side::Status, &json!({ "status": status }))
            .await
            .unwrap();
        misses.extend(edit(&gate, &name, at_update_of_final(sentence)).await);
    }
    report(misses);
}

/// Each change by a PUT of the whole object and by a patch: what the server says is the same.
async fn edit(gate: &Gate, name: &str, rows: Vec<Row>) -> Vec<String> {
    let mut misses = Vec::new();
    for (row, patch, verdict) in rows {
        let changed = with(&gate.get(name).await, &patch);
        misses.extend(verdict.miss(&format!("{row}, by PUT"), &gate.put(Side::Object, &changed).await));
        misses.extend(verdict.miss(
            &format!("{row}, by patch"),
            &gate.merge(name, Side::Object, &patch).await,
        ));
    }
    misses
}

#[tokio::test]
async fn defaults_are_filled_in_and_nothing_is_guessed() {
    let gate = gate().await;
    let created = gate.create(&termination()).await.unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "guestId": "guest-12345-abcde",
            "reason": "customer_initiated",
            "retainData": true,
            "suspend": false,
            "backoffLimit": 6,
            "activeDeadlineSeconds": 21600,
        })
    );
    assert_eq!(
        created["status"],
        json!({"observedGeneration": -1, "phase": "Pending", "attempts": 0})
    );
    assert_eq!(kstatus(&created), Kstatus::InProgress, "nobody has looked at it yet");
}

#[tokio::test]
async fn a_null_is_an_absent_field() {
    let gate = gate().await;
    let mut manifest = termination();
    for field in ["externalRef", "connectionRef", "notAfter", "suspend", "backoffLimit"] {
        manifest["spec"][field] = json!(null);
    }
    manifest["status"] = json!(null);
    let created = gate.create(&manifest).await.unwrap();
    let plain = gate.create(&termination()).await.unwrap();
    assert_eq!(created["spec"], plain["spec"]);
    assert_eq!(created["status"], plain["status"]);

    manifest["spec"]["retainData"] = json!(null);
    let refusal = gate.create(&manifest).await.unwrap_err();
    assert!(refusal.contains("spec.retainData"), "{refusal}");
}

#[tokio::test]
async fn fields_of_other_issues_are_not_taken() {
    let gate = gate().await;
    let mut manifest = termination();
    for field in ["ttlSecondsAfterFinished", "conversationId"] {
        manifest["spec"][field] = json!("1");
    }
    let created = gate.create(&manifest).await.unwrap();
    let spec = created["spec"].as_object().unwrap();
    assert!(!spec.contains_key("ttlSecondsAfterFinished") && !spec.contains_key("conversationId"));
}
