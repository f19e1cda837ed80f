//! What the random requests are made of: good values, and the bad ones that a user or an old operator would send.

use serde_json::{Value, json};
use simulation::apiserver::requests::{CONNECTIONS, EVENTS, LEASES, Resource, SECRETS, TERMINATIONS};

/// A good object.
pub(crate) fn object(resource: &Resource) -> Value {
    match *resource {
        TERMINATIONS => json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination", "metadata": {"labels": {"team": "care"}},
            "spec": {"guestId": "guest-1", "reason": "timeout", "retainData": true},
        }),
        CONNECTIONS => json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection", "metadata": {},
            "spec": {"api": "WebMessagingGuests", "region": "us-east-1", "credentialsSecretRef": {"name": "genesys"},
                "webhooks": [{"name": "analytics", "url": "https://hooks.example.com/x",
                    "signingSecretRef": {"name": "genesys", "key": "signing"}}]},
        }),
        SECRETS => json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": {"clientId": "aWQ=", "clientSecret": "c2VjcmV0"},
        }),
        LEASES => json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
            "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0,
                "acquireTime": "2026-03-01T10:00:00.000000Z", "renewTime": "2026-03-01T10:00:00.000000Z"},
        }),
        EVENTS => json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": "2026-03-01T10:00:00.000000Z",
            "regarding": {"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination", "name": "a",
                "namespace": "care", "uid": "1"},
            "reportingController": "guestops.dev/guest-termination-operator", "reportingInstance": "pod",
            "type": "Normal", "reason": "Terminated", "action": "Terminate", "note": "The session was ended.",
        }),
        other => panic!("{other:?}"),
    }
}

/// What is done to a good object before it is created.
pub(crate) fn creations(resource: &Resource) -> Vec<Value> {
    let mut edits = vec![
        json!({"metadata": {"uid": "3"}}),
        json!({"metadata": {"resourceVersion": "3"}}),
        json!({"metadata": {"namespace": "another"}}),
        json!({"metadata": {"name": null}}),
        json!({"metadata": {"name": "Not_a_name"}}),
        json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7, "unknown": 1}}),
        json!({"metadata": {"finalizers": ["example.com/hold"]}}),
        json!({"metadata": {"annotations": {"a": "b"}, "labels": {}}}),
        json!({"kind": "Another"}),
        json!({"apiVersion": "another/v1"}),
    ];
    edits.extend(main_edits(resource));
    if *resource == TERMINATIONS || *resource == CONNECTIONS {
        edits.extend([
            json!({"kind": null}),
            json!({"status": {"attempts": 3}}),
            json!({"status": null}),
        ]);
    }
    edits
}

/// Changes of metadata.
pub(crate) fn metadata_edits() -> Vec<Value> {
    vec![
        json!({"metadata": {"labels": {"team": "other"}}}),
        json!({"metadata": {"labels": {"team": null}}}),
        json!({"metadata": {"labels": null}}),
        json!({"metadata": {"labels": {"bad": "not a label"}}}),
        json!({"metadata": {"annotations": {"note": "x"}}}),
        json!({"metadata": {"annotations": {"note": "y"}}}),
        json!({"metadata": {"generation": 12, "unknown": true}}),
        json!({"metadata": {"creationTimestamp": null}}),
        json!({"metadata": {"deletionTimestamp": "2026-03-01T10:00:00Z"}}),
        json!({"metadata": {"finalizers": ["example.com/hold"]}}),
        json!({"metadata": {"finalizers": null}}),
        json!({"metadata": {"namespace": "another"}}),
        json!({"metadata": {"resourceVersion": "3"}}),
        json!({"metadata": {"uid": "3"}}),
        json!({"metadata": {"name": "c"}}),
    ]
}

