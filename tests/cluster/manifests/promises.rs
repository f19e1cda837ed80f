//! What the books promise, against every way of writing a status: nothing leaves a final outcome, a doubt is never
//! cleared, no attempt is forgotten.

use serde_json::{Value, json};

use super::gate::{Answer, Gate, Refused, Side, name_of, report, termination, with};
use crate::fixture;

/// The field manager that wrote the status in these tests.
const OWNER: &str = "operator";

fn status() -> Value {
    json!({
        "observedGeneration": 1,
        "phase": "Terminated",
        "finished": true,
        "settled": true,
        "outcome": "Terminated",
        "mayHaveApplied": true,
        "attempts": 3,
    })
}

/// A field, a value that takes the promise back, and what the server is to say.
const PROMISES: &[(&str, &str, &str)] = &[
    (
        "finished",
        "false",
        "A final outcome stays: status.finished and status.outcome cannot be changed or removed.",
    ),
    (
        "outcome",
        "\"Rejected\"",
        "A final outcome stays: status.finished and status.outcome cannot be changed or removed.",
    ),
    ("settled", "false", "A settled GuestTermination stays settled"),
    (
        "mayHaveApplied",
        "false",
        "status.mayHaveApplied cannot be cleared once it is true",
    ),
    ("attempts", "2", "status.attempts cannot be lowered or removed"),
];

struct Attack<'a> {
    gate: &'a Gate,
    name: String,
    field: &'a str,
    value: Value,
}

impl Attack<'_> {
    fn manifest(&self, status: &Value) -> Value {
        json!({
            "apiVersion": "guestops.dev/v1alpha1",
            "kind": "GuestTermination",
            "metadata": {"name": self.name},
            "status": status,
        })
    }

    /// Every way of taking one field back, and how the server answered.
    async fn on_the_field(&self) -> Vec<(&'static str, Answer)> {
        let Self {
            gate,
            name,
            field,
            value,
        } = self;
        let (name, path) = (name.as_str(), format!("/status/{field}"));
        let stored = gate.get(name).await;
        let lowered = with(&stored, &json!({"status": {*field: value}}));
        let dropped = with(&stored, &json!({"status": {*field: null}}));
        let without = with(&status(), &json!({*field: null}));
        vec![
            (
                "merged",
                gate.merge(name, Side::Status, &json!({"status": {*field: value}}))
                    .await,
            ),
            (
                "nulled",
                gate.merge(name, Side::Status, &json!({"status": {*field: null}})).await,
            ),
            ("put", gate.put(Side::Status, &lowered).await),
            ("dropped by a PUT", gate.put(Side::Status, &dropped).await),
            (
                "replaced by JSON patch",
                gate.json_patch(
                    name,
                    Side::Status,
                    &json!([{"op": "replace", "path": path, "value": value}]),
                )
                .await,
            ),
            (
                "removed by JSON patch",
                gate.json_patch(name, Side::Status, &json!([{"op": "remove", "path": path}]))
                    .await,
            ),
            (
                "forced by apply",
                gate.apply("forger", Side::Status, &self.manifest(&json!({*field: value})))
                    .await,
            ),
            (
                "left out by its owner",
                gate.apply(OWNER, Side::Status, &self.manifest(&without)).await,
            ),
        ]
    }

    /// Every way of taking the whole status back, and how the server answered.
    async fn on_the_status(&self) -> Vec<(&'static str, Answer)> {
        let Self { gate, name, .. } = self;
        let stored = gate.get(name).await;
        let mut nulled = stored.clone();
        nulled["status"] = json!(null);
        let mut emptied = stored.clone();
        emptied["status"] = json!({});
        let manifest = self.manifest(&json!(null));
        vec![
            (
                "status nulled",
                gate.merge(name, Side::Status, &json!({"status": null})).await,
            ),
            (
                "status left out of a PUT",
                gate.put(Side::Status, &with(&stored, &json!({"status": null}))).await,
            ),
            ("status null in a PUT", gate.put(Side::Status, &nulled).await),
            ("status empty in a PUT", gate.put(Side::Status, &emptied).await),
            (
                "status removed by JSON patch",
                gate.json_patch(name, Side::Status, &json!([{"op": "remove", "path": "/status"}]))
                    .await,
            ),
            (
                "status left out by its owner",
                gate.apply(OWNER, Side::Status, &with(&manifest, &json!({"status": null})))
                    .await,
            ),
        ]
    }
}

