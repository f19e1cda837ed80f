//! The table of `GenesysConnection` manifests against the API server.

use guest_termination_operator::api::GenesysConnection;
use serde_json::json;

use super::{
    connection_rows::{at_creation, at_update_of_endpoints, at_update_of_region},
    gate::{Gate, Side, connection, name_of, report, with},
};
use crate::{
    fixture,
    kstatus::{Kstatus, kstatus},
};

async fn gate() -> Gate {
    let (client, namespace) = fixture::namespace("connections").await;
    Gate::new(client, &namespace, "genesysconnections")
}

#[tokio::test]
async fn manifests_are_accepted_or_refused_at_creation() {
    let gate = gate().await;
    let mut misses = Vec::new();
    for (row, patch, verdict) in at_creation() {
        let answer = gate.create(&with(&connection(), &patch)).await;
        misses.extend(verdict.miss(&row, &answer));
        if let Ok(object) = answer {
            let read = serde_json::from_value::<GenesysConnection>(object);
            misses.extend(
                read.err()
                    .map(|error| format!("{row}: accepted, and unreadable: {error}")),
            );
        }
    }
    report(misses);
}

#[tokio::test]
async fn edits_are_accepted_or_refused() {
    let gate = gate().await;
    let endpoints = json!({"spec": {
        "region": null,
        "endpoints": {"apiUrl": "https://a.example", "loginUrl": "https://b.example"},
    }});
    let mut misses = Vec::new();
    for (base, rows) in [
        (json!({}), at_update_of_region()),
        (endpoints, at_update_of_endpoints()),
    ] {
        let object = gate.create(&with(&connection(), &base)).await.unwrap();
        let name = name_of(&object);
        for (row, patch, verdict) in rows {
            let changed = with(&gate.get(&name).await, &patch);
            misses.extend(verdict.miss(&format!("{row}, by PUT"), &gate.put(Side::Object, &changed).await));
            misses.extend(verdict.miss(
                &format!("{row}, by patch"),
                &gate.merge(&name, Side::Object, &patch).await,
            ));
        }
    }
    report(misses);
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let gate = gate().await;
    let mut manifest = connection();
    manifest["spec"]["webhooks"] = json!([{
        "name": "analytics",
        "url": "https://hooks.example.com",
        "signingSecretRef": {"name": "hooks", "key": "current"},
    }]);
    let created = gate.create(&manifest).await.unwrap();
    assert_eq!(
        created["spec"],
        json!({
            "api": "WebMessagingGuests",
            "region": "us-east-1",
            "credentialsSecretRef": {"name": "genesys", "clientIdKey": "clientId", "clientSecretKey": "clientSecret"},
            "notFound": {"trust": "WhenProven"},
            "rateLimit": {"requestsPerMinute": 240, "maxInFlight": 5},
            "suspend": false,
            "webhooks": [{
                "name": "analytics",
                "url": "https://hooks.example.com",
                "signingSecretRef": {"name": "hooks", "key": "current"},
                "events": ["session.terminated"],
                "format": "Flat",
                "timeoutSeconds": 15,
            }],
        })
    );
    assert_eq!(created["status"], json!({"observedGeneration": -1}));
    assert_eq!(kstatus(&created), Kstatus::InProgress, "nobody has looked at it yet");
}