/// Changes of everything but metadata and status.
pub(crate) fn main_edits(resource: &Resource) -> Vec<Value> {
    match *resource {
        TERMINATIONS => vec![
            json!({"spec": {"suspend": true}}),
            json!({"spec": {"suspend": false}}),
            json!({"spec": {"suspend": null}}),
            json!({"spec": {"suspend": "yes"}}),
            json!({"spec": {"backoffLimit": 3}}),
            json!({"spec": {"backoffLimit": 51}}),
            json!({"spec": {"backoffLimit": 99_999_999_999_i64}}),
            json!({"spec": {"activeDeadlineSeconds": 60}}),
            json!({"spec": {"activeDeadlineSeconds": 0}}),
            json!({"spec": {"guestId": "guest-2"}}),
            json!({"spec": {"guestId": "not/an/id"}}),
            json!({"spec": {"guestId": null}}),
            json!({"spec": {"reason": "boredom"}}),
            json!({"spec": {"reason": "bot_handoff", "retainData": 1}}),
            json!({"spec": {"retainData": null}}),
            json!({"spec": {"externalRef": "ref-1"}}),
            json!({"spec": {"externalRef": ""}}),
            json!({"spec": {"notAfter": "2030-01-01T00:00:00Z"}}),
            json!({"spec": {"notAfter": "2030-01-01T01:00:00+01:00"}}),
            json!({"spec": {"notAfter": "tomorrow"}}),
            json!({"spec": {"connectionRef": {"kind": "GenesysConnection", "name": "eu"}}}),
            json!({"spec": {"connectionRef": {"kind": "GenesysConnection"}}}),
            json!({"spec": {"unknown": {"deep": 1}}}),
            json!({"spec": null}),
            json!({"unknown": 1}),
            json!({"status": {"attempts": 5}}),
            json!({"status": null}),
        ],
        CONNECTIONS => vec![
            json!({"spec": {"suspend": true}}),
            json!({"spec": {"suspend": null}}),
            json!({"spec": {"region": "us-east-2"}}),
            json!({"spec": {"region": null}}),
            json!({"spec": {"api": "Conversations"}}),
            json!({"spec": {"rateLimit": {"maxInFlight": 9}}}),
            json!({"spec": {"rateLimit": {"maxInFlight": 0}}}),
            json!({"spec": {"rateLimit": null}}),
            json!({"spec": {"notFound": {"trust": "Always"}}}),
            json!({"spec": {"notFound": {"trust": "Never"}}}),
            json!({"spec": {"notFound": null}}),
            json!({"spec": {"credentialsSecretRef": {"name": "other", "clientIdKey": null}}}),
            json!({"spec": {"webhooks": []}}),
            json!({"spec": {"webhooks": [{"name": "x", "url": "https://hooks.example.com/x"}]}}),
            json!({"spec": {"unknown": 1}}),
        ],
        SECRETS => vec![
            json!({"data": {"clientId": "b3RoZXI="}}),
            json!({"data": {"clientId": null}}),
            json!({"data": null}),
            json!({"stringData": {"more": "text"}}),
            json!({"type": "example.com/other"}),
            json!({"unknown": 1}),
        ],
        LEASES => vec![
            json!({"spec": {"holderIdentity": "two"}}),
            json!({"spec": {"holderIdentity": null}}),
            json!({"spec": {"holderIdentity": ""}}),
            json!({"spec": {"renewTime": "2026-03-01T10:00:05.123456Z"}}),
            json!({"spec": {"leaseTransitions": 2}}),
            json!({"spec": {"leaseTransitions": -1}}),
            json!({"spec": {"leaseDurationSeconds": 0}}),
            json!({"spec": {"unknown": 1}}),
            json!({"spec": null}),
        ],
        EVENTS => vec![
            json!({"note": "Another sentence."}),
            json!({"note": "x".repeat(1025)}),
            json!({"reason": null}),
            json!({"type": "Error"}),
            json!({"action": "x".repeat(129)}),
            json!({"eventTime": null}),
        ],
        other => panic!("{other:?}"),
    }
}