/// An object whose status holds one promise alone, so that no other rule can be the one that refuses.
async fn object_with(gate: &Gate, fields: &[&str]) -> String {
    let object = gate.create(&termination()).await.unwrap();
    let all = status();
    let kept: Value = fields
        .iter()
        .map(|field| ((*field).to_owned(), all[*field].clone()))
        .collect();
    let manifest = json!({
        "apiVersion": "guestops.dev/v1alpha1",
        "kind": "GuestTermination",
        "metadata": {"name": name_of(&object)},
        "status": kept,
    });
    gate.apply(OWNER, Side::Status, &manifest).await.unwrap();
    name_of(&object)
}

#[tokio::test]
async fn no_promise_can_be_taken_back_in_any_way() {
    let (client, namespace) = fixture::namespace("promises").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    let mut misses = Vec::new();
    for (field, value, sentence) in PROMISES {
        let fields = match *field {
            "finished" | "outcome" => &["finished", "outcome"][..],
            other => &[other],
        };
        let attack = Attack {
            gate: &gate,
            name: object_with(&gate, fields).await,
            field,
            value: serde_json::from_str(value).unwrap(),
        };
        let before = gate.get(&attack.name).await["status"].clone();
        let mut answers = attack.on_the_field().await;
        answers.extend(attack.on_the_status().await);
        for (way, answer) in answers {
            misses.extend(Refused(sentence).miss(&format!("{field} {way}"), &answer));
        }
        let after = gate.get(&attack.name).await["status"].clone();
        assert_eq!(after, before, "{field}");
    }
    report(misses);
}

#[tokio::test]
async fn the_books_can_be_kept() {
    let (client, namespace) = fixture::namespace("promises").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    let name = name_of(&gate.create(&termination()).await.unwrap());
    // One termination's life, and what is still written after its end.
    for change in [
        json!({"observedGeneration": 1, "phase": "Terminating", "attempts": 1}),
        json!({"attempts": 2, "mayHaveApplied": true}),
        json!({"finished": true, "outcome": "Terminated", "phase": "Terminated"}),
        json!({"conditions": [], "webhooks": [{
            "name": "analytics", "event": "session.terminated", "format": "Flat", "messageId": "m", "state": "Pending",
        }]}),
        json!({"settled": true}),
        json!({"session": {"state": "closed"}}),
    ] {
        gate.merge(&name, Side::Status, &json!({ "status": change }))
            .await
            .unwrap_or_else(|refusal| panic!("{change}: {refusal}"));
    }
}

#[tokio::test]
async fn a_put_of_the_object_leaves_the_status_alone() {
    let (client, namespace) = fixture::namespace("promises").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    let name = object_with(&gate, &["finished", "outcome", "settled", "attempts"]).await;
    let stored = gate.get(&name).await;
    let answer = gate.put(Side::Object, &with(&stored, &json!({"status": null}))).await;
    assert_eq!(answer.unwrap()["status"], stored["status"]);
}

#[tokio::test]
async fn a_value_of_a_newer_version_can_be_stored() {
    let (client, namespace) = fixture::namespace("promises").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    let name = name_of(&gate.create(&termination()).await.unwrap());
    let newer = json!({"status": {"phase": "Quarantined", "outcome": "Undone", "finished": true}});
    let stored = gate.merge(&name, Side::Status, &newer).await.unwrap();
    assert_eq!(stored["status"]["outcome"], "Undone");
}
