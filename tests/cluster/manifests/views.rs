//! What people and tools see: selectors, columns, and the words of `kubectl explain`.

use control_plane::run;
use serde_json::{Value, json};

use super::gate::{Gate, Side, connection, name_of, termination, with};
use crate::fixture;

#[tokio::test]
async fn open_work_is_selected_by_fields() {
    let (client, namespace) = fixture::namespace("views").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    for (name, spec, status) in [
        ("new", json!({"guestId": "g1"}), json!({})),
        (
            "open",
            json!({"guestId": "g2"}),
            json!({"phase": "Retrying", "finished": false, "settled": false}),
        ),
        (
            "outbox",
            json!({"guestId": "g3", "reason": "timeout"}),
            json!({"phase": "Terminated", "outcome": "Terminated", "finished": true}),
        ),
        (
            "done",
            json!({"guestId": "g4"}),
            json!({"phase": "Failed", "outcome": "Rejected", "finished": true, "settled": true}),
        ),
    ] {
        let manifest = with(
            &termination(),
            &json!({"metadata": {"name": name, "generateName": null}, "spec": spec}),
        );
        gate.create(&manifest).await.unwrap();
        gate.merge(name, Side::Status, &json!({ "status": status }))
            .await
            .unwrap();
    }
    for (selector, expected) in [
        ("status.settled!=true", &["new", "open", "outbox"][..]),
        ("status.settled=true", &["done"]),
        ("status.finished=true", &["done", "outbox"]),
        ("status.finished!=true", &["new", "open"]),
        ("status.finished=true,status.settled!=true", &["outbox"]),
        ("status.outcome=Terminated", &["outbox"]),
        ("status.phase=Pending", &["new"]),
        ("spec.guestId=g2", &["open"]),
        ("spec.reason=timeout", &["outbox"]),
    ] {
        assert_eq!(gate.select(selector).await, expected, "{selector}");
    }
}

/// The lines that kubectl prints, each cut where the columns of its first line begin.
fn table(printed: &str) -> Vec<Vec<&str>> {
    let header = printed.lines().next().unwrap();
    let starts: Vec<_> = header
        .char_indices()
        .filter(|(at, letter)| *letter != ' ' && (*at == 0 || header[..*at].ends_with("  ")))
        .map(|(at, _)| at)
        .collect();
    printed
        .lines()
        .map(|line| {
            let ends = starts.iter().skip(1).copied().chain([line.len()]);
            starts
                .iter()
                .zip(ends)
                .map(|(start, end)| line.get(*start..end.min(line.len())).unwrap_or_default().trim())
                .collect()
        })
        .collect()
}

async fn kubectl(arguments: &[&str]) -> String {
    run(fixture::cluster().await.kubectl().args(arguments)).await.unwrap()
}

#[tokio::test]
async fn kubectl_prints_what_a_termination_is_about() {
    let (client, namespace) = fixture::namespace("views").await;
    let gate = Gate::new(client, &namespace, "guestterminations");
    let manifest = with(
        &termination(),
        &json!({"metadata": {"name": "one", "generateName": null}, "spec": {"externalRef": "ext-1"}}),
    );
    gate.create(&manifest).await.unwrap();
    let condition = |type_: &str, reason: &str, message: &str| -> Value {
        json!({
            "type": type_, "status": "Unknown", "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({"status": {
        "phase": "Retrying",
        "outcome": "Terminated",
        "attempts": 2,
        "nextAttemptTime": "2099-01-01T00:00:00Z",
        "connection": {
            "kind": "GenesysConnection", "name": "prod-eu", "uid": "u", "api": "WebMessagingGuests", "host": "h",
        },
        "conditions": [
            condition("Ready", "RetryScheduled", "The vendor answered 503."),
            condition("WebhookDelivered", "Pending", "To be delivered."),
        ],
    }});
    gate.merge("one", Side::Status, &status).await.unwrap();

    let printed = kubectl(&["get", "gterm", "-n", &namespace]).await;
    let narrow = table(&printed);
    assert_eq!(narrow[0], ["NAME", "GUEST", "REASON", "PHASE", "ATTEMPTS", "AGE"]);
    assert_eq!(
        narrow[1][..5],
        ["one", "guest-12345-abcde", "customer_initiated", "Retrying", "2"]
    );

    let printed = kubectl(&["get", "gterm", "-o", "wide", "-n", &namespace]).await;
    let wide = table(&printed);
    let expected = [
        "OUTCOME",
        "RETAIN",
        "CONNECTION",
        "EXTERNAL-REF",
        "NEXT-ATTEMPT",
        "WEBHOOK",
        "MESSAGE",
    ];
    assert_eq!(wide[0][6..], expected);
    let expected = [
        "Terminated",
        "true",
        "prod-eu",
        "ext-1",
        "2099-01-01T00:00:00Z",
        "Pending",
        "The vendor answered 503.",
    ];
    assert_eq!(wide[1][6..], expected);
}

#[tokio::test]
async fn kubectl_prints_how_a_connection_is() {
    let (client, namespace) = fixture::namespace("views").await;
    let gate = Gate::new(client, &namespace, "genesysconnections");
    let name = name_of(&gate.create(&connection()).await.unwrap());
    let condition = |type_: &str, status: &str, reason: &str| -> Value {
        json!({
            "type": type_, "status": status, "reason": reason, "message": "A sentence.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let conditions = [
        condition("Ready", "True", "TokenValid"),
        condition("RouteProven", "Unknown", "NoGuestReadYet"),
    ];
    gate.merge(&name, Side::Status, &json!({"status": {"conditions": conditions}}))
        .await
        .unwrap();
    let printed = kubectl(&["get", "gconn", "-n", &namespace]).await;
    let table = table(&printed);
    assert_eq!(table[0], ["NAME", "API", "READY", "REASON", "PROVEN", "AGE"]);
    assert_eq!(
        table[1][..5],
        [name.as_str(), "WebMessagingGuests", "True", "TokenValid", "Unknown"]
    );
}

#[tokio::test]
async fn both_kinds_are_in_the_category() {
    let (client, namespace) = fixture::namespace("views").await;
    Gate::new(client.clone(), &namespace, "guestterminations")
        .create(&termination())
        .await
        .unwrap();
    Gate::new(client, &namespace, "genesysconnections")
        .create(&connection())
        .await
        .unwrap();
    let printed = kubectl(&["get", "genesys", "-n", &namespace, "-o", "name"]).await;
    assert!(printed.contains("guesttermination.guestops.dev/"), "{printed}");
    assert!(printed.contains("genesysconnection.guestops.dev/"), "{printed}");
}

#[tokio::test]
async fn kubectl_explains_fields() {
    for (field, words) in [
        ("gterm", "Ends one Genesys Cloud web-messaging guest session"),
        (
            "gterm.spec.retainData",
            "Whether the vendor keeps the conversation's data.",
        ),
        ("gterm.spec.reason", "system_escalation"),
        ("gterm.status.mayHaveApplied", "Once true, never cleared."),
        (
            "gterm.status.webhooks.messageId",
            "The `webhook-id` that every try carries.",
        ),
        ("gconn.spec.endpoints.apiUrl", "without `/api/v2`."),
        (
            "gconn.spec.webhooks.signingSecretRef.previousKey",
            "while it is rotated",
        ),
    ] {
        let printed = kubectl(&["explain", field]).await;
        let unwrapped = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(words), "{field}: {printed}");
    }
}