/// Changes of the status.
pub(crate) fn status_edits(resource: &Resource) -> Vec<Value> {
    let mut edits = vec![
        json!({}),
        json!({"status": null}),
        json!({"status": {"observedGeneration": 1}}),
        json!({"status": {"observedGeneration": null}}),
        json!({"status": {"unknown": {"deep": 1}}}),
        json!({"status": {"conditions": [condition("Ready", "True"), condition("Finished", "False")]}}),
        json!({"status": {"conditions": [condition("Ready", "Unknown")]}}),
        json!({"status": {"conditions": [condition("Ready", "True"), condition("Ready", "False")]}}),
        json!({"status": {"conditions": [{"type": "Ready"}]}}),
        json!({"status": {"conditions": "none"}}),
        json!({"spec": {"suspend": true}, "metadata": {"labels": {"team": "status"}}}),
        json!({"metadata": {"resourceVersion": "3"}}),
        json!({"metadata": {"name": "c"}}),
    ];
    if *resource == TERMINATIONS {
        edits.extend(termination_status_edits());
    } else {
        edits.extend([
            json!({"status": {"rateLimit": {"allowed": 300, "pausedUntil": "2026-03-01T10:00:00Z"}}}),
            json!({"status": {"rateLimit": {"pausedUntil": "later"}}}),
            json!({"status": {"tokenExpirationTime": "2026-03-01T10:00:00Z"}}),
        ]);
    }
    edits
}

fn termination_status_edits() -> Vec<Value> {
    let intent = json!({"id": "x", "number": 1, "holder": "one", "startedAt": "2026-03-01T10:00:00Z"});
    let end = json!({"finished": true, "settled": true, "outcome": "Terminated", "phase": "Terminated",
        "currentAttempt": null});
    vec![
        json!({"status": {"attempts": 1, "currentAttempt": intent}}),
        json!({"status": {"attempts": 1}}),
        json!({"status": {"attempts": 2}}),
        json!({"status": {"attempts": 3}}),
        json!({"status": {"attempts": 0}}),
        json!({"status": {"attempts": null}}),
        json!({"status": {"currentAttempt": {"id": "y", "holder": null}}}),
        json!({"status": {"currentAttempt": null}}),
        json!({"status": {"mayHaveApplied": true}}),
        json!({"status": {"mayHaveApplied": false}}),
        json!({"status": {"settled": true}}),
        json!({"status": {"settled": true}}),
        json!({"status": {"settled": false}}),
        json!({"status": {"settled": null}}),
        json!({"status": {"finished": true, "outcome": "Expired"}}),
        json!({"status": {"finished": false}}),
        json!({"status": {"outcome": "Rejected"}}),
        json!({"status": end}),
        json!({"status": {"phase": "Suspended"}}),
        json!({"status": {"phase": "x".repeat(65)}}),
        json!({"status": {"retries": 99_999_999_999_i64}}),
        json!({"status": {"startTime": "yesterday"}}),
        json!({"status": {"startTime": "2026-03-01T10:00:00Z", "lastSendTime": null}}),
        json!({"status": {"history": [{"id": "x", "number": 1, "result": "Applied",
            "startedAt": "2026-03-01T10:00:00Z", "message": null}]}}),
        json!({"status": {"webhooks": [{"name": "w", "event": "e", "format": "Flat", "messageId": "m",
            "state": "Pending"}]}}),
        json!({"status": {"webhooks": [{"name": "w"}]}}),
        json!({"status": {"audit": {"success": true, "duplicateTermination": false}}}),
        json!({"status": {"session": {"state": "active", "unknown": 1}}}),
    ]
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Because", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-03-01T10:00:00Z"})
}

/// A selector that the kind does not have.
pub(crate) const NOT_SELECTABLE: &str = "spec.retainData=true";

/// The selectors of lists and watches.
pub(crate) fn selectors(resource: &Resource) -> &'static [(&'static str, &'static str)] {
    if *resource == TERMINATIONS {
        &[
            ("fieldSelector", "status.settled!=true"),
            ("fieldSelector", "status.settled!=true"),
            ("fieldSelector", "status.settled=true"),
            ("fieldSelector", "status.settled="),
            ("fieldSelector", "status.outcome!="),
            ("fieldSelector", "status.phase=Suspended,status.finished!=true"),
            ("fieldSelector", "spec.guestId=guest-1"),
            ("fieldSelector", "metadata.name=a"),
            ("fieldSelector", "metadata.name!=a"),
            ("fieldSelector", NOT_SELECTABLE),
            ("labelSelector", "team=care"),
            ("labelSelector", "team!=care"),
            ("labelSelector", "!team"),
            ("labelSelector", "team"),
        ]
    } else {
        &[
            ("fieldSelector", "metadata.name=a"),
            ("fieldSelector", "metadata.name!=a"),
            ("labelSelector", "team=other"),
            ("labelSelector", "!team"),
        ]
    }
}
